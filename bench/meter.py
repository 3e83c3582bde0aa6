"""A proxy in front of the embedded DynamoDB that counts the calls and asks for the capacity that each consumes."""

import json
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The beginning of the key of a client's counter (shared/src/dynamodb/table.rs), and the name of its writes here.
COUNTER, COUNT = "LIMIT#", "count"


class Meter(ThreadingHTTPServer):
    """Forwards calls to the DynamoDB of `settings`, counts them, and keeps their capacity units.

    `self.settings` lead a function here.
    """

    daemon_threads = True

    def __init__(self, settings):
        super().__init__(("127.0.0.1", 0), MeterHandler)
        url = settings["AWS_ENDPOINT_URL_DYNAMODB"].rstrip("/")
        self.port, self.calls, self.arrived = int(url.rpartition(":")[2]), [], 0
        self.settings = {**settings, "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{self.server_port}"}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # a function was killed

    def take(self):
        """The calls since the last time: [(operation, units)]. The operation `count` counts requests of a client."""
        taken, self.calls = self.calls, []
        return taken


class MeterHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.arrived += 1
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call["ReturnConsumedCapacity"] = "TOTAL"
        backend = HTTPConnection("127.0.0.1", self.server.port)
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")
        }
        backend.request("POST", self.path, json.dumps(call), headers)
        answer = backend.getresponse()
        content = answer.read()
        backend.close()
        consumed = json.loads(content).get("ConsumedCapacity")
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        if call.get("Key", {}).get("pk", {}).get("S", "").startswith(COUNTER):
            operation = COUNT
        for one in consumed if isinstance(consumed, list) else [consumed] if consumed else []:
            self.server.calls.append((operation, one["CapacityUnits"]))
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
