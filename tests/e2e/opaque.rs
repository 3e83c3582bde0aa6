//! Opaque tokens of providers other than GitHub, which must belong to the configured application.

use reqwest::StatusCode;
use serde_json::json;
use shared::{clock::Clock, config::Environment, provider::Providers, secrets::Secrets};
use tests::{
    Answer, GITHUB_APP, Service,
    opaque::{APP, Opaque},
    proxy::{self, Fault, When},
};

struct Scene {
    service: Service,
    providers: Opaque,
}

impl Scene {
    async fn start() -> Self {
        let providers = Opaque::start().await;
        let settings = [("OAUTH_PROVIDERS", providers.settings())];
        let settings = settings
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        Self {
            service: Service::start_with(&settings).await,
            providers,
        }
    }

    async fn exchange(&self, provider: &str, token: &str) -> Answer {
        self.service.exchange_from(provider, token).await
    }

    async fn refuses(&self, provider: &str, token: &str) {
        let answer = self.exchange(provider, token).await;
        let what = format!("{provider} {token}: {:?}", answer.body);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        assert_eq!(answer.text("/error"), "invalid_request", "{what}");
        assert!(self.service.items().is_empty(), "{what}");
    }

    fn paths(&self) -> Vec<String> {
        let calls = self.providers.proxy.calls();
        calls.into_iter().map(|call| call.path).collect()
    }
}

fn token(scopes: &str) -> String {
    format!("{APP}~ada~{scopes}")
}

#[tokio::test]
async fn t30_opaque_tokens_that_differ_after_a_dot_are_two_tokens() {
    let scene = Scene::start().await;

    let first = scene.exchange("loose", &token("p1.aaaa")).await;
    let other = scene.exchange("loose", &token("p1.bbbb")).await;

    assert_eq!(first.status, StatusCode::OK, "{:?}", first.body);
    assert_eq!(other.status, StatusCode::OK, "{:?}", other.body);
    assert_eq!(scene.service.sessions().len(), 2);
}

#[tokio::test]
async fn a_token_of_our_application_signs_its_person_in_at_each_of_them() {
    let scene = Scene::start().await;

    let discord = scene.exchange("discord", &token("identify.email")).await;
    let facebook = scene.exchange("facebook", &token("email")).await;
    let loose = scene.exchange("loose", &token("any")).await;

    assert_eq!(discord.status, StatusCode::OK, "{:?}", discord.body);
    assert_eq!(
        discord.text("/user/name"),
        "ada",
        "no display name: the login"
    );
    assert_eq!(discord.body["user"]["email_verified"], true);
    assert!(
        discord
            .text("/user/picture")
            .starts_with("https://cdn.discordapp.com/avatars/8035")
    );
    assert_eq!(facebook.status, StatusCode::OK, "{:?}", facebook.body);
    assert_eq!(facebook.text("/user/name"), "Ada Lovelace");
    assert_eq!(facebook.text("/user/email"), "ada@example.com");
    assert_eq!(
        facebook.body["user"]["email_verified"], false,
        "it does not say"
    );
    assert_eq!(
        facebook.text("/user/picture"),
        "https://example.com/ada.png"
    );
    assert_eq!(loose.status, StatusCode::OK, "{:?}", loose.body);
    assert_eq!(loose.text("/user/identities/0/subject"), "7");
    assert_eq!(loose.body["user"]["email_verified"], false, "never");
    assert_eq!(scene.service.users().len(), 3);
    let again = scene.exchange("discord", &token("email.identify")).await;
    assert_eq!(again.text("/user/id"), discord.text("/user/id"));
}

#[tokio::test]
async fn t01_t02_a_token_of_another_application_opens_nothing_and_asks_no_more() {
    let scene = Scene::start().await;

    for provider in ["discord", "facebook"] {
        scene
            .refuses(provider, "foreign-app~ada~identify.email")
            .await;
        scene.refuses(provider, "made-up").await;
        scene.refuses(provider, "a\tb").await;
        scene.refuses(provider, &"x".repeat(4097)).await;
    }

    let asked = ["/discord/oauth2/@me", "/facebook/debug_token"];
    assert!(
        scene
            .paths()
            .iter()
            .all(|path| asked.contains(&path.as_str())),
        "{:?}",
        scene.paths()
    );
    assert_eq!(
        scene.paths().len(),
        4,
        "what cannot be a token is sent nowhere"
    );
}

#[tokio::test]
async fn t01_facebooks_word_for_another_application_opens_nothing() {
    let scene = Scene::start().await;
    let token = token("email");
    let data = json!({ "data": {
        "app_id": "foreign-app", "type": "USER", "is_valid": true, "user_id": "7", "scopes": ["email"],
    } });
    let answer = proxy::Reply::new(StatusCode::OK, data.to_string());
    let answer = answer.with_header("content-type", "application/json");
    let when = When::Path("/facebook/debug_token");
    scene.providers.proxy.fault_once(when, Fault::from(answer));

    scene.refuses("facebook", &token).await;

    // The same token, by Facebook's own word for our application.
    let answer = scene.exchange("facebook", &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
}

#[tokio::test]
async fn a_token_that_stands_for_nobody_opens_nothing() {
    let scene = Scene::start().await;

    scene.refuses("discord", &token("guilds")).await;
    scene
        .refuses("facebook", &format!("{APP}~page~email"))
        .await;
    scene
        .refuses("facebook", &format!("{APP}~expired~email"))
        .await;
    scene.refuses("loose", "made-up").await;
}

#[tokio::test]
async fn t03_what_could_be_no_header_is_sent_to_no_provider() {
    let scene = Scene::start().await;
    let long = "x".repeat(4097);

    for provider in ["discord", "facebook"] {
        for text in ["a b", "a\"b", "a,b", "a;b", &long] {
            scene.refuses(provider, text).await;
        }
    }

    assert!(scene.paths().is_empty());
}

#[tokio::test]
async fn an_address_that_we_may_not_read_is_not_asked_for() {
    let scene = Scene::start().await;

    let answer = scene.exchange("discord", &token("identify")).await;

    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    assert_eq!(answer.body["user"]["email"], json!(null));
    assert_eq!(scene.paths(), ["/discord/oauth2/@me"]);
}

#[tokio::test]
async fn two_answers_about_two_users_are_no_user() {
    let scene = Scene::start().await;
    let of = |person: serde_json::Value| {
        Fault::from(proxy::Reply::new(StatusCode::OK, person.to_string()))
    };
    let other = json!({ "id": "11", "username": "eve" });
    for path in ["/discord/users/@me", "/facebook/me"] {
        let fault = of(other.clone());
        scene.providers.proxy.fault(When::Path(path), fault);
    }

    for provider in ["discord", "facebook"] {
        let answer = scene.exchange(provider, &token("identify.email")).await;
        assert_eq!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{provider}: {:?}",
            answer.body
        );
    }
    assert!(scene.service.items().is_empty());
}

#[tokio::test]
async fn t57_an_address_at_discord_is_verified_only_if_discord_says_so() {
    let scene = Scene::start().await;
    for verified in [json!(false), json!(null)] {
        let person = json!({
            "id": "80351110224678912", "username": "ada", "email": "ada@example.com", "verified": verified,
        });
        let fault = Fault::from(proxy::Reply::new(StatusCode::OK, person.to_string()));
        scene.providers.proxy.heal();
        scene
            .providers
            .proxy
            .fault(When::Path("/discord/users/@me"), fault);
        // A token of its own for each sign-in.
        let token = token(&format!("identify.{verified}.email"));
        let answer = scene.exchange("discord", &token).await;
        assert_eq!(answer.text("/user/email"), "ada@example.com", "{verified}");
        assert_eq!(answer.body["user"]["email_verified"], false, "{verified}");
    }
}

#[tokio::test]
async fn t53_what_a_provider_cannot_say_is_never_held_against_the_person() {
    let scene = Scene::start().await;
    let answers = |status, body: &str| Fault::from(proxy::Reply::new(status, body.to_owned()));
    for fault in [
        answers(StatusCode::INTERNAL_SERVER_ERROR, ""),
        answers(StatusCode::BAD_REQUEST, ""),
        answers(StatusCode::BAD_REQUEST, r#"{"error":{"code":2}}"#),
        answers(StatusCode::FORBIDDEN, ""),
        answers(StatusCode::TOO_MANY_REQUESTS, ""),
        answers(StatusCode::OK, "{"),
        answers(StatusCode::OK, r#"{"id":1.5}"#),
        answers(StatusCode::OK, r#"{"id":""}"#),
        answers(StatusCode::OK, r#"{"id":"\u0000"}"#),
        Fault::ResetBeforeForwarding,
    ] {
        // A breaker that has opened would answer in the provider's place.
        scene.service.time.pass(60);
        for provider in ["discord", "facebook", "loose"] {
            scene.providers.proxy.heal();
            scene.providers.proxy.fault(When::Always, fault.clone());
            let answer = scene.exchange(provider, &token("identify.email")).await;
            let what = format!("{provider} {fault:?}: {:?}", answer.body);
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
            assert_eq!(answer.text("/error"), "temporarily_unavailable", "{what}");
            assert!(!answer.header("retry-after").is_empty(), "{what}");
        }
    }
    assert!(scene.service.items().is_empty());
}

#[tokio::test]
async fn t53_a_token_that_facebook_refuses_shuts_nobody_else_out() {
    let scene = Scene::start().await;

    for refused in [
        "foreign-app~ada~email",
        &format!("{APP}~malformed~email"),
        &format!("{APP}~logged-out~email"),
        "made-up",
    ] {
        for _ in 0..6 {
            scene.refuses("facebook", refused).await;
        }
    }

    let answer = scene.exchange("facebook", &token("email")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
}

#[tokio::test]
async fn t53_a_4xx_about_one_persons_token_shuts_nobody_else_out() {
    let scene = Scene::start().await;
    for (provider, path) in [
        ("discord", "/discord/oauth2/@me"),
        ("discord", "/discord/users/@me"),
        ("facebook", "/facebook/debug_token"),
        ("facebook", "/facebook/me"),
        ("loose", "/userinfo"),
    ] {
        let forbidden = Fault::status(StatusCode::FORBIDDEN);
        scene.providers.proxy.fault(When::Path(path), forbidden);
        for _ in 0..6 {
            let answer = scene.exchange(provider, &token("identify.email")).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
        scene.providers.proxy.heal();
        scene.service.time.pass(1);

        let answer = scene.exchange(provider, &token("email.identify")).await;

        assert_eq!(answer.status, StatusCode::OK, "{path}: {:?}", answer.body);
        for item in scene.service.items() {
            scene.service.delete(&item);
        }
    }
}

/// Facebook reports a rate limit by an error code, without a wait
/// (<https://developers.facebook.com/docs/graph-api/overview/rate-limiting>).
#[tokio::test]
async fn t53_a_rate_limit_of_the_application_at_facebook_is_remembered_for_a_minute() {
    let scene = Scene::start().await;
    let limit = r#"{"error":{"message":"(#4) Application request limit reached","type":"OAuthException","code":4}}"#;
    let limit = proxy::Reply::new(StatusCode::FORBIDDEN, limit);
    scene.providers.proxy.fault(When::Always, limit.into());

    for _ in 0..12 {
        let answer = scene.exchange("facebook", &token("email")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }

    assert_eq!(scene.paths(), ["/facebook/debug_token"]);
    scene.providers.proxy.heal();
    scene.service.time.pass(61);
    let answer = scene.exchange("facebook", &token("email")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
}

#[tokio::test]
async fn t06_a_token_is_only_taken_to_the_provider_that_is_named() {
    let scene = Scene::start().await;
    let github = scene.service.github_token("octocat");

    for provider in ["twitter", "Discord", "", "acme"] {
        scene.refuses(provider, &token("identify")).await;
    }
    assert!(scene.paths().is_empty());
    scene.refuses("discord", &github).await;
    assert!(scene.service.github.calls().is_empty());
}

#[tokio::test]
async fn a_github_of_ones_own_stands_beside_the_one_of_everybody() {
    let service = Service::start().await;
    let enterprise = json!([{
        "name": "acme-github", "kind": "github", "client_id": GITHUB_APP.0, "client_secret": GITHUB_APP.1,
        "api_url": service.github.url(),
    }]);
    let both = Service::start_with(&[("OAUTH_PROVIDERS", &enterprise.to_string())]).await;
    let token = service.github_token("octocat");

    let acme = both.exchange_from("acme-github", &token).await;
    let everybody = both.sign_in("octocat").await;

    assert_eq!(acme.status, StatusCode::OK, "{:?}", acme.body);
    assert_eq!(acme.text("/user/identities/0/provider"), "acme-github");
    assert_ne!(acme.text("/user/id"), everybody.text("/user/id"));
    assert!(!service.github.calls().is_empty() && !both.github.calls().is_empty());
}

#[test]
fn t84_a_provider_that_cannot_prove_its_tokens_is_refused_by_default() {
    for (settings, problem) in [
        (
            r#"[{"name":"spotify","client_id":"1"}]"#,
            "unsafe_no_app_binding",
        ),
        (
            r#"[{"name":"spotify","unsafe_no_app_binding":true}]"#,
            "userinfo is missing",
        ),
        (r#"[{"name":"discord"}]"#, "client_id is missing"),
        (
            r#"[{"name":"facebook","client_id":"1"}]"#,
            "client_secret is missing",
        ),
        (
            r#"[{"name":"acme","kind":"github","client_id":"1","client_secret":"2"}]"#,
            "api_url",
        ),
        (
            r#"[{"name":"discord","client_id":"1"},{"name":"discord","client_id":"1"}]"#,
            "another provider has this name",
        ),
    ] {
        let env = Environment::of([("OAUTH_PROVIDERS", settings)]);
        let clock = Clock::system();
        let secrets = Secrets::new(env.clone(), clock.clone());
        let error = Providers::start(&env, &clock, &secrets)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("OAUTH_PROVIDERS ") && error.contains(problem),
            "{error}"
        );
    }
}
