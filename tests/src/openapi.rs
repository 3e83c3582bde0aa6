//! Checks every answer in the tests against `openapi.yaml`.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use jsonschema::{Registry, Validator};
use reqwest::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};

use crate::Answer;

/// The URI of the document in its schemas.
const NAME: &str = "cambio:/openapi";

/// The document.
#[expect(
    clippy::expect_used,
    reason = "without the document, no answer can be checked"
)]
static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(discovery::OPENAPI).expect("JSON"));
/// The validators, by the location of their schema in the document.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// The parts of a request that the document describes.
pub(crate) struct Asked {
    method: Method,
    path: String,
    body: Value,
}

impl Asked {
    pub(crate) fn of(request: &Request) -> Self {
        let bytes = request
            .body()
            .and_then(|body| body.as_bytes())
            .unwrap_or_default();
        let form = || -> Map<String, Value> {
            let pairs = form_urlencoded::parse(bytes);
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        Self {
            method: request.method().clone(),
            path: request.url().path().to_owned(),
            body: serde_json::from_slice(bytes).unwrap_or_else(|_| form().into()),
        }
    }

    /// Returns the location of the operation in the document, if it describes the path; `Err` if it describes the
    /// path but not the method.
    fn operation(&self) -> Option<Result<String, String>> {
        let paths = DOCUMENT["paths"].as_object()?;
        let (template, operations) = paths
            .iter()
            .find(|(template, _)| fits(template, &self.path))?;
        let method = self.method.as_str().to_lowercase();
        let place = format!("/paths/{}", template.replace('~', "~0").replace('/', "~1"));
        let is_there = operations.get(&method).is_some();
        Some(if is_there {
            Ok(format!("{place}/{method}"))
        } else {
            Err(place)
        })
    }

    #[expect(clippy::panic, reason = "it fails the test that asked")]
    /// Asserts that the document describes `answer` for this request.
    pub(crate) fn check(&self, answer: &Answer) {
        let what = format!(
            "{} {}: {} {:?}",
            self.method, self.path, answer.status, answer.body
        );
        let place = match self.operation() {
            None => return,
            // Like GET, without a body.
            Some(Err(_)) if self.method == Method::HEAD => return,
            Some(Err(_)) => {
                assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
                return;
            }
            Some(Ok(place)) => place,
        };
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            return;
        }
        let responses = format!("{place}/responses/{}", answer.status.as_u16());
        let Some(response) = DOCUMENT.pointer(&responses) else {
            panic!("openapi.yaml has no such answer: {what}");
        };
        self.check_body(
            &responses,
            response,
            &answer.body,
            answer.header("content-type"),
            &what,
        );
        if answer.status.is_success()
            && let Some(request) = DOCUMENT.pointer(&format!("{place}/requestBody"))
        {
            // The body was accepted, so one of the described types must match it.
            let first = request["content"]
                .as_object()
                .and_then(|content| content.keys().next());
            let first = first.map(String::as_str).unwrap_or_default();
            self.check_body(
                &format!("{place}/requestBody"),
                request,
                &self.body,
                first,
                &what,
            );
        }
    }

    #[expect(clippy::panic, reason = "it fails the test that asked")]
    fn check_body(
        &self,
        place: &str,
        described: &Value,
        body: &Value,
        content_type: &str,
        what: &str,
    ) {
        let Some(content) = described["content"].as_object() else {
            assert_eq!(*body, Value::Null, "openapi.yaml has no body there: {what}");
            return;
        };
        assert!(
            content.contains_key(content_type),
            "another type, {content_type}: {what}"
        );
        let place = format!("{place}/content/{}/schema", content_type.replace('/', "~1"));
        if let Err(error) = validator(&place).validate(body) {
            panic!(
                "openapi.yaml says otherwise: {error}, at {}: {what}",
                error.instance_path()
            );
        }
    }
}

/// Returns whether `path` matches `template`.
fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(expected), Some(part)) if expected == part => {}
            (Some(expected), Some(part)) if expected.starts_with('{') && !part.is_empty() => {}
            _ => return false,
        }
    }
}

fn validator(place: &str) -> Arc<Validator> {
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let made = validators
        .entry(place.to_owned())
        .or_insert_with(|| Arc::new(make(place)));
    Arc::clone(made)
}

/// Returns the schema at a location in the document, with its references.
#[expect(
    clippy::expect_used,
    reason = "a document with a broken schema fails every test"
)]
fn make(place: &str) -> Validator {
    static REGISTRY: LazyLock<Registry<'static>> = LazyLock::new(|| {
        let registry = Registry::new().add(NAME, &*DOCUMENT);
        registry
            .and_then(|registry| registry.prepare())
            .expect("a document")
    });
    // The braces of path parameters are not allowed in a URI.
    let place = place.replace('{', "%7B").replace('}', "%7D");
    let schema = json!({ "$ref": format!("{NAME}#{place}") });
    let options = jsonschema::draft202012::options().with_registry(&REGISTRY);
    options.build(&schema).expect("a schema")
}

#[cfg(test)]
mod tests {
    use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

    use super::*;

    fn check(method: Method, path: &str, status: StatusCode, body: Value) {
        let asked = Asked {
            method,
            path: path.to_owned(),
            body: Value::Null,
        };
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        asked.check(&Answer {
            status,
            headers,
            body,
        });
    }

    #[test]
    fn an_answer_that_is_described_passes_and_so_does_a_path_of_nobody() {
        let sessions = json!({ "sessions": [] });
        check(Method::GET, "/me/sessions", StatusCode::OK, sessions);
        check(Method::GET, "/nonsense", StatusCode::NOT_FOUND, json!({}));
    }

    #[test]
    #[should_panic(expected = "openapi.yaml says otherwise")]
    fn a_member_that_is_not_described_is_noticed() {
        let sessions = json!({ "sessions": [], "more": 1 });
        check(Method::GET, "/me/sessions", StatusCode::OK, sessions);
    }

    #[test]
    #[should_panic(expected = "openapi.yaml has no such answer")]
    fn a_status_that_is_not_described_is_noticed() {
        check(Method::GET, "/me", StatusCode::IM_A_TEAPOT, json!({}));
    }

    #[test]
    #[should_panic(expected = "openapi.yaml has no body there")]
    fn a_body_that_is_not_described_is_noticed() {
        let path = "/me/sessions/a";
        check(Method::DELETE, path, StatusCode::NO_CONTENT, json!({}));
    }

    #[test]
    #[should_panic(expected = "another type")]
    fn a_type_that_is_not_described_is_noticed() {
        check(Method::GET, "/me", StatusCode::UNAUTHORIZED, json!({}));
    }
}
