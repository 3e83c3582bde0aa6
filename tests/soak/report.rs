//! The counts of a run: answers, times, sizes and violations.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::cloud::{Size, lock};

/// The greatest number of violations that are printed.
const PRINTED: usize = 50;
/// The growth of a process in a long run that is a leak: of its memory, and of its open files.
const LEAK: Size = Size {
    rss_kib: 4096,
    files: 16,
};
/// The shortest run whose sizes are compared: before, caches and pools still fill.
const LONG: Duration = Duration::from_secs(300);

/// The counts of a run.
pub(crate) struct Report {
    started: Instant,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// The number of answers by route and status. `killed` is a status.
    answers: BTreeMap<(&'static str, String), u64>,
    /// The time of each answer in microseconds, with the second of the run in which it came.
    times: BTreeMap<&'static str, Vec<(u32, u32)>>,
    operations: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
    sizes: BTreeMap<&'static str, Vec<Size>>,
    signed_with: BTreeSet<String>,
    requests: u64,
    kills: u64,
    calls: usize,
    faults: usize,
    jumps: u64,
    paused: Duration,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            counts: Mutex::default(),
        }
    }

    /// Counts an answer, or the end of the process that should have given one.
    pub(crate) fn answered(&self, route: &'static str, status: &str, took: Option<Duration>) {
        let mut counts = lock(&self.counts);
        counts.requests += 1;
        *counts
            .answers
            .entry((route, status.to_owned()))
            .or_default() += 1;
        if let Some(took) = took {
            let second = u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX);
            let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
            counts
                .times
                .entry(route)
                .or_default()
                .push((second, micros));
        }
    }

    /// Counts a completed operation of a client.
    pub(crate) fn completed(&self, operation: &'static str) {
        *lock(&self.counts).operations.entry(operation).or_default() += 1;
    }

    /// Returns the number of completed operations.
    pub(crate) fn operations(&self) -> u64 {
        lock(&self.counts).operations.values().sum()
    }

    /// Notes a violation, and prints it.
    pub(crate) fn violation(&self, operation: &str, what: &str) {
        let mut counts = lock(&self.counts);
        let at = self.started.elapsed().as_secs();
        let text = format!("VIOLATION after {at} s: {operation}: {what}");
        if counts.violations.len() < PRINTED {
            println!("{text}");
        }
        counts.violations.push(text);
    }

    pub(crate) fn killed(&self) {
        lock(&self.counts).kills += 1;
    }

    pub(crate) fn called(&self, (calls, faults): (usize, usize)) {
        let mut counts = lock(&self.counts);
        counts.calls += calls;
        counts.faults += faults;
    }

    pub(crate) fn jumped(&self, paused: Duration) {
        let mut counts = lock(&self.counts);
        counts.jumps += 1;
        counts.paused += paused;
    }

    pub(crate) fn signed_with(&self, kid: &str) {
        let mut counts = lock(&self.counts);
        if !counts.signed_with.contains(kid) {
            counts.signed_with.insert(kid.to_owned());
        }
    }

    pub(crate) fn sized(&self, sizes: Vec<(&'static str, Size)>) {
        let mut counts = lock(&self.counts);
        for (function, size) in sizes {
            counts.sizes.entry(function).or_default().push(size);
        }
    }

    pub(crate) fn violations(&self) -> usize {
        lock(&self.counts).violations.len()
    }

    /// Returns one line about the run so far.
    pub(crate) fn progress(&self) -> String {
        let counts = lock(&self.counts);
        let elapsed = self.started.elapsed();
        let busy = elapsed.saturating_sub(counts.paused).as_secs_f64();
        let unavailable: u64 = counts
            .answers
            .iter()
            .filter(|((_, status), _)| status == "503")
            .map(|(_, count)| count)
            .sum();
        let rate = counts.requests as f64 / busy.max(0.001);
        format!(
            "{:5} s  {:8} requests ({rate:.0}/s)  503: {unavailable}  faults: {}  kills: {}  keys: {}  violations: {}",
            elapsed.as_secs(),
            counts.requests,
            counts.faults,
            counts.kills,
            counts.signed_with.len(),
            counts.violations.len(),
        )
    }

    /// Notes each process that grew during the last three quarters of a long run.
    pub(crate) fn check_sizes(&self) {
        if self.started.elapsed() < LONG {
            return;
        }
        for (function, [early, late]) in self.growth() {
            if late.rss_kib > early.rss_kib + LEAK.rss_kib || late.files > early.files + LEAK.files
            {
                let what = format!(
                    "grew from {} KiB and {} files to {} KiB and {} files",
                    early.rss_kib, early.files, late.rss_kib, late.files
                );
                self.violation(function, &what);
            }
        }
    }

    /// Returns the mean size of each process in the second and in the last quarter of the run.
    fn growth(&self) -> Vec<(&'static str, [Size; 2])> {
        let counts = lock(&self.counts);
        let quarter = |sizes: &[Size], number: usize| {
            let part = &sizes[sizes.len() * number / 4..sizes.len() * (number + 1) / 4];
            let count = (part.len() as u64).max(1);
            Size {
                rss_kib: part.iter().map(|size| size.rss_kib).sum::<u64>() / count,
                files: part.iter().map(|size| size.files).sum::<u64>() / count,
            }
        };
        let sizes = counts.sizes.iter();
        sizes
            .map(|(function, sizes)| (*function, [quarter(sizes, 1), quarter(sizes, 3)]))
            .collect()
    }

    /// Returns the tables at the end.
    pub(crate) fn summary(&self) -> String {
        let growth = self.growth();
        let counts = lock(&self.counts);
        let mut text = String::from("\nroute                               status      answers\n");
        for ((route, status), count) in &counts.answers {
            let _ = writeln!(text, "{route:35} {status:8} {count:10}");
        }
        let end = counts
            .times
            .values()
            .flatten()
            .map(|(second, _)| *second)
            .max()
            .unwrap_or_default();
        text.push_str("\nroute                                p50 ms   p99 ms   first third p50, p99   last third p50, p99\n");
        for (route, times) in &counts.times {
            let of = |from: u32, to: u32| {
                let mut some: Vec<u32> = times
                    .iter()
                    .filter(|(second, _)| (from..to).contains(second))
                    .map(|(_, micros)| *micros)
                    .collect();
                some.sort_unstable();
                [percentile(&some, 50), percentile(&some, 99)]
            };
            let ([p50, p99], [a50, a99], [z50, z99]) =
                (of(0, u32::MAX), of(0, end / 3), of(end - end / 3, u32::MAX));
            let _ = writeln!(
                text,
                "{route:35} {p50:7.1} {p99:8.1} {a50:13.1} {a99:8.1} {z50:12.1} {z99:8.1}"
            );
        }
        text.push_str("\nprocess (never killed)     second quarter: KiB, files     last quarter: KiB, files\n");
        for (function, [early, late]) in growth {
            let _ = writeln!(
                text,
                "{function:26} {:19} {:6} {:21} {:6}",
                early.rss_kib, early.files, late.rss_kib, late.files
            );
        }
        text.push_str("\noperation                       completed\n");
        for (operation, count) in &counts.operations {
            let _ = writeln!(text, "{operation:30} {count:10}");
        }
        let elapsed = self.started.elapsed();
        let busy = elapsed.saturating_sub(counts.paused).as_secs_f64();
        let rate = counts.requests as f64 / busy.max(0.001);
        let _ = writeln!(
            text,
            "\n{} requests in {} s, without {} s in which the clocks jumped: {rate:.0} requests/s\n\
             {} calls to DynamoDB and the providers, {} with a fault; {} processes killed; {} jumps of the clocks; {} \
             signing keys",
            counts.requests,
            elapsed.as_secs(),
            counts.paused.as_secs(),
            counts.calls,
            counts.faults,
            counts.kills,
            counts.jumps,
            counts.signed_with.len(),
        );
        text
    }
}

/// Returns a percentile in milliseconds.
fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted
        .get(index)
        .map_or(0.0, |micros| f64::from(*micros) / 1000.0)
}
