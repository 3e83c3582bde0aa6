//! The `Idempotency-Key` header.

use axum::extract::FromRequestParts;
use http::request::Parts;
use uuid::Uuid;

use super::ApiError;

const MAX_LENGTH: usize = 255;

/// The `Idempotency-Key` of a request (draft-ietf-httpapi-idempotency-key-header). A client sends the same key when
/// it repeats a request whose answer was lost. Without the header, a unique key.
#[derive(Debug)]
pub struct IdempotencyKey(pub String);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("idempotency-key") else {
            return Ok(Self(Uuid::now_v7().to_string()));
        };
        // `to_str` accepts visible ASCII only.
        let key = value.to_str().unwrap_or_default().trim();
        if key.is_empty() || key.len() > MAX_LENGTH {
            return Err(ApiError::InvalidRequest(format!(
                "Idempotency-Key must be 1 to {MAX_LENGTH} characters of visible ASCII, such as a UUID"
            )));
        }
        Ok(Self(key.to_owned()))
    }
}
