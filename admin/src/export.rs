//! `users export`: all data of a user, without secrets and hashes.

use std::io::Write;

use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    clock::rfc3339,
    sessions::StoredSession,
    users::{Edited, Exported, Status, StoredProfile, UserId},
};

use crate::{Admin, AdminError, output::write_json};

/// A user with all stored data. Times are RFC 3339, in UTC.
#[derive(Serialize)]
struct Document {
    id: UserId,
    status: Status,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_signed_in_at: Option<String>,
    /// The profile of the provider of the last sign-in.
    profile: Profile,
    /// The user's own edits.
    edited: Edited,
    metadata: Map<String, Value>,
    roles: Vec<String>,
    claims: Map<String, Value>,
    identities: Vec<Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_link_attempts: Option<LinkAttempts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_unlinked_provider: Option<String>,
    sessions: Vec<Session>,
}

#[derive(Serialize)]
struct Profile {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    email_verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
}

#[derive(Serialize)]
struct Identity {
    provider: String,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    linked_at: String,
}

#[derive(Serialize)]
struct LinkAttempts {
    since: String,
    count: u64,
}

#[derive(Serialize)]
struct Session {
    id: String,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_in_at: Option<String>,
    created_at: String,
    last_used_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<String>,
}

impl From<StoredSession> for Session {
    fn from(session: StoredSession) -> Self {
        let scope = session.scope.as_ref();
        Self {
            id: session.id().to_owned(),
            scope: scope.map(ToString::to_string),
            signed_in_at: session.signed_in_at.map(rfc3339),
            created_at: rfc3339(session.created_at),
            last_used_at: rfc3339(session.last_used_at),
            expires_at: rfc3339(session.expires_at()),
            ended_at: session.ended_at.map(rfc3339),
            ended_by: session.ended_by,
            client_id: session.client_id,
            provider: session.provider,
            audience: session.audience,
            user_agent: session.user_agent,
        }
    }
}

impl Document {
    fn new(exported: Exported, sessions: Vec<StoredSession>) -> Self {
        let user = exported.user;
        let StoredProfile {
            name,
            email,
            email_verified,
            proven_email: _,
            picture,
        } = user.profile;
        let identities = user.identities.into_iter();
        let attempts = user.link_attempts.as_ref();
        Self {
            id: user.id,
            status: user.status,
            created_at: rfc3339(user.created_at),
            last_signed_in_at: exported.signed_in_at.map(rfc3339),
            profile: Profile {
                name,
                email,
                email_verified,
                picture,
            },
            edited: user.edited,
            metadata: user.metadata.0,
            roles: user.roles,
            claims: user.claims.as_map().clone(),
            last_link_attempts: attempts.map(|attempts| LinkAttempts {
                since: rfc3339(attempts.since()),
                count: attempts.count(),
            }),
            last_unlinked_provider: user.unlinked.map(|unlinked| unlinked.provider().to_owned()),
            identities: identities
                .map(|(provider, identity)| Identity {
                    provider,
                    subject: identity.subject,
                    username: identity.username,
                    linked_at: rfc3339(identity.linked_at),
                })
                .collect(),
            sessions: sessions.into_iter().map(Session::from).collect(),
        }
    }
}

impl Admin {
    pub(crate) async fn export(
        &self,
        id: UserId,
        json: bool,
        out: &mut (dyn Write + Send),
    ) -> Result<(), AdminError> {
        let exported = self.users.export(id).await?;
        let exported = exported.ok_or(AdminError::NoSuchUser(id))?;
        let document = Document::new(exported, self.sessions.stored(id).await?);
        if json {
            write_json(out, &[document])?;
        } else {
            let text = serde_json::to_string_pretty(&document).map_err(std::io::Error::from)?;
            writeln!(out, "{text}")?;
        }
        Ok(())
    }
}
