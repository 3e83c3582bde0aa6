"""`POST /token`: a refresh (RFC 6749 §6), and the exchange of a GitHub token of a returning user (RFC 8693)."""

import base64
import binascii
import hashlib
import hmac
import json
import os
import unicodedata
import uuid
from datetime import datetime
from urllib.parse import parse_qsl

import jwt
import urllib3
from boto3.dynamodb.types import TypeSerializer
from shared import (
    AUDIENCE,
    ISSUER,
    TABLE,
    Refusal,
    admits,
    answer,
    base64url,
    dynamodb,
    header,
    is_alive,
    key_set,
    now,
    plain,
    profile,
    served,
    session_key,
    threads,
    user_key,
)

CLIENTS = json.loads(os.environ["CLIENTS"])
ACCESS_TOKEN_TTL = int(os.environ.get("ACCESS_TOKEN_TTL") or 900)
IDLE_TTL = int(os.environ.get("SESSION_IDLE_TTL") or 2592000)
ABSOLUTE_TTL = int(os.environ.get("SESSION_ABSOLUTE_TTL") or 15552000)
GITHUB = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
GITHUB_ID = os.environ.get("GITHUB_CLIENT_ID", "")
GITHUB_SECRET = os.environ.get("GITHUB_CLIENT_SECRET", "")

https = urllib3.PoolManager(maxsize=3, ca_certs=os.environ.get("AWS_CA_BUNDLE"))
serialize = TypeSerializer().serialize

key_set.signing_key()

PREFIX = "cbr_"
PAYLOAD = 1 + 16 + 16 + 4 + 16 + 32
INVALID = "the refresh token is not valid, or its session has ended: sign in again"
REUSED = "the refresh token was used before, so its session has ended: sign in again"
UNAUTHENTICATED = "client authentication failed: compare the client id and the secret with CLIENTS of Cambio, whose log has the reason"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def invalid():
    return Refusal(400, "invalid_grant", INVALID)


def sha256(*parts):
    return hashlib.sha256(b"".join(part.encode() if isinstance(part, str) else part for part in parts)).digest()


def equal(one, other):
    return other is not None and hmac.compare_digest(one, other)


def uuid7():
    """A UUID of version 7 (RFC 9562 §5.7), which Python's `uuid` makes from 3.14 on."""
    raw = bytearray(os.urandom(16))
    raw[:6] = int(datetime.now().timestamp() * 1000).to_bytes(6, "big")
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


# --- Refresh tokens ---------------------------------------------------------------------------------------------------


class RefreshToken:
    def __init__(self, user, session, generation, family, secret):
        self.user, self.session, self.generation = user, session, generation
        self.family, self.secret = family, secret

    @classmethod
    def parse(cls, text):
        if not text.startswith(PREFIX):
            raise invalid()
        encoded = text[len(PREFIX) :]
        try:
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise invalid() from None
        if len(raw) != PAYLOAD + 4 or base64url(raw) != encoded or raw[0] != 1:
            raise invalid()
        if binascii.crc32(raw[:PAYLOAD]) != int.from_bytes(raw[PAYLOAD:], "big"):
            raise invalid()
        user, session = str(uuid.UUID(bytes=raw[1:17])), base64url(raw[17:33])
        return cls(user, session, int.from_bytes(raw[33:37], "big"), raw[37:53], raw[53:85])

    def text(self):
        session = base64.urlsafe_b64decode(self.session + "==")
        raw = (
            b"\x01"
            + uuid.UUID(self.user).bytes
            + session
            + self.generation.to_bytes(4, "big")
            + self.family
            + self.secret
        )
        return PREFIX + base64url(raw + binascii.crc32(raw).to_bytes(4, "big"))

    def successor(self, nonce):
        return RefreshToken(
            self.user, self.session, self.generation + 1, self.family, derive(self.secret, b"next", nonce)
        )


def derive(key, purpose, nonce):
    return hmac.digest(key, b"cambio " + purpose + b"\0" + nonce, "sha256")


# --- The form and the client ------------------------------------------------------------------------------------------


def form_of(event):
    if header(event, "content-type").split(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Refusal(415, "invalid_request", "Content-Type must be application/x-www-form-urlencoded")
    body = event.get("body") or ""
    form = {}
    for name, value in parse_qsl(base64.b64decode(body).decode() if event.get("isBase64Encoded") else body):
        if name in form:
            raise Refusal(400, "invalid_request", f"{name} comes more than once: send it once")
        form[name] = value
    return form


def required(form, name):
    if not form.get(name):
        raise Refusal(400, "invalid_request", f"{name} is required")
    return form[name]


def authenticate(form):
    presented = sha256(form.get("client_secret", ""))
    client = next((client for client in CLIENTS if client["client_id"] == form.get("client_id")), None)
    hashes = client["secret_sha256"] if client else []
    if not any(equal(presented, bytes.fromhex(accepted)) for accepted in hashes):
        raise Refusal(401, "invalid_client", UNAUTHENTICATED)
    return client["client_id"]


# --- Answers ----------------------------------------------------------------------------------------------------------


def issue(user, client, session, stored):
    kid, algorithm, key = key_set.signing_key()
    at = now()
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user["id"],
        "client_id": client,
        "iat": at,
        "auth_time": stored.get("signed_in_at"),
        "exp": at + ACCESS_TOKEN_TTL,
        "jti": uuid7(),
        "sid": session,
        "session_version": stored["session_version"],
        "roles": user.get("roles") or None,
        **json.loads(user.get("claims", "{}")),
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid, "typ": "at+jwt"})


def granted(user, stored, refresh, client, more=()):
    return answer(
        200,
        {
            "access_token": issue(user, client, refresh.session, stored),
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": ACCESS_TOKEN_TTL,
            "refresh_token": refresh.text(),
            "refresh_token_expires_in": min(stored["idle_expires_at"], stored["absolute_expires_at"]) - now(),
            **dict(more),
            "user": profile(user),
        },
    )


# --- Refresh ----------------------------------------------------------------------------------------------------------

CHANGE = (
    "SET #generation = :next_generation, #current = :next, #previous = :current, #nonce = :nonce, #last_used_at = :now, "
    "#idle_expires_at = :idle"
)
ROTATES = (
    "#family = :family AND #generation = :generation AND #current = :current AND #client_id = :client_id AND "
    "attribute_not_exists(#ended_at) AND #idle_expires_at > :now AND #absolute_expires_at > :now"
)
NAMES = [
    "generation", "current", "previous", "nonce", "last_used_at", "idle_expires_at", "family", "client_id", "ended_at",
    "absolute_expires_at",
]  # fmt: skip


def rotate(token, client):
    at, nonce = now(), os.urandom(32)
    successor = token.successor(nonce)
    try:
        updated = dynamodb.update_item(
            TableName=TABLE,
            Key=session_key(token.user, token.session),
            UpdateExpression=CHANGE,
            ConditionExpression=ROTATES,
            ExpressionAttributeNames={f"#{name}": name for name in NAMES},
            ExpressionAttributeValues={
                ":next_generation": {"N": str(successor.generation)},
                ":next": {"B": sha256(successor.secret)},
                ":nonce": {"B": nonce},
                ":idle": {"N": str(at + IDLE_TTL)},
                ":family": {"B": sha256(token.family)},
                ":generation": {"N": str(token.generation)},
                ":current": {"B": sha256(token.secret)},
                ":client_id": {"S": client},
                ":now": {"N": str(at)},
            },
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        return plain(updated["Attributes"]), successor
    except dynamodb.exceptions.ConditionalCheckFailedException as failed:
        stored = failed.response.get("Item")
        return settle(token, client, plain(stored) if stored else None, at)


def settle(token, client, stored, at):
    """Decides about a token that did not rotate its session: a repetition gets the same successor, a copy ends it."""
    if not stored or not equal(sha256(token.family), stored["family"]) or stored["client_id"] != client:
        raise invalid()
    if not is_alive(stored, at) or token.generation >= stored["generation"]:
        raise invalid()
    if token.generation + 1 == stored["generation"] and equal(sha256(token.secret), stored.get("previous")):
        return stored, token.successor(stored["nonce"])
    dynamodb.update_item(
        TableName=TABLE,
        Key=session_key(token.user, token.session),
        UpdateExpression="SET ended_at = :now",
        ConditionExpression="attribute_exists(pk) AND attribute_not_exists(ended_at)",
        ExpressionAttributeValues={":now": {"N": str(at)}},
    )
    raise Refusal(400, "invalid_grant", REUSED)


def find_user(user, consistent):
    item = dynamodb.get_item(TableName=TABLE, Key=user_key(user), ConsistentRead=consistent).get("Item")
    return item and plain(item)


def refresh(client, form):
    token = RefreshToken.parse(required(form, "refresh_token"))
    found = threads.submit(find_user, token.user, True)
    fresh = threads.submit(key_set.signing_key)
    stored, successor = rotate(token, client)
    user = found.result()
    fresh.result()
    if not user or not admits(user, token.session, stored["session_version"]):
        raise invalid()
    return granted(user, stored, successor, client)


# --- Exchange ---------------------------------------------------------------------------------------------------------


def github(method, path, **request):
    headers = {
        "accept": "application/vnd.github+json",
        "x-github-api-version": "2022-11-28",
        "user-agent": "cambio",
        **request.pop("headers"),
    }
    response = https.request(method, GITHUB + path, headers=headers, timeout=5, redirect=False, **request)
    if response.status == 404:
        raise Refusal(400, "invalid_request", "GitHub knows no such token of this application")
    if response.status != 200:
        raise RuntimeError(f"GitHub answered {response.status} at {path}")
    return response.json()


def presentable(value):
    return unicodedata.normalize("NFC", value).strip()[:200] or None if isinstance(value, str) else None


def identify(token):
    """Proves that the token belongs to the app, and returns the user at GitHub."""
    basic = urllib3.make_headers(basic_auth=f"{GITHUB_ID}:{GITHUB_SECRET}")
    checked = github("POST", f"/applications/{GITHUB_ID}/token", headers=basic, json={"access_token": token})
    if checked["app"]["client_id"] != GITHUB_ID:
        raise Refusal(400, "invalid_request", "it was issued to another application")
    headers = {"authorization": f"Bearer {token}"}
    user, emails = threads.submit(github, "GET", "/user", headers=headers), []
    if {"user:email", "user"} & set(checked["scopes"] or []):
        emails = github("GET", "/user/emails", headers=headers)
    user = user.result()
    if user["id"] != checked["user"]["id"]:
        raise RuntimeError("GitHub named two different users")
    username = presentable(user["login"])
    picture = user.get("avatar_url") or ""
    return {
        "subject": str(user["id"]),
        "username": username,
        "signed_in_at": int(datetime.fromisoformat(checked["created_at"]).timestamp()),
        "told": {
            "name": presentable(user.get("name")) or username,
            "email": (email := next((e["email"] for e in emails if e["primary"] and e["verified"]), None)),
            "email_verified": True if email else None,
            "picture": picture if picture.startswith("https://") else None,
        },
    }


def exchange(client, form):
    subject_token = required(form, "subject_token")
    if form.get("subject_issuer") != "github":
        raise Refusal(400, "invalid_request", "subject_issuer must be github")
    session = base64url(sha256("cambio session\0", subject_token)[:16])
    nonce = os.urandom(32)

    identity = identify(subject_token)
    key = f"github#{base64url(sha256(GITHUB, chr(0), identity['subject']))}"
    known = dynamodb.get_item(TableName=TABLE, Key={"pk": {"S": f"IDENTITY#{key}"}, "sk": {"S": "IDENTITY"}}).get(
        "Item", {}
    )
    if "user_id" not in known:
        raise Refusal(400, "access_denied", "this account is not allowed to sign up here")
    user = known["user_id"]["S"]
    seen = threads.submit(find_user, user, False)
    opened = dynamodb.get_item(TableName=TABLE, Key=session_key(user, session), ProjectionExpression="pk")
    seen = seen.result()
    if not seen or seen["status"] != "active" or seen["identities"].get("github", {}).get("key") != key:
        raise Refusal(400, "access_denied", "the account is disabled")
    if "Item" in opened:
        raise Refusal(400, "invalid_request", "the subject token was already exchanged; sign in again")

    at = now()
    family = derive(subject_token.encode(), b"family", nonce)[:16]
    first = RefreshToken(user, session, 0, family, derive(subject_token.encode(), b"first", nonce))
    stored = {
        "client_id": client,
        "provider": "github",
        "session_version": seen["session_version"],
        "family": sha256(family),
        "generation": 0,
        "current": sha256(first.secret),
        "nonce": nonce,
        "created_user": False,
        "signed_in_at": min(identity["signed_in_at"], at),
        "created_at": at,
        "last_used_at": at,
        "idle_expires_at": at + IDLE_TTL,
        "absolute_expires_at": at + ABSOLUTE_TTL,
        "expires_at": max(at + ABSOLUTE_TTL, at + 7200),
    }
    told = {name: value for name, value in identity["told"].items() if value is not None}
    names = {"#status": "status", "#key": "key", "#provider": "github", **{f"#{name}": name for name in told}}
    values = {":now": at, ":username": identity["username"], ":active": "active", ":key": key}
    values |= {f":{name}": value for name, value in told.items()}
    assignments = "".join(f", profile.#{name} = :{name}" for name in told)
    updated = threads.submit(
        dynamodb.update_item,
        TableName=TABLE,
        Key=user_key(user),
        UpdateExpression="SET signed_in_at = :now, identities.#provider.username = :username"
        f"{assignments} REMOVE profile.proven_email",
        ConditionExpression="#status = :active AND identities.#provider.#key = :key",
        ExpressionAttributeNames=names,
        ExpressionAttributeValues={name: serialize(value) for name, value in values.items()},
        ReturnValues="ALL_NEW",
    )
    fresh = threads.submit(key_set.signing_key)
    dynamodb.put_item(
        TableName=TABLE,
        Item={**{name: serialize(value) for name, value in stored.items()}, **session_key(user, session)},
        ConditionExpression="attribute_not_exists(pk)",
    )
    fresh.result()
    return granted(plain(updated.result()["Attributes"]), stored, first, client, {"is_new_user": False})


def grant(event):
    form = form_of(event)
    client = authenticate(form)
    match required(form, "grant_type"):
        case "refresh_token":
            return refresh(client, form)
        case "urn:ietf:params:oauth:grant-type:token-exchange":
            return exchange(client, form)
        case _:
            raise Refusal(400, "unsupported_grant_type", f"grant_type must be {TOKEN_EXCHANGE} or refresh_token")


def error(refusal):
    headers = {}
    if refusal.code == "invalid_client":
        headers["www-authenticate"] = 'Basic realm="cambio", charset="UTF-8"'
    if refusal.status == 503:
        headers["retry-after"] = "1"
    return answer(refusal.status, {"error": refusal.code, "error_description": refusal.message}, headers)


handler = served("token-exchange", grant, error)
