//! The Lambda entry point of `POST /revoke`.

use gateway::Error;
use revoke::Revoke;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let revoke = Revoke::start(&env, Clock::system()).await?;
    gateway::run(revoke::router(revoke)).await
}
