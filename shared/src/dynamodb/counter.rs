//! Counters that the instances of a function share.

use aws_sdk_dynamodb::types::ReturnValue;
use serde::Deserialize;

use super::{Expression, Item, Outcome, StoreError, Table, decode, number};
use crate::clock::Timestamp;

/// The item of a counter.
#[derive(Deserialize)]
struct Counter {
    count: u64,
}

impl Table {
    /// Adds `more` to the counter with this key, which DynamoDB deletes after `expires_at`, and returns the sum.
    ///
    /// An attempt whose answer was lost is sent again, so that the sum may contain `more` twice. The sum is never too
    /// small.
    ///
    /// # Errors
    /// The table cannot be used. The write may have been applied.
    pub(crate) async fn add(
        &self,
        key: Item,
        more: u64,
        expires_at: Timestamp,
    ) -> Result<u64, StoreError> {
        let change = Expression::new("ADD #count :more SET #expires_at = :expires_at")
            .value(":more", number(more))
            .value(":expires_at", number(expires_at));
        let always = Expression::default();
        let new = Some(ReturnValue::UpdatedNew);
        match self.update(key, change, always, new).await? {
            Outcome::Done(item) => Ok(decode::<Counter>(item)?.count),
            Outcome::Failed(_) => Err(StoreError::Conflict("the counter")),
        }
    }
}
