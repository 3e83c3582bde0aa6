//! Limits of the requests that an authenticated client, and each of its users, makes at `POST /token`.
//!
//! A client has a number of requests for each minute, over all instances of the function. An instance takes a share of
//! them by one write to the counter of the client and the minute, and admits as many requests without a further write.
//! The first share of a minute is one request, and each further one is twice as large, so that an instance never holds
//! more requests than it has used. Once the counter has reached the limit, the instance refuses without a write until
//! the minute is over.
//!
//! The requests of a user are counted in the memory of each instance. A Lambda instance handles one request at a time,
//! so that a user who repeats requests without end gets a bounded part of the time of each instance, and costs no
//! write.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use super::Client;
use crate::{
    clock::{Clock, Timestamp},
    config::{self, ConfigError, Environment, RateLimits},
    dynamodb::{self, StoreError, Table, table::limit_key},
    http::ApiError,
};

/// The number of seconds for which a limit holds.
const MINUTE: u64 = 60;
/// The largest share, and the part of the limit that is the largest share of a small one.
const LARGEST_SHARE: u64 = 64;
const PART_OF_LIMIT: u64 = 16;
/// The time limit of the write that takes a share.
const SHARE_TIMEOUT: Duration = Duration::from_millis(500);
/// The time for which a counter stays after its minute, so that a late clock finds it.
const COUNTER_LIVES: u64 = 60 * 60;
/// The largest number of users that an instance counts within a minute. Further ones have no limit.
const MAX_COUNTED_USERS: usize = 10_000;

/// The limits of authenticated clients and of their users.
#[derive(Clone, Debug)]
pub struct Limits {
    limits: RateLimits,
    table: Table,
    clock: Clock,
    minute: Arc<Mutex<Minute>>,
}

/// The counts of an instance within one minute.
#[derive(Debug, Default)]
struct Minute {
    number: u64,
    shares: HashMap<String, Share>,
    users: HashMap<u64, u64>,
    hasher: RandomState,
}

/// The share of an instance in the requests of a client.
#[derive(Debug, Default)]
struct Share {
    left: u64,
    last: u64,
    is_last: bool,
}

/// The next step for a request.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Admit,
    Refuse,
    /// Ask the counter for a share of this many requests, this request included.
    Ask(u64),
}

impl Share {
    fn step(&mut self, limit: NonZeroU64) -> Step {
        if self.use_one() {
            return Step::Admit;
        }
        if self.is_last {
            return Step::Refuse;
        }
        let largest = (limit.get() / PART_OF_LIMIT).clamp(1, LARGEST_SHARE);
        self.last = (self.last * 2).clamp(1, largest);
        Step::Ask(self.last)
    }

    /// Records the outcome of [`Step::Ask`], and returns whether the request that asked is admitted: by this share, or
    /// by the rest of one that a parallel request got.
    fn got(&mut self, asked: u64, granted: u64) -> bool {
        self.is_last |= granted < asked;
        self.left += granted;
        self.use_one()
    }

    fn use_one(&mut self) -> bool {
        let has_one = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_one
    }
}

impl Minute {
    /// Begins anew if the minute is another one, an earlier one included: a clock may go backwards.
    fn turn_to(&mut self, number: u64) {
        if self.number != number {
            *self = Self {
                number,
                ..Self::default()
            };
        }
    }

    fn share(&mut self, client_id: &str) -> &mut Share {
        self.shares.entry(client_id.to_owned()).or_default()
    }

    /// Returns a number for the user, which depends on random keys, so that no client can choose users whose
    /// numbers are the same.
    fn user(&self, client_id: &str, subject: &str) -> u64 {
        self.hasher.hash_one((client_id, subject))
    }

    fn count_user(&mut self, user: u64) {
        let has_room = self.users.len() < MAX_COUNTED_USERS;
        if has_room || self.users.contains_key(&user) {
            *self.users.entry(user).or_default() += 1;
        }
    }
}

impl Limits {
    /// Reads `CLIENT_RATE_LIMIT`, `USER_RATE_LIMIT`, and `TABLE_NAME`, the table of the counters.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(
        env: &Environment,
        client: &dynamodb::Client,
        clock: &Clock,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            limits: RateLimits::from_env(env)?,
            table: Table::new(client.clone(), config::table_name(env)?),
            clock: clock.clone(),
            minute: Arc::default(),
        })
    }

    /// Counts a request of `client`. While the table cannot be used, each request is admitted: the limit protects the
    /// other clients, and an outage of the counter must not refuse them.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`].
    pub async fn admit(&self, client: &Client<'_>) -> Result<(), ApiError> {
        let Some(limit) = self.limits.client else {
            return Ok(());
        };
        let now = self.clock.now();
        let step = self.minute().share(client.id()).step(limit);
        let is_admitted = match step {
            Step::Admit => true,
            Step::Refuse => false,
            Step::Ask(asked) => {
                let granted = self.take(client.id(), now, asked, limit).await;
                let mut minute = self.minute();
                if minute.number == now / MINUTE {
                    minute.share(client.id()).got(asked, granted)
                } else {
                    // The rest of a share is worth nothing after its minute.
                    granted > 0
                }
            }
        };
        if is_admitted {
            return Ok(());
        }
        Err(too_many("this client (CLIENT_RATE_LIMIT)", now))
    }

    /// Takes a share of the requests of this minute, and returns its size.
    async fn take(&self, client_id: &str, now: Timestamp, asked: u64, limit: NonZeroU64) -> u64 {
        let minute = now / MINUTE;
        let expires_at = (minute + 1) * MINUTE + COUNTER_LIVES;
        let counted = self
            .table
            .add(limit_key(client_id, minute), asked, expires_at);
        let sum = match timeout(SHARE_TIMEOUT, counted).await {
            Ok(sum) => sum,
            Err(_) => Err(StoreError::Unavailable(
                "it did not answer in time".to_owned(),
            )),
        };
        match sum {
            Ok(sum) => {
                let before = sum.saturating_sub(asked);
                limit.get().saturating_sub(before).min(asked)
            }
            Err(error) => {
                tracing::warn!(event = "client.not_counted", client_id, error.cause = %error);
                asked
            }
        }
    }

    /// Checks that the user `subject` of `client` may make a request.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`].
    pub fn check_user(&self, client: &Client<'_>, subject: &str) -> Result<(), ApiError> {
        let Some(limit) = self.limits.user else {
            return Ok(());
        };
        let minute = self.minute();
        let user = minute.user(client.id(), subject);
        let count = minute.users.get(&user).copied().unwrap_or_default();
        if count < limit.get() {
            return Ok(());
        }
        Err(too_many("this user (USER_RATE_LIMIT)", self.clock.now()))
    }

    /// Counts a request of the user `subject` of `client`. Call it for a proven user only: otherwise a client that
    /// names a user could use up the requests of that user.
    pub fn count_user(&self, client: &Client<'_>, subject: &str) {
        if self.limits.user.is_some() {
            let mut minute = self.minute();
            let user = minute.user(client.id(), subject);
            minute.count_user(user);
        }
    }

    /// Returns the counts of the present minute.
    fn minute(&self) -> MutexGuard<'_, Minute> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        minute.turn_to(self.clock.now() / MINUTE);
        minute
    }
}

/// The refusal at `now`, until the end of its minute.
fn too_many(of: &'static str, now: Timestamp) -> ApiError {
    let retry_after = Duration::from_secs(MINUTE - now % MINUTE);
    ApiError::TooManyRequests { of, retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: NonZeroU64 = NonZeroU64::new(1_000).unwrap();

    /// Makes requests until one is refused, of instances that share the counter in turn. Returns the admitted requests
    /// and the writes.
    fn all_admitted(limit: NonZeroU64, instances: usize) -> (u64, u64) {
        let mut shares: Vec<Share> = (0..instances).map(|_| Share::default()).collect();
        let (mut sum, mut admitted, mut writes) = (0, 0, 0);
        while shares.iter().any(|share| !share.is_last || share.left > 0) {
            for share in &mut shares {
                admitted += match share.step(limit) {
                    Step::Admit => 1,
                    Step::Refuse => 0,
                    Step::Ask(asked) => {
                        let granted = limit.get().saturating_sub(sum).min(asked);
                        sum += asked;
                        writes += 1;
                        u64::from(share.got(asked, granted))
                    }
                };
            }
        }
        (admitted, writes)
    }

    #[test]
    fn t162_the_shares_of_all_instances_are_the_limit_together() {
        for limit in [1, 2, 15, 16, 17, 1_000] {
            let limit = NonZeroU64::new(limit).unwrap();
            for instances in [1, 2, 50] {
                let (admitted, _) = all_admitted(limit, instances);
                assert_eq!(admitted, limit.get(), "{instances} instances");
            }
        }
    }

    #[test]
    fn t165_an_instance_asks_ever_more_seldom_and_holds_no_more_than_it_used() {
        let mut share = Share::default();
        let (mut used, mut asks) = (0, Vec::new());
        for _ in 0..200 {
            if let Step::Ask(asked) = share.step(LIMIT) {
                assert!(asked <= used + 1, "{asked} after {used}");
                asks.push(asked);
                assert!(share.got(asked, asked));
            }
            used += 1;
        }
        assert_eq!(asks, [1, 2, 4, 8, 16, 32, 62, 62, 62]);
        assert_eq!(all_admitted(LIMIT, 1).1, 22);
    }

    #[test]
    fn t162_of_parallel_requests_that_ask_one_may_use_the_share_of_another() {
        let mut share = Share::default();
        let asked: Vec<Step> = (0..4).map(|_| share.step(LIMIT)).collect();
        assert_eq!(asked, [1, 2, 4, 8].map(Step::Ask));

        assert!(share.got(1, 1));
        assert!(share.got(2, 2));
        assert!(share.got(4, 0), "by the second request of the share before");
        assert!(!share.got(8, 0));
        assert_eq!(share.step(LIMIT), Step::Refuse);
    }

    #[test]
    fn t165_another_minute_begins_anew_in_both_directions() {
        let mut minute = Minute::default();
        for number in [7, 8, 7, u64::MAX, 0] {
            minute.turn_to(number);
            assert!(minute.shares.is_empty() && minute.users.is_empty());
            minute.share("shop").left = 5;
            minute.count_user(1);
            minute.turn_to(number);
            assert_eq!((minute.shares["shop"].left, minute.users[&1]), (5, 1));
        }
    }

    #[test]
    fn t164_an_instance_counts_a_bounded_number_of_users() {
        let mut minute = Minute::default();
        for user in 0..MAX_COUNTED_USERS as u64 + 1 {
            minute.count_user(user);
        }
        minute.count_user(0);
        assert_eq!(minute.users.len(), MAX_COUNTED_USERS);
        assert_eq!(minute.users[&0], 2);
    }

    #[test]
    fn t164_a_user_of_one_client_is_not_one_of_another() {
        let minute = Minute::default();
        let counted = minute.user("shop", "1");
        assert_eq!(minute.user("shop", "1"), counted);
        assert_ne!(minute.user("shop1", ""), counted);
        assert_ne!(minute.user("mobile", "1"), counted);
    }

    #[test]
    fn a_refusal_lasts_until_the_end_of_the_minute() {
        for (now, wait) in [(0, 60), (59, 1), (60, 60), (61, 59)] {
            let error = too_many("this client", now);
            let ApiError::TooManyRequests { retry_after, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(retry_after.as_secs(), wait);
        }
    }
}
