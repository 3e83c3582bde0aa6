//! Each route with its process killed (SIGKILL) before, during and after each of its calls, and at its answer.

use std::{future::pending, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::{
    Answer, CLIENT, ISSUER,
    proxy::{Call, Fault, Proxy, When},
    refresh_of, settle,
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{ASSERTION_TYPE, ID_TOKEN, JWT, Person, Scene};
use crate::rotation::{check_keys, forget_all_keys};

/// The time after which a call that was on its way at the kill arrives: the client has repeated its request.
const LATE: Duration = Duration::from_secs(2);
/// The number of routes that run at the same time.
const AT_ONCE: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    FirstSignIn,
    FirstSignInWithIdToken,
    FirstVouchedSignIn,
    Returning,
    Refresh,
    RefreshWithClientKey,
    Revoke,
    IntrospectAccessToken,
    IntrospectRefreshToken,
    Me,
    EditMe,
    DeleteMe,
    ListSessions,
    EndSession,
    EndOtherSessions,
    EndSessions,
    ListIdentities,
    Link,
    Unlink,
    Discover,
    Authorize,
    FirstKeys,
    RotateKeys,
    RevokeKey,
}

/// A peer of the functions.
#[derive(Clone, Copy, Debug)]
enum Peer {
    DynamoDb,
    GitHub,
    Issuer,
}

/// The moment at which the process is killed.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// The call to this peer with this number has been sent, and never arrives.
    Before(Peer, usize),
    /// The call has taken effect, and its answer is lost.
    After(Peer, usize),
    /// The call to DynamoDB with this number arrives after the client has repeated its request.
    During(usize),
    /// All work is done, and the answer to the client is lost.
    AtTheAnswer,
}

/// The routes, each with its calls to DynamoDB, to GitHub and to the issuer, those of a cold start included.
const CASES: [(Case, [usize; 3]); 24] = [
    (Case::FirstSignIn, [5, 3, 0]),
    (Case::FirstSignInWithIdToken, [5, 0, 2]),
    (Case::FirstVouchedSignIn, [6, 0, 0]),
    (Case::Returning, [8, 3, 0]),
    (Case::Refresh, [5, 0, 0]),
    (Case::RefreshWithClientKey, [6, 0, 0]),
    (Case::Revoke, [2, 0, 0]),
    (Case::IntrospectAccessToken, [2, 0, 0]),
    (Case::IntrospectRefreshToken, [3, 0, 0]),
    (Case::Me, [2, 0, 0]),
    (Case::EditMe, [3, 0, 0]),
    (Case::DeleteMe, [6, 0, 0]),
    (Case::ListSessions, [3, 0, 0]),
    (Case::EndSession, [3, 0, 0]),
    (Case::EndOtherSessions, [3, 0, 0]),
    (Case::EndSessions, [3, 0, 0]),
    (Case::ListIdentities, [2, 0, 0]),
    (Case::Link, [4, 0, 2]),
    (Case::Unlink, [3, 0, 0]),
    (Case::Discover, [1, 0, 0]),
    (Case::Authorize, [2, 0, 0]),
    (Case::FirstKeys, [2, 0, 0]),
    (Case::RotateKeys, [4, 0, 0]),
    (Case::RevokeKey, [4, 0, 0]),
];

impl Peer {
    const ALL: [Self; 3] = [Self::DynamoDb, Self::GitHub, Self::Issuer];
}

impl Case {
    fn is_first_sign_in(self) -> bool {
        matches!(
            self,
            Self::FirstSignIn | Self::FirstSignInWithIdToken | Self::FirstVouchedSignIn
        )
    }

    fn function(self) -> &'static str {
        match self {
            Self::FirstSignIn
            | Self::FirstSignInWithIdToken
            | Self::FirstVouchedSignIn
            | Self::Returning
            | Self::Refresh
            | Self::RefreshWithClientKey => "token-exchange",
            Self::Revoke => "revoke",
            Self::IntrospectAccessToken | Self::IntrospectRefreshToken => "introspect",
            Self::Me | Self::EditMe | Self::DeleteMe => "me",
            Self::ListSessions | Self::EndSession | Self::EndOtherSessions | Self::EndSessions => {
                "sessions"
            }
            Self::ListIdentities | Self::Link | Self::Unlink => "identities",
            Self::Discover => "discovery",
            Self::Authorize => "authorizer",
            Self::FirstKeys | Self::RotateKeys | Self::RevokeKey => "rotate-keys",
        }
    }
}

/// A person at the start of a case.
struct Start {
    person: Person,
    /// The refresh token of another session of the person.
    other: String,
    /// The path of that session.
    other_path: String,
    /// The `kid` of the key that signs.
    kid: String,
}

impl Scene {
    fn proxy(&self, peer: Peer) -> &Proxy {
        match peer {
            Peer::DynamoDb => &self.service.dynamodb,
            Peer::GitHub => &self.service.github,
            Peer::Issuer => &self.issuer.proxy,
        }
    }

    async fn prepare(&self, case: Case) -> Start {
        let mut kid = String::new();
        if case.function() == "rotate-keys" {
            // The run before has changed the keys.
            forget_all_keys(&self.service);
            settle(self.event("rotate-keys", &json!({}))).await;
            self.functions.kill_all().await;
            kid = self.current_kid().await;
        }
        let mut start = Start {
            person: self.stranger(),
            other: String::new(),
            other_path: String::new(),
            kid,
        };
        if case.is_first_sign_in() {
            return start;
        }
        let person = self.user().await;
        let other = self.service.github_token(&person.login);
        let other = settle(self.exchange(&other)).await;
        other.text("/refresh_token").clone_into(&mut start.other);
        let session = session_of(other.text("/access_token"));
        start.other_path = format!("/me/sessions/{session}");
        if case == Case::Unlink {
            let linked = settle(self.link(&person)).await;
            assert_eq!(linked.status, StatusCode::OK, "{:?}", linked.body);
        }
        if case == Case::FirstKeys {
            forget_all_keys(&self.service);
            self.functions.kill_all().await;
        }
        Start {
            person: Person {
                // A token that was not exchanged yet.
                github_token: self.service.github_token(&person.login),
                ..person
            },
            ..start
        }
    }

    async fn current_kid(&self) -> String {
        let (set, now) = (check_keys(&self.service).await, self.service.time.now());
        set.current(now).unwrap().kid.clone()
    }

    /// Makes the request of a refresh by a client that authenticates with its key, with a new assertion.
    fn refresh_with_client_key(&self, refresh_token: &str) -> RequestBuilder {
        let now = self.service.time.now();
        let assertion = self.key.sign(&json!({
            "iss": CLIENT.0, "sub": CLIENT.0, "aud": ISSUER, "iat": now, "exp": now + 60,
            "jti": uuid::Uuid::new_v4().to_string(),
        }));
        let form = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", &assertion),
        ];
        let form = [&form[..], &refresh_of(refresh_token)].concat();
        self.service.request("POST", "/token").form(&form)
    }

    /// Makes the request of the case as the client sends it each time.
    fn request(&self, case: Case, start: &Start) -> RequestBuilder {
        let person = &start.person;
        let token = &*person.access_token;
        let delete = |path| self.service.as_user(token, "DELETE", path);
        match case {
            Case::FirstSignIn | Case::Returning => self.exchange(&person.github_token),
            Case::FirstSignInWithIdToken => self.exchange_of(&person.id_token, ID_TOKEN),
            Case::FirstVouchedSignIn => self.exchange_of(&person.vouched, JWT),
            Case::Refresh => self.refresh(&person.refresh_token),
            Case::RefreshWithClientKey => self.refresh_with_client_key(&person.refresh_token),
            Case::Revoke => self.service.revocation(CLIENT, &start.other),
            Case::IntrospectAccessToken => self.introspection(token),
            Case::IntrospectRefreshToken => self.introspection(&person.refresh_token),
            Case::Me => self.get(token, "/me"),
            Case::EditMe => {
                let request = self.service.as_user(token, "PATCH", "/me");
                request.json(&json!({ "name": "Mona" }))
            }
            Case::DeleteMe => delete("/me"),
            Case::ListSessions => self.get(token, "/me/sessions"),
            Case::EndSession => delete(&start.other_path),
            Case::EndOtherSessions => delete("/me/sessions?except=current"),
            Case::EndSessions => delete("/me/sessions"),
            Case::ListIdentities => self.get(token, "/me/identities"),
            Case::Link => self.link(person),
            Case::Unlink => delete("/me/identities/acme"),
            Case::Discover => self.service.request("GET", "/.well-known/jwks.json"),
            Case::Authorize => self.authorization(token),
            Case::FirstKeys => self.event("rotate-keys", &json!({})),
            Case::RotateKeys => self.event("rotate-keys", &json!({ "rotate": "now" })),
            Case::RevokeKey => self.event("rotate-keys", &json!({ "revoke": start.kid })),
        }
    }

    /// Kills the process at this moment, repeats the request at a new one, and checks the result. Returns the number
    /// of calls to each peer, and the numbers of the writes.
    async fn kill(&self, case: Case, kill: Kill) -> ([usize; 3], Vec<usize>) {
        let what = format!("{case:?}, {kill:?}");
        let start = self.prepare(case).await;
        let function = case.function();
        self.functions.kill(function).await;
        for peer in Peer::ALL {
            self.proxy(peer).settled().await;
            self.proxy(peer).clear();
        }

        let (peer, number, fault) = match kill {
            Kill::Before(peer, number) => (peer, number, Some(Fault::Hang)),
            Kill::After(peer, number) => (peer, number, Some(Fault::HangAfterForwarding)),
            Kill::During(number) => (Peer::DynamoDb, number, Some(Fault::Delay(LATE))),
            Kill::AtTheAnswer => (Peer::DynamoDb, 0, None),
        };
        let proxy = self.proxy(peer);
        if let Some(fault) = fault {
            proxy.fault(When::Nth(number), fault);
            // The SDK repeats a call of which it hears nothing.
            for later in number + 1..number + 10 {
                proxy.fault(When::Nth(later), Fault::Hang);
            }
        } else {
            self.functions.kill_at_the_answer(function);
        }
        let reached = async {
            match kill {
                Kill::Before(..) | Kill::During(..) => proxy.arrived(number).await,
                Kill::After(..) => proxy.forwarded(number).await,
                Kill::AtTheAnswer => pending().await,
            }
        };
        let mut request = tokio::spawn(self.request(case, &start).send());
        let lost = tokio::select! {
            () = reached => {
                self.functions.kill(function).await;
                request.await
            }
            answer = &mut request => answer,
        };
        let lost = Answer::of(lost.unwrap().unwrap()).await;
        assert_eq!(
            lost.status,
            StatusCode::INTERNAL_SERVER_ERROR,
            "{what}: the process was not killed: {:?}",
            lost.body
        );
        let first_tries = self.service.dynamodb.calls();
        let first_tries: Vec<_> = first_tries.iter().filter(|call| !is_retry(call)).collect();
        let writes = first_tries.iter().filter(|call| call.is_write());
        let writes = writes.map(|call| call.number).collect();
        let calls = Peer::ALL.map(|peer| match peer {
            Peer::DynamoDb => first_tries.len(),
            _ => self.proxy(peer).calls().len(),
        });
        for peer in Peer::ALL {
            self.proxy(peer).heal();
        }
        self.check_invariants(&start.person, &what);

        let answer = settle(self.request(case, &start)).await;
        self.service.dynamodb.settled().await;

        self.check_invariants(&start.person, &what);
        assert!(answer.status.is_success(), "{what}: {:?}", answer.body);
        self.check(case, start, &answer, &what).await;
        (calls, writes)
    }

    /// Checks the outcome of a case for its client.
    async fn check(&self, case: Case, start: Start, answer: &Answer, what: &str) {
        let Start { person, other, .. } = &start;
        let own = &*person.refresh_token;
        let is_going_on = async |tokens: &[&str]| {
            for token in tokens {
                self.goes_on(token, &person.user, what).await;
            }
        };
        match case {
            Case::FirstSignIn | Case::FirstSignInWithIdToken | Case::FirstVouchedSignIn => {
                let user = answer.text("/user/id");
                assert_eq!(self.sessions_of(user).len(), 1, "{what}");
                self.goes_on(answer.text("/refresh_token"), user, what)
                    .await;
            }
            Case::Returning => {
                assert_eq!(answer.text("/user/id"), person.user, "{what}");
                assert_eq!(self.sessions_of(&person.user).len(), 3, "{what}");
                is_going_on(&[answer.text("/refresh_token"), own, other]).await;
            }
            Case::Refresh | Case::RefreshWithClientKey => {
                let sessions = self.sessions_of(&person.user);
                let generations = sessions.iter().map(|item| &item["generation"]["N"]);
                let mut generations: Vec<_> = generations.filter_map(Value::as_str).collect();
                generations.sort_unstable();
                assert_eq!(generations, ["0", "1"], "{what}");
                is_going_on(&[answer.text("/refresh_token"), other]).await;
            }
            Case::Revoke | Case::EndSession | Case::EndOtherSessions => {
                self.has_ended(other, what).await;
                is_going_on(&[own]).await;
            }
            Case::EndSessions => {
                self.has_ended(own, what).await;
                self.has_ended(other, what).await;
                let again = settle(self.exchange(&person.github_token)).await;
                is_going_on(&[again.text("/refresh_token")]).await;
            }
            Case::DeleteMe => {
                self.has_ended(own, what).await;
                self.has_ended(other, what).await;
                let left = Value::from(self.service.items()).to_string();
                assert!(!left.contains(&person.user), "{what}");
                let again = settle(self.exchange(&person.github_token)).await;
                let user = again.text("/user/id");
                assert_ne!(user, person.user, "{what}");
                self.goes_on(again.text("/refresh_token"), user, what).await;
            }
            Case::IntrospectAccessToken | Case::IntrospectRefreshToken => {
                assert_eq!(answer.body["active"], true, "{what}");
                is_going_on(&[own, other]).await;
            }
            Case::EditMe => {
                let me = settle(self.get(&person.access_token, "/me")).await;
                assert_eq!(me.text("/name"), "Mona", "{what}");
                is_going_on(&[own, other]).await;
            }
            Case::Link => {
                let by_other = self.id_token(&person.login, &self.issuer.url);
                let by_other = settle(self.exchange_of(&by_other, ID_TOKEN)).await;
                let user = by_other.text("/user/id");
                assert_eq!(user, person.user, "{what}: {:?}", by_other.body);
                is_going_on(&[by_other.text("/refresh_token"), own, other]).await;
            }
            Case::Unlink => {
                let listed = settle(self.get(&person.access_token, "/me/identities")).await;
                let listed = listed.body["identities"].as_array().unwrap();
                assert_eq!(listed.len(), 1, "{what}: {listed:?}");
                is_going_on(&[own, other]).await;
            }
            Case::Me | Case::ListSessions | Case::ListIdentities => {
                is_going_on(&[own, other]).await;
            }
            Case::Authorize => {
                assert_eq!(answer.body["isAuthorized"], true, "{what}");
                is_going_on(&[own, other]).await;
            }
            Case::Discover => {
                let keys = answer.body["keys"].as_array().unwrap();
                assert_eq!(keys.len(), 2, "{what}");
            }
            Case::FirstKeys | Case::RotateKeys | Case::RevokeKey => {
                let set = check_keys(&self.service).await;
                let is_kept = set.keys.iter().any(|key| key.kid == start.kid);
                assert_eq!(is_kept, case == Case::RotateKeys, "{what}");
                // A new process reads the new keys.
                self.functions.kill_all().await;
                let me = settle(self.get(&person.access_token, "/me")).await;
                assert_eq!(me.status.is_success(), is_kept, "{what}: {:?}", me.body);
                is_going_on(&[own, other]).await;
            }
        }
        self.check_invariants(person, what);
    }

    fn sessions_of(&self, user: &str) -> Vec<Value> {
        let mut sessions = self.service.sessions();
        sessions.retain(|item| {
            let pk = item["pk"]["S"].as_str();
            pk.is_some_and(|pk| pk.ends_with(user))
        });
        sessions
    }
}

/// Returns the session id of an access token.
fn session_of(access_token: &str) -> String {
    let claims = access_token.split('.').nth(1).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["sid"].as_str().unwrap().to_owned()
}

/// Returns whether the SDK has sent the same call before.
fn is_retry(call: &Call) -> bool {
    let tries = call.headers.get("amz-sdk-request");
    let tries = tries.and_then(|tries| tries.to_str().ok());
    !tries.is_some_and(|tries| tries.starts_with("attempt=1"))
}

/// Runs all kills of a case, and returns their number and those that lost something.
async fn play(case: Case, expected: [usize; 3]) -> (usize, Vec<String>) {
    let scene = Arc::new(Scene::start(&format!("kill-{case:?}")).await);
    let (calls, writes) = scene.kill(case, Kill::AtTheAnswer).await;
    let mut kills: Vec<_> = writes.into_iter().map(Kill::During).collect();
    for (peer, calls) in Peer::ALL.into_iter().zip(calls) {
        for number in 1..=calls {
            kills.extend([Kill::Before(peer, number), Kill::After(peer, number)]);
        }
    }
    let count = 1 + kills.len();
    let mut failed = Vec::new();
    if calls != expected {
        failed.push(format!(
            "{case:?} makes {calls:?} calls, and not {expected:?}"
        ));
    }
    for kill in kills {
        let scene = scene.clone();
        let killed = tokio::spawn(async move { scene.kill(case, kill).await });
        if killed.await.is_err() {
            failed.push(format!("{case:?}, {kill:?}"));
        }
    }
    scene.check_logs();
    (count, failed)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binaries of the functions, which make test-release builds"]
async fn t133_a_process_killed_at_any_call_loses_nothing_and_leaves_nothing_half_done() {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut playing = JoinSet::new();
    for (case, calls) in CASES {
        let turns = turns.clone();
        playing.spawn(async move {
            let _turn = turns.acquire_owned().await.unwrap();
            (case, tokio::spawn(play(case, calls)).await)
        });
    }
    let (mut count, mut failed) = (0, Vec::new());
    while let Some(played) = playing.join_next().await {
        let (case, played) = played.unwrap();
        let Ok((kills, of_it)) = played else {
            failed.push(format!("{case:?}"));
            continue;
        };
        count += kills;
        println!("{case:?}: {kills} kills; {count} in all");
        failed.extend(of_it);
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(count >= 60, "{count}");
}
