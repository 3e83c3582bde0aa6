//! Random numbers that a seed repeats (SplitMix64).

use std::sync::atomic::{AtomicU64, Ordering};

static SHARED: AtomicU64 = AtomicU64::new(0);

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A generator of random numbers.
pub(crate) struct Dice(u64);

impl Dice {
    /// Returns the generator of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(mixed(seed))
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(STEP);
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(mixed(self.0) % limit).unwrap_or_default()
    }

    /// Returns true in this share of the cases, in percent.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Returns a number of the generator that all proxies share.
pub(crate) fn shared_roll() -> u64 {
    mixed(SHARED.fetch_add(STEP, Ordering::Relaxed))
}

/// Seeds the generator that all proxies share.
pub(crate) fn seed_shared(seed: u64) {
    SHARED.store(mixed(seed), Ordering::Relaxed);
}

fn mixed(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}
