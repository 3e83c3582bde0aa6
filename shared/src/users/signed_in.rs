//! Is the user of an access token still signed in? A session ends before its access token does, so each route of ours that
//! takes an access token looks at the session and at the user.

use super::{User, UserId, Users};
use crate::{
    dynamodb::{
        StoreError, decode,
        table::{session_key, user_key},
    },
    ids::{SessionId, SessionRef},
    sessions::is_alive,
};

/// A user and sessions of theirs, as of the same moment.
pub(super) struct Seen {
    pub(super) user: Option<User>,
    /// Whether the session that asks is neither ended nor expired.
    is_alive: bool,
    /// Whether the table holds the other session that was asked for, alive or not.
    pub(super) has_other: bool,
}

impl Seen {
    /// The user, if the session is alive and the user lets it go on.
    pub(super) fn signed_in(self, session: SessionRef) -> Option<User> {
        let is_alive = self.is_alive;
        self.user.filter(|user| is_alive && user.admits(session))
    }
}

impl Users {
    /// The user, if they are signed in with `session` as of now (strongly consistent): neither gone nor disabled, and the
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

    /// Reads the user, the session that asks, and whether there is another session, by one call.
    pub(super) async fn see(
        &self,
        id: UserId,
        session: SessionRef,
        other: Option<SessionId>,
    ) -> Result<Seen, StoreError> {
        let user_key = user_key(id);
        let asking_key = session_key(id, session.id);
        let mut keys = vec![user_key.clone(), asking_key.clone()];
        // DynamoDB refuses a call that names a key twice.
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
