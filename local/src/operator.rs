//! The operator's command for the database of the local server: `cargo run -- admin users list`.
//!
//! While the server runs, the command asks its embedded DynamoDB, whose URL and access key are in a file beside the
//! database. Otherwise it opens the database itself.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use admin::{Admin, AdminError, Command, Connection, TableCommand};
use serde::{Deserialize, Serialize};
use shared::{
    config::{self, ConfigError, Environment},
    dynamodb,
};
use thiserror::Error;

use crate::{
    dynamodb::{DATABASE, KEYS_TABLE, TABLE},
    invocation::Invocation,
    server::{Database, ServerError},
    settings::{self, DynamoDb, GITHUB_PORT, GitHub, PORT},
};

/// Reasons that the command fails.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// The server was never started with this folder.
    #[error(
        "there is no database in {0}: run `{start}` and sign in first, or name another folder with --data-dir (a database of `{in_memory}` cannot be read)",
        start = .1.command(),
        in_memory = .1.with("--in-memory")
    )]
    NoDatabase(PathBuf, Invocation),
    /// The database cannot be opened.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The database's settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command failed.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

impl OperatorError {
    /// Returns the exit code, which is the same as that of `cambio-admin`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Admin(error) => error.exit_code(),
            _ => 1,
        }
    }
}

/// Runs a command on the database in `folder`.
///
/// # Errors
/// There is no database, or the command fails.
pub async fn run(
    folder: &Path,
    command: Command,
    json: bool,
    invocation: Invocation,
) -> Result<(), OperatorError> {
    let on_table = async |command, out: &mut (dyn Write + Send)| {
        run_on_table(folder, command, json, out, invocation).await
    };
    let connection = Connection::none();
    command
        .run(&connection, json, &mut io::stdout(), on_table)
        .await
}

async fn run_on_table(
    folder: &Path,
    command: TableCommand,
    json: bool,
    out: &mut (dyn Write + Send),
    invocation: Invocation,
) -> Result<(), OperatorError> {
    if !folder.join(DATABASE).exists() {
        return Err(OperatorError::NoDatabase(folder.to_owned(), invocation));
    }
    if let Some(running) = RunningServer::find(folder) {
        let dynamodb = running.dynamodb();
        // The file of a server that was killed is left.
        let client = client(&dynamodb)?;
        if client.list_tables().send().await.is_ok() {
            let admin = admin(client, &dynamodb);
            return Ok(admin.run_on_table(command, json, out).await?);
        }
    }
    let database = Database::open(folder).await?;
    let admin = admin(client(&database.dynamodb)?, &database.dynamodb);
    let done = admin.run_on_table(command, json, out).await;
    database.close().await;
    Ok(done?)
}

/// The operator's command, with the settings of `cargo run` on its usual ports.
fn admin(client: aws_sdk_dynamodb::Client, dynamodb: &DynamoDb) -> Admin {
    let shell = Environment::process();
    let is_real = shell.optional("GITHUB_CLIENT_ID").is_some();
    let github = if is_real {
        GitHub::Real
    } else {
        GitHub::StandIn(format!("http://localhost:{GITHUB_PORT}"))
    };
    let issuer = format!("http://localhost:{PORT}");
    let variables = settings::variables(&shell, &issuer, dynamodb, &github);
    let env = Environment::of(settings::aws_variables(dynamodb));
    Admin::new(client, TABLE.to_owned())
        .with_variables(variables)
        .with_keys_table(KEYS_TABLE.to_owned(), env)
}

/// Returns a client of the embedded DynamoDB.
pub(crate) fn client(dynamodb: &DynamoDb) -> Result<aws_sdk_dynamodb::Client, ConfigError> {
    let variables = Environment::of(settings::aws_variables(dynamodb));
    Ok(dynamodb::client(&config::DynamoDb::from_env(&variables)?))
}

/// The URL and the access key of a running server's DynamoDB, in a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunningServer {
    url: String,
    access_key_id: String,
}

impl RunningServer {
    fn file(folder: &Path) -> PathBuf {
        folder.join("running.json")
    }

    fn find(folder: &Path) -> Option<Self> {
        let text = fs::read(Self::file(folder)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn dynamodb(&self) -> DynamoDb {
        DynamoDb {
            url: self.url.clone(),
            access_key_id: self.access_key_id.clone(),
        }
    }

    /// Writes the file, which no other user of this machine can read.
    pub(crate) fn write(folder: &Path, dynamodb: &DynamoDb) -> io::Result<()> {
        let running = Self {
            url: dynamodb.url.clone(),
            access_key_id: dynamodb.access_key_id.clone(),
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(Self::file(folder))?;
        file.write_all(serde_json::to_string(&running)?.as_bytes())
    }

    /// Removes the file, unless another server has written it since.
    pub(crate) fn remove(folder: &Path, dynamodb: &DynamoDb) {
        let is_own = |running: &Self| running.access_key_id == dynamodb.access_key_id;
        if Self::find(folder).as_ref().is_some_and(is_own) {
            let _ = fs::remove_file(Self::file(folder));
        }
    }
}
