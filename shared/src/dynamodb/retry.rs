//! Transient failures that the SDK does not retry itself.

use aws_sdk_dynamodb::config::{
    interceptors::InterceptorContext,
    retry::{ClassifyRetry, RetryAction},
};
use serde::Deserialize;

/// Retries failures that the SDK treats as final: an incomplete answer, and a write that met a parallel transaction
/// or a throttled partition.
///
/// Every write of Cambio can be repeated: a transaction has an idempotency token, other writes set values.
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
            "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"
        )
    };
    match error.kind.rsplit('#').next() {
        Some("TransactionConflictException") => true,
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
    use super::*;

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
        assert!(cancelled(&["TransactionConflict", "None"]));
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
