"""Ports of this machine for the servers of a test."""

import socket


def free_ports(count):
    """Returns this many different ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
