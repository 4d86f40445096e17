//! What the station could send by itself, in which order, and when it is worth asking again. It chooses nothing: the layer above
//! merges these candidates with what it has to offer.

use super::outbox::{Item, Meta, Under};
use super::transmit::call_sign_frame;
use super::{STATION_ACCOUNT, Station};
use crate::PeerId;
use crate::airtime::ledger::{Priority, Verdict};
use crate::bulk::fragment::MessageId;
use crate::frame::Kind;
use crate::frame::announcement::{ANNOUNCEMENT_BYTES, EpochAnnouncement, REQUEST_BYTES, SenderAddress};
use crate::frame::keys::Mode;
use crate::time::{Millis, Mono};
use std::collections::VecDeque;

/// Something that could be sent now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    CallSign,
    AnnouncementRest,
    Announcement,
    Question(SenderAddress),
    Correction(PeerId, EpochAnnouncement),
    Queue(Priority),
    Fragment(MessageId),
}

/// Something that the station could send now: listed by [`Station::candidates`], made by [`Station::take`].
#[derive(Clone, Copy, Debug)]
pub struct WorkCandidate {
    pub(super) work: Work,
    pub(super) frame_bytes: usize,
    /// The priorities that it may be charged to, the first that allows it.
    pub(super) priorities: [Priority; 2],
}

/// What cannot be put off goes into the reserved slice where upkeep's is used up.
const UNAVOIDABLE: [Priority; 2] = [Priority::Upkeep, Priority::Control];

impl WorkCandidate {
    fn new(work: Work, frame_bytes: usize, priority: Priority) -> Self {
        WorkCandidate { work, frame_bytes, priorities: [priority; 2] }
    }
}

impl Station {
    /// When [`transmit`](Self::transmit) is worth calling again, if nothing else happens; `None` for never.
    pub fn poll_timeout(&mut self, now: Mono) -> Option<Mono> {
        if !self.records.is_empty() {
            return Some(now);
        }
        if !self.own.durable {
            return None;
        }
        let candidates = self.listed(now);
        let mut times: Vec<Mono> = Vec::new();
        for candidate in &candidates {
            let airtime_us = self.line.frame_us(candidate.frame_bytes);
            let leaves =
                candidate.priorities.map(|priority| self.ledger.leaves_in(now, airtime_us, priority));
            times.extend(leaves.into_iter().flatten().min().map(|wait| now + wait));
        }
        let free_at = self.outbox.provoked.free_at();
        let provoked = self.epochs.due().map(|due| due.max(free_at));
        let mut later: Vec<Mono> = self.own.due(free_at).into_iter().chain(provoked).collect();
        later.extend(self.call_sign_due().filter(|_| self.outbox.call.traffic_since));
        later.extend(self.beyond.map(|_| self.own.renewable_at()));
        match self.nack_due(now) {
            Some(due) if due <= now => {
                let airtime_us = self.line.frame_us(self.frame_bytes_max);
                let leaves_in = self.ledger.leaves_in(now, airtime_us, Priority::Control);
                // Never before the next millisecond: one NACK at a time is taken up.
                times.extend(leaves_in.map(|wait| now + wait.max(Millis::from_ms(1))));
            }
            due => later.extend(due),
        }
        times.extend(later.into_iter().filter(|due| *due > now));
        times.into_iter().min()
    }

    /// When there is something to ask or to answer about long messages, and airtime set apart for it.
    fn nack_due(&mut self, now: Mono) -> Option<Mono> {
        let due = self.sender.nack_due(now).into_iter().chain(self.listener.poll_timeout()).min()?;
        Some(due.max(self.outbox.nacks.free_at()))
    }

    /// Questions about what is missing, and word on what is there no more; one waits at a time.
    pub(super) fn collect_nacks(&mut self, now: Mono) {
        let airtime_us = self.line.frame_us(self.frame_bytes_max);
        if self.outbox.has_nack()
            || self.outbox.nacks.free_at() > now
            || self.ledger.verdict(now, airtime_us, Priority::Control) != Verdict::Now
        {
            return;
        }
        let payload_max = self.payload_bytes_max();
        let nack = self.listener.poll_nack(now, payload_max).or_else(|| self.sender.poll_nack(now));
        if let Some(nack) = nack {
            let nack_us = self.line.frame_us(self.padded_bytes(nack.payload.len()));
            self.outbox.nacks.spent(now, Millis::from_us_rounded_up(nack_us));
            let (channel, priority, account) = (nack.channel, Priority::Control, STATION_ACCOUNT);
            // Under the key that who is meant speaks under: it may not have another.
            let heard_under = self.channels.heard_under(&channel, &nack.to);
            let heard_under =
                heard_under.filter(|epoch| self.channels.key_of_epoch(&channel, *epoch).is_some());
            let under = heard_under.map_or(Under::Present, Under::Epoch);
            let meta = Meta { channel, priority, account, under };
            self.outbox
                .push(priority, Item::Sealed { channel, kind: Kind::NACK, payload: nack.payload, meta });
        }
    }

    /// What the station could send now, the most urgent first, whether or not the ledger allows it. Empty until the record of
    /// the boot epoch is durable. The list holds for the first frame that is taken from it.
    pub fn candidates(&mut self, now: Mono) -> Vec<WorkCandidate> {
        if !self.own.durable {
            return Vec::new();
        }
        self.collect_nacks(now);
        self.listed(now)
    }

    /// The first of its priorities under which a candidate may leave now.
    pub(super) fn legal_as(&mut self, now: Mono, candidate: &WorkCandidate) -> Option<Priority> {
        let airtime_us = self.line.frame_us(candidate.frame_bytes);
        let legal = |priority: &Priority| self.ledger.verdict(now, airtime_us, *priority) == Verdict::Now;
        candidate.priorities.into_iter().find(legal)
    }

    /// Where the call sign or our announcement must go first, that alone.
    fn listed(&self, now: Mono) -> Vec<WorkCandidate> {
        let first = |work, frame_bytes| vec![WorkCandidate { work, frame_bytes, priorities: UNAVOIDABLE }];
        let work = self.work(now);
        let call_due = match self.call_sign_due() {
            Some(due) => now >= due && (self.outbox.call.traffic_since || !work.is_empty()),
            None => self.call_sign.is_some() && !work.is_empty(),
        };
        if let Some(call_sign) = self.call_sign.as_ref().filter(|_| call_due) {
            return first(Work::CallSign, call_sign_frame(call_sign, self.frame_bytes_min).len());
        }
        if let Some(rest) = self.outbox.announcement.front() {
            return first(Work::AnnouncementRest, rest.len());
        }
        let announced = self.mode == Mode::SignedClear || self.own.is_announced();
        if announced || !work.iter().any(|candidate| self.is_sealed(&candidate.work)) {
            return work;
        }
        // What is sealed cannot be understood before our announcement, which therefore takes its place.
        let clear = work.into_iter().filter(|candidate| !self.is_sealed(&candidate.work));
        first(Work::Announcement, ANNOUNCEMENT_BYTES.min(self.fit.frame_bytes()))
            .into_iter()
            .chain(clear)
            .collect()
    }

    fn is_sealed(&self, work: &Work) -> bool {
        match work {
            Work::Queue(priority) => {
                let front = self.outbox.queues.get(priority).and_then(VecDeque::front);
                matches!(front, Some(Item::Sealed { .. }))
            }
            Work::Fragment(_) => true,
            Work::CallSign
            | Work::AnnouncementRest
            | Work::Announcement
            | Work::Question(_)
            | Work::Correction(..) => false,
        }
    }

    fn call_sign_due(&self) -> Option<Mono> {
        self.outbox.call.due(self.call_sign.as_ref()?)
    }

    fn work(&self, now: Mono) -> Vec<WorkCandidate> {
        let mut work = Vec::new();
        for priority in Priority::ALL {
            if let Some(item) = self.outbox.queues.get(&priority).and_then(VecDeque::front) {
                work.push(WorkCandidate::new(Work::Queue(priority), self.frame_bytes(item), priority));
            }
            if priority == Priority::Upkeep {
                work.extend(self.upkeep(now));
            }
            let of_priority = self.sender.waiting().filter(|waiting| {
                self.outbox.meta(waiting.message).map_or(Priority::Bulk, |meta| meta.priority) == priority
            });
            // The one with the fewest to go: a short one does not wait behind a long one.
            if let Some(waiting) = of_priority.min_by_key(|waiting| waiting.fragments) {
                let frame_bytes = self.padded_bytes(waiting.payload_bytes);
                // Who asks is not known for certain: repairs leave to what is new what bulk leaves.
                let charged_as = if waiting.repair { Priority::Bulk } else { priority };
                work.push(WorkCandidate::new(Work::Fragment(waiting.message), frame_bytes, charged_as));
            }
        }
        work
    }

    fn upkeep(&self, now: Mono) -> impl Iterator<Item = WorkCandidate> {
        let sealed = self.mode == Mode::Encrypted;
        let announcement_bytes = ANNOUNCEMENT_BYTES.min(self.fit.frame_bytes());
        let free_at = self.outbox.provoked.free_at();
        let is_free = free_at <= now;
        let own = self.own.due(free_at).is_some_and(|due| due <= now);
        let own = own.then(|| WorkCandidate::new(Work::Announcement, announcement_bytes, Priority::Upkeep));
        let question = self.epochs.question(now).filter(|_| is_free).map(Work::Question);
        let question_bytes = REQUEST_BYTES.max(self.frame_bytes_min);
        let question = question.map(|work| WorkCandidate::new(work, question_bytes, Priority::Upkeep));
        let correction = self
            .epochs
            .correction(now)
            .filter(|_| is_free)
            .map(|(peer, announcement)| Work::Correction(peer, announcement));
        let correction =
            correction.map(|work| WorkCandidate::new(work, announcement_bytes, Priority::Upkeep));
        // Corrections are the rarest, and a peer is locked out without them: questions, which any station can provoke, come after.
        correction.into_iter().chain(question).chain(own).filter(move |_| sealed)
    }

    fn frame_bytes(&self, item: &Item) -> usize {
        match item {
            Item::Sealed { payload, .. } => self.padded_bytes(payload.len()),
            Item::Raw { frame, .. } => frame.len(),
        }
    }
}
