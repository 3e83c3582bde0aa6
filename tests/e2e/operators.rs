//! The operator's commands that end sessions, rotate keys, and import and export users.

use std::fmt::Write as _;

use ::admin::{Admin, AdminError};
use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::config::Environment;
use tests::{
    Answer, Service, exchange_of, persist,
    proxy::{Fault, When},
    timers,
};

use crate::{
    admin::{admin_of, run_to_its_end},
    stored::file_of,
};

struct Scene {
    service: Service,
    admin: Admin,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Self {
        let service = Service::start_with(settings).await;
        let admin = Self::admin(&service).with_variables(service.variables.clone());
        Self { service, admin }.with_keys_table()
    }

    fn admin(service: &Service) -> Admin {
        admin_of(service).with_clock(service.time.clock())
    }

    fn with_keys_table(self) -> Self {
        let Self { service, admin } = self;
        let env = Environment::of(service.variables.clone());
        let admin = admin.with_keys_table(service.table(local::dynamodb::KEYS_TABLE), env);
        Self { service, admin }
    }

    /// Runs `cambio-admin …` and returns its result with its output.
    async fn run_to_its_end(&self, arguments: &[&str]) -> (String, Result<(), AdminError>) {
        run_to_its_end(&self.admin, arguments).await
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let (written, done) = self.run_to_its_end(arguments).await;
        done.unwrap();
        written
    }

    /// Runs the command with `--json` and returns the lines of its output.
    async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        parsed(&self.run(&[arguments, &["--json"]].concat()).await)
    }

    /// Imports `lines` from a file, and returns the output and the result.
    async fn import(
        &self,
        lines: impl AsRef<[u8]>,
        options: &[&str],
    ) -> (Vec<Value>, Result<(), AdminError>) {
        let file = file_of(lines);
        let arguments = [&["users", "import", file.path(), "--json"], options].concat();
        let (written, done) = self.run_to_its_end(&arguments).await;
        (parsed(&written), done)
    }
}

fn parsed(lines: &str) -> Vec<Value> {
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn id_of(answer: &Answer) -> &str {
    answer.text("/user/id")
}

/// The id of the `nth` user of another system.
fn own_id(nth: usize) -> String {
    format!("0199a1b2-c3d4-7000-8000-{nth:012}")
}

/// A line for each of the first accounts `person-<number>` of the stand-in GitHub.
fn persons(count: usize) -> String {
    let mut lines = String::new();
    for nth in 1..=count {
        let user = json!({ "id": own_id(nth), "identities": [format!("github:{}", 100 + nth)] });
        writeln!(lines, "{user}").unwrap();
    }
    lines
}

fn counts(imported: usize, before: usize, refused: usize, dry_run: bool) -> Value {
    json!({ "imported": imported, "before": before, "refused": refused, "dry_run": dry_run })
}

async fn is_over(service: &Service, answer: &Answer) -> bool {
    let me = service.me(answer.text("/access_token")).await;
    let refreshed = service.refresh(answer.text("/refresh_token")).await;
    let over = me.status == StatusCode::UNAUTHORIZED;
    assert_eq!(over, refreshed.body["error"] == "invalid_grant", "{me:?}");
    over
}

#[tokio::test]
async fn t186_a_user_whom_the_operator_signs_out_has_no_session_left() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let first = service.sign_in("octocat").await;
    let kept = service.sign_in("octocat").await;
    let other = service.sign_in("hubot").await;
    // One of the sessions was kept by the user.
    let left = service
        .delete_as_user(kept.text("/access_token"), "/me/sessions?except=current")
        .await;
    assert_eq!(left.status, StatusCode::NO_CONTENT);

    let said = scene.run(&["users", "sign-out", id_of(&first)]).await;

    assert_eq!(
        said,
        format!("{}  signed out; all sessions have ended\n", id_of(&first))
    );
    assert!(is_over(service, &first).await && is_over(service, &kept).await);
    assert!(!is_over(service, &other).await);
    let again = service.sign_in("octocat").await;
    assert_eq!(id_of(&again), id_of(&first));
    assert!(!is_over(service, &again).await);
    let unknown = scene
        .run_to_its_end(&["users", "sign-out", &own_id(1)])
        .await
        .1;
    assert_eq!(unknown.unwrap_err().exit_code(), 3);
}

#[tokio::test]
async fn t186_an_order_signs_each_user_out_once() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let (octocat, hubot) = (
        service.sign_in("octocat").await,
        service.sign_in("hubot").await,
    );

    let unconfirmed = scene
        .run_to_its_end(&["users", "sign-out", "--all"])
        .await
        .1;
    assert!(matches!(unconfirmed, Err(AdminError::NotSignedOut(_))));
    assert!(!is_over(service, &octocat).await);

    let done = scene.json(&["users", "sign-out", "--all", "--yes"]).await;

    let order = done[0]["order"].as_str().unwrap();
    let counts =
        |new: u64, before: u64| json!({ "signed_out": new, "before": before, "order": order });
    assert_eq!(done, [counts(2, 0)]);
    assert!(is_over(service, &octocat).await && is_over(service, &hubot).await);
    // The order once more: users who have signed in since stay signed in.
    let back = service.sign_in("octocat").await;
    let again = ["users", "sign-out", "--all", "--yes", "--order", order];
    assert_eq!(scene.json(&again).await, [counts(0, 2)]);
    assert!(!is_over(service, &back).await);
    // An earlier order than the last one does nothing, and a new one signs out again.
    let earlier = [
        "users",
        "sign-out",
        "--all",
        "--yes",
        "--order",
        "2024-01-01T00:00:00Z",
    ];
    assert_eq!(scene.json(&earlier).await[0]["signed_out"], 0);
    service.time.pass(1);
    let done = scene.json(&["users", "sign-out", "--all", "--yes"]).await;
    assert_eq!(done[0]["signed_out"], 2);
    assert!(is_over(service, &back).await);
    service.check_invariants();
}

#[tokio::test]
async fn t186_a_sign_out_of_all_that_stopped_names_how_it_goes_on() {
    let _turning = timers::follow_work();
    let scene = Scene::start().await;
    let service = &scene.service;
    let (imported, done) = scene.import(persons(40), &[]).await;
    done.unwrap();
    assert_eq!(imported, [counts(40, 0, 0, false)]);
    let signed_in = service.sign_in("person-1").await;
    service.dynamodb.clear();
    let is_late = |call: &tests::proxy::Call| call.number > 12;
    service
        .dynamodb
        .fault(When::Matching(is_late), Fault::ResetAfterForwarding);

    let stopped = scene
        .run_to_its_end(&["users", "sign-out", "--all", "--yes"])
        .await
        .1;

    let stopped = stopped.unwrap_err().to_string();
    let (_, order) = stopped.split_once("--order ").unwrap();
    let order = order.split('`').next().unwrap();
    service.dynamodb.heal();
    let again = ["users", "sign-out", "--all", "--yes", "--order", order];
    let done = scene.json(&again).await;
    let (new, before) = (&done[0]["signed_out"], &done[0]["before"]);
    assert_eq!(new.as_u64().unwrap() + before.as_u64().unwrap(), 40);
    assert!(before.as_u64().unwrap() > 0, "{done:?}");
    assert!(is_over(service, &signed_in).await);
    // Each user was signed out once, those of lost answers too.
    let versions = service.users().into_iter();
    let versions = versions.map(|user| user["session_version"]["N"].clone());
    assert_eq!(versions.collect::<Vec<_>>(), vec![json!("1"); 40]);
}

#[tokio::test]
async fn the_operator_lists_and_rotates_the_keys_as_rotate_keys_does() {
    let scene = Scene::start().await;
    let service = &scene.service;

    let listed = scene.json(&["keys", "list"]).await;

    let states = |report: &Value| -> Vec<String> {
        let keys = report["keys"].as_array().unwrap().iter();
        keys.map(|key| key["state"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(states(&listed[0]), ["current", "next"]);
    service.time.pass(2 * 24 * 60 * 60);
    let rotated = scene.json(&["keys", "rotate"]).await;
    assert_eq!(rotated[0]["changed"], true);
    assert_eq!(states(&rotated[0]), ["retired", "current", "next"]);
    assert_eq!(
        scene.json(&["keys", "list"]).await[0]["keys"],
        rotated[0]["keys"]
    );
    let table = scene.run(&["keys", "list"]).await;
    assert_eq!(table.lines().count(), 4, "{table}");
    crate::rotation::check_keys(service).await;
}

#[tokio::test]
async fn t187_a_key_that_the_operator_revokes_verifies_nothing() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let octocat = service.sign_in("octocat").await;
    let token = octocat.text("/access_token");
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();

    let unconfirmed = scene.run_to_its_end(&["keys", "revoke", &kid]).await.1;
    assert!(matches!(unconfirmed, Err(AdminError::NotRevoked(_))));
    let mistyped = scene
        .run_to_its_end(&["keys", "revoke", "no-key", "--yes"])
        .await
        .1;
    assert!(mistyped.unwrap_err().to_string().contains(&kid));
    assert_eq!(service.me(token).await.status, StatusCode::OK);

    let revoked = scene.json(&["keys", "revoke", &kid, "--yes"]).await;

    assert_eq!(revoked[0]["changed"], true);
    assert!(!revoked[0]["keys"].to_string().contains(&kid));
    // Functions read the set again after five minutes at the latest.
    service.time.pass(301);
    assert_eq!(service.me(token).await.status, StatusCode::UNAUTHORIZED);
    let refreshed = service.refresh(octocat.text("/refresh_token")).await;
    let token = refreshed.text("/access_token");
    assert_eq!(service.me(token).await.status, StatusCode::OK);
    let again = scene.json(&["keys", "revoke", &kid, "--yes"]).await;
    assert_eq!(again[0]["changed"], false);
    crate::rotation::check_keys(service).await;
}

#[tokio::test]
async fn keys_are_changed_with_the_settings_of_the_function_only() {
    let Scene { service, .. } = Scene::start().await;
    let variables = service.variables.clone();
    let of_aws = |name: &str| name.starts_with("AWS_");
    let known = variables
        .clone()
        .into_iter()
        .filter(|(name, _)| of_aws(name));
    let scene = Scene {
        admin: Scene::admin(&service).with_variables(known),
        service,
    };

    for command in [&["keys", "rotate"][..], &["keys", "list"]] {
        let refused = scene.run_to_its_end(command).await.1.unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.contains("settings") || refused.contains("--keys-table"),
            "{refused}"
        );
    }
    let settings = variables.into_iter().filter(|(name, _)| !of_aws(name));
    let settings: serde_json::Map<String, Value> =
        settings.map(|(name, value)| (name, value.into())).collect();
    let settings = file_of(Value::from(settings).to_string());
    let rotated = scene
        .json(&["keys", "rotate", "--settings", settings.path()])
        .await;
    assert_eq!(rotated[0]["changed"], true);
    let scene = scene.with_keys_table();
    let listed = scene.json(&["keys", "list"]).await;
    assert_eq!(listed[0]["keys"], rotated[0]["keys"]);
    let broken = file_of(r#"{"GITHUB_CLIENT_SECRET":["hunter2"]}"#);
    let refused = scene
        .run_to_its_end(&["keys", "rotate", "--settings", broken.path()])
        .await
        .1;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("must be a text") && !refused.contains("hunter2"),
        "{refused}"
    );
}

#[tokio::test]
async fn t183_the_first_sign_in_of_an_imported_user_keeps_the_id() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let user = json!({
        "id": own_id(1),
        "identities": [{ "provider": "github", "subject": "583231", "username": "octo" }, "app:nextjs:ada"],
        "profile": { "name": "Ada", "email": "ada@example.com", "email_verified": true },
        "roles": ["admin"], "claims": { "plan": "pro" }, "created_at": "2024-02-29T12:00:00Z",
    });
    let disabled = json!({ "id": own_id(2), "identities": ["github:2"], "disabled": true });
    let without_id = json!({ "identities": ["github:101"] });
    let lines = format!("{user}\n{disabled}\n\n{without_id}");

    let (dry, done) = scene.import(&lines, &["--dry-run"]).await;
    done.unwrap();
    assert_eq!(dry, [counts(3, 0, 0, true)]);
    assert!(service.items().is_empty());
    let (imported, done) = scene.import(&lines, &[]).await;
    done.unwrap();
    assert_eq!(imported, [counts(3, 0, 0, false)]);
    service.check_invariants();
    let before = service.items();

    // Run twice is once.
    let (again, done) = scene.import(&lines, &[]).await;
    done.unwrap();
    assert_eq!(again, [counts(0, 3, 0, false)]);
    assert_eq!(service.items(), before);

    let shown = scene.json(&["users", "show", &own_id(1)]).await;
    assert_eq!(shown[0]["created_at"], "2024-02-29T12:00:00Z");
    assert_eq!(shown[0]["sessions"], json!([]));
    let octocat = service.sign_in("octocat").await;
    assert_eq!(id_of(&octocat), own_id(1));
    assert_eq!(octocat.body["is_new_user"], false);
    let claims = service.verify(octocat.text("/access_token")).await;
    assert_eq!(claims.roles, ["admin"]);
    let refused = service.exchange(&service.github_token("hubot")).await;
    assert_eq!(refused.text("/error"), "access_denied");
    // A disabled user who is imported once more stays disabled, and an enabled one enabled.
    scene.run(&["users", "enable", &own_id(2)]).await;
    scene.run(&["users", "disable", &own_id(1)]).await;
    scene.import(&lines, &[]).await.1.unwrap();
    let users = scene.json(&["users", "list", "--disabled"]).await;
    assert_eq!(users.len(), 1);
    assert_eq!(users[0]["id"], own_id(1));
    service.sign_in("person-1").await;
    assert_eq!(service.users().len(), 3);
    service.check_invariants();
}

#[tokio::test]
async fn t183_what_belongs_to_another_user_is_named_and_left() {
    let scene = Scene::start_with(&[
        ("LINK_BY_VERIFIED_EMAIL", "ask"),
        ("LINK_EMAIL_PROVIDERS", "github"),
    ])
    .await;
    let service = &scene.service;
    let octocat = service.sign_in("octocat").await;
    let octocat = id_of(&octocat);
    let mine = json!({ "id": own_id(1), "identities": ["github:101"] });
    scene.import(mine.to_string(), &[]).await.1.unwrap();
    let before = service.items();
    let email = json!({ "email": "octocat@example.com", "email_verified": true });
    let lines = [
        json!({ "id": own_id(2), "identities": ["github:583231"] }),
        json!({ "id": own_id(1), "identities": ["github:102"] }),
        json!({ "id": own_id(3), "identities": ["github:103"], "profile": email }),
        json!({ "id": own_id(4), "identities": ["github:104", "app:nextjs:b"] }),
    ];
    let lines = lines.map(|line| line.to_string()).join("\n");

    let (dry, _) = scene.import(&lines, &["--dry-run"]).await;
    assert_eq!(service.items(), before);
    let (said, done) = scene.import(&lines, &[]).await;

    assert_eq!(done.unwrap_err().exit_code(), 1);
    let identity = format!("identities[0] belongs to the user {octocat}");
    let errors = [
        json!({ "line": 1, "error": identity }),
        json!({ "line": 2, "error": "the id belongs to a user with other identities" }),
        json!({
            "line": 3,
            "error": format!("profile.email belongs to the user {octocat}, who signs in by its provider"),
        }),
    ];
    assert_eq!(said[..3], errors);
    assert_eq!(dry[..3], errors);
    assert_eq!(said[3], counts(1, 0, 3, false));
    assert_eq!(service.items().len(), before.len() + 3);
    service.check_invariants();

    // Without an id, a line whose accounts are linked only in part is not the user's.
    let part = json!({ "identities": ["github:583231", "app:nextjs:ada"] });
    let (said, _) = scene.import(part.to_string(), &[]).await;
    assert_eq!(said[0], json!({ "line": 1, "error": identity }));

    // An unlinked account can have sessions of its user, whose tokens must open no other.
    let token = service.sign_in("octocat").await;
    let token = token.text("/access_token");
    let linked = json!({ "identities": ["app:nextjs:c", "github:105"] });
    scene.import(linked.to_string(), &[]).await.1.unwrap();
    let person = service.sign_in("person-5").await;
    let unlinked = service
        .delete_as_user(person.text("/access_token"), "/me/identities/github")
        .await;
    assert_eq!(unlinked.status, StatusCode::NO_CONTENT, "{unlinked:?}");
    let again = json!({ "id": own_id(9), "identities": ["github:105"] });
    let (said, _) = scene.import(again.to_string(), &[]).await;
    let error = said[0]["error"].as_str().unwrap();
    assert!(error.contains("was unlinked by the user"), "{error}");
    assert_eq!(service.me(token).await.status, StatusCode::OK);
    service.check_invariants();
}

#[tokio::test]
async fn t185_a_bad_line_is_named_and_the_rest_goes_in() {
    let scene = Scene::start().await;
    let good =
        |nth: usize| json!({ "id": own_id(nth), "identities": [format!("github:{}", 100 + nth)] });
    let with = |name: &str, value: Value| {
        let mut line = good(9);
        line[name] = value;
        line.to_string().into_bytes()
    };
    let twice = format!(
        r#"{{"id":"{0}","id":"{0}","identities":["github:109"]}}"#,
        own_id(9)
    );
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (vec![b'x'; 1 << 20], "the line has more than 65536 bytes"),
        (b"{".to_vec(), "it is not JSON"),
        (b"[]".to_vec(), "it must be an object"),
        (b"{}".to_vec(), "identities is missing"),
        (b"\xff\xfe".to_vec(), "byte 1 is not UTF-8"),
        (twice.into_bytes(), "id is there twice"),
        (
            with("claims", json!({ "sub": "x" })),
            "the claim sub is reserved",
        ),
        (with("id", json!("42")), "id must be a UUID of version 7"),
        (
            with("id", json!(own_id(9).to_uppercase())),
            "id must be a UUID of version 7",
        ),
        (with("identities", json!([])), "1 to 16 entries"),
        (
            with("identities", json!(["github:109", "github:110"])),
            "identities[1] has the provider",
        ),
        (
            with("identities", json!(["gitlab:1"])),
            "no provider has the name of identities[0]",
        ),
        (
            with("identities", json!(["github:octocat"])),
            "the number of a GitHub account",
        ),
        (with("roles", json!(["two words"])), "a role must be"),
        (
            with("created_at", json!("2999-01-01T00:00:00Z")),
            "a time in the past",
        ),
        (
            with("profile", json!({ "email": "no address" })),
            "profile.email is not an address",
        ),
        (with("password", json!("hunter2")), "password is unknown"),
        (
            with("identities", json!(["github:101"])),
            "identities[0] is the same as in line 1",
        ),
        (with("id", json!(own_id(1))), "id is the same as in line 1"),
        (
            br#"{"identities":["github:109"],"claims":{"a":{"b":1,"b":2}}}"#.to_vec(),
            "there twice",
        ),
    ];
    let mut lines = good(1).to_string().into_bytes();
    for (line, _) in &bad {
        lines.push(b'\n');
        lines.extend(line);
    }
    lines.extend(format!("\r\n{}\r\n", good(2)).into_bytes());

    let (said, done) = scene.import(lines, &[]).await;

    for (nth, (_, expected)) in bad.iter().enumerate() {
        assert_eq!(said[nth]["line"], nth + 2, "{said:?}");
        let error = said[nth]["error"].as_str().unwrap();
        assert!(error.contains(expected), "{error} / {expected}");
        assert!(!error.contains("hunter2"));
    }
    assert_eq!(said[bad.len()], counts(2, 0, bad.len(), false));
    let error = done.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("refused: 20"), "{error}");
    assert_eq!(scene.service.users().len(), 2);
    scene.service.check_invariants();
}

#[tokio::test]
async fn t183_an_import_that_was_killed_goes_on_where_it_stopped() {
    let _turning = timers::follow_work();
    let scene = Scene::start().await;
    let service = &scene.service;
    let lines = persons(50);
    // Killed between any two calls: a dropped command sends nothing more.
    for calls in [1, 17, 40] {
        service.dynamodb.clear();
        tokio::select! {
            _ = scene.import(&lines, &[]) => panic!("it ended before"),
            () = service.dynamodb.arrived(calls) => {}
        }
        service.dynamodb.settled().await;
        service.check_invariants();
    }
    // Stopped, with answers lost after the writes.
    service.dynamodb.clear();
    let is_late = |call: &tests::proxy::Call| call.number > 60;
    let lost = Fault::ResetAfterForwarding;
    service.dynamodb.fault(When::Matching(is_late), lost);
    let stopped = scene.import(&lines, &[]).await.1;
    let stopped = stopped.unwrap_err().to_string();
    assert!(
        stopped.contains("The import stopped before line"),
        "{stopped}"
    );
    service.dynamodb.heal();
    service.check_invariants();
    assert!(service.users().len() < 50, "nothing is left to import");

    let (said, done) = scene.import(&lines, &[]).await;

    done.unwrap();
    let new = said[0]["imported"].as_u64().unwrap();
    let before = said[0]["before"].as_u64().unwrap();
    assert!(new > 0 && before > 0 && new + before == 50, "{said:?}");
    assert_eq!(service.users().len(), 50);
    service.check_invariants();
}

#[tokio::test]
async fn t183_an_import_and_a_first_sign_in_at_once_make_one_user() {
    let _turning = timers::follow_work();
    let scene = Scene::start().await;
    let service = &scene.service;
    let lines = persons(20);

    let sign_ins = (1..=20).map(|nth| async move {
        let token = service.github_token(&format!("person-{nth}"));
        // A busy machine answers some of them with 503, which a client repeats.
        persist(service.token_request(&exchange_of(&token))).await
    });
    let ((said, done), signed_in) = tokio::join!(scene.import(&lines, &[]), join_all(sign_ins));

    let ids = signed_in.iter().enumerate();
    let kept = ids.filter(|(nth, answer)| id_of(answer) == own_id(nth + 1));
    let kept = kept.count();
    let refused = 20 - kept;
    let assert_refused = |done: Result<(), AdminError>| match done {
        Ok(()) => assert_eq!(refused, 0),
        Err(AdminError::NotImported(lines)) => assert_eq!(lines, refused as u64),
        Err(error) => panic!("{error}"),
    };
    // A busy machine may stop the import too, which an operator repeats.
    if !matches!(done, Err(AdminError::ImportStopped { .. })) {
        assert_eq!(said.last(), Some(&counts(kept, 0, refused, false)));
        assert_refused(done);
    }
    let (said, done) = scene.import(&lines, &[]).await;
    assert_eq!(said.last(), Some(&counts(0, kept, refused, false)));
    assert_refused(done);
    assert_eq!(service.users().len(), 20);
    service.check_invariants();
}

#[tokio::test]
async fn t184_an_export_has_all_data_of_the_user_and_no_secret() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let octocat = service.sign_in("octocat").await;
    let (id, token) = (id_of(&octocat), octocat.text("/access_token"));
    service.sign_in("octocat").await;
    let patch = json!({ "name": "Own Name", "metadata": { "theme": "dark" } });
    assert_eq!(service.patch_me(token, &patch).await.status, StatusCode::OK);
    scene.run(&["users", "roles", id, "--add", "admin"]).await;
    let revoked = service.revoke(octocat.text("/refresh_token")).await;
    assert_eq!(revoked.status, StatusCode::OK);

    let exported = scene.json(&["users", "export", id]).await.remove(0);

    assert_eq!(exported["id"], id);
    assert_eq!(exported["profile"]["email"], "octocat@example.com");
    assert_eq!(exported["edited"]["name"], "Own Name");
    assert_eq!(exported["metadata"], json!({ "theme": "dark" }));
    assert_eq!(exported["roles"], json!(["admin"]));
    assert_eq!(exported["identities"][0]["subject"], "583231");
    let sessions = exported["sessions"].as_array().unwrap();
    // Also the one that is over.
    assert_eq!(sessions.len(), 2);
    let stored: Vec<Value> = service
        .sessions()
        .iter()
        .map(|item| item["sk"]["S"].clone())
        .collect();
    for session in sessions {
        let at = |name: &str| session[name].as_str().unwrap();
        assert!(at("expires_at") > at("created_at"), "{session}");
        let key = format!("SESSION#{}", at("id"));
        assert!(stored.contains(&json!(key)), "{session}");
    }
    let over: Vec<&Value> = sessions
        .iter()
        .filter(|session| session["ended_at"] != Value::Null)
        .collect();
    assert_eq!(over.len(), 1);
    assert_eq!(over[0]["ended_by"], "revoked");
    // No hash, nonce or key of an item, in any form.
    let text = scene.run(&["users", "export", id]).await;
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), exported);
    for item in service.items() {
        for name in ["family", "current", "previous", "nonce"] {
            if let Some(secret) = item[name]["B"].as_str() {
                assert!(!text.contains(secret), "{name}");
            }
        }
        let identities = item["identities"]["M"].as_object();
        for identity in identities.into_iter().flat_map(serde_json::Map::values) {
            let key = identity["M"]["key"]["S"].as_str().unwrap();
            assert!(!text.contains(key), "{key}");
        }
    }
    let gone = scene
        .run_to_its_end(&["users", "export", &own_id(7)])
        .await
        .1;
    assert_eq!(gone.unwrap_err().exit_code(), 3);
}
