//! A route of your own, written with the `shared` crate.

use axum::{Json, Router, routing::get};
use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::{config::Environment, http::Caller, start::Start, token::TokenVerifier};
use tests::{Answer, Service};
use tokio::task::JoinSet;

/// Serves a route that shows its caller, and returns its URL.
async fn route(running: &mut JoinSet<()>, service: &Service, audiences: &str) -> String {
    let mut variables = service.variables.clone();
    variables.insert("AUDIENCES".to_owned(), audiences.to_owned());
    let env = Environment::of(variables);
    let start = Start::new(&env, service.time.clock()).unwrap();
    let tokens: TokenVerifier = start.api_verifier().await.unwrap();
    let show = async |caller: Caller| {
        Json(json!({
            "user_id": caller.user_id,
            "client_id": caller.client_id,
            "scope": caller.scope,
            "roles": caller.roles,
            "claims": caller.claims,
            "signed_in_at": caller.signed_in_at,
        }))
    };
    tests::serve(
        running,
        Router::new().route("/", get(show)).with_state(tokens),
    )
    .await
}

async fn ask(url: &str, token: &str) -> Answer {
    let request = reqwest::Client::new().get(url).bearer_auth(token);
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_caller_has_all_that_the_token_says_of_the_user() {
    let service = Service::start().await;
    let signed_in = service.sign_in("octocat").await;
    // As the operator's command writes them.
    let mut user = service.users().remove(0);
    user["roles"] = json!({ "L": [{ "S": "support" }] });
    user["claims"] = json!({ "S": r#"{"plan":"pro"}"# });
    service.put(local::dynamodb::TABLE, &user);
    let refreshed = service.refresh(signed_in.text("/refresh_token")).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{:?}", refreshed.body);
    let token = refreshed.text("/access_token");
    let claims = service.verify(token).await;
    let mut running = JoinSet::new();
    let url = route(&mut running, &service, "").await;

    let answer = ask(&url, token).await;

    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    assert_eq!(answer.body["user_id"], signed_in.text("/user/id"));
    assert_eq!(answer.body["client_id"], "nextjs");
    assert_eq!(answer.body["scope"], "orders:read orders:write");
    assert_eq!(answer.body["roles"], json!(["support"]));
    assert_eq!(answer.body["claims"], json!({ "plan": "pro" }));
    assert_eq!(answer.body["signed_in_at"], json!(claims.auth_time));
}

#[tokio::test]
async fn t28_a_route_takes_tokens_for_its_audiences_and_me_for_the_usual_one_alone() {
    let clients = tests::clients(&[tests::CLIENT, tests::OTHER_CLIENT]);
    let mut clients: Value = serde_json::from_str(&clients).unwrap();
    let (shop, stock) = ("https://shop.example.com", "https://stock.example.com");
    clients[1]["audiences"] = json!([shop]);
    let both = format!("{shop},{stock}");
    let settings = [("CLIENTS", &*clients.to_string()), ("AUDIENCES", &both)];
    let service = Service::start_with(&settings).await;
    let usual = service.access_token("octocat").await;
    let subject_token = service.github_token("octocat");
    let form = tests::exchange_of(&subject_token);
    let request = service.token_request_as(tests::OTHER_CLIENT, &form);
    let answer = service.send(request).await;
    let for_shop = answer.text("/access_token");
    let mut running = JoinSet::new();

    for (audiences, takes_usual, takes_shop) in [
        ("", true, false),
        (&both, false, true),
        (stock, false, false),
    ] {
        let url = route(&mut running, &service, audiences).await;
        for (token, is_taken) in [(&*usual, takes_usual), (for_shop, takes_shop)] {
            let status = ask(&url, token).await.status;
            let expected = if is_taken {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            };
            assert_eq!(status, expected, "{audiences}");
        }
    }
    // Cambio's own routes do not read the setting.
    assert_eq!(service.me(&usual).await.status, StatusCode::OK);
    let refused = service.me(for_shop).await.status;
    assert_eq!(refused, StatusCode::UNAUTHORIZED);
}
