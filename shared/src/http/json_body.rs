//! The JSON body of a `POST`.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ApiError, media_type::is_media_type, surface::body_of};

const CONTENT_TYPE: &str = "application/json";

/// A JSON object with the members of `T` and no others.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if !is_media_type(&parts.headers, CONTENT_TYPE) {
            return Err(ApiError::UnsupportedMediaType(CONTENT_TYPE));
        }
        let members = object_of(&body_of(body).await?)?;
        serde_json::from_value(members)
            .map(Self)
            // The library's message may quote the body, which may contain a secret.
            .map_err(|_| {
                let detail = "a member of the body is missing, unknown, or of another type";
                ApiError::InvalidRequest(detail.to_owned())
            })
    }
}

/// Parses an object. Serde would accept an array as the members in their order.
fn object_of(body: &[u8]) -> Result<Value, ApiError> {
    let value = serde_json::from_slice(body).ok().filter(Value::is_object);
    value.ok_or_else(|| ApiError::InvalidRequest("the body is not a JSON object".to_owned()))
}
