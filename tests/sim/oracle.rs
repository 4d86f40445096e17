//! Who wins, by the design and not by the code: stories with an expectation, watched by a naive model that keeps every
//! state for ever. Three faults, planted in turn, show that both find what all nodes get wrong alike.

use crate::seeds;
use crate::world::{HOUR, MINUTE, World};
use tombolo::layer::KeyPath;
use tombolo::merge::{PlantedFault, plant};
use tombolo::node::Write;
use tombolo_sim::Seat;
use tombolo_sim::checker::DocumentRef;
use tombolo_sim::faults::WallClock;
use tombolo_sim::swarm::{SwarmPlan, run};

/// What a story shows: where a node reads another value than the design has, and what the model found.
#[derive(Debug, Default)]
struct Outcome {
    unexpected: Vec<String>,
    by_model: Vec<String>,
}

/// A story, which brings its own federation.
type Story = fn() -> Outcome;

const STORIES: [(&str, Story); 5] = [
    ("two stamps of one millisecond: the greater counter wins", two_stamps_of_one_millisecond),
    ("one stamp of two authors: the greater author wins", one_stamp_of_two_authors),
    ("a deletion outlives an absent writer's older write", a_deletion_against_an_absent_writer),
    ("who has seen a write wins over it, also with a clock behind", a_later_write_with_a_clock_behind),
    ("an older write that comes late does not win", an_older_write_that_comes_late),
];

/// Friends, two of them by the order of their identities, and a document of the lesser one.
struct Friends {
    world: World,
    lesser: usize,
    greater: usize,
    document: DocumentRef,
}

fn friends(seed: u64, machines: usize) -> Friends {
    let mut world = World::of_friends(seed, machines);
    world.simulation.watch_by_oracle();
    let (a, b) = (world.simulation.peer_id(Seat(0)), world.simulation.peer_id(Seat(1)));
    let (lesser, greater) = if a < b { (0, 1) } else { (1, 0) };
    let document = world.create(lesser, "roster");
    world.set(lesser, &document, "begin", 1);
    for who in 0..machines {
        world.await_value(who, &document, "begin", Some(1), MINUTE);
    }
    Friends { world, lesser, greater, document }
}

impl Friends {
    fn cut_off(&mut self, who: usize) {
        for other in self.world.simulation.seats().into_iter().filter(|seat| seat.0 != who) {
            self.world.simulation.cut(Seat(who), other);
        }
    }

    /// All meet again; then each machine reads this.
    fn end(mut self, key: &str, expected: Option<u64>) -> Outcome {
        let seats = self.world.simulation.seats();
        for a in &seats {
            for b in seats.iter().filter(|b| a < *b) {
                self.world.simulation.mend(*a, *b);
            }
        }
        self.world.simulation.run_for(10 * MINUTE);
        let mut outcome = Outcome::default();
        for seat in seats {
            let read = self.world.get(seat.0, &self.document, key);
            if read != expected {
                outcome.unexpected.push(format!("{seat:?} reads {read:?}, not {expected:?}"));
            }
        }
        assert!(self.world.simulation.oracle_comparisons() > 0, "the model was not asked");
        outcome.by_model = self.world.simulation.wrongs().to_vec();
        outcome
    }
}

fn two_stamps_of_one_millisecond() -> Outcome {
    let mut story = friends(71, 2);
    let (lesser, greater, document) = (story.lesser, story.greater, story.document.clone());
    story.cut_off(lesser);
    story.world.set(lesser, &document, "other", 1);
    story.world.set(lesser, &document, "key", 2);
    story.world.set(greater, &document, "key", 3);
    story.end("key", Some(2))
}

fn one_stamp_of_two_authors() -> Outcome {
    let mut story = friends(72, 2);
    let (lesser, greater, document) = (story.lesser, story.greater, story.document.clone());
    story.cut_off(lesser);
    story.world.set(greater, &document, "key", 3);
    story.world.set(lesser, &document, "key", 2);
    story.end("key", Some(3))
}

fn a_deletion_against_an_absent_writer() -> Outcome {
    let mut story = friends(73, 3);
    let (lesser, document) = (story.lesser, story.document.clone());
    story.world.set(lesser, &document, "key", 1);
    story.world.await_value(2, &document, "key", Some(1), MINUTE);
    story.cut_off(2);
    story.world.set(2, &document, "key", 5);
    story.world.simulation.run_for(MINUTE);
    let doc = document.text(&story.world.simulation);
    let del = Write::Del { doc, key: KeyPath::parse("key").unwrap() };
    story.world.simulation.ask(Seat(lesser), del).unwrap();
    // Long enough for the tombstone to be looked at, and that the other writer signs something later.
    story.world.set(story.greater, &document, "something", 1);
    story.world.simulation.run_for(3 * HOUR);
    story.end("key", None)
}

fn a_later_write_with_a_clock_behind() -> Outcome {
    let mut story = friends(74, 2);
    let (lesser, greater, document) = (story.lesser, story.greater, story.document.clone());
    let behind = WallClock { offset_ms: -((2 * MINUTE).ms() as i64), ..WallClock::default() };
    story.world.simulation.set_clock(Seat(lesser), behind);
    story.world.set(greater, &document, "key", 1);
    story.world.await_value(lesser, &document, "key", Some(1), MINUTE);
    story.world.set(lesser, &document, "key", 2);
    story.end("key", Some(2))
}

fn an_older_write_that_comes_late() -> Outcome {
    let mut story = friends(75, 3);
    let document = story.document.clone();
    story.cut_off(2);
    story.world.set(2, &document, "key", 5);
    story.world.simulation.run_for(MINUTE);
    story.world.set(story.lesser, &document, "key", 6);
    story.world.simulation.run_for(HOUR);
    story.end("key", Some(6))
}

#[test]
fn the_design_decides_who_wins() {
    for (name, story) in STORIES {
        let outcome = story();
        assert!(outcome.unexpected.is_empty() && outcome.by_model.is_empty(), "{name}: {outcome:?}");
    }
}

/// Each is wrong at every node alike, so that no comparison of nodes shows it.
#[test]
fn each_planted_fault_is_found_by_the_model_and_by_a_story() {
    use PlantedFault::{CounterIgnored, TieBreakReversed, TombstoneDroppedEarly};
    for fault in [TombstoneDroppedEarly, CounterIgnored, TieBreakReversed] {
        plant(Some(fault));
        let outcomes: Vec<Outcome> = STORIES.iter().map(|(_, story)| story()).collect();
        plant(None);
        assert!(outcomes.iter().any(|outcome| !outcome.by_model.is_empty()), "the model misses {fault:?}");
        assert!(outcomes.iter().any(|outcome| !outcome.unexpected.is_empty()), "no story shows {fault:?}");
    }
}

const FAULTS: [PlantedFault; 3] =
    [PlantedFault::TombstoneDroppedEarly, PlantedFault::CounterIgnored, PlantedFault::TieBreakReversed];

/// What the model finds in a seed of the swarm whose nodes have a fault.
fn found_by_model(fault: PlantedFault, seed: u64, plan: &SwarmPlan) -> Vec<String> {
    plant(Some(fault));
    let report = seeds::run_caught(|seed| run(seed, plan), seed);
    plant(None);
    report.wrongs.into_iter().filter(|wrong| wrong.contains("by the model")).collect()
}

/// A quarter of a day of three machines is enough to meet each of them.
#[test]
fn the_swarm_finds_each_planted_fault() {
    let plan = SwarmPlan { machines: (3, 3), faulty: 6 * HOUR, writes: 80, ..SwarmPlan::default() };
    for fault in FAULTS {
        let found = (0..8).find(|seed| !found_by_model(fault, *seed, &plan).is_empty());
        println!("{fault:?} is found at seed {found:?}");
        assert!(found.is_some(), "no seed shows {fault:?}");
    }
}

/// Not a test of its own: with `TOMBOLO_PLANT=1` it prints, for the seeds that are asked for, which faults the model finds.
#[test]
fn replay_planted() {
    if std::env::var("TOMBOLO_PLANT").is_err() {
        return;
    }
    for seed in seeds::wanted(40) {
        for fault in FAULTS {
            let found = found_by_model(fault, seed, &SwarmPlan::default());
            println!("seed {seed}: {fault:?} {}: {:?}", found.len(), found.first());
        }
    }
}
