//! Signing out: revocation by a client, and the end of one or all sessions by a user.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, CLIENT, OTHER_CLIENT, Service,
    forge::Forge,
    proxy::{Fault, When},
    refresh_of,
};
use tokio::task::JoinSet;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// A sign-in of octocat on one device.
struct Device {
    access: String,
    refresh: String,
    session: String,
}

impl Device {
    async fn sign_in(service: &Service, login: &str) -> Self {
        let answer = service.sign_in(login).await;
        let access = answer.text("/access_token").to_owned();
        Self {
            session: service.verify(&access).await.sid.to_string(),
            refresh: answer.text("/refresh_token").to_owned(),
            access,
        }
    }

    /// Refreshes and reads `/me`, as an app on the device does.
    async fn goes_on(&mut self, service: &Service) {
        let answer = service.refresh(&self.refresh).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        self.access = answer.text("/access_token").to_owned();
        self.refresh = answer.text("/refresh_token").to_owned();
        assert_eq!(service.me(&self.access).await.status, StatusCode::OK);
    }

    /// Asserts that the refresh token is refused.
    async fn is_over(&self, service: &Service) {
        let answer = service.refresh(&self.refresh).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{:?}", answer.body);
        assert_eq!(answer.text("/error"), "invalid_grant");
    }

    /// Asserts that every route refuses the unexpired access token, and that nothing changes.
    async fn is_out_at_once(&self, service: &Service) {
        self.is_over(service).await;
        let before = service.items();
        service.github.clear();
        let other_session = "/me/sessions/AAAAAAAAAAAAAAAAAAAAAA";
        for (method, path, body) in [
            ("GET", "/me", None),
            ("PATCH", "/me", Some(json!({ "name": "Mallory" }))),
            ("DELETE", "/me", None),
            ("GET", "/me/sessions", None),
            ("DELETE", "/me/sessions?except=current", None),
            ("DELETE", other_session, None),
            ("GET", "/me/identities", None),
            ("POST", "/me/identities", Some(mallorys_account(service))),
            ("DELETE", "/me/identities/github", None),
        ] {
            let request = service.as_user(&self.access, method, path);
            let answer = service
                .send(match &body {
                    Some(body) => request.json(body),
                    None => request,
                })
                .await;
            assert_unauthorized(&answer);
        }
        assert_eq!(service.items(), before);
        assert!(service.github.calls().is_empty(), "nobody is asked");
    }
}

/// Returns the body that links the account of an attacker, with a valid token, to the caller.
fn mallorys_account(service: &Service) -> Value {
    let token = service.github_token("member");
    json!({ "subject_token": token, "subject_token_type": tests::ACCESS_TOKEN, "subject_issuer": "github" })
}

fn assert_unauthorized(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{:?}", answer.body);
    assert!(
        answer
            .header("www-authenticate")
            .contains("error=\"invalid_token\"")
    );
    assert_eq!(answer.header("cache-control"), "no-store");
}

fn assert_done(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{:?}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// Returns the ids in a list of sessions.
fn ids(list: &Answer) -> Vec<&str> {
    let sessions = list.body["sessions"].as_array().unwrap();
    let ids = sessions.iter().map(|session| session["id"].as_str());
    ids.map(Option::unwrap).collect()
}

#[tokio::test]
async fn the_list_shows_where_the_user_is_signed_in_and_which_one_asks() {
    let service = Service::start().await;
    let phone = Device::sign_in(&service, "octocat").await;
    Device::sign_in(&service, "hubot").await;
    service.time.pass(MINUTE);
    let token = service.github_token("octocat");
    let request = service
        .token_request(&tests::exchange_of(&token))
        .header("user-agent", format!("Desktop/{}", "x".repeat(200)));
    let desktop = service.send(request).await;

    let list = service.my_sessions(&phone.access).await;

    assert_eq!(list.status, StatusCode::OK);
    assert_eq!(list.header("cache-control"), "no-store");
    let sessions = list.body["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "hubot's is not among them");
    let [newest, oldest] = [&sessions[0], &sessions[1]];
    let desktop = service.verify(desktop.text("/access_token")).await;
    assert_eq!(newest["id"], desktop.sid.to_string());
    assert_eq!(newest["current"], false);
    let user_agent = newest["user_agent"].as_str().unwrap();
    assert!(user_agent.starts_with("Desktop/xxx") && user_agent.len() == 120);
    assert_eq!(oldest["id"], *phone.session);
    assert_eq!(oldest["current"], true);
    assert_eq!(oldest["client_id"], CLIENT.0);
    for time in ["created_at", "last_used_at", "expires_at"] {
        let time = oldest[time].as_str().unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
    let members: BTreeSet<_> = oldest.as_object().unwrap().keys().collect();
    assert_eq!(members.len(), 7, "no hash, no nonce: {members:?}");
}

#[tokio::test]
async fn sessions_that_are_over_are_not_in_the_list() {
    let service = Service::start().await;
    let old = Device::sign_in(&service, "octocat").await;
    service.time.pass(20 * DAY);
    let ended = Device::sign_in(&service, "octocat").await;
    service.time.pass(11 * DAY);
    let current = Device::sign_in(&service, "octocat").await;
    assert_eq!(service.revoke(&ended.refresh).await.status, StatusCode::OK);

    let list = service.my_sessions(&current.access).await;

    assert_eq!(ids(&list), [&current.session]);
    old.is_over(&service).await;
    assert_eq!(
        service.sessions().len(),
        3,
        "their items are still in the table"
    );
}

#[tokio::test]
async fn t40_a_session_after_its_absolute_end_is_not_in_the_list() {
    let settings = [("SESSION_ABSOLUTE_TTL", "864000")]; // 10 days, within the 30 of an idle session
    let service = Service::start_with(&settings).await;
    let old = Device::sign_in(&service, "octocat").await;
    service.time.pass(11 * DAY);
    let current = Device::sign_in(&service, "octocat").await;

    let list = service.my_sessions(&current.access).await;

    assert_eq!(ids(&list), [&current.session]);
    old.is_over(&service).await;
}

#[tokio::test]
async fn a_list_of_two_thousand_sessions_is_complete() {
    let service = Service::start().await;
    let device = Device::sign_in(&service, "octocat").await;
    let session = service.sessions().remove(0);
    for nth in 0..2_000 {
        let mut copy = session.clone();
        copy["sk"]["S"] = format!("SESSION#{nth:0>21}A").into();
        // Larger than real items, so that DynamoDB answers in several pages.
        copy["user_agent"]["S"] = "x".repeat(1_000).into();
        service.put(local::dynamodb::TABLE, &copy);
    }
    service.dynamodb.clear();

    let list = service.my_sessions(&device.access).await;

    assert_eq!(ids(&list).len(), 2_001);
    let calls = service.dynamodb.calls();
    let pages = calls
        .iter()
        .filter(|call| call.operation.as_deref() == Some("Query"));
    assert!(pages.count() > 1);
}

#[tokio::test]
async fn ending_one_session_ends_that_one() {
    let service = Service::start().await;
    let mut here = Device::sign_in(&service, "octocat").await;
    let there = Device::sign_in(&service, "octocat").await;
    let mut hubot = Device::sign_in(&service, "hubot").await;
    let path = format!("/me/sessions/{}", there.session);

    for repetition in ["the first time", "once more"] {
        assert_done(&service.delete_as_user(&here.access, &path).await);
        let ended = |line: &String| {
            line.contains(r#""event":"session.ended""#)
                && line.contains(&there.session)
                && line.contains(r#""reason":"signed_out""#)
        };
        let logged = tests::log_lines();
        assert_eq!(
            logged.iter().filter(|line| ended(line)).count(),
            1,
            "{repetition}"
        );
    }

    there.is_over(&service).await;
    assert_eq!(
        ids(&service.my_sessions(&here.access).await),
        [&here.session]
    );
    there.is_out_at_once(&service).await;
    here.goes_on(&service).await;
    hubot.goes_on(&service).await;
}

#[tokio::test]
async fn t94_the_token_of_an_ended_session_changes_nothing() {
    let service = Service::start_with(&[("SESSION_IDLE_TTL", "600")]).await;
    let here = Device::sign_in(&service, "octocat").await;
    let ended = Device::sign_in(&service, "octocat").await;
    let given_back = Device::sign_in(&service, "octocat").await;
    let revoked = Device::sign_in(&service, "octocat").await;
    let path = format!("/me/sessions/{}", ended.session);
    assert_done(&service.delete_as_user(&here.access, &path).await);
    for token in [&given_back.refresh, &revoked.access] {
        assert_eq!(service.revoke(token).await.status, StatusCode::OK);
    }

    for device in [&ended, &given_back, &revoked] {
        device.is_out_at_once(&service).await;
        let everywhere = service.delete_as_user(&device.access, "/me/sessions").await;
        assert_unauthorized(&everywhere);
        let path = format!("/me/sessions/{}", here.session);
        assert_unauthorized(&service.delete_as_user(&device.access, &path).await);
    }
    assert_eq!(service.me(&here.access).await.status, StatusCode::OK);
    // A session that expired before its access token did is over as well.
    service.time.pass(600);
    assert_unauthorized(&service.me(&here.access).await);
}

#[tokio::test]
async fn t94_a_session_that_ends_in_the_middle_of_a_change_changes_nothing() {
    let _turning = tests::timers::follow_work();
    let issuer_key = tests::oidc::Key::new("one");
    let issuer = tests::oidc::Issuer::start(&issuer_key).await;
    let service = Service::start_with(&[("OIDC_PROVIDERS", &issuer.settings())]).await;
    let device = Device::sign_in(&service, "octocat").await;
    let id_token = |sub: &str| issuer_key.sign(&issuer.claims(sub, service.time.now()));
    let link = |sub: &str| {
        let kind = "urn:ietf:params:oauth:token-type:id_token";
        let body = json!({ "subject_token": id_token(sub), "subject_token_type": kind });
        let request = service.as_user(&device.access, "POST", "/me/identities");
        request.json(&body)
    };
    assert_eq!(service.send(link("ada")).await.status, StatusCode::OK);
    let ended = |item: &Value| item["ended_at"] != Value::Null;
    let session = service.sessions().into_iter().find(|item| !ended(item));
    let mut session = session.unwrap();
    let session_before = session.clone();
    session["ended_at"] = json!({ "N": "1" });
    let before = service.users();
    for request in [
        service.as_user(&device.access, "DELETE", "/me/identities/acme"),
        service.as_user(&device.access, "DELETE", "/me"),
    ] {
        service.put(local::dynamodb::TABLE, &session_before);
        // The session was read as alive; before the change arrives at the table, the session ends.
        let status = service
            .interrupted(status_of(request), "TransactWriteItems", async {
                service.put(local::dynamodb::TABLE, &session);
            })
            .await;

        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(service.users(), before);
    }
    service.check_invariants();
}

async fn status_of(request: reqwest::RequestBuilder) -> StatusCode {
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn keys_that_dynamodb_leaves_unprocessed_are_asked_for_again() {
    let service = Service::start().await;
    let device = Device::sign_in(&service, "octocat").await;
    let key = json!({ "pk": { "S": "USER#x" }, "sk": { "S": "USER" } });
    let unprocessed = |times| {
        let keys = json!({ "Keys": [key], "ConsistentRead": true });
        let table = service.table(local::dynamodb::TABLE);
        let body = json!({ "Responses": {}, "UnprocessedKeys": { table: keys } });
        let answer = tests::proxy::Reply::new(StatusCode::OK, body.to_string());
        let when = When::Operation("BatchGetItem");
        service
            .dynamodb
            .fault_times(times, when, Fault::Answer(answer));
    };

    unprocessed(3);
    let none = service.me(&device.access).await;
    assert_eq!(
        none.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{:?}",
        none.body
    );
    assert_eq!(service.me(&device.access).await.status, StatusCode::OK);
    // The last read decides: those keys have no items.
    unprocessed(2);
    assert_unauthorized(&service.me(&device.access).await);
}

#[tokio::test]
async fn t67_a_session_of_somebody_else_is_not_there() {
    let service = Service::start().await;
    let octocat = Device::sign_in(&service, "octocat").await;
    let mut hubot = Device::sign_in(&service, "hubot").await;
    let before = service.items();
    let mut answers = Vec::new();
    for id in [
        hubot.session.as_str(),
        "AAAAAAAAAAAAAAAAAAAAAA",
        "nonsense",
        "%FF",
        "..%2f",
        "USER",
        "SESSION%23",
        &"A".repeat(3_000),
    ] {
        let path = format!("/me/sessions/{id}");
        let answer = service.delete_as_user(&octocat.access, &path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
        answers.push(answer.body);
    }

    assert_eq!(answers[0]["type"], "urn:cambio:error:not_found");
    assert!(answers.iter().all(|body| *body == answers[0]));
    assert_eq!(service.items(), before);
    hubot.goes_on(&service).await;
}

#[tokio::test]
async fn signing_out_everywhere_is_one_write_and_ends_all_at_once() {
    let service = Service::start().await;
    let mut devices = Vec::new();
    for _ in 0..20 {
        devices.push(Device::sign_in(&service, "octocat").await);
    }
    let mut hubot = Device::sign_in(&service, "hubot").await;
    service.dynamodb.clear();

    assert_done(
        &service
            .delete_as_user(&devices[0].access, "/me/sessions")
            .await,
    );

    let calls = service.dynamodb.calls();
    let operations: Vec<_> = calls.iter().map(|call| call.operation.as_deref()).collect();
    assert_eq!(operations, [Some("BatchGetItem"), Some("UpdateItem")]);
    for device in &devices {
        device.is_out_at_once(&service).await;
    }
    hubot.goes_on(&service).await;
    Device::sign_in(&service, "octocat")
        .await
        .goes_on(&service)
        .await;
    let logged = tests::log_lines();
    assert!(
        logged
            .iter()
            .any(|line| line.contains(r#""reason":"signed_out_everywhere""#))
    );
}

#[tokio::test]
async fn signing_out_elsewhere_keeps_the_session_that_asks_and_no_other() {
    let service = Service::start().await;
    let mut here = Device::sign_in(&service, "octocat").await;
    let there = Device::sign_in(&service, "octocat").await;
    let elsewhere = "/me/sessions?except=current";
    service.dynamodb.clear();

    assert_done(&service.delete_as_user(&here.access, elsewhere).await);

    assert_eq!(service.dynamodb.calls().len(), 2, "a read and a write");
    there.is_out_at_once(&service).await;
    assert_eq!(
        ids(&service.my_sessions(&here.access).await),
        [&here.session]
    );
    here.goes_on(&service).await;
    here.goes_on(&service).await;
    // The one that stayed is like any other: another one can end it, and it can do the same again.
    let mut later = Device::sign_in(&service, "octocat").await;
    assert_eq!(ids(&service.my_sessions(&here.access).await).len(), 2);
    assert_done(&service.delete_as_user(&here.access, elsewhere).await);
    later.is_out_at_once(&service).await;
    here.goes_on(&service).await;
    later = Device::sign_in(&service, "octocat").await;
    assert_done(&service.delete_as_user(&later.access, elsewhere).await);
    here.is_out_at_once(&service).await;
    later.goes_on(&service).await;
    assert_done(&service.delete_as_user(&later.access, "/me/sessions").await);
    later.is_out_at_once(&service).await;
}

#[tokio::test]
async fn a_slip_in_the_query_ends_nothing() {
    let service = Service::start().await;
    let mut device = Device::sign_in(&service, "octocat").await;
    service.dynamodb.clear();
    for query in [
        "exept=current",
        "except=",
        "except=other",
        "except=current&except=current",
        "all",
    ] {
        let path = format!("/me/sessions?{query}");
        let answer = service.delete_as_user(&device.access, &path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }

    assert!(service.dynamodb.calls().is_empty());
    device.goes_on(&service).await;
}

#[tokio::test]
async fn t72_a_sign_out_whose_answer_was_lost_can_be_repeated() {
    for path in ["/me/sessions", "/me/sessions?except=current"] {
        let service = Service::start().await;
        let device = Device::sign_in(&service, "octocat").await;
        let other = Device::sign_in(&service, "octocat").await;
        service
            .dynamodb
            .fault(When::Operation("UpdateItem"), Fault::ResetAfterForwarding);
        let lost = service.delete_as_user(&device.access, path).await;
        assert!(lost.status == 204 || lost.status == 503, "{lost:?}");
        service.dynamodb.heal();
        service.dynamodb.settled().await;

        assert_done(&service.delete_as_user(&device.access, path).await);

        other.is_out_at_once(&service).await;
    }
}

#[tokio::test]
async fn t41_a_sign_out_that_arrives_after_its_session_ended_changes_nothing() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let here = Device::sign_in(&service, "octocat").await;
    let there = Device::sign_in(&service, "octocat").await;
    let path = "/me/sessions?except=current";
    let sign_out = service.as_user(&here.access, "DELETE", path);

    // The session was read as alive; before its write arrives at the table, it ends.
    let status = service
        .interrupted(status_of(sign_out), "UpdateItem", async {
            assert_done(&service.delete_as_user(&there.access, "/me/sessions").await);
        })
        .await;

    assert_eq!(status, StatusCode::UNAUTHORIZED);
    here.is_out_at_once(&service).await;
}

#[tokio::test]
async fn t72_a_repeated_sign_out_with_its_key_ends_nothing_that_began_in_between() {
    let service = Service::start().await;
    let here = Device::sign_in(&service, "octocat").await;
    let other = Device::sign_in(&service, "octocat").await;
    let sign_out = |key: &str| {
        let path = "/me/sessions?except=current";
        let request = service.as_user(&here.access, "DELETE", path);
        service.send(request.header("idempotency-key", key))
    };
    assert_done(&sign_out("one").await);
    let mut between = Device::sign_in(&service, "octocat").await;

    assert_done(&sign_out("one").await);

    between.goes_on(&service).await;
    other.is_over(&service).await;
    // Another request is another wish.
    assert_done(&sign_out("two").await);
    between.is_out_at_once(&service).await;
    assert_eq!(service.me(&here.access).await.status, StatusCode::OK);
    for odd in ["", &"x".repeat(256)] {
        assert_eq!(sign_out(odd).await.status, StatusCode::BAD_REQUEST, "{odd}");
    }
}

#[tokio::test]
async fn a_subject_token_does_not_open_a_session_again_that_was_signed_out() {
    let service = Service::start().await;
    let token = service.github_token("octocat");
    let first = service.exchange(&token).await;
    let access = first.text("/access_token");
    assert_done(&service.delete_as_user(access, "/me/sessions").await);

    let again = service.exchange(&token).await;

    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(again.text("/error"), "invalid_request");
    assert_eq!(service.sessions().len(), 1);
}

#[tokio::test]
async fn t42_a_client_gives_a_token_back_and_its_session_ends() {
    let service = Service::start().await;
    let forge = Forge::new(&service).await;
    let forged = forge.with_claim("sid", "AAAAAAAAAAAAAAAAAAAAAA");
    for use_access_token in [false, true] {
        let device = Device::sign_in(&service, "octocat").await;
        let token = if use_access_token {
            &device.access
        } else {
            &device.refresh
        };
        let revoked = service.revoke(token).await;
        assert_eq!(revoked.status, StatusCode::OK);
        assert_eq!(revoked.header("cache-control"), "no-store");
        device.is_over(&service).await;
        // Once more, and with a hint that is wrong: the same answer, and nothing more happens.
        let before = service.items();
        let hints = [
            ("token", token.as_str()),
            ("token_type_hint", "access_token"),
        ];
        let again = service.revocation(CLIENT, "").form(&hints);
        assert_eq!(service.send(again).await.status, StatusCode::OK);
        assert_eq!(service.revoke(&device.refresh).await.status, StatusCode::OK);
        assert_eq!(service.items(), before);
    }
    let mut device = Device::sign_in(&service, "octocat").await;
    let before = service.items();
    for token in [
        "nonsense",
        "cbr_",
        &format!("cbr_{}", "A".repeat(119)),
        &device.refresh.to_uppercase(),
        &device.access[..device.access.len() - 4],
        &service.github_token("octocat"),
        &forged,
    ] {
        assert_eq!(service.revoke(token).await.status, StatusCode::OK);
    }
    assert_eq!(service.items(), before);
    device.goes_on(&service).await;
}

#[tokio::test]
async fn t37_a_refresh_token_of_another_family_ends_nothing() {
    let service = Service::start().await;
    let mut device = Device::sign_in(&service, "octocat").await;
    let other = Device::sign_in(&service, "octocat").await;
    // The user and the session are right, and can be read off any access token; the secrets are another session's.
    let forged = crate::sessions::spliced(&device.refresh, &other.refresh);
    let before = service.items();

    let answer = service.revoke(&forged).await;

    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(service.items(), before);
    device.goes_on(&service).await;
}

#[tokio::test]
async fn t42_a_token_of_another_client_is_answered_alike_and_stays() {
    let service = Service::start().await;
    let mut device = Device::sign_in(&service, "octocat").await;
    let before = service.items();
    for token in [&device.refresh, &device.access] {
        let foreign = service.send(service.revocation(OTHER_CLIENT, token)).await;
        let unknown = service.revoke("nonsense").await;
        assert_eq!(foreign.status, StatusCode::OK);
        assert_eq!(foreign.body, unknown.body);
    }

    assert_eq!(service.items(), before);
    device.goes_on(&service).await;
}

#[tokio::test]
async fn a_token_of_an_earlier_generation_gives_its_session_back_as_well() {
    let service = Service::start().await;
    let mut device = Device::sign_in(&service, "octocat").await;
    let first = device.refresh.clone();
    device.goes_on(&service).await;
    device.goes_on(&service).await;

    assert_eq!(service.revoke(&first).await.status, StatusCode::OK);

    device.is_over(&service).await;
}

#[tokio::test]
async fn t11_only_a_client_gives_tokens_back_and_only_a_token() {
    let service = Service::start().await;
    let mut device = Device::sign_in(&service, "octocat").await;
    let before = service.items();
    let wrong = (CLIENT.0, "CANARY-wrong");
    let answer = service
        .send(service.revocation(wrong, &device.refresh))
        .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.text("/error"), "invalid_client");
    assert!(answer.header("www-authenticate").starts_with("Basic"));
    let nothing = service.request("POST", "/revoke").form(&[("x", "y")]);
    let nothing = nothing.basic_auth(CLIENT.0, Some(CLIENT.1));
    let answer = service.send(nothing).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.text("/error"), "invalid_request");

    assert_eq!(service.items(), before);
    device.goes_on(&service).await;
}

#[tokio::test]
async fn an_outage_is_no_answer_to_whoever_gives_a_token_back() {
    let service = Service::start().await;
    let device = Device::sign_in(&service, "octocat").await;
    service.dynamodb.down().await;
    for token in [&device.refresh, &device.access] {
        let answer = service.revoke(token).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.text("/error"), "temporarily_unavailable");
    }
    service.dynamodb.heal();

    assert_eq!(service.revoke(&device.refresh).await.status, StatusCode::OK);

    device.is_over(&service).await;
}

#[tokio::test]
async fn a_revocation_is_answered_with_json_for_libraries_that_parse_it() {
    let service = Service::start().await;
    let token = service.refresh_token("octocat").await;
    for token in [&*token, "nonsense"] {
        let request = service.revocation(CLIENT, token);

        let answer = request.send().await.unwrap();

        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.text().await.unwrap(), "{}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t43_after_a_revocation_is_answered_no_refresh_succeeds() {
    let service = Service::start().await;
    let device = Device::sign_in(&service, "octocat").await;
    let mut requests = JoinSet::new();
    for nth in 0..100 {
        let is_refresh = nth % 2 == 0;
        let request = if is_refresh {
            service.token_request(&refresh_of(&device.refresh))
        } else {
            service.revocation(CLIENT, &device.refresh)
        };
        requests.spawn(async move { (is_refresh, request.send().await) });
    }
    let mut successors = BTreeSet::new();
    let mut is_revoked = false;
    while let Some(answered) = requests.join_next().await {
        let (is_refresh, answer) = answered.unwrap();
        let answer = answer.unwrap();
        let status = answer.status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            continue;
        }
        let body: Value = answer.json().await.unwrap_or_default();
        if !is_refresh {
            assert_eq!(status, StatusCode::OK);
            is_revoked = true;
        } else if status == StatusCode::OK {
            successors.insert(body["refresh_token"].as_str().unwrap().to_owned());
        } else {
            assert_eq!(body["error"], "invalid_grant");
        }
    }

    assert!(is_revoked && successors.len() <= 1, "{successors:?}");
    for token in successors.iter().chain([&device.refresh]) {
        let answer = service.refresh(token).await;
        assert_eq!(answer.text("/error"), "invalid_grant");
    }
}

#[tokio::test]
async fn t71_whatever_decides_who_is_signed_in_is_read_as_of_now() {
    let service = Service::start().await;
    let mut device = Device::sign_in(&service, "octocat").await;
    service.dynamodb.clear();
    device.goes_on(&service).await;
    service.my_sessions(&device.access).await;
    service
        .patch_me(&device.access, &json!({ "name": "O" }))
        .await;
    service.delete_as_user(&device.access, "/me").await;

    let calls = service.dynamodb.calls();
    let reads = calls.iter().filter(|call| {
        let operation = call.operation.as_deref();
        operation == Some("GetItem")
            || operation == Some("BatchGetItem")
            || operation == Some("Query")
    });
    let mut count = 0;
    for read in reads {
        assert!(read.is_consistent(), "{read:?}");
        count += 1;
    }
    assert!(count >= 6, "{calls:#?}");
}
