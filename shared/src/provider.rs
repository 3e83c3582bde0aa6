//! Who does the outside world say this is? Proves a subject token with the provider that issued it.
//!
//! What differs between providers in kind has a module here, behind one small interface; a new one is a module and a line in
//! `KINDS`.

mod breaker;
mod discord;
mod facebook;
mod github;
mod hosts;
mod identity;
mod oidc;
mod opaque;
mod outbound;
mod rate_limit;
mod unbound;

pub use identity::{Email, EmailAnswer, Identity, IdentityKey, Profile};

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::{
    clock::Clock,
    config::{self, ConfigError, Environment, OAuthProvider, SignUps},
    jws::Header,
};
use github::GitHub;
use hosts::{Hosts, Lookup};
use oidc::Oidc;
use outbound::{Outbound, Timeouts};

/// What a subject token claims to be (RFC 8693 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectTokenType {
    /// An OAuth access token of the provider, which only the provider can read.
    AccessToken,
    /// An OpenID Connect ID token.
    IdToken,
}

/// A provider's token, as the caller presents it: nothing about it is proven.
#[derive(Debug)]
pub struct SubjectToken {
    /// The token.
    pub token: SecretString,
    /// What it claims to be.
    pub kind: SubjectTokenType,
    /// Which configured provider is meant, for a token that does not name its issuer.
    pub issuer: Option<String>,
    /// What an ID token must have as its `nonce`.
    pub nonce: Option<String>,
    /// The access token that the provider gave out together with the ID token, which then says so in `at_hash`.
    pub access_token: Option<SecretString>,
}

/// The reason why the providers cannot be set up.
#[derive(Debug, Error)]
pub enum ProvidersError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The HTTP client for providers cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    HttpClient(#[from] reqwest::Error),
}

/// Why a subject token proves nothing.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// The token does not name its issuer, and the request did not say which provider is meant.
    #[error("subject_issuer is required for an access token")]
    IssuerMissing,
    /// No such provider is configured for tokens of this type.
    #[error("no provider is configured for this subject token")]
    UnknownIssuer,
    /// The provider, or the form of the token, says that it is not for us.
    #[error("the subject token was not accepted: {0}")]
    Rejected(&'static str),
    /// The provider did not answer as it should: nothing can be said of the token.
    #[error("the provider is unavailable: {cause}")]
    Unavailable {
        /// What happened, for the log.
        cause: String,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The provider answers, and does not say whether the token is good, perhaps of this one token only.
    #[error("the provider does not say whether the token is good: {cause}")]
    Unclear {
        /// What happened, for the log.
        cause: String,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The provider answers, and wants to be asked less, perhaps about this one person.
    #[error("the provider's rate limit is reached ({status})")]
    RateLimited {
        /// The status of its answer.
        status: u16,
        /// When it is worth trying again.
        retry_after: Duration,
    },
}

/// When to try again after an answer that does not say it.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl ProviderError {
    fn unavailable(cause: impl Into<String>) -> Self {
        Self::Unavailable {
            cause: cause.into(),
            retry_after: RETRY_AFTER,
        }
    }

    fn unclear(cause: impl Into<String>) -> Self {
        Self::Unclear {
            cause: cause.into(),
            retry_after: RETRY_AFTER,
        }
    }
}

/// A provider of opaque access tokens.
trait Provider: fmt::Debug + Send + Sync {
    /// The name that its identities go by.
    fn name(&self) -> &str;

    /// Returns the identity that the token stands for.
    fn verify<'a>(
        &'a self,
        subject: &'a SubjectToken,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>>;
}

/// Makes a provider of one kind from its settings.
type Make = fn(OAuthProvider, &Outbound) -> Result<Box<dyn Provider>, ConfigError>;

/// The kinds of providers with opaque tokens, and who proves them. Any other kind proves nothing.
const KINDS: [(&str, Make); 3] = [
    (discord::KIND, discord::provider),
    (facebook::KIND, facebook::provider),
    (github::NAME, github::enterprise),
];

/// The configured providers.
#[derive(Clone, Debug)]
pub struct Providers {
    opaque: Arc<[Box<dyn Provider>]>,
    oidc: Arc<[Oidc]>,
}

/// A subject token and the configured provider that it is to be verified with. Nothing about the token is verified.
#[derive(Debug)]
pub struct UnverifiedSubject<'a> {
    token: &'a SubjectToken,
    provider: ProviderOf<'a>,
}

#[derive(Debug)]
enum ProviderOf<'a> {
    AccessToken(&'a dyn Provider),
    IdToken(&'a Oidc, Header),
}

impl Providers {
    /// Those that the settings name, and no others.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the HTTP client cannot be set up.
    pub fn start(env: &Environment, clock: &Clock) -> Result<Self, ProvidersError> {
        Self::start_with(env, clock, hosts::system())
    }

    fn start_with(
        env: &Environment,
        clock: &Clock,
        lookup: Lookup,
    ) -> Result<Self, ProvidersError> {
        let hosts = Hosts::new(lookup, env.is_local());
        let outbound = Outbound::new(clock.clone(), Timeouts::default(), hosts)?;
        let mut opaque: Vec<Box<dyn Provider>> = Vec::new();
        if let Some(github) = config::GitHub::from_env(env)? {
            let organizations = SignUps::from_env(env)?
                .allowed
                .github_organizations()
                .to_vec();
            opaque.push(Box::new(GitHub::new(github, organizations, &outbound)));
        }
        let oidc = config::oidc_providers(env)?.into_iter();
        let oidc = oidc.map(|config| Oidc::new(config, &outbound, clock.clone()));
        let oidc: Vec<Oidc> = oidc.collect();
        for config in config::oauth_providers(env)? {
            let names = opaque.iter().map(|other| other.name());
            let mut names = names.chain(oidc.iter().map(Oidc::name));
            if names.any(|name| name == config.name) {
                return Err(config.refused("another provider has this name").into());
            }
            let known = KINDS.iter().find(|(kind, _)| *kind == config.kind());
            let make = known.map_or(unbound::provider as Make, |(_, make)| *make);
            opaque.push(make(config, &outbound)?);
        }
        Ok(Self {
            opaque: opaque.into(),
            oidc: oidc.into(),
        })
    }

    /// Finds the provider that `token` is from. An ID token names it; where the request names one as well, by name or
    /// `iss`, it is the same.
    ///
    /// # Errors
    /// No provider is named, or none that is configured for tokens of this type; or the ID token is malformed.
    pub fn resolve<'a>(
        &'a self,
        token: &'a SubjectToken,
    ) -> Result<UnverifiedSubject<'a>, ProviderError> {
        let named = token.issuer.as_deref();
        let provider = match token.kind {
            SubjectTokenType::AccessToken => {
                let named = named.ok_or(ProviderError::IssuerMissing)?;
                let mut all = self.opaque.iter().map(Box::as_ref);
                let found = all.find(|provider| provider.name() == named);
                found.map(ProviderOf::AccessToken)
            }
            SubjectTokenType::IdToken => {
                let (header, issuer) = oidc::inspect(token.token.expose_secret())?;
                let found = self.oidc.iter().find(|provider| {
                    let is_named = |named| named == provider.name() || named == issuer;
                    provider.issues(&issuer) && named.is_none_or(is_named)
                });
                found.map(|provider| ProviderOf::IdToken(provider, header))
            }
        };
        let provider = provider.ok_or(ProviderError::UnknownIssuer)?;
        Ok(UnverifiedSubject { token, provider })
    }
}

impl<'a> UnverifiedSubject<'a> {
    /// Returns the name of the provider.
    pub fn provider(&self) -> &'a str {
        match self.provider {
            ProviderOf::AccessToken(provider) => provider.name(),
            ProviderOf::IdToken(provider, _) => provider.name(),
        }
    }

    /// Returns the identity that the token stands for, as its provider confirms.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] when the provider could not be asked; otherwise why the token is not accepted.
    pub async fn verify(&self) -> Result<Identity, ProviderError> {
        match &self.provider {
            ProviderOf::AccessToken(provider) => provider.verify(self.token).await,
            ProviderOf::IdToken(provider, header) => provider.verify(header, self.token).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        io,
        sync::{Mutex, PoisonError},
    };

    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::*;

    /// A JWT that says it is of this issuer, and brings whatever else it likes.
    fn token_of(issuer: &str, header: &Value) -> SecretString {
        let mut all = json!({ "alg": "RS256", "kid": "a" });
        if let (Some(all), Some(header)) = (all.as_object_mut(), header.as_object()) {
            all.extend(header.clone());
        }
        let payload = json!({ "iss": issuer, "jku": "https://evil.example/keys" });
        let parts = [all.to_string(), payload.to_string(), "signature".to_owned()];
        let parts = parts.map(|part| URL_SAFE_NO_PAD.encode(part));
        parts.join(".").into()
    }

    /// With the resolver recorded, and nobody there to answer.
    #[tokio::test]
    async fn t47_nothing_in_a_token_or_request_makes_anybody_but_a_configured_host_be_contacted() {
        let env = Environment::of([
            ("GITHUB_CLIENT_ID", "a"),
            ("GITHUB_CLIENT_SECRET", "b"),
            (
                "OIDC_PROVIDERS",
                r#"[{"name":"google","client_ids":["a"]},
                    {"name":"acme","issuer":"https://login.example.com","client_ids":["a"]},
                    {"name":"microsoft","tenants":["t"],"client_ids":["a"]}]"#,
            ),
            (
                "OAUTH_PROVIDERS",
                r#"[{"name":"discord","client_id":"a"},{"name":"facebook","client_id":"a","client_secret":"b"}]"#,
            ),
        ]);
        let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let recorded = asked.clone();
        let lookup: Lookup = Arc::new(move |host| {
            let mut asked = recorded.lock().unwrap_or_else(PoisonError::into_inner);
            asked.insert(host);
            Box::pin(async { Err(io::Error::other("nobody is there")) })
        });
        let providers = Providers::start_with(&env, &Clock::system(), lookup).unwrap();
        let mut subjects = Vec::new();
        for issuer in [
            "https://evil.example",
            "https://login.example.com",
            "https://login.example.com@evil.example",
            "https://login.example.com.evil.example",
            "https://login.example.com/../evil",
            "https://accounts.google.com",
            "https://login.microsoftonline.com/t/v2.0",
            "https://login.microsoftonline.com/u/v2.0",
            "https://169.254.169.254",
            "http://localhost",
        ] {
            for header in [
                json!({}),
                json!({ "jku": "https://evil.example/keys" }),
                json!({ "x5u": "https://evil.example/chain" }),
                json!({ "kid": "https://evil.example/key" }),
            ] {
                let token = token_of(issuer, &header);
                subjects.push((token, SubjectTokenType::IdToken, None));
            }
        }
        for token in ["gho_a", "https://evil.example", "a@evil.example"] {
            for issuer in ["github", "discord", "facebook", "https://evil.example"] {
                let issuer = Some(issuer.to_owned());
                subjects.push((token.into(), SubjectTokenType::AccessToken, issuer));
            }
        }

        for (token, kind, issuer) in subjects {
            let subject = SubjectToken {
                token,
                kind,
                issuer,
                nonce: None,
                access_token: None,
            };
            let verified = async { providers.resolve(&subject)?.verify().await };
            assert!(verified.await.is_err());
        }

        let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        assert_eq!(
            asked,
            [
                "accounts.google.com",
                "api.github.com",
                "discord.com",
                "graph.facebook.com",
                "login.example.com",
                "login.microsoftonline.com",
            ]
        );
    }
}
