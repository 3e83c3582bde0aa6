//! Each example of `openapi.yaml` is a request that the server accepts, or an answer that it gives.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use tests::{
    Answer, CLIENT, ISSUER, Service,
    oidc::{Issuer, Key},
};

const METHODS: [&str; 4] = ["get", "post", "patch", "delete"];

/// The examples of the document: `<operation> <status, or request> <name>`.
fn examples(document: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for operations in document["paths"].as_object().unwrap().values() {
        let operations = operations.as_object().unwrap().iter();
        for (_, operation) in operations.filter(|(name, _)| METHODS.contains(&&***name)) {
            let id = operation["operationId"].as_str().unwrap();
            let request = operation.get("requestBody");
            let request = request.map(|body| ("request".to_owned(), body));
            let answers = operation["responses"].as_object().unwrap();
            let answers = answers.iter().map(|(status, body)| (status.clone(), body));
            for (place, body) in request.into_iter().chain(answers) {
                let contents = body["content"].as_object().into_iter().flatten();
                for (_, content) in contents {
                    if let Some(value) = content.get("example") {
                        found.insert(format!("{id} {place} example"), value.clone());
                    }
                    for (name, example) in content["examples"].as_object().into_iter().flatten() {
                        found.insert(format!("{id} {place} {name}"), example["value"].clone());
                    }
                }
            }
        }
    }
    found
}

struct Scene {
    service: Service,
    issuer: Issuer,
    key: Key,
}

impl Scene {
    async fn start() -> Self {
        let key = Key::new("one");
        let mut clients: Value = serde_json::from_str(&tests::clients(&[CLIENT])).unwrap();
        clients[0]["vouches"] = json!({ "keys": [key.jwk] });
        let settings = [("CLIENTS", &*clients.to_string())];
        let (issuer, service) = Issuer::with_service(&key, &settings).await;
        Self {
            service,
            issuer,
            key,
        }
    }

    /// Returns the example with tokens that exist, in place of those that the document shows.
    async fn with_tokens(&self, example: &Value) -> Map<String, Value> {
        let mut members = example.as_object().unwrap().clone();
        let now = self.service.time.now();
        let kind = example["subject_token_type"].as_str().unwrap_or_default();
        let token = match kind.rsplit(':').next().unwrap() {
            "access_token" => self.service.github_token("octocat"),
            "id_token" => self.key.sign(&self.issuer.claims("ada", now)),
            "jwt" => {
                let header = json!({ "alg": "ES256", "kid": "one", "typ": "vouch+jwt" });
                let claims = json!({
                    "iss": CLIENT.0, "sub": "17", "aud": ISSUER, "exp": now + 60, "jti": "one",
                });
                self.key.sign_with_header(&header, &claims)
            }
            _ => self.service.refresh_token("hubot").await,
        };
        let member = if kind.is_empty() {
            "refresh_token"
        } else {
            "subject_token"
        };
        let shown = members.insert(member.to_owned(), token.into());
        assert!(shown.is_some(), "{example}");
        members
    }

    /// Sends the request of an example.
    async fn accepted(&self, example: &str, value: &Value) -> Answer {
        let members = self.with_tokens(value).await;
        match example.split(' ').next().unwrap() {
            "token" => {
                let form: Vec<(&str, &str)> = members
                    .iter()
                    .map(|(name, value)| (&**name, value.as_str().unwrap()))
                    .collect();
                self.service.token(&form).await
            }
            "linkIdentity" => {
                let claims = self.issuer.claims("grace", self.service.time.now());
                let form = [
                    ("grant_type", tests::TOKEN_EXCHANGE),
                    ("subject_token", &self.key.sign(&claims)),
                    (
                        "subject_token_type",
                        "urn:ietf:params:oauth:token-type:id_token",
                    ),
                ];
                let signed_in = self.service.token(&form).await;
                let token = signed_in.text("/access_token");
                let request = self.service.as_user(token, "POST", "/me/identities");
                self.service.send(request.json(&members)).await
            }
            _ => panic!("a request with an example that no test sends: {example}"),
        }
    }

    /// Makes the server give the answer of an example.
    async fn given(&self, example: &str) -> Answer {
        let basic = |path: &str| {
            let request = self.service.request("POST", path);
            request.basic_auth(CLIENT.0, Some(CLIENT.1))
        };
        match example {
            "token 400 ended" => {
                let token = self.service.refresh_token("octocat").await;
                self.service.revoke(&token).await;
                self.service.refresh(&token).await
            }
            "revoke 200 example" => {
                let token = [("token", "nonsense")];
                self.service.send(basic("/revoke").form(&token)).await
            }
            "introspect 200 over" => {
                let token = [("token", "nonsense")];
                self.service.send(basic("/introspect").form(&token)).await
            }
            _ => panic!("an answer with an example that no test has: {example}"),
        }
    }
}

#[tokio::test]
async fn each_example_of_the_document_is_accepted_or_given() {
    let document: Value = serde_json::from_str(discovery::OPENAPI).unwrap();
    let examples = examples(&document);
    assert!(examples.len() > 5, "{examples:?}");
    for (example, value) in &examples {
        let scene = Scene::start().await;
        if example.contains(" request ") {
            let answer = scene.accepted(example, value).await;
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{example}: {:?}",
                answer.body
            );
        } else {
            let answer = scene.given(example).await;
            assert_eq!(&answer.body, value, "{example}");
            assert_eq!(Some(answer.status.as_str()), example.split(' ').nth(1));
        }
    }
}
