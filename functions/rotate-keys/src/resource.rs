//! The custom resource of the stack. CloudFormation asks it for the check of the settings, and for the first keys,
//! before it makes or changes another function.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::{http::HttpConnector as _, orchestrator::HttpRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    config::{Environment, Group},
    dynamodb::{self, StoreError},
    settings,
    stored::StoredError,
    telemetry,
};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::{Order, RotateKeys, RotateKeysError};

/// The time for the work. The function has 60 s, and an answer that cannot be sent at once is sent again.
const WORK_TIMEOUT: Duration = Duration::from_secs(35);
/// The refusals by DynamoDB after which a request fails, and the pause after each.
const REFUSALS: usize = 10;
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);
/// The time for one attempt to send the answer.
const SEND_TIMEOUT: Duration = Duration::from_secs(4);
/// The pauses before the attempts to send the answer.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// The longest reason of a failure, in bytes. CloudFormation reads 4,096 bytes of an answer.
const MAX_REASON: usize = 1500;
/// The id of the resource, if CloudFormation has not stored one. The id never changes, so nothing is ever replaced.
const ID: &str = "cambio-settings";
/// The hosts that CloudFormation takes answers at: buckets of its own.
const HOST: &str = "cloudformation-custom-resource-response-";
const DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"];

/// A request of CloudFormation.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request {
    request_type: RequestType,
    #[serde(rename = "ResponseURL")]
    response_url: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    physical_resource_id: Option<String>,
    /// Not read for the deletion, which must succeed whatever they are.
    #[serde(default)]
    resource_properties: Value,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum RequestType {
    Create,
    Update,
    Delete,
}

/// The properties of the resource, as `template.yaml` sets them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Properties {
    /// The variables of all functions, without the secrets.
    settings: BTreeMap<String, String>,
    /// The version of the code that the settings are for.
    version: String,
    /// A text that the operator changes together with a secret.
    #[serde(default)]
    revision: String,
    /// The ARNs of the secrets that the functions may read, separated by commas.
    #[serde(default)]
    secret_arns: String,
}

/// The answer to CloudFormation.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Response {
    /// `SUCCESS` or `FAILED`.
    pub status: &'static str,
    /// The reason of a failure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    physical_resource_id: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    data: Data,
}

/// The attributes of the resource.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    /// The fingerprint of the settings, which changes with each of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

/// Reasons that CloudFormation gets no answer. Lambda repeats the request, and all of its steps are safe to repeat.
#[derive(Debug, Error)]
pub enum ResourceError {
    /// The request names an address that is not CloudFormation's.
    #[error("the ResponseURL is not an https URL of CloudFormation's buckets; nothing was done")]
    ForeignUrl,
    /// The answer cannot be sent.
    #[error("the answer cannot be sent to CloudFormation: {0}")]
    Unsent(String),
}

impl RotateKeys {
    /// Does what CloudFormation asks for, and sends the answer, also that of a failure.
    pub(crate) async fn answer(&self, request: Request) -> Result<Response, ResourceError> {
        let url = self.response_url(&request)?;
        let done = timeout(WORK_TIMEOUT, self.carry_out_request(&request)).await;
        let done = done.unwrap_or_else(|_| {
            Err("the keys could not be made within 35 s: deploy again".to_owned())
        });
        let (status, reason, data) = match done {
            Ok(data) => ("SUCCESS", String::new(), data),
            Err(reason) => {
                tracing::error!(error.cause = reason, "the stack cannot go on");
                ("FAILED", shortened(reason), Data::default())
            }
        };
        let response = Response {
            status,
            reason,
            physical_resource_id: request
                .physical_resource_id
                .unwrap_or_else(|| ID.to_owned()),
            stack_id: request.stack_id,
            request_id: request.request_id,
            logical_resource_id: request.logical_resource_id,
            data,
        };
        send(&url, &response).await?;
        Ok(response)
    }

    async fn carry_out_request(&self, request: &Request) -> Result<Data, String> {
        if request.request_type == RequestType::Delete {
            return Ok(Data::default());
        }
        let properties =
            Properties::deserialize(&request.resource_properties).map_err(|error| {
                format!("the properties of the resource are not those of template.yaml: {error}")
            })?;
        let Properties {
            mut settings,
            version,
            revision,
            secret_arns,
        } = properties;
        let is_new = request.request_type == RequestType::Create;
        // CloudFormation goes back to the settings of another version: they passed the check of that version, and a
        // refusal would leave the stack half updated.
        if is_new || version == env!("CARGO_PKG_VERSION") {
            let env = Environment::of(settings.clone());
            let readable: Vec<&str> = secret_arns.split(',').collect();
            check(&env, &readable)?;
            self.check_stored(&env, &readable).await?;
        }
        if is_new {
            let order = Order::default();
            let is_refused =
                |error: &_| matches!(error, RotateKeysError::Store(StoreError::Refused(_)));
            let made = past_refusals(async || self.run(&order).await, is_refused).await;
            made.map_err(|error| {
                format!(
                    "the signing keys cannot be made: {}",
                    telemetry::causes(&error)
                )
            })?;
        }
        // No setting, but a reason to publish the functions anew.
        settings.insert("Revision".to_owned(), revision);
        let fingerprint = settings::fingerprint(&settings);
        Ok(Data {
            fingerprint: Some(fingerprint),
        })
    }

    /// Checks the clients and the providers that are in the keys table.
    async fn check_stored(&self, env: &Environment, readable: &[&str]) -> Result<(), String> {
        let check = async || settings::check_stored(env, &self.stored, readable).await;
        let is_refused =
            |error: &_| matches!(error, StoredError::Unreachable(StoreError::Refused(_)));
        let checked = past_refusals(check, is_refused).await;
        checked.map_err(|error| {
            let order = match &error {
                StoredError::Missing(_) => {
                    ". A stack that makes its keys table is deployed without it first (docs/clients.md)"
                }
                _ => "",
            };
            format!("nothing was changed, because of the settings in the keys table: {error}{order}")
        })
    }

    /// Returns the address for the answer, if it is CloudFormation's.
    fn response_url(&self, request: &Request) -> Result<Url, ResourceError> {
        let url = Url::parse(&request.response_url).map_err(|_| ResourceError::ForeignUrl)?;
        let host = url.host_str().unwrap_or_default();
        let is_stand_in = self.is_local && url.scheme() == "http" && host == "127.0.0.1";
        if is_stand_in || is_of_cloudformation(&url, host) {
            Ok(url)
        } else {
            Err(ResourceError::ForeignUrl)
        }
    }
}

fn is_of_cloudformation(url: &Url, host: &str) -> bool {
    let is_plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    let (bucket, service) = host.split_once('.').unwrap_or_default();
    url.scheme() == "https"
        && is_plain
        && bucket.starts_with(HOST)
        && service.starts_with("s3")
        && DOMAINS.iter().any(|domain| service.ends_with(domain))
}

/// Repeats what DynamoDB refuses to a role that was made, or that got its permissions, a moment ago.
async fn past_refusals<T, E>(
    attempt: impl AsyncFn() -> Result<T, E>,
    is_refused: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 0..REFUSALS {
        match attempt().await {
            Err(error) if is_refused(&error) => sleep(REFUSAL_PAUSE).await,
            done => return done,
        }
    }
    attempt().await
}

fn check(env: &Environment, readable: &[&str]) -> Result<(), String> {
    let mut problems = settings::problems(env);
    // The providers of the table are checked with the item.
    let is_stored = matches!(Group::Providers.is_stored(env), Ok(true));
    if problems.is_empty() && !is_stored {
        problems.extend(settings::check_secrets(env, readable).err());
    }
    if problems.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(format!(
        "nothing was changed, because of the settings (docs/settings.md has the parameter of each variable): {}",
        texts.join(". ")
    ))
}

fn shortened(mut reason: String) -> String {
    if reason.len() > MAX_REASON {
        reason.truncate(reason.floor_char_boundary(MAX_REASON - '…'.len_utf8()));
        reason.push('…');
    }
    reason
}

/// Sends the answer to a URL that is signed for it, and repeats what fails.
async fn send(url: &Url, response: &Response) -> Result<(), ResourceError> {
    let unsent = ResourceError::Unsent;
    let body = serde_json::to_vec(response).map_err(|error| unsent(error.to_string()))?;
    let connector = dynamodb::connector(url);
    let mut cause = String::new();
    for pause in PAUSES {
        sleep(pause).await;
        // Without a Content-Type: the URL is not signed for one.
        let mut request = HttpRequest::new(SdkBody::from(body.clone()));
        let set = request.set_method("PUT").and(request.set_uri(url.as_str()));
        set.map_err(|error| unsent(error.to_string()))?;
        cause = match timeout(SEND_TIMEOUT, connector.call(request)).await {
            Ok(Ok(answer)) if answer.status().is_success() => return Ok(()),
            Ok(Ok(answer)) => format!("status {}", answer.status().as_u16()),
            Ok(Err(error)) => telemetry::causes(&error),
            Err(_) => "no answer within 4 s".to_owned(),
        };
        // Without the URL, which is a permission to answer.
        tracing::warn!(error.cause = cause, "the answer was not taken");
    }
    Err(unsent(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t168_a_reason_of_the_largest_size_is_whole_and_a_longer_one_is_cut() {
        let whole = "x".repeat(MAX_REASON);
        assert_eq!(shortened(whole.clone()), whole);

        let cut = shortened(format!("{whole}x"));

        assert_eq!(cut, format!("{}…", "x".repeat(MAX_REASON - '…'.len_utf8())));
        // No character is cut in two.
        let keys = shortened("\u{1f511}".repeat(MAX_REASON / 4 + 1));
        assert!(
            keys.len() <= MAX_REASON && keys.ends_with("\u{1f511}…"),
            "{keys}"
        );
    }
}
