use std::time::{Duration, Instant};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tower::ServiceExt;
use url::Url;

use super::*;

const CALLBACK: &str = "http://localhost:3000/api/auth/callback/github";
const ALL_SCOPES: &str = "read:user,user:email";

/// Texts that GitHub does not accept as a login.
const NO_LOGINS: [&str; 7] = [
    "",
    "-ada",
    "ada-",
    "ada lovelace",
    "<b>",
    "ad\u{e4}",
    "a-login-of-forty-characters-is-too-long-",
];

/// Two apps, so that one can present a token of the other.
fn github() -> StandIn {
    let ours = App {
        redirect_uris: vec!["https://app.example.com/callback".to_owned()],
        ..App::new("ours", "our-secret", "Our app")
    };
    let theirs = App::new("theirs", "their-secret", "<b>Their</b> \"app\"");
    StandIn::new(vec![ours, theirs], accounts::octocat_and_friends())
}

struct GitHubResponse {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl GitHubResponse {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The target of the redirect, as address and query.
    fn redirect(&self) -> (String, Vec<(String, String)>) {
        assert_eq!(self.status, StatusCode::FOUND, "{}", self.text);
        let mut url = Url::parse(self.header("location")).unwrap();
        let query = url.query_pairs().into_owned().collect();
        url.set_query(None);
        (url.into(), query)
    }
}

async fn send(github: &StandIn, request: Request<Body>) -> GitHubResponse {
    let response = github.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    GitHubResponse {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(body.to_vec()).unwrap(),
    }
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::USER_AGENT, "a test")
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

fn basic(name: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{name}:{password}"))
    )
}

async fn authorize(github: &StandIn, pairs: &[(&str, &str)]) -> GitHubResponse {
    let path = format!("/login/oauth/authorize?{}", form(pairs));
    send(github, request("GET", &path).body(Body::empty()).unwrap()).await
}

/// A code for the test's app, with these additional parameters of the authorization request.
async fn code(github: &StandIn, more: &[(&str, &str)]) -> String {
    let mut pairs = vec![
        ("client_id", "ours"),
        ("redirect_uri", CALLBACK),
        ("scope", "read:user user:email"),
        ("login", "octocat"),
    ];
    pairs.extend(more);
    let (_, query) = authorize(github, &pairs).await.redirect();
    assert_eq!(query[0].0, "code");
    query[0].1.clone()
}

/// Redeems a code as the test's app, with these additional parameters.
async fn exchange(github: &StandIn, more: &[(&str, &str)]) -> Value {
    exchange_as(github, "ours", "our-secret", more).await
}

async fn exchange_as(github: &StandIn, id: &str, secret: &str, more: &[(&str, &str)]) -> Value {
    let mut pairs = vec![("client_id", id), ("client_secret", secret)];
    pairs.extend(more);
    let request = request("POST", "/login/oauth/access_token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(Body::from(form(&pairs)))
        .unwrap();
    let answer = send(github, request).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.json()
}

async fn get(github: &StandIn, path: &str, token: &str) -> GitHubResponse {
    let request = request("GET", path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    send(github, request).await
}

async fn on_token(
    github: &StandIn,
    method: &str,
    app: &str,
    credentials: &str,
    body: &str,
) -> GitHubResponse {
    let request = request(method, &format!("/applications/{app}/token"))
        .header(header::AUTHORIZATION, credentials)
        .body(Body::from(body.to_owned()))
        .unwrap();
    send(github, request).await
}

/// Calls GitHub's check-a-token route as the test's app.
async fn check(github: &StandIn, token: &str) -> GitHubResponse {
    let body = json!({ "access_token": token }).to_string();
    on_token(github, "POST", "ours", &basic("ours", "our-secret"), &body).await
}

#[tokio::test]
async fn a_sign_in_leads_from_the_page_to_the_profile() {
    let github = github();

    let asked = [
        ("client_id", "ours"),
        ("redirect_uri", CALLBACK),
        ("state", "a&b"),
        ("scope", "read:user user:email"),
    ];
    let page = authorize(&github, &asked).await;
    assert_eq!(page.status, StatusCode::OK);
    for login in ["octocat", "hubot", "mona", "incognito"] {
        assert!(
            page.text
                .contains(&format!("name=\"login\" value=\"{login}\""))
        );
    }
    assert!(page.text.contains("name=\"state\" value=\"a&amp;b\""));

    let answered = [asked.as_slice(), &[("login", "hubot")]].concat();
    let (callback, query) = authorize(&github, &answered).await.redirect();
    assert_eq!(callback, CALLBACK);
    assert_eq!(query[1], ("state".to_owned(), "a&b".to_owned()));

    let granted = exchange(
        &github,
        &[("code", &query[0].1), ("redirect_uri", CALLBACK)],
    )
    .await;
    assert_eq!(granted["token_type"], "bearer");
    assert_eq!(granted["scope"], "read:user,user:email");
    let token = granted["access_token"].as_str().unwrap();
    let random = token.strip_prefix("gho_").unwrap();
    assert!(random.len() == 36 && random.chars().all(|c| c.is_ascii_alphanumeric()));

    let profile = get(&github, "/user", token).await;
    assert_eq!(profile.header("x-oauth-scopes"), "read:user, user:email");
    assert_eq!(profile.json()["id"], 480_938);
    assert_eq!(profile.json()["login"], "hubot");
    assert_eq!(profile.json()["name"], "Hubot");
    assert_eq!(profile.json()["email"], Value::Null);
    assert_eq!(
        get(&github, "/user", &format!("{token}x")).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn an_unknown_app_gets_a_page_and_no_redirect() {
    let asked = [
        ("client_id", "nobody"),
        ("redirect_uri", CALLBACK),
        ("login", "octocat"),
    ];

    let answer = authorize(&github(), &asked).await;

    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(!answer.headers.contains_key(header::LOCATION));
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_neither_here_nor_registered() {
    let github = github();
    let asked = |uri| {
        [
            ("client_id", "ours"),
            ("redirect_uri", uri),
            ("login", "octocat"),
        ]
    };

    for refused in [
        "https://evil.example/callback",
        "https://app.example.com/callback/../elsewhere",
        "https://app.example.com.evil.example/callback",
        "http://localhost.evil.example/",
        "http://localhost@evil.example/",
        "http://user:pass@localhost/",
        "http://evil.example\\@localhost/",
        "http://localhost:3000/#fragment",
        "//evil.example",
        "/callback",
        "javascript:alert(1)",
        "ftp://localhost/",
        "app://localhost/",
        "",
    ] {
        let answer = authorize(&github, &asked(refused)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{refused}");
        assert!(!answer.headers.contains_key(header::LOCATION), "{refused}");
    }
    for accepted in [
        "http://localhost:3000/a?b=c",
        "https://localhost/",
        "http://127.0.0.1:1234/",
        "http://[::1]:1234/",
        "https://app.example.com/callback",
    ] {
        let answer = authorize(&github, &asked(accepted)).await;
        assert!(
            answer.header("location").starts_with(accepted),
            "{accepted}"
        );
    }
}

#[tokio::test]
async fn without_a_redirect_uri_the_registered_one_is_used() {
    let github = github();

    let registered = authorize(&github, &[("client_id", "ours"), ("login", "octocat")]).await;
    let (uri, query) = registered.redirect();
    assert_eq!(uri, "https://app.example.com/callback");
    let granted = exchange(&github, &[("code", &query[0].1), ("redirect_uri", &uri)]).await;
    assert!(granted["access_token"].is_string());

    let unregistered = authorize(&github, &[("client_id", "theirs"), ("login", "octocat")]).await;
    assert_eq!(unregistered.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn whoever_opens_the_stand_in_itself_reads_who_can_sign_in() {
    let answer = send(&github(), request("GET", "/").body(Body::empty()).unwrap()).await;

    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header("content-type").starts_with("text/html"));
    assert!(answer.text.contains("<b>octocat</b>"));
    assert!(
        answer
            .header("content-security-policy")
            .contains("default-src 'none'")
    );
}

#[tokio::test]
async fn what_an_app_writes_does_not_become_part_of_the_page() {
    let github = github();
    let attack = "\"><script>alert('{content}')</script>";

    let asked = [
        ("client_id", "theirs"),
        ("redirect_uri", CALLBACK),
        ("state", attack),
        ("scope", attack),
    ];
    let page = authorize(&github, &asked).await;

    assert_eq!(page.status, StatusCode::OK);
    let escaped = "value=\"&quot;&gt;&lt;script&gt;alert(&#39;{content}&#39;)&lt;/script&gt;\"";
    assert_eq!(page.text.matches(escaped).count(), 4, "in each form");
    assert!(!page.text.contains("<script") && !page.text.contains("<b>"));
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
}

#[tokio::test]
async fn a_user_can_say_no() {
    let asked = [
        ("client_id", "ours"),
        ("redirect_uri", CALLBACK),
        ("state", "s"),
        ("cancel", "true"),
    ];

    let (uri, query) = authorize(&github(), &asked).await.redirect();

    assert_eq!(uri, CALLBACK);
    assert_eq!(query[0], ("error".to_owned(), "access_denied".to_owned()));
    assert_eq!(query[2], ("state".to_owned(), "s".to_owned()));
}

#[tokio::test]
async fn a_text_that_cannot_be_a_login_is_not_signed_in() {
    for login in NO_LOGINS {
        let asked = [
            ("client_id", "ours"),
            ("redirect_uri", CALLBACK),
            ("login", login),
        ];
        let answer = authorize(&github(), &asked).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{login}");
    }
}

#[tokio::test]
async fn any_other_login_gets_an_account_of_its_own() {
    let github = github();
    let asked = |login| {
        [
            ("client_id", "ours"),
            ("redirect_uri", CALLBACK),
            ("login", login),
        ]
    };

    let mut ids = Vec::new();
    for login in ["Ada-L", "ada-l", "grace"] {
        let (_, query) = authorize(&github, &asked(login)).await.redirect();
        let granted = exchange(&github, &[("code", &query[0].1)]).await;
        let token = granted["access_token"].as_str().unwrap();
        let profile = get(&github, "/user", token).await.json();
        ids.push(profile["id"].as_u64().unwrap());
    }

    assert_eq!(ids[0], ids[1], "logins are case-insensitive");
    assert_ne!(ids[0], ids[2]);
    let restarted = StandIn::new(Vec::new(), accounts::octocat_and_friends());
    let same = restarted.account_for("ada-l").unwrap();
    assert_eq!(same.id, ids[0], "the user stays the same after a restart");
    assert_eq!(same.emails[0].address, "ada-l@example.com");

    assert!(github.rename(ids[0], "eve"));
    let other = github.account_for("ada-l").unwrap();
    assert_ne!(other.id, ids[0], "a renamed user keeps the id");
}

#[tokio::test]
async fn the_number_of_accounts_is_limited() {
    let github = github();

    for number in 0..2000 {
        github.account_for(&format!("user-{number}"));
    }

    assert_eq!(github.accounts().len(), 1000);
    assert!(github.account_for("user-1").is_some());
    assert!(github.account_for("one-more").is_none());
}

#[tokio::test]
async fn the_api_is_at_the_paths_of_github_enterprise_as_well() {
    let github = github();
    let token = github.issue_token("ours", "octocat", ALL_SCOPES).unwrap();

    for path in ["/user", "/user/emails"] {
        let at_root = get(&github, path, &token).await;
        let enterprise = get(&github, &format!("/api/v3{path}"), &token).await;
        assert_eq!(enterprise.status, StatusCode::OK, "{path}");
        assert_eq!(enterprise.json(), at_root.json(), "{path}");
        let refused = get(&github, &format!("/api/v3{path}"), "gho_made-up").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let other = get(&github, "/api/v3/repos", &token).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    assert_eq!(other.json()["message"], "Not Found");
}

#[tokio::test]
async fn a_code_works_once() {
    let github = github();
    let code = code(&github, &[]).await;

    assert!(exchange(&github, &[("code", &code)]).await["access_token"].is_string());

    let again = exchange(&github, &[("code", &code)]).await;
    assert_eq!(again["error"], "bad_verification_code");
    assert_eq!(
        again["error_description"],
        "The code passed is incorrect or expired."
    );
    assert!(
        again["error_uri"]
            .as_str()
            .unwrap()
            .ends_with("#bad-verification-code")
    );
}

#[tokio::test]
async fn a_code_is_bound_to_its_app_and_its_redirect_uri() {
    let github = github();

    let of_ours = code(&github, &[]).await;
    let refused = exchange_as(&github, "theirs", "their-secret", &[("code", &of_ours)]).await;
    assert_eq!(refused["error"], "bad_verification_code");

    let of_ours = code(&github, &[]).await;
    let elsewhere = [
        ("code", of_ours.as_str()),
        ("redirect_uri", "http://localhost:3000/"),
    ];
    assert_eq!(
        exchange(&github, &elsewhere).await["error"],
        "redirect_uri_mismatch"
    );
}

#[tokio::test]
async fn a_code_expires() {
    let github = github();
    let code = code(&github, &[]).await;
    let minutes = |count: u64| Instant::now() + Duration::from_secs(60 * count);

    let mut records = github.records();
    let taken = records.take(&code, minutes(9)).unwrap();
    let code = records.remember(taken);
    assert!(records.take(&code, minutes(10)).is_none());
}

#[tokio::test]
async fn a_pkce_challenge_wants_its_verifier() {
    let github = github();
    // The pair of RFC 7636, appendix B.
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let challenge = [
        (
            "code_challenge",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        ),
        ("code_challenge_method", "S256"),
    ];

    let proven = code(&github, &challenge).await;
    let granted = exchange(&github, &[("code", &proven), ("code_verifier", verifier)]).await;
    assert!(granted["access_token"].is_string());

    let wrong = code(&github, &challenge).await;
    let refused = exchange(&github, &[("code", &wrong), ("code_verifier", "wrong")]).await;
    assert_eq!(refused["error"], "bad_verification_code");

    let missing = code(&github, &challenge).await;
    let refused = exchange(&github, &[("code", &missing)]).await;
    assert_eq!(refused["error"], "bad_verification_code");

    let downgraded = code(&github, &[]).await;
    let refused = exchange(
        &github,
        &[("code", &downgraded), ("code_verifier", verifier)],
    )
    .await;
    assert_eq!(refused["error"], "bad_verification_code");

    let plain = [
        ("client_id", "ours"),
        ("redirect_uri", CALLBACK),
        ("login", "octocat"),
        ("code_challenge", verifier),
    ];
    let (_, query) = authorize(&github, &plain).await.redirect();
    assert_eq!(query[0], ("error".to_owned(), "invalid_request".to_owned()));
}

#[tokio::test]
async fn a_wrong_secret_gets_no_token_and_leaves_the_code_alone() {
    let github = github();
    let code = code(&github, &[]).await;

    for (id, secret) in [
        ("ours", "wrong"),
        ("ours", "their-secret"),
        ("nobody", "our-secret"),
    ] {
        let refused = exchange_as(&github, id, secret, &[("code", &code)]).await;
        assert_eq!(refused["error"], "incorrect_client_credentials");
    }

    assert!(exchange(&github, &[("code", &code)]).await["access_token"].is_string());
}

#[tokio::test]
async fn the_exchange_takes_json_and_basic_and_answers_a_form_by_default() {
    let github = github();
    let code = code(&github, &[]).await;
    let request = request("POST", "/login/oauth/access_token")
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        // Form-encoded before it is joined, as RFC 6749 §2.3.1 requires.
        .header(header::AUTHORIZATION, basic("ours", "our%2Dsecret"))
        .body(Body::from(json!({ "code": code }).to_string()))
        .unwrap();

    let answer = send(&github, request).await;

    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.header("content-type"),
        "application/x-www-form-urlencoded"
    );
    assert!(answer.text.starts_with("access_token=gho_"));
    assert!(
        answer
            .text
            .ends_with("&scope=read%3Auser%2Cuser%3Aemail&token_type=bearer")
    );
}

#[tokio::test]
async fn the_api_refuses_who_does_not_say_who_they_are() {
    let github = github();
    let token = github.issue_token("ours", "octocat", ALL_SCOPES).unwrap();

    let request = Request::get("/user").header(header::AUTHORIZATION, format!("Bearer {token}"));
    let nameless = send(&github, request.body(Body::empty()).unwrap()).await;
    assert_eq!(nameless.status, StatusCode::FORBIDDEN);
    assert!(nameless.text.contains("User-Agent"));

    let request = self::request("GET", "/user").body(Body::empty()).unwrap();
    let anonymous = send(&github, request).await;
    assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
    assert_eq!(anonymous.json()["message"], "Requires authentication");

    let unknown = get(&github, "/user", "gho_unknown").await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.json()["message"], "Bad credentials");

    let request =
        self::request("GET", "/user").header(header::AUTHORIZATION, format!("token {token}"));
    let old_scheme = send(&github, request.body(Body::empty()).unwrap()).await;
    assert_eq!(old_scheme.status, StatusCode::OK);
}

#[tokio::test]
async fn addresses_are_listed_only_with_the_scope_for_them() {
    let github = github();

    let token = github.issue_token("ours", "mona", ALL_SCOPES).unwrap();
    let listed = get(&github, "/user/emails", &token).await;
    assert_eq!(listed.status, StatusCode::OK);
    assert_eq!(
        listed.json(),
        json!([
            { "email": "mona@example.com", "primary": true, "verified": false, "visibility": "private" },
            { "email": "mona@example.org", "primary": false, "verified": true, "visibility": null },
        ])
    );

    let token = github.issue_token("ours", "mona", "read:user").unwrap();
    let hidden = get(&github, "/user/emails", &token).await;
    assert_eq!(hidden.status, StatusCode::NOT_FOUND);
    assert_eq!(hidden.header("x-oauth-scopes"), "read:user");
    assert_eq!(hidden.header("x-accepted-oauth-scopes"), "user:email, user");

    let token = github
        .issue_token("ours", "mona", "user,read:user,user:email")
        .unwrap();
    let wide = get(&github, "/user/emails", &token).await;
    assert_eq!(wide.status, StatusCode::OK);
    assert_eq!(wide.header("x-oauth-scopes"), "user");
}

#[tokio::test]
async fn a_profile_without_scopes_is_the_public_one() {
    let github = github();

    let token = github.issue_token("ours", "incognito", "").unwrap();
    let public = get(&github, "/user", &token).await;

    assert_eq!(public.status, StatusCode::OK);
    assert_eq!(public.header("x-oauth-scopes"), "");
    assert_eq!(public.json()["name"], Value::Null);
    assert_eq!(public.json().get("two_factor_authentication"), None);
}

#[tokio::test]
async fn an_app_can_check_its_own_token() {
    let github = github();
    let token = github.issue_token("ours", "octocat", ALL_SCOPES).unwrap();

    let answer = check(&github, &token).await;

    assert_eq!(answer.status, StatusCode::OK);
    let authorization = answer.json();
    assert_eq!(authorization["app"]["client_id"], "ours");
    assert_eq!(authorization["app"]["name"], "Our app");
    assert_eq!(authorization["scopes"], json!(["read:user", "user:email"]));
    assert_eq!(authorization["token"], token);
    assert_eq!(authorization["token_last_eight"], token[token.len() - 8..]);
    assert_eq!(authorization["hashed_token"].as_str().unwrap().len(), 64);
    assert_eq!(authorization["expires_at"], Value::Null);
    assert_eq!(authorization["user"]["id"], 583_231);
    assert_eq!(authorization["user"]["login"], "octocat");
    for member in [
        "id",
        "url",
        "note",
        "note_url",
        "created_at",
        "updated_at",
        "fingerprint",
    ] {
        assert!(authorization.get(member).is_some(), "{member}");
    }
}

#[tokio::test]
async fn an_app_learns_nothing_about_other_tokens() {
    let github = github();
    let foreign = github.issue_token("theirs", "octocat", ALL_SCOPES).unwrap();

    assert_eq!(check(&github, &foreign).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        check(&github, "gho_unknown").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(get(&github, "/user", &foreign).await.status, StatusCode::OK);
}

#[tokio::test]
async fn checking_a_token_takes_the_apps_own_credentials_and_a_token() {
    let github = github();
    let token = github.issue_token("ours", "octocat", ALL_SCOPES).unwrap();
    let body = json!({ "access_token": token }).to_string();
    let ours = basic("ours", "our-secret");

    for (app, credentials, body, expected) in [
        ("ours", ours.as_str(), body.as_str(), StatusCode::OK),
        (
            "ours",
            &basic("ours", "wrong"),
            &body,
            StatusCode::UNAUTHORIZED,
        ),
        (
            "ours",
            &basic("nobody", "our-secret"),
            &body,
            StatusCode::UNAUTHORIZED,
        ),
        (
            "ours",
            &format!("Bearer {token}"),
            &body,
            StatusCode::UNAUTHORIZED,
        ),
        (
            "ours",
            &basic("theirs", "their-secret"),
            &body,
            StatusCode::NOT_FOUND,
        ),
        ("theirs", &ours, &body, StatusCode::NOT_FOUND),
        ("ours", &ours, "{}", StatusCode::UNPROCESSABLE_ENTITY),
        (
            "ours",
            &ours,
            r#"{"access_token":7}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("ours", &ours, "access_token=x", StatusCode::BAD_REQUEST),
    ] {
        let answer = on_token(&github, "POST", app, credentials, body).await;
        assert_eq!(answer.status, expected, "{app} {body}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_gone_for_everyone() {
    let github = github();

    let by_the_user = github.issue_token("ours", "octocat", ALL_SCOPES).unwrap();
    assert!(github.revoke(&by_the_user));
    assert!(!github.revoke(&by_the_user));
    assert_eq!(
        check(&github, &by_the_user).await.status,
        StatusCode::NOT_FOUND
    );

    let by_the_app = github.issue_token("ours", "octocat", ALL_SCOPES).unwrap();
    let body = json!({ "access_token": by_the_app }).to_string();
    let ours = basic("ours", "our-secret");
    let theirs = basic("theirs", "their-secret");
    let foreign = on_token(&github, "DELETE", "theirs", &theirs, &body).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    assert_eq!(
        get(&github, "/user", &by_the_app).await.status,
        StatusCode::OK
    );
    let deleted = on_token(&github, "DELETE", "ours", &ours, &body).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert_eq!(
        get(&github, "/user", &by_the_app).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        check(&github, &by_the_app).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_script_gets_a_token_without_a_browser() {
    let github = github();
    let path = "/stand-in/tokens?login=octocat";

    let answer = send(&github, Request::post(path).body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header("content-type").starts_with("text/plain"));
    let checked = check(&github, &answer.text).await.json();
    assert_eq!(checked["scopes"], json!(["read:user", "user:email"]));

    let narrow = format!("{path}&scope=read:user");
    let answer = send(&github, Request::post(narrow).body(Body::empty()).unwrap()).await;
    let checked = check(&github, &answer.text).await.json();
    assert_eq!(checked["scopes"], json!(["read:user"]));

    let made = Request::post("/stand-in/tokens?login=ada").body(Body::empty());
    let answer = send(&github, made.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let checked = check(&github, &answer.text).await.json();
    assert_eq!(checked["user"]["login"], "ada");

    for login in NO_LOGINS {
        let login: String = form_urlencoded::byte_serialize(login.as_bytes()).collect();
        let refused = Request::post(format!("/stand-in/tokens?login={login}"));
        let answer = send(&github, refused.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{login}");
        assert!(answer.text.contains("octocat, hubot, mona, incognito"));
    }

    let linked = Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(
        send(&github, linked).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test]
async fn a_renamed_user_stays_the_same_and_frees_the_login() {
    let github = github();
    let token = github.issue_token("ours", "octocat", ALL_SCOPES).unwrap();

    assert!(github.rename(583_231, "octodog"));
    github.add_account(Account::new(42, "octocat").named("Somebody else"));
    let second = github.issue_token("ours", "octocat", ALL_SCOPES).unwrap();

    let (first, second) = (
        check(&github, &token).await.json(),
        check(&github, &second).await.json(),
    );
    assert_eq!(
        (&first["user"]["id"], &first["user"]["login"]),
        (&json!(583_231), &json!("octodog"))
    );
    assert_eq!(
        (&second["user"]["id"], &second["user"]["login"]),
        (&json!(42), &json!("octocat"))
    );
    assert!(!github.rename(1, "nobody"));
    assert!(github.issue_token("nobody", "octocat", "").is_none());
    assert!(github.issue_token("ours", "nobody", "").is_none());
}

#[tokio::test]
async fn any_other_page_is_not_found() {
    let request = request("GET", "/repos").body(Body::empty()).unwrap();

    let answer = send(&github(), request).await;

    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.json()["message"], "Not Found");
}
