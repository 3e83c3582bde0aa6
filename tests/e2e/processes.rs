//! The functions' real processes: killed at each of their calls, and frozen while their connections are lost.
//!
//! The binaries are those of `make test-release`, so `cargo test` names these tests as ignored.

mod freeze;
mod kill;

use std::sync::atomic::{AtomicU64, Ordering};

use local::github::Account;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::{
    Answer, CLIENT, ISSUER, OTHER_CLIENT, Service, TOKEN_EXCHANGE, Time, exchange_of,
    functions::Functions,
    oidc::{Issuer, Key},
    refresh_of, settle,
};
use tokio::sync::Mutex;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Held while a service starts.
static STARTING: Mutex<()> = Mutex::const_new(());

/// A service whose requests go to processes, with a stand-in GitHub and an OpenID provider.
struct Scene {
    service: Service,
    functions: Functions,
    issuer: Issuer,
    key: Key,
    people: AtomicU64,
}

/// A user of the app with the tokens that the app holds.
struct Person {
    login: String,
    user: String,
    github_token: String,
    id_token: String,
    vouched: String,
    access_token: String,
    refresh_token: String,
}

impl Scene {
    async fn start(test: &str) -> Self {
        let key = Key::new("one");
        let issuer = Issuer::start(&key).await;
        let mut other = issuer.provider("other");
        other["issuer"] = other_issuer(&issuer).into();
        let all = tests::clients(&[CLIENT, OTHER_CLIENT]);
        let mut clients: Value = serde_json::from_str(&all).unwrap();
        clients[0]["jwks"] = json!({ "keys": [key.jwk] });
        clients[0]["vouches"] = json!({ "keys": [key.jwk] });
        // Many at once would keep each other from starting in time.
        let _turn = STARTING.lock().await;
        let clients = clients.to_string();
        let providers = json!([issuer.provider("acme"), other]).to_string();
        let settings = [
            ("CLIENTS", &*clients),
            ("OIDC_PROVIDERS", &*providers),
            ("LIVE", "true"),
            ("LINK_BY_VERIFIED_EMAIL", "link"),
            ("LINK_EMAIL_PROVIDERS", "github,acme"),
            // So that the count of a client is one of the calls.
            tests::RATE_LIMITS[0],
            tests::RATE_LIMITS[1],
        ];
        // The processes have the system's clock.
        let mut service = Service::start_at(Time::running(), &settings).await;
        let functions = Functions::new(test, &service.variables).await;
        service.url.clone_from(&functions.url);
        Self {
            service,
            functions,
            issuer,
            key,
            people: AtomicU64::new(1),
        }
    }

    /// Returns a new person with the tokens of the providers, who has not signed in.
    fn stranger(&self) -> Person {
        self.stranger_of(&self.issuer.url)
    }

    /// Returns a new person whose ID token is of this issuer.
    fn stranger_of(&self, issuer: &str) -> Person {
        let number = self.people.fetch_add(1, Ordering::Relaxed);
        let name = format!("somebody-{number}");
        let email = format!("{name}@example.com");
        let account = Account::new(1000 + number, &*name).reached_at(&*email);
        self.service.stand_in.add_account(account);
        let now = self.service.time.now();
        let vouched = json!({
            "iss": CLIENT.0, "sub": name, "aud": ISSUER, "iat": now, "exp": now + 240, "name": "Ada Lovelace",
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        let header = json!({ "alg": "ES256", "kid": self.key.kid, "typ": "vouch+jwt" });
        Person {
            user: String::new(),
            github_token: self.service.github_token(&name),
            id_token: self.id_token(&name, issuer),
            vouched: self.key.sign_with_header(&header, &vouched),
            login: name,
            access_token: String::new(),
            refresh_token: String::new(),
        }
    }

    /// Returns a new ID token, with an address that GitHub does not have.
    fn id_token(&self, name: &str, issuer: &str) -> String {
        let mut claims = self.issuer.claims(name, self.service.time.now());
        claims["email"] = format!("{name}@example.org").into();
        claims["iss"] = issuer.into();
        // Two sign-ins within a second have two tokens.
        claims["jti"] = uuid::Uuid::new_v4().to_string().into();
        self.key.sign(&claims)
    }

    /// Returns a new person who has signed in with GitHub.
    async fn user(&self) -> Person {
        self.sign_in(self.stranger()).await
    }

    /// Signs a person in with GitHub.
    async fn sign_in(&self, person: Person) -> Person {
        let answer = settle(self.exchange(&person.github_token)).await;
        person.with(&answer)
    }

    /// Makes the request of an exchange of a GitHub token.
    fn exchange(&self, github_token: &str) -> RequestBuilder {
        self.service.token_request(&exchange_of(github_token))
    }

    /// Makes the request of an exchange of another type of token.
    fn exchange_of(&self, token: &str, token_type: &str) -> RequestBuilder {
        self.service.token_request(&[
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", token_type),
        ])
    }

    /// Makes the request of a refresh.
    fn refresh(&self, refresh_token: &str) -> RequestBuilder {
        self.service.token_request(&refresh_of(refresh_token))
    }

    /// Makes the request of an introspection.
    fn introspection(&self, token: &str) -> RequestBuilder {
        let request = self.service.request("POST", "/introspect");
        request
            .basic_auth(CLIENT.0, Some(CLIENT.1))
            .form(&[("token", token)])
    }

    /// Makes the request that links the identity of the person's ID token.
    fn link(&self, person: &Person) -> RequestBuilder {
        let body = json!({ "subject_token": person.id_token, "subject_token_type": ID_TOKEN });
        let request = self
            .service
            .as_user(&person.access_token, "POST", "/me/identities");
        request.json(&body)
    }

    /// Makes a request that reads something as a user.
    fn get(&self, access_token: &str, path: &str) -> RequestBuilder {
        self.service.as_user(access_token, "GET", path)
    }

    /// Makes an event for a function that no request reaches.
    fn event(&self, function: &str, event: &Value) -> RequestBuilder {
        let path = format!("/events/{function}");
        self.service.request("POST", &path).json(event)
    }

    /// Makes the event of the authorizer for a request with an access token.
    fn authorization(&self, access_token: &str) -> RequestBuilder {
        let mut event: Value = serde_json::from_str(super::authorizer::EVENT).unwrap();
        let bearer = format!("Bearer {access_token}");
        event["headers"]["authorization"] = bearer.clone().into();
        event["identitySource"] = json!([bearer]);
        self.event("authorizer", &event)
    }

    /// Asserts that the session of a refresh token goes on, and that a repeated refresh has the same successor.
    async fn goes_on(&self, refresh_token: &str, user: &str, what: &str) {
        let answer = settle(self.refresh(refresh_token)).await;
        assert_eq!(answer.status, StatusCode::OK, "{what}: {:?}", answer.body);
        let successor = answer.text("/refresh_token");
        let again = settle(self.refresh(refresh_token)).await;
        assert_eq!(again.text("/refresh_token"), successor, "{what}");
        let me = settle(self.get(answer.text("/access_token"), "/me")).await;
        assert_eq!(me.text("/id"), user, "{what}: {:?}", me.body);
        let next = settle(self.refresh(successor)).await;
        assert_eq!(next.status, StatusCode::OK, "{what}: {:?}", next.body);
    }

    /// Asserts that the session of a refresh token has ended.
    async fn has_ended(&self, refresh_token: &str, what: &str) {
        let answer = settle(self.refresh(refresh_token)).await;
        assert_eq!(answer.text("/error"), "invalid_grant", "{what}");
    }

    /// Asserts the invariants of the table, and that it contains no token of the person.
    fn check_invariants(&self, person: &Person, what: &str) {
        self.service.check_invariants();
        let items = Value::from(self.service.items()).to_string();
        for token in person.tokens() {
            assert!(!items.contains(token), "{what}: a token is in the table");
        }
    }

    /// Asserts that the functions logged no secret.
    fn check_logs(&self) {
        let secrets = self.functions.secrets_in_logs();
        assert!(secrets.is_empty(), "{secrets:?}");
    }
}

/// Returns another issuer at the same host, which has the same keys once its discovery document is published.
fn other_issuer(issuer: &Issuer) -> String {
    format!("{}/other", issuer.url)
}

impl Person {
    /// Returns the person with the tokens of a sign-in.
    fn with(self, answer: &Answer) -> Self {
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        Self {
            user: answer.text("/user/id").to_owned(),
            access_token: answer.text("/access_token").to_owned(),
            refresh_token: answer.text("/refresh_token").to_owned(),
            ..self
        }
    }

    fn tokens(&self) -> impl Iterator<Item = &str> {
        let all = [
            &self.github_token,
            &self.id_token,
            &self.vouched,
            &self.access_token,
            &self.refresh_token,
        ];
        let all = all.into_iter().map(String::as_str);
        all.filter(|token| !token.is_empty())
    }
}
