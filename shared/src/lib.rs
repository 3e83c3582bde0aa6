//! The code that two or more of Cambio's functions need, and the operator's command.
//!
//! [`http`] parses a request and knows status codes; [`clients`] authenticates the application that sends it;
//! [`provider`] verifies the sign-in; [`users`] finds the user; [`sessions`] keeps the sign-in; [`token`] issues and
//! verifies access tokens. [`start`] and [`config`] are for the start of a function, and [`settings`]
//! is for the check before it; the others are what these rest on.
//! The modules form no cycle, which `tests/architecture.rs` checks.

mod cached;
pub mod clients;
pub mod clock;
pub mod config;
mod deadline;
pub mod documents;
pub mod dynamodb;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod ids;
pub mod items;
pub mod json;
mod jwk;
mod jws;
pub mod keys;
mod one_time;
pub mod provider;
pub mod route_scopes;
pub mod scope;
pub mod secrets;
pub mod sessions;
pub mod settings;
pub mod start;
pub mod stored;
pub mod telemetry;
pub mod text;
pub mod token;
pub mod users;
