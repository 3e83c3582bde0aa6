//! The measurements of one request, which its log line contains: the time of its parts, capacity units, and the error.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use tokio::task_local;

task_local! {
    static METER: RefCell<Meter>;
}

/// A part of a request that takes time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Calls to an identity provider.
    Provider,
    /// Calls to DynamoDB.
    DynamoDb,
    /// Signatures that are made or verified.
    Crypto,
}

/// The measurements of one request.
#[derive(Debug, Default)]
pub struct Meter {
    pub(super) provider_time: Stopwatch,
    pub(super) dynamodb_time: Stopwatch,
    pub(super) crypto_time: Stopwatch,
    /// Read units of DynamoDB, as far as it reports them: a failed condition reports none.
    pub(super) read_units: f64,
    /// Write units of DynamoDB, likewise.
    pub(super) write_units: f64,
    /// The configured name of the provider.
    pub(super) provider: Option<String>,
    /// The code and the outcome of an error.
    pub(super) failed: Option<(&'static str, &'static str)>,
}

/// The time during which at least one part of a kind runs. Parts that overlap count once.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    running: u32,
    since: Option<Instant>,
    total: Duration,
}

impl Stopwatch {
    fn start(&mut self) {
        if self.running == 0 {
            self.since = Some(Instant::now());
        }
        self.running += 1;
    }

    fn stop(&mut self) {
        self.running = self.running.saturating_sub(1);
        if self.running == 0 {
            self.total += self.since.take().map_or(Duration::ZERO, |at| at.elapsed());
        }
    }

    /// Returns the time in milliseconds; `None` if nothing ran.
    pub(super) fn ms(&self) -> Option<f64> {
        let running = self.since.map_or(Duration::ZERO, |at| at.elapsed());
        let total = self.total + running;
        (total > Duration::ZERO).then(|| ms(total))
    }
}

/// Returns a time in milliseconds, to the microsecond.
pub(super) fn ms(time: Duration) -> f64 {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}

/// Does `work` and measures it.
pub async fn measured<T>(work: impl Future<Output = T>) -> (T, Meter) {
    let work = async {
        let done = work.await;
        (done, METER.with(RefCell::take))
    };
    METER.scope(RefCell::default(), work).await
}

/// Returns whether the current task measures a request.
pub(crate) fn is_measured() -> bool {
    METER.try_with(|_| ()).is_ok()
}

/// Changes the measurements of the current request, if the current task measures one.
fn change(change: impl FnOnce(&mut Meter)) {
    let _ = METER.try_with(|meter| change(&mut meter.borrow_mut()));
}

fn stopwatch(meter: &mut Meter, part: Part) -> &mut Stopwatch {
    match part {
        Part::Provider => &mut meter.provider_time,
        Part::DynamoDb => &mut meter.dynamodb_time,
        Part::Crypto => &mut meter.crypto_time,
    }
}

/// A part of the current request that takes time until this is dropped.
#[derive(Debug)]
#[must_use = "the time ends when this is dropped"]
pub(crate) struct Timed(Part);

impl Timed {
    /// Starts the time of `part`.
    pub(crate) fn start(part: Part) -> Self {
        change(|meter| stopwatch(meter, part).start());
        Self(part)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        change(|meter| stopwatch(meter, self.0).stop());
    }
}

/// Adds capacity units of DynamoDB.
pub(crate) fn add_units(read: f64, write: f64) {
    change(|meter| {
        meter.read_units += read;
        meter.write_units += write;
    });
}

/// Records the configured name of the provider that the request asks.
pub(crate) fn set_provider(name: &str) {
    change(|meter| meter.provider = Some(name.to_owned()));
}

/// Records the error that becomes the answer.
pub(crate) fn set_failed(code: &'static str, outcome: &'static str) {
    change(|meter| meter.failed = Some((code, outcome)));
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    const TICK: Duration = Duration::from_millis(2);

    async fn part(part: Part) {
        let _time = Timed::start(part);
        sleep(TICK).await;
    }

    #[tokio::test]
    async fn parts_that_overlap_count_once() {
        let began = Instant::now();
        let all = futures_util::future::join_all((0..64).map(|_| part(Part::DynamoDb)));
        let (_, meter) = measured(all).await;
        let took = ms(began.elapsed());

        let time = meter.dynamodb_time.ms().unwrap();
        assert!(time >= ms(TICK) && time <= took, "{time} of {took}");
        assert_eq!(meter.dynamodb_time.running, 0);
        assert_eq!(meter.crypto_time.ms(), None);
    }

    #[tokio::test]
    async fn a_part_that_is_dropped_takes_no_more_time() {
        let cut = timeout(TICK, async {
            let _time = Timed::start(Part::Provider);
            std::future::pending::<()>().await;
        });
        let (cut, meter) = measured(cut).await;

        assert!(cut.is_err());
        assert_eq!(meter.provider_time.running, 0);
        assert!(meter.provider_time.since.is_none());
        assert!(meter.provider_time.ms().is_some());
    }

    #[tokio::test]
    async fn requests_at_once_keep_their_measurements_apart() {
        let work = |name: &'static str, units: f64| {
            measured(async move {
                set_provider(name);
                sleep(TICK).await;
                add_units(units, 2.0 * units);
            })
        };

        let (((), one), ((), two)) = tokio::join!(work("one", 1.0), work("two", 2.5));
        add_units(7.0, 7.0);

        assert!(!is_measured());
        assert_eq!(one.provider.as_deref(), Some("one"));
        assert_eq!((two.read_units, two.write_units), (2.5, 5.0));
    }
}
