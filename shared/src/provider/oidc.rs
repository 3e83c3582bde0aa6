//! OpenID Connect: ID tokens, verified by signature, `aud` and `azp` (OpenID Connect Core 1.0 §3.1.3.7).

mod keys;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use super::{Email, EmailAnswer, Identity, Outbound, Profile, ProviderError, SubjectToken};
use crate::{
    clock::{Clock, Timestamp},
    config::OidcProvider,
    jws::{self, Audience, Header, Refused},
};
use keys::ProviderKeys;

/// The greatest accepted error of a provider's clock.
const LEEWAY: Duration = Duration::from_mins(1);

/// Verifies the ID tokens of one provider.
#[derive(Debug)]
pub(super) struct Oidc {
    config: Arc<OidcProvider>,
    keys: ProviderKeys,
    clock: Clock,
}

/// The unverified claim by which the provider is chosen. The provider then verifies the token.
#[derive(Deserialize)]
struct UnverifiedOrigin {
    iss: String,
}

/// The claims of an ID token.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: Timestamp,
    iat: Timestamp,
    nbf: Option<Timestamp>,
    nonce: Option<String>,
    at_hash: Option<String>,
    tid: Option<String>,
    /// The time of the authentication (OpenID Connect Core 1.0 §2). The claim is optional, so a value that is not a
    /// time is ignored.
    auth_time: Option<Value>,
    name: Option<String>,
    preferred_username: Option<String>,
    email: Option<String>,
    #[serde(default)]
    email_verified: Flag,
    picture: Option<String>,
}

/// A boolean, which Apple writes as text.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Flag {
    #[default]
    Missing,
    Bool(bool),
    Text(String),
}

impl Flag {
    fn is_true(&self) -> bool {
        match self {
            Self::Missing => false,
            Self::Bool(value) => *value,
            Self::Text(text) => text == "true",
        }
    }
}

/// Checks the form of an ID token and returns its header and its `iss`, both unverified.
pub(super) fn inspect(token: &str) -> Result<(Header, String), ProviderError> {
    let inspected = jws::inspect::<UnverifiedOrigin>(token);
    let inspected = inspected.map_err(|_| ProviderError::Rejected("it is not a plain ID token"));
    inspected.map(|(header, origin)| (header, origin.iss))
}

impl Oidc {
    /// Makes a verifier for the provider in `config`.
    pub(super) fn new(config: OidcProvider, outbound: &Outbound, clock: Clock) -> Self {
        let outbound = outbound.to(&config.issuer);
        for host in &config.jwks_hosts {
            outbound.allow(host);
        }
        let config = Arc::new(config);
        Self {
            keys: ProviderKeys::new(config.clone(), outbound, clock.clone()),
            config,
            clock,
        }
    }

    /// Returns the name that the identities of the provider go by.
    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// Returns whether an ID token with this `iss` is the provider's.
    pub(super) fn issues(&self, issuer: &str) -> bool {
        self.tenant_of(issuer).is_some()
    }

    /// Returns the tenant in an issuer of this provider; empty if the provider has one issuer.
    fn tenant_of<'a>(&'a self, issuer: &str) -> Option<&'a str> {
        let is = |tenant: &str| self.config.issuer.replace("{tenantid}", tenant) == issuer;
        if self.config.tenants.is_empty() {
            return is("").then_some("");
        }
        let tenants = self.config.tenants.iter().map(String::as_str);
        tenants.into_iter().find(|tenant| is(tenant))
    }

    /// Verifies an ID token that [`inspect`] read `header` from.
    pub(super) async fn verify(
        &self,
        header: &Header,
        subject: &SubjectToken,
    ) -> Result<Identity, ProviderError> {
        const REFUSED: ProviderError =
            ProviderError::Rejected("its signature is not valid for the provider's keys");
        let token = subject.token.expose_secret();
        let typ = header.typ.as_deref();
        if typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(ProviderError::Rejected(
                "its typ is not that of an ID token",
            ));
        }
        if !self.config.algorithms.contains(&header.alg) {
            return Err(ProviderError::Rejected(
                "its algorithm is not configured for the provider",
            ));
        }
        let key = self.keys.find(&header.kid).await?.ok_or(REFUSED)?;
        let verified = jws::verify::<Claims>(token, header, &key);
        let claims = verified.map_err(|refused| match refused {
            Refused::Algorithm => ProviderError::Rejected("its algorithm is not that of its key"),
            Refused::Signature | Refused::Claims => REFUSED,
        })?;
        self.check(&claims, subject.nonce.as_deref(), self.clock.now())?;
        if let Some(access_token) = &subject.access_token {
            let hash = half_hash(header.alg, access_token.expose_secret());
            if hash.is_none() || claims.at_hash != hash {
                return Err(ProviderError::Rejected(
                    "its at_hash does not match the access token",
                ));
            }
        }
        Ok(self.identity(claims))
    }

    fn check(
        &self,
        claims: &Claims,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<(), ProviderError> {
        let refuse = |why| Err(ProviderError::Rejected(why));
        match self.tenant_of(&claims.iss) {
            None => return refuse("its iss is another issuer"),
            Some("") => {}
            // Both contain the tenant, which must be the same.
            Some(tenant) if claims.tid.as_deref() == Some(tenant) => {}
            Some(_) => return refuse("its tenant is not allowed"),
        }
        let is_ours = |client: &String| self.config.client_ids.contains(client);
        let (for_us, is_one) = match &claims.aud {
            Audience::One(one) => (is_ours(one), true),
            Audience::Several(all) => (all.iter().any(is_ours), all.len() == 1),
        };
        if !for_us {
            return refuse("its aud is another application");
        }
        match &claims.azp {
            Some(azp) if is_ours(azp) || self.config.trusted_azp.contains(azp) => {}
            Some(_) => return refuse("it was issued to another application"),
            None if is_one => {}
            None => return refuse("it has several audiences and no azp"),
        }
        if now >= claims.exp.saturating_add(LEEWAY.as_secs()) {
            return refuse("it has expired");
        }
        let latest = now + LEEWAY.as_secs();
        if claims.iat > latest || claims.nbf.is_some_and(|nbf| nbf > latest) {
            return refuse("its iat is in the future");
        }
        if now.saturating_sub(claims.iat) > self.config.max_age.as_secs() {
            return refuse("it is too old; sign in again");
        }
        if nonce.is_some_and(|nonce| !is_nonce(claims.nonce.as_deref(), nonce)) {
            return refuse("its nonce differs from the request's");
        }
        // OpenID Connect Core 1.0 §2.
        let fits = (1..=255).contains(&claims.sub.len()) && claims.sub.is_ascii();
        if !fits {
            return refuse("it has no sub");
        }
        Ok(())
    }

    fn identity(&self, claims: Claims) -> Identity {
        // An address that an administrator of the tenant can set is not verified by the provider.
        let vouches = self.config.tenants.is_empty();
        let email = match claims.email {
            None => EmailAnswer::NotTold,
            Some(address) => EmailAnswer::Some(Email {
                verified: vouches && claims.email_verified.is_true(),
                address,
            }),
        };
        let profile = Profile {
            name: claims.name,
            username: claims.preferred_username,
            email,
            picture: claims.picture,
        };
        // Not `iat`, the time of issue: the sign-in at the provider may be weeks older.
        let signed_in_at = claims.auth_time.as_ref().and_then(Value::as_u64);
        Identity::new(self.config.name.clone(), claims.iss, claims.sub, profile)
            .signed_in(signed_in_at)
    }
}

/// Returns the left half of a token's hash (OpenID Connect Core 1.0 §3.1.3.6); `None` for an algorithm without a
/// usual hash.
fn half_hash(algorithm: Algorithm, token: &str) -> Option<String> {
    let hash = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => &SHA256,
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &SHA384,
        // Ed25519 uses the hash of its own signatures.
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &SHA512,
        _ => return None,
    };
    let hash = digest(hash, token.as_bytes());
    let half = &hash.as_ref()[..hash.as_ref().len() / 2];
    Some(URL_SAFE_NO_PAD.encode(half))
}

/// Returns whether the nonce equals the expected one or its SHA-256 in hex or base64url, which native apps send to
/// the provider.
fn is_nonce(claimed: Option<&str>, nonce: &str) -> bool {
    let hash = digest(&SHA256, nonce.as_bytes());
    let hex: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let base64url = URL_SAFE_NO_PAD.encode(hash);
    claimed.is_some_and(|claimed| claimed == nonce || claimed == hex || claimed == base64url)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenID Connect Core 1.0, Appendix A.3.
    #[test]
    fn the_hash_of_an_access_token_is_that_of_the_specification() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        let hash = half_hash(Algorithm::RS256, token);
        assert_eq!(hash.as_deref(), Some("77QmUPtjPfzWtF2AnpK9RQ"));
        assert_eq!(half_hash(Algorithm::EdDSA, token).unwrap().len(), 43);
        assert_eq!(half_hash(Algorithm::HS256, token), None);
    }
}
