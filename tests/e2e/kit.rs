//! The test kit itself, on each DynamoDB.

use local::dynamodb::{KEYS_TABLE, TABLE};
use reqwest::StatusCode;
use tests::Service;

const OWN: &str = "cambio-own";

#[tokio::test]
async fn each_service_has_tables_of_its_own_and_leaves_none() {
    let service = Service::start().await;
    let other = Service::start().await;
    service.make_table(OWN, &["pk"]);
    service.sign_in("octocat").await;
    let tables = [TABLE, KEYS_TABLE, OWN].map(|table| service.table(table));

    assert_eq!(service.users().len(), 1);
    assert!(other.items().is_empty());
    assert!(
        tables
            .iter()
            .all(|table| service.table_names().contains(table))
    );
    drop(service);

    let left = other.table_names();
    let is_shared = |table: &String| {
        [TABLE, KEYS_TABLE]
            .map(|own| other.table(own))
            .contains(table)
    };
    for table in tables {
        // Each embedded DynamoDB has the same names.
        assert!(!left.contains(&table) || is_shared(&table), "{table}");
    }
    let answer = other.sign_in("octocat").await;
    assert_eq!(answer.status, StatusCode::OK);
}

/// The kit reads what is larger than a page of a `Scan`, 1 MB.
#[tokio::test]
async fn the_items_of_all_pages_are_read() {
    let service = Service::start().await;
    let text = "a".repeat(300_000);
    for number in 0..5 {
        let item = serde_json::json!({
            "pk": { "S": format!("USER#{number}") }, "sk": { "S": "USER" }, "text": { "S": text },
        });
        service.put(TABLE, &item);
    }

    assert_eq!(service.users().len(), 5);
}
