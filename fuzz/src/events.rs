//! The events of the services in front of the functions: those that become requests, and those of the authorizer.

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
const REST: &str = include_str!("../../events/rest-api/me.json");
const LOAD_BALANCER: &str = include_str!("../../events/load-balancer/token-exchange.json");
const MULTI_VALUE: &str = include_str!("../../events/load-balancer-multi-value/me.json");
const LATTICE: &str = include_str!("../../events/lattice/token-exchange.json");
const HTTP_API_1: &str = include_str!("../../events/http-api-1.0/token-exchange.json");
const REST_ORDERS: &str = include_str!("../../events/rest-api/authorizer.json");
const TOKEN_ORDERS: &str = include_str!("../../events/rest-api/authorizer-token.json");
const HTTP_API_1_ORDERS: &str = include_str!("../../events/http-api-1.0/authorizer.json");

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
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    event.pointer_mut(parent).expect("a member")[name] = value;
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
        me(
            "/headers",
            json!({ "Host": "a b", "x-forwarded-proto": "\u{1}" }),
        ),
        me("/headers", json!({ "a": "1,2", "A": "3", "é": "4" })),
        me("/cookies", json!(["a=b", "c=\n"])),
        me("/requestContext/http/method", json!("BR EW")),
        me("/requestContext/stage", json!("prod")),
        me("/body", json!("a=b")),
        changed(&me("/body", json!("YT1i")), "/isBase64Encoded", json!(true)),
        changed(&me("/body", json!("YT1")), "/isBase64Encoded", json!(true)),
        REST.to_owned(),
        LOAD_BALANCER.to_owned(),
        MULTI_VALUE.to_owned(),
        LATTICE.to_owned(),
        HTTP_API_1.to_owned(),
        changed(REST, "/path", json!("/auth/me")),
        changed(REST, "/resource", json!("/{proxy+}")),
        changed(REST, "/pathParameters", json!({ "proxy": "me" })),
        changed(
            REST,
            "/multiValueQueryStringParameters",
            json!({ "a": ["<b>", "c&d=#"], "é": [""] }),
        ),
        changed(REST, "/requestContext/elb", json!({})),
        changed(
            LOAD_BALANCER,
            "/queryStringParameters",
            json!({ "a": "%3Cb%3E", "c": "#" }),
        ),
        changed(
            MULTI_VALUE,
            "/multiValueHeaders",
            json!({ "authorization": ["a", "b"] }),
        ),
        changed(LATTICE, "/headers", json!({ "a": "1", "b": ["2", "3"] })),
        changed(LATTICE, "/requestContext/http", json!({ "method": "GET" })),
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

/// An event of one service is answered, and reaches a route only with its own method, path, query and body. Any other
/// event is an error of the invocation.
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
        let name = "x-content-type-options";
        assert!(answer.headers.contains_key(name) || answer.multi_value_headers.contains_key(name));
        return false;
    }
    // Names that come twice are refused, so the members are those of any parser.
    let event: Value = serde_json::from_slice(input).unwrap_or_default();
    if event.is_null() {
        // The reader stopped at the end of the event, and more follows.
        return true;
    }
    let context = &event["requestContext"];
    let is = |mark: &str| !context[mark].is_null();
    let marks = [is("http"), is("elb"), is("targetGroupArn")];
    let (method, raw) = match marks {
        [true, false, false] => (&context["http"]["method"], &event["rawPath"]),
        [false, true, false] | [false, false, false] => (&event["httpMethod"], &event["path"]),
        [false, false, true] => (&event["method"], &event["path"]),
        _ => panic!("an event with the marks of two services"),
    };
    let has_version_2 = marks[0] || marks[2];
    assert_eq!(event["version"] == "2.0", has_version_2);
    let has_stage = context["stage"].is_string();
    assert!(marks[0] || has_stage != (marks[1] || marks[2]));
    assert_eq!(echoed["method"], *method);
    let uri = echoed["uri"].as_str().expect("a path");
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    assert!(path.starts_with('/'), "{path}");
    let raw = raw.as_str().expect("a path");
    let base = raw
        .strip_suffix(path)
        .expect("the end of the path of the event");
    let stage = context["stage"].as_str().unwrap_or_default();
    let is_base = base.starts_with('/') && !base.contains("//");
    assert!(
        base.is_empty() || is_base || base == format!("/{stage}"),
        "{base}"
    );
    assert!(base.is_empty() || !(marks[1] || marks[2]), "{base}");
    if marks[0] {
        assert_eq!(query, event["rawQueryString"].as_str().unwrap_or_default());
    }
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
        REST_ORDERS.to_owned(),
        TOKEN_ORDERS.to_owned(),
        HTTP_API_1_ORDERS.to_owned(),
        changed(
            REST_ORDERS,
            "/methodArn",
            json!("arn:aws:execute-api:a:1:b/c/GET/*"),
        ),
        changed(REST_ORDERS, "/multiValueHeaders", json!({ "a": [] })),
        changed(
            TOKEN_ORDERS,
            "/methodArn",
            json!("arn:aws:execute-api:a:1:*/c/GET/"),
        ),
        changed(TOKEN_ORDERS, "/version", json!("2.0")),
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
    let answer = serde_json::to_value(&response).expect("JSON");
    match &response.resource {
        None => assert_eq!(answer["isAuthorized"], false),
        Some(resource) => {
            let statement = &answer["policyDocument"]["Statement"][0];
            assert_eq!(statement["Effect"], "Deny");
            assert!(
                resource.ends_with("/*") && !resource.trim_end_matches("/*").contains(['*', '?'])
            );
        }
    }
    true
}
