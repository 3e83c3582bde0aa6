//! The end of single sessions. Ending all sessions is a write to the user's item.

use std::future::ready;

use aws_sdk_dynamodb::types::ReturnValue;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{RefreshToken, Sessions};
use crate::{
    dynamodb::{Expression, Outcome, StoreError, binary, number, string, table::session_key},
    ids::{SessionId, UserId},
};

/// The number of items that one request deletes.
const PARALLEL: usize = 16;

/// The reason of a session's end, for the log and for events.
#[derive(Clone, Copy, Debug)]
pub enum EndReason {
    /// The client revoked its token.
    Revoked,
    /// The user ended it.
    SignedOut,
    /// A copy of its refresh token was used.
    Reused,
    /// Its sign-in failed, because the user was deleted, disabled or unlinked meanwhile.
    Withdrawn,
    /// The user has too many sessions, and this one was used the longest time ago.
    OverLimit,
}

impl EndReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::SignedOut => "signed_out",
            Self::Reused => "reused",
            Self::Withdrawn => "withdrawn",
            Self::OverLimit => "over_limit",
        }
    }
}

impl Sessions {
    /// Ends a session of the user. Returns whether it exists, which includes an ended one, so that a request can be
    /// repeated after a lost answer.
    ///
    /// # Errors
    /// The table cannot be written. The session may have ended.
    pub async fn end(
        &self,
        user_id: UserId,
        session_id: SessionId,
        reason: EndReason,
    ) -> Result<bool, StoreError> {
        // Never recreate a deleted item from a partial update.
        let is_there = Expression::exists();
        self.end_if(is_there, user_id, session_id, reason).await
    }

    /// Ends the session of a refresh token of any generation, if the token belongs to the session and to `client_id`.
    /// A token with a wrong family changes nothing.
    ///
    /// # Errors
    /// The table cannot be written. The session may have ended.
    pub async fn revoke(&self, token: &RefreshToken, client_id: &str) -> Result<(), StoreError> {
        let is_theirs = Expression::new("#family = :family AND #client_id = :client_id")
            .value(":family", binary(token.family.hash().0))
            .value(":client_id", string(client_id));
        self.end_if(
            is_theirs,
            token.user_id,
            token.session_id,
            EndReason::Revoked,
        )
        .await?;
        Ok(())
    }

    /// Ends a session that meets `condition`, and logs that if it was still alive. Returns whether there is one.
    pub(super) async fn end_if(
        &self,
        condition: Expression,
        user_id: UserId,
        session_id: SessionId,
        reason: EndReason,
    ) -> Result<bool, StoreError> {
        let change = "SET #ended_at = if_not_exists(#ended_at, :now), #ended_by = if_not_exists(#ended_by, :reason)";
        let change = Expression::new(change)
            .value(":now", number(self.clock.now()))
            .value(":reason", string(reason.as_str()));
        let key = session_key(user_id, session_id);
        let returned = Some(ReturnValue::UpdatedOld);
        let Outcome::Done(before) = self.table.update(key, change, condition, returned).await?
        else {
            return Ok(false);
        };
        if !before.contains_key("ended_at") {
            tracing::info!(event = "session.ended", %session_id, %user_id, reason = reason.as_str());
        }
        Ok(true)
    }

    /// Deletes all items of sessions of a deleted user.
    ///
    /// # Errors
    /// The table cannot be written. Some sessions may be left, and a repetition deletes those.
    pub async fn delete_all(&self, user_id: UserId) -> Result<(), StoreError> {
        let mut pages = self
            .query(user_id, Expression::default(), "#pk, #sk")
            .send();
        while let Some(page) = pages.try_next().await? {
            let keys = page.items.unwrap_or_default().into_iter();
            stream::iter(keys.map(|key| self.table.delete(key)))
                .buffer_unordered(PARALLEL)
                .try_for_each(|()| ready(Ok(())))
                .await?;
        }
        Ok(())
    }
}
