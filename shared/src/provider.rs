//! Who does the outside world say this is? Proves a subject token with the provider that issued it.
//!
//! What differs between providers in kind has a module here, behind one small interface; a new one is a module and a line in
//! `KINDS`.

mod breaker;
mod discord;
mod facebook;
mod github;
mod identity;
mod oidc;
mod opaque;
mod outbound;
mod unbound;

pub use identity::{Email, EmailAnswer, Identity, IdentityKey, Profile};

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::{
    clock::Clock,
    config::{self, ConfigError, Environment, OAuthProvider, SignUps},
    start::StartError,
};
use github::GitHub;
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
    /// The provider answers, and wants to be asked less, perhaps about this one person.
    #[error("the provider's rate limit is reached ({status})")]
    RateLimited {
        /// The status of its answer.
        status: u16,
        /// When it is worth trying again.
        retry_after: Duration,
    },
}

impl ProviderError {
    fn unavailable(cause: impl Into<String>) -> Self {
        const RETRY_AFTER: Duration = Duration::from_secs(5);
        Self::Unavailable {
            cause: cause.into(),
            retry_after: RETRY_AFTER,
        }
    }
}

/// A provider that can prove a subject token: all that the rest of Cambio knows of one.
trait Provider: fmt::Debug + Send + Sync {
    /// The name that its identities go by.
    fn name(&self) -> &str;

    /// Whether an ID token with this `iss` is its own; one whose tokens are opaque has none.
    fn issues(&self, _issuer: &str) -> bool {
        false
    }

    /// What kind of token it can prove.
    fn proves(&self) -> SubjectTokenType {
        SubjectTokenType::AccessToken
    }

    /// Whom the token stands for.
    fn verify<'a>(
        &'a self,
        subject: &'a SubjectToken,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>>;
}

/// Makes a provider of one kind from its settings.
type Make = fn(OAuthProvider, Outbound) -> Result<Box<dyn Provider>, ConfigError>;

/// The kinds of providers with opaque tokens, and who proves them. Any other kind proves nothing.
const KINDS: [(&str, Make); 3] = [
    (discord::KIND, discord::provider),
    (facebook::KIND, facebook::provider),
    (github::NAME, github::enterprise),
];

/// The configured providers.
#[derive(Clone, Debug)]
pub struct Providers(Arc<[Box<dyn Provider>]>);

impl Providers {
    /// Those that the settings name, and no others.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the HTTP client cannot be set up.
    pub fn start(env: &Environment, clock: &Clock) -> Result<Self, StartError> {
        let outbound = Outbound::new(clock.clone(), Timeouts::default())?;
        let mut all: Vec<Box<dyn Provider>> = Vec::new();
        if let Some(github) = config::GitHub::from_env(env)? {
            let organizations = SignUps::from_env(env)?
                .allowed
                .github_organizations()
                .to_vec();
            all.push(Box::new(GitHub::new(
                github,
                organizations,
                outbound.clone(),
            )));
        }
        for config in config::oidc_providers(env)? {
            let outbound = outbound.for_another_provider();
            all.push(Box::new(Oidc::new(config, outbound, clock.clone())));
        }
        for config in config::oauth_providers(env)? {
            if all.iter().any(|other| other.name() == config.name) {
                return Err(config.refused("another provider has this name").into());
            }
            let known = KINDS.iter().find(|(kind, _)| *kind == config.kind());
            let make = known.map_or(unbound::provider as Make, |(_, make)| *make);
            all.push(make(config, outbound.for_another_provider())?);
        }
        Ok(Self(all.into()))
    }

    /// Whom `subject` stands for, as its provider confirms.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] when the provider could not be asked; otherwise why the token is not accepted.
    pub async fn verify(&self, subject: &SubjectToken) -> Result<Identity, ProviderError> {
        self.provider_of(subject)?.verify(subject).await
    }

    /// An ID token names its provider; where the request names one as well, by name or `iss`, it is the same.
    fn provider_of(&self, subject: &SubjectToken) -> Result<&dyn Provider, ProviderError> {
        let named = subject.issuer.as_deref();
        let is_it: &dyn Fn(&dyn Provider) -> bool = match subject.kind {
            SubjectTokenType::AccessToken => {
                let named = named.ok_or(ProviderError::IssuerMissing)?;
                &move |provider| provider.name() == named
            }
            SubjectTokenType::IdToken => {
                let issuer = oidc::claimed_issuer(subject.token.expose_secret())?;
                &move |provider| {
                    let is_named = |named| named == provider.name() || named == issuer;
                    provider.issues(&issuer) && named.is_none_or(is_named)
                }
            }
        };
        let mut all = self.0.iter().map(Box::as_ref);
        all.find(|provider| provider.proves() == subject.kind && is_it(*provider))
            .ok_or(ProviderError::UnknownIssuer)
    }
}
