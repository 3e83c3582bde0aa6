//! Amazon's DynamoDB Local, a Java program.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use local::dynamodb::{self, MAIN_KEY};
use serde_json::{Value, json};

/// The folder into which `tests/setup.sh dynamodb-local` installs it.
const LIBRARIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dynamodb-local/lib");
/// The file of its output.
const OUTPUT: &str = "dynamodb-local.log";

/// Ends Java when the input of this shell ends, which happens with the process of the tests, even if that is killed.
const UNTIL_THE_END: &str = r#"java "$@" & read -r _; kill "$!""#;

/// The time in which it starts, sufficient on a busy machine.
const ATTEMPTS: usize = 1200;
const PAUSE: Duration = Duration::from_millis(100);
/// The number of requests of each kind before the tests.
const ROUNDS: usize = 25;

/// Starts it in memory, on a free port, and returns its URL.
#[expect(
    clippy::expect_used,
    reason = "a test without its database has nothing to prove"
)]
pub(super) fn start() -> (String, Child) {
    assert!(
        Path::new(LIBRARIES).join(".stamp").exists(),
        "DynamoDB Local is not installed; run tests/setup.sh dynamodb-local"
    );
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    fs::create_dir_all(&target).expect("the folder of the build");
    let output = File::create(target.join(OUTPUT)).expect("a file for the output");
    let errors = output.try_clone().expect("a file for the output");
    let java = Command::new("sh")
        .args(["-c", UNTIL_THE_END, "sh"])
        // The server runs for a minute or so: time that the compiler spends on more than the first tier is lost.
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g"])
        .arg(format!("-Djava.library.path={LIBRARIES}"))
        .args(["-cp", &format!("{LIBRARIES}/*")])
        .arg("com.amazonaws.services.dynamodbv2.local.main.ServerRunner")
        // One database for all access keys and regions: each other one starts dozens of threads.
        .args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port"])
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .expect("a shell");
    (format!("http://127.0.0.1:{port}"), java)
}

/// Waits until it answers.
pub(super) fn until(answers: impl Fn() -> bool) {
    for _ in 0..ATTEMPTS {
        if answers() {
            return;
        }
        thread::sleep(PAUSE);
    }
    #[expect(
        clippy::panic,
        reason = "a test without its database has nothing to prove"
    )]
    {
        panic!("DynamoDB Local did not start; target/{OUTPUT} has its output");
    }
}

/// Makes each kind of request some times. The first ones take longer than the time limits of the functions, because
/// Java loads and compiles the code that answers them; those limits are the same on each DynamoDB.
pub(super) fn warm_up(call: impl Fn(&str, Value)) {
    let table = "warm-up";
    let key = json!({ "pk": { "S": "a" }, "sk": { "S": "b" } });
    let values = json!({ ":one": { "N": "1" } });
    let condition = "attribute_not_exists(n) OR n > :one";
    let update = json!({
        "TableName": table, "Key": key, "UpdateExpression": "SET n = if_not_exists(n, :one) + :one",
        "ConditionExpression": condition, "ExpressionAttributeValues": values,
        "ReturnConsumedCapacity": "TOTAL",
    });
    let put = json!({ "TableName": table, "Item": key, "ReturnConsumedCapacity": "TOTAL" });
    let read = json!({
        "TableName": table, "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": { ":pk": { "S": "a" } },
    });
    let batch = json!({ "RequestItems": { table: { "Keys": [key], "ConsistentRead": true } } });
    let transaction = json!({ "TransactItems": [{ "Update": {
        "TableName": table, "Key": key, "UpdateExpression": "SET n = :one",
        "ConditionExpression": condition, "ExpressionAttributeValues": values,
    } }] });
    let one = json!({ "TableName": table, "Key": key });
    call("CreateTable", dynamodb::definition(table, MAIN_KEY));
    for _ in 0..ROUNDS {
        for (operation, request) in [
            ("PutItem", &put),
            ("UpdateItem", &update),
            ("GetItem", &one),
            ("Query", &read),
            ("Scan", &json!({ "TableName": table })),
            ("BatchGetItem", &batch),
            ("TransactWriteItems", &transaction),
            ("DeleteItem", &one),
        ] {
            call(operation, request.clone());
        }
    }
    call("DeleteTable", json!({ "TableName": table }));
}
