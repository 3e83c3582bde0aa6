//! The soak: people sign in, refresh, edit and delete their accounts for as long as wanted, while calls fail, keys
//! rotate, clocks jump and processes are killed; and each answer is checked.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command for people"
)]

mod cloud;
mod dice;
mod person;
mod report;

use std::{
    collections::BTreeSet,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser;
use serde_json::Value;
use tests::{invariants, secret_in, token_in};
use tokio::{
    sync::{Mutex, RwLock, Semaphore},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use cloud::Cloud;
use dice::Dice;
use person::{Api, Person};
use report::Report;

/// The time until another person is chosen, if the chosen one is busy.
const BUSY: Duration = Duration::from_millis(5);
/// The time between two turns of the driver.
const TURN: Duration = Duration::from_millis(100);
/// The time by which all clocks jump: more than a day, after which a published key may sign.
const JUMP: i64 = 25 * 60 * 60;

/// Soaks the functions' binaries: honest clients, with faults, rotations, jumps of the clock and kills.
///
/// Exits with 0 only if each answer was right, no client was logged out without cause, and the invariants of the table
/// hold.
#[derive(Parser)]
struct Options {
    /// The folder with the binaries of the functions.
    #[arg(long, value_name = "FOLDER")]
    binaries: PathBuf,
    /// The folder for the logs of the functions.
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// libfaketimeMT.so.1, which moves the clocks of the functions; without it no clock jumps, and no new key signs.
    #[arg(long, value_name = "FILE")]
    faketime: Option<PathBuf>,
    /// The length of the run in minutes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The number of operations of people after which the run ends earlier.
    #[arg(long, value_name = "N")]
    operations: Option<u64>,
    /// The number of requests in a second, at most.
    #[arg(long, default_value_t = 200)]
    rate: usize,
    /// The number of people.
    #[arg(long, default_value_t = 2000)]
    people: usize,
    /// The number of people who use their apps at the same time.
    #[arg(long, default_value_t = 64)]
    parallel: usize,
    /// The percentage of calls to DynamoDB and to the providers that fail.
    #[arg(long, default_value_t = 1.0)]
    faults: f64,
    /// The time between two kills, in seconds.
    #[arg(long, default_value_t = 3)]
    kill_every: u64,
    /// The time between two rotations of the keys, and between two jumps of all clocks, in seconds.
    #[arg(long, default_value_t = 60)]
    rotate_every: u64,
    /// A setting of the functions that differs from the usual one.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// The seed of the random choices. The order of the answers is not repeated.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let setting = text.split_once('=');
    let setting = setting.map(|(name, value)| (name.to_owned(), value.to_owned()));
    setting.ok_or_else(|| "expected NAME=VALUE".to_owned())
}

/// The state that the people share.
struct Soak {
    cloud: Cloud,
    report: Arc<Report>,
    pace: Semaphore,
    people: Vec<Mutex<Option<Person>>>,
    serial: AtomicU64,
    /// The time at which the run ends, and the number of operations after which it ends earlier.
    end: (Instant, u64),
    /// The number of people whose accounts are checked, or about to be, at the end.
    settled: AtomicUsize,
    /// The number of people whose model is sure.
    sure: AtomicUsize,
    /// Held by each operation; a jump of the clocks waits for all.
    quiet: RwLock<()>,
}

impl Soak {
    fn api(&self) -> Api<'_> {
        Api {
            cloud: &self.cloud,
            report: &self.report,
            pace: &self.pace,
            serial: &self.serial,
        }
    }

    fn is_over(&self) -> bool {
        let (time, operations) = self.end;
        Instant::now() >= time
            || self.report.operations() >= operations
            || self.sure.load(Ordering::Relaxed) == 0
    }

    /// Lets people act until the end of the run, one after the other.
    async fn live(self: Arc<Self>, mut dice: Dice) {
        while !self.is_over() {
            let _guard = self.quiet.read().await;
            let chosen = &self.people[dice.below(self.people.len())];
            let Ok(mut person) = chosen.try_lock() else {
                sleep(BUSY).await;
                continue;
            };
            let Some(acting) = person.as_mut() else {
                sleep(BUSY).await;
                continue;
            };
            if let Err((operation, wrong)) = acting.act(&self.api(), &mut dice).await {
                self.report
                    .violation(operation, &format!("{}: {wrong}", acting.login));
                // The model of this person is no longer sure.
                *person = None;
                self.sure.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Adds the permits for requests at the wanted rate; unused ones expire.
    async fn keep_pace(self: Arc<Self>, rate: usize) {
        let mut ticks = interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut tick = 0_usize;
        loop {
            ticks.tick().await;
            tick += 1;
            let due = tick * rate / 50 - (tick - 1) * rate / 50;
            if self.pace.available_permits() < rate {
                self.pace.add_permits(due);
            }
        }
    }

    /// Injects faults, kills, rotates and moves clocks until the end of the run.
    async fn disturb(&self, options: &Options, dice: &mut Dice) -> Result<(), Box<dyn Error>> {
        self.cloud.inject(options.faults / 100.0);
        let started = Instant::now();
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let in_a_while = |seconds: u64| started.elapsed() + Duration::from_secs(seconds);
        let mut next_kill = in_a_while(options.kill_every);
        let mut next_skew = in_a_while(5);
        let mut next_report = in_a_while(5);
        // The rotations are half-way between two jumps, so that tokens of both keys are in use.
        let mut next_rotation = in_a_while(options.rotate_every / 2);
        let mut next_jump = in_a_while(options.rotate_every);
        while !self.is_over() {
            turns.tick().await;
            self.report.called(self.cloud.take_calls());
            let now = started.elapsed();
            if now >= next_kill {
                self.cloud.kill_one(dice);
                next_kill = in_a_while(options.kill_every);
            }
            if now >= next_skew {
                self.cloud.skew_one(dice)?;
                next_skew = in_a_while(5);
            }
            if now >= next_rotation {
                if let Err(wrong) = self.cloud.rotate_keys().await {
                    self.report.violation("rotate the keys", &wrong);
                }
                next_rotation += Duration::from_secs(options.rotate_every);
            }
            if now >= next_jump {
                let paused = Instant::now();
                let _guard = self.quiet.write().await;
                self.cloud.jump(JUMP, dice)?;
                self.report.jumped(paused.elapsed());
                next_jump += Duration::from_secs(options.rotate_every);
            }
            if now >= next_report {
                self.report.sized(self.cloud.sizes());
                println!("{}", self.report.progress());
                next_report = in_a_while(5);
            }
        }
        self.cloud.inject(0.0);
        Ok(())
    }

    /// Checks each account from one to the next, in one of several tasks.
    async fn settle(self: Arc<Self>) {
        loop {
            let next = self.settled.fetch_add(1, Ordering::Relaxed);
            let Some(person) = self.people.get(next) else {
                return;
            };
            if let Some(person) = person.lock().await.as_mut()
                && let Err(wrong) = person.settle(&self.api()).await
            {
                self.report
                    .violation("the end", &format!("{}: {wrong}", person.login));
            }
            // The proxies search what they recorded.
            self.report.called(self.cloud.take_calls());
        }
    }

    /// Checks the table and the logs.
    async fn check(&self) -> Result<(), Box<dyn Error>> {
        let mut users = BTreeSet::new();
        let mut is_sure = true;
        for person in &self.people {
            match person.lock().await.as_ref() {
                Some(person) => users.extend(person.user.clone()),
                None => is_sure = false,
            }
        }

        let items = self.cloud.items()?;
        for broken in invariants::broken(&items) {
            self.report.violation("the table", &broken);
        }
        let in_table = items.iter().filter(|item| item["sk"]["S"] == "USER");
        let in_table: BTreeSet<String> = in_table
            .filter_map(|item| item["id"]["S"].as_str())
            .map(str::to_owned)
            .collect();
        if is_sure && in_table != users {
            let differing: Vec<_> = in_table.symmetric_difference(&users).collect();
            let what = format!("users that nobody is, or that are lost: {differing:?}");
            self.report.violation("the table", &what);
        }
        for item in items {
            let key = item["sk"]["S"].as_str().unwrap_or_default();
            let kind = key.split('#').next().unwrap_or_default();
            for (name, value) in item.as_object().into_iter().flatten() {
                if let Some(prefix) = token_in(&text_of(value)) {
                    let what = format!("{name} of a {kind} contains a token: {prefix}…");
                    self.report.violation("the table", &what);
                }
            }
        }
        let mut lines = 0;
        for (path, log) in self.cloud.logs()? {
            for line in log.lines() {
                lines += 1;
                if let Some(secret) = secret_in(line) {
                    let what = format!("{} contains {secret}", path.display());
                    self.report.violation("the logs", &what);
                }
            }
        }
        println!(
            "\n{} users and {lines} lines of logs checked",
            in_table.len()
        );
        Ok(())
    }
}

/// Returns an attribute as text; what is binary, as the text that it may be.
fn text_of(value: &Value) -> String {
    let binary = value["B"].as_str().and_then(|it| STANDARD.decode(it).ok());
    match binary {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => value.to_string(),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(violations) => {
            eprintln!("soak: {violations} violations");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of violations.
async fn run(options: &Options) -> Result<usize, Box<dyn Error>> {
    remove_old(&options.folder)?;
    dice::seed_shared(options.seed);
    let report = Arc::new(Report::new());
    let logins: Vec<String> = (1..=options.people)
        .map(|number| format!("person-{number}"))
        .collect();
    let cloud = Cloud::start(options, &logins, &report).await?;
    let people = logins
        .into_iter()
        .zip(1..)
        .map(|(login, number)| Mutex::new(Some(Person::new(login, number))));
    let soak = Arc::new(Soak {
        cloud,
        report: report.clone(),
        pace: Semaphore::new(0),
        people: people.collect(),
        serial: AtomicU64::new(1),
        end: (
            Instant::now() + Duration::from_secs_f64(options.minutes * 60.0),
            options.operations.unwrap_or(u64::MAX),
        ),
        settled: AtomicUsize::new(0),
        sure: AtomicUsize::new(options.people),
        quiet: RwLock::new(()),
    });

    let mut tasks = JoinSet::new();
    tasks.spawn(soak.clone().keep_pace(options.rate));
    let mut living = JoinSet::new();
    for number in 0..options.parallel {
        let dice = Dice::new(
            options
                .seed
                .wrapping_mul(1000)
                .wrapping_add(number.try_into()?),
        );
        living.spawn(soak.clone().live(dice));
    }
    let mut dice = Dice::new(options.seed.wrapping_neg());
    soak.disturb(options, &mut dice).await?;
    living.join_all().await;

    report.check_sizes();
    let summary = report.summary();
    let mut settling = JoinSet::new();
    for _ in 0..options.parallel {
        settling.spawn(soak.clone().settle());
    }
    settling.join_all().await;
    soak.check().await?;
    println!("{summary}{} violations", report.violations());
    Ok(report.violations())
}

fn remove_old(folder: &Path) -> Result<(), Box<dyn Error>> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}
