//! The texts of refused requests: each one names the parameter or the member and the next step, in the form of its
//! standard (RFC 6749 §5.2, RFC 6750 §3, RFC 9457), and reveals nothing about clients and users.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::{
    ACCESS_TOKEN, Answer, CLIENT, ISSUER, OTHER_CLIENT, Service, TOKEN_EXCHANGE, exchange_of,
    forge::Forge,
    log_lines,
    oidc::{Issuer, Key},
    refresh_of, sha256_hex,
};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// The form of an error.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// RFC 6749 §5.2.
    OAuth,
    /// RFC 9457.
    Problem,
    /// RFC 6750 §3, with a problem in the body.
    Bearer,
    /// API Gateway's own.
    Gateway,
}
use Form::{Bearer, Gateway, OAuth, Problem};

struct Row {
    what: &'static str,
    request: RequestBuilder,
    form: Form,
    status: u16,
    code: &'static str,
    /// A part of the text.
    says: &'static str,
}

fn row(
    what: &'static str,
    request: RequestBuilder,
    form: Form,
    status: u16,
    code: &'static str,
    says: &'static str,
) -> Row {
    Row {
        what,
        request,
        form,
        status,
        code,
        says,
    }
}

impl Row {
    fn check(&self, answer: &Answer) {
        let what = format!("{}: {answer:?}", self.what);
        assert_eq!(answer.status.as_u16(), self.status, "{what}");
        let members =
            |body: &Value| -> Vec<String> { body.as_object().unwrap().keys().cloned().collect() };
        let text = match self.form {
            OAuth => {
                assert_eq!(answer.header("content-type"), "application/json", "{what}");
                assert_eq!(answer.text("/error"), self.code, "{what}");
                assert_eq!(members(&answer.body), ["error", "error_description"]);
                answer.text("/error_description")
            }
            Problem | Bearer => {
                assert_eq!(answer.header("content-type"), "application/problem+json");
                let kind = format!("urn:cambio:error:{}", self.code);
                assert_eq!(answer.text("/type"), kind, "{what}");
                assert_eq!(answer.body["status"], self.status, "{what}");
                assert_eq!(members(&answer.body), ["detail", "status", "title", "type"]);
                answer.text("/detail")
            }
            Gateway => {
                assert_eq!(answer.body, json!({ "message": self.says }));
                return;
            }
        };
        assert!(text.contains(self.says), "{what}");
        // RFC 6749 §5.2 and RFC 6750 §3: no quotation mark, no backslash, ASCII only.
        let is_plain = |c: char| matches!(c, ' '..='!' | '#'..='[' | ']'..='~');
        assert!(text.chars().all(is_plain), "{what}");
        assert!(!text.contains("CANARY"), "{what}");
        if self.form == Bearer {
            let challenge = answer.header("www-authenticate");
            let named = format!(r#"error="{}", error_description="{text}""#, self.code);
            assert!(challenge.contains(&named), "{challenge}\n{what}");
        }
    }
}

/// The service with a client that has a scope, and one that may use one provider and one audience only.
async fn service(issuer: &Issuer) -> Service {
    let clients = json!([
        { "client_id": CLIENT.0, "secret_sha256": [sha256_hex(CLIENT.1)], "scopes": ["orders:read"] },
        {
            "client_id": OTHER_CLIENT.0,
            "secret_sha256": [sha256_hex(OTHER_CLIENT.1)],
            "providers": ["acme"],
            "audiences": ["https://orders.example.com"],
            "grants": ["token-exchange"],
        },
        { "client_id": "signer", "jwks": { "keys": [Key::new("one").jwk] } },
    ]);
    let settings = [
        ("CLIENTS", &*clients.to_string()),
        ("OIDC_PROVIDERS", &issuer.settings()),
    ];
    Service::start_with(&settings).await
}

#[tokio::test]
async fn t127_an_error_names_what_is_wrong_and_the_next_step_in_the_form_of_its_standard() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let service = service(&issuer).await;
    let github = service.github_token("octocat");
    let good = exchange_of(&github);
    let token = service.access_token("octocat").await;
    let forge = Forge::new(&service).await;
    let now = service.time.now();
    let expired = forge.with_claim("exp", now - 1);
    let foreign = forge.with_claim("aud", "https://orders.example.com");
    let other_issuer = forge.with_claim("iss", "https://evil.example");
    let early = forge.with_claim("iat", now + 600);
    let without = |name: &str| {
        let left = good.into_iter().filter(|(other, _)| *other != name);
        service.token_request(&left.collect::<Vec<_>>())
    };
    let and = |name: &'static str, value: &'static str| {
        service.token_request(&[good.as_slice(), &[(name, value)]].concat())
    };
    let without_token = |path: &str| {
        let request = service.request("POST", path);
        let request = request.basic_auth(CLIENT.0, Some(CLIENT.1));
        request.form(&[("x", "y")])
    };
    let but = |name: &str, value: &'static str| {
        let changed: Vec<_> = good
            .iter()
            .map(|(other, old)| (*other, if *other == name { value } else { *old }))
            .collect();
        service.token_request(&changed)
    };
    let id_token = |iss: &str| {
        let mut claims = issuer.claims("ada", now);
        claims["iss"] = iss.into();
        key.sign(&claims)
    };
    let exchange_of_id_token = |token: &str, client: (&str, &str)| {
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", ID_TOKEN),
        ];
        service.token_request_as(client, &form)
    };
    let own = id_token(issuer.claims("ada", now)["iss"].as_str().unwrap());
    let as_client = |client: (&str, &str)| service.token_request_as(client, &good);
    let plain = || {
        service
            .request("POST", "/token")
            .basic_auth(CLIENT.0, Some(CLIENT.1))
    };
    let patch = |json: Value| service.as_user(&token, "PATCH", "/me").json(&json);
    let link = |json: Value| {
        service
            .as_user(&token, "POST", "/me/identities")
            .json(&json)
    };
    let bearer = |token: &str| service.request("GET", "/me").bearer_auth(token);
    let large = "x".repeat(70_000);

    let rows = [
        // The token endpoint.
        row(
            "no content type",
            plain(),
            OAuth,
            415,
            "invalid_request",
            "Content-Type must be application/x-www-form-urlencoded",
        ),
        row(
            "JSON instead of a form",
            plain().json(&json!({ "grant_type": "x" })),
            OAuth,
            415,
            "invalid_request",
            "Content-Type must be application/x-www-form-urlencoded",
        ),
        row(
            "parameters in the URL",
            service
                .request("POST", "/token?grant_type=refresh_token")
                .basic_auth(CLIENT.0, Some(CLIENT.1))
                .form(&good),
            OAuth,
            400,
            "invalid_request",
            "send them in the body",
        ),
        row(
            "too large",
            plain().form(&[("subject_token", &large)]),
            OAuth,
            413,
            "invalid_request",
            "the body is larger than 64 KiB",
        ),
        row(
            "no grant_type",
            without("grant_type"),
            OAuth,
            400,
            "invalid_request",
            "grant_type is required",
        ),
        row(
            "another grant_type",
            but("grant_type", "password"),
            OAuth,
            400,
            "unsupported_grant_type",
            "grant_type must be urn:ietf:params:oauth:grant-type:token-exchange or refresh_token",
        ),
        row(
            "a grant that the client lacks",
            service.token_request_as(OTHER_CLIENT, &refresh_of("cbr_x")),
            OAuth,
            400,
            "unauthorized_client",
            "add it to its grants in CLIENTS",
        ),
        row(
            "no subject_token",
            without("subject_token"),
            OAuth,
            400,
            "invalid_request",
            "subject_token is required",
        ),
        row(
            "no subject_token_type",
            without("subject_token_type"),
            OAuth,
            400,
            "invalid_request",
            "subject_token_type is required",
        ),
        row(
            "another subject_token_type",
            but("subject_token_type", "access_token"),
            OAuth,
            400,
            "invalid_request",
            "subject_token_type must be urn:ietf:params:oauth:token-type:access_token, urn:ietf:params:oauth:token-type:id_token or urn:ietf:params:oauth:token-type:jwt",
        ),
        row(
            "no subject_issuer",
            without("subject_issuer"),
            OAuth,
            400,
            "invalid_request",
            "subject_issuer is required for an access token",
        ),
        row(
            "a provider that is not configured",
            but("subject_issuer", "gitlab"),
            OAuth,
            400,
            "invalid_request",
            "no provider is configured for this subject token: those for access tokens are github",
        ),
        row(
            "an ID token of another issuer",
            exchange_of_id_token(&id_token("https://accounts.google.com"), CLIENT),
            OAuth,
            400,
            "invalid_request",
            "no provider is configured for this subject token: those for ID tokens are acme",
        ),
        row(
            "a parameter that comes twice",
            and("subject_issuer", "github"),
            OAuth,
            400,
            "invalid_request",
            "subject_issuer comes more than once: send it once",
        ),
        row(
            "a secret as a parameter's name, twice",
            and("gho_CANARY1", "x").form(&[("gho_CANARY1", "1"), ("gho_CANARY1", "2")]),
            OAuth,
            400,
            "invalid_request",
            "a parameter comes more than once",
        ),
        row(
            "a line break in a value",
            and("scope", "a\nb"),
            OAuth,
            400,
            "invalid_request",
            "scope has characters other than visible ASCII",
        ),
        row(
            "an actor_token",
            and("actor_token", "x"),
            OAuth,
            400,
            "invalid_request",
            "actor_token and actor_token_type are not supported: omit them",
        ),
        row(
            "another requested_token_type",
            and("requested_token_type", ID_TOKEN),
            OAuth,
            400,
            "invalid_request",
            "requested_token_type must be urn:ietf:params:oauth:token-type:access_token, or omitted",
        ),
        row(
            "a nonce with an access token",
            and("nonce", "n"),
            OAuth,
            400,
            "invalid_request",
            "nonce is for ID tokens only: omit it",
        ),
        row(
            "an unknown scope",
            and("scope", "orders:write"),
            OAuth,
            400,
            "invalid_scope",
            "request less, or omit it",
        ),
        row(
            "an unknown audience",
            and("audience", "https://stock.example.com"),
            OAuth,
            400,
            "invalid_target",
            "add it to its audiences in CLIENTS",
        ),
        row(
            "a provider that the client lacks",
            as_client(OTHER_CLIENT),
            OAuth,
            400,
            "unauthorized_client",
            "add the provider to its providers in CLIENTS",
        ),
        row(
            "a made-up token of the provider",
            but("subject_token", "gho_madeup"),
            OAuth,
            400,
            "invalid_request",
            "the subject token was not accepted",
        ),
        row(
            "no refresh_token",
            service.token_request(&[("grant_type", "refresh_token")]),
            OAuth,
            400,
            "invalid_request",
            "refresh_token is required",
        ),
        row(
            "a made-up refresh token",
            service.token_request(&refresh_of("cbr_madeup")),
            OAuth,
            400,
            "invalid_grant",
            "the refresh token is not valid",
        ),
        // The client.
        row(
            "no client",
            service.request("POST", "/token").form(&good),
            OAuth,
            401,
            "invalid_client",
            "compare the client id and the secret with CLIENTS",
        ),
        row(
            "an unknown client",
            as_client(("nobody", CLIENT.1)),
            OAuth,
            401,
            "invalid_client",
            "compare the client id and the secret with CLIENTS",
        ),
        row(
            "a wrong secret",
            as_client((CLIENT.0, "CANARY-wrong")),
            OAuth,
            401,
            "invalid_client",
            "compare the client id and the secret with CLIENTS",
        ),
        row(
            "two ways at once",
            service.token_request(&[good.as_slice(), &[("client_secret", CLIENT.1)]].concat()),
            OAuth,
            400,
            "invalid_request",
            "send one of Authorization: Basic, client_secret and client_assertion",
        ),
        row(
            "an assertion of another type",
            service
                .request("POST", "/token")
                .form(&[("client_assertion", "x"), ("client_assertion_type", "jwt")]),
            OAuth,
            400,
            "invalid_request",
            "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        row(
            "no token to revoke",
            without_token("/revoke"),
            OAuth,
            400,
            "invalid_request",
            "token is required",
        ),
        row(
            "no token to introspect",
            without_token("/introspect"),
            OAuth,
            400,
            "invalid_request",
            "token is required",
        ),
        // Access tokens.
        row(
            "no access token",
            service.request("GET", "/me"),
            Problem,
            401,
            "invalid_request",
            "an access token is required in the Authorization header",
        ),
        row(
            "Basic instead of Bearer",
            service
                .request("GET", "/me")
                .basic_auth(CLIENT.0, Some(CLIENT.1)),
            Problem,
            401,
            "invalid_request",
            "an access token is required in the Authorization header",
        ),
        row(
            "expired",
            bearer(&expired),
            Bearer,
            401,
            "invalid_token",
            "the access token has expired: refresh it, or sign in again",
        ),
        row(
            "for another API",
            bearer(&foreign),
            Bearer,
            401,
            "invalid_token",
            "the access token is for another API",
        ),
        row(
            "of another issuer",
            bearer(&other_issuer),
            Bearer,
            401,
            "invalid_token",
            "is not one of this issuer",
        ),
        row(
            "from the future",
            bearer(&early),
            Bearer,
            401,
            "invalid_token",
            "is not valid yet",
        ),
        row(
            "forged",
            bearer(&format!("{token}x")),
            Bearer,
            401,
            "invalid_token",
            "send the access_token of POST /token unchanged",
        ),
        row(
            "expired and forged",
            bearer(&format!("{}AAAA", &expired[..expired.len() - 4])),
            Bearer,
            401,
            "invalid_token",
            "send the access_token of POST /token unchanged",
        ),
        row(
            "an ID token of the provider",
            bearer(&own),
            Bearer,
            401,
            "invalid_token",
            "send the access_token of POST /token unchanged",
        ),
        // The account.
        row(
            "a method that is not there",
            service.as_user(&token, "PUT", "/me"),
            Problem,
            405,
            "invalid_request",
            "the header Allow lists those that it supports",
        ),
        row(
            "an unknown path",
            service.as_user(&token, "GET", "/mee"),
            Gateway,
            404,
            "",
            "Not Found",
        ),
        row(
            "an unknown session",
            service.as_user(&token, "DELETE", "/me/sessions/AAAAAAAAAAAAAAAAAAAAAA"),
            Problem,
            404,
            "not_found",
            "session not found: GET /me/sessions lists those of the user",
        ),
        row(
            "an unknown query",
            service.as_user(&token, "DELETE", "/me/sessions?except=curent"),
            Problem,
            400,
            "invalid_request",
            "the query must be empty, or except=current",
        ),
        row(
            "an empty Idempotency-Key",
            service
                .as_user(&token, "DELETE", "/me/sessions")
                .header("idempotency-key", ""),
            Problem,
            400,
            "invalid_request",
            "Idempotency-Key must be 1 to 255 characters",
        ),
        row(
            "an unknown identity",
            service.as_user(&token, "DELETE", "/me/identities/google"),
            Problem,
            404,
            "not_found",
            "identity not found: GET /me/identities lists those of the user",
        ),
        row(
            "the only identity",
            service.as_user(&token, "DELETE", "/me/identities/github"),
            Problem,
            409,
            "last_identity",
            "link another account first",
        ),
        row(
            "a form instead of JSON",
            service
                .as_user(&token, "PATCH", "/me")
                .form(&[("name", "Ada")]),
            Problem,
            415,
            "invalid_request",
            "Content-Type must be application/merge-patch+json",
        ),
        row(
            "a patch that is no JSON",
            service
                .as_user(&token, "PATCH", "/me")
                .header("content-type", "application/json")
                .body("{name}"),
            Problem,
            400,
            "invalid_request",
            "the body must be JSON",
        ),
        row(
            "a patch that is a list",
            patch(json!([])),
            Problem,
            422,
            "unprocessable",
            "the body must be a JSON object of the members to change",
        ),
        row(
            "a misspelt member",
            patch(json!({ "nmae": "Ada" })),
            Problem,
            422,
            "unprocessable",
            "nmae is unknown: the members are name, picture, metadata; nothing was changed",
        ),
        row(
            "a near miss",
            patch(json!({ "pictures": "https://a.example" })),
            Problem,
            422,
            "unprocessable",
            "pictures is unknown: did you mean picture?; nothing was changed",
        ),
        row(
            "a member that cannot be changed",
            patch(json!({ "email": "CANARY@example.com" })),
            Problem,
            422,
            "unprocessable",
            "email is unknown: the members are name, picture, metadata",
        ),
        row(
            "a secret as a member",
            patch(json!({ "cbr_CANARY7": 1 })),
            Problem,
            422,
            "unprocessable",
            "a member is unknown: the members are name, picture, metadata",
        ),
        row(
            "a member of another type",
            patch(json!({ "name": 7 })),
            Problem,
            422,
            "unprocessable",
            "name must be a text; nothing was changed",
        ),
        row(
            "metadata of another type",
            patch(json!({ "metadata": "CANARY" })),
            Problem,
            422,
            "unprocessable",
            "metadata must be an object; nothing was changed",
        ),
        row(
            "an empty name",
            patch(json!({ "name": " " })),
            Problem,
            422,
            "unprocessable",
            "name must be null or 1 to",
        ),
        row(
            "a picture without https",
            patch(json!({ "picture": "http://a.example" })),
            Problem,
            422,
            "unprocessable",
            "picture must be null or an https URL",
        ),
        row(
            "a link without its token",
            link(json!({ "subject_token_type": ACCESS_TOKEN })),
            Problem,
            400,
            "invalid_request",
            "subject_token is missing",
        ),
        row(
            "a link with another member",
            link(
                json!({ "subject_token": "x", "subject_token_type": ACCESS_TOKEN, "issuer": "github" }),
            ),
            Problem,
            400,
            "invalid_request",
            "issuer is unknown: did you mean subject_issuer?",
        ),
        row(
            "a link with a provider that is not configured",
            link(
                json!({ "subject_token": "x", "subject_token_type": ACCESS_TOKEN, "subject_issuer": "gitlab" }),
            ),
            Problem,
            400,
            "invalid_request",
            "no provider is configured for this subject token",
        ),
        row(
            "a link that is a list",
            link(json!(["x"])),
            Problem,
            400,
            "invalid_request",
            "the body must be a JSON object",
        ),
    ];
    assert!(rows.len() >= 25);
    for row in rows {
        let request = row.request.try_clone().unwrap();
        row.check(&service.send(request).await);
    }

    // A token whose session has ended. This ends the session of the requests above.
    service.delete_as_user(&token, "/me/sessions").await;
    let request = bearer(&token);
    let ended = row(
        "a session that ended",
        request,
        Bearer,
        401,
        "invalid_token",
        "has ended, or its user is disabled or deleted: sign in again",
    );
    ended.check(&service.send(ended.request.try_clone().unwrap()).await);
}

/// The answer is the same for an unknown client and for a wrong secret. Only the log has the reason, and neither the
/// secret nor the id of the request, which may be a misplaced secret.
#[tokio::test]
async fn t127_the_log_says_why_a_client_is_not_authenticated_and_the_answer_does_not() {
    let signer = Key::new("one");
    let clients = json!([
        { "client_id": "of-the-log", "secret_sha256": [sha256_hex("CANARY-of-the-log")] },
        { "client_id": "signer-of-the-log", "jwks": { "keys": [signer.jwk] } },
    ]);
    let service = Service::start_with(&[("CLIENTS", &clients.to_string())]).await;
    let by_secret = |id: &str, secret: &str| {
        service
            .request("POST", "/token")
            .basic_auth(id, Some(secret))
            .form(&[("grant_type", "x")])
    };
    let by_assertion = |key: &Key, client: &str| {
        let now = service.time.now();
        let claims = json!({
            "iss": client, "sub": client, "aud": ISSUER, "jti": client, "iat": now, "exp": now + 60,
        });
        service.request("POST", "/token").form(&[
            ("client_assertion", &*key.sign(&claims)),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
        ])
    };
    let mut answers = Vec::new();
    for request in [
        by_secret("of-the-log", "CANARY-wrong"),
        by_secret("CANARY-as-an-id", "of-the-log"),
        by_secret("signer-of-the-log", "CANARY-wrong"),
    ] {
        let answer = service.send(request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        answers.push((answer.body, answer.headers["www-authenticate"].clone()));
    }
    let mut assertions = Vec::new();
    for (key, client) in [
        (Key::new("one"), "signer-of-the-log"),
        (Key::new("two"), "signer-of-the-log"),
        (Key::new("one"), "nobody"),
    ] {
        let answer = service.send(by_assertion(&key, client)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assertions.push((answer.body, answer.headers["www-authenticate"].clone()));
    }

    for answers in [answers, assertions] {
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:#?}"
        );
    }
    let causes: Vec<String> = log_lines()
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| Some(line["error.cause"].as_str()?.to_owned()))
        .collect();
    for cause in [
        "the secret of the client of-the-log is wrong: its SHA-256 is not in secret_sha256",
        "no client in CLIENTS has this client_id; the client ids are of-the-log, signer-of-the-log",
        "the client signer-of-the-log has no secret_sha256 in CLIENTS: it authenticates by a client_assertion",
        "the signature of the assertion is not one of the key of the client signer-of-the-log in jwks",
        "the client signer-of-the-log has no key with the kid and the alg of the assertion in jwks",
    ] {
        assert!(
            causes.iter().any(|other| other == cause),
            "{cause}: {causes:#?}"
        );
    }
}

#[tokio::test]
async fn the_log_names_the_configured_providers() {
    let service = Service::start().await;
    let mut unknown = exchange_of("gho_x");
    unknown[3].1 = "provider-of-the-log";
    service.token(&unknown).await;

    let lines = log_lines();
    let has = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(has(
        "no provider is configured for this subject token: those for access tokens are github"
    ));
    assert!(!has("provider-of-the-log"));
}
