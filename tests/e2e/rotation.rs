//! Key rotation under load.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{HeaderMap, Method, Uri};
use jsonwebtoken::{
    DecodingKey, Validation,
    jwk::{Jwk, JwkSet},
};
use reqwest::StatusCode;
use rotate_keys::{Order, Report, RotateKeys, RotateKeysError, State, When as Turn};
use serde_json::{Value, json};
use shared::{config::Environment, documents::Document, keys::KeySet};
use tests::{
    Service,
    proxy::{Fault, When},
    serve,
};
use tokio::task::JoinSet;

const DAY: u64 = 24 * 60 * 60;
const NOW: Order = Order {
    rotate: Turn::Now,
    revoke: None,
};

fn revoke(kid: &str) -> Order {
    Order {
        revoke: Some(kid.to_owned()),
        ..Order::default()
    }
}

fn rotate_keys(service: &Service) -> RotateKeys {
    let env = Environment::of(service.variables.clone());
    RotateKeys::new(&env, service.time.clock()).unwrap()
}

async fn run(service: &Service, order: &Order) -> Report {
    rotate_keys(service).run(order).await.unwrap()
}

pub(crate) fn forget_all_keys(service: &Service) {
    for item in service.scan(local::dynamodb::KEYS_TABLE) {
        service.delete_key(&item);
    }
}

fn names(report: &Report, state: State) -> Vec<&str> {
    let keys = report.keys.iter().filter(|key| key.state == state);
    keys.map(|key| &*key.kid).collect()
}

/// Asserts that one key signs, one waits for its turn, and exactly the published keys have private keys.
pub(crate) async fn check_keys(service: &Service) -> KeySet {
    let set = service.key_store().find_set().await.unwrap().unwrap();
    let now = service.time.now();
    assert!(set.current(now).is_some(), "{set:?}");
    assert!(set.next(now).is_some(), "{set:?}");
    check_private_keys(service, &set);
    set
}

/// Asserts that exactly the keys of `set` have private keys.
pub(crate) fn check_private_keys(service: &Service, set: &KeySet) {
    let published: BTreeSet<String> = set.keys.iter().map(|key| key.kid.clone()).collect();
    let private = service.scan(local::dynamodb::KEYS_TABLE);
    let private = private
        .iter()
        .filter_map(|item| item["pk"]["S"].as_str()?.strip_prefix("KEY#"));
    assert_eq!(
        private.map(str::to_owned).collect::<BTreeSet<_>>(),
        published
    );
}

/// The files of a bucket: path → content type, cache control and body.
type Objects = BTreeMap<String, (String, String, String)>;

/// A stand-in for S3, which stores files, except those whose path ends in `refused`.
#[derive(Clone, Default)]
pub(crate) struct Bucket {
    objects: Arc<Mutex<Objects>>,
    refused: Arc<Mutex<Option<&'static str>>>,
}

impl Bucket {
    async fn start() -> (Self, String, JoinSet<()>) {
        let bucket = Self::default();
        let served = bucket.clone();
        let put = async move |method: Method, uri: Uri, headers: HeaderMap, body: String| {
            served.put(&method, &uri, &headers, &body)
        };
        let mut running = JoinSet::new();
        let url = serve(&mut running, axum::Router::new().fallback(put)).await;
        (bucket, url, running)
    }

    fn put(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &str) -> StatusCode {
        let refused = *self.refused.lock().unwrap();
        if refused.is_some_and(|end| uri.path().ends_with(end)) || *method != Method::PUT {
            return StatusCode::FORBIDDEN;
        }
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        // The SDK may send the body in chunks, between lines about their size and sum.
        let body = body.lines().find(|line| line.starts_with('{')).unwrap();
        self.objects.lock().unwrap().insert(
            uri.path().to_owned(),
            (
                header("content-type"),
                header("cache-control"),
                body.to_owned(),
            ),
        );
        StatusCode::OK
    }

    /// Refuses files whose path has this suffix from now on.
    fn refuse(&self, end: &'static str) {
        *self.refused.lock().unwrap() = Some(end);
    }

    fn heal(&self) {
        *self.refused.lock().unwrap() = None;
    }

    /// Returns the `kid`s in `jwks.json`.
    pub(crate) fn kids(&self) -> BTreeSet<String> {
        let path = format!("/documents{}", Document::Jwks.path());
        let objects = self.objects.lock().unwrap();
        let Some((_, _, body)) = objects.get(&path) else {
            return BTreeSet::new();
        };
        let keys: JwkSet = serde_json::from_str(body).unwrap();
        let kids = keys.keys.into_iter().map(|key| key.common.key_id);
        kids.map(Option::unwrap).collect()
    }
}

/// Makes the rotation function with documents in a bucket.
pub(crate) async fn with_files(service: &Service) -> (RotateKeys, Bucket, JoinSet<()>) {
    let (bucket, s3, running) = Bucket::start().await;
    let mut variables = service.variables.clone();
    for (name, value) in [
        ("DOCUMENTS_BUCKET", "documents"),
        ("AWS_ENDPOINT_URL_S3", &s3),
    ] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    let env = Environment::of(variables);
    let rotate_keys = RotateKeys::new(&env, service.time.clock()).unwrap();
    (rotate_keys, bucket, running)
}

fn assert_not_written(run: Result<Report, RotateKeysError>) {
    assert!(matches!(run, Err(RotateKeysError::Files(_))), "{run:?}");
}

pub(crate) async fn published_kids(service: &Service) -> BTreeSet<String> {
    let set = service.key_store().find_set().await.unwrap().unwrap();
    let published = set.published(service.time.now());
    published.map(|key| key.kid.clone()).collect()
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn the_first_keys_are_made_once_however_many_make_them() {
    let service = Service::start().await;
    forget_all_keys(&service);

    let makers = (0..20).map(|_| {
        let rotate_keys = rotate_keys(&service);
        // A run in conflict with another is told to try again.
        tokio::spawn(async move {
            loop {
                if let Ok(report) = rotate_keys.run(&Order::default()).await {
                    return report.changed;
                }
            }
        })
    });
    let mut made = 0;
    for maker in makers.collect::<Vec<_>>() {
        made += usize::from(maker.await.unwrap());
    }

    assert_eq!(made, 1);
    assert_eq!(check_keys(&service).await.keys.len(), 2);
}

#[tokio::test]
async fn rotating_now_is_noticed_by_nobody() {
    let mut service = Service::start().await;
    let first = service.sign_in("octocat").await;
    let elsewhere = service.another_process().await;
    service.time.pass(DAY as i64);
    let old = service.refresh(first.text("/refresh_token")).await;

    let report = run(&service, &NOW).await;
    service.time.pass(5 * 60 + 1);
    let new = service.refresh(old.text("/refresh_token")).await;

    let (old, new) = (old.text("/access_token"), new.text("/access_token"));
    assert_eq!(names(&report, State::Retired), [kid(old)]);
    assert_eq!(names(&report, State::Current), [kid(new)]);
    for url in [service.url.clone(), elsewhere] {
        service.url = url;
        for token in [old, new] {
            let answer = service.me(token).await;
            assert_eq!(answer.status, StatusCode::OK, "without a restart");
        }
    }
    check_keys(&service).await;
}

#[tokio::test]
async fn rotating_again_waits_until_everybody_can_know_the_next_key() {
    let service = Service::start().await;

    let report = run(&service, &NOW).await;
    let repeated = run(&service, &NOW).await;

    assert!(report.changed);
    assert!(!repeated.changed);
    let set = check_keys(&service).await;
    assert_eq!(set.keys[1].sign_from, set.keys[1].published_at + DAY);
}

#[tokio::test]
async fn t32_what_a_retired_key_signed_is_good_until_it_expires_and_no_longer() {
    let service = Service::start().await;
    let forge = tests::forge::Forge::new(&service).await;
    service.time.pass(DAY as i64);
    run(&service, &NOW).await;
    let signed = |issued: u64| {
        let mut claims = forge.claims.clone();
        claims["iat"] = issued.into();
        claims["exp"] = (issued + 900).into();
        forge.sign(&forge.header.to_string(), &claims.to_string())
    };

    service.time.pass(DAY as i64);
    let in_time = service.me(&signed(service.time.now())).await;
    service.time.pass(2 * 60 * 60);
    let too_late = service.me(&signed(service.time.now())).await;

    assert_eq!(in_time.status, StatusCode::OK);
    assert_eq!(too_late.status, StatusCode::UNAUTHORIZED);
    // The set still has it until a run takes it away, private half and all.
    let removed = run(&service, &Order::default()).await;
    assert!(removed.changed);
    assert_eq!(names(&removed, State::Retired), [""; 0]);
    check_keys(&service).await;
}

#[tokio::test]
async fn t32_what_the_next_key_signs_is_accepted_before_its_turn() {
    let service = Service::start().await;
    let forge = tests::forge::Forge::new(&service).await;
    let next = check_keys(&service).await.keys[1].kid.clone();
    let items = service.scan(local::dynamodb::KEYS_TABLE);
    let private = items.iter().find(|item| item["kid"]["S"] == *next).unwrap();
    let pem = private["private_key"]["S"].as_str().unwrap();
    let key = jsonwebtoken::EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some(next);
    header.typ = Some("at+jwt".to_owned());

    let token = jsonwebtoken::encode(&header, &forge.claims, &key).unwrap();

    assert_eq!(
        service.me(&token).await.status,
        StatusCode::OK,
        "clocks differ"
    );
}

#[tokio::test]
async fn t87_a_revoked_key_opens_nothing_after_minutes_and_sessions_go_on() {
    let service = Service::start().await;
    let first = service.sign_in("octocat").await;
    let stolen = kid(first.text("/access_token"));
    service.time.pass(DAY as i64);
    let old = service.refresh(first.text("/refresh_token")).await;
    let (rotate_keys, bucket, _running) = with_files(&service).await;
    rotate_keys.run(&Order::default()).await.unwrap();
    assert!(bucket.kids().contains(&stolen));

    bucket.refuse("");
    assert_not_written(rotate_keys.run(&revoke(&stolen)).await);
    service.time.pass(5 * 60 + 1);

    let refused = service.me(old.text("/access_token")).await;
    let refreshed = service.refresh(old.text("/refresh_token")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refreshed.status, StatusCode::OK);
    assert_eq!(
        service.me(refreshed.text("/access_token")).await.status,
        StatusCode::OK
    );
    let set = check_keys(&service).await;
    assert!(set.keys.iter().all(|key| key.kid != stolen));
    assert!(bucket.kids().contains(&stolen), "S3 did not take the files");
    bucket.heal();
    rotate_keys.run(&revoke(&stolen)).await.unwrap();
    assert_eq!(bucket.kids(), published_kids(&service).await);
    assert!(!bucket.kids().contains(&stolen));
    // Once is enough.
    let again = rotate_keys.run(&revoke(&stolen)).await.unwrap();
    assert!(!again.changed);
}

/// Refreshes every five seconds after a revocation, and sends each access token to a function that knows of the
/// revocation.
async fn watch_after_revocation(service: &Service, refresh_token: &str, stolen: &str) {
    let revoked_at = service.time.now();
    let mut session = service.refresh(refresh_token).await;
    for _ in 0..70 {
        service.time.pass(5);
        session = service.refresh(session.text("/refresh_token")).await;
        let token = session.text("/access_token");
        let answer = service.me(token).await;
        if service.time.now() >= revoked_at + 30 {
            assert_ne!(kid(token), stolen, "signed after 30 s");
            assert_eq!(answer.status, StatusCode::OK, "refused after 30 s");
        }
    }
}

#[tokio::test]
async fn t102_a_revoked_key_signs_nothing_after_30_seconds_and_no_honest_token_is_refused() {
    for is_next_known in [true, false] {
        let service = Service::start().await;
        let session = service.sign_in("octocat").await;
        service.time.pass(DAY as i64);
        // The signer has just read the keys; the functions that verify read them when they are asked next.
        let session = service.refresh(session.text("/refresh_token")).await;
        let set = check_keys(&service).await;
        let stolen = kid(session.text("/access_token"));
        let next = set.next(service.time.now()).unwrap().kid.clone();

        if !is_next_known {
            run(&service, &revoke(&next)).await;
        }
        run(&service, &revoke(&stolen)).await;

        watch_after_revocation(&service, session.text("/refresh_token"), &stolen).await;
    }
}

#[tokio::test]
async fn t102_requests_in_parallel_wait_for_the_keys_rather_than_sign_with_a_revoked_one() {
    let _turning = tests::timers::follow_work();
    let service = Service::start().await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(service.sign_in("octocat").await);
    }
    let stolen = kid(sessions[0].text("/access_token"));
    run(&service, &revoke(&stolen)).await;
    service.time.pass(30);
    // The first one to ask for the keys waits for them, and the others come meanwhile.
    service.dynamodb.fault(
        When::Matching(|call| call.operation.as_deref() == Some("GetItem")),
        Fault::Delay(Duration::from_millis(100)),
    );

    let refreshes = sessions.iter().map(|session| {
        let request = service.token_request(&tests::refresh_of(session.text("/refresh_token")));
        tokio::spawn(tests::persist(request))
    });
    for refresh in refreshes.collect::<Vec<_>>() {
        let refreshed = refresh.await.unwrap();
        assert_ne!(kid(refreshed.text("/access_token")), stolen);
    }
}

#[tokio::test]
async fn a_text_that_cannot_name_a_key_is_not_taken_for_a_revoked_one() {
    let service = Service::start().await;
    let before = check_keys(&service).await;
    let current = before.keys[0].kid.clone();
    let short = &current[..current.len() - 1];
    for odd in [
        "",
        " ",
        "dev-",
        "current",
        short,
        &format!("{current}x"),
        &format!("{short}/"),
    ] {
        let refused = rotate_keys(&service).run(&revoke(odd)).await;

        let error = refused.unwrap_err().to_string();
        assert!(error.contains(&format!("{odd:?}")), "{error}");
        assert!(
            error.contains(&current),
            "it says which keys there are: {error}"
        );
    }
    assert_eq!(check_keys(&service).await, before);
}

#[tokio::test]
async fn t111_the_files_are_written_whatever_came_before() {
    let service = Service::start().await;
    let (rotate_keys, bucket, _running) = with_files(&service).await;
    rotate_keys.run(&Order::default()).await.unwrap();
    let revoked = check_keys(&service).await.keys[0].kid.clone();
    // The table writes the keys, and its answer is lost.
    service.dynamodb.fault(
        When::Operation("TransactWriteItems"),
        Fault::ResetAfterForwarding,
    );
    // One file is not taken, and it is not the one that matters.
    bucket.refuse(Document::OpenIdConfiguration.path());

    let failed = rotate_keys.run(&revoke(&revoked)).await;

    assert!(
        matches!(failed, Err(RotateKeysError::Store(_))),
        "{failed:?}"
    );
    assert!(!bucket.kids().contains(&revoked), "{revoked}");
    assert_eq!(bucket.kids(), published_kids(&service).await);
}

#[tokio::test]
async fn t111_a_key_signs_only_once_a_file_has_it() {
    let service = Service::start().await;
    let (rotate_keys, bucket, _running) = with_files(&service).await;
    rotate_keys.run(&Order::default()).await.unwrap();
    let known = bucket.kids();
    assert_eq!(known.len(), 2);
    service.time.pass(DAY as i64);
    bucket.refuse("");

    // The next key signs: a file has it. The one that is made for later waits for its file, however late it is.
    assert_not_written(rotate_keys.run(&NOW).await);
    for _ in 0..3 {
        service.time.pass(40 * DAY as i64);
        assert_not_written(rotate_keys.run(&NOW).await);
        let token = service.access_token("octocat").await;
        assert!(known.contains(&kid(&token)), "{}", kid(&token));
        assert_eq!(service.me(&token).await.status, StatusCode::OK);
    }
    // With every key lost, new keys wait as well: no token is better than one that no reader can verify.
    forget_all_keys(&service);
    for _ in 0..3 {
        assert_not_written(rotate_keys.run(&Order::default()).await);
    }
    service.time.pass(10 * 60);
    let exchange = service.exchange(&service.github_token("octocat")).await;
    assert_eq!(exchange.status, StatusCode::SERVICE_UNAVAILABLE);

    bucket.heal();
    let report = rotate_keys.run(&Order::default()).await.unwrap();
    service.time.pass(10 * 60);
    let token = service.access_token("octocat").await;

    assert_eq!(report.keys.len(), 2, "no more than are needed: {report:?}");
    assert_eq!(names(&report, State::Current), [kid(&token)]);
    assert!(bucket.kids().contains(&kid(&token)));
    assert!(!rotate_keys.run(&Order::default()).await.unwrap().changed);
    let set = check_keys(&service).await;
    let next = set.next(service.time.now()).unwrap();
    assert!(next.sign_from < service.time.now() + 100 * DAY, "{next:?}");
}

#[tokio::test]
async fn t87_lost_keys_are_made_anew_and_sessions_go_on() {
    let service = Service::start().await;
    let session = service.sign_in("octocat").await;
    forget_all_keys(&service);

    run(&service, &Order::default()).await;
    service.time.pass(10 * 60);

    let refreshed = service.refresh(session.text("/refresh_token")).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{:?}", refreshed.body);
    assert_eq!(
        service.me(refreshed.text("/access_token")).await.status,
        StatusCode::OK
    );
    check_keys(&service).await;
}

#[tokio::test]
async fn t87_a_lost_private_key_is_followed_by_the_next_and_what_it_signed_stays_good() {
    let mut service = Service::start().await;
    let session = service.sign_in("octocat").await;
    let token = session.text("/access_token").to_owned();
    let lost = kid(&token);
    service.time.pass(60);
    let items = service.scan(local::dynamodb::KEYS_TABLE);
    service.delete_key(items.iter().find(|item| item["kid"]["S"] == *lost).unwrap());
    service.url = service.another_process().await;

    let report = run(&service, &Order::default()).await;

    assert_eq!(names(&report, State::Retired), [&*lost]);
    service.time.pass(5 * 60 + 1);
    assert_eq!(service.me(&token).await.status, StatusCode::OK);
    let refreshed = service.refresh(session.text("/refresh_token")).await;
    assert_eq!(
        kid(refreshed.text("/access_token")),
        names(&report, State::Current)[0]
    );
}

#[tokio::test]
async fn t87_a_malformed_private_key_counts_as_lost() {
    type Damage = fn(&mut Value, &Value);
    let damages: [(&str, Damage); 6] = [
        ("no private key", |item, _| {
            item.as_object_mut().unwrap().remove("private_key");
        }),
        ("a number", |item, _| {
            item["private_key"] = json!({ "N": "1" });
        }),
        ("no PEM", |item, _| {
            item["private_key"] = json!({ "S": "nonsense" });
        }),
        ("an unknown type", |item, _| {
            item["key_type"] = json!({ "S": "P-1" });
        }),
        ("another type", |item, _| {
            item["key_type"] = json!({ "S": "Ed25519" });
        }),
        ("another key", |item, other| {
            item["private_key"] = other["private_key"].clone();
        }),
    ];
    for (what, damage) in damages {
        for (nth, state) in [(0, State::Current), (1, State::Next)] {
            let mut service = Service::start().await;
            let session = service.sign_in("octocat").await;
            service.time.pass(60);
            let set = check_keys(&service).await;
            let items = service.scan(local::dynamodb::KEYS_TABLE);
            let item = |kid: &str| items.iter().find(|item| item["kid"]["S"] == *kid).unwrap();
            let [damaged, other] = [nth, 1 - nth].map(|nth: usize| &*set.keys[nth].kid);
            let mut private = item(damaged).clone();
            damage(&mut private, item(other));
            service.put(local::dynamodb::KEYS_TABLE, &private);

            let report = run(&service, &Order::default()).await;

            assert!(
                !names(&report, state).contains(&damaged),
                "{what}: {report:?}"
            );
            assert!(!run(&service, &Order::default()).await.changed, "{what}");
            service.url = service.another_process().await;
            let refreshed = service.refresh(session.text("/refresh_token")).await;
            let signed_by = kid(refreshed.text("/access_token"));
            assert_eq!(names(&report, State::Current), [signed_by], "{what}");
            // Its earlier tokens stay valid.
            let me = service.me(session.text("/access_token")).await;
            assert_eq!(me.status, StatusCode::OK, "{what}");
        }
    }
}

#[tokio::test]
async fn while_the_next_private_key_cannot_be_read_the_one_before_signs_on() {
    let service = Service::start().await;
    let first = service.sign_in("octocat").await;
    let old = kid(first.text("/access_token"));
    service.time.pass(DAY as i64);
    run(&service, &NOW).await;
    let items = service.scan(local::dynamodb::KEYS_TABLE);
    let next = check_keys(&service)
        .await
        .current(service.time.now())
        .unwrap()
        .kid
        .clone();
    let private = items.iter().find(|item| item["kid"]["S"] == *next).unwrap();
    service.delete_key(private);
    service.time.pass(5 * 60 + 1);

    let meanwhile = service.refresh(first.text("/refresh_token")).await;
    service.put(local::dynamodb::KEYS_TABLE, private);
    let after = service.refresh(meanwhile.text("/refresh_token")).await;

    assert_eq!(kid(meanwhile.text("/access_token")), old);
    assert_eq!(kid(after.text("/access_token")), next);
}

#[tokio::test]
async fn runs_at_the_same_time_leave_valid_keys() {
    let service = Service::start().await;
    let current = check_keys(&service).await.keys[0].kid.clone();
    service.time.pass(DAY as i64);
    let orders = [NOW, Order::default(), revoke(&current), NOW];

    let runs = (0..40).map(|nth| {
        let (rotate_keys, order) = (rotate_keys(&service), orders[nth % orders.len()].clone());
        tokio::spawn(async move { rotate_keys.run(&order).await })
    });
    let mut done = 0;
    for run in runs.collect::<Vec<_>>() {
        done += usize::from(run.await.unwrap().is_ok());
    }

    assert!(done > 0);
    let set = check_keys(&service).await;
    assert!(
        set.keys.iter().all(|key| key.kid != current),
        "revoked by one of them"
    );
    assert!(set.keys.len() <= 4, "{set:?}");
}

#[tokio::test]
async fn a_run_that_is_killed_anywhere_leaves_valid_keys_and_the_next_one_finishes() {
    let kills = [
        Fault::ResetBeforeForwarding,
        Fault::ResetAfterForwarding,
        Fault::TruncatedBody,
        Fault::Refuse,
    ];
    for kill in kills {
        let mut nth = 1;
        loop {
            let service = Service::start().await;
            service.time.pass(DAY as i64);
            run(&service, &NOW).await;
            // Due are now: a key that goes, and one that comes.
            service.time.pass(92 * DAY as i64);
            service.dynamodb.clear();
            // From this call on, nothing comes back: the SDK's retries do not either.
            for call in nth..nth + 20 {
                service.dynamodb.fault(When::Nth(call), kill.clone());
            }
            let killed = rotate_keys(&service).run(&Order::default()).await;
            service.dynamodb.heal();
            // Between the two runs, the functions go on with what is there.
            service.sign_in("octocat").await;

            run(&service, &Order::default()).await;

            let set = check_keys(&service).await;
            assert_eq!(set.keys.len(), 2, "{set:?}");
            assert!(!run(&service, &Order::default()).await.changed);
            if killed.is_ok() {
                break;
            }
            nth += 1;
        }
        assert!(nth > 3, "{kill:?} killed nothing");
    }
}

/// Another service that caches the JWK Set for this time, as libraries do.
struct Verifier {
    keeps_for: u64,
    read_at: u64,
    keys: JwkSet,
}

impl Verifier {
    async fn verifies(&mut self, service: &Service, token: &str) -> bool {
        let now = service.time.now();
        if now >= self.read_at + self.keeps_for {
            (self.keys, self.read_at) = (published(service).await, now);
        }
        let Some(key) = self.keys.find(&kid(token)) else {
            return false;
        };
        let key = DecodingKey::from_jwk(key).unwrap();
        let mut validation = Validation::new(jsonwebtoken::Algorithm::ES256);
        validation.set_audience(&[tests::ISSUER]);
        // The time is simulated; the signature is what this is about.
        validation.validate_exp = false;
        jsonwebtoken::decode::<Value>(token, &key, &validation).is_ok()
    }
}

async fn published(service: &Service) -> JwkSet {
    let answer = service
        .send(service.request("GET", "/.well-known/jwks.json"))
        .await;
    serde_json::from_value(answer.body).unwrap()
}

/// Rotates keys 20 times while tokens are issued and verified. Scheduled runs are late, parallel or killed.
#[tokio::test]
async fn t86_no_verifier_ever_meets_a_key_that_it_cannot_know() {
    const TWO_HOURS: u64 = 2 * 60 * 60;
    const STEP: u64 = 55 * 60;
    let ttl = 2 * DAY;
    let service = Service::start_with(&[("SIGNING_KEY_TTL", &ttl.to_string())]).await;
    let start = service.time.now();
    let first = published(&service).await;
    let caches = [TWO_HOURS, TWO_HOURS, TWO_HOURS, TWO_HOURS, 5 * 60, 0];
    let mut verifiers: Vec<Verifier> = (0..)
        .zip(caches)
        .map(|(nth, keeps_for)| Verifier {
            keeps_for,
            // Each reads at another time.
            read_at: (start + nth * 31 * 60).saturating_sub(TWO_HOURS),
            keys: first.clone(),
        })
        .collect();
    let name = |key: &Jwk| key.common.key_id.clone().unwrap();
    let mut known_since: BTreeMap<String, u64> =
        first.keys.iter().map(|key| (name(key), start)).collect();
    let mut session = service.sign_in("octocat").await;
    let mut signed_by = vec![kid(session.text("/access_token"))];
    let (mut verified, mut next_run, mut runs) = (0, start + DAY, 0_u64);

    while signed_by.len() < 21 {
        service.time.pass(STEP as i64);
        let now = service.time.now();
        for key in published(&service).await.keys {
            known_since.entry(name(&key)).or_insert(now);
        }
        session = service.refresh(session.text("/refresh_token")).await;
        let token = session.text("/access_token").to_owned();
        let kid = kid(&token);
        if signed_by.last() != Some(&kid) {
            assert!(!signed_by.contains(&kid), "a key signs once more");
            assert!(now - known_since[&kid] >= TWO_HOURS, "{kid} signs too soon");
            signed_by.push(kid);
        }
        // At once, and in the last moments of its life.
        for passed in [0, 14 * 60 + 30] {
            service.time.pass(passed);
            for verifier in &mut verifiers {
                assert!(verifier.verifies(&service, &token).await);
                verified += 1;
            }
            assert_eq!(service.me(&token).await.status, StatusCode::OK);
        }
        if now >= next_run {
            runs += 1;
            next_run += DAY;
            match runs % 7 {
                // Killed in the middle.
                1 => {
                    service.dynamodb.fault_times(
                        10,
                        When::Operation("TransactWriteItems"),
                        Fault::ResetAfterForwarding,
                    );
                    let _ = rotate_keys(&service).run(&Order::default()).await;
                    service.dynamodb.heal();
                }
                // Not at all.
                2 => {}
                // Twice at once, and by hand as well.
                3 => {
                    let (one, other) = (rotate_keys(&service), rotate_keys(&service));
                    let (due, now) = (Order::default(), NOW);
                    let _ = tokio::join!(one.run(&due), other.run(&due), one.run(&now));
                }
                _ => {
                    run(&service, &Order::default()).await;
                }
            }
        }
    }

    assert!(verified > 8_000, "{verified}");
    check_keys(&service).await;
}

#[tokio::test]
async fn t88_the_documents_are_files_that_say_what_the_function_says() {
    let service = Service::start().await;
    let (rotate_keys, bucket, _running) = with_files(&service).await;
    bucket.refuse("");
    service.time.pass(DAY as i64);

    assert_not_written(rotate_keys.run(&NOW).await);
    assert_eq!(
        check_keys(&service).await.keys.len(),
        3,
        "the keys are as they should be"
    );
    bucket.heal();
    let report = rotate_keys.run(&Order::default()).await.unwrap();

    assert!(report.changed, "the key that is in the files has its turn");
    service.time.pass(5 * 60 + 1);
    let files = bucket.objects.lock().unwrap().clone();
    assert_eq!(files.len(), 3);
    for document in Document::ALL {
        let (content_type, cache_control, body) = &files[&format!("/documents{}", document.path())];
        let served = service.send(service.request("GET", document.path())).await;
        assert_eq!(
            served.body.to_string(),
            serde_json::from_str::<Value>(body).unwrap().to_string()
        );
        assert_eq!(served.header("content-type"), content_type);
        assert_eq!(served.header("cache-control"), cache_control);
        assert!(body.len() < 150_000, "what API Gateway reads at most");
    }
}
