//! Whether a session is alive, for a service that wants to know it now (RFC 7662).

use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem};

use super::{
    Decision, Presented, RefreshToken, Sessions, decide,
    store::{SessionItem, session_key},
};
use crate::{
    clock::Timestamp,
    config::SessionLifetimes,
    dynamodb::{Item, StoreError, number},
    ids::{SessionId, SessionRef, UserId},
};

/// A session that is neither ended nor expired. Whether its user is still let in, the user's own item tells.
#[derive(Debug)]
pub struct Alive {
    /// Which one it is.
    pub session: SessionRef,
    /// The client that opened it.
    pub client_id: String,
    /// What the client may do in it.
    pub scope: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends if it is not refreshed before.
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

/// Whether the session that `item` holds is neither ended nor expired.
///
/// # Errors
/// The item is not as we write them.
pub(crate) fn is_alive(item: Item, now: Timestamp) -> Result<bool, StoreError> {
    let item: SessionItem = serde_dynamo::from_item(item)?;
    Ok(item.state().is_alive(now))
}

/// The part of a transaction that lets it through only while the session is neither ended nor expired: [`is_alive`], in
/// DynamoDB's words.
///
/// # Errors
/// None but a fault of ours.
pub(crate) fn still_alive(
    table: &str,
    user_id: UserId,
    id: SessionId,
    now: Timestamp,
) -> Result<TransactWriteItem, StoreError> {
    let check = ConditionCheck::builder()
        .table_name(table)
        .set_key(Some(session_key(user_id, id)))
        .condition_expression(
            "attribute_exists(#pk) AND attribute_not_exists(#ended_at) \
             AND #idle_expires_at > :now AND #absolute_expires_at > :now",
        )
        .expression_attribute_names("#pk", "pk")
        .expression_attribute_names("#ended_at", "ended_at")
        .expression_attribute_names("#idle_expires_at", "idle_expires_at")
        .expression_attribute_names("#absolute_expires_at", "absolute_expires_at")
        .expression_attribute_values(":now", number(now))
        .build()?;
    Ok(TransactWriteItem::builder().condition_check(check).build())
}

impl Sessions {
    /// The session that `token` would refresh now, whichever client presents it. Nothing is used up, and nothing ends.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find_by_token(
        &self,
        token: &RefreshToken,
        lifetimes: &SessionLifetimes,
    ) -> Result<Option<Alive>, StoreError> {
        let Some(item) = self.read(token.user_id, token.session_id).await? else {
            return Ok(None);
        };
        let presented = Presented {
            client_id: item.client_id.clone(),
            family: token.family.hash(),
            generation: token.generation,
            secret: token.secret.hash(),
        };
        let window = lifetimes.reuse_window.map(|window| window.as_secs());
        let decision = decide(&presented, &item.state(), self.clock.now(), window);
        let is_good = matches!(decision, Decision::Rotate | Decision::Repeat(_));
        Ok(is_good.then(|| Alive::new(token.session_id, item)))
    }

    async fn read(
        &self,
        user_id: UserId,
        id: SessionId,
    ) -> Result<Option<SessionItem>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(session_key(user_id, id)))
            .consistent_read(true)
            .send()
            .await?;
        Ok(found.item.map(serde_dynamo::from_item).transpose()?)
    }
}
