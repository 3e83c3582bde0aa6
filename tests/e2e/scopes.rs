//! Scopes at the exchange and at a refresh, and changes of a client's settings while sessions are open.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, CLIENT, OTHER_CLIENT, Service, exchange_of, exchange_parameters, opaque,
    opaque::Opaque,
    proxy::{Fault, When},
    refresh_of,
};

/// Exchanges a new GitHub token with this `scope`.
async fn exchange(service: &Service, scope: &str) -> Answer {
    let token = service.github_token("octocat");
    let mut parameters = exchange_of(&token).to_vec();
    parameters.push(("scope", scope));
    service.token(&parameters).await
}

async fn refresh(service: &Service, token: &str, scope: &str) -> Answer {
    let mut parameters = refresh_of(token).to_vec();
    parameters.push(("scope", scope));
    service.token(&parameters).await
}

fn assert_invalid_scope(answer: &Answer, scope: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{scope:?}");
    assert_eq!(answer.body["error"], "invalid_scope", "{scope:?}");
}

/// Restarts the service with another value of `CLIENTS` on the same tables.
async fn redeploy(service: &mut Service, change: impl FnOnce(&mut Value)) {
    let mut clients = serde_json::from_str(&service.variables["CLIENTS"]).unwrap();
    change(&mut clients);
    let clients = Value::to_string(&clients);
    service.variables.insert("CLIENTS".to_owned(), clients);
    service.url = service.another_process().await;
}

#[tokio::test]
async fn t116_a_scope_is_read_alike_at_the_exchange_and_at_a_refresh() {
    let service = Service::start().await;
    let repeated = "orders:read ".repeat(40);
    for (asked, granted) in [
        ("orders:read ", "orders:read"),
        (" orders:read", "orders:read"),
        ("orders:read  orders:write", "orders:read orders:write"),
        ("orders:write orders:read", "orders:read orders:write"),
        (&repeated, "orders:read"),
    ] {
        let opened = exchange(&service, asked).await;
        assert_eq!(opened.status, StatusCode::OK, "{asked:?} {:?}", opened.body);
        assert_eq!(opened.text("/scope"), granted, "{asked:?}");

        let refreshed = refresh(&service, opened.text("/refresh_token"), asked).await;
        assert_eq!(refreshed.status, StatusCode::OK, "{asked:?}");
        assert_eq!(refreshed.text("/scope"), granted, "{asked:?}");
        let claims = service.verify(refreshed.text("/access_token")).await;
        assert_eq!(claims.scope.as_deref(), Some(granted), "{asked:?}");
    }
}

#[tokio::test]
async fn t116_a_scope_that_is_malformed_or_too_long_is_refused_before_anything_happens() {
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    let before = service.items();
    service.dynamodb.clear();
    service.github.clear();
    for scope in [
        "orders:read ".repeat(4_000).trim_end(),
        " ",
        "   ",
        "orders:read \"admin\"",
        "orders\\read",
        "orders:read admin",
        &"x".repeat(2_000),
    ] {
        assert_invalid_scope(&exchange(&service, scope).await, scope);
        assert_invalid_scope(&refresh(&service, &token, scope).await, scope);
    }

    assert!(service.dynamodb.calls().is_empty());
    assert!(service.github.calls().is_empty());
    assert_eq!(service.items(), before);
}

#[tokio::test]
async fn t116_a_scope_beyond_the_sessions_grant_uses_no_token_up() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let first = exchange(&service, "orders:read").await;
    let token = first.text("/refresh_token");
    let before = service.sessions();
    // Slow enough that calls that are made in parallel overlap.
    let slow = Fault::Delay(Duration::from_millis(200));
    service.dynamodb.fault(When::Always, slow);
    for scope in ["orders:write", "orders:read orders:write"] {
        service.dynamodb.clear();
        assert_invalid_scope(&refresh(&service, token, scope).await, scope);
        assert_eq!(service.dynamodb.round_trips(), 1);
        assert_eq!(service.sessions(), before, "nothing rotated");
    }

    service.dynamodb.clear();
    let next = refresh(&service, token, "orders:read").await;
    assert_eq!(next.status, StatusCode::OK, "{:?}", next.body);
    assert_eq!(service.dynamodb.round_trips(), 1);
    let consumed = service.dynamodb.consumed();
    assert!(consumed.write <= 1.0 && consumed.read <= 1.0);
    service.dynamodb.heal();
    // The token before gets the same successor again; for a wider scope it gets nothing.
    assert_invalid_scope(&refresh(&service, token, "orders:write").await, "again");
    let again = refresh(&service, token, "orders:read").await;
    assert_eq!(again.text("/refresh_token"), next.text("/refresh_token"));
}

#[tokio::test]
async fn t37_a_wrong_token_is_told_nothing_about_the_scope_of_a_session() {
    let service = Service::start().await;
    let first = exchange(&service, "orders:read").await;
    let token = first.text("/refresh_token");
    let other = service.refresh_token("hubot").await;
    let forged = crate::sessions::spliced(token, &other);
    let next = service.refresh(token).await;
    let last = service.refresh(next.text("/refresh_token")).await;
    let before = service.sessions();

    for scope in ["orders:read", "orders:write"] {
        let refused = refresh(&service, &forged, scope).await;
        assert_eq!(refused.body["error"], "invalid_grant", "{scope}");
    }
    assert_eq!(service.sessions(), before);
    // A copy that falls behind ends the session, whatever scope it asks for.
    let reused = refresh(&service, token, "orders:write").await;
    assert_eq!(reused.body["error"], "invalid_grant");
    let over = service.refresh(last.text("/refresh_token")).await;
    assert_eq!(over.body["error"], "invalid_grant");
}

#[tokio::test]
async fn a_scope_whose_name_is_part_of_a_granted_one_is_another_scope() {
    let mut service = Service::start().await;
    redeploy(&mut service, |clients| {
        clients[0]["scopes"] = json!(["orders", "orders:read"]);
    })
    .await;
    let first = exchange(&service, "orders:read").await;
    let before = service.sessions();

    let more = refresh(&service, first.text("/refresh_token"), "orders").await;

    assert_invalid_scope(&more, "orders");
    assert_eq!(service.sessions(), before);
}

#[tokio::test]
async fn t96_a_scope_taken_from_a_client_is_gone_from_its_open_sessions() {
    let mut service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    let write = exchange(&service, "orders:write").await;

    redeploy(&mut service, |clients| {
        clients[0]["scopes"] = json!(["orders:read", "stock:read"]);
    })
    .await;

    let next = service.refresh(&token).await;
    assert_eq!(next.text("/scope"), "orders:read", "and nothing new");
    let claims = service.verify(next.text("/access_token")).await;
    assert_eq!(claims.scope.as_deref(), Some("orders:read"));
    let before = service.sessions();
    for scope in ["orders:write", "orders:read orders:write", "stock:read"] {
        let token = next.text("/refresh_token");
        assert_invalid_scope(&refresh(&service, token, scope).await, scope);
    }
    assert_eq!(service.sessions(), before);
    let none = service.refresh(write.text("/refresh_token")).await;
    assert_eq!(none.status, StatusCode::OK, "still signed in");
    assert!(none.body.get("scope").is_none(), "{:?}", none.body);
    let claims = service.verify(none.text("/access_token")).await;
    assert_eq!(claims.scope, None);

    // Given back, it is there again: the session was granted it.
    redeploy(&mut service, |clients| {
        clients[0]["scopes"] = json!(["orders:read", "orders:write"]);
    })
    .await;
    let again = service.refresh(next.text("/refresh_token")).await;
    assert_eq!(again.text("/scope"), "orders:read orders:write");
}

#[tokio::test]
async fn a_session_of_an_earlier_version_has_its_scope_as_one_text_and_goes_on() {
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    let mut session = service.sessions().remove(0);
    assert_eq!(
        session["scope"],
        json!({ "SS": ["orders:read", "orders:write"] })
    );
    session["scope"] = json!({ "S": "orders:read orders:read" });
    session.as_object_mut().unwrap().remove("provider");
    service.put(local::dynamodb::TABLE, &session);

    let refused = refresh(&service, &token, "orders:write").await;
    assert_invalid_scope(&refused, "orders:write");
    assert_eq!(service.sessions(), [session]);
    let less = refresh(&service, &token, "orders:read").await;
    assert_eq!(less.text("/scope"), "orders:read");
    let all = service.refresh(less.text("/refresh_token")).await;
    assert_eq!(all.text("/scope"), "orders:read");
}

/// Signs in with a token of Discord.
async fn discord(service: &Service, client: (&str, &str)) -> Answer {
    let token = format!("{}~ada~identify", opaque::APP);
    let form = exchange_parameters("discord", &token);
    service.send(service.token_request_as(client, &form)).await
}

#[tokio::test]
async fn t96_a_session_by_a_provider_that_the_client_lost_is_refreshed_no_more() {
    let others = Opaque::start().await;
    let settings = [("OAUTH_PROVIDERS", &*others.settings())];
    let mut service = Service::start_with(&settings).await;
    let by_discord = discord(&service, CLIENT).await;
    let by_discord = by_discord.text("/refresh_token");
    let by_github = service.refresh_token("octocat").await;
    let signed_in = service.sign_in("hubot").await;
    let mut unnamed = signed_in.text("/refresh_token").to_owned();
    // A session of before the provider was written down.
    let hubot = format!("USER#{}", signed_in.text("/user/id"));
    for mut session in service.sessions() {
        if session["pk"]["S"] == hubot {
            session.as_object_mut().unwrap().remove("provider");
            service.put(local::dynamodb::TABLE, &session);
        }
    }

    redeploy(&mut service, |clients| {
        clients[0]["providers"] = json!(["github"]);
    })
    .await;

    let before = service.sessions();
    let refused = service.refresh(by_discord).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.body["error"], "invalid_grant");
    assert_eq!(service.sessions(), before, "nothing rotated");
    assert_eq!(service.refresh(&by_github).await.status, StatusCode::OK);
    for _ in 0..2 {
        let next = service.refresh(&unnamed).await;
        assert_eq!(next.status, StatusCode::OK, "{:?}", next.body);
        unnamed = next.text("/refresh_token").to_owned();
    }

    // With the provider allowed again, the refused token refreshes the session.
    redeploy(&mut service, |clients| {
        clients[0]["providers"] = json!(["github", "discord"]);
    })
    .await;
    let next = service.refresh(by_discord).await;
    assert_eq!(next.status, StatusCode::OK, "{:?}", next.body);

    // The previous token, whose successor is unused, is refused as well.
    redeploy(&mut service, |clients| {
        clients[0]["providers"] = json!([]);
    })
    .await;
    let repeated = service.refresh(by_discord).await;
    assert_eq!(repeated.body["error"], "invalid_grant");
}

#[tokio::test]
async fn t96_t116_an_api_that_the_client_lost_is_refused_before_the_rotation() {
    let (shop, stock) = ("https://shop.example.com", "https://stock.example.com");
    let mut service = Service::start().await;
    redeploy(&mut service, |clients| {
        clients[1]["audiences"] = json!([shop, stock]);
    })
    .await;
    let post = async |service: &Service, form: &[(&str, &str)]| {
        let request = service.token_request_as(OTHER_CLIENT, form);
        service.send(request).await
    };
    let token = service.github_token("octocat");
    let form = [&exchange_of(&token)[..], &[("audience", stock)]].concat();
    let opened = post(&service, &form).await;
    assert_eq!(opened.status, StatusCode::OK, "{:?}", opened.body);
    let token = opened.text("/refresh_token");

    redeploy(&mut service, |clients| {
        clients[1]["audiences"] = json!([shop]);
    })
    .await;

    let before = service.sessions();
    let refused = post(&service, &refresh_of(token)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.body["error"], "invalid_target");
    assert_eq!(service.sessions(), before, "nothing rotated");
    // The session can be refreshed for an audience that the client still has.
    let form = [&refresh_of(token)[..], &[("audience", shop)]].concat();
    let next = post(&service, &form).await;
    assert_eq!(next.status, StatusCode::OK, "{:?}", next.body);
}

#[tokio::test]
async fn the_largest_settings_of_a_client_can_be_refreshed() {
    let names = |what: &str, count| -> Vec<String> {
        (0..count).map(|nth| format!("{what}{nth}")).collect()
    };
    let mut service = Service::start().await;
    let scopes = names("scope:", 64);
    redeploy(&mut service, |clients| {
        clients[0]["scopes"] = json!(scopes);
        clients[0]["audiences"] = json!(names("https://api.example.com/", 50));
        let providers = [names("provider", 49), vec!["github".to_owned()]].concat();
        clients[0]["providers"] = json!(providers);
    })
    .await;
    let token = service.refresh_token("octocat").await;

    let next = refresh(&service, &token, &scopes.join(" ")).await;

    assert_eq!(next.status, StatusCode::OK, "{:?}", next.body);
    let asked = next.text("/scope").split(' ').count();
    assert_eq!(asked, 64);
    assert!(next.text("/access_token").len() < 8 * 1024);
}
