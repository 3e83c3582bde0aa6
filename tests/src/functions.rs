//! The functions as processes: their real binaries under a stand-in for Lambda, behind one URL as behind API Gateway.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use shared::config::Environment;
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    task::JoinSet,
    time::sleep,
};

use crate::{
    lambda::{Lambda, Outcome},
    logs::secret_in,
    serve,
};

/// The functions.
pub const NAMES: [&str; 9] = [
    "authorizer",
    "discovery",
    "identities",
    "introspect",
    "me",
    "revoke",
    "rotate-keys",
    "sessions",
    "token-exchange",
];

/// The longest body of a request of a test.
const MAX_BODY: usize = 1024 * 1024;

/// The functions with the settings of one service. Each has at most one process, which its next event starts.
///
/// The routes of the API are those of API Gateway. `POST /events/<function>` sends its body as an event.
pub struct Functions {
    /// The URL of all routes.
    pub url: String,
    all: Arc<HashMap<&'static str, Function>>,
    _running: JoinSet<()>,
}

struct Function {
    binary: PathBuf,
    settings: HashMap<String, String>,
    log: Log,
    /// True if the process is killed when it answers.
    is_doomed: AtomicBool,
    instance: AsyncMutex<Option<Lambda>>,
    /// The process of `instance`, for those that do not hold the lock.
    running: Mutex<Option<Running>>,
}

#[derive(Clone)]
struct Running {
    pid: Pid,
    /// Woken when the process is killed.
    killed: Arc<Notify>,
}

/// The output of the processes of a function. `tests/check-logs.sh` reads it again.
struct Log {
    file: File,
    path: PathBuf,
}

#[expect(
    clippy::expect_used,
    reason = "a test without its functions proves nothing"
)]
impl Functions {
    /// Prepares the functions for a service with these `settings`. `test` is a part of the names of their log files.
    pub async fn new(test: &str, settings: &HashMap<String, String>) -> Self {
        Self::of("CAMBIO_FUNCTIONS", test, settings).await
    }

    /// Prepares the functions whose folder the environment variable `folder` names.
    pub async fn of(folder: &str, test: &str, settings: &HashMap<String, String>) -> Self {
        let folder = binaries(folder);
        let mut settings = settings.clone();
        settings.insert("LOG_LEVEL".to_owned(), "trace".to_owned());
        let all = NAMES.map(|name| {
            let function = Function {
                binary: folder.join(name),
                settings: settings.clone(),
                log: Log::new(&format!("{test}-{name}")),
                is_doomed: AtomicBool::default(),
                instance: AsyncMutex::default(),
                running: Mutex::default(),
            };
            (name, function)
        });
        let all = Arc::new(HashMap::from(all));
        let routes = Router::new()
            .route("/events/{function}", post(send_event))
            .fallback(send_request)
            .with_state(all.clone());
        let mut running = JoinSet::new();
        Self {
            url: serve(&mut running, routes).await,
            all,
            _running: running,
        }
    }

    /// Kills the process of a function. The request that it works on, if any, is answered as Lambda answers it.
    pub async fn kill(&self, function: &str) {
        self.function(function).kill().await;
    }

    /// Kills the process of a function when it answers the next time. The answer is lost.
    pub fn kill_at_the_answer(&self, function: &str) {
        let function = self.function(function);
        function.is_doomed.store(true, Ordering::SeqCst);
    }

    /// Kills the process of each function.
    pub async fn kill_all(&self) {
        for function in self.all.values() {
            function.kill().await;
        }
    }

    /// Stops each process, as Lambda freezes an environment without requests, and returns the number of them.
    pub fn freeze(&self) -> usize {
        self.signal(Signal::STOP)
    }

    /// Lets each process go on, and returns the number of them.
    pub fn thaw(&self) -> usize {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> usize {
        let running = self.all.values().filter_map(|function| {
            let running = function.running().clone();
            running.map(|running| kill_process(running.pid, signal).expect("a process"))
        });
        running.count()
    }

    /// Returns the secrets in the output of the functions, each with its file.
    pub fn secrets_in_logs(&self) -> Vec<String> {
        let logs = self.all.values().map(|function| &function.log);
        let found = logs.flat_map(|log| {
            let text = fs::read_to_string(&log.path).expect("a log");
            let secrets = text.lines().filter_map(secret_in);
            secrets
                .map(|secret| format!("{}: {secret}", log.path.display()))
                .collect::<Vec<_>>()
        });
        found.collect()
    }

    fn function(&self, name: &str) -> &Function {
        self.all.get(name).expect("a function of this name")
    }
}

impl Function {
    async fn start<'a>(&self, instance: &'a mut Option<Lambda>) -> &'a mut Lambda {
        let lambda = match instance.take() {
            Some(lambda) => lambda,
            None => {
                let binary = self.binary.as_os_str();
                let lambda = Lambda::logging_to(&self.log.file, binary, &self.settings).await;
                *self.running() = Some(Running {
                    pid: lambda.pid(),
                    killed: Arc::default(),
                });
                lambda
            }
        };
        instance.insert(lambda)
    }

    /// Returns the outcome of an event; `None` if the process was killed before it answered.
    async fn invoke(&self, event: &Value) -> Option<Outcome> {
        let mut instance = self.instance.lock().await;
        let lambda = self.start(&mut instance).await;
        let killed = self.running().as_ref()?.killed.clone();
        let outcome = tokio::select! {
            outcome = lambda.invoke(event) => Some(outcome),
            () = killed.notified() => None,
        };
        if outcome.is_none() || self.is_doomed.swap(false, Ordering::SeqCst) {
            *self.running() = None;
            // Kills the process if it runs, and waits for its end.
            *instance = None;
            return None;
        }
        outcome
    }

    async fn kill(&self) {
        let running = loop {
            if let Some(running) = self.running().take() {
                break running;
            }
            if let Ok(mut instance) = self.instance.try_lock() {
                *instance = None;
                return;
            }
            // The process has started, and may have made calls, but its id is not known yet.
            sleep(Duration::from_millis(1)).await;
        };
        // An error means that the process has ended, which is the aim.
        let _ = kill_process(running.pid, Signal::KILL);
        running.killed.notify_one();
        *self.instance.lock().await = None;
    }

    /// The lock is held for a few instructions, so a panic leaves nothing half done.
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::expect_used, reason = "without its log a test proves less")]
impl Log {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e-logs");
        fs::create_dir_all(&folder).expect("a folder for logs");
        let path = folder.join(format!("{name}-{}.log", process::id()));
        let file = File::options().create(true).append(true).open(&path);
        let file = file.expect("a log file");
        Self { file, path }
    }
}

/// Returns the folder of the binaries that `variable` names: `tests/cold-start/cold_start.py` fills the usual one, and
/// `tests/versions/versions.py` that of an earlier revision.
#[expect(clippy::panic, reason = "a test without its functions proves nothing")]
fn binaries(variable: &str) -> PathBuf {
    let Some(folder) = Environment::process().optional(variable) else {
        panic!("{variable} is not set: name the folder of the functions' binaries");
    };
    PathBuf::from(folder)
}

/// Returns the function of a route, as `template.yaml` wires it.
fn function_of(path: &str) -> Option<&'static str> {
    let first = path.trim_start_matches('/').split('/').take(2);
    match *first.collect::<Vec<_>>() {
        ["token"] => Some("token-exchange"),
        ["revoke"] => Some("revoke"),
        ["introspect"] => Some("introspect"),
        ["me"] => Some("me"),
        ["me", "sessions"] => Some("sessions"),
        ["me", "identities"] => Some("identities"),
        [".well-known", _] => Some("discovery"),
        _ => None,
    }
}

async fn send_event(
    State(all): State<Arc<HashMap<&'static str, Function>>>,
    axum::extract::Path(name): axum::extract::Path<String>,
    event: Bytes,
) -> Response {
    let Some(function) = all.get(&*name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let event = serde_json::from_slice(&event).unwrap_or_default();
    match function.invoke(&event).await {
        Some(Outcome::Answer(answer)) => axum::Json(answer).into_response(),
        Some(Outcome::Failure(_)) | None => failed(),
    }
}

async fn send_request(
    State(all): State<Arc<HashMap<&'static str, Function>>>,
    request: Request,
) -> Response {
    let function = function_of(request.uri().path()).and_then(|name| all.get(name));
    let Some(function) = function else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match function.invoke(&event(request).await).await {
        Some(Outcome::Answer(answer)) => response(&answer).unwrap_or_else(failed),
        Some(Outcome::Failure(_)) | None => failed(),
    }
}

/// The answer of API Gateway for an invocation that failed.
fn failed() -> Response {
    let body = axum::Json(json!({ "message": "Internal Server Error" }));
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}

/// Returns the event of an HTTP API (payload format 2.0) for a request.
async fn event(request: Request) -> Value {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await;
    let body = body.unwrap_or_default();
    let path = head.uri.path();
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": head.uri.query().unwrap_or_default(),
        "headers": headers(&head.headers),
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": "api.example.com",
            "http": {
                "method": head.method.as_str(), "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": 1_583_348_638_390_u64,
        },
        "body": String::from_utf8_lossy(&body),
        "isBase64Encoded": false,
    })
}

/// Returns the headers as API Gateway does: values of one name joined by commas.
fn headers(headers: &HeaderMap) -> Value {
    let mut joined = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
        joined.insert(name.as_str().to_owned(), values.join(",").into());
    }
    joined.into()
}

fn response(answer: &Value) -> Option<Response> {
    let status = answer["statusCode"].as_u64()?.try_into().ok()?;
    let mut response = Response::builder().status::<u16>(status);
    for (name, value) in answer["headers"].as_object()? {
        response = response.header(name, value.as_str()?);
    }
    let body = answer["body"].as_str().unwrap_or_default().to_owned();
    response.body(Body::from(body)).ok()
}
