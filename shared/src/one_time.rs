//! The claims that make a JWT good for one request: when it begins and ends, and its id (RFC 7519 §4.1).
//!
//! A client signs such a JWT to authenticate ([`crate::clients`]), or to vouch for a user ([`crate::provider`]).
//! [`crate::dynamodb::Use`] makes it valid once.

use std::time::Duration;

use serde::Deserialize;

use crate::{clock::Timestamp, jws};

/// The greatest accepted error of a client's clock.
const LEEWAY: Duration = Duration::from_mins(1);
const MAX_JTI: usize = 256;

/// The claims of a JWT that is good for one request.
#[derive(Deserialize)]
pub(crate) struct OneTime {
    #[serde(deserialize_with = "jws::date")]
    exp: Timestamp,
    #[serde(default, deserialize_with = "jws::optional_date")]
    iat: Option<Timestamp>,
    #[serde(default, deserialize_with = "jws::optional_date")]
    nbf: Option<Timestamp>,
    /// The id. No other JWT of the same signer has it.
    pub(crate) jti: String,
}

/// The longest accepted lifetime of a kind of JWT, and the text for one that lives longer.
pub(crate) struct Lifetime {
    pub(crate) longest: Duration,
    pub(crate) exceeded: &'static str,
}

impl OneTime {
    /// Checks that the JWT is valid `now`, will be for no longer than `lifetime`, and has an id.
    ///
    /// # Errors
    /// The reason that it is refused.
    pub(crate) fn check(&self, lifetime: &Lifetime, now: Timestamp) -> Result<(), &'static str> {
        let longest = lifetime.longest.as_secs();
        if now >= self.forgotten_at() {
            return Err("it has expired");
        }
        let starts = [self.iat, self.nbf].into_iter().flatten().max();
        if starts.is_some_and(|start| start > now + LEEWAY.as_secs()) {
            return Err("it is not valid yet: its iat or nbf is in the future");
        }
        if self.exp > now + LEEWAY.as_secs() + longest {
            return Err(lifetime.exceeded);
        }
        if self.jti.is_empty() || self.jti.len() > MAX_JTI {
            return Err("its jti is empty or longer than 256 bytes");
        }
        Ok(())
    }

    /// Returns whether the JWT says that it lives longer than `longest`, of which a part may be over.
    pub(crate) fn outlives(&self, longest: Duration) -> bool {
        self.iat
            .is_some_and(|iat| self.exp > iat.saturating_add(longest.as_secs()))
    }

    /// Returns the time from which the JWT is expired for every clock, so that its id need not be remembered.
    pub(crate) fn forgotten_at(&self) -> Timestamp {
        self.exp.saturating_add(LEEWAY.as_secs())
    }
}
