//! Two nodes that cannot talk, and a third between them.

use std::time::Duration;

use crate::lab::{Lab, wait_for};

/// Node 3 never exchanges a frame with node 1 after they joined, and yet reads its state and its documents.
#[test]
fn a_node_receives_anothers_state_only_through_a_third() {
    let Some(lab) = Lab::new(3) else { return };
    let nodes = lab.running(3);
    for (inviter, joiner) in [(0, 1), (0, 2), (1, 2)] {
        nodes[inviter].federate(&nodes[joiner]);
    }
    let (first, third) = (nodes[0].did(), nodes[2].did());
    lab.netlab(&["split", "1", "3"]);
    wait_for("1 and 3 to lose their link", Duration::from_secs(60), || {
        !nodes[0].is_connected(&third) && !nodes[2].is_connected(&first)
    });
    nodes[0].ok(&["create", "roster"]);
    nodes[0].ok(&["set", "roster", "monday", "ann"]);
    let took = wait_for("the document through node 2", Duration::from_secs(10), || {
        nodes[2].get("roster", "monday").as_deref() == Some("ann")
    });
    nodes[2].ok(&["set", "harbour1/roster", "tuesday", "bo"]);
    wait_for("an answer through node 2", Duration::from_secs(10), || {
        nodes[0].get("roster", "tuesday").as_deref() == Some("bo")
    });
    // A state of node 1 that it signed after the split.
    let before = nodes[2].json(&["state", &first])["timestamp"].clone();
    wait_for("a newer state through node 2", Duration::from_secs(90), || {
        nodes[2].json(&["state", &first])["timestamp"] != before
    });
    assert!(!nodes[2].is_connected(&first));
    println!("totals: a document through a third in {took:?}");
}
