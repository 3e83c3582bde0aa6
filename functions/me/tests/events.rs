//! The function's own process, with raw events.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use serde_json::{Value, json};
use tests::{
    Service,
    lambda::{Lambda, Outcome},
};

/// Returns the event of an HTTP API for `GET /me`.
fn event(token: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "GET /me",
        "rawPath": "/me",
        "rawQueryString": "",
        "headers": { "authorization": format!("Bearer {token}"), "host": "api.example.com" },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "http": { "method": "GET", "path": "/me", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "agent" },
            "requestId": "id",
            "routeKey": "GET /me",
            "stage": "$default",
            "timeEpoch": 1_583_348_638_390_u64,
        },
        "isBase64Encoded": false,
    })
}

/// Returns that event with another value at a JSON pointer.
fn with(token: &str, pointer: &str, value: Value) -> Value {
    let mut event = event(token);
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap()[name] = value;
    event
}

#[tokio::test]
async fn t101_what_is_no_request_is_a_400_of_ours_and_the_function_goes_on() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let mut settings = service.variables.clone();
    settings.insert("LOG_LEVEL".to_owned(), "trace".to_owned());
    let mut me = Lambda::start(env!("CARGO_BIN_EXE_me"), &settings).await;
    let mut broken_body = with(&token, "/body", "<CANARY>".into());
    broken_body["isBase64Encoded"] = true.into();

    for event in [
        with(&token, "/rawQueryString", "a=<CANARY>".into()),
        with(&token, "/rawQueryString", "a=CANARY b".into()),
        with(&token, "/rawQueryString", "a=CANARY#b".into()),
        with(&token, "/rawPath", "/me CANARY".into()),
        with(&token, "/rawPath", "me".into()),
        with(&token, "/requestContext/http/method", "GET CANARY".into()),
        with(&token, "/headers/x-name", "CANARY\u{7f}".into()),
        broken_body,
    ] {
        let Outcome::Answer(answer) = me.invoke(&event).await else {
            panic!("no answer to {event}")
        };
        assert_eq!(answer["statusCode"], 400, "{event}");
        let headers = &answer["headers"];
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["type"], "urn:cambio:error:invalid_request");
        assert!(!answer.to_string().contains("CANARY"), "{answer}");
    }
    for event in [
        event(&token),
        with(&token, "/headers/x-forwarded-proto", "a b".into()),
        with(&token, "/headers/x-forwarded-proto", "https, http".into()),
        with(&token, "/headers/host", "a b:c".into()),
        with(&token, "/headers/host", "".into()),
        with(&token, "/headers/x-name", "é".into()),
    ] {
        let Outcome::Answer(answer) = me.invoke(&event).await else {
            panic!("no answer to {event}")
        };
        assert_eq!(answer["statusCode"], 200, "{event}");
    }

    for event in [
        with(&token, "/version", "CANARY".into()),
        with(&token, "/headers", json!(["CANARY"])),
        json!("CANARY"),
    ] {
        let Outcome::Failure(error) = me.invoke(&event).await else {
            panic!("an answer to {event}")
        };
        let error = error.to_string();
        assert!(error.contains("payload format 2.0"), "{error}");
        assert!(!error.contains("CANARY"), "{error}");
    }

    let said = me.stop();
    assert!(!said.contains("panicked"), "{said}");
    assert!(!said.contains("CANARY"), "{said}");
}
