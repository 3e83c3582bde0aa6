use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::dynamodb::Table;
use crate::timers::{Turning, follow_work};

/// The time for which a transaction holds its items, much longer than everything that happens meanwhile.
const HOLD: Duration = Duration::from_secs(60);

fn key(key: &str) -> Value {
    json!({ "TableName": "things", "Key": { "pk": { "S": key } } })
}

fn put(key: &str) -> Value {
    json!({ "TableName": "things", "Item": { "pk": { "S": key } } })
}

/// A table with a transaction in progress, which puts `a`, checks that there is no `b`, and deletes `c`.
struct Scene {
    table: Arc<Table>,
    running: tokio::task::JoinHandle<(u16, Value)>,
    _turning: Turning,
}

impl Scene {
    async fn start() -> Self {
        let table = Arc::new(Table::start().await);
        table.proxy.lock_transactions(HOLD);
        let _turning = follow_work();
        let caller = table.clone();
        let running =
            tokio::spawn(
                async move { caller.call("TransactWriteItems", Self::transaction()).await },
            );
        // The time moves on once the transaction waits.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self {
            table,
            running,
            _turning,
        }
    }

    fn transaction() -> Value {
        let mut check = key("b");
        check["ConditionExpression"] = "attribute_not_exists(pk)".into();
        let parts =
            json!([{ "Put": put("a") }, { "ConditionCheck": check }, { "Delete": key("c") }]);
        json!({ "TransactItems": parts, "ClientRequestToken": "one" })
    }

    /// Asserts that a call is refused, and returns the answer.
    async fn refused(&self, operation: &str, body: Value, error: &str) -> Value {
        let before = self.table.proxy.conflicts();
        let (status, answer) = self.table.call(operation, body).await;
        assert_eq!(status, 400, "{operation}: {answer}");
        let kind = answer["__type"].as_str().unwrap();
        assert_eq!(kind, format!("com.amazonaws.dynamodb.v20120810#{error}"));
        assert_eq!(self.table.proxy.conflicts(), before + 1);
        answer
    }

    async fn admitted(&self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.table.call(operation, body).await;
        assert_eq!(status, 200, "{operation}: {answer}");
        answer
    }
}

#[tokio::test]
async fn plain_writes_of_the_items_of_a_transaction_fail_and_reads_do_not() {
    let scene = Scene::start().await;
    let conflict = "TransactionConflictException";

    let answer = scene.refused("PutItem", put("a"), conflict).await;
    assert_eq!(answer["message"], "Transaction is ongoing for the item");
    scene.refused("UpdateItem", key("b"), conflict).await;
    scene.refused("DeleteItem", key("c"), conflict).await;

    scene.admitted("PutItem", put("d")).await;
    // Nothing is written before the end.
    assert_eq!(
        scene.admitted("GetItem", key("a")).await["Item"],
        Value::Null
    );
    let all = scene
        .admitted("Scan", json!({ "TableName": "things" }))
        .await;
    assert_eq!(all["Count"], 1);
    let keys = json!({ "RequestItems": { "things": { "Keys": [key("a")["Key"]] } } });
    scene.admitted("BatchGetItem", keys).await;
}

#[tokio::test]
async fn another_transaction_on_one_of_the_items_is_cancelled_with_the_reason_at_its_place() {
    let scene = Scene::start().await;
    let canceled = "TransactionCanceledException";

    let parts = json!([{ "Put": put("d") }, { "Update": key("b") }]);
    let body = json!({ "TransactItems": parts, "ClientRequestToken": "two" });
    let answer = scene.refused("TransactWriteItems", body, canceled).await;
    assert_eq!(
        answer["CancellationReasons"],
        json!([
            { "Code": "None" },
            { "Code": "TransactionConflict", "Message": "Transaction is ongoing for the item" },
        ])
    );
    let message = answer["Message"].as_str().unwrap();
    assert!(
        message.ends_with("[None, TransactionConflict]"),
        "{message}"
    );
    let reads = json!({ "TransactItems": [{ "Get": key("a") }] });
    scene.refused("TransactGetItems", reads, canceled).await;

    // The cancelled one has written nothing and holds nothing.
    assert_eq!(
        scene.admitted("GetItem", key("d")).await["Item"],
        Value::Null
    );
    scene.admitted("PutItem", put("d")).await;
}

#[tokio::test]
async fn the_same_transaction_sent_again_is_one_in_progress() {
    let scene = Scene::start().await;

    let in_progress = "TransactionInProgressException";
    let again = Scene::transaction();
    scene
        .refused("TransactWriteItems", again, in_progress)
        .await;
}

#[tokio::test]
async fn a_transaction_that_is_done_holds_nothing() {
    let Scene {
        table,
        running,
        _turning,
    } = Scene::start().await;

    assert_eq!(running.await.unwrap().0, 200);

    let (status, _) = table.call("DeleteItem", key("a")).await;
    assert_eq!(status, 200);
    assert_eq!(table.proxy.conflicts(), 0);
}

#[tokio::test]
async fn without_the_mode_no_call_meets_a_transaction() {
    let table = Table::start().await;
    let parts = json!([{ "Put": put("a") }]);
    let body = json!({ "TransactItems": parts, "ClientRequestToken": "one" });
    let again = json!({ "TransactItems": parts, "ClientRequestToken": "two" });

    let (one, two, plain) = tokio::join!(
        table.call("TransactWriteItems", body),
        table.call("TransactWriteItems", again),
        table.call("PutItem", put("a")),
    );

    assert_eq!((one.0, two.0, plain.0), (200, 200, 200));
    assert_eq!(table.proxy.conflicts(), 0);
}
