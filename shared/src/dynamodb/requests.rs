//! Requests to a table, and what their answers mean.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    operation::{
        put_item::PutItemError, query::paginator::QueryPaginator, scan::ScanOutput,
        transact_write_items::TransactWriteItemsError, update_item::UpdateItemError,
    },
    types::{
        CancellationReason, ConditionCheck, Delete, KeysAndAttributes, Put, ReturnValue,
        TransactWriteItem, Update,
    },
};
use serde::de::DeserializeOwned;

use super::{Expression, Item, StoreError, decode, retry::past_transactions};

/// The times between requests for keys that DynamoDB left unprocessed.
const BACKOFFS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];

/// A table and the client that reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    client: Client,
    name: String,
}

/// One write of a transaction.
pub(crate) type Part = Result<TransactWriteItem, StoreError>;

/// The outcome of a conditional write of one item.
pub(crate) enum Outcome {
    /// The item was written. Holds the attributes that the request asked for.
    Done(Item),
    /// The condition failed, and nothing was written. Holds the item that was found, if the condition asked for it.
    Failed(Option<Item>),
}

/// The outcome of a transaction.
pub(crate) enum Transacted {
    /// All of it was written.
    Done,
    /// Nothing was written: a condition failed, or another transaction was in the way. Or the transaction itself is
    /// still in progress, sent by an attempt without an answer.
    Cancelled(Cancelled),
}

/// A reason for each write of a cancelled transaction, in their order. Empty if it is in progress.
pub(crate) struct Cancelled(Vec<CancellationReason>);

impl Cancelled {
    /// Returns whether the condition of the `nth` write failed.
    pub(crate) fn failed(&self, nth: usize) -> bool {
        self.0
            .get(nth)
            .is_some_and(|reason| reason.code() == Some("ConditionalCheckFailed"))
    }

    /// Returns whether no condition failed, so that nothing is known but that another transaction was in the way.
    pub(crate) fn is_conflict(&self) -> bool {
        (0..self.0.len()).all(|nth| !self.failed(nth))
    }

    /// Returns whether another transaction was in the way of the `nth` write, whose condition is undecided therefore.
    pub(crate) fn is_undecided(&self, nth: usize) -> bool {
        let reason = self.0.get(nth);
        reason.is_none_or(|reason| reason.code() == Some("TransactionConflict"))
    }

    /// Returns the item that made the condition of the `nth` write fail, if that condition asked for it.
    pub(crate) fn found(&self, nth: usize) -> Option<&Item> {
        self.0.get(nth).filter(|_| self.failed(nth))?.item()
    }
}

/// Returns whether a transaction was cancelled because of an item, and not because DynamoDB was too busy.
fn is_of_the_items(reason: &CancellationReason) -> bool {
    matches!(
        reason.code(),
        Some("ConditionalCheckFailed" | "TransactionConflict")
    )
}

/// Completes a request, or a part of a transaction, with its table and its condition.
macro_rules! conditional {
    ($table:ident, $request:expr, $condition:expr) => {{
        let members = $condition.into_members();
        $request
            .table_name(&$table.name)
            .set_condition_expression(members.text)
            .set_expression_attribute_names(members.names)
            .set_expression_attribute_values(members.values)
            .set_return_values_on_condition_check_failure(members.on_failure)
    }};
}

impl Table {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Reads an item: as of now if `consistent`, otherwise perhaps as it was a moment ago.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        key: Item,
        consistent: bool,
    ) -> Result<Option<T>, StoreError> {
        let item = self.item(key, consistent).await?;
        item.map(decode).transpose()
    }

    /// Reads an item as [`Self::find`] does, and returns its attributes as they are.
    pub(crate) async fn item(
        &self,
        key: Item,
        consistent: bool,
    ) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.name);
        let request = request.set_key(Some(key)).consistent_read(consistent);
        // In a box, because the compiler limits how deep futures are nested.
        Ok(Box::pin(request.send()).await?.item)
    }

    /// Returns whether there is an item with this key, or was one a moment ago.
    pub(crate) async fn has(&self, key: Item) -> Result<bool, StoreError> {
        let request = self.client.get_item().table_name(&self.name);
        let request = request
            .set_key(Some(key))
            .projection_expression("#pk")
            .expression_attribute_names("#pk", "pk");
        Ok(request.send().await?.item.is_some())
    }

    /// Reads the items with these keys, where there are any, as of now.
    pub(crate) async fn find_all(&self, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let mut keys = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .build()?;
        let mut items = Vec::new();
        let mut backoffs = BACKOFFS.into_iter();
        loop {
            let request = self.client.batch_get_item();
            let read = request.request_items(&self.name, keys).send().await?;
            items.extend(read.responses.unwrap_or_default().into_values().flatten());
            // Where a partition is throttled, DynamoDB leaves keys in an answer that is otherwise a success.
            let left = read
                .unprocessed_keys
                .and_then(|mut left| left.remove(&self.name));
            let Some(left) = left else {
                return Ok(items);
            };
            let Some(backoff) = backoffs.next() else {
                return Err(StoreError::Unavailable(
                    "it left keys unprocessed".to_owned(),
                ));
            };
            tokio::time::sleep(backoff).await;
            keys = left;
        }
    }

    /// Queries the items that `keys` selects and that pass `filter`, as of now, for the attributes in `projection`.
    pub(crate) fn query(
        &self,
        keys: Expression,
        filter: Expression,
        projection: &str,
    ) -> QueryPaginator {
        let mut all = Expression::new(projection);
        let (keys, filter) = (all.absorb(keys), all.absorb(filter));
        let members = all.into_members();
        self.client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .set_key_condition_expression(keys)
            .set_filter_expression(filter)
            .set_projection_expression(members.text)
            .set_expression_attribute_names(members.names)
            .set_expression_attribute_values(members.values)
            .into_paginator()
    }

    /// Reads as many items as one request does, from `start` on, and returns those that pass `filter`.
    pub(crate) async fn scan(
        &self,
        filter: Expression,
        start: Option<Item>,
    ) -> Result<ScanOutput, StoreError> {
        let members = filter.into_members();
        Ok(self
            .client
            .scan()
            .table_name(&self.name)
            .set_filter_expression(members.text)
            .set_expression_attribute_names(members.names)
            .set_expression_attribute_values(members.values)
            .set_exclusive_start_key(start)
            .send()
            .await?)
    }

    /// Writes `item` in place of the one with its key, on a condition.
    pub(crate) async fn put(
        &self,
        item: Item,
        condition: Expression,
    ) -> Result<Outcome, StoreError> {
        let request = self.client.put_item().set_item(Some(item));
        let request = conditional!(self, request, condition);
        let sent = past_transactions(|| request.clone().send()).await?;
        let Err(error) = sent else {
            return Ok(Outcome::Done(Item::new()));
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                Ok(Outcome::Failed(failed.item().cloned()))
            }
            _ => Err(error.into()),
        }
    }

    /// Changes the item with this key, on a condition.
    pub(crate) async fn update(
        &self,
        key: Item,
        change: Expression,
        mut condition: Expression,
        returned: Option<ReturnValue>,
    ) -> Result<Outcome, StoreError> {
        let change = condition.absorb(change);
        let request = self.client.update_item().set_key(Some(key));
        let request = request
            .set_update_expression(change)
            .set_return_values(returned);
        let request = conditional!(self, request, condition);
        match past_transactions(|| request.clone().send()).await? {
            Ok(updated) => Ok(Outcome::Done(updated.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    Ok(Outcome::Failed(failed.item().cloned()))
                }
                _ => Err(error.into()),
            },
        }
    }

    /// Deletes the item with this key.
    pub(crate) async fn delete(&self, key: Item) -> Result<(), StoreError> {
        let request = self.client.delete_item().table_name(&self.name);
        let request = request.set_key(Some(key));
        past_transactions(|| request.clone().send()).await??;
        Ok(())
    }

    /// Writes all of `parts` or nothing.
    pub(crate) async fn transact(
        &self,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<Transacted, StoreError> {
        let parts = parts.into_iter().collect::<Result<_, _>>()?;
        let request = self.client.transact_write_items();
        let request = request.set_transact_items(Some(parts));
        let sent = Box::pin(request.send()).await;
        let Err(error) = sent else {
            return Ok(Transacted::Done);
        };
        let reasons = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                if cancelled.cancellation_reasons().iter().any(is_of_the_items) =>
            {
                cancelled.cancellation_reasons().to_vec()
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => Vec::new(),
            _ => return Err(error.into()),
        };
        Ok(Transacted::Cancelled(Cancelled(reasons)))
    }

    /// The part of a transaction that writes `item` in place of the one with its key.
    pub(crate) fn part_put(&self, item: Item, condition: Expression) -> Part {
        let put = Put::builder().set_item(Some(item));
        let put = conditional!(self, put, condition).build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The part of a transaction that writes `item` where there is none, and returns the one that is there otherwise.
    pub(crate) fn part_put_new(&self, item: Item) -> Part {
        let is_new = Expression::new("attribute_not_exists(#pk)");
        self.part_put(item, is_new.returning_item())
    }

    /// The part of a transaction that changes the item with this key.
    pub(crate) fn part_update(
        &self,
        key: Item,
        change: Expression,
        mut condition: Expression,
    ) -> Part {
        let change = condition.absorb(change);
        let update = Update::builder()
            .set_key(Some(key))
            .set_update_expression(change);
        let update = conditional!(self, update, condition).build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// The part of a transaction that deletes the item with this key.
    pub(crate) fn part_delete(&self, key: Item, condition: Expression) -> Part {
        let delete = Delete::builder().set_key(Some(key));
        let delete = conditional!(self, delete, condition).build()?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// The part of a transaction that changes nothing, and cancels it unless the item with this key meets `condition`.
    pub(crate) fn part_check(&self, key: Item, condition: Expression) -> Part {
        let check = ConditionCheck::builder().set_key(Some(key));
        let check = conditional!(self, check, condition).build()?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}
