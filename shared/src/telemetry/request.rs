//! The log line of a request: one JSON object without nested members, and nothing personal.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    meter::{Meter, ms},
    version,
};

/// The target of the event that becomes the line.
pub const REQUEST: &str = "shared::request";

/// True until the first request of the process.
static IS_COLD: AtomicBool = AtomicBool::new(true);

/// The ids under which API Gateway and Lambda log the request.
#[derive(Clone, Debug, Default)]
pub struct RequestIds {
    /// The id that API Gateway gave the request.
    pub gateway: Option<String>,
    /// The id that Lambda gave the invocation.
    pub lambda: Option<String>,
}

/// A request that was answered, for its log line. All texts are of a bounded set, so that none is personal.
#[derive(Debug)]
pub struct Answered<'a> {
    /// The function.
    pub function: &'static str,
    /// The pattern of the route.
    pub route: &'a str,
    /// The method, if the line of the route does not name it.
    pub method: Option<&'static str>,
    /// The status of the answer, if it is one of HTTP.
    pub status: Option<u16>,
    /// The outcome, unless the measurements have that of an error.
    pub outcome: &'static str,
    /// True if the function failed, and did not refuse.
    pub is_failure: bool,
    /// The time until the answer.
    pub took: Duration,
}

impl Answered<'_> {
    /// Writes the line, at level `ERROR` for a failure and at `INFO` otherwise.
    pub fn log(&self, ids: &RequestIds, meter: &Meter) {
        let is_cold = IS_COLD.swap(false, Ordering::Relaxed);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: REQUEST,
                    event = "request",
                    function = self.function,
                    version = version(),
                    route = self.route,
                    method = self.method,
                    status = self.status,
                    outcome = meter.failed.map_or(self.outcome, |(_, outcome)| outcome),
                    code = meter.failed.map(|(code, _)| code),
                    provider = meter.provider.as_deref(),
                    ms = ms(self.took),
                    provider_ms = meter.provider_time.ms(),
                    dynamodb_ms = meter.dynamodb_time.ms(),
                    crypto_ms = meter.crypto_time.ms(),
                    read_units = some_units(meter.read_units),
                    write_units = some_units(meter.write_units),
                    cold = is_cold,
                    request_id = ids.gateway.as_deref(),
                    lambda_request_id = ids.lambda.as_deref(),
                )
            };
        }
        if self.is_failure {
            line!(error);
        } else {
            line!(info);
        }
    }
}

fn some_units(units: f64) -> Option<f64> {
    (units > 0.0).then_some(units)
}
