//! The documents by which others find out how to use and check our tokens.

use axum::{
    Router,
    extract::{FromRef, State},
    http::HeaderMap,
    response::Response,
    routing::get,
};
use shared::{
    clock::Clock,
    config::{self, Environment},
    documents::{Document, Documents},
    dynamodb,
    http::{ApiError, Cache, document, in_time, method_not_allowed, surface},
    keys::{KeyStore, Keys},
    start::StartError,
};

/// What this function needs, and nothing else.
#[derive(Clone, Debug, FromRef)]
pub struct Discovery {
    /// Our public keys.
    pub keys: Keys,
    /// What there is to say.
    pub documents: Documents,
}

impl Discovery {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let documents = Documents::from_env(env)?;
        let client = dynamodb::client(&config::DynamoDb::from_env(env)?);
        let store = KeyStore::new(client, config::keys_table_name(env)?);
        let keys = Keys::start(store, clock, env.is_local()).await?;
        Ok(Self { keys, documents })
    }
}

/// The routes, ready to be mounted by Lambda, by `local`, or by a test.
pub fn router(discovery: Discovery) -> Router {
    let mut routes = Router::new();
    for which in Document::ALL {
        let show = async move |State(discovery): State<Discovery>, request: HeaderMap| {
            in_time(discovery.show(which, &request)).await
        };
        routes = routes.route(which.path(), get(show).fallback(method_not_allowed));
    }
    surface(routes.with_state(discovery), "discovery", Cache::Public)
}

impl Discovery {
    async fn show(&self, which: Document, request: &HeaderMap) -> Result<Response, ApiError> {
        let keys = self.keys.jwks().await?;
        let text = self.documents.text(which, &keys);
        Ok(document(text, which.content_type(), request))
    }
}
