//! Starts and stops the servers, each on its own port.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::Router;
use shared::{clock::Clock, config::Environment};
use thiserror::Error;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    api::{self, ApiStartError},
    dynamodb::{self, Changes, DatabaseError},
    github::{App, StandIn, random_characters},
    invocation::Invocation,
    neighbours::keep_websites_out,
    next_app::NextApp,
    openid::OpenId,
    operator::RunningServer,
    page::{self, Controls, LostAnswers, Page, SignIn, lose_answers},
    requests::RequestLog,
    settings::{self, DynamoDb, GitHub},
};

/// The time that requests under way have to finish at the stop.
const GRACE: Duration = Duration::from_secs(3);

/// Reasons that the local server cannot start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Another program listens on the port.
    #[error(
        "port {port} is in use; stop the program that uses it, or choose another port with {option}"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// The command-line option that sets another port.
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
    /// The HTTP client of the page cannot be set up.
    #[error("the HTTP client of the page cannot be set up: {0}")]
    Page(#[from] reqwest::Error),
}

/// The servers to start and their ports. With port 0 the system chooses one.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the database; `None` keeps it in memory.
    pub folder: Option<PathBuf>,
    /// The port of the embedded DynamoDB.
    pub dynamodb_port: u16,
    /// The port of the stand-in GitHub.
    pub github_port: u16,
}

/// The running DynamoDB and GitHub.
pub struct Services {
    /// The URL of DynamoDB and the access key of its callers.
    pub dynamodb: DynamoDb,
    /// The GitHub that the functions call.
    pub github: GitHub,
    folder: Option<PathBuf>,
    database: dynoxide::Database,
    changes: Changes,
    tasks: Tasks,
}

/// The embedded DynamoDB alone.
#[derive(Debug)]
pub(crate) struct Database {
    /// The URL of DynamoDB and the access key of its callers.
    pub(crate) dynamodb: DynamoDb,
    tasks: Tasks,
}

impl Database {
    /// Opens the database in `folder`, which no server uses.
    pub(crate) async fn open(folder: &Path) -> Result<Self, ServerError> {
        let mut tasks = Tasks::new();
        let changes = Changes::default();
        let (dynamodb, _) = start_dynamodb(&mut tasks, 0, Some(folder), changes).await?;
        Ok(Self { dynamodb, tasks })
    }

    /// Closes the database.
    pub(crate) async fn close(self) {
        self.tasks.stop().await;
    }
}

async fn start_dynamodb(
    tasks: &mut Tasks,
    port: u16,
    folder: Option<&Path>,
    changes: Changes,
) -> Result<(DynamoDb, dynoxide::Database), ServerError> {
    let (listener, port) = listen(port, "--dynamodb-port").await?;
    let database = dynamodb::open(folder)?;
    let dynamodb = DynamoDb {
        url: format!("http://127.0.0.1:{port}"),
        access_key_id: format!("local-{}", random_characters(32)),
    };
    let router = dynamodb::router(database.clone(), dynamodb.access_key_id.clone(), changes);
    tasks.serve(listener, keep_websites_out(router, port));
    Ok((dynamodb, database))
}

/// A task that runs until it is stopped.
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
            // An error means that the sender was dropped, which is a stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// Waits for requests under way, and stops.
    async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("stopped with requests under way");
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
    /// Starts the embedded DynamoDB. Starts the stand-in providers as well, except when `GITHUB_CLIENT_ID` or
    /// `GITHUB_CLIENT_SECRET` of the shell is set: then the API asks the real GitHub, or stops if one is missing.
    ///
    /// # Errors
    /// A port is taken, or the database cannot be opened.
    pub async fn start(options: &Options, shell: &Environment) -> Result<Self, ServerError> {
        let mut tasks = Tasks::new();
        let folder = options.folder.as_deref();
        let changes = Changes::default();
        let started = start_dynamodb(&mut tasks, options.dynamodb_port, folder, changes.clone());
        let (dynamodb, database) = started.await?;
        if let Some(folder) = folder
            && let Err(error) = RunningServer::write(folder, &dynamodb)
        {
            let admin = Invocation::of(shell).with("admin");
            tracing::warn!(error.cause = %error, "`{admin}` cannot find this server");
        }

        let is_set = |name| shell.optional(name).is_some();
        let github = if is_set("GITHUB_CLIENT_ID") || is_set("GITHUB_CLIENT_SECRET") {
            GitHub::Real
        } else {
            let (listener, port) = listen(options.github_port, "--github-port").await?;
            let stand_in = StandIn::octocat_and_friends(App::new(
                settings::GITHUB_CLIENT_ID,
                settings::GITHUB_CLIENT_SECRET,
                "Cambio on this machine",
            ));
            let url = format!("http://localhost:{port}");
            let openid = OpenId::new(&url, stand_in.clone());
            let providers = stand_in.router().merge(openid.router());
            tasks.serve(listener, keep_websites_out(providers, port));
            GitHub::StandIn(url)
        };
        Ok(Self {
            dynamodb,
            github,
            folder: options.folder.clone(),
            database,
            changes,
            tasks,
        })
    }

    /// Makes the first signing key, for functions that another program starts.
    ///
    /// # Errors
    /// The embedded DynamoDB refuses the write.
    pub async fn make_first_key(
        &self,
        issuer_url: &str,
        shell: &Environment,
    ) -> Result<(), ServerError> {
        let variables = settings::variables(shell, issuer_url, &self.dynamodb, &self.github);
        api::make_first_key(&Environment::of(variables), Clock::system()).await?;
        Ok(())
    }

    /// Starts the API with the page that shows these requests, behind one port, and returns its URL.
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
        let variables = settings::variables(shell, &url, &self.dynamodb, &self.github);
        let env = Environment::of(variables);
        let router = api::start(&env, Clock::system()).await?;
        let controls = Controls::start(&env, Clock::system(), self.database.clone()).await;
        let controls = controls.map_err(ApiStartError::from)?;
        let sign_in = match &self.github {
            GitHub::Real => SignIn::REAL_GITHUB,
            GitHub::StandIn(_) if shell.optional("CLIENTS").is_some() => SignIn::OWN_CLIENTS,
            GitHub::StandIn(github) => SignIn::Here(NextApp::new(github, &url)?),
        };
        let lost = LostAnswers::default();
        let router = lose_answers(router, lost.clone());
        let record = (requests, self.changes.clone());
        let page = page::router(Page::new(port, sign_in, record, lost, controls));
        // The page has its own, stricter check with its own messages.
        let router = keep_websites_out(router, port).merge(page);
        self.tasks.serve(listener, router);
        Ok(url)
    }

    /// Starts the API alone on a free port, with this clock, and returns its URL.
    ///
    /// # Errors
    /// No port is free, or a setting is wrong.
    pub(crate) async fn start_bare_api(
        &mut self,
        shell: &Environment,
        clock: Clock,
    ) -> Result<String, ServerError> {
        let (listener, port) = listen(0, "--port").await?;
        let url = format!("http://localhost:{port}");
        let variables = settings::variables(shell, &url, &self.dynamodb, &self.github);
        let router = api::start(&Environment::of(variables), clock).await?;
        self.tasks.serve(listener, keep_websites_out(router, port));
        Ok(url)
    }

    /// Waits for requests under way, closes the database and stops.
    pub async fn stop(self) {
        if let Some(folder) = &self.folder {
            RunningServer::remove(folder, &self.dynamodb);
        }
        self.tasks.stop().await;
    }
}

/// Listens on the loopback address.
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

#[cfg(test)]
mod tests {
    use reqwest::{Client, RequestBuilder, Response, StatusCode, header};

    use crate::{dynamodb::KEYS_TABLE, scene::Scene};

    fn http() -> Client {
        Client::builder().no_proxy().build().unwrap()
    }

    /// A scan of the private keys with this access key and without a valid signature.
    fn scan(scene: &Scene, access_key_id: &str) -> RequestBuilder {
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential={access_key_id}/20261128/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=00"
        );
        http()
            .post(&scene.dynamodb.url)
            .header("x-amz-target", "DynamoDB_20120810.Scan")
            .header("x-amz-date", "20261128T000000Z")
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
            .header(header::AUTHORIZATION, signature)
            .body(format!(r#"{{"TableName":"{KEYS_TABLE}"}}"#))
    }

    async fn assert_refused(response: Response, status: StatusCode, what: &str) {
        assert_eq!(response.status(), status, "{what}");
        let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(allowed, None, "{what}");
        let text = response.text().await.unwrap();
        assert!(!text.contains("KEY#"), "{what}: {text}");
    }

    #[tokio::test]
    async fn t100_the_embedded_dynamodb_answers_only_who_has_the_key_of_its_start() {
        let scene = Scene::start().await;
        let key = scene.dynamodb.access_key_id.clone();
        let answer = scan(&scene, &key).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.text().await.unwrap().contains("KEY#"));

        for other in [
            "",
            "local",
            "AKIDEXAMPLE",
            &key[1..],
            &format!("{key}x"),
            &key.to_uppercase(),
        ] {
            let refused = scan(&scene, other).send().await.unwrap();
            assert_refused(refused, StatusCode::BAD_REQUEST, other).await;
        }
        for unsigned in [
            key.clone(),
            format!("Bearer {key}"),
            format!("Credential={key}/"),
        ] {
            let request = http()
                .post(&scene.dynamodb.url)
                .header(header::AUTHORIZATION, &unsigned);
            let request = request.header("x-amz-target", "DynamoDB_20120810.Scan");
            let refused = request
                .body(format!(r#"{{"TableName":"{KEYS_TABLE}"}}"#))
                .send()
                .await;
            assert_refused(refused.unwrap(), StatusCode::BAD_REQUEST, &unsigned).await;
        }
        let another = Scene::start().await;
        assert_ne!(another.dynamodb.access_key_id, key);
    }

    #[tokio::test]
    async fn t100_no_website_reaches_the_servers_of_this_machine() {
        let scene = Scene::start().await;
        let key = &scene.dynamodb.access_key_id;
        let url = |base: &str, path: &str| format!("{base}{path}");
        let requests = || {
            [
                scan(&scene, key),
                http().get(url(&scene.api, "/.well-known/jwks.json")),
                http().get(url(&scene.api, "/no-such-route")),
                http().post(url(&scene.api, "/token")),
                http().post(url(&scene.github, "/stand-in/tokens?login=octocat")),
                http().get(url(&scene.github, "/login/oauth/authorize")),
                http()
                    .get(url(&scene.github, "/api/v3/user"))
                    .header(header::USER_AGENT, "a test"),
                http().post(url(&scene.github, "/openid/stand-in/tokens?login=octocat")),
                http().post(url(&scene.github, "/openid/token")),
                http().request(reqwest::Method::OPTIONS, &scene.dynamodb.url),
            ]
        };
        for (nth, request) in requests().into_iter().enumerate() {
            let port = request
                .try_clone()
                .unwrap()
                .build()
                .unwrap()
                .url()
                .port()
                .unwrap();
            let what = format!("request {nth}");
            let with =
                |name, value: String| request.try_clone().unwrap().header(name, value).send();

            let from_site = with(header::ORIGIN, "https://evil.example".to_owned()).await;
            assert_refused(from_site.unwrap(), StatusCode::FORBIDDEN, &what).await;
            let from_nowhere = with(header::ORIGIN, "null".to_owned()).await;
            assert_refused(from_nowhere.unwrap(), StatusCode::FORBIDDEN, &what).await;
            let rebound = with(header::HOST, format!("evil.example:{port}")).await;
            assert_refused(rebound.unwrap(), StatusCode::MISDIRECTED_REQUEST, &what).await;

            let from_here = with(header::ORIGIN, "http://localhost:3000".to_owned())
                .await
                .unwrap();
            assert_ne!(from_here.status(), StatusCode::FORBIDDEN, "{what}");
            let by_address = with(header::HOST, format!("127.0.0.1:{port}"))
                .await
                .unwrap();
            assert_ne!(
                by_address.status(),
                StatusCode::MISDIRECTED_REQUEST,
                "{what}"
            );
        }
    }
}
