//! The parts of items that several files of this module read and write.

use serde::Deserialize;

use super::{LinkedIdentity, UserId};
use crate::{
    clock::Timestamp,
    dynamodb::{Item, StoreError, decode},
    provider::{Identity, IdentityKey},
};

/// The item of an identity or of an address that belongs to a user.
#[derive(Deserialize)]
pub(super) struct Owned {
    pub(super) user_id: UserId,
}

/// Returns the user in an item of an identity or an address.
pub(super) fn owner(item: &Item) -> Result<UserId, StoreError> {
    Ok(decode::<Owned>(item.clone())?.user_id)
}

/// Returns `identity` in the form of the user's item.
pub(super) fn linked(key: &IdentityKey, identity: &Identity, now: Timestamp) -> LinkedIdentity {
    LinkedIdentity {
        key: key.clone(),
        subject: identity.subject().to_owned(),
        username: identity.profile().username.clone(),
        linked_at: now,
    }
}
