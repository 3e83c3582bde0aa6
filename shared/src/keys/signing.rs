//! A private key that signs access tokens.

use aws_lc_rs::{
    error::{KeyRejected, Unspecified},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{KeyError, KeyType, PrivateKey};
use crate::telemetry::{Part, Timed};

/// A private key, parsed and checked once.
///
/// `jsonwebtoken::encode` parses its key for every token, which is nearly half the work of an RSA signature. RSA
/// signatures stay blinded.
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    algorithm: Algorithm,
    pair: KeyPair,
}

enum KeyPair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl From<KeyRejected> for KeyError {
    fn from(error: KeyRejected) -> Self {
        Self(format!("the private key cannot be parsed: {error}"))
    }
}

impl SigningKey {
    /// Parses `private`.
    ///
    /// # Errors
    /// The key is not of its type.
    pub(super) fn parse(private: &PrivateKey) -> Result<Self, KeyError> {
        let pem = pem::parse(private.pem.expose_secret());
        let pem = pem.map_err(|_| KeyError("the private key is not PEM".to_owned()))?;
        let der = pem.contents();
        Ok(Self {
            kid: private.kid.clone(),
            algorithm: private.key_type.algorithm(),
            pair: match private.key_type {
                KeyType::Rsa2048 | KeyType::Rsa3072 => KeyPair::Rsa(RsaKeyPair::from_pkcs8(der)?),
                KeyType::P256 => KeyPair::P256(EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    der,
                )?),
                KeyType::Ed25519 => KeyPair::Ed25519(Ed25519KeyPair::from_pkcs8(der)?),
            },
        })
    }

    /// Signs `claims` as a compact JWS (RFC 7515 §7.1) with this `typ`.
    ///
    /// # Errors
    /// The claims are no JSON, or the cryptographic library fails.
    pub(crate) fn sign(
        &self,
        typ: &str,
        claims: &impl Serialize,
    ) -> Result<SecretString, KeyError> {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        let message = format!("{}.{}", encode(&header)?, encode(claims)?);
        let signature = URL_SAFE_NO_PAD.encode(self.sign_bytes(message.as_bytes())?);
        Ok(format!("{message}.{signature}").into())
    }

    /// Signs any bytes.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub(super) fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.pair.sign(message)?)
    }
}

impl KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let _time = Timed::start(Part::Crypto);
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
            Self::P256(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

fn encode(part: &impl Serialize) -> Result<String, KeyError> {
    let json = serde_json::to_vec(part).map_err(|error| KeyError(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jws::{self, PublicKey};

    #[test]
    fn what_a_key_signs_verifies_with_its_public_half_and_names_both() {
        for key_type in [
            KeyType::Rsa2048,
            KeyType::Rsa3072,
            KeyType::P256,
            KeyType::Ed25519,
        ] {
            let private = PrivateKey::generate(key_type, "").unwrap();
            let signing = SigningKey::parse(&private).unwrap();
            let (_, public) = private.publish(0, 0).unwrap().read().unwrap();
            let public = PublicKey::new(public, Some(key_type.algorithm()));
            let claims = json!({"sub": "somebody"});

            for _ in 0..2 {
                let token = signing.sign("at+jwt", &claims).unwrap();
                let token = token.expose_secret();
                let inspected = jws::inspect::<jws::Header>(token).unwrap();
                let verified: Value = inspected.verify(&public).unwrap();
                let header = inspected.header;
                assert_eq!(verified, claims);
                assert_eq!(header.kid, private.kid);
                assert_eq!(header.typ.as_deref(), Some("at+jwt"));
            }
        }
    }

    #[test]
    fn a_key_of_another_type_does_not_parse_and_its_error_does_not_show_it() {
        let key = PrivateKey::generate(KeyType::P256, "").unwrap();
        let nonsense = PrivateKey {
            pem: "nonsense".into(),
            ..key.clone()
        };
        let other = PrivateKey {
            key_type: KeyType::Rsa2048,
            ..key.clone()
        };
        for wrong in [nonsense, other] {
            let error = SigningKey::parse(&wrong).err().unwrap().to_string();
            assert!(!error.contains("nonsense"), "{error}");
            assert!(!error.contains("PRIVATE"), "{error}");
        }
    }
}
