//! The targets as one program, which libFuzzer's `main` runs. fuzz.py builds it and starts it.
//!
//! `FUZZ_TARGET` names the target. With `FUZZ_SEEDS`, the program writes the seeds of every target below that folder at
//! the first input, and runs no target.

#![no_main]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a run without its target proves nothing"
)]

mod events;
mod providers;

use std::{fs, path::Path, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use shared::{
    config::Environment,
    fuzzing::{self, Target},
};

static TARGET: OnceLock<Target> = OnceLock::new();

/// The target of a run that writes seeds.
const NOTHING: Target = Target {
    name: "nothing",
    seeds: Vec::new,
    run: |_| false,
};

fn targets() -> impl Iterator<Item = Target> {
    let here = [
        events::EVENTS,
        events::AUTHORIZER,
        providers::GITHUB,
        providers::DESCRIBED,
    ];
    fuzzing::TARGETS.into_iter().chain(here)
}

/// Writes the seeds of each target. Some of them are accepted and others are refused, or they begin at one side only.
fn write_seeds(folder: &str) {
    for target in targets() {
        let folder = Path::new(folder).join(target.name);
        fs::create_dir_all(&folder).expect("a folder");
        let seeds = (target.seeds)();
        let accepted = seeds.iter().filter(|seed| (target.run)(seed.as_bytes()));
        let (accepted, all) = (accepted.count(), seeds.len());
        println!("{} accepts {accepted} of {all} seeds", target.name);
        assert!((1..all).contains(&accepted), "{}", target.name);
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed).expect("a seed");
        }
    }
}

fn target() -> Target {
    let env = Environment::process();
    if let Some(folder) = env.optional("FUZZ_SEEDS") {
        write_seeds(&folder);
        return NOTHING;
    }
    let name = env.optional("FUZZ_TARGET").expect("FUZZ_TARGET");
    targets()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("no target has the name {name}"))
}

fuzz_target!(|input: &[u8]| {
    (TARGET.get_or_init(target).run)(input);
});
