//! Faults that change a call or its answer, and answers of the machines between a caller and a service.

use hyper::{
    StatusCode,
    header::{self, HeaderValue},
};
use serde_json::{Value, json};

use super::{Fault, Reply, dynamodb_error};

/// A checksum of DynamoDB, which its SDKs may compare with the body.
const CHECKSUM: &str = "x-amz-crc32";

impl Fault {
    /// Returns the answers of a load balancer or a gateway in front of the service, which are no answers of the
    /// service.
    pub(super) fn of_a_gateway() -> Vec<(&'static str, Self)> {
        let page = |status: StatusCode| {
            Reply::new(status, "<html><h1>Unicorn!</h1></html>")
                .with_header("content-type", "text/html")
        };
        vec![
            (
                "500 with HTML",
                page(StatusCode::INTERNAL_SERVER_ERROR).into(),
            ),
            ("502 with HTML", page(StatusCode::BAD_GATEWAY).into()),
            (
                "503 with HTML",
                page(StatusCode::SERVICE_UNAVAILABLE).into(),
            ),
            ("504 with HTML", page(StatusCode::GATEWAY_TIMEOUT).into()),
        ]
    }

    /// Returns the faults of an answer that arrives with a wrong content. The call took effect.
    pub(super) fn of_the_answer() -> Vec<(&'static str, Self)> {
        vec![
            ("an empty body", Self::empty_body()),
            ("HTML in place of the body", Self::ChangedAnswer(html)),
            ("an array in place of the body", Self::ChangedAnswer(array)),
            ("bytes in place of the body", Self::ChangedAnswer(bytes)),
            ("something after the body", Self::ChangedAnswer(continued)),
        ]
    }

    /// The service handles the call; its answer arrives without a body.
    pub fn empty_body() -> Self {
        Self::ChangedAnswer(emptied)
    }

    /// Returns the errors of DynamoDB that no retry cures, because a permission, a credential or a table is wrong. The
    /// call has no effect.
    pub fn refusals_of_dynamodb() -> Vec<(&'static str, Self)> {
        [
            "com.amazon.coral.service#AccessDeniedException",
            "com.amazon.coral.service#UnrecognizedClientException",
            "com.amazon.coral.service#ExpiredTokenException",
            "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
            "com.amazonaws.dynamodb.v20120810#ItemCollectionSizeLimitExceededException",
            "com.amazon.coral.validate#ValidationException",
        ]
        .map(|name| {
            let short = name.rsplit('#').next().unwrap_or(name);
            let message = "This request is refused, says the test.";
            (
                short,
                dynamodb_error(StatusCode::BAD_REQUEST, name, message),
            )
        })
        .into()
    }

    /// A transaction with the same idempotency token has not ended yet.
    pub fn transaction_not_ended() -> Self {
        let name = "com.amazonaws.dynamodb.v20120810#TransactionInProgressException";
        let message = "The transaction with the given request token is already in progress.";
        dynamodb_error(StatusCode::BAD_REQUEST, name, message)
    }

    /// `Query` and `Scan` return one item, and where the next page begins.
    pub fn one_item_a_page() -> Self {
        Self::ChangedCall(|call| {
            if call["KeyConditionExpression"].is_string()
                || call["TableName"].is_string() && call["Key"].is_null()
            {
                call["Limit"] = json!(1);
            }
        })
    }

    /// `BatchGetItem` returns one item and leaves the other keys unprocessed.
    pub fn one_key_a_batch() -> Self {
        Self::ChangedAnswer(|answer| leave_keys(answer, 1))
    }

    /// `BatchGetItem` returns no item and leaves all keys unprocessed.
    pub fn no_key_of_a_batch() -> Self {
        Self::ChangedAnswer(|answer| leave_keys(answer, 0))
    }
}

fn emptied(answer: &mut Reply) {
    replace(answer, Vec::new());
}

fn html(answer: &mut Reply) {
    replace(answer, b"<html><h1>Unicorn!</h1></html>".into());
    let html = HeaderValue::from_static("text/html");
    answer.headers.insert(header::CONTENT_TYPE, html);
}

fn array(answer: &mut Reply) {
    replace(answer, b"[0]".into());
}

fn bytes(answer: &mut Reply) {
    replace(answer, vec![0xff; 64]);
}

/// Two answers in one body, as after a lost boundary.
fn continued(answer: &mut Reply) {
    replace(answer, [&answer.body[..], &answer.body[..], b"}"].concat());
}

pub(super) fn two_mebibytes(answer: &mut Reply) {
    let padding = vec![b' '; 2 * 1024 * 1024];
    replace(answer, [&padding, &answer.body[..]].concat());
}

/// Replaces the body, and removes the checksum, which would reveal the fault before the JSON parser does.
fn replace(answer: &mut Reply, body: Vec<u8>) {
    answer.body = body.into();
    answer.headers.remove(CHECKSUM);
}

/// Leaves `count` items in the answer of a `BatchGetItem`, and the keys of the others as unprocessed.
fn leave_keys(answer: &mut Reply, count: usize) {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else {
        return;
    };
    let Some(tables) = body["Responses"].as_object_mut() else {
        return;
    };
    let mut unprocessed = json!({});
    for (table, items) in tables {
        let Some(items) = items.as_array_mut().filter(|items| items.len() > count) else {
            continue;
        };
        let left = items.split_off(count).into_iter();
        let keys: Vec<Value> = left
            .map(|item| json!({ "pk": item["pk"], "sk": item["sk"] }))
            .collect();
        unprocessed[table] = json!({ "Keys": keys, "ConsistentRead": true });
    }
    body["UnprocessedKeys"] = unprocessed;
    replace(answer, body.to_string().into());
}
