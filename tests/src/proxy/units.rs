//! The capacity units that DynamoDB reports for a call.

use hyper::body::Bytes;
use serde_json::{Value, json};

/// DynamoDB's capacity units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Read units.
    pub read: f64,
    /// Write units.
    pub write: f64,
}

/// The operations that report consumed capacity. The flag is true for writes.
const METERED: [(&str, bool); 10] = [
    ("BatchGetItem", false),
    ("BatchWriteItem", true),
    ("DeleteItem", true),
    ("GetItem", false),
    ("PutItem", true),
    ("Query", false),
    ("Scan", false),
    ("TransactGetItems", false),
    ("TransactWriteItems", true),
    ("UpdateItem", true),
];

/// Returns whether the operation writes, if it reports consumed capacity.
pub(super) fn metered(operation: Option<&str>) -> Option<bool> {
    METERED
        .iter()
        .find(|(name, _)| Some(*name) == operation)
        .map(|(_, writes)| *writes)
}

/// Adds the request for consumed capacity to the body. That invalidates the signature, which a local DynamoDB does
/// not check.
pub(super) fn metering(body: Bytes) -> Bytes {
    match serde_json::from_slice(&body) {
        Ok(Value::Object(mut request)) => {
            request.insert("ReturnConsumedCapacity".to_owned(), json!("TOTAL"));
            Value::Object(request).to_string().into()
        }
        _ => body,
    }
}

/// Returns the consumed capacity in an answer, which is one object or a list for each table of a transaction or
/// batch.
pub(super) fn consumed(body: &[u8], writes: bool) -> Units {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let capacity = match &answer["ConsumedCapacity"] {
        Value::Array(tables) => tables.clone(),
        single => vec![single.clone()],
    };
    let total = capacity
        .iter()
        .filter_map(|table| table["CapacityUnits"].as_f64())
        .sum();
    if writes {
        Units {
            read: 0.0,
            write: total,
        }
    } else {
        Units {
            read: total,
            write: 0.0,
        }
    }
}
