//! Sessions, from the exchange to the sign-out, and their refresh tokens.

mod alive;
mod decide;
mod ending;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod list;
mod refresh_token;
mod store;
mod terms;

pub use alive::Alive;
pub(crate) use alive::{alive, is_alive};
pub use decide::{Decision, Presented, SessionState, decide};
pub use ending::EndReason;
pub use list::{Session, StoredSession};
pub use refresh_token::{Nonce, RefreshToken, SecretHash};
pub use store::{OpenError, Opened, Opening, RefreshError, Refreshed, Sessions};
pub(crate) use store::{Opens, check_item};
pub use terms::Terms;

pub use crate::ids::{SessionId, SessionRef};
