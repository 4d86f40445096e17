//! The built program on every kind of link at once, with real parts: four daemons in a row. A and B share a LAN of namespaces, B and C
//! an air of two Dire Wolf TNCs, C and D a private Tor network within one namespace. Each link is cut and healed in turn while all
//! four write; at the end every document is the same bytes everywhere.
//!
//! Needs Linux, root, iproute2, nftables, direwolf, pulseaudio, tor and python3; without them it prints `SKIPPED: needs …`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may panic, and reads clocks"
)]
#![cfg(target_os = "linux")]

#[path = "../lab/lab.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod lab;
mod parts;

use std::time::Duration;

use lab::{Lab, LabNode, wait_for};
use parts::{Tncs, Tor};

/// How long anything may take, on a busy machine. What is asserted is that it happens at all.
const LONG: Duration = Duration::from_secs(240);
/// The documents that all write.
const DOCUMENTS: [&str; 2] = ["attic/plan", "depot/log"];

/// Four daemons, the first to the last link of the row.
struct House<'lab> {
    nodes: [LabNode<'lab>; 4],
    round: usize,
    written: Vec<(usize, String)>,
}

impl House<'_> {
    /// Each node writes into both documents.
    fn write(&mut self) {
        self.round += 1;
        for (at, node) in self.nodes.iter().enumerate() {
            for doc in DOCUMENTS {
                let key = format!("round{}/{}", self.round, node.name());
                node.ok(&["set", doc, &key, &format!("written at {at}")]);
            }
            self.written.push((at, format!("round{}/{}", self.round, node.name())));
        }
    }

    /// Waits until every document reads the same at all nodes.
    fn in_step(&self, what: &str) -> Duration {
        let last = &self.written[self.written.len() - 4..];
        let mut missing = Vec::new();
        wait_for(what, LONG, || {
            missing = self.missing(last);
            missing.is_empty()
        })
    }

    /// The writes that are not everywhere, and the documents that differ.
    fn missing(&self, keys: &[(usize, String)]) -> Vec<String> {
        let mut missing = Vec::new();
        for doc in DOCUMENTS {
            let name = doc.rsplit_once('/').map_or(doc, |(_, name)| name);
            let hashes: Vec<_> = self.nodes.iter().map(|node| node.hash(name)).collect();
            if hashes[0].is_none() || hashes.iter().any(|hash| *hash != hashes[0]) {
                missing.push(doc.to_owned());
            } else {
                let absent = keys.iter().filter(|(_, key)| self.nodes[0].get(doc, key).is_none());
                missing.extend(absent.map(|(_, key)| key.clone()));
            }
        }
        missing
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// All four, joined over the LAN while it reaches them all.
fn joined<'lab>(lab: &'lab Lab, tncs: &Tncs, tor: &Tor) -> [LabNode<'lab>; 4] {
    let radio = |n: usize| {
        let air = "bitrate=9600&region=EU868&frequency_hz=869525000";
        vec!["--mesh".to_owned(), format!("kiss+tcp://{}?{air}", tncs.kiss[n])]
    };
    let row = [
        (1, "attic", vec![]),
        (2, "boat", radio(0)),
        (3, "camp", [radio(1), tor.arguments(1)].concat()),
        (3, "depot", [tor.arguments(2), vec!["--listen".into(), format!("{}:0", lab.address(3))]].concat()),
    ];
    let nodes = row.map(|(index, name, arguments)| {
        let mut node = lab.node_called(index, name);
        node.setting("publish_every = \"60s\"", "publish_every = \"1h\"");
        node.setting("containers = \"auto\"", "containers = \"off\"");
        node.arguments = arguments;
        node.up();
        node
    });
    // What they call each other by later has to be known when they join.
    for node in &nodes[2..] {
        wait_for("an onion service", LONG, || {
            let tor = &node.json(&["status"])["tor"];
            tor["onion"].as_str().is_some_and(|onion| onion.contains(".onion"))
        });
    }
    for (at, inviter) in nodes.iter().enumerate() {
        for joiner in nodes.iter().skip(at + 1) {
            inviter.federate(joiner);
        }
    }
    nodes[0].ok(&["create", "plan"]);
    nodes[3].ok(&["create", "log"]);
    for (at, doc) in [(0, "plan"), (3, "log")] {
        nodes[at].ok(&["set", doc, "first", "of all"]);
    }
    for doc in DOCUMENTS {
        for node in &nodes {
            let key = format!("hello/{}", node.name());
            wait_for("the right to write", LONG, || node.run(&["set", doc, &key, "there"]).0 == 0);
        }
    }
    nodes
}

#[test]
fn four_daemons_on_lan_radio_and_tor_lose_nothing_when_each_link_is_cut_in_turn() {
    let Some(lab) = Lab::new(3) else { return };
    if parts::missing().is_some_and(|missing| {
        println!("SKIPPED: needs {missing}");
        true
    }) {
        return;
    }
    // The three start beside each other.
    let (tncs, tor) = std::thread::scope(|scope| {
        let tor = scope.spawn(|| Tor::start(&lab, 3));
        (Tncs::start(&lab, [2, 3]), tor.join().unwrap())
    });
    let mut house = House { nodes: joined(&lab, &tncs, &tor), round: 0, written: Vec::new() };
    house.write();
    println!(
        "totals: house: four daemons in step over the LAN after {}",
        seconds(house.in_step("all over the LAN"))
    );

    // D leaves the LAN for good: from now on it has Tor alone.
    let depot = &mut house.nodes[3];
    depot.kill();
    depot.arguments.retain(|argument| argument != "--listen" && !argument.ends_with(":0"));
    depot.arguments.push("--no-lan".into());
    depot.up();
    house.write();
    println!("totals: house: D on Tor alone: in step after {}", seconds(house.in_step("D on Tor alone")));

    // So does C: what B and C have for each other moves from the LAN to the radio.
    lab.netlab(&["cut", "3"]);
    house.write();
    println!(
        "totals: house: LAN of C cut: over radio after {}",
        seconds(house.in_step("C on radio and Tor"))
    );

    lab.netlab(&["cut", "1"]);
    house.write();
    lab.netlab(&["heal", "1"]);
    println!(
        "totals: house: LAN of A cut and healed: in step after {}",
        seconds(house.in_step("A's LAN healed"))
    );

    tncs.kill();
    house.write();
    tncs.revive();
    println!("totals: house: air cut and healed: in step after {}", seconds(house.in_step("the air healed")));

    tor.kill(1);
    house.write();
    tor.revive(1);
    println!(
        "totals: house: tor of C killed and revived: in step after {}",
        seconds(house.in_step("Tor healed"))
    );

    let lost = house.missing(&house.written);
    assert!(lost.is_empty(), "{lost:?}");
    for node in &house.nodes[1..3] {
        let airtime = node.json(&["airtime"]);
        let figure = |name: &str| airtime[0][name].as_f64().unwrap_or_else(|| panic!("{name} in {airtime}"));
        let (used, budget) = (figure("used_last_hour_s"), figure("budget_hour_s"));
        println!("totals: house: {} used {used:.1} s of {budget:.0} s of air", node.name());
        assert!(used > 0.0 && used <= budget, "{airtime}");
    }
}
