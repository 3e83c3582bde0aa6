//! The items of users and identities in the main table, as more than one file of this module reads and writes them.

use aws_sdk_dynamodb::types::{
    AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::{LinkedIdentity, UserId};
use crate::{
    clock::Timestamp,
    dynamodb::{Item, StoreError, number, primary_key, string, user_partition},
    provider::{Identity, IdentityKey},
};

/// A sign-in that keeps losing races gives up: each lost race means that another one won.
pub(super) const TRIES: usize = 4;

/// `identity`, as its user's item has it.
pub(super) fn linked(key: &IdentityKey, identity: &Identity, now: Timestamp) -> LinkedIdentity {
    LinkedIdentity {
        key: key.clone(),
        subject: identity.subject().to_owned(),
        username: identity.profile().username.clone(),
        linked_at: now,
    }
}

/// The user whose item of an identity or an address it is.
pub(super) fn owner(item: &Item) -> Result<UserId, StoreError> {
    user_in(item, "user_id")
}

/// The user whom `attribute` names.
pub(super) fn user_in(item: &Item, attribute: &str) -> Result<UserId, StoreError> {
    item.get(attribute)
        .and_then(|id| id.as_s().ok())
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| StoreError::Malformed("an identity or address names no user".to_owned()))
}

/// The status of a user who may sign in, as an attribute.
pub(super) fn active() -> AttributeValue {
    string("active")
}

/// The error of a change that lost each race for the user's item.
pub(super) fn busy() -> StoreError {
    StoreError::Unavailable("others kept changing the same user".to_owned())
}

pub(super) fn user_key(id: UserId) -> Item {
    primary_key(user_partition(id), "USER")
}

pub(super) fn identity_key(key: &IdentityKey) -> Item {
    primary_key(format!("IDENTITY#{}", key.as_str()), "IDENTITY")
}

/// Makes the identity sign in as the user, unless it signs in as one already.
pub(super) fn claim(
    table: &str,
    key: &IdentityKey,
    user_id: UserId,
) -> Result<TransactWriteItem, StoreError> {
    let mut item = identity_key(key);
    item.insert("user_id".to_owned(), string(user_id));
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(#pk) OR attribute_exists(#released_by)")
        .expression_attribute_names("#pk", "pk")
        .expression_attribute_names("#released_by", "released_by")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()?;
    Ok(TransactWriteItem::builder().put(put).build())
}

/// Ends that the identity signs in as the user, and remembers that until `expires_at`.
pub(super) fn release(
    table: &str,
    key: &IdentityKey,
    user_id: UserId,
    expires_at: Timestamp,
) -> Result<TransactWriteItem, StoreError> {
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(identity_key(key)))
        .update_expression("SET #released_by = :user_id, #expires_at = :expires_at REMOVE #user_id")
        .condition_expression("#user_id = :user_id")
        .expression_attribute_names("#user_id", "user_id")
        .expression_attribute_names("#released_by", "released_by")
        .expression_attribute_names("#expires_at", "expires_at")
        .expression_attribute_values(":user_id", string(user_id))
        .expression_attribute_values(":expires_at", number(expires_at))
        .build()?;
    Ok(TransactWriteItem::builder().update(update).build())
}
