//! Which of our users is that? Users, their identities, the sign-in that creates or updates them, and what they may do to
//! their own account.

mod account;
mod claims;
mod edit;
mod identities;
mod items;
mod object;
mod operator;
mod same_email;
mod sign_up;
mod signed_in;
mod store;

pub use account::{ChangeError, Leave};
pub use claims::{ClaimsError, OwnClaims};
pub use edit::{Edited, Metadata, Patch, PatchError};
pub use identities::{Conflict, LinkAttempts, LinkError, LinkStep, Unlinked};
pub use operator::{Cursor, Page, Roles, RolesError, Unreadable};
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

/// A user, as the table holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Ours, and the same for ever.
    pub id: UserId,
    /// Whether the user may sign in.
    pub status: Status,
    /// What the provider of the last sign-in says.
    pub profile: StoredProfile,
    /// What the user says instead.
    #[serde(default)]
    pub edited: Edited,
    /// What the user, or an app in the user's name, keeps here.
    #[serde(default)]
    pub metadata: Metadata,
    /// Grows with each change of `edited` and `metadata`, so that none is lost.
    #[serde(default)]
    pub revision: u64,
    /// What the user may do, as the operator says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What else the operator says, for the APIs that read our tokens.
    #[serde(default, skip_serializing_if = "OwnClaims::is_empty")]
    pub claims: OwnClaims,
    /// Grows with each change of `roles` and `claims`, so that none is lost.
    #[serde(default)]
    pub entitlements: u64,
    /// The linked identities, by provider.
    pub identities: BTreeMap<String, LinkedIdentity>,
    /// Under what the address of the profile is stored as this user's, where it is proven and the settings ask for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_key: Option<EmailKey>,
    /// Grows when the user signs out everywhere: sessions of an earlier version are over, but for `kept_session`.
    pub session_version: u64,
    /// The session that stayed when the user last signed out of all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_session: Option<SessionId>,
    /// The session in which the user last signed out everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_out_in: Option<SessionId>,
    /// What names the request that last signed the user out everywhere, so that it can be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_out_by: Option<String>,
    /// How often the user tried to link an account of late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_attempts: Option<LinkAttempts>,
    /// The account that the user last unlinked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlinked: Option<Unlinked>,
    /// When the user first signed in.
    pub created_at: Timestamp,
}

impl User {
    /// Whether the user may go on in `session`: neither disabled, nor signed out everywhere since it was opened.
    pub fn admits(&self, session: SessionRef) -> bool {
        let is_current = self.session_version == session.version;
        self.status == Status::Active && (is_current || self.kept_session == Some(session.id))
    }

    /// The display name: the user's own, or else the provider's.
    pub fn name(&self) -> Option<&str> {
        self.edited
            .name
            .as_ref()
            .map_or(self.profile.name.as_deref(), |own| own.as_deref())
    }

    /// The picture: the user's own, or else the provider's.
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

/// [`Status::Active`] as a condition on the user's item.
fn is_active() -> Expression {
    Expression::new("#status = :active").value(":active", string("active"))
}

/// Whether a user may sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The user may.
    Active,
    /// The operator has shut the user out.
    Disabled,
}

/// The profile, as the provider told it; what it never told is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProfile {
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the provider has verified the address.
    #[serde(default)]
    pub email_verified: bool,
    /// The key of the address, if the sign-in that told it proved it too. It is written with the address, in the same write, and
    /// so never outlives it, as the item of an address may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_email: Option<EmailKey>,
    /// An `https` URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

/// A provider's account that may sign in as the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedIdentity {
    /// Where the identity's own item is.
    pub key: IdentityKey,
    /// The unchanging id at the provider.
    pub subject: String,
    /// The login at the provider, as of the last sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// When it was linked.
    pub linked_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dynamodb::{Item, table::user_key, tests::condition_holds};

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
}
