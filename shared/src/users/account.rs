//! Changes of the own account: edit, sign out everywhere, delete.

use aws_sdk_dynamodb::types::ReturnValue;
use thiserror::Error;

use super::{
    Edited, LinkedIdentity, Metadata, Patch, PatchError, User, UserId, Users, admits,
    same_email::has_email,
};
use crate::{
    dynamodb::{
        Attempts, Expression, Outcome, Part, StoreError, Transacted, decode, encode, number,
        string,
        table::{identity_key, session_key, user_key},
    },
    ids::SessionRef,
    sessions::alive,
};

/// The sessions to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// All sessions.
    All,
    /// All sessions except that of the request.
    Others,
}

/// Reasons that an account is not changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// The user is deleted or disabled, or the session of the request has ended.
    #[error("the user is deleted, disabled, or signed out")]
    NotSignedIn,
    /// The change is not accepted.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The table cannot be used. The change can be repeated safely.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Users {
    /// Applies `patch` to the user and returns the changed user.
    ///
    /// Parallel changes are applied one after the other, so that none is lost.
    ///
    /// # Errors
    /// The user is not signed in with `session`, the patch is not accepted, or the table cannot be used.
    pub async fn edit(
        &self,
        id: UserId,
        session: SessionRef,
        patch: &Patch,
    ) -> Result<User, ChangeError> {
        let mut attempts = Attempts::at("the user");
        loop {
            let user = self.find_signed_in(id, session).await?;
            let user = user.ok_or(ChangeError::NotSignedIn)?;
            let (edited, metadata) = patch.apply(&user)?;
            if edited == user.edited && metadata == user.metadata {
                return Ok(user);
            }
            if let Some(user) = self.put_edits(&user, session, &edited, &metadata).await? {
                return Ok(user);
            }
            attempts.again().await?;
        }
    }

    /// Writes these, and returns the user as they are then. Returns `None` if the user was changed meanwhile.
    async fn put_edits(
        &self,
        user: &User,
        session: SessionRef,
        edited: &Edited,
        metadata: &Metadata,
    ) -> Result<Option<User>, StoreError> {
        let change =
            Expression::new("SET #edited = :edited, #metadata = :metadata, #revision = :next")
                .value(":edited", encode(edited)?)
                .value(":metadata", encode(metadata)?)
                .value(":next", number(user.revision + 1));
        let is_unchanged =
            Expression::new("(#revision = :revision OR attribute_not_exists(#revision))")
                .value(":revision", number(user.revision));
        let condition = admits(session).and(is_unchanged);
        self.change(user.id, change, condition).await
    }

    /// Changes a user, and returns them as they are then. Returns `None` if the condition fails.
    pub(super) async fn change(
        &self,
        id: UserId,
        change: Expression,
        condition: Expression,
    ) -> Result<Option<User>, StoreError> {
        let returned = Some(ReturnValue::AllNew);
        let updated = self.table.update(user_key(id), change, condition, returned);
        match updated.await? {
            Outcome::Done(item) => decode(item).map(Some),
            Outcome::Failed(_) => Ok(None),
        }
    }

    /// Ends any number of the user's sessions with one write. A repetition changes nothing if the request ended all
    /// sessions or has the same `key`.
    ///
    /// # Errors
    /// The user is not signed in with `session`, or the table cannot be written.
    pub async fn sign_out(
        &self,
        id: UserId,
        session: SessionRef,
        leave: Leave,
        key: &str,
    ) -> Result<(), ChangeError> {
        let seen = self.see(id, session, None).await?;
        let user = seen.user.as_ref();
        if user.is_some_and(|user| is_signed_out(user, session, leave, key)) {
            return Ok(());
        }
        seen.signed_in(session).ok_or(ChangeError::NotSignedIn)?;
        let kept = match leave {
            Leave::All => " REMOVE #kept_session",
            Leave::Others => ", #kept_session = :session",
        };
        let change = Expression::new(format!(
            "SET #session_version = #session_version + :one, #signed_out_in = :session, \
             #signed_out_by = :key{kept}"
        ))
        .value(":one", number(1_u64))
        .value(":key", string(key))
        .value(":session", string(session.id));
        let is_first =
            Expression::new("(attribute_not_exists(#signed_out_by) OR #signed_out_by <> :key)");
        let condition = admits(session).and(is_first).returning_item();
        let updated = self.table.update(user_key(id), change, condition, None);
        match updated.await? {
            Outcome::Done(_) => {
                let reason = match leave {
                    Leave::All => "signed_out_everywhere",
                    Leave::Others => "signed_out_elsewhere",
                };
                tracing::info!(event = "session.ended", session_id = %session.id, user_id = %id, reason);
                Ok(())
            }
            Outcome::Failed(item) => {
                let user: Option<User> = item.map(decode).transpose()?;
                if user.is_some_and(|user| is_signed_out(&user, session, leave, key)) {
                    Ok(())
                } else {
                    Err(ChangeError::NotSignedIn)
                }
            }
        }
    }

    /// Deletes the user and the identities in one transaction. A user who does not exist counts as deleted. The items
    /// of the sessions open nothing any more; [`Sessions::delete_all`] deletes them.
    ///
    /// [`Sessions::delete_all`]: crate::sessions::Sessions::delete_all
    ///
    /// # Errors
    /// The user is not signed in with `session`, or the table cannot be used.
    pub async fn delete(&self, id: UserId, session: SessionRef) -> Result<(), ChangeError> {
        let mut attempts = Attempts::at("the user");
        loop {
            let seen = self.see(id, session, None).await?;
            if seen.user.is_none() {
                return Ok(());
            }
            let user = seen.signed_in(session).ok_or(ChangeError::NotSignedIn)?;
            let check = self.still_alive(id, session);
            if self.delete_all_of(&user, Some(check)).await? {
                tracing::info!(event = "user.deleted", user_id = %id);
                return Ok(());
            }
            attempts.again().await?;
        }
    }

    /// Returns `false` if the user was changed meanwhile, or `check` does not hold.
    pub(super) async fn delete_all_of(
        &self,
        user: &User,
        check: Option<Part>,
    ) -> Result<bool, StoreError> {
        let (identities, email) = (user.identities.values(), user.email_key.iter());
        let parts = [self.deletion_of_user(user)]
            .into_iter()
            .chain(check)
            .chain(identities.map(|identity| self.deletion_of_identity(user.id, identity)))
            .chain(email.map(|email| self.deletion_of_email(email, user.id)));
        let written = self.table.transact(parts).await?;
        Ok(matches!(written, Transacted::Done))
    }

    /// No identity that was linked meanwhile may outlive its user, and a user who was signed out meanwhile is not
    /// deleted.
    fn deletion_of_user(&self, user: &User) -> Part {
        let text = "#status = :status AND #session_version = :session_version AND size(#identities) = :count";
        let mut condition = Expression::new(text)
            .value(":status", encode(user.status)?)
            .value(":session_version", number(user.session_version))
            .value(":count", number(user.identities.len() as u64))
            .and(has_email(user.email_key.as_ref()));
        for (nth, (provider, identity)) in user.identities.iter().enumerate() {
            let is_linked = Expression::new(format!("#identities.#provider{nth}.#key = :key{nth}"))
                .value(format!(":key{nth}"), string(identity.key.as_str()))
                .name(format!("#provider{nth}"), provider);
            condition = condition.and(is_linked);
        }
        self.table.part_delete(user_key(user.id), condition)
    }

    pub(super) fn deletion_of_identity(&self, user_id: UserId, identity: &LinkedIdentity) -> Part {
        let is_theirs = Expression::new("#user_id = :user_id").value(":user_id", string(user_id));
        self.table
            .part_delete(identity_key(identity.key.as_str()), is_theirs)
    }

    /// The part of a transaction that cancels it if the session has ended. [`admits`] is the condition on the user.
    pub(super) fn still_alive(&self, id: UserId, session: SessionRef) -> Part {
        let condition = alive(self.clock.now());
        self.table
            .part_check(session_key(id, session.id), condition)
    }
}

/// Returns whether this request was carried out before and its answer was lost. A session that ended all sessions
/// ended itself, so it cannot send any other request.
fn is_signed_out(user: &User, session: SessionRef, leave: Leave, key: &str) -> bool {
    let in_this_session = user.signed_out_in == Some(session.id);
    let by_this_request = user.signed_out_by.as_deref() == Some(key);
    let of_all = leave == Leave::All && user.kept_session.is_none();
    in_this_session && (by_this_request || of_all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::SessionId;

    #[test]
    fn a_sign_out_is_repeated_by_its_key_or_in_the_session_that_ended_all() {
        let id = |token: &str| SessionId::of_subject_token(&token.to_owned().into());
        let (this, other) = (id("this"), id("other"));
        let (all, others) = (Leave::All, Leave::Others);
        for (ended_in, ended_by, kept, leave, expected) in [
            (Some(this), Some("key"), None, all, true),
            (Some(this), Some("key"), Some(this), others, true),
            (Some(this), Some("another"), None, all, true),
            (Some(this), Some("another"), None, others, false),
            (Some(this), Some("another"), Some(this), all, false),
            (Some(this), Some("another"), Some(this), others, false),
            (Some(other), Some("key"), None, all, false),
            (Some(other), Some("another"), None, all, false),
            (None, None, None, all, false),
        ] {
            let mut user: User = serde_json::from_value(json!({
                "id": UserId::generate(), "status": "active", "profile": {}, "identities": {},
                "session_version": 1, "created_at": 0,
            }))
            .unwrap();
            user.signed_out_in = ended_in;
            user.signed_out_by = ended_by.map(str::to_owned);
            user.kept_session = kept;
            let session = SessionRef {
                id: this,
                version: 0,
            };

            let found = is_signed_out(&user, session, leave, "key");

            assert_eq!(found, expected, "{leave:?} of {user:?}");
        }
    }
}
