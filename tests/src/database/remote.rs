//! A DynamoDB outside of this process, for all services in it.

use std::{
    process::Child,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use local::settings::{DynamoDb, aws_variables};
use serde_json::{Value, json};
use shared::{
    clock::Clock,
    config::{self, Environment},
};
use tokio::runtime::{Builder, Runtime};

use super::{java, signer::Signer};

/// The variable with the prefix of all tables of a run, so that what a killed run leaves behind can be found.
const PREFIX: &str = "CAMBIO_TEST_TABLE_PREFIX";

/// The number of attempts of a request that DynamoDB may accept later, one each second.
const ATTEMPTS: usize = 120;
const PAUSE: Duration = Duration::from_secs(1);

/// Refusals of a request that DynamoDB accepts later: too many tables are being made or deleted, or this one is.
const PASSING: [&str; 4] = [
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "ResourceInUseException",
    "ThrottlingException",
];

pub(super) struct Remote {
    pub(super) url: String,
    pub(super) signer: Signer,
    /// A runtime of its own, so that a test can wait for an answer without `await`, as with the embedded DynamoDB.
    runtime: Runtime,
    client: reqwest::Client,
    prefix: String,
    last_service: AtomicUsize,
    /// Ends with this process.
    _java: Option<Child>,
}

/// DynamoDB refuses a request.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Refusal {
    fn is(&self, kind: &str) -> bool {
        let name = self.body["__type"].as_str().unwrap_or_default();
        name.rsplit('#').next() == Some(kind)
    }

    fn is_passing(&self) -> bool {
        self.status.is_server_error() || PASSING.iter().any(|kind| self.is(kind))
    }
}

#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test without its database has nothing to prove"
)]
impl Remote {
    /// Returns the DynamoDB of this process, which starts with the first service.
    pub(super) fn of(choice: &str) -> &'static Self {
        static REMOTE: OnceLock<Remote> = OnceLock::new();
        REMOTE.get_or_init(|| Self::new(choice))
    }

    fn new(choice: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let process = Environment::process();
        let (url, java, env) = match choice {
            "local-java" => {
                let (url, java) = java::start();
                let local = aws_variables(&DynamoDb {
                    url: url.clone(),
                    access_key_id: "local".to_owned(),
                });
                (url, Some(java), Environment::of(local))
            }
            url if url.starts_with("https://") || url.starts_with("http://") => {
                (url.trim_end_matches('/').to_owned(), None, process)
            }
            other => panic!(
                "{} is {other}; expected embedded, local-java or a URL",
                super::CHOICE
            ),
        };
        let config = config::DynamoDb::from_env(&env).expect("the AWS variables");
        let prefix = Environment::process().optional(PREFIX);
        let remote = Self {
            url,
            signer: Signer::new(config, Clock::system()),
            runtime,
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("an HTTP client"),
            prefix: prefix.unwrap_or_else(|| format!("cambio-test-{}", std::process::id())),
            last_service: AtomicUsize::new(0),
            _java: java,
        };
        if remote._java.is_some() {
            java::until(|| remote.try_once("ListTables", &json!({})).is_some());
            java::warm_up(|operation, request| {
                let answer = remote.try_once(operation, &request);
                assert!(matches!(answer, Some(Ok(_))), "{operation}: {answer:?}");
            });
        }
        remote
    }

    /// Returns the prefix of the tables of the next service.
    pub(super) fn next_prefix(&self) -> String {
        let number = self.last_service.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}-", self.prefix)
    }

    /// Sends a request and returns the answer.
    pub(super) fn call(&'static self, operation: &str, request: &Value) -> Value {
        self.ask(operation, request)
            .unwrap_or_else(|refusal| panic!("{operation}: {refusal:?}"))
    }

    /// Deletes a table.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub(super) fn delete_table(&'static self, name: &str) -> Result<(), Refusal> {
        match self.ask("DeleteTable", &json!({ "TableName": name })) {
            Err(refusal) if !refusal.is("ResourceNotFoundException") => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Waits until a new table can be used.
    pub(super) fn until_active(&'static self, name: &str) {
        for _ in 0..ATTEMPTS {
            let table = self.call("DescribeTable", &json!({ "TableName": name }));
            if table["Table"]["TableStatus"] == "ACTIVE" {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("the table {name} did not become active");
    }

    fn ask(&'static self, operation: &str, request: &Value) -> Result<Value, Refusal> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let answer = self.try_once(operation, request);
            let answer = answer.unwrap_or_else(|| panic!("{} does not answer", self.url));
            match answer {
                Err(refusal) if refusal.is_passing() => last = Some(refusal),
                answer => return answer,
            }
            std::thread::sleep(PAUSE);
        }
        Err(last.expect("a refusal"))
    }

    /// Sends a request once. Returns `None` if there is no answer.
    fn try_once(&self, operation: &str, request: &Value) -> Option<Result<Value, Refusal>> {
        let body = request.to_string();
        let target = format!("DynamoDB_20120810.{operation}");
        let mut headers = HeaderMap::from_iter([
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/x-amz-json-1.0"),
            ),
            (
                HeaderName::from_static("x-amz-target"),
                HeaderValue::from_str(&target).expect("an operation"),
            ),
        ]);
        self.signer
            .sign(&Method::POST, &self.url, &mut headers, body.as_bytes());
        let request = self.client.post(&self.url).headers(headers).body(body);
        let (sender, answer) = mpsc::channel();
        self.runtime.spawn(async move {
            let answer = async {
                let answer = request.send().await.ok()?;
                let status = answer.status();
                let body = answer.bytes().await.ok()?;
                Some((status, serde_json::from_slice(&body).unwrap_or_default()))
            };
            // The receiver waits until then.
            let _ = sender.send(answer.await);
        });
        let (status, body): (StatusCode, Value) = answer.recv().ok()??;
        Some(if status.is_success() {
            Ok(body)
        } else {
            Err(Refusal { status, body })
        })
    }
}
