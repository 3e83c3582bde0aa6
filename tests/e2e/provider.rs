//! Answers and failures of GitHub.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, FOREIGN_APP, GITHUB_APP, Service,
    proxy::{self, Fault, When},
};

const CHECK: &str = "/applications/our-app/token";

/// Answers `body` instead of GitHub.
fn answers(body: &Value) -> Fault {
    let json = "application/json; charset=utf-8";
    proxy::Reply::new(StatusCode::OK, body.to_string())
        .with_header("content-type", json)
        .into()
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{:?}", answer.body);
    assert_eq!(answer.text("/error"), "invalid_request");
    assert_eq!(answer.header("cache-control"), "no-store");
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{:?}",
        answer.body
    );
    assert_eq!(answer.text("/error"), "temporarily_unavailable");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=3600).contains(&wait));
}

fn assert_nothing_written(service: &Service) {
    assert!(service.dynamodb.calls().iter().all(|call| !call.is_write()));
    assert!(service.items().is_empty());
}

fn asked_for_the_user(service: &Service) -> bool {
    let calls = service.github.calls();
    calls.iter().any(|call| call.path.starts_with("/user"))
}

#[tokio::test]
async fn t01_a_token_of_another_app_opens_nothing() {
    let service = Service::start().await;
    let foreign = service.github_token_of(FOREIGN_APP.0, "octocat", "read:user,user:email");

    assert_refused(&service.exchange(&foreign).await);

    assert_nothing_written(&service);
    assert!(!asked_for_the_user(&service));
    assert_eq!(service.github.calls().len(), 1);
}

#[tokio::test]
async fn a_revoked_and_a_made_up_token_open_nothing() {
    let service = Service::start().await;
    let revoked = service.github_token("octocat");
    service.stand_in.revoke(&revoked);

    for token in [
        revoked.as_str(),
        "gho_16C7e42F292c6912E7710c838347Ae178B4a",
        "ghu_x",
    ] {
        assert_refused(&service.exchange(token).await);
    }
    assert_nothing_written(&service);
    assert!(!asked_for_the_user(&service));
}

#[tokio::test]
async fn a_token_that_is_revoked_between_the_two_questions_opens_nothing() {
    let service = Service::start().await;
    let gone = Fault::status(StatusCode::UNAUTHORIZED);
    service.github.fault(When::Path("/user"), gone);

    assert_refused(&service.exchange(&service.github_token("octocat")).await);
    assert_nothing_written(&service);
}

#[tokio::test]
async fn t02_an_answer_that_names_another_app_or_nobody_opens_nothing() {
    let service = Service::start().await;
    let user = json!({ "id": 583_231, "login": "octocat" });
    for body in [
        json!({ "app": { "client_id": FOREIGN_APP.0 }, "user": user, "scopes": [] }),
        json!({ "app": { "client_id": "OUR-APP" }, "user": user, "scopes": [] }),
        json!({ "app": { "client_id": GITHUB_APP.0 }, "user": null, "scopes": [] }),
        json!({ "app": { "client_id": GITHUB_APP.0 }, "scopes": [] }),
    ] {
        service.github.heal();
        service.github.fault(When::Path(CHECK), answers(&body));
        assert_refused(&service.exchange(&service.github_token("octocat")).await);
    }
    assert_nothing_written(&service);
    assert!(!asked_for_the_user(&service));
}

#[tokio::test]
async fn t03_a_token_of_another_kind_is_sent_nowhere() {
    let service = Service::start().await;
    for token in [
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "github_pat_11ABCDEFG0abcdefghijkl",
        "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
        "ghr_16C7e42F292c6912E7710c838347Ae178B4a",
        "16c7e42f292c6912e7710c838347ae178b4a1234",
        "gho_../../user",
        "gho_",
    ] {
        assert_refused(&service.exchange(token).await);
    }
    assert!(service.github.calls().is_empty());
    assert!(service.dynamodb.calls().is_empty());
}

#[tokio::test]
async fn t04_an_impossible_user_id_is_no_user() {
    let service = Service::start().await;
    for id in [
        json!("583231"),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(9_223_372_036_854_775_808_u64),
        json!(1e30),
        json!([583_231]),
    ] {
        let user = json!({ "id": id, "login": "octocat" });
        let body = json!({ "app": { "client_id": GITHUB_APP.0 }, "user": user, "scopes": [] });
        service.github.heal();
        service.github.fault(When::Path(CHECK), answers(&body));
        // The user did nothing wrong: it is GitHub's answer that makes no sense.
        assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
    }
    assert_nothing_written(&service);
    assert!(!asked_for_the_user(&service));
}

#[tokio::test]
async fn two_answers_about_two_users_are_no_user() {
    let service = Service::start().await;
    let other = json!({ "id": 2, "login": "hubot" });
    service.github.fault(When::Path("/user"), answers(&other));

    assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
    assert_nothing_written(&service);
}

#[tokio::test]
async fn the_address_is_read_only_with_its_scope_and_only_if_verified() {
    let service = Service::start().await;
    let token = service.github_token_of(GITHUB_APP.0, "octocat", "read:user");
    let without = service.exchange(&token).await;
    assert_eq!(without.body["user"]["email"], Value::Null);
    assert_eq!(without.body["user"]["email_verified"], false);
    assert!(
        service
            .github
            .calls()
            .iter()
            .all(|call| call.path != "/user/emails")
    );

    let unverified = json!([
        { "email": "a@example.com", "primary": true, "verified": false },
        { "email": "b@example.com", "primary": false, "verified": true },
    ]);
    service
        .github
        .fault(When::Path("/user/emails"), answers(&unverified));
    let answer = service.sign_in("octocat").await;
    assert_eq!(answer.body["user"]["email"], Value::Null);

    service.github.heal();
    let answer = service.sign_in("octocat").await;
    assert_eq!(answer.text("/user/email"), "octocat@example.com");
}

#[tokio::test]
async fn the_user_and_the_addresses_are_asked_for_in_parallel() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    service
        .github
        .fault(When::Always, Fault::Delay(Duration::from_millis(200)));

    service.sign_in("octocat").await;

    assert_eq!(service.github.calls().len(), 3);
    assert_eq!(service.github.round_trips(), 2);
}

#[tokio::test]
async fn t53_whatever_github_does_wrong_is_a_503_and_nothing_is_written() {
    let _turning = tests::timers::follow_work();
    let paths = [CHECK, "/user", "/user/emails"];
    for (name, fault) in Fault::of_a_provider() {
        // One service each, in parallel: some of these take seconds.
        let path = |path| {
            let fault = fault.clone();
            Box::pin(async move {
                let mut service = Service::start().await;
                let token = service.github_token("octocat");
                service.github.fault(When::Path(path), fault);

                let answer = service.exchange(&token).await;

                if answer.status == StatusCode::OK {
                    // Late, and not too late.
                    assert!(name.ends_with("ms late"), "{name} at {path}");
                } else {
                    assert_unavailable(&answer);
                    assert_nothing_written(&service);
                }
                service.github.heal();
                let other = service.another_process().await;
                service.url = other;
                assert_eq!(
                    service.exchange(&token).await.status,
                    StatusCode::OK,
                    "{name}"
                );
                service.check_invariants();
            })
        };
        tokio::join!(path(paths[0]), path(paths[1]), path(paths[2]));
    }
}

#[tokio::test]
async fn t53_the_wait_that_github_asks_for_is_passed_on() {
    let service = Service::start().await;
    for fault in [Fault::rate_limited(77), Fault::too_many_requests(77)] {
        service.time.pass(78);
        service.github.heal();
        service.github.clear();
        service.github.fault(When::Path(CHECK), fault);
        let answer = service.exchange(&service.github_token("octocat")).await;
        assert_unavailable(&answer);
        assert_eq!(answer.header("retry-after"), "77");
        assert_eq!(service.github.calls().len(), 1, "no second try");
    }
}

#[tokio::test]
async fn t53_a_rate_limit_of_the_app_is_remembered_until_its_wait_has_passed() {
    let service = Service::start().await;
    let limit = Fault::too_many_requests(600);
    service.github.fault(When::Path(CHECK), limit);
    for _ in 0..12 {
        assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
    }
    assert_eq!(service.github.calls().len(), 1, "asked once");
    service.github.heal();

    service.time.pass(590);
    let early = service.exchange(&service.github_token("octocat")).await;
    assert_unavailable(&early);
    let wait: u64 = early.header("retry-after").parse().unwrap();
    assert!(wait <= 10, "what is left of it: {wait}");
    assert_eq!(service.github.calls().len(), 1, "not asked before its time");

    service.time.pass(11);
    service.sign_in("octocat").await;
}

/// GitHub's primary limit names its end in `x-ratelimit-reset`; `Retry-After` may be a date (RFC 9110 §10.2.3).
#[tokio::test]
async fn t53_a_rate_limit_that_names_a_time_is_remembered_until_then() {
    for (name, value) in [
        ("x-ratelimit-reset", None),
        ("retry-after", Some("Fri, 31 Dec 9999 23:59:59 GMT")),
    ] {
        let service = Service::start().await;
        let reset = (service.time.now() + 1800).to_string();
        let limit = proxy::Reply::new(StatusCode::FORBIDDEN, "{}")
            .with_header("x-ratelimit-remaining", "0")
            .with_header(name, value.unwrap_or(&reset));
        service.github.fault(When::Path(CHECK), limit.into());
        let limited = service.exchange(&service.github_token("octocat")).await;
        service.github.heal();

        service.time.pass(1700);
        let early = service.exchange(&service.github_token("octocat")).await;

        assert_unavailable(&limited);
        let wait: u64 = limited.header("retry-after").parse().unwrap();
        assert!(wait > 1700, "{name}: {wait}");
        assert_unavailable(&early);
        assert_eq!(service.github.calls().len(), 1, "{name}");
        // No wait is longer than an hour, whatever the provider asks for.
        service.time.pass(1900);
        service.sign_in("octocat").await;
    }
}

/// A secondary limit may have no header of its own: GitHub asks for a minute then, and its other headers are about the
/// limit of the hour.
#[tokio::test]
async fn t53_a_secondary_limit_without_a_header_is_remembered_for_a_minute() {
    for status in [StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS] {
        let service = Service::start().await;
        let limit = Fault::secondary_limit(status, service.time.now() + 3000);
        service.github.fault(When::Path(CHECK), limit);
        let limited = service.exchange(&service.github_token("octocat")).await;
        service.github.heal();
        service.time.pass(59);
        let early = service.exchange(&service.github_token("octocat")).await;

        assert_unavailable(&limited);
        assert_eq!(limited.header("retry-after"), "60", "{status}");
        assert_unavailable(&early);
        assert_eq!(early.header("retry-after"), "1", "{status}");
        assert_eq!(service.github.calls().len(), 1, "{status}");
        service.time.pass(1);
        service.sign_in("octocat").await;
    }
}

#[tokio::test]
async fn t53_a_5xx_is_tried_once_more_and_a_4xx_is_not() {
    let service = Service::start().await;
    let fault = Fault::status(StatusCode::BAD_GATEWAY);
    service.github.fault_once(When::Path(CHECK), fault);
    service.sign_in("octocat").await;
    assert_eq!(service.github.calls().len(), 4);

    service.github.clear();
    service.exchange("gho_madeup").await;
    assert_eq!(service.github.calls().len(), 1);
}

/// Each connection of a frozen function may be dead when it thaws.
#[tokio::test]
async fn t103_a_call_whose_connection_is_lost_is_made_once_more() {
    for path in [CHECK, "/user", "/user/emails"] {
        for fault in [
            Fault::Refuse,
            Fault::ResetBeforeForwarding,
            Fault::ResetAfterForwarding,
            Fault::ResetMidBody,
            Fault::LengthTooLong,
        ] {
            let service = Service::start().await;
            service.sign_in("octocat").await;
            service.github.clear();
            service.github.fault_once(When::Path(path), fault.clone());

            let answer = service.exchange(&service.github_token("octocat")).await;

            assert_eq!(answer.status, StatusCode::OK, "{fault:?} at {path}");
            assert_eq!(service.github.calls().len(), 4, "{fault:?} at {path}");
        }
    }
}

/// A firewall forgets connections without a word, so that a request on one would wait for its timeout.
#[tokio::test]
async fn t103_after_a_pause_no_connection_of_before_it_is_used() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let first_caller = || service.github.calls()[0].caller;
    service.exchange(&token).await;
    let before = first_caller();
    service.github.clear();

    service.time.pass(5);
    service.exchange(&token).await;
    assert_eq!(first_caller(), before, "kept during a short pause");
    service.github.clear();

    service.time.pass(60);
    service.exchange(&token).await;
    assert_ne!(first_caller(), before);
}

#[tokio::test]
async fn t53_after_five_failures_github_is_left_alone_and_then_probed() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    service
        .github
        .fault(When::Always, Fault::status(StatusCode::BAD_GATEWAY));
    for _ in 0..5 {
        assert_unavailable(&service.exchange(&token).await);
    }
    service.github.clear();
    service.github.heal();

    let refused = service.exchange(&token).await;
    assert_unavailable(&refused);
    assert!(service.github.calls().is_empty(), "left alone");

    service.time.pass(11);
    assert_eq!(service.exchange(&token).await.status, StatusCode::OK);
    assert_eq!(service.exchange(&token).await.status, StatusCode::OK);
}

/// A Lambda instance handles one request at a time, and each hanging call costs seconds.
#[tokio::test]
async fn t53_after_two_sign_ins_that_hang_github_is_left_alone_and_then_probed() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let token = service.github_token("octocat");
    service.github.fault(When::Path(CHECK), Fault::Hang);
    for _ in 0..2 {
        assert_unavailable(&service.exchange(&token).await);
    }
    service.github.clear();

    assert_unavailable(&service.exchange(&token).await);
    assert!(service.github.calls().is_empty(), "left alone");

    // The probe hangs as well, and one is enough.
    service.time.pass(11);
    assert_unavailable(&service.exchange(&token).await);
    assert_unavailable(&service.exchange(&token).await);
    assert_eq!(service.github.calls().len(), 1, "one probe");

    service.github.heal();
    service.time.pass(11);
    assert_eq!(service.exchange(&token).await.status, StatusCode::OK);
}

/// A function that is called once a minute meets each failure separately.
#[tokio::test]
async fn t53_five_failures_in_a_row_count_however_far_apart_they_are() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let down = Fault::status(StatusCode::BAD_GATEWAY);
    service.github.fault(When::Path(CHECK), down);
    for _ in 0..5 {
        service.time.pass(60);
        assert_unavailable(&service.exchange(&token).await);
    }
    service.github.clear();

    assert_unavailable(&service.exchange(&token).await);

    assert!(service.github.calls().is_empty(), "left alone");
}

/// Each sign-in gets one successful answer before the failure, which must not reset the count.
#[tokio::test]
async fn t53_a_provider_that_is_half_down_is_left_alone_as_well() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let down = Fault::status(StatusCode::BAD_GATEWAY);
    service.github.fault(When::Path("/user"), down);
    for _ in 0..5 {
        assert_unavailable(&service.exchange(&token).await);
    }
    service.github.clear();

    assert_unavailable(&service.exchange(&token).await);

    assert!(service.github.calls().is_empty(), "left alone");
}

/// GitHub's secondary limits may have no header.
#[tokio::test]
async fn t53_a_403_for_an_address_that_the_scope_allows_is_an_outage() {
    let service = Service::start().await;
    let forbidden = Fault::status(StatusCode::FORBIDDEN);
    service.github.fault(When::Path("/user/emails"), forbidden);

    assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
    assert_nothing_written(&service);
}

#[tokio::test]
async fn t53_a_4xx_about_one_persons_token_turns_nobody_else_away() {
    let service = Service::start().await;
    for path in ["/user", "/user/emails"] {
        let forbidden = Fault::status(StatusCode::FORBIDDEN);
        service.github.fault(When::Path(path), forbidden);
        for _ in 0..6 {
            assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
        }
        service.github.heal();

        service.sign_in("hubot").await;
    }
}

#[tokio::test]
async fn t53_t55_one_users_rate_limit_turns_nobody_else_away() {
    let service = Service::start().await;
    service
        .github
        .fault(When::Path("/user"), Fault::rate_limited(60));
    for _ in 0..10 {
        assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
    }
    service.github.heal();

    service.sign_in("hubot").await;
}

#[tokio::test]
async fn t54_github_being_down_does_not_touch_those_who_are_signed_in() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    service.github.down().await;

    assert_eq!(service.me(&token).await.status, StatusCode::OK);
    let keys = service.request("GET", "/.well-known/jwks.json");
    assert_eq!(service.send(keys).await.status, StatusCode::OK);
    assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
}

#[tokio::test]
async fn t47_a_redirect_is_not_followed() {
    let service = Service::start().await;
    let elsewhere = proxy::Proxy::start(&service.github.url()).await;
    for path in [CHECK, "/user", "/user/emails"] {
        service.github.heal();
        let redirect = Fault::redirect_to(&format!("{}{path}", elsewhere.url()));
        service.github.fault(When::Path(path), redirect);
        assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
        service.time.pass(60);
    }
    assert!(elsewhere.calls().is_empty());
    assert_nothing_written(&service);
}

#[tokio::test]
async fn an_answer_larger_than_any_honest_one_is_not_read() {
    let service = Service::start().await;
    let huge = json!({ "id": 583_231, "login": "octocat", "name": "x".repeat(10_000_000) });
    service.github.fault(When::Path("/user"), answers(&huge));

    assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
    assert_nothing_written(&service);
}

#[tokio::test]
async fn t64_a_hostile_profile_does_not_stop_the_sign_in() {
    let service = Service::start().await;
    for (name, expected) in [
        (json!(null), json!("octocat")),
        (json!("x".repeat(500_000)), json!("x".repeat(256))),
        (json!("\u{202e}evil\u{0}"), json!("evil")),
        (json!("\u{0}\u{1}"), json!("octocat")),
        (json!("\u{3164}\u{2800}\u{34f}"), json!("octocat")),
        (
            json!("a\u{e0041}\u{3164}b\u{fe0f}\u{fe0f}"),
            json!("ab\u{fe0f}"),
        ),
    ] {
        let service_user = json!({ "id": 583_231, "login": "octocat", "name": name, "avatar_url": "javascript:1" });
        service.github.heal();
        service
            .github
            .fault(When::Path("/user"), answers(&service_user));
        for user in service.items() {
            service.delete(&user);
        }
        let answer = service.sign_in("octocat").await;
        assert_eq!(answer.body["user"]["name"], expected);
        assert_eq!(answer.body["user"]["picture"], Value::Null);
    }
}

#[tokio::test]
async fn t64_the_picture_of_a_profile_is_stored_in_the_parsers_own_spelling() {
    let service = Service::start().await;
    for (url, stored) in [
        ("https://example.com/a\n.png", Value::Null),
        ("https://example.com/\u{202e}gnp.a", Value::Null),
        ("https://octocat@example.com/a.png", Value::Null),
        (
            "https://EXAMPLE.com/\"><script>",
            json!("https://example.com/%22%3E%3Cscript%3E"),
        ),
    ] {
        service.github.heal();
        let user = json!({ "id": 583_231, "login": "octocat", "avatar_url": url });
        service.github.fault(When::Path("/user"), answers(&user));
        for item in service.items() {
            service.delete(&item);
        }

        let answer = service.sign_in("octocat").await;

        assert_eq!(answer.body["user"]["picture"], stored, "{url}");
    }
}

#[tokio::test]
async fn wrong_credentials_of_our_own_app_are_not_the_users_fault() {
    let service = Service::start_with(&[("GITHUB_CLIENT_SECRET", "CANARY-wrong")]).await;

    assert_unavailable(&service.exchange(&service.github_token("octocat")).await);
    assert_nothing_written(&service);
}
