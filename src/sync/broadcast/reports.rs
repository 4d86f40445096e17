//! What listeners report, in heartbeats, frontiers and questions.

use tombolo_transports::PeerId;

use crate::sync::broadcast::channel::BroadcastChannel;
use crate::sync::broadcast::message::{Fingerprint, FrontierMessage, Heartbeat};
use crate::sync::broadcast::{ACKNOWLEDGING_READERS_MAX, BroadcastEngine};
use crate::time::{Millis, Mono};

impl BroadcastEngine {
    pub(super) fn received_heartbeat(&mut self, now: Mono, from: PeerId, heartbeat: &Heartbeat) {
        self.present(now, from, Some(Millis::from_secs(heartbeat.next_by_s.into())));
        self.note_sender(&from, &from);
        self.received_fingerprint(now, from, from, Fingerprint::Own(heartbeat.fingerprint));
        for (owner, quarter) in self.reported(from, &heartbeat.others) {
            self.received_fingerprint(now, owner, from, Fingerprint::Other(quarter));
        }
    }

    /// What the heartbeat of a peer reports of the channels of others, by owner. Two owners may have one alias by chance: each of
    /// their channels takes the fingerprint that fits what is known there, or else the first.
    fn reported(&self, from: PeerId, others: &[([u8; 2], u16)]) -> Vec<(PeerId, u16)> {
        let mut reported = Vec::new();
        for (n, (alias, first)) in others.iter().enumerate() {
            if others.iter().take(n).any(|(before, _)| before == alias) {
                continue;
            }
            let all: Vec<u16> =
                others.iter().filter(|(of, _)| of == alias).map(|(_, quarter)| *quarter).collect();
            let named = self.channels.iter().filter(|(_, channel)| channel.aliases.contains(alias));
            for (owner, channel) in named {
                let fits = |quarter: &u16| channel.fits(&from, Fingerprint::Other(*quarter));
                let fitting = all.iter().copied().find(|quarter| all.len() > 1 && fits(quarter));
                reported.push((*owner, fitting.unwrap_or(*first)));
            }
        }
        // An owner reports its own channel in full.
        reported.retain(|(owner, _)| *owner != from);
        reported
    }

    fn received_fingerprint(&mut self, now: Mono, owner: PeerId, from: PeerId, fingerprint: Fingerprint) {
        if owner == self.me {
            self.heartbeats.note_report(&from);
        }
        let delays = self.reply_delays(now, &owner, &from);
        if let Some(channel) = self.channels.get_mut(&owner) {
            channel.received_fingerprint(now, from, fingerprint, &delays);
        }
    }

    pub(super) fn received_frontier(
        &mut self,
        now: Mono,
        owner: PeerId,
        from: PeerId,
        frontier: &FrontierMessage,
    ) {
        self.present(now, from, None);
        if owner == self.me {
            self.heartbeats.note_report(&from);
        }
        self.note_sender(&owner, &from);
        let delays = self.reply_delays(now, &owner, &from);
        let answer = self.answer_wait(now, &owner);
        if let Some(channel) = self.channels.get_mut(&owner) {
            channel.received_frontier(now, from, frontier, &delays, answer);
        }
    }

    pub(super) fn received_question(&mut self, now: Mono, alias: &[u8; 2]) {
        let Some(owner) = self.owner_of(alias) else { return };
        let wait = self.answer_wait(now, &owner);
        if let Some(channel) = self.channels.get_mut(&owner) {
            channel.received_question(now + wait);
        }
        self.heartbeats.note_met(|peer| *peer == owner);
    }

    pub(super) fn received_far_base(&mut self, now: Mono, owner: &PeerId) {
        let Some(channel) = self.channels.get_mut(owner) else { return };
        if !channel.received_far_base() {
            return;
        }
        let readers = channel.readers().clamp(1, ACKNOWLEDGING_READERS_MAX) as u64;
        let wait = self.waits.timing.settle() + self.waits.frames(4 * readers);
        self.heartbeats.acknowledge(now, now + wait, &self.waits.timing);
    }

    pub(super) fn owner_of(&self, alias: &[u8; 2]) -> Option<PeerId> {
        let named = |channel: &BroadcastChannel| channel.aliases.contains(alias);
        self.channels.iter().find(|(_, channel)| named(channel)).map(|(owner, _)| *owner)
    }
}
