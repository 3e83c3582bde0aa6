//! GitHub's REST API: the signed-in user, and an app's calls about its own tokens.

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use shared::clock::rfc3339;

use super::{
    Account, App, StandIn,
    oauth::{basic, header_text},
    tokens::Token,
};

/// The API at both places: at the root, as on api.github.com, and under `/api/v3`, as on a GitHub Enterprise Server.
pub(super) fn routes() -> Router<StandIn> {
    Router::new()
        .nest("/api/v3", endpoints())
        .merge(endpoints())
        .fallback(|| async { Refusal::NotFound })
}

fn endpoints() -> Router<StandIn> {
    Router::new()
        .route("/user", get(user))
        .route("/user/emails", get(emails))
        .route("/user/memberships/orgs/{organization}", get(membership))
        .route(
            "/applications/{client_id}/token",
            post(check_token).delete(delete_token),
        )
        .route_layer(middleware::from_fn(require_user_agent))
}

async fn user(State(github): State<StandIn>, headers: HeaderMap) -> Result<Response, Refusal> {
    let (token, account) = github.signed_in(&headers)?;
    let mut profile = profile(&account);
    if token.scopes.include("read:user") {
        profile.extend(private_part());
    }
    Ok((scope_headers(&token, ""), Json(profile)).into_response())
}

async fn emails(State(github): State<StandIn>, headers: HeaderMap) -> Result<Response, Refusal> {
    let (token, account) = github.signed_in(&headers)?;
    let scopes = scope_headers(&token, "user:email, user");
    // GitHub answers 404 instead of 403 where a 403 would reveal that a resource exists.
    if !token.scopes.include("user:email") {
        return Ok((scopes, Refusal::NotFound).into_response());
    }
    let emails: Vec<Value> = account
        .emails
        .iter()
        .map(|email| {
            let is_public = account.email.as_ref() == Some(&email.address);
            let visibility = match (email.is_primary, is_public) {
                (_, true) => Some("public"),
                (true, false) => Some("private"),
                (false, false) => None,
            };
            json!({
                "email": email.address,
                "primary": email.is_primary,
                "verified": email.is_verified,
                "visibility": visibility,
            })
        })
        .collect();
    Ok((scopes, Json(emails)).into_response())
}

async fn membership(
    State(github): State<StandIn>,
    Path(organization): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (token, account) = github.signed_in(&headers)?;
    let scopes = scope_headers(&token, "admin:org, read:org, repo, user, write:org");
    if !token.scopes.iter().any(|scope| scope == "read:org") {
        return Ok((scopes, Refusal::NotAccessible).into_response());
    }
    let is_it = |(name, _): &&(String, bool)| name.eq_ignore_ascii_case(&organization);
    let found = account.organizations.iter().find(is_it);
    let (name, is_active) = found.ok_or(Refusal::NotFound)?;
    let state = if *is_active { "active" } else { "pending" };
    let api = format!("https://api.github.com/orgs/{name}");
    let login = &account.login;
    let membership = json!({
        "url": format!("{api}/memberships/{login}"),
        "state": state,
        "role": "member",
        "organization_url": api,
        "organization": { "login": name, "url": api },
        "user": simple_user(&account),
    });
    Ok((scopes, Json(membership)).into_response())
}

async fn check_token(
    State(github): State<StandIn>,
    Path(client_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let app = github.calling_app(&headers, &client_id)?;
    let token = submitted_token(&body)?;
    let records = github.records();
    let (record, account) = records.token_of(&app, &token).ok_or(Refusal::NotFound)?;
    Ok(Json(authorization(&token, record, &app, account)))
}

async fn delete_token(
    State(github): State<StandIn>,
    Path(client_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let app = github.calling_app(&headers, &client_id)?;
    let token = submitted_token(&body)?;
    let mut records = github.records();
    records.token_of(&app, &token).ok_or(Refusal::NotFound)?;
    records.tokens.remove(&token);
    Ok(StatusCode::NO_CONTENT)
}

impl StandIn {
    /// The user of the request's token.
    fn signed_in(&self, headers: &HeaderMap) -> Result<(Token, Account), Refusal> {
        let credentials = header_text(headers, header::AUTHORIZATION).split_once(' ');
        let (scheme, token) = credentials.ok_or(Refusal::AuthenticationRequired)?;
        let is_token =
            scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        let records = self.records();
        let token = records.tokens.get(token.trim()).filter(|_| is_token);
        let token = token.ok_or(Refusal::BadCredentials)?;
        let account = records.account(token.account_id);
        let account = account.ok_or(Refusal::BadCredentials)?;
        Ok((token.clone(), account.clone()))
    }

    /// The app that asks about its own tokens, authenticated by its id in the path and its secret in `Authorization`.
    fn calling_app(&self, headers: &HeaderMap, client_id: &str) -> Result<App, Refusal> {
        let (id, secret) = basic(headers).ok_or(Refusal::AuthenticationRequired)?;
        let records = self.records();
        let app = records.app(&id).filter(|app| app.client_secret == secret);
        let app = app.ok_or(Refusal::BadCredentials)?;
        if app.client_id != client_id {
            return Err(Refusal::NotFound);
        }
        Ok(app.clone())
    }
}

fn submitted_token(body: &[u8]) -> Result<String, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Refusal::NotJson)?;
    let token = body.get("access_token").and_then(Value::as_str);
    token.map(str::to_owned).ok_or(Refusal::TokenMissing)
}

async fn require_user_agent(request: Request, next: Next) -> Response {
    if header_text(request.headers(), header::USER_AGENT).is_empty() {
        return Refusal::UserAgentMissing.into_response();
    }
    next.run(request).await
}

fn scope_headers(token: &Token, accepted: &str) -> [(HeaderName, String); 2] {
    [
        (
            HeaderName::from_static("x-oauth-scopes"),
            token.scopes.joined(", "),
        ),
        (
            HeaderName::from_static("x-accepted-oauth-scopes"),
            accepted.to_owned(),
        ),
    ]
}

/// GitHub's `simple-user`, the short form of a user in other objects.
fn simple_user(account: &Account) -> Map<String, Value> {
    let (id, login) = (account.id, &account.login);
    let api = format!("https://api.github.com/users/{login}");
    members([
        ("login", json!(login)),
        ("id", json!(id)),
        ("node_id", json!(format!("U_{id}"))),
        (
            "avatar_url",
            json!(format!("https://avatars.githubusercontent.com/u/{id}?v=4")),
        ),
        ("gravatar_id", json!("")),
        ("html_url", json!(format!("https://github.com/{login}"))),
        ("followers_url", json!(format!("{api}/followers"))),
        (
            "following_url",
            json!(format!("{api}/following{{/other_user}}")),
        ),
        ("gists_url", json!(format!("{api}/gists{{/gist_id}}"))),
        (
            "starred_url",
            json!(format!("{api}/starred{{/owner}}{{/repo}}")),
        ),
        ("subscriptions_url", json!(format!("{api}/subscriptions"))),
        ("organizations_url", json!(format!("{api}/orgs"))),
        ("repos_url", json!(format!("{api}/repos"))),
        ("events_url", json!(format!("{api}/events{{/privacy}}"))),
        (
            "received_events_url",
            json!(format!("{api}/received_events")),
        ),
        ("url", json!(api)),
        ("type", json!("User")),
        ("site_admin", json!(false)),
    ])
}

/// GitHub's public profile of a user.
fn profile(account: &Account) -> Map<String, Value> {
    let mut profile = simple_user(account);
    profile.extend(members([
        ("name", json!(account.name)),
        ("company", Value::Null),
        ("blog", json!("")),
        ("location", Value::Null),
        ("email", json!(account.email)),
        ("hireable", Value::Null),
        ("bio", Value::Null),
        ("twitter_username", Value::Null),
        ("public_repos", json!(8)),
        ("public_gists", json!(8)),
        ("followers", json!(20)),
        ("following", json!(0)),
        ("created_at", json!("2011-01-25T18:44:36Z")),
        ("updated_at", json!("2011-01-25T18:44:36Z")),
    ]));
    profile
}

/// GitHub's private profile, for apps with the scope `read:user`.
fn private_part() -> Map<String, Value> {
    members([
        ("private_gists", json!(0)),
        ("total_private_repos", json!(0)),
        ("owned_private_repos", json!(0)),
        ("disk_usage", json!(0)),
        ("collaborators", json!(0)),
        ("two_factor_authentication", json!(true)),
    ])
}

fn members<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// GitHub's `authorization`: the user, the app and the scopes of a token.
fn authorization(token: &str, record: &Token, app: &App, account: &Account) -> Value {
    let hash = digest(&SHA256, token.as_bytes());
    let hash: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let last_eight = token.get(token.len().saturating_sub(8)..);
    let created_at = rfc3339(record.created_at);
    json!({
        "id": record.id,
        "url": format!("https://api.github.com/authorizations/{}", record.id),
        "app": { "name": app.name, "url": "http://localhost:3000", "client_id": app.client_id },
        "token": token,
        "hashed_token": hash,
        "token_last_eight": last_eight,
        "note": null,
        "note_url": null,
        "created_at": created_at,
        "updated_at": created_at,
        "scopes": record.scopes.iter().collect::<Vec<_>>(),
        "fingerprint": null,
        "expires_at": null,
        "user": simple_user(account),
    })
}

/// Reasons that an API call is refused.
#[derive(Clone, Copy)]
enum Refusal {
    UserAgentMissing,
    AuthenticationRequired,
    BadCredentials,
    NotFound,
    NotAccessible,
    NotJson,
    TokenMissing,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::UserAgentMissing => {
                let text = "Request forbidden by administrative rules. \
                            Please make sure your request has a User-Agent header.\n";
                return (StatusCode::FORBIDDEN, text).into_response();
            }
            Self::AuthenticationRequired => (StatusCode::UNAUTHORIZED, "Requires authentication"),
            Self::BadCredentials => (StatusCode::UNAUTHORIZED, "Bad credentials"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
            Self::NotAccessible => (
                StatusCode::FORBIDDEN,
                "You need at least read:org scope to get your membership of an organization.",
            ),
            Self::NotJson => (StatusCode::BAD_REQUEST, "Problems parsing JSON"),
            Self::TokenMissing => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "Invalid request.\n\n\"access_token\" wasn't supplied.",
            ),
        };
        let body = json!({
            "message": message,
            "documentation_url": "https://docs.github.com/rest",
            "status": status.as_str(),
        });
        (status, Json(body)).into_response()
    }
}
