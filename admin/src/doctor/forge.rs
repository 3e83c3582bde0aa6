//! Forged access tokens: changed copies of a real one, and tokens of another key.
//!
//! No signing key of the deployment is needed. The tests send the same copies, and more that they sign.

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use shared::keys::{KeyError, KeyType, PrivateKey};

/// Encodes a part of a JWS (RFC 7515 §2).
pub(super) fn encoded(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Returns the first two parts of a token.
fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", encoded(header), encoded(claims))
}

/// Returns copies of a token with another signature, another encoding, or other parts, each with its class.
///
/// Header and claims of each are those of the token. A text that is no compact JWS has no copies.
pub fn copies(token: &str) -> Vec<(&'static str, String)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return Vec::new();
    };
    let (Ok(bytes), Ok(claims)) = (
        URL_SAFE_NO_PAD.decode(signature),
        URL_SAFE_NO_PAD.decode(payload),
    ) else {
        return Vec::new();
    };
    if bytes.is_empty() {
        return Vec::new();
    }
    let (r, s) = bytes.split_at(bytes.len() / 2);
    let zero = vec![0; s.len()];
    let mut flipped = bytes.clone();
    if let Some(last) = flipped.last_mut() {
        *last ^= 1;
    }
    let signatures = [
        Vec::new(),
        vec![0; bytes.len()],
        vec![0xff; bytes.len()],
        flipped,
        [s, r].concat(),
        [r, &zero].concat(),
        [&zero, s].concat(),
        bytes[..bytes.len() - 1].to_vec(),
        bytes[1..].to_vec(),
        [&bytes[..], &[0]].concat(),
        [&[0], &bytes[..]].concat(),
        [&zero[..], &bytes].concat(),
        digest(&SHA256, payload.as_bytes()).as_ref().to_vec(),
    ];
    let mut copies: Vec<_> = signatures
        .into_iter()
        .map(|signature| {
            let signature = encoded(signature);
            ("signature", format!("{header}.{payload}.{signature}"))
        })
        .collect();
    copies.extend([
        (
            "signature",
            format!("{header}.{payload}.{}", STANDARD.encode(&bytes)),
        ),
        ("encoding", format!("{header}=.{payload}.{signature}")),
        ("encoding", format!("{header}.{payload}=.{signature}")),
        (
            "encoding",
            format!("{header}.{}.{signature}", encoded(encoded(&claims))),
        ),
        ("parts", format!("{payload}.{header}.{signature}")),
        ("parts", format!("{header}.{payload}")),
        ("parts", format!("{header}..{signature}")),
        ("parts", format!(".{payload}.{signature}")),
        ("parts", format!("{header}.{payload}.{signature}.")),
        (
            "parts",
            format!("{header}.{payload}.{signature}.{signature}"),
        ),
        (
            "parts",
            format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        ),
        ("parts", format!("{header}.{payload}..{signature}")),
        ("parts", "..".to_owned()),
        (
            "serialisation",
            json!({ "protected": header, "payload": payload, "signature": signature }).to_string(),
        ),
        (
            "serialisation",
            json!({
                "payload": payload,
                "signatures": [{ "protected": header, "signature": signature }],
            })
            .to_string(),
        ),
    ]);
    copies
}

/// Header and claims of a token, as JSON objects. Nothing is verified.
pub(super) struct Parts {
    pub(super) header: Value,
    pub(super) claims: Value,
    signature: String,
}

impl Parts {
    pub(super) fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let mut next = || {
            let part = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
            let part: Value = serde_json::from_slice(&part).ok()?;
            part.is_object().then_some(part)
        };
        let (header, claims) = (next()?, next()?);
        Some(Self {
            header,
            claims,
            signature: parts.next()?.to_owned(),
        })
    }

    /// Makes the parts of a token that was never issued, for a deployment without a sign-in.
    pub(super) fn made_up(issuer: &str, kid: &str, algorithm: &str, now: u64) -> Self {
        Self {
            header: json!({ "typ": "at+jwt", "alg": algorithm, "kid": kid }),
            claims: json!({
                "iss": issuer,
                "aud": issuer,
                "sub": "01a208bb-db28-776e-8b0c-7dfd69859e79",
                "client_id": "cambio-doctor",
                "iat": now,
                "exp": now + 300,
                "auth_time": now,
                "jti": "cambio-doctor",
                "sid": "AAAAAAAAAAAAAAAAAAAAAA",
                "session_version": 0,
            }),
            signature: encoded([1; 64]),
        }
    }

    /// Returns the token with this claim changed, and the old signature.
    pub(super) fn with_claim(&self, name: &str, value: Value) -> String {
        let claims = with(&self.claims, name, value);
        let message = unsigned(&self.header.to_string(), &claims.to_string());
        format!("{message}.{}", self.signature)
    }

    /// Returns the header with these members added or replaced.
    pub(super) fn header_with(&self, members: &[(&str, Value)]) -> Value {
        let header = self.header.clone();
        let add = |header: Value, (name, value): &(&str, Value)| with(&header, name, value.clone());
        members.iter().fold(header, add)
    }

    /// Returns the message of a token with this header.
    pub(super) fn message(&self, header: &Value) -> String {
        unsigned(&header.to_string(), &self.claims.to_string())
    }
}

fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

/// A key of the same type as the deployment's, which the deployment does not know.
pub(super) struct Stranger {
    key: PrivateKey,
    pub(super) jwk: Value,
}

impl Stranger {
    /// Makes the key for a JWS algorithm.
    pub(super) fn new(algorithm: &str) -> Result<Self, KeyError> {
        let key_type = match algorithm {
            "ES256" => KeyType::P256,
            "EdDSA" => KeyType::Ed25519,
            _ => KeyType::Rsa2048,
        };
        let key = PrivateKey::generate(key_type, "")?;
        let jwk = key.publish(0, 0)?.jwk;
        Ok(Self {
            key,
            jwk: serde_json::from_str(&jwk).unwrap_or_default(),
        })
    }

    pub(super) fn sign(&self, message: &str) -> Result<String, KeyError> {
        let signature = self.key.sign_bytes(message.as_bytes())?;
        Ok(format!("{message}.{}", encoded(signature)))
    }
}

/// Signs a message with HMAC-SHA256 under a public value.
pub(super) fn hs256(message: &str, secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", encoded(signature))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_copy_is_the_token_itself_and_none_comes_twice() {
        for length in [64, 256] {
            let signature: Vec<u8> = (1..=u8::MAX).cycle().take(length).collect();
            let token = format!("{}.{}", unsigned("{\"alg\":1}", "{}"), encoded(signature));
            let all = copies(&token);
            let texts: BTreeSet<&str> = all.iter().map(|(_, text)| &**text).collect();

            assert!(all.len() >= 25, "{}", all.len());
            assert_eq!(texts.len(), all.len());
            assert!(!texts.contains(&*token));
        }
        assert!(copies("cbr_token").is_empty());
        assert!(copies("e30.e30.").is_empty());
    }

    #[test]
    fn header_and_claims_are_objects() {
        assert!(Parts::of("e30.e30.AA").is_some());
        for token in [
            "W10.e30.AA",
            "e30.W10.AA",
            "MQ.e30.AA",
            "e30.bnVsbA.AA",
            "e30.e30",
        ] {
            assert!(Parts::of(token).is_none(), "{token}");
        }
    }
}
