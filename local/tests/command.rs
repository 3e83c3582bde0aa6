//! The command `cambio` as a developer starts it: at a terminal, through a pipe, and beside a running server.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use std::{
    fs::{self, File},
    io::Read,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

const CAMBIO: &str = env!("CARGO_BIN_EXE_cambio");
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of a test, which is removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cambio-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running `cambio`, which is stopped with its test.
struct Server {
    child: Child,
    output: Arc<Mutex<String>>,
    url: String,
    github: String,
}

impl Server {
    /// Starts the server with its output at a terminal, or in a pipe.
    fn start(arguments: &[&str], is_terminal: bool) -> Self {
        Self::start_with(&[], arguments, is_terminal)
    }

    /// Starts the server with these settings.
    fn start_with(settings: &[(&str, &str)], arguments: &[&str], is_terminal: bool) -> Self {
        let [port, github_port] = [free_port(), free_port()];
        let mut command = Command::new(CAMBIO);
        command
            .args(arguments)
            .args(["--port", &port.to_string()])
            .args(["--github-port", &github_port.to_string()])
            .envs(settings.iter().copied())
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        let (child, reader): (Child, Box<dyn Read + Send>) = if is_terminal {
            let (reader, terminal) = terminal();
            command.stderr(terminal.try_clone().unwrap());
            (command.stdout(terminal).spawn().unwrap(), Box::new(reader))
        } else {
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let reader = child.stdout.take().unwrap();
            (child, Box::new(reader))
        };
        let server = Self {
            child,
            output: collect(reader),
            url: format!("http://localhost:{port}"),
            github: format!("http://localhost:{github_port}"),
        };
        server.until("Ctrl-C stops.");
        server
    }

    /// Waits for `text` in the output, and returns the output.
    fn until(&self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let output = self.output.lock().unwrap().clone();
            if output.contains(text) {
                return output;
            }
            assert!(start.elapsed() < PATIENCE, "no {text:?} in\n{output}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Signs in, and calls `/me` with the token and with a made-up one.
    async fn sign_in(&self, login: &str) {
        let answer = self.exchange(login).await;
        assert!(answer.status().is_success());
        let answer: serde_json::Value = answer.json().await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        for token in [answer["access_token"].as_str().unwrap(), "made-up"] {
            let request = http.get(format!("{}/me", self.url)).bearer_auth(token);
            request.send().await.unwrap();
        }
    }

    async fn exchange(&self, login: &str) -> reqwest::Response {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/stand-in/tokens?login={login}", self.github);
        let token = http.post(url).send().await.unwrap().text().await.unwrap();
        let request = http.post(format!("{}/token", self.url));
        let request = request.basic_auth("nextjs", Some("local-client-secret-not-for-production"));
        request.form(&exchange_of(&token)).send().await.unwrap()
    }

    fn stop(mut self) {
        self.terminate();
    }

    fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "the server does not stop");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the form that exchanges a token of GitHub.
fn exchange_of(token: &str) -> [(&str, &str); 4] {
    [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("subject_issuer", "github"),
        ("subject_token", token),
    ]
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Both ends of a pseudo-terminal.
fn terminal() -> (File, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap();
    let path = Path::new(path.to_str().unwrap());
    let terminal = File::options().read(true).write(true).open(path).unwrap();
    (File::from(controller), terminal)
}

/// Reads everything until the end, on its own thread.
fn collect(mut reader: Box<dyn Read + Send>) -> Arc<Mutex<String>> {
    let output = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&output);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        // Reading from a terminal whose other end is closed is an error.
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]).replace('\r', "");
            shared.lock().unwrap().push_str(&text);
        }
    });
    output
}

fn admin(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(CAMBIO);
    command.args(["admin", "users"]).args(arguments);
    command.arg("--data-dir").arg(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn at_a_terminal_each_request_is_a_line_to_read() {
    let server = Server::start(&["--in-memory"], true);

    server.sign_in("ada").await;

    let output = server.until("invalid_token");
    let lines: Vec<_> = output
        .lines()
        .skip_while(|line| !line.contains("Ctrl-C"))
        .collect();
    let line = |of: &str| {
        let found = lines.iter().find(|line| line.contains(of));
        *found.unwrap_or_else(|| panic!("no {of} in {lines:#?}"))
    };
    let exchange = line("POST   /token");
    assert!(exchange.contains("\u{1b}[32m200\u{1b}[0m"), "{exchange}");
    assert!(exchange.contains(" ms  user 01"), "{exchange}");
    assert!(
        exchange.ends_with("GetItem, TransactWriteItems"),
        "{exchange}"
    );
    let me = line("GET    /me");
    assert!(
        me.contains(" ms  user 01") && me.ends_with("BatchGetItem"),
        "{me}"
    );
    assert!(
        lines.iter().any(|line| line.contains("\u{1b}[33m401")),
        "{lines:#?}"
    );
    let reason = line("invalid_token");
    assert!(
        reason.contains("(") && reason.starts_with("    "),
        "{reason}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with('{')),
        "{lines:#?}"
    );
    assert!(
        !output.contains("eyJ") && !output.contains("gho_"),
        "{output}"
    );
}

#[tokio::test]
async fn in_a_pipe_each_line_is_json() {
    let server = Server::start(&["--in-memory"], false);

    server.sign_in("ada").await;

    let output = server.until("invalid_token");
    let log = output.split_once("Ctrl-C stops.\n").unwrap().1;
    let complete = log.rsplit_once('\n').unwrap().0;
    let lines = complete.lines();
    let lines: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().any(|line| line["event"] == "user.created"));
    assert!(
        lines
            .iter()
            .any(|line| line["event"] == "request" && line["route"] == "/me")
    );
}

#[tokio::test]
async fn the_environment_is_written_where_the_command_says() {
    let folder = Folder::new("environment");
    let file = folder.0.join(".env.local");
    let arguments = [
        "--in-memory",
        "--app-url",
        "http://localhost:3100/",
        "--write-env",
    ];
    let arguments: Vec<_> = arguments
        .into_iter()
        .chain([file.to_str().unwrap()])
        .collect();

    let server = Server::start(&arguments, false);

    let output = server.until("Ctrl-C stops.");
    assert!(
        output.contains(&format!("is in {}", file.display())),
        "{output}"
    );
    let text = fs::read_to_string(&file).unwrap();
    for line in [
        format!("CAMBIO_URL={}", server.url),
        format!("GITHUB_URL={}", server.github),
        format!("OIDC_ISSUER={}/openid", server.github),
        "AUTH_URL=http://localhost:3100".to_owned(),
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
}

#[tokio::test]
async fn the_operator_s_command_works_while_the_server_runs_and_after_it() {
    let folder = Folder::new("admin");
    let none = admin(&folder.0, &["list"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("run `cargo run` and sign in first"));

    let server = Server::start(&["--data-dir", folder.0.to_str().unwrap()], false);
    server.sign_in("ada").await;
    let running = admin(&folder.0, &["list"]);
    assert!(running.status.success(), "{}", text(&running.stderr));
    assert!(text(&running.stdout).contains("ada@example.com"));
    for (change, is_admitted) in [("disable", false), ("enable", true)] {
        let found = admin(&folder.0, &["find", "ada", "--json"]);
        let user: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
        let changed = admin(&folder.0, &[change, user["id"].as_str().unwrap()]);
        assert!(changed.status.success(), "{}", text(&changed.stderr));
        let answer = server.exchange("ada").await;
        assert_eq!(answer.status().is_success(), is_admitted, "{change}");
    }
    server.stop();

    assert!(!folder.0.join("running.json").exists());
    let stopped = admin(&folder.0, &["find", "ada", "--json"]);
    let user: serde_json::Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert_eq!(user["email"], "ada@example.com", "{user}");
    fs::write(
        folder.0.join("running.json"),
        r#"{"url":"http://127.0.0.1:1","access_key_id":"x"}"#,
    )
    .unwrap();
    let killed = admin(&folder.0, &["find", "nobody"]);
    assert_eq!(killed.status.code(), Some(3), "{}", text(&killed.stderr));
}

/// Runs `cambio check` with these variables as the whole shell.
fn check(shell: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(CAMBIO);
    command.arg("check").args(arguments);
    let shell = shell.iter().copied();
    command.env_clear().envs(shell).output().unwrap()
}

#[test]
fn without_a_file_the_settings_of_the_shell_are_checked() {
    let clients = clients();
    let valid = [
        ("ISSUER_URL", "https://auth.example.com"),
        ("TOKEN_AUDIENCE", "https://api.example.com"),
        ("TABLE_NAME", "users"),
        ("KEYS_TABLE_NAME", "keys"),
        ("CLIENTS", &*clients),
        ("GITHUB_CLIENT_ID", "app"),
        ("GITHUB_CLIENT_SECRET", "CANARY"),
    ];
    let with_wrong = [&valid[..], &[("ACCESS_TOKEN_TTL", "1h"), ("LIVE", "yes")]].concat();

    let checked = check(&valid, &[]);

    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let said = "The settings of all functions are valid.\n";
    assert_eq!(text(&checked.stdout), said);
    let wrong = check(&with_wrong, &[]);
    assert_eq!(wrong.status.code(), Some(1));
    let problems = text(&wrong.stdout);
    let problems: Vec<&str> = problems.lines().collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    for name in ["ACCESS_TOKEN_TTL is \"1h\"", "LIVE is \"yes\""] {
        assert!(
            problems.iter().any(|line| line.starts_with(name)),
            "{problems:?}"
        );
    }
    assert_eq!(
        text(&wrong.stderr),
        "cambio: 2 settings are missing or wrong\n"
    );
    let wrong = check(&with_wrong, &["--json"]);
    assert_eq!(wrong.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&wrong.stdout).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), 2);
    assert!(!json.to_string().contains("CANARY"), "{json}");

    // A file takes the place of the shell.
    let folder = Folder::new("check");
    let file = folder.0.join("check.env");
    let lines = valid.map(|(name, value)| format!("{name}={value}\n"));
    fs::write(&file, lines.concat()).unwrap();
    let path = file.to_str().unwrap();
    assert!(check(&with_wrong, &["--file", path]).status.success());
    fs::write(&file, "LOG_LEVEL=loud\n").unwrap();
    let of_file = text(&check(&valid, &["--file", path]).stdout);
    for name in ["LOG_LEVEL is \"loud\"", "ISSUER_URL is not set"] {
        assert!(of_file.contains(name), "{of_file}");
    }
}

/// The client of the tests, and one whose backend sends requests without end.
const HONEST: (&str, &str) = ("nextjs", "honest-client-secret");
const WILD: (&str, &str) = ("wild", "wild-client-secret");

/// Requests a second, and the number of seconds.
const RATE: u64 = 500;
const SECONDS: u64 = 4;
/// The honest client signs a user in and refreshes three times after each of so many requests of the flood.
const PER_SIGN_IN: u64 = 80;

fn clients() -> String {
    let client = |(id, secret): (&str, &str)| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
        let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        serde_json::json!({ "client_id": id, "secret_sha256": [hash.collect::<String>()] })
    };
    serde_json::json!([client(HONEST), client(WILD)]).to_string()
}

/// Returns the `nth` request of the flood: two of three have no valid secret, and one is of the wild client.
fn garbage(http: &reqwest::Client, url: &str, nth: u64) -> reqwest::RequestBuilder {
    let post = || http.post(url);
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", "cbr_x")];
    let form = || post().form(&refresh);
    let form_type = "application/x-www-form-urlencoded";
    if nth.is_multiple_of(3) {
        return form().basic_auth(WILD.0, Some(WILD.1));
    }
    match nth % 8 {
        0 => form().basic_auth(HONEST.0, Some("wrong")),
        1 => form().basic_auth(format!("LIMIT#{nth}"), Some(HONEST.1)),
        2 => form(),
        3 => form().header("authorization", "Basic ////"),
        4 => post().json(&serde_json::json!({ "grant_type": "refresh_token" })),
        5 => post()
            .header("content-type", form_type)
            .body("x".repeat(60_000)),
        6 => post().form(&[
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"),
        ]),
        _ => http.get(url),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t163_five_hundred_requests_a_second_of_garbage_leave_an_honest_client_all_of_its_own() {
    let settings = [("CLIENTS", &*clients()), ("CLIENT_RATE_LIMIT", "200")];
    let server = Server::start_with(&settings, &["--in-memory"], false);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/token", server.url);
    let pace = tokio::time::interval(Duration::from_secs(1) / RATE as u32);
    let pace = Arc::new(tokio::sync::Mutex::new((pace, 0)));
    let (sent, mut sent_so_far) = tokio::sync::watch::channel(0);

    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (http, url, pace, sent) = (http.clone(), url.clone(), pace.clone(), sent.clone());
        flood.spawn(async move {
            let mut answers = Vec::new();
            loop {
                let nth = {
                    let mut pace = pace.lock().await;
                    pace.0.tick().await;
                    pace.1 += 1;
                    sent.send_replace(pace.1);
                    pace.1
                };
                if nth > RATE * SECONDS {
                    return answers;
                }
                let answer = garbage(&http, &url, nth).send().await.unwrap();
                answers.push((nth, answer.status().as_u16()));
            }
        });
    }
    let honest = async |form: &[(&str, &str)]| {
        let request = http.post(&url).basic_auth(HONEST.0, Some(HONEST.1));
        let answer = request.form(form).send().await.unwrap();
        assert_eq!(
            answer.status().as_u16(),
            200,
            "{}",
            answer.text().await.unwrap()
        );
        let answer: serde_json::Value = answer.json().await.unwrap();
        answer["refresh_token"].as_str().unwrap().to_owned()
    };
    let mut honest_requests = 0;
    for nth in 0..RATE * SECONDS / PER_SIGN_IN {
        sent_so_far
            .wait_for(|sent| *sent >= nth * PER_SIGN_IN)
            .await
            .unwrap();
        let of_github = format!("{}/stand-in/tokens?login=ada", server.github);
        let token = http.post(of_github).send().await.unwrap();
        let token = token.text().await.unwrap();
        let mut refresh_token = honest(&exchange_of(&token)).await;
        for _ in 0..3 {
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", &*refresh_token),
            ];
            refresh_token = honest(&form).await;
        }
        honest_requests += 4;
    }
    let answers: Vec<(u64, u16)> = flood.join_all().await.into_iter().flatten().collect();

    assert_eq!((answers.len(), honest_requests), (2_000, 100));
    let is_refusal = |status| matches!(status, 400 | 401 | 405 | 415 | 429);
    assert!(
        answers.iter().all(|(_, status)| is_refusal(*status)),
        "{answers:?}"
    );
    // The wild client got its 200 requests a minute, and the others no 429.
    let limited = answers.iter().filter(|(_, status)| *status == 429);
    let limited: Vec<_> = limited.map(|(nth, _)| nth).collect();
    assert!(!limited.is_empty() && limited.iter().all(|nth| nth.is_multiple_of(3)));
}
