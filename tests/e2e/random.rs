//! Random runs of parallel clients with faults at any call, which assert the properties of sessions.
//!
//! The model of `shared/tests/session_model.rs` explores all orders of a few steps. These runs take real steps in
//! random order.

use std::{collections::BTreeSet, time::Duration};

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
    timers::each_alone,
};
use tokio::task::JoinSet;

const RUNS: usize = 40;

/// A fault at one call to DynamoDB.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// The write is applied, and the answer is lost.
    AnswerLost,
    AnswerHangs,
    /// The write is applied after its sender has given up.
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

/// The end of a run, during the last refreshes.
#[derive(Clone, Copy, Debug)]
enum End {
    /// No end: the session goes on.
    GoOn,
    Revoke,
    SignOut,
    SignOutEverywhere,
    SignOutElsewhere,
    DeleteAccount,
    /// A copy of this early token is presented after the owner has used two later ones.
    Theft,
}

#[derive(Clone, Debug)]
struct Run {
    /// The number of parallel requests, at two processes of the API.
    clients: usize,
    /// The number of rounds of refreshes.
    rounds: usize,
    /// The faults, each with its round and call.
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

/// A run in progress.
struct Stage {
    run: Run,
    service: Service,
    urls: [String; 2],
    round: usize,
    /// All tokens of the app; the last one is current.
    tokens: Vec<String>,
}

impl Stage {
    /// Sends the app's requests in parallel, with the faults of this round.
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

    /// Asserts that every request that is repeated after 503 gets the same successor in the end.
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

    /// Asserts that no token of the run is valid. The newest is tried first, because an old one would end the session
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

    /// Sends refreshes and ends the session meanwhile. A refused refresh stays refused.
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

    /// Asserts that the session of the request goes on and all others have ended.
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

    /// Asserts that a copy that is used after its owner has refreshed ends the session for both.
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

#[test]
fn whatever_happens_in_whatever_order_nobody_is_logged_out_and_what_ended_stays_so() {
    let mut config = Config::default();
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(uuid::Uuid::new_v4().as_u64_pair().0);
    }
    println!(
        "to see these runs again: PROPTEST_RNG_SEED={}",
        config.rng_seed
    );
    let mut runner = TestRunner::new(config);
    let runs: Vec<_> = (0..RUNS)
        .map(|_| runs().new_tree(&mut runner).unwrap().current())
        .collect();

    let failed = each_alone(&runs, async |run| play(run.clone()).await);

    assert!(failed.is_empty(), "these runs failed: {failed:#?}");
}
