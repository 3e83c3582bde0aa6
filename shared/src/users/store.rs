//! The users and identities of the main table.

use aws_sdk_dynamodb::{
    Client,
    operation::{transact_write_items::TransactWriteItemsError, update_item::UpdateItemError},
    types::{
        AttributeValue, CancellationReason, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem,
    },
};
use thiserror::Error;

use super::{Edited, LinkedIdentity, Metadata, OwnClaims, Status, StoredProfile, User, UserId};
use crate::{
    clock::Clock,
    dynamodb::{Item, StoreError, number, primary_key, string, user_partition},
    provider::{EmailAnswer, Identity, IdentityKey, Profile},
    sessions::{OpenError, Opened, Opening, Sessions},
};

/// A sign-in that keeps losing races gives up: each lost race means that another one won.
pub(super) const TRIES: usize = 4;

/// Reads and writes users and identities.
#[derive(Clone, Debug)]
pub struct Users {
    pub(super) client: Client,
    pub(super) table: String,
    clock: Clock,
}

/// A sign-in that was let in.
#[derive(Debug)]
pub struct SignIn {
    /// Who signed in.
    pub user: User,
    /// The session that it opened.
    pub session: Opened,
}

/// Why a verified identity was not let in.
#[derive(Debug, Error)]
pub enum SignInError {
    /// The operator has disabled the user.
    #[error("the account is disabled")]
    Disabled,
    /// The subject token has opened its one session already.
    #[error("the subject token was already exchanged; sign in again")]
    AlreadyExchanged,
    /// The table could not say, or could not be written; nothing is half done.
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

/// What came of an attempt to create a user.
enum Creation {
    SignIn(Box<SignIn>),
    /// Another sign-in was faster; this is the user that it created.
    Lost(UserId),
    /// Another transaction was in the way; nothing is known.
    Conflict,
}

impl Users {
    /// The users in `table`.
    pub fn new(client: Client, table: String, clock: Clock) -> Self {
        Self {
            client,
            table,
            clock,
        }
    }

    /// The user with this id, as of now (strongly consistent).
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(user_key(id)))
            .consistent_read(true)
            .send()
            .await?;
        Ok(found.item.map(serde_dynamo::from_item).transpose()?)
    }

    /// Signs `identity` in: as the user that it belongs to, or as a new one.
    ///
    /// Any number of first sign-ins in parallel yield one user: identity, user and session are written in one transaction,
    /// and whoever loses goes on with the winner's user. A user who was deleted meanwhile is never brought back.
    ///
    /// # Errors
    /// The user is disabled, or the table cannot be used. Repeating the sign-in is always safe.
    pub async fn sign_in(
        &self,
        identity: &Identity,
        sessions: &Sessions,
        opening: &Opening,
    ) -> Result<SignIn, SignInError> {
        let key = identity.key();
        // An old answer does no harm here: it is the condition of the write that decides.
        let mut known = self.find_identity(&key, false).await?;
        for _ in 0..TRIES {
            known = match known {
                Some(id) => match self.update(id, &key, identity).await? {
                    Some(user) => {
                        let session = sessions.open(opening, &user).await?;
                        return Ok(SignIn { user, session });
                    }
                    None => self.find_identity(&key, true).await?,
                },
                None => match self.create(&key, identity, sessions, opening).await? {
                    Creation::SignIn(sign_in) => return Ok(*sign_in),
                    Creation::Lost(id) => Some(id),
                    Creation::Conflict => self.find_identity(&key, true).await?,
                },
            };
        }
        Err(busy().into())
    }

    async fn find_identity(
        &self,
        key: &IdentityKey,
        consistent: bool,
    ) -> Result<Option<UserId>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(identity_key(key)))
            .consistent_read(consistent)
            .send()
            .await?;
        found.item.as_ref().map(owner).transpose()
    }

    /// Refreshes the profile of a user who came back. `None` if the user is gone, or the identity is no longer theirs:
    /// what was read before was out of date.
    async fn update(
        &self,
        id: UserId,
        key: &IdentityKey,
        identity: &Identity,
    ) -> Result<Option<User>, SignInError> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(user_key(id)))
            .condition_expression("#status = :active AND #identities.#provider.#key = :key")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#identities", "identities")
            .expression_attribute_names("#provider", identity.provider())
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":active", active())
            .expression_attribute_values(":key", string(key.as_str()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let told = told(identity.profile());
        let mut assignments = vec!["#signed_in_at = :now".to_owned()];
        let mut removals = "";
        update = update
            .expression_attribute_names("#signed_in_at", "signed_in_at")
            .expression_attribute_values(":now", number(self.clock.now()));
        if let Some(username) = &identity.profile().username {
            assignments.push("#identities.#provider.#username = :username".to_owned());
            update = update
                .expression_attribute_names("#username", "username")
                .expression_attribute_values(":username", string(username));
        }
        if !told.is_empty() {
            update = update.expression_attribute_names("#profile", "profile");
        }
        if identity.profile().email == EmailAnswer::None {
            removals = " REMOVE #profile.#email";
            update = update.expression_attribute_names("#email", "email");
        }
        for (field, value) in told {
            assignments.push(format!("#profile.#{field} = :{field}"));
            update = update
                .expression_attribute_names(format!("#{field}"), field)
                .expression_attribute_values(format!(":{field}"), value);
        }
        let updated = update
            .update_expression(format!("SET {}{removals}", assignments.join(", ")))
            .send()
            .await;
        match updated {
            Ok(updated) => {
                let item = updated.attributes.unwrap_or_default();
                let user = serde_dynamo::from_item(item).map_err(StoreError::from)?;
                Ok(Some(user))
            }
            Err(error) => {
                let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
                    error.as_service_error()
                else {
                    return Err(StoreError::from(error).into());
                };
                let Some(item) = failed.item() else {
                    return Ok(None);
                };
                let user: User = serde_dynamo::from_item(item.clone()).map_err(StoreError::from)?;
                let is_theirs = user
                    .identities
                    .get(identity.provider())
                    .is_some_and(|linked| linked.key == *key);
                if is_theirs && user.status == Status::Disabled {
                    return Err(SignInError::Disabled);
                }
                Ok(None)
            }
        }
    }

    /// Writes a new user with this identity and a first session: all or nothing.
    async fn create(
        &self,
        key: &IdentityKey,
        identity: &Identity,
        sessions: &Sessions,
        opening: &Opening,
    ) -> Result<Creation, StoreError> {
        let user = new_user(key, identity, self.clock.now());
        let mut user_item: Item = serde_dynamo::to_item(&user)?;
        user_item.extend(user_key(user.id));
        user_item.insert("signed_in_at".to_owned(), number(user.created_at));
        let (session_item, session) =
            sessions.prepare(opening, user.id, user.session_version, true)?;
        let mut identity_item = identity_key(key);
        identity_item.insert("user_id".to_owned(), string(user.id));

        let created = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(identity_item)?)
            .transact_items(self.put_new(user_item)?)
            .transact_items(self.put_new(session_item)?)
            .send()
            .await;
        let Err(error) = created else {
            tracing::info!(event = "user.created", user_id = %user.id);
            opening.log_created(user.id);
            return Ok(Creation::SignIn(Box::new(SignIn { user, session })));
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                match Cancelled::because(cancelled.cancellation_reasons()) {
                    Cancelled::Exists(item) => Ok(Creation::Lost(owner(item)?)),
                    Cancelled::Conflict => Ok(Creation::Conflict),
                    Cancelled::Other => Err(error.into()),
                }
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
                Ok(Creation::Conflict)
            }
            _ => Err(error.into()),
        }
    }

    fn put_new(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", "pk")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| StoreError::Malformed(error.to_string()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }
}

/// Why DynamoDB cancelled the transaction that creates a user.
enum Cancelled<'a> {
    /// The identity is there already: its item.
    Exists(&'a Item),
    Conflict,
    Other,
}

impl<'a> Cancelled<'a> {
    /// `reasons` are in the order of the writes: the identity comes first.
    fn because(reasons: &'a [CancellationReason]) -> Self {
        let code = |reason: &CancellationReason, code| reason.code() == Some(code);
        match reasons.first() {
            Some(reason) if code(reason, "ConditionalCheckFailed") => {
                reason.item().map_or(Self::Conflict, Self::Exists)
            }
            _ if reasons
                .iter()
                .any(|reason| code(reason, "TransactionConflict")) =>
            {
                Self::Conflict
            }
            _ => Self::Other,
        }
    }
}

fn new_user(key: &IdentityKey, identity: &Identity, now: u64) -> User {
    let profile = identity.profile();
    let email = match &profile.email {
        EmailAnswer::Some(email) => Some(email),
        EmailAnswer::NotTold | EmailAnswer::None => None,
    };
    let linked = LinkedIdentity {
        key: key.clone(),
        subject: identity.subject().to_owned(),
        username: profile.username.clone(),
        linked_at: now,
    };
    User {
        id: UserId::generate(),
        status: Status::Active,
        profile: StoredProfile {
            name: profile.name.clone(),
            email: email.map(|email| email.address.clone()),
            email_verified: email.is_some_and(|email| email.verified),
            picture: profile.picture.clone(),
        },
        roles: Vec::new(),
        claims: OwnClaims::default(),
        identities: [(identity.provider().to_owned(), linked)].into(),
        edited: Edited::default(),
        metadata: Metadata::default(),
        revision: 0,
        session_version: 0,
        kept_session: None,
        signed_out_in: None,
        created_at: now,
    }
}

/// The attributes of the profile that the provider told this time; the others stay as they are.
fn told(profile: &Profile) -> Vec<(&'static str, AttributeValue)> {
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
    if let Some(picture) = &profile.picture {
        told.push(("picture", string(picture)));
    }
    told
}

fn owner(identity_item: &Item) -> Result<UserId, StoreError> {
    identity_item
        .get("user_id")
        .and_then(|id| id.as_s().ok())
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| StoreError::Malformed("an identity names no user".to_owned()))
}

/// What the status of a user who may sign in looks like in an expression.
pub(super) fn active() -> AttributeValue {
    string("active")
}

/// Others changed the same item each time we tried.
pub(super) fn busy() -> StoreError {
    StoreError::Unavailable("others kept changing the same user".to_owned())
}

pub(super) fn user_key(id: UserId) -> Item {
    primary_key(user_partition(id), "USER")
}

pub(super) fn identity_key(key: &IdentityKey) -> Item {
    primary_key(format!("IDENTITY#{}", key.as_str()), "IDENTITY")
}
