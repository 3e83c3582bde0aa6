//! Limits that need the whole service, at the limit and above it. docs/limits.md has all limits, with their tests.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, Service,
    oidc::{Issuer, Key},
    proxy::{Call, Fault, When},
};

const MAX_SESSIONS: usize = 128;
/// The largest number of linked accounts of a user.
const MAX_IDENTITIES: usize = 16;

/// Writes older sessions of the only user, as many as one more sign-in needs to reach the limit. Returns the first one,
/// which was used last.
async fn fill(service: &Service) -> Answer {
    let first = service.sign_in("octocat").await;
    let [session]: [Value; 1] = service.sessions().try_into().unwrap();
    let used = service.time.now();
    for nth in 1..=MAX_SESSIONS as u64 - 2 {
        let mut older: Value = session.clone();
        let id = URL_SAFE_NO_PAD.encode(u128::from(nth).to_be_bytes());
        older["sk"]["S"] = format!("SESSION#{id}").into();
        older["last_used_at"]["N"] = (used - nth).to_string().into();
        service.put("cambio", &older);
    }
    count(service, MAX_SESSIONS - 1);
    first
}

/// Sets the number of opened sessions in the user's item.
fn count(service: &Service, opened: usize) {
    let [mut user]: [Value; 1] = service.users().try_into().unwrap();
    user["opened"] = json!({ "N": opened.to_string() });
    service.put("cambio", &user);
}

fn counted(service: &Service) -> String {
    service.users()[0]["opened"]["N"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Returns the numbers of the ended sessions, as [`fill`] gave them.
fn ended(service: &Service) -> Vec<u128> {
    let sessions = service.sessions().into_iter();
    let ended = sessions.filter(|session| session["ended_at"].is_object());
    let number = |session: Value| {
        let id = session["sk"]["S"].as_str().unwrap();
        let id = URL_SAFE_NO_PAD.decode(id.strip_prefix("SESSION#").unwrap());
        u128::from_be_bytes(id.unwrap().try_into().unwrap())
    };
    let mut ended: Vec<u128> = ended.map(number).collect();
    ended.sort_unstable();
    ended
}

fn queries(service: &Service) -> usize {
    let calls = service.dynamodb.calls();
    let is_query = |call: &&Call| call.operation.as_deref() == Some("Query");
    calls.iter().filter(is_query).count()
}

#[tokio::test]
async fn t160_one_session_more_than_the_limit_ends_the_one_that_was_used_the_longest_time_ago() {
    let service = Service::start().await;
    let first = fill(&service).await;
    service.dynamodb.clear();

    let at_the_limit = service.sign_in("octocat").await;

    assert_eq!(queries(&service), 0, "nothing is counted at the limit");
    assert_eq!(counted(&service), MAX_SESSIONS.to_string());
    assert!(ended(&service).is_empty());

    let above = service.sign_in("octocat").await;

    assert_eq!(queries(&service), 1);
    assert_eq!(ended(&service), [MAX_SESSIONS as u128 - 2]);
    assert_eq!(counted(&service), MAX_SESSIONS.to_string());
    for signed_in in [first, at_the_limit, above] {
        let list = service.my_sessions(signed_in.text("/access_token")).await;
        assert_eq!(
            list.body["sessions"].as_array().unwrap().len(),
            MAX_SESSIONS
        );
        assert!(list.body.to_string().len() < 64 * 1024);
        let refreshed = service.refresh(signed_in.text("/refresh_token")).await;
        assert_eq!(refreshed.status, StatusCode::OK, "{:?}", refreshed.body);
    }
}

#[tokio::test]
async fn t160_sessions_that_have_ended_do_not_count() {
    let service = Service::start().await;
    let first = fill(&service).await;
    let path = "/me/sessions?except=current";
    let token = first.text("/access_token");
    let answer = service.delete_as_user(token, path).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    count(&service, MAX_SESSIONS);

    let again = service.sign_in("octocat").await;

    assert!(ended(&service).is_empty());
    assert_eq!(counted(&service), "2");
    for signed_in in [&first, &again] {
        let me = service.me(signed_in.text("/access_token")).await;
        assert_eq!(me.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn t160_a_sign_in_does_not_fail_because_the_sessions_cannot_be_counted() {
    let service = Service::start().await;
    fill(&service).await;
    count(&service, MAX_SESSIONS);
    let fault = Fault::service_unavailable();
    service.dynamodb.fault(When::Operation("Query"), fault);

    let signed_in = service.sign_in("octocat").await;

    assert_eq!(signed_in.status, StatusCode::OK, "{:?}", signed_in.body);
    assert!(ended(&service).is_empty());
    service.dynamodb.heal();

    service.sign_in("octocat").await;

    assert_eq!(
        ended(&service),
        [MAX_SESSIONS as u128 - 2],
        "the next one continues"
    );
}

#[tokio::test]
async fn t95_sixteen_accounts_can_be_linked_and_no_more() {
    // Beside GitHub's account and the one that is linked.
    let at_the_limit = MAX_IDENTITIES - 2;
    for (others, expected) in [
        (at_the_limit, StatusCode::OK),
        (at_the_limit + 1, StatusCode::CONFLICT),
    ] {
        let key = Key::new("one");
        let issuer = Issuer::start(&key).await;
        let service = Service::start_with(&[("OIDC_PROVIDERS", &issuer.settings())]).await;
        let token = service.access_token("octocat").await;
        let [mut user]: [Value; 1] = service.users().try_into().unwrap();
        for number in 0..others {
            let linked = user["identities"]["M"]["github"].clone();
            user["identities"]["M"][format!("other-{number}")] = linked;
        }
        service.put("cambio", &user);
        let id_token = key.sign(&issuer.claims("ada", service.time.now()));
        let body = json!({
            "subject_token": id_token, "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        });
        let request = service.as_user(&token, "POST", "/me/identities");

        let answer = service.send(request.json(&body)).await;

        assert_eq!(answer.status, expected, "{:?}", answer.body);
    }
}

#[tokio::test]
async fn t49_a_key_set_has_at_most_150_000_bytes() {
    for (size, expected) in [
        (150_000, StatusCode::OK),
        (150_001, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let key = Key::new("one");
        let issuer = Issuer::start(&key).await;
        let service = Service::start_with(&[("OIDC_PROVIDERS", &issuer.settings())]).await;
        issuer.publish(|published| {
            published.jwks["x"] = "".into();
            let rest = size - published.jwks.to_string().len();
            published.jwks["x"] = "x".repeat(rest).into();
        });
        let id_token = key.sign(&issuer.claims("ada", service.time.now()));
        let form = [
            ("grant_type", tests::TOKEN_EXCHANGE),
            ("subject_token", &id_token),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:id_token",
            ),
        ];

        let answer = service.token(&form).await;

        assert_eq!(answer.status, expected, "{size}: {:?}", answer.body);
    }
}
