//! A proxy that watches what passes, and breaks it on demand.
//!
//! It stands between a function and DynamoDB, or between a function and a provider. It records each call, asks DynamoDB
//! what the call cost, and can do to it whatever a network, an overloaded service or a killed process does: above all,
//! apply a write and lose the answer.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::request,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

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

/// What can happen to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Forwarded, but only after this time, and then even if nobody waits for it any more.
    Delay(Duration),
    /// The connection is closed before the call is read.
    Refuse,
    /// The call is read, not forwarded, and never answered.
    Hang,
    /// The call is read, not forwarded, and the connection reset.
    ResetBeforeForwarding,
    /// The service does what it was asked to; its answer is lost, and the connection reset.
    ResetAfterForwarding,
    /// The service does what it was asked to; its answer never comes.
    HangAfterForwarding,
    /// Half of the answer's body arrives, then the connection is reset.
    ResetMidBody,
    /// Half of the answer's body arrives, and claims to be all of it.
    TruncatedBody,
    /// The answer announces more than it has; then the connection is closed.
    LengthTooLong,
    /// The answer announces less than it has; what is left follows on the same connection.
    LengthTooShort,
    /// The answer's body arrives byte by byte, at this pace.
    SlowBody(Duration),
    /// Not forwarded; this is the answer.
    Answer(Answer),
    /// DynamoDB's replica is behind: a `GetItem` that does not ask for a consistent read finds nothing. Every other call is
    /// forwarded as it is.
    Stale,
}

/// A whole HTTP answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those that only say how the body is sent.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
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

/// DynamoDB's capacity units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    /// Spent on reading.
    pub read: f64,
    /// Spent on writing.
    pub write: f64,
}

/// The operations that can be asked what they cost. The flag says whether they write.
const METERED: [(&str, bool); 10] = [
    ("BatchGetItem", false),
    ("BatchWriteItem", true),
    ("DeleteItem", true),
    ("GetItem", false),
    ("PutItem", true),
    ("Query", false),
    ("Scan", false),
    ("TransactGetItems", false),
    ("TransactWriteItems", true),
    ("UpdateItem", true),
];

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

/// Whether the operation writes, if it can be asked what it costs.
fn metered(operation: Option<&str>) -> Option<bool> {
    METERED
        .iter()
        .find(|(name, _)| Some(*name) == operation)
        .map(|(_, writes)| *writes)
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

impl Answer {
    /// An answer without headers.
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    /// With this header as well.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "the value comes from the test that uses it"
    )]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }
}

impl From<Answer> for Fault {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// DynamoDB's errors, in the shape of its JSON 1.0 protocol.
impl Fault {
    /// More than the table's provisioned, or a hot key's own, throughput.
    pub fn provisioned_throughput_exceeded() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded.",
        )
    }

    /// Faster than an on-demand table grows, or than the control plane allows.
    pub fn throttling() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazon.coral.availability#ThrottlingException",
            "Rate of requests exceeds the allowed throughput.",
        )
    }

    /// More than the account's quota.
    pub fn request_limit_exceeded() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded",
            "Throughput exceeds the current throughput limit for your account.",
        )
    }

    /// DynamoDB's own failure; whether a write was applied is open.
    pub fn internal_server_error() -> Self {
        dynamodb_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "com.amazonaws.dynamodb.v20120810#InternalServerError",
            "The request processing has failed because of an unknown error, exception or failure.",
        )
    }

    /// DynamoDB is not there.
    pub fn service_unavailable() -> Self {
        dynamodb_error(
            StatusCode::SERVICE_UNAVAILABLE,
            "com.amazonaws.dynamodb.v20120810#ServiceUnavailable",
            "Service is temporarily unavailable.",
        )
    }

    /// A single write met a transaction on the same item.
    pub fn transaction_conflict() -> Self {
        dynamodb_error(
            StatusCode::BAD_REQUEST,
            "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
            "Transaction is ongoing for the item",
        )
    }

    /// A transaction that was not applied. One reason for each of its items, `None` for those that were not at fault:
    /// `ConditionalCheckFailed`, `TransactionConflict`, `ProvisionedThroughputExceeded`, `ThrottlingError`, …
    pub fn transaction_canceled(reasons: &[&str]) -> Self {
        let list: Vec<Value> = reasons
            .iter()
            .map(|reason| match *reason {
                "None" => json!({ "Code": "None" }),
                code => json!({ "Code": code, "Message": format!("{code}, says the test") }),
            })
            .collect();
        let message = format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            reasons.join(", ")
        );
        dynamodb_answer(
            StatusCode::BAD_REQUEST,
            &json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                // With a capital letter in this one.
                "Message": message,
                "CancellationReasons": list,
            }),
        )
    }

    /// Everything that can go wrong with a call to DynamoDB, each with a name for the test's report. A cancelled
    /// transaction is not among them: its reasons depend on its items.
    pub fn of_dynamodb() -> Vec<(&'static str, Self)> {
        let mut faults = Self::of_the_network();
        faults.extend([
            (
                "ProvisionedThroughputExceededException",
                Self::provisioned_throughput_exceeded(),
            ),
            ("ThrottlingException", Self::throttling()),
            ("RequestLimitExceeded", Self::request_limit_exceeded()),
            ("InternalServerError", Self::internal_server_error()),
            ("ServiceUnavailable", Self::service_unavailable()),
            ("TransactionConflictException", Self::transaction_conflict()),
        ]);
        faults
    }
}

fn dynamodb_error(status: StatusCode, name: &str, message: &str) -> Fault {
    dynamodb_answer(status, &json!({ "__type": name, "message": message }))
}

fn dynamodb_answer(status: StatusCode, body: &Value) -> Fault {
    let answer = Answer::new(status, body.to_string())
        .with_header("content-type", "application/x-amz-json-1.0")
        .with_header("x-amzn-requestid", "00000000-0000-0000-0000-000000000000");
    Fault::Answer(answer)
}

/// A provider's, as seen at GitHub.
impl Fault {
    /// The rate limit is used up: 403, and come back after so many seconds.
    pub fn rate_limited(retry_after: u32) -> Self {
        limited(
            StatusCode::FORBIDDEN,
            "API rate limit exceeded",
            retry_after,
        )
    }

    /// Too much at once: 429, and come back after so many seconds.
    pub fn too_many_requests(retry_after: u32) -> Self {
        let message = "You have exceeded a secondary rate limit";
        limited(StatusCode::TOO_MANY_REQUESTS, message, retry_after)
    }

    /// A page for people, with status 200.
    pub fn html() -> Self {
        Answer::new(StatusCode::OK, "<!doctype html><title>Unicorn!</title>")
            .with_header("content-type", "text/html; charset=utf-8")
            .into()
    }

    /// To somewhere else, with the method, the body and whatever secret is in it.
    pub fn redirect_to(url: &str) -> Self {
        Answer::new(StatusCode::TEMPORARY_REDIRECT, "")
            .with_header("location", url)
            .into()
    }

    /// Nothing but a status.
    pub fn status(status: StatusCode) -> Self {
        Answer::new(status, "").into()
    }

    /// Everything that can go wrong with a call to a provider, each with a name for the test's report. A redirect is
    /// not among them: the test has to watch where it leads.
    pub fn of_a_provider() -> Vec<(&'static str, Self)> {
        let mut faults = Self::of_the_network();
        faults.extend([
            ("403 with Retry-After", Self::rate_limited(7)),
            ("429 with Retry-After", Self::too_many_requests(7)),
            ("500", Self::status(StatusCode::INTERNAL_SERVER_ERROR)),
            ("502", Self::status(StatusCode::BAD_GATEWAY)),
            ("503", Self::status(StatusCode::SERVICE_UNAVAILABLE)),
            ("200 with HTML", Self::html()),
            ("200 with nothing", Self::status(StatusCode::OK)),
        ]);
        faults
    }

    fn of_the_network() -> Vec<(&'static str, Self)> {
        vec![
            ("50 ms late", Self::Delay(Duration::from_millis(50))),
            ("500 ms late", Self::Delay(Duration::from_millis(500))),
            ("5 s late", Self::Delay(Duration::from_secs(5))),
            ("refused", Self::Refuse),
            ("hanging", Self::Hang),
            ("reset before forwarding", Self::ResetBeforeForwarding),
            ("reset after forwarding", Self::ResetAfterForwarding),
            ("hanging after forwarding", Self::HangAfterForwarding),
            ("reset in mid-body", Self::ResetMidBody),
            ("truncated body", Self::TruncatedBody),
            ("announced too long", Self::LengthTooLong),
            ("announced too short", Self::LengthTooShort),
            ("a byte per second", Self::SlowBody(Duration::from_secs(1))),
        ]
    }
}

fn limited(status: StatusCode, message: &str, retry_after: u32) -> Fault {
    let body = json!({ "message": message, "documentation_url": "https://docs.github.com/rest" });
    Answer::new(status, body.to_string())
        .with_header("content-type", "application/json; charset=utf-8")
        .with_header("retry-after", &retry_after.to_string())
        .with_header("x-ratelimit-remaining", "0")
        .into()
}

async fn accept(passage: Arc<Passage>, listener: TcpListener) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(passage.clone(), stream));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// How a connection ends that is not to go on as HTTP: what is still written to it, and how it is closed.
struct LastWords {
    chunks: Vec<Bytes>,
    /// Between two chunks.
    pace: Duration,
    ending: Ending,
}

enum Ending {
    Close,
    Reset,
    /// Open until the caller closes it, or sends a next request: that is never answered.
    Linger,
}

impl From<Ending> for LastWords {
    fn from(ending: Ending) -> Self {
        Self {
            chunks: Vec::new(),
            pace: Duration::ZERO,
            ending,
        }
    }
}

/// Serves one connection as HTTP, until its end or until a fault takes it over.
async fn serve(passage: Arc<Passage>, stream: TcpStream) {
    let last_words = Arc::new(Mutex::new(None));
    let service = service_fn(|request| {
        let (passage, last_words) = (passage.clone(), last_words.clone());
        let answer = async move {
            answer(&passage, request).await.map_err(|words| {
                *lock(&last_words) = Some(words);
                TakenOver
            })
        };
        Box::pin(answer) as Pin<Box<dyn Future<Output = _> + Send>>
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // However it ended: what matters is whether a fault wants the connection.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let stream = connection.into_parts().io.into_inner();
    let words = lock(&last_words).take();
    if let Some(words) = words {
        // It fails when the caller is gone, and then there is nobody to deceive.
        let _ = words.write_to(stream).await;
    }
}

impl LastWords {
    async fn write_to(self, mut stream: TcpStream) -> io::Result<()> {
        // Each chunk goes out when it is written, and not with the next one.
        stream.set_nodelay(true)?;
        for chunk in self.chunks {
            stream.write_all(&chunk).await?;
            sleep(self.pace).await;
        }
        match self.ending {
            Ending::Close => stream.shutdown().await,
            Ending::Reset => stream.set_zero_linger(),
            Ending::Linger => stream.readable().await,
        }
    }
}

/// Makes hyper give a connection back.
#[derive(Debug)]
struct TakenOver;

impl fmt::Display for TakenOver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a fault took the connection over")
    }
}

impl std::error::Error for TakenOver {}

/// What the caller gets: an answer, or the end of the connection.
async fn answer(
    passage: &Arc<Passage>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, LastWords> {
    let (head, body) = request.into_parts();
    let (visit, fault) = passage.register(&head);
    if let Some(Fault::Refuse) = fault {
        return Err(Ending::Close.into());
    }
    // A caller that breaks off in the middle of its request has asked for nothing.
    let body = body.collect().await.map_err(|_| Ending::Close)?.to_bytes();
    visit.note(|call| call.body = readable(&body));

    let answer = match fault {
        None => visit.forward(head, body, Duration::ZERO).await,
        Some(fault) => fault.befall(visit, head, body).await,
    }?;
    Ok(answer.into())
}

impl Fault {
    /// Does it to a call that has been read.
    async fn befall(
        self,
        visit: Visit,
        head: request::Parts,
        body: Bytes,
    ) -> Result<Answer, LastWords> {
        // Those that leave the service alone, first.
        let delay = match self {
            Self::Refuse | Self::ResetBeforeForwarding => return Err(Ending::Reset.into()),
            Self::Hang => {
                drop(visit);
                return std::future::pending().await;
            }
            Self::Answer(answer) => {
                visit.note(|call| call.status = Some(answer.status));
                return Ok(answer);
            }
            Self::Stale if visit.may_be_stale(&body) => {
                visit.note(|call| call.status = Some(StatusCode::OK));
                return Ok(Answer::new(StatusCode::OK, "{}"));
            }
            Self::Delay(delay) => delay,
            _ => Duration::ZERO,
        };
        let mut answer = visit.forward(head, body, delay).await?;
        let (length, half) = (answer.body.len(), answer.body.len() / 2);
        match self {
            Self::ResetAfterForwarding => Err(Ending::Reset.into()),
            Self::HangAfterForwarding => std::future::pending().await,
            Self::TruncatedBody => {
                answer.body.truncate(half);
                // The checksum would tell before the JSON does.
                answer.headers.remove("x-amz-crc32");
                Ok(answer)
            }
            Self::ResetMidBody => Err(LastWords {
                chunks: vec![answer.head(length), answer.body.slice(..half)],
                // Else the reset may overtake what was sent before it.
                pace: Duration::from_millis(10),
                ending: Ending::Reset,
            }),
            Self::LengthTooLong => Err(LastWords {
                chunks: vec![answer.head(length + 10), answer.body],
                pace: Duration::ZERO,
                ending: Ending::Close,
            }),
            Self::LengthTooShort => Err(LastWords {
                chunks: vec![answer.head(half), answer.body],
                pace: Duration::ZERO,
                ending: Ending::Linger,
            }),
            Self::SlowBody(pace) => {
                // The caller is to suffer from the pace, and not from a race for the connection afterwards.
                let close = HeaderValue::from_static("close");
                answer.headers.insert(header::CONNECTION, close);
                let bytes = answer.body.chunks(1).map(Bytes::copy_from_slice);
                Err(LastWords {
                    chunks: std::iter::once(answer.head(length)).chain(bytes).collect(),
                    pace,
                    ending: Ending::Close,
                })
            }
            Self::Delay(_)
            | Self::Refuse
            | Self::ResetBeforeForwarding
            | Self::Hang
            | Self::Answer(_)
            | Self::Stale => Ok(answer),
        }
    }
}

/// A call while something may still happen to it at the service; once dropped, the call is settled.
struct Visit {
    passage: Arc<Passage>,
    id: u64,
    operation: Option<String>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.note(|call| call.settled_at = Some(Instant::now()));
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

impl Visit {
    /// Whether the call is a read that DynamoDB may answer from a replica that is behind.
    fn may_be_stale(&self, body: &Bytes) -> bool {
        self.operation.as_deref() == Some("GetItem") && readable(body)["ConsistentRead"] != true
    }

    fn note(&self, change: impl FnOnce(&mut Call)) {
        self.passage.calls.send_modify(|calls| {
            // It is gone if the test has cleared the calls in the meantime.
            if let Some(call) = calls.iter_mut().find(|call| call.id == self.id) {
                change(call);
            }
        });
    }

    /// Asks the service, in a task of its own: what was sent arrives, whatever happens to the sender.
    async fn forward(
        self,
        head: request::Parts,
        body: Bytes,
        delay: Duration,
    ) -> Result<Answer, LastWords> {
        let task = tokio::spawn(async move {
            sleep(delay).await;
            self.ask(head, body).await
        });
        // What the service does not answer, the caller does not get answered either.
        let answer = task.await.ok().and_then(Result::ok);
        answer.ok_or_else(|| Ending::Reset.into())
    }

    async fn ask(&self, head: request::Parts, body: Bytes) -> reqwest::Result<Answer> {
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let url = format!("{}{target}", self.passage.upstream);
        let mut headers = head.headers;
        remove_transport(&mut headers);
        headers.remove(header::HOST);
        headers.remove(header::CONTENT_LENGTH);
        let writes = metered(self.operation.as_deref());
        let body = if writes.is_some() {
            metering(body)
        } else {
            body
        };

        let client = &self.passage.client;
        let mut request = client.request(head.method.clone(), url).headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        let response = request.send().await?;

        let status = response.status();
        let mut headers = response.headers().clone();
        let body = response.bytes().await?;
        remove_transport(&mut headers);
        if head.method != Method::HEAD {
            headers.remove(header::CONTENT_LENGTH);
        }
        self.note(|call| {
            call.status = Some(status);
            call.is_forwarded = true;
            call.consumed = writes.map_or_else(Units::default, |writes| consumed(&body, writes));
        });
        Ok(Answer {
            status,
            headers,
            body,
        })
    }
}

impl Answer {
    /// The head as it goes over the wire, with a length that need not be true.
    fn head(&self, content_length: usize) -> Bytes {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            if name != header::CONTENT_LENGTH {
                head.extend_from_slice(name.as_ref());
                head.extend_from_slice(b": ");
                head.extend_from_slice(value.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
        }
        head.extend_from_slice(format!("content-length: {content_length}\r\n\r\n").as_bytes());
        head.into()
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(Full::new(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}

/// What belongs to one connection, and not to the next (RFC 9110, section 7.6.1).
fn remove_transport(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::EXPECT,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

fn readable(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

/// The request, with the wish to be told what it costs. Its signature is void then; a local DynamoDB does not look.
fn metering(body: Bytes) -> Bytes {
    match serde_json::from_slice(&body) {
        Ok(Value::Object(mut request)) => {
            request.insert("ReturnConsumedCapacity".to_owned(), json!("TOTAL"));
            Value::Object(request).to_string().into()
        }
        _ => body,
    }
}

/// What an answer says about its cost: one object, or one for each table of a transaction or batch.
fn consumed(body: &[u8], writes: bool) -> Units {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let capacity = match &answer["ConsumedCapacity"] {
        Value::Array(tables) => tables.clone(),
        single => vec![single.clone()],
    };
    let total = capacity
        .iter()
        .filter_map(|table| table["CapacityUnits"].as_f64())
        .sum();
    if writes {
        Units {
            read: 0.0,
            write: total,
        }
    } else {
        Units {
            read: total,
            write: 0.0,
        }
    }
}

/// A test that failed while it held a lock has said so; the others need not fail for it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, sync::atomic::AtomicUsize};

    use axum::{
        Json, Router,
        extract::State,
        routing::{get, post},
    };
    use reqwest::{Client, RequestBuilder};
    use tokio::{io::AsyncReadExt, time::timeout};

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(5);

    /// A service that counts what it was asked to write.
    struct Service {
        writes: Arc<AtomicUsize>,
        proxy: Proxy,
        client: Client,
    }

    impl Service {
        async fn start() -> Self {
            let writes = Arc::new(AtomicUsize::new(0));
            let router = Router::new()
                .route(
                    "/user",
                    get(|| async { Json(json!({ "login": "octocat" })) }),
                )
                .route("/user/emails", get(|| async { Json(json!([])) }))
                .route("/write", post(write))
                .with_state(writes.clone());
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
            Self {
                writes,
                proxy: Proxy::start(&url).await,
                client: client(),
            }
        }

        fn get(&self, path: &str) -> RequestBuilder {
            self.client.get(format!("{}{path}", self.proxy.url()))
        }

        fn write(&self) -> RequestBuilder {
            let url = format!("{}/write", self.proxy.url());
            self.client.post(url).json(&json!({ "value": 1 }))
        }

        fn writes(&self) -> usize {
            self.writes.load(Ordering::SeqCst)
        }

        /// Everything works again, and on the same client: nothing broken is left in its pool.
        async fn works(&self) {
            self.proxy.heal();
            let answer = self.get("/user").send().await.unwrap();
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(answer, json!({ "login": "octocat" }));
        }
    }

    fn client() -> Client {
        Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .build()
            .unwrap()
    }

    async fn write(State(writes): State<Arc<AtomicUsize>>, Json(_): Json<Value>) -> Json<Value> {
        let count = writes.fetch_add(1, Ordering::SeqCst) + 1;
        Json(json!({ "writes": count }))
    }

    #[tokio::test]
    async fn without_a_fault_everything_passes_and_is_recorded() {
        let service = Service::start().await;

        let first = service
            .get("/user?a=b")
            .bearer_auth("a secret")
            .send()
            .await
            .unwrap();
        let second = service.write().send().await.unwrap();

        assert_eq!(first.headers()["content-type"], "application/json");
        assert_eq!(first.text().await.unwrap(), r#"{"login":"octocat"}"#);
        assert_eq!(
            second.json::<Value>().await.unwrap(),
            json!({ "writes": 1 })
        );
        let calls = service.proxy.calls();
        assert_eq!((calls[0].number, calls[1].number), (1, 2));
        assert_eq!(
            (calls[0].path.as_str(), calls[0].query.as_deref()),
            ("/user", Some("a=b"))
        );
        assert_eq!(calls[0].headers["authorization"], "Bearer a secret");
        assert!(!format!("{calls:?}").contains("a secret"));
        assert_eq!(calls[1].method, Method::POST);
        assert_eq!(calls[1].body, json!({ "value": 1 }));
        assert_eq!(calls[1].status, Some(StatusCode::OK));
        assert!(calls[1].is_forwarded && calls[1].settled_at.is_some());
        assert_eq!(service.proxy.round_trips(), 2);

        service.proxy.clear();
        assert!(service.proxy.calls().is_empty());
    }

    #[tokio::test]
    async fn a_missing_service_looks_like_one() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let proxy = Proxy::start(&format!("http://{address}/")).await;

        client().get(proxy.url()).send().await.unwrap_err();

        assert!(!proxy.calls()[0].is_forwarded);
        proxy.settled().await;
    }

    #[tokio::test]
    async fn a_fault_hits_the_calls_that_it_is_for() {
        let service = Service::start().await;
        let status = async |path| service.get(path).send().await.unwrap().status().as_u16();
        let teapot = Fault::status(StatusCode::IM_A_TEAPOT);

        service.proxy.fault(When::Nth(2), teapot.clone());
        assert_eq!(
            [
                status("/user").await,
                status("/user").await,
                status("/user").await
            ],
            [200, 418, 200]
        );

        service.proxy.heal();
        service.proxy.fault(When::Path("/user"), teapot.clone());
        assert_eq!(
            [
                status("/user/emails").await,
                status("/user").await,
                status("/user").await
            ],
            [200, 418, 418]
        );

        service.proxy.heal();
        service.proxy.fault_once(When::Always, teapot.clone());
        assert_eq!([status("/user").await, status("/user").await], [418, 200]);

        service.proxy.heal();
        service.proxy.fault_times(2, When::Always, teapot.clone());
        assert_eq!(
            [
                status("/user").await,
                status("/user").await,
                status("/user").await
            ],
            [418, 418, 200]
        );

        service.proxy.heal();
        service
            .proxy
            .fault(When::Matching(|call| call.query.is_some()), teapot.clone());
        assert_eq!([status("/user").await, status("/user?a").await], [200, 418]);

        service.proxy.heal();
        service.proxy.fault(When::Always, teapot);
        service
            .proxy
            .fault(When::Always, Fault::status(StatusCode::GONE));
        assert_eq!([status("/user").await, status("/user").await], [418, 418]);
        service.works().await;
    }

    #[tokio::test]
    async fn a_delayed_call_takes_effect_even_if_nobody_waits_for_it() {
        let service = Service::start().await;
        service.proxy.fault(When::Always, Fault::Delay(SHORT));

        let started = Instant::now();
        service.write().send().await.unwrap();
        assert!(started.elapsed() >= SHORT);

        let caller = tokio::spawn(service.write().send());
        timeout(LONG, service.proxy.arrived(2)).await.unwrap();
        caller.abort();
        assert_eq!(service.writes(), 1);
        timeout(LONG, service.proxy.settled()).await.unwrap();
        assert_eq!(service.writes(), 2);
        service.works().await;
    }

    #[tokio::test]
    async fn a_refused_call_ends_its_connection() {
        let service = Service::start().await;
        service.get("/user").send().await.unwrap();
        service.proxy.fault(When::Always, Fault::Refuse);

        service.write().send().await.unwrap_err();

        assert_eq!(service.proxy.calls()[1].body, Value::Null);
        assert_eq!(service.writes(), 0);
        service.works().await;
    }

    #[tokio::test]
    async fn a_proxy_that_is_down_refuses_connections() {
        let service = Service::start().await;
        service.get("/user").send().await.unwrap();

        service.proxy.down().await;
        // The pooled connection may still look alive to the first call.
        let _ = service.get("/user").send().await;
        let refused = service.get("/user").send().await.unwrap_err();
        assert!(refused.is_connect(), "{refused:?}");
        assert_eq!(service.proxy.calls().len(), 1);

        service.works().await;
    }

    #[tokio::test]
    async fn a_caller_can_be_killed_before_its_call_takes_effect() {
        let service = Service::start().await;
        service.proxy.fault(When::Always, Fault::Hang);
        let caller = tokio::spawn(service.write().send());

        timeout(LONG, service.proxy.arrived(1)).await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());

        timeout(LONG, service.proxy.settled()).await.unwrap();
        assert_eq!(service.writes(), 0);
        service.works().await;
    }

    #[tokio::test]
    async fn a_caller_can_be_killed_after_its_call_took_effect() {
        let service = Service::start().await;
        service
            .proxy
            .fault(When::Nth(2), Fault::HangAfterForwarding);
        service.write().send().await.unwrap();
        let caller = tokio::spawn(service.write().send());

        timeout(LONG, service.proxy.forwarded(2)).await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());

        assert_eq!(service.writes(), 2);
        service.works().await;
    }

    #[tokio::test]
    async fn a_caller_that_breaks_off_in_its_request_asked_for_nothing() {
        let service = Service::start().await;
        let mut stream = TcpStream::connect(service.proxy.address).await.unwrap();
        let half = "POST /write HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"value\"";
        stream.write_all(half.as_bytes()).await.unwrap();

        timeout(LONG, service.proxy.arrived(1)).await.unwrap();
        drop(stream);

        timeout(LONG, service.proxy.settled()).await.unwrap();
        assert_eq!(service.writes(), 0);
    }

    #[tokio::test]
    async fn a_reset_loses_the_call_or_only_its_answer() {
        let service = Service::start().await;

        for (fault, writes) in [
            (Fault::ResetBeforeForwarding, 0),
            (Fault::ResetAfterForwarding, 1),
        ] {
            // Once on a fresh connection, and once on one from the pool.
            for _ in 0..2 {
                let before = service.writes();
                service.proxy.fault(When::Always, fault.clone());
                let error = service.write().send().await.unwrap_err();
                assert!(!error.is_timeout(), "{error:?}");
                assert_eq!(service.writes() - before, writes, "{fault:?}");
                service.works().await;
            }
        }
    }

    #[tokio::test]
    async fn a_reset_is_one_on_the_wire_and_a_refusal_is_a_close() {
        let service = Service::start().await;
        let request = b"GET /user HTTP/1.1\r\nhost: a\r\n\r\n";
        let outcome = async |fault| {
            service.proxy.heal();
            service.proxy.fault(When::Always, fault);
            let mut stream = TcpStream::connect(service.proxy.address).await.unwrap();
            stream.write_all(request).await.unwrap();
            let mut read = Vec::new();
            let result = timeout(LONG, stream.read_to_end(&mut read)).await.unwrap();
            (result.map_err(|error| error.kind()), read.is_empty())
        };

        let reset = Err(ErrorKind::ConnectionReset);
        assert_eq!(outcome(Fault::ResetBeforeForwarding).await, (reset, true));
        assert_eq!(outcome(Fault::ResetAfterForwarding).await, (reset, true));
        assert_eq!(outcome(Fault::ResetMidBody).await, (reset, false));
        assert_eq!(outcome(Fault::Refuse).await, (Ok(0), true));
    }

    #[tokio::test]
    async fn a_broken_body_is_noticed_while_it_is_read() {
        let service = Service::start().await;

        for fault in [Fault::ResetMidBody, Fault::LengthTooLong] {
            service.proxy.fault(When::Always, fault);
            let answer = service.write().send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()["content-type"], "application/json");
            answer.text().await.unwrap_err();
            service.works().await;
        }
        assert_eq!(service.writes(), 2);
    }

    #[tokio::test]
    async fn a_shortened_body_is_noticed_only_by_who_parses_it() {
        let service = Service::start().await;

        for fault in [Fault::TruncatedBody, Fault::LengthTooShort] {
            service.proxy.fault(When::Always, fault.clone());
            let answer = service.get("/user").send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), r#"{"login":"#, "{fault:?}");
            service.works().await;
        }
    }

    #[tokio::test]
    async fn what_an_answer_did_not_announce_follows_on_its_connection() {
        let service = Service::start().await;
        service.proxy.fault(When::Always, Fault::LengthTooShort);
        let mut stream = TcpStream::connect(service.proxy.address).await.unwrap();
        let request = b"GET /user HTTP/1.1\r\nhost: a\r\n\r\n";
        stream.write_all(request).await.unwrap();

        let mut read = String::new();
        while !read.ends_with("}") {
            let mut buffer = [0; 1024];
            let count = timeout(LONG, stream.read(&mut buffer))
                .await
                .unwrap()
                .unwrap();
            read.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }

        assert!(read.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(read.contains("\r\ncontent-length: 9\r\n\r\n{\"login\":\"octocat\"}"));
        let still_open = timeout(SHORT, stream.read_u8()).await;
        assert!(still_open.is_err());
    }

    #[tokio::test]
    async fn a_slow_body_arrives_byte_by_byte() {
        let service = Service::start().await;
        let pace = Duration::from_millis(20);
        service.proxy.fault(When::Always, Fault::SlowBody(pace));

        let started = Instant::now();
        let answer = service.get("/user").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), r#"{"login":"octocat"}"#);
        assert!(started.elapsed() >= pace * 19);

        let impatient = service.get("/user").timeout(pace * 10);
        let answer = impatient.send().await.unwrap();
        assert!(answer.text().await.unwrap_err().is_timeout());
        service.works().await;
    }

    #[tokio::test]
    async fn a_provider_can_refuse_and_mislead() {
        let service = Service::start().await;
        let answer = async |fault| {
            service.proxy.heal();
            service.proxy.fault(When::Always, fault);
            service.write().send().await.unwrap()
        };

        let limited = answer(Fault::rate_limited(7)).await;
        assert_eq!(
            (limited.status().as_u16(), &limited.headers()["retry-after"]),
            (403, &"7".parse().unwrap())
        );
        let limited = answer(Fault::too_many_requests(60)).await;
        assert_eq!(
            (limited.status().as_u16(), &limited.headers()["retry-after"]),
            (429, &"60".parse().unwrap())
        );
        let redirect = answer(Fault::redirect_to("http://elsewhere.example/")).await;
        assert_eq!(
            (redirect.status().as_u16(), &redirect.headers()["location"]),
            (307, &"http://elsewhere.example/".parse().unwrap())
        );
        let page = answer(Fault::html()).await;
        assert_eq!(page.status(), StatusCode::OK);
        page.json::<Value>().await.unwrap_err();

        assert_eq!(service.writes(), 0);
        let calls = service.proxy.calls();
        assert_eq!(calls[0].status, Some(StatusCode::FORBIDDEN));
        assert!(
            calls
                .iter()
                .all(|call| !call.is_forwarded && call.settled_at.is_some())
        );
        service.works().await;
    }

    #[tokio::test]
    async fn parallel_calls_are_one_round_trip() {
        let service = Service::start().await;
        service.proxy.fault(When::Always, Fault::Delay(SHORT));

        let (first, second) = tokio::join!(service.write().send(), service.get("/user").send());
        first.and(second).unwrap();
        assert_eq!(service.proxy.round_trips(), 1);

        service.write().send().await.unwrap();
        assert_eq!(service.proxy.round_trips(), 2);
    }

    /// A DynamoDB with a table, behind a proxy.
    struct Table {
        proxy: Proxy,
        client: Client,
    }

    impl Table {
        async fn start() -> Self {
            let database = dynoxide::Database::memory().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let never = std::future::pending();
            tokio::spawn(dynoxide::server::serve_with_shutdown(
                listener, database, never,
            ));
            let table = Self {
                proxy: Proxy::start(&url).await,
                client: client(),
            };
            let schema = json!({
                "TableName": "things",
                "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
                "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" }],
                "BillingMode": "PAY_PER_REQUEST",
            });
            assert_eq!(table.call("CreateTable", schema).await.0, 200);
            table.proxy.clear();
            table
        }

        async fn call(&self, operation: &str, body: Value) -> (u16, Value) {
            let signature = "AWS4-HMAC-SHA256 Credential=a/20260101/eu-central-1/dynamodb/aws4_request, \
                             SignedHeaders=host, Signature=0";
            let request = self
                .client
                .post(self.proxy.url())
                .header("authorization", signature)
                .header("x-amz-date", "20260101T000000Z")
                .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
                .header("content-type", "application/x-amz-json-1.0")
                .body(body.to_string());
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        }

        async fn put(&self) -> (u16, Value) {
            let thing = json!({ "TableName": "things", "Item": { "pk": { "S": "a" } } });
            self.call("PutItem", thing).await
        }

        async fn get(&self, consistent: bool) -> (u16, Value) {
            let key = json!({
                "TableName": "things",
                "Key": { "pk": { "S": "a" } },
                "ConsistentRead": consistent,
            });
            self.call("GetItem", key).await
        }
    }

    #[tokio::test]
    async fn dynamodb_says_what_each_call_costs() {
        let table = Table::start().await;

        table.put().await;
        table.get(true).await;
        let (_, found) = table.get(false).await;
        let put = |key| json!({ "Put": { "TableName": "things", "Item": { "pk": { "S": key } } } });
        table
            .call(
                "TransactWriteItems",
                json!({ "TransactItems": [put("b"), put("c")] }),
            )
            .await;

        assert_eq!(found["Item"], json!({ "pk": { "S": "a" } }));
        let calls = table.proxy.calls();
        let operations: Vec<_> = calls
            .iter()
            .map(|call| call.operation.as_deref().unwrap())
            .collect();
        assert_eq!(
            operations,
            ["PutItem", "GetItem", "GetItem", "TransactWriteItems"]
        );
        let units: Vec<_> = calls
            .iter()
            .map(|call| (call.consumed.read, call.consumed.write))
            .collect();
        assert_eq!(units, [(0.0, 1.0), (1.0, 0.0), (0.5, 0.0), (0.0, 4.0)]);
        assert_eq!(
            table.proxy.consumed(),
            Units {
                read: 1.5,
                write: 5.0
            }
        );
        assert!(calls[0].is_write() && !calls[1].is_write() && calls[3].is_write());
        // As the caller wrote it, and not as it was forwarded.
        assert_eq!(calls[0].body.get("ReturnConsumedCapacity"), None);
    }

    #[tokio::test]
    async fn dynamodb_can_fail_in_its_own_words() {
        let table = Table::start().await;
        for (fault, status, name) in [
            (
                Fault::provisioned_throughput_exceeded(),
                400,
                "ProvisionedThroughputExceededException",
            ),
            (Fault::throttling(), 400, "ThrottlingException"),
            (Fault::request_limit_exceeded(), 400, "RequestLimitExceeded"),
            (Fault::internal_server_error(), 500, "InternalServerError"),
            (Fault::service_unavailable(), 503, "ServiceUnavailable"),
            (
                Fault::transaction_conflict(),
                400,
                "TransactionConflictException",
            ),
            (
                Fault::transaction_canceled(&["None", "TransactionConflict"]),
                400,
                "TransactionCanceledException",
            ),
        ] {
            table.proxy.fault(When::Operation("PutItem"), fault);
            let (found, body) = table.put().await;
            assert_eq!(found, status);
            let kind = body["__type"].as_str().unwrap();
            assert_eq!(kind.split_once('#').unwrap().1, name);
            if name == "TransactionCanceledException" {
                assert_eq!(body["CancellationReasons"][0], json!({ "Code": "None" }));
                assert_eq!(
                    body["CancellationReasons"][1]["Code"],
                    "TransactionConflict"
                );
            }
            // Other operations are left alone, and nothing was written.
            assert_eq!(
                table.get(true).await,
                (
                    200,
                    json!({ "ConsumedCapacity": { "TableName": "things", "CapacityUnits": 1.0 } })
                )
            );
            table.proxy.heal();
        }
    }

    #[tokio::test]
    async fn every_listed_fault_keeps_a_caller_from_its_answer_or_makes_it_wait() {
        let service = Service::start().await;
        let faults = [Fault::of_dynamodb(), Fault::of_a_provider()].concat();

        for (name, fault) in faults {
            service.proxy.fault(When::Always, fault);
            let request = service.get("/user").timeout(SHORT / 4);
            let answer: reqwest::Result<Value> =
                async { request.send().await?.error_for_status()?.json().await }.await;
            assert!(answer.is_err(), "{name}");
            service.works().await;
        }
    }
}
