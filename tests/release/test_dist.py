"""The files of a deployment without a compiler: their template, their ZIPs and their checksums.

The binaries are those of this system: compiling is left to `make dist`, which checks what it made in the same way.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from cfnlint.decode import cfn_yaml

sys.path.insert(0, str(Path(__file__).parent))
import dist  # noqa: E402
from dist import ROOT  # noqa: E402
from release import Refused, version_of  # noqa: E402

TEMPLATE = (ROOT / "template.yaml").read_text()
FUNCTIONS = dist.functions(TEMPLATE)
HERE = {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]
CRATES = [{"name": "serde", "version": "1.0.0"}, {"name": "tokio", "version": "1.2.3"}]


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    """A program of this system, with a list of crates as cargo-auditable writes it."""
    folder = tmp_path_factory.mktemp("binary")
    of_the_build = [{"name": name, "version": "1.1.1", "kind": "build"} for name in ("cc", "tokio-macros")]
    packages = [*CRATES, *of_the_build, {"name": "me", "version": "0.1.0", "root": True}]
    (folder / "data").write_bytes(zlib.compress(json.dumps({"packages": packages}).encode()))
    program = os.path.realpath("/bin/true")
    command = ["objcopy", f"--add-section=.dep-v0={folder}/data", program, folder / "with"]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "with").read_bytes()


BOM = json.dumps(
    {
        "components": [
            *({**each, "scope": "required"} for each in CRATES),
            # The compiler runs a procedural macro: cargo-cyclonedx lists it, and cargo-auditable as one of the build.
            {"name": "tokio-macros", "version": "1.1.1", "scope": "required"},
            {"name": "cc", "version": "1.1.1", "scope": "excluded"},
        ]
    }
).encode()


@pytest.fixture
def made(binary, tmp_path):
    binaries, boms = {name: binary for name in FUNCTIONS}, {name: BOM for name in FUNCTIONS}
    return dist.make(binaries, boms, HERE, tmp_path)


def rewritten(folder):
    (folder / "SHA256SUMS").write_text(dist.sums(folder))


# --- The template -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", dist.TARGETS)
def test_the_packaged_template_is_the_template_but_for_the_zips_and_the_architecture(architecture):
    wanted, packaged = cfn_yaml.loads(TEMPLATE), cfn_yaml.loads(dist.packaged(TEMPLATE, architecture, "1.2.3"))
    about = packaged["Metadata"].pop("AWS::ServerlessRepo::Application")
    assert packaged.pop("Metadata") == wanted.pop("Metadata", {})
    assert about["SemanticVersion"] == "1.2.3"
    wanted["Parameters"]["Architecture"] |= {"Default": architecture, "AllowedValues": [architecture]}
    functions = {name: each for name, each in wanted["Resources"].items() if each["Type"] == "AWS::Serverless::Function"}
    assert len(functions) == len(FUNCTIONS) >= 9
    for each in functions.values():
        name = each.pop("Metadata")["BuildProperties"]["Binary"]
        assert each["Properties"]["CodeUri"] == f"functions/{name}"
        each["Properties"]["CodeUri"] = f"{name}.zip"
    assert packaged == wanted


@pytest.mark.parametrize(
    "changed, reason",
    [
        (TEMPLATE.replace("CodeUri: functions/me\n", "CodeUri: functions/you\n"), "0 lines `CodeUri: functions/me`"),
        (TEMPLATE.replace("{Binary: me}}\n", "{Binary: me}}  # one\n"), "in no ZIP: BuildMethod"),
        (TEMPLATE.replace("Default: arm64\n", "Default: x86_64\n"), "no parameter Architecture"),
    ],
)
def test_a_template_that_cannot_be_packaged_is_refused(changed, reason):
    assert changed != TEMPLATE
    with pytest.raises(Refused, match=reason):
        dist.packaged(changed, "arm64", "1.2.3")


def test_sam_accepts_the_packaged_template(made):
    environment = {**os.environ, "AWS_DEFAULT_REGION": "eu-central-1", "SAM_CLI_TELEMETRY": "0"}
    command = [Path(sys.executable).parent / "sam", "validate", "--lint"]
    done = subprocess.run(command, cwd=made[0], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and "is a valid SAM Template" in done.stdout, done.stdout + done.stderr


def test_the_metadata_is_what_the_application_repository_accepts(made):
    about = cfn_yaml.loads((made[0] / "template.yaml").read_text())["Metadata"]["AWS::ServerlessRepo::Application"]
    assert re.fullmatch(r"[a-zA-Z0-9-]{1,140}", about["Name"])
    assert re.fullmatch(r"[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", about["Author"]) and len(about["Author"]) <= 127
    assert 1 <= len(about["Description"]) <= 256
    assert len(about["Labels"]) <= 10
    assert all(re.fullmatch(r"[a-zA-Z0-9+\-_:/@]{1,127}", label) for label in about["Labels"])
    assert about["SemanticVersion"] == version_of(ROOT)
    for key in ("LicenseUrl", "ReadmeUrl"):
        assert (made[0] / about[key]).is_file()


# --- The files --------------------------------------------------------------------------------------------------------


def test_the_folder_is_complete_and_its_checksums_are_right(made):
    folder, archive = made
    assert dist.problems_of(folder, HERE) == []
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == len(list(folder.iterdir())) - 1
    with tarfile.open(archive) as packed:
        inside = {Path(member.name).name: packed.extractfile(member).read() for member in packed if member.isfile()}
    assert inside == {path.name: path.read_bytes() for path in folder.iterdir()}
    # For the deployment: the options of SAM, as they are in the tree.
    assert inside["samconfig.toml"] == (ROOT / "samconfig.toml").read_bytes()


def test_a_zip_holds_one_executable_bootstrap(made, binary, tmp_path):
    for path in made[0].glob("*.zip"):
        subprocess.run([sys.executable, "-m", "zipfile", "-t", path], check=True, capture_output=True)
        with zipfile.ZipFile(path) as package:
            (entry,) = package.infolist()
            assert entry.filename == "bootstrap" and package.read(entry) == binary
            assert entry.create_system == 3 and entry.external_attr >> 16 == 0o100755


def test_the_same_binaries_give_the_same_bytes(made, binary, tmp_path):
    folder, archive = made
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    boms = {name: BOM for name in FUNCTIONS}
    again, archive_again = dist.make({name: binary for name in FUNCTIONS}, boms, HERE, tmp_path / "again")

    assert archive_again.read_bytes() == archive.read_bytes()
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}


# --- The checks -------------------------------------------------------------------------------------------------------


def test_a_file_that_changed_is_noticed(made):
    (made[0] / "template.yaml").write_text("Resources: {}\n")
    assert dist.problems_of(made[0], HERE)[0] == "SHA256SUMS has not the checksum of each file"


def test_a_zip_that_is_not_there_or_that_no_function_has_is_noticed(made):
    folder = made[0]
    (folder / "me.zip").rename(folder / "you.zip")
    (folder / "me.cdx.json").rename(folder / "you.cdx.json")
    rewritten(folder)
    (problem,) = dist.problems_of(folder, HERE)
    assert "these are not the ZIPs of the folder" in problem


def test_a_bootstrap_that_cannot_be_executed_is_noticed(made, binary):
    with zipfile.ZipFile(made[0] / "me.zip", "w") as package:
        package.writestr("bootstrap", binary)
    rewritten(made[0])
    assert dist.problems_of(made[0], HERE) == ["me.zip has not one executable file `bootstrap`"]


def test_a_binary_for_another_processor_is_noticed(made):
    other = next(name for name in dist.TARGETS if name != HERE)
    problems = dist.problems_of(made[0], other)
    assert len(problems) == len(FUNCTIONS) and all(f"and not for {other}" in problem for problem in problems)


def test_a_binary_without_its_crates_is_noticed(made):
    (made[0] / "me.zip").write_bytes(dist.zipped(Path("/bin/true").read_bytes()))
    rewritten(made[0])
    (problem,) = dist.problems_of(made[0], HERE)
    assert problem.startswith("me.zip does not say which crates it is built from")


def test_a_bom_that_is_not_there_or_that_differs_from_its_binary_is_noticed(made):
    folder = made[0]
    (folder / "me.cdx.json").unlink()
    (folder / "revoke.cdx.json").write_bytes(BOM.replace(b"1.2.3", b"1.2.4"))
    rewritten(folder)
    missing, lacking, foreign = dist.problems_of(folder, HERE)
    assert missing == "me.zip has no me.cdx.json"
    assert lacking == "revoke.cdx.json lacks crates of revoke.zip: tokio 1.2.3"
    assert foreign == "revoke.cdx.json has crates that revoke.zip is not built from: tokio 1.2.4"
    assert hashlib.sha256(BOM).hexdigest() in (folder / "SHA256SUMS").read_text()


def test_a_function_that_is_not_there_is_named():
    command = [sys.executable, ROOT / "tests/release/dist.py", "--only", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "there is no function nothing; there are token-exchange" in done.stderr
