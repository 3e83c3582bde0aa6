#!/usr/bin/env python3
"""The release binaries as they ship: small, without jitter entropy, and quick to answer the first request.

    tests/cold-start/cold_start.py [--runs N] [function ...]

Builds each function by itself (a workspace build would unify features, and ship what nobody asked for), then

1. holds its size against a limit,
2. proves that aws-lc was built without its CPU-jitter entropy, which costs 30 ms of every cold start,
3. starts it N times under a stand-in of the Lambda runtime API, with exactly the settings that template.yaml gives it
   and an embedded DynamoDB, feeds it one event, checks the answer, and prints what that took. CPU time and not wall
   time: the wall is three times as noisy, and nothing here depends on how fast this machine is.
"""

import argparse
import base64
import hashlib
import json
import os
import queue
import re
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MB = 1_000_000

# Bytes of the stripped binary, at most.
LIMITS = {
    "token-exchange": 10 * MB,
    "revoke": 9 * MB,
    "introspect": 9 * MB,
    "me": 9 * MB,
    "sessions": 9 * MB,
    "identities": 10 * MB,
    "discovery": 9 * MB,
    "authorizer": 9 * MB,
    "rotate-keys": 9 * MB,
}

# The settings of each function: the same as in template.yaml, which tests/template holds against this.
SETTINGS = {
    "token-exchange": {
        "ACCESS_TOKEN_TTL", "ALLOWED_SIGNUPS", "API_URL", "CLIENTS", "GITHUB_API_URL", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET",
        "ISSUER_URL", "KEYS_TABLE_NAME", "LINK_BY_VERIFIED_EMAIL", "LINK_EMAIL_PROVIDERS", "LOG_LEVEL", "OAUTH_PROVIDERS",
        "OIDC_PROVIDERS", "REFRESH_REUSE_WINDOW", "SESSION_ABSOLUTE_TTL", "SESSION_IDLE_TTL", "TABLE_NAME", "TOKEN_AUDIENCE",
    },
    "revoke": {"API_URL", "CLIENTS", "ISSUER_URL", "KEYS_TABLE_NAME", "LOG_LEVEL", "TABLE_NAME", "TOKEN_AUDIENCE"},
    "introspect": {
        "API_URL", "CLIENTS", "ISSUER_URL", "KEYS_TABLE_NAME", "LOG_LEVEL", "REFRESH_REUSE_WINDOW", "SESSION_ABSOLUTE_TTL", "SESSION_IDLE_TTL",
        "TABLE_NAME", "TOKEN_AUDIENCE",
    },
    "me": {"ISSUER_URL", "KEYS_TABLE_NAME", "LOG_LEVEL", "TABLE_NAME", "TOKEN_AUDIENCE"},
    "sessions": {"ISSUER_URL", "KEYS_TABLE_NAME", "LOG_LEVEL", "TABLE_NAME", "TOKEN_AUDIENCE"},
    "identities": {
        "API_URL", "CLIENTS", "GITHUB_API_URL", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "ISSUER_URL", "KEYS_TABLE_NAME", "LOG_LEVEL",
        "OAUTH_PROVIDERS", "OIDC_PROVIDERS", "SESSION_ABSOLUTE_TTL", "SESSION_IDLE_TTL", "TABLE_NAME", "TOKEN_AUDIENCE",
    },
    "discovery": {"API_URL", "ISSUER_URL", "KEYS_TABLE_NAME", "LOG_LEVEL"},
    "authorizer": {
        "AUDIENCES", "ISSUER_URL", "KEYS_TABLE_NAME", "LIVE", "LOG_LEVEL", "ROUTE_SCOPES", "TABLE_NAME", "TOKEN_AUDIENCE",
    },
    "rotate-keys": {
        "API_URL", "DOCUMENTS_BUCKET", "ISSUER_URL", "KEYS_TABLE_NAME", "LOG_LEVEL", "SIGNING_KEY_TTL", "SIGNING_KEY_TYPE",
    },
}  # fmt: skip
# What the Lambda service sets, and the way to the embedded DynamoDB.
BY_LAMBDA = {"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_DYNAMODB"}
# Settings with a default, which the local services need not name.
DEFAULTS = {
    "API_URL": "",
    "DOCUMENTS_BUCKET": "",
    "ACCESS_TOKEN_TTL": "900",
    "ALLOWED_SIGNUPS": "everyone",
    "AUDIENCES": "",
    "GITHUB_API_URL": "https://api.github.com",
    "LINK_BY_VERIFIED_EMAIL": "off",
    "LINK_EMAIL_PROVIDERS": "",
    "LIVE": "false",
    "LOG_LEVEL": "info",
    "OAUTH_PROVIDERS": "",
    "OIDC_PROVIDERS": "",
    "REFRESH_REUSE_WINDOW": "",
    "ROUTE_SCOPES": "",
    "SESSION_ABSOLUTE_TTL": "15552000",
    "SESSION_IDLE_TTL": "2592000",
    "SIGNING_KEY_TTL": "7776000",
    "SIGNING_KEY_TYPE": "RSA-2048",
}


def request(method, path, headers=(), body=None):
    """An event of API Gateway's HTTP API, payload version 2.0."""
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "cold-start"}
    return {
        "version": "2.0",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "api.example.com", "x-forwarded-proto": "https", **dict(headers)},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "domainName": "api.example.com",
            "domainPrefix": "api",
            "http": http,
            "requestId": "request",
            "routeKey": f"{method} {path}",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1767225600000,
        },
        "body": body,
        "isBase64Encoded": False,
    }


EXCHANGE = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&client_id=nobody&client_secret=wrong"
FORM = {"content-type": "application/x-www-form-urlencoded"}
# The one client that the local services are told of, as it authenticates.
SECRET = b"cold-start"
CLIENTS = json.dumps([{"client_id": "cold-start", "secret_sha256": [hashlib.sha256(SECRET).hexdigest()]}])
BASIC = {"authorization": "Basic " + base64.b64encode(b"cold-start:" + SECRET).decode()}

# function → event, and whether its answer is right.
EVENTS = {
    "me": (request("GET", "/me"), lambda answer: answer["statusCode"] == 401),
    "token-exchange": (request("POST", "/token", FORM, EXCHANGE), lambda answer: answer["statusCode"] == 401),
    # A client that is known, and a token that is not (RFC 7009 section 2.2).
    "revoke": (
        request("POST", "/revoke", {**FORM, **BASIC}, "token=nonsense"),
        lambda answer: answer["statusCode"] == 200,
    ),
    "introspect": (
        request("POST", "/introspect", {**FORM, **BASIC}, "token=nonsense"),
        lambda answer: answer["statusCode"] == 200 and json.loads(answer["body"]) == {"active": False},
    ),
    "sessions": (request("GET", "/me/sessions"), lambda answer: answer["statusCode"] == 401),
    "identities": (request("GET", "/me/identities"), lambda answer: answer["statusCode"] == 401),
    "discovery": (
        request("GET", "/.well-known/jwks.json"),
        lambda answer: answer["statusCode"] == 200 and len(json.loads(answer["body"])["keys"]) == 2,
    ),
    "authorizer": (
        request("GET", "/orders", {"authorization": "Bearer nonsense"}),
        lambda answer: answer["isAuthorized"] is False,
    ),
    "rotate-keys": (
        {"rotate": "when-due"},
        lambda answer: answer["changed"] is False and [key["state"] for key in answer["keys"]] == ["current", "next"],
    ),
}


class Failure(Exception):
    """What a person should read, without a traceback."""


# --- Build ------------------------------------------------------------------------------------------------------------


def build(package, binary, *flags):
    """The paths of a package's binary and of the static library of aws-lc that went into it."""
    command = ["cargo", "build", "--package", package, *flags, "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise Failure(f"{shlex.join(command)} failed")
    binaries, libraries = [], []
    for message in map(json.loads, built.stdout.splitlines()):
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == binary and message["executable"]:
            binaries.append(Path(message["executable"]))
        if message["reason"] == "build-script-executed" and re.search(r"\baws-lc-sys[@#]", message["package_id"]):
            libraries += Path(message["out_dir"]).glob("libaws_lc_*_crypto.a")
    if len(binaries) != 1 or len(libraries) != 1:
        raise Failure(f"{package}: expected one binary and one aws-lc, found {binaries} and {libraries}")
    return binaries[0], libraries[0]


def has_jitter_entropy(library):
    """Whether a static library of aws-lc holds the jitter-entropy collector, going by the names of its functions.

    The release binary itself is stripped, so the library that it was linked from is asked.
    """
    if b"RAND_bytes" not in library:
        raise Failure("this aws-lc library names no RAND_bytes; names can no longer tell what is in it")
    return b"jent_entropy_collector_alloc" in library


def check_jitter_entropy(libraries):
    sample = next(iter(libraries)).read_bytes()
    # The check must be able to fail.
    assert has_jitter_entropy(sample + b"\0jent_entropy_collector_alloc\0")
    for library in libraries:
        if has_jitter_entropy(library.read_bytes()):
            raise Failure(
                f"{library} was built with jitter entropy: AWS_LC_SYS_NO_JITTER_ENTROPY=1 of .cargo/config.toml"
                " did not reach the build"
            )
    print(f"no jitter entropy in {len(libraries)} aws-lc librar{'y' if len(libraries) == 1 else 'ies'}")


# --- The Lambda runtime API -------------------------------------------------------------------------------------------


class RuntimeApi(ThreadingHTTPServer):
    """Hands out one event, and keeps what comes back. The next request for an event is never answered."""

    daemon_threads = True

    def __init__(self, event):
        super().__init__(("127.0.0.1", 0), RuntimeHandler)
        self.events = [json.dumps(event).encode()]
        self.outcome = queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # the function is killed in the middle of its next request


class RuntimeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if not self.path.endswith("/runtime/invocation/next"):
            return self.answer(404)
        if not self.server.events:
            threading.Event().wait()
        self.answer(
            200,
            self.server.events.pop(),
            {
                "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 10_000),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:cold-start",
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
            },
        )

    def do_POST(self):
        kind = self.path.rsplit("/", 1)[-1]  # response, or error (of an invocation, or of init)
        body = self.body()
        self.answer(202, b"{}")
        self.server.outcome.put((kind, body.decode()))

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return chunks

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def cold_start(function, binary, settings, log):
    """Starts a function, feeds it its event, and answers what that took: CPU in ms, peak memory in MiB."""
    event, is_right = EVENTS[function]
    api = RuntimeApi(event)
    environment = {
        **settings,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/cold-start",
        "AWS_LAMBDA_LOG_STREAM_NAME": "cold-start",
    }
    process = subprocess.Popen([binary], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    # A function that cannot start may end without a word to the runtime API.
    kind, answer = "no answer", ""
    for _ in range(300):
        try:
            kind, answer = api.outcome.get(timeout=0.1)
            break
        except queue.Empty:
            # Look without reaping: wait4 below does, for the CPU time.
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                kind = "ended without an answer"
                break
    # Not rusage's maximum, which counts the Python that forked.
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    os.kill(process.pid, signal.SIGKILL)
    _, process.returncode, usage = os.wait4(process.pid, 0)
    api.shutdown()
    api.server_close()
    if kind != "response" or not is_right(json.loads(answer)):
        log.seek(0)
        raise Failure(f"{function}: {kind} {answer}\n{log.read().decode(errors='replace')[-4000:]}")
    return (usage.ru_utime + usage.ru_stime) * 1000, int(peak[1]) / 1024


# --- Local services ---------------------------------------------------------------------------------------------------


class Services:
    """`cambio services`: an embedded DynamoDB with tables and a key, and the settings that lead to it."""

    def __init__(self, folder):
        cambio, _ = build("local", "cambio")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.env_file = folder / "services.env"
        self.log = open(folder / "services.log", "w+b")
        command = [cambio, "services", "--in-memory", "--dynamodb-port", str(port), "--env-file", self.env_file]
        # With the real GitHub's settings it starts no stand-in, whose port could be taken. Nothing here calls GitHub.
        github = {"GITHUB_CLIENT_ID": "cold-start", "GITHUB_CLIENT_SECRET": "cold-start"}
        shell = {**os.environ, **github, "CLIENTS": CLIENTS}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=shell,
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


def settings_of(function, local):
    names = SETTINGS[function] | BY_LAMBDA
    settings = {name: local.get(name, DEFAULTS.get(name)) for name in names}
    if missing := sorted(name for name, value in settings.items() if value is None):
        raise Failure(f"`cambio services` names no {', '.join(missing)} for {function}")
    return settings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", default=list(EVENTS), metavar="function")
    parser.add_argument("--runs", type=int, default=5, help="cold starts of each (default 5)")
    arguments = parser.parse_args()

    built = {function: build(function, function, "--release") for function in arguments.functions}
    print()
    check_jitter_entropy({library for _, library in built.values()})
    with tempfile.TemporaryDirectory() as folder, Services(Path(folder)) as local:
        print(f"\nmedians of {arguments.runs}      size MB  limit   CPU ms  peak MiB")
        for function, (binary, _) in built.items():
            size, limit = binary.stat().st_size, LIMITS[function]
            with tempfile.TemporaryFile() as log:
                taken = [cold_start(function, binary, settings_of(function, local), log) for _ in range(arguments.runs)]
            cpu, peak = (statistics.median(column) for column in zip(*taken))
            print(f"{function:16} {size / MB:8.2f} {limit / MB:6.0f} {cpu:8.1f} {peak:9.1f}")
            if size > limit:
                raise Failure(f"{function} has {size} bytes; at most {limit} are allowed")
    print("\nevery function starts and answers")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"cold start: {failure}")
