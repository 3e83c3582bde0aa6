//! The functions' processes, their DynamoDB and their providers, with faults, kills and clocks that move.

use std::{
    collections::HashMap,
    error::Error,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use local::{
    dynamodb,
    github::{Account, App, StandIn},
    settings::{self, DynamoDb, GitHub},
};
use serde_json::{Value, json};
use shared::config::Environment;
use tests::{
    CLIENT, GITHUB_APP, ISSUER, Time, clients,
    lambda::{Lambda, Outcome},
    oidc::{Issuer, Key},
    proxy::{Call, Fault, Proxy, When},
    serve,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    Options,
    dice::{Dice, shared_roll},
    report::Report,
};

/// The functions and the number of processes of each. The first process of each is never killed, so that its memory
/// can grow; with one process, none is.
const FUNCTIONS: [(&str, usize); 9] = [
    ("token-exchange", 4),
    ("me", 3),
    ("sessions", 2),
    ("identities", 2),
    ("revoke", 2),
    ("introspect", 2),
    ("authorizer", 2),
    ("discovery", 2),
    ("rotate-keys", 1),
];

/// The longest lead or lag of the clock of one process. Two of them differ by less than the 5 s that an access token
/// allows.
const SKEW: i64 = 2;

/// Everything that runs.
pub(crate) struct Cloud {
    /// The time of the clients and of the providers. The clock of each function differs by at most [`SKEW`].
    pub(crate) time: Time,
    /// The stand-in GitHub.
    pub(crate) github: StandIn,
    /// The OpenID provider.
    pub(crate) oidc: Issuer,
    /// The key of the OpenID provider.
    pub(crate) oidc_key: Key,
    functions: HashMap<&'static str, mpsc::Sender<Job>>,
    processes: Vec<Process>,
    proxies: [Proxy; 2],
    database: dynoxide::Database,
    offset: AtomicI64,
    folder: PathBuf,
    has_clock: bool,
    _running: JoinSet<()>,
}

/// An event on its way to a function.
struct Job {
    event: Value,
    done: oneshot::Sender<(Outcome, Duration)>,
}

/// The state of a process that the load does not touch.
struct Process {
    function: &'static str,
    is_spared: bool,
    clock: PathBuf,
    kill: mpsc::Sender<()>,
    pid: Arc<AtomicI64>,
}

/// The memory and the open files of a process.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Resident memory.
    pub(crate) rss_kib: u64,
    /// Open files and sockets.
    pub(crate) files: u64,
}

/// One in this number of calls meets each kind of fault; 0 for none.
static ONE_IN: AtomicU64 = AtomicU64::new(0);

fn now_and_then(_: &Call) -> bool {
    match ONE_IN.load(Ordering::Relaxed) {
        0 => false,
        calls => shared_roll().is_multiple_of(calls),
    }
}

impl Cloud {
    /// Starts everything, without faults.
    pub(crate) async fn start(
        options: &Options,
        people: &[String],
        report: &Arc<Report>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut running = JoinSet::new();
        let time = Time::running();

        let database = dynamodb::open(None)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let served = database.clone();
        running.spawn(async move { dynoxide::server::serve_on(listener, served).await });
        let to_dynamodb = Proxy::start(&url).await;

        let accounts = people.iter().zip(1..).map(|(login, id)| {
            Account::new(id, login.as_str())
                .named(login.as_str())
                .reached_at(format!("{login}@example.com"))
        });
        let app = App::new(GITHUB_APP.0, GITHUB_APP.1, GITHUB_APP.0);
        let github = StandIn::new(vec![app], accounts.collect()).with_clock(time.clock());
        let to_github = Proxy::start(&serve(&mut running, github.router()).await).await;
        let oidc_key = Key::new("soak");
        let oidc = Issuer::start(&oidc_key).await;

        let shell = Environment::of([
            ("GITHUB_CLIENT_ID", GITHUB_APP.0),
            ("GITHUB_CLIENT_SECRET", GITHUB_APP.1),
            ("GITHUB_API_URL", &to_github.url()),
            ("CLIENTS", &clients(&[CLIENT])),
            ("OIDC_PROVIDERS", &oidc.settings()),
            ("SESSION_IDLE_TTL", "345600"),
            ("SESSION_ABSOLUTE_TTL", "864000"),
            // Each client and user is counted, and the limits are above what the soak sends.
            ("CLIENT_RATE_LIMIT", "1000000"),
            ("USER_RATE_LIMIT", "1000000"),
        ]);
        let for_functions = DynamoDb {
            url: to_dynamodb.url(),
            access_key_id: "local".to_owned(),
        };
        let settings = settings::variables(&shell, ISSUER, &for_functions, &GitHub::Real);
        let settings = settings
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .chain(options.set.clone())
            .collect();

        let mut cloud = Self {
            time,
            github,
            oidc,
            oidc_key,
            functions: HashMap::new(),
            processes: Vec::new(),
            proxies: [to_dynamodb, to_github],
            database,
            offset: AtomicI64::new(0),
            folder: options.folder.clone(),
            has_clock: options.faketime.is_some(),
            _running: running,
        };
        fs::create_dir_all(&cloud.folder)?;
        for (function, processes) in FUNCTIONS {
            let binary = options.binaries.join(function);
            cloud.start_function(function, processes, &binary, &settings, options, report)?;
        }
        // The first keys.
        cloud.rotate_keys().await?;
        Ok(cloud)
    }

    fn start_function(
        &mut self,
        function: &'static str,
        processes: usize,
        binary: &Path,
        settings: &HashMap<String, String>,
        options: &Options,
        report: &Arc<Report>,
    ) -> Result<(), Box<dyn Error>> {
        let (sender, jobs) = mpsc::channel(1);
        let jobs = Arc::new(Mutex::new(jobs));
        self.functions.insert(function, sender);
        for number in 0..processes {
            let clock = self.folder.join(format!("{function}-{number}.clock"));
            fs::write(&clock, "+0")?;
            let mut settings = settings.clone();
            if let Some(library) = &options.faketime {
                let text = |path: &Path| path.to_string_lossy().into_owned();
                settings.extend([
                    ("LD_PRELOAD".to_owned(), text(library)),
                    ("FAKETIME_TIMESTAMP_FILE".to_owned(), text(&clock)),
                    ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
                    ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
                    ("FAKETIME_DISABLE_SHM".to_owned(), "1".to_owned()),
                ]);
            }
            let (kill, killed) = mpsc::channel(1);
            let pid = Arc::new(AtomicI64::new(0));
            let seat = Seat {
                function,
                binary: binary.as_os_str().to_owned(),
                settings,
                log: self.folder.join(format!("{function}-{number}.log")),
                jobs: jobs.clone(),
                killed,
                pid: pid.clone(),
                report: report.clone(),
            };
            self._running.spawn(seat.keep_taken());
            self.processes.push(Process {
                function,
                is_spared: number == 0,
                clock,
                kill,
                pid,
            });
        }
        Ok(())
    }

    /// Sends an event to a function. Returns `None` if the process was killed before it answered; otherwise the outcome
    /// and the time that the function took.
    pub(crate) async fn invoke(&self, function: &str, event: Value) -> Option<(Outcome, Duration)> {
        let (done, outcome) = oneshot::channel();
        let function = self.functions.get(function)?;
        function.send(Job { event, done }).await.ok()?;
        outcome.await.ok()
    }

    /// Lets the next key sign, if it was published a day before. Repeats a run that a fault stopped.
    pub(crate) async fn rotate_keys(&self) -> Result<(), String> {
        let mut last = None;
        for _ in 0..20 {
            let ran = self.invoke("rotate-keys", json!({ "rotate": "now" })).await;
            match ran {
                Some((Outcome::Answer(_), _)) => return Ok(()),
                other => last = other,
            }
        }
        Err(format!("rotate-keys failed 20 times: {last:?}"))
    }

    /// Injects faults into this share of the calls to DynamoDB and to GitHub; 0 heals.
    pub(crate) fn inject(&self, share: f64) {
        let [dynamodb, github] = &self.proxies;
        let faults = [Fault::of_dynamodb(), Fault::of_a_provider()];
        for (proxy, faults) in [
            (dynamodb, &faults[0]),
            (github, &faults[1]),
            (&self.oidc.proxy, &faults[1]),
        ] {
            proxy.heal();
            for (_, fault) in faults {
                proxy.fault(When::Matching(now_and_then), fault.clone());
            }
        }
        // Each kind of fault has its own roll.
        let calls = if share > 0.0 {
            (faults[0].len() as f64 / share).round() as u64
        } else {
            0
        };
        ONE_IN.store(calls, Ordering::Relaxed);
    }

    /// Forgets the recorded calls, and returns the number of calls and of faults since the last time.
    pub(crate) fn take_calls(&self) -> (usize, usize) {
        let mut counts = (0, 0);
        for proxy in self.proxies.iter().chain([&self.oidc.proxy]) {
            let calls = proxy.calls();
            proxy.clear();
            counts.0 += calls.len();
            counts.1 += calls.iter().filter(|call| call.fault.is_some()).count();
        }
        counts
    }

    /// Kills a process with SIGKILL, in whatever it does. Another one takes its place.
    pub(crate) fn kill_one(&self, dice: &mut Dice) {
        let victims = self.processes.iter().filter(|process| !process.is_spared);
        let victims: Vec<_> = victims.collect();
        let victim = victims[dice.below(victims.len())];
        // The channel is full or closed if the process is about to be killed already.
        let _ = victim.kill.try_send(());
    }

    /// Moves all clocks by this number of seconds. No request may be under way.
    pub(crate) fn jump(&self, seconds: i64, dice: &mut Dice) -> Result<(), Box<dyn Error>> {
        if !self.has_clock {
            return Ok(());
        }
        self.offset.fetch_add(seconds, Ordering::Relaxed);
        for process in &self.processes {
            self.set_clock(process, dice)?;
        }
        self.time.pass(seconds);
        Ok(())
    }

    /// Sets the clock of one process forwards or backwards, by less than 5 s, while it works.
    pub(crate) fn skew_one(&self, dice: &mut Dice) -> Result<(), Box<dyn Error>> {
        let process = &self.processes[dice.below(self.processes.len())];
        if self.has_clock {
            self.set_clock(process, dice)
        } else {
            Ok(())
        }
    }

    fn set_clock(&self, process: &Process, dice: &mut Dice) -> Result<(), Box<dyn Error>> {
        let skew = i64::try_from(dice.below(5))? - SKEW;
        let offset = self.offset.load(Ordering::Relaxed) + skew;
        // Renamed, so that no process reads half of the text.
        let new = process.clock.with_extension("new");
        fs::write(&new, format!("{offset:+}"))?;
        fs::rename(new, &process.clock)?;
        Ok(())
    }

    /// Returns the size of each process that is never killed.
    pub(crate) fn sizes(&self) -> Vec<(&'static str, Size)> {
        let spared = self.processes.iter().filter(|process| process.is_spared);
        let sizes = spared.filter_map(|process| {
            let pid = process.pid.load(Ordering::Relaxed);
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let rss = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            let rss_kib = rss.trim().trim_end_matches(" kB").parse().ok()?;
            let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
            let files = files.try_into().ok()?;
            Some((process.function, Size { rss_kib, files }))
        });
        sizes.collect()
    }

    /// Returns all items of the main table.
    pub(crate) fn items(&self) -> Result<Vec<Value>, Box<dyn Error>> {
        let mut items = Vec::new();
        let mut request = json!({ "TableName": dynamodb::TABLE });
        loop {
            let page = self
                .database
                .scan(serde_json::from_value(request.clone())?)?;
            let page = serde_json::to_value(page)?;
            items.extend(page["Items"].as_array().into_iter().flatten().cloned());
            match &page["LastEvaluatedKey"] {
                Value::Null => return Ok(items),
                key => request["ExclusiveStartKey"] = key.clone(),
            }
        }
    }

    /// Returns the log of each process.
    pub(crate) fn logs(&self) -> Result<Vec<(PathBuf, String)>, Box<dyn Error>> {
        let mut logs = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
                logs.push((path, text));
            }
        }
        Ok(logs)
    }
}

/// A place that always has a process: a new one after each that was killed.
struct Seat {
    function: &'static str,
    binary: OsString,
    settings: HashMap<String, String>,
    log: PathBuf,
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    killed: mpsc::Receiver<()>,
    pid: Arc<AtomicI64>,
    report: Arc<Report>,
}

impl Seat {
    async fn keep_taken(mut self) {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = match log {
            Ok(log) => log,
            Err(error) => {
                return self
                    .report
                    .violation("start", &format!("{}: {error}", self.log.display()));
            }
        };
        loop {
            let lambda = Lambda::logging_to(&log, &self.binary, &self.settings).await;
            self.pid.store(
                lambda.pid().as_raw_nonzero().get().into(),
                Ordering::Relaxed,
            );
            self.work(lambda).await;
            self.report.killed();
        }
    }

    /// Returns when the process was killed.
    async fn work(&mut self, mut lambda: Lambda) {
        loop {
            let job = tokio::select! {
                _ = self.killed.recv() => return,
                job = next(&self.jobs) => job,
            };
            let Some(job) = job else {
                return std::future::pending().await;
            };
            let started = Instant::now();
            let outcome = tokio::select! {
                outcome = lambda.invoke(&job.event) => outcome,
                // The event goes with the process.
                _ = self.killed.recv() => return,
            };
            if let Outcome::Failure(failure) = &outcome
                && self.function != "rotate-keys"
            {
                self.report
                    .violation(self.function, &format!("an invocation failed: {failure}"));
            }
            // The client waits for it.
            let _ = job.done.send((outcome, started.elapsed()));
        }
    }
}

async fn next(jobs: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    jobs.lock().await.recv().await
}

/// Locks a mutex whose holder never panics in the middle of a change.
pub(crate) fn lock<T>(mutex: &StdMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
