//! A sign-in, from the exchange to the sign-out.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// How much of the hash names a session: nobody finds a second token for 128 bits of it.
const ID_BYTES: usize = 16;

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
        Self(URL_SAFE_NO_PAD.encode(&hash.finish().as_ref()[..ID_BYTES]))
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
        assert_eq!(session.0.len(), 22, "128 bits in base64url");
        assert!(!session.0.contains("gho_a"));
    }
}
