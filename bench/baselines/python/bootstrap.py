"""The runtime: imports a handler (`python bootstrap.py me`), and serves the events of the Lambda runtime API.

Lambda's own runtime for Python does the same with more around it, so the bench flatters Python a little.
"""

import importlib
import json
import os
import sys
from http.client import HTTPConnection

api = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def call(method, path, body=None):
    api.request(method, f"/2018-06-01/runtime/{path}", body, {"content-type": "application/json"})
    answer = api.getresponse()
    return answer.headers.get("Lambda-Runtime-Aws-Request-Id"), answer.read()


handler = importlib.import_module(sys.argv[1]).handler
while True:
    invocation, event = call("GET", "invocation/next")
    try:
        call("POST", f"invocation/{invocation}/response", json.dumps(handler(json.loads(event), None)))
    except Exception as error:
        call("POST", f"invocation/{invocation}/error", json.dumps({"errorType": "Error", "errorMessage": str(error)}))
