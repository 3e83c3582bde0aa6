#!/usr/bin/env python3
"""The cost of Cambio for a million requests, and for a month of a number of users, beside rented services.

    bench/cost.py            prints the tables
    bench/cost.py --write    writes them into docs/performance.md

Computed from bench/power.json (billed time), bench/units.json (capacity units, logs, answers, items) and
bench/prices.toml. No free tier is subtracted from Cambio's side.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).resolve().parent))
from report import aligned, bullets, markdown, write_blocks  # noqa: E402

# The memory of every function in template.yaml, and the architecture that is its default.
MEMORY, ARCHITECTURE = 256, "arm64"
# The lines that Lambda itself logs for a request (START, END and REPORT), and the access log of API Gateway.
PLATFORM_LOG_BYTES, ACCESS_LOG_BYTES = 400, 220
# A refresh and a sign-in read the key set again if it is older than 20 seconds: with little traffic, each time.
KEY_SET_READ_UNITS = 1
# `count_units`, of the write that counts the requests of a client, is added to each request as well: with little
# traffic, each request is the first one of its minute. A busy instance makes one such write for 64 requests.
# A month of a user in the tables below: a sign-in, and on each of twenty days the app is used for an hour, with access
# tokens of fifteen minutes: four refreshes, four requests to /me, and forty to an API behind the authorizer, whose
# answers API Gateway caches for five minutes, so that it runs twelve times.
MONTH = {"exchange": 1, "refresh": 80, "/me": 80, "authorizer": 240}
# Sessions that a user has in the table at a time.
SESSIONS = 2
USERS = [1_000, 100_000, 1_000_000, 100_000_000]
GB = 1e9
NAMES = {
    "exchange": "sign-in (`POST /token`, exchange)",
    "refresh": "refresh (`POST /token`)",
    "/me": "`GET /me`",
    "authorizer": "authorizer",
}


def load():
    read = lambda name: json.loads((ROOT / "bench" / name).read_text())  # noqa: E731
    prices = tomllib.loads((ROOT / "bench/prices.toml").read_text())
    return read("power.json"), read("units.json"), prices


def per_million(route, power, units, prices):
    """Dollars for a million requests to a route, by part."""
    aws, used = prices["lambda"], units["routes"][route]
    times = power["routes"][route][str(MEMORY)]
    cold = aws["cold_share"]["value"]
    milliseconds = (1 - cold) * times["billed_ms"] + cold * (times["init_ms"] + times["first_ms"])
    gb_seconds = MEMORY / 1024 * milliseconds / 1000
    signs = route in ("exchange", "refresh")
    writes = used["write_units"] + used["count_units"]
    reads = used["read_units"] + (KEY_SET_READ_UNITS if signs else 0)
    behind_gateway = route != "authorizer"
    log_bytes = used["log_bytes"] + PLATFORM_LOG_BYTES + (ACCESS_LOG_BYTES if behind_gateway else 0)
    gateway = prices["api_gateway"]
    return {
        "API Gateway": gateway["million_requests"]["usd"] if behind_gateway else 0,
        "Lambda requests": aws["million_requests"]["usd"],
        "Lambda time": gb_seconds * 1e6 * aws[f"gb_second_{ARCHITECTURE}"]["usd"],
        "DynamoDB": writes * prices["dynamodb"]["million_write_units"]["usd"]
        + reads * prices["dynamodb"]["million_read_units"]["usd"],
        "logs": log_bytes * 1e6 / GB * prices["cloudwatch"]["log_gb"]["usd"],
        "traffic": used["answer_bytes"] * 1e6 / GB * gateway["gb_out"]["usd"] if behind_gateway else 0,
    }


def request_rows(data):
    parts = ["API Gateway", "Lambda requests", "Lambda time", "DynamoDB", "logs", "traffic"]
    rows = [["USD for a million", *parts, "together"]]
    for route, name in NAMES.items():
        costs = per_million(route, *data)
        rows.append([name, *(f"{costs[part]:.2f}" for part in parts), f"{sum(costs.values()):.2f}"])
    return rows


def month(users, data):
    """Dollars for a month of Cambio with this many users, all active."""
    power, units, prices = data
    requests = {route: count * users for route, count in MONTH.items()}
    total = sum(sum(per_million(route, *data).values()) * count / 1e6 for route, count in requests.items())
    # API Gateway's volume price.
    gateway = prices["api_gateway"]
    behind_gateway = sum(count for route, count in requests.items() if route != "authorizer")
    cheaper = max(0, behind_gateway - gateway["cheaper_from"]["value"])
    total -= cheaper / 1e6 * (gateway["million_requests"]["usd"] - gateway["cheaper_million_requests"]["usd"])
    items = units["item_bytes"]
    stored = users * (items["user"] + items["identity"] + SESSIONS * items["session"]) / GB
    dynamodb = prices["dynamodb"]
    return total + stored * (dynamodb["gb_month"]["usd"] + dynamodb["backup_gb_month"]["usd"])


def rented(service, users, prices):
    """Dollars for a month of a service that charges for monthly active users."""
    price = prices[service]
    billed = max(0, users - price["free_mau"]["value"])
    return price.get("month", {"usd": 0})["usd"] + billed * price["mau"]["usd"]


def self_hosted(prices):
    own = prices["self_hosted"]
    hours = 730 * (own["instance_hour"]["usd"] + own["postgres_hour"]["usd"])
    return hours + own["storage_gb"]["value"] * own["storage_gb_month"]["usd"]


def dollars(value):
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def month_rows(data):
    prices = data[2]
    services = {"cognito": "Cognito Essentials", "auth0": "Auth0", "clerk": "Clerk Pro", "supabase": "Supabase Pro"}
    rows = [["USD a month, all users active", "Cambio", *services.values(), "supabase/auth on one small instance"]]
    for users in USERS:
        alone = dollars(self_hosted(prices)) if users <= 100_000 else "not computed"
        rows.append(
            [
                f"{users:,} users",
                dollars(month(users, data)),
                *(dollars(rented(name, users, prices)) for name in services),
                alone,
            ]
        )
    return rows


def arithmetic(data):
    """The growth to the largest number of users, step by step."""
    power, units, prices = data
    users = USERS[-1]
    lines = []
    for route, count in MONTH.items():
        each = sum(per_million(route, *data).values())
        millions = count * users / 1e6
        per_second = count * users / (30 * 24 * 3600)
        lines.append(
            f"{NAMES[route]}: {users:,} users x {count} = {millions:,.0f} million a month ({per_second:,.0f} a second on"
            f" average) x {each:.2f} USD = {dollars(millions * each)} USD"
        )
    items = units["item_bytes"]
    per_user = items["user"] + items["identity"] + SESSIONS * items["session"]
    stored = users * per_user / GB
    rate = prices["dynamodb"]["gb_month"]["usd"] + prices["dynamodb"]["backup_gb_month"]["usd"]
    lines.append(
        f"Storage and its backup: {users:,} x {per_user:,} bytes (user {items['user']}, identity {items['identity']},"
        f" {SESSIONS} sessions of {items['session']}) = {stored:,.0f} GB x {rate:.2f} USD = {dollars(stored * rate)} USD"
    )
    behind_gateway = sum(count for route, count in MONTH.items() if route != "authorizer") * users
    gateway = prices["api_gateway"]
    saved = (behind_gateway - gateway["cheaper_from"]["value"]) / 1e6
    saved *= gateway["million_requests"]["usd"] - gateway["cheaper_million_requests"]["usd"]
    lines.append(f"Less API Gateway's volume price: {dollars(saved)} USD")
    lines.append(
        f"Together: {dollars(month(users, data))} USD, {month(users, data) / users * 100:.2f} cents for each user"
    )
    return bullets(lines)


def summary(data):
    each = {route: sum(per_million(route, *data).values()) for route in MONTH}
    return bullets(
        [
            f"A million refreshes cost {each['refresh']:.2f} USD, a million sign-ins {each['exchange']:.2f} USD, and a"
            f" million requests to `/me` {each['/me']:.2f} USD. Without requests, only the stored items and the alarms cost anything."
        ]
    )


def sources(prices):
    rows = [["figure", "USD or count", "read at", "on its vendor's page"]]
    for group, entries in prices.items():
        if isinstance(entries, dict):
            for name, entry in entries.items():
                value = entry.get("usd", entry.get("value"))
                shown = f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"
                source = entry["source"]
                link = (
                    f"[{source.split('/')[2].removeprefix('www.')}]({source})"
                    if source.startswith("https://")
                    else source
                )
                rows.append([f"{group} {name.replace('_', ' ')}", shown, link, "yes" if entry["confirmed"] else "no"])
    return rows


def blocks():
    data = load()
    return {
        "cost-summary": summary(data),
        "cost": markdown(request_rows(data)),
        "month": markdown(month_rows(data)),
        "arithmetic": arithmetic(data),
        "prices": markdown(sources(data[2])),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md")
    arguments = parser.parse_args()
    data = load()
    print(aligned(request_rows(data)), aligned(month_rows(data)), arithmetic(data), sep="\n\n")
    if arguments.write:
        write_blocks(blocks())


if __name__ == "__main__":
    main()
