//! What a transfer costs, counted over all frames on the air, questions included.

use crate::KIND;
use crate::cell::{Cell, FRAME_AIRTIME_MS, Faults, HOUR_MS, content};

/// Bytes of a frame beside its payload.
const FRAME_OVERHEAD: usize = 14;
const LOSSES: [u16; 5] = [0, 50, 150, 300, 500];

/// What a message costs on the air, and how.
#[derive(Clone, Copy)]
struct Setting {
    listeners: usize,
    length: usize,
    frame_bytes: usize,
    /// Mean length of a run of losses.
    burst_frames: u16,
    /// Whether the sender knows the loss.
    known: bool,
    runs: u64,
}

/// Means over the runs in which all listeners got it.
struct Cost {
    fragments: f64,
    nacks: f64,
    /// Time on air over that of a full frame.
    frame_times: f64,
    /// Listeners that heard nothing at all, so that the sender above must notice; in thousandths.
    unheard_permille: u64,
}

impl Setting {
    fn payload_max(&self) -> usize {
        self.frame_bytes - FRAME_OVERHEAD
    }

    /// Frames that the loss alone would take, were there no headers and all known at once.
    fn ideal(&self, loss_permille: u16) -> f64 {
        let least = self.length.div_ceil(self.payload_max());
        (least as f64 / (1.0 - f64::from(loss_permille) / 1000.0)).ceil()
    }

    fn cost(&self, loss_permille: u16) -> Cost {
        let (mut fragments, mut nacks, mut airtime_ms, mut whole, mut unheard) = (0, 0, 0, 0_u64, 0);
        for run in 0..self.runs {
            let faults = Faults { burst_frames: self.burst_frames, ..Faults::loss(loss_permille) };
            let mut cell = Cell::new(self.listeners, faults, 1_000 * u64::from(loss_permille) + run);
            cell.faults.loss_permille = if self.known { loss_permille } else { 0 };
            cell.offer(KIND, &content(self.length, run), self.payload_max());
            cell.faults.loss_permille = loss_permille;
            cell.run_until(12 * HOUR_MS);
            let deaf = cell.listeners.iter().filter(|listener| listener.heard == 0).count();
            unheard += deaf as u64;
            let done = cell.listeners.iter().filter(|listener| listener.delivered.len() == 1).count();
            assert_eq!(done + deaf, self.listeners);
            if deaf == 0 {
                whole += 1;
                fragments += cell.fragments;
                nacks += cell.nacks;
                airtime_ms += cell.airtime_ms;
            }
        }
        let mean = |sum: f64| sum / whole as f64;
        Cost {
            fragments: mean(fragments as f64),
            nacks: mean(nacks as f64),
            frame_times: mean(airtime_ms as f64 / FRAME_AIRTIME_MS as f64),
            unheard_permille: unheard * 1000 / (self.runs * self.listeners as u64),
        }
    }
}

/// Messages of 2 and 3 fragments and of 1, 4 and 64 KiB in frames of 231 bytes; 1 KiB in the smallest frames.
#[test]
fn a_transfer_costs_little_more_than_the_loss_itself() {
    let in_231 =
        |length, runs| Setting { listeners: 1, length, frame_bytes: 231, burst_frames: 1, known: true, runs };
    let settings = [
        ("400 B", in_231(400, 300), 1.4),
        ("600 B", in_231(600, 300), 1.4),
        ("1 KiB", in_231(1_024, 100), 1.3),
        ("4 KiB", in_231(4_096, 60), 1.2),
        ("64 KiB", in_231(65_536, 8), 1.15),
        ("1 KiB", Setting { frame_bytes: 50, ..in_231(1_024, 60) }, 1.4),
    ];
    for (name, setting, most) in settings {
        let mut line = Vec::new();
        for loss in LOSSES {
            let (cost, ideal) = (setting.cost(loss), setting.ideal(loss));
            let unheard = if cost.unheard_permille == 0 {
                String::new()
            } else {
                format!(", {} per mille unheard", cost.unheard_permille)
            };
            line.push(format!(
                "{} % {:.1}+{:.1} (ideal {ideal}{unheard})",
                loss / 10,
                cost.fragments,
                cost.nacks
            ));
            assert!(
                cost.frame_times <= ideal * most + 1.0,
                "{name} at {loss}: {} against {ideal}",
                cost.frame_times
            );
        }
        println!(
            "totals: {name} in frames of {}, mean fragments+NACKs by loss: {}",
            setting.frame_bytes,
            line.join(", ")
        );
    }
}

#[test]
fn losses_in_runs_cost_little_more_than_single_ones() {
    let setting =
        Setting { listeners: 1, length: 4_096, frame_bytes: 231, burst_frames: 4, known: true, runs: 60 };
    let mut line = Vec::new();
    for loss in [50, 150, 300] {
        let (cost, ideal) = (setting.cost(loss), setting.ideal(loss));
        line.push(format!("{} % {:.1}+{:.1} (ideal {ideal})", loss / 10, cost.fragments, cost.nacks));
        assert!(cost.frame_times <= 1.4 * ideal + 1.0, "{} against {ideal} at {loss}", cost.frame_times);
    }
    println!(
        "totals: 4 KiB in frames of 231, losses in runs of 4, mean fragments+NACKs by loss: {}",
        line.join(", ")
    );
}

#[test]
fn a_loss_that_the_sender_does_not_know_costs_questions_more_than_airtime() {
    let setting =
        Setting { listeners: 1, length: 4_096, frame_bytes: 231, burst_frames: 1, known: false, runs: 60 };
    let mut line = Vec::new();
    for loss in [50, 150, 300, 500] {
        let (cost, ideal) = (setting.cost(loss), setting.ideal(loss));
        line.push(format!("{} % {:.1}+{:.1} (ideal {ideal})", loss / 10, cost.fragments, cost.nacks));
        assert!(cost.frame_times <= 1.3 * ideal + 1.0, "{} against {ideal} at {loss}", cost.frame_times);
    }
    println!(
        "totals: 4 KiB in frames of 231, loss not known, mean fragments+NACKs by loss: {}",
        line.join(", ")
    );
}

#[test]
fn many_listeners_cost_far_less_than_as_many_transfers() {
    let one =
        Setting { listeners: 1, length: 4_096, frame_bytes: 231, burst_frames: 1, known: true, runs: 40 };
    let mut line = Vec::new();
    for loss in [0, 50, 150, 300] {
        let (alone, eight) = (one.cost(loss), Setting { listeners: 8, ..one }.cost(loss));
        let times = eight.frame_times / alone.frame_times;
        line.push(format!(
            "{} % {:.1}+{:.1}, {times:.2} times the airtime of one",
            loss / 10,
            eight.fragments,
            eight.nacks
        ));
        assert!(times <= if loss == 0 { 1.001 } else { 1.5 }, "{times} times at {loss}");
    }
    println!("totals: 4 KiB to 8 listeners, mean fragments+NACKs by loss: {}", line.join("; "));
}
