//! The operator's command, which reads and writes DynamoDB directly with the operator's AWS credentials.

mod cli;
mod connect;
pub mod doctor;
mod output;
mod users;

pub use cli::{Cli, Command, Connection, UsersCommand};
pub use connect::Admin;

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
    /// A deletion was not confirmed.
    #[error("not deleted: {0}")]
    NotConfirmed(&'static str),
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
    /// Returns the exit code: 3 if no such user exists, so that a script can tell, and 1 for other failures. (2 is a
    /// wrong command line.)
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
