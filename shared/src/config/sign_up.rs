//! Who may become a user, and what happens when somebody's e-mail address is known already.

use serde::Deserialize;

use super::{ConfigError, Environment, is_provider_name};

const ALLOWED: &str = "ALLOWED_SIGNUPS";
const ALLOWED_EXPECTED: &str = r#"everyone, nobody, or JSON with one or more of {"email_domains":["example.com"],"emails":["ada@example.com"],"github_organizations":["acme"],"identities":["github:583231"]}"#;
const LINK: &str = "LINK_BY_VERIFIED_EMAIL";
const PROVIDERS: &str = "LINK_EMAIL_PROVIDERS";

/// What becomes of a first sign-in.
#[derive(Clone, Debug)]
pub struct SignUps {
    /// `ALLOWED_SIGNUPS`: who may become a user; everyone unless set.
    pub allowed: AllowedSignUps,
    /// `LINK_BY_VERIFIED_EMAIL`: what happens where the address is a user's already; `off` unless set.
    pub same_email: SameEmail,
    /// `LINK_EMAIL_PROVIDERS`: whose word it takes that an address is verified.
    pub email_providers: Vec<String>,
}

/// Who may become a user. Who is one already stays one.
#[derive(Clone, Debug)]
pub enum AllowedSignUps {
    /// Whoever signs in.
    Everyone,
    /// Nobody any more.
    Nobody,
    /// Whoever is in one of the lists.
    Listed(Listed),
}

/// Who may become a user: whoever fits one entry of one list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listed {
    /// The part after the `@` of a verified address.
    pub email_domains: Vec<String>,
    /// Verified addresses.
    pub emails: Vec<String>,
    /// Active members of these organizations, at the provider `github`.
    pub github_organizations: Vec<String>,
    /// `<provider>:<subject>`.
    pub identities: Vec<String>,
}

/// What happens at a first sign-in whose verified address is that of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameEmail {
    /// Nothing: that is another user.
    Off,
    /// That is another user, and the answer says so.
    Ask,
    /// It signs in as that user.
    Link,
}

impl SignUps {
    /// Reads `ALLOWED_SIGNUPS`, `LINK_BY_VERIFIED_EMAIL` and `LINK_EMAIL_PROVIDERS`.
    ///
    /// # Errors
    /// Names the variable that is wrong.
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
    const EXPECTED: &str = "the names of the providers whose word it takes that an address is verified, like google,github, since LINK_BY_VERIFIED_EMAIL is set";
    let value = env.required(PROVIDERS, EXPECTED)?;
    let names: Vec<String> = value
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    if names.iter().all(|name| is_provider_name(name)) {
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
            // It holds people's addresses, which no log should.
            Some(json) => serde_json::from_str(json).map_err(|_| refused("it is no such JSON"))?,
        };
        if listed.lists().iter().all(|list| list.is_empty()) {
            return Err(refused("all lists are empty; nobody says so"));
        }
        if listed.lists().into_iter().flatten().any(String::is_empty) {
            return Err(refused("an entry is empty"));
        }
        let is_bare = |domain: &String| !domain.contains('@') && !domain.contains('*');
        if !listed.email_domains.iter().all(is_bare) {
            return Err(refused("a domain is written like example.com"));
        }
        // Such an address is never taken as proven: the entry would let nobody in.
        let mut addresses = listed.email_domains.iter().chain(&listed.emails);
        if !addresses.all(|entry| entry.is_ascii()) {
            return Err(refused(
                "an address or domain has other characters than ASCII; a domain can be written as xn--…",
            ));
        }
        let in_path = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if !listed
            .github_organizations
            .iter()
            .all(|name| name.bytes().all(in_path))
        {
            return Err(refused("an organization is named as in its URL"));
        }
        if !listed
            .identities
            .iter()
            .all(|identity| identity.contains(':'))
        {
            return Err(refused("an identity is written like github:583231"));
        }
        Ok(Self::Listed(listed))
    }

    /// The organizations to ask GitHub for.
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
        for providers in ["", "*", "google,", "Google"] {
            assert!(with(providers).is_err(), "{providers}");
        }
        assert!(read(&[(LINK, "always"), (PROVIDERS, "google")]).is_err());
    }
}
