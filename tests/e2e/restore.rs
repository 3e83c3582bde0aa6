//! docs/restore.md, rehearsed: a restored table in place of the one that was damaged.

use ::admin::{Admin, Cli};
use clap::Parser as _;
use reqwest::StatusCode;
use rotate_keys::{Order, RotateKeys};
use serde_json::Value;
use shared::config::Environment;
use tests::{Answer, Service};

use crate::admin::run_users;

const RESTORED: &str = "cambio-restored";
const NEW_KEYS: &str = "cambio-keys-2";

/// Restores `items` into a new table and lets the functions use it, as `ExistingTableName` does. Returns the operator's
/// command for it.
async fn restore(service: &mut Service, items: &[Value]) -> Admin {
    service.make_table(RESTORED, &["pk", "sk"]);
    for item in items {
        service.put(RESTORED, item);
    }
    let table = ("TABLE_NAME".to_owned(), service.table(RESTORED));
    service.variables.extend([table]);
    service.url = service.another_process().await;
    Admin::new(service.client(), service.table(RESTORED))
}

fn id_of(answer: &Answer) -> &str {
    answer.text("/user/id")
}

#[tokio::test]
async fn t139_no_session_from_before_a_restore_goes_on_after_the_steps_of_the_page() {
    let mut service = Service::start().await;
    let octocat = service.sign_in("octocat").await;
    let stolen = octocat.text("/refresh_token");
    let hubot = service.sign_in("hubot").await;
    let disabled = service.sign_in("person-1").await;
    let gone = service.sign_in("person-2").await;
    let point = service.items();
    // After the point in time: a refresh, a sign-out, a deletion and a sign-up.
    let refreshed = service.refresh(stolen).await;
    let token = hubot.text("/access_token");
    let signed_out = service.delete_as_user(token, "/me/sessions").await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);
    service
        .delete_as_user(gone.text("/access_token"), "/me")
        .await;
    service.sign_in("person-3").await;

    let admin = restore(&mut service, &point).await;

    // The table does not know the refresh; it does know what was over. This is why the page ends all sessions.
    let newest = service.refresh(refreshed.text("/refresh_token")).await;
    assert_eq!(newest.text("/error"), "invalid_grant");
    let revived = service.refresh(stolen).await;
    assert_eq!(revived.status, StatusCode::OK);
    assert_eq!(service.me(token).await.status, StatusCode::OK);

    run_users(&admin, &["disable", id_of(&disabled)]).await;
    let said = run_users(&admin, &["sign-out", "--all", "--yes"]).await;
    assert!(
        said.starts_with("users signed out by the order of ") && said.ends_with(": 4\n"),
        "{said}"
    );

    for session in [&revived, &hubot, &gone, &disabled] {
        let answer = service.refresh(session.text("/refresh_token")).await;
        assert_eq!(answer.text("/error"), "invalid_grant");
        let answer = service.me(session.text("/access_token")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    // The same users sign in again, and one who was disabled stays so.
    assert_eq!(id_of(&service.sign_in("octocat").await), id_of(&octocat));
    let token = service.github_token("person-1");
    let answer = service.exchange(&token).await;
    assert_eq!(answer.text("/error"), "access_denied");
    // The deleted user is back, and is deleted again.
    let said = run_users(&admin, &["delete", "--yes", id_of(&gone)]).await;
    assert!(said.contains("deleted"), "{said}");
    let anew = service.sign_in("person-2").await;
    assert_ne!(id_of(&anew), id_of(&gone));
}

#[tokio::test]
async fn sessions_go_on_in_a_table_that_was_restored_to_the_moment_of_its_deletion() {
    let mut service = Service::start().await;
    let octocat = service.sign_in("octocat").await;
    let refreshed = service.refresh(octocat.text("/refresh_token")).await;

    let items = service.items();
    restore(&mut service, &items).await;

    let token = refreshed.text("/access_token");
    assert_eq!(service.me(token).await.status, StatusCode::OK);
    let next = service.refresh(refreshed.text("/refresh_token")).await;
    assert_eq!(next.status, StatusCode::OK);
    assert_eq!(id_of(&service.sign_in("octocat").await), id_of(&octocat));
}

#[tokio::test]
async fn sessions_go_on_with_new_keys_in_a_new_table() {
    let mut service = Service::start().await;
    let octocat = service.sign_in("octocat").await;

    service.make_table(NEW_KEYS, &["pk"]);
    let table = ("KEYS_TABLE_NAME".to_owned(), service.table(NEW_KEYS));
    service.variables.extend([table]);
    let env = Environment::of(service.variables.clone());
    let rotate_keys = RotateKeys::new(&env, service.time.clock()).unwrap();
    assert!(rotate_keys.run(&Order::default()).await.unwrap().changed);
    service.url = service.another_process().await;

    let token = octocat.text("/access_token");
    assert_eq!(service.me(token).await.status, StatusCode::UNAUTHORIZED);
    let next = service.refresh(octocat.text("/refresh_token")).await;
    let token = next.text("/access_token");
    assert_eq!(service.me(token).await.status, StatusCode::OK);
}

#[test]
fn the_page_gives_the_operator_commands_that_exist() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/restore.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut found = Vec::new();
    for line in page.lines() {
        let Some((_, command)) = line.split_once("cargo run -p admin -- ") else {
            continue;
        };
        let words = command.split(['<', '>']).next().unwrap();
        let words: Vec<&str> = words.split_whitespace().collect();
        Cli::try_parse_from([&["cambio-admin"], &*words].concat()).unwrap();
        found.push(words[1].to_owned());
    }
    assert_eq!(found, ["list", "sign-out"]);
}
