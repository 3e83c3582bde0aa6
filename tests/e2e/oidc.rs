//! ID tokens of OpenID providers: valid ones and the closest invalid ones.

use jsonwebtoken::Algorithm;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    ACCESS_TOKEN, Answer, Service, TOKEN_EXCHANGE, forge, log_lines,
    oidc::{CLIENT_ID, Issuer, Key},
    proxy::{Fault, When},
};
use tokio::task::JoinSet;

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const DAY: i64 = 24 * 60 * 60;

/// A service with a configured OpenID provider.
struct Scene {
    service: Service,
    issuer: Issuer,
    key: Key,
}

impl Scene {
    async fn start() -> Self {
        let key = Key::new("one");
        let (issuer, service) = Issuer::with_service(&key, &[]).await;
        Self {
            service,
            issuer,
            key,
        }
    }

    fn claims(&self) -> Value {
        self.issuer.claims("ada", self.service.time.now())
    }

    /// Returns the claims of a sign-in with one changed; `null` removes it.
    fn with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[name] = value;
        claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        claims
    }

    async fn sign_in(&self) -> Answer {
        self.exchange(&self.key.sign(&self.claims())).await
    }

    async fn exchange(&self, token: &str) -> Answer {
        self.exchange_with(token, &[]).await
    }

    async fn exchange_with(&self, token: &str, more: &[(&str, &str)]) -> Answer {
        self.service
            .token(&[&exchange_of(token), more].concat())
            .await
    }

    async fn refuses(&self, token: &str, what: &str) {
        assert_refused(&self.exchange(token).await, what);
    }
}

fn exchange_of(token: &str) -> Vec<(&str, &str)> {
    vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ID_TOKEN),
    ]
}

fn assert_refused(answer: &Answer, what: &str) {
    assert_eq!(
        answer.status,
        StatusCode::BAD_REQUEST,
        "{what}: {:?}",
        answer.body
    );
    assert_eq!(answer.text("/error"), "invalid_request", "{what}");
}

fn assert_unavailable(answer: &Answer, what: &str) {
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{what}: {:?}",
        answer.body
    );
    assert_eq!(answer.text("/error"), "temporarily_unavailable", "{what}");
}

#[tokio::test]
async fn an_id_token_signs_its_person_in_and_the_next_one_the_same() {
    let scene = Scene::start().await;

    let first = scene.sign_in().await;

    assert_eq!(first.status, StatusCode::OK, "{:?}", first.body);
    assert_eq!(first.body["is_new_user"], true);
    assert_eq!(first.text("/user/name"), "Ada Lovelace");
    assert_eq!(first.text("/user/email"), "ada@example.com");
    assert_eq!(first.body["user"]["email_verified"], true);
    assert_eq!(first.text("/user/identities/0/provider"), "acme");
    scene.service.time.pass(1);
    let second = scene.sign_in().await;
    assert_eq!(second.body["is_new_user"], false);
    assert_eq!(second.text("/user/id"), first.text("/user/id"));
    let paths: Vec<_> = scene
        .issuer
        .proxy
        .calls()
        .into_iter()
        .map(|call| call.path)
        .collect();
    assert_eq!(
        paths,
        ["/.well-known/openid-configuration", "/keys"],
        "once for both"
    );
    assert!(scene.service.github.calls().is_empty());
}

#[tokio::test]
async fn t05_t10_a_token_that_is_not_for_us_now_is_refused() {
    let scene = Scene::start().await;
    let now = scene.service.time.now();
    let wrong = [
        ("aud", json!("somebody-else")),
        ("aud", json!([])),
        ("aud", json!(["somebody-else"])),
        ("aud", json!([CLIENT_ID, "somebody-else"])),
        ("aud", json!({ "x": CLIENT_ID })),
        ("aud", json!(null)),
        ("azp", json!("somebody-else")),
        ("azp", json!(1)),
        ("iss", json!("https://evil.example")),
        ("iss", json!(format!("{}/", scene.issuer.url))),
        ("iss", json!([scene.issuer.url])),
        ("iss", json!(null)),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!("x".repeat(256))),
        ("sub", json!(7)),
        ("exp", json!(now - 61)),
        ("exp", json!(null)),
        ("exp", json!("never")),
        ("iat", json!(now - 400)),
        ("iat", json!(now + 120)),
        ("iat", json!(null)),
        ("nbf", json!(now + 120)),
    ];
    for (name, value) in wrong {
        let what = format!("{name} {value}");
        scene
            .refuses(&scene.key.sign(&scene.with(name, value)), &what)
            .await;
    }
    assert!(scene.service.items().is_empty());

    let mut both = scene.with("aud", json!(["somebody-else", CLIENT_ID]));
    both["azp"] = CLIENT_ID.into();
    assert_eq!(
        scene.exchange(&scene.key.sign(&both)).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn t10_the_nonce_is_compared_when_one_is_sent() {
    let scene = Scene::start().await;
    // SHA-256 of "n-0S6", as native apps send it to Apple.
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"n-0S6");
    let hex: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let sent = [("nonce", "n-0S6")];
    for wrong in [
        json!(null),
        json!("other"),
        json!(""),
        json!(hex.to_uppercase()),
    ] {
        let token = scene.key.sign(&scene.with("nonce", wrong.clone()));
        assert_refused(
            &scene.exchange_with(&token, &sent).await,
            &wrong.to_string(),
        );
    }
    for right in [json!("n-0S6"), json!(hex)] {
        let mut claims = scene.with("nonce", right.clone());
        claims["jti"] = right;
        let answer = scene.exchange_with(&scene.key.sign(&claims), &sent).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    }
}

#[tokio::test]
async fn t13_t19_other_algorithms_keys_and_kinds_are_refused() {
    let scene = Scene::start().await;
    let claims = scene.claims();
    let kid = scene.key.kid;
    let with_header = |header: Value| scene.key.sign_with_header(&header, &claims);
    let public = scene.key.jwk.to_string();
    let secret = jsonwebtoken::EncodingKey::from_secret(public.as_bytes());
    let hs256 = json!({ "alg": "HS256", "kid": kid, "typ": "JWT" }).to_string();
    let hs256 = forge::sign(
        &hs256,
        &claims.to_string(),
        &secret,
        jsonwebtoken::Algorithm::HS256,
    );
    let unsigned = json!({ "alg": "none", "kid": kid }).to_string();
    let stranger = Key::new("one");
    for (what, token) in [
        ("the public key as a secret", hs256),
        (
            "unsigned",
            format!("{}.AA", forge::unsigned(&unsigned, &claims.to_string())),
        ),
        ("another key of the same name", stranger.sign(&claims)),
        (
            "another algorithm",
            with_header(json!({ "alg": "RS256", "kid": kid })),
        ),
        (
            "another curve",
            with_header(json!({ "alg": "ES384", "kid": kid })),
        ),
        (
            "an access token",
            with_header(json!({ "alg": "ES256", "kid": kid, "typ": "at+jwt" })),
        ),
        (
            "a key of its own",
            with_header(json!({ "alg": "ES256", "kid": kid, "jwk": stranger.jwk })),
        ),
        (
            "a key from elsewhere",
            with_header(json!({ "alg": "ES256", "kid": kid, "jku": "https://evil.example" })),
        ),
        (
            "an extension",
            with_header(json!({ "alg": "ES256", "kid": kid, "crit": ["exp"] })),
        ),
        (
            "an unencoded payload",
            with_header(json!({ "alg": "ES256", "kid": kid, "b64": false })),
        ),
        (
            "a certificate of its own",
            with_header(json!({ "alg": "ES256", "kid": kid, "x5c": ["AA"] })),
        ),
        (
            "a certificate from elsewhere",
            with_header(json!({ "alg": "ES256", "kid": kid, "x5u": "https://evil.example" })),
        ),
        (
            "a compressed payload",
            with_header(json!({ "alg": "ES256", "kid": kid, "zip": "DEF" })),
        ),
        (
            "an encrypted payload",
            with_header(json!({ "alg": "ES256", "kid": kid, "enc": "A256GCM" })),
        ),
        ("no token", "nonsense".to_owned()),
    ] {
        scene.refuses(&token, what).await;
    }
    assert!(scene.service.items().is_empty());
    let without_typ = with_header(json!({ "alg": "ES256", "kid": kid }));
    assert_eq!(scene.exchange(&without_typ).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_id_token_of_each_form_that_openid_allows_is_accepted() {
    let scene = Scene::start().await;
    let now = scene.service.time.now();
    let kid = scene.key.kid;
    for (nth, header) in [
        json!({ "alg": "ES256", "kid": kid, "x5t": "AA", "x5t#S256": "AA" }),
        json!({ "alg": "ES256", "kid": kid, "x5t": 5, "cty": {}, "nonce": 1, "org.example": [] }),
        // The issuer has one key.
        json!({ "alg": "ES256", "typ": "JWT" }),
    ]
    .iter()
    .enumerate()
    {
        let mut claims = scene.claims();
        claims["sub"] = format!("header {nth}").into();
        let answer = scene
            .exchange(&scene.key.sign_with_header(header, &claims))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{header}: {:?}", answer.body);
    }
    let float = |time: u64| json!(f64::from(u32::try_from(time).unwrap()) + 0.5);
    let group = |nth: usize| format!("{nth:08x}-5b1d-4c2e-9f3a-000000000000");
    let groups: Vec<String> = (0..180).map(group).collect();
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    let mut many = json!({});
    for nth in 0..190 {
        many[format!("claim_{nth}")] = nth.into();
    }
    for (what, more) in [
        (
            "fractions",
            json!({ "iat": float(now - 1), "exp": float(now + 60), "nbf": float(now - 1) }),
        ),
        ("groups", json!({ "groups": groups })),
        ("deep arrays", json!({ "deep": deep })),
        ("200 claims", many),
        ("48 KB", json!({ "large": "x".repeat(45_000) })),
    ] {
        let mut claims = scene.claims();
        claims["sub"] = what.into();
        let claims = claims.as_object_mut().unwrap();
        claims.extend(more.as_object().unwrap().clone());
        let answer = scene.exchange(&scene.key.sign(&json!(claims))).await;
        assert_eq!(answer.status, StatusCode::OK, "{what}: {:?}", answer.body);
    }
    // In exponent form, which no test library writes.
    let claims = scene.claims();
    let exp = format!("\"exp\":{}", claims["exp"]);
    let claims = claims.to_string();
    let exponent = claims.replace(&exp, "\"exp\":99e8");
    assert_ne!(claims, exponent);
    let answer = scene.exchange(&scene.key.sign_text(&exponent)).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
}

#[tokio::test]
async fn t05_t10_a_fraction_of_a_second_does_not_change_the_bounds_of_time() {
    let scene = Scene::start().await;
    let now = i32::try_from(scene.service.time.now()).unwrap();
    for (name, value) in [
        ("exp", f64::from(now - 61) + 0.9),
        ("iat", f64::from(now - 401) + 0.9),
        ("iat", f64::from(now + 120) + 0.1),
        ("nbf", f64::from(now + 120) + 0.1),
        ("exp", -0.5),
        ("iat", -1e9),
        ("exp", 1e300),
    ] {
        let token = scene.key.sign(&scene.with(name, json!(value)));
        scene.refuses(&token, &format!("{name} {value}")).await;
    }
}

#[tokio::test]
async fn t16_without_a_kid_a_token_is_of_the_only_key_for_its_algorithm() {
    let scene = Scene::start().await;
    let header = json!({ "alg": "ES256" });
    let sign = |key: &Key, sub: &str| {
        let mut claims = scene.claims();
        claims["sub"] = sub.into();
        key.sign_with_header(&header, &claims)
    };
    let (stranger, second) = (Key::new("one"), Key::new("two"));
    scene
        .refuses(&sign(&stranger, "eve"), "no key of the provider")
        .await;
    let answer = scene.exchange(&sign(&scene.key, "ada")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);

    // The key needs no name either, and its successor is found at once.
    scene.service.time.pass(31);
    let mut nameless = second.jwk.clone();
    nameless.as_object_mut().unwrap().remove("kid");
    let rsa = Key::rsa("rsa").jwk;
    scene
        .issuer
        .publish(|published| published.jwks = json!({ "keys": [nameless, rsa] }));
    let answer = scene.exchange(&sign(&second, "grace")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    scene
        .refuses(&sign(&scene.key, "eve"), "the former key")
        .await;

    // With two keys for the algorithm, the token must say which.
    scene.service.time.pass(601);
    let both = json!({ "keys": [scene.key.jwk, second.jwk] });
    scene.issuer.publish(|published| published.jwks = both);
    for key in [&scene.key, &second] {
        scene.refuses(&sign(key, "eve"), "one of two keys").await;
    }
}

#[tokio::test]
async fn a_profile_claim_of_an_odd_type_is_dropped_and_the_log_has_its_name_only() {
    let scene = Scene::start().await;
    for (name, odd, shown) in [
        ("name", json!(5), "/user/name"),
        ("name", json!(["an-odd-value"]), "/user/name"),
        ("preferred_username", json!({}), "/user/username"),
        ("email", json!({ "an-odd-value": 1 }), "/user/email"),
        ("picture", json!({}), "/user/picture"),
        ("picture", json!(true), "/user/picture"),
        ("email_verified", json!(1), "/user/nothing"),
        ("auth_time", json!("an-odd-value"), "/user/nothing"),
    ] {
        let mut claims = scene.with(name, odd.clone());
        claims["sub"] = format!("{name} {odd}").into();
        let answer = scene.exchange(&scene.key.sign(&claims)).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {:?}", answer.body);
        let value = answer.body.pointer(shown).unwrap_or(&Value::Null);
        assert_eq!(*value, Value::Null, "{name}");
        let verified = &answer.body["user"]["email_verified"];
        let is_verified = !["email", "email_verified"].contains(&name);
        assert_eq!(*verified == json!(true), is_verified, "{name}");
    }
    let log = log_lines();
    for name in [
        "name",
        "preferred_username",
        "email",
        "picture",
        "email_verified",
        "auth_time",
    ] {
        let names_it = |line: &&String| {
            line.contains("id_token.claim_dropped") && line.contains(&format!("\"{name}\""))
        };
        assert!(log.iter().any(|line| names_it(&line)), "{name}");
    }
    assert!(!log.iter().any(|line| line.contains("an-odd-value")));
}

#[tokio::test]
async fn an_error_says_signature_only_for_a_signature() {
    let scene = Scene::start().await;
    let claims = scene.claims();
    for (token, says) in [
        (Key::new("one").sign(&claims), "signature"),
        (
            Key::new("two").sign(&claims),
            "no key, or more than one key",
        ),
        (scene.key.sign(&scene.with("sub", json!(7))), "a claim"),
        (
            scene.key.sign(&scene.with("exp", json!("never"))),
            "a claim",
        ),
        (scene.key.sign(&scene.with("azp", json!(1))), "a claim"),
        (
            scene.key.sign_with_header(
                &json!({ "alg": "ES256", "kid": "one", "crit": [] }),
                &claims,
            ),
            "not a plain ID token",
        ),
    ] {
        let answer = scene.exchange(&token).await;
        assert_refused(&answer, says);
        let description = answer.text("/error_description");
        assert!(description.contains(says), "{description}");
        assert_eq!(description.contains("signature"), says == "signature");
    }
}

#[tokio::test]
async fn an_access_token_that_comes_along_must_be_the_one_of_the_same_sign_in() {
    let scene = Scene::start().await;
    let along = |token: &'static str| [("subject_access_token", token)];
    // SHA-256 of the token, its left half in base64url.
    let hash = json!("77QmUPtjPfzWtF2AnpK9RQ");
    let token = scene.key.sign(&scene.with("at_hash", hash));
    let silent = scene.key.sign(&scene.claims());

    let other = scene.exchange_with(&token, &along("another")).await;
    let unsaid = scene.exchange_with(&silent, &along("another")).await;
    let same = along("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y");
    let same = scene.exchange_with(&token, &same).await;

    assert_refused(&other, "another access token");
    assert_refused(&unsaid, "an ID token that says nothing of one");
    assert_eq!(same.status, StatusCode::OK, "{:?}", same.body);
    let mut github = tests::exchange_of("gho_x").to_vec();
    github.extend(along("gho_x"));
    assert_refused(&scene.service.token(&github).await, "no ID token at all");
}

#[tokio::test]
async fn a_provider_may_take_more_or_less_time() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let mut provider = issuer.provider("acme");
    provider["max_age"] = json!(3600);
    let settings = json!([provider]).to_string();
    let service = Service::start_with(&[("OIDC_PROVIDERS", &settings)]).await;
    let of_age = |age: u64| key.sign(&issuer.claims("ada", service.time.now() - age));

    let old = service.token(&exchange_of(&of_age(3500))).await;
    let too_old = service.token(&exchange_of(&of_age(3610))).await;

    assert_eq!(old.status, StatusCode::OK, "{:?}", old.body);
    assert_refused(&too_old, "older than an hour");
}

#[tokio::test]
async fn t15_a_key_does_not_widen_what_its_provider_may_sign_with() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let mut provider = issuer.provider("acme");
    provider["algorithms"] = json!(["RS256", "EdDSA"]);
    let settings = json!([provider]).to_string();
    let service = Service::start_with(&[("OIDC_PROVIDERS", &settings)]).await;
    let token = key.sign(&issuer.claims("ada", service.time.now()));

    let answer = service.token(&exchange_of(&token)).await;

    assert_refused(&answer, "an algorithm that was not agreed upon");
    assert!(issuer.proxy.calls().is_empty());
}

#[tokio::test]
async fn t57_an_address_is_verified_only_if_the_provider_says_so() {
    let scene = Scene::start().await;
    for said in [json!(false), json!("false"), Value::Null] {
        let mut claims = scene.with("email_verified", said.clone());
        claims["sub"] = json!(format!("first {said}"));
        let first = scene.exchange(&scene.key.sign(&claims)).await;
        assert_eq!(first.body["user"]["email_verified"], false, "{said}");
    }
    let verified = scene.sign_in().await;
    assert_eq!(verified.body["user"]["email_verified"], true);
    scene.service.time.pass(1);

    let claims = scene.with("email_verified", json!(false));
    let again = scene.exchange(&scene.key.sign(&claims)).await;

    assert_eq!(again.text("/user/id"), verified.text("/user/id"));
    assert_eq!(again.body["user"]["email_verified"], false);
}

#[tokio::test]
async fn t06_the_same_subject_at_two_providers_is_two_users() {
    let (one, other) = (Key::new("one"), Key::new("one"));
    let (a, b) = (Issuer::start(&one).await, Issuer::start(&other).await);
    let settings = json!([a.provider("a"), b.provider("b")]).to_string();
    let service = Service::start_with(&[("OIDC_PROVIDERS", &settings)]).await;
    let now = service.time.now();
    let exchange = async |token: &str| service.token(&exchange_of(token)).await;

    let first = exchange(&one.sign(&a.claims("ada", now))).await;
    let second = exchange(&other.sign(&b.claims("ada", now))).await;

    assert_ne!(first.text("/user/id"), second.text("/user/id"));
    // The right key id, and another provider's key behind it.
    assert_refused(
        &exchange(&other.sign(&a.claims("ada", now))).await,
        "b's key for a",
    );
    let mut named = exchange_of("").to_vec();
    let token = one.sign(&a.claims("eve", now));
    named[1].1 = &token;
    named.push(("subject_issuer", "b"));
    assert_refused(&service.token(&named).await, "sent as b's");
    assert_eq!(service.users().len(), 2);
}

#[tokio::test]
async fn t07_only_the_listed_tenants_of_an_issuer_sign_in() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let pattern = format!("{}/{{tenantid}}/v2.0", issuer.url);
    let jwks_uri = format!("{}/keys", issuer.url);
    issuer.publish(|published| {
        published.discovery = json!({ "issuer": pattern, "jwks_uri": jwks_uri });
    });
    let mut settings = issuer.provider("microsoft");
    settings["issuer"] = pattern.into();
    settings["tenants"] = json!(["ours", "partner"]);
    let settings = json!([settings]).to_string();
    let service = Service::start_with(&[("OIDC_PROVIDERS", &settings)]).await;
    let token = |iss: &str, tid: &str| {
        let mut claims = issuer.claims("ada", service.time.now());
        claims["iss"] = format!("{}/{iss}/v2.0", issuer.url).into();
        claims["tid"] = tid.into();
        key.sign(&claims)
    };
    let exchange = async |token: &str| service.token(&exchange_of(token)).await;

    for (iss, tid) in [
        ("theirs", "theirs"),
        ("{tenantid}", "ours"),
        ("common", "ours"),
        ("ours", "partner"),
    ] {
        assert_refused(&exchange(&token(iss, tid)).await, &format!("{iss} {tid}"));
    }
    let ours = exchange(&token("ours", "ours")).await;
    let partners = exchange(&token("partner", "partner")).await;

    assert_ne!(ours.text("/user/id"), partners.text("/user/id"));
    // A tenant's administrator may write any address.
    assert_eq!(ours.body["user"]["email_verified"], false);
}

#[tokio::test]
async fn t09_an_id_token_is_no_access_token_and_the_other_way_round() {
    let scene = Scene::start().await;
    let token = scene.key.sign(&scene.claims());
    for issuer in ["acme", "github", scene.issuer.url.as_str()] {
        let parameters = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token.as_str()),
            ("subject_token_type", ACCESS_TOKEN),
            ("subject_issuer", issuer),
        ];
        assert_refused(&scene.service.token(&parameters).await, issuer);
    }
    scene
        .refuses(&scene.service.github_token("octocat"), "an access token")
        .await;

    assert!(scene.service.github.calls().is_empty() && scene.issuer.proxy.calls().is_empty());
}

#[tokio::test]
async fn t47_nobody_but_a_configured_issuer_is_asked_for_anything() {
    let scene = Scene::start().await;
    let stranger = Key::new("one");
    let evil = Issuer::start(&stranger).await;
    let token = stranger.sign(&evil.claims("ada", scene.service.time.now()));
    scene
        .refuses(&token, "an issuer that nobody configured")
        .await;
    for named in [evil.url.as_str(), "acme"] {
        let answer = scene
            .exchange_with(&token, &[("subject_issuer", named)])
            .await;
        assert_refused(&answer, named);
    }

    assert!(evil.proxy.calls().is_empty() && scene.issuer.proxy.calls().is_empty());
}

#[tokio::test]
async fn t48_a_discovery_document_that_leads_elsewhere_is_not_followed() {
    let key = Key::new("one");
    let elsewhere = Issuer::start(&key).await;
    for (name, value) in [
        ("issuer", "https://evil.example".to_owned()),
        ("jwks_uri", format!("{}/keys", elsewhere.url)),
        ("jwks_uri", "http://169.254.169.254/latest".to_owned()),
        ("jwks_uri", "file:///etc/passwd".to_owned()),
        ("jwks_uri", "nonsense".to_owned()),
    ] {
        let scene = Scene::start().await;
        scene
            .issuer
            .publish(|published| published.discovery[name] = value.clone().into());
        assert_unavailable(&scene.sign_in().await, &value);
        assert_eq!(scene.issuer.key_requests(), 0, "{value}");
    }
    assert!(elsewhere.proxy.calls().is_empty());
    let scene = Scene::start().await;
    scene
        .issuer
        .proxy
        .fault(When::Path("/keys"), Fault::redirect_to(&elsewhere.url));
    assert_unavailable(&scene.sign_in().await, "a redirect");
    assert!(elsewhere.proxy.calls().is_empty());
}

fn add_keys(jwks: &mut Value, count: usize) {
    let key = |nth| json!({ "kty": "oct", "kid": format!("{nth}"), "k": "AA" });
    let keys = jwks["keys"].as_array_mut().unwrap();
    keys.extend((0..count).map(key));
}

#[tokio::test]
async fn t49_key_sets_that_nobody_sane_publishes_are_refused() {
    let _turning = tests::timers::follow_work();
    // Each contains the valid key, which does not help.
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 6] = [
        ("no keys", |jwks| jwks["keys"] = json!([])),
        ("no set", |jwks| *jwks = jwks["keys"].take()),
        ("51 keys", |jwks| add_keys(jwks, 50)),
        ("10,000 keys", |jwks| add_keys(jwks, 9_999)),
        ("5 MB", |jwks| jwks["x"] = "x".repeat(5_000_000).into()),
        ("200 KB", |jwks| jwks["x"] = "x".repeat(200_000).into()),
    ];
    for (what, change) in changes {
        let scene = Scene::start().await;
        scene
            .issuer
            .publish(|published| change(&mut published.jwks));
        assert_unavailable(&scene.sign_in().await, what);
    }
    let scene = Scene::start().await;
    scene
        .issuer
        .publish(|published| add_keys(&mut published.jwks, 49));
    assert_eq!(scene.sign_in().await.status, StatusCode::OK, "50 keys");
    let scene = Scene::start().await;
    scene
        .issuer
        .publish(|published| published.content_type = "text/html");
    assert_unavailable(&scene.sign_in().await, "HTML");
    let scene = Scene::start().await;
    scene.issuer.proxy.fault(When::Path("/keys"), Fault::Hang);
    assert_unavailable(&scene.sign_in().await, "slow");
}

#[tokio::test]
async fn t49_a_key_that_cannot_be_trusted_is_left_out_and_the_others_stay() {
    let scene = Scene::start().await;
    let (odd, one, two) = (Key::new("odd"), Key::new("two"), Key::new("two"));
    let changed = |name: &str, value: Value| {
        let mut jwk = odd.jwk.clone();
        jwk[name] = value;
        jwk
    };
    for (jwk, is_good) in [
        (odd.jwk.clone(), true),
        (changed("use", json!("sig")), true),
        (changed("alg", json!("ES256")), true),
        (changed("alg", json!("ES384")), false),
        (changed("alg", json!("HS256x")), false),
        (changed("alg", json!("RS256")), false),
        (changed("use", json!("enc")), false),
        (changed("use", json!("Sig")), false),
        (changed("use", json!("")), false),
        (changed("key_ops", json!(["verify"])), true),
        (changed("key_ops", json!(["sign", "verify"])), true),
        (changed("key_ops", json!(["sign"])), false),
        (changed("key_ops", json!(["Verify"])), false),
        (changed("key_ops", json!([])), false),
        (changed("key_ops", json!("verify")), false),
        // The coordinates are still those of a point on P-256.
        (changed("crv", json!("P-384")), false),
        (changed("crv", json!("P-521")), false),
        (changed("crv", json!("Ed25519")), false),
        (changed("crv", json!("secp256k1")), false),
        (changed("d", json!("AA")), false),
        (changed("k", json!("AA")), false),
        (changed("kid", json!(null)), false),
        (changed("x", json!("AA")), false),
        (
            json!({ "kty": "oct", "kid": "odd", "k": "c2VjcmV0" }),
            false,
        ),
        (
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "odd", "x": "AA" }),
            false,
        ),
        (json!("nonsense"), false),
        (json!(null), false),
    ] {
        let what = jwk.to_string();
        scene.issuer.publish(|published| {
            published.jwks = json!({ "keys": [jwk, scene.key.jwk, one.jwk, two.jwk] });
        });
        let service = Service::start_with(&[("OIDC_PROVIDERS", &scene.issuer.settings())]).await;
        let sign_in = async |key: &Key| {
            service
                .token(&exchange_of(&key.sign(&scene.claims())))
                .await
        };
        assert_eq!(sign_in(&scene.key).await.status, StatusCode::OK, "{what}");
        assert_eq!(
            sign_in(&odd).await.status == StatusCode::OK,
            is_good,
            "{what}"
        );
        for ambiguous in [&one, &two] {
            assert_refused(&sign_in(ambiguous).await, "a key id that is there twice");
        }
    }
}

#[tokio::test]
async fn t15_t49_an_rsa_key_verifies_with_its_own_algorithm_and_only_with_the_usual_exponent() {
    let (good, exponent_3) = (Key::rsa("good"), Key::rsa_with_exponent_3("three"));
    let issuer = Issuer::start(&good).await;
    let mut provider = issuer.provider("acme");
    provider["algorithms"] = json!(["RS256", "RS512", "PS256"]);
    let settings = json!([provider]).to_string();
    for (alg, others_are_good) in [(None, true), (Some("RS256"), false)] {
        let mut jwk = good.jwk.clone();
        jwk["alg"] = json!(alg);
        if alg.is_none() {
            jwk.as_object_mut().unwrap().remove("alg");
        }
        issuer.publish(|published| {
            published.jwks = json!({ "keys": [jwk, exponent_3.jwk] });
        });
        let service = Service::start_with(&[("OIDC_PROVIDERS", &settings)]).await;
        let claims = issuer.claims("ada", service.time.now());
        let exchange = async |token: &str| service.token(&exchange_of(token)).await;

        assert_eq!(exchange(&good.sign(&claims)).await.status, StatusCode::OK);
        for algorithm in [Algorithm::RS512, Algorithm::PS256] {
            let answer = exchange(&good.sign_with(algorithm, &claims)).await;
            let is_good = answer.status == StatusCode::OK;
            assert_eq!(is_good, others_are_good, "{alg:?} {algorithm:?}");
        }
        // Its signature verifies like that of any key.
        assert_refused(&exchange(&exponent_3.sign(&claims)).await, "exponent 3");
    }
}

#[tokio::test]
async fn t50_t51_five_hundred_sign_ins_ask_once_and_a_flood_of_unknown_key_ids_once_more() {
    // On a busy machine, the request for the keys would exceed its time limit and be repeated.
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    // A hundred at a time: five hundred at once wait for the database for longer than their tokens are good.
    for hundred in 0..5 {
        let mut sign_ins = JoinSet::new();
        for nth in 0..100 {
            let claims = scene.issuer.claims(
                &format!("person {hundred}{nth:02}"),
                scene.service.time.now(),
            );
            let token = scene.key.sign(&claims);
            let request = scene.service.token_request(&exchange_of(&token));
            sign_ins.spawn(tests::persist(request));
        }
        sign_ins.join_all().await;
    }
    assert_eq!(scene.issuer.key_requests(), 1);

    scene.service.time.pass(31);
    for nth in 0..50 {
        let header = json!({ "alg": "ES256", "kid": format!("unknown {nth}") });
        let token = scene.key.sign_with_header(&header, &scene.claims());
        scene.refuses(&token, "an unknown key id").await;
    }
    assert_eq!(scene.issuer.key_requests(), 2);
    assert_eq!(scene.sign_in().await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_that_the_provider_begins_to_sign_with_is_found() {
    let scene = Scene::start().await;
    assert_eq!(scene.sign_in().await.status, StatusCode::OK);
    let next = Key::new("two");
    scene
        .issuer
        .publish(|published| published.jwks = json!({ "keys": [scene.key.jwk, next.jwk] }));
    scene.service.time.pass(31);

    let answer = scene.exchange(&next.sign(&scene.claims())).await;

    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    // A withdrawn key is refused after the set is read again.
    scene
        .issuer
        .publish(|published| published.jwks = json!({ "keys": [next.jwk] }));
    scene.service.time.pass(601);
    assert_eq!(
        scene.exchange(&next.sign(&scene.claims())).await.status,
        StatusCode::OK
    );
    scene
        .refuses(
            &scene.key.sign(&scene.claims()),
            "a key that was taken back",
        )
        .await;
}

#[tokio::test]
async fn t52_t54_a_provider_that_is_down_stops_nobody_who_knows_its_keys() {
    let scene = Scene::start().await;
    assert_eq!(scene.sign_in().await.status, StatusCode::OK);
    scene.service.time.pass(3600);
    scene
        .issuer
        .publish(|published| published.jwks = json!({ "keys": [] }));
    assert_eq!(
        scene.sign_in().await.status,
        StatusCode::OK,
        "an empty set evicts nothing"
    );
    scene.issuer.proxy.down().await;
    scene.service.time.pass(3600);
    assert_eq!(scene.sign_in().await.status, StatusCode::OK);

    scene.service.time.pass(DAY);

    assert_unavailable(&scene.sign_in().await, "keys that are too old");
    let cold = Scene::start().await;
    cold.issuer.proxy.down().await;
    assert_unavailable(&cold.sign_in().await, "no keys yet");
    assert!(cold.service.items().is_empty());
}

/// Google's and Okta's keys come with a `max-age` of hours; a day is the longest that is honoured.
#[tokio::test]
async fn t52_t54_keys_that_were_fresh_for_a_day_serve_on_while_the_provider_is_down() {
    let scene = Scene::start().await;
    scene
        .issuer
        .publish(|published| published.cache_control = "public, max-age=604800");
    assert_eq!(scene.sign_in().await.status, StatusCode::OK);
    scene.issuer.proxy.down().await;
    for hours in [23, 1, 1, 21] {
        scene.service.time.pass(hours * 3600);
        let answer = scene.sign_in().await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    }

    scene.service.time.pass(3 * 3600);

    assert_unavailable(&scene.sign_in().await, "keys that are too old");
}

#[tokio::test]
async fn t53_keys_under_a_rate_limit_are_asked_for_once() {
    let scene = Scene::start().await;
    for path in ["/.well-known/openid-configuration", "/keys"] {
        let limit = Fault::too_many_requests(600);
        scene.issuer.proxy.clear();
        scene.issuer.proxy.fault(When::Path(path), limit);
        for _ in 0..6 {
            scene.service.time.pass(31);
            let answer = scene.sign_in().await;
            assert_unavailable(&answer, path);
        }
        let calls = scene.issuer.proxy.calls();
        assert_eq!(calls.iter().filter(|call| call.path == path).count(), 1);
        scene.issuer.proxy.heal();
        scene.service.time.pass(601);
    }
    assert_eq!(scene.sign_in().await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_id_token_opens_one_session_however_its_signature_is_spelled() {
    for header in [
        json!({ "alg": "ES256", "kid": "one", "typ": "JWT" }),
        json!({ "alg": "ES256", "x5t": "AA" }),
    ] {
        let scene = Scene::start().await;
        let claims = scene.claims();
        let sign = || scene.key.sign_with_header(&header, &claims);
        let token = sign();
        assert_eq!(scene.exchange(&token).await.status, StatusCode::OK);
        // The holder of the key can make another ECDSA signature, and any party can mirror one.
        let again = sign();
        assert_ne!(token, again);

        let answers = [scene.exchange(&token).await, scene.exchange(&again).await];

        assert_eq!(answers[0].status, StatusCode::OK, "a lost answer");
        assert_refused(&answers[1], "the same, signed anew");
        assert_eq!(scene.service.sessions().len(), 1);
        scene.service.time.pass(61);
        scene.refuses(&token, "replayed").await;
    }
}
