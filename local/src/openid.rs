//! A stand-in OpenID provider, so that sign-ins such as Google's are tried on this machine.
//!
//! The provider has discovery, the authorization code flow with PKCE, ID tokens with a nonce, `userinfo`, and keys that
//! can be rotated (OpenID Connect Core 1.0, RFC 7636). Its people and its apps are those of the stand-in GitHub. It
//! keeps its state in memory and asks for no password: never expose it to a network.

mod keys;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Form, Json, Router,
    extract::{Query, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::{clock::Timestamp, keys::KeyError};

use crate::{
    github::{
        Account, Question, StandIn, back_to_the_app, basic, choose_an_account, dead_end,
        header_text, random_characters, redirect_uri, refusal, s256,
    },
    lock::lock,
};
use keys::Keys;

/// The path of the provider, which is the end of its issuer.
pub(crate) const PATH: &str = "/openid";

/// The name of the provider on its pages.
const PROVIDER: &str = "an OpenID provider";
/// The lifetime of a code.
const CODE_LIFETIME: Duration = Duration::from_mins(1);
/// The lifetime of an ID token, in seconds.
const TOKEN_LIFETIME: u64 = 3600;

/// The stand-in OpenID provider. Clones share their state.
#[derive(Clone)]
pub(crate) struct OpenId {
    issuer: Arc<str>,
    people: StandIn,
    records: Arc<Mutex<Records>>,
}

/// The state behind the lock.
#[derive(Default)]
struct Records {
    keys: Keys,
    codes: HashMap<String, SignIn>,
    /// The access tokens for `userinfo`.
    tokens: HashMap<String, (u64, String)>,
}

/// A sign-in whose code is not redeemed yet.
#[derive(Clone)]
struct SignIn {
    client_id: String,
    account_id: u64,
    scope: String,
    redirect_uri: String,
    code_challenge: Option<String>,
    nonce: Option<String>,
    at: Timestamp,
    issued_at: Instant,
}

impl OpenId {
    /// Makes a provider at the URL of the stand-in GitHub, with its people and its apps.
    pub(crate) fn new(url: &str, people: StandIn) -> Self {
        Self {
            issuer: format!("{url}{PATH}").into(),
            people,
            records: Arc::default(),
        }
    }

    /// The routes of the provider, for the port of the stand-in GitHub.
    pub(crate) fn router(&self) -> Router {
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .route("/jwks", get(jwks))
            .route("/stand-in/keys", post(rotate_keys))
            .route("/stand-in/tokens", post(token_for_a_script))
            .with_state(self.clone());
        Router::new().nest(PATH, routes)
    }

    /// Returns the claims of a person that `scope` covers (OpenID Connect Core 1.0 §5.4).
    fn claims(account: &Account, scope: &str) -> Map<String, Value> {
        let has = |name| scope.split(' ').any(|scope| scope == name);
        let mut claims = Map::from_iter([("sub".to_owned(), json!(account.id.to_string()))]);
        if has("profile") {
            let name = account.name.as_ref().unwrap_or(&account.login);
            claims.insert("name".to_owned(), json!(name));
            claims.insert("preferred_username".to_owned(), json!(account.login));
        }
        let email = account.emails.iter().find(|email| email.is_primary);
        if let Some(email) = email.filter(|_| has("email")) {
            claims.insert("email".to_owned(), json!(email.address));
            claims.insert("email_verified".to_owned(), json!(email.is_verified));
        }
        claims
    }

    /// Issues the tokens of a sign-in.
    fn issue(&self, sign_in: &SignIn) -> Result<Grant, Failure> {
        let account = self.people.account(sign_in.account_id);
        let account = account.ok_or(Failure::InvalidGrant)?;
        let now = self.people.now();
        let access_token = random_characters(40);
        // The left half of the hash (OpenID Connect Core 1.0 §3.1.3.6).
        let hash = digest(&SHA256, access_token.as_bytes());
        let half = hash.as_ref().get(..16).unwrap_or_default();
        let mut claims = Self::claims(&account, &sign_in.scope);
        for (name, value) in [
            ("iss", json!(self.issuer)),
            ("aud", json!(sign_in.client_id)),
            ("iat", json!(now)),
            ("exp", json!(now + TOKEN_LIFETIME)),
            ("auth_time", json!(sign_in.at)),
            ("at_hash", json!(BASE64_URL_SAFE_NO_PAD.encode(half))),
        ] {
            claims.insert(name.to_owned(), value);
        }
        if let Some(nonce) = &sign_in.nonce {
            claims.insert("nonce".to_owned(), json!(nonce));
        }
        let mut records = self.records();
        let id_token = records.keys.sign(&claims)?;
        let scope = sign_in.scope.clone();
        let owner = (account.id, scope.clone());
        records.tokens.insert(access_token.clone(), owner);
        Ok(Grant {
            access_token,
            token_type: "Bearer",
            expires_in: TOKEN_LIFETIME,
            scope,
            id_token,
        })
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        lock(&self.records)
    }
}

/// The discovery document (OpenID Connect Discovery 1.0 §3).
async fn discovery(State(provider): State<OpenId>) -> Json<Value> {
    let at = |path| format!("{}{path}", provider.issuer);
    Json(json!({
        "issuer": *provider.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/userinfo"),
        "jwks_uri": at("/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "profile", "email"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": [
            "sub", "iss", "aud", "iat", "exp", "auth_time", "nonce", "at_hash",
            "name", "preferred_username", "email", "email_verified",
        ],
    }))
}

/// The parameters of an authorization request and, after the form was sent, the user's answer.
#[derive(Deserialize)]
struct AuthorizationRequest {
    #[serde(default)]
    client_id: String,
    redirect_uri: Option<String>,
    #[serde(default)]
    response_type: String,
    #[serde(default)]
    scope: String,
    state: Option<String>,
    nonce: Option<String>,
    prompt: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    /// Signs this user in without a click.
    login: Option<String>,
    cancel: Option<String>,
}

impl AuthorizationRequest {
    /// The request as hidden fields of the page's forms.
    fn repeated(&self) -> Vec<(&str, &str)> {
        [
            ("client_id", Some(self.client_id.as_str())),
            ("redirect_uri", self.redirect_uri.as_deref()),
            ("response_type", Some(self.response_type.as_str())),
            ("scope", Some(self.scope.as_str())),
            ("state", self.state.as_deref()),
            ("nonce", self.nonce.as_deref()),
            ("code_challenge", self.code_challenge.as_deref()),
            (
                "code_challenge_method",
                self.code_challenge_method.as_deref(),
            ),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Returns the error of a request that is sent back to the app, as code and description.
    fn problem(&self) -> Option<[(&str, &str); 2]> {
        let method = self.code_challenge_method.as_deref();
        if self.response_type != "code" {
            let reason = "The response_type must be code.";
            return Some(refusal("unsupported_response_type", reason));
        }
        if !self.scope.split(' ').any(|scope| scope == "openid") {
            let reason = "The scope must contain openid.";
            return Some(refusal("invalid_scope", reason));
        }
        if self.code_challenge.is_some() && method != Some("S256") {
            let reason = "The code_challenge_method must be S256.";
            return Some(refusal("invalid_request", reason));
        }
        if self.prompt.as_deref() == Some("none") {
            let reason = "The stand-in has no sessions, so each sign-in shows its page.";
            return Some(refusal("login_required", reason));
        }
        let reason = "The user has denied your application access.";
        self.cancel
            .is_some()
            .then_some(refusal("access_denied", reason))
    }
}

async fn authorize(
    State(provider): State<OpenId>,
    Query(request): Query<AuthorizationRequest>,
) -> Response {
    let Some(app) = provider.people.app(&request.client_id) else {
        let reason = "No app is registered with this client_id.";
        return dead_end(StatusCode::NOT_FOUND, PROVIDER, reason);
    };
    let Some(url) = redirect_uri(&app, request.redirect_uri.as_deref()) else {
        let reason = "The redirect_uri is neither on this machine nor registered for this app.";
        return dead_end(StatusCode::BAD_REQUEST, PROVIDER, reason);
    };
    let state = request.state.as_deref();
    if let Some(problem) = request.problem() {
        return back_to_the_app(url, &problem, state);
    }
    let Some(login) = request.login.as_deref() else {
        return choose_an_account(&Question {
            provider: PROVIDER,
            action: &format!("{PATH}/authorize"),
            app: &app.name,
            scopes: &request.scope.replace(' ', ", "),
            request: &request.repeated(),
            accounts: &provider.people.accounts(),
        });
    };
    let Some(account) = provider.people.account_for(login) else {
        let reason = "A login has 1 to 39 letters, digits and hyphens, and neither begins nor ends with a hyphen.";
        return dead_end(StatusCode::NOT_FOUND, PROVIDER, reason);
    };
    let sign_in = SignIn {
        client_id: request.client_id.clone(),
        account_id: account.id,
        scope: request.scope.clone(),
        // Unchanged, because the exchange must repeat it exactly.
        redirect_uri: request
            .redirect_uri
            .clone()
            .unwrap_or_else(|| url.to_string()),
        code_challenge: request.code_challenge.clone(),
        nonce: request.nonce.clone(),
        at: provider.people.now(),
        issued_at: Instant::now(),
    };
    let code = random_characters(32);
    provider.records().codes.insert(code.clone(), sign_in);
    back_to_the_app(url, &[("code", code.as_str())], state)
}

#[derive(Deserialize)]
struct TokenRequest {
    #[serde(default)]
    grant_type: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    code_verifier: Option<String>,
}

#[derive(Serialize)]
struct Grant {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
    id_token: String,
}

async fn token(
    State(provider): State<OpenId>,
    headers: HeaderMap,
    request: Result<Form<TokenRequest>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(request) = request.map_err(|_| Failure::InvalidRequest)?;
    if request.grant_type != "authorization_code" {
        return Err(Failure::UnsupportedGrantType);
    }
    let in_body = || Some((request.client_id.clone()?, request.client_secret.clone()?));
    let (id, secret) = basic(&headers)
        .or_else(in_body)
        .ok_or(Failure::InvalidClient)?;
    let client_id = provider.people.client(id, secret);
    let client_id = client_id.ok_or(Failure::InvalidClient)?;
    // The code is removed before it is checked, so a failed attempt cannot be repeated with it.
    let sign_in = provider.records().codes.remove(&request.code);
    let sign_in = sign_in.ok_or(Failure::InvalidGrant)?;
    // A verifier without a challenge means that the challenge was removed on the way (RFC 9700 §2.1.1).
    let challenge = request.code_verifier.as_deref().map(s256);
    let is_good = sign_in.issued_at.elapsed() < CODE_LIFETIME
        && sign_in.client_id == client_id
        && sign_in.redirect_uri == request.redirect_uri
        && sign_in.code_challenge == challenge;
    if !is_good {
        return Err(Failure::InvalidGrant);
    }
    let grant = provider.issue(&sign_in)?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(grant)).into_response())
}

async fn userinfo(State(provider): State<OpenId>, headers: HeaderMap) -> Result<Response, Failure> {
    let credentials = header_text(&headers, header::AUTHORIZATION).split_once(' ');
    let (scheme, token) = credentials.ok_or(Failure::InvalidToken)?;
    let owner = provider.records().tokens.get(token.trim()).cloned();
    let owner = owner.filter(|_| scheme.eq_ignore_ascii_case("bearer"));
    let (id, scope) = owner.ok_or(Failure::InvalidToken)?;
    let account = provider.people.account(id).ok_or(Failure::InvalidToken)?;
    Ok(Json(OpenId::claims(&account, &scope)).into_response())
}

async fn jwks(State(provider): State<OpenId>) -> Result<Json<Value>, Failure> {
    Ok(Json(provider.records().keys.published()?))
}

/// A route of the stand-in alone: signs with a new key from now on. The former key stays published.
async fn rotate_keys(State(provider): State<OpenId>) -> Result<String, Failure> {
    Ok(provider.records().keys.rotate()?)
}

#[derive(Deserialize)]
struct ScriptRequest {
    #[serde(default)]
    login: String,
    scope: Option<String>,
}

/// A route of the stand-in alone: issues an ID token without a browser, for scripts.
async fn token_for_a_script(
    State(provider): State<OpenId>,
    Query(request): Query<ScriptRequest>,
) -> Result<Response, Failure> {
    let account = provider.people.account_for(&request.login);
    let (Some(account), Some(client_id)) = (account, provider.people.first_app()) else {
        let help = "Add ?login= with a login of letters, digits and hyphens\n";
        return Ok((StatusCode::NOT_FOUND, help).into_response());
    };
    let scope = request.scope;
    let grant = provider.issue(&SignIn {
        client_id,
        account_id: account.id,
        scope: scope.unwrap_or_else(|| "openid profile email".to_owned()),
        redirect_uri: String::new(),
        code_challenge: None,
        nonce: None,
        at: provider.people.now(),
        issued_at: Instant::now(),
    })?;
    Ok(([(header::CACHE_CONTROL, "no-store")], grant.id_token).into_response())
}

/// Reasons that a request is refused (RFC 6749 §5.2, RFC 6750 §3.1).
#[derive(Debug)]
enum Failure {
    InvalidRequest,
    UnsupportedGrantType,
    InvalidClient,
    InvalidGrant,
    InvalidToken,
    Keys(KeyError),
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Keys(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, error, description) = match &self {
            Self::InvalidRequest => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "The body must be a form.",
            ),
            Self::UnsupportedGrantType => (
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "The grant_type must be authorization_code.",
            ),
            Self::InvalidClient => (
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "The client_id or the client_secret is wrong.",
            ),
            Self::InvalidGrant => (
                StatusCode::BAD_REQUEST,
                "invalid_grant",
                "The code is unknown, used or expired, or its client, redirect_uri or code_verifier differs.",
            ),
            Self::InvalidToken => (
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "The access token is missing or unknown.",
            ),
            Self::Keys(error) => {
                tracing::error!(error.cause = %error, "the stand-in OpenID provider cannot sign");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "server_error",
                    "The stand-in cannot sign.",
                )
            }
        };
        let challenge = match self {
            Self::InvalidClient => Some("Basic realm=\"stand-in\""),
            Self::InvalidToken => Some("Bearer error=\"invalid_token\""),
            _ => None,
        };
        let body = json!({ "error": error, "error_description": description });
        let mut response =
            (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response();
        if let Some(challenge) = challenge {
            let challenge = header::HeaderValue::from_static(challenge);
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests;
