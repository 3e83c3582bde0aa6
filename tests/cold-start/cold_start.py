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
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from runtime import Failure, Function, request  # noqa: E402
from services import NO_GITHUB, Services  # noqa: E402

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


# --- Build ------------------------------------------------------------------------------------------------------------


def cargo_build(package, *flags):
    """Builds a package. Returns its executables by name, and cargo's messages."""
    command = ["cargo", "build", "--package", package, *flags, "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise Failure(f"{shlex.join(command)} failed")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    artifacts = [message for message in messages if message["reason"] == "compiler-artifact"]
    named = {one["target"]["name"]: Path(one["executable"]) for one in artifacts if one["executable"]}
    return named, messages


def build(package, binary, *flags):
    """The paths of a package's binary and of the static library of aws-lc that went into it."""
    executables, messages = cargo_build(package, *flags)
    binaries, libraries = [executables[binary]] if binary in executables else [], []
    for message in messages:
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


# --- Cold starts ------------------------------------------------------------------------------------------------------


def cold_start(function, binary, settings):
    """Starts a function, feeds it its event, and returns what that took: CPU in ms, peak memory in MiB."""
    event, is_right = EVENTS[function]
    with Function([binary], settings, function) as running:
        answer = running.invoke(event)
        peak = running.peak_kib()
        if answer.kind != "response" or not is_right(json.loads(answer.body)):
            raise Failure(f"{function}: {answer.kind} {answer.body}\n{running.logged()[-4000:]}")
        return running.end() / 1e6, peak / 1024


# --- Settings ---------------------------------------------------------------------------------------------------------


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
    cambio, _ = build("local", "cambio")
    shell = {**NO_GITHUB, "CLIENTS": CLIENTS}
    with tempfile.TemporaryDirectory() as folder, Services(Path(folder), cambio, shell) as local:
        print(f"\nmedians of {arguments.runs}      size MB  limit   CPU ms  peak MiB")
        for function, (binary, _) in built.items():
            size, limit = binary.stat().st_size, LIMITS[function]
            taken = [cold_start(function, binary, settings_of(function, local)) for _ in range(arguments.runs)]
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
