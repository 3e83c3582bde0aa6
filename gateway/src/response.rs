//! Converts an answer to the format of the service in front of the function.

use std::collections::BTreeMap;

use axum::body::to_bytes;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::header::SET_COOKIE;
use serde::Serialize;

use crate::{Error, event::Source};

/// An answer with the members that its reader expects, and no others: a REST API takes an unknown member for an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The status.
    pub status_code: u16,
    /// The status with its reason, for a load balancer and VPC Lattice: `200 OK`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_description: Option<String>,
    /// The headers, for the readers that take one value for each name. Values of one name are joined by commas.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The headers, for a REST API, and a load balancer with multi-value headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub multi_value_headers: BTreeMap<String, Vec<String>>,
    /// The values of `Set-Cookie`, for an HTTP API, which takes them from here only. Always present there, because
    /// `cargo lambda watch` answers 500 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookies: Option<Vec<String>>,
    /// The body, as text or as base64.
    pub body: String,
    /// True if the body is base64.
    pub is_base64_encoded: bool,
}

impl Response {
    pub(crate) async fn read(
        response: axum::response::Response,
        source: Source,
    ) -> Result<Self, Error> {
        let (parts, body) = response.into_parts();
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers
                .entry(name.as_str().to_owned())
                .or_default()
                .push(value);
        }
        let body = to_bytes(body, usize::MAX).await?;
        let (body, is_base64_encoded) = match std::str::from_utf8(&body) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (STANDARD.encode(&body), true),
        };
        let mut answer = Self {
            status_code: parts.status.as_u16(),
            body,
            is_base64_encoded,
            ..Self::default()
        };
        if matches!(source, Source::LoadBalancer { .. } | Source::Lattice) {
            answer.status_description = Some(parts.status.to_string());
        }
        let is_multi_value = match source {
            Source::RestApi => true,
            Source::LoadBalancer { is_multi_value } => is_multi_value,
            Source::HttpApi | Source::Lattice => false,
        };
        if is_multi_value {
            answer.multi_value_headers = headers;
            return Ok(answer);
        }
        let mut cookies = headers.remove(SET_COOKIE.as_str()).unwrap_or_default();
        let joined = headers.into_iter();
        answer.headers = joined
            .map(|(name, values)| (name, values.join(", ")))
            .collect();
        if source == Source::HttpApi {
            answer.cookies = Some(cookies);
        } else if let Some(last) = cookies.pop() {
            // Cookies cannot be joined by a comma, and there is room for one.
            answer.headers.insert(SET_COOKIE.as_str().to_owned(), last);
        }
        Ok(answer)
    }
}
