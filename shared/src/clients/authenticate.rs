//! Client authentication by a secret (RFC 6749 §2.3.1) or by a client assertion (RFC 7523 §2.2).

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::{
    assertion::{self, AssertionError, Assertions},
    registered::{self, GrantType, Registered, Registrations},
};
use crate::{
    config::{ConfigError, Environment},
    dynamodb::Use,
    http::{ApiError, ClientError, Form},
    provider::Voucher,
    scope::Scope,
    sessions::Terms,
    stored::Stored,
};

/// The authentication methods, as the metadata names them (RFC 8414 §2).
pub const CLIENT_AUTHENTICATION: [&str; 3] = [
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
];

/// The time limit of the work, which leaves time to mark the assertion as used before and to release it after, within
/// the 8 s of a request.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);
const GIVE_BACK_TIMEOUT: Duration = Duration::from_millis(400);

/// The most client ids in a line of the log.
const MAX_LISTED: usize = 10;

/// The `client_assertion_type` (RFC 7523 §2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The registered clients.
#[derive(Clone, Debug)]
pub struct Clients {
    stored: Stored<Registrations>,
    assertions: Assertions,
}

/// The providers of each registered client, for routes that read the client from an access token.
#[derive(Debug)]
pub struct ClientProviders(Registrations);

impl ClientProviders {
    /// Reads `CLIENTS`.
    ///
    /// # Errors
    /// The variable is missing or wrong.
    pub fn from_env(env: &Environment) -> Result<Self, ConfigError> {
        Ok(Self(registered::clients(env)?))
    }

    /// Checks that the client is still registered and may use `provider`.
    ///
    /// # Errors
    /// [`ApiError::UnauthorizedClient`].
    pub fn check(&self, client_id: &str, provider: &str) -> Result<(), ApiError> {
        self.find(client_id)
            .filter(|client| client.may_use(provider))
            .map(drop)
            .ok_or(ApiError::UnauthorizedClient)
    }

    /// Returns the settings by which the client vouches for its own users, if it does.
    pub fn voucher(&self, client_id: &str) -> Option<&Voucher> {
        self.find(client_id)?.voucher.as_ref()
    }

    fn find(&self, client_id: &str) -> Option<&Registered> {
        find(&self.0, client_id).map(Arc::as_ref)
    }
}

/// An authenticated client, which only [`Clients::authenticate`] can make.
#[derive(Debug)]
pub struct Client<'a> {
    settings: Arc<Registered>,
    /// All clients of the moment of the authentication.
    all: Arc<Registrations>,
    /// The assertion by which the client authenticated, if it used no secret.
    used: Option<(&'a Assertions, Use)>,
}

/// The unverified credentials of a request.
enum Presented {
    Secret(Credentials),
    Assertion {
        assertion: SecretString,
        posted_id: Option<String>,
    },
}

/// A client id and a secret.
struct Credentials {
    client_id: String,
    secret: SecretString,
}

impl Clients {
    /// Reads `CLIENTS`; `assertions` verifies the assertions of clients with keys.
    ///
    /// # Errors
    /// The variable is missing or wrong.
    pub fn from_env(env: &Environment, assertions: Assertions) -> Result<Self, ConfigError> {
        Ok(Self {
            stored: registered::clients(env)?.into(),
            assertions,
        })
    }

    /// Makes the clients of `stored`.
    pub(crate) fn new(stored: Stored<Registrations>, assertions: Assertions) -> Self {
        Self { stored, assertions }
    }

    /// Authenticates the client that sent `form`, by `client_secret_basic`, `client_secret_post` or
    /// `private_key_jwt`.
    ///
    /// An unknown client takes as long as a wrong secret, so that the time does not reveal which ids exist.
    ///
    /// # Errors
    /// [`ApiError::InvalidClient`] or [`ApiError::ClientAssertion`]; [`ApiError::InvalidRequest`] for two methods at
    /// once; or the table of used assertions cannot be used.
    pub async fn authenticate(&self, form: &mut Form) -> Result<Client<'_>, ApiError> {
        let presented = Presented::by(form)?;
        let all = self.stored.get().await?;
        let error = match self.prove(&presented, &all).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        // The client or its secret may be new. Whatever is missing, the same work is done.
        if error.is_of_the_registration()
            && let Some(newer) = self.stored.newer_than(&all).await?
        {
            return self.prove(&presented, &newer).await;
        }
        Err(error)
    }

    async fn prove(
        &self,
        presented: &Presented,
        all: &Arc<Registrations>,
    ) -> Result<Client<'_>, ApiError> {
        let (settings, used) = match presented {
            Presented::Secret(credentials) => (by_secret(credentials, all)?, None),
            Presented::Assertion {
                assertion,
                posted_id,
            } => {
                let assertion = assertion.expose_secret();
                let (settings, used) = self
                    .by_assertion(assertion, posted_id.as_deref(), all)
                    .await?;
                (settings, Some((&self.assertions, used)))
            }
        };
        Ok(Client {
            settings: settings.clone(),
            all: all.clone(),
            used,
        })
    }

    async fn by_assertion<'c>(
        &self,
        assertion: &str,
        posted_id: Option<&str>,
        all: &'c Registrations,
    ) -> Result<(&'c Arc<Registered>, Use), ApiError> {
        let claimed = assertion::inspect(assertion)?;
        // `client_id` is optional, and names the same client if present (RFC 7521 §4.2).
        let client = find(all, &claimed.client_id);
        let settings = client
            .filter(|_| posted_id.is_none_or(|id| id == claimed.client_id))
            .ok_or_else(|| {
                AssertionError::NoKey(match client {
                    None => unknown_client(all),
                    Some(_) => ClientError::OtherClientId,
                })
            })?;
        let used = self.assertions.prove(&claimed, settings).await?;
        Ok((settings, used))
    }
}

fn find<'c>(all: &'c Registrations, client_id: &str) -> Option<&'c Arc<Registered>> {
    all.iter().find(|client| client.client_id == client_id)
}

fn by_secret<'c>(
    presented: &Credentials,
    all: &'c Registrations,
) -> Result<&'c Arc<Registered>, ApiError> {
    let hash = digest(&SHA256, presented.secret.expose_secret().as_bytes());
    let client = find(all, &presented.client_id);
    const NOBODYS: &[[u8; 32]] = &[[0; 32]];
    let accepted = client.map_or(NOBODYS, |client| &client.secret_sha256);
    // Compares all accepted secrets, each in constant time, without stopping early.
    let matches = accepted.iter().fold(false, |found, secret| {
        verify_slices_are_equal(secret, hash.as_ref()).is_ok() | found
    });
    client.filter(|_| matches).ok_or_else(|| {
        ApiError::InvalidClient(match client {
            None => unknown_client(all),
            Some(client) if client.secret_sha256.is_empty() => {
                ClientError::NoSecret(client.client_id.clone())
            }
            Some(client) => ClientError::WrongSecret(client.client_id.clone()),
        })
    })
}

/// Returns the reason for the log, with the first ids that are registered. The id of the request is not shown, because
/// it may be a misplaced secret.
fn unknown_client(all: &Registrations) -> ClientError {
    let ids = all.iter().take(MAX_LISTED);
    let ids: Vec<&str> = ids.map(|client| &*client.client_id).collect();
    let more = if all.len() > MAX_LISTED { ", …" } else { "" };
    ClientError::UnknownClient(ids.join(", ") + more)
}

impl Client<'_> {
    /// Runs `work` for the authenticated client. Without an outcome (503), releases the client's assertion, so that
    /// the client can send the same request again.
    ///
    /// # Errors
    /// The errors of `work`, and [`ApiError::Overdue`].
    pub async fn outcome<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let Some((assertions, used)) = &self.used else {
            return work.await;
        };
        let outcome = tokio::time::timeout(WORK_TIMEOUT, work).await;
        let outcome = outcome.unwrap_or(Err(ApiError::Overdue));
        if outcome.as_ref().is_err_and(ApiError::may_be_repeated) {
            let given_back = assertions.give_back(used);
            // Without time to release it, the assertion counts as used: the client makes a new one.
            let _ = tokio::time::timeout(GIVE_BACK_TIMEOUT, given_back).await;
        }
        outcome
    }

    /// Returns the client id.
    pub fn id(&self) -> &str {
        &self.settings.client_id
    }

    /// Returns the settings by which the client vouches for its own users, if it does.
    pub fn voucher(&self) -> Option<&Voucher> {
        self.settings.voucher.as_ref()
    }

    /// Returns whether `audience` is one of any client's, besides `TOKEN_AUDIENCE`.
    pub fn knows_audience(&self, audience: &str) -> bool {
        let mut audiences = self.all.iter().flat_map(|client| &client.audiences);
        audiences.any(|known| known == audience)
    }

    /// Returns whether the client may introspect tokens of other clients (RFC 7662 §4).
    pub fn introspects(&self) -> bool {
        self.settings.introspects
    }

    /// Checks that the client may use `grant` (RFC 6749 §5.2).
    ///
    /// # Errors
    /// [`ApiError::UnauthorizedGrant`].
    pub fn check_grant(&self, grant: GrantType) -> Result<(), ApiError> {
        if self.settings.may_grant(grant) {
            Ok(())
        } else {
            Err(ApiError::UnauthorizedGrant)
        }
    }

    /// Checks that the client may sign users in with `provider`.
    ///
    /// # Errors
    /// [`ApiError::UnauthorizedClient`].
    pub fn check_provider(&self, provider: &str) -> Result<(), ApiError> {
        if self.settings.may_use(provider) {
            Ok(())
        } else {
            Err(ApiError::UnauthorizedClient)
        }
    }

    /// Returns the audience of a token: `requested` if the client may have it, else its first, else `usual`.
    ///
    /// # Errors
    /// [`ApiError::InvalidTarget`] for any other audience.
    pub fn audience<'r>(
        &'r self,
        requested: Option<&'r str>,
        usual: &'r str,
    ) -> Result<&'r str, ApiError> {
        let allowed = &self.settings.audiences;
        let is_allowed = |audience| match &**allowed {
            [] => audience == usual,
            allowed => allowed.iter().any(|other| other == audience),
        };
        match requested {
            None => Ok(allowed.first().map_or(usual, String::as_str)),
            Some(requested) if is_allowed(requested) => Ok(requested),
            Some(_) => Err(ApiError::InvalidTarget),
        }
    }

    /// Returns the scope for an exchange: the requested one, or else all scopes of the client.
    ///
    /// # Errors
    /// The errors of [`Self::requested_scope`].
    pub fn grant_scope(&self, requested: Option<&str>) -> Result<Option<Scope>, ApiError> {
        let requested = self.requested_scope(requested)?;
        Ok(requested.or_else(|| self.settings.scope()))
    }

    /// Parses the requested scope, if any; the same for an exchange and a refresh.
    ///
    /// # Errors
    /// [`ApiError::InvalidScope`] for a malformed scope, and for one beyond the client's.
    pub fn requested_scope(&self, requested: Option<&str>) -> Result<Option<Scope>, ApiError> {
        let Some(requested) = requested else {
            return Ok(None);
        };
        let requested: Scope = requested.parse().map_err(|_| ApiError::InvalidScope)?;
        if requested.is_within(self.settings.scope().as_ref()) {
            Ok(Some(requested))
        } else {
            Err(ApiError::InvalidScope)
        }
    }

    /// Returns the part of a session's granted scope that the client still has.
    pub fn present_scope(&self, granted: Option<&Scope>) -> Option<Scope> {
        granted?.shared_with(&self.settings.scope()?)
    }

    /// Returns the requirements for a session that this client refreshes with this scope and audience.
    pub fn terms<'t>(
        &'t self,
        scope: Option<&'t Scope>,
        audience: Option<&str>,
        usual: &'t str,
    ) -> Terms<'t> {
        let allowed = self.settings.audiences.iter().map(String::as_str);
        let usual = self.settings.audiences.is_empty().then_some(usual);
        Terms {
            client_id: self.id(),
            scope,
            providers: self.settings.providers.as_deref(),
            // An audience of the request was checked before, and replaces the session's.
            audiences: audience.is_none().then(|| allowed.chain(usual).collect()),
        }
    }
}

impl Presented {
    fn by(form: &mut Form) -> Result<Self, ApiError> {
        let basic = basic_credentials(&form.authorization)?;
        let posted_secret = form.take("client_secret");
        let assertion = form.take("client_assertion");
        match (basic, posted_secret, assertion) {
            (Some(basic), None, None) => {
                // A client may name itself in the body as well, by the same id (RFC 6749 §3.2.1).
                let posted_id = form.take_plain("client_id");
                let is_same = posted_id.is_none_or(|id| id == basic.client_id);
                is_same
                    .then_some(Self::Secret(basic))
                    .ok_or(ApiError::InvalidClient(ClientError::OtherClientId))
            }
            (None, Some(secret), None) => {
                let client_id = form.take_plain("client_id");
                Ok(Self::Secret(Credentials {
                    client_id: client_id
                        .ok_or(ApiError::InvalidClient(ClientError::NoCredentials))?,
                    secret,
                }))
            }
            (None, None, Some(assertion)) => {
                let kind = form.take_plain("client_assertion_type");
                if kind.as_deref() != Some(ASSERTION_TYPE) {
                    let detail = format!("client_assertion_type must be {ASSERTION_TYPE}");
                    return Err(ApiError::InvalidRequest(detail));
                }
                Ok(Self::Assertion {
                    assertion,
                    posted_id: form.take_plain("client_id"),
                })
            }
            (None, None, None) => Err(ApiError::InvalidClient(ClientError::NoCredentials)),
            _ => Err(ApiError::InvalidRequest(
                "the client authenticates in two ways at once: send one of Authorization: Basic, client_secret and client_assertion".to_owned(),
            )),
        }
    }
}

/// Parses `Authorization: Basic` with form-urlencoded id and secret (RFC 6749 §2.3.1).
fn basic_credentials(authorization: &[HeaderValue]) -> Result<Option<Credentials>, ApiError> {
    let value = match authorization {
        [] => return Ok(None),
        [value] => value,
        _ => return Err(ApiError::InvalidClient(ClientError::NotBasic)),
    };
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim_matches(' ')).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok())
        .and_then(|decoded| {
            let (id, secret) = decoded.split_once(':')?;
            Some(Credentials {
                client_id: form_decoded(id)?,
                secret: form_decoded(secret)
                    .filter(|secret| !secret.is_empty())?
                    .into(),
            })
        })
        .map(Some)
        .ok_or(ApiError::InvalidClient(ClientError::NotBasic))
}

fn form_decoded(text: &str) -> Option<String> {
    // An unencoded value with a separator would decode as a name; an encoded one has no separator.
    if text.contains(['&', '=']) {
        return None;
    }
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    let decoded = pairs.next().map(|(decoded, _)| decoded.into_owned());
    Some(decoded.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::hex;

    fn clients() -> Clients {
        with_clients(serde_json::json!([]))
    }

    fn with_clients(more: serde_json::Value) -> Clients {
        let env = environment(more);
        let dynamodb = crate::dynamodb::client(&crate::config::DynamoDb::from_env(&env).unwrap());
        let assertions = Assertions::from_env(&env, &dynamodb, &crate::clock::Clock::system());
        Clients::from_env(&env, assertions.unwrap()).unwrap()
    }

    /// Returns the settings with the two clients of these tests, and `more`.
    fn environment(more: serde_json::Value) -> Environment {
        let sha256 = |secret: &str| -> String { hex(digest(&SHA256, secret.as_bytes()).as_ref()) };
        let mut clients = serde_json::json!([{
            "client_id": "next js",
            "secret_sha256": [sha256("old:secret+"), sha256("new")],
            "scopes": ["orders:read", "orders:write"],
        }, {
            "client_id": "shop",
            "secret_sha256": [sha256("shop")],
            "providers": ["github"],
            "audiences": ["https://shop.example.com", "https://stock.example.com"],
        }]);
        let all = clients.as_array_mut().unwrap();
        all.extend(more.as_array().unwrap().iter().cloned());
        Environment::of([
            ("CLIENTS", clients.to_string().as_str()),
            ("ISSUER_URL", "https://api.example.com"),
            ("TABLE_NAME", "cambio"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ])
    }

    async fn form(authorization: Option<&str>, body: &'static str) -> Form {
        use axum::extract::FromRequest as _;
        let mut request = http::Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(value) = authorization {
            request = request.header(http::header::AUTHORIZATION, value);
        }
        let request = request.body(axum::body::Body::from(body)).unwrap();
        Form::from_request(request, &()).await.unwrap()
    }

    async fn authenticated(
        authorization: Option<&str>,
        body: &'static str,
    ) -> Result<(), ApiError> {
        clients()
            .authenticate(&mut form(authorization, body).await)
            .await
            .map(|client| assert_eq!(client.id(), "next js"))
    }

    fn public_key() -> serde_json::Value {
        serde_json::json!({
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            "kid": "one",
        })
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[test]
    fn t161_the_log_lists_a_bounded_number_of_client_ids() {
        let listed = |count: usize| {
            let one = |nth| serde_json::json!({ "client_id": format!("c{nth}"), "secret_sha256": ["0".repeat(64)] });
            let all = (0..count).map(one).collect();
            let clients = with_clients(serde_json::Value::Array(all));
            let present = futures_util::FutureExt::now_or_never(clients.stored.get());
            unknown_client(&present.unwrap().unwrap()).to_string()
        };
        let all = listed(MAX_LISTED - 2);
        assert!(all.ends_with("c6, c7"), "{all}");
        let more = listed(MAX_LISTED - 1);
        assert!(more.ends_with("c6, c7, …"), "{more}");
    }

    #[tokio::test]
    async fn t76_both_secrets_are_valid_while_one_is_replaced() {
        assert!(
            authenticated(Some(&basic("next+js:old%3Asecret%2B")), "")
                .await
                .is_ok()
        );
        assert!(
            authenticated(Some(&basic("next%20js:new")), "")
                .await
                .is_ok()
        );
        assert!(
            authenticated(None, "client_id=next+js&client_secret=new")
                .await
                .is_ok()
        );
    }

    /// An operator may list a hash twice, and the client must not lose its access by it.
    #[tokio::test]
    async fn a_secret_is_valid_if_its_hash_is_listed_twice() {
        let hash = hex(digest(&SHA256, b"one").as_ref());
        let clients =
            with_clients(serde_json::json!([{ "client_id": "a", "secret_sha256": [hash, hash] }]));
        let mut form = form(Some(&basic("a:one")), "").await;
        assert!(clients.authenticate(&mut form).await.is_ok());
    }

    #[tokio::test]
    async fn the_log_tells_a_wrong_secret_from_a_client_that_has_keys_only() {
        let clients = with_clients(
            serde_json::json!([{ "client_id": "keys", "jwks": { "keys": [public_key()] } }]),
        );
        for (credentials, expected) in [
            ("keys:new", "has no secret_sha256"),
            ("next+js:wrong", "is wrong"),
        ] {
            let mut form = form(Some(&basic(credentials)), "").await;
            let error = clients.authenticate(&mut form).await.unwrap_err();
            let ApiError::InvalidClient(cause) = &error else {
                panic!("{credentials}: {error}");
            };
            assert!(cause.to_string().contains(expected), "{cause}");
        }
    }

    #[tokio::test]
    async fn t11_anything_else_is_refused() {
        for credentials in [
            "next+js:wrong",
            "next+js:",
            "next+js",
            ":new",
            "other:new",
            "",
            "a&b:new",
        ] {
            let refused = authenticated(Some(&basic(credentials)), "").await;
            assert!(
                matches!(refused, Err(ApiError::InvalidClient(_))),
                "{credentials}"
            );
        }
        let bearer = basic("next+js:new").replace("Basic", "Bearer");
        for header in [
            "Basic",
            "Basic !",
            "Bearer abc",
            &bearer,
            "Basic /w==",
            "nonsense",
        ] {
            let refused = authenticated(Some(header), "").await;
            assert!(
                matches!(refused, Err(ApiError::InvalidClient(_))),
                "{header}"
            );
        }
        for body in [
            "",
            "client_id=next+js",
            "client_secret=new",
            "client_id=next+js&client_secret=",
        ] {
            let refused = authenticated(None, body).await;
            assert!(matches!(refused, Err(ApiError::InvalidClient(_))), "{body}");
        }
    }

    #[tokio::test]
    async fn t74_two_methods_at_once_are_refused() {
        let basic = basic("next+js:new");
        let both = authenticated(Some(&basic), "client_id=next+js&client_secret=new").await;
        assert!(matches!(both, Err(ApiError::InvalidRequest(_))));
        assert!(
            authenticated(Some(&basic), "client_id=next+js")
                .await
                .is_ok()
        );
        assert!(
            authenticated(Some(&basic), "client_id=other")
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_client_gets_the_scopes_it_may_have() {
        let clients = clients();
        let mut form = form(Some(&basic("next+js:new")), "").await;
        let client = clients.authenticate(&mut form).await.unwrap();

        let granted = |requested| {
            let granted = client.grant_scope(requested).unwrap();
            granted.map(|scope| scope.to_string())
        };
        let all = Some("orders:read orders:write".to_owned());
        assert_eq!(granted(None), all);
        assert_eq!(granted(Some("orders:read")).as_deref(), Some("orders:read"));
        assert!(client.grant_scope(Some("orders:read admin")).is_err());
        let of_session: Scope = "orders:read admin".parse().unwrap();
        let present = client.present_scope(Some(&of_session));
        assert_eq!(present.unwrap().to_string(), "orders:read");
    }

    #[tokio::test]
    async fn a_client_gets_the_audiences_and_providers_it_may_have() {
        const USUAL: &str = "https://api.example.com";
        let clients = clients();
        let by = async |credentials: &str| {
            let mut form = form(Some(&basic(credentials)), "").await;
            clients.authenticate(&mut form).await.unwrap()
        };

        let next = by("next+js:new").await;
        assert_eq!(next.audience(None, USUAL).unwrap(), USUAL);
        assert_eq!(next.audience(Some(USUAL), USUAL).unwrap(), USUAL);
        assert!(
            next.audience(Some("https://shop.example.com"), USUAL)
                .is_err()
        );
        assert!(next.check_provider("google").is_ok());

        let shop = by("shop:shop").await;
        let stock = Some("https://stock.example.com");
        assert_eq!(
            shop.audience(None, USUAL).unwrap(),
            "https://shop.example.com"
        );
        assert_eq!(shop.audience(stock, USUAL).ok(), stock);
        assert!(shop.audience(Some(USUAL), USUAL).is_err());
        assert!(shop.check_provider("github").is_ok());
        assert!(shop.check_provider("google").is_err());
    }

    #[tokio::test]
    async fn a_client_has_the_rights_of_its_registration() {
        let hash = hex(digest(&SHA256, b"one").as_ref());
        let clients = with_clients(serde_json::json!([
            { "client_id": "api", "secret_sha256": [hash], "introspects": true },
            { "client_id": "app", "secret_sha256": [hash], "vouches": { "keys": [public_key()] } },
        ]));
        for (credentials, introspects, exchanges, vouches) in [
            ("api:one", true, false, false),
            ("app:one", false, true, true),
            ("next+js:new", false, true, false),
        ] {
            let mut form = form(Some(&basic(credentials)), "").await;
            let client = clients.authenticate(&mut form).await.unwrap();
            assert_eq!(client.introspects(), introspects, "{credentials}");
            let may_exchange = client.check_grant(GrantType::TokenExchange).is_ok();
            assert_eq!(may_exchange, exchanges, "{credentials}");
            assert_eq!(client.voucher().is_some(), vouches, "{credentials}");
            assert!(client.knows_audience("https://stock.example.com"));
            assert!(!client.knows_audience("https://api.example.com"));
        }
    }

    #[test]
    fn a_client_of_an_access_token_is_still_registered_and_may_use_the_provider() {
        let env = environment(serde_json::json!([]));
        let providers = ClientProviders::from_env(&env).unwrap();
        for (client_id, provider, is_good) in [
            ("next js", "google", true),
            ("shop", "github", true),
            ("shop", "google", false),
            ("gone", "github", false),
        ] {
            let checked = providers.check(client_id, provider);
            assert_eq!(checked.is_ok(), is_good, "{client_id}, {provider}");
        }
    }
}
