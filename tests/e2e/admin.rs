//! The operator's command and its effect on users.

use std::time::Duration;

use ::admin::{Admin, AdminError, Cli};
use clap::Parser as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Answer, Service};

/// Returns the operator's command for the main table of a service.
pub(crate) fn admin_of(service: &Service) -> Admin {
    Admin::new(service.client(), service.table(local::dynamodb::TABLE))
}

/// Runs `cambio-admin …` and returns its output and its result.
pub(crate) async fn run_to_its_end(
    admin: &Admin,
    arguments: &[&str],
) -> (String, Result<(), AdminError>) {
    let cli = Cli::try_parse_from([&["cambio-admin"], arguments].concat()).unwrap();
    let mut out = Vec::new();
    let done = admin.run(cli.command, cli.json, &mut out).await;
    (String::from_utf8(out).unwrap(), done)
}

/// Runs `cambio-admin users …` and returns its output.
pub(crate) async fn run_users(admin: &Admin, arguments: &[&str]) -> String {
    let (written, done) = run_to_its_end(admin, &[&["users"], arguments].concat()).await;
    done.unwrap();
    written
}

struct Scene {
    service: Service,
    admin: Admin,
}

impl Scene {
    async fn start() -> Self {
        let service = Service::start().await;
        let admin = admin_of(&service);
        Self { service, admin }
    }

    /// Runs `cambio-admin users …` and returns its output.
    async fn try_run(&self, arguments: &[&str]) -> Result<String, AdminError> {
        let (written, done) = self.run_to_its_end(arguments).await;
        done.map(|()| written)
    }

    /// Runs the command and returns its result with its output.
    async fn run_to_its_end(&self, arguments: &[&str]) -> (String, Result<(), AdminError>) {
        run_to_its_end(&self.admin, &[&["users"], arguments].concat()).await
    }

    async fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).await.unwrap()
    }

    /// Runs the command with `--json` and returns the output.
    async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let lines = self.run(&[arguments, &["--json"]].concat()).await;
        let lines = lines.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn id_of(answer: &Answer) -> &str {
    answer.text("/user/id")
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once_and_what_was_over_stays_over() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let octocat = service.sign_in("octocat").await;
    let hubot = service.sign_in("hubot").await;
    let (access, refresh) = (
        octocat.text("/access_token"),
        octocat.text("/refresh_token"),
    );

    let said = scene.run(&["disable", id_of(&octocat)]).await;

    assert!(said.contains("disabled; all sessions have ended"), "{said}");
    assert_eq!(service.me(access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        service.refresh(refresh).await.text("/error"),
        "invalid_grant"
    );
    let again = service.exchange(&service.github_token("octocat")).await;
    assert_eq!(again.text("/error"), "access_denied");
    assert_eq!(
        service.me(hubot.text("/access_token")).await.status,
        StatusCode::OK
    );
    let disabled = scene.json(&["list", "--disabled"]).await;
    assert_eq!(disabled.len(), 1);
    assert_eq!(disabled[0]["status"], "disabled");

    scene.run(&["enable", id_of(&octocat)]).await;

    assert_eq!(service.me(access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        service.refresh(refresh).await.text("/error"),
        "invalid_grant"
    );
    let back = service.sign_in("octocat").await;
    assert_eq!(id_of(&back), id_of(&octocat));
    assert_eq!(
        service.me(back.text("/access_token")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn roles_and_claims_are_in_the_next_access_token() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    let id = id_of(&octocat);

    scene
        .run(&["roles", id, "--add", "support", "--add", "admin"])
        .await;
    scene
        .run(&["claims", id, "--set", "plan=pro", "--set", "seats=5"])
        .await;

    let before = scene.service.verify(octocat.text("/access_token")).await;
    assert!(before.roles.is_empty() && before.own.is_empty());
    let refreshed = scene.service.refresh(octocat.text("/refresh_token")).await;
    let after = scene.service.verify(refreshed.text("/access_token")).await;
    assert_eq!(after.roles, ["admin", "support"]);
    assert_eq!(Value::from(after.own), json!({ "plan": "pro", "seats": 5 }));
    assert_eq!(refreshed.body["user"]["roles"], json!(["admin", "support"]));

    let shown = scene.json(&["roles", id, "--remove", "support"]).await;
    assert_eq!(shown[0]["roles"], json!(["admin"]));
    let shown = scene
        .json(&["claims", id, "--remove", "plan", "--set", "seats=6"])
        .await;
    assert_eq!(shown[0]["claims"], json!({ "seats": 6 }));
    let shown = scene.json(&["roles", id, "--set", ""]).await;
    assert_eq!(shown[0]["roles"], json!([]));
    // A sign-in leaves them alone.
    scene.service.sign_in("octocat").await;
    let shown = scene.json(&["show", id]).await;
    assert_eq!(shown[0]["claims"], json!({ "seats": 6 }));
    assert_eq!(shown[0]["sessions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_role_or_no_claim_of_ones_own_is_refused_and_changes_nothing() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    let id = id_of(&octocat);
    let before = scene.service.users();

    for arguments in [
        ["roles", id, "--add", "two words"],
        ["claims", id, "--set", "sub=somebody-else"],
        ["claims", id, "--set", "session_version=9"],
        ["claims", id, "--set", "__proto__=1"],
    ] {
        let error = scene.try_run(&arguments).await.unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
    }

    assert_eq!(scene.service.users(), before);
}

#[tokio::test]
async fn a_change_of_the_roles_that_meets_another_one_keeps_both() {
    let _turning = tests::timers::follow_work_in_steps(Duration::from_millis(1));
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    let add = async |role| scene.run(&["roles", id_of(&octocat), "--add", role]).await;

    scene
        .service
        .interrupted(add("support"), "UpdateItem", async {
            add("admin").await;
        })
        .await;

    let shown = scene.json(&["show", id_of(&octocat)]).await;
    assert_eq!(shown[0]["roles"], json!(["admin", "support"]));
}

#[tokio::test]
async fn of_ten_changes_at_once_none_is_lost() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    let id = id_of(&octocat);
    let add = async |role: String| {
        // Parallel commands may win all attempts; the error then says so, and the command can be repeated.
        while scene.try_run(&["roles", id, "--add", &role]).await.is_err() {}
    };

    let roles: Vec<String> = (0..10).map(|number| format!("role-{number}")).collect();
    let [one, two, three, four, five, six, seven, eight, nine, ten] =
        roles.clone().try_into().unwrap();
    tokio::join!(
        add(one),
        add(two),
        add(three),
        add(four),
        add(five),
        add(six),
        add(seven),
        add(eight),
        add(nine),
        add(ten),
    );

    let shown = scene.json(&["show", id]).await;
    assert_eq!(shown[0]["roles"], json!(roles));
}

#[tokio::test]
async fn t65_no_change_by_the_operator_brings_a_deleted_user_back() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    scene.run(&["delete", id_of(&octocat), "--yes"]).await;

    for change in ["enable", "disable"] {
        let refused = scene.try_run(&[change, id_of(&octocat)]).await;
        assert_eq!(refused.unwrap_err().exit_code(), 3, "{change}");
    }

    assert!(scene.service.items().is_empty());
}

#[tokio::test]
async fn a_deleted_user_leaves_nothing_behind() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    scene.service.sign_in("octocat").await;
    let hubot = scene.service.sign_in("hubot").await;
    // One who is disabled can be deleted as well.
    scene.run(&["disable", id_of(&octocat)]).await;

    let unconfirmed = scene.try_run(&["delete", id_of(&octocat)]).await;
    let said = scene.json(&["delete", id_of(&octocat), "--yes"]).await;

    assert!(matches!(unconfirmed, Err(AdminError::NotConfirmed(_))));
    assert_eq!(said, [json!({ "id": id_of(&octocat), "deleted": true })]);
    assert_eq!(scene.service.items().len(), 3, "hubot's");
    assert_eq!(scene.service.users()[0]["id"]["S"], id_of(&hubot));
    scene.service.check_invariants();
    let again = scene.try_run(&["delete", id_of(&octocat), "--yes"]).await;
    assert_eq!(again.unwrap_err().exit_code(), 3);
}

#[tokio::test]
async fn a_user_is_found_by_whatever_is_known_of_them() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    scene.service.sign_in("hubot").await;

    for text in [
        id_of(&octocat),
        "octocat@EXAMPLE.com",
        "OctoCat",
        "github:583231",
        "the octo",
    ] {
        let found = scene.json(&["find", text]).await;
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(found[0]["id"], id_of(&octocat), "{text}");
    }
    for text in ["octocat@example", "github:58323", "gitlab:583231", "nobody"] {
        let error = scene.try_run(&["find", text]).await.unwrap_err();
        assert_eq!(error.exit_code(), 3, "{text}");
    }
    let table = scene.run(&["find", "github:583231"]).await;
    assert!(
        table.contains("The Octocat") && table.contains("github:583231 (octocat)"),
        "{table}"
    );
    assert!(!table.contains("hubot"));
}

#[tokio::test]
async fn a_list_is_of_all_users_however_many_pages_they_are() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    let user = scene.service.users().remove(0);
    let id = id_of(&octocat);
    // DynamoDB reads 1 MB at a time.
    for number in 0..1200 {
        let mut user = user.clone();
        let other = format!("{}{number:04}", &id[..id.len() - 4]);
        user["id"]["S"] = other.clone().into();
        user["pk"]["S"] = format!("USER#{other}").into();
        user["metadata"]["S"] = json!({ "note": "x".repeat(2000) }).to_string().into();
        if number % 2 == 0 {
            user["roles"] = json!({ "L": [{ "S": "even" }] });
        }
        scene.service.put(local::dynamodb::TABLE, &user);
    }
    scene.service.dynamodb.clear();

    let all = scene.json(&["list"]).await;

    assert!(scene.service.dynamodb.calls().len() > 1, "one page");
    // The id that was there may be one of them.
    assert!((1200..=1201).contains(&all.len()), "{}", all.len());
    assert!(all.is_sorted_by_key(|user| user["id"].to_string()));
    assert_eq!(scene.json(&["list", "--role", "even"]).await.len(), 600);
    assert_eq!(scene.json(&["list", "--limit", "7"]).await.len(), 7);
    assert_eq!(scene.json(&["list", "--role", "odd"]).await.len(), 0);
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_named_and_hides_nobody_else() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    let hubot = scene.service.sign_in("hubot").await;
    let id = id_of(&hubot);
    let is_hubot = |user: &Value| user["id"]["S"] == id;
    let mut broken = scene.service.users().into_iter().find(is_hubot).unwrap();
    broken["status"] = json!({ "S": "hubot@example.com" });
    broken.as_object_mut().unwrap().remove("created_at");
    scene.service.put(local::dynamodb::TABLE, &broken);

    for command in [&["list"][..], &["find", "octo"]] {
        let (shown, done) = scene.run_to_its_end(&[command, &["--json"]].concat()).await;

        let shown: Value = serde_json::from_str(&shown).expect("one line");
        assert_eq!(shown["id"], id_of(&octocat));
        let error = done.unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let error = error.to_string();
        assert!(
            error.contains(&format!("{id} (wrong: created_at, status)")),
            "{error}"
        );
        assert!(!error.contains("hubot@example.com"), "{error}");
    }
}

#[tokio::test]
async fn t97_an_operator_who_looks_for_an_address_finds_no_letter_that_folds_into_another() {
    let scene = Scene::start().await;
    scene.service.sign_in("octocat").await;
    let mut user = scene.service.users().remove(0);
    user["profile"]["M"]["email"] = json!({ "S": "\u{212a}ate@example.com" });
    scene.service.put(local::dynamodb::TABLE, &user);

    let error = scene.try_run(&["find", "kate@example.com"]).await;

    assert_eq!(error.unwrap_err().exit_code(), 3);
}

#[tokio::test]
async fn a_table_that_is_none_and_one_that_is_away_are_told_apart() {
    let scene = Scene::start().await;
    let wrong = Scene {
        admin: Admin::new(scene.service.client(), "no-such-table".to_owned()),
        ..scene
    };

    let error = wrong.try_run(&["list"]).await.unwrap_err().to_string();
    assert!(error.contains("Are --table and --region right"), "{error}");

    wrong.service.dynamodb.down().await;
    let error = wrong.try_run(&["list"]).await.unwrap_err().to_string();
    assert!(error.contains("run the command again"), "{error}");
}
