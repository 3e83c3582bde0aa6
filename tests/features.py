#!/usr/bin/env python3
"""Checks that the functions are tested with the dependencies that they are shipped with.

Cargo builds a crate with every feature that a crate of the build asks for. A function is built alone; `cargo test
--workspace` builds it together with the tests, the local servers and the operator's command. So a crate can behave
otherwise in tests than in AWS: serde_json once read numbers exactly in tests only. This compares both builds of each
third-party crate that a function ships, and requires a reason for each feature that only one of them has. The functions
that one command builds (tests/shipped.py) must have the very features that each has alone.

The debug builds of the tests must have the same features of each third-party crate, so that cargo builds it once.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from shipped import groups  # noqa: E402

# What only the build of the workspace has, and why the functions do the same without it.
MORE_TO_CALL = "adds types and functions that no function of ours calls; those that it calls are the same"
SERVES = "adds what the servers of the tests listen with; a function is called by the Lambda runtime's client"
STD = "adds implementations of std's traits, such as Error"
LOGS = "adds events of the library's own to the log"
EXPLAINED = {
    "aws-credential-types": ({"test-util"}, MORE_TO_CALL),
    "aws-runtime": ({"event-stream", "http-1x"}, MORE_TO_CALL),
    "aws-sigv4": ({"sign-eventstream"}, MORE_TO_CALL),
    "aws-smithy-http": ({"aws-smithy-eventstream", "event-stream"}, MORE_TO_CALL),
    "aws-smithy-runtime": ({"rt-tokio"}, "adds a DNS resolver that nothing of ours is configured with"),
    "aws-smithy-runtime-api": ({"test-util"}, MORE_TO_CALL),
    "aws-smithy-types": ({"test-util"}, MORE_TO_CALL),
    "axum": ({"default", "form", "http1", "original-uri", "query", "tokio", "tower-log", "tracing"}, SERVES),
    "axum-core": ({"tracing"}, LOGS),
    "bitflags": ({"std"}, STD),
    "bytes": ({"serde"}, MORE_TO_CALL),
    "crypto-common": ({"std"}, STD),
    "digest": ({"block-buffer", "core-api", "default", "std"}, STD),
    "getrandom": ({"std", "sys_rng"}, MORE_TO_CALL),
    "hashbrown": (
        {"allocator-api2", "default", "default-hasher", "equivalent", "inline-more", "raw-entry"},
        "adds a default hasher; those who use a map without it name their own",
    ),
    "hyper": ({"server"}, SERVES),
    "hyper-util": ({"server", "service"}, SERVES),
    "num-bigint": ({"default", "std"}, STD),
    "num-integer": ({"std"}, STD),
    "num-traits": ({"default", "std"}, STD),
    "tokio": (
        {"full", "io-std", "parking_lot", "process", "signal", "signal-hook-registry", "test-util"},
        "adds functions, locks of another implementation with the same behaviour, and a clock that only a test stops",
    ),
    "tower": ({"log", "make", "tracing"}, LOGS),
    "tower-http": ({"cors", "default", "set-header", "trace", "tracing"}, "adds layers, which are in no router of ours"),
    "uuid": ({"sha1", "v4", "v5"}, MORE_TO_CALL),
}

# Other builds than that of `cargo test --workspace`, by the options of `cargo tree`.
SHARED = {
    "cargo run": ("--edges", "normal,build"),
    "cargo test --package orders": ("--package", "orders", "--edges", "normal,build,dev"),
    "cargo doc --workspace": ("--workspace", "--edges", "normal,build"),
}


def tree(*selection: str) -> dict[str, set[str]]:
    """The features of each third-party crate, with its version, in the build of `selection`."""
    command = ["cargo", "tree", "--locked", *selection, "--prefix", "none", "--format", "{p}|{f}"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    features: dict[str, set[str]] = {}
    for line in lines:
        if not line:
            continue
        package, _, names = line.removesuffix(" (*)").partition("|")
        # A crate of ours has its path behind the version.
        name, version, *path = package.split(" ")
        if path:
            continue
        features.setdefault(f"{name} {version}", set()).update(filter(None, names.split(",")))
    return features


def shipped() -> list[str]:
    """The functions, by the names of their crates."""
    command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    functions = ROOT / "functions"
    return sorted(p["name"] for p in metadata["packages"] if functions in Path(p["manifest_path"]).parents)


def built_twice() -> list[str]:
    """Returns a sentence for each crate that another build has with other features than `cargo test --workspace`."""
    of_tests = tree("--workspace", "--edges", "normal,build,dev")
    return [
        f"{build} builds {crate} again, because of {', '.join(sorted(features ^ of_tests[crate]))}; "
        "add a dependency to tests/Cargo.toml that turns it on"
        for build, selection in SHARED.items()
        for crate, features in tree(*selection).items()
        if features != of_tests[crate]
    ]


def main() -> int:
    together = tree("--workspace", "--edges", "normal,dev,no-proc-macro")
    problems: dict[str, list[str]] = {}
    used: dict[str, set[str]] = {}
    functions = shipped()
    in_group: dict[str, dict[str, set[str]]] = {}
    for group in groups(functions):
        selection = [argument for function in group for argument in ("--package", function)]
        in_group |= dict.fromkeys(group, tree(*selection, "--edges", "normal,no-proc-macro"))
    crates = set()
    for function in functions:
        for crate, alone in tree("--package", function, "--edges", "normal,no-proc-macro").items():
            crates.add(crate)
            if alone != in_group[function][crate]:
                problem = f"{crate}: {', '.join(sorted(alone ^ in_group[function][crate]))}; add the function to APART in tests/shipped.py"
                problems.setdefault(problem, []).append(function)
            name = crate.split(" ")[0]
            differing = alone ^ together[crate]
            allowed = EXPLAINED.get(name, (set(), ""))[0]
            used.setdefault(name, set()).update(differing & allowed)
            if differing - allowed:
                problem = f"{crate}: {', '.join(sorted(differing - allowed))}"
                problems.setdefault(problem, []).append(function)
    for problem, of in sorted(problems.items()):
        print(f"built otherwise in tests than alone: {', '.join(of)}: {problem}", file=sys.stderr)
    outdated = {name: sorted(names - used.get(name, set())) for name, (names, _) in EXPLAINED.items()}
    outdated = {name: names for name, names in outdated.items() if names}
    for name, names in sorted(outdated.items()):
        print(f"explained in {Path(__file__).name}, and the same in both builds: {name}: {', '.join(names)}", file=sys.stderr)
    twice = built_twice()
    print("\n".join(twice), end="\n" * bool(twice), file=sys.stderr)
    if problems or outdated or twice:
        return 1
    print(f"{len(crates)} crates of {len(functions)} functions are built alike in tests, but for {len(EXPLAINED)} that are explained")
    return 0


if __name__ == "__main__":
    sys.exit(main())
