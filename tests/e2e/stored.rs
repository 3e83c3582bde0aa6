//! Clients and providers that an item of the keys table holds, and the operator's commands that write it.

use std::{fs, path::PathBuf};

use ::admin::{Admin, AdminError};
use local::dynamodb::{KEYS_TABLE, TABLE};
use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::{
    config::{Environment, Group},
    stored::SettingsStore,
};
use tests::{
    Answer, CLIENT, GITHUB_APP, OTHER_CLIENT, Service, log_lines,
    oidc::{Issuer, Key},
    proxy::{Call, Fault, When},
    timers,
};
use token_exchange::TokenExchange;

use crate::admin::{admin_of, run_to_its_end};

/// A service whose clients and providers are in the keys table, and the operator's command.
struct Scene {
    service: Service,
    admin: Admin,
    store: SettingsStore,
}

impl Scene {
    /// Starts a process whose clients come from the table.
    async fn with_clients() -> Self {
        let mut scene = Self::before().await;
        let list = scene.service.variables["CLIENTS"].clone();
        let list: Value = serde_json::from_str(&list).unwrap();
        scene.run("clients import", Some(&list)).await.unwrap();
        scene.set("CLIENTS", "table");
        scene.restart().await;
        scene
    }

    /// Starts a process whose providers come from the table.
    async fn with_providers(provider: &Value) -> Self {
        let mut scene = Self::before().await;
        scene.run("providers set", Some(provider)).await.unwrap();
        for name in Group::Providers.settings() {
            scene.service.variables.remove(*name);
        }
        scene.set("PROVIDERS", "table");
        scene.restart().await;
        scene
    }

    async fn before() -> Self {
        let service = Service::start().await;
        let client = service.client();
        let table = service.table(KEYS_TABLE);
        // An operator has none of the settings of a function.
        let variables = service.variables.clone().into_iter();
        let env = Environment::of(variables.filter(|(name, _)| name.starts_with("AWS_")));
        Self {
            admin: Admin::new(client.clone(), String::new()).with_keys_table(table.clone(), env),
            store: SettingsStore::new(client, table),
            service,
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        let variables = &mut self.service.variables;
        variables.insert(name.to_owned(), value.to_owned());
    }

    /// Starts a new process, and sends all further requests to it.
    async fn restart(&mut self) {
        self.service.url = self.service.another_process().await;
        self.service.dynamodb.clear();
    }

    /// Runs a command of `cambio-admin` with `input` in a file, and returns its output.
    async fn run(&self, command: &str, input: Option<&Value>) -> Result<String, AdminError> {
        let file = input.map(|input| file_of(input.to_string()));
        self.run_with(command, file).await
    }

    async fn run_with(&self, command: &str, file: Option<Input>) -> Result<String, AdminError> {
        let option = file.iter().flat_map(|file| ["--file", file.path()]);
        let arguments: Vec<&str> = command.split(' ').chain(option).collect();
        let (written, done) = run_to_its_end(&self.admin, &arguments).await;
        done.map(|()| written)
    }

    /// Writes an item that the command would refuse.
    async fn write(&self, group: Group, name: &str, value: &str) {
        let found = self.store.find(group).await.unwrap();
        let settings = [(name.to_owned(), value.to_owned())].into();
        let version = found.map(|found| found.version);
        assert!(self.store.replace(group, version, settings).await.unwrap());
    }

    async fn version(&self, group: Group) -> Option<u64> {
        let found = self.store.find(group).await.unwrap();
        found.map(|found| found.version)
    }

    /// Signs octocat in as a client.
    async fn sign_in(&self, client: &str, secret: &str) -> Answer {
        let token = self.service.github_token("octocat");
        let form = tests::exchange_of(&token);
        let request = self.service.token_request_as((client, secret), &form);
        self.service.send(request).await
    }

    /// The reads of an item of settings since the last `clear`.
    fn reads(&self, group: Group) -> usize {
        let calls = self.service.dynamodb.calls();
        let of_the_item = |call: &&Call| call.body["Key"]["pk"]["S"] == group.name();
        calls.iter().filter(of_the_item).count()
    }
}

/// A file with the input of a command, which is deleted afterwards. Several processes run the tests at once, so no two
/// files have the same name.
pub(crate) struct Input(PathBuf);

impl Input {
    /// Returns the path for the command line.
    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a file for a command.
pub(crate) fn file_of(content: impl AsRef<[u8]>) -> Input {
    let name = format!("cambio-input-{}.json", uuid::Uuid::new_v4());
    let file = Input(std::env::temp_dir().join(name));
    fs::write(&file.0, content).unwrap();
    file
}

fn github(secret: &str) -> Value {
    json!({ "name": "github", "client_id": GITHUB_APP.0, "client_secret": secret })
}

fn secret_of(output: &str) -> String {
    let written: Value = serde_json::from_str(output).unwrap();
    written["client_secret"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_unauthorized(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{:?}", answer.body);
    assert_eq!(answer.text("/error"), "invalid_client");
}

#[tokio::test]
async fn a_client_of_the_table_is_added_and_removed_without_a_deployment() {
    let scene = Scene::with_clients().await;
    assert_eq!(
        scene.sign_in(CLIENT.0, CLIENT.1).await.status,
        StatusCode::OK
    );

    let set = "clients set --generate-secret --json";
    let shop = json!({ "client_id": "shop", "audiences": ["https://shop.example.com"] });
    let secret = secret_of(&scene.run(set, Some(&shop)).await.unwrap());
    // The table was read a moment ago. The process reads it again at most once in 30 seconds for what it misses.
    assert_unauthorized(&scene.sign_in("shop", &secret).await);
    scene.service.time.pass(30);
    let signed_in = scene.sign_in("shop", &secret).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{:?}", signed_in.body);

    // The client's tokens are for an audience that no client had at the start.
    let introspection = scene.service.request("POST", "/introspect");
    let introspection = introspection
        .basic_auth("shop", Some(&secret))
        .form(&[("token", signed_in.text("/access_token"))]);
    let state = scene.service.send(introspection).await;
    assert_eq!(state.body["aud"], "https://shop.example.com");

    scene.run("clients remove shop", None).await.unwrap();
    scene.service.time.pass(60);
    assert_unauthorized(&scene.sign_in("shop", &secret).await);
    assert_eq!(
        scene.sign_in(CLIENT.0, CLIENT.1).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn t177_a_secret_is_replaced_in_two_steps_and_the_old_one_refused_a_minute_later() {
    let scene = Scene::with_clients().await;
    let add = format!("clients secret add {} --json", CLIENT.0);
    let remove = format!("clients secret remove-old {}", CLIENT.0);
    assert!(scene.run(&remove, None).await.is_err(), "its only secret");

    let new = secret_of(&scene.run(&add, None).await.unwrap());

    let error = scene.run(&add, None).await.unwrap_err().to_string();
    assert!(error.contains("has two secrets already"), "{error}");
    scene.service.time.pass(30);
    for secret in [CLIENT.1, &new] {
        let signed_in = scene.sign_in(CLIENT.0, secret).await;
        assert_eq!(signed_in.status, StatusCode::OK, "{:?}", signed_in.body);
    }
    scene.run(&remove, None).await.unwrap();
    scene.service.time.pass(60);
    assert_unauthorized(&scene.sign_in(CLIENT.0, CLIENT.1).await);
    assert_eq!(scene.sign_in(CLIENT.0, &new).await.status, StatusCode::OK);
    // The item has the hash only.
    let item = scene.store.find(Group::Clients).await.unwrap().unwrap();
    assert!(!item.settings["CLIENTS"].contains(&new));
}

#[tokio::test]
async fn t175_a_mistake_in_the_item_leaves_the_version_before_in_use() {
    let mut scene = Scene::with_clients().await;
    for mistake in [
        "",
        "[]",
        "hunter2",
        r#"[{"client_id":"a","secret":"hunter2"}]"#,
    ] {
        scene.write(Group::Clients, "CLIENTS", mistake).await;
        scene.service.time.pass(60);

        let signed_in = scene.sign_in(CLIENT.0, CLIENT.1).await;

        assert_eq!(signed_in.status, StatusCode::OK, "{mistake}");
        assert_unauthorized(&scene.sign_in("a", "hunter2").await);
    }
    let item = json!({ "pk": { "S": "CLIENTS" }, "version": { "S": "one" } });
    scene.service.put(KEYS_TABLE, &item);
    scene.service.time.pass(60);
    assert_eq!(
        scene.sign_in(CLIENT.0, CLIENT.1).await.status,
        StatusCode::OK
    );
    scene.service.delete_key(&item);
    scene.service.time.pass(60);
    assert_eq!(
        scene.sign_in(CLIENT.0, CLIENT.1).await.status,
        StatusCode::OK
    );

    let mut lines = log_lines();
    lines.retain(|line| line.contains("settings.refused"));
    assert!(lines.len() >= 6, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("hunter2")));
    let list: Value = serde_json::from_str(&tests::clients(&[OTHER_CLIENT])).unwrap();
    scene.run("clients import", Some(&list)).await.unwrap();
    scene.service.time.pass(60);
    assert_unauthorized(&scene.sign_in(CLIENT.0, CLIENT.1).await);
    let (id, secret) = OTHER_CLIENT;
    assert_eq!(scene.sign_in(id, secret).await.status, StatusCode::OK);
    scene.restart().await;
    assert_eq!(scene.sign_in(id, secret).await.status, StatusCode::OK);
}

#[tokio::test]
async fn t175_a_process_does_not_start_with_a_missing_or_wrong_item() {
    let mut scene = Scene::before().await;
    scene.set("CLIENTS", "table");
    let refused = async |scene: &Scene| {
        let env = Environment::of(scene.service.variables.clone());
        let started = local::api::start(&env, scene.service.time.clock()).await;
        started.unwrap_err().to_string()
    };

    let missing = refused(&scene).await;
    scene
        .write(
            Group::Clients,
            "CLIENTS",
            r#"[{"client_id":"a","secret":"hunter2"}]"#,
        )
        .await;
    let wrong = refused(&scene).await;
    let item = json!({ "pk": { "S": "CLIENTS" }, "version": { "S": "one" } });
    scene.service.put(KEYS_TABLE, &item);
    let malformed = refused(&scene).await;
    scene.set("CLIENTS", &tests::clients(&[CLIENT]));
    scene.set("PROVIDERS", "table");
    let both = refused(&scene).await;

    assert!(
        missing.contains("`cambio-admin clients import`"),
        "{missing}"
    );
    assert!(wrong.contains("version 1, is not valid"), "{wrong}");
    assert!(wrong.contains("secret is unknown"), "{wrong}");
    assert!(!wrong.contains("hunter2"), "{wrong}");
    assert!(malformed.contains("is not valid"), "{malformed}");
    assert!(
        both.contains("unset GITHUB_CLIENT_ID, or PROVIDERS"),
        "{both}"
    );
}

#[tokio::test]
async fn t175_while_the_table_is_away_the_last_clients_stay_and_unknown_ones_get_a_503() {
    let _turning = timers::follow_work();
    let scene = Scene::with_clients().await;
    let refresh_token = scene.sign_in(CLIENT.0, CLIENT.1).await;
    let refresh_token = refresh_token.text("/refresh_token");
    scene.service.time.pass(60);
    scene
        .service
        .dynamodb
        .fault(When::Operation("GetItem"), Fault::Refuse);

    // A revocation reads nothing else.
    let revoked = scene.service.revoke(refresh_token).await;
    let stranger = ("shop", "CANARY-other-secret");
    let unknown = scene.service.revocation(stranger, refresh_token);
    let unknown = scene.service.send(unknown).await;
    scene.service.dynamodb.heal();
    scene.service.time.pass(30);
    let known = scene.service.revocation(stranger, refresh_token);
    let known = scene.service.send(known).await;

    assert_eq!(revoked.status, StatusCode::OK, "{:?}", revoked.body);
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unknown.text("/error"), "temporarily_unavailable");
    assert_unauthorized(&known);
}

#[tokio::test]
async fn t175_a_process_that_starts_without_the_table_answers_503_until_it_is_back() {
    let _turning = timers::follow_work();
    let mut scene = Scene::with_clients().await;
    scene.service.dynamodb.down().await;
    let env = Environment::of(scene.service.variables.clone());
    let exchange = TokenExchange::start(&env, scene.service.time.clock()).await;
    let router = token_exchange::router(exchange.unwrap());
    let mut running = tokio::task::JoinSet::new();
    scene.service.url = tests::serve(&mut running, router).await;

    let early = scene.sign_in(CLIENT.0, CLIENT.1).await;
    scene.service.dynamodb.heal();
    let late = scene.sign_in(CLIENT.0, CLIENT.1).await;

    assert_eq!(early.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!early.header("retry-after").is_empty());
    assert_eq!(late.status, StatusCode::OK, "{:?}", late.body);
}

#[tokio::test]
async fn the_table_is_read_at_the_start_and_then_once_a_minute() {
    let mut scene = Scene::before().await;
    scene.restart().await;
    scene.service.dynamodb.clear();
    scene.service.url = scene.service.another_process().await;
    assert_eq!(
        scene.reads(Group::Clients) + scene.reads(Group::Providers),
        0
    );

    let mut scene = Scene::with_clients().await;
    scene.service.url = scene.service.another_process().await;
    // By token-exchange, identities, revoke and introspect.
    assert_eq!(scene.reads(Group::Clients), 4);
    scene.service.dynamodb.clear();
    for (seconds, reads) in [(0, 0), (59, 0), (1, 1), (0, 1), (59, 1), (1, 2)] {
        scene.service.time.pass(seconds);
        let signed_in = scene.sign_in(CLIENT.0, CLIENT.1).await;
        assert_eq!(signed_in.status, StatusCode::OK);
        assert_eq!(scene.reads(Group::Clients), reads);
    }
    // Garbage makes one read in 30 seconds.
    scene.service.dynamodb.clear();
    for _ in 0..20 {
        assert_unauthorized(&scene.sign_in("nobody", "nothing").await);
    }
    scene.service.time.pass(30);
    for _ in 0..20 {
        assert_unauthorized(&scene.sign_in("nobody", "nothing").await);
    }
    assert_eq!(scene.reads(Group::Clients), 1);
}

#[tokio::test]
async fn a_provider_of_the_table_is_changed_and_added_without_a_deployment() {
    let scene = Scene::with_providers(&github("CANARY-wrong-secret")).await;
    let wrong = scene.sign_in(CLIENT.0, CLIENT.1).await;
    assert_eq!(wrong.status, StatusCode::SERVICE_UNAVAILABLE);

    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let acme: Value = serde_json::from_str(&issuer.settings()).unwrap();
    let both = json!([github(GITHUB_APP.1), acme[0]]);
    let imported = scene.run("providers import", Some(&both)).await.unwrap();
    assert!(imported.contains("2 providers imported"), "{imported}");
    scene.service.time.pass(60);

    let signed_in = scene.sign_in(CLIENT.0, CLIENT.1).await;
    assert_eq!(signed_in.status, StatusCode::OK, "{:?}", signed_in.body);
    let id_token = key.sign(&issuer.claims("ada", scene.service.time.now()));
    let id_token_type = "urn:ietf:params:oauth:token-type:id_token";
    let form = [
        ("grant_type", tests::TOKEN_EXCHANGE),
        ("subject_token", &id_token),
        ("subject_token_type", id_token_type),
    ];
    let by_acme = scene.service.token(&form).await;
    assert_eq!(by_acme.status, StatusCode::OK, "{:?}", by_acme.body);

    let listed = scene.run("providers list", None).await.unwrap();
    assert!(listed.contains("github") && listed.contains(acme[0]["name"].as_str().unwrap()));
    let as_json = scene.run("providers list --json", None).await.unwrap();
    for output in [listed, as_json] {
        assert!(!output.contains(GITHUB_APP.1), "{output}");
    }
    scene.run("providers remove github", None).await.unwrap();
    scene.service.time.pass(60);
    let removed = scene.sign_in(CLIENT.0, CLIENT.1).await;
    assert_eq!(removed.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn t174_the_command_refuses_what_no_function_would_start_with_and_changes_nothing() {
    let scene = Scene::with_clients().await;
    let with = |change: Value| {
        let mut client = json!({ "client_id": "shop", "secret_sha256": [tests::sha256_hex("x")] });
        client
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        client.to_string()
    };
    let twice = with(json!({})).replace(
        "{\"client_id\"",
        "{\"scopes\":[],\"scopes\":[],\"client_id\"",
    );
    for (command, input, problem) in [
        (
            "clients set",
            r#"{"client_id":"shop"}"#,
            "neither secret_sha256 nor jwks",
        ),
        ("clients set", &with(json!({ "scopes": ["a b"] })), "scopes"),
        (
            "clients set",
            &with(json!({ "secret": "hunter2" })),
            "secret is unknown",
        ),
        ("clients set", &twice, "there twice"),
        ("clients set", "[]", "must be"),
        ("clients set", "hunter2", "not JSON"),
        (
            "clients set --generate-secret",
            r#"{"client_id":""}"#,
            "client_id",
        ),
        ("clients import", "[]", "no client"),
        ("clients import", "{}", "must be"),
        ("providers set", r#"{"client_id":"1"}"#, "name is missing"),
        (
            "providers set",
            r#"{"name":"github","client_id":"1"}"#,
            "client_secret",
        ),
        (
            "providers set",
            r#"{"name":"acme","client_ids":["1"]}"#,
            "acme",
        ),
        (
            "providers set",
            r#"{"name":"gitlab","client_id":"../1"}"#,
            "client_id",
        ),
        ("providers import", "[]", "GITHUB_CLIENT_ID is not set"),
    ] {
        let refused = scene.run_with(command, Some(file_of(input))).await;
        let error = refused.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("nothing was changed: "), "{text}");
        assert!(text.contains(problem), "{command} {input}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(error.exit_code(), 1);
    }
    for command in [
        "clients remove shop",
        "clients secret add shop",
        "providers remove github",
    ] {
        let error = scene.run(command, None).await.unwrap_err();
        assert!(error.to_string().contains("list` shows all"), "{error}");
        assert_eq!(error.exit_code(), 3, "{command}");
    }
    assert_eq!(scene.version(Group::Clients).await, Some(1));
    assert_eq!(scene.version(Group::Providers).await, None);
    // The last client stays.
    let only = scene
        .run(&format!("clients remove {}", OTHER_CLIENT.0), None)
        .await;
    assert!(only.is_ok());
    let last = scene
        .run(&format!("clients remove {}", CLIENT.0), None)
        .await;
    assert!(last.unwrap_err().to_string().contains("contains no client"));
}

#[tokio::test]
async fn t176_no_change_of_another_command_is_lost() {
    let _turning = timers::follow_work();
    let scene = Scene::with_clients().await;
    let client = |nth: usize| json!({ "client_id": format!("client-{nth}"), "secret_sha256": [tests::sha256_hex("x")] });
    let clients: Vec<Value> = (0..4).map(client).collect();
    let set = |nth: usize| scene.run("clients set", Some(&clients[nth]));
    let done = tokio::join!(set(0), set(1), set(2), set(3));
    for done in [done.0, done.1, done.2, done.3] {
        done.unwrap();
    }

    let listed = scene.run("clients list", None).await.unwrap();

    for nth in 0..clients.len() {
        assert!(listed.contains(&format!("client-{nth}")), "{listed}");
    }
    assert_eq!(scene.version(Group::Clients).await, Some(5));
    // The version that was read is the one that is replaced.
    let settings = scene
        .store
        .find(Group::Clients)
        .await
        .unwrap()
        .unwrap()
        .settings;
    let mut other = settings.clone();
    other.insert("CLIENTS".to_owned(), "[]".to_owned());
    for version in [None, Some(4), Some(6)] {
        let replaced = scene
            .store
            .replace(Group::Clients, version, other.clone())
            .await;
        assert!(!replaced.unwrap(), "{version:?}");
    }
    assert_eq!(scene.version(Group::Clients).await, Some(5));
}

/// The SDK sends a write again if its answer is lost. A secret that was printed is the one that is stored.
#[tokio::test]
async fn t176_a_change_whose_answer_is_lost_is_made_once() {
    let _turning = timers::follow_work();
    let scene = Scene::with_clients().await;
    let writes = When::Operation("PutItem");
    scene
        .service
        .dynamodb
        .fault_once(writes, Fault::ResetAfterForwarding);

    let add = format!("clients secret add {} --json", CLIENT.0);
    let secret = secret_of(&scene.run(&add, None).await.unwrap());

    assert_eq!(scene.version(Group::Clients).await, Some(2));
    scene.service.time.pass(60);
    assert_eq!(
        scene.sign_in(CLIENT.0, &secret).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_commands_for_clients_name_the_table_that_they_need() {
    let scene = Scene::before().await;
    let admin = admin_of(&scene.service);

    let no_keys_table = run_to_its_end(&admin, &["clients", "list"]).await.1;
    let no_table = scene.run("users list", None).await;

    let error = no_keys_table.unwrap_err().to_string();
    assert!(error.contains("--keys-table"), "{error}");
    let error = no_table.unwrap_err().to_string();
    assert!(error.contains("--table"), "{error}");
}

#[tokio::test]
async fn t183_an_import_knows_the_providers_of_the_table() {
    let scene = Scene::before().await;
    let provider = json!({
        "name": "google", "issuer": "https://accounts.example.com", "client_ids": ["web"],
    });
    scene.run("providers set", Some(&provider)).await.unwrap();
    let mut variables = scene.service.variables.clone();
    for name in Group::Providers.settings() {
        variables.remove(*name);
    }
    variables.insert("PROVIDERS".to_owned(), "table".to_owned());
    let env = Environment::of(variables.clone());
    let importer = Admin::new(scene.service.client(), scene.service.table(TABLE));
    let importer = importer.with_variables(variables);
    let users = file_of(r#"{"identities":["google:ada"]}"#);
    let import = async |admin: &Admin| {
        let (written, done) = run_to_its_end(admin, &["users", "import", users.path()]).await;
        done.map(|()| written)
    };

    let imported = import(&importer).await.unwrap();

    assert_eq!(imported, "imported: 1, there before: 0, refused: 0\n");
    let table = scene.service.table(KEYS_TABLE);
    let importer = importer.with_keys_table(table, env);
    let again = import(&importer).await.unwrap();
    assert_eq!(again, "imported: 0, there before: 1, refused: 0\n");
}
