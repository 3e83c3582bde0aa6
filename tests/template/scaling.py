#!/usr/bin/env python3
"""The arithmetic of docs/scaling.md, from what was measured and the defaults of template.yaml.

    tests/template/scaling.py            prints the tables
    tests/template/scaling.py --write    writes them into the page
"""

import json
import math
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/scaling.md"
sys.path[:0] = [str(ROOT / "bench"), str(Path(__file__).parent)]
import regions  # noqa: E402
from report import bullets, fill, markdown  # noqa: E402

HOUR = 3600
SIGN_INS = 1_000_000
# Each user who signed in uses the app for the hour, with access tokens of fifteen minutes.
REFRESHES = READS = 4
MEMORY = "256"
# The bench's provider answers each of two calls after 80 ms; a slow one needs longer.
CALLS, MEASURED_MS, SLOW_MS = 2, 80, 250
# An instance that signs reads the key set again when it is older.
KEY_SET_SECONDS = 20

# A busy instance counts the requests of a client by one write for so many.
SHARE = int(re.search(r"LARGEST_SHARE: u64 = (\d+);", (ROOT / "shared/src/clients/limits.rs").read_text())[1])

# The quotas of AWS and GitHub. A new account has less of some: see the page.
PRICES = tomllib.loads((ROOT / "bench/prices.toml").read_text())["lambda"]
GITHUB_PER_HOUR = 2_000
GATEWAY_PER_SECOND = 10_000
CONCURRENCY = 1_000
TABLE_WRITES, TABLE_READS = 4_000, 12_000
ITEM_READS = 3_000


def default(parameter):
    """The default of a parameter of template.yaml."""
    text = (ROOT / "template.yaml").read_text()
    found = re.search(rf"^  {parameter}:\s*(?:\{{[^\n]*|\n(?:    .*\n)*?    )Default: (\d+)", text, re.MULTILINE)
    inline = re.search(rf"^  {parameter}: \{{[^\n]*Default: (\d+)", text, re.MULTILINE)
    return int((inline or found)[1])


class Load:
    """The requests, executions and units in each second that a number of sign-ins in an hour needs."""

    def __init__(self, sign_ins):
        units = json.loads((ROOT / "bench/units.json").read_text())["routes"]
        times = json.loads((ROOT / "bench/power.json").read_text())["routes"]
        milliseconds = {route: times[route][MEMORY]["billed_ms"] for route in times}
        self.sign_ins = sign_ins / HOUR
        self.refreshes, self.reads = REFRESHES * self.sign_ins, READS * self.sign_ins
        self.token = self.sign_ins + self.refreshes
        self.requests = self.token + self.reads
        # The milliseconds of /token for a sign-in and its refreshes.
        self.token_ms = milliseconds["exchange"] + REFRESHES * milliseconds["refresh"]
        self.token_concurrency = self.sign_ins * self.token_ms / 1000
        slow = milliseconds["exchange"] + CALLS * (SLOW_MS - MEASURED_MS)
        others = self.refreshes * milliseconds["refresh"] + self.reads * milliseconds["/me"]
        self.concurrency = (self.sign_ins * milliseconds["exchange"] + others) / 1000
        self.slow_concurrency = (self.sign_ins * slow + others) / 1000
        self.sign_up_writes = self.sign_ins * units["sign-up"]["write_units"]
        # The counts of the clients, by instances that are busy.
        self.counts = self.token / SHARE
        self.writes = self.sign_up_writes + self.refreshes * units["refresh"]["write_units"] + self.counts
        self.table_reads = (
            self.sign_ins * units["exchange"]["read_units"]
            + self.refreshes * units["refresh"]["read_units"]
            + self.reads * units["/me"]["read_units"]
        )
        # Each request of an instance that has just started, or that was idle.
        self.key_set_reads = self.token


def number(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def limits():
    """Each limit: what needs it, the need at SIGN_INS, the limit, and the remedy."""
    load = Load(SIGN_INS)
    return [
        (
            "GitHub: access-token requests in an hour, for each OAuth app",
            SIGN_INS,
            GITHUB_PER_HOUR,
            "several OAuth apps, and other providers: no setting of Cambio raises it",
        ),
        ("Cambio: requests of one client at `/token` in a second", load.token, default("ClientRateLimit") // 60, "`ClientRateLimit`"),
        ("stage throttle of `/token`: requests in a second", load.token, default("TokenRateLimit"), "`TokenRateLimit`, `TokenBurstLimit`"),
        ("stage throttle of all routes: requests in a second", load.requests, default("ApiRateLimit"), "`ApiRateLimit`, `ApiBurstLimit`"),
        (
            f"Lambda: concurrent executions, with a provider that takes {CALLS} x {SLOW_MS} ms",
            load.slow_concurrency,
            CONCURRENCY,
            "ask AWS for more; `TokenReservedConcurrency` leaves the authorizer some",
        ),
        (
            f"Lambda: the same, with a provider that takes {CALLS} x {MEASURED_MS} ms",
            load.concurrency,
            CONCURRENCY,
            "the same",
        ),
        (
            "DynamoDB: write units in a second of a new table, if each sign-in is a sign-up",
            load.writes,
            TABLE_WRITES,
            "`TableWarmWriteUnits` before the rush; a table that has had twice the load needs nothing",
        ),
        ("DynamoDB: read units in a second of a new table", load.table_reads, TABLE_READS, "`TableWarmReadUnits`, likewise"),
        (
            "DynamoDB: read units in a second of one item, the key set, if no instance keeps it",
            load.key_set_reads,
            ITEM_READS,
            f"none needed: a busy instance reads it once in {KEY_SET_SECONDS} seconds",
        ),
        ("API Gateway: requests in a second, for the account", load.requests, GATEWAY_PER_SECOND, "ask AWS for more"),
    ]


def limit_rows():
    rows = [["limit", "needed", "there is", "reached at sign-ins an hour", "remedy"]]
    for what, needed, limit, remedy in sorted(limits(), key=lambda row: row[2] / row[1]):
        rows.append([what, number(needed), f"{limit:,}", f"{int(SIGN_INS * limit / needed):,}", remedy])
    return rows


def steps():
    load = Load(SIGN_INS)
    return bullets(
        [
            f"{SIGN_INS:,} sign-ins / 3,600 s = {number(load.sign_ins)} a second",
            f"{REFRESHES} refreshes and {READS} requests to `/me` for each = {number(load.refreshes)} and {number(load.reads)} a second",
            f"`/token`: {number(load.sign_ins)} + {number(load.refreshes)} = {number(load.token)} a second",
            f"all sign-ups: {number(load.sign_ins)} x 6 write units = {number(load.sign_up_writes)} a second, a unit for each"
            f" refresh, and {number(load.token)} / {SHARE} counts of clients = {number(load.writes)}",
            f"concurrency: requests in a second x their time = {number(load.concurrency)}, or {number(load.slow_concurrency)}"
            " with a slow provider",
            f"the key set: {number(load.slow_concurrency)} instances / {KEY_SET_SECONDS} s ="
            f" {number(load.slow_concurrency / KEY_SET_SECONDS)} reads a second while they are busy, and at most"
            f" {number(load.key_set_reads)} if each request meets a new one",
        ]
    )


# A month of the pricing pages.
HOURS = 730
INSTANCES = [1, 10]


def provisioned_usd(instances):
    """Dollars for a month of instances that are kept started, without their requests."""
    price = PRICES["provisioned_gb_second_arm64"]["usd"]
    return instances * int(MEMORY) / 1024 * HOURS * HOUR * price


def cold_ms(route):
    """Milliseconds that a request waits for the start of an instance."""
    return json.loads((ROOT / "bench/power.json").read_text())["routes"][route][MEMORY]["init_ms"]


def provisioned_rows():
    load = Load(SIGN_INS)
    rows = [["instances of `/token`", "GB-seconds in a month", "USD in a month", "busy with sign-ins an hour"]]
    for instances in [*INSTANCES, math.ceil(load.token_concurrency)]:
        seconds = instances * int(MEMORY) / 1024 * HOURS * HOUR
        sign_ins = instances * HOUR * 1000 / load.token_ms
        rows.append([f"{instances}", f"{seconds:,.0f}", f"{provisioned_usd(instances):,.2f}", f"{sign_ins:,.0f}"])
    return rows


def provisioned_steps():
    load = Load(SIGN_INS)
    kept, used, on_demand = (
        PRICES[name]["usd"] for name in ("provisioned_gb_second_arm64", "provisioned_duration_gb_second_arm64", "gb_second_arm64")
    )
    return bullets(
        [
            f"a start takes {cold_ms('exchange'):.0f} ms for `/token` and {cold_ms('authorizer'):.0f} ms for the authorizer with {MEMORY} MB,"
            f" measured without Lambda's own part; over all its customers, AWS says, at most {PRICES['cold_share']['value']:.0%} of the requests meet one",
            f"an instance, a month: {int(MEMORY) / 1024:g} GB x {HOURS} h x 3,600 s x {kept:.10f} USD = {provisioned_usd(1):.2f} USD, used or not",
            f"its requests cost {used:.10f} USD a GB-second in place of {on_demand:.10f} USD",
            f"so it is cheaper than starts on demand if it is busy for {kept / (on_demand - used):.0%} of the time:"
            f" {kept:.10f} / ({on_demand:.10f} - {used:.10f})",
            f"a sign-in with its {REFRESHES} refreshes takes {load.token_ms:.0f} ms of an instance, so a million in an hour keep"
            f" {math.ceil(load.token_concurrency)} instances busy",
        ]
    )


def blocks():
    return {
        "steps": steps(),
        "limits": markdown(limit_rows()),
        "provisioned-steps": provisioned_steps(),
        "provisioned": markdown(provisioned_rows()),
        "regions": markdown(regions.rows()),
    }


def filled(page):
    return fill(page, blocks())


if __name__ == "__main__":
    for name, text in blocks().items():
        print(f"{name}\n\n{text}\n")
    if "--write" in sys.argv[1:]:
        PAGE.write_text(filled(PAGE.read_text()))
        print(f"wrote {PAGE.relative_to(ROOT)}")
