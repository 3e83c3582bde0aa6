//! `POST /token`: a provider's token becomes one of ours (RFC 8693).

use axum::{Json, Router, extract::State, routing::post};
use secrecy::ExposeSecret;
use serde::Serialize;
use shared::{
    clock::Clock,
    config::{self, AccessTokenTtl, Environment, Issuer},
    dynamodb,
    http::{
        ApiError, Cache, Clients, Form, GRANT_TYPE_TOKEN_EXCHANGE, OAuthError, Profile, in_time,
        method_not_allowed, surface,
    },
    keys::{KeyStore, Keys, Signer},
    provider::{GitHub, Outbound, Providers, SubjectToken, SubjectTokenType, Timeouts},
    sessions::SessionId,
    start::StartError,
    token::{Grant, TokenIssuer},
    users::Users,
};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What this function needs, and nothing else.
#[derive(Clone, Debug)]
pub struct TokenExchange {
    /// Who may call.
    pub clients: Clients,
    /// The API that our tokens are for.
    pub issuer: Issuer,
    /// Who the outside world says this is.
    pub providers: Providers,
    /// Which of our users that is.
    pub users: Users,
    /// Our own word about them.
    pub tokens: TokenIssuer,
}

impl TokenExchange {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let clients = Clients::new(config::clients(env)?);
        let issuer = Issuer::from_env(env)?;
        let ttl = AccessTokenTtl::from_env(env)?;
        let outbound = Outbound::new(clock.clone(), Timeouts::default())?;
        let github = GitHub::new(config::GitHub::from_env(env)?, outbound);
        let client = dynamodb::client(&config::DynamoDb::from_env(env)?);
        let users = Users::new(client.clone(), config::table_name(env)?, clock.clone());
        let store = KeyStore::new(client, config::keys_table_name(env)?);
        let keys = Keys::start(store, clock.clone(), env.is_local()).await?;
        let signer = Signer::start(keys).await?;
        Ok(Self {
            clients,
            providers: Providers::new(github),
            users,
            tokens: TokenIssuer::new(signer, issuer.clone(), ttl, clock),
            issuer,
        })
    }
}

/// The route, ready to be mounted by Lambda, by `local`, or by a test.
pub fn router(exchange: TokenExchange) -> Router {
    let routes = Router::new()
        .route("/token", post(grant).fallback(method_not_allowed))
        .with_state(exchange);
    surface(routes, "token-exchange", Cache::Never)
}

/// The answer to a token exchange (RFC 8693 §2.2.1), with the user that an app shows at once.
#[derive(Serialize)]
struct Answer {
    access_token: String,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    is_new_user: bool,
    user: Profile,
}

/// The parameters of a token exchange, read and understood, before anybody is asked about them.
struct Exchange {
    subject: SubjectToken,
    scope: Option<String>,
}

async fn grant(
    State(exchange): State<TokenExchange>,
    form: Form,
) -> Result<Json<Answer>, OAuthError> {
    in_time(exchange.grant(form)).await
}

impl TokenExchange {
    async fn grant(self, mut form: Form) -> Result<Json<Answer>, OAuthError> {
        let Self {
            clients,
            issuer,
            providers,
            users,
            tokens,
        } = self;
        let client = clients.authenticate(&mut form)?;
        if form.require_plain("grant_type")? != GRANT_TYPE_TOKEN_EXCHANGE {
            return Err(ApiError::UnsupportedGrantType.into());
        }
        let exchange = Exchange::read(&mut form, &issuer)?;
        let scope = client.grant_scope(exchange.scope.as_deref())?;

        let identity = providers.verify(&exchange.subject).await?;
        let tokens = tokens.ready().await?;
        let sign_in = users.sign_in(&identity).await?;
        let grant = Grant {
            client_id: client.id(),
            session: &SessionId::of_subject_token(&exchange.subject.token),
            scope: scope.as_deref(),
        };
        let issued = tokens.issue(&sign_in.user, &grant)?;

        Ok(Json(Answer {
            access_token: issued.token.expose_secret().to_owned(),
            issued_token_type: ACCESS_TOKEN,
            token_type: "Bearer",
            expires_in: issued.expires_in.as_secs(),
            scope,
            is_new_user: sign_in.is_new_user,
            user: sign_in.user.into(),
        }))
    }
}

impl Exchange {
    /// RFC 8693 §2.1.
    fn read(form: &mut Form, issuer: &Issuer) -> Result<Self, ApiError> {
        let invalid = |detail: &str| Err(ApiError::InvalidRequest(detail.to_owned()));
        let token = form.require("subject_token")?;
        let kind = match form.require_plain("subject_token_type")?.as_str() {
            ACCESS_TOKEN => SubjectTokenType::AccessToken,
            ID_TOKEN | JWT => SubjectTokenType::IdToken,
            _ => {
                return invalid(
                    "subject_token_type must be that of an access token or an ID token",
                );
            }
        };
        if form.take("actor_token").is_some() || form.take("actor_token_type").is_some() {
            return invalid("actor_token is not supported: nobody acts for somebody else here");
        }
        if form
            .take_plain("requested_token_type")
            .is_some_and(|requested| requested != ACCESS_TOKEN)
        {
            return invalid("requested_token_type must be that of an access token");
        }
        if kind == SubjectTokenType::AccessToken && form.take("nonce").is_some() {
            return invalid("nonce goes with an ID token: an access token has none to compare");
        }
        for target in ["audience", "resource"] {
            if form
                .take_plain(target)
                .is_some_and(|target| target != *issuer.audience)
            {
                return Err(ApiError::InvalidTarget);
            }
        }
        Ok(Self {
            subject: SubjectToken {
                token,
                kind,
                issuer: form.take_plain("subject_issuer"),
            },
            scope: form.take_plain("scope"),
        })
    }
}
