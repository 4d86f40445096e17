//! Two nodes that share nothing but Tor: scripted tors, so that no tor is needed (`tests/tor` has real ones).

#[path = "../../transports/tests/scripted/mod.rs"]
pub(super) mod scripted;

use super::harness::{Daemon, NodeDir, eventually};
use super::installer::{allow, runs};
use scripted::{Answer, Host, Login, Network, Place, ScriptedTor, Treatment};

/// A node without a network; Tor is what `up` is given.
fn node(name: &str) -> NodeDir {
    let place = NodeDir::with_node(name);
    place.setting("listen = [\"127.0.0.1:0\"]", "listen = []");
    place
}

fn up(place: &NodeDir, tor: &ScriptedTor) -> Daemon {
    let (socks, control) = (tor.socks.at().to_string(), tor.control.at().to_string());
    place.up_with(&["--tor-socks", &socks, "--tor-control", &control])
}

/// How `status` shows Tor.
fn tor_of(place: &NodeDir, field: &str) -> String {
    place.json(&["status"])["tor"][field].as_str().unwrap_or_default().to_owned()
}

/// Why the only peer is used or not.
fn why(place: &NodeDir) -> String {
    let links = place.json(&["links"]);
    let rows = links.as_array().unwrap().iter();
    rows.filter_map(|row| row["why"].as_str()).collect::<Vec<_>>().join("; ")
}

#[test]
fn two_nodes_join_by_a_code_and_come_into_step_over_tor() {
    let network = Network::new();
    let (attic, boat) = (node("attic"), node("boat"));
    let cookie = Login::cookie(attic.folder.join("cookie"));
    let socket = Place::Unix(attic.folder.join("tor.sock"));
    let mut attic_tor = ScriptedTor::start_at(&network, cookie, socket, Place::free());
    let boat_tor = ScriptedTor::start(&network, Login::Open);
    let (attic_up, boat_up) = (up(&attic, &attic_tor), up(&boat, &boat_tor));
    boat.ok(&["join", &attic.ok(&["invite"]), "--timeout", "30s"]);
    attic.ok(&["create", "plan"]);
    attic.ok(&["set", "plan", "monday/watch", "Ada"]);
    eventually("the document at the boat", || {
        boat.hash("plan").is_some() && boat.hash("plan") == attic.hash("plan")
    });
    eventually("the right to write", || boat.run(&["set", "attic/plan", "boat", "1"]).status.success());
    eventually("in step in status", || {
        let status = attic.json(&["status"]);
        status["peers"][0]["state"] == "in step" && status["peers"][0]["links"][0] == "tor"
    });
    assert!(tor_of(&attic, "service").starts_with("published, for peers"), "{}", attic.json(&["status"]));
    assert!(attic.ok(&["links"]).contains("tor"));

    // Names go to tor as they are, each attempt under a user name of its own; the cookie does not travel.
    let dials = [attic_tor.socks.dials(), boat_tor.socks.dials()].concat();
    assert!(!dials.is_empty());
    for dial in &dials {
        let Host::Name(name) = &dial.host else { panic!("{dial:?} was looked up") };
        assert!(name.ends_with(".onion") && dial.command == 1 && dial.port == 8662, "{dial:?}");
    }
    let mut users: Vec<_> = dials.iter().map(|dial| dial.user.clone().unwrap()).collect();
    users.sort();
    users.dedup();
    assert_eq!(users.len(), dials.len(), "one user name for each attempt: {dials:?}");
    assert_eq!(attic_tor.control.count("AUTHCHALLENGE SAFECOOKIE"), 1);
    assert!(attic_tor.control.commands().iter().all(|line| !line.contains(&"c0".repeat(32))));

    // Its tor ends, both write, the tor is back.
    attic_tor.kill();
    eventually("the link is gone", || attic.json(&["peers"])[0]["connected"] == false);
    attic.ok(&["set", "plan", "attic/alone", "1"]);
    boat.ok(&["set", "attic/plan", "boat/alone", "1"]);
    eventually("the reason at the boat", || why(&boat).contains("onion service is gone"));
    attic_tor.revive();
    eventually("both writes on both sides", || {
        boat.hash("plan") == attic.hash("plan") && attic.run(&["get", "plan", "boat/alone"]).status.success()
    });
    assert_eq!((attic_up.terminate(), boat_up.terminate()), (Some(0), Some(0)));
    eventually("no service is left", || network.services().is_empty());
}

/// What tor answers is shown in words, and a later try succeeds.
#[test]
fn status_and_links_name_what_is_wrong_with_tor() {
    let network = Network::new();
    let (attic, boat) = (node("attic"), node("boat"));
    let (attic_tor, boat_tor) =
        (ScriptedTor::start(&network, Login::Open), ScriptedTor::start(&network, Login::Open));
    attic_tor.control.once("ADD_ONION", Answer::lines(&["512 Invalid VIRTPORT/TARGET"]));
    let (_attic_up, _boat_up) = (up(&attic, &attic_tor), up(&boat, &boat_tor));
    eventually("the refusal in status", || tor_of(&attic, "service").contains("512 Invalid VIRTPORT/TARGET"));
    eventually("the next try", || tor_of(&attic, "service").starts_with("published"));

    // The joiner is refused, and goes on trying.
    boat_tor.socks.always(Treatment::Code(0xF4));
    let code = attic.ok(&["invite"]);
    assert_eq!(boat.error_code(&["join", &code, "--timeout", "2s"]), "no_answer");
    eventually("the reason", || why(&boat).contains("client authorisation"));
    boat_tor.socks.always(Treatment::Network);
    eventually("the join after all", || boat.json(&["peers"])[0]["joined"] == "agreed");
}

/// A node whose tor is not there runs all the same, and has no link.
#[test]
fn without_its_tor_a_node_runs_and_shows_why_it_has_no_link() {
    let attic = node("attic");
    let nothing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let _up = attic.up_with(&["--tor-socks", &nothing, "--tor-control", &nothing]);
    eventually("the reason", || tor_of(&attic, "service").contains(&nothing));
    attic.ok(&["create", "plan"]);
    attic.fails(2, &["up", "--tor-control", "nonsense"]);
    attic.fails(2, &["up", "--tor-socks", "unix:"]);
}

/// Calls and deploys between two nodes that share only Tor. Client authorisation is on: the peers are let in.
#[test]
fn calls_and_deploys_go_over_tor() {
    let network = Network::new();
    let (attic, boat) = (node("attic"), node("boat"));
    let runs_at_boat = allow(&boat);
    let (attic_tor, boat_tor) =
        (ScriptedTor::start(&network, Login::Open), ScriptedTor::start(&network, Login::Open));
    let (_attic_up, _boat_up) = (up(&attic, &attic_tor), up(&boat, &boat_tor));
    boat.ok(&["join", &attic.ok(&["invite"]), "--timeout", "30s"]);
    eventually("its state by call", || attic.run(&["state", "boat", "--via", "rpc"]).status.success());
    assert_eq!(attic.json(&["state", "boat"])["node_name"], "boat");
    let order = ["deploy", "boat", "web", "1.2", "--marketplace", "https://market.example", "--wait"];
    eventually("a link", || attic.json(&["peers"])[0]["connected"] == true);
    assert_eq!(attic.json(&order)["output"], "web is installed");
    let by_call = attic.json(&[&order[..], &["--via", "rpc"]].concat());
    assert_eq!((by_call["status"].as_str(), by_call["via"].as_str()), (Some("installed"), Some("rpc")));
    assert_eq!(by_call["output"], "web is installed");
    // Both ends show it under one id.
    let id = by_call["id"].as_str().unwrap();
    assert_eq!(boat.json(&["deploy", "--status", id])["direction"], "received");
    assert_eq!(runs(&runs_at_boat).len(), 2);
    let refused = attic.fails(1, &["deploy", "boat", "sh", "1", "--via", "rpc", "--wait"]);
    assert!(refused.contains("not in the receiver's catalogue"), "{refused}");
    let ports: Vec<u16> = attic_tor.socks.dials().iter().map(|dial| dial.port).collect();
    assert!(ports.iter().filter(|port| **port == 80).count() >= 3, "{ports:?}");
    // The boat's service is gone: nothing was sent, and that is shown.
    attic_tor.socks.always(Treatment::Code(0xF2));
    let error = attic.fails(1, &[&order[..], &["--via", "rpc"]].concat());
    assert!(error.contains("unreached") && error.contains("onion service is gone"), "{error}");
    assert_eq!(runs(&runs_at_boat).len(), 2);
}
