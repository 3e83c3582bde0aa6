//! The table of the model: an embedded DynamoDB carries out one request on the items that the request names.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use dynoxide::{Database, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::interned::{Id, Interned};
use crate::{
    dynamodb::{Item, decode},
    sessions::is_alive,
    users::{Status, User},
};
use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};

pub(super) const NAME: &str = "table";
pub(super) const TRANSACTION: &str = "TransactWriteItems";
pub(super) const NOW: u64 = 1_000_000;

/// A request on the wire, without the idempotency token, which is random.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) action: String,
    pub(super) body: Value,
}

/// The status and the body of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// The items by their keys.
pub(super) type Items = BTreeMap<Id, Id>;

/// Some keys, each with its item, if there is one.
type Named = Vec<(Id, Option<Id>)>;

/// A condition that is switched off: in requests that write an item with a key of this prefix, `text` always holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Without {
    pub(super) action: &'static str,
    pub(super) key: &'static str,
    pub(super) text: &'static str,
    /// A part of the whole condition.
    pub(super) within: &'static str,
}

/// The facts of an item that the properties need.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Facts {
    User {
        is_active: bool,
        /// The keys of the items of the identities.
        identities: Vec<Id>,
        email: Option<Id>,
    },
    Session,
    /// An identity or an address, and the user that it names.
    Owned(Option<Id>),
    /// An item that the product cannot read.
    Broken,
}

impl Request {
    /// Returns whether it changes nothing.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.action.as_str(), "GetItem" | "BatchGetItem" | "Query")
    }

    /// Returns whether it may be answered with an earlier state of its item.
    pub(super) fn may_be_stale(&self) -> bool {
        self.action == "GetItem" && self.body["ConsistentRead"] != true
    }

    /// Returns the members that have a condition and write or check an item.
    fn parts(&mut self) -> Vec<&mut Value> {
        match self.action.as_str() {
            TRANSACTION => {
                let parts = self.body["TransactItems"].as_array_mut().unwrap();
                let parts = parts.iter_mut().map(|part| part.as_object_mut().unwrap());
                parts.flat_map(|part| part.values_mut()).collect()
            }
            _ => vec![&mut self.body],
        }
    }

    /// Switches the condition off, and returns whether there was one.
    pub(super) fn switch_off(&mut self, without: Without) -> bool {
        let mut is_found = false;
        if self.action != without.action {
            return false;
        }
        for part in self.parts() {
            let key = name_of(if part["Key"].is_null() {
                &part["Item"]
            } else {
                &part["Key"]
            });
            if let Some(condition) = part["ConditionExpression"].as_str()
                && key.contains(without.key)
                && condition.contains(without.text)
                && condition.contains(without.within)
            {
                let text = without.text;
                let condition = condition.replace(text, &format!("({text} OR NOT ({text}))"));
                part["ConditionExpression"] = condition.into();
                is_found = true;
            }
        }
        is_found
    }

    /// Returns the keys of its items; for a query, those in `items` that it may read.
    fn keys(&mut self, items: &Items, keys: &mut Interned<String>) -> BTreeSet<Id> {
        if self.action == "Query" {
            let partition = self.body["ExpressionAttributeValues"][":pk"]["S"].as_str();
            let partition = format!("{}|", partition.unwrap());
            let is_in = |key: &&Id| keys.value(**key).starts_with(&partition);
            return items.keys().filter(is_in).copied().collect();
        }
        if self.action == "BatchGetItem" {
            let asked = self.body["RequestItems"][NAME]["Keys"].as_array().unwrap();
            return asked.iter().map(|key| keys.id(name_of(key))).collect();
        }
        let parts = self.parts().into_iter();
        let named = parts.map(|part| {
            let key = if part["Key"].is_null() { "Item" } else { "Key" };
            name_of(&part[key])
        });
        named.map(|name| keys.id(name)).collect()
    }
}

/// Returns the key of an item as text.
pub(super) fn name_of(item: &Value) -> String {
    let part = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
    format!("{}|{}", part("pk"), part("sk"))
}

fn with_items(keys: &BTreeSet<Id>, items: &Items) -> Named {
    let found = keys.iter().map(|key| (*key, items.get(key).copied()));
    found.collect()
}

/// The embedded DynamoDB, and what it did before with the same request and items.
pub(super) struct Table {
    database: Database,
    pub(super) keys: Interned<String>,
    pub(super) items: Interned<Value>,
    pub(super) requests: Interned<Request>,
    pub(super) answers: Interned<Answer>,
    done: HashMap<(Id, Named), (Named, Id)>,
    /// The keys of the items of each request that is no query.
    named: HashMap<Id, BTreeSet<Id>>,
    facts: HashMap<(Id, Id), Arc<Facts>>,
    /// The number of requests that the database carried out.
    pub(super) runs: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        let database = Database::memory().unwrap();
        let create = json!({
            "TableName": NAME,
            "AttributeDefinitions": [
                { "AttributeName": "pk", "AttributeType": "S" },
                { "AttributeName": "sk", "AttributeType": "S" },
            ],
            "KeySchema": [
                { "AttributeName": "pk", "KeyType": "HASH" },
                { "AttributeName": "sk", "KeyType": "RANGE" },
            ],
            "BillingMode": "PAY_PER_REQUEST",
        });
        let created = database.create_table(serde_json::from_value(create).unwrap());
        created.unwrap();
        Self {
            database,
            keys: Interned::default(),
            items: Interned::default(),
            requests: Interned::default(),
            answers: Interned::default(),
            done: HashMap::new(),
            named: HashMap::new(),
            facts: HashMap::new(),
            runs: 0,
        }
    }

    /// Carries out a request on `items`, and returns its answer.
    pub(super) fn carry_out(&mut self, request: Id, items: &mut Items) -> Id {
        let before: Named = match self.named.get(&request) {
            Some(keys) => with_items(keys, items),
            None => {
                let mut wanted = (*self.requests.value(request)).clone();
                let keys = wanted.keys(items, &mut self.keys);
                let before = with_items(&keys, items);
                if wanted.action != "Query" {
                    self.named.insert(request, keys);
                }
                before
            }
        };
        let memo = (request, before);
        if !self.done.contains_key(&memo) {
            let wanted = self.requests.value(request);
            let done = self.execute(&wanted, &memo.1);
            self.done.insert(memo.clone(), done);
        }
        let (after, answer) = &self.done[&memo];
        for (key, item) in after {
            match item {
                Some(item) => items.insert(*key, *item),
                None => items.remove(key),
            };
        }
        *answer
    }

    fn execute(&mut self, request: &Request, before: &[(Id, Option<Id>)]) -> (Named, Id) {
        self.runs += 1;
        for item in before.iter().filter_map(|(_, item)| *item) {
            let put = json!({ "TableName": NAME, "Item": *self.items.value(item) });
            self.call("PutItem", put).unwrap();
        }
        let (status, body) = match self.call(&request.action, request.body.clone()) {
            Ok(body) => (200, body),
            Err(error) => (error.status_code(), error.to_json()),
        };
        assert!(!body.contains("ValidationException"), "{request:?}: {body}");
        let mut after = Vec::new();
        for (key, _) in before {
            let name = self.keys.value(*key);
            let (pk, sk) = name.split_once('|').unwrap();
            let key_of =
                json!({ "TableName": NAME, "Key": { "pk": { "S": pk }, "sk": { "S": sk } } });
            let got = self.call("GetItem", key_of.clone()).unwrap();
            let got: Value = serde_json::from_str(&got).unwrap();
            let item = got.get("Item").map(|item| self.items.id(item.clone()));
            after.push((*key, item));
            self.call("DeleteItem", key_of).unwrap();
        }
        (after, self.answers.id(Answer { status, body }))
    }

    fn call(&self, action: &str, body: Value) -> Result<String> {
        fn read<T: DeserializeOwned>(body: Value) -> T {
            serde_json::from_value(body).unwrap()
        }
        fn written<T: Serialize>(answer: T) -> String {
            serde_json::to_string(&answer).unwrap()
        }
        let database = &self.database;
        Ok(match action {
            "GetItem" => written(database.get_item(read(body))?),
            "BatchGetItem" => written(database.batch_get_item(read(body))?),
            "Query" => written(database.query(read(body))?),
            "PutItem" => written(database.put_item(read(body))?),
            "UpdateItem" => written(database.update_item(read(body))?),
            "DeleteItem" => written(database.delete_item(read(body))?),
            TRANSACTION => written(database.transact_write_items(read(body))?),
            other => panic!("the model has no {other}"),
        })
    }

    /// Returns the facts of an item.
    pub(super) fn facts(&mut self, key: Id, item: Id) -> Arc<Facts> {
        if let Some(facts) = self.facts.get(&(key, item)) {
            return facts.clone();
        }
        let (name, value) = (self.keys.value(key), self.items.value(item));
        let facts = Arc::new(self.read(&name, &value));
        self.facts.insert((key, item), facts.clone());
        facts
    }

    fn read(&mut self, key: &str, item: &Value) -> Facts {
        let members = item.as_object().unwrap().iter();
        let decoded: Item = members
            .map(|(name, value)| (name.clone(), attribute(value)))
            .collect();
        let (_, sk) = key.split_once('|').unwrap();
        if sk == "USER" {
            let Ok(user) = decode::<User>(decoded) else {
                return Facts::Broken;
            };
            let keys = &mut self.keys;
            let identities = user.identities.values();
            return Facts::User {
                is_active: user.status == Status::Active,
                identities: identities
                    .map(|identity| keys.id(format!("IDENTITY#{}|IDENTITY", identity.key.as_str())))
                    .collect(),
                email: user
                    .email_key
                    .map(|email| keys.id(format!("EMAIL#{}|EMAIL", email.as_str()))),
            };
        }
        if sk.starts_with("SESSION#") {
            return match is_alive(decoded, NOW) {
                Ok(_) => Facts::Session,
                Err(_) => Facts::Broken,
            };
        }
        let text = |name: &str| item[name]["S"].as_str();
        match (text("user_id"), text("released_by")) {
            (Some(user), None) => Facts::Owned(Some(self.keys.id(format!("USER#{user}|USER")))),
            (None, Some(_)) => Facts::Owned(None),
            _ => Facts::Broken,
        }
    }
}

fn attribute(value: &Value) -> AttributeValue {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    let text = || value.as_str().unwrap().to_owned();
    match kind.as_str() {
        "S" => AttributeValue::S(text()),
        "N" => AttributeValue::N(text()),
        "B" => AttributeValue::B(Blob::new(STANDARD.decode(text()).unwrap())),
        "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
        "NULL" => AttributeValue::Null(true),
        "L" => AttributeValue::L(value.as_array().unwrap().iter().map(attribute).collect()),
        "M" => {
            let members = value.as_object().unwrap().iter();
            AttributeValue::M(
                members
                    .map(|(name, value)| (name.clone(), attribute(value)))
                    .collect(),
            )
        }
        other => panic!("the model has no attributes of type {other}"),
    }
}
