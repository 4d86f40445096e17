//! Deploys by JSON call at a whole node: made once, recorded before, and their end shown, whatever it is.

use data_encoding::HEXLOWER;

use super::calls::Foreign;
use super::*;
use crate::identity::did;
use crate::io::{CallFailure, CallId, OutgoingCall};

/// A node with a trusted peer of another program.
fn with_mill() -> (Wire, Foreign) {
    let (mut wire, mill) = (Wire::new(2), Foreign::new(50));
    wire.befriend(0, &mill, TrustLevel::Trusted);
    (wire, mill)
}

fn ask(wire: &mut Wire, peer: PeerId, app: &str) -> Result<view::DeployView, CommandError> {
    let order = Admin::DeployByCall {
        peer: did(&peer),
        app: app.into(),
        version: "1.2".into(),
        marketplace_url: Some("https://m.example".into()),
    };
    wire.ask(0, order).map(|reply| match reply {
        Reply::Deploy(view) => *view,
        other => panic!("{other:?}"),
    })
}

fn called(wire: &mut Wire, mill: &Foreign) -> (String, CallId, OutgoingCall) {
    let view = ask(wire, mill.id(), "web").unwrap();
    assert_eq!((view.status, view.via, view.deployed), ("calling", Some("rpc"), false));
    let (id, call) = wire.outgoing(0);
    (view.id, id, call)
}

fn shown(wire: &mut Wire, id: &str) -> view::DeployView {
    match wire.ask(0, Query::Deploys { id: Some(id.to_owned()) }) {
        Ok(Reply::Deploy(view)) => *view,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deploy_by_call_is_signed_for_its_receiver_and_its_answer_is_kept() {
    let (mut wire, mill) = with_mill();
    let (command, id, call) = called(&mut wire, &mill);
    assert_eq!(call.timeout, Millis::from_secs(120));
    assert_eq!(call.onion.to_string(), mill.keypair.onion());
    let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    let params = serde_json::json!({"id": "web", "version": "1.2", "marketplace-url": "https://m.example"});
    assert_eq!((body["method"].as_str(), &body["params"]), (Some("package.install"), &params));
    let names: Vec<&str> = call.headers.iter().map(|(name, _)| *name).collect();
    let expected = ["X-Federation-DID", "X-Federation-Timestamp", "X-Federation-Sig", "X-Federation-Sig2"];
    assert_eq!(names, expected);
    wire.answer(0, id, 200, r#"{"result": {"deployed": true, "output": "pulled"}}"#);
    for restart in [false, true] {
        if restart {
            wire.restart(0);
        }
        let view = shown(&mut wire, &command);
        assert_eq!((view.status, view.deployed, view.output.as_deref()), ("installed", true, Some("pulled")));
        assert!(view.ended_at.is_some());
    }
    // Other programs answer with another result.
    for result in ["null", "{}", "[]", r#""queued""#] {
        let (command, id, _) = called(&mut wire, &mill);
        wire.answer(0, id, 200, &format!(r#"{{"result": {result}}}"#));
        assert_eq!(shown(&mut wire, &command).status, "installed", "{result}");
    }
    let last = wire.events.iter().rev().find_map(|(_, event)| match event {
        Event::Deploy(event) => Some((event.direction, event.status)),
        _ => None,
    });
    assert_eq!(last, Some(("sent", "installed")));
}

#[test]
fn every_other_answer_is_shown_with_its_words() {
    let (mut wire, mill) = with_mill();
    for (status, body, expected, reason, words) in [
        (200, r#"{"error": {"message": "not in my catalogue"}}"#, "refused", None, "not in my catalogue"),
        (
            403,
            r#"{"error": {"code": "off", "message": "deploys are off"}}"#,
            "refused",
            Some("off"),
            "are off",
        ),
        (403, r#"{"error": {"code": "a b", "message": "no"}}"#, "refused", None, "no"),
        (200, r#"{"result": {"deployed": false}}"#, "refused", None, "did not install"),
        (500, r#"{"error": {"code": "install_failed", "message": "exit code 3"}}"#, "failed", None, "code 3"),
        (500, r#"{"error": {"code": "outcome_unknown", "message": "stopped"}}"#, "unknown", None, "stopped"),
        (504, r#"{"error": {"code": "too_slow", "message": "too long"}}"#, "unknown", None, "too long"),
        (502, "<html>", "unknown", None, "status 502"),
        (200, "{}", "unknown", None, "neither"),
    ] {
        let (command, id, _) = called(&mut wire, &mill);
        wire.answer(0, id, status, body);
        let view = shown(&mut wire, &command);
        assert_eq!((view.status, view.reason.as_deref(), view.deployed), (expected, reason, false), "{body}");
        assert!(view.message.contains(words), "{body}: {}", view.message);
    }
    assert_eq!(wire.counted(0, "bad_call_answer"), 2);
    for (may_have_arrived, expected) in [(true, "unknown"), (false, "unreached")] {
        let (command, id, _) = called(&mut wire, &mill);
        let failure = CallFailure { why: "no answer came within 120 s".into(), may_have_arrived };
        wire.queue.push_back((0, Input::CallAnswered { id, result: Err(failure) }));
        wire.run();
        let view = shown(&mut wire, &command);
        assert_eq!(view.status, expected);
        assert!(view.message.contains("within 120 s"), "{}", view.message);
    }
}

/// The call was on its way when the node stopped: unknown, and neither the call nor a session asks again.
#[test]
fn a_call_that_was_cut_off_is_unknown_and_never_made_again() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    let peer = wire.nodes[1].peer_id();
    let asked = ask(&mut wire, peer, "web").unwrap();
    let (id, _) = wire.outgoing(0);
    wire.restart(0);
    let view = shown(&mut wire, &asked.id);
    assert_eq!((view.status, view.via), ("unknown", Some("rpc")), "{}", view.message);
    // An answer to the call of the earlier process changes nothing.
    wire.answer(0, id, 200, r#"{"result": {}}"#);
    wire.connect(0, 1);
    wire.pass(3 * 86_400_000);
    assert!(wire.calls.is_empty() && wire.installs.is_empty(), "asked again");
    assert!(wire.sent.iter().all(|(at, bytes)| *at != 0 || bytes[0] != 0x0b), "a session carried it");
    assert_eq!(shown(&mut wire, &asked.id).status, "unknown");
}

/// While a call is on its way no session carries the command, even where its addressee is linked.
#[test]
fn a_called_command_is_offered_over_no_link() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.connect(0, 1);
    let peer = wire.nodes[1].peer_id();
    let asked = ask(&mut wire, peer, "web").unwrap();
    wire.pass(20 * 60_000);
    assert_eq!((wire.calls.len(), shown(&mut wire, &asked.id).status), (1, "calling"));
    assert!(wire.sent.iter().all(|(at, bytes)| *at != 0 || bytes[0] != 0x0b), "a session carried it");
}

#[test]
fn what_may_not_be_asked_for_is_not_called() {
    let (mut wire, mill) = with_mill();
    assert!(matches!(ask(&mut wire, mill.id(), "-rf"), Err(CommandError::BadDeploy(_))));
    assert!(matches!(ask(&mut wire, PeerId([7; 32]), "web"), Err(CommandError::UnknownPeer(_))));
    wire.ask(0, Admin::Trust { peer: did(&mill.id()), level: TrustLevel::Observer }).unwrap();
    assert!(matches!(ask(&mut wire, mill.id(), "web"), Err(CommandError::NotTrusted(_))));
    wire.ask(0, Admin::Trust { peer: did(&mill.id()), level: TrustLevel::Trusted }).unwrap();
    let record = wire.nodes[0].replica.federation().peer(&mill.id()).unwrap().clone();
    wire.nodes[0].replica.put_peer(crate::federation::Peer { onion: String::new(), ..record });
    assert!(matches!(ask(&mut wire, mill.id(), "web"), Err(CommandError::NoOnion(_))));
    assert!(wire.calls.is_empty());
    assert!(matches!(wire.ask(0, Query::Deploys { id: None }), Ok(Reply::Deploys(all)) if all.is_empty()));
}

/// The receiver derives the same id, so that both ends show the deploy under one.
#[test]
fn both_ends_of_a_call_name_the_command_alike() {
    let mut wire = Wire::new(2);
    wire.join(0, 1, TrustLevel::Trusted);
    wire.nodes[1].commands.is_on = true;
    let catalogue = crate::commands::Catalogue::parse("[[app]]\nid = \"web\"\n").unwrap();
    let read = crate::commands::CatalogueState::Read(catalogue);
    wire.queue.push_back((1, Input::Catalogue(read)));
    let peer = wire.nodes[1].peer_id();
    let order = Admin::DeployByCall {
        peer: did(&peer),
        app: "web".into(),
        version: "1".into(),
        marketplace_url: None,
    };
    let Ok(Reply::Deploy(asked)) = wire.ask(0, order) else { panic!("a deploy") };
    let (id, call) = wire.outgoing(0);
    let headers = call.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_bytes()));
    let call = crate::io::IncomingCall { headers: headers.collect(), body: call.body };
    for _ in 0..2 {
        // The second time as a neighbour that captured the call sends it: it is refused, and nothing runs.
        wire.next += 1;
        let request = RequestId(wire.next);
        wire.queue.push_back((1, Input::Call { request, call: call.clone() }));
        wire.run();
    }
    assert_eq!(wire.installs.len(), 1);
    assert_eq!(HEXLOWER.encode(&wire.installs[0].1.id.0), asked.id);
    let (_, key, _) = wire.installs[0].clone();
    let result =
        crate::commands::RunResult { end: crate::commands::RunEnd::Success, output: "up".to_owned() };
    wire.queue.push_back((1, Input::Installed { key, result }));
    wire.run();
    let reply = wire.call_replies.values().find(|reply| reply.status == 200).unwrap().clone();
    wire.answer(0, id, reply.status, std::str::from_utf8(&reply.body).unwrap());
    let view = shown(&mut wire, &asked.id);
    assert_eq!((view.status, view.output.as_deref()), ("installed", Some("up")));
}

/// The disk refuses to record the call: it is not made. One that was on its way before is answered all the same.
#[test]
fn a_call_that_is_not_on_disk_is_not_made() {
    let mut wire = Wire::new(2);
    let (store, fill) = crate::store::tests::on_a_disk_that_fills();
    wire.nodes[0] = open(store, 0, Mono::ZERO);
    wire.join(0, 1, TrustLevel::Trusted);
    let peer = wire.nodes[1].peer_id();
    let before = ask(&mut wire, peer, "web").unwrap();
    let (id, _) = wire.outgoing(0);
    fill(true);
    assert!(matches!(ask(&mut wire, peer, "db"), Err(CommandError::Store(_))));
    assert!(wire.calls.is_empty());
    wire.pass(20_000);
    fill(false);
    wire.pass(60_000);
    assert_eq!(shown(&mut wire, &before.id).status, "calling");
    wire.answer(0, id, 200, r#"{"result": {}}"#);
    assert_eq!(shown(&mut wire, &before.id).status, "installed");
    let Ok(Reply::Deploys(all)) = wire.ask(0, Query::Deploys { id: None }) else { panic!("a list") };
    assert_eq!(all.len(), 1);
    assert!(wire.calls.is_empty());
}
