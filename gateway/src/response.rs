//! Converts an answer to API Gateway's format.

use std::collections::BTreeMap;

use axum::body::to_bytes;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::header::SET_COOKIE;
use serde::Serialize;

use crate::Error;

/// An answer in payload format 2.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The status.
    pub status_code: u16,
    /// The headers. Values of one name are joined by commas.
    pub headers: BTreeMap<String, String>,
    /// The values of `Set-Cookie`, which cannot be joined by commas. The member is always present, because `cargo
    /// lambda watch` answers 500 without it.
    pub cookies: Vec<String>,
    /// The body, as text or as base64.
    pub body: String,
    /// True if the body is base64.
    pub is_base64_encoded: bool,
}

impl Response {
    pub(crate) async fn read(response: axum::response::Response) -> Result<Self, Error> {
        let (parts, body) = response.into_parts();
        let mut headers = BTreeMap::<String, String>::new();
        let mut cookies = Vec::new();
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            if name == SET_COOKIE {
                cookies.push(value.into_owned());
                continue;
            }
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|all| {
                    all.push_str(", ");
                    all.push_str(&value);
                })
                .or_insert_with(|| value.to_string());
        }
        let body = to_bytes(body, usize::MAX).await?;
        let (body, is_base64_encoded) = match std::str::from_utf8(&body) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (STANDARD.encode(&body), true),
        };
        Ok(Self {
            status_code: parts.status.as_u16(),
            headers,
            cookies,
            body,
            is_base64_encoded,
        })
    }
}
