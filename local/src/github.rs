//! A stand-in GitHub, so that the whole sign-in runs on this machine.
//!
//! It speaks GitHub's own protocol, oddities included (an error of the code exchange is a 200, an API call without
//! `User-Agent` is refused, a missing scope looks like a missing page), so the code that runs against it is the code that
//! runs against GitHub. It keeps everything in memory, and asks nobody for a password: never put it on a network.

mod accounts;
mod api;
mod oauth;
mod pages;
mod tokens;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};

use serde::Deserialize;
use shared::clock::Clock;

pub use accounts::{Account, App, Email};
pub(crate) use oauth::{header_text, s256};
pub(crate) use tokens::random_characters;
use tokens::{Records, Scopes};

/// A GitHub of our own. Clones share what they know.
#[derive(Clone)]
pub struct StandIn {
    records: Arc<Mutex<Records>>,
}

impl StandIn {
    /// A GitHub where these apps are registered and these people have accounts.
    pub fn new(apps: Vec<App>, accounts: Vec<Account>) -> Self {
        let records = Records::new(apps, accounts);
        Self {
            records: Arc::new(Mutex::new(records)),
        }
    }

    /// The same, with this clock, which says when a token is made.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.records().clock = clock;
        self
    }

    /// A GitHub with one app and a few users to sign in as: `octocat`, `hubot`, `mona` and `incognito`.
    pub fn octocat_and_friends(app: App) -> Self {
        Self::new(vec![app], accounts::octocat_and_friends())
    }

    /// Everything that it answers: GitHub's web pages and GitHub's API, on one port.
    pub fn router(&self) -> Router {
        Router::new()
            .merge(oauth::routes())
            .merge(api::routes())
            .route("/stand-in/tokens", post(token_for_a_script))
            .with_state(self.clone())
    }

    /// A token as a finished sign-in would have given it; `None` if there is no such app or user.
    ///
    /// `scopes` is written as in an authorization request: `read:user,user:email`.
    pub fn issue_token(&self, client_id: &str, login: &str, scopes: &str) -> Option<String> {
        let mut records = self.records();
        let client_id = records.app(client_id)?.client_id.clone();
        let account_id = records.account_named(login)?.id;
        Some(records.issue(client_id, account_id, Scopes::parse(scopes)))
    }

    /// Takes a token back, as a user does in their settings. Says whether there was one.
    pub fn revoke(&self, token: &str) -> bool {
        self.records().tokens.remove(token).is_some()
    }

    /// Gives a user another login; the id stays, and the old login is free for someone else.
    pub fn rename(&self, id: u64, login: &str) -> bool {
        let mut records = self.records();
        let account = records.accounts.iter_mut().find(|account| account.id == id);
        let Some(account) = account else { return false };
        login.clone_into(&mut account.login);
        true
    }

    /// Opens an account, or replaces the one with the same id.
    pub fn add_account(&self, account: Account) {
        let mut records = self.records();
        records.accounts.retain(|other| other.id != account.id);
        records.accounts.push(account);
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        // No code panics half-way through a change, so a poisoned lock still guards whole records.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct ScriptRequest {
    #[serde(default)]
    login: String,
    scope: Option<String>,
}

/// Not GitHub's: a token without a browser, for scripts and first steps.
async fn token_for_a_script(
    State(github): State<StandIn>,
    Query(request): Query<ScriptRequest>,
) -> Response {
    let scope = request.scope.as_deref().unwrap_or("read:user,user:email");
    let first_app = github
        .records()
        .apps
        .first()
        .map(|app| app.client_id.clone());
    let token = first_app.and_then(|app| github.issue_token(&app, &request.login, scope));
    if let Some(token) = token {
        return ([(header::CACHE_CONTROL, "no-store")], token).into_response();
    }
    let logins = github.records().logins().join(", ");
    let help = format!("Nobody here has that login. Say ?login= and one of: {logins}\n");
    (StatusCode::NOT_FOUND, help).into_response()
}

#[cfg(test)]
mod tests;
