//! The start of a function.

use std::{fmt, future::ready, sync::Arc};

use thiserror::Error;

use crate::{
    clients::{self, Assertions, ClientProviders, Clients, Limits},
    clock::Clock,
    config::{self, ConfigError, Environment, Group, Issuer},
    dynamodb::{self, Client},
    keys::{KeyStore, Keys, KeysError},
    provider::{Providers, ProvidersError},
    secrets::Secrets,
    sessions::Sessions,
    stored::{SettingsStore, Stored, StoredError},
    token::TokenVerifier,
    users::Users,
};

/// The parts of a function, built from its settings around one DynamoDB client.
///
/// Each method reads the settings of its part and no others, and fails where one of them is missing or wrong. Only
/// [`Self::keys`] and the verifiers call DynamoDB, which opens the connection that requests go on with; so do the
/// clients and the providers whose settings are in the keys table. Call the keys last, so that a function with a wrong
/// setting stops before it calls anything.
pub struct Start<'a> {
    env: &'a Environment,
    clock: Clock,
    client: Client,
}

impl<'a> Start<'a> {
    /// Makes the client of DynamoDB.
    pub fn new(env: &'a Environment, clock: Clock) -> Result<Self, ConfigError> {
        let client = dynamodb::client(&config::DynamoDb::from_env(env)?);
        Ok(Self { env, clock, client })
    }

    /// Returns the clock.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Returns the users.
    pub fn users(&self) -> Result<Users, ConfigError> {
        let table = config::table_name(self.env)?;
        Ok(Users::new(self.client.clone(), table, self.clock()))
    }

    /// Returns the sessions.
    pub fn sessions(&self) -> Result<Sessions, ConfigError> {
        let table = config::table_name(self.env)?;
        Ok(Sessions::new(self.client.clone(), table, self.clock()))
    }

    /// Returns the registered clients, ready to be authenticated.
    pub async fn clients(&self) -> Result<Clients, StartError> {
        let assertions = Assertions::from_env(self.env, &self.client, &self.clock)?;
        let parse = |env| ready(clients::registrations(&env));
        let stored = self.stored(Group::Clients, parse).await?;
        Ok(Clients::new(stored, assertions))
    }

    /// Returns the providers of the registered clients.
    pub async fn client_providers(&self) -> Result<Stored<ClientProviders>, StartError> {
        let parse = |env| ready(ClientProviders::from_env(&env));
        self.stored(Group::Clients, parse).await
    }

    /// Returns the limits of authenticated clients.
    pub fn limits(&self) -> Result<Limits, ConfigError> {
        Limits::from_env(self.env, &self.client, &self.clock)
    }

    /// Returns the providers whose tokens are accepted, and reads their secrets that ARNs lead to.
    pub async fn providers(&self) -> Result<Stored<Providers>, StartError> {
        let clock = self.clock();
        let secrets = Secrets::new(self.env.clone(), self.clock());
        let parse = move |env| {
            let (clock, secrets) = (clock.clone(), secrets.clone());
            async move {
                let providers = Providers::start(&env, &clock, &secrets)?;
                providers.read_secrets().await?;
                Ok::<_, ProvidersError>(providers)
            }
        };
        self.stored(Group::Providers, parse).await
    }

    /// Parses the settings of `group`, which are read from the keys table only if the environment says so.
    async fn stored<T, E, F>(
        &self,
        group: Group,
        parse: impl Fn(Environment) -> F + Send + Sync + 'static,
    ) -> Result<Stored<T>, StartError>
    where
        E: fmt::Display,
        F: Future<Output = Result<T, E>> + Send + 'static,
        StartError: From<E>,
    {
        if !group.is_stored(self.env)? {
            return Ok(parse(self.env.clone()).await?.into());
        }
        let store = self.settings_store()?;
        let env = self.env.clone();
        // In a box, because most functions start without it.
        Ok(Box::pin(Stored::start(group, store, env, self.clock(), parse)).await?)
    }

    /// Returns the settings in the keys table, without reading them.
    pub fn settings_store(&self) -> Result<SettingsStore, ConfigError> {
        let table = config::keys_table_name(self.env)?;
        Ok(SettingsStore::new(self.client.clone(), table))
    }

    /// Returns the table of keys, without reading it.
    pub fn key_store(&self) -> Result<KeyStore, ConfigError> {
        let table = config::keys_table_name(self.env)?;
        Ok(KeyStore::new(self.client.clone(), table))
    }

    /// Reads the public keys.
    pub async fn keys(&self) -> Result<Keys, StartError> {
        Ok(Keys::start(self.key_store()?, self.clock(), self.env.is_local()).await?)
    }

    /// Reads the public keys, to verify access tokens for Cambio's own routes: those for `TOKEN_AUDIENCE`.
    pub async fn verifier(&self) -> Result<TokenVerifier, StartError> {
        let Issuer { url, audience } = Issuer::from_env(self.env)?;
        self.verifier_for(url, vec![audience.to_string()]).await
    }

    /// Reads the public keys, to verify access tokens for an API of your own: those for one of `AUDIENCES`.
    pub async fn api_verifier(&self) -> Result<TokenVerifier, StartError> {
        let issuer_url = config::issuer_url(self.env)?.into();
        let audiences = config::audiences(self.env)?;
        self.verifier_for(issuer_url, audiences).await
    }

    async fn verifier_for(
        &self,
        issuer_url: Arc<str>,
        audiences: Vec<String>,
    ) -> Result<TokenVerifier, StartError> {
        let keys = self.keys().await?;
        let clock = self.clock();
        Ok(TokenVerifier::new(keys, issuer_url, audiences, clock))
    }
}

/// The reason why a function cannot start. Both of its texts are one line, since `main` returns it.
#[derive(Error)]
pub enum StartError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The settings in the keys table cannot be used.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The providers cannot be set up.
    #[error(transparent)]
    Providers(#[from] ProvidersError),
}

impl fmt::Debug for StartError {
    // `main` prints its error with `Debug`, so that line is what the operator reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
