//! Successful answers without a body.

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::AfterDeserializationInterceptorContextRef,
    },
    error::BoxError,
};

/// Fails a successful answer without a body, so that it is requested again.
///
/// DynamoDB sends at least `{}`. The SDK reads an empty body as `{}`: as an item that does not exist. So a body that is
/// lost on its way would sign users out.
#[derive(Debug)]
pub(super) struct RefuseEmptyAnswers;

impl Intercept for RefuseEmptyAnswers {
    fn name(&self) -> &'static str {
        "empty answers"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let is_empty = answer.body().bytes().is_some_and(<[u8]>::is_empty);
        if answer.status().is_success() && is_empty {
            return Err("the answer has no body".into());
        }
        Ok(())
    }
}
