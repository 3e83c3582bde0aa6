use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use reqwest::{Client, StatusCode, header, redirect::Policy};
use serde_json::Value;
use shared::http::GRANT_TYPE_TOKEN_EXCHANGE;
use url::Url;

use crate::{
    github::s256,
    scene::Scene,
    settings::{CLIENT_ID, CLIENT_SECRET, GITHUB_CLIENT_ID, GITHUB_CLIENT_SECRET, openid_issuer},
};

const CALLBACK: &str = "http://localhost:3000/api/auth/callback/oidc";
const ID_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:id_token";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";

/// An app at the stand-in, with nothing but the discovery document.
struct App {
    scene: Scene,
    http: Client,
    document: Value,
}

impl App {
    async fn start() -> Self {
        let scene = Scene::start().await;
        let http = Client::builder().no_proxy().redirect(Policy::none());
        let http = http.build().unwrap();
        let issuer = openid_issuer(&scene.github);
        let url = format!("{issuer}/.well-known/openid-configuration");
        let document: Value = http.get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(document["issuer"], issuer);
        Self {
            scene,
            http,
            document,
        }
    }

    fn at(&self, endpoint: &str) -> Url {
        self.document[endpoint].as_str().unwrap().parse().unwrap()
    }

    async fn authorize(&self, with: &[(&str, &str)]) -> reqwest::Response {
        let mut url = self.at("authorization_endpoint");
        let challenge = s256(VERIFIER);
        let usual = [
            ("client_id", GITHUB_CLIENT_ID),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid profile email"),
            ("state", "the-state"),
            ("nonce", "the-nonce"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("login", "ada"),
        ];
        let usual = usual
            .iter()
            .filter(|(name, _)| with.iter().all(|(other, _)| other != name));
        let with = with.iter().filter(|(_, value)| *value != "(absent)");
        url.query_pairs_mut().extend_pairs(usual.chain(with));
        self.http.get(url).send().await.unwrap()
    }

    /// The parameters of the redirect to the app.
    async fn redirect(&self, with: &[(&str, &str)]) -> Vec<(String, String)> {
        let answer = self.authorize(with).await;
        assert_eq!(answer.status(), StatusCode::FOUND, "{with:?}");
        let location = answer.headers()[header::LOCATION].to_str().unwrap();
        assert!(location.starts_with(CALLBACK), "{location}");
        let url = Url::parse(location).unwrap();
        url.query_pairs().into_owned().collect()
    }

    async fn code(&self, with: &[(&str, &str)]) -> String {
        let mut query = self.redirect(with).await;
        assert_eq!(query[0].0, "code", "{query:?}");
        query.remove(0).1
    }

    async fn redeem(&self, code: &str, with: &[(&str, &str)]) -> (StatusCode, Value) {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
            ("client_id", GITHUB_CLIENT_ID),
            ("client_secret", GITHUB_CLIENT_SECRET),
        ];
        form.retain(|(name, _)| with.iter().all(|(other, _)| other != name));
        form.extend(with.iter().filter(|(_, value)| *value != "(absent)"));
        let request = self.http.post(self.at("token_endpoint")).form(&form);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn sign_in(&self) -> Value {
        let code = self.code(&[]).await;
        let (status, grant) = self.redeem(&code, &[]).await;
        assert_eq!(status, StatusCode::OK, "{grant}");
        grant
    }

    async fn keys(&self) -> JwkSet {
        let answer = self.http.get(self.at("jwks_uri")).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// The verified claims of an ID token.
    async fn verified(&self, token: &str) -> Value {
        let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        let keys = self.keys().await;
        let key = DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
        let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
        validation.set_audience(&[GITHUB_CLIENT_ID]);
        validation.set_issuer(&[self.document["issuer"].as_str().unwrap()]);
        let token = jsonwebtoken::decode::<Value>(token, &key, &validation);
        token.unwrap().claims
    }

    /// The answer of `POST /token` to an ID token.
    async fn exchange(&self, id_token: &str) -> (StatusCode, Value) {
        let request = self.http.post(format!("{}/token", self.scene.api));
        let request = request.basic_auth(CLIENT_ID, Some(CLIENT_SECRET)).form(&[
            ("grant_type", GRANT_TYPE_TOKEN_EXCHANGE),
            ("subject_token", id_token),
            ("subject_token_type", ID_TOKEN_TYPE),
        ]);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn a_sign_in_gives_an_id_token_that_cambio_exchanges() {
    let app = App::start().await;

    let grant = app.sign_in().await;

    let claims = app.verified(grant["id_token"].as_str().unwrap()).await;
    assert_eq!(claims["nonce"], "the-nonce");
    assert_eq!(claims["name"], "ada");
    assert_eq!(claims["email"], "ada@example.com");
    assert_eq!(claims["email_verified"], true);
    let request = app.http.get(app.at("userinfo_endpoint"));
    let request = request.bearer_auth(grant["access_token"].as_str().unwrap());
    let userinfo: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(userinfo["sub"], claims["sub"]);
    assert_eq!(userinfo["email"], "ada@example.com");

    let (status, answer) = app.exchange(grant["id_token"].as_str().unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["user"]["name"], "ada");
    assert_eq!(answer["user"]["email"], "ada@example.com");
}

#[tokio::test]
async fn a_code_is_of_use_once_to_its_app_with_its_verifier() {
    let app = App::start().await;

    for wrong in [
        (
            "code_verifier",
            "another-verifier-of-at-least-43-characters-",
        ),
        ("code_verifier", "(absent)"),
        ("redirect_uri", "http://localhost:3000/"),
        ("redirect_uri", "(absent)"),
        ("code", "made-up"),
    ] {
        let code = app.code(&[]).await;
        let (status, answer) = app.redeem(&code, &[wrong]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong:?}");
        assert_eq!(answer["error"], "invalid_grant", "{wrong:?}");
        if wrong.0 != "code" {
            let (_, again) = app.redeem(&code, &[]).await;
            assert_eq!(
                again["error"], "invalid_grant",
                "a failed attempt uses the code up"
            );
        }
    }
    let without_challenge = [
        ("code_challenge", "(absent)"),
        ("code_challenge_method", "(absent)"),
    ];
    let code = app.code(&without_challenge).await;
    let (_, injected) = app.redeem(&code, &[]).await;
    assert_eq!(injected["error"], "invalid_grant");
    let code = app.code(&without_challenge).await;
    let (status, _) = app.redeem(&code, &[("code_verifier", "(absent)")]).await;
    assert_eq!(status, StatusCode::OK);

    let code = app.code(&[]).await;
    let (status, answer) = app.redeem(&code, &[("client_secret", "wrong")]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer["error"], "invalid_client");
    let (status, _) = app.redeem(&code, &[]).await;
    assert_eq!(
        status,
        StatusCode::OK,
        "a stranger does not use the code up"
    );
    let (_, answer) = app.redeem(&code, &[("grant_type", "password")]).await;
    assert_eq!(answer["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn a_request_that_the_provider_cannot_serve_goes_back_to_the_app() {
    let app = App::start().await;

    for (parameter, error) in [
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "profile email"), "invalid_scope"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("prompt", "none"), "login_required"),
        (("cancel", "true"), "access_denied"),
    ] {
        let query = app.redirect(&[parameter]).await;
        assert_eq!(query[0], ("error".to_owned(), error.to_owned()));
        assert!(query.contains(&("state".to_owned(), "the-state".to_owned())));
    }
    for (parameter, status) in [
        (("client_id", "nobody"), StatusCode::NOT_FOUND),
        (
            ("redirect_uri", "https://evil.example/"),
            StatusCode::BAD_REQUEST,
        ),
        (("login", "not a login"), StatusCode::NOT_FOUND),
    ] {
        let answer = app.authorize(&[parameter]).await;
        assert_eq!(answer.status(), status, "{parameter:?}");
        assert!(!answer.headers().contains_key(header::LOCATION));
    }
    let page = app.authorize(&[("login", "(absent)")]).await;
    let page = page.text().await.unwrap();
    assert!(page.contains("Continue as octocat") && page.contains("action=\"/openid/authorize\""));
}

#[tokio::test]
async fn a_token_of_each_key_generation_is_accepted_until_the_next_but_one() {
    let app = App::start().await;
    let post = |path: &'static str| {
        let url = format!("{}/stand-in/{path}", openid_issuer(&app.scene.github));
        let request = app.http.post(url);
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    let issue = || post("tokens?login=grace");
    let rotate = || post("keys");
    let old = issue().await;

    let kid = rotate().await;

    let new = issue().await;
    assert_eq!(jsonwebtoken::decode_header(&new).unwrap().kid.unwrap(), kid);
    assert_eq!(app.keys().await.keys.len(), 2);
    for token in [&old, &new] {
        assert_eq!(app.verified(token).await["name"], "grace");
    }
    rotate().await;
    let old_kid = jsonwebtoken::decode_header(&old).unwrap().kid.unwrap();
    assert!(app.keys().await.find(&old_kid).is_none());
}

#[tokio::test]
async fn without_the_right_token_there_is_no_userinfo() {
    let app = App::start().await;
    let grant = app.sign_in().await;

    let request = || app.http.get(app.at("userinfo_endpoint"));
    for request in [
        request(),
        request().bearer_auth("made-up"),
        request().bearer_auth(grant["id_token"].as_str().unwrap()),
        request().basic_auth("x", grant["access_token"].as_str()),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
}
