//! An embedded DynamoDB with Cambio's tables, on disk or in memory, and the changes of their items.
//!
//! This module has its own HTTP server, because dynoxide's server answers any caller that finds its port, web pages
//! in a browser included, and accepts any signature. The tables hold private keys, so this server answers only
//! requests with the access key that was made at its start.

mod changes;

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use dynoxide::{Database, DynoxideError};
use serde_json::{Map, Value, json};
use thiserror::Error;
use uuid::Uuid;

use crate::github::header_text;
pub(crate) use changes::{CallChanges, Changes};

/// The main table's name on this machine.
pub const TABLE: &str = "cambio";
/// The keys table's name on this machine.
pub const KEYS_TABLE: &str = "cambio-keys";

/// The name of the database's file in its folder.
pub const DATABASE: &str = "dynamodb.sqlite";

/// Reasons that the embedded DynamoDB cannot be used.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// The folder of the database file cannot be made.
    #[error("cannot make the folder {0}: {1}")]
    Folder(String, io::Error),
    /// The database cannot be opened, or an operation failed.
    #[error("the embedded DynamoDB failed: {0}")]
    Dynoxide(#[from] DynoxideError),
    /// A request to the database does not have the form that it expects.
    #[error("the embedded DynamoDB cannot parse a request: {0}")]
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
            make_folder(folder)
                .map_err(|error| DatabaseError::Folder(folder.display().to_string(), error))?;
            Database::new(&folder.join(DATABASE).to_string_lossy())?
        }
    };
    create_tables(&database)?;
    Ok(database)
}

/// Makes the folder of the database. A new one gets a `.gitignore`: in an app's repository, the private keys in it must
/// not be committed. A folder that exists may have other files, so it stays as it is.
fn make_folder(folder: &Path) -> io::Result<()> {
    let is_new = !folder.exists();
    make_private_folder(folder)?;
    if is_new {
        fs::write(folder.join(".gitignore"), "*\n")?;
    }
    Ok(())
}

/// Makes a folder that no other user of this machine can read, because the database holds private keys.
///
/// # Errors
/// The folder cannot be made.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes the tables that do not exist yet.
fn create_tables(database: &Database) -> Result<(), DatabaseError> {
    let existing = database.list_tables(serde_json::from_value(json!({}))?)?;
    let has = |name: &str| existing.table_names.iter().any(|other| other == name);
    if !has(TABLE) {
        let definition = definition(TABLE, MAIN_KEY);
        database.create_table(serde_json::from_value(definition)?)?;
        database.update_time_to_live(serde_json::from_value(time_to_live(TABLE))?)?;
    }
    if !has(KEYS_TABLE) {
        let definition = definition(KEYS_TABLE, KEYS_KEY);
        database.create_table(serde_json::from_value(definition)?)?;
    }
    Ok(())
}

/// The key attributes of the main table.
pub const MAIN_KEY: &[&str] = &["pk", "sk"];
/// The key attributes of the keys table.
pub const KEYS_KEY: &[&str] = &["pk"];

/// Returns the `CreateTable` request for a table with these key attributes, as in `template.yaml`.
pub fn definition(name: &str, key: &[&str]) -> Value {
    let kinds = ["HASH", "RANGE"];
    let schema: Vec<Value> = key
        .iter()
        .zip(kinds)
        .map(|(name, kind)| json!({ "AttributeName": name, "KeyType": kind }))
        .collect();
    let attributes: Vec<Value> = key
        .iter()
        .map(|name| json!({ "AttributeName": name, "AttributeType": "S" }))
        .collect();
    json!({
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": schema, "AttributeDefinitions": attributes,
    })
}

/// Returns the `UpdateTimeToLive` request for the main table, as in `template.yaml`.
pub fn time_to_live(name: &str) -> Value {
    json!({
        "TableName": name,
        "TimeToLiveSpecification": { "AttributeName": "expires_at", "Enabled": true },
    })
}

/// The largest request body that DynamoDB reads, in bytes.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The header with the id of a call, which the SDK puts into the span of the operation.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The prefix of the operation in a request's `X-Amz-Target` header.
const TARGET: &str = "DynamoDB_20120810.";

/// Serves `database` by DynamoDB's protocol to callers that sign with this access key, and records the changes.
///
/// The signature itself is not checked. The id of the access key is as secret as a signing key would be: both would
/// be in the same file, and neither leaves this machine.
pub(crate) fn router(database: Database, access_key_id: String, changes: Changes) -> Router {
    Router::new()
        .fallback(call)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Server {
            database,
            access_key_id,
            changes,
        })
}

#[derive(Clone)]
struct Server {
    database: Database,
    access_key_id: String,
    changes: Changes,
}

impl Server {
    /// Returns whether the request names the access key of this server in its SigV4 `Authorization` header.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let authorization = header_text(headers, header::AUTHORIZATION);
        authorization
            .strip_prefix("AWS4-HMAC-SHA256 ")
            .and_then(|rest| rest.trim_start().strip_prefix("Credential="))
            .and_then(|credential| credential.split_once('/'))
            .is_some_and(|(access_key_id, _)| access_key_id == self.access_key_id)
    }
}

async fn call(State(server): State<Server>, headers: HeaderMap, body: Bytes) -> Response {
    if !server.knows(&headers) {
        return refusal(
            "com.amazon.coral.service#UnrecognizedClientException",
            "The access key is from an earlier start of this server. Restart the functions with the settings file that this start wrote",
        );
    }
    let target = header_text(&headers, HeaderName::from_static("x-amz-target"));
    let operation = target.strip_prefix(TARGET).unwrap_or_default();
    let id = Uuid::new_v4().to_string();
    let write = || act(&server.database, operation, &body);
    let call = (id.as_str(), operation, &body[..]);
    let answer = server.changes.watch(&server.database, call, write);
    let mut answer = match answer {
        Ok(Some(answer)) => answered(StatusCode::OK, answer),
        Ok(None) => refusal(
            "com.amazon.coral.service#UnknownOperationException",
            "The embedded DynamoDB does not support this operation",
        ),
        Err(error) => {
            let status = StatusCode::from_u16(error.status_code());
            answered(status.unwrap_or(StatusCode::BAD_REQUEST), error.to_json())
        }
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    answer
}

/// Returns an attribute of DynamoDB as plain JSON.
pub(crate) fn plain(attribute: &Value) -> Value {
    let Some((kind, value)) = attribute.as_object().and_then(|pair| pair.iter().next()) else {
        return Value::Null;
    };
    match (kind.as_str(), value) {
        ("N", Value::String(number)) => serde_json::from_str(number).unwrap_or_default(),
        ("NULL", _) => Value::Null,
        ("B", Value::String(bytes)) => hex(bytes).into(),
        ("L", Value::Array(list)) => list.iter().map(plain).collect(),
        ("M", Value::Object(members)) => {
            let members = members
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        (_, value) => value.clone(),
    }
}

/// Returns the answer to `operation`, or `None` if no operation has that name.
///
/// # Errors
/// The embedded DynamoDB refuses the request.
pub fn act(
    database: &Database,
    operation: &str,
    body: &[u8],
) -> Result<Option<String>, DynoxideError> {
    let unreadable =
        |error: serde_json::Error| DynoxideError::SerializationException(error.to_string());
    macro_rules! operations {
        ($($name:literal => $method:ident,)*) => {
            match operation {
                $($name => {
                    let request = serde_json::from_slice(body).map_err(unreadable)?;
                    let answer = database.$method(request)?;
                    serde_json::to_string(&answer).map(Some).map_err(unreadable)
                })*
                _ => Ok(None),
            }
        };
    }
    operations! {
        "BatchGetItem" => batch_get_item,
        "BatchWriteItem" => batch_write_item,
        "CreateTable" => create_table,
        "DeleteItem" => delete_item,
        "DeleteTable" => delete_table,
        "DescribeTable" => describe_table,
        "DescribeTimeToLive" => describe_time_to_live,
        "ExecuteStatement" => execute_statement,
        "GetItem" => get_item,
        "ListTables" => list_tables,
        "PutItem" => put_item,
        "Query" => query,
        "Scan" => scan,
        "TransactGetItems" => transact_get_items,
        "TransactWriteItems" => transact_write_items,
        "UpdateItem" => update_item,
        "UpdateTable" => update_table,
        "UpdateTimeToLive" => update_time_to_live,
    }
}

/// Returns the hexadecimal digits of bytes in Base64, the usual form of a hash.
fn hex(base64: &str) -> String {
    let bytes = BASE64_STANDARD.decode(base64).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refusal(kind: &str, message: &str) -> Response {
    let body = json!({ "__type": kind, "message": message });
    answered(StatusCode::BAD_REQUEST, body.to_string())
}

fn answered(status: StatusCode, body: String) -> Response {
    let checksum = crc32fast::hash(body.as_bytes()).to_string();
    let headers = [
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-crc32", checksum.as_str()),
    ];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_ignores_a_new_folder_and_an_existing_one_stays_as_it_is() {
        let parent = std::env::temp_dir().join(format!("cambio-ignored-{}", std::process::id()));
        let [new, existing] = ["app/.cambio", "existing"].map(|name| parent.join(name));
        fs::create_dir_all(&existing).unwrap();

        for folder in [&new, &new, &existing] {
            open(Some(folder)).unwrap();
        }

        let ignored = fs::read_to_string(new.join(".gitignore")).unwrap();
        assert_eq!(ignored, "*\n");
        assert!(!parent.join("app/.gitignore").exists());
        assert!(existing.join(DATABASE).exists() && !existing.join(".gitignore").exists());
        fs::remove_dir_all(parent).unwrap();
    }

    #[test]
    fn an_attribute_becomes_plain_json() {
        let item = json!({ "M": {
            "pk": { "S": "USER#1" }, "version": { "N": "3" }, "none": { "NULL": true },
            "roles": { "L": [{ "S": "admin" }] }, "is": { "BOOL": false }, "set": { "SS": ["a"] },
            "hash": { "B": "AKv/" },
        }});

        let expected = json!({
            "pk": "USER#1", "version": 3, "none": null, "roles": ["admin"], "is": false, "set": ["a"],
            "hash": "00abff",
        });
        assert_eq!(plain(&item), expected);
    }
}
