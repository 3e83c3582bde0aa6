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
        // `to_str` accepts visible ASCII, and tabs.
        let key = value.to_str().unwrap_or_default().trim();
        if key.is_empty() || key.len() > MAX_LENGTH || key.contains('\t') {
            return Err(ApiError::InvalidRequest(format!(
                "Idempotency-Key must be 1 to {MAX_LENGTH} characters of visible ASCII, such as a UUID"
            )));
        }
        Ok(Self(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    async fn read(key: &str) -> Result<String, ApiError> {
        let request = Request::get("/").header("idempotency-key", key).body(());
        let (mut parts, ()) = request.unwrap().into_parts();
        let key = IdempotencyKey::from_request_parts(&mut parts, &()).await;
        key.map(|IdempotencyKey(key)| key)
    }

    #[tokio::test]
    async fn a_key_is_a_short_visible_text() {
        let longest = "x".repeat(MAX_LENGTH);
        for key in ["a", "a b", &longest] {
            assert_eq!(read(key).await.unwrap(), key);
        }
        for key in ["", " ", "a\tb", "é", &format!("{longest}x")] {
            assert!(read(key).await.is_err(), "{key}");
        }
    }
}
