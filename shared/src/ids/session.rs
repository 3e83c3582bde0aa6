//! Session ids.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::jws::{self, ForeignHeader};

/// The id of a session. It identifies, and authenticates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SessionId([u8; Self::LENGTH]);

/// A session as its tokens name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef {
    /// Its name.
    pub id: SessionId,
    /// The number of times that its user had signed out everywhere when it was opened.
    pub version: u64,
}

/// An error for a text that is not a session id.
#[derive(Debug, Error)]
#[error("not a session id")]
pub struct NotASessionId;

impl SessionId {
    /// The length of an id in bytes: 128 bits of a hash, for which a second token cannot be found.
    pub(crate) const LENGTH: usize = 16;

    /// Returns the id of the session that `subject_token` opens, always the same, so that a repeated exchange is
    /// recognised.
    pub fn of_subject_token(subject_token: &SecretString) -> Self {
        let mut hash = Context::new(&SHA256);
        // The prefix separates this hash from any other SHA-256 of the same token.
        hash.update(b"cambio session\0");
        hash.update(identifying_part(subject_token.expose_secret()).as_bytes());
        let mut id = [0; Self::LENGTH];
        id.copy_from_slice(&hash.finish().as_ref()[..Self::LENGTH]);
        Self(id)
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

/// Returns the identifying part of a subject token. Some signatures have a second valid spelling (T30), so a JWT is
/// identified by its signed part. Any other token, such as an opaque one with dots, is identified by its whole text.
fn identifying_part(token: &str) -> &str {
    // The form that the verification of an ID token requires.
    let is_jwt = jws::inspect::<ForeignHeader>(token).is_ok();
    let signed = token.rsplit_once('.').filter(|_| is_jwt);
    signed.map_or(token, |(signed, _)| signed)
}

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, NotASessionId> {
        // The decoder accepts one spelling only.
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotASessionId)?;
        bytes.try_into().map(Self).map_err(|_| NotASessionId)
    }
}

impl TryFrom<String> for SessionId {
    type Error = NotASessionId;

    fn try_from(text: String) -> Result<Self, NotASessionId> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_token_opens_one_session_and_another_token_another() {
        let session = |token: &str| SessionId::of_subject_token(&token.to_owned().into());
        assert_eq!(session("gho_a"), session("gho_a"));
        assert_ne!(session("gho_a"), session("gho_b"));
        let jwt = |payload: &str, signature: &str| {
            let header = r#"{"alg":"ES256","kid":"one"}"#;
            let parts = [header, payload, signature].map(|part| URL_SAFE_NO_PAD.encode(part));
            session(&parts.join("."))
        };
        assert_eq!(jwt("{}", "one"), jwt("{}", "other"));
        assert_ne!(jwt("{}", "one"), jwt(r#"{"sub":"a"}"#, "one"));
    }

    #[test]
    fn t30_what_is_no_jwt_is_known_by_all_of_it() {
        let session = |token: &str| SessionId::of_subject_token(&token.to_owned().into());
        for (one, other) in [
            ("p1.aaaa", "p1.bbbb"),
            ("header.payload.one", "header.payload.other"),
            ("e30.e30.aaaa", "e30.e30.bbbb"),
            ("a.b.c.d", "a.b.c.e"),
            ("a.", "a.b"),
            ("a", "a.b"),
        ] {
            assert_ne!(session(one), session(other), "{one} {other}");
        }
    }

    #[test]
    fn an_id_is_read_back_as_it_was_written_and_in_no_other_spelling() {
        let id = SessionId::of_subject_token(&"gho_a".to_owned().into());
        let text = id.to_string();
        assert_eq!(text.parse::<SessionId>().unwrap(), id);
        assert_eq!(text.len(), 22, "128 bits in base64url");
        for other in [
            "",
            "a",
            &text[1..],
            &format!("{text}="),
            &format!("{text}A"),
            "SESSION#aaaaaaaaaaaaaa",
        ] {
            assert!(other.parse::<SessionId>().is_err(), "{other}");
        }
    }
}
