//! Deploys between whole nodes on a wire made of a queue.

use super::*;
use crate::commands::{Catalogue, CatalogueState, CommandId, Outcome, RunEnd, RunResult, Taking};
use crate::time::Millis;

const DAY_MS: u64 = 86_400_000;

fn result(output: &str) -> RunResult {
    RunResult { end: RunEnd::Success, output: output.to_owned() }
}

/// Lets a node install `web` and `db`.
pub(super) fn allow(wire: &mut Wire, at: usize) {
    wire.nodes[at].commands.is_on = true;
    let catalogue = Catalogue::parse("[[app]]\nid = \"web\"\n[[app]]\nid = \"db\"\n").unwrap();
    wire.queue.push_back((at, Input::Catalogue(CatalogueState::Read(catalogue))));
    wire.run();
}

pub(super) fn deploy(wire: &mut Wire, app: &str) -> Result<view::DeployView, CommandError> {
    let peer = crate::identity::did(&wire.nodes[1].peer_id());
    let order = Admin::Deploy {
        peer,
        app: app.into(),
        version: "1".into(),
        marketplace_url: None,
        expires_in: Millis::from_ms(DAY_MS),
    };
    wire.ask(0, order).map(|reply| match reply {
        Reply::Deploy(view) => *view,
        other => panic!("{other:?}"),
    })
}

pub(super) fn status(wire: &mut Wire, at: usize, id: &str) -> view::DeployView {
    match wire.ask(at, Query::Deploys { id: Some(id.to_owned()) }) {
        Ok(Reply::Deploy(view)) => *view,
        other => panic!("{other:?}"),
    }
}

/// Ends the install that was begun last.
pub(super) fn end(wire: &mut Wire, output: &str) {
    let (at, key, _) = wire.installs.last().cloned().expect("an install was begun");
    wire.queue.push_back((at, Input::Installed { key, result: result(output) }));
    wire.run();
}

pub(super) fn friends() -> Wire {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    allow(&mut wire, 1);
    wire
}

/// Two nodes meet, and come into step: before, a command waits.
fn meet(wire: &mut Wire, a: usize, b: usize) {
    wire.connect(a, b);
    wire.pass(3_000);
}

#[test]
fn a_deploy_is_taken_run_and_answered_and_its_outcome_is_a_document() {
    let mut wire = friends();
    meet(&mut wire, 0, 1);
    let asked = deploy(&mut wire, "web").unwrap();
    assert_eq!((asked.status, asked.deployed, wire.installs.len()), ("waiting", false, 1));
    assert_eq!(wire.installs[0].2, Deploy::new("web", "1", "").unwrap());
    assert_eq!(status(&mut wire, 0, &asked.id).status, "taken");
    end(&mut wire, "pulled and started");
    for (at, direction) in [(0, "sent"), (1, "received")] {
        let view = status(&mut wire, at, &asked.id[..12]);
        assert_eq!((view.status, view.deployed, view.direction), ("installed", true, direction));
        assert_eq!(view.output.as_deref(), Some("pulled and started"));
        let other = wire.nodes[1 - at].peer_id();
        assert_eq!(view.peer_did, crate::identity::did(&other));
        assert!(view.peer_onion.ends_with(".onion"));
    }
    wire.pass(1_000);
    let outcomes = wire.get(0, "n1/deploys");
    let first = outcomes.get("outcomes").and_then(Value::as_array).unwrap()[0].clone();
    assert_eq!(text(&first, "id"), Some(asked.id));
    assert_eq!(text(&first, "output").as_deref(), Some("pulled and started"));
}

#[test]
fn a_deploy_waits_for_its_peer_and_survives_a_restart_of_the_sender() {
    let mut wire = friends();
    let asked = deploy(&mut wire, "web").unwrap();
    wire.pass(60_000);
    wire.restart(0);
    assert!(wire.installs.is_empty());
    meet(&mut wire, 0, 1);
    assert_eq!(wire.installs.len(), 1);
    end(&mut wire, "");
    assert_eq!(status(&mut wire, 0, &asked.id).status, "installed");
}

#[test]
fn an_answer_that_was_lost_is_given_again_and_nothing_runs_again() {
    let mut wire = friends();
    meet(&mut wire, 0, 1);
    let asked = deploy(&mut wire, "web").unwrap();
    wire.cut(0, 1);
    end(&mut wire, "done");
    assert_eq!(status(&mut wire, 0, &asked.id).status, "taken");
    meet(&mut wire, 0, 1);
    assert_eq!(status(&mut wire, 0, &asked.id).status, "installed");
    // The same bytes once more, as a neighbour that replays them would send them.
    let command = wire.sent.iter().rfind(|(at, bytes)| *at == 0 && bytes[0] == 0x0b).unwrap().1.clone();
    let link = wire.nodes[1].unicast.links_to(&wire.nodes[0].peer_id())[0];
    wire.queue.push_back((1, Input::Received { link, bytes: command }));
    wire.run();
    assert_eq!(wire.installs.len(), 1);
}

#[test]
fn a_receiver_that_loses_power_while_it_runs_answers_unknown_at_both_ends() {
    let mut wire = friends();
    meet(&mut wire, 0, 1);
    let asked = deploy(&mut wire, "web").unwrap();
    wire.restart(1);
    allow(&mut wire, 1);
    meet(&mut wire, 0, 1);
    assert_eq!(status(&mut wire, 0, &asked.id).status, "unknown");
    assert_eq!(status(&mut wire, 1, &asked.id).status, "unknown");
    assert_eq!(wire.installs.len(), 1, "never a second run");
}

#[test]
fn refusals_are_typed_counted_and_shown_at_both_ends() {
    let mut wire = friends();
    meet(&mut wire, 0, 1);
    let asked = deploy(&mut wire, "sh").unwrap();
    for at in [0, 1] {
        let view = status(&mut wire, at, &asked.id);
        assert_eq!((view.status, view.reason.as_deref()), ("refused", Some("not_in_catalogue")));
        assert!(view.message.contains("catalogue"), "{}", view.message);
    }
    assert_eq!(wire.status(1).rejections["command_not_in_catalogue"], 1);
    wire.nodes[1].commands.is_on = false;
    let asked = deploy(&mut wire, "web").unwrap();
    assert_eq!(status(&mut wire, 0, &asked.id).reason.as_deref(), Some("off"));
    assert!(wire.installs.is_empty());
}

#[test]
fn only_trusted_peers_ask_and_are_asked() {
    let mut wire = friends();
    meet(&mut wire, 0, 1);
    let sender = crate::identity::did(&wire.nodes[0].peer_id());
    wire.ask(1, Admin::Trust { peer: sender.clone(), level: TrustLevel::Observer }).unwrap();
    let asked = deploy(&mut wire, "web").unwrap();
    assert_eq!(status(&mut wire, 0, &asked.id).reason.as_deref(), Some("not_trusted"));
    assert!(matches!(
        wire.ask(1, Query::Deploys { id: Some(asked.id) }),
        Err(CommandError::UnknownDeploy(_))
    ));
    assert_eq!(wire.status(1).rejections["command_not_trusted"], 1);
    let receiver = crate::identity::did(&wire.nodes[1].peer_id());
    wire.ask(0, Admin::Trust { peer: receiver, level: TrustLevel::Observer }).unwrap();
    assert!(matches!(deploy(&mut wire, "web"), Err(CommandError::NotTrusted(_))));
    assert!(wire.installs.is_empty());
}

/// A command for one peer, handed to another, or handed on by another, has no effect.
#[test]
fn a_command_in_the_wrong_hands_is_not_run() {
    let mut wire = Wire::new(3);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        wire.join(a, b, TrustLevel::Trusted);
    }
    allow(&mut wire, 1);
    allow(&mut wire, 2);
    meet(&mut wire, 0, 1);
    deploy(&mut wire, "web").unwrap();
    assert_eq!(wire.installs.len(), 1);
    let command = wire.sent.iter().rfind(|(at, bytes)| *at == 0 && bytes[0] == 0x0b).unwrap().1.clone();
    // The receiver hands it on, and the sender's own link brings it to the third.
    for from in [1, 0] {
        meet(&mut wire, from, 2);
        let link = wire.nodes[2].unicast.links_to(&wire.nodes[from].peer_id())[0];
        wire.queue.push_back((2, Input::Received { link, bytes: command.clone() }));
        wire.run();
    }
    let mut changed = command.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let link = wire.nodes[1].unicast.links_to(&wire.nodes[0].peer_id())[0];
    wire.queue.push_back((1, Input::Received { link, bytes: changed }));
    wire.run();
    assert_eq!(wire.installs.len(), 1);
    assert_eq!(wire.status(2).rejections["command_signature"], 2);
    assert_eq!(wire.status(1).rejections["command_signature"], 1);
}

#[test]
fn an_answer_of_a_peer_that_was_not_asked_counts_for_nothing() {
    let mut wire = Wire::new(3);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.join(0, 2, TrustLevel::Trusted);
    meet(&mut wire, 0, 2);
    let asked = deploy(&mut wire, "web").unwrap();
    let id: CommandId = asked.id.parse().unwrap();
    let bytes = crate::commands::CommandAnswer { id, outcome: Some(Outcome::Unknown) }.encode(10);
    let link = wire.nodes[0].unicast.links_to(&wire.nodes[2].peer_id())[0];
    let bytes = crate::sync::message::Message::Answer(bytes).encode();
    wire.queue.push_back((0, Input::Received { link, bytes }));
    wire.run();
    assert_eq!(status(&mut wire, 0, &asked.id).status, "waiting");
    assert_eq!(wire.status(0).rejections["unasked_answer"], 1);
}

#[test]
fn a_deploy_expires_at_both_ends() {
    let mut wire = friends();
    let asked = deploy(&mut wire, "web").unwrap();
    wire.pass(DAY_MS + 120_000);
    assert_eq!(status(&mut wire, 0, &asked.id).status, "expired");
    meet(&mut wire, 0, 1);
    assert!(wire.installs.is_empty());
    // A receiver whose sender's clock is slow judges by its own.
    let receiver = crate::identity::did(&wire.nodes[1].peer_id());
    let order = |expires_in| Admin::Deploy {
        peer: receiver.clone(),
        app: "web".into(),
        version: "1".into(),
        marketplace_url: None,
        expires_in: Millis::from_ms(expires_in),
    };
    assert_eq!(wire.ask(0, order(8 * DAY_MS)), Err(CommandError::BadDeployExpiry));
    assert_eq!(wire.ask(0, order(0)), Err(CommandError::BadDeployExpiry));
}

#[test]
fn a_sender_with_a_catalogue_asks_for_nothing_beside_it() {
    let mut wire = friends();
    allow(&mut wire, 0);
    assert!(matches!(deploy(&mut wire, "sh"), Err(CommandError::NotInOwnCatalogue { .. })));
    assert!(deploy(&mut wire, "web").is_ok());
    wire.queue.push_back((0, Input::Catalogue(CatalogueState::Damaged("line 1".into()))));
    wire.run();
    assert!(matches!(deploy(&mut wire, "web"), Err(CommandError::NotInOwnCatalogue { .. })));
    assert!(matches!(deploy(&mut wire, "-rf"), Err(CommandError::BadDeploy(_))));
}

/// The entry for a sender that another protocol has proven: the same checks, the same record.
#[test]
fn a_call_runs_once_as_well() {
    let mut wire = friends();
    let (sender, id) = (wire.nodes[0].peer_id(), CommandId([5; 16]));
    let web = Deploy::new("web", "1", "").unwrap();
    let now = wire.now();
    wire.nodes[1].core.clock.set_now(now);
    let wall = wire.nodes[1].core.reference();
    assert_eq!(wire.nodes[1].desk().commands.install_requested(sender, &web, id, wall), Taking::Begin);
    assert_eq!(wire.nodes[1].desk().commands.install_requested(sender, &web, id, wall), Taking::Running);
    wire.queue.push_back((1, Input::Timeout));
    wire.run();
    assert_eq!(wire.installs.len(), 1);
    let ended = wire.nodes[1].desk().commands.installed(wire.installs[0].1, result("done"));
    assert_eq!(ended, Some(Outcome::Ended(result("done"))));
    let again = wire.nodes[1].desk().commands.install_requested(sender, &web, id, wall);
    assert_eq!(again, Taking::Over(Outcome::Ended(result("done"))));
    let stranger = PeerId([77; 32]);
    let refused = wire.nodes[1].desk().commands.install_requested(stranger, &web, id, wall);
    assert_eq!(refused, Taking::Over(Outcome::Refused(crate::commands::CommandRefusal::NotTrusted)));
}

/// A trusted peer asks for what is refused, again and again: the document of outcomes is signed a few times, and shows the last.
#[test]
fn a_peer_that_asks_all_the_time_does_not_decide_how_often_the_outcomes_are_signed() {
    let mut wire = friends();
    meet(&mut wire, 0, 1);
    let document = wire.nodes[1].core.own_document(DocumentName::DEPLOYS);
    let layer = wire.nodes[1].core.own_layer(&document);
    let sequence = |wire: &Wire| wire.nodes[1].replica.layer(&layer).map(|layer| layer.head().sequence.get());
    let mut last = String::new();
    for _ in 0..300 {
        last = deploy(&mut wire, "sh").unwrap().id;
        wire.pass(2_000);
    }
    let signed = sequence(&wire).expect("the outcomes are a document");
    assert!((2..=12).contains(&signed), "{signed} states in ten minutes");
    wire.pass(11 * 60_000);
    let outcomes = wire.get(0, "n1/deploys");
    let first = outcomes.get("outcomes").and_then(Value::as_array).unwrap()[0].clone();
    assert_eq!(text(&first, "id"), Some(last));
}
