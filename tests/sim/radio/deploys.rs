//! Deploys over nothing but radios: sealed to one peer, a frame or two, at most once.

use super::*;
use tombolo_mesh::emulated::Loss;
use tombolo_mesh::frame::keys::Mode;
use tombolo_sim::field::CableKind;
use tombolo_transports::Medium;

const CATALOGUE: &str = "marketplace-url = \"https://market.example\"\n[[app]]\nid = \"web\"\n";
/// The kind of messages on a pairwise channel, in a frame's first byte.
const PAIR: u8 = 10;

fn deploy(field: &mut Field, to: usize) -> String {
    let order = Admin::Deploy {
        peer: tombolo::identity::did(&field.peer_id(to)),
        app: "web".into(),
        version: "1.2".into(),
        marketplace_url: Some("https://market.example".into()),
        expires_in: 24 * HOUR,
    };
    match field.ask(0, order) {
        Some(Ok(Reply::Deploy(view))) => view.id,
        other => panic!("{other:?}"),
    }
}

fn status(field: &mut Field, at: usize, id: &str) -> (&'static str, Option<String>) {
    match field.ask(at, Query::Deploys { id: Some(id.to_owned()) }) {
        Some(Ok(Reply::Deploy(view))) => (view.status, view.output),
        other => panic!("{other:?}"),
    }
}

fn pair_frames(field: &Field, by: usize) -> usize {
    let radio = field.radio(by);
    field.air.log().filter(|on_air| on_air.radio == radio && on_air.frame[0] >> 4 == PAIR).count()
}

#[test]
fn a_deploy_by_radio_takes_a_frame_or_two_each_way_and_a_third_cannot_read_it() {
    let mut field = sf7(31);
    friends(&mut field, 3);
    field.set_catalogue(1, CATALOGUE);
    let before = (pair_frames(&field, 0), pair_frames(&field, 1));
    let id = deploy(&mut field, 1);
    assert!(field.run_until(5 * MINUTE, |field| status(field, 0, &id).0 == "installed"));
    assert_eq!(field.installs.len(), 1);
    assert!((1..=2).contains(&(pair_frames(&field, 0) - before.0)), "command: {}", pair_frames(&field, 0));
    assert!((1..=2).contains(&(pair_frames(&field, 1) - before.1)), "answers: {}", pair_frames(&field, 1));
    // The output is cut for the air; the receiver has all of it, and the document does not go on air.
    let (sent, received) = (status(&mut field, 0, &id).1.unwrap(), status(&mut field, 1, &id).1.unwrap());
    assert!(sent.len() <= 64 && received.len() == 900 && received.ends_with(&sent));
    field.run(HOUR);
    assert!(get(&mut field, 0, "n1/deploys").is_none());
    let plain = field.air.log().any(|on_air| on_air.frame.windows(6).any(|w| w == b"market"));
    assert!(!plain, "it went in clear");
}

/// A third of all frames is lost: the command is offered again, and runs once.
#[test]
fn lost_frames_delay_a_deploy_and_do_not_repeat_it() {
    for seed in 0..4 {
        let mut field = sf7(40 + seed);
        friends(&mut field, 2);
        field.set_catalogue(1, CATALOGUE);
        field.air.set_loss(Loss::single(300));
        let ids: Vec<String> = (0..3).map(|_| deploy(&mut field, 1)).collect();
        let over =
            field.run_until(12 * HOUR, |field| ids.iter().all(|id| status(field, 0, id).0 == "installed"));
        assert!(
            over,
            "seed {seed}: {:?}",
            ids.iter().map(|id| status(&mut field, 0, id)).collect::<Vec<_>>()
        );
        assert_eq!(field.installs.len(), 3, "seed {seed}");
    }
}

/// Who sends in clear sends no command: it waits for a cable.
#[test]
fn nothing_is_deployed_over_a_radio_in_clear() {
    let mut config = FieldConfig::new(33, PhyRate::lora(Modulation::SF7_125));
    config.mode = Mode::SignedClear;
    let mut field = Field::new(config);
    friends(&mut field, 2);
    field.set_catalogue(1, CATALOGUE);
    let id = deploy(&mut field, 1);
    field.run(HOUR);
    assert_eq!((status(&mut field, 0, &id).0, field.installs.len()), ("waiting", 0));
    field.connect(0, 1);
    field.run(MINUTE);
    assert_eq!((status(&mut field, 0, &id).0, field.installs.len()), ("installed", 1));
}

/// A notice takes one frame by radio, and who has not confirmed it is known.
#[test]
fn a_revocation_by_radio_is_one_frame_to_each_member() {
    let mut field = sf7(35);
    friends(&mut field, 3);
    let revoked = tombolo::identity::did(&field.peer_id(2));
    let before = pair_frames(&field, 0);
    assert!(matches!(field.ask(0, Admin::Revoke { peer: revoked.clone() }), Some(Ok(Reply::Revocations(_)))));
    let is_known = |field: &mut Field| match field.ask(0, Query::Revocations) {
        Some(Ok(Reply::Revocations(list))) => list[0].unaware.is_empty(),
        other => panic!("{other:?}"),
    };
    assert!(field.run_until(5 * MINUTE, is_known));
    assert_eq!(pair_frames(&field, 0) - before, 1);
    let Some(Ok(Reply::Peers(peers))) = field.ask(1, Query::Peers) else { panic!("peers") };
    assert!(peers.iter().any(|peer| peer.did == revoked && peer.suspended));
}

/// A LAN goes dead unnoticed and swallows a command: it goes over the other link as well, and runs once, also when the first copy
/// is offered again.
#[test]
fn a_command_that_a_dead_lan_swallows_goes_over_another_link_and_runs_once() {
    for (seed, beside, within) in [(35, Medium::Tor, 3 * SECOND), (36, Medium::Mesh, 5 * SECOND)] {
        let mut field = sf7(seed);
        friends(&mut field, 2);
        field.connect(0, 1);
        if beside == Medium::Tor {
            field.connect_over(0, 1, CableKind::TOR);
            let radio = field.radio(1);
            field.air.set_on(radio, false);
        }
        field.set_catalogue(1, CATALOGUE);
        field.run(HOUR);
        field.silence(0, 1, Medium::Lan);
        let begun = field.now();
        let id = deploy(&mut field, 1);
        let arrived = field.run_until(5 * MINUTE, |field| !field.installs.is_empty());
        let took = field.now().since(begun);
        println!("beside {beside:?}: the command took {} ms", took.ms());
        assert!(arrived && took <= within, "{took:?}");
        field.run(10 * SECOND);
        field.cut_over(0, 1, Medium::Lan);
        assert!(field.run_until(10 * MINUTE, |field| status(field, 0, &id).0 == "installed"));
        field.connect(0, 1);
        field.run(HOUR);
        assert_eq!(field.installs.len(), 1);
    }
}
