//! Settings of the process that the log depends on.

use super::{ConfigError, Environment};

/// The version of the process, and the level of its log.
#[derive(Clone, Debug)]
pub struct Process {
    /// `AWS_LAMBDA_FUNCTION_VERSION`; `local` elsewhere.
    pub version: String,
    /// `LOG_LEVEL` (or Lambda's own `AWS_LAMBDA_LOG_LEVEL`): `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: tracing::Level,
}

impl Process {
    /// Reads `AWS_LAMBDA_FUNCTION_VERSION`, `LOG_LEVEL` and `AWS_LAMBDA_LOG_LEVEL`.
    ///
    /// # Errors
    /// The level is not one of the five.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        let level = |name| env.optional(name).map(|value| (name, value));
        let log_level = match level("LOG_LEVEL").or_else(|| level("AWS_LAMBDA_LOG_LEVEL")) {
            None => tracing::Level::INFO,
            // Lambda has this level above `error`; Cambio logs nothing at it.
            Some((_, value)) if value.eq_ignore_ascii_case("fatal") => tracing::Level::ERROR,
            Some((name, value)) => value.parse().map_err(|_| {
                ConfigError::value(name, value, "error, warn, info, debug or trace")
            })?,
        };
        Ok(Self {
            version: env
                .optional("AWS_LAMBDA_FUNCTION_VERSION")
                .unwrap_or_else(|| "local".to_owned()),
            log_level,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_level_may_be_any_of_lambdas() {
        let level = |value| Process::from_env(&Environment::of([("AWS_LAMBDA_LOG_LEVEL", value)]));
        assert_eq!(level("FATAL").unwrap().log_level, tracing::Level::ERROR);
        assert_eq!(level("DEBUG").unwrap().log_level, tracing::Level::DEBUG);
        assert_eq!(level("").unwrap().log_level, tracing::Level::INFO);
        assert!(level("loud").is_err());
    }
}
