#!/usr/bin/env python3
"""Runs the fuzz targets with libFuzzer (docs/reliability.md).

`make fuzz` runs every target for ten minutes, `make test-fuzz` for a few seconds. Inputs that reach new code are kept
in target/fuzz/corpus, inputs that fail in target/fuzz/crashes. The last lines say how to run a failed input again.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "fuzz"
SEEDS = WORK / "seeds"
CORPUS = WORK / "corpus"
CRASHES = WORK / "crashes"
LOGS = WORK / "logs"
# Inputs of former findings, one file each.
FOUND = ROOT / "fuzz" / "found"

# libFuzzer's limits for one input: bytes, seconds and MiB. Most inputs take less than a millisecond.
LIMITS = ["-max_len=8192", "-timeout=60", "-rss_limit_mb=1024", "-malloc_limit_mb=512"]


def build():
    """Builds the targets, and returns the program. The dependencies are those of `cargo test --workspace`."""
    environment = os.environ | {
        "RUSTC_WORKSPACE_WRAPPER": str(ROOT / "fuzz" / "rustc.sh"),
        "CARGO_INCREMENTAL": "0",
    }
    cargo = os.environ.get("FUZZ_CARGO", "cargo")
    command = [cargo, "test", "--workspace", "--features", "fuzz/libfuzzer", "--test", "fuzz", "--no-run"]
    command.append("--message-format=json-render-diagnostics")
    built = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    for line in built.stdout.splitlines():
        if not line.startswith("{"):
            continue
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "fuzz":
            return message["executable"]
    raise SystemExit("fuzz: cargo named no program")


def write_seeds(program):
    """Writes the seeds of every target, and returns the names of the targets."""
    shutil.rmtree(SEEDS, ignore_errors=True)
    SEEDS.mkdir(parents=True)
    # libFuzzer runs the empty input, and writes to the standard error.
    environment = os.environ | {"FUZZ_SEEDS": str(SEEDS)}
    written = subprocess.run([program, "-runs=0"], env=environment, capture_output=True, text=True, check=False)
    if written.returncode:
        raise SystemExit(f"fuzz: the seeds cannot be written\n{written.stdout}{written.stderr[-2000:]}")
    print(written.stdout, end="", flush=True)
    return sorted(folder.name for folder in SEEDS.iterdir())


def folders(target):
    """The folders of inputs, the one that gets new inputs first."""
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    found = [FOUND / target] if (FOUND / target).is_dir() else []
    return [CORPUS / target, SEEDS / target, *found]


def run(program, target, options):
    """Runs libFuzzer over a target, and returns its exit status and its log."""
    CRASHES.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{target}.log"
    prefix = f"-artifact_prefix={CRASHES / target}-"
    with log.open("w") as file:
        status = subprocess.run(
            [program, *options, *LIMITS, prefix],
            env=os.environ | {"FUZZ_TARGET": target},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    return status, log.read_text(errors="replace")


def summary(target, log):
    """A line about a run: the number of inputs, the covered edges, and the number of kept inputs."""
    runs = re.findall(r"^Done (\d+) runs", log, re.M) or re.findall(r"^#(\d+)", log, re.M) or ["0"]
    cover = re.findall(r"cov: (\d+)", log) or ["0"]
    corpus = re.findall(r"corp: (\d+)", log) or ["0"]
    return f"{target:20} {int(runs[-1]):>10,} inputs, {int(cover[-1]):>6,} edges, {int(corpus[-1]):>5,} kept"


def failure(target, log):
    """What a failed run says: the message of the panic, the kept input, and the command that runs it again."""
    lines = [f"fuzz: {target} failed"]
    panics = re.findall(r"panicked at [^\n]*\n[^\n]*", log)
    lines += panics[-1:] or log.splitlines()[-5:]
    for path in re.findall(r"Test unit written to (\S+)", log):
        lines.append(f"    make fuzz FUZZ='--target {target} --input {path}'")
    return "\n".join(lines)


def fuzz(program, targets, arguments):
    """Runs the targets, as many at once as there are jobs. Returns the number of those that failed."""
    failed = []
    # The order of libFuzzer's choices depends on the seed alone, so that a short run is the same each time.
    options = [f"-max_total_time={arguments.seconds}", f"-seed={arguments.seed}", "-print_final_stats=0"]
    if arguments.runs:
        options = [f"-runs={arguments.runs}", f"-seed={arguments.seed}"]
    started = time.monotonic()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = {}
        for target in targets:
            runs[pool.submit(run, program, target, [*options, *map(str, folders(target))])] = target
        for done in as_completed(runs):
            target = runs[done]
            status, log = done.result()
            print(summary(target, log), flush=True)
            if status:
                failed.append(failure(target, log))
    print(f"{len(targets)} targets in {time.monotonic() - started:.0f} s; logs in target/fuzz/logs", flush=True)
    for text in failed:
        print(text, file=sys.stderr)
    return len(failed)


def merge(program, targets):
    """Keeps of each corpus the smallest inputs that reach the same code."""
    for target in targets:
        smaller = CORPUS / f"{target}.merged"
        shutil.rmtree(smaller, ignore_errors=True)
        smaller.mkdir(parents=True)
        status, log = run(program, target, ["-merge=1", str(smaller), *map(str, folders(target))])
        if status:
            raise SystemExit(failure(target, log))
        shutil.rmtree(CORPUS / target)
        smaller.rename(CORPUS / target)
        print(f"{target:20} {sum(1 for _ in (CORPUS / target).iterdir()):>5} inputs", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="the time of each target, by default 600")
    parser.add_argument("--runs", type=int, help="the number of inputs of each target, in place of a time")
    parser.add_argument("--target", action="append", help="a target; by default all of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at once, by default one a core")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the seed of libFuzzer's choices")
    parser.add_argument("--input", type=Path, help="one input to run, such as a kept one that failed")
    parser.add_argument("--merge", action="store_true", help="reduce the corpora to what reaches the same code")
    arguments = parser.parse_args()

    program = build()
    known = write_seeds(program)
    targets = arguments.target or known
    if unknown := sorted(set(targets) - set(known)):
        parser.error(f"there is no target {', '.join(unknown)}: the targets are {', '.join(known)}")
    if arguments.input:
        for target in targets if arguments.target else parser.error("--input needs --target"):
            status, log = run(program, target, [str(arguments.input.resolve())])
            print(log)
            sys.exit(bool(status))
    if arguments.merge:
        return merge(program, targets)
    print(f"seed {arguments.seed}", flush=True)
    sys.exit(bool(fuzz(program, targets, arguments)))


if __name__ == "__main__":
    main()
