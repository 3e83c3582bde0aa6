//! `doctor`: examines a deployment from outside, with good requests and with attacks.
//!
//! A run sends a bounded number of requests, follows no redirect, and ends the sessions that it opened. Apart from
//! these sessions, a run writes only what a first sign-in writes: the user.

mod api;
mod args;
mod checks;
mod documents;
pub mod forge;
mod forms;
mod hidden;
pub mod iam;
mod life;
mod report;
mod tokens;

pub use api::MAX_REQUESTS;
pub use args::{DoctorArgs, DoctorError};
pub use checks::{CHECKS, Check, Needs};
pub use report::{Outcome, Report};

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use indicatif::ProgressBar;
use secrecy::{ExposeSecret, SecretString};
use shared::{clock::Clock, keys::KeySet};
use url::Url;

use api::{Api, is_private};
use forge::Parts;
use life::Life;

/// A client with its secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The client id.
    pub id: String,
    secret: SecretString,
}

impl Credentials {
    /// Makes the credentials of a client.
    pub fn new(id: &str, secret: impl Into<SecretString>) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.into(),
        }
    }

    fn secret(&self) -> &str {
        self.secret.expose_secret()
    }
}

/// The tokens of a provider, each of which opens one session.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The configured name of the provider.
    pub provider: String,
    /// The `subject_token_type`; `None` for an access token.
    pub token_type: Option<String>,
    /// The tokens.
    pub tokens: Vec<SecretString>,
}

/// The deployment, and what the run may use.
#[derive(Clone, Debug)]
pub struct Target {
    /// The URL of the API.
    pub url: Url,
    /// The issuer, if it is not the URL.
    pub issuer: Option<String>,
    /// The client.
    pub client: Option<Credentials>,
    /// Another client.
    pub other_client: Option<Credentials>,
    /// The tokens of a provider.
    pub subject: Option<Subject>,
    /// The URL of a route behind the authorizer.
    pub authorizer_url: Option<Url>,
    /// The longest time to wait for the end of an access token.
    pub wait: Duration,
}

impl Target {
    /// Makes a target without credentials.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            issuer: None,
            client: None,
            other_client: None,
            subject: None,
            authorizer_url: None,
            wait: Duration::ZERO,
        }
    }

    fn tokens(&self) -> usize {
        let subject = self.subject.as_ref().filter(|_| self.client.is_some());
        subject.map_or(0, |subject| subject.tokens.len())
    }
}

/// A wait, which passes in an instant where the clock of the deployment can be moved.
#[derive(Clone)]
pub struct Pause(Arc<dyn Fn(Duration) -> Waiting + Send + Sync>);

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Pause {
    /// Waits by the clock of this machine.
    pub fn real() -> Self {
        Self(Arc::new(|time| Box::pin(tokio::time::sleep(time))))
    }

    /// Moves another clock instead.
    pub fn of(pass: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |time| {
            pass(time);
            Box::pin(std::future::ready(()))
        }))
    }

    async fn wait(&self, time: Duration) {
        (self.0)(time).await;
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pause").finish_non_exhaustive()
    }
}

/// The published keys as the operator sees them in the keys table, if the run may read it.
#[derive(Clone, Debug, Default)]
pub enum KeysTable {
    /// The run may not read the table.
    #[default]
    NotGiven,
    /// The key set; `None` before the first key is made.
    Read(Option<KeySet>),
    /// The table cannot be read.
    Unreadable(String),
}

/// A run.
#[derive(Clone, Debug)]
pub struct Doctor {
    target: Target,
    clock: Clock,
    pause: Pause,
    keys_table: KeysTable,
}

impl Doctor {
    /// Makes a run against `target`.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            clock: Clock::system(),
            pause: Pause::real(),
            keys_table: KeysTable::NotGiven,
        }
    }

    /// Sets the clock of this machine.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the way to wait.
    #[must_use]
    pub fn with_pause(mut self, pause: Pause) -> Self {
        self.pause = pause;
        self
    }

    /// Compares the published keys with those of the keys table.
    #[must_use]
    pub fn with_keys_table(mut self, keys_table: KeysTable) -> Self {
        self.keys_table = keys_table;
        self
    }

    fn issuer(&self) -> String {
        let url = || self.target.url.as_str().trim_end_matches('/').to_owned();
        self.target.issuer.clone().unwrap_or_else(url)
    }

    /// Runs all checks for which there is enough.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub async fn examine(&self) -> Result<Report, DoctorError> {
        self.examine_with(&ProgressBar::hidden()).await
    }

    async fn examine_with(&self, progress: &ProgressBar) -> Result<Report, DoctorError> {
        let api = Api::new(&self.target.url, self.pause.clone())
            .map_err(|error| DoctorError::Http(error.to_string()))?;
        self.hide_secrets(&api);
        // No secret goes over plain HTTP to another machine.
        let client = self.target.client.as_ref();
        let client = client.filter(|_| is_private(&self.target.url));
        let mut report = Report::default();
        progress.set_message("documents");
        let documents = documents::examine(self, &api, &mut report).await;
        self.keys(&documents, &mut report);
        progress.set_message("forms and clients");
        forms::examine(client, &api, &mut report).await;
        if let (Some(client), Some(subject)) = (client, &self.target.subject) {
            let life = Life {
                doctor: self,
                api: &api,
                client,
                subject,
                documents: &documents,
            };
            life.made_up_subjects(&mut report).await;
            progress.set_message("a session");
            life.first(&mut report).await;
            progress.set_message("a second session");
            life.second(&mut report).await;
        }
        if report.outcome("token.header").is_none() {
            progress.set_message("forged tokens");
            let key = documents.keys.first().cloned().unwrap_or_default();
            let text = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
            let (kid, alg) = (text("kid"), text("alg"));
            let parts = Parts::made_up(&documents.issuer, &kid, &alg, self.clock.now());
            tokens::headers(&api, &parts, &documents, &mut report).await;
        }
        self.seen(&api, &mut report);
        report.complete(|needs| self.lacks(needs, &api));
        report.redact(&api.hidden());
        Ok(report)
    }

    fn hide_secrets(&self, api: &Api) {
        let mut hidden = api.hidden();
        let clients = [&self.target.client, &self.target.other_client];
        for client in clients.into_iter().flatten() {
            hidden.insert_client(client);
        }
        let subject = self.target.subject.iter();
        for token in subject.flat_map(|subject| &subject.tokens) {
            hidden.insert(token.expose_secret());
        }
    }

    /// Returns the reason why checks with this requirement do not run; `None` if they can.
    fn lacks(&self, needs: Needs, api: &Api) -> Option<&'static str> {
        let target = &self.target;
        let tokens = target.tokens();
        let route = target.authorizer_url.as_ref();
        let is_given = match needs {
            Needs::Nothing => true,
            Needs::Network => !api.is_local(),
            Needs::Client => target.client.is_some(),
            Needs::OtherClient => target.other_client.is_some() && tokens > 0,
            Needs::Subject => tokens > 0,
            Needs::SecondSubject => tokens > 1,
            Needs::Wait => !target.wait.is_zero() && tokens > 0,
            Needs::Authorizer => route.is_some() && tokens > 0,
            Needs::KeysTable => !matches!(self.keys_table, KeysTable::NotGiven),
        };
        if !is_given {
            return Some(needs.option());
        }
        let is_private = match needs {
            Needs::Nothing | Needs::Network | Needs::KeysTable => true,
            Needs::Authorizer => is_private(&target.url) && route.is_some_and(is_private),
            _ => is_private(&target.url),
        };
        (!is_private).then_some(
            "no secret goes to another machine over http://: give a URL that begins with https://",
        )
    }

    fn keys(&self, documents: &documents::Documents, report: &mut Report) {
        match &self.keys_table {
            KeysTable::NotGiven => {}
            KeysTable::Read(set) => {
                let now = self.clock.now();
                documents::key_ages(set.as_ref(), &documents.keys, now, report);
            }
            KeysTable::Unreadable(error) => {
                report.set("keys.age", Outcome::Failed(error.clone()));
            }
        }
    }

    /// Records the outcomes of the checks that concern all answers.
    fn seen(&self, api: &Api, report: &mut Report) {
        let seen = api.seen();
        report.set(
            "headers.security",
            if seen.without_headers.is_empty() && seen.with_headers > 0 {
                Outcome::Passed(format!("{} answers", seen.with_headers))
            } else {
                let mut missing = seen.without_headers.clone();
                missing.dedup();
                missing.truncate(10);
                missing.push(format!("{} answers have all", seen.with_headers));
                Outcome::Failed(missing.join("\n"))
            },
        );
        report.set(
            "limits.retry-after",
            match (seen.throttled, seen.without_retry_after.as_slice()) {
                (0, _) => Outcome::Passed("no request was throttled".to_owned()),
                (throttled, []) => Outcome::Passed(format!("{throttled} throttled answers")),
                (_, without) => Outcome::Failed(without.join("\n")),
            },
        );
        let requests = seen.requests;
        report.notes.insert(
            0,
            format!("{requests} requests were sent, of at most {MAX_REQUESTS}."),
        );
    }
}
