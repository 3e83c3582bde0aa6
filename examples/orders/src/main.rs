//! The Lambda entry point of `GET /orders`.

use lambda_http::Error;
use orders::Orders;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let orders = Orders::start(&env, Clock::system()).await?;
    lambda_http::run(orders::router(orders)).await
}
