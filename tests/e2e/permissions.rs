//! T92: each function makes exactly the DynamoDB calls that its role in the template allows, and exactly the
//! transactions under which the policies are evaluated.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use authorizer::Authorizer;
use axum::{Router, http::StatusCode};
use rotate_keys::{Order, RotateKeys, When};
use serde_json::{Value, json};
use shared::config::{Environment, Group};
use tests::{
    Answer, CLIENT, ISSUER, Service, TOKEN_EXCHANGE,
    oidc::{Issuer, Key},
    proxy::Proxy,
};
use tokio::task::JoinSet;

/// The actions of a transaction, each with the leading keys of its items.
type Transaction = (String, BTreeMap<String, BTreeSet<String>>);

/// The requests of a function to DynamoDB. `tests/template` checks the template against the same file.
struct Requests {
    /// Table, actions and leading keys of all requests but transactions.
    calls: Vec<(String, BTreeSet<String>, BTreeSet<String>)>,
    transactions: BTreeSet<Transaction>,
}

fn permissions() -> BTreeMap<String, Requests> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/template/permissions.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let functions = file.as_object().unwrap().iter();
    functions
        .map(|(name, requests)| {
            let requests = Requests {
                calls: serde_json::from_value(requests["calls"].clone()).unwrap(),
                transactions: serde_json::from_value(requests["transactions"].clone()).unwrap(),
            };
            (name.clone(), requests)
        })
        .collect()
}

/// The permissions that a call needs: actions on leading keys of tables.
pub(crate) fn needs(operation: &str, body: &Value) -> Vec<(String, String, String)> {
    let need = |verb: &str, request: &Value| {
        let keys = [
            "/Key/pk/S",
            "/Item/pk/S",
            "/ExpressionAttributeValues/:pk/S",
        ];
        let key = keys
            .iter()
            .find_map(|pointer| request.pointer(pointer)?.as_str());
        // The operator's command reads whole tables, which has no key.
        let key = key.or((verb == "Scan" || verb == "DescribeTable").then_some(""));
        let text = |value: Option<&str>| value.unwrap().to_owned();
        (
            text(request["TableName"].as_str()),
            verb.to_owned(),
            text(key),
        )
    };
    if operation == "BatchGetItem" {
        let tables = body["RequestItems"].as_object().unwrap().iter();
        return tables
            .flat_map(|(table, read)| {
                let keys = read["Keys"].as_array().unwrap().iter();
                keys.map(|key| {
                    let key = key["pk"]["S"].as_str().unwrap();
                    (table.clone(), operation.to_owned(), key.to_owned())
                })
            })
            .collect();
    }
    if operation != "TransactWriteItems" {
        return vec![need(operation, body)];
    }
    let items = body["TransactItems"].as_array().unwrap().iter();
    items
        .map(|item| {
            let (verb, request) = item.as_object().unwrap().iter().next().unwrap();
            // A transaction needs the verbs of its items, and none of its own.
            need(&format!("{verb}Item"), request)
        })
        .collect()
}

fn matches(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == pattern,
    }
}

/// Moves the clients and the providers from the environment into the keys table.
fn move_to_the_table(service: &mut Service) {
    for group in [Group::Clients, Group::Providers] {
        let mut settings = serde_json::Map::new();
        for name in group.settings() {
            if let Some(value) = service.variables.remove(*name) {
                settings.insert((*name).to_owned(), json!({ "S": value }));
            }
        }
        let item = json!({ "pk": { "S": group.name() }, "version": { "N": "1" }, "settings": { "M": settings } });
        service.put(local::dynamodb::KEYS_TABLE, &item);
        let (name, table) = (group.name().to_owned(), "table".to_owned());
        service.variables.insert(name, table);
    }
}

/// One function with its own proxy, through which only its calls go.
struct Function {
    url: String,
    env: Environment,
    dynamodb: Proxy,
}

struct Scene {
    service: Service,
    issuer: Issuer,
    key: Key,
    functions: BTreeMap<String, Function>,
}

impl Scene {
    async fn start() -> Self {
        let key = Key::new("one");
        let issuer = Issuer::start(&key).await;
        let clients = json!([{
            "client_id": CLIENT.0, "jwks": { "keys": [key.jwk] }, "vouches": { "keys": [key.jwk] },
        }]);
        let settings = [
            ("CLIENTS", &*clients.to_string()),
            ("OIDC_PROVIDERS", &issuer.settings()),
            ("LIVE", "true"),
            ("CLIENT_RATE_LIMIT", "1000"),
            // Who has an account at the other provider only, joins by address or not at all.
            (
                "ALLOWED_SIGNUPS",
                r#"{"identities":["github:583231","github:2","github:3"]}"#,
            ),
            ("LINK_BY_VERIFIED_EMAIL", "link"),
            ("LINK_EMAIL_PROVIDERS", "github,acme"),
        ];
        let mut service = Service::start_with(&settings).await;
        move_to_the_table(&mut service);
        let usual = service.variables.clone();
        let mut functions = BTreeMap::new();
        for name in permissions().into_keys() {
            let dynamodb = Proxy::start(&service.dynamodb.url()).await;
            let endpoint = "AWS_ENDPOINT_URL_DYNAMODB".to_owned();
            service.variables.insert(endpoint, dynamodb.url());
            let function = Function {
                url: service.another_process().await,
                env: Environment::of(service.variables.clone()),
                dynamodb,
            };
            functions.insert(name, function);
        }
        service.variables = usual;
        // All of it was started with each of them; from now on, each does its own work.
        for function in functions.values() {
            function.dynamodb.clear();
        }
        Self {
            service,
            issuer,
            key,
            functions,
        }
    }

    fn request(&self, function: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.functions[function].url);
        reqwest::Client::new().request(method.parse().unwrap(), url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = self.service.send(request).await;
        assert!(
            answer.status.is_success(),
            "{}: {:?}",
            answer.status,
            answer.body
        );
        answer
    }

    /// Makes a request to an OAuth endpoint as the client with a key.
    async fn post(&self, function: &str, path: &str, form: &[(&str, &str)]) -> Answer {
        let now = self.service.time.now();
        let jti = uuid::Uuid::new_v4().to_string();
        let claims =
            json!({ "iss": CLIENT.0, "sub": CLIENT.0, "aud": ISSUER, "exp": now + 60, "jti": jti });
        let assertion = self.key.sign(&claims);
        let mut form = form.to_vec();
        form.push(("client_assertion", &assertion));
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        form.push(("client_assertion_type", kind));
        self.send(self.request(function, "POST", path).form(&form))
            .await
    }

    async fn exchange(&self, token: &str) -> Answer {
        let form = tests::exchange_of(token);
        self.post("token-exchange", "/token", &form).await
    }

    async fn as_user(&self, function: &str, token: &str, method: &str, path: &str) -> Answer {
        self.send(self.request(function, method, path).bearer_auth(token))
            .await
    }

    fn id_token(&self, email: &str) -> String {
        let mut claims = self.issuer.claims("ada", self.service.time.now());
        claims["email"] = email.into();
        claims["jti"] = uuid::Uuid::new_v4().to_string().into();
        self.key.sign(&claims)
    }

    /// Returns a JWT by which the client vouches for a user.
    fn vouched(&self) -> String {
        let now = self.service.time.now();
        let jti = uuid::Uuid::new_v4().to_string();
        let header = json!({ "alg": "ES256", "kid": "one", "typ": "vouch+jwt" });
        let claims =
            json!({ "iss": CLIENT.0, "sub": "17", "aud": ISSUER, "exp": now + 60, "jti": jti });
        self.key.sign_with_header(&header, &claims)
    }

    async fn rotate(&self, order: Order) {
        let env = &self.functions["rotate-keys"].env;
        let rotate_keys = RotateKeys::new(env, self.service.time.clock()).unwrap();
        assert!(rotate_keys.run(&order).await.unwrap().changed);
    }

    /// Lets `rotate-keys` check the settings of a deployment, which are in the table.
    async fn deploy(&self) {
        let mut running = JoinSet::new();
        let inbox = Router::new().fallback(async || StatusCode::OK);
        let event = json!({
            "RequestType": "Update", "ResponseURL": tests::serve(&mut running, inbox).await, "StackId": "a",
            "RequestId": "a", "LogicalResourceId": "Settings",
            "ResourceProperties": { "Settings": self.service.variables, "Version": env!("CARGO_PKG_VERSION") },
        });
        let env = &self.functions["rotate-keys"].env;
        let rotate_keys = RotateKeys::new(env, self.service.time.clock()).unwrap();
        let answer = rotate_keys.handle(event).await.unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
    }

    /// Calls every route in every variant once.
    async fn do_everything(&self) {
        self.deploy().await;
        let time = &self.service.time;
        let now = Order {
            rotate: When::Now,
            ..Order::default()
        };
        time.pass(24 * 60 * 60);
        self.rotate(now).await;
        time.pass(26 * 60 * 60);
        self.rotate(Order::default()).await;
        for document in ["openid-configuration", "jwks.json"] {
            let path = format!("/.well-known/{document}");
            self.send(self.request("discovery", "GET", &path)).await;
        }

        // A first sign-in without an address; one with an address, and by it one at another provider; then the address
        // changes.
        self.exchange(&self.service.github_token("member")).await;
        let octocat = self.exchange(&self.service.github_token("octocat")).await;
        // A sign-in that counts the sessions, because the user has opened many.
        for mut user in self.service.users() {
            user["opened"] = json!({ "N": "1000" });
            self.service.put("cambio", &user);
        }
        self.exchange(&self.service.github_token("octocat")).await;
        let exchange_id_token = async |email: &str| {
            let token = self.id_token(email);
            let form = [
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", &token),
                (
                    "subject_token_type",
                    "urn:ietf:params:oauth:token-type:id_token",
                ),
            ];
            self.post("token-exchange", "/token", &form).await
        };
        let joined = exchange_id_token("octocat@example.com").await;
        assert_eq!(joined.text("/user/id"), octocat.text("/user/id"));
        exchange_id_token("ada@example.com").await;
        let refreshed = self
            .post(
                "token-exchange",
                "/token",
                &tests::refresh_of(octocat.text("/refresh_token")),
            )
            .await;
        let token = refreshed.text("/access_token");
        for good in [token, refreshed.text("/refresh_token")] {
            let answer = self
                .post("introspect", "/introspect", &[("token", good)])
                .await;
            assert_eq!(answer.body["active"], true);
        }
        let authorizer = Authorizer::start(&self.functions["authorizer"].env, time.clock());
        let mut event: Value = serde_json::from_str(crate::authorizer::EVENT).unwrap();
        event["headers"]["authorization"] = format!("Bearer {token}").into();
        let passes = authorizer.await.unwrap().authorize(&event).await.unwrap();
        assert!(passes.is_authorized);

        // Accounts.
        self.as_user("me", token, "GET", "/me").await;
        let patch = self.request("me", "PATCH", "/me").bearer_auth(token);
        self.send(patch.json(&json!({ "name": "Mona" }))).await;
        self.as_user("identities", token, "GET", "/me/identities")
            .await;
        self.as_user("identities", token, "DELETE", "/me/identities/acme")
            .await;
        time.pass(1);
        let link = self
            .request("identities", "POST", "/me/identities")
            .bearer_auth(token);
        let id_token = self.id_token("new@example.com");
        let body = json!({
            "subject_token": id_token, "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        });
        self.send(link.json(&body)).await;
        let link = self
            .request("identities", "POST", "/me/identities")
            .bearer_auth(token);
        let vouched = self.vouched();
        let body = json!({
            "subject_token": vouched, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        });
        self.send(link.json(&body)).await;

        // Sessions.
        self.as_user("sessions", token, "GET", "/me/sessions").await;
        let other = self.exchange(&self.service.github_token("octocat")).await;
        self.post(
            "revoke",
            "/revoke",
            &[("token", other.text("/access_token"))],
        )
        .await;
        self.post(
            "revoke",
            "/revoke",
            &[("token", other.text("/refresh_token"))],
        )
        .await;
        self.as_user("sessions", token, "DELETE", "/me/sessions?except=current")
            .await;
        let other = self.exchange(&self.service.github_token("hubot")).await;
        let sid = self.service.verify(other.text("/access_token")).await.sid;
        let path = format!("/me/sessions/{sid}");
        self.as_user("sessions", other.text("/access_token"), "DELETE", &path)
            .await;
        self.as_user("me", token, "DELETE", "/me").await;
    }
}

#[tokio::test]
async fn t92_a_function_does_what_its_role_allows_and_the_role_allows_no_more() {
    let scene = Scene::start().await;
    scene.do_everything().await;
    // Work after the answer is complete as well.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let names = [local::dynamodb::TABLE, local::dynamodb::KEYS_TABLE];
    let [main, keys] = names.map(|name| scene.service.table(name));
    let tables = BTreeMap::from([(&*main, "Table"), (&*keys, "KeysTable")]);

    for (name, requests) in permissions() {
        let lines = requests.calls;
        let mut used = vec![(BTreeSet::new(), BTreeSet::new()); lines.len()];
        let mut transactions = BTreeSet::new();
        for call in scene.functions[&name].dynamodb.calls() {
            let operation = call.operation.as_deref().unwrap();
            let needed = needs(operation, &call.body);
            if operation == "TransactWriteItems" {
                transactions.insert(transaction(needed, &tables));
                continue;
            }
            for (table, verb, key) in needed {
                let allowed =
                    lines
                        .iter()
                        .enumerate()
                        .find_map(|(nth, (resource, verbs, patterns))| {
                            let pattern = patterns.iter().find(|pattern| matches(pattern, &key))?;
                            let fits = tables[&*table] == resource && verbs.contains(&verb);
                            fits.then(|| (nth, pattern.clone()))
                        });
                let Some((nth, pattern)) = allowed else {
                    panic!("{name} may not {verb} {key} of {table}");
                };
                used[nth].0.insert(verb);
                used[nth].1.insert(pattern);
            }
        }
        for ((_, verbs, patterns), used) in lines.into_iter().zip(used) {
            assert_eq!(
                (verbs, patterns),
                used,
                "{name} is allowed more than it does"
            );
        }
        assert_eq!(requests.transactions, transactions, "{name}");
    }
}

/// Returns the shape of a transaction: its table, and its actions with the prefixes of their keys.
fn transaction(
    needed: Vec<(String, String, String)>,
    tables: &BTreeMap<&str, &str>,
) -> Transaction {
    let mut shape = BTreeMap::<_, BTreeSet<_>>::new();
    let table = tables[&*needed[0].0].to_owned();
    for (of, verb, key) in needed {
        assert_eq!(tables[&*of], table, "a transaction has two tables");
        let pattern = match key.split_once('#') {
            Some((prefix, _)) => format!("{prefix}#*"),
            None => key,
        };
        shape.entry(verb).or_default().insert(pattern);
    }
    (table, shape)
}

#[test]
fn t92_a_call_that_is_not_allowed_would_be_noticed() {
    let body = json!({ "TransactItems": [
        { "Put": { "TableName": "t", "Item": { "pk": { "S": "USER#1" } } } },
        { "Delete": { "TableName": "t", "Key": { "pk": { "S": "KEY#1" } } } },
    ] });
    let needed = needs("TransactWriteItems", &body);
    let verbs: Vec<&str> = needed.iter().map(|(_, verb, _)| &**verb).collect();
    assert_eq!(verbs, ["PutItem", "DeleteItem"]);
    assert!(matches("USER#*", &needed[0].2) && !matches("USER#*", &needed[1].2));
    let (table, shape) = transaction(needed, &BTreeMap::from([("t", "Table")]));
    let shape = serde_json::to_value((table, shape)).unwrap();
    let wanted = json!(["Table", { "DeleteItem": ["KEY#*"], "PutItem": ["USER#*"] }]);
    assert_eq!(shape, wanted);
    assert!(!matches("KEYSET", "KEYSET2") && matches("KEYSET", "KEYSET"));
}
