//! The Lambda entry point of the key schedule.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use rotate_keys::{Order, RotateKeys};
use serde_json::Value;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let rotate_keys = &RotateKeys::new(&env, Clock::system())?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        // A call without an event does the same as the schedule.
        let order: Option<Order> = serde_json::from_value(event.payload)?;
        let report = rotate_keys.run(&order.unwrap_or_default()).await?;
        Ok::<_, Error>(report)
    }))
    .await
}
