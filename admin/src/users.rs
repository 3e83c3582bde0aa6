//! The commands for users.

use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, IsTerminal as _, Write},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use shared::users::{OwnClaims, Roles, Status, Unreadable, User, UserId};

use crate::{
    Admin, AdminError, Command, Connection, TableCommand, UsersCommand,
    output::{Shown, write_json, write_one, write_table},
};

impl Admin {
    /// Runs `command` and writes its output to `out`.
    ///
    /// # Errors
    /// The command failed. With several users, those before the failed one are done.
    pub async fn run(
        &self,
        command: Command,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        let connection = Connection::none();
        let on_table = async |command, out: &mut (dyn Write + Send)| {
            self.run_on_table(command, json, out).await
        };
        command.run(&connection, json, out, on_table).await
    }

    /// Runs a command that needs a table and writes its output to `out`.
    ///
    /// # Errors
    /// The command failed. With several users, those before the failed one are done.
    pub async fn run_on_table(
        &self,
        command: TableCommand,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        // In boxes: the future of a command is as large as the largest of its branches.
        let command = match command {
            TableCommand::Users(command) => command,
            TableCommand::Keys(command) => return Box::pin(self.keys(command, json, out)).await,
            TableCommand::Clients(command) => {
                return Box::pin(self.run_clients(command, json, out)).await;
            }
            TableCommand::Providers(command) => {
                return Box::pin(self.run_providers(command, json, out)).await;
            }
            TableCommand::Migrate(args) => return Box::pin(self.migrate(&args, json, out)).await,
        };
        self.require_table()?;
        match command {
            UsersCommand::List {
                role,
                disabled,
                limit,
            } => {
                let fits = |user: &User| {
                    let has = |role: &String| user.roles.contains(role);
                    role.as_ref().is_none_or(has) && (!disabled || user.status == Status::Disabled)
                };
                let found = self.scan(fits, limit.unwrap_or(usize::MAX), json).await?;
                write_all(out, found.users, json)?;
                all_read(found.unreadable)
            }
            UsersCommand::Find { text } => {
                let found = self.find(&text, json).await?;
                if found.users.is_empty() && found.unreadable.is_empty() {
                    return Err(AdminError::NobodyFits(text));
                }
                write_all(out, found.users, json)?;
                all_read(found.unreadable)
            }
            UsersCommand::Show { id } => {
                let user = self.users.find(id).await?;
                let user = user.ok_or(AdminError::NoSuchUser(id))?;
                let mut sessions = self.sessions.list(id).await?;
                sessions.retain(|session| user.admits(session.session));
                let shown = Shown::from(user).with_sessions(sessions);
                write_user(out, shown, json)
            }
            UsersCommand::Roles {
                id,
                add,
                remove,
                set,
            } => {
                let change = RoleChange { add, remove, set };
                let user = self.users.entitle(id, |user| {
                    Ok::<_, AdminError>((change.applied_to(user)?, user.claims.clone()))
                });
                let user = user.await?.ok_or(AdminError::NoSuchUser(id))?;
                write_user(out, user.into(), json)
            }
            UsersCommand::Claims { id, set, remove } => {
                let user = self.users.entitle(id, |user| {
                    let roles = Roles::new(user.roles.iter().cloned())?;
                    Ok::<_, AdminError>((roles, claims_of(user, &set, &remove)?))
                });
                let user = user.await?.ok_or(AdminError::NoSuchUser(id))?;
                write_user(out, user.into(), json)
            }
            UsersCommand::Disable { ids } => {
                for id in ids {
                    let user = self.users.disable(id).await?;
                    let user = user.ok_or(AdminError::NoSuchUser(id))?;
                    write_change(out, user, json, "disabled; all sessions have ended")?;
                }
                Ok(())
            }
            UsersCommand::Enable { ids } => {
                for id in ids {
                    let user = self.users.enable(id).await?;
                    let user = user.ok_or(AdminError::NoSuchUser(id))?;
                    write_change(out, user, json, "enabled")?;
                }
                Ok(())
            }
            UsersCommand::SignOut(args) => Box::pin(self.sign_out(args, json, out)).await,
            UsersCommand::Import(args) => Box::pin(self.import(args, json, out)).await,
            UsersCommand::Export { id } => Box::pin(self.export(id, json, out)).await,
            UsersCommand::Delete { ids, yes } => {
                if !yes {
                    confirm_deletion(&ids)?;
                }
                for id in ids {
                    self.delete(id, json, out).await?;
                }
                Ok(())
            }
        }
    }

    async fn delete(
        &self,
        id: UserId,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        let was_there = self.users.remove(id).await?;
        // Also for a deleted user: an interrupted deletion leaves sessions behind.
        self.sessions.delete_all(id).await?;
        if !was_there {
            return Err(AdminError::NoSuchUser(id));
        }
        if json {
            write_json(out, &[json!({ "id": id, "deleted": true })])?;
        } else {
            writeln!(out, "{id}  deleted")?;
        }
        Ok(())
    }

    /// An id is read directly, without a scan.
    async fn find(&self, text: &str, json: bool) -> Result<Found, AdminError> {
        match text.parse() {
            Ok(id) => Ok(Found {
                users: self.users.find(id).await?.into_iter().collect(),
                unreadable: Vec::new(),
            }),
            Err(_) => self.scan(|user| fits(user, text), usize::MAX, json).await,
        }
    }

    async fn scan(
        &self,
        fits: impl Fn(&User) -> bool,
        limit: usize,
        quiet: bool,
    ) -> Result<Found, AdminError> {
        let progress = self.progress(quiet).await;
        let mut found = Vec::new();
        let mut unreadable = Vec::new();
        let mut from = None;
        loop {
            let page = self.users.page(from).await?;
            progress.inc(page.scanned);
            found.extend(page.users.into_iter().filter(&fits));
            unreadable.extend(page.unreadable);
            progress.set_message(format!("{} found", found.len()));
            from = page.next;
            if from.is_none() || found.len() >= limit {
                break;
            }
        }
        progress.finish_and_clear();
        found.truncate(limit);
        found.sort_by_key(|user| user.id);
        Ok(Found {
            users: found,
            unreadable,
        })
    }

    /// Returns a progress bar, which is shown only if standard error is a terminal.
    pub(crate) async fn progress(&self, quiet: bool) -> ProgressBar {
        if quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let (bar, template) = match self.estimate().await.filter(|count| *count > 0) {
            Some(count) => (
                ProgressBar::new(count),
                "{bar:30} {pos}/{len} items, {msg} {eta}",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {pos} items, {msg}"),
        };
        let style = ProgressStyle::with_template(template);
        style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
    }
}

/// The matching users, and the number of items that cannot be read.
struct Found {
    users: Vec<User>,
    unreadable: Vec<Unreadable>,
}

/// A script must notice that the list is incomplete.
pub(crate) fn all_read(unreadable: Vec<Unreadable>) -> Result<(), AdminError> {
    if unreadable.is_empty() {
        Ok(())
    } else {
        Err(AdminError::Unreadable(unreadable))
    }
}

fn fits(user: &User, text: &str) -> bool {
    // ASCII case folding only: a search for an address or a login must not find a different one that Unicode folds
    // into it. A display name identifies no user.
    let is = |other: &str| other.eq_ignore_ascii_case(text);
    let mut identities = user.identities.iter();
    user.profile.email.as_deref().is_some_and(is)
        || identities.any(|(provider, identity)| {
            identity.username.as_deref().is_some_and(is)
                || is_identity(text, provider, &identity.subject)
        })
        || user
            .name()
            .is_some_and(|name| name.to_lowercase().contains(&text.to_lowercase()))
}

/// Returns whether `text` is `<provider>:<subject>`. The name of a provider can contain a colon, as `app:nextjs` does.
fn is_identity(text: &str, provider: &str, subject: &str) -> bool {
    let rest = text.strip_prefix(provider);
    rest.and_then(|rest| rest.strip_prefix(':')) == Some(subject)
}

struct RoleChange {
    add: Vec<String>,
    remove: Vec<String>,
    set: Option<String>,
}

impl RoleChange {
    fn applied_to(&self, user: &User) -> Result<Roles, AdminError> {
        let mut roles: BTreeSet<String> = match &self.set {
            Some(set) => set
                .split(',')
                .filter(|role| !role.is_empty())
                .map(str::to_owned)
                .collect(),
            None => user.roles.iter().cloned().collect(),
        };
        roles.retain(|role| !self.remove.contains(role));
        roles.extend(self.add.iter().cloned());
        Ok(Roles::new(roles)?)
    }
}

fn claims_of(
    user: &User,
    set: &[(String, Value)],
    remove: &[String],
) -> Result<OwnClaims, AdminError> {
    let mut claims: Map<String, Value> = user.claims.as_map().clone();
    for name in remove {
        claims.remove(name);
    }
    claims.extend(set.iter().cloned());
    Ok(OwnClaims::new(claims)?)
}

fn confirm_deletion(ids: &[UserId]) -> Result<(), AdminError> {
    let (expected, what) = match ids {
        [one] => (one.to_string(), "the id"),
        several => (several.len().to_string(), "the number of users"),
    };
    let question = format!("This cannot be undone. Type {what} to delete: ");
    confirm(&question, &expected, AdminError::NotConfirmed)
}

/// Asks `question` and compares the answer with `expected`.
pub(crate) fn confirm(
    question: &str,
    expected: &str,
    refused: fn(&'static str) -> AdminError,
) -> Result<(), AdminError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let why = "standard input is not a terminal, so the command cannot ask; add --yes";
        return Err(refused(why));
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let mut typed = String::new();
    stdin.lock().read_line(&mut typed)?;
    if typed.trim() == expected {
        Ok(())
    } else {
        Err(refused("the answer is not the expected one"))
    }
}

fn write_all(out: &mut dyn Write, users: Vec<User>, json: bool) -> Result<(), AdminError> {
    let users: Vec<Shown> = users.into_iter().map(Shown::from).collect();
    if json {
        write_json(out, &users)?;
    } else {
        write_table(out, &users)?;
    }
    Ok(())
}

pub(crate) fn write_user(out: &mut dyn Write, user: Shown, json: bool) -> Result<(), AdminError> {
    if json {
        write_json(out, &[user])?;
    } else {
        write_one(out, &user)?;
    }
    Ok(())
}

fn write_change(out: &mut dyn Write, user: User, json: bool, what: &str) -> Result<(), AdminError> {
    if json {
        return write_user(out, user.into(), json);
    }
    writeln!(out, "{}  {what}", user.id)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_named_by_provider_and_subject_with_any_colons() {
        for (text, provider, subject) in [
            ("github:583231", "github", "583231"),
            ("app:nextjs:ada", "app:nextjs", "ada"),
            ("app:nextjs:a:b", "app:nextjs", "a:b"),
            ("google:a:b", "google", "a:b"),
        ] {
            assert!(is_identity(text, provider, subject), "{text}");
        }
        for (text, provider, subject) in [
            ("github:5832311", "github", "583231"),
            ("githubb:583231", "github", "583231"),
            ("github583231", "github", "583231"),
            ("GitHub:583231", "github", "583231"),
            ("app:nextjs:ada", "app", "ada"),
        ] {
            assert!(!is_identity(text, provider, subject), "{text}");
        }
    }
}
