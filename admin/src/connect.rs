//! The connection to the table, with the operator's AWS credentials as the AWS CLI finds them.

use aws_sdk_dynamodb::Client;
use shared::{clock::Clock, sessions::Sessions, users::Users};

/// The operator's command, connected to the table.
#[derive(Debug)]
pub struct Admin {
    pub(crate) users: Users,
    pub(crate) sessions: Sessions,
    client: Client,
    table: String,
}

impl Admin {
    /// Finds credentials and region.
    ///
    /// # Errors
    /// Credentials, region or the name of the table are missing.
    #[cfg(feature = "aws")]
    pub async fn connect(connection: &crate::Connection) -> Result<Self, crate::AdminError> {
        if connection.table.is_empty() {
            return Err(crate::AdminError::NoTable);
        }
        let config = aws(connection).await?;
        Ok(Self::new(Client::new(&config), connection.table.clone()))
    }

    /// Makes the command for this client and table.
    pub fn new(client: Client, table: String) -> Self {
        let clock = Clock::system();
        Self {
            users: Users::new(client.clone(), table.clone(), clock.clone()),
            sessions: Sessions::new(client.clone(), table.clone(), clock),
            client,
            table,
        }
    }

    /// Returns the approximate number of items of the table, which DynamoDB updates every six hours; `None` if
    /// DynamoDB does not report it.
    pub(crate) async fn estimate(&self) -> Option<u64> {
        let described = self.client.describe_table().table_name(&self.table);
        let described = described.send().await.ok()?;
        u64::try_from(described.table?.item_count?).ok()
    }
}

/// Finds credentials and region.
///
/// # Errors
/// Credentials or region are missing.
#[cfg(feature = "aws")]
pub(crate) async fn aws(
    connection: &crate::Connection,
) -> Result<aws_config::SdkConfig, crate::AdminError> {
    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::provider::ProvideCredentials as _;
    use aws_smithy_http_client::{
        Builder,
        tls::{Provider, rustls_provider::CryptoMode},
    };

    use crate::AdminError;

    let https = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https);
    if let Some(region) = &connection.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &connection.profile {
        loader = loader.profile_name(profile);
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(AdminError::NoRegion);
    }
    let Some(provider) = config.credentials_provider() else {
        return Err(AdminError::NoCredentials("none configured".to_owned()));
    };
    if let Err(error) = provider.provide_credentials().await {
        return Err(AdminError::NoCredentials(error.to_string()));
    }
    Ok(config)
}
