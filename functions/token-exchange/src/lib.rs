//! `POST /token`: exchanges a provider's token (RFC 8693), and refreshes (RFC 6749 §6).

use std::time::Duration;

use axum::{Json, Router, extract::State, routing::post};
use secrecy::ExposeSecret;
use serde::Serialize;
use shared::{
    clients::{Client, Clients, GrantType, Limits},
    clock::Clock,
    config::{AccessTokenTtl, Environment, Issuer, SessionLifetimes, SignUps},
    http::{
        ACCESS_TOKEN_TYPE, ApiError, Form, OAuthError, Profile, Subject, UserAgent,
        method_not_allowed, oauth_surface,
    },
    keys::Signer,
    provider::{Providers, SubjectToken},
    sessions::{Opening, RefreshError, RefreshToken, Sessions},
    start::{Start, StartError},
    stored::Stored,
    token::{Grant, IssuedToken, TokenIssuer},
    users::{SignIn, User, Users},
};

/// The state of the function.
#[derive(Clone, Debug)]
pub struct TokenExchange {
    /// The registered clients.
    pub clients: Clients,
    /// The numbers of requests that clients and users may make.
    pub limits: Limits,
    /// The issuer and the audience of access tokens.
    pub issuer: Issuer,
    /// Verifies the provider's token.
    pub providers: Stored<Providers>,
    /// The users.
    pub users: Users,
    /// The rule for new users (`ALLOWED_SIGNUPS`).
    pub sign_ups: SignUps,
    /// The sessions.
    pub sessions: Sessions,
    /// The lifetimes of sessions.
    pub lifetimes: SessionLifetimes,
    /// Signs access tokens.
    pub tokens: TokenIssuer,
}

impl TokenExchange {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let start = Start::new(env, clock.clone())?;
        let issuer = Issuer::from_env(env)?;
        let ttl = AccessTokenTtl::from_env(env)?;
        let (users, sessions) = (start.users()?, start.sessions()?);
        let (limits, lifetimes) = (start.limits()?, SessionLifetimes::from_env(env)?);
        let sign_ups = SignUps::from_env(env)?;
        let (clients, providers) = tokio::try_join!(start.clients(), start.providers())?;
        Ok(Self {
            clients,
            limits,
            providers,
            users,
            sign_ups,
            sessions,
            lifetimes,
            tokens: {
                let signer = Signer::start(start.keys().await?).await?;
                TokenIssuer::new(signer, issuer.clone(), ttl, clock)
            },
            issuer,
        })
    }
}

/// Returns the route, for Lambda, `local` and the tests.
pub fn router(exchange: TokenExchange) -> Router {
    let routes = Router::new()
        .route("/token", post(grant).fallback(method_not_allowed))
        .with_state(exchange);
    oauth_surface(routes, "token-exchange")
}

/// The response to either grant (RFC 6749 §5.1, RFC 8693 §2.2.1), with the user that an app shows at once.
#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: String,
    refresh_token_expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_new_user: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_in_use: Option<bool>,
    user: Profile,
}

impl TokenResponse {
    fn new(
        issued: &IssuedToken,
        refresh_token: &RefreshToken,
        refresh_token_expires_in: Duration,
        user: User,
    ) -> Self {
        Self {
            access_token: issued.token.expose_secret().to_owned(),
            issued_token_type: ACCESS_TOKEN_TYPE,
            token_type: "Bearer",
            expires_in: issued.expires_in.as_secs(),
            refresh_token: refresh_token.to_text().expose_secret().to_owned(),
            refresh_token_expires_in: refresh_token_expires_in.as_secs(),
            scope: None,
            is_new_user: None,
            email_in_use: None,
            user: user.into(),
        }
    }
}

async fn grant(
    State(exchange): State<TokenExchange>,
    user_agent: UserAgent,
    form: Form,
) -> Result<Json<TokenResponse>, OAuthError> {
    Ok(exchange.grant(user_agent, form).await?)
}

impl TokenExchange {
    async fn grant(
        &self,
        user_agent: UserAgent,
        mut form: Form,
    ) -> Result<Json<TokenResponse>, ApiError> {
        let client = self.clients.authenticate(&mut form).await?;
        let granted = async {
            let grant_type = GrantType::parse(&form.require_plain("grant_type")?)?;
            client.check_grant(grant_type)?;
            self.limits.admit(&client).await?;
            match grant_type {
                GrantType::TokenExchange => self.exchange(&client, user_agent, form).await,
                GrantType::RefreshToken => self.refresh(&client, form).await,
            }
        };
        client.outcome(granted).await
    }

    /// Opens a session for a sign-in at a provider (RFC 8693 §2.1).
    async fn exchange(
        &self,
        client: &Client<'_>,
        UserAgent(user_agent): UserAgent,
        mut form: Form,
    ) -> Result<Json<TokenResponse>, ApiError> {
        let exchange = Exchange::read(&mut form)?;
        let scope = client.grant_scope(exchange.scope.as_deref())?;
        client.audience(exchange.audience.as_deref(), &self.issuer.audience)?;
        let voucher = client.voucher();
        let providers = self.providers.get().await?;
        let subject = providers.resolve(&exchange.subject, voucher)?;
        let provider = subject.provider();
        client.check_provider(provider)?;
        let opening = Opening::new(
            &exchange.subject.token,
            client.id(),
            scope,
            user_agent.as_deref(),
            self.lifetimes,
        )?
        .for_audience(exchange.audience)
        .by_provider(provider);

        let identity = subject.verify().await?;
        let identity_key = identity.key();
        self.limits.check_user(client, identity_key.as_str())?;
        self.limits.count_user(client, identity_key.as_str());
        let opening = opening.of_sign_in(identity.signed_in_at());
        let tokens = self.tokens.ready().await?;
        let (signed_in, tokens) = tokio::join!(
            self.users
                .sign_in(&identity, &self.sign_ups, &self.sessions, &opening),
            tokens.confirm(),
        );
        let SignIn {
            user,
            session,
            email_in_use,
        } = signed_in?;
        let tokens = tokens?;
        // A repeated exchange returns the existing session, limited to the client's present scopes and audiences.
        let scope = client.present_scope(session.scope.as_ref());
        let scope = scope.map(|scope| scope.to_string());
        let grant = Grant {
            client_id: client.id(),
            session: session.session,
            signed_in_at: session.signed_in_at,
            audience: client.audience(session.audience.as_deref(), &self.issuer.audience)?,
            scope: scope.as_deref(),
        };
        let issued = tokens.issue(&user, &grant)?;

        let is_new_user = Some(session.is_new_user);
        let expires_in = session.refresh_token_expires_in;
        let answer = TokenResponse::new(&issued, &session.refresh_token, expires_in, user);
        Ok(Json(TokenResponse {
            scope,
            is_new_user,
            email_in_use: email_in_use.then_some(true),
            ..answer
        }))
    }

    /// Refreshes a session (RFC 6749 §6).
    async fn refresh(
        &self,
        client: &Client<'_>,
        mut form: Form,
    ) -> Result<Json<TokenResponse>, ApiError> {
        let presented = form.require("refresh_token")?;
        let token =
            RefreshToken::parse(presented.expose_secret()).map_err(|_| RefreshError::Invalid)?;
        let user_id = token.user_id.to_string();
        self.limits.check_user(client, &user_id)?;
        // Before any write: a refused request must not use up the refresh token.
        let requested = audience(&mut form)?;
        let usual = &self.issuer.audience;
        client.audience(requested.as_deref(), usual)?;
        let scope = client.requested_scope(form.take_plain("scope").as_deref())?;
        let terms = client.terms(scope.as_ref(), requested.as_deref(), usual);
        let tokens = self.tokens.ready().await?;

        // In parallel, for one round trip: a rotation is harmless if the user's state then refuses the refresh.
        let (session, user, tokens) = tokio::join!(
            self.sessions.refresh(&token, &terms, &self.lifetimes),
            self.users.find(token.user_id),
            tokens.confirm(),
        );
        let (session, user, tokens) = (session?, user?, tokens?);
        // Only now is the token known to be one of the user: a forged one must not count for the user.
        self.limits.count_user(client, &user_id);
        let user = user
            .filter(|user| user.admits(session.session))
            .ok_or(RefreshError::Invalid)?;
        // At most the granted scope (RFC 6749 §6), and at most the client's present scope.
        let granted = scope.as_ref().or(session.scope.as_ref());
        let scope = client.present_scope(granted);
        let scope = scope.map(|scope| scope.to_string());
        let audience = requested.or(session.audience);
        let grant = Grant {
            client_id: client.id(),
            session: session.session,
            signed_in_at: session.signed_in_at,
            audience: client.audience(audience.as_deref(), usual)?,
            scope: scope.as_deref(),
        };
        let issued = tokens.issue(&user, &grant)?;

        let expires_in = session.refresh_token_expires_in;
        let answer = TokenResponse::new(&issued, &session.refresh_token, expires_in, user);
        Ok(Json(TokenResponse { scope, ..answer }))
    }
}

/// Returns the requested audience, which a client names by `audience` or `resource` (RFC 8693 §2.1). A token has one
/// audience.
fn audience(form: &mut Form) -> Result<Option<String>, ApiError> {
    match (form.take_plain("audience"), form.take_plain("resource")) {
        (Some(audience), Some(resource)) if audience != resource => Err(ApiError::InvalidTarget),
        (audience, resource) => Ok(audience.or(resource)),
    }
}

/// The parsed parameters of a token exchange.
struct Exchange {
    subject: SubjectToken,
    audience: Option<String>,
    scope: Option<String>,
}

impl Exchange {
    /// Parses the parameters of RFC 8693 §2.1.
    fn read(form: &mut Form) -> Result<Self, ApiError> {
        let invalid = |detail: &str| Err(ApiError::InvalidRequest(detail.to_owned()));
        let subject = Subject::take(form)?;
        if form.take("actor_token").is_some() || form.take("actor_token_type").is_some() {
            return invalid("actor_token and actor_token_type are not supported: omit them");
        }
        if form
            .take_plain("requested_token_type")
            .is_some_and(|requested| requested != ACCESS_TOKEN_TYPE)
        {
            return Err(ApiError::InvalidRequest(format!(
                "requested_token_type must be {ACCESS_TOKEN_TYPE}, or omitted"
            )));
        }
        Ok(Self {
            subject: subject.read()?,
            audience: audience(form)?,
            scope: form.take_plain("scope"),
        })
    }
}
