//! `cambio-admin doctor` against the whole API, against one that misbehaves, and under roles that deny.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::admin::{
    Cli, Command,
    doctor::{
        CHECKS, Credentials, Doctor, DoctorError, KeysTable, MAX_REQUESTS, Needs, Outcome, Pause,
        Report, Subject, Target,
        iam::{self, Called, Tables, Verdict},
    },
};
use authorizer::Authorizer;
use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Redirect},
    routing::get,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use clap::Parser as _;
use local::dynamodb::{KEYS_TABLE, TABLE};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use shared::{clock::Clock, config::Environment};
use tests::{
    CLIENT, ISSUER, OTHER_CLIENT, Service,
    proxy::{Fault, Reply, When},
    serve,
};
use tokio::task::JoinSet;

use crate::authorizer::authorizer_of;

/// Returns a target with everything but an authorizer.
fn target(service: &Service) -> Target {
    let mut target = Target::new(service.url.parse().unwrap());
    target.issuer = Some(ISSUER.to_owned());
    target.client = Some(Credentials::new(CLIENT.0, CLIENT.1));
    target.other_client = Some(Credentials::new(OTHER_CLIENT.0, OTHER_CLIENT.1));
    target.subject = Some(Subject {
        provider: "github".to_owned(),
        token_type: None,
        tokens: vec![
            service.github_token("octocat").into(),
            service.github_token("octocat").into(),
        ],
    });
    target.wait = Duration::from_hours(1);
    target
}

/// Runs a doctor whose waits move the clock of the service.
async fn examine(service: &Service, target: Target) -> Report {
    let time = service.time.clone();
    let pause = Pause::of(move |wait| time.pass(i64::try_from(wait.as_secs()).unwrap()));
    let keys = service.key_store().find_set().await.unwrap();
    let doctor = Doctor::new(target)
        .with_pause(pause)
        .with_keys_table(KeysTable::Read(keys));
    doctor.examine().await.unwrap()
}

fn written(report: &Report, json: bool) -> String {
    let mut out = Vec::new();
    report.write(&mut out, json, false).unwrap();
    String::from_utf8(out).unwrap()
}

fn ids_with(needs: &[Needs]) -> Vec<&'static str> {
    let those = CHECKS.iter().filter(|check| needs.contains(&check.needs));
    those.map(|check| check.id).collect()
}

/// `tests/guards` runs this test with one guard switched off, and reads the ids from the message.
#[tokio::test]
async fn t180_the_doctor_finds_the_api_sound() {
    let service = Service::start().await;

    let report = examine(&service, target(&service)).await;

    let failed = report.failed().join(", ");
    assert!(
        failed.is_empty(),
        "the doctor fails at: {failed}\n{}",
        written(&report, false)
    );
    assert_eq!(
        report.skipped(),
        ids_with(&[Needs::Network, Needs::Authorizer])
    );
    // The sessions of the run have ended, and nothing but the user and the sessions is there.
    service.check_invariants();
    assert_eq!(service.users().len(), 1);
    for session in service.sessions() {
        assert!(session.get("ended_at").is_some(), "{session}");
    }
}

#[tokio::test]
async fn the_doctor_says_the_same_as_a_table_and_as_json() {
    let service = Service::start().await;
    let mut target = target(&service);
    target.client = Some(Credentials::new(CLIENT.0, "another secret"));

    let report = examine(&service, target).await;

    assert!(report.failed().contains(&"client.known"));
    assert!(report.failed().contains(&"exchange.sign-in"));
    assert!(!report.failed().contains(&"token.header"));
    let text = written(&report, false);
    let failed = CHECKS
        .iter()
        .find(|check| check.id == "client.known")
        .unwrap();
    for part in [failed.sent, failed.expected, failed.advice, failed.page] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.contains("401 invalid_client"), "{text}");
    let lines = written(&report, true);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), CHECKS.len());
    for (line, check) in lines.iter().zip(CHECKS) {
        assert_eq!(line["check"], check.id);
        let result = match report.outcome(check.id).unwrap() {
            Outcome::Passed(_) => "passed",
            Outcome::Failed(_) => "failed",
            Outcome::Skipped(_) => "skipped",
        };
        assert_eq!(line["result"], result);
        assert_eq!(line["advice"].is_string(), result == "failed");
    }
}

#[tokio::test]
async fn without_a_client_the_doctor_does_what_anybody_can() {
    let service = Service::start().await;
    let mut anonymous = Target::new(service.url.parse().unwrap());
    anonymous.issuer = Some(ISSUER.to_owned());

    let report = Doctor::new(anonymous).examine().await.unwrap();

    assert_eq!(
        report.failed(),
        Vec::<&str>::new(),
        "{}",
        written(&report, false)
    );
    let all: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    let ran = ids_with(&[Needs::Nothing]);
    assert_eq!(report.skipped().len(), all.len() - ran.len());
    assert!(service.sessions().is_empty() && service.users().is_empty());
}

#[tokio::test]
async fn without_time_to_wait_no_token_expires() {
    let service = Service::start().await;
    for wait in [Duration::ZERO, Duration::from_mins(1)] {
        let mut target = target(&service);
        target.wait = wait;

        let report = examine(&service, target).await;

        assert_eq!(report.failed(), Vec::<&str>::new(), "{wait:?}");
        assert!(report.skipped().contains(&"token.expired"), "{wait:?}");
    }
}

/// Makes an address of this machine that is not of its loopback interface.
fn remote(url: &str) -> String {
    url.replace("127.0.0.1", "0.0.0.0")
}

/// Keeps the `Authorization` headers and the body of each request.
async fn keep(State(kept): State<Arc<Mutex<Vec<String>>>>, request: Request) -> StatusCode {
    let values = request.headers().get_all(header::AUTHORIZATION).iter();
    let mut texts: Vec<String> = values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
    texts.push(String::from_utf8_lossy(&body.unwrap()).into_owned());
    kept.lock().unwrap().extend(texts);
    StatusCode::NOT_FOUND
}

#[tokio::test]
async fn t181_plain_http_is_for_this_machine_alone() {
    let service = Service::start().await;
    let mut anonymous = Target::new(remote(&service.url).parse().unwrap());
    anonymous.issuer = Some(ISSUER.to_owned());

    let report = Doctor::new(anonymous).examine().await.unwrap();

    assert_eq!(
        report.failed(),
        ["tls.https", "tls.plain-http", "discovery.documents"],
        "{}",
        written(&report, false)
    );

    // The document is below the path of the target.
    let mut running = JoinSet::new();
    let document = get(async || axum::Json(json!({ "issuer": ISSUER })));
    let document = Router::new().route("/auth/.well-known/openid-configuration", document);
    let url = remote(&serve(&mut running, document).await);
    let below = Target::new(format!("{url}/auth").parse().unwrap());

    let report = Doctor::new(below).examine().await.unwrap();

    let answered = Outcome::Failed("200 with the document".to_owned());
    assert_eq!(report.outcome("tls.plain-http"), Some(&answered));
}

#[tokio::test]
async fn t182_plain_http_carries_no_secret_to_another_machine() {
    let service = Service::start().await;
    let mut running = JoinSet::new();
    let kept = Arc::<Mutex<Vec<String>>>::default();
    let keeper = Router::new().fallback(keep).with_state(kept.clone());
    let url = remote(&serve(&mut running, keeper).await);
    let mut in_the_clear = target(&service);
    in_the_clear.url = url.parse().unwrap();
    let mut secrets: Vec<String> = secrets_of(&in_the_clear);
    for (id, secret) in [CLIENT, OTHER_CLIENT] {
        secrets.extend([STANDARD.encode(format!("{id}:{secret}")), secret.to_owned()]);
    }

    let report = examine(&service, in_the_clear).await;

    for id in ids_with(&[
        Needs::Client,
        Needs::OtherClient,
        Needs::Subject,
        Needs::SecondSubject,
        Needs::Wait,
    ]) {
        let why = report.outcome(id);
        assert!(
            matches!(why, Some(Outcome::Skipped(why)) if why.contains("http://")),
            "{id}: {why:?}"
        );
    }
    let texts = std::mem::take(&mut *kept.lock().unwrap());
    assert!(texts.len() > 10, "{texts:?}");
    for secret in &secrets {
        assert!(texts.iter().all(|text| !text.contains(secret)), "{secret}");
    }

    // A route behind the authorizer gets access tokens.
    let mut behind = target(&service);
    behind.authorizer_url = Some(format!("{url}/orders").parse().unwrap());

    let report = examine(&service, behind).await;

    assert_eq!(report.failed(), Vec::<&str>::new());
    assert_eq!(
        report.skipped(),
        ids_with(&[Needs::Network, Needs::Authorizer])
    );
    assert_eq!(*kept.lock().unwrap(), Vec::<String>::new());
}

/// Answers a request as API Gateway does with the authorizer's answer.
async fn guarded(State(authorizer): State<Arc<Authorizer>>, request: Request) -> StatusCode {
    let values = request.headers().get_all(header::AUTHORIZATION).iter();
    let values: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
    if values.is_empty() {
        return StatusCode::UNAUTHORIZED;
    }
    let mut event: Value = serde_json::from_str(crate::authorizer::EVENT).unwrap();
    event["headers"]["authorization"] = values.join(",").into();
    event["identitySource"] = json!([values.join(",")]);
    match authorizer.authorize(&event).await {
        Ok(answer) if answer.is_authorized => StatusCode::OK,
        Ok(_) => StatusCode::FORBIDDEN,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[tokio::test]
async fn t181_the_doctor_tells_an_authorizer_from_an_open_and_from_a_closed_route() {
    let service = Service::start().await;
    let mut running = JoinSet::new();
    let authorizer = authorizer_of(&service, &[]).await;
    let routes = Router::new()
        .route("/orders", get(guarded))
        .with_state(Arc::new(authorizer));
    let open = Router::new().route("/orders", get(async || StatusCode::OK));
    let closed = Router::new().route("/orders", get(async || StatusCode::FORBIDDEN));
    for (routes, failed) in [
        (routes, vec![]),
        (open, vec!["authorizer.refuses"]),
        (closed, vec!["authorizer.admits"]),
    ] {
        let url = serve(&mut running, routes).await;
        let mut target = target(&service);
        target.authorizer_url = Some(format!("{url}/orders").parse().unwrap());

        let report = examine(&service, target).await;

        assert_eq!(report.failed(), failed, "{}", written(&report, false));
        assert_eq!(report.skipped(), ids_with(&[Needs::Network]));
    }
}

/// Returns the tokens of the provider.
fn secrets_of(target: &Target) -> Vec<String> {
    let tokens = target.subject.as_ref().unwrap().tokens.iter();
    tokens
        .map(|token| token.expose_secret().to_owned())
        .collect()
}

/// Answers each request with its own headers and body.
async fn echo(request: Request) -> impl IntoResponse {
    let headers = format!("{:?}", request.headers().get(header::AUTHORIZATION));
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization
        .map_or("", |value| value.to_str().unwrap())
        .to_owned();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX)
        .await
        .unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let said = format!("{headers} {authorization} {body}\u{1b}[31m");
    let body = json!({ "error": "invalid_request", "error_description": said });
    (StatusCode::BAD_REQUEST, axum::Json(body))
}

#[tokio::test]
async fn t182_no_secret_of_a_run_is_shown_whatever_a_server_answers() {
    let service = Service::start().await;
    let mut running = JoinSet::new();
    let url = serve(&mut running, Router::new().fallback(echo)).await;
    let mut target = target(&service);
    target.url = url.parse().unwrap();
    let secrets = secrets_of(&target);

    let report = examine(&service, target).await;

    assert!(report.failed().len() > 10, "{:?}", report.failed());
    for text in [written(&report, false), written(&report, true)] {
        for secret in secrets
            .iter()
            .map(String::as_str)
            .chain([CLIENT.1, OTHER_CLIENT.1])
        {
            assert!(!text.contains(secret), "{secret} is in\n{text}");
        }
        // `Authorization: Basic` of the client, and of what a wrong secret has more or less.
        let basic = STANDARD.encode(format!("{}:CANAR", CLIENT.0));
        assert!(!text.contains(&basic), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

/// Answers each request with these tokens, with the subject token as the user, and with texts that steer a terminal.
async fn hostile(access: String, refresh: &'static str, body: String) -> axum::Json<Value> {
    let form = reqwest::Url::parse(&format!("http://localhost/?{body}")).unwrap();
    let subject = form.query_pairs().find(|(name, _)| name == "subject_token");
    let key = json!({ "kid": "\u{1b}[31m", "d": 1 });
    axum::Json(json!({
        "access_token": access,
        "refresh_token": refresh,
        "expires_in": u64::MAX,
        "is_new_user": true,
        "user": { "id": subject.map_or("\u{1b}[31m".into(), |(_, token)| token) },
        "issuer": "\u{1b}[2J",
        "keys": [key, key],
        "error_description": body,
    }))
}

#[tokio::test]
async fn t182_a_hostile_answer_stops_no_run_and_reaches_no_terminal() {
    let service = Service::start().await;
    let mut running = JoinSet::new();
    let of = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let late = of(&json!({ "exp": u64::MAX, "iat": u64::MAX }).to_string());
    for (access, refresh) in [
        (format!("{}.{}.", of("{}"), of("{}")), "cbr_refreshtoken"),
        (format!("{}.{}.AA", of("[]"), of("{}")), "cbr_refreshtoken"),
        (format!("{}.{}.AA", of("{}"), of("1")), "cbr_refreshtoken"),
        (format!("{}.{late}.AA", of("{}")), "cbr_refreshtoken"),
        ("a".to_owned(), "r"),
    ] {
        let answer = access.clone();
        let answer = async move |body: String| hostile(answer, refresh, body).await;
        let url = serve(&mut running, Router::new().fallback(answer)).await;
        let mut target = target(&service);
        target.url = url.parse().unwrap();
        target.wait = Duration::MAX;
        let secrets = secrets_of(&target);

        let report = examine(&service, target).await;

        assert!(report.failed().contains(&"keys.set"), "{access}");
        for text in [written(&report, false), written(&report, true)] {
            for secret in &secrets {
                assert!(!text.contains(secret), "{secret} is in\n{text}");
            }
            // Copies of the refresh token with one other character are no less secret.
            assert!(!text.contains("refresh_token=cbr_"), "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }
}

#[tokio::test]
async fn a_slow_check_of_tls_is_no_wrong_clock() {
    let mut running = JoinSet::new();
    let late = Arc::new(AtomicU64::new(0));
    let (document, requests) = (late.clone(), Arc::new(AtomicU64::new(0)));
    let document = get(move || {
        // The second request is that of the check.
        if requests.fetch_add(1, Ordering::SeqCst) == 1 {
            document.store(60, Ordering::SeqCst);
        }
        std::future::ready(axum::Json(json!({ "issuer": ISSUER })))
    });
    let router = Router::new().route("/.well-known/openid-configuration", document);
    let url = remote(&serve(&mut running, router).await);
    let system = Clock::system();
    let clock = Clock::new(move || system.now() + late.load(Ordering::SeqCst));
    let doctor = Doctor::new(Target::new(url.parse().unwrap())).with_clock(clock);

    let report = doctor.examine().await.unwrap();

    let skew = report.outcome("clock.skew");
    assert!(matches!(skew, Some(Outcome::Passed(_))), "{skew:?}");
}

#[tokio::test]
async fn t182_the_doctor_follows_no_redirect_and_sends_a_bounded_number_of_requests() {
    let service = Service::start().await;
    let mut running = JoinSet::new();
    let elsewhere = tests::proxy::Proxy::start(&service.url).await;
    let to = elsewhere.url();
    let redirect = move |request: Request| {
        let to = format!("{to}{}", request.uri());
        std::future::ready(Redirect::temporary(&to))
    };
    let url = serve(&mut running, Router::new().fallback(redirect)).await;
    let mut redirected = target(&service);
    redirected.url = url.parse().unwrap();

    let report = examine(&service, redirected).await;

    assert!(report.failed().contains(&"discovery.documents"));
    assert!(elsewhere.calls().is_empty());

    // A server that is overloaded is not loaded further: each request is repeated a few times at most.
    let busy = Router::new().fallback(async || {
        let retry_after = [(header::RETRY_AFTER, "1")];
        (StatusCode::TOO_MANY_REQUESTS, retry_after, "{}")
    });
    let busy = tests::proxy::Proxy::start(&serve(&mut running, busy).await).await;
    let mut overloaded = target(&service);
    overloaded.url = busy.url().parse().unwrap();

    let report = examine(&service, overloaded).await;

    assert!(!report.failed().is_empty());
    assert!(busy.calls().len() <= MAX_REQUESTS, "{}", busy.calls().len());
    assert_eq!(
        report.outcome("limits.retry-after"),
        Some(&Outcome::Passed(format!(
            "{} throttled answers",
            busy.calls().len()
        )))
    );
}

#[tokio::test]
async fn t182_the_doctor_reads_no_more_of_an_answer_than_a_mebibyte() {
    let service = Service::start().await;
    let mut running = JoinSet::new();
    let mut described = Vec::new();
    for spaces in [1024 * 1024 - 2, 1024 * 1024 - 1] {
        let routes = Router::new().fallback(async move || format!("{{{}}}", " ".repeat(spaces)));
        let mut target = target(&service);
        target.url = serve(&mut running, routes).await.parse().unwrap();
        let report = examine(&service, target).await;
        described.push(format!("{:?}", report.outcome("discovery.documents")));
    }

    let refused = "the answer has more than 1048576 bytes";
    assert!(!described[0].contains(refused), "{}", described[0]);
    assert!(described[1].contains(refused), "{}", described[1]);
}

#[test]
fn t182_no_option_takes_a_secret() {
    let parse = |arguments: &[&str]| {
        let before = ["cambio-admin", "doctor", "https://api.example.com"];
        Cli::try_parse_from([&before, arguments].concat())
    };
    assert!(parse(&["--client", "nextjs"]).is_err());
    assert!(parse(&["--subject-token-env", "TOKEN"]).is_err());
    let cli = parse(&["--client", "nextjs", "--secret-env", "SECRET"]).unwrap();
    let Command::Doctor(arguments) = cli.command else {
        panic!("another command");
    };
    let url = arguments.url.clone().unwrap();
    let none = Environment::of::<String, String>([]);
    let error = arguments.target(url.clone(), &none).unwrap_err();
    assert!(matches!(error, DoctorError::NoSecret(name) if name == "SECRET"));
    let env = Environment::of([("SECRET", "a secret")]);
    assert!(arguments.target(url, &env).unwrap().client.is_some());
}

/// The functions that have transactions.
const WITH_TRANSACTIONS: [&str; 4] = ["token-exchange", "me", "identities", "rotate-keys"];

async fn examine_iam(service: &Service, function: &str) -> Vec<Called> {
    let tables = Tables {
        table: service.table(TABLE),
        keys_table: service.table(KEYS_TABLE),
    };
    iam::examine(&service.client(), &tables, function).await
}

#[tokio::test]
async fn t181_under_a_role_that_allows_it_each_call_fails_its_condition_and_writes_nothing() {
    let service = Service::start().await;
    service.sign_in("octocat").await;
    let before = [service.scan(TABLE), service.scan(KEYS_TABLE)];

    for function in [
        "token-exchange",
        "revoke",
        "introspect",
        "me",
        "sessions",
        "identities",
        "discovery",
        "authorizer",
        "rotate-keys",
    ] {
        let called = examine_iam(&service, function).await;

        assert!(!called.is_empty(), "{function}");
        for call in &called {
            assert!(call.is_allowed(), "{call:?}");
            let writes = ["Put", "Update", "Delete", "Transact"].iter();
            let is_write = { writes }.any(|verb| call.call.starts_with(verb));
            let wanted = if is_write {
                "the condition failed"
            } else {
                "an answer"
            };
            assert_eq!(
                call.verdict,
                Verdict::Allowed(wanted.to_owned()),
                "{call:?}"
            );
        }
        let has = called.iter().any(|call| call.call.starts_with("Transact"));
        assert_eq!(has, WITH_TRANSACTIONS.contains(&function), "{function}");
    }

    assert!([service.scan(TABLE), service.scan(KEYS_TABLE)] == before);
}

#[tokio::test]
async fn t181_a_transaction_that_iam_denies_is_told_from_a_failed_condition_and_from_a_failure() {
    let service = Service::start().await;
    let denied = Reply::new(
        StatusCode::BAD_REQUEST,
        json!({
            "__type": "com.amazon.coral.service#AccessDeniedException",
            "Message": "User: a is not authorized to perform: dynamodb:PutItem",
        })
        .to_string(),
    );
    let transactions = When::Operation("TransactWriteItems");
    service.dynamodb.fault(transactions, Fault::Answer(denied));

    for function in WITH_TRANSACTIONS {
        for call in examine_iam(&service, function).await {
            let is_denied =
                matches!(&call.verdict, Verdict::Denied(why) if why.contains("PutItem"));
            assert_eq!(is_denied, call.call.starts_with("Transact"), "{call:?}");
            assert_eq!(call.is_allowed(), !is_denied, "{call:?}");
        }
    }

    service.dynamodb.heal();
    let missing = Reply::new(
        StatusCode::BAD_REQUEST,
        json!({ "__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException" })
            .to_string(),
    );
    service.dynamodb.fault(transactions, Fault::Answer(missing));
    let called = examine_iam(&service, "me").await;
    let unclear = called
        .iter()
        .filter(|call| matches!(call.verdict, Verdict::Unclear(_)));
    assert_eq!(unclear.count(), 1, "{called:?}");
}
