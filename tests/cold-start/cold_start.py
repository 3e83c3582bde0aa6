#!/usr/bin/env python3
"""The release binaries as they ship: within their budgets, without jitter entropy, and able to answer a request.

    tests/cold-start/cold_start.py [--all] [--write] [--runs N]
    tests/cold-start/cold_start.py --sam
    tests/cold-start/cold_start.py --build [--all]

Builds token-exchange, me and authorizer with the release profile, or with `--all` every function, then

1. holds the size and the instructions of each against bench/budgets.toml, with a tolerance of 3%,
2. proves that aws-lc was built without its CPU-jitter entropy, which costs 30 ms of every cold start, and that the
   executables are position-independent and unwind after a panic (hardening.py),
3. starts each function N times under a stand-in of the Lambda runtime API, with exactly the settings that
   template.yaml gives it by default and an embedded DynamoDB, feeds it one event, checks the answer, and prints what
   that took. Functions that were not built with the release profile start as debug builds,
4. does the same once under AWS's Runtime Interface Emulator, with the events of events/ as well (emulator.py),
5. runs the tests of tests/e2e/processes.rs on the same binaries: processes that are killed at each of their calls, and
   processes that are frozen while their connections are lost. Not with `--write`,
6. soaks them for seconds (tests/soak): faults, kills, rotations and jumps of the clock, with each answer checked. Not
   with `--write` or `--all`.

The budgets are bytes and instructions, which do not depend on the load of the machine. `--write` replaces those of the
functions that were built.

`--sam` builds every function by `sam build` in a clone, and does only 4, with these. `--build` builds, and that is all.
"""

import argparse
import base64
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests"), str(ROOT / "tests/soak"), str(ROOT / "tests/cold-start")]
import emulator  # noqa: E402
from hardening import check_executables, check_profiles  # noqa: E402
from runtime import Failure, Function, request  # noqa: E402
from services import BENCH, NO_GITHUB, Services  # noqa: E402
from shipped import groups, zipped  # noqa: E402

BUDGETS = ROOT / "bench/budgets.toml"
# How much more than its budget a function may take. Counts of one build differ by less than 0.5%.
TOLERANCE = 0.03

# Inits of each function that are counted; the least is held against the budget.
INITS = 5

# Functions that `make test-release` builds with the release profile: those that sign, read and verify. The release
# workflow builds all.
RELEASED = ["token-exchange", "me", "authorizer"]

# The settings of each function: the same as in template.yaml, which tests/template holds against this.
SETTINGS = {
    "token-exchange": {
        "ACCESS_TOKEN_TTL", "ALLOWED_SIGNUPS", "API_URL", "CLIENTS", "CLIENT_RATE_LIMIT", "GITHUB_API_URL", "GITHUB_CLIENT_ID",
        "GITHUB_CLIENT_SECRET", "ISSUER_URL", "KEYS_TABLE_NAME", "LINK_BY_VERIFIED_EMAIL", "LINK_EMAIL_PROVIDERS", "LOG_LEVEL",
        "OAUTH_PROVIDERS", "OIDC_PROVIDERS", "PROVIDERS", "REFRESH_REUSE_WINDOW", "SESSION_ABSOLUTE_TTL", "SESSION_IDLE_TTL",
        "TABLE_NAME", "TOKEN_AUDIENCE", "USER_RATE_LIMIT",
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
        "OAUTH_PROVIDERS", "OIDC_PROVIDERS", "PROVIDERS", "SESSION_ABSOLUTE_TTL", "SESSION_IDLE_TTL", "TABLE_NAME", "TOKEN_AUDIENCE",
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
# The values of template.yaml without parameters, for settings that the local services need not name. tests/template
# holds them against it.
DEFAULTS = {
    "API_URL": "",
    "DOCUMENTS_BUCKET": "",
    "ACCESS_TOKEN_TTL": "900",
    "ALLOWED_SIGNUPS": "everyone",
    "AUDIENCES": "",
    "CLIENT_RATE_LIMIT": "12000",
    "GITHUB_API_URL": "https://api.github.com",
    "LINK_BY_VERIFIED_EMAIL": "off",
    "LINK_EMAIL_PROVIDERS": "",
    "LIVE": "false",
    "LOG_LEVEL": "info",
    "OAUTH_PROVIDERS": "",
    "OIDC_PROVIDERS": "",
    "PROVIDERS": "",
    "REFRESH_REUSE_WINDOW": "",
    "ROUTE_SCOPES": "",
    "SESSION_ABSOLUTE_TTL": "15552000",
    "SESSION_IDLE_TTL": "2592000",
    "SIGNING_KEY_TTL": "7776000",
    "SIGNING_KEY_TYPE": "RSA-2048",
    "USER_RATE_LIMIT": "120",
}


EXCHANGE = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&client_id=nobody&client_secret=wrong"
FORM = {"content-type": "application/x-www-form-urlencoded"}
# The one client that the local services are told of, as it authenticates.
SECRET = b"cold-start"
CLIENTS = json.dumps([{"client_id": "cold-start", "secret_sha256": [hashlib.sha256(SECRET).hexdigest()]}])
BASIC = {"authorization": "Basic " + base64.b64encode(b"cold-start:" + SECRET).decode()}

# function → event, and whether its answer is right. Budgets are of requests of users (`measured_with`).
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
    return run_cargo("build", "--package", package, *flags)


def run_cargo(*arguments):
    """Runs cargo, and returns the executables that it made by name, and its messages."""
    command = ["cargo", *arguments, "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        raise Failure(f"{shlex.join(command)} failed")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    artifacts = [message for message in messages if message["reason"] == "compiler-artifact"]
    named = {one["target"]["name"]: Path(one["executable"]) for one in artifacts if one["executable"]}
    return named, messages


def build(package, binary, *flags):
    """The paths of a package's binary and of the static library of aws-lc that went into it."""
    if "--release" in flags:
        executables, messages = cargo_build(package, *flags)
    else:
        # As `cargo run` and `cargo lambda watch` do: with --package, features differ and everything is built again.
        executables, messages = run_cargo("build", "--bin", binary, *flags)
    return executables[binary], aws_lc(messages)


def aws_lc(messages):
    """The static library of aws-lc that a build made."""
    libraries = []
    for message in messages:
        if message["reason"] == "build-script-executed" and re.search(r"\baws-lc-sys[@#]", message["package_id"]):
            libraries += Path(message["out_dir"]).glob("libaws_lc_*_crypto.a")
    if len(libraries) != 1:
        raise Failure(f"expected one aws-lc, found {libraries}")
    return libraries[0]


def build_released(functions):
    """Builds these functions with the release profile; returns the path of each, and the libraries of aws-lc."""
    binaries, libraries = {}, set()
    for group in groups(functions):
        packages = [argument for function in group for argument in ("--package", function)]
        built, messages = run_cargo("build", "--release", *packages)
        binaries |= {function: built[function] for function in group}
        libraries.add(aws_lc(messages))
    return binaries, libraries


def build_debug(names):
    """Builds these binaries for debugging, by --bin as `build` does."""
    binaries, _ = run_cargo("build", *(argument for name in names for argument in ("--bin", name)))
    return binaries


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


# --- Processes --------------------------------------------------------------------------------------------------------


def test_processes(binaries):
    """Runs the tests that kill and freeze processes, on these binaries."""
    folder = ROOT / "target/functions"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for function, binary in binaries.items():
        (folder / function).symlink_to(binary)
    # The end-to-end tests that `make test-rust` has built.
    command = ["cargo", "test", "--workspace", "--test", "e2e", "processes::", "--", "--ignored", "--nocapture"]
    environment = {**os.environ, "CAMBIO_FUNCTIONS": str(folder)}
    if subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL).returncode != 0:
        raise Failure(f"{shlex.join(command)} failed")


# --- Settings ---------------------------------------------------------------------------------------------------------


def settings_of(function, local):
    names = SETTINGS[function] | BY_LAMBDA
    settings = {name: local.get(name, DEFAULTS.get(name)) for name in names}
    if missing := sorted(name for name, value in settings.items() if value is None):
        raise Failure(f"`cambio services` names no {', '.join(missing)} for {function}")
    return settings


# --- Budgets ----------------------------------------------------------------------------------------------------------


class Event:
    """The event in EVENTS of a function that no user calls, for bench/instructions.py."""

    def __init__(self, function):
        self.function = function
        self.name = "rotate" if function == "rotate-keys" else EVENTS[function][0]["routeKey"]

    def event(self):
        return EVENTS[self.function][0]

    def check(self, answer):
        if answer.kind != "response" or not EVENTS[self.function][1](json.loads(answer.body)):
            raise Failure(f"{self.function}: {answer.kind} {answer.body[:2000]}")


# Functions that no user calls: the one reads public documents, and Lambda's schedule starts the other.
WITHOUT_A_USER = {"discovery", "rotate-keys"}


def measured_with(function, token_exchange, local):
    """The requests of a function whose instructions have a budget. `token_exchange`, an executable, signs users in."""
    # Imported here, because it imports this file.
    from scenarios import OTHERS, SCENARIOS, Provider, start

    if function in WITHOUT_A_USER:
        return [Event(function)]
    scenarios = [scenario for scenario in [*SCENARIOS.values(), *OTHERS.values()] if scenario.function == function]
    if not scenarios:
        raise Failure(f"{function} has no request to measure: add a scenario to bench/scenarios.py")
    settings = settings_of("token-exchange", local)
    return [start(scenario, token_exchange, settings, Provider(local)) for scenario in scenarios]


# Counts of one request before the lowest stands, if each of them met the turn of a minute.
TURNS = 3


def within_a_minute(measured, now=time.time):
    """Returns what `measured` returns, measured again if a minute began meanwhile.

    A function counts the requests of a client anew in each minute, at first with more writes.
    """
    counts = []
    for _ in range(TURNS):
        minute = now() // 60
        counts.append(measured())
        if now() // 60 == minute:
            return counts[-1]
    return min(counts)


def measure(binaries, cambio):
    """Returns what each function takes: {function: {"binary bytes": n, "init": n, <route>: n, ...}}."""
    # Imported here, because it imports this file.
    from instructions import count

    taken = {}
    with tempfile.TemporaryDirectory() as folder, Services(Path(folder), cambio, BENCH) as local:
        for function, binary in binaries.items():
            settings = settings_of(function, local)
            figures = {"binary bytes": binary.stat().st_size, "zip bytes": len(zipped(binary.read_bytes()))}
            for scenario in measured_with(function, binaries["token-exchange"], local):
                figures[scenario.name] = within_a_minute(lambda: count([binary], settings, scenario)["warm"])
            # The least of several: on a busy machine the read of the keys times out under valgrind, and is repeated.
            figures["init"] = min(count([binary], settings, scenario, warm=1)["init"] for _ in range(INITS))
            taken[function] = figures
    return taken


def overruns(taken, budgets):
    """The sentences about each figure that exceeds its budget, or has none."""
    found = []
    for function, figures in taken.items():
        for name, figure in figures.items():
            budget = budgets.get(function, {}).get(name)
            if budget is None:
                found.append(f"{function}: {name} has no budget; it takes {figure:,}")
            elif figure > budget * (1 + TOLERANCE):
                grown = (figure / budget - 1) * 100
                found.append(f"{function}: {name} grew by {grown:.1f}%, from {budget:,} to {figure:,}")
    return found


def read_budgets():
    return tomllib.loads(BUDGETS.read_text()) if BUDGETS.exists() else {}


def write_budgets(taken, builder):
    """Replaces the budgets of the functions in `taken`, and keeps those of the others."""
    budgets = read_budgets()
    budgets.pop("builder", None)
    budgets |= taken
    lines = [
        "# What each function may take: bytes of its stripped binary and of its deployment package, and instructions in user",
        "# space of its init and of a warm request, counted by callgrind. `make test-release` fails at 3% more. After a change",
        "# that is worth its cost: python3 tests/cold-start/cold_start.py --all --write",
        "",
        f"builder = {json.dumps(builder)}",
    ]
    for function in EVENTS:
        if figures := budgets.get(function):
            lines += ["", f"[{function}]"]
            lines += [f"{toml_key(name)} = {figure:_}" for name, figure in figures.items()]
    BUDGETS.write_text("\n".join(lines) + "\n")


def toml_key(name):
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def builder():
    """The compiler and the processor that the figures depend on."""
    rustc = subprocess.run(["rustc", "--version"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return f"{' '.join(rustc.split()[:2])}, {platform.machine()}"


def check_budgets(taken, is_writing):
    budgets, built_by = read_budgets(), builder()
    for function, figures in taken.items():
        print(f"\n{function:24} {'now':>12} {'budget':>12}")
        for name, figure in figures.items():
            budget = budgets.get(function, {}).get(name)
            change = f"{(figure / budget - 1) * 100:+6.1f}%" if budget else "   new"
            print(f"  {name:22} {figure:12,} {budget or 0:12,} {change}")
    if is_writing:
        write_budgets(taken, built_by)
        return print(f"\n{BUDGETS.relative_to(ROOT)} is written")
    if found := overruns(taken, budgets):
        what_to_do = (
            "Look for the cause (bench/instructions.py --profile). If the change is worth it, write the new budgets:"
            " python3 tests/cold-start/cold_start.py --all --write"
        )
        other = f"\nThe budgets are of {budgets.get('builder')}; this is {built_by}." * (budgets.get("builder") != built_by)
        raise Failure("\n  ".join(["over budget", *found]) + f"{other}\n{what_to_do}")


# --- AWS's Runtime Interface Emulator ---------------------------------------------------------------------------------


def answer_under_emulator(binaries, local):
    if not emulator.is_installed():
        return print("skipped: the events under AWS's Runtime Interface Emulator, which needs Go (CONTRIBUTING.md)")
    emulator.check(binaries, EVENTS, lambda function: settings_of(function, local))


def answer_as_sam_builds():
    if not emulator.is_installed():
        raise Failure("--sam needs AWS's Runtime Interface Emulator, which needs Go (CONTRIBUTING.md)")
    binaries, debug = emulator.build_by_sam(), build_debug(["cambio"])
    with tempfile.TemporaryDirectory() as folder:
        with Services(Path(folder), debug["cambio"], {**NO_GITHUB, "CLIENTS": CLIENTS}) as local:
            answer_under_emulator(binaries, local)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="build every function with the release profile")
    parser.add_argument("--sam", action="store_true", help="only build every function by sam build, and send it its events")
    parser.add_argument("--write", action="store_true", help="replace the budgets of what is built")
    parser.add_argument("--build", action="store_true", help="only build the functions with the release profile")
    parser.add_argument("--runs", type=int, default=5, help="cold starts of each (default 5)")
    arguments = parser.parse_args()
    if arguments.sam and (arguments.all or arguments.write or arguments.build):
        parser.error("--sam builds every function, and measures none: leave out --all, --write and --build")
    if arguments.sam:
        return answer_as_sam_builds()
    functions = list(EVENTS) if arguments.all else RELEASED
    if arguments.build:
        build_released(functions)
        return
    if not shutil.which("valgrind"):
        raise Failure("valgrind is missing, which counts the instructions: run tests/setup.sh valgrind")

    released, libraries = build_released(functions)
    debug = build_debug(["cambio", *(function for function in EVENTS if function not in released)])
    print()
    check_jitter_entropy(libraries)
    check_executables(released)
    check_profiles()
    check_budgets(measure(released, debug["cambio"]), arguments.write)

    shell = {**NO_GITHUB, "CLIENTS": CLIENTS}
    with tempfile.TemporaryDirectory() as folder, Services(Path(folder), debug["cambio"], shell) as local:
        print(f"\nmedians of {arguments.runs}       CPU ms  peak MiB")
        for function in EVENTS:
            binary = released.get(function) or debug[function]
            taken = [cold_start(function, binary, settings_of(function, local)) for _ in range(arguments.runs)]
            cpu, peak = (statistics.median(column) for column in zip(*taken))
            print(f"{function:16} {cpu:8.1f} {peak:9.1f}{'' if function in released else '  (debug build)'}")
        print("\nevery function starts and answers\n", flush=True)
        binaries = {function: released.get(function) or debug[function] for function in EVENTS}
        answer_under_emulator(binaries, local)
    if not arguments.write:
        test_processes(binaries)
    if not (arguments.write or arguments.all):
        # Imported here, because it imports this file.
        from soak import smoke

        smoke(binaries)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"cold start: {failure}")
