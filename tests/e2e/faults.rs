//! Each route that reads or writes users and sessions, with each fault at each of its calls to DynamoDB.

use std::{sync::Arc, time::Instant};

use reqwest::{RequestBuilder, StatusCode};
use serde_json::json;
use tests::{
    Answer, CLIENT, Service,
    opaque::{self, Opaque},
    proxy::{Fault, When},
};
use tokio::{sync::Semaphore, task::JoinSet};

#[derive(Clone, Copy, Debug)]
enum Case {
    FirstSignIn,
    Returning,
    Refresh,
    Revoke,
    IntrospectAccessToken,
    IntrospectRefreshToken,
    Me,
    EditMe,
    DeleteMe,
    ListSessions,
    EndSession,
    EndSessions,
    ListIdentities,
    Link,
    Unlink,
}

impl Case {
    /// The routes, each with the number of its calls.
    const ALL: [(Self, usize); 15] = [
        (Self::FirstSignIn, 2),
        (Self::Returning, 3),
        (Self::Refresh, 2),
        (Self::Revoke, 1),
        (Self::IntrospectAccessToken, 1),
        (Self::IntrospectRefreshToken, 2),
        (Self::Me, 1),
        (Self::EditMe, 2),
        (Self::DeleteMe, 4),
        (Self::ListSessions, 2),
        (Self::EndSession, 1),
        (Self::EndSessions, 1),
        (Self::ListIdentities, 1),
        (Self::Link, 3),
        (Self::Unlink, 2),
    ];

    /// The number of the call that is a transaction, if any.
    fn transaction(self) -> Option<usize> {
        match self {
            Self::FirstSignIn | Self::DeleteMe | Self::Unlink => Some(2),
            // The attempt is counted before.
            Self::Link => Some(3),
            _ => None,
        }
    }

    fn introspects(self) -> bool {
        matches!(
            self,
            Self::IntrospectAccessToken | Self::IntrospectRefreshToken
        )
    }
}

/// The request with which the client that owns `token` asks about it.
fn introspection(service: &Service, token: &str) -> RequestBuilder {
    let request = service.request("POST", "/introspect");
    request
        .basic_auth(CLIENT.0, Some(CLIENT.1))
        .form(&[("token", token)])
}

/// Checks the stored result of the case, regardless of the answers.
fn check_done(case: Case, service: &Service, what: &str) {
    let (users, sessions) = (service.users(), service.sessions());
    match case {
        Case::DeleteMe => assert!(service.items().is_empty(), "{what}"),
        // However it went, the token moved on by one.
        Case::Refresh => assert_eq!(sessions[0]["generation"]["N"], "1", "{what}"),
        Case::Revoke | Case::EndSession => {
            assert!(sessions[0]["ended_at"].is_object(), "{what}");
        }
        Case::EndSessions => assert_eq!(users[0]["session_version"]["N"], "1", "{what}"),
        Case::EditMe => assert_eq!(users[0]["revision"]["N"], "1", "{what}"),
        Case::Link => assert_eq!(service.items_of("IDENTITY#").len(), 2, "{what}"),
        Case::Unlink => {
            let mut identities = service.items_of("IDENTITY#");
            identities.retain(|item| item["released_by"].is_null());
            assert_eq!(identities.len(), 1, "{what}");
        }
        Case::FirstSignIn
        | Case::Returning
        | Case::IntrospectAccessToken
        | Case::IntrospectRefreshToken
        | Case::Me
        | Case::ListSessions
        | Case::ListIdentities => {
            assert_eq!(users.len(), 1, "{what}");
        }
    }
}

fn assert_unavailable(answer: &Answer, what: &str) {
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{what}: {:?}",
        answer.body
    );
    assert!(!answer.header("retry-after").is_empty(), "{what}");
    let code = [answer.text("/error"), answer.text("/type")].concat();
    assert!(code.ends_with("temporarily_unavailable"), "{what}: {code}");
}

/// Injects a fault at the `nth` call and asserts a success or a 503, that a repetition succeeds, and the invariants
/// at each step. Returns whether the SDK's retry hid the fault.
async fn heals(case: Case, nth: usize, name: &str, fault: Fault, stays: bool) -> bool {
    let what = format!("{case:?}, call {nth}, {name}, stays: {stays}");
    let others = Opaque::start().await;
    let service = Service::start_with(&[("OAUTH_PROVIDERS", &others.settings())]).await;
    let signed_in = match case {
        Case::FirstSignIn => None,
        _ => Some(service.sign_in("octocat").await),
    };
    let issued = |pointer| {
        let token = signed_in.as_ref().map(|answer| answer.text(pointer));
        token.unwrap_or_default().to_owned()
    };
    let (token, refresh_token) = (issued("/access_token"), issued("/refresh_token"));
    let session = match &signed_in {
        None => String::new(),
        Some(_) => service.verify(&token).await.sid.to_string(),
    };
    let session_path = format!("/me/sessions/{session}");
    let github_token = service.github_token("octocat");
    let discord_token = format!("{}~ada~identify", opaque::APP);
    if matches!(case, Case::Unlink) {
        let linked = service.link(&token, "discord", &discord_token).await;
        assert_eq!(linked.status, StatusCode::OK, "{what}: {:?}", linked.body);
    }
    let request = async || match case {
        Case::FirstSignIn | Case::Returning => service.exchange(&github_token).await,
        Case::Refresh => service.refresh(&refresh_token).await,
        Case::Revoke => service.revoke(&refresh_token).await,
        Case::IntrospectAccessToken => service.send(introspection(&service, &token)).await,
        Case::IntrospectRefreshToken => service.send(introspection(&service, &refresh_token)).await,
        Case::Me => service.me(&token).await,
        Case::EditMe => service.patch_me(&token, &json!({ "name": "Mona" })).await,
        Case::DeleteMe => service.delete_as_user(&token, "/me").await,
        Case::ListSessions => service.my_sessions(&token).await,
        Case::EndSession => service.delete_as_user(&token, &session_path).await,
        Case::EndSessions => service.delete_as_user(&token, "/me/sessions").await,
        Case::ListIdentities => {
            let path = "/me/identities";
            service.send(service.as_user(&token, "GET", path)).await
        }
        Case::Link => service.link(&token, "discord", &discord_token).await,
        Case::Unlink => {
            let path = "/me/identities/discord";
            service.delete_as_user(&token, path).await
        }
    };
    service.dynamodb.clear();
    if stays {
        // From the n-th call on, retries included.
        for later in nth..nth + 10 {
            service.dynamodb.fault(When::Nth(later), fault.clone());
        }
    } else {
        service.dynamodb.fault(When::Nth(nth), fault);
    }

    let started = Instant::now();
    let answer = request().await;
    // No measure of speed: a function that takes 10 s is killed.
    assert!(started.elapsed().as_secs() < 10, "{what}");
    if !answer.status.is_success() {
        assert_unavailable(&answer, &what);
    } else if case.introspects() {
        // A fault never makes a live token look inactive.
        assert_eq!(answer.body["active"], true, "{what}");
    }
    // Each operation is tried thrice at most, and one that meets transactions for as long as the request has time.
    let is_conflict = matches!(name, "conflict" | "TransactionConflictException");
    let calls = service.dynamodb.calls().len();
    assert!(is_conflict || calls < nth + 3 * 2, "{what}: {calls} calls");
    service.dynamodb.heal();
    service.dynamodb.settled().await;
    service.check_invariants();

    let mut again = request().await;
    // GitHub and DynamoDB are well again, but this machine may be busy with other tests.
    for _ in 0..10 {
        if again.status == StatusCode::SERVICE_UNAVAILABLE {
            again = request().await;
        }
    }
    assert!(again.status.is_success(), "{what}: {:?}", again.body);
    service.check_invariants();
    check_done(case, &service, &what);
    if case.introspects() {
        assert_eq!(again.body["active"], true, "{what}");
    }
    if matches!(case, Case::Refresh) {
        // The session of the result can be refreshed.
        let next = service.refresh(again.text("/refresh_token")).await;
        assert_eq!(next.status, StatusCode::OK, "{what}: {:?}", next.body);
    }
    answer.status.is_success()
}

/// A transient fault is hidden by a retry; a permanent one is not.
async fn run(case: Case, nth: usize, name: &'static str, fault: Fault, stays: bool) {
    for _ in 0..3 {
        if heals(case, nth, name, fault.clone(), stays).await || stays {
            return;
        }
        // On a busy machine, the retry itself can come too late.
    }
    panic!("no retry healed {case:?}, call {nth}, {name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t70_every_call_survives_every_fault() {
    let mut count = 0;
    let mut runs = JoinSet::new();
    // Many of them only wait, but too many at once would make honest calls time out.
    let turns = Arc::new(Semaphore::new(6));
    for (case, calls) in Case::ALL {
        for nth in 1..=calls {
            let mut faults = Fault::of_dynamodb();
            let conflict = Fault::transaction_canceled(&["TransactionConflict", "None"]);
            let throttled = Fault::transaction_canceled(&["ThrottlingError", "None"]);
            if case.transaction() == Some(nth) {
                faults.extend([("conflict", conflict), ("throttled", throttled)]);
            }
            for (name, fault) in faults {
                for stays in [false, true] {
                    let turn = turns.clone().acquire_owned().await.unwrap();
                    let fault = fault.clone();
                    count += 1;
                    runs.spawn(async move {
                        run(case, nth, name, fault, stays).await;
                        drop(turn);
                    });
                }
            }
        }
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
    println!("{count} cases");
    assert!(count > 300);
}

#[tokio::test]
async fn t72_the_retry_of_a_committed_write_is_not_a_second_write() {
    let service = Service::start().await;
    service
        .dynamodb
        .fault(When::Nth(2), Fault::ResetAfterForwarding);

    let answer = service.sign_in("octocat").await;

    assert_eq!(answer.body["is_new_user"], true);
    assert_eq!(service.items().len(), 3);
    service.check_invariants();
}
