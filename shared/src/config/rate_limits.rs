//! The numbers of requests that clients and users may make.

use std::num::NonZeroU64;

use super::{ConfigError, Environment};

/// The largest numbers of requests to `POST /token` within a minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateLimits {
    /// `CLIENT_RATE_LIMIT`: of each client, over all instances. By default there is no limit.
    pub client: Option<NonZeroU64>,
    /// `USER_RATE_LIMIT`: of each user of a client, in each instance. By default there is no limit.
    pub user: Option<NonZeroU64>,
}

impl RateLimits {
    /// Reads `CLIENT_RATE_LIMIT` and `USER_RATE_LIMIT`.
    ///
    /// # Errors
    /// Names the variable that is wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        const EXPECTED: &str =
            "a number of requests within a minute up to 10000000, or 0 for no limit";
        let limit = |name| env.number(name, 0, 0..=10_000_000, EXPECTED);
        Ok(Self {
            client: NonZeroU64::new(limit("CLIENT_RATE_LIMIT")?),
            user: NonZeroU64::new(limit("USER_RATE_LIMIT")?),
        })
    }
}
