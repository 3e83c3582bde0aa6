//! Forged tokens: any header and any claims, signed by any key.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use shared::users::UserId;

use crate::{ISSUER, Service, dynamodb};

/// The order of the group of P-256 (SEC 2 §2.4.2).
pub const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The real signing key of a service, with a valid header and valid claims to change.
pub struct Forge {
    /// The private key, as PKCS#8 PEM.
    pub pem: String,
    /// The public key, as its JWK.
    pub jwk: Value,
    /// A valid header.
    pub header: Value,
    /// Valid claims of an existing user in an active session.
    pub claims: Value,
}

#[expect(clippy::expect_used, reason = "a forger who fails proves nothing")]
impl Forge {
    /// Takes the ES256 signing key of `service`. The claims are those of a signed-in user.
    pub async fn new(service: &Service) -> Self {
        let signed_in = service.sign_in("octocat").await;
        let session = service.verify(signed_in.text("/access_token")).await.sid;
        let id = signed_in.text("/user/id");
        let items = service.scan(dynamodb::KEYS_TABLE);
        let find = |prefix: &str| {
            let starts = |item: &&Value| {
                item["pk"]["S"]
                    .as_str()
                    .is_some_and(|pk| pk.starts_with(prefix))
            };
            items.iter().find(starts).expect("an item of a key").clone()
        };
        let text = |value: &Value| value["S"].as_str().expect("text").to_owned();
        // The first signs, the second waits for its turn.
        let published = &find("KEYSET")["keys"]["L"][0]["M"];
        let private = find(&format!("KEY#{}", text(&published["kid"])));
        let now = service.time.now();
        Self {
            pem: text(&private["private_key"]),
            jwk: serde_json::from_str(&text(&published["jwk"])).expect("a JWK"),
            header: json!({ "alg": "ES256", "kid": text(&private["kid"]), "typ": "at+jwt" }),
            claims: json!({
                "iss": ISSUER,
                "aud": ISSUER,
                "sub": id.parse::<UserId>().expect("a user id"),
                "client_id": "nextjs",
                "iat": now,
                "exp": now + 900,
                "jti": "a-token",
                "sid": session,
                "session_version": 0,
                "auth_time": now,
            }),
        }
    }

    /// Returns a valid token.
    pub fn good(&self) -> String {
        self.sign(&self.header.to_string(), &self.claims.to_string())
    }

    /// Returns the valid token with one changed claim; `null` removes the claim.
    pub fn with_claim(&self, name: &str, value: impl Into<Value>) -> String {
        self.sign(
            &self.header.to_string(),
            &changed(&self.claims, name, value.into()),
        )
    }

    /// Returns the valid token with one changed member of the header, signed with the real key; `null` removes the
    /// member.
    pub fn with_header(&self, name: &str, value: impl Into<Value>) -> String {
        self.sign(
            &changed(&self.header, name, value.into()),
            &self.claims.to_string(),
        )
    }

    /// Returns a token of exactly these texts, signed with the real key.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let key = EncodingKey::from_ec_pem(self.pem.as_bytes()).expect("a key");
        sign(header, claims, &key, Algorithm::ES256)
    }

    /// Returns a token of exactly these texts, with HMAC-SHA256 under a public value.
    pub fn sign_hs256(&self, secret: &[u8]) -> String {
        let header = changed(&self.header, "alg", "HS256".into());
        let key = EncodingKey::from_secret(secret);
        sign(&header, &self.claims.to_string(), &key, Algorithm::HS256)
    }
}

/// Returns a token of exactly these texts.
#[expect(clippy::expect_used, reason = "a forger who fails proves nothing")]
pub fn sign(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = unsigned(header, claims);
    let signature = crypto::sign(message.as_bytes(), key, algorithm).expect("a signature");
    format!("{message}.{signature}")
}

/// Returns the first two parts of a token.
pub fn unsigned(header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}")
}

/// Returns a token of ES256 with the other valid signature of the same point: `n - s` in place of `s`.
#[expect(clippy::expect_used, reason = "a forger who fails proves nothing")]
pub fn other_spelling(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').expect("a JWS");
    let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let mut borrow = 0;
    for (s, n) in signature[32..].iter_mut().zip(P256_ORDER).rev() {
        let difference = i16::from(n) - i16::from(*s) - borrow;
        borrow = i16::from(difference < 0);
        *s = u8::try_from(difference.rem_euclid(256)).expect("a byte");
    }
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn changed(object: &Value, name: &str, value: Value) -> String {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.to_owned(), value);
        }
    }
    object.to_string()
}
