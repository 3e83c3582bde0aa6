//! The common layers of all routes: limits, headers, and one log line per request.

use std::time::{Duration, Instant};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{MatchedPath, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tracing::Instrument as _;

use super::{ApiError, OAuthError, cors, error::outcome};
use crate::{
    deadline::within,
    telemetry::{self, Answered, RequestIds, measured},
};

/// The largest body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// The time limit from request to answer, extractors included. The functions have 10 s: Lambda's own timeout would
/// send no answer and end the process.
const DEADLINE: Duration = Duration::from_secs(8);

/// The headers of every answer, none of which is a page, a script or a frame.
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

/// The parties that may read and keep an answer.
#[derive(Clone, Copy, Debug)]
pub enum Visibility {
    /// The caller alone: the answer is about one person, and no cache keeps it (RFC 6749 §5.1).
    Private,
    /// Everybody: pages of any origin may read the answer (CORS), and caches keep it for five minutes, unless it is an
    /// error.
    Public,
}

/// Adds the common layers to the routes of `function`.
pub fn surface(routes: Router, function: &'static str, visibility: Visibility) -> Router {
    let overdue = || ApiError::Overdue.into_response();
    with_limit(routes, function, visibility, DEADLINE, overdue)
}

/// Adds the common layers to routes with errors in the form of OAuth.
pub fn oauth_surface(routes: Router, function: &'static str) -> Router {
    let overdue = || OAuthError::from(ApiError::Overdue).into_response();
    with_limit(routes, function, Visibility::Private, DEADLINE, overdue)
}

fn with_limit(
    routes: Router,
    function: &'static str,
    visibility: Visibility,
    limit: Duration,
    overdue: fn() -> Response,
) -> Router {
    let layer = middleware::from_fn(move |mut request: Request, next: Next| async move {
        // The route's pattern and not the path, so that no text of the client reaches the log.
        let route = request.extensions().get::<MatchedPath>().cloned();
        let asked = Asked {
            function,
            route,
            method: known(request.method()),
            ids: request.extensions_mut().remove().unwrap_or_default(),
        };
        let span = tracing::info_span!(
            "request",
            function,
            version = telemetry::version(),
            route = asked.route(),
            method = asked.method,
            user_id = tracing::field::Empty,
        );
        let response = async {
            let answer = within(limit, next.run(request)).await;
            answer.unwrap_or_else(|_| overdue())
        };
        answer(response, visibility, asked).instrument(span).await
    });
    routes.layer(layer)
}

/// The properties of a request that its log line names.
struct Asked {
    function: &'static str,
    route: Option<MatchedPath>,
    method: &'static str,
    ids: RequestIds,
}

impl Asked {
    fn route(&self) -> &str {
        self.route.as_ref().map_or("", MatchedPath::as_str)
    }
}

/// Returns the method for the log, or a placeholder for an unknown one, because a client may send any text.
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

async fn answer(
    response: impl Future<Output = Response>,
    visibility: Visibility,
    asked: Asked,
) -> Response {
    let started = Instant::now();
    let (mut response, meter) = measured(response).await;
    let status = response.status();
    set_headers(response.headers_mut(), status, visibility);
    let answered = Answered {
        function: asked.function,
        route: asked.route(),
        method: Some(asked.method),
        status: Some(status.as_u16()),
        outcome: outcome(status),
        is_failure: status.is_server_error(),
        took: started.elapsed(),
    };
    answered.log(&asked.ids, &meter);
    response
}

fn set_headers(headers: &mut HeaderMap, status: StatusCode, visibility: Visibility) {
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let found = status.is_success() || status == StatusCode::NOT_MODIFIED;
    let cache_control = match visibility {
        Visibility::Public if found => "public, max-age=300",
        Visibility::Public | Visibility::Private => "no-store",
    };
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(cache_control),
    );
    match visibility {
        Visibility::Public => cors::allow_any_origin(headers),
        Visibility::Private => {
            headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        }
    }
}

/// The answer to a method that the route does not support.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// Reads a body up to the size limit.
pub(super) async fn body_of(body: Body) -> Result<Bytes, ApiError> {
    to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| ApiError::TooLarge)
}

#[cfg(test)]
mod tests {
    use axum::{extract::FromRequestParts, routing::get};
    use http::request::Parts;
    use tower::ServiceExt as _;

    use super::*;

    /// The duration of the extractor and of the handler: both together exceed the limit, each alone does not.
    const HALF: Duration = Duration::from_millis(120);
    const LIMIT: Duration = Duration::from_millis(200);

    struct SlowExtractor;

    impl<S: Sync> FromRequestParts<S> for SlowExtractor {
        type Rejection = ApiError;

        async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, ApiError> {
            tokio::time::sleep(HALF).await;
            Ok(Self)
        }
    }

    async fn slow_handler(_: SlowExtractor) -> &'static str {
        tokio::time::sleep(HALF).await;
        "an answer"
    }

    async fn ask(limit: Duration, overdue: fn() -> Response) -> (Response, String) {
        let routes = Router::new().route("/", get(slow_handler));
        let routes = with_limit(routes, "slow", Visibility::Private, limit, overdue);
        let response = routes.oneshot(Request::new(Body::empty())).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (Response::from_parts(parts, Body::empty()), text)
    }

    /// Asks a route whose answer takes `time`.
    async fn status_after(time: Duration) -> StatusCode {
        let slow = move || async move {
            tokio::time::sleep(time).await;
            "an answer"
        };
        let routes = Router::new().route("/", get(slow));
        let routes = surface(routes, "slow", Visibility::Private);
        let response = routes.oneshot(Request::new(Body::empty())).await;
        response.unwrap().status()
    }

    #[tokio::test(start_paused = true)]
    async fn t70_an_answer_within_the_deadline_arrives_and_a_later_one_is_a_503() {
        let millisecond = Duration::from_millis(1);

        let in_time = status_after(DEADLINE - millisecond).await;
        let late = status_after(DEADLINE + millisecond).await;

        assert_eq!(in_time, StatusCode::OK);
        assert_eq!(late, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn t70_the_time_of_the_extractors_counts_as_well() {
        let problem = || ApiError::Overdue.into_response();
        let oauth = || OAuthError::from(ApiError::Overdue).into_response();
        let (in_time, text) = ask(DEADLINE, problem).await;
        assert_eq!(
            (in_time.status(), text.as_str()),
            (StatusCode::OK, "an answer")
        );

        let (late, text) = ask(LIMIT, problem).await;
        assert!(
            text.contains("urn:cambio:error:temporarily_unavailable"),
            "{text}"
        );
        let (late_oauth, text) = ask(LIMIT, oauth).await;
        assert!(
            text.contains(r#""error":"temporarily_unavailable""#),
            "{text}"
        );

        for late in [late, late_oauth] {
            assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(late.headers()[header::RETRY_AFTER], "1");
            assert_eq!(late.headers()[header::CACHE_CONTROL], "no-store");
            assert_eq!(late.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }
}
