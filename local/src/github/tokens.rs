//! The state of the stand-in: apps, accounts, codes and tokens.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use shared::clock::{Clock, Timestamp};
use uuid::Uuid;

use super::{Account, App, accounts};

/// The lifetime of a code, which is that of GitHub's codes.
const CODE_LIFETIME: Duration = Duration::from_secs(600);

/// The largest number of accounts. A stand-in that has them all makes no more.
const MAX_ACCOUNTS: usize = 1000;

/// The state behind the lock.
pub(super) struct Records {
    pub(super) apps: Vec<App>,
    pub(super) accounts: Vec<Account>,
    pub(super) tokens: HashMap<String, Token>,
    pub(super) clock: Clock,
    codes: HashMap<String, Code>,
    last_id: u64,
}

/// An issued access token.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) id: u64,
    pub(super) client_id: String,
    pub(super) account_id: u64,
    pub(super) scopes: Scopes,
    pub(super) created_at: Timestamp,
}

/// A code that the app's server has not redeemed yet.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) client_id: String,
    pub(super) account_id: u64,
    pub(super) scopes: Scopes,
    pub(super) redirect_uri: String,
    pub(super) code_challenge: Option<String>,
    pub(super) issued_at: Instant,
}

impl Records {
    pub(super) fn new(apps: Vec<App>, accounts: Vec<Account>) -> Self {
        Self {
            apps,
            accounts,
            tokens: HashMap::new(),
            clock: Clock::system(),
            codes: HashMap::new(),
            last_id: 0,
        }
    }

    pub(super) fn app(&self, client_id: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.client_id == client_id)
    }

    pub(super) fn account(&self, id: u64) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == id)
    }

    /// Logins are case-insensitive.
    pub(super) fn account_named(&self, login: &str) -> Option<&Account> {
        self.accounts
            .iter()
            .find(|account| account.login.eq_ignore_ascii_case(login))
    }

    /// Returns the account with this login, and makes it if there is none. Returns `None` for a text that cannot be a
    /// login.
    pub(super) fn account_for(&mut self, login: &str) -> Option<&Account> {
        if self.account_named(login).is_none() && self.accounts.len() < MAX_ACCOUNTS {
            let mut made = accounts::made_for(login)?;
            // The account that had the login before may have another login now.
            while self.account(made.id).is_some() {
                made.id += 1;
            }
            self.accounts.push(made);
        }
        self.account_named(login)
    }

    pub(super) fn logins(&self) -> Vec<&str> {
        self.accounts
            .iter()
            .map(|account| account.login.as_str())
            .collect()
    }

    /// Returns the token that `app` presents, with its user. Tokens of other apps are not found.
    pub(super) fn token_of(&self, app: &App, token: &str) -> Option<(&Token, &Account)> {
        let token = self.tokens.get(token)?;
        let account = self.account(token.account_id)?;
        (token.client_id == app.client_id).then_some((token, account))
    }

    pub(super) fn issue(&mut self, client_id: String, account_id: u64, scopes: Scopes) -> String {
        self.last_id += 1;
        let token = format!("gho_{}", random_characters(36));
        let record = Token {
            id: self.last_id,
            client_id,
            account_id,
            scopes,
            created_at: self.clock.now(),
        };
        self.tokens.insert(token.clone(), record);
        token
    }

    pub(super) fn remember(&mut self, code: Code) -> String {
        let name = random_characters(20);
        self.codes.insert(name.clone(), code);
        name
    }

    /// Removes a code and returns it if it has not expired at `now`.
    pub(super) fn take(&mut self, code: &str, now: Instant) -> Option<Code> {
        self.codes
            .remove(code)
            .filter(|code| now.duration_since(code.issued_at) < CODE_LIFETIME)
    }
}

/// The scopes that a user granted to an app.
#[derive(Clone)]
pub(super) struct Scopes(BTreeSet<String>);

impl Scopes {
    /// Parses a list separated by commas or spaces, and drops scopes that a wider one includes.
    pub(super) fn parse(list: &str) -> Self {
        let mut scopes: BTreeSet<String> = list
            .split([' ', ','])
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .collect();
        if scopes.contains("user") {
            scopes.retain(|scope| scope != "read:user" && !scope.starts_with("user:"));
        }
        Self(scopes)
    }

    /// Returns whether the scopes include this part of `user`.
    pub(super) fn include(&self, scope: &str) -> bool {
        self.0.contains(scope) || self.0.contains("user")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub(super) fn joined(&self, separator: &str) -> String {
        self.iter().collect::<Vec<_>>().join(separator)
    }
}

/// At most 64 characters; each carries almost four bits of the operating system's generator.
pub(crate) fn random_characters(count: usize) -> String {
    let mut text = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    text.truncate(count);
    text
}
