//! Time that no machine is too slow for.

use std::time::Duration;

/// The largest step of the simulated time.
const STEP: Duration = Duration::from_millis(1);

/// Stops the clock of this test's runtime, which moves on from now on only while every task waits.
///
/// Work takes no time then; waits, timeouts and [`crate::proxy::Fault::Delay`] take theirs. So the result of a race
/// does not depend on the speed of the machine. The runtime must be the usual one of a test, with one thread.
pub fn simulate_time() {
    tokio::time::pause();
    // Without a task that waits for a moment only, the clock could pass a timeout while bytes are on their way.
    tokio::spawn(async {
        loop {
            tokio::time::sleep(STEP).await;
        }
    });
}
