//! The last requests that the API answered, each with its time, its DynamoDB calls, its user and the reason of a
//! refusal.
//!
//! A layer of `tracing` records the span of each route, the AWS SDK's span of each operation, and the log line of each
//! error. It keeps names, durations, ids of users and the causes that the log contains, and no token of a client.
//! At a terminal, each request is one readable line; otherwise the log is the JSON of the Lambdas.

mod line;

use std::{
    collections::VecDeque,
    fmt,
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde::Serialize;
use shared::{
    clock::{Clock, Timestamp},
    config::{ConfigError, Environment, Process},
    telemetry::{self, REQUEST as REQUEST_LINE},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    filter::{Targets, filter_fn},
    fmt::MakeWriter,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

use crate::lock::lock;

/// The number of requests that are kept; older ones are dropped.
pub const KEPT: usize = 50;

/// The target of the span of a request.
const SURFACE: &str = "shared::http::surface";
/// The target of the event of an error that becomes an answer.
const ERROR: &str = "shared::http::error";
const REQUEST: &str = "request";
/// The span around a request whose answer is lost on purpose.
pub(crate) const LOST_ANSWER: &str = "answer_lost_on_purpose";
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
    /// The id of the user, if the request had one.
    pub user: Option<String>,
    /// The reason of an error.
    pub refused: Option<Refused>,
    /// True if the answer was lost on purpose, after the work was done.
    pub lost: bool,
}

/// The reason of an error, as the log has it. The client gets the message alone.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Refused {
    /// The stable code, such as `invalid_grant`.
    pub code: String,
    /// The message of the answer.
    pub message: String,
    /// The cause, which the answer does not contain.
    pub cause: Option<String>,
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
    /// The ids that DynamoDB gave its attempts.
    #[serde(skip)]
    pub(crate) ids: Vec<String>,
}

/// The last requests. Clones share them.
#[derive(Clone, Debug)]
pub struct RequestLog {
    answered: Arc<Mutex<VecDeque<Answered>>>,
    clock: Clock,
    lines: Lines,
}

/// The readable lines of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    /// No lines, because the log has them as JSON.
    Off,
    /// A line for each request, with or without colours.
    On {
        /// True if the status has a colour.
        is_coloured: bool,
    },
}

impl RequestLog {
    /// Makes an empty list.
    pub fn new(clock: Clock) -> Self {
        Self {
            answered: Arc::default(),
            clock,
            lines: Lines::Off,
        }
    }

    /// Starts the log as [`telemetry::init`] does, and records requests. At a terminal, the log is one readable line
    /// for each request, and warnings.
    ///
    /// # Errors
    /// `LOG_LEVEL` is not a level.
    pub fn start(env: &Environment, clock: Clock) -> Result<Self, ConfigError> {
        let mut requests = Self::new(clock);
        let level = Process::from_env(env)?.log_level;
        // A process can have one global subscriber: a log that has started already stays as it is.
        let _ = if io::stdout().is_terminal() {
            let is_coloured = env.optional("NO_COLOR").is_none();
            requests.lines = Lines::On { is_coloured };
            tracing::subscriber::set_global_default(requests.readable(level, io::stdout))
        } else {
            tracing::subscriber::set_global_default(requests.subscriber(level, io::stdout))
        };
        Ok(requests)
    }

    /// Writes readable log lines beside those of the requests: warnings and errors by default, and as much as `level`
    /// asks for if that is more than the default `info`.
    fn readable<W>(&self, level: Level, writer: W) -> impl Subscriber + use<W>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let level = if level == Level::INFO {
            Level::WARN
        } else {
            level
        };
        let ours = crate::CRATES.into_iter().chain(["shared"]);
        let filter = Targets::new()
            .with_default(LevelFilter::WARN)
            .with_targets(ours.map(|name| (name, LevelFilter::from_level(level))))
            // The line of the request has the reason of its error.
            .with_target(ERROR, LevelFilter::OFF)
            .with_target(REQUEST_LINE, LevelFilter::OFF);
        let layer = tracing_subscriber::fmt::layer()
            .compact()
            .with_ansi(false)
            .with_target(false)
            .with_writer(writer)
            .with_filter(filter);
        tracing_subscriber::registry()
            .with(layer)
            .with(self.listener())
    }

    fn listener<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        // This layer has its own filter: a recorded span does not become a log line, and the level of the log does
        // not affect the record.
        let wanted = filter_fn(is_wanted).with_max_level_hint(LevelFilter::DEBUG);
        Listener(self.clone()).with_filter(wanted)
    }

    /// Returns the last requests, the newest first.
    pub fn latest(&self) -> Vec<Answered> {
        self.answered().iter().rev().cloned().collect()
    }

    /// Logs to this writer, and records requests.
    pub(crate) fn subscriber<W>(&self, level: Level, writer: W) -> impl Subscriber + use<W>
    where
        W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
    {
        telemetry::subscriber(level, &crate::CRATES, writer).with(self.listener())
    }

    fn remember(&self, request: &RequestUnderWay, answer: &AnswerFields) {
        let mut answered = self.answered();
        if answered.len() == KEPT {
            answered.pop_front();
        }
        let number = answered.back().map_or(1, |last| last.number + 1);
        let mut calls = request.calls.clone();
        calls.sort_by_key(|call| call.started_us);
        let answer = Answered {
            number,
            at: self.clock.now(),
            function: request.function.clone(),
            method: request.method.clone(),
            route: request.route.clone(),
            status: answer.status.unwrap_or_default(),
            duration_us: answer.duration_us.unwrap_or_default(),
            calls,
            user: request.user.clone(),
            refused: request.refused.clone(),
            lost: answer.is_lost,
        };
        if let Lines::On { is_coloured } = self.lines {
            // A terminal that is gone ends the server by itself.
            let _ = writeln!(io::stdout(), "{}", line::of(&answer, is_coloured));
        }
        answered.push_back(answer);
    }

    fn answered(&self) -> MutexGuard<'_, VecDeque<Answered>> {
        lock(&self.answered)
    }
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    let is_ours = metadata.target() == SURFACE;
    if metadata.is_event() {
        // Events name the user that a request creates, signs in or refreshes.
        return metadata.target() == REQUEST_LINE
            || metadata.fields().field("user_id").is_some()
            || is_error(metadata)
            || has_call_id(metadata);
    }
    is_ours && metadata.name() == REQUEST
        || metadata.name() == LOST_ANSWER
        || metadata.name().starts_with(OPERATION)
}

/// Returns whether the event has the id that DynamoDB gave a call.
fn has_call_id(metadata: &Metadata<'_>) -> bool {
    metadata.fields().field("request_id").is_some()
}

/// Returns whether the event is the log line of an error that becomes an answer.
fn is_error(metadata: &Metadata<'_>) -> bool {
    metadata.target() == ERROR
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
        } else if span.name().starts_with(OPERATION) {
            span.extensions_mut().insert(CallUnderWay::new());
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let Some(CallUnderWay { started, ids }) = span.extensions_mut().remove() else {
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
                ids,
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut answer = AnswerFields::default();
        event.record(&mut answer);
        let Some(mut spans) = context.event_scope(event) else {
            return;
        };
        if let Some(id) = answer.call_id.take() {
            let call = spans.find(|span| span.name().starts_with(OPERATION));
            if let Some(call) = call
                && let Some(call) = call.extensions_mut().get_mut::<CallUnderWay>()
            {
                call.ids.push(id);
            }
            return;
        }
        let Some(span) = spans.find(|span| span.name() == REQUEST) else {
            return;
        };
        // Only an answer that the client would need is lost.
        answer.is_lost = answer.status.is_some_and(|status| status < 300)
            && spans.any(|span| span.name() == LOST_ANSWER);
        let mut extensions = span.extensions_mut();
        let Some(request) = extensions.get_mut::<RequestUnderWay>() else {
            return;
        };
        if answer.user.is_some() {
            request.user = answer.user.take();
        }
        if is_error(event.metadata()) {
            request.refused = Some(answer.refused);
        } else if answer.status.is_some() && answer.duration_us.is_some() {
            self.0.remember(request, &answer);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(request) = span.extensions_mut().get_mut::<RequestUnderWay>() {
            values.record(request);
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
    user: Option<String>,
    refused: Option<Refused>,
}

impl RequestUnderWay {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            function: String::new(),
            method: String::new(),
            route: String::new(),
            calls: Vec::new(),
            user: None,
            refused: None,
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

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "user_id" {
            self.user = Some(format!("{value:?}"));
        }
    }
}

/// The data of an operation's span until its end.
struct CallUnderWay {
    started: Instant,
    ids: Vec<String>,
}

impl CallUnderWay {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            ids: Vec::new(),
        }
    }
}

/// The fields of the event at the end of a request, of an error, of an event about a user, and of the answer to a call.
#[derive(Default)]
struct AnswerFields {
    status: Option<u64>,
    duration_us: Option<u64>,
    user: Option<String>,
    refused: Refused,
    is_lost: bool,
    /// The id that DynamoDB gave a call.
    call_id: Option<String>,
}

impl Visit for AnswerFields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "status" {
            self.status = Some(value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "ms" {
            self.duration_us = Some((value * 1000.0).round() as u64);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "error.code" => value.clone_into(&mut self.refused.code),
            "error.cause" => self.refused.cause = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "user_id" => self.user = Some(format!("{value:?}")),
            // The SDK logs an `Option`.
            "request_id" => {
                let text = format!("{value:?}");
                let id = text.strip_prefix("Some(\"");
                let id = id.and_then(|rest| rest.strip_suffix("\")"));
                self.call_id = Some(id.unwrap_or_default().to_owned());
            }
            "message" => self.refused.message = format!("{value:?}"),
            "error.cause" => self.refused.cause = Some(format!("{value:?}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
