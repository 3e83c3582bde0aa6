"""A Lambda authorizer (payload 2.0, simple response), which verifies an access token."""

import os

from shared import AUDIENCE, Refusal, key_set, log, verified

key_set.younger_than(300)

AUDIENCES = os.environ["AUDIENCES"].split(",") if os.environ.get("AUDIENCES") else [AUDIENCE]
OWN = {
    "iss",
    "aud",
    "sub",
    "client_id",
    "iat",
    "auth_time",
    "exp",
    "nbf",
    "jti",
    "sid",
    "session_version",
    "scope",
    "roles",
}


def handler(event, _context):
    try:
        claims = verified(event, AUDIENCES)
    except Refusal as refusal:
        log(level="INFO", function="authorizer", message="denied", cause=refusal.message)
        return {"isAuthorized": False, "context": {}}
    names = ["sub", "sid", "client_id", "scope", "roles", "auth_time", "exp"]
    context = {name: claims[name] for name in names if name in claims}
    if others := {name: value for name, value in claims.items() if name not in OWN}:
        context["claims"] = others
    return {"isAuthorized": True, "context": context}
