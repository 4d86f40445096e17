//! Many seeds on all cores; a failing one prints the command that replays it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tombolo_sim::report::RunReport;

/// A scenario, which runs a seed.
pub(crate) type RunSeed = fn(u64) -> RunReport;

/// Runs a seed; a panic anywhere is one more thing that must not happen.
pub(crate) fn run_caught(run: impl Fn(u64) -> RunReport, seed: u64) -> RunReport {
    catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let wrong = format!("panicked: {}", text.unwrap_or_default());
        RunReport { runs: 1, wrongs: vec![wrong], ..RunReport::default() }
    })
}

fn complain(story: &str, seed: u64, report: &RunReport) {
    for wrong in &report.wrongs {
        println!("seed {seed}: {wrong}");
    }
    println!("replay with: TOMBOLO_SEED={seed} cargo test --test sim {story}::replay -- --exact --nocapture");
}

/// The seeds of one shard of so many. Each shard is a test of its own, so that a slow machine meets no limit of its runner
/// and shows how far it has come.
pub(crate) fn shard(seeds: std::ops::Range<u64>, which: u64, of: u64) -> std::ops::Range<u64> {
    let count = seeds.end - seeds.start;
    seeds.start + count * which / of..seeds.start + count * (which + 1) / of
}

/// All these seeds on all cores; the failed ones, and everything added up.
pub(crate) fn run_all(story: &str, run: RunSeed, seeds: std::ops::Range<u64>) -> (Vec<u64>, RunReport) {
    println!("{story}: seeds {} to {}", seeds.start, seeds.end);
    let (next, end) = (AtomicU64::new(seeds.start), seeds.end);
    let outcome = Mutex::new((Vec::new(), RunReport::default()));
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run_caught(run, seed);
                    let mut outcome = outcome.lock().unwrap();
                    if !report.wrongs.is_empty() {
                        complain(story, seed, &report);
                        outcome.0.push(seed);
                    }
                    outcome.1.add(&report);
                    println!(
                        "{story}: {} of {} seeds, {} failed",
                        outcome.1.runs,
                        end - seeds.start,
                        outcome.0.len()
                    );
                }
            });
        }
    });
    outcome.into_inner().unwrap()
}

/// The seeds to run: `TOMBOLO_SEEDS` of them from `TOMBOLO_FIRST_SEED` on; else so many, or a tenth of them where
/// it has to be quick.
pub(crate) fn wanted(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let quick = std::env::var("TOMBOLO_QUICK").is_ok_and(|quick| quick == "1");
    let first = number("TOMBOLO_FIRST_SEED").unwrap_or(0);
    first..first + number("TOMBOLO_SEEDS").unwrap_or(if quick { usual / 10 } else { usual })
}

/// Runs the seed that `TOMBOLO_SEED` names, and prints its report.
pub(crate) fn replay(story: &str, run: RunSeed) {
    let Some(seed) = std::env::var("TOMBOLO_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let report = run_caught(run, seed);
    println!("{report}");
    println!("digest {}", report.digest);
    if !report.wrongs.is_empty() {
        complain(story, seed, &report);
        panic!("seed {seed} failed");
    }
}
