//! The common behaviour of all routes.

use reqwest::StatusCode;
use tests::{CLIENT, Service};

#[tokio::test]
async fn t78_t80_every_answer_has_the_security_headers() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let requests = [
        service.request("GET", "/me"),
        service.request("GET", "/me").bearer_auth(&token),
        service.request("PUT", "/me"),
        service.as_user(&token, "PATCH", "/me"),
        service.as_user(&token, "GET", "/me/sessions"),
        service.as_user(&token, "DELETE", "/me/sessions/nonsense"),
        service.revocation(CLIENT, "nonsense"),
        service.request("POST", "/token"),
        service.request("POST", "/introspect"),
        service.request("GET", "/token"),
        service.request("GET", "/.well-known/jwks.json"),
        service.request("GET", "/.well-known/openid-configuration"),
    ];
    for request in requests {
        let answer = service.send(request).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'none'")
        );
        assert!(
            answer
                .header("strict-transport-security")
                .starts_with("max-age=")
        );
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
}

#[tokio::test]
async fn t77_t78_private_answers_are_kept_by_nobody_and_read_by_no_other_origin() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    let origin = "https://evil.example";
    for request in [
        service.request("POST", "/token"),
        service.request("OPTIONS", "/token"),
        service.token_request(&tests::exchange_of(&service.github_token("octocat"))),
        service.request("GET", "/me"),
        service.request("GET", "/me").bearer_auth(&token),
        service.request("OPTIONS", "/me"),
        service.as_user(&token, "PATCH", "/me"),
        service.as_user(&token, "GET", "/me/sessions"),
        service.as_user(&token, "DELETE", "/me/sessions/nonsense"),
        service.request("OPTIONS", "/me/sessions"),
        service.request("POST", "/revoke"),
        service.request("POST", "/introspect"),
        service.revocation(CLIENT, "nonsense"),
        service.as_user(&token, "DELETE", "/me/sessions"),
    ] {
        let answer = service.send(request.header("origin", origin)).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("pragma"), "no-cache");
        assert!(
            answer
                .headers
                .keys()
                .all(|name| !name.as_str().starts_with("access-control-"))
        );
    }
}

#[tokio::test]
async fn t80_an_unknown_method_is_405_and_says_which_are_known() {
    let service = Service::start().await;
    for (path, methods, allow) in [
        (
            "/token",
            ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"],
            "POST",
        ),
        (
            "/revoke",
            ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"],
            "POST",
        ),
        (
            "/introspect",
            ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"],
            "POST",
        ),
        (
            "/me",
            ["POST", "PUT", "TRACE", "LINK", "OPTIONS", "BREW"],
            "GET,HEAD,PATCH,DELETE",
        ),
        (
            "/me/sessions",
            ["POST", "PUT", "PATCH", "TRACE", "OPTIONS", "BREW"],
            "GET,HEAD,DELETE",
        ),
        (
            "/me/sessions/AAAAAAAAAAAAAAAAAAAAAA",
            ["GET", "HEAD", "PUT", "PATCH", "OPTIONS", "BREW"],
            "DELETE",
        ),
        (
            "/.well-known/jwks.json",
            ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"],
            "GET,HEAD",
        ),
    ] {
        for method in methods {
            let request = service
                .request(method, path)
                .basic_auth(CLIENT.0, Some(CLIENT.1));
            let answer = service.send(request).await;
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(answer.header("allow"), allow, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn t80_other_spellings_of_a_path_are_404() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    for path in [
        "//me",
        "/me/",
        "/me/sessions/",
        "/me/sessions/../sessions",
        "/me//",
        "/ME",
        "/%6de",
        "/me%2f",
        "/me%00",
        "/me;a=b",
        "/%2e/me",
        "/x/%2e%2e/me",
        "/",
        "/.well-known/jwks.json/",
        "/.well-known//jwks.json",
    ] {
        let answer = raw_get(&service, path, &token).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    assert!(
        raw_get(&service, "/me", &token)
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

/// Sends a path unchanged, which URL libraries do not.
async fn raw_get(service: &Service, path: &str, token: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = service.url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn t67_an_error_tells_nothing_of_what_is_behind() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    service.dynamodb.down().await;

    let answer = service.me(&token).await;

    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = answer.body.to_string();
    for inside in [
        "DynamoDB",
        "dynamodb",
        "127.0.0.1",
        "cambio-keys",
        "USER#",
        "connect",
    ] {
        assert!(!body.contains(inside), "{body}");
    }
}
