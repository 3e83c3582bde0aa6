//! Checks and secrets of clients, for the operator's command. No function contains them.

use aws_lc_rs::{
    digest::{SHA256, digest},
    error::Unspecified,
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;

use super::registered;
use crate::config::{ConfigError, Environment};

/// Checks `CLIENTS` as a function does at its start.
///
/// # Errors
/// The variable is missing or wrong. The error does not show the value.
pub fn check(env: &Environment) -> Result<(), ConfigError> {
    registered::clients(env).map(drop)
}

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
        let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        Ok(Self {
            sha256: hex.collect(),
            secret: secret.into(),
        })
    }
}
