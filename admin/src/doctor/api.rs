//! The requests to the deployment: a bounded number, each with a time limit, and none to another host.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{
    Client, Method, RequestBuilder,
    header::{HeaderMap, HeaderValue},
    redirect::Policy,
};
use serde_json::Value;
use shared::{
    http::{ACCESS_TOKEN_TYPE, GRANT_TYPE_REFRESH_TOKEN, GRANT_TYPE_TOKEN_EXCHANGE},
    telemetry::causes,
};
use url::{Host, Url};

use super::{Credentials, Pause, Subject, hidden::Hidden};

/// The most requests of one run, repetitions included.
pub const MAX_REQUESTS: usize = 250;
/// The time limit of a request, longer than the API's own, so that its error arrives.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// The longest wait before a throttled request is repeated.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The number of times that a throttled request is repeated.
const REPETITIONS: usize = 3;
/// The longest part of an answer that a report quotes, in bytes. A longer one is not cut, since half a secret could
/// remain.
const LONGEST_QUOTE: usize = 2048;

/// The deployment under examination.
pub(super) struct Api {
    url: Url,
    http: Client,
    /// The client for this machine, which no proxy sees.
    direct: Client,
    pause: Pause,
    seen: Mutex<Seen>,
    hidden: Mutex<Hidden>,
}

/// The record of all answers.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) requests: usize,
    /// The security headers that answers lack, each with the request.
    pub(super) without_headers: Vec<String>,
    /// The answers with security headers.
    pub(super) with_headers: usize,
    /// The number of throttled requests.
    pub(super) throttled: usize,
    /// Throttled requests whose answer does not say how long to wait.
    pub(super) without_retry_after: Vec<String>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The JSON of the body; `null` if it is none.
    pub(super) body: Value,
    pub(super) text: String,
}

/// An answer, or the reason why none came.
pub(super) type Reply = Result<Answer, String>;

impl Answer {
    /// Returns the value of a header; empty if absent.
    pub(super) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Returns the text at a JSON pointer; empty if absent.
    pub(super) fn text_at(&self, pointer: &str) -> &str {
        let value = self.body.pointer(pointer);
        value.and_then(Value::as_str).unwrap_or("")
    }

    /// Returns the code of Cambio's error; empty if there is none.
    pub(super) fn code(&self) -> &str {
        let problem = self.text_at("/type").strip_prefix("urn:cambio:error:");
        problem.unwrap_or_else(|| self.text_at("/error"))
    }

    /// Returns the status, the code and the description.
    pub(super) fn brief(&self) -> String {
        let mut brief = vec![self.status.to_string()];
        for part in [
            self.code(),
            self.text_at("/error_description"),
            self.text_at("/detail"),
            self.text_at("/message"),
        ] {
            match part.len() {
                0 => {}
                1..=LONGEST_QUOTE => brief.push(part.to_owned()),
                length => brief.push(format!("({length} bytes)")),
            }
        }
        brief.join(" ")
    }

    /// Returns whether Cambio made the answer, and not the gateway in front of it.
    fn is_cambios(&self) -> bool {
        self.body.get("message").is_none() && self.status != 502 && self.status != 504
    }
}

impl Api {
    pub(super) fn new(url: &Url, pause: Pause) -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .timeout(TIMEOUT)
                .user_agent(concat!("cambio-admin/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self {
            url: url.clone(),
            http: builder().build()?,
            direct: builder().no_proxy().build()?,
            pause,
            seen: Mutex::default(),
            hidden: Mutex::default(),
        })
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the secrets that no output shows.
    pub(super) fn hidden(&self) -> MutexGuard<'_, Hidden> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_local(&self) -> bool {
        is_loopback(&self.url)
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Makes a request to `path`, which begins with a slash.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.url.as_str().trim_end_matches('/');
        self.http.request(method, format!("{base}{path}"))
    }

    /// Makes a request to another URL of the operator.
    pub(super) fn request_to(&self, url: Url) -> RequestBuilder {
        self.http.get(url)
    }

    /// Makes a request with an `Authorization: Bearer` header.
    pub(super) fn me(&self, token: &str) -> RequestBuilder {
        self.hidden().insert_token(token);
        self.request(Method::GET, "/me").bearer_auth(token)
    }

    /// Makes a request of a client to an OAuth endpoint.
    pub(super) fn as_client(
        &self,
        client: &Credentials,
        path: &str,
        form: &[(&str, &str)],
    ) -> RequestBuilder {
        self.hidden().insert_client(client);
        self.request(Method::POST, path)
            .basic_auth(
                form_encoded(&client.id),
                Some(form_encoded(client.secret())),
            )
            .form(form)
    }

    /// Makes a token exchange with further parameters.
    pub(super) fn exchange(
        &self,
        client: &Credentials,
        subject: &Subject,
        token: &str,
        more: &[(&str, &str)],
    ) -> RequestBuilder {
        self.hidden().insert_token(token);
        let kind = subject.token_type.as_deref();
        let kind = kind.unwrap_or(ACCESS_TOKEN_TYPE);
        let mut form = vec![
            ("grant_type", GRANT_TYPE_TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", kind),
            ("subject_issuer", &subject.provider),
        ];
        form.extend(more);
        self.as_client(client, "/token", &form)
    }

    /// Makes a refresh with further parameters.
    pub(super) fn refresh(
        &self,
        client: &Credentials,
        token: &str,
        more: &[(&str, &str)],
    ) -> RequestBuilder {
        self.hidden().insert_token(token);
        let mut form = vec![
            ("grant_type", GRANT_TYPE_REFRESH_TOKEN),
            ("refresh_token", token),
        ];
        form.extend(more);
        self.as_client(client, "/token", &form)
    }

    /// Makes a request to `/introspect` or `/revoke`.
    pub(super) fn about(&self, client: &Credentials, path: &str, token: &str) -> RequestBuilder {
        self.as_client(client, path, &[("token", token)])
    }

    /// Sends a request to the API and keeps a record of the answer's headers.
    pub(super) async fn send(&self, request: RequestBuilder) -> Reply {
        let request = request.build().map_err(described)?;
        let name = format!("{} {}", request.method(), request.url().path());
        let answer = self.repeated(request).await?;
        if answer.is_cambios() {
            let missing = missing_headers(&answer, &name);
            let mut seen = self.seen();
            if missing.is_empty() {
                seen.with_headers += 1;
            }
            seen.without_headers.extend(missing);
        }
        Ok(answer)
    }

    /// Sends a request to a server that is not Cambio.
    pub(super) async fn send_elsewhere(&self, request: RequestBuilder) -> Reply {
        self.repeated(request.build().map_err(described)?).await
    }

    /// Sends a request until it is not throttled, a few times.
    async fn repeated(&self, request: reqwest::Request) -> Reply {
        let name = format!("{} {}", request.method(), request.url().path());
        let mut left = REPETITIONS;
        loop {
            let again = request.try_clone();
            let again = again.ok_or_else(|| "the request cannot be repeated".to_owned())?;
            let answer = self.once(again).await?;
            if !matches!(answer.status, 429 | 503) {
                return Ok(answer);
            }
            let retry_after = answer.header("retry-after").parse().ok();
            {
                let mut seen = self.seen();
                seen.throttled += 1;
                if retry_after.is_none() && answer.is_cambios() {
                    seen.without_retry_after
                        .push(format!("{name}: {}", answer.brief()));
                }
            }
            if left == 0 {
                return Ok(answer);
            }
            left -= 1;
            let wait = Duration::from_secs(retry_after.unwrap_or(1));
            self.pause.wait(wait.min(LONGEST_WAIT)).await;
        }
    }

    async fn once(&self, request: reqwest::Request) -> Reply {
        {
            let mut seen = self.seen();
            if seen.requests == MAX_REQUESTS {
                return Err(format!(
                    "not sent: a run sends at most {MAX_REQUESTS} requests"
                ));
            }
            seen.requests += 1;
        }
        // A request does not know the client that made it.
        let client = if is_loopback(request.url()) {
            &self.direct
        } else {
            &self.http
        };
        let mut response = client.execute(request).await.map_err(described)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(described)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(format!("the answer has more than {MAX_ANSWER} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        let answer = Answer {
            status,
            headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
            text: String::from_utf8_lossy(&body).into_owned(),
        };
        for pointer in ["/access_token", "/refresh_token"] {
            self.hidden().insert_token(answer.text_at(pointer));
        }
        Ok(answer)
    }
}

/// Describes a failed request without its URL, which the check names, and with each cause.
fn described(error: reqwest::Error) -> String {
    causes(&error.without_url())
}

/// Returns the security headers that an answer lacks.
fn missing_headers(answer: &Answer, name: &str) -> Vec<String> {
    let is_document = name.contains("/.well-known/") || name.ends_with("/openapi.json");
    let caching = if is_document && (answer.status == 200 || answer.status == 304) {
        "public"
    } else {
        "no-store"
    };
    let wanted = [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'"),
        ("strict-transport-security", "max-age="),
        ("referrer-policy", "no-referrer"),
        ("cache-control", caching),
    ];
    let is_missing = |(header, part): &(&str, &str)| !answer.header(header).contains(part);
    wanted
        .into_iter()
        .filter(is_missing)
        .map(|(header, part)| format!("{name} ({}) has no {header}: {part}", answer.status))
        .collect()
}

/// Encodes an id or a secret for `Authorization: Basic` (RFC 6749 §2.3.1).
pub(super) fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Returns the value of a header that does not print.
pub(super) fn secret_value(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns whether a request to `url` shows its secrets to no other machine on the way.
pub(super) fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || is_loopback(url)
}

/// Returns whether the host of `url` is this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    #[tokio::test]
    async fn t182_a_run_sends_its_last_request_and_none_above_the_limit() {
        // Nothing listens there, so that a request that is sent fails.
        let url = Url::parse("http://127.0.0.1:1/").unwrap();
        let api = Api::new(&url, Pause::real()).unwrap();
        let mut errors = Vec::new();
        for _ in 0..=MAX_REQUESTS {
            let sent = api.once(api.request(Method::GET, "/me").build().unwrap());
            errors.push(sent.await.err().unwrap());
        }

        let is_refused = |error: &String| error.contains("not sent: a run sends at most 250");
        let first = errors.iter().position(is_refused);

        assert_eq!(first, Some(MAX_REQUESTS), "{:?}", errors.last());
        assert_eq!(api.seen().requests, MAX_REQUESTS);
    }

    #[tokio::test]
    async fn t182_no_proxy_sees_a_request_to_this_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.read(&mut [0; 4096]).unwrap();
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            connection.write_all(answer).unwrap();
        });
        let url = Url::parse(&url).unwrap();
        let mut api = Api::new(&url, Pause::real()).unwrap();
        // No proxy is at this port.
        let proxy = reqwest::Proxy::all("http://127.0.0.1:1").unwrap();
        api.http = Client::builder().proxy(proxy).build().unwrap();

        let direct = api.send(api.request(Method::GET, "/me")).await;

        assert_eq!(direct.map(|answer| answer.status), Ok(204));
        let elsewhere = Url::parse("http://203.0.113.1/").unwrap();
        assert!(api.send_elsewhere(api.request_to(elsewhere)).await.is_err());
    }
}
