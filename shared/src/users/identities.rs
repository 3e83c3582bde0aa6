//! Several ways to sign in as one user: identities that are linked to a user, and unlinked again.

use std::time::Duration;

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{
        ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update, builders::UpdateBuilder,
    },
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    EmailKey, LinkedIdentity, Status, User, UserId, Users,
    items::{TRIES, active, busy, claim, linked, owner, release, user_key},
    transaction::{Cancelled, Written, alone, put_new},
};
use crate::{
    clock::Timestamp,
    config::SessionLifetimes,
    dynamodb::{StoreError, number, string},
    ids::{SessionId, SessionRef},
    provider::{Identity, IdentityKey},
    sessions::{Opening, Sessions, still_alive},
};

/// Deleting a user with more would not fit into one transaction of a reasonable size.
const MAX_IDENTITIES: usize = 16;

/// How often a user may try to link within [`ATTEMPTS_WITHIN`] seconds: each attempt makes a provider answer a call with the
/// app's own credentials, and the provider limits those calls for the app as a whole.
const MAX_ATTEMPTS: u64 = 10;
const ATTEMPTS_WITHIN: u64 = 10 * 60;

/// How often a user tried to link an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAttempts {
    /// When the first of them was.
    since: Timestamp,
    /// How many there were within [`ATTEMPTS_WITHIN`] seconds of it.
    count: u64,
}

impl LinkAttempts {
    /// Whether they were too long ago to count. So were those that lie ahead: the clock went backwards since, and must not
    /// lock the user out.
    fn are_over(&self, now: Timestamp) -> bool {
        let age = now.checked_sub(self.since);
        age.is_none_or(|age| age >= ATTEMPTS_WITHIN)
    }
}

/// The last account that was unlinked, so that a request whose answer was lost can be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlinked {
    /// The provider whose account it was.
    provider: String,
    /// The session that asked for it.
    session: SessionId,
}

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
    /// The user has tried too often.
    #[error("too many attempts to link an account; try again later")]
    TooManyAttempts {
        /// When to try again.
        retry_after: Duration,
    },
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
    /// Says whether a provider may be asked about a token that is to be linked, and counts the attempt: the user is signed in,
    /// has no account of the provider yet, has room for one, and has not tried too often. `None` means yes; the user is
    /// answered where this very token has linked an account before, and then there is nothing left to ask.
    ///
    /// # Errors
    /// Why not; then the provider must not be asked.
    pub async fn begin_link(
        &self,
        id: UserId,
        session: SessionRef,
        provider: &str,
        spent: &Opening,
    ) -> Result<Option<User>, LinkError> {
        for _ in 0..TRIES {
            let seen = self.see(id, session, Some(spent.id())).await?;
            let is_spent = seen.has_other || spent.id() == session.id;
            let user = seen.signed_in(session).ok_or(LinkError::NotSignedIn)?;
            match (user.identities.contains_key(provider), is_spent) {
                (true, true) => return Ok(Some(user)),
                (false, true) => return Err(LinkError::AlreadyUsed),
                (true, false) => return Err(Conflict::ProviderLinked.into()),
                (false, false) if user.identities.len() >= MAX_IDENTITIES => {
                    return Err(Conflict::TooMany.into());
                }
                (false, false) => {}
            }
            if self.count_attempt(&user, session).await? {
                return Ok(None);
            }
        }
        Err(busy().into())
    }

    /// `false` if another attempt was counted, or the user changed, meanwhile.
    async fn count_attempt(&self, user: &User, session: SessionRef) -> Result<bool, LinkError> {
        let now = self.clock.now();
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(user_key(user.id)))
            .expression_attribute_names("#attempts", "link_attempts");
        let condition = match user.link_attempts {
            Some(attempts) if !attempts.are_over(now) => {
                if attempts.count >= MAX_ATTEMPTS {
                    let retry_after = Duration::from_secs(attempts.since + ATTEMPTS_WITHIN - now);
                    return Err(LinkError::TooManyAttempts { retry_after });
                }
                update = update
                    .update_expression("SET #attempts.#count = #attempts.#count + :one")
                    .expression_attribute_names("#count", "count")
                    .expression_attribute_values(":one", number(1_u64))
                    .expression_attribute_values(":max", number(MAX_ATTEMPTS));
                "#attempts.#since = :since AND #attempts.#count < :max"
            }
            before => {
                let first = LinkAttempts {
                    since: now,
                    count: 1,
                };
                let first = serde_dynamo::to_attribute_value(first).map_err(StoreError::from)?;
                update = update
                    .update_expression("SET #attempts = :first")
                    .expression_attribute_values(":first", first);
                match before {
                    None => "attribute_not_exists(#attempts)",
                    Some(_) => "#attempts.#since = :since",
                }
            }
        };
        if let Some(attempts) = user.link_attempts {
            update = update
                .expression_attribute_names("#since", "since")
                .expression_attribute_values(":since", number(attempts.since));
        }
        let update = update.condition_expression(format!("{condition} AND {ADMITS}"));
        let update = admitting(update, session)
            .build()
            .map_err(StoreError::from)?;
        let Err(error) = alone(&self.client, update).send().await else {
            return Ok(true);
        };
        let is_changed = error
            .as_service_error()
            .is_some_and(UpdateItemError::is_conditional_check_failed_exception);
        if is_changed {
            Ok(false)
        } else {
            Err(StoreError::from(error).into())
        }
    }

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
            let user = self.find_signed_in(id, session).await?;
            let mut user = user.ok_or(LinkError::NotSignedIn)?;
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
                .transact_items(claim(&self.table, &key, id)?)
                .transact_items(TransactWriteItem::builder().update(attachment).build())
                .transact_items(put_new(
                    &self.table,
                    sessions.prepare_spent(spent, id, user.session_version)?,
                )?)
                .transact_items(self.still_signed_in(id, session)?)
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

    /// Takes the user's identity at `provider` away, unless it is the last. Sessions that it opened go on. Repeating the
    /// request in the same session is answered as the first was.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub async fn unlink(
        &self,
        id: UserId,
        session: SessionRef,
        provider: &str,
        lifetimes: &SessionLifetimes,
    ) -> Result<(), LinkError> {
        let expires_at = self.clock.now() + lifetimes.absolute.as_secs();
        for _ in 0..TRIES {
            let user = self.find_signed_in(id, session).await?;
            let user = user.ok_or(LinkError::NotSignedIn)?;
            let Some(identity) = user.identities.get(provider) else {
                let is_done = user.unlinked.is_some_and(|unlinked| {
                    unlinked.provider == provider && unlinked.session == session.id
                });
                return if is_done {
                    Ok(())
                } else {
                    Err(LinkError::NotLinked)
                };
            };
            if user.identities.len() == 1 {
                return Err(Conflict::Last.into());
            }
            let mut transaction = self
                .client
                .transact_write_items()
                .transact_items(release(&self.table, &identity.key, id, expires_at)?)
                .transact_items(self.detachment(&user, session, provider, &identity.key)?)
                .transact_items(self.still_signed_in(id, session)?);
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
            .transact_items(claim(&self.table, key, id)?)
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

    /// The part of a transaction that lets it through only while the session that asks has not ended; what the user's own item
    /// says of it is [`ADMITS`].
    fn still_signed_in(
        &self,
        id: UserId,
        session: SessionRef,
    ) -> Result<TransactWriteItem, StoreError> {
        still_alive(&self.table, id, session.id, self.clock.now())
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
        let unlinked = Unlinked {
            provider: provider.to_owned(),
            session: session.id,
        };
        let mut condition =
            format!("{ADMITS} AND #identities.#provider.#key = :key AND size(#identities) > :one");
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(user_key(user.id)))
            .update_expression("SET #unlinked = :unlinked REMOVE #identities.#provider, #email_key")
            .expression_attribute_names("#unlinked", "unlinked")
            .expression_attribute_values(":unlinked", serde_dynamo::to_attribute_value(unlinked)?)
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
pub(super) const ADMITS: &str =
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
