//! Public keys (RFC 7517), and those of others: of a provider that signs ID tokens, or of a client that signs its
//! assertions.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde_json::Value;

use crate::jws::PublicKey;

const MAX_KID: usize = 256;
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;
/// 65537, the only accepted public exponent.
const RSA_EXPONENT: &str = "AQAB";
/// Members of private and symmetric keys (RFC 7518 §6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The keys of a JWK Set that can verify, each with its `kid`, if it has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySet(Vec<(Option<String>, Arc<PublicKey>)>);

impl KeySet {
    /// Returns the key named `kid`. Without a `kid`, returns the only key that signs with `alg`, if there is only one
    /// (OpenID Connect Core 1.0 §10.1).
    pub(crate) fn find(&self, kid: Option<&str>, alg: Algorithm) -> Option<&Arc<PublicKey>> {
        let mut fitting = self.0.iter().filter(|(name, key)| match kid {
            Some(kid) => name.as_deref() == Some(kid),
            None => key.signs_with(alg),
        });
        let (_, key) = fitting.next()?;
        fitting.next().is_none().then_some(key)
    }

    /// Returns the `kid` of each key that has one.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(kid, _)| kid.as_deref())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Returns the keys that can verify. Unusable keys and keys with a repeated `kid` are left out.
pub(crate) fn usable(keys: &[Value]) -> KeySet {
    let kid = |key: &Value| key["kid"].as_str().map(str::to_owned);
    let mut seen = BTreeSet::new();
    let mut ambiguous = BTreeSet::new();
    for name in keys.iter().filter_map(kid) {
        if !seen.insert(name.clone()) {
            ambiguous.insert(name);
        }
    }
    let is_sound = |kid: &String| kid.len() <= MAX_KID && !ambiguous.contains(kid);
    let usable = keys.iter().filter_map(|key| match kid(key) {
        None if !key["kid"].is_null() => None,
        kid => Some((kid, Arc::new(read(key)?))),
    });
    KeySet(usable.filter(|(kid, _)| kid.iter().all(is_sound)).collect())
}

fn read(key: &Value) -> Option<PublicKey> {
    if PRIVATE.iter().any(|member| key.get(member).is_some()) {
        return None;
    }
    let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
    if !may_verify(&jwk.common) {
        return None;
    }
    let of_its_kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let bits = bits(&URL_SAFE_NO_PAD.decode(&rsa.n).ok()?)?;
            if !RSA_BITS.contains(&bits) || rsa.e != RSA_EXPONENT {
                return None;
            }
            None
        }
        AlgorithmParameters::EllipticCurve(point) => {
            let (size, algorithm) = match point.curve {
                EllipticCurve::P256 => (32, Algorithm::ES256),
                EllipticCurve::P384 => (48, Algorithm::ES384),
                _ => return None,
            };
            if !is_of_size(&point.x, size) || !is_of_size(&point.y, size) {
                return None;
            }
            Some(algorithm)
        }
        AlgorithmParameters::OctetKeyPair(pair) => {
            if pair.curve != EllipticCurve::Ed25519 || !is_of_size(&pair.x, 32) {
                return None;
            }
            Some(Algorithm::EdDSA)
        }
        _ => return None,
    };
    let named = match key.get("alg") {
        None => None,
        Some(name) => Some(serde_json::from_value::<Algorithm>(name.clone()).ok()?),
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let key = PublicKey::new(key, of_its_kind.or(named));
    // The named algorithm must fit the type of the key.
    named
        .is_none_or(|named| key.signs_with(named))
        .then_some(key)
}

/// Returns whether `use` and `key_ops` allow verification (RFC 7517 §4.2, §4.3).
fn may_verify(key: &CommonParameters) -> bool {
    let is_for_signatures = matches!(key.public_key_use, None | Some(PublicKeyUse::Signature));
    let operations = key.key_operations.as_ref();
    is_for_signatures && operations.is_none_or(|all| all.contains(&KeyOperations::Verify))
}

/// Returns the length of a modulus in bits; it must have no leading zeros (RFC 7518 §6.3.1.1).
fn bits(modulus: &[u8]) -> Option<usize> {
    let zeros = modulus.first()?.leading_zeros();
    (zeros < u8::BITS).then_some(modulus.len() * 8 - zeros as usize)
}

/// Returns whether a coordinate has its full length (RFC 7518 §6.2.1.2, RFC 8037 §2).
fn is_of_size(coordinate: &str, size: usize) -> bool {
    let decoded = URL_SAFE_NO_PAD.decode(coordinate);
    decoded.is_ok_and(|bytes| bytes.len() == size)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(count: usize, first: u8) -> String {
        let mut bytes = vec![0xff; count];
        bytes[0] = first;
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn ec(crv: &str, x: usize, y: usize) -> Value {
        json!({ "kty": "EC", "crv": crv, "kid": "k", "x": bytes(x, 1), "y": bytes(y, 1) })
    }

    fn rsa(bits: usize) -> Value {
        let first = 0xff_u8 >> (bits.div_ceil(8) * 8 - bits);
        json!({ "kty": "RSA", "kid": "k", "n": bytes(bits.div_ceil(8), first), "e": "AQAB" })
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[track_caller]
    fn assert_usable(key: &Value, is_usable: bool) {
        let usable = usable(std::slice::from_ref(key));
        assert_eq!(!usable.is_empty(), is_usable, "{key}");
    }

    #[test]
    fn t49_an_rsa_key_has_2048_to_8192_bits_and_the_usual_exponent() {
        for (bits, is_usable) in [
            (1024, false),
            (2041, false),
            (2047, false),
            (2048, true),
            (3072, true),
            (8192, true),
            (8193, false),
            (16384, false),
        ] {
            assert_usable(&rsa(bits), is_usable);
        }
        for e in ["", "AQ", "Aw", "AAEAAQ", "AQAC", "AQABAAAA"] {
            assert_usable(&with(rsa(2048), "e", json!(e)), false);
        }
        let padded = [&[0], &[0xff; 256][..]].concat();
        let padded = URL_SAFE_NO_PAD.encode(padded);
        assert_usable(&with(rsa(2048), "n", json!(padded)), false);
        assert_usable(&with(rsa(2048), "n", json!("")), false);
    }

    #[test]
    fn t49_a_point_has_the_size_of_its_curve() {
        for (key, is_usable) in [
            (ec("P-256", 32, 32), true),
            (ec("P-384", 48, 48), true),
            (ec("P-384", 32, 32), false),
            (ec("P-256", 48, 48), false),
            (ec("P-256", 31, 33), false),
            (ec("P-256", 33, 31), false),
            (ec("P-256", 32, 31), false),
            (ec("P-256", 31, 32), false),
            (ec("P-521", 66, 66), false),
            (ec("Ed25519", 32, 32), false),
            (ec("secp256k1", 32, 32), false),
        ] {
            assert_usable(&key, is_usable);
        }
        let ed = |crv: &str, x| json!({ "kty": "OKP", "crv": crv, "kid": "k", "x": bytes(x, 1) });
        assert_usable(&ed("Ed25519", 32), true);
        assert_usable(&ed("Ed25519", 31), false);
        assert_usable(&ed("Ed25519", 33), false);
        assert_usable(&ed("P-256", 32), false);
        assert_usable(&ed("X25519", 32), false);
    }

    #[test]
    fn t49_a_key_that_is_not_for_verifying_is_left_out() {
        for (name, value, is_usable) in [
            ("use", json!("sig"), true),
            ("use", json!("enc"), false),
            ("use", json!("Sig"), false),
            ("use", json!("tls"), false),
            ("use", json!(["sig"]), false),
            ("key_ops", json!(["verify"]), true),
            ("key_ops", json!(["verify", "sign"]), true),
            ("key_ops", json!(["sign"]), false),
            ("key_ops", json!(["encrypt", "wrapKey"]), false),
            ("key_ops", json!(["VERIFY"]), false),
            ("key_ops", json!([]), false),
            ("key_ops", json!("verify"), false),
        ] {
            for key in [rsa(2048), ec("P-256", 32, 32)] {
                assert_usable(&with(key, name, value.clone()), is_usable);
            }
        }
        let torn = with(rsa(2048), "use", json!("enc"));
        assert_usable(&with(torn, "key_ops", json!(["verify"])), false);
    }

    #[test]
    fn t49_a_private_or_symmetric_key_is_left_out() {
        for member in PRIVATE {
            assert_usable(&with(ec("P-256", 32, 32), member, json!("AQ")), false);
        }
        assert_usable(&json!({ "kty": "oct", "kid": "k", "k": "c2VjcmV0" }), false);
    }

    #[test]
    fn t15_a_key_signs_with_the_algorithm_of_its_curve_or_the_one_that_it_names() {
        use Algorithm::{ES256, ES384, EdDSA, HS256, PS256, RS256, RS512};
        let key = |key: &Value| {
            usable(std::slice::from_ref(key))
                .find(Some("k"), ES256)
                .cloned()
        };
        let all = [ES256, ES384, EdDSA, HS256, PS256, RS256, RS512];
        let named = |alg: &str| with(rsa(2048), "alg", json!(alg));
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": bytes(32, 1) });
        for (jwk, own) in [
            (ec("P-256", 32, 32), vec![ES256]),
            (ec("P-384", 48, 48), vec![ES384]),
            (ed, vec![EdDSA]),
            (rsa(2048), vec![PS256, RS256, RS512]),
            (named("RS256"), vec![RS256]),
            (named("PS256"), vec![PS256]),
        ] {
            let key = key(&jwk).unwrap();
            let signs = all.into_iter().filter(|alg| key.signs_with(*alg));
            assert_eq!(signs.collect::<Vec<_>>(), own, "{jwk}");
        }
        for alg in ["HS256", "ES256", "RSA-OAEP", "none", "rs256", ""] {
            assert_usable(&named(alg), false);
        }
        let on_p256 = |alg: &str| with(ec("P-256", 32, 32), "alg", json!(alg));
        assert_usable(&on_p256("ES256"), true);
        assert_usable(&on_p256("ES384"), false);
        assert_usable(&with(rsa(2048), "alg", json!(1)), false);
    }

    #[test]
    fn t16_without_a_kid_only_the_only_key_for_the_algorithm_is_found() {
        use Algorithm::{ES256, ES384, RS256};
        let nameless = |mut key: Value| {
            key.as_object_mut().unwrap().remove("kid");
            key
        };
        let (es256, es384) = (ec("P-256", 32, 32), ec("P-384", 48, 48));
        let set = usable(&[
            with(es256.clone(), "kid", json!("one")),
            es384,
            nameless(rsa(2048)),
        ]);
        for alg in [ES256, ES384, RS256] {
            assert!(set.find(None, alg).is_some_and(|key| key.signs_with(alg)));
        }
        assert!(set.find(None, Algorithm::EdDSA).is_none());
        assert!(set.find(Some(""), RS256).is_none());
        assert!(set.find(Some("two"), ES256).is_none());
        let two = usable(&[es256.clone(), nameless(es256)]);
        assert!(two.find(None, ES256).is_none());
        assert!(two.find(Some("k"), ES256).is_some());
    }

    #[test]
    fn t49_a_name_that_comes_twice_or_is_too_long_is_nobodys() {
        let good = ec("P-256", 32, 32);
        assert!(usable(&[good.clone(), good.clone()]).is_empty());
        // An unusable key counts as well when two keys share a `kid`.
        assert!(usable(&[good.clone(), with(good.clone(), "use", json!("enc"))]).is_empty());
        assert_usable(&with(good.clone(), "kid", json!("k".repeat(256))), true);
        assert_usable(&with(good.clone(), "kid", json!("k".repeat(257))), false);
        assert_usable(&with(good, "kid", json!(1)), false);
    }
}
