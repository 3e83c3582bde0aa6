//! `ISSUER_URL`, `TOKEN_AUDIENCE`, `AUDIENCES` and `API_URL`: the names and addresses of this API.

use std::sync::Arc;

use super::{ConfigError, Environment, wrapping};

/// The name of this API in tokens, and the API that they are for.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `ISSUER_URL`: the `iss` of access tokens and the base URL of the discovery documents, without a slash at the
    /// end.
    pub url: Arc<str>,
    /// `TOKEN_AUDIENCE`: the `aud` of access tokens, which names the API that they are for.
    pub audience: Arc<str>,
}

impl Issuer {
    /// Reads `ISSUER_URL` and `TOKEN_AUDIENCE`.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            url: issuer_url(env)?.into(),
            audience: token_audience(env)?.into(),
        })
    }
}

fn token_audience(env: &Environment) -> Result<String, ConfigError> {
    const NAME: &str = "TOKEN_AUDIENCE";
    const EXPECTED: &str =
        "the name of the API that access tokens are for, like https://api.example.com";
    let value = env.required(NAME, EXPECTED)?;
    // The `aud` of a token is compared as text, so a name that is written with its quotation marks fits no API.
    match wrapping(&value) {
        None => Ok(value),
        Some(hint) => Err(ConfigError::hinted(NAME, value, hint, EXPECTED)),
    }
}

/// Reads `AUDIENCES`: the audiences whose access tokens an API of your own accepts; by default `TOKEN_AUDIENCE`.
///
/// # Errors
/// The variable is wrong, or neither variable is set.
pub fn audiences(env: &Environment) -> Result<Vec<String>, ConfigError> {
    const AUDIENCES: &str = "names of APIs separated by commas, without spaces, like \
                             https://orders.example.com,https://stock.example.com";
    let Some(value) = env.optional("AUDIENCES") else {
        return Ok(vec![token_audience(env)?]);
    };
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !value.split(',').all(is_name) {
        let hint = if value.split(',').any(str::is_empty) {
            "remove the comma without a name"
        } else {
            "remove each character of a name that is not visible ASCII, such as a space"
        };
        return Err(ConfigError::hinted("AUDIENCES", value, hint, AUDIENCES));
    }
    Ok(value.split(',').map(str::to_owned).collect())
}

/// Reads `ISSUER_URL` alone, for functions that neither issue nor verify tokens.
///
/// # Errors
/// The variable is missing or wrong.
pub fn issuer_url(env: &Environment) -> Result<String, ConfigError> {
    const URL: &str =
        "the https URL of this API without a slash at the end, like https://api.example.com";
    let url = env.required("ISSUER_URL", URL)?;
    env.base_url("ISSUER_URL", &url, URL)?;
    Ok(url)
}

/// The names of this server in tokens that are for it: `ISSUER_URL`, and the URLs of its endpoints.
#[derive(Clone, Debug)]
pub struct Server {
    issuer_url: String,
    api_url: String,
}

impl Server {
    /// Reads `ISSUER_URL` and `API_URL`.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            issuer_url: issuer_url(env)?,
            api_url: api_url(env)?,
        })
    }

    /// Returns whether `audience` is the issuer, or the endpoint with one of these paths.
    pub(crate) fn is(&self, audience: &str, paths: &[&str]) -> bool {
        let path = audience.strip_prefix(&self.api_url);
        audience == self.issuer_url || path.is_some_and(|path| paths.contains(&path))
    }
}

/// Reads `API_URL`: the base URL of the endpoints if it differs from `ISSUER_URL`, because the documents are
/// published elsewhere.
///
/// # Errors
/// The variable is wrong, or `ISSUER_URL` is missing or wrong.
pub fn api_url(env: &Environment) -> Result<String, ConfigError> {
    const URL: &str =
        "the https URL of this API without a slash at the end; unset if it equals ISSUER_URL";
    let Some(url) = env.optional("API_URL") else {
        return issuer_url(env);
    };
    env.base_url("API_URL", &url, URL)?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audiences_of(value: &str) -> Result<Vec<String>, ConfigError> {
        let settings = [("AUDIENCES", value), ("TOKEN_AUDIENCE", "api")];
        audiences(&Environment::of(settings))
    }

    #[test]
    fn the_accepted_audiences_are_those_named_or_else_the_usual_one() {
        assert_eq!(audiences_of("").unwrap(), ["api"]);
        assert_eq!(audiences_of("orders").unwrap(), ["orders"]);
        assert_eq!(audiences_of("orders,stock").unwrap(), ["orders", "stock"]);
        let alone = Environment::of([("AUDIENCES", "orders")]);
        assert_eq!(audiences(&alone).unwrap(), ["orders"]);
        let neither = audiences(&Environment::of([("AUDIENCES", "")])).unwrap_err();
        assert!(neither.to_string().starts_with("TOKEN_AUDIENCE is not set"));
    }

    #[test]
    fn t84_audiences_that_no_token_can_have_are_refused() {
        for value in [
            ",",
            "orders,",
            ",orders",
            "orders,,stock",
            "orders, stock",
            "orders stock",
            "orders\nstock",
            "\u{f6}rders",
        ] {
            let error = audiences_of(value).unwrap_err().to_string();
            assert!(error.starts_with("AUDIENCES is "), "{error}");
        }
    }
}
