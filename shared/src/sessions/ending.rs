//! How sessions end, one at a time; all at once is the user's own item.

use std::future::ready;

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::SdkError,
    operation::update_item::{
        UpdateItemError, UpdateItemOutput, builders::UpdateItemFluentBuilder,
    },
    types::ReturnValue,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    RefreshToken, Sessions,
    store::{bytes, session_key},
};
use crate::{
    dynamodb::{StoreError, number, string},
    ids::{SessionId, UserId},
};

/// How many items are deleted at a time.
const PARALLEL: usize = 16;

/// Why a session ends, for the log.
#[derive(Clone, Copy, Debug)]
pub enum EndReason {
    /// The client gave its token back.
    Revoked,
    /// The user ended it.
    SignedOut,
    /// Somebody had a copy of its refresh token.
    Reused,
    /// The sign-in that opened it did not come about: the user was deleted, disabled or unlinked meanwhile.
    Withdrawn,
}

impl EndReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::SignedOut => "signed_out",
            Self::Reused => "reused",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl Sessions {
    /// Ends a session of the user. Says whether there is one of that name: one that is over already counts, so that a
    /// request whose answer was lost can be repeated.
    ///
    /// # Errors
    /// The table cannot be written; the session may have ended.
    pub async fn end(
        &self,
        user_id: UserId,
        session_id: SessionId,
        reason: EndReason,
    ) -> Result<bool, StoreError> {
        // An item that is gone must not come back as a stump.
        let ending = self
            .ending(user_id, session_id)
            .condition_expression("attribute_exists(#pk)")
            .expression_attribute_names("#pk", "pk");
        ended(user_id, session_id, reason, ending.send().await)
    }

    /// Ends the session of a refresh token of any generation, if the token is one of the session's and its client is
    /// `client_id`. Whoever does not know the family changes nothing.
    ///
    /// # Errors
    /// The table cannot be written; the session may have ended.
    pub async fn revoke(&self, token: &RefreshToken, client_id: &str) -> Result<(), StoreError> {
        let (user_id, session_id) = (token.user_id, token.session_id);
        let ending = self
            .ending(user_id, session_id)
            .condition_expression("#family = :family AND #client_id = :client_id")
            .expression_attribute_names("#family", "family")
            .expression_attribute_values(":family", bytes(token.family.hash()))
            .expression_attribute_names("#client_id", "client_id")
            .expression_attribute_values(":client_id", string(client_id));
        ended(user_id, session_id, EndReason::Revoked, ending.send().await)?;
        Ok(())
    }

    pub(super) fn ending(&self, user_id: UserId, session_id: SessionId) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(session_key(user_id, session_id)))
            .update_expression("SET #ended_at = if_not_exists(#ended_at, :now)")
            .expression_attribute_names("#ended_at", "ended_at")
            .expression_attribute_values(":now", number(self.clock.now()))
            .return_values(ReturnValue::UpdatedOld)
    }

    /// Deletes whatever the table holds of the sessions of a user who is gone.
    ///
    /// # Errors
    /// The table cannot be written; some sessions may be left, and repeating it goes on with those.
    pub async fn delete_all(&self, user_id: UserId) -> Result<(), StoreError> {
        let mut pages = self
            .query(user_id)
            .expression_attribute_names("#sk", "sk")
            .expression_attribute_names("#pk", "pk")
            .projection_expression("#pk, #sk")
            .into_paginator()
            .send();
        while let Some(page) = pages.try_next().await? {
            let deletions = page.items.unwrap_or_default().into_iter().map(|key| {
                let delete = self.client.delete_item().table_name(&self.table);
                delete.set_key(Some(key)).send()
            });
            stream::iter(deletions)
                .buffer_unordered(PARALLEL)
                .try_for_each(|_| ready(Ok(())))
                .await?;
        }
        Ok(())
    }
}

/// Whether there was a session to end, and a line in the log if it was still alive.
pub(super) fn ended(
    user_id: UserId,
    session_id: SessionId,
    reason: EndReason,
    updated: Result<UpdateItemOutput, SdkError<UpdateItemError, HttpResponse>>,
) -> Result<bool, StoreError> {
    match updated {
        Ok(updated) => {
            let before = updated.attributes.unwrap_or_default();
            if !before.contains_key("ended_at") {
                tracing::info!(event = "session.ended", %session_id, %user_id, reason = reason.as_str());
            }
            Ok(true)
        }
        Err(error) => {
            let is_other = error
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception);
            if is_other {
                Ok(false)
            } else {
                Err(error.into())
            }
        }
    }
}
