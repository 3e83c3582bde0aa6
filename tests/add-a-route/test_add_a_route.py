"""docs/add-a-route.md, followed literally in a copy of the tree; and examples/orders, the output of its first step."""

import filecmp
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from tree_copy import clone  # noqa: E402

PAGE = ROOT / "docs/add-a-route.md"
ENV = {
    # The target folder is that of the clone. In a shared one, cargo would take the packages of the clone for those of
    # the tree.
    **{name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"},
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "CARGO_NET_OFFLINE": "true",
    "CARGO_TERM_COLOR": "never",
    "SAM_CLI_TELEMETRY": "0",
}


def steps(page):
    """The commands of a page, which follow a `$`, each with the lines that it is to print."""
    found, indent = [], None
    for line in page.splitlines():
        if command := re.fullmatch(r"( {4,})\$ (.+)", line):
            indent = command[1]
            found.append((command[2], []))
        elif indent and line.startswith(indent):
            found[-1][1].append(line.removeprefix(indent))
        else:
            indent = None
    return found


def pattern(lines):
    """`…` is anything, also many lines where it stands alone."""
    return "".join(".*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n+" for line in lines)


def run(command, folder):
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=folder, env=ENV, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree():
    """The clone in which tests/walk runs the commands of the other pages, so that its packages are built once."""
    return clone(ROOT, ROOT / "target/walk")


def test_each_command_of_the_page_prints_what_the_page_says(tree):
    found = steps(PAGE.read_text())
    assert len(found) > 5

    for command, expected in found:
        printed = run(command, tree)
        # Tests run in any order.
        printed = "\n".join(sorted(printed.splitlines())) + "\n" if command.startswith("cargo test") else printed
        assert re.search(rf"\A{pattern(expected)}\Z", printed, re.DOTALL), f"{command}\n{printed}"


def test_the_example_is_what_the_template_makes(tmp_path):
    run(f"cargo lambda new --template {ROOT}/templates/route orders", tmp_path)

    made, example = tmp_path / "orders", ROOT / "examples/orders"
    files = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert files == set(run("git ls-files --cached --others --exclude-standard", example).splitlines())
    _, different, unreadable = filecmp.cmpfiles(made, example, files, shallow=False)
    assert (different, unreadable) == ([], [])


def test_what_the_template_makes_is_formatted(tmp_path):
    run(f"cargo lambda new --template {ROOT}/templates/route order-items", tmp_path)

    run("find order-items -name '*.rs' -exec rustfmt --edition 2024 --check {} +", tmp_path)


def test_a_page_that_says_something_else_is_noticed():
    assert steps("1. Do:\n\n       $ echo a\n       a\n       …\n\n    other\n    $ b\n") == [("echo a", ["a", "…"]), ("b", [])]
    assert re.fullmatch(pattern(["a", "…", "b… c"]), "a\nx\ny\nbb c\n", re.DOTALL)
    assert not re.fullmatch(pattern(["a", "b"]), "a\nc\n", re.DOTALL)
