#!/usr/bin/env python3
"""Instructions of the functions, counted by callgrind: of the init, of the first request, and of a warm request.

    bench/instructions.py [--cambio PATH] [--binary FUNCTION=PATH ...] [--warm N] [--profile FOLDER] [route ...]

Routes: /me, refresh, exchange, authorizer; by default, all. Builds what is not given: each function by itself with the
release profile, and the debug build of `cambio` for the embedded DynamoDB. Prints JSON.

The count covers user space, not the kernel, and DynamoDB is reached without TLS. Between runs it differs by less than
0.5%, unless the machine is so busy that a call to DynamoDB runs into its time limit and is repeated: each route runs
several times, and the lowest count stands. `init_calls` is the lowest number of calls to DynamoDB during the init: if
it is more than 1 (2 for token-exchange), the init is that of a busy machine. valgrind has no AVX-512, so cryptography
costs more here than on a machine that has it.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/cold-start"))
from cold_start import build, settings_of  # noqa: E402
from meter import Meter  # noqa: E402
from runtime import Failure, Function  # noqa: E402
from scenarios import SCENARIOS, Provider, start  # noqa: E402
from services import BENCH, Services  # noqa: E402

WARM = 20
RUNS = 2


def count(command, settings, scenario, warm=WARM, profile=None, meter=None):
    """Runs a function under callgrind, and returns its instructions: `init`, `first` and `warm`, for one request.

    With `profile`, a folder, the profiles of the three are left there for callgrind_annotate. With `meter`, which
    `settings` lead to, `init_calls` is returned as well.
    """
    arrived = meter.arrived if meter else 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(profile or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / "callgrind.out"
        valgrind = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={out}"]
        with Function([*valgrind, *command], settings, scenario.function) as function:
            function.wait_until_ready()
            init = dumped(function, out, 1)
            calls = {"init_calls": meter.arrived - arrived} if meter else {}
            scenario.check(function.invoke(scenario.event()))
            function.wait_until_ready()
            first = dumped(function, out, 2)
            for _ in range(warm):
                scenario.check(function.invoke(scenario.event()))
                function.wait_until_ready()
            return {"init": init, "first": first, "warm": round(dumped(function, out, 3) / warm), **calls}


def dumped(function, out, nth):
    """Lets callgrind write the counts since the last time, and returns their sum."""
    # The function waits for an event: a moment later it does nothing more.
    time.sleep(0.2)
    asked = subprocess.run(["vgdb", f"--pid={function.process.pid}", "dump"], capture_output=True, text=True)
    written = Path(f"{out}.{nth}")
    for _ in range(100):
        if written.exists() and (total := re.search(r"^(?:totals|summary): (\d+)", written.read_text(), re.M)):
            return int(total[1])
        time.sleep(0.05)
    raise Failure(f"callgrind wrote no profile {nth}: {asked.stdout}{asked.stderr}{function.logged()}")


def built(binaries, functions):
    """The executables of these functions: those that are given, and the others built as they ship."""
    return {name: binaries.get(name) or build(name, name, "--release")[0] for name in functions}


def pairs(arguments):
    """`FUNCTION=PATH` arguments as a dict with absolute paths."""
    named = dict(argument.partition("=")[::2] for argument in arguments)
    return {name: Path(path).resolve() for name, path in named.items()}


def lowest(counts):
    return {part: min(count[part] for count in counts) for part in counts[0]}


def measure(routes, binaries, cambio, warm=WARM, profile=None, runs=RUNS):
    """Returns the counts of each route, the lowest of several runs: {route: {init, first, warm}}."""
    with tempfile.TemporaryDirectory() as folder, Services(Path(folder), cambio, BENCH) as local:
        meter = Meter(local)
        settings = {name: settings_of(name, meter.settings) for name in binaries}
        provider = Provider(local)
        counts = {}
        for route in routes:
            scenario = start(SCENARIOS[route], binaries["token-exchange"], settings["token-exchange"], provider)
            function = scenario.function
            kept = profile and Path(profile) / route.strip("/")
            command = [binaries[function]]
            counts[route] = lowest(
                [count(command, settings[function], scenario, warm, kept, meter) for _ in range(runs)]
            )
        return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("routes", nargs="*", metavar="route", help="/me, refresh, exchange, authorizer (default: all)")
    parser.add_argument(
        "--binary", action="append", default=[], metavar="FUNCTION=PATH", help="a function that is built"
    )
    parser.add_argument("--cambio", type=Path, help="a `cambio` that is built")
    parser.add_argument("--warm", type=int, default=WARM, help=f"warm requests of each route (default {WARM})")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs of each route (default {RUNS})")
    parser.add_argument("--profile", type=Path, help="a folder for the profiles, for callgrind_annotate")
    arguments = parser.parse_args()

    routes = arguments.routes or list(SCENARIOS)
    if unknown := [route for route in routes if route not in SCENARIOS]:
        parser.error(f"there is no route {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    # token-exchange also signs the user in.
    functions = {SCENARIOS[route].function for route in routes} | {"token-exchange"}
    binaries = built(pairs(arguments.binary), sorted(functions))
    cambio = arguments.cambio.resolve() if arguments.cambio else build("local", "cambio")[0]
    print(json.dumps(measure(routes, binaries, cambio, arguments.warm, arguments.profile, arguments.runs), indent=2))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"instructions: {failure}")
