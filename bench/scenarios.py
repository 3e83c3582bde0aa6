"""The requests of the bench, and the check of each answer: the routes that decide what Cambio costs, and the others."""

import base64
import json
import urllib.parse
import urllib.request

from runtime import Failure, Function, request

FORM = {"content-type": "application/x-www-form-urlencoded"}
# The client of `cambio services` (local/src/settings.rs).
CLIENT = {"client_id": "nextjs", "client_secret": "local-client-secret-not-for-production"}
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
LOGIN = "hubot"
# A user has at most 128 active sessions; a sign-in beyond them ends the oldest one, which costs more calls.
SESSIONS = 100


class Provider:
    """The stand-in GitHub, which makes a token for each sign-in."""

    def __init__(self, settings):
        self.settings = settings
        self.url = settings["GITHUB_API_URL"]
        self.exchanges = 0

    def token(self, login=LOGIN):
        url = f"{self.url}/stand-in/tokens?login={login}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as answer:
            return answer.read().decode().strip()


def form(**members):
    return request("POST", "/token", FORM, urllib.parse.urlencode({**CLIENT, **members}))


def delete_sessions(settings, user_id):
    """Deletes the sessions of a user from the embedded DynamoDB, and the count of them."""
    # Imported here: tests/cold-start runs without the packages of this module, and deletes no session.
    from tls import dynamodb

    client, table = dynamodb(settings), settings["TABLE_NAME"]
    user = f"USER#{user_id}"
    pages = client.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression="pk = :user AND begins_with(sk, :session)",
        ExpressionAttributeValues={":user": {"S": user}, ":session": {"S": "SESSION#"}},
        ProjectionExpression="pk, sk",
    )
    for page in pages:
        for key in page["Items"]:
            client.delete_item(TableName=table, Key=key)
    key = {"pk": {"S": user}, "sk": {"S": "USER"}}
    client.update_item(TableName=table, Key=key, UpdateExpression="REMOVE opened")


def exchange_event(provider, login=LOGIN):
    return form(
        grant_type=TOKEN_EXCHANGE,
        subject_token=provider.token(login),
        subject_token_type="urn:ietf:params:oauth:token-type:access_token",
        subject_issuer="github",
    )


def body(answer, status=200):
    """The JSON body of a function's answer to API Gateway, which must have this status."""
    outer = json.loads(answer.body)
    if answer.kind != "response" or outer.get("statusCode") != status:
        raise Failure(f"expected an answer with status {status}: {answer.kind} {answer.body[:2000]}")
    return json.loads(outer["body"])


class Scenario:
    login = LOGIN


class Signed(Scenario):
    """A request with the access token of a user."""

    def __init__(self, signed_in, provider):
        self.signed_in = signed_in

    def event(self):
        return request("GET", self.path, {"authorization": f"Bearer {self.signed_in['access_token']}"})


class Me(Signed):
    """`GET /me`: the token is verified, and the user and the session are read."""

    name = "/me"
    function = "me"
    path = "/me"

    def check(self, answer):
        if body(answer)["id"] != self.signed_in["user"]["id"]:
            raise Failure(f"/me answered for another user: {answer.body[:2000]}")


class Authorizer(Signed):
    """The Lambda authorizer in front of an API: the token is verified, and nothing is read."""

    name = "authorizer"
    function = "authorizer"
    path = "/orders"

    def check(self, answer):
        decision = json.loads(answer.body)
        if decision.get("isAuthorized") is not True or decision["context"]["sub"] != self.signed_in["user"]["id"]:
            raise Failure(f"the authorizer refused a good token: {answer.kind} {answer.body[:2000]}")


class Refresh(Scenario):
    """`POST /token` with the refresh token of the answer before: rotated, and a new access token signed."""

    name = "refresh"
    function = "token-exchange"

    def __init__(self, signed_in, provider):
        self.refresh_token = signed_in["refresh_token"]

    def event(self):
        return form(grant_type="refresh_token", refresh_token=self.refresh_token)

    def check(self, answer):
        successor = body(answer)["refresh_token"]
        if successor == self.refresh_token:
            raise Failure("a refresh returned the refresh token that it was given")
        self.refresh_token = successor


class Exchange(Scenario):
    """`POST /token` with a new token of the provider, which is asked about it: a sign-in of an existing user."""

    name = "exchange"
    function = "token-exchange"
    # A user of its own, whose sessions can be deleted.
    login = "mona"

    def __init__(self, signed_in, provider):
        self.signed_in, self.provider = signed_in, provider

    def event(self):
        if self.provider.exchanges and self.provider.exchanges % SESSIONS == 0:
            delete_sessions(self.provider.settings, self.signed_in["user"]["id"])
        self.provider.exchanges += 1
        return exchange_event(self.provider, self.login)

    def check(self, answer):
        if body(answer)["user"]["id"] != self.signed_in["user"]["id"]:
            raise Failure(f"a second sign-in is another user: {answer.body[:2000]}")


class Sessions(Signed):
    """`GET /me/sessions`: the token is verified, and the user and all sessions of the user are read."""

    name = "GET /me/sessions"
    function = "sessions"
    path = "/me/sessions"
    # A user of its own, so that the number of sessions does not depend on the other scenarios.
    login = "octocat"

    def check(self, answer):
        if [session["current"] for session in body(answer)["sessions"]].count(True) != 1:
            raise Failure(f"one session asks for the list: {answer.body[:2000]}")


class Identities(Signed):
    """`GET /me/identities`: the token is verified, and the user and the session are read."""

    name = "GET /me/identities"
    function = "identities"
    path = "/me/identities"

    def check(self, answer):
        if [identity["provider"] for identity in body(answer)["identities"]] != ["github"]:
            raise Failure(f"the user has another identity: {answer.body[:2000]}")


class OfToken(Scenario):
    """A request of the client about a token of a user, with the secret in the header."""

    def __init__(self, signed_in, provider):
        self.token = signed_in[self.kind]

    def event(self):
        secret = f"{CLIENT['client_id']}:{CLIENT['client_secret']}".encode()
        headers = {**FORM, "authorization": f"Basic {base64.b64encode(secret).decode()}"}
        return request("POST", self.path, headers, urllib.parse.urlencode({"token": self.token}))


class Introspect(OfToken):
    """`POST /introspect` of an access token: it is verified, and the user and the session are read."""

    name = "POST /introspect"
    function = "introspect"
    path = "/introspect"
    kind = "access_token"

    def check(self, answer):
        if body(answer)["active"] is not True:
            raise Failure(f"a good token is not active: {answer.body[:2000]}")


class Revoke(OfToken):
    """`POST /revoke` of a refresh token: one conditional write, which ends the session at the first request.

    Each further one finds the session ended, which the same write does again.
    """

    name = "POST /revoke"
    function = "revoke"
    path = "/revoke"
    kind = "refresh_token"

    def check(self, answer):
        if body(answer) != {}:
            raise Failure(f"a token was not revoked: {answer.body[:2000]}")


class Floor(Scenario):
    """The event of `/me`, for functions that read nothing and answer a constant."""

    name = "no-op"
    function = "floor"

    def __init__(self, signed_in, provider):
        pass

    def event(self):
        return request("GET", "/me", {"authorization": "Bearer none"})

    def check(self, answer):
        body(answer)


SCENARIOS = {scenario.name: scenario for scenario in [Me, Refresh, Exchange, Authorizer]}
# Those that have a budget and are in no table.
OTHERS = {scenario.name: scenario for scenario in [Revoke, Introspect, Sessions, Identities]}


def start(scenario, token_exchange, settings, provider):
    """Signs the user of a scenario in with the function `token-exchange` at this path, and returns the scenario."""
    with Function([token_exchange], settings, "token-exchange") as function:
        signed_in = body(function.invoke(exchange_event(provider, scenario.login)))
    return scenario(signed_in, provider)
