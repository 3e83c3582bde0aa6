//! The generated mutants.

use std::sync::Arc;

use axum::extract::FromRequest;
use proptest::test_runner::{Config, RngSeed};
use shared::{
    clients::Clients,
    config::Environment,
    http::{ApiError, Form},
    provider::{ProviderError, Providers, SubjectToken, SubjectTokenType, Voucher},
    sessions::RefreshToken,
    start::Start,
    token::{TokenError, TokenVerifier},
};

use super::*;

/// The number of mutants of each kind: 100,000 in all.
const COUNTS: [(Kind, u64); 8] = [
    (Kind::AccessToken, 40_000),
    (Kind::RefreshToken, 15_000),
    (Kind::IdToken, 15_000),
    (Kind::Assertion, 10_000),
    (Kind::Vouched, 10_000),
    (Kind::ClientSecret, 8_000),
    // Each of them is a call of the provider.
    (Kind::GitHubToken, 1_000),
    (Kind::OpaqueToken, 1_000),
];
/// One of so many mutants is sent as a request.
const A_REQUEST_OF: u64 = 41;
/// One of so many mutants of a JWT has changed claims or a changed header, and a valid signature.
const SIGNED_OF: u64 = 8;

const BASE64URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Pseudo-random numbers (xorshift64*), the same for the same seed and the same mutant.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, number: u64) -> Self {
        let mut dice = Self((seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        dice.next();
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Returns a character that tokens have, or any visible one.
    fn character(&mut self) -> u8 {
        if self.below(4) > 0 {
            *self.one_of(BASE64URL)
        } else {
            u8::try_from(0x21 + self.below(0x7e - 0x20)).unwrap()
        }
    }
}

/// Changes a text in one to three places.
fn mutated(good: &str, others: &[String], dice: &mut Dice) -> String {
    let mut text = good.as_bytes().to_vec();
    for _ in 0..=dice.below(3) {
        if text.len() < 2 {
            text.push(dice.character());
            continue;
        }
        let (at, other) = (dice.below(text.len()), dice.below(text.len()));
        let (start, end) = (at.min(other), at.max(other));
        match dice.below(10) {
            0 | 1 => text[at] = dice.character(),
            2 => text.insert(at, dice.character()),
            3 => {
                text.remove(at);
            }
            4 => text.swap(at, other),
            5 => text.truncate(at),
            6 => text = [&text[..end], &text[start..]].concat(),
            7 => drop(text.drain(start..end)),
            8 => {
                let other = dice.one_of(others).as_bytes();
                let from = dice.below(other.len());
                text = [&text[..at], &other[from..]].concat();
            }
            _ => {
                let changed = [text[at].to_ascii_uppercase(), text[at].to_ascii_lowercase()];
                text[at] = *dice.one_of(&changed);
            }
        }
    }
    String::from_utf8(text).unwrap()
}

/// The verifiers of all kinds of tokens, in this process.
struct Verifiers {
    tokens: TokenVerifier,
    providers: Arc<Providers>,
    clients: Clients,
    voucher: Voucher,
}

impl Verifiers {
    async fn start(scene: &Scene) -> Self {
        let env = Environment::of(scene.service.variables.clone());
        let start = Start::new(&env, scene.service.time.clock()).unwrap();
        let apps = shared::clients::ClientProviders::from_env(&env).unwrap();
        Self {
            tokens: start.verifier().await.unwrap(),
            providers: start.providers().await.unwrap().get().await.unwrap(),
            clients: start.clients().await.unwrap(),
            voucher: apps.voucher(CLIENT.0).unwrap().clone(),
        }
    }

    /// Returns whether the mutant is refused with an error that becomes the one of its kind.
    async fn refuses(&self, mutant: &Mutant) -> bool {
        let text = mutant.text.as_str();
        match mutant.kind {
            Kind::AccessToken => match self.tokens.verify(text).await {
                Ok(_) | Err(TokenError::KeysUnavailable(_) | TokenError::Signing) => false,
                Err(_) => true,
            },
            Kind::RefreshToken => RefreshToken::parse(text).is_err(),
            Kind::IdToken => {
                self.is_no_subject(text, SubjectTokenType::IdToken, None)
                    .await
            }
            Kind::Vouched => self.is_no_subject(text, SubjectTokenType::Jwt, None).await,
            Kind::GitHubToken => {
                let kind = SubjectTokenType::AccessToken;
                self.is_no_subject(text, kind, Some("github")).await
            }
            Kind::OpaqueToken => {
                let kind = SubjectTokenType::AccessToken;
                self.is_no_subject(text, kind, Some("discord")).await
            }
            Kind::Assertion => {
                let form = [
                    ("client_assertion_type", ASSERTION_TYPE),
                    ("client_assertion", text),
                ];
                self.is_no_client(&form).await
            }
            Kind::ClientSecret => {
                let form = [("client_id", CLIENT.0), ("client_secret", text)];
                self.is_no_client(&form).await
            }
        }
    }

    async fn is_no_subject(
        &self,
        text: &str,
        kind: SubjectTokenType,
        issuer: Option<&str>,
    ) -> bool {
        let subject = SubjectToken {
            token: text.into(),
            kind,
            issuer: issuer.map(str::to_owned),
            nonce: None,
            access_token: None,
        };
        let refused = match self.providers.resolve(&subject, Some(&self.voucher)) {
            Ok(resolved) => resolved.verify().await.map(drop),
            Err(error) => Err(error),
        };
        let refused = refused.err();
        matches!(
            refused,
            Some(ProviderError::Rejected(_) | ProviderError::UnknownIssuer { .. })
        )
    }

    async fn is_no_client(&self, form: &[(&str, &str)]) -> bool {
        let mut body = form_urlencoded::Serializer::new(String::new());
        let body = body.extend_pairs(form).finish();
        let request = Request::post("/token").header(CONTENT_TYPE, FORM);
        let request = request.body(body.into()).unwrap();
        let mut form = Form::from_request(request, &()).await.unwrap();
        let refused = self.clients.authenticate(&mut form).await.err();
        matches!(
            refused,
            Some(ApiError::InvalidClient(_) | ApiError::ClientAssertion { .. })
        )
    }
}

impl Scene {
    /// Returns a JWT with a change that makes it invalid, signed with the right key.
    fn signed_mutant(&self, kind: Kind, dice: &mut Dice) -> Mutant {
        let (mut header, mut claims) = self.parts(kind);
        let now = self.service.time.now();
        let name = *dice.one_of(&["iss", "aud", "sub", "exp"]);
        let random: String = (0..8 + dice.below(53))
            .map(|_| char::from(*dice.one_of(BASE64URL)))
            .collect();
        let number = dice.next() % 1_000_000_000;
        let class = match dice.below(8) {
            0 => {
                header["alg"] = random.into();
                "a random alg"
            }
            1 => {
                header["kid"] = random.into();
                "a random kid"
            }
            2 => {
                header["typ"] = random.into();
                "a random typ"
            }
            3 => {
                claims[name] = dice
                    .one_of(&[json!(null), json!([7]), json!({}), json!(false)])
                    .clone();
                "a claim of another type"
            }
            4 => {
                claims.as_object_mut().unwrap().remove(name);
                "a missing claim"
            }
            5 => {
                let name = *dice.one_of(&["iss", "aud"]);
                claims[name] = random.into();
                "a random iss or aud"
            }
            6 => {
                claims["exp"] = (now - 60 - number).into();
                "an expired token"
            }
            _ => {
                claims["iat"] = (now + 400 + number).into();
                "a token of the future"
            }
        };
        Mutant {
            kind,
            class,
            text: self.sign(kind, &header.to_string(), &claims.to_string()),
        }
    }

    /// Returns a refresh token with one wrong bit and a new checksum.
    fn checked_mutant(&self, dice: &mut Dice) -> Mutant {
        let mut bytes = URL_SAFE_NO_PAD.decode(&self.refresh_token[4..]).unwrap();
        let length = bytes.len() - 4;
        bytes.truncate(length);
        bytes[dice.below(length)] ^= 1 << dice.below(8);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        Mutant {
            kind: Kind::RefreshToken,
            class: "a wrong bit",
            text: format!("cbr_{}", URL_SAFE_NO_PAD.encode(bytes)),
        }
    }

    fn mutant(&self, kind: Kind, goods: &[String], number: u64, dice: &mut Dice) -> Mutant {
        if Kind::JWTS.contains(&kind) && number.is_multiple_of(SIGNED_OF) {
            return self.signed_mutant(kind, dice);
        }
        if kind == Kind::RefreshToken && number.is_multiple_of(A_REQUEST_OF) {
            return self.checked_mutant(dice);
        }
        let good = Kind::ALL
            .iter()
            .zip(goods)
            .find(|(other, _)| **other == kind);
        let good = good.map(|(_, good)| good.as_str()).unwrap();
        loop {
            let mut text = mutated(good, goods, dice);
            if kind == Kind::OpaqueToken && text.starts_with(APP) {
                // The stand-in takes any text behind the application for a person and scopes.
                text.insert(0, char::from(*dice.one_of(BASE64URL)));
            }
            // Splicing may make a valid token of this kind, or of the other kind that is valid here.
            if !text.is_empty() && !goods.contains(&text) {
                return Mutant {
                    kind,
                    class: "a changed text",
                    text,
                };
            }
        }
    }
}

#[tokio::test]
async fn t20_each_generated_mutant_of_a_token_is_refused_and_changes_nothing() {
    let seed = match Config::default().rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => uuid::Uuid::new_v4().as_u64_pair().0,
    };
    println!("to see these mutants again: PROPTEST_RNG_SEED={seed}");
    let scene = Scene::start().await;
    let verifiers = Verifiers::start(&scene).await;
    let goods = Kind::ALL.map(|kind| scene.good(kind));
    let before = scene.tables();

    for (kind, count) in COUNTS {
        for number in 0..count {
            let mut dice = Dice::new(seed, number);
            let mutant = scene.mutant(kind, &goods, number, &mut dice);
            if number.is_multiple_of(A_REQUEST_OF) {
                scene.refuses(&mutant).await;
            } else {
                let is_refused = verifiers.refuses(&mutant).await;
                assert!(is_refused, "mutant {number} with seed {seed}: {mutant}");
            }
        }
    }

    assert!(scene.tables() == before, "an item changed");
    assert_eq!(COUNTS.iter().map(|(_, count)| count).sum::<u64>(), 100_000);
}
