//! The test kit: the whole API on a DynamoDB, with a controllable clock, network and provider.

mod database;
pub mod forge;
pub mod functions;
pub mod invariants;
pub mod lambda;
mod logs;
pub mod oidc;
pub mod opaque;
mod openapi;
pub mod proxy;
pub mod start;
pub mod timers;

pub use logs::{log_lines, secret_in, start_logs, token_in};

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::Router;
use local::{
    api, dynamodb,
    github::{Account, App, StandIn},
    settings::{self, DynamoDb, GitHub},
};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    config::{self, Environment},
    keys::{KeyStore, Keys},
    token::{Claims, TokenError, TokenVerifier},
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use crate::{
    database::Database,
    proxy::{Call, Fault, Proxy, When},
};

/// The client of the tests and its secret. A log line with the secret fails the test.
pub const CLIENT: (&str, &str) = ("nextjs", "CANARY-client-secret");
/// Another client of the same API.
pub const OTHER_CLIENT: (&str, &str) = ("mobile", "CANARY-other-secret");
/// The limits of `POST /token` that `template.yaml` gives: requests of a client and of a user within a minute.
pub const RATE_LIMITS: [(&str, &str); 2] =
    [("CLIENT_RATE_LIMIT", "12000"), ("USER_RATE_LIMIT", "120")];
/// The configured OAuth app at GitHub and its secret.
pub const GITHUB_APP: (&str, &str) = ("our-app", "CANARY-github-secret");
/// The app of a stranger at the same GitHub.
pub const FOREIGN_APP: (&str, &str) = ("foreign-app", "CANARY-foreign-secret");
/// `iss` and `aud` of access tokens.
pub const ISSUER: &str = "http://localhost:9000";

/// The `grant_type` of RFC 8693.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The `subject_token_type` of a GitHub token.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The whole API with its own DynamoDB and GitHub, each behind a proxy that can fail.
pub struct Service {
    /// The URL of the API.
    pub url: String,
    /// The API without HTTP, as the Lambda runtime calls it.
    pub router: Router,
    /// The proxy between the functions and DynamoDB.
    pub dynamodb: Proxy,
    /// The proxy between the functions and GitHub.
    pub github: Proxy,
    /// The stand-in GitHub.
    pub stand_in: StandIn,
    /// The clock of the functions.
    pub time: Time,
    /// The settings of the functions.
    pub variables: HashMap<String, String>,
    database: Database,
    http: Client,
    running: JoinSet<()>,
}

/// A clock that a test can move.
#[derive(Clone)]
pub struct Time {
    unmoved: Clock,
    moved: Arc<AtomicI64>,
}

impl Time {
    /// Returns a clock that begins at the system's time and stands still until a test moves it. So a test at the bound
    /// of a lifetime gives the same result on a slow machine.
    pub fn still() -> Self {
        let start = Clock::system().now();
        Self::of(Clock::new(move || start))
    }

    /// Returns a clock that runs with the system's.
    pub fn running() -> Self {
        Self::of(Clock::system())
    }

    fn of(unmoved: Clock) -> Self {
        let moved = Arc::default();
        Self { unmoved, moved }
    }

    /// Returns the clock for the functions.
    pub fn clock(&self) -> Clock {
        let Self { unmoved, moved } = self.clone();
        Clock::new(move || {
            unmoved
                .now()
                .saturating_add_signed(moved.load(Ordering::SeqCst))
        })
    }

    /// Moves the clock, forwards or backwards.
    pub fn pass(&self, seconds: i64) {
        self.moved.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Returns the time of the functions, in seconds since the epoch.
    pub fn now(&self) -> u64 {
        self.clock().now()
    }
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The JSON of the body; `null` for a body that is not JSON.
    pub body: Value,
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap_or_default();
        Self {
            status,
            headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        }
    }

    /// Returns the value of a header; empty if absent.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Returns the text at a JSON pointer; empty if absent.
    pub fn text(&self, pointer: &str) -> &str {
        let value = self.body.pointer(pointer);
        value.and_then(Value::as_str).unwrap_or("")
    }
}

#[expect(
    clippy::expect_used,
    reason = "a test without its service has nothing to prove"
)]
impl Service {
    /// Starts the service with the usual settings.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts everything, with these scopes for the clients.
    pub async fn start_with_scopes(scopes: &[&str]) -> Self {
        let clients = clients_with(&[CLIENT, OTHER_CLIENT], scopes);
        Self::start_with(&[("CLIENTS", &clients)]).await
    }

    /// Starts the service with additional settings.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_at(Time::still(), settings).await
    }

    /// Starts the service with this clock and additional settings.
    pub async fn start_at(time: Time, settings: &[(&str, &str)]) -> Self {
        start_logs();
        let mut running = JoinSet::new();

        let (database, dynamodb) = Database::start(&mut running).await;

        let apps = [GITHUB_APP, FOREIGN_APP].map(|(id, secret)| App::new(id, secret, id));
        let people = [
            Account::new(583_231, "octocat")
                .named("The Octocat")
                .reached_at("octocat@example.com"),
            Account::new(2, "hubot").reached_at("hubot@example.com"),
            Account::new(3, "member").in_organization("Acme", true),
            Account::new(4, "invited").in_organization("acme", false),
        ];
        // Enough accounts for a race.
        let others = (1..=50).map(|number| Account::new(100 + number, format!("person-{number}")));
        let people = people.into_iter().chain(others).collect();
        let stand_in = StandIn::new(apps.into(), people).with_clock(time.clock());
        let github = Proxy::start(&serve(&mut running, stand_in.router()).await).await;

        let shell = Environment::of([
            ("GITHUB_CLIENT_ID", GITHUB_APP.0),
            ("GITHUB_CLIENT_SECRET", GITHUB_APP.1),
            ("GITHUB_API_URL", &github.url()),
            // An RSA key takes a second in a debug build, so only tests about keys use RSA.
            ("SIGNING_KEY_TYPE", "P-256"),
            ("CLIENTS", &clients(&[CLIENT, OTHER_CLIENT])),
        ]);
        let of_the_proxy = DynamoDb {
            url: dynamodb.url(),
            access_key_id: "local".to_owned(),
        };
        let usual = settings::variables(&shell, ISSUER, &of_the_proxy, &GitHub::Real);
        let mut variables: HashMap<String, String> = usual
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        for (name, table) in [
            ("TABLE_NAME", dynamodb::TABLE),
            ("KEYS_TABLE_NAME", dynamodb::KEYS_TABLE),
        ] {
            variables.insert(name.to_owned(), database.name(table));
        }
        for (name, value) in settings {
            variables.insert((*name).to_owned(), (*value).to_owned());
        }

        let env = Environment::of(variables.clone());
        let api = api::start(&env, time.clock()).await.expect("the API");
        let url = serve(&mut running, api.clone()).await;
        dynamodb.clear();
        Self {
            url,
            router: api,
            dynamodb,
            github,
            stand_in,
            time,
            variables,
            database,
            http: Client::builder().no_proxy().build().expect("a client"),
            running,
        }
    }

    /// Starts another process with the same settings, tables and clock, as a second Lambda instance.
    pub async fn another_process(&mut self) -> String {
        let env = Environment::of(self.variables.clone());
        let api = api::start(&env, self.time.clock()).await.expect("the API");
        serve(&mut self.running, api).await
    }

    /// Returns a GitHub token of the configured app for `login`.
    pub fn github_token(&self, login: &str) -> String {
        self.github_token_of(GITHUB_APP.0, login, "read:user,user:email")
    }

    /// Returns a GitHub token of `app` for `login`.
    pub fn github_token_of(&self, app: &str, login: &str, scopes: &str) -> String {
        let token = self.stand_in.issue_token(app, login, scopes);
        token.expect("a known app and login")
    }

    /// Makes a request to the API.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// Sends `POST /token` with these parameters as the client of the tests.
    pub async fn token(&self, parameters: &[(&str, &str)]) -> Answer {
        self.send(self.token_request(parameters)).await
    }

    /// Makes the request of [`Self::token`] without sending it.
    pub fn token_request(&self, parameters: &[(&str, &str)]) -> RequestBuilder {
        self.token_request_as(CLIENT, parameters)
    }

    /// Makes the request of [`Self::token`] for any client.
    pub fn token_request_as(
        &self,
        client: (&str, &str),
        parameters: &[(&str, &str)],
    ) -> RequestBuilder {
        self.request("POST", "/token")
            .basic_auth(client.0, Some(client.1))
            .form(parameters)
    }

    /// Exchanges a GitHub token.
    pub async fn exchange(&self, subject_token: &str) -> Answer {
        self.token(&exchange_of(subject_token)).await
    }

    /// Exchanges an access token of `provider`.
    pub async fn exchange_from(&self, provider: &str, subject_token: &str) -> Answer {
        self.token(&exchange_parameters(provider, subject_token))
            .await
    }

    /// Refreshes as the client of the tests.
    pub async fn refresh(&self, refresh_token: &str) -> Answer {
        self.refresh_as(CLIENT, refresh_token).await
    }

    /// Refreshes as any client.
    pub async fn refresh_as(&self, client: (&str, &str), refresh_token: &str) -> Answer {
        let parameters = refresh_of(refresh_token);
        self.send(self.token_request_as(client, &parameters)).await
    }

    /// Signs `login` in with a new GitHub token.
    pub async fn sign_in(&self, login: &str) -> Answer {
        let answer = self.exchange(&self.github_token(login)).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer
    }

    /// Signs `login` in and returns the access token.
    pub async fn access_token(&self, login: &str) -> String {
        self.sign_in(login).await.text("/access_token").to_owned()
    }

    /// Signs `login` in and returns the refresh token.
    pub async fn refresh_token(&self, login: &str) -> String {
        self.sign_in(login).await.text("/refresh_token").to_owned()
    }

    /// Sends `GET /me`.
    pub async fn me(&self, access_token: &str) -> Answer {
        self.send(self.request("GET", "/me").bearer_auth(access_token))
            .await
    }

    /// Makes a request with an access token.
    pub fn as_user(&self, access_token: &str, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(access_token)
    }

    /// Sends `PATCH /me`.
    pub async fn patch_me(&self, access_token: &str, patch: &Value) -> Answer {
        let request = self.as_user(access_token, "PATCH", "/me").json(patch);
        self.send(request).await
    }

    /// Sends `GET /me/sessions`.
    pub async fn my_sessions(&self, access_token: &str) -> Answer {
        self.send(self.as_user(access_token, "GET", "/me/sessions"))
            .await
    }

    /// Sends `POST /me/identities` with an opaque token of a provider.
    pub async fn link(&self, access_token: &str, provider: &str, subject_token: &str) -> Answer {
        let body = json!({
            "subject_token": subject_token, "subject_token_type": ACCESS_TOKEN, "subject_issuer": provider,
        });
        let request = self.as_user(access_token, "POST", "/me/identities");
        self.send(request.json(&body)).await
    }

    /// Sends a `DELETE` with an access token.
    pub async fn delete_as_user(&self, access_token: &str, path: &str) -> Answer {
        self.send(self.as_user(access_token, "DELETE", path)).await
    }

    /// Sends `POST /revoke` as the client of the tests.
    pub async fn revoke(&self, token: &str) -> Answer {
        self.send(self.revocation(CLIENT, token)).await
    }

    /// Makes the request of [`Self::revoke`] for any client.
    pub fn revocation(&self, client: (&str, &str), token: &str) -> RequestBuilder {
        self.request("POST", "/revoke")
            .basic_auth(client.0, Some(client.1))
            .form(&[("token", token)])
    }

    /// Returns the verified claims of an access token.
    pub async fn verify(&self, access_token: &str) -> Claims {
        self.verdict(access_token).await.expect("a valid token")
    }

    /// Verifies an access token and returns its claims.
    ///
    /// # Errors
    /// The token is not valid.
    pub async fn verdict(&self, access_token: &str) -> Result<Claims, TokenError> {
        let env = Environment::of(self.variables.clone());
        let issuer = config::Issuer::from_env(&env).expect("an issuer");
        let keys = Keys::start(self.key_store(), self.time.clock(), true).await;
        let verifier = TokenVerifier::new(
            keys.expect("keys"),
            issuer.url,
            vec![issuer.audience.to_string()],
            self.time.clock(),
        );
        verifier.verify(access_token).await
    }

    /// Returns a client of DynamoDB, through the proxy.
    pub fn client(&self) -> shared::dynamodb::Client {
        let env = Environment::of(self.variables.clone());
        let config = config::DynamoDb::from_env(&env).expect("settings");
        shared::dynamodb::client(&config)
    }

    /// Returns the keys table, through the proxy.
    pub fn key_store(&self) -> KeyStore {
        KeyStore::new(self.client(), self.table(dynamodb::KEYS_TABLE))
    }

    /// Sends a request and checks the answer against `openapi.yaml`.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let asked = openapi::Asked::of(&request);
        let response = self.http.execute(request).await.expect("an answer");
        let answer = Answer::of(response).await;
        asked.check(&answer);
        answer
    }

    /// Returns all items of the main table in DynamoDB's JSON.
    pub fn items(&self) -> Vec<Value> {
        self.scan(dynamodb::TABLE)
    }

    /// Returns the items of the main table whose `pk` has this prefix.
    pub fn items_of(&self, prefix: &str) -> Vec<Value> {
        let mut items = self.items();
        items.retain(|item| {
            let pk = item["pk"]["S"].as_str();
            pk.is_some_and(|pk| pk.starts_with(prefix))
        });
        items
    }

    /// Returns the items of users.
    pub fn users(&self) -> Vec<Value> {
        let mut items = self.items();
        items.retain(|item| item["sk"]["S"] == "USER");
        items
    }

    /// Returns the items of sessions.
    pub fn sessions(&self) -> Vec<Value> {
        let mut items = self.items();
        items.retain(|item| {
            let sk = item["sk"]["S"].as_str();
            sk.is_some_and(|sk| sk.starts_with("SESSION#"))
        });
        items
    }

    /// Returns the full name of a table: the name that the functions use.
    pub fn table(&self, table: &str) -> String {
        self.database.name(table)
    }

    /// Returns the full names of all tables at the DynamoDB of the service.
    pub fn table_names(&self) -> Vec<String> {
        self.database.names()
    }

    /// Returns all items of a table in DynamoDB's JSON.
    pub fn scan(&self, table: &str) -> Vec<Value> {
        self.database.scan(table)
    }

    /// Does `work`, and does `meanwhile` before the first call of `operation` of the work reaches DynamoDB.
    ///
    /// The clock has to follow the work ([`timers::follow_work`]), a millisecond at a time if `meanwhile` makes several
    /// requests. It cannot stand still meanwhile, since they may wait before they try again.
    ///
    /// # Panics
    /// `meanwhile` takes too long, or there is no such call.
    pub async fn interrupted<T>(
        &self,
        work: impl Future<Output = T>,
        operation: &'static str,
        meanwhile: impl Future<Output = ()>,
    ) -> T {
        let held = Fault::Delay(Duration::from_millis(500));
        self.dynamodb.clear();
        self.dynamodb.fault_once(When::Operation(operation), held);
        let meanwhile = async {
            let met = timeout(Duration::from_secs(10), self.dynamodb.met_fault());
            met.await.expect("a call of the operation");
            meanwhile.await;
            let calls = self.dynamodb.calls();
            let has_arrived = |call: &Call| call.fault.is_some() && call.is_forwarded;
            assert!(!calls.iter().any(has_arrived), "it took too long");
        };
        let (done, ()) = tokio::join!(work, meanwhile);
        done
    }

    /// Writes an item without a function.
    pub fn put(&self, table: &str, item: &Value) {
        let request = json!({ "TableName": self.table(table), "Item": item });
        self.database.call("PutItem", &request);
    }

    /// Writes these items without a function, as many at a time as DynamoDB takes.
    pub fn put_all(&self, table: &str, items: &[Value]) {
        let name = self.table(table);
        for items in items.chunks(25) {
            let puts: Vec<Value> = items
                .iter()
                .map(|item| json!({ "PutRequest": { "Item": item } }))
                .collect();
            let mut left = json!({ &name: puts });
            while left.as_object().is_some_and(|left| !left.is_empty()) {
                let request = json!({ "RequestItems": left });
                let mut answer = self.database.call("BatchWriteItem", &request);
                left = answer["UnprocessedItems"].take();
            }
        }
    }

    /// Makes an empty table whose key is these attributes, without a function.
    pub fn make_table(&self, name: &str, key: &[&str]) {
        self.database.make_table(name, key);
    }

    /// Deletes an item of the main table without a function.
    pub fn delete(&self, item: &Value) {
        let key = json!({ "pk": item["pk"], "sk": item["sk"] });
        let request = json!({ "TableName": self.table(dynamodb::TABLE), "Key": key });
        self.database.call("DeleteItem", &request);
    }

    /// Deletes an item of the keys table without a function.
    pub fn delete_key(&self, item: &Value) {
        let table = self.table(dynamodb::KEYS_TABLE);
        let request = json!({ "TableName": table, "Key": { "pk": item["pk"] } });
        self.database.call("DeleteItem", &request);
    }

    /// Asserts the invariants of the main table ([`invariants::broken`]).
    pub fn check_invariants(&self) {
        let broken = invariants::broken(&self.items());
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }
}

/// Sends a request until the answer is not a 503, as a client does, and asserts 200.
///
/// A hundred parallel requests share the machine with the database, so some time out with 503, which is safe to
/// repeat after its `Retry-After`.
pub async fn persist(request: RequestBuilder) -> Answer {
    let answer = settle(request).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    answer
}

/// Sends a request until the answer is not a 503.
#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a request without an answer proves nothing"
)]
pub async fn settle(request: RequestBuilder) -> Answer {
    for _ in 0..60 {
        let again = request.try_clone().expect("a body that can be sent again");
        let answer = Answer::of(again.send().await.expect("an answer")).await;
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            return answer;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("unavailable for a minute: {request:?}");
}

/// Returns the parameters of an exchange of a GitHub token.
pub fn exchange_of(subject_token: &str) -> [(&str, &str); 4] {
    exchange_parameters("github", subject_token)
}

/// Returns the parameters of an exchange of an access token of `provider`.
pub fn exchange_parameters<'a>(
    provider: &'a str,
    subject_token: &'a str,
) -> [(&'a str, &'a str); 4] {
    [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", subject_token),
        ("subject_token_type", ACCESS_TOKEN),
        ("subject_issuer", provider),
    ]
}

/// Returns the parameters of a refresh.
pub fn refresh_of(refresh_token: &str) -> [(&str, &str); 2] {
    [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
    ]
}

/// Returns the SHA-256 of a secret in the form of `CLIENTS`.
pub fn sha256_hex(secret: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    hash.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Returns the value of `CLIENTS` for clients with these ids and secrets.
pub fn clients(clients: &[(&str, &str)]) -> String {
    clients_with(clients, &["orders:read", "orders:write"])
}

fn clients_with(clients: &[(&str, &str)], scopes: &[&str]) -> String {
    let clients: Vec<_> = clients
        .iter()
        .map(|(id, secret)| {
            json!({ "client_id": id, "secret_sha256": [sha256_hex(secret)], "scopes": scopes })
        })
        .collect();
    Value::from(clients).to_string()
}

#[expect(clippy::expect_used, reason = "a test needs its port")]
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, format!("http://{address}"))
}

/// Serves `router` until `running` is dropped, and returns the URL.
pub async fn serve(running: &mut JoinSet<()>, router: Router) -> String {
    let (listener, url) = listen().await;
    running.spawn(async move {
        // It ends with the test.
        let _ = axum::serve(listener, router).await;
    });
    url
}
