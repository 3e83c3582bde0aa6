"""Tests of run.py that need neither Java nor a build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import run  # noqa: E402


@pytest.mark.parametrize(
    ("results", "good"),
    [
        ({"a::one": "ok", "a::differs": "FAILED"}, True),
        ({"a::one": "FAILED", "a::differs": "FAILED"}, False),
        ({"a::one": "ok", "a::differs": "ok"}, False),
        ({"a::differs": "FAILED"}, False),
        ({"a::one": "ok"}, False),
    ],
    ids=["as listed", "a failure", "a listed test that passes", "no result", "no result of a listed test"],
)
def test_each_test_passes_and_each_listed_one_fails(results, good):
    assert run.judge(results, ["a::one", "a::differs"], {"a::differs": "a reason"}) == good


def without_java(folder: Path, ci: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PATH": str(folder), "CI": ci}
    return subprocess.run([sys.executable, HERE / "run.py"], env=env, capture_output=True, text=True)


def test_without_java_the_tests_are_skipped_in_one_line_and_in_ci_they_fail(tmp_path):
    skipped = without_java(tmp_path, "")
    assert (skipped.returncode, skipped.stdout) == (0, "dynamodb-local: skipped: java is not installed\n")

    failed = without_java(tmp_path, "true")
    assert failed.returncode == 2
    assert failed.stderr == "dynamodb-local: java is not installed; in CI, the tests must run on DynamoDB Local\n"


def test_an_old_java_is_named(tmp_path):
    for tool, said in (("java", 'openjdk version "11.0.2" 2019-01-15'), ("mvn", "")):
        (tmp_path / tool).write_text(f"#!/bin/sh\necho '{said}' >&2\n")
        (tmp_path / tool).chmod(0o755)

    skipped = without_java(tmp_path, "")

    assert skipped.stdout == (
        'dynamodb-local: skipped: Java 17 or newer is needed; this is openjdk version "11.0.2" 2019-01-15\n'
    )


class Tables:
    """A client of DynamoDB with these tables on two pages."""

    def __init__(self, *names):
        self.names = list(names)

    def get_paginator(self, operation):
        assert operation == "list_tables"
        return self

    def paginate(self):
        middle = len(self.names) // 2
        return [{"TableNames": self.names[:middle]}, {"TableNames": self.names[middle:]}]

    def delete_table(self, TableName):  # noqa: N803
        self.names.remove(TableName)


def test_the_tables_of_a_run_are_deleted_and_no_others():
    tables = Tables("cambio", "cambio-test-a-0-cambio", "cambio-test-a-12-cambio-keys", "cambio-test-ab-0-cambio")

    assert run.sweep(tables, "cambio-test-a") == 2
    assert tables.names == ["cambio", "cambio-test-ab-0-cambio"]


def test_the_list_of_differences_names_tests_with_reasons():
    listed = run.tomllib.loads(run.DIFFERENCES.read_text()).get("difference", [])
    assert all(set(difference) == {"test", "reason"} and difference["reason"] for difference in listed)
    sources = (run.ROOT / "tests/e2e").glob("*.rs")
    known = {
        f"{source.stem}::{name}"
        for source in sources
        for name in run.re.findall(r"^\s*(?:async )?fn (\w+)", source.read_text(), run.re.MULTILINE)
    }
    assert {difference["test"] for difference in listed} <= known
