//! The Lambda authorizer with events of API Gateway.

use authorizer::Authorizer;
use serde_json::{Value, json};
use shared::config::Environment;
use tests::{
    Service,
    forge::Forge,
    proxy::{Fault, When},
};

/// A service and the authorizer of an API that trusts it.
struct Scene {
    service: Service,
    authorizer: Authorizer,
}

impl Scene {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let service = Service::start().await;
        let mut variables = service.variables.clone();
        for (name, value) in settings {
            variables.insert((*name).to_owned(), (*value).to_owned());
        }
        let env = Environment::of(variables);
        let authorizer = Authorizer::start(&env, service.time.clock()).await.unwrap();
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

    async fn passes(&self, route: &str, token: &str) -> bool {
        let answer = self.ask(route, Some(&format!("Bearer {token}"))).await;
        answer.unwrap()["isAuthorized"].as_bool().unwrap()
    }
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
            "exp": claims.exp,
        },
    });
    assert_eq!(answer, expected);
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
    let env = Environment::of(service.variables.clone());
    service.dynamodb.fault(When::Always, Fault::Refuse);
    let authorizer = Authorizer::start(&env, service.time.clock()).await.unwrap();
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
