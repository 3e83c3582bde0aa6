//! GitHub's web flow: the authorize page, and the code exchange.

use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Form, Json, Router,
    extract::{FromRequest, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    App, StandIn, pages,
    tokens::{Code, Records, Scopes},
};
use crate::neighbours::is_loopback;

/// The name of this provider on its pages.
const PROVIDER: &str = "GitHub";

pub(super) fn routes() -> Router<StandIn> {
    Router::new()
        .route("/", get(front))
        .route("/login/oauth/authorize", get(authorize))
        .route("/login/oauth/access_token", post(access_token))
}

async fn front(State(github): State<StandIn>) -> Response {
    pages::front(&github.records().accounts)
}

/// The parameters of an authorization request and, after the form was sent, the user's answer.
#[derive(Deserialize)]
struct AuthorizationRequest {
    #[serde(default)]
    client_id: String,
    redirect_uri: Option<String>,
    state: Option<String>,
    #[serde(default)]
    scope: String,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    /// A suggestion at GitHub; the stand-in signs this user in without a click.
    login: Option<String>,
    cancel: Option<String>,
}

async fn authorize(
    State(github): State<StandIn>,
    Query(request): Query<AuthorizationRequest>,
) -> Response {
    let mut records = github.records();
    let Some(app) = records.app(&request.client_id) else {
        let reason = "No app is registered with this client_id.";
        return pages::dead_end(StatusCode::NOT_FOUND, PROVIDER, reason);
    };
    let Some(redirect_uri) = redirect_uri(app, request.redirect_uri.as_deref()) else {
        let reason = "The redirect_uri is neither on this machine nor registered for this app.";
        return pages::dead_end(StatusCode::BAD_REQUEST, PROVIDER, reason);
    };
    let state = request.state.as_deref();

    let method = request.code_challenge_method.as_deref();
    if request.code_challenge.is_some() && method != Some("S256") {
        let reason = "The code_challenge_method must be S256.";
        return back_to_the_app(redirect_uri, &refusal("invalid_request", reason), state);
    }
    if request.cancel.is_some() {
        let reason = "The user has denied your application access.";
        return back_to_the_app(redirect_uri, &refusal("access_denied", reason), state);
    }
    let scopes = Scopes::parse(&request.scope);
    let Some(login) = request.login.as_deref() else {
        return pages::choose_an_account(&pages::Question {
            provider: PROVIDER,
            action: "/login/oauth/authorize",
            app: &app.name,
            scopes: &scopes.joined(", "),
            request: &request.repeated(),
            accounts: &records.accounts,
        });
    };
    let Some(account) = records.account_for(login) else {
        let reason = "A login has 1 to 39 letters, digits and hyphens, and neither begins nor ends with a hyphen.";
        return pages::dead_end(StatusCode::NOT_FOUND, PROVIDER, reason);
    };
    let account_id = account.id;

    let code = Code {
        client_id: request.client_id.clone(),
        account_id,
        scopes,
        // Unchanged, because the exchange must repeat it exactly.
        redirect_uri: request
            .redirect_uri
            .clone()
            .unwrap_or_else(|| redirect_uri.to_string()),
        code_challenge: request.code_challenge.clone(),
        issued_at: Instant::now(),
    };
    let code = records.remember(code);
    back_to_the_app(redirect_uri, &[("code", code.as_str())], state)
}

impl AuthorizationRequest {
    /// The request as hidden fields of the page's form.
    fn repeated(&self) -> Vec<(&str, &str)> {
        [
            ("client_id", Some(self.client_id.as_str())),
            ("redirect_uri", self.redirect_uri.as_deref()),
            ("state", self.state.as_deref()),
            ("scope", Some(self.scope.as_str())),
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
}

/// Returns the redirect URI if it is on this machine or registered. Any other address would be an open redirect.
pub(crate) fn redirect_uri(app: &App, requested: Option<&str>) -> Option<Url> {
    let requested = requested.or_else(|| app.redirect_uris.first().map(String::as_str))?;
    let url = Url::parse(requested).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https");
    let has_userinfo = !url.username().is_empty() || url.password().is_some();
    let is_here = is_loopback(&url);
    let is_registered = app.redirect_uris.iter().any(|uri| uri == requested);
    let is_allowed =
        is_web && !has_userinfo && url.fragment().is_none() && (is_here || is_registered);
    is_allowed.then_some(url)
}

pub(crate) fn refusal<'a>(error: &'a str, description: &'a str) -> [(&'a str, &'a str); 2] {
    [("error", error), ("error_description", description)]
}

pub(crate) fn back_to_the_app(
    mut url: Url,
    answer: &[(&str, &str)],
    state: Option<&str>,
) -> Response {
    url.query_pairs_mut()
        .extend_pairs(answer)
        .extend_pairs(state.map(|state| ("state", state)));
    let headers = [
        (header::LOCATION, String::from(url)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    (StatusCode::FOUND, headers).into_response()
}

#[derive(Deserialize)]
struct ExchangeRequest {
    client_id: Option<String>,
    client_secret: Option<String>,
    #[serde(default)]
    code: String,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
}

async fn access_token(State(github): State<StandIn>, request: Request) -> Response {
    let headers = request.headers().clone();
    let is_json = header_text(&headers, header::CONTENT_TYPE).starts_with("application/json");
    let request = if is_json {
        let json = Json::<ExchangeRequest>::from_request(request, &()).await;
        json.map(|Json(request)| request)
            .map_err(IntoResponse::into_response)
    } else {
        let form = Form::<ExchangeRequest>::from_request(request, &()).await;
        form.map(|Form(request)| request)
            .map_err(IntoResponse::into_response)
    };
    let request = match request {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };

    let mut records = github.records();
    match exchange(&mut records, &headers, &request, Instant::now()) {
        Ok(grant) => in_the_wanted_format(&headers, &grant),
        Err(error) => in_the_wanted_format(&headers, &error.details()),
    }
}

#[derive(Serialize)]
struct Grant {
    access_token: String,
    scope: String,
    token_type: &'static str,
}

fn exchange(
    records: &mut Records,
    headers: &HeaderMap,
    request: &ExchangeRequest,
    now: Instant,
) -> Result<Grant, ExchangeError> {
    let in_body = || Some((request.client_id.clone()?, request.client_secret.clone()?));
    let credentials = basic(headers).or_else(in_body);
    let client_id = credentials.and_then(|(id, secret)| client(records, id, secret));
    let client_id = client_id.ok_or(ExchangeError::IncorrectClient)?;
    // The code is removed before it is checked, so a failed attempt cannot be repeated with it.
    let code = records.take(&request.code, now);
    let code = code.filter(|code| code.client_id == client_id);
    let code = code.ok_or(ExchangeError::BadCode)?;
    if request
        .redirect_uri
        .as_ref()
        .is_some_and(|uri| *uri != code.redirect_uri)
    {
        return Err(ExchangeError::OtherRedirectUri);
    }
    // Both or neither: a verifier without a challenge means that the challenge was removed on the way (RFC 9700
    // §2.1.1).
    let challenge = request.code_verifier.as_deref().map(s256);
    if challenge != code.code_challenge {
        return Err(ExchangeError::BadCode);
    }
    let scope = code.scopes.joined(",");
    Ok(Grant {
        access_token: records.issue(client_id, code.account_id, code.scopes),
        scope,
        token_type: "bearer",
    })
}

/// Returns the id of the app that has these credentials.
pub(super) fn client(records: &Records, id: String, secret: String) -> Option<String> {
    // RFC 6749 §2.3.1 requires form encoding before Basic joins the two; many clients omit it, and GitHub accepts
    // both.
    let decoded = (form_decoded(&id), form_decoded(&secret));
    [(id, secret), decoded]
        .into_iter()
        .find(|(id, secret)| {
            records
                .app(id)
                .is_some_and(|app| app.client_secret == *secret)
        })
        .map(|(id, _)| id)
}

/// Returns the user name and the password of HTTP Basic authentication (RFC 7617).
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, credentials) = header_text(headers, header::AUTHORIZATION).split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

pub(crate) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn form_decoded(text: &str) -> String {
    // Behind a name, so that an `=` in the text stays part of the value.
    let pair = format!("text={}", text.replace('&', "%26"));
    let decoded = form_urlencoded::parse(pair.as_bytes()).next();
    decoded
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Returns the challenge of a PKCE verifier (RFC 7636 §4.2).
pub(crate) fn s256(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// Reasons that a code is not exchanged.
#[derive(Clone, Copy)]
enum ExchangeError {
    IncorrectClient,
    BadCode,
    OtherRedirectUri,
}

#[derive(Serialize)]
struct ErrorDetails {
    error: &'static str,
    error_description: &'static str,
    error_uri: String,
}

impl ExchangeError {
    /// GitHub's own wording, which some clients match.
    fn details(self) -> ErrorDetails {
        let (error, error_description, anchor) = match self {
            Self::IncorrectClient => (
                "incorrect_client_credentials",
                "The client_id and/or client_secret passed are incorrect.",
                "incorrect-client-credentials",
            ),
            Self::BadCode => (
                "bad_verification_code",
                "The code passed is incorrect or expired.",
                "bad-verification-code",
            ),
            Self::OtherRedirectUri => (
                "redirect_uri_mismatch",
                "The redirect_uri MUST match the registered callback URL for this application.",
                "redirect-uri-mismatch2",
            ),
        };
        let page = "https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors";
        ErrorDetails {
            error,
            error_description,
            error_uri: format!("{page}/#{anchor}"),
        }
    }
}

/// Form-encoded by default and JSON on request, with status 200 for errors too, as GitHub does.
fn in_the_wanted_format<T: Serialize>(headers: &HeaderMap, answer: &T) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    if header_text(headers, header::ACCEPT).contains("application/json") {
        (no_store, Json(answer)).into_response()
    } else {
        (no_store, Form(answer)).into_response()
    }
}
