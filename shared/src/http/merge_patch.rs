//! The body of a `PATCH`, a JSON Merge Patch (RFC 7396).

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ApiError, media_type::is_media_type, surface::body_of};
use crate::json;

const CONTENT_TYPE: &str = "application/merge-patch+json";

/// A merge patch of the members of `T`. Any other member is an error, so that no client believes to have changed it.
///
/// `application/json` is accepted as well, because most clients send it.
#[derive(Debug)]
pub struct MergePatch<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for MergePatch<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let is = |media_type| is_media_type(&parts.headers, media_type);
        if !is(CONTENT_TYPE) && !is("application/json") {
            return Err(ApiError::UnsupportedMediaType(CONTENT_TYPE));
        }
        let body = body_of(body).await?;
        let patch: Value = serde_json::from_slice(&body)
            .map_err(|_| ApiError::InvalidRequest("the body must be JSON".to_owned()))?;
        // Serde would accept an array as the members in their order.
        let members = Some(patch).filter(Value::is_object).ok_or_else(|| {
            let detail = "the body must be a JSON object of the members to change";
            ApiError::Unprocessable(detail.to_owned())
        })?;
        json::from_value(members)
            .map(Self)
            .map_err(|problem| ApiError::Unprocessable(format!("{problem}; nothing was changed")))
    }
}
