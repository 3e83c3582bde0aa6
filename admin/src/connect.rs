//! The connection to the table, with the operator's AWS credentials as the AWS CLI finds them.

use aws_sdk_dynamodb::Client;
use shared::{
    clock::Clock,
    config::Environment,
    items::{MIGRATIONS, Migration},
    sessions::Sessions,
    stored::SettingsStore,
    users::Users,
};

use crate::settings::Variables;

/// The operator's command, connected to the table.
#[derive(Debug)]
pub struct Admin {
    pub(crate) users: Users,
    pub(crate) sessions: Sessions,
    pub(crate) client: Client,
    pub(crate) table: String,
    pub(crate) clock: Clock,
    /// The access to AWS, and settings of the functions where they are known.
    pub(crate) variables: Variables,
    pub(crate) keys_table: Option<String>,
    /// The clients and providers, if the keys table is named.
    pub(crate) settings: Option<SettingsStore>,
    /// The environment beside these settings.
    pub(crate) env: Environment,
    pub(crate) migrations: &'static [Migration],
}

impl Admin {
    /// Finds credentials and region.
    ///
    /// # Errors
    /// Credentials or the region are missing.
    #[cfg(feature = "aws")]
    pub async fn connect(connection: &crate::Connection) -> Result<Self, crate::AdminError> {
        let (config, credentials) = aws(connection).await?;
        let region = config.region().ok_or(crate::AdminError::NoRegion)?;
        let admin = Self::new(Client::new(&config), connection.table.clone());
        let admin = admin.with_variables(Variables::of_aws(region.as_ref(), &credentials));
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
            sessions: Sessions::new(client.clone(), table.clone(), clock.clone()),
            client,
            table,
            clock,
            variables: Variables::default(),
            keys_table: None,
            settings: None,
            env: Environment::of([("", ""); 0]),
            migrations: MIGRATIONS,
        }
    }

    /// Sets the migrations, in place of those of this version.
    #[must_use]
    pub fn with_migrations(self, migrations: &'static [Migration]) -> Self {
        Self { migrations, ..self }
    }

    /// Sets the access to AWS and the settings of the functions, which the commands for keys and imports need.
    #[must_use]
    pub fn with_variables(
        self,
        variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        Self {
            variables: variables.into_iter().collect(),
            ..self
        }
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self {
            users: Users::new(self.client.clone(), self.table.clone(), clock.clone()),
            sessions: Sessions::new(self.client.clone(), self.table.clone(), clock.clone()),
            clock,
            ..self
        }
    }

    /// Names the keys table with the clients and providers, and the environment in which their settings are valid.
    #[must_use]
    pub fn with_keys_table(mut self, table: String, env: Environment) -> Self {
        self.settings = Some(SettingsStore::new(self.client.clone(), table.clone()));
        self.keys_table = Some(table);
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

/// Finds credentials and region.
///
/// # Errors
/// Credentials or the region are missing.
#[cfg(feature = "aws")]
pub(crate) async fn aws(
    connection: &crate::Connection,
) -> Result<(aws_config::SdkConfig, aws_credential_types::Credentials), crate::AdminError> {
    use aws_config::{
        BehaviorVersion, Region, profile::ProfileFileCredentialsProvider,
        provider_config::ProviderConfig,
    };
    use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
    use aws_smithy_http_client::{
        Builder,
        tls::{Provider, rustls_provider::CryptoMode},
    };

    use shared::telemetry::causes;

    use crate::AdminError;

    let https = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https.clone());
    if let Some(region) = &connection.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &connection.profile {
        loader = loader.profile_name(profile);
    }
    let mut config = loader.load().await;
    // A profile that does not exist has no region either: the error about its credentials names it.
    if config.region().is_none() && connection.profile.is_none() {
        return Err(AdminError::NoRegion);
    }
    if let Some(profile) = &connection.profile {
        // The SDK prefers an access key of the shell. As with the AWS CLI, the option is stronger.
        let access = ProviderConfig::without_region().with_http_client(https);
        let access = access.with_region(config.region().cloned());
        let provider = ProfileFileCredentialsProvider::builder().configure(&access);
        let provider = provider.profile_name(profile).build();
        let provider = SharedCredentialsProvider::new(provider);
        config = config.into_builder().credentials_provider(provider).build();
    }
    let Some(provider) = config.credentials_provider() else {
        return Err(AdminError::NoCredentials("none configured".to_owned()));
    };
    let credentials = provider.provide_credentials().await;
    let credentials = credentials.map_err(|error| AdminError::NoCredentials(causes(&error)))?;
    if config.region().is_none() {
        return Err(AdminError::NoRegion);
    }
    Ok((config, credentials))
}
