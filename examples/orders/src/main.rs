//! The Lambda entry point of `GET /orders`.

use gateway::Error;
use shared::{clock::Clock, config::Environment, telemetry};

use orders::Function;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let function = Function::start(&env, Clock::system()).await?;
    gateway::run(orders::router(function)).await
}
