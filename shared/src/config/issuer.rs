//! `ISSUER_URL`, `TOKEN_AUDIENCE` and `API_URL`: the names and addresses of this API.

use std::sync::Arc;

use super::{ConfigError, Environment};

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
