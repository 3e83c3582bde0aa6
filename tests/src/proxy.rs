//! A reverse proxy that records calls and injects faults.
//!
//! It runs between a function and DynamoDB or a provider. It records each call and its DynamoDB capacity, and injects
//! the faults of a network, an overloaded service or a killed process; above all, it applies a write and loses the
//! answer. On request, it locks the items of running transactions, as DynamoDB does and its emulators do not.

mod fault;
mod locks;
mod units;
mod visit;
mod wire;

#[cfg(test)]
mod tests;

pub use fault::{Fault, Reply};
pub use units::Units;
pub use wire::Loss;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::{HeaderMap, Method, StatusCode, header, http::request};
use reqwest::redirect::Policy;
use serde_json::Value;
use tokio::{net::TcpSocket, sync::watch, task::JoinHandle, time::Instant};

use crate::database::Signer;
use locks::Locks;
use units::metered;
use visit::Visit;
use wire::accept;

/// A reverse proxy in front of one service, on its own port, until it is dropped.
pub struct Proxy {
    passage: Arc<Passage>,
    address: SocketAddr,
    /// A bound socket that never listens, so that no other program gets the port while the proxy is down.
    _port: TcpSocket,
    listening: Mutex<Option<JoinHandle<()>>>,
}

/// The state that all connections share.
struct Passage {
    upstream: String,
    /// Signs each request again, because the metering changes its body and the proxy its host.
    signer: Option<Signer>,
    client: reqwest::Client,
    calls: watch::Sender<Vec<Call>>,
    last_id: AtomicU64,
    plans: Mutex<Vec<Plan>>,
    /// The last loss of all connections, which each open connection waits for.
    losses: watch::Sender<Option<Loss>>,
    locks: Mutex<Locks>,
}

/// A planned fault.
struct Plan {
    when: When,
    fault: Fault,
    /// The number of calls that it still affects; `None` for all.
    remaining: Option<usize>,
}

/// The calls that a fault affects.
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
    /// Calls for which this function returns true. It sees the head of a call, without the body.
    Matching(fn(&Call) -> bool),
}

/// A recorded call.
#[derive(Clone, Debug)]
pub struct Call {
    id: u64,
    /// Its number since the last [`Proxy::clear`], from 1.
    pub number: usize,
    /// The caller's end of the connection: calls on one connection have the same.
    pub caller: SocketAddr,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, if present.
    pub query: Option<String>,
    /// The operation, if the service is DynamoDB, such as `GetItem`.
    pub operation: Option<String>,
    /// The headers. `Authorization` does not show its value in `Debug`.
    pub headers: HeaderMap,
    /// The body of the caller: its JSON, else its text; `null` if empty.
    pub body: Value,
    /// The answer of the service, or that of a fault.
    pub status: Option<StatusCode>,
    /// True if the service has answered.
    pub is_forwarded: bool,
    /// True if the call met a transaction in progress and was refused ([`Proxy::lock_transactions`]).
    pub is_conflict: bool,
    /// The consumed capacity, if the service is DynamoDB.
    pub consumed: Units,
    /// The injected fault.
    pub fault: Option<Fault>,
    /// The time at which its head arrived.
    pub arrived_at: Instant,
    /// The time from which the call has no further effect at the service.
    pub settled_at: Option<Instant>,
}

impl Call {
    /// Returns whether the call is a strongly consistent read of each table.
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
    pub async fn start(upstream: &str) -> Self {
        Self::start_with(upstream, None).await
    }

    /// Opens a proxy in front of `upstream` that signs each request for AWS.
    #[expect(
        clippy::expect_used,
        reason = "a test without its proxy has nothing to prove"
    )]
    pub(crate) async fn start_with(upstream: &str, signer: Option<Signer>) -> Self {
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
                signer,
                client,
                calls: watch::Sender::new(Vec::new()),
                last_id: AtomicU64::new(0),
                plans: Mutex::new(Vec::new()),
                losses: watch::Sender::new(None),
                locks: Mutex::default(),
            }),
            address,
            _port: port,
            listening: Mutex::new(None),
        };
        proxy.up();
        proxy
    }

    /// Returns the base URL of the proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Injects this fault into every matching call until [`Self::heal`], or into one call for [`When::Nth`].
    ///
    /// If several faults match a call, the one that was planned first applies.
    pub fn fault(&self, when: When, fault: Fault) {
        self.plan(when, fault, None);
    }

    /// Injects this fault into the next matching call.
    pub fn fault_once(&self, when: When, fault: Fault) {
        self.fault_times(1, when, fault);
    }

    /// Injects this fault into this number of matching calls.
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

    /// Makes each transaction hold its items for this time before DynamoDB gets it, and until DynamoDB has answered.
    ///
    /// Calls that meet it are refused as on AWS, which no emulator does: another transaction and a plain write with a
    /// conflict, the same transaction sent again as one in progress. A call without a transaction takes no longer.
    pub fn lock_transactions(&self, hold: Duration) {
        lock(&self.passage.locks).hold = Some(hold);
    }

    /// Removes all faults. Calls that are affected already stay so.
    pub fn heal(&self) {
        lock(&self.passage.plans).clear();
        self.up();
    }

    /// Loses all open connections in this way, as a network does while a caller is frozen. New ones work.
    pub fn lose_connections(&self, loss: Loss) {
        self.passage.losses.send_replace(Some(loss));
    }

    /// Closes all connections and refuses new ones, as a port without a listener does, until [`Self::heal`].
    pub async fn down(&self) {
        let listening = lock(&self.listening).take();
        if let Some(task) = listening {
            task.abort();
            // The port is closed when the task ends; a cancellation is expected.
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

    /// Returns the calls since the start or the last [`Self::clear`], in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.passage.calls.borrow().clone()
    }

    /// Drops the recorded calls and counts from 1 again. The faults stay.
    pub fn clear(&self) {
        self.passage.calls.send_modify(Vec::clear);
    }

    /// Returns the consumed capacity of all calls.
    pub fn consumed(&self) -> Units {
        let calls = self.passage.calls.borrow();
        calls.iter().fold(Units::default(), |sum, call| Units {
            read: sum.read + call.consumed.read,
            write: sum.write + call.consumed.write,
        })
    }

    /// Returns the number of calls that met a transaction in progress.
    pub fn conflicts(&self) -> usize {
        let calls = self.passage.calls.borrow();
        calls.iter().filter(|call| call.is_conflict).count()
    }

    /// Returns the number of round trips: the longest chain of calls that each began after the end of the one before.
    ///
    /// Quick parallel calls may not overlap: plan a [`Fault::Delay`] for every call before counting.
    pub fn round_trips(&self) -> usize {
        let mut calls = self.calls();
        calls.retain(|call| call.settled_at.is_some());
        calls.sort_by_key(|call| call.settled_at);
        // Always taking the call that ends first gives the longest chain.
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

    /// Waits until this number of calls has arrived. With [`Fault::Hang`], the caller of the last one can then be
    /// killed *before* the service receives it.
    pub async fn arrived(&self, count: usize) {
        self.until(|calls| calls.len() >= count).await;
    }

    /// Waits until a call has met a fault.
    pub async fn met_fault(&self) {
        self.until(|calls| calls.iter().any(|call| call.fault.is_some()))
            .await;
    }

    /// Waits until the service has answered this number of calls. With [`Fault::HangAfterForwarding`], the caller of
    /// the last one can then be killed *after* it took effect.
    pub async fn forwarded(&self, count: usize) {
        self.until(|calls| calls.iter().filter(|call| call.is_forwarded).count() >= count)
            .await;
    }

    /// Waits until no call is on its way to the service, which with [`Fault::Delay`] can take longer than the caller
    /// waits.
    pub async fn settled(&self) {
        self.until(|calls| calls.iter().all(|call| call.settled_at.is_some()))
            .await;
    }

    async fn until(&self, condition: impl Fn(&[Call]) -> bool) {
        let mut calls = self.passage.calls.subscribe();
        // It fails only if the sender is dropped, and this function holds the sender.
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

/// `SO_REUSEADDR` allows several sockets on the same port while only one listens.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Call {
    /// Returns whether the operation changes an item.
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
    /// Records a call and returns its fault.
    fn register(
        self: &Arc<Self>,
        head: &request::Parts,
        caller: SocketAddr,
    ) -> (Visit, Option<Fault>) {
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
            caller,
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            operation,
            headers,
            body: Value::Null,
            status: None,
            is_forwarded: false,
            is_conflict: false,
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

/// A test that panicked with the lock has reported that; others need not fail as well.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
