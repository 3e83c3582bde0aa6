//! Users, their identities, the sign-in that creates or updates them, and the changes that they may make to their
//! account.

mod account;
mod claims;
mod edit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod identities;
mod import;
mod items;
mod object;
mod operator;
mod same_email;
mod session_limit;
mod sign_up;
mod signed_in;
mod store;

pub use account::{ChangeError, Leave};
pub use claims::{ClaimsError, OwnClaims};
pub use edit::{Edited, Metadata, Patch, PatchError};
pub use identities::{Conflict, LinkAttempts, LinkError, LinkStep, Unlinked};
pub use import::{Exported, IdentitiesError, Import, Imported, Taken};
pub use operator::{Cursor, Page, Roles, RolesError, Unreadable};
pub(crate) use operator::{check_email, check_identity};
pub use sign_up::EmailKey;
pub use store::{SignIn, SignInError, Users};

pub use crate::ids::UserId;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    dynamodb::{Expression, number, string},
    ids::{SessionId, SessionRef},
    provider::IdentityKey,
};

/// The item of a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// The id, which never changes.
    pub id: UserId,
    /// The status, which decides whether the user may sign in.
    pub status: Status,
    /// The profile of the provider of the last sign-in.
    pub profile: StoredProfile,
    /// The user's own edits, which replace members of the profile.
    #[serde(default)]
    pub edited: Edited,
    /// Data that the user, or an app on the user's behalf, stores.
    #[serde(default)]
    pub metadata: Metadata,
    /// Grows with each change of `edited` and `metadata`, so that parallel changes are not lost.
    #[serde(default)]
    pub revision: u64,
    /// The roles that the operator gave the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The operator's additional claims for access tokens.
    #[serde(default, skip_serializing_if = "OwnClaims::is_empty")]
    pub claims: OwnClaims,
    /// Grows with each change of `roles` and `claims`, so that parallel changes are not lost.
    #[serde(default)]
    pub entitlements: u64,
    /// The linked identities, by provider.
    pub identities: BTreeMap<String, LinkedIdentity>,
    /// The key of the profile's address, if it is verified and the settings use addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_key: Option<EmailKey>,
    /// Grows when the user signs out everywhere: sessions of an earlier version have ended, except `kept_session`.
    pub session_version: u64,
    /// The session that was kept when the user last signed out of all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_session: Option<SessionId>,
    /// The session in which the user last signed out everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_out_in: Option<SessionId>,
    /// The idempotency key of the request that last signed the user out everywhere, so that it can be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_out_by: Option<String>,
    /// The recent attempts to link an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_attempts: Option<LinkAttempts>,
    /// The account that the user last unlinked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlinked: Option<Unlinked>,
    /// The number of opened sessions since the active ones were last counted.
    #[serde(default)]
    pub opened: u64,
    /// The time of the first sign-in.
    pub created_at: Timestamp,
}

impl User {
    /// Returns whether the user may continue in `session`: not disabled, and not signed out everywhere since its
    /// start.
    pub fn admits(&self, session: SessionRef) -> bool {
        let is_current = self.session_version == session.version;
        self.status == Status::Active && (is_current || self.kept_session == Some(session.id))
    }

    /// Returns the display name: the user's own, or else the provider's.
    pub fn name(&self) -> Option<&str> {
        self.edited
            .name
            .as_ref()
            .map_or(self.profile.name.as_deref(), |own| own.as_deref())
    }

    /// Returns the picture: the user's own, or else the provider's.
    pub fn picture(&self) -> Option<&str> {
        self.edited
            .picture
            .as_ref()
            .map_or(self.profile.picture.as_deref(), |own| own.as_deref())
    }
}

/// [`User::admits`] as a condition on the user's item.
fn admits(session: SessionRef) -> Expression {
    let is_current = Expression::new("(#session_version = :version OR #kept_session = :session)");
    is_active().and(
        is_current
            .value(":version", number(session.version))
            .value(":session", string(session.id)),
    )
}

/// [`Status::Active`] as a condition on the user's item, which this version can read.
fn is_active() -> Expression {
    Expression::new("#status = :active")
        .value(":active", string("active"))
        .and(Expression::readable())
}

/// The status of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The user may sign in.
    Active,
    /// The operator has disabled the user.
    Disabled,
}

/// The profile of the provider. A member that the provider never reported is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProfile {
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// True if the provider has verified the address.
    #[serde(default)]
    pub email_verified: bool,
    /// The key of the address, if the sign-in that reported it also verified it. Written together with the address,
    /// so it never outlives it, as the item of an address can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_email: Option<EmailKey>,
    /// An `https` URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

/// A linked account of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedIdentity {
    /// The key of the identity's item.
    pub key: IdentityKey,
    /// The unchanging id at the provider.
    pub subject: String,
    /// The login at the time of the last sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The time of linking.
    pub linked_at: Timestamp,
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use serde_json::json;

    use super::*;
    use crate::dynamodb::{Item, SCHEMA, table::user_key, tests::condition_holds};

    /// The size of an item, as DynamoDB counts it, or more.
    fn size(value: &AttributeValue) -> usize {
        match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::L(values) => values.iter().map(|value| 4 + size(value)).sum(),
            AttributeValue::M(members) => {
                let members = members.iter();
                members
                    .map(|(name, value)| 4 + name.len() + size(value))
                    .sum()
            }
            // A number has at most 21 bytes; the other types of a user's item have less.
            _ => 21,
        }
    }

    #[test]
    fn the_largest_item_of_a_user_is_far_below_the_limit_of_dynamodb() {
        let (widest, picture) = ("𝔸".repeat(256), format!("https://a.b/{}", "x".repeat(2036)));
        let linked = |nth| {
            let identity = json!({
                "key": format!("{}#{}", "p".repeat(68), "k".repeat(43)),
                "subject": "s".repeat(255), "username": widest, "linked_at": u64::MAX,
            });
            (format!("{nth:0>68}"), identity)
        };
        let mut user: User = serde_json::from_value(json!({
            "id": UserId::generate(), "status": "disabled", "session_version": u64::MAX, "created_at": u64::MAX,
            "profile": {
                "name": widest, "email": "e".repeat(254), "picture": picture, "proven_email": "k".repeat(43),
            },
            "email_key": "k".repeat(43),
            "identities": (0..16).map(linked).collect::<serde_json::Map<_, _>>(),
        }))
        .unwrap();
        let patch = json!({
            "name": widest, "picture": picture, "metadata": { "a": "x".repeat(4096 - 8) },
        });
        let patch: Patch = serde_json::from_value(patch).unwrap();
        (user.edited, user.metadata) = patch.apply(&user).unwrap();
        let roles = (0..32).map(|nth| format!("{nth:0>64}"));
        Roles::new(roles.clone()).unwrap();
        user.roles = roles.collect();
        let claims = json!({ "a": "x".repeat(1024 - 8) });
        user.claims = OwnClaims::new(claims.as_object().unwrap().clone()).unwrap();
        let item: Item = serde_dynamo::to_item(&user).unwrap();

        let size = size(&AttributeValue::M(item));

        // With a key, an Idempotency-Key and the records of the last requests, which have less than 1 KB.
        assert!((30_000..63 * 1024).contains(&size), "{size}");
    }

    #[tokio::test]
    async fn t41_a_user_admits_the_same_sessions_in_rust_and_in_dynamodb() {
        let id = |token: &str| SessionId::of_subject_token(&token.to_owned().into());
        let (this, other) = (id("this"), id("other"));
        for (status, version, kept, expected) in [
            ("active", 3, None, true),
            ("active", 2, None, false),
            ("active", 4, None, false),
            ("active", 4, Some(this), true),
            ("active", 4, Some(other), false),
            ("disabled", 3, None, false),
            ("disabled", 4, Some(this), false),
        ] {
            let mut user: User = serde_json::from_value(json!({
                "id": UserId::generate(), "status": status, "profile": {}, "identities": {},
                "session_version": version, "created_at": 0,
            }))
            .unwrap();
            user.kept_session = kept;
            let mut item: Item = serde_dynamo::to_item(&user).unwrap();
            item.extend(user_key(user.id));
            let session = SessionRef {
                id: this,
                version: 3,
            };

            assert_eq!(user.admits(session), expected, "{user:?}");
            let holds = condition_holds(item, admits(session)).await;
            assert_eq!(holds, expected, "{user:?}");
        }
    }

    #[tokio::test]
    async fn t195_no_condition_on_a_user_holds_for_a_later_schema() {
        let holds = async |schema: Option<u32>| {
            let mut item = user_key(UserId::generate());
            item.insert("status".to_owned(), string("active"));
            item.extend(schema.map(|schema| ("schema".to_owned(), number(schema))));
            condition_holds(item, is_active()).await
        };

        assert!(holds(None).await);
        assert!(holds(Some(SCHEMA)).await);
        assert!(!holds(Some(SCHEMA + 1)).await);
    }
}
