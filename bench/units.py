#!/usr/bin/env python3
"""DynamoDB's capacity units, and the bytes of logs, answers and items, of each route.

    bench/units.py [--cambio PATH] [--binary FUNCTION=PATH ...] [--write]

A proxy in front of the embedded DynamoDB asks it for the consumed capacity of each call, which the functions do not.
The writes that count the requests of a client are apart: how many requests one of them covers depends on the traffic.
--write writes bench/units.json, from which bench/cost.py computes.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "tests/cold-start")]
from candidates import HANDLERS  # noqa: E402
from cold_start import build, settings_of  # noqa: E402
from instructions import built, pairs  # noqa: E402
from meter import COUNT, Meter  # noqa: E402
from runtime import Failure, Function  # noqa: E402
from scenarios import LOGIN, SCENARIOS, Exchange, Provider, body, exchange_event, start  # noqa: E402
from services import Services  # noqa: E402
from tls import dynamodb  # noqa: E402

REQUESTS = 10
WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"}
RESULTS = ROOT / "bench/units.json"


class SignUp(Exchange):
    """`POST /token` of a new user, for each further user of the stand-in. The first sign-in warms the function up."""

    name = "sign-up"
    login = LOGIN

    def __init__(self, signed_in, provider):
        super().__init__(signed_in, provider)
        self.logins = iter([LOGIN, "octocat", "incognito"])

    def event(self):
        self.login = next(self.logins)
        return exchange_event(self.provider, self.login)

    def check(self, answer):
        if body(answer)["is_new_user"] is not (self.login != LOGIN):
            raise Failure(f"a new login is no new user: {answer.body[:2000]}")


def measure(binary, settings, scenario, meter, requests=REQUESTS):
    with Function([binary], settings, scenario.name) as function:
        scenario.check(function.invoke(scenario.event()))
        function.wait_until_ready()
        meter.take()
        logged, answered = len(function.logged()), 0
        for _ in range(requests):
            answer = function.invoke(scenario.event())
            scenario.check(answer)
            outer = json.loads(answer.body)
            answered += len(outer.get("body", "")) + len(json.dumps(outer.get("headers", "")))
        function.wait_until_ready()
        taken = meter.take()
        calls = [(operation, units) for operation, units in taken if operation != COUNT]
        counts = [units for operation, units in taken if operation == COUNT]
        total = lambda writes: sum(units for operation, units in calls if (operation in WRITES) == writes)  # noqa: E731
        return {
            "calls": {
                one: sum(one == other for other, _ in calls) / requests for one in sorted({name for name, _ in calls})
            },
            "write_units": total(True) / requests,
            "read_units": total(False) / requests,
            # Of the write that counts the first request of a client in a minute. One of a busy instance covers 64.
            "count_units": max(counts, default=0.0),
            "log_bytes": round((len(function.logged()) - logged) / requests),
            "answer_bytes": round(answered / requests),
        }


def item_bytes(settings):
    """The average bytes of the items of a user: by DynamoDB's rules, the names and the values."""

    def size(value):
        ((kind, inner),) = value.items()
        match kind:
            case "M":
                return 3 + sum(len(name) + size(member) + 1 for name, member in inner.items())
            case "L":
                return 3 + sum(size(member) + 1 for member in inner)
            case "N":
                return len(inner) // 2 + 2
            case "SS":
                return sum(map(len, inner))
            case "BOOL" | "NULL":
                return 1
            case "B":
                return len(inner)
            case _:
                return len(inner.encode())

    kinds = {}
    for item in dynamodb(settings).scan(TableName=settings["TABLE_NAME"])["Items"]:
        kind = item["sk"]["S"].partition("#")[0].lower()
        kinds.setdefault(kind, []).append(100 + sum(len(name) + size(value) for name, value in item.items()))
    return {kind: round(sum(sizes) / len(sizes)) for kind, sizes in sorted(kinds.items())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--binary", action="append", default=[], metavar="FUNCTION=PATH", help="a function that is built"
    )
    parser.add_argument("--cambio", type=Path, help="a `cambio` that is built")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    arguments = parser.parse_args()

    binaries = built(pairs(arguments.binary), list(HANDLERS))
    cambio = arguments.cambio.resolve() if arguments.cambio else build("local", "cambio")[0]
    with tempfile.TemporaryDirectory() as folder, Services(Path(folder), cambio, {}) as local:
        meter = Meter(local)
        metered = meter.settings
        provider = Provider(local)
        units = {"routes": {}}
        for scenario in [*SCENARIOS.values(), SignUp]:
            binary = binaries[scenario.function]
            settings = settings_of(scenario.function, metered)
            running = start(scenario, binaries["token-exchange"], settings_of("token-exchange", local), provider)
            requests = 2 if scenario is SignUp else REQUESTS
            taken = measure(binary, settings, running, meter, requests)
            units["routes"][scenario.name] = taken
        units["item_bytes"] = item_bytes(local)
    print(text := json.dumps(units, indent=1))
    if arguments.write:
        RESULTS.write_text(text + "\n")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"units: {failure}")
