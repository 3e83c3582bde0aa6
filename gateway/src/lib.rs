//! Events of API Gateway (payload format 2.0) as requests, and what the routes answer as API Gateway wants it.
//!
//! `lambda_http` does the same, and panics where a client's text is no part of a URL: a raw `<` in the query, a `Host` or an
//! `X-Forwarded-Proto` that is none, a body that is not the base64 that it is said to be. A panic is an invocation that failed, and a
//! 500 without our headers. Here that is a 400 of ours, and no header takes part in the URL at all.

mod event;
mod response;

pub use lambda_runtime::Error;
pub use response::Response;

use axum::{Router, body::Body, extract::Request};
use event::Event;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use shared::http::{ApiError, Visibility, surface};
use thiserror::Error;
use tower::ServiceExt as _;

/// The function is called by something else than an HTTP API: an operator's mistake, which no client hears of.
#[derive(Debug, Error)]
#[error(
    "the event is not of payload format 2.0: the function wants an HTTP API or a function URL in front of it"
)]
pub struct OtherFormat;

/// Serves `routes` until Lambda ends the process.
///
/// # Errors
/// The runtime API cannot be reached.
pub async fn run(routes: Router) -> Result<(), Error> {
    let routes = &routes;
    // Any JSON is taken here: an event that the runtime itself cannot read, it quotes in the log and in the error.
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        answer(routes, event.payload).await
    }))
    .await
}

/// What `routes` answer to the request of `event`.
///
/// # Errors
/// [`OtherFormat`]; or the answer cannot be read to its end.
pub async fn answer(routes: &Router, event: Value) -> Result<Response, Error> {
    let event = Event::read(event).inspect_err(|error| tracing::error!("{error}"))?;
    let response = match event.into_request() {
        Ok(request) => routes.clone().oneshot(request).await?,
        Err(malformed) => {
            refusal(malformed.0)
                .oneshot(Request::new(Body::empty()))
                .await?
        }
    };
    Response::read(response).await
}

/// The answer to what is no request: like any other of ours, in its headers and in the log.
fn refusal(reason: &'static str) -> Router {
    let refuse = move || async move { ApiError::InvalidRequest(reason.to_owned()) };
    surface(
        Router::new().fallback(refuse),
        "gateway",
        Visibility::Private,
    )
}
