//! Verifies a subject token with the provider that issued it.
//!
//! Each kind of provider has a module behind one small trait. A provider that names the application of a token needs
//! no kind: the settings describe its requests. A new kind is a module and a line in `KINDS`.

mod breaker;
mod described;
mod discord;
mod facebook;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod github;
mod hosts;
mod identity;
mod imported;
mod oidc;
mod opaque;
mod outbound;
mod person;
mod rate_limit;
mod vouched;

pub use identity::{Email, EmailAnswer, Identity, IdentityKey, Once, Profile};
pub use imported::{Account, ImportError, ImportedProfile, Imports};
pub use vouched::Voucher;

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, try_join_all};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::{
    clock::Clock,
    config::{self, ConfigError, Environment, OAuthProvider, ProviderSecret},
    jws::{ForeignHeader, Inspected},
    secrets::{Secret, SecretError, Secrets},
    telemetry,
};
use github::GitHub;
use hosts::{Hosts, Lookup};
use oidc::Oidc;
use outbound::{Outbound, Timeouts};
use vouched::Vouched;

/// The type of a subject token (RFC 8693 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectTokenType {
    /// An opaque OAuth access token of the provider.
    AccessToken,
    /// An OpenID Connect ID token.
    IdToken,
    /// A JWT: an ID token, or one by which an app vouches for its user.
    Jwt,
}

/// A provider's token as the caller presents it, unverified.
#[derive(Debug)]
pub struct SubjectToken {
    /// The token.
    pub token: SecretString,
    /// The type of the token.
    pub kind: SubjectTokenType,
    /// The name of the configured provider, for a token that does not name its issuer.
    pub issuer: Option<String>,
    /// The expected `nonce` of an ID token.
    pub nonce: Option<String>,
    /// The access token that was issued with the ID token, for its `at_hash`.
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
    /// The ARN of a client secret leads to nothing that can be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Reasons that a subject token is not accepted.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// Neither the token nor the request names the provider.
    #[error(
        "subject_issuer is required for an access token: write the name of the provider in the settings of Cambio"
    )]
    IssuerMissing,
    /// No provider of this name is configured for tokens of this type.
    #[error("no provider is configured for this subject token: those for {kind} are {configured}")]
    UnknownIssuer {
        /// The type of the token.
        kind: &'static str,
        /// The names of the providers for this type of token.
        configured: String,
    },
    /// The client may not vouch for users.
    #[error("this client may not vouch for users: add vouches to its entry in CLIENTS")]
    NoVoucher,
    /// The token is invalid or issued for another app.
    #[error("the subject token was not accepted: {0}")]
    Rejected(&'static str),
    /// The provider failed, so the token is neither valid nor invalid.
    #[error("the provider is unavailable: {cause}")]
    Unavailable {
        /// The cause, for the log.
        cause: String,
        /// The time to wait before a retry.
        retry_after: Duration,
    },
    /// The provider's answer does not decide about the token, possibly because of this token only.
    #[error("the provider's answer does not decide about the token: {cause}")]
    Unclear {
        /// The cause, for the log.
        cause: String,
        /// The time to wait before a retry.
        retry_after: Duration,
    },
    /// The provider limits the rate of requests, possibly for this user only.
    #[error("the provider's rate limit is reached ({status})")]
    RateLimited {
        /// The status of the answer.
        status: u16,
        /// The time to wait before a retry.
        retry_after: Duration,
    },
    /// The client secret cannot be read, so the provider was not asked.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// The time to wait before a retry, if the answer does not name one.
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
    /// Returns the name of the provider in identities.
    fn name(&self) -> &str;

    /// Returns the client secret, if requests have it.
    fn secret(&self) -> Option<&Secret>;

    /// Returns the identity that the token stands for.
    fn verify<'a>(
        &'a self,
        subject: &'a SubjectToken,
    ) -> BoxFuture<'a, Result<Identity, ProviderError>>;
}

/// The checked settings of a provider with opaque tokens.
enum OpaqueSettings {
    Described(
        OAuthProvider,
        Box<(Option<config::Check>, config::UserInfo)>,
    ),
    Discord(OAuthProvider),
    Facebook(OAuthProvider, ProviderSecret),
    /// GitHub, with the organizations whose members are asked for.
    GitHub(config::GitHub, Vec<String>),
}

/// A function that checks the settings of a provider of one kind.
type Read = fn(OAuthProvider) -> Result<OpaqueSettings, ConfigError>;

/// The kinds of providers with opaque tokens whose requests the settings cannot describe.
const KINDS: [(&str, Read); 3] = [
    (discord::KIND, discord::settings),
    (facebook::KIND, facebook::settings),
    (github::NAME, github::enterprise),
];

impl OpaqueSettings {
    fn name(&self) -> &str {
        match self {
            Self::Described(config, ..) | Self::Discord(config) | Self::Facebook(config, _) => {
                &config.name
            }
            Self::GitHub(config, _) => &config.name,
        }
    }

    fn provider(
        self,
        outbound: &Outbound,
        secrets: &Secrets,
    ) -> Result<Box<dyn Provider>, ConfigError> {
        Ok(match self {
            Self::Described(mut config, requests) => {
                let (check, userinfo) = *requests;
                let secret = config.client_secret.take();
                let secret = secret.map(|secret| secrets.find(secret)).transpose()?;
                described::provider(config, secret, check, userinfo, outbound)
            }
            Self::Discord(config) => discord::provider(config, outbound),
            Self::Facebook(config, secret) => {
                facebook::provider(config, secrets.find(secret)?, outbound)
            }
            Self::GitHub(config, organizations) => {
                let secret = secrets.find(config.client_secret.clone())?;
                Box::new(GitHub::new(config, secret, organizations, outbound))
            }
        })
    }
}

/// The checked settings of all providers.
struct ProviderSettings {
    opaque: Vec<OpaqueSettings>,
    oidc: Vec<config::OidcProvider>,
}

impl ProviderSettings {
    fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let mut opaque = Vec::new();
        if let Some(github) = config::GitHub::from_env(env)? {
            let allowed = config::AllowedSignUps::from_env(env)?;
            let organizations = allowed.github_organizations().to_vec();
            opaque.push(OpaqueSettings::GitHub(github, organizations));
        }
        let oidc = config::oidc_providers(env)?;
        for config in config::oauth_providers(env)? {
            let names = opaque.iter().map(OpaqueSettings::name);
            let mut names = names.chain(oidc.iter().map(|other| &*other.name));
            if names.any(|name| name == config.name) {
                return Err(config.refused(
                    "another provider has this name: write another name, or remove one of them",
                ));
            }
            let known = KINDS.iter().find(|(kind, _)| *kind == config.kind());
            let known = known.filter(|_| config.check.is_none());
            let read = known.map_or(described::settings as Read, |(_, read)| *read);
            opaque.push(read(config)?);
        }
        Ok(Self { opaque, oidc })
    }
}

/// The configured providers.
#[derive(Clone, Debug)]
pub struct Providers {
    opaque: Arc<[Box<dyn Provider>]>,
    oidc: Arc<[Oidc]>,
    vouched: Vouched,
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
    IdToken(&'a Oidc, Inspected<'a, ForeignHeader>),
    App(&'a Vouched, &'a Voucher, Inspected<'a, ForeignHeader>),
}

impl Providers {
    /// Reads the settings of the providers, and makes none.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn check(env: &Environment) -> Result<(), ConfigError> {
        ProviderSettings::from_env(env).map(drop)
    }

    /// Makes the providers that the settings name.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the HTTP client cannot be set up.
    pub fn start(
        env: &Environment,
        clock: &Clock,
        secrets: &Secrets,
    ) -> Result<Self, ProvidersError> {
        Self::start_with(env, clock, secrets, hosts::system())
    }

    fn start_with(
        env: &Environment,
        clock: &Clock,
        secrets: &Secrets,
        lookup: Lookup,
    ) -> Result<Self, ProvidersError> {
        let hosts = Hosts::new(lookup, env.is_local());
        let outbound = Outbound::new(clock.clone(), Timeouts::default(), hosts)?;
        let ProviderSettings { opaque, oidc } = ProviderSettings::from_env(env)?;
        let opaque = opaque.into_iter();
        let opaque = opaque.map(|one| one.provider(&outbound, secrets));
        let oidc = oidc.into_iter();
        Ok(Self {
            opaque: opaque.collect::<Result<_, _>>()?,
            oidc: oidc
                .map(|config| Oidc::new(config, &outbound, clock.clone()))
                .collect(),
            vouched: Vouched::from_env(env, clock)?,
        })
    }

    /// Reads the secrets that ARNs lead to. One that cannot be reached is read by the first request that needs it.
    ///
    /// # Errors
    /// An ARN leads to nothing that can be used.
    pub async fn read_secrets(&self) -> Result<(), SecretError> {
        let secrets = self.opaque.iter().filter_map(|provider| provider.secret());
        let read = secrets.map(|secret| async move {
            match secret.get().await {
                Err(error) if error.is_refused() => Err(error),
                Err(error) => {
                    let next = "no secret at start; trying again at the next request";
                    tracing::warn!(error.cause = %error, "{next}");
                    Ok(())
                }
                Ok(_) => Ok(()),
            }
        });
        try_join_all(read).await.map(drop)
    }

    /// Finds the provider that `token` is from. An ID token names it; where the request names one as well, by name or
    /// `iss`, it is the same. A JWT of the app itself is for `voucher`, that of the client.
    ///
    /// # Errors
    /// No provider is named, or none that is configured for tokens of this type; or the ID token is malformed.
    pub fn resolve<'a>(
        &'a self,
        token: &'a SubjectToken,
        voucher: Option<&'a Voucher>,
    ) -> Result<UnverifiedSubject<'a>, ProviderError> {
        let named = token.issuer.as_deref();
        let provider = match token.kind {
            SubjectTokenType::AccessToken => {
                let named = named.ok_or(ProviderError::IssuerMissing)?;
                let mut all = self.opaque.iter().map(Box::as_ref);
                let found = all.find(|provider| provider.name() == named);
                found.map(ProviderOf::AccessToken)
            }
            SubjectTokenType::IdToken | SubjectTokenType::Jwt => {
                let (inspected, issuer) = oidc::inspect(token.token.expose_secret())?;
                let is_jwt = token.kind == SubjectTokenType::Jwt;
                if is_jwt && vouched::is_vouched(&inspected.header, &issuer, voucher) {
                    let voucher = voucher.ok_or(ProviderError::NoVoucher)?;
                    if !voucher.is_named(named) {
                        return Err(self.unknown_issuer(token.kind));
                    }
                    let provider = ProviderOf::App(&self.vouched, voucher, inspected);
                    return Ok(UnverifiedSubject { token, provider });
                }
                let found = self.oidc.iter().find(|provider| {
                    let is_named = |named| named == provider.name() || named == issuer;
                    provider.issues(&issuer) && named.is_none_or(is_named)
                });
                found.map(|provider| ProviderOf::IdToken(provider, inspected))
            }
        };
        let provider = provider.ok_or_else(|| self.unknown_issuer(token.kind))?;
        Ok(UnverifiedSubject { token, provider })
    }
}

impl Providers {
    /// Returns the error for a token of an unknown provider. Its text begins with the words by which the package
    /// recognises a mistake of the settings.
    fn unknown_issuer(&self, kind: SubjectTokenType) -> ProviderError {
        let (kind, names): (_, Vec<&str>) = match kind {
            SubjectTokenType::AccessToken => {
                let names = self.opaque.iter().map(|provider| provider.name());
                ("access tokens", names.collect())
            }
            SubjectTokenType::IdToken | SubjectTokenType::Jwt => {
                ("ID tokens", self.oidc.iter().map(Oidc::name).collect())
            }
        };
        let configured = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        ProviderError::UnknownIssuer { kind, configured }
    }
}

impl<'a> UnverifiedSubject<'a> {
    /// Returns the name of the provider.
    pub fn provider(&self) -> &'a str {
        match self.provider {
            ProviderOf::AccessToken(provider) => provider.name(),
            ProviderOf::IdToken(provider, _) => provider.name(),
            ProviderOf::App(_, voucher, _) => voucher.name(),
        }
    }

    /// Returns the identity that the token stands for, as its provider confirms.
    ///
    /// # Errors
    /// The token is not accepted, or the provider fails ([`ProviderError::Unavailable`]).
    pub async fn verify(&self) -> Result<Identity, ProviderError> {
        telemetry::set_provider(self.provider());
        match &self.provider {
            ProviderOf::AccessToken(provider) => provider.verify(self.token).await,
            ProviderOf::IdToken(provider, inspected) => {
                provider.verify(inspected, self.token).await
            }
            ProviderOf::App(vouched, voucher, inspected) => {
                vouched.verify(voucher, inspected, self.token)
            }
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

    /// A JWT with this `iss` and further members.
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

    /// Providers with a recording resolver that finds no address.
    #[tokio::test]
    async fn t47_nothing_in_a_token_or_request_makes_anybody_but_a_configured_host_be_contacted() {
        let env = Environment::of([
            ("ISSUER_URL", "https://api.example.com"),
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
        let clock = Clock::system();
        let secrets = Secrets::new(env.clone(), clock.clone());
        let providers = Providers::start_with(&env, &clock, &secrets, lookup).unwrap();
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
            let verified = async { providers.resolve(&subject, None)?.verify().await };
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
