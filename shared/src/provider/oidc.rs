//! OpenID Connect: ID tokens, verified by signature, `aud` and `azp` (OpenID Connect Core 1.0 §3.1.3.7).

mod keys;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::{Identity, Outbound, ProviderError, SubjectToken, opaque::MAX_SUBJECT, person};
use crate::{
    clock::{Clock, Timestamp},
    config::OidcProvider,
    jws::{self, Audience, ForeignHeader, Inspected, Refused},
    text::hex,
};
use keys::ProviderKeys;

/// The greatest accepted error of a provider's clock.
const LEEWAY: Duration = Duration::from_mins(1);

/// Verifies the ID tokens of one provider.
#[derive(Debug)]
pub(super) struct Oidc {
    config: Arc<OidcProvider>,
    keys: ProviderKeys,
    outbound: Outbound,
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
    #[serde(deserialize_with = "jws::date")]
    exp: Timestamp,
    #[serde(deserialize_with = "jws::date")]
    iat: Timestamp,
    #[serde(default, deserialize_with = "jws::optional_date")]
    nbf: Option<Timestamp>,
    nonce: Option<String>,
    at_hash: Option<String>,
    tid: Option<String>,
    /// All other claims. [`person`] reads them, because a wrong one must not stop a sign-in.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Checks the form of an ID token and returns it with its `iss`, both unverified.
pub(super) fn inspect(
    token: &str,
) -> Result<(Inspected<'_, ForeignHeader>, String), ProviderError> {
    let inspected = jws::inspect::<ForeignHeader>(token).and_then(|inspected| {
        let UnverifiedOrigin { iss } = inspected.unverified()?;
        Ok((inspected, iss))
    });
    inspected.map_err(|_| ProviderError::Rejected("it is not a plain ID token"))
}

impl Oidc {
    /// Makes a verifier for the provider in `config`.
    pub(super) fn new(config: OidcProvider, outbound: &Outbound, clock: Clock) -> Self {
        let outbound = outbound.to(&config.issuer);
        for host in &config.jwks_hosts {
            outbound.allow(host);
        }
        let verify_url = config.verify_url.as_deref().map(Url::parse);
        if let Some(host) = verify_url
            .as_ref()
            .and_then(|url| url.as_ref().ok()?.host_str())
        {
            outbound.allow(host);
        }
        let config = Arc::new(config);
        Self {
            keys: ProviderKeys::new(config.clone(), outbound.clone(), clock.clone()),
            outbound,
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

    /// Verifies the ID token of `subject`, which [`inspect`] read.
    pub(super) async fn verify(
        &self,
        inspected: &Inspected<'_, ForeignHeader>,
        subject: &SubjectToken,
    ) -> Result<Identity, ProviderError> {
        let header = &inspected.header;
        let typ = header.typ.as_deref();
        if typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(ProviderError::Rejected(
                "its typ is not that of an ID token",
            ));
        }
        let claims = match &self.config.verify_url {
            Some(url) => {
                let asked = self.verified_by_provider(url, subject);
                self.outbound.verification(asked).await?
            }
            None => self.verified_by_key(inspected).await?,
        };
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

    /// Returns the claims of an ID token with a valid signature of a key of the provider.
    async fn verified_by_key(
        &self,
        inspected: &Inspected<'_, ForeignHeader>,
    ) -> Result<Claims, ProviderError> {
        const NO_KEY: ProviderError = ProviderError::Rejected(
            "no key, or more than one key, of the provider fits its header",
        );
        let header = &inspected.header;
        if !self.config.algorithms.contains(&header.alg) {
            return Err(ProviderError::Rejected(
                "its algorithm is not configured for the provider",
            ));
        }
        let (kid, alg) = (header.kid.as_deref(), header.alg);
        let key = self.keys.find(kid, alg).await?.ok_or(NO_KEY)?;
        let mut verified = inspected.verify::<Claims>(&key);
        if kid.is_none() && matches!(verified, Err(Refused::Signature)) {
            // The provider may have replaced its only key.
            let key = self.keys.find_anew(kid, alg).await?.ok_or(NO_KEY)?;
            verified = inspected.verify(&key);
        }
        verified.map_err(|refused| {
            ProviderError::Rejected(match refused {
                Refused::Algorithm => "its algorithm is not that of its key",
                Refused::Signature => "its signature is not valid for the provider's keys",
                Refused::Claims => "a required claim is missing, or a claim has another type",
            })
        })
    }

    /// Returns the claims of an ID token that the provider confirms. The token is signed with the app's secret, so
    /// only the provider and the app can verify it.
    async fn verified_by_provider(
        &self,
        url: &str,
        subject: &SubjectToken,
    ) -> Result<Claims, ProviderError> {
        let token = subject.token.expose_secret();
        let client_id = self.config.client_ids.first().map_or("", String::as_str);
        let request = self.outbound.client().post(url);
        let request = request.form(&[("id_token", token), ("client_id", client_id)]);
        let request = request.header("accept", "application/json").build();
        let request = request
            .map_err(|_| ProviderError::unavailable("a URL of the provider is not valid"))?;
        let answer = self.outbound.send_for_person(request).await?;
        match answer.status.as_u16() {
            200 => answer.json(),
            400 | 401 => Err(ProviderError::Rejected("the provider does not confirm it")),
            _ => Err(answer.unexpected("verify_url")),
        }
    }

    fn check(
        &self,
        claims: &Claims,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<(), ProviderError> {
        let refuse = |why| Err(ProviderError::Rejected(why));
        match self.tenant_of(&claims.iss) {
            None => return refuse("its iss is not that of the provider"),
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
            return refuse("its aud names another application");
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
            return refuse("its iat or nbf is in the future");
        }
        if now.saturating_sub(claims.iat) > self.config.max_age.as_secs() {
            return refuse("it is too old; sign in again");
        }
        if nonce.is_some_and(|nonce| !is_nonce(claims.nonce.as_deref(), nonce)) {
            return refuse("its nonce differs from the request's");
        }
        if !is_subject(&claims.sub) {
            return refuse("its sub is not 1 to 255 ASCII characters");
        }
        Ok(())
    }

    fn identity(&self, mut claims: Claims) -> Identity {
        // An address that an administrator of the tenant can set is not verified by the provider.
        let vouches = self.config.tenants.is_empty();
        let profile = person::profile(&mut claims.others, vouches);
        let signed_in_at = person::signed_in_at(&mut claims.others);
        Identity::new(self.config.name.clone(), claims.iss, claims.sub, profile)
            .signed_in(signed_in_at)
    }
}

#[cfg(any(test, fuzzing))]
impl Oidc {
    /// Caches a set, as if the provider had published it.
    pub(super) async fn publish(&self, keys: crate::jwk::KeySet) {
        self.keys.publish(keys).await;
    }

    /// Returns the address of the keys that a discovery document of the provider names.
    pub(super) fn discovered(&self, document: &[u8]) -> Option<String> {
        self.keys.discovered(document)
    }
}

/// Returns whether a signed token can name this subject (OpenID Connect Core 1.0 §2).
pub(super) fn is_subject(subject: &str) -> bool {
    (1..=MAX_SUBJECT).contains(&subject.len()) && subject.is_ascii()
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
    let hex = hex(hash.as_ref());
    let base64url = URL_SAFE_NO_PAD.encode(hash);
    claimed.is_some_and(|claimed| claimed == nonce || claimed == hex || claimed == base64url)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicU64, Ordering::SeqCst},
    };

    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;
    use crate::{
        config::{self, Environment},
        jwk,
        jws::NumericDate,
        provider::{SubjectTokenType, hosts::Hosts, outbound::Timeouts},
    };

    const ISSUER: &str = "https://login.example.com";
    const NOW: Timestamp = 1_700_000_000;

    /// A provider whose one key is known, and whose hosts have no address.
    async fn provider(public_key: &[u8], clock: Clock) -> Oidc {
        let settings = json!({
            "name": "acme", "issuer": ISSUER, "client_ids": ["app"], "algorithms": ["EdDSA", "ES256", "RS256"],
        });
        let provider = without_keys_at(&settings, clock);
        let x = URL_SAFE_NO_PAD.encode(public_key);
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x });
        provider.publish(jwk::usable(&[key])).await;
        provider
    }

    /// A provider of these settings, whose hosts have no address.
    fn without_keys(settings: &Value) -> Oidc {
        without_keys_at(settings, Clock::new(|| NOW))
    }

    fn without_keys_at(settings: &Value, clock: Clock) -> Oidc {
        let settings = json!([settings]).to_string();
        let env = Environment::of([("OIDC_PROVIDERS", settings.as_str())]);
        let config = config::oidc_providers(&env).unwrap().remove(0);
        let lookup = |_| Box::pin(async { Err(io::Error::other("no address")) }) as _;
        let hosts = Hosts::new(Arc::new(lookup), env.is_local());
        let outbound = Outbound::new(clock.clone(), Timeouts::default(), hosts).unwrap();
        Oidc::new(config, &outbound, clock)
    }

    /// Returns the claims of an ID token with these changes (RFC 7396).
    fn claims(changes: &Value) -> Claims {
        let mut claims =
            json!({ "iss": ISSUER, "sub": "ada", "aud": "app", "iat": NOW, "exp": NOW + 300 });
        json_patch::merge(&mut claims, changes);
        serde_json::from_value(claims).unwrap()
    }

    /// Checks the claims of an ID token with these changes, and returns the reason of a refusal.
    fn refusal(provider: &Oidc, changes: &Value, nonce: Option<&str>) -> Option<&'static str> {
        match provider.check(&claims(changes), nonce, NOW) {
            Ok(()) => None,
            Err(ProviderError::Rejected(why)) => Some(why),
            Err(error) => panic!("{error}"),
        }
    }

    async fn verify(provider: &Oidc, token: &str) -> Result<Identity, ProviderError> {
        let (inspected, _) = inspect(token)?;
        let subject = SubjectToken {
            token: token.into(),
            kind: SubjectTokenType::IdToken,
            issuer: None,
            nonce: None,
            access_token: None,
        };
        provider.verify(&inspected, &subject).await
    }

    /// Splits a token into its decoded parts.
    fn decoded(token: &str) -> Option<Vec<Vec<u8>>> {
        let parts = token
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).ok());
        parts.collect()
    }

    /// Pseudo-random numbers (xorshift64), the same in each run.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
        }

        fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
            &all[self.below(all.len())]
        }
    }

    fn flip(bytes: &mut [u8], dice: &mut Dice) {
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
    }

    /// Writes an object with its members in another order, two values swapped, or one more member.
    fn rewrite(json: &[u8], dice: &mut Dice) -> Vec<u8> {
        let object: Map<String, Value> = serde_json::from_slice(json).unwrap();
        let mut members: Vec<(String, Value)> = object.into_iter().collect();
        let (a, b) = (dice.below(members.len()), dice.below(members.len()));
        match dice.below(4) {
            0 => members.swap(a, b),
            1 => {
                let values = (members[a].1.clone(), members[b].1.clone());
                (members[b].1, members[a].1) = values;
            }
            2 => drop(members.remove(a)),
            _ => {
                let names = ["alg", "crit", "jku", "jwk", "kid", "sub", "x5c", "x5t", "é"];
                let values = [
                    json!("none"),
                    json!("HS256"),
                    json!("one"),
                    json!(["exp"]),
                    json!({ "kty": "oct", "k": "AA" }),
                    json!(NOW),
                    json!(null),
                ];
                let member = (
                    (*dice.one_of(&names)).to_owned(),
                    dice.one_of(&values).clone(),
                );
                members.insert(a, member);
            }
        }
        let members = members
            .iter()
            .map(|(name, value)| format!("{}:{value}", json!(name)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(",")).into_bytes()
    }

    fn mutant(token: &str, dice: &mut Dice) -> Vec<u8> {
        let mut parts = decoded(token).unwrap();
        match dice.below(8) {
            0 | 1 => {
                let mut text = token.as_bytes().to_vec();
                flip(&mut text, dice);
                return text;
            }
            2 | 3 => {
                let part = dice.below(3);
                flip(&mut parts[part], dice);
            }
            4 => {
                let (a, b) = (dice.below(3), dice.below(3));
                parts.swap(a, b);
            }
            5 => {
                let part = dice.below(3);
                let keep = dice.below(parts[part].len());
                parts[part].truncate(keep);
            }
            _ => {
                let part = dice.below(2);
                parts[part] = rewrite(&parts[part], dice);
            }
        }
        let parts = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part));
        parts.collect::<Vec<_>>().join(".").into_bytes()
    }

    /// Returns an ID token with this header.
    fn signed(key: &Ed25519KeyPair, header: &Value) -> String {
        let claims = json!({
            "iss": ISSUER, "aud": "app", "sub": "ada", "iat": NOW, "exp": NOW + 300, "name": "Ada",
        });
        let parts = [header, &claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = parts.join(".");
        let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    #[tokio::test]
    async fn a_bad_signature_asks_for_newer_keys_only_if_the_token_names_no_key() {
        let now = Arc::new(AtomicU64::new(NOW));
        let clock = Clock::new({
            let now = now.clone();
            move || now.load(SeqCst)
        });
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let provider = provider(key.public_key().as_ref(), clock).await;
        assert_eq!(provider.name(), "acme");
        let foreign = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        // Keys are read again after 30 seconds. The provider has no address, so this fails.
        now.store(NOW + 31, SeqCst);

        let named = signed(&foreign, &json!({ "alg": "EdDSA", "kid": "one" }));
        let unnamed = signed(&foreign, &json!({ "alg": "EdDSA" }));

        let refused = verify(&provider, &named).await.unwrap_err();
        assert!(matches!(refused, ProviderError::Rejected(_)), "{refused}");
        let asked = verify(&provider, &unnamed).await.unwrap_err();
        assert!(
            matches!(asked, ProviderError::Unavailable { .. }),
            "{asked}"
        );
        // A token of the known key needs no other one.
        let known = signed(&key, &json!({ "alg": "EdDSA" }));
        assert!(verify(&provider, &known).await.is_ok());
    }

    #[tokio::test]
    async fn t13_t22_t29_of_twenty_thousand_mutants_of_an_id_token_none_is_accepted() {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let provider = provider(key.public_key().as_ref(), Clock::new(|| NOW)).await;
        let tokens = [
            signed(
                &key,
                &json!({ "alg": "EdDSA", "kid": "one", "typ": "JWT", "x5t": "AA" }),
            ),
            signed(&key, &json!({ "alg": "EdDSA" })),
        ];
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for token in &tokens {
            assert!(verify(&provider, token).await.is_ok());
            for nth in 0..10_000 {
                let mutant = mutant(token, &mut dice);
                let Ok(mutant) = String::from_utf8(mutant) else {
                    continue;
                };
                let accepted = verify(&provider, &mutant).await.is_ok();
                let is_same = decoded(&mutant) == decoded(token);
                assert!(!accepted || is_same, "{nth}: {mutant}");
            }
        }
    }

    #[test]
    fn a_time_is_a_number_with_or_without_a_fraction() {
        for (json, time) in [
            ("1700000000", Some(NOW)),
            ("1700000000.0", Some(NOW)),
            ("1700000000.5", Some(NOW)),
            ("1700000000.999", Some(NOW)),
            ("1.7e9", Some(NOW)),
            ("17E+8", Some(NOW)),
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("1e300", None),
            ("-1", None),
            ("-0.5", None),
            ("\"1700000000\"", None),
            ("[1700000000]", None),
            ("null", None),
        ] {
            let read = serde_json::from_str::<NumericDate>(json).ok();
            assert_eq!(read.map(|NumericDate(time)| time), time, "{json}");
        }
    }

    #[test]
    fn each_claim_of_an_id_token_has_its_bounds() {
        let provider = without_keys(&json!({
            "name": "acme",
            "issuer": ISSUER,
            "client_ids": ["app", "app2"],
            "trusted_azp": ["helper"],
            "max_age": 600,
        }));
        let expired = "it has expired";
        let early = "its iat or nbf is in the future";
        let other = "its aud names another application";
        let elsewhere = "it was issued to another application";
        let bad_sub = "its sub is not 1 to 255 ASCII characters";
        for (changes, refused) in [
            (json!({}), None),
            (
                json!({ "iss": "https://login.example.org" }),
                Some("its iss is not that of the provider"),
            ),
            (json!({ "aud": "app3" }), Some(other)),
            (json!({ "aud": [] }), Some(other)),
            (json!({ "aud": ["app2"] }), None),
            (json!({ "aud": ["app3"] }), Some(other)),
            (
                json!({ "aud": ["app", "app3"] }),
                Some("it has several audiences and no azp"),
            ),
            (json!({ "aud": ["app3", "app"], "azp": "app" }), None),
            (json!({ "aud": "app", "azp": "app2" }), None),
            (json!({ "aud": "app", "azp": "helper" }), None),
            (json!({ "aud": "app", "azp": "app3" }), Some(elsewhere)),
            (json!({ "exp": NOW - 59 }), None),
            (json!({ "exp": NOW - 60 }), Some(expired)),
            (json!({ "iat": NOW + 60 }), None),
            (json!({ "iat": NOW + 61 }), Some(early)),
            (json!({ "nbf": NOW + 60 }), None),
            (json!({ "nbf": NOW + 61 }), Some(early)),
            (json!({ "iat": NOW - 600 }), None),
            (
                json!({ "iat": NOW - 601 }),
                Some("it is too old; sign in again"),
            ),
            (json!({ "sub": "" }), Some(bad_sub)),
            (json!({ "sub": "s".repeat(255) }), None),
            (json!({ "sub": "s".repeat(256) }), Some(bad_sub)),
            (json!({ "sub": "ä" }), Some(bad_sub)),
        ] {
            assert_eq!(refusal(&provider, &changes, None), refused, "{changes}");
        }
    }

    #[test]
    fn keys_are_at_the_host_of_the_issuer_or_at_one_of_the_settings() {
        let provider = without_keys(&json!({
            "name": "acme",
            "issuer": ISSUER,
            "client_ids": ["app"],
            "jwks_hosts": ["keys.example.net"],
        }));
        for (url, is_allowed) in [
            ("https://login.example.com/keys", true),
            ("https://keys.example.net/keys", true),
            ("https://other.example.com/keys", false),
            ("http://login.example.com/keys", false),
            ("http://keys.example.net/keys", false),
            ("https://login.example.com:8443/keys", false),
            ("https://keys.example.net:8443/keys", false),
            ("https://user@login.example.com/keys", false),
            ("https://:secret@login.example.com/keys", false),
            ("https://user@keys.example.net/keys", false),
            ("https://:secret@keys.example.net/keys", false),
            ("/keys", false),
        ] {
            for (issuer, is_issuer) in [(ISSUER, true), ("https://login.example.org", false)] {
                let document = json!({ "issuer": issuer, "jwks_uri": url }).to_string();
                let expected = (is_allowed && is_issuer).then_some(url);
                let found = provider.discovered(document.as_bytes());
                assert_eq!(found.as_deref(), expected, "{document}");
            }
        }
    }

    #[test]
    fn a_nonce_is_sent_as_it_is_or_as_its_hash() {
        let provider =
            without_keys(&json!({ "name": "acme", "issuer": ISSUER, "client_ids": ["app"] }));
        let hash = digest(&SHA256, b"n-0S6");
        let differs = Some("its nonce differs from the request's");
        for (claimed, refused) in [
            (json!("n-0S6"), None),
            (json!(hex(hash.as_ref())), None),
            (json!(URL_SAFE_NO_PAD.encode(hash)), None),
            (json!("n-0S7"), differs),
            (json!(""), differs),
            (Value::Null, differs),
        ] {
            let changes = json!({ "nonce": claimed });
            assert_eq!(
                refusal(&provider, &changes, Some("n-0S6")),
                refused,
                "{changes}"
            );
            assert_eq!(refusal(&provider, &changes, None), None, "{changes}");
        }
    }

    #[test]
    fn an_issuer_with_tenants_has_those_of_the_settings_and_tid_names_the_same() {
        let provider = without_keys(&json!({
            "name": "entra",
            "issuer": "https://login.example.com/{tenantid}/v2.0",
            "tenants": ["one", "two"],
            "client_ids": ["app"],
        }));
        let (foreign, unlike) = (
            Some("its iss is not that of the provider"),
            Some("its tenant is not allowed"),
        );
        for (tenant, tid, refused) in [
            ("one", json!("one"), None),
            ("two", json!("two"), None),
            ("two", json!("one"), unlike),
            ("one", Value::Null, unlike),
            ("three", json!("three"), foreign),
            ("{tenantid}", json!("{tenantid}"), foreign),
        ] {
            let issuer = format!("https://login.example.com/{tenant}/v2.0");
            let changes = json!({ "iss": issuer, "tid": tid });
            assert_eq!(refusal(&provider, &changes, None), refused, "{changes}");
            assert_eq!(provider.issues(&issuer), refused != foreign, "{issuer}");
        }
    }

    /// OpenID Connect Core 1.0, Appendix A.3.
    #[test]
    fn the_hash_of_an_access_token_is_that_of_the_specification() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        let hash = half_hash(Algorithm::RS256, token);
        assert_eq!(hash.as_deref(), Some("77QmUPtjPfzWtF2AnpK9RQ"));
        for (algorithm, length) in [
            (Algorithm::PS256, 22),
            (Algorithm::ES256, 22),
            (Algorithm::RS384, 32),
            (Algorithm::PS384, 32),
            (Algorithm::ES384, 32),
            (Algorithm::RS512, 43),
            (Algorithm::PS512, 43),
            (Algorithm::EdDSA, 43),
        ] {
            let hash = half_hash(algorithm, token).unwrap();
            assert_eq!(hash.len(), length, "{algorithm:?}");
        }
        assert_eq!(half_hash(Algorithm::HS256, token), None);
    }
}
