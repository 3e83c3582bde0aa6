//! The accounts and the registered apps of the stand-in.

use aws_lc_rs::digest::{SHA256, digest};

/// An OAuth app, as registered in GitHub's developer settings.
#[derive(Clone)]
pub struct App {
    /// The public client id, which each authorization request names.
    pub client_id: String,
    /// The secret that the app's server shares with GitHub.
    pub client_secret: String,
    /// The name that the authorize page shows.
    pub name: String,
    /// The registered redirect URIs. Every address of this machine is accepted besides.
    pub redirect_uris: Vec<String>,
}

impl App {
    /// Makes an app without registered redirect URIs, for redirects to this machine.
    pub fn new(
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            name: name.into(),
            redirect_uris: Vec::new(),
        }
    }
}

/// A user of the stand-in.
#[derive(Clone, Debug)]
pub struct Account {
    /// The numeric id, which never changes and is never reused.
    pub id: u64,
    /// The login, which can change, and can then belong to another user.
    pub login: String,
    /// The name on the profile, if set.
    pub name: Option<String>,
    /// The address on the public profile, if the user shows one.
    pub email: Option<String>,
    /// All addresses, visible to apps with the scope `user:email`.
    pub emails: Vec<Email>,
    /// The organizations of the user, each with whether the membership is active.
    pub organizations: Vec<(String, bool)>,
}

/// One of a user's addresses.
#[derive(Clone, Debug)]
pub struct Email {
    /// The address itself.
    pub address: String,
    /// True if it is the primary address.
    pub is_primary: bool,
    /// True if the user has verified it.
    pub is_verified: bool,
}

impl Account {
    /// Makes a user with an empty profile.
    pub fn new(id: u64, login: impl Into<String>) -> Self {
        Self {
            id,
            login: login.into(),
            name: None,
            email: None,
            emails: Vec::new(),
            organizations: Vec::new(),
        }
    }

    /// Sets the name on the profile.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds the verified primary address.
    #[must_use]
    pub fn reached_at(self, address: impl Into<String>) -> Self {
        self.with_email(address, true, true)
    }

    /// Adds a membership of this organization; a pending invitation if it is not `active`.
    #[must_use]
    pub fn in_organization(mut self, organization: impl Into<String>, active: bool) -> Self {
        self.organizations.push((organization.into(), active));
        self
    }

    /// Adds an address.
    #[must_use]
    pub fn with_email(
        mut self,
        address: impl Into<String>,
        is_primary: bool,
        is_verified: bool,
    ) -> Self {
        self.emails.push(Email {
            address: address.into(),
            is_primary,
            is_verified,
        });
        self
    }
}

/// The longest login that GitHub accepts.
const MAX_LOGIN: usize = 39;
/// The first id of the accounts that the stand-in makes for a login.
const FIRST_MADE: u64 = 1_000_000_000;

/// Makes the account of a login, or returns `None` if GitHub does not accept such a login.
///
/// The id follows from the login, so that the login belongs to the same user after a restart of the stand-in.
pub(super) fn made_for(login: &str) -> Option<Account> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_login = (1..=MAX_LOGIN).contains(&login.len())
        && login.bytes().all(is_plain)
        && !login.starts_with('-')
        && !login.ends_with('-');
    if !is_login {
        return None;
    }
    let name = login.to_ascii_lowercase();
    let hash = digest(&SHA256, name.as_bytes());
    let number = hash.as_ref().iter().take(5);
    let number = number.fold(0, |number, byte| number << 8 | u64::from(*byte));
    let account = Account::new(FIRST_MADE + number, login).named(login);
    Some(account.reached_at(format!("{name}@example.com")))
}

/// Users that differ in what sign-in code often handles wrongly.
pub(super) fn octocat_and_friends() -> Vec<Account> {
    let mut octocat = Account::new(583_231, "octocat")
        .named("The Octocat")
        .reached_at("octocat@example.com")
        .with_email("octocat@users.noreply.github.com", false, true);
    octocat.email = Some("octocat@example.com".to_owned());

    let hubot = Account::new(480_938, "hubot")
        .named("Hubot")
        .reached_at("hubot@example.com");

    let mona = Account::new(900_000_001, "mona")
        .named("Mona Lisa")
        .with_email("mona@example.com", true, false)
        .with_email("mona@example.org", false, true);

    let incognito = Account::new(900_000_002, "incognito").reached_at("incognito@example.com");

    vec![octocat, hubot, mona, incognito]
}
