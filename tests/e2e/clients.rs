//! Several clients with different rights, some with keys instead of a secret (RFC 7523).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, CLIENT, ISSUER, Service, TOKEN_EXCHANGE, exchange_parameters,
    oidc::{Issuer, Key},
    opaque::{self, Opaque},
    proxy::{Fault, When},
    settle,
};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The client with a key.
const SIGNER: &str = "lambda";

/// Starts a service with the usual clients and one with a key.
struct Scene {
    service: Service,
    key: Key,
}

impl Scene {
    async fn start() -> Self {
        let key = Key::new("one");
        let mut clients: Value = serde_json::from_str(&tests::clients(&[CLIENT])).unwrap();
        let signer = json!({ "client_id": SIGNER, "jwks": { "keys": [key.jwk] } });
        clients.as_array_mut().unwrap().push(signer);
        let service = Service::start_with(&[("CLIENTS", &clients.to_string())]).await;
        Self { service, key }
    }

    fn claims(&self, jti: &str) -> Value {
        let now = self.service.time.now();
        json!({ "iss": SIGNER, "sub": SIGNER, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": jti })
    }

    /// Makes a request that reaches the grant after client authentication.
    async fn authenticate(&self, path: &str, assertion: &str) -> Answer {
        let form = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion),
            ("grant_type", "none"),
            ("token", "none"),
        ];
        let request = self.service.request("POST", path).form(&form);
        self.service.send(request).await
    }

    async fn accepts(&self, assertion: &str) {
        let answer = self.authenticate("/token", assertion).await;
        assert_eq!(
            answer.body["error"], "unsupported_grant_type",
            "{:?}",
            answer.body
        );
    }

    /// Asserts that the assertion is refused for this reason.
    async fn refuses(&self, assertion: &str, why: &str) {
        let answer = self.authenticate("/token", assertion).await;
        assert_eq!(
            answer.status,
            StatusCode::UNAUTHORIZED,
            "{why}: {:?}",
            answer.body
        );
        assert_eq!(answer.body["error"], "invalid_client");
        let description = answer.text("/error_description");
        assert!(description.contains(why), "{description}");
    }
}

#[tokio::test]
async fn a_client_that_signs_needs_no_secret() {
    let scene = Scene::start().await;
    let exchange = |jti: &str| {
        let assertion = scene.key.sign(&scene.claims(jti));
        let subject_token = scene.service.github_token("octocat");
        let mut form = vec![("client_assertion_type", ASSERTION_TYPE.to_owned())];
        form.push(("client_assertion", assertion));
        for (name, value) in tests::exchange_of(&subject_token) {
            form.push((name, value.to_owned()));
        }
        scene.service.request("POST", "/token").form(&form)
    };

    let answer = scene.service.send(exchange("a")).await;

    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let claims = scene.service.verify(answer.text("/access_token")).await;
    assert_eq!(claims.client_id, SIGNER);
    for path in ["/revoke", "/introspect"] {
        let assertion = scene.key.sign(&scene.claims(path));
        let answer = scene.authenticate(path, &assertion).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn t11_an_assertion_is_good_once() {
    let scene = Scene::start().await;
    let assertion = scene.key.sign(&scene.claims("once"));

    scene.accepts(&assertion).await;
    scene.refuses(&assertion, "used before").await;
    let again = scene.key.sign(&scene.claims("once"));
    scene.refuses(&again, "used before").await;

    scene
        .accepts(&scene.key.sign(&scene.claims("another")))
        .await;
    let items = scene.service.items_of("ASSERTION#");
    assert_eq!(items.len(), 2);
    for item in items {
        let expires_at: u64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
        assert!(
            expires_at > scene.service.time.now() + 60,
            "not before it has expired"
        );
        assert!(!item.to_string().contains("once"));
    }
}

#[tokio::test]
async fn t11_of_many_who_use_an_assertion_at_once_one_does() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let assertion = scene.key.sign(&scene.claims("once"));

    let requests = (0..30).map(|_| {
        let form = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
            ("grant_type", "none"),
        ];
        let request = scene.service.request("POST", "/token").form(&form);
        tokio::spawn(settle(request))
    });
    let mut accepted = 0;
    for request in requests.collect::<Vec<_>>() {
        let answer = request.await.unwrap();
        accepted += usize::from(answer.body["error"] == "unsupported_grant_type");
    }

    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn t11_an_assertion_of_anybody_for_anybody_at_any_time_is_refused() {
    let scene = Scene::start().await;
    let now = scene.service.time.now();
    let with = |name: &str, value: Value| {
        let mut claims = scene.claims("x");
        claims[name] = value;
        scene.key.sign(&claims)
    };
    let without = |name: &str| {
        let mut claims = scene.claims("x");
        claims.as_object_mut().unwrap().remove(name);
        scene.key.sign(&claims)
    };

    for name in ["iss", "sub", "aud", "exp", "jti"] {
        scene.refuses(&without(name), "no plain JWT").await;
    }
    scene
        .refuses(&with("iss", "nextjs".into()), "iss and sub")
        .await;
    scene
        .refuses(&with("aud", "https://evil.example".into()), "aud")
        .await;
    let both = json!([ISSUER, "https://evil.example"]);
    scene.refuses(&with("aud", both), "aud").await;
    scene.refuses(&with("aud", json!([])), "aud").await;
    let below = format!("{ISSUER}/token/x");
    scene.refuses(&with("aud", below.into()), "aud").await;
    scene
        .refuses(&with("exp", (now - 120).into()), "expired")
        .await;
    scene
        .refuses(&with("exp", (now + 7200).into()), "an hour")
        .await;
    scene
        .refuses(&with("exp", u64::MAX.into()), "an hour")
        .await;
    scene
        .refuses(&with("nbf", (now + 300).into()), "not valid yet")
        .await;
    scene
        .refuses(&with("iat", (now + 300).into()), "not valid yet")
        .await;
    scene.refuses(&with("jti", "".into()), "jti").await;
    scene
        .refuses(&with("jti", "x".repeat(257).into()), "jti")
        .await;
    assert!(scene.service.items().is_empty(), "nothing of it is kept");
    for audience in [
        json!(format!("{ISSUER}/token")),
        json!([ISSUER]),
        json!([ISSUER, format!("{ISSUER}/token")]),
    ] {
        let mut claims = scene.claims(&audience.to_string());
        claims["aud"] = audience;
        scene.accepts(&scene.key.sign(&claims)).await;
    }
}

#[tokio::test]
async fn t11_an_assertion_that_another_key_signed_is_refused() {
    let scene = Scene::start().await;
    let claims = scene.claims("x");
    let header = |name: &str, value: &str| {
        let mut header = json!({ "alg": "ES256", "kid": "one", "typ": "JWT" });
        header[name] = value.into();
        scene.key.sign_with_header(&header, &claims)
    };

    scene
        .refuses(&Key::new("one").sign(&claims), "signature")
        .await;
    scene
        .refuses(&Key::new("two").sign(&claims), "has its kid and alg")
        .await;
    scene
        .refuses(&header("alg", "RS256"), "has its kid and alg")
        .await;
    scene
        .refuses(&header("alg", "HS256"), "has its kid and alg")
        .await;
    scene.refuses(&header("alg", "none"), "no plain JWT").await;
    scene.refuses(&header("typ", "at+jwt"), "typ").await;
    scene
        .refuses(&header("jku", "https://evil.example"), "no plain JWT")
        .await;
    scene.refuses("nonsense", "no plain JWT").await;
    // Our own access token, of this very client.
    let token = scene.service.access_token("octocat").await;
    scene.refuses(&token, "client authentication failed").await;
    // Of clients that are not there, or have no key, the same is said.
    for client in ["nobody", CLIENT.0] {
        let mut claims = claims.clone();
        claims["iss"] = client.into();
        claims["sub"] = client.into();
        scene
            .refuses(&scene.key.sign(&claims), "has its kid and alg")
            .await;
    }
}

#[tokio::test]
async fn an_assertion_needs_no_kid_if_one_key_of_its_client_fits() {
    let scene = Scene::start().await;
    let sign = |key: &Key, jti: &str, header: Value| {
        let mut claims = scene.claims(jti);
        let now = f64::from(u32::try_from(scene.service.time.now()).unwrap());
        claims["iat"] = json!(now - 0.5);
        claims["exp"] = json!(now + 59.5);
        key.sign_with_header(&header, &claims)
    };
    let without_kid = json!({ "alg": "ES256", "typ": "JWT" });
    let more = json!({ "alg": "ES256", "kid": "one", "typ": "JWT", "x5t": "AA", "cty": 5 });
    scene
        .accepts(&sign(&scene.key, "a", without_kid.clone()))
        .await;
    scene.accepts(&sign(&scene.key, "b", more)).await;
    let stranger = sign(&Key::new("one"), "c", without_kid.clone());
    scene.refuses(&stranger, "signature").await;
    for member in ["b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"] {
        let mut header = without_kid.clone();
        header[member] = json!(["exp"]);
        scene
            .refuses(&sign(&scene.key, member, header), "no plain JWT")
            .await;
    }

    // With two keys of one kind, the header must name one.
    let keys = [scene.key.jwk.clone(), Key::new("two").jwk];
    let clients = json!([{ "client_id": SIGNER, "jwks": { "keys": keys } }]);
    let service = Service::start_with(&[("CLIENTS", &clients.to_string())]).await;
    let two = Scene { service, ..scene };
    two.refuses(
        &two.key.sign_with_header(&without_kid, &two.claims("d")),
        "has its kid and alg",
    )
    .await;
    two.accepts(&two.key.sign(&two.claims("e"))).await;
}

#[tokio::test]
async fn t67_a_failed_assertion_says_the_same_of_every_client() {
    let scene = Scene::start().await;
    let answers = async |header: Value, key: &Key| {
        let mut answers = Vec::new();
        for client in [SIGNER, CLIENT.0, "nobody"] {
            let mut claims = scene.claims("x");
            claims["iss"] = client.into();
            claims["sub"] = client.into();
            let assertion = key.sign_with_header(&header, &claims);
            let answer = scene.authenticate("/token", &assertion).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{client}");
            answers.push(answer.body);
        }
        answers
    };
    let stranger = Key::new("one");
    let good = json!({ "alg": "ES256", "kid": "one", "typ": "JWT" });
    for (name, value) in [
        ("alg", "ES256"),
        ("alg", "RS256"),
        ("alg", "none"),
        ("kid", "two"),
        ("typ", "at+jwt"),
        ("jku", "https://evil.example"),
    ] {
        let mut header = good.clone();
        header[name] = value.into();

        let said = answers(header, &stranger).await;

        assert!(
            said.iter().all(|answer| *answer == said[0]),
            "{name} {value}: {said:#?}"
        );
    }
}

/// A request with an outcome uses its assertion up; a request with 503 releases it.
#[tokio::test]
async fn t72_a_request_that_ended_in_503_is_sent_again_with_its_assertion() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let assertion = scene.key.sign(&scene.claims("exchange"));
    let subject_token = service.github_token("octocat");
    let mut form = vec![
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &assertion),
    ];
    form.extend(tests::exchange_of(&subject_token));
    let request = || service.request("POST", "/token").form(&form);
    let sign_up = When::Operation("TransactWriteItems");
    service.dynamodb.fault_times(3, sign_up, Fault::Refuse);
    let unavailable = service.send(request()).await;
    assert_eq!(unavailable.status, StatusCode::SERVICE_UNAVAILABLE);
    service.dynamodb.heal();

    let answer = service.send(request()).await;

    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let replayed = service.send(request()).await;
    assert_eq!(replayed.status, StatusCode::UNAUTHORIZED);
    assert_eq!(replayed.body["error"], "invalid_client");

    // The same for a refresh, in the middle of the request and at the assertion itself.
    let refresh_token = answer.text("/refresh_token");
    for operation in ["UpdateItem", "GetItem", "PutItem"] {
        let assertion = scene.key.sign(&scene.claims(operation));
        let mut form = vec![
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
        ];
        form.extend(tests::refresh_of(refresh_token));
        let request = || service.request("POST", "/token").form(&form);
        let fault = Fault::ResetAfterForwarding;
        service
            .dynamodb
            .fault_times(3, When::Operation(operation), fault);
        let unavailable = service.send(request()).await;
        assert_eq!(
            unavailable.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{operation}: {:?}",
            unavailable.body
        );
        service.dynamodb.heal();

        let answer = service.send(request()).await;

        assert_eq!(answer.status, StatusCode::OK, "{operation}");
        let replayed = service.send(request()).await;
        assert_eq!(replayed.status, StatusCode::UNAUTHORIZED, "{operation}");
    }
}

#[tokio::test]
async fn t72_a_revocation_that_ended_in_503_is_sent_again_with_its_assertion() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let token = service.refresh_token("octocat").await;
    let assertion = scene.key.sign(&scene.claims("x"));
    let form = [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &assertion),
        ("token", &token),
    ];
    let request = || service.request("POST", "/revoke").form(&form);
    let ending = When::Operation("UpdateItem");
    let fault = Fault::ResetBeforeForwarding;
    service.dynamodb.fault_times(3, ending, fault);
    let unavailable = service.send(request()).await;
    assert_eq!(unavailable.status, StatusCode::SERVICE_UNAVAILABLE);
    service.dynamodb.heal();

    assert_eq!(service.send(request()).await.status, StatusCode::OK);

    let replayed = service.send(request()).await;
    assert_eq!(replayed.status, StatusCode::UNAUTHORIZED);
}

/// The first release of the assertion takes effect without an answer; the second arrives after another request has
/// used the assertion.
#[tokio::test]
async fn t11_an_assertion_is_given_back_only_by_the_request_that_used_it() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let service = &scene.service;
    let token = service.refresh_token("octocat").await;
    let assertion = scene.key.sign(&scene.claims("x"));
    let form = [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &assertion),
        ("token", &token),
    ];
    let request = || service.request("POST", "/introspect").form(&form);
    service.dynamodb.clear();
    // The first call uses the assertion up, the next three read the session.
    for nth in 2..=4 {
        let fault = Fault::ResetBeforeForwarding;
        service.dynamodb.fault(When::Nth(nth), fault);
    }
    let lost = Fault::ResetAfterForwarding;
    service.dynamodb.fault(When::Nth(5), lost);
    let late = Fault::Delay(Duration::from_millis(1_500));
    service.dynamodb.fault(When::Nth(6), late);
    let unavailable = service.send(request()).await;
    assert_eq!(unavailable.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.dynamodb.calls().len(), 6);

    let answer = service.send(request()).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);

    service.dynamodb.settled().await;
    let replayed = service.send(request()).await;
    assert_eq!(replayed.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn t11_of_many_who_send_a_request_again_with_its_assertion_one_is_let_in() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let assertion = scene.key.sign(&scene.claims("x"));
    let nobody = format!("cbr_{}", "A".repeat(119));
    let form = [
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &assertion),
        ("token", &nobody),
    ];
    let request = || scene.service.request("POST", "/introspect").form(&form);
    let token = scene.service.refresh_token("octocat").await;
    let form = [&form[..2], &[("token", token.as_str())]].concat();
    scene
        .service
        .dynamodb
        .fault_times(3, When::Operation("GetItem"), Fault::Refuse);
    let unavailable = scene.service.request("POST", "/introspect").form(&form);
    let unavailable = scene.service.send(unavailable).await;
    assert_eq!(unavailable.status, StatusCode::SERVICE_UNAVAILABLE);
    scene.service.dynamodb.heal();

    let requests = (0..30).map(|_| tokio::spawn(settle(request())));
    let mut accepted = 0;
    for request in requests.collect::<Vec<_>>() {
        accepted += usize::from(request.await.unwrap().status == StatusCode::OK);
    }

    assert_eq!(accepted, 1);
}

#[tokio::test]
async fn t74_an_assertion_and_a_secret_at_once_are_refused() {
    let scene = Scene::start().await;
    let assertion = scene.key.sign(&scene.claims("x"));
    let form = |more: &[(&str, &str)]| {
        let mut form = vec![
            ("client_assertion", assertion.as_str()),
            ("grant_type", "none"),
        ];
        form.extend_from_slice(more);
        scene.service.request("POST", "/token").form(&form)
    };
    let typed = ("client_assertion_type", ASSERTION_TYPE);

    for request in [
        form(&[typed]).basic_auth(CLIENT.0, Some(CLIENT.1)),
        form(&[typed, ("client_id", CLIENT.0), ("client_secret", CLIENT.1)]),
        form(&[]),
        form(&[(
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
        )]),
    ] {
        let answer = scene.service.send(request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.body["error"], "invalid_request");
    }
    let other = scene
        .service
        .send(form(&[typed, ("client_id", CLIENT.0)]))
        .await;
    assert_eq!(other.status, StatusCode::UNAUTHORIZED);
    let same = scene
        .service
        .send(form(&[typed, ("client_id", SIGNER)]))
        .await;
    assert_eq!(same.body["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn t72_an_assertion_whose_write_was_repeated_by_the_sdk_is_not_used_twice() {
    let scene = Scene::start().await;
    scene.service.dynamodb.clear();
    scene
        .service
        .dynamodb
        .fault(When::Nth(1), Fault::ResetAfterForwarding);

    scene.accepts(&scene.key.sign(&scene.claims("x"))).await;

    assert_eq!(scene.service.dynamodb.calls().len(), 2);
}

#[tokio::test]
async fn t70_while_the_table_is_down_no_client_is_called_wrong() {
    let scene = Scene::start().await;
    scene.service.dynamodb.down().await;

    let assertion = scene.key.sign(&scene.claims("x"));
    let answer = scene.authenticate("/token", &assertion).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body["error"], "temporarily_unavailable");
    scene.service.dynamodb.heal();
    scene.accepts(&assertion).await;
}

/// Two clients: one for any provider and the usual audience, one with limits.
async fn bounded() -> (Service, Opaque) {
    let others = Opaque::start().await;
    let mut clients: Value =
        serde_json::from_str(&tests::clients(&[CLIENT, tests::OTHER_CLIENT])).unwrap();
    clients[1]["providers"] = json!(["github"]);
    clients[1]["audiences"] = json!(["https://shop.example.com", "https://stock.example.com"]);
    let settings = [
        ("CLIENTS", &*clients.to_string()),
        ("OAUTH_PROVIDERS", &others.settings()),
    ];
    (Service::start_with(&settings).await, others)
}

#[tokio::test]
async fn a_client_signs_users_in_with_its_own_providers_only() {
    let (service, others) = bounded().await;
    let discord = format!("{}~ada~identify", opaque::APP);
    let exchange = |client: (&str, &str), provider: &str, token: &str| {
        let form = exchange_parameters(provider, token);
        service.send(service.token_request_as(client, &form))
    };

    let refused = exchange(tests::OTHER_CLIENT, "discord", &discord).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.body["error"], "unauthorized_client");
    assert!(others.proxy.calls().is_empty(), "nobody was asked");

    let github = exchange(
        tests::OTHER_CLIENT,
        "github",
        &service.github_token("octocat"),
    )
    .await;
    assert_eq!(github.status, StatusCode::OK, "{:?}", github.body);
    assert_eq!(
        exchange(CLIENT, "discord", &discord).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_client_gets_tokens_for_its_own_apis_only() {
    let (service, _others) = bounded().await;
    let (shop, stock) = ("https://shop.example.com", "https://stock.example.com");
    let post =
        |form: &[(&str, &str)]| service.send(service.token_request_as(tests::OTHER_CLIENT, form));
    let exchange = |more: &[(&'static str, &'static str)]| {
        let token = service.github_token("octocat");
        let form = [&tests::exchange_of(&token)[..], more].concat();
        post(&form)
    };
    assert_eq!(audience(&exchange(&[]).await), shop);
    assert_eq!(audience(&exchange(&[("audience", stock)]).await), stock);
    assert_eq!(
        audience(&exchange(&[("resource", stock), ("audience", stock)]).await),
        stock
    );
    for more in [
        &[("audience", ISSUER)][..],
        &[("resource", "https://evil.example")],
        &[("resource", stock), ("audience", shop)],
    ] {
        let refused = exchange(more).await;
        assert_eq!(refused.body["error"], "invalid_target", "{more:?}");
    }

    // A refresh keeps the audience, and may request another (RFC 8707 §2.2).
    let first = exchange(&[("audience", stock)]).await;
    let refresh = |token: String, more: &[(&'static str, &'static str)]| {
        let form = [&tests::refresh_of(&token)[..], more].concat();
        post(&form)
    };
    let token = first.text("/refresh_token").to_owned();
    let wrong = refresh(token.clone(), &[("resource", ISSUER)]).await;
    assert_eq!(wrong.body["error"], "invalid_target");
    assert_eq!(
        service
            .sessions()
            .iter()
            .filter(|s| s["generation"]["N"] != "0")
            .count(),
        0
    );
    let second = refresh(token, &[]).await;
    assert_eq!(audience(&second), stock);
    let third = refresh(
        second.text("/refresh_token").to_owned(),
        &[("resource", shop)],
    )
    .await;
    assert_eq!(audience(&third), shop);
    let fourth = refresh(third.text("/refresh_token").to_owned(), &[]).await;
    assert_eq!(audience(&fourth), stock);

    // A token for another API opens nothing here; it can be given back all the same.
    let token = fourth.text("/access_token");
    assert_eq!(service.me(token).await.status, StatusCode::UNAUTHORIZED);
    service
        .send(service.revocation(tests::OTHER_CLIENT, token))
        .await;
    let ended = refresh(fourth.text("/refresh_token").to_owned(), &[]).await;
    assert_eq!(ended.body["error"], "invalid_grant");
}

fn audience(answer: &Answer) -> String {
    let payload = answer.text("/access_token").split('.').nth(1).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["aud"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn t96_a_client_uses_only_the_grants_that_it_has() {
    let mut clients: Value =
        serde_json::from_str(&tests::clients(&[CLIENT, tests::OTHER_CLIENT])).unwrap();
    let key = Key::new("one");
    for (client_id, members) in [
        ("api", json!({ "introspects": true })),
        (
            "exchanges",
            json!({ "introspects": true, "grants": ["token-exchange"] }),
        ),
        ("refreshes", json!({ "grants": ["refresh_token"] })),
        ("nothing", json!({ "grants": [] })),
    ] {
        let mut client = members;
        client["client_id"] = client_id.into();
        client["jwks"] = json!({ "keys": [key.jwk] });
        clients.as_array_mut().unwrap().push(client);
    }
    let service = Service::start_with(&[("CLIENTS", &clients.to_string())]).await;
    let subject_token = service.github_token("octocat");
    let github_before = service.github.calls().len();
    let post = async |client_id: &str, jti: &str, path: &str, form: &[(&str, &str)]| {
        let now = service.time.now();
        let assertion = key.sign(&json!({
            "iss": client_id, "sub": client_id, "aud": ISSUER, "exp": now + 60, "jti": jti,
        }));
        let mut form = form.to_vec();
        form.push(("client_assertion_type", ASSERTION_TYPE));
        form.push(("client_assertion", &assertion));
        service
            .send(service.request("POST", path).form(&form))
            .await
    };
    let exchange = tests::exchange_of(&subject_token);
    let unknown = format!("cbr_{}", "A".repeat(119));
    let refresh = tests::refresh_of(&unknown);

    for (client_id, may_exchange, may_refresh) in [
        ("api", false, false),
        ("nothing", false, false),
        ("refreshes", false, true),
        ("exchanges", true, false),
    ] {
        for (jti, form, may) in [
            ("exchange", &exchange[..], may_exchange),
            ("refresh", &refresh[..], may_refresh),
        ] {
            if may {
                continue;
            }
            let before = service.items().len();
            let calls = service.dynamodb.calls().len();

            let refused = post(client_id, jti, "/token", form).await;

            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{client_id} {jti}");
            assert_eq!(refused.body["error"], "unauthorized_client");
            // One call and one item: the use of the assertion.
            assert_eq!(service.dynamodb.calls().len(), calls + 1);
            assert_eq!(service.items().len(), before + 1);
            let replayed = post(client_id, jti, "/token", form).await;
            assert_eq!(
                replayed.body["error"], "invalid_client",
                "{client_id} {jti}"
            );
        }
    }
    assert_eq!(
        service.github.calls().len(),
        github_before,
        "nothing was called"
    );

    let other = post("refreshes", "a", "/token", &refresh).await;
    assert_eq!(other.body["error"], "invalid_grant");
    let opened = post("exchanges", "b", "/token", &exchange).await;
    assert_eq!(opened.status, StatusCode::OK, "{:?}", opened.body);
    let token = opened.text("/access_token");
    for client_id in ["api", "exchanges"] {
        let state = post(client_id, "c", "/introspect", &[("token", token)]).await;
        assert_eq!(state.body["active"], true, "{client_id}");
    }
    // An unknown grant type is the same for each client.
    let unsupported = post("api", "d", "/token", &[("grant_type", "none")]).await;
    assert_eq!(unsupported.body["error"], "unsupported_grant_type");
}

/// A client of a public standard library needs no special treatment.
#[tokio::test]
async fn an_id_token_is_refused_before_its_provider_is_asked_where_the_client_may_not() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let mut clients: Value = serde_json::from_str(&tests::clients(&[CLIENT])).unwrap();
    clients[0]["providers"] = json!(["github"]);
    let settings = [
        ("CLIENTS", &*clients.to_string()),
        ("OIDC_PROVIDERS", &issuer.settings()),
    ];
    let service = Service::start_with(&settings).await;

    let token = key.sign(&issuer.claims("ada", service.time.now()));
    let refused = service
        .token(&[
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", &token),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:id_token",
            ),
        ])
        .await;

    assert_eq!(refused.body["error"], "unauthorized_client");
    assert_eq!(issuer.key_requests(), 0);
}
