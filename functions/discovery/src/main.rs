//! The Lambda entry point of the discovery documents.

use discovery::Discovery;
use gateway::Error;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let discovery = Discovery::start(&env, Clock::system()).await?;
    gateway::run(discovery::router(discovery)).await
}
