//! The events of API Gateway for an authorizer.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use serde::{Deserialize, Deserializer};

use crate::{AuthorizeError, Denied};

/// A request, and the form of the answer to it.
pub(crate) struct Event {
    /// The key of the route; `None` for a `TOKEN` authorizer, whose event does not have it.
    pub(crate) route: Option<String>,
    /// The method that a policy is about; `None` for the simple response of payload format 2.0.
    pub(crate) method: Option<MethodArn>,
    /// The id that API Gateway gave the request; a `TOKEN` authorizer does not get it.
    pub(crate) request_id: Option<String>,
    authorization: Vec<String>,
}

/// The members of the events of all forms that the answer depends on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    version: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    route_key: Option<String>,
    method_arn: Option<String>,
    http_method: Option<String>,
    resource: Option<String>,
    authorization_token: Option<String>,
    headers: Option<HashMap<String, String>>,
    multi_value_headers: Option<HashMap<String, Vec<String>>>,
    request_context: Option<RequestContext>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    request_id: Option<String>,
}

impl Event {
    /// Parses an event of API Gateway. Drops serde's error, which would quote the event with its token.
    pub(crate) fn read<'de>(event: impl Deserializer<'de>) -> Result<Self, AuthorizeError> {
        let members = Members::deserialize(event).ok();
        members
            .and_then(Members::sort)
            .ok_or(AuthorizeError::PayloadFormat)
    }

    /// Returns the values of its `Authorization` headers.
    pub(crate) fn authorization(&self) -> Result<HeaderMap, Denied> {
        let values = self.authorization.iter();
        values
            .map(|value| {
                let value = HeaderValue::from_str(value).map_err(|_| Denied::NoToken)?;
                Ok((AUTHORIZATION, value))
            })
            .collect()
    }
}

impl Members {
    /// Returns the event of the one form that it can have; `None` if it has none, or the marks of two.
    fn sort(mut self) -> Option<Event> {
        let method_arn = self.method_arn.take().map(MethodArn::parse);
        let request_id = self
            .request_context
            .take()
            .and_then(|context| context.request_id);
        match (self.version.as_deref(), self.kind.as_deref(), method_arn) {
            (Some("2.0"), _, None) => Some(Event {
                route: Some(self.route_key.take().unwrap_or_default()),
                method: None,
                request_id,
                authorization: self.authorization(),
            }),
            // A REST API has no version, an HTTP API has 1.0.
            (None | Some("1.0"), Some("REQUEST"), Some(Some(method))) => {
                let (verb, resource) = (self.http_method.take()?, self.resource.take()?);
                let route = if resource.starts_with('/') {
                    format!("{verb} {resource}")
                } else {
                    // The route `$default` of an HTTP API.
                    resource
                };
                Some(Event {
                    route: Some(route),
                    method: Some(method),
                    request_id,
                    authorization: self.authorization(),
                })
            }
            (None, Some("TOKEN"), Some(Some(method))) => Some(Event {
                route: None,
                method: Some(method),
                request_id,
                authorization: vec![self.authorization_token?],
            }),
            _ => None,
        }
    }

    /// Returns the values of the `Authorization` headers, by the form that has each value of a name if it is there.
    fn authorization(self) -> Vec<String> {
        let is_it = |name: &str| name.eq_ignore_ascii_case(AUTHORIZATION.as_str());
        match self
            .multi_value_headers
            .filter(|headers| !headers.is_empty())
        {
            Some(headers) => {
                let headers = headers.into_iter().filter(|(name, _)| is_it(name));
                headers.flat_map(|(_, values)| values).collect()
            }
            None => {
                let headers = self.headers.into_iter().flatten();
                let headers = headers.filter(|(name, _)| is_it(name));
                headers.map(|(_, value)| value).collect()
            }
        }
    }
}

/// The ARN of a method of an API: `arn:aws:execute-api:<region>:<account>:<api>/<stage>/<method>/<path>`.
#[derive(Debug)]
pub(crate) struct MethodArn {
    arn: String,
    /// The length of all up to the stage.
    stage: usize,
}

impl MethodArn {
    /// Reads an ARN; `None` if it is not one of a method. Up to the stage, it has names and no patterns, so that a
    /// policy never reaches another API or stage.
    fn parse(arn: String) -> Option<Self> {
        let parts: Vec<_> = arn.splitn(6, ':').collect();
        let ["arn", _, "execute-api", _, _, method] = *parts else {
            return None;
        };
        let (api, rest) = method.split_once('/')?;
        let (name, _) = rest.split_once('/')?;
        let stage = arn.len() - rest.len() + name.len();
        if api.is_empty() || name.is_empty() || arn[..stage].contains(['*', '?']) {
            return None;
        }
        Some(Self { arn, stage })
    }

    /// Returns the ARN of all methods of the stage.
    pub(crate) fn all(&self) -> String {
        format!("{}/*", &self.arn[..self.stage])
    }

    /// Returns the ARN of this method alone; `None` if its path would be a pattern in a policy. The path is the text of
    /// the client: `GET /orders/*` as a resource would be the path of every order, and of what is below it.
    pub(crate) fn only(&self) -> Option<String> {
        let path = &self.arn[self.stage..];
        (!path.contains(['*', '?', '$'])).then(|| self.arn.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: &str = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3/prod";

    fn method(path: &str) -> Option<MethodArn> {
        MethodArn::parse(format!("{STAGE}{path}"))
    }

    #[test]
    fn t171_a_policy_names_the_stage_or_one_method_and_never_a_pattern_of_the_client() {
        for path in ["/GET/orders", "/GET/", "/GET/a:b/c%2A", "/GET/orders/{id}"] {
            let method = method(path).unwrap();
            assert_eq!(method.all(), format!("{STAGE}/*"), "{path}");
            assert_eq!(method.only(), Some(format!("{STAGE}{path}")), "{path}");
        }
        for path in [
            "/GET/*",
            "/GET/orders/*",
            "/GET/order?",
            "/*/orders",
            "/GET/${*}",
        ] {
            assert_eq!(method(path).unwrap().only(), None, "{path}");
        }
        let default = MethodArn::parse("arn:aws-cn:execute-api:r:1:a/$default/GET/a".to_owned());
        assert_eq!(
            default.unwrap().all(),
            "arn:aws-cn:execute-api:r:1:a/$default/*"
        );
    }

    #[test]
    fn t171_an_arn_of_anything_else_is_refused() {
        for arn in [
            "",
            "*",
            "arn:aws:execute-api:r:1:*/prod/GET/a",
            "arn:aws:execute-api:*:1:a/prod/GET/a",
            "arn:aws:execute-api:r:?:a/prod/GET/a",
            "arn:*:execute-api:r:1:a/prod/GET/a",
            "arn:aws:execute-api:r:1:a/*/GET/a",
            "arn:aws:execute-api:r:1:a/pro?/GET/a",
            "arn:aws:execute-api:r:1:a//GET/a",
            "arn:aws:execute-api:r:1:/prod/GET/a",
            "arn:aws:execute-api:r:1:a/prod",
            "arn:aws:execute-api:r:1:a",
            "arn:aws:lambda:r:1:a/prod/GET/a",
            "aws:execute-api:r:1:a/prod/GET/a",
        ] {
            assert!(MethodArn::parse(arn.to_owned()).is_none(), "{arn}");
        }
    }
}
