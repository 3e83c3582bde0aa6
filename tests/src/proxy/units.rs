//! The capacity units that DynamoDB reports for a call.

use hyper::body::Bytes;
use serde_json::{Value, json};

/// DynamoDB's capacity units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Spent on reading.
    pub read: f64,
    /// Spent on writing.
    pub write: f64,
}

/// The operations that can be asked what they cost. The flag says whether they write.
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

/// Whether the operation writes, if it can be asked what it costs.
pub(super) fn metered(operation: Option<&str>) -> Option<bool> {
    METERED
        .iter()
        .find(|(name, _)| Some(*name) == operation)
        .map(|(_, writes)| *writes)
}

/// The request, with the wish to be told what it costs. Its signature is void then; a local DynamoDB does not look.
pub(super) fn metering(body: Bytes) -> Bytes {
    match serde_json::from_slice(&body) {
        Ok(Value::Object(mut request)) => {
            request.insert("ReturnConsumedCapacity".to_owned(), json!("TOTAL"));
            Value::Object(request).to_string().into()
        }
        _ => body,
    }
}

/// What an answer says about its cost: one object, or one for each table of a transaction or batch.
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
