//! Public keys of others (RFC 7517): those of a provider that signs ID tokens, or of a client that signs its assertions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, Jwk, PublicKeyUse},
};
use serde_json::Value;

const MAX_KID: usize = 256;
/// 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// 65537, the one public exponent in use.
const RSA_EXPONENT: &str = "AQAB";
/// Members that only a private or a symmetric key has (RFC 7518 §6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key of somebody else.
#[derive(Clone)]
pub(crate) struct PublicKey {
    pub(crate) key: DecodingKey,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
}

impl PublicKey {
    pub(crate) fn signs_with(&self, algorithm: Algorithm) -> bool {
        self.key.family() == algorithm.family() && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

/// The keys that can verify, by name. What cannot be used is left out; a name that comes twice is nobody's.
pub(crate) fn usable(keys: &[Value]) -> BTreeMap<String, Arc<PublicKey>> {
    let kid = |key: &Value| key["kid"].as_str().map(str::to_owned);
    let mut seen = BTreeSet::new();
    let mut ambiguous = BTreeSet::new();
    for name in keys.iter().filter_map(kid) {
        if !seen.insert(name.clone()) {
            ambiguous.insert(name);
        }
    }
    keys.iter()
        .filter_map(|key| Some((kid(key)?, Arc::new(read(key)?))))
        .filter(|(kid, _)| kid.len() <= MAX_KID && !ambiguous.contains(kid))
        .collect()
}

fn read(key: &Value) -> Option<PublicKey> {
    if PRIVATE.iter().any(|member| key.get(member).is_some()) {
        return None;
    }
    let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
    let is_for_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let is_sound = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).ok()?;
            RSA_BYTES.contains(&modulus.len()) && modulus[0] != 0 && rsa.e == RSA_EXPONENT
        }
        AlgorithmParameters::EllipticCurve(_) => true,
        AlgorithmParameters::OctetKeyPair(pair) => {
            URL_SAFE_NO_PAD.decode(&pair.x).is_ok_and(|x| x.len() == 32)
        }
        _ => false,
    };
    if !is_for_signatures || !is_sound {
        return None;
    }
    let algorithm = match key.get("alg") {
        None => None,
        Some(name) => Some(serde_json::from_value(name.clone()).ok()?),
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (key.family() != AlgorithmFamily::Hmac).then_some(PublicKey { key, algorithm })
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").finish_non_exhaustive()
    }
}
