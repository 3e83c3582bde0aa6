//! The documents by which others find out how to use and check our tokens: RFC 8414, and OpenID Connect Discovery 1.0
//! as far as it fits a server that issues no ID tokens.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Router,
    extract::{FromRef, State},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lambda_http::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use shared::{
    clock::Clock,
    config::{self, Environment, Issuer},
    dynamodb,
    http::{ApiError, Cache, method_not_allowed, surface},
    keys::{KeyStore, Keys},
    start::StartError,
};

/// What this function needs, and nothing else.
#[derive(Clone, Debug, FromRef)]
pub struct Discovery {
    /// Our public keys.
    pub keys: Keys,
    /// The metadata document, which changes only with the settings.
    pub metadata: Metadata,
}

/// The authorization server metadata (RFC 8414 §2), as JSON.
#[derive(Clone, Debug)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// What `issuer` offers. What it does not offer is left out: RFC 8414 §3.2 forbids empty lists.
    pub fn new(issuer: &Issuer) -> Self {
        let Issuer { url, .. } = issuer;
        let metadata = json!({
            "issuer": url,
            "token_endpoint": format!("{url}/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            "jwks_uri": format!("{url}/.well-known/jwks.json"),
            "subject_types_supported": ["public"],
        });
        Self(metadata.to_string().into())
    }
}

impl Discovery {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let metadata = Metadata::new(&Issuer::from_env(env)?);
        let client = dynamodb::client(&config::DynamoDb::from_env(env)?);
        let store = KeyStore::new(client, config::keys_table_name(env)?);
        let keys = Keys::start(store, clock, env.is_local()).await?;
        Ok(Self { keys, metadata })
    }
}

/// The routes, ready to be mounted by Lambda, by `local`, or by a test.
pub fn router(discovery: Discovery) -> Router {
    let metadata = || get(show_metadata).fallback(method_not_allowed);
    let routes = Router::new()
        .route("/.well-known/openid-configuration", metadata())
        .route("/.well-known/oauth-authorization-server", metadata())
        .route(
            "/.well-known/jwks.json",
            get(show_keys).fallback(method_not_allowed),
        )
        .with_state(discovery);
    surface(routes, "discovery", Cache::Public)
}

async fn show_metadata(State(Metadata(metadata)): State<Metadata>, request: HeaderMap) -> Response {
    document(metadata.to_string(), "application/json", &request)
}

async fn show_keys(State(keys): State<Keys>, request: HeaderMap) -> Result<Response, ApiError> {
    let keys = json!(keys.jwks().await?);
    Ok(document(
        keys.to_string(),
        "application/jwk-set+json",
        &request,
    ))
}

/// A public document, or 304 where the reader has it already (RFC 9110 §13.1.2).
fn document(body: String, content_type: &'static str, request: &HeaderMap) -> Response {
    let etag = format!(
        "\"{}\"",
        URL_SAFE_NO_PAD.encode(digest(&SHA256, body.as_bytes()))
    );
    let unchanged = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag);
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let content_type = HeaderValue::from_static(content_type);
        ([(header::CONTENT_TYPE, content_type)], body).into_response()
    };
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}
