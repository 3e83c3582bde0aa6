//! The texts of `cambio` for a developer who started it with `npx cambio dev`, and has no clone of the repository.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use std::process::{Command, Output};

/// Runs the command as the npm package does.
fn npx(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cambio"));
    let command = command.args(arguments).env("CAMBIO_STARTED_BY", "npx");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_help_names_the_command_that_the_developer_typed() {
    let help = text(&npx(&["--help"]).stdout);
    assert!(
        help.contains("Usage: npx cambio dev [OPTIONS]\n       npx cambio dev <COMMAND>"),
        "{help}"
    );
    assert!(help.contains("\n  admin ") && help.contains("\n  demo "));
    // `services` is for `cargo lambda watch`, which needs a clone.
    assert!(!help.contains("\n  services "), "{help}");
    assert!(!help.contains("cargo"), "{help}");

    let admin = text(&npx(&["admin", "--help"]).stdout);
    assert!(admin.contains("Usage: npx cambio dev admin"), "{admin}");
    assert!(
        admin.contains("Example:\n  npx cambio dev admin users list"),
        "{admin}"
    );
}

#[test]
fn an_error_names_the_command_that_the_developer_typed() {
    let wrong = npx(&["--prot", "1"]);
    assert_eq!(wrong.status.code(), Some(2));
    let error = text(&wrong.stderr);
    assert!(error.contains("Usage: npx cambio dev"), "{error}");

    let none = npx(&["admin", "users", "list", "--data-dir", "/no/such/folder"]);
    assert_eq!(none.status.code(), Some(1));
    let error = text(&none.stderr);
    for part in ["run `npx cambio dev` and", "`npx cambio dev --in-memory`"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}
