"""The requests that have budgets are requests of users, which the functions serve. With debug builds."""

import os
import tempfile
from pathlib import Path

import cold_start
import pytest
from cold_start import WITHOUT_A_USER, build_debug, measured_with, settings_of
from runtime import Failure, Function
from scenarios import OTHERS, SCENARIOS, Provider, Refresh, body, form, start
from services import BENCH, Services
from tls import dynamodb


@pytest.fixture(scope="module")
def binaries():
    return build_debug(["cambio", *cold_start.EVENTS])


@pytest.fixture(scope="module")
def local(binaries):
    cambio = os.environ.get("BENCH_CAMBIO") or binaries["cambio"]
    with tempfile.TemporaryDirectory() as folder, Services(Path(folder), cambio, BENCH) as settings:
        yield settings


@pytest.mark.parametrize("function", cold_start.EVENTS)
def test_the_budgets_of_a_function_are_of_requests_that_it_serves(function, binaries, local):
    scenarios = measured_with(function, binaries["token-exchange"], local)

    assert scenarios
    assert all(isinstance(one, cold_start.Event) for one in scenarios) == (function in WITHOUT_A_USER)
    with Function([binaries[function]], settings_of(function, local), function) as running:
        for scenario in scenarios:
            for _ in range(2):
                scenario.check(running.invoke(scenario.event()))


@pytest.mark.parametrize("route", [route for route in OTHERS if route != "POST /revoke"])
def test_a_refusal_is_no_measurement(route, binaries, local):
    scenario = start(OTHERS[route], binaries["token-exchange"], settings_of("token-exchange", local), Provider(local))
    token = "token" if hasattr(scenario, "token") else "signed_in"
    setattr(scenario, token, "nonsense" if token == "token" else {"access_token": "nonsense"})

    with Function([binaries[scenario.function]], settings_of(scenario.function, local), route) as running:
        with pytest.raises(Failure):
            scenario.check(running.invoke(scenario.event()))


def test_the_revocation_that_is_measured_ends_a_session(binaries, local):
    """`POST /revoke` answers 200 to any token."""
    exchange = settings_of("token-exchange", local)
    scenario = start(OTHERS["POST /revoke"], binaries["token-exchange"], exchange, Provider(local))

    with Function([binaries["revoke"]], settings_of("revoke", local), "revoke") as running:
        scenario.check(running.invoke(scenario.event()))

    with Function([binaries["token-exchange"]], exchange, "token-exchange") as running:
        refused = running.invoke(form(grant_type="refresh_token", refresh_token=scenario.token))
    assert body(refused, 400)["error"] == "invalid_grant"


def test_a_refresh_of_the_bench_counts_the_request_of_the_client(binaries, local):
    settings = settings_of("token-exchange", local)
    refresh = start(SCENARIOS[Refresh.name], binaries["token-exchange"], settings, Provider(local))
    with Function([binaries["token-exchange"]], settings, "refresh") as running:
        # More than the limit of a user in template.yaml, which no bench may meet.
        for _ in range(int(cold_start.DEFAULTS["USER_RATE_LIMIT"]) + 1):
            refresh.check(running.invoke(refresh.event()))

    items = dynamodb(local).scan(TableName=local["TABLE_NAME"])["Items"]
    counters = [item for item in items if item["pk"]["S"].startswith("LIMIT#")]
    assert sum(int(item["count"]["N"]) for item in counters) > 120
