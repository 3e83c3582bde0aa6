//! Access tokens, ID tokens, vouched sign-ins and refresh tokens.
//!
//! An input that begins with `{` is a header and, after the first line break, claims: the target signs them with the
//! key of the issuer. So an input reaches what comes after the signature. Any other input is a whole token.

#![expect(
    clippy::expect_used,
    reason = "a target without its keys proves nothing"
)]

use std::{collections::BTreeSet, str, sync::OnceLock};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{ISSUER, NOW, Target, block_on, changed, clock};
use crate::{
    config::{self, Environment},
    dynamodb,
    ids::{SessionId, UserId},
    keys::{KeySet, KeyStore, KeyType, Keys, PublishedKey},
    provider::fuzzing::{self, Known},
    sessions::{Nonce, RefreshToken},
    token::TokenVerifier,
};

pub(super) const ACCESS_TOKEN: Target = Target {
    name: "access-token",
    seeds: || seeds(&access_header(), &access_claims()),
    run: access_token,
};

pub(super) const ID_TOKEN: Target = Target {
    name: "id-token",
    seeds: || seeds(&header("JWT"), &id_claims()),
    run: id_token,
};

pub(super) const VOUCHED_SIGN_IN: Target = Target {
    name: "vouched-sign-in",
    seeds: || seeds(&header("vouch+jwt"), &vouched_claims()),
    run: vouched_sign_in,
};

pub(super) const REFRESH_TOKEN: Target = Target {
    name: "refresh-token",
    seeds: refresh_seeds,
    run: refresh_token,
};

const USER: &str = "01a208bb-db28-776e-8b0c-7dfd69859e79";

/// The key of the issuer. It signs deterministically, so the seeds are the same in each run.
fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key")
}

/// The public key of the issuer.
pub(super) fn jwk() -> Value {
    let x = URL_SAFE_NO_PAD.encode(key().public_key().as_ref());
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x })
}

pub(super) fn sign(header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key().sign(message.as_bytes()));
    format!("{message}.{signature}")
}

pub(super) fn header(typ: &str) -> Value {
    json!({ "alg": "EdDSA", "kid": "one", "typ": typ })
}

fn access_header() -> Value {
    header("at+jwt")
}

fn access_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ISSUER, "sub": USER, "client_id": "nextjs", "iat": NOW, "exp": NOW + 900,
        "auth_time": NOW, "jti": "a-token", "sid": "AAAAAAAAAAAAAAAAAAAAAA", "session_version": 0,
        "scope": "orders:read", "roles": ["admin"], "plan": "gold",
    })
}

fn id_claims() -> Value {
    json!({
        "iss": fuzzing::ISSUER, "aud": "app", "sub": "user-17", "iat": NOW, "exp": NOW + 600, "azp": "app",
        "auth_time": NOW, "nonce": "n", "name": "Ada Lovelace", "email": "ada@example.com", "email_verified": true,
        "picture": "https://example.com/ada.png", "preferred_username": "ada",
    })
}

fn vouched_claims() -> Value {
    json!({
        "iss": "nextjs", "aud": ISSUER, "sub": "user-17", "iat": NOW, "exp": NOW + 60, "jti": "once",
        "auth_time": NOW, "name": "Ada Lovelace", "email": "ada@example.com", "email_verified": true,
    })
}

/// Returns a valid token, its two parts to sign, and such parts with one change each.
fn seeds(header: &Value, claims: &Value) -> Vec<String> {
    let parts = |header: &Value, claims: &Value| format!("{header}\n{claims}");
    let mut seeds = vec![
        sign(&header.to_string(), &claims.to_string()),
        parts(header, claims),
        "a.b.c".to_owned(),
    ];
    for change in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "ES256" }),
        json!({ "kid": "two" }),
        json!({ "kid": null }),
        json!({ "typ": null }),
        json!({ "typ": "application/at+jwt" }),
        json!({ "crit": ["b64"], "b64": false }),
        json!({ "jwk": jwk() }),
    ] {
        seeds.push(parts(&changed(header, &change), claims));
    }
    for change in [
        json!({ "aud": ["app", "other"] }),
        json!({ "aud": [] }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": NOW }),
        json!({ "exp": 1e300 }),
        json!({ "iat": NOW + 3600 }),
        json!({ "iat": -1 }),
        json!({ "nbf": NOW + 3600 }),
        json!({ "sub": "é" }),
        json!({ "sub": null }),
        json!({ "sid": "a" }),
        json!({ "jti": "" }),
        json!({ "roles": [] }),
        json!({ "auth_time": 1.5 }),
        json!({ "email_verified": "true" }),
        json!({ "name": "\u{202e}a\u{300}" }),
        json!({ "picture": "http://example.com" }),
    ] {
        seeds.push(parts(header, &changed(claims, &change)));
    }
    seeds
}

/// Returns the token of an input, and its claims if the target signed them.
fn token_of(input: &[u8]) -> Option<(String, Option<&str>)> {
    let text = str::from_utf8(input).ok()?;
    let parts = text.split_once('\n').filter(|_| text.starts_with('{'));
    Some(match parts {
        Some((header, claims)) => (sign(header, claims), Some(claims)),
        None => (text.to_owned(), None),
    })
}

/// Asserts that a whole token which was accepted is one of the seeds: no other text has a valid signature.
fn assert_made(token: &str, of: &Target) {
    static MADE: OnceLock<BTreeSet<String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let all = [ACCESS_TOKEN, ID_TOKEN, VOUCHED_SIGN_IN];
        all.iter().flat_map(|target| (target.seeds)()).collect()
    });
    assert!(made.contains(token), "a forged {}: {token}", of.name);
}

fn verifier() -> &'static TokenVerifier {
    static VERIFIER: OnceLock<TokenVerifier> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let env = Environment::of([
            ("AWS_REGION", "local"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1"),
        ]);
        let config = config::DynamoDb::from_env(&env).expect("settings");
        let store = KeyStore::new(dynamodb::client(&config), "keys".to_owned());
        let published = PublishedKey {
            kid: "one".to_owned(),
            key_type: KeyType::Ed25519,
            jwk: jwk().to_string(),
            published_at: 0,
            sign_from: 0,
        };
        let set = KeySet {
            version: 1,
            keys: vec![published],
        };
        let keys = block_on(Keys::holding(store, set, clock())).expect("keys");
        TokenVerifier::new(keys, ISSUER.into(), vec![ISSUER.to_owned()], clock())
    })
}

fn access_token(input: &[u8]) -> bool {
    let Some((token, signed)) = token_of(input) else {
        return false;
    };
    let Ok(claims) = block_on(verifier().verify(&token)) else {
        return false;
    };
    let Some(signed) = signed else {
        assert_made(&token, &ACCESS_TOKEN);
        return true;
    };
    assert_eq!((&*claims.iss, &*claims.aud), (ISSUER, ISSUER));
    assert!(claims.exp > NOW && claims.iat <= NOW + 5);
    assert!(claims.nbf.is_none_or(|nbf| nbf <= NOW + 5));
    assert!(claims.exp - claims.iat <= 3600);
    // The claims are the signed ones in another order, without members that mean nothing.
    let mut written: Value = serde_json::from_str(signed).expect("claims");
    let members = written.as_object_mut().expect("an object");
    for name in ["nbf", "scope"] {
        members.retain(|member, value| member != name || !value.is_null());
    }
    members.retain(|name, value| name != "roles" || value != &json!([]));
    assert_eq!(serde_json::to_value(&claims).expect("claims"), written);
    true
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| block_on(Known::new(jwk(), &clock(), ISSUER)))
}

/// Returns the address of the keys that a discovery document names.
pub(super) fn discovered(document: &[u8]) -> Option<String> {
    known().discovered(document)
}

/// Returns the claims that were signed, whose members are checked without the types of the product.
fn written(claims: &str) -> Value {
    serde_json::from_str(claims).expect("claims")
}

/// Returns the seconds of a claim that is a time.
fn seconds(claims: &Value, name: &str) -> f64 {
    claims[name].as_f64().expect("a time")
}

fn assert_timely(claims: &Value, longest: f64) {
    let (now, leeway) = (NOW as f64, 60.0);
    let exp = seconds(claims, "exp");
    assert!(exp + leeway > now && exp.floor() <= now + longest + leeway);
    for name in ["iat", "nbf"] {
        if !claims[name].is_null() {
            assert!(seconds(claims, name).floor() <= now + leeway);
        }
    }
}

fn assert_subject(subject: &str, claims: &Value) {
    assert_eq!(claims["sub"], subject);
    assert!((1..=255).contains(&subject.len()) && subject.is_ascii());
}

fn id_token(input: &[u8]) -> bool {
    let Some((token, signed)) = token_of(input) else {
        return false;
    };
    let Ok(identity) = block_on(known().id_token(&token)) else {
        return false;
    };
    let Some(signed) = signed else {
        assert_made(&token, &ID_TOKEN);
        return true;
    };
    let claims = written(signed);
    assert_eq!(claims["iss"], fuzzing::ISSUER);
    let audiences = &claims["aud"];
    let is_ours = |value: &Value| value == "app";
    assert!(
        is_ours(audiences)
            || audiences
                .as_array()
                .is_some_and(|all| all.iter().any(is_ours))
    );
    assert!(is_ours(&claims["azp"]) || claims["azp"].is_null());
    assert_timely(&claims, f64::MAX);
    assert_subject(identity.subject(), &claims);
    assert_eq!(identity.provider(), "acme");
    true
}

fn vouched_sign_in(input: &[u8]) -> bool {
    let Some((token, signed)) = token_of(input) else {
        return false;
    };
    let Ok(identity) = known().vouched(&token) else {
        return false;
    };
    let Some(signed) = signed else {
        assert_made(&token, &VOUCHED_SIGN_IN);
        return true;
    };
    let claims = written(signed);
    assert_eq!(claims["iss"], "nextjs");
    assert_timely(&claims, 300.0);
    assert_subject(identity.subject(), &claims);
    assert_eq!(identity.provider(), "app:nextjs");
    let jti = claims["jti"].as_str().expect("a jti");
    assert!((1..=256).contains(&jti.len()));
    true
}

fn example() -> RefreshToken {
    let subject_token = "gho_a".to_owned().into();
    let session = SessionId::of_subject_token(&subject_token);
    let user: UserId = USER.parse().expect("a user id");
    RefreshToken::first(user, session, &subject_token, Nonce([7; 32]))
}

/// The length of a decoded refresh token without its checksum, in bytes.
const PAYLOAD: usize = 85;

fn refresh_seeds() -> Vec<String> {
    let first = example();
    let next = first.successor(Nonce([1; 32])).expect("a successor");
    let texts = [first, next].map(|token| token.to_text().expose_secret().to_owned());
    let payload = URL_SAFE_NO_PAD.decode(&texts[0][4..]).expect("base64url");
    let payload = URL_SAFE_NO_PAD.encode(&payload[..PAYLOAD]);
    let mut seeds = texts.to_vec();
    seeds.extend([
        format!("crc {payload}"),
        format!("crc A{}", &payload[1..]),
        format!("{} ", texts[0]),
        texts[0].replace("cbr_", "CBR_"),
        format!("{}=", texts[0]),
        "cbr_".to_owned(),
    ]);
    seeds
}

/// An input that begins with `crc ` is the payload of a token, which gets its checksum here.
fn refresh_token(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else {
        return false;
    };
    let checked = text.strip_prefix("crc ").and_then(|payload| {
        let mut payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        payload.extend(crc32fast::hash(&payload).to_be_bytes());
        Some(format!("cbr_{}", URL_SAFE_NO_PAD.encode(payload)))
    });
    let text = checked.as_deref().unwrap_or(text);
    let Ok(token) = RefreshToken::parse(text) else {
        return false;
    };
    assert_eq!(token.to_text().expose_secret(), text, "one spelling only");
    assert_eq!(text.len(), 4 + 119);
    if let Some(next) = token.successor(Nonce([2; 32])) {
        let text = next.to_text();
        let read = RefreshToken::parse(text.expose_secret()).expect("a refresh token");
        assert_eq!(read.generation, token.generation + 1);
        assert_eq!(read.session_id, token.session_id);
        assert_eq!(read.user_id, token.user_id);
    }
    true
}
