//! The lock of a value that several requests share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for the lock. No code of this crate panics in the middle of a change, so the value behind a poisoned lock is
/// complete.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
