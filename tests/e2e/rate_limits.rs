//! The limits of authenticated clients and of their users at `POST /token`.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use tests::{
    Answer, CLIENT, OTHER_CLIENT, Service,
    proxy::{Call, Fault, When},
    refresh_of,
};
use tokio::task::JoinSet;

/// A service on which a client may make this many requests a minute, and a user so many.
async fn limited(client: u64, user: u64) -> Service {
    let (client, user) = (client.to_string(), user.to_string());
    let settings = [("CLIENT_RATE_LIMIT", &*client), ("USER_RATE_LIMIT", &*user)];
    Service::start_with(&settings).await
}

/// Asserts that an answer is the refusal of the client or of the user.
fn assert_too_many(answer: &Answer, setting: &str) {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    assert_eq!(answer.text("/error"), "too_many_requests");
    let text = answer.text("/error_description");
    assert!(text.contains(setting), "{text}");
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// Sends all requests at the same time, and returns the number of answers with each of the two statuses.
async fn at_once(requests: Vec<RequestBuilder>) -> (usize, usize) {
    let mut sent = JoinSet::new();
    for request in requests {
        sent.spawn(async { request.send().await.unwrap().status() });
    }
    let statuses = sent.join_all().await;
    let of = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    (of(StatusCode::OK), of(StatusCode::TOO_MANY_REQUESTS))
}

fn counters(service: &Service) -> Vec<(String, u64)> {
    let items = service.items_of("LIMIT#");
    let mut found: Vec<_> = items
        .iter()
        .map(|item| {
            let key = item["pk"]["S"].as_str().unwrap().to_owned();
            let count = item["count"]["N"].as_str().unwrap().parse().unwrap();
            (key, count)
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn t162_a_client_over_its_limit_is_refused_and_the_others_are_not() {
    let service = limited(3, 0).await;
    let token = service.refresh_token("octocat").await;
    for _ in 0..2 {
        assert_eq!(service.refresh(&token).await.status, StatusCode::OK);
    }
    let sessions = service.sessions();

    let first = service.refresh(&token).await;
    service.dynamodb.clear();
    service.github.clear();
    let more = service.refresh(&token).await;
    let sign_in = service.exchange(&service.github_token("hubot")).await;

    for refused in [&first, &more, &sign_in] {
        assert_too_many(refused, "CLIENT_RATE_LIMIT");
    }
    // Once the limit is reached, a request costs nothing.
    assert!(service.dynamodb.calls().is_empty());
    assert!(service.github.calls().is_empty());
    assert_eq!(service.sessions(), sessions);
    let form = service.github_token("hubot");
    let form = tests::exchange_of(&form);
    let other = service.token_request_as(OTHER_CLIENT, &form);
    assert_eq!(service.send(other).await.status, StatusCode::OK);
    // The refused refresh has not used the token up.
    service.time.pass(60);
    assert_eq!(service.refresh(&token).await.status, StatusCode::OK);
    // DynamoDB deletes the counters, which name clients alone.
    for item in service.items_of("LIMIT#") {
        let expires_at: u64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
        let lives = expires_at - service.time.now();
        assert!(lives > 0 && lives < 2 * 60 * 60, "{lives}");
        assert_eq!(item.as_object().unwrap().len(), 4, "{item}");
    }
    service.check_invariants();
}

#[tokio::test]
async fn t162_parallel_requests_in_several_processes_share_one_limit() {
    let _turning = tests::timers::follow_work();
    let mut service = limited(40, 0).await;
    let other = service.another_process().await;
    let token = service.refresh_token("octocat").await;
    let form = refresh_of(&token);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let requests = (0..120).map(|nth| {
        let url = if nth % 2 == 0 { &service.url } else { &other };
        let request = http.post(format!("{url}/token"));
        request.basic_auth(CLIENT.0, Some(CLIENT.1)).form(&form)
    });

    let (admitted, refused) = at_once(requests.collect()).await;

    // The sign-in was one of the 40.
    assert!(admitted <= 39, "{admitted}");
    assert_eq!(admitted + refused, 120);
    // A request may have been refused while a share was on its way; nothing of the share is lost.
    let mut total = admitted;
    for url in [&service.url, &other] {
        loop {
            let request = http.post(format!("{url}/token"));
            let request = request.basic_auth(CLIENT.0, Some(CLIENT.1)).form(&form);
            match at_once(vec![request]).await {
                (1, 0) => total += 1,
                refused => {
                    assert_eq!(refused, (0, 1));
                    break;
                }
            }
        }
    }
    assert_eq!(total, 39);
}

#[tokio::test]
async fn t163_a_request_without_a_valid_secret_counts_for_no_client_and_makes_no_item() {
    let service = limited(3, 3).await;
    let form = refresh_of("cbr_nonsense");
    for (id, secret) in [
        (CLIENT.0, "wrong"),
        ("LIMIT#x", "wrong"),
        ("nobody", CLIENT.1),
        ("", ""),
    ] {
        for _ in 0..5 {
            let request = service.token_request_as((id, secret), &form);
            let answer = service.send(request).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{id}");
        }
    }

    assert!(service.dynamodb.calls().is_empty());
    assert!(service.items_of("LIMIT#").is_empty());
    service.sign_in("octocat").await;
    assert_eq!(counters(&service), [("LIMIT#nextjs".to_owned(), 1)]);
}

#[tokio::test]
async fn t164_a_user_over_the_limit_is_refused_and_no_other_user_is() {
    let service = limited(0, 3).await;
    let token = service.refresh_token("octocat").await;
    let hubot = service.refresh_token("hubot").await;
    for _ in 0..3 {
        assert_eq!(service.refresh(&token).await.status, StatusCode::OK);
    }
    service.dynamodb.clear();

    let refused = service.refresh(&token).await;

    assert_too_many(&refused, "USER_RATE_LIMIT");
    assert!(service.dynamodb.calls().is_empty());
    assert_eq!(service.refresh(&hubot).await.status, StatusCode::OK);
    service.time.pass(60);
    assert_eq!(service.refresh(&token).await.status, StatusCode::OK);
    assert!(service.items_of("LIMIT#").is_empty());
}

#[tokio::test]
async fn t164_sign_ins_of_one_account_are_counted_after_the_provider_has_proven_it() {
    let service = limited(0, 2).await;
    for _ in 0..2 {
        service.sign_in("octocat").await;
    }
    let sessions = service.sessions();

    let refused = service.exchange(&service.github_token("octocat")).await;

    assert_too_many(&refused, "USER_RATE_LIMIT");
    assert_eq!(service.sessions(), sessions);
    service.sign_in("hubot").await;
    // The next minute, the same token of the provider opens a session.
    let token = service.github_token("octocat");
    assert_too_many(&service.exchange(&token).await, "USER_RATE_LIMIT");
    service.time.pass(60);
    let answer = service.exchange(&token).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
}

#[tokio::test]
async fn t164_a_forged_refresh_token_of_a_user_does_not_count_for_the_user() {
    let service = limited(0, 3).await;
    let token = service.refresh_token("octocat").await;
    // The id of the user is in front, and another secret behind.
    let forged = format!("{}{}", &token[..token.len() - 20], "A".repeat(20));
    for client in [CLIENT, OTHER_CLIENT] {
        for _ in 0..5 {
            let answer = service.refresh_as(client, &forged).await;
            assert_eq!(answer.text("/error"), "invalid_grant", "{answer:?}");
        }
        // Nor does another client that sends the user's own token.
        if client == OTHER_CLIENT {
            let answer = service.refresh_as(client, &token).await;
            assert_eq!(answer.text("/error"), "invalid_grant", "{answer:?}");
        }
    }

    for _ in 0..3 {
        assert_eq!(service.refresh(&token).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn t165_without_the_counter_requests_are_admitted() {
    let _turning = tests::timers::follow_work();
    for fault in [
        Fault::throttling(),
        Fault::html(),
        Fault::internal_server_error(),
        Fault::ResetAfterForwarding,
        Fault::Delay(Duration::from_secs(5)),
    ] {
        let service = limited(1, 0).await;
        let token = service.refresh_token("octocat").await;
        assert_too_many(&service.refresh(&token).await, "CLIENT_RATE_LIMIT");
        service.time.pass(60);
        // The counter is the first call of a refresh, and is tried at most three times.
        service.dynamodb.clear();
        service
            .dynamodb
            .fault_times(3, When::Operation("UpdateItem"), fault.clone());

        let answer = service.refresh(&token).await;

        assert_eq!(answer.status, StatusCode::OK, "{fault:?}: {answer:?}");
    }
}

#[tokio::test]
async fn t165_a_clock_that_jumps_locks_no_client_out() {
    let service = limited(2, 2).await;
    let token = service.refresh_token("octocat").await;
    assert_eq!(service.refresh(&token).await.status, StatusCode::OK);
    assert_too_many(&service.refresh(&token).await, "CLIENT_RATE_LIMIT");
    for jump in [3600, -3600 - 120, -60, 24 * 60 * 60] {
        service.time.pass(jump);
        for _ in 0..2 {
            let answer = service.refresh(&token).await;
            assert_eq!(answer.status, StatusCode::OK, "{jump}: {answer:?}");
        }
        let answer = service.refresh(&token).await;
        assert_too_many(&answer, "CLIENT_RATE_LIMIT");
    }
    // Back in a minute that is used up, whose counter the table still has.
    service.time.pass(-24 * 60 * 60);
    assert_too_many(&service.refresh(&token).await, "CLIENT_RATE_LIMIT");
}

#[tokio::test]
async fn a_request_takes_at_most_one_write_for_its_limit_and_most_take_none() {
    let service = limited(12_000, 120).await;
    let is_counter = |call: &Call| {
        let key = call.body["Key"]["pk"]["S"].as_str();
        key.is_some_and(|key| key.starts_with("LIMIT#"))
    };
    let token = service.refresh_token("octocat").await;
    let mut writes = 1;
    for _ in 0..100 {
        service.dynamodb.clear();
        assert_eq!(service.refresh(&token).await.status, StatusCode::OK);
        let calls = service.dynamodb.calls();
        let own = calls.iter().filter(|call| is_counter(call)).count();
        assert!(own <= 1, "{calls:#?}");
        let consumed = service.dynamodb.consumed();
        assert!(consumed.write <= 1.0 + own as f64, "{consumed:?}");
        writes += own;
    }
    // Shares of 1, 2, 4, 8, 16, 32 and 64 requests.
    assert_eq!(writes, 7);
    assert_eq!(counters(&service), [("LIMIT#nextjs".to_owned(), 127)]);
}
