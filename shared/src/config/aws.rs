//! Settings of AWS: DynamoDB, its tables, and the credentials for it.

use secrecy::SecretString;
use url::Url;

use super::{ConfigError, Environment};

/// The address of DynamoDB, and the credentials for it.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    /// `AWS_ENDPOINT_URL_DYNAMODB`: an address other than that of the region, as the AWS SDKs define it.
    pub endpoint: Option<Url>,
    /// `AWS_REGION`; Lambda sets it.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`; Lambda sets it from the function's role.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`; Lambda sets it from the function's role.
    pub secret_access_key: SecretString,
    /// `AWS_SESSION_TOKEN`; Lambda sets it from the function's role.
    pub session_token: Option<SecretString>,
}

impl DynamoDb {
    /// Reads the AWS variables.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        const ENDPOINT: &str = "an https URL, or an http URL on this machine like http://127.0.0.1:9002, without a slash at the end";
        const BY_LAMBDA: &str = "AWS Lambda to set it (elsewhere, set it yourself)";
        let endpoint = env
            .optional("AWS_ENDPOINT_URL_DYNAMODB")
            .map(|value| env.base_url("AWS_ENDPOINT_URL_DYNAMODB", &value, ENDPOINT))
            .transpose()?;
        Ok(Self {
            endpoint,
            region: env.aws_name("AWS_REGION", BY_LAMBDA)?,
            access_key_id: env.required("AWS_ACCESS_KEY_ID", BY_LAMBDA)?,
            secret_access_key: env.required("AWS_SECRET_ACCESS_KEY", BY_LAMBDA)?.into(),
            session_token: env.optional("AWS_SESSION_TOKEN").map(Into::into),
        })
    }
}

/// The bucket of the discovery documents, and the address of S3.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// `DOCUMENTS_BUCKET`: the name of the bucket.
    pub name: String,
    /// `AWS_ENDPOINT_URL_S3`: an address other than that of the region, as the AWS SDKs define it.
    pub endpoint: Option<Url>,
}

impl Bucket {
    /// Reads `DOCUMENTS_BUCKET` and `AWS_ENDPOINT_URL_S3`; `None` where the documents are no files.
    ///
    /// # Errors
    /// The address is wrong.
    pub fn from_env(env: &Environment) -> Result<Option<Self>, ConfigError> {
        const ENDPOINT: &str = "an https URL, or an http URL on this machine like http://127.0.0.1:9003, without a slash at the end";
        let Some(name) = env.optional("DOCUMENTS_BUCKET") else {
            return Ok(None);
        };
        let endpoint = env
            .optional("AWS_ENDPOINT_URL_S3")
            .map(|value| env.base_url("AWS_ENDPOINT_URL_S3", &value, ENDPOINT))
            .transpose()?;
        Ok(Some(Self { name, endpoint }))
    }
}

/// Reads `TABLE_NAME`: the table of users, identities and sessions.
///
/// # Errors
/// The variable is not set.
pub fn table_name(env: &Environment) -> Result<String, ConfigError> {
    env.aws_name("TABLE_NAME", "the name of the main DynamoDB table")
}

/// Reads `KEYS_TABLE_NAME`: the table of signing keys.
///
/// # Errors
/// The variable is not set.
pub fn keys_table_name(env: &Environment) -> Result<String, ConfigError> {
    env.aws_name(
        "KEYS_TABLE_NAME",
        "the name of the DynamoDB table of signing keys",
    )
}
