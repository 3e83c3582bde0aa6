//! `GET /me`: the signed-in user's own profile.

use axum::{
    Json, Router,
    extract::{FromRef, State},
    routing::get,
};
use shared::{
    clock::Clock,
    config::{self, Environment, Issuer},
    dynamodb,
    http::{ApiError, Cache, Caller, Profile, method_not_allowed, surface},
    keys::{KeyStore, Keys},
    start::StartError,
    token::TokenVerifier,
    users::{Status, Users},
};

/// What this function needs, and nothing else.
#[derive(Clone, Debug, FromRef)]
pub struct Me {
    /// Recognises our own access tokens.
    pub tokens: TokenVerifier,
    /// Where profiles are read from.
    pub users: Users,
}

impl Me {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let issuer = Issuer::from_env(env)?;
        let client = dynamodb::client(&config::DynamoDb::from_env(env)?);
        let users = Users::new(client.clone(), config::table_name(env)?, clock.clone());
        let store = KeyStore::new(client, config::keys_table_name(env)?);
        // The same client as the users': reading the keys now opens the connection that requests go on with.
        let keys = Keys::start(store, clock.clone(), env.is_local()).await?;
        let tokens = TokenVerifier::new(keys, issuer, clock);
        Ok(Self { tokens, users })
    }
}

/// The route, ready to be mounted by Lambda, by `local`, or by a test.
pub fn router(me: Me) -> Router {
    let routes = Router::new()
        .route("/me", get(show).fallback(method_not_allowed))
        .with_state(me);
    surface(routes, "me", Cache::Never)
}

async fn show(State(users): State<Users>, caller: Caller) -> Result<Json<Profile>, ApiError> {
    let user = users.find(caller.user_id).await?;
    let user = user.filter(|user| user.status == Status::Active);
    let user = user.ok_or(ApiError::UnknownUser)?;
    Ok(Json(user.into()))
}
