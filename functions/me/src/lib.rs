//! `GET`, `PATCH` and `DELETE /me`: the account of the signed-in user.

use axum::{
    Json, Router,
    extract::{FromRef, State},
    response::NoContent,
    routing::get,
};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    clock::Clock,
    config::Environment,
    http::{
        ApiError, Caller, MergePatch, Profile, RecentSignIn, Visibility, method_not_allowed,
        surface,
    },
    sessions::Sessions,
    start::{Start, StartError},
    token::TokenVerifier,
    users::{Patch, User, Users},
};

/// The state of the function.
#[derive(Clone, Debug, FromRef)]
pub struct Me {
    /// Verifies access tokens.
    pub tokens: TokenVerifier,
    /// The clock that decides whether a sign-in is recent.
    pub clock: Clock,
    /// The users.
    pub users: Users,
    /// The sessions, which are deleted with their user.
    pub sessions: Sessions,
}

impl Me {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let start = Start::new(env, clock)?;
        Ok(Self {
            clock: start.clock(),
            users: start.users()?,
            sessions: start.sessions()?,
            tokens: start.verifier().await?,
        })
    }
}

/// Returns the routes, for Lambda, `local` and the tests.
pub fn router(me: Me) -> Router {
    let methods = get(show).patch(edit).delete(delete);
    let routes = Router::new()
        .route("/me", methods.fallback(method_not_allowed))
        .with_state(me);
    surface(routes, "me", Visibility::Private)
}

/// The account as its user sees it.
#[derive(Serialize)]
struct Account {
    #[serde(flatten)]
    profile: Profile,
    metadata: Map<String, Value>,
}

impl From<User> for Account {
    fn from(mut user: User) -> Self {
        let metadata = std::mem::take(&mut user.metadata.0);
        Self {
            profile: user.into(),
            metadata,
        }
    }
}

async fn show(State(users): State<Users>, caller: Caller) -> Result<Json<Account>, ApiError> {
    let user = caller.user(&users).await?;
    Ok(Json(user.into()))
}

async fn edit(
    State(users): State<Users>,
    caller: Caller,
    MergePatch(patch): MergePatch<Patch>,
) -> Result<Json<Account>, ApiError> {
    let user = users.edit(caller.user_id, caller.session, &patch).await?;
    Ok(Json(user.into()))
}

async fn delete(
    State(users): State<Users>,
    State(sessions): State<Sessions>,
    RecentSignIn(caller): RecentSignIn,
) -> Result<NoContent, ApiError> {
    users.delete(caller.user_id, caller.session).await?;
    // After the user, so that a later sign-in adds no session to the deleted ones. One at the same moment can leave an
    // item, which opens nothing without its user, and expires.
    sessions.delete_all(caller.user_id).await?;
    Ok(NoContent)
}
