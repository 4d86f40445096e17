//! What a node tells a person of its radio, against what is true.

use super::*;
use tombolo::node::view::{LinkView, PeerStatusView};
use tombolo_transports::mesh::air::Loss;

/// What `status` says at one node of another.
fn of(field: &mut Field, at: usize, other: usize) -> PeerStatusView {
    let name = format!("n{other}");
    let Some(Ok(Reply::Status(status))) = field.ask(at, Command::Status) else { panic!("a status") };
    status.peers.into_iter().find(|peer| peer.name == name).unwrap()
}

fn links(field: &mut Field, at: usize) -> Vec<LinkView> {
    let Some(Ok(Reply::Links(links))) = field.ask(at, Command::Links) else { panic!("links") };
    links
}

/// Nothing is lacking, or so much, or it is not known; and never a 0 that nobody has counted.
#[test]
fn what_a_listener_lacks_is_counted_or_not_said() {
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

    // Gone: nobody can say what it holds now.
    let heard_until = field.run_until(12 * HOUR, |field| of(field, 0, 1).step.state == "not connected");
    let peer = of(&mut field, 0, 1);
    assert!(heard_until && peer.links.is_empty(), "{peer:?}");
    assert_eq!((peer.step.we_lack, peer.step.they_lack, peer.step.unacknowledged), (None, None, None));
    assert_eq!(peer.step.unknown_since, peer.heard_at);

    field.air.set_on(radio, true);
    assert!(field.run_until(HOUR, |field| of(field, 0, 1).step.state == "in step"));
}

/// What does not go by radio is not counted as held, nor as lacking: it is said that there is such a thing.
#[test]
fn what_does_not_go_by_radio_is_said_to_stay() {
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

/// Whoever is said to lack nothing, and to have acknowledged all, holds all: on any line.
#[test]
fn in_step_is_never_said_of_who_is_not() {
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
