//! Client secrets of providers that Secrets Manager or SSM Parameter Store holds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::join_all;
use local::dynamodb::KEYS_TABLE;
use serde_json::{Value, json};
use shared::{
    config::{Environment, Group},
    start::StartError,
    stored::SettingsStore,
};
use tests::{
    Answer, GITHUB_APP, Service, log_lines,
    opaque::{self, Opaque},
    proxy::{Fault, Proxy, Reply, When},
    timers::each_alone,
};
use token_exchange::TokenExchange;
use tokio::task::JoinSet;

const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:cambio/github-AbCdEf";
const PARAMETER: &str = "arn:aws:ssm:us-east-1:111122223333:parameter/cambio/github";
const ROTATED: &str = "CANARY-rotated-secret";

/// The values by their ARNs.
type Values = Arc<Mutex<HashMap<String, Value>>>;

/// A stand-in for both services behind a proxy that can fail.
struct Store {
    proxy: Proxy,
    values: Values,
    _running: JoinSet<()>,
}

impl Store {
    async fn start() -> Self {
        let values = Values::default();
        let routes = Router::new().route("/", post(answer));
        let mut running = JoinSet::new();
        let url = tests::serve(&mut running, routes.with_state(values.clone())).await;
        Self {
            proxy: Proxy::start(&url).await,
            values,
            _running: running,
        }
    }

    /// Stores a text, as the command `put-secret-value` or `put-parameter` does.
    fn put(&self, arn: &str, text: &str) {
        let answer = if arn.starts_with("arn:aws:ssm:") {
            json!({ "Parameter": { "ARN": arn, "Type": "SecureString", "Value": text } })
        } else {
            json!({ "ARN": arn, "SecretString": text, "VersionStages": ["AWSCURRENT"] })
        };
        self.put_answer(arn, answer);
    }

    fn put_answer(&self, arn: &str, answer: Value) {
        self.values.lock().unwrap().insert(arn.to_owned(), answer);
    }

    fn delete(&self, arn: &str) {
        self.values.lock().unwrap().remove(arn);
    }

    /// The number of requests since the last call of this.
    fn take_reads(&self) -> usize {
        let reads = self.proxy.calls().len();
        self.proxy.clear();
        reads
    }
}

async fn answer(
    State(values): State<Values>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_str(&body).unwrap();
    let (name, missing) = match header("x-amz-target").as_str() {
        "secretsmanager.GetSecretValue" => (&body["SecretId"], "ResourceNotFoundException"),
        "AmazonSSM.GetParameter" => {
            assert_eq!(body["WithDecryption"], true);
            (&body["Name"], "ParameterNotFound")
        }
        other => panic!("{other}"),
    };
    let arn = name.as_str().unwrap();
    let parts: Vec<&str> = arn.split(':').collect();
    let scope = format!("/{}/{}/aws4_request, ", parts[3], parts[2]);
    assert!(header("authorization").contains(&scope), "{arn}");
    assert_eq!(header("content-type"), "application/x-amz-json-1.1");
    match values.lock().unwrap().get(arn) {
        Some(answer) => (StatusCode::OK, Json(answer.clone())),
        None => (
            StatusCode::BAD_REQUEST,
            Json(json!({ "__type": missing, "Message": "CANARY-message" })),
        ),
    }
}

/// A service and a place for its secrets.
struct Scene {
    service: Service,
    store: Store,
}

impl Scene {
    /// Starts a service with the secret of GitHub's app in the environment, so that a test can choose its own start.
    async fn before(settings: &[(&str, &str)]) -> Self {
        let store = Store::start().await;
        let url = store.proxy.url();
        let endpoints = [
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", url.as_str()),
            ("AWS_ENDPOINT_URL_SSM", &url),
        ];
        let settings = [&endpoints, settings].concat();
        Self {
            service: Service::start_with(&settings).await,
            store,
        }
    }

    /// Starts a service that reads the secret of GitHub's app from Secrets Manager.
    async fn start() -> Self {
        let mut scene = Self::before(&[]).await;
        scene.store.put(SECRET, GITHUB_APP.1);
        scene.set("GITHUB_CLIENT_SECRET", SECRET);
        scene.restart().await;
        scene
    }

    /// Starts a service with these providers, whose secret [`PARAMETER`] is rotated once a new one may be read again.
    async fn rotated(providers: &Value) -> Self {
        let mut scene = Self::before(&[]).await;
        scene.set("OAUTH_PROVIDERS", &providers.to_string());
        scene.store.put(PARAMETER, "CANARY-wrong-secret");
        scene.restart().await;
        scene.store.put(PARAMETER, ROTATED);
        scene.service.time.pass(30);
        scene
    }

    fn set(&mut self, name: &str, value: &str) {
        let variables = &mut self.service.variables;
        variables.insert(name.to_owned(), value.to_owned());
    }

    /// Starts a new process, and sends all further requests to it.
    async fn restart(&mut self) {
        self.service.url = self.service.another_process().await;
    }

    /// Starts the function of `POST /token` alone.
    async fn try_start(&self) -> Result<TokenExchange, StartError> {
        let env = Environment::of(self.service.variables.clone());
        TokenExchange::start(&env, self.service.time.clock()).await
    }

    async fn sign_in(&self) -> Answer {
        let token = self.service.github_token("octocat");
        self.service.exchange(&token).await
    }

    async fn by_facebook(&self, token: &str) -> Answer {
        self.service.exchange_from("facebook", token).await
    }

    /// Replaces the secret of GitHub's app at GitHub.
    fn rotate_at_github(&self, secret: &str) {
        let stand_in = &self.service.stand_in;
        assert!(stand_in.set_client_secret(GITHUB_APP.0, secret));
    }
}

#[track_caller]
fn assert_ok(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
}

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(answer.status, status, "{:?}", answer.body);
    assert_eq!(answer.text("/error"), "temporarily_unavailable");
    assert!(!answer.header("retry-after").is_empty());
    let body = answer.body.to_string();
    assert!(!body.contains("arn:") && !body.contains("CANARY"), "{body}");
}

/// Asserts that the provider was not asked, so nothing says that it cannot be reached.
#[track_caller]
fn assert_not_asked(answer: &Answer) {
    assert_unavailable(answer);
    let description = answer.text("/error_description");
    assert_eq!(description, "temporarily unavailable; try again");
}

#[tokio::test]
async fn a_secret_comes_from_either_service_or_from_a_member_of_its_json() {
    let facebook = Opaque::start().await;
    let mut scene = Scene::before(&[]).await;
    let facebook_secret = SECRET.replace("github", "facebook");
    let member = format!("{facebook_secret}:client_secret::");
    let settings = facebook.settings().replace(opaque::SECRET, &member);
    scene.set("OAUTH_PROVIDERS", &settings);
    let json = json!({ "client_secret": opaque::SECRET, "port": 5432 });
    scene.store.put(&facebook_secret, &json.to_string());
    for arn in [SECRET, PARAMETER] {
        scene.store.put(arn, GITHUB_APP.1);
        scene.set("GITHUB_CLIENT_SECRET", arn);
        scene.store.take_reads();

        scene.restart().await;

        // Two secrets by each of the two functions that ask providers, and none by the others.
        assert_eq!(scene.store.take_reads(), 4);
        assert_ok(&scene.sign_in().await);
        let token = format!("{}~ada~email", opaque::APP);
        assert_ok(&scene.by_facebook(&token).await);
        assert_eq!(scene.store.take_reads(), 0);
    }
}

#[tokio::test]
async fn t188_a_rotation_needs_no_restart() {
    let scene = Scene::start().await;
    assert_ok(&scene.sign_in().await);
    scene.store.take_reads();

    scene.rotate_at_github(ROTATED);
    scene.store.put(SECRET, ROTATED);
    // The secret was read at the start, less than 30 seconds ago.
    assert_unavailable(&scene.sign_in().await);
    assert_eq!(scene.store.take_reads(), 0);
    scene.service.time.pass(30);
    assert_ok(&scene.sign_in().await);
    assert_eq!(scene.store.take_reads(), 1, "GitHub refused the one before");

    // With both secrets valid for a while, no sign-in meets a refusal.
    scene.service.github.clear();
    scene.store.put(SECRET, GITHUB_APP.1);
    scene.service.time.pass(299);
    assert_ok(&scene.sign_in().await);
    assert_eq!(scene.store.take_reads(), 0);
    scene.rotate_at_github(GITHUB_APP.1);
    scene.service.time.pass(1);
    assert_ok(&scene.sign_in().await);
    assert_eq!(scene.store.take_reads(), 1);
    let calls = scene.service.github.calls();
    let refused = calls
        .iter()
        .filter(|call| call.status != Some(StatusCode::OK));
    assert_eq!(refused.count(), 0);
}

#[tokio::test]
async fn t189_a_process_that_starts_without_the_store_answers_503_until_it_is_back() {
    let mut scene = Scene::before(&[]).await;
    scene.store.put(SECRET, GITHUB_APP.1);
    scene.set("GITHUB_CLIENT_SECRET", SECRET);
    scene.store.proxy.down().await;
    scene.restart().await;
    scene.service.github.clear();

    // More than the failures after which GitHub would not be asked for a while.
    for _ in 0..6 {
        assert_not_asked(&scene.sign_in().await);
    }
    assert!(scene.service.github.calls().is_empty());
    scene.store.proxy.heal();

    assert_ok(&scene.sign_in().await);
}

#[tokio::test]
async fn t189_while_the_store_is_away_the_last_secret_stays_in_use() {
    let scene = Scene::start().await;
    let throttled = json!({ "__type": "ThrottlingException" }).to_string();
    let throttled = Reply::new(StatusCode::BAD_REQUEST, throttled);
    scene.store.proxy.fault(When::Always, throttled.into());
    scene.service.time.pass(300);
    assert_ok(&scene.sign_in().await);
    scene.store.proxy.heal();
    // The secret is deleted, or the permission taken away.
    scene.store.delete(SECRET);
    scene.service.time.pass(30);
    assert_ok(&scene.sign_in().await);
    let lines = log_lines();
    let is_named = |line: &&String| line.contains("secret.refused") && line.contains(SECRET);
    assert!(lines.iter().any(|line| is_named(&line)));
    scene.store.proxy.down().await;
    scene.service.time.pass(24 * 3600 - 331);
    assert_ok(&scene.sign_in().await);

    scene.service.time.pass(1);

    assert_not_asked(&scene.sign_in().await);
}

/// The errors of AWS that a function does not start with, since they do not pass by themselves.
const MISTAKES: [&str; 3] = [
    "AccessDeniedException",
    "ResourceNotFoundException",
    "ValidationException",
];

#[test]
fn t189_every_fault_of_the_store_leaves_a_known_secret_in_use_and_passes() {
    // Errors of all services of AWS have this form.
    let mut faults = Fault::of_dynamodb();
    faults.extend(Fault::refusals_of_dynamodb());

    let failed = each_alone(&faults, async |(name, fault)| {
        let scene = Scene::start().await;
        let store = &scene.store.proxy;
        store.fault(When::Always, fault.clone());
        let started = scene.try_start().await;
        assert_eq!(started.is_err(), MISTAKES.contains(name), "{started:?}");
        scene.store.take_reads();

        // The secret is read again, and the last one stays in use.
        scene.service.time.pass(300);
        assert_ok(&scene.sign_in().await);
        assert!(scene.store.take_reads() > 0);

        // The provider has another secret now, and refuses the last one.
        scene.rotate_at_github(ROTATED);
        scene.store.put(SECRET, ROTATED);
        scene.service.time.pass(30);
        let refused = scene.sign_in().await;
        assert!(scene.store.take_reads() > 0);
        if refused.status != StatusCode::OK {
            assert_unavailable(&refused);
        }

        store.heal();
        scene.service.time.pass(30);
        assert_ok(&scene.sign_in().await);

        // A fault that passes is hidden by the second attempt, unless it has the form of a mistake.
        scene.rotate_at_github(GITHUB_APP.1);
        scene.store.put(SECRET, GITHUB_APP.1);
        scene.service.time.pass(30);
        store.fault_once(When::Always, fault.clone());
        let answer = scene.sign_in().await;
        if MISTAKES.contains(name) {
            assert_unavailable(&answer);
        } else {
            assert_ok(&answer);
        }
    });

    let failed: Vec<_> = failed.iter().map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
}

#[tokio::test]
async fn t190_a_function_does_not_start_with_an_arn_that_leads_to_no_secret() {
    let mut scene = Scene::before(&[]).await;
    let denied = json!({ "__type": "AccessDeniedException", "Message": "CANARY-message" });
    let denied = Reply::new(StatusCode::BAD_REQUEST, denied.to_string());
    for (arn, problem) in [
        (SECRET, "there is no such secret"),
        (PARAMETER, "there is no such secret"),
    ] {
        scene.set("GITHUB_CLIENT_SECRET", arn);
        let error = scene.try_start().await.unwrap_err().to_string();
        assert!(error.contains(arn) && error.contains(problem), "{error}");
        assert!(!error.contains("CANARY"), "{error}");

        scene.store.proxy.fault(When::Always, denied.clone().into());
        let error = scene.try_start().await.unwrap_err().to_string();
        scene.store.proxy.heal();
        let problem =
            "the function may not read it: add its ARN to the stack's parameter SecretArns";
        assert!(error.contains(arn) && error.contains(problem), "{error}");
        assert!(!error.contains("CANARY"), "{error}");
    }
    scene.set("GITHUB_CLIENT_SECRET", SECRET);
    for text in ["", "CANARY-secret\n", r#"{"a":"CANARY-secret"}"#] {
        scene.store.put(SECRET, text);
        let error = scene.try_start().await.unwrap_err().to_string();
        assert!(error.contains(SECRET), "{error}");
        assert!(!error.contains("CANARY"), "{error}");
    }
    scene
        .store
        .put_answer(SECRET, json!({ "SecretBinary": "Q0FOQVJZ" }));
    let error = scene.try_start().await.unwrap_err().to_string();
    assert!(error.contains("it is binary"), "{error}");
}

#[tokio::test]
async fn t190_an_arn_in_the_item_that_leads_to_no_secret_leaves_the_version_before_in_use() {
    let mut scene = Scene::before(&[]).await;
    scene.store.put(SECRET, GITHUB_APP.1);
    let item = SettingsStore::new(scene.service.client(), scene.service.table(KEYS_TABLE));
    let write = async |version: Option<u64>, secret: &str| {
        let settings = [
            ("GITHUB_CLIENT_ID", GITHUB_APP.0),
            ("GITHUB_CLIENT_SECRET", secret),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let replaced = item.replace(Group::Providers, version, settings.into());
        assert!(replaced.await.unwrap());
    };
    write(None, SECRET).await;
    for name in Group::Providers.settings() {
        scene.service.variables.remove(*name);
    }
    scene.set("PROVIDERS", "table");
    scene.restart().await;
    assert_ok(&scene.sign_in().await);

    write(Some(1), PARAMETER).await;
    scene.service.time.pass(60);
    assert_ok(&scene.sign_in().await);

    let error = scene.try_start().await.unwrap_err().to_string();
    assert!(error.contains("version 2, is not valid"), "{error}");
    assert!(error.contains(PARAMETER), "{error}");
    // Providers that are made anew keep the secret, although the store is away.
    write(Some(2), SECRET).await;
    scene.store.proxy.down().await;
    scene.service.time.pass(60);
    assert_ok(&scene.sign_in().await);
}

#[tokio::test]
async fn t191_refusals_make_one_read_in_30_seconds() {
    let facebook = Opaque::start().await;
    let settings = facebook.settings().replace(opaque::SECRET, SECRET);
    let mut scene = Scene::before(&[]).await;
    scene.store.put(SECRET, "CANARY-wrong-secret");
    scene.set("OAUTH_PROVIDERS", &settings);
    scene.restart().await;
    scene.store.take_reads();
    for _ in 0..3 {
        scene.service.time.pass(30);
        // Facebook answers the same for these tokens as for a wrong secret.
        let tokens = (0..10).map(|nth| format!("{}~malformed~{nth}", opaque::APP));
        let tokens: Vec<_> = tokens.collect();
        let answers = tokens.iter().map(|token| scene.by_facebook(token));
        for answer in join_all(answers).await {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{:?}", answer.body);
        }
        assert_eq!(scene.store.take_reads(), 1);
    }

    scene.store.put(SECRET, opaque::SECRET);
    scene.service.time.pass(30);

    let token = format!("{}~ada~email", opaque::APP);
    assert_ok(&scene.by_facebook(&token).await);
    assert_eq!(scene.store.take_reads(), 1);
}

/// An introspection endpoint (RFC 7662) that accepts the rotated secret alone.
async fn introspect(headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let credentials = format!("our-app:{ROTATED}");
    let credentials = format!("Basic {}", STANDARD.encode(credentials));
    if headers["authorization"] != credentials {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let answer = json!({ "active": true, "client_id": "our-app", "sub": "1" });
    Ok(Json(answer))
}

#[tokio::test]
async fn t188_a_described_provider_is_asked_again_with_the_newer_secret() {
    let mut running = JoinSet::new();
    let routes = Router::new().route("/introspect", post(introspect));
    let acme = Proxy::start(&tests::serve(&mut running, routes).await).await;
    let provider = json!([{
        "name": "acme", "client_id": "our-app", "client_secret": PARAMETER,
        "check": {
            "url": format!("{}/introspect", acme.url()), "auth": "client_secret_basic", "client_id": "/client_id",
        },
        "userinfo": { "id": "/sub" },
    }]);
    let scene = Scene::rotated(&provider).await;

    let signed_in = scene.service.exchange_from("acme", "token").await;

    assert_ok(&signed_in);
    assert_eq!(acme.calls().len(), 2);
    assert_ok(&scene.service.exchange_from("acme", "another").await);
    assert_eq!(acme.calls().len(), 3);
}

/// A profile for requests that have the rotated secret alone.
async fn profile(Query(query): Query<HashMap<String, String>>) -> Result<Json<Value>, StatusCode> {
    if query["proof"] != ROTATED {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(Json(json!({ "id": "1" })))
}

#[tokio::test]
async fn t188_a_profile_that_needs_the_secret_is_asked_for_again_with_the_newer_one() {
    let mut running = JoinSet::new();
    let application = Json(json!({ "app": "our-app" }));
    let routes = Router::new()
        .route("/token", get(move || async { application }))
        .route("/me", get(profile));
    let acme = Proxy::start(&tests::serve(&mut running, routes).await).await;
    let url = acme.url();
    let query = json!({ "proof": "{client_secret}" });
    let provider = json!([{
        "name": "acme", "client_id": "our-app", "client_secret": PARAMETER,
        "check": { "url": format!("{url}/token"), "client_id": "/app" },
        "userinfo": { "url": format!("{url}/me"), "query": query, "id": "/id" },
    }]);
    let scene = Scene::rotated(&provider).await;

    let signed_in = scene.service.exchange_from("acme", "token").await;

    assert_ok(&signed_in);
    assert_eq!(acme.calls().len(), 3);
    assert_ok(&scene.service.exchange_from("acme", "another").await);
    assert_eq!(acme.calls().len(), 5);
}

#[tokio::test]
async fn t191_parallel_first_requests_read_the_secret_once() {
    let mut scene = Scene::before(&[]).await;
    scene.store.put(SECRET, GITHUB_APP.1);
    scene.set("GITHUB_CLIENT_SECRET", SECRET);
    scene.store.proxy.down().await;
    scene.restart().await;
    scene.store.proxy.heal();
    let delay = Fault::Delay(Duration::from_millis(50));
    scene.store.proxy.fault(When::Always, delay);
    scene.store.take_reads();

    let tokens: Vec<_> = (1..=10)
        .map(|nth| scene.service.github_token(&format!("person-{nth}")))
        .collect();
    let answers = tokens.iter().map(|token| scene.service.exchange(token));
    let answers = join_all(answers).await;

    answers.iter().for_each(assert_ok);
    assert_eq!(scene.store.take_reads(), 1);
}

#[tokio::test]
async fn a_store_that_fails_once_is_asked_again_at_once() {
    let mut scene = Scene::before(&[]).await;
    scene.store.put(SECRET, GITHUB_APP.1);
    scene.set("GITHUB_CLIENT_SECRET", SECRET);
    for fault in [
        Fault::Refuse,
        Fault::ResetMidBody,
        Reply::new(StatusCode::INTERNAL_SERVER_ERROR, "CANARY").into(),
    ] {
        scene.store.proxy.fault_once(When::Always, fault);
        scene.store.take_reads();
        scene.try_start().await.unwrap();
        assert_eq!(scene.store.take_reads(), 2);
    }
}
