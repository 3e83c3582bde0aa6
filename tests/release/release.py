#!/usr/bin/env python3
"""Prepares a release, up to the push of its tag.

Sets the version everywhere, dates the changes in CHANGELOG.md, runs `.ci/run`, builds the packages, commits and tags.
Nothing leaves this machine. The last line printed is the push, which starts .github/workflows/release.yml.

    python3 tests/release/release.py 1.2.0              the release
    python3 tests/release/release.py --dry-run [1.2.0]  the same changes in a copy of the tree, shown and not kept
    python3 tests/release/release.py --version          the version of the tree; fails if two files disagree
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from tree_copy import mirror, packages, tracked_files  # noqa: E402

# https://semver.org, without build metadata: npm drops it.
NUMBER = r"(?:0|[1-9]\d*)"
SEMVER = re.compile(rf"({NUMBER})\.({NUMBER})\.({NUMBER})(?:-((?:alpha|beta|rc)\.{NUMBER}))?")
V = r"(?P<version>[^\"\s]+)"

# Each place of the version: the file, the pattern, and how often it is there.
PLACES = [
    ("Cargo.toml", rf'^\[workspace\.package\]\nversion = "{V}"$', 1),
    ("openapi.yaml", rf"^info:\n  title: .+\n  version: {V}$", 1),
    ("clients/next-auth/package.json", rf'^  "name": "@cambio/next-auth",\n  "version": "{V}",$', 1),
    ("clients/next-auth/package-lock.json", rf'^ +"name": "@cambio/next-auth",\n +"version": "{V}",$', 2),
    ("clients/cambio/package.json", rf'^  "name": "@cambio/cli",\n  "version": "{V}",$', 1),
    ("clients/cambio/package-lock.json", rf'^ +"name": "@cambio/cli",\n +"version": "{V}",$', 2),
    ("examples/nextjs/package-lock.json", rf'^ +"node_modules/@cambio/next-auth": {{\n +"version": "{V}",$', 1),
    ("examples/better-auth/package-lock.json", rf'^ +"node_modules/@cambio/next-auth": {{\n +"version": "{V}",$', 1),
]
# The next changes go under the first heading.
UPGRADE = re.compile(r"^### Upgrade\n[^#]*?^1\. ", re.MULTILINE)
UNRELEASED = re.compile(r"^## Unreleased\n(?P<changes>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


class Refused(Exception):
    """A release that must not be made. The text says what to do."""


def places(root):
    """Yields each place of the version: the file, the pattern, and the number of its matches."""
    yield from PLACES
    members = packages(root, tracked_files(ROOT)) - {"shared"}  # the library of the package `cambio`
    manifests = {name for name in members if f'name = "{name}"\n' in (root / "Cargo.lock").read_text()}
    for name in sorted(manifests):
        yield "Cargo.lock", rf'^name = "{re.escape(name)}"\nversion = "{V}"$(?!\nsource)', 1


def versions(root):
    """Returns the version that each place has."""
    found = {}
    for file, pattern, times in places(root):
        matches = list(re.finditer(pattern, (root / file).read_text(), re.MULTILINE))
        if len(matches) != times:
            raise Refused(f"{file} has the version {len(matches)} times and not {times} times: {pattern}")
        for number, match in enumerate(matches, 1):
            found[f"{file}: {match[0].splitlines()[0].strip()} ({number})"] = match["version"]
    return found


def version_of(root):
    found = versions(root)
    if len(set(found.values())) != 1:
        lines = "\n".join(f"  {version}  {place}" for place, version in found.items())
        raise Refused(f"the version differs; write the same one in each place:\n{lines}")
    return next(iter(found.values()))


def order(version):
    """Sorts versions: a pre-release comes before its release."""
    major, minor, patch, pre = SEMVER.fullmatch(version).groups()
    kind, number = pre.split(".") if pre else ("~", 0)
    return int(major), int(minor), int(patch), kind, int(number)


def check(root, version, tags):
    """Refuses a version that is none, that is there, or that comes before the present one."""
    if not SEMVER.fullmatch(version):
        raise Refused(f"{version!r} is no version; give one like 1.2.0 or 1.2.0-rc.1: make release VERSION=1.2.0")
    now = version_of(root)
    if f"v{version}" in tags:
        raise Refused(f"the tag v{version} is there; give a later version")
    if order(version) < order(now):
        raise Refused(f"{version} comes before {now}; give a later version")
    match = UNRELEASED.search((root / "CHANGELOG.md").read_text())
    if not match or not match["changes"].strip():
        raise Refused("CHANGELOG.md has nothing under `## Unreleased`; write what a user can notice")
    if "\n### Changed\n" in match["changes"] and not UPGRADE.search(match["changes"]):
        raise Refused("CHANGELOG.md has `### Changed` without `### Upgrade`; write there, in steps, what an operator does")


def edit(root, version, date):
    """Writes the version to each place, and dates the changes."""
    for file, pattern, _ in places(root):
        path = root / file

        def replaced(match):
            start, end = match.start("version") - match.start(), match.end("version") - match.start()
            return match[0][:start] + version + match[0][end:]

        path.write_text(re.sub(pattern, replaced, path.read_text(), flags=re.MULTILINE))
    readme, log = root / "shared/README.md", root / "CHANGELOG.md"
    minor = ".".join(version.split(".")[:2])
    readme.write_text(re.sub(r'(package = "cambio", version = ")[^"]+', rf"\g<1>{minor}", readme.read_text()))
    heading = f"## Unreleased\n\n## {version} - {date}\n"
    log.write_text(UNRELEASED.sub(lambda match: heading + match["changes"], log.read_text(), count=1))


def run(*command, cwd=ROOT, **more):
    print("$", *command, flush=True)
    return subprocess.run(command, cwd=cwd, check=True, text=True, stdin=subprocess.DEVNULL, **more)


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def quick(root):
    """The checks of a dry run, which take seconds: the lock file is right, and the crate can be packed."""
    manifest = ["--manifest-path", str(root / "Cargo.toml"), "--locked"]
    run("cargo", "metadata", *manifest, "--format-version", "1", cwd=root, stdout=subprocess.DEVNULL)
    packed = ["-p", "cambio", "--no-verify", "--allow-dirty", "--target-dir", str(root / "target")]
    run("cargo", "package", *manifest, *packed, "--quiet", cwd=root)


def dry_run(version, date, tags):
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "cambio"
        mirror(ROOT, copy, tracked_files(ROOT))
        check(copy, version, tags)
        edit(copy, version, date)
        assert version_of(copy) == version
        quick(copy)
        files = sorted({file for file, _, _ in places(copy)} | {"CHANGELOG.md", "shared/README.md"})
        for file in files:
            changed = (ROOT / file).read_bytes() != (copy / file).read_bytes()
            print(f"  {'changes' if changed else 'stays  '}  {file}")
    print(f"dry run: {version} can be released; nothing was changed")


def release(version, date, tags):
    if git("status", "--porcelain"):
        raise Refused("the tree has changes; commit or stash them first")
    check(ROOT, version, tags)
    edit(ROOT, version, date)
    try:
        run(".ci/run")
        run("cargo", "package", "-p", "cambio", "--locked", "--allow-dirty")
        os.makedirs(ROOT / "target/release-packages", exist_ok=True)
        run("make", "--no-print-directory", "package", "APP=target/release-packages")
    except subprocess.CalledProcessError as error:
        raise Refused(f"{error}\nNothing is committed. `git checkout .` undoes the version.") from None
    run("git", "commit", "--quiet", "--all", "-m", f"release: {version}")
    run("git", "tag", "--annotate", f"v{version}", "-m", f"Cambio {version}")
    branch = git("branch", "--show-current").strip()
    print(f"\nReleased here. To publish it: git push --atomic origin {branch} v{version}")


def next_patch(version):
    major, minor, patch, pre = SEMVER.fullmatch(version).groups()
    return f"{major}.{minor}.{patch}" if pre else f"{major}.{minor}.{int(patch) + 1}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", nargs="?", help="such as 1.2.0")
    parser.add_argument("--dry-run", action="store_true", help="change a copy; without a version, the next patch")
    parser.add_argument("--version", action="store_true", dest="show", help="print the version of the tree")
    arguments = parser.parse_args()
    try:
        if arguments.show:
            print(version_of(ROOT))
            return
        version = arguments.version or (arguments.dry_run and next_patch(version_of(ROOT)))
        if not version:
            raise Refused("no version is given: make release VERSION=1.2.0")
        step = dry_run if arguments.dry_run else release
        step(version, datetime.datetime.now(datetime.UTC).date().isoformat(), git("tag").split())
    except Refused as refused:
        sys.exit(f"release: {refused}")


if __name__ == "__main__":
    main()
