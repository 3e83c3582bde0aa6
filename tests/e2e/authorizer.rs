//! The Lambda authorizer with events of API Gateway.

use authorizer::Authorizer;
use serde_json::{Value, json};
use shared::{clock::Clock, config::Environment};
use tests::{
    Service, TOKEN_EXCHANGE,
    forge::Forge,
    oidc::{Issuer, Key},
    proxy::{Fault, When},
};

use crate::admin::{admin_of, run_users};

/// A service and the authorizer of an API that trusts it.
struct Scene {
    service: Service,
    authorizer: Authorizer,
}

impl Scene {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let service = Service::start_with(settings).await;
        let authorizer = authorizer_of(&service, settings).await;
        service.dynamodb.clear();
        Self {
            service,
            authorizer,
        }
    }

    /// Returns the authorizer's answer as JSON; `None` for a failure, for which API Gateway answers 500.
    async fn ask(&self, route: &str, authorization: Option<&str>) -> Option<Value> {
        let mut event: Value = serde_json::from_str(EVENT).unwrap();
        event["routeKey"] = route.into();
        if let Some(value) = authorization {
            event["headers"]["authorization"] = value.into();
            event["identitySource"] = json!([value]);
        }
        let response = self.authorizer.authorize(&event).await.ok()?;
        Some(serde_json::to_value(response).unwrap())
    }

    /// Runs `cambio-admin users …`.
    async fn operate(&self, arguments: &[&str]) {
        run_users(&admin_of(&self.service), arguments).await;
    }

    async fn passes(&self, route: &str, token: &str) -> bool {
        let answer = self.ask(route, Some(&format!("Bearer {token}"))).await;
        answer.unwrap()["isAuthorized"].as_bool().unwrap()
    }
}

/// Starts an authorizer for the tokens of a service, with additional settings.
pub(crate) async fn authorizer_of(service: &Service, settings: &[(&str, &str)]) -> Authorizer {
    let mut variables = service.variables.clone();
    for (name, value) in settings {
        variables.insert((*name).to_owned(), (*value).to_owned());
    }
    let env = Environment::of(variables);
    Authorizer::start(&env, service.time.clock()).await.unwrap()
}

/// Returns an event in the form of API Gateway's documentation (payload format 2.0).
pub(crate) const EVENT: &str = r#"{
  "version": "2.0",
  "type": "REQUEST",
  "routeArn": "arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/GET/request",
  "identitySource": [],
  "routeKey": "GET /orders",
  "rawPath": "/orders",
  "rawQueryString": "a=b",
  "cookies": ["cookie1"],
  "headers": { "accept": "*/*", "host": "api.example.com" },
  "queryStringParameters": { "a": "b" },
  "requestContext": {
    "accountId": "123456789012",
    "apiId": "api-id",
    "domainName": "id.execute-api.us-east-1.amazonaws.com",
    "domainPrefix": "id",
    "http": { "method": "GET", "path": "/orders", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "agent" },
    "requestId": "id",
    "routeKey": "GET /orders",
    "stage": "$default",
    "time": "12/Mar/2020:19:03:58 +0000",
    "timeEpoch": 1583348638390
  },
  "pathParameters": { "parameter1": "value1" },
  "stageVariables": { "stageVariable1": "value1" }
}"#;

#[tokio::test]
async fn a_good_token_passes_and_says_whose_it_is() {
    let scene = Scene::start(&[]).await;
    let signed_in = scene.service.sign_in("octocat").await;
    let token = signed_in.text("/access_token");
    let claims = scene.service.verify(token).await;

    let answer = scene
        .ask("GET /orders", Some(&format!("Bearer {token}")))
        .await
        .unwrap();

    let expected = json!({
        "isAuthorized": true,
        "context": {
            "sub": signed_in.text("/user/id"),
            "sid": claims.sid.to_string(),
            "client_id": "nextjs",
            "scope": "orders:read orders:write",
            "auth_time": claims.auth_time,
            "exp": claims.exp,
        },
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn the_context_has_the_roles_the_operators_claims_and_the_time_of_the_sign_in() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let scene = Scene::start(&[("OIDC_PROVIDERS", &issuer.settings())]).await;
    let now = scene.service.time.now();
    let exchanged = scene
        .service
        .token(&[
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", &key.sign(&issuer.claims("ada", now))),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:id_token",
            ),
        ])
        .await;
    let id = exchanged.text("/user/id");
    scene.operate(&["roles", id, "--add", "support"]).await;
    let claims = ["claims", id, "--set", "plan=pro", "--set", "seats=5"];
    scene.operate(&claims).await;
    let refreshed = scene
        .service
        .refresh(exchanged.text("/refresh_token"))
        .await;
    let token = refreshed.text("/access_token");

    let answer = scene
        .ask("GET /orders", Some(&format!("Bearer {token}")))
        .await
        .unwrap();

    let context = &answer["context"];
    assert_eq!(context["roles"], json!(["support"]), "{answer}");
    assert_eq!(context["claims"], json!({ "plan": "pro", "seats": 5 }));
    assert_eq!(context["auth_time"], now);
    assert_eq!(context["scope"], "orders:read orders:write");
}

/// Returns the settings of a client with two APIs besides the usual client.
fn client_of_two_apis() -> String {
    let clients = tests::clients(&[tests::CLIENT, tests::OTHER_CLIENT]);
    let mut clients: Value = serde_json::from_str(&clients).unwrap();
    clients[1]["audiences"] = json!(["https://shop.example.com", "https://stock.example.com"]);
    clients.to_string()
}

#[tokio::test]
async fn t28_a_token_for_one_of_several_audiences_passes_and_for_another_does_not() {
    let service = Service::start_with(&[("CLIENTS", &client_of_two_apis())]).await;
    let token_for = async |audience: &str| {
        let subject_token = service.github_token("octocat");
        let mut form = tests::exchange_of(&subject_token).to_vec();
        form.push(("audience", audience));
        let request = service.token_request_as(tests::OTHER_CLIENT, &form);
        let answer = service.send(request).await;
        answer.text("/access_token").to_owned()
    };
    let usual = service.access_token("octocat").await;
    let shop = token_for("https://shop.example.com").await;
    let stock = token_for("https://stock.example.com").await;

    let passes = async |audiences: &str| {
        let authorizer = authorizer_of(&service, &[("AUDIENCES", audiences)]).await;
        let mut passing = Vec::new();
        for token in [&usual, &shop, &stock] {
            let mut event: Value = serde_json::from_str(EVENT).unwrap();
            event["headers"]["authorization"] = format!("Bearer {token}").into();
            passing.push(authorizer.authorize(&event).await.unwrap().is_authorized);
        }
        passing
    };
    assert_eq!(passes("").await, [true, false, false]);
    assert_eq!(
        passes("https://shop.example.com").await,
        [false, true, false]
    );
    assert_eq!(
        passes("https://stock.example.com,https://shop.example.com").await,
        [false, true, true]
    );
}

#[tokio::test]
async fn t81_with_live_a_user_who_is_disabled_deleted_or_signed_out_is_denied_at_once() {
    let scene = Scene::start(&[("LIVE", "true")]).await;
    let trusting = authorizer_of(&scene.service, &[("LIVE", "false")]).await;
    let service = &scene.service;
    let hubot = service.access_token("hubot").await;
    let denied = json!({ "isAuthorized": false, "context": {} });

    for how in ["revoke", "sign out", "disable", "delete"] {
        let signed_in = service.sign_in("octocat").await;
        let other = service.access_token("octocat").await;
        let (id, token) = (
            signed_in.text("/user/id"),
            signed_in.text("/access_token").to_owned(),
        );
        assert!(scene.passes("GET /orders", &token).await, "{how}");

        match how {
            "revoke" => drop(service.revoke(&token).await),
            "sign out" => drop(service.delete_as_user(&token, "/me/sessions").await),
            "disable" => scene.operate(&["disable", id]).await,
            _ => drop(service.delete_as_user(&token, "/me").await),
        }

        let bearer = format!("Bearer {token}");
        let answer = scene.ask("GET /orders", Some(&bearer)).await;
        assert_eq!(answer.unwrap(), denied, "{how}");
        let others = scene.passes("GET /orders", &other).await;
        assert_eq!(others, how == "revoke", "{how}");
        assert!(scene.passes("GET /orders", &hubot).await, "{how}");
        let mut event: Value = serde_json::from_str(EVENT).unwrap();
        event["headers"]["authorization"] = bearer.into();
        let until_it_expires = trusting.authorize(&event).await.unwrap();
        assert!(until_it_expires.is_authorized, "{how}");
        if how == "disable" {
            scene.operate(&["enable", id]).await;
        }
    }
}

#[tokio::test]
async fn t84_with_live_the_table_must_be_named() {
    let mut variables = Service::start().await.variables.clone();
    variables.remove("TABLE_NAME");
    variables.insert("LIVE".to_owned(), "true".to_owned());
    let env = Environment::of(variables);

    let refused = Authorizer::start(&env, Clock::system()).await;

    let said = refused.unwrap_err().to_string();
    assert!(said.starts_with("TABLE_NAME is not set"), "{said}");
}

#[tokio::test]
async fn t81_with_live_an_outage_of_the_table_is_an_error_and_never_a_denial_or_a_pass() {
    let scene = Scene::start(&[("LIVE", "true")]).await;
    let token = scene.service.access_token("octocat").await;
    let bearer = format!("Bearer {token}");
    assert!(scene.passes("GET /orders", &token).await);

    scene.service.dynamodb.down().await;
    let during = scene.ask("GET /orders", Some(&bearer)).await;
    let bad = scene.ask("GET /orders", Some("Bearer nonsense")).await;
    scene.service.dynamodb.heal();

    assert_eq!(during, None);
    assert_eq!(bad.unwrap()["isAuthorized"], false, "known without a read");
    assert!(scene.passes("GET /orders", &token).await);
}

#[tokio::test]
async fn t81_a_bad_token_is_denied_and_tells_nothing() {
    let scene = Scene::start(&[]).await;
    let forge = Forge::new(&scene.service).await;
    let denied = json!({ "isAuthorized": false, "context": {} });
    assert!(scene.passes("GET /orders", &forge.good()).await);

    for token in [
        "nonsense".to_owned(),
        forge.with_claim("aud", "https://another.example"),
        forge.with_claim("iss", "https://another.example"),
        forge.with_claim("exp", scene.service.time.now()),
        forge.with_header("typ", "JWT"),
        forge.with_header("kid", "another"),
        forge.sign_hs256(b"secret"),
    ] {
        let answer = scene
            .ask("GET /orders", Some(&format!("Bearer {token}")))
            .await;
        assert_eq!(answer.unwrap(), denied, "{token}");
    }
    for header in [
        None,
        Some("Basic Zm9vOmJhcg=="),
        Some("Bearer"),
        Some("Bearer a, Bearer b"),
    ] {
        assert_eq!(
            scene.ask("GET /orders", header).await.unwrap(),
            denied,
            "{header:?}"
        );
    }
}

#[tokio::test]
async fn t81_an_outage_of_the_keys_is_an_error_and_never_a_denial() {
    let service = Service::start().await;
    let token = service.access_token("octocat").await;
    service.dynamodb.fault(When::Always, Fault::Refuse);
    let authorizer = authorizer_of(&service, &[]).await;
    let scene = Scene {
        service,
        authorizer,
    };

    let cold = scene
        .ask("GET /orders", Some(&format!("Bearer {token}")))
        .await;
    scene.service.dynamodb.heal();
    let healed = scene.passes("GET /orders", &token).await;
    scene.service.dynamodb.down().await;
    scene.service.time.pass(6 * 60);
    let warm = scene.passes("GET /orders", &token).await;

    assert_eq!(cold, None);
    assert!(healed);
    assert!(warm, "with the keys that it has");
}

#[tokio::test]
async fn a_route_asks_for_its_scopes() {
    let routes =
        r#"{"GET /orders":"orders:read","DELETE /orders/{id}":"orders:read orders:delete"}"#;
    let scene = Scene::start(&[("ROUTE_SCOPES", routes)]).await;
    let token = scene.service.access_token("octocat").await;

    assert!(scene.passes("GET /orders", &token).await);
    assert!(!scene.passes("DELETE /orders/{id}", &token).await);
}

#[tokio::test]
async fn t99_a_route_that_is_not_named_is_denied_once_one_is() {
    let routes = r#"{"GET /orders":"orders:read"}"#;
    let scene = Scene::start(&[("ROUTE_SCOPES", routes)]).await;
    let token = scene.service.access_token("octocat").await;

    assert!(scene.passes("GET /orders", &token).await);
    for route in [
        "GET /anything",
        "HEAD /orders",
        "ANY /{proxy+}",
        "$default",
        "",
    ] {
        assert!(!scene.passes(route, &token).await, "{route}");
    }
    let mut event: Value = serde_json::from_str(EVENT).unwrap();
    event["headers"]["authorization"] = format!("Bearer {token}").into();
    event.as_object_mut().unwrap().remove("routeKey");
    let without_key = scene.authorizer.authorize(&event).await.unwrap();
    assert!(!without_key.is_authorized);
}

#[tokio::test]
async fn a_token_costs_nothing_to_check() {
    let scene = Scene::start(&[]).await;
    let token = scene.service.access_token("octocat").await;
    scene.service.dynamodb.clear();

    for _ in 0..10 {
        assert!(scene.passes("GET /orders", &token).await);
    }

    assert!(scene.service.dynamodb.calls().is_empty());
}

#[tokio::test]
async fn t101_the_same_event_in_another_payload_format_is_an_error() {
    let scene = Scene::start(&[]).await;
    let event: Value = serde_json::from_str(EVENT).unwrap();
    assert!(scene.authorizer.authorize(&event).await.is_ok());
    let mut other = event;
    other["version"] = "1.0".into();

    let answer = scene.authorizer.authorize(&other).await;

    let said = answer.unwrap_err().to_string();
    assert!(said.contains("2.0"), "{said}");
}

/// The form of an event that gets a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    RestRequest,
    RestToken,
    HttpApi1,
}

const FORMS: [Form; 3] = [Form::RestRequest, Form::RestToken, Form::HttpApi1];

/// The API of the events that get a policy, and its stage.
const STAGE: &str = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3/prod";

impl Form {
    /// Returns the event of a request for `path`, which belongs to the route with the path `resource`.
    fn event(self, method: &str, path: &str, resource: &str, authorization: &[&str]) -> Value {
        let arn = format!("{STAGE}/{method}{path}");
        let last = authorization.last();
        let request = json!({
            "type": "REQUEST", "methodArn": arn, "resource": resource, "path": path, "httpMethod": method,
            "headers": { "Authorization": last }, "multiValueHeaders": { "Authorization": authorization },
            "queryStringParameters": {}, "pathParameters": {}, "stageVariables": {},
            "requestContext": { "stage": "prod", "resourcePath": resource, "identity": { "sourceIp": "192.0.2.1" } },
        });
        match self {
            Self::RestRequest => request,
            Self::RestToken => {
                json!({ "type": "TOKEN", "methodArn": arn, "authorizationToken": last })
            }
            Self::HttpApi1 => {
                let joined = authorization.join(",");
                let mut event = request;
                event["version"] = "1.0".into();
                event["identitySource"] = joined.clone().into();
                event["authorizationToken"] = joined.clone().into();
                event["headers"] = json!({ "authorization": joined });
                event.as_object_mut().unwrap().remove("multiValueHeaders");
                event
            }
        }
    }
}

impl Scene {
    /// Returns the policy for a request of the route `GET /orders`; `None` for a failure.
    async fn policy(&self, form: Form, authorization: &[&str]) -> Option<Value> {
        let event = form.event("GET", "/orders", "/orders", authorization);
        self.policy_for(&event).await
    }

    async fn policy_for(&self, event: &Value) -> Option<Value> {
        let response = self.authorizer.authorize(event).await.ok()?;
        Some(serde_json::to_value(response).unwrap())
    }
}

/// Returns whether a policy allows a method, as IAM evaluates it: `*` and `?` are wildcards, and a path is a text.
fn allows(policy: &Value, method_and_path: &str) -> bool {
    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                matches(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(_, text)| matches(pattern, text))
            }
            ([b'?', pattern @ ..], [_, text @ ..]) => matches(pattern, text),
            ([first, pattern @ ..], [second, text @ ..]) => {
                first == second && matches(pattern, text)
            }
            _ => false,
        }
    }
    let arn = if method_and_path.starts_with("arn:") {
        method_and_path.to_owned()
    } else {
        format!("{STAGE}/{method_and_path}")
    };
    assert_eq!(policy["policyDocument"]["Version"], "2012-10-17");
    let statements = policy["policyDocument"]["Statement"].as_array().unwrap();
    let says = |effect: &str| {
        statements.iter().any(|statement| {
            let pattern = statement["Resource"].as_str().unwrap();
            assert_eq!(statement["Action"], "execute-api:Invoke");
            statement["Effect"] == effect && matches(pattern.as_bytes(), arn.as_bytes())
        })
    };
    says("Allow") && !says("Deny")
}

#[tokio::test]
async fn t171_a_policy_of_a_good_token_is_good_for_every_method_of_its_stage_and_for_nothing_else()
{
    let scene = Scene::start(&[]).await;
    let signed_in = scene.service.sign_in("octocat").await;
    let token = signed_in.text("/access_token");
    let claims = scene.service.verify(token).await;
    let bearer = format!("Bearer {token}");

    for form in FORMS {
        let policy = scene.policy(form, &[&bearer]).await.unwrap();

        let expected = json!({
            "principalId": signed_in.text("/user/id"),
            "policyDocument": {
                "Version": "2012-10-17",
                "Statement": [{ "Action": "execute-api:Invoke", "Effect": "Allow", "Resource": format!("{STAGE}/*") }],
            },
            "context": {
                "sub": signed_in.text("/user/id"),
                "sid": claims.sid.to_string(),
                "client_id": "nextjs",
                "scope": "orders:read orders:write",
                "auth_time": claims.auth_time.unwrap().to_string(),
                "exp": claims.exp.to_string(),
            },
        });
        assert_eq!(policy, expected, "{form:?}");
        // API Gateway keeps the policy, and evaluates it for the next request with the same token.
        for method in ["GET/orders", "POST/orders", "DELETE/orders/1", "GET/"] {
            assert!(allows(&policy, method), "{form:?} {method}");
        }
        for other in [
            "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3/production/GET/orders",
            "arn:aws:execute-api:eu-central-1:123456789012:another/prod/GET/orders",
            "arn:aws:execute-api:eu-central-1:210987654321:a1b2c3/prod/GET/orders",
        ] {
            assert!(!allows(&policy, other), "{form:?} {other}");
        }
    }
}

#[tokio::test]
async fn t171_with_scopes_for_routes_a_policy_is_good_for_its_own_method_alone() {
    let routes = json!({
        "GET /orders": "orders:read",
        "GET /orders/{id}": "orders:read",
        "GET /orders/{id}/notes": "notes:read",
        "DELETE /orders/{id}": "orders:delete",
    });
    let scene = Scene::start(&[("ROUTE_SCOPES", &routes.to_string())]).await;
    let bearer = format!("Bearer {}", scene.service.access_token("octocat").await);

    for form in [Form::RestRequest, Form::HttpApi1] {
        let ask = async |method: &str, path: &str, resource: &str| {
            let event = form.event(method, path, resource, &[&bearer]);
            scene.policy_for(&event).await.unwrap()
        };
        let policy = ask("GET", "/orders/1", "/orders/{id}").await;
        assert!(allows(&policy, "GET/orders/1"), "{form:?}");
        for other in [
            "GET/orders",
            "GET/orders/2",
            "GET/orders/1/notes",
            "DELETE/orders/1",
            "GET/orders/11",
        ] {
            assert!(!allows(&policy, other), "{form:?} {other}");
        }
        for (method, path, resource) in [
            ("DELETE", "/orders/1", "/orders/{id}"),
            ("GET", "/orders/1/notes", "/orders/{id}/notes"),
            ("HEAD", "/orders", "/orders"),
            ("GET", "/orders", "/{proxy+}"),
            ("GET", "/orders", "$default"),
        ] {
            let policy = ask(method, path, resource).await;
            for method in [
                "GET/orders",
                "GET/orders/1",
                "DELETE/orders/1",
                "GET/orders/1/notes",
                "HEAD/orders",
            ] {
                assert!(!allows(&policy, method), "{form:?} {path}: {method}");
            }
        }
        // A path that is a pattern would make a kept policy good for what is below it.
        for path in [
            "/orders/*",
            "/orders/?",
            "/orders/1*",
            "/orders/${*}",
            "/orders/$",
        ] {
            let policy = ask("GET", path, "/orders/{id}").await;
            for other in [
                "GET/orders/1",
                "GET/orders/1/notes",
                "GET/orders/2",
                "GET/orders/${*}",
            ] {
                assert!(!allows(&policy, other), "{form:?} {path}: {other}");
            }
        }
    }
    let token = Form::RestToken.event("GET", "/orders", "/orders", &[&bearer]);
    let error = scene.authorizer.authorize(&token).await.unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("REQUEST authorizer") && said.contains("ROUTE_SCOPES"),
        "{said}"
    );
}

#[tokio::test]
async fn t171_a_refused_token_gets_a_policy_that_denies_everything_and_tells_nothing() {
    let scene = Scene::start(&[]).await;
    let forge = Forge::new(&scene.service).await;
    let good = format!("Bearer {}", forge.good());
    let expired = format!(
        "Bearer {}",
        forge.with_claim("exp", scene.service.time.now())
    );
    let denied = json!({
        "principalId": "unknown",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{ "Action": "execute-api:Invoke", "Effect": "Deny", "Resource": format!("{STAGE}/*") }],
        },
        "context": {},
    });
    for form in FORMS {
        assert!(
            allows(&scene.policy(form, &[&good]).await.unwrap(), "GET/orders"),
            "{form:?}"
        );
        for authorization in [
            &*expired,
            "Bearer nonsense",
            "Basic Zm9vOmJhcg==",
            "Bearer",
            "",
            "Bearer \n",
        ] {
            let policy = scene.policy(form, &[authorization]).await;
            assert_eq!(policy.unwrap(), denied, "{form:?} {authorization}");
        }
    }
    let basic = "Basic bmV4dGpzOng=";
    for form in [Form::RestRequest, Form::HttpApi1] {
        for authorization in [[&*good, &good], [&good, basic], [basic, &good]] {
            let policy = scene.policy(form, &authorization).await;
            assert_eq!(policy.unwrap(), denied, "{form:?} {authorization:?}");
        }
    }
    // Two headers whose names differ in their case are two headers.
    let mut twice = Form::RestRequest.event("GET", "/orders", "/orders", &[&good]);
    twice["multiValueHeaders"]["authorization"] = json!([good]);
    assert_eq!(scene.policy_for(&twice).await.unwrap(), denied);
    let mut single = Form::RestRequest.event("GET", "/orders", "/orders", &[&good]);
    single["multiValueHeaders"] = Value::Null;
    assert!(allows(
        &scene.policy_for(&single).await.unwrap(),
        "GET/orders"
    ));
    single["headers"] = json!({});
    assert_eq!(scene.policy_for(&single).await.unwrap(), denied);
}

#[tokio::test]
async fn t171_the_context_beside_a_policy_has_texts_only() {
    let scene = Scene::start(&[]).await;
    let signed_in = scene.service.sign_in("octocat").await;
    let id = signed_in.text("/user/id");
    scene
        .operate(&["roles", id, "--add", "support", "--add", "admin"])
        .await;
    scene
        .operate(&["claims", id, "--set", "plan=pro", "--set", "seats=5"])
        .await;
    let refreshed = scene
        .service
        .refresh(signed_in.text("/refresh_token"))
        .await;
    let bearer = format!("Bearer {}", refreshed.text("/access_token"));

    for form in FORMS {
        let policy = scene.policy(form, &[&bearer]).await.unwrap();
        let context = policy["context"].as_object().unwrap();
        for (name, value) in context {
            assert!(value.is_string(), "{form:?} {name}: {value}");
        }
        let read = |name: &str| -> Value {
            serde_json::from_str(context[name].as_str().unwrap()).unwrap()
        };
        let mut roles: Vec<_> = read("roles").as_array().unwrap().clone();
        roles.sort_by_key(Value::to_string);
        assert_eq!(roles, [json!("admin"), json!("support")], "{form:?}");
        assert_eq!(
            read("claims"),
            json!({ "plan": "pro", "seats": 5 }),
            "{form:?}"
        );
    }
}

#[tokio::test]
async fn t171_an_outage_is_an_error_for_each_form_and_a_signed_out_user_is_denied_with_live() {
    let scene = Scene::start(&[("LIVE", "true")]).await;
    let token = scene.service.access_token("octocat").await;
    let bearer = format!("Bearer {token}");
    for form in FORMS {
        scene.service.dynamodb.down().await;
        let during = scene.policy(form, &[&bearer]).await;
        scene.service.dynamodb.heal();
        assert_eq!(during, None, "{form:?}");
        assert!(
            allows(&scene.policy(form, &[&bearer]).await.unwrap(), "GET/orders"),
            "{form:?}"
        );
    }
    drop(scene.service.delete_as_user(&token, "/me/sessions").await);
    for form in FORMS {
        assert!(
            !allows(&scene.policy(form, &[&bearer]).await.unwrap(), "GET/orders"),
            "{form:?}"
        );
    }
}
