//! Linking and unlinking of identities, the ways to sign in as one user.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    EmailKey, LinkedIdentity, Status, User, UserId, Users, admits, is_active,
    items::{linked, owner},
    same_email::has_email,
    store::Known,
};
use crate::{
    clock::Timestamp,
    config::SessionLifetimes,
    dynamodb::{
        Attempts, Cancelled, Expression, Outcome, Part, StoreError, Transacted, decode, encode,
        number, string, table::user_key,
    },
    ids::{SessionId, SessionRef},
    provider::{Identity, IdentityKey},
    sessions::{Opening, Sessions},
};

/// The largest number of identities, which bounds the transaction that deletes a user.
pub(super) const MAX_IDENTITIES: usize = 16;

/// The largest number of attempts to link within [`ATTEMPTS_WITHIN`]. Each attempt costs a call with the app's
/// credentials, which the provider limits for the app as a whole.
const MAX_ATTEMPTS: u64 = 10;
const ATTEMPTS_WITHIN: Duration = Duration::from_mins(10);

/// The recent attempts of a user to link an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAttempts {
    /// The time of the first one.
    since: Timestamp,
    /// The number of attempts within [`ATTEMPTS_WITHIN`] of it.
    count: u64,
}

impl LinkAttempts {
    /// Returns the time of the first attempt.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Returns the number of attempts.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns whether they are too old to count. Attempts in the future do not count either: a clock that went
    /// backwards must not lock the user out.
    fn are_over(&self, now: Timestamp) -> bool {
        let age = now.checked_sub(self.since);
        age.is_none_or(|age| age >= ATTEMPTS_WITHIN.as_secs())
    }
}

/// The last unlinked account, so that the request can be repeated after a lost answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlinked {
    /// The provider of the account.
    provider: String,
    /// The session of the request.
    session: SessionId,
}

impl Unlinked {
    /// Returns the provider of the account.
    pub fn provider(&self) -> &str {
        &self.provider
    }
}

/// Reasons that an identity is not linked or unlinked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The user is deleted or disabled, or the session of the request has ended.
    #[error("the user is deleted, disabled, or signed out")]
    NotSignedIn,
    /// The request conflicts with the linked accounts.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The user has no account of this provider.
    #[error("no account of this provider is linked")]
    NotLinked,
    /// The user has made too many attempts.
    #[error("too many attempts to link an account; try again later")]
    TooManyAttempts {
        /// The time to wait before a retry.
        retry_after: Duration,
    },
    /// The subject token was used before.
    #[error("the subject token was already used; sign in with the provider again")]
    AlreadyUsed,
    /// The table cannot be used. The request can be repeated safely.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The conflict between a request and the linked accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Conflict {
    /// The identity belongs to another user.
    #[error("this account already belongs to another user")]
    BelongsToAnother,
    /// The user has another identity of the same provider.
    #[error("another account of this provider is linked; unlink that one first")]
    ProviderLinked,
    /// The user has the largest number of identities.
    #[error("no more than {MAX_IDENTITIES} accounts can be linked")]
    TooMany,
    /// The identity is the only one of the user.
    #[error("this is the only way to sign in; link another account first")]
    Last,
}

/// The step that follows [`Users::begin_link`].
#[derive(Debug)]
pub enum LinkStep {
    /// This very token linked the account before: there is nothing left to do.
    Linked(User),
    /// The provider may be asked, and then [`Users::link`] called with this user.
    Ask(User),
}

/// The result of joining an identity to the user with the same address.
pub(super) enum Joined {
    /// The identity signs in as this user now.
    As(UserId),
    /// The user cannot have this identity, so a separate user is created.
    Apart,
    /// The items changed meanwhile.
    Changed,
    /// The user is disabled, and so is a new identity with the same address.
    Disabled,
}

impl Users {
    /// Decides whether a provider may be asked about a token that is to be linked, and counts the attempt: the user
    /// is signed in, has no account of the provider yet, has room for one, and has not tried too often.
    ///
    /// # Errors
    /// The reason why the provider must not be asked.
    pub async fn begin_link(
        &self,
        id: UserId,
        session: SessionRef,
        provider: &str,
        spent: &Opening,
    ) -> Result<LinkStep, LinkError> {
        let mut attempts = Attempts::at("the user");
        loop {
            let seen = self.see(id, session, Some(spent.id())).await?;
            let is_spent = seen.has_other || spent.id() == session.id;
            let user = seen.signed_in(session).ok_or(LinkError::NotSignedIn)?;
            match (user.identities.contains_key(provider), is_spent) {
                (true, true) => return Ok(LinkStep::Linked(user)),
                (false, true) => return Err(LinkError::AlreadyUsed),
                (true, false) => return Err(Conflict::ProviderLinked.into()),
                (false, false) if user.identities.len() >= MAX_IDENTITIES => {
                    return Err(Conflict::TooMany.into());
                }
                (false, false) => {}
            }
            if self.count_attempt(&user, session).await? {
                return Ok(LinkStep::Ask(user));
            }
            attempts.again().await?;
        }
    }

    /// Returns `false` if another attempt was counted, or the user changed, meanwhile.
    async fn count_attempt(&self, user: &User, session: SessionRef) -> Result<bool, LinkError> {
        let now = self.clock.now();
        let is_unchanged = match user.link_attempts {
            None => Expression::new("attribute_not_exists(#link_attempts)"),
            Some(attempts) => Expression::new("#link_attempts.#since = :since")
                .value(":since", number(attempts.since)),
        };
        let (change, condition) = match user.link_attempts {
            Some(attempts) if !attempts.are_over(now) => {
                if attempts.count >= MAX_ATTEMPTS {
                    let over_at = attempts.since + ATTEMPTS_WITHIN.as_secs();
                    let retry_after = Duration::from_secs(over_at - now);
                    return Err(LinkError::TooManyAttempts { retry_after });
                }
                let change = "SET #link_attempts.#count = #link_attempts.#count + :one";
                let is_below = Expression::new("#link_attempts.#count < :max")
                    .value(":max", number(MAX_ATTEMPTS));
                (
                    Expression::new(change).value(":one", number(1_u64)),
                    is_unchanged.and(is_below),
                )
            }
            _ => {
                let first = LinkAttempts {
                    since: now,
                    count: 1,
                };
                let change = Expression::new("SET #link_attempts = :first");
                (change.value(":first", encode(first)?), is_unchanged)
            }
        };
        let condition = condition.and(admits(session));
        let counted = self
            .table
            .update(user_key(user.id), change, condition, None);
        Ok(matches!(counted.await?, Outcome::Done(_)))
    }

    /// Lets `identity` sign in as the user as well. The token that proved it opens no session afterwards: `spent` is
    /// the one that it would have opened. One that is linked already counts as linked.
    ///
    /// Of requests that link or sign in with the same identity at the same time, one gets it, and nothing is half
    /// done. `user` is the one that [`Self::begin_link`] read: the conditions of the transaction decide whether it is
    /// still up to date.
    ///
    /// # Errors
    /// The reason why it was not linked; then neither of the two accounts has changed.
    pub async fn link(
        &self,
        user: User,
        session: SessionRef,
        identity: &Identity,
        sessions: &Sessions,
        spent: &Opening,
    ) -> Result<User, LinkError> {
        if !self.use_up(identity, spent).await? {
            return Err(LinkError::AlreadyUsed);
        }
        let (id, key) = (user.id, identity.key());
        let mut read = Some(user);
        let mut attempts = Attempts::at("the user");
        loop {
            let user = match read.take() {
                Some(user) => Some(user),
                None => self.find_signed_in(id, session).await?,
            };
            let mut user = user.ok_or(LinkError::NotSignedIn)?;
            match user.identities.get(identity.provider()) {
                Some(linked) if linked.key == key => return Ok(user),
                Some(_) => return Err(Conflict::ProviderLinked.into()),
                None if user.identities.len() >= MAX_IDENTITIES => {
                    return Err(Conflict::TooMany.into());
                }
                None => {}
            }
            let new = linked(&key, identity, self.clock.now());
            let may_link = room(identity.provider()).and(admits(session));
            let written = self.table.transact([
                self.claim(&key, id),
                self.attachment(id, identity, &new, may_link),
                self.table
                    .part_put_new(sessions.prepare_spent(spent, id, user.session_version)?),
                self.still_alive(id, session),
            ]);
            match written.await? {
                Transacted::Done => {
                    tracing::info!(event = "identity.linked", user_id = %id, provider = identity.provider());
                    user.identities.insert(identity.provider().to_owned(), new);
                    return Ok(user);
                }
                // The user or the session changed: what was read before says nothing.
                Transacted::Cancelled(reasons) if reasons.failed(1) || reasons.failed(3) => {}
                // Another transaction was in the way, perhaps one that links the identity to another user.
                Transacted::Cancelled(reasons) if reasons.is_undecided(0) => {
                    attempts.again().await?;
                    let known = self.find_identity(&key, true).await?;
                    if matches!(known, Some(Known::Owned(owned)) if owned.user_id != id) {
                        return Err(Conflict::BelongsToAnother.into());
                    }
                    continue;
                }
                Transacted::Cancelled(reasons) => {
                    if let Some(item) = reasons.found(0)
                        && owner(item)? != id
                    {
                        return Err(Conflict::BelongsToAnother.into());
                    }
                    if reasons.failed(2) && !reasons.failed(0) {
                        return Err(LinkError::AlreadyUsed);
                    }
                }
            }
            attempts.again().await?;
        }
    }

    /// Unlinks the user's identity of `provider`, except the only one. Sessions that it opened stay active. A
    /// repetition in the same session gets the same answer.
    ///
    /// # Errors
    /// The identity is not unlinked, and nothing has changed.
    pub async fn unlink(
        &self,
        id: UserId,
        session: SessionRef,
        provider: &str,
        lifetimes: &SessionLifetimes,
    ) -> Result<(), LinkError> {
        let expires_at = self.clock.now() + lifetimes.absolute.as_secs();
        let mut attempts = Attempts::at("the user");
        loop {
            let user = self.find_signed_in(id, session).await?;
            let user = user.ok_or(LinkError::NotSignedIn)?;
            let Some(identity) = user.identities.get(provider) else {
                let is_done = user.unlinked.is_some_and(|unlinked| {
                    unlinked.provider == provider && unlinked.session == session.id
                });
                return if is_done {
                    Ok(())
                } else {
                    Err(LinkError::NotLinked)
                };
            };
            if user.identities.len() == 1 {
                return Err(Conflict::Last.into());
            }
            let parts = [
                self.release(&identity.key, id, expires_at),
                self.detachment(&user, session, provider, &identity.key),
                self.still_alive(id, session),
            ];
            // Perhaps this provider proved the address: the next sign-in proves it anew.
            let email = user.email_key.iter();
            let parts = parts
                .into_iter()
                .chain(email.map(|email| self.deletion_of_email(email, id)));
            if let Transacted::Done = self.table.transact(parts).await? {
                tracing::info!(event = "identity.unlinked", user_id = %id, provider);
                return Ok(());
            }
            attempts.again().await?;
        }
    }

    /// Links `identity` to the user with the same verified address.
    pub(super) async fn join(
        &self,
        id: UserId,
        key: &IdentityKey,
        identity: &Identity,
        email: &EmailKey,
    ) -> Result<Joined, StoreError> {
        let new = linked(key, identity, self.clock.now());
        // The address in the user's profile must be this one and verified. `email_key` alone is not sufficient,
        // because it follows the profile later.
        let has_address =
            Expression::new("#email_key = :email_key AND #profile.#proven_email = :email_key")
                .value(":email_key", string(email.as_str()));
        let may_join = room(identity.provider()).and(is_active()).and(has_address);
        let written = self.table.transact([
            self.claim(key, id),
            self.attachment(id, identity, &new, may_join.returning_item()),
        ]);
        match written.await? {
            Transacted::Done => {
                tracing::info!(event = "identity.linked", user_id = %id, provider = identity.provider(), by = "email");
                Ok(Joined::As(id))
            }
            // A read tells the outcome of the other transaction, and is refused by none.
            Transacted::Cancelled(reasons) if reasons.is_conflict() => {
                let user = self.find(id).await?;
                Ok(user.map_or(Joined::Changed, |user| seen(&user, key, identity, email)))
            }
            Transacted::Cancelled(reasons) => Self::why_not_joined(&reasons, email),
        }
    }

    fn why_not_joined(reasons: &Cancelled, email: &EmailKey) -> Result<Joined, StoreError> {
        if let Some(item) = reasons.found(0) {
            return Ok(Joined::As(owner(item)?));
        }
        let Some(item) = reasons.found(1) else {
            return Ok(Joined::Changed);
        };
        let user: User = decode(item.clone())?;
        if user.status == Status::Disabled {
            return Ok(Joined::Disabled);
        }
        let is_still_theirs = user.email_key.as_ref() == Some(email);
        Ok(if is_still_theirs {
            Joined::Apart
        } else {
            Joined::Changed
        })
    }

    fn attachment(
        &self,
        id: UserId,
        identity: &Identity,
        new: &LinkedIdentity,
        condition: Expression,
    ) -> Part {
        let change = Expression::new("SET #identities.#provider = :linked")
            .value(":linked", encode(new)?)
            .name("#provider", identity.provider());
        self.table.part_update(user_key(id), change, condition)
    }

    fn detachment(
        &self,
        user: &User,
        session: SessionRef,
        provider: &str,
        key: &IdentityKey,
    ) -> Part {
        let unlinked = Unlinked {
            provider: provider.to_owned(),
            session: session.id,
        };
        let change = "SET #unlinked = :unlinked REMOVE #identities.#provider, #email_key";
        let change = Expression::new(change).value(":unlinked", encode(unlinked)?);
        let is_not_last =
            Expression::new("#identities.#provider.#key = :key AND size(#identities) > :one")
                .value(":key", string(key.as_str()))
                .value(":one", number(1_u64))
                .name("#provider", provider);
        let condition = admits(session)
            .and(is_not_last)
            .and(has_email(user.email_key.as_ref()));
        self.table.part_update(user_key(user.id), change, condition)
    }
}

/// Returns what a user's item tells about joining `identity` to the user. [`Joined::Changed`] if it may still succeed.
fn seen(user: &User, key: &IdentityKey, identity: &Identity, email: &EmailKey) -> Joined {
    if user.status == Status::Disabled {
        return Joined::Disabled;
    }
    match user.identities.get(identity.provider()) {
        Some(linked) if linked.key == *key => Joined::As(user.id),
        Some(_) if user.email_key.as_ref() == Some(email) => Joined::Apart,
        Some(_) | None => Joined::Changed,
    }
}

/// The condition on a user's item that there is room for one more account, and none of the same provider.
fn room(provider: &str) -> Expression {
    Expression::new("attribute_not_exists(#identities.#provider) AND size(#identities) < :max")
        .value(":max", number(MAX_IDENTITIES as u64))
        .name("#provider", provider)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{AllowedSignUps, SameEmail, SignUps},
        provider,
        users::store::new_user,
    };

    const NOW: Timestamp = 1_000_000;

    #[test]
    fn attempts_count_for_ten_minutes_and_never_before_their_time() {
        let attempts = LinkAttempts {
            since: NOW,
            count: 3,
        };
        for (now, are_over) in [
            (NOW - 1, true),
            (NOW, false),
            (NOW + 599, false),
            (NOW + 600, true),
        ] {
            assert_eq!(attempts.are_over(now), are_over, "{now}");
        }
        assert_eq!((attempts.since(), attempts.count()), (NOW, 3));
    }

    #[test]
    fn the_last_unlinked_account_is_named_by_its_provider() {
        let unlinked = Unlinked {
            provider: "github".to_owned(),
            session: SessionId::of_subject_token(&"token".to_owned().into()),
        };
        assert_eq!(unlinked.provider(), "github");
    }

    /// Returns an identity with a verified address, and the key of the address.
    fn proven(provider: &str, subject: &str, address: &str) -> (Identity, EmailKey) {
        let email = provider::Email {
            address: address.to_owned(),
            verified: true,
        };
        let email = provider::EmailAnswer::Some(email);
        let identity = Identity::in_model(provider, subject, email);
        let sign_ups = SignUps {
            allowed: AllowedSignUps::Everyone,
            same_email: SameEmail::Link,
            email_providers: vec![provider.to_owned()],
        };
        let key = sign_ups.proven_email(&identity).unwrap();
        (identity, key)
    }

    /// A read after a conflict tells the same as the conditions of the transaction would have.
    #[test]
    fn a_users_item_tells_whether_an_identity_has_joined_or_never_can() {
        let (google, ada) = proven("google", "1", "ada@example.com");
        let (github, bob) = proven("github", "1", "bob@example.com");
        let (github_two, _) = proven("github", "2", "bob@example.com");
        let mut user = new_user(&google.key(), &google, Some(ada.clone()), NOW);
        let told =
            |user: &User, identity: &Identity, email| seen(user, &identity.key(), identity, email);

        assert!(
            matches!(told(&user, &github, &ada), Joined::Changed),
            "there is room for it"
        );
        let linked = linked(&github.key(), &github, NOW);
        user.identities.insert("github".to_owned(), linked);
        assert!(matches!(told(&user, &github, &ada), Joined::As(id) if id == user.id));
        assert!(
            matches!(told(&user, &github_two, &ada), Joined::Apart),
            "the provider is taken"
        );
        assert!(
            matches!(told(&user, &github_two, &bob), Joined::Changed),
            "the address has moved"
        );
        user.status = Status::Disabled;
        assert!(matches!(told(&user, &github, &ada), Joined::Disabled));
    }
}
