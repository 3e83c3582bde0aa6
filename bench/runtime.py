"""The Lambda runtime API, and a function that runs under it.

    with Function([binary], settings) as function:
        function.wait_until_ready()
        answer = function.invoke(request("GET", "/me", {"authorization": f"Bearer {token}"}))

tests/cold-start and bench share it. Only the standard library is used, and valgrind where instructions are counted.
"""

import json
import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The longest wait for an answer. valgrind makes a function fifty times slower, and the machine may be busy.
PATIENCE = 120

# kind: `response`, or `error` of an invocation or of the init. ns: from the event's last byte to the answer's.
Answer = namedtuple("Answer", "kind body ns")


class Failure(Exception):
    """A message for the person at the terminal, without a traceback."""


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


class RuntimeApi(ThreadingHTTPServer):
    """Hands out events in their order, and keeps the answers. A request for an event waits until there is one."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RuntimeHandler)
        self.events = queue.Queue()
        self.outcomes = queue.Queue()
        self.asked = threading.Semaphore(0)
        self.handed_out_at = 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, *_):
        pass  # the function is killed in the middle of its next request


class RuntimeHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for each answer, and no wait for the acknowledgement of the one before.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        if not self.path.endswith("/runtime/invocation/next"):
            return self.answer(404)
        self.server.asked.release()
        event = self.server.events.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + PATIENCE * 1000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:cold-start",
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
        }
        self.answer(200, event, headers)
        self.server.handed_out_at = time.perf_counter_ns()

    def do_POST(self):
        kind = self.path.rsplit("/", 1)[-1]  # response, or error (of an invocation, or of init)
        body = self.body()
        taken = time.perf_counter_ns() - self.server.handed_out_at
        self.answer(202, b"{}")
        self.server.outcomes.put(Answer(kind, body.decode(), taken))

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
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Function:
    """A function under a runtime API of its own.

    `command` is the function's executable with its arguments. `before` runs in the child process before it.
    """

    def __init__(self, command, settings, name="cold-start", memory=256, folder=None, before=None):
        self.api = RuntimeApi()
        self.log = tempfile.TemporaryFile()
        environment = {
            **settings,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/cold-start",
            "AWS_LAMBDA_LOG_STREAM_NAME": "cold-start",
        }
        self.name = name
        self.is_ready = False
        # Nanoseconds from the start of the process to the end of its init.
        self.init_ns = None
        self.started_at = time.perf_counter_ns()
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=before,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def wait_until_ready(self):
        """Waits until the function asks for an event: its init has ended, or its work after the answer before."""
        if self.is_ready:
            return
        for _ in range(PATIENCE * 20):
            if self.api.asked.acquire(timeout=0.05):
                self.is_ready = True
                self.init_ns = self.init_ns or time.perf_counter_ns() - self.started_at
                return
            if not self.api.outcomes.empty() or self.has_ended():
                break
        raise self.failure("did not become ready")

    def invoke(self, event):
        """Feeds the function one event, and returns its answer."""
        self.wait_until_ready()
        self.is_ready = False
        self.api.events.put(json.dumps(event).encode())
        for _ in range(PATIENCE * 20):
            try:
                return self.api.outcomes.get(timeout=0.05)
            except queue.Empty:
                if self.has_ended():
                    raise self.failure("ended without an answer") from None
        raise self.failure("did not answer")

    def has_ended(self):
        """Returns whether the process has ended. Does not reap it: `end` does, for the CPU time."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def failure(self, problem):
        outcome = "" if self.api.outcomes.empty() else f": {self.api.outcomes.get()}"
        return Failure(f"{self.name} {problem}{outcome}\n{self.logged()[-4000:]}")

    def logged(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def cpu_ns(self):
        """The CPU time of all threads so far, from the process's CPU clock (clock_getcpuclockid(3))."""
        return time.clock_gettime_ns((~self.process.pid << 3) | 2)

    def peak_kib(self):
        """The peak of the resident memory. Not rusage's maximum, which counts the Python that forked."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])

    def end(self):
        """Kills the function. Returns its CPU time in nanoseconds."""
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGKILL)
            _, self.process.returncode, usage = os.wait4(self.process.pid, 0)
            self.cpu = round((usage.ru_utime + usage.ru_stime) * 1e9)
            self.api.events.put(b"")  # ends the thread that holds the next request
            self.api.shutdown()
            self.api.server_close()
            self.log.close()
        return self.cpu
