//! The Lambda entry point of `/me`.

use gateway::Error;
use me::Me;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let me = Me::start(&env, Clock::system()).await?;
    gateway::run(me::router(me)).await
}
