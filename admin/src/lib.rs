//! The operator's command, which reads and writes DynamoDB directly with the operator's AWS credentials.

mod check;
mod cli;
mod connect;
pub mod doctor;
mod export;
mod import;
mod keys;
mod migrate;
mod output;
mod registrations;
mod settings;
mod sign_out;
mod users;

pub use check::Check;
pub use cli::{Cli, Command, Connection, TableCommand, UsersCommand};
pub use connect::Admin;
pub use import::ImportArgs;
pub use keys::KeysCommand;
pub use migrate::MigrateArgs;
pub use registrations::{ClientsCommand, ProvidersCommand, SecretCommand};
pub use settings::SettingsArgs;
pub use sign_out::SignOutArgs;

use shared::{
    dynamodb::StoreError,
    users::{ClaimsError, RolesError, Unreadable, UserId},
};
use thiserror::Error;

/// Reasons that a command fails.
#[derive(Debug, Error)]
pub enum AdminError {
    /// No AWS credentials were found.
    #[error(
        "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws sso login` ({0})"
    )]
    NoCredentials(String),
    /// No AWS region is set.
    #[error("no AWS region: give --region, or set AWS_REGION")]
    NoRegion,
    /// No table is named.
    #[error("no table: give --table, or set TABLE_NAME; the stack's output TableName has it")]
    NoTable,
    /// The keys table is not named.
    #[error(
        "no keys table: give --keys-table, or set KEYS_TABLE_NAME; the stack's output KeysTableName has it"
    )]
    NoKeysTable,
    /// The keys table has no client or provider of this name.
    #[error("the keys table has no {0} {1:?}: `{0}s list` shows all")]
    NotRegistered(&'static str, String),
    /// The input is not valid, or would not be with the rest.
    #[error("nothing was changed: {0}")]
    Registration(String),
    /// Other commands kept changing the same settings.
    #[error("nothing was changed, because other commands changed {0} at the same time; try again")]
    Raced(&'static str),
    /// No user has this id.
    #[error("no user has the id {0}")]
    NoSuchUser(UserId),
    /// No user matches the search.
    #[error(
        "no user matches {0:?}: give an id, an e-mail address, a login, <provider>:<subject>, or part of a name"
    )]
    NobodyFits(String),
    /// Some items of users cannot be read. All others were shown.
    #[error("{} of the users cannot be read and are left out: {}", .0.len(), listed(.0))]
    Unreadable(Vec<Unreadable>),
    /// The argument is not a valid role.
    #[error(transparent)]
    Roles(#[from] RolesError),
    /// The argument is not a valid claim.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// Settings are missing or wrong: this many, which were shown.
    #[error("{0} {noun} missing or wrong", noun = if *.0 == 1 { "setting is" } else { "settings are" })]
    WrongSettings(usize),
    /// The file of settings cannot be read.
    #[error("cannot read {}: {cause}", file.display())]
    EnvFile {
        /// The file.
        file: std::path::PathBuf,
        /// The cause, without the text of the file.
        cause: String,
    },
    /// A deletion was not confirmed.
    #[error("not deleted: {0}")]
    NotConfirmed(&'static str),
    /// A sign-out was not confirmed.
    #[error("not signed out: {0}")]
    NotSignedOut(&'static str),
    /// The sign-out of all users stopped.
    #[error(
        "{error}\nUsers signed out: {done}. To go on, run the same command with `--order {order}`."
    )]
    SignOutStopped {
        /// The cause.
        error: StoreError,
        /// The number of users who are signed out.
        done: u64,
        /// The time of the order.
        order: String,
    },
    /// A revocation was not confirmed.
    #[error("not revoked: {0}")]
    NotRevoked(&'static str),
    /// There are no keys.
    #[error("the table has no keys: call rotate-keys (docs/operate.md), which makes them")]
    NoKeys,
    /// The settings of a function are missing or cannot be read.
    #[error("{0}")]
    Settings(String),
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] shared::config::ConfigError),
    /// The providers of the keys table cannot be used.
    #[error(transparent)]
    Stored(#[from] shared::stored::StoredError),
    /// The keys were not changed.
    #[error(transparent)]
    Keys(#[from] rotate_keys::RotateKeysError),
    /// The part that changes the keys cannot start.
    #[error(transparent)]
    Start(#[from] shared::start::StartError),
    /// The file of an import cannot be read.
    #[error("cannot read {file}: {error}")]
    Input {
        /// The name of the file.
        file: String,
        /// The cause.
        error: std::io::Error,
    },
    /// Some lines were not imported. All others were.
    #[error("lines that were refused: {0}. Correct them, and run the command again")]
    NotImported(u64),
    /// The import stopped.
    #[error(
        "{error}\nThe import stopped before line {line}. Run the same command again: it goes on where it stopped."
    )]
    ImportStopped {
        /// The cause.
        error: StoreError,
        /// The first line that was perhaps not imported.
        line: u64,
    },
    /// Items that this version cannot read: this many. The first of them were shown.
    #[error(
        "items that this version cannot read: {0}. Deploy the version that wrote them, or correct them \
         (docs/operate.md#migrate-the-items)"
    )]
    UnreadableItems(u64),
    /// The migration stopped.
    #[error(
        "{error}{hint}\nItems migrated: {done}. Run the same command again: it goes on where it stopped.",
        hint = if matches!(error, StoreError::Refused(_)) { hint(error) } else { "" }
    )]
    MigrationStopped {
        /// The cause.
        error: StoreError,
        /// The number of migrated items.
        done: u64,
    },
    /// The table cannot be used.
    #[error("{0}{hint}", hint = hint(.0))]
    Store(#[from] StoreError),
    /// `doctor` cannot run, or a check failed.
    #[error(transparent)]
    Doctor(#[from] doctor::DoctorError),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
}

impl AdminError {
    /// Returns the exit code: 3 if no such user, client or provider exists, so that a script can tell, and 1 for other
    /// failures. (2 is a wrong command line.)
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoSuchUser(_) | Self::NobodyFits(_) | Self::NotRegistered(..) => 3,
            _ => 1,
        }
    }
}

fn listed(unreadable: &[Unreadable]) -> String {
    let lines: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::Refused(_) => {
            "\nAre --table and --region right, and may you use it? Compare them with the stack's outputs, and your permissions with docs/operate.md."
        }
        StoreError::Unavailable(_) | StoreError::Conflict(_) | StoreError::NoRandomness => {
            "\nNothing is half done; run the command again."
        }
        StoreError::LaterSchema(_) => "",
        StoreError::Malformed(_) => {
            "\nIs --table the main table, and not the one of the keys? The stack's outputs TableName and KeysTableName name them."
        }
    }
}
