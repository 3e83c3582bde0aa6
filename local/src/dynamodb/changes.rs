//! The changes of the main table's items, found by the id of the call that made them.
//!
//! The embedded DynamoDB reads each item before and after a write. One write runs at a time, so the difference is that
//! of the call, with any number of calls in parallel. The id of a call is in its answer, as in AWS, and the span of
//! the SDK's operation has it. The table of the private keys is never read.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use dynoxide::Database;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{TABLE, plain};
use crate::lock::lock;

/// The number of writes that are kept; older ones are dropped.
const KEPT: usize = 256;
/// The largest number of items of one call, and of their attributes.
const MAX_ITEMS: usize = 25;
const MAX_ATTRIBUTES: usize = 60;
/// The largest length of a text, in bytes.
const MAX_TEXT: usize = 160;

/// The changes of the last writes, at most about 10 MB. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Held during a write, from the read before it to the read after it.
    writing: Mutex<()>,
    /// The writes with the ids of their calls, the newest last.
    kept: Mutex<VecDeque<(String, CallChanges)>>,
}

/// The items that one call wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct CallChanges {
    /// The items, in the order of the request.
    pub(crate) items: Vec<ItemChange>,
    /// The number of further items, which are left out because there are too many.
    pub(crate) left_out: usize,
}

/// The change of one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ItemChange {
    pk: String,
    sk: String,
    kind: Kind,
    attributes: Vec<AttributeChange>,
    /// The number of further attributes, which are left out because there are too many.
    left_out: usize,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Created,
    Changed,
    Deleted,
    /// Written with the values that it had.
    Unchanged,
}

/// The change of one attribute, as text. Members of a map have a path, such as `profile.name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct AttributeChange {
    name: String,
    /// Absent if the attribute was added.
    before: Option<String>,
    /// Absent if the attribute was removed.
    after: Option<String>,
}

impl Changes {
    /// Runs `write` and keeps the changes that it makes, under `id`.
    pub(super) fn watch<T, E>(
        &self,
        database: &Database,
        (id, operation, body): (&str, &str, &[u8]),
        write: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let keys = written_keys(operation, body);
        if keys.is_empty() {
            return write();
        }
        let _alone = lock(&self.0.writing);
        let before: Vec<_> = keys.iter().map(|key| find(database, key)).collect();
        let answer = write()?;
        let mut changes = CallChanges::default();
        let mut room = MAX_ATTRIBUTES;
        for (key, before) in keys.iter().zip(before) {
            let Some(change) = ItemChange::new(key, before, find(database, key), room) else {
                continue;
            };
            if changes.items.len() == MAX_ITEMS {
                changes.left_out += 1;
                continue;
            }
            room -= change.attributes.len();
            changes.items.push(change);
        }
        if !changes.items.is_empty() {
            self.keep(id, changes);
        }
        Ok(answer)
    }

    /// Returns the changes of the call with this id, if it wrote an item.
    pub(crate) fn of(&self, id: &str) -> Option<CallChanges> {
        let kept = lock(&self.0.kept);
        let mut newest_first = kept.iter().rev();
        let found = newest_first.find(|(other, _)| other == id);
        found.map(|(_, changes)| changes.clone())
    }

    fn keep(&self, id: &str, changes: CallChanges) {
        let mut kept = lock(&self.0.kept);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((id.to_owned(), changes));
    }
}

impl ItemChange {
    /// Returns the difference of an item, with at most `room` attributes; `None` if there is no item before and after.
    fn new(key: &Value, before: Option<Value>, after: Option<Value>, room: usize) -> Option<Self> {
        let kind = match (&before, &after) {
            (None, None) => return None,
            (None, Some(_)) => Kind::Created,
            (Some(_), None) => Kind::Deleted,
            (Some(before), Some(after)) if before == after => Kind::Unchanged,
            (Some(_), Some(_)) => Kind::Changed,
        };
        let mut attributes = Vec::new();
        let members = |item: Option<Value>| match item {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        compare("", &members(before), &members(after), &mut attributes);
        let left_out = attributes.len().saturating_sub(room);
        attributes.truncate(room);
        let name = |name: &str| shortened(key[name]["S"].as_str().unwrap_or_default());
        Some(Self {
            pk: name("pk"),
            sk: name("sk"),
            kind,
            attributes,
            left_out,
        })
    }
}

/// Adds the differences between two maps, in the order of their names.
fn compare(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Vec<AttributeChange>,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let full_name = format!("{path}{name}");
        match (before.get(name), after.get(name)) {
            (before, after) if before == after => {}
            _ if path.is_empty() && ["pk", "sk"].contains(&name.as_str()) => {}
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                compare(&format!("{full_name}."), before, after, changes);
            }
            (before, after) => changes.push(AttributeChange {
                name: shortened(&full_name),
                before: before.map(text),
                after: after.map(text),
            }),
        }
    }
}

/// Returns a value as text, without quotes around a string.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => shortened(text),
        value => shortened(&value.to_string()),
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let start = &text[..text.floor_char_boundary(MAX_TEXT)];
    format!("{start}… ({} bytes)", text.len())
}

/// Returns the keys of the main table's items that a request writes, each once.
fn written_keys(operation: &str, body: &[u8]) -> Vec<Value> {
    let is_write = [
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "TransactWriteItems",
        "BatchWriteItem",
    ];
    if !is_write.contains(&operation) {
        return Vec::new();
    }
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let writes = match operation {
        "TransactWriteItems" => list(&request["TransactItems"])
            .iter()
            .flat_map(|item| ["Put", "Update", "Delete"].map(|kind| item[kind].clone()))
            .filter(|write| write["TableName"] == TABLE)
            .collect(),
        "BatchWriteItem" => list(&request["RequestItems"][TABLE])
            .iter()
            .flat_map(|item| ["PutRequest", "DeleteRequest"].map(|kind| item[kind].clone()))
            .collect(),
        _ if request["TableName"] == TABLE => vec![request],
        _ => Vec::new(),
    };
    let mut keys: Vec<Value> = Vec::new();
    for write in writes {
        let named = ["Key", "Item"].map(|member| &write[member]);
        let Some(item) = named.into_iter().find(|item| item["pk"]["S"].is_string()) else {
            continue;
        };
        let key = json!({ "pk": item["pk"], "sk": item["sk"] });
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Returns an item as plain JSON.
fn find(database: &Database, key: &Value) -> Option<Value> {
    let request = json!({ "TableName": TABLE, "Key": key });
    let answer = database.get_item(serde_json::from_value(request).ok()?);
    // An invalid key has no item, and its write is refused.
    let item = serde_json::to_value(answer.ok()?).ok()?["Item"].take();
    item.is_object().then(|| plain(&json!({ "M": item })))
}

#[cfg(test)]
mod tests {
    use dynoxide::DynoxideError;

    use super::*;
    use crate::dynamodb::{KEYS_TABLE, act, open};

    struct Watched {
        database: Database,
        changes: Changes,
    }

    impl Watched {
        fn new() -> Self {
            Self {
                database: open(None).unwrap(),
                changes: Changes::default(),
            }
        }

        fn call(&self, id: &str, operation: &str, request: Value) -> Result<(), DynoxideError> {
            let body = request.to_string();
            let write = || act(&self.database, operation, body.as_bytes()).map(drop);
            let call = (id, operation, body.as_bytes());
            self.changes.watch(&self.database, call, write)
        }

        fn put(&self, id: &str, item: Value) {
            let request = json!({ "TableName": TABLE, "Item": item });
            self.call(id, "PutItem", request).unwrap();
        }

        fn of(&self, id: &str) -> Value {
            json!(self.changes.of(id))
        }
    }

    fn user(more: Value) -> Value {
        let mut item = json!({ "pk": { "S": "USER#1" }, "sk": { "S": "USER" } });
        let more = more.as_object().unwrap().clone();
        item.as_object_mut().unwrap().extend(more);
        item
    }

    #[test]
    fn a_change_names_the_attributes_that_were_added_changed_and_removed() {
        let watched = Watched::new();
        watched.put(
            "1",
            user(json!({
                "name": { "S": "Ada" }, "gone": { "BOOL": true }, "same": { "N": "1" },
                "profile": { "M": { "email": { "S": "a@example.com" }, "same": { "N": "1" } } },
            })),
        );
        watched.put(
            "2",
            user(json!({
                "name": { "S": "Grace" }, "expires_at": { "N": "7" }, "same": { "N": "1" },
                "profile": { "M": { "email": { "S": "g@example.com" }, "same": { "N": "1" } } },
            })),
        );
        let key = json!({ "pk": { "S": "USER#1" }, "sk": { "S": "USER" } });
        let delete = json!({ "TableName": TABLE, "Key": key });
        watched.call("3", "DeleteItem", delete.clone()).unwrap();
        watched.call("4", "DeleteItem", delete).unwrap();

        let created = watched.of("1");
        assert_eq!(created["items"][0]["pk"], "USER#1");
        assert_eq!(created["items"][0]["sk"], "USER");
        assert_eq!(created["items"][0]["kind"], "created");
        let changed = watched.of("2");
        assert_eq!(
            changed["items"][0]["attributes"],
            json!([
                { "name": "expires_at", "before": null, "after": "7" },
                { "name": "gone", "before": "true", "after": null },
                { "name": "name", "before": "Ada", "after": "Grace" },
                { "name": "profile.email", "before": "a@example.com", "after": "g@example.com" },
            ])
        );
        assert_eq!(changed["items"][0]["kind"], "changed");
        let deleted = watched.of("3");
        assert_eq!(deleted["items"][0]["kind"], "deleted");
        assert_eq!(deleted["items"][0]["attributes"][0]["after"], Value::Null);
        assert_eq!(watched.of("4"), Value::Null, "there was no item");
    }

    #[test]
    fn a_refused_write_changes_nothing_and_an_equal_one_says_so() {
        let watched = Watched::new();
        watched.put("1", user(json!({ "name": { "S": "Ada" } })));
        let refused = watched.call(
            "2",
            "PutItem",
            json!({
                "TableName": TABLE, "Item": user(json!({ "name": { "S": "Grace" } })),
                "ConditionExpression": "attribute_not_exists(pk)",
            }),
        );
        watched.put("3", user(json!({ "name": { "S": "Ada" } })));

        assert!(refused.is_err());
        assert_eq!(watched.of("2"), Value::Null);
        assert_eq!(watched.of("3")["items"][0]["kind"], "unchanged");
        assert_eq!(watched.of("3")["items"][0]["attributes"], json!([]));
    }

    #[test]
    fn a_transaction_and_a_batch_name_each_item_that_they_write() {
        let watched = Watched::new();
        let key = |sk: &str| json!({ "pk": { "S": "USER#1" }, "sk": { "S": sk } });
        watched.put("0", key("CHECKED"));
        let transaction = json!({ "TransactItems": [
            { "Put": { "TableName": TABLE, "Item": key("USER") } },
            { "Update": {
                "TableName": TABLE, "Key": key("SESSION#1"), "UpdateExpression": "SET a = :a",
                "ExpressionAttributeValues": { ":a": { "N": "1" } },
            } },
            { "ConditionCheck": {
                "TableName": TABLE, "Key": key("CHECKED"), "ConditionExpression": "attribute_exists(pk)",
            } },
        ] });
        watched
            .call("1", "TransactWriteItems", transaction)
            .unwrap();
        let batch = json!({ "RequestItems": { TABLE: [
            { "DeleteRequest": { "Key": key("USER") } },
            { "PutRequest": { "Item": key("SESSION#2") } },
        ] } });
        watched.call("2", "BatchWriteItem", batch).unwrap();

        let told = |id| {
            let items = watched.of(id)["items"].take();
            let items = items.as_array().unwrap().iter();
            items
                .map(|item| format!("{} {}", item["sk"], item["kind"]))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            told("1"),
            [r#""USER" "created""#, r#""SESSION#1" "created""#]
        );
        assert_eq!(
            told("2"),
            [r#""USER" "deleted""#, r#""SESSION#2" "created""#]
        );
    }

    #[test]
    fn t128_the_private_keys_are_never_in_a_change() {
        let watched = Watched::new();
        watched.put("0", user(json!({})));
        // The same key as in the main table, so that a confusion of the tables would show.
        let item = user(json!({ "pem": { "S": "PRIVATE KEY" } }));
        let put = json!({ "TableName": KEYS_TABLE, "Item": item });
        let session = json!({ "pk": { "S": "USER#1" }, "sk": { "S": "SESSION#1" } });
        let transaction = json!({ "TransactItems": [
            { "Put": put },
            { "Put": { "TableName": TABLE, "Item": session } },
        ] });
        let batch = json!({ "RequestItems": { KEYS_TABLE: [{ "PutRequest": { "Item": item } }] } });

        watched.call("1", "PutItem", put).unwrap();
        watched
            .call("2", "TransactWriteItems", transaction)
            .unwrap();
        watched.call("3", "BatchWriteItem", batch).unwrap();

        assert_eq!(watched.of("1"), Value::Null);
        let of_both = watched.of("2")["items"].take();
        assert_eq!(of_both.as_array().unwrap().len(), 1, "{of_both}");
        assert_eq!(of_both[0]["sk"], "SESSION#1");
        assert_eq!(watched.of("3"), Value::Null);
    }

    #[test]
    fn a_large_item_and_many_writes_stay_within_the_limits() {
        let watched = Watched::new();
        let many = (0..100).map(|nth| (format!("a{nth:03}"), json!({ "S": "é".repeat(1_500) })));
        watched.put("large", user(Value::Object(many.collect())));

        let large = watched.of("large")["items"][0].take();
        let attributes = large["attributes"].as_array().unwrap();
        assert_eq!(attributes.len(), MAX_ATTRIBUTES);
        assert_eq!(large["left_out"], 100 - MAX_ATTRIBUTES);
        let value = attributes[0]["after"].as_str().unwrap();
        assert!(value.ends_with("é… (3000 bytes)"), "{value}");
        assert!(value.len() < MAX_TEXT + 20, "{value}");

        let puts = (0..60).map(|nth| {
            let key = json!({ "pk": { "S": "USER#2" }, "sk": { "S": format!("SESSION#{nth}") } });
            json!({ "Put": { "TableName": TABLE, "Item": key } })
        });
        let transaction = json!({ "TransactItems": puts.collect::<Vec<_>>() });
        watched
            .call("wide", "TransactWriteItems", transaction)
            .unwrap();
        assert_eq!(
            watched.of("wide")["items"].as_array().unwrap().len(),
            MAX_ITEMS
        );
        assert_eq!(watched.of("wide")["left_out"], 60 - MAX_ITEMS);

        for nth in 0..KEPT {
            watched.put(
                &format!("again-{nth}"),
                user(json!({ "n": { "N": nth.to_string() } })),
            );
        }
        assert_eq!(watched.of("wide"), Value::Null, "the oldest make room");
        assert_eq!(lock(&watched.changes.0.kept).len(), KEPT);
        assert!(watched.of("again-0").is_object());
    }

    #[test]
    fn each_of_the_writes_in_parallel_has_its_own_change() {
        let watched = Watched::new();
        watched.put("0", user(json!({ "n": { "N": "0" } })));

        std::thread::scope(|scope| {
            for thread in 0..8 {
                let watched = &watched;
                scope.spawn(move || {
                    for nth in 0..10 {
                        let add = json!({
                            "TableName": TABLE, "Key": user(json!({})), "UpdateExpression": "ADD n :one",
                            "ExpressionAttributeValues": { ":one": { "N": "1" } },
                        });
                        let id = format!("{thread}-{nth}");
                        watched.call(&id, "UpdateItem", add).unwrap();
                    }
                });
            }
        });

        let mut steps: Vec<(u64, u64)> = (0..80)
            .map(|n| watched.of(&format!("{}-{}", n / 10, n % 10)))
            .map(|change| {
                let attribute = &change["items"][0]["attributes"][0];
                let number = |name: &str| attribute[name].as_str().unwrap().parse().unwrap();
                (number("before"), number("after"))
            })
            .collect();
        steps.sort_unstable();
        let expected: Vec<_> = (0..80).map(|n| (n, n + 1)).collect();
        assert_eq!(steps, expected);
    }
}
