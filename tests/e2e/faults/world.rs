//! A service with everything that a case needs, and the requests of all cases.

use ::admin::{Admin, AdminError};
use ::authorizer::Authorizer;
use reqwest::{RequestBuilder, StatusCode};
use rotate_keys::{Order, Report, RotateKeys, RotateKeysError, When};
use serde_json::{Value, json};
use shared::{config::Environment, dynamodb::StoreError};
use tests::{
    Answer, CLIENT, ISSUER, Service, TOKEN_EXCHANGE,
    oidc::{Issuer, Key},
    opaque::{self, Opaque},
};
use tokio::task::JoinSet;

use crate::{
    admin::{admin_of, run_to_its_end},
    authorizer::authorizer_of,
    migrate::{NAME_INTO_PROFILE, age},
    rotation::{self, Bucket},
    stored::{Input, file_of},
};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const DAY: i64 = 24 * 60 * 60;
/// The functions read a set of keys again after 300 s. This time is longer by [`BACKWARDS`] at least.
const KEYS_ARE_OLD: i64 = 310;

/// More seconds than a trial takes. All trials of a call together take the clock back by less than [`KEYS_ARE_OLD`].
const BACKWARDS: i64 = 4;
/// For how many seconds a limit holds.
const MINUTE: i64 = 60;
/// The order of a sign-out of all users.
const ORDER: &str = "2026-11-28T03:56:00Z";
/// The tables of the functions.
const TABLES: [&str; 2] = [local::dynamodb::TABLE, local::dynamodb::KEYS_TABLE];

/// The items of both tables.
pub(super) type Snapshot = [Vec<Value>; 2];

/// A request and the state before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    FirstSignIn,
    SignInWithLimit,
    Returning,
    RepeatedSignIn,
    OpenIdSignIn,
    VouchedSignIn,
    DisabledUserSignIn,
    Refresh,
    RefreshWithLimit,
    RefreshWithOldKeys,
    RepeatedRefresh,
    RefreshOfUsedToken,
    RefreshOfEndedSession,
    Revoke,
    RevokeAccessToken,
    IntrospectAccessToken,
    IntrospectRefreshToken,
    IntrospectUsedRefreshToken,
    IntrospectByAssertion,
    IntrospectEndedAccessToken,
    IntrospectEndedRefreshToken,
    Me,
    MeWithOldKeys,
    MeOfEndedSession,
    EditMe,
    DeleteMe,
    ListSessions,
    EndSession,
    EndSessions,
    EndOtherSessions,
    ListIdentities,
    Link,
    LinkOfAnotherUsersAccount,
    Unlink,
    Authorize,
    AuthorizeLive,
    AuthorizeLiveEndedSession,
    Documents,
    FirstKeys,
    KeysWithNothingToDo,
    RotateNow,
    RevokeKey,
    LostKey,
    RetiredKey,
    RevokeKeyInFiles,
    AdminList,
    AdminFind,
    AdminShow,
    AdminRoles,
    AdminClaims,
    AdminDisable,
    AdminEnable,
    AdminDelete,
    AdminSignOutAll,
    AdminImport,
    AdminMigrate,
}

use Case::*;

impl Case {
    /// All cases, each with the number of its calls to DynamoDB.
    pub(super) const ALL: [(Self, usize); 56] = [
        (FirstSignIn, 2),
        (SignInWithLimit, 3),
        (Returning, 5),
        (RepeatedSignIn, 6),
        (OpenIdSignIn, 2),
        (VouchedSignIn, 3),
        (DisabledUserSignIn, 4),
        (Refresh, 2),
        (RefreshWithLimit, 3),
        (RefreshWithOldKeys, 3),
        (RepeatedRefresh, 2),
        (RefreshOfUsedToken, 3),
        (RefreshOfEndedSession, 2),
        (Revoke, 1),
        (RevokeAccessToken, 1),
        (IntrospectAccessToken, 1),
        (IntrospectRefreshToken, 2),
        (IntrospectUsedRefreshToken, 2),
        (IntrospectByAssertion, 2),
        (IntrospectEndedAccessToken, 1),
        (IntrospectEndedRefreshToken, 1),
        (Me, 1),
        (MeWithOldKeys, 2),
        (MeOfEndedSession, 1),
        (EditMe, 2),
        (DeleteMe, 4),
        (ListSessions, 2),
        (EndSession, 1),
        (EndSessions, 2),
        (EndOtherSessions, 2),
        (ListIdentities, 1),
        (Link, 3),
        (LinkOfAnotherUsersAccount, 3),
        (Unlink, 2),
        (Authorize, 1),
        (AuthorizeLive, 2),
        (AuthorizeLiveEndedSession, 1),
        (Documents, 1),
        (FirstKeys, 2),
        (KeysWithNothingToDo, 3),
        (RotateNow, 4),
        (RevokeKey, 4),
        (LostKey, 4),
        (RetiredKey, 4),
        (RevokeKeyInFiles, 12),
        (AdminList, 1),
        (AdminFind, 1),
        (AdminShow, 2),
        (AdminRoles, 2),
        (AdminClaims, 2),
        (AdminDisable, 1),
        (AdminEnable, 1),
        (AdminDelete, 4),
        (AdminSignOutAll, 2),
        (AdminImport, 2),
        (AdminMigrate, 6),
    ];

    fn starts_signed_in(self) -> bool {
        !matches!(
            self,
            FirstSignIn | SignInWithLimit | OpenIdSignIn | VouchedSignIn
        )
    }

    fn rotates_keys(self) -> bool {
        let cases = [
            FirstKeys,
            KeysWithNothingToDo,
            RotateNow,
            RevokeKey,
            LostKey,
            RetiredKey,
            RevokeKeyInFiles,
        ];
        cases.contains(&self)
    }

    fn reads_old_keys(self) -> bool {
        let cases = [
            RefreshWithOldKeys,
            MeWithOldKeys,
            Authorize,
            AuthorizeLive,
            Documents,
        ];
        cases.contains(&self)
    }

    /// Returns whether the first call counts the request for the limit of the client.
    pub(super) fn is_counted(self) -> bool {
        matches!(self, SignInWithLimit | RefreshWithLimit)
    }

    /// The longest time for an answer, in seconds: the time limit of the function, or that of the routes.
    pub(super) fn limit(self) -> u64 {
        match self {
            case if case.rotates_keys() => 60,
            // A command has no time limit; the SDK's limit for each call bounds it.
            AdminDelete | AdminSignOutAll | AdminImport | AdminMigrate => 30,
            _ => 8,
        }
    }
}

/// The answer or outcome of a request.
#[derive(Debug)]
pub(super) enum Said {
    Http(Answer),
    Authorizer(Option<Value>),
    Keys(Result<Report, RotateKeysError>),
    Admin(String, Result<(), AdminError>),
}

impl Said {
    /// Returns whether it says that DynamoDB is unavailable, in the words of the interface.
    pub(super) fn is_unavailable(&self) -> bool {
        match self {
            Self::Http(answer) => {
                let code = [answer.text("/error"), answer.text("/type")].concat();
                answer.status == StatusCode::SERVICE_UNAVAILABLE
                    && !answer.header("retry-after").is_empty()
                    && code.ends_with("temporarily_unavailable")
            }
            Self::Authorizer(answer) => answer.is_none(),
            Self::Keys(run) => matches!(
                run,
                Err(RotateKeysError::Store(
                    StoreError::Unavailable(_) | StoreError::Conflict(_) | StoreError::Refused(_)
                ))
            ),
            Self::Admin(_, done) => matches!(
                done,
                Err(AdminError::Store(_)
                    | AdminError::SignOutStopped { .. }
                    | AdminError::ImportStopped { .. }
                    | AdminError::MigrationStopped { .. })
            ),
        }
    }
}

/// A service, a user, and what the case needs of both.
pub(super) struct World {
    pub(super) case: Case,
    pub(super) service: Service,
    _others: Opaque,
    issuer: Issuer,
    key: Key,
    id: String,
    access_token: String,
    refresh_token: String,
    session: String,
    github_token: String,
    subject_token: String,
    authorizer: Option<Authorizer>,
    admin: Admin,
    rotate_keys: RotateKeys,
    order: Order,
    files: Option<(Bucket, JoinSet<()>)>,
    import: Input,
    began: u64,
}

impl World {
    /// Starts a service and makes the state before the request of `case`.
    pub(super) async fn start(case: Case) -> Self {
        let key = Key::new("one");
        let issuer = Issuer::start(&key).await;
        let others = Opaque::start().await;
        let mut clients: Value = serde_json::from_str(&tests::clients(&[CLIENT])).unwrap();
        clients[0]["jwks"] = json!({ "keys": [key.jwk] });
        clients[0]["vouches"] = json!({ "keys": [key.jwk] });
        let (oauth, oidc) = (others.settings(), issuer.settings());
        let clients = clients.to_string();
        let mut settings = vec![
            ("OAUTH_PROVIDERS", oauth.as_str()),
            ("OIDC_PROVIDERS", &oidc),
            ("CLIENTS", &clients),
        ];
        if case.is_counted() {
            settings.extend(tests::RATE_LIMITS);
        }
        let service = Service::start_with(&settings).await;
        let env = Environment::of(service.variables.clone());
        let mut world = Self {
            case,
            admin: admin_of(&service).with_variables(service.variables.clone()),
            import: file_of(r#"{"identities":["github:101"]}"#),
            began: service.time.now(),
            rotate_keys: RotateKeys::new(&env, service.time.clock()).unwrap(),
            github_token: service.github_token("octocat"),
            service,
            _others: others,
            issuer,
            key,
            id: String::new(),
            access_token: String::new(),
            refresh_token: String::new(),
            session: String::new(),
            subject_token: String::new(),
            authorizer: None,
            order: Order::default(),
            files: None,
        };
        if case.starts_signed_in() {
            world.sign_in().await;
        }
        world.prepare().await;
        world.service.dynamodb.settled().await;
        world.service.dynamodb.clear();
        world
    }

    async fn sign_in(&mut self) {
        let answer = self.service.exchange(&self.github_token).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        self.id = answer.text("/user/id").to_owned();
        self.access_token = answer.text("/access_token").to_owned();
        self.refresh_token = answer.text("/refresh_token").to_owned();
        let sid = self.service.verify(&self.access_token).await.sid;
        self.session = format!("/me/sessions/{sid}");
    }

    fn id_token(&self) -> String {
        let now = self.service.time.now();
        self.key.sign(&self.issuer.claims("ada", now))
    }

    fn vouched(&self) -> String {
        let now = self.service.time.now();
        let claims = json!({
            "iss": CLIENT.0, "sub": "user-17", "aud": ISSUER, "iat": now, "exp": now + 60, "auth_time": now,
            "jti": "one", "name": "Ada Lovelace",
        });
        let header = json!({ "alg": "ES256", "kid": self.key.kid, "typ": "vouch+jwt" });
        self.key.sign_with_header(&header, &claims)
    }

    fn assertion(&self) -> String {
        let now = self.service.time.now();
        self.key.sign(&json!({
            "iss": CLIENT.0, "sub": CLIENT.0, "aud": ISSUER, "exp": now + 60,
            "jti": uuid::Uuid::new_v4().to_string(),
        }))
    }

    async fn prepare(&mut self) {
        let service = &self.service;
        match self.case {
            Returning => self.github_token = service.github_token("octocat"),
            OpenIdSignIn => {
                self.subject_token = self.id_token();
                // The keys of the issuer are known, so that only DynamoDB fails.
                let answer = self
                    .exchange_jwt(ID_TOKEN, &self.key.sign(&json!({})))
                    .await;
                assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            }
            VouchedSignIn => self.subject_token = self.vouched(),
            DisabledUserSignIn => {
                self.operate(&["disable", &self.id]).await.1.unwrap();
                self.github_token = self.service.github_token("octocat");
            }
            RefreshWithOldKeys | MeWithOldKeys | Authorize | Documents => {
                self.authorizer = Some(self.make_authorizer("false").await);
                self.service.time.pass(KEYS_ARE_OLD);
            }
            AuthorizeLive => {
                self.authorizer = Some(self.make_authorizer("true").await);
                self.service.time.pass(KEYS_ARE_OLD);
            }
            AuthorizeLiveEndedSession => {
                self.authorizer = Some(self.make_authorizer("true").await);
                self.end_session().await;
            }
            RepeatedRefresh | IntrospectUsedRefreshToken => self.refresh_times(1).await,
            RefreshOfUsedToken => self.refresh_times(2).await,
            RefreshOfEndedSession
            | IntrospectEndedAccessToken
            | IntrospectEndedRefreshToken
            | MeOfEndedSession => self.end_session().await,
            EndOtherSessions => {
                service.sign_in("octocat").await;
            }
            ListSessions => {
                service.sign_in("octocat").await;
                let ended = service.refresh_token("octocat").await;
                assert_eq!(service.revoke(&ended).await.status, StatusCode::OK);
            }
            Link => self.subject_token = discord_token(),
            LinkOfAnotherUsersAccount => {
                self.subject_token = discord_token();
                let answer = service.exchange_from("discord", &self.subject_token).await;
                assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
            }
            Unlink => {
                let token = discord_token();
                let linked = service.link(&self.access_token, "discord", &token).await;
                assert_eq!(linked.status, StatusCode::OK, "{:?}", linked.body);
            }
            AdminList => {
                service.sign_in("hubot").await;
                service.sign_in("member").await;
            }
            AdminEnable => self.operate(&["disable", &self.id]).await.1.unwrap(),
            AdminMigrate => {
                age(service, "Earlier Name");
                let env = Environment::of(service.variables.clone());
                let admin = admin_of(service).with_migrations(NAME_INTO_PROFILE);
                self.admin = admin.with_keys_table(service.table(local::dynamodb::KEYS_TABLE), env);
            }
            case if case.rotates_keys() => self.prepare_keys().await,
            _ => {}
        }
    }

    async fn prepare_keys(&mut self) {
        let now = Order {
            rotate: When::Now,
            revoke: None,
        };
        let service = &self.service;
        let current = async || {
            let set = service.key_store().find_set().await.unwrap().unwrap();
            set.current(service.time.now()).unwrap().kid.clone()
        };
        match self.case {
            FirstKeys => rotation::forget_all_keys(service),
            RotateNow => {
                service.time.pass(DAY);
                self.order = now;
            }
            RevokeKey => self.order.revoke = Some(current().await),
            LostKey => {
                let lost = json!({ "pk": { "S": format!("KEY#{}", current().await) } });
                service.delete_key(&lost);
            }
            RetiredKey => {
                service.time.pass(DAY);
                self.rotate_keys.run(&now).await.unwrap();
                service.time.pass(2 * DAY);
            }
            RevokeKeyInFiles => {
                let (rotate_keys, bucket, running) = rotation::with_files(service).await;
                rotate_keys.run(&Order::default()).await.unwrap();
                self.order.revoke = Some(current().await);
                self.rotate_keys = rotate_keys;
                self.files = Some((bucket, running));
            }
            _ => {}
        }
    }

    async fn make_authorizer(&self, live: &str) -> Authorizer {
        authorizer_of(&self.service, &[("LIVE", live)]).await
    }

    async fn refresh_times(&self, times: usize) {
        let mut token = self.refresh_token.clone();
        for _ in 0..times {
            let answer = self.service.refresh(&token).await;
            assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
            token = answer.text("/refresh_token").to_owned();
        }
    }

    async fn end_session(&self) {
        let path = &self.session;
        let ended = self.service.delete_as_user(&self.access_token, path).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT, "{:?}", ended.body);
    }

    async fn exchange_jwt(&self, kind: &str, token: &str) -> Answer {
        let parameters = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", kind),
        ];
        self.service.token(&parameters).await
    }

    fn introspection(&self, token: &str) -> RequestBuilder {
        let request = self.service.request("POST", "/introspect");
        let request = request.basic_auth(CLIENT.0, Some(CLIENT.1));
        request.form(&[("token", token)])
    }

    /// Runs `cambio-admin users …`.
    async fn operate(&self, arguments: &[&str]) -> (String, Result<(), AdminError>) {
        let arguments = [&["--json", "users"], arguments].concat();
        run_to_its_end(&self.admin, &arguments).await
    }

    async fn authorize(&self) -> Option<Value> {
        let mut event: Value = serde_json::from_str(crate::authorizer::EVENT).unwrap();
        event["headers"]["authorization"] = format!("Bearer {}", self.access_token).into();
        let authorizer = self.authorizer.as_ref().unwrap();
        let response = authorizer.authorize(&event).await.ok()?;
        Some(serde_json::to_value(response).unwrap())
    }

    /// Returns the items of both tables.
    pub(super) fn snapshot(&self) -> Snapshot {
        TABLES.map(|table| self.service.scan(table))
    }

    /// Makes the state before the request again.
    pub(super) fn restore(&self, before: &Snapshot) {
        for ((table, now), before) in TABLES.iter().zip(self.snapshot()).zip(before) {
            for item in now.iter().filter(|item| !before.contains(item)) {
                match *table {
                    local::dynamodb::TABLE => self.service.delete(item),
                    _ => self.service.delete_key(item),
                }
            }
            for item in before.iter().filter(|item| !now.contains(item)) {
                self.service.put(table, item);
            }
        }
        if self.case.reads_old_keys() {
            // A clock that goes backwards makes the keys old again.
            self.service.time.pass(-BACKWARDS);
        }
        if self.case.is_counted() {
            // In another minute, the functions have counted nothing. The clock does not go back behind the start, which
            // would make the keys old.
            let is_later = self.service.time.now() >= self.began.saturating_add_signed(MINUTE);
            self.service
                .time
                .pass(if is_later { -MINUTE } else { MINUTE });
        }
        self.service.dynamodb.clear();
    }

    /// Makes the request of the case.
    pub(super) async fn request(&self) -> Said {
        let (service, token, refresh) = (&self.service, &self.access_token, &self.refresh_token);
        let delete = async |path: &str| service.delete_as_user(token, path).await;
        let get = async |path: &str| service.send(service.as_user(token, "GET", path)).await;
        let ask = async |token: &str| service.send(self.introspection(token)).await;
        Said::Http(match self.case {
            FirstSignIn | SignInWithLimit | Returning | RepeatedSignIn | DisabledUserSignIn => {
                service.exchange(&self.github_token).await
            }
            OpenIdSignIn => self.exchange_jwt(ID_TOKEN, &self.subject_token).await,
            VouchedSignIn => self.exchange_jwt(JWT, &self.subject_token).await,
            Refresh
            | RefreshWithLimit
            | RefreshWithOldKeys
            | RepeatedRefresh
            | RefreshOfUsedToken
            | RefreshOfEndedSession => service.refresh(refresh).await,
            Revoke => service.revoke(refresh).await,
            RevokeAccessToken => service.revoke(token).await,
            IntrospectAccessToken | IntrospectEndedAccessToken => ask(token).await,
            IntrospectRefreshToken | IntrospectUsedRefreshToken | IntrospectEndedRefreshToken => {
                ask(refresh).await
            }
            IntrospectByAssertion => {
                let assertion = self.assertion();
                let form = [
                    ("client_assertion_type", ASSERTION_TYPE),
                    ("client_assertion", assertion.as_str()),
                    ("token", token.as_str()),
                ];
                let request = service.request("POST", "/introspect").form(&form);
                service.send(request).await
            }
            Me | MeWithOldKeys | MeOfEndedSession => service.me(token).await,
            EditMe => service.patch_me(token, &json!({ "name": "Mona" })).await,
            DeleteMe => delete("/me").await,
            ListSessions => get("/me/sessions").await,
            EndSession => delete(&self.session).await,
            EndSessions => delete("/me/sessions").await,
            EndOtherSessions => delete("/me/sessions?except=current").await,
            ListIdentities => get("/me/identities").await,
            Link | LinkOfAnotherUsersAccount => {
                service.link(token, "discord", &self.subject_token).await
            }
            Unlink => delete("/me/identities/discord").await,
            Documents => {
                let path = "/.well-known/jwks.json";
                service.send(service.request("GET", path)).await
            }
            Authorize | AuthorizeLive | AuthorizeLiveEndedSession => {
                return Said::Authorizer(self.authorize().await);
            }
            FirstKeys | KeysWithNothingToDo | RotateNow | RevokeKey | LostKey | RetiredKey
            | RevokeKeyInFiles => return Said::Keys(self.rotate_keys.run(&self.order).await),
            AdminList | AdminFind | AdminShow | AdminRoles | AdminClaims | AdminDisable
            | AdminEnable | AdminDelete | AdminSignOutAll | AdminImport => {
                let (shown, done) = self.operate(&self.command()).await;
                return Said::Admin(shown, done);
            }
            AdminMigrate => {
                let arguments = ["migrate", "--json", "--rate", "1000"];
                let (shown, done) = run_to_its_end(&self.admin, &arguments).await;
                return Said::Admin(shown, done);
            }
        })
    }

    fn command(&self) -> Vec<&str> {
        let id = self.id.as_str();
        match self.case {
            AdminList => vec!["list"],
            AdminFind => vec!["find", "OctoCat"],
            AdminRoles => vec!["roles", id, "--add", "support"],
            AdminClaims => vec!["claims", id, "--set", "plan=pro"],
            AdminDisable => vec!["disable", id],
            AdminEnable => vec!["enable", id],
            AdminDelete => vec!["delete", id, "--yes"],
            AdminSignOutAll => vec!["sign-out", "--all", "--yes", "--order", ORDER],
            AdminImport => vec!["import", self.import.path()],
            _ => vec!["show", id],
        }
    }

    /// Returns whether the request got the one right answer.
    pub(super) fn is_right(&self, said: &Said) -> bool {
        match said {
            Said::Http(answer) => self.is_right_answer(answer),
            Said::Authorizer(answer) => {
                let expected = self.case != AuthorizeLiveEndedSession;
                answer
                    .as_ref()
                    .is_some_and(|answer| answer["isAuthorized"] == expected)
            }
            Said::Keys(run) => run.is_ok(),
            Said::Admin(shown, done) => match (self.case, done) {
                (AdminList, Ok(())) => shown.lines().count() == 3,
                // Written by this attempt, or by one before whose answer was lost.
                (AdminSignOutAll, Ok(())) => count_of(shown, &["signed_out", "before"]) == 1,
                (AdminImport, Ok(())) => count_of(shown, &["imported", "before"]) == 1,
                (AdminMigrate, Ok(())) => count_of(shown, &["migrated"]) <= 1,
                (_, Ok(())) => shown.contains(&self.id) && shown.lines().count() == 1,
                // Deleted before, by an attempt whose answer was lost.
                (AdminDelete, Err(AdminError::NoSuchUser(_))) => self.service.items().is_empty(),
                _ => false,
            },
        }
    }

    fn is_right_answer(&self, answer: &Answer) -> bool {
        let is = |status: u16, error: &str| {
            let code = [answer.text("/error"), answer.text("/type")].concat();
            answer.status.as_u16() == status && code.ends_with(error)
        };
        match self.case {
            DisabledUserSignIn => is(400, "access_denied"),
            RefreshOfUsedToken | RefreshOfEndedSession => is(400, "invalid_grant"),
            MeOfEndedSession => is(401, "invalid_token"),
            LinkOfAnotherUsersAccount => is(409, "identity_in_use"),
            IntrospectEndedAccessToken | IntrospectEndedRefreshToken => {
                answer.body == json!({ "active": false })
            }
            IntrospectAccessToken
            | IntrospectRefreshToken
            | IntrospectUsedRefreshToken
            | IntrospectByAssertion => answer.body["active"] == true,
            ListSessions => answer.body["sessions"].as_array().map(Vec::len) == Some(2),
            ListIdentities => answer.body["identities"].as_array().map(Vec::len) == Some(1),
            Documents => answer.body["keys"].as_array().map(Vec::len) == Some(2),
            _ => answer.status.is_success(),
        }
    }

    /// Asserts what must be true whatever the request came to.
    pub(super) async fn check_invariants(&self) {
        self.service.check_invariants();
        if self.case.rotates_keys() {
            let set = self.service.key_store().find_set().await.unwrap();
            // In one transaction, or not at all; the lost key of this case was deleted by hand.
            if self.case != LostKey {
                rotation::check_private_keys(&self.service, &set.unwrap_or_default());
            }
        }
    }

    /// Asserts the state after a request that got the right answer.
    pub(super) async fn check_done(&self) {
        let service = &self.service;
        let (users, sessions) = (service.users(), service.sessions());
        if self.case.is_counted() {
            let minute = format!("LIMIT#{}", service.time.now() / 60);
            let counters = service.items_of("LIMIT#");
            assert!(counters.iter().any(|item| item["sk"]["S"] == minute));
        }
        match self.case {
            DeleteMe | AdminDelete => assert!(service.items().is_empty()),
            // However it went, the token moved on by one.
            Refresh | RefreshWithLimit | RefreshWithOldKeys | RepeatedRefresh => {
                assert_eq!(sessions[0]["generation"]["N"], "1");
            }
            Revoke | RevokeAccessToken | EndSession | RefreshOfUsedToken => {
                assert!(sessions[0]["ended_at"].is_object());
            }
            EndSessions | EndOtherSessions | AdminDisable => {
                // Each repetition of the operator's command counts.
                assert!(users[0]["session_version"]["N"] != "0");
            }
            EditMe => assert_eq!(users[0]["revision"]["N"], "1"),
            Link => assert_eq!(service.items_of("IDENTITY#").len(), 2),
            Unlink => {
                let mut identities = service.items_of("IDENTITY#");
                identities.retain(|item| item["released_by"].is_null());
                assert_eq!(identities.len(), 1);
            }
            AdminRoles => assert_eq!(users[0]["roles"], json!({ "L": [{ "S": "support" }] })),
            AdminClaims => assert!(users[0]["claims"].to_string().contains("pro")),
            AdminEnable => assert_eq!(users[0]["status"]["S"], "active"),
            AdminList => assert_eq!(users.len(), 3),
            // An order is carried out once, however often it is repeated.
            AdminSignOutAll => assert_eq!(users[0]["session_version"]["N"], "1"),
            AdminImport => {
                assert_eq!(users.len(), 2);
                assert_eq!(service.items_of("IDENTITY#").len(), 2);
            }
            AdminMigrate => {
                assert_eq!(users[0]["schema"]["N"], "1");
                assert_eq!(users[0]["profile"]["M"]["name"]["S"], "Earlier Name");
                assert_eq!(users[0]["full_name"], Value::Null);
            }
            LinkOfAnotherUsersAccount => assert_eq!(users.len(), 2),
            LostKey => {
                let set = service.key_store().find_set().await.unwrap().unwrap();
                // The turn of the next key begins after the second in which that of the lost one began.
                let signs = &set.current(service.time.now() + 1).unwrap().kid;
                let private = service.key_store().find_private(signs).await;
                assert!(private.unwrap().is_some());
            }
            case if case.rotates_keys() => {
                rotation::check_keys(service).await;
                if let Some((bucket, _)) = &self.files {
                    assert_eq!(bucket.kids(), rotation::published_kids(service).await);
                }
            }
            _ => assert_eq!(users.len(), 1),
        }
    }

    /// Asserts that the tokens of an answer are good: a refresh continues, and the access token opens `/me`.
    pub(super) async fn check_tokens(&self, said: &Said) {
        let Said::Http(answer) = said else { return };
        if answer.text("/refresh_token").is_empty() {
            return;
        }
        let me = self.service.me(answer.text("/access_token")).await;
        assert_eq!(me.status, StatusCode::OK, "{:?}", me.body);
        let next = self.service.refresh(answer.text("/refresh_token")).await;
        assert_eq!(next.status, StatusCode::OK, "{:?}", next.body);
    }
}

/// Returns the sum of these members of the last line.
fn count_of(shown: &str, members: &[&str]) -> u64 {
    let last: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    let counts = members.iter().map(|&member| last[member].as_u64().unwrap());
    counts.sum()
}

fn discord_token() -> String {
    format!("{}~ada~identify", opaque::APP)
}
