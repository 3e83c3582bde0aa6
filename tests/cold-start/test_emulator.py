"""The check under AWS's Runtime Interface Emulator, with bootstraps that need no build."""

import json
import os
import re
import select
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import emulator  # noqa: E402
from cold_start import EVENTS, Failure  # noqa: E402
from emulator import ROOT, Emulated, binaries_of, check_custom_resource, is_denied, is_installed, samples  # noqa: E402

# Speaks the runtime API, and answers each event with itself.
ECHO = f"""#!{sys.executable}
import os
from urllib.request import Request, urlopen

API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urlopen(API + "next") as event:
        answer = Request(API + event.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", event.read())
    urlopen(answer).close()
"""
ENDS_AT_ONCE = f"""#!{sys.executable}
raise SystemExit("a setting is missing")
"""
TEMPLATE = (ROOT / "template.yaml").read_text()

emulated = pytest.mark.skipif("not is_installed()", reason="the Runtime Interface Emulator needs Go")


@pytest.fixture
def bootstrap(tmp_path):
    def written(program):
        path = tmp_path / "bootstrap"
        path.write_text(program)
        path.chmod(0o755)
        return path

    return written


def right(answer):
    return answer["statusCode"] == 200


@emulated
def test_a_right_answer_passes_and_a_wrong_one_fails_with_the_answer(bootstrap):
    with Emulated(bootstrap(ECHO), {}, "me") as running:
        running.expect("an event", {"statusCode": 200}, right)

        for wrong in ({"statusCode": 401}, {"message": "no status"}, None, "text", []):
            with pytest.raises(Failure) as failure:
                running.expect("an event", wrong, right)
            assert "me under the Runtime Interface Emulator: " in str(failure.value)
            assert f": a wrong answer to an event: {json.dumps(wrong)}\n" in str(failure.value)


@emulated
def test_a_bootstrap_that_does_not_start_fails_with_what_it_said(bootstrap):
    with Emulated(bootstrap(ENDS_AT_ONCE), {}, "me") as running:
        with pytest.raises(Failure) as failure:
            running.expect("an event", {"statusCode": 200}, right)
    assert "me under the Runtime Interface Emulator" in str(failure.value)
    assert "a setting is missing" in str(failure.value)


@emulated
def test_a_bootstrap_that_is_not_there_fails(tmp_path):
    with Emulated(tmp_path / "bootstrap", {}, "me") as running:
        with pytest.raises(Failure):
            running.expect("an event", {"statusCode": 200}, right)


@emulated
def test_the_bootstrap_ends_with_the_emulator(bootstrap):
    with Emulated(bootstrap(ECHO), {}, "me") as running:
        running.expect("an event", {"statusCode": 200}, right)
        (child,) = running.children()
        assert b"bootstrap" in Path(f"/proc/{child}/cmdline").read_bytes()
        pidfd = os.pidfd_open(child)

    # Readable once the process has ended.
    assert select.select([pidfd], [], [], 0)[0]
    os.close(pidfd)


@emulated
def test_a_custom_resource_without_an_answer_to_cloudformation_fails(bootstrap):
    with Emulated(bootstrap(ECHO), {}, "rotate-keys") as running:
        with pytest.raises(Failure) as failure:
            check_custom_resource(running, {"me": {"CLIENTS": "[]"}})
    assert "CloudFormation gets not one answer SUCCESS: []" in str(failure.value)


def test_ci_must_have_the_emulator_and_so_must_a_machine_with_go(monkeypatch, tmp_path):
    monkeypatch.setattr(emulator, "EMULATOR", tmp_path / "missing")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    assert is_installed() is False

    monkeypatch.setenv("CI", "true")
    with pytest.raises(Failure, match="tests/setup.sh runtime-emulator"):
        is_installed()

    monkeypatch.delenv("CI")
    (tmp_path / "go").write_text("")
    (tmp_path / "go").chmod(0o755)
    with pytest.raises(Failure, match="tests/setup.sh runtime-emulator"):
        is_installed()


def test_the_page_for_contributors_names_the_go_that_the_emulator_needs():
    needed = re.search(r"^go (\S+)$", (ROOT / "tests/runtime-emulator/go.mod").read_text(), re.MULTILINE)[1]
    assert f"`make test-release` also use Go {needed} or later" in " ".join((ROOT / "CONTRIBUTING.md").read_text().split())


def test_each_file_of_events_is_a_sample_of_one_function():
    taken = {function: [name for name, _, _ in samples(function, right)] for function in EVENTS}

    for function, names in taken.items():
        assert f"events/{function}.json" in names
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "events").glob("**/*.json")]
    assert sorted(name for names in taken.values() for name in names) == sorted(files)


def test_only_a_denial_is_right_for_the_authorizer():
    statements = [{"Effect": "Deny"}, {"Effect": "Allow"}]
    assert is_denied({"isAuthorized": False}) and is_denied({"policyDocument": {"Statement": statements[:1]}})
    assert not is_denied({"isAuthorized": True})
    for some in (statements[1:], statements):
        assert not is_denied({"policyDocument": {"Statement": some}})


def test_sam_leaves_one_bootstrap_for_each_function(tmp_path):
    for logical_id, _ in emulator.FUNCTION.findall(TEMPLATE):
        (tmp_path / logical_id).mkdir()
        (tmp_path / logical_id / "bootstrap").touch(0o755)
    built = binaries_of(TEMPLATE, tmp_path)
    assert set(built) == set(EVENTS) and built["me"] == tmp_path / "MeFunction/bootstrap"

    built["me"].chmod(0o644)
    built["revoke"].unlink()
    with pytest.raises(Failure, match="no executable bootstrap of me, revoke in"):
        binaries_of(TEMPLATE, tmp_path)
