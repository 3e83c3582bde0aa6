//! `OAUTH_PROVIDERS`: the providers besides GitHub whose opaque access tokens are accepted, as JSON.

use secrecy::SecretString;
use serde::Deserialize;

use super::{ConfigError, Environment, is_provider_name};
use crate::json;

const NAME: &str = "OAUTH_PROVIDERS";
const EXPECTED: &str = r#"JSON like [{"name":"discord","client_id":"<id>"},{"name":"facebook","client_id":"<id>","client_secret":"<secret>"}]"#;

/// A provider with opaque tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthProvider {
    /// The name in identities and in `subject_issuer`: lower-case letters, digits and `-`.
    pub name: String,
    /// The kind of verification, such as `github`; by default the name.
    pub kind: Option<String>,
    /// The client id of your app at the provider.
    #[serde(default)]
    pub client_id: String,
    /// The secret of your app, for a provider that requires it.
    pub client_secret: Option<SecretString>,
    /// The URL of the provider's API, if it is not the usual one.
    pub api_url: Option<String>,
    /// Accepts tokens of *any* application of the provider: the operator of another application, or the holder of one
    /// of its tokens, can then sign in as its users.
    #[serde(default)]
    pub unsafe_no_app_binding: bool,
    /// The request for the profile, for a provider that does not name the application.
    pub userinfo: Option<UserInfo>,
}

/// The profile request of a provider, and JSON pointers (RFC 6901) into its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserInfo {
    /// The URL, which is called with the token as bearer token.
    pub url: String,
    /// The unchanging id of the account: a text or an integer.
    pub subject: String,
    /// The login.
    pub username: Option<String>,
    /// The display name.
    pub name: Option<String>,
    /// The e-mail address, which never counts as verified.
    pub email: Option<String>,
    /// The URL of a picture.
    pub picture: Option<String>,
}

impl OAuthProvider {
    /// The kind of verification.
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or(&self.name)
    }

    /// Returns the error for a setting that does not fit the kind of the provider.
    pub fn refused(&self, problem: &str) -> ConfigError {
        refused(format!("{}: {problem}", self.name))
    }
}

/// Reads `OAUTH_PROVIDERS`: the providers besides GitHub whose opaque access tokens are accepted, as JSON; none by
/// default.
///
/// # Errors
/// The value is not valid, or a URL in it could lead to another host than a provider's.
pub fn oauth_providers(env: &Environment) -> Result<Vec<OAuthProvider>, ConfigError> {
    let Some(value) = env.optional(NAME) else {
        return Ok(Vec::new());
    };
    let providers: Vec<OAuthProvider> = json::parse(&value).map_err(refused)?;
    for (index, provider) in providers.iter().enumerate() {
        if !is_provider_name(&provider.name) {
            return Err(refused(format!(
                "[{index}].name must be 1 to 32 lower-case letters, digits and '-'"
            )));
        }
        // The value becomes part of a path.
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        if !provider.client_id.bytes().all(plain) || provider.client_id.contains("..") {
            return Err(provider.refused(
                "client_id contains characters that are not allowed (RFC 6749, Appendix A.1)",
            ));
        }
        let urls = [
            &provider.api_url,
            &provider.userinfo.as_ref().map(|info| info.url.clone()),
        ];
        for url in urls.into_iter().flatten() {
            env.trusted_url(url).map_err(|hint| {
                provider.refused(&format!("its api_url or userinfo.url: {hint}"))
            })?;
        }
        let pointers = provider.userinfo.iter().flat_map(UserInfo::pointers);
        if pointers
            .into_iter()
            .any(|pointer| !pointer.starts_with('/'))
        {
            return Err(provider.refused("each pointer in userinfo must start with '/', like /id"));
        }
    }
    Ok(providers)
}

impl UserInfo {
    fn pointers(&self) -> impl Iterator<Item = &String> {
        let optional = [&self.username, &self.name, &self.email, &self.picture];
        std::iter::once(&self.subject).chain(optional.into_iter().flatten())
    }
}

fn refused(problem: String) -> ConfigError {
    ConfigError::secret(NAME, problem, EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Vec<OAuthProvider>, ConfigError> {
        oauth_providers(&Environment::of([(NAME, value)]))
    }

    #[test]
    fn one_line_is_enough_for_a_provider_that_everybody_knows() {
        let read =
            read(r#"[{"name":"facebook","client_id":"1","client_secret":"hunter2"}]"#).unwrap();
        assert_eq!(read[0].kind(), "facebook");
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn t47_t84_whatever_could_lead_elsewhere_is_refused_without_showing_it() {
        for value in [
            "{}",
            "[1]",
            r#"[{"name":"Discord","client_id":"1"}]"#,
            r#"[{"name":"","client_id":"1"}]"#,
            r#"[{"name":"discord","client_id":"../1"}]"#,
            r#"[{"name":"discord","client_id":".."}]"#,
            r#"[{"name":"discord","client_id":"1","api_url":"http://discord.example"}]"#,
            r#"[{"name":"discord","client_id":"1","api_url":"https://169.254.169.254"}]"#,
            r#"[{"name":"discord","client_id":"1","api_url":"https://localhost"}]"#,
            r#"[{"name":"discord","client_id":"1","unknown":"hunter2"}]"#,
            r#"[{"name":"x","userinfo":{"url":"http://x.example","subject":"/id"}}]"#,
            r#"[{"name":"x","userinfo":{"url":"https://x.example","subject":"id"}}]"#,
            r#"[{"name":"x","userinfo":{"url":"https://x.example","subject":"/id","name":"n"}}]"#,
        ] {
            let error = read(value).expect_err(value).to_string();
            assert!(error.starts_with("OAUTH_PROVIDERS "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
