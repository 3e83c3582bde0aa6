//! The documents as files in a bucket, for readers that do not wait for a function: API Gateway reads them when an
//! authorizer is made, and gives up after 1.5 s.

use std::time::Duration;

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Config, Region, timeout::TimeoutConfig},
    primitives::ByteStream,
};
use shared::{
    clock::Clock,
    config::{self, Environment},
    documents::{Document, Documents},
    dynamodb,
    keys::{KeyError, KeySet},
    start::StartError,
    telemetry,
};
use thiserror::Error;

/// The cache lifetime of the files, which is that of the function's answers.
const CACHE_CONTROL: &str = "public, max-age=300";
const TIMEOUT: Duration = Duration::from_secs(10);

/// The bucket of the documents.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    client: Client,
    bucket: String,
    documents: Documents,
    clock: Clock,
}

/// Reasons that the documents cannot be written.
#[derive(Debug, Error)]
pub enum FilesError {
    /// A key cannot be converted to its public form.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// S3 refused a file.
    #[error("cannot write {path}: {cause}")]
    S3 {
        /// The name of the file.
        path: &'static str,
        /// The error of S3.
        cause: String,
    },
}

impl Files {
    /// Reads the settings of the bucket and of the documents; `None` where the documents are no files.
    pub(crate) fn from_env(env: &Environment, clock: Clock) -> Result<Option<Self>, StartError> {
        let Some(config::Bucket { name, endpoint }) = config::Bucket::from_env(env)? else {
            return Ok(None);
        };
        let aws = config::DynamoDb::from_env(env)?;
        let mut sdk = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(aws.region.clone()))
            .credentials_provider(dynamodb::credentials(&aws))
            .http_client(dynamodb::http_client(endpoint.as_ref()))
            .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build());
        if let Some(endpoint) = endpoint {
            // A stand-in for S3 serves all buckets under one host name.
            sdk = sdk.endpoint_url(endpoint.as_str()).force_path_style(true);
        }
        Ok(Some(Self {
            client: Client::from_conf(sdk.build()),
            bucket: name,
            documents: Documents::from_env(env)?,
            clock,
        }))
    }

    /// Writes all documents for `set`. Safe to repeat. A failed file does not stop the others.
    pub(crate) async fn write(&self, set: &KeySet) -> Result<(), FilesError> {
        let keys = set.jwks(self.clock.now())?;
        let mut written = Ok(());
        for document in Document::ALL {
            let path = document.path();
            let put = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(path.trim_start_matches('/'))
                .content_type(document.content_type())
                .cache_control(CACHE_CONTROL)
                .body(ByteStream::from(
                    self.documents.text(document, &keys).into_bytes(),
                ))
                .send()
                .await
                .map_err(|error| FilesError::S3 {
                    path,
                    cause: telemetry::causes(&error),
                });
            written = written.and(put.map(drop));
        }
        written
    }
}
