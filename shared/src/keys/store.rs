//! The keys table.

use aws_sdk_dynamodb::Client;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{KeySet, KeyType, PrivateKey};
use crate::dynamodb::{
    Attempts, Expression, Item, Part, StoreError, Table, Transacted, encode, string,
    table::{key_set_key, private_key_key},
};

/// Reads and writes the keys table.
#[derive(Clone, Debug)]
pub struct KeyStore {
    table: Table,
}

#[derive(Deserialize)]
struct PrivateKeyItem {
    kid: String,
    key_type: KeyType,
    private_key: String,
}

impl KeyStore {
    /// Makes a store for the keys table named `table`.
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Reads the published set; returns `None` before the first key is made.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find_set(&self) -> Result<Option<KeySet>, StoreError> {
        self.table.find(key_set_key(), true).await
    }

    /// Reads the private key named `kid`.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find_private(&self, kid: &str) -> Result<Option<PrivateKey>, StoreError> {
        let item: Option<PrivateKeyItem> = self.table.find(private_key_key(kid), true).await?;
        Ok(item.map(|item| PrivateKey {
            kid: item.kid,
            key_type: item.key_type,
            pem: item.private_key.into(),
        }))
    }

    /// Replaces the set of version `replaced` (`None`: no set) by `set`, adds the private keys of new keys and
    /// deletes those of removed keys, in one transaction.
    ///
    /// Returns `false` if another call was faster, so that any number of callers may race.
    ///
    /// # Errors
    /// The table cannot be written. No partial change is left.
    pub async fn replace(
        &self,
        replaced: Option<u64>,
        set: &KeySet,
        added: &[PrivateKey],
        removed: &[String],
    ) -> Result<bool, StoreError> {
        let mut attempts = Attempts::at("the key set");
        loop {
            let parts = [self.put_set(replaced, set)]
                .into_iter()
                .chain(added.iter().map(|key| self.put_private(key)))
                .chain(removed.iter().map(|kid| {
                    let key = private_key_key(kid);
                    self.table.part_delete(key, Expression::default())
                }));
            let Transacted::Cancelled(reasons) = self.table.transact(parts).await? else {
                return Ok(true);
            };
            // Another set is there, or another call is writing one this very moment: the set tells which.
            let found = self.find_set().await?.map(|set| set.version);
            if found != replaced {
                return Ok(false);
            }
            if !reasons.is_conflict() {
                return Err(StoreError::Conflict("the key set"));
            }
            attempts.again().await?;
        }
    }

    fn put_set(&self, replaced: Option<u64>, set: &KeySet) -> Part {
        let mut item: Item = serde_dynamo::to_item(set)?;
        item.extend(key_set_key());
        let condition = Expression::of_version(replaced);
        self.table.part_put(item, condition)
    }

    fn put_private(&self, key: &PrivateKey) -> Part {
        let mut item = private_key_key(&key.kid);
        item.extend([
            ("kid".to_owned(), string(&key.kid)),
            ("key_type".to_owned(), encode(key.key_type)?),
            ("private_key".to_owned(), string(key.pem.expose_secret())),
        ]);
        let is_new = Expression::new("attribute_not_exists(#pk)");
        self.table.part_put(item, is_new)
    }
}
