//! `GET /orders`: a route of your own, for users that Cambio signed in.

use axum::{Json, Router, extract::FromRef, routing::get};
use serde::Serialize;
use shared::{
    clock::Clock,
    config::{self, Environment, Issuer},
    dynamodb,
    http::{ApiError, Caller, Visibility, method_not_allowed, surface},
    keys::{KeyStore, Keys},
    start::StartError,
    token::TokenVerifier,
    users::UserId,
};

/// What this function needs, and nothing else.
#[derive(Clone, Debug, FromRef)]
pub struct Orders {
    /// Recognises Cambio's access tokens.
    pub tokens: TokenVerifier,
}

impl Orders {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let issuer = Issuer::from_env(env)?;
        let client = dynamodb::client(&config::DynamoDb::from_env(env)?);
        let store = KeyStore::new(client, config::keys_table_name(env)?);
        let keys = Keys::start(store, clock.clone(), env.is_local()).await?;
        Ok(Self {
            tokens: TokenVerifier::new(keys, issuer, clock),
        })
    }
}

/// The route, ready to be mounted by Lambda or by a test.
pub fn router(orders: Orders) -> Router {
    let routes = Router::new()
        .route("/orders", get(list).fallback(method_not_allowed))
        .with_state(orders);
    surface(routes, "orders", Visibility::Private)
}

/// The answer.
#[derive(Serialize)]
struct List {
    user: UserId,
    sees_all: bool,
    orders: Vec<String>,
}

/// A `Caller` as an argument is what makes the route require sign-in.
async fn list(caller: Caller) -> Result<Json<List>, ApiError> {
    caller.require_scope("orders:read")?;
    Ok(Json(List {
        user: caller.user_id,
        sees_all: caller.has_role("support"),
        orders: Vec::new(),
    }))
}
