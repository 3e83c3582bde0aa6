//! The item of a session, for the fuzz target of items.

use super::store::SessionItem;
use crate::dynamodb::{Item, decode};

/// Decodes an item, and returns the decoded one, and the same encoded and decoded again. The scope is left out: it is
/// written as a set of texts.
pub(crate) fn decoded_twice(item: Item) -> Option<[String; 2]> {
    let mut session: SessionItem = decode(item).ok()?;
    session.scope = None;
    let again: SessionItem = decode(serde_dynamo::to_item(&session).ok()?).ok()?;
    Some([session, again].map(|session| format!("{session:?}")))
}
