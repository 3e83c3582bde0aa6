//! The route, called with tokens that Cambio issued, on an embedded DynamoDB.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
    response::Response,
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use shared::config::Environment;
use tests::Service;
use tower::ServiceExt as _;

use orders::{Function, router};

const SCOPES: [&str; 2] = ["orders:read", "orders:write"];

async fn call(service: &Service, method: &str, token: &str) -> Response {
    let env = Environment::of(service.variables.clone());
    let function = Function::start(&env, service.time.clock()).await.unwrap();
    let request = Request::builder()
        .method(method)
        .uri("/orders")
        .header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.body(Body::empty()).unwrap();
    router(function).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_user_who_signed_in_gets_an_answer() {
    let service = Service::start_with_scopes(&SCOPES).await;
    let signed_in = service.sign_in("octocat").await;

    let answer = call(&service, "GET", signed_in.text("/access_token")).await;

    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["user"], signed_in.text("/user/id"));
    assert_eq!(body["sees_all"], false);
}

#[tokio::test]
async fn a_token_without_the_scope_is_refused() {
    let service = Service::start_with_scopes(&SCOPES).await;
    let refresh_token = service.refresh_token("octocat").await;
    let mut narrow = tests::refresh_of(&refresh_token).to_vec();
    narrow.push(("scope", SCOPES[1]));
    let narrow = service.token(&narrow).await;

    let answer = call(&service, "GET", narrow.text("/access_token")).await;

    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let challenge = &answer.headers()[header::WWW_AUTHENTICATE];
    let challenge = challenge.to_str().unwrap();
    assert!(
        challenge.contains(r#"error="insufficient_scope""#),
        "{challenge}"
    );
    assert!(
        challenge.contains(&format!(r#"scope="{}""#, SCOPES[0])),
        "{challenge}"
    );
}

#[tokio::test]
async fn a_request_without_a_token_of_cambio_is_refused() {
    let service = Service::start().await;

    let answer = call(&service, "GET", "nonsense").await;

    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn another_method_is_refused_with_those_that_there_are() {
    let service = Service::start().await;

    let answer = call(&service, "POST", "nonsense").await;

    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()[header::ALLOW], "GET,HEAD");
}
