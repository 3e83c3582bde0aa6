//! Mutants of every kind of token and secret that Cambio accepts: each is refused with the error of its kind, and
//! changes nothing in the tables.
//!
//! The made ones are sent as requests. Most of the generated ones go to what verifies a token, in the same process: a
//! hundred thousand requests would take minutes.

mod generated;
mod made;

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use axum::{Router, body::Body, http::Request};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt;
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};
use tests::{
    ACCESS_TOKEN, CLIENT, ISSUER, Service, TOKEN_EXCHANGE,
    forge::{self, Forge},
    oidc::{self, Issuer},
    opaque::{APP, Opaque},
};
use tower::ServiceExt;

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const FORM: &str = "application/x-www-form-urlencoded";
/// The client that authenticates by assertions.
const SIGNER: &str = "lambda";

/// The kinds of tokens and secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    AccessToken,
    RefreshToken,
    IdToken,
    GitHubToken,
    OpaqueToken,
    Assertion,
    Vouched,
    ClientSecret,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::AccessToken,
        Self::RefreshToken,
        Self::IdToken,
        Self::GitHubToken,
        Self::OpaqueToken,
        Self::Assertion,
        Self::Vouched,
        Self::ClientSecret,
    ];
    const JWTS: [Self; 4] = [
        Self::AccessToken,
        Self::IdToken,
        Self::Assertion,
        Self::Vouched,
    ];

    /// The error of a mutant: the status and the code.
    fn error(self) -> (StatusCode, &'static str) {
        match self {
            Self::AccessToken => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::RefreshToken => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::IdToken | Self::GitHubToken | Self::OpaqueToken | Self::Vouched => {
                (StatusCode::BAD_REQUEST, "invalid_request")
            }
            Self::Assertion | Self::ClientSecret => (StatusCode::UNAUTHORIZED, "invalid_client"),
        }
    }
}

/// A mutant, and what was done to it.
struct Mutant {
    kind: Kind,
    class: &'static str,
    text: String,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text.chars().take(2_000).collect();
        write!(f, "{:?}, {}: {shown:?}", self.kind, self.class)
    }
}

/// A private key on P-256, with its public key.
struct Pair {
    private: EncodingKey,
    jwk: Value,
}

impl Pair {
    fn new() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let private = EncodingKey::from_ec_der(der.as_ref());
        let jwk = Jwk::from_encoding_key(&private, Algorithm::ES256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = "one".into();
        Self { private, jwk }
    }
}

/// A service that accepts a token of each kind, with the keys that sign them.
struct Scene {
    service: Service,
    forge: Forge,
    own: EncodingKey,
    provider: Pair,
    app: Pair,
    signer: Pair,
    stranger: Pair,
    issuer: Issuer,
    refresh_token: String,
    github_token: String,
    _opaque: Opaque,
}

impl Scene {
    async fn start() -> Self {
        let [provider, app, signer, stranger] = [(); 4].map(|()| Pair::new());
        let issuer = Issuer::start(&oidc::Key::new("unused")).await;
        let published = json!({ "keys": [provider.jwk] });
        issuer.publish(|documents| documents.jwks = published);
        let opaque = Opaque::start().await;
        let mut clients: Value = serde_json::from_str(&tests::clients(&[CLIENT])).unwrap();
        clients[0]["vouches"] = json!({ "keys": [app.jwk] });
        let jwks = json!({ "keys": [signer.jwk] });
        let clients = json!([clients[0], { "client_id": SIGNER, "jwks": jwks }]);
        let service = Service::start_with(&[
            ("CLIENTS", &clients.to_string()),
            ("OIDC_PROVIDERS", &issuer.settings()),
            ("OAUTH_PROVIDERS", &opaque.settings()),
        ])
        .await;
        let forge = Forge::new(&service).await;
        Self {
            own: EncodingKey::from_ec_pem(forge.pem.as_bytes()).unwrap(),
            refresh_token: service.refresh_token("hubot").await,
            github_token: service.github_token("octocat"),
            service,
            forge,
            provider,
            app,
            signer,
            stranger,
            issuer,
            _opaque: opaque,
        }
    }

    /// Returns the header and the claims of a valid token.
    fn parts(&self, kind: Kind) -> (Value, Value) {
        let now = self.service.time.now();
        let header = |typ: &str| json!({ "alg": "ES256", "kid": "one", "typ": typ });
        match kind {
            Kind::AccessToken => (self.forge.header.clone(), self.forge.claims.clone()),
            Kind::IdToken => (header("JWT"), self.issuer.claims("user-17", now)),
            Kind::Assertion => (
                header("JWT"),
                json!({ "iss": SIGNER, "sub": SIGNER, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": "once" }),
            ),
            Kind::Vouched => (
                header("vouch+jwt"),
                json!({
                    "iss": CLIENT.0, "sub": "user-17", "aud": ISSUER, "iat": now, "exp": now + 60, "jti": "once",
                    "email": "ada@example.com", "email_verified": true,
                }),
            ),
            _ => panic!("{kind:?} is no JWT"),
        }
    }

    /// Signs with the key of the kind.
    fn sign(&self, kind: Kind, header: &str, claims: &str) -> String {
        let key = match kind {
            Kind::AccessToken => &self.own,
            Kind::IdToken => &self.provider.private,
            Kind::Assertion => &self.signer.private,
            Kind::Vouched => &self.app.private,
            _ => panic!("{kind:?} is no JWT"),
        };
        forge::sign(header, claims, key, Algorithm::ES256)
    }

    /// Returns a valid token or secret. No mutant uses it up.
    fn good(&self, kind: Kind) -> String {
        match kind {
            Kind::RefreshToken => self.refresh_token.clone(),
            Kind::GitHubToken => self.github_token.clone(),
            Kind::OpaqueToken => format!("{APP}~ada~identify.email"),
            Kind::ClientSecret => CLIENT.1.to_owned(),
            _ => {
                let (header, claims) = self.parts(kind);
                self.sign(kind, &header.to_string(), &claims.to_string())
            }
        }
    }

    /// Sends a token or a secret in its place of a request that is valid otherwise.
    async fn send(&self, kind: Kind, text: &str) -> (StatusCode, Value) {
        let routes = self.service.router.clone();
        send(routes, kind, text, &self.github_token).await
    }

    /// Returns the items of both tables.
    fn tables(&self) -> [Vec<Value>; 2] {
        [
            self.service.items(),
            self.service.scan(local::dynamodb::KEYS_TABLE),
        ]
    }

    /// Asserts that the mutant is refused with the error of its kind, and changes no item.
    async fn refuses(&self, mutant: &Mutant) {
        let before = self.tables();

        let (status, body) = self.send(mutant.kind, &mutant.text).await;

        let code = body["error"].as_str().or(body["type"].as_str());
        let code = code.unwrap_or_default();
        let code = code.strip_prefix("urn:cambio:error:").unwrap_or(code);
        assert_eq!((status, code), expected(mutant), "{mutant}: {body}");
        assert!(self.tables() == before, "{mutant} changed an item");
    }
}

/// The error of a mutant. A form refuses texts that no parameter has, and an empty parameter is a missing one.
fn expected(mutant: &Mutant) -> (StatusCode, &'static str) {
    let is_text = mutant
        .text
        .bytes()
        .all(|byte| (0x20..=0x7e).contains(&byte));
    let is_missing = mutant.text.trim_matches(' ').is_empty();
    match mutant.kind {
        // The header is not that of a bearer token, so the request has none.
        Kind::AccessToken if is_missing || !(is_text || mutant.text.is_ascii()) => {
            (StatusCode::UNAUTHORIZED, "invalid_request")
        }
        Kind::AccessToken => mutant.kind.error(),
        _ if !is_text => (StatusCode::BAD_REQUEST, "invalid_request"),
        Kind::RefreshToken if mutant.text.is_empty() => {
            (StatusCode::BAD_REQUEST, "invalid_request")
        }
        kind => kind.error(),
    }
}

async fn send(routes: Router, kind: Kind, text: &str, github_token: &str) -> (StatusCode, Value) {
    let exchange = |issuer: Option<&str>, kind: &str| {
        let mut form = vec![
            ("grant_type", TOKEN_EXCHANGE.to_owned()),
            ("subject_token", text.to_owned()),
            ("subject_token_type", kind.to_owned()),
        ];
        form.extend(issuer.map(|issuer| ("subject_issuer", issuer.to_owned())));
        form
    };
    let mut form = match kind {
        Kind::AccessToken => {
            let request = Request::get("/me").header(AUTHORIZATION, format!("Bearer {text}"));
            return answer(routes, request.body(Body::empty()).unwrap()).await;
        }
        Kind::RefreshToken => vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", text.to_owned()),
        ],
        Kind::IdToken => exchange(None, ID_TOKEN),
        Kind::Vouched => exchange(None, JWT),
        Kind::GitHubToken => exchange(Some("github"), ACCESS_TOKEN),
        Kind::OpaqueToken => exchange(Some("discord"), ACCESS_TOKEN),
        Kind::Assertion | Kind::ClientSecret => {
            let mut form = tests::exchange_of(github_token)
                .map(|(name, value)| (name, value.to_owned()))
                .to_vec();
            if kind == Kind::Assertion {
                form.push(("client_assertion_type", ASSERTION_TYPE.to_owned()));
                form.push(("client_assertion", text.to_owned()));
            } else {
                form.push(("client_id", CLIENT.0.to_owned()));
                form.push(("client_secret", text.to_owned()));
            }
            form
        }
    };
    if !matches!(kind, Kind::Assertion | Kind::ClientSecret) {
        form.push(("client_id", CLIENT.0.to_owned()));
        form.push(("client_secret", CLIENT.1.to_owned()));
    }
    let mut body = form_urlencoded::Serializer::new(String::new());
    let body = body.extend_pairs(form).finish();
    let request = Request::post("/token").header(CONTENT_TYPE, FORM);
    answer(routes, request.body(body.into()).unwrap()).await
}

async fn answer(routes: Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = routes.oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}
