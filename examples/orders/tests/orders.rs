//! The route, asked with tokens that Cambio issued.

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
use orders::Orders;
use serde_json::Value;
use shared::config::Environment;
use tests::Service;
use tower::ServiceExt as _;

async fn get_orders(service: &Service, token: &str) -> Response {
    let env = Environment::of(service.variables.clone());
    let orders = Orders::start(&env, service.time.clock()).await.unwrap();
    let request = Request::get("/orders").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let request = request.body(Body::empty()).unwrap();
    orders::router(orders).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_user_whom_cambio_signed_in_gets_an_answer() {
    let service = Service::start().await;
    let signed_in = service.sign_in("octocat").await;

    let answer = get_orders(&service, signed_in.text("/access_token")).await;

    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["user"], signed_in.text("/user/id"));
    assert_eq!(body["sees_all"], false);
}

#[tokio::test]
async fn a_token_that_is_not_good_for_it_is_refused() {
    let service = Service::start().await;
    let refresh_token = service.refresh_token("octocat").await;
    let mut narrow = tests::refresh_of(&refresh_token).to_vec();
    narrow.push(("scope", "orders:write"));
    let narrow = service.token(&narrow).await;

    let refused = get_orders(&service, narrow.text("/access_token")).await;
    let nobody = get_orders(&service, "nonsense").await;

    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let challenge = refused.headers()[header::WWW_AUTHENTICATE]
        .to_str()
        .unwrap();
    assert!(
        challenge.contains(r#"error="insufficient_scope""#),
        "{challenge}"
    );
    assert!(challenge.contains(r#"scope="orders:read""#), "{challenge}");
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
}
