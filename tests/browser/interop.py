"""Python's libraries against the API, with a rotation of its keys in the middle: run by interop.test.mjs.

Says "ready to rotate", waits for a line, goes on with the keys that it has read, and ends with "all of it held".
"""

import os
import sys

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

ISSUER, AUDIENCE = os.environ["ISSUER_URL"], os.environ["TOKEN_AUDIENCE"]
EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token": os.environ["GITHUB_TOKEN"],
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    "subject_issuer": "github",
}


def discovered():
    metadata = requests.get(f"{ISSUER}/.well-known/openid-configuration", timeout=10).json()
    assert metadata["issuer"] == ISSUER
    return metadata


class Authlib:
    """A client that signs, and its own verification (joserfc, by the same author)."""

    def __init__(self):
        self.metadata = discovered()
        endpoint = self.metadata["token_endpoint"]
        key = jwk.ECKey.import_key(os.environ["SIGNER_KEY"], {"kid": os.environ["SIGNER_KID"]})
        self.session = OAuth2Session(
            os.environ["SIGNER_ID"], key, token_endpoint_auth_method="private_key_jwt", token_endpoint=endpoint
        )
        headers = {"kid": os.environ["SIGNER_KID"]}
        self.session.register_client_auth_method(PrivateKeyJWT(endpoint, headers=headers, alg="ES256"))
        self.session.revocation_endpoint_auth_method = "private_key_jwt"
        self.keys = jwk.KeySet.import_key_set(requests.get(self.metadata["jwks_uri"], timeout=10).json())

    def exchange(self):
        return self.session.fetch_token(self.metadata["token_endpoint"], **EXCHANGE)

    def refresh(self, token):
        return self.session.refresh_token(self.metadata["token_endpoint"], refresh_token=token)

    def introspect(self, token):
        return self.session.introspect_token(self.metadata["introspection_endpoint"], token=token).json()

    def revoke(self, token):
        assert self.session.revoke_token(self.metadata["revocation_endpoint"], token=token).status_code == 200

    def verify(self, token):
        token = joserfc_jwt.decode(token, self.keys, algorithms=["RS256"])
        claims = joserfc_jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}, exp={"essential": True}
        )
        claims.validate(token.claims)
        return token.header["kid"]


class PyJwt:
    """Verification with `PyJWKClient`; the requests are made by hand, as PyJWT makes none."""

    def __init__(self):
        self.metadata = discovered()
        self.keys = jwt.PyJWKClient(self.metadata["jwks_uri"])

    def post(self, endpoint, **form):
        client = (os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"])
        return requests.post(self.metadata[endpoint], auth=client, data=form, timeout=10)

    def token(self, **form):
        answer = self.post("token_endpoint", **form)
        if answer.status_code != 200:
            raise ValueError(answer.json()["error"])
        return answer.json()

    def exchange(self):
        return self.token(**EXCHANGE)

    def refresh(self, token):
        return self.token(grant_type="refresh_token", refresh_token=token)

    def introspect(self, token):
        return self.post("introspection_endpoint", token=token).json()

    def revoke(self, token):
        assert self.post("revocation_endpoint", token=token).status_code == 200

    def verify(self, token):
        key = self.keys.get_signing_key_from_jwt(token)
        required = ["iss", "aud", "exp", "sub"]
        jwt.decode(token, key, algorithms=["RS256"], issuer=ISSUER, audience=AUDIENCE, options={"require": required})
        return jwt.get_unverified_header(token)["kid"]


def fails(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:  # each library has classes of its own
        return str(error)
    raise AssertionError("it was accepted")


def main(library):
    first = library.exchange()
    before = library.verify(first["access_token"])
    header, payload, signature = first["access_token"].split(".")
    fails(library.verify, f"{header}.{payload}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}")
    print("ready to rotate", flush=True)

    assert sys.stdin.readline() == "rotated\n"
    second = library.refresh(first["refresh_token"])
    after = library.verify(second["access_token"])
    assert before != after, "the keys did not rotate"
    assert library.verify(first["access_token"]) == before
    for token in (first["access_token"], second["access_token"], second["refresh_token"]):
        assert library.introspect(token)["active"] is True
    library.revoke(second["refresh_token"])
    assert library.introspect(second["access_token"]) == {"active": False}
    assert "invalid_grant" in fails(library.refresh, second["refresh_token"])
    print("all of it held")


main({"authlib": Authlib, "pyjwt": PyJwt}[sys.argv[1]]())
