//! The keys in memory: read at start, kept fresh while running, good for a day when the table cannot be reached.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use jsonwebtoken::{
    DecodingKey, EncodingKey,
    jwk::{Jwk, JwkSet},
};
use thiserror::Error;
use tokio::sync::{Mutex, MutexGuard};

use super::{KeyError, KeySet, KeyStore, KeyType, PublishedKey};
use crate::{
    clock::{Clock, Timestamp},
    config::AccessTokenTtl,
    dynamodb::StoreError,
};

/// A set of this age is read again. Keys are published a day before they sign, so this misses none.
const FRESH_FOR: u64 = 5 * 60;
/// A set of this age is read again before a key of it signs, so that a revoked key signs nothing after 30 s. The rest of the
/// 30 s is what a request may take from there on.
const SIGNS_FOR: u64 = 20;
/// However many tokens with unknown key ids arrive, the table is asked no more often than this.
const RELOAD_EVERY: u64 = 30;
/// How long the last good set serves while the table cannot be reached, in seconds. Who reads the set late learns of a key
/// that much after it was published.
pub const GOOD_FOR: u64 = 24 * 60 * 60;

/// The keys cannot be had; whoever needed one cannot tell good from bad.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The keys table did not answer, and there is no good set to go on with.
    #[error("the signing keys cannot be read: {0}")]
    Unreachable(#[from] StoreError),
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

/// Our public keys, ready to verify. Clones share one cache.
#[derive(Clone)]
pub struct Keys(Arc<Cache>);

struct Cache {
    store: KeyStore,
    clock: Clock,
    development_allowed: bool,
    loaded: ArcSwap<Loaded>,
    /// The last reload that was tried. Holding it is what makes a reload the only one.
    last_try: Mutex<Option<Try>>,
}

/// A reload that was tried.
struct Try {
    at: Timestamp,
    succeeded: bool,
}

/// One reading of the key set.
#[derive(Default)]
struct Loaded {
    at: Option<Timestamp>,
    set: KeySet,
    verifying: HashMap<String, Arc<VerifyingKey>>,
}

/// One public key, bound to its algorithm.
pub(crate) struct VerifyingKey {
    pub(crate) key_type: KeyType,
    pub(crate) key: DecodingKey,
    /// Nothing that the key signed is valid from this time on.
    until: Option<Timestamp>,
    jwk: Jwk,
}

impl Loaded {
    fn new(set: KeySet, at: Timestamp) -> Result<Self, KeyError> {
        let verifying = set.keys.iter().map(|published| {
            let (jwk, key) = published.read()?;
            let key = VerifyingKey {
                key_type: published.key_type,
                key,
                until: set.verify_until(published),
                jwk,
            };
            Ok((published.kid.clone(), Arc::new(key)))
        });
        Ok(Self {
            at: Some(at),
            verifying: verifying.collect::<Result<_, KeyError>>()?,
            set,
        })
    }

    /// Its age, if it was ever read; a clock that went backwards makes it infinitely old.
    fn is_younger_than(&self, seconds: u64, now: Timestamp) -> bool {
        self.at
            .and_then(|at| now.checked_sub(at))
            .is_some_and(|age| age < seconds)
    }

    /// The last good set, where a fresh one cannot be had.
    fn instead_of(self: Arc<Self>, error: &KeysError) -> Arc<Self> {
        tracing::warn!(error.cause = %error, "signing keys not refreshed; going on with the last good ones");
        self
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
        let keys = Self(Arc::new(Cache {
            store,
            clock,
            development_allowed,
            loaded: ArcSwap::default(),
            last_try: Mutex::new(None),
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
        let last_try = self.0.last_try.lock().await;
        Ok(self.reload(last_try, RELOAD_EVERY).await?.find(kid, now))
    }

    async fn current(&self) -> Result<PublishedKey, KeysError> {
        let loaded = self.fresh_enough_to_sign().await?;
        let (set, now) = (&loaded.set, self.0.clock.now());
        // Where it is nobody's turn yet, a key was made a moment ago by a clock that is ahead of ours.
        let ahead = || set.next(now).filter(|key| key.has_turn());
        let current = set.current(now).or_else(ahead);
        current.cloned().ok_or(KeysError::NoneCurrent)
    }

    /// A set that is fresh, or the last good one while a fresh one is being read or cannot be had.
    async fn fresh(&self) -> Result<Arc<Loaded>, KeysError> {
        let loaded = self.0.loaded.load_full();
        let now = self.0.clock.now();
        if loaded.is_younger_than(FRESH_FOR, now) {
            return Ok(loaded);
        }
        if !loaded.is_younger_than(GOOD_FOR, now) {
            let last_try = self.0.last_try.lock().await;
            return self.reload(last_try, RELOAD_EVERY).await;
        }
        let Ok(last_try) = self.0.last_try.try_lock() else {
            return Ok(loaded);
        };
        let reloaded = self.reload(last_try, RELOAD_EVERY).await;
        Ok(reloaded.unwrap_or_else(|error| loaded.instead_of(&error)))
    }

    /// A set of the last [`SIGNS_FOR`] seconds, or the last good one while none can be had. While one is being read, this waits
    /// for it: what it signed with the one before could be refused.
    async fn fresh_enough_to_sign(&self) -> Result<Arc<Loaded>, KeysError> {
        let loaded = self.0.loaded.load_full();
        let now = self.0.clock.now();
        if loaded.is_younger_than(SIGNS_FOR, now) {
            return Ok(loaded);
        }
        let last_try = self.0.last_try.lock().await;
        match self.reload(last_try, SIGNS_FOR).await {
            Err(error) if loaded.is_younger_than(GOOD_FOR, now) => Ok(loaded.instead_of(&error)),
            reloaded => reloaded,
        }
    }

    /// Reads the set again, unless that was tried within the last `every` seconds; `last_try` proves that nobody else does.
    async fn reload(
        &self,
        mut last_try: MutexGuard<'_, Option<Try>>,
        every: u64,
    ) -> Result<Arc<Loaded>, KeysError> {
        let loaded = self.0.loaded.load_full();
        let now = self.0.clock.now();
        // Without a good set each request tries: a failure is not cached.
        if loaded.is_younger_than(GOOD_FOR, now)
            && let Some(last) = last_try.as_ref()
            && now.checked_sub(last.at).is_some_and(|age| age < every)
        {
            // What is not in the last good set may be in the table: that is unknown, and not "no".
            return if last.succeeded {
                Ok(loaded)
            } else {
                Err(StoreError::Unavailable("the last try failed a moment ago".to_owned()).into())
            };
        }
        let reading = self.read(now).await;
        *last_try = Some(Try {
            at: now,
            succeeded: reading.is_ok(),
        });
        let reloaded = reading?;
        self.0.loaded.store(Arc::clone(&reloaded));
        Ok(reloaded)
    }

    async fn read(&self, now: Timestamp) -> Result<Arc<Loaded>, KeysError> {
        let set = self.0.store.find_set().await?.ok_or(KeysError::None)?;
        if let Some(key) = set.keys.iter().find(|key| key.is_development())
            && !self.0.development_allowed
        {
            return Err(KeysError::Development(key.kid.clone()));
        }
        Ok(Arc::new(Loaded::new(set, now)?))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.0.loaded.load();
        f.debug_set().entries(loaded.verifying.keys()).finish()
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
        let (loaded, now) = (self.keys.0.loaded.load(), self.keys.0.clock.now());
        if loaded.is_younger_than(GOOD_FOR, now) && self.held_over().is_some() {
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
        let loaded = self.keys.0.loaded.load();
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
