"""The baselines in Node and Python give the answers of Cambio's functions: same event in, same status and body out."""

import json
import os
import tempfile
import time
from pathlib import Path

import jwt
import pytest
from candidates import CANDIDATES, build_baselines, environment
from cold_start import build, settings_of
from instructions import built
from runtime import Function, request
from scenarios import CLIENT, FORM, Exchange, Me, Provider, body, exchange_event, form
from services import BENCH, Services
from tls import dynamodb

FUNCTIONS = ["me", "token-exchange", "authorizer"]


@pytest.fixture(scope="session")
def local():
    given = os.environ.get("BENCH_CAMBIO")
    cambio = Path(given) if given else build("local", "cambio")[0]
    with tempfile.TemporaryDirectory() as folder, Services(Path(folder), cambio, BENCH) as settings:
        yield settings


@pytest.fixture(scope="session")
def functions(local):
    """Every function of every candidate, running: {candidate: {function: Function}}."""
    given = os.environ.get("BENCH_BINARIES")
    paths = {name: Path(given) / name for name in FUNCTIONS} if given else {}
    binaries = built(paths, FUNCTIONS)
    build_baselines()
    running = {}
    for name, command in CANDIDATES.items():
        running[name] = {
            function: Function(
                command(binaries, function),
                environment(settings_of(function, local)),
                f"{name} {function}",
            )
            for function in FUNCTIONS
        }
    yield running
    for function in [function for all_of_one in running.values() for function in all_of_one.values()]:
        function.end()


@pytest.fixture
def signed_in(functions, local):
    return body(functions["cambio"]["token-exchange"].invoke(exchange_event(Provider(local))))


def answers(functions, function, event):
    """The answer of each candidate to the same event, without what depends on the moment."""
    given = {}
    for name, running in functions.items():
        outcome = running[function].invoke(event)
        assert outcome.kind == "response", (name, outcome)
        answer = json.loads(outcome.body)
        if "body" in answer:
            answer["body"] = json.loads(answer["body"])
            answer["headers"].pop("content-length", None)
        given[name] = answer
    return given


def assert_same(functions, function, event, status=None):
    given = answers(functions, function, event)
    assert given["node"] == given["cambio"]
    assert given["python"] == given["cambio"]
    if status:
        assert given["cambio"]["statusCode"] == status
    return given["cambio"]


def get_me(token):
    return request("GET", "/me", {"authorization": f"Bearer {token}"} if token else {})


def test_me_shows_the_same_user(functions, signed_in):
    answer = assert_same(functions, "me", get_me(signed_in["access_token"]), 200)
    assert answer["body"]["id"] == signed_in["user"]["id"]
    assert answer["body"]["metadata"] == {}


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_me_refuses_what_is_no_token(functions, token):
    assert_same(functions, "me", get_me(token), 401)


def test_me_refuses_a_token_with_another_signature_or_type(functions, signed_in):
    header, claims, signature = signed_in["access_token"].split(".")
    changed = "A" if signature[0] != "A" else "B"
    assert_same(functions, "me", get_me(f"{header}.{claims}.{changed}{signature[1:]}"), 401)
    unsigned = jwt.encode(
        jwt.decode(signed_in["access_token"], options={"verify_signature": False}), None, algorithm="none"
    )
    assert_same(functions, "me", get_me(unsigned), 401)


@pytest.fixture(scope="session")
def signing_key(local):
    """The private key of the development keys that signs."""
    client = dynamodb(local)
    table = local["KEYS_TABLE_NAME"]
    key_set = client.get_item(TableName=table, Key={"pk": {"S": "KEYSET"}})["Item"]["keys"]["L"]
    signs = [key["M"] for key in key_set if int(key["M"]["sign_from"]["N"]) <= time.time()]
    current = max(signs, key=lambda key: int(key["sign_from"]["N"]))
    item = client.get_item(TableName=table, Key={"pk": {"S": f"KEY#{current['kid']['S']}"}})["Item"]
    return current["kid"]["S"], item["private_key"]["S"]


@pytest.mark.parametrize(
    ("claims", "header", "status"),
    [
        ({}, {}, 200),
        ({}, {"typ": "JWT"}, 401),
        ({}, {"kid": "unknown"}, 401),
        ({"aud": "https://other.example.com"}, {}, 401),
        ({"iss": "https://other.example.com"}, {}, 401),
        ({"exp": 1}, {}, 401),
        ({"iat": 10}, {}, 401),
        ({"exp": 5_000_000_000}, {}, 401),
        ({"nbf": 5_000_000_000}, {}, 401),
        ({"session_version": 7}, {}, 401),
        ({"sid": "AAAAAAAAAAAAAAAAAAAAAA"}, {}, 401),
    ],
    ids=str,
)
def test_a_token_with_another_claim_or_header_gets_the_same_answer(
    functions, signed_in, signing_key, claims, header, status
):
    """Signed with the right key. `iat` is in seconds from now."""
    kid, key = signing_key
    issued = jwt.decode(signed_in["access_token"], options={"verify_signature": False})
    changed = {name: int(time.time()) + value if name == "iat" else value for name, value in claims.items()}
    token = jwt.encode({**issued, **changed}, key, algorithm="RS256", headers={"typ": "at+jwt", "kid": kid, **header})
    assert_same(functions, "me", get_me(token), status)
    decision = assert_same(functions, "authorizer", request("GET", "/orders", {"authorization": f"Bearer {token}"}))
    # The authorizer reads no session.
    assert decision["isAuthorized"] is (status == 200 or "session_version" in claims or "sid" in claims)


def test_me_refuses_a_token_of_a_session_that_has_ended(functions, signed_in):
    # The refresh token is used, its successor is used, and then it comes again: a copy.
    exchange = functions["cambio"]["token-exchange"]
    used = signed_in["refresh_token"]
    successor = body(exchange.invoke(form(grant_type="refresh_token", refresh_token=used)))["refresh_token"]
    body(exchange.invoke(form(grant_type="refresh_token", refresh_token=successor)))
    body(exchange.invoke(form(grant_type="refresh_token", refresh_token=used)), 400)
    assert_same(functions, "me", get_me(signed_in["access_token"]), 401)


def test_the_authorizer_gives_the_same_context(functions, signed_in):
    event = request("GET", "/orders", {"authorization": f"Bearer {signed_in['access_token']}"})
    decision = assert_same(functions, "authorizer", event)
    assert decision["isAuthorized"] is True and decision["context"]["sub"] == signed_in["user"]["id"]


def test_the_authorizer_denies_what_is_no_token(functions):
    event = request("GET", "/orders", {"authorization": "Bearer nonsense"})
    assert assert_same(functions, "authorizer", event) == {"isAuthorized": False, "context": {}}


def comparable(answer, local):
    """The body of a grant with the verified claims in place of the token, without ids and times."""
    given = dict(answer)
    token = given.pop("access_token")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == given["expires_in"]
    own = {name: value for name, value in claims.items() if name not in ("iat", "exp", "jti")}
    assert given.pop("refresh_token").startswith("cbr_")
    # Thirty days, less the seconds since the write.
    assert 2_591_980 <= given.pop("refresh_token_expires_in") <= 2_592_000
    return {**given, "claims": own, "header": jwt.get_unverified_header(token)}


def test_a_refresh_gives_the_same_answer_and_each_accepts_the_tokens_of_the_others(functions, local, signed_in):
    refresh_token, seen = signed_in["refresh_token"], []
    # Twice through all of them: each continues the session of the one before.
    for name in [*CANDIDATES, *CANDIDATES]:
        event = form(grant_type="refresh_token", refresh_token=refresh_token)
        answer = body(functions[name]["token-exchange"].invoke(event))
        assert_same(functions, "me", get_me(answer["access_token"]), 200)
        seen.append(comparable(answer, local))
        assert answer["refresh_token"] != refresh_token
        refresh_token = answer["refresh_token"]
    assert all(one == seen[0] for one in seen), seen


def test_a_repeated_refresh_gets_the_same_successor_from_each(functions, signed_in):
    event = form(grant_type="refresh_token", refresh_token=signed_in["refresh_token"])
    successors = {body(running["token-exchange"].invoke(event))["refresh_token"] for running in functions.values()}
    assert len(successors) == 1


def test_each_detects_a_copy_of_a_refresh_token_and_ends_the_session(functions, local):
    for name, running in functions.items():
        signed_in = body(functions["cambio"]["token-exchange"].invoke(exchange_event(Provider(local))))
        copied, last = signed_in["refresh_token"], signed_in["refresh_token"]
        for _ in range(2):
            last = body(running["token-exchange"].invoke(form(grant_type="refresh_token", refresh_token=last)))[
                "refresh_token"
            ]
        refused = body(running["token-exchange"].invoke(form(grant_type="refresh_token", refresh_token=copied)), 400)
        assert "used before" in refused["error_description"], name
        # The session is over for the newest token too, whichever function is asked.
        assert_same(functions, "token-exchange", form(grant_type="refresh_token", refresh_token=last), 400)


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"grant_type": "refresh_token"}, 400),
        ({"grant_type": "refresh_token", "refresh_token": "cbr_nonsense"}, 400),
        ({"grant_type": "refresh_token", "refresh_token": "cbr_" + "A" * 119}, 400),
        ({"grant_type": "refresh_token", "refresh_token": "x", "client_secret": "wrong"}, 401),
        ({"grant_type": "password"}, 400),
        ({}, 400),
    ],
)
def test_a_refused_grant_gets_the_same_error(functions, members, status):
    assert_same(functions, "token-exchange", form(**members), status)


def test_another_content_type_gets_the_same_error(functions):
    event = request("POST", "/token", {"content-type": "application/json"}, json.dumps(CLIENT))
    assert_same(functions, "token-exchange", event, 415)
    assert FORM["content-type"] == "application/x-www-form-urlencoded"


def test_an_exchange_of_a_returning_user_gives_the_same_answer(functions, local, signed_in):
    seen = []
    for running in functions.values():
        answer = body(running["token-exchange"].invoke(exchange_event(Provider(local))))
        assert answer["is_new_user"] is False
        again = form(grant_type="refresh_token", refresh_token=answer["refresh_token"])
        assert body(functions["cambio"]["token-exchange"].invoke(again))["user"] == signed_in["user"]
        given = comparable(answer, local)
        # Each exchange opens a session of its own.
        del given["claims"]["sid"], given["claims"]["auth_time"]
        seen.append(given)
    assert all(one == seen[0] for one in seen), seen


def test_exchanges_leave_the_sessions_of_the_other_scenarios_and_do_not_pile_up(functions, local):
    """A user has at most 128 sessions: `make bench` and `make power` sign in more often."""
    function, provider = functions["cambio"]["token-exchange"], Provider(local)
    me = Me(body(function.invoke(exchange_event(provider))), provider)
    exchange = Exchange(body(function.invoke(exchange_event(provider, Exchange.login))), provider)
    for _ in range(130):
        exchange.check(function.invoke(exchange.event()))
    me.check(functions["cambio"]["me"].invoke(me.event()))
    user = {"pk": {"S": f"USER#{exchange.signed_in['user']['id']}"}, "sk": {"S": "USER"}}
    item = dynamodb(local).get_item(TableName=local["TABLE_NAME"], Key=user)["Item"]
    assert int(item["opened"]["N"]) == 30


def test_a_token_that_the_provider_does_not_know_is_refused(functions):
    for running in functions.values():
        event = form(
            grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
            subject_token="gho_" + "x" * 36,
            subject_token_type="urn:ietf:params:oauth:token-type:access_token",
            subject_issuer="github",
        )
        assert body(running["token-exchange"].invoke(event), 400)["error"] == "invalid_request"
