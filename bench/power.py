#!/usr/bin/env python3
"""Billed time and cost of each function at memory sizes from 128 to 1769 MB, with the CPU throttled as Lambda does it.

    make power                       some minutes; a table, and target/bench/power.json
    make power POWER=--write         also writes bench/power.json and docs/performance.md

Lambda gives a function a share of a core in proportion to its memory, one whole core at 1,769 MB. Here a cgroup with a
CPU quota does that, which needs root and a writable cgroup file system. With --model the time is computed instead: the
time without throttling, plus the CPU time that the missing share adds. Requests come some 40 ms apart, because a
function that is busy all the time has used up its quota when the next request comes; one with usual traffic has not.
"""

import argparse
import datetime
import math
import os
import random
import statistics
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "tests/cold-start")]
from bench import Progress, rounded  # noqa: E402
from candidates import HANDLERS  # noqa: E402
from cold_start import build, settings_of  # noqa: E402
from instructions import built, pairs  # noqa: E402
from runtime import Failure, Function  # noqa: E402
from scenarios import SCENARIOS, Provider, start  # noqa: E402
from services import BENCH, Services  # noqa: E402
from tls import Authority, Fronts, deploy_keys, own_host  # noqa: E402

MEMORY = [128, 256, 512, 1024, 1769]
WHOLE_CORE = 1769
# AWS does not document the period. The shorter it is, the sooner a burst of work is throttled.
PERIOD_US = 20_000
PRICES = tomllib.loads((ROOT / "bench/prices.toml").read_text())


class Quota:
    """A cgroup that gives its processes a share of a core. With no share, it does nothing."""

    def __init__(self, share):
        self.share, self.group = share, None

    def __enter__(self):
        if self.share is None:
            return self
        name = f"cambio-bench-{os.getpid()}"
        try:
            if Path("/sys/fs/cgroup/cgroup.controllers").exists():
                self.group = Path("/sys/fs/cgroup") / name
                self.group.mkdir()
                (self.group / "cpu.max").write_text(f"{round(PERIOD_US * self.share)} {PERIOD_US}")
            else:
                self.group = Path("/sys/fs/cgroup/cpu") / name
                self.group.mkdir()
                (self.group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (self.group / "cpu.cfs_quota_us").write_text(str(round(PERIOD_US * self.share)))
        except OSError as error:
            self.__exit__()
            raise Failure(f"no CPU quota here ({error}): run as root, or with --model") from None
        return self

    def join(self):
        """Moves the calling process into the group."""
        if self.group:
            (self.group / "cgroup.procs").write_text(str(os.getpid()))

    def __exit__(self, *_):
        # The kernel keeps a group for a moment after its last process has ended.
        for _ in range(50):
            try:
                if self.group and self.group.exists():
                    self.group.rmdir()
                return
            except OSError:
                time.sleep(0.02)


def measure(command, settings, scenario, share, requests):
    """Milliseconds of one function: its init, its first request, and each warm request; and the CPU of each part."""
    with Quota(share) as quota, Function(command, settings, scenario.name, before=quota.join) as function:
        function.wait_until_ready()
        init_cpu = function.cpu_ns() / 1e6
        first = function.invoke(scenario.event())
        scenario.check(first)
        function.wait_until_ready()
        first_cpu = function.cpu_ns() / 1e6 - init_cpu
        before, walls = function.cpu_ns(), []
        for _ in range(requests):
            event = scenario.event()
            time.sleep(random.uniform(0.02, 0.06))
            answer = function.invoke(event)
            scenario.check(answer)
            walls.append(answer.ns / 1e6)
        function.wait_until_ready()
        return {
            "init_ms": function.init_ns / 1e6,
            "first_ms": first.ns / 1e6,
            "warm_ms": statistics.median(walls),
            "billed_ms": statistics.mean(math.ceil(wall) for wall in walls),
            "init_cpu_ms": init_cpu,
            "first_cpu_ms": first_cpu,
            "warm_cpu_ms": (function.cpu_ns() - before) / 1e6 / requests,
        }


def modelled(whole, share):
    """The times of a share of a core, computed from those of a whole core."""
    missing = 1 / share - 1
    slower = {
        f"{part}_ms": whole[f"{part}_ms"] + missing * whole[f"{part}_cpu_ms"] for part in ("init", "first", "warm")
    }
    return {**whole, **slower, "billed_ms": math.ceil(slower["warm_ms"])}


def cost(memory, milliseconds, architecture="arm64"):
    """Dollars for a million invocations of this billed duration, without the price of the requests."""
    price = PRICES["lambda"][f"gb_second_{architecture}"]["usd"]
    return memory / 1024 * milliseconds / 1000 * price * 1e6


def run(binaries, local, folder, arguments):
    host, address = own_host()
    authority = Authority(folder, host)
    deploy_keys(local)
    trusted = {name: authority.trusted_by(path) for name, path in binaries.items()}
    taken = {route: {memory: [] for memory in MEMORY} for route in SCENARIOS}
    progress = Progress(arguments.rounds * len(SCENARIOS) * len(MEMORY))
    with Fronts(authority, address, local, 3, 80) as (deployed, on_this_machine):
        provider = Provider(local)
        settings = settings_of("token-exchange", on_this_machine)
        running = {
            route: start(scenario, trusted["token-exchange"], settings, provider)
            for route, scenario in SCENARIOS.items()
        }
        for nth in range(arguments.rounds):
            for route, scenario in running.items():
                turn = nth % len(MEMORY)
                for memory in MEMORY[turn:] + MEMORY[:turn]:
                    settings = settings_of(scenario.function, on_this_machine if route == "exchange" else deployed)
                    share = None if arguments.model else memory / WHOLE_CORE
                    command = [trusted[scenario.function]]
                    taken[route][memory].append(measure(command, settings, scenario, share, arguments.requests))
                    progress.step(f"{route} {memory} MB")
    # Other load makes a start slower and never faster, so the quietest one counts.
    quietest = lambda rounds: {name: min(one[name] for one in rounds) for name in rounds[0]}  # noqa: E731
    if not arguments.model:
        return {
            route: {str(memory): quietest(rounds) for memory, rounds in sizes.items()} for route, sizes in taken.items()
        }
    whole = {route: quietest([one for rounds in sizes.values() for one in rounds]) for route, sizes in taken.items()}
    return {route: {str(memory): modelled(whole[route], memory / WHOLE_CORE) for memory in MEMORY} for route in taken}


def table(power):
    """Rows for the terminal and for the page."""
    rows = [
        [
            "route and memory",
            "init, ms",
            "first request, ms",
            "warm request, ms",
            "if throttled evenly, ms",
            "cost of a million, USD",
        ]
    ]
    for route, sizes in power["routes"].items():
        whole = sizes[str(WHOLE_CORE)]
        for memory, taken in sizes.items():
            even = modelled(whole, int(memory) / WHOLE_CORE)
            rows.append(
                [
                    f"{route}: {memory} MB",
                    f"{taken['init_ms']:.1f}",
                    f"{taken['first_ms']:.1f}",
                    f"{taken['warm_ms']:.1f}",
                    f"{even['warm_ms']:.1f}",
                    f"{cost(int(memory), taken['billed_ms']):.3f}",
                ]
            )
    return rows


def main():
    from report import aligned, keep, write_power

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="starts at each memory size (default 5)")
    parser.add_argument("--requests", type=int, default=40, help="warm requests of each start (default 40)")
    parser.add_argument("--model", action="store_true", help="compute the throttling instead of a cgroup quota")
    parser.add_argument(
        "--binary", action="append", default=[], metavar="FUNCTION=PATH", help="a function that is built"
    )
    parser.add_argument("--cambio", type=Path, help="a `cambio` that is built")
    parser.add_argument("--write", action="store_true", help="write the results into bench/ and docs/performance.md")
    arguments = parser.parse_args()

    load = os.getloadavg()[0]
    binaries = built(pairs(arguments.binary), list(HANDLERS))
    cambio = arguments.cambio.resolve() if arguments.cambio else build("local", "cambio")[0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with Services(folder, cambio, BENCH) as local:
            routes = run(binaries, local, folder, arguments)
    method = "computed" if arguments.model else "cgroup quota"
    power = rounded(
        {
            "date": datetime.date.today().isoformat(),
            "load": {"before": load, "after": os.getloadavg()[0]},
            "method": method,
            "period_us": PERIOD_US,
            "rounds": arguments.rounds,
            "requests": arguments.requests,
            "routes": routes,
        }
    )
    keep(ROOT / "target/bench/power.json", power, aligned(table(power)))
    if arguments.write:
        write_power(power)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"power: {failure}")
