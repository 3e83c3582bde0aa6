//! JSON of settings and of requests, with errors that name the member and show no value.

mod unambiguous;

pub use unambiguous::{Limits, reject_ambiguous};

use serde::{Deserializer, de::DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// The longest shown name that resembles a member, in bytes.
const MAX_SHOWN: usize = 64;

/// Parses `text`.
///
/// # Errors
/// A phrase that says what is wrong at which place. It contains no value of `text`, which may be a secret.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = read(&mut json)?;
    json.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// Parses the members of a JSON object, an array of them, or any other value.
///
/// # Errors
/// Those of [`parse`].
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    read(value)
}

fn read<'de, T, D>(json: D) -> Result<T, String>
where
    T: DeserializeOwned,
    D: Deserializer<'de, Error = serde_json::Error>,
{
    serde_path_to_error::deserialize(json).map_err(|error| problem(error.path(), error.inner()))
}

fn not_json(error: &serde_json::Error) -> String {
    // A syntax error names a token of JSON and a position only.
    format!("it is not JSON: {error}")
}

/// Describes an error without the values that serde's message contains.
fn problem(path: &Path, error: &serde_json::Error) -> String {
    if !error.is_data() {
        return not_json(error);
    }
    let message = error.to_string();
    // A text is followed by its position, a value by nothing.
    let message = match message.rsplit_once(" at line ") {
        Some((message, _)) if error.line() > 0 => message,
        _ => &message,
    };
    // The part behind the last comma is a text of serde's or of this crate's; a value may come before it.
    let expected = message.rsplit_once(", expected ").map(|(_, text)| text);
    if let Some(name) = message.strip_prefix("missing field `") {
        return format!(
            "{} is missing",
            place(path, Some(name.trim_end_matches('`')))
        );
    }
    if let Some(name) = message.strip_prefix("duplicate field `") {
        return format!(
            "{} is there twice",
            place(path, Some(name.trim_end_matches('`')))
        );
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let known = names(expected.unwrap_or_default());
        let name = rest
            .rsplit_once("`, expected ")
            .map_or("", |(name, _)| name);
        return unknown(path, name, &known);
    }
    match expected {
        Some(expected) => format!("{} must be {}", place(path, None), form(expected)),
        // An error of a type of this crate, which is a fixed text.
        None => format!("{}: {message}", place(path, None)),
    }
}

fn unknown(path: &Path, name: &str, known: &[&str]) -> String {
    let meant = did_you_mean(name, known);
    // A name that resembles no member may be a misplaced secret. One that does may have any characters between the
    // letters: a line break would begin another line of the log.
    let is_printable =
        name.len() <= MAX_SHOWN && name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let shown = if (meant.is_some() && is_printable) || is_name(name) {
        name
    } else {
        "a member"
    };
    let place = place(&Without { path, name }, Some(shown));
    match meant {
        Some(meant) => format!("{place} is unknown: did you mean {meant}?"),
        None => format!("{place} is unknown: the members are {}", known.join(", ")),
    }
}

/// A path, or a path without its last member.
trait Place {
    fn segments(&self) -> Vec<&Segment>;
}

impl Place for Path {
    fn segments(&self) -> Vec<&Segment> {
        self.iter().collect()
    }
}

struct Without<'a> {
    path: &'a Path,
    name: &'a str,
}

impl Place for Without<'_> {
    fn segments(&self) -> Vec<&Segment> {
        let mut segments = self.path.segments();
        if matches!(segments.last(), Some(Segment::Map { key }) if key == self.name) {
            segments.pop();
        }
        segments
    }
}

/// Returns the place in the document, such as `[0].client_ids`, with the name of one more member.
fn place(path: &impl Place, member: Option<&str>) -> String {
    let mut place = String::new();
    let keys = path.segments().into_iter().map(|segment| match segment {
        Segment::Seq { index } => format!("[{index}]"),
        Segment::Map { key } if is_member(key) => format!(".{key}"),
        Segment::Map { .. } => ".a member".to_owned(),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    });
    keys.for_each(|key| place.push_str(&key));
    if let Some(member) = member {
        place.push('.');
        place.push_str(member);
    }
    match place.strip_prefix('.') {
        Some(place) => place.to_owned(),
        None if place.is_empty() => "it".to_owned(),
        None => place,
    }
}

/// Returns whether an error may show the name of an unknown member or parameter: any other may be a misplaced secret.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

/// Returns whether a path may show a key. A type here refuses unknown members, so the keys of a path are known.
fn is_member(key: &str) -> bool {
    is_name(&key.replace(|c: char| c.is_ascii_digit(), "_"))
}

/// Returns the names between backticks.
fn names(list: &str) -> Vec<&str> {
    list.split('`').skip(1).step_by(2).collect()
}

/// Returns what serde expects, in the words of JSON.
fn form(expected: &str) -> String {
    match expected {
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text".to_owned(),
        "u64" => "a number without a sign and a fraction".to_owned(),
        _ if expected.starts_with("struct ") => "an object".to_owned(),
        _ => expected.replace('`', ""),
    }
}

/// Returns the known name that `name` is probably meant to be: one with two other letters at most, or one of which
/// `name` is the beginning or the end.
fn did_you_mean<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let written = letters(name);
    let near = |other: &str| {
        let other = letters(other);
        let is_part = other.starts_with(&*written) || other.ends_with(&*written);
        let distance = strsim::levenshtein(&written, &other);
        let near = if is_part { 1.min(distance) } else { distance };
        (near, other.len())
    };
    let nearest = known.iter().copied().min_by_key(|other| near(other))?;
    (near(nearest).0 <= (written.len() / 4).min(2)).then_some(nearest)
}

fn letters(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric).take(64);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors count")]
    struct Entry {
        client_id: String,
        #[serde(default)]
        secret_sha256: Vec<String>,
        #[serde(default)]
        is_open: bool,
        #[serde(default)]
        max_age: Option<u64>,
        #[serde(default)]
        color: Option<Color>,
    }

    #[derive(Debug, Deserialize)]
    enum Color {
        Red,
        Blue,
    }

    #[test]
    fn an_error_names_the_place_and_shows_no_value() {
        for (text, expected) in [
            (
                "",
                "it is not JSON: EOF while parsing a value at line 1 column 0",
            ),
            (
                r#"[{"client_id":"a",}]"#,
                "it is not JSON: trailing comma at line 1 column 19",
            ),
            (
                r#"[{"client_id":"a"}],"#,
                "it is not JSON: trailing characters at line 1 column 20",
            ),
            ("{}", "it must be a list"),
            (
                "[hunter]",
                "it is not JSON: expected value at line 1 column 2",
            ),
            ("[7]", "[0] must be an object"),
            ("[{}]", "[0].client_id is missing"),
            (
                r#"[{"client_id":"a","client_id":"b"}]"#,
                "[0].client_id is there twice",
            ),
            (r#"[{"client_id":7}]"#, "[0].client_id must be a text"),
            (
                r#"[{"client_id":"a"},{"client_id":"b","is_open":"hunter2, expected x"}]"#,
                "[1].is_open must be true or false",
            ),
            (
                r#"[{"client_id":"a","max_age":"hunter2 at line 3"}]"#,
                "[0].max_age must be a number without a sign and a fraction",
            ),
            (
                r#"[{"client_id":"a","secret_sha256":"hunter2"}]"#,
                "[0].secret_sha256 must be a list",
            ),
            (
                r#"[{"client_id":"a","secret_sha256":[1]}]"#,
                "[0].secret_sha256[0] must be a text",
            ),
            (
                r#"[{"client_id":"a","color":"hunter2"}]"#,
                "[0].color must be Red or Blue",
            ),
            (
                r#"[{"client_id":"a","secret_sha":[]}]"#,
                "[0].secret_sha is unknown: did you mean secret_sha256?",
            ),
            (
                r#"[{"client_id":"a","secretSha256":[]}]"#,
                "[0].secretSha256 is unknown: did you mean secret_sha256?",
            ),
            (
                r#"[{"clientid":"a"}]"#,
                "[0].clientid is unknown: did you mean client_id?",
            ),
            (
                r#"[{"client_id":"a","isopen":true}]"#,
                "[0].isopen is unknown: did you mean is_open?",
            ),
            (
                r#"[{"client_id":"a","secret\r\nsha256":[]}]"#,
                "[0].a member is unknown: did you mean secret_sha256?",
            ),
            (
                r#"[{"client_id":"a","secret-sha256":[]}]"#,
                "[0].secret-sha256 is unknown: did you mean secret_sha256?",
            ),
            (
                r#"[{"client_id":"a","client_idпароль":"x"}]"#,
                "[0].a member is unknown: did you mean client_id?",
            ),
            (
                r#"[{"client_id":"a","note":"x"}]"#,
                "[0].note is unknown: the members are client_id, secret_sha256, is_open, max_age, color",
            ),
            (
                r#"[{"client_id":"a","hunter2":"x"}]"#,
                "[0].a member is unknown: the members are client_id, secret_sha256, is_open, max_age, color",
            ),
        ] {
            assert_eq!(parse::<Vec<Entry>>(text).unwrap_err(), expected, "{text}");
        }
        let value =
            serde_json::json!({ "client_id": "hunter2 at line 7", "max_age": "x at line 1" });
        let error = from_value::<Entry>(value).unwrap_err();
        assert_eq!(
            error,
            "max_age must be a number without a sign and a fraction"
        );
    }

    #[test]
    fn a_misspelt_member_is_shown_up_to_its_largest_length() {
        let error = |length: usize| {
            let name = format!("{:-<length$}", "client_id");
            let json = serde_json::json!({ name.as_str(): "a" });
            (from_value::<Entry>(json).unwrap_err(), name)
        };
        let (shown, name) = error(MAX_SHOWN);
        assert_eq!(shown, format!("{name} is unknown: did you mean client_id?"));
        let (shown, _) = error(MAX_SHOWN + 1);
        assert_eq!(shown, "a member is unknown: did you mean client_id?");
    }

    proptest! {
        #[test]
        fn no_value_shows(value in "CANARY[ -~]{0,30}|[ -~]{0,30}CANARY", member in "[a-z_]{1,20}") {
            for json in [
                serde_json::json!([{ "client_id": "a", member.as_str(): value }]),
                serde_json::json!([{ "client_id": "a", "color": value }]),
                serde_json::json!([{ "client_id": "a", "max_age": value }]),
                serde_json::json!([{ "client_id": "a", value.as_str(): 1 }]),
                serde_json::json!(value),
            ] {
                for error in [parse::<Vec<Entry>>(&json.to_string()).err(), from_value::<Vec<Entry>>(json).err()] {
                    prop_assert!(!error.unwrap_or_default().contains("CANARY"));
                }
            }
            prop_assert!(!parse::<Vec<Entry>>(&value).unwrap_err().contains("CANARY"));
        }
    }
}
