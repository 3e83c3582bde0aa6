#!/usr/bin/env python3
"""Measures Cambio's functions beside the same routes in Node and in Python, and beside functions that do nothing.

    make bench                                  a few minutes; a table, and target/bench/results.json
    make bench BENCH='--rounds 9 --write'       also writes bench/results.json, docs/performance.md and its pictures

The bench is the Lambda runtime API. It starts each candidate, feeds it events of API Gateway, and checks each answer.
DynamoDB is the embedded one behind TLS, with a delay; the exchange calls the embedded stand-in of GitHub, with a longer
delay and without TLS. Each round starts every candidate once, in another order, so that a change of the machine's load
meets all of them; a ratio compares two candidates of the same round. CPU time is that of the process.
"""

import argparse
import datetime
import io
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "tests/cold-start")]
from candidates import CANDIDATES, HANDLERS, NODE, PYTHON, build_baselines, environment  # noqa: E402
from cold_start import build, cargo_build, settings_of  # noqa: E402
from instructions import built, count, pairs  # noqa: E402
from runtime import Failure, Function  # noqa: E402
from scenarios import SCENARIOS, Floor, Provider, start  # noqa: E402
from services import BENCH, Services  # noqa: E402
from tls import Authority, Fronts, deploy_keys, own_host  # noqa: E402

FUNCTIONS = list(HANDLERS)
FLOOR = {"lambda_http": "no-op", "poller": "poller"}
# Milliseconds that are added to each answer.
DYNAMODB_MS, PROVIDER_MS = 3, 80
# Numbers of requests: before the warm ones are counted, and counted. An exchange waits for the provider twice.
REQUESTS = {"exchange": (20, 40)}
USUAL = (100, 200)
METRICS = ["init_ms", "first_ms", "p50_ms", "p99_ms", "cold_cpu_ms", "warm_cpu_us", "rss_mib"]


def measure(command, settings, scenario, requests):
    """Runs one candidate from its start to its last warm request."""
    warm_up, counted = requests
    with Function(command, settings, f"{command[-1]} {scenario.name}") as function:
        function.wait_until_ready()
        first = function.invoke(scenario.event())
        scenario.check(first)
        function.wait_until_ready()
        cold_cpu = function.cpu_ns()
        for _ in range(warm_up):
            scenario.check(function.invoke(scenario.event()))
        function.wait_until_ready()
        before, walls = function.cpu_ns(), []
        for _ in range(counted):
            answer = function.invoke(scenario.event())
            scenario.check(answer)
            walls.append(answer.ns / 1e6)
        function.wait_until_ready()
        warm_cpu = (function.cpu_ns() - before) / counted
        return {
            "init_ms": function.init_ns / 1e6,
            "first_ms": first.ns / 1e6,
            "walls": walls,
            "cold_cpu_ms": cold_cpu / 1e6,
            "warm_cpu_us": warm_cpu / 1e3,
            "rss_mib": function.peak_kib() / 1024,
        }


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def summary(rounds, base):
    """The medians of a candidate's rounds, and its ratios to `base`, round by round."""
    walls = [wall for one in rounds for wall in one["walls"]]
    result = {name: spread([one[name] for one in rounds]) for name in METRICS if name not in ("p50_ms", "p99_ms")}
    result["p50_ms"] = {"median": percentile(walls, 0.5)}
    result["p99_ms"] = {"median": percentile(walls, 0.99)}
    result["ratios"] = {
        name: spread([one[name] / other[name] for one, other in zip(rounds, base)])
        for name in ("cold_cpu_ms", "warm_cpu_us", "rss_mib")
    }
    return result


class Progress:
    def __init__(self, steps):
        self.steps, self.done, self.started = steps, 0, time.monotonic()

    def step(self, text):
        self.done += 1
        left = (time.monotonic() - self.started) / self.done * (self.steps - self.done)
        line = f"{self.done}/{self.steps} {text}, about {left:.0f} s left"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="" if self.done < self.steps else "\n", file=sys.stderr, flush=True)
        elif self.done % 10 == 0 or self.done == self.steps:
            print(line, file=sys.stderr, flush=True)


def run(binaries, floor, local, folder, arguments):
    """Measures all candidates. Returns {scenario: {candidate: summary}}."""
    host, address = own_host()
    authority = Authority(folder, host)
    deploy_keys(local)
    trusted = {name: authority.trusted_by(path) for name, path in binaries.items()}
    scenarios = {name: SCENARIOS[name] for name in arguments.routes}
    jobs = [(route, candidate) for route in scenarios for candidate in CANDIDATES] + [("no-op", name) for name in floor]
    taken = {job: [] for job in jobs}
    progress = Progress(arguments.rounds * len(jobs))
    with Fronts(authority, address, local, DYNAMODB_MS, PROVIDER_MS) as (deployed, on_this_machine):
        provider = Provider(local)
        settings = settings_of("token-exchange", on_this_machine)
        running = {
            job: start(scenarios.get(job[0], Floor), trusted["token-exchange"], settings, provider) for job in jobs
        }
        for nth in range(arguments.rounds):
            turn = nth % len(jobs)
            for job in jobs[turn:] + jobs[:turn]:
                route, candidate = job
                scenario = running[job]
                if route == "no-op":
                    command, settings = [str(floor[candidate])], {"AWS_REGION": "us-east-1"}
                else:
                    given = on_this_machine if route == "exchange" else deployed
                    settings = settings_of(scenario.function, given)
                    command = CANDIDATES[candidate](trusted, scenario.function)
                    if candidate != "cambio":
                        settings = {**environment(settings), **authority.variables()}
                requests = REQUESTS.get(route, USUAL)
                if arguments.requests:
                    requests = (1, arguments.requests)
                taken[job].append(measure(command, settings, scenario, requests))
                progress.step(f"{route} {candidate}")
    results = {}
    for route, candidate in jobs:
        base = taken.get((route, "cambio")) or taken[("no-op", "lambda_http")]
        results.setdefault(route, {})[candidate] = summary(taken[route, candidate], base)
    if floor and ("/me", "cambio") in taken:
        # How far a route is from a function that does nothing.
        base = taken["no-op", "lambda_http"]
        for route in scenarios:
            results[route]["cambio"]["floor"] = summary(taken[route, "cambio"], base)["ratios"]
    return results


# --- Sizes ------------------------------------------------------------------------------------------------------------


def zipped(files):
    """The bytes of a deployment package with these files: {name in the package: path}."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            archive.write(path, name)
    return len(package.getvalue())


def sizes(binaries):
    """Bytes of the deployment packages: {function: {candidate: bytes}}. Node, Python and boto3 come with Lambda."""
    import cryptography
    import jwt

    libraries = {}
    for module in (jwt, cryptography):
        folder = Path(module.__file__).parent
        files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        libraries.update({str(path.relative_to(folder.parent)): path for path in files})
    result = {}
    for function, (node, python) in HANDLERS.items():
        own = {path.name: path for path in (PYTHON / "shared.py", PYTHON / f"{python}.py")}
        result[function] = {
            "cambio": zipped({"bootstrap": binaries[function]}),
            "node": zipped({"index.mjs": NODE / "dist" / f"{node}.mjs"}),
            "python": zipped({**own, **libraries}),
        }
    return result


# --- Conditions -------------------------------------------------------------------------------------------------------


def first_line(*command):
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.partition("\n")[0].strip()
    except OSError:
        return ""


def conditions(arguments, load):
    cpu = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": {"before": load, "after": os.getloadavg()[0]},
        "kernel": ".".join(platform.release().split(".")[:2]),
        "rust": first_line("rustc", "--version"),
        "node": first_line("node", "--version"),
        "python": platform.python_version(),
        "rounds": arguments.rounds,
        "requests": {route: REQUESTS.get(route, USUAL)[1] for route in [*SCENARIOS, "no-op"]},
        "dynamodb_ms": DYNAMODB_MS,
        "provider_ms": PROVIDER_MS,
    }


def main():
    from report import keep, table, write

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("routes", nargs="*", metavar="route", help="/me, refresh, exchange, authorizer (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="starts of each candidate (default 5)")
    parser.add_argument("--requests", type=int, help="warm requests of each start (default 200, exchange 40)")
    parser.add_argument(
        "--binary", action="append", default=[], metavar="FUNCTION=PATH", help="a function that is built"
    )
    parser.add_argument("--cambio", type=Path, help="a `cambio` that is built")
    parser.add_argument(
        "--no-instructions", action="store_true", help="do not count instructions, which needs valgrind"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "target/bench/results.json", help="the file of the results"
    )
    parser.add_argument("--write", action="store_true", help="write the results into bench/ and docs/performance.md")
    arguments = parser.parse_args()
    if unknown := [route for route in arguments.routes if route not in SCENARIOS]:
        parser.error(f"there is no route {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    if arguments.write and (arguments.routes or arguments.requests or arguments.no_instructions):
        parser.error("--write needs all routes, requests and instructions")
    arguments.routes = arguments.routes or list(SCENARIOS)

    load = os.getloadavg()[0]
    given = pairs(arguments.binary)
    binaries = built(given, FUNCTIONS)
    compiled = {} if given.keys() >= set(FLOOR.values()) else cargo_build("floor", "--release")[0]
    floor = {name: given.get(binary) or compiled[binary] for name, binary in FLOOR.items()}
    cambio = arguments.cambio.resolve() if arguments.cambio else build("local", "cambio")[0]
    build_baselines()
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with Services(folder, cambio, BENCH) as local:
            results["routes"] = run(binaries, floor, local, folder, arguments)
        if not arguments.no_instructions:
            print("counting instructions", file=sys.stderr, flush=True)
            results["instructions"] = instructions(binaries, floor, cambio, arguments.routes)
    results["zip_bytes"] = sizes(binaries)
    results["conditions"] = conditions(arguments, load)
    keep(arguments.output, rounded(results), table(results))
    if arguments.write:
        write(rounded(results))


def instructions(binaries, floor, cambio, routes):
    from instructions import measure as measure_instructions

    counts = measure_instructions(routes, binaries, cambio)
    for name, path in floor.items():
        counts[name] = count([path], {}, Floor(None, None))
    return counts


def rounded(value):
    """The results with four significant digits, which is more than they have."""
    if isinstance(value, dict):
        return {name: rounded(member) for name, member in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"bench: {failure}")
