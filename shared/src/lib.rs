//! Everything that two of Cambio's functions need, and nothing that only one needs.
//!
//! A request passes through the modules in one direction: [`http`] parses it and knows status codes; [`provider`] says
//! who the outside world thinks the caller is; [`users`] says which of our users that is; [`token`] gives our own
//! word about them. [`config`] and [`start`] are for the start; the others are what these rest on.

pub mod assertion;
mod cached;
pub mod clock;
pub mod config;
pub mod documents;
pub mod dynamodb;
pub mod http;
mod jwk;
mod jws;
pub mod keys;
pub mod provider;
pub mod scope;
pub mod sessions;
pub mod start;
pub mod telemetry;
pub mod text;
pub mod token;
pub mod users;
