//! Two nodes on this machine, over real QUIC on loopback, without multicast.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::harness::{Daemon, NodeDir, eventually};

/// Two running nodes, the second joined to the first.
fn pair() -> (NodeDir, Daemon, NodeDir, Daemon) {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let (attic_up, boat_up) = (attic.up(), boat.up());
    let code = attic.ok(&["invite"]);
    boat.ok(&["join", &code, "--addr", &attic_up.address()]);
    (attic, attic_up, boat, boat_up)
}

/// Writes as soon as the owner's list of writers has come, which it does on its own.
fn may_write(place: &NodeDir, key: &str) {
    eventually("the right to write", || place.run(&["set", "attic/plan", key, "1"]).status.success());
}

#[test]
fn two_nodes_meet_agree_and_come_into_step() {
    let (attic, attic_up, boat, _boat_up) = pair();
    // Both sides agreed: each lists the other at once.
    assert_eq!(attic.json(&["peers"])[0]["did"].as_str().unwrap(), boat.did());
    let peer = &boat.json(&["peers"])[0];
    assert_eq!((peer["did"].as_str().unwrap(), peer["joined"].as_str().unwrap()), (&*attic.did(), "agreed"));

    attic.ok(&["create", "plan"]);
    attic.ok(&["set", "plan", "monday/watch", "Ada"]);
    eventually("the document at the boat", || {
        boat.hash("plan").is_some() && boat.hash("plan") == attic.hash("plan")
    });
    may_write(&boat, "monday/lamp");
    boat.ok(&["set", "attic/plan", "monday/boats", "3"]);
    attic.ok(&["set", "plan", "tuesday/watch", "Grace"]);
    eventually("both writes on both sides", || {
        boat.hash("plan") == attic.hash("plan")
            && boat.run(&["get", "plan", "tuesday/watch"]).status.success()
    });
    assert_eq!(boat.json(&["get", "plan"])["value"], attic.json(&["get", "plan"])["value"]);
    assert_eq!(attic.ok(&["get", "attic/plan", "monday/boats"]), "3");
    eventually("each other's state", || {
        boat.run(&["state", "attic"]).status.success() && attic.run(&["state", "boat"]).status.success()
    });
    eventually("in step in status", || attic.ok(&["status"]).contains("in step"));
    let status = attic.ok(&["status"]);
    for part in ["boat over lan: the only link to this peer", "documents  1, and "] {
        assert!(status.contains(part), "{part}: {status}");
    }
    let route = attic.json(&["status"])["peers"][0]["route"].clone();
    assert_eq!((route["link"].as_str(), route["used"].as_bool()), (Some("lan"), Some(true)), "{route}");
    assert!(attic.ok(&["peers"]).contains("connected"));
    // An ordinary first meeting leaves nothing behind that reads like trouble.
    for place in [&attic, &boat] {
        let status = place.json(&["status"]);
        assert_eq!(status["rejections"], serde_json::json!({}));
    }
    // A peer's state may wait for the disk while the node runs, and is there when it has ended in order.
    assert_eq!(attic_up.terminate(), Some(0));
    assert!(attic.run(&["state", "boat"]).status.success());
}

/// The start of a DID that is ours as well: the peer's document is meant, as `get` has it.
#[test]
fn watch_follows_the_document_that_get_reads() {
    let (attic, _attic_up, boat, _boat_up) = pair();
    attic.ok(&["create", "plan"]);
    eventually("the document at the boat", || boat.hash("plan").is_some());
    boat.ok(&["get", "z6Mk/plan"]);
    let mut command = boat.command(&["watch", "z6Mk/plan", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || BufReader::new(stdout).lines().next());
    let mut n = 0;
    eventually("a line", || {
        n += 1;
        attic.ok(&["set", "plan", "a", &n.to_string()]);
        reading.is_finished()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(reading.join().unwrap().unwrap().unwrap().contains(&attic.did()));
}

#[test]
fn an_observer_reads_and_does_not_write() {
    let (attic, _attic_up, boat, _boat_up) = pair();
    attic.ok(&["create", "plan"]);
    attic.ok(&["set", "plan", "a", "1"]);
    attic.ok(&["trust", "boat", "observer"]);
    eventually("the boat knows its place", || {
        boat.run(&["get", "plan", "a"]).status.success()
            && String::from_utf8_lossy(&boat.run(&["set", "plan", "a", "2"]).stderr).contains("observer")
    });
    assert_eq!(attic.ok(&["get", "plan", "a"]), "1");
}

#[test]
fn a_removed_peer_is_cut_off_and_what_it_wrote_stays() {
    let (attic, _attic_up, boat, _boat_up) = pair();
    attic.ok(&["create", "plan"]);
    eventually("the document at the boat", || boat.hash("plan").is_some());
    may_write(&boat, "from/boat");
    eventually("the boat's write", || attic.run(&["get", "plan", "from/boat"]).status.success());
    let before = boat.hash("plan");
    attic.ok(&["remove", "boat"]);
    assert_eq!(attic.json(&["peers"]), serde_json::json!([]));
    assert_eq!(attic.ok(&["get", "plan", "from/boat"]), "1");
    attic.ok(&["set", "plan", "secret", "1"]);
    eventually("the link is closed", || boat.json(&["peers"])[0]["connected"] == false);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(boat.hash("plan"), before);
    assert_eq!(attic.ok(&["get", "plan", "from/boat"]), "1");
    // The removed node learns that from the refusal of a key that attic has proved, and keeps it.
    let is_removed =
        || boat.json(&["status"])["alarm_codes"].as_array().unwrap().iter().any(|it| it == "removed_by");
    eventually("the removed node knows", is_removed);
    let status = boat.ok(&["status"]);
    assert!(
        status.contains("attic has removed this node") && status.contains("tombolo remove attic"),
        "{status}"
    );
}

/// The inviter has removed this node and moved, both while it was away. A new code leads to the news, and then to a new agreement.
#[test]
fn a_code_leads_a_node_that_was_removed_to_an_inviter_that_has_moved() {
    let (attic, attic_up, boat, boat_up) = pair();
    assert_eq!((boat_up.terminate(), attic_up.terminate()), (Some(0), Some(0)));
    attic.ok(&["remove", "boat"]);
    let _boat_up = boat.up();
    // On another port than before.
    let attic_up = attic.up();
    let code = attic.ok(&["invite"]);
    let join = ["join", &code, "--addr", &attic_up.address()];
    assert_eq!(boat.error_code(&join), "already_peer");
    let is_removed =
        || boat.json(&["status"])["alarm_codes"].as_array().unwrap().iter().any(|it| it == "removed_by");
    eventually("the removed node knows", is_removed);
    boat.ok(&join);
    eventually("both are linked", || {
        [&attic, &boat].iter().all(|node| node.json(&["peers"])[0]["connected"] == true)
    });
}

/// Documents of a trusted peer take about as much memory here as their bytes, arrays of small numbers too, and are gone when the peer
/// is removed, also where no daemon runs.
#[test]
fn what_a_peer_fills_is_bounded_and_gone_with_it() {
    let (attic, _attic_up, boat, boat_up) = pair();
    attic.ok(&["create", "plan"]);
    eventually("the document at the boat", || boat.hash("plan").is_some());
    let before = boat_up.resident_kb();
    let zeros = serde_json::Value::from(vec![0; 60_000]);
    let file = attic.folder.join("zeros.json");
    let keys: serde_json::Map<_, _> = (0..8).map(|n| (format!("k{n}"), zeros.clone())).collect();
    std::fs::write(&file, serde_json::to_vec(&keys).unwrap()).unwrap();
    for name in ["a", "b", "c", "d"] {
        attic.ok(&["create", name]);
        attic.ok(&["put", name, file.to_str().unwrap()]);
        eventually("the zeros at the boat", || boat.hash(name) == attic.hash(name));
    }
    // 1.9 MB of CBOR. As trees of values they are 61 MB, and 32 MB more in the events that report them; what passes through the
    // process on its way leaves some 30 MB with the allocator.
    let grown = boat_up.resident_kb().saturating_sub(before);
    println!("totals: 1900 kB of arrays took {grown} kB");
    assert!(grown < 45_000, "{grown} kB for 1,900 kB of documents");
    assert_eq!(boat_up.terminate(), Some(0));
    boat.ok(&["remove", "attic"]);
    let owned = boat.did();
    let left = boat.json(&["ls", "--all"]);
    assert!(left.as_array().unwrap().iter().all(|row| row["owner"] == owned.as_str()), "{left}");
    boat_up_again_without_them(&boat, before);
}

/// The node starts, and needs no more memory than before the peer filled it.
fn boat_up_again_without_them(boat: &NodeDir, before: u64) {
    let up = boat.up();
    assert!(up.resident_kb() < before + 12_000, "{} kB, {before} kB before", up.resident_kb());
}

/// Peers share a limit of memory: who has filled it is refused more, who takes little is not, and what is deleted makes room.
#[test]
fn what_one_peer_fills_is_not_missing_to_the_next() {
    let (attic, cabin, boat) =
        (NodeDir::with_node("attic"), NodeDir::with_node("cabin"), NodeDir::with_node("boat"));
    boat.setting("peers_memory_mib = 0", "peers_memory_mib = 2");
    let (_attic_up, _cabin_up, boat_up) = (attic.up(), cabin.up(), boat.up());
    for place in [&attic, &cabin] {
        place.ok(&["join", &boat.ok(&["invite"]), "--addr", &boat_up.address()]);
    }
    let keys: serde_json::Map<_, _> = (0..8).map(|n| (format!("k{n}"), vec![0; 60_000].into())).collect();
    let file = attic.folder.join("zeros.json");
    std::fs::write(&file, serde_json::to_vec(&keys).unwrap()).unwrap();
    let put = |name: &str| {
        attic.ok(&["create", name]);
        attic.ok(&["put", name, file.to_str().unwrap()]);
    };
    // 480 kB each: four fit two MiB.
    for name in ["a", "b", "c", "d"] {
        put(name);
        eventually("the zeros at the boat", || boat.hash(name) == attic.hash(name));
    }
    put("e");
    eventually("the fifth is refused", || boat.json(&["status"])["rejections"]["quota"].as_u64() > Some(0));
    cabin.ok(&["create", "plan"]);
    cabin.ok(&["set", "plan", "watch", "Ada"]);
    eventually("what another peer writes", || boat.hash("plan") == cabin.hash("plan"));
    assert_ne!(boat.hash("e"), attic.hash("e"));
    attic.ok(&["delete", "a"]);
    eventually("there is room again", || boat.hash("e") == attic.hash("e"));
}

/// The joiner runs no daemon: `join` runs one just until both sides agreed.
#[test]
fn join_needs_no_running_node() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let attic_up = attic.up();
    attic.ok(&["create", "plan"]);
    attic.ok(&["set", "plan", "a", "1"]);
    let code = attic.ok(&["invite"]);
    boat.ok(&["join", &code, "--addr", &attic_up.address()]);
    assert!(!boat.folder.join("control.sock").exists());
    assert_eq!(attic.json(&["peers"])[0]["did"].as_str().unwrap(), boat.did());
    let _boat_up = boat.up();
    eventually("in step after all", || {
        boat.hash("plan").is_some() && boat.hash("plan") == attic.hash("plan")
    });
}

#[test]
fn a_second_use_of_a_code_is_refused_with_the_reason() {
    let (attic, boat, third) =
        (NodeDir::with_node("attic"), NodeDir::with_node("boat"), NodeDir::with_node("third"));
    let attic_up = attic.up();
    let code = attic.ok(&["invite"]);
    boat.ok(&["join", &code, "--addr", &attic_up.address()]);
    assert_eq!(boat.error_code(&["join", &code, "--addr", &attic_up.address()]), "already_peer");
    // With another invite open the inviter listens, and still refuses the used code.
    attic.ok(&["invite"]);
    assert_eq!(third.error_code(&["join", &code, "--addr", &attic_up.address()]), "join_refused");
    assert_eq!(attic.json(&["peers"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_inviter_that_does_not_answer_is_waited_for_no_longer_than_asked() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let code = attic.ok(&["invite", "--addr", "127.0.0.1:9"]);
    assert_eq!(boat.error_code(&["join", &code, "--timeout", "2s"]), "no_answer");
}

/// A code that works no more, where no other is open: the inviter answers only that, and the one who joins is shown it.
#[test]
fn a_join_that_waits_in_vain_says_why() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let attic_up = attic.up();
    let _boat_up = boat.up();
    let code = attic.ok(&["invite", "--addr", &attic_up.address()]);
    let id = attic.json(&["invites"])[0]["id"].as_str().unwrap().to_owned();
    attic.ok(&["invites", "withdraw", &id]);
    let error = boat.fails(1, &["join", &code, "--timeout", "8s"]);
    assert!(error.contains("no open invite") && error.contains("withdrawn"), "{error}");
}

/// Edits made while both are off are on both sides when they are back.
#[test]
fn nodes_that_were_apart_meet_again() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    for place in [&attic, &boat] {
        // A port that stays the same: these nodes are not announced.
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        place.setting("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    }
    let (attic_up, boat_up) = (attic.up(), boat.up());
    boat.ok(&["join", &attic.ok(&["invite"])]);
    attic.ok(&["create", "plan"]);
    may_write(&boat, "boat/early");
    eventually("in step", || boat.hash("plan") == attic.hash("plan"));
    assert_eq!((attic_up.terminate(), boat_up.terminate()), (Some(0), Some(0)));
    attic.ok(&["set", "plan", "attic/alone", "1"]);
    boat.ok(&["set", "attic/plan", "boat/alone", "2"]);
    let (_attic_up, _boat_up) = (attic.up(), boat.up());
    eventually("both edits on both sides", || {
        boat.hash("plan") == attic.hash("plan") && boat.run(&["get", "plan", "attic/alone"]).status.success()
    });
    assert_eq!(attic.ok(&["get", "plan", "boat/alone"]), "2");
}

/// The folder is copied, the node writes on, its disk dies; the copy takes its place, and is written on without
/// a link, more than was lost. The boat gives back what the attic had written after the copy.
#[test]
fn a_folder_put_back_from_a_backup_gets_back_what_its_friend_has() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    for place in [&attic, &boat] {
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        place.setting("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    }
    let (attic_up, _boat_up) = (attic.up(), boat.up());
    boat.ok(&["join", &attic.ok(&["invite"])]);
    attic.ok(&["create", "plan"]);
    eventually("in step", || boat.hash("plan") == attic.hash("plan"));
    assert_eq!(attic_up.terminate(), Some(0));
    let files = ["store.redb", "store.wal"].map(|name| attic.folder.join(name));
    let backup = files.each_ref().map(|file| std::fs::read(file).unwrap());
    let attic_up = attic.up();
    for n in ["0", "1", "2"] {
        attic.ok(&["set", "plan", &format!("lost/{n}"), n]);
    }
    eventually("the boat has them", || boat.run(&["get", "plan", "lost/2"]).status.success());
    assert_eq!(attic_up.terminate(), Some(0));
    for (file, bytes) in files.iter().zip(backup) {
        std::fs::write(file, bytes).unwrap();
    }
    for n in ["0", "1", "2", "3", "4"] {
        attic.ok(&["set", "plan", &format!("since/{n}"), n]);
    }
    assert!(attic.run(&["get", "plan", "lost/2"]).status.code() == Some(1));
    let _attic_up = attic.up();
    eventually("both have everything", || {
        [&attic, &boat].iter().all(|place| {
            let has = |key| place.run(&["get", "plan", key]).status.success();
            ["lost/0", "lost/2", "since/0", "since/4"].into_iter().all(has)
        })
    });
    assert_eq!(attic.hash("plan"), boat.hash("plan"));
}

/// Both sides have moved: neither address that they know of each other is right any more.
#[test]
fn a_peer_that_moved_is_dialled_at_its_new_address() {
    let (attic, boat) = (NodeDir::with_node("attic"), NodeDir::with_node("boat"));
    let (attic_up, boat_up) = (attic.up(), boat.up());
    let code = attic.ok(&["invite"]);
    boat.ok(&["join", &code, "--addr", &attic_up.address()]);
    // Its name comes with its state.
    eventually("attic's name", || boat.run(&["state", "attic"]).status.success());
    let before = attic_up.address();
    assert_eq!((attic_up.terminate(), boat_up.terminate()), (Some(0), Some(0)));
    let (attic_up, _boat_up) = (attic.up(), boat.up());
    assert_ne!(attic_up.address(), before, "a free port each time");
    assert_eq!(boat.json(&["peers"])[0]["connected"], false);
    boat.ok(&["dial", "attic", &attic_up.address()]);
    eventually("they meet", || boat.json(&["peers"])[0]["connected"] == true);
    assert_eq!(boat.error_code(&["dial", "nobody", "127.0.0.1:1"]), "unknown_peer");
    boat.fails(2, &["dial", "attic"]);
}

/// By its owner for all, by a reader for itself; on the command line and over HTTP.
#[test]
fn documents_are_deleted_for_all_or_here_alone() {
    let (attic, _attic_up, boat, _boat_up) = pair();
    for doc in ["plan", "log"] {
        attic.ok(&["create", doc]);
        attic.ok(&["set", doc, "a", "1"]);
    }
    eventually("both documents", || boat.hash("plan").is_some() && boat.hash("log").is_some());
    may_write(&boat, "early");
    for command in [&["delete", "plan"][..], &["set", "plan", "a", "2"], &["del", "plan", "a"]] {
        assert_eq!(boat.error_code(command), "peers_document");
        assert!(boat.fails(1, command).contains("attic/plan"));
    }
    assert!(boat.ok(&["delete", "attic/log"]).contains("tombolo delete --undo attic/log"));
    assert!(boat.hash("log").is_none() && attic.hash("log").is_some());
    boat.ok(&["delete", "--undo", "attic/log"]);
    eventually("it comes again", || boat.hash("log").is_some());
    attic.ok(&["delete", "plan"]);
    eventually("it is gone", || boat.hash("plan").is_none());
    let (status, body) =
        attic.http("DELETE /v1/docs/log HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(status.contains("200") && body.contains("everywhere"), "{status} {body}");
    eventually("that as well", || boat.hash("log").is_none());
    attic.ok(&["create", "plan"]);
    attic.ok(&["set", "plan", "b", "2"]);
    eventually("another of that name", || boat.run(&["get", "plan", "b"]).status.success());
    assert_eq!(boat.error_code(&["get", "plan", "a"]), "unknown_key");
}
