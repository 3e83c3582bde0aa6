//! The common start of several modules' tests: the API in memory, and a recording layer.

use std::{io, sync::Once};

use reqwest::StatusCode;
use shared::{clock::Clock, config::Environment};
use tracing::{Level, subscriber::DefaultGuard};

use crate::{
    next_app::NextApp,
    requests::RequestLog,
    server::{Options, Services},
    settings::{DynamoDb, GitHub},
};

/// The API and the stand-in, on the thread of the test.
pub(crate) struct Scene {
    pub(crate) app: NextApp,
    pub(crate) api: String,
    pub(crate) github: String,
    pub(crate) dynamodb: DynamoDb,
    pub(crate) requests: RequestLog,
    _services: Services,
    _listening: DefaultGuard,
}

impl Scene {
    pub(crate) async fn start() -> Self {
        Self::with([]).await
    }

    /// Starts both with these variables in the shell.
    pub(crate) async fn with<const N: usize>(shell: [(&str, &str); N]) -> Self {
        let requests = RequestLog::new(Clock::system());
        let listening = listen(&requests, Level::ERROR, io::sink);
        let options = Options {
            folder: None,
            dynamodb_port: 0,
            github_port: 0,
        };
        let shell = Environment::of(shell);
        let mut services = Services::start(&options, &shell).await.unwrap();
        let api = services
            .start_api(0, &shell, requests.clone())
            .await
            .unwrap();
        let github = match &services.github {
            GitHub::StandIn(github) => github.clone(),
            GitHub::Real => "http://localhost:1".to_owned(),
        };
        Self {
            app: NextApp::new(&github, &api).unwrap(),
            api,
            github,
            dynamodb: services.dynamodb.clone(),
            requests,
            _services: services,
            _listening: listening,
        }
    }

    pub(crate) async fn github_token(&self, login: &str) -> String {
        self.app.stand_in_token(login).await.unwrap()
    }

    /// The access token and the refresh token of a sign-in.
    pub(crate) async fn sign_in(&self, login: &str) -> (String, String) {
        let token = self.github_token(login).await;
        let answer = self.app.exchange(&token, None).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
        (text("access_token"), text("refresh_token"))
    }
}

/// Records the spans of this thread in `requests`.
pub(crate) fn listen<W>(requests: &RequestLog, level: Level, writer: W) -> DefaultGuard
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    all_threads_listen();
    tracing::subscriber::set_default(requests.subscriber(level, writer))
}

/// `tracing` caches for the whole process whether a span is enabled, and may ask only the first thread: a thread
/// without a recording layer would decide for all.
pub(crate) fn all_threads_listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let nobody = RequestLog::new(Clock::system()).subscriber(Level::ERROR, io::sink);
        tracing::subscriber::set_global_default(nobody).unwrap();
    });
}
