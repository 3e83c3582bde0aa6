//! The operator's actions on users: find, change roles and claims, sign out, disable, delete.
//!
//! Only the operator's command `admin` uses this module.

use std::{collections::BTreeSet, fmt};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use thiserror::Error;

use super::{OwnClaims, Status, User, UserId, Users, items::owner, store::Known};
use crate::{
    clock::Timestamp,
    dynamodb::{
        Attempts, Expression, Item, Outcome, StoreError, decode, encode, number, string,
        table::{USER, sort_key, user_key},
    },
};

const MAX_ROLES: usize = 32;
const MAX_ROLE: usize = 64;

/// A page of users, and the start of the next page.
#[derive(Debug)]
pub struct Page {
    /// The users of the page.
    pub users: Vec<User>,
    /// The items of users that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// The number of items of any kind that were read.
    pub scanned: u64,
    /// The start of the next page; `None` after the last one.
    pub next: Option<Cursor>,
}

/// An item under the key of a user that cannot be read. Its content is not shown, because it may be personal data.
#[derive(Debug)]
pub struct Unreadable {
    /// The id in the item's key.
    pub id: String,
    /// The names of missing or malformed attributes.
    pub attributes: Vec<String>,
}

impl Unreadable {
    fn of(item: &Item) -> Self {
        let key = item.get("pk").and_then(|key| key.as_s().ok());
        let id = key.map_or("", |key| key.strip_prefix(USER).unwrap_or(key));
        let sample = smallest_user();
        let names: BTreeSet<&String> = sample.keys().chain(item.keys()).collect();
        // Tests each attribute alone, in an otherwise readable user.
        let is_at_fault = |name: &&&String| {
            let mut probe = sample.clone();
            match item.get(**name) {
                Some(value) => probe.insert((**name).clone(), value.clone()),
                None => probe.remove(**name),
            };
            decode::<User>(probe).is_err()
        };
        Self {
            id: id.to_owned(),
            attributes: names
                .iter()
                .filter(is_at_fault)
                .map(ToString::to_string)
                .collect(),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (wrong: {})", self.id, self.attributes.join(", "))
    }
}

/// The attributes of a minimal user.
fn smallest_user() -> Item {
    let map = || AttributeValue::M(Item::default());
    [
        ("id", string(UserId::generate())),
        ("status", string("active")),
        ("profile", map()),
        ("identities", map()),
        ("session_version", number(0_u64)),
        ("created_at", number(0_u64)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// A position between two pages of users.
#[derive(Clone, Debug)]
pub struct Cursor(Item);

/// The roles of a user: each once, sorted, within the size of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Roles(Vec<String>);

/// Reasons that roles are not accepted.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum RolesError {
    /// The name of a role is not valid.
    #[error("a role must be 1 to {MAX_ROLE} letters, digits, or . _ - : /")]
    Name,
    /// The roles are too large for a token.
    #[error("a user may have at most {MAX_ROLES} roles")]
    TooMany,
}

impl Roles {
    /// Checks and returns these roles.
    ///
    /// # Errors
    /// A name is not valid, or the roles are too large.
    pub fn new(roles: impl IntoIterator<Item = String>) -> Result<Self, RolesError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
        let roles: BTreeSet<String> = roles.into_iter().collect();
        let is_role =
            |role: &String| (1..=MAX_ROLE).contains(&role.len()) && role.bytes().all(plain);
        if !roles.iter().all(is_role) {
            return Err(RolesError::Name);
        }
        if roles.len() > MAX_ROLES {
            return Err(RolesError::TooMany);
        }
        Ok(Self(roles.into_iter().collect()))
    }

    pub(super) fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl Users {
    /// Reads a page of users from `from` on, in no order. A user who is changed meanwhile may appear in the old
    /// state.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn page(&self, from: Option<Cursor>) -> Result<Page, StoreError> {
        let is_user = Expression::new("#sk = :user").value(":user", string(sort_key(USER)));
        let start = from.map(|Cursor(key)| key);
        let scanned = self.table.scan(is_user, start).await?;
        let mut page = Page {
            users: Vec::new(),
            unreadable: Vec::new(),
            scanned: u64::try_from(scanned.scanned_count).unwrap_or_default(),
            next: scanned.last_evaluated_key.map(Cursor),
        };
        for item in scanned.items.unwrap_or_default() {
            // An item that was broken by hand must not hide the others.
            match decode(item.clone()) {
                Ok(user) => page.users.push(user),
                Err(_) => page.unreadable.push(Unreadable::of(&item)),
            }
        }
        Ok(page)
    }

    /// Changes the roles and claims of the user's next access tokens: `change` returns them for the present user.
    /// Returns `None` if there is no such user.
    ///
    /// Parallel changes are applied one after the other, so that none is lost.
    ///
    /// # Errors
    /// The error of `change`, or the table cannot be used.
    pub async fn entitle<E: From<StoreError>>(
        &self,
        id: UserId,
        change: impl Fn(&User) -> Result<(Roles, OwnClaims), E>,
    ) -> Result<Option<User>, E> {
        let mut attempts = Attempts::at("the user");
        loop {
            let Some(user) = self.find(id).await? else {
                return Ok(None);
            };
            let (roles, claims) = change(&user)?;
            if roles.0 == user.roles && claims == user.claims {
                return Ok(Some(user));
            }
            if let Some(user) = self.put_entitlements(&user, &roles, &claims).await? {
                return Ok(Some(user));
            }
            attempts.again().await?;
        }
    }

    /// Returns `None` if the user was changed meanwhile.
    async fn put_entitlements(
        &self,
        user: &User,
        roles: &Roles,
        claims: &OwnClaims,
    ) -> Result<Option<User>, StoreError> {
        let change =
            Expression::new("SET #roles = :roles, #claims = :claims, #entitlements = :next")
                .value(":roles", encode(roles)?)
                .value(":claims", encode(claims)?)
                .value(":next", number(user.entitlements + 1));
        let is_unchanged = Expression::new(
            "#id = :id AND (#entitlements = :entitlements OR attribute_not_exists(#entitlements))",
        )
        .value(":id", string(user.id))
        .value(":entitlements", number(user.entitlements));
        self.change(user.id, change, is_unchanged).await
    }

    /// Ends all sessions of the user, whose item may be of a later schema. Returns `false` if there is no such user.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn end_sessions(&self, id: UserId) -> Result<bool, StoreError> {
        self.write(id, ends_sessions(""), Expression::exists())
            .await
    }

    /// Ends all sessions of the user once for each `order`, the time of the operator's order. Returns `false` if an
    /// earlier call with this order or a later one ended them, or if there is no such user.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn end_sessions_by(&self, id: UserId, order: Timestamp) -> Result<bool, StoreError> {
        let is_first = Expression::new(
            "attribute_exists(#pk) AND (attribute_not_exists(#signed_out_by_order) OR #signed_out_by_order < :order)",
        )
        .value(":order", number(order));
        let change = ends_sessions(", #signed_out_by_order = :order");
        self.write(id, change, is_first).await
    }

    /// Changes a user without reading the item. Returns `false` if the condition fails.
    async fn write(
        &self,
        id: UserId,
        change: Expression,
        condition: Expression,
    ) -> Result<bool, StoreError> {
        let updated = self.table.update(user_key(id), change, condition, None);
        Ok(matches!(updated.await?, Outcome::Done(_)))
    }

    /// Disables the user and ends all sessions in the same write. They stay ended when the user is enabled again.
    /// Returns `None` if there is no such user.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn disable(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.set_status(id, ends_sessions(", #status = :status"), Status::Disabled)
            .await
    }

    /// Enables the user again. Returns `None` if there is no such user.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn enable(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let change = Expression::new("SET #status = :status");
        self.set_status(id, change, Status::Active).await
    }

    /// Deletes the user and the identities in one transaction. Returns whether the user existed. The items of the
    /// sessions open nothing any more; [`Sessions::delete_all`] deletes them.
    ///
    /// [`Sessions::delete_all`]: crate::sessions::Sessions::delete_all
    ///
    /// # Errors
    /// The table cannot be used, or parallel requests kept changing the user. Then nothing is deleted.
    pub async fn remove(&self, id: UserId) -> Result<bool, StoreError> {
        let mut attempts = Attempts::at("the user");
        loop {
            let Some(user) = self.find(id).await? else {
                return Ok(false);
            };
            if self.delete_all_of(&user, None).await? {
                return Ok(true);
            }
            attempts.again().await?;
        }
    }

    async fn set_status(
        &self,
        id: UserId,
        change: Expression,
        status: Status,
    ) -> Result<Option<User>, StoreError> {
        let change = change.value(":status", encode(status)?);
        self.change(id, change, Expression::exists()).await
    }
}

/// Checks that an item can be read as an identity, linked or unlinked.
///
/// # Errors
/// [`StoreError::Malformed`].
pub(crate) fn check_identity(item: Item) -> Result<(), StoreError> {
    decode::<Known>(item).map(drop)
}

/// Checks that an item can be read as a proven address.
///
/// # Errors
/// [`StoreError::Malformed`].
pub(crate) fn check_email(item: &Item) -> Result<(), StoreError> {
    owner(item).map(drop)
}

/// The change that ends all sessions of a user, with what else it sets.
fn ends_sessions(also: &str) -> Expression {
    let change = format!(
        "SET #session_version = #session_version + :one{also} REMOVE #kept_session, #signed_out_in"
    );
    Expression::new(change).value(":one", number(1_u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(roles: &[&str]) -> Result<Roles, RolesError> {
        Roles::new(roles.iter().map(ToString::to_string))
    }

    #[test]
    fn roles_are_in_order_and_there_once() {
        let some = roles(&["support", "admin", "support"]).unwrap();
        assert_eq!(some.0, ["admin", "support"]);
        assert!(roles(&[]).unwrap().0.is_empty());
    }

    #[test]
    fn odd_and_too_many_roles_are_refused() {
        for role in ["", "a b", "é", "a,b", &"x".repeat(65)] {
            assert_eq!(roles(&[role]), Err(RolesError::Name), "{role}");
        }
        assert!(roles(&[&"x".repeat(64)]).is_ok());
        let many = |count: usize| Roles::new((0..count).map(|number| number.to_string()));
        assert!(many(32).is_ok());
        assert_eq!(many(33), Err(RolesError::TooMany));
    }
}
