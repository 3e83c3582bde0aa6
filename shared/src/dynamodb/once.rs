//! Tokens that are good once: client assertions, and the JWTs by which an app vouches for its users.
//!
//! The `jti` of a token is put into the table on the condition that it is absent, and DynamoDB deletes the item after
//! the token has expired.

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Expression, Item, Outcome, StoreError, Table, number, table::assertion_key};
use crate::clock::Timestamp;

/// The attribute of a token that a request without an outcome released.
const GIVEN_BACK: &str = "given_back";

/// The use of a token by one attempt.
#[derive(Debug)]
pub(crate) struct Use {
    item: Item,
    attempt: AttributeValue,
}

impl Use {
    /// The use of the token that `issuer` named `jti` and that is refused from `expires_at` on. A repetition of the
    /// same attempt is the same use.
    pub(crate) fn new(
        issuer: &str,
        jti: &str,
        attempt: impl Into<Vec<u8>>,
        expires_at: Timestamp,
    ) -> Self {
        let named = [issuer.as_bytes(), &[0], jti.as_bytes()].concat();
        let name = URL_SAFE_NO_PAD.encode(digest(&SHA256, &named));
        let attempt = AttributeValue::B(Blob::new(attempt));
        let mut item = assertion_key(&name);
        item.insert("attempt".to_owned(), attempt.clone());
        item.insert("expires_at".to_owned(), number(expires_at));
        Self { item, attempt }
    }
}

impl Table {
    /// Uses a token up. Returns `false` if another attempt used it before.
    ///
    /// # Errors
    /// The table cannot be used. The write may have been applied.
    pub(crate) async fn use_up(&self, used: &Use) -> Result<bool, StoreError> {
        let is_unused =
            Expression::new("attribute_not_exists(#pk) OR attribute_exists(#given_back)");
        let put = self.put(used.item.clone(), is_unused.returning_item());
        Ok(match put.await? {
            Outcome::Done(_) => true,
            Outcome::Failed(there) => {
                there.as_ref().and_then(|item| item.get("attempt")) == Some(&used.attempt)
            }
        })
    }

    /// Releases a token that this attempt has used.
    ///
    /// # Errors
    /// Another attempt has used it meanwhile, or the table cannot be used. The token stays used.
    pub(crate) async fn give_back(&self, used: &Use) -> Result<(), StoreError> {
        let mut item = used.item.clone();
        item.insert(GIVEN_BACK.to_owned(), AttributeValue::Bool(true));
        let is_its_own =
            Expression::new("#attempt = :attempt").value(":attempt", used.attempt.clone());
        match self.put(item, is_its_own).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Failed(_) => Err(StoreError::Conflict("the used token")),
        }
    }
}
