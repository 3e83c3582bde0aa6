//! The list of a user's sessions.

use std::cmp::Reverse;

use aws_sdk_dynamodb::operation::query::paginator::QueryPaginator;
use serde::Deserialize;

use super::{Sessions, alive::alive, store::stored_scope};
use crate::{
    clock::Timestamp,
    dynamodb::{
        Expression, Item, StoreError, decode, string,
        table::{SESSION, USER},
    },
    ids::{SessionRef, UserId},
    scope::Scope,
};

/// An active session as its user may see it.
#[derive(Clone, Debug)]
pub struct Session {
    /// The session.
    pub session: SessionRef,
    /// The client that opened it.
    pub client_id: String,
    /// The `User-Agent` at its start, at most 120 characters.
    pub user_agent: Option<String>,
    /// The time of its start.
    pub created_at: Timestamp,
    /// The time of the last refresh or of the start.
    pub last_used_at: Timestamp,
    /// The time at which it ends without a refresh.
    pub expires_at: Timestamp,
}

/// The attributes that the list reads, without hashes and nonces.
#[derive(Debug, Deserialize)]
struct ListedItem {
    sk: String,
    client_id: String,
    user_agent: Option<String>,
    session_version: u64,
    created_at: Timestamp,
    last_used_at: Timestamp,
    idle_expires_at: Timestamp,
    absolute_expires_at: Timestamp,
}

/// A stored session, alive or over, without hashes and nonces.
#[derive(Debug, Deserialize)]
pub struct StoredSession {
    sk: String,
    /// The client that opened it.
    pub client_id: String,
    /// The provider of the sign-in.
    pub provider: Option<String>,
    /// The granted scope.
    #[serde(default, deserialize_with = "stored_scope")]
    pub scope: Option<Scope>,
    /// The requested audience.
    pub audience: Option<String>,
    /// The `User-Agent` at its start.
    pub user_agent: Option<String>,
    /// The time of the sign-in at the provider.
    pub signed_in_at: Option<Timestamp>,
    /// The time of its start.
    pub created_at: Timestamp,
    /// The time of the last refresh or of the start.
    pub last_used_at: Timestamp,
    /// The time of its end, if it was ended by itself.
    pub ended_at: Option<Timestamp>,
    /// The reason of that end, such as `revoked`.
    pub ended_by: Option<String>,
    idle_expires_at: Timestamp,
    absolute_expires_at: Timestamp,
}

impl StoredSession {
    const ATTRIBUTES: &str = "#sk, #client_id, #provider, #scope, #audience, #user_agent, #signed_in_at, #created_at, \
         #last_used_at, #ended_at, #ended_by, #idle_expires_at, #absolute_expires_at";

    /// Returns the id.
    pub fn id(&self) -> &str {
        self.sk.strip_prefix(SESSION).unwrap_or(&self.sk)
    }

    /// Returns the time at which it ends without a refresh.
    pub fn expires_at(&self) -> Timestamp {
        self.idle_expires_at.min(self.absolute_expires_at)
    }
}

impl ListedItem {
    const ATTRIBUTES: &str = "#sk, #client_id, #user_agent, #session_version, #created_at, #last_used_at, \
         #idle_expires_at, #absolute_expires_at";

    fn into_session(self) -> Result<Session, StoreError> {
        let id = self.sk.strip_prefix(SESSION);
        let id = id.and_then(|id| id.parse().ok());
        Ok(Session {
            session: SessionRef {
                id: id.ok_or_else(|| {
                    StoreError::Malformed("an item of a session has no id".to_owned())
                })?,
                version: self.session_version,
            },
            client_id: self.client_id,
            user_agent: self.user_agent,
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            expires_at: self.idle_expires_at.min(self.absolute_expires_at),
        })
    }
}

async fn read_all<T>(
    query: QueryPaginator,
    decode: impl Fn(Item) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut pages = query.send();
    let mut all = Vec::new();
    while let Some(page) = pages.try_next().await? {
        for item in page.items.unwrap_or_default() {
            all.push(decode(item)?);
        }
    }
    Ok(all)
}

impl Sessions {
    /// Reads the user's sessions that have neither ended nor expired, strongly consistent, the last used one first.
    ///
    /// Sessions from before a sign-out everywhere are included: the user's item tells which these are.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn list(&self, user_id: UserId) -> Result<Vec<Session>, StoreError> {
        let alive = alive(self.clock.now());
        let query = self.query(user_id, alive, ListedItem::ATTRIBUTES);
        let items = read_all(query, |item| decode::<ListedItem>(item)?.into_session());
        let mut sessions = items.await?;
        sessions.sort_by_key(|session| Reverse(session.last_used_at));
        Ok(sessions)
    }

    /// Reads all stored sessions of the user, also those that are over and not yet deleted, the newest one first.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn stored(&self, user_id: UserId) -> Result<Vec<StoredSession>, StoreError> {
        let all = Expression::default();
        let query = self.query(user_id, all, StoredSession::ATTRIBUTES);
        let mut sessions = read_all(query, decode::<StoredSession>).await?;
        sessions.sort_by_key(|session| Reverse(session.created_at));
        Ok(sessions)
    }

    /// Queries the user's sessions that pass `filter` for the attributes in `projection`.
    pub(super) fn query(
        &self,
        user_id: UserId,
        filter: Expression,
        projection: &str,
    ) -> QueryPaginator {
        let keys = Expression::new("#pk = :pk AND begins_with(#sk, :sessions)")
            .value(":pk", string(format!("{USER}{user_id}")))
            .value(":sessions", string(SESSION));
        self.table.query(keys, filter, projection)
    }
}
