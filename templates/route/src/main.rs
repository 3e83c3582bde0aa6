//! The Lambda entry point of `GET /{{ project_name }}`.

use gateway::Error;
use shared::{clock::Clock, config::Environment, telemetry};

use {{ project_name | replace: "-", "_" }}::Function;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let function = Function::start(&env, Clock::system()).await?;
    gateway::run({{ project_name | replace: "-", "_" }}::router(function)).await
}
