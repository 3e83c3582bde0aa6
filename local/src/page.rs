//! The page that `cargo run` serves: a sign-in, its token, and the requests that the API answered.
//!
//! The page takes the place of a Next.js app. The client's secret and the tokens stay in this server, as in the
//! server of an app; the browser holds only the id of its visit in a cookie. Requests are accepted only from the page
//! itself, under a host name of this machine, because other websites in the same browser reach this port as well.

mod controls;
mod grant;
mod lost;
mod view;
mod visits;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, Query, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::sessions::SessionId;
use thiserror::Error;

use crate::{
    dynamodb::{CallChanges, Changes},
    github::{header_text, s256},
    lock::lock,
    next_app::{ApiResponse, NextApp},
    requests::{Answered, Call, RequestLog},
};
pub(crate) use controls::Controls;
use grant::Grant;
pub(crate) use lost::{LostAnswers, lose_answers};
use view::{ShownAnswer, View, words_for};
use visits::{Attempt, Notice, Visits};

/// The page loads nothing from other origins and cannot be framed.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// The way to sign in from the page.
#[derive(Clone)]
pub(crate) enum SignIn {
    /// The page signs in itself, as this app.
    Here(NextApp),
    /// The page does not sign in, because it has no secret of the app; the text says why.
    Elsewhere(&'static str),
}

impl SignIn {
    pub(crate) const REAL_GITHUB: Self = Self::Elsewhere(
        "GITHUB_CLIENT_ID is set, so the API asks the real GitHub. Sign in with your own app: what the API does for it is \
         listed below.",
    );
    pub(crate) const OWN_CLIENTS: Self = Self::Elsewhere(
        "CLIENTS is set, and this page is none of them. Sign in with your own app: what the API does for it is listed \
         below.",
    );
}

/// The state of the page. Clones share it.
#[derive(Clone)]
pub(crate) struct Page {
    /// The only address at which the page is served.
    url: String,
    port: u16,
    sign_in: SignIn,
    visits: Arc<Mutex<Visits>>,
    requests: RequestLog,
    changes: Changes,
    lost: LostAnswers,
    controls: Controls,
}

impl Page {
    pub(crate) fn new(
        port: u16,
        sign_in: SignIn,
        (requests, changes): (RequestLog, Changes),
        lost: LostAnswers,
        controls: Controls,
    ) -> Self {
        Self {
            url: format!("http://localhost:{port}"),
            port,
            sign_in,
            visits: Arc::default(),
            requests,
            changes,
            lost,
            controls,
        }
    }

    fn app(&self) -> Result<&NextApp, Problem> {
        match &self.sign_in {
            SignIn::Here(app) => Ok(app),
            SignIn::Elsewhere(_) => Err(Problem::SignInIsElsewhere),
        }
    }

    fn callback(&self) -> String {
        format!("{}/try/callback", self.url)
    }

    fn visits(&self) -> MutexGuard<'_, Visits> {
        lock(&self.visits)
    }

    /// The name of the cookie contains the port, because a browser sends the cookies of `localhost` to every port.
    fn cookie_name(&self) -> String {
        format!("cambio-page-{}", self.port)
    }

    fn cookie(&self, visit: &str) -> String {
        let name = self.cookie_name();
        format!("{name}={visit}; Path=/try; HttpOnly; SameSite=Lax")
    }

    /// Returns the id of the visit in the browser's cookie.
    fn visit_of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.cookie_name();
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find_map(|(other, visit)| (other == name).then_some(visit))
    }

    fn view(&self, visit: Option<&str>) -> View {
        let grant = visit.and_then(|visit| self.visits().grant(visit));
        View::of(&self.sign_in, grant.as_ref(), self.lost.is_next_lost())
    }
}

/// The routes of the page, for the port of the API.
pub(crate) fn router(page: Page) -> Router {
    Router::new()
        .route("/", get(html))
        .route("/try/page.js", get(script))
        .route("/try/page.css", get(style))
        .route("/try/icon.svg", get(icon))
        .route("/try/sign-in", get(begin_sign_in))
        .route("/try/callback", get(finish_sign_in))
        .route("/try/state", get(state))
        .route("/try/requests", get(requests))
        .route("/try/me", post(me))
        .route("/try/refresh", post(refresh))
        .route("/try/sessions", post(sessions))
        .route("/try/sessions/{session_id}/end", post(end_session))
        .route("/try/lose-answer", post(lose_answer))
        .route("/try/expire", post(expire))
        .route("/try/disable", post(disable))
        .route("/try/enable", post(enable))
        .route("/try/rotate-keys", post(rotate_keys))
        .route("/try/items", post(items))
        .route("/try/sign-out", post(sign_out))
        .route("/try/sign-out-everywhere", post(sign_out_everywhere))
        .layer(middleware::from_fn_with_state(page.clone(), guard))
        .with_state(page)
}

/// Refuses requests of other origins and sets the page's content security policy.
async fn guard(State(page): State<Page>, request: Request, next: Next) -> Response {
    let mut response = match page.admit(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal,
    };
    for (name, value) in SECURITY_HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

impl Page {
    #[expect(
        clippy::result_large_err,
        reason = "it is the answer, and made once for each request"
    )]
    fn admit(&self, request: &Request) -> Result<(), Response> {
        let headers = request.headers();
        let host = header_text(headers, header::HOST);
        let is_page = request.uri().path() == "/";
        // One host name only: cookies and the callback belong to it, and another name may be a website's that points
        // here.
        if host == format!("127.0.0.1:{}", self.port) && is_page {
            return Err(Redirect::temporary(&format!("{}/", self.url)).into_response());
        }
        if host != format!("localhost:{}", self.port) {
            return Err(Problem::OtherHost.into_response());
        }
        let site = header_text(headers, HeaderName::from_static("sec-fetch-site"));
        let is_own = match site {
            // Not every browser sends this header.
            "" => header_text(headers, header::ORIGIN) == self.url,
            site => site == "same-origin",
        };
        // Any site may link to the page, and the stand-in redirects to the callback.
        let is_admitted = is_page
            || is_own
            || matches!(*request.method(), Method::GET | Method::HEAD) && site != "cross-site";
        if is_admitted {
            Ok(())
        } else {
            Err(Problem::OtherOrigin.into_response())
        }
    }
}

/// Reasons that the page's server refuses a request or fails, in words for the developer.
#[derive(Clone, Copy, Debug, Error)]
enum Problem {
    #[error(
        "This server is reachable under one address only: the one that it prints at its start."
    )]
    OtherHost,
    #[error("Only the page itself may send this request.")]
    OtherOrigin,
    #[error(
        "This page cannot sign in, because the server does not have the secret of the app. Sign in from your app."
    )]
    SignInIsElsewhere,
    #[error(
        "This sign-in was started in another browser, or it has expired. Go back to the page and start again."
    )]
    NotStarted,
    #[error("You are not signed in. A restart of the server ends every sign-in; sign in again.")]
    NotSignedIn,
    #[error("This session does not exist.")]
    NoSuchSession,
    #[error("The answer did not arrive in time. Try again.")]
    NoAnswer,
    #[error("The database did not do it. The terminal has the reason.")]
    Database,
}

impl Problem {
    fn status(self) -> StatusCode {
        match self {
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::OtherOrigin => StatusCode::FORBIDDEN,
            Self::SignInIsElsewhere | Self::NoSuchSession => StatusCode::NOT_FOUND,
            Self::NotStarted => StatusCode::BAD_REQUEST,
            Self::NotSignedIn => StatusCode::UNAUTHORIZED,
            Self::NoAnswer => StatusCode::BAD_GATEWAY,
            Self::Database => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status(), self.to_string()).into_response()
    }
}

impl From<reqwest::Error> for Problem {
    fn from(error: reqwest::Error) -> Self {
        // Without the URL, which must not reach the log.
        let error = error.without_url();
        tracing::warn!(error.cause = %error, "the page got no answer");
        Self::NoAnswer
    }
}

async fn html() -> impl IntoResponse {
    file("text/html; charset=utf-8", include_str!("page/page.html"))
}

async fn script() -> impl IntoResponse {
    file(
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    )
}

async fn style() -> impl IntoResponse {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

async fn icon() -> impl IntoResponse {
    file("image/svg+xml", include_str!("page/icon.svg"))
}

fn file(media_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, media_type)], content)
}

async fn begin_sign_in(State(page): State<Page>, headers: HeaderMap) -> Result<Response, Problem> {
    let attempt = Attempt::new(Instant::now());
    let authorize = page.app()?.authorize_url(&[
        ("redirect_uri", &page.callback()),
        ("state", &attempt.state),
        ("code_challenge", &s256(&attempt.verifier)),
        ("code_challenge_method", "S256"),
    ]);
    let authorize = authorize.map_err(|_| Problem::NoAnswer)?;
    let visit = page.visits().begin(page.visit_of(&headers), attempt);
    Ok(go_to(authorize.as_str(), &page.cookie(&visit)))
}

/// The parameters of GitHub's redirect to the callback.
#[derive(Deserialize)]
struct Callback {
    #[serde(default)]
    state: String,
    code: Option<String>,
}

async fn finish_sign_in(
    State(page): State<Page>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Result<Response, Problem> {
    let app = page.app()?;
    let visit = page.visit_of(&headers).ok_or(Problem::NotStarted)?;
    let attempt = page
        .visits()
        .take_attempt(visit, &callback.state, Instant::now())
        .ok_or(Problem::NotStarted)?;

    let user_agent = header_text(&headers, header::USER_AGENT);
    let granted = trade(app, &page.callback(), callback.code, &attempt, user_agent).await;
    let visit = match granted {
        Ok(grant) => {
            let is_repeated = page.lost.is_repeated_by(&grant);
            let visit = page.visits().sign_in(visit, grant);
            if is_repeated {
                let words = Notice::from(EXCHANGE_REPEATED.to_owned());
                page.visits().leave_notice(&visit, words);
            }
            visit
        }
        Err(notice) => {
            page.visits().leave_notice(visit, notice);
            visit.to_owned()
        }
    };
    Ok(go_to("/", &page.cookie(&visit)))
}

/// Trades the code of the callback for a token of GitHub, and that token for a token of the API.
async fn trade(
    app: &NextApp,
    callback: &str,
    code: Option<String>,
    attempt: &Attempt,
    user_agent: &str,
) -> Result<Grant, Notice> {
    let unreachable = |_| Notice::from(Problem::NoAnswer.to_string());
    // GitHub's description of the error is in the URL, which any site can write, so it is not shown.
    let code = code.ok_or_else(|| {
        "GitHub sent you back without a sign-in: the authorization was declined.".to_owned()
    })?;
    let github = app.redeem(&code, callback, Some(&attempt.verifier)).await;
    let github = github.map_err(Problem::from).map_err(unreachable)?;
    let github_token = github.body["access_token"].as_str();
    let github_token = github_token
        .ok_or_else(|| "GitHub returned no token for this sign-in. Start again.".to_owned())?;

    let mut answer = app.exchange(github_token, Some(user_agent)).await;
    if answer.is_err() {
        // The answer may be lost after the work was done. Within a minute, the same token opens the same session.
        answer = app.exchange(github_token, Some(user_agent)).await;
    }
    let answer = answer.map_err(Problem::from).map_err(unreachable)?;
    Grant::of(&answer).ok_or_else(|| Notice {
        words: words_for(&answer, "").to_owned(),
        answer: Some(ShownAnswer::new("POST /token", answer)),
    })
}

/// A redirect that sets the cookie of the visit.
fn go_to(url: &str, cookie: &str) -> Response {
    ([(header::SET_COOKIE, cookie)], Redirect::to(url)).into_response()
}

/// Returns the state that the page shows when it opens.
async fn state(State(page): State<Page>, headers: HeaderMap) -> Json<View> {
    let visit = page.visit_of(&headers);
    let view = page.view(visit);
    let notice = visit.and_then(|visit| page.visits().take_notice(visit));
    Json(match notice {
        Some(notice) => view.saying(notice.words, notice.answer),
        None => view,
    })
}

/// A request with the changes of its calls.
#[derive(Serialize)]
struct ShownRequest {
    #[serde(flatten)]
    answered: Answered,
    changes: Vec<ShownChanges>,
}

/// The changes of one call.
#[derive(Serialize)]
struct ShownChanges {
    operation: &'static str,
    #[serde(flatten)]
    changes: CallChanges,
}

impl ShownRequest {
    fn new(answered: Answered, changes: &Changes) -> Self {
        let of_call = |call: &Call| {
            let found = call.ids.iter().filter_map(|id| changes.of(id));
            let operation = call.operation;
            found
                .map(|changes| ShownChanges { operation, changes })
                .collect::<Vec<_>>()
        };
        Self {
            changes: answered.calls.iter().flat_map(of_call).collect(),
            answered,
        }
    }
}

async fn requests(State(page): State<Page>) -> Json<Vec<ShownRequest>> {
    let latest = page.requests.latest().into_iter();
    let shown = latest.map(|answered| ShownRequest::new(answered, &page.changes));
    Json(shown.collect())
}

/// The signed-in user of the browser that sent the request.
///
/// As a handler argument, it makes a route require a sign-in.
struct Visitor {
    visit: String,
    grant: Grant,
    app: NextApp,
}

impl FromRequestParts<Page> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, page: &Page) -> Result<Self, Problem> {
        let app = page.app()?.clone();
        let visit = page.visit_of(&parts.headers).ok_or(Problem::NotSignedIn)?;
        let grant = page.visits().grant(visit).ok_or(Problem::NotSignedIn)?;
        Ok(Self {
            visit: visit.to_owned(),
            grant,
            app,
        })
    }
}

impl Visitor {
    /// Sends a request with the user's access token, and returns the answer.
    async fn call(&self, method: Method, path: &str) -> Result<ApiResponse, Problem> {
        let access_token = &self.grant.access_token;
        Ok(self.app.call(method, path, access_token).await?)
    }

    /// Returns the state that the page shows after a request of this user.
    fn sees(&self, page: &Page, request: &str, answer: ApiResponse, success: &str) -> Json<View> {
        let words = words_for(&answer, success).to_owned();
        let answer = ShownAnswer::new(request, answer);
        Json(page.view(Some(&self.visit)).saying(words, Some(answer)))
    }
}

async fn me(State(page): State<Page>, visitor: Visitor) -> Result<Json<View>, Problem> {
    let answer = visitor.call(Method::GET, "/me").await?;
    let words = "The API verified the access token and read the user with one call to DynamoDB.";
    Ok(visitor.sees(&page, "GET /me", answer, words))
}

async fn refresh(State(page): State<Page>, visitor: Visitor) -> Result<Json<View>, Problem> {
    let presented = &visitor.grant.refresh_token;
    let answer = match visitor.app.refresh(presented).await {
        Ok(answer) => answer,
        Err(error) => {
            let session = visitor.grant.session().unwrap_or_default();
            if !page.lost.is_of(&session) {
                return Err(error.into());
            }
            let view = page.view(Some(&visitor.visit));
            return Ok(Json(view.saying(ANSWER_LOST.to_owned(), None)));
        }
    };
    let mut words = "A new access token and a new refresh token, in the same session.";
    if let Some(grant) = Grant::of(&answer) {
        if page.lost.is_repeated_by(&grant) {
            words = REFRESH_REPEATED;
        }
        page.visits().renew(&visitor.visit, presented, grant);
    } else if answer.body["error"] == "invalid_grant" {
        page.visits().forget(&visitor.visit);
    }
    Ok(visitor.sees(&page, "POST /token", answer, words))
}

const ANSWER_LOST: &str = "The API rotated the refresh token, and its answer was lost: the app still has the old token and cannot know. \
     Refresh again.";
const REFRESH_REPEATED: &str = "The repeated request got the same refresh token as the lost answer, from an unchanged item. The session goes on, \
     and the user stays signed in.";
const EXCHANGE_REPEATED: &str = "The answer of POST /token was lost after the API had signed the user in. The app repeated the request and got \
     the same session.";

/// Loses the next answer of `POST /token`, or takes that back.
async fn lose_answer(State(page): State<Page>, visitor: Visitor) -> Json<View> {
    let is_next_lost = !page.lost.is_next_lost();
    page.lost.set_next_lost(is_next_lost);
    let words = if is_next_lost {
        "The next answer of POST /token will be lost, whichever app asks: the API does its work, and the connection \
         closes. Refresh now."
    } else {
        "No answer will be lost."
    };
    let view = page.view(Some(&visitor.visit));
    Json(view.saying(words.to_owned(), None))
}

async fn sessions(State(page): State<Page>, visitor: Visitor) -> Result<Json<View>, Problem> {
    let answer = visitor.call(Method::GET, "/me/sessions").await?;
    let words = "These are the sessions of this user.";
    Ok(visitor.sees(&page, "GET /me/sessions", answer, words))
}

async fn end_session(
    State(page): State<Page>,
    visitor: Visitor,
    session_id: Result<Path<SessionId>, PathRejection>,
) -> Result<Json<View>, Problem> {
    let Path(session_id) = session_id.map_err(|_| Problem::NoSuchSession)?;
    let path = format!("/me/sessions/{session_id}");
    let answer = visitor.call(Method::DELETE, &path).await?;
    let words = "The session has ended and cannot be refreshed. Its last access token stays valid at other APIs until it expires.";
    Ok(visitor.sees(&page, "DELETE /me/sessions/{session_id}", answer, words))
}

/// Replaces the access token by one that has expired.
async fn expire(State(page): State<Page>, visitor: Visitor) -> Result<Json<View>, Problem> {
    let access_token = page.controls.expired(&visitor.grant.access_token).await?;
    let presented = visitor.grant.refresh_token.clone();
    let grant = Grant {
        access_token,
        ..visitor.grant
    };
    page.visits().renew(&visitor.visit, &presented, grant);
    let words =
        "The access token expired an hour ago. GET /me is refused now, until you refresh it.";
    let view = page.view(Some(&visitor.visit));
    Ok(Json(view.saying(words.to_owned(), None)))
}

async fn disable(State(page): State<Page>, visitor: Visitor) -> Result<Json<View>, Problem> {
    let token = &visitor.grant.access_token;
    let answer = page.controls.enable(token, false).await?;
    let words = "The user is disabled, as by the command `admin users disable`. GET /me and Refresh are refused now.";
    Ok(visitor.sees(&page, "users disable", answer, words))
}

async fn enable(State(page): State<Page>, visitor: Visitor) -> Result<Json<View>, Problem> {
    let token = &visitor.grant.access_token;
    let answer = page.controls.enable(token, true).await?;
    let words =
        "The user is enabled again. The sessions stay ended, so the next step is to sign in again.";
    Ok(visitor.sees(&page, "users enable", answer, words))
}

async fn rotate_keys(State(page): State<Page>, visitor: Visitor) -> Result<Json<View>, Problem> {
    let answer = page.controls.rotate().await?;
    let words = "The next key signs now. A refresh uses it after 20 seconds at most: compare `kid` in the header. The \
                 retired key still verifies the earlier tokens.";
    Ok(visitor.sees(&page, "rotate-keys", answer, words))
}

async fn items(State(page): State<Page>) -> Result<Json<Vec<Value>>, Problem> {
    Ok(Json(page.controls.items()?))
}

async fn sign_out(State(page): State<Page>, visitor: Visitor) -> Result<Json<View>, Problem> {
    let answer = visitor.app.revoke(&visitor.grant.refresh_token).await?;
    if answer.status.is_success() {
        page.visits().forget(&visitor.visit);
    }
    let words = "Signed out. The session has ended at the API as well.";
    Ok(visitor.sees(&page, "POST /revoke", answer, words))
}

async fn sign_out_everywhere(
    State(page): State<Page>,
    visitor: Visitor,
) -> Result<Json<View>, Problem> {
    let answer = visitor.call(Method::DELETE, "/me/sessions").await?;
    if answer.status.is_success() {
        page.visits().forget(&visitor.visit);
    }
    let words = "Signed out in every browser with one write. /me refuses all earlier access tokens at once.";
    Ok(visitor.sees(&page, "DELETE /me/sessions", answer, words))
}

#[cfg(test)]
mod tests;
