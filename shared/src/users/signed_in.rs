//! The check that the user of an access token is still signed in. A session can end before its access token expires,
//! so each route that takes an access token reads the session and the user.

use super::{User, UserId, Users};
use crate::{
    dynamodb::{
        StoreError, decode,
        table::{session_key, user_key},
    },
    ids::{SessionId, SessionRef},
    sessions::is_alive,
};

/// A user and its sessions, read at the same moment.
pub(super) struct Seen {
    pub(super) user: Option<User>,
    /// True if the session of the request has neither ended nor expired.
    is_alive: bool,
    /// True if the other requested session exists, active or not.
    pub(super) has_other: bool,
}

impl Seen {
    /// Returns the user, if the session is active and the user admits it.
    pub(super) fn signed_in(self, session: SessionRef) -> Option<User> {
        let is_alive = self.is_alive;
        self.user.filter(|user| is_alive && user.admits(session))
    }
}

impl Users {
    /// Reads the user, if signed in with `session`, strongly consistent: neither deleted nor disabled, and the
    /// session neither ended nor expired. One call, two read units.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find_signed_in(
        &self,
        id: UserId,
        session: SessionRef,
    ) -> Result<Option<User>, StoreError> {
        Ok(self.see(id, session, None).await?.signed_in(session))
    }

    /// Reads the user, the session of the request, and whether another session exists, with one call.
    pub(super) async fn see(
        &self,
        id: UserId,
        session: SessionRef,
        other: Option<SessionId>,
    ) -> Result<Seen, StoreError> {
        let user_key = user_key(id);
        let asking_key = session_key(id, session.id);
        let mut keys = vec![user_key.clone(), asking_key.clone()];
        // DynamoDB refuses a call with a repeated key.
        let other = other.filter(|other| *other != session.id);
        keys.extend(other.map(|other| session_key(id, other)));

        let mut seen = Seen {
            user: None,
            is_alive: false,
            has_other: false,
        };
        for item in self.table.find_all(keys).await? {
            let sort_key = item.get("sk");
            if sort_key == user_key.get("sk") {
                seen.user = Some(decode(item)?);
            } else if sort_key == asking_key.get("sk") {
                seen.is_alive = is_alive(item, self.clock.now())?;
            } else {
                seen.has_other = true;
            }
        }
        Ok(seen)
    }
}
