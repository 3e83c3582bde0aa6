//! The Lambda entry point of `/me/identities`.

use gateway::Error;
use identities::IdentitiesOfMe;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let identities = IdentitiesOfMe::start(&env, Clock::system()).await?;
    gateway::run(identities::router(identities)).await
}
