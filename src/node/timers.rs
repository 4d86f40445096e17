//! What passing time brings: joining is tried again, quarantined entries take part, tombstones end, invites expire; the
//! engines' own timers.

use crate::federation::invite::{join_secret, token_hash};
use crate::io::{Event, Output};
use crate::layer::DocumentName;
use crate::limits::TOMBSTONE_SWEEP;
use crate::node::Node;
use crate::replica::Restage;
use crate::store::{SETBACK_RECORD, StoreOrigin, StoreWrite};
use crate::time::{Millis, Mono};

/// Invites and quarantine are looked at at least this often: they run by reference time, which may move.
const LOOK_AFTER: Millis = Millis::from_ms(60_000);

impl Node {
    pub(super) fn timers(&mut self) {
        for change in self.core.presence_changes() {
            let view = self.report().presence_event(&change);
            self.core.event(Event::Presence(Box::new(view)));
        }
        self.unicast.timeout(&self.core);
        self.replica.tidy();
        self.note_answers();
        self.repeat_join_calls();
        self.membership.watch_open(&mut self.core);
        self.follow_clock_back();
        let released = self.replica.release_quarantined(self.core.reference());
        self.replica.announce_by_time(&mut self.core, &released);
        self.resume_waiting();
        let mut desk = self.desk().commands;
        desk.offer_notices();
        desk.offer_commands();
        desk.settle_recall();
        desk.take_early();
        let outcomes = self.core.own_document(DocumentName::DEPLOYS);
        if self.commands.inbox.is_news_due(self.core.now())
            && !self.awaits_own(&outcomes)
            && let Some(value) = self.desk().commands.outcomes_due()
        {
            self.replica.recovery_mut().note_written(&outcomes, []);
            self.authoring.staged_mut().put_snapshot(&outcomes, value);
        }
        self.desk().alarms().look();
        let alarms = self.core.own_document(DocumentName::ALARMS);
        if let Some(value) = self.desk().alarms().document_due()
            && !self.awaits_own(&alarms)
        {
            self.replica.recovery_mut().note_written(&alarms, []);
            self.authoring.staged_mut().put_snapshot(&alarms, value);
        }
        let is_sweep_due = self.replica.take_sweep_due(self.core.now(), TOMBSTONE_SWEEP);
        // Where the disk takes no writes, it waits for the next one.
        if is_sweep_due && self.core.gate.read_only().is_none() {
            for sweep in self.replica.due_sweeps(&self.core.me, self.core.reference()) {
                if !self.awaits_own(&sweep.document) {
                    let drops = sweep.drop.into_iter().map(|key| (key, None));
                    self.authoring.staged_mut().put_map_below(&sweep.document, drops);
                }
            }
        }
    }

    /// When `Input::Timeout` is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if let Some(fault) = self.core.gate.fault()
            && fault.memory_is_ahead
        {
            return Some(fault.until);
        }
        let now = self.core.now();
        let release = self.replica.next_release().map(|due| {
            let wait = due.since(self.core.reference()).min(LOOK_AFTER);
            now + wait.max(Millis::from_ms(1))
        });
        let times = [
            self.unicast.poll_timeout(),
            self.core.presence.poll_timeout(),
            self.replica.transfer_timeout(),
            self.membership.next_timer(),
            release,
            self.broadcast.next_timer(now),
            self.replica.recovery().next_timer(now),
            self.membership.is_open(self.core.reference()).then(|| now + LOOK_AFTER),
            Some(self.replica.sweep_at()),
            (!self.replica.layers().is_tidy() || !self.under_way.is_empty()).then_some(now),
            self.authoring.next_slice(now),
            self.core.gate.deferred_due(),
            self.commands.inbox.next_timer(now),
            self.commands.early.next_timer(),
            self.commands.outbox.next_timer(now),
            self.commands.notices.next_timer(now),
            self.watches.next_timer(),
            self.commands.outbox.is_waiting().then(|| now + LOOK_AFTER),
        ];
        times.into_iter().flatten().min()
    }

    /// A store that is newer than its key, or has gone back, is looked at again once peers have answered what they hold.
    fn note_answers(&mut self) {
        if !self.replica.recovery().awaits_answer() {
            return;
        }
        let Some(lacking) = self.report().layers_lacking() else { return };
        let now = self.core.now();
        let ended = self.replica.recovery_mut().peer_answered(now, lacking == 0);
        if ended.is_confirmed {
            for mark in StoreOrigin::Known.marks() {
                self.core.gate.write(mark);
            }
            self.replica.rights_changed();
        }
        if ended.ends_setback {
            let none = 0u64.to_be_bytes().to_vec();
            self.core.gate.write(StoreWrite::PutMeta(SETBACK_RECORD.into(), none));
        }
    }

    /// Calls the inviters whose call is due, over every link and radio.
    fn repeat_join_calls(&mut self) {
        for inviter in self.membership.due_calls(self.core.now()) {
            let Some(call) = self.membership.call(&mut self.core, &self.replica, inviter) else { continue };
            self.broadcast.call(&mut self.core, &self.replica, &call);
            let (addresses, bytes) = (call.addresses, call.request.encode());
            let secret = join_secret(&token_hash(&call.token));
            self.core.gate.output(Output::DialJoin { inviter, addresses, secret, bytes });
        }
    }

    /// Reference time has stepped back, since a fast clock was put right: entries from what is now the future wait, and own ones
    /// get new stamps.
    fn follow_clock_back(&mut self) {
        if !self.core.clock.stepped_back() {
            return;
        }
        let reference = self.core.reference();
        let changed = self.replica.judge_again(reference);
        self.replica.announce_by_time(&mut self.core, &changed);
        let maps = self.replica.maps_signed_ahead(&self.core.me, reference);
        let maps: Vec<_> = maps.into_iter().filter(|id| !self.awaits_own(id)).collect();
        for id in maps {
            // An empty change: the commit stamps what lies ahead.
            self.authoring.staged_mut().put_map(&id, []);
        }
        // A time that was wrong would count as the newest stamp of this node at its next start.
        for (id, value) in self.replica.snapshots_signed_ahead(&self.core.me, reference) {
            self.authoring.staged_mut().restage(Restage::Snapshot(id, value));
        }
    }
}
