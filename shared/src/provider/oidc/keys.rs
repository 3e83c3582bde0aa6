//! A provider's public keys: found through its discovery document, kept as long as it says, and longer while it is down.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use url::Url;

use super::super::{Outbound, ProviderError};
use crate::{
    clock::{Clock, Timestamp},
    config::OidcProvider,
    jwk::{self, PublicKey},
};

/// A set is read again after as long as its `Cache-Control` says, within these bounds.
const FRESH_FOR: std::ops::RangeInclusive<u64> = 5 * 60..=24 * 60 * 60;
/// However many tokens with unknown key ids arrive, the provider is asked no more often than this.
const RELOAD_EVERY: u64 = 30;
/// How long the last good set serves on, once it is no longer fresh, while the provider is down.
const GRACE: u64 = 24 * 60 * 60;
/// The largest sets in use have a few dozen keys.
const MAX_KEYS: usize = 50;
const MAX_JWKS: usize = 150_000;

/// The keys of one provider. Clones share one cache.
#[derive(Clone)]
pub(super) struct ProviderKeys(Arc<Cache>);

struct Cache {
    config: Arc<OidcProvider>,
    outbound: Outbound,
    clock: Clock,
    loaded: ArcSwapOption<Loaded>,
    /// When a reload was last tried. Holding it is what makes a reload the only one.
    last_try: Mutex<Option<Timestamp>>,
}

struct Loaded {
    at: Timestamp,
    fresh_for: u64,
    keys: BTreeMap<String, Arc<PublicKey>>,
}

/// The part of a discovery document that we need (OpenID Connect Discovery 1.0 §3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl Loaded {
    /// Whether the provider need not be asked.
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.is_younger_than(self.fresh_for, now)
    }

    /// Whether it serves while the provider cannot be asked.
    fn is_good(&self, now: Timestamp) -> bool {
        self.is_younger_than(self.fresh_for + GRACE, now)
    }

    /// Its age, unless the clock went backwards.
    fn is_younger_than(&self, seconds: u64, now: Timestamp) -> bool {
        now.checked_sub(self.at).is_some_and(|age| age < seconds)
    }
}

impl ProviderKeys {
    pub(super) fn new(config: Arc<OidcProvider>, outbound: Outbound, clock: Clock) -> Self {
        Self(Arc::new(Cache {
            config,
            outbound,
            clock,
            loaded: ArcSwapOption::empty(),
            last_try: Mutex::new(None),
        }))
    }

    /// The key named `kid`, if the provider has one.
    pub(super) async fn find(&self, kid: &str) -> Result<Option<Arc<PublicKey>>, ProviderError> {
        if let Some(key) = self.fresh().await?.keys.get(kid) {
            return Ok(Some(key.clone()));
        }
        // It may have been published a moment ago.
        let last_try = self.0.last_try.lock().await;
        Ok(self.reload(last_try).await?.keys.get(kid).cloned())
    }

    async fn fresh(&self) -> Result<Arc<Loaded>, ProviderError> {
        let now = self.0.clock.now();
        let Some(loaded) = self
            .0
            .loaded
            .load_full()
            .filter(|loaded| loaded.is_good(now))
        else {
            let last_try = self.0.last_try.lock().await;
            return self.reload(last_try).await;
        };
        if loaded.is_fresh(now) {
            return Ok(loaded);
        }
        let Ok(last_try) = self.0.last_try.try_lock() else {
            return Ok(loaded);
        };
        Ok(self.reload(last_try).await.unwrap_or_else(|error| {
            tracing::warn!(provider = self.0.config.name, error.cause = %error, "keys not refreshed; going on with the last good ones");
            loaded
        }))
    }

    /// Reads the keys again, unless that was tried a moment ago; `last_try` proves that nobody else does.
    async fn reload(
        &self,
        mut last_try: MutexGuard<'_, Option<Timestamp>>,
    ) -> Result<Arc<Loaded>, ProviderError> {
        let now = self.0.clock.now();
        let is_recent = |at: Timestamp| now.checked_sub(at).is_some_and(|age| age < RELOAD_EVERY);
        let loaded = self
            .0
            .loaded
            .load_full()
            .filter(|loaded| loaded.is_good(now));
        // Without a good set each request tries: the circuit breaker keeps that within bounds.
        if let Some(loaded) = loaded
            && last_try.is_some_and(is_recent)
        {
            return if is_recent(loaded.at) {
                Ok(loaded)
            } else {
                // What is not in the last good set may be in the next: that is unknown, and not "no".
                Err(ProviderError::unavailable(
                    "its keys could not be read a moment ago",
                ))
            };
        }
        *last_try = Some(now);
        let loaded = Arc::new(self.0.outbound.verification(self.load(now)).await?);
        self.0.loaded.store(Some(loaded.clone()));
        Ok(loaded)
    }

    async fn load(&self, now: Timestamp) -> Result<Loaded, ProviderError> {
        let config = &self.0.config;
        // Where an issuer has tenants, `common` has the document of all of them, with the pattern as its issuer.
        let base = config.issuer.replace("{tenantid}", "common");
        let base = base.strip_suffix('/').unwrap_or(&base);
        let (discovery, _): (Discovery, _) = self
            .get(&format!("{base}/.well-known/openid-configuration"))
            .await?;
        if discovery.issuer != config.issuer {
            return Err(ProviderError::unavailable(
                "its discovery document is another issuer's",
            ));
        }
        if !self.may_hold_keys(&discovery.jwks_uri, base) {
            return Err(ProviderError::unavailable(
                "its keys are at a host that is not allowed",
            ));
        }
        let (jwks, fresh_for): (Jwks, _) = self.get(&discovery.jwks_uri).await?;
        if jwks.keys.len() > MAX_KEYS {
            return Err(ProviderError::unavailable(
                "it publishes more keys than anybody needs",
            ));
        }
        let keys = jwk::usable(&jwks.keys);
        if keys.is_empty() {
            return Err(ProviderError::unavailable(
                "it publishes no key that can be used",
            ));
        }
        let fresh_for = fresh_for.map_or(0, |duration| duration.as_secs());
        Ok(Loaded {
            at: now,
            fresh_for: fresh_for.clamp(*FRESH_FOR.start(), *FRESH_FOR.end()),
            keys,
        })
    }

    /// The issuer's own host, over the same protocol, or one that the settings name.
    fn may_hold_keys(&self, url: &str, base: &str) -> bool {
        let (Ok(url), Ok(base)) = (Url::parse(url), Url::parse(base)) else {
            return false;
        };
        let is_own = url.origin() == base.origin();
        let is_named = url.scheme() == "https"
            && url.port().is_none()
            && self
                .0
                .config
                .jwks_hosts
                .iter()
                .any(|host| url.host_str() == Some(host));
        (is_own || is_named) && url.username().is_empty() && url.password().is_none()
    }

    async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
    ) -> Result<(T, Option<Duration>), ProviderError> {
        let request = self.0.outbound.client().get(url);
        let request = request.header("accept", "application/json").build();
        let request = request.map_err(|_| ProviderError::unavailable("its URL is none"))?;
        let answer = self.0.outbound.send_for_app(request).await?;
        if !answer.status.is_success() || !answer.is_json || answer.body.len() > MAX_JWKS {
            return Err(ProviderError::unavailable(format!(
                "its keys were asked for, and the answer was {} with {} bytes, JSON: {}",
                answer.status,
                answer.body.len(),
                answer.is_json
            )));
        }
        let parsed = serde_json::from_slice(&answer.body);
        let parsed =
            parsed.map_err(|_| ProviderError::unavailable("its JSON is not what it should be"))?;
        Ok((parsed, answer.max_age))
    }
}

impl fmt::Debug for ProviderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = f.debug_set();
        if let Some(loaded) = self.0.loaded.load_full() {
            set.entries(loaded.keys.keys());
        }
        set.finish()
    }
}
