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

/// The folder of the events of each service in front of a function, except those of an HTTP API with payload format
/// 2.0, which are beside them. True if the service calls authorizers.
const SERVICES: [(&str, bool); 5] = [
    ("http-api-1.0", true),
    ("lattice", false),
    ("load-balancer", false),
    ("load-balancer-multi-value", false),
    ("rest-api", true),
];

/// The functions with a route, with the status and a part of the body of the answer to their sample event.
const ROUTES: [(&str, u16, &str); 7] = [
    ("token-exchange", 400, "invalid_request"),
    ("revoke", 200, ""),
    ("introspect", 200, "\"active\":false"),
    ("me", 401, "invalid_token"),
    ("sessions", 401, "invalid_token"),
    ("identities", 401, "invalid_token"),
    ("discovery", 200, "\"keys\""),
];

fn event(function: &str) -> Value {
    let file = root("events").join(format!("{function}.json"));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Returns the names in a folder: those of its events and those of its folders.
fn names(folder: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut events, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(root(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        match name.strip_suffix(".json") {
            Some(event) => events.insert(event.to_owned()),
            None => folders.insert(name),
        };
    }
    (events, folders)
}

#[test]
fn each_function_has_a_sample_event() {
    let (events, services) = names("events");
    let (_, functions) = names("functions");
    assert_eq!(events, functions);
    assert_eq!(services, SERVICES.map(|(name, _)| name.to_owned()).into());
    for (service, has_authorizers) in SERVICES {
        let (mut events, _) = names(&format!("events/{service}"));
        assert_eq!(events.remove("authorizer"), has_authorizers, "{service}");
        assert_eq!(events.remove("authorizer-token"), service == "rest-api");
        assert_eq!(events, ROUTES.map(|(name, ..)| name.to_owned()).into());
    }
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

    let folders = SERVICES.map(|(service, _)| format!("{service}/"));
    for folder in [String::new()].into_iter().chain(folders) {
        for (function, status, text) in ROUTES {
            let event = event(&format!("{folder}{function}"));
            let answer = gateway::answer(&router, event).await.unwrap();
            let answer = serde_json::to_value(answer).unwrap();
            assert_eq!(answer["statusCode"], status, "{folder}{function}: {answer}");
            let body = answer["body"].as_str().unwrap_or_default();
            assert!(body.contains(text), "{folder}{function}: {answer}");
        }
    }

    let order: Order = serde_json::from_value(event("rotate-keys")).unwrap();
    assert_eq!(order.rotate, When::WhenDue);
    let authorizer = Authorizer::start(&env, Clock::system()).await.unwrap();
    let answer = authorizer.authorize(&event("authorizer")).await.unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    assert_eq!(answer["isAuthorized"], false, "{answer}");
    for form in [
        "rest-api/authorizer",
        "rest-api/authorizer-token",
        "http-api-1.0/authorizer",
    ] {
        let answer = authorizer.authorize(&event(form)).await.unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        let statement = &answer["policyDocument"]["Statement"][0];
        assert_eq!(statement["Effect"], "Deny", "{form}: {answer}");
    }
}
