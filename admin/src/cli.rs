//! The command line.

use std::io::Write;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use shared::users::UserId;

use crate::{
    AdminError, Check, ClientsCommand, ImportArgs, KeysCommand, MigrateArgs, ProvidersCommand,
    SignOutArgs, doctor::DoctorArgs,
};

/// Checks settings, examines a deployment, finds, changes, imports, signs out and deletes the users of Cambio, rotates
/// its signing keys, edits the clients and providers in the keys table, and migrates items.
///
/// The command reads DynamoDB with your AWS credentials, which it finds as the AWS CLI does. Exit codes: 0 success, 1
/// failure, 2 wrong command line, 3 no such user, client or provider.
#[derive(Debug, Parser)]
#[command(name = "cambio-admin", version)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// The location of the users.
    #[command(flatten)]
    pub connection: Connection,
    /// Write JSON: one line for each user or check, and one for the settings.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The location of the users: table, region and profile.
#[derive(Args, Debug)]
pub struct Connection {
    /// The main table, which is the output TableName of the stack.
    #[arg(
        long,
        env = "TABLE_NAME",
        default_value = "",
        global = true,
        hide_default_value = true
    )]
    pub table: String,
    /// The table of keys, clients and providers, which is the output KeysTableName of the stack.
    #[arg(
        long,
        env = "KEYS_TABLE_NAME",
        default_value = "",
        global = true,
        hide_default_value = true
    )]
    pub keys_table: String,
    /// The AWS region; by default AWS_REGION or the region of the profile.
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// The profile of your AWS configuration; by default AWS_PROFILE.
    #[arg(long, global = true)]
    pub profile: Option<String>,
}

impl Connection {
    /// Makes a connection that names nothing.
    pub fn none() -> Self {
        Self {
            table: String::new(),
            keys_table: String::new(),
            region: None,
            profile: None,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the settings of all functions, with the parsers that a function starts with. Calls nothing, and needs no
    /// credentials. Reports each missing or wrong setting with what to write, and shows no secret.
    Check(Check),
    /// The commands that read and write a table.
    #[command(flatten)]
    Table(TableCommand),
    /// Examine a deployment from outside, with good requests and with attacks. Needs no AWS credentials.
    #[command(
        after_help = "Example:\n  doctor https://api.example.com --client nextjs --secret-env CLIENT_SECRET --subject-token-env GITHUB_TOKEN"
    )]
    Doctor(Box<DoctorArgs>),
}

impl Command {
    /// Runs the command. `on_table` runs a command that needs a table, and finds that table.
    ///
    /// # Errors
    /// The command failed.
    pub async fn run<E: From<AdminError>>(
        self,
        connection: &Connection,
        json: bool,
        out: &mut (dyn Write + Send),
        on_table: impl AsyncFnOnce(TableCommand, &mut (dyn Write + Send)) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Check(check) => Ok(check.run(json, out)?),
            // In a box, because the future of a run is large.
            Self::Doctor(doctor) => Ok(Box::pin(doctor.run(connection, json, out)).await?),
            Self::Table(command) => on_table(command, out).await,
        }
    }
}

/// The commands that read and write a table.
#[derive(Debug, Subcommand)]
pub enum TableCommand {
    /// Find, show and change users.
    #[command(subcommand)]
    Users(UsersCommand),
    /// List, rotate and revoke the signing keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// List and change the clients in the keys table, which the functions use with CLIENTS=table.
    #[command(subcommand)]
    Clients(ClientsCommand),
    /// List and change the providers in the keys table, which the functions use with PROVIDERS=table.
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// Count the items of each kind and schema, name those that this version cannot read, and change older items to the
    /// schema of this version. Reads the whole table. Can be stopped and repeated at any time, while the functions run.
    #[command(after_help = "Examples:\n  migrate --dry-run\n  migrate --rate 50")]
    Migrate(MigrateArgs),
}

/// The commands for users.
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// List users. Reads the whole table.
    List {
        /// Only users with this role.
        #[arg(long)]
        role: Option<String>,
        /// Only disabled users.
        #[arg(long)]
        disabled: bool,
        /// The largest number of users to list.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Find users by id, e-mail address, login, `provider:subject`, or part of the name. Reads the whole table,
    /// except for an id.
    #[command(after_help = "Examples:\n  users find ada@example.com\n  users find github:583231")]
    Find {
        /// The text to search for.
        text: String,
    },
    /// Show all data of a user, with the active sessions.
    Show {
        /// The user's id.
        id: UserId,
    },
    /// Show or change the roles of a user. The next access token of the user has the new roles.
    #[command(after_help = "Example:\n  users roles 0199… --add admin --remove support")]
    Roles {
        /// The user's id.
        id: UserId,
        /// Add this role.
        #[arg(long, value_name = "ROLE")]
        add: Vec<String>,
        /// Remove this role.
        #[arg(long, value_name = "ROLE")]
        remove: Vec<String>,
        /// Replace all roles by these, separated by commas; `--set ''` removes all.
        #[arg(long, value_name = "ROLE,ROLE", conflicts_with_all = ["add", "remove"])]
        set: Option<String>,
    },
    /// Show or change the additional claims in a user's access tokens.
    #[command(
        after_help = "Example:\n  users claims 0199… --set plan=pro --set seats=5 --remove trial"
    )]
    Claims {
        /// The user's id.
        id: UserId,
        /// Set a claim. The value is JSON, or else a text.
        #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
        set: Vec<(String, Value)>,
        /// Remove a claim.
        #[arg(long, value_name = "NAME")]
        remove: Vec<String>,
    },
    /// Disable users. Cambio's routes and the refresh refuse their sessions at once; other APIs accept an access
    /// token until it expires.
    Disable {
        /// The users' ids.
        #[arg(required = true)]
        ids: Vec<UserId>,
    },
    /// Enable users again. Ended sessions stay ended, so the users must sign in again.
    Enable {
        /// The users' ids.
        #[arg(required = true)]
        ids: Vec<UserId>,
    },
    /// End all sessions of users. Cambio's routes and the refresh refuse them at once; other APIs accept an access
    /// token until it expires. The users can sign in again.
    #[command(after_help = "Examples:\n  users sign-out 0199…\n  users sign-out --all")]
    SignOut(SignOutArgs),
    /// Import users of another system from JSON lines. Users who are there already stay as they are, so the command
    /// can be repeated.
    #[command(
        after_help = "Example:\n  users import users.jsonl --settings token-exchange.json --dry-run"
    )]
    Import(ImportArgs),
    /// Print all data of a user as JSON, with all stored sessions and without secrets.
    Export {
        /// The user's id.
        id: UserId,
    },
    /// Delete users with their identities and sessions. Only a backup can restore them.
    Delete {
        /// The users' ids.
        #[arg(required = true)]
        ids: Vec<UserId>,
        /// Delete without asking for confirmation.
        #[arg(long)]
        yes: bool,
    },
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "expected NAME=VALUE".to_owned())?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_claim_is_json_where_it_can_be() {
        assert_eq!(claim("a=1"), Ok(("a".to_owned(), json!(1))));
        assert_eq!(claim("a=pro"), Ok(("a".to_owned(), json!("pro"))));
        assert_eq!(claim("a=[1,\"=\"]"), Ok(("a".to_owned(), json!([1, "="]))));
        assert_eq!(claim("a="), Ok(("a".to_owned(), json!(""))));
        assert!(claim("a").is_err());
    }
}
