"""`GET /me`: the signed-in user."""

import json

from shared import (
    TABLE,
    Refusal,
    admits,
    answer,
    dynamodb,
    is_alive,
    key_set,
    now,
    plain,
    profile,
    served,
    session_key,
    user_key,
    verified,
)

key_set.younger_than(300)

TITLES = {401: "Unauthorized", 503: "Service Unavailable"}
ENDED = "the session of the access token has ended, or its user is disabled or deleted: sign in again"


def show(event):
    claims = verified(event)
    keys = [user_key(claims["sub"]), session_key(claims["sub"], claims["sid"])]
    read = dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": keys, "ConsistentRead": True}})
    items = {item["sk"] == "USER": item for item in map(plain, read["Responses"].get(TABLE, []))}
    user, session = items.get(True), items.get(False)
    is_signed_in = user and session and is_alive(session, now())
    if not is_signed_in or not admits(user, claims["sid"], claims["session_version"]):
        raise Refusal(401, "invalid_token", ENDED)
    return answer(200, {**profile(user), "metadata": json.loads(user.get("metadata", "{}"))})


def problem(refusal):
    headers = {"content-type": "application/problem+json"}
    if refusal.status == 401:
        error = (
            f', error="invalid_token", error_description="{refusal.message}"' if refusal.code == "invalid_token" else ""
        )
        headers["www-authenticate"] = f'Bearer realm="cambio"{error}'
    if refusal.status == 503:
        headers["retry-after"] = "1"
    body = {"detail": refusal.message, "status": refusal.status, "title": TITLES[refusal.status]}
    return answer(refusal.status, {**body, "type": f"urn:cambio:error:{refusal.code}"}, headers)


handler = served("me", show, problem)
