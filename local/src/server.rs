//! Starting and stopping the parts, each on a port of its own.

use std::{io, net::Ipv4Addr, path::PathBuf, time::Duration};

use axum::Router;
use shared::{clock::Clock, config::Environment};
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    api::{self, ApiStartError},
    dynamodb::{self, DatabaseError},
    github::{App, StandIn},
    next_app::NextApp,
    page::{self, Page, SignIn},
    requests::RequestLog,
    settings::{self, GitHub},
};

/// How long requests under way may take when all is to stop.
const GRACE: Duration = Duration::from_secs(3);

/// Why the local server cannot start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Something else listens on the port.
    #[error("port {port} is taken; stop what uses it, or choose another with {option}")]
    PortTaken {
        /// The port.
        port: u16,
        /// The option that chooses another.
        option: &'static str,
    },
    /// The port cannot be used for another reason.
    #[error("cannot listen on port {0}: {1}")]
    Listen(u16, io::Error),
    /// The embedded DynamoDB does not start.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The API does not start.
    #[error(transparent)]
    Api(#[from] ApiStartError),
    /// The page cannot make requests.
    #[error("the page has no HTTP client: {0}")]
    Page(#[from] reqwest::Error),
}

/// What to start, and where. Port 0 lets the system choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the database is kept; in memory if nowhere.
    pub folder: Option<PathBuf>,
    /// The port of the embedded DynamoDB.
    pub dynamodb_port: u16,
    /// The port of the stand-in GitHub.
    pub github_port: u16,
}

/// DynamoDB and GitHub, running.
#[derive(Debug)]
pub struct Services {
    /// Where DynamoDB listens.
    pub dynamodb_url: String,
    /// The GitHub that the functions talk to.
    pub github: GitHub,
    tasks: Tasks,
}

/// What runs until it is told to stop.
#[derive(Debug)]
struct Tasks {
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

impl Tasks {
    fn new() -> Self {
        Self {
            stop: watch::Sender::new(false),
            running: JoinSet::new(),
        }
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // An error means that the sender is gone, which is a stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    fn serve(&mut self, listener: TcpListener, router: Router) {
        let stopped = self.stopped();
        self.running.spawn(async move {
            let server = axum::serve(listener, router).with_graceful_shutdown(stopped);
            if let Err(error) = server.await {
                tracing::error!(error.cause = %error, "a local server failed");
            }
        });
    }
}

impl Services {
    /// Starts the embedded DynamoDB, and the stand-in GitHub unless the shell names a real one by `GITHUB_CLIENT_ID`.
    ///
    /// # Errors
    /// A port is taken, or the database cannot be opened.
    pub async fn start(options: &Options, shell: &Environment) -> Result<Self, ServerError> {
        let mut tasks = Tasks::new();

        let (listener, port) = listen(options.dynamodb_port, "--dynamodb-port").await?;
        let database = dynamodb::open(options.folder.as_deref())?;
        let stopped = tasks.stopped();
        tasks.running.spawn(async move {
            let served = ::dynoxide::server::serve_with_shutdown(listener, database, stopped);
            if let Err(error) = served.await {
                tracing::error!(error.cause = error, "the embedded DynamoDB failed");
            }
        });
        let dynamodb_url = format!("http://127.0.0.1:{port}");

        let github = if shell.optional("GITHUB_CLIENT_ID").is_some() {
            GitHub::Real
        } else {
            let (listener, port) = listen(options.github_port, "--github-port").await?;
            let stand_in = StandIn::octocat_and_friends(App::new(
                settings::GITHUB_CLIENT_ID,
                settings::GITHUB_CLIENT_SECRET,
                "Cambio on this machine",
            ));
            tasks.serve(listener, stand_in.router());
            GitHub::StandIn(format!("http://localhost:{port}"))
        };
        Ok(Self {
            dynamodb_url,
            github,
            tasks,
        })
    }

    /// Makes the first signing key, for functions that are started elsewhere.
    ///
    /// # Errors
    /// The embedded DynamoDB does not take it.
    pub async fn make_first_key(
        &self,
        issuer_url: &str,
        shell: &Environment,
    ) -> Result<(), ServerError> {
        let variables = settings::variables(shell, issuer_url, &self.dynamodb_url, &self.github);
        api::make_first_key(&Environment::of(variables), Clock::system()).await?;
        Ok(())
    }

    /// Starts the API behind one port, with the page that shows these requests, and answers its URL.
    ///
    /// # Errors
    /// The port is taken, or a setting is wrong.
    pub async fn start_api(
        &mut self,
        port: u16,
        shell: &Environment,
        requests: RequestLog,
    ) -> Result<String, ServerError> {
        let (listener, port) = listen(port, "--port").await?;
        let url = format!("http://localhost:{port}");
        let variables = settings::variables(shell, &url, &self.dynamodb_url, &self.github);
        let router = api::start(&Environment::of(variables), Clock::system()).await?;
        let sign_in = match &self.github {
            GitHub::Real => SignIn::REAL_GITHUB,
            GitHub::StandIn(_) if shell.optional("CLIENTS").is_some() => SignIn::OWN_CLIENTS,
            GitHub::StandIn(github) => SignIn::Here(NextApp::new(github, &url)?),
        };
        let page = page::router(Page::new(port, sign_in, requests));
        self.tasks.serve(listener, router.merge(page));
        Ok(url)
    }

    /// Lets requests under way finish, closes the database and stops.
    pub async fn stop(mut self) {
        self.tasks.stop.send_replace(true);
        let all = async { while self.tasks.running.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("stopped with requests under way");
        }
    }
}

/// Listens on this machine only.
async fn listen(port: u16, option: &'static str) -> Result<(TcpListener, u16), ServerError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ServerError::PortTaken { port, option },
            _ => ServerError::Listen(port, error),
        })?;
    let port = listener
        .local_addr()
        .map_err(|error| ServerError::Listen(port, error))?
        .port();
    Ok((listener, port))
}
