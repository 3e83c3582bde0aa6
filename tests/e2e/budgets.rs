//! The budget of each route, measured by DynamoDB's `ConsumedCapacity`.

use std::time::Duration;

use reqwest::StatusCode;
use tests::{
    Service,
    proxy::{Fault, When},
};

use crate::authorizer::authorizer_of;

/// A delay that makes parallel calls overlap.
fn slow_down(service: &Service) {
    service
        .dynamodb
        .fault(When::Always, Fault::Delay(Duration::from_millis(200)));
    service.dynamodb.clear();
}

/// Asserts upper bounds of sequential round trips, write units and read units, and that calls were recorded at all.
fn assert_within(service: &Service, round_trips: usize, write: f64, read: f64) {
    let consumed = service.dynamodb.consumed();
    assert!(
        service.dynamodb.round_trips() <= round_trips,
        "{:#?}",
        service.dynamodb.calls()
    );
    assert!(
        consumed.write <= write && consumed.read <= read,
        "{consumed:?}"
    );
    assert!(consumed.write + consumed.read > 0.0, "nothing was metered");
}

#[tokio::test]
async fn a_first_sign_in_is_within_its_budget() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    slow_down(&service);

    assert_eq!(service.sign_in("octocat").await.body["is_new_user"], true);

    assert_within(&service, 2, 6.0, 0.5);
}

#[tokio::test]
async fn a_returning_sign_in_is_within_its_budget() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    service.sign_in("octocat").await;
    slow_down(&service);

    assert_eq!(service.sign_in("octocat").await.body["is_new_user"], false);

    assert_within(&service, 3, 2.0, 1.5);
}

#[tokio::test]
async fn a_refresh_is_within_its_budget_and_a_repeated_one_writes_nothing() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    slow_down(&service);

    assert_eq!(service.refresh(&token).await.status, StatusCode::OK);

    assert_within(&service, 1, 1.0, 1.0);
    let before = service.sessions();
    assert_eq!(service.refresh(&token).await.status, StatusCode::OK);
    assert_eq!(service.sessions(), before);
}

#[tokio::test]
async fn reading_the_keys_again_before_signing_takes_no_round_trip_of_its_own() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    service.time.pass(60);
    slow_down(&service);

    assert_eq!(service.refresh(&token).await.status, StatusCode::OK);

    assert_within(&service, 1, 1.0, 2.0);
    let reads_keys = |call: &tests::proxy::Call| call.body["Key"]["pk"]["S"] == "KEYSET";
    assert!(service.dynamodb.calls().iter().any(reads_keys));

    service.time.pass(60);
    slow_down(&service);
    let again = service.sign_in("octocat").await;
    assert_eq!(again.body["is_new_user"], false);
    assert_within(&service, 3, 2.0, 2.5);
    assert!(service.dynamodb.calls().iter().any(reads_keys));
}

#[tokio::test]
async fn me_is_within_its_budget() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    slow_down(&service);

    assert_eq!(service.me(&token).await.status, StatusCode::OK);

    // The user, and the session that the token is of.
    assert_within(&service, 1, 0.0, 2.0);
}

#[tokio::test]
async fn signing_out_of_one_session_or_all_is_one_write() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let other = service.access_token("octocat").await;
    let other = service.verify(&other).await.sid;
    let signed_in = service.sign_in("octocat").await;
    let token = signed_in.text("/access_token");
    let refresh_token = signed_in.text("/refresh_token");
    for path in [
        &format!("/me/sessions/{other}"),
        "/me/sessions?except=current",
        "/me/sessions",
    ] {
        slow_down(&service);

        let answer = service.delete_as_user(token, path).await;

        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        // The user and the session that asks are read first.
        assert_within(&service, 2, 1.0, 2.0);
    }
    for token in [refresh_token, token] {
        slow_down(&service);
        assert_eq!(service.revoke(token).await.status, StatusCode::OK);
        assert_within(&service, 1, 1.0, 0.0);
    }
}

#[tokio::test]
async fn introspection_is_one_round_trip_and_an_assertion_one_more() {
    let _turning = tests::timers::follow_work();
    let key = tests::oidc::Key::new("one");
    let clients = serde_json::json!([{ "client_id": "nextjs", "jwks": { "keys": [key.jwk] },
        "secret_sha256": [tests::sha256_hex(tests::CLIENT.1)] }]);
    let service = Service::start_with(&[("CLIENTS", &clients.to_string())]).await;
    let token = service.access_token("octocat").await;
    let request = service.request("POST", "/introspect");
    let request = request.basic_auth(tests::CLIENT.0, Some(tests::CLIENT.1));
    slow_down(&service);

    let answer = service.send(request.form(&[("token", &token)])).await;

    assert_eq!(answer.body["active"], true);
    assert_within(&service, 1, 0.0, 2.0);

    let now = service.time.now();
    let claims = serde_json::json!({
        "iss": "nextjs", "sub": "nextjs", "aud": tests::ISSUER, "exp": now + 60, "jti": "a",
    });
    let form = [
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", &key.sign(&claims)),
        ("token", &token),
    ];
    slow_down(&service);
    let answer = service
        .send(service.request("POST", "/introspect").form(&form))
        .await;

    assert_eq!(answer.body["active"], true, "{:?}", answer.body);
    assert_within(&service, 2, 1.0, 2.0);
}

#[tokio::test]
async fn a_live_authorizer_reads_user_and_session_in_one_round_trip() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let authorizer = authorizer_of(&service, &[("LIVE", "true")]).await;
    let mut event: serde_json::Value = serde_json::from_str(crate::authorizer::EVENT).unwrap();
    event["headers"]["authorization"] = format!("Bearer {token}").into();
    slow_down(&service);

    assert!(authorizer.authorize(&event).await.unwrap().is_authorized);

    assert_within(&service, 1, 0.0, 2.0);
}

#[tokio::test]
async fn the_list_of_sessions_is_one_round_trip() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    slow_down(&service);

    let list = service.my_sessions(&token).await;

    assert_eq!(list.status, StatusCode::OK);
    assert_within(&service, 1, 0.0, 2.0);
}

#[tokio::test]
async fn the_documents_and_a_bad_token_cost_nothing() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    service.dynamodb.clear();

    service
        .send(service.request("GET", "/.well-known/jwks.json"))
        .await;
    service
        .send(service.request("GET", "/.well-known/openid-configuration"))
        .await;
    service.me(&token[..token.len() - 4]).await;
    service.me("nonsense").await;
    service.exchange("nonsense").await;
    service.refresh("nonsense").await;
    service.refresh(&format!("cbr_{}", "A".repeat(119))).await;
    service.revoke("nonsense").await;
    let introspection = service.request("POST", "/introspect");
    let introspection = introspection.basic_auth(tests::CLIENT.0, Some(tests::CLIENT.1));
    service
        .send(introspection.form(&[("token", "nonsense")]))
        .await;
    service.my_sessions("nonsense").await;
    service.delete_as_user("nonsense", "/me").await;
    service.delete_as_user("nonsense", "/me/sessions").await;
    service
        .delete_as_user(&token, "/me/sessions/nonsense")
        .await;

    assert!(service.dynamodb.calls().is_empty());
}
