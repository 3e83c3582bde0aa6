//! Processes that are frozen (SIGSTOP), as Lambda freezes them between requests, while their connections are lost.

use std::time::Duration;

use reqwest::{RequestBuilder, header::RETRY_AFTER};
use serde_json::json;
use shared::config::Environment;
use tests::{CLIENT, proxy::Loss};
use tokio::{task::JoinSet, time::sleep};

use super::{ID_TOKEN, JWT, Scene, other_issuer};

/// Longer than an idle connection stays in a pool.
const LONG: Duration = Duration::from_secs(22);
/// Short enough that every connection is used again.
const SHORT: Duration = Duration::from_secs(2);
/// The variable with another pause, in seconds, instead of both. The sign-ins of the test are valid for four minutes.
const PAUSE: &str = "CAMBIO_TEST_FREEZE";

/// The requests that one function gets, one after the other.
type Requests = Vec<(&'static str, RequestBuilder)>;

impl Scene {
    /// Returns requests for each function, one after the other. Each succeeds if the peers can be reached.
    async fn requests(&self, issuer: &str) -> Vec<Requests> {
        let user = self.sign_in(self.stranger_of(issuer)).await;
        let token = &*user.access_token;
        let (leaving, stranger) = (self.user().await, self.stranger_of(issuer));
        let github_token = self.service.github_token(&user.login);
        vec![
            vec![
                ("a sign-in with GitHub", self.exchange(&github_token)),
                (
                    "a sign-in with an ID token",
                    self.exchange_of(&stranger.id_token, ID_TOKEN),
                ),
                (
                    "a vouched sign-in",
                    self.exchange_of(&stranger.vouched, JWT),
                ),
                ("a refresh", self.refresh(&user.refresh_token)),
            ],
            vec![("GET /me", self.get(token, "/me"))],
            vec![("GET /me/sessions", self.get(token, "/me/sessions"))],
            vec![
                ("GET /me/identities", self.get(token, "/me/identities")),
                ("POST /me/identities", self.link(&user)),
            ],
            vec![("an introspection", self.introspection(token))],
            vec![(
                "a revocation",
                self.service.revocation(CLIENT, &leaving.refresh_token),
            )],
            vec![("an authorization", self.authorization(token))],
            vec![(
                "a run of the schedule",
                self.event("rotate-keys", &json!({})),
            )],
        ]
    }
}

/// Returns the times for which processes are frozen.
fn pauses() -> Vec<Duration> {
    let Some(seconds) = Environment::process().optional(PAUSE) else {
        return vec![SHORT, LONG];
    };
    let pause = seconds
        .parse()
        .ok()
        .filter(|pause| (1..=200).contains(pause));
    let Some(pause) = pause else {
        panic!("{PAUSE} is {seconds:?}: set it to a number of seconds from 1 to 200");
    };
    vec![Duration::from_secs(pause)]
}

/// Sends the requests. Returns those that failed and succeeded when they were repeated.
///
/// # Panics
/// A request fails twice in a row.
async fn send(requests: Requests, what: String) -> Vec<String> {
    let mut failed = Vec::new();
    for (name, request) in requests {
        let again = request.try_clone().unwrap();
        let answer = request.send().await.unwrap();
        if answer.status().is_success() {
            continue;
        }
        failed.push(format!("{what}: {name}: {}", answer.status()));
        let wait = answer.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        sleep(Duration::from_secs(wait.unwrap_or_default())).await;
        let answer = again.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(
            status.is_success(),
            "{what}: {name} fails twice: {status} {text}"
        );
    }
    failed
}

/// Freezes each function after it has served, loses all of its connections, and lets it go on with the next requests.
async fn play(loss: Loss, pause: Duration) -> Vec<String> {
    let what = format!("{loss:?}, {pause:?}");
    let scene = Scene::start(&format!("freeze-{loss:?}-{}", pause.as_secs())).await;
    for requests in scene.requests(&scene.issuer.url).await {
        // A busy machine may make one of them fail.
        send(requests, what.clone()).await;
    }
    // Each function has to read the keys of the other issuer, over the connection to the first one.
    let other = other_issuer(&scene.issuer);
    let keys = format!("{}/keys", scene.issuer.url);
    let discovery = json!({ "issuer": other, "jwks_uri": keys });
    scene.issuer.publish(|it| it.discovery = discovery);
    let requests = scene.requests(&other).await;

    let frozen = scene.functions.freeze();
    assert_eq!(frozen, requests.len(), "{what}");
    for proxy in [
        &scene.service.dynamodb,
        &scene.service.github,
        &scene.issuer.proxy,
    ] {
        proxy.clear();
        proxy.lose_connections(loss);
    }
    // Each event waits for its function, as after a pause at Lambda.
    let mut sending = JoinSet::new();
    for requests in requests {
        sending.spawn(send(requests, what.clone()));
    }
    sleep(pause).await;
    assert!(scene.service.dynamodb.calls().is_empty(), "{what}");
    assert_eq!(scene.functions.thaw(), frozen, "{what}");
    let failed = sending.join_all().await.concat();

    scene.service.check_invariants();
    scene.check_logs();
    failed
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binaries of the functions, which make test-release builds"]
async fn t103_a_frozen_process_whose_connections_are_lost_fails_no_request_twice() {
    let mut playing = JoinSet::new();
    for loss in [Loss::Closed, Loss::Reset, Loss::Silent] {
        for pause in pauses() {
            playing.spawn(async move { (loss, pause, play(loss, pause).await) });
        }
    }
    while let Some(played) = playing.join_next().await {
        let (loss, pause, failed) = played.unwrap();
        println!(
            "{loss:?} during {pause:?}: {} failed once: {failed:?}",
            failed.len()
        );
    }
}
