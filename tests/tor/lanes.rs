//! Stories, one after the other on each lane, the lanes side by side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::network::TorNetwork;
use super::node::{LONG, TorNode, within};

/// A story; what it returns is printed: how long the healing took.
pub(crate) type Story = fn(&mut Pair<'_>) -> String;

/// A pair of nodes, its tors, and what happens to them in order.
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) tors: [usize; 2],
    pub(crate) stories: &'static [(&'static str, Story)],
}

/// Two nodes that share only Tor: the attic invited, the boat joined.
pub(crate) struct Pair<'net> {
    pub(crate) network: &'net TorNetwork,
    pub(crate) attic: TorNode<'net>,
    pub(crate) boat: TorNode<'net>,
    /// Invite codes that were made on this lane.
    pub(crate) codes: Vec<String>,
    writes: u32,
}

impl<'net> Pair<'net> {
    /// Starts both; they join by a code, share a document, and both have written.
    fn meet(network: &'net TorNetwork, [attic, boat]: [usize; 2]) -> (Self, String) {
        let begun = Instant::now();
        let attic = TorNode::up("attic", network.tor(attic));
        let boat = TorNode::up("boat", network.tor(boat));
        let code = attic.place.ok(&["invite"]);
        boat.place.ok(&["join", &code, "--timeout", &format!("{}s", LONG.as_secs())]);
        let joined = begun.elapsed();
        assert_eq!(boat.place.json(&["peers"])[0]["joined"], "agreed");
        assert_eq!(attic.place.json(&["peers"])[0]["did"].as_str(), Some(&*boat.place.did()));
        let mut pair = Pair { network, attic, boat, codes: vec![code], writes: 0 };
        pair.attic.place.ok(&["create", "plan"]);
        within("the right to write", LONG, || {
            pair.boat.place.run(&["set", "attic/plan", "boat/first", "1"]).status.success()
        });
        within("the boat's first write", LONG, || pair.attic.get("boat/first").is_some());
        let both_ways = pair.in_step();
        within("one link at each end", LONG, || (pair.attic.links_up(), pair.boat.links_up()) == (1, 1));
        (pair, format!("joined {}, a change there and back {}", seconds(joined), seconds(both_ways)))
    }

    /// Writes on both sides what the other has to get: the keys.
    pub(crate) fn write(&mut self) -> [String; 2] {
        self.writes += 1;
        let keys = ["attic", "boat"].map(|name| format!("{name}/{}", self.writes));
        self.attic.set(&keys[0], "1");
        self.boat.set(&keys[1], "1");
        keys
    }

    /// Waits until each has what the other wrote, and both read the same; returns how long that took.
    pub(crate) fn arrived(&self, keys: &[String; 2]) -> Duration {
        within("both writes on both sides", LONG, || self.has_arrived(keys))
    }

    /// Whether each has what the other wrote, and both read the same.
    pub(crate) fn has_arrived(&self, [by_attic, by_boat]: &[String; 2]) -> bool {
        self.boat.get(by_attic).is_some()
            && self.attic.get(by_boat).is_some()
            && self.attic.place.hash("plan") == self.boat.place.hash("plan")
    }

    /// Writes on both sides and waits until it arrived.
    pub(crate) fn in_step(&mut self) -> Duration {
        let keys = self.write();
        self.arrived(&keys)
    }

    /// After a story that failed: everything runs.
    fn mend(&mut self) {
        for node in [&mut self.attic, &mut self.boat] {
            node.explain();
            node.tor.mend();
            node.start();
        }
        let _ = catch_unwind(AssertUnwindSafe(|| self.in_step()));
    }
}

/// Runs all lanes to their end; panics where a story failed.
pub(crate) fn run(network: &TorNetwork, lanes: &[Lane]) {
    let begun = Instant::now();
    let failed = Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for lane in lanes {
            scope.spawn(|| {
                let of_lane = run_lane(network, lane);
                failed.lock().unwrap().extend(of_lane);
            });
        }
    });
    println!("totals: tor: all stories took {}", seconds(begun.elapsed()));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed: {}", failed.join("; "));
}

/// Returns the names of the stories that failed.
fn run_lane(network: &TorNetwork, lane: &Lane) -> Vec<String> {
    let wanted = std::env::var("TOMBOLO_TOR_STORY").unwrap_or_default();
    let stories: Vec<_> = lane.stories.iter().filter(|(name, _)| name.contains(&wanted)).collect();
    if stories.is_empty() {
        return vec![];
    }
    let Ok((mut pair, met)) = catch_unwind(AssertUnwindSafe(|| Pair::meet(network, lane.tors))) else {
        return vec![format!("two daemons that share only Tor (lane {})", lane.name)];
    };
    println!("totals: tor: two daemons that share only Tor (lane {}): {met}", lane.name);
    let mut failed = vec![];
    for (name, story) in stories {
        let begun = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| story(&mut pair))) {
            Ok(outcome) => println!("totals: tor: {name}: {outcome}"),
            Err(_) => {
                println!("--- {name} (lane {}) failed after {}", lane.name, seconds(begun.elapsed()));
                pair.mend();
                failed.push((*name).to_owned());
            }
        }
    }
    failed
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
