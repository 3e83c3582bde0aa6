//! Converts events to requests, and answers of the routes to the format of the service that made the event: an HTTP
//! API or a function URL (payload format 2.0), a REST API (payload format 1.0), an Application Load Balancer, or VPC
//! Lattice (event structure version V2).
//!
//! The marks of `requestContext` tell the services apart. An event with the marks of two is refused. A request is what
//! the client sent, for each of them: the path without a stage and without the base path of a custom domain, nothing
//! decoded, and each header and query parameter as often as it was sent. No header tells the address of the client, so
//! `X-Forwarded-For` is never read.
//!
//! `lambda_http` does the same, but panics if a client's text is not part of a valid URL: a raw `<` in the query, an
//! invalid `Host` or `X-Forwarded-Proto`, a body that is not base64 although the event says so. A panic is a failed
//! invocation and a 500 without the security headers. This crate answers 400, and no header takes part in the URL.

mod event;
mod response;

pub use lambda_runtime::Error;
pub use response::Response;

use axum::{Router, body::Body, extract::Request};
use event::Event;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Deserializer;
use serde_json::value::RawValue;
use shared::{
    http::{ApiError, Visibility, surface},
    telemetry::RequestIds,
};
use thiserror::Error;
use tower::ServiceExt as _;

/// The event is not one of a service that this crate knows, which is a mistake of the operator and is not shown to a
/// client.
#[derive(Debug, Error)]
#[error(
    "the event is not one of an HTTP API or a function URL (payload format 2.0), a REST API (payload format 1.0), an \
     Application Load Balancer, or VPC Lattice with LambdaEventStructureVersion V2: put one of these in front of the \
     function"
)]
pub struct OtherFormat;

/// Serves `routes` until Lambda ends the process.
///
/// # Errors
/// The runtime API cannot be reached.
pub async fn run(routes: Router) -> Result<(), Error> {
    let routes = &routes;
    // The runtime gets any JSON: an event that the runtime itself cannot parse would be quoted in the log and in the
    // error. `RawValue` and not `Value`: the runtime tracks the path of each member that it parses.
    lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let lambda = Some(event.context.request_id);
        answer_invocation(routes, &*event.payload, lambda).await
    }))
    .await
}

/// Returns the answer of `routes` to the request of `event`.
///
/// # Errors
/// [`OtherFormat`], or the body of the answer cannot be read to its end.
pub async fn answer<'de>(
    routes: &Router,
    event: impl Deserializer<'de>,
) -> Result<Response, Error> {
    answer_invocation(routes, event, None).await
}

/// Does the same for the invocation that Lambda gave this id.
async fn answer_invocation<'de>(
    routes: &Router,
    event: impl Deserializer<'de>,
    lambda: Option<String>,
) -> Result<Response, Error> {
    let mut event = Event::read(event).inspect_err(|error| tracing::error!("{error}"))?;
    let source = event.source;
    let gateway = event.request_id.take();
    let (routes, mut request) = match event.into_request() {
        Ok(request) => (routes.clone(), request),
        Err(malformed) => (refusal(malformed.0), Request::new(Body::empty())),
    };
    let ids = RequestIds { gateway, lambda };
    request.extensions_mut().insert(ids);
    Response::read(routes.oneshot(request).await?, source).await
}

/// Returns the answer to an invalid request, with the headers and the log line of every other answer.
fn refusal(reason: &'static str) -> Router {
    let refuse = move || async move { ApiError::InvalidRequest(reason.to_owned()) };
    surface(
        Router::new().fallback(refuse),
        "gateway",
        Visibility::Private,
    )
}
