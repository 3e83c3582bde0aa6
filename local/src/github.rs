//! A stand-in GitHub, so that the whole sign-in runs on this machine.
//!
//! Its API is at the root, as on api.github.com, and under `/api/v3`, as on a GitHub Enterprise Server: a library that
//! takes the URL of a GitHub Enterprise Server takes that of the stand-in. A login without an account gets one at its
//! first sign-in.
//!
//! It speaks GitHub's protocol with its oddities: an error of the code exchange is a 200, an API call without
//! `User-Agent` is refused, and a missing scope looks like a missing page. So the same code runs against the stand-in
//! and against GitHub. The stand-in keeps its state in memory and asks for no password: never expose it to a network.

mod accounts;
mod api;
mod oauth;
mod pages;
mod tokens;

use std::sync::{Arc, Mutex, MutexGuard};

use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};

use serde::Deserialize;
use shared::clock::{Clock, Timestamp};

use crate::lock::lock;

pub use accounts::{Account, App, Email};
pub(crate) use oauth::{back_to_the_app, basic, header_text, redirect_uri, refusal, s256};
pub(crate) use pages::{Question, choose_an_account, dead_end};
pub(crate) use tokens::random_characters;
use tokens::{Records, Scopes};

/// The stand-in GitHub. Clones share their state.
#[derive(Clone)]
pub struct StandIn {
    records: Arc<Mutex<Records>>,
}

impl StandIn {
    /// Makes a stand-in with these registered apps and these accounts.
    pub fn new(apps: Vec<App>, accounts: Vec<Account>) -> Self {
        let records = Records::new(apps, accounts);
        Self {
            records: Arc::new(Mutex::new(records)),
        }
    }

    /// Makes a stand-in with these apps and accounts that takes the time of issue of its tokens from `clock`.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.records().clock = clock;
        self
    }

    /// Makes a stand-in with one app and four users: `octocat`, `hubot`, `mona` and `incognito`.
    pub fn octocat_and_friends(app: App) -> Self {
        Self::new(vec![app], accounts::octocat_and_friends())
    }

    /// The routes of GitHub's web pages and of GitHub's API, for one port.
    pub fn router(&self) -> Router {
        Router::new()
            .merge(oauth::routes())
            .merge(api::routes())
            .route("/stand-in/tokens", post(token_for_a_script))
            .with_state(self.clone())
    }

    /// Makes a token as a completed sign-in does; returns `None` if the app or the user does not exist.
    ///
    /// `scopes` has the form of an authorization request: `read:user,user:email`.
    pub fn issue_token(&self, client_id: &str, login: &str, scopes: &str) -> Option<String> {
        let mut records = self.records();
        let client_id = records.app(client_id)?.client_id.clone();
        let account_id = records.account_named(login)?.id;
        Some(records.issue(client_id, account_id, Scopes::parse(scopes)))
    }

    /// Revokes a token, as a user does in GitHub's settings. Returns whether the token existed.
    pub fn revoke(&self, token: &str) -> bool {
        self.records().tokens.remove(token).is_some()
    }

    /// Replaces the secret of an app. Returns whether the app exists.
    pub fn set_client_secret(&self, client_id: &str, secret: &str) -> bool {
        let mut records = self.records();
        let mut apps = records.apps.iter_mut();
        let Some(app) = apps.find(|app| app.client_id == client_id) else {
            return false;
        };
        secret.clone_into(&mut app.client_secret);
        true
    }

    /// Changes the login of a user. The id stays, and the old login becomes free.
    pub fn rename(&self, id: u64, login: &str) -> bool {
        let mut records = self.records();
        let account = records.accounts.iter_mut().find(|account| account.id == id);
        let Some(account) = account else { return false };
        login.clone_into(&mut account.login);
        true
    }

    /// Adds an account, or replaces the account with the same id.
    pub fn add_account(&self, account: Account) {
        let mut records = self.records();
        records.accounts.retain(|other| other.id != account.id);
        records.accounts.push(account);
    }

    /// Returns the account with this login. A login that no account has gets one, if GitHub would accept the login.
    pub(crate) fn account_for(&self, login: &str) -> Option<Account> {
        self.records().account_for(login).cloned()
    }

    /// Returns the account with this id.
    pub(crate) fn account(&self, id: u64) -> Option<Account> {
        self.records().account(id).cloned()
    }

    /// Returns all accounts.
    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.records().accounts.clone()
    }

    /// Returns the app with this client id.
    pub(crate) fn app(&self, client_id: &str) -> Option<App> {
        self.records().app(client_id).cloned()
    }

    /// Returns the client id of the first registered app.
    pub(crate) fn first_app(&self) -> Option<String> {
        let records = self.records();
        records.apps.first().map(|app| app.client_id.clone())
    }

    /// Returns the id of the app that has these credentials.
    pub(crate) fn client(&self, id: String, secret: String) -> Option<String> {
        oauth::client(&self.records(), id, secret)
    }

    /// Returns the time.
    pub(crate) fn now(&self) -> Timestamp {
        self.records().clock.now()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        lock(&self.records)
    }
}

#[derive(Deserialize)]
struct ScriptRequest {
    #[serde(default)]
    login: String,
    scope: Option<String>,
}

/// A route that GitHub does not have: makes a token without a browser, for scripts.
async fn token_for_a_script(
    State(github): State<StandIn>,
    Query(request): Query<ScriptRequest>,
) -> Response {
    let scope = request.scope.as_deref().unwrap_or("read:user,user:email");
    let account = github.account_for(&request.login);
    let app = account.as_ref().and_then(|_| github.first_app());
    let token = app.and_then(|app| github.issue_token(&app, &request.login, scope));
    if let Some(token) = token {
        return ([(header::CACHE_CONTROL, "no-store")], token).into_response();
    }
    let logins = github.records().logins().join(", ");
    let help = format!(
        "Add ?login= with one of {logins}, or with any other login of letters, digits and hyphens\n"
    );
    (StatusCode::NOT_FOUND, help).into_response()
}

#[cfg(test)]
mod tests;
