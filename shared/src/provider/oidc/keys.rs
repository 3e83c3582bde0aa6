//! The public keys of a provider: found through its discovery document, cached as its headers say, and longer while
//! it is down.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use jsonwebtoken::Algorithm;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use url::Url;

use super::super::{Outbound, ProviderError};
use crate::{
    cached::{Cached, FailedRecently, Lifetime},
    clock::Clock,
    config::OidcProvider,
    jwk::{self, KeySet},
    jws::PublicKey,
};

/// The bounds of the cache lifetime that the set's `Cache-Control` names.
const FRESH_FOR: RangeInclusive<Duration> = Duration::from_mins(5)..=Duration::from_hours(24);
/// The time for which the last good set serves on, once it is no longer fresh, while the provider is down.
const GRACE: Duration = Duration::from_hours(24);
/// The largest number of keys. The largest sets in use have a few dozen.
const MAX_KEYS: usize = 50;
const MAX_JWKS: usize = 150_000;

/// The keys of one provider.
pub(super) struct ProviderKeys {
    config: Arc<OidcProvider>,
    outbound: Outbound,
    keys: Cached<KeySet>,
}

/// The used members of a discovery document (OpenID Connect Discovery 1.0 §3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

impl From<FailedRecently> for ProviderError {
    fn from(_: FailedRecently) -> Self {
        Self::unavailable("the provider's keys could not be read a moment ago")
    }
}

impl ProviderKeys {
    pub(super) fn new(config: Arc<OidcProvider>, outbound: Outbound, clock: Clock) -> Self {
        Self {
            keys: Cached::new(format!("keys of {}", config.name), clock),
            config,
            outbound,
        }
    }

    /// Returns the key named `kid`, or the only key for `alg` if there is no `kid`.
    pub(super) async fn find(
        &self,
        kid: Option<&str>,
        alg: Algorithm,
    ) -> Result<Option<Arc<PublicKey>>, ProviderError> {
        if let Some(key) = self.keys.get(self.read()).await?.find(kid, alg) {
            return Ok(Some(key.clone()));
        }
        self.find_anew(kid, alg).await
    }

    /// Returns the same from a set that was read within the last 30 seconds, because the key may be new.
    pub(super) async fn find_anew(
        &self,
        kid: Option<&str>,
        alg: Algorithm,
    ) -> Result<Option<Arc<PublicKey>>, ProviderError> {
        let keys = self.keys.reload(self.read()).await?;
        Ok(keys.find(kid, alg).cloned())
    }

    /// Caches a set, as if the provider had published it.
    #[cfg(any(test, fuzzing))]
    pub(super) async fn publish(&self, keys: KeySet) {
        let lifetime = Lifetime {
            fresh_for: GRACE,
            usable_for: GRACE,
        };
        let read = async { Ok::<_, ProviderError>((keys, lifetime)) };
        assert!(self.keys.reload(read).await.is_ok());
    }

    async fn read(&self) -> Result<(KeySet, Lifetime), ProviderError> {
        self.outbound.verification(self.load()).await
    }

    async fn load(&self) -> Result<(KeySet, Lifetime), ProviderError> {
        let config = &self.config;
        // For an issuer with tenants, `common` serves the document of all tenants, with the pattern as issuer.
        let base = config.issuer.replace("{tenantid}", "common");
        let base = base.strip_suffix('/').unwrap_or(&base);
        let (discovery, _): (Discovery, _) = self
            .get(&format!("{base}/.well-known/openid-configuration"))
            .await?;
        let jwks_uri = self.jwks_uri(discovery, base)?;
        let (jwks, max_age): (Jwks, _) = self.get(&jwks_uri).await?;
        if jwks.keys.len() > MAX_KEYS {
            return Err(ProviderError::unavailable(
                "the provider publishes too many keys",
            ));
        }
        let keys = jwk::usable(&jwks.keys);
        if keys.is_empty() {
            return Err(ProviderError::unavailable(
                "the provider publishes no usable key",
            ));
        }
        let fresh_for = max_age.unwrap_or_default();
        let fresh_for = fresh_for.clamp(*FRESH_FOR.start(), *FRESH_FOR.end());
        let usable_for = fresh_for + GRACE;
        let lifetime = Lifetime {
            fresh_for,
            usable_for,
        };
        Ok((keys, lifetime))
    }

    /// Returns the address of the keys, if the document is the issuer's and leads to an allowed host.
    fn jwks_uri(&self, discovery: Discovery, base: &str) -> Result<String, ProviderError> {
        let config = &self.config;
        if discovery.issuer != config.issuer {
            return Err(ProviderError::unavailable(
                "the discovery document names another issuer",
            ));
        }
        if !self.may_hold_keys(&discovery.jwks_uri, base) {
            return Err(ProviderError::unavailable(
                "jwks_uri is at a host that is not allowed",
            ));
        }
        Ok(discovery.jwks_uri)
    }

    /// Returns the address of the keys that a discovery document names, as [`Self::load`] reads it.
    #[cfg(any(test, fuzzing))]
    pub(super) fn discovered(&self, document: &[u8]) -> Option<String> {
        let discovery = serde_json::from_slice(document).ok()?;
        self.jwks_uri(discovery, &self.config.issuer).ok()
    }

    /// Returns whether the host is the issuer's, with the same scheme, or one of the settings.
    fn may_hold_keys(&self, url: &str, base: &str) -> bool {
        let (Ok(url), Ok(base)) = (Url::parse(url), Url::parse(base)) else {
            return false;
        };
        let is_own = url.origin() == base.origin();
        let is_named = url.scheme() == "https"
            && url.port().is_none()
            && self
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
        let request = self.outbound.client().get(url);
        let request = request.header("accept", "application/json").build();
        let request = request
            .map_err(|_| ProviderError::unavailable("a URL of the provider is not valid"))?;
        let answer = self.outbound.send_for_app(request).await?;
        if !answer.status.is_success() || !answer.is_json || answer.body.len() > MAX_JWKS {
            return Err(ProviderError::unavailable(format!(
                "the request for the keys was answered with status {} and {} bytes, JSON: {}",
                answer.status,
                answer.body.len(),
                answer.is_json
            )));
        }
        let parsed = serde_json::from_slice(&answer.body);
        let parsed = parsed
            .map_err(|_| ProviderError::unavailable("the JSON does not have the expected form"))?;
        Ok((parsed, answer.max_age))
    }
}

impl fmt::Debug for ProviderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = f.debug_set();
        if let Some(keys) = self.keys.last() {
            set.entries(keys.ids());
        }
        set.finish()
    }
}
