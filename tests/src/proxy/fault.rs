//! The faults that the proxy can plan, and the errors of DynamoDB and of providers.

mod changes;

use std::time::Duration;

use hyper::{
    HeaderMap, StatusCode,
    body::Bytes,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Value, json};

/// The message of a conflict.
const ONGOING: &str = "Transaction is ongoing for the item";

/// A fault of a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The call is forwarded after this time, even if its caller has given up.
    Delay(Duration),
    /// The connection is closed before the call is read.
    Refuse,
    /// The call is read, not forwarded, and never answered.
    Hang,
    /// The call is read, not forwarded, and the connection reset.
    ResetBeforeForwarding,
    /// The service handles the call; its answer is lost and the connection reset.
    ResetAfterForwarding,
    /// The service handles the call; its answer never arrives.
    HangAfterForwarding,
    /// Half of the answer's body arrives, then the connection is reset.
    ResetMidBody,
    /// Half of the answer's body arrives, with a matching length.
    TruncatedBody,
    /// The answer announces a longer body than it has; then the connection is closed.
    LengthTooLong,
    /// The answer announces a shorter body than it has; the rest follows on the same connection.
    LengthTooShort,
    /// The answer's body arrives byte by byte, at this pace.
    SlowBody(Duration),
    /// The call is not forwarded; this is the answer.
    Answer(Reply),
    /// DynamoDB's replica is behind: a read that does not ask for a consistent one finds nothing. Every other call is
    /// forwarded as it is.
    Stale,
    /// The service handles the call; its answer is lost and the connection closed.
    CloseAfterForwarding,
    /// The service handles the call, after this change of the body.
    ChangedCall(fn(&mut Value)),
    /// The service handles the call; its answer arrives after this change.
    ChangedAnswer(fn(&mut Reply)),
}

/// An answer that the proxy forwards, or sends in place of the upstream server.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those of the transfer of the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// Makes an answer without headers.
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    /// Adds a header.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "the value comes from the test that uses it"
    )]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }
}

impl From<Reply> for Fault {
    fn from(answer: Reply) -> Self {
        Self::Answer(answer)
    }
}

/// DynamoDB's errors in the form of its JSON 1.0 protocol.
impl Fault {
    /// The throughput of the table or of a hot key is exceeded.
    pub fn provisioned_throughput_exceeded() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded.",
        )
    }

    /// The growth of an on-demand table or the limit of the control plane is exceeded.
    pub fn throttling() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazon.coral.availability#ThrottlingException",
            "Rate of requests exceeds the allowed throughput.",
        )
    }

    /// The account's quota is exceeded.
    pub fn request_limit_exceeded() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded",
            "Throughput exceeds the current throughput limit for your account.",
        )
    }

    /// An internal error of DynamoDB; a write may have been applied.
    pub fn internal_server_error() -> Self {
        dynamodb_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "com.amazonaws.dynamodb.v20120810#InternalServerError",
            "The request processing has failed because of an unknown error, exception or failure.",
        )
    }

    /// DynamoDB is unavailable.
    pub fn service_unavailable() -> Self {
        dynamodb_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "com.amazonaws.dynamodb.v20120810#ServiceUnavailable",
            "Service is temporarily unavailable.",
        )
    }

    /// A single write conflicted with a transaction on the same item.
    pub fn transaction_conflict() -> Self {
        Reply::transaction_conflict().into()
    }

    /// A cancelled transaction, with a reason for each of its items, `None` for uninvolved ones:
    /// `ConditionalCheckFailed`, `TransactionConflict`, `ProvisionedThroughputExceeded`, `ThrottlingError`, …
    pub fn transaction_canceled(reasons: &[&str]) -> Self {
        Reply::transaction_canceled(reasons).into()
    }

    /// A transaction whose idempotency token is that of one in progress.
    pub fn transaction_in_progress() -> Self {
        Reply::transaction_in_progress().into()
    }

    /// Returns all faults of a call to DynamoDB, each with a name for the test's report, except a cancelled
    /// transaction, whose reasons depend on its items.
    pub fn of_dynamodb() -> Vec<(&'static str, Self)> {
        let mut faults = Self::of_the_network();
        faults.extend([
            (
                "ProvisionedThroughputExceededException",
                Self::provisioned_throughput_exceeded(),
            ),
            ("ThrottlingException", Self::throttling()),
            ("RequestLimitExceeded", Self::request_limit_exceeded()),
            ("InternalServerError", Self::internal_server_error()),
            ("ServiceUnavailable", Self::service_unavailable()),
            ("TransactionConflictException", Self::transaction_conflict()),
        ]);
        faults.extend(Self::of_a_gateway());
        faults.extend(Self::of_the_answer());
        faults
    }
}

fn dynamodb_error(status: StatusCode, name: &str, message: &str) -> Fault {
    dynamodb_answer(status, &json!({ "__type": name, "message": message })).into()
}

fn dynamodb_answer(status: StatusCode, body: &Value) -> Reply {
    Reply::new(status, body.to_string())
        .with_header("content-type", "application/x-amz-json-1.0")
        .with_header("x-amzn-requestid", "00000000-0000-0000-0000-000000000000")
}

/// DynamoDB's answers to a call that meets a transaction.
impl Reply {
    pub(super) fn transaction_conflict() -> Self {
        let error = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
            "message": ONGOING,
        });
        dynamodb_answer(StatusCode::BAD_REQUEST, &error)
    }

    pub(super) fn transaction_canceled(reasons: &[&str]) -> Self {
        let list: Vec<Value> = reasons
            .iter()
            .map(|reason| match *reason {
                "None" => json!({ "Code": "None" }),
                "TransactionConflict" => {
                    json!({ "Code": "TransactionConflict", "Message": ONGOING })
                }
                code => json!({ "Code": code, "Message": format!("{code}, says the test") }),
            })
            .collect();
        let message = format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            reasons.join(", ")
        );
        let error = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            // This error has a capital letter in its member.
            "Message": message,
            "CancellationReasons": list,
        });
        dynamodb_answer(StatusCode::BAD_REQUEST, &error)
    }

    pub(super) fn transaction_in_progress() -> Self {
        let error = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionInProgressException",
            // As in a cancelled transaction.
            "Message": "The transaction with the given request token is already in progress.",
        });
        dynamodb_answer(StatusCode::BAD_REQUEST, &error)
    }
}

/// The errors of providers, after GitHub's.
impl Fault {
    /// The primary rate limit: 403 with this wait in seconds.
    pub fn rate_limited(retry_after: u32) -> Self {
        limited(
            StatusCode::FORBIDDEN,
            "API rate limit exceeded",
            retry_after,
        )
    }

    /// The secondary rate limit: 429 with this wait in seconds.
    pub fn too_many_requests(retry_after: u32) -> Self {
        let message = "You have exceeded a secondary rate limit";
        limited(StatusCode::TOO_MANY_REQUESTS, message, retry_after)
    }

    /// A secondary rate limit that only the text names, with the headers of the primary limit, which ends at `reset`.
    pub fn secondary_limit(status: StatusCode, reset: u64) -> Self {
        let message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
        Reply::new(status, json!({ "message": message }).to_string())
            .with_header("content-type", "application/json; charset=utf-8")
            .with_header("x-ratelimit-remaining", "4321")
            .with_header("x-ratelimit-reset", &reset.to_string())
            .into()
    }

    /// An HTML page with status 200.
    pub fn html() -> Self {
        Reply::new(StatusCode::OK, "<!doctype html><title>Unicorn!</title>")
            .with_header("content-type", "text/html; charset=utf-8")
            .into()
    }

    /// A redirect that keeps the method and the body with its secrets.
    pub fn redirect_to(url: &str) -> Self {
        Reply::new(StatusCode::TEMPORARY_REDIRECT, "")
            .with_header("location", url)
            .into()
    }

    /// An empty answer with this status.
    pub fn status(status: StatusCode) -> Self {
        Reply::new(status, "").into()
    }

    /// Returns all faults of a call to a provider, each with a name for the test's report, except a redirect, whose
    /// target the test must watch.
    pub fn of_a_provider() -> Vec<(&'static str, Self)> {
        let mut faults = Self::of_the_network();
        faults.extend([
            ("403 with Retry-After", Self::rate_limited(7)),
            ("429 with Retry-After", Self::too_many_requests(7)),
            ("500", Self::status(StatusCode::INTERNAL_SERVER_ERROR)),
            ("502", Self::status(StatusCode::BAD_GATEWAY)),
            ("503", Self::status(StatusCode::SERVICE_UNAVAILABLE)),
            ("200 with HTML", Self::html()),
            ("200 with nothing", Self::status(StatusCode::OK)),
        ]);
        faults.extend(Self::of_a_gateway());
        faults.extend(Self::of_the_answer());
        faults.extend([
            (
                "429 without Retry-After",
                Self::status(StatusCode::TOO_MANY_REQUESTS),
            ),
            ("204", Self::status(StatusCode::NO_CONTENT)),
            ("418", Self::status(StatusCode::IM_A_TEAPOT)),
            ("2 MiB", Self::ChangedAnswer(changes::two_mebibytes)),
        ]);
        faults
    }

    fn of_the_network() -> Vec<(&'static str, Self)> {
        vec![
            ("50 ms late", Self::Delay(Duration::from_millis(50))),
            ("500 ms late", Self::Delay(Duration::from_millis(500))),
            ("5 s late", Self::Delay(Duration::from_secs(5))),
            ("refused", Self::Refuse),
            ("hanging", Self::Hang),
            ("reset before forwarding", Self::ResetBeforeForwarding),
            ("reset after forwarding", Self::ResetAfterForwarding),
            ("hanging after forwarding", Self::HangAfterForwarding),
            ("reset in mid-body", Self::ResetMidBody),
            ("closed after forwarding", Self::CloseAfterForwarding),
            ("truncated body", Self::TruncatedBody),
            ("announced too long", Self::LengthTooLong),
            ("announced too short", Self::LengthTooShort),
            ("a byte per second", Self::SlowBody(Duration::from_secs(1))),
        ]
    }
}

fn limited(status: StatusCode, message: &str, retry_after: u32) -> Fault {
    let body = json!({ "message": message, "documentation_url": "https://docs.github.com/rest" });
    Reply::new(status, body.to_string())
        .with_header("content-type", "application/json; charset=utf-8")
        .with_header("retry-after", &retry_after.to_string())
        .with_header("x-ratelimit-remaining", "0")
        .into()
}
