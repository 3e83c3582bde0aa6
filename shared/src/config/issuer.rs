//! `ISSUER_URL`, `TOKEN_AUDIENCE` and `API_URL`: the names and addresses of this API.

use std::sync::Arc;

use super::{ConfigError, Environment};

/// The name of this API in tokens, and the API that they are for.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `ISSUER_URL`: our `iss`, and the base of the discovery documents. No slash at the end.
    pub url: Arc<str>,
    /// `TOKEN_AUDIENCE`: the `aud` of our access tokens, the name of the API that they are for.
    pub audience: Arc<str>,
}

impl Issuer {
    /// Reads `ISSUER_URL` and `TOKEN_AUDIENCE`.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let audience = env.required(
            "TOKEN_AUDIENCE",
            "the name of the API that access tokens are for, like https://api.example.com",
        );
        Ok(Self {
            url: issuer_url(env)?.into(),
            audience: audience?.into(),
        })
    }
}

/// `ISSUER_URL` alone, for a function that neither issues nor checks tokens.
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

/// `API_URL`: where our endpoints are, if not below `ISSUER_URL`, as when the documents are published somewhere else.
///
/// # Errors
/// The variable is wrong, or `ISSUER_URL` is missing or wrong.
pub fn api_url(env: &Environment) -> Result<String, ConfigError> {
    const URL: &str =
        "the https URL of this API without a slash at the end, or nothing where it is ISSUER_URL";
    let Some(url) = env.optional("API_URL") else {
        return issuer_url(env);
    };
    env.base_url("API_URL", &url, URL)?;
    Ok(url)
}
