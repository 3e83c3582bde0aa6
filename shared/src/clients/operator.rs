//! Secrets of clients, for the operator's command. No function contains them.

use aws_lc_rs::{
    digest::{SHA256, digest},
    error::Unspecified,
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;

use crate::text::hex;

/// A new secret of a client.
#[derive(Debug)]
pub struct NewSecret {
    /// The secret: 32 random bytes in base64url.
    pub secret: SecretString,
    /// Its SHA-256 in the form of `secret_sha256`.
    pub sha256: String,
}

impl NewSecret {
    /// Makes a secret.
    ///
    /// # Errors
    /// The operating system's random number generator failed.
    pub fn generate() -> Result<Self, Unspecified> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes)?;
        let secret = URL_SAFE_NO_PAD.encode(bytes);
        let hash = digest(&SHA256, secret.as_bytes());
        Ok(Self {
            sha256: hex(hash.as_ref()),
            secret: secret.into(),
        })
    }
}
