//! Transient failures that the SDK does not retry itself, and writes that lose a race.

use std::time::Duration;

use aws_lc_rs::rand;
use aws_sdk_dynamodb::{
    config::{
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction},
    },
    error::{ProvideErrorMetadata, SdkError},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::StoreError;
use crate::deadline::deadline;

/// The longest wait before the second attempt, and before any attempt. A hundred requests that wait up to the latter
/// leave room for a transaction each, within about two seconds.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// The time that the last attempt may take: an attempt that begins later could be cut off.
const LAST_ATTEMPT: Duration = super::TRY_TIMEOUT;
/// The time for all attempts where there is no deadline, as in the operator's command.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(8);

/// The attempts of a write that parallel writes are in the way of.
///
/// Before each further attempt comes a random wait ("full jitter"), of which the longest possible one doubles each
/// time. So requests that met once spread out, and as many as come within a request's time get their turn.
#[derive(Debug)]
pub(crate) struct Attempts {
    contested: &'static str,
    longest_wait: Duration,
    until: Option<Instant>,
}

impl Attempts {
    /// The attempts of a write of `contested`, such as `the user`, of which the caller makes the first at once.
    pub(crate) fn at(contested: &'static str) -> Self {
        Self {
            contested,
            longest_wait: FIRST_WAIT,
            until: None,
        }
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the request has no time for another attempt, or [`StoreError::NoRandomness`].
    pub(crate) async fn again(&mut self) -> Result<(), StoreError> {
        let mut random = [0; 2];
        rand::fill(&mut random)?;
        let wait = part_of(self.longest_wait, random);
        self.longest_wait = (self.longest_wait * 2).min(LONGEST_WAIT);
        let now = Instant::now();
        let until = *self.until.get_or_insert_with(|| {
            deadline().unwrap_or_else(|| now + WITHOUT_DEADLINE) - LAST_ATTEMPT
        });
        let next = now + wait;
        if next > until {
            return Err(StoreError::Conflict(self.contested));
        }
        sleep_until(next).await;
        Ok(())
    }
}

/// Returns the part of `longest` that `random` stands for, from nothing to almost all.
fn part_of(longest: Duration, random: [u8; 2]) -> Duration {
    longest * u32::from(u16::from_le_bytes(random)) / (1 << 16)
}

/// Sends a plain write until it meets no transaction in progress.
///
/// # Errors
/// As [`Attempts::again`].
pub(super) async fn past_transactions<T, E, R, F>(
    send: impl Fn() -> F,
) -> Result<Result<T, SdkError<E, R>>, StoreError>
where
    F: Future<Output = Result<T, SdkError<E, R>>>,
    E: ProvideErrorMetadata,
{
    let mut attempts = Attempts::at("the item");
    loop {
        // The SDK's future takes kilobytes, which each future around it would contain.
        match Box::pin(send()).await {
            Err(error) if error.code() == Some(MET_TRANSACTION) => attempts.again().await?,
            answer => return Ok(answer),
        }
    }
}

/// The error of a plain write that meets a transaction in progress.
const MET_TRANSACTION: &str = "TransactionConflictException";

/// Retries failures that the SDK treats as final: an incomplete answer, a throttled partition of a transaction, and a
/// plain write that met a transaction.
///
/// Every write of Cambio can be repeated: a transaction has an idempotency token, other writes set values. A
/// transaction that met another one is not sent again as it is: its caller reads first what the other one wrote
/// ([`Attempts`]).
#[derive(Debug)]
pub(super) struct RetryWhatPasses;

/// An error of DynamoDB (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>).
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(rename = "CancellationReasons", default)]
    reasons: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "Code")]
    code: String,
}

impl ClassifyRetry for RetryWhatPasses {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let failed = matches!(context.output_or_error(), Some(Err(_)));
        let Some(response) = context.response().filter(|_| failed) else {
            return RetryAction::NoActionIndicated;
        };
        // A success status in an error means that the body could not be read.
        let garbled = response.status().is_success();
        if garbled || passes(response.body().bytes().unwrap_or_default()) {
            RetryAction::transient_error()
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "transient failures"
    }
}

fn passes(body: &[u8]) -> bool {
    let Ok(error) = serde_json::from_slice::<ErrorBody>(body) else {
        return false;
    };
    let passing = |reason: &Reason| {
        matches!(
            reason.code.as_str(),
            "ThrottlingError" | "ProvisionedThroughputExceeded"
        )
    };
    match error.kind.rsplit('#').next() {
        Some(MET_TRANSACTION) => true,
        Some("TransactionCanceledException") => {
            let reasons = error.reasons.iter();
            let mut real = reasons.filter(|reason| reason.code != "None").peekable();
            // A failed condition is a definite answer, whatever else failed.
            real.peek().is_some() && real.all(passing)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeSet, future::ready};

    use aws_sdk_dynamodb::{error::ErrorMetadata, operation::put_item::PutItemError};

    use super::*;
    use crate::deadline::within;

    /// Makes attempts until there is no time for another one. Returns the times from one to the next.
    async fn all_attempts() -> Vec<Duration> {
        let mut attempts = Attempts::at("the user");
        let mut waits = Vec::new();
        loop {
            let before = Instant::now();
            match attempts.again().await {
                Ok(()) => waits.push(before.elapsed()),
                Err(error) => {
                    assert!(matches!(error, StoreError::Conflict("the user")), "{error}");
                    return waits;
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn t105_attempts_spread_and_end_in_time_for_the_last_one() {
        // Tokio's timer is good to a millisecond.
        let tick = Duration::from_millis(1);
        for limit in [8, 3] {
            let limit = Duration::from_secs(limit);
            let start = Instant::now();

            let waits = within(limit, all_attempts()).await.unwrap();

            let took = start.elapsed();
            let last = limit - LAST_ATTEMPT;
            assert!(
                took > last - LONGEST_WAIT - tick && took <= last + tick,
                "{took:?}"
            );
            let mut longest = FIRST_WAIT;
            for wait in &waits {
                assert!(*wait <= longest + tick, "{wait:?} of {longest:?}");
                longest = (longest * 2).min(LONGEST_WAIT);
            }
            // Some of the waits below 20 ms are equal by chance; that half of all are is out of the question.
            let different: BTreeSet<_> = waits.iter().collect();
            assert!(different.len() > waits.len() / 2, "{waits:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn t105_attempts_end_without_a_deadline_too() {
        let start = Instant::now();
        all_attempts().await;
        assert!(start.elapsed() < WITHOUT_DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn t105_a_plain_write_goes_past_a_transaction_and_ends_with_any_other_answer() {
        for (codes, sent) in [
            (&[MET_TRANSACTION; 10][..], 10),
            (&[MET_TRANSACTION, "ThrottlingException"], 2),
            (&["ConditionalCheckFailedException"], 1),
        ] {
            let count = Cell::new(0);
            let send = || {
                let code = codes[count.get()];
                count.set(count.get() + 1);
                let error = ErrorMetadata::builder().code(code).build();
                let is_last = count.get() == codes.len();
                ready(match code {
                    MET_TRANSACTION if is_last => Ok("written"),
                    _ => Err(SdkError::service_error(PutItemError::generic(error), ())),
                })
            };

            let answer = past_transactions(send).await.unwrap();

            assert_eq!(count.get(), sent, "{codes:?}");
            assert_eq!(answer.is_ok(), sent == 10, "{codes:?}");
        }
    }

    #[test]
    fn a_wait_is_any_part_of_the_longest_one() {
        let longest = Duration::from_millis(500);
        assert_eq!(part_of(longest, [0, 0]), Duration::ZERO);
        assert_eq!(part_of(longest, [0, 128]), longest / 2);
        let almost = part_of(longest, [255, 255]);
        assert!(almost < longest && almost > longest - Duration::from_millis(1));
    }

    fn cancelled(reasons: &[&str]) -> bool {
        let reasons: Vec<_> = reasons
            .iter()
            .map(|code| serde_json::json!({ "Code": code }))
            .collect();
        let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
        passes(
            serde_json::json!({ "__type": kind, "CancellationReasons": reasons })
                .to_string()
                .as_bytes(),
        )
    }

    #[test]
    fn t70_a_conflict_passes_and_a_failed_condition_does_not() {
        assert!(passes(br#"{"__type":"x#TransactionConflictException"}"#));
        // The caller tries again, after a look at what the other transaction wrote.
        assert!(!cancelled(&["TransactionConflict", "None"]));
        assert!(!cancelled(&["TransactionConflict", "ThrottlingError"]));
        assert!(cancelled(&["None", "ThrottlingError"]));
        assert!(!cancelled(&["ConditionalCheckFailed", "None"]));
        assert!(!cancelled(&[
            "ConditionalCheckFailed",
            "TransactionConflict"
        ]));
        assert!(!cancelled(&["None", "ValidationError"]));
        assert!(!cancelled(&["None", "None"]));
        assert!(!passes(br#"{"__type":"x#ResourceNotFoundException"}"#));
        assert!(!passes(b"<html>"));
    }
}
