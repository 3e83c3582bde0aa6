use axum::body::Body;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{Client, RequestBuilder, redirect::Policy};
use serde_json::Value;
use shared::{clock::Clock, config::Environment};
use tower::ServiceExt as _;
use url::Url;

use super::*;
use crate::{
    api,
    scene::Scene,
    settings::{self, CLIENT_ID, CLIENT_SECRET, GITHUB_CLIENT_SECRET, GitHub},
};

/// A browser that follows no redirect and records every answer.
struct Browser<'a> {
    scene: &'a Scene,
    http: Client,
    cookie: Option<String>,
    seen: Vec<String>,
}

struct PageResponse {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl PageResponse {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}", self.text))
    }

    fn location(&self) -> &str {
        header_text(&self.headers, header::LOCATION)
    }
}

impl<'a> Browser<'a> {
    fn new(scene: &'a Scene) -> Self {
        let http = Client::builder().no_proxy().redirect(Policy::none());
        Self {
            scene,
            http: http.build().unwrap(),
            cookie: None,
            seen: Vec::new(),
        }
    }

    async fn send(&mut self, mut request: RequestBuilder) -> PageResponse {
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, format!("other=1; {cookie}"));
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        if let Some(cookie) = headers.get(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.ends_with("; Path=/try; HttpOnly; SameSite=Lax"));
            self.cookie = cookie.split(';').next().map(str::to_owned);
        }
        let text = response.text().await.unwrap();
        self.seen.push(format!("{headers:?}\n{text}"));
        PageResponse {
            status,
            headers,
            text,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.scene.api)
    }

    async fn get(&mut self, path: &str) -> PageResponse {
        self.send(self.http.get(self.url(path))).await
    }

    /// Sends a request as the page's script does.
    async fn post(&mut self, path: &str) -> PageResponse {
        let request = self.http.post(self.url(path));
        self.send(request.header("sec-fetch-site", "same-origin"))
            .await
    }

    /// Signs in at the stand-in as this user, and returns the callback's path and query.
    async fn return_from_github(&mut self, login: &str) -> String {
        let away = self.get("/try/sign-in").await;
        assert_eq!(away.status, StatusCode::SEE_OTHER);
        let mut authorize = Url::parse(away.location()).unwrap();
        authorize.query_pairs_mut().append_pair("login", login);
        let back = self.http.get(authorize).send().await.unwrap();
        let back = back.headers()[header::LOCATION].to_str().unwrap();
        back.strip_prefix(&self.scene.api).unwrap().to_owned()
    }

    async fn sign_in(&mut self, login: &str) -> Value {
        let callback = self.return_from_github(login).await;
        let back = self.get(&callback).await;
        assert_eq!((back.status, back.location()), (StatusCode::SEE_OTHER, "/"));
        self.get("/try/state").await.json()
    }
}

#[tokio::test]
async fn a_visitor_signs_in_refreshes_and_signs_out() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);

    let first = browser.sign_in("octocat").await;
    let me = browser.post("/try/me").await.json();
    let refreshed = browser.post("/try/refresh").await.json();
    let out = browser.post("/try/sign-out").await.json();

    assert_eq!(first["grant"]["user"]["email"], "octocat@example.com");
    assert_eq!(first["grant"]["is_new_user"], true);
    assert_eq!(first["grant"]["header"]["typ"], "at+jwt");
    assert_eq!(first["no_sign_in"], Value::Null);
    assert_eq!(me["answer"]["request"], "GET /me");
    assert_eq!(me["answer"]["status"], 200);
    assert_eq!(me["answer"]["body"]["name"], "The Octocat");
    assert_eq!(refreshed["grant"]["is_new_user"], true);
    let (before, after) = (&first["grant"]["claims"], &refreshed["grant"]["claims"]);
    assert_eq!(before["sid"], after["sid"]);
    assert_ne!(before["jti"], after["jti"]);
    assert_eq!(out["answer"]["status"], 200);
    assert_eq!(out["grant"], Value::Null);
    let gone = browser.post("/try/me").await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    let requests = browser.get("/try/requests").await.json();
    assert_eq!(requests[3]["route"], "/token");
    assert_eq!(requests[3]["calls"][1]["operation"], "TransactWriteItems");
}

#[tokio::test]
async fn one_browser_ends_the_sessions_of_another() {
    let scene = Scene::start().await;
    let (mut here, mut there) = (Browser::new(&scene), Browser::new(&scene));
    here.sign_in("octocat").await;
    let claims = there.sign_in("octocat").await["grant"]["claims"].take();
    let sid = claims["sid"].as_str().unwrap();

    let list = here.post("/try/sessions").await.json();
    let no_id = here.post("/try/sessions/..%2F..%2Fme/end").await;
    let path = format!("/try/sessions/{sid}/end");
    let ended = here.post(&path).await.json();
    let made_up = "/try/sessions/AAAAAAAAAAAAAAAAAAAAAA/end";
    let made_up = here.post(made_up).await.json();
    let me = there.post("/try/me").await.json();
    let refresh = there.post("/try/refresh").await.json();

    let sessions = list["answer"]["body"]["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(no_id.status, StatusCode::NOT_FOUND);
    assert_eq!(ended["answer"]["status"], 204);
    assert_eq!(made_up["answer"]["status"], 404);
    assert_eq!(me["answer"]["status"], 401);
    assert_eq!(refresh["answer"]["body"]["error"], "invalid_grant");
    assert_eq!(refresh["grant"], Value::Null);

    there.sign_in("octocat").await;
    let out = here.post("/try/sign-out-everywhere").await.json();
    let me = there.post("/try/me").await.json();

    assert_eq!(out["answer"]["status"], 204);
    assert_eq!(out["grant"], Value::Null);
    assert_eq!(me["answer"]["status"], 401);
}

#[tokio::test]
async fn neither_a_secret_nor_a_token_reaches_the_browser() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);

    browser.sign_in("octocat").await;
    for path in [
        "/",
        "/try/page.js",
        "/try/page.css",
        "/try/icon.svg",
        "/try/state",
    ] {
        assert_eq!(browser.get(path).await.status, StatusCode::OK, "{path}");
    }
    for path in [
        "me",
        "refresh",
        "sessions",
        "expire",
        "refresh",
        "lose-answer",
        "refresh",
        "refresh",
        "rotate-keys",
        "items",
        "sign-out",
    ] {
        let answer = browser.post(&format!("/try/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    browser.get("/try/requests").await;

    let seen = browser.seen.concat();
    assert!(
        seen.contains("octocat@example.com"),
        "the answers were looked at"
    );
    // The page names the kinds of tokens and shows dots instead of the rest.
    let seen = seen.replace("eyJ…", "").replace("cbr_…", "");
    let seen = seen.replace("gho_…", "");
    for secret in [
        "eyJ",
        "cbr_",
        "gho_",
        "PRIVATE KEY",
        "private_key",
        CLIENT_SECRET,
        GITHUB_CLIENT_SECRET,
    ] {
        assert!(!seen.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_until_it_is_refreshed_and_the_page_says_why() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    let before = browser.sign_in("octocat").await;

    let expired = browser.post("/try/expire").await.json();

    let (old, new) = (&before["grant"]["claims"], &expired["grant"]["claims"]);
    for claim in ["iss", "aud", "sub", "sid", "client_id", "session_version"] {
        assert_eq!(old[claim], new[claim], "{claim}");
    }
    let refused = browser.post("/try/me").await.json();
    assert_eq!(refused["answer"]["status"], 401);
    let requests = browser.get("/try/requests").await.json();
    assert_eq!(requests[0]["route"], "/me");
    assert_eq!(requests[0]["refused"]["code"], "invalid_token");
    let cause = requests[0]["refused"]["cause"].as_str().unwrap();
    assert!(cause.contains("expired"), "{cause}");

    browser.post("/try/refresh").await;
    let accepted = browser.post("/try/me").await.json();
    assert_eq!(accepted["answer"]["status"], 200);
    let requests = browser.get("/try/requests").await.json();
    assert_eq!(requests[0]["refused"], Value::Null);
    assert_eq!(requests[0]["user"], old["sub"]);
}

/// Returns the requests to this route, the newest first.
async fn requests_to(browser: &mut Browser<'_>, route: &str) -> Vec<Value> {
    let requests = browser.get("/try/requests").await.json();
    let requests = requests.as_array().unwrap().iter();
    requests
        .filter(|request| request["route"] == route)
        .cloned()
        .collect()
}

/// Returns each item that a request changed: its sort key up to the first `#`, the kind of the change, the attributes.
fn changed_items(request: &Value) -> Vec<(String, String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let calls = request["changes"].as_array().unwrap().iter();
    let items = calls.flat_map(|call| call["items"].as_array().unwrap());
    items
        .map(|item| {
            let attributes = item["attributes"].as_array().unwrap().iter();
            (
                text(&item["sk"]).split('#').next().unwrap().to_owned(),
                text(&item["kind"]),
                attributes
                    .map(|attribute| text(&attribute["name"]))
                    .collect(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_refresh_whose_answer_is_lost_gets_the_same_successor_at_the_second_attempt() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    let before = browser.sign_in("octocat").await;

    let armed = browser.post("/try/lose-answer").await.json();
    let lost = browser.post("/try/refresh").await.json();
    let me = browser.post("/try/me").await.json();
    let repeated = browser.post("/try/refresh").await.json();
    let next = browser.post("/try/refresh").await.json();

    assert_eq!(armed["is_next_lost"], true);
    assert_eq!(lost["is_next_lost"], false, "one answer only");
    assert_eq!(lost["words"], ANSWER_LOST);
    assert_eq!(lost["grant"], before["grant"], "the app has the old tokens");
    assert_eq!(me["answer"]["status"], 200);
    assert_eq!(repeated["words"], REFRESH_REPEATED);
    let claims = |view: &Value, name: &str| view["grant"]["claims"][name].clone();
    assert_eq!(claims(&repeated, "sid"), claims(&before, "sid"));
    assert_ne!(claims(&repeated, "jti"), claims(&before, "jti"));
    assert_eq!(next["answer"]["status"], 200, "the successor is good");
    assert_ne!(next["words"], REFRESH_REPEATED);

    let requests = requests_to(&mut browser, "/token").await;
    let told: Vec<_> = requests
        .iter()
        .map(|request| (request["status"].as_u64(), request["lost"].as_bool()))
        .collect();
    let (answered, lost) = ((Some(200), Some(false)), (Some(200), Some(true)));
    assert_eq!(told, [answered, answered, lost, answered]);
    assert_eq!(changed_items(&requests[2])[0].1, "changed");
    assert!(changed_items(&requests[1]).is_empty(), "the item stays");
}

#[tokio::test]
async fn a_sign_in_whose_answer_is_lost_is_repeated_and_opens_one_session() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    browser.sign_in("octocat").await;
    browser.post("/try/sign-out-everywhere").await;
    browser.sign_in("octocat").await;
    browser.post("/try/lose-answer").await;

    let again = browser.sign_in("octocat").await;

    assert_eq!(again["words"], EXCHANGE_REPEATED);
    let sessions = browser.post("/try/sessions").await.json();
    let sessions = sessions["answer"]["body"]["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "one of each sign-in");
    let own = &again["grant"]["claims"]["sid"];
    assert!(sessions.iter().any(|session| session["id"] == *own));
}

/// Sends a refresh as any app does, over a connection of its own, and returns the bytes of the answer.
async fn raw_refresh(scene: &Scene, refresh_token: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let host = scene.api.strip_prefix("http://").unwrap();
    let form = format!("grant_type=refresh_token&refresh_token={refresh_token}");
    let mut connection = tokio::net::TcpStream::connect(host).await.unwrap();
    let credentials = BASE64_STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {credentials}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len(),
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_answer_to_any_app_is_lost_without_a_byte_and_a_refusal_is_not() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    browser.sign_in("octocat").await;
    let (_, refresh_token) = scene.sign_in("hubot").await;

    browser.post("/try/lose-answer").await;
    let refused = raw_refresh(&scene, "cbr_made-up").await;
    let still = browser.get("/try/state").await.json();
    let lost = raw_refresh(&scene, &refresh_token).await;
    let repeated = raw_refresh(&scene, &refresh_token).await;

    assert!(refused.starts_with(b"HTTP/1.1 400"));
    assert_eq!(still["is_next_lost"], true);
    assert_eq!(lost, b"");
    assert!(repeated.starts_with(b"HTTP/1.1 200"));
    // The page's own next refresh is an ordinary one.
    let own = browser.post("/try/refresh").await.json();
    assert_eq!(own["answer"]["status"], 200);
    assert_ne!(own["words"], REFRESH_REPEATED);

    browser.post("/try/lose-answer").await;
    let taken_back = browser.post("/try/lose-answer").await.json();
    assert_eq!(taken_back["is_next_lost"], false);
    assert!(!raw_refresh(&scene, &refresh_token).await.is_empty());
}

#[tokio::test]
async fn each_request_shows_the_items_that_it_changed() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    browser.sign_in("octocat").await;
    browser.post("/try/me").await;
    browser.post("/try/refresh").await;
    browser.post("/try/sign-out").await;

    let requests = browser.get("/try/requests").await.json();

    let requests = requests.as_array().unwrap();
    let [signed_out, refreshed, me, signed_in] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    let mut created = changed_items(signed_in);
    created.sort();
    let told: Vec<_> = created
        .iter()
        .map(|(sk, kind, _)| (sk.as_str(), kind.as_str()))
        .collect();
    let expected = ["IDENTITY", "SESSION", "USER"].map(|sk| (sk, "created"));
    assert_eq!(told, expected);
    assert!(
        created[1].2.contains(&"expires_at".to_owned()),
        "{created:?}"
    );
    assert_eq!(signed_in["changes"][0]["operation"], "TransactWriteItems");
    assert!(changed_items(me).is_empty());
    let changed = changed_items(refreshed);
    let [(sk, kind, attributes)] = changed.as_slice() else {
        panic!("{refreshed}");
    };
    assert_eq!((sk.as_str(), kind.as_str()), ("SESSION", "changed"));
    for name in ["current", "generation", "nonce", "previous"] {
        assert!(
            attributes.contains(&name.to_owned()),
            "{name}: {attributes:?}"
        );
    }
    let ended = changed_items(signed_out);
    let [(sk, _, attributes)] = ended.as_slice() else {
        panic!("{signed_out}");
    };
    assert_eq!(sk, "SESSION");
    assert!(
        attributes.contains(&"ended_at".to_owned()),
        "{attributes:?}"
    );
}

#[tokio::test]
async fn requests_in_parallel_keep_their_changes_apart() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    let (octocat, of_octocat) = scene.sign_in("octocat").await;
    let (_, of_hubot) = scene.sign_in("hubot").await;
    let mona = scene.github_token("mona").await;

    let (one, other, new, _) = tokio::join!(
        scene.app.refresh(&of_octocat),
        scene.app.refresh(&of_hubot),
        scene.app.exchange(&mona, None),
        scene.app.call(Method::GET, "/me", &octocat),
    );

    let users = [one, other, new].map(|answer| {
        let id = answer.unwrap().body["user"]["id"].clone();
        format!("USER#{}", id.as_str().unwrap())
    });
    let requests = requests_to(&mut browser, "/token").await;
    let mut changed: Vec<String> = Vec::new();
    for request in &requests[..3] {
        let changes = request["changes"].as_array().unwrap().iter();
        let items = changes.flat_map(|call| call["items"].as_array().unwrap());
        let keys = items.map(|item| item["pk"].as_str().unwrap());
        let mut of_users: Vec<_> = keys.filter(|key| key.starts_with("USER#")).collect();
        of_users.dedup();
        let [user] = of_users[..] else {
            panic!("{request}");
        };
        changed.push(user.to_owned());
    }
    changed.sort();
    let mut expected = users.to_vec();
    expected.sort();
    assert_eq!(changed, expected);
}

#[tokio::test]
async fn t128_the_changes_of_a_request_contain_no_secret() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    browser.sign_in("octocat").await;
    browser.post("/try/refresh").await;
    browser.post("/try/rotate-keys").await;
    let (_, refresh_token) = scene.sign_in("hubot").await;
    scene.app.refresh(&refresh_token).await.unwrap();

    let requests = browser.get("/try/requests").await;

    assert!(requests.text.contains("octocat@example.com"));
    for secret in ["eyJ", "cbr_", "gho_", "PRIVATE", "KEYSET", &refresh_token] {
        assert!(!requests.text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_disabled_user_is_refused_and_signs_in_again_once_enabled() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    browser.sign_in("octocat").await;

    let disabled = browser.post("/try/disable").await.json();
    let refused = browser.post("/try/me").await.json();
    let enabled = browser.post("/try/enable").await.json();
    let still_refused = browser.post("/try/me").await.json();
    let again = browser.sign_in("octocat").await;

    assert_eq!(disabled["answer"]["body"]["status"], "disabled");
    assert_eq!(refused["answer"]["status"], 401);
    assert_eq!(enabled["answer"]["body"]["status"], "active");
    assert_eq!(
        still_refused["answer"]["status"], 401,
        "the session stays ended"
    );
    assert_eq!(again["grant"]["user"]["name"], "The Octocat");
}

#[tokio::test]
async fn after_a_rotation_both_generations_of_keys_are_published() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    let before = browser.sign_in("octocat").await;

    let rotated = browser.post("/try/rotate-keys").await.json();

    let report = &rotated["answer"]["body"];
    let keys = report["keys"].as_array().unwrap();
    let kid_of = |state: &str| {
        let key = keys.iter().find(|key| key["state"] == state);
        key.unwrap_or_else(|| panic!("no {state} in {report}"))["kid"].clone()
    };
    assert_eq!(kid_of("retired"), before["grant"]["header"]["kid"]);
    assert_ne!(kid_of("current"), kid_of("retired"));
    let accepted = browser.post("/try/me").await.json();
    assert_eq!(
        accepted["answer"]["status"], 200,
        "the retired key verifies"
    );
}

#[tokio::test]
async fn each_of_several_rotations_in_a_row_lets_the_next_key_sign() {
    // These keys are made within a millisecond, so that the rotations follow each other within a second.
    let scene = Scene::with([("SIGNING_KEY_TYPE", "P-256")]).await;
    let mut browser = Browser::new(&scene);
    browser.sign_in("octocat").await;

    let mut turns = Vec::new();
    for _ in 0..3 {
        let rotated = browser.post("/try/rotate-keys").await.json();
        let keys = rotated["answer"]["body"]["keys"].as_array().unwrap();
        let kid_of = |state: &str| {
            let key = keys.iter().find(|key| key["state"] == state);
            key.map(|key| key["kid"].clone())
        };
        turns.push((kid_of("current"), kid_of("next")));
    }

    assert_eq!(turns[1].0, turns[0].1);
    assert_eq!(turns[2].0, turns[1].1);
    assert!(turns[2].1.is_some() && turns[2].1 != turns[2].0);
}

#[tokio::test]
async fn t128_the_items_are_those_of_the_main_table_and_contain_no_secret() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    browser.sign_in("octocat").await;

    let items = browser.post("/try/items").await;

    let list = items.json();
    let kinds: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["sk"])
        .collect();
    assert!(kinds.contains(&&Value::from("USER")), "{kinds:?}");
    assert!(kinds.contains(&&Value::from("IDENTITY")), "{kinds:?}");
    for token in ["eyJ", "cbr_", "gho_"] {
        assert!(!items.text.contains(token), "{token}");
    }
    assert!(!items.text.contains("KEYSET") && !items.text.contains("PRIVATE"));
}

#[tokio::test]
async fn whoever_did_not_start_a_sign_in_here_does_not_finish_it() {
    let scene = Scene::start().await;
    let (mut browser, mut other) = (Browser::new(&scene), Browser::new(&scene));
    let callback = browser.return_from_github("octocat").await;
    other.get("/try/sign-in").await;

    let mut stranger = Browser::new(&scene);
    let forged = callback.replace("state=", "state=x");
    for refused in [
        stranger.get(&callback).await,
        other.get(&callback).await,
        browser.get(&forged).await,
        browser.get("/try/callback").await,
    ] {
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(!refused.headers.contains_key(header::SET_COOKIE));
    }

    assert_eq!(browser.get(&callback).await.location(), "/");
    let twice = browser.get(&callback).await;
    assert_eq!(twice.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn only_the_page_itself_may_post() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    browser.sign_in("octocat").await;

    for headers in [
        &[] as &[_],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "none")],
        &[("origin", "http://localhost:3000")],
        &[("origin", "null")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", scene.api.as_str()),
        ],
    ] {
        for path in [
            "me",
            "refresh",
            "sessions",
            "lose-answer",
            "expire",
            "disable",
            "enable",
            "rotate-keys",
            "items",
            "sign-out",
            "sign-out-everywhere",
        ] {
            let mut request = browser.http.post(browser.url(&format!("/try/{path}")));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let refused = browser.send(request).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
        }
    }

    let old_browser = browser.http.post(browser.url("/try/me"));
    let old_browser = old_browser.header("origin", &scene.api);
    assert_eq!(browser.send(old_browser).await.status, StatusCode::OK);
}

#[tokio::test]
async fn other_sites_may_link_to_the_page_and_to_nothing_else() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);

    for (path, status) in [
        ("/", StatusCode::OK),
        ("/try/sign-in", StatusCode::FORBIDDEN),
        ("/try/state", StatusCode::FORBIDDEN),
        ("/try/requests", StatusCode::FORBIDDEN),
    ] {
        let request = browser.http.get(browser.url(path));
        let request = request.header("sec-fetch-site", "cross-site");
        assert_eq!(browser.send(request).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn another_name_for_this_machine_is_refused() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    let port = scene.api.rsplit(':').next().unwrap();

    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "localhost".to_owned(),
        "localhost:1".to_owned(),
        format!("localhost:{port}.evil.example"),
    ] {
        for path in ["/", "/try/page.js", "/try/state", "/try/requests"] {
            let request = browser.http.get(browser.url(path));
            let refused = browser.send(request.header(header::HOST, &host)).await;
            assert_eq!(
                refused.status,
                StatusCode::MISDIRECTED_REQUEST,
                "{host} {path}"
            );
        }
    }

    let by_number = format!("127.0.0.1:{port}");
    let request = browser.http.get(browser.url("/"));
    let led = browser.send(request.header(header::HOST, by_number)).await;
    assert_eq!(led.location(), format!("{}/", scene.api));
}

#[tokio::test]
async fn every_answer_says_what_the_page_may_do() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);

    for answer in [
        browser.get("/").await,
        browser.get("/try/state").await,
        browser.get("/try/sign-in").await,
        browser.get("/try/callback").await,
        browser.post("/try/me").await,
    ] {
        let policy = header_text(&answer.headers, header::CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in SECURITY_HEADERS {
            assert_eq!(header_text(&answer.headers, name), value);
        }
    }
}

#[tokio::test]
async fn a_refused_sign_in_is_said_once_and_in_our_own_words() {
    let scene = Scene::with([("ALLOWED_SIGNUPS", "nobody")]).await;
    let mut browser = Browser::new(&scene);

    let refused = browser.sign_in("octocat").await;
    let later = browser.get("/try/state").await.json();

    assert_eq!(refused["grant"], Value::Null);
    assert_eq!(refused["answer"]["body"]["error"], "access_denied");
    assert!(
        refused["words"]
            .as_str()
            .unwrap()
            .contains("ALLOWED_SIGNUPS")
    );
    assert_eq!(later["words"], Value::Null);

    browser.get("/try/sign-in").await;
    let callback = browser.return_from_github("octocat").await;
    let state = callback.split("state=").nth(1).unwrap();
    let path = format!("/try/callback?error=access_denied&error_description=CANARY&state={state}");
    browser.get(&path).await;
    let cancelled = browser.get("/try/state").await;
    assert!(cancelled.text.contains("declined"), "{}", cancelled.text);
    assert!(!cancelled.text.contains("CANARY"));
}

#[tokio::test]
async fn a_sign_in_that_fails_leaves_whoever_was_signed_in() {
    let scene = Scene::start().await;
    let mut browser = Browser::new(&scene);
    browser.sign_in("octocat").await;

    let callback = browser.return_from_github("hubot").await;
    let state = callback.split("state=").nth(1).unwrap();
    browser
        .get(&format!("/try/callback?state={state}&code=madeup"))
        .await;

    let after = browser.get("/try/state").await.json();
    assert_eq!(after["grant"]["user"]["name"], "The Octocat");
    assert_eq!(
        after["words"],
        "GitHub returned no token for this sign-in. Start again."
    );
}

#[tokio::test]
async fn without_a_stand_in_or_its_client_the_page_only_looks_on() {
    let clients = format!(r#"[{{"client_id":"mine","secret_sha256":["{:064}"]}}]"#, 1);
    let real = [
        ("GITHUB_CLIENT_ID", "real"),
        ("GITHUB_CLIENT_SECRET", "real-secret"),
    ];
    for shell in [real, [("CLIENTS", &clients), ("LOG_LEVEL", "info")]] {
        let reason = shell[0].0;
        // One after the other, because the recording layer belongs to this thread.
        let scene = Scene::with(shell).await;
        let mut browser = Browser::new(&scene);
        browser.http.get(browser.url("/me")).send().await.unwrap();

        let state = browser.get("/try/state").await.json();
        let away = browser.get("/try/sign-in").await;
        let back = browser.get("/try/callback?state=x&code=x").await;
        let me = browser.post("/try/me").await;
        let requests = browser.get("/try/requests").await.json();

        assert!(state["no_sign_in"].as_str().unwrap().starts_with(reason));
        for refused in [away, back, me] {
            assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.text);
        }
        assert_eq!(browser.cookie, None);
        assert_eq!(requests[0]["route"], "/me", "{requests}");
    }
}

#[tokio::test]
async fn the_api_by_itself_has_no_page() {
    let scene = Scene::start().await;
    let shell = Environment::of::<String, String>([]);
    let github = GitHub::StandIn(scene.github.clone());
    let url = "http://localhost:9000";
    let variables = settings::variables(&shell, url, &scene.dynamodb, &github);
    let api = api::start(&Environment::of(variables), Clock::system())
        .await
        .unwrap();

    for path in ["/", "/try/page.js", "/try/sign-in", "/try/state"] {
        let request = Request::get(path).header(header::HOST, "localhost:9000");
        let answer = api
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await;
        assert_eq!(answer.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
}
