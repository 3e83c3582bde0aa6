//! All routes behind one port, as API Gateway puts them behind one host name.

use axum::{Json, Router, http::StatusCode, response::IntoResponse};
use discovery::Discovery;
use identities::IdentitiesOfMe;
use introspect::Introspect;
use me::Me;
use revoke::Revoke;
use rotate_keys::{Order, RotateKeys, RotateKeysError};
use serde_json::json;
use sessions::SessionsOfMe;
use shared::{clock::Clock, config::Environment, start::StartError};
use thiserror::Error;
use token_exchange::TokenExchange;

/// Reasons that the API cannot start.
#[derive(Debug, Error)]
pub enum ApiStartError {
    /// A function cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The key set is empty, and the first signing key could not be made.
    #[error("the first signing key cannot be made: {0}")]
    Keys(#[from] RotateKeysError),
}

/// Makes the first signing key if the key set is empty, then starts every function with the settings that it has as a
/// Lambda.
///
/// # Errors
/// A setting is missing or wrong, or DynamoDB cannot be reached.
pub async fn start(env: &Environment, clock: Clock) -> Result<Router, ApiStartError> {
    make_first_key(env, clock.clone()).await?;
    let exchange = TokenExchange::start(env, clock.clone()).await?;
    let me = Me::start(env, clock.clone()).await?;
    let sessions = SessionsOfMe::start(env, clock.clone()).await?;
    let identities = IdentitiesOfMe::start(env, clock.clone()).await?;
    let revoke = Revoke::start(env, clock.clone()).await?;
    let introspect = Introspect::start(env, clock.clone()).await?;
    let discovery = Discovery::start(env, clock).await?;
    Ok(Router::new()
        .merge(token_exchange::router(exchange))
        .merge(me::router(me))
        .merge(sessions::router(sessions))
        .merge(identities::router(identities))
        .merge(revoke::router(revoke))
        .merge(introspect::router(introspect))
        .merge(discovery::router(discovery))
        .fallback(no_route))
}

/// Makes the first signing key if the key set is empty.
///
/// # Errors
/// A setting is missing or wrong, or DynamoDB cannot be reached.
pub async fn make_first_key(env: &Environment, clock: Clock) -> Result<(), ApiStartError> {
    let keys = RotateKeys::new(env, clock)?;
    keys.run(&Order::default()).await?;
    Ok(())
}

/// The answer of API Gateway for a path that has no route.
async fn no_route() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        Json(json!({ "message": "Not Found" })),
    )
}
