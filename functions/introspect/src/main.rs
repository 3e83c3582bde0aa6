//! The Lambda entry point of `POST /introspect`.

use introspect::Introspect;
use lambda_http::Error;
use shared::{clock::Clock, config::Environment, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Environment::process();
    telemetry::init(&env, &[env!("CARGO_CRATE_NAME")])?;
    let introspect = Introspect::start(&env, Clock::system()).await?;
    lambda_http::run(introspect::router(introspect)).await
}
