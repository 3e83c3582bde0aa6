//! The DynamoDB of the services: one embedded for each, Amazon's DynamoDB Local, or one at a URL.
//!
//! `CAMBIO_TEST_DYNAMODB` selects it: `embedded` (the default), `local-java`, which starts what `tests/setup.sh
//! dynamodb-local` installed, or a URL. At a URL, requests are signed with the AWS variables of the environment. One
//! DynamoDB serves all services of the process, so the tables of each have a prefix of their own, and are deleted with
//! the service.

mod java;
mod remote;
mod signer;

use std::{
    sync::{Mutex, PoisonError},
    thread,
};

use local::dynamodb::{self, KEYS_KEY, KEYS_TABLE, MAIN_KEY, TABLE};
use serde_json::{Value, json};
use shared::config::Environment;
use tokio::task::JoinSet;

use crate::proxy::Proxy;
use remote::Remote;
pub(crate) use signer::Signer;

/// The variable that selects the DynamoDB.
const CHOICE: &str = "CAMBIO_TEST_DYNAMODB";

/// The tables of one service.
pub(crate) struct Database {
    kind: Kind,
    /// The full names of the tables, which are deleted at the end.
    tables: Mutex<Vec<String>>,
}

enum Kind {
    /// In this process. It ends with the service, so its tables have no prefix and need no deletion.
    Embedded(dynoxide::Database),
    /// For all services of the process.
    Remote {
        remote: &'static Remote,
        prefix: String,
    },
}

#[expect(
    clippy::expect_used,
    reason = "a test without its database has nothing to prove"
)]
impl Database {
    /// Makes the tables of a service, and starts the proxy in front of them.
    pub(crate) async fn start(running: &mut JoinSet<()>) -> (Self, Proxy) {
        let choice = Environment::process().optional(CHOICE);
        let choice = choice.unwrap_or_else(|| "embedded".to_owned());
        if choice == "embedded" {
            let database = dynamodb::open(None).expect("a database in memory");
            let (listener, url) = crate::listen().await;
            let served = database.clone();
            running.spawn(async move { dynoxide::server::serve_on(listener, served).await });
            let database = Self {
                kind: Kind::Embedded(database),
                tables: Mutex::default(),
            };
            return (database, Proxy::start(&url).await);
        }
        let remote = Remote::of(&choice);
        let database = Self {
            kind: Kind::Remote {
                remote,
                prefix: remote.next_prefix(),
            },
            tables: Mutex::default(),
        };
        database.make_table(TABLE, MAIN_KEY);
        database.make_table(KEYS_TABLE, KEYS_KEY);
        database.call(
            "UpdateTimeToLive",
            &dynamodb::time_to_live(&database.name(TABLE)),
        );
        let proxy = Proxy::start_with(&remote.url, Some(remote.signer.clone())).await;
        (database, proxy)
    }

    /// Returns the full name of a table.
    pub(crate) fn name(&self, table: &str) -> String {
        match &self.kind {
            Kind::Embedded(_) => table.to_owned(),
            Kind::Remote { prefix, .. } => format!("{prefix}{table}"),
        }
    }

    /// Makes a table whose key is these attributes.
    pub(crate) fn make_table(&self, table: &str, key: &[&str]) {
        let name = self.name(table);
        self.call("CreateTable", &dynamodb::definition(&name, key));
        if let Kind::Remote { remote, .. } = &self.kind {
            self.tables().push(name.clone());
            remote.until_active(&name);
        }
    }

    /// Returns all items of a table.
    pub(crate) fn scan(&self, table: &str) -> Vec<Value> {
        let request = json!({ "TableName": self.name(table), "ConsistentRead": true });
        self.pages(
            "Scan",
            request,
            ["Items", "LastEvaluatedKey", "ExclusiveStartKey"],
        )
    }

    /// Returns the full names of all tables.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = [
            "TableNames",
            "LastEvaluatedTableName",
            "ExclusiveStartTableName",
        ];
        let names = self.pages("ListTables", json!({}), names);
        let names = names.iter().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    }

    /// Returns the members of all pages of an answer.
    fn pages(
        &self,
        operation: &str,
        mut request: Value,
        [members, last, start]: [&str; 3],
    ) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let mut page = self.call(operation, &request);
            if let Value::Array(found) = page[members].take() {
                all.extend(found);
            }
            match page[last].take() {
                Value::Null => return all,
                last => request[start] = last,
            }
        }
    }

    /// Sends a request past the proxy, and returns the answer.
    pub(crate) fn call(&self, operation: &str, request: &Value) -> Value {
        match &self.kind {
            Kind::Embedded(database) => {
                let answer = dynamodb::act(database, operation, request.to_string().as_bytes());
                let answer = answer.expect("a success").expect("a known operation");
                serde_json::from_str(&answer).expect("JSON")
            }
            Kind::Remote { remote, .. } => remote.call(operation, request),
        }
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Kind::Remote { remote, .. } = &self.kind else {
            return;
        };
        // After a failed test, a second panic would end the process before the other tests.
        let must_succeed = !thread::panicking();
        for table in self.tables().drain(..) {
            let deleted = remote.delete_table(&table);
            assert!(deleted.is_ok() || !must_succeed, "{table}: {deleted:?}");
        }
    }
}
