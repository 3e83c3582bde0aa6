"""Servers in front of the embedded services, which add TLS or not, and delay each answer. A process of its own.

    echo '[{"host": "127.0.0.1", "port": 8000, "delay": 0.003, "chain": "c.pem", "key": "k.pem"}]' |
        python3 bench/front.py

Prints the ports of the fronts as JSON, and runs until its standard input ends. It accepts connections of this machine
only. HTTP/1.1 with Content-Length on both sides, which is what the embedded services and the functions speak.
"""

import asyncio
import json
import re
import ssl
import sys

LENGTH = re.compile(rb"^content-length: *(\d+)", re.I | re.M)
HOST = re.compile(rb"^host: *[^\r]*", re.I | re.M)


async def read_message(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH.search(head)
    return head, await reader.readexactly(int(length[1])) if length else b""


async def serve(front, reader, writer):
    """Forwards the requests of one connection, one after the other, over one connection to the server."""
    backend = None
    try:
        if writer.get_extra_info("peername")[0] != writer.get_extra_info("sockname")[0]:
            return
        backend_reader, backend = await asyncio.open_connection("127.0.0.1", front["port"])
        while True:
            head, body = await read_message(reader)
            # The services accept requests to their own address only.
            backend.write(HOST.sub(b"host: 127.0.0.1:%d" % front["port"], head, count=1) + body)
            head, body = await read_message(backend_reader)
            await asyncio.sleep(front["delay"])
            writer.write(head + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        pass  # the function has closed the connection, or was killed
    finally:
        for closing in (writer, backend):
            if closing:
                closing.close()


async def main():
    ports = []
    for front in json.loads(sys.stdin.readline()):
        context = None
        if "chain" in front:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(front["chain"], front["key"])

        def accept(reader, writer, front=front):
            return serve(front, reader, writer)

        server = await asyncio.start_server(accept, front["host"], 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
