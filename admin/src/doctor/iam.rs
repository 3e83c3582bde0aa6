//! `doctor --iam`: the DynamoDB calls of a function, under its role, with conditions that fail.
//!
//! No call writes. DynamoDB evaluates IAM before the conditions: a failed condition says that the call is allowed.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

#[cfg(feature = "aws")]
use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{
        AttributeValue, ConditionCheck, Delete, KeysAndAttributes, Put, TransactWriteItem, Update,
    },
};
use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};

#[cfg(feature = "aws")]
use super::DoctorError;
use super::report::Paint;
use crate::output::write_json;

/// The calls of each function, against which the template and the functions are tested as well.
const PERMISSIONS: &str = include_str!("../../../tests/template/permissions.json");

/// No item meets this condition, whatever is in the table.
const NEVER: &str = "attribute_exists(#pk) AND attribute_not_exists(#pk)";
/// The part of a key after its prefix, which no item has.
const NO_ITEM: &str = "cambio-doctor";

/// The names of the tables.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The table of users and sessions.
    pub table: String,
    /// The table of the signing keys.
    pub keys_table: String,
}

/// The requests of a function to DynamoDB.
#[derive(Debug, Deserialize)]
struct Requests {
    /// Table, actions and leading keys of all requests but transactions.
    calls: Vec<(String, Vec<String>, Vec<String>)>,
    /// Table, and the leading keys of each action, for each transaction.
    transactions: Vec<(String, BTreeMap<String, Vec<String>>)>,
}

/// A call and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Called {
    /// The function.
    pub function: String,
    /// The operation with its actions and keys.
    pub call: String,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The verdict of IAM on a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "came", rename_all = "lowercase")]
pub enum Verdict {
    /// The call reached the table.
    Allowed(String),
    /// IAM denied it.
    Denied(String),
    /// Something else went wrong.
    Unclear(String),
}

impl Called {
    /// Returns whether the call is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Allowed(_))
    }
}

fn permissions() -> BTreeMap<&'static str, Requests> {
    // A test reads it: the text is part of the source.
    serde_json::from_str(PERMISSIONS).unwrap_or_default()
}

/// Returns the names of the functions, for the command line.
pub(super) fn functions() -> PossibleValuesParser {
    PossibleValuesParser::new(permissions().into_keys())
}

/// Makes a client with the credentials of the operator, or of a role.
#[cfg(feature = "aws")]
pub(super) async fn client(
    config: &SdkConfig,
    role_arn: Option<&str>,
) -> Result<Client, DoctorError> {
    use aws_config::sts::AssumeRoleProvider;
    use aws_credential_types::provider::ProvideCredentials as _;

    let Some(role_arn) = role_arn else {
        return Ok(Client::new(config));
    };
    let role = AssumeRoleProvider::builder(role_arn)
        .session_name("cambio-doctor")
        .session_length(std::time::Duration::from_mins(15))
        .configure(config)
        .build()
        .await;
    if let Err(error) = role.provide_credentials().await {
        let error = shared::telemetry::causes(&error);
        return Err(DoctorError::Wrong(format!(
            "{role_arn} cannot be assumed: {error}\nThe role of a function trusts Lambda alone; docs/doctor.md says how to copy it."
        )));
    }
    let config = aws_sdk_dynamodb::config::Builder::from(config).credentials_provider(role);
    Ok(Client::from_conf(config.build()))
}

/// Makes each call and each transaction of `function` once.
pub async fn examine(client: &Client, tables: &Tables, function: &str) -> Vec<Called> {
    let Some(requests) = permissions().remove(function) else {
        return Vec::new();
    };
    let mut called = Vec::new();
    for (table, actions, prefixes) in &requests.calls {
        for action in actions {
            for prefix in prefixes {
                let table = Place::of(tables, table);
                called.push(Called {
                    function: function.to_owned(),
                    call: format!("{action} {prefix}"),
                    verdict: table.call(client, action, prefix).await,
                });
            }
        }
    }
    for (table, actions) in &requests.transactions {
        let table = Place::of(tables, table);
        let parts = actions.iter();
        let parts = parts.map(|(action, prefixes)| format!("{action} {}", prefixes.join(" ")));
        called.push(Called {
            function: function.to_owned(),
            call: format!(
                "TransactWriteItems {}",
                parts.collect::<Vec<_>>().join(", ")
            ),
            verdict: table.transact(client, actions).await,
        });
    }
    called
}

type Key = std::collections::HashMap<String, AttributeValue>;

/// A table, and whether its keys have two parts.
struct Place<'a> {
    name: &'a str,
    has_sort_key: bool,
}

impl<'a> Place<'a> {
    fn of(tables: &'a Tables, table: &str) -> Self {
        match table {
            "KeysTable" => Self {
                name: &tables.keys_table,
                has_sort_key: false,
            },
            _ => Self {
                name: &tables.table,
                has_sort_key: true,
            },
        }
    }

    /// Returns the `nth` key with this leading key.
    fn key(&self, prefix: &str, nth: usize) -> Key {
        let pk = match prefix.strip_suffix('*') {
            Some(prefix) => format!("{prefix}{NO_ITEM}"),
            None => prefix.to_owned(),
        };
        let mut key = Key::from([("pk".to_owned(), AttributeValue::S(pk))]);
        if self.has_sort_key {
            let sk = AttributeValue::S(format!("{NO_ITEM}-{nth}"));
            key.insert("sk".to_owned(), sk);
        }
        key
    }

    async fn call(&self, client: &Client, action: &str, prefix: &str) -> Verdict {
        let key = self.key(prefix, 0);
        let pk = key.get("pk").cloned();
        match action {
            "GetItem" => {
                let call = client.get_item().table_name(self.name).set_key(Some(key));
                verdict(call.send().await)
            }
            "BatchGetItem" => match KeysAndAttributes::builder().keys(key).build() {
                Ok(keys) => {
                    let call = client.batch_get_item().request_items(self.name, keys);
                    verdict(call.send().await)
                }
                Err(error) => Verdict::Unclear(error.to_string()),
            },
            "Query" => {
                let call = client
                    .query()
                    .table_name(self.name)
                    .key_condition_expression("#pk = :pk")
                    .expression_attribute_names("#pk", "pk")
                    .set_expression_attribute_values(pk.map(|pk| [(":pk".to_owned(), pk)].into()))
                    .limit(1);
                verdict(call.send().await)
            }
            "PutItem" => {
                let call = client.put_item().table_name(self.name).set_item(Some(key));
                let call = call.condition_expression(NEVER);
                verdict(call.expression_attribute_names("#pk", "pk").send().await)
            }
            "UpdateItem" => {
                let call = client
                    .update_item()
                    .table_name(self.name)
                    .set_key(Some(key));
                let call = call.condition_expression(NEVER);
                verdict(call.expression_attribute_names("#pk", "pk").send().await)
            }
            "DeleteItem" => {
                let call = client
                    .delete_item()
                    .table_name(self.name)
                    .set_key(Some(key));
                let call = call.condition_expression(NEVER);
                verdict(call.expression_attribute_names("#pk", "pk").send().await)
            }
            other => Verdict::Unclear(format!("no call is known for {other}")),
        }
    }

    async fn transact(&self, client: &Client, actions: &BTreeMap<String, Vec<String>>) -> Verdict {
        let mut items = Vec::new();
        for (action, prefixes) in actions {
            for prefix in prefixes {
                // No item may come twice.
                match self.part(action, self.key(prefix, items.len())) {
                    Ok(item) => items.push(item),
                    Err(error) => return Verdict::Unclear(error),
                }
            }
        }
        let call = client
            .transact_write_items()
            .set_transact_items(Some(items));
        match call.send().await {
            Err(SdkError::ServiceError(error))
                if matches!(
                    error.err(),
                    TransactWriteItemsError::TransactionCanceledException(cancelled)
                        if cancelled.cancellation_reasons().iter().any(|reason| {
                            reason.code() == Some("ConditionalCheckFailed")
                        })
                ) =>
            {
                Verdict::Allowed("the condition failed".to_owned())
            }
            other => verdict(other),
        }
    }

    fn part(&self, action: &str, key: Key) -> Result<TransactWriteItem, String> {
        let item = TransactWriteItem::builder();
        let built = match action {
            "PutItem" => Put::builder()
                .table_name(self.name)
                .set_item(Some(key))
                .condition_expression(NEVER)
                .expression_attribute_names("#pk", "pk")
                .build()
                .map(|part| item.put(part)),
            "UpdateItem" => Update::builder()
                .table_name(self.name)
                .set_key(Some(key))
                .update_expression("SET #doctor = #pk")
                .condition_expression(NEVER)
                .expression_attribute_names("#pk", "pk")
                .expression_attribute_names("#doctor", "cambio_doctor")
                .build()
                .map(|part| item.update(part)),
            "DeleteItem" => Delete::builder()
                .table_name(self.name)
                .set_key(Some(key))
                .condition_expression(NEVER)
                .expression_attribute_names("#pk", "pk")
                .build()
                .map(|part| item.delete(part)),
            "ConditionCheckItem" => ConditionCheck::builder()
                .table_name(self.name)
                .set_key(Some(key))
                .condition_expression(NEVER)
                .expression_attribute_names("#pk", "pk")
                .build()
                .map(|part| item.condition_check(part)),
            other => return Err(format!("no part of a transaction is known for {other}")),
        };
        built
            .map(|item| item.build())
            .map_err(|error| error.to_string())
    }
}

fn verdict<T, E>(answer: Result<T, SdkError<E>>) -> Verdict
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let error = match answer {
        Ok(_) => return Verdict::Allowed("an answer".to_owned()),
        Err(error) => error,
    };
    match error.code() {
        Some("ConditionalCheckFailedException") => {
            Verdict::Allowed("the condition failed".to_owned())
        }
        Some("AccessDeniedException") => {
            Verdict::Denied(error.message().unwrap_or("AccessDenied").to_owned())
        }
        _ => Verdict::Unclear(DisplayErrorContext(&error).to_string()),
    }
}

/// Writes one line for each call, or one line of JSON.
///
/// # Errors
/// The output cannot be written.
pub fn write(out: &mut dyn Write, calls: &[Called], json: bool, colours: bool) -> io::Result<()> {
    if json {
        return write_json(out, calls);
    }
    let paint = Paint { colours };
    for call in calls {
        let (mark, text) = match &call.verdict {
            Verdict::Allowed(text) => (paint.green("allowed"), text),
            Verdict::Denied(text) => (paint.red("DENIED "), text),
            Verdict::Unclear(text) => (paint.red("UNCLEAR"), text),
        };
        writeln!(out, "{mark}  {:16}{}: {text}", call.function, call.call)?;
    }
    let wrong = calls.iter().filter(|call| !call.is_allowed()).count();
    writeln!(
        out,
        "\n{} calls, {wrong} not allowed. Nothing was written.",
        calls.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_each_function_are_read() {
        let all = permissions();
        assert!(all.len() >= 9, "{}", all.len());
        let transactions: usize = all
            .values()
            .map(|requests| requests.transactions.len())
            .sum();
        assert!(transactions >= 10, "{transactions}");
    }

    #[test]
    fn each_action_of_the_functions_has_a_call() {
        let place = Place {
            name: "a",
            has_sort_key: true,
        };
        for requests in permissions().values() {
            for (_, actions) in &requests.transactions {
                for action in actions.keys() {
                    place.part(action, place.key("USER#*", 0)).unwrap();
                }
            }
            for (_, actions, _) in &requests.calls {
                for action in actions {
                    let known = [
                        "GetItem",
                        "BatchGetItem",
                        "Query",
                        "PutItem",
                        "UpdateItem",
                        "DeleteItem",
                    ];
                    assert!(known.contains(&action.as_str()), "{action}");
                }
            }
        }
    }
}
