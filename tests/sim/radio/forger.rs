//! A member seals frames in another's name, with counters of its choice, where that one does not hear it.

use super::*;
use tombolo_mesh::station::FrameRejection;
use tombolo_sim::rng::Rng;

fn refused(field: &mut Field, at: usize, why: FrameRejection) -> u64 {
    let Some(Ok(Reply::Status(status))) = field.ask(at, Query::Status) else { panic!("a status") };
    let why = why.to_string();
    status.rejections.iter().filter(|(name, _)| name.contains(&why)).map(|(_, count)| *count).sum()
}

/// Three friends; what the third sends does not reach the first, whose name it uses.
fn with_forger(seed: u64) -> Field {
    let mut field = sf7(seed);
    friends(&mut field, 3);
    create(&mut field, 0, "notes");
    set(&mut field, 0, "notes", "first", 1);
    in_step(&mut field, &[0, 1, 2], "notes", "first", HOUR);
    let (victim, forger) = (field.radio(0), field.radio(2));
    field.air.set_hears(forger, victim, false);
    field
}

fn forge(field: &mut Field, kind: u8, counter: u32) {
    let frame = field.forge(2, 0, kind, counter, &[0xff; 12]).expect("the forger has the key");
    let (now, forger) = (field.now(), field.radio(2));
    let _ = field.air.transmit(now, forger, frame);
}

#[test]
fn what_an_author_signs_gets_through_whatever_a_member_forges_in_its_name() {
    for seed in 161..164 {
        let mut field = with_forger(seed);
        let mut rng = Rng::new(seed);
        for n in 0..10 {
            for _ in 0..6 {
                let kind = 5 + rng.below(5) as u8;
                let counter = match rng.below(3) {
                    0 => rng.below(200) as u32,
                    1 => rng.below(60_000) as u32,
                    _ => rng.bits() as u32,
                };
                forge(&mut field, kind, counter);
                field.run(2 * SECOND);
            }
            set(&mut field, 0, "notes", &format!("k{n}"), n);
            in_step(&mut field, &[0, 1], "notes", &format!("k{n}"), 30 * MINUTE);
        }
        assert!(refused(&mut field, 1, FrameRejection::LedAway) > 0);
        // And the other way, once there is peace.
        set(&mut field, 1, "notes", "answer", "as ever");
        in_step(&mut field, &[0, 1, 2], "notes", "answer", 2 * HOUR);
    }
}

/// As long as the forger's counters were the newest ones when the listener lost its power.
#[test]
fn a_restart_on_a_forged_counter_locks_no_peer_out() {
    let mut field = with_forger(171);
    for counter in [20_000, 25_000, 30_000] {
        forge(&mut field, 7, counter);
        field.run(2 * SECOND);
    }
    field.restart(1).unwrap();
    field.run(MINUTE);
    for n in 0..10 {
        set(&mut field, 0, "notes", &format!("k{n}"), n);
        field.run(MINUTE);
    }
    in_step(&mut field, &[0, 1], "notes", "k9", HOUR);
}
