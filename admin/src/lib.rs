//! The operator's command: it talks to DynamoDB directly, with the operator's own AWS credentials.

mod cli;
mod connect;
mod output;
mod users;

pub use cli::{Cli, Command, Connection, UsersCommand};
pub use connect::Admin;

use shared::{
    dynamodb::StoreError,
    users::{ClaimsError, RolesError, Unreadable, UserId},
};
use thiserror::Error;

/// Why a command did not do what it was asked to.
#[derive(Debug, Error)]
pub enum AdminError {
    /// There are no credentials to talk to AWS with.
    #[error(
        "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws sso login` ({0})"
    )]
    NoCredentials(String),
    /// Nobody said in which region the table is.
    #[error("no AWS region: give --region, or set AWS_REGION")]
    NoRegion,
    /// Nobody said which table.
    #[error("no table: give --table, or set TABLE_NAME; the stack's output TableName has it")]
    NoTable,
    /// There is no user with this id.
    #[error("there is no user {0}")]
    NoSuchUser(UserId),
    /// Nobody fits.
    #[error(
        "nobody fits {0:?}: give an id, an e-mail address, a login, <provider>:<subject>, or part of a name"
    )]
    NobodyFits(String),
    /// Some items of users cannot be read. All others were shown.
    #[error("{} of the users cannot be read, and are left out: {}", .0.len(), listed(.0))]
    Unreadable(Vec<Unreadable>),
    /// What was given is no role.
    #[error(transparent)]
    Roles(#[from] RolesError),
    /// What was given is no claim.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// A deletion was not confirmed.
    #[error("not deleted: {0}")]
    NotConfirmed(&'static str),
    /// The table cannot be used.
    #[error("{0}{hint}", hint = hint(.0))]
    Store(#[from] StoreError),
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
}

impl AdminError {
    /// 3 where there is no such user, so that a script can tell; 1 for all else. (2 is a wrong command line.)
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoSuchUser(_) | Self::NobodyFits(_) => 3,
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
            "\nAre --table and --region right, and may you use it? docs/operate.md lists the permissions."
        }
        StoreError::Unavailable(_) | StoreError::Conflict(_) | StoreError::NoRandomness => {
            "\nNothing is half done; try again."
        }
        StoreError::Malformed(_) => "\nIs --table the main table, and not the one of the keys?",
    }
}
