//! Our signing keys: the published set, who may use which key when, and the private keys of those who sign.
//!
//! The keys table holds one item `KEYSET` with every public key and its times, and one item `KEY#<kid>` for each
//! private key, so that IAM can let the signing function alone read those. Which key signs and which still verify is
//! decided by the times in the set, never by who is awake.

mod cache;
mod store;

pub(crate) use cache::SigningKey;
pub use cache::{Keys, KeysError, Signer};
pub use store::KeyStore;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;

/// A `kid` that starts so belongs to a key made on a developer's machine; a deployed function refuses it.
pub const DEVELOPMENT_PREFIX: &str = "dev-";

/// The algorithms that our keys may have. No symmetric one is among them, so none can ever be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// RSA with 2048 bits and PKCS #1 v1.5: the only family that API Gateway's JWT authorizer takes.
    RS256,
    /// ECDSA on P-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

impl SigningAlgorithm {
    /// The same, as the JWT library names it.
    pub fn jwt(self) -> Algorithm {
        match self {
            Self::RS256 => Algorithm::RS256,
            Self::ES256 => Algorithm::ES256,
            Self::EdDSA => Algorithm::EdDSA,
        }
    }
}

/// A key could not be made or read.
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
        Self("the cryptographic library refused".to_owned())
    }
}

/// A public key of ours, with the times that decide its use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedKey {
    /// The RFC 7638 thumbprint of the key.
    pub kid: String,
    /// The one algorithm that the key is used with.
    pub algorithm: SigningAlgorithm,
    /// The public key (RFC 7517), as JSON.
    pub jwk: String,
    /// The key signs from this time on, until one with a later such time does.
    pub sign_from: Timestamp,
    /// Nothing that the key signed is valid from this time on; not set while it may still sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_until: Option<Timestamp>,
}

impl PublishedKey {
    fn verifies_at(&self, now: Timestamp) -> bool {
        self.verify_until.is_none_or(|until| now < until)
    }

    /// Whether the key was made on a developer's machine.
    pub fn is_development(&self) -> bool {
        self.kid.starts_with(DEVELOPMENT_PREFIX)
    }

    /// The key as an entry of the JWKS, and ready to verify.
    fn read(&self) -> Result<(Jwk, DecodingKey), KeyError> {
        let mut jwk: Jwk =
            serde_json::from_str(&self.jwk).map_err(|error| KeyError(error.to_string()))?;
        jwk.common.key_id = Some(self.kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let key = DecodingKey::from_jwk(&jwk)?;
        if key.family() != self.algorithm.jwt().family() {
            return Err(KeyError(format!("{} is not of its algorithm", self.kid)));
        }
        Ok((jwk, key))
    }
}

/// All keys that may verify now or later.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeySet {
    /// Counts the changes; each is a conditional write on the one before.
    pub version: u64,
    /// The keys, in no order that matters.
    pub keys: Vec<PublishedKey>,
}

impl KeySet {
    /// The key that signs at `now`: the one whose turn came last.
    pub fn current(&self, now: Timestamp) -> Option<&PublishedKey> {
        self.keys
            .iter()
            .filter(|key| key.sign_from <= now && key.verifies_at(now))
            .max_by_key(|key| (key.sign_from, &key.kid))
    }

    /// The keys that verify at `now`, and those published ahead of their turn.
    pub fn published(&self, now: Timestamp) -> impl Iterator<Item = &PublishedKey> {
        self.keys.iter().filter(move |key| key.verifies_at(now))
    }
}

/// A private key, as PKCS#8 PEM.
#[derive(Clone, Debug)]
pub struct PrivateKey {
    /// The same as of its public half.
    pub kid: String,
    /// The same as of its public half.
    pub algorithm: SigningAlgorithm,
    pem: SecretString,
}

impl PrivateKey {
    /// A fresh key.
    ///
    /// `kid_prefix` is empty, or [`DEVELOPMENT_PREFIX`].
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn generate(algorithm: SigningAlgorithm, kid_prefix: &str) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let der = match algorithm {
            SigningAlgorithm::RS256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)?.as_ref().to_vec()
            }
            SigningAlgorithm::ES256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?
                    .as_ref()
                    .to_vec()
            }
            SigningAlgorithm::EdDSA => Ed25519KeyPair::generate_pkcs8v1(&random)?.as_ref().to_vec(),
        };
        let mut key = Self {
            kid: String::new(),
            algorithm,
            pem: pem::encode(&pem::Pem::new("PRIVATE KEY", der)).into(),
        };
        let thumbprint = key.jwk()?.thumbprint(ThumbprintHash::SHA256)?;
        key.kid = format!("{kid_prefix}{thumbprint}");
        Ok(key)
    }

    /// The public half, which signs from `sign_from` on.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn publish(&self, sign_from: Timestamp) -> Result<PublishedKey, KeyError> {
        let jwk = serde_json::to_string(&self.jwk()?).map_err(|e| KeyError(e.to_string()))?;
        Ok(PublishedKey {
            kid: self.kid.clone(),
            algorithm: self.algorithm,
            jwk,
            sign_from,
            verify_until: None,
        })
    }

    fn jwk(&self) -> Result<Jwk, KeyError> {
        Ok(Jwk::from_encoding_key(
            &self.encoding_key()?,
            self.algorithm.jwt(),
        )?)
    }

    fn encoding_key(&self) -> Result<EncodingKey, KeyError> {
        let pem = self.pem.expose_secret().as_bytes();
        Ok(match self.algorithm {
            SigningAlgorithm::RS256 => EncodingKey::from_rsa_pem(pem)?,
            SigningAlgorithm::ES256 => EncodingKey::from_ec_pem(pem)?,
            SigningAlgorithm::EdDSA => EncodingKey::from_ed_pem(pem)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: [SigningAlgorithm; 3] = [
        SigningAlgorithm::RS256,
        SigningAlgorithm::ES256,
        SigningAlgorithm::EdDSA,
    ];

    fn published(kid: &str, sign_from: Timestamp, verify_until: Option<Timestamp>) -> PublishedKey {
        PublishedKey {
            kid: kid.to_owned(),
            algorithm: SigningAlgorithm::ES256,
            jwk: String::new(),
            sign_from,
            verify_until,
        }
    }

    #[test]
    fn a_fresh_key_is_named_by_its_thumbprint_and_published_without_its_private_half() {
        for algorithm in ALGORITHMS {
            let key = PrivateKey::generate(algorithm, "").unwrap();
            let published = key.publish(0).unwrap();
            let jwk = serde_json::to_value(published.read().unwrap().0).unwrap();

            assert_eq!(jwk["kid"], key.kid);
            assert_eq!(key.kid.len(), 43, "a SHA-256 in base64url");
            assert_eq!(jwk["use"], "sig");
            assert_eq!(jwk["alg"], serde_json::to_value(algorithm).unwrap());
            assert!(jwk.get("d").is_none());
        }
    }

    #[test]
    fn a_private_key_does_not_show_in_debug_output() {
        let key = PrivateKey::generate(SigningAlgorithm::ES256, "").unwrap();
        assert!(!format!("{key:?}").contains("PRIVATE KEY"));
    }

    #[test]
    fn t14_a_symmetric_key_in_the_set_is_refused() {
        let mut key = published("a", 0, None);
        key.jwk = r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned();
        assert!(key.read().is_err());
    }

    #[test]
    fn t15_a_key_of_another_family_than_its_algorithm_is_refused() {
        let rsa = PrivateKey::generate(SigningAlgorithm::RS256, "").unwrap();
        let mut key = rsa.publish(0).unwrap();
        key.algorithm = SigningAlgorithm::ES256;
        assert!(key.read().is_err());
    }

    #[test]
    fn the_key_whose_turn_came_last_signs() {
        let set = KeySet {
            version: 1,
            keys: vec![published("old", 0, None), published("new", 100, None)],
        };
        assert_eq!(set.current(99).unwrap().kid, "old");
        assert_eq!(set.current(100).unwrap().kid, "new");
        assert_eq!(set.published(99).count(), 2, "published ahead of its turn");
    }

    #[test]
    fn t32_a_retired_key_neither_signs_nor_verifies() {
        let set = KeySet {
            version: 1,
            keys: vec![published("a", 0, Some(100))],
        };
        assert!(set.current(99).is_some());
        assert!(set.current(100).is_none());
        assert_eq!(set.published(100).count(), 0);
    }

    #[test]
    fn there_is_no_current_key_before_the_first_ones_turn() {
        let set = KeySet {
            version: 1,
            keys: vec![published("a", 100, None)],
        };
        assert!(set.current(99).is_none());
    }
}
