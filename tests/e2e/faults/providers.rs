//! Sign-ins and linking with each fault at each call to a provider.

use reqwest::StatusCode;
use serde_json::json;
use tests::{
    Answer, Service, TOKEN_EXCHANGE,
    oidc::{Issuer, Key},
    opaque::{self, Opaque},
    proxy::{Fault, Proxy, When},
    timers::each_alone,
};
use tokio::time::Instant;

use super::Named;

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// The longest wait that a provider's answer asks for, and the one after an answer that names none, in seconds.
const LONGEST_WAIT: i64 = 61;

/// A provider, with the number of calls that it gets for a token.
#[derive(Clone, Copy, Debug)]
enum By {
    GitHub,
    Discord,
    Facebook,
    OpenId,
}

const PROVIDERS: [(By, usize); 4] = [
    (By::GitHub, 3),
    (By::Discord, 2),
    (By::Facebook, 2),
    (By::OpenId, 2),
];

struct World {
    service: Service,
    opaque: Opaque,
    issuer: Issuer,
    key: Key,
    by: By,
    /// The access token of a user who links the account; `None` for a sign-in.
    user: Option<String>,
    subject_token: String,
}

impl World {
    async fn start(by: By) -> Self {
        let key = Key::new("one");
        let issuer = Issuer::start(&key).await;
        let opaque = Opaque::start().await;
        let settings = [
            ("OAUTH_PROVIDERS", opaque.settings()),
            ("OIDC_PROVIDERS", issuer.settings()),
        ];
        let settings = settings
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        Self {
            service: Service::start_with(&settings).await,
            opaque,
            issuer,
            key,
            by,
            user: None,
            subject_token: String::new(),
        }
    }

    /// Empties the table, makes a token of the provider, and signs in the user who links its account, if any.
    async fn begin(&mut self, links: bool) {
        for item in self.service.items() {
            self.service.delete(&item);
        }
        self.subject_token = match self.by {
            By::GitHub => self.service.github_token("octocat"),
            By::Discord => format!("{}~ada~identify.email", opaque::APP),
            By::Facebook => format!("{}~ada~public_profile.email", opaque::APP),
            By::OpenId => self.id_token("ada"),
        };
        self.user = None;
        if links {
            // By another provider than the one under test.
            let answer = match self.by {
                By::GitHub => self.exchange_jwt(&self.id_token("grace")).await,
                _ => self.service.sign_in("octocat").await,
            };
            assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
            self.user = Some(answer.text("/access_token").to_owned());
        }
        self.proxy().clear();
    }

    fn id_token(&self, sub: &str) -> String {
        let now = self.service.time.now();
        self.key.sign(&self.issuer.claims(sub, now))
    }

    fn proxy(&self) -> &Proxy {
        match self.by {
            By::GitHub => &self.service.github,
            By::Discord | By::Facebook => &self.opaque.proxy,
            By::OpenId => &self.issuer.proxy,
        }
    }

    async fn exchange_jwt(&self, token: &str) -> Answer {
        let parameters = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", ID_TOKEN),
        ];
        self.service.token(&parameters).await
    }

    async fn request(&self) -> Answer {
        let issuer = match self.by {
            By::GitHub => "github",
            By::Discord => "discord",
            By::Facebook => "facebook",
            By::OpenId => "",
        };
        let token = &self.subject_token;
        let Some(user) = &self.user else {
            return match self.by {
                By::OpenId => self.exchange_jwt(token).await,
                _ => self.service.exchange_from(issuer, token).await,
            };
        };
        match self.by {
            By::OpenId => {
                let body = json!({ "subject_token": token, "subject_token_type": ID_TOKEN });
                let request = self.service.as_user(user, "POST", "/me/identities");
                self.service.send(request.json(&body)).await
            }
            _ => self.service.link(user, issuer, token).await,
        }
    }

    /// Returns the users and the identities: what a sign-in or a link writes.
    fn written(&self) -> (usize, usize) {
        let (users, identities) = (self.service.users(), self.service.items_of("IDENTITY#"));
        (users.len(), identities.len())
    }
}

/// Injects `fault` at the `nth` call to the provider, once or from that call on. Asserts a right answer or one that the
/// provider is unavailable, that nothing was written in the second case, and that a repetition succeeds.
async fn run(world: &World, nth: usize, (name, fault): &(&str, Fault), stays: bool) {
    let before = world.written();
    let last = if stays { nth + 30 } else { nth };
    for nth in nth..=last {
        world.proxy().fault(When::Nth(nth), fault.clone());
    }

    let began = Instant::now();
    let answer = world.request().await;
    let passed = began.elapsed();

    let is_late = name.ends_with("ms late");
    let identities = if world.user.is_some() { 2 } else { 1 };
    if answer.status == StatusCode::OK {
        assert!(!stays || is_late, "{:?}", answer.body);
        assert_eq!(world.written(), (1, identities));
    } else {
        let body = &answer.body;
        assert!(!is_late, "{body:?}");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{body:?}");
        let code = [answer.text("/error"), answer.text("/type")].concat();
        assert!(code.ends_with("temporarily_unavailable"), "{code}");
        let wait: i64 = answer.header("retry-after").parse().unwrap();
        assert!((1..LONGEST_WAIT).contains(&wait), "{wait}");
        assert_eq!(world.written(), before, "something was written");
    }
    // The time limit of a route. The clock turns in steps.
    assert!(passed.as_millis() < 8050, "{passed:?}");
    world.proxy().heal();
    world.proxy().settled().await;
    world.service.check_invariants();

    world.service.time.pass(LONGEST_WAIT);
    if answer.status == StatusCode::OK {
        return;
    }
    let again = world.request().await;

    assert_eq!(again.status, StatusCode::OK, "again: {:?}", again.body);
    world.service.check_invariants();
    assert_eq!(world.written(), (1, identities));
}

#[test]
fn t53_every_call_to_a_provider_survives_every_fault() {
    let mut calls = Vec::new();
    for (by, count) in PROVIDERS {
        // Linking meets each fault once, and a sign-in meets it again when it asks again.
        calls.extend((1..=count).flat_map(|nth| [(by, nth, true), (by, nth, false)]));
    }
    let wrong = each_alone(&PROVIDERS, async |(by, count)| {
        let mut world = World::start(*by).await;
        world.begin(false).await;
        let answer = world.request().await;
        assert_eq!(answer.status, StatusCode::OK, "{by:?}: {:?}", answer.body);
        let made = world.proxy().calls();
        assert_eq!(made.len(), *count, "{by:?}: {made:#?}");
    });
    assert!(wrong.is_empty(), "without a fault: {wrong:?}");

    let failed = each_alone(&calls, async |(by, nth, links)| {
        let mut world = World::start(*by).await;
        for fault in Fault::of_a_provider() {
            let _named = Named(format!("{by:?}, call {nth}, links: {links}, {fault:?}"));
            if let By::OpenId = by {
                // The keys of the issuer were read, and are kept.
                world = World::start(*by).await;
            }
            world.begin(*links).await;
            run(&world, *nth, &fault, !links).await;
        }
    });

    assert!(failed.is_empty(), "failed: {failed:?}");
}
