//! The keys table.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Delete, Put, TransactWriteItem},
};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{KeySet, KeyType, PrivateKey};
use crate::dynamodb::StoreError;

const KEY_SET: &str = "KEYSET";

/// Reads and writes the keys table.
#[derive(Clone, Debug)]
pub struct KeyStore {
    client: Client,
    table: String,
}

#[derive(Deserialize)]
struct PrivateKeyItem {
    kid: String,
    key_type: KeyType,
    private_key: String,
}

impl KeyStore {
    /// The keys table named `table`.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// The published set; `None` before the first key was made.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find_set(&self) -> Result<Option<KeySet>, StoreError> {
        let item = self.find(KEY_SET.to_owned()).await?;
        Ok(item.map(serde_dynamo::from_item).transpose()?)
    }

    /// The private key named `kid`.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find_private(&self, kid: &str) -> Result<Option<PrivateKey>, StoreError> {
        let Some(item) = self.find(private_pk(kid)).await? else {
            return Ok(None);
        };
        let item: PrivateKeyItem = serde_dynamo::from_item(item)?;
        Ok(Some(PrivateKey {
            kid: item.kid,
            key_type: item.key_type,
            pem: item.private_key.into(),
        }))
    }

    /// Writes `set` in place of the one of version `replaced` (`None`: of none at all), with the private halves of the keys
    /// that come, and without those of the keys that go: all of it or nothing.
    ///
    /// Answers whether this call did: `false` where another one was faster, so that any number of callers may race.
    ///
    /// # Errors
    /// The table cannot be written; nothing is half done.
    pub async fn replace(
        &self,
        replaced: Option<u64>,
        set: &KeySet,
        added: &[PrivateKey],
        removed: &[String],
    ) -> Result<bool, StoreError> {
        let mut transaction = self
            .client
            .transact_write_items()
            .transact_items(self.put_set(replaced, set)?);
        for key in added {
            transaction = transaction.transact_items(self.put_private(key)?);
        }
        for kid in removed {
            transaction = transaction.transact_items(self.delete_private(kid)?);
        }
        match transaction.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_transaction_canceled_exception()) =>
            {
                // Cancelled because another set is there, or because somebody is writing one this very moment: the set
                // tells which.
                let found = self.find_set().await?.map(|set| set.version);
                if found == replaced {
                    Err(error.into())
                } else {
                    Ok(false)
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn put_set(
        &self,
        replaced: Option<u64>,
        set: &KeySet,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(set)?;
        item.insert("pk".to_owned(), AttributeValue::S(KEY_SET.to_owned()));
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        let put = match replaced {
            None => put
                .condition_expression("attribute_not_exists(#pk)")
                .expression_attribute_names("#pk", "pk"),
            Some(version) => put
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", AttributeValue::N(version.to_string())),
        };
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }

    fn put_private(&self, key: &PrivateKey) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&self.table)
            .item("pk", AttributeValue::S(private_pk(&key.kid)))
            .item("kid", AttributeValue::S(key.kid.clone()))
            .item("key_type", serde_dynamo::to_attribute_value(key.key_type)?)
            .item(
                "private_key",
                AttributeValue::S(key.pem.expose_secret().to_owned()),
            )
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", "pk");
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }

    fn delete_private(&self, kid: &str) -> Result<TransactWriteItem, StoreError> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(private_pk(kid)));
        Ok(TransactWriteItem::builder().delete(delete.build()?).build())
    }

    async fn find(
        &self,
        pk: String,
    ) -> Result<Option<HashMap<String, AttributeValue>>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(pk))
            .consistent_read(true)
            .send()
            .await?;
        Ok(found.item)
    }
}

fn private_pk(kid: &str) -> String {
    format!("KEY#{kid}")
}
