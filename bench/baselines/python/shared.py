"""The common part of the three functions: settings, DynamoDB, the signing keys, access tokens, and answers.

Written as a careful Python developer would for Lambda: one client for each process, keys read during the init and
kept, parallel calls where one does not need another, and one log line for each request.
"""

import base64
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import jwt
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config

TABLE = os.environ.get("TABLE_NAME", "")
ISSUER = os.environ["ISSUER_URL"]
AUDIENCE = os.environ.get("TOKEN_AUDIENCE") or ISSUER
KEYS_TABLE = os.environ["KEYS_TABLE_NAME"]

dynamodb = boto3.client(
    "dynamodb", config=Config(retries={"total_max_attempts": 3}, connect_timeout=0.5, read_timeout=1)
)
# For calls that do not need one another.
threads = ThreadPoolExecutor(3)

ALGORITHMS = {"RSA-2048": "RS256", "RSA-3072": "RS256", "P-256": "ES256", "Ed25519": "EdDSA"}

_deserialize = TypeDeserializer().deserialize


def plain(item):
    """A DynamoDB item as Python values, with binary attributes as bytes."""
    return {name: _plain(_deserialize(value)) for name, value in item.items()}


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    if hasattr(value, "to_integral_value"):
        return int(value) if value == value.to_integral_value() else float(value)
    return bytes(value) if hasattr(value, "value") and isinstance(value.value, (bytes, bytearray)) else value


def now():
    return int(time.time())


# --- Keys -------------------------------------------------------------------------------------------------------------


class KeySet:
    def __init__(self):
        self.read_at, self.keys, self.verifying = 0.0, [], {}
        self.signing = None

    def read(self, pk):
        return plain(dynamodb.get_item(TableName=KEYS_TABLE, Key={"pk": {"S": pk}}, ConsistentRead=True)["Item"])

    def younger_than(self, seconds):
        if time.monotonic() - self.read_at >= seconds or not self.keys:
            self.keys = self.read("KEYSET")["keys"]
            self.verifying = {
                key["kid"]: jwt.PyJWK.from_dict(json.loads(key["jwk"]), ALGORITHMS[key["key_type"]])
                for key in self.keys
            }
            self.read_at = time.monotonic()
        return self

    def signing_key(self):
        """The private key whose turn it is. The set that decides is at most 20 seconds old."""
        self.younger_than(20)
        current = max((key for key in self.keys if key["sign_from"] <= now()), key=lambda key: key["sign_from"])
        if not self.signing or self.signing[0] != current["kid"]:
            item = self.read(f"KEY#{current['kid']}")
            algorithm = ALGORITHMS[item["key_type"]]
            key = jwt.get_algorithm_by_name(algorithm).prepare_key(item["private_key"])
            self.signing = current["kid"], algorithm, key
        return self.signing


key_set = KeySet()


# --- Access tokens ----------------------------------------------------------------------------------------------------

UNTIMELY = "the access token is not valid yet, or lives too long: compare the clocks of the servers"
NOT_OURS = "the access token is not one of this issuer: send the access_token of POST /token unchanged"
REQUIRED = ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "sid", "session_version"]


class Refusal(Exception):
    """An answer other than success."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def header(event, name):
    return next((value for key, value in (event.get("headers") or {}).items() if key.lower() == name), "")


def verified(event, audiences=(AUDIENCE,)):
    """Verifies the access token of a request (RFC 9068), and returns its claims."""
    scheme, _, token = header(event, "authorization").partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refusal(401, "invalid_request", "an access token is required in the Authorization header")
    try:
        head = jwt.get_unverified_header(token)
        key = key_set.younger_than(300).verifying.get(head.get("kid"))
        if key is None or head["alg"] != key.algorithm_name or head.get("typ", "").lower() != "at+jwt":
            raise jwt.InvalidTokenError("unknown key, algorithm or type")
        claims = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=audiences,
            issuer=ISSUER,
            options={"require": REQUIRED, "verify_iat": False},
        )
        if claims["iat"] > now() + 5 or claims["exp"] - claims["iat"] > 3600:
            raise jwt.ImmatureSignatureError
        return claims
    except jwt.ExpiredSignatureError:
        expired = "the access token has expired: refresh it, or sign in again"
        raise Refusal(401, "invalid_token", expired) from None
    except jwt.ImmatureSignatureError:
        raise Refusal(401, "invalid_token", UNTIMELY) from None
    except jwt.InvalidAudienceError:
        other = "the access token is for another API: request one with the audience of this API"
        raise Refusal(401, "invalid_token", other) from None
    except jwt.PyJWTError:
        raise Refusal(401, "invalid_token", NOT_OURS) from None


# --- Users and sessions -----------------------------------------------------------------------------------------------


def user_key(user):
    return {"pk": {"S": f"USER#{user}"}, "sk": {"S": "USER"}}


def session_key(user, session):
    return {"pk": {"S": f"USER#{user}"}, "sk": {"S": f"SESSION#{session}"}}


def is_alive(session, at):
    return "ended_at" not in session and at < session["idle_expires_at"] and at < session["absolute_expires_at"]


def admits(user, session, version):
    is_current = user["session_version"] == version or user.get("kept_session") == session
    return user["status"] == "active" and is_current


def profile(user):
    told, edited = user["profile"], user.get("edited", {})
    identities = user["identities"]
    return {
        "id": user["id"],
        "name": edited["name"] if "name" in edited else told.get("name"),
        "email": told.get("email"),
        "email_verified": told.get("email_verified", False),
        "picture": edited["picture"] if "picture" in edited else told.get("picture"),
        "roles": user.get("roles", []),
        "identities": [
            {"provider": name, "subject": identities[name]["subject"], "username": identities[name].get("username")}
            for name in sorted(identities)
        ],
    }


# --- Answers ----------------------------------------------------------------------------------------------------------

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "pragma": "no-cache",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=63072000; includeSubDomains",
    "x-content-type-options": "nosniff",
}


def to_json(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def answer(status, body, headers=()):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", **SECURITY_HEADERS, **dict(headers)},
        "cookies": [],
        "body": to_json(body),
        "isBase64Encoded": False,
    }


def served(name, handle, refuse):
    """A handler that writes one log line for each request."""

    def handler(event, _context):
        started = time.perf_counter_ns()
        try:
            response = handle(event)
        except Refusal as refusal:
            response = refuse(refusal)
        except Exception as error:  # an outage of DynamoDB or of the provider
            log(level="ERROR", function=name, cause=repr(error))
            response = refuse(Refusal(503, "temporarily_unavailable", "temporarily unavailable; try again"))
        taken = (time.perf_counter_ns() - started) // 1000
        route, status = event.get("routeKey"), response["statusCode"]
        log(level="INFO", function=name, route=route, status=status, duration_us=taken)
        return response

    return handler


def log(**members):
    print(to_json({"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **members}), flush=True)


def base64url(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
