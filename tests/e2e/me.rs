//! `GET /me` with valid tokens and with the closest invalid ones.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::token::TokenError;
use tests::{
    Answer, Service,
    forge::{self, Forge, P256_ORDER},
};

fn assert_refused(answer: &Answer, what: &str) {
    assert_eq!(
        answer.status,
        StatusCode::UNAUTHORIZED,
        "{what}: {:?}",
        answer.body
    );
    assert!(
        answer
            .header("www-authenticate")
            .starts_with("Bearer realm="),
        "{what}"
    );
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "{what}"
    );
}

/// Asserts that each token is refused without a call to DynamoDB.
async fn assert_all_refused(service: &Service, tokens: &[(String, String)]) {
    service.dynamodb.clear();
    for (what, token) in tokens {
        let answer = service.me(token).await;
        assert_refused(&answer, what);
        assert!(
            answer
                .header("www-authenticate")
                .contains(r#"error="invalid_token""#),
            "{what}"
        );
        assert_eq!(
            answer.text("/type"),
            "urn:cambio:error:invalid_token",
            "{what}"
        );
    }
    // An unknown key id may make a function look for a new key, at most once in 30 s.
    assert!(service.dynamodb.calls().len() <= 1);
}

#[tokio::test]
async fn a_signed_in_user_sees_their_own_profile() {
    let service = Service::start().await;
    let signed_in = service.sign_in("octocat").await;
    service.sign_in("hubot").await;

    let me = service.me(signed_in.text("/access_token")).await;

    let mut expected = signed_in.body["user"].clone();
    expected["metadata"] = json!({});
    assert_eq!(me.status, StatusCode::OK);
    assert_eq!(me.body, expected);
    assert_eq!(me.header("cache-control"), "no-store");
    assert_eq!(me.header("pragma"), "no-cache");
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;

    let head = service.request("HEAD", "/me").bearer_auth(token);
    let head = service.send(head).await;

    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.header("content-type"), "application/json");
    assert_eq!(head.body, Value::Null);
    assert_refused_without_body(&service.send(service.request("HEAD", "/me")).await);
}

fn assert_refused_without_body(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.body, Value::Null);
}

#[tokio::test]
async fn without_a_token_the_challenge_says_nothing_more() {
    let service = Service::start().await;

    let answer = service.send(service.request("GET", "/me")).await;

    assert_refused(&answer, "no token");
    assert_eq!(
        answer.header("www-authenticate"),
        r#"Bearer realm="cambio""#
    );
}

#[tokio::test]
async fn t75_the_scheme_is_read_in_any_case_and_anything_else_is_refused() {
    let service = Service::start().await;
    let token = Forge::new(&service).await.good();
    let with = |value: String| service.request("GET", "/me").header("authorization", value);

    for good in [format!("bearer {token}"), format!("BEARER  {token} ")] {
        assert_eq!(
            service.send(with(good.clone())).await.status,
            StatusCode::OK,
            "{good}"
        );
    }
    for bad in [
        token.clone(),
        format!("Token {token}"),
        format!("Basic {token}"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer{token}"),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token},Bearer {token}"),
        format!("Bearer {token} {token}"),
    ] {
        assert_refused(&service.send(with(bad.clone())).await, &bad);
    }
    let twice = with(format!("Bearer {token}")).header("authorization", format!("Bearer {token}"));
    assert_refused(&service.send(twice).await, "two headers");
    let in_the_url = service.request("GET", &format!("/me?access_token={token}"));
    assert_refused(&service.send(in_the_url).await, "in the URL");
}

#[tokio::test]
async fn t13_an_unsigned_token_is_refused() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let kid = forge.header["kid"].clone();
    let mut tokens = Vec::new();
    for alg in ["none", "None", "nOnE", "NONE", ""] {
        let header = json!({ "alg": alg, "kid": kid, "typ": "at+jwt" }).to_string();
        let unsigned = forge::unsigned(&header, &forge.claims.to_string());
        tokens.push((format!("alg {alg}, no signature"), format!("{unsigned}.")));
        tokens.push((format!("alg {alg}, two parts"), unsigned));
        let signed = forge.sign(&header, &forge.claims.to_string());
        tokens.push((format!("alg {alg}, signed"), signed));
    }
    tokens.push(("no alg".to_owned(), forge.with_header("alg", Value::Null)));
    assert_all_refused(&service, &tokens).await;
}

#[tokio::test]
async fn t14_a_token_signed_with_the_public_key_as_a_secret_is_refused() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let point: Vec<u8> = ["x", "y"]
        .iter()
        .flat_map(|part| {
            URL_SAFE_NO_PAD
                .decode(forge.jwk[part].as_str().unwrap())
                .unwrap()
        })
        .collect();
    let der = [b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04".as_slice(), &point].concat();
    let base64 = STANDARD.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
    let jwk = forge.jwk.to_string();
    let jwks = service
        .send(service.request("GET", "/.well-known/jwks.json"))
        .await;
    let secrets: [(&str, &[u8]); 6] = [
        ("PEM", pem.as_bytes()),
        ("PEM without its last newline", pem.trim_end().as_bytes()),
        ("DER", &der),
        ("the point", &point),
        ("JWK", jwk.as_bytes()),
        ("the empty secret", b""),
    ];
    let mut tokens: Vec<_> = secrets
        .map(|(what, secret)| (what.to_owned(), forge.sign_hs256(secret)))
        .into();
    let published = jwks.body["keys"][0].to_string();
    tokens.push((
        "published JWK".to_owned(),
        forge.sign_hs256(published.as_bytes()),
    ));
    assert_all_refused(&service, &tokens).await;
}

/// The same attack with RSA, the default, whose public key has the most spellings.
#[tokio::test]
async fn t14_the_public_rsa_key_is_no_secret_either() {
    let service = Service::start_with(&[("SIGNING_KEY_TYPE", "RSA-2048")]).await;
    let token = service.access_token("octocat").await;
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims] = [parts[0], parts[1]]
        .map(|part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap());
    let header = header.replace("RS256", "HS256");
    let jwks = service
        .send(service.request("GET", "/.well-known/jwks.json"))
        .await;
    let jwk = &jwks.body["keys"][0];
    let [n, e] =
        ["n", "e"].map(|name| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap());
    // SubjectPublicKeyInfo of a 2,048-bit key with the exponent 65,537 (RFC 8017 §A.1.1, RFC 5280 §4.1.2.7).
    let pkcs1 = [
        b"\x30\x82\x01\x0a\x02\x82\x01\x01\x00".as_slice(),
        &n,
        b"\x02\x03",
        &e,
    ]
    .concat();
    let spki = [
        b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x03\x82\x01\x0f\x00".as_slice(),
        &pkcs1,
    ]
    .concat();
    let pem = |label: &str, der: &[u8]| {
        let lines: Vec<_> = STANDARD
            .encode(der)
            .into_bytes()
            .chunks(64)
            .map(<[u8]>::to_vec)
            .collect();
        let body = String::from_utf8(lines.join(&b'\n')).unwrap();
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
    };
    let tokens: Vec<_> = [
        ("SPKI PEM", pem("PUBLIC KEY", &spki)),
        ("PKCS#1 PEM", pem("RSA PUBLIC KEY", &pkcs1)),
        ("SPKI DER", spki),
        ("PKCS#1 DER", pkcs1),
        ("n", n),
        ("JWK", jwk.to_string().into_bytes()),
    ]
    .into_iter()
    .map(|(what, secret)| {
        let key = EncodingKey::from_secret(&secret);
        (
            what.to_owned(),
            forge::sign(&header, &claims, &key, Algorithm::HS256),
        )
    })
    .collect();
    assert_all_refused(&service, &tokens).await;
}

#[tokio::test]
async fn t15_another_algorithm_than_the_keys_own_is_refused() {
    let service = Service::start_with(&[("SIGNING_KEY_TYPE", "RSA-2048")]).await;
    let token = service.access_token("octocat").await;
    assert_eq!(service.me(&token).await.status, StatusCode::OK);
    let items = service.scan(local::dynamodb::KEYS_TABLE);
    let private = items
        .iter()
        .find(|item| item["private_key"].is_object())
        .unwrap();
    let pem = private["private_key"]["S"].as_str().unwrap();
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let signed = |alg: &str, algorithm| {
        let header = json!({ "alg": alg, "kid": private["kid"]["S"], "typ": "at+jwt" });
        forge::sign(&header.to_string(), &claims, &key, algorithm)
    };
    assert_eq!(
        service.me(&signed("RS256", Algorithm::RS256)).await.status,
        StatusCode::OK
    );

    let tokens = [
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
        ("PS512", Algorithm::PS512),
    ]
    .map(|(alg, algorithm)| (alg.to_owned(), signed(alg, algorithm)));
    let mislabelled = [
        (
            "PS256 signed as RS256".to_owned(),
            signed("PS256", Algorithm::RS256),
        ),
        ("ES256".to_owned(), signed("ES256", Algorithm::RS256)),
        ("HS256".to_owned(), signed("HS256", Algorithm::RS256)),
    ];
    let forged = [(
        "RS256 signed as PS256".to_owned(),
        signed("RS256", Algorithm::PS256),
    )];
    assert_all_refused(&service, &forged).await;
    for tokens in [&tokens[..], &mislabelled] {
        assert_all_refused(&service, tokens).await;
        for (what, token) in tokens {
            // Ours is the check that looks at the key, and comes before the library reads anything.
            let verdict = service.verdict(token).await;
            assert!(
                matches!(verdict, Err(TokenError::Foreign("alg"))),
                "{what}: {verdict:?}"
            );
        }
    }
}

#[tokio::test]
async fn t16_an_odd_key_id_is_refused_and_looked_up_nowhere() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let mut tokens = vec![
        ("missing".to_owned(), forge.with_header("kid", Value::Null)),
        (
            "array".to_owned(),
            forge.with_header("kid", json!([forge.header["kid"]])),
        ),
        (
            "null".to_owned(),
            forge.sign(r#"{"alg":"ES256","kid":null,"typ":"at+jwt"}"#, "{}"),
        ),
    ];
    for kid in [
        "unknown",
        "",
        "../../KEYSET",
        "' OR 1=1 --",
        "a\0b",
        "%s%n{}",
        "http://169.254.169.254/",
        &"k".repeat(1024),
    ] {
        tokens.push((format!("{kid:.20?}"), forge.with_header("kid", kid)));
    }
    // The keys were read a moment ago, and may be read once more a minute later.
    service.time.pass(60);
    assert_all_refused(&service, &tokens).await;
    let calls = service.dynamodb.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        calls[0].body["Key"]["pk"]["S"], "KEYSET",
        "never the key id of a token"
    );
}

#[tokio::test]
async fn t16_t50_a_flood_of_unknown_key_ids_makes_one_reload_in_30_seconds() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let good = forge.good();
    service.dynamodb.clear();
    let flood = async || {
        for nth in 0..100 {
            let token = forge.with_header("kid", format!("unknown-{nth}"));
            assert_refused(&service.me(&token).await, "flood");
        }
    };

    flood().await;
    // At start the keys were read as well, which is not 30 s ago.
    assert_eq!(service.dynamodb.calls().len(), 0);
    service.time.pass(31);
    flood().await;
    assert_eq!(service.dynamodb.calls().len(), 1);
    assert_eq!(service.me(&good).await.status, StatusCode::OK);
}

#[tokio::test]
async fn t17_t18_t20_headers_that_bring_keys_or_extensions_are_refused() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let trap = tests::proxy::Proxy::start("http://127.0.0.1:1").await;
    let tokens: Vec<_> = [
        ("jwk", forge.jwk.clone()),
        ("jku", json!(trap.url())),
        ("x5u", json!(trap.url())),
        ("x5c", json!(["AA"])),
        ("x5t", json!("AA")),
        ("x5t#S256", json!("AA")),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("anything", json!(1)),
    ]
    .into_iter()
    .map(|(name, value)| (format!("{name}: {value}"), forge.with_header(name, value)))
    .collect();
    assert_all_refused(&service, &tokens).await;
    assert!(trap.calls().is_empty());
}

#[tokio::test]
async fn t19_only_an_access_token_is_an_access_token() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    for typ in [
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "Application/At+Jwt",
    ] {
        let token = forge.with_header("typ", typ);
        assert_eq!(service.me(&token).await.status, StatusCode::OK, "{typ}");
    }
    let mut tokens: Vec<_> = [
        "JWT",
        "jwt",
        "at",
        "at+jwt2",
        "text/at+jwt",
        "a/application/at+jwt",
        "/at+jwt",
        "at+jwt ",
        "logout+jwt",
        "",
    ]
    .iter()
    .map(|typ| ((*typ).to_owned(), forge.with_header("typ", *typ)))
    .collect();
    tokens.push(("missing".to_owned(), forge.with_header("typ", Value::Null)));
    tokens.push((
        "array".to_owned(),
        forge.with_header("typ", json!(["at+jwt"])),
    ));
    assert_all_refused(&service, &tokens).await;
}

#[tokio::test]
async fn t20_t21_t22_t23_other_forms_are_refused() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let good = forge.good();
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let flattened = json!({ "protected": header, "payload": payload, "signature": signature });
    let general = json!({ "payload": payload, "signatures": [{ "protected": header, "signature": signature }] });
    let tokens = [
        ("JWE", format!("{good}.{payload}.{signature}")),
        ("flattened JSON", flattened.to_string()),
        ("general JSON", general.to_string()),
        ("padding", format!("{header}.{payload}.{signature}==")),
        ("no signature", format!("{header}.{payload}.")),
        ("no payload", format!("{header}..{signature}")),
        ("truncated", good[..good.len() - 1].to_owned()),
        ("half", good[..good.len() / 2].to_owned()),
        ("one character", "a".to_owned()),
        ("dots", "..".to_owned()),
        ("longer signature", format!("{good}AAAA")),
        ("9 KiB", forge.with_claim("scope", "x".repeat(9 * 1024))),
    ]
    .map(|(what, token)| (what.to_owned(), token));
    assert_all_refused(&service, &tokens).await;
}

#[tokio::test]
async fn t23_a_token_of_one_megabyte_is_refused_whoever_refuses_it() {
    let service = Service::start().await;
    let token = "a".repeat(1024 * 1024);

    // The HTTP server in front may close the connection first, as API Gateway does at 10 KiB.
    let answer = service
        .request("GET", "/me")
        .bearer_auth(&token)
        .send()
        .await;

    let refused = [
        StatusCode::UNAUTHORIZED,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    ];
    assert!(answer.is_err() || refused.contains(&answer.unwrap().status()));
}

#[tokio::test]
async fn t24_t25_ambiguous_json_is_refused_although_it_is_signed() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let (header, claims) = (forge.header.to_string(), forge.claims.to_string());
    let more = |member: &str| format!("{},{member}}}", &claims[..claims.len() - 1]);
    let accepted = forge.sign(&header, &more(r#""extra":{"a":[1]}"#));
    assert_eq!(service.me(&accepted).await.status, StatusCode::OK);

    let header_twice = format!(r#"{{"kid":"other",{}"#, &header[1..]);
    let mut tokens = vec![(
        "header member twice".to_owned(),
        forge.sign(&header_twice, &claims),
    )];
    for (what, claims) in [
        ("sid twice", more(r#""sid":"other""#)),
        (
            "sub twice",
            more(&format!(r#""sub":{}"#, forge.claims["sub"])),
        ),
        ("unknown member twice", more(r#""a":1,"a":1"#)),
        ("twice, escaped", more(r#""s\u0069d":"other""#)),
        ("twice, deep", more(r#""a":[{"b":1,"b":2}]"#)),
        ("a lone surrogate", more(r#""a":"\ud800""#)),
        (
            "17 deep",
            more(&format!(r#""a":{}{}"#, "[".repeat(17), "]".repeat(17))),
        ),
        ("4,000 deep", more(&format!(r#""a":{}"#, "[".repeat(4000)))),
        ("a byte order mark", format!("\u{feff}{claims}")),
        ("trailing bytes", format!("{claims}x")),
        ("an array", format!("[{claims}]")),
        ("nothing", String::new()),
        ("null", "null".to_owned()),
    ] {
        tokens.push((what.to_owned(), forge.sign(&header, &claims)));
    }
    let members: Vec<_> = (0..64).map(|nth| format!(r#""m{nth}":1"#)).collect();
    tokens.push((
        "too many claims".to_owned(),
        forge.sign(&header, &more(&members.join(","))),
    ));
    assert_all_refused(&service, &tokens).await;
}

#[tokio::test]
async fn t26_t27_time_is_exact_on_both_sides() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let now = service.time.now();
    let at = |iat: i64, exp: i64| {
        let mut claims = forge.claims.clone();
        claims["iat"] = json!(now.saturating_add_signed(iat));
        claims["exp"] = json!(now.saturating_add_signed(exp));
        forge.sign(&forge.header.to_string(), &claims.to_string())
    };
    // A minute on both sides of the edge, since the clock goes on while this runs; the exact edge is in the next test.
    for (what, token) in [
        ("expires in a minute", at(-800, 60)),
        ("an hour's lifetime", at(-60, 3540)),
        ("nbf in the past", forge.with_claim("nbf", now - 60)),
        ("issued 3 s ahead", at(3, 900)),
    ] {
        assert_eq!(service.me(&token).await.status, StatusCode::OK, "{what}");
    }
    let mut tokens = vec![
        ("expired a second ago".to_owned(), at(-900, -1)),
        ("expired a minute ago".to_owned(), at(-900, -60)),
        ("issued a minute ahead".to_owned(), at(60, 900)),
        (
            "nbf a minute ahead".to_owned(),
            forge.with_claim("nbf", now + 60),
        ),
        ("more than an hour's lifetime".to_owned(), at(-60, 3541)),
        ("expires before it was issued".to_owned(), at(4, 2)),
    ];
    for exp in [
        json!(null),
        json!("1e10"),
        json!((now + 900).to_string()),
        json!(-1),
        json!(1e30),
        json!(18_000_000_000_000_000_000_u64),
        json!(u64::MAX),
        json!(0),
        json!([now + 900]),
    ] {
        tokens.push((format!("exp {exp}"), forge.with_claim("exp", exp)));
    }
    for name in ["iat", "nbf"] {
        for value in [json!("now"), json!(-1), json!(1e30)] {
            tokens.push((format!("{name} {value}"), forge.with_claim(name, value)));
        }
    }
    tokens.push(("no iat".to_owned(), forge.with_claim("iat", Value::Null)));
    assert_all_refused(&service, &tokens).await;
}

#[tokio::test]
async fn t28_t31_t33_every_claim_must_be_there_and_ours() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let sub = forge.claims["sub"].as_str().unwrap();
    let mut tokens = Vec::new();
    for name in [
        "iss",
        "aud",
        "sub",
        "client_id",
        "iat",
        "exp",
        "jti",
        "sid",
        "session_version",
    ] {
        tokens.push((format!("no {name}"), forge.with_claim(name, Value::Null)));
        tokens.push((
            format!("{name} of a wrong type"),
            forge.with_claim(name, json!({})),
        ));
        tokens.push((
            format!("{name} in an array"),
            forge.with_claim(name, json!([forge.claims[name]])),
        ));
    }
    for (name, value) in [
        ("iss", "https://staging.example"),
        ("iss", "http://localhost:9000/"),
        ("iss", "HTTP://localhost:9000"),
        ("aud", "https://other.example"),
        ("aud", "http://localhost:9000/"),
        ("aud", "http://localhost"),
        ("sub", "583231"),
        ("sub", "USER#1"),
        ("sub", &sub.to_uppercase()),
        ("sub", &format!("{sub}#")),
        ("sub", "00000000-0000-0000-0000-000000000000"),
    ] {
        tokens.push((format!("{name} {value}"), forge.with_claim(name, value)));
    }
    tokens.push((
        "aud with others".to_owned(),
        forge.with_claim("aud", json!(["http://localhost:9000", "x"])),
    ));
    assert_all_refused(&service, &tokens).await;
}

#[tokio::test]
async fn t29_signatures_that_sign_nothing_are_refused() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let good = forge.good();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (r, s) = signature.split_at(32);
    let zero = [0_u8; 32];
    let der = [&[0x30, 0x44, 0x02, 0x20], r, &[0x02, 0x20], s].concat();
    let mut flipped = signature.clone();
    flipped[40] ^= 1;
    let tokens: Vec<_> = [
        ("all zero", [zero, zero].concat()),
        ("r = 0", [&zero, s].concat()),
        ("s = 0", [r, &zero].concat()),
        ("r = n", [&P256_ORDER, s].concat()),
        ("s = n", [r, &P256_ORDER].concat()),
        ("r = s = n", [P256_ORDER, P256_ORDER].concat()),
        ("DER", der),
        ("too long", [&signature[..], &[0]].concat()),
        ("too short", signature[..63].to_vec()),
        ("one bit", flipped),
    ]
    .into_iter()
    .map(|(what, signature)| {
        (
            what.to_owned(),
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)),
        )
    })
    .collect();
    assert_all_refused(&service, &tokens).await;
}

/// `(r, n - s)` verifies whenever `(r, s)` does, so a token must be identified by its content and not by its bytes.
#[tokio::test]
async fn t30_the_other_spelling_of_a_signature_says_the_same() {
    let service = Service::start().await;
    let good = Forge::new(&service).await.good();

    let other = forge::other_spelling(&good);

    assert_ne!(other, good);
    assert_eq!(service.verify(&other).await, service.verify(&good).await);
}

#[tokio::test]
async fn t33_a_key_of_another_issuer_with_the_same_name_is_refused() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let staging = Service::start().await;
    let other = Forge::new(&staging).await;

    let forged = other.sign(&forge.header.to_string(), &forge.claims.to_string());

    assert_all_refused(&service, &[("their key, our kid".to_owned(), forged)]).await;
    assert_eq!(service.me(&forge.good()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_of_each_kind_of_key_is_issued_and_accepted() {
    for (key_type, algorithm) in [
        ("RSA-2048", "RS256"),
        ("RSA-3072", "RS256"),
        ("P-256", "ES256"),
        ("Ed25519", "EdDSA"),
    ] {
        let service = Service::start_with(&[("SIGNING_KEY_TYPE", key_type)]).await;
        let token = service.access_token("octocat").await;
        let header = URL_SAFE_NO_PAD
            .decode(token.split('.').next().unwrap())
            .unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header["alg"], algorithm);
        assert_eq!(header["typ"], "at+jwt");
        assert_eq!(
            service.me(&token).await.status,
            StatusCode::OK,
            "{key_type}"
        );
    }
}

#[tokio::test]
async fn t27_a_token_is_good_until_it_expires() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;

    // The clock goes on by itself, so the test leaves it half a minute.
    service.time.pass(870);
    assert_eq!(service.me(&token).await.status, StatusCode::OK);
    service.time.pass(30);
    assert_refused(&service.me(&token).await, "expired");
}

#[tokio::test]
async fn a_user_who_is_gone_or_disabled_is_signed_out() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let user = service.users().remove(0);

    let mut disabled = user.clone();
    disabled["status"] = json!({ "S": "disabled" });
    service.put(local::dynamodb::TABLE, &disabled);
    let while_disabled = service.me(&token).await;
    service.delete(&user);
    let while_gone = service.me(&token).await;

    assert_refused(&while_disabled, "disabled");
    assert_refused(&while_gone, "gone");
    assert_eq!(
        while_disabled.body, while_gone.body,
        "T67: nobody learns which"
    );
}
