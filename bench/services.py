"""`cambio services`: an embedded DynamoDB with tables and a key, a stand-in GitHub, and the settings for both."""

import os
import re
import socket
import subprocess
import time

from runtime import Failure

# Settings of the real GitHub: with them `cambio services` starts no stand-in, whose port could be taken.
NO_GITHUB = {"GITHUB_CLIENT_ID": "cold-start", "GITHUB_CLIENT_SECRET": "cold-start"}

# A token that outlives a measurement, and a user with more requests in a minute than a person sends: each request is
# counted as ever.
BENCH = {"ACCESS_TOKEN_TTL": "3600", "USER_RATE_LIMIT": "10000000"}


class Services:
    """Runs `cambio services` on free ports, with the database in memory. As a context, its value is the settings."""

    def __init__(self, folder, cambio, shell):
        self.env_file = folder / "services.env"
        self.log = open(folder / "services.log", "w+b")
        ports = ["--dynamodb-port", "0", "--github-port", "0"]
        self.process = subprocess.Popen(
            [cambio, "services", "--in-memory", *ports, "--env-file", self.env_file],
            cwd=folder,
            env={**os.environ, **shell},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def __enter__(self):
        for _ in range(300):
            if self.process.poll() is not None:
                break
            if self.env_file.exists() and (settings := self.settings()):
                return settings
            time.sleep(0.1)
        self.__exit__()
        self.log.seek(0)
        raise Failure(f"`cambio services` did not start:\n{self.log.read().decode(errors='replace')[-4000:]}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def settings(self):
        """The env file, once its DynamoDB answers."""
        lines = [line.partition("=") for line in self.env_file.read_text().splitlines() if not line.startswith("#")]
        settings = {name: unquoted(value) for name, _, value in lines if name}
        port = re.search(r":(\d+)$", settings.get("AWS_ENDPOINT_URL_DYNAMODB", "").rstrip("/"))
        with socket.socket() as probe:
            return settings if port and probe.connect_ex(("127.0.0.1", int(port[1]))) == 0 else None


def unquoted(value):
    value = value.strip()
    if value[:1] == value[-1:] == "'":
        return value[1:-1]
    if value[:1] == value[-1:] == '"':
        return value[1:-1].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    return value
