//! The sessions of the main table.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, ReturnValue},
};
use secrecy::SecretString;
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

/// Enough to tell one's own devices apart.
const MAX_USER_AGENT: usize = 120;
/// Longer than any provider's ID token is accepted.
const SUBJECT_TOKEN_LIVES: Duration = Duration::from_secs(2 * 60 * 60);

/// How far a provider's clock may be ahead of ours.
const PROVIDER_CLOCK_LEEWAY: Duration = Duration::from_secs(60);

/// Opens, refreshes, lists and ends sessions.
#[derive(Clone, Debug)]
pub struct Sessions {
    pub(super) table: Table,
    pub(super) clock: Clock,
}

/// A session about to be opened by an exchange.
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
    /// When the user signed in with the provider, by the provider's word.
    signed_in_at: Option<Timestamp>,
}

/// A session that an exchange opened.
#[derive(Debug)]
pub struct Opened {
    /// Which one it is.
    pub session: SessionRef,
    /// Its first refresh token.
    pub refresh_token: RefreshToken,
    /// What the client was granted in it.
    pub scope: Option<Scope>,
    /// The API that the client asked for tokens for.
    pub audience: Option<String>,
    /// When the user signed in with the provider, if the provider says so; a repeated exchange does not change it.
    pub signed_in_at: Option<Timestamp>,
    /// Whether this very exchange created the user.
    pub is_new_user: bool,
    /// How long the refresh token is good if it is not used.
    pub refresh_token_expires_in: Duration,
}

/// A session that was refreshed.
#[derive(Debug)]
pub struct Refreshed {
    /// The token that comes next.
    pub refresh_token: RefreshToken,
    /// What the client was granted in the session.
    pub scope: Option<Scope>,
    /// The API that the client asked for tokens for.
    pub audience: Option<String>,
    /// How long the refresh token is good if it is not used.
    pub refresh_token_expires_in: Duration,
    /// Which session it is.
    pub session: SessionRef,
    /// When the user signed in with the provider, if the provider says so.
    pub signed_in_at: Option<Timestamp>,
}

/// What came of an exchange that was let in.
#[derive(Debug)]
pub(crate) enum Opens {
    /// It opened its session.
    New(Opened),
    /// The same client repeats it, for an answer that was lost. Whether the user admits the session, the caller has to see.
    Again(Opened),
}

/// Why an exchange opened no session.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The subject token has opened its one session already.
    #[error("the subject token was already exchanged; sign in again")]
    AlreadyExchanged,
    /// The table cannot be used, and whether the session is there is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a refresh token refreshes nothing.
#[derive(Debug, Error)]
pub enum RefreshError {
    /// It is none of a living session of this client.
    #[error("the refresh token is not valid")]
    Invalid,
    /// Its successor was used: somebody has a copy. The session is over.
    #[error("the refresh token was used before; the session has ended")]
    Reused,
    /// The client asks for a scope that the session was not granted. Nothing has changed.
    #[error("the session was not granted this scope")]
    ScopeNotGranted,
    /// The session's tokens are for an API that the client may not have any more. Nothing has changed.
    #[error("the client may not have tokens for the session's audience")]
    AudienceNotAllowed,
    /// The table cannot be used; the same token works afterwards.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session, as the table holds it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionItem {
    pub(super) client_id: String,
    /// Written as a set of texts, by [`Sessions::prepare`].
    #[serde(default, skip_serializing, deserialize_with = "stored_scope")]
    pub(super) scope: Option<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) audience: Option<String>,
    /// The provider that proved the sign-in.
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
    /// Whether the exchange that opened it created the user.
    #[serde(default)]
    created_user: bool,
    /// When the user signed in with the provider. It is not there where the provider does not say so, and in sessions that
    /// were opened before it was asked: `created_at` does not stand in for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_in_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
    last_used_at: Timestamp,
    idle_expires_at: Timestamp,
    absolute_expires_at: Timestamp,
    /// When DynamoDB may delete the item, which it does some days later.
    expires_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
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
    /// A session for whoever `subject_token` turns out to stand for.
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

    /// The session's name, which follows from the subject token.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// The same, of a sign-in at this time by the provider's word; `None` if the provider does not say when.
    pub fn of_sign_in(mut self, at: Option<Timestamp>) -> Self {
        self.signed_in_at = at;
        self
    }

    /// The same, with tokens for the API that the client asks for.
    pub fn for_audience(mut self, audience: Option<String>) -> Self {
        self.audience = audience;
        self
    }

    /// The same, of a sign-in that this provider proves.
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
    /// The sessions in `table`.
    pub fn new(client: Client, table: String, clock: Clock) -> Self {
        Self {
            table: Table::new(client, table),
            clock,
        }
    }

    /// The item of a session that a sign-in is about to write, and what the client gets once it is written.
    ///
    /// # Errors
    /// None but a fault of ours.
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
            // However short sessions are, a subject token that opened one is remembered until it is too old.
            expires_at: absolute_expires_at.max(now + SUBJECT_TOKEN_LIVES.as_secs()),
            ended_at: None,
        };
        let mut item: Item = serde_dynamo::to_item(&session)?;
        item.extend(session_key(user_id, opening.id));
        if let Some(scope) = &session.scope {
            // A set, of which a condition can tell whether it has a member.
            let tokens = scope.tokens().map(str::to_owned).collect();
            item.insert("scope".to_owned(), AttributeValue::Ss(tokens));
        }
        Ok((item, opening.opened(user_id, session, now)))
    }

    /// The item of a session that is over before it began: the subject token has done other work, and opens none.
    ///
    /// # Errors
    /// None but a fault of ours.
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

    /// Whether the subject token has opened its session already. The read may be out of date: [`Self::open`] decides.
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
    /// The same client repeating the same exchange within a minute, before it used the session, gets the same session
    /// again: so a lost answer is safe to retry.
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
        // A JWT that was signed anew says the same, and its refresh token would not be the one that the table knows.
        let is_same = state.current.matches(&opened.refresh_token.secret.hash());
        if is_same && state.opens_again(&opening.client_id, now) {
            Ok(Opens::Again(opened))
        } else {
            Err(OpenError::AlreadyExchanged)
        }
    }

    /// Ends the session that `opening` has just opened, for a sign-in that did not come about.
    ///
    /// # Errors
    /// The table cannot be written; the session may have ended.
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

    /// Gives the session that `opening` has just opened the version that its user has.
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

    /// Trades a refresh token for the next one.
    ///
    /// One conditional write rotates the current token. Any number of parallel or repeated requests with the token
    /// before it get the same next token, as long as nobody has used that. A session that does not meet `terms` stays as
    /// it is.
    ///
    /// # Errors
    /// [`RefreshError::Invalid`], [`RefreshError::Reused`], [`RefreshError::ScopeNotGranted`] and
    /// [`RefreshError::AudienceNotAllowed`]; or the table cannot be used, and nothing is lost.
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
                // Sessions of earlier versions have their scope as one text, of which the condition compares parts.
                terms.check(&stored)?;
                Ok(stored.refreshed(next, now))
            }
            Outcome::Failed(None) => Err(RefreshError::Invalid),
            Outcome::Failed(Some(item)) => {
                let stored: SessionItem = decode(item)?;
                let decision = decide(&presented, &stored.state(), now, lifetimes.reuse_window);
                if decision.accepts() {
                    // Only a good token is told what is wrong with the request.
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
}

/// The earlier of the provider's time and ours: nobody has signed in later than now. A time that is further ahead than a
/// clock may be off is no time of a sign-in, and says nothing.
fn time_of_sign_in(said: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    said.filter(|at| *at <= now.saturating_add(PROVIDER_CLOCK_LEEWAY.as_secs()))
        .map(|at| at.min(now))
}

/// A set of texts, or in sessions of earlier versions, one text.
fn stored_scope<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Scope>, D::Error> {
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
    use super::*;

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
