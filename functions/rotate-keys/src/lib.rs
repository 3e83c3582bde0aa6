//! Makes, rotates and removes the signing keys.

mod files;
mod plan;
mod resource;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    clock::{Clock, Timestamp, rfc3339},
    config::Environment,
    dynamodb::StoreError,
    keys::{
        DEVELOPMENT_PREFIX, KeyError, KeySet, KeySettings, KeyStore, PrivateKey, PublishedKey,
        is_kid,
    },
    start::{Start, StartError},
    stored::SettingsStore,
};
use thiserror::Error;

use files::Files;
pub use files::FilesError;
use plan::{PUBLISHED_AHEAD, Plan, Wanted};
pub use resource::{ResourceError, Response};

/// The number of rounds after which a run gives up: another run changed the keys in each of them.
const MAX_ROUNDS: usize = 10;

/// The state of the function.
#[derive(Clone, Debug)]
pub struct RotateKeys {
    keys: KeyStore,
    /// The clients and providers, for the check of a deployment.
    stored: SettingsStore,
    files: Option<Files>,
    settings: KeySettings,
    is_local: bool,
    clock: Clock,
}

/// The event of a run, as JSON: `{}`, `{"rotate":"when-due"}`, `{"rotate":"now"}` or `{"revoke":"<kid>"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The time at which the next key starts to sign.
    #[serde(default)]
    pub rotate: When,
    /// The `kid` of a key to revoke, for example a stolen one: its tokens are refused. Safe to repeat: an unknown key
    /// counts as revoked.
    #[serde(default)]
    pub revoke: Option<String>,
}

/// The time at which the next key starts to sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// The next key starts when the current key has signed for its lifetime.
    #[default]
    WhenDue,
    /// As soon as every reader can know it: at once, or a day after its publication.
    Now,
}

/// The result of a run.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// True if this run changed the keys.
    pub changed: bool,
    /// The published keys.
    pub keys: Vec<ReportedKey>,
}

/// A published key.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ReportedKey {
    /// The `kid`.
    pub kid: String,
    /// The state of the key.
    pub state: State,
    /// The time at which it starts or started to sign, if decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_from: Option<String>,
    /// The time of its removal, if it has a successor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_until: Option<String>,
}

/// The state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Published, and not signing yet.
    Next,
    /// Signing.
    Current,
    /// Not signing any more, while its tokens can still be valid.
    Retired,
}

/// The answer to an event.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The answer to an order.
    Report(Report),
    /// The answer that CloudFormation got.
    Resource(Response),
}

/// Reasons that an event fails.
#[derive(Debug, Error)]
pub enum HandleError {
    /// The event is neither an order nor a request of CloudFormation.
    #[error("the event is no order: {0}")]
    Event(#[from] serde_json::Error),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RotateKeysError),
    /// CloudFormation got no answer.
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

/// Reasons that a run fails.
#[derive(Debug, Error)]
pub enum RotateKeysError {
    /// The keys table cannot be used. No partial change is left, and the next run tries again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The files are out of date. Repeating the event, or the next run, writes them.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The key to revoke has an invalid `kid`.
    #[error("{kid:?} is not a valid kid; the keys that can be revoked are: {}", published.join(", "))]
    MalformedKid {
        /// The requested `kid`.
        kid: String,
        /// The existing ones.
        published: Vec<String>,
    },
    /// A deployed table contains a development key.
    #[error("the key {0} is a development key; revoke it, or use another table")]
    Development(String),
    /// Parallel runs changed the keys at each attempt.
    #[error(
        "parallel runs changed the keys {MAX_ROUNDS} times; this run changed nothing, try again"
    )]
    Overtaken,
}

impl RotateKeys {
    /// Reads the settings.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn new(env: &Environment, clock: Clock) -> Result<Self, StartError> {
        let start = Start::new(env, clock.clone())?;
        Ok(Self {
            keys: start.key_store()?,
            stored: start.settings_store()?,
            files: Files::from_env(env, clock.clone())?,
            settings: KeySettings::from_env(env)?,
            is_local: env.is_local(),
            clock,
        })
    }

    /// Carries out an event: an [`Order`], or a request of CloudFormation. A call without an event does the same as the
    /// schedule.
    ///
    /// # Errors
    /// The event is neither of them, or it fails. A request of CloudFormation that fails is an answer, too.
    pub async fn handle(&self, event: Value) -> Result<Answer, HandleError> {
        if event.get("RequestType").is_some() {
            let request = serde_json::from_value(event)?;
            // In a box: the state of a run is large, and nested deeply.
            let answered = Box::pin(self.answer(request)).await?;
            return Ok(Answer::Resource(answered));
        }
        let order: Option<Order> = serde_json::from_value(event)?;
        let report = self.run(&order.unwrap_or_default()).await?;
        Ok(Answer::Report(report))
    }

    /// Applies the schedule and the event, in one write to the table. Safe to repeat, to run in parallel, and to
    /// kill.
    ///
    /// With documents as files, the run writes them in any case. A new key gets its turn by a second write to the
    /// table, after the files contain it.
    ///
    /// # Errors
    /// The table or the files cannot be used, a key cannot be made, or the event names an invalid `kid`.
    pub async fn run(&self, order: &Order) -> Result<Report, RotateKeysError> {
        let Some(files) = &self.files else {
            return self.see_to_keys(order, None).await;
        };
        let mut order = order.clone();
        let (mut in_files, mut changed) = (Vec::new(), false);
        for _ in 0..MAX_ROUNDS {
            let report = self.see_to_keys(&order, Some(&in_files)).await;
            let written = self.write(files).await;
            if let (Err(_), Err(error)) = (&report, &written) {
                tracing::error!(error.cause = %error, "the files cannot be written either");
            }
            let (report, written) = (report?, written?);
            changed |= report.changed;
            let mut waiting = written.keys.iter().filter(|key| !key.has_turn());
            if waiting.all(|key| in_files.contains(&key.kid)) {
                return Ok(Report { changed, ..report });
            }
            in_files = written.keys.into_iter().map(|key| key.kid).collect();
            // The key has been revoked already.
            order = Order::default();
        }
        Err(RotateKeysError::Overtaken)
    }

    /// Repeats until the written files match the table, so that a run that was overtaken leaves no old files behind.
    async fn write(&self, files: &Files) -> Result<KeySet, RotateKeysError> {
        let mut written = None;
        for _ in 0..MAX_ROUNDS {
            let set = self.keys.find_set().await?.unwrap_or_default();
            if written == Some(set.version) {
                return Ok(set);
            }
            self.check_origin(&set, None)?;
            files.write(&set).await?;
            written = Some(set.version);
        }
        Err(RotateKeysError::Overtaken)
    }

    async fn see_to_keys(
        &self,
        order: &Order,
        in_files: Option<&[String]>,
    ) -> Result<Report, RotateKeysError> {
        for _ in 0..MAX_ROUNDS {
            let found = self.keys.find_set().await?;
            let replaced = found.as_ref().map(|set| set.version);
            let set = found.unwrap_or_default();
            self.check(&set, order)?;
            let now = self.clock.now();
            let plan = self.plan(&set, order, in_files, now).await?;
            if !plan.changes(&set) {
                return Ok(Report::of(&set, now, false));
            }
            if let Some(set) = self.carry_out(&set, plan, replaced, now).await? {
                return Ok(Report::of(&set, now, true));
            }
        }
        Err(RotateKeysError::Overtaken)
    }

    fn check(&self, set: &KeySet, order: &Order) -> Result<(), RotateKeysError> {
        let names = || set.keys.iter().map(|key| &key.kid);
        if let Some(kid) = &order.revoke
            && !names().any(|name| name == kid)
        {
            if !is_kid(kid) {
                return Err(RotateKeysError::MalformedKid {
                    kid: kid.clone(),
                    published: names().cloned().collect(),
                });
            }
            tracing::warn!(
                event = "key.absent",
                kid,
                "no key to revoke: it does not exist, or was revoked before"
            );
        }
        self.check_origin(set, order.revoke.as_deref())
    }

    /// Refuses development keys in a deployed table, except to revoke them.
    fn check_origin(&self, set: &KeySet, revoked: Option<&str>) -> Result<(), RotateKeysError> {
        let is_foreign = |key: &&PublishedKey| {
            key.is_development() && !self.is_local && revoked != Some(&*key.kid)
        };
        match set.keys.iter().find(is_foreign) {
            Some(key) => Err(RotateKeysError::Development(key.kid.clone())),
            None => Ok(()),
        }
    }

    async fn plan(
        &self,
        set: &KeySet,
        order: &Order,
        in_files: Option<&[String]>,
        now: Timestamp,
    ) -> Result<Plan, StoreError> {
        let mut lost = Vec::new();
        let ahead = set.keys.iter().filter(|key| key.sign_from > now);
        for key in set.current(now).into_iter().chain(ahead) {
            match self.keys.find_private(&key.kid).await {
                Ok(Some(private)) if private.fits(key) => continue,
                // The private key exists but cannot sign.
                Ok(_) | Err(StoreError::Malformed(_)) => {}
                Err(error) => return Err(error),
            }
            tracing::error!(event = "key.lost", kid = key.kid);
            lost.push(key.kid.clone());
        }
        let wanted = Wanted {
            key_type: self.settings.key_type,
            ttl: self.settings.ttl,
            rotate_now: order.rotate == When::Now,
            revoke: order.revoke.as_deref(),
            lost: &lost,
            in_files,
        };
        let plan = Plan::new(set, &wanted, now);
        let unknown = |key: &&PublishedKey| {
            key.sign_from == now && key.published_at + PUBLISHED_AHEAD.as_secs() > now
        };
        if let Some(key) = plan.keys.iter().find(unknown) {
            tracing::warn!(
                event = "key.unknown",
                kid = key.kid,
                "a key signs before every reader can know it, because there is no other"
            );
        }
        Ok(plan)
    }

    /// Writes the set after `plan` and returns it; returns `None` if another run was faster.
    async fn carry_out(
        &self,
        before: &KeySet,
        plan: Plan,
        replaced: Option<u64>,
        now: Timestamp,
    ) -> Result<Option<KeySet>, RotateKeysError> {
        let mut set = KeySet {
            version: replaced.unwrap_or(0) + 1,
            keys: plan.keys,
        };
        let mut made = Vec::new();
        for sign_from in plan.make {
            // A deployed function recognises the keys of a developer's machine.
            let prefix = if self.is_local {
                DEVELOPMENT_PREFIX
            } else {
                ""
            };
            let key = PrivateKey::generate(self.settings.key_type, prefix)?;
            set.keys.push(key.publish(now, sign_from)?);
            made.push(key);
        }
        let written = self.keys.replace(replaced, &set, &made, &plan.remove);
        if !written.await? {
            return Ok(None);
        }
        let had_turn = |kid: &str| {
            let mut keys = before.keys.iter();
            keys.any(|key| key.kid == kid && key.has_turn())
        };
        for key in set.keys.iter().filter(|key| key.has_turn()) {
            if !had_turn(&key.kid) {
                tracing::info!(event = "key.published", kid = key.kid);
            }
        }
        for kid in &plan.remove {
            tracing::info!(event = "key.removed", kid);
        }
        if let Some(key) = set.current(now) {
            tracing::info!(
                event = "key.current",
                kid = key.kid,
                sign_from = key.sign_from
            );
        }
        Ok(Some(set))
    }
}

impl Report {
    /// Describes the keys of `set` at `now`.
    pub fn of(set: &KeySet, now: Timestamp, changed: bool) -> Self {
        let current = set.current(now).map(|key| &key.kid);
        let mut keys: Vec<_> = set.keys.iter().collect();
        keys.sort_by_key(|key| key.sign_from);
        let keys = keys.into_iter().map(|key| ReportedKey {
            kid: key.kid.clone(),
            state: if key.sign_from > now {
                State::Next
            } else if Some(&key.kid) == current {
                State::Current
            } else {
                State::Retired
            },
            sign_from: key.has_turn().then(|| rfc3339(key.sign_from)),
            verify_until: set.verify_until(key).map(rfc3339),
        });
        Self {
            changed,
            keys: keys.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function with the settings of a deployment.
    fn deployed() -> RotateKeys {
        let env = Environment::of([
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("KEYS_TABLE_NAME", "keys"),
        ]);
        RotateKeys::new(&env, Clock::system()).unwrap()
    }

    #[tokio::test]
    async fn t84_a_development_key_can_only_be_revoked() {
        let key = PrivateKey::generate(shared::keys::KeyType::P256, DEVELOPMENT_PREFIX).unwrap();
        let set = KeySet {
            version: 1,
            keys: vec![key.publish(0, 0).unwrap()],
        };
        let revoke = Order {
            revoke: Some(key.kid.clone()),
            ..Order::default()
        };

        let refused = deployed().check(&set, &Order::default());

        assert!(matches!(refused, Err(RotateKeysError::Development(kid)) if kid == key.kid));
        assert!(deployed().check(&set, &revoke).is_ok());
    }

    #[tokio::test]
    async fn t84_a_development_key_is_in_no_file_of_a_deployment() {
        let service = ::tests::Service::start().await;
        let mut variables = service.variables.clone();
        for (name, value) in [
            ("DOCUMENTS_BUCKET", "documents"),
            // No server listens there, so a write is a different error.
            ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1"),
        ] {
            variables.insert(name.to_owned(), value.to_owned());
        }
        let env = Environment::of(variables);
        let mut rotate_keys = RotateKeys::new(&env, service.time.clock()).unwrap();
        rotate_keys.is_local = false;
        let files = rotate_keys.files.clone().unwrap();

        let written = rotate_keys.write(&files).await;

        let Err(RotateKeysError::Development(kid)) = written else {
            panic!("{written:?}");
        };
        assert!(kid.starts_with(DEVELOPMENT_PREFIX));
    }

    #[test]
    fn an_order_is_understood_or_refused() {
        let read = |json: &str| serde_json::from_str::<Order>(json);
        assert_eq!(read("{}").unwrap(), Order::default());
        assert_eq!(read(r#"{"rotate":"when-due"}"#).unwrap(), Order::default());
        assert_eq!(read(r#"{"rotate":"now"}"#).unwrap().rotate, When::Now);
        assert_eq!(
            read(r#"{"revoke":"a"}"#).unwrap().revoke.as_deref(),
            Some("a")
        );
        for odd in [
            r#"{"revok":"a"}"#,
            r#"{"rotate":"soon"}"#,
            r#"{"revoke":1}"#,
            "\"now\"",
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
