//! `revoke` with three real nodes over QUIC on loopback: a stolen key, and an identity that ends itself.

use super::harness::{Daemon, NodeDir, eventually, mode};

/// Three running nodes that trust each other; the attic reports, the boat believes it, the third is revoked.
fn three() -> [(NodeDir, Daemon); 3] {
    let places = ["attic", "boat", "third"].map(NodeDir::with_node).map(|place| {
        let up = place.up();
        (place, up)
    });
    for (inviter, joiner) in [(0, 1), (0, 2), (1, 2)] {
        let code = places[inviter].0.ok(&["invite"]);
        places[joiner].0.ok(&["join", &code, "--addr", &places[inviter].1.address()]);
    }
    let linked = |n: usize| {
        let peers = places[n].0.json(&["peers"]);
        peers.as_array().unwrap().iter().all(|peer| peer["connected"] == true)
    };
    eventually("all links", || (0..3).all(linked));
    places
}

fn peer(place: &NodeDir, name: &str) -> serde_json::Value {
    let peers = place.json(&["peers"]);
    peers.as_array().unwrap().iter().find(|peer| peer["name"] == name).unwrap().clone()
}

#[test]
fn a_stolen_key_is_suspended_at_peers_and_their_operators_are_asked() {
    let [(attic, _attic_up), (boat, _boat_up), (_third, _third_up)] = three();
    let reported = attic.ok(&["revoke", "third", "--stolen"]);
    assert!(reported.contains("third"), "{reported}");
    eventually("the boat suspends it, and the session is closed", || {
        let third = peer(&boat, "third");
        third["suspended"] == true && third["connected"] == false
    });
    assert!(boat.ok(&["peers"]).contains("suspended"));
    let status = boat.ok(&["status"]);
    assert!(status.contains("stolen") && status.contains("tombolo trust third LEVEL"), "{status}");
    eventually("the boat has confirmed it", || attic.ok(&["revoke"]).contains("every other member"));
    assert_eq!(peer(&attic, "third")["trust_level"], "untrusted");
    boat.ok(&["trust", "third", "trusted"]);
    assert!(peer(&boat, "third").get("suspended").is_none());
}

#[test]
fn what_init_wrote_ends_an_identity_for_good() {
    let [(attic, _attic_up), (boat, _boat_up), (third, third_up)] = three();
    let file = third.folder.join("revocation.txt");
    assert_eq!(mode(&file), 0o600);
    // Published at a peer, from the copy that its operator has kept.
    third_up.kill();
    let file = file.to_str().unwrap();
    attic.ok(&["revoke", "--self", file]);
    eventually("the boat knows", || boat.ok(&["revoke"]).contains("has ended its identity"));
    assert_eq!(boat.error_code(&["trust", "third", "trusted"]), "revoked");
    assert_eq!(attic.error_code(&["trust", "third", "observer"]), "revoked");
    let key = third.folder.join("identity.key");
    assert_eq!(attic.error_code(&["revoke", "--self", key.to_str().unwrap()]), "bad_revocation");
    assert_eq!(attic.error_code(&["revoke", "--self", "/nonexistent/x"]), "bad_revocation");
    assert_eq!(attic.error_code(&["revoke", "nobody", "--stolen"]), "unknown_peer");
    attic.fails(2, &["revoke", "boat"]);
}
