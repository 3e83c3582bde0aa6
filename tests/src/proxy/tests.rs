mod dynamodb;
mod locks;

use std::{io::ErrorKind, sync::atomic::AtomicUsize, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::timers::follow_work;

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(5);

/// A service that counts writes.
struct Service {
    writes: Arc<AtomicUsize>,
    proxy: Proxy,
    client: Client,
}

impl Service {
    async fn start() -> Self {
        let writes = Arc::new(AtomicUsize::new(0));
        let router = Router::new()
            .route(
                "/user",
                get(|| async { Json(json!({ "login": "octocat" })) }),
            )
            .route("/user/emails", get(|| async { Json(json!([])) }))
            .route("/write", post(write))
            .with_state(writes.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self {
            writes,
            proxy: Proxy::start(&url).await,
            client: client(),
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.proxy.url()))
    }

    fn write(&self) -> RequestBuilder {
        let url = format!("{}/write", self.proxy.url());
        self.client.post(url).json(&json!({ "value": 1 }))
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// Asserts that the same client works again, with no broken connection in its pool.
    async fn works(&self) {
        self.proxy.heal();
        let answer = self.get("/user").send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer, json!({ "login": "octocat" }));
    }
}

fn client() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .build()
        .unwrap()
}

async fn write(State(writes): State<Arc<AtomicUsize>>, Json(_): Json<Value>) -> Json<Value> {
    let count = writes.fetch_add(1, Ordering::SeqCst) + 1;
    Json(json!({ "writes": count }))
}

#[tokio::test]
async fn without_a_fault_everything_passes_and_is_recorded() {
    let _turning = follow_work();
    let service = Service::start().await;

    let first = service
        .get("/user?a=b")
        .bearer_auth("a secret")
        .send()
        .await
        .unwrap();
    let second = service.write().send().await.unwrap();

    assert_eq!(first.headers()["content-type"], "application/json");
    assert_eq!(first.text().await.unwrap(), r#"{"login":"octocat"}"#);
    assert_eq!(
        second.json::<Value>().await.unwrap(),
        json!({ "writes": 1 })
    );
    let calls = service.proxy.calls();
    assert_eq!((calls[0].number, calls[1].number), (1, 2));
    assert_eq!(
        (calls[0].path.as_str(), calls[0].query.as_deref()),
        ("/user", Some("a=b"))
    );
    assert_eq!(calls[0].headers["authorization"], "Bearer a secret");
    assert!(!format!("{calls:?}").contains("a secret"));
    assert_eq!(calls[1].method, Method::POST);
    assert_eq!(calls[1].body, json!({ "value": 1 }));
    assert_eq!(calls[1].status, Some(StatusCode::OK));
    assert!(calls[1].is_forwarded && calls[1].settled_at.is_some());
    assert_eq!(service.proxy.round_trips(), 2);

    service.proxy.clear();
    assert!(service.proxy.calls().is_empty());
}

#[tokio::test]
async fn a_missing_service_looks_like_one() {
    let _turning = follow_work();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let proxy = Proxy::start(&format!("http://{address}/")).await;

    client().get(proxy.url()).send().await.unwrap_err();

    assert!(!proxy.calls()[0].is_forwarded);
    proxy.settled().await;
}

#[tokio::test]
async fn a_fault_hits_the_calls_that_it_is_for() {
    let _turning = follow_work();
    let service = Service::start().await;
    let status = async |path| service.get(path).send().await.unwrap().status().as_u16();
    let teapot = Fault::status(StatusCode::IM_A_TEAPOT);

    service.proxy.fault(When::Nth(2), teapot.clone());
    assert_eq!(
        [
            status("/user").await,
            status("/user").await,
            status("/user").await
        ],
        [200, 418, 200]
    );

    service.proxy.heal();
    service.proxy.fault(When::Path("/user"), teapot.clone());
    assert_eq!(
        [
            status("/user/emails").await,
            status("/user").await,
            status("/user").await
        ],
        [200, 418, 418]
    );

    service.proxy.heal();
    service.proxy.fault_once(When::Always, teapot.clone());
    assert_eq!([status("/user").await, status("/user").await], [418, 200]);

    service.proxy.heal();
    service.proxy.fault_times(2, When::Always, teapot.clone());
    assert_eq!(
        [
            status("/user").await,
            status("/user").await,
            status("/user").await
        ],
        [418, 418, 200]
    );

    service.proxy.heal();
    service
        .proxy
        .fault(When::Matching(|call| call.query.is_some()), teapot.clone());
    assert_eq!([status("/user").await, status("/user?a").await], [200, 418]);

    service.proxy.heal();
    service.proxy.fault(When::Always, teapot);
    service
        .proxy
        .fault(When::Always, Fault::status(StatusCode::GONE));
    assert_eq!([status("/user").await, status("/user").await], [418, 418]);
    service.works().await;
}

#[tokio::test]
async fn a_delayed_call_takes_effect_even_if_nobody_waits_for_it() {
    let _turning = follow_work();
    let service = Service::start().await;
    service.proxy.fault(When::Always, Fault::Delay(SHORT));

    let started = Instant::now();
    service.write().send().await.unwrap();
    assert!(started.elapsed() >= SHORT);

    let caller = tokio::spawn(service.write().send());
    timeout(LONG, service.proxy.arrived(2)).await.unwrap();
    caller.abort();
    assert_eq!(service.writes(), 1);
    timeout(LONG, service.proxy.settled()).await.unwrap();
    assert_eq!(service.writes(), 2);
    service.works().await;
}

#[tokio::test]
async fn a_refused_call_ends_its_connection() {
    let _turning = follow_work();
    let service = Service::start().await;
    service.get("/user").send().await.unwrap();
    service.proxy.fault(When::Always, Fault::Refuse);

    service.write().send().await.unwrap_err();

    assert_eq!(service.proxy.calls()[1].body, Value::Null);
    assert_eq!(service.writes(), 0);
    service.works().await;
}

#[tokio::test]
async fn a_proxy_that_is_down_refuses_connections() {
    let _turning = follow_work();
    let service = Service::start().await;
    service.get("/user").send().await.unwrap();

    service.proxy.down().await;
    // The pooled connection may still look alive to the first call.
    let _ = service.get("/user").send().await;
    let refused = service.get("/user").send().await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    assert_eq!(service.proxy.calls().len(), 1);

    service.works().await;
}

#[tokio::test]
async fn a_caller_can_be_killed_before_its_call_takes_effect() {
    let _turning = follow_work();
    let service = Service::start().await;
    service.proxy.fault(When::Always, Fault::Hang);
    let caller = tokio::spawn(service.write().send());

    timeout(LONG, service.proxy.arrived(1)).await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());

    timeout(LONG, service.proxy.settled()).await.unwrap();
    assert_eq!(service.writes(), 0);
    service.works().await;
}

#[tokio::test]
async fn a_caller_can_be_killed_after_its_call_took_effect() {
    let _turning = follow_work();
    let service = Service::start().await;
    service
        .proxy
        .fault(When::Nth(2), Fault::HangAfterForwarding);
    service.write().send().await.unwrap();
    let caller = tokio::spawn(service.write().send());

    timeout(LONG, service.proxy.forwarded(2)).await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());

    assert_eq!(service.writes(), 2);
    service.works().await;
}

#[tokio::test]
async fn a_caller_that_breaks_off_in_its_request_asked_for_nothing() {
    let _turning = follow_work();
    let service = Service::start().await;
    let mut stream = TcpStream::connect(service.proxy.address).await.unwrap();
    let half = "POST /write HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"value\"";
    stream.write_all(half.as_bytes()).await.unwrap();

    timeout(LONG, service.proxy.arrived(1)).await.unwrap();
    drop(stream);

    timeout(LONG, service.proxy.settled()).await.unwrap();
    assert_eq!(service.writes(), 0);
}

#[tokio::test]
async fn a_reset_loses_the_call_or_only_its_answer() {
    let _turning = follow_work();
    let service = Service::start().await;

    for (fault, writes) in [
        (Fault::ResetBeforeForwarding, 0),
        (Fault::ResetAfterForwarding, 1),
    ] {
        // Once on a fresh connection, and once on one from the pool.
        for _ in 0..2 {
            let before = service.writes();
            service.proxy.fault(When::Always, fault.clone());
            let error = service.write().send().await.unwrap_err();
            assert!(!error.is_timeout(), "{error:?}");
            assert_eq!(service.writes() - before, writes, "{fault:?}");
            service.works().await;
        }
    }
}

#[tokio::test]
async fn a_reset_is_one_on_the_wire_and_a_refusal_is_a_close() {
    let _turning = follow_work();
    let service = Service::start().await;
    let request = b"GET /user HTTP/1.1\r\nhost: a\r\n\r\n";
    let outcome = async |fault| {
        service.proxy.heal();
        service.proxy.fault(When::Always, fault);
        let mut stream = TcpStream::connect(service.proxy.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut read = Vec::new();
        let result = timeout(LONG, stream.read_to_end(&mut read)).await.unwrap();
        (result.map_err(|error| error.kind()), read.is_empty())
    };

    let reset = Err(ErrorKind::ConnectionReset);
    assert_eq!(outcome(Fault::ResetBeforeForwarding).await, (reset, true));
    assert_eq!(outcome(Fault::ResetAfterForwarding).await, (reset, true));
    assert_eq!(outcome(Fault::ResetMidBody).await, (reset, false));
    assert_eq!(outcome(Fault::Refuse).await, (Ok(0), true));
}

#[tokio::test]
async fn a_broken_body_is_noticed_while_it_is_read() {
    let _turning = follow_work();
    let service = Service::start().await;

    for fault in [Fault::ResetMidBody, Fault::LengthTooLong] {
        service.proxy.fault(When::Always, fault);
        let answer = service.write().send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "application/json");
        answer.text().await.unwrap_err();
        service.works().await;
    }
    assert_eq!(service.writes(), 2);
}

#[tokio::test]
async fn a_shortened_body_is_noticed_only_by_who_parses_it() {
    let _turning = follow_work();
    let service = Service::start().await;

    for fault in [Fault::TruncatedBody, Fault::LengthTooShort] {
        service.proxy.fault(When::Always, fault.clone());
        let answer = service.get("/user").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), r#"{"login":"#, "{fault:?}");
        service.works().await;
    }
}

#[tokio::test]
async fn what_an_answer_did_not_announce_follows_on_its_connection() {
    let _turning = follow_work();
    let service = Service::start().await;
    service.proxy.fault(When::Always, Fault::LengthTooShort);
    let mut stream = TcpStream::connect(service.proxy.address).await.unwrap();
    let request = b"GET /user HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();

    let mut read = String::new();
    while !read.ends_with("}") {
        let mut buffer = [0; 1024];
        let count = timeout(LONG, stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        read.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }

    assert!(read.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(read.contains("\r\ncontent-length: 9\r\n\r\n{\"login\":\"octocat\"}"));
    let still_open = timeout(SHORT, stream.read_u8()).await;
    assert!(still_open.is_err());
}

#[tokio::test]
async fn a_slow_body_arrives_byte_by_byte() {
    let _turning = follow_work();
    let service = Service::start().await;
    let pace = Duration::from_millis(20);
    service.proxy.fault(When::Always, Fault::SlowBody(pace));

    let started = Instant::now();
    let answer = service.get("/user").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), r#"{"login":"octocat"}"#);
    assert!(started.elapsed() >= pace * 19);

    let impatient = service.get("/user").timeout(pace * 10);
    let answer = impatient.send().await.unwrap();
    assert!(answer.text().await.unwrap_err().is_timeout());
    service.works().await;
}

#[tokio::test]
async fn a_provider_can_refuse_and_mislead() {
    let _turning = follow_work();
    let service = Service::start().await;
    let answer = async |fault| {
        service.proxy.heal();
        service.proxy.fault(When::Always, fault);
        service.write().send().await.unwrap()
    };

    let limited = answer(Fault::rate_limited(7)).await;
    assert_eq!(
        (limited.status().as_u16(), &limited.headers()["retry-after"]),
        (403, &"7".parse().unwrap())
    );
    let limited = answer(Fault::too_many_requests(60)).await;
    assert_eq!(
        (limited.status().as_u16(), &limited.headers()["retry-after"]),
        (429, &"60".parse().unwrap())
    );
    let redirect = answer(Fault::redirect_to("http://elsewhere.example/")).await;
    assert_eq!(
        (redirect.status().as_u16(), &redirect.headers()["location"]),
        (307, &"http://elsewhere.example/".parse().unwrap())
    );
    let page = answer(Fault::html()).await;
    assert_eq!(page.status(), StatusCode::OK);
    page.json::<Value>().await.unwrap_err();

    assert_eq!(service.writes(), 0);
    let calls = service.proxy.calls();
    assert_eq!(calls[0].status, Some(StatusCode::FORBIDDEN));
    assert!(
        calls
            .iter()
            .all(|call| !call.is_forwarded && call.settled_at.is_some())
    );
    service.works().await;
}

#[tokio::test]
async fn parallel_calls_are_one_round_trip() {
    let _turning = follow_work();
    let service = Service::start().await;
    service.proxy.fault(When::Always, Fault::Delay(SHORT));

    let (first, second) = tokio::join!(service.write().send(), service.get("/user").send());
    first.and(second).unwrap();
    assert_eq!(service.proxy.round_trips(), 1);

    service.write().send().await.unwrap();
    assert_eq!(service.proxy.round_trips(), 2);
}

#[tokio::test]
async fn every_listed_fault_keeps_a_caller_from_its_answer_or_makes_it_wait() {
    let _turning = follow_work();
    let service = Service::start().await;
    let faults = [Fault::of_dynamodb(), Fault::of_a_provider()].concat();

    for (name, fault) in faults {
        service.proxy.fault(When::Always, fault);
        let request = service.get("/user").timeout(SHORT / 4);
        let answer: reqwest::Result<Value> =
            async { request.send().await?.error_for_status()?.json().await }.await;
        let is_right = answer.is_ok_and(|answer| answer == json!({ "login": "octocat" }));
        // Only a caller with a limit refuses an answer for its size.
        assert!(!is_right || name == "2 MiB", "{name}");
        service.works().await;
    }
}
