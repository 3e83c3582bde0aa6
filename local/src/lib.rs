//! Cambio on one machine without any set-up: the handlers of the Lambdas, an embedded DynamoDB, a stand-in GitHub, a
//! stand-in OpenID provider, and a page that shows each request.

pub mod api;
pub mod app_env;
pub mod command;
pub mod demo;
pub mod doctor;
pub mod dynamodb;
pub mod github;
pub mod invocation;
mod lock;
mod neighbours;
mod next_app;
mod openid;
pub mod operator;
mod page;
pub mod requests;
#[cfg(test)]
mod scene;
pub mod server;
pub mod settings;

/// All crates whose events this server logs.
pub const CRATES: [&str; 9] = [
    "local",
    "token_exchange",
    "revoke",
    "introspect",
    "me",
    "sessions",
    "identities",
    "discovery",
    "rotate_keys",
];
