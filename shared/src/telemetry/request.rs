//! The log line of a request: one JSON object without nested members, and nothing personal.

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde::ser::{SerializeMap as _, Serializer as _};
use tracing::{Event, Subscriber};
use tracing_serde::SerdeMapVisitor;
use tracing_subscriber::{
    Layer,
    fmt::{
        MakeWriter,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    layer::Context,
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

/// Writes the events of [`REQUEST`], and no span: the spans have ids of users.
pub(super) struct RequestLines<W>(pub(super) W);

impl<S, W> Layer<S> for RequestLines<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut timestamp = String::with_capacity(32);
        let mut line = Vec::with_capacity(512);
        let mut write = || {
            SystemTime
                .format_time(&mut Writer::new(&mut timestamp))
                .ok()?;
            let mut json = serde_json::Serializer::new(&mut line);
            let mut map = json.serialize_map(None).ok()?;
            map.serialize_entry("timestamp", &timestamp).ok()?;
            map.serialize_entry("level", event.metadata().level().as_str())
                .ok()?;
            let mut fields = SerdeMapVisitor::new(map);
            event.record(&mut fields);
            fields.finish().ok()
        };
        if write().is_some() {
            line.push(b'\n');
            // As in `tracing_subscriber::fmt`: a line that cannot be written fails no request.
            let _ = self.0.make_writer().write_all(&line);
        }
    }
}
