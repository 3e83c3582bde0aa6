#!/usr/bin/env python3
"""The functions under load, faults, rotations, jumps of the clock and kills, with each answer checked.

    tests/soak/soak.py [--minutes N] [--rate N] [--people N] [--faults PERCENT] ...

Builds every function with the release profile, and the soak (main.rs), which says what else it takes: --help. The
processes of the functions run under libfaketime, which moves their clocks.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/cold-start")]
from cold_start import EVENTS, build_released, run_cargo  # noqa: E402
from runtime import Failure  # noqa: E402

LOGS = ROOT / "target/soak"
# Ten of the people use their apps at the same time. A slow machine reaches a lower rate, and still checks each answer.
SMOKE = ["--minutes", "0.2", "--rate", "100", "--people", "60", "--parallel", "10", "--kill-every", "2"]
SMOKE += ["--rotate-every", "5", "--faults", "1"]


def faketime():
    """The library that moves the clock of a process."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), *Path("/usr/lib/faketime").glob("libfaketimeMT.so.1")]
    if not found:
        raise Failure("libfaketime is missing, which moves the clocks of the functions: run tests/setup.sh faketime")
    return found[0]


def build_soak():
    """Builds the soak with the features that `cargo test --workspace` has, so that nothing is built twice."""
    built, _ = run_cargo("test", "--workspace", "--no-run", "--test", "e2e")
    return built["soak"]


def soak(program, binaries, arguments):
    """Runs the soak on these binaries: {function: path}."""
    with tempfile.TemporaryDirectory() as folder:
        for function, binary in binaries.items():
            (Path(folder) / function).symlink_to(binary)
        command = [program, "--binaries", folder, "--folder", LOGS, *arguments]
        if "--faketime" not in arguments:
            command += ["--faketime", faketime()]
        if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
            raise Failure(f"the soak found violations, which are above; the logs of the functions are in {LOGS}")


def smoke(binaries):
    soak(build_soak(), binaries, SMOKE)


def main():
    if {"-h", "--help"} & {*sys.argv}:
        return subprocess.run([build_soak(), "--help"])
    binaries, _ = build_released(list(EVENTS))
    soak(build_soak(), binaries, sys.argv[1:])


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"soak: {failure}")
