//! The settings of a deployed function, for the commands that must store what the function would store.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

use clap::Args;
use shared::config::Environment;

use crate::{Admin, AdminError};

/// The setting that names the keys table.
pub(crate) const KEYS_TABLE_NAME: &str = "KEYS_TABLE_NAME";

/// The settings of a function, from a file.
#[derive(Args, Clone, Debug)]
pub struct SettingsArgs {
    /// The environment variables of the deployed function, as a JSON object of texts:
    /// `aws lambda get-function-configuration --function-name … --query Environment.Variables`. Variables of the shell
    /// are not settings. With --keys-table, both must name the same table.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
}

/// Environment variables of a function. Their values can be secrets, so debug output has the names only.
#[derive(Clone, Default)]
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Returns the variables by which a function reaches AWS.
    #[cfg(feature = "aws")]
    pub(crate) fn of_aws(
        region: &str,
        credentials: &aws_credential_types::Credentials,
    ) -> impl Iterator<Item = (&'static str, String)> {
        let token = credentials.session_token();
        [
            ("AWS_REGION", region.to_owned()),
            ("AWS_ACCESS_KEY_ID", credentials.access_key_id().to_owned()),
            (
                "AWS_SECRET_ACCESS_KEY",
                credentials.secret_access_key().to_owned(),
            ),
        ]
        .into_iter()
        .chain(token.map(|token| ("AWS_SESSION_TOKEN", token.to_owned())))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the settings in the file of `args`, with these variables in place of equal ones.
    pub(crate) fn with_settings(&self, args: &SettingsArgs) -> Result<Self, AdminError> {
        let Some(file) = &args.settings else {
            return Ok(self.clone());
        };
        let name = file.display();
        let text = fs::read_to_string(file);
        let text =
            text.map_err(|error| AdminError::Settings(format!("cannot read {name}: {error}")))?;
        let written: BTreeMap<String, String> = shared::json::parse(&text).map_err(|problem| {
            let form = "the file must have the environment variables of a function, as JSON";
            AdminError::Settings(format!("{name}: {problem}; {form}"))
        })?;
        Ok(Self(written.into_iter().chain(self.0.clone()).collect()))
    }

    pub(crate) fn environment(&self) -> Environment {
        Environment::of(self.0.clone())
    }
}

impl Admin {
    /// Returns the settings in the file of `args`, and the access to AWS.
    ///
    /// # Errors
    /// The file cannot be read, or names another keys table than the operator.
    pub(crate) fn settings_of(&self, args: &SettingsArgs) -> Result<Variables, AdminError> {
        let variables = self.variables.with_settings(args)?;
        if let (Some(named), Some(set)) = (&self.keys_table, variables.get(KEYS_TABLE_NAME))
            && named != set
        {
            return Err(AdminError::Settings(format!(
                "--keys-table or the variable KEYS_TABLE_NAME is {named:?}, and KEYS_TABLE_NAME of --settings is \
                 {set:?}: give the settings of the same deployment, or leave --keys-table out and unset the variable"
            )));
        }
        Ok(variables)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(variables: T) -> Self {
        let variables = variables.into_iter();
        Self(
            variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t184_the_secret_of_an_access_key_is_not_in_debug_output() {
        let variables: Variables = [("AWS_SECRET_ACCESS_KEY", "hunter2")].into_iter().collect();
        let shown = format!("{variables:?}");
        assert!(
            shown.contains("AWS_SECRET_ACCESS_KEY") && !shown.contains("hunter2"),
            "{shown}"
        );
    }

    #[test]
    fn settings_with_another_keys_table_than_the_operator_names_are_refused() {
        let file =
            std::env::temp_dir().join(format!("cambio-settings-{}.json", std::process::id()));
        fs::write(&file, r#"{"KEYS_TABLE_NAME":"production"}"#).unwrap();
        let args = SettingsArgs {
            settings: Some(file.clone()),
        };
        let admin = |keys_table: Option<&str>| {
            let env = Environment::of([
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY_ID", "id"),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
            ]);
            let client =
                shared::dynamodb::client(&shared::config::DynamoDb::from_env(&env).unwrap());
            let admin = Admin::new(client, String::new());
            match keys_table {
                Some(table) => admin.with_keys_table(table.to_owned(), env),
                None => admin,
            }
        };

        for same in [None, Some("production")] {
            let variables = admin(same).settings_of(&args).unwrap();
            assert_eq!(variables.get(KEYS_TABLE_NAME), Some("production"));
        }
        let refused = admin(Some("staging")).settings_of(&args);
        fs::remove_file(file).unwrap();
        let error = refused.unwrap_err().to_string();
        for part in ["--keys-table", "staging", "production", "same deployment"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
