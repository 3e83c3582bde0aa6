//! Timers that follow the work of a test instead of the time of day.
//!
//! A test that injects faults waits for many time limits: of the AWS SDK, of the calls to a provider, of a route. In
//! real time, each of them takes seconds, and a busy machine makes healthy calls exceed them. [`follow_work`] pauses
//! tokio's clock and turns it by a small step whenever every task had several chances to run. So a limit is reached
//! only if nothing else can happen, however slow the machine is.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::Builder,
    task::{JoinSet, yield_now},
    time::advance,
};

/// The time that passes at once, unless a test needs a finer clock.
const STEP: Duration = Duration::from_millis(10);
/// The number of rounds of all tasks for each step. A call needs about five rounds to get to the other end of its
/// connection.
const ROUNDS: usize = 16;
/// The number of steps between two pauses. On a busy machine, a thread that pauses waits for a processor.
const STEPS: usize = 10;
/// A pause of the thread, in which the kernel can deliver what is on its way between two sockets.
const PAUSE: Duration = Duration::from_micros(100);
/// The stack of a thread, in bytes. The futures of a test are large in a debug build.
const STACK: usize = 16 * 1024 * 1024;

thread_local! {
    static HOLDS: RefCell<Option<Arc<AtomicUsize>>> = const { RefCell::new(None) };
}

/// Keeps the clock of [`follow_work`] from turning until it is dropped.
pub(crate) struct Hold(Option<Arc<AtomicUsize>>);

/// Stops the clock of [`follow_work`] during the work of other threads or processes. No effect without that clock.
pub(crate) fn hold() -> Hold {
    let holds = HOLDS.with_borrow(Clone::clone);
    if let Some(holds) = &holds {
        holds.fetch_add(1, Ordering::SeqCst);
    }
    Hold(holds)
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(holds) = &self.0 {
            holds.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The clock of a test, which turns until this value is dropped.
#[must_use = "the clock turns until this value is dropped"]
pub struct Turning {
    _task: JoinSet<()>,
}

/// Makes the timers of this test's runtime follow its work from now on.
///
/// The clock also stands still while a proxy waits for the answer of the service behind it.
///
/// # Panics
/// The runtime has several threads, or its clock is paused already.
pub fn follow_work() -> Turning {
    follow_work_in_steps(STEP)
}

/// Does what [`follow_work`] does, with a clock that turns by `step` at a time.
///
/// # Panics
/// The runtime has several threads, or its clock is paused already.
pub fn follow_work_in_steps(step: Duration) -> Turning {
    tokio::time::pause();
    let holds = Arc::new(AtomicUsize::new(0));
    HOLDS.set(Some(holds.clone()));
    let mut task = JoinSet::new();
    task.spawn(async move {
        for nth in 0_usize.. {
            for _ in 0..ROUNDS {
                yield_now().await;
            }
            if nth.is_multiple_of(STEPS) {
                thread::sleep(PAUSE);
            }
            if holds.load(Ordering::SeqCst) == 0 {
                advance(step).await;
            }
        }
    });
    Turning { _task: task }
}

impl Drop for Turning {
    fn drop(&mut self) {
        HOLDS.set(None);
    }
}

/// Runs each of `jobs` on a thread and with a clock of its own, as many at once as the machine has processors. Returns
/// those that panicked.
#[expect(
    clippy::expect_used,
    reason = "a test without its runtime proves nothing"
)]
pub fn each_alone<T: Sync>(jobs: &[T], run: impl AsyncFn(&T) + Sync) -> Vec<&T> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::SeqCst)) {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let done = async {
                let _turning = follow_work();
                run(job).await;
            };
            if catch_unwind(AssertUnwindSafe(|| runtime.block_on(done))).is_err() {
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.push(job);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            let thread = thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, work).expect("a thread");
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    #[tokio::test]
    async fn hours_pass_at_once_and_in_order() {
        let _turning = follow_work();
        let hour = Duration::from_mins(60);
        let began = Instant::now();

        let late = timeout(hour, sleep(hour * 2)).await;

        assert!(late.is_err());
        let passed = began.elapsed();
        assert!((hour..hour + STEP * 2).contains(&passed), "{passed:?}");
    }

    #[tokio::test]
    async fn a_held_clock_stands_still() {
        let _turning = follow_work();
        let began = Instant::now();
        let held = hold();
        for _ in 0..ROUNDS * 10 {
            yield_now().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);

        drop(held);
        sleep(STEP).await;

        assert!(began.elapsed() >= STEP);
    }
}
