//! `OAUTH_PROVIDERS`: whose opaque access tokens are accepted beside GitHub's, as JSON.

use secrecy::SecretString;
use serde::Deserialize;

use super::{ConfigError, Environment, is_provider_name};

const NAME: &str = "OAUTH_PROVIDERS";
const EXPECTED: &str = r#"JSON like [{"name":"discord","client_id":"<id>"},{"name":"facebook","client_id":"<id>","client_secret":"<secret>"}]"#;

/// A provider whose tokens only itself can read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthProvider {
    /// The name that its identities go by, and its `subject_issuer`: lower-case letters, digits and `-`.
    pub name: String,
    /// How its tokens are proven, such as `github`: the name unless set.
    pub kind: Option<String>,
    /// Our own client id there.
    #[serde(default)]
    pub client_id: String,
    /// Its secret, for a provider that answers only the application itself.
    pub client_secret: Option<SecretString>,
    /// Where its API is, if not where everybody's is.
    pub api_url: Option<String>,
    /// Says that tokens of *any* application may sign in: somebody who runs another application at the provider, or has
    /// got a token of one, can then sign in as its users.
    #[serde(default)]
    pub unsafe_no_app_binding: bool,
    /// Who a token's person is, for a provider that says nothing of the application.
    pub userinfo: Option<UserInfo>,
}

/// Where a provider says who a token's person is, and how to read the answer: each a JSON pointer (RFC 6901).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserInfo {
    /// What to ask, with the token as a bearer token.
    pub url: String,
    /// The person's unchanging id: a text or a whole number.
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
    /// How its tokens are proven.
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or(&self.name)
    }

    /// The error of a setting that its kind of provider cannot work with.
    pub fn refused(&self, problem: &str) -> ConfigError {
        refused(format!("{}: {problem}", self.name))
    }
}

/// `OAUTH_PROVIDERS`: the providers whose opaque access tokens are accepted beside GitHub's, as JSON; none unless set.
///
/// # Errors
/// The value is no such JSON, or could lead somewhere else than to a provider.
pub fn oauth_providers(env: &Environment) -> Result<Vec<OAuthProvider>, ConfigError> {
    let Some(value) = env.optional(NAME) else {
        return Ok(Vec::new());
    };
    let providers: Vec<OAuthProvider> = serde_json::from_str(&value).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        refused(format!("wrong at line {line} column {column}"))
    })?;
    for provider in &providers {
        if !is_provider_name(&provider.name) {
            return Err(refused(
                "a name is not 1 to 32 lower-case letters, digits and '-'".to_owned(),
            ));
        }
        // It becomes part of a path.
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        if !provider.client_id.bytes().all(plain) || provider.client_id.contains("..") {
            return Err(provider.refused("its client_id is none"));
        }
        let urls = [
            &provider.api_url,
            &provider.userinfo.as_ref().map(|info| info.url.clone()),
        ];
        for url in urls.into_iter().flatten() {
            env.base_url(NAME, url, EXPECTED)?;
        }
        let pointers = provider.userinfo.iter().flat_map(UserInfo::pointers);
        if pointers
            .into_iter()
            .any(|pointer| !pointer.starts_with('/'))
        {
            return Err(provider.refused("a JSON pointer does not start with '/'"));
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
