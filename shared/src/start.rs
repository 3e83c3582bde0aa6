//! The error of a function that cannot start.

use std::fmt;

use thiserror::Error;

use crate::{config::ConfigError, keys::KeysError, provider::ProvidersError};

/// The reason why a function cannot start. Both of its texts are one line, since `main` returns it.
#[derive(Error)]
pub enum StartError {
    /// A setting is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys must not be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The providers cannot be set up.
    #[error(transparent)]
    Providers(#[from] ProvidersError),
}

impl fmt::Debug for StartError {
    // What `main` returns is printed with `Debug`; this is the line that the operator reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
