//! The connection to the table, with the operator's AWS credentials as the AWS CLI finds them.

use aws_sdk_dynamodb::Client;
use shared::{
    clock::Clock, config::Environment, sessions::Sessions, stored::SettingsStore, users::Users,
};

/// The operator's command, connected to the table.
#[derive(Debug)]
pub struct Admin {
    pub(crate) users: Users,
    pub(crate) sessions: Sessions,
    client: Client,
    table: String,
    /// The clients and providers, if the keys table is named.
    pub(crate) settings: Option<SettingsStore>,
    /// The environment beside these settings.
    pub(crate) env: Environment,
}

impl Admin {
    /// Finds credentials and region.
    ///
    /// # Errors
    /// Credentials, region or the name of the table are missing.
    #[cfg(feature = "aws")]
    pub async fn connect(connection: &crate::Connection) -> Result<Self, crate::AdminError> {
        use aws_config::{BehaviorVersion, Region};
        use aws_credential_types::provider::ProvideCredentials as _;
        use aws_smithy_http_client::{
            Builder,
            tls::{Provider, rustls_provider::CryptoMode},
        };

        use crate::AdminError;

        if connection.table.is_empty() && connection.keys_table.is_empty() {
            return Err(AdminError::NoTable);
        }
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
        let admin = Self::new(Client::new(&config), connection.table.clone());
        Ok(match &*connection.keys_table {
            "" => admin,
            table => admin.with_keys_table(table.to_owned(), Environment::process()),
        })
    }

    /// Makes the command for this client and table.
    pub fn new(client: Client, table: String) -> Self {
        let clock = Clock::system();
        Self {
            users: Users::new(client.clone(), table.clone(), clock.clone()),
            sessions: Sessions::new(client.clone(), table.clone(), clock),
            client,
            table,
            settings: None,
            env: Environment::of([("", ""); 0]),
        }
    }

    /// Names the keys table with the clients and providers, and the environment in which their settings are valid.
    #[must_use]
    pub fn with_keys_table(mut self, table: String, env: Environment) -> Self {
        self.settings = Some(SettingsStore::new(self.client.clone(), table));
        self.env = env;
        self
    }

    /// Checks that the main table is named.
    ///
    /// # Errors
    /// [`AdminError::NoTable`](crate::AdminError::NoTable).
    pub(crate) fn require_table(&self) -> Result<(), crate::AdminError> {
        if self.table.is_empty() {
            return Err(crate::AdminError::NoTable);
        }
        Ok(())
    }

    /// Returns the approximate number of items of the table, which DynamoDB updates every six hours; `None` if
    /// DynamoDB does not report it.
    pub(crate) async fn estimate(&self) -> Option<u64> {
        let described = self.client.describe_table().table_name(&self.table);
        let described = described.send().await.ok()?;
        u64::try_from(described.table?.item_count?).ok()
    }
}
