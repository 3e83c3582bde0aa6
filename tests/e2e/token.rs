//! `POST /token`: its answers, and the requests that it refuses without any call.

use reqwest::{StatusCode, header};
use serde_json::json;
use tests::{ACCESS_TOKEN, CLIENT, ISSUER, Service, TOKEN_EXCHANGE, exchange_of};

#[tokio::test]
async fn a_github_sign_in_becomes_a_token_of_ours() {
    let service = Service::start().await;

    let answer = service.exchange(&service.github_token("octocat")).await;

    assert_eq!(answer.status, StatusCode::OK);
    let mut body = answer.body.clone();
    let token = body["access_token"].take();
    let id = body["user"]["id"].take();
    assert!(
        body["refresh_token"]
            .take()
            .as_str()
            .unwrap()
            .starts_with("cbr_")
    );
    assert_eq!(
        body,
        json!({
            "access_token": null,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": 900,
            "refresh_token": null,
            "refresh_token_expires_in": 30 * 24 * 60 * 60,
            "scope": "orders:read orders:write",
            "is_new_user": true,
            "user": {
                "id": null,
                "name": "The Octocat",
                "email": "octocat@example.com",
                "email_verified": true,
                "picture": "https://avatars.githubusercontent.com/u/583231?v=4",
                "roles": [],
                "identities": [{ "provider": "github", "subject": "583231", "username": "octocat" }],
            },
        })
    );
    let claims = service.verify(token.as_str().unwrap()).await;
    let now = service.time.now();
    assert_eq!(claims.iss, ISSUER);
    assert_eq!(claims.aud, ISSUER);
    assert_eq!(claims.sub.to_string(), id.as_str().unwrap());
    assert_eq!(claims.client_id, CLIENT.0);
    assert_eq!(claims.scope.as_deref(), Some("orders:read orders:write"));
    assert_eq!(claims.exp, claims.iat + 900);
    assert!(now - 5 <= claims.iat && claims.iat <= now);
}

#[tokio::test]
async fn each_token_has_its_own_name_and_a_repeated_exchange_the_same_session() {
    let service = Service::start().await;
    let subject_token = service.github_token("octocat");

    let first = service.exchange(&subject_token).await;
    let again = service.exchange(&subject_token).await;
    let other = service.sign_in("octocat").await;

    let [first, again, other] =
        [first, again, other].map(|answer| answer.text("/access_token").to_owned());
    let first = service.verify(&first).await;
    let again = service.verify(&again).await;
    let other = service.verify(&other).await;
    assert_ne!(first.jti, again.jti);
    assert_eq!(first.sid, again.sid);
    assert_ne!(first.sid, other.sid);
}

#[tokio::test]
async fn a_client_authenticates_in_the_body_as_well() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let mut parameters = exchange_of(&token).to_vec();
    parameters.extend([("client_id", CLIENT.0), ("client_secret", CLIENT.1)]);

    let request = service.request("POST", "/token").form(&parameters);
    let answer = service.send(request).await;

    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn t11_without_a_registered_client_nothing_is_asked() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let request = || service.request("POST", "/token").form(&exchange_of(&token));

    for request in [
        request(),
        request().basic_auth(CLIENT.0, Some("wrong")),
        request().basic_auth("nobody", Some(CLIENT.1)),
        request().bearer_auth(CLIENT.1),
    ] {
        let answer = service.send(request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.text("/error"), "invalid_client");
        assert!(
            answer
                .header("www-authenticate")
                .starts_with("Basic realm=")
        );
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert!(service.github.calls().is_empty());
    assert!(service.dynamodb.calls().is_empty());
}

#[tokio::test]
async fn t67_an_unknown_client_and_a_wrong_secret_look_the_same() {
    let service = Service::start().await;
    let refused = async |id: &str, secret: &str| {
        let form = [("grant_type", TOKEN_EXCHANGE)];
        let request = service.token_request_as((id, secret), &form);
        service.send(request).await
    };

    let wrong = refused(CLIENT.0, "wrong").await;
    let unknown = refused("nobody", CLIENT.1).await;

    assert_eq!(wrong.status, unknown.status);
    assert_eq!(wrong.body, unknown.body);
}

/// Changes that each make a valid request invalid.
#[tokio::test]
async fn every_required_parameter_must_be_there_once() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let good = exchange_of(&token);
    for index in 0..good.len() {
        let mut missing = good.to_vec();
        let name = missing.remove(index).0;
        let mut empty = good.to_vec();
        empty[index].1 = "";
        let mut repeated = good.to_vec();
        repeated.push(good[index]);

        for (parameters, how) in [
            (missing, "missing"),
            (empty, "empty"),
            (repeated, "repeated"),
        ] {
            let answer = service.token(&parameters).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name} {how}");
            assert_eq!(answer.text("/error"), "invalid_request", "{name} {how}");
            assert!(
                answer.text("/error_description").contains(name),
                "{name} {how}"
            );
        }
    }
    assert!(service.github.calls().is_empty());
    assert!(service.items().is_empty());
    assert_eq!(service.token(&good).await.status, StatusCode::OK);
}

#[tokio::test]
async fn unknown_parameters_are_ignored() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let mut parameters = exchange_of(&token).to_vec();
    parameters.push(("utm_source", "newsletter"));

    assert_eq!(service.token(&parameters).await.status, StatusCode::OK);
}

#[tokio::test]
async fn parameters_that_ask_for_what_there_is_not_are_refused() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let refresh_token = "urn:ietf:params:oauth:token-type:refresh_token";
    for (name, value, error) in [
        ("grant_type", "authorization_code", "unsupported_grant_type"),
        ("grant_type", "password", "unsupported_grant_type"),
        ("subject_token_type", refresh_token, "invalid_request"),
        ("subject_token_type", "access_token", "invalid_request"),
        ("subject_issuer", "gitlab", "invalid_request"),
        ("subject_issuer", "https://github.com", "invalid_request"),
        ("requested_token_type", refresh_token, "invalid_request"),
        ("actor_token", "somebody", "invalid_request"),
        ("actor_token_type", ACCESS_TOKEN, "invalid_request"),
        ("nonce", "n-0S6_WzA2Mj", "invalid_request"),
        ("audience", "https://other.example", "invalid_target"),
        ("resource", "https://other.example", "invalid_target"),
        ("scope", "admin", "invalid_scope"),
        ("scope", "orders:read admin", "invalid_scope"),
    ] {
        let mut parameters = exchange_of(&token).to_vec();
        parameters.retain(|(other, _)| *other != name);
        parameters.push((name, value));

        let answer = service.token(&parameters).await;

        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}={value}");
        assert_eq!(answer.text("/error"), error, "{name}={value}");
        assert!(!answer.text("/error_description").is_empty());
    }
    assert!(service.github.calls().is_empty());
    assert!(service.items().is_empty());
}

#[tokio::test]
async fn parameters_that_ask_for_what_there_is_are_granted() {
    let service = Service::start().await;
    for (name, value) in [
        ("requested_token_type", ACCESS_TOKEN),
        ("audience", ISSUER),
        ("resource", ISSUER),
        ("scope", "orders:read"),
    ] {
        let token = service.github_token("octocat");
        let mut parameters = exchange_of(&token).to_vec();
        parameters.push((name, value));

        let answer = service.token(&parameters).await;

        assert_eq!(answer.status, StatusCode::OK, "{name}={value}");
        if name == "scope" {
            assert_eq!(answer.text("/scope"), value);
        }
    }
}

#[tokio::test]
async fn t74_two_ways_of_client_authentication_at_once_are_refused() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let mut parameters = exchange_of(&token).to_vec();
    parameters.push(("client_secret", CLIENT.1));

    let answer = service.token(&parameters).await;

    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.text("/error"), "invalid_request");
}

#[tokio::test]
async fn t74_parameters_in_the_url_are_refused() {
    let service = Service::start().await;
    let token = service.github_token("octocat");

    let request = service.request("POST", &format!("/token?subject_token={token}"));
    let answer = service
        .send(
            request
                .basic_auth(CLIENT.0, Some(CLIENT.1))
                .form(&exchange_of(&token)),
        )
        .await;

    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(service.github.calls().is_empty());
}

#[tokio::test]
async fn t73_another_content_type_is_refused() {
    let service = Service::start().await;
    let body = r#"{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange"}"#;
    for content_type in ["application/json", "text/plain", "multipart/form-data", ""] {
        let mut request = service
            .request("POST", "/token")
            .basic_auth(CLIENT.0, Some(CLIENT.1))
            .body(body);
        if !content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let answer = service.send(request).await;
        assert_eq!(
            answer.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{content_type}"
        );
        assert_eq!(answer.text("/error"), "invalid_request");
    }
}

#[tokio::test]
async fn t73_a_body_over_64_kib_is_refused() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    // "padding=" and the "&" before it count as well.
    let used = serde_urlencoded_len(&exchange_of(&token)) + "&padding=".len();
    for (size, status) in [
        (64 * 1024, StatusCode::OK),
        (64 * 1024 + 1, StatusCode::PAYLOAD_TOO_LARGE),
        (1024 * 1024, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let padding = "x".repeat(size - used);
        let mut parameters = exchange_of(&token).to_vec();
        parameters.push(("padding", &padding));
        let answer = service.token(&parameters).await;
        assert_eq!(answer.status, status, "{size}");
    }
}

fn serde_urlencoded_len(parameters: &[(&str, &str)]) -> usize {
    let request = reqwest::Client::new()
        .post("http://localhost/")
        .form(parameters);
    let request = request.build().unwrap();
    request.body().unwrap().as_bytes().unwrap().len()
}

#[tokio::test]
async fn t08_t09_no_token_passes_as_another_kind() {
    let service = Service::start().await;
    let github_token = service.github_token("octocat");
    let ours = service.access_token("octocat").await;
    let id_token = "urn:ietf:params:oauth:token-type:id_token";
    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    service.github.clear();
    service.dynamodb.clear();

    for (subject_token, kind, issuer) in [
        (&ours, ACCESS_TOKEN, "github"),
        (&ours, id_token, "github"),
        (&ours, jwt, ISSUER),
        (&github_token, id_token, "github"),
        (&github_token, jwt, "github"),
    ] {
        let answer = service
            .token(&[
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", subject_token),
                ("subject_token_type", kind),
                ("subject_issuer", issuer),
            ])
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{kind} of {issuer}");
        assert_eq!(
            answer.text("/error"),
            "invalid_request",
            "{kind} of {issuer}"
        );
    }
    assert!(service.github.calls().is_empty());
    assert!(service.dynamodb.calls().is_empty());
}

#[tokio::test]
async fn a_client_with_two_secrets_may_use_either() {
    let old = tests::clients(&[("nextjs", "CANARY-old")]);
    let new = tests::clients(&[("nextjs", CLIENT.1)]);
    let hash = |clients: &str| {
        clients
            .split('"')
            .find(|text| text.len() == 64)
            .unwrap()
            .to_owned()
    };
    let both = old.replace(&hash(&old), &format!(r#"{}","{}"#, hash(&old), hash(&new)));
    let service = Service::start_with(&[("CLIENTS", &both)]).await;

    for secret in ["CANARY-old", CLIENT.1] {
        let token = service.github_token("octocat");
        let request = service.token_request_as((CLIENT.0, secret), &exchange_of(&token));
        let answer = service.send(request).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn t83_a_clock_that_is_off_neither_extends_a_session_nor_refuses_a_fresh_token() {
    let service = Service::start().await;
    let signed_in = service.sign_in("octocat").await;
    let ends = |service: &Service| {
        let session = service.sessions().remove(0);
        ["idle_expires_at", "absolute_expires_at"].map(|name| {
            let at = session[name]["N"].as_str().unwrap();
            at.parse::<u64>().unwrap()
        })
    };
    let [idle, absolute] = ends(&service);

    // The function that checks is a few seconds behind the one that issued.
    service.time.pass(-4);
    let checked = service.me(signed_in.text("/access_token")).await;
    // The one that refreshes is half a minute behind, and then an hour.
    service.time.pass(-26);
    let next = service.refresh(signed_in.text("/refresh_token")).await;
    let slightly = ends(&service);
    service.time.pass(-3600);
    let last = service.refresh(next.text("/refresh_token")).await;
    let wildly = ends(&service);

    assert_eq!(checked.status, StatusCode::OK);
    for answer in [next, last] {
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    }
    for [idle_then, absolute_then] in [slightly, wildly] {
        assert!(idle_then <= idle, "longer than it would have lived");
        assert_eq!(absolute_then, absolute);
    }
}
