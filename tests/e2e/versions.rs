//! Two versions of the code on one table, as during a deployment, when instances of both serve requests.
//!
//! `versions/e27cc7e.json` has the items that the local server of that commit wrote, and refresh tokens for them. A
//! later version adds attributes; how an earlier one treats those is how this one treats attributes that it does not
//! know.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::Service;

use crate::admin::{admin_of, run_users};

const RECORDED: &str = include_str!("versions/e27cc7e.json");
/// The attributes that are times, which the test moves to the present.
const TIMES: [&str; 8] = [
    "absolute_expires_at",
    "created_at",
    "ended_at",
    "expires_at",
    "idle_expires_at",
    "last_used_at",
    "linked_at",
    "signed_in_at",
];

async fn admin(service: &Service, arguments: &[&str]) -> String {
    run_users(&admin_of(service), arguments).await
}

/// Adds `seconds` to each time in an item.
fn move_times(value: &mut Value, seconds: u64) {
    let Value::Object(members) = value else {
        return;
    };
    for (name, member) in members {
        if TIMES.contains(&name.as_str()) {
            let time: u64 = member["N"].as_str().unwrap().parse().unwrap();
            *member = json!({ "N": (time + seconds).to_string() });
        } else {
            move_times(member, seconds);
        }
    }
}

/// Returns the key of the identity of each user by login, under which this service's GitHub has them.
async fn identity_keys(service: &Service, logins: [&str; 2]) -> [String; 2] {
    let mut keys = Vec::new();
    for login in logins {
        let id = service.sign_in(login).await.text("/user/id").to_owned();
        let users = service.users();
        let user = users.iter().find(|user| user["id"]["S"] == id).unwrap();
        let key = &user["identities"]["M"]["github"]["M"]["key"]["S"];
        keys.push(key.as_str().unwrap().to_owned());
    }
    for item in service.items() {
        service.delete(&item);
    }
    keys.try_into().unwrap()
}

#[tokio::test]
async fn items_that_an_earlier_version_wrote_go_on() {
    let service = Service::start().await;
    let mut recorded: Value = serde_json::from_str(RECORDED).unwrap();
    let of = |pointer: &str| -> String {
        let text = recorded.pointer(pointer).and_then(Value::as_str);
        text.unwrap().to_owned()
    };
    let (octocat, hubot) = (of("/octocat/id"), of("/hubot/id"));
    let (used, kept, newest) = (
        of("/octocat/used"),
        of("/octocat/kept"),
        of("/octocat/newest"),
    );
    let (with_others, revoked) = (of("/octocat/ended_with_others"), of("/octocat/revoked"));
    let of_hubot = of("/hubot/refresh_token");
    let keys = identity_keys(&service, ["octocat", "hubot"]).await;
    let mut text = recorded["items"].to_string();
    for (id, key) in [&octocat, &hubot].into_iter().zip(&keys) {
        let items = recorded["items"].as_array().unwrap();
        let user = items
            .iter()
            .find(|item| item["id"]["S"] == id.as_str())
            .unwrap();
        let before = user["identities"]["M"]["github"]["M"]["key"]["S"].as_str();
        text = text.replace(before.unwrap(), key);
    }
    recorded["items"] = serde_json::from_str(&text).unwrap();
    let items = recorded["items"].as_array_mut().unwrap();
    let recorded_at = items
        .iter()
        .filter_map(|item| item["last_used_at"]["N"].as_str());
    let recorded_at: u64 = recorded_at.map(|time| time.parse().unwrap()).max().unwrap();
    for item in items {
        move_times(item, service.time.now() - recorded_at);
        service.put(local::dynamodb::TABLE, item);
    }
    service.check_invariants();

    // Ended sessions stay ended, the others go on, and a lost answer is repeated with the same successor.
    for over in [&with_others, &revoked] {
        assert_eq!(service.refresh(over).await.text("/error"), "invalid_grant");
    }
    assert_eq!(service.refresh(&used).await.text("/refresh_token"), kept);
    let refreshed = service.refresh(&kept).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{refreshed:?}");
    let token = refreshed.text("/access_token");
    let me = service.me(token).await;
    assert_eq!((me.text("/id"), me.text("/name")), (&*octocat, "Own Name"));
    assert_eq!(service.refresh(&newest).await.status, StatusCode::OK);
    // The copy of a used token ends its session, and no other.
    assert_eq!(service.refresh(&used).await.text("/error"), "invalid_grant");
    assert_eq!(service.me(token).await.status, StatusCode::UNAUTHORIZED);
    let signed_in = service.sign_in("octocat").await;
    assert_eq!(signed_in.text("/user/id"), octocat);
    let exported: Value =
        serde_json::from_str(&admin(&service, &["export", &octocat]).await).unwrap();
    assert_eq!(exported["metadata"], json!({ "theme": "dark" }));
    assert_eq!(exported["sessions"].as_array().unwrap().len(), 5);

    let refreshed = service.refresh(&of_hubot).await;
    let token = refreshed.text("/access_token");
    admin(&service, &["roles", &hubot, "--add", "support"]).await;
    let deleted = service.delete_as_user(token, "/me").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    admin(&service, &["sign-out", &octocat]).await;
    let over = service.refresh(signed_in.text("/refresh_token")).await;
    assert_eq!(over.text("/error"), "invalid_grant");
    admin(&service, &["delete", "--yes", &octocat]).await;
    assert!(service.items().is_empty());
}

#[tokio::test]
async fn attributes_of_a_later_version_are_kept_by_each_change() {
    let service = Service::start().await;
    let first = service.sign_in("octocat").await;
    let second = service.sign_in("octocat").await;
    service.sign_in("hubot").await;
    let added = json!({ "M": { "version": { "N": "2" }, "since": { "S": "later" } } });
    let before = service.items();
    for mut item in before.clone() {
        item["added_later"] = added.clone();
        if item["profile"]["M"].is_object() {
            item["profile"]["M"]["added_later"] = added.clone();
        }
        if item["identities"]["M"].is_object() {
            item["identities"]["M"]["github"]["M"]["added_later"] = added.clone();
        }
        service.put(local::dynamodb::TABLE, &item);
    }
    let id = first.text("/user/id");

    let refreshed = service.refresh(first.text("/refresh_token")).await;
    let token = refreshed.text("/access_token");
    assert_eq!(service.me(token).await.status, StatusCode::OK);
    let patch = json!({ "metadata": { "theme": "dark" } });
    assert_eq!(service.patch_me(token, &patch).await.status, StatusCode::OK);
    assert_eq!(service.sign_in("octocat").await.text("/user/id"), id);
    let revoked = service.revoke(second.text("/refresh_token")).await;
    assert_eq!(revoked.status, StatusCode::OK);
    let others = service
        .delete_as_user(token, "/me/sessions?except=current")
        .await;
    assert_eq!(others.status, StatusCode::NO_CONTENT);
    admin(&service, &["roles", id, "--add", "support"]).await;
    admin(&service, &["claims", id, "--set", "plan=pro"]).await;
    admin(&service, &["disable", id]).await;
    admin(&service, &["enable", id]).await;
    admin(&service, &["sign-out", "--all", "--yes"]).await;

    let key = |item: &Value| (item["pk"].clone(), item["sk"].clone());
    let after = service.items();
    for old in &before {
        let item = after.iter().find(|item| key(item) == key(old)).unwrap();
        assert_eq!(item["added_later"], added, "{item:#}");
        for part in ["/profile/M", "/identities/M/github/M"] {
            if old.pointer(part).is_some() {
                let kept = item.pointer(&format!("{part}/added_later"));
                assert_eq!(kept, Some(&added), "{part}: {item:#}");
            }
        }
    }
    service.check_invariants();
    // An account of a later version can be deleted whole.
    let back = service.sign_in("octocat").await;
    let deleted = service
        .delete_as_user(back.text("/access_token"), "/me")
        .await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    service.check_invariants();
}
