//! Converts an event to a request.

use std::collections::HashMap;

use axum::{body::Body, extract::Request};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::COOKIE,
    uri::{Parts, PathAndQuery},
};
use serde::{Deserialize, Deserializer};

use crate::OtherFormat;

/// The largest size of all headers, names and values, in bytes. API Gateway allows 10,240; a function URL allows more.
const MAX_HEADERS: usize = 32 * 1024;

/// The members of an event (payload format 2.0) that make up the request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    version: String,
    raw_path: String,
    raw_query_string: Option<String>,
    headers: Option<HashMap<String, String>>,
    cookies: Option<Vec<String>>,
    request_context: Context,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    http: Http,
    request_id: Option<String>,
    stage: Option<String>,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

/// The reason that an event is not a valid request. Contains no text of the client.
#[derive(Debug)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Event {
    const VERSION: &str = "2.0";

    /// Takes the id that API Gateway gave the request.
    pub(crate) fn take_request_id(&mut self) -> Option<String> {
        self.request_context.request_id.take()
    }

    /// Parses an event of API Gateway. Drops serde's error, which would quote the event with its tokens.
    pub(crate) fn read<'de>(event: impl Deserializer<'de>) -> Result<Self, OtherFormat> {
        Self::deserialize(event)
            .ok()
            .filter(|event: &Self| event.version == Self::VERSION)
            .ok_or(OtherFormat)
    }

    pub(crate) fn into_request(self) -> Result<Request, Malformed> {
        let uri = self.uri()?;
        let method = Method::from_bytes(self.request_context.http.method.as_bytes())
            .map_err(|_| Malformed("the method is not a valid HTTP method"))?;
        let headers = headers(self.headers, self.cookies)?;
        let body = match self.body {
            None => Body::empty(),
            Some(text) if self.is_base64_encoded => {
                let decoded = STANDARD.decode(text);
                decoded
                    .map_err(|_| Malformed("the body is not valid base64"))?
                    .into()
            }
            Some(text) => text.into(),
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Returns path and query unchanged: nothing is decoded, and no header takes part.
    fn uri(&self) -> Result<Uri, Malformed> {
        let path = self.path();
        let query = self.raw_query_string.as_deref().unwrap_or_default();
        // The URI parser would end the path or the query at one of these characters.
        if !path.starts_with('/') || path.contains(['?', '#']) || query.contains('#') {
            return Err(Malformed("the path or the query is not valid in a URL"));
        }
        let path_and_query = match query {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        };
        PathAndQuery::try_from(path_and_query)
            .ok()
            .and_then(|path_and_query| {
                let mut parts = Parts::default();
                parts.path_and_query = Some(path_and_query);
                Uri::from_parts(parts).ok()
            })
            .ok_or(Malformed("the path or the query is not valid in a URL"))
    }

    /// Returns the path without the name of the stage, which API Gateway puts first for a named stage.
    fn path(&self) -> &str {
        let stage = self.request_context.stage.as_deref();
        stage
            .filter(|stage| !matches!(*stage, "" | "$default"))
            .and_then(|stage| self.raw_path.strip_prefix('/')?.strip_prefix(stage))
            .filter(|path| path.starts_with('/'))
            .unwrap_or(&self.raw_path)
    }
}

/// API Gateway joins headers of one name by a comma, and passes cookies separately.
fn headers(
    headers: Option<HashMap<String, String>>,
    cookies: Option<Vec<String>>,
) -> Result<HeaderMap, Malformed> {
    const MALFORMED: Malformed = Malformed("a header is not valid in HTTP");
    let (names, values) = (headers.iter().flatten(), cookies.iter().flatten());
    let size = names
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>()
        + values.map(String::len).sum::<usize>();
    if size > MAX_HEADERS {
        return Err(Malformed("the headers are larger than 32 KiB: send less"));
    }
    let mut map = HeaderMap::new();
    for (name, value) in headers.unwrap_or_default() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| MALFORMED)?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| MALFORMED)?;
        map.append(name, value);
    }
    for cookie in cookies.unwrap_or_default() {
        let value = HeaderValue::from_bytes(cookie.as_bytes()).map_err(|_| MALFORMED)?;
        map.append(COOKIE, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t161_the_headers_have_a_bounded_size_together() {
        let sized = |size: usize, cookie: usize| {
            let value = "x".repeat(size - cookie - "x-a".len());
            let of = HashMap::from([("x-a".to_owned(), value)]);
            headers(Some(of), Some(vec!["c".repeat(cookie)]))
        };
        assert_eq!(sized(MAX_HEADERS, 100).unwrap().len(), 2);
        for cookie in [0, 100] {
            let refused = sized(MAX_HEADERS + 1, cookie).unwrap_err();
            assert_eq!(refused.0, "the headers are larger than 32 KiB: send less");
        }
    }
}
