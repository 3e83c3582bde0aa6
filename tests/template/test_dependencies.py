"""docs/dependencies.md holds each direct dependency of the functions, and no other crate."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import dependencies  # noqa: E402


@pytest.fixture(scope="module")
def built():
    return dependencies.measured()


def differences(page, built):
    return dependencies.differences(page, *built)


@pytest.fixture
def page():
    return dependencies.PAGE.read_text()


def test_each_direct_dependency_of_a_function_has_a_line_and_each_line_is_one(page, built):
    assert len(built[1]) > 20 and len(built[0]) == 9
    assert differences(page, built) == []


def test_a_dependency_without_a_line_is_noticed(page, built):
    without = "".join(line for line in page.splitlines(keepends=True) if not line.startswith("| `httpdate`"))
    assert differences(without, built) == ["httpdate is a direct dependency and has no line: say why it is there"]


def test_a_line_without_a_dependency_is_noticed(page, built):
    stale = page.replace("| `http` |", "| `openssl` | all | 1 | 1 | nothing |\n| `http` |")
    assert differences(stale, built) == ["openssl has a line and is no direct dependency: remove the line"]


def test_a_number_that_is_wrong_is_noticed_and_written(page, built):
    number = built[1]["axum"].brings
    wrong = page.replace(f"| `axum` | all | {number} |", f"| `axum` | all | {number + 1} |")
    wrong = wrong.replace("| `me` | 1", "| `me` | 2")
    found = differences(wrong, built)
    assert len(found) == 2 and "axum" in found[0] and "me has" in found[1]
    assert dependencies.written(wrong, *built) == page


def test_what_a_dependency_brings_is_what_only_it_needs():
    tree = "0me v1\n1cambio v1\n2a v1\n3b v1\n3c v1\n2c v1 (*)\n"
    edges = dependencies.edges_of(tree)
    assert edges["a v1"] == {"b v1", "c v1"} and edges["cambio v1"] == {"a v1", "c v1"}
    everything = dependencies.reached(edges, "me v1")
    assert everything - dependencies.reached(edges, "me v1", ({"me", "cambio"}, "a")) == {"a v1", "b v1"}
