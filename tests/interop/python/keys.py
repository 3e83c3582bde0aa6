"""Checks tokens with the Python libraries. Arguments: issuer, audience, algorithm, tokens."""

import sys
import warnings

import jwt
import requests
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from jose import jwt as python_jose
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

# joserfc warns of the name EdDSA, which RFC 9864 replaces.
warnings.simplefilter("ignore")
ISSUER, AUDIENCE, ALGORITHM, *TOKENS = sys.argv[1:]
URL = f"{ISSUER}/.well-known/jwks.json"


def pyjwt(token):
    key = jwt.PyJWKClient(URL).get_signing_key_from_jwt(token)
    jwt.decode(token, key, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE)


def jose(token):
    keys = requests.get(URL, timeout=10).json()
    python_jose.decode(token, keys, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE)


def joserfc(token):
    keys = jwk.KeySet.import_key_set(requests.get(URL, timeout=10).json())
    decoded = joserfc_jwt.decode(token, keys, algorithms=[ALGORITHM])
    value = {"iss": ISSUER, "aud": AUDIENCE}
    claims = {name: {"essential": True, "value": expected} for name, expected in value.items()}
    joserfc_jwt.JWTClaimsRegistry(**claims, exp={"essential": True}).validate(decoded.claims)


class Validator(JWTBearerTokenValidator):
    """Authlib's check of access tokens (RFC 9068), which leaves reading the keys to the application."""

    def get_jwks(self):
        return jwk.KeySet.import_key_set(requests.get(URL, timeout=10).json())


def authlib(token):
    validator = Validator(issuer=ISSUER, resource_server=AUDIENCE)
    claims = validator.authenticate_token(token)
    if claims is None:
        raise ValueError("it is not valid")
    validator.validate_token(claims, ["orders:read"], None)


LIBRARIES = {"PyJWT": pyjwt, "python-jose": jose, "joserfc": joserfc, "Authlib": authlib}
for name, verify in LIBRARIES.items():
    for nth, token in enumerate(TOKENS):
        try:
            verify(token)
            result = "accepted"
        except Exception as error:  # each library has classes of its own
            result = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{name}\t{nth}\t{result}")
