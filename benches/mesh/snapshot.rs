//! What it would cost to broadcast the whole state instead: the simplest protocol that is fair.
//!
//! The state is deterministic CBOR, not signed, as such nodes send it today. It is cut into fragments of the same frames,
//! with the overhead of ours (14 bytes of frame, 4 of fragment). All go out; then each listener that lacks some asks with
//! a bitmap, unless it heard another ask for all it lacks; what was asked for goes out again, until all listeners have
//! everything. Discovery and acknowledgements cost nothing; no frames
//! collide; and of however many changes only the newest state is sent, once.

use crate::report::{Kinds, MeshRow};
use crate::{Case, FRAME_BYTES_MAX};
use std::collections::BTreeSet;
use tombolo_mesh::frame::OVERHEAD_BYTES;
use tombolo_sim::rng::XorShift;

/// Header of a fragment, and of a question about fragments.
const FRAGMENT_BYTES: usize = 4;
/// The time between two frames.
const GAP_MS: u64 = 50;

pub(crate) fn run(case: &Case, state_bytes: usize) -> MeshRow {
    let mut rng = XorShift::new(case.seed | 1);
    let shard = FRAME_BYTES_MAX - OVERHEAD_BYTES - FRAGMENT_BYTES;
    let count = state_bytes.div_ceil(shard);
    let all: BTreeSet<usize> = (0..count).collect();
    let mut lacking = vec![all.clone(); case.listeners];
    let mut row = MeshRow::new("snapshot", case);
    let mut ms = 0;
    let mut send = |row: &mut MeshRow, kind: &'static str, payload: usize| {
        let bytes = payload + FRAGMENT_BYTES + OVERHEAD_BYTES;
        let airtime_us = case.preset.line.frame_us(bytes);
        row.add(Kinds::one(kind, bytes), airtime_us);
        ms += airtime_us / 1_000 + GAP_MS;
    };
    let mut wanted = all;
    while lacking.iter().any(|lacking| !lacking.is_empty()) {
        for index in &wanted {
            send(&mut row, "fragment", shard.min(state_bytes - index * shard));
            for lacking in lacking.iter_mut().filter(|_| !rng.chance(case.loss_percent)) {
                lacking.remove(index);
            }
        }
        wanted = BTreeSet::new();
        let mut overheard = vec![BTreeSet::new(); case.listeners];
        for listener in 0..case.listeners {
            if lacking[listener].is_subset(&overheard[listener]) {
                continue;
            }
            send(&mut row, "nack", count.div_ceil(8));
            if !rng.chance(case.loss_percent) {
                wanted.extend(&lacking[listener]);
            }
            for overheard in overheard.iter_mut().filter(|_| !rng.chance(case.loss_percent)) {
                overheard.extend(&lacking[listener]);
            }
        }
    }
    row.seconds = ms as f64 / 1e3;
    row
}
