//! Converts an event to a request.

mod pairs;

use axum::{body::Body, extract::Request};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::COOKIE,
    uri::{Parts, PathAndQuery},
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::OtherFormat;
use pairs::Pairs;

/// The largest size of all headers, names and values, in bytes. API Gateway allows 10,240; a function URL allows more.
const MAX_HEADERS: usize = 32 * 1024;

/// The service that made an event, which decides on the format of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An HTTP API with payload format 2.0, or a function URL.
    HttpApi,
    /// A REST API, or an HTTP API with payload format 1.0.
    RestApi,
    /// An Application Load Balancer.
    LoadBalancer {
        /// True if the target group has multi-value headers enabled.
        is_multi_value: bool,
    },
    /// VPC Lattice, with event structure version V2.
    Lattice,
}

/// A request, and the service that made an event of it.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) source: Source,
    /// The id that API Gateway gave the request.
    pub(crate) request_id: Option<String>,
    method: String,
    path: String,
    query: String,
    headers: Pairs,
    cookies: Vec<String>,
    body: Option<String>,
    is_base64_encoded: bool,
}

/// The members of the events of all sources. One type for all of them is smaller and quicker than an attempt for each
/// source: no member has two types, and those of the context tell the sources apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    version: Option<String>,
    request_context: Context,
    route_key: Option<String>,
    resource: Option<String>,
    http_method: Option<String>,
    method: Option<String>,
    raw_path: Option<String>,
    path: Option<String>,
    path_parameters: Option<Pairs>,
    raw_query_string: Option<String>,
    query_string_parameters: Option<Pairs>,
    multi_value_query_string_parameters: Option<Pairs>,
    headers: Option<Pairs>,
    multi_value_headers: Option<Pairs>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    request_id: Option<String>,
    stage: Option<String>,
    http: Option<Http>,
    elb: Option<IgnoredAny>,
    target_group_arn: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

/// The reason that an event is not a valid request. Contains no text of the client.
#[derive(Debug)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Event {
    /// Parses an event. Drops serde's error, which would quote the event with its tokens.
    pub(crate) fn read<'de>(event: impl Deserializer<'de>) -> Result<Self, OtherFormat> {
        let members = Members::deserialize(event).ok();
        members.and_then(Members::sort).ok_or(OtherFormat)
    }

    pub(crate) fn into_request(self) -> Result<Request, Malformed> {
        let uri = uri(&self.path, &self.query)?;
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| Malformed("the method is not a valid HTTP method"))?;
        let headers = headers(&self.headers, &self.cookies)?;
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
}

impl Members {
    /// Returns the event of the one source that it can be from; `None` if it is from none, or has the marks of two.
    /// The service in front of the function writes all these members: no text of a client becomes one.
    fn sort(self) -> Option<Event> {
        let Context {
            request_id,
            stage,
            http,
            elb,
            target_group_arn,
        } = self.request_context;
        let marks = (
            self.version.as_deref(),
            http,
            elb.is_some(),
            target_group_arn.is_some(),
            stage.as_deref(),
        );
        let parameters = self.path_parameters.unwrap_or_default();
        let queries = (
            self.multi_value_query_string_parameters,
            self.query_string_parameters,
        );
        let (source, method, path, query) = match marks {
            (Some("2.0"), Some(http), false, false, stage) => {
                let raw = self.raw_path?;
                // `GET /me`, or `$default`, which has no path.
                let route = self.route_key.as_deref();
                let route = route.and_then(|key| key.split_once(' '));
                let path = route.and_then(|(_, route)| without_base(&raw, route, &parameters));
                let path = path
                    .unwrap_or_else(|| without_stage(&raw, stage))
                    .to_owned();
                let query = self.raw_query_string.unwrap_or_default();
                (Source::HttpApi, http.method, path, query)
            }
            (None | Some("1.0"), None, false, false, Some(stage)) => {
                let raw = self.path?;
                // An HTTP API has the stage in the path. Its `$default` route has no path.
                let path = match self.resource.as_deref() {
                    Some(resource) if resource.starts_with('/') => {
                        without_base(&raw, resource, &parameters).unwrap_or(&raw)
                    }
                    _ => without_stage(&raw, Some(stage)),
                };
                let query = Pairs::of(queries).encode();
                (Source::RestApi, self.http_method?, path.to_owned(), query)
            }
            (None, None, true, false, None) => {
                let source = Source::LoadBalancer {
                    is_multi_value: self.multi_value_headers.is_some(),
                };
                let query = Pairs::of(queries).join();
                (source, self.http_method?, self.path?, query)
            }
            (Some("2.0"), None, false, true, None) => {
                let query = Pairs::of(queries).join();
                (Source::Lattice, self.method?, self.path?, query)
            }
            _ => return None,
        };
        Some(Event {
            source,
            request_id,
            method,
            path,
            query,
            headers: Pairs::of((self.multi_value_headers, self.headers)),
            cookies: self.cookies.unwrap_or_default(),
            body: self.body,
            is_base64_encoded: self.is_base64_encoded.unwrap_or_default(),
        })
    }
}

/// Returns path and query unchanged: nothing is decoded, and no header takes part.
fn uri(path: &str, query: &str) -> Result<Uri, Malformed> {
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

/// Returns the path without the name of the stage, which an HTTP API puts first for a named stage.
fn without_stage<'a>(path: &'a str, stage: Option<&str>) -> &'a str {
    stage
        .filter(|stage| !matches!(*stage, "" | "$default"))
        .and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage))
        .filter(|path| path.starts_with('/'))
        .unwrap_or(path)
}

/// Returns the path without what is in front of the path of the route: the base path of a custom domain, or a stage.
/// `None` if nothing is, or if the rest is not that of the route, letter for letter.
fn without_base<'a>(path: &'a str, route: &str, parameters: &Pairs) -> Option<&'a str> {
    if path == route {
        return None;
    }
    let segments = route.split('/').map(|segment| {
        let name = segment
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'));
        match name {
            Some(name) => parameters.get(name.trim_end_matches('+')),
            None => Some(segment),
        }
    });
    let inner = segments.collect::<Option<Vec<_>>>()?.join("/");
    let base = path.strip_suffix(&inner)?;
    is_base(base).then(|| &path[base.len()..])
}

/// Returns whether the text can be the base path of a custom domain, with a slash in front. Empty segments and dots
/// cannot: a path with them stays what it is, an unknown one.
fn is_base(base: &str) -> bool {
    let is_segment = |segment: &str| {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"$-_.+!*'()".contains(&b);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(is_allowed)
    };
    let segments = base.strip_prefix('/').map(|base| base.split('/'));
    segments.is_some_and(|mut segments| segments.all(is_segment))
}

/// Returns the headers. An HTTP API joins those of one name by a comma and passes cookies separately; the other sources
/// pass each header.
fn headers(headers: &Pairs, cookies: &[String]) -> Result<HeaderMap, Malformed> {
    const MALFORMED: Malformed = Malformed("a header is not valid in HTTP");
    let size = headers.size() + cookies.iter().map(String::len).sum::<usize>();
    if size > MAX_HEADERS {
        return Err(Malformed("the headers are larger than 32 KiB: send less"));
    }
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| MALFORMED)?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| MALFORMED)?;
        map.append(name, value);
    }
    for cookie in cookies {
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
            let of = Pairs::from_iter([("x-a".to_owned(), value)]);
            headers(&of, &["c".repeat(cookie)])
        };
        assert_eq!(sized(MAX_HEADERS, 100).unwrap().len(), 2);
        for cookie in [0, 100] {
            let refused = sized(MAX_HEADERS + 1, cookie).unwrap_err();
            assert_eq!(refused.0, "the headers are larger than 32 KiB: send less");
        }
    }

    #[test]
    fn t170_a_base_path_ends_where_the_path_of_the_route_begins_and_nowhere_else() {
        let parameters = [("id", "a.b"), ("proxy", "me/sessions"), ("up", "../me")];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let parameters = Pairs::from_iter(parameters);
        for (path, route, inner) in [
            ("/auth/me", "/me", Some("/me")),
            ("/auth/v1/me", "/me", Some("/me")),
            (
                "/auth/me/sessions/a.b",
                "/me/sessions/{id}",
                Some("/me/sessions/a.b"),
            ),
            ("/auth/me/sessions", "/{proxy+}", Some("/me/sessions")),
            ("/me/me", "/me", Some("/me")),
            ("/me", "/me", None),
            ("/me/sessions", "/{proxy+}", None),
            ("//me", "/me", None),
            ("/./me", "/me", None),
            ("/x/../me", "/me", None),
            ("/x//me", "/me", None),
            ("/%2e%2e/me", "/me", None),
            ("/a b/me", "/me", None),
            ("/auth/%6de", "/me", None),
            ("/auth/me/", "/me", None),
            ("/notme", "/me", None),
            ("x/me", "/me", None),
            ("/auth/../me", "/{up}", Some("/../me")),
            ("/auth/me", "/{unknown}", None),
            ("/auth/{id}", "/{id}", None),
        ] {
            assert_eq!(
                without_base(path, route, &parameters),
                inner,
                "{path} {route}"
            );
        }
    }
}
