//! The documents by which others find out how to use and check our tokens: RFC 8414, and OpenID Connect Discovery 1.0
//! as far as it fits a server that issues no ID tokens.

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRef, State},
    http::HeaderMap,
    response::Response,
    routing::get,
};
use serde_json::json;
use shared::{
    assertion,
    clock::Clock,
    config::{self, Environment},
    dynamodb,
    http::{
        ApiError, CLIENT_AUTHENTICATION, Cache, GRANT_TYPE_REFRESH_TOKEN,
        GRANT_TYPE_TOKEN_EXCHANGE, document, method_not_allowed, surface,
    },
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
    /// What the issuer with this URL offers. What it does not is left out: RFC 8414 §3.2 forbids empty lists.
    pub fn new(url: &str) -> Self {
        let metadata = json!({
            "issuer": url,
            "token_endpoint": format!("{url}/token"),
            "token_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
            "token_endpoint_auth_signing_alg_values_supported": assertion::ALGORITHMS,
            "revocation_endpoint": format!("{url}/revoke"),
            "revocation_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
            "revocation_endpoint_auth_signing_alg_values_supported": assertion::ALGORITHMS,
            "introspection_endpoint": format!("{url}/introspect"),
            "introspection_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
            "introspection_endpoint_auth_signing_alg_values_supported": assertion::ALGORITHMS,
            "grant_types_supported": [GRANT_TYPE_TOKEN_EXCHANGE, GRANT_TYPE_REFRESH_TOKEN],
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
        let metadata = Metadata::new(&config::issuer_url(env)?);
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
