//! The key set in memory: read at start, refreshed while running, usable for a day while the table cannot be reached.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use thiserror::Error;
use tokio::sync::Mutex;

use super::{KeyError, KeySet, KeyStore, PublishedKey, SigningKey};
use crate::{
    cached::{Cached, FailedRecently, Lifetime, Reading},
    clock::{Clock, Timestamp},
    config::AccessTokenTtl,
    dynamodb::StoreError,
    jws::PublicKey,
};

/// The longest time for which the last good set serves while the table cannot be reached, and so the longest after
/// which a function learns of a new key.
pub const GOOD_FOR: Duration = Duration::from_hours(24);
/// Keys are published a day before they sign, so a set of five minutes misses none.
const LIFETIME: Lifetime = Lifetime {
    fresh_for: Duration::from_mins(5),
    usable_for: GOOD_FOR,
};
/// The age at which a set is read again before one of its keys signs, so that a revoked key signs nothing after 30 s.
/// The remaining 10 s are for the rest of the request.
const SIGNS_FOR: Duration = Duration::from_secs(20);

/// The keys are unavailable, so tokens can be neither issued nor verified.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The keys table did not answer, and there is no usable set in memory.
    #[error("the signing keys cannot be read: {0}")]
    Unreachable(#[from] StoreError),
    /// The keys table did not answer a moment ago, and may have a newer set.
    #[error("the signing keys cannot be read: {0}")]
    NotRead(#[from] FailedRecently),
    /// The table has no key that can sign.
    #[error("there is no signing key yet; the function rotate-keys makes one")]
    None,
    /// The key set is empty.
    #[error("the key set has no key that can sign")]
    NoneCurrent,
    /// The private key of a published key is missing.
    #[error("the private key {0} is missing")]
    PrivateMissing(String),
    /// A deployed function found a development key.
    #[error("the key {0} is a development key, which a deployed function refuses")]
    Development(String),
    /// A stored key cannot be used.
    #[error(transparent)]
    Unusable(#[from] KeyError),
}

/// The public keys, ready to verify. Clones share one cache.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    store: KeyStore,
    clock: Clock,
    development_allowed: bool,
    loaded: Cached<Loaded>,
}

/// The key set, ready to verify.
struct Loaded {
    set: KeySet,
    verifying: HashMap<String, Arc<VerifyingKey>>,
}

/// A public key that verifies with its one algorithm.
pub(crate) struct VerifyingKey {
    pub(crate) key: PublicKey,
    /// The time from which no token of the key is valid.
    until: Option<Timestamp>,
    jwk: Jwk,
}

impl Loaded {
    fn new(set: KeySet) -> Result<Self, KeyError> {
        let verifying = set.keys.iter().map(|published| {
            let (jwk, key) = published.read()?;
            let key = VerifyingKey {
                key: PublicKey::new(key, Some(published.key_type.algorithm())),
                until: set.verify_until(published),
                jwk,
            };
            Ok((published.kid.clone(), Arc::new(key)))
        });
        Ok(Self {
            verifying: verifying.collect::<Result<_, KeyError>>()?,
            set,
        })
    }

    fn find(&self, kid: &str, now: Timestamp) -> Option<Arc<VerifyingKey>> {
        self.verifying
            .get(kid)
            .filter(|key| key.until.is_none_or(|until| now < until))
            .cloned()
    }
}

impl Keys {
    /// Reads the keys, which also opens the connection to DynamoDB.
    ///
    /// An unreachable table is not an error here: the next request tries again.
    ///
    /// # Errors
    /// [`KeysError::Development`] in a deployed function, and [`KeysError::Unusable`].
    pub async fn start(
        store: KeyStore,
        clock: Clock,
        development_allowed: bool,
    ) -> Result<Self, KeysError> {
        let keys = Self(Arc::new(Inner {
            store,
            loaded: Cached::new("signing keys", clock.clone()),
            clock,
            development_allowed,
        }));
        match keys.fresh().await {
            Err(error @ (KeysError::Development(_) | KeysError::Unusable(_))) => Err(error),
            Err(error) => {
                tracing::warn!(error.cause = %error, "no signing keys at start; trying again at the next request");
                Ok(keys)
            }
            Ok(_) => Ok(keys),
        }
    }

    /// Returns the public keys as the JWK Set of `jwks.json`.
    ///
    /// # Errors
    /// There are no keys, or they cannot be read.
    pub async fn jwks(&self) -> Result<JwkSet, KeysError> {
        let (loaded, now) = (self.fresh().await?, self.0.clock.now());
        let keys = loaded.set.published(now);
        let jwks = keys.filter_map(|key| loaded.verifying.get(&key.kid));
        Ok(JwkSet {
            keys: jwks.map(|key| key.jwk.clone()).collect(),
        })
    }

    /// Returns the key named `kid`, if it may verify now.
    ///
    /// # Errors
    /// The keys cannot be read, so `kid` is neither known nor unknown.
    pub(crate) async fn find(&self, kid: &str) -> Result<Option<Arc<VerifyingKey>>, KeysError> {
        let now = self.0.clock.now();
        if let Some(key) = self.fresh().await?.find(kid, now) {
            return Ok(Some(key));
        }
        Ok(self.0.loaded.reload(self.read()).await?.find(kid, now))
    }

    async fn current(&self) -> Result<PublishedKey, KeysError> {
        let loaded = self.0.loaded.get_younger_than(SIGNS_FOR, self.read());
        let loaded = loaded.await?;
        let (set, now) = (&loaded.set, self.0.clock.now());
        // No turn has begun: the first key was made by a machine whose clock is ahead.
        let ahead = || set.next(now).filter(|key| key.has_turn());
        let current = set.current(now).or_else(ahead);
        current.cloned().ok_or(KeysError::NoneCurrent)
    }

    async fn fresh(&self) -> Result<Arc<Reading<Loaded>>, KeysError> {
        self.0.loaded.get(self.read()).await
    }

    async fn read(&self) -> Result<(Loaded, Lifetime), KeysError> {
        let set = self.0.store.find_set().await?.ok_or(KeysError::None)?;
        if let Some(key) = set.keys.iter().find(|key| key.is_development())
            && !self.0.development_allowed
        {
            return Err(KeysError::Development(key.kid.clone()));
        }
        Ok((Loaded::new(set)?, LIFETIME))
    }
}

#[cfg(any(test, fuzzing))]
impl Keys {
    /// Makes keys of `set` that call no table, for a clock that stands still.
    pub(crate) async fn holding(
        store: KeyStore,
        set: KeySet,
        clock: Clock,
    ) -> Result<Self, KeysError> {
        let loaded = Cached::new("signing keys", clock.clone());
        let read = async { Ok::<_, KeysError>((Loaded::new(set)?, LIFETIME)) };
        loaded.reload(read).await?;
        Ok(Self(Arc::new(Inner {
            store,
            clock,
            development_allowed: false,
            loaded,
        })))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.0.loaded.last();
        let kids = loaded.iter().flat_map(|loaded| loaded.verifying.keys());
        f.debug_set().entries(kids).finish()
    }
}

/// Signs with the current private key. A function without a `Signer` cannot sign.
#[derive(Clone)]
pub struct Signer {
    keys: Keys,
    signing: Arc<ArcSwapOption<SigningKey>>,
    /// The lock of the one task that reads a private key.
    reading: Arc<Mutex<()>>,
}

impl Signer {
    /// Reads the current private key. As with [`Keys::start`], an unreachable table is not an error here.
    ///
    /// # Errors
    /// The stored key cannot be used.
    pub async fn start(keys: Keys) -> Result<Self, KeysError> {
        let signer = Self {
            keys,
            signing: Arc::default(),
            reading: Arc::default(),
        };
        match signer.current().await {
            Err(error @ (KeysError::Development(_) | KeysError::Unusable(_))) => Err(error),
            Err(error) => {
                tracing::warn!(error.cause = %error, "no key to sign with at start; trying again at the next request");
                Ok(signer)
            }
            Ok(_) => Ok(signer),
        }
    }

    /// Returns a private key to prepare with until [`Self::current`] returns the one that signs; from memory if
    /// possible.
    ///
    /// # Errors
    /// There is no private key, or it cannot be read.
    pub(crate) async fn ready(&self) -> Result<(), KeysError> {
        if self.keys.0.loaded.usable().is_some() && self.held_over().is_some() {
            return Ok(());
        }
        self.current().await.map(drop)
    }

    /// Returns the private key whose turn it is, or the one before while the table cannot be read.
    ///
    /// # Errors
    /// There is no private key, or it cannot be read.
    pub(crate) async fn current(&self) -> Result<Arc<SigningKey>, KeysError> {
        let published = self.keys.current().await?;
        if let Some(signing) = self.held(&published.kid) {
            return Ok(signing);
        }
        let _reading = match self.reading.try_lock() {
            Ok(reading) => reading,
            Err(_) => match self.held_over() {
                Some(before) => return Ok(before),
                None => self.reading.lock().await,
            },
        };
        if let Some(signing) = self.held(&published.kid) {
            return Ok(signing);
        }
        match self.read(&published).await {
            Ok(signing) => {
                self.signing.store(Some(Arc::clone(&signing)));
                Ok(signing)
            }
            Err(error) => {
                let before = self.held_over().ok_or(error)?;
                tracing::warn!(
                    kid = published.kid,
                    "signing key not read; using the one before"
                );
                Ok(before)
            }
        }
    }

    async fn read(&self, published: &PublishedKey) -> Result<Arc<SigningKey>, KeysError> {
        let private = self.keys.0.store.find_private(&published.kid).await?;
        let private = private.ok_or_else(|| KeysError::PrivateMissing(published.kid.clone()))?;
        Ok(Arc::new(SigningKey::parse(&private)?))
    }

    fn held(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.signing
            .load_full()
            .filter(|signing| signing.kid == kid)
    }

    /// Returns the previous key, if tokens that it signs now stay valid for their lifetime.
    fn held_over(&self) -> Option<Arc<SigningKey>> {
        let last_needed = self.keys.0.clock.now() + AccessTokenTtl::MAX.as_secs();
        let loaded = self.keys.0.loaded.last()?;
        self.signing
            .load_full()
            .filter(|signing| loaded.find(&signing.kid, last_needed).is_some())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}
