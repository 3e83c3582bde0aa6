//! The registered clients: the applications of `CLIENTS`, how each one authenticates, and what it may ask for.

mod assertion;
mod authenticate;
mod limits;
mod operator;
mod registered;

pub use crate::jws::CLIENT_ALGORITHMS as ALGORITHMS;
pub use assertion::Assertions;
pub use authenticate::{CLIENT_AUTHENTICATION, Client, ClientProviders, Clients};
pub use limits::Limits;
pub use operator::NewSecret;
pub use registered::GrantType;
pub(crate) use registered::clients as registrations;
