//! Is the user of an access token still signed in? A session ends before its access token does, so each route of ours that
//! takes an access token looks at the session and at the user.

use std::time::Duration;

use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::{User, UserId, Users, items::user_key};
use crate::{
    dynamodb::{Item, StoreError},
    ids::{SessionId, SessionRef},
    sessions,
};

/// The number of reads for one batch of keys: DynamoDB may leave some of them unprocessed.
const BATCH_READS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

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
        let session_key = sessions::session_key(id, session.id);
        let mut keys = vec![user_key.clone(), session_key.clone()];
        // DynamoDB refuses a call that names a key twice.
        let other = other.filter(|other| *other != session.id);
        keys.extend(other.map(|other| sessions::session_key(id, other)));

        let mut seen = Seen {
            user: None,
            is_alive: false,
            has_other: false,
        };
        for item in self.read_all(keys).await? {
            let sort_key = item.get("sk");
            if sort_key == user_key.get("sk") {
                seen.user = Some(serde_dynamo::from_item(item)?);
            } else if sort_key == session_key.get("sk") {
                seen.is_alive = sessions::is_alive(item, self.clock.now())?;
            } else {
                seen.has_other = true;
            }
        }
        Ok(seen)
    }

    /// The items with these keys, where there are any, as of now (strongly consistent).
    async fn read_all(&self, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let mut keys = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .build()?;
        let mut items = Vec::new();
        let mut backoff = FIRST_BACKOFF;
        for _ in 1..BATCH_READS {
            let Some(left) = self.read_some(keys, &mut items).await? else {
                return Ok(items);
            };
            keys = left;
            tokio::time::sleep(backoff).await;
            backoff *= 2;
        }
        match self.read_some(keys, &mut items).await? {
            None => Ok(items),
            Some(_) => Err(StoreError::Unavailable(
                "DynamoDB left keys unprocessed".to_owned(),
            )),
        }
    }

    /// Adds to `items` what one call reads, and answers the keys that DynamoDB left unprocessed: it does so where a
    /// partition is throttled, in an answer that is otherwise a success, which the SDK does not try again. An item that
    /// was not read is not an item that is not there.
    async fn read_some(
        &self,
        keys: KeysAndAttributes,
        items: &mut Vec<Item>,
    ) -> Result<Option<KeysAndAttributes>, StoreError> {
        let request = self.client.batch_get_item();
        let read = request.request_items(&self.table, keys).send().await?;
        items.extend(read.responses.unwrap_or_default().into_values().flatten());
        Ok(read
            .unprocessed_keys
            .and_then(|mut left| left.remove(&self.table)))
    }
}
