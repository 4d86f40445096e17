//! kill -9 at random moments, under writes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tombolo_sim::rng::Rng;

use crate::lab::{Lab, LabNode, wait_in_step};

const ROUNDS: usize = 20;

fn all_there(node: &LabNode<'_>, written: &BTreeMap<String, String>, round: usize) {
    let held = node.json(&["get", "log"])["value"].clone();
    for (key, value) in written {
        let found = key.split('/').fold(&held, |part, segment| &part[segment]);
        assert_eq!(found.to_string(), *value, "{key} was acknowledged and is not there after round {round}");
    }
}

/// Each write that `set` acknowledged is there after the daemon was killed, twenty times, and reaches the peer.
#[test]
fn acknowledged_writes_survive_kill_9() {
    let Some(lab) = Lab::new(2) else { return };
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut nodes = lab.running(2);
    nodes[0].federate(&nodes[1]);
    nodes[0].ok(&["create", "log"]);
    wait_in_step(&nodes, "log", Duration::from_secs(10));
    // By the node that acknowledged: the other one may be a moment behind.
    let mut acknowledged: [BTreeMap<String, String>; 2] = Default::default();
    let mut cut_off = 0;
    for round in 0..ROUNDS {
        let (writer, victim) = (round % 2, (round / 2) % 2);
        let after = Duration::from_millis(rng.between(0, 500));
        let stop = AtomicBool::new(false);
        let mut daemon = nodes[victim].take_daemon();
        let node = &nodes[writer];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begin = Instant::now();
                while begin.elapsed() < after {
                    std::thread::sleep(Duration::from_millis(1));
                }
                daemon.kill().unwrap();
                daemon.wait().unwrap();
                stop.store(true, Ordering::SeqCst);
            });
            let mut count = 0;
            while !stop.load(Ordering::SeqCst) {
                let (key, value) = (format!("round{round}/{count}"), format!("{}", rng.below(1 << 40)));
                let (code, _, _) = node.run(&["set", "harbour1/log", &key, &value]);
                match code {
                    0 => drop(acknowledged[writer].insert(key, value)),
                    _ => cut_off += 1,
                }
                count += 1;
            }
        });
        nodes[victim].up();
        all_there(&nodes[writer], &acknowledged[writer], round);
    }
    let took = wait_in_step(&nodes, "log", Duration::from_secs(30));
    for node in &nodes {
        acknowledged.iter().for_each(|written| all_there(node, written, ROUNDS));
    }
    println!(
        "totals: {ROUNDS} times kill -9, {} writes acknowledged and all there, {cut_off} cut off, in step after {took:?}",
        acknowledged.iter().map(BTreeMap::len).sum::<usize>()
    );
}
