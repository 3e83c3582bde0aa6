//! Who does the outside world say this is? Proves a subject token with the provider that issued it.
//!
//! What differs between providers in kind has a module here; a new one is a module and an arm in
//! [`Providers::verify`].

mod breaker;
mod github;
mod identity;
mod oidc;
mod outbound;

pub use github::GitHub;
pub use identity::{Email, EmailAnswer, Identity, IdentityKey, Profile};
pub use oidc::Oidc;
pub use outbound::{Outbound, Timeouts};

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

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

/// The configured providers.
#[derive(Clone, Debug)]
pub struct Providers {
    github: Option<GitHub>,
    oidc: Vec<Oidc>,
}

impl Providers {
    /// These providers and no others.
    pub fn new(github: Option<GitHub>, oidc: Vec<Oidc>) -> Self {
        Self { github, oidc }
    }

    /// Whom `subject` stands for, as its provider confirms.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] when the provider could not be asked; otherwise why the token is not accepted.
    pub async fn verify(&self, subject: &SubjectToken) -> Result<Identity, ProviderError> {
        match (subject.kind, subject.issuer.as_deref(), &self.github) {
            (SubjectTokenType::IdToken, named, _) => {
                self.oidc(subject, named)?.verify(subject).await
            }
            (SubjectTokenType::AccessToken, Some(github::NAME), Some(github)) => {
                github.verify(&subject.token).await
            }
            (SubjectTokenType::AccessToken, None, _) => Err(ProviderError::IssuerMissing),
            (SubjectTokenType::AccessToken, Some(_), _) => Err(ProviderError::UnknownIssuer),
        }
    }

    /// The provider that an ID token claims to be of; where the request names one as well, by name or `iss`, it is the same.
    fn oidc(&self, subject: &SubjectToken, named: Option<&str>) -> Result<&Oidc, ProviderError> {
        let issuer = oidc::claimed_issuer(subject.token.expose_secret())?;
        let provider = self.oidc.iter().find(|provider| provider.issues(&issuer));
        provider
            .filter(|provider| {
                named.is_none_or(|named| named == provider.name() || named == issuer)
            })
            .ok_or(ProviderError::UnknownIssuer)
    }
}
