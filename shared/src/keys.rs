//! Cambio's signing keys: the published set, the times of each key, and the private keys.
//!
//! The keys table holds one item `KEYSET` with every public key and its times, and one item `KEY#<kid>` for each
//! private key, so that IAM can restrict private keys to the signing function. The times in the set alone decide
//! which key signs and which keys verify.

mod cache;
mod settings;
mod signing;
mod store;

pub use cache::{GOOD_FOR, Keys, KeysError, Signer};
pub use settings::KeySettings;
pub(crate) use signing::SigningKey;
pub use store::KeyStore;

use std::time::Duration;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{clock::Timestamp, config::AccessTokenTtl};

/// The prefix of the `kid` of development keys, which a deployed function refuses.
pub const DEVELOPMENT_PREFIX: &str = "dev-";

/// The `sign_from` of a key without a turn, which waits until the published files contain it.
pub const NO_TURN: Timestamp = Timestamp::MAX;

/// The length of a `kid`: a SHA-256 in base64url.
const THUMBPRINT: usize = 43;

/// Returns whether `text` has the form of a `kid`, of an existing key or not.
pub fn is_kid(text: &str) -> bool {
    let name = text.strip_prefix(DEVELOPMENT_PREFIX);
    // A thumbprint can begin with the letters of the prefix by chance.
    [Some(text), name].into_iter().flatten().any(|name| {
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        name.len() == THUMBPRINT && name.bytes().all(is_base64url)
    })
}

/// The time for which a key verifies after the next one's turn came: a function that read the set long ago may sign
/// with it for [`GOOD_FOR`], what it signs lives for at most [`AccessTokenTtl::MAX`], and clocks differ by less than a
/// minute.
pub const KEPT_AFTER: Duration = GOOD_FOR
    .saturating_add(AccessTokenTtl::MAX)
    .saturating_add(Duration::from_mins(1));

/// The types of signing keys. None is symmetric, so no symmetric key can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    /// RSA with 2,048 bits and PKCS #1 v1.5, the only family that API Gateway's JWT authorizer supports.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA with a larger modulus.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// The elliptic curve of ECDSA.
    #[serde(rename = "P-256")]
    P256,
    /// The Edwards curve of EdDSA.
    Ed25519,
}

impl KeyType {
    /// Returns the one algorithm of this type.
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Rsa2048 | Self::Rsa3072 => Algorithm::RS256,
            Self::P256 => Algorithm::ES256,
            Self::Ed25519 => Algorithm::EdDSA,
        }
    }
}

/// A key cannot be made or read.
#[derive(Debug, Error)]
#[error("a signing key cannot be made or used: {0}")]
pub struct KeyError(String);

impl From<jsonwebtoken::errors::Error> for KeyError {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self("the cryptographic library failed".to_owned())
    }
}

/// A published key with the times that decide its use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedKey {
    /// The RFC 7638 thumbprint of the key.
    pub kid: String,
    /// The type of the key, which decides its algorithm.
    pub key_type: KeyType,
    /// The public key (RFC 7517), as JSON.
    pub jwk: String,
    /// The time of its publication.
    pub published_at: Timestamp,
    /// The time from which the key signs, until the turn of a later key.
    pub sign_from: Timestamp,
}

impl PublishedKey {
    /// Returns whether it is a development key.
    pub fn is_development(&self) -> bool {
        self.kid.starts_with(DEVELOPMENT_PREFIX)
    }

    /// Returns whether the key has a turn.
    pub fn has_turn(&self) -> bool {
        self.sign_from != NO_TURN
    }

    /// Returns the key as an entry of the JWK Set, and ready to verify.
    fn read(&self) -> Result<(Jwk, DecodingKey), KeyError> {
        let mut jwk: Jwk =
            serde_json::from_str(&self.jwk).map_err(|error| KeyError(error.to_string()))?;
        jwk.common.key_id = Some(self.kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let key = DecodingKey::from_jwk(&jwk)?;
        if key.family() != self.key_type.algorithm().family() {
            return Err(KeyError(format!("{} is not of its type", self.kid)));
        }
        Ok((jwk, key))
    }
}

/// All published keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeySet {
    /// The version, which grows with each change and is the condition of the next write.
    pub version: u64,
    /// The keys, in any order.
    pub keys: Vec<PublishedKey>,
}

impl KeySet {
    /// Returns the key that signs at `now`: the one with the latest turn in the past.
    pub fn current(&self, now: Timestamp) -> Option<&PublishedKey> {
        self.keys
            .iter()
            .filter(|key| key.sign_from <= now)
            .max_by_key(|key| (key.sign_from, &key.kid))
    }

    /// Returns the key that signs next, or else one without a turn.
    pub fn next(&self, now: Timestamp) -> Option<&PublishedKey> {
        self.keys
            .iter()
            .filter(|key| key.sign_from > now)
            .min_by_key(|key| (key.sign_from, &key.kid))
    }

    /// Returns the time from which no token of `key` can be valid, if a later key signs.
    pub fn verify_until(&self, key: &PublishedKey) -> Option<Timestamp> {
        let others = self.keys.iter().filter(|other| other.has_turn());
        let turns = others.map(|other| other.sign_from);
        let next_turn = turns.filter(|turn| *turn > key.sign_from).min();
        next_turn.map(|turn| turn.saturating_add(KEPT_AFTER.as_secs()))
    }

    /// Returns [`Self::published`] as a JWK Set.
    ///
    /// # Errors
    /// A stored key cannot be used.
    pub fn jwks(&self, now: Timestamp) -> Result<JwkSet, KeyError> {
        let keys = self.published(now).map(|key| Ok(key.read()?.0));
        Ok(JwkSet {
            keys: keys.collect::<Result<_, KeyError>>()?,
        })
    }

    /// Returns the keys that verify at `now` and those published ahead of their turn.
    pub fn published(&self, now: Timestamp) -> impl Iterator<Item = &PublishedKey> {
        let is_over =
            move |key: &&PublishedKey| self.verify_until(key).is_some_and(|end| end <= now);
        self.keys.iter().filter(move |key| !is_over(key))
    }
}

/// A private key, as PKCS#8 PEM.
#[derive(Clone, Debug)]
pub struct PrivateKey {
    /// The `kid` of its public key.
    pub kid: String,
    /// The type of the key.
    pub key_type: KeyType,
    pem: SecretString,
}

impl PrivateKey {
    /// Makes a new key.
    ///
    /// `kid_prefix` is empty, or [`DEVELOPMENT_PREFIX`].
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn generate(key_type: KeyType, kid_prefix: &str) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let rsa = |size| -> Result<Vec<u8>, KeyError> {
            let pair = RsaKeyPair::generate(size)?;
            Ok(AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)?.as_ref().to_vec())
        };
        let der = match key_type {
            KeyType::Rsa2048 => rsa(KeySize::Rsa2048)?,
            KeyType::Rsa3072 => rsa(KeySize::Rsa3072)?,
            KeyType::P256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?
                    .as_ref()
                    .to_vec()
            }
            KeyType::Ed25519 => Ed25519KeyPair::generate_pkcs8v1(&random)?.as_ref().to_vec(),
        };
        let mut key = Self {
            kid: String::new(),
            key_type,
            pem: pem::encode(&pem::Pem::new("PRIVATE KEY", der)).into(),
        };
        let thumbprint = key.jwk()?.thumbprint(ThumbprintHash::SHA256)?;
        key.kid = format!("{kid_prefix}{thumbprint}");
        Ok(key)
    }

    /// Returns the public key, published at `published_at`, which signs from `sign_from` on.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn publish(
        &self,
        published_at: Timestamp,
        sign_from: Timestamp,
    ) -> Result<PublishedKey, KeyError> {
        let jwk = serde_json::to_string(&self.jwk()?).map_err(|e| KeyError(e.to_string()))?;
        Ok(PublishedKey {
            kid: self.kid.clone(),
            key_type: self.key_type,
            jwk,
            published_at,
            sign_from,
        })
    }

    /// Signs any bytes, with a key of no deployment: `cambio-admin doctor` forges tokens.
    ///
    /// # Errors
    /// The key is not of its type, or the cryptographic library fails.
    pub fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        signing::SigningKey::parse(self)?.sign_bytes(message)
    }

    /// Returns whether the key can sign and belongs to `published`.
    pub fn fits(&self, published: &PublishedKey) -> bool {
        let thumbprint = |jwk: Jwk| jwk.thumbprint(ThumbprintHash::SHA256).ok();
        let own = self.jwk().ok().and_then(thumbprint);
        let other = published.read().ok().and_then(|(jwk, _)| thumbprint(jwk));
        self.key_type == published.key_type && own.is_some() && own == other
    }

    fn jwk(&self) -> Result<Jwk, KeyError> {
        Ok(Jwk::from_encoding_key(
            &self.encoding_key()?,
            self.key_type.algorithm(),
        )?)
    }

    fn encoding_key(&self) -> Result<EncodingKey, KeyError> {
        let pem = self.pem.expose_secret().as_bytes();
        Ok(match self.key_type {
            KeyType::Rsa2048 | KeyType::Rsa3072 => EncodingKey::from_rsa_pem(pem)?,
            KeyType::P256 => EncodingKey::from_ec_pem(pem)?,
            KeyType::Ed25519 => EncodingKey::from_ed_pem(pem)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_TYPES: [KeyType; 4] = [
        KeyType::Rsa2048,
        KeyType::Rsa3072,
        KeyType::P256,
        KeyType::Ed25519,
    ];

    fn published(kid: &str, sign_from: Timestamp) -> PublishedKey {
        PublishedKey {
            kid: kid.to_owned(),
            key_type: KeyType::P256,
            jwk: String::new(),
            published_at: 0,
            sign_from,
        }
    }

    #[test]
    fn a_fresh_key_is_named_by_its_thumbprint_and_published_without_its_private_half() {
        for key_type in KEY_TYPES {
            let key = PrivateKey::generate(key_type, "").unwrap();
            let published = key.publish(0, 0).unwrap();
            let jwk = serde_json::to_value(published.read().unwrap().0).unwrap();

            assert_eq!(jwk["kid"], key.kid);
            assert_eq!(key.kid.len(), 43, "a SHA-256 in base64url");
            assert_eq!(jwk["use"], "sig");
            assert_eq!(
                jwk["alg"],
                serde_json::to_value(key_type.algorithm()).unwrap()
            );
            assert!(jwk.get("d").is_none());
            let modulus = jwk["n"].as_str().map(|n| n.len() * 6 / 8 * 8);
            let bits = match key_type {
                KeyType::Rsa2048 => Some(2048),
                KeyType::Rsa3072 => Some(3072),
                KeyType::P256 | KeyType::Ed25519 => None,
            };
            assert_eq!(modulus, bits);
        }
    }

    #[test]
    fn t87_a_private_key_fits_its_public_half_and_no_other() {
        for key_type in KEY_TYPES {
            let [key, other] = [0, 1].map(|_| PrivateKey::generate(key_type, "").unwrap());
            let published = key.publish(1, 2).unwrap();
            let unusable = PrivateKey {
                pem: "nonsense".into(),
                ..key.clone()
            };

            assert!(key.fits(&published), "{key_type:?}");
            assert!(!other.fits(&published), "{key_type:?}");
            assert!(!unusable.fits(&published), "{key_type:?}");
        }
        let key = PrivateKey::generate(KeyType::Rsa2048, "").unwrap();
        let mut published = key.publish(1, 2).unwrap();
        published.key_type = KeyType::Rsa3072;
        assert!(!key.fits(&published), "another type");
    }

    #[test]
    fn a_private_key_does_not_show_in_debug_output() {
        let key = PrivateKey::generate(KeyType::P256, "").unwrap();
        assert!(!format!("{key:?}").contains("PRIVATE KEY"));
    }

    #[test]
    fn t14_a_symmetric_key_in_the_set_is_refused() {
        let mut key = published("a", 0);
        key.jwk = r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned();
        assert!(key.read().is_err());
    }

    #[test]
    fn t15_a_key_of_another_family_than_its_algorithm_is_refused() {
        let rsa = PrivateKey::generate(KeyType::Rsa2048, "").unwrap();
        let mut key = rsa.publish(0, 0).unwrap();
        key.key_type = KeyType::P256;
        assert!(key.read().is_err());
    }

    #[test]
    fn the_key_whose_turn_came_last_signs() {
        let set = KeySet {
            version: 1,
            keys: vec![published("old", 0), published("new", 100)],
        };
        assert_eq!(set.current(99).unwrap().kid, "old");
        assert_eq!(set.current(100).unwrap().kid, "new");
        assert_eq!(set.published(99).count(), 2, "published ahead of its turn");
    }

    #[test]
    fn t32_a_retired_key_verifies_until_nothing_that_it_signed_is_valid() {
        let set = KeySet {
            version: 1,
            keys: vec![published("old", 0), published("new", 100)],
        };
        let verifying = |now| set.published(now).map(|key| &*key.kid).collect::<Vec<_>>();
        let end = 100 + KEPT_AFTER.as_secs();

        assert_eq!(verifying(end - 1), ["old", "new"]);
        assert_eq!(verifying(end), ["new"]);
        assert_eq!(set.current(end).unwrap().kid, "new");
    }

    #[test]
    fn a_key_that_none_follows_stays() {
        let set = KeySet {
            version: 1,
            keys: vec![published("only", 0)],
        };
        assert_eq!(set.current(u64::MAX).unwrap().kid, "only");
        assert_eq!(set.published(u64::MAX).count(), 1);
    }

    #[test]
    fn t32_a_key_published_ahead_of_its_turn_verifies_and_does_not_sign() {
        let set = KeySet {
            version: 1,
            keys: vec![published("now", 0), published("next", 100)],
        };
        assert_eq!(set.current(99).unwrap().kid, "now");
        assert_eq!(set.next(99).unwrap().kid, "next");
        assert!(set.published(99).any(|key| key.kid == "next"));
        assert!(set.next(100).is_none());
    }

    #[test]
    fn t111_a_key_without_a_turn_never_signs_and_takes_no_turn_from_another() {
        let set = KeySet {
            version: 1,
            keys: vec![published("current", 0), published("waiting", NO_TURN)],
        };
        let last_day = NO_TURN - 1;
        assert_eq!(set.current(last_day).unwrap().kid, "current");
        assert_eq!(set.published(last_day).count(), 2, "both verify");
        assert_eq!(set.verify_until(&set.keys[0]), None);
    }

    #[test]
    fn a_name_of_a_key_is_a_thumbprint() {
        let thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        let development = format!("dev-{thumbprint}");
        let starts_alike = format!("dev-{}", &thumbprint[4..]);
        for kid in [thumbprint, &development, &starts_alike] {
            assert!(is_kid(kid), "{kid}");
        }
        let slash = thumbprint.replace('-', "/");
        let doubled = format!("dev-dev-{thumbprint}");
        for other in ["", "dev-", &thumbprint[1..], &slash, &doubled] {
            assert!(!is_kid(other), "{other}");
        }
    }

    #[test]
    fn there_is_no_current_key_before_the_first_ones_turn() {
        let set = KeySet {
            version: 1,
            keys: vec![published("a", 100)],
        };
        assert!(set.current(99).is_none());
    }
}
