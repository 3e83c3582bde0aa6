//! A circuit breaker for providers: while a provider is down, sign-ins fail at once instead of after a timeout.

use std::time::Duration;

use crate::clock::Timestamp;

/// The number of failures in a row that open it.
const FAILURES: u32 = 5;
/// The number of slow failures in a row that open it.
const SLOW_FAILURES: u32 = 2;
/// The duration from which a failure counts as slow: half of the time limit of one request.
const SLOW: Duration = Duration::from_secs(1);
const OPEN_FOR: Duration = Duration::from_secs(10);

/// A circuit breaker. Five failures in a row, or two slow ones, open it for ten seconds; then one call may probe.
///
/// It counts failures in a row instead of a rate, because a Lambda instance handles one request at a time, and
/// possibly one a minute.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    slow_failures: u32,
    open_until: Option<Timestamp>,
}

impl Breaker {
    /// Returns whether a call may be made now, or the time to wait.
    pub(super) fn admit(&mut self, now: Timestamp) -> Result<(), Duration> {
        match self.open_until {
            // A clock that went backwards must not keep it open for longer than ten seconds.
            Some(until) if now < until && until - now <= OPEN_FOR.as_secs() => {
                Err(Duration::from_secs(until - now))
            }
            Some(_) => {
                // This call is the probe; all others wait for its result.
                self.open_until = Some(now + OPEN_FOR.as_secs());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Records an answer of the provider.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Records a failure of the provider, with its duration.
    pub(super) fn failed(&mut self, now: Timestamp, took: Duration) {
        self.failures = self.failures.saturating_add(1);
        if took >= SLOW {
            self.slow_failures = self.slow_failures.saturating_add(1);
        }
        let is_down = self.failures >= FAILURES || self.slow_failures >= SLOW_FAILURES;
        if is_down || self.open_until.is_some() {
            self.open_until = Some(now + OPEN_FOR.as_secs());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT_ONCE: Duration = Duration::from_millis(5);

    fn open_at(now: Timestamp) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.failed(now, AT_ONCE);
        }
        breaker
    }

    #[test]
    fn t53_five_failures_in_a_row_open_it_however_far_apart_they_are() {
        for apart in [0, 1, 3600] {
            let mut breaker = Breaker::default();
            let mut now = 100;
            for _ in 0..4 {
                breaker.failed(now, AT_ONCE);
                assert!(breaker.admit(now).is_ok());
                now += apart;
            }
            breaker.failed(now, AT_ONCE);
            assert_eq!(breaker.admit(now), Err(Duration::from_secs(10)));
            assert_eq!(breaker.admit(now + 9), Err(Duration::from_secs(1)));
        }
    }

    #[test]
    fn t53_two_slow_failures_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        breaker.failed(100, SLOW);
        assert!(breaker.admit(100).is_ok());
        breaker.failed(102, SLOW);
        assert_eq!(breaker.admit(102), Err(Duration::from_secs(10)));
    }

    #[test]
    fn failures_with_an_answer_in_between_do_not_open_it() {
        let mut breaker = Breaker::default();
        for _ in 0..20 {
            for _ in 0..4 {
                breaker.failed(100, AT_ONCE);
            }
            breaker.succeeded();
            breaker.failed(100, SLOW);
            breaker.succeeded();
            assert!(breaker.admit(100).is_ok());
        }
    }

    #[test]
    fn t53_then_one_call_probes_and_the_others_wait() {
        let mut breaker = open_at(100);
        assert!(breaker.admit(110).is_ok());
        assert!(breaker.admit(110).is_err());

        breaker.failed(111, AT_ONCE);
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
            calls in proptest::collection::vec((any::<bool>(), 0u64..5, 0u64..3), 0..100),
        ) {
            let mut breaker = Breaker::default();
            let mut now = 1_000;
            for (success, elapsed, took) in calls {
                now += elapsed;
                if breaker.admit(now).is_ok() {
                    if success { breaker.succeeded() } else { breaker.failed(now, Duration::from_secs(took)) }
                }
            }
            prop_assert!(breaker.admit(now + OPEN_FOR.as_secs()).is_ok());
        }
    }
}
