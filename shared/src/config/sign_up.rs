//! The rules for new users, and for sign-ins with the e-mail address of an existing user.

use serde::Deserialize;

use super::{ConfigError, Environment, is_app_name, is_provider_name};

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
                SameEmail::Off => Vec::new(),
                SameEmail::Ask | SameEmail::Link => email_providers(env)?,
            },
            same_email,
        })
    }
}

fn email_providers(env: &Environment) -> Result<Vec<String>, ConfigError> {
    const EXPECTED: &str = "the names of the providers whose verified addresses count, such as google,github, because LINK_BY_VERIFIED_EMAIL is set";
    let value = env.required(PROVIDERS, EXPECTED)?;
    let names: Vec<String> = value
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    let is_name = |name: &String| is_provider_name(name) || is_app_name(name);
    if names.iter().all(is_name) {
        Ok(names)
    } else {
        Err(ConfigError::value(PROVIDERS, value, EXPECTED))
    }
}

impl AllowedSignUps {
    fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let refused = |problem: &str| ConfigError::secret(ALLOWED, problem, ALLOWED_EXPECTED);
        let listed: Listed = match env.optional(ALLOWED).as_deref() {
            None | Some("everyone") => return Ok(Self::Everyone),
            Some("nobody") => return Ok(Self::Nobody),
            // The value contains personal addresses, which must not reach the log.
            Some(json) => serde_json::from_str(json)
                .map_err(|_| refused("it does not have the expected form"))?,
        };
        if listed.lists().iter().all(|list| list.is_empty()) {
            return Err(refused(
                "every list is empty; to admit nobody, write nobody",
            ));
        }
        if listed.lists().into_iter().flatten().any(String::is_empty) {
            return Err(refused("an entry is empty"));
        }
        let is_bare = |domain: &String| !domain.contains('@') && !domain.contains('*');
        if !listed.email_domains.iter().all(is_bare) {
            return Err(refused("a domain is not of the form example.com"));
        }
        // Such an address never counts as proven, so the entry would match no identity.
        let mut addresses = listed.email_domains.iter().chain(&listed.emails);
        if !addresses.all(|entry| entry.is_ascii()) {
            return Err(refused(
                "an address or domain has characters other than ASCII; write such a domain as xn--…",
            ));
        }
        let in_path = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if !listed
            .github_organizations
            .iter()
            .all(|name| name.bytes().all(in_path))
        {
            return Err(refused("an organization is not the name in its GitHub URL"));
        }
        if !listed
            .identities
            .iter()
            .all(|identity| identity.contains(':'))
        {
            return Err(refused("an identity is not of the form github:583231"));
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
        let with = |providers| read(&[(LINK, "link"), (PROVIDERS, providers)]);
        assert_eq!(
            with("google, github").unwrap().email_providers,
            ["google", "github"]
        );
        assert_eq!(
            with("app:Next.js").unwrap().email_providers,
            ["app:Next.js"]
        );
        for providers in ["", "*", "google,", "Google", "app:", "app:*", "app:a:b"] {
            assert!(with(providers).is_err(), "{providers}");
        }
        assert!(read(&[(LINK, "always"), (PROVIDERS, "google")]).is_err());
    }
}
