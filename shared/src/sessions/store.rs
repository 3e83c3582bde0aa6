//! The sessions in the main table.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, ReturnValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::{
    Decision, EndReason, Nonce, Presented, RefreshToken, SecretHash, SessionState, Terms,
    alive::alive, decide,
};
use crate::{
    clock::{Clock, Timestamp},
    config::SessionLifetimes,
    dynamodb::{
        Expression, Item, Outcome, StoreError, Table, binary, decode, number, string,
        table::session_key,
    },
    ids::{SessionId, SessionRef, UserId},
    scope::Scope,
};

/// The longest stored `User-Agent`, in characters, sufficient to recognise a device.
const MAX_USER_AGENT: usize = 120;
/// The time for which an exchanged subject token is remembered, longer than any ID token is accepted.
const SUBJECT_TOKEN_LIVES: Duration = Duration::from_hours(2);

/// The largest accepted lead of a provider's clock.
const PROVIDER_CLOCK_LEEWAY: Duration = Duration::from_mins(1);

/// Opens, refreshes, lists and ends sessions.
#[derive(Clone, Debug)]
pub struct Sessions {
    pub(super) table: Table,
    pub(super) clock: Clock,
}

/// A session that an exchange is about to open.
#[derive(Debug)]
pub struct Opening {
    id: SessionId,
    subject_token: SecretString,
    client_id: String,
    scope: Option<Scope>,
    audience: Option<String>,
    provider: Option<String>,
    user_agent: Option<String>,
    nonce: Nonce,
    lifetimes: SessionLifetimes,
    /// The time of the sign-in, as the provider reports it.
    signed_in_at: Option<Timestamp>,
}

/// A session that an exchange opened.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: SessionRef,
    /// The first refresh token.
    pub refresh_token: RefreshToken,
    /// The granted scope.
    pub scope: Option<Scope>,
    /// The requested audience.
    pub audience: Option<String>,
    /// The time of the sign-in at the provider, if the provider reports it. A repeated exchange does not change it.
    pub signed_in_at: Option<Timestamp>,
    /// True if this exchange created the user.
    pub is_new_user: bool,
    /// The lifetime of the unused refresh token.
    pub refresh_token_expires_in: Duration,
}

/// A refreshed session.
#[derive(Debug)]
pub struct Refreshed {
    /// The successor of the presented token.
    pub refresh_token: RefreshToken,
    /// The granted scope.
    pub scope: Option<Scope>,
    /// The requested audience.
    pub audience: Option<String>,
    /// The lifetime of the unused refresh token.
    pub refresh_token_expires_in: Duration,
    /// The session.
    pub session: SessionRef,
    /// The time of the sign-in at the provider, if the provider reports it.
    pub signed_in_at: Option<Timestamp>,
}

/// The result of an admitted exchange.
#[derive(Debug)]
pub(crate) enum Opens {
    /// The exchange opened a session.
    New(Opened),
    /// The same client repeats the exchange after a lost answer. The caller must check that the user admits the
    /// session.
    Again(Opened),
}

/// Reasons that an exchange opens no session.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The subject token has opened its session already.
    #[error("the subject token was already exchanged; sign in again")]
    AlreadyExchanged,
    /// The table cannot be used, so whether the session exists is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reasons that a refresh is refused.
#[derive(Debug, Error)]
pub enum RefreshError {
    /// The token does not belong to an active session of this client.
    #[error("the refresh token is not valid, or its session has ended: sign in again")]
    Invalid,
    /// The successor of the token was used, so a copy exists. The session has ended.
    #[error("the refresh token was used before, so its session has ended: sign in again")]
    Reused,
    /// The requested scope was not granted to the session. Nothing has changed.
    #[error("the scope was not granted to the session")]
    ScopeNotGranted,
    /// The client has lost the audience of the session. Nothing has changed.
    #[error("the client has lost the audience of the session")]
    AudienceNotAllowed,
    /// The table cannot be used. The same token works afterwards.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The item of a session.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionItem {
    pub(super) client_id: String,
    /// [`Sessions::prepare`] writes it as a set of texts.
    #[serde(default, skip_serializing, deserialize_with = "stored_scope")]
    pub(super) scope: Option<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) audience: Option<String>,
    /// The provider of the sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    pub(super) session_version: u64,
    #[serde(with = "serde_bytes")]
    family: [u8; 32],
    generation: u32,
    #[serde(with = "serde_bytes")]
    current: [u8; 32],
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    previous: Option<[u8; 32]>,
    #[serde(with = "serde_bytes")]
    nonce: [u8; 32],
    /// True if its exchange created the user.
    #[serde(default)]
    created_user: bool,
    /// The time of the sign-in at the provider. Absent if the provider does not report it, and in sessions of earlier
    /// versions: `created_at` does not replace it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_in_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
    last_used_at: Timestamp,
    idle_expires_at: Timestamp,
    absolute_expires_at: Timestamp,
    /// The time from which DynamoDB may delete the item, within some days.
    expires_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
}

/// Checks that an item can be read as a session.
///
/// # Errors
/// [`StoreError::Malformed`].
pub(crate) fn check_item(item: Item) -> Result<(), StoreError> {
    decode::<SessionItem>(item).map(drop)
}

impl SessionItem {
    pub(super) fn state(&self) -> SessionState {
        SessionState {
            client_id: self.client_id.clone(),
            family: SecretHash(self.family),
            generation: self.generation,
            current: SecretHash(self.current),
            previous: self.previous.map(SecretHash),
            nonce: Nonce(self.nonce),
            refreshed_at: self.last_used_at,
            idle_until: self.idle_expires_at,
            absolute_until: self.absolute_expires_at,
            is_ended: self.ended_at.is_some(),
        }
    }

    fn refresh_token_expires_in(&self, now: Timestamp) -> Duration {
        Duration::from_secs(self.over_at().saturating_sub(now))
    }

    pub(super) fn over_at(&self) -> Timestamp {
        self.idle_expires_at.min(self.absolute_expires_at)
    }

    fn refreshed(self, refresh_token: RefreshToken, now: Timestamp) -> Refreshed {
        Refreshed {
            refresh_token_expires_in: self.refresh_token_expires_in(now),
            session: SessionRef {
                id: refresh_token.session_id,
                version: self.session_version,
            },
            signed_in_at: self.signed_in_at,
            scope: self.scope,
            audience: self.audience,
            refresh_token,
        }
    }
}

impl Opening {
    /// Prepares a session for the user of `subject_token`.
    ///
    /// # Errors
    /// [`StoreError::NoRandomness`].
    pub fn new(
        subject_token: &SecretString,
        client_id: &str,
        scope: Option<Scope>,
        user_agent: Option<&str>,
        lifetimes: SessionLifetimes,
    ) -> Result<Self, StoreError> {
        let nonce = Nonce::generate()?;
        let user_agent = user_agent.map(|text| text.chars().take(MAX_USER_AGENT).collect());
        Ok(Self {
            id: SessionId::of_subject_token(subject_token),
            subject_token: subject_token.clone(),
            client_id: client_id.to_owned(),
            scope,
            audience: None,
            provider: None,
            user_agent,
            nonce,
            lifetimes,
            signed_in_at: None,
        })
    }

    /// Returns the id of the session, which is derived from the subject token.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Returns the SHA-256 of the subject token.
    pub(crate) fn hash_of_token(&self) -> Vec<u8> {
        let token = self.subject_token.expose_secret();
        digest(&SHA256, token.as_bytes()).as_ref().to_vec()
    }

    /// Sets the time of the sign-in; `None` if the provider does not report it.
    pub fn of_sign_in(mut self, at: Option<Timestamp>) -> Self {
        self.signed_in_at = at;
        self
    }

    /// Sets the requested audience.
    pub fn for_audience(mut self, audience: Option<String>) -> Self {
        self.audience = audience;
        self
    }

    /// Sets the provider of the sign-in.
    pub fn by_provider(mut self, provider: &str) -> Self {
        self.provider = Some(provider.to_owned());
        self
    }

    pub(crate) fn log_created(&self, user_id: UserId) {
        tracing::info!(event = "session.created", session_id = %self.id, %user_id, client_id = self.client_id);
    }

    fn first_token(&self, user_id: UserId, nonce: Nonce) -> RefreshToken {
        RefreshToken::first(user_id, self.id, &self.subject_token, nonce)
    }

    fn opened(&self, user_id: UserId, item: SessionItem, now: Timestamp) -> Opened {
        Opened {
            session: SessionRef {
                id: self.id,
                version: item.session_version,
            },
            refresh_token: self.first_token(user_id, Nonce(item.nonce)),
            signed_in_at: item.signed_in_at,
            is_new_user: item.created_user,
            refresh_token_expires_in: item.refresh_token_expires_in(now),
            scope: item.scope,
            audience: item.audience,
        }
    }
}

impl Sessions {
    /// Makes a store for the sessions in `table`.
    pub fn new(client: Client, table: String, clock: Clock) -> Self {
        Self {
            table: Table::new(client, table),
            clock,
        }
    }

    /// Returns the item of a session that a sign-in is about to write, and the result for the client.
    ///
    /// # Errors
    /// None except for a bug.
    pub(crate) fn prepare(
        &self,
        opening: &Opening,
        user_id: UserId,
        session_version: u64,
        created_user: bool,
    ) -> Result<(Item, Opened), StoreError> {
        let now = self.clock.now();
        let first = opening.first_token(user_id, opening.nonce);
        let absolute_expires_at = now + opening.lifetimes.absolute.as_secs();
        let session = SessionItem {
            client_id: opening.client_id.clone(),
            scope: opening.scope.clone(),
            audience: opening.audience.clone(),
            provider: opening.provider.clone(),
            user_agent: opening.user_agent.clone(),
            session_version,
            family: first.family.hash().0,
            generation: first.generation,
            current: first.secret.hash().0,
            previous: None,
            nonce: opening.nonce.0,
            created_user,
            signed_in_at: time_of_sign_in(opening.signed_in_at, now),
            created_at: now,
            last_used_at: now,
            idle_expires_at: now + opening.lifetimes.idle.as_secs(),
            absolute_expires_at,
            // A used subject token is remembered until it is too old, even if sessions are shorter.
            expires_at: absolute_expires_at.max(now + SUBJECT_TOKEN_LIVES.as_secs()),
            ended_at: None,
        };
        let mut item: Item = serde_dynamo::to_item(&session)?;
        item.extend(session_key(user_id, opening.id));
        if let Some(scope) = &session.scope {
            // A set, because a condition can test whether it contains a member.
            let tokens = scope.tokens().map(str::to_owned).collect();
            item.insert("scope".to_owned(), AttributeValue::Ss(tokens));
        }
        Ok((item, opening.opened(user_id, session, now)))
    }

    /// Returns the item of an ended session, for a subject token that has linked an account and must open no session.
    ///
    /// # Errors
    /// None except for a bug.
    pub(crate) fn prepare_spent(
        &self,
        opening: &Opening,
        user_id: UserId,
        session_version: u64,
    ) -> Result<Item, StoreError> {
        let (mut item, _) = self.prepare(opening, user_id, session_version, false)?;
        item.insert("ended_at".to_owned(), number(self.clock.now()));
        Ok(item)
    }

    /// Returns whether the subject token has opened its session already. The read may be out of date: [`Self::open`]
    /// decides.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(crate) async fn has_opened(
        &self,
        opening: &Opening,
        user_id: UserId,
    ) -> Result<bool, StoreError> {
        self.table.has(session_key(user_id, opening.id)).await
    }

    /// Opens a session of an existing user, once for each subject token.
    ///
    /// If the same client repeats the exchange within a minute and before the first refresh, it gets the same session
    /// again, so that a lost answer can be retried.
    ///
    /// # Errors
    /// [`OpenError::AlreadyExchanged`], or the table cannot be used.
    pub(crate) async fn open(
        &self,
        opening: &Opening,
        user_id: UserId,
        session_version: u64,
    ) -> Result<Opens, OpenError> {
        let (item, opened) = self.prepare(opening, user_id, session_version, false)?;
        let is_new = Expression::new("attribute_not_exists(#pk)").returning_item();
        let stored: SessionItem = match self.table.put(item, is_new).await? {
            Outcome::Done(_) => {
                opening.log_created(user_id);
                return Ok(Opens::New(opened));
            }
            Outcome::Failed(item) => decode(item.unwrap_or_default())?,
        };
        let now = self.clock.now();
        let state = stored.state();
        let opened = opening.opened(user_id, stored, now);
        // A JWT that was signed again has the same id, but another first refresh token than the stored one.
        let is_same = state.current.matches(&opened.refresh_token.secret.hash());
        if is_same && state.opens_again(&opening.client_id, now) {
            Ok(Opens::Again(opened))
        } else {
            Err(OpenError::AlreadyExchanged)
        }
    }

    /// Ends the session that `opening` has just opened, because the sign-in failed.
    ///
    /// # Errors
    /// The table cannot be written. The session may have ended.
    pub(crate) async fn withdraw(
        &self,
        opening: &Opening,
        user_id: UserId,
    ) -> Result<(), StoreError> {
        let is_its_own =
            Expression::new("#nonce = :nonce").value(":nonce", binary(opening.nonce.0));
        self.end_if(is_its_own, user_id, opening.id, EndReason::Withdrawn)
            .await?;
        Ok(())
    }

    /// Sets the session that `opening` has just opened to the user's present version.
    ///
    /// # Errors
    /// The table cannot be written, or the session has ended meanwhile.
    pub(crate) async fn set_version(
        &self,
        opening: &Opening,
        user_id: UserId,
        session_version: u64,
    ) -> Result<(), StoreError> {
        let change = Expression::new("SET #session_version = :session_version")
            .value(":session_version", number(session_version));
        let is_its_own = Expression::new("#nonce = :nonce AND attribute_not_exists(#ended_at)")
            .value(":nonce", binary(opening.nonce.0));
        let key = session_key(user_id, opening.id);
        match self.table.update(key, change, is_its_own, None).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Failed(_) => Err(StoreError::Conflict("the session")),
        }
    }

    /// Trades a refresh token for its successor.
    ///
    /// One conditional write rotates the current token. Parallel and repeated requests with the previous token get
    /// the same successor until that is used. A session that does not meet `terms` stays unchanged.
    ///
    /// # Errors
    /// [`RefreshError::Invalid`], [`RefreshError::Reused`], [`RefreshError::ScopeNotGranted`] and
    /// [`RefreshError::AudienceNotAllowed`]; or the table cannot be used, and the token stays valid.
    pub async fn refresh(
        &self,
        token: &RefreshToken,
        terms: &Terms<'_>,
        lifetimes: &SessionLifetimes,
    ) -> Result<Refreshed, RefreshError> {
        let now = self.clock.now();
        let nonce = Nonce::generate()?;
        let next = token.successor(nonce).ok_or(RefreshError::Invalid)?;
        let presented = token.presented(terms.client_id);
        let text = "SET #generation = :next_generation, #current = :next, #previous = :current, #nonce = :nonce, \
             #last_used_at = :now, #idle_expires_at = :idle_expires_at";
        let change = Expression::new(text)
            .value(":next_generation", number(next.generation))
            .value(":next", binary(next.secret.hash().0))
            .value(":nonce", binary(nonce.0))
            .value(":idle_expires_at", number(now + lifetimes.idle.as_secs()));
        let condition = rotates(&presented, now)
            .and(terms.condition())
            .returning_item();
        let key = session_key(token.user_id, token.session_id);
        let returned = Some(ReturnValue::AllNew);
        match self.table.update(key, change, condition, returned).await? {
            Outcome::Done(item) => {
                let stored: SessionItem = decode(item)?;
                tracing::info!(event = "session.refreshed", session_id = %token.session_id, user_id = %token.user_id, generation = next.generation);
                // Sessions of earlier versions have their scope as one text, which the condition compares by parts.
                terms.check(&stored)?;
                Ok(stored.refreshed(next, now))
            }
            Outcome::Failed(None) => Err(RefreshError::Invalid),
            Outcome::Failed(Some(item)) => {
                let stored: SessionItem = decode(item)?;
                let decision = decide(&presented, &stored.state(), now, lifetimes.reuse_window);
                if decision.accepts() {
                    // Only the holder of a valid token learns the reason.
                    terms.check(&stored)?;
                }
                self.settle(token, &decision, stored, now).await
            }
        }
    }

    /// Carries out `decision` on a token that did not rotate its session.
    async fn settle(
        &self,
        token: &RefreshToken,
        decision: &Decision,
        stored: SessionItem,
        now: Timestamp,
    ) -> Result<Refreshed, RefreshError> {
        match decision {
            Decision::Repeat(nonce) => {
                let successor = token.successor(*nonce).ok_or(RefreshError::Invalid)?;
                tracing::info!(event = "session.replayed", session_id = %token.session_id, user_id = %token.user_id, generation = token.generation);
                Ok(stored.refreshed(successor, now))
            }
            Decision::End => {
                tracing::warn!(event = "session.reuse_detected", session_id = %token.session_id, user_id = %token.user_id, generation = token.generation);
                self.end(token.user_id, token.session_id, EndReason::Reused)
                    .await?;
                Err(RefreshError::Reused)
            }
            Decision::Refuse => Err(RefreshError::Invalid),
            // The session changed after the decision's reasons were read: the clock passed an edge, for example.
            Decision::Rotate => Err(StoreError::Conflict("the session").into()),
        }
    }
}

/// [`Decision::Rotate`] as a condition on the session's item.
fn rotates(presented: &Presented, now: Timestamp) -> Expression {
    let text = "#family = :family AND #generation = :generation AND #current = :current AND #client_id = :client_id";
    Expression::new(text)
        .value(":family", binary(presented.family.0))
        .value(":generation", number(presented.generation))
        .value(":current", binary(presented.secret.0))
        .value(":client_id", string(&presented.client_id))
        .and(alive(now))
        .and(Expression::readable())
}

/// Returns the earlier of the provider's time and the present, because no sign-in lies in the future. A time beyond
/// the largest clock error is ignored.
fn time_of_sign_in(said: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    said.filter(|at| *at <= now.saturating_add(PROVIDER_CLOCK_LEEWAY.as_secs()))
        .map(|at| at.min(now))
}

/// Deserializes a set of texts, or the single text of earlier versions.
pub(super) fn stored_scope<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Scope>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Set(Vec<String>),
        Text(String),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Set(tokens) => Scope::stored(tokens),
        Stored::Text(text) => {
            let tokens = text.split(' ').filter(|token| !token.is_empty());
            Scope::stored(tokens.map(str::to_owned))
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_user_agent_is_stored_whole_up_to_its_largest_length() {
        let lifetimes = SessionLifetimes {
            idle: Duration::from_secs(1),
            absolute: Duration::from_secs(1),
            reuse_window: None,
        };
        let stored = |user_agent: &str| {
            let token = "token".into();
            let opening = Opening::new(&token, "nextjs", None, Some(user_agent), lifetimes);
            opening.unwrap().user_agent.unwrap()
        };
        let whole = "ü".repeat(MAX_USER_AGENT);

        assert_eq!(stored(&whole), whole);
        assert_eq!(stored(&format!("{whole}x")), whole);
    }

    #[test]
    fn a_scope_is_read_from_a_set_and_from_the_text_of_earlier_versions() {
        let both = Scope::stored(["read", "write"].map(str::to_owned));
        for (stored, scope) in [
            (json!(["read", "write"]), &both),
            (json!("read write"), &both),
            (json!(" read  write "), &both),
            (json!(""), &None),
        ] {
            assert_eq!(stored_scope(&stored).unwrap(), *scope, "{stored}");
        }
    }

    #[test]
    fn t56_the_time_of_a_sign_in_is_the_earlier_one_and_never_one_that_is_made_up() {
        let now = 1_000_000;
        for (said, time) in [
            (None, None),
            (Some(0), Some(0)),
            (Some(now - 1), Some(now - 1)),
            (Some(now), Some(now)),
            (Some(now + 60), Some(now)),
            (Some(now + 61), None),
            (Some(now * 1000), None),
            (Some(u64::MAX), None),
        ] {
            assert_eq!(time_of_sign_in(said, now), time, "{said:?}");
        }
    }
}
