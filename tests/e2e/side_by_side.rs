//! The functions of an earlier revision and of this one as processes on one table, as during a deployment.
//!
//! `make test-versions` builds the binaries of both, so `cargo test` names the test as ignored.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use local::github::Account;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::{
    Answer, CLIENT, Service, TOKEN_EXCHANGE, Time, exchange_of,
    functions::Functions,
    oidc::{Issuer, Key},
    refresh_of, settle,
};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// The functions of one revision.
struct Side {
    name: &'static str,
    functions: Functions,
}

struct Scene {
    service: Service,
    sides: [Side; 2],
    issuer: Issuer,
    key: Key,
    http: Client,
    /// The number of requests so far, each with a checked answer.
    requests: AtomicUsize,
}

impl Scene {
    async fn start() -> Self {
        let key = Key::new("one");
        let issuer = Issuer::start(&key).await;
        let providers = json!([issuer.provider("acme")]).to_string();
        let settings = [("OIDC_PROVIDERS", &*providers)];
        // The processes have the system's clock.
        let service = Service::start_at(Time::running(), &settings).await;
        let variables = &service.variables;
        let earlier = Functions::of("CAMBIO_EARLIER_FUNCTIONS", "earlier", variables).await;
        let present = Functions::of("CAMBIO_FUNCTIONS", "present", variables).await;
        let side = |name, functions| Side { name, functions };
        Self {
            sides: [side("earlier", earlier), side("present", present)],
            service,
            issuer,
            key,
            http: Client::builder().no_proxy().build().unwrap(),
            requests: AtomicUsize::new(0),
        }
    }

    async fn send(&self, request: RequestBuilder, status: StatusCode, what: &str) -> Answer {
        let answer = settle(request).await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        assert_eq!(answer.status, status, "{what}: {:?}", answer.body);
        answer
    }

    fn request(&self, side: &Side, method: &str, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", side.functions.url);
        self.http.request(method.parse().unwrap(), url)
    }

    fn post(&self, side: &Side, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let request = self.request(side, "POST", path).form(form);
        request.basic_auth(CLIENT.0, Some(CLIENT.1))
    }

    async fn sign_in(&self, side: &Side, login: &str) -> Answer {
        let token = self.service.github_token(login);
        let request = self.post(side, "/token", &exchange_of(&token));
        self.send(request, StatusCode::OK, side.name).await
    }

    /// Refreshes, and returns the answer.
    async fn refresh(&self, side: &Side, token: &str, status: StatusCode) -> Answer {
        let request = self.post(side, "/token", &refresh_of(token));
        self.send(request, status, side.name).await
    }

    async fn as_user(&self, side: &Side, token: &str, method: &str, path: &str) -> Answer {
        let request = self.request(side, method, path).bearer_auth(token);
        let wanted = match method {
            "GET" => StatusCode::OK,
            _ => StatusCode::NO_CONTENT,
        };
        self.send(request, wanted, side.name).await
    }

    async fn refused(&self, side: &Side, token: &str) {
        let request = self.request(side, "GET", "/me").bearer_auth(token);
        self.send(request, StatusCode::UNAUTHORIZED, side.name)
            .await;
    }

    async fn has_ended(&self, side: &Side, refresh_token: &str) {
        let answer = self
            .refresh(side, refresh_token, StatusCode::BAD_REQUEST)
            .await;
        assert_eq!(answer.text("/error"), "invalid_grant", "{}", side.name);
    }

    /// Returns what `side` lists for a user, such as the sessions.
    async fn listed(&self, side: &Side, token: &str, what: &str) -> Vec<Value> {
        let answer = self
            .as_user(side, token, "GET", &format!("/me/{what}"))
            .await;
        answer.body[what].as_array().unwrap().clone()
    }

    async fn rotate(&self, side: &Side, order: &Value) {
        let request = self.request(side, "POST", "/events/rotate-keys");
        let answer = self.send(request.json(order), StatusCode::OK, side.name);
        assert_eq!(answer.await.body["changed"], true, "{order}");
    }

    fn id_token(&self, name: &str) -> String {
        let mut claims = self.issuer.claims(name, self.service.time.now());
        // Two sign-ins within a second have two tokens.
        claims["jti"] = uuid::Uuid::new_v4().to_string().into();
        self.key.sign(&claims)
    }

    /// A user's life, of which `one` does the first part of each step, and `other` the second part.
    async fn live(&self, one: &Side, other: &Side) {
        let login = format!("user-of-{}", one.name);
        let number = 1000 + one.name.len() as u64;
        let account = Account::new(number, &*login).reached_at(format!("{login}@example.com"));
        self.service.stand_in.add_account(account);

        // A sign-in, and the next one, which updates the same user.
        let first = self.sign_in(one, &login).await;
        let id = first.text("/user/id");
        let second = self.sign_in(other, &login).await;
        assert_eq!(second.text("/user/id"), id);
        for (side, token) in [(other, &first), (one, &second)] {
            let me = self.as_user(side, token.text("/access_token"), "GET", "/me");
            assert_eq!(me.await.text("/id"), id);
        }

        // A refresh, repeated, and repeated in parallel by both, has one successor.
        let used = first.text("/refresh_token");
        let refreshed = self.refresh(other, used, StatusCode::OK).await;
        let successor = refreshed.text("/refresh_token");
        let sides = [one, other].into_iter().cycle().take(9);
        let again = sides.map(|side| self.refresh(side, used, StatusCode::OK));
        for again in join_all(again).await {
            assert_eq!(again.text("/refresh_token"), successor);
        }
        // A copy that is used later ends the session.
        self.refresh(one, successor, StatusCode::OK).await;
        self.has_ended(other, used).await;
        self.has_ended(one, successor).await;
        self.refused(other, refreshed.text("/access_token")).await;

        // The user's edits, which the next sign-in keeps.
        let token = second.text("/access_token");
        for (writer, reader, name) in [(one, other, "First"), (other, one, "Second")] {
            let patch = json!({ "name": name, "metadata": { "by": name } });
            let request = self.request(writer, "PATCH", "/me").bearer_auth(token);
            self.send(request.json(&patch), StatusCode::OK, writer.name)
                .await;
            self.sign_in(reader, &login).await;
            let me = self.as_user(reader, token, "GET", "/me").await;
            let read = (me.text("/name"), me.text("/metadata/by"));
            assert_eq!(read, (name, name));
        }

        // A linked account, with which both sign the same user in.
        for (linker, unlinker) in [(one, other), (other, one)] {
            let body =
                json!({ "subject_token": self.id_token(&login), "subject_token_type": ID_TOKEN });
            let request = self.request(linker, "POST", "/me/identities");
            let request = request.bearer_auth(token).json(&body);
            self.send(request, StatusCode::OK, linker.name).await;
            assert_eq!(self.listed(unlinker, token, "identities").await.len(), 2);
            let id_token = self.id_token(&login);
            let form = [
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", &*id_token),
                ("subject_token_type", ID_TOKEN),
            ];
            let request = self.post(unlinker, "/token", &form);
            let linked = self.send(request, StatusCode::OK, unlinker.name).await;
            assert_eq!(linked.text("/user/id"), id);
            self.as_user(unlinker, token, "DELETE", "/me/identities/acme")
                .await;
            assert_eq!(self.listed(linker, token, "identities").await.len(), 1);
        }

        // Both list the same sessions. One of them ends, then all but one, then all.
        let third = self.sign_in(one, &login).await;
        let sessions = self.listed(one, token, "sessions").await;
        assert_eq!(self.listed(other, token, "sessions").await, sessions);
        let revoked = third.text("/refresh_token");
        let request = self.post(other, "/revoke", &[("token", revoked)]);
        self.send(request, StatusCode::OK, other.name).await;
        self.has_ended(one, revoked).await;
        for (signer, ender) in [(one, other), (other, one)] {
            let kept = self.sign_in(signer, &login).await;
            let over = self.sign_in(ender, &login).await;
            let token = kept.text("/access_token");
            self.as_user(ender, token, "DELETE", "/me/sessions?except=current")
                .await;
            self.refused(signer, over.text("/access_token")).await;
            self.has_ended(signer, over.text("/refresh_token")).await;
            let introspect = [("token", token)];
            let request = self.post(signer, "/introspect", &introspect);
            let active = self.send(request, StatusCode::OK, signer.name).await;
            assert_eq!(active.body["active"], true);
            self.as_user(ender, token, "DELETE", "/me/sessions").await;
            let request = self.post(signer, "/introspect", &introspect);
            let over = self.send(request, StatusCode::OK, signer.name).await;
            assert_eq!(over.body["active"], false);
            self.has_ended(signer, kept.text("/refresh_token")).await;
        }

        // A key that one revokes; the next one signs. New processes read the keys at their start.
        let before = self.sign_in(other, &login).await;
        let token = before.text("/access_token");
        let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        self.rotate(one, &json!({ "revoke": kid })).await;
        for side in &self.sides {
            side.functions.kill_all().await;
        }
        self.refused(other, token).await;
        let after = self
            .refresh(other, before.text("/refresh_token"), StatusCode::OK)
            .await;
        let token = after.text("/access_token");
        for side in &self.sides {
            let me = self.as_user(side, token, "GET", "/me").await;
            assert_eq!(me.text("/id"), id);
        }

        // A deletion, after which the same account is another user.
        self.as_user(one, token, "DELETE", "/me").await;
        self.refused(other, token).await;
        self.has_ended(other, after.text("/refresh_token")).await;
        let back = self.sign_in(other, &login).await;
        assert_ne!(back.text("/user/id"), id);
        self.service.check_invariants();
        let items = Value::from(self.service.items()).to_string();
        for token in [used, successor, revoked, after.text("/refresh_token")] {
            assert!(!items.contains(token), "a refresh token is in the table");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the binaries of the functions of two revisions, which make test-versions builds"]
async fn t206_two_versions_of_the_code_read_what_the_other_wrote() {
    let scene = Scene::start().await;
    let [earlier, present] = &scene.sides;

    scene.live(earlier, present).await;
    scene.live(present, earlier).await;

    for side in &scene.sides {
        let secrets = side.functions.secrets_in_logs();
        assert!(secrets.is_empty(), "{}: {secrets:?}", side.name);
    }
    let requests = scene.requests.load(Ordering::Relaxed);
    println!("{requests} requests to the functions of two revisions, each as expected");
}
