//! The Lambda entry point of `GET /orders`.

use gateway::Error;
use orders::Orders;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let orders = Orders::start(&env, Clock::system()).await?;
    gateway::run(orders::router(orders)).await
}
