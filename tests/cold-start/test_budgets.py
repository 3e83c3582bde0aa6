"""The check of the budgets, without a build."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import cold_start  # noqa: E402
from cold_start import EVENTS, RELEASED, SETTINGS, Failure, check_budgets, overruns, read_budgets  # noqa: E402

BUDGETS = {"builder": "rustc 1, x86_64", "me": {"init": 1_000_000, "/me": 100_000}}


def test_a_figure_over_its_budget_is_named_with_its_growth():
    assert overruns({"me": {"init": 1_030_000, "/me": 103_000}}, BUDGETS) == []
    grown = overruns({"me": {"init": 1_030_001, "/me": 120_000}}, BUDGETS)
    assert grown == [
        "me: init grew by 3.0%, from 1,000,000 to 1,030,001",
        "me: /me grew by 20.0%, from 100,000 to 120,000",
    ]


def test_a_figure_without_a_budget_is_named():
    assert overruns({"me": {"/me/new": 5}}, BUDGETS) == ["me: /me/new has no budget; it takes 5"]
    assert overruns({"revoke": {"init": 5}}, BUDGETS) == ["revoke: init has no budget; it takes 5"]


def test_budgets_are_written_for_what_was_measured_and_kept_for_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cold_start, "ROOT", tmp_path)
    monkeypatch.setattr(cold_start, "BUDGETS", tmp_path / "budgets.toml")
    monkeypatch.setattr(cold_start, "builder", lambda: "rustc 1, x86_64")
    check_budgets({"me": {"init": 900, "/me": 100}, "authorizer": {"init": 800}}, is_writing=True)
    check_budgets({"me": {"init": 1200, "/me": 100}}, is_writing=True)
    assert read_budgets() == {
        "builder": "rustc 1, x86_64",
        "me": {"init": 1200, "/me": 100},
        "authorizer": {"init": 800},
    }

    check_budgets({"me": {"init": 1200, "/me": 90}}, is_writing=False)
    monkeypatch.setattr(cold_start, "builder", lambda: "rustc 2, x86_64")
    with pytest.raises(Failure) as failure:
        check_budgets({"me": {"init": 1200, "/me": 110}}, is_writing=False)
    assert "me: /me grew by 10.0%, from 100 to 110" in str(failure.value)
    assert "The budgets are of rustc 1, x86_64; this is rustc 2, x86_64." in str(failure.value)
    assert "cold_start.py --all --write" in str(failure.value)


def test_each_function_has_settings_an_event_and_budgets():
    assert set(SETTINGS) == set(EVENTS)
    assert set(RELEASED) <= set(EVENTS)
    budgets = read_budgets()
    assert set(budgets) - {"builder"} == set(EVENTS)
    for function in EVENTS:
        assert {"binary bytes", "zip bytes", "init"} < set(budgets[function]), function


def test_a_count_that_met_the_turn_of_a_minute_is_made_again():
    def measured(times, counts):
        times, counts = iter(times), iter(counts)
        return cold_start.within_a_minute(lambda: next(counts), lambda: next(times))

    assert measured([0, 59], [7]) == 7
    assert measured([59, 60, 61, 62], [9, 7]) == 7
    assert measured([59, 60, 119, 120, 179, 180], [9, 8, 10]) == 8


def test_a_deployment_package_is_compressed():
    assert 100 < len(cold_start.zipped(bytes(100_000))) < 1000
