//! Requests and answers over HTTP: the only module with status codes.

mod caller;
mod cors;
mod document;
mod error;
mod form;
mod idempotency_key;
mod json_body;
mod media_type;
mod merge_patch;
mod profile;
mod subject;
mod surface;
mod user_agent;

pub use caller::{Caller, RecentSignIn, bearer_token};
pub use document::document;
pub use error::{ApiError, ClientError, OAuthError};
pub use form::Form;
pub(crate) use form::is_vschar;
pub use idempotency_key::IdempotencyKey;
pub use json_body::JsonBody;
pub use merge_patch::MergePatch;
pub use profile::Profile;
pub use subject::{ACCESS_TOKEN_TYPE, Subject};
pub use surface::{Visibility, method_not_allowed, oauth_surface, surface};
pub use user_agent::UserAgent;

/// The `grant_type` of RFC 8693 §2.1.
pub const GRANT_TYPE_TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The `grant_type` of RFC 6749 §6.
pub const GRANT_TYPE_REFRESH_TOKEN: &str = "refresh_token";
