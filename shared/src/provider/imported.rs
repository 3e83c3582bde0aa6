//! Identities that an operator imports from another system, which no provider proves.

use thiserror::Error;

use super::{
    Email, EmailAnswer, Identity, Profile, discord, facebook,
    github::{self, is_account_id},
    oidc, opaque,
};
use crate::config::{
    ConfigError, Environment, GitHub, OAuthProvider, is_app_name, oauth_providers, oidc_providers,
};

/// The configured providers, by which imported identities are stored as a sign-in finds them.
#[derive(Debug)]
pub struct Imports(Vec<Provider>);

#[derive(Debug)]
struct Provider {
    name: String,
    /// The issuers of its identities: several if each tenant has one.
    issuers: Vec<String>,
    subjects: Subjects,
}

/// The subjects that the sign-ins with a provider can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subjects {
    /// The numbers of accounts of GitHub.
    Numbers,
    /// Visible ASCII, of a provider with opaque tokens.
    Visible,
    /// ASCII, of a provider or an app with signed tokens.
    Ascii,
}

/// An account of a provider in another system.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// The name of the provider, or `app:<client_id>`.
    pub provider: &'a str,
    /// The issuer, which only a provider with several tenants requires.
    pub issuer: Option<&'a str>,
    /// The unchanging id at the provider.
    pub subject: &'a str,
    /// The login.
    pub username: Option<&'a str>,
}

/// A profile in another system.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportedProfile<'a> {
    /// The display name.
    pub name: Option<&'a str>,
    /// The e-mail address.
    pub email: Option<&'a str>,
    /// True if the address is verified.
    pub email_verified: bool,
    /// An `https` URL of a picture.
    pub picture: Option<&'a str>,
}

/// Reasons that an account or a profile cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImportError {
    /// No provider has this name.
    #[error("no provider has the name of identities[{nth}]: the names are {names}")]
    UnknownProvider {
        /// The position of the account.
        nth: usize,
        /// The configured names.
        names: String,
    },
    /// The provider has several issuers.
    #[error(
        "identities[{0}] needs its issuer, because the provider has several tenants: write it as an object"
    )]
    IssuerMissing(usize),
    /// The provider has another issuer.
    #[error(
        "the issuer of identities[{0}] is not that of the provider: leave it out, or correct it"
    )]
    ForeignIssuer(usize),
    /// No account of the provider can have this subject.
    #[error("the subject of identities[{0}] must be {1}")]
    Subject(usize, &'static str),
    /// The name has no visible characters.
    #[error("profile.name has no visible characters")]
    Name,
    /// The text is not an address.
    #[error("profile.email is not an address of at most 254 bytes")]
    Email,
    /// The text is not a URL that a profile may have.
    #[error("profile.picture is not an https URL of at most 2048 bytes")]
    Picture,
}

impl Subjects {
    /// Refuses the subject of the account at position `nth` that no sign-in could have.
    fn check(self, nth: usize, subject: &str) -> Result<(), ImportError> {
        let (possible, form) = match self {
            Self::Numbers => {
                let id = subject.parse().ok().filter(|id| is_account_id(*id));
                let possible = id.is_some_and(|id| id.to_string() == subject);
                (possible, "the number of a GitHub account, not its login")
            }
            Self::Visible => {
                let form = "1 to 255 visible ASCII characters";
                (opaque::is_subject(subject), form)
            }
            Self::Ascii => (oidc::is_subject(subject), "1 to 255 ASCII characters"),
        };
        possible
            .then_some(())
            .ok_or(ImportError::Subject(nth, form))
    }
}

impl Imports {
    /// Reads the providers: `OIDC_PROVIDERS`, `OAUTH_PROVIDERS`, `GITHUB_CLIENT_ID` and `GITHUB_API_URL`.
    ///
    /// # Errors
    /// A variable is wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let mut all = Vec::new();
        if env.optional("GITHUB_CLIENT_ID").is_some() {
            all.push(Provider {
                name: github::NAME.to_owned(),
                issuers: vec![GitHub::api_url(env)?],
                subjects: Subjects::Numbers,
            });
        }
        for provider in oidc_providers(env)? {
            let tenants = provider.tenants.iter();
            let of_tenants = tenants.map(|tenant| provider.issuer.replace("{tenantid}", tenant));
            let mut issuers: Vec<String> = of_tenants.collect();
            if issuers.is_empty() {
                issuers.push(provider.issuer);
            }
            all.push(Provider {
                name: provider.name,
                issuers,
                subjects: Subjects::Ascii,
            });
        }
        for provider in oauth_providers(env)? {
            let is_github = provider.kind() == github::NAME && provider.check.is_none();
            let issuer = issuer_of(&provider, is_github)
                .ok_or_else(|| provider.refused("its API has no URL"))?;
            all.push(Provider {
                name: provider.name,
                issuers: vec![issuer],
                subjects: if is_github {
                    Subjects::Numbers
                } else {
                    Subjects::Visible
                },
            });
        }
        Ok(Self(all))
    }

    /// Returns the identities of a user, each with `profile`, as if the providers had reported it.
    ///
    /// # Errors
    /// An account or the profile is not one that a sign-in could have.
    pub fn identities(
        &self,
        accounts: &[Account<'_>],
        profile: ImportedProfile<'_>,
    ) -> Result<Vec<Identity>, ImportError> {
        let accounts = accounts.iter().enumerate();
        let identities = accounts.map(|(nth, account)| self.identity(nth, account, profile));
        identities.collect()
    }

    fn identity(
        &self,
        nth: usize,
        account: &Account<'_>,
        profile: ImportedProfile<'_>,
    ) -> Result<Identity, ImportError> {
        let issuer = self.issuer(nth, account)?;
        let own = |text: Option<&str>| text.map(str::to_owned);
        let email = match profile.email {
            None => EmailAnswer::None,
            Some(address) => EmailAnswer::Some(Email {
                address: address.to_owned(),
                verified: profile.email_verified,
            }),
        };
        let given = Profile {
            username: own(account.username),
            name: own(profile.name),
            email,
            picture: own(profile.picture),
        };
        let identity = Identity::new(account.provider, issuer, account.subject, given);
        // A sign-in drops what does not fit. An import must not lose data in silence.
        let fit = identity.profile();
        if profile.name.is_some() && fit.name.is_none() {
            return Err(ImportError::Name);
        }
        if profile.email.is_some() && fit.email == EmailAnswer::None {
            return Err(ImportError::Email);
        }
        if profile.picture.is_some() && fit.picture.is_none() {
            return Err(ImportError::Picture);
        }
        Ok(identity)
    }

    fn issuer(&self, nth: usize, account: &Account<'_>) -> Result<String, ImportError> {
        let (name, subject) = (account.provider, account.subject);
        if is_app_name(name) {
            Subjects::Ascii.check(nth, subject)?;
            // As a vouched sign-in: the issuer is the name of the app.
            return match account.issuer {
                None => Ok(name.to_owned()),
                Some(_) => Err(ImportError::ForeignIssuer(nth)),
            };
        }
        let Some(provider) = self.0.iter().find(|provider| provider.name == name) else {
            let names = self.0.iter().map(|provider| &*provider.name);
            let names: Vec<&str> = names.chain(["app:<client_id>"]).collect();
            let names = names.join(", ");
            return Err(ImportError::UnknownProvider { nth, names });
        };
        provider.subjects.check(nth, subject)?;
        match (account.issuer, &*provider.issuers) {
            (None, [issuer]) => Ok(issuer.clone()),
            (None, _) => Err(ImportError::IssuerMissing(nth)),
            (Some(named), issuers) => {
                let issuer = issuers.iter().find(|issuer| *issuer == named);
                issuer.cloned().ok_or(ImportError::ForeignIssuer(nth))
            }
        }
    }
}

/// Returns the issuer of the identities of a provider with opaque tokens.
fn issuer_of(provider: &OAuthProvider, is_github: bool) -> Option<String> {
    if is_github {
        return provider.api_url.clone();
    }
    let check = provider.check.as_ref().map(|check| &*check.url);
    let userinfo = provider.userinfo.as_ref().map(|userinfo| &*userinfo.url);
    let preset = match provider.kind() {
        discord::KIND if check.is_none() => Some(discord::API),
        facebook::KIND if check.is_none() => Some(facebook::API),
        _ => None,
    };
    let url = provider
        .api_url
        .as_deref()
        .or(preset)
        .or(check)
        .or(userinfo);
    opaque::issuer(url?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports() -> Imports {
        Imports::from_env(&Environment::of([
            ("GITHUB_CLIENT_ID", "a"),
            (
                "OIDC_PROVIDERS",
                r#"[{"name":"google","client_ids":["a"]},{"name":"microsoft","tenants":["t","u"],"client_ids":["a"]}]"#,
            ),
            (
                "OAUTH_PROVIDERS",
                r#"[{"name":"discord","client_id":"a"},{"name":"gitlab","client_id":"a"},
                    {"name":"ghe","kind":"github","api_url":"https://ghe.example.com/api/v3","client_id":"a","client_secret":"b"}]"#,
            ),
        ]))
        .unwrap()
    }

    fn account<'a>(provider: &'a str, issuer: Option<&'a str>, subject: &'a str) -> Account<'a> {
        Account {
            provider,
            issuer,
            subject,
            username: None,
        }
    }

    #[test]
    fn t183_an_imported_identity_has_the_key_of_a_sign_in() {
        for (provider, issuer, subject) in [
            ("github", "https://api.github.com", "583231"),
            ("google", "https://accounts.google.com", "109"),
            ("discord", "https://discord.com", "1"),
            ("gitlab", "https://gitlab.com", "1"),
            ("ghe", "https://ghe.example.com/api/v3", "1"),
            ("app:nextjs", "app:nextjs", "ada@example.com"),
        ] {
            let signed_in = Identity::new(provider, issuer, subject, Profile::default());
            let account = account(provider, None, subject);
            let imported = imports().identities(&[account], ImportedProfile::default());
            assert_eq!(imported.unwrap()[0].key(), signed_in.key(), "{provider}");
        }
        let tenant = "https://login.microsoftonline.com/u/v2.0";
        let signed_in = Identity::new("microsoft", tenant, "1", Profile::default());
        let account = account("microsoft", Some(tenant), "1");
        let imported = imports().identities(&[account], ImportedProfile::default());
        assert_eq!(imported.unwrap()[0].key(), signed_in.key());
    }

    #[test]
    fn t183_an_account_that_no_sign_in_could_have_is_refused() {
        let long = "x".repeat(256);
        let number = ImportError::Subject(0, "the number of a GitHub account, not its login");
        let text = ImportError::Subject(0, "1 to 255 ASCII characters");
        let visible = ImportError::Subject(0, "1 to 255 visible ASCII characters");
        for (provider, issuer, subject, expected) in [
            ("github", None, "octocat", number.clone()),
            ("github", None, "0583231", number.clone()),
            ("github", None, "+583231", number.clone()),
            ("ghe", None, "0", number),
            ("google", None, "", text.clone()),
            ("google", None, "é", text.clone()),
            ("google", None, &long, text.clone()),
            ("app:nextjs", None, "", text.clone()),
            ("app:nextjs", None, &long, text),
            ("discord", None, "a b", visible.clone()),
            ("gitlab", None, "1\n", visible.clone()),
            ("gitlab", None, &long, visible),
            (
                "google",
                Some("https://evil.example"),
                "1",
                ImportError::ForeignIssuer(0),
            ),
            (
                "app:nextjs",
                Some("app:other"),
                "1",
                ImportError::ForeignIssuer(0),
            ),
            ("microsoft", None, "1", ImportError::IssuerMissing(0)),
        ] {
            let account = account(provider, issuer, subject);
            let refused = imports().identities(&[account], ImportedProfile::default());
            assert_eq!(refused.unwrap_err(), expected, "{provider}:{subject}");
        }
        for provider in ["gogle", "app:", "app:a b", "GitHub"] {
            let account = account(provider, None, "1");
            let refused = imports().identities(&[account], ImportedProfile::default());
            let refused = refused.unwrap_err();
            assert!(
                matches!(refused, ImportError::UnknownProvider { nth: 0, .. }),
                "{provider}"
            );
        }
    }

    #[test]
    fn a_profile_that_a_sign_in_would_drop_is_refused() {
        let account = account("google", None, "1");
        for (profile, expected) in [
            (
                ImportedProfile {
                    name: Some("\u{200b}"),
                    ..ImportedProfile::default()
                },
                ImportError::Name,
            ),
            (
                ImportedProfile {
                    email: Some("a@b\r\nc"),
                    ..ImportedProfile::default()
                },
                ImportError::Email,
            ),
            (
                ImportedProfile {
                    picture: Some("javascript:alert(1)"),
                    ..ImportedProfile::default()
                },
                ImportError::Picture,
            ),
        ] {
            assert_eq!(
                imports().identities(&[account], profile).unwrap_err(),
                expected
            );
        }
    }
}
