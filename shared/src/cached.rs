//! A value that is read from elsewhere and kept in memory. A stale value is read again, and stays in use for a while if
//! that fails.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};

use crate::clock::{Clock, Timestamp};

/// The shortest time between two reads of a usable value, however many requests miss something in it.
const RELOAD_EVERY: Duration = Duration::from_secs(30);

/// A value of type `T` and the reads that renew it. The methods take a read as a future, and poll it only if a read is
/// due.
pub(crate) struct Cached<T> {
    /// The name of the value, for the log.
    name: String,
    clock: Clock,
    last: ArcSwapOption<Reading<T>>,
    /// The last read that was tried. A read holds the lock, so it is the only one.
    last_try: Mutex<Option<Try>>,
}

/// The time for which a value may be used after the start of its read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    /// The age at which the value is read again.
    pub(crate) fresh_for: Duration,
    /// The age up to which the value stays in use while it cannot be read again.
    pub(crate) usable_for: Duration,
}

/// A value as it was read at one time.
pub(crate) struct Reading<T> {
    value: T,
    at: Timestamp,
    lifetime: Lifetime,
}

/// A completed read. A read whose request was cancelled does not count, because it says nothing about the source.
struct Try {
    at: Timestamp,
    succeeded: bool,
}

/// The value was not read again, since that failed a moment ago. A newer value may exist.
#[derive(Clone, Copy, Debug, Error)]
#[error("the last read failed a moment ago")]
pub struct FailedRecently;

impl<T> Reading<T> {
    /// Returns whether the value is younger than `age`. A clock that went backwards makes it infinitely old.
    fn is_younger_than(&self, age: Duration, now: Timestamp) -> bool {
        is_within(age, self.at, now)
    }
}

impl<T> Deref for Reading<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

fn is_within(age: Duration, at: Timestamp, now: Timestamp) -> bool {
    let passed = now.checked_sub(at);
    passed.is_some_and(|passed| passed < age.as_secs())
}

impl<T> Cached<T> {
    pub(crate) fn new(name: impl Into<String>, clock: Clock) -> Self {
        Self {
            name: name.into(),
            clock,
            last: ArcSwapOption::empty(),
            last_try: Mutex::new(None),
        }
    }

    /// Returns the value that was read last, however old it is.
    pub(crate) fn last(&self) -> Option<Arc<Reading<T>>> {
        self.last.load_full()
    }

    /// Returns the value that was read last, if it is usable.
    pub(crate) fn usable(&self) -> Option<Arc<Reading<T>>> {
        let now = self.clock.now();
        self.last()
            .filter(|last| last.is_younger_than(last.lifetime.usable_for, now))
    }

    /// Returns a fresh value, or a usable one while another request reads it or where it cannot be read.
    pub(crate) async fn get<E: fmt::Display + From<FailedRecently>>(
        &self,
        read: impl Future<Output = Result<(T, Lifetime), E>>,
    ) -> Result<Arc<Reading<T>>, E> {
        let Some(last) = self.usable() else {
            return self.reload(read).await;
        };
        if last.is_younger_than(last.lifetime.fresh_for, self.clock.now()) {
            return Ok(last);
        }
        let Ok(last_try) = self.last_try.try_lock() else {
            return Ok(last);
        };
        let reloaded = self.read_unless_tried(last_try, RELOAD_EVERY, read).await;
        Ok(reloaded.unwrap_or_else(|error| self.stay_with(last, &error)))
    }

    /// Returns a value younger than `age`, or a usable one where it cannot be read. While another request reads it,
    /// this waits.
    pub(crate) async fn get_younger_than<E: fmt::Display + From<FailedRecently>>(
        &self,
        age: Duration,
        read: impl Future<Output = Result<(T, Lifetime), E>>,
    ) -> Result<Arc<Reading<T>>, E> {
        let last = self.usable();
        if let Some(last) = &last
            && last.is_younger_than(age, self.clock.now())
        {
            return Ok(last.clone());
        }
        let last_try = self.last_try.lock().await;
        match (self.read_unless_tried(last_try, age, read).await, last) {
            (Err(error), Some(last)) => Ok(self.stay_with(last, &error)),
            (reloaded, _) => reloaded,
        }
    }

    /// Reads the value again, for a request that misses something in it, unless that was tried in the last 30 seconds.
    ///
    /// # Errors
    /// The read failed, or it failed a moment ago: whether the source has what is missing is not known.
    pub(crate) async fn reload<E: From<FailedRecently>>(
        &self,
        read: impl Future<Output = Result<(T, Lifetime), E>>,
    ) -> Result<Arc<Reading<T>>, E> {
        let last_try = self.last_try.lock().await;
        self.read_unless_tried(last_try, RELOAD_EVERY, read).await
    }

    async fn read_unless_tried<E: From<FailedRecently>>(
        &self,
        mut last_try: MutexGuard<'_, Option<Try>>,
        within: Duration,
        read: impl Future<Output = Result<(T, Lifetime), E>>,
    ) -> Result<Arc<Reading<T>>, E> {
        let now = self.clock.now();
        // Without a usable value each request reads: a failure is not cached.
        if let Some(usable) = self.usable()
            && let Some(last) = last_try.as_ref()
            && is_within(within, last.at, now)
        {
            return if last.succeeded {
                Ok(usable)
            } else {
                Err(FailedRecently.into())
            };
        }
        let outcome = read.await;
        *last_try = Some(Try {
            at: now,
            succeeded: outcome.is_ok(),
        });
        let (value, lifetime) = outcome?;
        let reading = Arc::new(Reading {
            value,
            at: now,
            lifetime,
        });
        self.last.store(Some(reading.clone()));
        Ok(reading)
    }

    fn stay_with(&self, last: Arc<Reading<T>>, error: &impl fmt::Display) -> Arc<Reading<T>> {
        tracing::warn!(cached = self.name, error.cause = %error, "not read again; the last usable value stays in use");
        last
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

    use tokio::sync::Notify;

    use super::*;

    const LIFETIME: Lifetime = Lifetime {
        fresh_for: Duration::from_secs(300),
        usable_for: Duration::from_secs(1000),
    };

    #[derive(Debug, PartialEq, Error)]
    enum SourceError {
        #[error("down")]
        Down,
        #[error("not asked")]
        NotAsked,
    }

    impl From<FailedRecently> for SourceError {
        fn from(_: FailedRecently) -> Self {
            Self::NotAsked
        }
    }

    /// A source that counts its reads, and the clock. The value is the number of the read.
    #[derive(Default)]
    struct Source {
        now: AtomicU64,
        reads: AtomicU64,
        is_down: AtomicBool,
    }

    impl Source {
        fn cached() -> (Arc<Self>, Arc<Cached<u64>>) {
            let source = Arc::new(Self::default());
            source.now.store(1_000_000, SeqCst);
            let clock = source.clone();
            let clock = Clock::new(move || clock.now.load(SeqCst));
            (source, Arc::new(Cached::new("numbers", clock)))
        }

        fn pass(&self, seconds: u64) {
            self.now.fetch_add(seconds, SeqCst);
        }

        async fn read(&self) -> Result<(u64, Lifetime), SourceError> {
            let nth = self.reads.fetch_add(1, SeqCst) + 1;
            if self.is_down.load(SeqCst) {
                return Err(SourceError::Down);
            }
            Ok((nth, LIFETIME))
        }

        async fn get(&self, cached: &Cached<u64>) -> Result<u64, SourceError> {
            cached.get(self.read()).await.map(|value| **value)
        }

        async fn reload(&self, cached: &Cached<u64>) -> Result<u64, SourceError> {
            cached.reload(self.read()).await.map(|value| **value)
        }

        async fn young(&self, cached: &Cached<u64>) -> Result<u64, SourceError> {
            let young = cached.get_younger_than(Duration::from_secs(20), self.read());
            young.await.map(|value| **value)
        }
    }

    #[tokio::test]
    async fn a_value_is_read_again_when_it_is_no_longer_fresh() {
        let (source, cached) = Source::cached();
        assert_eq!(source.get(&cached).await, Ok(1));
        source.pass(299);
        assert_eq!(source.get(&cached).await, Ok(1));
        source.pass(1);
        assert_eq!(source.get(&cached).await, Ok(2));
        source.pass(19);
        assert_eq!(source.young(&cached).await, Ok(2));
        source.pass(1);
        assert_eq!(source.young(&cached).await, Ok(3));
    }

    #[tokio::test]
    async fn a_value_that_cannot_be_read_again_stays_in_use_until_it_is_too_old() {
        let (source, cached) = Source::cached();
        source.get(&cached).await.unwrap();
        source.is_down.store(true, SeqCst);
        source.pass(999);
        assert_eq!(source.get(&cached).await, Ok(1));
        assert_eq!(source.young(&cached).await, Ok(1));
        assert_eq!(
            source.reads.load(SeqCst),
            2,
            "it is not asked again at once"
        );
        source.pass(1);
        assert_eq!(source.get(&cached).await, Err(SourceError::Down));
        assert_eq!(source.young(&cached).await, Err(SourceError::Down));
        assert!(cached.usable().is_none());
    }

    #[tokio::test]
    async fn without_a_usable_value_each_request_reads() {
        let (source, cached) = Source::cached();
        source.is_down.store(true, SeqCst);
        for _ in 0..3 {
            assert_eq!(source.get(&cached).await, Err(SourceError::Down));
        }
        source.is_down.store(false, SeqCst);
        assert_eq!(source.get(&cached).await, Ok(4));
    }

    #[tokio::test]
    async fn t50_something_missing_makes_one_read_in_30_seconds() {
        let (source, cached) = Source::cached();
        source.get(&cached).await.unwrap();
        source.pass(29);
        assert_eq!(source.reload(&cached).await, Ok(1));
        source.pass(1);
        assert_eq!(source.reload(&cached).await, Ok(2));
        assert_eq!(source.reload(&cached).await, Ok(2));
        source.pass(30);
        let reloads = (0..10).map(|_| source.reload(&cached));
        for reloaded in futures_util::future::join_all(reloads).await {
            assert_eq!(reloaded, Ok(3), "at the same time");
        }
    }

    #[tokio::test]
    async fn t85_what_is_missing_is_unknown_while_the_last_read_failed() {
        let (source, cached) = Source::cached();
        source.get(&cached).await.unwrap();
        source.pass(30);
        source.is_down.store(true, SeqCst);
        assert_eq!(source.reload(&cached).await, Err(SourceError::Down));
        source.is_down.store(false, SeqCst);
        source.pass(29);
        assert_eq!(source.reload(&cached).await, Err(SourceError::NotAsked));
        assert_eq!(source.get(&cached).await, Ok(1), "the value itself serves");
        source.pass(1);
        assert_eq!(source.reload(&cached).await, Ok(3));
    }

    /// The value is younger than 30 seconds, and the read that failed is younger still.
    #[tokio::test]
    async fn t85_what_is_missing_is_unknown_although_the_value_is_young() {
        let (source, cached) = Source::cached();
        source.get(&cached).await.unwrap();
        source.is_down.store(true, SeqCst);
        source.pass(20);
        assert_eq!(source.young(&cached).await, Ok(1));
        assert_eq!(source.reads.load(SeqCst), 2);

        assert_eq!(source.reload(&cached).await, Err(SourceError::NotAsked));
    }

    #[tokio::test]
    async fn t82_a_clock_that_goes_backwards_makes_the_value_too_old() {
        let (source, cached) = Source::cached();
        source.get(&cached).await.unwrap();
        source.now.fetch_sub(1, SeqCst);
        assert!(cached.usable().is_none());
        assert_eq!(source.get(&cached).await, Ok(2));
        source.now.fetch_sub(1, SeqCst);
        assert_eq!(source.reload(&cached).await, Ok(3));
        source.now.fetch_sub(1, SeqCst);
        assert_eq!(source.young(&cached).await, Ok(4));
    }

    #[tokio::test]
    async fn while_one_request_reads_the_others_go_on_or_wait_as_they_ask() {
        let (source, cached) = Source::cached();
        source.get(&cached).await.unwrap();
        source.pass(300);
        let answer = Arc::new(Notify::new());
        let slow = {
            let (source, cached, answer) = (source.clone(), cached.clone(), answer.clone());
            tokio::spawn(async move {
                let read = async {
                    answer.notified().await;
                    source.read().await
                };
                cached.get(read).await.map(|value| **value)
            })
        };
        tokio::task::yield_now().await;

        assert_eq!(source.get(&cached).await, Ok(1), "the value before");
        let waiting = {
            let (source, cached) = (source.clone(), cached.clone());
            tokio::spawn(async move { source.young(&cached).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        answer.notify_one();
        assert_eq!(slow.await.unwrap(), Ok(2));
        assert_eq!(waiting.await.unwrap(), Ok(2));
        assert_eq!(source.reads.load(SeqCst), 2);
    }

    #[tokio::test]
    async fn a_read_that_is_cancelled_is_tried_again_by_the_next_request() {
        let (source, cached) = Source::cached();
        source.get(&cached).await.unwrap();
        source.pass(30);
        let cancelled = cached.reload::<SourceError>(std::future::pending());
        assert!(futures_util::FutureExt::now_or_never(cancelled).is_none());

        assert_eq!(source.reload(&cached).await, Ok(2));
    }
}
