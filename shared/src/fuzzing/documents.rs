//! The documents of a provider: its keys and its discovery document.

use std::collections::BTreeSet;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use url::Url;

use super::{
    Target, changed,
    tokens::{discovered, header, jwk, sign},
};
use crate::{
    jwk as jwks_of,
    jws::{self, ForeignHeader},
    provider::fuzzing::{ISSUER, JWKS_HOST},
};

pub(super) const JWKS: Target = Target {
    name: "jwks",
    seeds: jwks_seeds,
    run: jwks,
};

pub(super) const DISCOVERY: Target = Target {
    name: "discovery",
    seeds: discovery_seeds,
    run: discovery,
};

const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::HS256,
    Algorithm::HS512,
];

fn jwks_seeds() -> Vec<String> {
    // The examples of RFC 7517, Appendix A.1.
    let ec = json!({
        "kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    let rsa = json!({
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "rsa",
        "n": concat!(
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV",
            "4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7",
            "d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44",
            "-csFCur-kEgU8awapJzKnqDKgw"
        ),
    });
    let mut sets = vec![
        json!({ "keys": [jwk(), ec, rsa] }),
        json!({ "keys": [ec, ec] }),
        json!({ "keys": [] }),
        json!({}),
        json!([jwk()]),
    ];
    for change in [
        json!({ "use": "enc" }),
        json!({ "key_ops": ["verify"] }),
        json!({ "key_ops": ["sign"] }),
        json!({ "d": "AQ" }),
        json!({ "alg": "ES384" }),
        json!({ "alg": "HS256" }),
        json!({ "kty": "oct", "k": "AQ" }),
        json!({ "crv": "P-384" }),
        json!({ "crv": "secp256k1" }),
        json!({ "x": "AA" }),
        json!({ "kid": null }),
        json!({ "kid": 1 }),
        json!({ "x5c": ["MII"] }),
    ] {
        sets.push(json!({ "keys": [changed(&ec, &change)] }));
    }
    for change in [
        json!({ "e": "AQ" }),
        json!({ "n": "AQ" }),
        json!({ "alg": "PS256" }),
    ] {
        sets.push(json!({ "keys": [changed(&rsa, &change)] }));
    }
    sets.iter().map(Value::to_string).collect()
}

/// A set yields public keys only, each for the algorithms of its type, and none accepts a signature of another key.
fn jwks(input: &[u8]) -> bool {
    let set: Option<Value> = serde_json::from_slice(input).ok();
    let keys = set.as_ref().and_then(|set| set["keys"].as_array());
    let Some(keys) = keys.filter(|keys| keys.len() <= 50) else {
        return false;
    };
    let usable = jwks_of::usable(keys);
    let names: Vec<&str> = usable.ids().collect();
    let unique: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len(), "two keys with one kid");
    for key in keys {
        let is_private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|member| key.get(member).is_some());
        if is_private || key["kty"] == "oct" || key["use"] == "enc" {
            assert!(!key["kid"].as_str().is_some_and(|kid| unique.contains(kid)));
        }
    }
    for algorithm in ALGORITHMS {
        let kids = names.iter().copied().map(Some).chain([None]);
        for key in kids.filter_map(|kid| usable.find(kid, algorithm)) {
            let is_symmetric = matches!(algorithm, Algorithm::HS256 | Algorithm::HS512);
            assert!(!(is_symmetric && key.signs_with(algorithm)));
            let forged = changed(&header("JWT"), &json!({ "alg": algorithm }));
            let forged = sign(&forged.to_string(), r#"{"iss":"https://evil.example"}"#);
            if let Ok(forged) = jws::inspect::<ForeignHeader>(&forged) {
                let verified = forged.verify::<Value>(key);
                assert!(verified.is_err() || is_own(keys), "a forged token");
            }
        }
    }
    !usable.is_empty()
}

/// Returns whether one of the keys is the one that signs here.
fn is_own(keys: &[Value]) -> bool {
    keys.iter().any(|key| key["x"] == jwk()["x"])
}

fn discovery_seeds() -> Vec<String> {
    let document = json!({
        "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys"),
        "id_token_signing_alg_values_supported": ["EdDSA"],
    });
    let mut seeds = vec![document.to_string(), "{}".to_owned(), "[]".to_owned()];
    for jwks_uri in [
        "https://keys.example.com/keys",
        "https://keys.example.com:444/keys",
        "http://login.example.com/keys",
        "https://evil.example/keys",
        "https://login.example.com@evil.example/keys",
        "https://a:b@login.example.com/keys",
        "https://login.example.com.evil.example/keys",
        "https:\\\\login.example.com\\keys",
        "//login.example.com/keys",
        "https://169.254.169.254/keys",
        "file:///etc/passwd",
    ] {
        let document = changed(&document, &json!({ "jwks_uri": jwks_uri }));
        seeds.push(document.to_string());
    }
    for issuer in ["https://login.example.com/", "https://evil.example", ""] {
        let document = changed(&document, &json!({ "issuer": issuer }));
        seeds.push(document.to_string());
    }
    seeds
}

/// The keys of a provider are read by `https` from its own host, or from one of the settings.
fn discovery(input: &[u8]) -> bool {
    let Some(address) = discovered(input) else {
        return false;
    };
    let url = Url::parse(&address).ok();
    let url = url.as_ref();
    assert_eq!(url.map(Url::scheme), Some("https"), "{address}");
    let host = url.and_then(Url::host_str);
    let is_own = host.is_some_and(|host| format!("https://{host}") == ISSUER);
    assert!(is_own || host == Some(JWKS_HOST), "{address}");
    assert_eq!(url.and_then(Url::port), None, "{address}");
    assert_eq!(url.map(Url::username), Some(""), "{address}");
    assert_eq!(url.and_then(Url::password), None, "{address}");
    true
}
