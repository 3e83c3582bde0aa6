"""The commands inside the sentences and tables of the pages are commands that there are, with options that they have.

The blocks of the pages are run as blocks.py says. A command in a sentence is mostly a name to remember, so it is
parsed: by `make -n`, by the models of the AWS CLI, by `sam`, and by the `--help` of Cambio's own commands.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from botocore import session, xform_name

sys.path.insert(0, str(Path(__file__).parent))
from blocks import LISTED, Tested  # noqa: E402
from machine import RUST, Machine  # noqa: E402
from pages import ROOT, blocks, commands, pages  # noqa: E402

# A page of its own history: its commands were true when they were written.
PAGES = [page for page in pages() if page != "CHANGELOG.md"]
FOUND = sorted({(command, page) for page in PAGES for command in commands(page)})
BIN = Path(sys.executable).parent


def of(*programs):
    """The commands that begin with one of these, each once, with the ids of a parametrized test."""
    found = {command: page for command, page in FOUND if command.startswith(tuple(f"{p} " for p in programs))}
    return pytest.mark.parametrize("command", sorted(found), ids=lambda command: f"{found[command]}: {command}")


def make(*arguments):
    return subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


def complaint_of_make(command):
    """What is wrong with a command of make: a target that is none, or a variable that nothing reads."""
    _, *words = shlex.split(command)
    targets = [word for word in words if "=" not in word]
    done = make(*words)
    if done.returncode != 0:
        return done.stderr
    for given in set(words) - set(targets):
        # One of these is another command, if the variable is read: a value may be the default, or count as given.
        others = [[f"{given.split('=')[0]}={value}" if w == given else w for w in words] for value in ("", "other")]
        if {make(*other).stdout for other in others} == {done.stdout}:
            return f"{given} changes nothing"
    return None


@of("make")
def test_make_has_the_target_and_reads_the_variables(command):
    assert complaint_of_make(command) is None


def test_a_target_that_is_none_and_a_variable_that_is_not_read_are_noticed():
    assert "nonsense" in complaint_of_make("make nonsense")
    assert complaint_of_make("make fuzz ALL=1") == "ALL=1 changes nothing"


# The blocks that blocks.py has as `made`.
MAKES = [
    command
    for page, entries in LISTED.items()
    for block, entry in zip(blocks(page), entries, strict=True)
    if isinstance(entry, Tested) and entry.file == "Makefile"
    for command in block.commands
    if command.startswith("make ")
]


@pytest.mark.parametrize("command", MAKES)
def test_make_takes_the_command_of_a_block_that_is_not_run(command):
    assert complaint_of_make(command) is None


# Commands of the AWS CLI's own, in no model.
OWN = {"configure": set(), "sso login": set(), "logs tail": {"--follow", "--format", "--filter-pattern"}}


def complaint_of_aws(command):
    _, *words = shlex.split(command)
    options = [word for word in words if word.startswith("--")]
    name = " ".join(words[:2]).split(" --")[0]
    if name in OWN:
        return [option for option in options if option not in OWN[name]]
    model = session.get_session().get_service_model(words[0])
    operations = {xform_name(operation, "-"): operation for operation in model.operation_names}
    if words[1] not in operations:
        return [words[1]]
    shape = model.operation_model(operations[words[1]]).input_shape
    members = {f"--{xform_name(member, '-')}" for member in shape.members} | {"--query", "--output", "--region"}
    return [option for option in options if option not in members]


@of("aws")
def test_aws_has_the_command_and_its_options(command):
    assert complaint_of_aws(command) == []


def test_a_command_that_aws_does_not_have_is_noticed():
    assert complaint_of_aws("aws dynamodb drop-table") == ["drop-table"]
    assert complaint_of_aws("aws pipes list-pipes --prefix x") == ["--prefix"]


SAM = sorted({part for command, _ in FOUND for part in command.split(" && ") if part.startswith("sam ")})


@pytest.mark.parametrize("name", sorted({command.split()[1] for command in SAM}))
def test_sam_has_the_command_and_its_options(name):
    done = subprocess.run([BIN / "sam", name, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    options = {word for command in SAM if command.split()[1] == name for word in command.split() if word[:2] == "--"}
    assert [option for option in options if option not in done.stdout] == []


@of("python3", "tests/setup.sh")
def test_a_script_is_there_and_knows_the_options(command):
    file, *words = command.removeprefix("python3 ").split()
    script = (ROOT / file).read_text()
    assert [word for word in words if word not in script] == []


# --- Cambio's own commands --------------------------------------------------------------------------------------------

# What the command of a page is for the binary of `cargo run`.
LOCAL = {"cargo run -p admin -- ": "admin ", "cambio-admin ": "admin ", "cargo run -- ": "", "npx cambio dev ": ""}


def for_the_binary(command):
    """The command with which the binary says how it is used."""
    prefix = next(prefix for prefix in LOCAL if command.startswith(prefix))
    given = re.sub("<[^>]+>", "x", command.removeprefix(prefix).replace("<id>", "01a2204b-ade7-7286-ae7e-67a1e9fae2bc"))
    words = [word for word in shlex.split(LOCAL[prefix] + given) if word != "…"]
    return shlex.join([*words, "--help"])


@pytest.fixture(scope="module")
def machine():
    new = Machine(ROOT / "target/walk")
    new.install(*RUST)
    yield new
    new.close()


@of(*(prefix.strip() for prefix in LOCAL))
def test_cambio_has_the_command_and_its_options(machine, command):
    assert "Usage: cambio" in machine.run(f"cargo run -- {for_the_binary(command)}")


def test_a_command_that_cambio_does_not_have_is_noticed(machine):
    for command in ("cambio-admin users forget x", "cambio-admin migrate --never", "cargo run -- nonsense"):
        assert "error: " in machine.run(f"cargo run -- {for_the_binary(command)}", fails=True), command


# clients/cambio/test and tests/npx run these.
NPX = re.findall(r"(?m)^  (\w+): \{ summary", (ROOT / "clients/cambio/src/main.ts").read_text())


@of("npx cambio")
def test_npx_cambio_has_the_command(command):
    assert command.split()[2] in NPX
