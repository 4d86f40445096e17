//! What a transfer costs, counted over all frames on the air, questions included.

use crate::KIND;
use crate::cell::{Cell, FRAME_AIRTIME_MS, Faults, HOUR_MS, content};

/// Payload of a fragment in a frame of 231 bytes.
const PAYLOAD_MAX: usize = 231 - 14;

/// Mean fragments and questions of one message, over `runs` seeds in which all listeners got it.
fn mean(listeners: usize, length: usize, loss_permille: u16, runs: u64) -> (f64, f64, f64) {
    let (mut fragments, mut nacks, mut airtime_ms, mut whole) = (0, 0, 0, 0);
    for seed in 0..runs {
        let mut cell =
            Cell::new(listeners, Faults::loss(loss_permille), 1_000 * u64::from(loss_permille) + seed);
        cell.offer(KIND, &content(length, seed), PAYLOAD_MAX);
        cell.run_until(12 * HOUR_MS);
        if cell.listeners.iter().all(|listener| listener.delivered.len() == 1) {
            whole += 1;
            fragments += cell.fragments;
            nacks += cell.nacks;
            airtime_ms += cell.airtime_ms;
        }
    }
    // Where a listener hears nothing at all, the sender above must notice: not counted here.
    assert!(whole as u64 * 10 >= runs * 9, "{whole} of {runs}");
    let per = |sum: f64| sum / f64::from(whole);
    (per(fragments as f64), per(nacks as f64), per(airtime_ms as f64 / FRAME_AIRTIME_MS as f64))
}

#[test]
fn a_transfer_costs_little_more_than_the_loss_itself() {
    for (name, length, runs, most) in
        [("1 KiB", 1_024, 60, 1.6), ("4 KiB", 4_096, 40, 1.35), ("64 KiB", 65_536, 4, 1.2)]
    {
        let mut line = Vec::new();
        for loss in [0, 50, 150, 300, 500_u16] {
            let (fragments, nacks, frame_times) = mean(1, length, loss, runs);
            let least = length.div_ceil(PAYLOAD_MAX);
            let ideal = (least as f64 / (1.0 - f64::from(loss) / 1000.0)).ceil();
            line.push(format!("{} % {fragments:.1}+{nacks:.1} (ideal {ideal})", loss / 10));
            assert!(frame_times <= ideal * most + 1.0, "{name} at {loss}: {frame_times} against {ideal}");
        }
        println!("totals: {name} in 231-byte frames, fragments+NACKs by loss: {}", line.join(", "));
    }
}

#[test]
fn many_listeners_cost_far_less_than_as_many_transfers() {
    let mut line = Vec::new();
    for loss in [0, 50, 150, 300_u16] {
        let (_, _, one) = mean(1, 4_096, loss, 20);
        let (fragments, nacks, eight) = mean(8, 4_096, loss, 20);
        line.push(format!(
            "{} % {fragments:.1}+{nacks:.1}, {:.2} times one listener's",
            loss / 10,
            eight / one
        ));
        assert!(eight <= 2.2 * one, "{eight} against {one} at {loss}");
        assert!(loss > 0 || eight <= 1.001 * one);
    }
    println!("totals: 4 KiB to 8 listeners, fragments+NACKs by loss: {}", line.join("; "));
}
