//! Who has an account at the stand-in, and which apps may ask for sign-ins.

/// An OAuth app, as registered in GitHub's developer settings.
#[derive(Clone)]
pub struct App {
    /// Public, and part of every authorization request.
    pub client_id: String,
    /// Known to the app's server and to GitHub.
    pub client_secret: String,
    /// What a user reads when asked to authorize it.
    pub name: String,
    /// Where users may be sent back to, besides any address of this machine.
    pub redirect_uris: Vec<String>,
}

impl App {
    /// An app whose users are only ever sent back to this machine.
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
    /// Never changes and is never given to anybody else.
    pub id: u64,
    /// Can change, and can then become somebody else's.
    pub login: String,
    /// The name on the profile, if there is one.
    pub name: Option<String>,
    /// The address on the public profile. Few people show one.
    pub email: Option<String>,
    /// What only an app with the scope `user:email` sees.
    pub emails: Vec<Email>,
    /// The organizations that they are in, and whether they have accepted that.
    pub organizations: Vec<(String, bool)>,
}

/// One of a user's addresses.
#[derive(Clone, Debug)]
pub struct Email {
    /// The address itself.
    pub address: String,
    /// Whether GitHub writes to this one.
    pub is_primary: bool,
    /// Whether the user has shown that it is theirs.
    pub is_verified: bool,
}

impl Account {
    /// A user who tells nothing about themselves.
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

    /// With this name on the profile.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// With this as the primary address, verified.
    #[must_use]
    pub fn reached_at(self, address: impl Into<String>) -> Self {
        self.with_email(address, true, true)
    }

    /// In this organization; invited only, if it is not `active`.
    #[must_use]
    pub fn in_organization(mut self, organization: impl Into<String>, active: bool) -> Self {
        self.organizations.push((organization.into(), active));
        self
    }

    /// With this address as well.
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

/// Users who differ where sign-in code goes wrong.
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
