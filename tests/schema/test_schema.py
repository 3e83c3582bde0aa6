"""Schemathesis against the local server: requests that fit openapi.yaml, and requests that do not, to each operation.

    make test-schema                 30 examples for each operation, the same ones each time
    make schema EXAMPLES=200         as many as that, others each time; a failure names the seed
"""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from ports import free_ports  # noqa: E402

HERE = ROOT / "tests/schema"
TARGET = ROOT / "target/schema"
EXAMPLES = os.environ.get("EXAMPLES")
PATIENCE = 60


@pytest.fixture(scope="module")
def server():
    """The URLs of the API and of the stand-in GitHub, which run as long as the tests."""
    TARGET.mkdir(parents=True, exist_ok=True)
    api, github = free_ports(2)
    command = [ROOT / "target/debug/cambio", "--in-memory", "--port", str(api), "--github-port", str(github)]
    # Not the settings of this shell.
    shell = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with open(TARGET / "server.log", "w+") as log:
        process = subprocess.Popen(command, cwd=TARGET, env=shell, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while "in your browser" not in (TARGET / "server.log").read_text():
                assert process.poll() is None and time.monotonic() < deadline, (TARGET / "server.log").read_text()
                time.sleep(0.1)
            yield f"http://localhost:{api}", f"http://localhost:{github}"
            assert process.poll() is None, "the server has ended"
        finally:
            process.terminate()
            process.wait()


def operations():
    paths = yaml.safe_load((ROOT / "openapi.yaml").read_text())["paths"]
    return {operation["operationId"]: operation for methods in paths.values() for operation in methods.values()}


def test_each_answer_is_as_openapi_yaml_says_and_no_request_is_an_error_of_the_server(server):
    api, github = server
    answers = TARGET / "answers"
    answers.unlink(missing_ok=True)
    command = [ROOT / ".venv/bin/schemathesis", "--config-file", HERE / "schemathesis.toml"]
    command += ["run", ROOT / "openapi.yaml", "--url", api, "--phases", "examples,coverage,fuzzing"]
    command += ["--max-examples", EXAMPLES or "30", "--continue-on-failure"]
    # Without the option, the examples are the same each time: only a change of the code can fail the test.
    command += [] if EXAMPLES else ["--generation-deterministic"]
    hooks = {"PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "hooks"}
    urls = {"CAMBIO_URL": api, "CAMBIO_PROVIDER_URL": github, "CAMBIO_ANSWERS": str(answers)}
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=TARGET, env={**os.environ, **hooks, **urls}, stdin=subprocess.DEVNULL, **out)

    assert done.returncode == 0, done.stdout
    print(f"\n{done.stdout}")
    assert f"Tested: {len(operations())}\n" in done.stdout
    # Each operation has done its work, not only refused requests.
    seen = Counter(answers.read_text().splitlines())
    for name, operation in operations().items():
        done_by = [status for status in operation["responses"] if status.startswith("2")]
        assert done_by and all(seen[f"{name} {status}"] for status in done_by), f"{name}: {seen}"
