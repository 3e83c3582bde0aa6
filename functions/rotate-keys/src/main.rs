//! The Lambda entry point of the key schedule, and of the stack's custom resource.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use rotate_keys::RotateKeys;
use serde_json::Value;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let rotate_keys = &RotateKeys::new(&env, Clock::system())?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        Ok::<_, Error>(rotate_keys.handle(event.payload).await?)
    }))
    .await
}
