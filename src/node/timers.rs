//! What happens because time passes: joining is tried again, quarantined entries take part, tombstones end,
//! invites run out; the engine's own timers.

use crate::layer::{DocumentId, Entry, KeyPath, Kind};
use crate::limits::TOMBSTONE_SWEEP_MS;
use crate::node::Node;
use crate::node::io::Event;
use crate::node::view;
use crate::sync;

/// After the disk refused, peers' layers are left alone for so long.
pub(super) const TROUBLE_PAUSE_MS: u64 = 5_000;
/// Invites and quarantine are looked after at least this often: they run by reference time, which may move.
const LOOK_AFTER_MS: u64 = 60_000;

impl Node {
    pub(super) fn timers(&mut self) {
        self.engine.handle_input(self.now.mono_ms, sync::Input::Timeout);
        self.retry_joining();
        self.watch_joining();
        self.release_quarantined();
        if self.now.mono_ms >= self.sweep_at {
            self.sweep_at = self.now.mono_ms + TOMBSTONE_SWEEP_MS;
            self.sweep_tombstones();
        }
    }

    pub(super) fn next_timer(&self) -> Option<u64> {
        let times = [
            self.engine.poll_timeout(),
            self.transfers.poll_timeout(),
            self.invites.next_timer(),
            self.next_release(),
            self.joining_open().then(|| self.now.mono_ms + LOOK_AFTER_MS),
            Some(self.sweep_at),
        ];
        times.into_iter().flatten().min()
    }

    fn next_release(&self) -> Option<u64> {
        let due = self.holdings.documents().filter_map(|(_, document)| document.next_release_ms()).min()?;
        let wait = due.saturating_sub(self.reference_ms()).min(LOOK_AFTER_MS);
        Some(self.now.mono_ms + wait.max(1))
    }

    fn release_quarantined(&mut self) {
        let reference = self.reference_ms();
        let mut released = Vec::new();
        for (id, document) in self.holdings.documents_mut() {
            if document.next_release_ms().is_some_and(|due| due <= reference) && document.release(reference) {
                released.push(id.clone());
            }
        }
        for id in released {
            self.event(Event::Changed(view::ChangedView {
                owner: crate::identity::did(&id.owner),
                name: id.name.as_str().to_owned(),
                author: crate::identity::did(&id.owner),
                sequence: 0,
            }));
        }
    }

    /// Drops own tombstones that are proven done and own entries that a tombstone beats; signs again where
    /// tombstones wait for our signed time.
    fn sweep_tombstones(&mut self) {
        let reference = self.reference_ms();
        let me = self.me;
        let maps = self.holdings.documents().filter(|(id, document)| {
            document.kind() == Kind::Map && self.federation.takes_part(id) && document.counts(&me)
        });
        let sweeps: Vec<_> = maps.map(|(id, document)| (id.clone(), document.sweep(&me, reference))).collect();
        for (id, sweep) in sweeps {
            if !sweep.drop.is_empty() || sweep.renew {
                self.stage_drops(&id, sweep.drop);
            }
        }
    }

    fn stage_drops(&mut self, id: &DocumentId, keys: Vec<KeyPath>) {
        let drops = keys.into_iter().map(|key| (key, None::<Entry>));
        self.stage_map(id, drops);
    }
}
