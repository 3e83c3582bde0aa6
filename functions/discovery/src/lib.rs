//! The documents by which others find out how to use and check our tokens.

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

/// What this function needs, and nothing else.
#[derive(Clone, Debug, FromRef)]
pub struct Discovery {
    /// Our public keys.
    pub keys: Keys,
    /// What there is to say.
    pub documents: Documents,
    /// What there is to call, as OpenAPI has it.
    pub openapi: OpenApi,
}

/// `openapi.yaml`, as JSON.
pub const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// The same, with the URL of this very server.
#[derive(Clone, Debug)]
pub struct OpenApi(Arc<str>);

impl OpenApi {
    /// The server's URL in `openapi.yaml`, where it is the first of its kind.
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

/// The routes, ready to be mounted by Lambda, by `local`, or by a test.
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
