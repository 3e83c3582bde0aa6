//! Starts a function's real binary with valid and with invalid settings.

use std::{
    io,
    process::{Command, Output},
};

/// The settings that every function needs.
const BY_LAMBDA: [(&str, &str); 3] = [
    ("AWS_REGION", "eu-west-1"),
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "CANARY"),
];

/// Asserts that `binary` does not start if one of its `settings` is missing or is one of the `wrong` ones, and that
/// it names the setting in one line without showing a secret (a value with `CANARY`).
#[expect(
    clippy::expect_used,
    reason = "a test without its binary proves nothing"
)]
pub fn assert_refuses_bad_settings(
    binary: &str,
    settings: &[(&str, &str)],
    wrong: &[(&'static str, &'static str)],
) {
    let good: Vec<_> = settings.iter().chain(&BY_LAMBDA).copied().collect();
    let missing = good.iter().map(|(name, _)| (*name, None));
    let wrong = wrong.iter().map(|(name, value)| (*name, Some(*value)));
    for (name, value) in missing.chain(wrong) {
        let output = start(binary, &good, name, value).expect("a binary that can be started");

        assert!(!output.status.success(), "{name}={value:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.starts_with(&format!("Error: {name} ")), "{said}");
        assert!(said.contains("; expected "), "{said}");
        assert!(!said.contains("CANARY"), "{said}");
        assert!(output.stdout.is_empty());
    }
}

fn start(
    binary: &str,
    good: &[(&str, &str)],
    name: &str,
    value: Option<&str>,
) -> io::Result<Output> {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .envs(good.iter().copied())
        .env_remove(name);
    if let Some(value) = value {
        command.env(name, value);
    }
    command.output()
}
