//! The settings of clients and providers that an item of the keys table holds, so that a change needs no deployment.
//!
//! The operator's command writes the item; no function may. The settings in it are those of the environment, by name,
//! and the same code parses them.

mod item;

pub use item::{Settings, SettingsStore};

use std::{
    fmt::{self, Display},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use thiserror::Error;

use crate::{
    cached::{Cached, FailedRecently, Lifetime, Reading},
    clock::Clock,
    config::{Environment, Group},
    dynamodb::StoreError,
};

/// A removed client, or a removed secret, is refused after a minute at the latest, while the table can be read.
const LIFETIME: Lifetime = Lifetime {
    fresh_for: Duration::from_mins(1),
    usable_for: Duration::from_hours(24),
};

/// The settings of a group cannot be used.
#[derive(Debug, Error)]
pub enum StoredError {
    /// The keys table did not answer, and there are no usable settings in memory.
    #[error("the settings in the keys table cannot be read: {0}")]
    Unreachable(#[from] StoreError),
    /// The keys table did not answer a moment ago, and may have newer settings.
    #[error("the settings in the keys table cannot be read: {0}")]
    NotRead(#[from] FailedRecently),
    /// The keys table has no such item.
    #[error(
        "{0} is \"table\", and the keys table has no item {0}; make it with `cambio-admin {command} import`",
        command = .0.to_ascii_lowercase()
    )]
    Missing(&'static str),
    /// The parser refuses the settings of the item.
    #[error(
        "the item {item} of the keys table, version {version}, is not valid; correct it with `cambio-admin {command}`: {cause}",
        command = .item.to_ascii_lowercase()
    )]
    Invalid {
        /// The key of the item.
        item: &'static str,
        /// The version of the item.
        version: String,
        /// The error of the parser, which shows no secret.
        cause: String,
    },
}

impl StoredError {
    fn invalid(group: Group, version: Option<u64>, cause: String) -> Self {
        Self::Invalid {
            item: group.name(),
            version: version.map_or("unknown".to_owned(), |version| version.to_string()),
            cause,
        }
    }
}

/// Reads the item of `group` once, and parses its settings. `env` has all other settings.
///
/// # Errors
/// The item cannot be read, there is none, or `parse` refuses it.
pub(crate) async fn check<E: Display>(
    group: Group,
    store: &SettingsStore,
    env: &Environment,
    parse: impl FnOnce(&Environment) -> Result<(), E>,
) -> Result<(), StoredError> {
    let found = match store.find(group).await {
        Err(StoreError::Malformed(cause)) => return Err(StoredError::invalid(group, None, cause)),
        found => found?,
    };
    let Settings { version, settings } = found.ok_or(StoredError::Missing(group.name()))?;
    parse(&env.with_group(group, settings))
        .map_err(|cause| StoredError::invalid(group, Some(version), cause.to_string()))
}

/// A function that makes a `T` of the settings.
type Parse<T> = Box<dyn Fn(Environment) -> BoxFuture<'static, Result<T, String>> + Send + Sync>;

/// The value that the settings of a group give: one value if they come from the environment, and a new one after each
/// change if they come from the table. Clones share one cache.
pub struct Stored<T>(Arc<Source<T>>);

enum Source<T> {
    Environment(Arc<T>),
    Table(FromTable<T>),
}

struct FromTable<T> {
    group: Group,
    store: SettingsStore,
    env: Environment,
    parse: Parse<T>,
    parsed: Cached<Parsed<T>>,
}

struct Parsed<T> {
    settings: Settings,
    value: Arc<T>,
}

impl<T> Stored<T> {
    /// Reads and parses the settings of `group`. `env` has all other settings.
    ///
    /// An unreachable table is not an error here: the next request tries again.
    ///
    /// # Errors
    /// [`StoredError::Missing`] and [`StoredError::Invalid`].
    pub async fn start<E, F>(
        group: Group,
        store: SettingsStore,
        env: Environment,
        clock: Clock,
        parse: impl Fn(Environment) -> F + Send + Sync + 'static,
    ) -> Result<Self, StoredError>
    where
        E: Display,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let table = FromTable {
            group,
            store,
            env,
            parse: Box::new(move |env| {
                let parsed = parse(env);
                async { parsed.await.map_err(|error| error.to_string()) }.boxed()
            }),
            parsed: Cached::new(group.name(), clock),
        };
        let stored = Self(Arc::new(Source::Table(table)));
        match stored.get().await {
            Err(error @ (StoredError::Missing(_) | StoredError::Invalid { .. })) => Err(error),
            Err(error) => {
                let item = group.name();
                tracing::warn!(item, error.cause = %error, "no settings at start; trying again at the next request");
                Ok(stored)
            }
            Ok(_) => Ok(stored),
        }
    }

    /// Returns what was made of the present settings.
    ///
    /// # Errors
    /// The settings come from the table, and there are none in memory that may be used.
    pub async fn get(&self) -> Result<Arc<T>, StoredError> {
        match &*self.0 {
            Source::Environment(value) => Ok(value.clone()),
            Source::Table(table) => {
                let parsed = table.parsed.get(table.read()).await?;
                Ok(parsed.value.clone())
            }
        }
    }

    /// Reads the settings again for a request that misses something in `present`, at most once in 30 seconds. Returns
    /// `None` if they are still the same.
    ///
    /// # Errors
    /// The settings cannot be read, so it is not known whether they have what is missing.
    pub async fn newer_than(&self, present: &Arc<T>) -> Result<Option<Arc<T>>, StoredError> {
        match &*self.0 {
            Source::Environment(_) => Ok(None),
            Source::Table(table) => {
                let parsed = table.parsed.reload(table.read()).await?;
                let value = parsed.value.clone();
                Ok((!Arc::ptr_eq(&value, present)).then_some(value))
            }
        }
    }
}

impl<T> FromTable<T> {
    async fn read(&self) -> Result<(Parsed<T>, Lifetime), StoredError> {
        let settings = match self.store.find(self.group).await {
            Err(StoreError::Malformed(cause)) => Err(StoredError::invalid(self.group, None, cause)),
            settings => Ok(settings?),
        };
        let last = self.parsed.last();
        let parsed = match settings {
            Ok(settings) => self.parse(settings, last.as_deref()).await,
            Err(error) => Err(error),
        };
        let parsed = parsed.or_else(|error| self.stay_with(last.as_deref(), error))?;
        Ok((parsed, LIFETIME))
    }

    async fn parse(
        &self,
        settings: Option<Settings>,
        last: Option<&Reading<Parsed<T>>>,
    ) -> Result<Parsed<T>, StoredError> {
        let settings = settings.ok_or(StoredError::Missing(self.group.name()))?;
        // Not the version alone, which begins again after the item was deleted.
        if let Some(last) = last
            && last.settings == settings
        {
            return Ok(last.again());
        }
        let env = self.env.with_group(self.group, settings.settings.clone());
        let value = (self.parse)(env).await;
        let invalid = |cause| StoredError::invalid(self.group, Some(settings.version), cause);
        let value = value.map_err(invalid)?;
        Ok(Parsed {
            settings,
            value: Arc::new(value),
        })
    }

    /// Returns the last good settings: a mistake in the item must not stop a running function.
    fn stay_with(
        &self,
        last: Option<&Reading<Parsed<T>>>,
        error: StoredError,
    ) -> Result<Parsed<T>, StoredError> {
        let Some(last) = last else {
            return Err(error);
        };
        tracing::error!(
            event = "settings.refused",
            item = self.group.name(),
            in_use = last.settings.version,
            error.cause = %error,
            "the settings in the keys table cannot be used; the version before stays in use, and a function that starts now fails"
        );
        Ok(last.again())
    }
}

impl<T> Parsed<T> {
    fn again(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            value: self.value.clone(),
        }
    }
}

impl<T> From<T> for Stored<T> {
    /// Makes settings that do not change, as those of the environment.
    fn from(value: T) -> Self {
        Self(Arc::new(Source::Environment(Arc::new(value))))
    }
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Stored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &*self.0 {
            Source::Environment(_) => "environment",
            Source::Table(_) => "table",
        };
        f.debug_tuple("Stored").field(&source).finish()
    }
}
