//! The fuzz targets of this crate, which `fuzz/` runs with libFuzzer. The unit test runs each of them over its seeds.
//!
//! A target panics if a property does not hold. docs/reliability.md lists the properties.

mod documents;
mod items;
mod requests;
mod settings;
mod tokens;

use std::thread_local;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::clock::{Clock, Timestamp};

/// A function of any bytes, and the inputs that a run begins with.
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Returns the seeds.
    pub seeds: fn() -> Vec<String>,
    /// Runs the target over an input, and returns whether the input was accepted. Panics if a property does not hold.
    pub run: fn(&[u8]) -> bool,
}

/// The targets.
pub const TARGETS: [Target; 10] = [
    tokens::ACCESS_TOKEN,
    tokens::ID_TOKEN,
    tokens::VOUCHED_SIGN_IN,
    tokens::REFRESH_TOKEN,
    documents::JWKS,
    documents::DISCOVERY,
    requests::CLIENT,
    requests::MERGE_PATCH,
    items::ITEMS,
    settings::SETTINGS,
];

/// The time of the targets.
const NOW: Timestamp = 1_700_000_000;
/// The issuer of access tokens.
const ISSUER: &str = "https://api.example.com";

fn clock() -> Clock {
    Clock::new(|| NOW)
}

/// Runs a future that waits for nothing.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = runtime();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

#[expect(
    clippy::expect_used,
    reason = "a target without its runtime proves nothing"
)]
fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// Returns an object with these changes; `null` removes a member.
fn changed(object: &Value, changes: &Value) -> Value {
    let mut object = object.clone();
    if let (Some(members), Some(changes)) = (object.as_object_mut(), changes.as_object()) {
        for (name, value) in changes {
            if value.is_null() {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_target_accepts_some_of_its_seeds_and_refuses_others() {
        let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(names.len(), TARGETS.len());
        for target in TARGETS {
            let seeds = (target.seeds)().into_iter();
            let (accepted, refused): (Vec<_>, Vec<_>) =
                seeds.partition(|seed| (target.run)(seed.as_bytes()));

            assert!(!accepted.is_empty(), "{} accepts no seed", target.name);
            assert!(!refused.is_empty(), "{} refuses no seed", target.name);
        }
    }
}
