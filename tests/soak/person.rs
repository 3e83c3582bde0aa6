//! A person with an app that behaves as a real one does, and what must be true of the person's account.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tests::{ACCESS_TOKEN, CLIENT, GITHUB_APP, TOKEN_EXCHANGE, lambda::Outcome};
use tokio::sync::Semaphore;

use crate::{cloud::Cloud, dice::Dice, report::Report};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// The time after which an app repeats a refresh without an answer.
const PATIENCE: Duration = Duration::from_millis(1100);
/// The largest number of devices of a person.
const DEVICES: usize = 3;
/// The age of a sign-in with which the app still tries what needs a sign-in of the last five minutes.
const RECENT: u64 = 200;
/// The largest number of attempts to link in 10 minutes, which the API limits to 10, repetitions included.
const LINKS: usize = 4;
/// The time before the end of an access token at which the app refreshes.
const AHEAD: u64 = 15;
/// The difference between the clocks of the app and of a function, at most.
const SKEW: u64 = 6;
/// The number of attempts after which the app gives up, and of seconds between two of them, at most.
const ATTEMPTS: usize = 40;
const LONGEST_WAIT: u64 = 1;

/// The way of all requests.
pub(crate) struct Api<'a> {
    pub(crate) cloud: &'a Cloud,
    pub(crate) report: &'a Report,
    /// A permit for each request, added at the wanted rate.
    pub(crate) pace: &'a Semaphore,
    pub(crate) serial: &'a AtomicU64,
}

/// An answer.
struct Answer {
    status: u16,
    body: Value,
    /// True if an earlier attempt had no answer, or a 503: it may have taken effect.
    is_repeated: bool,
}

impl Answer {
    fn text(&self, pointer: &str) -> &str {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the parts without secrets.
    fn shown(&self) -> String {
        let error: Vec<_> = ["/error", "/error_description", "/type", "/detail"]
            .map(|pointer| self.text(pointer))
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        let again = if self.is_repeated { ", repeated" } else { "" };
        format!("{}{again} {}", self.status, error.join(", "))
    }
}

/// The reason that an answer is wrong.
type Wrong = String;

/// A person and the model of the person's account.
pub(crate) struct Person {
    pub(crate) login: String,
    /// The id at GitHub.
    pub(crate) number: usize,
    /// The id of the user, if there is one.
    pub(crate) user: Option<String>,
    /// Ids of deleted users.
    former: Vec<String>,
    devices: Vec<Device>,
    /// Sessions whose device is lost: the end of each.
    forgotten: Vec<(String, u64)>,
    is_linked: bool,
    link_attempts: Vec<u64>,
    name: Option<String>,
    metadata: BTreeMap<String, u64>,
}

/// A session as the app on a device knows it. Times are in seconds since the epoch.
#[derive(Clone)]
struct Device {
    refresh_token: String,
    access_token: String,
    access_until: u64,
    session: String,
    until: u64,
    signed_in_at: u64,
}

impl Api<'_> {
    fn now(&self) -> u64 {
        self.cloud.time.now()
    }

    /// Sends a request until its answer is final, as an app does.
    async fn send(
        &self,
        function: &str,
        route: &'static str,
        event: &Value,
    ) -> Result<Answer, Wrong> {
        for attempt in 0..ATTEMPTS {
            if let Ok(permit) = self.pace.acquire().await {
                permit.forget();
            }
            let Some((outcome, took)) = self.cloud.invoke(function, event.clone()).await else {
                self.report.answered(route, "killed", None);
                continue;
            };
            let Outcome::Answer(answer) = outcome else {
                self.report.answered(route, "failed", Some(took));
                return Err(format!("{route}: an invocation failed"));
            };
            let status = answer["statusCode"]
                .as_u64()
                .and_then(|status| status.try_into().ok());
            let status = status.unwrap_or(if function == "authorizer" { 200 } else { 0 });
            self.report.answered(route, &status.to_string(), Some(took));
            if status == 503 {
                let wait = answer["headers"]["retry-after"]
                    .as_str()
                    .and_then(|text| text.parse().ok());
                let wait = wait.unwrap_or(1).min(LONGEST_WAIT);
                tokio::time::sleep(Duration::from_secs(wait)).await;
                continue;
            }
            let body = match answer["body"].as_str() {
                Some(body) => serde_json::from_str(body).unwrap_or_default(),
                None => answer,
            };
            return Ok(Answer {
                status,
                body,
                is_repeated: attempt > 0,
            });
        }
        Err(format!(
            "{route}: {ATTEMPTS} attempts without an answer other than 503"
        ))
    }

    async fn form(
        &self,
        function: &str,
        route: &'static str,
        members: &[(&str, &str)],
    ) -> Result<Answer, Wrong> {
        let client = [("client_id", CLIENT.0), ("client_secret", CLIENT.1)];
        let client = client.iter().chain(members);
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(client)
            .finish();
        let headers = json!({ "content-type": "application/x-www-form-urlencoded" });
        let path = route.rsplit(' ').next().unwrap_or_default();
        self.send(function, route, &event("POST", path, &headers, Some(body)))
            .await
    }

    async fn refresh(&self, token: &str) -> Result<Answer, Wrong> {
        let members = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.form("token-exchange", "refresh: POST /token", &members)
            .await
    }

    /// Sends a request with an access token. `path` belongs to `route`, and may contain a query.
    async fn authorized(
        &self,
        route: &'static str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Wrong> {
        let function = match path {
            path if path.starts_with("/me/sessions") => "sessions",
            path if path.starts_with("/me/identities") => "identities",
            _ => "me",
        };
        let method = route.split(' ').next().unwrap_or_default();
        let mut headers = json!({ "authorization": format!("Bearer {token}") });
        if body.is_some() {
            headers["content-type"] = "application/json".into();
        }
        if method == "DELETE" {
            headers["idempotency-key"] = self.serial().to_string().into();
        }
        let event = event(method, path, &headers, body.map(Value::to_string));
        self.send(function, route, &event).await
    }

    fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }
}

/// Makes an event of API Gateway's HTTP API, payload format 2.0.
fn event(method: &str, target: &str, headers: &Value, body: Option<String>) -> Value {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = headers.clone();
    headers["host"] = "localhost:9000".into();
    json!({
        "version": "2.0",
        "routeKey": format!("{method} {path}"),
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "soak",
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "soak",
            },
            "requestId": "id",
            "routeKey": format!("{method} {path}"),
            "stage": "$default",
            "timeEpoch": 1_583_348_638_390_u64,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

fn expect(answer: &Answer, status: u16, what: &str) -> Result<(), Wrong> {
    if answer.status == status {
        Ok(())
    } else {
        Err(format!("{what}: expected {status}, got {}", answer.shown()))
    }
}

/// Returns a part of a JWT, unverified: the functions verify it.
fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap_or_default();
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    serde_json::from_slice(&json).unwrap_or_default()
}

impl Person {
    pub(crate) fn new(login: String, number: usize) -> Self {
        Self {
            login,
            number,
            user: None,
            former: Vec::new(),
            devices: Vec::new(),
            forgotten: Vec::new(),
            is_linked: false,
            link_attempts: Vec::new(),
            name: None,
            metadata: BTreeMap::new(),
        }
    }

    /// Does one thing that people do, and checks each answer.
    pub(crate) async fn act(
        &mut self,
        api: &Api<'_>,
        dice: &mut Dice,
    ) -> Result<(), (&'static str, Wrong)> {
        let (operation, done) = self.one_thing(api, dice).await;
        match done {
            Ok(()) => {
                api.report.completed(operation);
                Ok(())
            }
            Err(wrong) => Err((operation, wrong)),
        }
    }

    async fn one_thing(
        &mut self,
        api: &Api<'_>,
        dice: &mut Dice,
    ) -> (&'static str, Result<(), Wrong>) {
        if let Err(wrong) = self.drop_expired(api).await {
            return ("expire", Err(wrong));
        }
        if self.devices.is_empty() {
            return ("sign in", self.sign_in(api, dice).await.map(drop));
        }
        let device = dice.below(self.devices.len());
        match dice.below(100) {
            0..38 => ("read", self.read(api, device).await),
            38..48 => ("edit", self.edit(api, device, dice).await),
            48..52 => (
                "edit in parallel",
                self.edit_in_parallel(api, device, dice).await,
            ),
            52..58 => ("refresh", self.renew(api, device).await),
            58..62 => (
                "refresh after a lost answer",
                self.renew_twice(api, device).await,
            ),
            62..65 => (
                "refresh in parallel",
                self.renew_in_parallel(api, device).await,
            ),
            65..72 => ("list sessions", self.list_sessions(api, device).await),
            72..77 => ("authorize", self.authorize(api, device).await),
            77..80 => ("introspect", self.introspect(api, device, dice).await),
            80..82 => ("read the keys", self.read_keys(api, device).await),
            82..88 => match self.devices.len() + self.forgotten.len() {
                0..DEVICES => ("sign in", self.sign_in(api, dice).await.map(drop)),
                _ => ("sign out", self.sign_out(api, device, dice).await),
            },
            88..90 => ("sign out", self.sign_out(api, device, dice).await),
            90..94 => match self.is_linked {
                false => ("link", self.link(api, device, dice).await),
                true => ("unlink", self.unlink(api, device, dice).await),
            },
            94..96 => ("list identities", self.list_identities(api, device).await),
            96 => ("lose the device", self.forget(device)),
            97 => (
                "sign out everywhere",
                self.sign_out_everywhere(api, device).await,
            ),
            98 => (
                "sign out elsewhere",
                self.sign_out_elsewhere(api, device).await,
            ),
            _ => ("delete", self.delete(api, device, dice).await),
        }
    }

    /// Removes sessions that have expired, and checks that they have.
    async fn drop_expired(&mut self, api: &Api<'_>) -> Result<(), Wrong> {
        let now = api.now();
        self.forgotten.retain(|(_, until)| until + SKEW > now);
        let (over, alive) = std::mem::take(&mut self.devices)
            .into_iter()
            .partition(|device: &Device| device.until <= now + SKEW);
        self.devices = alive;
        for device in over {
            if device.until + SKEW < now {
                self.check_over(api, &device, "an expired session").await?;
            } else {
                // The clocks do not agree yet.
                self.forgotten.push((device.session, device.until));
            }
        }
        Ok(())
    }

    /// Checks that a session has ended.
    async fn check_over(&self, api: &Api<'_>, device: &Device, what: &str) -> Result<(), Wrong> {
        let answer = api.refresh(&device.refresh_token).await?;
        expect(&answer, 400, &format!("{what} refreshes"))?;
        if answer.text("/error") != "invalid_grant" {
            return Err(format!(
                "{what}: expected invalid_grant, got {}",
                answer.shown()
            ));
        }
        let answer = api
            .authorized("GET /me", "/me", &device.access_token, None)
            .await?;
        expect(&answer, 401, &format!("{what} reads"))
    }

    /// Returns a wrong that names the user if this is another one.
    fn check_user(&self, id: &str, what: &str) -> Result<(), Wrong> {
        match &self.user {
            Some(user) if user == id => Ok(()),
            other => Err(format!("{what}: expected user {other:?}, got {id:?}")),
        }
    }

    /// Checks a user in an answer: the ids and what the person edited.
    fn check_profile(&self, user: &Value, what: &str) -> Result<(), Wrong> {
        self.check_user(user["id"].as_str().unwrap_or_default(), what)?;
        let mut expected = Vec::from([("github", self.number.to_string())]);
        if self.is_linked {
            expected.push(("acme", self.login.clone()));
        }
        for identity in user["identities"].as_array().into_iter().flatten() {
            let found = (
                identity["provider"].as_str().unwrap_or_default(),
                identity["subject"].as_str().unwrap_or_default(),
            );
            let before = expected.len();
            expected.retain(|(provider, subject)| (*provider, subject.as_str()) != found);
            if expected.len() == before {
                return Err(format!(
                    "{what}: an identity of somebody else, or one that was unlinked: {found:?}"
                ));
            }
        }
        if !expected.is_empty() {
            return Err(format!("{what}: lost identities: {expected:?}"));
        }
        match &self.name {
            Some(name) if user["name"] != name.as_str() => {
                Err(format!("{what}: lost the name {name:?}: {}", user["name"]))
            }
            _ => Ok(()),
        }
    }

    fn check_account(&self, account: &Value, what: &str) -> Result<(), Wrong> {
        self.check_profile(account, what)?;
        let expected = json!(self.metadata);
        if account["metadata"] == expected {
            Ok(())
        } else {
            Err(format!(
                "{what}: a lost update: expected {expected}, got {}",
                account["metadata"]
            ))
        }
    }

    /// Opens a session and returns the index of its device.
    async fn sign_in(&mut self, api: &Api<'_>, dice: &mut Dice) -> Result<usize, Wrong> {
        let by_acme = self.is_linked && dice.percent(40);
        let now = api.now();
        let (token, token_type, issuer) = if by_acme {
            (self.id_token(api), ID_TOKEN, "acme")
        } else {
            (self.github_token(api)?, ACCESS_TOKEN, "github")
        };
        let answer = api
            .form(
                "token-exchange",
                "exchange: POST /token",
                &[
                    ("grant_type", TOKEN_EXCHANGE),
                    ("subject_token", &token),
                    ("subject_token_type", token_type),
                    ("subject_issuer", issuer),
                ],
            )
            .await?;
        expect(&answer, 200, "a sign-in")?;
        let is_new = answer.body["is_new_user"] == true;
        let id = answer.text("/user/id").to_owned();
        if is_new != self.user.is_none() {
            return Err(format!(
                "a sign-in: is_new_user is {is_new}, for the known user {:?}: {id}",
                self.user
            ));
        }
        if self.former.contains(&id) {
            return Err(format!("a sign-in as a deleted user: {id}"));
        }
        self.user.get_or_insert(id);
        self.check_profile(&answer.body["user"], "a sign-in")?;
        let device = Device::of(&answer, now, api)?;
        if self.knows(&device.session) {
            return Err(format!("two sign-ins, one session {}", device.session));
        }
        self.devices.push(device);
        Ok(self.devices.len() - 1)
    }

    fn github_token(&self, api: &Api<'_>) -> Result<String, Wrong> {
        let scopes = "read:user,user:email";
        let token = api
            .cloud
            .github
            .issue_token(GITHUB_APP.0, &self.login, scopes);
        token.ok_or_else(|| "the stand-in GitHub has no such account".to_owned())
    }

    fn id_token(&self, api: &Api<'_>) -> String {
        let mut claims = api.cloud.oidc.claims(&self.login, api.now());
        claims["jti"] = api.serial().to_string().into();
        claims["email"] = format!("{}@example.com", self.login).into();
        api.cloud.oidc_key.sign(&claims)
    }

    /// Returns a device with a sign-in of the last minutes.
    async fn recent(
        &mut self,
        api: &Api<'_>,
        device: usize,
        dice: &mut Dice,
    ) -> Result<usize, Wrong> {
        let is_recent = |device: &Device| device.signed_in_at + RECENT > api.now();
        let device = match self.devices.iter().position(is_recent) {
            Some(recent) => recent,
            None => {
                // The person signs in again on the device, which forgets its session.
                self.forget(device)?;
                self.sign_in(api, dice).await?
            }
        };
        self.keep_fresh(api, device).await?;
        Ok(device)
    }

    /// Refreshes if the access token is about to expire.
    async fn keep_fresh(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        if self.devices[device].access_until > api.now() + AHEAD {
            return Ok(());
        }
        self.renew(api, device).await
    }

    async fn renew(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        let answer = api.refresh(&self.devices[device].refresh_token).await?;
        self.take(api, device, &answer)
    }

    /// Takes the new tokens of a refresh.
    fn take(&mut self, api: &Api<'_>, device: usize, answer: &Answer) -> Result<(), Wrong> {
        expect(answer, 200, "logged out without cause: a refresh")?;
        self.check_profile(&answer.body["user"], "a refresh")?;
        let old = &self.devices[device];
        let new = Device::of(answer, old.signed_in_at, api)?;
        if new.session != old.session {
            return Err(format!(
                "a refresh of session {} gave a token of {}",
                old.session, new.session
            ));
        }
        if new.refresh_token == old.refresh_token {
            return Err("a refresh returned the refresh token that it was given".to_owned());
        }
        self.devices[device] = new;
        Ok(())
    }

    /// Refreshes, loses the answer, and repeats the request: the grace of the rotation gives the same successor.
    async fn renew_twice(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        let token = self.devices[device].refresh_token.clone();
        let lost = api.refresh(&token).await?;
        expect(&lost, 200, "logged out without cause: a refresh")?;
        tokio::time::sleep(PATIENCE).await;
        let answer = api.refresh(&token).await?;
        self.take(api, device, &answer)?;
        same_successor(&lost, &answer)
    }

    async fn renew_in_parallel(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        let token = self.devices[device].refresh_token.clone();
        let (one, other) = tokio::join!(api.refresh(&token), api.refresh(&token));
        let (one, other) = (one?, other?);
        expect(
            &one,
            200,
            "logged out without cause: one of two parallel refreshes",
        )?;
        self.take(api, device, &other)?;
        same_successor(&one, &other)
    }

    async fn read(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let answer = api
            .authorized("GET /me", "/me", &self.devices[device].access_token, None)
            .await?;
        expect(&answer, 200, "a good access token")?;
        self.check_account(&answer.body, "GET /me")
    }

    async fn edit(&mut self, api: &Api<'_>, device: usize, dice: &mut Dice) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let serial = api.serial();
        let patch = if dice.percent(30) {
            let name = format!("{} {serial}", self.login);
            self.name = Some(name.clone());
            json!({ "name": name })
        } else {
            let member = format!("m{}", dice.below(4));
            self.metadata.insert(member.clone(), serial);
            json!({ "metadata": { member: serial } })
        };
        let token = &self.devices[device].access_token;
        let answer = api
            .authorized("PATCH /me", "/me", token, Some(&patch))
            .await?;
        expect(&answer, 200, "an edit")?;
        self.check_account(&answer.body, "PATCH /me")
    }

    /// Two edits of two members at once, as by two tabs: neither is lost.
    async fn edit_in_parallel(
        &mut self,
        api: &Api<'_>,
        device: usize,
        dice: &mut Dice,
    ) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let other = dice.below(self.devices.len());
        self.keep_fresh(api, other).await?;
        let [one_value, other_value] = [api.serial(), api.serial()];
        let patch = |member: &str, value: u64| json!({ "metadata": { member: value } });
        let (one, two) = (patch("p0", one_value), patch("p1", other_value));
        let tokens = [device, other].map(|device| self.devices[device].access_token.as_str());
        let (one, two) = tokio::join!(
            api.authorized("PATCH /me", "/me", tokens[0], Some(&one)),
            api.authorized("PATCH /me", "/me", tokens[1], Some(&two)),
        );
        expect(&one?, 200, "one of two parallel edits")?;
        expect(&two?, 200, "one of two parallel edits")?;
        self.metadata
            .extend([("p0".to_owned(), one_value), ("p1".to_owned(), other_value)]);
        self.read(api, device).await
    }

    async fn list_sessions(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let caller = self.devices[device].clone();
        let answer = api
            .authorized(
                "GET /me/sessions",
                "/me/sessions",
                &caller.access_token,
                None,
            )
            .await?;
        expect(&answer, 200, "the list of sessions")?;
        let sessions = answer.body["sessions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ids = |is_wanted: fn(&Value) -> bool| -> Vec<&str> {
            let wanted = sessions.iter().filter(|session| is_wanted(session));
            wanted
                .filter_map(|session| session["id"].as_str())
                .collect()
        };
        let current = ids(|session| session["current"] == true);
        if current != [caller.session.as_str()] {
            return Err(format!(
                "the list of sessions: expected current {}, got {current:?}",
                caller.session
            ));
        }
        let mut unknown = ids(|_| true);
        for device in &self.devices {
            if !unknown.contains(&device.session.as_str()) {
                return Err(format!("the list of sessions lacks {}", device.session));
            }
        }
        unknown.retain(|session| !self.knows(session));
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "the list contains sessions that ended, or of others: {unknown:?}"
            ))
        }
    }

    /// Returns whether the session was opened and did not end.
    fn knows(&self, session: &str) -> bool {
        self.devices.iter().any(|device| device.session == session)
            || self
                .forgotten
                .iter()
                .any(|(forgotten, _)| forgotten == session)
    }

    async fn authorize(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let headers =
            json!({ "authorization": format!("Bearer {}", self.devices[device].access_token) });
        let answer = api
            .send(
                "authorizer",
                "authorizer",
                &event("GET", "/orders", &headers, None),
            )
            .await?;
        if answer.body["isAuthorized"] != true {
            return Err("the authorizer refused a good access token".to_owned());
        }
        self.check_user(answer.text("/context/sub"), "the authorizer")
    }

    async fn introspect(
        &mut self,
        api: &Api<'_>,
        device: usize,
        dice: &mut Dice,
    ) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let device = &self.devices[device];
        let token = if dice.percent(50) {
            &device.access_token
        } else {
            &device.refresh_token
        };
        let answer = api
            .form("introspect", "POST /introspect", &[("token", token)])
            .await?;
        expect(&answer, 200, "an introspection")?;
        if answer.body["active"] != true || answer.text("/sid") != device.session {
            return Err(format!(
                "a good token of session {} is {}",
                device.session, answer.body
            ));
        }
        self.check_user(answer.text("/sub"), "an introspection")
    }

    /// The key of an access token is published while the token is valid.
    async fn read_keys(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let headers = json!({});
        let route = "GET /.well-known/jwks.json";
        let answer = api
            .send(
                "discovery",
                route,
                &event("GET", "/.well-known/jwks.json", &headers, None),
            )
            .await?;
        expect(&answer, 200, "the keys")?;
        let kid = part(&self.devices[device].access_token, 0)["kid"].clone();
        let keys = answer.body["keys"].as_array().cloned().unwrap_or_default();
        if keys.iter().any(|key| key["kid"] == kid) {
            Ok(())
        } else {
            Err(format!("the key {kid} of a good token is not published"))
        }
    }

    async fn list_identities(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let answer = api
            .authorized(
                "GET /me/identities",
                "/me/identities",
                &self.devices[device].access_token,
                None,
            )
            .await?;
        expect(&answer, 200, "the list of identities")?;
        let id = self.user.clone().unwrap_or_default();
        self.check_listed(&answer, &id)
    }

    fn check_listed(&self, answer: &Answer, id: &str) -> Result<(), Wrong> {
        let user = json!({ "id": id, "identities": answer.body["identities"], "name": self.name });
        self.check_profile(&user, "the list of identities")
    }

    async fn link(&mut self, api: &Api<'_>, device: usize, dice: &mut Dice) -> Result<(), Wrong> {
        let now = api.now();
        self.link_attempts.retain(|at| at + 660 > now);
        if self.link_attempts.len() >= LINKS {
            return self.read(api, device).await;
        }
        let device = self.recent(api, device, dice).await?;
        self.link_attempts.push(api.now());
        let body = json!({ "subject_token": self.id_token(api), "subject_token_type": ID_TOKEN, "subject_issuer": "acme" });
        let token = self.devices[device].access_token.clone();
        let answer = api
            .authorized("POST /me/identities", "/me/identities", &token, Some(&body))
            .await?;
        if answer.status == 429 && answer.is_repeated {
            // The repetitions of a request that failed count as well. Whether one linked, the list says.
            let listed = api
                .authorized("GET /me/identities", "/me/identities", &token, None)
                .await?;
            let listed = listed.body["identities"].as_array().map_or(0, Vec::len);
            self.is_linked = listed == 2;
            return self.list_identities(api, device).await;
        }
        expect(&answer, 200, "linking")?;
        self.is_linked = true;
        let id = self.user.clone().unwrap_or_default();
        self.check_listed(&answer, &id)
    }

    async fn unlink(&mut self, api: &Api<'_>, device: usize, dice: &mut Dice) -> Result<(), Wrong> {
        let device = self.recent(api, device, dice).await?;
        let token = self.devices[device].access_token.clone();
        let answer = api
            .authorized(
                "DELETE /me/identities/{provider}",
                "/me/identities/acme",
                &token,
                None,
            )
            .await?;
        expect(&answer, 204, "unlinking")?;
        self.is_linked = false;
        self.read(api, device).await
    }

    async fn sign_out(
        &mut self,
        api: &Api<'_>,
        device: usize,
        dice: &mut Dice,
    ) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        if dice.percent(33) {
            let token = &self.devices[device].refresh_token;
            let answer = api
                .form("revoke", "POST /revoke", &[("token", token)])
                .await?;
            expect(&answer, 200, "a revocation")?;
        } else {
            // By the session itself, or by another one.
            let caller = dice.below(self.devices.len());
            self.keep_fresh(api, caller).await?;
            let path = format!("/me/sessions/{}", self.devices[device].session);
            let token = &self.devices[caller].access_token;
            let answer = api
                .authorized("DELETE /me/sessions/{session_id}", &path, token, None)
                .await?;
            expect(&answer, 204, "a sign-out")?;
        }
        let ended = self.devices.remove(device);
        self.check_over(api, &ended, "a session that was signed out")
            .await
    }

    fn forget(&mut self, device: usize) -> Result<(), Wrong> {
        let lost = self.devices.remove(device);
        self.forgotten.push((lost.session, lost.until));
        Ok(())
    }

    async fn sign_out_everywhere(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let token = self.devices[device].access_token.clone();
        let answer = api
            .authorized("DELETE /me/sessions", "/me/sessions", &token, None)
            .await?;
        expect(&answer, 204, "signing out everywhere")?;
        self.forgotten.clear();
        for ended in std::mem::take(&mut self.devices) {
            self.check_over(api, &ended, "a session that was signed out with all")
                .await?;
        }
        Ok(())
    }

    async fn sign_out_elsewhere(&mut self, api: &Api<'_>, device: usize) -> Result<(), Wrong> {
        self.keep_fresh(api, device).await?;
        let token = self.devices[device].access_token.clone();
        let path = "/me/sessions?except=current";
        let answer = api
            .authorized("DELETE /me/sessions?except=current", path, &token, None)
            .await?;
        expect(&answer, 204, "signing out elsewhere")?;
        self.forgotten.clear();
        let kept = self.devices.remove(device);
        for ended in std::mem::replace(&mut self.devices, vec![kept]) {
            self.check_over(api, &ended, "a session that was signed out from elsewhere")
                .await?;
        }
        self.renew(api, 0).await
    }

    async fn delete(&mut self, api: &Api<'_>, device: usize, dice: &mut Dice) -> Result<(), Wrong> {
        let device = self.recent(api, device, dice).await?;
        let token = self.devices[device].access_token.clone();
        let answer = api.authorized("DELETE /me", "/me", &token, None).await?;
        expect(&answer, 204, "a deletion")?;
        self.former.extend(self.user.take());
        (self.is_linked, self.name) = (false, None);
        self.metadata.clear();
        self.forgotten.clear();
        for ended in std::mem::take(&mut self.devices) {
            self.check_over(api, &ended, "a session of a deleted user")
                .await?;
        }
        Ok(())
    }

    /// At the end of the run, without faults: each session goes on, and the account is as it was left.
    pub(crate) async fn settle(&mut self, api: &Api<'_>) -> Result<(), Wrong> {
        self.drop_expired(api).await?;
        for device in 0..self.devices.len() {
            self.renew(api, device).await?;
            self.read(api, device).await?;
        }
        if self.devices.is_empty() {
            Ok(())
        } else {
            self.list_sessions(api, 0).await
        }
    }
}

impl Device {
    /// Returns the session of an answer with tokens.
    fn of(answer: &Answer, signed_in_at: u64, api: &Api<'_>) -> Result<Self, Wrong> {
        let now = api.now();
        let seconds = |member: &str| answer.body[member].as_u64().unwrap_or_default();
        let access_token = answer.text("/access_token").to_owned();
        api.report
            .signed_with(part(&access_token, 0)["kid"].as_str().unwrap_or_default());
        let claims = part(&access_token, 1);
        if claims["sub"] != answer.body["user"]["id"] {
            return Err(format!(
                "an access token of {} in an answer for {}",
                claims["sub"], answer.body["user"]["id"]
            ));
        }
        Ok(Self {
            refresh_token: answer.text("/refresh_token").to_owned(),
            access_until: now + seconds("expires_in"),
            session: claims["sid"].as_str().unwrap_or_default().to_owned(),
            until: now + seconds("refresh_token_expires_in"),
            signed_in_at,
            access_token,
        })
    }
}

fn same_successor(one: &Answer, other: &Answer) -> Result<(), Wrong> {
    if one.text("/refresh_token") == other.text("/refresh_token") {
        Ok(())
    } else {
        Err("two refreshes with one token gave two successors".to_owned())
    }
}
