//! Logs: one JSON object per line, for CloudWatch Logs Insights and for people.
//!
//! No line ever holds a token, a secret or an e-mail address: secrets are kept in types that do not print, people are
//! named by id alone, and other crates, which know nothing of that, are heard only from `warn` up.

use std::{error::Error, sync::OnceLock};

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, registry::LookupSpan,
};

use crate::config::{ConfigError, Environment, Process};

static VERSION: OnceLock<String> = OnceLock::new();

/// What each error of a chain says of itself, and nothing that it holds.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The version of this function, as each log line names it.
pub(crate) fn version() -> &'static str {
    VERSION.get().map_or("local", String::as_str)
}

/// Starts logging to standard output, at the level that the environment asks for: what `shared` and these `crates` say.
///
/// # Errors
/// The level is none of the five.
pub fn init(env: &Environment, crates: &[&'static str]) -> Result<(), ConfigError> {
    let process = Process::from_env(env)?;
    let subscriber = subscriber(process.log_level, crates, std::io::stdout);
    // A process logs once: where logging has started already, it goes on as it is.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let _ = VERSION.set(process.version);
    Ok(())
}

/// What [`init`] starts, for any writer.
pub fn subscriber<W>(
    level: Level,
    crates: &[&'static str],
    writer: W,
) -> impl Subscriber + for<'a> LookupSpan<'a>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = crates.iter().copied().chain(["shared"]);
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        // The runtime's span carries the request id.
        .with_target("lambda_runtime::layers::trace", LevelFilter::INFO)
        .with_targets(ours.map(|name| (name, LevelFilter::from_level(level))));
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(true)
        .with_writer(writer)
        .with_filter(filter);
    tracing_subscriber::registry().with(layer)
}
