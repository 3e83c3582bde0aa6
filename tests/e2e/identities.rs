//! Linking and unlinking of several identities of one user.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, Service,
    oidc::{Issuer, Key},
    persist,
    proxy::{Fault, When},
    settle,
};
use tokio::task::JoinSet;

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// The time that passes at once in a race.
const STEP: Duration = Duration::from_millis(1);

/// Starts a service with GitHub and an OpenID provider.
struct Scene {
    service: Service,
    issuer: Issuer,
    key: Key,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Self {
        let key = Key::new("one");
        let (issuer, service) = Issuer::with_service(&key, settings).await;
        Self {
            service,
            issuer,
            key,
        }
    }

    fn id_token(&self, sub: &str) -> String {
        self.key
            .sign(&self.issuer.claims(sub, self.service.time.now()))
    }

    /// Returns an ID token for `sub`, which is another one for each `jti`.
    fn another_id_token(&self, sub: &str, jti: &str) -> String {
        let mut claims = self.issuer.claims(sub, self.service.time.now());
        claims["jti"] = jti.into();
        self.key.sign(&claims)
    }

    /// Sends a request that links `ada`, and runs `meanwhile` after its reads and before its write.
    async fn link_ada_around(
        &self,
        access_token: &str,
        meanwhile: impl Future<Output = ()>,
    ) -> Answer {
        let request = self.link_request(access_token, &self.id_token("ada"));
        self.service
            .interrupted(self.service.send(request), "TransactWriteItems", meanwhile)
            .await
    }

    fn link_request(&self, access_token: &str, id_token: &str) -> reqwest::RequestBuilder {
        let body = json!({ "subject_token": id_token, "subject_token_type": ID_TOKEN });
        let request = self.service.as_user(access_token, "POST", "/me/identities");
        request.json(&body)
    }

    async fn link(&self, access_token: &str, id_token: &str) -> Answer {
        let request = self.link_request(access_token, id_token);
        self.service.send(request).await
    }

    async fn sign_in_with(&self, id_token: &str) -> Answer {
        let parameters = [
            ("grant_type", tests::TOKEN_EXCHANGE),
            ("subject_token", id_token),
            ("subject_token_type", ID_TOKEN),
        ];
        self.service.token(&parameters).await
    }

    async fn list(&self, access_token: &str) -> Answer {
        let request = self.service.as_user(access_token, "GET", "/me/identities");
        self.service.send(request).await
    }
}

fn assert_conflict(answer: &Answer, kind: &str) {
    assert_eq!(answer.status, StatusCode::CONFLICT, "{:?}", answer.body);
    assert_eq!(answer.text("/type"), format!("urn:cambio:error:{kind}"));
}

fn providers(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let list = answer.body["identities"].as_array().unwrap();
    list.iter()
        .map(|identity| identity["provider"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_linked_account_signs_in_as_the_same_user() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    let token = octocat.text("/access_token");

    let linked = scene.link(token, &scene.id_token("ada")).await;

    assert_eq!(providers(&linked), ["acme", "github"]);
    assert_eq!(linked.text("/identities/0/subject"), "ada");
    assert_eq!(linked.header("cache-control"), "no-store");
    assert_eq!(scene.list(token).await.body, linked.body);
    scene.service.time.pass(1);
    let by_acme = scene.sign_in_with(&scene.id_token("ada")).await;
    assert_eq!(by_acme.text("/user/id"), octocat.text("/user/id"));
    assert_eq!(by_acme.body["is_new_user"], false);
    assert_eq!(scene.service.users().len(), 1);
    scene.service.check_invariants();
}

#[tokio::test]
async fn t56_t58_without_being_asked_nobody_is_linked_by_address() {
    let scene = Scene::start().await;
    // A stranger who registers first with the victim's address, verified or not, gets no access to the victim's
    // account.
    let mut claims = scene.issuer.claims("attacker", scene.service.time.now());
    claims["email"] = "octocat@example.com".into();
    let attacker = scene.sign_in_with(&scene.key.sign(&claims)).await;

    let victim = scene.service.sign_in("octocat").await;

    assert_eq!(attacker.text("/user/email"), victim.text("/user/email"));
    assert_ne!(attacker.text("/user/id"), victim.text("/user/id"));
    assert_eq!(victim.body["email_in_use"], json!(null));
    assert_eq!(victim.body["is_new_user"], true);
    assert!(scene.service.items_of("EMAIL#").is_empty());
}

#[tokio::test]
async fn t56_linking_and_unlinking_need_a_sign_in_of_the_last_five_minutes() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    scene.service.time.pass(301);
    // A refresh gives a new token of the same, old sign-in.
    let refreshed = scene.service.refresh(octocat.text("/refresh_token")).await;
    let token = refreshed.text("/access_token");
    scene.issuer.proxy.clear();
    scene.service.dynamodb.clear();

    let link = scene.link(token, &scene.id_token("ada")).await;
    let unlink = scene
        .service
        .delete_as_user(token, "/me/identities/github")
        .await;

    for answer in [link, unlink] {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{:?}", answer.body);
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.contains(r#"error="insufficient_user_authentication""#)
                && challenge.contains(r#"max_age="300""#),
            "{challenge}"
        );
    }
    assert!(scene.issuer.proxy.calls().is_empty());
    let calls = scene.service.dynamodb.calls();
    let users = scene.service.table(local::dynamodb::TABLE);
    let is_of_users = |table: &Value| *table == users;
    assert!(
        !calls
            .iter()
            .any(|call| is_of_users(&call.body["TableName"]))
    );
    let fresh = scene.service.access_token("octocat").await;
    scene.service.time.pass(300);
    let linked = scene.link(&fresh, &scene.id_token("ada")).await;
    assert_eq!(providers(&linked), ["acme", "github"]);
}

#[tokio::test]
async fn t56_deleting_the_account_needs_a_sign_in_of_the_last_five_minutes() {
    let service = Service::start().await;
    let octocat = service.sign_in("octocat").await;
    service.time.pass(301);
    let refreshed = service.refresh(octocat.text("/refresh_token")).await;
    let token = refreshed.text("/access_token");

    let answer = service.delete_as_user(token, "/me").await;

    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{:?}", answer.body);
    assert_eq!(
        answer.text("/type"),
        "urn:cambio:error:insufficient_user_authentication"
    );
    assert_eq!(service.users().len(), 1);
    let fresh = service.access_token("octocat").await;
    let deleted = service.delete_as_user(&fresh, "/me").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert!(service.users().is_empty());
}

#[tokio::test]
async fn t56_the_providers_token_is_proven_and_used_once() {
    let scene = Scene::start().await;
    let token = scene.service.access_token("octocat").await;
    let other = Key::new("one");
    let forged = other.sign(&scene.issuer.claims("ada", scene.service.time.now()));
    let good = scene.id_token("ada");

    let refused = scene.link(&token, &forged).await;
    let linked = scene.link(&token, &good).await;
    let repeated = scene.link(&token, &good).await;
    let as_sign_in = scene.sign_in_with(&good).await;

    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.text("/type"), "urn:cambio:error:invalid_request");
    assert_eq!(providers(&linked), ["acme", "github"]);
    assert_eq!(repeated.body, linked.body, "an answer that was lost");
    assert_eq!(
        as_sign_in.status,
        StatusCode::BAD_REQUEST,
        "{:?}",
        as_sign_in.body
    );
    let listed = scene.service.my_sessions(&token).await;
    assert_eq!(listed.body["sessions"].as_array().unwrap().len(), 1);
    // Nor the other way round: unlinked, the same token does not link again.
    let unlinked = scene
        .service
        .delete_as_user(&token, "/me/identities/acme")
        .await;
    assert_eq!(unlinked.status, StatusCode::NO_CONTENT);
    let again = scene.link(&token, &good).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "{:?}", again.body);
    scene.service.check_invariants();
}

#[tokio::test]
async fn t60_an_account_of_somebody_else_is_not_linked_and_nothing_changes() {
    let scene = Scene::start().await;
    let ada = scene.sign_in_with(&scene.id_token("ada")).await;
    let octocat = scene.service.access_token("octocat").await;
    scene.service.time.pass(1);
    let sorted = |mut items: Vec<Value>| {
        for item in &mut items {
            // The attempt itself is counted.
            item.as_object_mut().unwrap().remove("link_attempts");
        }
        items.sort_by_key(|item| item["pk"].to_string() + &item["sk"].to_string());
        items
    };
    let before = sorted(scene.service.items());

    let stolen = scene.link(&octocat, &scene.id_token("ada")).await;
    let hubot = scene.service.github_token("hubot");
    let second_of_github = scene.service.link(&octocat, "github", &hubot).await;

    assert_conflict(&stolen, "identity_in_use");
    assert_conflict(&second_of_github, "provider_already_linked");
    assert_eq!(sorted(scene.service.items()), before);
    assert_eq!(
        scene.service.me(ada.text("/access_token")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn t60_of_a_hundred_who_link_the_same_account_at_once_exactly_one_gets_it() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let mut users = Vec::new();
    for person in 1..=50 {
        let person = format!("person-{person}");
        users.push(scene.service.access_token(&person).await);
    }
    let mut requests = JoinSet::new();
    for number in 0..100 {
        let token = &users[number % users.len()];
        requests.spawn(settle(scene.link_request(token, &scene.id_token("ada"))));
    }

    let answers = requests.join_all().await;

    let linked = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::OK);
    assert_eq!(linked.count(), 2, "those of one of them");
    for answer in answers
        .iter()
        .filter(|answer| answer.status != StatusCode::OK)
    {
        assert_conflict(answer, "identity_in_use");
    }
    assert_eq!(scene.service.items_of("IDENTITY#acme").len(), 1);
    scene.service.check_invariants();
}

#[tokio::test]
async fn t95_no_provider_is_asked_for_a_user_who_cannot_link() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    let token = octocat.text("/access_token");
    let full = scene.service.access_token("hubot").await;
    let hubot = scene.service.verify(&full).await.sub.to_string();
    let mut users = scene.service.users();
    let user = users.iter_mut().find(|user| user["id"]["S"] == *hubot);
    let user = user.unwrap();
    for number in 0..15 {
        let linked = user["identities"]["M"]["github"].clone();
        user["identities"]["M"][format!("other-{number}")] = linked;
    }
    scene.service.put(local::dynamodb::TABLE, user);
    let signed_out = scene.service.sign_in("member").await;
    let refresh_token = signed_out.text("/refresh_token");
    scene.service.revoke(refresh_token).await;
    let made_up = "gho_abcdefghijklmnopqrstuvwxyz0123456789";
    scene.service.github.clear();

    let second = scene.service.link(token, "github", made_up).await;
    let over = signed_out.text("/access_token");
    let over = scene.service.link(over, "github", made_up).await;
    let too_many = scene.link(&full, &scene.id_token("ada")).await;

    assert_conflict(&second, "provider_already_linked");
    assert_eq!(over.status, StatusCode::UNAUTHORIZED);
    assert_conflict(&too_many, "too_many_identities");
    assert!(scene.service.github.calls().is_empty());
    assert!(scene.issuer.proxy.calls().is_empty());
}

#[tokio::test]
async fn t95_a_user_who_tries_too_often_waits_and_spends_nobody_elses_quota() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let first = scene.sign_in_with(&scene.id_token("ada")).await;
    let first = first.text("/access_token");
    let other = scene.sign_in_with(&scene.id_token("grace")).await;
    let other = other.text("/access_token");
    scene.service.github.clear();
    let made_up = |number: usize| format!("gho_{number:0>36}");

    let mut requests = JoinSet::new();
    for number in 0..100 {
        let body = json!({
            "subject_token": made_up(number), "subject_token_type": tests::ACCESS_TOKEN, "subject_issuer": "github",
        });
        let request = scene.service.as_user(first, "POST", "/me/identities");
        requests.spawn(settle(request.json(&body)));
    }
    let answers = requests.join_all().await;

    let refused = |status| answers.iter().filter(move |a| a.status == status).count();
    assert_eq!(
        refused(StatusCode::BAD_REQUEST),
        10,
        "asked about, and refused"
    );
    assert_eq!(refused(StatusCode::TOO_MANY_REQUESTS), 90);
    assert_eq!(scene.service.github.calls().len(), 10);
    let late = answers
        .iter()
        .find(|a| a.status == StatusCode::TOO_MANY_REQUESTS);
    let late = late.unwrap();
    assert_eq!(late.text("/type"), "urn:cambio:error:too_many_attempts");
    let wait: u64 = late.header("retry-after").parse().unwrap();
    assert!((300..=600).contains(&wait), "{wait}");
    // Other users are not affected, and the user can continue after the wait.
    let hubot = scene.service.github_token("hubot");
    let linked = scene.service.link(other, "github", &hubot).await;
    assert_eq!(providers(&linked), ["acme", "github"]);
    scene.service.time.pass(600);
    let ada = scene.sign_in_with(&scene.id_token("ada")).await;
    let octocat = scene.service.github_token("octocat");
    let ada = ada.text("/access_token");
    let linked = scene.service.link(ada, "github", &octocat).await;
    assert_eq!(providers(&linked), ["acme", "github"]);
}

#[tokio::test]
async fn t96_a_client_links_only_accounts_of_providers_that_it_may_use() {
    let clients = json!([{ "client_id": tests::CLIENT.0, "providers": ["github"],
        "secret_sha256": [tests::sha256_hex(tests::CLIENT.1)] }]);
    let scene = Scene::start_with(&[("CLIENTS", &clients.to_string())]).await;
    let token = scene.service.access_token("octocat").await;
    scene.issuer.proxy.clear();

    let refused = scene.link(&token, &scene.id_token("ada")).await;

    assert_eq!(
        refused.status,
        StatusCode::BAD_REQUEST,
        "{:?}",
        refused.body
    );
    assert_eq!(
        refused.text("/type"),
        "urn:cambio:error:unauthorized_client"
    );
    assert!(scene.issuer.proxy.calls().is_empty());
    assert_eq!(providers(&scene.list(&token).await), ["github"]);
}

#[tokio::test]
async fn t72_unlinking_whose_answer_was_lost_can_be_repeated() {
    let scene = Scene::start().await;
    let token = scene.service.access_token("octocat").await;
    scene.link(&token, &scene.id_token("ada")).await;
    let unlink = |token: &str| {
        let path = "/me/identities/acme";
        scene
            .service
            .send(scene.service.as_user(token, "DELETE", path))
    };
    let lost = When::Operation("TransactWriteItems");
    scene
        .service
        .dynamodb
        .fault(lost, Fault::ResetAfterForwarding);
    let answer = unlink(&token).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    scene.service.dynamodb.heal();
    scene.service.dynamodb.settled().await;
    assert_eq!(providers(&scene.list(&token).await), ["github"]);

    assert_eq!(unlink(&token).await.status, StatusCode::NO_CONTENT);

    // For the session that asked, and for that account only.
    let other = scene.service.access_token("octocat").await;
    assert_eq!(unlink(&other).await.status, StatusCode::NOT_FOUND);
    let github = scene
        .service
        .delete_as_user(&token, "/me/identities/github");
    assert_conflict(&github.await, "last_identity");
    scene.service.check_invariants();
}

#[tokio::test]
async fn t60_linking_races_a_first_sign_in_and_one_of_them_wins() {
    let _turning = tests::timers::follow_work();
    for _ in 0..10 {
        let scene = Scene::start().await;
        let octocat = scene.service.sign_in("octocat").await;
        let link = scene.link_request(octocat.text("/access_token"), &scene.id_token("ada"));
        let mut claims = scene.issuer.claims("ada", scene.service.time.now());
        claims["jti"] = "another token".into();
        let another = scene.key.sign(&claims);
        let parameters = [
            ("grant_type", tests::TOKEN_EXCHANGE),
            ("subject_token", another.as_str()),
            ("subject_token_type", ID_TOKEN),
        ];
        let sign_in = scene.service.token_request(&parameters);

        let (linked, signed_in) = tokio::join!(settle(link), persist(sign_in));

        if linked.status == StatusCode::OK {
            assert_eq!(signed_in.text("/user/id"), octocat.text("/user/id"));
        } else {
            assert_conflict(&linked, "identity_in_use");
            assert_ne!(signed_in.text("/user/id"), octocat.text("/user/id"));
        }
        scene.service.check_invariants();
    }
}

#[tokio::test]
async fn t61_the_last_way_to_sign_in_is_never_taken_away() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let token = scene.service.access_token("octocat").await;
    let unlink = |provider: &str| {
        let path = format!("/me/identities/{provider}");
        scene.service.as_user(&token, "DELETE", &path)
    };

    let last = scene.service.send(unlink("github")).await;
    let unknown = scene.service.send(unlink("acme")).await;
    let odd = scene.service.send(unlink("%2e%2e")).await;

    assert_conflict(&last, "last_identity");
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(odd.status, StatusCode::NOT_FOUND);
    // Two at once leave one.
    scene.link(&token, &scene.id_token("ada")).await;
    let (one, other) = tokio::join!(settle(unlink("github")), settle(unlink("acme")));
    let mut statuses = [one.status, other.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::NO_CONTENT, StatusCode::CONFLICT]);
    scene.service.check_invariants();
}

#[tokio::test]
async fn an_unlinked_account_is_a_stranger_again() {
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;
    let token = octocat.text("/access_token");
    scene.link(token, &scene.id_token("ada")).await;
    scene.service.time.pass(1);

    let unlinked = scene
        .service
        .delete_as_user(token, "/me/identities/acme")
        .await;
    let ada = scene.sign_in_with(&scene.id_token("ada")).await;

    assert_eq!(unlinked.status, StatusCode::NO_CONTENT);
    assert_eq!(ada.body["is_new_user"], true);
    assert_ne!(ada.text("/user/id"), octocat.text("/user/id"));
    assert_eq!(providers(&scene.list(token).await), ["github"]);
    scene.service.check_invariants();
}

#[tokio::test]
async fn the_token_of_a_sign_in_opens_nothing_more_after_its_account_was_unlinked() {
    let scene = Scene::start().await;
    let spent = scene.id_token("ada");
    let ada = scene.sign_in_with(&spent).await;
    let token = ada.text("/access_token");
    let octocat = scene.service.github_token("octocat");
    let linked = scene.service.link(token, "github", &octocat).await;
    assert_eq!(providers(&linked), ["acme", "github"]);
    let unlinked = scene.service.delete_as_user(token, "/me/identities/acme");
    assert_eq!(unlinked.await.status, StatusCode::NO_CONTENT);
    // The item remembers the account for as long as a session of this moment can last.
    let released = scene.service.items_of("IDENTITY#acme").remove(0);
    let session = scene.service.sessions().remove(0);
    assert_eq!(released["expires_at"], session["absolute_expires_at"]);

    let again = scene.sign_in_with(&spent).await;

    assert_eq!(again.status, StatusCode::BAD_REQUEST, "{:?}", again.body);
    assert_eq!(scene.service.users().len(), 1);
    // Another sign-in is a new user's, and then it is as if nothing had been.
    scene.service.time.pass(1);
    let fresh = scene.sign_in_with(&scene.id_token("ada")).await;
    assert_eq!(fresh.body["is_new_user"], true);
    assert_ne!(fresh.text("/user/id"), ada.text("/user/id"));
    let remembered =
        |item: &Value| item["released_by"] != Value::Null || item["expires_at"] != Value::Null;
    assert!(!scene.service.items_of("IDENTITY#").iter().any(remembered));
    scene.service.check_invariants();
}

#[tokio::test]
async fn a_lost_answer_to_linking_is_safe_to_repeat() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let token = scene.service.access_token("octocat").await;
    let request = scene.link_request(&token, &scene.id_token("ada"));
    scene.service.dynamodb.fault_once(
        When::Operation("TransactWriteItems"),
        Fault::ResetAfterForwarding,
    );

    let linked = settle(request).await;

    assert_eq!(providers(&linked), ["acme", "github"]);
    scene.service.check_invariants();
}

#[tokio::test]
async fn who_is_disabled_or_deleted_links_nothing() {
    let scene = Scene::start().await;
    let deleted = scene.service.access_token("hubot").await;
    scene.service.delete_as_user(&deleted, "/me").await;
    let disabled = scene.service.access_token("octocat").await;
    let mut user = scene.service.users().remove(0);
    user["status"] = json!({ "S": "disabled" });
    scene.service.put(local::dynamodb::TABLE, &user);

    for token in [&deleted, &disabled] {
        let link = scene.link(token, &scene.id_token("ada")).await;
        let unlink = scene
            .service
            .delete_as_user(token, "/me/identities/github")
            .await;
        let list = scene.list(token).await;
        for answer in [link, unlink, list] {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{:?}", answer.body);
        }
    }
    assert!(scene.service.items_of("IDENTITY#acme").is_empty());
}

#[tokio::test]
async fn t73_a_body_that_is_no_json_object_of_ours_is_refused() {
    let scene = Scene::start().await;
    let token = scene.service.access_token("octocat").await;
    let post = || scene.service.as_user(&token, "POST", "/me/identities");
    let good = json!({ "subject_token": "gho_x", "subject_token_type": tests::ACCESS_TOKEN, "subject_issuer": "github" });
    let mut unknown = good.clone();
    unknown["user_id"] = "somebody".into();
    let mut odd = good.clone();
    odd["subject_token"] = json!(["gho_x"]);
    for body in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        json!(["gho_x", tests::ACCESS_TOKEN, "github", null, null]).to_string(),
        unknown.to_string(),
        odd.to_string(),
    ] {
        let request = post()
            .header("content-type", "application/json")
            .body(body.clone());
        let answer = scene.service.send(request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let form = scene
        .service
        .send(post().form(&[("subject_token", "gho_x")]))
        .await;
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = post()
        .header("content-type", "application/json")
        .body("x".repeat(65 * 1024));
    assert_eq!(
        scene.service.send(large).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert!(
        scene.service.github.calls().len() <= 3,
        "nobody was asked again"
    );
}

#[tokio::test]
async fn the_provider_being_down_is_not_held_against_the_user() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let token = scene.service.access_token("octocat").await;
    scene.issuer.proxy.down().await;

    let answer = scene.link(&token, &scene.id_token("ada")).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.header("retry-after").is_empty());
    scene.issuer.proxy.heal();
    let linked = settle(scene.link_request(&token, &scene.id_token("ada"))).await;
    assert_eq!(providers(&linked), ["acme", "github"]);
}

#[tokio::test]
async fn a_link_that_meets_one_of_the_same_provider_tells_which_account_is_linked() {
    let _turning = tests::timers::follow_work_in_steps(STEP);
    for (other, is_same) in [("ada", true), ("bob", false)] {
        let scene = Scene::start().await;
        let token = scene.service.access_token("octocat").await;

        let linked = scene
            .link_ada_around(&token, async {
                let other = scene.another_id_token(other, "another token");
                let other = scene.link(&token, &other).await;
                assert_eq!(providers(&other), ["acme", "github"]);
            })
            .await;

        if is_same {
            assert_eq!(providers(&linked), ["acme", "github"]);
        } else {
            assert_conflict(&linked, "provider_already_linked");
        }
        assert_eq!(
            scene.list(&token).await.text("/identities/0/subject"),
            other
        );
        scene.service.check_invariants();
    }
}

#[tokio::test]
async fn a_link_that_meets_the_last_one_that_there_is_room_for_is_refused() {
    let _turning = tests::timers::follow_work_in_steps(STEP);
    let scene = Scene::start().await;
    let token = scene.service.access_token("octocat").await;

    let linked = scene
        .link_ada_around(&token, async {
            let mut user = scene.service.users().remove(0);
            let github = user["identities"]["M"]["github"].clone();
            for number in 1..16 {
                user["identities"]["M"][format!("provider{number}")] = github.clone();
            }
            scene.service.put(local::dynamodb::TABLE, &user);
        })
        .await;

    assert_conflict(&linked, "too_many_identities");
    assert!(scene.service.items_of("IDENTITY#acme").is_empty());
}

#[tokio::test]
async fn a_link_of_a_session_that_ends_meanwhile_tells_nothing_about_the_account() {
    let _turning = tests::timers::follow_work_in_steps(STEP);
    let scene = Scene::start().await;
    let octocat = scene.service.sign_in("octocat").await;

    let linked = scene
        .link_ada_around(octocat.text("/access_token"), async {
            let revoked = scene.service.revoke(octocat.text("/refresh_token")).await;
            assert_eq!(revoked.status, StatusCode::OK);
            let another = scene.another_id_token("ada", "another token");
            let ada = scene.sign_in_with(&another).await;
            assert_eq!(ada.body["is_new_user"], true);
        })
        .await;

    assert_eq!(linked.status, StatusCode::UNAUTHORIZED, "{:?}", linked.body);
}

#[tokio::test]
async fn a_link_whose_token_is_spent_and_whose_account_is_unlinked_meanwhile_is_refused() {
    let _turning = tests::timers::follow_work_in_steps(STEP);
    let scene = Scene::start().await;
    let token = scene.service.access_token("octocat").await;

    let linked = scene
        .link_ada_around(&token, async {
            let first = scene.link(&token, &scene.id_token("ada")).await;
            assert_eq!(providers(&first), ["acme", "github"]);
            let path = "/me/identities/acme";
            let unlinked = scene.service.delete_as_user(&token, path).await;
            assert_eq!(unlinked.status, StatusCode::NO_CONTENT);
        })
        .await;

    assert_eq!(linked.status, StatusCode::BAD_REQUEST, "{:?}", linked.body);
    assert_eq!(linked.text("/type"), "urn:cambio:error:invalid_request");
    assert_eq!(providers(&scene.list(&token).await), ["github"]);
    scene.service.check_invariants();
}

#[tokio::test]
async fn a_link_that_meets_another_transaction_of_its_user_is_tried_again() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let token = scene.service.access_token("octocat").await;
    let conflict = Fault::transaction_canceled(&["None", "TransactionConflict", "None", "None"]);
    let transaction = When::Operation("TransactWriteItems");
    scene.service.dynamodb.fault_once(transaction, conflict);

    let linked = scene.link(&token, &scene.id_token("ada")).await;

    assert_eq!(providers(&linked), ["acme", "github"]);
    scene.service.check_invariants();
}
