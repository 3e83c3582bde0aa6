//! The items of the keys table that hold settings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    config::Group,
    dynamodb::{Client, Expression, Item, Outcome, StoreError, Table, decode, table::settings_key},
};

/// The settings of a group as the item holds them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// The number of changes so far.
    pub version: u64,
    /// The values by the names of the environment variables.
    pub settings: BTreeMap<String, String>,
}

/// Reads the settings, and writes them for the operator.
#[derive(Clone, Debug)]
pub struct SettingsStore {
    table: Table,
}

impl SettingsStore {
    /// Makes a store for the keys table named `table`.
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Reads the settings of a group.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn find(&self, group: Group) -> Result<Option<Settings>, StoreError> {
        self.table.find(settings_key(group), true).await
    }

    /// Replaces the settings of version `replaced` (`None`: no item) by the next version. Returns `false` if another
    /// call was faster, and nothing was written.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn replace(
        &self,
        group: Group,
        replaced: Option<u64>,
        settings: BTreeMap<String, String>,
    ) -> Result<bool, StoreError> {
        let version = replaced.unwrap_or(0) + 1;
        let next = Settings { version, settings };
        let mut item: Item = serde_dynamo::to_item(&next)?;
        item.extend(settings_key(group));
        let condition = Expression::of_version(replaced);
        match self.table.put(item, condition.returning_item()).await? {
            Outcome::Done(_) => Ok(true),
            // The SDK sends a write again if its answer is lost: then the item is the one of this call.
            Outcome::Failed(found) => {
                let found: Option<Settings> = found.map(decode).transpose()?;
                Ok(found.is_some_and(|found| found == next))
            }
        }
    }
}
