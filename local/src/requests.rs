//! The last requests that the API answered, each with its time and its DynamoDB calls.
//!
//! A layer of `tracing` records the span of each route and the AWS SDK's span of each operation. It keeps names and
//! durations, and no text of a client.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use shared::{
    clock::{Clock, Timestamp},
    config::{ConfigError, Environment, Process},
    telemetry,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    filter::filter_fn,
    fmt::MakeWriter,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

/// The number of requests that are kept; older ones are dropped.
pub const KEPT: usize = 50;

/// The target of the span of a request and of the event at its end.
const SURFACE: &str = "shared::http::surface";
const REQUEST: &str = "request";
/// The prefix of the SDK's span of an operation, such as `DynamoDB.GetItem`.
const OPERATION: &str = "DynamoDB.";

/// A request that was answered.
#[derive(Clone, Debug, Serialize)]
pub struct Answered {
    /// The number of the request since the start, which tells equal requests apart.
    pub number: u64,
    /// The time of the answer.
    pub at: Timestamp,
    /// The function that answered.
    pub function: String,
    /// Its method.
    pub method: String,
    /// The route's pattern, not the path of the request.
    pub route: String,
    /// The status of the answer.
    pub status: u64,
    /// The duration until the answer.
    pub duration_us: u64,
    /// The operations of DynamoDB, in the order of their start.
    pub calls: Vec<Call>,
}

/// An operation of DynamoDB, with all its attempts.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Its name, such as `GetItem`.
    pub operation: &'static str,
    /// The time from the start of the request to the start of the operation.
    pub started_us: u64,
    /// The duration. Operations that overlap ran in parallel.
    pub duration_us: u64,
}

/// The last requests. Clones share them.
#[derive(Clone, Debug)]
pub struct RequestLog {
    answered: Arc<Mutex<VecDeque<Answered>>>,
    clock: Clock,
}

impl RequestLog {
    /// Makes an empty list.
    pub fn new(clock: Clock) -> Self {
        Self {
            answered: Arc::default(),
            clock,
        }
    }

    /// Starts the log as [`telemetry::init`] does, and records requests.
    ///
    /// # Errors
    /// `LOG_LEVEL` is not a level.
    pub fn start(env: &Environment, clock: Clock) -> Result<Self, ConfigError> {
        let requests = Self::new(clock);
        let level = Process::from_env(env)?.log_level;
        // A process can have one global subscriber: a log that has started already stays as it is.
        let subscriber = requests.subscriber(level, std::io::stdout);
        let _ = tracing::subscriber::set_global_default(subscriber);
        Ok(requests)
    }

    /// Returns the last requests, the newest first.
    pub fn latest(&self) -> Vec<Answered> {
        self.answered().iter().rev().cloned().collect()
    }

    /// Logs to this writer, and records requests.
    pub(crate) fn subscriber<W>(&self, level: Level, writer: W) -> impl Subscriber + use<W>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        // This layer has its own filter: a recorded span does not become a log line, and the level of the log does
        // not affect the record.
        let wanted = filter_fn(is_wanted).with_max_level_hint(LevelFilter::DEBUG);
        let listener = Listener(self.clone()).with_filter(wanted);
        telemetry::subscriber(level, &crate::CRATES, writer).with(listener)
    }

    fn remember(&self, request: &RequestUnderWay, answer: &AnswerFields) {
        let mut answered = self.answered();
        if answered.len() == KEPT {
            answered.pop_front();
        }
        let number = answered.back().map_or(1, |last| last.number + 1);
        let mut calls = request.calls.clone();
        calls.sort_by_key(|call| call.started_us);
        answered.push_back(Answered {
            number,
            at: self.clock.now(),
            function: request.function.clone(),
            method: request.method.clone(),
            route: request.route.clone(),
            status: answer.status.unwrap_or_default(),
            duration_us: answer.duration_us.unwrap_or_default(),
            calls,
        });
    }

    fn answered(&self) -> MutexGuard<'_, VecDeque<Answered>> {
        // No code panics in the middle of a change, so the list behind a poisoned lock is complete.
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    let is_ours = metadata.target() == SURFACE;
    if metadata.is_event() {
        return is_ours;
    }
    is_ours && metadata.name() == REQUEST || metadata.name().starts_with(OPERATION)
}

/// The layer that records spans and events.
struct Listener(RequestLog);

impl<S> Layer<S> for Listener
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if span.name() == REQUEST {
            let mut request = RequestUnderWay::new();
            attributes.record(&mut request);
            span.extensions_mut().insert(request);
        } else {
            span.extensions_mut().insert(CallUnderWay(Instant::now()));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let Some(CallUnderWay(started)) = span.extensions_mut().remove() else {
            return;
        };
        let operation = span.name().strip_prefix(OPERATION);
        // Keys are also read outside of requests, at the start and periodically.
        let request = span.scope().find(|span| span.name() == REQUEST);
        if let (Some(operation), Some(request)) = (operation, request)
            && let Some(request) = request.extensions_mut().get_mut::<RequestUnderWay>()
        {
            request.calls.push(Call {
                operation,
                started_us: micros(started.saturating_duration_since(request.started)),
                duration_us: micros(started.elapsed()),
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut answer = AnswerFields::default();
        event.record(&mut answer);
        if answer.status.is_none() || answer.duration_us.is_none() {
            return;
        }
        let Some(mut spans) = context.event_scope(event) else {
            return;
        };
        if let Some(span) = spans.find(|span| span.name() == REQUEST)
            && let Some(request) = span.extensions().get::<RequestUnderWay>()
        {
            self.0.remember(request, &answer);
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The data of a request's span until the answer.
struct RequestUnderWay {
    started: Instant,
    function: String,
    method: String,
    route: String,
    calls: Vec<Call>,
}

impl RequestUnderWay {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            function: String::new(),
            method: String::new(),
            route: String::new(),
            calls: Vec::new(),
        }
    }
}

impl Visit for RequestUnderWay {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "function" => value.clone_into(&mut self.function),
            "method" => value.clone_into(&mut self.method),
            "route" => value.clone_into(&mut self.route),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The data of an operation's span until its end.
struct CallUnderWay(Instant);

/// The fields of the event at the end of a request.
#[derive(Default)]
struct AnswerFields {
    status: Option<u64>,
    duration_us: Option<u64>,
}

impl Visit for AnswerFields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.status = Some(value),
            "duration_us" => self.duration_us = Some(value),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests;
