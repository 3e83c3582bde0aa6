//! The functions' logs during the tests: at level `trace`, written to a file, and searched for secrets.

use std::{
    fs::{File, create_dir_all},
    io::{self, Write},
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use shared::telemetry;
use tracing::Level;

static LOG: OnceLock<Mutex<Log>> = OnceLock::new();

/// The prefixes of tokens.
const TOKENS: [&str; 4] = ["cbr_", JSON, "gho_", "ghu_"];
/// `{"` in base64url, with which a JWT begins.
const JSON: &str = "eyJ";
/// Other texts that no log line may contain: the kit's secrets, private keys, e-mail addresses.
const SECRETS: [&str; 3] = ["CANARY", "PRIVATE KEY", "@example.com"];

/// The length of a session id; every token is longer.
const SESSION_ID: usize = 22;

struct Log {
    file: File,
    lines: Vec<String>,
}

/// Starts logging, once for all tests of the process.
///
/// A line with a secret panics when it is written, which fails the request.
#[expect(clippy::expect_used, reason = "without its log a test proves less")]
pub fn start_logs() {
    LOG.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e-logs");
        create_dir_all(&folder).expect("a folder for logs");
        let file = folder.join(format!("e2e-{}.log", std::process::id()));
        let file = File::create(file).expect("a log file");
        let subscriber = telemetry::subscriber(Level::TRACE, &local::CRATES, || Writer);
        tracing::subscriber::set_global_default(subscriber).expect("the only subscriber");
        Mutex::new(Log {
            file,
            lines: Vec::new(),
        })
    });
}

/// Returns the log of all tests of the process so far.
pub fn log_lines() -> Vec<String> {
    let log = LOG
        .get()
        .map(|log| log.lock().unwrap_or_else(PoisonError::into_inner));
    log.map(|log| log.lines.clone()).unwrap_or_default()
}

/// Returns the first secret in a line.
pub fn secret_in(line: &str) -> Option<&'static str> {
    let mut secrets = SECRETS.into_iter().filter(|secret| line.contains(secret));
    token_in(line).or_else(|| secrets.next())
}

/// Returns the prefix of the first token in a text.
pub fn token_in(text: &str) -> Option<&'static str> {
    TOKENS.into_iter().find(|prefix| has_token(text, prefix))
}

/// Returns whether a token begins in the line. Ignores prefixes in the middle of a random text, and at the start of a
/// session id or of a hash, where any three or four letters occur by chance.
fn has_token(line: &str, prefix: &str) -> bool {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    line.match_indices(prefix).any(|(start, _)| {
        let rest = &line[start..];
        let length = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
        let is_token = prefix != JSON || begins_json(&rest[..length]);
        length > SESSION_ID && is_token && !line[..start].ends_with(is_inside)
    })
}

/// Returns whether base64url begins an object of JSON with a name, as the parts of a JWT do.
fn begins_json(text: &str) -> bool {
    // Four characters are three bytes.
    let whole = text.len().min(40) / 4 * 4;
    let bytes = URL_SAFE_NO_PAD.decode(&text[..whole]).unwrap_or_default();
    bytes.is_ascii() && bytes.windows(2).skip(2).any(|pair| pair == b"\":")
}

struct Writer;

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if let Some(log) = LOG.get() {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.file.write_all(line)?;
            log.lines.push(text.clone().into_owned());
        }
        if let Some(secret) = secret_in(&text) {
            #[expect(clippy::panic, reason = "this is a failed test")]
            {
                panic!("{secret} in a log line: {text}");
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watch_finds_what_it_looks_for() {
        let token = format!(r#"{{"token":"gho_{}"}}"#, "a".repeat(36));
        assert_eq!(secret_in(&token), Some("gho_"));
        assert_eq!(secret_in("octocat@example.com"), Some("@example.com"));
        assert_eq!(
            secret_in("Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6"),
            Some("eyJ")
        );
        assert_eq!(
            secret_in(r#"{"session_id":"eyJhbGciOiJFUzI1NiIsIn"}"#),
            None
        );
        let hash = r#"{"secret":"eyJz4Yt0qQ9mB7WcUe1oK3vXnR5dLhP8aFgTj2sIxZk"}"#;
        assert_eq!(secret_in(hash), None);
        assert_eq!(secret_in(r#"{"message":"answered"}"#), None);
        assert_eq!(secret_in(r#"{"kid":"dev-_EboeyJhV8F7ik"}"#), None);
    }

    #[test]
    #[should_panic(expected = "CANARY in a log line")]
    fn a_secret_in_a_line_fails_the_test() {
        let _ = Writer.write(b"CANARY-client-secret");
    }
}
