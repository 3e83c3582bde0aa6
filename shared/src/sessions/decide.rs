//! The effect of a presented refresh token or of a repeated exchange on its session. A pure function, which a model
//! checker explores (`tests/session_model.rs`).
//!
//! The store rotates by one conditional write, whose condition is that of [`Decision::Rotate`] as a DynamoDB
//! expression and the client's [`super::Terms`]. If the condition fails, [`decide`] derives the reason from the item.

use std::time::Duration;

use super::refresh_token::{Nonce, SecretHash};
use crate::clock::Timestamp;

/// The time within which a client may repeat an exchange after a lost answer.
const RETRY_WINDOW: Duration = Duration::from_secs(60);

/// The stored attributes of a session that a refresh depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionState {
    /// The client that may refresh it.
    pub client_id: String,
    /// SHA-256 of the family secret, which all tokens of the session share.
    pub family: SecretHash,
    /// The number of refreshes.
    pub generation: u32,
    /// SHA-256 of the secret of the current generation.
    pub current: SecretHash,
    /// SHA-256 of the secret of the previous generation.
    pub previous: Option<SecretHash>,
    /// The nonce from which the current secret was derived.
    pub nonce: Nonce,
    /// The time of the last refresh or of the start.
    pub refreshed_at: Timestamp,
    /// The time at which it ends without a refresh.
    pub idle_until: Timestamp,
    /// The time at which it ends in any case.
    pub absolute_until: Timestamp,
    /// True if it was ended.
    pub is_ended: bool,
}

/// The data of a presented token, in the form of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Presented {
    /// The authenticated client.
    pub client_id: String,
    /// SHA-256 of the family secret in the token.
    pub family: SecretHash,
    /// The generation in the token.
    pub generation: u32,
    /// SHA-256 of the secret in the token.
    pub secret: SecretHash,
}

/// The effect of a presented token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The token is the current one: rotate to the next generation.
    Rotate,
    /// The token is the previous one and its successor is unused: the answer was lost, or requests ran in parallel.
    /// Return the successor, which is derived from this nonce, again.
    Repeat(Nonce),
    /// The token is not accepted. Change nothing.
    Refuse,
    /// The token's successor was used, so a copy exists. End the session.
    End,
}

impl Decision {
    /// Returns whether the token is accepted.
    pub fn accepts(&self) -> bool {
        matches!(self, Self::Rotate | Self::Repeat(_))
    }
}

impl SessionState {
    /// Returns the time since the session was last refreshed, or opened.
    fn age(&self, now: Timestamp) -> Duration {
        Duration::from_secs(now.saturating_sub(self.refreshed_at))
    }

    /// Returns whether the session can still be refreshed.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        !self.is_ended && now < self.idle_until && now < self.absolute_until
    }

    /// Returns whether `client_id`, which repeats the exchange that opened the session, gets it again. Only within a
    /// minute, and only before the first refresh.
    pub fn opens_again(&self, client_id: &str, now: Timestamp) -> bool {
        self.client_id == client_id
            && self.generation == 0
            && self.age(now) <= RETRY_WINDOW
            && self.is_alive(now)
    }
}

/// Returns what `presented` does to `stored` at `now`.
///
/// `reuse_window` bounds how long a repeated token gets its successor again; by default nothing does.
pub fn decide(
    presented: &Presented,
    stored: &SessionState,
    now: Timestamp,
    reuse_window: Option<Duration>,
) -> Decision {
    // A wrong family or another client changes nothing, so that guessing cannot end a session.
    let is_theirs =
        stored.family.matches(&presented.family) && stored.client_id == presented.client_id;
    if !is_theirs || !stored.is_alive(now) {
        return Decision::Refuse;
    }
    if presented.generation == stored.generation {
        return if stored.current.matches(&presented.secret) {
            Decision::Rotate
        } else {
            Decision::Refuse
        };
    }
    // A later generation than the stored one: the table was restored from a backup.
    if presented.generation > stored.generation {
        return Decision::Refuse;
    }
    let is_previous = presented.generation + 1 == stored.generation
        && stored
            .previous
            .is_some_and(|previous| previous.matches(&presented.secret));
    let within_window = reuse_window.is_none_or(|window| stored.age(now) <= window);
    if is_previous && within_window {
        Decision::Repeat(stored.nonce)
    } else {
        Decision::End
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = 1_000;
    const NONCE: Nonce = Nonce([9; 32]);

    fn hash(byte: u8) -> SecretHash {
        SecretHash([byte; 32])
    }

    /// A session with two refreshes, in which the secret of generation n has the hash n.
    fn stored() -> SessionState {
        SessionState {
            client_id: "nextjs".to_owned(),
            family: hash(100),
            generation: 2,
            current: hash(2),
            previous: Some(hash(1)),
            nonce: NONCE,
            refreshed_at: NOW - 10,
            idle_until: NOW + 100,
            absolute_until: NOW + 200,
            is_ended: false,
        }
    }

    fn presented(generation: u32, secret: u8) -> Presented {
        Presented {
            client_id: "nextjs".to_owned(),
            family: hash(100),
            generation,
            secret: hash(secret),
        }
    }

    fn decided(generation: u32, secret: u8) -> Decision {
        decide(&presented(generation, secret), &stored(), NOW, None)
    }

    #[test]
    fn each_generation_has_its_decision() {
        assert_eq!(decided(2, 2), Decision::Rotate);
        assert_eq!(decided(1, 1), Decision::Repeat(NONCE));
        assert_eq!(decided(0, 0), Decision::End);
        assert_eq!(decided(3, 3), Decision::Refuse, "ahead of a restored table");
        assert_eq!(decided(2, 1), Decision::Refuse, "a secret that is made up");
    }

    #[test]
    fn t36_a_made_up_secret_of_the_generation_before_ends_the_session() {
        // The family is right, so the token is a copy with a changed secret.
        assert_eq!(decided(1, 5), Decision::End);
    }

    #[test]
    fn t40_a_session_is_over_at_its_absolute_end_although_it_is_not_idle() {
        let stored = SessionState {
            idle_until: NOW + 300,
            ..stored()
        };
        let at = |now| decide(&presented(2, 2), &stored, now, None);
        assert_eq!(at(NOW + 199), Decision::Rotate);
        assert_eq!(at(NOW + 200), Decision::Refuse);
    }

    #[test]
    fn t42_an_ended_session_is_not_refreshed() {
        let stored = SessionState {
            is_ended: true,
            ..stored()
        };
        for (generation, secret) in [(0, 0), (1, 1), (2, 2)] {
            let decision = decide(&presented(generation, secret), &stored, NOW, None);
            assert_eq!(decision, Decision::Refuse, "{generation}");
        }
    }

    #[test]
    fn a_session_opens_again_for_its_client_within_a_minute_and_before_it_is_used() {
        let opened = SessionState {
            generation: 0,
            ..stored()
        };
        assert!(opened.opens_again("nextjs", NOW));
        assert!(opened.opens_again("nextjs", NOW + 50));
        assert!(!opened.opens_again("nextjs", NOW + 51));
        assert!(!opened.opens_again("mobile", NOW));
        let is_ended = true;
        for other in [
            stored(),
            SessionState {
                is_ended,
                ..opened.clone()
            },
        ] {
            assert!(!other.opens_again("nextjs", NOW), "{other:?}");
        }
    }

    #[test]
    fn the_window_ends_on_its_last_second() {
        let within = |seconds| {
            let window = Duration::from_secs(seconds);
            decide(&presented(1, 1), &stored(), NOW, Some(window))
        };
        assert_eq!(within(10), Decision::Repeat(NONCE));
        assert_eq!(within(9), Decision::End);
    }

    #[test]
    fn a_session_is_over_from_the_very_second_on() {
        let at = |now| decide(&presented(2, 2), &stored(), now, None);
        assert_eq!(at(NOW + 99), Decision::Rotate);
        assert_eq!(at(NOW + 100), Decision::Refuse);
    }

    proptest! {
        // One case in fifty is one that the check of the family alone refuses.
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Without the family, from another client, or after the end, no token changes anything.
        #[test]
        fn nobody_ends_a_session_by_guessing(
            generation in 0..5_u32,
            secret in 0..5_u8,
            family in any::<bool>(),
            client in any::<bool>(),
            is_ended in any::<bool>(),
            later in 0..300_u64,
        ) {
            let mut presented = presented(generation, secret);
            if !family {
                presented.family = hash(101);
            }
            if !client {
                presented.client_id = "mobile".to_owned();
            }
            let stored = SessionState { is_ended, ..stored() };
            let decision = decide(&presented, &stored, NOW + later, None);
            if !family || !client || !stored.is_alive(NOW + later) {
                prop_assert_eq!(decision, Decision::Refuse);
            } else {
                prop_assert_eq!(decision == Decision::Refuse, generation > 2 || (generation == 2 && secret != 2));
            }
        }
    }
}
