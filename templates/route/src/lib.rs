//! `GET /{{ project_name }}`: a route of your own, for users who signed in with Cambio.

use axum::{Json, Router, extract::FromRef, routing::get};
use serde::Serialize;
use shared::{
    clock::Clock,
    config::Environment,
    http::{ApiError, Caller, Visibility, method_not_allowed, surface},
    start::{Start, StartError},
    token::TokenVerifier,
    users::UserId,
};

/// The parts that the route uses.
#[derive(Clone, Debug, FromRef)]
pub struct Function {
    /// Verifies Cambio's access tokens.
    pub tokens: TokenVerifier,
}

impl Function {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        Ok(Self {
            tokens: Start::new(env, clock)?.api_verifier().await?,
        })
    }
}

/// Returns the routes, which Lambda and the tests run.
pub fn router(function: Function) -> Router {
    let routes = Router::new()
        .route("/{{ project_name }}", get(list).fallback(method_not_allowed))
        .with_state(function);
    surface(routes, "{{ project_name }}", Visibility::Private)
}

/// The answer.
#[derive(Serialize)]
struct List {
    user: UserId,
    sees_all: bool,
    items: Vec<String>,
}

/// Requires an access token, since it takes a `Caller`, and a scope.
async fn list(caller: Caller) -> Result<Json<List>, ApiError> {
    caller.require_scope("{{ project_name }}:read")?;
    Ok(Json(List {
        user: caller.user_id,
        sees_all: caller.has_role("support"),
        items: Vec::new(),
    }))
}
