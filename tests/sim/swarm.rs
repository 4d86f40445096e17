//! Many seeds: in each a federation of 3 to 8 nodes lives a virtual day with all faults on, and is in step
//! again soon after them.

use crate::seeds;
use tombolo_sim::DAY;
use tombolo_sim::report::RunReport;
use tombolo_sim::swarm::{SwarmPlan, run};

/// Seeds that once failed; each names what went wrong.
const REGRESSIONS: &[(u64, &str)] = &[
    (32, "a restamp came before the clock was pulled back, and wrote the future again"),
    (93, "the same, and the last write was lost for a day"),
    (
        101_651,
        "a heartbeat from before a reconnect counted as the clock of its peer, and the median of the peers outvoted a clock that was right",
    ),
    (101_944, "the checker sent a node an old heartbeat of a peer that it had not heard since its start"),
];

fn one(seed: u64) -> RunReport {
    run(seed, &SwarmPlan::default())
}

/// The seeds are run in so many tests.
const SHARDS: u64 = 10;

/// Documents are byte-identical, no acknowledged write is lost, no write without the right to it takes effect, a naive model of
/// the merge agrees with every node at every change, and nothing panics: after a day of loss, duplication, reordering, corruption,
/// partitions, crashes and wrong clocks.
fn every_seed_ends_in_step(which: u64) {
    let seeds = seeds::shard(seeds::wanted(40), which, SHARDS);
    if seeds.is_empty() {
        return;
    }
    let (failed, total) = seeds::run_all("swarm", one, seeds);
    println!("totals: {total}");
    assert!(failed.is_empty(), "{} of {} seeds failed: {failed:?}", failed.len(), total.runs);
    assert!(total.writes >= 200 * total.runs, "each run acknowledges at least 200 writes");
    assert!(total.faulty >= total.runs * DAY, "each run lasts a virtual day at least");
}

macro_rules! shards {
    ($($name:ident $which:literal),*) => {
        $(#[test]
        fn $name() {
            every_seed_ends_in_step($which);
        })*
    };
}

shards!(shard_0 0, shard_1 1, shard_2 2, shard_3 3, shard_4 4, shard_5 5, shard_6 6, shard_7 7, shard_8 8, shard_9 9);

/// Equal seeds, equal histories: without that, a failing seed could not be replayed.
#[test]
fn a_seed_replays_to_the_same_history() {
    for seed in [1, 2] {
        let (first, second) = (seeds::run_caught(one, seed), seeds::run_caught(one, seed));
        assert_eq!(first, second, "seed {seed}");
        assert!(!first.digest.is_empty());
    }
}

/// Seeds that failed once stay in step.
#[test]
fn seeds_that_once_failed_pass() {
    for (seed, what) in REGRESSIONS {
        let report = seeds::run_caught(one, *seed);
        assert_eq!(report.wrongs, Vec::<String>::new(), "seed {seed}: {what}");
    }
}

/// Not a test of its own: runs the seed that `TOMBOLO_SEED` names, and prints its report.
#[test]
fn replay() {
    seeds::replay("swarm", one);
}
