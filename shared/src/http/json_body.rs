//! The JSON body of a `POST`.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ApiError, media_type::is_media_type, surface::body_of};
use crate::json;

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
        json::from_value(members)
            .map(Self)
            .map_err(ApiError::InvalidRequest)
    }
}

/// Parses an object. Serde would accept an array as the members in their order.
fn object_of(body: &[u8]) -> Result<Value, ApiError> {
    let value = serde_json::from_slice(body).ok().filter(Value::is_object);
    value.ok_or_else(|| ApiError::InvalidRequest("the body must be a JSON object".to_owned()))
}
