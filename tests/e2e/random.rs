//! Random runs: clients in parallel, faults at any call, and an end; what must hold of sessions holds in each of them.
//!
//! The model of `shared/tests/session_model.rs` walks through all orders of a few steps; here the steps are the real ones,
//! in whatever order they happen to come.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngSeed, TestRunner},
};
use reqwest::{RequestBuilder, StatusCode};
use tests::{
    Answer, CLIENT, Service, exchange_of, persist,
    proxy::{Fault, When},
    refresh_of, settle,
};
use tokio::{sync::Semaphore, task::JoinSet};

const RUNS: usize = 40;
/// How many runs share this machine at a time.
const AT_ONCE: usize = 4;

/// What goes wrong at one call to DynamoDB.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// The write is applied, and nobody hears of it.
    AnswerLost,
    AnswerHangs,
    /// The write is applied after whoever sent it has given up.
    Late,
    Lost,
    Throttled,
    Conflict,
    ServerError,
}

impl Mishap {
    fn fault(self) -> Fault {
        match self {
            Self::AnswerLost => Fault::ResetAfterForwarding,
            Self::AnswerHangs => Fault::HangAfterForwarding,
            Self::Late => Fault::Delay(Duration::from_millis(1_200)),
            Self::Lost => Fault::ResetBeforeForwarding,
            Self::Throttled => Fault::throttling(),
            Self::Conflict => Fault::transaction_conflict(),
            Self::ServerError => Fault::internal_server_error(),
        }
    }
}

/// How a run ends, in the middle of everybody's last refresh.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Not at all: everybody goes on.
    GoOn,
    Revoke,
    SignOut,
    SignOutEverywhere,
    SignOutElsewhere,
    DeleteAccount,
    /// Not in the middle: somebody presents a copy of this early token, after the owner has used two that came later.
    Theft,
}

#[derive(Clone, Debug)]
struct Run {
    /// So many requests are under way at a time, at two processes of the API.
    clients: usize,
    /// How often all of them refresh.
    rounds: usize,
    /// In which round, at which call, what.
    mishaps: Vec<(usize, usize, Mishap)>,
    end: End,
}

fn runs() -> impl Strategy<Value = Run> {
    let mishap = prop_oneof![
        Just(Mishap::AnswerLost),
        Just(Mishap::AnswerHangs),
        Just(Mishap::Late),
        Just(Mishap::Lost),
        Just(Mishap::Throttled),
        Just(Mishap::Conflict),
        Just(Mishap::ServerError),
    ];
    let end = prop_oneof![
        Just(End::GoOn),
        Just(End::Revoke),
        Just(End::SignOut),
        Just(End::SignOutEverywhere),
        Just(End::SignOutElsewhere),
        Just(End::DeleteAccount),
        Just(End::Theft),
    ];
    let mishaps = proptest::collection::vec((0..6_usize, 1..30_usize, mishap), 0..12);
    (2..=20_usize, 1..=4_usize, mishaps, end).prop_map(|(clients, rounds, mishaps, end)| Run {
        clients,
        rounds,
        mishaps,
        end,
    })
}

/// A run on its way.
struct Stage {
    run: Run,
    service: Service,
    urls: [String; 2],
    round: usize,
    /// Each token that the app ever had; the last one is what it keeps.
    tokens: Vec<String>,
}

impl Stage {
    /// The app's requests, all at once, while the mishaps of this round happen.
    fn all(&mut self, request: impl Fn(&Service) -> RequestBuilder) -> Vec<RequestBuilder> {
        self.service.dynamodb.heal();
        self.service.dynamodb.clear();
        for (round, call, mishap) in &self.run.mishaps {
            if *round == self.round {
                self.service
                    .dynamodb
                    .fault(When::Nth(*call), mishap.fault());
            }
        }
        self.round += 1;
        let urls = self.urls.iter().cycle().take(self.run.clients);
        let service = &mut self.service;
        urls.map(|url| {
            service.url.clone_from(url);
            request(service)
        })
        .collect()
    }

    /// Everybody who asks again when told to come later gets the same token in the end, and it is the next one.
    async fn everybody_gets_one_token(&mut self, requests: Vec<RequestBuilder>) {
        let mut answers = JoinSet::new();
        for request in requests {
            answers.spawn(persist(request));
        }
        let answers = answers.join_all().await;
        let tokens: BTreeSet<&str> = answers
            .iter()
            .map(|answer| answer.text("/refresh_token"))
            .collect();
        assert_eq!(tokens.len(), 1, "one successor, whoever asks");
        let token = tokens.into_iter().collect::<String>();
        assert!(!self.tokens.contains(&token), "and a new one");
        self.tokens.push(token);
        let generation = (self.tokens.len() - 1).to_string();
        let session = &self.service.sessions()[0];
        assert_eq!(session["generation"]["N"], *generation, "one write won");
        self.service.check_invariants();
    }

    async fn refresh_all(&mut self) {
        let token = self.tokens.last().cloned().unwrap_or_default();
        let requests = self.all(|service| service.token_request(&refresh_of(&token)));
        self.everybody_gets_one_token(requests).await;
    }

    /// No token that anybody ever had is good for anything. The newest comes first: an old one would end the session by
    /// itself.
    async fn nothing_refreshes(&self) {
        for token in self.tokens.iter().rev() {
            let answer = settle(self.service.token_request(&refresh_of(token))).await;
            assert_eq!(answer.text("/error"), "invalid_grant", "{:?}", answer.body);
        }
    }
}

async fn play(run: Run) {
    let mut service = Service::start().await;
    let urls = [service.url.clone(), service.another_process().await];
    let subject_token = service.github_token("octocat");
    let mut stage = Stage {
        run,
        service,
        urls,
        round: 0,
        tokens: Vec::new(),
    };

    let exchanges = stage.all(|service| service.token_request(&exchange_of(&subject_token)));
    stage.everybody_gets_one_token(exchanges).await;
    assert_eq!(
        stage.service.sessions().len(),
        1,
        "one session for one subject token"
    );
    for _ in 0..stage.run.rounds {
        stage.refresh_all().await;
    }
    stage.end().await;
}

impl Stage {
    async fn end(&mut self) {
        let last = self.tokens.last().cloned().unwrap_or_default();
        let access = settle(self.service.token_request(&refresh_of(&last))).await;
        // That began a generation.
        self.tokens.push(access.text("/refresh_token").to_owned());
        let access = access.text("/access_token").to_owned();
        let session = self.service.verify(&access).await.sid;
        let session = format!("/me/sessions/{session}");
        let ending = match self.run.end {
            End::GoOn => return self.refresh_all().await,
            End::Theft => return self.theft().await,
            End::SignOutElsewhere => return self.sign_out_elsewhere().await,
            End::Revoke => self.service.revocation(CLIENT, &self.tokens[0]),
            End::SignOut => self.service.as_user(&access, "DELETE", &session),
            End::SignOutEverywhere => self.service.as_user(&access, "DELETE", "/me/sessions"),
            End::DeleteAccount => self.service.as_user(&access, "DELETE", "/me"),
        };

        let answered = self.refresh_during(ending).await;

        assert!(answered.status.is_success(), "{answered:?}");
        self.nothing_refreshes().await;
        self.service.check_invariants();
    }

    /// Everybody refreshes, and in the middle of it this happens. Whoever is refused is refused for good.
    async fn refresh_during(&mut self, ending: RequestBuilder) -> Answer {
        let token = self.tokens.last().cloned().unwrap_or_default();
        let mut requests = JoinSet::new();
        for request in self.all(|service| service.token_request(&refresh_of(&token))) {
            requests.spawn(settle(request));
        }
        let answered = settle(ending).await;
        let successors: BTreeSet<String> = requests
            .join_all()
            .await
            .iter()
            .filter(|answer| match answer.text("/error") {
                "" => true,
                error => {
                    assert_eq!(error, "invalid_grant");
                    false
                }
            })
            .map(|answer| answer.text("/refresh_token").to_owned())
            .collect();
        assert!(successors.len() <= 1, "{successors:?}");
        self.tokens.extend(successors);
        answered
    }

    /// The session that asks goes on, whatever the others were doing; theirs are over.
    async fn sign_out_elsewhere(&mut self) {
        let here = self.service.sign_in("octocat").await;
        let access = here.text("/access_token");
        let path = "/me/sessions?except=current";
        let ending = self.service.as_user(access, "DELETE", path);

        let answered = self.refresh_during(ending).await;

        assert!(answered.status.is_success(), "{answered:?}");
        self.nothing_refreshes().await;
        let mine = self
            .service
            .token_request(&refresh_of(here.text("/refresh_token")));
        assert_eq!(settle(mine).await.status, StatusCode::OK);
    }

    /// A copy that is used after its owner went on ends the session for both.
    async fn theft(&mut self) {
        let stolen = self.tokens.len() - 1;
        self.refresh_all().await;
        self.refresh_all().await;
        let stolen = self
            .service
            .token_request(&refresh_of(&self.tokens[stolen]));
        let answer = settle(stolen).await;
        assert_eq!(answer.text("/error"), "invalid_grant");

        self.nothing_refreshes().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_in_whatever_order_nobody_is_logged_out_and_what_ended_stays_so() {
    let mut config = Config::default();
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(uuid::Uuid::new_v4().as_u64_pair().0);
    }
    println!(
        "to see these runs again: PROPTEST_RNG_SEED={}",
        config.rng_seed
    );
    let mut runner = TestRunner::new(config);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut playing = JoinSet::new();
    for _ in 0..RUNS {
        let run = runs().new_tree(&mut runner).unwrap().current();
        let turn = turns.clone().acquire_owned().await.unwrap();
        playing.spawn(async move {
            let described = format!("{run:?}");
            let outcome = tokio::spawn(play(run)).await;
            drop(turn);
            assert!(outcome.is_ok(), "this run failed: {described}");
        });
    }
    while let Some(played) = playing.join_next().await {
        played.unwrap();
    }
}
