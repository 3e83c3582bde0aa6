//! The Lambda entry point of `POST /introspect`.

use gateway::Error;
use introspect::Introspect;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let introspect = Introspect::start(&env, Clock::system()).await?;
    gateway::run(introspect::router(introspect)).await
}
