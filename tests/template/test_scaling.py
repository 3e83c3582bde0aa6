"""docs/scaling.md has the figures that tests/template/scaling.py computes."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import regions  # noqa: E402
import scaling  # noqa: E402
from test_deploy import SAM_REFUSED, Walk, aws, blocks, deploys, env, tree  # noqa: E402, F401 (fixtures)
from test_template import load  # noqa: E402


def test_the_page_has_the_computed_figures():
    page = scaling.PAGE.read_text()
    assert page == scaling.filled(page), "run tests/template/scaling.py --write"


def test_the_defaults_are_those_of_the_template():
    parameters = load()["Parameters"]
    for name in ("TokenRateLimit", "ApiRateLimit"):
        assert scaling.default(name) == parameters[name]["Default"]


def test_the_size_of_a_user_is_the_measured_one():
    items = json.loads((scaling.ROOT / "bench/units.json").read_text())["item_bytes"]
    size = items["user"] + items["identity"] + 2 * items["session"]
    assert f"{size:,} bytes for each user" in scaling.PAGE.read_text()


def test_the_search_finds_the_orders_that_break_an_invariant_and_no_others():
    broken = {routing: [name for name in regions.INVARIANTS if regions.search(routing, name)[0]] for routing in regions.ROUTINGS}
    assert broken == {"any": ["I1", "I3", "I4"], "home": [], "switch": ["I1", "I3", "I4"], "drained": []}


def test_one_region_alone_breaks_nothing_whatever_the_order():
    """The search itself finds nothing where there is nothing to find, and sees more than one order."""
    for name in regions.INVARIANTS:
        is_broken, states = regions.search("home", name)
        assert not is_broken and states > 5


def test_the_command_of_the_page_is_accepted(aws, tree, env):  # noqa: F811
    (deploy,) = blocks(scaling.PAGE.read_text())
    walk = Walk(aws, tree, env)

    walk.run(deploy, SAM_REFUSED)

    deploys(TokenProvisionedConcurrency="1")(walk)


def test_an_instance_of_a_month_costs_what_is_charged():
    # 657,000 GB-seconds of 0.0000033334 dollars.
    assert round(scaling.provisioned_usd(1), 2) == 2.19


def test_the_memory_is_that_of_the_template():
    assert load()["Globals"]["Function"]["MemorySize"] == int(scaling.MEMORY)
