//! `GITHUB_CLIENT_ID`, `GITHUB_CLIENT_SECRET` and `GITHUB_API_URL`: the OAuth app at GitHub.

use secrecy::SecretString;

use super::{ConfigError, Environment, ProviderSecret};

/// The OAuth app at GitHub for sign-ins of the Next.js app.
#[derive(Clone, Debug)]
pub struct GitHub {
    /// The name that its identities go by.
    pub name: String,
    /// `GITHUB_CLIENT_ID` of the OAuth app.
    pub client_id: String,
    /// `GITHUB_CLIENT_SECRET` of the OAuth app, which check-a-token requires: the secret or its ARN.
    pub client_secret: ProviderSecret,
    /// `GITHUB_API_URL`: `https://api.github.com` by default; set it for GitHub Enterprise. Without a slash at the
    /// end.
    pub api_url: String,
}

impl GitHub {
    /// Reads `GITHUB_CLIENT_ID`, `GITHUB_CLIENT_SECRET` and `GITHUB_API_URL`. None of them need be set where other
    /// providers are.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Option<Self>, ConfigError> {
        let is_unset = |name| env.optional(name).is_none();
        let has_others = !(is_unset("OIDC_PROVIDERS") && is_unset("OAUTH_PROVIDERS"));
        if is_unset("GITHUB_CLIENT_ID") && is_unset("GITHUB_CLIENT_SECRET") && has_others {
            return Ok(None);
        }

        let id_expected = if is_unset("GITHUB_CLIENT_SECRET") {
            "the client id of your OAuth app at GitHub, or another provider in OIDC_PROVIDERS or OAUTH_PROVIDERS"
        } else {
            "the client id of your OAuth app at GitHub, because GITHUB_CLIENT_SECRET is set"
        };
        let client_id = env.required("GITHUB_CLIENT_ID", id_expected)?;
        // The value becomes a segment of a URL's path.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !client_id.bytes().all(plain) || client_id.starts_with('.') {
            return Err(ConfigError::value(
                "GITHUB_CLIENT_ID",
                client_id,
                "the client id of your OAuth app at GitHub: letters, digits, '.', '_' and '-'",
            ));
        }
        let api_url = Self::api_url(env)?;
        Ok(Some(Self {
            name: "github".to_owned(),
            client_id,
            client_secret: Self::client_secret(env)?,
            api_url,
        }))
    }

    fn client_secret(env: &Environment) -> Result<ProviderSecret, ConfigError> {
        const NAME: &str = "GITHUB_CLIENT_SECRET";
        const EXPECTED: &str =
            "the client secret of your OAuth app at GitHub, because GITHUB_CLIENT_ID is set";
        let secret = SecretString::from(env.required(NAME, EXPECTED)?);
        ProviderSecret::try_from(secret)
            .map_err(|problem| ConfigError::secret(NAME, problem, EXPECTED))
    }

    /// Reads `GITHUB_API_URL` alone.
    ///
    /// # Errors
    /// The variable is wrong.
    pub(crate) fn api_url(env: &Environment) -> Result<String, ConfigError> {
        const API: &str =
            "the https URL of GitHub's API without a slash at the end, like https://api.github.com";
        let api_url = env
            .optional("GITHUB_API_URL")
            .unwrap_or_else(|| "https://api.github.com".to_owned());
        env.base_url("GITHUB_API_URL", &api_url, API)?;
        Ok(api_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let github = GitHub::from_env(&Environment::of([
            ("GITHUB_CLIENT_ID", "Iv1.0123456789abcdef"),
            ("GITHUB_CLIENT_SECRET", "hunter2"),
        ]))
        .unwrap();
        assert!(!format!("{github:?}").contains("hunter2"));
        assert_eq!(github.unwrap().api_url, "https://api.github.com");
    }

    #[test]
    fn a_client_id_that_would_change_the_path_is_refused() {
        for id in ["a/b", "..", "a?b", "a b", "é"] {
            let env = Environment::of([
                ("GITHUB_CLIENT_ID", id),
                ("GITHUB_CLIENT_SECRET", "hunter2"),
            ]);
            assert!(GitHub::from_env(&env).is_err(), "{id}");
        }
    }
}
