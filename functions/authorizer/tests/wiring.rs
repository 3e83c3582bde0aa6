//! The authorizer's own process, with the events of all configurations.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use serde_json::{Value, json};
use tests::{
    Service,
    lambda::{Lambda, Outcome},
};

/// An event of an HTTP API in payload format 2.0.
fn event(token: &str) -> Value {
    json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": "arn:aws:execute-api:us-east-1:123456789012:abcdef123/$default/GET/orders",
        "identitySource": [format!("Bearer {token}")],
        "routeKey": "GET /orders",
        "rawPath": "/orders",
        "rawQueryString": "",
        "headers": { "authorization": format!("Bearer {token}"), "host": "api.example.com" },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdef123",
            "http": { "method": "GET", "path": "/orders", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "agent" },
            "requestId": "id",
            "routeKey": "GET /orders",
            "stage": "$default",
            "timeEpoch": 1_583_348_638_390_u64,
        },
    })
}

/// The events of the forms that get a policy.
fn events_for_a_policy(token: &str) -> Vec<(&'static str, Value)> {
    let bearer = format!("Bearer {token}");
    let arn = "arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/GET/orders";
    let context = json!({
        "path": "/orders", "accountId": "123456789012", "resourceId": "123456", "stage": "test", "requestId": "id",
        "identity": { "sourceIp": "192.0.2.1" }, "resourcePath": "/orders", "httpMethod": "GET", "apiId": "abcdef123",
    });
    let http_1_0 = json!({
        "version": "1.0", "type": "REQUEST", "methodArn": arn, "identitySource": bearer, "authorizationToken": bearer,
        "resource": "/orders", "path": "/orders", "httpMethod": "GET", "headers": { "authorization": bearer },
        "queryStringParameters": {}, "pathParameters": {}, "stageVariables": {}, "requestContext": context,
    });
    let rest_request = json!({
        "type": "REQUEST", "methodArn": arn, "resource": "/orders", "path": "/orders", "httpMethod": "GET",
        "headers": { "Authorization": bearer }, "multiValueHeaders": { "Authorization": [bearer] },
        "queryStringParameters": {}, "requestContext": context,
    });
    let rest_token = json!({ "type": "TOKEN", "methodArn": arn, "authorizationToken": bearer });
    vec![
        ("an HTTP API, payload format 1.0", http_1_0),
        ("a REST API, REQUEST", rest_request),
        ("a REST API, TOKEN", rest_token),
    ]
}

/// Events that have none of the forms.
fn other_events(token: &str) -> Vec<(&'static str, Value)> {
    let bearer = format!("Bearer {token}");
    let mut without_version = event(token);
    without_version.as_object_mut().unwrap().remove("version");
    let mut others = vec![
        ("no version", without_version),
        ("the token alone", json!(bearer)),
        ("a list", json!([bearer])),
    ];
    let changed = events_for_a_policy(token)
        .into_iter()
        .flat_map(|(name, event)| {
            let changes = [
                ("methodArn", Value::Null),
                (
                    "methodArn",
                    json!("arn:aws:execute-api:us-east-1:123456789012:*/test/GET/orders"),
                ),
                ("methodArn", json!("*")),
                ("type", Value::Null),
                ("type", json!("USER")),
                ("version", json!("2.0")),
                ("version", json!("3.0")),
            ];
            changes.map(|(member, value)| {
                let mut event = event.clone();
                event[member] = value;
                (name, event)
            })
        });
    others.extend(changed);
    others
}

#[tokio::test]
async fn t171_each_form_of_event_gets_the_answer_that_its_api_reads() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let mut authorizer = Lambda::start(env!("CARGO_BIN_EXE_authorizer"), &service.variables).await;

    for (name, event) in events_for_a_policy(&token) {
        let Outcome::Answer(answer) = authorizer.invoke(&event).await else {
            panic!("{name}: no answer")
        };
        let statement = &answer["policyDocument"]["Statement"][0];
        assert_eq!(statement["Effect"], "Allow", "{name}: {answer}");
        assert_eq!(answer["principalId"], answer["context"]["sub"], "{name}");
    }
    let Outcome::Answer(answer) = authorizer.invoke(&event(&token)).await else {
        panic!("no answer after the others")
    };
    assert_eq!(answer["isAuthorized"], true);
}

#[tokio::test]
async fn t79_t101_another_wiring_is_an_error_that_says_which_is_needed_and_shows_nothing() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let signature = token.rsplit('.').next().unwrap();
    let mut settings = service.variables.clone();
    settings.insert("LOG_LEVEL".to_owned(), "trace".to_owned());
    let mut authorizer = Lambda::start(env!("CARGO_BIN_EXE_authorizer"), &settings).await;

    for (name, event) in other_events(&token) {
        let Outcome::Failure(failure) = authorizer.invoke(&event).await else {
            panic!("{name}: an answer")
        };
        let message = failure["errorMessage"].as_str().unwrap();
        assert!(message.contains("payload format 2.0"), "{name}: {failure}");
        assert!(
            !failure.to_string().contains(signature),
            "{name}: {failure}"
        );
    }
    let Outcome::Answer(answer) = authorizer.invoke(&event(&token)).await else {
        panic!("no answer after the others")
    };
    assert_eq!(answer["isAuthorized"], true);

    let said = authorizer.stop();
    assert!(said.contains("payload format 2.0"), "{said}");
    assert!(!said.contains(signature), "{said}");
}
