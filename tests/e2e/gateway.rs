//! Requests as API Gateway hands them to a Lambda (payload format 2.0), read by the real runtime's own code.

use axum::body::to_bytes;
use base64::{Engine, engine::general_purpose::STANDARD};
use lambda_http::http::StatusCode;
use serde_json::{Value, json};
use tests::{CLIENT, Service, exchange_of};
use tower::ServiceExt;

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

async fn answer(service: &Service, event: &str) -> (StatusCode, Value) {
    let request = lambda_http::request::from_str(event).unwrap();
    let response = service.router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(axum::body::Body::new(response.into_body()), usize::MAX)
        .await
        .unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
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

/// Dot segments are not among these: API Gateway has no route for them, and the runtime would resolve them.
#[tokio::test]
async fn t80_a_path_is_not_decoded_on_its_way() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let headers = json!({ "authorization": format!("Bearer {token}") });
    for path in ["//me", "/me/", "/%6de", "/me%2f", "/ME", "/me%00"] {
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
