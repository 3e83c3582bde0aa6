"""The tables and the picture of the bench's results, for the terminal and for docs/performance.md."""

import json
import re
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/performance.md"
RESULTS = ROOT / "bench/results.json"
PICTURE = ROOT / "docs/performance.svg"
NAMES = {
    "cambio": "Cambio",
    "node": "Node",
    "python": "Python",
    "lambda_http": "no-op `lambda_http`",
    "poller": "bare poller",
}
# The calls to DynamoDB during the init: the key set, and the private key of the function that signs.
INIT_CALLS = {"/me": 1, "refresh": 2, "exchange": 2, "authorizer": 1}
FUNCTION = {"/me": "me", "refresh": "token-exchange", "exchange": "token-exchange", "authorizer": "authorizer"}


def number(value, digits=3):
    """A number with this many significant digits, and thousands separated."""
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if value < 1 else f"{value:.{max(0, digits - len(str(int(value))))}f}"


def ratio(spread):
    """A ratio with its lowest and highest round: `5.5x (5.1 to 6.0)`."""
    text = [number(spread[name], 2 if spread[name] < 10 else 3) for name in ("median", "low", "high")]
    return f"{text[0]}x ({text[1]} to {text[2]})"


def aligned(rows):
    """A plain table."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row):
        cells = [
            cell.rjust(width) if nth > 1 else cell.ljust(width) for nth, (cell, width) in enumerate(zip(row, widths))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(map(line, rows))


def markdown(rows):
    """A Markdown table. Columns of numbers are aligned to the right."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    is_number = [
        all(re.fullmatch(r"[\d,.x%USD() to-]*|yes|no|not computed", row[nth]) for row in rows[1:])
        for nth in range(len(rows[0]))
    ]
    rule = "|" + "".join(" ---: |" if numeric else " --- |" for numeric in is_number)
    return "\n".join([lines[0], rule, *lines[1:]])


def table(results):
    head = [
        "route",
        "",
        "init ms",
        "first ms",
        "p50 ms",
        "p99 ms",
        "cold CPU ms",
        "of Cambio",
        "warm CPU us",
        "of Cambio",
        "RSS MiB",
    ]
    rows = [head]
    for route, candidates in results["routes"].items():
        for candidate, taken in candidates.items():
            cold, warm = taken["ratios"]["cold_cpu_ms"], taken["ratios"]["warm_cpu_us"]
            is_base = candidate in ("cambio", "lambda_http")
            rows.append(
                [
                    route,
                    NAMES[candidate].replace("`", ""),
                    *(
                        number(taken[metric]["median"])
                        for metric in ("init_ms", "first_ms", "p50_ms", "p99_ms", "cold_cpu_ms")
                    ),
                    "" if is_base else ratio(cold),
                    number(taken["warm_cpu_us"]["median"]),
                    "" if is_base else ratio(warm),
                    number(taken["rss_mib"]["median"]),
                ]
            )
    text = aligned(rows)
    if counts := results.get("instructions"):
        head = ["instructions", "", "init", "first", "warm"]
        lines = [
            [name, "", *(f"{count[part]:,}" for part in ("init", "first", "warm"))] for name, count in counts.items()
        ]
        text += "\n\n" + aligned([head, *lines])
    head = ["zip bytes", "", "Cambio", "Node", "Python"]
    lines = [[name, "", *(f"{size:,}" for size in sizes.values())] for name, sizes in results["zip_bytes"].items()]
    return text + "\n\n" + aligned([head, *lines])


# --- Blocks of the page -----------------------------------------------------------------------------------------------


def conditions(results):
    given = results["conditions"]
    load = given["load"]
    return (
        f"Measured on {given['date']}: {given['cores']} cores of {given['cpu']}, Linux {given['kernel']}, load"
        f" {load['before']:.1f} before and {load['after']:.1f} after; {given['rust'].split(' (')[0]}, Node"
        f" {given['node'].lstrip('v')}, Python {given['python']}. {given['rounds']} rounds of {given['requests']['/me']} warm"
        f" requests, {given['requests']['exchange']} for the exchange. DynamoDB answers {given['dynamodb_ms']} ms later than"
        f" it could, and the provider {given['provider_ms']} ms."
    )


def wrapped(text, width=120):
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) + 1 > width and line:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


def bullets(lines):
    return "\n".join("- " + wrapped(line, 118).replace("\n", "\n  ") for line in lines)


def compared(results, cpu):
    """Yields each candidate with what was measured, and its first cells: its name, CPU time, and ratio to Cambio's."""
    for route, candidates in results["routes"].items():
        for candidate, taken in candidates.items():
            is_base = candidate in ("cambio", "lambda_http") or route == "no-op"
            name = NAMES[candidate] if route == "no-op" else f"{route}: {NAMES[candidate]}"
            cells = [name, number(taken[cpu]["median"]), "" if is_base else ratio(taken["ratios"][cpu])]
            yield route, candidate, taken, cells


def warm(results):
    rows = [["warm request", "CPU, us", "CPU, of Cambio's", "p50, ms", "p99, ms", "peak RSS, MiB"]]
    for _, _, taken, cells in compared(results, "warm_cpu_us"):
        rows.append([*cells, *(number(taken[name]["median"]) for name in ("p50_ms", "p99_ms", "rss_mib"))])
    return markdown(rows)


def cold(results):
    rows = [
        ["cold start", "CPU to the first answer, ms", "CPU, of Cambio's", "init, ms", "first request, ms", "zip, MiB"]
    ]
    for route, candidate, taken, cells in compared(results, "cold_cpu_ms"):
        size = f"{results['zip_bytes'][FUNCTION[route]][candidate] / 2**20:.2f}" if route in FUNCTION else ""
        rows.append([*cells, number(taken["init_ms"]["median"]), number(taken["first_ms"]["median"]), size])
    return markdown(rows)


def instructions(results):
    rows = [["thousand instructions", "init", "first request", "warm request"]]
    repeated = False
    for name, count in results["instructions"].items():
        init, first, warm = (f"{count[part] / 1000:,.0f}" for part in ("init", "first", "warm"))
        if count.get("init_calls", 0) > INIT_CALLS.get(name, 0):
            init, repeated = f"{init} (1)", True
        rows.append([NAMES.get(name, name), init, first, warm])
    note = "\n\n(1) With a repeated call to DynamoDB, because the machine was busy." if repeated else ""
    return markdown(rows) + note


# What a lean DynamoDB client saved of `/me` in place of the AWS SDK, measured once: the ratios of the table in
# docs/performance.md ("A lean DynamoDB client"), whose client is in no release.
LEAN = {"cold": 0.75, "warm": 0.65, "instructions": 0.69, "rss": 0.79, "zip": 0.75}
# supabase/auth (Go, PostgreSQL), measured once beside an early version of Cambio, and not by this bench: milliseconds
# of a request, without its database.
SUPABASE = {"/me": (1.1, 1.4), "refresh": (6.5, 6.5)}


class Goal:
    """A goal with what was measured: `value`, shown in `form`, against `most` or `least`.

    `lean` is the value that a lean DynamoDB client would give, if its trial measured that. `also` is the better end of
    a measured range, and `value` the other end.
    """

    def __init__(self, key, text, form, value, most=None, least=None, lean=None, also=None):
        self.key, self.text, self.form, self.value = key, text, form, value
        self.most, self.least, self.lean, self.also = most, least, lean, also
        self.is_met = self.reached_by(value)

    def reached_by(self, value):
        return value <= self.most if self.least is None else value >= self.least

    def row(self):
        bound = f"at most {self.most}" if self.least is None else f"at least {self.least}"
        unit = re.sub(r"\{.*\}", "", self.form)
        measured = self.form.format(self.value)
        if self.also is not None:
            measured = f"{self.form.format(self.also)} to {measured}"
        lean = "" if self.lean is None else f"{self.form.format(self.lean)}, {'yes' if self.reached_by(self.lean) else 'no'}"
        return [self.text, measured, bound + unit, "yes" if self.is_met else "no", lean]


def judged(results):
    """The goals. Fixed here, so that no measurement moves them."""
    routes, counts, sizes = results["routes"], results["instructions"], results["zip_bytes"]
    median = lambda route, candidate, metric: routes[route][candidate]["ratios"][metric]["median"]  # noqa: E731
    of_floor = routes["/me"]["cambio"]["floor"]["cold_cpu_ms"]["median"]
    rss = routes["/me"]["cambio"]["rss_mib"]["median"]
    floor = Goal("cold floor", "cold CPU, `me` / no-op `lambda_http`", "{:.2f}x", of_floor, most=2.0, lean=of_floor * LEAN["cold"])
    goals = [floor]
    for candidate, least in (("node", 45), ("python", 80)):
        found = median("/me", candidate, "cold_cpu_ms")
        text = f"cold CPU, {NAMES[candidate]} / `me`"
        goals.append(Goal(f"cold {candidate}", text, "{:.1f}x", found, least=least, lean=found / LEAN["cold"]))
    for route, least in (("/me", 8), ("refresh", 9), ("exchange", 9), ("authorizer", 8)):
        found = median(route, "node", "warm_cpu_us")
        lean = found / LEAN["warm"] if route == "/me" else None
        goals.append(Goal(f"warm {route}", f"warm CPU, Node / Cambio, {route}", "{:.1f}x", found, least=least, lean=lean))
    for route, most in (("/me", 1.2), ("refresh", 5), ("authorizer", 0.5)):
        found = counts[route]["warm"] / 1e6
        lean = found * LEAN["instructions"] if route == "/me" else None
        text = f"instructions of a warm request, {route}"
        goals.append(Goal(f"instructions {route}", text, "{:.2f}M", found, most=most, lean=lean))
    goals.append(Goal("rss", "peak RSS, `me`", "{:.1f} MiB", rss, most=8, lean=rss * LEAN["rss"]))
    for function, most in (("me", 2.85), ("token-exchange", 3.4)):
        found = sizes[function]["cambio"] / 2**20
        lean = found * LEAN["zip"] if function == "me" else None
        goals.append(Goal(f"zip {function}", f"zip, `{function}`", "{:.2f} MiB", found, most=most, lean=lean))
    for route, name in (("/me", "`/me` / who am I"), ("refresh", "refresh / refresh with RS256")):
        ours = routes[route]["cambio"]["warm_cpu_us"]["median"] / 1000
        low, high = SUPABASE[route]
        lean = ours / low * LEAN["warm"] if route == "/me" else None
        also = ours / high if high != low else None
        text = f"warm CPU, {name} of supabase/auth, measured once (1)"
        goals.append(Goal(f"supabase {route}", text, "{:.2f}x", ours / low, most=0.25, lean=lean, also=also))
    return goals


def goals(results):
    rows = [["goal", "measured", "goal", "met", "with a lean client (2)"], *(goal.row() for goal in judged(results))]
    (low, high), (refresh, _) = SUPABASE["/me"], SUPABASE["refresh"]
    notes = [
        f"(1) supabase/auth (Go, PostgreSQL) took {low} to {high} ms for who am I, and {refresh} ms for a refresh with RS256, without"
        " its database, which took 2.5 ms more for a refresh. Measured once, beside an early version of Cambio, and not by"
        " `make bench`; Cambio's time is that of the table above.",
        "(2) Computed: the measured value with the ratio of [the trial](#a-lean-dynamodb-client), which measured `/me` only.",
    ]
    return "\n\n".join([markdown(rows), *map(wrapped, notes)])


def reasons(results, keys):
    """Why each unmet goal is not met, and what it would take."""
    routes, counts, sizes = results["routes"], results["instructions"], results["zip_bytes"]
    unmet = {goal.key for goal in judged(results) if not goal.is_met}
    cold = lambda route, name: routes[route][name]["cold_cpu_ms"]["median"]  # noqa: E731
    warm = lambda route, name: routes[route][name]["warm_cpu_us"]["median"]  # noqa: E731
    thousand = lambda name: counts[name]["warm"] / 1000  # noqa: E731
    signed = {kind: taken["instructions"]["refresh"] / 1e6 for kind, taken in keys.items()}
    none = cold("no-op", "lambda_http")
    noop = warm("no-op", "lambda_http")
    found = []

    def explain(names, text):
        if unmet & set(names):
            found.append(text)

    paired = routes["/me"]["cambio"]["floor"]["cold_cpu_ms"]
    explain(
        ["cold floor", "cold node", "cold python"],
        f"*Cold starts.* `me` takes {cold('/me', 'cambio'):.2f} ms and the no-op function {none:.2f} ms; in paired rounds, `me` took"
        f" {paired['low']:.1f} to {paired['high']:.1f} times as much. A 45th of Node's {cold('/me', 'node'):.0f} ms would be"
        f" {cold('/me', 'node') / 45:.2f} ms. The init makes the SDK's client, which parses a list of partitions and regions, opens a"
        " connection to DynamoDB with a TLS handshake, and reads the keys, which the first request would do otherwise. The lean"
        " client has no such list.",
    )
    rest = thousand("/me") - thousand("authorizer")
    explain(
        ["warm /me", "instructions /me", "supabase /me"],
        f"*`/me`.* Of {thousand('/me'):,.0f} thousand instructions, {thousand('lambda_http'):,.0f} are those of the no-op function,"
        f" {thousand('authorizer') - thousand('lambda_http'):,.0f} check the token, and most of the other {rest:,.0f} are the one"
        " `BatchGetItem`: the SDK builds the request, signs it and reads the answer. The lean client has fewer. A quarter of"
        f" supabase/auth's {SUPABASE['/me'][0]} ms would be {SUPABASE['/me'][0] * 250:.0f} us, of which the no-op function takes {noop:.0f}.",
    )
    cpu = {kind: taken["cpu_us"]["refresh cambio"] for kind, taken in keys.items()}
    explain(
        ["warm refresh", "instructions refresh", "supabase refresh"],
        f"*Refresh.* The RSA-2048 signature alone is {signed['RSA-2048'] - signed['Ed25519']:.1f}M instructions, counted without AVX-512,"
        f" which valgrind does not have. With RSA, 5M cannot be met; with P-256 the whole refresh is {signed['P-256']:.2f}M, and takes"
        f" {cpu['P-256'] / cpu['RSA-2048']:.2f} of the CPU time ([signing keys](#signing-keys)). The rest is two calls to DynamoDB through the SDK.",
    )
    signature = (signed["RSA-2048"] - signed["Ed25519"]) * 1000
    without = (thousand("exchange") - signature) / (thousand("refresh") - signature)
    explain(
        ["warm exchange"],
        "*Exchange.* It signs as a refresh does, calls DynamoDB five times in place of two, and the provider twice. Without the"
        f" signature it has {without:.1f} times the instructions of a refresh; with it, {warm('exchange', 'cambio') / warm('refresh', 'cambio'):.1f}"
        " times its CPU time, which contains the kernel's work for these calls. Node makes the same calls. Fewer instructions for"
        " each call to DynamoDB take a lean client, whose trial did not measure the exchange.",
    )
    left = warm("authorizer", "node") / 8 - noop
    explain(
        ["warm authorizer"],
        f"*Authorizer.* Of its {warm('authorizer', 'cambio'):.0f} us, {noop:.0f} are those of the no-op function: polling, reading the event,"
        f" writing the answer. An eighth of Node's {warm('authorizer', 'node'):.0f} us leaves"
        f" {f'{left:.0f} us' if left > 0 else 'nothing'} for the check of the token, which takes"
        f" {warm('authorizer', 'cambio') - noop:.0f}. To meet the goal, a poller of Cambio's own would have to replace `lambda_runtime`.",
    )
    explain(
        ["instructions authorizer"],
        f"*Instructions of the authorizer.* {thousand('lambda_http'):,.0f} thousand of {thousand('authorizer'):,.0f} are those of the no-op"
        " function, and most of the others verify the RSA signature.",
    )
    bare = routes["no-op"]["lambda_http"]["rss_mib"]["median"]
    explain(
        ["rss"],
        f"*Memory.* The no-op function has {bare:.1f} MiB. The rest of the {routes['/me']['cambio']['rss_mib']['median']:.1f} MiB are the pages of the"
        " SDK's and of TLS's code and relocations that are touched, and what they allocate; the parts were not measured one by one."
        " `z` for all packages takes less ([build settings](#build-settings)), and so does the lean client.",
    )
    explain(
        ["zip me", "zip token-exchange"],
        f"*Packages.* `me` has {sizes['me']['cambio'] / 2**20:.2f} MiB and `token-exchange` {sizes['token-exchange']['cambio'] / 2**20:.2f}. With the"
        " SDK, only the small aws-lc meets both goals, and its signatures are slower ([build settings](#build-settings)). With the"
        " lean client, `me` meets its goal with the fast one; `token-exchange` was not built with it.",
    )
    return bullets(found) if found else "Each goal is met."


def summary(results):
    """The first lines of the page."""
    routes = results["routes"]
    cpu = lambda route, candidate: routes[route][candidate]["warm_cpu_us"]["median"] / 1000  # noqa: E731
    ratios = lambda route, name: routes[route][name]["ratios"]  # noqa: E731
    times = lambda route, name, metric: number(ratios(route, name)[metric]["median"], 2)  # noqa: E731
    said = [
        f"A warm `GET /me` takes {number(cpu('/me', 'cambio'), 2)} ms of CPU time, and a refresh"
        f" {number(cpu('refresh', 'cambio'), 2)} ms. The same routes in Node take {times('/me', 'node', 'warm_cpu_us')} and"
        f" {times('refresh', 'node', 'warm_cpu_us')} times as much, and in Python {times('/me', 'python', 'warm_cpu_us')}"
        f" and {times('refresh', 'python', 'warm_cpu_us')} times.",
        f"A cold start of `me` takes {number(routes['/me']['cambio']['cold_cpu_ms']['median'], 2)} ms of CPU time up to the"
        f" first answer; in Node {times('/me', 'node', 'cold_cpu_ms')} times as much, and in Python"
        f" {times('/me', 'python', 'cold_cpu_ms')} times.",
        f"`me` needs {number(routes['/me']['cambio']['rss_mib']['median'], 2)} MiB of memory, and its package has"
        f" {results['zip_bytes']['me']['cambio'] / 2**20:.1f} MiB.",
    ]
    return bullets(said)


BLOCKS = {
    "summary": summary,
    "conditions": lambda results: wrapped(conditions(results)),
    "warm": warm,
    "cold": cold,
    "instructions": instructions,
    "goals": goals,
}


def fill(page, blocks):
    """The page with these blocks between their markers, `<!-- bench: name -->` and `<!-- bench: end -->`."""
    for name, text in blocks.items():
        pattern = rf"(<!-- bench: {name} -->\n).*?(<!-- bench: end -->)"
        if not re.search(pattern, page, re.S):
            raise ValueError(f"docs/performance.md has no block <!-- bench: {name} -->")
        page = re.sub(pattern, lambda found: f"{found[1]}{text}\n{found[2]}", page, flags=re.S)
    return page


def picture(results):
    """Bars of the CPU time of a warm request and of a cold start, for light and for dark pages."""
    panels = [
        ("warm_cpu_us", "CPU of a warm request, in microseconds"),
        ("cold_cpu_ms", "CPU of a cold start, in milliseconds"),
    ]
    routes = [route for route in results["routes"] if route != "no-op"]
    bar, gap, left, width, top = 14, 12, 96, 360, 54
    height = top + len(routes) * (3 * bar + gap) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * (left + width) + 40} {height}" role="img">',
        f"<title>{escape(alternative(results))}</title>",
        "<style>",
        "text{font:12px system-ui,sans-serif;fill:#24292f}.head{font-weight:600}.note{fill:#57606a}",
        ".cambio{fill:#0969da}.node{fill:#8c959f}.python{fill:#c4cad1}",
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.cambio{fill:#4493f8}.node{fill:#6e7681}"
        ".python{fill:#484f58}}",
        "</style>",
    ]
    for nth, (metric, title) in enumerate(panels):
        x = nth * (left + width + 20)
        lines.append(f'<text class="head" x="{x}" y="16">{escape(title)}</text>')
        for key, candidate in enumerate(("cambio", "node", "python")):
            at = x + key * 80
            lines.append(f'<rect class="{candidate}" x="{at}" y="27" width="10" height="10"/>')
            lines.append(f'<text class="note" x="{at + 15}" y="36">{NAMES[candidate]}</text>')
        values = {
            route: {name: results["routes"][route][name][metric]["median"] for name in ("cambio", "node", "python")}
            for route in routes
        }
        most = max(value for of_route in values.values() for value in of_route.values())
        for row, route in enumerate(routes):
            y = top + row * (3 * bar + gap)
            lines.append(f'<text x="{x}" y="{y + 1.5 * bar + 4}">{escape(route)}</text>')
            for nth_bar, (candidate, value) in enumerate(values[route].items()):
                length = max(1, value / most * (width - 70))
                at = y + nth_bar * bar
                lines.append(
                    f'<rect class="{candidate}" x="{x + left}" y="{at}" width="{length:.1f}" height="{bar - 2}"/>'
                )
                lines.append(
                    f'<text class="note" x="{x + left + length + 5:.1f}" y="{at + bar - 4}">{number(value)}</text>'
                )
    return "\n".join([*lines, "</svg>"]) + "\n"


def alternative(results):
    """The picture in words."""
    said = []
    for route, of_route in results["routes"].items():
        if route != "no-op":
            warm_cpu = ", ".join(
                f"{NAMES[name]} {number(of_route[name]['warm_cpu_us']['median'])}"
                for name in ("cambio", "node", "python")
            )
            said.append(f"{route}: {warm_cpu}")
    return "CPU of a warm request in microseconds. " + "; ".join(said)


def keep(file, measured, rows):
    """Writes what was measured into a file, and prints its table and the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(measured, indent=1) + "\n")
    print(f"{rows}\n\n{file}")


def write(results):
    """Writes the results, the picture, and the blocks of the page."""
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PICTURE.write_text(picture(results))
    print(f"wrote {RESULTS.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")
    keys = json.loads((ROOT / "bench/keys.json").read_text())
    write_blocks({**{name: block(results) for name, block in BLOCKS.items()}, **keys_blocks(results, keys)})


# --- Power and keys ---------------------------------------------------------------------------------------------------


def power_blocks(power):
    from power import table as power_rows

    load = power["load"]
    how = "with a CPU quota" if power["method"] == "cgroup quota" else "computed from the CPU time, without a CPU quota"
    said = (
        f"Measured on {power['date']} {how}, in periods of {power['period_us'] / 1000:.0f} ms; the"
        f" quietest of {power['rounds']} starts, each with {power['requests']} warm requests, of which the median; load"
        f" {load['before']:.1f} before and {load['after']:.1f} after."
    )
    return {"power-conditions": wrapped(said), "power": markdown(power_rows(power))}


def write_power(power):
    (ROOT / "bench/power.json").write_text(json.dumps(power, indent=1) + "\n")
    write_blocks(power_blocks(power))


def keys_rows(keys):
    head = [
        "key",
        "refresh, us",
        "authorizer, us",
        "Node's, us",
        "Python's, us",
        "refresh, thousand instr.",
        "authorizer, thousand instr.",
    ]
    rows = [[*head, "token, bytes"]]
    for kind, taken in keys.items():
        cpu = [
            taken["cpu_us"][job]
            for job in ("refresh cambio", "authorizer cambio", "authorizer node", "authorizer python")
        ]
        counts = [f"{taken['instructions'][route] / 1000:,.0f}" for route in ("refresh", "authorizer")]
        rows.append([kind, *map(number, cpu), *counts, f"{taken['token_bytes']:,}"])
    return rows


def parts(results, keys):
    """The parts of a request in instructions, as differences between functions that do more and more."""
    warm = {name: count["warm"] / 1000 for name, count in results["instructions"].items()}
    signed = {kind: taken["instructions"]["refresh"] / 1000 for kind, taken in keys.items()}
    rows = [
        ["part", "thousand instructions", "measured as"],
        ["`lambda_http`: poll, event, answer", warm["lambda_http"], "the no-op function"],
        [
            "the check of an access token",
            warm["authorizer"] - warm["lambda_http"],
            "authorizer, less the no-op function",
        ],
        [
            "`/me`: the read of user and session, routing, the answer",
            warm["/me"] - warm["authorizer"],
            "`/me`, less the authorizer",
        ],
        ["refresh: all but an RSA signature", signed["Ed25519"], "a refresh with an Ed25519 key"],
        [
            "refresh: an RSA-2048 signature in place of that",
            signed["RSA-2048"] - signed["Ed25519"],
            "less that with an RSA key",
        ],
        ["exchange: more than a refresh", warm["exchange"] - warm["refresh"], "exchange, less the refresh"],
    ]
    return markdown([row if isinstance(row[1], str) else [row[0], f"{row[1]:,.0f}", row[2]] for row in rows])


def keys_blocks(results, keys):
    return {"keys": markdown(keys_rows(keys)), "parts": parts(results, keys), "reasons": reasons(results, keys)}


def write_keys(keys):
    (ROOT / "bench/keys.json").write_text(json.dumps(keys, indent=1) + "\n")
    write_blocks(keys_blocks(json.loads(RESULTS.read_text()), keys))


def write_blocks(blocks):
    PAGE.write_text(fill(PAGE.read_text(), blocks))
    print(f"wrote {', '.join(blocks)} in {PAGE.relative_to(ROOT)}")
