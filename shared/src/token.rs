//! Access tokens (RFC 9068): issue and verification.

mod issue;
mod verify;

pub use issue::{ConfirmedIssuer, Grant, IssuedToken, ReadyIssuer, TokenIssuer};
pub use verify::TokenVerifier;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    clock::Timestamp,
    ids::{SessionId, SessionRef, UserId},
    jws::Malformed,
    keys::KeysError,
};

/// The `typ` of an access token (RFC 9068 §2.1), which no other token of Cambio has.
const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// The claims of an access token (RFC 9068 §2.2). [`TokenVerifier::verify`] returns verified ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The audience: the API that the token is for.
    pub aud: String,
    /// The id of the user.
    pub sub: UserId,
    /// The id of the client that the user signed in with.
    pub client_id: String,
    /// The time of issue.
    pub iat: Timestamp,
    /// The time of the sign-in at the provider (RFC 9068 §2.2.1); absent if the provider does not report it.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub auth_time: Option<Timestamp>,
    /// The time from which the token is not valid any more.
    pub exp: Timestamp,
    /// The time before which the token is not valid. Cambio never sets it, and honours it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<Timestamp>,
    /// The id of the token.
    pub jti: String,
    /// The id of the session.
    pub sid: SessionId,
    /// The user's `session_version` at the sign-in, which Cambio's routes compare with the present one.
    pub session_version: u64,
    /// The scope, separated by spaces (RFC 6749 §3.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The roles of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The operator's additional claims, under names other than those above.
    #[serde(flatten)]
    pub own: Map<String, Value>,
}

impl Claims {
    /// Returns the session of the token.
    pub fn session(&self) -> SessionRef {
        SessionRef {
            id: self.sid,
            version: self.session_version,
        }
    }
}

/// Deserializes an optional claim: it may be absent, but not `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reasons that an access token is not accepted.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The text is not a compact JWS, or has members that no token of Cambio has.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// No published key has this `kid`.
    #[error("signed by an unknown key")]
    UnknownKey,
    /// The signature is wrong, or the claims are not those of an access token.
    #[error("{0} not accepted")]
    Forged(&'static str),
    /// The library cannot sign.
    #[error("a token cannot be signed")]
    Signing,
    /// The issuer or the audience is another one.
    #[error("wrong {0}")]
    Foreign(&'static str),
    /// The time of expiry has come.
    #[error("expired")]
    Expired,
    /// The token is from the future, or has an impossible lifetime.
    #[error("{0}")]
    Untimely(&'static str),
    /// The keys cannot be read, so the token can be neither accepted nor refused.
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

    #[test]
    fn the_time_of_the_sign_in_is_a_number_or_absent_and_never_null() {
        let mut claims = serde_json::json!({
            "iss": "https://api.example.com",
            "aud": "api",
            "sub": "01a208bb-db28-776e-8b0c-7dfd69859e79",
            "client_id": "nextjs",
            "iat": 1_000,
            "exp": 1_900,
            "jti": "a-token",
            "sid": "AAAAAAAAAAAAAAAAAAAAAA",
            "session_version": 3,
        });
        let read = |claims: &Value| serde_json::from_value::<Claims>(claims.clone());

        let without = read(&claims).unwrap();
        assert_eq!(without.auth_time, None);
        let session = SessionRef {
            id: without.sid,
            version: 3,
        };
        assert_eq!(without.session(), session);
        claims["auth_time"] = 990.into();
        assert_eq!(read(&claims).unwrap().auth_time, Some(990));
        claims["auth_time"] = Value::Null;
        assert!(read(&claims).is_err());
    }
}
