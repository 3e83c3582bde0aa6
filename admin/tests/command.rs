//! The command `cambio-admin` as an operator starts it: with profiles of a file, under a role, and without credentials.

#![expect(
    clippy::unwrap_used,
    reason = "clippy's allowance for tests does not reach their helpers"
)]

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    process::Output,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Value, json};
use tests::{
    Service,
    proxy::{Call, Fault, Reply, When},
    serve,
};
use tokio::{process::Command, task::JoinSet};

const CAMBIO_ADMIN: &str = env!("CARGO_BIN_EXE_cambio-admin");

/// The access keys of the operator's two profiles, and those that the stand-in STS gives for the roles.
const OPERATOR: &str = "AKIAOPERATOR";
const COLLEAGUE: &str = "AKIACOLLEAGUE";
const ALLOWED: &str = "ASIAALLOWED";
const DENIED: &str = "ASIADENIED";

const ALLOWED_ROLE: &str = "arn:aws:iam::111122223333:role/allowed";
const DENIED_ROLE: &str = "arn:aws:iam::111122223333:role/denied";
const FOREIGN_ROLE: &str = "arn:aws:iam::111122223333:role/of-lambda-alone";

const CONFIG: &str =
    "[profile operator]\nregion = eu-central-1\n\n[profile colleague]\nregion = eu-west-1\n";

/// The parameters of each request for a role.
type Assumed = Arc<Mutex<Vec<HashMap<String, String>>>>;

/// The tables of a deployment, and the machine of an operator.
struct Scene {
    service: Service,
    home: PathBuf,
    variables: HashMap<&'static str, String>,
    /// The requests to the stand-in STS.
    assumed: Assumed,
    _running: JoinSet<()>,
}

impl Scene {
    async fn start(name: &str) -> Self {
        let service = Service::start().await;
        let mut running = JoinSet::new();
        let assumed = Assumed::default();
        let sts = Router::new()
            .fallback(assume_role)
            .with_state(assumed.clone());
        let sts = serve(&mut running, sts).await;
        let home = format!("cambio-admin-{name}-{}", std::process::id());
        let home = std::env::temp_dir().join(home);
        fs::create_dir_all(&home).unwrap();
        let [config, credentials] = ["config", "credentials"].map(|file| home.join(file));
        fs::write(&config, CONFIG).unwrap();
        let keys = [("operator", OPERATOR), ("colleague", COLLEAGUE)];
        let keys = keys.map(|(profile, key)| {
            format!("[{profile}]\naws_access_key_id = {key}\naws_secret_access_key = CANARY\n")
        });
        fs::write(&credentials, keys.concat()).unwrap();
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let variables = HashMap::from([
            ("HOME", text(&home)),
            ("AWS_CONFIG_FILE", text(&config)),
            ("AWS_SHARED_CREDENTIALS_FILE", text(&credentials)),
            ("AWS_ENDPOINT_URL_DYNAMODB", service.dynamodb.url()),
            ("AWS_ENDPOINT_URL_STS", sts),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]);
        Self {
            service,
            home,
            variables,
            assumed,
            _running: running,
        }
    }

    /// Runs the command with these variables of the shell besides those of the scene.
    async fn run(&self, shell: &[(&str, &str)], arguments: &[&str]) -> Ended {
        self.service.dynamodb.clear();
        let mut command = Command::new(CAMBIO_ADMIN);
        command
            .env_clear()
            .envs(&self.variables)
            .envs(shell.iter().copied())
            .current_dir(&self.home)
            .args(arguments);
        Ended::of(command.output().await.unwrap())
    }

    /// Runs `doctor --iam` for a function, as the page about it writes the command.
    async fn examine(&self, function: &str, role: &[&str]) -> Ended {
        let [table, keys_table] = [local::dynamodb::TABLE, local::dynamodb::KEYS_TABLE];
        let [table, keys_table] = [table, keys_table].map(|name| self.service.table(name));
        let before = ["doctor", "--iam", "--function", function];
        let after = ["--table", &table, "--keys-table", &keys_table];
        let arguments = [&before, role, &after].concat();
        self.run(&[("AWS_PROFILE", "operator")], &arguments).await
    }

    /// Returns the access key and the region of each call to DynamoDB.
    fn signers(&self) -> Vec<(String, String)> {
        let calls = self.service.dynamodb.calls();
        let signers = calls.iter().map(|call| {
            let mut scope = credential(call).split('/');
            let [key, _, region] = [scope.next(), scope.next(), scope.next()];
            (key.unwrap().to_owned(), region.unwrap().to_owned())
        });
        signers.collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// The end of a process.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended = Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        for said in [&ended.stdout, &ended.stderr] {
            assert!(!said.contains("CANARY"), "{said}");
        }
        ended
    }

    #[track_caller]
    fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Returns the error of a command that failed with this exit code.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// Returns the scope of the signature: access key, day, region and service.
fn credential(call: &Call) -> &str {
    let authorization = call.headers.get(header::AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok());
    let scope = authorization.and_then(|value| value.split_once("Credential="));
    scope.map_or("", |(_, scope)| scope)
}

fn is_signed_by(call: &Call, key: &str) -> bool {
    credential(call).split('/').next() == Some(key)
}

/// Answers as DynamoDB does where IAM denies an action.
fn access_denied(action: &str) -> Fault {
    let message = format!("User: a is not authorized to perform: dynamodb:{action}");
    let body = json!({
        "__type": "com.amazon.coral.service#AccessDeniedException", "Message": message,
    });
    Reply::new(StatusCode::BAD_REQUEST, body.to_string()).into()
}

/// Answers `AssumeRole` as STS does.
async fn assume_role(State(assumed): State<Assumed>, body: Bytes) -> impl IntoResponse {
    let form = form_urlencoded::parse(&body).into_owned();
    let form: HashMap<String, String> = form.collect();
    let role = form["RoleArn"].clone();
    assumed.lock().unwrap().push(form);
    let key = match &*role {
        ALLOWED_ROLE => ALLOWED,
        DENIED_ROLE => DENIED,
        _ => {
            let refusal = format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                 <Code>AccessDenied</Code><Message>User: a is not authorized to perform: sts:AssumeRole on resource: \
                 {role}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
            );
            return (StatusCode::FORBIDDEN, refusal);
        }
    };
    let answer = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <AssumedRoleUser><AssumedRoleId>AROA:cambio-doctor</AssumedRoleId><Arn>{role}/cambio-doctor</Arn>\
         </AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>CANARY</SecretAccessKey>\
         <SessionToken>CANARY</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>\
         </AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>"
    );
    (StatusCode::OK, answer)
}

#[tokio::test]
async fn t202_the_permissions_of_a_role_are_those_that_the_command_shows() {
    let scene = Scene::start("iam").await;
    let dynamodb = &scene.service.dynamodb;
    // The operator may do nothing, and one of the roles no transaction.
    let by_operator = When::Matching(|call| is_signed_by(call, OPERATOR));
    dynamodb.fault(by_operator, access_denied("GetItem"));
    let by_denied = When::Matching(|call| {
        is_signed_by(call, DENIED) && call.operation.as_deref() == Some("TransactWriteItems")
    });
    dynamodb.fault(by_denied, access_denied("PutItem"));
    let items = [local::dynamodb::TABLE, local::dynamodb::KEYS_TABLE];
    let items = || items.map(|table| scene.service.scan(table));
    let before = items();

    for function in ["token-exchange", "rotate-keys"] {
        let allowed = scene.examine(function, &["--role-arn", ALLOWED_ROLE]).await;
        let said = allowed.succeeded();
        let (calls, summary) = said.split_once("\n\n").unwrap();
        assert!(calls.lines().count() > 2, "{said}");
        assert!(
            calls.lines().all(|line| line.starts_with("allowed  ")),
            "{said}"
        );
        assert!(
            summary.ends_with(" calls, 0 not allowed. Nothing was written.\n"),
            "{said}"
        );
        assert!(
            scene.signers().iter().all(|(key, _)| key == ALLOWED),
            "{:?}",
            scene.signers()
        );

        let denied = scene.examine(function, &["--role-arn", DENIED_ROLE]).await;
        let lines = denied
            .stdout
            .lines()
            .filter(|line| line.contains("TransactWriteItems"));
        assert!(lines.clone().count() > 0, "{}", denied.stdout);
        for line in lines {
            assert!(
                line.starts_with("DENIED ") && line.contains("dynamodb:PutItem"),
                "{line}"
            );
        }
        assert!(denied.stdout.contains("\nallowed  ") || denied.stdout.starts_with("allowed  "));
        assert!(
            denied
                .failed(1)
                .contains("of the calls did not get the expected answer")
        );

        let own = scene.examine(function, &[]).await;
        assert!(
            own.stdout.lines().all(|line| !line.starts_with("allowed")),
            "{}",
            own.stdout
        );
        own.failed(1);
    }

    assert!(items() == before);
    let assumed = scene.assumed.lock().unwrap().clone();
    for request in &assumed {
        assert_eq!(request["Action"], "AssumeRole");
        assert_eq!(request["RoleSessionName"], "cambio-doctor");
        assert_eq!(request["DurationSeconds"], "900");
    }
    assert!(assumed.len() >= 4, "{}", assumed.len());
}

#[tokio::test]
async fn t202_a_role_that_cannot_be_assumed_is_told_from_one_that_denies() {
    let scene = Scene::start("foreign-role").await;

    let refused = scene.examine("me", &["--role-arn", FOREIGN_ROLE]).await;

    assert_eq!(refused.stdout, "");
    let said = refused.failed(1);
    for part in [
        &format!("{FOREIGN_ROLE} cannot be assumed"),
        "not authorized to perform: sts:AssumeRole",
        "docs/doctor.md",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.lines().count() < 4 && said.len() < 600, "{said}");
    assert_eq!(scene.signers(), []);
    let shell = [("AWS_PROFILE", "operator")];
    let iam = ["doctor", "--iam", "--function", "me"];
    let said = scene.run(&shell, &iam).await.failed(1);
    assert!(said.contains("no table: give --table"), "{said}");
    let table = [&iam[..], &["--table", "cambio"]].concat();
    let said = scene.run(&shell, &table).await.failed(1);
    assert!(said.contains("no keys table: give --keys-table"), "{said}");
    let said = scene.run(&shell, &["doctor", "--iam"]).await.failed(2);
    assert!(said.contains("--function"), "{said}");
}

#[tokio::test]
async fn t207_the_account_is_that_of_the_named_profile_and_region() {
    let scene = Scene::start("profiles").await;
    let table = scene.service.table(local::dynamodb::TABLE);
    for (shell, options, key, region) in [
        (
            &[("AWS_PROFILE", "operator")][..],
            &[][..],
            OPERATOR,
            "eu-central-1",
        ),
        (&[], &["--profile", "operator"], OPERATOR, "eu-central-1"),
        (
            &[("AWS_PROFILE", "operator")],
            &["--profile", "colleague"],
            COLLEAGUE,
            "eu-west-1",
        ),
        (
            &[],
            &["--profile", "colleague", "--region", "us-west-2"],
            COLLEAGUE,
            "us-west-2",
        ),
        // An access key of the shell, which may be of another account, does not take the place of the option.
        (
            &[
                ("AWS_ACCESS_KEY_ID", "AKIASHELL"),
                ("AWS_SECRET_ACCESS_KEY", "CANARY"),
            ],
            &["--profile", "operator"],
            OPERATOR,
            "eu-central-1",
        ),
        (
            &[("AWS_REGION", "ap-south-1")],
            &["--profile", "operator"],
            OPERATOR,
            "ap-south-1",
        ),
    ] {
        let arguments = [&["users", "list", "--table", &*table], options].concat();

        scene.run(shell, &arguments).await.succeeded();

        let signers = scene.signers();
        assert!(!signers.is_empty(), "{options:?}");
        let wanted = (key.to_owned(), region.to_owned());
        assert!(
            signers.iter().all(|signer| *signer == wanted),
            "{options:?}: {signers:?}"
        );
    }
}

#[tokio::test]
async fn without_credentials_the_command_names_the_next_step() {
    let mut scene = Scene::start("no-credentials").await;
    let users = ["users", "list", "--table", "cambio"];
    let in_region = [&users[..], &["--region", "eu-west-1"]].concat();

    let unknown = [&in_region[..], &["--profile", "absent"]].concat();
    let said = scene.run(&[], &unknown).await.failed(1);
    assert!(
        said.contains("no AWS credentials") && said.contains("absent"),
        "{said}"
    );
    let unknown = [&users[..], &["--profile", "absent"]].concat();
    let said = scene.run(&[], &unknown).await.failed(1);
    assert!(said.contains("absent"), "{said}");

    // A machine without files, on which no service of EC2 answers.
    for file in [
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_EC2_METADATA_DISABLED",
    ] {
        scene.variables.remove(file);
    }
    let closed = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    let said = scene.run(&[closed], &in_region).await.failed(1);
    for part in ["no AWS credentials: set AWS_PROFILE, or ", "aws sso login"] {
        assert!(said.contains(part), "{said}");
    }
    let said = scene.run(&[closed], &users).await.failed(1);
    assert!(
        said.contains("no AWS region: give --region, or set AWS_REGION"),
        "{said}"
    );
    let said = scene.run(&[closed], &["users", "list"]).await.failed(1);
    assert!(said.contains("no AWS region"), "{said}");
    assert_eq!(scene.signers(), []);
}

/// Returns the arguments of a command as a page writes it, after checking that the page has it.
fn documented<'a>(page: &str, command: &'a str) -> Vec<&'a str> {
    let file = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(file).unwrap();
    let line = format!("cargo run -p admin -- {command}");
    assert!(
        text.lines().any(|other| other.trim() == line),
        "{page} has no {line:?}"
    );
    command.split(' ').collect()
}

#[tokio::test]
async fn the_commands_of_the_pages_do_what_the_pages_say() {
    let scene = Scene::start("pages").await;
    let answer = scene.service.sign_in("octocat").await;
    let id = answer.text("/user/id");
    let [table, keys_table] = [local::dynamodb::TABLE, local::dynamodb::KEYS_TABLE];
    let [table, keys_table] = [table, keys_table].map(|name| scene.service.table(name));
    let shell = [
        ("AWS_PROFILE", "operator"),
        ("TABLE_NAME", &*table),
        ("KEYS_TABLE_NAME", &*keys_table),
    ];
    let run = async |page: &str, command: &str| {
        let arguments = documented(page, command);
        let arguments = arguments.into_iter().map(|argument| match argument {
            "<id>" | "<id>..." => id,
            other => other,
        });
        scene.run(&shell, &arguments.collect::<Vec<_>>()).await
    };

    let listed = run("operate.md", "users list").await.succeeded();
    let mut lines = listed.lines();
    let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let columns = [
        "ID",
        "NAME",
        "E-MAIL",
        "STATUS",
        "ROLES",
        "IDENTITIES",
        "CREATED",
    ];
    assert_eq!(head, columns);
    let row = lines.next().unwrap();
    assert!(
        row.contains(id) && row.contains("github:583231 (octocat)"),
        "{listed}"
    );
    for command in ["users find octocat@example.com", "users find github:583231"] {
        assert!(
            run("operate.md", command).await.succeeded().contains(id),
            "{command}"
        );
    }
    for (command, said) in [
        ("users disable <id>...", "disabled; all sessions have ended"),
        ("users enable <id>...", "enabled"),
        (
            "users sign-out <id>...",
            "signed out; all sessions have ended",
        ),
    ] {
        let output = run("operate.md", command).await.succeeded();
        assert_eq!(output, format!("{id}  {said}\n"), "{command}");
    }
    let changed = "users roles <id> --add admin --remove support";
    let changed = run("operate.md", changed).await.succeeded();
    assert!(changed.contains("roles     admin"), "{changed}");
    let exported = run("operate.md", "users export <id>").await.succeeded();
    let exported: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(exported["roles"], json!(["admin"]));
    let counted = run("operate.md", "migrate --dry-run").await.succeeded();
    assert!(
        counted.contains("no migration: this version writes schema 1"),
        "{counted}"
    );

    let clients = json!([{ "client_id": "nextjs", "secret_sha256": ["a".repeat(64)] }]);
    fs::write(scene.home.join("clients.json"), clients.to_string()).unwrap();
    let imported = run("clients.md", "clients import --file clients.json").await;
    assert!(
        imported
            .succeeded()
            .contains("version 1, in use within a minute")
    );
    let listed = run("clients.md", "clients list").await.succeeded();
    assert!(listed.contains("nextjs"), "{listed}");
    let keys = scene.run(&shell, &["keys", "list"]).await.succeeded();
    assert!(keys.contains("current") && keys.contains("next"), "{keys}");
    let nobody = ["users", "show", "01a2204b-ade7-7286-ae7e-67a1e9fae2bc"];
    let nobody = scene.run(&shell, &nobody).await.failed(3);
    assert!(
        nobody.starts_with("cambio-admin: no user has the id 01a2204b"),
        "{nobody}"
    );
}
