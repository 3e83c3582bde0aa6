//! The only room with status codes: what requests must look like, and what answers do.

mod caller;
mod client;
mod error;
mod form;
mod profile;
mod surface;

pub use caller::Caller;
pub use client::{Client, Clients};
pub use error::{ApiError, OAuthError};
pub use form::Form;
pub use profile::Profile;
pub use surface::{Cache, method_not_allowed, surface};
