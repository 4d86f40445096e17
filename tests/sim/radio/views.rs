//! What a node reports of its radio to people, compared with what is true.

use super::*;
use tombolo::io::view::{LinkView, PeerStatusView};
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::emulated::Loss;
use tombolo_sim::field::UNLIMITED;

/// The entry of one node in the `status` of another.
fn of(field: &mut Field, at: usize, other: usize) -> PeerStatusView {
    let name = format!("n{other}");
    let Some(Ok(Reply::Status(status))) = field.ask(at, Query::Status) else { panic!("a status") };
    status.peers.into_iter().find(|peer| peer.name == name).unwrap()
}

fn links(field: &mut Field, at: usize) -> Vec<LinkView> {
    let Some(Ok(Reply::Links(links))) = field.ask(at, Query::Links) else { panic!("links") };
    links
}

/// Nothing is lacking, or a known amount, or it is unknown; a 0 is shown only where it was counted.
#[test]
fn what_a_listener_lacks_is_counted_or_not_shown() {
    let mut field = sf7(101);
    friends(&mut field, 2);
    create(&mut field, 0, "notes");
    set(&mut field, 0, "notes", "first", 0);
    in_step(&mut field, &[0, 1], "notes", "first", HOUR);
    field.run(HOUR);
    let step = of(&mut field, 0, 1).step;
    assert_eq!((step.state, step.we_lack, step.they_lack), ("in step", Some(0), Some(0)), "{step:?}");
    assert_eq!((step.unacknowledged, step.unknown_since), (Some(0), None));

    // Out of reach, and it is not known yet: what was sent is not acknowledged.
    let radio = field.radio(1);
    field.air.set_on(radio, false);
    set(&mut field, 0, "notes", "second", 1);
    field.run(MINUTE);
    let step = of(&mut field, 0, 1).step;
    assert_eq!((step.state, step.they_lack, step.unacknowledged), ("catching up", Some(0), Some(1)));

    // Its radio is off: what it holds now is unknown.
    let heard_until = field.run_until(12 * HOUR, |field| of(field, 0, 1).step.state == "not connected");
    let peer = of(&mut field, 0, 1);
    assert!(heard_until && peer.links.is_empty(), "{peer:?}");
    assert_eq!((peer.step.we_lack, peer.step.they_lack, peer.step.unacknowledged), (None, None, None));
    assert_eq!(peer.step.unknown_since, peer.heard_at);

    field.air.set_on(radio, true);
    assert!(field.run_until(HOUR, |field| of(field, 0, 1).step.state == "in step"));
}

/// A document that does not go by radio counts neither as held nor as lacking; the view shows that there is one.
#[test]
fn what_does_not_go_by_radio_is_shown_to_stay() {
    let mut field = sf7(102);
    friends(&mut field, 2);
    create(&mut field, 0, "notes");
    create(&mut field, 0, "diary");
    policy(&mut field, 0, "diary", Some(RadioUse::Never), None);
    set(&mut field, 0, "notes", "first", 0);
    set(&mut field, 0, "diary", "first", 0);
    in_step(&mut field, &[0, 1], "notes", "first", HOUR);
    assert!(field.run_until(HOUR, |field| of(field, 0, 1).step.state == "in step"));
    assert_eq!(of(&mut field, 0, 1).step.not_by_radio, Some(1));
    let row = links(&mut field, 0).into_iter().find(|row| row.peer == "n1").unwrap();
    assert_eq!(row.step.map(|step| (step.state, step.not_by_radio)), Some(("in step", Some(1))));
}

/// A peer that is shown to lack nothing and to have acknowledged all holds all, at any data rate.
#[test]
fn in_step_is_never_shown_of_a_peer_that_is_not() {
    for (seed, loss_permille) in [(103, 0), (104, 150), (105, 400)] {
        let mut field = sf7(seed);
        friends(&mut field, 3);
        field.air.set_loss(Loss::single(loss_permille));
        create(&mut field, 0, "notes");
        let mut agreed = 0;
        for n in 0..60 {
            let key = format!("k{n}");
            set(&mut field, 0, "notes", &key, n);
            for _ in 0..6 {
                field.run(20 * SECOND);
                for other in [1, 2] {
                    let step = of(&mut field, 0, other).step;
                    if (step.they_lack, step.unacknowledged) == (Some(0), Some(0)) {
                        agreed += 1;
                        let has =
                            get(&mut field, other, "notes").is_some_and(|notes| notes.get(&key).is_some());
                        assert!(has, "n{other} is said to hold {key}: {step:?}");
                    }
                }
            }
        }
        println!("loss {loss_permille}: {agreed} of 720 times all was acknowledged");
        assert!(agreed > 20, "seed {seed}: acknowledged {agreed} times of 720");
    }
}

fn row<'a>(rows: &'a [LinkView], peer: &str) -> &'a LinkView {
    rows.iter().find(|row| row.peer == peer).unwrap_or_else(|| panic!("no row of {peer} in {rows:#?}"))
}

/// The table matches what was on air: the radio's own frames, and for each peer the frames received from it and its share
/// of the airtime. A restart keeps the day.
#[test]
fn bytes_and_airtime_are_those_that_were_on_air() {
    let mut field = sf7(106);
    friends(&mut field, 3);
    create(&mut field, 0, "notes");
    for n in 0..20 {
        set(&mut field, 0, "notes", &format!("k{n}"), n);
        field.run(MINUTE);
    }
    let sent_by = |field: &Field, node: u16| -> (u64, u64) {
        let frames = field.air.log().filter(|on_air| on_air.radio.0 == node);
        frames.fold((0, 0), |(bytes, us), f| (bytes + f.frame.len() as u64, us + (f.end_us - f.start_us)))
    };
    let rows = links(&mut field, 0);
    let radio = row(&rows, "(all who listen)");
    let (bytes, airtime_us) = sent_by(&field, 0);
    assert_eq!(radio.bytes_sent, Some(bytes));
    let told_s = radio.airtime_today_s.unwrap();
    assert!(
        (told_s - airtime_us as f64 / 1e6).abs() < 0.01 * told_s,
        "{told_s} s told, {airtime_us} us sent"
    );
    let mut shares_s = 0.0;
    for other in [1, 2] {
        let peer = row(&rows, &format!("n{other}"));
        let heard = peer.bytes_heard.unwrap();
        let sent = sent_by(&field, other).0;
        // Epoch announcements have no sender: any node that has one may repeat it for its owner.
        assert!(heard <= sent && heard * 2 >= sent, "heard {heard} of {sent} bytes");
        assert_eq!((peer.bytes_sent, peer.airtime_today_s), (None, None), "there is no such thing on air");
        shares_s += peer.airtime_share_today_s.unwrap();
    }
    assert!(shares_s > 0.0 && shares_s <= told_s, "shares of {shares_s} s of {told_s} s");

    field.restart(0).unwrap();
    let again = links(&mut field, 0);
    let kept = row(&again, "(all who listen)").bytes_sent.unwrap();
    assert!(kept <= bytes && kept * 2 > bytes, "{kept} of {bytes} bytes remembered");
    // The day ends.
    field.run(24 * HOUR);
    let tomorrow = row(&links(&mut field, 0), "(all who listen)").bytes_sent.unwrap();
    let day = 24 * HOUR;
    let midnight = Mono::ZERO + day * (field.now().since(Mono::ZERO) / day);
    let since_midnight: usize =
        since(&field, midnight).filter(|on_air| on_air.radio.0 == 0).map(|on_air| on_air.frame.len()).sum();
    assert_eq!(tomorrow, since_midnight as u64);
}

/// A long document shows on both sides how far it is, and about how long it will take.
#[test]
fn a_long_document_shows_how_far_it_is() {
    let mut field = sf7(107);
    friends(&mut field, 2);
    create(&mut field, 0, "notes");
    in_step_of_nothing(&mut field);
    let long: String = (0..9_000_u64).map(|n| char::from(b'a' + (n * n * 7 % 8_191 % 26) as u8)).collect();
    set(&mut field, 0, "notes", "long", long);
    field.run(3 * SECOND);
    let rows = links(&mut field, 0);
    let out = row(&rows, "(all who listen)").transfers.clone();
    let first = out.first().unwrap_or_else(|| panic!("nothing on its way: {rows:#?}")).clone();
    assert_eq!((first.way, first.document.as_deref()), ("out", Some("n0/notes by n0")));
    let about_s = first.about_s.unwrap();
    let rows = links(&mut field, 1);
    let into = row(&rows, "(all who listen)").transfers.clone();
    assert_eq!((into[0].way, into[0].from.as_deref()), ("in", Some("n0")), "{into:?}");
    assert!(into[0].frames_done > 0 && into[0].frames_done < into[0].frames);
    let Some(Ok(Reply::Status(status))) = field.ask(0, Query::Status) else { panic!("a status") };
    assert_eq!(status.transfers.len(), out.len());

    field.run(SECOND);
    let later = row(&links(&mut field, 0), "(all who listen)").transfers[0].clone();
    assert!(later.frames_done > first.frames_done && later.frames == first.frames, "{first:?} {later:?}");
    let from = field.now() - SECOND;
    in_step(&mut field, &[0, 1], "notes", "long", HOUR);
    let took_s = field.now().since(from).ms() as f64 / 1_000.0;
    assert!(about_s > took_s / 3.0 && about_s < took_s * 3.0, "told {about_s} s, took {took_s} s");
    field.run(MINUTE);
    for node in [0, 1] {
        assert!(row(&links(&mut field, node), "(all who listen)").transfers.is_empty());
    }
}

fn in_step_of_nothing(field: &mut Field) {
    set(field, 0, "notes", "first", 0);
    in_step(field, &[0, 1], "notes", "first", HOUR);
    field.run(5 * MINUTE);
}

/// Every peer is shown: a peer without a link as such, and an untrusted peer with the reason why nothing is sent to it.
#[test]
fn every_peer_has_a_row_with_the_reason() {
    let mut field = sf7(108);
    friends(&mut field, 3);
    let trust = Admin::Trust { peer: "n2".into(), level: TrustLevel::Untrusted };
    assert!(matches!(field.ask(0, trust), Some(Ok(_))));
    let radio = field.radio(1);
    field.air.set_on(radio, false);
    field.run(12 * HOUR);
    let rows = links(&mut field, 0);
    assert_eq!(row(&rows, "n1").state, "silent");
    assert!(row(&rows, "n1").why.contains("heartbeats missed"), "{rows:#?}");
    assert!(row(&rows, "n2").why.contains("untrusted"), "{rows:#?}");
    field.restart(0).unwrap();
    let rows = links(&mut field, 0);
    let away = row(&rows, "n1");
    assert_eq!((away.link.as_str(), away.state), ("none", "away"));
    assert!(away.why.contains("no heartbeat by radio"), "{}", away.why);
}

/// While airtime is short, the view shows for how long, and what each class keeps of it.
#[test]
fn short_airtime_shows_when_the_next_document_leaves_and_what_each_class_keeps() {
    let mut config = FieldConfig::new(109, PhyRate::lora(Modulation::SF7_125));
    config.ledger = LedgerConfig { soft_cap_permille: 2, ..LedgerConfig::new(Some(UNLIMITED)) };
    let (mut field, a, _) = parted(config);
    let mut why = String::new();
    for n in 0..300 {
        // Of all lengths, so that none of the rest fits in the end.
        let words = "some words that take their time on air".get(..38 - n % 38).unwrap();
        set(&mut field, a, "notes", &format!("k{}", n % 60), words);
        field.run(10 * SECOND);
        why = row(&links(&mut field, a), "(all who listen)").why.clone();
        if why.contains("airtime is short") {
            break;
        }
    }
    assert!(why.contains("airtime is short: the next document leaves in "), "{why}");
    assert!(!why.contains("the next state"), "documents do not spend what states have: {why}");
    let Some(Ok(Reply::Airtime(radios))) = field.ask(a, Query::Airtime) else { panic!("airtime") };
    let radio = &radios[0];
    let of = |what: &str| radio.by_priority.iter().find(|row| row.what == what).unwrap();
    let budget_s = radio.budget_hour_s.unwrap();
    assert!((budget_s - 7.2).abs() < 1e-6);
    assert!((of("upkeep").budget_hour_s.unwrap() - 1.44).abs() < 1e-6);
    let shares: f64 = radio.by_priority.iter().map(|row| row.share_s.unwrap()).sum();
    let document = of("document");
    assert!((document.share_s.unwrap() - budget_s * 0.2).abs() < 1e-6, "{document:?}");
    // All that is no class's share may be a document's.
    let at_most_s = document.budget_hour_s.unwrap();
    assert!((at_most_s - (budget_s - shares + document.share_s.unwrap())).abs() < 1e-6, "{document:?}");
    assert!(document.leaves_in_s.unwrap() > 0.0 && document.every_s.unwrap() > 10.0, "{document:?}");
    for row in &radio.by_priority {
        assert!(row.left_s + 1e-6 >= row.share_left_s, "a share is there at once: {row:?}");
        assert!((row.share_left_s - (row.share_s.unwrap() - row.hour_s).max(0.0)).abs() < 1e-6, "{row:?}");
    }
    let wait_s = radio.state_leaves_in_s.unwrap();
    assert!(of("state").leaves_in_s == Some(wait_s), "{radio:#?}");
    let peers: f64 = radio.by_peer.iter().map(|row| row.today_s).sum();
    let accounts: f64 = radio.by_account.iter().map(|row| row.today_s).sum();
    assert!(peers > 0.0 && peers <= accounts, "{peers} s for peers, {accounts} s in all");
    assert_eq!(radio.regulation.as_deref(), Some("none"));
}
