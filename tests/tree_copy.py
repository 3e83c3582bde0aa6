"""A copy of the tree, the dependencies that cargo has built for the tree, and a build of the tests of the copy."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


def say(text: str = "") -> None:
    """Prints a line at once, also into a file."""
    print(text, flush=True)


def tracked_files(root: Path) -> list[str]:
    """Returns the files of the working tree that git tracks, or would track once they are added."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return sorted({path for path in listed.split("\0") if path and (root / path).is_file()})


def mirror(root: Path, copy: Path, files: list[str], content: Callable[[str], bytes] | None = None) -> int:
    """Makes `copy` a copy of `files`, each with its `content`. Returns the number of files that changed.

    Files that stay the same are not touched, so that cargo builds no more than it must. The folder `target` stays.
    """
    changed = 0
    for path in files:
        wanted = content(path) if content else (root / path).read_bytes()
        to = copy / path
        if to.is_file() and to.read_bytes() == wanted:
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(wanted)
        shutil.copymode(root / path, to)
        changed += 1
    kept = set(files)
    for old in copy.rglob("*"):
        path = old.relative_to(copy)
        if old.is_file() and path.parts[0] != "target" and str(path) not in kept:
            old.unlink()
            changed += 1
    return changed


def packages(root: Path, files: list[str]) -> set[str]:
    """Returns the names of the workspace's packages and of their libraries; their manifests are among `files`."""
    manifests = (root / path for path in files if Path(path).name == "Cargo.toml")
    read = [tomllib.loads(path.read_text()) for path in manifests if path.is_file()]
    named = [manifest[table] for manifest in read for table in ("package", "lib") if table in manifest]
    return {table["name"] for table in named if "name" in table}


def link_or_copy(source: str, to: str) -> None:
    try:
        os.link(source, to)
    except OSError:
        shutil.copy2(source, to)


def copy_dependencies(built: Path, target: Path, own: set[str]) -> bool:
    """Copies the dependencies in the folder `built` to a new target folder. Returns whether it copied any.

    What is compiled is linked, since compilers replace such files and do not write into them.

    The packages `own` are left out: cargo knows them by their place in the workspace, and would take those of the tree
    for those of the copy.
    """
    if target.exists() or not (built / "debug" / "deps").is_dir():
        return False

    def of_the_workspace(_: str, names: list[str]) -> list[str]:
        crates = {name: name.rsplit("-", 1)[0] for name in names}
        return [name for name, crate in crates.items() if {crate, crate.removeprefix("lib").replace("_", "-")} & own]

    for directory in (".fingerprint", "build", "deps"):
        try:
            folder = Path("debug") / directory
            copy = link_or_copy if directory == "deps" else shutil.copy2
            shutil.copytree(
                built / folder, target / folder, symlinks=True, ignore=of_the_workspace, copy_function=copy
            )
        except shutil.Error:
            # Another build removed files meanwhile. Cargo builds what is missing.
            pass
    return True


def clone(root: Path, folder: Path) -> Path:
    """Makes the folder `cambio` in `folder` a clone, and returns it.

    Cargo builds the packages of the workspace there, once for all tests with the same `folder`. It takes their
    dependencies from the build of the tree.
    """
    copy, target, files = folder / "cambio", folder / "target", tracked_files(root)
    # `mirror` removes other files than those of git, one by one.
    for name in ("node_modules", ".cambio", ".venv", ".next"):
        for old in (copy / name, *copy.glob(f"*/*/{name}")):
            old.unlink() if old.is_symlink() else shutil.rmtree(old, ignore_errors=True)
    mirror(root, copy, files)
    copy_dependencies(root / "target", target, packages(root, files))
    target.mkdir(exist_ok=True)
    if not (copy / "target").is_symlink():
        (copy / "target").symlink_to(target)
    return copy


@dataclass
class Binary:
    """A test binary, and the directory in which cargo would start it."""

    executable: str
    directory: str
    tests: list[str] = field(default_factory=list)


def build_tests(
    copy: Path, target: Path, options: list[str], switch: str
) -> tuple[list[tuple[dict, Binary]], list[dict], str]:
    """Builds tests of a copy, without the environment variable `switch`. CARGO names another command than cargo.

    Returns each binary with cargo's description of its target, or none if the build fails; the errors of rustc; and
    what cargo said beside.
    """
    cargo = shlex.split(os.environ.get("CARGO", "cargo"))
    command = [*cargo, "test", "--workspace", "--no-run", "--message-format=json", *options]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target), "CARGO_TERM_COLOR": "never"}
    environment.pop(switch, None)
    built = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    binaries: list[tuple[dict, Binary]] = []
    errors: list[dict] = []
    for line in built.stdout.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("reason") == "compiler-message" and message["message"]["level"] == "error":
            errors.append(message["message"])
        elif message.get("reason") == "compiler-artifact" and message["executable"] and message["profile"]["test"]:
            directory = str(Path(message["manifest_path"]).parent)
            binaries.append((message["target"], Binary(message["executable"], directory)))
    return (binaries if built.returncode == 0 else []), errors, built.stderr
