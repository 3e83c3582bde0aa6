#!/usr/bin/env python3
"""Two regions with a global table (MREC), in every order of their steps.

    tests/template/regions.py    prints the table of docs/scaling.md

Each region has a copy of the table. A condition is evaluated on the copy of its region alone. A write reaches the other
region at any later time, each item by itself; of two writes to one item, the later one stays. Clients are routed in one
of four ways. The search visits each reachable order of a first sign-in twice, of two refreshes with one token, and of a
sign-out and a refresh. It calls an invariant broken if one order breaks it.
"""

from dataclasses import dataclass, field, replace

REGIONS = (0, 1)
ROUTINGS = {
    "any": "each request goes to the nearest region",
    "home": "each person has a home region, by a hash of the identity",
    "switch": "one region; the other one takes over at any moment",
    "drained": "one region; the other one takes over after all writes have arrived",
}
INVARIANTS = {
    "I1": "an identity is one user",
    "I3": "a refresh token has one successor",
    "I4": "after a sign-out, nothing refreshes",
}


@dataclass(frozen=True)
class State:
    """The copies of both regions, the writes on their way, and what clients know."""

    copies: tuple = ((), ())
    # (region it goes to, key, value, number of the write)
    on_the_way: tuple = ()
    writes: int = 0
    active: int = 0
    done: frozenset = frozenset()
    answers: tuple = ()
    broken: frozenset = field(default=frozenset())


def read(state, region, key):
    return dict(state.copies[region]).get(key, (None, -1))[0]


def put(state, region, key, value):
    number = state.writes
    state = merge(state, region, key, value, number)
    return replace(state, writes=number + 1, on_the_way=(*state.on_the_way, (1 - region, key, value, number)))


def merge(state, region, key, value, number):
    """The last writer wins."""
    copy = dict(state.copies[region])
    if copy.get(key, (None, -1))[1] < number:
        copy[key] = (value, number)
    copies = list(state.copies)
    copies[region] = tuple(sorted(copy.items(), key=repr))
    return replace(state, copies=tuple(copies))


def answered(state, name, answer):
    return replace(state, done=state.done | {name}, answers=(*state.answers, (name, answer)))


# --- The requests of a client, each with a condition on the copy of its region -------------------------------------


def sign_in(name):
    def run(state, region):
        user = read(state, region, "identity")
        if user is None:
            # The transaction: identity, user and session, which travel one by one.
            user = name
            state = put(state, region, "identity", user)
            state = put(state, region, f"user {user}", "identity")
        return answered(state, name, user)

    return run


def refresh(name):
    def run(state, region):
        version, current = read(state, region, "user") or 0, read(state, region, "session") or "first"
        if version != 0 or current != "first":
            # A repetition gets the successor that this copy has.
            return answered(state, name, current if version == 0 else None)
        state = put(state, region, "session", f"of {name}")
        if ("sign out", True) in state.answers:
            state = replace(state, broken=state.broken | {"I4"})
        return answered(state, name, f"of {name}")

    return run


def sign_out(name):
    def run(state, region):
        state = put(state, region, "user", 1)
        return answered(state, name, True)

    return run


SCENES = {
    "I1": {"first": sign_in("first"), "second": sign_in("second")},
    "I3": {"one": refresh("one"), "other": refresh("other")},
    "I4": {"sign out": sign_out("sign out"), "refresh": refresh("refresh")},
}


# --- The search -------------------------------------------------------------------------------------------------------


def regions_for(routing, state):
    return REGIONS if routing == "any" else (state.active,)


def steps(routing, state, requests):
    for name, request in requests.items():
        if name not in state.done:
            for region in regions_for(routing, state):
                yield request(state, region)
    for nth, (region, key, value, number) in enumerate(state.on_the_way):
        left = state.on_the_way[:nth] + state.on_the_way[nth + 1 :]
        yield merge(replace(state, on_the_way=left), region, key, value, number)
    takes_over = routing == "switch" or (routing == "drained" and not state.on_the_way)
    if takes_over and state.active == 0:
        yield replace(state, active=1)


def broken_at_the_end(state, scene):
    """The invariants that are broken when all requests are answered and all writes have arrived."""
    broken = set(state.broken)
    answers = dict(state.answers)
    if scene == "I1":
        users = [key for key, _ in state.copies[0] if key.startswith("user ")]
        owner = read(state, 0, "identity")
        if users != [f"user {owner}"] or set(answers.values()) != {owner}:
            broken.add("I1")
    if scene == "I3" and len({answer for answer in answers.values() if answer}) > 1:
        broken.add("I3")
    return broken


def search(routing, scene):
    """Whether an order of steps breaks the invariant, and the number of states."""
    requests = SCENES[scene]
    waiting, seen, broken = [State()], set(), False
    while waiting:
        state = waiting.pop()
        if state in seen:
            continue
        seen.add(state)
        waiting.extend(steps(routing, state, requests))
        if not state.on_the_way and len(state.done) == len(requests):
            assert state.copies[0] == state.copies[1], "the copies agree in the end"
            broken |= scene in broken_at_the_end(state, scene)
    return broken, len(seen)


def rows():
    table = [["routing", *(f"{name}: {text}" for name, text in INVARIANTS.items())]]
    for routing, text in ROUTINGS.items():
        found = [search(routing, scene)[0] for scene in INVARIANTS]
        table.append([text, *("broken" if broken else "holds" for broken in found)])
    return table


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row))
    print("states:", sum(search(routing, scene)[1] for routing in ROUTINGS for scene in INVARIANTS))
