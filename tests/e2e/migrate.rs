//! `cambio-admin migrate`: the counts, the unreadable items, and migrations beside requests.

use ::admin::{Admin, AdminError};
use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::{
    config::Environment,
    items::{AttributeValue, Items, Kind, Migration},
};
use tests::{
    Service,
    proxy::{Call, Fault, When},
    timers,
};

use crate::admin::{admin_of, run_to_its_end};

const RECORDED: &str = include_str!("versions/e27cc7e.json");

/// A form of users that no version wrote: the name beside the profile.
pub(crate) const NAME_INTO_PROFILE: &[Migration] = &[Migration {
    name: "name-into-profile",
    kind: Kind::User,
    from: 0,
    attributes: &["profile", "full_name"],
    change: |item| {
        let Some(name) = item.remove("full_name") else {
            return;
        };
        if let Some(AttributeValue::M(profile)) = item.get_mut("profile") {
            profile.entry("name".to_owned()).or_insert(name);
        }
    },
}];

fn admin(service: &Service) -> Admin {
    let env = Environment::of(service.variables.clone());
    admin_of(service).with_keys_table(service.table(local::dynamodb::KEYS_TABLE), env)
}

/// Runs `cambio-admin migrate` and returns its output with its result.
async fn migrate(admin: &Admin, arguments: &[&str]) -> (String, Result<(), AdminError>) {
    run_to_its_end(admin, &[&["migrate"], arguments].concat()).await
}

/// Runs `cambio-admin migrate --json` and returns the lines.
async fn lines(admin: &Admin, arguments: &[&str]) -> Vec<Value> {
    let (written, done) = migrate(admin, &[arguments, &["--json"]].concat()).await;
    done.unwrap();
    let lines = written.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn count(kind: &str, schema: u32, items: usize) -> Value {
    json!({ "kind": kind, "schema": schema, "items": items })
}

/// Turns all users into that older form, with `full_name` in place of the profile's name.
pub(crate) fn age(service: &Service, full_name: &str) {
    for mut user in service.users() {
        user["schema"] = json!({ "N": "0" });
        user["full_name"] = json!({ "S": full_name });
        let profile = user["profile"]["M"].as_object_mut().unwrap();
        profile.remove("name");
        service.put(local::dynamodb::TABLE, &user);
    }
}

/// Adds `count` copies of the first user, which no identity names, and returns the number of all users.
fn add_copies(service: &Service, count: usize) -> usize {
    let mut user = service.users().remove(0);
    for nth in 0..count {
        let id = format!("01a2204b-ade7-7286-ae7e-{nth:0>12}");
        user["pk"] = json!({ "S": format!("USER#{id}") });
        user["id"] = json!({ "S": id });
        service.put(local::dynamodb::TABLE, &user);
    }
    service.users().len()
}

#[tokio::test]
async fn items_are_counted_by_kind_and_schema_and_nothing_is_changed() {
    let service = Service::start().await;
    service.sign_in("octocat").await;
    service.sign_in("octocat").await;
    service.sign_in("hubot").await;
    let before = service.items();
    let admin = admin(&service);

    let expected = [
        count("user", 1, 2),
        count("session", 1, 3),
        count("identity", 1, 2),
        count("key_set", 1, 1),
    ];
    assert_eq!(lines(&admin, &["--dry-run"]).await, expected);
    assert_eq!(lines(&admin, &[]).await, expected);
    let (written, done) = migrate(&admin, &[]).await;
    done.unwrap();
    assert!(
        written.contains("user         schema 1               2 items\n"),
        "{written}"
    );
    assert!(
        written.ends_with(
            "no migration: this version writes schema 1, and reads all schemas up to it\n"
        ),
        "{written}"
    );
    assert_eq!(service.items(), before);
}

#[tokio::test]
async fn items_of_an_earlier_version_are_of_the_first_schema_and_can_be_read() {
    let service = Service::start().await;
    let recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let items = recorded["items"].as_array().unwrap();
    for item in items {
        service.put(local::dynamodb::TABLE, item);
    }

    let found = lines(&admin(&service), &["--dry-run"]).await;

    let all: u64 = found
        .iter()
        .map(|line| line["items"].as_u64().unwrap())
        .sum();
    assert_eq!(all, items.len() as u64 + 1, "and the key set: {found:?}");
    assert!(found.iter().all(|line| line["schema"] == 1), "{found:?}");
    assert!(
        found.iter().all(|line| line["kind"] != "unknown"),
        "{found:?}"
    );
}

#[tokio::test]
async fn t195_what_a_later_version_wrote_is_refused_named_and_left_as_it_is() {
    let service = Service::start().await;
    let octocat = service.sign_in("octocat").await;
    let hubot = service.sign_in("hubot").await;
    let (token, refresh_token) = (
        octocat.text("/access_token"),
        octocat.text("/refresh_token"),
    );
    let id = octocat.text("/user/id");
    let of_octocat = |item: &Value| item["pk"]["S"] == format!("USER#{id}");
    for mut item in service.items().into_iter().filter(of_octocat) {
        item["schema"] = json!({ "N": "2" });
        service.put(local::dynamodb::TABLE, &item);
    }
    // The text of an unknown key is not shown.
    let odd = json!({ "pk": { "S": "octocat@example.com" }, "sk": { "S": "x" }, "schema": { "S": "one" } });
    service.put(local::dynamodb::TABLE, &odd);
    let before = service.items();

    assert_eq!(
        service.me(token).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let refreshed = service.refresh(refresh_token).await;
    assert_eq!(refreshed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refreshed.text("/error"), "temporarily_unavailable");
    assert_eq!(
        service.me(hubot.text("/access_token")).await.status,
        StatusCode::OK
    );
    let token = service.github_token("octocat");
    let exchanged = service.exchange(&token).await;
    assert_eq!(exchanged.status, StatusCode::SERVICE_UNAVAILABLE);
    let (written, done) = migrate(&admin(&service), &[]).await;

    let refused = done.unwrap_err();
    assert_eq!(refused.exit_code(), 1);
    assert!(refused.to_string().contains("cannot read: 3"), "{refused}");
    for line in [
        format!("unreadable: USER#{id}: "),
        format!("unreadable: USER#{id} SESSION#"),
        "unreadable: a key of another form: ".to_owned(),
        "user         schema 2 ".to_owned(),
        "unknown      schema ? ".to_owned(),
    ] {
        assert!(written.contains(&line), "{line:?} is not in {written}");
    }
    assert!(
        written.contains("its schema is 2, and this version reads up to 1"),
        "{written}"
    );
    assert!(!written.contains("octocat"), "{written}");
    assert_eq!(service.items(), before);

    // The operator's sign-out is written, although the command cannot show the item.
    let ended = run_to_its_end(&admin(&service), &["users", "sign-out", id])
        .await
        .1;
    assert!(ended.is_err(), "the item cannot be shown");
    let version = |items: Vec<Value>| {
        let user = items
            .into_iter()
            .find(|item| item["sk"]["S"] == "USER" && of_octocat(item));
        user.unwrap()["session_version"]["N"].clone()
    };
    assert_eq!(
        (version(before), version(service.items())),
        (json!("0"), json!("1"))
    );
}

#[tokio::test]
async fn a_migration_changes_each_item_once_and_a_dry_run_none() {
    let service = Service::start().await;
    let octocat = service.sign_in("octocat").await;
    let hubot = service.sign_in("hubot").await;
    age(&service, "Earlier Name");
    let before = service.items();
    let admin = admin(&service).with_migrations(NAME_INTO_PROFILE);
    let result = |waiting, migrated| {
        json!({
            "migration": "name-into-profile", "kind": "user", "schema": 1, "waiting": waiting, "migrated": migrated,
        })
    };

    let found = lines(&admin, &["--dry-run"]).await;
    assert_eq!(found.last(), Some(&result(2, 0)));
    assert_eq!(found[0], count("user", 0, 2));
    let (written, done) = migrate(&admin, &["--dry-run"]).await;
    done.unwrap();
    assert!(
        written.ends_with("name-into-profile, to schema 1: 2 items would be changed\n"),
        "{written}"
    );
    assert_eq!(service.items(), before);

    assert_eq!(lines(&admin, &[]).await.last(), Some(&result(2, 2)));
    let after = service.items();
    assert_eq!(lines(&admin, &[]).await.last(), Some(&result(0, 0)));
    assert_eq!(service.items(), after);

    for (answer, mut old) in [octocat, hubot].iter().zip(
        before
            .iter()
            .filter(|item| item["sk"]["S"] == "USER")
            .cloned(),
    ) {
        let me = service.me(answer.text("/access_token")).await;
        assert_eq!(me.text("/name"), "Earlier Name");
        // Nothing but these attributes has changed.
        let new = after
            .iter()
            .find(|item| item["pk"] == old["pk"] && item["sk"] == old["sk"]);
        old["schema"] = json!({ "N": "1" });
        old["profile"]["M"]["name"] = old["full_name"].take();
        old.as_object_mut().unwrap().remove("full_name");
        assert_eq!(new, Some(&old));
    }
    service.check_invariants();
}

#[tokio::test]
async fn t196_a_sign_in_between_the_read_and_the_write_is_not_overwritten() {
    let service = Service::start().await;
    let octocat = service.sign_in("octocat").await;
    let hubot = service.sign_in("hubot").await;
    age(&service, "Earlier Name");
    let items = Items::new(service.client(), service.table(local::dynamodb::TABLE));
    let [migration] = NAME_INTO_PROFILE else {
        panic!("one migration");
    };
    let page = items.page(None).await.unwrap();
    let read: Vec<_> = page
        .items
        .into_iter()
        .filter(|item| migration.is_for(item))
        .collect();
    assert_eq!(read.len(), 2);

    // Between the read and the write: one signs in, and the other deletes the account.
    let again = service.sign_in("octocat").await;
    let deleted = service
        .delete_as_user(hubot.text("/access_token"), "/me")
        .await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let signed_in = service.users().remove(0);
    let mut migrated = Vec::new();
    for item in read {
        migrated.push((
            item.key.clone(),
            items.migrate(item, migration).await.unwrap(),
        ));
    }

    let key = format!("USER#{}", octocat.text("/user/id"));
    for (of, is_migrated) in migrated {
        assert_eq!(is_migrated, of == key, "{of}");
    }
    // The name of the sign-in stays, and all else that it wrote.
    let users = service.users();
    assert_eq!(users.len(), 1);
    let mut expected = signed_in;
    expected["schema"] = json!({ "N": "1" });
    expected.as_object_mut().unwrap().remove("full_name");
    assert_eq!(users[0], expected);
    let me = service.me(again.text("/access_token")).await;
    assert_eq!(me.text("/name"), "The Octocat");
    service.check_invariants();
}

#[tokio::test]
async fn t196_a_migration_that_was_killed_goes_on_where_it_stopped() {
    let _turning = timers::follow_work();
    let service = Service::start().await;
    service.sign_in("octocat").await;
    age(&service, "Earlier Name");
    let users = add_copies(&service, 40);
    let admin = admin(&service).with_migrations(NAME_INTO_PROFILE);
    let left = || {
        let users = service.users().into_iter();
        users.filter(|user| user["schema"]["N"] == "0").count()
    };
    let fast = ["--rate", "1000"];

    // Killed between any two calls: a dropped command sends nothing more.
    for calls in [7, 15] {
        service.dynamodb.clear();
        tokio::select! {
            _ = migrate(&admin, &fast) => panic!("it ended before"),
            () = service.dynamodb.arrived(calls) => {}
        }
        service.dynamodb.settled().await;
    }
    let between = left();
    assert!(between > 0 && between < users, "{between} of {users}");
    // Stopped, with answers lost after the writes.
    service.dynamodb.clear();
    let is_late = |call: &Call| call.number > 15;
    service
        .dynamodb
        .fault(When::Matching(is_late), Fault::ResetAfterForwarding);
    let stopped = migrate(&admin, &fast).await.1.unwrap_err().to_string();
    assert!(stopped.contains("Items migrated: "), "{stopped}");
    assert!(stopped.contains("Run the same command again"), "{stopped}");
    service.dynamodb.heal();
    let between = left();
    assert!(between > 0, "nothing is left to migrate");

    let found = lines(&admin, &fast).await;

    let last = found.last().unwrap();
    assert_eq!(
        (last["waiting"].as_u64(), last["migrated"].as_u64()),
        (Some(between as u64), Some(between as u64))
    );
    assert_eq!(left(), 0);
    for user in service.users() {
        assert_eq!(user["profile"]["M"]["name"]["S"], "Earlier Name");
        assert_eq!(user["full_name"], Value::Null);
    }
}
