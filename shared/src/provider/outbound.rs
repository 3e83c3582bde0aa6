//! The HTTP client for providers: one pool of connections, bounded in time and size, without redirects.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, ClientBuilder, Request, Response, StatusCode, header, redirect::Policy};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use url::Url;

use super::{
    ProviderError,
    breaker::Breaker,
    hosts::Hosts,
    rate_limit::{self, NotBefore},
};
use crate::{
    clock::{Clock, Timestamp},
    telemetry::{self, Part, Timed},
};

/// The longest answer, in bytes. A provider that sends more is faulty.
const MAX_BODY: usize = 1024 * 1024;
/// A frozen function keeps its connections, but the provider closes them meanwhile.
const IDLE: Duration = Duration::from_secs(20);

/// The time limits of calls to a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// The limit to open a connection.
    connect: Duration,
    /// The limit of one request with its answer.
    request: Duration,
    /// The limit of the whole verification of a subject token.
    total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            request: Duration::from_secs(2),
            total: Duration::from_secs(5),
        }
    }
}

/// Calls one provider. Clones share connections, the circuit breaker and the provider's rate limit.
#[derive(Clone)]
pub(super) struct Outbound {
    connections: Arc<Mutex<Connections>>,
    breaker: Arc<Mutex<Breaker>>,
    /// The rate limit of the application.
    not_before: Arc<Mutex<NotBefore>>,
    clock: Clock,
    timeouts: Timeouts,
    hosts: Hosts,
}

/// The pool of connections, and the time of its last use.
struct Connections {
    pool: Arc<Pool>,
    used_at: Timestamp,
}

/// A pool of connections.
struct Pool {
    client: Client,
    /// True if a provider has answered, so that a connection may be in the pool.
    has_answered: AtomicBool,
}

impl Pool {
    fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            has_answered: AtomicBool::new(false),
        })
    }
}

/// A response of a provider that is neither an outage nor a rate limit.
pub(super) struct ProviderResponse {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    /// True if its `Content-Type` is a JSON type.
    pub(super) is_json: bool,
    /// The time for which it may be cached (RFC 9111 §5.2.2.1).
    pub(super) max_age: Option<Duration>,
}

impl ProviderResponse {
    /// Returns the error for an answer whose status does not decide about the token. A 4xx may concern this one token
    /// and is not an outage: a client with odd tokens must not block the provider for all users.
    pub(super) fn unexpected(&self, asked: &str) -> ProviderError {
        let cause = format!("{asked} answered {}", self.status);
        if self.status.is_client_error() {
            ProviderError::unclear(cause)
        } else {
            ProviderError::unavailable(cause)
        }
    }

    /// Parses the body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        // serde's message may quote the answer, which is personal data, so the error has only the position.
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            ProviderError::unavailable(format!(
                "the answer does not have the expected form (line {line}, column {column})"
            ))
        })
    }
}

impl Outbound {
    /// Makes a client with `timeouts` that may call no host yet.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub(super) fn new(
        clock: Clock,
        timeouts: Timeouts,
        hosts: Hosts,
    ) -> Result<Self, reqwest::Error> {
        let connections = Connections {
            pool: Pool::new(client(timeouts, &hosts)?),
            used_at: clock.now(),
        };
        Ok(Self {
            connections: Arc::new(Mutex::new(connections)),
            breaker: Arc::default(),
            not_before: Arc::default(),
            clock,
            timeouts,
            hosts,
        })
    }

    /// Returns a client for the provider with its API at `url`, with shared connections and its own circuit breaker.
    #[must_use]
    pub(super) fn to(&self, url: &str) -> Self {
        if let Some(host) = Url::parse(url)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
        {
            self.hosts.allow(&host);
        }
        Self {
            breaker: Arc::default(),
            not_before: Arc::default(),
            ..self.clone()
        }
    }

    /// Allows another host of the provider.
    pub(super) fn allow(&self, host: &str) {
        self.hosts.allow(host);
    }

    /// Returns the client that makes requests.
    pub(super) fn client(&self) -> Client {
        self.pool().client.clone()
    }

    /// Returns the pool, without the connections of before a pause.
    ///
    /// The idle timeout of a pool counts by a clock that may stand still while a function is frozen. Meanwhile a
    /// firewall may have forgotten its connections, and a request on one of them waits for its timeout.
    fn pool(&self) -> Arc<Pool> {
        let now = self.clock.now();
        let mut connections = locked(&self.connections);
        let is_old = now.abs_diff(connections.used_at) >= IDLE.as_secs();
        if is_old && let Ok(client) = client(self.timeouts, &self.hosts) {
            connections.pool = Pool::new(client);
        }
        connections.used_at = now;
        connections.pool.clone()
    }

    /// Closes the connections of `pool` after a request without an answer: the connection may be lost without notice,
    /// and over HTTP/2, further requests would use the same one.
    fn replace(&self, pool: &Arc<Pool>) {
        let mut connections = locked(&self.connections);
        if Arc::ptr_eq(&connections.pool, pool)
            && let Ok(client) = client(self.timeouts, &self.hosts)
        {
            connections.pool = Pool::new(client);
        }
    }

    /// Runs a whole verification in bounded time, or fails at once while the provider is known to be down or limits
    /// the rate.
    ///
    /// The circuit breaker counts the outcome of the whole verification, because one part of a provider can be down
    /// while another answers.
    pub(super) async fn verification<T>(
        &self,
        verification: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let not_asked = |why: &str, retry_after| ProviderError::Unavailable {
            cause: format!("not called, because {why}"),
            retry_after,
        };
        locked(&self.not_before)
            .admit(self.clock.now())
            .map_err(|wait| not_asked("the provider's rate limit is reached", wait))?;
        locked(&self.breaker)
            .admit(self.clock.now())
            .map_err(|wait| not_asked("its last calls failed", wait))?;
        let began = Instant::now();
        let outcome = tokio::time::timeout(self.timeouts.total, verification)
            .await
            .unwrap_or_else(|_| {
                Err(ProviderError::unavailable(
                    "the provider did not answer in time",
                ))
            });
        let mut breaker = locked(&self.breaker);
        match &outcome {
            Err(ProviderError::Unavailable { .. }) => {
                breaker.failed(self.clock.now(), began.elapsed());
            }
            // The provider answers. A rate limit or a 4xx may concern one token only, so other users are not refused.
            _ => breaker.succeeded(),
        }
        drop(breaker);
        outcome
    }

    /// Sends `request` on behalf of the application, with its credentials or for public keys. A rate limit in the
    /// answer is remembered until its wait has passed.
    pub(super) async fn send_for_app(
        &self,
        request: Request,
    ) -> Result<ProviderResponse, ProviderError> {
        let answer = self.send(request).await;
        match answer {
            Err(ProviderError::RateLimited {
                status,
                retry_after,
            }) => Err(self.app_is_limited(status, retry_after)),
            answer => answer,
        }
    }

    /// Sends `request` with a user's token. A rate limit in the answer applies to that user only.
    pub(super) async fn send_for_person(
        &self,
        request: Request,
    ) -> Result<ProviderResponse, ProviderError> {
        self.send(request).await
    }

    /// Records a rate limit of the provider for the application.
    pub(super) fn app_is_limited(&self, status: u16, retry_after: Duration) -> ProviderError {
        locked(&self.not_before).set(self.clock.now(), retry_after);
        ProviderError::RateLimited {
            status,
            retry_after,
        }
    }

    /// Sends `request`, and once more if its connection failed, if an older connection may have been lost without
    /// notice, or if the answer was a 5xx. Each request to a provider is idempotent: it reads something or checks a
    /// token.
    async fn send(&self, request: Request) -> Result<ProviderResponse, ProviderError> {
        let _time = Timed::start(Part::Provider);
        let again = request.try_clone();
        let answer = match (self.try_send(request).await, again) {
            (Err(Failure { again: true, .. }), Some(request)) => self.try_send(request).await,
            (answer, _) => answer,
        };
        answer.map_err(|failure| failure.error)
    }

    async fn try_send(&self, request: Request) -> Result<ProviderResponse, Failure> {
        let pool = self.pool();
        let response = pool.client.execute(request).await;
        let response = response.map_err(|error| {
            let is_silent = error.is_timeout() && !error.is_connect();
            if is_silent {
                self.replace(&pool);
            }
            let mut failure = Failure::http(error);
            // The request may have used an old connection, and the next one will use a new connection.
            failure.again |= is_silent && pool.has_answered.load(Ordering::Relaxed);
            failure
        })?;
        pool.has_answered.store(true, Ordering::Relaxed);
        let (status, now) = (response.status(), self.clock.now());
        if let Some(wait) = rate_limit::of(status, response.headers(), now) {
            return Err(Failure::limited(status, wait));
        }
        if status.is_server_error() || status.is_redirection() {
            let mut failure = Failure::outage(format!("answered {status}"));
            failure.again = status.is_server_error();
            if let (Some(wait), ProviderError::Unavailable { retry_after, .. }) = (
                rate_limit::retry_after(response.headers(), now),
                &mut failure.error,
            ) {
                *retry_after = wait;
            }
            return Err(failure);
        }
        let (is_json, max_age) = (is_json(&response), max_age(&response));
        let body = read_bounded(response).await?;
        if status == StatusCode::FORBIDDEN && rate_limit::is_named_in(&body) {
            return Err(Failure::limited(status, rate_limit::USUAL_WAIT));
        }
        Ok(ProviderResponse {
            status,
            body,
            is_json,
            max_age,
        })
    }
}

/// The lock is held for a few instructions and never across an await, so its data is always complete.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

struct Failure {
    /// True if another attempt may succeed at once.
    again: bool,
    error: ProviderError,
}

impl Failure {
    fn outage(cause: impl Into<String>) -> Self {
        Self {
            again: false,
            error: ProviderError::unavailable(cause),
        }
    }

    fn limited(status: StatusCode, retry_after: Duration) -> Self {
        Self {
            again: false,
            error: ProviderError::RateLimited {
                status: status.as_u16(),
                retry_after,
            },
        }
    }

    /// A provider that takes too long on a new connection is not asked again.
    fn http(error: reqwest::Error) -> Self {
        Self {
            again: error.is_connect() || !error.is_timeout(),
            ..Self::outage(telemetry::causes(&error.without_url()))
        }
    }
}

fn client(timeouts: Timeouts, hosts: &Hosts) -> Result<Client, reqwest::Error> {
    builder(timeouts, hosts).build()
}

fn builder(timeouts: Timeouts, hosts: &Hosts) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls())
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.request)
        .pool_idle_timeout(IDLE)
        // Fewer than a request has attempts: if the connection died while the function was frozen, the last attempt
        // opens a new one.
        .pool_max_idle_per_host(1)
        // A redirect would send the app's secrets to another address.
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(hosts.clone()))
        .user_agent(concat!("cambio/", env!("CARGO_PKG_VERSION")))
}

/// The root certificates of the public web. Embedded, because loading the system's takes milliseconds of every cold
/// start.
fn tls() -> ClientConfig {
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

async fn read_bounded(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::http)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Failure::outage("the answer is larger than 1 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn is_json(response: &Response) -> bool {
    let value = response.headers().get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
}

fn max_age(response: &Response) -> Option<Duration> {
    let value = response.headers().get(header::CACHE_CONTROL)?;
    let mut directives = value.to_str().ok()?.split(',').map(str::trim);
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age="))?;
    Some(Duration::from_secs(seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::provider::hosts;

    #[tokio::test]
    async fn t53_an_answer_of_a_provider_has_a_bounded_size() {
        let read = async |size: usize| {
            let answer = http::Response::new(vec![b'x'; size]);
            let read = read_bounded(answer.into()).await;
            read.map(|body| body.len()).ok()
        };
        assert_eq!(read(MAX_BODY).await, Some(MAX_BODY));
        assert_eq!(read(MAX_BODY + 1).await, None);
    }

    /// Answers the first request of the first connection, over HTTP/2, and then nothing more on that connection. The
    /// second connection is one of HTTP/1.1.
    async fn serve(listener: TcpListener) {
        let (first, _) = listener.accept().await.unwrap();
        let mut first = h2::server::handshake(first).await.unwrap();
        let silent = tokio::spawn(async move {
            let (_, mut respond) = first.accept().await.unwrap().unwrap();
            respond
                .send_response(http::Response::default(), true)
                .unwrap();
            let mut unanswered = Vec::new();
            while let Some(request) = first.accept().await {
                unanswered.push(request);
            }
        });
        let (mut second, _) = listener.accept().await.unwrap();
        let mut request = [0; 8192];
        assert!(second.read(&mut request).await.unwrap() > 0);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        second.write_all(answer).await.unwrap();
        silent.await.unwrap();
    }

    /// HTTP/2 sends all requests on one connection, which a timeout of one request does not close.
    #[tokio::test]
    async fn t103_a_call_without_an_answer_is_made_once_more_on_a_new_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(serve(listener));
        let timeouts = Timeouts {
            request: Duration::from_secs(1),
            ..Timeouts::default()
        };
        let hosts = Hosts::new(hosts::system(), true);
        let outbound = Outbound::new(Clock::system(), timeouts, hosts.clone()).unwrap();
        let over_http2 = builder(timeouts, &hosts).http2_prior_knowledge();
        locked(&outbound.connections).pool = Pool::new(over_http2.build().unwrap());
        let call = async || {
            let request = outbound.client().get(&url).build().unwrap();
            outbound.send_for_app(request).await.unwrap().status
        };

        assert_eq!(call().await, StatusCode::OK);
        assert_eq!(call().await, StatusCode::OK);

        serving.abort();
    }
}
