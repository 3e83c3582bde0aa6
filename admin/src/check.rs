//! The check of the settings of a deployment.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use shared::{
    config::{ConfigError, Environment},
    settings,
};

use crate::AdminError;

/// The settings to check.
#[derive(Args, Debug)]
// The local server has a command of the same name, and a group of options must not have the name of another one.
#[group(skip)]
pub struct Check {
    /// A file of the variables, one `NAME=value` in each line; by default, the variables of the shell.
    // Not `--env-file`: Node takes this option for itself, also behind the name of a script.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// The result, as JSON.
#[derive(Serialize)]
struct Checked<'a> {
    valid: bool,
    problems: Vec<Problem<'a>>,
}

#[derive(Serialize)]
struct Problem<'a> {
    setting: &'a str,
    message: String,
}

impl Check {
    /// Checks the settings, and writes each problem to `out`.
    ///
    /// # Errors
    /// A setting is missing or wrong, or the file cannot be read.
    pub fn run(&self, json: bool, out: &mut (dyn Write + Send)) -> Result<(), AdminError> {
        let env = match &self.file {
            Some(file) => variables(file)?,
            None => Environment::process(),
        };
        let problems = settings::problems(&env);
        if json {
            let checked = Checked {
                valid: problems.is_empty(),
                problems: problems.iter().map(Problem::from).collect(),
            };
            serde_json::to_writer(&mut *out, &checked).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else if problems.is_empty() {
            writeln!(out, "The settings of all functions are valid.")?;
        }
        if problems.is_empty() {
            return Ok(());
        }
        if !json {
            for problem in &problems {
                writeln!(out, "{problem}")?;
            }
        }
        Err(AdminError::WrongSettings(problems.len()))
    }
}

impl<'a> From<&'a ConfigError> for Problem<'a> {
    fn from(problem: &'a ConfigError) -> Self {
        Self {
            setting: problem.name(),
            message: problem.to_string(),
        }
    }
}

/// Reads a file of variables, as `cargo lambda watch --env-file` reads it: comments begin with `#`, and a pair of
/// quotation marks around a value is no part of it.
fn variables(file: &Path) -> Result<Environment, AdminError> {
    let refused = |cause: String| AdminError::EnvFile {
        file: file.to_owned(),
        cause,
    };
    let text = fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
    let mut variables = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            // The line is not shown, because it may be a part of a secret.
            return Err(refused(format!(
                "line {number} has no =: write NAME=value, each value in one line"
            )));
        };
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        variables.push((name.to_owned(), unquoted(value).to_owned()));
    }
    Ok(Environment::of(variables))
}

fn unquoted(value: &str) -> &str {
    let within = |mark| value.strip_prefix(mark)?.strip_suffix(mark);
    within('\'').or_else(|| within('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    /// Checks a file with this text. Returns the output and the error.
    fn check(text: &str, json: bool) -> (String, Option<AdminError>) {
        let unique = format!("{:p}-{}", text, std::process::id());
        let file = std::env::temp_dir().join(format!("cambio-check-{unique}.env"));
        fs::write(&file, text).unwrap();
        let command = Check {
            file: Some(file.clone()),
        };
        let mut out = Vec::new();
        let done = command.run(json, &mut out);
        fs::remove_file(file).unwrap();
        (String::from_utf8(out).unwrap(), done.err())
    }

    fn good() -> String {
        format!(
            "# The settings.\n\nISSUER_URL=https://auth.example.com\nexport TOKEN_AUDIENCE=\"api\"\nTABLE_NAME=users\n\
             KEYS_TABLE_NAME=keys\nGITHUB_CLIENT_ID=a\nGITHUB_CLIENT_SECRET=CANARY\n\
             CLIENTS='[{{\"client_id\":\"nextjs\",\"secret_sha256\":[\"{HASH}\"]}}]'\n"
        )
    }

    #[test]
    fn a_file_of_valid_settings_is_valid() {
        let (text, error) = check(&good(), false);
        assert_eq!(text, "The settings of all functions are valid.\n");
        assert!(error.is_none());
        let (text, _) = check(&good(), true);
        let expected = json!({ "valid": true, "problems": [] });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    }

    #[test]
    fn t166_each_problem_of_a_file_is_named_and_no_secret_is_shown() {
        let wrong = good() + "ACCESS_TOKEN_TTL=5\nSIGNING_KEY_TYPE=CANARY-1\nLIVE=yes\n";
        let wrong = wrong.replace(HASH, "CANARY");

        let (text, error) = check(&wrong, false);

        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(
            lines.contains(
                &"ACCESS_TOKEN_TTL is \"5\"; expected a number of seconds from 60 to 3600"
            )
        );
        assert!(!text.replace("CANARY-1", "").contains("CANARY"), "{text}");
        let error = error.unwrap();
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            ("4 settings are missing or wrong", 1)
        );
        let (text, _) = check(&wrong, true);
        let checked: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(checked["valid"], false);
        let settings = checked["problems"].as_array().unwrap().iter();
        let mut settings: Vec<_> = settings.map(|problem| &problem["setting"]).collect();
        settings.sort_by_key(|setting| setting.to_string());
        assert_eq!(
            settings,
            ["ACCESS_TOKEN_TTL", "CLIENTS", "LIVE", "SIGNING_KEY_TYPE"]
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_the_line_and_not_its_text() {
        let (_, error) = check(&(good() + "CANARY\n"), false);
        let error = error.unwrap().to_string();
        assert!(
            error.ends_with("line 10 has no =: write NAME=value, each value in one line"),
            "{error}"
        );
        assert!(!error.contains("CANARY"), "{error}");
        let missing = Check {
            file: Some("/nowhere.env".into()),
        };
        let error = missing.run(false, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nowhere.env: "), "{error}");
    }
}
