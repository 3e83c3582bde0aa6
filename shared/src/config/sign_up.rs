//! The rules for new users, and for sign-ins with the e-mail address of an existing user.

use serde::Deserialize;

use super::{
    ConfigError, Environment, GitHub, Group, is_app_name, is_provider_name, oauth_providers,
    oidc_providers,
};
use crate::json;

const ALLOWED: &str = "ALLOWED_SIGNUPS";
const ALLOWED_EXPECTED: &str = r#"everyone, nobody, or JSON with one or more of {"email_domains":["example.com"],"emails":["ada@example.com"],"github_organizations":["acme"],"identities":["github:583231"]}"#;
const LINK: &str = "LINK_BY_VERIFIED_EMAIL";
const PROVIDERS: &str = "LINK_EMAIL_PROVIDERS";

/// The rules for a first sign-in.
#[derive(Clone, Debug)]
pub struct SignUps {
    /// `ALLOWED_SIGNUPS`: the identities that may become users; by default all.
    pub allowed: AllowedSignUps,
    /// `LINK_BY_VERIFIED_EMAIL`: the effect of an address that an existing user has; `off` by default.
    pub same_email: SameEmail,
    /// `LINK_EMAIL_PROVIDERS`: the providers whose verified addresses count.
    pub email_providers: Vec<String>,
}

/// The identities that may become users. Existing users are not affected.
#[derive(Clone, Debug)]
pub enum AllowedSignUps {
    /// Every identity.
    Everyone,
    /// No identity.
    Nobody,
    /// The identities in one of the lists.
    Listed(Listed),
}

/// The lists of admitted identities. One matching entry is sufficient.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listed {
    /// Domains of verified addresses.
    pub email_domains: Vec<String>,
    /// Verified addresses.
    pub emails: Vec<String>,
    /// Active members of these organizations, at the provider `github`.
    pub github_organizations: Vec<String>,
    /// `<provider>:<subject>`.
    pub identities: Vec<String>,
}

/// The effect of a new sign-in with the verified e-mail address of an existing user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameEmail {
    /// A separate user.
    Off,
    /// A separate user, and the answer reports the equal address.
    Ask,
    /// The identity signs in as the existing user.
    Link,
}

impl SignUps {
    /// Reads `ALLOWED_SIGNUPS`, `LINK_BY_VERIFIED_EMAIL` and `LINK_EMAIL_PROVIDERS`.
    ///
    /// # Errors
    /// A variable is wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let link = env.optional(LINK);
        let same_email = match link.as_deref() {
            None | Some("off") => SameEmail::Off,
            Some("ask") => SameEmail::Ask,
            Some("link") => SameEmail::Link,
            Some(other) => {
                return Err(ConfigError::value(
                    LINK,
                    other.to_owned(),
                    "off, ask or link",
                ));
            }
        };
        Ok(Self {
            allowed: AllowedSignUps::from_env(env)?,
            email_providers: match same_email {
                SameEmail::Off if env.optional(PROVIDERS).is_none() => Vec::new(),
                SameEmail::Off => email_providers(env).map(|_| Vec::new())?,
                SameEmail::Ask | SameEmail::Link => email_providers(env)?,
            },
            same_email,
        })
    }
}

fn email_providers(env: &Environment) -> Result<Vec<String>, ConfigError> {
    const EXPECTED: &str = "the names of the configured providers whose verified addresses count with LINK_BY_VERIFIED_EMAIL, such as google,github";
    let value = env.required(PROVIDERS, EXPECTED)?;
    let names: Vec<String> = value
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    // Providers in the keys table change while the function runs. A name that none of them has counts for nothing.
    let is_stored = Group::Providers.is_stored(env)?;
    let configured = if is_stored {
        Vec::new()
    } else {
        provider_names(env)?
    };
    let is_known = |name: &String| {
        is_app_name(name) || configured.contains(name) || (is_stored && is_provider_name(name))
    };
    let unknown = names.iter().find(|name| !is_known(name));
    let hint = match unknown.map(String::as_str) {
        None => return Ok(names),
        Some("") => "remove the comma without a name".to_owned(),
        Some(name) if is_stored => format!("{name:?} is not the name of a provider"),
        Some(name) => format!(
            "no provider has the name {name:?}; the configured names are {}",
            configured.join(", ")
        ),
    };
    Err(ConfigError::hinted(PROVIDERS, value, hint, EXPECTED))
}

/// Returns the names of all configured providers.
fn provider_names(env: &Environment) -> Result<Vec<String>, ConfigError> {
    let github = GitHub::from_env(env)?.map(|github| github.name);
    let oidc = oidc_providers(env)?;
    let oauth = oauth_providers(env)?;
    let others = oidc.into_iter().map(|provider| provider.name);
    let others = others.chain(oauth.into_iter().map(|provider| provider.name));
    Ok(github.into_iter().chain(others).collect())
}

impl AllowedSignUps {
    /// Reads `ALLOWED_SIGNUPS`.
    ///
    /// # Errors
    /// The value is not valid.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let refused = |problem: &str| ConfigError::secret(ALLOWED, problem, ALLOWED_EXPECTED);
        let listed: Listed = match env.optional(ALLOWED).as_deref() {
            None | Some("everyone") => return Ok(Self::Everyone),
            Some("nobody") => return Ok(Self::Nobody),
            // The value contains personal addresses, which must not reach the log.
            Some(json) => json::parse(json).map_err(|problem| refused(&problem))?,
        };
        if listed.lists().iter().all(|list| list.is_empty()) {
            return Err(refused(
                "every list is empty: fill one, or write nobody to admit nobody",
            ));
        }
        if listed.lists().into_iter().flatten().any(String::is_empty) {
            return Err(refused("an entry is empty: remove it"));
        }
        let is_bare = |domain: &String| !domain.contains('@') && !domain.contains('*');
        if !listed.email_domains.iter().all(is_bare) {
            return Err(refused(
                "an entry of email_domains contains @ or *: write it like example.com",
            ));
        }
        // Such an address never counts as proven, so the entry would match no identity.
        let mut addresses = listed.email_domains.iter().chain(&listed.emails);
        if !addresses.all(|entry| entry.is_ascii()) {
            return Err(refused(
                "an address or domain has characters other than ASCII: write such a domain as xn--…",
            ));
        }
        let in_path = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if !listed
            .github_organizations
            .iter()
            .all(|name| name.bytes().all(in_path))
        {
            return Err(refused(
                "an entry of github_organizations is not the name in the URL of an organization, like acme",
            ));
        }
        if !listed
            .identities
            .iter()
            .all(|identity| identity.contains(':'))
        {
            return Err(refused(
                "an entry of identities has no provider: write it like github:583231",
            ));
        }
        Ok(Self::Listed(listed))
    }

    /// Returns the organizations whose membership must be checked at GitHub.
    pub fn github_organizations(&self) -> &[String] {
        match self {
            Self::Everyone | Self::Nobody => &[],
            Self::Listed(listed) => &listed.github_organizations,
        }
    }
}

impl Listed {
    fn lists(&self) -> [&Vec<String>; 4] {
        [
            &self.email_domains,
            &self.emails,
            &self.github_organizations,
            &self.identities,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<SignUps, ConfigError> {
        SignUps::from_env(&Environment::of(settings.iter().copied()))
    }

    #[test]
    fn everyone_may_sign_up_and_nobody_is_linked_unless_the_operator_says_so() {
        let usual = read(&[]).unwrap();
        assert!(matches!(usual.allowed, AllowedSignUps::Everyone));
        assert_eq!(usual.same_email, SameEmail::Off);
        let closed = read(&[(ALLOWED, "nobody")]).unwrap();
        assert!(matches!(closed.allowed, AllowedSignUps::Nobody));
        let listed = read(&[(ALLOWED, r#"{"github_organizations":["acme"]}"#)]).unwrap();
        assert_eq!(listed.allowed.github_organizations(), ["acme"]);
    }

    #[test]
    fn t84_a_list_that_would_let_nobody_or_anybody_in_is_refused_without_showing_it() {
        for value in [
            "{}",
            "[]",
            "all",
            r#"{"emails":[]}"#,
            r#"{"emails":[""]}"#,
            r#"{"email_domains":["@hunter2.example"]}"#,
            r#"{"email_domains":["*"]}"#,
            r#"{"email_domains":["\u212aelvin.example"]}"#,
            r#"{"emails":["\u212aate@example.com"]}"#,
            r#"{"github_organizations":["../user"]}"#,
            r#"{"identities":["583231"]}"#,
            r#"{"email_domain":["hunter2"]}"#,
        ] {
            let error = read(&[(ALLOWED, value)]).expect_err(value).to_string();
            assert!(
                error.starts_with("ALLOWED_SIGNUPS ") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn t57_linking_by_address_names_whose_word_it_takes() {
        let google = r#"[{"name":"google","client_ids":["a"]}]"#;
        let configured = [
            ("OIDC_PROVIDERS", google),
            ("GITHUB_CLIENT_ID", "a"),
            ("GITHUB_CLIENT_SECRET", "b"),
        ];
        let read = |settings: &[_]| read(&[settings, &configured].concat());
        let with = |providers| read(&[(LINK, "link"), (PROVIDERS, providers)]);
        assert_eq!(
            with("google, github").unwrap().email_providers,
            ["google", "github"]
        );
        assert_eq!(
            with("app:Next.js").unwrap().email_providers,
            ["app:Next.js"]
        );
        for providers in [
            "", "*", "google,", "Google", "gogle", "app:", "app:*", "app:a:b",
        ] {
            assert!(with(providers).is_err(), "{providers}");
        }
        // A misspelt name is an error before the linking is switched on, too.
        assert!(read(&[(PROVIDERS, "gogle")]).is_err());
        assert!(read(&[(PROVIDERS, "google")]).is_ok());
        assert!(read(&[(LINK, "always"), (PROVIDERS, "google")]).is_err());
    }

    #[test]
    fn t57_names_of_providers_in_the_keys_table_are_checked_by_their_form() {
        let with = |providers| {
            read(&[
                (LINK, "link"),
                (PROVIDERS, providers),
                ("PROVIDERS", "table"),
            ])
        };
        assert_eq!(
            with("google,app:a").unwrap().email_providers,
            ["google", "app:a"]
        );
        for providers in ["", "*", "google,", "Google", "app:"] {
            assert!(with(providers).is_err(), "{providers}");
        }
    }
}
