//! The keys of running functions: reload, outages, and refusal of development keys.

use reqwest::StatusCode;
use shared::keys::{DEVELOPMENT_PREFIX, Keys, KeysError};
use tests::{
    Service,
    proxy::{Fault, When},
};

#[tokio::test]
async fn t84_a_deployed_function_refuses_a_development_key() {
    let service = Service::start().await;

    let deployed = Keys::start(service.key_store(), service.time.clock(), false).await;
    let local = Keys::start(service.key_store(), service.time.clock(), true).await;

    assert!(
        matches!(deployed, Err(KeysError::Development(kid)) if kid.starts_with(DEVELOPMENT_PREFIX))
    );
    assert!(local.is_ok());
}

#[tokio::test]
async fn t85_a_warm_function_goes_on_with_its_keys_for_a_day() {
    let service = Service::start().await;
    let get_keys = || service.request("GET", "/.well-known/jwks.json");
    service.dynamodb.down().await;

    service.time.pass(23 * 60 * 60);
    assert_eq!(service.send(get_keys()).await.status, StatusCode::OK);
    service.time.pass(2 * 60 * 60);
    assert_eq!(
        service.send(get_keys()).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    service.dynamodb.heal();
    assert_eq!(service.send(get_keys()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn t85_a_function_that_started_without_keys_tries_again_at_each_request() {
    let mut service = Service::start().await;
    let token = service.access_token("octocat").await;
    // The key maker reads first: the set, and whether its private keys are there.
    service.dynamodb.clear();
    for nth in 4..=60 {
        service.dynamodb.fault(When::Nth(nth), Fault::Refuse);
    }
    service.url = service.another_process().await;

    assert_eq!(
        service.me(&token).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    service.dynamodb.heal();
    assert_eq!(service.me(&token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn t85_an_unknown_key_id_is_no_answer_while_the_table_is_down() {
    let service = Service::start().await;
    let forge = tests::forge::Forge::new(&service).await;
    let (good, unknown) = (forge.good(), forge.with_header("kid", "restored"));
    service.time.pass(31);
    service.dynamodb.fault(When::Always, Fault::Refuse);

    for _ in 0..3 {
        // It may be the name of a key that was published a moment ago.
        assert_eq!(
            service.me(&unknown).await.status,
            StatusCode::SERVICE_UNAVAILABLE
        );
    }
    service.dynamodb.heal();
    assert_eq!(service.me(&good).await.status, StatusCode::OK);
    service.time.pass(31);
    assert_eq!(service.me(&unknown).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn t79_a_private_key_that_arrives_in_pieces_stays_out_of_the_log() {
    let mut service = Service::start().await;
    service.dynamodb.clear();
    service.dynamodb.fault(When::Always, Fault::TruncatedBody);
    let env = shared::config::Environment::of(service.variables.clone());

    // The log watch fails this test if any of it is logged.
    let exchange = token_exchange::TokenExchange::start(&env, service.time.clock()).await;

    assert!(exchange.is_ok(), "an outage at start is no error");
    assert!(!service.dynamodb.calls().is_empty());
    service.dynamodb.heal();
    service.url = service.another_process().await;
    service.sign_in("octocat").await;
}

#[tokio::test]
async fn t82_a_clock_that_goes_backwards_makes_the_keys_stale() {
    let service = Service::start().await;
    let get_keys = || service.request("GET", "/.well-known/jwks.json");
    service.dynamodb.clear();
    service.send(get_keys()).await;
    assert!(service.dynamodb.calls().is_empty());

    service.time.pass(-3600);
    service.send(get_keys()).await;

    assert_eq!(service.dynamodb.calls().len(), 1);
}

#[tokio::test]
async fn t71_the_keys_are_read_as_of_now() {
    let service = Service::start().await;
    let refresh = service.refresh_token("octocat").await;
    service.time.pass(301);
    service.dynamodb.clear();
    service.refresh(&refresh).await;

    let calls = service.dynamodb.calls();
    let keys = service.table(local::dynamodb::KEYS_TABLE);
    let mut reads = calls.iter().filter(|call| {
        let is_read = call.operation.as_deref() == Some("GetItem");
        is_read && call.body["TableName"] == keys
    });

    let read = reads.next().unwrap();
    assert_eq!(read.body["ConsistentRead"], true, "{read:?}");
    assert!(reads.next().is_none(), "{calls:#?}");
}

#[tokio::test]
async fn t82_keys_are_read_again_after_five_minutes_awake_or_frozen() {
    let service = Service::start().await;
    let get_keys = || service.request("GET", "/.well-known/jwks.json");
    service.dynamodb.clear();
    service.time.pass(240);
    service.send(get_keys()).await;
    assert!(service.dynamodb.calls().is_empty());

    service.time.pass(61);
    service.send(get_keys()).await;
    service.send(get_keys()).await;

    assert_eq!(service.dynamodb.calls().len(), 1);
}
