//! Sign-in as an extractor.

use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};

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
/// Taking one as a handler argument is what makes a route require sign-in.
#[derive(Debug)]
pub struct Caller {
    /// Who is calling.
    pub user_id: UserId,
    /// The application that the user signed in with.
    pub client_id: String,
    /// The sign-in that the call is part of.
    pub session: SessionRef,
    /// When that was, with a provider; `None` if the provider does not say when.
    pub signed_in_at: Option<Timestamp>,
    /// What the application may do, separated by spaces (RFC 6749 §3.3).
    pub scope: Option<String>,
    /// What the user may do.
    pub roles: Vec<String>,
}

/// A signed-in user who signed in with a provider a moment ago (RFC 9470).
///
/// For what a copied token should not be enough for: to change who may sign in.
#[derive(Debug)]
pub struct RecentSignIn(pub Caller);

/// The greatest age of a recent sign-in.
pub(super) const RECENT: Duration = Duration::from_mins(5);

impl Caller {
    /// The caller's user, as of now.
    ///
    /// # Errors
    /// The user is gone or disabled, or the session has ended since the token was issued; or the table cannot be read.
    pub async fn user(&self, users: &Users) -> Result<User, ApiError> {
        let user = users.find_signed_in(self.user_id, self.session).await?;
        user.ok_or(ApiError::UnknownUser)
    }
}

impl Caller {
    /// Requires that the application may do this (RFC 6750 §3.1).
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

    /// Whether the user had this role when the token was issued.
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
        Ok(Self {
            user_id: claims.sub,
            client_id: claims.client_id,
            signed_in_at: claims.auth_time,
            scope: claims.scope,
            roles: claims.roles,
            session: SessionRef {
                id: claims.sid,
                version: claims.session_version,
            },
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
            // Unknown is not recent: the person may have signed in at the provider weeks ago.
            None => Err(ApiError::SignInTimeUnknown),
            Some(at) if now.saturating_sub(at) > RECENT.as_secs() => Err(ApiError::SignInTooOld),
            Some(_) => Ok(Self(caller)),
        }
    }
}

/// The token of the one `Authorization: Bearer` header. API Gateway joins several headers with a comma, which no
/// token contains.
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
