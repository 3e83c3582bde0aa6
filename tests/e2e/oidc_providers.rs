//! The OpenID providers of next-auth, each with its issuer, its algorithm and the claims of its documentation.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm::{self, ES256, ES384, RS256};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Answer, Service, TOKEN_EXCHANGE,
    oidc::{CLIENT_ID, Issuer, Key},
    proxy::{self, Fault, When},
};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// The id of each `oidc` provider of next-auth that is proven, the path of its issuer, and the algorithm of its ID
/// tokens. The entry of the settings has a name, an issuer and the client ids, and nothing else but `tenants`.
const PROVIDERS: [(&str, &str, Algorithm); 39] = [
    ("apple", "", RS256),
    ("asgardeo", "/t/acme/oauth2/token", RS256),
    ("auth0", "/", RS256),
    ("authentik", "/application/o/acme/", RS256),
    ("azure-ad", "/{tenantid}/v2.0", RS256),
    (
        "azure-ad-b2c",
        "/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0/",
        RS256,
    ),
    ("bankid-no", "/auth/realms/prod", RS256),
    ("battlenet", "", RS256),
    (
        "beyondidentity",
        "/v1/tenants/1/realms/2/applications/3",
        RS256,
    ),
    // With the scope openid.
    ("boxyhq-saml", "", RS256),
    ("cognito", "/eu-west-1_AbCdEfGhI", RS256),
    ("descope", "/P2acme", RS256),
    // With the scope openid.
    ("dropbox", "", RS256),
    ("duende-identity-server6", "", RS256),
    ("frontegg", "", RS256),
    // With a key of RS256 for the ID token, which is a setting of the application in FusionAuth.
    ("fusionauth", "", RS256),
    ("google", "", RS256),
    ("huggingface", "", RS256),
    ("hydra", "/", RS256),
    ("identity-server4", "", RS256),
    ("keycloak", "/realms/acme", RS256),
    ("kinde", "", RS256),
    ("linkedin", "/oauth", RS256),
    ("logto", "/oidc", ES384),
    // With the scope openid.
    ("mailru", "", RS256),
    ("microsoft-entra-id", "/{tenantid}/v2.0", RS256),
    ("okta", "/oauth2/default", RS256),
    ("onelogin", "/oidc/2", RS256),
    ("passage", "/v1/apps/acme", RS256),
    ("ping-id", "/9188040d/as", RS256),
    ("roblox", "/oauth/", ES256),
    ("salesforce", "", RS256),
    ("simplelogin", "", RS256),
    ("slack", "", RS256),
    ("twitch", "/oauth2", RS256),
    ("united-effects", "/acme", RS256),
    ("vipps", "/access-management-1.0/access/", RS256),
    // With the scope openid.
    ("webex", "/idb", RS256),
    ("zitadel", "", RS256),
];

/// A provider that publishes the discovery document of its issuer.
struct Provider {
    name: &'static str,
    issuer: Issuer,
    key: Key,
    iss: String,
    settings: Value,
}

impl Provider {
    async fn start(name: &'static str, path: &str, algorithm: Algorithm) -> Self {
        let key = match algorithm {
            ES256 => Key::new("one"),
            ES384 => Key::p384("one"),
            _ => Key::rsa("one"),
        };
        let issuer = Issuer::start(&key).await;
        let url = format!("{}{path}", issuer.url);
        let jwks_uri = format!("{}/keys", issuer.url);
        let discovery = json!({ "issuer": url, "jwks_uri": jwks_uri });
        issuer.publish(|published| published.discovery = discovery);
        let mut settings = json!({ "name": name, "issuer": url, "client_ids": [CLIENT_ID] });
        if path.contains("{tenantid}") {
            settings["tenants"] = json!([TENANT]);
        }
        let iss = url.replace("{tenantid}", TENANT);
        Self {
            name,
            issuer,
            key,
            iss,
            settings,
        }
    }

    /// Returns the claims of a sign-in, with the peculiarities of the provider.
    fn claims(&self, now: u64) -> Value {
        let mut claims = self.issuer.claims("ada", now);
        claims["iss"] = self.iss.clone().into();
        match self.name {
            // https://developer.apple.com/documentation/signinwithapple/authenticating-users-with-sign-in-with-apple
            "apple" => {
                claims["email_verified"] = "true".into();
                claims["is_private_email"] = "true".into();
                claims["nonce_supported"] = true.into();
            }
            // https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference
            "azure-ad" | "microsoft-entra-id" => {
                claims["tid"] = TENANT.into();
                claims["ver"] = "2.0".into();
                claims["preferred_username"] = "ada@example.com".into();
            }
            // "Using the ID token" in https://docs.aws.amazon.com/cognito/latest/developerguide/
            "cognito" => {
                claims["token_use"] = "id".into();
                claims["cognito:username"] = "ada".into();
            }
            // https://www.keycloak.org/securing-apps/oidc-layers
            "keycloak" => {
                claims["typ"] = "ID".into();
                claims["azp"] = CLIENT_ID.into();
            }
            // https://docs.fusionauth.io/docs/lifecycle/authenticate-users/oauth/tokens
            "fusionauth" => claims["authenticationType"] = "PASSWORD".into(),
            // https://developers.dropbox.com/oidc-guide
            "dropbox" => claims["dropbox:team_id"] = "dbtid:WxbNQOurtaONIb-AAH4fQn".into(),
            // https://docs.slack.dev/authentication/sign-in-with-slack/
            "slack" => claims["https://slack.com/user_id"] = "U0R7JM".into(),
            // https://zitadel.com/docs/apis/openidoauth/claims: the project is an audience too.
            "zitadel" => {
                claims["aud"] = json!([CLIENT_ID, "69234237810729019"]);
                claims["azp"] = CLIENT_ID.into();
            }
            _ => {}
        }
        claims
    }
}

/// A service with all the providers.
struct Scene {
    service: Service,
    providers: Vec<Provider>,
}

impl Scene {
    async fn start() -> Self {
        let mut providers = Vec::new();
        for (name, path, algorithm) in PROVIDERS {
            providers.push(Provider::start(name, path, algorithm).await);
        }
        let settings: Vec<&Value> = providers.iter().map(|each| &each.settings).collect();
        let settings = json!(settings).to_string();
        let service = Service::start_with(&[("OIDC_PROVIDERS", &settings)]).await;
        Self { service, providers }
    }

    async fn exchange(&self, provider: &Provider, claims: &Value) -> Answer {
        let token = provider.key.sign(claims);
        let parameters = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token.as_str()),
            ("subject_token_type", ID_TOKEN),
        ];
        self.service.token(&parameters).await
    }
}

#[tokio::test]
async fn each_openid_provider_of_next_auth_signs_in_by_its_name_its_issuer_and_its_app() {
    let scene = Scene::start().await;
    for provider in &scene.providers {
        let name = provider.name;
        let claims = provider.claims(scene.service.time.now());

        let answer = scene.exchange(provider, &claims).await;

        assert_eq!(answer.status, StatusCode::OK, "{name}: {:?}", answer.body);
        assert_eq!(answer.text("/user/identities/0/provider"), name);
        assert_eq!(answer.text("/user/identities/0/subject"), "ada", "{name}");
        assert_eq!(answer.text("/user/email"), "ada@example.com", "{name}");
        // An administrator of a tenant can write any address.
        let verified = provider.settings["tenants"].is_null();
        assert_eq!(answer.body["user"]["email_verified"], verified, "{name}");
    }
    assert_eq!(scene.service.users().len(), PROVIDERS.len());
}

#[tokio::test]
async fn t117_an_id_token_for_another_application_is_refused_for_each_provider_and_nothing_is_written()
 {
    let scene = Scene::start().await;
    for provider in &scene.providers {
        let name = provider.name;
        let claims = provider.claims(scene.service.time.now());
        let mut for_another = claims.clone();
        for_another["aud"] = "another-app".into();
        let mut from_another = claims.clone();
        from_another["aud"] = json!([CLIENT_ID, "another-app"]);
        from_another["azp"] = "another-app".into();
        let mut of_another = claims;
        of_another["iss"] = "https://another.example".into();

        for claims in [for_another, from_another, of_another] {
            let answer = scene.exchange(provider, &claims).await;

            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{name}: {:?}",
                answer.body
            );
            assert_eq!(answer.text("/error"), "invalid_request", "{name}");
            assert!(scene.service.items().is_empty(), "{name}");
        }
    }
}

/// LINE, which signs the ID tokens of web logins with the channel secret (HS256) and verifies them itself.
/// (<https://developers.line.biz/en/reference/line-login/#verify-id-token>).
struct Line {
    service: Service,
    issuer: Issuer,
}

impl Line {
    async fn start() -> Self {
        let issuer = Issuer::start(&Key::new("one")).await;
        let settings = json!([{
            "name": "line", "issuer": issuer.url, "client_ids": [CLIENT_ID],
            "verify_url": format!("{}/oauth2/v2.1/verify", issuer.url),
        }]);
        let settings = settings.to_string();
        let service = Service::start_with(&[("OIDC_PROVIDERS", &settings)]).await;
        Self { service, issuer }
    }

    fn claims(&self) -> Value {
        let now = self.service.time.now();
        json!({
            "iss": self.issuer.url, "sub": "U1234567890abcdef1234567890abcdef", "aud": CLIENT_ID,
            "exp": now + 3600, "iat": now, "nonce": "0987654asdf", "amr": ["pwd"], "name": "Taro Line",
            "picture": "https://sample_line.me/aBcdefg123456", "email": "taro.line@example.com",
        })
    }

    /// Exchanges an ID token that LINE answers this about.
    async fn exchange(&self, status: u16, answer: &Value) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = proxy::Reply::new(status, answer.to_string());
        let answer = answer.with_header("content-type", "application/json");
        let when = When::Path("/oauth2/v2.1/verify");
        self.issuer.proxy.heal();
        self.issuer.proxy.fault(when, Fault::from(answer));
        let payload = json!({ "iss": self.issuer.url, "aud": CLIENT_ID, "sub": "eve" });
        let parts = [
            r#"{"typ":"JWT","alg":"HS256"}"#.to_owned(),
            payload.to_string(),
        ];
        let [header, payload] = parts.map(|part| URL_SAFE_NO_PAD.encode(part));
        let token = format!("{header}.{payload}.c2lnbmF0dXJl");
        let parameters = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token.as_str()),
            ("subject_token_type", ID_TOKEN),
            ("nonce", "0987654asdf"),
        ];
        self.service.token(&parameters).await
    }
}

#[tokio::test]
async fn an_id_token_of_line_signs_in_if_line_confirms_it() {
    let line = Line::start().await;

    let answer = line.exchange(200, &line.claims()).await;

    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let subject = "U1234567890abcdef1234567890abcdef";
    assert_eq!(answer.text("/user/identities/0/subject"), subject);
    assert_eq!(answer.text("/user/name"), "Taro Line");
    assert_eq!(answer.text("/user/email"), "taro.line@example.com");
    assert_eq!(answer.body["user"]["email_verified"], false);
}

#[tokio::test]
async fn t117_an_id_token_of_line_is_refused_unless_line_confirms_it_for_our_application() {
    let line = Line::start().await;
    let with = |name: &str, value: Value| {
        let mut claims = line.claims();
        claims[name] = value;
        claims
    };
    let now = line.service.time.now();
    let error = json!({ "error": "invalid_request", "error_description": "Invalid IdToken." });

    for (status, answer) in [
        (400, error),
        (200, with("aud", "another-app".into())),
        (200, with("azp", "another-app".into())),
        (200, with("iss", "https://another.example".into())),
        (200, with("exp", (now - 3600).into())),
        (200, with("iat", (now - 3600).into())),
        (200, with("nonce", "another".into())),
    ] {
        let refused = line.exchange(status, &answer).await;
        assert_eq!(
            refused.status,
            StatusCode::BAD_REQUEST,
            "{answer}: {:?}",
            refused.body
        );
        assert!(line.service.items().is_empty(), "{answer}");
    }
    for (status, answer) in [
        (500, json!({})),
        (403, json!({})),
        (200, json!([])),
        (200, json!({})),
    ] {
        line.service.time.pass(60);
        let unclear = line.exchange(status, &answer).await;
        assert_eq!(
            unclear.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{answer}: {:?}",
            unclear.body
        );
        assert!(line.service.items().is_empty(), "{answer}");
    }
}
