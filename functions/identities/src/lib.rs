//! `/me/identities`: the provider accounts that are linked to the signed-in user.

use axum::{
    Json, Router,
    extract::{FromRef, Path, State},
    response::NoContent,
    routing::{delete, get},
};
use serde::Serialize;
use shared::{
    clients::ClientProviders,
    clock::{Clock, rfc3339},
    config::{Environment, SessionLifetimes},
    http::{
        ApiError, Caller, JsonBody, RecentSignIn, Subject, Visibility, method_not_allowed, surface,
    },
    provider::Providers,
    sessions::{Opening, Sessions},
    start::{Start, StartError},
    stored::Stored,
    token::TokenVerifier,
    users::{LinkStep, LinkedIdentity, User, Users},
};

/// The state of the function.
#[derive(Clone, Debug, FromRef)]
pub struct IdentitiesOfMe {
    /// Verifies access tokens.
    pub tokens: TokenVerifier,
    /// The clock that decides whether a sign-in is recent.
    pub clock: Clock,
    /// The providers that each client may use.
    pub clients: Stored<ClientProviders>,
    /// Verifies the provider's token.
    pub providers: Stored<Providers>,
    /// The users with their linked accounts.
    pub users: Users,
    /// The sessions, among which a used provider token is recorded.
    pub sessions: Sessions,
    /// The lifetime of that record.
    pub lifetimes: SessionLifetimes,
}

impl IdentitiesOfMe {
    /// Reads the settings and the keys.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the keys must not be used.
    pub async fn start(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let start = Start::new(env, clock)?;
        let (users, sessions) = (start.users()?, start.sessions()?);
        let lifetimes = SessionLifetimes::from_env(env)?;
        let (clients, providers) = tokio::try_join!(start.client_providers(), start.providers())?;
        Ok(Self {
            clock: start.clock(),
            clients,
            providers,
            users,
            sessions,
            lifetimes,
            tokens: start.verifier().await?,
        })
    }
}

/// Returns the routes, for Lambda, `local` and the tests.
pub fn router(identities: IdentitiesOfMe) -> Router {
    let all = get(list).post(link).fallback(method_not_allowed);
    let one = delete(unlink).fallback(method_not_allowed);
    let routes = Router::new()
        .route("/me/identities", all)
        .route("/me/identities/{provider}", one)
        .with_state(identities);
    surface(routes, "identities", Visibility::Private)
}

/// The answer to `GET` and `POST /me/identities`.
#[derive(Serialize)]
struct List {
    identities: Vec<ListedIdentity>,
}

/// A linked account. The time is RFC 3339, in UTC.
#[derive(Serialize)]
struct ListedIdentity {
    provider: String,
    subject: String,
    username: Option<String>,
    linked_at: String,
}

impl From<User> for List {
    fn from(user: User) -> Self {
        let listed = |(provider, identity): (String, LinkedIdentity)| ListedIdentity {
            provider,
            subject: identity.subject,
            username: identity.username,
            linked_at: rfc3339(identity.linked_at),
        };
        Self {
            identities: user.identities.into_iter().map(listed).collect(),
        }
    }
}

async fn list(State(users): State<Users>, caller: Caller) -> Result<Json<List>, ApiError> {
    let user = caller.user(&users).await?;
    Ok(Json(user.into()))
}

/// Links the account that the provider's token proves to the caller.
async fn link(
    State(identities): State<IdentitiesOfMe>,
    RecentSignIn(caller): RecentSignIn,
    JsonBody(subject): JsonBody<Subject>,
) -> Result<Json<List>, ApiError> {
    let user = identities.link(caller, subject).await?;
    Ok(Json(user.into()))
}

impl IdentitiesOfMe {
    async fn link(&self, caller: Caller, subject: Subject) -> Result<User, ApiError> {
        let token = subject.read()?;
        let (clients, providers) = (self.clients.get().await?, self.providers.get().await?);
        let voucher = clients.voucher(&caller.client_id);
        let subject = providers.resolve(&token, voucher)?;
        let provider = subject.provider();
        clients.check(&caller.client_id, provider)?;
        let spent = Opening::new(&token.token, &caller.client_id, None, None, self.lifetimes)?;
        // Before the call to the provider, which uses the app's credentials and counts against the app's rate limit.
        let users = &self.users;
        let step = users.begin_link(caller.user_id, caller.session, provider, &spent);
        let user = match step.await? {
            LinkStep::Linked(user) => return Ok(user),
            LinkStep::Ask(user) => user,
        };
        let identity = subject.verify().await?;
        let linked = users.link(user, caller.session, &identity, &self.sessions, &spent);
        Ok(linked.await?)
    }
}

/// Unlinks the caller's account of a provider, except the only one that is left.
async fn unlink(
    State(users): State<Users>,
    State(lifetimes): State<SessionLifetimes>,
    Path(provider): Path<String>,
    RecentSignIn(caller): RecentSignIn,
) -> Result<NoContent, ApiError> {
    users
        .unlink(caller.user_id, caller.session, &provider, &lifetimes)
        .await?;
    Ok(NoContent)
}
