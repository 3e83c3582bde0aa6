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
# By operations, so that a busy machine takes longer and checks as much.
SMOKE = ["--people", "20", "--parallel", "10", "--operations", "600", "--kill-every", "1", "--rotate-every", "2"]
# Without the grace of the rotation, a client that repeats a refresh after a lost answer is logged out.
BROKEN = ["--people", "4", "--parallel", "4", "--operations", "400", "--faults", "0", "--set", "REFRESH_REUSE_WINDOW=0"]
NOTICED = "logged out without cause"


def faketime():
    """The library that moves the clock of a process."""
    found = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise Failure("libfaketime is missing, which moves the clocks of the functions: run tests/setup.sh faketime")
    return found[0]


def build_soak():
    """Builds the soak by itself, optimized."""
    built, _ = run_cargo("build", "--profile", "dist", "--package", "tests", "--bin", "soak")
    return built["soak"]


def build_debug_soak():
    """Builds the soak with the features that `cargo test --workspace` has, so that nothing is built twice."""
    built, _ = run_cargo("test", "--workspace", "--no-run", "--test", "e2e")
    return built["soak"]


def soak(program, binaries, arguments, **options):
    """Runs the soak on these binaries: {function: path}. Returns the completed process."""
    with tempfile.TemporaryDirectory() as folder:
        for function, binary in binaries.items():
            (Path(folder) / function).symlink_to(binary)
        command = [program, "--binaries", folder, "--folder", LOGS, "--faketime", faketime(), *arguments]
        return subprocess.run(command, stdin=subprocess.DEVNULL, text=True, **options)


def smoke(binaries):
    """Runs the soak for some operations; then without a guard, which it must notice."""
    program = build_debug_soak()
    if soak(program, binaries, SMOKE).returncode != 0:
        raise Failure(f"the soak found the violations above; the logs of the functions are in {LOGS}")
    without_guard = soak(program, binaries, BROKEN, stdout=subprocess.PIPE)
    if without_guard.returncode == 0 or NOTICED not in without_guard.stdout:
        raise Failure(f"with {' '.join(BROKEN)} the soak must find {NOTICED!r}; it printed:\n{without_guard.stdout}")
    print("without the grace of the rotation, the soak finds clients that are logged out")


def main():
    program = build_soak()
    if {"-h", "--help"} & {*sys.argv}:
        return subprocess.run([program, "--help"]).returncode
    binaries, _ = build_released(list(EVENTS))
    return soak(program, binaries, sys.argv[1:]).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"soak: {failure}")
