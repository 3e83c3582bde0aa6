//! The errors of requests, and their status codes.

use std::{error::Error as StdError, time::Duration};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use thiserror::Error;

use super::{GRANT_TYPE_REFRESH_TOKEN, GRANT_TYPE_TOKEN_EXCHANGE};
use crate::{
    dynamodb::StoreError,
    keys::KeysError,
    provider::ProviderError,
    sessions::RefreshError,
    stored::StoredError,
    telemetry,
    token::TokenError,
    users::{ChangeError, Conflict, LinkError, SignInError},
};

/// The errors of requests, as a client may know them.
///
/// The response is RFC 9457 problem JSON, or RFC 6749 JSON if wrapped in [`OAuthError`].
#[derive(Debug, Error)]
pub enum ApiError {
    /// The request is malformed.
    #[error("{0}")]
    InvalidRequest(String),
    /// Client authentication failed. The answer is the same for every reason; the log has the reason.
    #[error(
        "client authentication failed: compare the client id and the secret with CLIENTS of Cambio, whose log has the reason"
    )]
    InvalidClient(#[source] ClientError),
    /// The client assertion is not valid (RFC 7523 §3.2).
    #[error("client authentication failed: the assertion is not accepted: {why}")]
    ClientAssertion {
        /// The reason, in words that are the same for every client.
        why: &'static str,
        /// The reason for the log, if it says more.
        #[source]
        cause: Option<ClientError>,
    },
    /// The client may not sign users in with this provider (RFC 6749 §5.2).
    #[error(
        "this client may not sign users in with this provider: add the provider to its providers in CLIENTS"
    )]
    UnauthorizedClient,
    /// The client may not vouch for users (RFC 6749 §5.2).
    #[error("{0}")]
    UnauthorizedVoucher(#[source] ProviderError),
    /// The client may not use this grant type (RFC 6749 §5.2).
    #[error("this client may not use this grant_type: add it to its grants in CLIENTS")]
    UnauthorizedGrant,
    /// The grant type is not supported (RFC 6749 §5.2).
    #[error("grant_type must be {GRANT_TYPE_TOKEN_EXCHANGE} or {GRANT_TYPE_REFRESH_TOKEN}")]
    UnsupportedGrantType,
    /// The scope is malformed, or not allowed for the client or the session.
    #[error(
        "scope is malformed, too long, or not allowed for this client or session: request less, or omit it"
    )]
    InvalidScope,
    /// The audience is not one of the client's (RFC 8693 §2.2.2).
    #[error(
        "audience or resource is not one of this client: add it to its audiences in CLIENTS, or omit the parameter"
    )]
    InvalidTarget,
    /// The provider's token is not accepted: `invalid_request` (RFC 8693 §2.2.2).
    #[error("{0}")]
    SubjectToken(#[source] ProviderError),
    /// The provider's token was used before.
    #[error("{0}")]
    AlreadyExchanged(#[source] SignInError),
    /// The refresh token is not valid (RFC 6749 §5.2).
    #[error("{0}")]
    InvalidGrant(#[source] RefreshError),
    /// The user is disabled or may not sign up.
    #[error("{0}")]
    AccessDenied(#[source] SignInError),
    /// The request conflicts with the state of the account.
    #[error("{0}")]
    Conflict(#[source] Conflict),
    /// The sign-in is too old for this request (RFC 9470).
    #[error("sign in again: this needs a sign-in of the last 5 minutes")]
    SignInTooOld,
    /// The caller has made too many attempts (RFC 6585 §4).
    #[error("too many attempts: try again after the seconds in Retry-After")]
    TooManyAttempts {
        /// The time to wait before a retry.
        retry_after: Duration,
    },
    /// The client, or one of its users, has made too many requests (RFC 6585 §4).
    #[error(
        "too many requests of {of} within a minute: try again after the seconds in Retry-After"
    )]
    TooManyRequests {
        /// The client or the user, with the name of the setting.
        of: &'static str,
        /// The time to wait before a retry.
        retry_after: Duration,
    },
    /// The time of the sign-in is unknown, so it does not count as recent (RFC 9470).
    #[error(
        "this needs a sign-in of the last 5 minutes, and your provider does not report the time of a sign-in: sign in with a linked account of a provider that does, or let the app request auth_time from an OpenID provider (max_age=300 in the authorization request)"
    )]
    SignInTimeUnknown,
    /// The request has no access token.
    #[error("an access token is required in the Authorization header")]
    MissingToken,
    /// The access token is not valid.
    #[error("{}", token_problem(.0))]
    InvalidToken(#[source] TokenError),
    /// The user of the token is deleted or disabled, or the session has ended.
    #[error(
        "the session of the access token has ended, or its user is disabled or deleted: sign in again"
    )]
    UnknownUser,
    /// The token lacks this scope (RFC 6750 §3.1). A scope token needs no escape in a quoted string.
    #[error("the access token lacks the scope {0}: request it in scope of POST /token")]
    InsufficientScope(&'static str),
    /// The resource does not exist, or belongs to another user.
    #[error("{0}")]
    NotFound(&'static str),
    /// The request is well-formed, but a value is not accepted (RFC 9110 §15.5.21).
    #[error("{0}")]
    Unprocessable(String),
    /// The `Content-Type` is not one that the route reads.
    #[error("Content-Type must be {0}")]
    UnsupportedMediaType(&'static str),
    /// The body is too large.
    #[error("the body is larger than 64 KiB: send less")]
    TooLarge,
    /// The route does not support the method.
    #[error("the path does not support this method: the header Allow lists those that it supports")]
    MethodNotAllowed,
    /// The provider fails.
    #[error("the identity provider cannot be reached; try again later")]
    ProviderUnavailable {
        /// The cause, for the log.
        #[source]
        cause: ProviderError,
        /// The time to wait before a retry.
        retry_after: Duration,
    },
    /// An operation of DynamoDB failed.
    #[error("temporarily unavailable; try again")]
    StoreUnavailable(#[source] StoreError),
    /// The request exceeded its time limit.
    #[error("temporarily unavailable; try again")]
    Overdue,
    /// The signing keys cannot be read.
    #[error("temporarily unavailable; try again")]
    KeysUnavailable(#[source] KeysError),
    /// The settings in the keys table cannot be read.
    #[error("temporarily unavailable; try again")]
    SettingsUnavailable(#[source] StoredError),
    /// The client secret of the provider cannot be read.
    #[error("temporarily unavailable; try again")]
    SecretUnavailable(#[source] ProviderError),
    /// A bug.
    #[error("internal error: the log of Cambio has the cause")]
    Internal(#[source] TokenError),
}

/// Reasons that a client is not authenticated. They are for the log only: an answer with the reason would reveal which
/// clients exist. Only names from the settings are in it, because a request may have its secret in the wrong place.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The request has no complete credentials.
    #[error("the request has neither a client_id with a client_secret nor a client_assertion")]
    NoCredentials,
    /// The `Authorization` header is not that of a client.
    #[error(
        "the Authorization header is not one of Basic, with client id and secret form-urlencoded, joined by a colon and in base64"
    )]
    NotBasic,
    /// The body and the header, or the body and the assertion, name different clients.
    #[error("client_id of the body is not the client that the header or the assertion names")]
    OtherClientId,
    /// No client has this id.
    #[error("no client in CLIENTS has this client_id; the client ids are {0}")]
    UnknownClient(String),
    /// The secret is another one.
    #[error("the secret of the client {0} is wrong: its SHA-256 is not in secret_sha256")]
    WrongSecret(String),
    /// The client has keys only.
    #[error(
        "the client {0} has no secret_sha256 in CLIENTS: it authenticates by a client_assertion"
    )]
    NoSecret(String),
    /// No key of the client is named in the header of the assertion.
    #[error("the client {0} has no key with the kid and the alg of the assertion in jwks")]
    NoKey(String),
    /// The signature is not that of the key.
    #[error("the signature of the assertion is not one of the key of the client {0} in jwks")]
    WrongSignature(String),
}

/// Returns the reason that an answer names. Only the text of a token with a valid signature depends on its claims, and
/// the bearer can read these: so an answer does not help to forge a token.
fn token_problem(error: &TokenError) -> &'static str {
    match error {
        TokenError::Expired => "the access token has expired: refresh it, or sign in again",
        TokenError::Foreign("aud") => {
            "the access token is for another API: request one with the audience of this API"
        }
        TokenError::Untimely(_) => {
            "the access token is not valid yet, or lives too long: compare the clocks of the servers"
        }
        TokenError::Malformed(_)
        | TokenError::UnknownKey
        | TokenError::Forged(_)
        | TokenError::Foreign(_)
        | TokenError::Signing
        | TokenError::KeysUnavailable(_) => {
            "the access token is not one of this issuer: send the access_token of POST /token unchanged"
        }
    }
}

/// The `Retry-After` of failures of Cambio and of DynamoDB.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_)
            | Self::UnauthorizedClient
            | Self::UnauthorizedVoucher(_)
            | Self::UnauthorizedGrant
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::SubjectToken(_)
            | Self::AlreadyExchanged(_)
            | Self::InvalidGrant(_)
            | Self::AccessDenied(_) => StatusCode::BAD_REQUEST,
            Self::InvalidClient(_)
            | Self::ClientAssertion { .. }
            | Self::MissingToken
            | Self::InvalidToken(_)
            | Self::SignInTooOld
            | Self::SignInTimeUnknown
            | Self::UnknownUser => StatusCode::UNAUTHORIZED,
            Self::InsufficientScope(_) => StatusCode::FORBIDDEN,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyAttempts { .. } | Self::TooManyRequests { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ProviderUnavailable { .. }
            | Self::StoreUnavailable(_)
            | Self::Overdue
            | Self::KeysUnavailable(_)
            | Self::SettingsUnavailable(_)
            | Self::SecretUnavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns whether the request had no outcome, so that the client can send it again unchanged.
    pub(crate) fn may_be_repeated(&self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Returns whether a client that was registered, or got its secret, a moment ago is refused in this way.
    pub(crate) fn is_of_the_registration(&self) -> bool {
        let cause = match self {
            Self::InvalidClient(cause) => Some(cause),
            Self::ClientAssertion { cause, .. } => cause.as_ref(),
            _ => None,
        };
        matches!(
            cause,
            Some(
                ClientError::UnknownClient(_)
                    | ClientError::WrongSecret(_)
                    | ClientError::NoSecret(_)
                    | ClientError::NoKey(_)
                    | ClientError::WrongSignature(_)
            )
        )
    }

    /// Returns the stable code of the error, which is the standards' code where one exists.
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_)
            | Self::SubjectToken(_)
            | Self::AlreadyExchanged(_)
            | Self::MissingToken
            | Self::UnsupportedMediaType(_)
            | Self::TooLarge
            | Self::MethodNotAllowed => "invalid_request",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::NotFound(_) => "not_found",
            Self::Conflict(Conflict::BelongsToAnother) => "identity_in_use",
            Self::Conflict(Conflict::ProviderLinked) => "provider_already_linked",
            Self::Conflict(Conflict::TooMany) => "too_many_identities",
            Self::Conflict(Conflict::Last) => "last_identity",
            // The challenge of RFC 9470 §3.
            Self::SignInTooOld | Self::SignInTimeUnknown => "insufficient_user_authentication",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Unprocessable(_) => "unprocessable",
            Self::InvalidClient(_) | Self::ClientAssertion { .. } => "invalid_client",
            Self::UnauthorizedClient | Self::UnauthorizedVoucher(_) | Self::UnauthorizedGrant => {
                "unauthorized_client"
            }
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::AccessDenied(_) => "access_denied",
            Self::InvalidToken(_) | Self::UnknownUser => "invalid_token",
            Self::ProviderUnavailable { .. }
            | Self::StoreUnavailable(_)
            | Self::Overdue
            | Self::KeysUnavailable(_)
            | Self::SettingsUnavailable(_)
            | Self::SecretUnavailable(_) => "temporarily_unavailable",
            Self::Internal(_) => "server_error",
        }
    }

    /// Returns the challenge, which names an error only if the request had a token (RFC 6750 §3).
    fn challenge(&self) -> Option<HeaderValue> {
        match self {
            Self::InvalidClient(_) | Self::ClientAssertion { .. } => Some(
                HeaderValue::from_static(r#"Basic realm="cambio", charset="UTF-8""#),
            ),
            Self::MissingToken => Some(HeaderValue::from_static(r#"Bearer realm="cambio""#)),
            Self::InvalidToken(_) | Self::UnknownUser => HeaderValue::from_str(&format!(
                r#"Bearer realm="cambio", error="invalid_token", error_description="{self}""#
            ))
            .ok(),
            Self::SignInTooOld | Self::SignInTimeUnknown => Some(HeaderValue::from_static(
                r#"Bearer realm="cambio", error="insufficient_user_authentication", error_description="a more recent sign-in is required", max_age="300""#,
            )),
            Self::InsufficientScope(scope) => HeaderValue::from_str(&format!(
                r#"Bearer realm="cambio", error="insufficient_scope", error_description="{self}", scope="{scope}""#
            ))
            .ok(),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ProviderUnavailable { retry_after, .. }
            | Self::TooManyAttempts { retry_after }
            | Self::TooManyRequests { retry_after, .. } => Some(*retry_after),
            Self::StoreUnavailable(_)
            | Self::Overdue
            | Self::KeysUnavailable(_)
            | Self::SettingsUnavailable(_)
            | Self::SecretUnavailable(_) => Some(RETRY_AFTER),
            _ => None,
        }
    }

    /// Returns the outcome of the request, for its log line.
    fn outcome(&self) -> &'static str {
        match self {
            Self::ProviderUnavailable { .. } => "provider_unavailable",
            Self::StoreUnavailable(_)
            | Self::SettingsUnavailable(StoredError::Unreachable(_) | StoredError::NotRead(_)) => {
                "dynamodb_unavailable"
            }
            Self::KeysUnavailable(_) => "keys_unavailable",
            Self::SecretUnavailable(_) => "secrets_unavailable",
            Self::Overdue => "overdue",
            _ => outcome(self.status()),
        }
    }

    /// Logs the failure, in the one place where it becomes an answer.
    fn log(&self) {
        let (status, code) = (self.status().as_u16(), self.code());
        telemetry::set_failed(code, self.outcome());
        let cause = StdError::source(self).map(ToString::to_string);
        if self.status().is_server_error() {
            tracing::error!(error.code = code, error.cause = cause, status, "{self}");
        } else {
            tracing::info!(error.code = code, error.cause = cause, status, "{self}");
        }
    }

    fn decorate(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(challenge) = self.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, wait.as_secs().max(1).into());
        }
        response
    }
}

/// Returns the outcome of a request with this status, for its log line.
pub(super) fn outcome(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "limited",
        _ if status.is_server_error() => "failed",
        _ if status.is_client_error() => "refused",
        _ => "ok",
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let problem = json!({
            "type": format!("urn:cambio:error:{}", self.code()),
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        let mut response = (status, Json(problem)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        self.decorate(response)
    }
}

/// An [`ApiError`] in the form of OAuth (RFC 6749 §5.2).
#[derive(Debug)]
pub struct OAuthError(ApiError);

impl<E: Into<ApiError>> From<E> for OAuthError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        error.log();
        let body = json!({ "error": error.code(), "error_description": error.to_string() });
        let response = (error.status(), Json(body)).into_response();
        error.decorate(response)
    }
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Unavailable { retry_after, .. }
            | ProviderError::Unclear { retry_after, .. }
            | ProviderError::RateLimited { retry_after, .. } => Self::ProviderUnavailable {
                cause: error,
                retry_after,
            },
            ProviderError::Secret(_) => Self::SecretUnavailable(error),
            ProviderError::NoVoucher => Self::UnauthorizedVoucher(error),
            ProviderError::IssuerMissing
            | ProviderError::UnknownIssuer { .. }
            | ProviderError::Rejected(_) => Self::SubjectToken(error),
        }
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Disabled | SignInError::NotAllowed => Self::AccessDenied(error),
            SignInError::AlreadyExchanged => Self::AlreadyExchanged(error),
            SignInError::Store(error) => Self::StoreUnavailable(error),
        }
    }
}

impl From<RefreshError> for ApiError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Invalid | RefreshError::Reused => Self::InvalidGrant(error),
            RefreshError::ScopeNotGranted => Self::InvalidScope,
            RefreshError::AudienceNotAllowed => Self::InvalidTarget,
            RefreshError::Store(error) => Self::StoreUnavailable(error),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotSignedIn => Self::UnknownUser,
            ChangeError::Patch(error) => Self::Unprocessable(error.to_string()),
            ChangeError::Store(error) => Self::StoreUnavailable(error),
        }
    }
}

impl From<LinkError> for ApiError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NotSignedIn => Self::UnknownUser,
            LinkError::NotLinked => {
                Self::NotFound("identity not found: GET /me/identities lists those of the user")
            }
            LinkError::TooManyAttempts { retry_after } => Self::TooManyAttempts { retry_after },
            LinkError::AlreadyUsed => Self::InvalidRequest(error.to_string()),
            LinkError::Conflict(conflict) => Self::Conflict(conflict),
            LinkError::Store(error) => Self::StoreUnavailable(error),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::StoreUnavailable(error)
    }
}

impl From<KeysError> for ApiError {
    fn from(error: KeysError) -> Self {
        Self::KeysUnavailable(error)
    }
}

impl From<StoredError> for ApiError {
    fn from(error: StoredError) -> Self {
        Self::SettingsUnavailable(error)
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::KeysUnavailable(error) => Self::KeysUnavailable(error),
            TokenError::Signing => Self::Internal(error),
            TokenError::Malformed(_)
            | TokenError::UnknownKey
            | TokenError::Forged(_)
            | TokenError::Foreign(_)
            | TokenError::Expired
            | TokenError::Untimely(_) => Self::InvalidToken(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_stays_out_of_the_answer() {
        let error = ApiError::from(StoreError::Unavailable("table arn:aws:…".to_owned()));
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(error.to_string(), "temporarily unavailable; try again");
    }

    #[test]
    fn an_outage_is_never_blamed_on_the_token() {
        let outage = || StoreError::Unavailable(String::new());
        for error in [
            ApiError::from(TokenError::KeysUnavailable(
                KeysError::Unreachable(outage()),
            )),
            ApiError::from(SignInError::Store(outage())),
            ApiError::from(StoreError::Conflict("the user")),
            ApiError::from(StoreError::NoRandomness),
            ApiError::from(ProviderError::Unavailable {
                cause: String::new(),
                retry_after: Duration::ZERO,
            }),
        ] {
            let response = OAuthError(error).into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        }
    }
}
