//! The options of `doctor`, and its run.

use std::{
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

use clap::Args;
use indicatif::ProgressBar;
use secrecy::SecretString;
use shared::config::Environment;
use thiserror::Error;
use url::Url;

use super::{Credentials, Doctor, KeysTable, Report, Subject, Target, iam};
use crate::{AdminError, Connection};

/// Reasons that a run fails, or is not a success.
#[derive(Debug, Error)]
pub enum DoctorError {
    /// A variable with a secret is not set.
    #[error("the environment variable {0} is not set: set it to the secret, or name another one")]
    NoSecret(String),
    /// A check failed.
    #[error("{} of the checks failed: {}", .0.len(), .0.join(", "))]
    Failed(Vec<&'static str>),
    /// A permission is missing, or more is allowed than expected.
    #[error("{0} of the calls did not get the expected answer")]
    Iam(usize),
    /// The role cannot be assumed, or a table is not named.
    #[error("{0}")]
    Wrong(String),
    /// No HTTP client can be made.
    #[error("no HTTP client: {0}")]
    Http(String),
}

/// The options.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// The URL of the API: the stack's output ApiUrl.
    #[arg(required_unless_present = "iam")]
    pub url: Option<Url>,
    /// The issuer of the tokens, if it is not the URL: the stack's output IssuerUrl.
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// The id of a client.
    #[arg(long, value_name = "ID", requires = "secret_env")]
    pub client: Option<String>,
    /// The environment variable with the client's secret.
    #[arg(long, value_name = "NAME", requires = "client")]
    pub secret_env: Option<String>,
    /// The id of another client, which must learn nothing of the first one's tokens.
    #[arg(long, value_name = "ID", requires = "other_secret_env")]
    pub other_client: Option<String>,
    /// The environment variable with the other client's secret.
    #[arg(long, value_name = "NAME", requires = "other_client")]
    pub other_secret_env: Option<String>,
    /// The environment variable with a new token of a provider, which opens a session. Given twice, with two tokens,
    /// the run also uses a refresh token twice, which raises the metric ReuseDetected.
    #[arg(long, value_name = "NAME", requires = "client")]
    pub subject_token_env: Vec<String>,
    /// The provider of the token.
    #[arg(long, value_name = "NAME", default_value = "github")]
    pub provider: String,
    /// The type of the provider's token: the end of its URN.
    #[arg(long, value_name = "TYPE", default_value = "access_token", value_parser = ["access_token", "id_token", "jwt"])]
    pub subject_token_type: String,
    /// The URL of a route of yours behind the authorizer, which answers GET.
    #[arg(long, value_name = "URL")]
    pub authorizer_url: Option<Url>,
    /// The number of seconds that the run may wait for an access token to expire.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u64,
    /// Call DynamoDB as each function does, with conditions that fail, instead: tells what IAM denies.
    #[arg(long, conflicts_with_all = ["url", "client", "issuer", "authorizer_url"])]
    pub iam: bool,
    /// With --iam, the functions whose calls the credentials make.
    #[arg(long, value_name = "NAME", requires = "iam", required_if_eq("iam", "true"), value_parser = iam::functions())]
    pub function: Vec<String>,
    /// With --iam, the role to assume.
    #[arg(long, value_name = "ARN", requires = "iam")]
    pub role_arn: Option<String>,
}

impl DoctorArgs {
    /// Returns the target, with the secrets of the environment.
    ///
    /// # Errors
    /// A variable is not set.
    pub fn target(&self, url: Url, env: &Environment) -> Result<Target, DoctorError> {
        let secret = |name: &String| -> Result<SecretString, DoctorError> {
            let value = env.optional(name);
            Ok(value
                .ok_or_else(|| DoctorError::NoSecret(name.clone()))?
                .into())
        };
        let client = |id: &Option<String>, name: &Option<String>| {
            let both = id.as_ref().zip(name.as_ref());
            both.map(|(id, name)| Ok(Credentials::new(id, secret(name)?)))
                .transpose()
        };
        let tokens: Result<Vec<_>, _> = self.subject_token_env.iter().map(secret).collect();
        let tokens = tokens?;
        Ok(Target {
            url,
            issuer: self.issuer.clone(),
            client: client(&self.client, &self.secret_env)?,
            other_client: client(&self.other_client, &self.other_secret_env)?,
            subject: Some(Subject {
                provider: self.provider.clone(),
                token_type: Some(format!(
                    "urn:ietf:params:oauth:token-type:{}",
                    self.subject_token_type
                )),
                tokens,
            }),
            authorizer_url: self.authorizer_url.clone(),
            wait: Duration::from_secs(self.wait),
        })
    }

    /// Runs the command, with the secrets of the environment of this process.
    ///
    /// # Errors
    /// A check failed, or the command cannot run.
    pub async fn run(
        &self,
        connection: &Connection,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        let Some(url) = self.url.clone() else {
            return self.examine_iam(connection, json, out).await;
        };
        let env = Environment::process();
        let target = self.target(url, &env)?;
        let keys_table = self.read_keys(connection).await;
        let doctor = Doctor::new(target).with_keys_table(keys_table);
        doctor.run(json, out).await
    }

    #[cfg(feature = "aws")]
    async fn read_keys(&self, connection: &Connection) -> KeysTable {
        let table = &connection.keys_table;
        if table.is_empty() {
            return KeysTable::NotGiven;
        }
        let read = async {
            let (config, _) = crate::connect::aws(connection).await?;
            let client = aws_sdk_dynamodb::Client::new(&config);
            let store = shared::keys::KeyStore::new(client, table.clone());
            Ok::<_, AdminError>(store.find_set().await?)
        };
        match read.await {
            Ok(set) => KeysTable::Read(set),
            Err(error) => KeysTable::Unreadable(error.to_string()),
        }
    }

    #[cfg(not(feature = "aws"))]
    async fn read_keys(&self, _: &Connection) -> KeysTable {
        KeysTable::NotGiven
    }

    #[cfg(feature = "aws")]
    async fn examine_iam(
        &self,
        connection: &Connection,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        if connection.table.is_empty() {
            return Err(AdminError::NoTable);
        }
        if connection.keys_table.is_empty() {
            return Err(AdminError::NoKeysTable);
        }
        let tables = iam::Tables {
            table: connection.table.clone(),
            keys_table: connection.keys_table.clone(),
        };
        let (config, _) = crate::connect::aws(connection).await?;
        let client = iam::client(&config, self.role_arn.as_deref()).await?;
        let mut calls = Vec::new();
        for function in &self.function {
            calls.extend(iam::examine(&client, &tables, function).await);
        }
        iam::write(out, &calls, json, colours(&Environment::process()))?;
        match calls.iter().filter(|call| !call.is_allowed()).count() {
            0 => Ok(()),
            wrong => Err(DoctorError::Iam(wrong).into()),
        }
    }

    #[cfg(not(feature = "aws"))]
    async fn examine_iam(
        &self,
        _: &Connection,
        _: bool,
        _: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        let why = "--iam examines an AWS account: run cambio-admin";
        Err(DoctorError::Wrong(why.to_owned()).into())
    }
}

/// Returns a spinner on a terminal.
pub(super) fn progress(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// Returns whether standard output shows colours (<https://no-color.org>).
fn colours(env: &Environment) -> bool {
    io::stdout().is_terminal() && env.optional("NO_COLOR").is_none()
}

/// Writes the report, and fails if a check failed.
fn finish(
    report: &Report,
    json: bool,
    env: &Environment,
    out: &mut (dyn Write + Send),
) -> Result<(), AdminError> {
    report.write(out, json, colours(env))?;
    let failed = report.failed();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(DoctorError::Failed(failed).into())
    }
}

impl Doctor {
    /// Runs all checks, and writes the report.
    ///
    /// # Errors
    /// A check failed, or the output cannot be written.
    pub async fn run(&self, json: bool, out: &mut (dyn Write + Send)) -> Result<(), AdminError> {
        let progress = progress(json);
        let report = self.examine_with(&progress).await?;
        progress.finish_and_clear();
        finish(&report, json, &Environment::process(), out)
    }
}
