//! The client secrets of providers that Secrets Manager or SSM Parameter Store holds, so that a rotation needs no
//! deployment.
//!
//! A secret is read at the start, again after five minutes, and again as soon as the provider refuses it. While it
//! cannot be read, the last one stays in use, for 24 hours at most.

mod store;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::{
    cached::{Cached, FailedRecently, Lifetime},
    clock::Clock,
    config::{ConfigError, Environment, ProviderSecret, SecretArn, SecretStores},
};
use store::Store;

/// A secret is read again after five minutes. While the store does not answer, the last one is used for a day at most.
const LIFETIME: Lifetime = Lifetime {
    fresh_for: Duration::from_mins(5),
    usable_for: Duration::from_hours(24),
};

/// A secret cannot be read. No variant shows it.
#[derive(Debug, Error)]
#[error("the secret {arn} {problem}")]
pub struct SecretError {
    arn: Box<SecretArn>,
    problem: Problem,
}

#[derive(Debug, Error)]
enum Problem {
    /// The service did not answer, or refused for now.
    #[error("cannot be read: {0}")]
    Unreachable(String),
    /// The service did not answer a moment ago.
    #[error("cannot be read: {0}")]
    NotRead(#[from] FailedRecently),
    /// There is no such secret, a permission is missing, or the value cannot be a client secret.
    #[error("cannot be used: {0}")]
    Refused(String),
}

impl SecretError {
    /// Returns whether this is a mistake of the operator, which does not pass by itself.
    pub fn is_refused(&self) -> bool {
        matches!(self.problem, Problem::Refused(_))
    }
}

/// The secrets that ARNs lead to. Clones share them, so that providers that are made anew keep the last secrets.
#[derive(Clone)]
pub struct Secrets(Arc<Shared>);

struct Shared {
    env: Environment,
    clock: Clock,
    known: Mutex<HashMap<SecretArn, Weak<Remote>>>,
}

/// A client secret, from a setting or from the place that its ARN leads to.
#[derive(Clone)]
pub(crate) struct Secret(Source);

#[derive(Clone)]
enum Source {
    Setting(Arc<SecretString>),
    Remote(Arc<Remote>),
}

struct Remote {
    arn: SecretArn,
    store: Store,
    read: Cached<Arc<SecretString>>,
}

impl Secrets {
    /// Makes a reader of secrets. `env` has the credentials and the addresses, which a secret without an ARN does not
    /// need.
    pub fn new(env: Environment, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            env,
            clock,
            known: Mutex::default(),
        }))
    }

    /// Returns the secret that `setting` is or leads to, without reading it.
    ///
    /// # Errors
    /// The settings of AWS are wrong.
    pub(crate) fn find(&self, setting: ProviderSecret) -> Result<Secret, ConfigError> {
        let arn = match setting {
            ProviderSecret::Value(secret) => {
                return Ok(Secret(Source::Setting(Arc::new(secret))));
            }
            ProviderSecret::At(arn) => arn,
        };
        let Shared { env, clock, known } = &*self.0;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, remote| remote.strong_count() > 0);
        if let Some(remote) = known.get(&arn).and_then(Weak::upgrade) {
            return Ok(Secret(Source::Remote(remote)));
        }
        let remote = Arc::new(Remote {
            store: Store::new(SecretStores::from_env(env)?, clock.clone()),
            read: Cached::new(arn.to_string(), clock.clone()),
            arn: arn.clone(),
        });
        known.insert(arn, Arc::downgrade(&remote));
        Ok(Secret(Source::Remote(remote)))
    }
}

impl Secret {
    /// Returns the present secret.
    ///
    /// # Errors
    /// The secret cannot be read, and there is none in memory that may be used.
    pub(crate) async fn get(&self) -> Result<Arc<SecretString>, SecretError> {
        match &self.0 {
            Source::Setting(secret) => Ok(secret.clone()),
            Source::Remote(remote) => {
                let read = remote.read.get(remote.read_now()).await;
                let read = read.map_err(|problem| remote.error(problem))?;
                Ok((*read).clone())
            }
        }
    }

    /// Asks the provider with `secret` and returns the answer. If it refuses the secret and there is a newer one, this
    /// takes the place of `secret`, and the provider is asked once more.
    pub(crate) async fn ask_with<T, E, F>(
        &self,
        secret: &mut Arc<SecretString>,
        ask: impl Fn(Arc<SecretString>) -> F,
        is_refused: impl FnOnce(&T) -> bool,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let answer = ask(secret.clone()).await?;
        if is_refused(&answer)
            && let Some(newer) = self.newer_than(secret).await
        {
            *secret = newer;
            return ask(secret.clone()).await;
        }
        Ok(answer)
    }

    /// Reads the secret again after the provider refused `refused`, at most once in 30 seconds. Returns `None` if there
    /// is no other one.
    async fn newer_than(&self, refused: &SecretString) -> Option<Arc<SecretString>> {
        let Source::Remote(remote) = &self.0 else {
            return None;
        };
        match remote.read.reload(remote.read_now()).await {
            Ok(read) => {
                let is_other = read.expose_secret() != refused.expose_secret();
                is_other.then(|| (*read).clone())
            }
            Err(problem) => {
                let error = remote.error(problem);
                // A refusal is logged where the secret is read.
                if !error.is_refused() {
                    let result = "the provider refuses the secret, which cannot be read again";
                    tracing::warn!(error.cause = %error, "{result}");
                }
                None
            }
        }
    }
}

impl Remote {
    async fn read_now(&self) -> Result<(Arc<SecretString>, Lifetime), Problem> {
        let read = self.store.read(&self.arn).await;
        if let (Err(problem @ Problem::Refused(_)), Some(_)) = (&read, self.read.usable()) {
            tracing::error!(
                event = "secret.refused",
                secret = %self.arn,
                error.cause = %problem,
                "the secret cannot be used any more; the one before stays in use, and a function that starts now fails"
            );
        }
        Ok((Arc::new(read?), LIFETIME))
    }

    fn error(&self, problem: Problem) -> SecretError {
        SecretError {
            arn: Box::new(self.arn.clone()),
            problem,
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl fmt::Debug for Secret {
    /// Shows the ARN, and never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arn = match &self.0 {
            Source::Setting(_) => None,
            Source::Remote(remote) => Some(&remote.arn),
        };
        f.debug_tuple("Secret").field(&arn).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_no_provider_uses_any_more_is_forgotten() {
        let settings = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        let secrets = Secrets::new(Environment::of(settings), Clock::system());
        let find = |nth: usize| {
            let arn = format!("arn:aws:ssm:eu-west-1:111122223333:parameter/{nth}");
            let arn = SecretString::from(arn);
            secrets.find(arn.try_into().unwrap()).unwrap()
        };
        let known = || secrets.0.known.lock().unwrap().len();

        // As many changes of the providers, each with another secret.
        let kept = find(0);
        for nth in 1..100 {
            find(nth);
        }
        assert_eq!(known(), 2, "the last one and the one in use");
        let again = find(0);

        assert_eq!(known(), 1);
        let (Source::Remote(kept), Source::Remote(again)) = (&kept.0, &again.0) else {
            panic!("not from the store");
        };
        assert!(Arc::ptr_eq(kept, again));
    }
}
