//! The router within whole nodes: every message has its decision, and a link that stays silent does not keep a command.

use super::*;
use crate::commands::{Catalogue, CatalogueState};
use crate::io::view::RouteOrder;
use crate::router::{Preference, RouteCounter};

fn taken(node: &Node) -> u64 {
    let counters = node.unicast.router().counters();
    counters.filter(|(counter, _)| matches!(counter, RouteCounter::Taken(_))).map(|(_, count)| count).sum()
}

/// Two friends with one document, in step.
fn friends() -> Wire {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    wire.ask(0, Write::Create { name: "plan".into(), kind: Kind::Map }).unwrap();
    wire.pass(2_000);
    wire
}

fn set(wire: &mut Wire, key: &str) {
    let (doc, key) = ("n0/plan".to_owned(), KeyPath::parse(key).unwrap());
    wire.ask(0, Write::Set { doc, key, value: Value::from(1) }).unwrap();
}

#[test]
fn each_message_that_leaves_is_one_decision_that_took_a_link() {
    let mut wire = friends();
    for key in ["a", "b", "c"] {
        set(&mut wire, key);
        wire.pass(30_000);
    }
    for at in 0..2 {
        let sent = wire.sent.iter().filter(|(from, _)| *from == at).count() as u64;
        assert!(sent > 5, "{sent}");
        assert_eq!(taken(&wire.nodes[at]), sent);
    }
}

#[test]
fn a_route_holds_from_the_next_message_on() {
    let mut wire = friends();
    let only = |preference| RouteOrder { preference: Some(preference), ..RouteOrder::default() };
    wire.ask(0, Admin::Route(only(Preference::TorOnly))).unwrap();
    let before = taken(&wire.nodes[0]);
    set(&mut wire, "a");
    wire.pass(60_000);
    assert_eq!(taken(&wire.nodes[0]), before, "nothing leaves");
    wire.ask(0, Admin::Route(RouteOrder { reset: true, ..RouteOrder::default() })).unwrap();
    wire.pass(2_000);
    assert_eq!(
        wire.get(1, "n0/plan").get("a"),
        Some(&Value::from(1)),
        "at once, not with the next heartbeat"
    );
}

/// A cable that was just pulled takes everything and delivers nothing, until its session notices.
#[test]
fn a_command_goes_over_a_second_link_when_the_first_stays_silent() {
    let mut wire = friends();
    wire.connect(0, 1);
    wire.nodes[1].commands.is_on = true;
    let catalogue = Catalogue::parse("[[app]]\nid = \"web\"\n").unwrap();
    wire.queue.push_back((1, Input::Catalogue(CatalogueState::Read(catalogue))));
    wire.run();
    let peer = wire.nodes[1].peer_id();
    let first = wire.nodes[0].unicast.links_to(&peer)[0];
    wire.links.remove(&(0, first));
    let order = Admin::Deploy {
        peer: crate::identity::did(&peer),
        app: "web".into(),
        version: "1".into(),
        marketplace_url: None,
        expires_in: Millis::from_secs(86_400),
    };
    wire.ask(0, order).unwrap();
    assert!(wire.installs.is_empty(), "it went into the cable");
    wire.pass(1_500);
    assert_eq!(wire.installs.len(), 1);
    wire.pass(600_000);
    assert_eq!(wire.installs.len(), 1, "nothing runs twice");
}
