//! The Lambda entry point of the key schedule.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use rotate_keys::RotateKeys;
use serde_json::{Value, json};
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let rotate_keys = &RotateKeys::new(&env, Clock::system())?;
    // Whatever the event says, the work is the same.
    lambda_runtime::run(service_fn(|_: LambdaEvent<Value>| async move {
        let made = rotate_keys.run().await?;
        Ok::<_, Error>(json!({ "made_first_key": made }))
    }))
    .await
}
