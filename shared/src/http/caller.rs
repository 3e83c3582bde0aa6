//! Sign-in as an extractor.

use axum::extract::{FromRef, FromRequestParts};
use http::{header::AUTHORIZATION, request::Parts};

use super::ApiError;
use crate::{
    sessions::SessionRef,
    token::TokenVerifier,
    users::{User, UserId, Users},
};

/// The signed-in user making this request (RFC 6750).
///
/// Taking one as a handler argument is what makes a route require sign-in.
#[derive(Debug)]
pub struct Caller {
    /// Who is calling.
    pub user_id: UserId,
    /// The sign-in that the call is part of.
    pub session: SessionRef,
}

impl Caller {
    /// The caller's user, as of now.
    ///
    /// # Errors
    /// The user is gone, disabled, or signed out everywhere since; or the table cannot be read.
    pub async fn user(&self, users: &Users) -> Result<User, ApiError> {
        let user = users.find(self.user_id).await?;
        let user = user.filter(|user| user.admits(self.session));
        user.ok_or(ApiError::UnknownUser)
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    TokenVerifier: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let token = bearer_token(parts)?;
        let claims = TokenVerifier::from_ref(state).verify(token).await?;
        Ok(Self {
            user_id: claims.sub,
            session: SessionRef {
                id: claims.sid,
                version: claims.session_version,
            },
        })
    }
}

/// The token of the one `Authorization: Bearer` header. API Gateway joins several headers with a comma, which no
/// token contains.
fn bearer_token(parts: &Parts) -> Result<&str, ApiError> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else {
        return Err(ApiError::MissingToken);
    };
    header
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_matches(' '))
        .filter(|token| !token.is_empty())
        .ok_or(ApiError::MissingToken)
}
