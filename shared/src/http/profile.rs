//! A user as clients see it.

use serde::Serialize;

use crate::users::User;

/// A user in the answers of `POST /token` and `GET /me`.
#[derive(Debug, Serialize)]
pub struct Profile {
    /// The id of the user, which never changes.
    pub id: String,
    /// The display name.
    pub name: Option<String>,
    /// The e-mail address, if the provider reports one.
    pub email: Option<String>,
    /// True if the provider has verified the address.
    pub email_verified: bool,
    /// An `https` URL.
    pub picture: Option<String>,
    /// The roles of the user.
    pub roles: Vec<String>,
    /// The linked accounts.
    pub identities: Vec<ProfileIdentity>,
}

/// A linked account.
#[derive(Debug, Serialize)]
pub struct ProfileIdentity {
    /// The provider's configured name.
    pub provider: String,
    /// The unchanging id at the provider.
    pub subject: String,
    /// The login at the provider.
    pub username: Option<String>,
}

impl From<User> for Profile {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            name: user.name().map(str::to_owned),
            picture: user.picture().map(str::to_owned),
            email: user.profile.email,
            email_verified: user.profile.email_verified,
            roles: user.roles,
            identities: user
                .identities
                .into_iter()
                .map(|(provider, linked)| ProfileIdentity {
                    provider,
                    subject: linked.subject,
                    username: linked.username,
                })
                .collect(),
        }
    }
}
