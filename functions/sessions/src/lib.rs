//! `/me/sessions`: lists and ends the sessions of the signed-in user.

use axum::{
    Json, Router,
    extract::{FromRef, Path, RawQuery, State, rejection::PathRejection},
    response::NoContent,
    routing::{delete, get},
};
use serde::Serialize;
use shared::{
    clock::{Clock, rfc3339},
    config::Environment,
    http::{ApiError, Caller, IdempotencyKey, Visibility, method_not_allowed, surface},
    sessions::{EndReason, Session, SessionId, Sessions},
    start::{Start, StartError},
    token::TokenVerifier,
    users::{Leave, Users},
};

/// The state of the function.
#[derive(Clone, Debug, FromRef)]
pub struct SessionsOfMe {
    /// Verifies access tokens.
    pub tokens: TokenVerifier,
    /// The users, whose items record a sign-out everywhere.
    pub users: Users,
    /// The sessions.
    pub sessions: Sessions,
}

impl SessionsOfMe {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let start = Start::new(env, clock)?;
        Ok(Self {
            users: start.users()?,
            sessions: start.sessions()?,
            tokens: start.verifier().await?,
        })
    }
}

/// Returns the routes, for Lambda, `local` and the tests.
pub fn router(sessions: SessionsOfMe) -> Router {
    let all = get(list).delete(end_all).fallback(method_not_allowed);
    let one = delete(end).fallback(method_not_allowed);
    let routes = Router::new()
        .route("/me/sessions", all)
        .route("/me/sessions/{session_id}", one)
        .with_state(sessions);
    surface(routes, "sessions", Visibility::Private)
}

/// The answer to `GET /me/sessions`, the last used session first.
#[derive(Serialize)]
struct List {
    sessions: Vec<ListedSession>,
}

/// A session as its user sees it. Times are RFC 3339, in UTC.
#[derive(Serialize)]
struct ListedSession {
    id: SessionId,
    client_id: String,
    user_agent: Option<String>,
    created_at: String,
    last_used_at: String,
    expires_at: String,
    /// True if it is the session of the request.
    current: bool,
}

impl ListedSession {
    fn new(session: Session, caller: &Caller) -> Self {
        Self {
            id: session.session.id,
            current: session.session.id == caller.session.id,
            client_id: session.client_id,
            user_agent: session.user_agent,
            created_at: rfc3339(session.created_at),
            last_used_at: rfc3339(session.last_used_at),
            expires_at: rfc3339(session.expires_at),
        }
    }
}

async fn list(
    State(users): State<Users>,
    State(sessions): State<Sessions>,
    caller: Caller,
) -> Result<Json<List>, ApiError> {
    let (user, sessions) =
        tokio::try_join!(users.find(caller.user_id), sessions.list(caller.user_id))?;
    let user = user.ok_or(ApiError::UnknownUser)?;
    let admitted = sessions
        .into_iter()
        .filter(|session| user.admits(session.session));
    let sessions: Vec<_> = admitted
        .map(|session| ListedSession::new(session, &caller))
        .collect();
    // An access token outlives its session by minutes. The list contains active sessions only: if the session of the
    // request is not in it, the caller is signed out.
    if !sessions.iter().any(|session| session.current) {
        return Err(ApiError::UnknownUser);
    }
    Ok(Json(List { sessions }))
}

/// Ends one session of the caller. A session of another user is answered as unknown.
async fn end(
    State(users): State<Users>,
    State(sessions): State<Sessions>,
    session_id: Result<Path<SessionId>, PathRejection>,
    caller: Caller,
) -> Result<NoContent, ApiError> {
    let not_found =
        || ApiError::NotFound("session not found: GET /me/sessions lists those of the user");
    let Path(session_id) = session_id.map_err(|_| not_found())?;
    // A caller may repeat the request that ended its own session. Ending any other session needs an active session.
    if session_id != caller.session.id {
        caller.user(&users).await?;
    }
    let reason = EndReason::SignedOut;
    let is_there = sessions.end(caller.user_id, session_id, reason).await?;
    is_there.then_some(NoContent).ok_or_else(not_found)
}

/// Ends all sessions of the caller, or all others.
async fn end_all(
    State(users): State<Users>,
    caller: Caller,
    IdempotencyKey(key): IdempotencyKey,
    RawQuery(query): RawQuery,
) -> Result<NoContent, ApiError> {
    let leave = leave(query.as_deref().unwrap_or_default())?;
    users
        .sign_out(caller.user_id, caller.session, leave, &key)
        .await?;
    Ok(NoContent)
}

/// A misspelt `?except=current` must not end the session that it names.
fn leave(query: &str) -> Result<Leave, ApiError> {
    match query {
        "" => Ok(Leave::All),
        "except=current" => Ok(Leave::Others),
        _ => Err(ApiError::InvalidRequest(
            "the query must be empty, or except=current".to_owned(),
        )),
    }
}
