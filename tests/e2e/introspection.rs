//! `POST /introspect` (RFC 7662).

use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::users::OwnClaims;
use tests::{
    Answer, CLIENT, ISSUER, OTHER_CLIENT, Service,
    proxy::{Fault, When},
};

/// A client that may introspect all tokens.
const API: (&str, &str) = ("orders-api", "CANARY-api-secret");

async fn start() -> Service {
    let mut clients: Value =
        serde_json::from_str(&tests::clients(&[CLIENT, OTHER_CLIENT, API])).unwrap();
    clients[2]["introspects"] = json!(true);
    Service::start_with(&[("CLIENTS", &clients.to_string())]).await
}

async fn introspect(service: &Service, client: (&str, &str), token: &str) -> Answer {
    let request = service.request("POST", "/introspect");
    let request = request.basic_auth(client.0, Some(client.1));
    service
        .send(request.form(&[("token", token), ("token_type_hint", "anything")]))
        .await
}

async fn is_active(service: &Service, token: &str) -> bool {
    let answer = introspect(service, API, token).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let active = answer.body["active"].as_bool().unwrap();
    if !active {
        assert_eq!(answer.body, json!({ "active": false }), "and nothing else");
    }
    active
}

#[tokio::test]
async fn a_good_token_is_told_with_what_it_says() {
    let service = start().await;
    let signed_in = service.sign_in("octocat").await;

    let access = introspect(&service, API, signed_in.text("/access_token")).await;
    let refresh = introspect(&service, API, signed_in.text("/refresh_token")).await;

    for answer in [&access, &refresh] {
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.body["active"], true);
        assert_eq!(answer.text("/iss"), ISSUER);
        assert_eq!(answer.text("/sub"), signed_in.text("/user/id"));
        assert_eq!(answer.text("/client_id"), CLIENT.0);
        assert_eq!(answer.text("/scope"), "orders:read orders:write");
        assert!(answer.body["exp"].as_u64() > answer.body["iat"].as_u64());
    }
    assert_eq!(access.text("/token_type"), "Bearer");
    assert_eq!(access.text("/aud"), ISSUER);
    assert_eq!(access.text("/sid"), refresh.text("/sid"));
    // An operator's own claims stand beside these, and can be none of them.
    for name in access.body.as_object().unwrap().keys() {
        let own = serde_json::Map::from_iter([(name.clone(), json!(true))]);
        assert!(OwnClaims::new(own).is_err(), "{name}");
    }
}

#[tokio::test]
async fn a_token_is_not_good_any_more_the_moment_its_session_ends() {
    let service = start().await;
    for end in ["one", "all", "user", "revoked"] {
        let signed_in = service.sign_in("octocat").await;
        let tokens = ["/access_token", "/refresh_token"].map(|pointer| signed_in.text(pointer));
        for token in tokens {
            assert!(is_active(&service, token).await, "{end}");
        }
        let sid = service.verify(tokens[0]).await.sid;
        let done = match end {
            "one" => {
                service
                    .delete_as_user(tokens[0], &format!("/me/sessions/{sid}"))
                    .await
            }
            "all" => service.delete_as_user(tokens[0], "/me/sessions").await,
            "user" => service.delete_as_user(tokens[0], "/me").await,
            _ => service.revoke(tokens[1]).await,
        };
        assert!(done.status.is_success());
        for token in tokens {
            assert!(!is_active(&service, token).await, "{end}");
        }
    }
}

#[tokio::test]
async fn t71_introspection_reads_the_session_and_the_user_as_of_now() {
    let service = start().await;
    let signed_in = service.sign_in("octocat").await;
    service.dynamodb.clear();

    for token in ["/access_token", "/refresh_token"] {
        assert!(is_active(&service, signed_in.text(token)).await);
    }

    let calls = service.dynamodb.calls();
    // Both at once for the access token, and one after the other for the refresh token.
    assert_eq!(calls.len(), 3, "{calls:#?}");
    for call in &calls {
        assert!(call.is_consistent(), "{call:?}");
    }
}

#[tokio::test]
async fn asking_uses_nothing_up_and_ends_nothing() {
    let service = start().await;
    let first = service.refresh_token("octocat").await;
    let second = service
        .refresh(&first)
        .await
        .text("/refresh_token")
        .to_owned();

    assert!(
        is_active(&service, &first).await,
        "its answer may have been lost"
    );
    assert!(is_active(&service, &second).await);
    let third = service
        .refresh(&second)
        .await
        .text("/refresh_token")
        .to_owned();
    assert!(!is_active(&service, &first).await, "its successor was used");

    assert_eq!(
        service.refresh(&third).await.status,
        StatusCode::OK,
        "nobody ended it"
    );
}

#[tokio::test]
async fn what_is_no_token_or_expired_is_not_good() {
    let service = start().await;
    let forge = tests::forge::Forge::new(&service).await;
    let signed_in = service.sign_in("octocat").await;
    let token = signed_in.text("/access_token");

    assert!(!is_active(&service, "nonsense").await);
    assert!(!is_active(&service, &token[..token.len() - 3]).await);
    // Well signed, and of no session.
    let of_no_session = forge.with_claim("sid", "AAAAAAAAAAAAAAAAAAAAAA");
    assert!(!is_active(&service, &of_no_session).await);
    service.time.pass(900);
    assert!(!is_active(&service, token).await);
    service.time.pass(31 * 24 * 60 * 60);
    assert!(!is_active(&service, signed_in.text("/refresh_token")).await);
}

#[tokio::test]
async fn t67_a_client_learns_nothing_of_others_tokens() {
    let service = start().await;
    let signed_in = service.sign_in("octocat").await;

    for pointer in ["/access_token", "/refresh_token"] {
        let token = signed_in.text(pointer);
        let own = introspect(&service, CLIENT, token).await;
        let other = introspect(&service, OTHER_CLIENT, token).await;
        let unknown = introspect(&service, OTHER_CLIENT, "nonsense").await;
        assert_eq!(own.body["active"], true);
        assert_eq!((other.status, &other.body), (unknown.status, &unknown.body));
        let wrong = introspect(&service, (CLIENT.0, "wrong"), token).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert_eq!(wrong.body["error"], "invalid_client");
    }
    let missing = service
        .request("POST", "/introspect")
        .basic_auth(API.0, Some(API.1));
    let missing = service.send(missing.form(&[("x", "y")])).await;
    assert_eq!(missing.body["error"], "invalid_request");
}

#[tokio::test]
async fn t70_an_outage_is_no_answer() {
    let service = start().await;
    let signed_in = service.sign_in("octocat").await;
    service.dynamodb.fault(When::Always, Fault::Refuse);

    for pointer in ["/access_token", "/refresh_token"] {
        let answer = introspect(&service, API, signed_in.text(pointer)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{pointer}");
    }
}
