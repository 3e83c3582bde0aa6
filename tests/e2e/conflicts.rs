//! Races of a hundred requests, with DynamoDB's refusals of writes that meet a transaction.
//!
//! The clock follows the work: each call to DynamoDB takes 5 ms, each transaction holds its items for 15 ms more, and
//! everything else takes next to no time. So a slow machine makes no request late, and the number of refused requests
//! varies with the random waits of the retries only. A request has 7 s for its attempts. The slowest race, that of the
//! edits, is over after less than 2 s, the others after less than 1 s, and a request makes about twenty attempts in the
//! rest of the time. So two requests without an answer in time are out of the question.

use std::{collections::BTreeSet, time::Duration};

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::{
    Answer, Service,
    oidc::{Issuer, Key},
    proxy::{Fault, When},
    timers::{Turning, follow_work_in_steps},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// The number of requests of a race.
const N: usize = 100;
/// The time of a call to DynamoDB.
const CALL: Duration = Duration::from_millis(5);
/// The time for which a transaction holds its items.
const HOLD: Duration = Duration::from_millis(15);
/// The time that passes at once.
const STEP: Duration = Duration::from_millis(1);

/// A service with GitHub and an OpenID provider.
struct Scene {
    service: Service,
    issuer: Issuer,
    key: Key,
}

impl Scene {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let key = Key::new("one");
        let (issuer, service) = Issuer::with_service(&key, settings).await;
        Self {
            service,
            issuer,
            key,
        }
    }

    /// Starts a service that takes the word of both providers for addresses.
    async fn by_address(mode: &str) -> Self {
        let trusted = ("LINK_EMAIL_PROVIDERS", "acme,github");
        Self::start(&[("LINK_BY_VERIFIED_EMAIL", mode), trusted]).await
    }

    /// Returns an ID token for `sub`, which is another one for each `jti`.
    fn id_token(&self, sub: &str, jti: usize) -> String {
        let mut claims = self.issuer.claims(sub, self.service.time.now());
        claims["jti"] = jti.into();
        claims["email"] = "octocat@example.com".into();
        self.key.sign(&claims)
    }

    fn sign_in_request(&self, id_token: &str) -> RequestBuilder {
        self.service.token_request(&[
            ("grant_type", tests::TOKEN_EXCHANGE),
            ("subject_token", id_token),
            ("subject_token_type", ID_TOKEN),
        ])
    }

    fn link_request(&self, access_token: &str, id_token: &str) -> RequestBuilder {
        let body = json!({ "subject_token": id_token, "subject_token_type": ID_TOKEN });
        let request = self.service.as_user(access_token, "POST", "/me/identities");
        request.json(&body)
    }

    /// Sends all of `requests` at once.
    async fn race(&self, requests: impl IntoIterator<Item = RequestBuilder>) -> Answers {
        self.race_at(Duration::ZERO, requests).await
    }

    /// Sends each of `requests` this time after the one before.
    async fn race_at(
        &self,
        pace: Duration,
        requests: impl IntoIterator<Item = RequestBuilder>,
    ) -> Answers {
        let dynamodb = &self.service.dynamodb;
        dynamodb.fault(When::Always, Fault::Delay(CALL));
        dynamodb.lock_transactions(HOLD);
        dynamodb.clear();
        let _turning = follow_work_in_steps(STEP);
        let start = Instant::now();
        let mut sent = JoinSet::new();
        for (request, nth) in requests.into_iter().zip(0..) {
            sent.spawn(async move {
                sleep_until(start + pace * nth).await;
                Answer::of(request.send().await.unwrap()).await
            });
        }
        let all = sent.join_all().await;
        self.service.check_invariants();
        Answers { all, _turning }
    }

    /// Asserts that the race had the conflicts that it is about.
    fn assert_conflicts(&self) {
        let conflicts = self.service.dynamodb.conflicts();
        assert!(conflicts > 0, "no write met a transaction");
    }
}

/// The answers of a race, whose clock turns on until they are dropped.
struct Answers {
    all: Vec<Answer>,
    _turning: Turning,
}

impl Answers {
    fn of(&self, status: StatusCode) -> impl Iterator<Item = &Answer> {
        self.all
            .iter()
            .filter(move |answer| answer.status == status)
    }

    fn count(&self, status: StatusCode) -> usize {
        self.of(status).count()
    }

    /// Asserts that each answer has one of these statuses, but for at most `unavailable` of 503.
    fn assert(&self, expected: &[StatusCode], unavailable: usize) {
        for answer in &self.all {
            let is_expected = expected.contains(&answer.status);
            let is_unavailable = answer.status == StatusCode::SERVICE_UNAVAILABLE;
            assert!(is_expected || is_unavailable, "{answer:?}");
        }
        let count = self.count(StatusCode::SERVICE_UNAVAILABLE);
        assert!(count <= unavailable, "{count} requests saw a 503");
    }
}

#[tokio::test]
async fn t105_of_a_hundred_who_link_one_account_at_most_one_sees_a_503() {
    let scene = Scene::start(&[]).await;
    let mut requests = Vec::new();
    for number in 1..=N / 2 {
        let token = scene
            .service
            .access_token(&format!("person-{number}"))
            .await;
        for jti in [number, N + number] {
            requests.push(scene.link_request(&token, &scene.id_token("ada", jti)));
        }
    }

    let answers = scene.race(requests).await;

    answers.assert(&[StatusCode::OK, StatusCode::CONFLICT], 1);
    // The person who got the account has a second request, which may begin after the first one is done.
    let (late, others): (Vec<_>, Vec<_>) = answers
        .of(StatusCode::CONFLICT)
        .map(|refused| refused.text("/type"))
        .partition(|kind| *kind == "urn:cambio:error:provider_already_linked");
    for kind in others {
        assert_eq!(kind, "urn:cambio:error:identity_in_use");
    }
    let of_the_owner = answers.count(StatusCode::OK) + late.len();
    assert!((1..=2).contains(&of_the_owner) && late.len() <= 1);
    assert_eq!(scene.service.items_of("IDENTITY#acme").len(), 1);
    scene.assert_conflicts();
}

#[tokio::test]
async fn t105_a_hundred_first_sign_ins_of_one_person_all_succeed() {
    let scene = Scene::start(&[]).await;
    let requests: Vec<_> = (0..N)
        .map(|jti| scene.sign_in_request(&scene.id_token("ada", jti)))
        .collect();

    let answers = scene.race(requests).await;

    answers.assert(&[StatusCode::OK], 0);
    assert_eq!(scene.service.users().len(), 1);
    assert_eq!(scene.service.sessions().len(), N);
    let new = answers
        .all
        .iter()
        .filter(|answer| answer.body["is_new_user"] == true);
    assert_eq!(new.count(), 1);
    scene.assert_conflicts();
}

/// Signs in half of a hundred by each of two providers, as one person with one address.
#[tokio::test]
async fn t105_first_sign_ins_of_two_accounts_with_one_address_see_at_most_one_503() {
    let scene = Scene::by_address("link").await;
    let requests: Vec<_> = (0..N)
        .map(|number| {
            if number % 2 == 0 {
                return scene.sign_in_request(&scene.id_token("ada", number));
            }
            let token = scene.service.github_token("octocat");
            scene.service.token_request(&tests::exchange_of(&token))
        })
        .collect();

    let answers = scene.race(requests).await;

    answers.assert(&[StatusCode::OK], 1);
    assert_eq!(scene.service.users().len(), 1);
    scene.assert_conflicts();
}

/// Signs a hundred people in, who all have the same address at one provider.
async fn sign_in_a_crowd(mode: &str) {
    let scene = Scene::by_address(mode).await;
    let requests: Vec<_> = (0..N)
        .map(|number| scene.sign_in_request(&scene.id_token(&format!("ada{number}"), number)))
        .collect();

    let answers = scene.race(requests).await;

    answers.assert(&[StatusCode::OK], 1);
    assert_eq!(scene.service.users().len(), answers.count(StatusCode::OK));
    assert_eq!(scene.service.items_of("EMAIL#").len(), 1);
    scene.assert_conflicts();
}

#[tokio::test]
async fn t105_first_sign_ins_of_a_crowd_with_one_address_see_at_most_one_503() {
    sign_in_a_crowd("ask").await;
}

#[tokio::test]
async fn t105_first_sign_ins_of_a_crowd_see_at_most_one_503_where_addresses_are_linked() {
    sign_in_a_crowd("link").await;
}

#[tokio::test]
async fn t105_refreshes_that_meet_transactions_all_get_the_same_successor() {
    let scene = Scene::start(&[]).await;
    let signed_in = scene.service.sign_in("octocat").await;
    let refresh_token = signed_in.text("/refresh_token");
    let link = scene.link_request(signed_in.text("/access_token"), &scene.id_token("ada", 0));
    let refresh = scene
        .service
        .token_request(&tests::refresh_of(refresh_token));
    let refreshes = (1..N).map(|_| refresh.try_clone().unwrap());

    // Some of them arrive while the transaction that links holds the session, which is its condition.
    let pace = Duration::from_millis(1);
    let answers = scene
        .race_at(pace, [link].into_iter().chain(refreshes))
        .await;

    answers.assert(&[StatusCode::OK], 0);
    let successors: BTreeSet<&str> = answers
        .all
        .iter()
        .map(|answer| answer.text("/refresh_token"))
        .filter(|token| !token.is_empty())
        .collect();
    assert_eq!(successors.len(), 1);
    scene.assert_conflicts();
}

#[tokio::test]
async fn t105_of_a_hundred_edits_at_most_one_sees_a_503_and_none_is_lost() {
    let scene = Scene::start(&[]).await;
    let token = scene.service.access_token("octocat").await;
    let requests: Vec<_> = (0..N)
        .map(|nth| {
            let patch = json!({ "metadata": { format!("key{nth}"): nth } });
            scene.service.as_user(&token, "PATCH", "/me").json(&patch)
        })
        .collect();

    let answers = scene.race(requests).await;

    answers.assert(&[StatusCode::OK], 1);
    let me = scene.service.me(&token).await;
    let metadata = me.body["metadata"].as_object().unwrap();
    assert_eq!(metadata.len(), answers.count(StatusCode::OK));
}

#[tokio::test]
async fn t105_of_a_hundred_who_unlink_one_account_at_most_one_sees_a_503() {
    let scene = Scene::start(&[]).await;
    let token = scene.service.access_token("octocat").await;
    let link = scene.link_request(&token, &scene.id_token("ada", 0));
    assert_eq!(scene.service.send(link).await.status, StatusCode::OK);
    let unlink = scene
        .service
        .as_user(&token, "DELETE", "/me/identities/acme");

    let answers = scene
        .race((0..N).map(|_| unlink.try_clone().unwrap()))
        .await;

    answers.assert(&[StatusCode::NO_CONTENT], 1);
    let identities = scene.service.items_of("IDENTITY#");
    let released = identities
        .iter()
        .filter(|item| item["released_by"] != Value::Null);
    assert_eq!((identities.len(), released.count()), (2, 1));
    scene.assert_conflicts();
}

#[tokio::test]
async fn t105_of_a_hundred_who_delete_one_account_at_most_one_sees_a_503() {
    let scene = Scene::start(&[]).await;
    let token = scene.service.access_token("octocat").await;
    let delete = scene.service.as_user(&token, "DELETE", "/me");

    let answers = scene
        .race((0..N).map(|_| delete.try_clone().unwrap()))
        .await;

    answers.assert(&[StatusCode::NO_CONTENT], 1);
    assert!(scene.service.items().is_empty());
    scene.assert_conflicts();
}

/// Sends each kind of write of one user a number of times.
#[tokio::test]
async fn t105_of_a_hundred_different_requests_for_one_user_at_most_one_sees_a_503() {
    let scene = Scene::start(&[]).await;
    let service = &scene.service;
    let signed_in = service.sign_in("octocat").await;
    let token = signed_in.text("/access_token");
    let refresh = service.token_request(&tests::refresh_of(signed_in.text("/refresh_token")));
    let mut requests = Vec::new();
    for number in 0..N / 5 {
        let patch = json!({ "metadata": { format!("key{number}"): number } });
        let github_token = service.github_token("octocat");
        requests.extend([
            service.as_user(token, "PATCH", "/me").json(&patch),
            service.as_user(token, "DELETE", "/me/identities/acme"),
            service.token_request(&tests::exchange_of(&github_token)),
            refresh.try_clone().unwrap(),
        ]);
        requests.push(match number {
            // As many as a user may link in ten minutes.
            0..10 => scene.link_request(token, &scene.id_token("ada", number)),
            _ => refresh.try_clone().unwrap(),
        });
    }

    let answers = scene.race(requests).await;

    // An account is not linked before, or is linked already, or its token was used.
    let expected = [
        StatusCode::OK,
        StatusCode::NO_CONTENT,
        StatusCode::NOT_FOUND,
        StatusCode::CONFLICT,
        StatusCode::BAD_REQUEST,
    ];
    answers.assert(&expected, 1);
    scene.assert_conflicts();
}

/// The same request in parallel: the one that came first has spent the token, and holds the identity a moment longer.
#[tokio::test]
async fn t105_a_link_whose_identity_is_undecided_is_not_refused_for_its_spent_token() {
    let scene = Scene::start(&[]).await;
    let token = scene.service.access_token("octocat").await;
    let reasons = [
        "TransactionConflict",
        "None",
        "ConditionalCheckFailed",
        "None",
    ];
    let undecided = Fault::transaction_canceled(&reasons);
    scene
        .service
        .dynamodb
        .fault_once(When::Operation("TransactWriteItems"), undecided);

    let link = scene.link_request(&token, &scene.id_token("ada", 0));
    let linked = scene.service.send(link).await;

    assert_eq!(linked.status, StatusCode::OK, "{:?}", linked.body);
    scene.service.check_invariants();
}
