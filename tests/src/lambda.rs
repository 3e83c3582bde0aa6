//! A stand-in for Lambda's runtime API, which starts a function's real binary and sends events to it.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use rustix::process::Pid;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// The time limit of an invocation, sufficient on a busy machine, and for a process that is frozen for minutes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running function, which stops when this value is dropped.
#[derive(Debug)]
pub struct Lambda {
    function: Option<Child>,
    events: mpsc::Sender<String>,
    outcomes: mpsc::Receiver<Outcome>,
    serving: JoinHandle<()>,
}

/// The outcome of an invocation.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The invocation succeeded with this answer.
    Answer(Value),
    /// The invocation failed with this error.
    Failure(Value),
}

#[derive(Clone)]
struct Runtime {
    events: Arc<Mutex<mpsc::Receiver<String>>>,
    outcomes: mpsc::Sender<Outcome>,
}

#[expect(
    clippy::expect_used,
    reason = "a test without its function proves nothing"
)]
impl Lambda {
    /// Starts `binary` with these settings and the variables that Lambda sets. [`Self::stop`] returns its output.
    pub async fn start(binary: &str, settings: &HashMap<String, String>) -> Self {
        Self::spawn(binary.as_ref(), settings, Stdio::piped(), Stdio::piped()).await
    }

    /// Starts `binary` as [`Self::start`] does, with its output in a file.
    pub async fn logging_to(
        log: &File,
        binary: &OsStr,
        settings: &HashMap<String, String>,
    ) -> Self {
        let output = || log.try_clone().expect("a file that can be shared").into();
        Self::spawn(binary, settings, output(), output()).await
    }

    async fn spawn(
        binary: &OsStr,
        settings: &HashMap<String, String>,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Self {
        let (events, to_function) = mpsc::channel(1);
        let (from_function, outcomes) = mpsc::channel(1);
        let runtime = Runtime {
            events: Arc::new(Mutex::new(to_function)),
            outcomes: from_function,
        };
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(done))
            .with_state(runtime);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("its address");
        let serving = tokio::spawn(async move {
            // It ends with the test.
            let _ = axum::serve(listener, routes).await;
        });
        let function = Command::new(binary)
            .env_clear()
            .envs(settings)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "function")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("a binary that can be started");
        Self {
            function: Some(function),
            events,
            outcomes,
            serving,
        }
    }

    /// Returns the id of the process, for a signal.
    pub fn pid(&self) -> Pid {
        let function = self.function.as_ref().expect("a process");
        Pid::from_child(function)
    }

    /// Sends `event` to the function and waits for the outcome.
    pub async fn invoke(&mut self, event: &Value) -> Outcome {
        self.events
            .send(event.to_string())
            .await
            .expect("a runtime API");
        let outcome = tokio::time::timeout(PATIENCE, self.outcomes.recv()).await;
        outcome.expect("an outcome in time").expect("a runtime API")
    }

    /// Stops the function and returns all of its output.
    pub fn stop(mut self) -> String {
        let output = self.end().expect("a process that can be stopped");
        output.expect("a process that was not stopped before")
    }

    fn end(&mut self) -> io::Result<Option<String>> {
        self.serving.abort();
        let Some(mut function) = self.function.take() else {
            return Ok(None);
        };
        function.kill()?;
        let output = function.wait_with_output()?;
        let all = [output.stdout, output.stderr].concat();
        Ok(Some(String::from_utf8_lossy(&all).into_owned()))
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        // A test that failed before has reported the cause.
        let _ = self.end();
    }
}

async fn next(State(runtime): State<Runtime>) -> impl IntoResponse {
    let event = runtime.events.lock().await.recv().await;
    let headers = [
        ("lambda-runtime-aws-request-id", "request"),
        ("lambda-runtime-deadline-ms", "4102444800000"),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:123456789012:function:function",
        ),
        ("content-type", "application/json"),
    ];
    (headers, event.unwrap_or_default())
}

async fn done(
    State(runtime): State<Runtime>,
    Path((_, outcome)): Path<(String, String)>,
    body: Bytes,
) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let outcome = match outcome.as_str() {
        "response" => Outcome::Answer(body),
        _ => Outcome::Failure(body),
    };
    match runtime.outcomes.send(outcome).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::GONE,
    }
}
