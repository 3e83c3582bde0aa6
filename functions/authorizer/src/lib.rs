//! A Lambda authorizer for your own HTTP APIs and REST APIs, which verifies an access token as Cambio's routes do,
//! before your function is called.
//!
//! An event of payload format 2.0 gets a simple response; one of payload format 1.0, or of a `REQUEST` or `TOKEN`
//! authorizer of a REST API, gets a policy. API Gateway may keep a policy and apply it to other methods, so a policy
//! allows what its decision holds for: the whole stage if every route accepts the token, and otherwise one method.

mod event;
mod response;

use std::time::Instant;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use shared::{
    clock::{Clock, Timestamp},
    config::{self, Environment},
    dynamodb::StoreError,
    http::bearer_token,
    keys::KeysError,
    route_scopes::RouteScopes,
    start::{Start, StartError},
    telemetry::{Answered, RequestIds, measured},
    token::{Claims, TokenError, TokenVerifier},
    users::Users,
};

use event::{Event, MethodArn};
pub use response::Response;

/// The state of the function.
#[derive(Clone, Debug)]
pub struct Authorizer {
    tokens: TokenVerifier,
    scopes: RouteScopes,
    /// The users and their sessions, which each request reads with `LIVE`.
    live: Option<Users>,
}

/// Reasons that the request is neither allowed nor denied. API Gateway then answers 500, does not cache that, and
/// lets no request through.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    /// The event has another format, because the authorizer is configured differently.
    #[error(
        "the event does not have payload format 2.0 or 1.0: make the authorizer a REQUEST authorizer of an HTTP API, with \
         AuthorizerPayloadFormatVersion 2.0 and EnableSimpleResponses true, or a REQUEST or TOKEN authorizer of a REST \
         API"
    )]
    PayloadFormat,
    /// `ROUTE_SCOPES` is set, and the event does not have the key of the route.
    #[error(
        "ROUTE_SCOPES is set, and the event of a TOKEN authorizer does not name the route: make it a REQUEST authorizer, or \
         leave ROUTE_SCOPES empty"
    )]
    NoRoute,
    /// The keys cannot be read, so the token can be neither accepted nor refused.
    #[error("the keys cannot be read")]
    Keys(#[source] KeysError),
    /// With `LIVE`, the user and the session cannot be read.
    #[error("the user cannot be read")]
    User(#[source] StoreError),
}

/// The context of an allowed request, which your function gets as `requestContext.authorizer.lambda`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The id of the user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// The id of the token's session.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sid: String,
    /// The id of the client that the user signed in with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// The scope of the token, separated by spaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The roles of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The operator's claims about the user.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Value>,
    /// The time of the sign-in at the provider, in seconds since the epoch; absent if the provider does not report
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Timestamp>,
    /// The time at which the token expires, in seconds since the epoch.
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
            claims: claims.own,
            auth_time: claims.auth_time,
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
        let start = Start::new(env, clock)?;
        Ok(Self {
            scopes: RouteScopes::from_env(env)?,
            live: config::is_live(env)?.then(|| start.users()).transpose()?,
            tokens: start.api_verifier().await?,
        })
    }

    /// Decides whether the request of `event` may pass.
    ///
    /// # Errors
    /// The event has another format, or the keys or the user cannot be read.
    pub async fn authorize<'de>(
        &self,
        event: impl Deserializer<'de>,
    ) -> Result<Response, AuthorizeError> {
        self.authorize_invocation(event, None).await
    }

    /// Does the same for the invocation that Lambda gave this id.
    ///
    /// # Errors
    /// Those of [`Authorizer::authorize`].
    pub async fn authorize_invocation<'de>(
        &self,
        event: impl Deserializer<'de>,
        lambda: Option<String>,
    ) -> Result<Response, AuthorizeError> {
        let started = Instant::now();
        let event = Event::read(event).inspect_err(|error| tracing::error!("{error}"));
        let known = event.as_ref().ok();
        let ids = RequestIds {
            gateway: known.and_then(|event| event.request_id.clone()),
            lambda,
        };
        let route = known.and_then(|event| event.route.clone());
        // In a box, because the compiler limits how deep futures are nested.
        let (decided, meter) = measured(Box::pin(async { self.decide(&event?).await })).await;
        let answered = Answered {
            function: "authorizer",
            route: route.as_deref().unwrap_or_default(),
            method: None,
            status: None,
            outcome: outcome(&decided),
            is_failure: decided.is_err(),
            took: started.elapsed(),
        };
        answered.log(&ids, &meter);
        decided
    }

    async fn decide(&self, event: &Event) -> Result<Response, AuthorizeError> {
        if event.route.is_none() && self.scopes.is_set() {
            let error = AuthorizeError::NoRoute;
            tracing::error!("{error}");
            return Err(error);
        }
        // A policy that API Gateway keeps denies what it does not allow, so a denial names all methods.
        let mut response = Response {
            resource: event.method.as_ref().map(MethodArn::all),
            ..Response::default()
        };
        match self.claims(event).await {
            Ok((claims, resource)) => {
                response.is_authorized = true;
                response.context = claims.into();
                response.resource = resource;
            }
            Err(Denied::Token(TokenError::KeysUnavailable(error))) => {
                tracing::error!(error.cause = %error, "the keys cannot be read");
                return Err(AuthorizeError::Keys(error));
            }
            Err(Denied::Unknown(error)) => {
                tracing::error!(error.cause = %error, "the user cannot be read");
                return Err(AuthorizeError::User(error));
            }
            Err(denied) => tracing::info!(error.cause = %denied, "denied"),
        }
        Ok(response)
    }

    /// Returns the claims of the token, and the methods that they are good for, as an ARN.
    async fn claims(&self, event: &Event) -> Result<(Claims, Option<String>), Denied> {
        let headers = event.authorization()?;
        let token = bearer_token(&headers).ok_or(Denied::NoToken)?;
        let claims = self.tokens.verify(token).await?;
        let route = event.route.as_deref().unwrap_or_default();
        if !self.scopes.admit(route, claims.scope.as_deref()) {
            return Err(Denied::Scope);
        }
        if let Some(users) = &self.live {
            let user = users.find_signed_in(claims.sub, claims.session()).await?;
            if user.is_none() {
                return Err(Denied::SignedOut);
            }
        }
        let resource = match &event.method {
            None => None,
            // The decision depended on the route, so it is good for this method alone.
            Some(method) if self.scopes.is_set() => Some(method.only().ok_or(Denied::Pattern)?),
            Some(method) => Some(method.all()),
        };
        Ok((claims, resource))
    }
}

/// Returns the outcome of a request for its log line.
fn outcome(decided: &Result<Response, AuthorizeError>) -> &'static str {
    match decided {
        Ok(response) if response.is_authorized => "ok",
        Ok(_) => "refused",
        Err(AuthorizeError::PayloadFormat | AuthorizeError::NoRoute) => "failed",
        Err(AuthorizeError::Keys(_)) => "keys_unavailable",
        Err(AuthorizeError::User(_)) => "dynamodb_unavailable",
    }
}

/// Reasons that a request is not allowed, for the log.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("no token")]
    NoToken,
    #[error("{0}")]
    Token(#[from] TokenError),
    #[error("the token lacks a scope of the route")]
    Scope,
    #[error("the user is deleted, disabled or signed out")]
    SignedOut,
    #[error("the path contains *, ? or $, so a policy could not name it alone")]
    Pattern,
    #[error("{0}")]
    Unknown(#[from] StoreError),
}
