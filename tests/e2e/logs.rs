//! T79: secrets stay out of the logs.
//!
//! All tests of this binary log at level `trace`, through a writer that fails on a secret. This test checks that log
//! lines are written.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    CLIENT, Service, log_lines,
    oidc::{Issuer, Key},
    proxy::{Fault, When},
};

#[tokio::test]
async fn t79_what_happens_is_logged_and_no_secret_is() {
    let service = Service::start().await;
    let subject_token = service.github_token("octocat");
    let token = service
        .exchange(&subject_token)
        .await
        .text("/access_token")
        .to_owned();
    service.me(&token).await;
    service.me(&format!("{token}x")).await;
    service.exchange("gho_madeup").await;
    let wrong = service
        .request("POST", "/token")
        .basic_auth(CLIENT.0, Some("CANARY-wrong"));
    service.send(wrong.form(&[("grant_type", "x")])).await;
    let odd = service
        .request("POST", "/token")
        .basic_auth(CLIENT.0, Some(CLIENT.1));
    let odd = odd.form(&[(subject_token.as_str(), "1"), (subject_token.as_str(), "2")]);
    assert_eq!(service.send(odd).await.status, StatusCode::BAD_REQUEST);
    service.github.fault(When::Always, Fault::html());
    service.exchange(&subject_token).await;
    service.dynamodb.down().await;
    service.me(&token).await;
    service
        .send(service.request("GET", &format!("/{token}")))
        .await;

    let lines = log_lines();

    let parsed: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let has = |name: &str, value: &str| parsed.iter().any(|line| line[name] == value);
    assert!(has("event", "request"));
    for code in [
        "invalid_token",
        "invalid_request",
        "invalid_client",
        "temporarily_unavailable",
    ] {
        assert!(has("error.code", code), "{code}");
    }
    let answered = parsed
        .iter()
        .find(|line| line["event"] == "request" && line["function"] == "me")
        .unwrap();
    for field in ["function", "version", "route", "method"] {
        assert!(answered[field].is_string(), "{answered}");
    }
    assert!(answered["status"].is_u64());
    for line in &lines {
        for secret in [
            subject_token.as_str(),
            token.as_str(),
            "CANARY",
            "PRIVATE KEY",
            "octocat",
        ] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

/// The stable field names that operators search by. None holds personal data besides ids.
#[tokio::test]
async fn each_event_has_its_own_fields_and_no_others() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let service = Service::start_with(&[("OIDC_PROVIDERS", &issuer.settings())]).await;
    let first = service.sign_in("octocat").await;
    let user_id = first.text("/user/id");
    let old = first.text("/refresh_token");
    let next = service.refresh(old).await;
    service.refresh(old).await;
    service.refresh(next.text("/refresh_token")).await;
    service.refresh(old).await;
    let token = service.access_token("octocat").await;
    let id_token = key.sign(&issuer.claims("ada", service.time.now()));
    let link = json!({
        "subject_token": id_token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
    });
    let request = service.as_user(&token, "POST", "/me/identities");
    service.send(request.json(&link)).await;
    service.delete_as_user(&token, "/me/identities/acme").await;
    service
        .delete_as_user(&token, "/me/sessions?except=current")
        .await;
    service.delete_as_user(&token, "/me").await;

    let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in log_lines() {
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["user_id"] != *user_id {
            continue;
        }
        let mut fields: Vec<String> = line.as_object().unwrap().keys().cloned().collect();
        fields.retain(|field| {
            !["event", "timestamp", "level", "target", "spans"].contains(&field.as_str())
        });
        fields.sort();
        events.insert(line["event"].as_str().unwrap().to_owned(), fields);
    }

    let expected = [
        ("identity.linked", "provider user_id"),
        ("identity.unlinked", "provider user_id"),
        ("session.created", "client_id session_id user_id"),
        ("session.ended", "reason session_id user_id"),
        ("session.refreshed", "generation session_id user_id"),
        ("session.replayed", "generation session_id user_id"),
        ("session.reuse_detected", "generation session_id user_id"),
        ("user.created", "user_id"),
        ("user.deleted", "user_id"),
    ];
    let found: Vec<(&str, String)> = events
        .iter()
        .map(|(event, fields)| (event.as_str(), fields.join(" ")))
        .collect();
    let found: Vec<(&str, &str)> = found.iter().map(|(e, f)| (*e, f.as_str())).collect();
    assert_eq!(found, expected);
}
