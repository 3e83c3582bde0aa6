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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = 1_800_000_000;
    const LIFETIME: Lifetime = Lifetime {
        longest: Duration::from_mins(5),
        exceeded: "it lives for too long",
    };

    fn good() -> OneTime {
        OneTime {
            exp: NOW + 300,
            iat: Some(NOW),
            nbf: None,
            jti: "id".to_owned(),
        }
    }

    fn check(once: &OneTime) -> Result<(), &'static str> {
        once.check(&LIFETIME, NOW)
    }

    #[test]
    fn each_time_is_good_up_to_its_limit_and_no_second_longer() {
        let exp = |exp| check(&OneTime { exp, ..good() });
        assert_eq!(exp(NOW - 59), Ok(()));
        assert_eq!(exp(NOW - 60), Err("it has expired"));
        assert_eq!(exp(NOW + 360), Ok(()));
        assert_eq!(exp(NOW + 361), Err(LIFETIME.exceeded));

        let early = Err("it is not valid yet: its iat or nbf is in the future");
        for (start, expected) in [
            (0, Ok(())),
            (NOW + 59, Ok(())),
            (NOW + 60, Ok(())),
            (NOW + 61, early),
            (Timestamp::MAX, early),
        ] {
            let (iat, nbf) = (Some(start), Some(start));
            assert_eq!(check(&OneTime { iat, ..good() }), expected, "iat {start}");
            assert_eq!(check(&OneTime { nbf, ..good() }), expected, "nbf {start}");
        }
        let (iat, nbf) = (None, None);
        assert_eq!(check(&OneTime { iat, nbf, ..good() }), Ok(()));
    }

    #[test]
    fn an_id_has_1_to_256_bytes() {
        for (length, is_good) in [(0, false), (1, true), (256, true), (257, false)] {
            let jti = "i".repeat(length);
            assert_eq!(
                check(&OneTime { jti, ..good() }).is_ok(),
                is_good,
                "{length}"
            );
        }
    }

    #[test]
    fn a_lifetime_is_counted_from_the_iat() {
        let outlives = |iat, exp| OneTime { iat, exp, ..good() }.outlives(LIFETIME.longest);
        assert!(!outlives(Some(NOW), NOW + 300));
        assert!(outlives(Some(NOW), NOW + 301));
        // Without one, nothing says how long it lives.
        assert!(!outlives(None, NOW + 301));
        assert!(!outlives(Some(Timestamp::MAX), Timestamp::MAX));
    }

    #[test]
    fn an_id_is_remembered_for_as_long_as_a_clock_may_accept_it() {
        let forgotten_at = |exp| OneTime { exp, ..good() }.forgotten_at();
        assert_eq!(forgotten_at(NOW), NOW + 60);
        assert_eq!(forgotten_at(Timestamp::MAX), Timestamp::MAX);
        assert_eq!(check(&OneTime { exp: NOW, ..good() }), Ok(()));
        let expired = OneTime { exp: NOW, ..good() }.check(&LIFETIME, forgotten_at(NOW));
        assert_eq!(expired, Err("it has expired"));
    }
}
