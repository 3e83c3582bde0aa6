//! Settings from environment variables: read once at start, into typed values.
//!
//! Nothing else in Cambio reads the environment. A setting that is missing or wrong stops a function at init with a
//! [`ConfigError`], which names the variable, what was found and what is expected, and never shows a secret.

mod clients;
mod oauth;
mod oidc;
mod route_scopes;
mod sign_up;

pub use clients::{Client, clients};
pub use oauth::{OAuthProvider, UserInfo};
pub use oidc::OidcProvider;
pub use route_scopes::RouteScopes;
pub use sign_up::{AllowedSignUps, Listed, SameEmail, SignUps};

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc, time::Duration};

use secrecy::SecretString;
use thiserror::Error;
use url::{Host, Url};

use crate::keys::KeyType;

/// A setting that is missing or cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{name} {found}; expected {expected}")]
pub struct ConfigError {
    name: &'static str,
    found: Found,
    expected: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Value(String),
    Secret(String),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("is not set"),
            Self::Value(value) => write!(f, "is {value:?}"),
            Self::Secret(problem) => write!(f, "cannot be used (not shown: {problem})"),
        }
    }
}

/// Where settings come from: the process's environment, or values that a test or the local server sets.
pub struct Environment(Box<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// The variables of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn process() -> Self {
        Self(Box::new(|name| std::env::var(name).ok()))
    }

    /// These values and no others.
    pub fn of<N: Into<String>, V: Into<String>>(values: impl IntoIterator<Item = (N, V)>) -> Self {
        let values: HashMap<String, String> = values
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self(Box::new(move |name| values.get(name).cloned()))
    }

    /// The value of a variable; one that is empty counts as not set, as templates leave optional ones empty.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable that must be set.
    ///
    /// # Errors
    /// Says that `name` is not set, and what was expected.
    pub fn required(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<String, ConfigError> {
        self.optional(name).ok_or(ConfigError {
            name,
            found: Found::Nothing,
            expected,
        })
    }

    /// A number of seconds within `range`, or `default` where the variable is not set.
    fn seconds(
        &self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
        expected: &'static str,
    ) -> Result<Duration, ConfigError> {
        let Some(value) = self.optional(name) else {
            return Ok(Duration::from_secs(default));
        };
        value
            .parse()
            .ok()
            .filter(|seconds| range.contains(seconds))
            .map(Duration::from_secs)
            .ok_or(ConfigError {
                name,
                found: Found::Value(value),
                expected,
            })
    }

    /// A base URL that this function will trust: `https`, with a host name. On a developer's machine, `http` to
    /// this machine as well.
    fn base_url(
        &self,
        name: &'static str,
        value: &str,
        expected: &'static str,
    ) -> Result<Url, ConfigError> {
        Url::parse(value)
            .ok()
            .filter(|url| {
                let named = matches!(url.host(), Some(Host::Domain(_))) && !is_loopback(url);
                let secure = url.scheme() == "https" && named;
                let local = url.scheme() == "http" && is_loopback(url) && self.is_local();
                secure || local
            })
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .filter(|url| url.query().is_none() && url.fragment().is_none())
            // One spelling only: it is compared character by character, and identities are keyed by it.
            .filter(|url| !value.ends_with('/') && url.as_str().trim_end_matches('/') == value)
            .ok_or_else(|| ConfigError {
                name,
                found: if value.contains('@') {
                    Found::Secret("there is an @ in it".to_owned())
                } else {
                    Found::Value(value.to_owned())
                },
                expected,
            })
    }

    /// Whether this is a developer's machine: DynamoDB is reached in plain text on this very machine.
    ///
    /// Only then are development keys and `http` URLs accepted. A Lambda that is set so by mistake serves nobody: nothing
    /// listens there, so it has neither keys nor users.
    pub fn is_local(&self) -> bool {
        self.optional("AWS_ENDPOINT_URL_DYNAMODB")
            .and_then(|endpoint| Url::parse(&endpoint).ok())
            .is_some_and(|url| url.scheme() == "http" && is_loopback(&url))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// Who we are on the wire.
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

/// How long access tokens live.
#[derive(Clone, Copy, Debug)]
pub struct AccessTokenTtl(
    /// `ACCESS_TOKEN_TTL`, in seconds: 15 minutes unless set, at most [`AccessTokenTtl::MAX`].
    pub Duration,
);

impl AccessTokenTtl {
    /// The longest that an access token may live: validation refuses any that claims more.
    pub const MAX: Duration = Duration::from_secs(3600);

    /// Reads `ACCESS_TOKEN_TTL`.
    ///
    /// # Errors
    /// The value is no number of seconds from 60 to 3600.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        env.seconds(
            "ACCESS_TOKEN_TTL",
            900,
            60..=Self::MAX.as_secs(),
            "a number of seconds from 60 to 3600",
        )
        .map(Self)
    }
}

/// How long sessions live.
#[derive(Clone, Copy, Debug)]
pub struct SessionLifetimes {
    /// `SESSION_IDLE_TTL`, in seconds: a session that is not refreshed for so long is over. 30 days unless set.
    pub idle: Duration,
    /// `SESSION_ABSOLUTE_TTL`, in seconds: a session of this age is over. 180 days unless set.
    pub absolute: Duration,
    /// `REFRESH_REUSE_WINDOW`, in seconds: how long after a refresh the old token still gets the same successor. Unless
    /// set, for as long as nobody has used the successor.
    pub reuse_window: Option<Duration>,
}

impl SessionLifetimes {
    /// Reads `SESSION_IDLE_TTL`, `SESSION_ABSOLUTE_TTL` and `REFRESH_REUSE_WINDOW`.
    ///
    /// # Errors
    /// Names the variable that is wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        const DAY: u64 = 24 * 60 * 60;
        const LIFETIME: &str = "a number of seconds from 60 to 34560000 (400 days)";
        const WINDOW: &str = "a number of seconds from 0 to 34560000, or nothing";
        let seconds = |name, default| env.seconds(name, default, 60..=400 * DAY, LIFETIME);
        let reuse_window = match env.optional("REFRESH_REUSE_WINDOW") {
            None => None,
            Some(_) => Some(env.seconds("REFRESH_REUSE_WINDOW", 0, 0..=400 * DAY, WINDOW)?),
        };
        Ok(Self {
            idle: seconds("SESSION_IDLE_TTL", 30 * DAY)?,
            absolute: seconds("SESSION_ABSOLUTE_TTL", 180 * DAY)?,
            reuse_window,
        })
    }
}

/// Where DynamoDB is, and who we are there.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    /// `AWS_ENDPOINT_URL_DYNAMODB`: another address than the region's own, as the AWS SDKs define it.
    pub endpoint: Option<Url>,
    /// `AWS_REGION`; Lambda sets it.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`; Lambda sets it from the function's role.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`; Lambda sets it from the function's role.
    pub secret_access_key: SecretString,
    /// `AWS_SESSION_TOKEN`; Lambda sets it from the function's role.
    pub session_token: Option<SecretString>,
}

impl DynamoDb {
    /// Reads the AWS variables.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        const ENDPOINT: &str = "an https URL, or an http URL on this machine like http://127.0.0.1:9002, without a slash at the end";
        const BY_LAMBDA: &str = "AWS Lambda to set it (elsewhere, set it yourself)";
        let endpoint = env
            .optional("AWS_ENDPOINT_URL_DYNAMODB")
            .map(|value| env.base_url("AWS_ENDPOINT_URL_DYNAMODB", &value, ENDPOINT))
            .transpose()?;
        Ok(Self {
            endpoint,
            region: env.required("AWS_REGION", BY_LAMBDA)?,
            access_key_id: env.required("AWS_ACCESS_KEY_ID", BY_LAMBDA)?,
            secret_access_key: env.required("AWS_SECRET_ACCESS_KEY", BY_LAMBDA)?.into(),
            session_token: env.optional("AWS_SESSION_TOKEN").map(Into::into),
        })
    }
}

/// `TABLE_NAME`: the table of users, identities and sessions.
///
/// # Errors
/// The variable is not set.
pub fn table_name(env: &Environment) -> Result<String, ConfigError> {
    env.required("TABLE_NAME", "the name of the main DynamoDB table")
}

/// `KEYS_TABLE_NAME`: the table of signing keys.
///
/// # Errors
/// The variable is not set.
pub fn keys_table_name(env: &Environment) -> Result<String, ConfigError> {
    env.required(
        "KEYS_TABLE_NAME",
        "the name of the DynamoDB table of signing keys",
    )
}

/// Where the documents are published as files.
#[derive(Clone, Debug)]
pub struct DocumentsBucket {
    /// `DOCUMENTS_BUCKET`: the name of the bucket.
    pub name: String,
    /// `AWS_ENDPOINT_URL_S3`: another address than the region's own, as the AWS SDKs define it.
    pub endpoint: Option<Url>,
}

impl DocumentsBucket {
    /// Reads `DOCUMENTS_BUCKET` and `AWS_ENDPOINT_URL_S3`; `None` where the documents are no files.
    ///
    /// # Errors
    /// Names the variable that is wrong.
    pub fn from_env(env: &Environment) -> Result<Option<Self>, ConfigError> {
        const ENDPOINT: &str = "an https URL, or an http URL on this machine like http://127.0.0.1:9003, without a slash at the end";
        let Some(name) = env.optional("DOCUMENTS_BUCKET") else {
            return Ok(None);
        };
        let endpoint = env
            .optional("AWS_ENDPOINT_URL_S3")
            .map(|value| env.base_url("AWS_ENDPOINT_URL_S3", &value, ENDPOINT))
            .transpose()?;
        Ok(Some(Self { name, endpoint }))
    }
}

/// How signing keys are made.
#[derive(Clone, Copy, Debug)]
pub struct SigningKeys {
    /// `SIGNING_KEY_TYPE`: the kind of the keys that are made, `RSA-2048` unless set.
    pub key_type: KeyType,
    /// `SIGNING_KEY_TTL`, in seconds: how long a key signs before the next one does. 90 days unless set.
    pub ttl: Duration,
}

impl SigningKeys {
    /// Reads `SIGNING_KEY_TYPE` and `SIGNING_KEY_TTL`.
    ///
    /// # Errors
    /// Names the variable that is wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        const DAY: u64 = 24 * 60 * 60;
        let key_type = match env.optional("SIGNING_KEY_TYPE") {
            None => KeyType::Rsa2048,
            Some(value) => {
                let named = serde_json::from_value(value.clone().into());
                named.map_err(|_| ConfigError {
                    name: "SIGNING_KEY_TYPE",
                    found: Found::Value(value),
                    expected: "RSA-2048, RSA-3072, P-256 or Ed25519",
                })?
            }
        };
        let ttl = env.seconds(
            "SIGNING_KEY_TTL",
            90 * DAY,
            2 * DAY..=400 * DAY,
            "a number of seconds from 172800 (2 days) to 34560000 (400 days)",
        )?;
        Ok(Self { key_type, ttl })
    }
}

/// A visible ASCII character or a space: what RFC 6749 Appendix A allows in the parameters of the token endpoint.
pub(crate) fn is_vschar(byte: u8) -> bool {
    (0x20..=0x7e).contains(&byte)
}

/// The OAuth app at GitHub that the Next.js app signs in with.
#[derive(Clone, Debug)]
pub struct GitHub {
    /// The name that its identities go by.
    pub name: String,
    /// `GITHUB_CLIENT_ID` of the OAuth app.
    pub client_id: String,
    /// `GITHUB_CLIENT_SECRET` of the OAuth app: check-a-token wants it.
    pub client_secret: SecretString,
    /// `GITHUB_API_URL`: `https://api.github.com` unless set, as for GitHub Enterprise. No slash at the end.
    pub api_url: String,
}

impl GitHub {
    /// Reads `GITHUB_CLIENT_ID`, `GITHUB_CLIENT_SECRET` and `GITHUB_API_URL`. Where nobody signs in with GitHub, but with others,
    /// none of them need be set.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Option<Self>, ConfigError> {
        let is_unset = |name| env.optional(name).is_none();
        if is_unset("GITHUB_CLIENT_ID")
            && is_unset("GITHUB_CLIENT_SECRET")
            && !(is_unset("OIDC_PROVIDERS") && is_unset("OAUTH_PROVIDERS"))
        {
            return Ok(None);
        }

        const API: &str =
            "the https URL of GitHub's API without a slash at the end, like https://api.github.com";
        let client_id = env.required(
            "GITHUB_CLIENT_ID",
            "the client id of your OAuth app at GitHub",
        )?;
        // It becomes a segment of a URL's path.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !client_id.bytes().all(plain) || client_id.starts_with('.') {
            return Err(ConfigError {
                name: "GITHUB_CLIENT_ID",
                found: Found::Value(client_id),
                expected: "the client id of your OAuth app at GitHub: letters, digits, '.', '_' and '-'",
            });
        }
        let api_url = env
            .optional("GITHUB_API_URL")
            .unwrap_or_else(|| "https://api.github.com".to_owned());
        env.base_url("GITHUB_API_URL", &api_url, API)?;
        Ok(Some(Self {
            name: "github".to_owned(),
            client_id,
            client_secret: env
                .required(
                    "GITHUB_CLIENT_SECRET",
                    "the client secret of your OAuth app at GitHub",
                )?
                .into(),
            api_url,
        }))
    }
}

/// `OIDC_PROVIDERS`: the OpenID providers whose ID tokens are accepted, as JSON; none unless set.
///
/// # Errors
/// The value is no such JSON, or could lead somewhere else than to a provider.
pub fn oidc_providers(env: &Environment) -> Result<Vec<OidcProvider>, ConfigError> {
    oidc::providers(env)
}

/// `OAUTH_PROVIDERS`: the providers whose opaque access tokens are accepted beside GitHub's, as JSON; none unless set.
///
/// # Errors
/// The value is no such JSON, or could lead somewhere else than to a provider.
pub fn oauth_providers(env: &Environment) -> Result<Vec<OAuthProvider>, ConfigError> {
    oauth::providers(env)
}

/// Identities are stored under it.
fn is_provider_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

/// What the logs say of the process.
#[derive(Clone, Debug)]
pub struct Process {
    /// `AWS_LAMBDA_FUNCTION_VERSION`; `local` elsewhere.
    pub version: String,
    /// `LOG_LEVEL` (or Lambda's own `AWS_LAMBDA_LOG_LEVEL`): `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: tracing::Level,
}

impl Process {
    /// Reads `AWS_LAMBDA_FUNCTION_VERSION`, `LOG_LEVEL` and `AWS_LAMBDA_LOG_LEVEL`.
    ///
    /// # Errors
    /// The level is none of the five.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let level = |name| env.optional(name).map(|value| (name, value));
        let log_level = match level("LOG_LEVEL").or_else(|| level("AWS_LAMBDA_LOG_LEVEL")) {
            None => tracing::Level::INFO,
            // Lambda has this level above `error`, and we have nothing there.
            Some((_, value)) if value.eq_ignore_ascii_case("fatal") => tracing::Level::ERROR,
            Some((name, value)) => value.parse().map_err(|_| ConfigError {
                name,
                found: Found::Value(value),
                expected: "error, warn, info, debug or trace",
            })?,
        };
        Ok(Self {
            version: env
                .optional("AWS_LAMBDA_FUNCTION_VERSION")
                .unwrap_or_else(|| "local".to_owned()),
            log_level,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(url: &str, local: bool) -> Result<Issuer, ConfigError> {
        let endpoint = if local { "http://127.0.0.1:9002" } else { "" };
        Issuer::from_env(&Environment::of([
            ("ISSUER_URL", url),
            ("TOKEN_AUDIENCE", "api"),
            ("AWS_ENDPOINT_URL_DYNAMODB", endpoint),
        ]))
    }

    #[test]
    fn a_missing_setting_is_named_with_what_is_expected() {
        let error = Issuer::from_env(&Environment::of([("TOKEN_AUDIENCE", "api")])).unwrap_err();

        assert_eq!(
            error.to_string(),
            "ISSUER_URL is not set; expected the https URL of this API without a slash at the end, \
             like https://api.example.com"
        );
    }

    #[test]
    fn an_empty_setting_counts_as_not_set() {
        assert!(
            issuer("", false)
                .unwrap_err()
                .to_string()
                .contains("is not set")
        );
    }

    #[test]
    fn t47_t84_only_https_urls_with_a_host_name_are_trusted() {
        assert!(issuer("https://api.example.com", false).is_ok());
        assert!(issuer("https://api.example.com/auth", false).is_ok());
        for url in [
            "http://api.example.com",
            "http://localhost:9000",
            "https://127.0.0.1",
            "https://169.254.169.254",
            "https://[fd00::1]",
            "https://user:hunter2@api.example.com",
            "https://api.example.com/",
            " https://api.example.com",
            "https://api.example.com ",
            "https://api.example.com\n",
            "https://api.example.com\\",
            "https://api.example.com:443",
            "https://API.example.com",
            "https://api.example.com/../x",
            "https:api.example.com",
            "https://localhost",
            "https://api.example.com?x=1",
            "https://api.example.com#x",
            "https://api.example.com/?x=1",
            "https://api.example.com/#x",
            "ftp://api.example.com",
            "api.example.com",
        ] {
            let error = issuer(url, false).unwrap_err().to_string();
            assert!(error.starts_with("ISSUER_URL "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_and_only_with_a_local_dynamodb() {
        assert!(issuer("http://localhost:9000", true).is_ok());
        assert!(issuer("http://127.0.0.1:9000", true).is_ok());
        assert!(issuer("http://api.example.com", true).is_err());
        assert!(issuer("http://10.0.0.1", true).is_err());
    }

    #[test]
    fn an_endpoint_elsewhere_does_not_make_a_machine_local() {
        for endpoint in [
            "http://dynamodb.eu-west-1.amazonaws.com",
            "https://127.0.0.1:8000",
            "http://localhost.example.com",
            "nonsense",
        ] {
            let env = Environment::of([("AWS_ENDPOINT_URL_DYNAMODB", endpoint)]);
            assert!(!env.is_local(), "{endpoint}");
        }
    }

    #[test]
    fn the_lifetime_of_access_tokens_is_bounded() {
        let ttl = |value| AccessTokenTtl::from_env(&Environment::of([("ACCESS_TOKEN_TTL", value)]));
        assert_eq!(ttl("").unwrap().0.as_secs(), 900);
        assert_eq!(ttl("60").unwrap().0.as_secs(), 60);
        assert_eq!(ttl("3600").unwrap().0.as_secs(), 3600);
        for value in ["59", "3601", "-1", "15m", "1e3"] {
            let error = ttl(value).unwrap_err().to_string();
            assert!(
                error.contains("ACCESS_TOKEN_TTL") && error.contains(value),
                "{error}"
            );
        }
    }

    #[test]
    fn the_log_level_may_be_any_of_lambdas() {
        let level = |value| Process::from_env(&Environment::of([("AWS_LAMBDA_LOG_LEVEL", value)]));
        assert_eq!(level("FATAL").unwrap().log_level, tracing::Level::ERROR);
        assert_eq!(level("DEBUG").unwrap().log_level, tracing::Level::DEBUG);
        assert_eq!(level("").unwrap().log_level, tracing::Level::INFO);
        assert!(level("loud").is_err());
    }

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
