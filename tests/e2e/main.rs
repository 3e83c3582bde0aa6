//! End-to-end tests over HTTP, against the real handlers and an embedded DynamoDB.
//!
//! A test whose name begins with `t` and a number proves that row of the table in `docs/security.md`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

mod account;
mod admin;
mod auth_time;
mod authorizer;
mod budgets;
mod clients;
mod conflicts;
mod described;
mod discovery;
mod doctor;
mod documents;
mod errors;
mod examples;
mod faults;
mod gateway;
mod identities;
mod introspection;
mod keys;
mod kit;
mod limits;
mod logs;
mod me;
mod migrate;
mod mutants;
mod oidc;
mod oidc_providers;
mod opaque;
mod operate;
mod operator_permissions;
mod operators;
mod own_routes;
mod permissions;
mod processes;
mod provider;
mod random;
mod rate_limits;
mod restore;
mod rotation;
mod scopes;
mod secrets;
mod sessions;
mod settings;
mod side_by_side;
mod sign_in;
mod sign_out;
mod sign_ups;
mod sources;
mod stack;
mod stored;
mod surface;
mod token;
mod versions;
mod vouched;
