//! Revocation between whole nodes on a wire made of a queue: node 0 reports, node 1 believes it, node 2 is revoked.

use super::*;
use crate::commands::RevocationNotice;
use crate::desk::CommandMessage;
use crate::time::Millis;

fn name(wire: &Wire, of: usize) -> String {
    crate::identity::did(&wire.nodes[of].peer_id())
}

fn three() -> Wire {
    let mut wire = Wire::new(3);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        wire.join(a, b, TrustLevel::Trusted);
    }
    wire
}

fn revocations(wire: &mut Wire, at: usize) -> Vec<view::RevocationView> {
    match wire.ask(at, Query::Revocations) {
        Ok(Reply::Revocations(list)) => list,
        other => panic!("{other:?}"),
    }
}

fn is_suspended(wire: &Wire, at: usize, of: usize) -> bool {
    wire.nodes[at].replica.federation().is_suspended(&wire.nodes[of].peer_id())
}

fn linked(wire: &Wire, a: usize, b: usize) -> bool {
    wire.nodes[a].unicast.has_link_to(&wire.nodes[b].peer_id())
}

#[test]
fn a_stolen_key_is_cut_off_where_its_reporter_is_trusted_until_the_operator_decides() {
    let mut wire = three();
    wire.connect(1, 2);
    wire.create(1, "plan");
    wire.pass(2_000);
    wire.set(2, "n1/plan", "from/c", 1u64).unwrap();
    wire.pass(2_000);
    assert!(wire.get(1, "plan").get("from").is_some());
    let peer = name(&wire, 2);
    wire.ask(0, Admin::Revoke { peer: peer.clone() }).unwrap();
    assert_eq!(revocations(&mut wire, 0)[0].unaware, ["n1"], "who has not confirmed it is listed");
    assert!(!is_suspended(&wire, 1, 2));
    wire.connect(0, 1);
    // Suspended: the session is closed, and what it wrote no longer counts.
    assert!(is_suspended(&wire, 1, 2) && !linked(&wire, 1, 2));
    assert!(revocations(&mut wire, 0)[0].unaware.is_empty());
    assert!(wire.get(1, "plan").get("from").is_none());
    let alarms = wire.status(1).alarms;
    assert!(alarms.iter().any(|alarm| alarm.code == "key_stolen"), "{alarms:?}");
    let Ok(Reply::Peers(peers)) = wire.ask(1, Query::Peers) else { panic!("peers") };
    assert!(peers.iter().any(|view| view.did == peer && view.suspended));
    // It is refused, also after a restart.
    wire.connect(1, 2);
    assert!(!linked(&wire, 1, 2));
    wire.restart(1);
    wire.connect(1, 2);
    assert!(is_suspended(&wire, 1, 2) && !linked(&wire, 1, 2));
    // The operator knows better: all is as before.
    wire.ask(1, Admin::Trust { peer: peer.clone(), level: TrustLevel::Trusted }).unwrap();
    wire.connect(1, 2);
    assert!(!is_suspended(&wire, 1, 2) && linked(&wire, 1, 2));
    assert!(wire.get(1, "plan").get("from").is_some());
    assert!(wire.status(1).alarms.iter().all(|alarm| alarm.code != "key_stolen"));
    // At the reporter it stays untrusted.
    let Ok(Reply::Peers(peers)) = wire.ask(0, Query::Peers) else { panic!("peers") };
    let reported = peers.into_iter().find(|view| view.did == peer).unwrap();
    assert_eq!(reported.trust_level, TrustLevel::Untrusted);
}

#[test]
fn a_notice_of_an_author_without_trust_or_with_a_wrong_signature_counts_for_nothing() {
    let mut wire = three();
    let author = name(&wire, 0);
    wire.ask(1, Admin::Trust { peer: author, level: TrustLevel::Observer }).unwrap();
    let peer = name(&wire, 2);
    wire.ask(0, Admin::Revoke { peer }).unwrap();
    wire.connect(0, 1);
    assert!(!is_suspended(&wire, 1, 2));
    assert_eq!(wire.status(1).rejections["notice_of_no_trust"], 1);
    // Made up by 0 in the name of 2 itself.
    let revoked = wire.nodes[2].peer_id();
    let signed = RevocationNotice::sign(&wire.nodes[0].core.keypair, revoked, 5);
    let forged = RevocationNotice { author: revoked, ..signed };
    let bytes = crate::sync::message::Message::Notice(forged.encode()).encode();
    let link = wire.nodes[1].unicast.links_to(&wire.nodes[0].peer_id())[0];
    wire.queue.push_back((1, Input::Received { link, bytes }));
    wire.run();
    assert!(!is_suspended(&wire, 1, 2));
    assert_eq!(wire.status(1).rejections["bad_signature"], 1);
}

/// What `init` wrote is published at any peer: the identity ends everywhere, and no operator brings it back.
#[test]
fn an_identity_that_ends_itself_ends_everywhere() {
    let mut wire = three();
    wire.connect(1, 2);
    wire.create(1, "plan");
    wire.pass(2_000);
    wire.set(2, "n1/plan", "from/c", 1u64).unwrap();
    wire.pass(2_000);
    let notice = {
        let keypair = &wire.nodes[2].core.keypair;
        RevocationNotice::sign(keypair, keypair.peer_id(), 1).to_text()
    };
    assert_eq!(
        wire.ask(0, Admin::RevokeOwn { notice: "tombolo-revoke1:AA".into() }),
        Err(CommandError::BadNotice)
    );
    wire.ask(0, Admin::RevokeOwn { notice: notice.clone() }).unwrap();
    // It counts whatever the node that hands it on is: the identity itself signed.
    let relay = name(&wire, 0);
    wire.ask(1, Admin::Trust { peer: relay, level: TrustLevel::Observer }).unwrap();
    wire.connect(0, 1);
    assert!(!linked(&wire, 1, 2));
    let peer = name(&wire, 2);
    for at in [0, 1] {
        let back = wire.ask(at, Admin::Trust { peer: peer.clone(), level: TrustLevel::Trusted });
        assert!(matches!(back, Err(CommandError::Revoked(_))), "{back:?}");
    }
    assert!(wire.get(1, "plan").get("from").is_some(), "what it wrote stays");
    // The node itself learns of it as well.
    wire.ask(2, Admin::RevokeOwn { notice }).unwrap();
    assert!(wire.status(2).alarms.iter().any(|alarm| alarm.code == "own_identity_ended"));
    wire.ask(1, Admin::Remove { peer }).unwrap();
    assert!(wire.status(1).alarms.iter().all(|alarm| alarm.code != "identity_ended"));
}

/// A notice goes ahead of everything else that a new link brings.
#[test]
fn a_notice_is_the_first_message_on_a_link() {
    let mut wire = three();
    wire.create(0, "plan");
    let peer = name(&wire, 2);
    wire.ask(0, Admin::Revoke { peer }).unwrap();
    wire.sent.clear();
    wire.connect(0, 1);
    let first = wire.sent.iter().find(|(at, _)| *at == 0).unwrap();
    assert_eq!(first.1[0], 0x0d);
}

/// A suspended identity has no command run, and its audience and documents are not served to it.
#[test]
fn a_suspended_identity_asks_for_nothing() {
    let mut wire = three();
    wire.nodes[1].commands.is_on = true;
    wire.connect(1, 2);
    let order = Admin::Deploy {
        peer: name(&wire, 1),
        app: "web".into(),
        version: "1".into(),
        marketplace_url: None,
        expires_in: Millis::from_ms(60_000),
    };
    wire.ask(2, order).unwrap();
    let command = wire.sent.iter().rfind(|(at, bytes)| *at == 2 && bytes[0] == 0x0b).unwrap().1.clone();
    let peer = name(&wire, 2);
    wire.ask(0, Admin::Revoke { peer }).unwrap();
    wire.connect(0, 1);
    let (revoked, state) = (wire.nodes[2].peer_id(), wire.nodes[1].core.own_document(DocumentName::AUDIENCE));
    let layer = wire.nodes[1].core.own_layer(&state);
    assert!(!wire.nodes[1].replica.may_receive(&revoked, &layer));
    let bytes = crate::commands::SignedCommand::decode(&command[1..]).unwrap();
    let now = wire.now();
    wire.nodes[1].core.clock.set_now(now);
    wire.nodes[1].command_message(revoked, &CommandMessage::Command(bytes.encode()));
    assert!(wire.installs.is_empty());
    assert_eq!(wire.status(1).rejections["command_not_trusted"], 1);
}
