//! The keys in memory: read at start, kept fresh while running, good for a day when the table cannot be reached.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{
    EncodingKey,
    jwk::{Jwk, JwkSet},
};
use thiserror::Error;
use tokio::sync::Mutex;

use super::{KeyError, KeySet, KeyStore, KeyType, PublishedKey};
use crate::{
    cached::{Cached, FailedRecently, Lifetime, Reading},
    clock::{Clock, Timestamp},
    config::AccessTokenTtl,
    dynamodb::StoreError,
    jwk::PublicKey,
};

/// The longest time for which the last good set serves while the table cannot be reached, and so the longest after
/// which a function learns of a new key.
pub const GOOD_FOR: Duration = Duration::from_hours(24);
/// Keys are published a day before they sign, so a set of five minutes misses none.
const LIFETIME: Lifetime = Lifetime {
    fresh_for: Duration::from_mins(5),
    usable_for: GOOD_FOR,
};
/// A set of this age is read again before a key of it signs, so that a revoked key signs nothing after 30 s. The rest of the
/// 30 s is what a request may take from there on.
const SIGNS_FOR: Duration = Duration::from_secs(20);

/// The keys cannot be had; whoever needed one cannot tell good from bad.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The keys table did not answer, and there is no good set to go on with.
    #[error("the signing keys cannot be read: {0}")]
    Unreachable(#[from] StoreError),
    /// The keys table did not answer a moment ago, and may have a newer set.
    #[error("the signing keys cannot be read: {0}")]
    NotRead(#[from] FailedRecently),
    /// The table answers, and has no key that could sign.
    #[error("there is no signing key yet; the function rotate-keys makes one")]
    None,
    /// There is a key set, and no key in it.
    #[error("the key set has no key that could sign")]
    NoneCurrent,
    /// A published key has no private half.
    #[error("the private key {0} is missing")]
    PrivateMissing(String),
    /// A key from a developer's machine has no business in a deployed function.
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
    /// Nothing that the key signed is valid from this time on.
    until: Option<Timestamp>,
    jwk: Jwk,
}

impl Loaded {
    fn new(set: KeySet) -> Result<Self, KeyError> {
        let verifying = set.keys.iter().map(|published| {
            let (jwk, key) = published.read()?;
            let key = VerifyingKey {
                key: PublicKey::new(key, published.key_type.algorithm()),
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
    /// A table that cannot be reached now is no error: the next request tries again.
    ///
    /// # Errors
    /// [`KeysError::Development`] where such keys are not allowed, and [`KeysError::Unusable`].
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

    /// The public keys as a JWK Set, as `jwks.json` shows them.
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

    /// The key named `kid`, if it may verify now.
    ///
    /// # Errors
    /// The keys cannot be read, so nothing can be said of `kid`.
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
        // Where it is nobody's turn yet, a key was made a moment ago by a clock that is ahead of ours.
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

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.0.loaded.last();
        let kids = loaded.iter().flat_map(|loaded| loaded.verifying.keys());
        f.debug_set().entries(kids).finish()
    }
}

/// Signs with the current private key. A function that does not construct one cannot sign.
#[derive(Clone)]
pub struct Signer {
    keys: Keys,
    signing: Arc<ArcSwapOption<SigningKey>>,
    /// Whoever holds this reads a private key for everybody.
    reading: Arc<Mutex<()>>,
}

/// The private key that signs now.
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pub(crate) key_type: KeyType,
    pub(crate) key: EncodingKey,
}

impl Signer {
    /// Reads the current private key. As with [`Keys::start`], an outage now is no error.
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

    /// A private key to go on with until [`Self::current`] says which one signs, and without a call where one is at hand.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(crate) async fn ready(&self) -> Result<(), KeysError> {
        if self.keys.0.loaded.usable().is_some() && self.held_over().is_some() {
            return Ok(());
        }
        self.current().await.map(drop)
    }

    /// The private key whose turn it is; or the one before, while the table does not give it out.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
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
                    "signing key not read; going on with the one before"
                );
                Ok(before)
            }
        }
    }

    async fn read(&self, published: &PublishedKey) -> Result<Arc<SigningKey>, KeysError> {
        let private = self.keys.0.store.find_private(&published.kid).await?;
        let private = private.ok_or_else(|| KeysError::PrivateMissing(published.kid.clone()))?;
        Ok(Arc::new(SigningKey {
            kid: private.kid.clone(),
            key_type: private.key_type,
            key: private.encoding_key()?,
        }))
    }

    fn held(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.signing
            .load_full()
            .filter(|signing| signing.kid == kid)
    }

    /// The key that signed so far, if whatever it signs now will be accepted for as long as it lives.
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
