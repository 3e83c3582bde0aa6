//! Logs: one JSON object per line, as CloudWatch Logs Insights reads it.
//!
//! No line contains a token, a secret or an e-mail address: secrets are in types that do not print, users are named
//! by id, and other crates log only from `warn` up. The line of a request names no user at all.

mod meter;
mod request;

pub use meter::{Meter, measured};
pub(crate) use meter::{Part, Timed, add_units, is_measured, set_failed, set_provider};
pub use request::{Answered, REQUEST, RequestIds};

use std::{error::Error, sync::OnceLock};

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, registry::LookupSpan,
};

use crate::config::{ConfigError, Environment, Process};

static VERSION: OnceLock<String> = OnceLock::new();

/// The longest text of an error in a log line, in bytes. CloudWatch Logs keeps 256 KB of a line.
const MAX_CAUSE: usize = 2048;

/// Returns the messages of an error and of its sources, without the data that they hold, at most 2,048 bytes.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    if text.len() > MAX_CAUSE {
        let end = text.floor_char_boundary(MAX_CAUSE - '…'.len_utf8());
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The version of the function in each log line.
pub(crate) fn version() -> &'static str {
    VERSION.get().map_or("local", String::as_str)
}

/// Starts the log of `shared` and these `crates` on standard output, at the level of the environment.
///
/// # Errors
/// The level is not one of the five.
pub fn init(env: &Environment, crates: &[&'static str]) -> Result<(), ConfigError> {
    let process = Process::from_env(env)?;
    let subscriber = subscriber(process.log_level, crates, std::io::stdout);
    // A process can have one global subscriber: a log that has started already stays as it is.
    let _ = tracing::subscriber::set_global_default(subscriber);
    let _ = VERSION.set(process.version);
    Ok(())
}

/// Returns the subscriber of [`init`], for any writer.
pub fn subscriber<W>(
    level: Level,
    crates: &[&'static str],
    writer: W,
) -> impl Subscriber + for<'a> LookupSpan<'a>
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let ours = crates.iter().copied().chain(["shared"]);
    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        // The runtime's span has the request id.
        .with_target("lambda_runtime::layers::trace", LevelFilter::INFO)
        .with_targets(ours.map(|name| (name, LevelFilter::from_level(level))))
        .with_target(REQUEST, LevelFilter::OFF);
    let lines = || {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(writer.clone())
    };
    // Without spans, which have ids of users.
    let requests = lines()
        .with_span_list(false)
        .with_target(false)
        .with_filter(Targets::new().with_target(REQUEST, LevelFilter::from_level(level)));
    let layer = lines().with_span_list(true).with_filter(filter);
    tracing_subscriber::registry().with(layer.and_then(requests))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn t161_the_text_of_an_error_is_cut_where_it_is_too_long() {
        let cut = |text: String| causes(&io::Error::other(text));
        let fits = "é".repeat(MAX_CAUSE / 2);
        assert_eq!(cut(fits.clone()), fits);
        let longer = cut(format!("{fits}x"));
        assert!(
            longer.len() <= MAX_CAUSE && longer.ends_with("é…"),
            "{longer}"
        );
    }
}
