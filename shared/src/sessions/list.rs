//! The sessions of a user, for the user to see.

use std::cmp::Reverse;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use serde::Deserialize;

use super::{Sessions, store::SORT_KEY};
use crate::{
    clock::Timestamp,
    dynamodb::{StoreError, number, string, user_partition},
    ids::{SessionRef, UserId},
};

/// A living session, as its user may see it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Which one it is.
    pub session: SessionRef,
    /// The client that opened it.
    pub client_id: String,
    /// What that client said it was, at most 120 characters.
    pub user_agent: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was last refreshed, or opened.
    pub last_used_at: Timestamp,
    /// When it ends if it is not refreshed before.
    pub expires_at: Timestamp,
}

/// What the list needs of a session's item: no hash and no nonce leaves the table for it.
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

impl ListedItem {
    const ATTRIBUTES: [&str; 8] = [
        "sk",
        "client_id",
        "user_agent",
        "session_version",
        "created_at",
        "last_used_at",
        "idle_expires_at",
        "absolute_expires_at",
    ];

    fn into_session(self) -> Result<Session, StoreError> {
        let id = self.sk.strip_prefix(SORT_KEY);
        let id = id.and_then(|id| id.parse().ok());
        Ok(Session {
            session: SessionRef {
                id: id.ok_or_else(|| StoreError::Malformed("a session has no name".to_owned()))?,
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

impl Sessions {
    /// The user's sessions that are neither ended nor expired, as of now (strongly consistent), the last used one first.
    ///
    /// Those from before the user signed out everywhere are among them: the user's own item tells which these are.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn list(&self, user_id: UserId) -> Result<Vec<Session>, StoreError> {
        let mut query = self
            .query(user_id)
            .filter_expression(
                "attribute_not_exists(#ended_at) AND #idle_expires_at > :now AND #absolute_expires_at > :now",
            )
            .expression_attribute_names("#ended_at", "ended_at")
            .expression_attribute_values(":now", number(self.clock.now()));
        for name in ListedItem::ATTRIBUTES {
            query = query.expression_attribute_names(format!("#{name}"), name);
        }
        let projection = ListedItem::ATTRIBUTES.map(|name| format!("#{name}"));
        let mut pages = query
            .projection_expression(projection.join(", "))
            .into_paginator()
            .send();
        let mut sessions = Vec::new();
        while let Some(page) = pages.try_next().await? {
            for item in page.items.unwrap_or_default() {
                let item: ListedItem = serde_dynamo::from_item(item)?;
                sessions.push(item.into_session()?);
            }
        }
        sessions.sort_by_key(|session| Reverse(session.last_used_at));
        Ok(sessions)
    }

    pub(super) fn query(&self, user_id: UserId) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("#pk = :pk AND begins_with(#sk, :sessions)")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_names("#sk", "sk")
            .expression_attribute_values(":pk", string(user_partition(user_id)))
            .expression_attribute_values(":sessions", string(SORT_KEY))
    }
}
