//! The ids of users and of sessions, which every other module may use.

mod session;
mod user;

pub use session::{SessionId, SessionRef};
pub use user::UserId;
