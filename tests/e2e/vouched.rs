//! Sign-ins that an app vouches for by a JWT that it signs.

use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::{
    Answer, CLIENT, ISSUER, OTHER_CLIENT, Service, TOKEN_EXCHANGE, forge,
    oidc::{Issuer, Key},
    proxy::{Fault, When},
    settle,
};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The issuer of the first client's tokens. That of the second one is its client id.
const SHOP: &str = "https://shop.example.com";
/// A client that vouches for no user.
const SILENT: (&str, &str) = ("silent", "CANARY-silent-secret");

/// Starts a service with two clients that vouch for their users, and one that does not. The first one also
/// authenticates by the same key.
struct Scene {
    service: Service,
    key: Key,
    other_key: Key,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Self {
        let (key, other_key) = (Key::new("one"), Key::new("two"));
        let all = [CLIENT, OTHER_CLIENT, SILENT];
        let mut clients: Value = serde_json::from_str(&tests::clients(&all)).unwrap();
        clients[0]["jwks"] = json!({ "keys": [key.jwk] });
        clients[0]["vouches"] = json!({ "issuer": SHOP, "keys": [key.jwk] });
        clients[1]["vouches"] = json!({ "keys": [other_key.jwk] });
        let clients = clients.to_string();
        let settings = [&[("CLIENTS", clients.as_str())], settings].concat();
        Self {
            service: Service::start_with(&settings).await,
            key,
            other_key,
        }
    }

    fn claims(&self, sub: &str) -> Value {
        let now = self.service.time.now();
        json!({
            "iss": SHOP, "sub": sub, "aud": ISSUER, "iat": now, "exp": now + 60,
            "jti": uuid::Uuid::new_v4().to_string(),
            "name": "Ada Lovelace", "email": "ada@example.com", "email_verified": true,
            "picture": "https://example.com/ada.png",
        })
    }

    /// Signs these claims as the app of the first client.
    fn sign(&self, claims: &Value) -> String {
        sign(&self.key, claims)
    }

    /// Signs the claims of a new sign-in of `sub`, with these changes; `null` removes a claim.
    fn vouch(&self, sub: &str, changes: Value) -> String {
        self.sign(&changed(self.claims(sub), changes))
    }

    fn request(&self, client: (&str, &str), token: &str) -> RequestBuilder {
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", JWT),
        ];
        self.service.token_request_as(client, &form)
    }

    async fn exchange(&self, token: &str) -> Answer {
        self.exchange_as(CLIENT, token).await
    }

    async fn exchange_as(&self, client: (&str, &str), token: &str) -> Answer {
        self.service.send(self.request(client, token)).await
    }

    async fn sign_in(&self, sub: &str) -> Answer {
        let answer = self.exchange(&self.vouch(sub, json!({}))).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer
    }

    /// Asserts that the token is refused for this reason, before anything is read or written.
    async fn refuses(&self, token: &str, why: &str) {
        let answer = self.exchange(token).await;
        assert_refused(&answer, why);
    }

    async fn link(&self, access_token: &str, token: &str) -> Answer {
        let body = json!({ "subject_token": token, "subject_token_type": JWT });
        let request = self.service.as_user(access_token, "POST", "/me/identities");
        self.service.send(request.json(&body)).await
    }
}

fn sign(key: &Key, claims: &Value) -> String {
    key.sign_with_header(&header(key), claims)
}

fn header(key: &Key) -> Value {
    json!({ "alg": "ES256", "kid": key.kid, "typ": "vouch+jwt" })
}

fn changed(mut object: Value, changes: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    object
}

#[track_caller]
fn assert_refused(answer: &Answer, why: &str) {
    let said = answer.text("/error_description");
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{why}: {said}");
    assert_eq!(answer.text("/error"), "invalid_request", "{why}");
    assert!(said.contains(why), "{why}: {said}");
}

#[tokio::test]
async fn an_app_vouches_for_a_user_whom_no_provider_can_prove() {
    let scene = Scene::start().await;
    let now = scene.service.time.now();
    let token = scene.vouch("user-17", json!({ "auth_time": now }));

    let first = scene.exchange(&token).await;

    assert_eq!(first.status, StatusCode::OK, "{:?}", first.body);
    assert_eq!(first.body["is_new_user"], true);
    let user = &first.body["user"];
    assert_eq!(user["name"], "Ada Lovelace");
    assert_eq!(user["email"], "ada@example.com");
    assert_eq!(user["email_verified"], true);
    assert_eq!(user["picture"], "https://example.com/ada.png");
    let identity = json!([{ "provider": "app:nextjs", "subject": "user-17", "username": null }]);
    assert_eq!(user["identities"], identity);
    let claims = scene.service.verify(first.text("/access_token")).await;
    assert_eq!(claims.client_id, CLIENT.0);
    assert_eq!(claims.auth_time, Some(now));
    let me = scene.service.me(first.text("/access_token")).await;
    assert_eq!(me.status, StatusCode::OK);
    let refreshed = scene.service.refresh(first.text("/refresh_token")).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{:?}", refreshed.body);

    // The same user again, with another address and without a verified one.
    let changes = json!({ "email": "new@example.com", "email_verified": null, "name": null });
    let again = scene.exchange(&scene.vouch("user-17", changes)).await;
    assert_eq!(again.text("/user/id"), first.text("/user/id"));
    assert_eq!(again.body["is_new_user"], false);
    assert_eq!(again.text("/user/email"), "new@example.com");
    assert_eq!(again.body["user"]["email_verified"], false);
    assert_eq!(again.text("/user/name"), "Ada Lovelace");
    // Without auth_time, the time of the sign-in is unknown.
    let claims = scene.service.verify(again.text("/access_token")).await;
    assert_eq!(claims.auth_time, None);
    let deletion = scene
        .service
        .delete_as_user(again.text("/access_token"), "/me")
        .await;
    assert_eq!(
        deletion.text("/type"),
        "urn:cambio:error:insufficient_user_authentication"
    );
    assert_eq!(scene.service.users().len(), 1);
    scene.service.check_invariants();
}

#[tokio::test]
async fn a_vouched_sign_in_is_for_the_issuer_or_the_token_endpoint() {
    let scene = Scene::start().await;
    let endpoint = format!("{ISSUER}/token");
    for aud in [json!(endpoint), json!([ISSUER]), json!([ISSUER, endpoint])] {
        let answer = scene
            .exchange(&scene.vouch("a", json!({ "aud": aud })))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{aud}: {:?}", answer.body);
    }
    // The header needs no kid if one key fits, and times may have a fraction.
    let now = f64::from(u32::try_from(scene.service.time.now()).unwrap());
    let claims = changed(
        scene.claims("a"),
        json!({ "iat": now - 0.5, "exp": now + 9.5 }),
    );
    let bare = json!({ "alg": "ES256", "typ": "VOUCH+JWT", "x5t": "AA" });
    let token = scene.key.sign_with_header(&bare, &claims);
    assert_eq!(scene.exchange(&token).await.status, StatusCode::OK);
    // With an issuer by default, and named in the request.
    let claims = changed(scene.claims("a"), json!({ "iss": OTHER_CLIENT.0 }));
    for issuer in ["app:mobile", "mobile", "app:nextjs", "github"] {
        let claims = changed(claims.clone(), json!({ "jti": issuer }));
        let token = sign(&scene.other_key, &claims);
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token.as_str()),
            ("subject_token_type", JWT),
            ("subject_issuer", issuer),
        ];
        let request = scene.service.token_request_as(OTHER_CLIENT, &form);
        let is_its_own = issuer.ends_with("mobile");
        let answer = scene.service.send(request).await;
        assert_eq!(answer.status.is_success(), is_its_own, "{issuer}");
    }
}

#[tokio::test]
async fn t120_a_jwt_of_another_key_algorithm_or_form_opens_nothing() {
    let scene = Scene::start().await;
    let claims = scene.claims("user-17");
    let with = |changes: Value| {
        scene
            .key
            .sign_with_header(&changed(header(&scene.key), changes), &claims)
    };
    scene.service.dynamodb.clear();

    // A stranger's key with the same kid, and the key of another client.
    scene
        .refuses(&sign(&Key::new("one"), &claims), "signature")
        .await;
    scene
        .refuses(&sign(&scene.other_key, &claims), "fits its header")
        .await;
    let forged = scene
        .other_key
        .sign_with_header(&header(&scene.key), &claims);
    scene.refuses(&forged, "signature").await;
    let nameless = json!({ "alg": "ES256", "typ": "vouch+jwt" });
    let forged = scene.other_key.sign_with_header(&nameless, &claims);
    scene.refuses(&forged, "signature").await;
    // A symmetric algorithm, keyed with what is public.
    let public = scene.key.jwk.to_string();
    let x = scene.key.jwk["x"].as_str().unwrap();
    for secret in [public.as_bytes(), x.as_bytes(), b""] {
        for alg in ["HS256", "HS384", "HS512"] {
            let header = changed(header(&scene.key), json!({ "alg": alg })).to_string();
            let key = EncodingKey::from_secret(secret);
            let alg: Algorithm = alg.parse().unwrap();
            let token = forge::sign(&header, &claims.to_string(), &key, alg);
            scene.refuses(&token, "its algorithm is none of").await;
        }
    }
    for alg in ["none", "None", ""] {
        let header = changed(header(&scene.key), json!({ "alg": alg })).to_string();
        let unsigned = forge::unsigned(&header, &claims.to_string());
        for signature in ["", "AA"] {
            let token = format!("{unsigned}.{signature}");
            scene.refuses(&token, "not a plain").await;
        }
    }
    scene
        .refuses(&with(json!({ "alg": "ES384" })), "its algorithm is none of")
        .await;
    for alg in ["RS256", "PS256", "EdDSA"] {
        let token = with(json!({ "alg": alg }));
        scene.refuses(&token, "its algorithm is not").await;
    }
    scene
        .refuses(&with(json!({ "kid": "two" })), "fits its header")
        .await;
    for typ in [
        json!("JWT"),
        json!("at+jwt"),
        json!("client-authentication+jwt"),
        json!("vouch"),
        json!(null),
    ] {
        let token = with(json!({ "typ": typ }));
        scene.refuses(&token, "its typ is not vouch+jwt").await;
    }
    for member in ["b64", "crit", "enc", "jku", "jwk", "x5c", "x5u", "zip"] {
        let token = with(json!({ member: ["exp"] }));
        scene.refuses(&token, "not a plain").await;
    }
    scene.refuses("nonsense", "not a plain").await;
    // A changed claim under the same signature.
    let token = scene.sign(&claims);
    let (_, signature) = token.rsplit_once('.').unwrap();
    let other = changed(claims.clone(), json!({ "sub": "admin" }));
    let other = forge::unsigned(&header(&scene.key).to_string(), &other.to_string());
    scene
        .refuses(&format!("{other}.{signature}"), "signature")
        .await;
    // As another type of token, it is none.
    for (kind, issuer) in [
        (ID_TOKEN, "app:nextjs"),
        (ID_TOKEN, SHOP),
        (tests::ACCESS_TOKEN, "app:nextjs"),
        (tests::ACCESS_TOKEN, "github"),
    ] {
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token.as_str()),
            ("subject_token_type", kind),
            ("subject_issuer", issuer),
        ];
        assert_refused(&scene.service.token(&form).await, "subject token");
    }
    for more in [("nonce", "n"), ("subject_access_token", "t")] {
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token.as_str()),
            ("subject_token_type", JWT),
            more,
        ];
        assert_refused(&scene.service.token(&form).await, "for ID tokens only");
    }

    assert!(scene.service.dynamodb.calls().is_empty());
    assert!(scene.service.items().is_empty(), "nothing is written");
    assert_eq!(scene.exchange(&token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn t121_a_jwt_of_another_issuer_audience_or_time_opens_nothing() {
    let scene = Scene::start().await;
    let now = scene.service.time.now();
    scene.service.dynamodb.clear();

    for (changes, why) in [
        (json!({ "iss": "https://evil.example" }), "iss"),
        (json!({ "iss": CLIENT.0 }), "iss"),
        (json!({ "iss": format!("{SHOP}/") }), "iss"),
        (json!({ "iss": null }), "not a plain"),
        (json!({ "aud": "https://evil.example" }), "aud"),
        (json!({ "aud": [ISSUER, "https://evil.example"] }), "aud"),
        (json!({ "aud": [] }), "aud"),
        (json!({ "aud": format!("{ISSUER}/revoke") }), "aud"),
        (json!({ "aud": format!("{ISSUER}/token/x") }), "aud"),
        (json!({ "aud": null }), "claim"),
        (json!({ "exp": null }), "claim"),
        (json!({ "exp": "9999999999" }), "claim"),
        (json!({ "exp": now - 60, "iat": now - 120 }), "expired"),
        (json!({ "exp": now + 301 }), "longer than 5 minutes"),
        (json!({ "exp": u64::MAX }), "longer than 5 minutes"),
        (
            json!({ "exp": now + 3600, "iat": null }),
            "longer than 5 minutes",
        ),
        (
            json!({ "exp": now + 600, "iat": null }),
            "longer than 5 minutes",
        ),
        (
            json!({ "exp": now + 30, "iat": now - 300 }),
            "longer than 5 minutes",
        ),
        (json!({ "iat": now + 600, "exp": now + 660 }), "future"),
        (json!({ "iat": u64::MAX, "exp": u64::MAX }), "future"),
        (json!({ "nbf": now + 600 }), "future"),
        (json!({ "iat": "now" }), "claim"),
        (json!({ "jti": null }), "claim"),
        (json!({ "jti": 5 }), "claim"),
        (json!({ "jti": "" }), "jti"),
        (json!({ "jti": "x".repeat(257) }), "jti"),
        (json!({ "sub": null }), "claim"),
        (json!({ "sub": 17 }), "claim"),
        (json!({ "sub": "" }), "sub"),
        (json!({ "sub": "é" }), "sub"),
        (json!({ "sub": "x".repeat(256) }), "sub"),
    ] {
        let base = json!({ "iat": now, "exp": now + 240 });
        let claims = changed(changed(scene.claims("user-17"), base), changes);
        scene.refuses(&scene.sign(&claims), why).await;
    }

    assert!(scene.service.dynamodb.calls().is_empty());
    assert!(scene.service.items().is_empty(), "nothing is written");
    let longest =
        json!({ "iat": now, "exp": now + 300, "sub": "x".repeat(255), "jti": "x".repeat(256) });
    let answer = scene.exchange(&scene.vouch("", longest)).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
}

#[tokio::test]
async fn t122_a_client_that_does_not_vouch_signs_no_user_in_by_its_word() {
    let scene = Scene::start().await;
    scene.service.dynamodb.clear();
    let of_nextjs = scene.vouch("user-17", json!({}));
    for claims in [
        scene.claims("user-17"),
        changed(scene.claims("user-17"), json!({ "iss": SILENT.0 })),
    ] {
        for key in [&Key::new("one"), &scene.key] {
            let answer = scene.exchange_as(SILENT, &sign(key, &claims)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert_eq!(answer.text("/error"), "unauthorized_client");
            let said = answer.text("/error_description");
            assert!(
                said.contains("add vouches to its entry in CLIENTS"),
                "{said}"
            );
        }
    }
    // Another client that vouches has other keys and another issuer.
    assert_refused(
        &scene.exchange_as(OTHER_CLIENT, &of_nextjs).await,
        "fits its header",
    );
    let renamed = scene
        .other_key
        .sign_with_header(&header(&scene.other_key), &scene.claims("user-17"));
    assert_refused(&scene.exchange_as(OTHER_CLIENT, &renamed).await, "iss");

    assert!(scene.service.dynamodb.calls().is_empty());
    assert!(scene.service.items().is_empty(), "nothing is written");
    assert_eq!(scene.exchange(&of_nextjs).await.status, StatusCode::OK);
}

/// The client has one key for both, and the claims fit both.
#[tokio::test]
async fn t123_neither_a_client_assertion_nor_a_vouched_sign_in_passes_as_the_other() {
    let key = Key::new("one");
    let keys = json!([key.jwk]);
    let clients = json!([{
        "client_id": "app", "jwks": { "keys": keys }, "vouches": { "keys": keys },
    }]);
    let service = Service::start_with(&[("CLIENTS", &clients.to_string())]).await;
    let signed = |typ: &str, jti: &str| {
        let now = service.time.now();
        let claims = json!({
            "iss": "app", "sub": "app", "aud": ISSUER, "iat": now, "exp": now + 60, "jti": jti,
        });
        let header = json!({ "alg": "ES256", "kid": "one", "typ": typ });
        key.sign_with_header(&header, &claims)
    };
    let post = async |assertion: &str, subject: &str| {
        let form = [
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion),
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", subject),
            ("subject_token_type", JWT),
        ];
        let request = service.request("POST", "/token").form(&form);
        service.send(request).await
    };

    let vouched = post(&signed("vouch+jwt", "a"), &signed("vouch+jwt", "b")).await;
    assert_eq!(vouched.status, StatusCode::UNAUTHORIZED);
    assert!(vouched.text("/error_description").contains("typ"));
    assert!(service.items().is_empty());
    for (nth, typ) in ["JWT", "client-authentication+jwt"].into_iter().enumerate() {
        let assertion = signed(typ, &format!("c{nth}"));
        let answer = post(&assertion, &signed(typ, "d")).await;
        assert_refused(&answer, "its typ is not vouch+jwt");
        // The same token in both places.
        let assertion = signed(typ, &format!("e{nth}"));
        assert_refused(&post(&assertion, &assertion).await, "its typ");
    }
    assert!(service.users().is_empty());

    let answer = post(&signed("JWT", "f"), &signed("vouch+jwt", "g")).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
}

#[tokio::test]
async fn t124_a_vouched_sign_in_is_good_once() {
    let scene = Scene::start().await;
    let claims = scene.claims("user-17");
    let token = scene.sign(&claims);
    let first = scene.exchange(&token).await;
    assert_eq!(first.status, StatusCode::OK, "{:?}", first.body);
    let items = scene.service.items();

    // The same request within a minute is a repetition after a lost answer.
    let again = scene.exchange(&token).await;
    assert_eq!(again.status, StatusCode::OK, "{:?}", again.body);
    assert_eq!(again.text("/refresh_token"), first.text("/refresh_token"));
    assert_eq!(again.body["is_new_user"], true);
    // The jti of another token: the same claims signed again, those of another user, and of another time.
    for changes in [
        json!({}),
        json!({ "sub": "admin" }),
        json!({ "exp": scene.service.time.now() + 90 }),
    ] {
        let other = scene.sign(&changed(claims.clone(), changes));
        assert_ne!(other, token);
        scene.refuses(&other, "already exchanged").await;
    }
    assert_eq!(scene.service.users().len(), 1);
    assert_eq!(scene.service.sessions().len(), 1);
    assert_eq!(scene.service.items().len(), items.len());

    // Another client may have the same jti.
    let theirs = changed(claims.clone(), json!({ "iss": OTHER_CLIENT.0 }));
    let theirs = sign(&scene.other_key, &theirs);
    let answer = scene.exchange_as(OTHER_CLIENT, &theirs).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);

    // After a refresh, or a minute, the session is not handed out again.
    scene.service.refresh(first.text("/refresh_token")).await;
    scene.refuses(&token, "already exchanged").await;
    let token = scene.vouch("user-17", json!({ "exp": scene.service.time.now() + 300 }));
    assert_eq!(scene.exchange(&token).await.status, StatusCode::OK);
    scene.service.time.pass(61);
    scene.refuses(&token, "already exchanged").await;

    let used = scene.service.items_of("ASSERTION#");
    assert_eq!(used.len(), 3);
    for item in used {
        let expires_at: u64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
        let exp = claims["exp"].as_u64().unwrap();
        assert!(expires_at >= exp + 60, "not before it is refused anyway");
        assert!(!item.to_string().contains(claims["jti"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn t124_of_many_tokens_with_one_jti_one_signs_in() {
    let _turning = tests::timers::follow_work();
    let scene = Scene::start().await;
    let claims = scene.claims("");
    let requests = (0..20).map(|nth| {
        let token = scene.sign(&changed(
            claims.clone(),
            json!({ "sub": format!("user-{nth}") }),
        ));
        tokio::spawn(settle(scene.request(CLIENT, &token)))
    });
    let mut accepted = 0;
    for request in requests.collect::<Vec<_>>() {
        accepted += usize::from(request.await.unwrap().status == StatusCode::OK);
    }

    assert_eq!(accepted, 1);
    assert_eq!(scene.service.users().len(), 1);
}

#[tokio::test]
async fn t72_a_vouched_sign_in_without_an_answer_is_sent_again_unchanged() {
    let scene = Scene::start().await;
    let service = &scene.service;
    for operation in ["PutItem", "GetItem", "TransactWriteItems"] {
        for fault in [Fault::ResetAfterForwarding, Fault::Refuse] {
            let sub = format!("{operation}-{fault:?}");
            let token = scene.vouch(&sub, json!({}));
            service
                .dynamodb
                .fault_times(3, When::Operation(operation), fault);
            let unavailable = service.send(scene.request(CLIENT, &token)).await;
            assert_eq!(
                unavailable.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{sub}: {:?}",
                unavailable.body
            );
            service.dynamodb.heal();

            let answer = service.send(scene.request(CLIENT, &token)).await;

            assert_eq!(answer.status, StatusCode::OK, "{sub}: {:?}", answer.body);
            assert_eq!(answer.body["is_new_user"], true, "{sub}");
        }
    }
    service.check_invariants();
}

#[tokio::test]
async fn t125_a_user_of_an_app_is_no_user_of_another_app_or_of_a_provider() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let scene = Scene::start_with(&[("OIDC_PROVIDERS", &issuer.settings())]).await;
    let octocat = scene.service.sign_in("octocat").await;
    let subject = octocat.text("/user/identities/0/subject").to_owned();
    let id_token = key.sign(&issuer.claims(&subject, scene.service.time.now()));
    let by_type = async |kind: &str, token: &str| {
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", kind),
        ];
        scene.service.token(&form).await
    };
    // An ID token goes by both types, as before.
    let at_acme = by_type(JWT, &id_token).await;
    assert_eq!(at_acme.status, StatusCode::OK, "{:?}", at_acme.body);
    assert_eq!(at_acme.text("/user/identities/0/provider"), "acme");

    let ours = scene.sign_in(&subject).await;
    let claims = changed(scene.claims(&subject), json!({ "iss": OTHER_CLIENT.0 }));
    let theirs = sign(&scene.other_key, &claims);
    let theirs = scene.exchange_as(OTHER_CLIENT, &theirs).await;

    assert_eq!(theirs.text("/user/identities/0/provider"), "app:mobile");
    let ids = [&octocat, &at_acme, &ours, &theirs].map(|answer| answer.text("/user/id"));
    let different: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(different.len(), 4, "{ids:?}");
    scene.service.check_invariants();
}

#[tokio::test]
async fn t125_a_vouched_address_joins_no_account_unless_the_operator_says_so() {
    let octocat = json!({ "email": "octocat@example.com" });
    for (mode, trusted, joins, email_in_use) in [
        ("off", "", false, json!(null)),
        ("link", "github", false, json!(null)),
        ("link", "github,app:mobile", false, json!(null)),
        ("ask", "github,app:nextjs", false, json!(true)),
        ("link", "github,app:nextjs", true, json!(null)),
    ] {
        let settings = [
            ("LINK_BY_VERIFIED_EMAIL", mode),
            ("LINK_EMAIL_PROVIDERS", trusted),
        ];
        let scene = Scene::start_with(&settings).await;
        let first = scene.service.sign_in("octocat").await;

        let vouched = scene
            .exchange(&scene.vouch("user-17", octocat.clone()))
            .await;

        assert_eq!(vouched.status, StatusCode::OK, "{:?}", vouched.body);
        let is_same = vouched.text("/user/id") == first.text("/user/id");
        assert_eq!(is_same, joins, "{mode} {trusted}");
        assert_eq!(vouched.body["email_in_use"], email_in_use, "{mode}");
        // The address of the app is not verified: no account is joined.
        let unverified = changed(octocat.clone(), json!({ "email_verified": false }));
        let apart = scene.exchange(&scene.vouch("user-18", unverified)).await;
        assert_ne!(apart.text("/user/id"), first.text("/user/id"));
        scene.service.check_invariants();
    }
}

#[tokio::test]
async fn t125_who_may_sign_up_is_decided_for_vouched_users_too() {
    for (allowed, subs) in [
        ("nobody", &[][..]),
        (r#"{"emails":["ada@example.com"]}"#, &["a", "b"]),
        (r#"{"email_domains":["example.com"]}"#, &["a", "b"]),
        (r#"{"email_domains":["example.org"]}"#, &[]),
        (r#"{"identities":["app:nextjs:a"]}"#, &["a"]),
        (
            r#"{"identities":["nextjs:a","app:mobile:b","github:b"]}"#,
            &[],
        ),
    ] {
        let scene = Scene::start_with(&[("ALLOWED_SIGNUPS", allowed)]).await;
        for sub in ["a", "b"] {
            let answer = scene.exchange(&scene.vouch(sub, json!({}))).await;
            if subs.contains(&sub) {
                assert_eq!(answer.status, StatusCode::OK, "{allowed} {sub}");
            } else {
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{allowed} {sub}");
                assert_eq!(answer.text("/error"), "access_denied", "{allowed} {sub}");
            }
        }
        assert_eq!(scene.service.users().len(), subs.len(), "{allowed}");
        assert_eq!(scene.service.sessions().len(), subs.len(), "{allowed}");
    }
}

/// An entry of the list that names the user of an app is not that of a provider whose name is `app`.
#[tokio::test]
async fn t125_a_provider_named_app_has_no_user_of_an_app() {
    let key = Key::new("one");
    let issuer = Issuer::start(&key).await;
    let providers = json!([issuer.provider("app")]).to_string();
    let scene = Scene::start_with(&[
        ("OIDC_PROVIDERS", &providers),
        (
            "ALLOWED_SIGNUPS",
            r#"{"identities":["app:nextjs:a","app:b"]}"#,
        ),
    ])
    .await;
    for (sub, is_let_in) in [("nextjs:a", false), ("b", true)] {
        let id_token = key.sign(&issuer.claims(sub, scene.service.time.now()));
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", id_token.as_str()),
            ("subject_token_type", ID_TOKEN),
        ];
        let answer = scene.service.token(&form).await;
        assert_eq!(answer.status.is_success(), is_let_in, "{sub}");
    }
    scene.sign_in("a").await;
}

#[tokio::test]
async fn a_vouched_user_who_is_disabled_stays_out() {
    let scene = Scene::start().await;
    let signed_in = scene.sign_in("user-17").await;
    let mut user = scene.service.users().remove(0);
    user["status"] = json!({ "S": "disabled" });
    scene.service.put(local::dynamodb::TABLE, &user);

    let answer = scene.exchange(&scene.vouch("user-17", json!({}))).await;

    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.text("/error"), "access_denied");
    let refreshed = scene
        .service
        .refresh(signed_in.text("/refresh_token"))
        .await;
    assert_eq!(refreshed.text("/error"), "invalid_grant");
    assert_eq!(scene.service.users(), [user]);
}

#[tokio::test]
async fn a_vouched_user_links_and_unlinks_accounts_and_leaves() {
    let scene = Scene::start().await;
    let service = &scene.service;
    let octocat = service.sign_in("octocat").await;
    let token = octocat.text("/access_token");

    // Linking takes the word of the client of the access token, once.
    let vouched = scene.vouch("user-17", json!({}));
    let linked = scene.link(token, &vouched).await;
    assert_eq!(linked.status, StatusCode::OK, "{:?}", linked.body);
    assert_eq!(linked.text("/identities/0/provider"), "app:nextjs");
    assert_eq!(linked.text("/identities/0/subject"), "user-17");
    let repeated = scene.link(token, &vouched).await;
    assert_eq!(repeated.body, linked.body);
    scene.refuses(&vouched, "already exchanged").await;
    let another = scene.link(token, &scene.vouch("user-18", json!({}))).await;
    assert_eq!(
        another.text("/type"),
        "urn:cambio:error:provider_already_linked"
    );
    let same = scene.sign_in("user-17").await;
    assert_eq!(same.text("/user/id"), octocat.text("/user/id"));

    // A user of the app belongs to one user, and a used jti links nothing.
    let hubot = service.sign_in("hubot").await;
    let hubot_token = hubot.text("/access_token");
    let taken = scene
        .link(hubot_token, &scene.vouch("user-17", json!({})))
        .await;
    assert_eq!(taken.text("/type"), "urn:cambio:error:identity_in_use");
    let claims = scene.claims("user-19");
    let used = scene.exchange(&scene.sign(&claims)).await;
    assert_eq!(used.status, StatusCode::OK);
    let other = changed(claims, json!({ "sub": "user-20" }));
    let spent = scene.link(hubot_token, &scene.sign(&other)).await;
    assert_eq!(spent.status, StatusCode::BAD_REQUEST, "{:?}", spent.body);
    assert_eq!(spent.text("/type"), "urn:cambio:error:invalid_request");
    let theirs = changed(scene.claims("a"), json!({ "iss": OTHER_CLIENT.0 }));
    let theirs = scene
        .link(hubot_token, &sign(&scene.other_key, &theirs))
        .await;
    assert_eq!(theirs.status, StatusCode::BAD_REQUEST, "{:?}", theirs.body);

    // Unlinking goes by the name, written as it is or with the colon escaped.
    for name in ["app:nextjs", "app%3Anextjs"] {
        let path = format!("/me/identities/{name}");
        let unlinked = service.delete_as_user(token, &path).await;
        assert_eq!(unlinked.status, StatusCode::NO_CONTENT, "{name}");
    }
    let apart = scene.sign_in("user-17").await;
    assert_ne!(apart.text("/user/id"), octocat.text("/user/id"));
    service.check_invariants();

    // With auth_time, the user deletes the account; the app's user can come back as a new one.
    let now = service.time.now();
    let changes = json!({ "auth_time": now });
    let signed_in = scene.exchange(&scene.vouch("user-17", changes)).await;
    let token = signed_in.text("/access_token");
    let last = service
        .delete_as_user(token, "/me/identities/app:nextjs")
        .await;
    assert_eq!(last.text("/type"), "urn:cambio:error:last_identity");
    let deleted = service.delete_as_user(token, "/me").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{:?}", deleted.body);
    let anew = scene.sign_in("user-17").await;
    assert_eq!(anew.body["is_new_user"], true);
    assert_ne!(anew.text("/user/id"), signed_in.text("/user/id"));
    service.check_invariants();
}

/// A changed issuer of the client does not change its users, and a removed member ends what it allowed.
#[tokio::test]
async fn the_users_of_an_app_stay_when_its_settings_change() {
    let mut scene = Scene::start().await;
    let first = scene.sign_in("user-17").await;
    let mut clients: Value = serde_json::from_str(&scene.service.variables["CLIENTS"]).unwrap();
    let vouches = &mut clients[0]["vouches"];
    vouches["issuer"] = "https://new.example.com".into();
    let clients = clients.to_string();
    let variables = &mut scene.service.variables;
    variables.insert("CLIENTS".to_owned(), clients.clone());
    scene.service.url = scene.service.another_process().await;

    let changes = json!({ "iss": "https://new.example.com" });
    let again = scene.exchange(&scene.vouch("user-17", changes)).await;
    assert_eq!(again.text("/user/id"), first.text("/user/id"));
    scene
        .refuses(&scene.vouch("user-17", json!({})), "iss")
        .await;

    // A client with a list of providers names its own users in it.
    let mut clients: Value = serde_json::from_str(&clients).unwrap();
    clients[0]["providers"] = json!(["github"]);
    clients[0].as_object_mut().unwrap().remove("vouches");
    let variables = &mut scene.service.variables;
    variables.insert("CLIENTS".to_owned(), clients.to_string());
    scene.service.url = scene.service.another_process().await;
    let ended = scene.service.refresh(again.text("/refresh_token")).await;
    assert_eq!(ended.text("/error"), "invalid_grant");
    let refused = scene.exchange(&scene.vouch("user-17", json!({}))).await;
    assert_eq!(refused.text("/error"), "unauthorized_client");
}
