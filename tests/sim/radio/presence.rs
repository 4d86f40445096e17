//! Who is there, who is heard, and what is in step, as `status` shows it at the paces that a node has by default.

use super::*;
use tombolo::io::view::{PeerStatusView, PresenceView};
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::{Region, Usage};

fn of(field: &mut Field, at: usize, other: usize) -> PeerStatusView {
    let Some(Ok(Reply::Status(status))) = field.ask(at, Query::Status) else { panic!("a status") };
    status.peers.into_iter().find(|peer| peer.name.ends_with(&other.to_string())).unwrap()
}

fn presence(field: &mut Field, at: usize, other: usize) -> PresenceView {
    of(field, at, other).presence.expect("it was heard")
}

/// The default of `publish_every`.
const PUBLISH_MINUTES: u64 = 1;

/// Lets time pass in which each of these nodes publishes its state every so many minutes, one after the other.
fn live(field: &mut Field, nodes: &[usize], minutes: u64, every: u64) {
    for minute in 0..minutes {
        if minute % every == 0 {
            for node in nodes {
                let now = field.now().since(Mono::ZERO) / MINUTE;
                publish(field, *node, now);
                field.run(MINUTE / nodes.len() as u64);
            }
        } else {
            field.run(MINUTE);
        }
    }
}

/// Two nodes in range that publish at the default interval and have heartbeats at theirs. A state that is newer than the last
/// acknowledgement is no lag, nor is one that waits for the pace at which states leave: at every sample both are in step, though hardly
/// ever is everything acknowledged.
#[test]
fn a_healthy_radio_pair_reads_in_step_at_default_paces() {
    let unlimited = |rate| FieldConfig::new(121, PhyRate::lora(rate));
    let usage = Usage { frequency_hz: Some(868_100_000), ..Usage::default() };
    let one_percent = LedgerConfig::new(Some(Region::Eu868.rules(usage).unwrap()));
    let paced = FieldConfig { ledger: one_percent, ..unlimited(Modulation::LONG_FAST) };
    for (rate, config) in [("SF7", unlimited(Modulation::SF7_125)), ("LongFast at 1 %", paced)] {
        let mut field = Field::new(config);
        friends(&mut field, 2);
        create(&mut field, 0, "notes");
        set(&mut field, 0, "notes", "first", 0);
        live(&mut field, &[0, 1], 60, PUBLISH_MINUTES);
        let (mut in_step, mut acknowledged) = (0, 0);
        for _ in 0..36 {
            live(&mut field, &[0, 1], 9, PUBLISH_MINUTES);
            field.run(20 * SECOND);
            for (at, other) in [(0, 1), (1, 0)] {
                let peer = of(&mut field, at, other);
                in_step += usize::from(peer.step.state == "in step" && peer.behind.is_empty());
                acknowledged += usize::from(peer.step.unacknowledged == Some(0));
                if peer.step.state != "in step" {
                    println!("{rate}: n{at} of n{other}: {:?} {:?}", peer.step, peer.behind);
                }
            }
        }
        println!("{rate}: in step in {in_step} of 72 samples, all acknowledged in {acknowledged}");
        assert_eq!(in_step, 72, "{rate}");
    }
}

/// A document that is on its way is named with what it waits for, until the peer has it.
#[test]
fn a_document_that_is_behind_is_named_with_what_it_waits_for() {
    let mut field = sf7(122);
    friends(&mut field, 2);
    create(&mut field, 0, "notes");
    set(&mut field, 0, "notes", "first", 0);
    assert!(field.run_until(2 * HOUR, |field| of(field, 0, 1).step.state == "in step"));
    let radio = field.radio(1);
    field.air.set_on(radio, false);
    set(&mut field, 0, "notes", "second", 1);
    field.run(MINUTE);
    let behind = of(&mut field, 0, 1).behind;
    assert_eq!(behind.len(), 1, "{behind:?}");
    assert!(behind[0].document.as_deref().is_some_and(|name| name.ends_with("/notes")), "{behind:?}");
    assert_eq!((behind[0].kind, behind[0].waits_for), ("unacknowledged", "acknowledgement"));
    assert!(behind[0].since.is_some() && behind[0].words.contains("behind for"), "{behind:?}");
    field.air.set_on(radio, true);
    assert!(field.run_until(2 * HOUR, |field| of(field, 0, 1).behind.is_empty()));
}

/// A node falls silent: the words change one after the other, each with its reason, and the others report it in one verdict. When it
/// is back, all know, and each knows that the other hears it.
#[test]
fn a_silent_node_is_missed_step_by_step_and_the_others_agree() {
    let mut field = sf7(123);
    friends(&mut field, 4);
    live(&mut field, &[0, 1, 2, 3], 60, 10);
    let there = presence(&mut field, 0, 3);
    assert!(matches!(there.state, "here" | "quiet"), "{there:?}");
    assert_eq!(there.hears_us.as_ref().map(|hears| hears.medium.as_str()), Some("mesh"), "{there:?}");
    let friends = there.friends.expect("two others say whether they hear it");
    assert_eq!((friends.friends, friends.missing), (2, 0), "{friends:?}");

    let radio = field.radio(3);
    field.air.set_on(radio, false);
    let mut words = Vec::new();
    for _ in 0..27 * 6 {
        live(&mut field, &[0, 1, 2], 10, 10);
        let it = presence(&mut field, 0, 3);
        match it.state {
            "overdue" => assert!(it.silent_s >= it.next_within_s, "{it:?}"),
            "link lost" => assert!(it.silent_s >= 3 * it.next_within_s, "{it:?}"),
            "gone" => assert!(it.silent_s >= 24 * 3600, "{it:?}"),
            _ => assert!(it.silent_s < it.next_within_s, "{it:?}"),
        }
        if words.last() != Some(&it.state) {
            words.push(it.state);
        }
        if it.state == "link lost" && it.silent_s > 2 * 3600 && it.silent_s < 3 * 3600 {
            let friends = it.friends.expect("a verdict");
            assert_eq!((friends.friends, friends.missing), (2, 2), "{friends:?}");
            assert!(friends.verdict.starts_with("2 of 2 friends have not heard"), "{friends:?}");
        }
    }
    let from = words.iter().position(|word| *word == "overdue").expect("it was overdue");
    assert_eq!(words[from..], ["overdue", "link lost", "gone"], "{words:?}");

    field.air.set_on(radio, true);
    live(&mut field, &[0, 1, 2, 3], 90, 10);
    let back = presence(&mut field, 0, 3);
    assert!(matches!(back.state, "here" | "quiet"), "{back:?}");
    assert_eq!(back.friends.map(|friends| friends.missing), Some(0));
    let Some(Ok(Reply::Log(log))) = field.ask(0, Query::Log) else { panic!("a log") };
    let codes: Vec<&str> = log
        .iter()
        .filter(|it| it.kind == "presence" && it.message.contains("was "))
        .map(|it| &*it.code)
        .collect();
    for code in ["overdue", "link_lost", "gone"] {
        assert!(codes.contains(&code), "{codes:?}");
    }
    assert!(log.iter().any(|it| it.kind == "presence" && it.message.contains("was gone")), "{log:#?}");
}
