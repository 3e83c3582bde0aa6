//! The public documents: the metadata, the public keys, and the OpenAPI description.

use std::sync::Arc;

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
    http::{ApiError, Visibility, document, method_not_allowed, surface},
    keys::Keys,
    start::{Start, StartError},
};

/// The state of the function.
#[derive(Clone, Debug, FromRef)]
pub struct Discovery {
    /// The public keys.
    pub keys: Keys,
    /// The metadata of the server (RFC 8414).
    pub documents: Documents,
    /// The OpenAPI description with the URL of this server.
    pub openapi: OpenApi,
}

/// `openapi.yaml`, as JSON.
pub const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// Returns the description with the URL of this server.
#[derive(Clone, Debug)]
pub struct OpenApi(Arc<str>);

impl OpenApi {
    /// The placeholder of the server's URL in `openapi.yaml`; its first occurrence is replaced.
    const EXAMPLE: &str = "https://api.cambio.invalid";

    fn of(api_url: &str) -> Self {
        Self(OPENAPI.replacen(Self::EXAMPLE, api_url, 1).into())
    }
}

impl Discovery {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        Ok(Self {
            documents: Documents::from_env(env)?,
            openapi: OpenApi::of(&config::api_url(env)?),
            keys: Start::new(env, clock)?.keys().await?,
        })
    }
}

/// Returns the routes, for Lambda, `local` and the tests.
pub fn router(discovery: Discovery) -> Router {
    let openapi = get(show_openapi).fallback(method_not_allowed);
    let mut routes = Router::new().route("/openapi.json", openapi);
    for which in Document::ALL {
        let show = async move |State(discovery): State<Discovery>, request: HeaderMap| {
            discovery.show(which, &request).await
        };
        routes = routes.route(which.path(), get(show).fallback(method_not_allowed));
    }
    surface(
        routes.with_state(discovery),
        "discovery",
        Visibility::Public,
    )
}

async fn show_openapi(State(OpenApi(openapi)): State<OpenApi>, request: HeaderMap) -> Response {
    document(openapi.to_string(), "application/json", &request)
}

impl Discovery {
    async fn show(&self, which: Document, request: &HeaderMap) -> Result<Response, ApiError> {
        let text = match which {
            Document::AuthorizationServer => self.documents.authorization_server(),
            Document::OpenIdConfiguration | Document::Jwks => {
                self.documents.text(which, &self.keys.jwks().await?)
            }
        };
        Ok(document(text, which.content_type(), request))
    }
}
