#!/usr/bin/env python3
"""The cost of each type of signing key: signing, verifying here and in Node and Python, and the bytes of a token.

    bench/keys.py [--cambio PATH] [--binary FUNCTION=PATH ...] [--write]

Instructions by callgrind, which has no AVX-512 and so overstates RSA; and CPU time in interleaved rounds. --write
writes bench/keys.json and docs/performance.md.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "tests/cold-start")]
from bench import Progress, measure, rounded  # noqa: E402
from candidates import CANDIDATES, HANDLERS, build_baselines, environment  # noqa: E402
from cold_start import build, settings_of  # noqa: E402
from instructions import RUNS, built, count, lowest, pairs  # noqa: E402
from runtime import Failure  # noqa: E402
from scenarios import SCENARIOS, Provider, start  # noqa: E402
from services import BENCH, Services  # noqa: E402

TYPES = ["RSA-2048", "RSA-3072", "P-256", "Ed25519"]
# (route, candidate): a refresh signs, the authorizer verifies and does little else.
JOBS = [("refresh", "cambio"), *(("authorizer", candidate) for candidate in CANDIDATES)]


def main():
    from report import aligned, keep, keys_rows, write_keys

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="starts of each candidate with each key (default 5)")
    parser.add_argument("--requests", type=int, default=200, help="warm requests of each start (default 200)")
    parser.add_argument(
        "--binary", action="append", default=[], metavar="FUNCTION=PATH", help="a function that is built"
    )
    parser.add_argument("--cambio", type=Path, help="a `cambio` that is built")
    parser.add_argument("--write", action="store_true", help="write the results into bench/ and docs/performance.md")
    arguments = parser.parse_args()

    binaries = built(pairs(arguments.binary), list(HANDLERS))
    cambio = arguments.cambio.resolve() if arguments.cambio else build("local", "cambio")[0]
    build_baselines()
    keys = {kind: {"cpu_us": {}, "instructions": {}} for kind in TYPES}
    progress = Progress(len(TYPES) * len(JOBS) * arguments.rounds)
    with contextlib.ExitStack() as stack:
        worlds = {}
        for kind in TYPES:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            shell = {**BENCH, "SIGNING_KEY_TYPE": kind}
            local = stack.enter_context(Services(folder, cambio, shell))
            settings = settings_of("token-exchange", local)
            scenarios = {
                job: start(SCENARIOS[job[0]], binaries["token-exchange"], settings, Provider(local)) for job in JOBS
            }
            keys[kind]["token_bytes"] = len(scenarios["authorizer", "cambio"].signed_in["access_token"])
            worlds[kind] = local, scenarios
        taken = {(kind, job): [] for kind in TYPES for job in JOBS}
        for _ in range(arguments.rounds):
            for job in JOBS:
                for kind, (local, scenarios) in worlds.items():
                    route, candidate = job
                    scenario = scenarios[job]
                    settings = settings_of(scenario.function, local)
                    settings = settings if candidate == "cambio" else environment(settings)
                    command = CANDIDATES[candidate](binaries, scenario.function)
                    one = measure(command, settings, scenario, (arguments.requests // 2, arguments.requests))
                    taken[kind, job].append(one["warm_cpu_us"])
                    progress.step(f"{kind} {route} {candidate}")
        for (kind, (route, candidate)), rounds in taken.items():
            keys[kind]["cpu_us"][f"{route} {candidate}"] = statistics.median(rounds)
        for kind, (local, scenarios) in worlds.items():
            for route in ("refresh", "authorizer"):
                scenario = scenarios[route, "cambio"]
                command, settings = [binaries[scenario.function]], settings_of(scenario.function, local)
                counts = lowest([count(command, settings, scenario) for _ in range(RUNS)])
                keys[kind]["instructions"][route] = counts["warm"]
    keys = rounded(keys)
    keep(ROOT / "target/bench/keys.json", keys, aligned(keys_rows(keys)))
    if arguments.write:
        write_keys(keys)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"keys: {failure}")
