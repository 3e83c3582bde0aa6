//! The lifetimes of access tokens and of sessions.

use std::time::Duration;

use super::{ConfigError, Environment};

/// The lifetime of access tokens.
#[derive(Clone, Copy, Debug)]
pub struct AccessTokenTtl(
    /// `ACCESS_TOKEN_TTL`, in seconds: 15 minutes by default, at most [`AccessTokenTtl::MAX`].
    pub Duration,
);

impl AccessTokenTtl {
    /// The longest lifetime of an access token. Verification refuses a token with a longer one.
    pub const MAX: Duration = Duration::from_secs(3600);

    /// Reads `ACCESS_TOKEN_TTL`.
    ///
    /// # Errors
    /// The value is not a number of seconds from 60 to 3600.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        env.seconds(
            "ACCESS_TOKEN_TTL",
            900,
            60..=Self::MAX.as_secs(),
            "a number of seconds from 60 to 3600",
        )
        .map(Self)
    }
}

/// The lifetimes of sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionLifetimes {
    /// `SESSION_IDLE_TTL`, in seconds: the time without a refresh after which a session ends. 30 days by default.
    pub idle: Duration,
    /// `SESSION_ABSOLUTE_TTL`, in seconds: the age at which a session ends. 180 days by default.
    pub absolute: Duration,
    /// `REFRESH_REUSE_WINDOW`, in seconds: the time after a refresh within which the old token gets the same
    /// successor again. By default until the successor is used.
    pub reuse_window: Option<Duration>,
}

impl SessionLifetimes {
    /// Reads `SESSION_IDLE_TTL`, `SESSION_ABSOLUTE_TTL` and `REFRESH_REUSE_WINDOW`.
    ///
    /// # Errors
    /// Names the variable that is wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        const DAY: u64 = 24 * 60 * 60;
        const LIFETIME: &str = "a number of seconds from 60 to 34560000 (400 days)";
        const WINDOW: &str = "a number of seconds from 0 to 34560000, or unset";
        let seconds = |name, default| env.seconds(name, default, 60..=400 * DAY, LIFETIME);
        let reuse_window = match env.optional("REFRESH_REUSE_WINDOW") {
            None => None,
            Some(_) => Some(env.seconds("REFRESH_REUSE_WINDOW", 0, 0..=400 * DAY, WINDOW)?),
        };
        Ok(Self {
            idle: seconds("SESSION_IDLE_TTL", 30 * DAY)?,
            absolute: seconds("SESSION_ABSOLUTE_TTL", 180 * DAY)?,
            reuse_window,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifetime_of_access_tokens_is_bounded() {
        let ttl = |value| AccessTokenTtl::from_env(&Environment::of([("ACCESS_TOKEN_TTL", value)]));
        assert_eq!(ttl("").unwrap().0.as_secs(), 900);
        assert_eq!(ttl("60").unwrap().0.as_secs(), 60);
        assert_eq!(ttl("3600").unwrap().0.as_secs(), 3600);
        for value in ["59", "3601", "-1", "15m", "1e3"] {
            let error = ttl(value).unwrap_err().to_string();
            assert!(
                error.contains("ACCESS_TOKEN_TTL") && error.contains(value),
                "{error}"
            );
        }
    }
}
