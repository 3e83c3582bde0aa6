//! What a presented refresh token does to its session, and what a repeated exchange: pure, so that a model checker can walk
//! through all of it (`tests/session_model.rs`).
//!
//! The store rotates by one conditional write, whose condition is that of [`Decision::Rotate`] in DynamoDB's words, and the
//! client's [`super::Terms`]. Where it fails, [`decide`] says why from the item that was there.

use std::time::Duration;

use super::refresh_token::{Nonce, SecretHash};
use crate::clock::Timestamp;

/// How long a client that lost the answer may repeat an exchange.
const RETRY_WINDOW: Duration = Duration::from_secs(60);

/// What the table holds of a session, as far as refreshing goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionState {
    /// Who may refresh it.
    pub client_id: String,
    /// Of the secret that all its tokens share.
    pub family: SecretHash,
    /// How often it was refreshed.
    pub generation: u32,
    /// Of the secret of the current generation.
    pub current: SecretHash,
    /// Of the secret of the generation before.
    pub previous: Option<SecretHash>,
    /// What the current secret followed from.
    pub nonce: Nonce,
    /// When it was last refreshed, or opened.
    pub refreshed_at: Timestamp,
    /// It is over from this time on, unless it is refreshed before.
    pub idle_until: Timestamp,
    /// It is over from this time on, whatever happens.
    pub absolute_until: Timestamp,
    /// Whether somebody ended it.
    pub is_ended: bool,
}

/// What a client presents, as the table would know it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Presented {
    /// The authenticated client.
    pub client_id: String,
    /// Of the family in the token.
    pub family: SecretHash,
    /// The generation in the token.
    pub generation: u32,
    /// Of the secret in the token.
    pub secret: SecretHash,
}

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The token is the current one: the next generation begins.
    Rotate,
    /// The token is the one before, and its successor has not been used: its answer was lost, or requests raced. The
    /// successor, which follows from this nonce, is answered again.
    Repeat(Nonce),
    /// The token is not accepted, and nothing changes.
    Refuse,
    /// The token's successor was used: somebody has a copy. The session ends.
    End,
}

impl Decision {
    /// Returns whether the token is good.
    pub fn accepts(&self) -> bool {
        matches!(self, Self::Rotate | Self::Repeat(_))
    }
}

impl SessionState {
    /// Returns the time since the session was last refreshed, or opened.
    fn age(&self, now: Timestamp) -> Duration {
        Duration::from_secs(now.saturating_sub(self.refreshed_at))
    }

    /// Whether the session can still be refreshed by anybody.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        !self.is_ended && now < self.idle_until && now < self.absolute_until
    }

    /// Whether `client_id`, which repeats the exchange that opened the session, gets it again: its answer was lost. Later, or
    /// once the session was refreshed, nobody does.
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
    // Whoever does not know the family, or is another client, changes nothing: nobody ends a session by guessing.
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
    // Ahead of what is stored: the table was restored from a backup.
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

    /// Refreshed twice; the secret of generation n has the hash n.
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
        // The family is right: the token was copied, and its secret was changed.
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
        /// Whoever lacks the family, is another client, or comes too late changes nothing, whatever else they present.
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
