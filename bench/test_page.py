"""docs/performance.md has the tables that follow from the measured files, and the cost table has the right sums."""

import json
import re

import cost
import pytest
import report
from power import table as power_rows

PAGE = report.PAGE.read_text()


def block(name):
    found = re.search(rf"<!-- bench: {name} -->\n(.*?)<!-- bench: end -->", PAGE, re.S)
    assert found, f"docs/performance.md has no block {name}"
    return found[1]


def read(name):
    return json.loads((report.ROOT / "bench" / name).read_text())


@pytest.mark.parametrize("name", report.BLOCKS)
def test_each_table_of_the_bench_is_that_of_its_results(name):
    assert block(name) == report.BLOCKS[name](read("results.json")) + "\n"


def test_the_picture_is_that_of_the_results():
    assert report.PICTURE.read_text() == report.picture(read("results.json"))


def test_the_table_of_memory_sizes_is_that_of_its_results():
    for name, text in report.power_blocks(read("power.json")).items():
        assert block(name) == text + "\n"


def test_the_tables_of_keys_and_of_parts_are_those_of_their_results():
    for name, text in report.keys_blocks(read("results.json"), read("keys.json")).items():
        assert block(name) == text + "\n"


def test_a_goal_is_met_by_the_measurement_alone():
    results = read("results.json")
    for key, change in (
        ("warm /me", lambda of: of["routes"]["/me"]["node"]["ratios"]["warm_cpu_us"].update(median=8.0)),
        ("instructions refresh", lambda of: of["instructions"]["refresh"].update(warm=5_000_000)),
        ("zip me", lambda of: of["zip_bytes"]["me"].update(cambio=2_988_441)),
        ("supabase /me", lambda of: of["routes"]["/me"]["cambio"]["warm_cpu_us"].update(median=275.0)),
    ):
        before, after = json.loads(json.dumps(results)), json.loads(json.dumps(results))
        change(after)
        met = [{goal.key: goal.is_met for goal in report.judged(one)}[key] for one in (before, after)]
        assert met == [False, True], key


@pytest.mark.parametrize("key", [goal.key for goal in report.judged(read("results.json"))])
def test_each_goal_that_is_not_met_has_its_reason(key, monkeypatch):
    results, keys = read("results.json"), read("keys.json")
    goals = report.judged(results)
    for goal in goals:
        goal.is_met = goal.key != key
    monkeypatch.setattr(report, "judged", lambda _: goals)
    assert report.reasons(results, keys).count("\n- ") == 0
    assert report.reasons(results, keys).startswith("- *")


@pytest.mark.parametrize("name", ["cost-summary", "cost", "month", "arithmetic", "prices"])
def test_the_costs_follow_from_the_measured_files_and_the_prices(name):
    assert block(name) == cost.blocks()[name] + "\n"


def test_a_changed_price_or_measurement_changes_the_costs():
    power, units, prices = cost.load()
    before = cost.request_rows((power, units, prices))
    dearer = json.loads(json.dumps(prices))
    dearer["dynamodb"]["million_write_units"]["usd"] *= 2
    assert cost.request_rows((power, units, dearer)) != before
    slower = json.loads(json.dumps(power))
    slower["routes"]["/me"][str(cost.MEMORY)]["billed_ms"] += 100
    assert cost.request_rows((slower, units, prices)) != before


def test_the_cost_of_a_refresh_by_hand():
    """100 ms at 256 MB, one write unit, one for the count of the client, and one read unit, with round prices."""
    price = lambda usd: {"usd": usd, "confirmed": True, "source": ""}  # noqa: E731
    prices = {
        "lambda": {"gb_second_arm64": price(0.00002), "million_requests": price(0.2), "cold_share": {"value": 0}},
        "api_gateway": {"million_requests": price(1), "gb_out": price(0.1)},
        "dynamodb": {"million_write_units": price(0.5), "million_read_units": price(0.1)},
        "cloudwatch": {"log_gb": price(0.5)},
    }
    times = {"billed_ms": 100, "init_ms": 0, "first_ms": 0}
    power = {"routes": {"refresh": {"256": times}}}
    used = {"write_units": 1, "count_units": 1, "read_units": 1, "log_bytes": 380, "answer_bytes": 2000}
    units = {"routes": {"refresh": used}}
    costs = cost.per_million("refresh", power, units, prices)
    expected = {
        "API Gateway": 1,
        "Lambda requests": 0.2,
        "Lambda time": 0.5,  # 0.25 GB x 0.1 s x 1,000,000 x 0.00002
        "DynamoDB": 1.2,  # two write units, one read unit, and one for the key set
        "logs": 0.5,  # 380 + 400 + 220 bytes are 1 GB for a million
        "traffic": 0.2,
    }
    assert costs == pytest.approx(expected)


def test_each_price_names_its_source():
    for group, entries in cost.load()[2].items():
        if group != "date":
            for name, entry in entries.items():
                assert {"source", "confirmed"} < set(entry), f"{group}.{name}"
                assert not entry["confirmed"] or entry["source"].startswith("https://"), f"{group}.{name}"


def test_the_memory_of_the_cost_table_is_that_of_the_template():
    template = (report.ROOT / "template.yaml").read_text()
    assert re.findall(r"MemorySize: (\d+)", template) == [str(cost.MEMORY)]
    assert f"Default: {cost.ARCHITECTURE}" in template


def test_more_memory_throttles_less_in_the_model():
    rows = power_rows(read("power.json"))
    even = [float(row[4]) for row in rows if row[0].startswith("refresh: ")]
    assert even == sorted(even, reverse=True) and len(set(even)) > 1
