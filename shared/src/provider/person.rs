//! The standard claims about a person (OpenID Connect Core 1.0 §5.1): those of an ID token, and of a JWT by which an
//! app vouches for its user.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Email, EmailAnswer, Profile};
use crate::{clock::Timestamp, jws::NumericDate};

/// A boolean, which Apple writes as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Text(String),
}

impl Flag {
    fn is_true(&self) -> bool {
        match self {
            Self::Bool(value) => *value,
            Self::Text(text) => text == "true",
        }
    }
}

/// Takes the profile out of `claims`. The address counts as verified only if `vouches` is true: the issuer is trusted
/// to verify addresses.
pub(super) fn profile(claims: &mut Map<String, Value>, vouches: bool) -> Profile {
    let is_verified = optional(claims, "email_verified").is_some_and(|flag: Flag| flag.is_true());
    let email = match optional(claims, "email") {
        None => EmailAnswer::NotTold,
        Some(address) => EmailAnswer::Some(Email {
            verified: vouches && is_verified,
            address,
        }),
    };
    Profile {
        name: optional(claims, "name"),
        username: optional(claims, "preferred_username"),
        email,
        picture: optional(claims, "picture"),
    }
}

/// Takes the time of the sign-in out of `claims`. Not `iat`, the time of issue: the sign-in may be weeks older.
pub(super) fn signed_in_at(claims: &mut Map<String, Value>) -> Option<Timestamp> {
    optional(claims, "auth_time").map(|NumericDate(time)| time)
}

/// Takes the claim `name` out of `claims`. A claim of another type is dropped, and the log has its name only.
fn optional<T: DeserializeOwned>(claims: &mut Map<String, Value>, name: &str) -> Option<T> {
    let value = claims.remove(name)?;
    serde_json::from_value(value).unwrap_or_else(|_| {
        tracing::warn!(event = "id_token.claim_dropped", claim = name);
        None
    })
}
