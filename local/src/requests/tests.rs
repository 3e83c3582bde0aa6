use std::io;

use reqwest::{Method, StatusCode};
use tracing::{debug_span, info, info_span, subscriber::DefaultGuard};

use super::*;
use crate::scene::{Scene, listen};

/// Returns method, route, status and operations of each request, the oldest first.
fn story(requests: &RequestLog) -> Vec<(String, u64, Vec<&'static str>)> {
    let latest = requests.latest();
    let line = |request: &Answered| {
        let calls = request.calls.iter().map(|call| call.operation);
        let request_line = format!("{} {}", request.method, request.route);
        (request_line, request.status, calls.collect())
    };
    latest.iter().rev().map(line).collect()
}

/// Answers like a route, with one operation inside of unrelated spans.
fn answer(route: &str) {
    let request = info_span!(
        target: "shared::http::surface",
        "request",
        function = "me",
        route,
        method = "GET",
    );
    let _request = request.entered();
    debug_span!("between").in_scope(|| {
        debug_span!("DynamoDB.GetItem").in_scope(|| debug_span!("try_attempt").in_scope(|| {}));
    });
    info!(target: "shared::request", status = 200_u64, ms = 0.005);
}

#[tokio::test]
async fn each_request_is_known_with_its_dynamodb_calls() {
    let scene = Scene::start().await;

    let (access_token, refresh_token) = scene.sign_in("octocat").await;
    scene.sign_in("octocat").await;
    let me = scene.app.call(Method::GET, "/me", &access_token).await;
    assert_eq!(me.unwrap().status, StatusCode::OK);
    scene.app.refresh(&refresh_token).await.unwrap();
    scene.app.call(Method::GET, "/me", "made up").await.unwrap();

    let told = story(&scene.requests);
    let told: Vec<_> = told
        .iter()
        .map(|(request, status, calls)| (request.as_str(), *status, calls.as_slice()))
        .collect();
    assert_eq!(
        told,
        [
            (
                "POST /token",
                200,
                &["GetItem", "TransactWriteItems"] as &[_]
            ),
            // The identity; the user and the session; the profile and the session.
            (
                "POST /token",
                200,
                &["GetItem", "GetItem", "GetItem", "UpdateItem", "PutItem"]
            ),
            ("GET /me", 200, &["BatchGetItem"]),
            ("POST /token", 200, &["UpdateItem", "GetItem"]),
            ("GET /me", 401, &[]),
        ]
    );
}

#[tokio::test]
async fn the_two_calls_of_a_refresh_overlap_and_lie_within_the_request() {
    let scene = Scene::start().await;
    let (_, refresh_token) = scene.sign_in("octocat").await;

    scene.app.refresh(&refresh_token).await.unwrap();

    let refresh = scene.requests.latest().remove(0);
    let [first, second] = refresh.calls.as_slice() else {
        panic!("{refresh:?}");
    };
    assert!(
        second.started_us <= first.started_us + first.duration_us,
        "{refresh:?}"
    );
}

#[tokio::test]
async fn requests_in_parallel_keep_their_calls_apart() {
    let scene = Scene::start().await;
    let (access_token, refresh_token) = scene.sign_in("octocat").await;
    let hubot = scene.github_token("hubot").await;

    let me = || scene.app.call(Method::GET, "/me", &access_token);
    let list = || scene.app.call(Method::GET, "/me/sessions", &access_token);
    let (_, _, _, _, _) = tokio::join!(
        me(),
        scene.app.refresh(&refresh_token),
        list(),
        scene.app.exchange(&hubot, None),
        me(),
    );

    let mut told = story(&scene.requests);
    told.remove(0);
    for (_, status, calls) in &mut told {
        assert_eq!(*status, 200);
        calls.sort_unstable();
    }
    told.sort();
    let told: Vec<_> = told
        .iter()
        .map(|(request, _, calls)| (request.as_str(), calls.as_slice()))
        .collect();
    assert_eq!(
        told,
        [
            ("GET /me", &["BatchGetItem"] as &[_]),
            ("GET /me", &["BatchGetItem"]),
            ("GET /me/sessions", &["GetItem", "Query"]),
            ("POST /token", &["GetItem", "TransactWriteItems"]),
            ("POST /token", &["GetItem", "UpdateItem"]),
        ]
    );
}

#[tokio::test]
async fn only_routes_names_and_durations_are_kept() {
    let scene = Scene::start().await;
    let (access_token, refresh_token) = scene.sign_in("octocat").await;
    let session = "AAAAAAAAAAAAAAAAAAAAAA";

    let path = format!("/me/sessions/{session}?note=CANARY");
    let ended = scene.app.call(Method::DELETE, &path, &access_token).await;
    assert_eq!(ended.unwrap().status, StatusCode::NOT_FOUND);

    let kept = serde_json::to_string(&scene.requests.latest()).unwrap();
    assert!(kept.contains("/me/sessions/{session_id}"), "{kept}");
    for secret in [
        access_token.as_str(),
        &refresh_token,
        session,
        "CANARY",
        "gho_",
        "octocat",
    ] {
        assert!(!kept.contains(secret), "{secret} in {kept}");
    }
}

#[test]
fn the_oldest_request_makes_room() {
    let requests = RequestLog::new(Clock::new(|| 7));
    let _listening = listen(&requests, Level::INFO, io::sink);

    for _ in 0..KEPT + 3 {
        answer("/me");
    }

    let latest = requests.latest();
    assert_eq!(latest.len(), KEPT);
    assert_eq!(latest[0].number, 53);
    assert_eq!(latest[KEPT - 1].number, 4);
    assert_eq!(latest[0].at, 7);
    assert_eq!(latest[0].calls.len(), 1);
}

/// Returns the lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_is_what_it_is_without_a_listener() {
    let logged = |subscriber: &dyn Fn(Lines) -> DefaultGuard| {
        let lines = Lines::default();
        let listening = subscriber(lines.clone());
        answer("/me");
        drop(listening);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["timestamp"].take();
                line
            })
            .collect::<Vec<_>>()
    };

    for level in [Level::ERROR, Level::INFO, Level::TRACE] {
        let without = logged(&|lines| {
            let writer = move || lines.clone();
            let subscriber = telemetry::subscriber(level, &crate::CRATES, writer);
            tracing::subscriber::set_default(subscriber)
        });
        let requests = RequestLog::new(Clock::system());
        let with = logged(&|lines| listen(&requests, level, move || lines.clone()));

        assert_eq!(with, without, "at {level}");
        assert_eq!(requests.latest().len(), 1, "at {level}");
    }
}
