//! The attacks with forged access tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    api::Api,
    documents::Documents,
    forge::{Parts, Stranger, copies, encoded, hs256},
    report::{Report, Trials},
};

/// Returns a copy of the token with a changed signature.
pub(super) fn one_forged(token: &str) -> String {
    let copy = copies(token).into_iter().nth(3);
    copy.map_or_else(|| "a.b.c".to_owned(), |(_, text)| text)
}

/// Sends tokens with the header of the real one, and without its signature.
pub(super) async fn signatures(
    api: &Api,
    token: &str,
    parts: &Parts,
    documents: &Documents,
    report: &mut Report,
) {
    let mut trials = Trials::of("token.signature");
    let mut all = copies(token);
    let later = |name: &str| {
        parts.claims[name]
            .as_u64()
            .map(|time| json!(time.saturating_add(60)))
    };
    for (name, value) in [
        ("sub", json!("01a208bb-db28-776e-8b0c-7dfd69859e79")),
        ("sid", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ("client_id", json!("cambio-doctor")),
        ("roles", json!(["admin"])),
        ("scope", json!("admin")),
        ("aud", json!("https://cambio-doctor.invalid")),
        ("iss", json!("https://cambio-doctor.invalid")),
        ("jti", json!("cambio-doctor")),
        ("exp", later("exp").unwrap_or_default()),
        ("iat", later("iat").unwrap_or_default()),
    ] {
        all.push((name, parts.with_claim(name, value)));
    }
    let algorithm = parts.header["alg"].as_str().unwrap_or_default();
    match Stranger::new(algorithm).and_then(|key| key.sign(&parts.message(&parts.header))) {
        Ok(forged) => all.push(("the signature of another key", forged)),
        Err(error) => trials.require(&format!("no key can be made: {error}"), false),
    }
    // The key that waits for its turn did not sign the token.
    let own = &parts.header["kid"];
    if let Some(other) = documents.keys.iter().find(|key| key["kid"] != *own) {
        let header = parts.header_with(&[("kid", other["kid"].clone())]);
        let signature = token.rsplit('.').next().unwrap_or_default();
        let message = parts.message(&header);
        all.push(("the kid of another key", format!("{message}.{signature}")));
    }
    for (what, text) in all {
        let reply = api.send(api.me(&text)).await;
        trials.expect(what, &reply, 401, "invalid_token");
    }
    report.close(trials);
}

/// Sends tokens whose header asks for another verification.
pub(super) async fn headers(api: &Api, parts: &Parts, documents: &Documents, report: &mut Report) {
    let mut trials = Trials::of("token.algorithm");
    let mut all = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let message = parts.message(&parts.header_with(&[("alg", json!(none))]));
        all.push((format!("alg {none:?}"), format!("{message}.")));
        all.push((
            format!("alg {none:?}, signed"),
            format!("{message}.{}", encoded([1; 64])),
        ));
    }
    let message = parts.message(&parts.header_with(&[("alg", json!("HS256"))]));
    let kid = &parts.header["kid"];
    let key = documents.keys.iter().find(|key| key["kid"] == *kid);
    for (what, secret) in key.map(public_values).unwrap_or_default() {
        all.push((format!("HS256 with {what}"), hs256(&message, &secret)));
    }
    all.push(("HS256 without a secret".to_owned(), hs256(&message, &[0])));
    for (what, text) in all {
        let reply = api.send(api.me(&text)).await;
        trials.expect(&what, &reply, 401, "invalid_token");
    }
    report.close(trials);

    let mut trials = Trials::of("token.header");
    let algorithm = parts.header["alg"].as_str().unwrap_or_default();
    let stranger = match Stranger::new(algorithm) {
        Ok(stranger) => stranger,
        Err(error) => {
            trials.require(&format!("no key can be made: {error}"), false);
            return report.close(trials);
        }
    };
    let jwks = "https://cambio-doctor.invalid/jwks.json";
    for (what, members) in [
        ("jwk", vec![("jwk", stranger.jwk.clone())]),
        ("jku", vec![("jku", json!(jwks))]),
        ("x5u", vec![("x5u", json!(jwks))]),
        ("x5c", vec![("x5c", json!(["MIIB"]))]),
        (
            "crit",
            vec![("crit", json!(["b64"])), ("b64", json!(false))],
        ),
        ("typ of an ID token", vec![("typ", json!("JWT"))]),
        (
            "the kid of the forger",
            vec![("kid", stranger.jwk["kid"].clone())],
        ),
        ("the kid of no key", vec![("kid", json!("cambio-doctor"))]),
        (
            "a kid that is a path",
            vec![("kid", json!("../../../dev/null"))],
        ),
        ("a kid that is a query", vec![("kid", json!("' OR 1=1 --"))]),
        ("a kid that is a list", vec![("kid", json!([kid]))]),
    ] {
        let message = parts.message(&parts.header_with(&members));
        let Ok(text) = stranger.sign(&message) else {
            continue;
        };
        let reply = api.send(api.me(&text)).await;
        trials.expect(what, &reply, 401, "invalid_token");
    }
    report.close(trials);
}

/// Returns the public values of a key that a verifier could take for a secret.
fn public_values(key: &Value) -> Vec<(&'static str, Vec<u8>)> {
    let member = |name: &str| {
        let text = key[name].as_str()?;
        URL_SAFE_NO_PAD.decode(text).ok()
    };
    let mut values = vec![("the JWK", key.to_string().into_bytes())];
    if let Some(modulus) = member("n") {
        values.push(("the modulus", modulus));
    }
    if let Some(x) = member("x") {
        let point = member("y").map(|y| [&[4], &x[..], &y].concat());
        values.push(("the point", point.unwrap_or(x)));
    }
    values
}
