//! The cable is pulled while both sides write.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::lab::{Lab, wait_in_step};

/// For ten seconds nothing passes, and both sides write on. Plugged again, all writes of both are everywhere.
#[test]
fn a_cable_cut_under_writes_loses_nothing() {
    let Some(lab) = Lab::new(3) else { return };
    let nodes = lab.running(3);
    for (inviter, joiner) in [(0, 1), (0, 2), (1, 2)] {
        nodes[inviter].federate(&nodes[joiner]);
    }
    nodes[0].ok(&["create", "log"]);
    wait_in_step(&nodes, "log", Duration::from_secs(10));
    let mut written = Vec::new();
    let mut write_for = |seconds: u64| {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(seconds) {
            for node in &nodes[..2] {
                let (key, value) =
                    (format!("from{}/{}", node.index, written.len()), format!("{}", written.len()));
                node.ok(&["set", "harbour1/log", &key, &value]);
                written.push((key, value));
            }
            sleep(Duration::from_millis(100));
        }
        written.len()
    };
    write_for(1);
    lab.netlab(&["cut", "2"]);
    write_for(10);
    assert_ne!(nodes[0].hash("log"), nodes[1].hash("log"), "nothing passes a cable that is cut");
    lab.netlab(&["heal", "2"]);
    let count = write_for(1);
    let took = wait_in_step(&nodes, "log", Duration::from_secs(30));
    for (key, value) in &written {
        assert_eq!(nodes[2].get("log", key).as_ref(), Some(value), "{key}");
    }
    println!("totals: {count} writes around a cable cut of 10 s, in step {took:?} after the last");
}
