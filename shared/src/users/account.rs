//! What users do to their own account: edit it, sign out of it everywhere, delete it.

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{
        Delete, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
        builders::DeleteBuilder,
    },
};
use thiserror::Error;

use super::{
    Edited, LinkedIdentity, Metadata, Patch, PatchError, User, UserId, Users,
    identities::ADMITS,
    items::{TRIES, active, busy, identity_key, user_key},
    transaction::Written,
};
use crate::{
    dynamodb::{StoreError, number, string},
    ids::SessionRef,
    sessions::still_alive,
};

/// Which sessions a user leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// All of them.
    All,
    /// All but the one that asks.
    Others,
}

/// Why an account was not changed.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// The user is gone or disabled, or has signed out of the session that asks.
    #[error("the user is gone, disabled, or signed out")]
    NotSignedIn,
    /// The change is not accepted.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The table cannot be used. Repeating the change is always safe.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Users {
    /// Changes what `patch` names of the user's profile, and answers the user as they are then.
    ///
    /// Changes in parallel are made one after the other: none is lost.
    ///
    /// # Errors
    /// The user is not signed in with `session`, the patch is not accepted, or the table cannot be used.
    pub async fn edit(
        &self,
        id: UserId,
        session: SessionRef,
        patch: &Patch,
    ) -> Result<User, ChangeError> {
        for _ in 0..TRIES {
            let user = self.find_signed_in(id, session).await?;
            let user = user.ok_or(ChangeError::NotSignedIn)?;
            let (edited, metadata) = patch.apply(&user)?;
            if edited == user.edited && metadata == user.metadata {
                return Ok(user);
            }
            if let Some(user) = self.put_edits(&user, &edited, &metadata).await? {
                return Ok(user);
            }
        }
        Err(busy().into())
    }

    /// `None` if the user was changed meanwhile.
    async fn put_edits(
        &self,
        user: &User,
        edited: &Edited,
        metadata: &Metadata,
    ) -> Result<Option<User>, StoreError> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(user_key(user.id)))
            .update_expression("SET #edited = :edited, #metadata = :metadata, #revision = :next")
            .condition_expression(
                "#status = :active AND #session_version = :session_version AND (#revision = :revision OR attribute_not_exists(#revision))",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#session_version", "session_version")
            .expression_attribute_names("#edited", "edited")
            .expression_attribute_names("#metadata", "metadata")
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_values(":active", active())
            .expression_attribute_values(":session_version", number(user.session_version))
            .expression_attribute_values(":edited", serde_dynamo::to_attribute_value(edited)?)
            .expression_attribute_values(":metadata", serde_dynamo::to_attribute_value(metadata)?)
            .expression_attribute_values(":revision", number(user.revision))
            .expression_attribute_values(":next", number(user.revision + 1))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match updated {
            Ok(updated) => {
                let item = updated.attributes.unwrap_or_default();
                Ok(Some(serde_dynamo::from_item(item)?))
            }
            Err(error) => {
                let is_changed = error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception);
                if is_changed {
                    Ok(None)
                } else {
                    Err(error.into())
                }
            }
        }
    }

    /// Ends the user's sessions by one write, however many there are. Repeating a request changes nothing: one that ended them
    /// all, or one with the same `key`, which is new for each request that is not a repetition.
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
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(user_key(id)))
            .update_expression(format!(
                "SET #session_version = #session_version + :one, #signed_out_in = :session, \
                 #signed_out_by = :key{kept}"
            ))
            // Not a second time for the same request.
            .condition_expression(format!(
                "{ADMITS} AND (attribute_not_exists(#signed_out_by) OR #signed_out_by <> :key)"
            ))
            .expression_attribute_names("#signed_out_by", "signed_out_by")
            .expression_attribute_values(":key", string(key))
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#session_version", "session_version")
            .expression_attribute_names("#kept_session", "kept_session")
            .expression_attribute_names("#signed_out_in", "signed_out_in")
            .expression_attribute_values(":active", active())
            .expression_attribute_values(":version", number(session.version))
            .expression_attribute_values(":session", string(session.id))
            .expression_attribute_values(":one", number(1_u64))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = updated else {
            let reason = match leave {
                Leave::All => "signed_out_everywhere",
                Leave::Others => "signed_out_elsewhere",
            };
            tracing::info!(event = "session.ended", session_id = %session.id, user_id = %id, reason);
            return Ok(());
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
            error.as_service_error()
        else {
            return Err(StoreError::from(error).into());
        };
        let user: Option<User> = failed
            .item()
            .map(|item| serde_dynamo::from_item(item.clone()))
            .transpose()
            .map_err(StoreError::from)?;
        if user.is_some_and(|user| is_signed_out(&user, session, leave, key)) {
            Ok(())
        } else {
            Err(ChangeError::NotSignedIn)
        }
    }

    /// Deletes the user and their identities: all or nothing. One who is gone already counts as deleted. What the table
    /// holds of their sessions opens nothing any more, and is [`Sessions::delete_all`]'s to delete.
    ///
    /// [`Sessions::delete_all`]: crate::sessions::Sessions::delete_all
    ///
    /// # Errors
    /// The user is not signed in with `session`, or the table cannot be used.
    pub async fn delete(&self, id: UserId, session: SessionRef) -> Result<(), ChangeError> {
        for _ in 0..TRIES {
            let seen = self.see(id, session, None).await?;
            if seen.user.is_none() {
                return Ok(());
            }
            let user = seen.signed_in(session).ok_or(ChangeError::NotSignedIn)?;
            let check = still_alive(&self.table, id, session.id, self.clock.now())?;
            if self.delete_all_of(&user, Some(check)).await? {
                tracing::info!(event = "user.deleted", user_id = %id);
                return Ok(());
            }
        }
        Err(busy().into())
    }

    /// `false` if the user was changed meanwhile, or `check` does not hold.
    pub(super) async fn delete_all_of(
        &self,
        user: &User,
        check: Option<TransactWriteItem>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self
            .client
            .transact_write_items()
            .transact_items(self.deletion_of_user(user)?);
        if let Some(check) = check {
            transaction = transaction.transact_items(check);
        }
        for identity in user.identities.values() {
            transaction = transaction.transact_items(self.deletion_of_identity(user.id, identity)?);
        }
        if let Some(email) = &user.email_key {
            transaction = transaction.transact_items(self.deletion_of_email(email, user.id)?);
        }
        let written = Written::of(transaction.send().await)?;
        Ok(matches!(written, Written::Done))
    }

    /// No identity that was linked meanwhile may outlive its user, and nobody who signed out meanwhile deletes anything.
    fn deletion_of_user(&self, user: &User) -> Result<TransactWriteItem, StoreError> {
        let mut delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(user_key(user.id)))
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#session_version", "session_version")
            .expression_attribute_names("#identities", "identities")
            .expression_attribute_values(":status", serde_dynamo::to_attribute_value(user.status)?)
            .expression_attribute_values(":session_version", number(user.session_version))
            .expression_attribute_values(":count", number(user.identities.len() as u64));
        let mut condition = "#status = :status AND #session_version = :session_version AND size(#identities) = :count".to_owned();
        delete = delete.expression_attribute_names("#email_key", "email_key");
        match &user.email_key {
            None => condition.push_str(" AND attribute_not_exists(#email_key)"),
            Some(email) => {
                condition.push_str(" AND #email_key = :email_key");
                delete = delete.expression_attribute_values(":email_key", string(email.as_str()));
            }
        }
        for (nth, (provider, identity)) in user.identities.iter().enumerate() {
            condition.push_str(&format!(" AND #identities.#provider{nth}.#key = :key{nth}"));
            delete = delete
                .expression_attribute_names("#key", "key")
                .expression_attribute_names(format!("#provider{nth}"), provider)
                .expression_attribute_values(format!(":key{nth}"), string(identity.key.as_str()));
        }
        deletion(delete.condition_expression(condition))
    }

    pub(super) fn deletion_of_identity(
        &self,
        user_id: UserId,
        identity: &LinkedIdentity,
    ) -> Result<TransactWriteItem, StoreError> {
        deletion(
            Delete::builder()
                .table_name(&self.table)
                .set_key(Some(identity_key(&identity.key)))
                .condition_expression("#user_id = :user_id")
                .expression_attribute_names("#user_id", "user_id")
                .expression_attribute_values(":user_id", string(user_id)),
        )
    }
}

/// Whether this very request was carried out before, and its answer was lost. A session that ended all sessions ended itself,
/// so it cannot ask for anything else.
fn is_signed_out(user: &User, session: SessionRef, leave: Leave, key: &str) -> bool {
    let in_this_session = user.signed_out_in == Some(session.id);
    let by_this_request = user.signed_out_by.as_deref() == Some(key);
    let of_all = leave == Leave::All && user.kept_session.is_none();
    in_this_session && (by_this_request || of_all)
}

fn deletion(delete: DeleteBuilder) -> Result<TransactWriteItem, StoreError> {
    let delete = delete.build()?;
    Ok(TransactWriteItem::builder().delete(delete).build())
}
