//! The commands for the clients and the providers in the keys table.

mod entries;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write},
    path::PathBuf,
};

use clap::Subcommand;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use shared::{
    clients::{ClientProviders, NewSecret},
    config::Group,
    dynamodb::StoreError,
    provider::Providers,
    stored::{Settings, SettingsStore},
};

use crate::{
    Admin, AdminError,
    output::{cell, table, write_json},
};
use entries::{Clients, Entries, Kind};

/// The number of times that a change is made again after another command was faster.
const ATTEMPTS: usize = 5;
/// The largest size of the settings of one item, in bytes. An item of DynamoDB has at most 400 KiB.
const MAX_SETTINGS: usize = 390 * 1024;

/// The commands for clients.
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// List the clients.
    List,
    /// Add a client, or replace the one with the same client_id. The input is JSON, as an entry of CLIENTS.
    #[command(
        after_help = "Example:\n  echo '{\"client_id\":\"shop\",\"scopes\":[\"orders:read\"]}' | cambio-admin clients set --generate-secret"
    )]
    Set {
        /// The file with the client; by default standard input.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Make a secret, print it once, and store its hash.
        #[arg(long)]
        generate_secret: bool,
    },
    /// Remove a client. Its sessions stay, and no other client can refresh them.
    Remove {
        /// The client id.
        client_id: String,
    },
    /// Add or replace all clients of a list, as CLIENTS has it.
    Import {
        /// The file with the list; by default standard input.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Remove the clients that are not in the list.
        #[arg(long)]
        replace: bool,
    },
    /// Replace the secret of a client in two steps, so that no request fails in between.
    #[command(subcommand)]
    Secret(SecretCommand),
}

/// The two steps that replace a secret.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Make a second secret, print it once, and store its hash. The first one stays valid.
    Add {
        /// The client id.
        client_id: String,
    },
    /// Remove the older of two secrets.
    RemoveOld {
        /// The client id.
        client_id: String,
    },
}

/// The commands for providers.
#[derive(Debug, Subcommand)]
pub enum ProvidersCommand {
    /// List the providers, without their secrets.
    List,
    /// Add a provider, or replace the one with the same name. The input is JSON: an entry of OIDC_PROVIDERS or of
    /// OAUTH_PROVIDERS, or `{"name":"github","client_id":"…","client_secret":"…"}`.
    Set {
        /// The file with the provider; by default standard input.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Remove a provider. Its users stay, and cannot sign in with it.
    Remove {
        /// The name of the provider.
        name: String,
    },
    /// Add or replace all providers of a list of such entries.
    Import {
        /// The file with the list; by default standard input.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Remove the providers that are not in the list.
        #[arg(long)]
        replace: bool,
    },
}

impl Admin {
    pub(crate) async fn run_clients(
        &self,
        command: ClientsCommand,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        match command {
            ClientsCommand::List => {
                let found = self.settings()?.find(Group::Clients).await?;
                let clients = Clients::read(&found.unwrap_or_default().settings)?;
                if json {
                    write_json(out, clients.all())?;
                } else {
                    write_clients(out, clients.all())?;
                }
                Ok(())
            }
            ClientsCommand::Set {
                file,
                generate_secret,
            } => {
                let text = read_input(file)?;
                if !generate_secret {
                    // The text itself: a value of it no longer shows a member that is there twice.
                    self.check(Group::Clients, &Clients::setting(format!("[{text}]")))?;
                }
                let mut client = entries::object(&text)?;
                let secret = generate_secret.then(new_secret).transpose()?;
                if let Some(secret) = &secret {
                    client.insert("secret_sha256".to_owned(), json!([secret.sha256]));
                }
                let client = Value::Object(client);
                let change = |clients: &mut Clients| Ok(clients.put(client.clone()));
                let (version, was_there) = self.change(change).await?;
                let done = if was_there { "replaced" } else { "added" };
                write_done(
                    out,
                    json,
                    "client_id",
                    entries::id_of(&client),
                    done,
                    version,
                    secret,
                )
            }
            ClientsCommand::Remove { client_id } => {
                let change = |clients: &mut Clients| clients.remove(&client_id);
                let (version, ()) = self.change(change).await?;
                write_done(out, json, "client_id", &client_id, "removed", version, None)
            }
            ClientsCommand::Import { file, replace } => {
                let setting = Clients::setting(read_input(file)?);
                self.check(Group::Clients, &setting)?;
                let imported = Clients::read(&setting)?;
                let change = |clients: &mut Clients| {
                    clients.take(&imported, replace);
                    Ok(())
                };
                let (version, ()) = self.change(change).await?;
                write_imported(out, json, imported.all().len(), "clients", version)
            }
            ClientsCommand::Secret(SecretCommand::Add { client_id }) => {
                let secret = new_secret()?;
                let change = |clients: &mut Clients| clients.add_secret(&client_id, &secret.sha256);
                let (version, secrets) = self.change(change).await?;
                let done = match secrets {
                    1 => "has a secret",
                    _ => {
                        "has a second secret; give it to the client, then run `clients secret remove-old`"
                    }
                };
                write_done(
                    out,
                    json,
                    "client_id",
                    &client_id,
                    done,
                    version,
                    Some(secret),
                )
            }
            ClientsCommand::Secret(SecretCommand::RemoveOld { client_id }) => {
                let change = |clients: &mut Clients| clients.remove_old_secret(&client_id);
                let (version, ()) = self.change(change).await?;
                let done = "has its newer secret only";
                write_done(out, json, "client_id", &client_id, done, version, None)
            }
        }
    }

    pub(crate) async fn run_providers(
        &self,
        command: ProvidersCommand,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        match command {
            ProvidersCommand::List => {
                let found = self.settings()?.find(Group::Providers).await?;
                let providers = entries::Providers::read(&found.unwrap_or_default().settings)?;
                if json {
                    let shown: Vec<Value> = providers.all().map(entries::without_secret).collect();
                    write_json(out, &shown)?;
                } else {
                    write_providers(out, &providers)?;
                }
                Ok(())
            }
            ProvidersCommand::Set { file } => {
                let text = read_input(file)?;
                let provider = Value::Object(entries::object(&text)?);
                let (kind, name) = Kind::of(&provider)?;
                self.check(Group::Providers, &kind.setting(&text)?)?;
                let change =
                    |providers: &mut entries::Providers| Ok(providers.put(kind, provider.clone()));
                let (version, was_there) = self.change(change).await?;
                let done = if was_there { "replaced" } else { "added" };
                write_done(out, json, "provider", &name, done, version, None)
            }
            ProvidersCommand::Remove { name } => {
                let change = |providers: &mut entries::Providers| providers.remove(&name);
                let (version, ()) = self.change(change).await?;
                write_done(out, json, "provider", &name, "removed", version, None)
            }
            ProvidersCommand::Import { file, replace } => {
                let listed = entries::list(&read_input(file)?)?;
                let change = |providers: &mut entries::Providers| providers.take(&listed, replace);
                let (version, ()) = self.change(change).await?;
                write_imported(out, json, listed.len(), "providers", version)
            }
        }
    }

    fn settings(&self) -> Result<&SettingsStore, AdminError> {
        self.settings.as_ref().ok_or(AdminError::NoKeysTable)
    }

    /// Changes the entries of the item, again if another command was faster, and returns the new version.
    async fn change<E: Entries, T>(
        &self,
        change: impl Fn(&mut E) -> Result<T, AdminError>,
    ) -> Result<(u64, T), AdminError> {
        let store = self.settings()?;
        for _ in 0..ATTEMPTS {
            let found = store.find(E::GROUP).await?;
            let replaced = found.as_ref().map(|found| found.version);
            let Settings { version, settings } = found.unwrap_or_default();
            let mut entries = E::read(&settings)?;
            let outcome = change(&mut entries)?;
            let settings = entries.settings();
            self.check(E::GROUP, &settings)?;
            if store.replace(E::GROUP, replaced, settings).await? {
                return Ok((version + 1, outcome));
            }
        }
        Err(AdminError::Raced(E::GROUP.name()))
    }

    /// Checks settings as a function does at its start.
    fn check(&self, group: Group, settings: &BTreeMap<String, String>) -> Result<(), AdminError> {
        let size: usize = settings.values().map(String::len).sum();
        if size > MAX_SETTINGS {
            return Err(AdminError::Registration(format!(
                "{} would have more than 390 KiB, and an item of DynamoDB has at most 400 KiB: remove what is not in use",
                group.name()
            )));
        }
        let env = self.env.with_group(group, settings.clone());
        let checked = match group {
            Group::Clients => ClientProviders::from_env(&env).map(drop),
            Group::Providers => Providers::check(&env),
        };
        checked.map_err(|error| AdminError::Registration(error.to_string()))
    }
}

fn new_secret() -> Result<NewSecret, AdminError> {
    NewSecret::generate().map_err(|error| AdminError::Store(StoreError::from(error)))
}

fn read_input(file: Option<PathBuf>) -> Result<String, AdminError> {
    let read = |text: io::Result<String>, name: &str| {
        text.map_err(|error| AdminError::Registration(format!("{name} cannot be read: {error}")))
    };
    match file {
        Some(file) => read(fs::read_to_string(&file), &file.display().to_string()),
        None => {
            let mut text = String::new();
            let outcome = io::stdin().read_to_string(&mut text).map(|_| text);
            read(outcome, "standard input")
        }
    }
}

/// Writes what was done to a client or a provider, with its new secret.
fn write_done(
    out: &mut dyn Write,
    json: bool,
    member: &str,
    name: &str,
    done: &str,
    version: u64,
    secret: Option<NewSecret>,
) -> Result<(), AdminError> {
    if json {
        let mut written = json!({ member: name, "version": version });
        if let Some(secret) = &secret {
            written["client_secret"] = secret.secret.expose_secret().into();
        }
        write_json(out, &[written])?;
        return Ok(());
    }
    writeln!(out, "{}  {done}", cell(Some(name)))?;
    if let Some(secret) = &secret {
        let secret = secret.secret.expose_secret();
        writeln!(out, "{secret}  is the secret; it is not shown again")?;
    }
    write_version(out, version)
}

fn write_imported(
    out: &mut dyn Write,
    json: bool,
    count: usize,
    what: &str,
    version: u64,
) -> Result<(), AdminError> {
    if json {
        write_json(out, &[json!({ what: count, "version": version })])?;
        return Ok(());
    }
    writeln!(out, "{count} {what} imported")?;
    write_version(out, version)
}

fn write_version(out: &mut dyn Write, version: u64) -> Result<(), AdminError> {
    writeln!(out, "version {version}, in use within a minute")?;
    Ok(())
}

fn write_clients(out: &mut dyn Write, clients: &[Value]) -> io::Result<()> {
    let mut table = table(&[
        "CLIENT",
        "SECRETS",
        "KEYS",
        "SCOPES",
        "AUDIENCES",
        "PROVIDERS",
    ]);
    for client in clients {
        let list = |member: &str| cell(Some(&entries::texts(&client[member]).join(" ")));
        let hashes = entries::texts(&client["secret_sha256"]);
        let hashes = hashes.iter().map(|hash| hash.get(..8).unwrap_or(hash));
        let keys = client.pointer("/jwks/keys").and_then(Value::as_array);
        let kids = keys
            .into_iter()
            .flatten()
            .filter_map(|key| key["kid"].as_str());
        table.add_row([
            cell(Some(entries::id_of(client))),
            cell(Some(&hashes.collect::<Vec<_>>().join(" "))),
            cell(Some(&kids.collect::<Vec<_>>().join(" "))),
            list("scopes"),
            list("audiences"),
            list("providers"),
        ]);
    }
    writeln!(out, "{}", table.trim_fmt())
}

fn write_providers(out: &mut dyn Write, providers: &entries::Providers) -> io::Result<()> {
    let mut table = table(&["PROVIDER", "TOKENS", "CLIENT IDS", "SECRET"]);
    for (kind, provider) in providers.by_kind() {
        let mut ids = entries::texts(&provider["client_ids"]);
        ids.extend(provider["client_id"].as_str());
        let secret = if provider["client_secret"].is_string() {
            "yes"
        } else {
            "no"
        };
        table.add_row([
            cell(Some(entries::name_of(provider))),
            kind.tokens().to_owned(),
            cell(Some(&ids.join(" "))),
            secret.to_owned(),
        ]);
    }
    writeln!(out, "{}", table.trim_fmt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_an_item_have_a_bounded_size() {
        let admin = tests_admin();
        let clients = |size: usize| {
            let frame = r#"[{"client_id":"a","jwks":{"keys":[]}}]"#.len();
            let text = format!(
                r#"[{{"client_id":"{}","jwks":{{"keys":[]}}}}]"#,
                "a".repeat(1 + size - frame)
            );
            let error = admin.check(Group::Clients, &Clients::setting(text));
            error.unwrap_err().to_string()
        };
        assert!(!clients(MAX_SETTINGS).contains("390 KiB"));
        assert!(clients(MAX_SETTINGS + 1).contains("390 KiB"));
    }

    fn tests_admin() -> Admin {
        use shared::config::{DynamoDb, Environment};
        let env = Environment::of([
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ]);
        let client = shared::dynamodb::client(&DynamoDb::from_env(&env).unwrap());
        Admin::new(client, String::new()).with_keys_table("keys".to_owned(), env)
    }
}
