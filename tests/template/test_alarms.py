"""Each alarm of template.yaml is raised when docs/operate.md says so, and those of the canary in time.

Each check is a function of the template, as in test_template.py, so that the last test can break the template.
"""

import copy
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from samtranslator.translator.transform import transform

sys.path.insert(0, str(Path(__file__).parent))
from alarms import DAY, in_alarm, is_alarm, is_raised, math_expression, metrics_of  # noqa: E402
from test_template import (  # noqa: E402
    APP,
    GITHUB,
    ROOT,
    drop,
    functions,
    load,
    put,
    refs,
    replaced,
    resolve,
    resources,
    values_of,
)

# --- The simulation does what the guide says --------------------------------------------------------------------------


# The two tables of the guide: 0 is not breaching, X is breaching, - is missing.
@pytest.mark.parametrize(
    "points, to_alarm, breaching, not_breaching",
    [
        ("0-X-X", 3, False, False),
        ("0----", 3, False, False),
        ("-----", 3, True, False),
        ("0XX-X", 3, True, True),
        ("----X", 3, True, False),
        ("X----", 3, True, False),
        ("0-X-X", 2, True, True),
        ("00X0X", 2, True, True),
        ("0-X--", 2, True, False),
        ("----0", 2, True, False),
        ("----X", 2, True, False),
    ],
)
def test_missing_data_is_treated_as_in_the_guide(points, to_alarm, breaching, not_breaching):
    for missing_breaches, expected in ((True, breaching), (False, not_breaching)):
        found = is_alarm(
            [None if point == "-" else point for point in points],
            breaches=lambda point: point == "X",
            to_alarm=to_alarm,
            evaluated=3,
            missing_breaches=missing_breaches,
        )
        assert found is expected


# The examples of the guide for operators and IF; then what it says in words.
@pytest.mark.parametrize(
    "text, expected",
    [
        ("a < b", [0, 0, 1, None]),
        ("a >= 30", [1, 0, 0, 0]),
        ("IF(c, d, e)", [30, 0, 20, None, None]),
        ("IF(c, d, 5)", [30, 0, 5, 5, None]),
        ("IF(c, 5, e)", [5, 5, 20, None, None]),
        ("FILL(b, 7)", [20, 7, 20, 7]),
        ("a - b", [10, 20, -20, 0]),
        ("1 / a", [1 / 30, 1 / 20, None, None]),
        ("100 * b / SERVICE_QUOTA(b)", [2, 0, 2, 0]),
    ],
)
def test_an_expression_has_the_value_of_the_guide(text, expected):
    series = {"c": [1, 1, 0, 0, None], "d": [30, None, 0, 0, 30], "e": [0, 0, 20, None, 20]}
    series |= {"a": [30, 20, 0, 0], "b": [20, None, 20, None]}
    # In this example, no metric has a value at the last time.
    if text == "a < b":
        series["a"] = [30, 20, 0, None]
    assert math_expression(text, series) == expected


def test_an_alarm_is_evaluated_every_minute_over_the_minutes_before():
    # The guide: at the end of minute 5 on minutes 1 to 5, at the end of minute 6 on minutes 2 to 6.
    alarm = {
        "MetricName": "m",
        "Statistic": "Sum",
        "Period": 300,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    series = {"m": {minute: [int(minute in (1, 5))] for minute in range(12)}}
    assert [now for now in range(12) if in_alarm(alarm, series, now)] == [6]
    assert not any(in_alarm(alarm, series, now, late=1) for now in range(12))
    assert [now for now in range(12) if in_alarm(alarm | {"Period": 600}, series, now)] == [6, 7, 8, 9, 10, 11]


# --- The checks -------------------------------------------------------------------------------------------------------

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def alarms(stack):
    return {name: a["Properties"] for name, a in resources(stack, "AWS::CloudWatch::Alarm").items()}


ONCE, THRICE = [1], [1, 1, 1]

# What docs/operate.md says of an alarm, and the minutes of its period; metrics that must raise it, and such that must
# not. A list has a number, or the numbers, that are sent in each period.
MEANINGS = {
    "ApiFailing": (
        5,
        "in two of three periods of five minutes, at least three requests and more than 5% of all were answered with "
        "5xx.",
        [
            {"failed": [51, 0, 51], "requests": [1000, 1000, 1000]},
            {"failed": [3, 3, 0], "requests": [3, 3, 0]},
        ],
        [
            {"failed": [50, 50, 50], "requests": [1000, 1000, 1000]},
            {"failed": [0, 1000, 0], "requests": [1000, 1000, 1000]},
            {"failed": [2, 2, 2], "requests": [2, 2, 2]},
        ],
    ),
    "ApiSlow": (
        5,
        "for 15 minutes, one request of a hundred took longer than three seconds. Where there are fewer than a "
        "hundred, it is the slowest one.",
        [
            {"Latency": [[3001, 3001] + [10] * 98] * 3},
            {"Latency": [[3001, 10]] * 3},
        ],
        [
            {"Latency": [[30_000] + [10] * 199] * 3},
            {"Latency": [[3000] * 100] * 3},
            {"Latency": [[30_000], [30_000], [10]]},
        ],
    ),
    "ApiLimited": (
        5,
        "more than 20 requests in five minutes were answered with 429",
        [{"Limited": [21]}],
        [{"Limited": [20]}],
    ),
    "ApiRefusing": (
        5,
        "for 15 minutes, more than half of at least 100 requests were answered with 4xx.",
        [{"refused": [51, 51, 51], "requests": [100, 100, 100]}],
        [
            {"refused": [50, 50, 50], "requests": [100, 100, 100]},
            {"refused": [99, 99, 99], "requests": [99, 99, 99]},
            {"refused": [100, 100, 0], "requests": [100, 100, 100]},
        ],
    ),
    "TokenExchangeFailing": (
        5,
        "`POST /token` crashed, ran out of time or did not start.",
        [{"Errors": ONCE}],
        [{"Errors": [0]}],
    ),
    "TokenExchangeThrottled": (5, "`POST /token` ran out of concurrency", [{"Throttles": ONCE}], [{"Throttles": [0]}]),
    "AuthorizerFailing": (
        5,
        "in two of three periods of five minutes, the authorizer failed at least three times and at more than 1% of "
        "the requests.",
        [{"failed": [11, 0, 11], "asked": [1000, 1000, 1000]}, {"failed": [3, 3, 0], "asked": [3, 3, 3]}],
        [
            {"failed": [10, 10, 10], "asked": [1000, 1000, 1000]},
            {"failed": [0, 1000, 0], "asked": [1000, 1000, 1000]},
            {"failed": [2, 2, 2], "asked": [2, 2, 2]},
        ],
    ),
    "AuthorizerThrottled": (5, "the authorizer ran out of concurrency", [{"Throttles": ONCE}], [{"Throttles": [0]}]),
    "TableThrottled": (
        5,
        "DynamoDB throttled reads or writes of users and sessions.",
        [{"reads": ONCE}, {"writes": ONCE}],
        [{"reads": [0], "writes": [0]}],
    ),
    "ConcurrencyHigh": (
        5,
        "use more than 80% of the concurrent executions",
        [{"used": [801]}],
        [{"used": [[800, 700]]}],
    ),
    "ProviderFailing": (
        5,
        "in two of three periods of five minutes, more than five sign-ins or links failed at an identity provider.",
        [{"ProviderFailed": [6, 0, 6]}],
        [{"ProviderFailed": [5, 5, 5]}, {"ProviderFailed": [0, 60, 0]}],
    ),
    "ReuseDetected": (
        60,
        "more than five sessions ended within an hour, because a refresh token came back",
        [{"ReuseDetected": [6]}],
        [{"ReuseDetected": [5]}, {"ReuseDetected": [3, 0, 3]}],
    ),
    "RotateKeysFailing": (DAY, "a run of `rotate-keys` failed.", [{"Errors": ONCE}], [{"Errors": [0]}]),
    "RotateKeysOverdue": (
        DAY,
        "for two days, no call of `rotate-keys` succeeded: the schedule has stopped, or each run fails.",
        [{"runs": [1, 0, 0]}, {"runs": THRICE, "failed": [0, 1, 1]}, {"runs": [[], [], []]}],
        [{"runs": THRICE}, {"runs": [1, 0, 1]}, {"runs": [1, 2, 2], "failed": [0, 1, 1]}],
    ),
}


def raised(alarm, minutes, given):
    """Whether metrics raise an alarm, once there are as many periods as it looks at."""
    assert set(given) <= set(metrics_of(alarm)), f"{set(given)} are no metrics of the alarm"
    series = {
        name: {i * minutes: value if isinstance(value, list) else [value] for i, value in enumerate(values)}
        for name, values in given.items()
    }
    periods = max(len(values) for values in given.values())
    first = minutes * alarm["EvaluationPeriods"]
    return is_raised(alarm, series, first, max(first, minutes * periods))


@check
def each_alarm_is_raised_when_the_page_says_so_and_not_otherwise(template):
    page = (ROOT / "docs/operate.md").read_text()
    found = {name.removesuffix("Alarm"): alarm for name, alarm in alarms(resolve(template, APP | GITHUB)).items()}
    assert {name for name in found if not name.endswith("Canary")} == set(MEANINGS)
    for name, (minutes, meaning, raising, quiet) in MEANINGS.items():
        section = page.split(f"\n### `{name}`\n")[1].split("\n### ")[0]
        assert meaning in " ".join(section.split()), f"{name}: {meaning}"
        for given in raising:
            assert raised(found[name], minutes, given), f"{name} is quiet about {given}"
        for given in quiet:
            assert not raised(found[name], minutes, given), f"{name} is raised by {given}"
        # While there are no requests, nothing is wrong.
        nothing = {name: [] for name in metrics_of(found[name])}
        assert raised(found[name], minutes, nothing) == (name == "RotateKeysOverdue")


# --- The canary -------------------------------------------------------------------------------------------------------

OLD, NEW = "7", "8"
# A deployment begins after an hour, and moves all requests five minutes later.
START, LENGTH = 60, 5
# The minutes until a metric has arrived, of Lambda and of log lines: an assumption, since AWS promises none.
LATE = 2


def matches(pattern, line):
    """Whether a filter pattern admits a line; only equalities that are joined by && occur."""
    terms = pattern.removeprefix("{ ").removesuffix(" }").split(" && ")
    wanted = dict(re.fullmatch(r'\$\.(\w+) = "(.+)"', term).groups() for term in terms)
    return wanted.items() <= line.items()


def line_of(binary, version, answer):
    """The log line of a request, without the members that no filter here reads; a crash leaves none."""
    level = {"ok": "INFO", "failed": "ERROR"}.get(answer)
    return level and {"event": "request", "level": level, "function": binary, "version": version}


def counted(stack, metric, name, binary, version, answer):
    """How many times a metric counts one request."""
    about = {d["Name"]: d["Value"] for d in metric.get("Dimensions", [])}
    if metric["Namespace"] == "AWS/ApiGateway":
        return int(binary != "authorizer" and (metric["MetricName"] == "Count" or answer != "ok"))
    if metric["Namespace"] == "AWS/Lambda":
        here = {"FunctionName": f"<{name}>", "Resource": f"<{name}>:live", "ExecutedVersion": version}
        newest = f"<{name}.Version.Version>"
        given = {k: (NEW if v == newest else v) for k, v in about.items()}
        is_error = answer == "crashed" or (binary == "authorizer" and answer == "failed")
        occurs = {"Invocations": True, "Errors": is_error}.get(metric["MetricName"], False)
        return int(given.items() <= here.items() and occurs)
    line, count = line_of(binary, version, answer), 0
    for filter_ in resources(stack, "AWS::Logs::MetricFilter").values():
        properties, (made,) = filter_["Properties"], filter_["Properties"]["MetricTransformations"]
        if (made["MetricNamespace"], made["MetricName"]) != (metric["Namespace"], metric["MetricName"]) or not line:
            continue
        logs = stack["Resources"][name]["Properties"]["LoggingConfig"]["LogGroup"]
        dimensions = {d["Key"]: line[d["Value"].removeprefix("$.")] for d in made.get("Dimensions", [])}
        newest = {k: (NEW if v == f"<{name}.Version.Version>" else v) for k, v in about.items()}
        is_here = properties["LogGroupName"] == logs and dimensions == newest
        count += is_here and matches(properties["FilterPattern"], line)
    return int(count)


def rolls_back(stack, name, binary, answers):
    """Whether an alarm of the deployment of a function is in ALARM while the canary lasts.

    `answers` has what the function answers in a minute, before and during the canary: version and answer → number.
    """
    preference = stack["Resources"][name]["Properties"].get("DeploymentPreference", {})
    listed = [*stack["Globals"]["Function"]["DeploymentPreference"].get("Alarms", []), *preference.get("Alarms", [])]
    for reference in listed:
        alarm = alarms(stack)[reference[1:-1]]
        series = {}
        for id_, (metric, _, _) in metrics_of(alarm).items():
            counts = {
                minute: sum(n * counted(stack, metric, name, binary, *of) for of, n in answers(minute).items())
                for minute in range(START + LENGTH)
            }
            # A metric of a request that did not occur has no data.
            series[id_] = {minute: [count] for minute, count in counts.items() if count}
        if any(in_alarm(alarm, series, START + i, LATE) for i in range(1, LENGTH + 1)):
            return True
    return False


def traffic(requests, new, old=lambda minute: {"ok": 1.0}):
    """Requests in a minute, a tenth of them to the new version from the start on; the shares of the answers of each."""

    def answers(minute):
        canary = requests // 10 if minute >= START else 0
        given = {(OLD, answer): (requests - canary) * share for answer, share in old(minute).items()}
        return given | {(NEW, answer): canary * share for answer, share in new(minute).items()}

    return answers


def always(**shares):
    return lambda minute: shares


def stray(at, requests, answer):
    """One request of the new version fails."""
    share = 1 / max(requests // 10, 1)
    return lambda minute: {answer: share, "ok": 1 - share} if minute == at else {"ok": 1.0}


def moved(template):
    """The functions whose new versions are canaries."""
    found = {binary: name for binary, (name, of) in functions(template).items() if "AutoPublishAlias" in of}
    assert len(found) == 8
    return found


@check
def a_canary_that_fails_gives_the_requests_back_in_time(template):
    stack = resolve(template, APP | GITHUB)
    for binary, name in moved(template).items():
        for answer in ("failed", "crashed"):
            # One request of the new version in a minute, and many.
            for requests in (10, 6000):
                failing = traffic(requests, always(**{answer: 1.0}))
                assert rolls_back(stack, name, binary, failing), (binary, answer, requests)
            # A part of its requests.
            failing = traffic(6000, always(**{answer: 0.1, "ok": 0.9}))
            assert rolls_back(stack, name, binary, failing), (binary, answer)


@check
def a_canary_that_works_keeps_its_requests(template):
    stack = resolve(template, APP | GITHUB)
    for binary, name in moved(template).items():
        assert not rolls_back(stack, name, binary, traffic(6000, always(ok=1.0))), binary
        # Nobody calls it.
        assert not rolls_back(stack, name, binary, lambda minute: {}), binary
        for answer in ("failed", "crashed"):
            for at in range(START, START + LENGTH):
                for requests in (10, 6000):
                    sound = traffic(requests, stray(at, requests, answer))
                    assert not rolls_back(stack, name, binary, sound), (binary, answer, at, requests)
            # As many as always fail, for example at a provider.
            few = always(**{answer: 0.01, "ok": 0.99})
            assert not rolls_back(stack, name, binary, traffic(6000, few, few)), (binary, answer)
            # The repair of a version that fails.
            broken = always(**{answer: 1.0})
            assert not rolls_back(stack, name, binary, traffic(6000, always(ok=1.0), broken)), (binary, answer)


@check
def an_alarm_of_the_canary_is_about_one_function_and_costs_nothing_without_canaries(template):
    found = moved(template)
    prefixes = {name.removesuffix("Function"): binary for binary, name in found.items()}
    on = alarms(resolve(template, APP | GITHUB))
    canary = {name.removesuffix("CanaryAlarm") for name in on if name.endswith("CanaryAlarm")}
    assert canary == set(prefixes)
    for prefix in canary:
        alarm = on[f"{prefix}CanaryAlarm"]
        assert {name for name in re.findall(r"<(\w+?)Function[.>]", json.dumps(alarm))} == {prefix}
        assert "AlarmActions" not in alarm
    off = resolve(template, APP | GITHUB | {"Canary": "false"})
    assert not [name for name in off["Resources"] if name.endswith("CanaryAlarm")]
    assert not [name for name in off["Resources"] if name.removesuffix("FailedMetric") in prefixes]
    page = " ".join((ROOT / "docs/deploy.md").read_text().split())
    metrics = sum(len(metrics_of(on[f"{prefix}CanaryAlarm"])) for prefix in canary)
    assert f"{len(canary)} alarms on {metrics} metrics" in page
    assert f"{metrics / 10:.2f} USD a month" in page


@pytest.mark.parametrize("holds", CHECKS, ids=lambda c: c.__name__)
def test(holds):
    holds(load())


# CodeDeploy's limit was 10 before it was 50; those of CloudFormation are 500 resources and, from a bucket, 1 MB.
@pytest.mark.parametrize("canary", ["true", "false"])
def test_codedeploy_reads_the_alarm_of_the_function_that_it_moves(canary, monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    template = json.loads(json.dumps(load()))
    for resource in resources(template, "AWS::Serverless::Function").values():
        resource["Properties"]["CodeUri"] = "s3://bucket/code.zip"
    moving = moved(template)

    deployed = transform(template, values_of(template, APP | GITHUB | {"Canary": canary}), SimpleNamespace(load=dict))

    groups = resources(deployed, "AWS::CodeDeploy::DeploymentGroup")
    read = {}
    for name, group in groups.items():
        condition, configuration, none = group["Properties"]["AlarmConfiguration"]["Fn::If"]
        assert (condition, none) == ("HasCanary", {})
        assert configuration["Enabled"] is True
        read[name.removesuffix("DeploymentGroup")] = [alarm["Name"] for alarm in configuration["Alarms"]]
    expected = {name: [{"Ref": f"{name.removesuffix('Function')}CanaryAlarm"}] for name in moving.values()}
    assert read == (expected if canary == "true" else {})
    assert len(deployed["Resources"]) < 500
    assert len(json.dumps(deployed)) < 1_000_000
    # The version of the alarm is the one that the alias gets.
    for name in moving.values():
        version = deployed["Resources"][f"{name}Aliaslive"]["Properties"]["FunctionVersion"]["Fn::GetAtt"][0]
        assert version in set(refs(deployed["Resources"][f"{name.removesuffix('Function')}CanaryAlarm"]))


# --- Each check can fail ----------------------------------------------------------------------------------------------


def old_alarms(template):
    """The alarms on all versions, as deployments had them."""
    listed = [{"Ref": "ApiFailingAlarm"}, {"Ref": "TokenExchangeFailingAlarm"}]
    template["Globals"]["Function"]["DeploymentPreference"]["Alarms"] = listed
    for resource in resources(template, "AWS::Serverless::Function").values():
        resource["Properties"].get("DeploymentPreference", {}).pop("Alarms", None)


MEANING = each_alarm_is_raised_when_the_page_says_so_and_not_otherwise
FAILS = a_canary_that_fails_gives_the_requests_back_in_time
WORKS = a_canary_that_works_keeps_its_requests
BREAKS = [
    *(
        (MEANING, put(f"{alarm}Alarm/Properties/{name}", value))
        for alarm, name, value in (
            ("ApiFailing", "Threshold", 0.5),
            ("ApiFailing", "Threshold", 0.04),
            ("ApiFailing", "DatapointsToAlarm", 1),
            ("ApiFailing", "DatapointsToAlarm", 3),
            ("ApiFailing", "EvaluationPeriods", 2),
            ("ApiFailing", "ComparisonOperator", "GreaterThanOrEqualToThreshold"),
            ("ApiSlow", "Threshold", 30_000),
            ("ApiSlow", "ExtendedStatistic", "p90"),
            ("ApiSlow", "EvaluationPeriods", 2),
            ("ApiLimited", "Threshold", 21),
            ("ApiLimited", "Threshold", 19),
            ("ApiRefusing", "Threshold", 0.6),
            ("ApiRefusing", "DatapointsToAlarm", 2),
            ("TokenExchangeFailing", "Threshold", 1),
            ("TokenExchangeFailing", "EvaluationPeriods", 2),
            ("TokenExchangeThrottled", "Threshold", 5),
            ("AuthorizerFailing", "Threshold", 0.1),
            ("AuthorizerFailing", "DatapointsToAlarm", 3),
            ("AuthorizerThrottled", "Threshold", 5),
            ("TableThrottled", "Threshold", 1),
            ("ConcurrencyHigh", "Threshold", 90),
            ("ConcurrencyHigh", "Threshold", 79),
            ("ProviderFailing", "Threshold", 6),
            ("ProviderFailing", "DatapointsToAlarm", 1),
            ("ReuseDetected", "Threshold", 6),
            ("ReuseDetected", "Period", 86_400),
            ("RotateKeysFailing", "Threshold", 1),
            ("RotateKeysOverdue", "EvaluationPeriods", 1),
            ("RotateKeysOverdue", "EvaluationPeriods", 4),
        )
    ),
    (MEANING, replaced("ApiFailingAlarm/Properties/Metrics/0/Expression", ">= 3", ">= 2")),
    (MEANING, replaced("AuthorizerFailingAlarm/Properties/Metrics/0/Expression", ">= 3", ">= 4")),
    (MEANING, replaced("ApiRefusingAlarm/Properties/Metrics/0/Expression", ">= 100", ">= 99")),
    (MEANING, replaced("TableThrottledAlarm/Properties/Metrics/0/Expression", "FILL(reads, 0) + ", "")),
    (MEANING, replaced("RotateKeysOverdueAlarm/Properties/Metrics/0/Expression", " - FILL(failed, 0)", "")),
    (MEANING, put("ConcurrencyHighAlarm/Properties/Metrics/1/MetricStat/Stat", "Sum")),
    (MEANING, drop("ApiSlowAlarm")),
    (FAILS, old_alarms),
    (FAILS, drop("MeFunction/Properties/DeploymentPreference")),
    (FAILS, put("MeFunction/Properties/DeploymentPreference/Alarms", [{"Ref": "RevokeCanaryAlarm"}])),
    (FAILS, put("RevokeCanaryAlarm/Properties/Threshold", 0.2)),
    (FAILS, put("RevokeCanaryAlarm/Properties/EvaluationPeriods", 2)),
    (FAILS, replaced("AuthorizerCanaryAlarm/Properties/Metrics/0/Expression", ">= 3", ">= 4")),
    (FAILS, put("MeCanaryAlarm/Properties/Metrics/1/MetricStat/Metric/Dimensions/0/Value", "sessions")),
    (FAILS, put("MeCanaryAlarm/Properties/Metrics/2/MetricStat/Metric/MetricName", "Throttles")),
    (FAILS, put("MeFailedMetric/Properties/LogGroupName", {"Ref": "RevokeLogs"})),
    (FAILS, put("MeFailedMetric/Properties/FilterPattern", '{ $.event = "request" && $.level = "WARN" }')),
    # All versions together hide a canary.
    (FAILS, drop("MeCanaryAlarm/Properties/Metrics/3/MetricStat/Metric/Dimensions/2")),
    (WORKS, replaced("MeCanaryAlarm/Properties/Metrics/0/Expression", ">= 3", ">= 1")),
    (WORKS, put("MeCanaryAlarm/Properties/Threshold", 0)),
    (WORKS, drop("MeCanaryAlarm/Properties/Metrics/2/MetricStat/Metric/Dimensions/2")),
    (
        an_alarm_of_the_canary_is_about_one_function_and_costs_nothing_without_canaries,
        put("MeCanaryAlarm/Properties/Metrics/3/MetricStat/Metric/Dimensions/0/Value", {"Ref": "RevokeFunction"}),
    ),
    (an_alarm_of_the_canary_is_about_one_function_and_costs_nothing_without_canaries, drop("MeCanaryAlarm/Condition")),
    (an_alarm_of_the_canary_is_about_one_function_and_costs_nothing_without_canaries, drop("MeFailedMetric/Condition")),
]


@pytest.mark.parametrize("holds, breaks", BREAKS, ids=[f"{i}-{c.__name__}" for i, (c, _) in enumerate(BREAKS)])
def test_the_check_fails_when_the_template_is_broken(holds, breaks):
    template = copy.deepcopy(load())
    breaks(template)
    with pytest.raises((AssertionError, LookupError, ValueError)):
        holds(template)


def test_every_check_is_seen_failing():
    assert {holds for holds, _ in BREAKS} == set(CHECKS)
