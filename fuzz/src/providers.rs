//! The answers of providers of opaque tokens: GitHub, and a provider that the settings describe.
//!
//! An input has the answers to the requests of one verification, separated by a line `---`. The first line of each is
//! the status and the media type, other lines up to an empty one are headers, and the rest is the body.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    config::Environment,
    fuzzing::Target,
    provider::{EmailAnswer, Identity, ProviderError, Providers, SubjectToken, SubjectTokenType},
    secrets::Secrets,
};
use tokio::net::TcpListener;

use crate::events::block_on;

pub(crate) const GITHUB: Target = Target {
    name: "github-answers",
    seeds: github_seeds,
    run: github,
};

pub(crate) const DESCRIBED: Target = Target {
    name: "oauth-answers",
    seeds: described_seeds,
    run: described,
};

/// The client id of the app at both providers.
const APP: &str = "our-app";
/// The seconds between two inputs: more than a provider that fails is left alone for, and less than makes a new pool of
/// connections.
const STEP: u64 = 11;
/// More than the longest wait that a provider can ask for.
const LONG_STEP: u64 = 2 * 60 * 60;

/// An answer of a provider.
#[derive(Clone, Default)]
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let (status, media_type) = first.split_once(' ').unwrap_or((first, ""));
        let status = status.parse().unwrap_or(200_u16).clamp(200, 599);
        let mut headers = Vec::new();
        if let Ok(media_type) = HeaderValue::from_str(media_type) {
            headers.push((header::CONTENT_TYPE, media_type));
        }
        for line in lines {
            let Some((name, value)) = line.split_once(": ") else {
                continue;
            };
            let name = name.parse::<HeaderName>().ok();
            let is_of_the_connection = [
                header::CONTENT_LENGTH,
                header::TRANSFER_ENCODING,
                header::CONNECTION,
                header::UPGRADE,
            ];
            let name = name.filter(|name| !is_of_the_connection.contains(name));
            if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                headers.push((name, value));
            }
        }
        Self {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            headers,
            body: body.to_owned(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

type Answers = Arc<Mutex<Vec<Answer>>>;

async fn answer(State(answers): State<Answers>, request: Request) -> Response {
    let number = match request.uri().path() {
        "/user" | "/me" => 1,
        "/user/emails" => 2,
        _ => 0,
    };
    let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = answers.get(number).cloned().unwrap_or_default();
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().extend(answer.headers);
    response
}

/// The providers, and the server that answers as the input says.
struct Scene {
    providers: Providers,
    answers: Answers,
    now: Arc<AtomicU64>,
}

fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let answers = Answers::default();
        let routes = Router::new().fallback(answer).with_state(answers.clone());
        let address = block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            tokio::spawn(async { axum::serve(listener, routes).await });
            address
        });
        let url = format!("http://{address}");
        let described = json!([{
            "name": "acme", "client_id": APP, "client_secret": "secret",
            "check": {
                "url": format!("{url}/check"), "client_id": "/app/id", "active": "/active", "subject": "/user",
                "unknown_token": [404],
            },
            "userinfo": {
                "url": format!("{url}/me"), "id": "/id", "name": "/names/0", "username": "/login", "email": "/email",
                "email_verified": "/verified", "picture": "/picture",
            },
        }]);
        let env = Environment::of([
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1"),
            ("ISSUER_URL", "https://api.example.com"),
            ("GITHUB_CLIENT_ID", APP),
            ("GITHUB_CLIENT_SECRET", "secret"),
            ("GITHUB_API_URL", &url),
            ("OAUTH_PROVIDERS", &described.to_string()),
        ]);
        let now = Arc::new(AtomicU64::new(1_700_000_000));
        let time = now.clone();
        let clock = Clock::new(move || time.load(Ordering::SeqCst));
        Scene {
            providers: Providers::start(&env, &clock, &Secrets::new(env.clone(), clock.clone()))
                .expect("providers"),
            answers,
            now,
        }
    })
}

/// Verifies a token while the provider answers as the input says.
fn verified(provider: &str, input: &[u8]) -> Option<(Identity, Vec<Answer>)> {
    let scene = scene();
    let input = std::str::from_utf8(input).ok()?;
    let answers: Vec<Answer> = input.split("\n---\n").map(Answer::read).collect();
    scene
        .answers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone_from(&answers);
    scene.now.fetch_add(STEP, Ordering::SeqCst);
    let token = SubjectToken {
        token: "gho_abc".into(),
        kind: SubjectTokenType::AccessToken,
        issuer: Some(provider.to_owned()),
        nonce: None,
        access_token: None,
    };
    let resolved = scene.providers.resolve(&token, None).expect("a provider");
    match block_on(resolved.verify()) {
        Ok(identity) => Some((identity, answers)),
        Err(error) => {
            assert!(
                !error.to_string().contains("gho_abc"),
                "the token shows: {error}"
            );
            if matches!(error, ProviderError::RateLimited { .. }) {
                scene.now.fetch_add(LONG_STEP, Ordering::SeqCst);
            }
            None
        }
    }
}

fn joined(answers: &[String]) -> String {
    answers.join("\n---\n")
}

/// Returns the answers with another one at `number`.
fn with(usual: &[String], number: usize, answer: String) -> String {
    let mut answers = usual.to_vec();
    answers[number] = answer;
    joined(&answers)
}

fn ok(body: &Value) -> String {
    format!("200 application/json\n\n{body}")
}

fn github_seeds() -> Vec<String> {
    let account = json!({ "id": 583_231, "login": "octocat", "name": "The Octocat", "avatar_url": "https://a.example/1" });
    let checked = json!({
        "app": { "client_id": APP }, "user": account, "scopes": ["read:user", "user:email"],
        "created_at": "2023-11-14T22:00:00Z",
    });
    let emails = json!([{ "email": "octocat@example.com", "primary": true, "verified": true }]);
    let usual = [ok(&checked), ok(&account), ok(&emails)];
    let with = |number: usize, answer: String| with(&usual, number, answer);
    let mut seeds = vec![joined(&usual), String::new()];
    for body in [
        json!({ "app": { "client_id": "foreign-app" }, "user": account }),
        json!({ "app": { "client_id": APP }, "user": null, "scopes": null }),
        json!({ "app": { "client_id": APP }, "user": { "id": 0, "login": "a" } }),
        json!({ "app": { "client_id": APP }, "user": { "id": 1e30, "login": "a" } }),
        json!({ "app": { "client_id": APP }, "user": account, "scopes": [], "created_at": 7 }),
    ] {
        seeds.push(with(0, ok(&body)));
    }
    for answer in [
        "404 application/json\n\n{}",
        "401 application/json\n\n{}",
        "403 application/json\nretry-after: 7\nx-ratelimit-remaining: 0\n\n{}",
        "429 text/html\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\n\n<html>",
        "500 text/plain\n\n",
        "302 text/plain\nlocation: http://127.0.0.1/\n\n",
        "200 text/html\n\n<html>",
        "200 application/json\ncontent-encoding: gzip\n\n{}",
    ] {
        seeds.extend((0..3).map(|number| with(number, answer.to_owned())));
    }
    seeds.push(with(1, ok(&json!({ "id": 2, "login": "hubot" }))));
    seeds.push(with(2, ok(&json!([]))));
    seeds
}

fn assert_clean(identity: &Identity) {
    let profile = identity.profile();
    let texts = [&profile.name, &profile.username];
    for text in texts.into_iter().flatten() {
        assert!(text.chars().count() <= 256, "{text:?}");
        assert!(
            !text.contains(['\n', '\u{202e}', '\u{200b}', '\0']),
            "{text:?}"
        );
    }
    if let Some(picture) = &profile.picture {
        assert!(
            picture.starts_with("https://") && picture.len() <= 2048,
            "{picture:?}"
        );
    }
    if let EmailAnswer::Some(email) = &profile.email {
        assert!(
            email.address.len() <= 254 && email.address.contains('@'),
            "{email:?}"
        );
    }
}

/// A verified token is one that GitHub says is of the configured app, and of the one account that both answers name.
fn github(input: &[u8]) -> bool {
    let Some((identity, answers)) = verified("github", input) else {
        return false;
    };
    let (checked, user) = (answers[0].json(), answers[1].json());
    assert_eq!(answers[0].status, 200);
    assert_eq!(checked["app"]["client_id"], APP);
    assert_eq!(checked["user"]["id"].to_string(), identity.subject());
    assert_eq!(user["id"], checked["user"]["id"]);
    if matches!(identity.profile().email, EmailAnswer::Some(_)) {
        let emails = answers[2].json();
        let is_primary = |email: &Value| email["primary"] == true && email["verified"] == true;
        assert!(
            emails
                .as_array()
                .is_some_and(|all| all.iter().any(is_primary))
        );
    }
    assert_clean(&identity);
    true
}

fn described_seeds() -> Vec<String> {
    let checked = json!({ "app": { "id": APP }, "active": true, "user": "7" });
    let person = json!({
        "id": 7, "names": ["Ada"], "login": "ada", "email": "ada@example.com", "verified": true,
        "picture": "https://a.example/1",
    });
    let usual = [ok(&checked), ok(&person)];
    let with = |number: usize, answer: String| with(&usual, number, answer);
    let mut seeds = vec![joined(&usual), String::new()];
    for body in [
        json!({ "app": { "id": "foreign-app" }, "active": true, "user": "7" }),
        json!({ "app": { "id": APP }, "active": "true", "user": "7" }),
        json!({ "app": { "id": APP }, "active": true, "user": "8" }),
        json!({ "app": { "id": APP }, "active": true }),
        json!({ "active": true, "user": "7" }),
        json!([]),
    ] {
        seeds.push(with(0, ok(&body)));
    }
    for body in [
        json!({ "id": 7.5 }),
        json!({ "id": "7", "email": "a b", "verified": "true" }),
        json!({ "id": "7", "names": ["\u{202e}x"], "picture": "javascript:1" }),
        json!({ "id": "a b" }),
        json!({}),
    ] {
        seeds.push(with(1, ok(&body)));
    }
    for answer in [
        "404 a\n\n{}",
        "401 a\n\n{}",
        "429 a\nretry-after: 7\n\n",
        "503 a\n\n",
    ] {
        seeds.extend((0..2).map(|number| with(number, answer.to_owned())));
    }
    seeds
}

/// A verified token is active, of the configured app, and of the one account that both answers name.
fn described(input: &[u8]) -> bool {
    let Some((identity, answers)) = verified("acme", input) else {
        return false;
    };
    let (checked, person) = (answers[0].json(), answers[1].json());
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    assert_eq!(answers[0].status, 200);
    assert_eq!(checked["active"], true);
    assert_eq!(text(&checked["app"]["id"]), APP);
    assert_eq!(text(&checked["user"]), identity.subject());
    assert_eq!(text(&person["id"]), identity.subject());
    if let EmailAnswer::Some(email) = &identity.profile().email {
        assert!(!email.verified || person["verified"] == true);
    }
    assert_clean(&identity);
    true
}
