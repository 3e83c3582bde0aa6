//! The users and identities in the main table.

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, ReturnValue},
};
use serde::Deserialize;
use thiserror::Error;

use super::{
    Edited, EmailKey, Metadata, OwnClaims, Status, StoredProfile, User, UserId,
    identities::Joined,
    is_active,
    items::{Owned, linked, owner},
};
use crate::{
    clock::{Clock, Timestamp},
    config::{SameEmail, SignUps},
    dynamodb::{
        Attempts, Expression, Item, Outcome, Part, StoreError, Table, Transacted, Use, decode,
        number, string,
        table::{identity_key, user_key},
    },
    provider::{EmailAnswer, Identity, IdentityKey, Profile},
    sessions::{OpenError, Opened, Opening, Opens, Sessions},
};

/// Reads and writes users and identities.
#[derive(Clone, Debug)]
pub struct Users {
    pub(super) table: Table,
    pub(super) clock: Clock,
}

/// An admitted sign-in.
#[derive(Debug)]
pub struct SignIn {
    /// The user.
    pub user: User,
    /// The opened session.
    pub session: Opened,
    /// True if another user has the same verified address, if the settings report that.
    pub email_in_use: bool,
}

/// Reasons that a verified identity is not admitted.
#[derive(Debug, Error)]
pub enum SignInError {
    /// The user is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// The identity may not become a user.
    #[error("this account is not allowed to sign up here")]
    NotAllowed,
    /// The subject token has opened its session already.
    #[error("the subject token was already exchanged; sign in again")]
    AlreadyExchanged,
    /// The table cannot be read or written. No partial change is left.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<OpenError> for SignInError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::AlreadyExchanged => Self::AlreadyExchanged,
            OpenError::Store(error) => Self::Store(error),
        }
    }
}

/// The result of an attempt to create a user.
enum Creation {
    SignIn(Box<SignIn>),
    /// Another sign-in was faster and created this user.
    Lost(UserId),
    /// The verified address belongs to this user.
    EmailTaken(UserId),
    /// Another transaction conflicted, so the state is unknown.
    Conflict,
}

/// The item of an identity.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Known {
    /// The user unlinked it. The item remembers that for as long as the user's sessions can last, because a
    /// provider's token that opened one of them must open nothing else.
    Released { released_by: UserId },
    /// The identity belongs to the user.
    Owned(Owned),
}

impl Users {
    /// Makes a store for the users in `table`.
    pub fn new(client: Client, table: String, clock: Clock) -> Self {
        Self {
            table: Table::new(client, table),
            clock,
        }
    }

    /// Reads the user with this id, strongly consistent.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.read(id, true).await
    }

    async fn read(&self, id: UserId, consistent: bool) -> Result<Option<User>, StoreError> {
        self.table.find(user_key(id), consistent).await
    }

    /// Signs `identity` in as its user, or as a new user if `sign_ups` allows it.
    ///
    /// Parallel first sign-ins create one user: identity, user and session are written in one transaction, and the
    /// losers continue with the winner's user. A user who was deleted meanwhile is never recreated.
    ///
    /// # Errors
    /// The user is disabled or not admitted, or the table cannot be used. The sign-in can be repeated safely.
    pub async fn sign_in(
        &self,
        identity: &Identity,
        sign_ups: &SignUps,
        sessions: &Sessions,
        opening: &Opening,
    ) -> Result<SignIn, SignInError> {
        if !self.use_up(identity, opening).await? {
            return Err(SignInError::AlreadyExchanged);
        }
        let key = identity.key();
        let mut proven = sign_ups.proven_email(identity);
        let mut email_in_use = false;
        // A stale read is harmless: the condition of the write decides, and no sign-in is refused because of it.
        let mut known = self.find_identity(&key, false).await?;
        let mut is_current = false;
        let mut attempts = Attempts::at("the user");
        loop {
            let id = match known {
                Some(Known::Owned(owned)) => Some(owned.user_id),
                Some(Known::Released { released_by })
                    if sessions.has_opened(opening, released_by).await? =>
                {
                    return Err(SignInError::AlreadyExchanged);
                }
                Some(Known::Released { .. }) | None => None,
            };
            let Some(id) = id else {
                let email = proven.as_ref();
                let signed_up = self
                    .sign_up(&key, identity, sign_ups, email, sessions, opening)
                    .await;
                if matches!(signed_up, Err(SignInError::NotAllowed)) && !is_current {
                    known = self.find_identity(&key, true).await?;
                    is_current = true;
                    continue;
                }
                known = match signed_up? {
                    Creation::SignIn(sign_in) => {
                        return Ok(SignIn {
                            email_in_use,
                            ..*sign_in
                        });
                    }
                    Creation::Lost(user_id) => Some(Known::Owned(Owned { user_id })),
                    Creation::Conflict => {
                        attempts.again().await?;
                        self.find_identity(&key, true).await?
                    }
                    Creation::EmailTaken(_) => {
                        proven = None;
                        email_in_use = sign_ups.same_email == SameEmail::Ask;
                        None
                    }
                };
                continue;
            };
            let proven = sign_ups.proven_email(identity);
            let returned = self
                .come_back(id, &key, identity, proven.as_ref(), sessions, opening)
                .await?;
            if let Some((mut user, session)) = returned {
                let email_in_use = self.follow_email(&mut user, identity, sign_ups).await?
                    && sign_ups.same_email == SameEmail::Ask;
                self.limit_sessions(&user, sessions, session.session).await;
                return Ok(SignIn {
                    user,
                    session,
                    email_in_use,
                });
            }
            attempts.again().await?;
            known = self.find_identity(&key, true).await?;
        }
    }

    /// Uses up the token that proves `identity`, if it is one with a `jti`. Returns `false` if another token had the
    /// same `jti`. The same token once more is for the session that it opened to decide.
    pub(super) async fn use_up(
        &self,
        identity: &Identity,
        opening: &Opening,
    ) -> Result<bool, StoreError> {
        let Some(once) = identity.once() else {
            return Ok(true);
        };
        let token = opening.hash_of_token();
        let used = Use::new(&once.issuer, &once.jti, token, once.expires_at);
        self.table.use_up(&used).await
    }

    /// Opens a session of the user and updates the profile. Returns `None` if the user is deleted or the identity
    /// belongs to another user, so that the earlier read was stale.
    ///
    /// A refused exchange changes nothing: if the session of the subject token exists, the profile is written only
    /// after the condition of the session holds. The first exchange of a token sends both writes at once, which saves
    /// a round trip. Both reads may be stale, so a replay right after the first exchange can still update the
    /// profile, from the same answer of the provider.
    async fn come_back(
        &self,
        id: UserId,
        key: &IdentityKey,
        identity: &Identity,
        proven: Option<&EmailKey>,
        sessions: &Sessions,
        opening: &Opening,
    ) -> Result<Option<(User, Opened)>, SignInError> {
        let (seen, has_opened) =
            tokio::try_join!(self.read(id, false), sessions.has_opened(opening, id))?;
        let is_let_in =
            |user: &User| is_theirs(user, key, identity) && user.status == Status::Active;
        let update = self.update(id, key, identity, proven);
        let (updated, opens) = match seen.filter(is_let_in) {
            Some(user) if !has_opened => {
                let (updated, opens) =
                    tokio::join!(update, sessions.open(opening, id, user.session_version));
                (updated, opens?)
            }
            _ => {
                let user = self.find(id).await?;
                let Some(user) = user.filter(|user| is_theirs(user, key, identity)) else {
                    return Ok(None);
                };
                if user.status == Status::Disabled {
                    return Err(SignInError::Disabled);
                }
                let opens = sessions.open(opening, id, user.session_version).await?;
                if matches!(&opens, Opens::Again(opened) if !user.admits(opened.session)) {
                    return Err(SignInError::AlreadyExchanged);
                }
                (update.await, opens)
            }
        };
        let user = match updated {
            Ok(Some(user)) => user,
            // The sign-in failed, so its session must end.
            Ok(None) | Err(SignInError::Disabled) => {
                if let Opens::New(_) = opens {
                    sessions.withdraw(opening, id).await?;
                }
                return updated.map(|_| None);
            }
            // Whether the profile was written is unknown; repeating the exchange writes it.
            Err(error) => return Err(error),
        };
        match opens {
            Opens::Again(opened) if user.admits(opened.session) => Ok(Some((user, opened))),
            Opens::Again(_) => Err(SignInError::AlreadyExchanged),
            Opens::New(mut opened) => {
                // The user signed out everywhere after the read, and this sign-in is later.
                if opened.session.version != user.session_version {
                    opened.session.version = user.session_version;
                    sessions
                        .set_version(opening, id, user.session_version)
                        .await?;
                }
                Ok(Some((user, opened)))
            }
        }
    }

    /// Makes a new user of `identity`, or joins it to the user with the same verified address, if the settings say
    /// so.
    async fn sign_up(
        &self,
        key: &IdentityKey,
        identity: &Identity,
        sign_ups: &SignUps,
        proven: Option<&EmailKey>,
        sessions: &Sessions,
        opening: &Opening,
    ) -> Result<Creation, SignInError> {
        let links = sign_ups.same_email == SameEmail::Link;
        if !sign_ups.allowed.admit(identity) {
            // An existing user needs no permission to sign up.
            let owner = match proven.filter(|_| links) {
                Some(email) => self
                    .owner_of_email(email)
                    .await?
                    .map(|owner| (owner, email)),
                None => None,
            };
            let Some((owner, email)) = owner else {
                return Err(SignInError::NotAllowed);
            };
            return match self.join(owner, key, identity, email).await? {
                Joined::As(id) => Ok(Creation::Lost(id)),
                Joined::Changed => Ok(Creation::Conflict),
                Joined::Disabled => Err(SignInError::Disabled),
                Joined::Apart => Err(SignInError::NotAllowed),
            };
        }
        let mut created = self
            .create(key, identity, proven, sessions, opening)
            .await?;
        // The other transaction may have taken the address: a read tells, which no transaction is in the way of.
        if let (Creation::Conflict, Some(email)) = (&created, proven)
            && let Some(owner) = self.owner_of_email(email).await?
        {
            created = Creation::EmailTaken(owner);
        }
        let (Creation::EmailTaken(owner), Some(email), true) = (&created, proven, links) else {
            return Ok(created);
        };
        match self.join(*owner, key, identity, email).await? {
            Joined::As(id) => Ok(Creation::Lost(id)),
            Joined::Changed => Ok(Creation::Conflict),
            Joined::Disabled => Err(SignInError::Disabled),
            Joined::Apart => Ok(created),
        }
    }

    /// Reads the item of an identity.
    pub(super) async fn find_identity(
        &self,
        key: &IdentityKey,
        consistent: bool,
    ) -> Result<Option<Known>, StoreError> {
        self.table
            .find(identity_key(key.as_str()), consistent)
            .await
    }

    /// Updates the profile of a returning user. Returns `None` if the user is deleted or the identity belongs to
    /// another user, so that the earlier read was stale.
    async fn update(
        &self,
        id: UserId,
        key: &IdentityKey,
        identity: &Identity,
        proven: Option<&EmailKey>,
    ) -> Result<Option<User>, SignInError> {
        let mut assignments = vec![
            "#signed_in_at = :now".to_owned(),
            "#opened = if_not_exists(#opened, :zero) + :one".to_owned(),
        ];
        let mut values = vec![
            (":now".to_owned(), number(self.clock.now())),
            (":zero".to_owned(), number(0_u64)),
            (":one".to_owned(), number(1_u64)),
        ];
        let mut removals = Vec::new();
        if let Some(username) = &identity.profile().username {
            assignments.push("#identities.#provider.#username = :username".to_owned());
            values.push((":username".to_owned(), string(username)));
        }
        if identity.profile().email == EmailAnswer::None {
            removals.push("#profile.#email");
        }
        // For any settings: an address that this sign-in did not verify is not verified any more.
        if identity.profile().email != EmailAnswer::NotTold && proven.is_none() {
            removals.push("#profile.#proven_email");
        }
        for (field, value) in told(identity.profile(), proven) {
            assignments.push(format!("#profile.#{field} = :{field}"));
            values.push((format!(":{field}"), value));
        }
        let mut change = format!("SET {}", assignments.join(", "));
        if !removals.is_empty() {
            change.push_str(" REMOVE ");
            change.push_str(&removals.join(", "));
        }
        let change = Expression::new(change).values(values);
        let is_linked = Expression::new("#identities.#provider.#key = :key")
            .value(":key", string(key.as_str()))
            .name("#provider", identity.provider());
        let condition = is_active().and(is_linked).returning_item();
        let returned = Some(ReturnValue::AllNew);
        let updated = self.table.update(user_key(id), change, condition, returned);
        match updated.await? {
            Outcome::Done(item) => Ok(Some(decode(item)?)),
            Outcome::Failed(None) => Ok(None),
            Outcome::Failed(Some(item)) => {
                let user: User = decode(item)?;
                if is_theirs(&user, key, identity) && user.status == Status::Disabled {
                    return Err(SignInError::Disabled);
                }
                Ok(None)
            }
        }
    }

    /// Writes a new user with this identity and a first session, in one transaction.
    async fn create(
        &self,
        key: &IdentityKey,
        identity: &Identity,
        email: Option<&EmailKey>,
        sessions: &Sessions,
        opening: &Opening,
    ) -> Result<Creation, StoreError> {
        let user = new_user(key, identity, email.cloned(), self.clock.now());
        let mut user_item: Item = serde_dynamo::to_item(&user)?;
        user_item.extend(user_key(user.id));
        user_item.insert("signed_in_at".to_owned(), number(user.created_at));
        let (session_item, session) =
            sessions.prepare(opening, user.id, user.session_version, true)?;

        let parts = [
            self.claim(key, user.id),
            self.table.part_put_new(user_item),
            self.table.part_put_new(session_item),
        ];
        let email = user.email_key.iter();
        let parts = parts
            .into_iter()
            .chain(email.map(|email| self.put_new_email(email, user.id)));
        match self.table.transact(parts).await? {
            Transacted::Done => {
                tracing::info!(event = "user.created", user_id = %user.id);
                opening.log_created(user.id);
                let email_in_use = false;
                Ok(Creation::SignIn(Box::new(SignIn {
                    user,
                    session,
                    email_in_use,
                })))
            }
            Transacted::Cancelled(reasons) => match (reasons.found(0), reasons.found(3)) {
                (Some(identity), _) => Ok(Creation::Lost(owner(identity)?)),
                (None, Some(email)) => Ok(Creation::EmailTaken(owner(email)?)),
                (None, None) => Ok(Creation::Conflict),
            },
        }
    }

    /// The part of a transaction that makes the identity sign in as the user, unless it signs in as one already.
    pub(super) fn claim(&self, key: &IdentityKey, user_id: UserId) -> Part {
        let is_free =
            Expression::new("attribute_not_exists(#pk) OR attribute_exists(#released_by)");
        self.table
            .part_put(identity_item(key, user_id), is_free.returning_item())
    }

    /// The part of a transaction that makes the identity sign in as the user, if no user has or had it.
    pub(super) fn put_new_identity(&self, key: &IdentityKey, user_id: UserId) -> Part {
        self.table.part_put_new(identity_item(key, user_id))
    }

    /// The part of a transaction that stops the identity from signing in as the user, and remembers that until
    /// `expires_at`.
    pub(super) fn release(
        &self,
        key: &IdentityKey,
        user_id: UserId,
        expires_at: Timestamp,
    ) -> Part {
        let change = "SET #released_by = :user_id, #expires_at = :expires_at REMOVE #user_id";
        let change = Expression::new(change).value(":expires_at", number(expires_at));
        let is_theirs = Expression::new("#user_id = :user_id").value(":user_id", string(user_id));
        self.table
            .part_update(identity_key(key.as_str()), change, is_theirs)
    }
}

/// Returns whether `identity` belongs to `user`.
fn is_theirs(user: &User, key: &IdentityKey, identity: &Identity) -> bool {
    let linked = user.identities.get(identity.provider());
    linked.is_some_and(|linked| linked.key == *key)
}

pub(super) fn new_user(
    key: &IdentityKey,
    identity: &Identity,
    email_key: Option<EmailKey>,
    now: Timestamp,
) -> User {
    let profile = identity.profile();
    let email = match &profile.email {
        EmailAnswer::Some(email) => Some(email),
        EmailAnswer::NotTold | EmailAnswer::None => None,
    };
    User {
        id: UserId::generate(),
        status: Status::Active,
        profile: StoredProfile {
            name: profile.name.clone(),
            email: email.map(|email| email.address.clone()),
            email_verified: email.is_some_and(|email| email.verified),
            proven_email: email_key.clone(),
            picture: profile.picture.clone(),
        },
        roles: Vec::new(),
        claims: OwnClaims::default(),
        entitlements: 0,
        identities: [(identity.provider().to_owned(), linked(key, identity, now))].into(),
        email_key,
        edited: Edited::default(),
        metadata: Metadata::default(),
        revision: 0,
        session_version: 0,
        kept_session: None,
        signed_out_in: None,
        signed_out_by: None,
        link_attempts: None,
        unlinked: None,
        opened: 1,
        created_at: now,
    }
}

/// Returns the attributes of the profile that the provider reported this time, with `proven`; the others stay
/// unchanged.
fn told(profile: &Profile, proven: Option<&EmailKey>) -> Vec<(&'static str, AttributeValue)> {
    let mut told = Vec::new();
    if let Some(name) = &profile.name {
        told.push(("name", string(name)));
    }
    match &profile.email {
        EmailAnswer::NotTold => {}
        EmailAnswer::None => told.push(("email_verified", AttributeValue::Bool(false))),
        EmailAnswer::Some(email) => {
            told.push(("email", string(&email.address)));
            told.push(("email_verified", AttributeValue::Bool(email.verified)));
        }
    }
    if let Some(proven) = proven {
        told.push(("proven_email", string(proven.as_str())));
    }
    if let Some(picture) = &profile.picture {
        told.push(("picture", string(picture)));
    }
    told
}

fn identity_item(key: &IdentityKey, user_id: UserId) -> Item {
    let mut item = identity_key(key.as_str());
    item.insert("user_id".to_owned(), string(user_id));
    item
}
