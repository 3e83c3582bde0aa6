//! The budget of each route, measured by DynamoDB's `ConsumedCapacity`.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, RATE_LIMITS, Service,
    proxy::{Fault, Units, When},
};

use crate::authorizer::authorizer_of;

/// The number of users in the large table of
/// [`the_calls_and_units_of_each_route_do_not_grow_with_the_number_of_users`].
const MANY_USERS: usize = 2_000;

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
async fn a_share_of_the_clients_requests_is_one_write_and_one_round_trip_more() {
    let _turning = tests::timers::follow_work();
    let service = Service::start_with(&RATE_LIMITS).await;
    let mut token = service.refresh_token("octocat").await;
    // The shares of the next minute are one request, two, and four.
    service.time.pass(60);
    for (round_trips, write) in [(2, 2.0), (2, 2.0), (1, 1.0), (2, 2.0)] {
        slow_down(&service);

        let answer = service.refresh(&token).await;

        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        assert_within(&service, round_trips, write, 2.0);
        assert!(service.dynamodb.consumed().write >= write);
        answer.text("/refresh_token").clone_into(&mut token);
    }
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

/// A route with the operations and the units of its calls.
type Cost = (&'static str, Vec<String>, Units);

/// Returns the calls that a route made since the last time.
fn taken(service: &Service, route: &'static str, status: StatusCode) -> Cost {
    assert!(status.is_success(), "{route}: {status}");
    let calls = service.dynamodb.calls();
    let mut operations: Vec<String> = calls.into_iter().filter_map(|c| c.operation).collect();
    operations.sort();
    let cost = (route, operations, service.dynamodb.consumed());
    service.dynamodb.clear();
    cost
}

/// Sends a request to each route that reads or writes the table of users, as one new user.
async fn cost_of_each_route(service: &Service) -> Vec<Cost> {
    let mut costs = Vec::new();
    let mut record = |route, answer: &Answer| costs.push(taken(service, route, answer.status));
    service.dynamodb.clear();
    record("sign-up", &service.sign_in("hubot").await);
    let other = service.sign_in("hubot").await;
    record("sign-in", &other);
    let signed_in = service.refresh(other.text("/refresh_token")).await;
    record("refresh", &signed_in);
    let access_token = signed_in.text("/access_token");
    record("GET /me", &service.me(access_token).await);
    let named = service
        .patch_me(access_token, &json!({ "name": "Mona" }))
        .await;
    record("PATCH /me", &named);
    record("GET /me/sessions", &service.my_sessions(access_token).await);
    let identities = service.as_user(access_token, "GET", "/me/identities");
    record("GET /me/identities", &service.send(identities).await);
    let request = service.request("POST", "/introspect");
    let request = request.basic_auth(tests::CLIENT.0, Some(tests::CLIENT.1));
    let active = service.send(request.form(&[("token", access_token)])).await;
    assert_eq!(active.body["active"], true);
    record("POST /introspect", &active);
    let ended = service
        .delete_as_user(access_token, "/me/sessions?except=current")
        .await;
    record("DELETE /me/sessions", &ended);
    let again = service.sign_in("hubot").await;
    service.dynamodb.clear();
    record(
        "POST /revoke",
        &service.revoke(again.text("/refresh_token")).await,
    );
    record(
        "DELETE /me",
        &service.delete_as_user(access_token, "/me").await,
    );
    costs
}

/// Writes this number of users, each with the items of the one user of the table under other keys.
fn fill(service: &Service, count: usize) {
    let items = service.items();
    let of = |kind: &str| {
        let item = items.iter().find(|item| item["sk"]["S"] == kind).unwrap();
        let (_, key) = item["pk"]["S"].as_str().unwrap().split_once('#').unwrap();
        key.to_owned()
    };
    let (id, identity) = (of("USER"), of("IDENTITY"));
    let text = Value::from(items.clone()).to_string();
    let copies: Vec<Value> = (0..count)
        .flat_map(|nth| {
            let copy = text
                .replace(&id, &uuid::Uuid::new_v4().to_string())
                .replace(&identity, &format!("github#copy-{nth}"))
                .replace("octocat@", &format!("octocat-{nth}@"));
            serde_json::from_str::<Vec<Value>>(&copy).unwrap()
        })
        .collect();
    service.put_all(local::dynamodb::TABLE, &copies);
}

#[tokio::test]
async fn the_calls_and_units_of_each_route_do_not_grow_with_the_number_of_users() {
    let _turning = tests::timers::follow_work();
    let (small, large) = (Service::start().await, Service::start().await);
    for service in [&small, &large] {
        service.sign_in("octocat").await;
    }
    fill(&large, MANY_USERS);

    let of_large = cost_of_each_route(&large).await;

    assert_eq!(cost_of_each_route(&small).await, of_large);
    assert!(of_large.iter().all(|(_, calls, _)| !calls.is_empty()));
    assert_eq!(large.users().len(), MANY_USERS + 1);
}
