//! What happens because time passes: joining is tried again, quarantined entries take part, tombstones end,
//! invites run out; the engine's own timers.

use crate::layer::{DocumentId, Entry, KeyPath, Kind};
use crate::limits::{FUTURE_BOUND_MS, TOMBSTONE_SWEEP_MS};
use crate::merge::Document;
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
        self.follow_reference_back();
        self.release_quarantined();
        self.take_up_waiting();
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
            self.radios.next_timer(self.now.mono_ms),
            self.recovery.next_timer(self.now.mono_ms),
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
        self.rejudge(|document| {
            document.next_release_ms().is_some_and(|due| due <= reference) && document.release(reference)
        });
    }

    /// Reference time has stepped back, since a fast clock was put right: entries from what is now the future
    /// wait, and our own are stamped anew.
    fn follow_reference_back(&mut self) {
        let reference = self.reference_ms();
        let before = std::mem::replace(&mut self.last_reference_ms, reference);
        if reference.saturating_add(FUTURE_BOUND_MS) >= before {
            return;
        }
        self.rejudge(|document| document.judge_again(reference));
        let me = self.me;
        let signed_ahead =
            |document: &Document| document.layer(&me).is_some_and(|l| l.head().time_ms > reference);
        let maps = self.holdings.documents().filter(|(_, d)| d.kind() == Kind::Map && signed_ahead(d));
        let maps: Vec<DocumentId> = maps.map(|(id, _)| id.clone()).collect();
        let maps: Vec<DocumentId> = maps.into_iter().filter(|id| !self.awaits_own(id)).collect();
        for id in maps {
            // An empty change: the commit stamps what lies ahead.
            self.stage_map(&id, []);
        }
    }

    /// Lets time act on all documents, and tells watchers which read differently.
    fn rejudge(&mut self, mut act: impl FnMut(&mut Document) -> bool) {
        let documents = self.holdings.documents_mut();
        let turned: Vec<DocumentId> =
            documents.filter_map(|(id, document)| act(document).then(|| id.clone())).collect();
        for id in turned {
            self.changed_by_time(&id);
        }
    }

    /// Tells watchers that a document reads differently, though nobody wrote.
    pub(super) fn changed_by_time(&mut self, id: &DocumentId) {
        self.event(Event::Changed(view::ChangedView {
            owner: crate::identity::did(&id.owner),
            name: id.name.as_str().to_owned(),
            author: crate::identity::did(&id.owner),
            sequence: 0,
        }));
    }

    /// Drops own tombstones that are proven done and own entries that a tombstone beats; signs again where
    /// tombstones wait for our signed time.
    fn sweep_tombstones(&mut self) {
        let reference = self.reference_ms();
        let me = self.me;
        let maps = self.holdings.documents().filter(|(id, document)| {
            document.kind() == Kind::Map && self.federation.participates(id) && document.counts(&me)
        });
        let listed =
            |id: &DocumentId| self.federation.audience(&id.owner).map_or(usize::MAX, |a| a.writers() + 1);
        let sweep = |(id, document): (&DocumentId, &Document)| {
            (id.clone(), document.sweep(&me, listed(id), reference))
        };
        let sweeps: Vec<_> = maps.map(sweep).collect();
        for (id, sweep) in sweeps {
            if self.awaits_own(&id) {
                continue;
            }
            if !sweep.drop.is_empty() || sweep.renew {
                self.stage_drops(&id, sweep.drop);
            }
        }
    }

    fn stage_drops(&mut self, id: &DocumentId, keys: Vec<KeyPath>) {
        let drops = keys.into_iter().map(|key| (key, None::<Entry>));
        self.stage_map_below(id, drops);
    }
}
