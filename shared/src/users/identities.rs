//! Several ways to sign in as one user: identities that are linked to a user, and unlinked again.

use aws_sdk_dynamodb::types::{
    ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update, builders::UpdateBuilder,
};
use thiserror::Error;

use super::{
    EmailKey, LinkedIdentity, Status, User, UserId, Users,
    store::{TRIES, active, busy, identity_item, linked, owner, user_key},
    transaction::{Cancelled, Written, put_new},
};
use crate::{
    dynamodb::{StoreError, number, string},
    provider::{Identity, IdentityKey},
    sessions::{Opening, SessionRef, Sessions},
};

/// Deleting a user with more would not fit into one transaction of a reasonable size.
const MAX_IDENTITIES: usize = 16;

/// Why an identity was not linked or unlinked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The user is gone or disabled, or has signed out of the session that asks.
    #[error("the user is gone, disabled, or signed out")]
    NotSignedIn,
    /// What is asked for does not go with what is there.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The user has none at this provider.
    #[error("no account of this provider is linked")]
    NotLinked,
    /// The subject token has done its work before.
    #[error("the subject token was already used; sign in with the provider again")]
    AlreadyUsed,
    /// The table cannot be used. Repeating is always safe.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is there already, and stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// The identity signs in as another user.
    #[error("this account already belongs to another user")]
    BelongsToAnother,
    /// The user has another identity at the same provider.
    #[error("another account of this provider is linked; unlink that one first")]
    ProviderLinked,
    /// The user has as many as one may have.
    #[error("no more than {MAX_IDENTITIES} accounts can be linked")]
    TooMany,
    /// Without it, nobody could sign in as the user again.
    #[error("this is the only way to sign in; link another account first")]
    Last,
}

/// What came of joining an identity to the user who has the same address.
pub(super) enum Joined {
    /// It signs in as this user now.
    As(UserId),
    /// The user cannot take it: it stays apart.
    Apart,
    /// Something changed meanwhile.
    Changed,
    /// The user is shut out, and so is who comes back under another name.
    Disabled,
}

impl Users {
    /// Lets `identity` sign in as the user as well. The token that proved it opens no session afterwards: `spent` is the one that
    /// it would have opened. One that is linked already counts as linked.
    ///
    /// Whoever else links or signs in with the same identity at the same time: one of them gets it, and nothing is half done.
    ///
    /// # Errors
    /// Why not; then neither of the two accounts has changed.
    pub async fn link(
        &self,
        id: UserId,
        session: SessionRef,
        identity: &Identity,
        sessions: &Sessions,
        spent: &Opening,
    ) -> Result<User, LinkError> {
        let key = identity.key();
        for _ in 0..TRIES {
            let mut user = self.signed_in(id, session).await?;
            match user.identities.get(identity.provider()) {
                Some(linked) if linked.key == key => return Ok(user),
                Some(_) => return Err(Conflict::ProviderLinked.into()),
                None if user.identities.len() >= MAX_IDENTITIES => {
                    return Err(Conflict::TooMany.into());
                }
                None => {}
            }
            let new = linked(&key, identity, self.clock.now());
            let attachment = self
                .attachment(id, identity, &new)?
                .condition_expression(format!("{ROOM} AND {ADMITS}"));
            let attachment = admitting(attachment, session)
                .build()
                .map_err(StoreError::from)?;
            let written = self
                .client
                .transact_write_items()
                .transact_items(put_new(&self.table, identity_item(&key, id))?)
                .transact_items(TransactWriteItem::builder().update(attachment).build())
                .transact_items(put_new(
                    &self.table,
                    sessions.prepare_spent(spent, id, user.session_version)?,
                )?)
                .send()
                .await;
            match Written::of(written)? {
                Written::Done => {
                    tracing::info!(event = "identity.linked", user_id = %id, provider = identity.provider());
                    user.identities.insert(identity.provider().to_owned(), new);
                    return Ok(user);
                }
                Written::Cancelled(reasons) => {
                    if let Some(item) = reasons.found(0)
                        && owner(item)? != id
                    {
                        return Err(Conflict::BelongsToAnother.into());
                    }
                    if reasons.failed(2) && !reasons.failed(0) {
                        return Err(LinkError::AlreadyUsed);
                    }
                }
            }
        }
        Err(busy().into())
    }

    /// Takes the user's identity at `provider` away, unless it is the last. Sessions that it opened go on.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub async fn unlink(
        &self,
        id: UserId,
        session: SessionRef,
        provider: &str,
    ) -> Result<(), LinkError> {
        for _ in 0..TRIES {
            let user = self.signed_in(id, session).await?;
            let Some(identity) = user.identities.get(provider) else {
                return Err(LinkError::NotLinked);
            };
            if user.identities.len() == 1 {
                return Err(Conflict::Last.into());
            }
            let mut transaction = self
                .client
                .transact_write_items()
                .transact_items(self.deletion_of_identity(id, identity)?)
                .transact_items(self.detachment(&user, session, provider, &identity.key)?);
            // Perhaps it was this provider that proved the address: the next sign-in proves it anew.
            if let Some(email) = &user.email_key {
                transaction = transaction.transact_items(self.deletion_of_email(email, id)?);
            }
            if let Written::Done = Written::of(transaction.send().await)? {
                tracing::info!(event = "identity.unlinked", user_id = %id, provider);
                return Ok(());
            }
        }
        Err(busy().into())
    }

    /// Lets `identity` sign in as the user whose proven address it has as well.
    pub(super) async fn join(
        &self,
        id: UserId,
        key: &IdentityKey,
        identity: &Identity,
        email: &EmailKey,
    ) -> Result<Joined, StoreError> {
        let new = linked(key, identity, self.clock.now());
        let attachment = self
            .attachment(id, identity, &new)?
            // Both sides: the address in the user's profile is this one, and proven. `email_key` alone follows it later.
            .condition_expression(format!(
                "{ROOM} AND #status = :active AND #email_key = :email_key AND #profile.#proven_email = :email_key"
            ))
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#email_key", "email_key")
            .expression_attribute_names("#profile", "profile")
            .expression_attribute_names("#proven_email", "proven_email")
            .expression_attribute_values(":active", active())
            .expression_attribute_values(":email_key", string(email.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        let written = self
            .client
            .transact_write_items()
            .transact_items(put_new(&self.table, identity_item(key, id))?)
            .transact_items(TransactWriteItem::builder().update(attachment).build())
            .send()
            .await;
        match Written::of(written)? {
            Written::Done => {
                tracing::info!(event = "identity.linked", user_id = %id, provider = identity.provider(), by = "email");
                Ok(Joined::As(id))
            }
            Written::Cancelled(reasons) => Self::why_not_joined(&reasons, email),
        }
    }

    fn why_not_joined(reasons: &Cancelled, email: &EmailKey) -> Result<Joined, StoreError> {
        if let Some(item) = reasons.found(0) {
            return Ok(Joined::As(owner(item)?));
        }
        let Some(item) = reasons.found(1) else {
            return Ok(Joined::Changed);
        };
        let user: User = serde_dynamo::from_item(item.clone())?;
        if user.status == Status::Disabled {
            return Ok(Joined::Disabled);
        }
        let is_still_theirs = user.email_key.as_ref() == Some(email);
        Ok(if is_still_theirs {
            Joined::Apart
        } else {
            Joined::Changed
        })
    }

    async fn signed_in(&self, id: UserId, session: SessionRef) -> Result<User, LinkError> {
        let user = self.find(id).await?;
        let user = user.filter(|user| user.admits(session));
        user.ok_or(LinkError::NotSignedIn)
    }

    fn attachment(
        &self,
        id: UserId,
        identity: &Identity,
        new: &LinkedIdentity,
    ) -> Result<UpdateBuilder, StoreError> {
        Ok(Update::builder()
            .table_name(&self.table)
            .set_key(Some(user_key(id)))
            .update_expression("SET #identities.#provider = :linked")
            .expression_attribute_names("#identities", "identities")
            .expression_attribute_names("#provider", identity.provider())
            .expression_attribute_values(":linked", serde_dynamo::to_attribute_value(new)?)
            .expression_attribute_values(":max", number(MAX_IDENTITIES as u64)))
    }

    fn detachment(
        &self,
        user: &User,
        session: SessionRef,
        provider: &str,
        key: &IdentityKey,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut condition =
            format!("{ADMITS} AND #identities.#provider.#key = :key AND size(#identities) > :one");
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(user_key(user.id)))
            .update_expression("REMOVE #identities.#provider, #email_key")
            .expression_attribute_names("#identities", "identities")
            .expression_attribute_names("#provider", provider)
            .expression_attribute_names("#key", "key")
            .expression_attribute_names("#email_key", "email_key")
            .expression_attribute_values(":key", string(key.as_str()))
            .expression_attribute_values(":one", number(1_u64));
        match &user.email_key {
            None => condition.push_str(" AND attribute_not_exists(#email_key)"),
            Some(email) => {
                condition.push_str(" AND #email_key = :email_key");
                update = update.expression_attribute_values(":email_key", string(email.as_str()));
            }
        }
        let update = admitting(update.condition_expression(condition), session).build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// There is room for one more, and none of the same provider.
const ROOM: &str = "attribute_not_exists(#identities.#provider) AND size(#identities) < :max";

/// [`User::admits`], in DynamoDB's words.
const ADMITS: &str =
    "#status = :active AND (#session_version = :version OR #kept_session = :session)";

fn admitting(update: UpdateBuilder, session: SessionRef) -> UpdateBuilder {
    update
        .expression_attribute_names("#status", "status")
        .expression_attribute_names("#session_version", "session_version")
        .expression_attribute_names("#kept_session", "kept_session")
        .expression_attribute_values(":active", active())
        .expression_attribute_values(":version", number(session.version))
        .expression_attribute_values(":session", string(session.id))
}
