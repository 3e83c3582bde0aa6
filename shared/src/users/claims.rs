//! Additional claims of an operator in a user's access tokens.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::object;

/// The largest size of all claims, in bytes of JSON: each request sends them.
const MAX_CLAIMS: usize = 1024;
const MAX_NAME: usize = 128;
/// The limits that keep a token within those of verification: 64 members, 16 levels.
const MAX_CLAIM_COUNT: usize = 32;
const MAX_DEPTH: usize = 8;

/// Claims with a meaning in Cambio or in a standard (RFC 7519, RFC 8693, RFC 9068, OpenID Connect Core 1.0), which
/// would change the identity of the user or the rights of the token. The last ones have a special meaning in
/// JavaScript.
const RESERVED: [&str; 32] = [
    "acr",
    "act",
    // Members of an introspection answer besides the claims (RFC 7662 §2.2).
    "active",
    "token_type",
    "username",
    "amr",
    "at_hash",
    "aud",
    "auth_time",
    "azp",
    "c_hash",
    "client_id",
    "cnf",
    "exp",
    "iat",
    "iss",
    "jti",
    "may_act",
    "nbf",
    "nonce",
    "roles",
    "scope",
    "session_version",
    "sid",
    "sub",
    "token_use",
    "typ",
    "entitlements",
    "groups",
    "__proto__",
    "constructor",
    "prototype",
];

/// Additional claims of an operator, which a user's access tokens contain unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OwnClaims(#[serde(with = "object")] Map<String, Value>);

/// Reasons that a claim is not accepted.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ClaimsError {
    /// The name is reserved.
    #[error("the claim {0} is reserved; choose another name")]
    Reserved(String),
    /// The name is empty or too long, or has characters other than letters, digits and those of URLs.
    #[error("a claim's name must be 1 to {MAX_NAME} letters, digits, or . _ - : /")]
    Name,
    /// All claims together are too large.
    #[error(
        "the claims of a user may be at most {MAX_CLAIM_COUNT}, {MAX_CLAIMS} bytes of JSON and {MAX_DEPTH} levels deep, because each token contains them"
    )]
    TooLarge,
}

impl OwnClaims {
    /// Checks and returns these claims.
    ///
    /// # Errors
    /// A name is reserved or invalid, or the claims are too large.
    pub fn new(claims: Map<String, Value>) -> Result<Self, ClaimsError> {
        for name in claims.keys() {
            if RESERVED.contains(&name.as_str()) {
                return Err(ClaimsError::Reserved(name.clone()));
            }
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
            if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
                return Err(ClaimsError::Name);
            }
        }
        let size = serde_json::to_vec(&claims).map_or(usize::MAX, |json| json.len());
        if size > MAX_CLAIMS || !all_fit(&claims, MAX_DEPTH) {
            return Err(ClaimsError::TooLarge);
        }
        Ok(Self(claims))
    }

    /// Returns the claims by name.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Returns whether there is no claim.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn fits(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(|value| fits(value, levels - 1)),
        Value::Object(members) => levels > 0 && all_fit(members, levels - 1),
        _ => true,
    }
}

fn all_fit(members: &Map<String, Value>, levels: usize) -> bool {
    members.len() <= MAX_CLAIM_COUNT && members.values().all(|value| fits(value, levels))
}

/// Drops invalid claims that were written into the table by hand: they must neither lock the user out nor change the
/// identity.
impl<'de> Deserialize<'de> for OwnClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(object::deserialize(deserializer)?).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(claims: Value) -> Result<OwnClaims, ClaimsError> {
        OwnClaims::new(claims.as_object().unwrap().clone())
    }

    #[test]
    fn claims_that_mean_something_already_are_reserved() {
        for name in RESERVED {
            let refused = claims(json!({ "plan": "pro", name: "x" }));
            assert_eq!(refused, Err(ClaimsError::Reserved(name.to_owned())));
        }
        for name in ["", "a b", "é", "a\n", &"x".repeat(129)] {
            assert_eq!(claims(json!({ name: 1 })), Err(ClaimsError::Name), "{name}");
        }
        assert!(claims(json!({ "x".repeat(128): 1 })).is_ok());
        let fits = json!({ "plan": "pro", "https://example.com/seats": [1, { "a": null }] });
        assert_eq!(Value::Object(claims(fits.clone()).unwrap().0), fits);
    }

    #[test]
    fn they_are_small_enough_to_be_sent_with_each_request() {
        let of_size = |size| claims(json!({ "a": "x".repeat(size - r#"{"a":""}"#.len()) }));
        assert!(of_size(1024).is_ok());
        assert_eq!(of_size(1025), Err(ClaimsError::TooLarge));
        let many =
            |count: u8| OwnClaims::new((0..count).map(|n| (n.to_string(), 1.into())).collect());
        assert!(many(32).is_ok());
        assert_eq!(many(33), Err(ClaimsError::TooLarge));
        let inside =
            |count: u8| -> Map<_, _> { (0..count).map(|n| (n.to_string(), 1.into())).collect() };
        assert!(claims(json!({ "a": inside(32) })).is_ok());
        assert_eq!(
            claims(json!({ "a": inside(33) })),
            Err(ClaimsError::TooLarge)
        );
        let in_lists = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        let in_objects = |levels| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert!(claims(json!({ "a": in_lists(8) })).is_ok());
        assert!(claims(json!({ "a": in_objects(8) })).is_ok());
        for nested in [in_lists(9), in_objects(9)] {
            assert_eq!(claims(json!({ "a": nested })), Err(ClaimsError::TooLarge));
        }
    }

    #[test]
    fn what_was_written_by_hand_is_left_out_if_it_is_reserved() {
        let read = |text: &str| serde_json::from_value::<OwnClaims>(json!(text)).unwrap();
        let plan = read(r#"{"plan":"pro"}"#);
        assert_eq!((plan.is_empty(), &plan.0["plan"]), (false, &json!("pro")));
        assert!(read(r#"{"plan":"pro","sub":"somebody-else"}"#).is_empty());
    }
}
