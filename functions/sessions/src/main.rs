//! The Lambda entry point of `/me/sessions`.

use gateway::Error;
use sessions::SessionsOfMe;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let sessions = SessionsOfMe::start(&env, Clock::system()).await?;
    gateway::run(sessions::router(sessions)).await
}
