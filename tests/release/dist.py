#!/usr/bin/env python3
"""Builds the files of a deployment that needs no compiler.

    python3 tests/release/dist.py [--architecture arm64] [--only me discovery]
    python3 tests/release/dist.py --sbom

The first command makes the folder target/dist/cambio-<version>-<architecture> and an archive of it:

    template.yaml       the stack, whose functions are the ZIPs; the Serverless Application Repository takes it too
    <function>.zip      each function, as `bootstrap`
    <function>.cdx.json the crates that it is built from, as CycloneDX
    samconfig.toml      the options of `sam deploy`
    SHA256SUMS          the checksum of each file

The binaries hold the list of their crates as well (cargo-auditable). The same commit, toolchain and architecture give
the same bytes: times, owners and the folder of the build are left out.

The second command makes target/sbom/<function>.cdx.json, and builds nothing.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/release")]
from release import Refused, version_of  # noqa: E402
from shipped import groups, zipped  # noqa: E402
from tree_copy import mirror, tracked_files  # noqa: E402

TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
MACHINES = {"x86_64": "EM_X86_64", "arm64": "EM_AARCH64"}
BUILD = ROOT / "target/dist/build"
TOOLS = ROOT / "target/tools/bin"
BUILT = re.compile(r"^    Metadata: \{BuildMethod: rust-cargolambda, BuildProperties: \{Binary: ([\w-]+)\}\}\n", re.MULTILINE)
ARCHITECTURE = re.compile(r"^(  Architecture:\n    Type: String\n)    Default: arm64\n    AllowedValues: \[arm64, x86_64\]\n", re.MULTILINE)

README = """# Cambio {version}

Cambio trades a sign-in with next-auth for a token of your own API. This folder has its functions for {architecture},
and the template that deploys them. Check the files, then deploy, with the client id of your GitHub OAuth app, its
secret, and the SHA-256 of a secret that your app has:

    sha256sum --check --quiet SHA256SUMS
    sam deploy --parameter-overrides GitHubClientId=… GitHubClientSecret=… ClientSecretSha256=…

`docs/deploy.md` of the source has each step.
"""


# --- The template -----------------------------------------------------------------------------------------------------


def functions(template):
    """Returns the names of the binaries that the template deploys."""
    return BUILT.findall(template)


def metadata(version):
    return f"""Metadata:
  AWS::ServerlessRepo::Application:
    Name: cambio
    Description: Trades a sign-in with next-auth for a token of your own API, on Lambda and DynamoDB.
    Author: cambio
    SpdxLicenseId: Apache-2.0
    LicenseUrl: LICENSE-APACHE
    ReadmeUrl: README.md
    Labels: [authentication, oauth, token-exchange, jwt, next-auth]
    SemanticVersion: {version}

"""


def packaged(template, architecture, version):
    """Returns the template with the ZIPs in place of the sources."""
    names = functions(template)
    text = BUILT.sub("", template)
    for name in names:
        text, changed = re.subn(rf"^(      CodeUri: )functions/{name}$", rf"\g<1>{name}.zip", text, flags=re.MULTILINE)
        if changed != 1:
            raise Refused(f"template.yaml has {changed} lines `CodeUri: functions/{name}`, and not one")
    if left := re.findall(r"CodeUri: (?!\S+\.zip$)\S+|BuildMethod: \S+", text, flags=re.MULTILINE):
        raise Refused(f"template.yaml builds something that is in no ZIP: {', '.join(left)}")
    text, changed = ARCHITECTURE.subn(rf"\g<1>    Default: {architecture}\n    AllowedValues: [{architecture}]\n", text)
    if changed != 1:
        raise Refused("template.yaml has no parameter Architecture with the default arm64 and the values arm64 and x86_64")
    head, parameters, rest = text.partition("Parameters:\n")
    return head + metadata(version) + parameters + rest


# --- The files --------------------------------------------------------------------------------------------------------


def archived(folder):
    """Returns a folder as .tar.gz, without times and owners."""
    written = io.BytesIO()
    with gzip.GzipFile(fileobj=written, mode="wb", filename="", mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path in [folder, *sorted(folder.rglob("*"))]:
                entry = archive.gettarinfo(path, str(path.relative_to(folder.parent)))
                entry.mtime = entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                entry.mode = 0o755 if path.is_dir() else 0o644
                archive.addfile(entry, io.BytesIO(path.read_bytes()) if path.is_file() else None)
    return written.getvalue()


def sums(folder):
    """Returns the lines of SHA256SUMS."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def make(binaries, boms, architecture, to):
    """Writes the folder and its archive. `binaries` and `boms` are bytes by function. Returns the two paths."""
    version, template = version_of(ROOT), (ROOT / "template.yaml").read_text()
    name = f"cambio-{version}-{architecture}"
    folder, archive = to / name, to / f"{name}.tar.gz"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "template.yaml").write_text(packaged(template, architecture, version))
    (folder / "README.md").write_text(README.format(version=version, architecture=architecture))
    for file in ("samconfig.toml", "LICENSE-APACHE", "LICENSE-MIT"):
        shutil.copyfile(ROOT / file, folder / file)
    for function, binary in binaries.items():
        (folder / f"{function}.zip").write_bytes(zipped(binary))
    for function, bom in boms.items():
        (folder / f"{function}.cdx.json").write_bytes(bom)
    (folder / "SHA256SUMS").write_text(sums(folder))
    archive.write_bytes(archived(folder))
    return folder, archive


# --- The checks -------------------------------------------------------------------------------------------------------


def audit_data(binary):
    """Returns the crates that a binary says it is built from, as cargo-auditable wrote them, or None."""
    from elftools.elf.elffile import ELFFile

    section = ELFFile(io.BytesIO(binary)).get_section_by_name(".dep-v0")
    return section and json.loads(zlib.decompress(section.data()))


def crates_of_binary(binary):
    """Returns the crates of a binary, and those that only its build needs, macros among them: two {(name, version)}."""
    data = audit_data(binary)
    if data is None:
        return None
    linked, of_the_build = set(), set()
    for each in data["packages"]:
        if not each.get("root"):
            (of_the_build if each.get("kind") == "build" else linked).add((each["name"], each["version"]))
    return linked, of_the_build


def listed(crates):
    return ", ".join(f"{name} {version}" for name, version in sorted(crates))


def crates_of_bom(bom):
    """Returns the crates that a BOM lists as parts of the binary: {(name, version)}."""
    return {(each["name"], each["version"]) for each in json.loads(bom)["components"] if each.get("scope") != "excluded"}


def problems_of(folder, architecture):
    """Returns the sentences about what is wrong with the files of a folder."""
    from elftools.elf.elffile import ELFFile

    found = []
    if (folder / "SHA256SUMS").read_text() != sums(folder):
        found.append("SHA256SUMS has not the checksum of each file")
    template = (folder / "template.yaml").read_text()
    named = sorted(re.findall(r"^      CodeUri: (\S+)$", template, re.MULTILINE))
    if named != sorted(path.name for path in folder.glob("*.zip")):
        found.append(f"the template names {', '.join(named)}, and these are not the ZIPs of the folder")
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as package:
            entries = package.infolist()
            if [entry.filename for entry in entries] != ["bootstrap"] or entries[0].external_attr >> 16 != 0o100755:
                found.append(f"{path.name} has not one executable file `bootstrap`")
                continue
            binary = package.read("bootstrap")
        machine = ELFFile(io.BytesIO(binary))["e_machine"]
        if machine != MACHINES[architecture]:
            found.append(f"{path.name} is for {machine}, and not for {architecture}")
        crates, bom = crates_of_binary(binary), folder / f"{path.stem}.cdx.json"
        if crates is None:
            found.append(f"{path.name} does not say which crates it is built from: it was not built by cargo auditable")
        elif not bom.exists():
            found.append(f"{path.name} has no {bom.name}")
        else:
            (linked, of_the_build), in_bom = crates, crates_of_bom(bom.read_bytes())
            if lacking := linked - in_bom:
                found.append(f"{bom.name} lacks crates of {path.name}: {listed(lacking)}")
            if foreign := in_bom - linked - of_the_build:
                found.append(f"{bom.name} has crates that {path.name} is not built from: {listed(foreign)}")
    return found


# --- The build --------------------------------------------------------------------------------------------------------


def run(*command, cwd=ROOT, **environment):
    print("$", shlex.join(map(str, command)), flush=True)
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Refused(f"{shlex.join(map(str, command))} failed")


def tool(name):
    """Returns the path of a tool that tests/setup.sh installs."""
    found = shutil.which(name, path=f"{TOOLS}:{ROOT / '.venv/bin'}:{os.environ['PATH']}")
    if not found:
        raise Refused(f"{name} is missing: run tests/setup.sh python dist")
    return found


def cargo_home():
    return Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))


def build(names, architecture):
    """Builds the release binaries of these functions, each with the list of its crates. Returns their bytes."""
    lambda_, auditable = Path(tool("cargo-lambda")), Path(tool("cargo-auditable"))
    # Messages of panics have the paths of sources: those of this machine are left out.
    flags = f"--remap-path-prefix={cargo_home()}=/cargo --remap-path-prefix={ROOT}=/cambio"
    environment = {
        "PATH": f"{auditable.parent}:{lambda_.parent}:{os.environ['PATH']}",
        "CARGO_TARGET_DIR": str(BUILD),
        "RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} {flags}".strip(),
    }
    shutil.rmtree(BUILD / "lambda", ignore_errors=True)
    for group in groups(names):
        packages = [word for name in group for word in ("--package", name, "--bin", name)]
        run("cargo", "auditable", "lambda", "build", "--locked", "--release", "--target", TARGETS[architecture],
            *packages, **environment)  # fmt: skip
    return {name: (BUILD / "lambda" / name / "bootstrap").read_bytes() for name in names}


def boms(names, architecture):
    """Returns the CycloneDX documents of these functions."""
    tool("cargo-cyclonedx")
    with tempfile.TemporaryDirectory() as folder:
        # The tool writes beside each manifest.
        tree = Path(folder) / "cambio"
        mirror(ROOT, tree, tracked_files(ROOT))
        found = {}
        for name in names:
            run("cargo", "cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--no-build-deps",
                "--target", TARGETS[architecture], "--manifest-path", f"functions/{name}/Cargo.toml",
                "--override-filename", "bom", cwd=tree, PATH=f"{TOOLS}:{os.environ['PATH']}",
                SOURCE_DATE_EPOCH="0")  # fmt: skip
            text = (tree / "functions" / name / "bom.json").read_text()
            # Crates of this repository are named by their folder.
            found[name] = text.replace(f"{tree}/", "").replace(str(tree), ".").encode()
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
    parser.add_argument("--architecture", choices=TARGETS, default=here, help="default: that of this machine, %(default)s")
    parser.add_argument("--sbom", action="store_true", help="make the CycloneDX documents alone, in target/sbom")
    parser.add_argument("--only", nargs="+", metavar="FUNCTION", help="build these functions alone, and check them")
    options = parser.parse_args()
    names = functions((ROOT / "template.yaml").read_text())
    if unknown := sorted(set(options.only or []) - set(names)):
        raise Refused(f"there is no function {', '.join(unknown)}; there are {', '.join(names)}")
    names = options.only or names
    if options.sbom:
        to = ROOT / "target/sbom"
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for name, bom in boms(names, options.architecture).items():
            (to / f"{name}.cdx.json").write_bytes(bom)
            print(f"{(to / name).relative_to(ROOT)}.cdx.json: {len(crates_of_bom(bom))} crates")
        return
    documents = boms(names, options.architecture)
    binaries = build(names, options.architecture)
    folder, archive = make(binaries, documents, options.architecture, ROOT / "target/dist")
    for name in sorted(binaries):
        print(f"  {name:16} {len(binaries[name]):11,} bytes, {(folder / f'{name}.zip').stat().st_size:10,} in its ZIP")
    found = problems_of(folder, options.architecture)
    if options.only:
        found = [problem for problem in found if not problem.startswith("the template names")]
    if found:
        raise Refused("\n  ".join([f"{folder} is wrong:", *found]))
    print(f"{archive.relative_to(ROOT)}: {archive.stat().st_size:,} bytes, sha256 {hashlib.sha256(archive.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    try:
        main()
    except Refused as refused:
        sys.exit(f"dist: {refused}")
