//! Events of each service that can be in front of the functions, read by the code that every function runs.

mod fronts;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Request,
    http::header::SET_COOKIE,
    response::AppendHeaders,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tests::{CLIENT, Service, exchange_of};

use crate::gateway::OTHER_SPELLINGS;
use fronts::{FRONTS, Front, Sent, sent};

/// An answer as its reader sees it.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

async fn ask(routes: &Router, front: Front, sent: &Sent<'_>) -> Answer {
    let answer = gateway::answer(routes, front.event(sent)).await.unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    let (status, headers, body) = front.read(&answer);
    Answer {
        status,
        headers,
        body,
    }
}

/// Routes that answer with the request that reached them.
fn echo() -> Router {
    Router::new().fallback(async |request: Request| {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let mut query: Vec<_> = form_urlencoded::parse(query).into_owned().collect();
        query.sort();
        let headers = parts.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let mut headers: Vec<_> = headers.collect();
        headers.sort_unstable();
        Json(json!({
            "method": parts.method.as_str(),
            "path": parts.uri.path(),
            "query": query,
            "headers": headers,
            "body": STANDARD.encode(body),
        }))
    })
}

fn basic() -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", CLIENT.0, CLIENT.1))
    )
}

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn each_route_answers_behind_each_front() {
    let service = Service::start().await;
    let basic = basic();
    let as_client = [("Authorization", &*basic), FORM];
    for (number, front) in FRONTS.into_iter().enumerate() {
        let github = service.github_token("octocat");
        let form = exchange_of(&github).map(|(name, value)| format!("{name}={value}"));
        let form = form.join("&");
        let (body, is_base64) = match number % 2 {
            0 => (form, false),
            _ => (STANDARD.encode(form), true),
        };
        let exchange = Sent {
            body: Some(&body),
            is_base64,
            ..sent("POST", "/token", &as_client)
        };
        let signed_in = ask(&service.router, front, &exchange).await;
        assert_eq!(signed_in.status, 200, "{front:?}: {}", signed_in.body);
        let signed_in = signed_in.json();
        let text = |name: &str| signed_in[name].as_str().unwrap().to_owned();
        let (access, refresh) = (text("access_token"), text("refresh_token"));
        let bearer = format!("Bearer {access}");
        let as_user = [("AUTHORIZATION", &*bearer)];

        let user = async |method, path, query| {
            let request = Sent {
                query,
                ..sent(method, path, &as_user)
            };
            ask(&service.router, front, &request).await
        };
        let me = user("GET", "/me", "").await;
        assert_eq!(
            (me.status, &me.json()["id"]),
            (200, &signed_in["user"]["id"]),
            "{front:?}"
        );
        let secured = ("x-content-type-options".to_owned(), "nosniff".to_owned());
        assert!(me.headers.contains(&secured), "{front:?}: {:?}", me.headers);
        let patch = Sent {
            body: Some(r#"{"metadata":{"theme":"dark"}}"#),
            headers: vec![as_user[0], ("content-type", "application/merge-patch+json")],
            ..sent("PATCH", "/me", &[])
        };
        let patched = ask(&service.router, front, &patch).await;
        assert_eq!(patched.status, 200, "{front:?}: {}", patched.body);
        let sessions = user("GET", "/me/sessions", "").await.json();
        assert!(
            !sessions["sessions"].as_array().unwrap().is_empty(),
            "{front:?}"
        );
        let identities = user("GET", "/me/identities", "").await;
        assert_eq!(identities.status, 200, "{front:?}: {}", identities.body);
        let unknown = "/me/sessions/01890000-0000-7000-8000-000000000000";
        assert_eq!(user("DELETE", unknown, "").await.status, 404, "{front:?}");
        let others = user("DELETE", "/me/sessions", "except=current").await;
        assert_eq!((others.status, &*others.body), (204, ""), "{front:?}");
        let misspelt = user("DELETE", "/me/sessions", "except=currant").await;
        assert_eq!(misspelt.status, 400, "{front:?}");
        let head = user("HEAD", "/me", "").await;
        assert_eq!((head.status, &*head.body), (200, ""), "{front:?}");

        let client = async |path, form: &str| {
            let request = Sent {
                body: Some(form),
                ..sent("POST", path, &as_client)
            };
            ask(&service.router, front, &request).await
        };
        let introspected = client("/introspect", &format!("token={access}")).await;
        assert_eq!(introspected.json()["active"], true, "{front:?}");
        let revoked = client("/revoke", &format!("token={refresh}")).await;
        assert_eq!(revoked.status, 200, "{front:?}");
        let introspected = client("/introspect", &format!("token={access}")).await;
        assert_eq!(introspected.json(), json!({ "active": false }), "{front:?}");

        for path in [
            "/.well-known/jwks.json",
            "/.well-known/openid-configuration",
            "/openapi.json",
        ] {
            let document = ask(&service.router, front, &sent("GET", path, &[])).await;
            assert_eq!(document.status, 200, "{front:?} {path}");
            assert!(document.json().is_object(), "{front:?} {path}");
        }
    }
}

#[tokio::test]
async fn t75_an_authorization_header_that_is_there_twice_is_refused_behind_each_front() {
    let service = Service::start().await;
    let bearer = format!("Bearer {}", service.access_token("octocat").await);
    let other = format!("Bearer {}", service.access_token("hubot").await);
    let status = async |front, headers: &[(&str, &str)]| {
        ask(&service.router, front, &sent("GET", "/me", headers))
            .await
            .status
    };
    for front in FRONTS {
        assert_eq!(
            status(front, &[("aUtHoRiZaTiOn", &bearer)]).await,
            200,
            "{front:?}"
        );
        assert_eq!(
            status(front, &[("Authorization", "Basic bmV4dGpzOng=")]).await,
            401
        );
        for second in [&*bearer, &*other, "Basic bmV4dGpzOng=", ""] {
            for name in ["Authorization", "authorization"] {
                let both = [("Authorization", &*bearer), (name, second)];
                let reversed = [both[1], both[0]];
                for headers in [both, reversed] {
                    let status = status(front, &headers).await;
                    if front == Front::LoadBalancer {
                        // The event has the last value only, so the function cannot tell. It never takes another one.
                        let expected = if headers[1].1.starts_with("Bearer") {
                            200
                        } else {
                            401
                        };
                        assert_eq!(status, expected, "{headers:?}");
                    } else {
                        assert_eq!(status, 401, "{front:?} {headers:?}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn t80_a_path_is_not_decoded_behind_any_front() {
    let service = Service::start().await;
    let bearer = format!("Bearer {}", service.access_token("octocat").await);
    let headers = [("Authorization", &*bearer)];
    for front in FRONTS {
        let more = ["/prod//me", "/me/.", "/me;a=b", "/me%3Fa", "/me%23a", "/"];
        for path in OTHER_SPELLINGS.into_iter().chain(more) {
            let answer = ask(&service.router, front, &sent("GET", path, &headers)).await;
            assert_eq!(answer.status, 404, "{front:?} {path}");
        }
        for path in ["/me?a", "/me#a", "/me a", "/me\u{e9}<"] {
            let answer = ask(&service.router, front, &sent("GET", path, &headers)).await;
            assert_eq!(answer.status, 400, "{front:?} {path}");
        }
    }
}

#[tokio::test]
async fn t170_a_stage_and_a_base_path_are_no_part_of_the_path() {
    let service = Service::start().await;
    let bearer = format!("Bearer {}", service.access_token("octocat").await);
    let headers = json!({ "Authorization": [bearer] });
    let v1 = |stage: &str, path: &str, resource: &str, parameters: Value| {
        json!({
            "resource": resource, "path": path, "httpMethod": "GET", "multiValueHeaders": headers,
            "pathParameters": parameters, "requestContext": { "stage": stage, "apiId": "a1b2c3" },
        })
    };
    let v2 = |stage: &str, path: &str, route: &str| {
        json!({
            "version": "2.0", "routeKey": route, "rawPath": path, "headers": { "authorization": bearer },
            "requestContext": { "stage": stage, "http": { "method": "GET" } },
        })
    };
    for (event, status) in [
        // A REST API has the stage in no path, whatever it is called.
        (v1("prod", "/me", "/me", Value::Null), 200),
        (v1("me", "/me/sessions", "/me/sessions", Value::Null), 200),
        (
            v1(
                "me",
                "/me/sessions",
                "/{proxy+}",
                json!({ "proxy": "me/sessions" }),
            ),
            200,
        ),
        (
            v1(
                "prod",
                "/prod/me",
                "/{proxy+}",
                json!({ "proxy": "prod/me" }),
            ),
            404,
        ),
        // A custom domain puts its base path first, with the stage if that is not part of the mapping.
        (v1("prod", "/auth/me", "/me", Value::Null), 200),
        (
            v1(
                "prod",
                "/auth/prod/me",
                "/{proxy+}",
                json!({ "proxy": "me" }),
            ),
            200,
        ),
        (v1("prod", "/me/me", "/me", Value::Null), 200),
        (
            v1(
                "prod",
                "/auth/me",
                "/{proxy+}",
                json!({ "proxy": "auth/me" }),
            ),
            404,
        ),
        (
            v1("prod", "/auth/%6de", "/{proxy+}", json!({ "proxy": "me" })),
            404,
        ),
        (v1("prod", "/auth/../me", "/me", Value::Null), 404),
        (v1("prod", "//me", "/me", Value::Null), 404),
        (v1("prod", "/me/", "/me", Value::Null), 404),
        // An HTTP API has the stage in the path, in both formats.
        (v2("prod", "/prod/me", "GET /me"), 200),
        (v2("prod", "/prod/me", "$default"), 200),
        (v2("prod", "/auth/me", "GET /me"), 200),
        (v2("$default", "/auth/v1/me", "GET /me"), 200),
        (v2("prod", "/auth/me", "$default"), 404),
        (v1("prod", "/prod/me", "/me", Value::Null), 200),
        (v1("prod", "/prod/me", "$default", Value::Null), 200),
        (v1("$default", "/me", "$default", Value::Null), 200),
        (v1("prod", "/prod/prod/me", "$default", Value::Null), 404),
    ] {
        let answer = gateway::answer(&service.router, &event).await.unwrap();
        assert_eq!(answer.status_code, status, "{event}");
    }
}

#[tokio::test]
async fn t170_an_event_with_the_marks_of_two_services_or_of_none_is_an_error_that_shows_nothing() {
    let service = Service::start().await;
    let canary = [("authorization", "Bearer CANARY")];
    let mut contexts = Vec::new();
    let mut events = Vec::new();
    for front in FRONTS {
        let event = front.event(&sent("GET", "/me", &canary));
        assert_eq!(
            ask(&service.router, front, &sent("GET", "/me", &canary))
                .await
                .status,
            401
        );
        let without = |member: &str| {
            let mut event = event.clone();
            event.as_object_mut().unwrap().remove(member).map(|_| event)
        };
        let needed = ["requestContext", "path", "rawPath", "method", "httpMethod"];
        events.extend(needed.into_iter().filter_map(without));
        for version in [json!("3.0"), json!(2.0), json!("")] {
            let mut event = event.clone();
            event["version"] = version;
            events.push(event);
        }
        contexts.push(event["requestContext"].clone());
    }
    // The marks of one service in the event of another.
    let marks = |context: &Value| {
        ["http", "elb", "targetGroupArn", "stage"].map(|mark| context.get(mark).is_some())
    };
    for front in FRONTS {
        for other in &contexts {
            let mut event = front.event(&sent("GET", "/me", &canary));
            let own = marks(&event["requestContext"]);
            let context = event["requestContext"].as_object_mut().unwrap();
            for (name, value) in other.as_object().unwrap() {
                context.entry(name).or_insert_with(|| value.clone());
            }
            if marks(&event["requestContext"]) != own {
                events.push(event);
            }
        }
    }
    // VPC Lattice, event structure version V1; a WebSocket API; the events of other services.
    events.extend([
        json!({ "raw_path": "/me", "method": "GET", "headers": { "authorization": "CANARY" }, "is_base64_encoded": false }),
        json!({ "headers": { "a": "CANARY" }, "requestContext": { "stage": "prod", "routeKey": "$connect", "connectionId": "a" } }),
        json!({ "Records": [{ "body": "CANARY" }] }),
        json!({}),
    ]);
    for event in events {
        let Err(error) = gateway::answer(&service.router, &event).await else {
            panic!("an answer to {event}")
        };
        let said = format!("{error} {error:?}");
        assert!(said.contains("VPC Lattice"), "{said}");
        assert!(!said.contains("CANARY"), "{said}");
    }
}

#[tokio::test]
async fn t172_each_query_parameter_arrives_as_it_was_sent() {
    let routes = echo();
    for query in [
        "",
        "except=current",
        "a=1&a=2&b=3",
        "a=%26b%3D1",
        "a=%2526",
        "a=b%3Dc%23%3F",
        "%3D=%26&%C3%A9=%C3%BC",
        "a=x+y%20z",
        "a",
        "a=",
    ] {
        let request = Sent {
            query,
            ..sent("GET", "/a", &[])
        };
        let mut expected: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        expected.sort();
        for front in FRONTS {
            let mut expected = expected.clone();
            if front == Front::LoadBalancer {
                // The load balancer passes the last parameter of each name.
                expected.retain(|pair| *pair != ("a".to_owned(), "1".to_owned()));
            }
            let reached = ask(&routes, front, &request).await.json();
            assert_eq!(reached["query"], json!(expected), "{front:?} {query}");
            assert_eq!(reached["path"], "/a", "{front:?} {query}");
        }
    }
    let service = Service::start().await;
    let basic = basic();
    let headers = [("Authorization", &*basic), FORM];
    for front in FRONTS {
        let request = Sent {
            query: "grant_type=refresh_token",
            body: Some("grant_type=refresh_token&refresh_token=a"),
            ..sent("POST", "/token", &headers)
        };
        let answer = ask(&service.router, front, &request).await;
        assert_eq!(answer.status, 400, "{front:?}");
        assert!(
            answer.body.contains("parameters"),
            "{front:?}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn t170_what_a_client_sends_is_never_taken_for_the_event() {
    let routes = echo();
    let inner = Front::RestApi
        .event(&sent("DELETE", "/admin", &[]))
        .to_string();
    let elb = r#"{"elb":{"targetGroupArn":"a"}}"#;
    let headers = [
        ("requestContext", elb),
        ("httpMethod", "DELETE"),
        ("version", "2.0"),
        ("rawPath", "/admin"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-forwarded-prefix", "/admin"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "a b"),
        ("x-http-method-override", "DELETE"),
        ("host", "evil.example/admin?a#"),
        ("forwarded", "for=\"_a\";host=evil.example"),
        ("cookie", "a=b"),
    ];
    for front in FRONTS {
        let request = Sent {
            query: "requestContext=a&path=%2Fadmin&httpMethod=DELETE&rawPath=%2Fadmin",
            body: Some(&inner),
            ..sent("POST", "/a", &headers)
        };
        let reached = ask(&routes, front, &request).await.json();
        assert_eq!(reached["method"], "POST", "{front:?}");
        assert_eq!(reached["path"], "/a", "{front:?}");
        assert_eq!(reached["body"], STANDARD.encode(&inner), "{front:?}");
        assert_eq!(reached["query"].as_array().unwrap().len(), 4, "{front:?}");
        let mut expected = headers.map(|(name, value)| json!([name.to_lowercase(), value]));
        expected.sort_by_key(Value::to_string);
        assert_eq!(reached["headers"], json!(expected), "{front:?}");
    }
}

#[tokio::test]
async fn t73_a_body_is_decoded_once_behind_each_front_and_a_broken_one_refused() {
    let routes = echo();
    for front in FRONTS {
        for (body, is_base64, expected) in [
            ("/wD+", true, Some("/wD+")),
            ("L3dEKw==", true, Some("L3dEKw==")),
            ("/wD+", false, Some("L3dEKw==")),
            ("", false, Some("")),
            ("", true, Some("")),
            ("<broken>", true, None),
        ] {
            let request = Sent {
                body: Some(body),
                is_base64,
                ..sent("POST", "/a", &[])
            };
            let answer = ask(&routes, front, &request).await;
            match expected {
                Some(expected) => assert_eq!(answer.json()["body"], expected, "{front:?} {body}"),
                None => assert_eq!(answer.status, 400, "{front:?} {body}"),
            }
        }
    }
}

#[tokio::test]
async fn an_answer_keeps_its_bytes_and_its_cookies() {
    let routes = Router::new().fallback(async || {
        let cookies = AppendHeaders([(SET_COOKIE, "a=1"), (SET_COOKIE, "b=2")]);
        (cookies, vec![0xff_u8, 0x00])
    });
    for front in FRONTS {
        let event = front.event(&sent("GET", "/a", &[]));
        let answer = gateway::answer(&routes, &event).await.unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        let (_, headers, body) = front.read(&answer);
        assert_eq!(
            (&*body, &answer["isBase64Encoded"]),
            ("/wA=", &json!(true)),
            "{front:?}"
        );
        let cookies = headers.iter().filter(|(name, _)| name == "set-cookie");
        let cookies: Vec<_> = cookies.map(|(_, value)| &**value).collect();
        match front {
            Front::HttpApi => {
                assert_eq!(answer["cookies"], json!(["a=1", "b=2"]));
                assert!(cookies.is_empty());
            }
            // One header of each name: two cookies joined by a comma would be one wrong cookie.
            Front::LoadBalancer | Front::Lattice => assert_eq!(cookies, ["b=2"], "{front:?}"),
            _ => assert_eq!(cookies, ["a=1", "b=2"], "{front:?}"),
        }
    }
}

#[tokio::test]
async fn a_health_check_of_a_load_balancer_gets_an_answer() {
    let service = Service::start().await;
    let checker = [("user-agent", "ELB-HealthChecker/2.0")];
    for front in [Front::LoadBalancer, Front::LoadBalancerMultiValue] {
        for (path, status) in [
            ("/", 404),
            ("/.well-known/jwks.json", 200),
            ("/me", 401),
            ("/token", 405),
        ] {
            let answer = ask(&service.router, front, &sent("GET", path, &checker)).await;
            assert_eq!(answer.status, status, "{front:?} {path}");
        }
    }
    let nothing = json!({
        "requestContext": { "elb": { "targetGroupArn": "a" } }, "httpMethod": "GET", "path": "/",
        "queryStringParameters": {}, "headers": {}, "body": "", "isBase64Encoded": false,
    });
    assert_eq!(
        gateway::answer(&service.router, &nothing)
            .await
            .unwrap()
            .status_code,
        404
    );
}

#[tokio::test]
async fn an_honest_event_of_each_service_is_the_request_that_the_runtimes_own_crate_makes_of_it() {
    let routes = echo();
    let headers = [
        ("accept", "text/html, */*;q=0.8"),
        ("host", "api.example.com"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-twice", "1"),
    ];
    for front in FRONTS {
        for (method, path, query, body, is_base64) in [
            ("GET", "/", "", None, false),
            ("DELETE", "/me/sessions", "except=current", None, false),
            ("GET", "/a%2Fb/%c3%a9", "a=b", None, false),
            ("POST", "/token", "", Some("a=b\u{e9}"), false),
            ("POST", "/token", "", Some("/wD+"), true),
        ] {
            let event = front.event(&Sent {
                query,
                body,
                is_base64,
                ..sent(method, path, &headers)
            });

            let answer = gateway::answer(&routes, &event).await.unwrap();
            let (_, _, body) = front.read(&serde_json::to_value(answer).unwrap());
            let reached: Value = serde_json::from_str(&body).unwrap();

            let expected = lambda_http::request::from_str(&event.to_string()).unwrap();
            let (mut parts, body) = expected.into_parts();
            // `lambda_http` leaves the stage in the path, or puts it there.
            let uri = parts.uri.path_and_query().unwrap().to_string();
            parts.uri = uri.strip_prefix("/prod").unwrap_or(&uri).parse().unwrap();
            let mut request = Request::new(Body::new(body));
            *request.method_mut() = parts.method;
            *request.uri_mut() = parts.uri;
            *request.headers_mut() = parts.headers;
            let expected = tower::ServiceExt::oneshot(routes.clone(), request)
                .await
                .unwrap();
            let expected = to_bytes(expected.into_body(), usize::MAX).await.unwrap();
            let expected: Value = serde_json::from_slice(&expected).unwrap();
            assert_eq!(reached, expected, "{front:?} {method} {path}");
        }
    }
}
