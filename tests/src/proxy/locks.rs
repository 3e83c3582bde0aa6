//! The locks of transactions, which the emulators of DynamoDB do not have.
//!
//! On AWS, a `TransactWriteItems` in progress holds its items. Another transaction on one of them is cancelled, and a
//! plain write of one of them fails, both with a conflict. Reads are answered, except those in a transaction
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling>).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Passage, Reply, lock};

/// The transactions in progress, if the proxy locks their items.
#[derive(Default)]
pub(super) struct Locks {
    /// The time for which a transaction holds its items before the service gets it; `None` for no locks at all.
    pub(super) hold: Option<Duration>,
    running: Vec<Running>,
}

/// A transaction in progress.
struct Running {
    id: u64,
    token: Value,
    items: Vec<String>,
}

/// The course of a call that has reached DynamoDB.
pub(super) enum Course {
    /// The call goes on at once.
    Free,
    /// The call is a transaction that holds its items for this time and until the service has answered.
    Holds(Duration, Held),
    /// The call met a transaction; this is the answer.
    Refused(Reply),
}

/// The items of a transaction, until it is dropped.
pub(super) struct Held {
    passage: Arc<Passage>,
    id: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut locks = lock(&self.passage.locks);
        locks.running.retain(|running| running.id != self.id);
    }
}

impl Passage {
    /// Decides how the call with this id goes on, and locks its items if it is a transaction that may run.
    pub(super) fn course(
        self: &Arc<Self>,
        id: u64,
        operation: Option<&str>,
        body: &Value,
    ) -> Course {
        let mut locks = lock(&self.locks);
        let Some(hold) = locks.hold else {
            return Course::Free;
        };
        let actions = body["TransactItems"].as_array();
        let items: Vec<String> = match (operation, actions) {
            (Some("PutItem" | "UpdateItem" | "DeleteItem"), _) => vec![item_of(body)],
            (Some("TransactWriteItems" | "TransactGetItems"), Some(actions)) => {
                let members = actions.iter().filter_map(Value::as_object);
                members
                    .flat_map(|action| action.values())
                    .map(item_of)
                    .collect()
            }
            _ => return Course::Free,
        };
        let token = &body["ClientRequestToken"];
        let is_writing = operation == Some("TransactWriteItems");
        if is_writing && locks.is_in_progress(token) {
            return Course::Refused(Reply::transaction_in_progress());
        }
        if items.iter().any(|item| locks.holds(item)) {
            let reason = |item: &String| {
                if locks.holds(item) {
                    "TransactionConflict"
                } else {
                    "None"
                }
            };
            let reasons: Vec<&str> = items.iter().map(reason).collect();
            return Course::Refused(match actions {
                Some(_) => Reply::transaction_canceled(&reasons),
                None => Reply::transaction_conflict(),
            });
        }
        if !is_writing {
            return Course::Free;
        }
        locks.running.push(Running {
            id,
            token: token.clone(),
            items,
        });
        let passage = self.clone();
        Course::Holds(hold, Held { passage, id })
    }
}

impl Locks {
    fn holds(&self, item: &str) -> bool {
        let mut held = self.running.iter().flat_map(|running| &running.items);
        held.any(|held| held == item)
    }

    fn is_in_progress(&self, token: &Value) -> bool {
        let mut running = self.running.iter();
        running.any(|transaction| token.is_string() && transaction.token == *token)
    }
}

/// Returns the table and the key of the item that a write or a part of a transaction names. Cambio's tables have the
/// keys `pk` and `sk`, or `pk` alone.
fn item_of(action: &Value) -> String {
    let key = match &action["Key"] {
        Value::Null => &action["Item"],
        key => key,
    };
    json!([action["TableName"], key["pk"], key["sk"]]).to_string()
}
