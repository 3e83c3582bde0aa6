//! The DynamoDB client, requests to its tables, and their failures.

mod counter;
mod empty;
mod expression;
mod metered;
mod once;
mod requests;
mod retry;
pub(crate) mod table;

use std::{collections::HashMap, error::Error as StdError, time::Duration};

use aws_lc_rs::error::Unspecified;
pub use aws_sdk_dynamodb::{Client, types::AttributeValue};
use aws_sdk_dynamodb::{
    config::{
        BehaviorVersion, Config, Credentials, Region, SharedHttpClient,
        http::HttpResponse,
        retry::{RetryConfig, RetryPartition},
        timeout::TimeoutConfig,
    },
    error::{BuildError, ProvideErrorMetadata, SdkError},
    primitives::Blob,
};
use aws_smithy_http_client::{
    Builder, Connector,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use secrecy::ExposeSecret;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use url::Url;

use crate::{config, telemetry};
use empty::RefuseEmptyAnswers;
pub(crate) use expression::Expression;
use metered::Metered;
pub(crate) use once::Use;
pub(crate) use requests::{Cancelled, Outcome, Part, Table, Transacted};
pub(crate) use retry::Attempts;
use retry::RetryWhatPasses;

/// The root certificates of all AWS endpoints (<https://www.amazontrust.com/repository/>). Embedded, because loading
/// the system's certificate store takes a measurable part of a cold start.
const AMAZON_ROOTS: &[u8] = include_bytes!("dynamodb/amazon-roots.pem");

/// Three attempts within 2.5 s, the longest acceptable wait of a sign-in.
const TRIES_PER_REQUEST: u32 = 3;
const OPERATION_TIMEOUT: Duration = Duration::from_millis(2500);
const TRY_TIMEOUT: Duration = Duration::from_millis(1000);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// Fewer idle connections than a request has attempts: if all died while the function was frozen, the last attempt
/// opens a new one.
const IDLE_CONNECTIONS: usize = 2;
/// DynamoDB and the network in between close idle connections, sometimes without notice.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Makes a DynamoDB client for `config`.
///
/// Without `aws-config`, whose credential chain takes longer at cold start than the whole request. The credentials of
/// a Lambda are in its environment.
pub fn client(config: &config::DynamoDb) -> Client {
    let mut sdk = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(config.region.clone()))
        .credentials_provider(credentials(config))
        .http_client(http_client(config.endpoint.as_ref()))
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(TRIES_PER_REQUEST)
                .with_initial_backoff(FIRST_BACKOFF),
        )
        .retry_classifier(RetryWhatPasses)
        .interceptor(RefuseEmptyAnswers)
        .interceptor(Metered)
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(TRY_TIMEOUT)
                .operation_timeout(OPERATION_TIMEOUT)
                .build(),
        );
    if let Some(endpoint) = &config.endpoint {
        // The SDK has one quota of retries for each region in a process. The failures of one stand-in must not use up
        // the retries for another one.
        let quota = RetryPartition::new(endpoint.to_string());
        sdk = sdk.endpoint_url(endpoint.as_str()).retry_partition(quota);
    }
    Client::from_conf(sdk.build())
}

/// Makes the HTTP client for AWS, or in plain text for a stand-in at `endpoint` on this machine.
pub fn http_client(endpoint: Option<&Url>) -> SharedHttpClient {
    let builder = Builder::new()
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIMEOUT);
    if endpoint.is_some_and(|endpoint| endpoint.scheme() == "http") {
        return builder.build_http();
    }
    builder
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls_context())
        .build_https()
}

/// Makes the connector for a request to AWS that no SDK sends, or in plain text to a stand-in on this machine.
pub fn connector(url: &Url) -> Connector {
    let builder = Connector::builder();
    if url.scheme() == "http" {
        return builder.build_http();
    }
    builder
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(tls_context())
        .build()
}

#[expect(
    clippy::expect_used,
    reason = "the certificates are part of the program, and a test builds this client"
)]
fn tls_context() -> TlsContext {
    let roots = TrustStore::empty()
        .with_native_roots(false)
        .with_pem_certificate(AMAZON_ROOTS);
    TlsContext::builder()
        .with_trust_store(roots)
        .build()
        .expect("the embedded certificates are well-formed")
}

/// Returns the credentials for AWS.
pub fn credentials(config: &config::DynamoDb) -> Credentials {
    let session_token = config.session_token.as_ref();
    Credentials::new(
        &config.access_key_id,
        config.secret_access_key.expose_secret(),
        session_token.map(|token| token.expose_secret().to_owned()),
        None,
        "environment",
    )
}

/// The schema of an item that has no attribute `schema`: the first one, in which no version wrote the attribute.
pub const FIRST_SCHEMA: u32 = 1;

/// The latest schema that this version reads. An item of a later one is refused, because its attributes may mean
/// something else. A new attribute with a default does not raise it.
pub const SCHEMA: u32 = 1;

/// An item or a key of DynamoDB.
pub type Item = HashMap<String, AttributeValue>;

/// Makes a string attribute.
pub(crate) fn string(text: impl ToString) -> AttributeValue {
    AttributeValue::S(text.to_string())
}

/// Makes a number attribute.
pub(crate) fn number(number: impl Into<u64>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// Makes a binary attribute.
pub(crate) fn binary(bytes: [u8; 32]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// Reads an item.
///
/// # Errors
/// The item does not have the expected attributes, or is of a schema that a later version wrote: its attributes may
/// mean something else.
pub(crate) fn decode<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    let schema = schema_of(&item)?;
    if schema > SCHEMA {
        return Err(StoreError::LaterSchema(schema));
    }
    Ok(serde_dynamo::from_item(item)?)
}

/// Returns the schema of an item.
///
/// # Errors
/// The attribute is not a number.
pub(crate) fn schema_of(item: &Item) -> Result<u32, StoreError> {
    let Some(schema) = item.get("schema") else {
        return Ok(FIRST_SCHEMA);
    };
    let number = schema.as_n().ok().and_then(|number| number.parse().ok());
    number.ok_or_else(|| StoreError::Malformed("its schema is not a number".to_owned()))
}

/// Turns a value into an attribute.
pub(crate) fn encode<T: Serialize>(value: T) -> Result<AttributeValue, StoreError> {
    Ok(serde_dynamo::to_attribute_value(value)?)
}

/// An operation on a table failed. This never means that an item does not exist.
#[derive(Debug, Error)]
pub enum StoreError {
    /// DynamoDB did not answer, or refused for now. The request may be repeated; a write may have been applied.
    #[error("DynamoDB is unavailable: {0}")]
    Unavailable(String),
    /// Concurrent requests kept changing the same item. Nothing was written, and the request may be repeated.
    #[error("concurrent requests kept changing {0}")]
    Conflict(&'static str),
    /// The operating system's random number generator failed. Nothing was written.
    #[error("the operating system's random number generator failed")]
    NoRandomness,
    /// DynamoDB refuses the request itself: the table or a permission is missing, or the request is invalid.
    #[error("DynamoDB refused the request: {0}")]
    Refused(String),
    /// An item does not have the expected attributes.
    #[error("an item of the table cannot be read: {0}")]
    Malformed(String),
    /// A later version wrote an item, whose attributes may mean something else.
    #[error(
        "an item of the table cannot be read: its schema is {0}, and this version reads up to {SCHEMA}; deploy the version that wrote it"
    )]
    LaterSchema(u32),
}

impl<E> From<SdkError<E, HttpResponse>> for StoreError
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        // Not the SDK's `DisplayErrorContext`, which prints the body of the answer: an answer that arrived in pieces
        // would put a profile or a private key into the log.
        let cause = telemetry::causes(&error);
        match error.code() {
            Some("AccessDeniedException" | "ResourceNotFoundException" | "ValidationException") => {
                Self::Refused(cause)
            }
            Some("TransactionConflictException") => Self::Conflict("the item"),
            _ => Self::Unavailable(cause),
        }
    }
}

impl From<Unspecified> for StoreError {
    fn from(_: Unspecified) -> Self {
        Self::NoRandomness
    }
}

impl From<BuildError> for StoreError {
    fn from(error: BuildError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<serde_dynamo::Error> for StoreError {
    fn from(_: serde_dynamo::Error) -> Self {
        // The library's message may quote the item, which holds personal data or a private key.
        Self::Malformed("the attributes do not have the expected form".to_owned())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::watch,
    };

    use super::*;

    /// A client for the server at `endpoint`.
    pub(crate) fn client(endpoint: &str) -> Client {
        super::client(&config::DynamoDb {
            endpoint: Some(endpoint.parse().unwrap()),
            region: "eu-west-1".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "secret".into(),
            session_token: None,
        })
    }

    /// Returns whether a transaction that checks `condition` on `item` passes, in an embedded DynamoDB.
    pub(crate) async fn condition_holds(item: Item, condition: Expression) -> bool {
        let create = serde_json::json!({
            "TableName": "table",
            "AttributeDefinitions": [{ "AttributeName": "pk", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        let database = dynoxide::Database::memory().unwrap();
        let created = database.create_table(serde_json::from_value(create).unwrap());
        created.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(dynoxide::server::serve_on(listener, database));
        let table = Table::new(client(&endpoint), "table".to_owned());

        let key = [("pk".to_owned(), item["pk"].clone())];
        table.put(item, Expression::default()).await.unwrap();
        let checked = table.transact([table.part_check(key.into(), condition)]);
        let holds = matches!(checked.await.unwrap(), Transacted::Done);
        server.abort();
        holds
    }

    #[test]
    fn only_a_failure_of_dynamodb_is_blamed_on_it() {
        let conflict = StoreError::Conflict("the user");
        for error in [conflict, StoreError::from(Unspecified)] {
            assert!(!error.to_string().contains("DynamoDB"), "{error}");
        }
    }

    #[test]
    fn a_client_for_aws_can_be_built_from_the_embedded_roots() {
        let config = config::DynamoDb {
            endpoint: None,
            region: "eu-west-1".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "secret".into(),
            session_token: None,
        };
        super::client(&config);
    }

    /// Answers once as many requests have arrived as there are clients, and counts the open connections. A request that
    /// a busy machine makes the client repeat is answered as well.
    async fn serve(listener: tokio::net::TcpListener, clients: usize, open: Arc<AtomicUsize>) {
        let arrived = watch::Sender::new(0_usize);
        while let Ok((mut connection, _)) = listener.accept().await {
            let (open, arrived) = (open.clone(), arrived.clone());
            open.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 8192];
                while connection.read(&mut request).await.is_ok_and(|n| n > 0) {
                    arrived.send_modify(|requests| *requests += 1);
                    let mut all = arrived.subscribe();
                    all.wait_for(|requests| *requests >= clients).await.unwrap();
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    if connection.write_all(answer).await.is_err() {
                        break;
                    }
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    #[tokio::test]
    async fn t103_no_more_connections_stay_open_than_a_request_has_tries() {
        const PARALLEL: usize = 16;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(listener, PARALLEL, open.clone()));
        let client = client(&endpoint);

        let requests = (0..PARALLEL).map(|_| {
            let request = client.get_item().table_name("table");
            request.key("pk", string("USER#a")).send()
        });
        for answer in futures_util::future::join_all(requests).await {
            answer.unwrap();
        }

        // Connections are closed after the answers; the time is only for a failure to end the test.
        for _ in 0..6_000 {
            if open.load(Ordering::SeqCst) <= IDLE_CONNECTIONS {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(open.load(Ordering::SeqCst), IDLE_CONNECTIONS);
        const { assert!(IDLE_CONNECTIONS < TRIES_PER_REQUEST as usize) };
    }

    fn item_of_schema(schema: Option<AttributeValue>) -> Item {
        let schema = schema.map(|schema| ("schema".to_owned(), schema));
        schema.into_iter().collect()
    }

    #[test]
    fn t195_an_item_of_a_later_schema_is_refused_and_not_misread() {
        #[derive(Debug, serde::Deserialize)]
        struct Any {}
        let read =
            |schema| decode::<Any>(item_of_schema(schema)).map_err(|error| error.to_string());

        for readable in [None, Some(number(0_u64)), Some(number(SCHEMA))] {
            assert!(read(readable.clone()).is_ok(), "{readable:?}");
        }
        let later = read(Some(number(SCHEMA + 1))).unwrap_err();
        assert!(
            later.contains("its schema is 2, and this version reads up to 1"),
            "{later}"
        );
        for odd in [
            string("1"),
            AttributeValue::N("1.5".to_owned()),
            AttributeValue::N("-1".to_owned()),
        ] {
            let error = read(Some(odd)).unwrap_err();
            assert!(error.contains("its schema is not a number"), "{error}");
        }
    }

    #[test]
    fn the_embedded_roots_are_five_certificates() {
        let roots = pem::parse_many(AMAZON_ROOTS).unwrap();
        assert_eq!(roots.len(), 5);
    }
}
