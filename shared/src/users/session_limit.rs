//! The largest number of active sessions of a user.

use std::{cmp::Reverse, future::ready};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{User, Users};
use crate::{
    dynamodb::{Expression, StoreError, number, table::user_key},
    ids::SessionRef,
    sessions::{EndReason, Session, Sessions},
};

/// The largest number of active sessions. Each read of the list of sessions reads all of them.
const MAX_SESSIONS: usize = 128;
/// The largest number of sessions that one sign-in ends. The next sign-in continues.
const MAX_ENDED: usize = 64;
/// The number of sessions that are ended at once.
const PARALLEL: usize = 16;

impl Users {
    /// Ends the least recently used sessions of a user who has more than [`MAX_SESSIONS`], except `opened`.
    ///
    /// The user's item counts the sessions that were opened, so most sign-ins read nothing for this. A failure does not
    /// fail the sign-in: the next one tries again.
    pub(super) async fn limit_sessions(
        &self,
        user: &User,
        sessions: &Sessions,
        opened: SessionRef,
    ) {
        if user.opened <= MAX_SESSIONS as u64 {
            return;
        }
        if let Err(error) = self.end_sessions_beyond(user, sessions, opened).await {
            tracing::warn!(
                user_id = %user.id,
                error.cause = %error,
                "the sessions of the user could not be counted: the next sign-in tries again"
            );
        }
    }

    async fn end_sessions_beyond(
        &self,
        user: &User,
        sessions: &Sessions,
        opened: SessionRef,
    ) -> Result<(), StoreError> {
        let mut listed = sessions.list(user.id).await?;
        listed.retain(|session| user.admits(session.session));
        let found = listed.len();
        let beyond = beyond_limit(listed, opened);
        let left = found - beyond.len();
        stream::iter(beyond.into_iter().map(|session| {
            let id = session.session.id;
            sessions.end(user.id, id, EndReason::OverLimit)
        }))
        .buffer_unordered(PARALLEL)
        .try_for_each(|_| ready(Ok(())))
        .await?;
        // Another sign-in may have counted a session meanwhile. Then the count stays too high, and the next sign-in
        // reads the list again.
        let change = Expression::new("SET #opened = :left").value(":left", number(left as u64));
        let is_unchanged =
            Expression::new("#opened = :opened").value(":opened", number(user.opened));
        let key = user_key(user.id);
        self.table.update(key, change, is_unchanged, None).await?;
        Ok(())
    }
}

/// Returns the sessions to end: the least recently used ones beyond [`MAX_SESSIONS`], at most [`MAX_ENDED`], and never
/// the one that was just opened.
fn beyond_limit(mut sessions: Vec<Session>, opened: SessionRef) -> Vec<Session> {
    // Ids decide among sessions that were last used in the same second.
    sessions.sort_by_key(|session| {
        let is_opened = session.session.id == opened.id;
        Reverse((
            is_opened,
            session.last_used_at,
            session.session.id.to_string(),
        ))
    });
    let mut beyond = sessions.split_off(sessions.len().min(MAX_SESSIONS));
    beyond.reverse();
    beyond.truncate(MAX_ENDED);
    beyond
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::SessionId;

    fn session(nth: usize, last_used_at: u64) -> Session {
        Session {
            session: SessionRef {
                id: SessionId::of_subject_token(&nth.to_string().into()),
                version: 0,
            },
            client_id: "nextjs".to_owned(),
            user_agent: None,
            created_at: 0,
            last_used_at,
            expires_at: u64::MAX,
        }
    }

    fn ended(used: &[u64], opened: usize) -> Vec<u64> {
        let all: Vec<Session> = used
            .iter()
            .enumerate()
            .map(|(nth, at)| session(nth, *at))
            .collect();
        let opened = session(opened, 0).session;
        let beyond = beyond_limit(all, opened);
        beyond.iter().map(|session| session.last_used_at).collect()
    }

    #[test]
    fn t160_the_least_recently_used_session_is_the_first_to_end() {
        let mut used: Vec<u64> = (100..100 + MAX_SESSIONS as u64).collect();
        assert!(ended(&used, 0).is_empty(), "at the limit");
        used.push(99);
        assert_eq!(ended(&used, 0), [99], "one above");
        assert_eq!(ended(&used, MAX_SESSIONS), [100], "not the opened one");
        used.extend(0..99);
        let oldest: Vec<u64> = (0..MAX_ENDED as u64).collect();
        assert_eq!(ended(&used, 0), oldest, "a bounded number, oldest first");
    }

    proptest! {
        #[test]
        fn t160_nothing_is_ended_at_the_limit_and_nothing_that_was_used_later(
            used in proptest::collection::vec(0..50_u64, 1..300),
            opened in any::<proptest::sample::Index>(),
        ) {
            let opened = opened.index(used.len());
            let ended = ended(&used, opened);
            let expected = used.len().saturating_sub(MAX_SESSIONS).min(MAX_ENDED);
            prop_assert_eq!(ended.len(), expected);
            let mut others: Vec<u64> = used.clone();
            others.remove(opened);
            others.sort_unstable();
            prop_assert_eq!(ended, &others[..expected]);
        }
    }
}
