//! The command that started this process, for texts that name it: `cargo run` or `npx cambio dev`.

use shared::config::Environment;

/// The ways to start the local server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `cargo run` in a clone of the repository.
    Cargo,
    /// `npx cambio dev`, which the npm package names in `CAMBIO_STARTED_BY`.
    Npx,
}

impl Invocation {
    /// Returns the way that the environment names; without one, `cargo run`.
    pub fn of(shell: &Environment) -> Self {
        match shell.optional("CAMBIO_STARTED_BY").as_deref() {
            Some("npx") => Self::Npx,
            _ => Self::Cargo,
        }
    }

    /// Returns the command without arguments.
    pub fn command(self) -> &'static str {
        match self {
            Self::Cargo => "cargo run",
            Self::Npx => "npx cambio dev",
        }
    }

    /// Returns the command with these arguments.
    pub fn with(self, arguments: &str) -> String {
        match self {
            Self::Cargo => format!("{} -- {arguments}", self.command()),
            Self::Npx => format!("{} {arguments}", self.command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn each_way_names_itself_with_and_without_arguments() {
        let cargo = Invocation::of(&Environment::of::<String, String>([]));
        let npx = Invocation::of(&Environment::of([("CAMBIO_STARTED_BY", "npx")]));
        let other = Invocation::of(&Environment::of([("CAMBIO_STARTED_BY", "\nA=1")]));

        assert_eq!(cargo.command(), "cargo run");
        assert_eq!(cargo.with("demo"), "cargo run -- demo");
        assert_eq!(npx.command(), "npx cambio dev");
        assert_eq!(npx.with("demo"), "npx cambio dev demo");
        assert_eq!(other, Invocation::Cargo);
    }

    /// Returns the lines of the files in `folder` that a user can see and that name `cargo run`.
    fn lines_with_cargo_run(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                lines_with_cargo_run(&path, found);
            } else if path.file_name() != Some("invocation.rs".as_ref())
                && let Ok(text) = fs::read_to_string(&path)
            {
                // A file's tests are its end.
                let shown = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let seen = shown.lines().map(str::trim);
                let seen =
                    seen.filter(|line| line.contains("cargo run") && !line.starts_with("//"));
                found.extend(seen.map(|line| format!("{}: {line}", path.display())));
            }
        }
    }

    #[test]
    fn no_text_of_the_server_names_cargo_run_to_a_user_of_npx() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();

        lines_with_cargo_run(&sources, &mut found);

        assert!(
            found.is_empty(),
            "use Invocation::with in:\n{}",
            found.join("\n")
        );
    }
}
