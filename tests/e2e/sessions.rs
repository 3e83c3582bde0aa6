//! Sessions: a race, a retry or a lost answer logs no user out, and the use of a copied token ends the session.

use local::github::Account;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    ACCESS_TOKEN, Answer, OTHER_CLIENT, Service, TOKEN_EXCHANGE, exchange_of,
    forge::Forge,
    proxy::{Fault, When},
    refresh_of,
};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const DAY: i64 = 24 * 60 * 60;

/// Refreshes and returns the successor.
async fn refreshed(service: &Service, token: &str) -> String {
    let answer = service.refresh(token).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    answer.text("/refresh_token").to_owned()
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{:?}", answer.body);
    assert_eq!(answer.text("/error"), "invalid_grant");
    assert_eq!(answer.header("cache-control"), "no-store");
}

fn is_ended(service: &Service) -> bool {
    service.sessions()[0]["ended_at"].is_object()
}

#[tokio::test]
async fn a_refresh_answers_like_a_sign_in_of_the_same_session() {
    let service = Service::start().await;
    let first = service.sign_in("octocat").await;

    let second = service.refresh(first.text("/refresh_token")).await;

    assert_eq!(second.status, StatusCode::OK);
    assert_eq!(second.body["user"], first.body["user"]);
    assert_eq!(second.body["scope"], first.body["scope"]);
    assert_eq!(second.body["token_type"], "Bearer");
    assert_eq!(second.body["refresh_token_expires_in"], 30 * DAY);
    assert!(second.body.get("is_new_user").is_none());
    let [first, second] = [&first, &second].map(|answer| answer.text("/access_token"));
    let (first, second) = (service.verify(first).await, service.verify(second).await);
    assert_eq!(first.sid, second.sid);
    assert_ne!(first.jti, second.jti);
}

#[tokio::test(flavor = "multi_thread")]
async fn t34_a_hundred_parallel_refreshes_rotate_once_and_all_get_the_same_successor() {
    let mut service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    let urls = [service.url.clone(), service.another_process().await];
    let refreshes: Vec<_> = (0..100)
        .map(|nth| {
            service.url.clone_from(&urls[nth % 2]);
            let request = service.token_request(&refresh_of(&token));
            tokio::spawn(tests::persist(request))
        })
        .collect();
    let mut answers = Vec::new();
    for refresh in refreshes {
        answers.push(refresh.await.unwrap().body);
    }

    let successor = &answers[0]["refresh_token"];
    assert_ne!(*successor, token);
    assert!(
        answers
            .iter()
            .all(|answer| answer["refresh_token"] == *successor)
    );
    assert_eq!(service.sessions()[0]["generation"]["N"], "1");
    for answer in &answers {
        service
            .verify(answer["access_token"].as_str().unwrap())
            .await;
    }
    refreshed(&service, successor.as_str().unwrap()).await;
}

#[tokio::test]
async fn t35_the_token_before_gets_the_same_successor_until_that_is_used() {
    let service = Service::start().await;
    let first = service.refresh_token("octocat").await;
    let second = refreshed(&service, &first).await;

    service.time.pass(20 * DAY);
    assert_eq!(refreshed(&service, &first).await, second, "however late");
    let third = refreshed(&service, &second).await;
    assert_refused(&service.refresh(&first).await);

    assert!(is_ended(&service));
    assert_refused(&service.refresh(&second).await);
    assert_refused(&service.refresh(&third).await);
}

#[tokio::test]
async fn t35_a_reuse_window_bounds_how_late() {
    let service = Service::start_with(&[("REFRESH_REUSE_WINDOW", "60")]).await;
    let first = service.refresh_token("octocat").await;
    let second = refreshed(&service, &first).await;

    service.time.pass(30);
    assert_eq!(refreshed(&service, &first).await, second);
    service.time.pass(31);
    assert_refused(&service.refresh(&first).await);

    assert_refused(&service.refresh(&second).await);
}

#[tokio::test]
async fn t36_a_token_two_generations_old_ends_the_session() {
    let service = Service::start().await;
    let stolen = service.refresh_token("octocat").await;
    let mut token = refreshed(&service, &stolen).await;
    for _ in 0..3 {
        token = refreshed(&service, &token).await;
    }

    assert_refused(&service.refresh(&stolen).await);

    assert!(is_ended(&service));
    assert_refused(&service.refresh(&token).await);
    let logged = tests::log_lines();
    assert!(
        logged
            .iter()
            .any(|line| line.contains(r#""event":"session.reuse_detected""#))
    );
    assert!(
        logged
            .iter()
            .any(|line| line.contains(r#""event":"session.ended""#))
    );
}

#[tokio::test]
async fn t37_nobody_ends_a_session_by_guessing() {
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    let before = service.sessions();
    let other = service.refresh_token("hubot").await;

    for forged in [
        "cbr_".to_owned(),
        format!("cbr_{}", "A".repeat(119)),
        token[..token.len() - 1].to_owned(),
        format!("{token}A"),
        token.to_uppercase(),
        spliced(&token, &other),
    ] {
        assert_refused(&service.refresh(&forged).await);
    }
    let after: Vec<_> = service
        .sessions()
        .into_iter()
        .filter(|item| before.contains(item))
        .collect();
    assert_eq!(after, before);
    refreshed(&service, &token).await;
}

/// Returns a well-formed token with the session of one token and the secrets of another.
pub(crate) fn spliced(session: &str, secrets: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let [session, secrets] =
        [session, secrets].map(|token| URL_SAFE_NO_PAD.decode(&token[4..]).unwrap());
    let mut bytes = [&session[..37], &secrets[37..85]].concat();
    let checksum = crc32fast::hash(&bytes).to_be_bytes();
    bytes.extend_from_slice(&checksum);
    format!("cbr_{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[tokio::test]
async fn t39_an_answer_lost_after_the_write_is_given_again() {
    let _turning = tests::timers::follow_work();
    for fault in [
        Fault::ResetAfterForwarding,
        Fault::HangAfterForwarding,
        Fault::ResetMidBody,
        Fault::TruncatedBody,
    ] {
        let service = Service::start().await;
        let token = service.refresh_token("octocat").await;
        service.dynamodb.clear();
        service.dynamodb.fault(When::Operation("UpdateItem"), fault);
        let lost = service.refresh(&token).await;
        // The SDK's own retry finds its own write, which is no answer to lose a session over.
        let first = (lost.status == StatusCode::OK).then(|| lost.text("/refresh_token").to_owned());
        service.dynamodb.heal();
        service.dynamodb.settled().await;
        assert_eq!(service.sessions()[0]["generation"]["N"], "1");

        let next = refreshed(&service, &token).await;

        assert!(first.is_none_or(|first| first == next));
        assert_eq!(service.sessions()[0]["generation"]["N"], "1");
        refreshed(&service, &next).await;
    }
}

#[tokio::test]
async fn t40_a_session_expires_although_its_item_is_still_there() {
    let service = Service::start().await;
    let never_refreshed = service.refresh_token("octocat").await;
    service.time.pass(30 * DAY + 1);
    assert_refused(&service.refresh(&never_refreshed).await);

    let idle = service.refresh_token("octocat").await;
    service.time.pass(30 * DAY - 60);
    let token = refreshed(&service, &idle).await;
    service.time.pass(30 * DAY + 1);
    assert_refused(&service.refresh(&token).await);
    assert_eq!(service.sessions().len(), 2);

    let mut token = service.refresh_token("octocat").await;
    for _ in 0..8 {
        service.time.pass(20 * DAY);
        token = refreshed(&service, &token).await;
    }
    service.time.pass(19 * DAY);
    let last = service.refresh(&token).await;
    let left = last.body["refresh_token_expires_in"].as_i64().unwrap();
    assert!(left <= DAY, "the absolute lifetime is near: {left}");
    service.time.pass(DAY + 1);
    assert_refused(&service.refresh(last.text("/refresh_token")).await);
}

#[tokio::test]
async fn t41_a_user_who_is_disabled_deleted_or_signed_out_everywhere_is_not_refreshed() {
    for change in [
        |user: &mut Value| user["status"] = json!({ "S": "disabled" }),
        |user: &mut Value| user["session_version"] = json!({ "N": "1" }),
        |user: &mut Value| *user = Value::Null,
    ] {
        let service = Service::start().await;
        let token = service.refresh_token("octocat").await;
        let mut user = service.users().remove(0);
        service.delete(&user);
        change(&mut user);
        if !user.is_null() {
            service.put(local::dynamodb::TABLE, &user);
        }
        assert_refused(&service.refresh(&token).await);
    }
}

#[tokio::test]
async fn t12_another_client_neither_refreshes_nor_ends_a_session() {
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    let before = service.sessions();

    assert_refused(&service.refresh_as(OTHER_CLIENT, &token).await);

    assert_eq!(service.sessions(), before);
    refreshed(&service, &token).await;
}

#[tokio::test]
async fn t44_a_refresh_may_ask_for_less_and_not_for_more() {
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    let with_scope = async |token: &str, scope: &str| {
        let mut parameters = refresh_of(token).to_vec();
        parameters.push(("scope", scope));
        service.token(&parameters).await
    };

    let less = with_scope(&token, "orders:read").await;
    assert_eq!(less.text("/scope"), "orders:read");
    let token = less.text("/refresh_token").to_owned();
    let more = with_scope(&token, "orders:read admin").await;
    assert_eq!(more.status, StatusCode::BAD_REQUEST);
    assert_eq!(more.text("/error"), "invalid_scope");
    assert_eq!(
        service.refresh(&token).await.text("/scope"),
        "orders:read orders:write"
    );
}

#[tokio::test]
async fn t37_the_family_and_the_secret_must_both_be_those_of_the_session() {
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    let before = service.sessions();
    let other = service.refresh_token("hubot").await;
    let (family, secret) = (37..53, 53..85);

    for part in [family, secret] {
        assert_refused(&service.refresh(&with_part(&token, &other, part)).await);
    }

    let after: Vec<_> = service
        .sessions()
        .into_iter()
        .filter(|item| before.contains(item))
        .collect();
    assert_eq!(after, before);
    refreshed(&service, &token).await;
}

/// Returns a well-formed token with some bytes of another.
fn with_part(token: &str, other: &str, part: std::ops::Range<usize>) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let [mut bytes, other] =
        [token, other].map(|token| URL_SAFE_NO_PAD.decode(&token[4..]).unwrap());
    bytes[part.clone()].copy_from_slice(&other[part]);
    bytes.truncate(85);
    let checksum = crc32fast::hash(&bytes).to_be_bytes();
    bytes.extend_from_slice(&checksum);
    format!("cbr_{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[tokio::test]
async fn a_subject_token_is_remembered_for_two_hours_however_short_its_session() {
    let settings = [("SESSION_IDLE_TTL", "60"), ("SESSION_ABSOLUTE_TTL", "60")];
    let service = Service::start_with(&settings).await;
    let now = service.time.now();
    service.sign_in("octocat").await;

    let item = service.sessions().remove(0);

    let at = |name: &str| -> u64 { item[name]["N"].as_str().unwrap().parse().unwrap() };
    assert!(at("absolute_expires_at") < now + 120);
    let hour = 60 * 60;
    assert!((now + 2 * hour..now + 3 * hour).contains(&at("expires_at")));
}

#[tokio::test]
async fn t46_nothing_in_the_table_is_a_token() {
    let service = Service::start().await;
    let first = service.refresh_token("octocat").await;
    let second = refreshed(&service, &first).await;
    let table = Value::from(service.items()).to_string();

    for token in [&first, &second] {
        use base64::{
            Engine,
            engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
        };
        let bytes = URL_SAFE_NO_PAD.decode(&token[4..]).unwrap();
        let (family, secret) = (&bytes[37..53], &bytes[53..85]);
        for secret in [family, secret] {
            for spelling in [STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret)] {
                assert!(!table.contains(spelling.trim_end_matches('=')));
            }
        }
        assert!(!table.contains(token.as_str()));
    }
}

/// A token of each kind, and the places that accept it.
#[tokio::test]
async fn t08_each_kind_of_token_is_accepted_in_its_own_place_only() {
    let service = Service::start().await;
    let answer = service.sign_in("octocat").await;
    let (access, refresh) = (answer.text("/access_token"), answer.text("/refresh_token"));
    let forge = Forge::new(&service).await;
    // Valid in every other respect: issuer, audience and signing key are Cambio's.
    let id_token = forge.with_header("typ", "JWT");
    let subject = service.github_token("octocat");
    let tokens = [
        ("access", access),
        ("refresh", refresh),
        ("ID", id_token.as_str()),
        ("subject", subject.as_str()),
    ];
    let before = service.items();
    for (kind, token) in tokens {
        let as_subject = async |subject_token_type, subject_issuer| {
            let parameters = [
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", token),
                ("subject_token_type", subject_token_type),
                ("subject_issuer", subject_issuer),
            ];
            service.token(&parameters).await
        };
        if kind != "access" {
            for request in [
                service.as_user(token, "GET", "/me"),
                service.as_user(token, "PATCH", "/me").json(&json!({})),
                service.as_user(token, "DELETE", "/me"),
                service.as_user(token, "GET", "/me/sessions"),
                service.as_user(token, "DELETE", "/me/sessions"),
                service.as_user(token, "DELETE", "/me/sessions/AAAAAAAAAAAAAAAAAAAAAA"),
            ] {
                let answer = service.send(request).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{kind} as access");
            }
        }
        if kind != "refresh" {
            assert_refused(&service.refresh(token).await);
        }
        if kind != "subject" {
            let answer = as_subject(ACCESS_TOKEN, "github").await;
            assert_eq!(
                answer.text("/error"),
                "invalid_request",
                "{kind} as subject"
            );
        }
        // No OpenID provider is configured, so no token is an ID token, Cambio's included.
        for (id_token_type, issuer) in [
            (ID_TOKEN, "github"),
            (ID_TOKEN, tests::ISSUER),
            ("urn:ietf:params:oauth:token-type:jwt", tests::ISSUER),
        ] {
            let answer = as_subject(id_token_type, issuer).await;
            assert_eq!(answer.text("/error"), "invalid_request", "{kind} as ID");
        }
        if kind == "ID" || kind == "subject" {
            assert_eq!(service.revoke(token).await.status, StatusCode::OK);
        }
    }
    assert_eq!(service.items(), before, "none of them did anything");

    assert_eq!(service.me(access).await.status, StatusCode::OK);
    refreshed(&service, refresh).await;
    assert_eq!(service.exchange(&subject).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_subject_token_opens_one_session() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let first = service.exchange(&token).await;
    let again = service.exchange(&token).await;
    assert_eq!(
        again.body["refresh_token"], first.body["refresh_token"],
        "a lost answer"
    );
    assert_eq!(again.body["is_new_user"], true, "and all of it");
    let other = service.token_request_as(OTHER_CLIENT, &exchange_of(&token));
    let refused = |answer: Answer| {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.text("/error"), "invalid_request");
        assert!(
            answer
                .text("/error_description")
                .contains("already exchanged")
        );
    };

    refused(service.send(other).await);
    service.time.pass(61);
    refused(service.exchange(&token).await);

    assert_eq!(service.sessions().len(), 1);
    refreshed(&service, first.text("/refresh_token")).await;
}

#[tokio::test]
async fn a_refused_replay_of_a_subject_token_changes_nothing() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    service.exchange(&token).await;
    // What would be written if the replay were let in.
    let renamed = Account::new(583_231, "octocat").named("Somebody else");
    service.stand_in.add_account(renamed);
    let other = service.token_request_as(OTHER_CLIENT, &exchange_of(&token));
    let before = service.items();

    let foreign = service.send(other).await;
    service.time.pass(61);
    let late = service.exchange(&token).await;

    for answer in [&foreign, &late] {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(
            answer
                .text("/error_description")
                .contains("already exchanged")
        );
    }
    assert_eq!(service.items(), before);
}

#[tokio::test]
async fn an_exchange_is_not_repeated_for_who_signed_out_everywhere_since() {
    let service = Service::start().await;
    service.sign_in("octocat").await;
    let token = service.github_token("octocat");
    let first = service.exchange(&token).await;
    let signed_out = service
        .delete_as_user(first.text("/access_token"), "/me/sessions")
        .await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);
    service.time.pass(1);
    let before = service.items();

    let repeated = service.exchange(&token).await;

    assert_eq!(repeated.status, StatusCode::BAD_REQUEST);
    assert_eq!(service.items(), before);
    // The same where the session's read, after those of the identity and the user, is out of date.
    let sessions = service.sessions();
    service.dynamodb.clear();
    service.dynamodb.fault(When::Nth(3), Fault::Stale);
    let repeated = service.exchange(&token).await;
    assert_eq!(repeated.status, StatusCode::BAD_REQUEST);
    assert_eq!(service.sessions(), sessions);
}

/// The read that finds the replay may be stale; the condition of the write is not.
#[tokio::test]
async fn a_replay_that_a_stale_read_does_not_see_opens_no_second_session() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    service.exchange(&token).await;
    service.time.pass(61);
    let before = service.sessions();
    service.dynamodb.fault(When::Always, Fault::Stale);

    let late = service.exchange(&token).await;

    assert_eq!(late.status, StatusCode::BAD_REQUEST);
    assert_eq!(service.sessions(), before);
}

/// Signs in again with a delayed `UpdateItem`, so that `change` happens after the put of the session and before that
/// of the profile.
async fn sign_in_while(service: &Service, change: impl Fn(&mut Value)) -> Answer {
    service.sign_in("octocat").await;
    service.time.pass(1);
    service.dynamodb.clear();
    let delay = Fault::Delay(std::time::Duration::from_millis(300));
    service.dynamodb.fault(When::Operation("UpdateItem"), delay);
    let token = service.github_token("octocat");
    let request = service.token_request(&exchange_of(&token));
    let sign_in = tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await });
    // Identity, user, session; then the session is put while the profile waits.
    service.dynamodb.arrived(5).await;
    let mut user = service.users().remove(0);
    change(&mut user);
    service.put(local::dynamodb::TABLE, &user);
    sign_in.await.unwrap()
}

#[tokio::test]
async fn who_signs_out_everywhere_in_the_middle_of_a_sign_in_is_signed_in_as_of_its_end() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;

    let answer = sign_in_while(&service, |user| {
        user["session_version"] = json!({ "N": "1" })
    })
    .await;

    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let token = refreshed(&service, answer.text("/refresh_token")).await;
    refreshed(&service, &token).await;
    let me = service.me(answer.text("/access_token")).await;
    assert_eq!(me.status, StatusCode::OK);
}

#[tokio::test]
async fn who_is_disabled_in_the_middle_of_a_sign_in_has_no_session_of_it() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;

    let answer = sign_in_while(&service, |user| user["status"] = json!({ "S": "disabled" })).await;

    assert_eq!(answer.text("/error"), "access_denied", "{:?}", answer.body);
    let sessions = service.sessions();
    let ended = sessions
        .iter()
        .filter(|item| item["ended_at"] != Value::Null);
    assert_eq!((sessions.len(), ended.count()), (2, 1));
}

#[tokio::test]
async fn an_account_that_another_one_replaces_in_the_middle_of_a_sign_in_does_not_sign_in() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;

    let answer = sign_in_while(&service, |user| {
        user["identities"]["M"]["github"]["M"]["key"] = json!({ "S": "github#another" });
    })
    .await;

    // The identity's item still names the user, whose item names another identity: contradictory items admit no
    // sign-in.
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let sessions = service.sessions();
    let ended = sessions
        .iter()
        .filter(|item| item["ended_at"] != Value::Null);
    assert_eq!((sessions.len(), ended.count()), (2, 1));
}

/// A repeated exchange completes the first one, whose write of the profile failed.
#[tokio::test]
async fn a_repeated_exchange_writes_the_profile_that_the_first_one_did_not() {
    let service = Service::start().await;
    service.sign_in("octocat").await;
    let renamed = Account::new(583_231, "octocat").named("Renamed");
    service.stand_in.add_account(renamed);
    let token = service.github_token("octocat");
    service.time.pass(1);
    service.dynamodb.fault(
        When::Operation("UpdateItem"),
        Fault::internal_server_error(),
    );
    let failed = service.exchange(&token).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    service.dynamodb.heal();

    let repeated = service.exchange(&token).await;

    assert_eq!(repeated.status, StatusCode::OK, "{:?}", repeated.body);
    assert_eq!(repeated.body["user"]["name"], "Renamed");
    assert_eq!(service.sessions().len(), 2);
    refreshed(&service, repeated.text("/refresh_token")).await;
}

#[tokio::test]
async fn a_session_that_was_used_is_not_opened_again() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let first = service.exchange(&token).await;
    refreshed(&service, first.text("/refresh_token")).await;

    let answer = service.exchange(&token).await;

    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(!is_ended(&service));
}

#[tokio::test]
async fn t91_a_generation_ahead_of_a_restored_table_ends_nothing() {
    let service = Service::start().await;
    let first = service.refresh_token("octocat").await;
    let backup = service.sessions().remove(0);
    let second = refreshed(&service, &first).await;
    service.put(local::dynamodb::TABLE, &backup);

    assert_refused(&service.refresh(&second).await);

    assert_eq!(service.sessions(), [backup]);
}

#[tokio::test]
async fn dynamodb_being_down_costs_nobody_a_session() {
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    service.dynamodb.down().await;
    let answer = service.refresh(&token).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "1");

    service.dynamodb.heal();

    refreshed(&service, &token).await;
}
