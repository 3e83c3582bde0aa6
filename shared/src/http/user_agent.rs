//! The `User-Agent` header.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{header, request::Parts};

/// The `User-Agent` of a request, by which users recognise their devices. No decision depends on it.
#[derive(Debug)]
pub struct UserAgent(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for UserAgent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let value = parts.headers.get(header::USER_AGENT);
        // `to_str` accepts visible ASCII only.
        Ok(Self(
            value
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
        ))
    }
}
