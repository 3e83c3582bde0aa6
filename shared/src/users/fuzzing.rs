//! The item of an identity or an address, for the fuzz target of items.

use super::{UserId, items};
use crate::dynamodb::Item;

/// Returns the user in the item.
pub(crate) fn owner(item: &Item) -> Option<UserId> {
    items::owner(item).ok()
}
