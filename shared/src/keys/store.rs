//! The keys table.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Put, TransactWriteItem},
};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{KeySet, PrivateKey, PublishedKey, SigningAlgorithm};
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
    algorithm: SigningAlgorithm,
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
            algorithm: item.algorithm,
            pem: item.private_key.into(),
        }))
    }

    /// Writes the first key and the set that publishes it, both or neither.
    ///
    /// Answers whether this call did: `false` where a set is there already, so that any number of callers may race.
    ///
    /// # Errors
    /// The table cannot be written; nothing is half done.
    pub async fn create_first(
        &self,
        key: &PrivateKey,
        published: PublishedKey,
    ) -> Result<bool, StoreError> {
        let set = KeySet {
            version: 1,
            keys: vec![published],
        };
        let mut set_item: HashMap<String, AttributeValue> = serde_dynamo::to_item(set)?;
        set_item.insert("pk".to_owned(), AttributeValue::S(KEY_SET.to_owned()));
        let key_item = HashMap::from([
            ("pk".to_owned(), AttributeValue::S(private_pk(&key.kid))),
            ("kid".to_owned(), AttributeValue::S(key.kid.clone())),
            (
                "algorithm".to_owned(),
                serde_dynamo::to_attribute_value(key.algorithm)?,
            ),
            (
                "private_key".to_owned(),
                AttributeValue::S(key.pem.expose_secret().to_owned()),
            ),
        ]);
        let put = |item| {
            Put::builder()
                .table_name(&self.table)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(#pk)")
                .expression_attribute_names("#pk", "pk")
                .build()
                .map(|put| TransactWriteItem::builder().put(put).build())
                .map_err(|error| StoreError::Malformed(error.to_string()))
        };
        let written = self
            .client
            .transact_write_items()
            .transact_items(put(key_item)?)
            .transact_items(put(set_item)?)
            .send()
            .await;
        match written {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_transaction_canceled_exception()) =>
            {
                // Cancelled because a set is there, or because somebody is writing one this very moment: the set
                // tells which.
                match self.find_set().await? {
                    Some(_) => Ok(false),
                    None => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
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
