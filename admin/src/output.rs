//! The output of users, as a table or as JSON.

use std::io::{self, Write};

use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    clock::rfc3339,
    sessions::Session,
    text::is_hidden,
    users::{Status, User},
};

/// A user as the command shows it. Times are RFC 3339, in UTC.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    id: String,
    name: Option<String>,
    email: Option<String>,
    email_verified: bool,
    status: Status,
    roles: Vec<String>,
    claims: Map<String, Value>,
    identities: Vec<ShownIdentity>,
    created_at: String,
    /// Present only if the command reads them.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<Vec<ShownSession>>,
}

#[derive(Debug, Serialize)]
struct ShownIdentity {
    provider: String,
    subject: String,
    username: Option<String>,
    linked_at: String,
}

#[derive(Debug, Serialize)]
struct ShownSession {
    id: String,
    client_id: String,
    user_agent: Option<String>,
    created_at: String,
    last_used_at: String,
    expires_at: String,
}

impl Shown {
    pub(crate) fn with_sessions(mut self, sessions: Vec<Session>) -> Self {
        let shown = |session: Session| ShownSession {
            id: session.session.id.to_string(),
            client_id: session.client_id,
            user_agent: session.user_agent,
            created_at: rfc3339(session.created_at),
            last_used_at: rfc3339(session.last_used_at),
            expires_at: rfc3339(session.expires_at),
        };
        self.sessions = Some(sessions.into_iter().map(shown).collect());
        self
    }
}

impl From<User> for Shown {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name().map(str::to_owned),
            status: user.status,
            claims: user.claims.as_map().clone(),
            created_at: rfc3339(user.created_at),
            email: user.profile.email,
            email_verified: user.profile.email_verified,
            roles: user.roles,
            identities: user
                .identities
                .into_iter()
                .map(|(provider, identity)| ShownIdentity {
                    provider,
                    subject: identity.subject,
                    username: identity.username,
                    linked_at: rfc3339(identity.linked_at),
                })
                .collect(),
            sessions: None,
        }
    }
}

/// Writes one line of JSON for each user.
pub(crate) fn write_json(out: &mut dyn Write, values: &[impl Serialize]) -> io::Result<()> {
    for value in values {
        serde_json::to_writer(&mut *out, value)?;
        writeln!(out)?;
    }
    Ok(())
}

/// Writes one row for each user.
pub(crate) fn write_table(out: &mut dyn Write, users: &[Shown]) -> io::Result<()> {
    let mut table = table(&[
        "ID",
        "NAME",
        "E-MAIL",
        "STATUS",
        "ROLES",
        "IDENTITIES",
        "CREATED",
    ]);
    for user in users {
        let identities = user.identities.iter().map(ShownIdentity::brief);
        table.add_row([
            user.id.clone(),
            cell(user.name.as_deref()),
            cell(user.email.as_deref()),
            status(user.status).to_owned(),
            user.roles.join(" "),
            identities.collect::<Vec<_>>().join(" "),
            user.created_at.clone(),
        ]);
    }
    writeln!(out, "{}", table.trim_fmt())
}

/// Writes all data of one user.
pub(crate) fn write_one(out: &mut dyn Write, user: &Shown) -> io::Result<()> {
    let verified = if user.email_verified {
        ""
    } else {
        " (not verified)"
    };
    let email = user
        .email
        .as_deref()
        .map(|email| format!("{email}{verified}"));
    writeln!(out, "id        {}", user.id)?;
    writeln!(out, "name      {}", cell(user.name.as_deref()))?;
    writeln!(out, "e-mail    {}", cell(email.as_deref()))?;
    writeln!(out, "status    {}", status(user.status))?;
    writeln!(out, "created   {}", user.created_at)?;
    writeln!(out, "roles     {}", user.roles.join(" "))?;
    for (name, value) in &user.claims {
        writeln!(out, "claim     {name} = {}", cell(Some(&value.to_string())))?;
    }
    for identity in &user.identities {
        let (brief, linked_at) = (identity.brief(), &identity.linked_at);
        writeln!(out, "identity  {brief}, linked {linked_at}")?;
    }
    let Some(sessions) = &user.sessions else {
        return Ok(());
    };
    if sessions.is_empty() {
        return writeln!(out, "sessions  none");
    }
    let mut table = table(&[
        "SESSION",
        "CLIENT",
        "USER AGENT",
        "CREATED",
        "LAST USED",
        "ENDS",
    ]);
    for session in sessions {
        table.add_row([
            session.id.clone(),
            cell(Some(&session.client_id)),
            cell(session.user_agent.as_deref()),
            session.created_at.clone(),
            session.last_used_at.clone(),
            session.expires_at.clone(),
        ]);
    }
    writeln!(out, "\n{}", table.trim_fmt())
}

impl ShownIdentity {
    fn brief(&self) -> String {
        let (provider, subject) = (&self.provider, cell(Some(&self.subject)));
        match &self.username {
            Some(username) => format!("{provider}:{subject} ({})", cell(Some(username))),
            None => format!("{provider}:{subject}"),
        }
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Disabled => "disabled",
    }
}

/// Replaces characters that would control the terminal or change the direction of a user's text.
pub(crate) fn cell(text: Option<&str>) -> String {
    text.unwrap_or("-").replace(is_hidden, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_person_chose_steers_the_terminal() {
        assert_eq!(
            cell(Some("a\u{1b}[31mb\u{202e}c\nd")),
            "a\u{fffd}[31mb\u{fffd}c\u{fffd}d"
        );
        for c in "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
            assert_eq!(cell(Some(&format!("a{c}b"))), "a\u{fffd}b", "{c:?}");
        }
        assert_eq!(cell(Some("李小龙 👩‍👩‍👧")), "李小龙 👩‍👩‍👧");
        assert_eq!(cell(None), "-");
    }
}
