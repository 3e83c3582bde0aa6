#!/usr/bin/env python3
"""Runs the end-to-end tests on another DynamoDB than the embedded one.

    tests/dynamodb-local/run.py                  the store, race, budget and fault tests, on DynamoDB Local
    tests/dynamodb-local/run.py --all            all of them
    tests/dynamodb-local/run.py --url https://dynamodb.eu-west-1.amazonaws.com --profile NAME
                                                 on an AWS account, with tables that are deleted afterwards

The binary of the tests is that of `cargo test --workspace`. differences.toml lists the tests that must fail on DynamoDB
Local. The run fails if any other test fails, or if one of these passes.

The exit code is 0 if all is as it should be, 1 if a test is not, 2 if the tests could not be run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
DIFFERENCES = HERE / "differences.toml"
LOG = ROOT / "target" / "dynamodb-local-tests.log"
JAVA = 17

# What depends on DynamoDB most, as filters of names: a module, or a test.
SUBSET = [
    # The store.
    "account::", "admin::", "keys::", "restore::", "sessions::",
    # Races, with the conflicts that the proxy of the tests makes.
    "conflicts::",
    "clients::t11_of_many_who_use_an_assertion_at_once_one_does",
    "identities::t60_",
    "rotation::runs_at_the_same_time_leave_valid_keys",
    "rotation::the_first_keys_are_made_once_however_many_make_them",
    "sign_in::a_hundred_first_sign_ins_at_once_make_one_user",
    "sign_ups::a_hundred_first_sign_ins_with_one_address_and_two_providers_are_one_user",
    # Budgets, lost answers and repeated requests, and each fault at each call of a sign-in, a refresh, a revocation and
    # an unlinking. The matrix of all cases takes longer than the tests above together, so it runs with --all.
    "budgets::", "t72_", "faults::t70_every_call_of_the_core_survives_every_fault",
]

RESULT = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", re.MULTILINE)


def fail(message: str) -> None:
    print(f"dynamodb-local: {message}", file=sys.stderr)
    sys.exit(2)


def missing() -> str | None:
    """Returns what is missing for DynamoDB Local."""
    for tool in ["java", "mvn"]:
        if not shutil.which(tool):
            return f"{tool} is not installed"
    said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', said)
    if not version or int(version[1]) < JAVA:
        return f"Java {JAVA} or newer is needed; this is {said.splitlines()[0] if said else 'unknown'}"
    return None


def binary() -> str:
    """Builds the end-to-end tests as `cargo test --workspace` does, and returns the path of the binary."""
    command = ["cargo", "test", "--workspace", "--test", "e2e", "--no-run", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        fail("the end-to-end tests could not be built")
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "e2e" and message.get("executable"):
            return message["executable"]
    return fail("cargo names no binary of the end-to-end tests")


def names(tests: str, filters: list[str]) -> list[str]:
    listed = subprocess.run([tests, "--list", "--format=terse"], capture_output=True, text=True, check=True)
    known = [line.removesuffix(": test") for line in listed.stdout.splitlines() if line.endswith(": test")]
    for filter in filters:
        if not any(filter in name for name in known):
            fail(f"no test has the name {filter}")
    return [name for name in known if not filters or any(filter in name for filter in filters)]


def run(tests: str, selected: list[str], env: dict[str, str]) -> dict[str, str]:
    """Runs the tests, prints each result as it comes, and returns them."""
    results = {}
    with open(LOG, "w") as log:
        process = subprocess.Popen(
            [tests, "--exact", *selected],
            # As cargo does it.
            cwd=ROOT / "tests",
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for line in process.stdout:
            log.write(line)
            if result := RESULT.match(line):
                results[result[1]] = result[2]
                print(f"{len(results)}/{len(selected)} {result[1]}: {result[2]}", flush=True)
        process.wait()
    if process.returncode not in (0, 101):
        fail(f"the tests ended with {process.returncode}; {LOG.relative_to(ROOT)} has their output")
    return results


def judge(results: dict[str, str], selected: list[str], differences: dict[str, str]) -> bool:
    """Prints what is not as it should be."""
    good = True
    for name in selected:
        result = results.get(name, "no result")
        if name in differences and result == "ok":
            print(f"dynamodb-local: {name} passes; remove it from {DIFFERENCES.relative_to(ROOT)}")
            good = False
        elif result not in (("FAILED",) if name in differences else ("ok", "ignored")):
            print(f"dynamodb-local: {name}: {result}; {LOG.relative_to(ROOT)} has its output")
            good = False
    return good


def account(url: str, profile: str | None) -> tuple[dict[str, str], object]:
    """Returns the variables of the tests and a client for the deletion of tables."""
    try:
        import boto3
    except ImportError:
        fail("boto3 is missing; run tests/setup.sh python, and this file with .venv/bin/python")
    session = boto3.Session(profile_name=profile)
    credentials = session.get_credentials()
    if credentials is None:
        fail("there are no AWS credentials; name a profile with --profile")
    region = re.search(r"dynamodb\.([a-z0-9-]+)\.amazonaws\.com", url)
    region = region[1] if region else session.region_name or "us-east-1"
    credentials = credentials.get_frozen_credentials()
    env = {
        "CAMBIO_TEST_DYNAMODB": url,
        "AWS_REGION": region,
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.token or "",
    }
    return env, session.client("dynamodb", endpoint_url=url, region_name=region)


def sweep(client: object, prefix: str) -> int:
    """Deletes the tables that a run left behind, and returns their number."""
    pages = client.get_paginator("list_tables").paginate()
    left = [name for page in pages for name in page["TableNames"] if name.startswith(f"{prefix}-")]
    for name in left:
        print(f"dynamodb-local: deleting the table {name}, which a test left behind")
        client.delete_table(TableName=name)
    return len(left)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run all end-to-end tests")
    parser.add_argument("--url", help="the URL of a DynamoDB, instead of DynamoDB Local")
    parser.add_argument("--profile", help="the AWS profile for --url")
    parser.add_argument("filters", nargs="*", help="run the tests whose names have one of these texts")
    options = parser.parse_args()
    started = time.monotonic()

    differences = {}
    client = None
    if options.url:
        env, client = account(options.url, options.profile)
        prefix = env["CAMBIO_TEST_TABLE_PREFIX"] = f"cambio-test-{uuid.uuid4().hex[:8]}"
        print(f"dynamodb-local: the tables of this run begin with {prefix}-")
    else:
        if lack := missing():
            if os.environ.get("CI"):
                fail(f"{lack}; in CI, the tests must run on DynamoDB Local")
            print(f"dynamodb-local: skipped: {lack}")
            return 0
        subprocess.run([ROOT / "tests/setup.sh", "dynamodb-local"], check=True)
        env = {"CAMBIO_TEST_DYNAMODB": "local-java"}
        listed = tomllib.loads(DIFFERENCES.read_text()).get("difference", [])
        differences = {difference["test"]: difference["reason"] for difference in listed}

    tests = binary()
    every = names(tests, [])
    if unknown := differences.keys() - set(every):
        fail(f"{DIFFERENCES.relative_to(ROOT)} names no test: {', '.join(sorted(unknown))}")
    selected = every if options.all else names(tests, options.filters or SUBSET)
    try:
        good = judge(run(tests, selected, env), selected, differences)
    finally:
        left = sweep(client, prefix) if client else 0
    if left and good:
        print(f"dynamodb-local: {left} tables were left behind by tests that passed")
        good = False
    differing = len(differences.keys() & set(selected))
    if good:
        print(f"{len(selected) - differing} passed, {differing} failed as listed, in {time.monotonic() - started:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
