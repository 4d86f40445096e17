//! The main job: invite, join, converge.

use std::time::Duration;

use crate::lab::{Lab, wait_for, wait_in_step};

/// Three nodes that know nothing but a code find each other by multicast, agree, and read the same whatever
/// each of them wrote.
#[test]
fn three_nodes_join_by_discovery_and_converge() {
    let Some(lab) = Lab::new(3) else { return };
    let nodes = lab.running(3);
    nodes[0].federate(&nodes[1]);
    nodes[0].federate(&nodes[2]);
    nodes[1].federate(&nodes[2]);
    let dids: Vec<String> = nodes.iter().map(|node| node.did()).collect();
    for node in &nodes {
        let others: Vec<&String> = dids.iter().filter(|did| **did != dids[node.index - 1]).collect();
        wait_for("links to both others", Duration::from_secs(20), || {
            others.iter().all(|did| node.is_connected(did))
        });
    }
    // Who joins is not refused as a peer before: that would read like trouble.
    for node in &nodes {
        assert_eq!(node.json(&["status"])["rejections"]["lan_unknown_key"], serde_json::Value::Null);
    }
    nodes[0].ok(&["create", "roster"]);
    for node in &nodes[1..] {
        wait_for("the document arrives", Duration::from_secs(10), || node.hash("roster").is_some());
    }
    for node in &nodes {
        node.ok(&["set", "harbour1/roster", &format!("duty/harbour{}", node.index), "\"on watch\""]);
        node.ok(&["set", "harbour1/roster", "tide/high", &format!("{}", 100 + node.index)]);
    }
    let took = wait_in_step(&nodes, "roster", Duration::from_secs(10));
    println!("totals: 3 nodes in step {took:?} after the last write");
    for node in &nodes {
        assert_eq!(node.get("roster", "duty/harbour2").as_deref(), Some("on watch"));
        assert_eq!(node.json(&["get", "roster"]), nodes[0].json(&["get", "roster"]));
    }
}

/// Each node learns the real state of the others.
#[test]
fn nodes_see_each_others_state() {
    let Some(lab) = Lab::new(2) else { return };
    let nodes = lab.running(2);
    nodes[0].federate(&nodes[1]);
    for (node, other) in [(0, 1), (1, 0)] {
        let did = nodes[other].did();
        wait_for("a state with memory in it", Duration::from_secs(20), || {
            let (code, out, _) = nodes[node].run(&["state", &did, "--json"]);
            let state: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
            code == 0 && state["mem_total_bytes"].as_u64().is_some_and(|bytes| bytes > 0)
        });
    }
}
