//! The public documents: metadata (RFC 8414, and OpenID Connect Discovery 1.0 as far as it applies to a server
//! without ID tokens) and keys (RFC 7517). Their text does not depend on where they are published.

use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};

use crate::{
    clients::{ALGORITHMS, CLIENT_AUTHENTICATION},
    config::{self, ConfigError, Environment},
    http::{GRANT_TYPE_REFRESH_TOKEN, GRANT_TYPE_TOKEN_EXCHANGE},
};

/// A document, by its path below the issuer's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// OpenID Connect Discovery 1.0 §4.
    OpenIdConfiguration,
    /// RFC 8414 §3.
    AuthorizationServer,
    /// RFC 7517 §5.
    Jwks,
}

impl Document {
    /// All documents.
    pub const ALL: [Self; 3] = [
        Self::OpenIdConfiguration,
        Self::AuthorizationServer,
        Self::Jwks,
    ];

    /// Returns the path, with a slash at its start.
    pub const fn path(self) -> &'static str {
        match self {
            Self::OpenIdConfiguration => "/.well-known/openid-configuration",
            Self::AuthorizationServer => "/.well-known/oauth-authorization-server",
            Self::Jwks => "/.well-known/jwks.json",
        }
    }

    /// Returns the media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenIdConfiguration | Self::AuthorizationServer => "application/json",
            Self::Jwks => "application/jwk-set+json",
        }
    }
}

/// The data of the documents.
#[derive(Clone, Debug)]
pub struct Documents {
    issuer_url: String,
    api_url: String,
}

impl Documents {
    /// Reads `ISSUER_URL` and `API_URL`.
    ///
    /// # Errors
    /// A variable is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            issuer_url: config::issuer_url(env)?,
            api_url: config::api_url(env)?,
        })
    }

    /// Returns the text of `document` with these `keys`.
    pub fn text(&self, document: Document, keys: &JwkSet) -> String {
        match document {
            Document::OpenIdConfiguration => {
                let mut metadata = self.metadata();
                // OpenID Connect Discovery 1.0 §3 requires this member, and libraries read it to verify access
                // tokens, which are all that Cambio signs.
                metadata["id_token_signing_alg_values_supported"] = algorithms(keys).into();
                metadata.to_string()
            }
            Document::AuthorizationServer => self.authorization_server(),
            Document::Jwks => json!(keys).to_string(),
        }
    }

    /// Returns the text of [`Document::AuthorizationServer`], which needs no keys.
    pub fn authorization_server(&self) -> String {
        self.metadata().to_string()
    }

    /// The members for features that exist only: RFC 8414 §3.2 forbids empty lists.
    ///
    /// RFC 8414 §2 and OpenID Connect Discovery 1.0 §3 require `response_types_supported`, also of a server without an
    /// authorization endpoint. `none` is the registered response type that returns neither a code nor a token.
    fn metadata(&self) -> Value {
        let Self {
            issuer_url,
            api_url,
        } = self;
        json!({
            "issuer": issuer_url,
            "token_endpoint": format!("{api_url}/token"),
            "token_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
            "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "revocation_endpoint": format!("{api_url}/revoke"),
            "revocation_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
            "revocation_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "introspection_endpoint": format!("{api_url}/introspect"),
            "introspection_endpoint_auth_methods_supported": CLIENT_AUTHENTICATION,
            "introspection_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
            "grant_types_supported": [GRANT_TYPE_TOKEN_EXCHANGE, GRANT_TYPE_REFRESH_TOKEN],
            "response_types_supported": ["none"],
            "jwks_uri": format!("{issuer_url}{}", Document::Jwks.path()),
            "subject_types_supported": ["public"],
        })
    }
}

fn algorithms(keys: &JwkSet) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for algorithm in keys.keys.iter().filter_map(|key| key.common.key_algorithm) {
        let algorithm = json!(algorithm);
        if !all.contains(&algorithm) {
            all.push(algorithm);
        }
    }
    all
}
