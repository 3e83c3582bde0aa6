//! A proxy that watches what passes, and breaks it on demand.
//!
//! It stands between a function and DynamoDB, or between a function and a provider. It records each call, asks DynamoDB
//! what the call cost, and can do to it whatever a network, an overloaded service or a killed process does: above all,
//! apply a write and lose the answer.

mod fault;
mod units;
mod visit;
mod wire;

#[cfg(test)]
mod tests;

pub use fault::{Answer, Fault};
pub use units::Units;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use hyper::{HeaderMap, Method, StatusCode, header, http::request};
use reqwest::redirect::Policy;
use serde_json::Value;
use tokio::{net::TcpSocket, sync::watch, task::JoinHandle};

use units::metered;
use visit::Visit;
use wire::accept;

/// A reverse proxy in front of one service, on a port of its own, for as long as it is kept.
pub struct Proxy {
    passage: Arc<Passage>,
    address: SocketAddr,
    /// Bound and never listening: while the proxy is down, nobody else gets its port.
    _port: TcpSocket,
    listening: Mutex<Option<JoinHandle<()>>>,
}

/// What every connection shares.
struct Passage {
    upstream: String,
    client: reqwest::Client,
    calls: watch::Sender<Vec<Call>>,
    last_id: AtomicU64,
    plans: Mutex<Vec<Plan>>,
}

/// A fault that waits for its calls.
struct Plan {
    when: When,
    fault: Fault,
    /// How many calls are still to be hit; `None` is all of them.
    remaining: Option<usize>,
}

/// Which calls a fault hits.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// Every call.
    Always,
    /// The n-th call, counted from 1 and from the last [`Proxy::clear`].
    Nth(usize),
    /// Calls of this DynamoDB operation, such as `PutItem`.
    Operation(&'static str),
    /// Calls of exactly this path.
    Path(&'static str),
    /// Calls of which this is true. It sees the head of a call; the body has not arrived yet.
    Matching(fn(&Call) -> bool),
}

/// A call that arrived.
#[derive(Clone, Debug)]
pub struct Call {
    id: u64,
    /// Its place among the calls since the last [`Proxy::clear`], from 1.
    pub number: usize,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, if there is one.
    pub query: Option<String>,
    /// What was called, if this is DynamoDB: `GetItem`.
    pub operation: Option<String>,
    /// The headers. `Authorization` does not show its value in `Debug`.
    pub headers: HeaderMap,
    /// The body as the caller wrote it: its JSON, else its text, `null` if there is none.
    pub body: Value,
    /// What the service answered, or what a fault answered in its place.
    pub status: Option<StatusCode>,
    /// Whether the service was asked, and has answered.
    pub is_forwarded: bool,
    /// What it cost, if this is DynamoDB.
    pub consumed: Units,
    /// What was done to it.
    pub fault: Option<Fault>,
    /// When its head was here.
    pub arrived_at: Instant,
    /// When nothing more was going to happen at the service.
    pub settled_at: Option<Instant>,
}

impl Call {
    /// Whether this reads items of DynamoDB as of now: strongly consistent, from each table.
    pub fn is_consistent(&self) -> bool {
        let tables = self.body["RequestItems"].as_object();
        match tables {
            Some(tables) => tables.values().all(|read| read["ConsistentRead"] == true),
            None => self.body["ConsistentRead"] == true,
        }
    }
}

impl Proxy {
    /// Opens a proxy in front of `upstream`, such as `http://127.0.0.1:8000`.
    #[expect(
        clippy::expect_used,
        reason = "a test without its proxy has nothing to prove"
    )]
    pub async fn start(upstream: &str) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .build()
            .expect("an HTTP client");
        let port = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = port.local_addr().expect("the address of a bound port");
        let proxy = Self {
            passage: Arc::new(Passage {
                upstream: upstream.trim_end_matches('/').to_owned(),
                client,
                calls: watch::Sender::new(Vec::new()),
                last_id: AtomicU64::new(0),
                plans: Mutex::new(Vec::new()),
            }),
            address,
            _port: port,
            listening: Mutex::new(None),
        };
        proxy.up();
        proxy
    }

    /// The base URL to call instead of the service's own.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this to every call that matches, until [`Self::heal`]; to one call, if it is [`When::Nth`].
    ///
    /// Where several faults match a call, the one that was planned first wins.
    pub fn fault(&self, when: When, fault: Fault) {
        self.plan(when, fault, None);
    }

    /// Does this to the next call that matches.
    pub fn fault_once(&self, when: When, fault: Fault) {
        self.fault_times(1, when, fault);
    }

    /// Does this to the next calls that match, that many times.
    pub fn fault_times(&self, times: usize, when: When, fault: Fault) {
        self.plan(when, fault, Some(times));
    }

    fn plan(&self, when: When, fault: Fault, remaining: Option<usize>) {
        lock(&self.passage.plans).push(Plan {
            when,
            fault,
            remaining,
        });
    }

    /// Ends all faults. What has already been done to a call is not undone.
    pub fn heal(&self) {
        lock(&self.passage.plans).clear();
        self.up();
    }

    /// Ends all connections and refuses new ones, as a machine does where nothing listens, until [`Self::heal`].
    pub async fn down(&self) {
        let listening = lock(&self.listening).take();
        if let Some(task) = listening {
            task.abort();
            // The port is closed once the task is gone; that it was cancelled is no news.
            let _ = task.await;
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "the port is ours, and a test cannot go on without it"
    )]
    fn up(&self) {
        let mut listening = lock(&self.listening);
        if listening.is_none() {
            let socket = bind(self.address).expect("our own port");
            let listener = socket.listen(1024).expect("a listener on our own port");
            *listening = Some(tokio::spawn(accept(self.passage.clone(), listener)));
        }
    }

    /// The calls since the start or the last [`Self::clear`], in the order in which they arrived.
    pub fn calls(&self) -> Vec<Call> {
        self.passage.calls.borrow().clone()
    }

    /// Forgets all calls, and counts from 1 again. The faults stay.
    pub fn clear(&self) {
        self.passage.calls.send_modify(Vec::clear);
    }

    /// What all calls together cost.
    pub fn consumed(&self) -> Units {
        let calls = self.passage.calls.borrow();
        calls.iter().fold(Units::default(), |sum, call| Units {
            read: sum.read + call.consumed.read,
            write: sum.write + call.consumed.write,
        })
    }

    /// How many calls waited for one another: the longest row of calls that each came after the end of the one before.
    ///
    /// Calls that are meant to be parallel can still miss one another when they are quick: plan a [`Fault::Delay`] for
    /// every call before counting.
    pub fn round_trips(&self) -> usize {
        let mut calls = self.calls();
        calls.retain(|call| call.settled_at.is_some());
        calls.sort_by_key(|call| call.settled_at);
        // Always taking the call that ends first leaves the most room for others.
        let mut count = 0;
        let mut free_from = None;
        for call in calls {
            if free_from.is_none_or(|end| call.arrived_at >= end) {
                count += 1;
                free_from = call.settled_at;
            }
        }
        count
    }

    /// Waits until that many calls have arrived. With [`Fault::Hang`], whoever made the last of them can then be killed
    /// *before* the service has seen it.
    pub async fn arrived(&self, count: usize) {
        self.until(|calls| calls.len() >= count).await;
    }

    /// Waits until the service has answered that many calls. With [`Fault::HangAfterForwarding`], whoever made the last
    /// of them can then be killed *after* it took effect.
    pub async fn forwarded(&self, count: usize) {
        self.until(|calls| calls.iter().filter(|call| call.is_forwarded).count() >= count)
            .await;
    }

    /// Waits until nothing is on its way to the service any more, as a call with [`Fault::Delay`] may be long after
    /// its caller gave up.
    pub async fn settled(&self) {
        self.until(|calls| calls.iter().all(|call| call.settled_at.is_some()))
            .await;
    }

    async fn until(&self, condition: impl Fn(&[Call]) -> bool) {
        let mut calls = self.passage.calls.subscribe();
        // It fails when the sender is gone, and the sender is ours.
        let _ = calls.wait_for(|calls| condition(calls)).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listening).take() {
            task.abort();
        }
    }
}

/// `SO_REUSEADDR` lets several sockets have the same port as long as only one listens.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Call {
    /// Whether it asks DynamoDB to change an item.
    pub fn is_write(&self) -> bool {
        metered(self.operation.as_deref()).is_some_and(|writes| writes)
    }
}

impl When {
    fn matches(self, call: &Call) -> bool {
        match self {
            Self::Always => true,
            Self::Nth(number) => call.number == number,
            Self::Operation(name) => call.operation.as_deref() == Some(name),
            Self::Path(path) => call.path == path,
            Self::Matching(predicate) => predicate(call),
        }
    }
}

impl Passage {
    /// Writes a call down, and says what is to be done to it.
    fn register(self: &Arc<Self>, head: &request::Parts) -> (Visit, Option<Fault>) {
        let target = head.headers.get("x-amz-target");
        let operation = target
            .and_then(|target| target.to_str().ok())
            .and_then(|target| target.rsplit('.').next())
            .map(str::to_owned);
        let visit = Visit {
            passage: self.clone(),
            id: self.last_id.fetch_add(1, Ordering::Relaxed),
            operation: operation.clone(),
        };
        let mut headers = head.headers.clone();
        if let Some(secret) = headers.get_mut(header::AUTHORIZATION) {
            secret.set_sensitive(true);
        }
        let mut call = Call {
            id: visit.id,
            number: 0,
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            operation,
            headers,
            body: Value::Null,
            status: None,
            is_forwarded: false,
            consumed: Units::default(),
            fault: None,
            arrived_at: Instant::now(),
            settled_at: None,
        };
        let mut fault = None;
        self.calls.send_modify(|calls| {
            call.number = calls.len() + 1;
            fault = self.fault_of(&call);
            call.fault.clone_from(&fault);
            calls.push(call);
        });
        (visit, fault)
    }

    fn fault_of(&self, call: &Call) -> Option<Fault> {
        let mut plans = lock(&self.plans);
        let plan = plans
            .iter_mut()
            .find(|plan| plan.remaining != Some(0) && plan.when.matches(call))?;
        plan.remaining = plan.remaining.map(|count| count - 1);
        Some(plan.fault.clone())
    }
}

/// A test that failed while it held a lock has said so; the others need not fail for it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
