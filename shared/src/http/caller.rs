//! Extractors of the signed-in user.

use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use serde_json::{Map, Value};

use super::ApiError;
use crate::{
    clock::{Clock, Timestamp},
    ids::{SessionRef, UserId},
    scope::has_scope,
    token::TokenVerifier,
    users::{User, Users},
};

/// The signed-in user making this request (RFC 6750).
///
/// As a handler argument, it makes a route require a sign-in.
#[derive(Debug)]
pub struct Caller {
    /// The id of the user.
    pub user_id: UserId,
    /// The id of the client that the user signed in with.
    pub client_id: String,
    /// The session of the request.
    pub session: SessionRef,
    /// The time of the sign-in at the provider; `None` if the provider does not report it.
    pub signed_in_at: Option<Timestamp>,
    /// The scope of the token, separated by spaces (RFC 6749 §3.3).
    pub scope: Option<String>,
    /// The roles of the user.
    pub roles: Vec<String>,
    /// The operator's claims about the user.
    pub claims: Map<String, Value>,
}

/// A signed-in user with a sign-in at a provider within the last five minutes (RFC 9470).
///
/// For actions that a copied token must not allow, such as linking an account.
#[derive(Debug)]
pub struct RecentSignIn(pub Caller);

/// The greatest age of a recent sign-in.
pub(super) const RECENT: Duration = Duration::from_mins(5);

impl Caller {
    /// Reads the user of the caller, strongly consistent.
    ///
    /// # Errors
    /// The user is deleted or disabled, the session has ended, or the table cannot be read.
    pub async fn user(&self, users: &Users) -> Result<User, ApiError> {
        let user = users.find_signed_in(self.user_id, self.session).await?;
        user.ok_or(ApiError::UnknownUser)
    }
}

impl Caller {
    /// Requires this scope (RFC 6750 §3.1).
    ///
    /// # Errors
    /// [`ApiError::InsufficientScope`].
    pub fn require_scope(&self, scope: &'static str) -> Result<(), ApiError> {
        if has_scope(self.scope.as_deref(), scope) {
            Ok(())
        } else {
            Err(ApiError::InsufficientScope(scope))
        }
    }

    /// Returns whether the user had this role when the token was issued.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|other| other == role)
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    TokenVerifier: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let token = bearer_token(&parts.headers).ok_or(ApiError::MissingToken)?;
        let claims = TokenVerifier::from_ref(state).verify(token).await?;
        // For the log of the request.
        tracing::Span::current().record("user_id", tracing::field::display(claims.sub));
        Ok(Self {
            user_id: claims.sub,
            session: claims.session(),
            client_id: claims.client_id,
            signed_in_at: claims.auth_time,
            scope: claims.scope,
            roles: claims.roles,
            claims: claims.own,
        })
    }
}

impl<S> FromRequestParts<S> for RecentSignIn
where
    S: Send + Sync,
    TokenVerifier: FromRef<S>,
    Clock: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let now = Clock::from_ref(state).now();
        match caller.signed_in_at {
            // An unknown time is not recent: the sign-in at the provider may be weeks old.
            None => Err(ApiError::SignInTimeUnknown),
            Some(at) if now.saturating_sub(at) > RECENT.as_secs() => Err(ApiError::SignInTooOld),
            Some(_) => Ok(Self(caller)),
        }
    }
}

/// Returns the token of the single `Authorization: Bearer` header. API Gateway joins several headers by a comma,
/// which no token contains.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut headers = headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return None;
    };
    header
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_matches(' '))
        .filter(|token| !token.is_empty())
}
