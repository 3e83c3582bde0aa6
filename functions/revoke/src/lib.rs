//! `POST /revoke`: ends the session of a token (RFC 7009).

use axum::{
    Router,
    extract::State,
    http::{HeaderName, header::CONTENT_TYPE},
    routing::post,
};
use secrecy::{ExposeSecret, SecretString};
use shared::{
    clients::{Client, Clients},
    clock::Clock,
    config::Environment,
    http::{ApiError, Form, OAuthError, method_not_allowed, oauth_surface},
    sessions::{EndReason, RefreshToken, Sessions},
    start::{Start, StartError},
    token::{TokenError, TokenVerifier},
};

/// The state of the function.
#[derive(Clone, Debug)]
pub struct Revoke {
    /// The registered clients.
    pub clients: Clients,
    /// Verifies access tokens.
    pub tokens: TokenVerifier,
    /// The sessions to end.
    pub sessions: Sessions,
}

impl Revoke {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let start = Start::new(env, clock)?;
        Ok(Self {
            sessions: start.sessions()?,
            clients: start.clients().await?,
            tokens: start.verifier().await?,
        })
    }
}

/// Returns the route, for Lambda, `local` and the tests.
pub fn router(revoke: Revoke) -> Router {
    let routes = Router::new()
        .route("/revoke", post(revoke_token).fallback(method_not_allowed))
        .with_state(revoke);
    oauth_surface(routes, "revoke")
}

/// A response of JSON text.
type JsonText = ([(HeaderName, &'static str); 1], &'static str);

/// The response, an empty object: a client ignores it (RFC 7009 §2.2), but some libraries parse it as JSON first.
const REVOKED: JsonText = ([(CONTENT_TYPE, "application/json")], "{}");

/// Revokes a token. An unknown or expired token, or one of another client, gets the same answer (RFC 7009 §2.2).
async fn revoke_token(
    State(revoke): State<Revoke>,
    mut form: Form,
) -> Result<JsonText, OAuthError> {
    let client = revoke.clients.authenticate(&mut form).await?;
    let revoked = async {
        // `token_type_hint` is ignored: the form of a token shows its type (RFC 7009 §2.1).
        let token = form.require("token")?;
        revoke.end_session_of(&token, &client).await
    };
    client.outcome(revoked).await?;
    Ok(REVOKED)
}

impl Revoke {
    async fn end_session_of(
        &self,
        token: &SecretString,
        client: &Client<'_>,
    ) -> Result<(), ApiError> {
        let token = token.expose_secret();
        if let Ok(token) = RefreshToken::parse(token) {
            self.sessions.revoke(&token, client.id()).await?;
            return Ok(());
        }
        let verified = self
            .tokens
            .verify_also_for(|audience| client.knows_audience(audience), token);
        let claims = match verified.await {
            Ok(claims) => claims,
            Err(TokenError::KeysUnavailable(error)) => return Err(error.into()),
            Err(_) => return Ok(()),
        };
        if claims.client_id == client.id() {
            let reason = EndReason::Revoked;
            self.sessions.end(claims.sub, claims.sid, reason).await?;
        }
        Ok(())
    }
}
