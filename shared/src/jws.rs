//! Strict checks of a token's form before the JWT library reads it.
//!
//! JSON and signature libraries tolerate much that RFC 8725 warns of: unknown critical headers, any `typ`, repeated
//! members, tokens of any size. The checks here trust no value of the token, and cost less than one hash.

use std::{collections::BTreeMap, fmt, sync::OnceLock, time::Duration};

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Number;

use crate::{
    clock::Timestamp,
    json,
    telemetry::{Part, Timed},
};

/// The largest token of Cambio, in bytes. It has about 800; API Gateway allows 10,240 for all headers together.
const MAX_TOKEN: usize = 8 * 1024;
/// The largest token of another issuer, in bytes: the body of a request has at most 64 KiB, and some providers list all
/// groups of a person.
const MAX_FOREIGN_TOKEN: usize = 64 * 1024;

/// Members of a header that bring a key, or change what is signed (RFC 8725 §3.10).
const FORBIDDEN: [&str; 8] = ["b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"];

/// The algorithms that a client may sign with: client assertions, and the JWTs by which it vouches for its users.
pub const CLIENT_ALGORITHMS: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
];

/// A text is not a plain compact JWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

/// The reason why a well-formed JWS is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The algorithm of its header is not the key's.
    Algorithm,
    /// The key did not make its signature.
    Signature,
    /// A claim is missing, or has another type.
    Claims,
}

/// The limits of a token.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    bytes: usize,
    json: json::Limits,
}

/// A kind of header, with the limits of the tokens that have it.
pub(crate) trait JoseHeader: DeserializeOwned {
    const LIMITS: Limits;

    fn alg(&self) -> Algorithm;
}

/// A token of the right form. Nothing of it is verified.
pub(crate) struct Inspected<'t, H> {
    pub(crate) header: H,
    /// The part that is signed: the header, a dot and the payload.
    message: &'t str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// A public key that verifies signatures. It is parsed once, for the algorithm that it first verifies with.
///
/// `jsonwebtoken` parses a public key for each signature. Kept, an RSA key also keeps what its arithmetic needs.
#[derive(Clone)]
pub(crate) struct PublicKey {
    key: DecodingKey,
    /// The algorithm that the key names or that follows from its curve.
    algorithm: Option<Algorithm>,
    parsed: OnceLock<(Algorithm, Option<ParsedPublicKey>)>,
}

/// The unverified header of one of Cambio's tokens: these members and no others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) alg: Algorithm,
    pub(crate) kid: String,
    pub(crate) typ: Option<String>,
}

impl JoseHeader for Header {
    const LIMITS: Limits = Limits {
        bytes: MAX_TOKEN,
        json: json::Limits {
            depth: 16,
            members: 64,
        },
    };

    fn alg(&self) -> Algorithm {
        self.alg
    }
}

/// The unverified header of a JWT of another issuer. OpenID Connect and RFC 7515 §4 allow further members, which are
/// ignored, except [`FORBIDDEN`] ones.
#[derive(Debug, Deserialize)]
pub(crate) struct ForeignHeader {
    pub(crate) alg: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    #[serde(flatten)]
    _others: Ignored,
}

impl JoseHeader for ForeignHeader {
    const LIMITS: Limits = Limits {
        bytes: MAX_FOREIGN_TOKEN,
        json: json::Limits {
            depth: 64,
            members: 200,
        },
    };

    fn alg(&self) -> Algorithm {
        self.alg
    }
}

/// Further members of a header, none of them [`FORBIDDEN`].
#[derive(Debug, Deserialize)]
#[serde(try_from = "BTreeMap<String, IgnoredAny>")]
struct Ignored;

impl TryFrom<BTreeMap<String, IgnoredAny>> for Ignored {
    type Error = &'static str;

    fn try_from(members: BTreeMap<String, IgnoredAny>) -> Result<Self, Self::Error> {
        let is_forbidden = |name: &String| FORBIDDEN.contains(&name.as_str());
        if members.keys().any(is_forbidden) {
            return Err("a forbidden member");
        }
        Ok(Self)
    }
}

/// A time as a JSON number, which may have a fraction or an exponent (RFC 7519 §2), without its fraction.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Number")]
pub(crate) struct NumericDate(pub(crate) Timestamp);

impl TryFrom<Number> for NumericDate {
    type Error = &'static str;

    fn try_from(number: Number) -> Result<Self, Self::Error> {
        let whole = || Duration::try_from_secs_f64(number.as_f64()?).ok();
        let seconds = number.as_u64().or_else(|| Some(whole()?.as_secs()));
        seconds.map(Self).ok_or("not a time since 1970")
    }
}

/// Deserializes a [`NumericDate`].
pub(crate) fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    NumericDate::deserialize(deserializer).map(|NumericDate(time)| time)
}

/// Deserializes an optional [`NumericDate`].
pub(crate) fn optional_date<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let date = Option::<NumericDate>::deserialize(deserializer)?;
    Ok(date.map(|NumericDate(time)| time))
}

/// The `aud` claim, a text or a list (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    /// Returns whether each audience meets `is_us`: another one could use the token here.
    pub(crate) fn is_only(&self, is_us: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(audience) => is_us(audience),
            Self::Several(all) => !all.is_empty() && all.iter().all(|one| is_us(one)),
        }
    }
}

/// Checks the form of `token`.
pub(crate) fn inspect<H: JoseHeader>(token: &str) -> Result<Inspected<'_, H>, Malformed> {
    if token.len() > H::LIMITS.bytes {
        return Err(Malformed("too large"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed("not three parts"));
    };
    let message = &token[..token.len() - signature.len() - 1];
    let header = decode(header)?;
    let payload = decode(payload)?;
    let signature = decode(signature)?;
    reject_ambiguous_json(&header, H::LIMITS)?;
    reject_ambiguous_json(&payload, H::LIMITS)?;
    Ok(Inspected {
        header: serde_json::from_slice(&header).map_err(|_| Malformed("unexpected header"))?,
        message,
        payload,
        signature,
    })
}

impl<H: JoseHeader> Inspected<'_, H> {
    /// Returns the payload, unverified.
    pub(crate) fn unverified<P: DeserializeOwned>(&self) -> Result<P, Malformed> {
        serde_json::from_slice(&self.payload).map_err(|_| Malformed("unexpected payload"))
    }

    /// Verifies the signature with `key` and the one algorithm that both the header and `key` name, and returns the
    /// claims.
    ///
    /// Their values are for the caller to check, against its own clock.
    pub(crate) fn verify<C: DeserializeOwned>(&self, key: &PublicKey) -> Result<C, Refused> {
        let alg = self.header.alg();
        if !key.signs_with(alg) {
            return Err(Refused::Algorithm);
        }
        let message = self.message.as_bytes();
        if !key.verifies(alg, message, &self.signature) {
            return Err(Refused::Signature);
        }
        // The error may quote the token.
        serde_json::from_slice(&self.payload).map_err(|_| Refused::Claims)
    }
}

impl<H: fmt::Debug> fmt::Debug for Inspected<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut inspected = f.debug_struct("Inspected");
        inspected
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Makes a key for one algorithm, or for each of its family.
    pub(crate) fn new(key: DecodingKey, algorithm: Option<Algorithm>) -> Self {
        Self {
            key,
            algorithm,
            parsed: OnceLock::new(),
        }
    }

    pub(crate) fn signs_with(&self, algorithm: Algorithm) -> bool {
        self.key.family() == algorithm.family() && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Returns whether `signature` is that of the key and of `alg` for `message`.
    fn verifies(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let _time = Timed::start(Part::Crypto);
        let is_signed = |key: &ParsedPublicKey| key.verify_sig(message, signature).is_ok();
        let (kept_for, kept) = self.parsed.get_or_init(|| (alg, parse(&self.key, alg)));
        if *kept_for == alg {
            return kept.as_ref().is_some_and(is_signed);
        }
        // An RSA key that names no algorithm, and verifies with several.
        parse(&self.key, alg).as_ref().is_some_and(is_signed)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").finish_non_exhaustive()
    }
}

/// Parses `key` for signatures of `alg`; returns `None` if the key is not of the family of `alg`, or not valid.
fn parse(key: &DecodingKey, alg: Algorithm) -> Option<ParsedPublicKey> {
    if key.family() != alg.family() {
        return None;
    }
    let rsa = |parameters: &'static RsaParameters| match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            let components = RsaPublicKeyComponents { n, e };
            components.to_parsed_public_key(parameters).ok()
        }
        DecodingKeyKind::SecretOrDer(_) => None,
    };
    let point = |of: &'static dyn signature::VerificationAlgorithm| {
        ParsedPublicKey::new(of, key.try_get_as_bytes().ok()?).ok()
    };
    match alg {
        Algorithm::RS256 => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => rsa(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => rsa(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => rsa(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => point(&signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => point(&signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => point(&signature::ED25519),
        // A symmetric algorithm, or one that no key of Cambio's has.
        _ => None,
    }
}

/// Decodes base64url without padding (RFC 7515 §2), and refuses unused trailing bits.
fn decode(part: &str) -> Result<Vec<u8>, Malformed> {
    if part.is_empty() {
        return Err(Malformed("an empty part"));
    }
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Malformed("not base64url"))
}

/// Refuses what is no JSON object, or could be read as two (RFC 8725 §2.4).
fn reject_ambiguous_json(json: &[u8], limits: Limits) -> Result<(), Malformed> {
    if json.first() != Some(&b'{') {
        return Err(Malformed("not a JSON object"));
    }
    json::reject_ambiguous(json, limits.json).map_err(|_| Malformed("not plain JSON"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use aws_lc_rs::{
        rand::SystemRandom,
        rsa::KeySize,
        signature::{EcdsaKeyPair, KeyPair, RsaEncoding, RsaKeyPair},
    };
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const MAX_DEPTH: usize = Header::LIMITS.json.depth;
    const MAX_MEMBERS: usize = Header::LIMITS.json.members;

    fn inspect(token: &str) -> Result<Header, Malformed> {
        super::inspect::<Header>(token).map(|inspected| inspected.header)
    }

    const HEADER: &str = r#"{"alg":"RS256","kid":"k","typ":"at+jwt"}"#;

    fn token(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let [header, payload, signature] = [header.as_ref(), payload.as_ref(), b"signature"]
            .map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{payload}.{signature}")
    }

    fn with_header(header: impl AsRef<[u8]>) -> Result<Header, Malformed> {
        inspect(&token(header, "{}"))
    }

    fn with_payload(payload: impl AsRef<[u8]>) -> Result<Header, Malformed> {
        inspect(&token(HEADER, payload))
    }

    #[test]
    fn a_plain_token_passes() {
        let header = with_header(HEADER).unwrap();
        assert_eq!(header.kid, "k");
        assert!(with_payload(r#"{"a":[{"a":1},{"a":null}],"b":{"a":true}}"#).is_ok());
    }

    /// All Rust files in `folder`, with their text.
    fn sources(folder: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let read = |path: std::path::PathBuf| {
            if path.is_dir() {
                return sources(&path);
            }
            let text = fs::read_to_string(&path).unwrap();
            vec![(path.display().to_string(), text)]
        };
        entries.flat_map(read).collect()
    }

    #[test]
    fn only_this_file_verifies_signatures_of_tokens() {
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        let verifying = sources.iter().filter(|(_, text)| {
            let mut words = text.split(|c: char| !c.is_alphanumeric());
            let mut calls = [
                "jsonwebtoken::decode",
                "crypto::verify",
                "verify_sig",
                "PublicKey::verify",
            ]
            .iter();
            words.any(|word| word == "Validation") || calls.any(|call| text.contains(call))
        });
        let names: Vec<&str> = verifying.map(|(name, _)| name.as_str()).collect();
        assert!(
            matches!(names[..], [name] if name.ends_with("jws.rs")),
            "{names:?}"
        );
    }

    #[test]
    fn t15_a_kept_key_verifies_with_each_of_its_algorithms_and_refuses_all_else_each_time() {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let components = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let key = DecodingKey::from_rsa_raw_components(&components.n, &components.e);
        let sign = |padding: &'static dyn RsaEncoding, message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            let signed = pair.sign(padding, &SystemRandom::new(), message, &mut signature);
            signed.map(|()| signature).unwrap()
        };
        let algorithms: [(Algorithm, &'static dyn RsaEncoding); 6] = [
            (Algorithm::RS256, &signature::RSA_PKCS1_SHA256),
            (Algorithm::RS384, &signature::RSA_PKCS1_SHA384),
            (Algorithm::RS512, &signature::RSA_PKCS1_SHA512),
            (Algorithm::PS256, &signature::RSA_PSS_SHA256),
            (Algorithm::PS384, &signature::RSA_PSS_SHA384),
            (Algorithm::PS512, &signature::RSA_PSS_SHA512),
        ];
        for (first, _) in algorithms {
            let verifier = PublicKey::new(key.clone(), None);
            assert!(!verifier.verifies(first, b"message", b"nonsense"));
            for (alg, padding) in algorithms {
                let signature = sign(padding, b"message");
                for (other, _) in algorithms {
                    let is_signed = verifier.verifies(other, b"message", &signature);
                    assert_eq!(is_signed, other == alg, "{first:?} {alg:?} {other:?}");
                }
                assert!(!verifier.verifies(alg, b"another message", &signature));
                assert!(!verifier.verifies(alg, b"message", &signature[1..]));
                for alg in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::HS256] {
                    assert!(!verifier.verifies(alg, b"message", &signature));
                }
            }
        }
    }

    #[test]
    fn t15_a_key_of_each_curve_verifies_its_own_signatures_alone() {
        let curves = [
            (
                Algorithm::ES256,
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            ),
            (
                Algorithm::ES384,
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            ),
        ];
        for (alg, signing) in curves {
            let pair = EcdsaKeyPair::generate(signing).unwrap();
            // Without the byte that says that both coordinates follow.
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
            let key = DecodingKey::from_ec_components(&x, &y).unwrap();
            let signature = pair.sign(&SystemRandom::new(), b"message").unwrap();
            for (other, _) in curves {
                let verifier = PublicKey::new(key.clone(), None);
                let is_signed = verifier.verifies(other, b"message", signature.as_ref());
                assert_eq!(is_signed, other == alg, "{alg:?} {other:?}");
            }
        }
    }

    #[test]
    fn an_audience_is_only_ours_if_no_other_is_named() {
        let is_only = |aud: serde_json::Value| {
            let audience: Audience = serde_json::from_value(aud).unwrap();
            audience.is_only(|one| one == "us")
        };
        for ours in [json!("us"), json!(["us"]), json!(["us", "us"])] {
            assert!(is_only(ours.clone()), "{ours}");
        }
        for other in [
            json!("them"),
            json!([]),
            json!(["us", "them"]),
            json!(["them", "us"]),
        ] {
            assert!(!is_only(other.clone()), "{other}");
        }
    }

    #[test]
    fn t49_a_point_that_is_not_on_its_curve_verifies_nothing() {
        for (x, y) in [
            ([0; 32], [0; 32]),
            ([1; 32], [1; 32]),
            ([255; 32], [255; 32]),
        ] {
            let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
            let key = DecodingKey::from_ec_components(&x, &y).unwrap();
            assert!(parse(&key, Algorithm::ES256).is_none());
            assert!(!PublicKey::new(key, None).verifies(Algorithm::ES256, b"message", &[1; 64]));
        }
    }

    #[test]
    fn t13_no_algorithm_or_none_is_refused() {
        for alg in ["none", "None", "nOnE", ""] {
            let header = format!(r#"{{"alg":"{alg}","kid":"k","typ":"at+jwt"}}"#);
            assert!(with_header(header).is_err(), "{alg}");
        }
        assert!(with_header(r#"{"kid":"k","typ":"at+jwt"}"#).is_err());
    }

    #[test]
    fn t13_a_token_with_an_empty_part_is_refused() {
        let plain = token(HEADER, "{}");
        for part in 0..3 {
            let mut parts: Vec<_> = plain.split('.').collect();
            parts[part] = "";
            assert!(inspect(&parts.join(".")).is_err(), "{part}");
        }
    }

    #[test]
    fn t16_a_kid_that_is_missing_or_no_text_is_refused() {
        assert!(with_header(r#"{"alg":"RS256","typ":"at+jwt"}"#).is_err());
        assert!(with_header(r#"{"alg":"RS256","kid":["k"],"typ":"at+jwt"}"#).is_err());
        assert!(with_header(r#"{"alg":"RS256","kid":null,"typ":"at+jwt"}"#).is_err());
    }

    #[test]
    fn t17_t18_t20_headers_that_bring_keys_or_extensions_are_refused() {
        for member in [
            r#""jwk":{"kty":"oct","k":"AA"}"#,
            r#""jku":"https://evil.example/jwks""#,
            r#""x5u":"https://evil.example/cert""#,
            r#""x5c":["AA"]"#,
            r#""x5t":"AA""#,
            r#""crit":["exp"]"#,
            r#""crit":[]"#,
            r#""crit":["b64"],"b64":false"#,
            r#""zip":"DEF""#,
            r#""enc":"A256GCM""#,
            r#""cty":"JWT""#,
        ] {
            let header = format!(r#"{{"alg":"RS256","kid":"k","typ":"at+jwt",{member}}}"#);
            assert!(with_header(&header).is_err(), "{header}");
        }
    }

    #[test]
    fn t17_t18_t20_a_foreign_header_brings_no_key_and_no_extension_and_others_are_ignored() {
        let foreign = |member: &str| {
            let header = format!(r#"{{"alg":"RS256",{member}}}"#);
            super::inspect::<ForeignHeader>(&token(header, "{}")).is_ok()
        };
        for name in FORBIDDEN {
            for value in ["null", "false", "[]", "{}", r#""AA""#] {
                assert!(!foreign(&format!(r#""{name}":{value}"#)), "{name} {value}");
            }
        }
        // The name with an escaped letter is the same name.
        assert!(!foreign(r#""\u0063rit":["exp"]"#));
        for member in [
            r#""x5t":"AA""#,
            r#""x5t":5"#,
            r#""x5t#S256":"AA""#,
            r#""cty":"JWT""#,
            r#""nonce":{}"#,
            r#""typ":"JWT""#,
            r#""kid":"k""#,
        ] {
            assert!(foreign(member), "{member}");
        }
        for member in [
            r#""kid":5"#,
            r#""typ":[]"#,
            r#""alg":"none""#,
            r#""x5t":"a","x5t":"b""#,
        ] {
            assert!(!foreign(member), "{member}");
        }
    }

    #[test]
    fn t23_t24_a_foreign_token_is_as_large_as_a_form_and_no_larger() {
        let foreign = |token: &str| super::inspect::<ForeignHeader>(token).is_ok();
        let of_size = |size: usize| {
            let token = token(HEADER, "{}");
            let (message, _) = token.rsplit_once('.').unwrap();
            let rest = size - message.len() - 1;
            format!("{message}.{}", "A".repeat(rest))
        };
        // No text in base64url has 4n + 1 characters, so one of two lengths is malformed.
        assert!(foreign(&of_size(64 * 1024)) || foreign(&of_size(64 * 1024 - 1)));
        assert!(!foreign(&of_size(64 * 1024 + 1)) && !foreign(&of_size(64 * 1024 + 2)));
        let nested = |depth| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(foreign(&token(HEADER, nested(63))));
        assert!(!foreign(&token(HEADER, nested(64))));
        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!("\"m{n}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(foreign(&token(HEADER, members(200))));
        assert!(!foreign(&token(HEADER, members(201))));
    }

    #[test]
    fn t20_t21_other_serialisations_are_refused() {
        let plain = token(HEADER, "{}");
        for text in [
            String::new(),
            "..".to_owned(),
            "a.b".to_owned(),
            format!("{plain}.a"),
            format!("{plain}.a.b"),
            r#"{"payload":"e30","protected":"e30","signature":"AA"}"#.to_owned(),
            format!("{plain} "),
            format!(" {plain}"),
            format!("{plain}\n"),
        ] {
            assert!(inspect(&text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn t22_sloppy_base64_is_refused() {
        let plain = token(HEADER, "{}");
        assert!(inspect(&format!("{plain}=")).is_err());
        assert!(inspect(&plain.replace(".e30.", ".e30=.")).is_err());
        assert!(
            inspect(&plain.replace(".e30.", ".e31.")).is_err(),
            "trailing bits"
        );
        assert!(inspect(&plain.replace(".e30.", ".+/+/.")).is_err());
    }

    #[test]
    fn t23_the_size_is_limited_before_anything_is_decoded() {
        let of_size = |size: usize| {
            let plain = token(HEADER, "{}");
            format!("{plain}{}", "A".repeat(size - plain.len()))
        };
        let refused = |size| matches!(inspect(&of_size(size)), Err(Malformed("too large")));
        assert!(!refused(8 * 1024));
        assert!(refused(8 * 1024 + 1));
        assert!(inspect(&format!("{}.", token(HEADER, "{}")).repeat(20_000)).is_err());
    }

    #[test]
    fn t24_odd_json_is_refused() {
        for payload in [
            "[]",
            "null",
            "1",
            "\"{}\"",
            " {}",
            "\u{feff}{}",
            "{} ",
            "{}{}",
            "{}x",
            "{",
            "{\"a\":}",
            r#"{"a":"\ud800"}"#,
            r#"{"\ud800":1}"#,
        ] {
            let refused = with_payload(payload);
            // White space after the object is valid JSON with one meaning.
            assert_eq!(refused.is_err(), payload != "{} ", "{payload:?}");
        }
        assert!(with_payload(b"{\"a\":\"\xff\"}").is_err());
        assert!(with_payload(b"{\"a\":\"\xc0\xaf\"}").is_err());
        let nested =
            |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(with_payload(nested(MAX_DEPTH - 1)).is_ok());
        assert!(with_payload(nested(MAX_DEPTH)).is_err());
        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!("\"m{n}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(with_payload(members(MAX_MEMBERS)).is_ok());
        assert!(with_payload(members(MAX_MEMBERS + 1)).is_err());
    }

    #[test]
    fn t24_a_header_that_is_no_object_is_refused() {
        // Serde would accept an array as the members of the header in their order.
        assert!(with_header(r#"["RS256","k","at+jwt"]"#).is_err());
        assert!(with_header(r#" {"alg":"RS256","kid":"k","typ":"at+jwt"}"#).is_err());
    }

    #[test]
    fn t25_a_member_that_comes_twice_is_refused_wherever_it_is() {
        assert!(with_header(r#"{"alg":"RS256","alg":"RS256","kid":"k","typ":"at+jwt"}"#).is_err());
        assert!(with_payload(r#"{"sid":"a","sid":"b"}"#).is_err());
        assert!(with_payload(r#"{"a":{"b":1,"b":1}}"#).is_err());
        assert!(with_payload(r#"{"a":[{"b":1,"\u0062":1}]}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(text in ".{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = inspect(&text);
            let _ = with_header(&bytes);
            let _ = with_payload(&bytes);
        }

        #[test]
        fn what_passes_is_three_parts_of_the_alphabet(text in "[-_A-Za-z0-9.=+/ ]{0,60}") {
            if inspect(&text).is_ok() {
                prop_assert_eq!(text.split('.').count(), 3);
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
            }
        }
    }
}
