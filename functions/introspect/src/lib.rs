//! `POST /introspect`: returns the current state of a token, for services that must notice the end of a session at
//! once (RFC 7662).

use axum::{Json, Router, extract::State, routing::post};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use shared::{
    clients::{Client, Clients},
    clock::{Clock, Timestamp},
    config::{Environment, Issuer, SessionLifetimes},
    http::{ApiError, Form, OAuthError, method_not_allowed, oauth_surface},
    sessions::{Alive, RefreshToken, SessionId, SessionRef, Sessions},
    start::{Start, StartError},
    token::{Claims, TokenError, TokenVerifier},
    users::{UserId, Users},
};

/// The state of the function.
#[derive(Clone, Debug)]
pub struct Introspect {
    /// The registered clients.
    pub clients: Clients,
    /// Verifies access tokens.
    pub tokens: TokenVerifier,
    /// The issuer, which the answer names.
    pub issuer: Issuer,
    /// The sessions of the tokens.
    pub sessions: Sessions,
    /// The time for which a used refresh token may be presented again.
    pub lifetimes: SessionLifetimes,
    /// The users of the sessions.
    pub users: Users,
}

impl Introspect {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let start = Start::new(env, clock)?;
        Ok(Self {
            issuer: Issuer::from_env(env)?,
            sessions: start.sessions()?,
            lifetimes: SessionLifetimes::from_env(env)?,
            users: start.users()?,
            clients: start.clients().await?,
            tokens: start.verifier().await?,
        })
    }
}

/// Returns the route, for Lambda, `local` and the tests.
pub fn router(introspect: Introspect) -> Router {
    let routes = Router::new()
        .route(
            "/introspect",
            post(introspect_token).fallback(method_not_allowed),
        )
        .with_state(introspect);
    oauth_surface(routes, "introspect")
}

/// The response to an introspection request (RFC 7662 §2.2).
#[derive(Serialize)]
#[serde(untagged)]
enum IntrospectionResponse {
    Inactive {
        active: bool,
    },
    AccessToken {
        active: bool,
        token_type: &'static str,
        #[serde(flatten)]
        claims: Box<Claims>,
    },
    RefreshToken {
        active: bool,
        iss: String,
        sub: UserId,
        client_id: String,
        sid: SessionId,
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        iat: Timestamp,
        exp: Timestamp,
    },
}

/// Returns the one answer for unknown tokens, ended sessions, and tokens of other clients (RFC 7662 §2.2, §4).
const INACTIVE: IntrospectionResponse = IntrospectionResponse::Inactive { active: false };

async fn introspect_token(
    State(introspect): State<Introspect>,
    mut form: Form,
) -> Result<Json<IntrospectionResponse>, OAuthError> {
    let client = introspect.clients.authenticate(&mut form).await?;
    let answer = async {
        // `token_type_hint` is ignored: the form of a token shows its type (RFC 7662 §2.1).
        let token = form.require("token")?;
        introspect.look_at(&token, &client).await
    };
    Ok(Json(client.outcome(answer).await?))
}

impl Introspect {
    async fn look_at(
        &self,
        token: &SecretString,
        client: &Client<'_>,
    ) -> Result<IntrospectionResponse, ApiError> {
        let token = token.expose_secret();
        match RefreshToken::parse(token) {
            Ok(token) => self.refresh_token(&token, client).await,
            Err(_) => self.access_token(token, client).await,
        }
    }

    async fn access_token(
        &self,
        token: &str,
        client: &Client<'_>,
    ) -> Result<IntrospectionResponse, ApiError> {
        let verified = self
            .tokens
            .verify_also_for(|audience| client.knows_audience(audience), token);
        let claims = match verified.await {
            Ok(claims) if may_know(client, &claims.client_id) => claims,
            Err(TokenError::KeysUnavailable(error)) => return Err(error.into()),
            Ok(_) | Err(_) => return Ok(INACTIVE),
        };
        let session = claims.session();
        let user = self.users.find_signed_in(claims.sub, session).await?;
        if user.is_none() {
            return Ok(INACTIVE);
        }
        Ok(IntrospectionResponse::AccessToken {
            active: true,
            token_type: "Bearer",
            claims: Box::new(claims),
        })
    }

    async fn refresh_token(
        &self,
        token: &RefreshToken,
        client: &Client<'_>,
    ) -> Result<IntrospectionResponse, ApiError> {
        let found = self.sessions.find_by_token(token, &self.lifetimes).await?;
        let Some(session) = found.filter(|session| may_know(client, &session.client_id)) else {
            return Ok(INACTIVE);
        };
        if !self.admits(token.user_id, session.session).await? {
            return Ok(INACTIVE);
        }
        let Alive {
            session,
            client_id,
            scope,
            created_at,
            expires_at,
        } = session;
        Ok(IntrospectionResponse::RefreshToken {
            active: true,
            iss: self.issuer.url.to_string(),
            sub: token.user_id,
            client_id,
            sid: session.id,
            scope,
            iat: created_at,
            exp: expires_at,
        })
    }

    async fn admits(&self, user_id: UserId, session: SessionRef) -> Result<bool, ApiError> {
        let user = self.users.find(user_id).await?;
        Ok(user.is_some_and(|user| user.admits(session)))
    }
}

/// Returns whether the client may read the state of this token: its own tokens, or all with `introspects` (RFC 7662
/// §4).
fn may_know(client: &Client<'_>, owner: &str) -> bool {
    client.id() == owner || client.introspects()
}
