#!/usr/bin/env python3
"""The functions of an earlier revision and of the tree side by side, on one table.

    tests/versions/versions.py [REVISION]

Takes the last release, or before the first one the revision below. Builds the functions of that revision and of the
tree as debug builds, and runs tests/e2e/side_by_side.rs on both. The build of a revision stays in target/versions.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from tree_copy import copy_dependencies, packages, tracked_files  # noqa: E402

VERSIONS = ROOT / "target/versions"
# The commit whose items tests/e2e/versions.rs has.
BEFORE_THE_FIRST_RELEASE = "e27cc7e1fcd64581990e4bb402b84e53b54d43b4"
TEST = "side_by_side::"


def git(*arguments, **options):
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, **options).stdout.strip()


def revision_of(arguments):
    if arguments:
        return git("rev-parse", "--verify", f"{arguments[0]}^{{commit}}")
    release = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"], cwd=ROOT, capture_output=True, text=True
    )
    return git("rev-parse", f"{release.stdout.strip()}^{{commit}}") if release.returncode == 0 else BEFORE_THE_FIRST_RELEASE


def build(tree, target):
    """Builds the functions of a tree, and returns the folder of the binaries."""
    # The whole workspace: for some packages, features resolve differently, and their dependencies are built again.
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    subprocess.run(["cargo", "build", "--workspace", "--bins"], cwd=tree, env=environment, check=True)
    return target / "debug"


def earlier(revision):
    """Builds an earlier revision with the dependencies that are built for the tree, as far as they are the same."""
    tree, target = VERSIONS / revision / "tree", VERSIONS / revision / "target"
    if not tree.exists():
        tree.mkdir(parents=True)
        archive = subprocess.Popen(["git", "archive", revision], cwd=ROOT, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", str(tree)], stdin=archive.stdout, check=True)
        if archive.wait() != 0:
            sys.exit(f"the archive of {revision} failed: fetch the whole history with `git fetch --unshallow`")
    copy_dependencies(ROOT / "target", target, packages(ROOT, tracked_files(ROOT)))
    return build(tree, target)


def main():
    revision = revision_of(sys.argv[1:])
    folders = {"CAMBIO_FUNCTIONS": build(ROOT, ROOT / "target"), "CAMBIO_EARLIER_FUNCTIONS": earlier(revision)}
    command = ["cargo", "test", "--workspace", "--test", "e2e", TEST, "--", "--ignored", "--nocapture"]
    environment = {**os.environ, **{name: str(folder) for name, folder in folders.items()}}
    print(f"{revision} beside the tree: {' '.join(command)}", flush=True)
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL).returncode)


if __name__ == "__main__":
    main()
