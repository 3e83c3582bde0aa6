//! Whose is this address? Kept only where `LINK_BY_VERIFIED_EMAIL` asks for it: one item for each proven address of a user's
//! profile, which says who the user is.
//!
//! The item follows the profile in a second write, which may fail: whoever acts on the item compares it with the profile.

use aws_sdk_dynamodb::types::{
    Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::{
    EmailKey, User, UserId, Users,
    items::{active, owner, user_key},
    transaction::{Written, put_new},
};
use crate::{
    config::SignUps,
    dynamodb::{Item, StoreError, primary_key, string},
    provider::{EmailAnswer, Identity},
};

impl Users {
    /// Whose address it is, as of now.
    pub(super) async fn owner_of_email(
        &self,
        email: &EmailKey,
    ) -> Result<Option<UserId>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(email_item_key(email)))
            .consistent_read(true)
            .send()
            .await?;
        found.item.as_ref().map(owner).transpose()
    }

    /// Lets the address that the table knows follow the one of the profile, after a sign-in with `identity`. Says whether it is
    /// somebody else's. Where the settings no longer ask for addresses, the one that was known is released.
    ///
    /// Costs nothing where nothing changed.
    pub(super) async fn follow_email(
        &self,
        user: &mut User,
        identity: &Identity,
        sign_ups: &SignUps,
    ) -> Result<bool, StoreError> {
        if identity.profile().email == EmailAnswer::NotTold {
            return Ok(false);
        }
        let proven = sign_ups.proven_email(identity);
        if user.email_key == proven {
            return Ok(false);
        }
        let is_taken = !self.move_email(user, proven.as_ref()).await?;
        if is_taken && user.email_key.is_some() {
            self.move_email(user, None).await?;
        }
        Ok(is_taken)
    }

    /// `false` if the new address is somebody else's. A race that was lost to another sign-in of the same user is left to the
    /// next one.
    async fn move_email(&self, user: &mut User, to: Option<&EmailKey>) -> Result<bool, StoreError> {
        let mut transaction = self
            .client
            .transact_write_items()
            .transact_items(self.change_of_email(user, to)?);
        if let Some(to) = to {
            transaction = transaction.transact_items(self.put_email(to, user.id)?);
        }
        if let Some(from) = &user.email_key {
            transaction = transaction.transact_items(self.deletion_of_email(from, user.id)?);
        }
        match Written::of(transaction.send().await)? {
            Written::Done => {
                user.email_key = to.cloned();
                Ok(true)
            }
            Written::Cancelled(reasons) => Ok(to.is_none() || !reasons.failed(1)),
        }
    }

    fn change_of_email(
        &self,
        user: &User,
        to: Option<&EmailKey>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(user_key(user.id)))
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#email_key", "email_key")
            .expression_attribute_values(":active", active());
        let mut condition = "#status = :active AND ".to_owned();
        match &user.email_key {
            None => condition.push_str("attribute_not_exists(#email_key)"),
            Some(from) => {
                condition.push_str("#email_key = :from");
                update = update.expression_attribute_values(":from", string(from.as_str()));
            }
        }
        update = match to {
            None => update.update_expression("REMOVE #email_key"),
            Some(to) => update
                .update_expression("SET #email_key = :to")
                .expression_attribute_values(":to", string(to.as_str())),
        };
        let update = update.condition_expression(condition).build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// One's own again is no conflict.
    fn put_email(
        &self,
        email: &EmailKey,
        user_id: UserId,
    ) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(email_item(email, user_id)))
            .condition_expression("attribute_not_exists(#pk) OR #user_id = :user_id")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_names("#user_id", "user_id")
            .expression_attribute_values(":user_id", string(user_id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// For a user who is new: nobody has the address yet.
    pub(super) fn put_new_email(
        &self,
        email: &EmailKey,
        user_id: UserId,
    ) -> Result<TransactWriteItem, StoreError> {
        put_new(&self.table, email_item(email, user_id))
    }

    /// One that is gone already is no reason not to go on.
    pub(super) fn deletion_of_email(
        &self,
        email: &EmailKey,
        user_id: UserId,
    ) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(email_item_key(email)))
            .condition_expression("attribute_not_exists(#pk) OR #user_id = :user_id")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_names("#user_id", "user_id")
            .expression_attribute_values(":user_id", string(user_id))
            .build()?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}

fn email_item(email: &EmailKey, user_id: UserId) -> Item {
    let mut item = email_item_key(email);
    item.insert("user_id".to_owned(), string(user_id));
    item
}

fn email_item_key(email: &EmailKey) -> Item {
    primary_key(format!("EMAIL#{}", email.as_str()), "EMAIL")
}
