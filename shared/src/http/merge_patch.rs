//! The body of a `PATCH`: a JSON Merge Patch (RFC 7396).

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::{ApiError, media_type::is_media_type, surface::body_of};

const CONTENT_TYPE: &str = "application/merge-patch+json";

/// A merge patch of the members that a `T` has; any other is refused, so that nobody believes that they changed it.
///
/// `application/json` is accepted as well: that is what most clients send.
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
        serde_json::from_slice(&body_of(body).await?)
            .map(Self)
            .map_err(|error| match error.classify() {
                // The library's message may quote what the client sent, and this one ends up in the log.
                Category::Data => ApiError::Unprocessable(
                    "a member cannot be changed here, or is of another type".to_owned(),
                ),
                Category::Syntax | Category::Eof | Category::Io => {
                    ApiError::InvalidRequest("the body is no JSON".to_owned())
                }
            })
    }
}
