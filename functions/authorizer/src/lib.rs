//! A Lambda authorizer for HTTP APIs of your own (payload 2.0, simple response): the same validation as `GET /me` has, before your
//! function is called at all.

use aws_lambda_events::apigw::{
    ApiGatewayV2CustomAuthorizerSimpleResponse as Response,
    ApiGatewayV2CustomAuthorizerV2Request as Request,
};
use serde::{Deserialize, Serialize};
use shared::{
    clock::{Clock, Timestamp},
    config::{self, Environment, Issuer, RouteScopes},
    dynamodb,
    http::bearer_token,
    keys::{KeyStore, Keys, KeysError},
    start::StartError,
    token::{Claims, TokenError, TokenVerifier},
};

/// What this function needs, and nothing else.
#[derive(Clone, Debug)]
pub struct Authorizer {
    tokens: TokenVerifier,
    scopes: RouteScopes,
}

/// What your function gets to know, below `requestContext.authorizer.lambda`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// The sign-in that the token belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sid: String,
    /// The application that the user signed in with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// What the application may do, separated by spaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// What the user may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// When the token expires, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<Timestamp>,
}

impl From<Claims> for Context {
    fn from(claims: Claims) -> Self {
        Self {
            sub: claims.sub.to_string(),
            sid: claims.sid.to_string(),
            client_id: claims.client_id,
            scope: claims.scope.unwrap_or_default(),
            roles: claims.roles,
            exp: Some(claims.exp),
        }
    }
}

impl Authorizer {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let issuer = Issuer::from_env(env)?;
        let scopes = RouteScopes::from_env(env)?;
        let client = dynamodb::client(&config::DynamoDb::from_env(env)?);
        let store = KeyStore::new(client, config::keys_table_name(env)?);
        let keys = Keys::start(store, clock.clone(), env.is_local()).await?;
        Ok(Self {
            tokens: TokenVerifier::new(keys, issuer, clock),
            scopes,
        })
    }

    /// Whether `request` may pass.
    ///
    /// # Errors
    /// That cannot be told, since the keys cannot be read: API Gateway answers 500, and keeps no such answer.
    pub async fn authorize(&self, request: &Request) -> Result<Response<Context>, KeysError> {
        let mut response = Response::default();
        match self.claims(request).await {
            Ok(claims) => {
                response.is_authorized = true;
                response.context = claims.into();
            }
            Err(Denied::Token(TokenError::KeysUnavailable(error))) => {
                tracing::error!(error.cause = %error, "the keys cannot be read");
                return Err(error);
            }
            Err(denied) => tracing::info!(error.cause = %denied, "denied"),
        }
        Ok(response)
    }

    async fn claims(&self, request: &Request) -> Result<Claims, Denied> {
        let token = bearer_token(&request.headers).ok_or(Denied::NoToken)?;
        let claims = self.tokens.verify(token).await?;
        let route = request.route_key.as_deref().unwrap_or_default();
        if self.scopes.admit(route, claims.scope.as_deref()) {
            Ok(claims)
        } else {
            Err(Denied::Scope)
        }
    }
}

/// Why a request may not pass, for the log.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("no token")]
    NoToken,
    #[error("{0}")]
    Token(#[from] TokenError),
    #[error("the token's scope is not enough for the route")]
    Scope,
}
