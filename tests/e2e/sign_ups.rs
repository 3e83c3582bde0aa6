//! The rules for new users, and sign-ins with the address of an existing user.

use std::time::Duration;

use local::github::Account;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, GITHUB_APP, Service,
    oidc::{Issuer, Key},
    persist,
    proxy::{Fault, When},
};
use tokio::task::JoinSet;

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// An address that passes to another person, and the later address of its former owner.
const SALES: &str = "sales@example.com";
const FORMER: &str = "former@example.com";

/// Starts a service with GitHub and two OpenID providers, one of which is trusted for addresses.
struct Scene {
    service: Service,
    issuers: [(Issuer, Key); 2],
}

impl Scene {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let (one, other) = (Key::new("one"), Key::new("other"));
        let issuers = [
            (Issuer::start(&one).await, one),
            (Issuer::start(&other).await, other),
        ];
        let providers = json!([
            issuers[0].0.provider("acme"),
            issuers[1].0.provider("careless")
        ]);
        let providers = providers.to_string();
        let all = [&[("OIDC_PROVIDERS", providers.as_str())], settings].concat();
        Self {
            service: Service::start_with(&all).await,
            issuers,
        }
    }

    /// Starts a service that trusts both providers and GitHub for addresses.
    async fn trusting_all(mode: &str) -> Self {
        let trusted = ("LINK_EMAIL_PROVIDERS", "acme,careless,github");
        Self::start(&[("LINK_BY_VERIFIED_EMAIL", mode), trusted]).await
    }

    /// Restarts the service with this value of `LINK_BY_VERIFIED_EMAIL`.
    async fn link(&mut self, mode: &str) {
        let name = "LINK_BY_VERIFIED_EMAIL".to_owned();
        self.service.variables.insert(name, mode.to_owned());
        self.service.url = self.service.another_process().await;
    }

    async fn linking(mode: &str) -> Self {
        let trusted = ("LINK_EMAIL_PROVIDERS", "acme,github");
        Self::start(&[("LINK_BY_VERIFIED_EMAIL", mode), trusted]).await
    }

    fn id_token(&self, issuer: usize, sub: &str, changes: Value) -> String {
        let (issuer, key) = &self.issuers[issuer];
        let mut claims = issuer.claims(sub, self.service.time.now());
        let changes = changes.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(changes);
        key.sign(&claims)
    }

    /// Signs in as `sub` of the trusted provider, by default with octocat's address.
    async fn acme(&self, sub: &str, changes: Value) -> Answer {
        let mut claims = json!({ "email": "octocat@example.com" });
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        self.exchange(&self.id_token(0, sub, claims)).await
    }

    /// Signs in as `sub` of the other provider.
    async fn other(&self, sub: &str, claims: Value) -> Answer {
        self.exchange(&self.id_token(1, sub, claims)).await
    }

    fn request(&self, id_token: &str) -> reqwest::RequestBuilder {
        self.service.token_request(&[
            ("grant_type", tests::TOKEN_EXCHANGE),
            ("subject_token", id_token),
            ("subject_token_type", ID_TOKEN),
        ])
    }

    async fn exchange(&self, id_token: &str) -> Answer {
        self.service.send(self.request(id_token)).await
    }
}

fn assert_denied(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{:?}", answer.body);
    assert_eq!(answer.text("/error"), "access_denied", "{:?}", answer.body);
}

fn same_user(one: &Answer, other: &Answer) -> bool {
    assert_eq!(one.status, StatusCode::OK, "{:?}", one.body);
    assert_eq!(other.status, StatusCode::OK, "{:?}", other.body);
    one.text("/user/id") == other.text("/user/id")
}

#[tokio::test]
async fn t57_link_joins_a_first_sign_in_to_the_user_with_the_same_verified_address() {
    let scene = Scene::linking("link").await;
    let octocat = scene.service.sign_in("octocat").await;

    let joined = scene
        .acme("ada", json!({ "email": "OctoCat@Example.com" }))
        .await;

    assert!(same_user(&octocat, &joined));
    assert_eq!(joined.body["is_new_user"], false);
    assert_eq!(
        joined.body["user"]["identities"].as_array().unwrap().len(),
        2
    );
    assert_eq!(joined.body["email_in_use"], json!(null));
    scene.service.time.pass(1);
    assert!(same_user(&octocat, &scene.acme("ada", json!({})).await));
    scene.service.check_invariants();
}

#[tokio::test]
async fn t57_an_address_that_is_not_proven_on_both_sides_joins_nobody() {
    let scene = Scene::linking("link").await;
    let octocat = scene.service.sign_in("octocat").await;

    let unverified = scene.acme("a", json!({ "email_verified": false })).await;
    let unsaid = scene.acme("b", json!({ "email_verified": null })).await;
    let careless = json!({ "email": "octocat@example.com" });
    let careless = scene.exchange(&scene.id_token(1, "c", careless)).await;

    for answer in [&unverified, &unsaid, &careless] {
        assert!(!same_user(&octocat, answer));
        assert_eq!(answer.body["is_new_user"], true);
    }
    scene.service.check_invariants();

    // The reverse: the first user has not verified the address.
    let scene = Scene::linking("link").await;
    let squatter = scene
        .acme("squatter", json!({ "email_verified": false }))
        .await;
    let owner = scene.service.sign_in("octocat").await;
    assert!(!same_user(&squatter, &owner));
    assert_eq!(owner.body["is_new_user"], true);
    scene.service.check_invariants();
}

#[tokio::test]
async fn t57_an_address_that_was_given_up_joins_nobody_any_more() {
    // Two trusted providers: a second account of one provider would stay apart anyway.
    let scene = Scene::trusting_all("link").await;
    let former = scene.acme("former", json!({ "email": SALES })).await;
    scene.service.time.pass(1);
    let moved = scene.acme("former", json!({ "email": FORMER })).await;
    assert!(same_user(&former, &moved));
    scene.service.check_invariants();

    let successor = scene.other("successor", json!({ "email": SALES })).await;

    assert!(!same_user(&former, &successor));
    assert_eq!(successor.body["is_new_user"], true);
    scene.service.check_invariants();
    // Each user has the present address, and no user has two.
    assert_eq!(scene.service.items_of("EMAIL#").len(), 2);

    // An address that is not verified any more joins no account either.
    scene.service.time.pass(1);
    let unverified = json!({ "email": FORMER, "email_verified": false });
    scene.acme("former", unverified).await;
    let third = scene.other("third", json!({ "email": FORMER })).await;
    assert!(!same_user(&former, &third));
    scene.service.check_invariants();
    assert_eq!(scene.service.items_of("EMAIL#").len(), 2);
}

#[tokio::test]
async fn an_address_that_a_user_moved_to_joins_that_user() {
    let scene = Scene::trusting_all("link").await;
    scene.acme("ada", json!({ "email": SALES })).await;
    scene.service.time.pass(1);
    let moved = scene.acme("ada", json!({ "email": FORMER })).await;

    let joined = scene.other("ada", json!({ "email": FORMER })).await;

    assert!(same_user(&moved, &joined));
    scene.service.check_invariants();
}

#[tokio::test]
async fn a_change_of_the_address_that_meets_another_transaction_is_tried_again() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::trusting_all("link").await;
    scene.acme("ada", json!({ "email": SALES })).await;
    scene.service.time.pass(1);
    let conflict = Fault::transaction_canceled(&["TransactionConflict", "None", "None"]);
    let transaction = When::Operation("TransactWriteItems");
    scene.service.dynamodb.fault_once(transaction, conflict);

    let moved = scene.acme("ada", json!({ "email": FORMER })).await;

    let joined = scene.other("ada", json!({ "email": FORMER })).await;
    assert!(same_user(&moved, &joined));
    scene.service.check_invariants();
}

#[tokio::test]
async fn a_change_of_the_address_that_loses_to_another_sign_in_takes_it_for_no_other_users() {
    let scene = Scene::trusting_all("ask").await;
    scene.acme("ada", json!({ "email": SALES })).await;
    scene.service.time.pass(1);
    let lost = Fault::transaction_canceled(&["ConditionalCheckFailed", "None", "None"]);
    let transaction = When::Operation("TransactWriteItems");
    scene.service.dynamodb.fault_once(transaction, lost);

    let moved = scene.acme("ada", json!({ "email": FORMER })).await;

    assert_eq!(moved.status, StatusCode::OK, "{:?}", moved.body);
    assert_eq!(moved.body["email_in_use"], json!(null));
}

/// Unlinking releases the address, since perhaps the unlinked account proved it.
#[tokio::test]
async fn unlinking_that_meets_a_change_of_the_address_leaves_no_address_behind() {
    let _turning = tests::timers::follow_work_in_steps(Duration::from_millis(1));
    let scene = Scene::trusting_all("link").await;
    let ada = scene.acme("ada", json!({ "email": SALES })).await;
    let joined = scene.other("ada", json!({ "email": SALES })).await;
    assert!(same_user(&ada, &joined));
    scene.service.time.pass(1);
    let token = ada.text("/access_token");
    let unlink = scene
        .service
        .as_user(token, "DELETE", "/me/identities/careless");

    let unlinked = scene
        .service
        .interrupted(scene.service.send(unlink), "TransactWriteItems", async {
            let moved = scene.acme("ada", json!({ "email": FORMER })).await;
            assert!(same_user(&ada, &moved));
        })
        .await;

    assert_eq!(unlinked.status, StatusCode::NO_CONTENT);
    assert!(scene.service.items_of("EMAIL#").is_empty());
    scene.service.check_invariants();
}

#[tokio::test]
async fn t112_an_address_that_was_given_up_while_linking_was_off_joins_nobody() {
    let mut scene = Scene::trusting_all("link").await;
    let former = scene.acme("former", json!({ "email": SALES })).await;

    scene.link("off").await;
    scene.service.time.pass(1);
    let moved = scene.acme("former", json!({ "email": FORMER })).await;
    assert!(same_user(&former, &moved));
    assert!(
        scene.service.items_of("EMAIL#").is_empty(),
        "the address is released although linking is off"
    );
    scene.service.check_invariants();
    scene.link("link").await;
    let successor = scene.other("successor", json!({ "email": SALES })).await;

    assert!(!same_user(&former, &successor));
    assert_eq!(successor.body["is_new_user"], true);
    scene.service.check_invariants();
}

/// A sign-in writes the profile and then the item of the address, and the second write may be lost.
#[tokio::test]
async fn t112_an_address_that_was_given_up_joins_nobody_before_its_item_is_gone() {
    for mode in ["link", "off"] {
        let mut scene = Scene::trusting_all("link").await;
        let former = scene.acme("former", json!({ "email": SALES })).await;
        scene.link(mode).await;
        scene.service.dynamodb.fault(
            When::Operation("TransactWriteItems"),
            Fault::internal_server_error(),
        );
        scene.service.time.pass(1);
        let cut_off = scene.acme("former", json!({ "email": FORMER })).await;
        assert_eq!(cut_off.status, StatusCode::SERVICE_UNAVAILABLE);
        scene.service.dynamodb.heal();
        let profile = scene.service.users()[0]["profile"]["M"].clone();
        assert_eq!(profile["email"]["S"], FORMER, "the first write was done");
        scene.link("link").await;

        let successor = scene.other("successor", json!({ "email": SALES })).await;

        assert!(!same_user(&former, &successor), "{mode}");
        assert_eq!(successor.body["is_new_user"], true);
        scene.service.check_invariants();
        // The next sign-in of each puts the items right.
        for _ in 0..2 {
            scene.service.time.pass(1);
            scene.acme("former", json!({ "email": FORMER })).await;
            scene.other("successor", json!({ "email": SALES })).await;
        }
        assert_eq!(scene.service.items_of("EMAIL#").len(), 2);
        scene.service.check_invariants();
    }
}

#[tokio::test]
async fn t112_an_address_on_the_word_of_a_provider_that_is_not_trusted_joins_nobody() {
    let mut scene = Scene::linking("link").await;
    let former = scene.acme("former", json!({ "email": SALES })).await;
    let token = former.text("/access_token").to_owned();
    let body = json!({ "subject_token": scene.id_token(1, "former", json!({})), "subject_token_type": ID_TOKEN });
    let request = scene.service.as_user(&token, "POST", "/me/identities");
    let linked = scene.service.send(request.json(&body)).await;
    assert_eq!(linked.status, StatusCode::OK, "{:?}", linked.body);
    scene.service.time.pass(1);
    // The trusted provider says that the address was given up; another one says that it was not. Neither release
    // succeeds.
    scene.service.dynamodb.fault(
        When::Operation("TransactWriteItems"),
        Fault::internal_server_error(),
    );
    for (issuer, email) in [(0, FORMER), (1, SALES)] {
        let token = scene.id_token(issuer, "former", json!({ "email": email }));
        let cut_off = scene.exchange(&token).await;
        assert_eq!(cut_off.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    scene.service.dynamodb.heal();
    scene.link("link").await;
    let octocat = scene.service.github_token("octocat");
    scene
        .service
        .stand_in
        .add_account(Account::new(583_231, "octocat").reached_at(SALES));

    let successor = scene.service.exchange(&octocat).await;

    assert!(!same_user(&former, &successor));
    scene.service.check_invariants();
}

/// The state between the transaction of an unlinking and a join that read the item of the address before.
#[tokio::test]
async fn t112_an_address_that_the_users_own_item_does_not_name_joins_nobody() {
    let scene = Scene::linking("link").await;
    scene.service.sign_in("octocat").await;
    let mut user = scene.service.users().remove(0);
    user.as_object_mut().unwrap().remove("email_key");
    scene.service.put(local::dynamodb::TABLE, &user);
    let before = scene.service.items();

    let ada = scene.acme("ada", json!({})).await;

    assert_eq!(ada.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(scene.service.items(), before);
}

/// U+212A is the kelvin sign, whose lower case is the letter k.
#[tokio::test]
async fn t97_a_letter_that_folds_into_another_is_another_letter() {
    const KELVIN: &str = "\u{212a}ate@example.com";
    let scene = Scene::trusting_all("link").await;
    let kate = scene
        .acme("kate", json!({ "email": "kate@example.com" }))
        .await;

    let eve = scene.other("eve", json!({ "email": KELVIN })).await;

    assert!(!same_user(&kate, &eve));
    assert_eq!(eve.body["is_new_user"], true);
    assert_eq!(scene.service.items_of("EMAIL#").len(), 1);
    // An address with other letters does not join the account with the same address either.
    let twin = scene.acme("twin", json!({ "email": KELVIN })).await;
    assert!(!same_user(&eve, &twin));
    scene.service.check_invariants();

    let listed = json!({ "emails": ["kate@example.com"], "email_domains": ["kelvin.example"] });
    let scene = Scene::start(&[("ALLOWED_SIGNUPS", &listed.to_string())]).await;
    for email in [
        KELVIN,
        "eve@\u{212a}elvin.example",
        "\u{e9}ve@kelvin.example",
    ] {
        assert_denied(&scene.acme("eve", json!({ "email": email })).await);
    }
    assert!(scene.service.items().is_empty());
    let kate = scene
        .acme("kate", json!({ "email": "KATE@example.com" }))
        .await;
    assert_eq!(kate.status, StatusCode::OK, "{:?}", kate.body);
}

#[tokio::test]
async fn a_user_who_has_an_account_of_that_provider_already_stays_apart_from_a_second_one() {
    let scene = Scene::linking("link").await;
    let first = scene.acme("first", json!({})).await;

    let second = scene.acme("second", json!({})).await;

    assert!(!same_user(&first, &second));
    scene.service.check_invariants();
}

#[tokio::test]
async fn who_is_disabled_does_not_come_back_under_another_name() {
    let scene = Scene::linking("link").await;
    scene.service.sign_in("octocat").await;
    let mut user = scene.service.users().remove(0);
    user["status"] = json!({ "S": "disabled" });
    scene.service.put(local::dynamodb::TABLE, &user);

    assert_denied(&scene.acme("ada", json!({})).await);

    assert_eq!(scene.service.users().len(), 1);
}

#[tokio::test]
async fn what_was_unlinked_is_not_joined_again() {
    let scene = Scene::linking("link").await;
    let octocat = scene.service.sign_in("octocat").await;
    let joined = scene.acme("ada", json!({})).await;
    let token = joined.text("/access_token");
    let unlinked = scene
        .service
        .delete_as_user(token, "/me/identities/acme")
        .await;
    assert_eq!(unlinked.status, StatusCode::NO_CONTENT);
    scene.service.check_invariants();
    scene.service.time.pass(1);

    let stranger = scene.acme("ada", json!({})).await;

    assert!(!same_user(&octocat, &stranger));
    scene.service.check_invariants();
}

#[tokio::test]
async fn a_deleted_user_leaves_no_address_behind() {
    let scene = Scene::linking("link").await;
    let octocat = scene.service.sign_in("octocat").await;
    assert_eq!(scene.service.items_of("EMAIL#").len(), 1);

    let token = octocat.text("/access_token");
    let deleted = scene.service.delete_as_user(token, "/me").await;

    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert!(scene.service.items().is_empty());
    let ada = scene.acme("ada", json!({})).await;
    assert_eq!(ada.body["is_new_user"], true);
}

#[tokio::test]
async fn with_ask_the_answer_says_that_the_address_is_in_use() {
    let scene = Scene::linking("ask").await;
    let octocat = scene.service.sign_in("octocat").await;

    let ada = scene.acme("ada", json!({})).await;
    scene.service.time.pass(1);
    let again = scene.acme("ada", json!({})).await;

    assert!(!same_user(&octocat, &ada));
    assert_eq!(octocat.body["email_in_use"], json!(null));
    for answer in [&ada, &again] {
        assert_eq!(answer.body["email_in_use"], true, "{:?}", answer.body);
    }
    scene.service.check_invariants();
    // What an app can do about it: give the new account up, sign in with the other, and link.
    let token = again.text("/access_token").to_owned();
    scene.service.delete_as_user(&token, "/me").await;
    let body = json!({
        "subject_token": scene.id_token(0, "ada", json!({ "jti": "another" })), "subject_token_type": ID_TOKEN,
    });
    let request = scene
        .service
        .as_user(octocat.text("/access_token"), "POST", "/me/identities")
        .json(&body);
    assert_eq!(scene.service.send(request).await.status, StatusCode::OK);
    scene.service.time.pass(1);
    let linked = scene.acme("ada", json!({})).await;
    assert!(same_user(&octocat, &linked));
    assert_eq!(linked.body["email_in_use"], json!(null));
    scene.service.check_invariants();
}

#[tokio::test]
async fn a_hundred_first_sign_ins_with_one_address_and_two_providers_are_one_user() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::linking("link").await;
    let mut requests = JoinSet::new();
    for number in 0..100 {
        let request = if number % 2 == 0 {
            let claims = json!({ "email": "octocat@example.com", "jti": number });
            scene.request(&scene.id_token(0, "ada", claims))
        } else {
            let token = scene.service.github_token("octocat");
            scene.service.token_request(&tests::exchange_of(&token))
        };
        requests.spawn(persist(request));
    }

    let answers = requests.join_all().await;

    assert_eq!(scene.service.users().len(), 1);
    let new = answers
        .iter()
        .filter(|answer| answer.body["is_new_user"] == true);
    assert_eq!(new.count(), 1);
    scene.service.check_invariants();
}

#[tokio::test]
async fn users_from_before_are_known_by_address_from_their_next_sign_in_on() {
    let scene = Scene::linking("link").await;
    scene.service.sign_in("octocat").await;
    let email = scene.service.items_of("EMAIL#").remove(0);
    scene.service.delete(&email);
    let mut user = scene.service.users().remove(0);
    user.as_object_mut().unwrap().remove("email_key");
    scene.service.put(local::dynamodb::TABLE, &user);

    let octocat = scene.service.sign_in("octocat").await;

    assert_eq!(scene.service.items_of("EMAIL#"), [email]);
    assert!(same_user(&octocat, &scene.acme("ada", json!({})).await));
}

#[tokio::test]
async fn only_who_is_listed_may_become_a_user_and_who_is_one_stays_one() {
    let listed = json!({
        "email_domains": ["Example.com"], "emails": ["ada@elsewhere.example"],
        "identities": ["careless:guest"],
    });
    let scene = Scene::start(&[("ALLOWED_SIGNUPS", &listed.to_string())]).await;
    let with = |email: &str| json!({ "email": email });

    for denied in [
        with("eve@elsewhere.example"),
        with("eve@notexample.com"),
        with("eve@sub.example.com"),
        with("eve@example.com.evil.example"),
        json!({ "email": "eve@example.com", "email_verified": false }),
        json!({ "email": null }),
    ] {
        assert_denied(&scene.acme("eve", denied).await);
    }
    assert_denied(
        &scene
            .exchange(&scene.id_token(0, "guest", with("g@g.example")))
            .await,
    );
    assert!(scene.service.items().is_empty());

    let by_domain = scene.acme("bob", with("bob@EXAMPLE.com")).await;
    let by_email = scene.acme("ada", with("Ada@elsewhere.example")).await;
    let guest = scene.id_token(1, "guest", with("g@g.example"));
    let by_identity = scene.exchange(&guest).await;
    for allowed in [&by_domain, &by_email, &by_identity] {
        assert_eq!(allowed.status, StatusCode::OK, "{:?}", allowed.body);
    }
    scene.service.time.pass(1);
    let moved = scene.acme("bob", with("bob@elsewhere.example")).await;
    assert!(same_user(&by_domain, &moved), "who is a user stays one");
}

#[tokio::test]
async fn nobody_means_nobody_new() {
    let service = Service::start_with(&[("ALLOWED_SIGNUPS", "nobody")]).await;
    let token = service.github_token("octocat");

    let answer = service.exchange(&token).await;

    assert_denied(&answer);
    assert!(
        answer
            .text("/error_description")
            .contains("not allowed to sign up")
    );
    assert!(service.items().is_empty());
}

#[tokio::test]
async fn t115_a_stale_read_turns_no_user_away() {
    let mut service = Service::start().await;
    let octocat = service.sign_in("octocat").await;
    let name = "ALLOWED_SIGNUPS".to_owned();
    service.variables.insert(name, "nobody".to_owned());
    service.url = service.another_process().await;
    service.dynamodb.fault(When::Always, Fault::Stale);
    service.time.pass(1);

    let again = service.exchange(&service.github_token("octocat")).await;

    assert!(same_user(&octocat, &again));
    assert_denied(&service.exchange(&service.github_token("hubot")).await);
    assert_eq!(service.users().len(), 1);
    service.check_invariants();
}

#[tokio::test]
async fn members_of_an_organization_may_sign_up() {
    let listed = json!({ "github_organizations": ["acme", "other"] }).to_string();
    let service = Service::start_with(&[("ALLOWED_SIGNUPS", &listed)]).await;
    let token = |login: &str, scopes: &str| service.github_token_of(GITHUB_APP.0, login, scopes);

    let invited = service.exchange(&token("invited", "read:org")).await;
    let stranger = service.exchange(&token("octocat", "read:org")).await;
    let unseen = service.exchange(&token("member", "read:user")).await;
    let member = service.exchange(&token("member", "read:org")).await;

    for answer in [&invited, &stranger, &unseen] {
        assert_denied(answer);
    }
    assert_eq!(member.status, StatusCode::OK, "{:?}", member.body);
    assert_eq!(service.users().len(), 1);
    service.time.pass(1);
    let later = service.exchange(&token("member", "read:user")).await;
    assert!(same_user(&member, &later), "who is a user stays one");
}

#[tokio::test]
async fn t53_a_rate_limit_does_not_count_as_a_missing_membership() {
    let listed = json!({ "github_organizations": ["acme"] }).to_string();
    let service = Service::start_with(&[("ALLOWED_SIGNUPS", &listed)]).await;
    let token = service.github_token_of(GITHUB_APP.0, "member", "read:org");
    let limit = Fault::secondary_limit(StatusCode::FORBIDDEN, service.time.now() + 3000);
    let path = When::Path("/user/memberships/orgs/acme");
    service.github.fault(path, limit);

    let limited = service.exchange(&token).await;
    service.github.heal();

    assert_eq!(limited.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(limited.header("retry-after"), "60");
    assert_eq!(service.exchange(&token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn github_is_not_asked_about_organizations_that_do_not_matter() {
    let service = Service::start().await;

    service.sign_in("octocat").await;

    let calls = service.github.calls();
    assert!(calls.iter().all(|call| !call.path.contains("/orgs")));
}

#[tokio::test]
async fn joining_needs_no_leave_to_sign_up() {
    let providers = ("LINK_EMAIL_PROVIDERS", "acme,github");
    let link = ("LINK_BY_VERIFIED_EMAIL", "link");
    let listed = json!({ "identities": ["github:583231"] }).to_string();
    let scene = Scene::start(&[link, providers, ("ALLOWED_SIGNUPS", &listed)]).await;
    assert_denied(&scene.acme("ada", json!({})).await);
    let octocat = scene.service.sign_in("octocat").await;

    let joined = scene.acme("ada", json!({})).await;

    assert!(same_user(&octocat, &joined));
    assert_denied(&scene.acme("second", json!({})).await);
    scene.service.check_invariants();
}
