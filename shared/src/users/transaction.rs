//! What came of a transaction: all of it was written, or nothing, and then why.

use aws_sdk_dynamodb::{
    Client,
    config::http::HttpResponse,
    error::SdkError,
    operation::{
        transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput},
        update_item::builders::UpdateItemFluentBuilder,
    },
    types::{
        CancellationReason, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};

use crate::dynamodb::{Item, StoreError};

/// What came of a transaction.
pub(super) enum Written {
    /// All of it.
    Done,
    /// Nothing: a condition did not hold, or another transaction was in the way.
    Cancelled(Cancelled),
}

/// Why nothing was written: a reason for each write, in their order; none where another transaction was in the way.
pub(super) struct Cancelled(Vec<CancellationReason>);

impl Written {
    pub(super) fn of(
        sent: Result<TransactWriteItemsOutput, SdkError<TransactWriteItemsError, HttpResponse>>,
    ) -> Result<Self, StoreError> {
        let Err(error) = sent else {
            return Ok(Self::Done);
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                if cancelled.cancellation_reasons().iter().any(is_of_the_items) =>
            {
                let reasons = cancelled.cancellation_reasons().to_vec();
                Ok(Self::Cancelled(Cancelled(reasons)))
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
                Ok(Self::Cancelled(Cancelled(Vec::new())))
            }
            _ => Err(error.into()),
        }
    }
}

impl Cancelled {
    /// Whether the condition of the `nth` write did not hold.
    pub(super) fn failed(&self, nth: usize) -> bool {
        self.0
            .get(nth)
            .is_some_and(|reason| reason.code() == Some("ConditionalCheckFailed"))
    }

    /// The item because of which the condition of the `nth` write did not hold, where that write asked for it.
    pub(super) fn found(&self, nth: usize) -> Option<&Item> {
        self.0.get(nth).filter(|_| self.failed(nth))?.item()
    }
}

/// And not of DynamoDB, which may be too busy for any transaction.
fn is_of_the_items(reason: &CancellationReason) -> bool {
    matches!(
        reason.code(),
        Some("ConditionalCheckFailed" | "TransactionConflict")
    )
}

/// The same update as a call of its own, outside of a transaction.
pub(super) fn alone(client: &Client, update: Update) -> UpdateItemFluentBuilder {
    client
        .update_item()
        .table_name(update.table_name)
        .set_key(Some(update.key))
        .update_expression(update.update_expression)
        .set_condition_expression(update.condition_expression)
        .set_expression_attribute_names(update.expression_attribute_names)
        .set_expression_attribute_values(update.expression_attribute_values)
}

/// Writes an item where there is none yet.
pub(super) fn put_new(table: &str, item: Item) -> Result<TransactWriteItem, StoreError> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression("attribute_not_exists(#pk)")
        .expression_attribute_names("#pk", "pk")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()?;
    Ok(TransactWriteItem::builder().put(put).build())
}
