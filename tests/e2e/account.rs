//! `PATCH /me` and `DELETE /me`.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, Service, exchange_of,
    proxy::{Fault, When},
};
use tokio::task::JoinSet;

fn assert_unprocessable(answer: &Answer, what: &str) {
    assert_eq!(
        answer.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{what}: {:?}",
        answer.body
    );
    assert_eq!(answer.text("/type"), "urn:cambio:error:unprocessable");
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

async fn patched(service: &Service, token: &str, patch: Value) -> Value {
    let answer = service.patch_me(token, &patch).await;
    assert_eq!(answer.status, StatusCode::OK, "{patch}: {:?}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.body
}

#[tokio::test]
async fn what_a_user_edits_is_shown_everywhere_and_outlives_the_next_sign_in() {
    let service = Service::start().await;
    let first = service.sign_in("octocat").await;
    let token = first.text("/access_token");
    let picture = "https://example.com/me.png";

    let body = patched(
        &service,
        token,
        json!({ "name": " Mona ", "picture": picture, "metadata": { "theme": "dark" } }),
    )
    .await;

    assert_eq!(body["name"], "Mona");
    assert_eq!(service.me(token).await.body, body);
    let again = service.sign_in("octocat").await;
    assert_eq!(again.text("/user/name"), "Mona");
    assert_eq!(again.text("/user/picture"), picture);
    assert_eq!(again.text("/user/email"), first.text("/user/email"));
    let refreshed = service.refresh(again.text("/refresh_token")).await;
    assert_eq!(refreshed.text("/user/name"), "Mona");
    assert_eq!(
        service.me(token).await.body["metadata"],
        json!({ "theme": "dark" })
    );
}

#[tokio::test]
async fn a_patch_is_a_merge_and_null_removes() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    patched(
        &service,
        &token,
        json!({ "metadata": { "a": 1, "b": { "c": [1, 2], "d": "x" }, "n": { "m": null } } }),
    )
    .await;

    let body = patched(
        &service,
        &token,
        json!({ "name": null, "metadata": { "a": null, "b": { "c": [3] } } }),
    )
    .await;

    assert_eq!(
        body["metadata"],
        json!({ "b": { "c": [3], "d": "x" }, "n": {} })
    );
    assert_eq!(body["name"], Value::Null);
    let again = service.sign_in("octocat").await;
    assert_eq!(again.body["user"]["name"], Value::Null, "and stays removed");
    let body = patched(&service, &token, json!({ "metadata": null })).await;
    assert_eq!(body["metadata"], json!({}));
    assert!(body["picture"].is_string(), "what is not named stays");
}

#[tokio::test]
async fn a_patch_that_changes_nothing_writes_nothing() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let patch = json!({ "name": "Mona", "metadata": { "a": 1 } });
    patched(&service, &token, patch.clone()).await;
    let before = service.items();

    patched(&service, &token, patch).await;
    patched(&service, &token, json!({})).await;

    assert_eq!(service.items(), before);
}

#[tokio::test]
async fn t62_nothing_else_can_be_changed() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let before = service.items();
    for member in [
        "id",
        "roles",
        "status",
        "sv",
        "session_version",
        "kept_session",
        "ids",
        "identities",
        "email",
        "email_verified",
        "created_at",
        "profile",
        "edited",
        "revision",
        "pk",
        "sk",
        "__proto__",
        "constructor",
        "Name",
        "",
    ] {
        for value in [json!("x"), json!(null), json!({}), json!(["admin"])] {
            let mut patch = json!({ "name": "Mallory" });
            patch[member] = value;
            assert_unprocessable(&service.patch_me(&token, &patch).await, member);
        }
    }
    for patch in [
        json!([]),
        json!(["Mallory"]),
        json!("name"),
        json!(null),
        json!(1),
        json!({ "name": 1 }),
        json!({ "name": ["x"] }),
        json!({ "picture": true }),
        json!({ "metadata": [] }),
        json!({ "metadata": "x" }),
    ] {
        assert_unprocessable(&service.patch_me(&token, &patch).await, &patch.to_string());
    }

    assert_eq!(service.items(), before);
}

#[tokio::test]
async fn t63_names_and_pictures_are_fit_to_be_shown() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let before = service.items();
    for name in [
        "",
        "  ",
        "\u{200b}\u{200d}",
        "a\u{0}b",
        "a\nb",
        "a\u{7f}",
        "a\u{202e}b",
        "\u{2066}a",
        "\u{3164}",
        "\u{2800}",
        "\u{34f}",
        " \u{2800}\u{3164}\u{34f}",
        "\u{fe0f}\u{e0100}",
        "\u{1f3f4}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}\u{e0061}",
        "ann\u{e0041}\u{e0042}",
        "ann\u{200b}",
        "\u{61c}a",
        &"x".repeat(257),
        &"x".repeat(50_000),
    ] {
        let answer = service.patch_me(&token, &json!({ "name": name })).await;
        assert_unprocessable(&answer, name);
    }
    for picture in [
        "",
        "http://example.com/x.png",
        "javascript:alert(1)",
        "data:image/png;base64,AA",
        "//example.com/x",
        "https://",
        &format!("https://example.com/{}", "x".repeat(2_048)),
        &format!("https://example.com/{}", "é".repeat(1_000)),
        "https://example.com/a\n.png",
        "https://exam\tple.com/a.png",
        "https://example.com/\u{202e}gnp.a",
        "https://example.com/a\u{200b}.png",
        "https://ada@example.com/a.png",
        "https://example.com:secret@evil.example/a.png",
    ] {
        let answer = service
            .patch_me(&token, &json!({ "picture": picture }))
            .await;
        assert_unprocessable(&answer, picture);
    }
    assert_eq!(service.items(), before);

    for name in [
        "李小龙",
        "محمد",
        "👩\u{200d}👩\u{200d}👧",
        "Ó Briain",
        &"é".repeat(256),
    ] {
        let body = patched(&service, &token, json!({ "name": name })).await;
        assert_eq!(body["name"], name);
    }
    let body = patched(&service, &token, json!({ "name": "Jose\u{301}" })).await;
    assert_eq!(body["name"], "José", "two spellings of one name are one");
    for (picture, stored) in [
        (
            "https://example.com/\"><script>?\"><script>#\"><script>",
            "https://example.com/%22%3E%3Cscript%3E?%22%3E%3Cscript%3E#%22%3E%3Cscript%3E",
        ),
        (
            " HTTPS:\\\\EXAMPLE.com\\é.png ",
            "https://example.com/%C3%A9.png",
        ),
    ] {
        let body = patched(&service, &token, json!({ "picture": picture })).await;
        assert_eq!(body["picture"], stored);
        let item = service.users().remove(0);
        let edited = &item["edited"]["M"]["picture"]["S"];
        assert_eq!(edited, stored, "what is stored is what is shown");
    }
}

#[tokio::test]
async fn metadata_is_at_most_4_kib_however_it_grows() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    // {"a":"…"} with as much in it as there is room for.
    let of_size = |size: usize| json!({ "metadata": { "a": "x".repeat(size - 8) } });
    patched(&service, &token, of_size(4_096)).await;
    let before = service.items();

    let too_large = service.patch_me(&token, &of_size(4_097)).await;
    assert_unprocessable(&too_large, "4097 bytes");
    let grown = json!({ "metadata": { "b": 1 } });
    assert_unprocessable(&service.patch_me(&token, &grown).await, "one more");

    assert_eq!(service.items(), before);
    patched(
        &service,
        &token,
        json!({ "metadata": { "a": null, "b": 1 } }),
    )
    .await;
    let item = service.users().remove(0).to_string();
    assert!(item.len() < 16_000);
}

#[tokio::test]
async fn t73_a_patch_is_json_and_says_so() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let before = service.items();
    let send = async |content_type: &str, body: &str| {
        let request = service.as_user(&token, "PATCH", "/me");
        let request = request.header("content-type", content_type);
        service.send(request.body(body.to_owned())).await
    };
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json-patch+json",
        "",
    ] {
        let answer = send(content_type, r#"{"name":"Mallory"}"#).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    for body in ["", "{", "{\"name\":\"x\"}x", "\u{feff}{}", "name=x"] {
        let answer = send("application/json", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let nested = format!(
        "{{\"metadata\":{}1{}}}",
        "{\"a\":".repeat(5_000),
        "}".repeat(5_000)
    );
    assert_eq!(
        send("application/json", &nested).await.status,
        StatusCode::BAD_REQUEST
    );
    let large = json!({ "name": "x".repeat(70_000) }).to_string();
    let answer = send("application/json", &large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(service.items(), before);

    let answer = send(
        "application/merge-patch+json; charset=utf-8",
        r#"{"name":"Mona"}"#,
    )
    .await;
    assert_eq!(answer.text("/name"), "Mona");
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_in_parallel_lose_nothing() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let mut edits = JoinSet::new();
    for nth in 0..20 {
        let patch = json!({ "metadata": { format!("key{nth}"): nth } });
        let request = service.as_user(&token, "PATCH", "/me").json(&patch);
        edits.spawn(tests::persist(request));
    }
    edits.join_all().await;

    let me = service.me(&token).await;

    assert_eq!(me.body["metadata"].as_object().unwrap().len(), 20);
}

#[tokio::test]
async fn an_edit_whose_answer_was_lost_can_be_repeated() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    service
        .dynamodb
        .fault(When::Operation("UpdateItem"), Fault::ResetAfterForwarding);
    let patch = json!({ "metadata": { "a": 1 } });
    let lost = service.patch_me(&token, &patch).await;
    assert!(lost.status == 200 || lost.status == 503, "{lost:?}");
    service.dynamodb.heal();
    service.dynamodb.settled().await;

    let body = patched(&service, &token, patch).await;

    assert_eq!(body["metadata"], json!({ "a": 1 }));
    assert_eq!(service.users()[0]["revision"]["N"], "1");
}

#[tokio::test]
async fn t65_t66_a_deleted_user_is_gone_and_comes_back_as_somebody_new() {
    let service = Service::start().await;
    let first = service.sign_in("octocat").await;
    let hubot = service.sign_in("hubot").await;
    let token = first.text("/access_token");
    patched(
        &service,
        token,
        json!({ "name": "Mona", "metadata": { "a": 1 } }),
    )
    .await;
    for _ in 0..30 {
        service.sign_in("octocat").await;
    }
    let id = first.text("/user/id");

    let deleted = service.delete_as_user(token, "/me").await;

    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let table = Value::from(service.items()).to_string();
    for trace in [id, "octocat", "583231", "Mona", "The Octocat"] {
        assert!(!table.contains(trace), "{trace}");
    }
    assert_eq!(service.items().len(), 3, "hubot, and nobody else");
    service.check_invariants();
    assert_eq!(service.me(token).await.status, StatusCode::UNAUTHORIZED);
    let refreshed = service.refresh(first.text("/refresh_token")).await;
    assert_eq!(refreshed.text("/error"), "invalid_grant");
    assert_eq!(
        service.me(hubot.text("/access_token")).await.status,
        StatusCode::OK
    );
    let anew = service.sign_in("octocat").await;
    assert_eq!(anew.body["is_new_user"], true);
    assert_ne!(anew.text("/user/id"), id);
    assert_eq!(anew.text("/user/name"), "The Octocat");
    let me = service.me(anew.text("/access_token")).await;
    assert_eq!(me.body["metadata"], json!({}));
    let logged = tests::log_lines();
    assert!(
        logged
            .iter()
            .any(|line| line.contains(r#""event":"user.deleted""#) && line.contains(id))
    );
}

#[tokio::test]
async fn t72_a_deletion_that_was_cut_short_is_finished_by_repeating_it() {
    for (operation, fault) in [
        ("TransactWriteItems", Fault::ResetAfterForwarding),
        ("Query", Fault::internal_server_error()),
        ("DeleteItem", Fault::internal_server_error()),
        ("DeleteItem", Fault::ResetAfterForwarding),
    ] {
        let service = Service::start().await;
        let token = service.access_token("octocat").await;
        service.sign_in("octocat").await;
        service.dynamodb.fault(When::Operation(operation), fault);
        let cut_short = service.delete_as_user(&token, "/me").await;
        assert!(cut_short.status == 204 || cut_short.status == 503);
        service.check_invariants();
        service.dynamodb.heal();
        service.dynamodb.settled().await;

        let again = service.delete_as_user(&token, "/me").await;

        assert_eq!(again.status, StatusCode::NO_CONTENT, "{operation}");
        assert!(service.items().is_empty(), "{operation}");
    }
}

#[tokio::test]
async fn a_user_who_is_shut_out_deletes_nothing() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    // Not even once more what was done before.
    let elsewhere = "/me/sessions?except=current";
    service.delete_as_user(&token, elsewhere).await;
    let mut user = service.users().remove(0);
    user["status"] = json!({ "S": "disabled" });
    service.put(local::dynamodb::TABLE, &user);
    let before = service.items();

    for answer in [
        service.delete_as_user(&token, "/me").await,
        service.delete_as_user(&token, "/me/sessions").await,
        service.delete_as_user(&token, elsewhere).await,
        service.patch_me(&token, &json!({ "name": "x" })).await,
        service.my_sessions(&token).await,
    ] {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }

    assert_eq!(service.items(), before);
}

#[tokio::test]
async fn t60_an_identity_of_another_user_outlives_a_deletion() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let hubot = service.sign_in("hubot").await;
    // The table contradicts itself: octocat's item names an identity that is hubot's.
    let of_hubot = service.items_of("IDENTITY#").into_iter();
    let of_hubot = of_hubot.filter(|item| item["user_id"]["S"] == hubot.text("/user/id"));
    let of_hubot: Vec<_> = of_hubot.collect();
    let key = of_hubot[0]["pk"]["S"].as_str().unwrap();
    let mut users = service.users().into_iter();
    let mut octocat = users
        .find(|user| user["id"]["S"] != hubot.text("/user/id"))
        .unwrap();
    octocat["identities"]["M"]["github"]["M"]["key"]["S"] = key.replace("IDENTITY#", "").into();
    service.put(local::dynamodb::TABLE, &octocat);

    let answer = service.delete_as_user(&token, "/me").await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let items = service.items_of("IDENTITY#");
    assert!(items.contains(&of_hubot[0]), "{items:#?}");
}

#[tokio::test]
async fn an_identity_that_was_linked_meanwhile_does_not_outlive_its_user() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let deletion = service.delete_as_user(&token, "/me");

    // Another device links a second identity while the deletion is on its way.
    let answer = service
        .interrupted(deletion, "TransactWriteItems", async {
            let mut user = service.users().remove(0);
            let mut linked = user["identities"]["M"]["github"].clone();
            linked["M"]["key"]["S"] = "other#key".into();
            user["identities"]["M"]["other"] = linked;
            let identity = json!({
                "pk": { "S": "IDENTITY#other#key" },
                "sk": { "S": "IDENTITY" },
                "user_id": user["id"],
            });
            service.put(local::dynamodb::TABLE, &identity);
            service.put(local::dynamodb::TABLE, &user);
        })
        .await;

    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(service.items().is_empty(), "{:#?}", service.items());
}

#[tokio::test(flavor = "multi_thread")]
async fn t65_a_deletion_in_the_middle_of_a_hundred_sign_ins_brings_nobody_back() {
    let service = Service::start().await;
    let first = service.sign_in("octocat").await;
    let (token, id) = (first.text("/access_token"), first.text("/user/id"));
    let mut requests = JoinSet::new();
    for nth in 0..100 {
        let subject_token = service.github_token("octocat");
        let request = service.token_request(&exchange_of(&subject_token));
        requests.spawn(tests::persist(request));
        if nth == 50 {
            let deletion = service.as_user(token, "DELETE", "/me").send();
            requests.spawn(async move {
                // Too busy is an honest answer, and safe to repeat; it is repeated below.
                let _ = deletion.await;
                Answer {
                    status: StatusCode::NO_CONTENT,
                    headers: Default::default(),
                    body: Value::Null,
                }
            });
        }
    }
    let answers = requests.join_all().await;
    let last = service.delete_as_user(token, "/me").await;

    assert_eq!(last.status, StatusCode::NO_CONTENT, "{:?}", last.body);
    service.check_invariants();
    let users = service.users();
    assert!(users.len() <= 1, "{users:#?}");
    assert!(users.iter().all(|user| user["id"]["S"] != *id));
    for answer in answers.iter().filter(|answer| answer.status == 200) {
        let refreshed = service.refresh(answer.text("/refresh_token")).await;
        if answer.text("/user/id") == id {
            assert_eq!(refreshed.text("/error"), "invalid_grant");
        } else {
            assert_eq!(refreshed.status, StatusCode::OK, "{:?}", refreshed.body);
        }
    }
}
