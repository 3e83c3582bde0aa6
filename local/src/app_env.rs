//! The environment of an app that signs in against this server, for each of the libraries, printed or in a file.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use shared::config::Environment;
use thiserror::Error;
use url::Url;

use crate::invocation::Invocation;
use crate::settings::{
    CLIENT_ID, CLIENT_SECRET, GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET, GitHub, openid_issuer,
};

/// Encrypts the app's session cookies. It is of use only for an app on this machine.
const SESSION_SECRET: &str = "local-session-secret-not-for-production";

/// The start of the first line of the part of a file that this module writes.
const BEGIN: &str = "# >>> cambio";
/// The last line of that part.
const END: &str = "# <<< cambio";

/// The variables of an app, in parts with a title each.
#[derive(Clone, Debug)]
pub struct AppEnvironment {
    parts: Vec<Part>,
    invocation: Invocation,
}

#[derive(Clone, Debug)]
struct Part {
    title: &'static str,
    variables: Vec<(&'static str, String)>,
}

impl AppEnvironment {
    /// Returns the variables of an app at `app` for the API at `api`.
    pub fn new(api: &str, app: &Url, github: &GitHub, shell: &Environment) -> Self {
        let app = app.as_str().trim_end_matches('/');
        let mut cambio = vec![("CAMBIO_URL", api.to_owned())];
        // With clients of their own, the developer has the secret.
        if shell.optional("CLIENTS").is_none() {
            cambio.push(("CAMBIO_CLIENT_ID", CLIENT_ID.to_owned()));
            cambio.push(("CAMBIO_CLIENT_SECRET", CLIENT_SECRET.to_owned()));
        }
        let session = |url_name, secret_name| {
            [
                (url_name, app.to_owned()),
                (secret_name, SESSION_SECRET.to_owned()),
            ]
        };
        let mut parts = vec![
            part("Cambio", cambio),
            part("next-auth 4", session("NEXTAUTH_URL", "NEXTAUTH_SECRET")),
            part("Auth.js 5", session("AUTH_URL", "AUTH_SECRET")),
            part(
                "better-auth",
                session("BETTER_AUTH_URL", "BETTER_AUTH_SECRET"),
            ),
        ];
        if let GitHub::StandIn(url) = github {
            let app = |url_name, url, id_name, secret_name| {
                [
                    (url_name, url),
                    (id_name, GITHUB_CLIENT_ID.to_owned()),
                    (secret_name, GITHUB_CLIENT_SECRET.to_owned()),
                ]
            };
            let [url_of_github, id, secret] =
                app("GITHUB_URL", url.clone(), "GITHUB_ID", "GITHUB_SECRET");
            parts.push(part(
                "The stand-in GitHub; Auth.js 5 has its own names for the app",
                [
                    url_of_github,
                    id.clone(),
                    secret.clone(),
                    ("AUTH_GITHUB_ID", id.1),
                    ("AUTH_GITHUB_SECRET", secret.1),
                ],
            ));
            parts.push(part(
                "The stand-in OpenID provider",
                app(
                    "OIDC_ISSUER",
                    openid_issuer(url),
                    "OIDC_CLIENT_ID",
                    "OIDC_CLIENT_SECRET",
                ),
            ));
        }
        Self {
            parts,
            invocation: Invocation::of(shell),
        }
    }

    fn variables(&self) -> impl Iterator<Item = &(&'static str, String)> {
        self.parts.iter().flat_map(|part| &part.variables)
    }

    /// Returns the lines, without the variables in `except`.
    fn lines(&self, except: &BTreeMap<String, String>) -> String {
        let mut lines = String::new();
        for part in &self.parts {
            let own = part.variables.iter();
            let own: String = own
                .filter(|(name, _)| !except.contains_key(*name))
                .map(|(name, value)| format!("{name}={value}\n"))
                .collect();
            if !own.is_empty() {
                lines.push_str(&format!("# {}\n{own}", part.title));
            }
        }
        lines
    }

    /// Writes the variables into a file such as `.env.local`, in a part of it that begins and ends with a comment.
    ///
    /// All other lines stay as they are. A variable that they set is not written: the report names it if its value
    /// differs.
    ///
    /// # Errors
    /// The file cannot be read or written, or its part has no end.
    pub fn write(&self, file: &Path) -> Result<Written, WriteError> {
        let failed = |error| WriteError::File(file.to_owned(), error);
        let before = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let (head, old, tail) = parts_of(&before).ok_or_else(|| WriteError::NoEnd(file.into()))?;

        let own: BTreeMap<String, String> = [assignments(head), assignments(tail)]
            .into_iter()
            .flatten()
            .collect();
        let old: BTreeMap<String, String> = assignments(old).into_iter().collect();
        let differs = |set: &BTreeMap<String, String>| -> Vec<&'static str> {
            self.variables()
                .filter(|(name, value)| set.get(*name).is_some_and(|other| other != value))
                .map(|(name, _)| *name)
                .collect()
        };
        let (kept, mut changed) = (differs(&own), differs(&old));
        changed.retain(|name| !own.contains_key(*name));

        let gap = if head.is_empty() || head.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        let lines = self.lines(&own);
        let command = self.invocation.with("--write-env");
        let begin =
            format!("{BEGIN}: written by `{command}`; put your own lines outside of this part");
        let after = format!("{head}{gap}{begin}\n{lines}{END}\n{tail}");
        if after != before {
            // The file contains secrets, even if only for this machine.
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let written = options.open(file);
            let written = written.and_then(|mut open| open.write_all(after.as_bytes()));
            written.map_err(failed)?;
        }
        Ok(Written {
            is_new: after != before,
            changed,
            kept,
        })
    }
}

impl fmt::Display for AppEnvironment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines(&BTreeMap::new());
        lines
            .lines()
            .try_for_each(|line| writeln!(formatter, "  {line}"))
    }
}

fn part(title: &'static str, variables: impl IntoIterator<Item = (&'static str, String)>) -> Part {
    Part {
        title,
        variables: variables.into_iter().collect(),
    }
}

/// Returns the text before the part between the two comments, the part, and the text after it. Without such a part,
/// all of it is before. Returns `None` if the part does not end.
fn parts_of(text: &str) -> Option<(&str, &str, &str)> {
    let begin = text
        .match_indices(BEGIN)
        .map(|(at, _)| at)
        .find(|at| *at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n'));
    let Some(begin) = begin else {
        return Some((text, "", ""));
    };
    let (head, rest) = text.split_at(begin);
    let end = rest.find(&format!("\n{END}"))? + 1;
    let (part, tail) = rest.split_at(end);
    let tail = tail.split_once('\n').map_or("", |(_, tail)| tail);
    Some((head, part, tail))
}

/// Returns the names and values that the lines of a dotenv file set.
fn assignments(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim_start();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            let is_quote = |quote: &char| value.len() > 1 && value.ends_with(*quote);
            let quote = value.chars().next().filter(|first| "'\"`".contains(*first));
            let value = match quote.filter(is_quote) {
                Some(quote) => value.trim_matches(quote),
                None => value,
            };
            (!name.starts_with('#')).then(|| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// The result of [`AppEnvironment::write`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// True if the file was changed.
    pub is_new: bool,
    /// The variables of an earlier run that have another value now.
    pub changed: Vec<&'static str>,
    /// The variables that other lines of the file set to another value.
    pub kept: Vec<&'static str>,
}

/// Reasons that the file is not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The file cannot be read or written.
    #[error("cannot write {0}: {1}")]
    File(PathBuf, io::Error),
    /// The last comment of the part is missing.
    #[error(
        "cannot update {0}: the line \"{END}\" is missing after \"{BEGIN}\"; add it, or remove both"
    )]
    NoEnd(PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    const GITHUB: &str = "http://localhost:9001";

    fn environment(api: &str) -> AppEnvironment {
        let app = Url::parse("http://localhost:3000").unwrap();
        let shell = Environment::of::<String, String>([]);
        AppEnvironment::new(api, &app, &GitHub::StandIn(GITHUB.to_owned()), &shell)
    }

    /// A file in an own folder, which is removed with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, content: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("cambio-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let scratch = Self(folder);
            if !content.is_empty() {
                fs::write(scratch.file(), content).unwrap();
            }
            scratch
        }

        fn file(&self) -> PathBuf {
            self.0.join(".env.local")
        }

        fn text(&self) -> String {
            fs::read_to_string(self.file()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn each_library_finds_the_names_that_it_reads() {
        let environment = environment("http://localhost:9000");
        let set: BTreeMap<_, _> = environment.variables().cloned().collect();

        for (name, value) in [
            ("CAMBIO_URL", "http://localhost:9000"),
            ("CAMBIO_CLIENT_ID", "nextjs"),
            ("NEXTAUTH_URL", "http://localhost:3000"),
            ("AUTH_URL", "http://localhost:3000"),
            ("BETTER_AUTH_URL", "http://localhost:3000"),
            ("GITHUB_URL", GITHUB),
            ("GITHUB_ID", "cambio-local"),
            ("AUTH_GITHUB_ID", "cambio-local"),
            ("OIDC_ISSUER", "http://localhost:9001/openid"),
        ] {
            assert_eq!(set[name], value, "{name}");
        }
        for secret in ["NEXTAUTH_SECRET", "AUTH_SECRET", "BETTER_AUTH_SECRET"] {
            assert!(set[secret].len() >= 32, "{secret}");
        }
        let printed = environment.to_string();
        assert!(printed.contains("  # Auth.js 5\n  AUTH_URL=http://localhost:3000\n"));
    }

    #[test]
    fn a_secret_that_the_server_does_not_have_is_not_written() {
        let app = Url::parse("http://localhost:3000").unwrap();
        let shell = Environment::of([("CLIENTS", "[]"), ("GITHUB_CLIENT_ID", "Iv1.real")]);

        let environment = AppEnvironment::new("http://localhost:1", &app, &GitHub::Real, &shell);

        let names: Vec<_> = environment.variables().map(|(name, _)| *name).collect();
        assert!(names.contains(&"CAMBIO_URL") && names.contains(&"AUTH_SECRET"));
        let absent = [
            "CAMBIO_CLIENT_SECRET",
            "GITHUB_ID",
            "GITHUB_URL",
            "OIDC_ISSUER",
        ];
        assert!(absent.iter().all(|name| !names.contains(name)), "{names:?}");
    }

    #[test]
    fn a_file_is_made_and_stays_the_same_at_the_next_write() {
        let scratch = Scratch::new("made", "");
        let environment = environment("http://localhost:9000");

        let first = environment.write(&scratch.file()).unwrap();
        let text = scratch.text();
        let second = environment.write(&scratch.file()).unwrap();

        assert!(first.is_new && first.changed.is_empty() && first.kept.is_empty());
        assert_eq!(second, Written::default());
        assert_eq!(scratch.text(), text);
        let set: BTreeMap<_, _> = assignments(&text).into_iter().collect();
        assert_eq!(set.len(), environment.variables().count());
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(scratch.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_first_line_names_the_command_that_wrote_the_file() {
        let scratch = Scratch::new("npx", "A=1\n");
        let app = Url::parse("http://localhost:3000").unwrap();
        let shell = Environment::of([("CAMBIO_STARTED_BY", "npx")]);
        let npx = AppEnvironment::new("http://localhost:9000", &app, &GitHub::Real, &shell);
        environment("http://localhost:9000")
            .write(&scratch.file())
            .unwrap();
        assert!(
            scratch
                .text()
                .contains("written by `cargo run -- --write-env`;")
        );

        npx.write(&scratch.file()).unwrap();

        let text = scratch.text();
        let start = "A=1\n# >>> cambio: written by `npx cambio dev --write-env`; put your own";
        assert!(text.starts_with(start), "{text}");
        assert_eq!(text.matches(BEGIN).count(), 1);
        assert!(!text.contains("cargo"), "{text}");
    }

    #[test]
    fn another_start_changes_its_own_part_and_no_other_line() {
        let scratch = Scratch::new("again", "# mine\nDATABASE_URL=\"postgres://x\"\n\nA=1");
        environment("http://localhost:9000")
            .write(&scratch.file())
            .unwrap();
        let mut text = scratch.text();
        assert!(text.starts_with("# mine\nDATABASE_URL=\"postgres://x\"\n\nA=1\n# >>> cambio"));
        text.push_str("AFTER=2\n");
        fs::write(scratch.file(), &text).unwrap();

        let written = environment("http://localhost:9100").write(&scratch.file());

        let written = written.unwrap();
        assert_eq!(written.changed, ["CAMBIO_URL"]);
        let expected = text.replace("localhost:9000", "localhost:9100");
        assert_eq!(scratch.text(), expected);
    }

    #[test]
    fn a_value_of_the_developer_is_kept_and_named() {
        let own = "export NEXTAUTH_SECRET='mine'\nGITHUB_ID=cambio-local\n#AUTH_SECRET=no\n AUTH_URL = http://localhost:4000\n";
        let scratch = Scratch::new("kept", own);

        let written = environment("http://localhost:9000")
            .write(&scratch.file())
            .unwrap();

        assert_eq!(written.kept, ["NEXTAUTH_SECRET", "AUTH_URL"]);
        let text = scratch.text();
        assert!(text.starts_with(own));
        for name in ["NEXTAUTH_SECRET", "GITHUB_ID", "AUTH_URL"] {
            let lines = text.lines().filter(|line| {
                let set = assignments(line);
                set.iter().any(|(other, _)| other == name)
            });
            assert_eq!(lines.count(), 1, "{name}");
        }
        assert!(text.contains("\nAUTH_SECRET="));
    }

    #[test]
    fn a_part_without_its_end_and_a_missing_folder_are_errors_that_change_nothing() {
        let broken = "A=1\n# >>> cambio: something\nCAMBIO_URL=x\nB=2\n";
        let scratch = Scratch::new("broken", broken);
        let environment = environment("http://localhost:9000");

        let error = environment.write(&scratch.file()).unwrap_err().to_string();
        assert!(error.contains("# <<< cambio"), "{error}");
        assert_eq!(scratch.text(), broken);

        let missing = scratch.0.join("missing/.env.local");
        let error = environment.write(&missing).unwrap_err().to_string();
        assert!(error.starts_with("cannot write"), "{error}");
    }
}
