//! T84: a function with a wrong setting never serves, and says in one line which setting it is.

use std::{
    io,
    process::{Command, Output},
};

const GOOD: [(&str, &str); 10] = [
    ("ISSUER_URL", "https://api.example.com"),
    ("TOKEN_AUDIENCE", "https://api.example.com"),
    ("TABLE_NAME", "cambio"),
    ("KEYS_TABLE_NAME", "cambio-keys"),
    (
        "CLIENTS",
        r#"[{"client_id":"nextjs","secret_sha256":["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}]"#,
    ),
    ("GITHUB_CLIENT_ID", "Iv1.0123456789abcdef"),
    ("GITHUB_CLIENT_SECRET", "CANARY"),
    ("AWS_REGION", "eu-west-1"),
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "CANARY"),
];

fn start(change: (&str, Option<&str>)) -> io::Result<Output> {
    let (name, value) = change;
    let mut command = Command::new(env!("CARGO_BIN_EXE_token-exchange"));
    command.env_clear().envs(GOOD).env_remove(name);
    if let Some(value) = value {
        command.env(name, value);
    }
    command.output()
}

#[test]
fn t84_a_missing_or_wrong_setting_stops_it_with_one_line() {
    let missing = GOOD.map(|(name, _)| (name, None));
    let wrong = [
        ("ISSUER_URL", Some("http://api.example.com")),
        ("ISSUER_URL", Some("https://api.example.com/")),
        ("ACCESS_TOKEN_TTL", Some("15 minutes")),
        (
            "CLIENTS",
            Some(r#"[{"client_id":"nextjs","secret":"CANARY"}]"#),
        ),
        ("GITHUB_API_URL", Some("http://169.254.169.254")),
        ("GITHUB_CLIENT_ID", Some("../admin")),
    ];
    for change in missing.into_iter().chain(wrong) {
        let output = start(change).unwrap();

        assert!(!output.status.success(), "{change:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        assert!(said.starts_with(&format!("Error: {} ", change.0)), "{said}");
        assert!(said.contains("; expected "), "{said}");
        assert!(!said.contains("CANARY"), "{said}");
        assert!(output.stdout.is_empty());
    }
}
