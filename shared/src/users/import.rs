//! The import of users from another system, and the export of a user.
//!
//! Only the operator's command `admin` uses this module.

use thiserror::Error;

use super::{
    EmailKey, OwnClaims, Roles, Status, User, UserId, Users,
    identities::MAX_IDENTITIES,
    items::{linked, owner},
    store::{Known, new_user},
};
use crate::{
    clock::Timestamp,
    config::SignUps,
    dynamodb::{
        Attempts, Item, StoreError, Transacted, decode,
        table::{email_key, identity_key, user_key},
    },
    provider::Identity,
};

/// A user of another system.
#[derive(Debug)]
pub struct Import {
    id: Option<UserId>,
    identities: Vec<Identity>,
    /// The roles.
    pub roles: Roles,
    /// The additional claims.
    pub claims: OwnClaims,
    /// The status.
    pub status: Status,
    /// The time of the sign-up in the other system.
    pub created_at: Option<Timestamp>,
}

/// Reasons that the identities of a user are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentitiesError {
    /// There are none, or too many.
    #[error("identities must have 1 to {MAX_IDENTITIES} entries")]
    Count,
    /// Two identities have the same provider.
    #[error(
        "identities[{0}] has the provider of an earlier entry; a user has one identity of each provider"
    )]
    SameProvider(usize),
}

/// The outcome of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// The user was written.
    New(UserId),
    /// An earlier import wrote the user. Nothing was changed.
    Before(UserId),
    /// Something of the user belongs to another one. Nothing was changed.
    Refused(Taken),
}

/// The part of an imported user that belongs to another user.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Taken {
    /// A user with other identities has the id.
    #[error("the id belongs to a user with other identities")]
    Id,
    /// An identity belongs to another user.
    #[error("identities[{0}] belongs to the user {1}")]
    Identity(usize, UserId),
    /// A user unlinked the identity, and sessions from before can still exist.
    #[error(
        "identities[{0}] was unlinked by the user {1} not long ago: import it when its item has expired"
    )]
    Unlinked(usize, UserId),
    /// The verified address belongs to another user.
    #[error("profile.email belongs to the user {0}, who signs in by its provider")]
    Email(UserId),
}

/// A user with the time of the last sign-in.
#[derive(Debug)]
pub struct Exported {
    /// The user.
    pub user: User,
    /// The time of the last sign-in; `None` for an imported user who has not signed in.
    pub signed_in_at: Option<Timestamp>,
}

impl Import {
    /// Makes an active user without roles and claims. Without an `id`, the import makes one.
    ///
    /// # Errors
    /// There is no identity, too many, or two of one provider.
    pub fn new(id: Option<UserId>, identities: Vec<Identity>) -> Result<Self, IdentitiesError> {
        if !(1..=MAX_IDENTITIES).contains(&identities.len()) {
            return Err(IdentitiesError::Count);
        }
        for (nth, identity) in identities.iter().enumerate() {
            let mut earlier = identities.iter().take(nth);
            if earlier.any(|other| other.provider() == identity.provider()) {
                return Err(IdentitiesError::SameProvider(nth));
            }
        }
        Ok(Self {
            id,
            identities,
            roles: Roles::default(),
            claims: OwnClaims::default(),
            status: Status::Active,
            created_at: None,
        })
    }

    /// Returns the identities.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    fn user(&self, email: Option<EmailKey>, now: Timestamp) -> Option<User> {
        let first = self.identities.first()?;
        let user = new_user(&first.key(), first, email, now);
        let linked = self.identities.iter().map(|identity| {
            let linked = linked(&identity.key(), identity, now);
            (identity.provider().to_owned(), linked)
        });
        Some(User {
            id: self.id.unwrap_or(user.id),
            status: self.status,
            roles: self.roles.as_slice().to_vec(),
            claims: self.claims.clone(),
            identities: linked.collect(),
            opened: 0,
            created_at: self.created_at.unwrap_or(now),
            ..user
        })
    }
}

impl Users {
    /// Writes the user with the identities and the verified address in one transaction, unless one of them belongs to
    /// a user. A repetition changes nothing. With `dry_run`, nothing is written.
    ///
    /// # Errors
    /// The table cannot be used, or parallel requests kept changing it. Then nothing is written.
    pub async fn import(
        &self,
        import: &Import,
        sign_ups: &SignUps,
        dry_run: bool,
    ) -> Result<Imported, StoreError> {
        let mut identities = import.identities.iter();
        let email = identities.find_map(|identity| sign_ups.proven_email(identity));
        let Some(user) = import.user(email, self.clock.now()) else {
            return Err(StoreError::Malformed(
                "a user without an identity".to_owned(),
            ));
        };
        let mut attempts = Attempts::at("the user");
        loop {
            if let Some(found) = self.examine(import, &user).await? {
                return Ok(found);
            }
            if dry_run {
                return Ok(Imported::New(user.id));
            }
            if self.put_import(import, &user).await? {
                tracing::info!(event = "user.created", user_id = %user.id);
                return Ok(Imported::New(user.id));
            }
            attempts.again().await?;
        }
    }

    /// Returns why the user cannot be written, if anything of the user is in the table.
    async fn examine(&self, import: &Import, user: &User) -> Result<Option<Imported>, StoreError> {
        let of_user = import.id.map(user_key);
        let identities = import.identities.iter();
        let of_identities: Vec<Item> = identities
            .map(|identity| identity_key(identity.key().as_str()))
            .collect();
        let of_email = user.email_key.as_ref().map(|key| email_key(key.as_str()));
        let keys = of_user.iter().chain(&of_identities).chain(&of_email);
        let items = self.table.find_all(keys.cloned().collect()).await?;
        let find = |key: &Item| items.iter().find(|item| item.get("pk") == key.get("pk"));

        let mut owners = Vec::new();
        for (nth, key) in of_identities.iter().enumerate() {
            match find(key).map(|item| decode(item.clone())).transpose()? {
                Some(Known::Owned(owned)) => owners.push((nth, owned.user_id)),
                Some(Known::Released { released_by }) => {
                    let taken = Taken::Unlinked(nth, released_by);
                    return Ok(Some(Imported::Refused(taken)));
                }
                None => {}
            }
        }
        if let Some(&(nth, first)) = owners.first() {
            let expected = import.id.unwrap_or(first);
            let foreign = owners.iter().find(|(_, owner)| *owner != expected);
            let foreign = foreign.copied();
            // Without an id, an account whose identities are linked only in part is another user's.
            let is_part = import.id.is_none() && owners.len() < of_identities.len();
            return Ok(Some(match foreign.or(is_part.then_some((nth, first))) {
                Some((nth, owner)) => Imported::Refused(Taken::Identity(nth, owner)),
                None => Imported::Before(expected),
            }));
        }
        if of_user.as_ref().and_then(find).is_some() {
            return Ok(Some(Imported::Refused(Taken::Id)));
        }
        let email = of_email.as_ref().and_then(find);
        let email = email.map(owner).transpose()?;
        Ok(email.map(|owner| Imported::Refused(Taken::Email(owner))))
    }

    /// Returns `false` if something of the user was written meanwhile.
    async fn put_import(&self, import: &Import, user: &User) -> Result<bool, StoreError> {
        let mut item: Item = serde_dynamo::to_item(user)?;
        item.extend(user_key(user.id));
        let identities = import.identities.iter();
        let email = user.email_key.iter();
        let parts = [self.table.part_put_new(item)]
            .into_iter()
            .chain(identities.map(|identity| self.put_new_identity(&identity.key(), user.id)))
            .chain(email.map(|email| self.put_new_email(email, user.id)));
        let written = self.table.transact(parts).await?;
        Ok(matches!(written, Transacted::Done))
    }

    /// Reads the user with the time of the last sign-in, strongly consistent.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn export(&self, id: UserId) -> Result<Option<Exported>, StoreError> {
        let mut items = self.table.find_all(vec![user_key(id)]).await?;
        let Some(item) = items.pop() else {
            return Ok(None);
        };
        let signed_in_at = item.get("signed_in_at").and_then(|value| value.as_n().ok());
        Ok(Some(Exported {
            signed_in_at: signed_in_at.and_then(|number| number.parse().ok()),
            user: decode(item)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::EmailAnswer;

    fn identity(provider: &str) -> Identity {
        Identity::in_model(provider, "1", EmailAnswer::NotTold)
    }

    #[test]
    fn an_imported_user_is_as_the_operator_writes_it_and_has_no_session() {
        let id = UserId::generate();
        let identities = vec![identity("google"), identity("github")];
        let mut import = Import::new(Some(id), identities).unwrap();
        import.roles = Roles::new(["support".to_owned()]).unwrap();
        let claims = serde_json::Map::from_iter([("plan".to_owned(), "pro".into())]);
        import.claims = OwnClaims::new(claims).unwrap();
        import.status = Status::Disabled;
        import.created_at = Some(500);

        let user = import.user(None, 1_000).unwrap();

        assert_eq!(
            (user.id, user.status, user.created_at),
            (id, Status::Disabled, 500)
        );
        assert_eq!(
            (user.roles, user.claims),
            (vec!["support".to_owned()], import.claims.clone())
        );
        let providers: Vec<&str> = user.identities.keys().map(String::as_str).collect();
        assert_eq!((providers, user.opened), (vec!["github", "google"], 0));
    }

    #[test]
    fn an_import_has_one_identity_of_each_of_a_bounded_number_of_providers() {
        let of = |count: usize| (0..count).map(|nth| identity(&format!("p{nth}"))).collect();
        let imported =
            |identities| Import::new(None, identities).map(|import| import.identities().len());

        assert_eq!(imported(of(0)), Err(IdentitiesError::Count));
        assert_eq!(imported(of(MAX_IDENTITIES)), Ok(MAX_IDENTITIES));
        assert_eq!(
            imported(of(MAX_IDENTITIES + 1)),
            Err(IdentitiesError::Count)
        );
        let twice = vec![identity("a"), identity("b"), identity("a")];
        assert_eq!(imported(twice), Err(IdentitiesError::SameProvider(2)));
    }
}
