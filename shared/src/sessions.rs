//! A sign-in, from the exchange to the sign-out.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// The name of a session: it identifies, and proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// The session that `subject_token` opens: the same one each time, so that a repeated exchange is recognised.
    pub fn of_subject_token(subject_token: &SecretString) -> Self {
        let mut hash = Context::new(&SHA256);
        // The prefix keeps this hash apart from any other use of SHA-256 on the same token.
        hash.update(b"cambio session\0");
        hash.update(subject_token.expose_secret().as_bytes());
        Self(URL_SAFE_NO_PAD.encode(hash.finish()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
    }

    #[test]
    fn a_session_id_does_not_show_the_subject_token() {
        let session = SessionId::of_subject_token(&"gho_a".to_owned().into());
        assert_eq!(session.to_string().len(), 43, "a SHA-256 in base64url");
        assert!(!session.to_string().contains("gho_a"));
    }
}
