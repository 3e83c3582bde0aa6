//! The time of a sign-in, as the provider reports it.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    ACCESS_TOKEN, Answer, CLIENT, GITHUB_APP, Service, TOKEN_EXCHANGE,
    oidc::{Issuer, Key},
    opaque::{APP, Opaque},
    proxy::{self, When},
};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const WEEK: u64 = 7 * 24 * 60 * 60;

/// Starts a service with a provider of each kind.
struct Scene {
    service: Service,
    issuer: Issuer,
    key: Key,
    _opaque: Opaque,
}

impl Scene {
    async fn start() -> Self {
        let key = Key::new("one");
        let issuer = Issuer::start(&key).await;
        let opaque = Opaque::start().await;
        let settings = [
            ("OIDC_PROVIDERS", issuer.settings()),
            ("OAUTH_PROVIDERS", opaque.settings()),
        ];
        let settings = settings
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        Self {
            service: Service::start_with(&settings).await,
            issuer,
            key,
            _opaque: opaque,
        }
    }

    fn now(&self) -> u64 {
        self.service.time.now()
    }

    /// Returns an ID token of `sub` with this `auth_time`; `null` omits it.
    fn id_token(&self, sub: &str, auth_time: &Value) -> String {
        let mut claims = self.issuer.claims(sub, self.now());
        claims["auth_time"] = auth_time.clone();
        let members = claims.as_object_mut().unwrap();
        members.retain(|_, value| !value.is_null());
        self.key.sign(&claims)
    }

    async fn sign_in(&self, kind: &str, issuer: &str, token: &str) -> Answer {
        let parameters = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", kind),
            ("subject_issuer", issuer),
        ];
        let answer = self.service.token(&parameters).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer
    }

    async fn sign_in_with(&self, id_token: &str) -> Answer {
        self.sign_in(ID_TOKEN, "acme", id_token).await
    }

    /// Links an account of GitHub, which needs a recent sign-in.
    async fn link(&self, signed_in: &Answer) -> Answer {
        let github = self.service.github_token("octocat");
        let token = signed_in.text("/access_token");
        self.service.link(token, "github", &github).await
    }

    async fn introspect(&self, token: &str) -> Answer {
        let request = self.service.request("POST", "/introspect");
        let request = request.basic_auth(CLIENT.0, Some(CLIENT.1));
        self.service.send(request.form(&[("token", token)])).await
    }
}

/// Returns the claims of an answer's access token, decoded without Cambio's code.
fn auth_time(answer: &Answer) -> Value {
    let payload = answer.text("/access_token").split('.').nth(1).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["auth_time"].clone()
}

fn assert_needs_sign_in(answer: &Answer, why: &str) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{:?}", answer.body);
    assert_eq!(
        answer.text("/type"),
        "urn:cambio:error:insufficient_user_authentication"
    );
    assert!(answer.text("/detail").contains(why), "{:?}", answer.body);
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.contains(r#"error="insufficient_user_authentication""#)
            && challenge.contains(r#"max_age="300""#),
        "{challenge}"
    );
}

#[tokio::test]
async fn t56_an_id_token_whose_sign_in_was_a_week_ago_is_no_recent_sign_in() {
    let scene = Scene::start().await;
    let then = scene.now() - WEEK;

    let signed_in = scene
        .sign_in_with(&scene.id_token("ada", &json!(then)))
        .await;

    assert_eq!(auth_time(&signed_in), then);
    assert_needs_sign_in(&scene.link(&signed_in).await, "sign in again");
    let unlink = scene
        .service
        .delete_as_user(signed_in.text("/access_token"), "/me/identities/acme");
    assert_needs_sign_in(&unlink.await, "sign in again");
    // A refresh keeps it, and so does the repetition of an exchange after a lost answer.
    let token = signed_in.text("/refresh_token");
    let refreshed = scene.service.refresh(token).await;
    let again = scene.service.refresh(token).await;
    for answer in [&refreshed, &again] {
        assert_eq!(auth_time(answer), then);
    }
    let introspected = scene.introspect(refreshed.text("/access_token")).await;
    assert_eq!(introspected.body["auth_time"], then);
}

#[tokio::test]
async fn a_time_of_the_sign_in_with_a_fraction_counts_without_it() {
    let scene = Scene::start().await;
    let then = scene.now() - 20;
    let fraction = f64::from(u32::try_from(then).unwrap()) + 0.5;

    let signed_in = scene
        .sign_in_with(&scene.id_token("ada", &json!(fraction)))
        .await;

    assert_eq!(auth_time(&signed_in), then);
}

#[tokio::test]
async fn t56_the_earlier_of_the_providers_time_and_ours_is_the_time_of_the_sign_in() {
    let scene = Scene::start().await;
    let before = scene.now() - 20;
    let earlier = scene
        .sign_in_with(&scene.id_token("ada", &json!(before)))
        .await;
    assert_eq!(auth_time(&earlier), before);
    // The provider's clock is ahead, and within what is forgiven.
    let ahead = scene.now() + 50;

    let signed_in = scene
        .sign_in_with(&scene.id_token("grace", &json!(ahead)))
        .await;

    let time = auth_time(&signed_in).as_u64().unwrap();
    assert!(time < ahead && time <= scene.now(), "{time}");
    assert_eq!(scene.link(&signed_in).await.status, StatusCode::OK);
    scene.service.time.pass(301);
    assert_needs_sign_in(&scene.link(&signed_in).await, "sign in again");
}

#[tokio::test]
async fn t56_a_repeated_exchange_keeps_the_time_of_the_sign_in() {
    let scene = Scene::start().await;
    let then = scene.now() - 20;
    let token = scene.id_token("ada", &json!(then));
    let silent = scene.id_token("grace", &json!(null));
    for (token, time) in [(token, json!(then)), (silent, json!(null))] {
        for _ in 0..2 {
            let answer = scene.sign_in_with(&token).await;
            assert_eq!(auth_time(&answer), time);
            scene.service.time.pass(20);
        }
    }
}

#[tokio::test]
async fn t56_where_the_provider_does_not_say_when_no_sign_in_is_recent() {
    let scene = Scene::start().await;
    let token = |person: &str| format!("{APP}~{person}~identify.email");
    let mut answers = vec![
        scene.sign_in(ACCESS_TOKEN, "discord", &token("ada")).await,
        scene.sign_in(ACCESS_TOKEN, "facebook", &token("ada")).await,
        scene.sign_in(ACCESS_TOKEN, "loose", &token("ada")).await,
    ];
    // What is no time says nothing: a provider that counts in milliseconds, or writes text.
    for (nth, odd) in [
        json!(null),
        json!("yesterday"),
        json!(-1),
        json!(-1.5),
        json!([scene.now()]),
        json!(scene.now() * 1000),
        json!(scene.now() + 120),
    ]
    .iter()
    .enumerate()
    {
        let id_token = scene.id_token(&format!("person {nth}"), odd);
        answers.push(scene.sign_in_with(&id_token).await);
    }

    for signed_in in &answers {
        let token = signed_in.text("/access_token");
        assert_eq!(auth_time(signed_in), json!(null));
        assert_eq!(scene.service.me(token).await.status, StatusCode::OK);
        let refused = scene.link(signed_in).await;
        assert_needs_sign_in(&refused, "does not report the time of a sign-in");
        let unlink = scene.service.delete_as_user(token, "/me/identities/acme");
        assert_needs_sign_in(&unlink.await, "does not report the time of a sign-in");
        let introspected = scene.introspect(token).await;
        assert_eq!(introspected.body["active"], true);
        assert_eq!(introspected.body.get("auth_time"), None);
        let refreshed = scene.service.refresh(signed_in.text("/refresh_token"));
        assert_eq!(auth_time(&refreshed.await), json!(null));
    }
    assert!(scene.service.github.calls().is_empty());
}

#[tokio::test]
async fn t56_githubs_token_counts_from_when_it_was_made() {
    let scene = Scene::start().await;
    let old = scene.service.github_token("octocat");
    let made_by = scene.now();
    scene.service.time.pass(400);

    let answer = scene.service.exchange(&old).await;

    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let time = auth_time(&answer).as_u64().unwrap();
    assert!((made_by - 5..=made_by).contains(&time), "{time}");
    let link = async |signed_in: &Answer| {
        let token = scene.id_token("ada", &json!(scene.now()));
        let body = json!({ "subject_token": token, "subject_token_type": ID_TOKEN });
        let access_token = signed_in.text("/access_token");
        let request = scene
            .service
            .as_user(access_token, "POST", "/me/identities");
        scene.service.send(request.json(&body)).await
    };
    assert_needs_sign_in(&link(&answer).await, "sign in again");
    let fresh = scene.service.sign_in("octocat").await;
    assert_eq!(link(&fresh).await.status, StatusCode::OK);
    // A GitHub that leaves it out, or writes something else, says nothing.
    for created_at in [
        json!(null),
        json!("a minute ago"),
        json!(7),
        json!("9999-12-31T23:59:59Z"),
    ] {
        let body = json!({
            "app": { "client_id": GITHUB_APP.0 }, "user": { "id": 583_231, "login": "octocat" },
            "scopes": [], "created_at": created_at,
        });
        let body = proxy::Reply::new(StatusCode::OK, body.to_string());
        scene.service.github.heal();
        scene
            .service
            .github
            .fault(When::Path("/applications/our-app/token"), body.into());
        let silent = scene.service.sign_in("octocat").await;
        assert_eq!(auth_time(&silent), json!(null), "{created_at}");
    }
}

#[tokio::test]
async fn t56_facebooks_token_counts_from_when_it_was_issued_where_facebook_says_so() {
    let scene = Scene::start().await;
    let of_age = async |age: u64| {
        let then = scene.now() - age;
        let token = format!("{APP}~issued-{then}~email");
        let answer = scene.sign_in(ACCESS_TOKEN, "facebook", &token).await;
        assert_eq!(auth_time(&answer), then);
        scene.link(&answer).await
    };

    assert_needs_sign_in(&of_age(400).await, "sign in again");
    assert_eq!(of_age(10).await.status, StatusCode::OK);
}

/// True if the stored time was the provider's or that of the exchange is unknown.
#[tokio::test]
async fn t56_a_session_without_the_time_of_its_sign_in_goes_on_and_is_no_recent_sign_in() {
    let scene = Scene::start().await;
    let signed_in = scene.service.sign_in("hubot").await;
    let mut sessions = scene.service.sessions();
    let session = &mut sessions[0];
    session.as_object_mut().unwrap().remove("signed_in_at");
    scene.service.put(local::dynamodb::TABLE, session);

    let refreshed = scene
        .service
        .refresh(signed_in.text("/refresh_token"))
        .await;

    assert_eq!(refreshed.status, StatusCode::OK, "{:?}", refreshed.body);
    assert_eq!(auth_time(&refreshed), json!(null));
    let token = refreshed.text("/access_token");
    assert_eq!(scene.service.me(token).await.status, StatusCode::OK);
    let unlink = scene.service.delete_as_user(token, "/me/identities/github");
    assert_needs_sign_in(&unlink.await, "does not report the time of a sign-in");
}
