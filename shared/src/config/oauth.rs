//! `OAUTH_PROVIDERS`: the providers besides GitHub whose opaque access tokens are accepted, as JSON.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    ConfigError, Environment, ProviderSecret, is_provider_name, presets, too_many_providers,
};
use crate::json;

const NAME: &str = "OAUTH_PROVIDERS";
const EXPECTED: &str = r#"JSON like [{"name":"discord","client_id":"<id>"},{"name":"facebook","client_id":"<id>","client_secret":"<secret>"}]"#;

/// A provider with opaque tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthProvider {
    /// The name in identities and in `subject_issuer`: lower-case letters, digits and `-`.
    pub name: String,
    /// The kind of verification, such as `github` or a preset; by default the name.
    pub kind: Option<String>,
    /// The client id of your app at the provider, or the other id of the app that `check` names.
    #[serde(default)]
    pub client_id: String,
    /// The secret of your app or its ARN, for a provider that requires it.
    pub client_secret: Option<ProviderSecret>,
    /// The URL of the provider's API, if it is not the usual one.
    pub api_url: Option<String>,
    /// Accepts tokens of *any* application of the provider: the operator of another application, or the holder of one
    /// of its tokens, can then sign in as its users.
    #[serde(default)]
    pub unsafe_no_app_binding: bool,
    /// The request that names the application of a token.
    pub check: Option<Check>,
    /// The request for the profile.
    pub userinfo: Option<UserInfo>,
}

/// The place of the token in a request to the provider.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TokenPlace {
    /// `Authorization: Bearer <token>`.
    #[default]
    Bearer,
    /// `Authorization: OAuth <token>`.
    Oauth,
    /// A parameter of the query, whose value in `query` is `{token}`.
    Query,
    /// The last segment of the path.
    Path,
    /// The form of an introspection request (RFC 7662), with the app's credentials as HTTP Basic.
    ClientSecretBasic,
    /// The form of an introspection request (RFC 7662), with the app's credentials in the form.
    ClientSecretPost,
}

impl TokenPlace {
    /// Returns whether this is an introspection request (RFC 7662).
    pub fn is_introspection(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// The request that names the application of a token, and JSON pointers (RFC 6901) into its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The URL, or a path below `api_url`.
    pub url: String,
    /// The place of the token in the request.
    #[serde(default)]
    pub auth: TokenPlace,
    /// Parameters of the query. A value is a text, `{token}`, `{client_id}` or `{client_secret}`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// The application that the token was issued to, which must be `client_id` of the provider: a text or an integer.
    #[serde(default)]
    pub client_id: String,
    /// A member that is `true` for a valid token; `/active` for an introspection request.
    pub active: Option<String>,
    /// The account of the token, which must be that of the profile.
    pub subject: Option<String>,
    /// The statuses of an answer about an unknown token, besides 401.
    #[serde(default)]
    pub unknown_token: Vec<u16>,
}

/// The profile request of a provider, and JSON pointers (RFC 6901) into its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserInfo {
    /// The URL, or a path below `api_url`. Without one, the pointers lead into the answer to `check`.
    #[serde(default)]
    pub url: String,
    /// The place of the token in the request.
    #[serde(default)]
    pub auth: TokenPlace,
    /// Parameters of the query. A value is a text, `{token}`, `{client_id}` or `{client_secret}`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// The unchanging id of the account: a text or an integer.
    #[serde(rename = "id", alias = "subject")]
    pub subject: String,
    /// The login.
    pub username: Option<String>,
    /// The display name.
    pub name: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// A member that is `true` if the provider has verified the address. Without it, no address counts as verified.
    pub email_verified: Option<String>,
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

    /// Takes the requests of the preset that `kind` names, if the entry has no `check` of its own.
    fn with_preset(mut self) -> Result<Self, ConfigError> {
        if self.check.is_some() && self.kind.is_some() {
            return Err(self.refused("kind and check exclude each other; leave one of them out"));
        }
        if self.check.is_some() && self.unsafe_no_app_binding {
            return Err(self.refused(
                "check and unsafe_no_app_binding exclude each other; leave unsafe_no_app_binding out",
            ));
        }
        if self.check.is_some() || self.unsafe_no_app_binding {
            return Ok(self);
        }
        let Some(preset) = presets::find(self.kind()) else {
            return Ok(self);
        };
        let preset: Preset = serde_json::from_str(preset)
            .map_err(|_| self.refused("its preset cannot be read; report this as a bug"))?;
        self.api_url = self.api_url.or(preset.api_url);
        self.userinfo = self.userinfo.or(Some(preset.userinfo));
        self.check = Some(preset.check);
        Ok(self)
    }

    /// Makes full URLs of the paths below `api_url`, and checks all URLs.
    fn with_urls(mut self, env: &Environment) -> Result<Self, ConfigError> {
        let api_url = self.api_url.clone();
        let checked = |member: &str, url: &str| {
            let checked = env.trusted_url(url);
            checked.map_err(|hint| self.refused(&format!("{member}: {hint}")))
        };
        if let Some(url) = &api_url {
            checked("api_url", url)?;
        }
        let full = |member: &str, url: &str| {
            let full = match &api_url {
                Some(api_url) if url.starts_with('/') => format!("{api_url}{url}"),
                None if url.starts_with('/') => {
                    return Err(self.refused(
                        "api_url is missing; it is the URL of your server at the provider",
                    ));
                }
                _ => url.to_owned(),
            };
            checked(member, &full)?;
            Ok(full)
        };
        let check = self.check.as_ref();
        let check = check
            .map(|check| full("check.url", &check.url))
            .transpose()?;
        let userinfo = self.userinfo.as_ref().filter(|info| !info.url.is_empty());
        let userinfo = userinfo
            .map(|info| full("userinfo.url", &info.url))
            .transpose()?;
        if let (Some(check), Some(url)) = (&mut self.check, check) {
            check.url = url;
        }
        if let (Some(info), Some(url)) = (&mut self.userinfo, userinfo) {
            info.url = url;
        }
        Ok(self)
    }

    fn assert_usable(&self) -> Result<(), ConfigError> {
        // The value becomes part of a path.
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        if !self.client_id.bytes().all(plain) || self.client_id.contains("..") {
            return Err(self.refused(
                "client_id contains characters that are not allowed (RFC 6749, Appendix A.1)",
            ));
        }
        if let Some(info) = &self.userinfo {
            self.assert_userinfo(info)?;
        }
        if let Some(check) = &self.check {
            self.assert_check(check)?;
        }
        Ok(())
    }

    fn assert_userinfo(&self, info: &UserInfo) -> Result<(), ConfigError> {
        self.assert_pointers(&[
            ("userinfo.id", Some(&info.subject)),
            ("userinfo.username", info.username.as_ref()),
            ("userinfo.name", info.name.as_ref()),
            ("userinfo.email", info.email.as_ref()),
            ("userinfo.email_verified", info.email_verified.as_ref()),
            ("userinfo.picture", info.picture.as_ref()),
        ])?;
        if info.auth.is_introspection() {
            return Err(self.refused("userinfo.auth is not bearer, oauth, query or path"));
        }
        if info.url.is_empty() && self.check.is_none() {
            return Err(self.refused("userinfo.url is missing"));
        }
        if self.unsafe_no_app_binding && info.email_verified.is_some() {
            return Err(self.refused(
                "userinfo.email_verified needs a check; with unsafe_no_app_binding, no address counts as verified",
            ));
        }
        self.assert_query("userinfo.query", info.auth, &info.query)
    }

    fn assert_check(&self, check: &Check) -> Result<(), ConfigError> {
        if check.client_id.is_empty() {
            return Err(self.refused(
                "check.client_id is missing; it is the JSON pointer to the application in the answer, such as /client_id",
            ));
        }
        self.assert_pointers(&[
            ("check.client_id", Some(&check.client_id)),
            ("check.active", check.active.as_ref()),
            ("check.subject", check.subject.as_ref()),
        ])?;
        if check.client_id == "/aud" || check.client_id.starts_with("/aud/") {
            return Err(self.refused(
                "check.client_id leads to the audience, which names an API and not the application; use /client_id",
            ));
        }
        if check.auth.is_introspection()
            && check.active.as_deref().is_some_and(|at| at != "/active")
        {
            return Err(
                self.refused("check.active of an introspection request is /active; leave it out")
            );
        }
        if check
            .unknown_token
            .iter()
            .any(|status| !matches!(status, 400..=428 | 430..=499))
        {
            return Err(self.refused(
                "check.unknown_token contains a number that is not a status from 400 to 499, or is 429",
            ));
        }
        self.assert_query("check.query", check.auth, &check.query)?;
        if self.client_id.is_empty() {
            return Err(self.refused("client_id is missing"));
        }
        if self.client_secret.is_none() && check.auth.is_introspection() {
            return Err(self.refused("client_secret is missing; the check sends it"));
        }
        if self.userinfo.is_none() {
            return Err(self.refused("userinfo is missing"));
        }
        Ok(())
    }

    fn assert_pointers(&self, pointers: &[(&str, Option<&String>)]) -> Result<(), ConfigError> {
        let wrong = pointers
            .iter()
            .find(|(_, pointer)| pointer.is_some_and(|pointer| !is_pointer(pointer)));
        wrong.map_or(Ok(()), |(member, _)| {
            let problem = "must be a JSON pointer, which starts with '/', like /id (RFC 6901)";
            Err(self.refused(&format!("{member} {problem}")))
        })
    }

    fn assert_query(
        &self,
        member: &str,
        auth: TokenPlace,
        query: &BTreeMap<String, String>,
    ) -> Result<(), ConfigError> {
        let is_known = |value: &str| {
            ["{token}", "{client_id}", "{client_secret}"].contains(&value) || !value.contains('{')
        };
        let wrong = if !query.values().all(|value| is_known(value)) {
            "contains a placeholder other than {token}, {client_id} and {client_secret}"
        } else if (auth == TokenPlace::Query) != query.values().any(|value| value == "{token}") {
            "and auth do not fit: a value {token} and the auth query need each other"
        } else if has_secret(query) && self.client_secret.is_none() {
            "has {client_secret}, and client_secret is missing"
        } else if query.values().any(|value| value == "{client_id}") && self.client_id.is_empty() {
            "has {client_id}, and client_id is missing"
        } else {
            return Ok(());
        };
        Err(self.refused(&format!("{member} {wrong}")))
    }
}

impl Check {
    /// Returns whether the request has the secret of the app.
    pub fn is_for_app(&self) -> bool {
        self.auth.is_introspection() || has_secret(&self.query)
    }
}

impl UserInfo {
    /// Returns whether the request has the secret of the app.
    pub fn has_secret(&self) -> bool {
        has_secret(&self.query)
    }
}

fn has_secret(query: &BTreeMap<String, String>) -> bool {
    query.values().any(|value| value == "{client_secret}")
}

/// The requests of a preset.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    api_url: Option<String>,
    check: Check,
    userinfo: UserInfo,
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
    if let Some(problem) = too_many_providers(providers.len()) {
        return Err(refused(problem));
    }
    let checked = providers.into_iter().enumerate().map(|(index, provider)| {
        if !is_provider_name(&provider.name) {
            return Err(refused(format!(
                "[{index}].name must be 1 to 32 lower-case letters, digits and '-'"
            )));
        }
        let provider = provider.with_preset()?.with_urls(env)?;
        provider.assert_usable()?;
        Ok(provider)
    });
    checked.collect()
}

/// Returns whether a text is a JSON pointer to a member or an element (RFC 6901).
fn is_pointer(text: &str) -> bool {
    let mut escapes = text.split('~').skip(1);
    text.starts_with('/') && escapes.all(|rest| rest.starts_with(['0', '1']))
}

fn refused(problem: String) -> ConfigError {
    ConfigError::secret(NAME, problem, EXPECTED)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::MAX_PROVIDERS, *};

    fn read(value: &str) -> Result<Vec<OAuthProvider>, ConfigError> {
        oauth_providers(&Environment::of([(NAME, value)]))
    }

    #[test]
    fn t161_a_setting_has_a_bounded_number_of_providers() {
        let providers = |count: usize| {
            let one =
                |nth| json!({ "name": format!("p-{nth}"), "kind": "discord", "client_id": "1" });
            let all: Vec<_> = (0..count).map(one).collect();
            read(&json!(all).to_string())
        };
        assert_eq!(providers(MAX_PROVIDERS).unwrap().len(), MAX_PROVIDERS);
        let error = providers(MAX_PROVIDERS + 1).unwrap_err().to_string();
        assert!(error.contains("more than 50 providers"), "{error}");
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

    #[test]
    fn t119_a_described_provider_that_could_prove_nothing_is_refused_with_the_name_of_the_member() {
        let entry = |change: &str, by: &str| {
            let entry = r#"{"name":"acme","client_id":"1","client_secret":"hunter2",
                "check":{"url":"https://a.example/token/info","auth":"bearer","client_id":"/app/id"},
                "userinfo":{"url":"https://a.example/me","id":"/id","email":"/email"}}"#;
            assert!(change.is_empty() || entry.contains(change), "{change}");
            format!("[{}]", entry.replacen(change, by, 1))
        };
        assert!(read(&entry("", "")).is_ok());
        let check_url = r#""url":"https://a.example/token/info""#;
        let refused = [
            (
                r#","client_id":"/app/id""#,
                "",
                "acme: check.client_id is missing",
            ),
            (
                "/app/id",
                "app/id",
                "acme: check.client_id must be a JSON pointer",
            ),
            (
                "/app/id",
                "/app~2id",
                "acme: check.client_id must be a JSON pointer",
            ),
            (
                "/app/id",
                "/app~",
                "acme: check.client_id must be a JSON pointer",
            ),
            (
                "/app/id",
                "/aud",
                "acme: check.client_id leads to the audience",
            ),
            (
                "/app/id",
                "/aud/0",
                "acme: check.client_id leads to the audience",
            ),
            (
                "\"id\":\"/id\"",
                "\"id\":\"id\"",
                "acme: userinfo.id must be a JSON pointer",
            ),
            ("\"id\":\"/id\",", "", "[0].userinfo.id is missing"),
            (
                "\"/email\"",
                "\"email\"",
                "acme: userinfo.email must be a JSON pointer",
            ),
            (
                "https://a.example/token",
                "http://a.example/token",
                "acme: check.url: ",
            ),
            (
                "https://a.example/token",
                "https://localhost/token",
                "acme: check.url: ",
            ),
            ("/token/info", "/token/info?hunter2", "acme: check.url: "),
            (
                "https://a.example/me",
                "http://a.example/me",
                "acme: userinfo.url: write https instead of http",
            ),
            ("https://a.example/me", "/me", "acme: api_url is missing"),
            (
                r#""url":"https://a.example/token/info","#,
                "",
                "[0].check.url is missing",
            ),
            (
                check_url,
                r#""client_id":"/id""#,
                "[0].check.client_id is there twice",
            ),
            (check_url, r#""url":5"#, "[0].check.url must be a text"),
            ("\"bearer\"", "\"hunter2\"", "[0].check.auth must be"),
            (
                "\"bearer\"",
                "\"query\"",
                "acme: check.query and auth do not fit",
            ),
            (
                "\"bearer\"",
                r#""bearer","query":{"a":"{token}"}"#,
                "acme: check.query and auth do not fit",
            ),
            (
                "\"bearer\"",
                r#""bearer","query":{"a":"{hunter2}"}"#,
                "acme: check.query contains a placeholder",
            ),
            (
                "\"bearer\"",
                r#""bearer","active":"ok""#,
                "acme: check.active must be a JSON pointer",
            ),
            (
                "\"bearer\"",
                r#""client_secret_post","active":"/ok""#,
                "acme: check.active of an introspection",
            ),
            (
                "\"bearer\"",
                r#""bearer","unknown_token":[200]"#,
                "acme: check.unknown_token contains",
            ),
            (
                "\"bearer\"",
                r#""bearer","unknown_token":[429]"#,
                "acme: check.unknown_token contains",
            ),
            (
                "\"bearer\"",
                r#""bearer","secret":"hunter2""#,
                "[0].check.secret is unknown",
            ),
            (
                "\"email\"",
                "\"mail\"",
                "[0].userinfo.mail is unknown: did you mean email?",
            ),
            (
                "\"name\":\"acme\"",
                "\"name\":\"Acme hunter2\"",
                "[0].name must be 1 to 32",
            ),
            (
                "\"name\":\"acme\"",
                "\"name\":\"acme\",\"kind\":\"gitlab\"",
                "acme: kind and check exclude each other",
            ),
            (
                "\"name\":\"acme\"",
                "\"name\":\"acme\",\"unsafe_no_app_binding\":true",
                "acme: check and unsafe_no_app_binding exclude each other",
            ),
            ("\"client_id\":\"1\",", "", "acme: client_id is missing"),
        ];
        for (change, by, problem) in refused {
            let error = read(&entry(change, by)).expect_err(by).to_string();
            assert!(error.contains(problem), "{by}: {error}");
            assert!(error.starts_with("OAUTH_PROVIDERS "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let no_secret = entry(r#","client_secret":"hunter2""#, "");
        assert!(read(&no_secret).is_ok());
        let introspection = no_secret.replace("\"bearer\"", "\"client_secret_basic\"");
        let error = read(&introspection).unwrap_err().to_string();
        assert!(error.contains("acme: client_secret is missing"), "{error}");
        for (query, member) in [("check.query", "\"bearer\""), ("userinfo.query", "\"/id\"")] {
            let sent = no_secret.replace(
                member,
                &format!(r#"{member},"query":{{"s":"{{client_secret}}"}}"#),
            );
            let error = read(&sent).unwrap_err().to_string();
            let problem =
                format!("acme: {query} has {{client_secret}}, and client_secret is missing");
            assert!(error.contains(&problem), "{error}");
        }
        let nobody = r#"[{"name":"x","unsafe_no_app_binding":true,
            "userinfo":{"url":"https://x.example","id":"/id","query":{"app":"{client_id}"}}}]"#;
        let error = read(nobody).unwrap_err().to_string();
        let problem = "x: userinfo.query has {client_id}, and client_id is missing";
        assert!(error.contains(problem), "{error}");
        let loose = r#"[{"name":"x","unsafe_no_app_binding":true,
            "userinfo":{"url":"https://x.example","id":"/id","email":"/e","email_verified":"/v"}}]"#;
        let error = read(loose).unwrap_err().to_string();
        assert!(
            error.contains("x: userinfo.email_verified needs a check"),
            "{error}"
        );
    }
}
