//! Each route, tool and rotation with each fault at each of its calls to DynamoDB.
//!
//! The timers follow the work of a case ([`tests::timers`]), so a time limit is exceeded because of a fault and never
//! because of a busy machine: no case runs twice.

mod providers;
mod world;

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use reqwest::StatusCode;
use tests::{
    Service,
    proxy::{Fault, When},
    timers::{each_alone, follow_work},
};
use tokio::time::Instant;

use world::{Case, World};

/// The demands on the first answer under a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The fault delays or divides an answer: the right answer, whether it stays or not.
    Harmless,
    /// A retry hides the fault once. While it stays, the answer may be that DynamoDB is unavailable.
    Passes,
    /// A retry may not help, or is not made.
    Refuses,
}

/// A fault at a call of a case.
struct Trial {
    name: &'static str,
    fault: Fault,
    kind: Kind,
    stays: bool,
}

/// The faults that also stay, for all calls from the n-th on: one of each sort that the routes can tell apart.
const STAYING: [&str; 20] = [
    "5 s late",
    "refused",
    "hanging",
    "reset after forwarding",
    "hanging after forwarding",
    "truncated body",
    "a byte per second",
    "ProvisionedThroughputExceededException",
    "InternalServerError",
    "TransactionConflictException",
    "500 with HTML",
    "an empty body",
    "AccessDeniedException",
    "TransactionConflict",
    "ThrottlingError",
    "TransactionInProgressException",
    "one key at a time",
    "no key processed",
    "one item a page",
    "a stale read",
];

/// The cases that meet each fault on Amazon's DynamoDB Local too, whenever its tests run there.
const CORE: [Case; 4] = [
    Case::SignInWithLimit,
    Case::RefreshWithLimit,
    Case::Revoke,
    Case::Unlink,
];

/// Returns the faults of a call of this operation.
fn faults_of(operation: &str) -> Vec<(&'static str, Fault, Kind)> {
    let kind_of = |name: &str| match name {
        "50 ms late" | "500 ms late" => Kind::Harmless,
        _ => Kind::Passes,
    };
    let faults = Fault::of_dynamodb().into_iter();
    let mut faults: Vec<_> = faults
        .map(|(name, fault)| (name, fault, kind_of(name)))
        .collect();
    let refusals = Fault::refusals_of_dynamodb().into_iter();
    faults.extend(refusals.map(|(name, fault)| (name, fault, Kind::Refuses)));
    match operation {
        "TransactWriteItems" => {
            let reasons = [
                ("TransactionConflict", Kind::Passes),
                ("ThrottlingError", Kind::Passes),
                ("ProvisionedThroughputExceeded", Kind::Passes),
                ("ItemCollectionSizeLimitExceeded", Kind::Refuses),
                ("ValidationError", Kind::Refuses),
            ];
            faults.extend(reasons.map(|(reason, kind)| {
                let cancelled = Fault::transaction_canceled(&[reason, "None"]);
                (reason, cancelled, kind)
            }));
            // A retry gets this answer while DynamoDB still works on the attempt before it.
            let not_ended = Fault::transaction_not_ended();
            faults.push(("TransactionInProgressException", not_ended, Kind::Refuses));
        }
        "BatchGetItem" => faults.extend([
            (
                "one key at a time",
                Fault::one_key_a_batch(),
                Kind::Harmless,
            ),
            ("no key processed", Fault::no_key_of_a_batch(), Kind::Passes),
        ]),
        "Query" | "Scan" => {
            let pages = Fault::one_item_a_page();
            faults.push(("one item a page", pages, Kind::Harmless));
        }
        _ => {}
    }
    // A scan, which only the list of users makes, is never consistent.
    if ["GetItem", "BatchGetItem", "Query"].contains(&operation) {
        faults.push(("a stale read", Fault::Stale, Kind::Harmless));
    }
    faults
}

/// Prints the name of a trial that panics.
struct Named(String);

impl Drop for Named {
    #[expect(
        clippy::print_stdout,
        reason = "the harness shows it if the test fails"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed: {}", self.0);
        }
    }
}

/// Runs a case without a fault and returns the operations of its calls.
async fn operations_of(case: Case) -> Vec<String> {
    let world = World::start(case).await;
    let said = world.request().await;
    let calls = world.service.dynamodb.calls();
    assert!(world.is_right(&said), "{case:?} without a fault: {said:?}");
    world.check_invariants().await;
    world.check_done().await;
    let operations = calls.into_iter().map(|call| call.operation);
    operations.map(Option::unwrap_or_default).collect()
}

/// Returns the trials of a call of this operation.
fn trials_of(operation: &str) -> Vec<Trial> {
    let faults = faults_of(operation);
    let trials = [false, true].into_iter().flat_map(|stays| {
        // Those that stay come last: they use up the SDK's quota of retries.
        let faults = faults.iter();
        let faults = faults.filter(move |(name, ..)| !stays || STAYING.contains(name));
        faults.map(move |(name, fault, kind)| Trial {
            name,
            fault: fault.clone(),
            kind: *kind,
            stays,
        })
    });
    trials.collect()
}

/// Injects each fault at the `nth` call of a case. Returns the number of trials.
async fn try_call(case: Case, nth: usize, operation: &str) -> usize {
    let world = World::start(case).await;
    let before = world.snapshot();
    let mut count = 0;
    for trial in trials_of(operation) {
        let (name, stays) = (trial.name, trial.stays);
        let _named = Named(format!("{case:?}, call {nth}, {name}, stays: {stays}"));
        world.restore(&before);
        trial.run(&world, nth).await;
        count += 1;
    }
    count
}

impl Trial {
    /// Injects the fault and asserts a right answer, or one that DynamoDB is unavailable, that a repetition succeeds,
    /// and the invariants at each step.
    async fn run(&self, world: &World, nth: usize) {
        let dynamodb = &world.service.dynamodb;
        // From the n-th call on, retries included, or once.
        let last = if self.stays { nth + 30 } else { nth };
        for nth in nth..=last {
            dynamodb.fault(When::Nth(nth), self.fault.clone());
        }

        let began = Instant::now();
        let said = world.request().await;
        let passed = began.elapsed();

        let calls = dynamodb.calls();
        assert!(calls.iter().any(|call| call.fault.is_some()), "no fault");
        let is_right = world.is_right(&said);
        assert!(is_right || said.is_unavailable(), "{said:?}");
        // An error of DynamoDB that arrives garbled has no name, and is not requested again.
        let is_error = calls.iter().any(|call| {
            let status = call.status.filter(|_| call.is_forwarded);
            call.fault.is_some() && status.is_some_and(|status| !status.is_success())
        });
        let passes = self.kind == Kind::Passes && !self.stays && !is_error;
        // Without its counter, a request is admitted.
        let is_counter = world.case.is_counted() && nth == 1 && !self.stays;
        if self.kind == Kind::Harmless || passes || is_counter {
            assert!(is_right, "no retry helped: {said:?}");
        }
        // A function that takes longer is killed. The clock turns in steps.
        let limit = u128::from(world.case.limit()) * 1000 + 50;
        assert!(passed.as_millis() < limit, "{passed:?}");
        dynamodb.heal();
        dynamodb.settled().await;
        world.check_invariants().await;

        let again = world.request().await;

        assert!(world.is_right(&again), "again: {again:?}");
        world.check_invariants().await;
        world.check_done().await;
        world.check_tokens(&again).await;
    }
}

/// Runs the cases without a fault and returns all of their calls: the case, the number of the call and its operation.
fn calls_of(cases: &[(Case, usize)]) -> Vec<(Case, usize, String)> {
    let calls = Mutex::new(Vec::new());
    let wrong = each_alone(cases, async |(case, count)| {
        let operations = operations_of(*case).await;
        assert_eq!(operations.len(), *count, "{case:?}: {operations:?}");
        let mut calls = calls.lock().unwrap();
        for (index, operation) in operations.into_iter().enumerate() {
            calls.push((*case, index + 1, operation));
        }
    });
    assert!(wrong.is_empty(), "without a fault: {wrong:?}");
    calls.into_inner().unwrap()
}

/// Injects each fault at each call of the cases in [`CORE`], or of the others.
fn try_cases(core: bool) {
    let cases = Case::ALL.into_iter();
    let cases: Vec<_> = cases
        .filter(|(case, _)| CORE.contains(case) == core)
        .collect();
    let calls = calls_of(&cases);

    let count = AtomicUsize::new(0);
    let failed = each_alone(&calls, async |(case, nth, operation)| {
        let trials = try_call(*case, *nth, operation).await;
        count.fetch_add(trials, Ordering::SeqCst);
    });

    assert!(failed.is_empty(), "failed: {failed:?}");
    let all: usize = calls.iter().map(|(.., it)| trials_of(it).len()).sum();
    assert_eq!(count.into_inner(), all);
}

#[test]
fn t70_every_call_of_the_core_survives_every_fault() {
    try_cases(true);
}

#[test]
fn t70_every_call_survives_every_fault() {
    try_cases(false);
}

#[test]
fn the_page_has_the_size_of_the_matrix() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reliability.md");
    let page = fs::read_to_string(page).unwrap();
    let page: Vec<&str> = page.split_whitespace().collect();

    let calls = calls_of(&Case::ALL);

    let trials: usize = calls.iter().map(|(.., it)| trials_of(it).len()).sum();
    let (cases, calls) = (Case::ALL.len(), calls.len());
    let (thousands, rest) = (trials / 1000, trials % 1000);
    let (page, cases) = (page.join(" "), format!("Each of {cases} cases"));
    let calls = format!("each of its {calls} calls, {thousands},{rest:03} trials");
    assert!(page.contains(&cases), "docs/reliability.md: {cases:?}");
    assert!(page.contains(&calls), "docs/reliability.md: {calls:?}");
}

#[tokio::test]
async fn t72_the_retry_of_a_committed_write_is_not_a_second_write() {
    let service = Service::start().await;
    service
        .dynamodb
        .fault(When::Nth(2), Fault::ResetAfterForwarding);

    let answer = service.sign_in("octocat").await;

    assert_eq!(answer.body["is_new_user"], true);
    assert_eq!(service.items().len(), 3);
    service.check_invariants();
}

/// The SDK refuses retries when a quota is used up, one for each region in a process. With one quota for the databases
/// of all tests, the faults of one test took the retries of the others.
#[tokio::test]
async fn t70_the_failures_of_one_database_use_up_no_retries_for_another() {
    let _turning = follow_work();
    let (broken, well) = (Service::start().await, Service::start().await);
    let [one, other] = [&broken, &well].map(|service| service.access_token("octocat"));
    let (one, other) = (one.await, other.await);
    broken
        .dynamodb
        .fault(When::Always, Fault::internal_server_error());
    for _ in 0..100 {
        let answer = broken.me(&one).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    well.dynamodb
        .fault_once(When::Always, Fault::internal_server_error());

    let answer = well.me(&other).await;

    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
}

/// The SDK reads an empty body as an item that does not exist.
#[tokio::test]
async fn t70_an_answer_without_a_body_is_no_missing_item() {
    let _turning = follow_work();
    let service = Service::start().await;
    let signed_in = service.sign_in("octocat").await;
    let token = signed_in.text("/access_token");
    service
        .dynamodb
        .fault_once(When::Always, Fault::empty_body());

    let asked_again = service.me(token).await;
    service.dynamodb.fault(When::Always, Fault::empty_body());
    let me = service.me(token).await;
    let refreshed = service.refresh(signed_in.text("/refresh_token")).await;

    assert_eq!(asked_again.status, StatusCode::OK);
    assert_eq!(me.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refreshed.status, StatusCode::SERVICE_UNAVAILABLE);
}
