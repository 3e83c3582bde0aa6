//! Events of an HTTP API (payload format 2.0), read by the code that every function runs.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::HeaderMap,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{CLIENT, Service, exchange_of};

/// An event of an HTTP API with a `$default` stage.
fn event(method: &str, path: &str, headers: &Value, body: Option<&str>, is_base64: bool) -> String {
    json!({
        "version": "2.0",
        "routeKey": format!("{method} {path}"),
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": format!("{method} {path}"),
            "stage": "$default",
            "timeEpoch": 1_583_348_638_390_u64,
        },
        "body": body,
        "isBase64Encoded": is_base64,
    })
    .to_string()
}

/// Paths that a decoding or normalizing step on the way would turn into `/me`.
pub(crate) const OTHER_SPELLINGS: [&str; 9] = [
    "//me",
    "/me/",
    "/%6de",
    "/me%2f",
    "/ME",
    "/me%00",
    "/x/../me",
    "/./me",
    "/x/%2e%2e/me",
];

async fn answer(service: &Service, event: &str) -> (StatusCode, Value) {
    let event: Value = serde_json::from_str(event).unwrap();
    let response = gateway::answer(&service.router, event).await.unwrap();
    let status = StatusCode::from_u16(response.status_code).unwrap();
    (
        status,
        serde_json::from_str(&response.body).unwrap_or_default(),
    )
}

fn form(service: &Service) -> String {
    let token = service.github_token("octocat");
    let pairs = exchange_of(&token).map(|(name, value)| format!("{name}={value}"));
    pairs.join("&")
}

fn headers() -> Value {
    let basic = STANDARD.encode(format!("{}:{}", CLIENT.0, CLIENT.1));
    json!({
        "authorization": format!("Basic {basic}"),
        "content-type": "application/x-www-form-urlencoded",
    })
}

#[tokio::test]
async fn t73_a_base64_body_is_decoded_once() {
    let service = Service::start().await;
    let plain = form(&service);
    let encoded = STANDARD.encode(&plain);
    let twice = STANDARD.encode(&encoded);

    for (body, is_base64, status) in [
        (&plain, false, StatusCode::OK),
        (&encoded, true, StatusCode::OK),
        (&encoded, false, StatusCode::BAD_REQUEST),
        (&twice, true, StatusCode::BAD_REQUEST),
    ] {
        let event = event("POST", "/token", &headers(), Some(body), is_base64);
        assert_eq!(
            answer(&service, &event).await.0,
            status,
            "{is_base64} {body:.30}"
        );
    }
}

#[tokio::test]
async fn t75_headers_that_were_joined_by_a_comma_are_refused() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    for (authorization, status) in [
        (format!("Bearer {token}"), StatusCode::OK),
        (
            format!("Bearer {token},Bearer {token}"),
            StatusCode::UNAUTHORIZED,
        ),
        (
            format!("Bearer {token}, Bearer {token}"),
            StatusCode::UNAUTHORIZED,
        ),
        (
            format!("Basic bmV4dGpzOng=,Bearer {token}"),
            StatusCode::UNAUTHORIZED,
        ),
    ] {
        let headers = json!({ "authorization": authorization });
        let event = event("GET", "/me", &headers, None, false);
        assert_eq!(answer(&service, &event).await.0, status);
    }
}

#[tokio::test]
async fn t80_a_path_is_not_decoded_on_its_way() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let headers = json!({ "authorization": format!("Bearer {token}") });
    for path in OTHER_SPELLINGS {
        let event = event("GET", path, &headers, None, false);
        assert_eq!(
            answer(&service, &event).await.0,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn t73_a_large_body_is_refused_here_as_well() {
    let service = Service::start().await;
    let body = format!("{}&padding={}", form(&service), "x".repeat(64 * 1024));

    let event = event("POST", "/token", &headers(), Some(&body), false);

    assert_eq!(
        answer(&service, &event).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[tokio::test]
async fn t101_a_path_that_holds_a_query_is_refused() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let headers = json!({ "authorization": format!("Bearer {token}") });
    for path in ["/me?a", "/me#a"] {
        let event = event("GET", path, &headers, None, false);

        let (status, _) = answer(&service, &event).await;

        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn t101_a_stage_with_a_name_is_no_part_of_the_path() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let headers = json!({ "authorization": format!("Bearer {token}") });
    for (stage, path, status) in [
        ("prod", "/prod/me", StatusCode::OK),
        ("prod", "/me", StatusCode::OK),
        ("me", "/me/me", StatusCode::OK),
        ("prod", "/prod/prod/me", StatusCode::NOT_FOUND),
        ("prod", "/production/me", StatusCode::NOT_FOUND),
        ("$default", "/$default/me", StatusCode::NOT_FOUND),
        ("", "//me", StatusCode::NOT_FOUND),
    ] {
        let event = event("GET", path, &headers, None, false);
        let mut event: Value = serde_json::from_str(&event).unwrap();
        event["requestContext"]["stage"] = stage.into();
        assert_eq!(
            answer(&service, &event.to_string()).await.0,
            status,
            "{stage} {path}"
        );
    }
}

#[tokio::test]
async fn t101_an_event_of_another_format_is_an_error_that_shows_nothing_of_it() {
    let service = Service::start().await;
    let canary = json!({ "authorization": "Bearer CANARY" });
    let complete = event("GET", "/me", &canary, None, false);
    let mut complete: Value = serde_json::from_str(&complete).unwrap();
    complete["version"] = "1.0".into();
    for event in [
        complete,
        json!({ "version": "1.0", "path": "/me", "httpMethod": "GET", "headers": { "authorization": "Bearer CANARY" } }),
        json!({ "path": "/me", "httpMethod": "GET", "requestContext": { "stage": "a", "elb": { "targetGroupArn": "CANARY" } } }),
        json!({ "version": "2.0", "headers": ["CANARY"] }),
        json!("CANARY"),
    ] {
        let error = gateway::answer(&service.router, event).await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("payload format 2.0"), "{said}");
        assert!(!said.contains("CANARY"), "{said}");
    }
}

/// The request that reaches a route: method, path with query, headers, body.
type Reached = (String, String, HeaderMap, Bytes);

#[tokio::test]
async fn an_honest_event_is_the_request_that_the_runtimes_own_crate_makes_of_it() {
    let reached = Arc::new(Mutex::new(None::<Reached>));
    let routes = Router::new().fallback({
        let reached = reached.clone();
        async move |request: Request| {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let uri = parts.uri.path_and_query().unwrap().to_string();
            *reached.lock().unwrap() = Some((parts.method.to_string(), uri, parts.headers, body));
        }
    });
    let headers = json!({
        "accept": "text/html, */*;q=0.8",
        "content-type": "application/json",
        "host": "api.example.com",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    for (method, path, query, body, is_base64) in [
        ("GET", "/", "", None, false),
        ("GET", "/me", "", None, false),
        ("DELETE", "/me/sessions", "except=current", None, false),
        ("GET", "/me", "a=b&a=c&%3C=%20+", None, false),
        ("GET", "/a%2Fb/%c3%a9", "", None, false),
        ("POST", "/token", "", Some("a=b\u{e9}"), false),
        ("POST", "/token", "", Some("/wD+"), true),
        ("PATCH", "/me", "", Some(""), false),
    ] {
        let event = event(method, path, &headers, body, is_base64);
        let mut event: Value = serde_json::from_str(&event).unwrap();
        event["rawQueryString"] = query.into();
        event["cookies"] = json!(["a=b"]);

        gateway::answer(&routes, event.clone()).await.unwrap();

        let expected = lambda_http::request::from_str(&event.to_string()).unwrap();
        let (parts, body) = expected.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
        let uri = parts.uri.path_and_query().unwrap().to_string();
        let expected = (parts.method.to_string(), uri, parts.headers, body);
        assert_eq!(reached.lock().unwrap().take(), Some(expected));
    }
}

#[tokio::test]
async fn an_answer_is_one_that_the_events_crate_reads() {
    let service = Service::start().await;
    let answers = |path: &str| {
        let event = event("GET", path, &headers(), None, false);
        gateway::answer(
            &service.router,
            serde_json::from_str::<Value>(&event).unwrap(),
        )
    };
    for path in ["/.well-known/jwks.json", "/me"] {
        let answer = answers(path).await.unwrap();

        let json = serde_json::to_value(&answer).unwrap();

        // `cargo lambda watch` reads answers by this type, and answers 500 to what it cannot read.
        let read: ApiGatewayV2httpResponse = serde_json::from_value(json).unwrap();
        assert_eq!(read.status_code, i64::from(answer.status_code));
        assert_eq!(read.headers.len(), answer.headers.len());
        assert!(read.cookies.is_empty() && !read.is_base64_encoded);
    }
}
