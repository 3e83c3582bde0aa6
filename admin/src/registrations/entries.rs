//! The entries of the settings, as JSON that the parser of the functions checks afterwards.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use shared::{config::Group, json};

use crate::AdminError;

type Values = BTreeMap<String, String>;

/// The entries of one group.
pub(super) trait Entries: Sized {
    const GROUP: Group;

    fn read(settings: &Values) -> Result<Self, AdminError>;

    fn settings(&self) -> Values;
}

fn invalid(problem: impl Into<String>) -> AdminError {
    AdminError::Registration(problem.into())
}

fn parse<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, AdminError> {
    json::parse(text).map_err(|problem| invalid(format!("{what}: {problem}")))
}

/// Reads the input of `set`.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, AdminError> {
    parse(text, "the input")
}

/// Reads the input of `import`.
pub(super) fn list(text: &str) -> Result<Vec<Value>, AdminError> {
    parse(text, "the input")
}

/// Returns the texts of a list.
pub(super) fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

pub(super) fn id_of(client: &Value) -> &str {
    client["client_id"].as_str().unwrap_or_default()
}

pub(super) fn name_of(provider: &Value) -> &str {
    provider["name"].as_str().unwrap_or_default()
}

/// Returns a provider with the word `set` in place of its secret.
pub(super) fn without_secret(provider: &Value) -> Value {
    let mut shown = provider.clone();
    if let Some(secret) = shown.get_mut("client_secret") {
        *secret = "set".into();
    }
    shown
}

/// Puts `entry` in place of the one with its name, which `name` finds, and returns whether there was one.
fn put(all: &mut Vec<Value>, entry: Value, name: fn(&Value) -> &str) -> bool {
    let same = all.iter_mut().find(|other| name(other) == name(&entry));
    match same {
        Some(other) => {
            *other = entry;
            true
        }
        None => {
            all.push(entry);
            false
        }
    }
}

/// The clients, in the order in which they were added.
pub(super) struct Clients(Vec<Value>);

impl Entries for Clients {
    const GROUP: Group = Group::Clients;

    fn read(settings: &Values) -> Result<Self, AdminError> {
        let text = settings.get("CLIENTS").map_or("[]", String::as_str);
        Ok(Self(parse(text, "CLIENTS")?))
    }

    fn settings(&self) -> Values {
        Self::setting(json!(self.0).to_string())
    }
}

impl Clients {
    pub(super) fn setting(text: String) -> Values {
        [("CLIENTS".to_owned(), text)].into()
    }

    pub(super) fn all(&self) -> &[Value] {
        &self.0
    }

    pub(super) fn put(&mut self, client: Value) -> bool {
        put(&mut self.0, client, id_of)
    }

    pub(super) fn remove(&mut self, client_id: &str) -> Result<(), AdminError> {
        let before = self.0.len();
        self.0.retain(|client| id_of(client) != client_id);
        if self.0.len() == before {
            return Err(AdminError::NotRegistered("client", client_id.to_owned()));
        }
        Ok(())
    }

    pub(super) fn take(&mut self, imported: &Self, replace: bool) {
        if replace {
            self.0.clear();
        }
        for client in &imported.0 {
            self.put(client.clone());
        }
    }

    /// Adds the hash of a second secret, behind that of the first.
    pub(super) fn add_secret(
        &mut self,
        client_id: &str,
        sha256: &str,
    ) -> Result<usize, AdminError> {
        let hashes = self.hashes(client_id)?;
        if hashes.len() > 1 {
            return Err(invalid(format!(
                "{client_id} has two secrets already: remove the older one with `clients secret remove-old`"
            )));
        }
        hashes.push(sha256.into());
        Ok(hashes.len())
    }

    /// Removes the hash of the older of two secrets, which is the first.
    pub(super) fn remove_old_secret(&mut self, client_id: &str) -> Result<(), AdminError> {
        let hashes = self.hashes(client_id)?;
        if hashes.len() < 2 {
            return Err(invalid(format!(
                "{client_id} has no second secret: make one with `clients secret add` first"
            )));
        }
        hashes.remove(0);
        Ok(())
    }

    fn hashes(&mut self, client_id: &str) -> Result<&mut Vec<Value>, AdminError> {
        let client = self.0.iter_mut().find(|client| id_of(client) == client_id);
        let client = client.and_then(Value::as_object_mut);
        let client =
            client.ok_or_else(|| AdminError::NotRegistered("client", client_id.to_owned()))?;
        let hashes = client.entry("secret_sha256").or_insert_with(|| json!([]));
        let hashes = hashes.as_array_mut();
        hashes.ok_or_else(|| invalid(format!("secret_sha256 of {client_id} is not a list")))
    }
}

/// The settings that an entry of a provider may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `GITHUB_CLIENT_ID` and `GITHUB_CLIENT_SECRET`.
    GitHub,
    /// `OIDC_PROVIDERS`.
    Oidc,
    /// `OAUTH_PROVIDERS`.
    OAuth,
}

/// The entry of [`Kind::GitHub`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GitHub {
    #[serde(rename = "name")]
    _name: String,
    client_id: String,
    client_secret: String,
}

const ID: &str = "GITHUB_CLIENT_ID";
const SECRET: &str = "GITHUB_CLIENT_SECRET";
const OIDC: &str = "OIDC_PROVIDERS";
const OAUTH: &str = "OAUTH_PROVIDERS";

impl Kind {
    /// Returns the kind of an entry, and its name. Only an entry of `OIDC_PROVIDERS` has `client_ids`.
    pub(super) fn of(provider: &Value) -> Result<(Self, String), AdminError> {
        let name = name_of(provider);
        let kind = match name {
            "" => return Err(invalid("name is missing: it is the name of the provider")),
            "github" => Self::GitHub,
            _ if provider.get("client_ids").is_some() => Self::Oidc,
            _ => Self::OAuth,
        };
        Ok((kind, name.to_owned()))
    }

    /// Returns the settings with the entry `text` alone.
    pub(super) fn setting(self, text: &str) -> Result<Values, AdminError> {
        Ok(match self {
            Self::GitHub => {
                let github: GitHub = parse(text, "the input")?;
                [
                    (ID.to_owned(), github.client_id),
                    (SECRET.to_owned(), github.client_secret),
                ]
                .into()
            }
            Self::Oidc => [(OIDC.to_owned(), format!("[{text}]"))].into(),
            Self::OAuth => [(OAUTH.to_owned(), format!("[{text}]"))].into(),
        })
    }

    /// Returns the tokens that the provider issues.
    pub(super) fn tokens(self) -> &'static str {
        match self {
            Self::GitHub | Self::OAuth => "access tokens",
            Self::Oidc => "ID tokens",
        }
    }
}

/// The providers, each kind in the order in which they were added.
#[derive(Default)]
pub(super) struct Providers {
    github: Option<Value>,
    oidc: Vec<Value>,
    oauth: Vec<Value>,
}

impl Entries for Providers {
    const GROUP: Group = Group::Providers;

    fn read(settings: &Values) -> Result<Self, AdminError> {
        let list = |name: &str| {
            let text = settings.get(name).filter(|text| !text.is_empty());
            parse(text.map_or("[]", String::as_str), name)
        };
        let github = settings.get(ID).map(|id| {
            json!({ "name": "github", "client_id": id, "client_secret": settings.get(SECRET) })
        });
        Ok(Self {
            github,
            oidc: list(OIDC)?,
            oauth: list(OAUTH)?,
        })
    }

    fn settings(&self) -> Values {
        let mut settings = Values::new();
        if let Some(github) = &self.github {
            for (name, member) in [(ID, "client_id"), (SECRET, "client_secret")] {
                let value = github[member].as_str().unwrap_or_default();
                settings.insert(name.to_owned(), value.to_owned());
            }
        }
        for (name, list) in [(OIDC, &self.oidc), (OAUTH, &self.oauth)] {
            if !list.is_empty() {
                settings.insert(name.to_owned(), json!(list).to_string());
            }
        }
        settings
    }
}

impl Providers {
    pub(super) fn by_kind(&self) -> impl Iterator<Item = (Kind, &Value)> {
        let github = self.github.iter().map(|provider| (Kind::GitHub, provider));
        let oidc = self.oidc.iter().map(|provider| (Kind::Oidc, provider));
        let oauth = self.oauth.iter().map(|provider| (Kind::OAuth, provider));
        github.chain(oidc).chain(oauth)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Value> {
        self.by_kind().map(|(_, provider)| provider)
    }

    /// Puts `provider` in place of the one with its name, of whichever kind, and returns whether there was one.
    pub(super) fn put(&mut self, kind: Kind, provider: Value) -> bool {
        let name = name_of(&provider).to_owned();
        let is_same_kind = self
            .by_kind()
            .any(|(of, other)| of == kind && name_of(other) == name);
        let was_there = is_same_kind || self.remove(&name).is_ok();
        match kind {
            Kind::GitHub => self.github = Some(provider),
            Kind::Oidc => drop(put(&mut self.oidc, provider, name_of)),
            Kind::OAuth => drop(put(&mut self.oauth, provider, name_of)),
        }
        was_there
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), AdminError> {
        let before = self.all().count();
        self.github = self.github.take().filter(|github| name_of(github) != name);
        for list in [&mut self.oidc, &mut self.oauth] {
            list.retain(|provider| name_of(provider) != name);
        }
        if self.all().count() == before {
            return Err(AdminError::NotRegistered("provider", name.to_owned()));
        }
        Ok(())
    }

    pub(super) fn take(&mut self, listed: &[Value], replace: bool) -> Result<(), AdminError> {
        if replace {
            *self = Self::default();
        }
        for provider in listed {
            let (kind, _) = Kind::of(provider)?;
            // A member that is not one of GitHub's would be lost without notice.
            kind.setting(&provider.to_string())?;
            self.put(kind, provider.clone());
        }
        Ok(())
    }
}
