//! The log lines of requests, and the queries of docs/operate.md and docs/restore.md on lines that the real functions
//! write.

mod insights;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
};

use authorizer::Authorizer;
use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::telemetry;
use tests::{
    CLIENT, Service,
    oidc::{Issuer, Key},
    proxy::{Fault, When},
    timers,
};
use tracing::Level;

use crate::authorizer::authorizer_of;
use insights::{Row, run};

const PAGE: &str = include_str!("../../docs/operate.md");
const USER_AGENT: &str = "CanaryBrowser/7.1 (an agent of a person)";
const GATEWAY_ID: &str = "JKJaXmPLvHcESHA=";

/// The lines that this thread logs while this lives.
struct Recording {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Recording {
    fn start(level: Level) -> Self {
        let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
        let writer = Writer(lines.clone());
        let crates = [&local::CRATES as &[_], &["authorizer"]].concat();
        let subscriber = telemetry::subscriber(level, &crates, move || writer.clone());
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    fn lines(&self) -> Vec<String> {
        let lines = String::from_utf8(self.lines.lock().unwrap().clone()).unwrap();
        lines.lines().map(str::to_owned).collect()
    }

    /// Returns the lines of requests so far.
    fn requests(&self) -> Vec<Value> {
        let lines = self.lines();
        let lines = lines.iter().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["event"] == "request")
            .collect()
    }

    /// Returns the line of the last request.
    fn last(&self) -> Value {
        self.requests().pop().unwrap()
    }
}

/// A service, and the authorizer of an API that trusts it.
struct Scene {
    service: Service,
    authorizer: Authorizer,
    issuer: Issuer,
    key: Key,
}

impl Scene {
    async fn start() -> Self {
        let key = Key::new("one");
        let (issuer, service) = Issuer::with_service(&key, &[]).await;
        let authorizer = authorizer_of(&service, &[("LIVE", "true")]).await;
        Self {
            service,
            authorizer,
            issuer,
            key,
        }
    }

    /// Asks the authorizer about a request to `GET /orders`.
    async fn authorize(&self, token: &str) {
        let mut event: Value = serde_json::from_str(crate::authorizer::EVENT).unwrap();
        event["headers"]["authorization"] = format!("Bearer {token}").into();
        let lambda = Some("8f5e4c0e-4f5c-4a9b-8d0a-2f6c1f0e9a11".to_owned());
        let _ = self.authorizer.authorize_invocation(&event, lambda).await;
    }

    /// Sends `GET /me` as API Gateway does.
    async fn me_through_gateway(&self, token: &str) {
        let event = json!({
            "version": "2.0",
            "rawPath": "/me",
            "headers": { "authorization": format!("Bearer {token}"), "user-agent": USER_AGENT },
            "requestContext": {
                "http": { "method": "GET", "sourceIp": "192.0.2.44", "userAgent": USER_AGENT },
                "requestId": GATEWAY_ID,
                "stage": "$default",
            },
        });
        let answer = gateway::answer(&self.service.router, event).await.unwrap();
        assert_eq!(answer.status_code, 200);
    }

    /// Links an account at `acme` to the user of `token`, and returns its ID token.
    async fn link(&self, token: &str) -> String {
        let Self { service, .. } = self;
        let id_token = self
            .key
            .sign(&self.issuer.claims("ada", service.time.now()));
        let link = json!({
            "subject_token": id_token,
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        });
        let request = service.as_user(token, "POST", "/me/identities");
        let linked = service
            .send(request.header("user-agent", USER_AGENT).json(&link))
            .await;
        assert_eq!(linked.status, StatusCode::OK, "{:?}", linked.body);
        id_token
    }

    /// Makes requests with each outcome that a line can have, but for a bug and a request that takes too long. Returns
    /// texts that no line may contain.
    async fn happen(&self) -> Vec<String> {
        let Self { service, .. } = self;
        let github = service.github_token("octocat");
        let first = service.exchange(&github).await;
        let (token, old) = (first.text("/access_token"), first.text("/refresh_token"));
        service.me(token).await;
        self.me_through_gateway(token).await;
        self.authorize(token).await;
        let id_token = self.link(token).await;
        service
            .delete_as_user(token, "/me/sessions/AAAAAAAAAAAAAAAAAAAAAA")
            .await;
        service.my_sessions(token).await;

        // Refused.
        let wrong = service
            .request("POST", "/token")
            .basic_auth(CLIENT.0, Some("CANARY-wrong"));
        service.send(wrong.form(&[("grant_type", "x")])).await;
        service.me(&format!("{token}x")).await;
        self.authorize("CANARY-made-up").await;
        let next = service.refresh(old).await;
        let last = service.refresh(next.text("/refresh_token")).await;
        assert_eq!(last.status, StatusCode::OK);
        let reused = service.refresh(old).await;
        assert_eq!(reused.status, StatusCode::BAD_REQUEST);

        let session = service.verify(token).await.sid.to_string();

        // Failures.
        let hubot = service.github_token("hubot");
        service.github.fault(When::Always, Fault::html());
        service.exchange(&hubot).await;
        service.github.heal();
        let another = service.sign_in("member").await;
        service.dynamodb.down().await;
        service.me(another.text("/access_token")).await;
        self.authorize(another.text("/access_token")).await;

        let users = [&first, &another].map(|answer| answer.text("/user/id").to_owned());
        let tokens = [
            &github,
            &hubot,
            &id_token,
            token,
            old,
            next.text("/refresh_token"),
        ];
        let mut secret: Vec<String> = tokens.iter().map(|text| (*text).to_owned()).collect();
        secret.extend(users);
        secret.push(session);
        secret.extend(
            [
                "127.0.0.1",
                "192.0.2.44",
                "Canary",
                "CANARY",
                "octocat",
                "hubot",
                "ada",
                "AAAAAAAAAA",
                "@",
                "nextjs",
            ]
            .map(str::to_owned),
        );
        secret
    }
}

/// Returns the sections of the page, by heading.
fn section(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// Returns the code blocks of a text, each with the line in front of it.
fn blocks(text: &'static str) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let (mut above, mut is_inside) = ("", false);
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(code) if is_inside => found.last_mut().unwrap().1.push(code),
            Some(code) => {
                found.push((above, vec![code]));
                is_inside = true;
            }
            None => {
                is_inside = false;
                if !line.is_empty() {
                    above = line;
                }
            }
        }
    }
    let found = found
        .into_iter()
        .map(|(above, lines)| (above, lines.join("\n")));
    found.collect()
}

/// Returns the names in the first column of the tables of a section.
fn names(text: &str, nth: usize) -> BTreeSet<&str> {
    let tables: Vec<&str> = text.split("| --- | --- |\n").skip(1).collect();
    let rows = tables[nth].lines().take_while(|line| line.starts_with('|'));
    let firsts = rows.map(|row| row.split('|').nth(1).unwrap());
    firsts
        .flat_map(|first| first.split('`').skip(1).step_by(2))
        .collect()
}

#[tokio::test]
async fn t178_the_line_of_a_request_has_the_documented_fields_and_nothing_personal() {
    let _turning = timers::follow_work();
    let scene = Scene::start().await;
    let recording = Recording::start(Level::INFO);
    let personal = scene.happen().await;

    let page = section("The log line of a request");
    let (fields, outcomes) = (names(page, 0), names(page, 1));
    let usual = BTreeSet::from(["timestamp", "level", "event"]);
    let mut seen = BTreeSet::new();
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let requests = recording.requests();
    for line in &requests {
        for (name, value) in line.as_object().unwrap() {
            assert!(
                !value.is_object() && !value.is_array() && !value.is_null(),
                "{line}"
            );
            seen.insert(name.clone());
            if let Some(text) = value.as_str() {
                values
                    .entry(name.clone())
                    .or_default()
                    .insert(text.to_owned());
            }
        }
        let text = line.to_string();
        for text_of_a_person in &personal {
            assert!(
                !text.contains(text_of_a_person),
                "{text_of_a_person}: {line}"
            );
        }
        let is_failure = line["level"] == "ERROR";
        let failing = [
            "provider_unavailable",
            "dynamodb_unavailable",
            "keys_unavailable",
            "secrets_unavailable",
        ];
        assert_eq!(
            is_failure,
            failing.contains(&line["outcome"].as_str().unwrap()),
            "{line}"
        );
    }
    let documented: BTreeSet<&str> = fields.union(&usual).copied().collect();
    assert_eq!(
        seen.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        documented
    );
    let of = |name: &str| values[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(
        of("outcome"),
        [
            "dynamodb_unavailable",
            "ok",
            "provider_unavailable",
            "refused"
        ]
    );
    assert!(
        of("outcome")
            .iter()
            .all(|outcome| outcomes.contains(outcome))
    );
    assert_eq!(of("provider"), ["acme", "github"]);
    assert_eq!(
        of("route"),
        [
            "/me",
            "/me/identities",
            "/me/sessions",
            "/me/sessions/{session_id}",
            "/token",
            "GET /orders"
        ]
    );
    assert_eq!(of("request_id"), [GATEWAY_ID, "id"]);
    // The example of the page is such a line.
    let (_, example) = blocks(page).swap_remove(0);
    let example: Row = serde_json::from_str(&example).unwrap();
    let mut keys: BTreeSet<&str> = example.keys().map(String::as_str).collect();
    keys.insert("code");
    assert_eq!(keys, documented);
}

#[tokio::test]
async fn t179_the_line_has_the_units_that_dynamodb_counted_and_the_time_of_its_parts() {
    let scene = Scene::start().await;
    let recording = Recording::start(Level::INFO);
    let Scene { service, .. } = &scene;
    let units = |line: &Value| {
        let of = |name: &str| line[name].as_f64().unwrap_or_default();
        (of("read_units"), of("write_units"))
    };
    let counted = || {
        let units = service.dynamodb.consumed();
        service.dynamodb.clear();
        (units.read, units.write)
    };
    let parts = |line: &Value| {
        let names = ["provider_ms", "dynamodb_ms", "crypto_ms"];
        for name in names {
            let part = line[name].as_f64();
            assert!(
                part.is_none_or(|part| part > 0.0 && part <= line["ms"].as_f64().unwrap()),
                "{line}"
            );
        }
        names.map(|name| line[name].is_f64())
    };

    service.dynamodb.clear();
    let first = service.sign_in("octocat").await;
    assert_eq!(units(&recording.last()), counted());
    assert_eq!(parts(&recording.last()), [true, true, true]);

    service.sign_in("octocat").await;
    assert_eq!(units(&recording.last()), counted());

    service.refresh(first.text("/refresh_token")).await;
    assert_eq!(units(&recording.last()), counted());
    assert_eq!(parts(&recording.last()), [false, true, true]);

    let token = first.text("/access_token");
    service.my_sessions(token).await;
    assert_eq!(units(&recording.last()), counted());
    service.me(token).await;
    let me = units(&recording.last());
    assert_eq!(me, counted());
    assert!(me.0 > 0.0 && me.1 == 0.0, "{me:?}");

    service.me("made up").await;
    assert_eq!(parts(&recording.last()), [false, false, false]);
    assert_eq!(units(&recording.last()), (0.0, 0.0));

    service.delete_as_user(token, "/me").await;
    assert_eq!(units(&recording.last()), counted());
}

#[tokio::test]
async fn a_log_without_info_has_the_lines_of_failures_only() {
    let _turning = timers::follow_work();
    let scene = Scene::start().await;
    let recording = Recording::start(Level::ERROR);
    scene.happen().await;

    let requests = recording.requests();
    assert!(requests.iter().all(|line| line["level"] == "ERROR"));
    let statuses: BTreeSet<u64> = requests
        .iter()
        .filter_map(|line| line["status"].as_u64())
        .collect();
    assert_eq!(statuses, BTreeSet::from([503]));
}

/// Returns the values of a column, each with how often it occurs according to another.
fn counts(rows: &[Row], names: &[&str], count: &str) -> BTreeSet<(String, u64)> {
    let text = |row: &Row, name: &str| {
        row.get(name).map_or("-".to_owned(), |value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
    };
    let rows = rows.iter().map(|row| {
        let key: Vec<String> = names.iter().map(|name| text(row, name)).collect();
        (key.join(" "), row[count].as_u64().unwrap())
    });
    rows.collect()
}

fn expected(rows: &[(&str, u64)]) -> BTreeSet<(String, u64)> {
    rows.iter()
        .map(|(key, count)| ((*key).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn each_query_of_the_page_finds_what_it_says_in_recorded_lines() {
    let _turning = timers::follow_work();
    let scene = Scene::start().await;
    let recording = Recording::start(Level::INFO);
    scene.happen().await;
    let lines = recording.lines();
    let mut queries: BTreeMap<&str, String> = blocks(section("Find out what happened"))
        .into_iter()
        .collect();
    let mut of = |title: &str| {
        let query = queries
            .remove(title)
            .unwrap_or_else(|| panic!("{title} in {queries:?}"));
        run(&query.replace("<requestId>", GATEWAY_ID), &lines)
    };

    let routes = of("Outcomes by route:");
    let found = counts(&routes, &["method", "route", "outcome"], "requests");
    assert_eq!(
        found,
        expected(&[
            ("- GET /orders dynamodb_unavailable", 1),
            ("- GET /orders ok", 1),
            ("- GET /orders refused", 1),
            ("DELETE /me/sessions/{session_id} refused", 1),
            ("GET /me dynamodb_unavailable", 1),
            ("GET /me ok", 2),
            ("GET /me refused", 1),
            ("GET /me/sessions ok", 1),
            ("POST /me/identities ok", 1),
            ("POST /token ok", 4),
            ("POST /token provider_unavailable", 1),
            ("POST /token refused", 2),
        ])
    );
    assert_eq!(routes[0]["requests"], 4, "the most frequent is the first");
    let is_plausible = |row: &Row| row["p99"].as_f64() >= row["average"].as_f64();
    assert!(routes.iter().all(is_plausible));

    assert_eq!(
        counts(
            &of("Errors by code:"),
            &["function", "status", "code"],
            "requests"
        ),
        expected(&[
            ("authorizer - -", 2),
            ("me 401 invalid_token", 1),
            ("me 503 temporarily_unavailable", 1),
            ("sessions 404 not_found", 1),
            ("token-exchange 400 invalid_grant", 1),
            ("token-exchange 401 invalid_client", 1),
            ("token-exchange 503 temporarily_unavailable", 1),
        ])
    );
    let providers = of("Providers, as the functions see them:");
    assert_eq!(
        counts(&providers, &["provider", "outcome"], "requests"),
        expected(&[
            ("acme ok", 1),
            ("github ok", 2),
            ("github provider_unavailable", 1)
        ])
    );
    assert!(
        providers
            .iter()
            .all(|row| row["slowest"].as_f64() >= row["average"].as_f64())
    );

    let slowest = of("The slowest requests, with the parts of their time:");
    assert_eq!(slowest.len(), recording.requests().len().min(20));
    assert!(slowest.is_sorted_by(|a, b| a["ms"].as_f64() >= b["ms"].as_f64()));
    assert!(
        slowest
            .iter()
            .any(|row| row.contains_key("provider_ms") && row.contains_key("crypto_ms"))
    );

    let units = of("What DynamoDB is asked for:");
    assert_eq!(units[0]["function"], "token-exchange");
    assert!(units[0]["reads"].as_f64() > Some(0.0) && units[0]["writes"].as_f64() > Some(0.0));

    let cold = of("Cold and warm requests:");
    let warm = cold
        .iter()
        .filter(|row| row["cold"] == false)
        .map(|row| row["requests"].as_u64().unwrap());
    assert!(
        warm.sum::<u64>() >= recording.requests().len() as u64 - 1,
        "one process starts once"
    );

    let failures = of("Failures over time:");
    let total: u64 = failures
        .iter()
        .map(|row| row["failures"].as_u64().unwrap())
        .sum();
    assert_eq!(total, 3);

    let one = of("One request, by the id that API Gateway's access log has:");
    assert_eq!(one.len(), 1);
    assert_eq!(
        (&one[0]["function"], &one[0]["route"]),
        (&json!("me"), &json!("/me"))
    );

    let causes = of("The causes of errors, which the answers do not contain:");
    assert!(
        causes
            .iter()
            .any(|row| row["error.code"] == "invalid_client")
    );
    assert!(
        causes
            .iter()
            .any(|row| row["error.cause"].as_str().unwrap().contains("DynamoDB"))
    );

    let copied = of("Users whose refresh tokens were copied:");
    assert_eq!(copied.len(), 1);
    assert_eq!(copied[0]["sessions"], 1);
    assert_eq!(
        counts(
            &of("Sessions that ended, by reason:"),
            &["reason"],
            "sessions"
        ),
        expected(&[("reused", 1)])
    );
    assert!(queries.is_empty(), "queries without a test: {queries:?}");
}

#[tokio::test]
async fn the_query_of_the_restore_page_finds_who_was_deleted_and_unlinked() {
    let page = include_str!("../../docs/restore.md");
    let query = page
        .lines()
        .find_map(|line| line.strip_prefix("       fields "));
    let query = format!("fields {}", query.unwrap());
    let scene = Scene::start().await;
    let service = &scene.service;
    let recording = Recording::start(Level::INFO);
    let user = service.sign_in("octocat").await;
    let token = user.text("/access_token");

    scene.link(token).await;
    service.my_sessions(token).await;
    service.delete_as_user(token, "/me/identities/acme").await;
    service.delete_as_user(token, "/me").await;

    let id = user.text("/user/id");
    let found: Vec<Row> = run(&query, &recording.lines());
    let row = |event: &str, provider: Option<&str>| {
        let row = [
            ("event", Some(event)),
            ("user_id", Some(id)),
            ("provider", provider),
        ];
        let row = row
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
        row.collect::<Row>()
    };
    assert_eq!(
        found,
        [
            row("identity.unlinked", Some("acme")),
            row("user.deleted", None)
        ]
    );
}
