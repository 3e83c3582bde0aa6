//! The events of API Gateway: those that become requests, and those of the authorizer.

use std::sync::{Mutex, OnceLock, PoisonError};

use authorizer::Authorizer;
use axum::{Json, Router, body::Bytes, extract::Request};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use shared::{clock::Clock, config::Environment, fuzzing::Target};
use tokio::runtime::{Builder, Runtime};

pub(crate) const EVENTS: Target = Target {
    name: "events",
    seeds: event_seeds,
    run: event,
};

pub(crate) const AUTHORIZER: Target = Target {
    name: "authorizer-events",
    seeds: authorizer_seeds,
    run: authorize,
};

const ME: &str = include_str!("../../events/me.json");
const TOKEN: &str = include_str!("../../events/token-exchange.json");
const ORDERS: &str = include_str!("../../events/authorizer.json");

/// Runs a future on the runtime of the targets of this crate.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Mutex<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_current_thread();
        Mutex::new(builder.enable_all().build().expect("a runtime"))
    });
    let runtime = runtime.lock().unwrap_or_else(PoisonError::into_inner);
    runtime.block_on(future)
}

fn changed(event: &str, pointer: &str, value: Value) -> String {
    let mut event: Value = serde_json::from_str(event).expect("an event");
    match event.pointer_mut(pointer) {
        Some(member) => *member = value,
        None => event[&pointer[1..]] = value,
    }
    event.to_string()
}

fn event_seeds() -> Vec<String> {
    let me = |pointer: &str, value: Value| changed(ME, pointer, value);
    vec![
        ME.to_owned(),
        TOKEN.to_owned(),
        ORDERS.to_owned(),
        me("/version", json!("1.0")),
        me("/rawPath", json!("/a b<>")),
        me("/rawPath", json!("/é/%2e%2e//x;y=1")),
        me("/rawPath", json!("me?a=b#c")),
        me("/rawPath", json!("//evil.example/")),
        me("/rawQueryString", json!("a=<b>&c=%zz")),
        me("/rawQueryString", json!("a#b")),
        me("/headers", json!(null)),
        me("/headers", json!({ "Host": "a b", "x-forwarded-proto": "\u{1}" })),
        me("/headers", json!({ "a": "1,2", "A": "3", "é": "4" })),
        me("/cookies", json!(["a=b", "c=\n"])),
        me("/requestContext/http/method", json!("BR EW")),
        me("/requestContext/stage", json!("prod")),
        me("/body", json!("a=b")),
        changed(&me("/body", json!("YT1i")), "/isBase64Encoded", json!(true)),
        changed(&me("/body", json!("YT1")), "/isBase64Encoded", json!(true)),
        // Payload format 1.0, and an Application Load Balancer.
        json!({
            "version": "1.0", "resource": "/me", "path": "/me", "httpMethod": "GET", "headers": { "a": "b" },
            "multiValueHeaders": { "a": ["b"] }, "queryStringParameters": null, "requestContext": { "stage": "$default" },
            "body": null, "isBase64Encoded": false,
        })
        .to_string(),
        json!({
            "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:::targetgroup/a" } },
            "httpMethod": "GET", "path": "/me", "queryStringParameters": {}, "headers": { "host": "a" }, "body": "",
            "isBase64Encoded": false,
        })
        .to_string(),
        "[]".to_owned(),
    ]
}

/// Answers with what arrived.
fn echo() -> Router {
    Router::new().fallback(|request: Request| async {
        let (parts, body) = request.into_parts();
        let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        Json(json!({
            "method": parts.method.as_str(), "uri": parts.uri.to_string(), "body": STANDARD.encode(body),
            "headers": parts.headers.len(),
        }))
    })
}

/// An event of payload format 2.0 is answered, and reaches a route only with its own method, path, query and body. Any
/// other event is an error of the invocation.
fn event(input: &[u8]) -> bool {
    static ROUTES: OnceLock<Router> = OnceLock::new();
    let mut event = serde_json::Deserializer::from_slice(input);
    let answered = block_on(gateway::answer(ROUTES.get_or_init(echo), &mut event));
    let Ok(answer) = answered else {
        return false;
    };
    if answer.body.is_empty() {
        // The answer to HEAD.
        return answer.status_code == 200;
    }
    let echoed: Value = serde_json::from_str(&answer.body).expect("a body of JSON");
    if answer.status_code != 200 {
        assert_eq!(answer.status_code, 400, "{echoed}");
        assert!(answer.headers.contains_key("x-content-type-options"));
        return false;
    }
    // Names that come twice are refused, so the members are those of any parser.
    let event: Value = serde_json::from_slice(input).unwrap_or_default();
    if event.is_null() {
        // The reader stopped at the end of the event, and more follows.
        return true;
    }
    assert_eq!(event["version"], "2.0");
    assert_eq!(echoed["method"], event["requestContext"]["http"]["method"]);
    let query = event["rawQueryString"].as_str().unwrap_or_default();
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    let uri = echoed["uri"].as_str().expect("a path");
    let path = uri.strip_suffix(&*query).expect("the query of the event");
    assert!(path.starts_with('/'), "{path}");
    let raw = event["rawPath"].as_str().expect("a path");
    let stage = event["requestContext"]["stage"]
        .as_str()
        .unwrap_or_default();
    assert!(raw == path || raw == format!("/{stage}{path}"), "{path}");
    let body = event["body"].as_str().unwrap_or_default();
    let body = match event["isBase64Encoded"] {
        Value::Bool(true) => body.to_owned(),
        _ => STANDARD.encode(body),
    };
    assert_eq!(echoed["body"], body);
    true
}

fn authorizer_seeds() -> Vec<String> {
    let orders = |pointer: &str, value: Value| changed(ORDERS, pointer, value);
    vec![
        ORDERS.to_owned(),
        ME.to_owned(),
        orders("/version", json!("1.0")),
        orders("/routeKey", json!(null)),
        orders("/routeKey", json!("$default")),
        orders("/headers", json!(null)),
        orders("/headers", json!({})),
        orders("/headers", json!({ "Authorization": "Bearer a.b.c" })),
        orders(
            "/headers",
            json!({ "authorization": "Bearer a", "Authorization": "Bearer b" }),
        ),
        orders("/headers", json!({ "authorization": "Bearer \n" })),
        orders("/headers", json!({ "authorization": "bearer a, Bearer b" })),
        "{}".to_owned(),
    ]
}

fn authorizer() -> &'static Authorizer {
    static AUTHORIZER: OnceLock<Authorizer> = OnceLock::new();
    AUTHORIZER.get_or_init(|| {
        // A table that does not answer: the keys are unknown, so no token is valid.
        let env = Environment::of([
            ("AWS_REGION", "local"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1"),
            ("ISSUER_URL", "https://api.example.com"),
            ("KEYS_TABLE_NAME", "keys"),
            ("TOKEN_AUDIENCE", "https://api.example.com"),
            ("ROUTE_SCOPES", r#"{"GET /orders":"orders:read","*":""}"#),
        ]);
        let clock = Clock::new(|| 1_700_000_000);
        block_on(Authorizer::start(&env, clock)).expect("an authorizer")
    })
}

/// Without keys, no event is authorized. An event of another format is an error of the invocation.
fn authorize(input: &[u8]) -> bool {
    let authorizer = authorizer();
    let mut event = serde_json::Deserializer::from_slice(input);
    let Ok(response) = block_on(authorizer.authorize(&mut event)) else {
        return false;
    };
    assert!(!response.is_authorized);
    assert_eq!(response.context, authorizer::Context::default());
    true
}
