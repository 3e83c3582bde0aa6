"""What Schemathesis needs to know of Cambio: the credentials of each operation, tokens that exist, and two more checks.

The environment has the URLs: `CAMBIO_URL` of the API, `CAMBIO_PROVIDER_URL` of the stand-in GitHub. `CAMBIO_ANSWERS`
names the file to which each answer adds a line, its operation and its status.
"""

import itertools
import os
import unicodedata

import requests
import schemathesis

API, PROVIDER = os.environ["CAMBIO_URL"], os.environ["CAMBIO_PROVIDER_URL"]
# The client of the local server (local/src/settings.rs).
CLIENT = ("nextjs", "local-client-secret-not-for-production")
ACCESS_TOKEN = {
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "subject_issuer": "github",
}
EXCHANGE = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", **ACCESS_TOKEN}
OF_CLIENTS = ["/token", "/revoke", "/introspect"]
CREDENTIALS = ["client_id", "client_secret", "client_assertion", "client_assertion_type"]
# Parameters whose accepted values are in the settings of the client.
OF_THE_CLIENT = ["scope", "audience", "resource"]

http = requests.Session()
# The stand-in makes an account for each new login.
logins = (f"schema-{number}" for number in itertools.count())
turns = itertools.count()


def provider_token(login="octocat", provider=PROVIDER):
    answer = http.post(f"{provider}/stand-in/tokens", params={"login": login}, timeout=10)
    answer.raise_for_status()
    return answer.text.strip()


def sign_in(login="octocat"):
    form = {**EXCHANGE, "subject_token": provider_token(login)}
    answer = http.post(f"{API}/token", data=form, auth=CLIENT, timeout=10)
    answer.raise_for_status()
    return answer.json()


def id_token():
    kind = "urn:ietf:params:oauth:token-type:id_token"
    return {"subject_token": provider_token(next(logins), f"{PROVIDER}/openid"), "subject_token_type": kind}


class Account:
    """A signed-in user, until a request may have ended the session or deleted the user."""

    def __init__(self):
        self.signed_in = None

    def authorization(self):
        if not self.signed_in:
            self.signed_in = sign_in(next(logins))
        return f"Bearer {self.signed_in['access_token']}"

    def session_id(self):
        headers = {"Authorization": self.authorization()}
        answer = http.get(f"{API}/me/sessions", headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.json()["sessions"][0]["id"]

    def link(self):
        headers = {"Authorization": self.authorization()}
        answer = http.post(f"{API}/me/identities", json=id_token(), headers=headers, timeout=10)
        answer.raise_for_status()

    def forget(self):
        self.signed_in = None


account = Account()
# What stands for the token of the account, until the request is sent: another request may end the session before.
OF_THE_ACCOUNT = "Bearer of-the-account"


@schemathesis.auth(refresh_interval=None).apply_to(path=OF_CLIENTS)
class ClientSecret:
    def get(self, case, context):
        return requests.auth._basic_auth_str(*CLIENT)

    def set(self, case, data, context):
        case.headers["Authorization"] = data


@schemathesis.auth(refresh_interval=None).apply_to(path_regex="^/me")
class AccessToken:
    def get(self, case, context):
        return OF_THE_ACCOUNT

    def set(self, case, data, context):
        case.headers["Authorization"] = data


@schemathesis.hook
def filter_headers(context, headers):
    """Spaces around a value are not part of it (RFC 9110, section 5.5): with them, it still fits the schema."""
    return all(value == value.strip(" \t") for value in (headers or {}).values() if isinstance(value, str))


# Cases whose tokens exist, by their id.
live = set()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Gives every other request that fits the schema a token that exists, so that the answers to it are checked too."""
    of_account = (case.headers or {}).get("Authorization") == OF_THE_ACCOUNT
    if of_account:
        case.headers["Authorization"] = account.authorization()
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    path, turn = case.operation.path, next(turns)
    if path in OF_CLIENTS:
        # A client authenticates in one place: a schema cannot say that of a header and a form.
        for name in CREDENTIALS:
            case.body.pop(name, None)
    if turn % 2:
        return
    if path == "/token":
        for name in OF_THE_CLIENT:
            case.body.pop(name, None)
    if path == "/token" and case.body["grant_type"] == "refresh_token":
        case.body["refresh_token"] = sign_in()["refresh_token"]
    elif path == "/token":
        case.body = {**case.body, **EXCHANGE, "subject_token": provider_token()}
        for name in ("nonce", "subject_access_token"):
            case.body.pop(name, None)
    elif path in OF_CLIENTS:
        case.body["token"] = sign_in()[("access_token", "refresh_token")[turn // 2 % 2]]
    elif case.operation.label == "POST /me/identities" and of_account:
        case.body = id_token()
    elif path == "/me/identities/{provider}" and of_account:
        account.link()
        case.path_parameters["provider"] = "oidc"
    elif path == "/me/sessions/{session_id}" and of_account:
        case.path_parameters["session_id"] = account.session_id()
    else:
        return
    live.add(case.id)


answers = open(os.environ["CAMBIO_ANSWERS"], "a")


@schemathesis.hook
def after_call(context, case, response):
    print(case.operation.definition.raw["operationId"], response.status_code, file=answers, flush=True)
    if case.method == "DELETE" or case.operation.label == "POST /me/identities":
        account.forget()


@schemathesis.check
def a_token_that_exists_is_accepted(context, response, case):
    if case.id in live:
        # A check may send the case once more.
        live.remove(case.id)
        assert response.status_code in [200, 204], f"{response.status_code} for a token that exists"


@schemathesis.check
def a_patch_is_accepted(context, response, case):
    """A patch that fits the schema is refused only for what a schema cannot say: sizes, and invisible characters."""
    if case.operation.label != "PATCH /me" or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code == 200:
        return
    detail = response.json()["detail"]
    name = case.body.get("name") or ""
    invisible = any(unicodedata.category(c)[0] in "CZM" and c != " " for c in name)
    assert response.status_code == 422 and not detail.startswith("name") or invisible, detail
