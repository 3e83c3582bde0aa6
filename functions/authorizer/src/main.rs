//! The Lambda entry point of the authorizer.

use authorizer::Authorizer;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let authorizer = &Authorizer::start(&env, Clock::system()).await?;
    // An error becomes a 5xx of API Gateway, and the request does not pass.
    // The runtime gets any JSON: an event that the runtime itself cannot parse would be quoted in the log and in the
    // error. `RawValue` and not `Value`: the runtime tracks the path of each member that it parses.
    lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let lambda = Some(event.context.request_id);
        Ok::<_, Error>(
            authorizer
                .authorize_invocation(&*event.payload, lambda)
                .await?,
        )
    }))
    .await
}
