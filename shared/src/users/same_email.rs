//! The items of verified addresses, which name the user of an address. They exist only with `LINK_BY_VERIFIED_EMAIL`.
//!
//! An item follows the profile in a second write, which may fail. So each use of an item compares it with the
//! profile.

use super::{EmailKey, User, UserId, Users, is_active, items::Owned};
use crate::{
    config::SignUps,
    dynamodb::{
        Attempts, Expression, Item, Part, StoreError, Transacted, string,
        table::{email_key, user_key},
    },
    provider::{EmailAnswer, Identity},
};

impl Users {
    /// Reads the user of an address, strongly consistent.
    pub(super) async fn owner_of_email(
        &self,
        email: &EmailKey,
    ) -> Result<Option<UserId>, StoreError> {
        let key = email_key(email.as_str());
        let owned: Option<Owned> = self.table.find(key, true).await?;
        Ok(owned.map(|owned| owned.user_id))
    }

    /// Updates the item of the address after a sign-in with `identity`. Returns whether the address belongs to
    /// another user. If the settings do not use addresses any more, the stored one is released.
    ///
    /// Makes no call if nothing changed.
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

    /// Returns `false` if the new address belongs to another user. A lost race with another sign-in of the same user
    /// is left to the next sign-in.
    async fn move_email(&self, user: &mut User, to: Option<&EmailKey>) -> Result<bool, StoreError> {
        let mut attempts = Attempts::at("the user");
        loop {
            let parts = [self.change_of_email(user, to)]
                .into_iter()
                .chain(to.map(|to| self.put_email(to, user.id)))
                .chain(
                    user.email_key
                        .iter()
                        .map(|from| self.deletion_of_email(from, user.id)),
                );
            match self.table.transact(parts).await? {
                Transacted::Done => {
                    user.email_key = to.cloned();
                    return Ok(true);
                }
                Transacted::Cancelled(reasons) if reasons.is_conflict() => attempts.again().await?,
                Transacted::Cancelled(reasons) => {
                    return Ok(to.is_none() || !reasons.failed(1));
                }
            }
        }
    }

    fn change_of_email(&self, user: &User, to: Option<&EmailKey>) -> Part {
        let change = match to {
            None => Expression::new("REMOVE #email_key"),
            Some(to) => Expression::new("SET #email_key = :to").value(":to", string(to.as_str())),
        };
        let condition = is_active().and(has_email(user.email_key.as_ref()));
        self.table.part_update(user_key(user.id), change, condition)
    }

    /// An item of the same user is not a conflict.
    fn put_email(&self, email: &EmailKey, user_id: UserId) -> Part {
        let condition = is_free_or_of(user_id).returning_item();
        self.table.part_put(email_item(email, user_id), condition)
    }

    /// The part of a transaction that claims an address for a new user.
    pub(super) fn put_new_email(&self, email: &EmailKey, user_id: UserId) -> Part {
        self.table.part_put_new(email_item(email, user_id))
    }

    /// The part of a transaction that deletes a user's address, if it is still there.
    pub(super) fn deletion_of_email(&self, email: &EmailKey, user_id: UserId) -> Part {
        let key = email_key(email.as_str());
        self.table.part_delete(key, is_free_or_of(user_id))
    }
}

/// The condition on a user's item that their proven address is `email`.
pub(super) fn has_email(email: Option<&EmailKey>) -> Expression {
    match email {
        None => Expression::new("attribute_not_exists(#email_key)"),
        Some(email) => {
            Expression::new("#email_key = :email_key").value(":email_key", string(email.as_str()))
        }
    }
}

/// The condition on the item of an address that it is no other user's.
fn is_free_or_of(user_id: UserId) -> Expression {
    Expression::new("attribute_not_exists(#pk) OR #user_id = :user_id")
        .value(":user_id", string(user_id))
}

fn email_item(email: &EmailKey, user_id: UserId) -> Item {
    let mut item = email_key(email.as_str());
    item.insert("user_id".to_owned(), string(user_id));
    item
}
