//! `users import`: users of another system, as JSON lines.

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write},
};

use clap::Args;
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value, json};
use shared::{
    clock::{Timestamp, parse_rfc3339},
    config::{Group, SignUps},
    json,
    provider::{Account, ImportedProfile, Imports},
    stored::{SettingsStore, StoredError},
    users::{Import, Imported, OwnClaims, Roles, Status, UserId},
};

use crate::{
    Admin, AdminError, SettingsArgs,
    output::write_json,
    settings::{KEYS_TABLE_NAME, Variables},
};

/// The number of users who are written at the same time.
const PARALLEL: usize = 16;
/// The longest line, in bytes, which is more than the item of a user may have.
const MAX_LINE: usize = 64 * 1024;
/// The limits of a line, which are more than those of its claims.
const LIMITS: json::Limits = json::Limits {
    depth: 64,
    members: 64,
};

/// The arguments of `users import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The file, with one user in each line; `-` for standard input.
    pub file: String,
    /// The settings of `token-exchange`, whose providers the users sign in with.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Check each line and read what is in the table, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    identities: Vec<WrittenAccount>,
    #[serde(default)]
    profile: WrittenProfile,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    disabled: bool,
    created_at: Option<String>,
}

/// An account: `"<provider>:<subject>"`, or an object.
#[derive(Debug, PartialEq)]
struct WrittenAccount {
    provider: String,
    subject: String,
    issuer: Option<String>,
    username: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountObject {
    provider: String,
    subject: String,
    issuer: Option<String>,
    username: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenProfile {
    name: Option<String>,
    email: Option<String>,
    email_verified: bool,
    picture: Option<String>,
}

impl<'de> Deserialize<'de> for WrittenAccount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = WrittenAccount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text like github:583231, or an object with provider and subject")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WrittenAccount, E> {
                // The name of an app contains a colon itself.
                let begin = if text.starts_with("app:") { 4 } else { 0 };
                let rest = text.get(begin..).unwrap_or_default();
                let Some(colon) = rest.find(':') else {
                    return Err(E::invalid_value(de::Unexpected::Other("text"), &self));
                };
                let (provider, subject) = text.split_at(begin + colon);
                Ok(WrittenAccount {
                    provider: provider.to_owned(),
                    subject: subject.get(1..).unwrap_or_default().to_owned(),
                    issuer: None,
                    username: None,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WrittenAccount, A::Error> {
                let written = AccountObject::deserialize(MapAccessDeserializer::new(map))?;
                Ok(WrittenAccount {
                    provider: written.provider,
                    subject: written.subject,
                    issuer: written.issuer,
                    username: written.username,
                })
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Line {
    fn parse(text: &str) -> Result<Self, String> {
        let line = json::parse(text)?;
        // The other types refuse a member that is there twice themselves, and name it.
        let unambiguous = json::reject_ambiguous(text.as_bytes(), LIMITS);
        unambiguous.map_err(|error| format!("claims: {error}"))?;
        Ok(line)
    }
}

/// Makes users of the lines.
struct Reader<'a> {
    imports: &'a Imports,
    now: Timestamp,
    /// The ids and identities of earlier lines, with the number of the line.
    seen: HashMap<String, u64>,
}

impl Reader<'_> {
    fn user(&mut self, number: u64, line: Result<Vec<u8>, TooLong>) -> Result<Import, String> {
        let line = line.map_err(|TooLong| format!("the line has more than {MAX_LINE} bytes"))?;
        let text = str::from_utf8(&line)
            .map_err(|error| format!("byte {} is not UTF-8", error.valid_up_to() + 1))?;
        let line = Line::parse(text)?;
        let id = line.id.as_deref().map(|id| {
            id.parse::<UserId>().map_err(|_| {
                "id must be a UUID of version 7 in lower case: leave id out, and keep another id as a claim"
            })
        });
        let id = id.transpose()?;
        let accounts: Vec<Account<'_>> = line.identities.iter().map(Account::from).collect();
        let profile = ImportedProfile {
            name: line.profile.name.as_deref(),
            email: line.profile.email.as_deref(),
            email_verified: line.profile.email_verified,
            picture: line.profile.picture.as_deref(),
        };
        let identities = self.imports.identities(&accounts, profile);
        let identities = identities.map_err(|error| error.to_string())?;
        let mut user = Import::new(id, identities).map_err(|error| error.to_string())?;
        user.roles = Roles::new(line.roles).map_err(|error| error.to_string())?;
        user.claims = OwnClaims::new(line.claims).map_err(|error| error.to_string())?;
        if line.disabled {
            user.status = Status::Disabled;
        }
        user.created_at = line
            .created_at
            .as_deref()
            .map(|at| self.time(at))
            .transpose()?;
        self.see(number, id, &user)?;
        Ok(user)
    }

    fn time(&self, text: &str) -> Result<Timestamp, String> {
        let at = parse_rfc3339(text).filter(|at| *at <= self.now);
        at.ok_or_else(|| {
            "created_at must be a time in the past, like 2024-02-29T12:00:00Z".to_owned()
        })
    }

    /// Lines are written in parallel, so that of two with the same id the later one could win.
    fn see(&mut self, number: u64, id: Option<UserId>, user: &Import) -> Result<(), String> {
        let identities = user.identities().iter().enumerate();
        let identities = identities
            .map(|(nth, one)| (format!("identities[{nth}]"), one.key().as_str().to_owned()));
        let names: Vec<(String, String)> = id
            .map(|id| ("id".to_owned(), id.to_string()))
            .into_iter()
            .chain(identities)
            .collect();
        for (what, name) in &names {
            if let Some(earlier) = self.seen.get(name) {
                return Err(format!("{what} is the same as in line {earlier}"));
            }
        }
        self.seen
            .extend(names.into_iter().map(|(_, name)| (name, number)));
        Ok(())
    }
}

impl<'a> From<&'a WrittenAccount> for Account<'a> {
    fn from(account: &'a WrittenAccount) -> Self {
        Self {
            provider: &account.provider,
            issuer: account.issuer.as_deref(),
            subject: &account.subject,
            username: account.username.as_deref(),
        }
    }
}

/// A line that is longer than the limit.
#[derive(Debug, PartialEq)]
struct TooLong;

/// The lines of a file with their numbers, in bounded memory. Blank lines are left out.
struct Lines<R> {
    input: R,
    number: u64,
    progress: ProgressBar,
    failed: Option<io::Error>,
}

impl<R: BufRead> Lines<R> {
    fn read(&mut self) -> io::Result<Option<Result<Vec<u8>, TooLong>>> {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX) + 1;
        let read = self
            .input
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)?;
        self.progress.inc(u64::try_from(read).unwrap_or_default());
        if read == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > MAX_LINE {
            let skipped = self.skip_line()?;
            self.progress.inc(skipped);
            return Ok(Some(Err(TooLong)));
        }
        Ok(Some(Ok(line)))
    }

    /// Reads the rest of a line and returns its length.
    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let bytes = self.input.fill_buf()?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (length, is_end) = match end {
                Some(end) => (end + 1, true),
                None => (bytes.len(), bytes.is_empty()),
            };
            self.input.consume(length);
            skipped += u64::try_from(length).unwrap_or_default();
            if is_end {
                return Ok(skipped);
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = (u64, Result<Vec<u8>, TooLong>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read() {
                Ok(line) => {
                    let line = line?;
                    self.number += 1;
                    let is_blank = |line: &Vec<u8>| line.trim_ascii().is_empty();
                    if !line.as_ref().is_ok_and(is_blank) {
                        return Some((self.number, line));
                    }
                }
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            }
        }
    }
}

/// The numbers of users.
#[derive(Default)]
struct Counts {
    imported: u64,
    before: u64,
    refused: u64,
}

impl Admin {
    /// Returns the providers of the settings, or those of the keys table if the settings name it as their source.
    async fn imports(&self, variables: &Variables) -> Result<Imports, AdminError> {
        const GROUP: Group = Group::Providers;
        let env = variables.environment();
        if !GROUP.is_stored(&env)? {
            return Ok(Imports::from_env(&env)?);
        }
        let table = self.keys_table.as_deref();
        let table = table.or_else(|| variables.get(KEYS_TABLE_NAME));
        let table = table.ok_or(AdminError::NoKeysTable)?.to_owned();
        let store = SettingsStore::new(self.client.clone(), table);
        let found = store.find(GROUP).await?;
        let found = found.ok_or(StoredError::Missing(GROUP.name()))?;
        let imports = Imports::from_env(&env.with_group(GROUP, found.settings));
        Ok(imports.map_err(|cause| StoredError::Invalid {
            item: GROUP.name(),
            version: found.version.to_string(),
            cause: cause.to_string(),
        })?)
    }

    pub(crate) async fn import(
        &self,
        args: ImportArgs,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        let variables = self.settings_of(&args.settings)?;
        if variables.get("TABLE_NAME").is_none() {
            return Err(AdminError::Settings(
                "no settings: give --settings with the environment variables of the deployed token-exchange \
                 (docs/import.md), so that the users are stored where its providers find them"
                    .to_owned(),
            ));
        }
        let sign_ups = SignUps::from_env(&variables.environment())?;
        let imports = self.imports(&variables).await?;
        let failed = |error| AdminError::Input {
            file: args.file.clone(),
            error,
        };
        let (input, length): (Box<dyn BufRead + Send>, u64) = if args.file == "-" {
            (Box::new(BufReader::new(io::stdin())), 0)
        } else {
            let file = File::open(&args.file).map_err(failed)?;
            let length = file.metadata().map_or(0, |file| file.len());
            (Box::new(BufReader::new(file)), length)
        };
        let progress = progress(length, json);
        let mut lines = Lines {
            input,
            number: 0,
            progress: progress.clone(),
            failed: None,
        };
        let mut reader = Reader {
            imports: &imports,
            now: self.clock.now(),
            seen: HashMap::new(),
        };
        let mut counts = Counts::default();
        {
            let work = lines.by_ref().map(|(number, line)| {
                let user = reader.user(number, line);
                let sign_ups = &sign_ups;
                async move {
                    let written = match user {
                        Ok(user) => self.users.import(&user, sign_ups, args.dry_run).await,
                        Err(problem) => return (number, Ok(Err(problem))),
                    };
                    (number, written.map(Ok))
                }
            });
            // In the order of the file, so that a stopped import can name the line.
            let mut work = stream::iter(work).buffered(PARALLEL);
            while let Some((line, done)) = work.next().await {
                let problem = match done {
                    Ok(Ok(Imported::New(_))) => {
                        counts.imported += 1;
                        continue;
                    }
                    Ok(Ok(Imported::Before(_))) => {
                        counts.before += 1;
                        continue;
                    }
                    Ok(Ok(Imported::Refused(taken))) => taken.to_string(),
                    Ok(Err(problem)) => problem,
                    Err(error) => return Err(AdminError::ImportStopped { error, line }),
                };
                counts.refused += 1;
                if json {
                    write_json(out, &[json!({ "line": line, "error": problem })])?;
                } else {
                    progress.suspend(|| writeln!(out, "line {line}: {problem}"))?;
                }
            }
        }
        progress.finish_and_clear();
        if let Some(error) = lines.failed {
            return Err(failed(error));
        }
        write_counts(out, &counts, args.dry_run, json)?;
        match counts.refused {
            0 => Ok(()),
            refused => Err(AdminError::NotImported(refused)),
        }
    }
}

fn write_counts(out: &mut dyn Write, counts: &Counts, dry_run: bool, json: bool) -> io::Result<()> {
    let Counts {
        imported,
        before,
        refused,
    } = counts;
    if json {
        let counts = json!({
            "imported": imported, "before": before, "refused": refused, "dry_run": dry_run,
        });
        return write_json(out, &[counts]);
    }
    let verb = if dry_run {
        "would be imported"
    } else {
        "imported"
    };
    writeln!(
        out,
        "{verb}: {imported}, there before: {before}, refused: {refused}"
    )
}

fn progress(length: u64, quiet: bool) -> ProgressBar {
    if quiet || length == 0 || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {eta}");
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(text: &str) -> Result<WrittenAccount, String> {
        json::parse(text)
    }

    #[test]
    fn an_account_is_a_text_or_an_object() {
        let of = |provider: &str, subject: &str| WrittenAccount {
            provider: provider.to_owned(),
            subject: subject.to_owned(),
            issuer: None,
            username: None,
        };
        for (text, expected) in [
            (r#""github:583231""#, of("github", "583231")),
            (r#""google:a:b""#, of("google", "a:b")),
            (r#""app:nextjs:ada""#, of("app:nextjs", "ada")),
            (r#""app:nextjs:a:b""#, of("app:nextjs", "a:b")),
            (r#"{"provider":"github","subject":"1"}"#, of("github", "1")),
        ] {
            assert_eq!(account(text), Ok(expected), "{text}");
        }
        for text in [
            r#""github""#,
            r#""app:nextjs""#,
            "1",
            "[]",
            r#"{"provider":"github"}"#,
        ] {
            assert!(account(text).is_err(), "{text}");
        }
    }

    #[test]
    fn t185_a_member_that_is_there_twice_is_refused_at_each_depth() {
        let read = |text: &str| {
            let line = format!(r#"{{"identities":["github:1"],"claims":{text}}}"#);
            Line::parse(&line).map(|line| line.claims)
        };
        let same = r#"{"a":[1,-2,3.5,true,null,"x",{"b":{}}]}"#;
        assert_eq!(Value::Object(read(same).unwrap()).to_string(), same);
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"c":2,"b":3}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains("there twice"), "{refused}");
        }
    }

    fn lines(input: &[u8]) -> Vec<(u64, Result<Vec<u8>, TooLong>)> {
        let lines = Lines {
            input: BufReader::with_capacity(7, input),
            number: 0,
            progress: ProgressBar::hidden(),
            failed: None,
        };
        lines.collect()
    }

    #[test]
    fn t185_a_line_of_any_length_is_read_in_bounded_memory_and_hides_no_other() {
        let fits = "x".repeat(MAX_LINE);
        let input = format!("a\n\n \r\n{fits}\n{fits}y\nb\n{}\nc", "z".repeat(1 << 20));
        let of = |line: &str| Ok(line.as_bytes().to_vec());
        assert_eq!(
            lines(input.as_bytes()),
            [
                (1, of("a")),
                (4, of(&fits)),
                (5, Err(TooLong)),
                (6, of("b")),
                (7, Err(TooLong)),
                (8, of("c"))
            ]
        );
        assert_eq!(lines(b""), []);
        assert_eq!(lines(format!("{fits}y").as_bytes()), [(1, Err(TooLong))]);
    }
}
