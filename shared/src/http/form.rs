//! The form body of an OAuth endpoint, with each parameter at most once.

use std::collections::HashMap;

use axum::extract::{FromRequest, Request};
use http::{HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use super::{ApiError, OAuthError, media_type::is_media_type, surface::body_of};
use crate::json::is_name;

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// The parameters of a request to an OAuth endpoint, by name.
///
/// Any value may be a secret, so values do not print. A parameter without a value counts as absent, and an unknown
/// parameter is ignored (RFC 6749 §3.2).
#[derive(Debug)]
pub struct Form {
    parameters: HashMap<String, SecretString>,
    /// The `Authorization` headers of the request, because a client may authenticate in either place.
    pub(crate) authorization: Vec<HeaderValue>,
}

impl Form {
    /// Takes the parameter `name`.
    pub fn take(&mut self, name: &str) -> Option<SecretString> {
        self.parameters.remove(name)
    }

    /// Takes the public parameter `name`.
    pub fn take_plain(&mut self, name: &str) -> Option<String> {
        self.take(name)
            .map(|value| value.expose_secret().to_owned())
    }

    /// Takes the required parameter `name`.
    ///
    /// # Errors
    /// The parameter is missing or empty.
    pub fn require(&mut self, name: &str) -> Result<SecretString, ApiError> {
        self.take(name)
            .ok_or_else(|| ApiError::InvalidRequest(format!("{name} is required")))
    }

    /// Takes the required public parameter `name`.
    ///
    /// # Errors
    /// The parameter is missing or empty.
    pub fn require_plain(&mut self, name: &str) -> Result<String, ApiError> {
        self.take_plain(name)
            .ok_or_else(|| ApiError::InvalidRequest(format!("{name} is required")))
    }

    fn parse(body: &[u8]) -> Result<HashMap<String, SecretString>, ApiError> {
        let mut parameters = HashMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            // RFC 6749 Appendix A. Invalid UTF-8 arrives here as U+FFFD, which is refused as well.
            if !name.bytes().chain(value.bytes()).all(is_vschar) {
                return Err(ApiError::InvalidRequest(format!(
                    "{} has characters other than visible ASCII and space: remove them",
                    quotable(&name)
                )));
            }
            let name = name.into_owned();
            if parameters.contains_key(&name) {
                return Err(ApiError::InvalidRequest(format!(
                    "{} comes more than once: send it once",
                    quotable(&name)
                )));
            }
            parameters.insert(name, SecretString::from(value.into_owned()));
        }
        parameters.retain(|_, value: &mut SecretString| !value.expose_secret().is_empty());
        Ok(parameters)
    }
}

/// Returns whether `byte` is visible ASCII or a space: the parameters of the token endpoint have no others (RFC 6749,
/// Appendix A).
pub(crate) fn is_vschar(byte: u8) -> bool {
    (0x20..=0x7e).contains(&byte)
}

/// Returns a parameter's name for an error message, or a placeholder for an odd name, which may be a misplaced
/// secret.
fn quotable(name: &str) -> &str {
    if is_name(name) { name } else { "a parameter" }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = OAuthError;

    async fn from_request(request: Request, _: &S) -> Result<Self, OAuthError> {
        let (parts, body) = request.into_parts();
        if !is_media_type(&parts.headers, CONTENT_TYPE) {
            return Err(ApiError::UnsupportedMediaType(CONTENT_TYPE).into());
        }
        // A secret in a URL reaches logs, so the client gets an error at once.
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            let detail =
                "the URL has parameters: send them in the body, because a URL reaches logs";
            return Err(ApiError::InvalidRequest(detail.to_owned()).into());
        }
        let authorization = parts.headers.get_all(header::AUTHORIZATION);
        let mut authorization: Vec<_> = authorization.iter().cloned().collect();
        for value in &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self {
            parameters: Self::parse(&body_of(body).await?)?,
            authorization,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> Result<Form, ApiError> {
        Form::parse(body.as_bytes()).map(|parameters| Form {
            parameters,
            authorization: Vec::new(),
        })
    }

    #[test]
    fn parameters_are_decoded_once() {
        let mut form = parse("a=x%2By+z&b=%2541&c=").unwrap();
        assert_eq!(form.require("a").unwrap().expose_secret(), "x+y z");
        assert_eq!(form.require("b").unwrap().expose_secret(), "%41");
        assert!(form.require("c").is_err(), "empty counts as omitted");
        assert!(form.take("d").is_none());
    }

    #[test]
    fn t74_a_parameter_that_comes_twice_is_refused() {
        for body in [
            "a=1&a=1",
            "a=1&b=2&a=3",
            "a=1&%61=2",
            "a=&a=1",
            "zzz=1&zzz=2",
        ] {
            assert!(parse(body).is_err(), "{body}");
        }
    }

    #[test]
    fn t74_odd_encodings_are_refused() {
        for body in [
            "a=%00",
            "a=%C0%AF",
            "a=%FF",
            "a=%0A",
            "a=é",
            "%00=a",
            "a=%7F",
            "a=\u{202e}",
        ] {
            assert!(parse(body).is_err(), "{body}");
        }
    }

    #[test]
    fn an_error_does_not_quote_what_may_be_a_secret() {
        let error = parse("gho_secretsecret123=&gho_secretsecret123=")
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "a parameter comes more than once: send it once"
        );
    }

    #[tokio::test]
    async fn t79_no_secret_shows_in_debug_output() {
        let request = http::Request::post("/token")
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::AUTHORIZATION, "Basic aHVudGVyMg==")
            .body("client_secret=hunter2".into())
            .unwrap();
        let debug = format!("{:?}", Form::from_request(request, &()).await.unwrap());
        assert!(
            !debug.contains("hunter2") && !debug.contains("aHVudGVyMg"),
            "{debug}"
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&body);
        }

        #[test]
        fn what_is_encoded_is_read_back(values in proptest::collection::hash_map("[a-z_]{1,9}", "[ -~]{1,30}", 0..9)) {
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&values).finish();
            let mut form = parse(&body).unwrap();
            for (name, value) in &values {
                let read = form.require(name).unwrap();
                prop_assert_eq!(read.expose_secret(), value);
            }
        }
    }
}
