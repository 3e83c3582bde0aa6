//! Providers that the settings describe: each preset with the answers of its documentation, and introspection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::{clock::Clock, config::Environment, provider::Providers, secrets::Secrets};
use tests::{Answer, Service};
use tokio::task::JoinSet;

/// A token of the configured application.
const OURS: &str = "ours-1.a";
/// A token of another application.
const THEIRS: &str = "theirs-1.a";
const SECRET: &str = "CANARY described/secret";

/// A provider with the answers of its documentation, in which `{app}` stands for the application of the token.
struct Documented {
    /// The name of the preset.
    name: &'static str,
    /// The application in the documentation.
    app: &'static str,
    /// The request for the check, in which `{token}` stands for the token: the path, and the header `Authorization`.
    check: (&'static str, &'static str),
    /// The answer to the check.
    checked: &'static str,
    /// The status of the answer about an unknown token.
    unknown: u16,
    /// The request for the profile and its answer, if it is not the one of the check.
    profile: Option<(&'static str, &'static str)>,
    /// The expected user: subject, name, e-mail address.
    user: (&'static str, Option<&'static str>, Option<&'static str>),
}

/// The presets. The pages with these answers stand in `shared/src/config/presets.rs`.
static DOCUMENTED: [Documented; 9] = [
    Documented {
        name: "42-school",
        app: "3089cd94d72cc9109800a5eea5218ed4c3e891ec1784874944225878b95867f9",
        check: ("/oauth/token/info", "Bearer {token}"),
        checked: r#"{"resource_owner_id":74,"scopes":["public"],"expires_in_seconds":7174,
            "application":{"uid":"{app}"},"created_at":1439460680}"#,
        unknown: 401,
        profile: Some((
            "/v2/me",
            r#"{"id":74,"email":"andre@42.fr","login":"andre","first_name":"André","last_name":"Aubin",
                "displayname":"André Aubin","image":{"link":"https://cdn.intra.42.fr/users/andre.jpg"}}"#,
        )),
        user: ("74", Some("André Aubin"), Some("andre@42.fr")),
    },
    Documented {
        name: "gitlab",
        app: "1cb242f495280beb4291e64bee2a17f330902e499882fe8e1e2aa875519cab33",
        check: ("/oauth/token/info", "Bearer {token}"),
        checked: r#"{"resource_owner_id":1,"scope":["read_user"],"expires_in":null,
            "application":{"uid":"{app}"},"created_at":1575890427,"scopes":["read_user"],"expires_in_seconds":null}"#,
        unknown: 401,
        profile: Some((
            "/api/v4/user",
            r#"{"id":1,"username":"john_smith","email":"john@example.com","name":"John Smith","state":"active",
                "avatar_url":"https://gitlab.example.com/uploads/user/avatar/1/index.jpg",
                "confirmed_at":"2012-05-23T09:05:22Z"}"#,
        )),
        user: ("1", Some("John Smith"), Some("john@example.com")),
    },
    Documented {
        name: "hubspot",
        app: "111111",
        check: ("/oauth/v1/access-tokens/{token}", ""),
        checked: r#"{"token":"{token}","user":"m@hubspot.com","hub_domain":"meowmix.com","scopes":["oauth"],
            "hub_id":1234567,"app_id":{app},"expires_in":1754,"user_id":293199,"token_type":"access"}"#,
        unknown: 404,
        profile: None,
        user: ("293199", None, Some("m@hubspot.com")),
    },
    Documented {
        name: "kakao",
        app: "1234",
        check: ("/v1/user/access_token_info", "Bearer {token}"),
        checked: r#"{"id":123456789,"expires_in":7199,"app_id":{app}}"#,
        unknown: 401,
        profile: Some((
            "/v2/user/me?secure_resource=true",
            r#"{"id":123456789,"connected_at":"2022-04-11T01:45:28Z","kakao_account":{
                "profile":{"nickname":"홍길동","profile_image_url":"https://yyy.kakao.com/dn/img_640x640.jpg"},
                "is_email_valid":true,"is_email_verified":true,"email":"sample@sample.com"}}"#,
        )),
        user: ("123456789", Some("홍길동"), Some("sample@sample.com")),
    },
    Documented {
        name: "line",
        app: "1440057261",
        check: ("/oauth2/v2.1/verify?access_token={token}", ""),
        checked: r#"{"scope":"profile","client_id":"{app}","expires_in":2591659}"#,
        unknown: 400,
        profile: Some((
            "/v2/profile",
            r#"{"userId":"U4af4980629","displayName":"Brown","pictureUrl":"https://profile.line-scdn.net/abcdefghijklmn",
                "statusMessage":"Hello, LINE!"}"#,
        )),
        user: ("U4af4980629", Some("Brown"), None),
    },
    Documented {
        name: "mastodon",
        app: "563419",
        check: ("/api/v1/apps/verify_credentials", "Bearer {token}"),
        checked: r#"{"id":"{app}","name":"Test Application","website":"https://app.example","scopes":["read"],
            "redirect_uris":["https://app.example/callback"]}"#,
        unknown: 401,
        profile: Some((
            "/api/v1/accounts/verify_credentials",
            r#"{"id":"14715","username":"trwnh","acct":"trwnh","display_name":"infinite love ⴳ",
                "avatar":"https://files.mastodon.social/accounts/avatars/000/014/715/original/34aa222f4ae2e0a9.png"}"#,
        )),
        user: ("14715", Some("infinite love ⴳ"), None),
    },
    Documented {
        name: "twitch",
        app: "wbmytr93xzw8zbg0p1izqyzzc5mbiz",
        check: ("/oauth2/validate", "OAuth {token}"),
        checked: r#"{"client_id":"{app}","login":"twitchdev","scopes":["channel:read:subscriptions"],
            "user_id":"141981764","expires_in":5520838}"#,
        unknown: 401,
        profile: None,
        user: ("141981764", Some("twitchdev"), None),
    },
    Documented {
        name: "wordpress",
        app: "1234",
        check: ("/oauth2/token-info?client_id=1234&token={token}", ""),
        checked: r#"{"client_id":"{app}","user_id":"78972699","blog_id":null,"scope":"auth"}"#,
        unknown: 400,
        profile: Some((
            "/rest/v1.1/me",
            r#"{"ID":78972699,"display_name":"apiexamples","username":"apiexamples","email":"justin@example.com",
                "avatar_URL":"https://0.gravatar.com/avatar/d0a5"}"#,
        )),
        user: ("78972699", Some("apiexamples"), Some("justin@example.com")),
    },
    Documented {
        name: "yandex",
        app: "4760187d81bc4b7799476b42b5103713",
        check: ("/info", "OAuth {token}"),
        checked: r#"{"login":"ivan","old_social_login":"uid-mmzxrnry","default_email":"test@yandex.ru","id":"1000034426",
            "client_id":"{app}","emails":["test@yandex.ru"],"display_name":"ivan",
            "psuid":"1.AAceCw.tbHgw5DtJ9_zeqPrk-Ba2w.qPWSRC5v2t2IaksPJgnge"}"#,
        unknown: 401,
        profile: None,
        user: ("1000034426", Some("ivan"), Some("test@yandex.ru")),
    },
];

/// A request to the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: Method,
    path: String,
    authorization: String,
    form: String,
}

type Answers = dyn Fn(&Seen) -> (u16, String) + Send + Sync;

/// A provider that answers as a function says, and records the requests.
#[derive(Clone)]
struct Provider {
    answers: Arc<Mutex<Box<Answers>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

async fn answer(
    State(provider): State<Provider>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers.get(header::AUTHORIZATION);
    let authorization = authorization.map_or("", |value| value.to_str().unwrap());
    let seen = Seen {
        method,
        path: uri.to_string(),
        authorization: authorization.to_owned(),
        form: String::from_utf8(body.to_vec()).unwrap(),
    };
    let (status, body) = locked(&provider.answers)(&seen);
    locked(&provider.seen).push(seen);
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::from_u16(status).unwrap(), json, body).into_response()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A service with providers, each on a server of its own.
struct Scene {
    service: Service,
    providers: Vec<Provider>,
    _running: JoinSet<()>,
}

impl Scene {
    /// Starts a service. `settings` makes the entry of a provider of its URL.
    async fn start(settings: &[&dyn Fn(&str) -> Value]) -> Self {
        let mut running = JoinSet::new();
        let (mut providers, mut entries) = (Vec::new(), Vec::new());
        for settings in settings {
            let provider = Provider {
                answers: Arc::new(Mutex::new(Box::new(|_| (500, String::new())))),
                seen: Arc::default(),
            };
            let router = Router::new().fallback(answer).with_state(provider.clone());
            entries.push(settings(&tests::serve(&mut running, router).await));
            providers.push(provider);
        }
        let entries = json!(entries).to_string();
        Self {
            service: Service::start_with(&[("OAUTH_PROVIDERS", &entries)]).await,
            providers,
            _running: running,
        }
    }

    /// Starts a service with each preset, whose provider answers as its documentation says.
    async fn documented() -> Self {
        let settings: Vec<_> = DOCUMENTED.iter().map(|each| each.settings()).collect();
        let settings: Vec<&dyn Fn(&str) -> Value> = settings.iter().map(|each| each as _).collect();
        let scene = Self::start(&settings).await;
        for (nth, documented) in DOCUMENTED.iter().enumerate() {
            scene.answers(nth, move |seen| documented.answer(seen));
        }
        scene
    }

    /// Makes a provider answer like this.
    fn answers(
        &self,
        nth: usize,
        answers: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static,
    ) {
        *locked(&self.providers[nth].answers) = Box::new(answers);
    }

    async fn exchange(&self, provider: &str, token: &str) -> Answer {
        self.service.exchange_from(provider, token).await
    }

    async fn refuses(&self, provider: &str, token: &str, problem: &str) {
        let answer = self.exchange(provider, token).await;
        let what = format!("{provider} {token}: {:?}", answer.body);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        assert_eq!(answer.text("/error"), "invalid_request", "{what}");
        assert!(
            answer.text("/error_description").contains(problem),
            "{what}"
        );
        assert!(self.service.items().is_empty(), "{what}");
    }

    fn seen(&self, nth: usize) -> Vec<Seen> {
        locked(&self.providers[nth].seen).clone()
    }
}

impl Documented {
    fn settings(&'static self) -> impl Fn(&str) -> Value {
        move |url| json!({ "name": self.name, "client_id": self.app, "api_url": url })
    }

    fn answer(&self, seen: &Seen) -> (u16, String) {
        for (token, app) in [(OURS, self.app), (THEIRS, "4711")] {
            let of = |text: &str| text.replace("{token}", token).replace("{app}", app);
            let (path, authorization) = self.check;
            if seen.path == of(path) && seen.authorization == of(authorization) {
                return (200, of(self.checked));
            }
            let bearer = seen.authorization == format!("Bearer {token}");
            match self.profile {
                Some((path, answer)) if bearer && seen.path == path => {
                    return (200, answer.to_owned());
                }
                _ => {}
            }
        }
        (self.unknown, r#"{"error":"invalid_token"}"#.to_owned())
    }
}

#[tokio::test]
async fn each_preset_signs_in_with_the_answers_of_its_documentation() {
    let scene = Scene::documented().await;
    for (nth, documented) in DOCUMENTED.iter().enumerate() {
        let name = documented.name;

        let answer = scene.exchange(name, OURS).await;

        assert_eq!(answer.status, StatusCode::OK, "{name}: {:?}", answer.body);
        let (subject, display_name, email) = documented.user;
        assert_eq!(answer.text("/user/identities/0/provider"), name);
        assert_eq!(answer.text("/user/identities/0/subject"), subject, "{name}");
        assert_eq!(answer.body["user"]["name"], json!(display_name), "{name}");
        assert_eq!(answer.body["user"]["email"], json!(email), "{name}");
        assert_eq!(answer.body["user"]["email_verified"], false, "{name}");
        let asked = 1 + usize::from(documented.profile.is_some());
        assert_eq!(scene.seen(nth).len(), asked, "{name}");
    }
}

#[tokio::test]
async fn t117_a_token_of_another_application_is_refused_by_each_preset_and_nothing_is_written() {
    let scene = Scene::documented().await;
    for (nth, documented) in DOCUMENTED.iter().enumerate() {
        let name = documented.name;

        let foreign = "it was issued to another application";
        scene.refuses(name, THEIRS, foreign).await;
        let unknown = "it is unknown to the provider";
        scene.refuses(name, "made-up", unknown).await;
        scene.refuses(name, "..", unknown).await;

        let profile = documented.profile.map_or("none", |(path, _)| path);
        let seen = scene.seen(nth);
        // A token that is a relative segment of a path would lead to another path.
        let elsewhere = [profile, "/oauth/v1/access-tokens"];
        let leads_elsewhere = |seen: &Seen| elsewhere.contains(&seen.path.as_str());
        assert!(!seen.iter().any(leads_elsewhere), "{name}: {seen:?}");
    }
}

#[tokio::test]
async fn t117_two_answers_of_a_preset_about_two_accounts_are_no_user() {
    let scene = Scene::documented().await;
    for (nth, documented) in DOCUMENTED.iter().enumerate() {
        let other = match documented.name {
            "kakao" => r#"{"id":1,"kakao_account":{}}"#,
            "42-school" | "gitlab" => r#"{"id":2,"login":"eve","username":"eve"}"#,
            "wordpress" => r#"{"ID":1,"username":"eve"}"#,
            // The check of these names no account, or is the profile.
            "hubspot" | "line" | "mastodon" | "twitch" | "yandex" => continue,
            name => panic!("{name} is new"),
        };
        scene.answers(nth, move |seen| {
            let (status, answer) = documented.answer(seen);
            let is_profile = documented
                .profile
                .is_some_and(|(path, _)| path == seen.path);
            (status, if is_profile { other.to_owned() } else { answer })
        });

        let answer = scene.exchange(documented.name, OURS).await;

        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(answer.status, unavailable, "{:?}", answer.body);
        assert!(scene.service.items().is_empty());
    }
}

/// The entry of docs/providers.md, with another URL.
fn described(url: &str) -> Value {
    json!({
        "name": "acme", "client_id": "our-app",
        "check": { "url": format!("{url}/token/info"), "auth": "bearer", "client_id": "/application/uid" },
        "userinfo": {
            "url": format!("{url}/me"), "id": "/id", "name": "/full_name", "email": "/mail/0",
            "email_verified": "/mail_confirmed", "picture": "/links/avatar~1small",
        },
    })
}

#[tokio::test]
async fn a_described_provider_signs_in_and_says_whether_the_address_is_verified() {
    let scene = Scene::start(&[&described]).await;
    for (token, confirmed, verified) in [
        ("a", json!(true), true),
        ("b", json!(false), false),
        ("c", json!("true"), false),
        ("d", json!(1), false),
        ("e", json!(null), false),
    ] {
        let person = json!({
            "id": "u-1", "full_name": "Ada Lovelace", "mail": ["ada@example.com"], "mail_confirmed": confirmed,
            "links": { "avatar/small": "https://example.com/ada.png" },
        });
        scene.answers(0, move |seen| match seen.path.as_str() {
            "/token/info" => (200, r#"{"application":{"uid":"our-app"}}"#.to_owned()),
            _ => (200, person.to_string()),
        });

        let answer = scene.exchange("acme", token).await;

        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        let user = &answer.body["user"];
        assert_eq!(user["name"], "Ada Lovelace");
        assert_eq!(user["email"], "ada@example.com");
        assert_eq!(user["email_verified"], verified, "{confirmed}");
        assert_eq!(user["picture"], "https://example.com/ada.png");
    }
}

#[tokio::test]
async fn t117_a_check_that_names_no_application_or_a_foreign_one_proves_nothing() {
    let scene = Scene::start(&[&described]).await;
    let (none, foreign) = ("names no application", "another application");
    for (application, problem) in [
        (json!({}), none),
        (json!({ "application": null }), none),
        (json!({ "application": { "uid": null } }), none),
        (json!({ "application": { "uid": ["our-app"] } }), none),
        (json!({ "application": { "uid": { "our-app": 1 } } }), none),
        (json!({ "application": { "uid": "our-app " } }), foreign),
        (json!({ "application": { "uid": "OUR-APP" } }), foreign),
        (json!({ "application": { "uid": "" } }), foreign),
        (json!({ "uid": "our-app" }), none),
    ] {
        scene.answers(0, move |seen| match seen.path.as_str() {
            "/token/info" => (200, application.to_string()),
            _ => (200, r#"{"id":"u-1"}"#.to_owned()),
        });
        scene.refuses("acme", OURS, problem).await;
    }
}

#[tokio::test]
async fn t53_what_a_described_provider_cannot_say_is_never_held_against_the_person() {
    let scene = Scene::start(&[&described]).await;
    for (status, body) in [
        (500, "{}"),
        (400, "{}"),
        (403, "{}"),
        (429, "{}"),
        (200, "{"),
        (302, ""),
    ] {
        // A breaker that has opened would answer in the provider's place.
        scene.service.time.pass(60);
        scene.answers(0, move |_| (status, body.to_owned()));

        let answer = scene.exchange("acme", OURS).await;

        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(answer.status, unavailable, "{status}: {:?}", answer.body);
        assert!(scene.service.items().is_empty());
    }
}

/// A provider with an introspection endpoint, as the specification describes it (RFC 7662).
fn introspected(name: &'static str, auth: &'static str) -> impl Fn(&str) -> Value {
    move |url| {
        json!({
            "name": name, "client_id": "our-app", "client_secret": SECRET,
            "check": { "url": format!("{url}/introspect"), "auth": auth, "client_id": "/client_id" },
            "userinfo": { "id": "/sub", "username": "/username" },
        })
    }
}

#[tokio::test]
async fn t118_an_introspected_token_signs_in_if_it_is_active_and_of_our_application() {
    let basic = introspected("basic", "client_secret_basic");
    let post = introspected("post", "client_secret_post");
    let scene = Scene::start(&[&basic, &post]).await;
    // "our-app:CANARY+described%2Fsecret" in base64.
    let header = "Basic b3VyLWFwcDpDQU5BUlkrZGVzY3JpYmVkJTJGc2VjcmV0";
    let credentials = "&client_id=our-app&client_secret=CANARY+described%2Fsecret";
    for (nth, name, authorization, credentials) in
        [(0, "basic", header, ""), (1, "post", "", credentials)]
    {
        scene.answers(nth, |_| {
            let example = json!({
                "active": true, "client_id": "our-app", "username": "jdoe", "scope": "read write dolphin",
                "sub": "Z5O3upPC88QrAjx00dis", "aud": "https://protected.example.net/resource",
                "iss": "https://server.example.com/", "exp": 1419356238, "iat": 1419350238,
            });
            (200, example.to_string())
        });

        let answer = scene.exchange(name, OURS).await;

        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        let subject = answer.text("/user/identities/0/subject");
        assert_eq!(subject, "Z5O3upPC88QrAjx00dis");
        assert_eq!(answer.text("/user/name"), "jdoe");
        let expected = Seen {
            method: Method::POST,
            path: "/introspect".to_owned(),
            authorization: authorization.to_owned(),
            form: format!("token=ours-1.a&token_type_hint=access_token{credentials}"),
        };
        assert_eq!(scene.seen(nth), [expected]);
    }
}

#[tokio::test]
async fn t118_an_inactive_token_or_one_for_our_application_as_audience_only_is_refused() {
    let settings = introspected("acme", "client_secret_basic");
    let scene = Scene::start(&[&settings]).await;
    let unknown = "unknown to the provider";
    let (none, foreign) = ("names no application", "another application");
    for (answer, problem) in [
        (json!({ "active": false }), unknown),
        (
            json!({ "active": false, "client_id": "our-app", "sub": "1" }),
            unknown,
        ),
        (
            json!({ "active": "true", "client_id": "our-app", "sub": "1" }),
            unknown,
        ),
        (
            json!({ "active": 1, "client_id": "our-app", "sub": "1" }),
            unknown,
        ),
        (json!({ "client_id": "our-app", "sub": "1" }), unknown),
        (
            json!({ "active": true, "client_id": "theirs", "sub": "1" }),
            foreign,
        ),
        (
            json!({ "active": true, "client_id": "theirs", "aud": "our-app", "sub": "1" }),
            foreign,
        ),
        (
            json!({ "active": true, "aud": "our-app", "azp": "our-app", "sub": "1" }),
            none,
        ),
        (
            json!({ "active": true, "aud": ["our-app"], "sub": "1" }),
            none,
        ),
    ] {
        scene.answers(0, move |_| (200, answer.to_string()));
        scene.refuses("acme", OURS, problem).await;
    }
}

#[tokio::test]
async fn t118_a_refusal_of_our_own_credentials_is_never_held_against_the_person() {
    let settings = introspected("acme", "client_secret_basic");
    let scene = Scene::start(&[&settings]).await;
    scene.answers(0, |_| (401, r#"{"error":"invalid_client"}"#.to_owned()));

    let answer = scene.exchange("acme", OURS).await;

    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(answer.status, unavailable, "{:?}", answer.body);
    assert!(scene.service.items().is_empty());
}

/// Returns the JSON lists that a page shows.
fn examples(page: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut lines = page.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if !line.starts_with(r#"[{"name":"#) {
            continue;
        }
        let mut example = line.to_owned();
        while !example.ends_with("}]") {
            let Some(line) = lines.next() else { break };
            example.push_str(line);
        }
        examples.push(example);
    }
    examples
}

#[test]
fn each_example_of_the_documentation_is_a_valid_setting() {
    let page = include_str!("../../docs/providers.md");
    let examples = examples(page);
    assert!(examples.len() >= 6, "{examples:?}");
    // The one that is in a sentence is an entry of the list.
    let (_, inline) = page.split_once(r#"`{"name":"#).unwrap();
    let (inline, _) = inline.split_once("}`").unwrap();
    let inline = format!(r#"[{{"name":{inline}}}]"#);
    assert!(inline.contains("github-shop"), "{inline}");
    for example in examples.into_iter().chain([inline]) {
        let example = example.replace('…', "1");
        let example = example.replace("<id of your app>", "1");
        let name = if example.contains("client_ids") {
            "OIDC_PROVIDERS"
        } else {
            "OAUTH_PROVIDERS"
        };
        let env = Environment::of([
            (name, example.as_str()),
            ("ISSUER_URL", "https://api.example.com"),
        ]);
        let clock = Clock::system();
        let secrets = Secrets::new(env.clone(), clock.clone());
        Providers::start(&env, &clock, &secrets).expect(&example);
    }
}
