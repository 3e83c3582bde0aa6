//! What every route has in common: limits, headers, and one log line per request.

use std::time::{Duration, Instant};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{MatchedPath, Request},
    middleware::{self, Next},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tracing::Instrument as _;

use super::ApiError;
use crate::telemetry;

/// No honest request is larger.
const MAX_BODY: usize = 64 * 1024;

/// The functions have 10 s.
const DEADLINE: Duration = Duration::from_secs(8);

/// Sent with every answer: nothing here is a page, a script or a frame.
const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (
        header::STRICT_TRANSPORT_SECURITY,
        "max-age=63072000; includeSubDomains",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// Who may keep an answer.
#[derive(Clone, Copy, Debug)]
pub enum Cache {
    /// Nobody: the answer is about one person (RFC 6749 §5.1).
    Never,
    /// Anybody, for five minutes, and pages of any origin may read it; an error is kept by nobody.
    Public,
}

/// Gives the routes of `function` what all routes have.
pub fn surface(routes: Router, function: &'static str, cache: Cache) -> Router {
    let layer = middleware::from_fn(move |request: Request, next: Next| async move {
        // The route, not the path: nothing that a client wrote reaches the log.
        let route = request.extensions().get::<MatchedPath>();
        let span = tracing::info_span!(
            "request",
            function,
            version = telemetry::version(),
            route = route.map_or("", MatchedPath::as_str),
            method = known(request.method()),
        );
        answer(request, next, cache).instrument(span).await
    });
    routes.layer(layer)
}

/// A method as the log shows it: a client may send any word.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

async fn answer(request: Request, next: Next, cache: Cache) -> Response {
    let started = Instant::now();
    let mut response = next.run(request).await;
    let status = response.status();
    set_headers(response.headers_mut(), status, cache);
    let duration_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(status = status.as_u16(), duration_us, "answered");
    response
}

fn set_headers(headers: &mut HeaderMap, status: StatusCode, cache: Cache) {
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let found = status.is_success() || status == StatusCode::NOT_MODIFIED;
    let cache_control = match cache {
        Cache::Public if found => "public, max-age=300",
        Cache::Public | Cache::Never => "no-store",
    };
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(cache_control),
    );
    match cache {
        Cache::Public => headers.insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        ),
        Cache::Never => headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache")),
    };
}

/// The answer, or 503 before Lambda's own timeout would answer nothing and throw the process away.
///
/// # Errors
/// Those of `answer`, and [`ApiError::Overdue`].
pub async fn in_time<T, E: Into<ApiError>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, ApiError> {
    let answer = tokio::time::timeout(DEADLINE, answer).await;
    answer.map_err(|_| ApiError::Overdue)?.map_err(Into::into)
}

/// The answer of a route to a method that it does not have.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// The whole of a body, as far as it is not too large.
pub(super) async fn body_of(body: Body) -> Result<Bytes, ApiError> {
    to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| ApiError::TooLarge)
}
