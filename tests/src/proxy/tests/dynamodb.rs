use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Fault, Proxy, Units, When, client};

/// A DynamoDB with a table behind a proxy.
pub(super) struct Table {
    pub(super) proxy: Proxy,
    client: Client,
}

impl Table {
    pub(super) async fn start() -> Self {
        let database = dynoxide::Database::memory().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let never = std::future::pending();
        tokio::spawn(dynoxide::server::serve_with_shutdown(
            listener, database, never,
        ));
        let table = Self {
            proxy: Proxy::start(&url).await,
            client: client(),
        };
        let schema = json!({
            "TableName": "things",
            "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        assert_eq!(table.call("CreateTable", schema).await.0, 200);
        table.proxy.clear();
        table
    }

    pub(super) async fn call(&self, operation: &str, body: Value) -> (u16, Value) {
        let signature = "AWS4-HMAC-SHA256 Credential=a/20260101/eu-central-1/dynamodb/aws4_request, \
                         SignedHeaders=host, Signature=0";
        let request = self
            .client
            .post(self.proxy.url())
            .header("authorization", signature)
            .header("x-amz-date", "20260101T000000Z")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn put(&self) -> (u16, Value) {
        let thing = json!({ "TableName": "things", "Item": { "pk": { "S": "a" } } });
        self.call("PutItem", thing).await
    }

    async fn get(&self, consistent: bool) -> (u16, Value) {
        let key = json!({
            "TableName": "things",
            "Key": { "pk": { "S": "a" } },
            "ConsistentRead": consistent,
        });
        self.call("GetItem", key).await
    }
}

#[tokio::test]
async fn dynamodb_says_what_each_call_costs() {
    let table = Table::start().await;

    table.put().await;
    table.get(true).await;
    let (_, found) = table.get(false).await;
    let put = |key| json!({ "Put": { "TableName": "things", "Item": { "pk": { "S": key } } } });
    table
        .call(
            "TransactWriteItems",
            json!({ "TransactItems": [put("b"), put("c")] }),
        )
        .await;

    assert_eq!(found["Item"], json!({ "pk": { "S": "a" } }));
    let calls = table.proxy.calls();
    let operations: Vec<_> = calls
        .iter()
        .map(|call| call.operation.as_deref().unwrap())
        .collect();
    assert_eq!(
        operations,
        ["PutItem", "GetItem", "GetItem", "TransactWriteItems"]
    );
    let units: Vec<_> = calls
        .iter()
        .map(|call| (call.consumed.read, call.consumed.write))
        .collect();
    assert_eq!(units, [(0.0, 1.0), (1.0, 0.0), (0.5, 0.0), (0.0, 4.0)]);
    assert_eq!(
        table.proxy.consumed(),
        Units {
            read: 1.5,
            write: 5.0
        }
    );
    assert!(calls[0].is_write() && !calls[1].is_write() && calls[3].is_write());
    // The body of the caller, not the forwarded one.
    assert_eq!(calls[0].body.get("ReturnConsumedCapacity"), None);
}

#[tokio::test]
async fn dynamodb_can_fail_in_its_own_words() {
    let table = Table::start().await;
    for (fault, status, name) in [
        (
            Fault::provisioned_throughput_exceeded(),
            400,
            "ProvisionedThroughputExceededException",
        ),
        (Fault::throttling(), 400, "ThrottlingException"),
        (Fault::request_limit_exceeded(), 400, "RequestLimitExceeded"),
        (Fault::internal_server_error(), 500, "InternalServerError"),
        (Fault::service_unavailable(), 503, "ServiceUnavailable"),
        (
            Fault::transaction_conflict(),
            400,
            "TransactionConflictException",
        ),
        (
            Fault::transaction_canceled(&["None", "TransactionConflict"]),
            400,
            "TransactionCanceledException",
        ),
    ] {
        table.proxy.fault(When::Operation("PutItem"), fault);
        let (found, body) = table.put().await;
        assert_eq!(found, status);
        let kind = body["__type"].as_str().unwrap();
        assert_eq!(kind.split_once('#').unwrap().1, name);
        if name == "TransactionCanceledException" {
            assert_eq!(body["CancellationReasons"][0], json!({ "Code": "None" }));
            assert_eq!(
                body["CancellationReasons"][1]["Code"],
                "TransactionConflict"
            );
        }
        // Other operations are not affected, and nothing was written.
        assert_eq!(
            table.get(true).await,
            (
                200,
                json!({ "ConsumedCapacity": { "TableName": "things", "CapacityUnits": 1.0 } })
            )
        );
        table.proxy.heal();
    }
}

#[tokio::test]
async fn pages_and_batches_can_be_incomplete() {
    let table = Table::start().await;
    let keys = ["a", "b"].map(|key| json!({ "pk": { "S": key } }));
    for key in &keys {
        let thing = json!({ "TableName": "things", "Item": key });
        assert_eq!(table.call("PutItem", thing).await.0, 200);
    }
    let scan = async || {
        let (_, page) = table.call("Scan", json!({ "TableName": "things" })).await;
        let is_last = page["LastEvaluatedKey"].is_null();
        (page["Items"].as_array().unwrap().len(), is_last)
    };
    let batch = async || {
        let keys = json!({ "Keys": keys, "ConsistentRead": true });
        let batch = json!({ "RequestItems": { "things": keys } });
        let (_, read) = table.call("BatchGetItem", batch).await;
        let left = &read["UnprocessedKeys"]["things"]["Keys"];
        let items = read["Responses"]["things"].as_array().unwrap().len();
        (items, left.as_array().map_or(0, Vec::len))
    };
    assert_eq!((scan().await, batch().await), ((2, true), (2, 0)));

    for (fault, page, read) in [
        (Fault::one_item_a_page(), (1, false), (2, 0)),
        (Fault::one_key_a_batch(), (2, true), (1, 1)),
        (Fault::no_key_of_a_batch(), (2, true), (0, 2)),
    ] {
        table.proxy.fault(When::Always, fault.clone());

        assert_eq!(scan().await, page, "{fault:?}");
        assert_eq!(batch().await, read, "{fault:?}");

        table.proxy.heal();
    }
}
