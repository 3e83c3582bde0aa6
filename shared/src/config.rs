//! Settings from environment variables, read once at start into typed values.
//!
//! No other module reads the environment. A missing or wrong setting stops a function at init with a [`ConfigError`],
//! which names the variable, the value and the expected form, and never shows a secret.

mod aws;
mod github;
mod group;
mod issuer;
mod lifetimes;
mod oauth;
mod oidc;
mod presets;
mod process;
mod rate_limits;
mod secret;
mod sign_up;

pub use aws::{Bucket, DynamoDb, keys_table_name, table_name};
pub use github::GitHub;
pub use group::Group;
pub use issuer::{Issuer, Server, api_url, audiences, issuer_url};
pub use lifetimes::{AccessTokenTtl, SessionLifetimes};
pub use oauth::{Check, OAuthProvider, TokenPlace, UserInfo, oauth_providers};
pub use oidc::{OidcProvider, oidc_providers};
pub use process::Process;
pub use rate_limits::RateLimits;
pub use secret::{ProviderSecret, SecretArn, SecretService, SecretStores};
pub use sign_up::{AllowedSignUps, Listed, SameEmail, SignUps};

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use thiserror::Error;
use url::{Host, Url};

/// A setting that is missing or cannot be used. Both of its texts are one line, since `main` returns it.
#[derive(Error, PartialEq, Eq)]
#[error("{name} {found}; expected {expected}")]
pub struct ConfigError {
    name: &'static str,
    found: Found,
    expected: &'static str,
}

#[derive(PartialEq, Eq)]
enum Found {
    Nothing,
    Value {
        value: String,
        /// The change that makes the value valid, if known.
        hint: Option<String>,
    },
    Secret(String),
}

impl ConfigError {
    /// An error for a variable that is set to `value`.
    pub fn value(name: &'static str, value: impl Into<String>, expected: &'static str) -> Self {
        let value = value.into();
        let hint = wrapping(&value).map(str::to_owned);
        let found = Found::Value { value, hint };
        Self {
            name,
            found,
            expected,
        }
    }

    /// Returns the name of the variable.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// An error for a variable that is set to `value`; `hint` says what to change in it.
    pub fn hinted(
        name: &'static str,
        value: impl Into<String>,
        hint: impl Into<String>,
        expected: &'static str,
    ) -> Self {
        let value = value.into();
        let hint = wrapping(&value).map_or_else(|| hint.into(), str::to_owned);
        let hint = Some(hint);
        let found = Found::Value { value, hint };
        Self {
            name,
            found,
            expected,
        }
    }

    /// An error for a variable whose value is not shown: `problem` says what is wrong with it.
    pub fn secret(name: &'static str, problem: impl Into<String>, expected: &'static str) -> Self {
        let found = Found::Secret(problem.into());
        Self {
            name,
            found,
            expected,
        }
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("is not set"),
            Self::Value { value, hint: None } => write!(f, "is {value:?}"),
            Self::Value {
                value,
                hint: Some(hint),
            } => write!(f, "is {value:?}: {hint}"),
            Self::Secret(problem) => {
                write!(f, "cannot be used: {problem} (the value is not shown)")
            }
        }
    }
}

/// Reads `LIVE`: whether each request to the authorizer reads the user and the session, so that a sign-out applies at
/// once.
///
/// # Errors
/// The value is neither `true` nor `false`.
pub fn is_live(env: &Environment) -> Result<bool, ConfigError> {
    match env.optional("LIVE").as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(ConfigError::value("LIVE", other, "true or false")),
    }
}

/// Returns what to remove around a value: files and consoles keep quotation marks and spaces that a shell removes.
pub(crate) fn wrapping(value: &str) -> Option<&'static str> {
    let quoted = |mark| value.len() > 1 && value.starts_with(mark) && value.ends_with(mark);
    if value.trim() != value {
        Some("remove the white space around it")
    } else if quoted('"') || quoted('\'') {
        Some("remove the quotation marks around it")
    } else {
        None
    }
}

/// The source of settings: the environment of the process, or values of a test or of the local server.
#[derive(Clone)]
pub struct Environment(Arc<Lookup>);

impl fmt::Debug for Environment {
    /// Shows no value, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// Reads the environment of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn process() -> Self {
        Self(Arc::new(|name| std::env::var(name).ok()))
    }

    /// Makes an environment of these values only.
    pub fn of<N: Into<String>, V: Into<String>>(values: impl IntoIterator<Item = (N, V)>) -> Self {
        let values: HashMap<String, String> = values
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self(Arc::new(move |name| values.get(name).cloned()))
    }

    /// Returns this environment with other settings of `group`: one that `settings` lacks is unset.
    pub fn with_group(&self, group: Group, settings: BTreeMap<String, String>) -> Self {
        let env = self.clone();
        Self(Arc::new(move |name| {
            if group.settings().contains(&name) {
                settings.get(name).cloned()
            } else if name == group.name() {
                // The source, which is this one.
                None
            } else {
                env.optional(name)
            }
        }))
    }

    /// Returns this environment with another value of the variable `name`.
    pub(crate) fn with(&self, name: &'static str, value: &'static str) -> Self {
        let others = self.0.clone();
        Self(Arc::new(move |asked| {
            if asked == name {
                Some(value.to_owned())
            } else {
                others(asked)
            }
        }))
    }

    /// Returns the value of a variable. An empty value counts as unset, because templates leave optional variables
    /// empty.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// Returns the value of a required variable.
    ///
    /// # Errors
    /// The variable is not set.
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

    /// Returns a number of seconds within `range`, or `default` if the variable is not set.
    ///
    /// # Errors
    /// The value is not such a number.
    pub fn seconds(
        &self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
        expected: &'static str,
    ) -> Result<Duration, ConfigError> {
        let seconds = self.number(name, default, range, expected)?;
        Ok(Duration::from_secs(seconds))
    }

    /// Returns a number within `range`, or `default` if the variable is not set.
    ///
    /// # Errors
    /// The value is not such a number.
    fn number(
        &self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
        expected: &'static str,
    ) -> Result<u64, ConfigError> {
        let Some(value) = self.optional(name) else {
            return Ok(default);
        };
        value
            .parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                if value.bytes().all(|byte| byte.is_ascii_digit()) {
                    ConfigError::value(name, value, expected)
                } else {
                    ConfigError::hinted(
                        name,
                        value,
                        "write digits only, without a sign and a unit",
                        expected,
                    )
                }
            })
    }

    /// Returns a trusted base URL: `https` with a host name. On a developer's machine also `http` to the same
    /// machine.
    ///
    /// # Errors
    /// The value is not such a URL; one that may hold a password is not shown.
    pub fn base_url(
        &self,
        name: &'static str,
        value: &str,
        expected: &'static str,
    ) -> Result<Url, ConfigError> {
        self.trusted_url(value).map_err(|hint| {
            if value.contains('@') {
                ConfigError::secret(name, hint, expected)
            } else {
                ConfigError::hinted(name, value, hint, expected)
            }
        })
    }

    /// Returns the URL of [`Self::base_url`].
    ///
    /// # Errors
    /// A phrase that says what to change. It does not contain a value that may hold a password.
    pub(super) fn trusted_url(&self, value: &str) -> Result<Url, String> {
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
            // In one spelling only: the URL is compared as text, and identities are keyed by it.
            .filter(|url| url.as_str().trim_end_matches('/') == value)
            .ok_or_else(|| url_hint(value))
    }

    /// Returns the required name of a thing at AWS.
    ///
    /// # Errors
    /// The variable is not set, or the value has characters that no such name has.
    pub(super) fn aws_name(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<String, ConfigError> {
        let value = self.required(name, expected)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
        if value.bytes().all(plain) {
            Ok(value)
        } else {
            Err(ConfigError::value(name, value, expected))
        }
    }

    /// Returns whether this is a developer's machine, where DynamoDB is reached in plain text on the same machine.
    ///
    /// Only then are development keys and `http` URLs accepted. A Lambda with this setting by mistake has neither
    /// keys nor users, because no DynamoDB listens there.
    pub fn is_local(&self) -> bool {
        self.optional("AWS_ENDPOINT_URL_DYNAMODB")
            .and_then(|endpoint| Url::parse(&endpoint).ok())
            .is_some_and(|url| url.scheme() == "http" && is_loopback(&url))
    }
}

/// Returns what to change in a URL that is not trusted.
fn url_hint(value: &str) -> String {
    if let Some(hint) = wrapping(value) {
        return hint.to_owned();
    }
    let hint = if value.contains('@') {
        "remove the user name and the password in front of the @"
    } else if !value.contains("://") {
        "write https:// in front of the host name"
    } else if value.starts_with("http://") {
        "write https instead of http"
    } else if value.contains(['?', '#']) {
        "remove the part that begins with ? or #"
    } else if value.ends_with('/') {
        "remove the slash at the end"
    } else {
        match Url::parse(value) {
            Ok(url) if url.scheme() != "https" => "write https in front of ://",
            Ok(url) if is_loopback(&url) || url.domain().is_none() => {
                "write a host name instead of an IP address or localhost"
            }
            Ok(url) => return format!("write {}", url.as_str().trim_end_matches('/')),
            Err(_) => "write a URL with a valid host name and port",
        }
    };
    hint.to_owned()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// The largest number of providers in one setting. Each start parses all of them, and each one has a cache.
const MAX_PROVIDERS: usize = 50;

/// Returns the problem of a list of this many providers, if there are too many.
fn too_many_providers(count: usize) -> Option<String> {
    let problem = || {
        format!(
            "it contains more than {MAX_PROVIDERS} providers: remove those that are not in use, or deploy Cambio once more"
        )
    };
    (count > MAX_PROVIDERS).then(problem)
}

/// Identities are stored under this name.
fn is_provider_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

/// Returns the name of the identities that a client vouches for, `app:<client_id>`; `None` for a client id that is no
/// path segment as it is. No provider has a name with a colon.
pub(crate) fn app_name(client_id: &str) -> Option<String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
    let fits = (1..=64).contains(&client_id.len()) && client_id.bytes().all(plain);
    fits.then(|| format!("{APP}{client_id}"))
}

/// The prefix of the names of [`app_name`].
const APP: &str = "app:";

/// Returns whether `name` is one of [`app_name`].
pub(crate) fn is_app_name(name: &str) -> bool {
    let client_id = name.strip_prefix(APP);
    client_id.and_then(app_name).is_some()
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
}
