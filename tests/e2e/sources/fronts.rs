//! The services that put an HTTP request into an event for a function: each as its documentation describes its events.

use serde_json::{Map, Value, json};

/// A service in front of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    HttpApi,
    /// An HTTP API with payload format 1.0.
    HttpApi1,
    RestApi,
    LoadBalancer,
    LoadBalancerMultiValue,
    Lattice,
}

pub(super) const FRONTS: [Front; 6] = [
    Front::HttpApi,
    Front::HttpApi1,
    Front::RestApi,
    Front::LoadBalancer,
    Front::LoadBalancerMultiValue,
    Front::Lattice,
];

/// A request as a client sends it: the query is encoded, and a header may be there several times.
#[derive(Clone, Default)]
pub(super) struct Sent<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: Vec<(&'a str, &'a str)>,
    pub(super) body: Option<&'a str>,
    pub(super) is_base64: bool,
}

/// A request without a query and a body.
pub(super) fn sent<'a>(method: &'a str, path: &'a str, headers: &[(&'a str, &'a str)]) -> Sent<'a> {
    Sent {
        method,
        path,
        headers: headers.to_vec(),
        ..Sent::default()
    }
}

impl Front {
    /// Returns the event of a request. The APIs have the stage `prod`, and a route for each path.
    pub(super) fn event(self, sent: &Sent<'_>) -> Value {
        let raw = pairs(sent.query, |text| text.to_owned());
        let decoded = pairs(sent.query, |text| {
            let mut parsed = form_urlencoded::parse(text.as_bytes());
            parsed
                .next()
                .map(|(text, _)| text.into_owned())
                .unwrap_or_default()
        });
        // All but an HTTP API's payload format 2.0 leave the names of a REST API as they were sent.
        let lower = sent.headers.iter();
        let lower: Vec<_> = lower
            .map(|(name, value)| (name.to_lowercase(), (*value).to_owned()))
            .collect();
        let given = sent.headers.iter();
        let given: Vec<_> = given
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut event = match self {
            Self::HttpApi => json!({
                "version": "2.0",
                "routeKey": format!("{} {}", sent.method, sent.path),
                "rawPath": format!("/prod{}", sent.path),
                "rawQueryString": sent.query,
                "headers": joined(&lower),
                "requestContext": {
                    "accountId": "123456789012", "apiId": "a1b2c3", "stage": "prod",
                    "http": {
                        "method": sent.method, "path": format!("/prod{}", sent.path), "protocol": "HTTP/1.1",
                        "sourceIp": "192.0.2.1", "userAgent": "agent",
                    },
                },
            }),
            Self::HttpApi1 => json!({
                "version": "1.0",
                "resource": sent.path,
                "path": format!("/prod{}", sent.path),
                "httpMethod": sent.method,
                "headers": last(&lower),
                "multiValueHeaders": all(&lower),
                "queryStringParameters": last(&decoded),
                "multiValueQueryStringParameters": all(&decoded),
                "requestContext": {
                    "accountId": "123456789012", "apiId": "a1b2c3", "stage": "prod", "httpMethod": sent.method,
                    "path": format!("/prod{}", sent.path), "identity": { "sourceIp": "192.0.2.1" },
                },
            }),
            Self::RestApi => json!({
                "resource": "/{proxy+}",
                "path": sent.path,
                "httpMethod": sent.method,
                "headers": last(&given),
                "multiValueHeaders": all(&given),
                "queryStringParameters": last(&decoded),
                "multiValueQueryStringParameters": all(&decoded),
                "pathParameters": { "proxy": sent.path.trim_start_matches('/') },
                "requestContext": {
                    "accountId": "123456789012", "apiId": "a1b2c3", "stage": "prod", "httpMethod": sent.method,
                    "path": format!("/prod{}", sent.path), "resourcePath": "/{proxy+}",
                    "identity": { "sourceIp": "192.0.2.1" },
                },
            }),
            Self::LoadBalancer => json!({
                "httpMethod": sent.method,
                "path": sent.path,
                "queryStringParameters": or_empty(last(&raw)),
                "headers": or_empty(last(&lower)),
                "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:::targetgroup/a/b" } },
            }),
            Self::LoadBalancerMultiValue => json!({
                "httpMethod": sent.method,
                "path": sent.path,
                "multiValueQueryStringParameters": or_empty(all(&raw)),
                "multiValueHeaders": or_empty(all(&lower)),
                "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:::targetgroup/a/b" } },
            }),
            Self::Lattice => json!({
                "version": "2.0",
                "path": sent.path,
                "method": sent.method,
                "headers": or_empty(all(&lower)),
                "queryStringParameters": or_empty(all(&raw)),
                "requestContext": {
                    "serviceNetworkArn": "arn:aws:vpc-lattice:::servicenetwork/a",
                    "serviceArn": "arn:aws:vpc-lattice:::service/a",
                    "targetGroupArn": "arn:aws:vpc-lattice:::targetgroup/a",
                    "region": "eu-central-1", "timeEpoch": "1583348638390000",
                },
            }),
        };
        event["body"] = match (self, sent.body) {
            (Self::LoadBalancer | Self::LoadBalancerMultiValue, None) => "".into(),
            (_, body) => body.into(),
        };
        event["isBase64Encoded"] = sent.is_base64.into();
        event
    }

    /// Returns the status, the headers and the body of an answer, as the service reads it.
    pub(super) fn read(self, answer: &Value) -> (u16, Vec<(String, String)>, String) {
        let mut members: Vec<_> = answer
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        members.sort_unstable();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (expected, form): (&[&str], _) = match self {
            Self::HttpApi => (
                &[
                    "body",
                    "cookies",
                    "headers",
                    "isBase64Encoded",
                    "statusCode",
                ],
                "headers",
            ),
            Self::HttpApi1 | Self::RestApi => (
                &["body", "isBase64Encoded", "multiValueHeaders", "statusCode"],
                "multiValueHeaders",
            ),
            Self::LoadBalancer | Self::Lattice => (
                &[
                    "body",
                    "headers",
                    "isBase64Encoded",
                    "statusCode",
                    "statusDescription",
                ],
                "headers",
            ),
            Self::LoadBalancerMultiValue => (
                &[
                    "body",
                    "isBase64Encoded",
                    "multiValueHeaders",
                    "statusCode",
                    "statusDescription",
                ],
                "multiValueHeaders",
            ),
        };
        assert_eq!(members, expected, "{self:?}");
        let status = u16::try_from(answer["statusCode"].as_u64().unwrap()).unwrap();
        if let Some(description) = answer["statusDescription"].as_str() {
            let (code, reason) = description.split_once(' ').unwrap();
            assert_eq!(code, status.to_string());
            assert!(!reason.is_empty(), "{description}");
        }
        let headers = answer[form].as_object().unwrap().iter();
        let headers = headers.flat_map(|(name, value)| match value {
            Value::Array(values) => values
                .iter()
                .map(|value| (name.clone(), text(value)))
                .collect(),
            value => vec![(name.clone(), text(value))],
        });
        (status, headers.collect(), text(&answer["body"]))
    }
}

/// Returns the parameters of a query, each name and value through `of`.
fn pairs(query: &str, of: impl Fn(&str) -> String) -> Vec<(String, String)> {
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    parameters
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (of(name), of(value))
        })
        .collect()
}

fn last(pairs: &[(String, String)]) -> Value {
    let pairs = pairs
        .iter()
        .cloned()
        .map(|(name, value)| (name, value.into()));
    let map: Map<_, _> = pairs.collect();
    if map.is_empty() {
        Value::Null
    } else {
        map.into()
    }
}

fn all(pairs: &[(String, String)]) -> Value {
    let mut map = Map::new();
    for (name, value) in pairs {
        let values = map.entry(name).or_insert_with(|| json!([]));
        values.as_array_mut().unwrap().push((&**value).into());
    }
    if map.is_empty() {
        Value::Null
    } else {
        map.into()
    }
}

/// Returns an object, where an API has `null`, as a load balancer and VPC Lattice do.
fn or_empty(value: Value) -> Value {
    if value.is_null() { json!({}) } else { value }
}

fn joined(pairs: &[(String, String)]) -> Value {
    let mut map = Map::<String, Value>::new();
    for (name, value) in pairs {
        let value = match map.get(name).and_then(Value::as_str) {
            Some(first) => format!("{first},{value}"),
            None => value.clone(),
        };
        map.insert(name.clone(), value.into());
    }
    map.into()
}
