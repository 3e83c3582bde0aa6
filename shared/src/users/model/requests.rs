//! The requests of the model: each runs the product's function up to its next calls to DynamoDB.
//!
//! Between two answers of the table, a function depends on nothing else: the clock stands still, and the ids that it
//! generates get fixed names. So the answers that a request received determine its next calls or its outcome. A
//! request is run again from its start for each sequence of answers, once.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    config::{
        BehaviorVersion, Config, Credentials, Region, http::HttpRequest, http::HttpResponse,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    interned::Id,
    table::{Answer, NAME, NOW, Request, Table, Without},
};
use crate::{
    clock::Clock,
    config::{SessionLifetimes, SignUps},
    ids::SessionRef,
    provider::Identity,
    sessions::{Opening, Sessions},
    users::{Leave, LinkStep, UserId, Users},
};

pub(super) const LIFETIMES: SessionLifetimes = SessionLifetimes {
    idle: Duration::from_secs(1000),
    absolute: Duration::from_secs(10_000),
    reuse_window: None,
};

/// Longer than any wait before another attempt.
const WAIT: Duration = Duration::from_secs(1);

/// A user with a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) user: UserId,
    pub(super) session: SessionRef,
}

/// A request of a client or of the operator.
#[derive(Clone, Debug)]
pub(super) enum Does {
    /// Trades the token of a provider, which proves the identity.
    SignIn(Identity, &'static str),
    /// Links the identity that the token proves.
    Link(Account, Identity, &'static str),
    Unlink(Account, &'static str),
    Delete(Account),
    SignOut(Account),
    /// The operator deletes the user.
    Remove(UserId),
    Disable(UserId),
    Enable(UserId),
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    SignedIn(UserId),
    Done,
    Refused(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignedIn(user) => write!(f, "signed in as {}", &user.to_string()[31..]),
            Self::Done => f.write_str("done"),
            Self::Refused(reason) => f.write_str(reason),
        }
    }
}

/// The point that a request has reached.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// The request, and the number of its repetition.
    of: (usize, u8),
    /// The answers so far: to which call, and which.
    path: Vec<(usize, Id)>,
    /// The calls without an answer.
    pub(super) calls: Vec<(usize, Id)>,
    pub(super) outcome: Option<Outcome>,
}

/// The calls of the request that runs.
#[derive(Clone, Debug, Default)]
struct Wire(Arc<Mutex<Vec<Call>>>);

#[derive(Debug)]
struct Call {
    request: Request,
    answer: Option<oneshot::Sender<Answer>>,
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap();
        let action = target.rsplit('.').next().unwrap().to_owned();
        let mut body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        body.as_object_mut().unwrap().remove("ClientRequestToken");
        let request = Request { action, body };
        let (sender, receiver) = oneshot::channel::<Answer>();
        self.0.lock().unwrap().push(Call {
            request,
            answer: Some(sender),
        });
        HttpConnectorFuture::new(async move {
            let answer = receiver.await.unwrap();
            let status = answer.status.try_into().unwrap();
            Ok(HttpResponse::new(status, answer.body.into()))
        })
    }
}

/// Runs requests up to their next calls.
pub(super) struct Requests {
    runtime: tokio::runtime::Runtime,
    wire: Wire,
    users: Users,
    sessions: Sessions,
    sign_ups: SignUps,
    openings: HashMap<(usize, u8), Arc<Opening>>,
    points: Vec<Point>,
    next: HashMap<(Id, usize, Id), Id>,
    starts: HashMap<(usize, u8), Id>,
    without: Option<Without>,
    /// True if a condition was switched off.
    pub(super) is_weakened: bool,
    /// The number of times that a function ran.
    pub(super) runs: usize,
    /// The outcome of the request that ended last.
    pub(super) last_outcome: Option<Outcome>,
}

impl Requests {
    pub(super) fn new(sign_ups: SignUps, without: Option<Without>) -> Self {
        let wire = Wire::default();
        let connector = SharedHttpConnector::new(wire.clone());
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new(
                "AKIDEXAMPLE",
                "secret",
                None,
                None,
                "model",
            ))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            // The model repeats requests itself.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled());
        let client = Client::from_conf(config.build());
        let clock = Clock::new(|| NOW);
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap(),
            wire,
            users: Users::new(client.clone(), NAME.to_owned(), clock.clone()),
            sessions: Sessions::new(client, NAME.to_owned(), clock),
            sign_ups,
            openings: HashMap::new(),
            points: Vec::new(),
            next: HashMap::new(),
            starts: HashMap::new(),
            without,
            is_weakened: false,
            runs: 0,
            last_outcome: None,
        }
    }

    pub(super) fn point(&self, id: Id) -> &Point {
        &self.points[id as usize]
    }

    /// Returns the point at which the request has just begun.
    pub(super) fn start(&mut self, of: (usize, u8), does: &Does, table: &mut Table) -> Id {
        if let Some(start) = self.starts.get(&of) {
            return *start;
        }
        let start = self.run(of, does, Vec::new(), table);
        self.starts.insert(of, start);
        start
    }

    /// Returns the point that follows the answer to a call.
    pub(super) fn answer(
        &mut self,
        point: Id,
        nth: usize,
        answer: Id,
        does: &Does,
        table: &mut Table,
    ) -> Id {
        if let Some(next) = self.next.get(&(point, nth, answer)) {
            return *next;
        }
        let Point { of, mut path, .. } = self.point(point).clone();
        path.push((nth, answer));
        let next = self.run(of, does, path, table);
        self.next.insert((point, nth, answer), next);
        next
    }

    fn run(
        &mut self,
        of: (usize, u8),
        does: &Does,
        path: Vec<(usize, Id)>,
        table: &mut Table,
    ) -> Id {
        self.runs += 1;
        self.wire.0.lock().unwrap().clear();
        let _guard = self.runtime.enter();
        let mut running = self.begin(of, does);
        let mut outcome = self.poll_until_it_waits(&mut running);
        for (nth, answer) in &path {
            let sender = self.wire.0.lock().unwrap()[*nth].answer.take().unwrap();
            let answer = (*table.answers.value(*answer)).clone();
            // A request that has ended does not wait for its other calls.
            let _ = sender.send(answer);
            outcome = outcome.or_else(|| self.poll_until_it_waits(&mut running));
        }
        let outcome = outcome.map(|outcome| match outcome {
            Outcome::SignedIn(user) if !is_fixed(&user.to_string()) => {
                Outcome::SignedIn(fixed(of).parse().unwrap())
            }
            outcome => outcome,
        });
        let mut calls = Vec::new();
        for (nth, call) in self.wire.0.lock().unwrap().iter().enumerate() {
            if call.answer.is_some() && outcome.is_none() {
                let mut request = with_fixed_ids(&call.request, of);
                if let Some(without) = self.without {
                    self.is_weakened |= request.switch_off(without);
                }
                calls.push((nth, table.requests.id(request)));
            }
        }
        self.points.push(Point {
            of,
            path,
            calls,
            outcome,
        });
        Id::try_from(self.points.len() - 1).unwrap()
    }

    /// Polls a request until it has ended or waits for DynamoDB. The wait before another attempt is over at once.
    fn poll_until_it_waits(&self, running: &mut BoxFuture<'static, Outcome>) -> Option<Outcome> {
        loop {
            if let Some(outcome) = poll(running) {
                return Some(outcome);
            }
            let calls = self.wire.0.lock().unwrap();
            if calls.iter().any(|call| call.answer.is_some()) {
                return None;
            }
            drop(calls);
            self.runtime.block_on(tokio::time::advance(WAIT));
        }
    }

    fn begin(&mut self, of: (usize, u8), does: &Does) -> BoxFuture<'static, Outcome> {
        let (users, sessions) = (self.users.clone(), self.sessions.clone());
        let mut opening = |token: &str| {
            let opening = self.openings.entry(of).or_insert_with(|| {
                let token = token.to_owned().into();
                Arc::new(Opening::new(&token, "nextjs", None, None, LIFETIMES).unwrap())
            });
            opening.clone()
        };
        fn done<T, E: ToString>(result: Result<T, E>) -> Outcome {
            result.map_or_else(
                |error| Outcome::Refused(error.to_string()),
                |_| Outcome::Done,
            )
        }
        match does.clone() {
            Does::SignIn(identity, token) => {
                let (opening, sign_ups) = (opening(token), self.sign_ups.clone());
                Box::pin(async move {
                    let signed_in = users.sign_in(&identity, &sign_ups, &sessions, &opening);
                    match signed_in.await {
                        Ok(sign_in) => Outcome::SignedIn(sign_in.user.id),
                        Err(error) => Outcome::Refused(error.to_string()),
                    }
                })
            }
            Does::Link(account, identity, token) => {
                let spent = opening(token);
                Box::pin(async move {
                    let (id, session) = (account.user, account.session);
                    let step = users.begin_link(id, session, identity.provider(), &spent);
                    match step.await {
                        Ok(LinkStep::Linked(_)) => Outcome::Done,
                        Ok(LinkStep::Ask(user)) => done(
                            users
                                .link(user, session, &identity, &sessions, &spent)
                                .await,
                        ),
                        Err(error) => done::<(), _>(Err(error)),
                    }
                })
            }
            Does::Unlink(Account { user, session }, provider) => {
                Box::pin(
                    async move { done(users.unlink(user, session, provider, &LIFETIMES).await) },
                )
            }
            Does::Delete(Account { user, session }) => Box::pin(async move {
                match users.delete(user, session).await {
                    Ok(()) => done(sessions.delete_all(user).await),
                    Err(error) => done::<(), _>(Err(error)),
                }
            }),
            Does::SignOut(Account { user, session }) => {
                Box::pin(
                    async move { done(users.sign_out(user, session, Leave::All, "key").await) },
                )
            }
            Does::Remove(user) => Box::pin(async move {
                match users.remove(user).await {
                    Ok(_) => done(sessions.delete_all(user).await),
                    Err(error) => done::<(), _>(Err(error)),
                }
            }),
            Does::Disable(user) => Box::pin(async move { done(users.disable(user).await) }),
            Does::Enable(user) => Box::pin(async move { done(users.enable(user).await) }),
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls until the future waits for an answer.
fn poll(running: &mut BoxFuture<'static, Outcome>) -> Option<Outcome> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(woken.clone());
    while woken.0.swap(false, Ordering::SeqCst) {
        let polled = Pin::new(&mut *running).poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(outcome) = polled {
            return Some(outcome);
        }
    }
    None
}

/// Returns the fixed id of the user that this run of a request creates.
fn fixed((nth, run): (usize, u8)) -> String {
    format!("00000000-0000-7000-8000-0000000{nth:02}{run:03}")
}

fn is_fixed(id: &str) -> bool {
    id.starts_with("00000000-0000-7000-8000-")
}

/// Replaces the ids of users that the request generated.
fn with_fixed_ids(request: &Request, of: (usize, u8)) -> Request {
    const LENGTH: usize = 36;
    let mut body = request.body.to_string();
    let mut at = 0;
    while let Some(id) = body.get(at..at + LENGTH) {
        let is_id = id.as_bytes()[8] == b'-' && Uuid::parse_str(id).is_ok();
        if is_id && !is_fixed(id) {
            body.replace_range(at..at + LENGTH, &fixed(of));
        }
        at += if is_id { LENGTH } else { 1 };
    }
    Request {
        action: request.action.clone(),
        body: serde_json::from_str(&body).unwrap(),
    }
}
