//! The end of the time for a request, for code that decides whether to try again.

use std::time::Duration;

use tokio::{
    task_local,
    time::{Instant, error::Elapsed, timeout_at},
};

task_local! {
    static DEADLINE: Instant;
}

/// Does `work` within `limit`, of which it can learn by [`deadline`].
///
/// # Errors
/// The time is over, and the work was dropped.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let deadline = Instant::now() + limit;
    timeout_at(deadline, DEADLINE.scope(deadline, work)).await
}

/// Returns the end of the time for the work of this task; `None` outside of [`within`].
pub(crate) fn deadline() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_knows_its_deadline_and_ends_there() {
        assert_eq!(deadline(), None);
        let limit = Duration::from_secs(60);
        let before = Instant::now() + limit;

        let known = within(limit, async { deadline() }).await.unwrap().unwrap();

        assert!(known >= before && known <= Instant::now() + limit);
        let never = within(Duration::ZERO, std::future::pending::<()>());
        assert!(never.await.is_err());
    }
}
