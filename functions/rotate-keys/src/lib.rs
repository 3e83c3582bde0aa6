//! Makes the signing keys. So far: the first one, where there is none.

use shared::{
    clock::Clock,
    config::{self, Environment},
    dynamodb::{self, StoreError},
    keys::{DEVELOPMENT_PREFIX, KeyError, KeyStore, PrivateKey, SigningAlgorithm},
    start::StartError,
};
use thiserror::Error;

/// What this function needs, and nothing else.
#[derive(Clone, Debug)]
pub struct RotateKeys {
    keys: KeyStore,
    algorithm: SigningAlgorithm,
    kid_prefix: &'static str,
    clock: Clock,
}

/// Why the keys could not be seen to.
#[derive(Debug, Error)]
pub enum RotateKeysError {
    /// The keys table cannot be used; nothing is half done, and the next run tries again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl RotateKeys {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn new(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let client = dynamodb::client(&config::DynamoDb::from_env(env)?);
        Ok(Self {
            keys: KeyStore::new(client, config::keys_table_name(env)?),
            algorithm: config::signing_algorithm(env)?,
            // So that a key that leaves a developer's machine is known for what it is.
            kid_prefix: if env.is_local() {
                DEVELOPMENT_PREFIX
            } else {
                ""
            },
            clock,
        })
    }

    /// Sees to it that there is a key to sign with. Safe to repeat, and to run many times at once.
    ///
    /// Answers whether this run made the key.
    ///
    /// # Errors
    /// The table cannot be used, or no key could be made.
    pub async fn run(&self) -> Result<bool, RotateKeysError> {
        if self.keys.find_set().await?.is_some() {
            return Ok(false);
        }
        let key = PrivateKey::generate(self.algorithm, self.kid_prefix)?;
        // Nobody can have cached a set before the first one, so the first key signs at once.
        let published = key.publish(self.clock.now())?;
        let made = self.keys.create_first(&key, published).await?;
        if made {
            tracing::info!(kid = key.kid, "made the first signing key");
        }
        Ok(made)
    }
}
