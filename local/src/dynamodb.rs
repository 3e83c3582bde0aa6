//! An embedded DynamoDB with our tables, on disk or in memory.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt as _, path::Path};

use dynoxide::{Database, DynoxideError};
use serde_json::json;
use thiserror::Error;

/// The main table's name on this machine.
pub const TABLE: &str = "cambio";
/// The keys table's name on this machine.
pub const KEYS_TABLE: &str = "cambio-keys";

/// The embedded DynamoDB cannot be used.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// The folder for its file cannot be made.
    #[error("cannot make the folder {0}: {1}")]
    Folder(String, io::Error),
    /// It does not open, or does not do as it is told.
    #[error("the embedded DynamoDB failed: {0}")]
    Dynoxide(#[from] DynoxideError),
    /// What we ask of it is no request.
    #[error("the embedded DynamoDB does not understand: {0}")]
    Request(#[from] serde_json::Error),
}

/// Opens the database in `folder`, or one in memory, with both tables in it.
///
/// # Errors
/// The file cannot be made or read.
pub fn open(folder: Option<&Path>) -> Result<Database, DatabaseError> {
    let database = match folder {
        None => Database::memory()?,
        Some(folder) => {
            make_private_folder(folder)
                .map_err(|error| DatabaseError::Folder(folder.display().to_string(), error))?;
            Database::new(&folder.join("dynamodb.sqlite").to_string_lossy())?
        }
    };
    create_tables(&database)?;
    Ok(database)
}

/// Makes a folder that nobody else on this machine may look into: private keys are kept there.
///
/// # Errors
/// It cannot be made.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The same tables as in `template.yaml`.
fn create_tables(database: &Database) -> Result<(), DatabaseError> {
    let existing = database.list_tables(serde_json::from_value(json!({}))?)?;
    let has = |name: &str| existing.table_names.iter().any(|other| other == name);
    let key = |name: &str, kind: &str| json!({ "AttributeName": name, "KeyType": kind });
    let text = |name: &str| json!({ "AttributeName": name, "AttributeType": "S" });
    if !has(TABLE) {
        database.create_table(serde_json::from_value(json!({
            "TableName": TABLE,
            "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
            "AttributeDefinitions": [text("pk"), text("sk")],
            "BillingMode": "PAY_PER_REQUEST",
        }))?)?;
        database.update_time_to_live(serde_json::from_value(json!({
            "TableName": TABLE,
            "TimeToLiveSpecification": { "AttributeName": "expires_at", "Enabled": true },
        }))?)?;
    }
    if !has(KEYS_TABLE) {
        database.create_table(serde_json::from_value(json!({
            "TableName": KEYS_TABLE,
            "KeySchema": [key("pk", "HASH")],
            "AttributeDefinitions": [text("pk")],
            "BillingMode": "PAY_PER_REQUEST",
        }))?)?;
    }
    Ok(())
}
