//! The Lambda entry point of `POST /token`.

use gateway::Error;
use shared::{clock::Clock, config::Environment, telemetry};
use token_exchange::TokenExchange;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let exchange = TokenExchange::start(&env, Clock::system()).await?;
    gateway::run(token_exchange::router(exchange)).await
}
