//! Our own word about a user: access tokens in the profile of RFC 9068, issued and validated.

mod issue;
mod verify;

pub use issue::{ConfirmedIssuer, Grant, IssuedToken, ReadyIssuer, TokenIssuer};
pub use verify::TokenVerifier;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    clock::Timestamp,
    ids::{SessionId, UserId},
    jws::Malformed,
    keys::KeysError,
};

/// The `typ` of an access token (RFC 9068 §2.1), which no other kind of our tokens has.
const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// What an access token says (RFC 9068 §2.2). One that came out of [`TokenVerifier::verify`] is proven.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued the token.
    pub iss: String,
    /// The API that the token is for.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The application that the user signed in with.
    pub client_id: String,
    /// When the token was issued.
    pub iat: Timestamp,
    /// When the user signed in with a provider (RFC 9068 §2.2.1); it is not there if the provider does not say when.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub auth_time: Option<Timestamp>,
    /// The token is not valid from this time on.
    pub exp: Timestamp,
    /// The token is not valid before this time. We set none, and honour one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<Timestamp>,
    /// The name of this one token.
    pub jti: String,
    /// The sign-in that the token belongs to.
    pub sid: SessionId,
    /// How often the user had signed out everywhere when that sign-in happened: `GET /me` compares it.
    pub session_version: u64,
    /// What the application may do, separated by spaces (RFC 6749 §3.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What the user may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What else the operator says about the user: none of the names above.
    #[serde(flatten)]
    pub own: Map<String, Value>,
}

/// A claim may be left out; one that is there is a value, and not `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Why an access token was not accepted.
#[derive(Debug, Error)]
pub enum TokenError {
    /// It is no compact JWS, or holds what no token of ours holds.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// No key of ours has this name.
    #[error("signed by an unknown key")]
    UnknownKey,
    /// The signature does not fit, or the claims are not those of an access token.
    #[error("{0} not accepted")]
    Forged(&'static str),
    /// The library could not sign.
    #[error("a token could not be signed")]
    Signing,
    /// Another issuer's, or for another API.
    #[error("wrong {0}")]
    Foreign(&'static str),
    /// Expired, from the future, or of an impossible lifetime.
    #[error("{0}")]
    Untimely(&'static str),
    /// We cannot tell whether the token is good.
    #[error(transparent)]
    KeysUnavailable(#[from] KeysError),
}

#[cfg(test)]
mod tests {
    use crate::users::{ClaimsError, OwnClaims};

    use super::*;

    /// The names of all claims. The pattern names each field, so a claim that is missing here does not compile.
    macro_rules! names_of_claims {
        ($($name:ident)*) => {{
            let _ = |claims: Claims| {
                let Claims { $($name: _,)* own: _ } = claims;
            };
            [$(stringify!($name)),*]
        }};
    }

    #[test]
    fn t62_no_claim_of_a_token_can_be_one_of_an_operators_own() {
        for name in names_of_claims!(
            iss aud sub client_id iat auth_time exp nbf jti sid session_version scope roles
        ) {
            let claims = Map::from_iter([(name.to_owned(), "x".into())]);
            let refused = Err(ClaimsError::Reserved(name.to_owned()));
            assert_eq!(OwnClaims::new(claims), refused);
        }
    }
}
