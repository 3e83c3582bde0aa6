//! The state of a session at this moment, for introspection (RFC 7662) and transactions.

use super::{RefreshToken, Sessions, decide, store::SessionItem};
use crate::{
    clock::Timestamp,
    config::SessionLifetimes,
    dynamodb::{Expression, Item, StoreError, decode, number, table::session_key},
    ids::{SessionId, SessionRef},
};

/// A session that has neither ended nor expired. The user's item decides whether the user is still admitted.
#[derive(Debug)]
pub struct Alive {
    /// The session.
    pub session: SessionRef,
    /// The client that opened it.
    pub client_id: String,
    /// The granted scope.
    pub scope: Option<String>,
    /// The time of its start.
    pub created_at: Timestamp,
    /// The time at which it ends without a refresh.
    pub expires_at: Timestamp,
}

impl Alive {
    fn new(id: SessionId, item: SessionItem) -> Self {
        Self {
            session: SessionRef {
                id,
                version: item.session_version,
            },
            created_at: item.created_at,
            expires_at: item.over_at(),
            client_id: item.client_id,
            scope: item.scope.map(|scope| scope.to_string()),
        }
    }
}

/// Returns whether the session in `item` is neither ended nor expired.
///
/// # Errors
/// The item is not a session.
pub(crate) fn is_alive(item: Item, now: Timestamp) -> Result<bool, StoreError> {
    Ok(decode::<SessionItem>(item)?.state().is_alive(now))
}

/// [`SessionState::is_alive`] as a condition on the session's item.
///
/// [`SessionState::is_alive`]: super::SessionState::is_alive
pub(crate) fn alive(now: Timestamp) -> Expression {
    let text = "attribute_not_exists(#ended_at) AND #idle_expires_at > :now AND #absolute_expires_at > :now";
    Expression::new(text).value(":now", number(now))
}

impl Sessions {
    /// Returns the session that `token` would refresh now, for any client. Changes nothing.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find_by_token(
        &self,
        token: &RefreshToken,
        lifetimes: &SessionLifetimes,
    ) -> Result<Option<Alive>, StoreError> {
        let key = session_key(token.user_id, token.session_id);
        let Some(item) = self.table.find::<SessionItem>(key, true).await? else {
            return Ok(None);
        };
        let presented = token.presented(&item.client_id);
        let now = self.clock.now();
        let decision = decide(&presented, &item.state(), now, lifetimes.reuse_window);
        let is_good = decision.accepts();
        Ok(is_good.then(|| Alive::new(token.session_id, item)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        dynamodb::tests::{client, condition_holds},
        sessions::Opening,
        users::UserId,
    };

    #[tokio::test]
    async fn t40_t42_a_session_is_alive_alike_in_rust_and_in_dynamodb() {
        const NOW: Timestamp = 1_000;
        let client = client("http://127.0.0.1:1");
        let sessions = Sessions::new(client, "t".to_owned(), Clock::new(|| NOW));
        let token = "gho_a".to_owned().into();
        let lifetimes = SessionLifetimes {
            idle: std::time::Duration::ZERO,
            absolute: std::time::Duration::ZERO,
            reuse_window: None,
        };
        let opening = Opening::new(&token, "nextjs", None, None, lifetimes).unwrap();
        let prepared = sessions.prepare(&opening, UserId::generate(), 0, false);
        let (opened, _) = prepared.unwrap();
        for (idle, absolute, ended, expected) in [
            (NOW + 1, NOW + 1, None, true),
            (NOW, NOW + 1, None, false),
            (NOW + 1, NOW, None, false),
            (NOW + 1, NOW + 1, Some(NOW - 1), false),
            (NOW + 1, NOW + 1, Some(NOW + 1), false),
        ] {
            let mut item = opened.clone();
            item.insert("idle_expires_at".to_owned(), number(idle));
            item.insert("absolute_expires_at".to_owned(), number(absolute));
            item.extend(ended.map(|ended| ("ended_at".to_owned(), number(ended))));

            assert_eq!(is_alive(item.clone(), NOW).unwrap(), expected, "{item:?}");
            assert_eq!(condition_holds(item, alive(NOW)).await, expected);
        }
    }
}
