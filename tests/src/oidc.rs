//! A stand-in OpenID provider, which publishes and signs what a test requests.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use axum::{
    Router,
    extract::State,
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{Service, forge, proxy::Proxy};

/// The client id of the app at the provider.
pub const CLIENT_ID: &str = "our-oidc-client";

/// The provider behind a proxy that can fail.
pub struct Issuer {
    /// The `iss` of its tokens.
    pub url: String,
    /// The proxy between the functions and the provider.
    pub proxy: Proxy,
    published: Arc<Mutex<Published>>,
    _running: JoinSet<()>,
}

/// The published documents.
#[derive(Clone)]
pub struct Published {
    /// The discovery document.
    pub discovery: Value,
    /// The keys.
    pub jwks: Value,
    /// The `Content-Type` of both.
    pub content_type: &'static str,
    /// The `Cache-Control` of both.
    pub cache_control: &'static str,
}

/// A key of the provider.
pub struct Key {
    /// The `kid`.
    pub kid: &'static str,
    /// The public key.
    pub jwk: Value,
    private: EncodingKey,
    algorithm: Algorithm,
}

/// An RSA key of 2,048 bits as PKCS #1, stored because making one takes a second.
const RSA: &[u8] = include_bytes!("oidc/rsa.der");
/// An RSA key with the public exponent 3.
const RSA_EXPONENT_3: &[u8] = include_bytes!("oidc/rsa-exponent-3.der");

#[expect(
    clippy::expect_used,
    reason = "a provider without a key proves nothing"
)]
impl Key {
    /// Makes a new key on P-256.
    pub fn new(kid: &'static str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("a key");
        Self::of(
            kid,
            EncodingKey::from_ec_der(der.as_ref()),
            Algorithm::ES256,
        )
    }

    /// Makes a new key on P-384.
    pub fn p384(kid: &'static str) -> Self {
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("a key");
        Self::of(
            kid,
            EncodingKey::from_ec_der(der.as_ref()),
            Algorithm::ES384,
        )
    }

    /// Returns an RSA key, always the same.
    pub fn rsa(kid: &'static str) -> Self {
        Self::of(kid, EncodingKey::from_rsa_der(RSA), Algorithm::RS256)
    }

    /// Returns an RSA key with the public exponent 3.
    pub fn rsa_with_exponent_3(kid: &'static str) -> Self {
        let private = EncodingKey::from_rsa_der(RSA_EXPONENT_3);
        Self::of(kid, private, Algorithm::RS256)
    }

    fn of(kid: &'static str, private: EncodingKey, algorithm: Algorithm) -> Self {
        let jwk = Jwk::from_encoding_key(&private, algorithm).expect("a JWK");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = kid.into();
        Self {
            kid,
            jwk,
            private,
            algorithm,
        }
    }

    /// Returns a token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with_header(
            &json!({ "alg": self.algorithm, "kid": self.kid, "typ": "JWT" }),
            claims,
        )
    }

    /// Returns a token with these claims, signed with another algorithm of the same type of key.
    pub fn sign_with(&self, algorithm: Algorithm, claims: &Value) -> String {
        let header = json!({ "alg": algorithm, "kid": self.kid, "typ": "JWT" });
        let (header, claims) = (header.to_string(), claims.to_string());
        forge::sign(&header, &claims, &self.private, algorithm)
    }

    /// Returns a token with exactly this text as claims.
    pub fn sign_text(&self, claims: &str) -> String {
        let header = json!({ "alg": self.algorithm, "kid": self.kid, "typ": "JWT" });
        forge::sign(&header.to_string(), claims, &self.private, self.algorithm)
    }

    /// Returns a token of exactly this header and these claims.
    pub fn sign_with_header(&self, header: &Value, claims: &Value) -> String {
        let (header, claims) = (header.to_string(), claims.to_string());
        forge::sign(&header, &claims, &self.private, self.algorithm)
    }
}

impl Issuer {
    /// Starts a provider that publishes `key`.
    pub async fn start(key: &Key) -> Self {
        let published = Arc::new(Mutex::new(Published {
            discovery: Value::Null,
            jwks: json!({ "keys": [key.jwk] }),
            content_type: "application/json",
            cache_control: "max-age=600",
        }));
        let mut running = JoinSet::new();
        let router = Router::new().fallback(answer).with_state(published.clone());
        let proxy = Proxy::start(&crate::serve(&mut running, router).await).await;
        let issuer = Self {
            url: proxy.url(),
            proxy,
            published,
            _running: running,
        };
        let url = &issuer.url;
        let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        issuer.publish(|published| published.discovery = discovery);
        issuer
    }

    /// Starts an issuer that publishes `key`, and a service with it as its only OpenID provider and with these other
    /// settings.
    pub async fn with_service(key: &Key, settings: &[(&str, &str)]) -> (Self, Service) {
        let issuer = Self::start(key).await;
        let providers = issuer.settings();
        let settings = [&[("OIDC_PROVIDERS", providers.as_str())], settings].concat();
        (issuer, Service::start_with(&settings).await)
    }

    /// Changes the published documents.
    pub fn publish(&self, change: impl FnOnce(&mut Published)) {
        change(
            &mut self
                .published
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Returns the value of `OIDC_PROVIDERS` for this provider.
    pub fn settings(&self) -> String {
        json!([self.provider("acme")]).to_string()
    }

    /// Returns the entry of this provider in `OIDC_PROVIDERS`.
    pub fn provider(&self, name: &str) -> Value {
        json!({ "name": name, "issuer": self.url, "client_ids": [CLIENT_ID], "algorithms": ["ES256"] })
    }

    /// Returns the claims of a new sign-in of `sub`.
    pub fn claims(&self, sub: &str, now: u64) -> Value {
        json!({
            "iss": self.url, "aud": CLIENT_ID, "sub": sub, "iat": now, "exp": now + 3600, "auth_time": now,
            "name": "Ada Lovelace", "email": "ada@example.com", "email_verified": true,
            "picture": "https://example.com/ada.png",
        })
    }

    /// Returns the number of requests for the keys.
    pub fn key_requests(&self) -> usize {
        let calls = self.proxy.calls();
        calls.iter().filter(|call| call.path == "/keys").count()
    }
}

async fn answer(State(published): State<Arc<Mutex<Published>>>, uri: Uri) -> Response {
    let published = published
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let document = if uri.path().ends_with("/.well-known/openid-configuration") {
        published.discovery
    } else {
        published.jwks
    };
    let headers = [
        (header::CONTENT_TYPE, published.content_type),
        (header::CACHE_CONTROL, published.cache_control),
    ];
    (headers, document.to_string()).into_response()
}
