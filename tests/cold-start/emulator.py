"""Bootstraps under AWS's Runtime Interface Emulator, and the build of all bootstraps by SAM.

    check(binaries, EVENTS, settings_of)
    check(build_by_sam(), EVENTS, settings_of)

bench/runtime.py is this repository's own stand-in of the Lambda runtime API. The emulator is AWS's, and part of its
container images. It starts the bootstrap at the first event, and takes events over HTTP. `tests/setup.sh
runtime-emulator` builds it.
"""

import contextlib
import json
import os
import platform
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests"), str(ROOT / "tests/release")]
from ports import free_ports  # noqa: E402
from release import version_of  # noqa: E402
from runtime import PATIENCE, Failure  # noqa: E402
from tree_copy import mirror, tracked_files  # noqa: E402

EMULATOR = ROOT / "target/tools/bin/aws-lambda-rie"
CLONE = ROOT / "target/sam/cambio"
# The architectures of template.yaml, by the name that the kernel has for them.
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
# A function of template.yaml: its logical id, and the name of its binary.
FUNCTION = re.compile(
    r"^  (\w+):\n    Type: AWS::Serverless::Function\n"
    r"    Metadata: \{BuildMethod: rust-cargolambda, BuildProperties: \{Binary: ([\w-]+)\}\}\n",
    re.MULTILINE,
)


# --- The emulator -----------------------------------------------------------------------------------------------------


def is_installed():
    """Whether the emulator is there. Without Go it is not, which CI does not accept."""
    if EMULATOR.exists():
        return True
    if os.environ.get("CI") or shutil.which("go"):
        raise Failure("the Runtime Interface Emulator is missing: run tests/setup.sh runtime-emulator")
    return False


class Emulated:
    """A bootstrap under an emulator of its own, which starts it at the first event."""

    def __init__(self, binary, settings, name="cold-start"):
        self.port, runtime_api = free_ports(2)
        self.name = name
        self.log = tempfile.TemporaryFile()
        address = "127.0.0.1:{}".format
        self.process = subprocess.Popen(
            [
                *(EMULATOR, "--log-level", "warn"),  # else it takes LOG_LEVEL, which is the function's
                *("--runtime-interface-emulator-address", address(self.port)),
                *("--runtime-api-address", address(runtime_api)),
                binary,
            ],
            env={**settings, "AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_TIMEOUT": str(PATIENCE)},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The bootstrap is in a process group of its own, which outlives the emulator.
        for child in self.children():
            with contextlib.suppress(ProcessLookupError), open(os.pidfd_open(child), "rb") as ended:
                os.killpg(child, signal.SIGKILL)
                select.select([ended], [], [])
        self.process.kill()
        self.process.wait()
        self.log.close()

    def children(self):
        lists = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for each in lists for pid in each.read_text().split()]

    def wait_until_listening(self):
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise self.failure("the emulator does not listen")

    def invoke(self, event):
        """Sends an event, and returns the answer's text."""
        self.wait_until_listening()
        url = f"http://127.0.0.1:{self.port}/2015-03-31/functions/function/invocations"
        post = urllib.request.Request(url, json.dumps(event).encode(), {"content-type": "application/json"})
        try:
            # The emulator itself gives up after PATIENCE.
            with urllib.request.urlopen(post, timeout=2 * PATIENCE) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as refused:
            raise self.failure(f"the emulator answered {refused.code}: {refused.read().decode()[:2000]}") from None
        except OSError as error:
            raise self.failure(f"no answer: {error}") from None

    def expect(self, what, event, is_right):
        """Sends an event, and fails if the answer is wrong. `what` names the event."""
        answer = self.invoke(event)
        try:
            right = is_right(json.loads(answer))
        except (ValueError, LookupError, TypeError):  # an answer of another form
            right = False
        if not right:
            raise self.failure(f"a wrong answer to {what}: {answer[:2000]}")

    def failure(self, problem):
        self.log.seek(0)
        logged = self.log.read().decode(errors="replace")[-4000:]
        return Failure(f"{self.name} under the Runtime Interface Emulator: {problem}\n{logged}")


# --- The events -------------------------------------------------------------------------------------------------------


def is_refused(answer):
    """Whether a sample is answered as it must be, by any function but `discovery`: its secrets are placeholders."""
    return answer["statusCode"] == 401


def is_denied(answer):
    """Whether the authorizer denies, in the format of an HTTP API or in that of a REST API."""
    if "isAuthorized" in answer:
        return answer["isAuthorized"] is False
    return [statement["Effect"] for statement in answer["policyDocument"]["Statement"]] == ["Deny"]


def samples(function, expected):
    """The files of events/ for a function, each with whether its answer is right."""
    # `discovery` and `rotate-keys` need no secret.
    is_right = {"authorizer": is_denied, "discovery": expected, "rotate-keys": expected}.get(function, is_refused)
    files = sorted((ROOT / "events").glob(f"**/{function}*.json"))
    return [(str(file.relative_to(ROOT)), json.loads(file.read_text()), is_right) for file in files]


def check(binaries, events, settings_of):
    """Sends each function its event and its samples, and rotate-keys the custom resource `Settings` as well.

    `events`: function → event, and whether its answer is right. Fails at the first answer that is wrong.
    """
    settings = {function: settings_of(function) for function in events}
    answered = 0
    for function, binary in binaries.items():
        event, is_right = events[function]
        sent = [("its event of cold_start.py", event, is_right), *samples(function, is_right)]
        with Emulated(binary, settings[function], function) as running:
            for each in sent:
                running.expect(*each)
            if function == "rotate-keys":
                check_custom_resource(running, settings)
        answered += len(sent) + (function == "rotate-keys")
    print(f"under AWS's Runtime Interface Emulator, {len(binaries)} functions answer {answered} events", flush=True)


# --- The custom resource ----------------------------------------------------------------------------------------------


class Bucket(HTTPServer):
    """Takes answers to CloudFormation on this machine, which only a function with a local DynamoDB sends there."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), PutHandler)
        self.taken = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class PutHandler(BaseHTTPRequestHandler):
    def do_PUT(self):
        self.server.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def check_custom_resource(running, settings):
    """Creates the custom resource `Settings`, with the settings of all functions, and without a client."""
    pairs = [pair for each in settings.values() for pair in each.items()]
    together = {name: value for name, value in pairs if not name.startswith("AWS_")}
    # The issuer of the local services has no https.
    together |= dict.fromkeys(("ISSUER_URL", "TOKEN_AUDIENCE"), "https://auth.example.com")
    with Bucket() as bucket:
        for clients, status in ((together["CLIENTS"], "SUCCESS"), ("[]", "FAILED")):
            event = {
                "RequestType": "Create",
                "ResponseURL": f"http://127.0.0.1:{bucket.server_port}/answer",
                "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/cambio/1",
                "RequestId": "request",
                "ResourceType": "Custom::CambioSettings",
                "LogicalResourceId": "Settings",
                "ResourceProperties": {
                    "Settings": {**together, "CLIENTS": clients, "GITHUB_CLIENT_SECRET": "not passed"},
                    "Version": version_of(ROOT),
                    "Revision": "1",
                },
            }
            running.expect("the custom resource", event, lambda _: True)
            if [answer["Status"] for answer in bucket.taken] != [status]:
                raise running.failure(f"CloudFormation gets not one answer {status}: {bucket.taken}")
            bucket.taken.clear()


# --- The build by SAM -------------------------------------------------------------------------------------------------


def binaries_of(template, folder):
    """The bootstraps that `sam build` left in a folder: {function: path}."""
    built = {name: folder / logical_id / "bootstrap" for logical_id, name in FUNCTION.findall(template)}
    if missing := sorted(name for name, path in built.items() if not os.access(path, os.X_OK)):
        raise Failure(f"sam build left no executable bootstrap of {', '.join(missing)} in {folder}")
    return built


def build_by_sam():
    """Builds all functions by `sam build`, in a clone of this tree, for the architecture of this machine.

    The clone is in `target`, so that a second run builds only what changed. Its template and settings are those of git.
    """
    tools = ROOT / ".venv/bin"
    if missing := [name for name in ("sam", "cargo-lambda") if not (tools / name).exists()]:
        raise Failure(f"{', '.join(missing)} is missing in .venv: run tests/setup.sh python")
    mirror(ROOT, CLONE, tracked_files(ROOT))
    command = ["sam", "build", "--parameter-overrides", f"Architecture={ARCHITECTURES[platform.machine()]}"]
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"}
    print(f"$ {shlex.join(command)}  (in {CLONE.relative_to(ROOT)})", flush=True)
    if subprocess.run(command, cwd=CLONE, env=environment, stdin=subprocess.DEVNULL).returncode != 0:
        raise Failure(f"{shlex.join(command)} failed in {CLONE}")
    return binaries_of((CLONE / "template.yaml").read_text(), CLONE / ".aws-sam/build")
