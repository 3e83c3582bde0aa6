//! `POST /introspect`: whether a token is good at this moment, for a service that cannot wait until it expires (RFC 7662).

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

/// What this function needs, and nothing else.
#[derive(Clone, Debug)]
pub struct Introspect {
    /// Who may ask.
    pub clients: Clients,
    /// Recognises our own access tokens.
    pub tokens: TokenVerifier,
    /// Who we are.
    pub issuer: Issuer,
    /// The sessions that the tokens are of.
    pub sessions: Sessions,
    /// How long a refresh token is good that was used.
    pub lifetimes: SessionLifetimes,
    /// The users that the sessions are of.
    pub users: Users,
}

impl Introspect {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let start = Start::new(env, clock)?;
        let clients = start.clients()?;
        Ok(Self {
            issuer: Issuer::from_env(env)?,
            sessions: start.sessions()?,
            lifetimes: SessionLifetimes::from_env(env)?,
            users: start.users()?,
            tokens: start.verifier().await?.with_audiences(clients.audiences()),
            clients,
        })
    }
}

/// The route, ready to be mounted by Lambda, by `local`, or by a test.
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

/// Unknown, over, or not for this client to know: all of it looks the same (RFC 7662 §2.2, §4).
const INACTIVE: IntrospectionResponse = IntrospectionResponse::Inactive { active: false };

async fn introspect_token(
    State(introspect): State<Introspect>,
    mut form: Form,
) -> Result<Json<IntrospectionResponse>, OAuthError> {
    let client = introspect.clients.authenticate(&mut form).await?;
    let answer = async {
        // `token_type_hint` is there for servers that cannot tell their tokens apart (RFC 7662 §2.1).
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
        let claims = match self.tokens.verify(token).await {
            Ok(claims) if may_know(client, &claims.client_id) => claims,
            Err(TokenError::KeysUnavailable(error)) => return Err(error.into()),
            Ok(_) | Err(_) => return Ok(INACTIVE),
        };
        let session = SessionRef {
            id: claims.sid,
            version: claims.session_version,
        };
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

/// A client knows its own tokens; those of others only if it is there to check them (RFC 7662 §4).
fn may_know(client: &Client<'_>, owner: &str) -> bool {
    client.id() == owner || client.introspects()
}
