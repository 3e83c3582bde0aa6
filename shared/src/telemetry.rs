//! Logs: one JSON object per line, for CloudWatch Logs Insights and for people.
//!
//! No line ever holds a token, a secret or an e-mail address: they are kept in types that do not print, and other
//! crates, which know nothing of that, are heard only from `warn` up.

use std::sync::OnceLock;

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, registry::LookupSpan,
};

use crate::{
    config::{Environment, Process},
    start::StartError,
};

/// Our own crates, whose events may be logged at any level.
const OURS: [&str; 6] = [
    "shared",
    "token_exchange",
    "me",
    "discovery",
    "rotate_keys",
    "local",
];

static VERSION: OnceLock<String> = OnceLock::new();

/// The version of this function, as each log line names it.
pub(crate) fn version() -> &'static str {
    VERSION.get().map_or("local", String::as_str)
}

/// Starts logging to standard output, at the level that the environment asks for.
///
/// # Errors
/// The level is none that we know.
pub fn init(env: &Environment) -> Result<(), StartError> {
    let process = Process::from_env(env)?;
    let subscriber = subscriber(process.log_level, std::io::stdout);
    // A process logs once: where logging has started already, it goes on as it is.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let _ = VERSION.set(process.version);
    Ok(())
}

/// What [`init`] starts, for any writer.
pub fn subscriber<W>(level: Level, writer: W) -> impl Subscriber + for<'a> LookupSpan<'a>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = OURS.map(|name| (name, LevelFilter::from_level(level)));
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        // The runtime's span carries the request id.
        .with_target("lambda_runtime::layers::trace", LevelFilter::INFO)
        .with_targets(ours);
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(true)
        .with_writer(writer)
        .with_filter(filter);
    tracing_subscriber::registry().with(layer)
}
