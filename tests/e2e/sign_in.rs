//! The sign-in, its races, and its effect on the profile.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Service,
    proxy::{Call, Fault, When},
};

/// The time that passes at once in a race.
const STEP: Duration = Duration::from_millis(1);

#[tokio::test]
async fn whoever_comes_back_is_the_same_user() {
    let service = Service::start().await;

    let first = service.sign_in("octocat").await;
    let second = service.sign_in("octocat").await;
    let other = service.sign_in("hubot").await;

    assert_eq!(first.body["is_new_user"], true);
    assert_eq!(second.body["is_new_user"], false);
    assert_eq!(first.body["user"], second.body["user"]);
    assert_eq!(other.body["is_new_user"], true);
    assert_ne!(first.text("/user/id"), other.text("/user/id"));
    service.check_invariants();
}

#[tokio::test]
async fn t59_a_login_that_changes_hands_takes_nobody_along() {
    let service = Service::start().await;
    let alice = service.sign_in("octocat").await;
    service.stand_in.rename(583_231, "the-octocat");
    service.stand_in.rename(2, "octocat");

    let thief = service.sign_in("octocat").await;
    let alice_again = service.sign_in("the-octocat").await;

    assert_ne!(thief.text("/user/id"), alice.text("/user/id"));
    assert_eq!(alice_again.text("/user/id"), alice.text("/user/id"));
    assert_eq!(
        alice_again.text("/user/identities/0/username"),
        "the-octocat"
    );
}

#[tokio::test]
async fn the_profile_is_refreshed_and_what_the_provider_does_not_tell_stays() {
    let service = Service::start().await;
    service.sign_in("octocat").await;
    service
        .stand_in
        .add_account(local::github::Account::new(583_231, "octocat").named("Mona Lisa"));

    let token = service.github_token_of(tests::GITHUB_APP.0, "octocat", "read:user");
    let answer = service.exchange(&token).await;

    assert_eq!(answer.text("/user/name"), "Mona Lisa");
    assert_eq!(answer.text("/user/email"), "octocat@example.com");
    assert_eq!(answer.body["user"]["email_verified"], true);
}

#[tokio::test]
async fn an_address_that_is_no_longer_verified_is_forgotten() {
    let service = Service::start().await;
    service.sign_in("octocat").await;
    let unverified = local::github::Account::new(583_231, "octocat");
    let unverified = unverified.with_email("new@example.com", true, false);
    service.stand_in.add_account(unverified);

    let answer = service.sign_in("octocat").await;

    assert_eq!(answer.body["user"]["email"], Value::Null);
    assert_eq!(answer.body["user"]["email_verified"], false);
}

#[tokio::test]
async fn a_sign_in_that_could_not_be_answered_with_a_token_writes_nothing() {
    let service = Service::start().await;
    for item in service.scan(local::dynamodb::KEYS_TABLE) {
        service.delete_key(&item);
    }
    service.time.pass(25 * 60 * 60);

    let answer = service.exchange(&service.github_token("octocat")).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        service.items().is_empty(),
        "the next sign-in is still the first"
    );
}

#[tokio::test]
async fn t56_t58_the_same_address_at_two_accounts_is_two_users() {
    let service = Service::start().await;
    let attacker = local::github::Account::new(666, "attacker").reached_at("octocat@example.com");
    service.stand_in.add_account(attacker);

    let attacker = service.sign_in("attacker").await;
    let victim = service.sign_in("octocat").await;

    assert_eq!(attacker.text("/user/email"), victim.text("/user/email"));
    assert_ne!(attacker.text("/user/id"), victim.text("/user/id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_first_sign_ins_at_once_make_one_user() {
    let mut service = Service::start().await;
    // Two processes, since a process could have a lock of its own.
    let urls = [service.url.clone(), service.another_process().await];
    let sign_ins: Vec<_> = (0..100)
        .map(|nth| {
            let token = service.github_token("octocat");
            service.url.clone_from(&urls[nth % 2]);
            let request = service.token_request(&tests::exchange_of(&token));
            tokio::spawn(tests::persist(request))
        })
        .collect();
    let mut answers = Vec::new();
    for sign_in in sign_ins {
        answers.push(sign_in.await.unwrap().body);
    }

    let id = &answers[0]["user"]["id"];
    assert!(answers.iter().all(|answer| answer["user"]["id"] == *id));
    let created = answers
        .iter()
        .filter(|answer| answer["is_new_user"] == true);
    // None, if the request that created the user timed out.
    assert!(created.count() <= 1);
    assert_eq!(service.items_of("IDENTITY#").len(), 1);
    assert_eq!(service.users().len(), 1);
    service.check_invariants();
}

#[tokio::test]
async fn a_process_killed_at_any_call_leaves_a_sign_in_that_works() {
    let _turning = tests::timers::follow_work();
    for is_returning in [false, true] {
        let calls = if is_returning { 3 } else { 2 };
        for nth in 1..=calls {
            for after in [false, true] {
                let service = Service::start().await;
                if is_returning {
                    service.sign_in("octocat").await;
                }
                let fault = if after {
                    Fault::HangAfterForwarding
                } else {
                    Fault::Hang
                };
                service.dynamodb.clear();
                service.dynamodb.fault(When::Nth(nth), fault);
                let token = service.github_token("octocat");
                let request = service.token_request(&tests::exchange_of(&token));
                let killed = tokio::spawn(request.send());
                if after {
                    service.dynamodb.forwarded(nth).await;
                } else {
                    service.dynamodb.arrived(nth).await;
                }
                // The handler's future is dropped with its connection, as a process is with its machine.
                killed.abort();
                assert!(killed.await.is_err());
                service.dynamodb.heal();

                service.check_invariants();
                let again = service.exchange(&token).await;
                assert_eq!(again.status, StatusCode::OK);
                service.check_invariants();
                assert_eq!(service.users().len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_disabled_user_is_told_so_and_nothing_is_written() {
    let service = Service::start().await;
    service.sign_in("octocat").await;
    let mut user = service.users().remove(0);
    user["status"] = json!({ "S": "disabled" });
    service.put(local::dynamodb::TABLE, &user);
    service.dynamodb.clear();

    let answer = service.exchange(&service.github_token("octocat")).await;

    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.text("/error"), "access_denied");
    assert_eq!(service.users(), [user]);
    let calls = service.dynamodb.calls();
    assert!(!calls.iter().any(Call::is_write), "{calls:?}");
}

#[tokio::test]
async fn an_exchange_that_is_refused_leaves_the_profile_as_it_is() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let first = service.exchange(&token).await;
    service.refresh(first.text("/refresh_token")).await;
    service.time.pass(1);
    let before = service.items();

    let again = service.exchange(&token).await;

    assert_eq!(again.status, StatusCode::BAD_REQUEST, "{:?}", again.body);
    assert_eq!(service.items(), before);
}

/// Starts a service in which octocat is signed in. Returns it with the access token.
async fn with_octocat() -> (Service, String) {
    let service = Service::start().await;
    let access_token = service.access_token("octocat").await;
    (service, access_token)
}

/// The user is read before the sign-out and the profile written after it, so the sign-in counts as the later one.
#[tokio::test]
async fn a_sign_in_that_meets_a_sign_out_everywhere_opens_a_session_that_goes_on() {
    let _turning = tests::timers::follow_work_in_steps(STEP);
    let (service, access_token) = with_octocat().await;
    let token = service.github_token("octocat");

    let signed_in = service
        .interrupted(service.exchange(&token), "UpdateItem", async {
            let out = service.delete_as_user(&access_token, "/me/sessions").await;
            assert_eq!(out.status, StatusCode::NO_CONTENT);
        })
        .await;

    assert_eq!(signed_in.status, StatusCode::OK, "{:?}", signed_in.body);
    let me = service.me(signed_in.text("/access_token")).await;
    assert_eq!(me.status, StatusCode::OK);
    let refreshed = service.refresh(signed_in.text("/refresh_token")).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{:?}", refreshed.body);
    assert_eq!(
        service.me(&access_token).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn an_exchange_that_is_repeated_during_a_sign_out_everywhere_hands_out_no_session() {
    let _turning = tests::timers::follow_work_in_steps(STEP);
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let first = service.exchange(&token).await;

    let repeated = service
        .interrupted(service.exchange(&token), "UpdateItem", async {
            let access_token = first.text("/access_token");
            let out = service.delete_as_user(access_token, "/me/sessions").await;
            assert_eq!(out.status, StatusCode::NO_CONTENT);
        })
        .await;

    assert_eq!(
        repeated.status,
        StatusCode::BAD_REQUEST,
        "{:?}",
        repeated.body
    );
    assert_eq!(repeated.text("/error"), "invalid_request");
}

#[tokio::test]
async fn an_account_that_a_disabled_user_loses_during_its_sign_in_signs_up_anew() {
    let _turning = tests::timers::follow_work_in_steps(STEP);
    let (service, _) = with_octocat().await;
    let token = service.github_token("octocat");

    let signed_in = service
        .interrupted(service.exchange(&token), "UpdateItem", async {
            let mut user = service.users().remove(0);
            user["status"] = json!({ "S": "disabled" });
            user["identities"]["M"]["github"]["M"]["key"] = json!({ "S": "another" });
            service.put(local::dynamodb::TABLE, &user);
            service.delete(&service.items_of("IDENTITY#").remove(0));
        })
        .await;

    assert_eq!(signed_in.status, StatusCode::OK, "{:?}", signed_in.body);
    assert_eq!(signed_in.body["is_new_user"], true);
}

/// The read of the identity may be stale; the condition of the write is not.
#[tokio::test]
async fn t65_t71_a_user_deleted_in_the_middle_of_a_sign_in_is_not_brought_back() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let before = service.sign_in("octocat").await.text("/user/id").to_owned();
    let token = service.github_token("octocat");

    let answer = service
        .interrupted(service.exchange(&token), "UpdateItem", async {
            for item in service.items() {
                service.delete(&item);
            }
        })
        .await;

    assert_eq!(answer.body["is_new_user"], true);
    assert_ne!(answer.body["user"]["id"], *before);
    assert_eq!(service.users().len(), 1);
    service.check_invariants();
}

#[tokio::test]
async fn two_items_that_contradict_each_other_let_nobody_in() {
    let service = Service::start().await;
    let octocat = service.sign_in("octocat").await.text("/user/id").to_owned();
    let hubot = service.sign_in("hubot").await.text("/user/id").to_owned();
    // The identity's item says hubot; octocat still believes to have it, and hubot has another.
    let mut identity = service.items_of("IDENTITY#").into_iter();
    let mut identity = identity
        .find(|item| item["user_id"]["S"] == *octocat)
        .unwrap();
    identity["user_id"] = json!({ "S": hubot });
    service.put(local::dynamodb::TABLE, &identity);
    let before = service.items();

    let answer = service.exchange(&service.github_token("octocat")).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.items(), before, "nobody's item changes");
}

#[tokio::test]
async fn t68_t69_keys_hold_nothing_that_a_person_chose() {
    let service = Service::start().await;
    service
        .stand_in
        .add_account(local::github::Account::new(7, "IDENTITY#USER"));
    service.sign_in("IDENTITY#USER").await;

    for item in service.items() {
        let pk = item["pk"]["S"].as_str().unwrap();
        let known = pk.starts_with("USER#0") || pk.starts_with("IDENTITY#github#");
        assert!(known && pk.len() <= 100, "{pk}");
    }
    service.sign_in("IDENTITY#USER").await;
    let mut expressions = Vec::new();
    for call in service.dynamodb.calls() {
        collect_expressions(&call.body, &mut expressions);
    }
    assert!(expressions.len() >= 4, "{expressions:?}");
    for expression in expressions {
        // Names and values go through placeholders, whatever words DynamoDB reserves.
        for word in expression
            .split([' ', '.', ',', '(', ')'])
            .filter(|word| !word.is_empty())
        {
            let keyword = [
                "SET",
                "REMOVE",
                "AND",
                "OR",
                "=",
                "<=",
                "+",
                "attribute_exists",
                "attribute_not_exists",
                "if_not_exists",
            ]
            .contains(&word);
            assert!(
                keyword || word.starts_with(['#', ':']),
                "{word} in {expression}"
            );
        }
    }
}

fn collect_expressions(request: &Value, found: &mut Vec<String>) {
    if let Some(members) = request.as_object() {
        for (name, value) in members {
            match value.as_str() {
                Some(text) if name.ends_with("Expression") => found.push(text.to_owned()),
                _ => collect_expressions(value, found),
            }
        }
    }
    for item in request.as_array().into_iter().flatten() {
        collect_expressions(item, found);
    }
}
