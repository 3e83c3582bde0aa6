//! The faults that the proxy can plan, and the errors of DynamoDB and of providers.

use std::time::Duration;

use hyper::{
    HeaderMap, StatusCode,
    body::Bytes,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Value, json};

/// What can happen to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Forwarded, but only after this time, and then even if nobody waits for it any more.
    Delay(Duration),
    /// The connection is closed before the call is read.
    Refuse,
    /// The call is read, not forwarded, and never answered.
    Hang,
    /// The call is read, not forwarded, and the connection reset.
    ResetBeforeForwarding,
    /// The service does what it was asked to; its answer is lost, and the connection reset.
    ResetAfterForwarding,
    /// The service does what it was asked to; its answer never comes.
    HangAfterForwarding,
    /// Half of the answer's body arrives, then the connection is reset.
    ResetMidBody,
    /// Half of the answer's body arrives, and claims to be all of it.
    TruncatedBody,
    /// The answer announces more than it has; then the connection is closed.
    LengthTooLong,
    /// The answer announces less than it has; what is left follows on the same connection.
    LengthTooShort,
    /// The answer's body arrives byte by byte, at this pace.
    SlowBody(Duration),
    /// Not forwarded; this is the answer.
    Answer(Answer),
    /// DynamoDB's replica is behind: a `GetItem` that does not ask for a consistent read finds nothing. Every other
    /// call is forwarded as it is.
    Stale,
}

/// A whole HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those that only say how the body is sent.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// An answer without headers.
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    /// With this header as well.
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

impl From<Answer> for Fault {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// DynamoDB's errors, in the shape of its JSON 1.0 protocol.
impl Fault {
    /// More than the table's provisioned, or a hot key's own, throughput.
    pub fn provisioned_throughput_exceeded() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded.",
        )
    }

    /// Faster than an on-demand table grows, or than the control plane allows.
    pub fn throttling() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazon.coral.availability#ThrottlingException",
            "Rate of requests exceeds the allowed throughput.",
        )
    }

    /// More than the account's quota.
    pub fn request_limit_exceeded() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded",
            "Throughput exceeds the current throughput limit for your account.",
        )
    }

    /// DynamoDB's own failure; whether a write was applied is open.
    pub fn internal_server_error() -> Self {
        dynamodb_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "com.amazonaws.dynamodb.v20120810#InternalServerError",
            "The request processing has failed because of an unknown error, exception or failure.",
        )
    }

    /// DynamoDB is not there.
    pub fn service_unavailable() -> Self {
        dynamodb_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "com.amazonaws.dynamodb.v20120810#ServiceUnavailable",
            "Service is temporarily unavailable.",
        )
    }

    /// A single write met a transaction on the same item.
    pub fn transaction_conflict() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
            "Transaction is ongoing for the item",
        )
    }

    /// A transaction that was not applied. One reason for each of its items, `None` for those that were not at fault:
    /// `ConditionalCheckFailed`, `TransactionConflict`, `ProvisionedThroughputExceeded`, `ThrottlingError`, …
    pub fn transaction_canceled(reasons: &[&str]) -> Self {
        let list: Vec<Value> = reasons
            .iter()
            .map(|reason| match *reason {
                "None" => json!({ "Code": "None" }),
                code => json!({ "Code": code, "Message": format!("{code}, says the test") }),
            })
            .collect();
        let message = format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            reasons.join(", ")
        );
        dynamodb_answer(
            StatusCode::BAD_REQUEST,
            &json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                // With a capital letter in this one.
                "Message": message,
                "CancellationReasons": list,
            }),
        )
    }

    /// Everything that can go wrong with a call to DynamoDB, each with a name for the test's report. A cancelled
    /// transaction is not among them: its reasons depend on its items.
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
        faults
    }
}

fn dynamodb_error(status: StatusCode, name: &str, message: &str) -> Fault {
    dynamodb_answer(status, &json!({ "__type": name, "message": message }))
}

fn dynamodb_answer(status: StatusCode, body: &Value) -> Fault {
    let answer = Answer::new(status, body.to_string())
        .with_header("content-type", "application/x-amz-json-1.0")
        .with_header("x-amzn-requestid", "00000000-0000-0000-0000-000000000000");
    Fault::Answer(answer)
}

/// A provider's, as seen at GitHub.
impl Fault {
    /// The rate limit is used up: 403, and come back after so many seconds.
    pub fn rate_limited(retry_after: u32) -> Self {
        limited(
            StatusCode::FORBIDDEN,
            "API rate limit exceeded",
            retry_after,
        )
    }

    /// Too much at once: 429, and come back after so many seconds.
    pub fn too_many_requests(retry_after: u32) -> Self {
        let message = "You have exceeded a secondary rate limit";
        limited(StatusCode::TOO_MANY_REQUESTS, message, retry_after)
    }

    /// A page for people, with status 200.
    pub fn html() -> Self {
        Answer::new(StatusCode::OK, "<!doctype html><title>Unicorn!</title>")
            .with_header("content-type", "text/html; charset=utf-8")
            .into()
    }

    /// To somewhere else, with the method, the body and whatever secret is in it.
    pub fn redirect_to(url: &str) -> Self {
        Answer::new(StatusCode::TEMPORARY_REDIRECT, "")
            .with_header("location", url)
            .into()
    }

    /// Nothing but a status.
    pub fn status(status: StatusCode) -> Self {
        Answer::new(status, "").into()
    }

    /// Everything that can go wrong with a call to a provider, each with a name for the test's report. A redirect is
    /// not among them: the test has to watch where it leads.
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
            ("truncated body", Self::TruncatedBody),
            ("announced too long", Self::LengthTooLong),
            ("announced too short", Self::LengthTooShort),
            ("a byte per second", Self::SlowBody(Duration::from_secs(1))),
        ]
    }
}

fn limited(status: StatusCode, message: &str, retry_after: u32) -> Fault {
    let body = json!({ "message": message, "documentation_url": "https://docs.github.com/rest" });
    Answer::new(status, body.to_string())
        .with_header("content-type", "application/json; charset=utf-8")
        .with_header("retry-after", &retry_after.to_string())
        .with_header("x-ratelimit-remaining", "0")
        .into()
}
