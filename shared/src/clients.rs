//! The registered clients: the applications of `CLIENTS`, how each one authenticates, and what it may ask for.

mod assertion;
mod authenticate;
mod registered;

pub use assertion::{ALGORITHMS, Assertions};
pub use authenticate::{CLIENT_AUTHENTICATION, Client, ClientProviders, Clients};
pub use registered::GrantType;
