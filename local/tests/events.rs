//! The sample events for `cargo lambda invoke`, each answered by its function.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use authorizer::Authorizer;
use local::{
    api,
    server::{Options, Services},
    settings,
};
use rotate_keys::{Order, When};
use serde_json::Value;
use shared::{clock::Clock, config::Environment};

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path)
}

fn event(function: &str) -> Value {
    let file = root("events").join(format!("{function}.json"));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .map(|name| name.trim_end_matches(".json").to_owned())
        .collect()
}

#[test]
fn each_function_has_a_sample_event() {
    assert_eq!(names("events"), names("functions"));
}

#[tokio::test]
async fn each_sample_event_gets_the_answer_of_its_route() {
    let options = Options {
        folder: None,
        dynamodb_port: 0,
        github_port: 0,
    };
    let shell = Environment::of::<String, String>([]);
    let services = Services::start(&options, &shell).await.unwrap();
    let url = "http://localhost:9000";
    let variables = settings::variables(&shell, url, &services.dynamodb, &services.github);
    let env = Environment::of(variables);
    let router = api::start(&env, Clock::system()).await.unwrap();

    for (function, status, text) in [
        ("token-exchange", 400, "invalid_request"),
        ("revoke", 200, ""),
        ("introspect", 200, "\"active\":false"),
        ("me", 401, "invalid_token"),
        ("sessions", 401, "invalid_token"),
        ("identities", 401, "invalid_token"),
        ("discovery", 200, "\"keys\""),
    ] {
        let answer = gateway::answer(&router, event(function)).await.unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!(answer["statusCode"], status, "{function}: {answer}");
        let body = answer["body"].as_str().unwrap_or_default();
        assert!(body.contains(text), "{function}: {answer}");
    }

    let order: Order = serde_json::from_value(event("rotate-keys")).unwrap();
    assert_eq!(order.rotate, When::WhenDue);
    let authorizer = Authorizer::start(&env, Clock::system()).await.unwrap();
    let answer = authorizer.authorize(&event("authorizer")).await.unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    assert_eq!(answer["isAuthorized"], false, "{answer}");
}
