//! Stops asking a provider that is down, so that each sign-in fails at once instead of after every timeout.

use std::{collections::VecDeque, time::Duration};

use crate::clock::Timestamp;

const FAILURES: usize = 5;
const WINDOW: u64 = 10;
const OPEN_FOR: u64 = 10;

/// A circuit breaker: five failures within ten seconds open it for ten seconds; then one call may probe.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: VecDeque<Timestamp>,
    open_until: Option<Timestamp>,
}

impl Breaker {
    /// Whether a call may be made now; otherwise how long not.
    pub(super) fn admit(&mut self, now: Timestamp) -> Result<(), Duration> {
        match self.open_until {
            // A clock that went backwards must not keep it open for longer than it would ever have been.
            Some(until) if now < until && until - now <= OPEN_FOR => {
                Err(Duration::from_secs(until - now))
            }
            Some(_) => {
                // This call is the probe; everybody else waits for what becomes of it.
                self.open_until = Some(now + OPEN_FOR);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The provider answered.
    pub(super) fn succeeded(&mut self) {
        self.failures.clear();
        self.open_until = None;
    }

    /// The provider did not answer, or not as it should.
    pub(super) fn failed(&mut self, now: Timestamp) {
        self.failures
            .retain(|at| now.checked_sub(*at).is_some_and(|age| age < WINDOW));
        self.failures.push_back(now);
        if self.failures.len() >= FAILURES || self.open_until.is_some() {
            self.open_until = Some(now + OPEN_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open_at(now: Timestamp) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn t53_five_failures_within_ten_seconds_open_it() {
        let mut breaker = Breaker::default();
        for second in 0..4 {
            breaker.failed(100 + second);
            assert!(breaker.admit(100 + second).is_ok());
        }
        breaker.failed(104);
        assert_eq!(breaker.admit(104), Err(Duration::from_secs(10)));
        assert_eq!(breaker.admit(113), Err(Duration::from_secs(1)));
    }

    #[test]
    fn failures_far_apart_do_not_open_it() {
        let mut breaker = Breaker::default();
        for nth in 0..20 {
            breaker.failed(100 + 3 * nth);
            assert!(breaker.admit(100 + 3 * nth).is_ok());
        }
    }

    #[test]
    fn t53_then_one_call_probes_and_the_others_wait() {
        let mut breaker = open_at(100);
        assert!(breaker.admit(110).is_ok());
        assert!(breaker.admit(110).is_err());

        breaker.failed(111);
        assert!(breaker.admit(120).is_err(), "the probe failed");
        assert!(breaker.admit(121).is_ok());
        breaker.succeeded();
        assert!(breaker.admit(121).is_ok(), "the probe succeeded");
        assert!(breaker.admit(121).is_ok());
    }

    #[test]
    fn a_clock_that_goes_backwards_does_not_keep_it_open() {
        let mut breaker = open_at(1_000_000);
        assert!(breaker.admit(100).is_ok());
    }

    proptest! {
        #[test]
        fn it_never_stays_shut_for_longer_than_ten_seconds(
            calls in proptest::collection::vec((any::<bool>(), 0u64..5), 0..100),
        ) {
            let mut breaker = Breaker::default();
            let mut now = 1_000;
            for (success, elapsed) in calls {
                now += elapsed;
                if breaker.admit(now).is_ok() {
                    if success { breaker.succeeded() } else { breaker.failed(now) }
                }
            }
            prop_assert!(breaker.admit(now + OPEN_FOR).is_ok());
        }
    }
}
