//! The settings of the keys that are made.

use std::time::Duration;

use super::KeyType;
use crate::config::{ConfigError, Environment};

/// The kind of the signing keys that are made, and the time that each one signs.
#[derive(Clone, Copy, Debug)]
pub struct KeySettings {
    /// `SIGNING_KEY_TYPE`: the type of new keys, `RSA-2048` by default.
    pub key_type: KeyType,
    /// `SIGNING_KEY_TTL`, in seconds: the time for which a key signs. 90 days by default.
    pub ttl: Duration,
}

impl KeySettings {
    /// Reads `SIGNING_KEY_TYPE` and `SIGNING_KEY_TTL`.
    ///
    /// # Errors
    /// Names the variable that is wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        const DAY: u64 = 24 * 60 * 60;
        const KEY_TYPES: &str = "RSA-2048, RSA-3072, P-256 or Ed25519";
        let key_type = match env.optional("SIGNING_KEY_TYPE") {
            None => KeyType::Rsa2048,
            Some(value) => serde_json::from_value(value.clone().into())
                .map_err(|_| ConfigError::value("SIGNING_KEY_TYPE", value, KEY_TYPES))?,
        };
        let ttl = env.seconds(
            "SIGNING_KEY_TTL",
            90 * DAY,
            2 * DAY..=400 * DAY,
            "a number of seconds from 172800 (2 days) to 34560000 (400 days)",
        )?;
        Ok(Self { key_type, ttl })
    }
}
