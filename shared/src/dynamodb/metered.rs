//! The time and the capacity units of calls, for the log line of the request that makes them.

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{
            AfterDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextMut,
        },
    },
    error::BoxError,
    operation::{
        batch_get_item::{BatchGetItemInput, BatchGetItemOutput},
        delete_item::{DeleteItemInput, DeleteItemOutput},
        get_item::{GetItemInput, GetItemOutput},
        put_item::{PutItemInput, PutItemOutput},
        query::{QueryInput, QueryOutput},
        transact_write_items::{TransactWriteItemsInput, TransactWriteItemsOutput},
        update_item::{UpdateItemInput, UpdateItemOutput},
    },
    types::{ConsumedCapacity, ReturnConsumedCapacity},
};
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::telemetry::{Part, Timed, add_units, is_measured};

/// Measures the calls of requests. A call outside of a request, as of the operator's command, stays as it is.
#[derive(Debug)]
pub(super) struct Metered;

/// The time of a call. The SDK drops it with the call, whether that has an answer or not.
#[derive(Debug)]
struct CallTime {
    _time: Timed,
}

impl Storable for CallTime {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Metered {
    fn name(&self) -> &'static str {
        "measurements of a request"
    }

    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !is_measured() {
            return Ok(());
        }
        config.interceptor_state().store_put(CallTime {
            _time: Timed::start(Part::DynamoDb),
        });
        let input = context.input_mut();
        macro_rules! report_units {
            ($($kind:ty),*) => {
                $(if let Some(input) = input.downcast_mut::<$kind>() {
                    input.return_consumed_capacity = Some(ReturnConsumedCapacity::Total);
                })*
            };
        }
        report_units!(
            BatchGetItemInput,
            DeleteItemInput,
            GetItemInput,
            PutItemInput,
            QueryInput,
            TransactWriteItemsInput,
            UpdateItemInput
        );
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(output) = context.output_or_error() else {
            return Ok(());
        };
        // A table's own units: `capacity_units` is their sum over the table and its indexes.
        let units = |consumed: &ConsumedCapacity| consumed.capacity_units.unwrap_or_default();
        macro_rules! one {
            ($kind:ty) => {
                output
                    .downcast_ref::<$kind>()
                    .and_then(|output| output.consumed_capacity())
                    .map(units)
            };
        }
        macro_rules! several {
            ($kind:ty) => {
                output
                    .downcast_ref::<$kind>()
                    .map(|output| output.consumed_capacity().iter().map(units).sum())
            };
        }
        let read = one!(GetItemOutput)
            .or_else(|| several!(BatchGetItemOutput))
            .or_else(|| one!(QueryOutput));
        let written = one!(UpdateItemOutput)
            .or_else(|| one!(PutItemOutput))
            .or_else(|| several!(TransactWriteItemsOutput))
            .or_else(|| one!(DeleteItemOutput));
        add_units(read.unwrap_or_default(), written.unwrap_or_default());
        Ok(())
    }
}
