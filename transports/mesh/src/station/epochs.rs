//! Boot epochs: our own, the newest of each peer, which to ask for and which to answer.

use crate::frame::announcement::{EpochAnnouncement, SenderAddress};
use crate::frame::keys::{Alias, BootEpoch, Hint};
use crate::peer::PeerId;
use std::collections::BTreeMap;

/// Peers whose newest epoch is kept; beyond, those in no audience of ours are forgotten.
pub const HEARD_MAX: usize = 1_024;
/// Senders whose announcement is asked for at once; a further one waits until one is heard or given up.
pub const WANTED_MAX: usize = 32;
/// After asking, the same sender is not asked for again so soon; half as long again each time, up to [`ASK_EVERY_MAX_MS`]. (An announcement
/// is among the longest frames that go out in one piece: where bits go wrong it takes several tries.)
pub const ASK_EVERY_MS: u64 = 15_000;
/// How often a sender is asked for that is not heard again: question and answer may be lost.
pub const ASK_TRIES_MAX: u8 = 8;
/// The longest time between two questions.
pub const ASK_EVERY_MAX_MS: u64 = 3_600_000;
/// Our announcement is sent on request no more often than this.
pub const ANSWER_EVERY_MS: u64 = 10_000;
/// A peer's newest announcement is sent against an older one no more often than this.
pub const CORRECT_EVERY_MS: u64 = 300_000;
/// Our announcement is repeated after so many frames and so long, both doubled each time up to these. A peer that missed it asks for it: this
/// is for who hears us and is not heard.
pub const REPEAT_FRAMES: (u32, u32) = (32, 256);
/// As [`REPEAT_FRAMES`], in milliseconds.
pub const REPEAT_MS: (u64, u64) = (60_000, 3_600_000);
/// A repeated announcement waits until we have sent nothing for so long: what we sent may be answered, and the answer goes first. A station
/// that always has something to send repeats it after twice as many frames.
pub const REPEAT_QUIET_MS: u64 = 60_000;
/// On hearing a newer epoch of ours, a new one is begun no more often than this: two copies of one disk that are both
/// running push each other on for ever.
pub const RENEW_EVERY_MS: u64 = 600_000;
/// A sender whose frames fail so often in a row is asked where its counter stands.
pub const FAILURES_MAX: u8 = 3;

/// Our own epoch and when its announcement goes out.
#[derive(Debug)]
pub(super) struct OwnEpoch {
    pub(super) epoch: BootEpoch,
    /// It is on disk; before, nothing is sent.
    pub(super) durable: bool,
    /// As it was signed last.
    pub(super) announcement: Option<EpochAnnouncement>,
    /// When it was sent last.
    sent_ms: Option<u64>,
    frames_since: u32,
    /// When our last frame went out.
    frame_ms: u64,
    repeats: u32,
    /// A peer asked: when to answer.
    answer_ms: Option<u64>,
    /// When it was begun, if another of ours was heard in this run.
    renewed_ms: Option<u64>,
}

impl OwnEpoch {
    pub(super) fn new(epoch: BootEpoch) -> Self {
        OwnEpoch {
            epoch,
            durable: false,
            announcement: None,
            sent_ms: None,
            frames_since: 0,
            frame_ms: 0,
            repeats: 0,
            answer_ms: None,
            renewed_ms: None,
        }
    }

    /// The one after, in the same run.
    pub(super) fn renewed(epoch: BootEpoch, now_ms: u64) -> Self {
        OwnEpoch { renewed_ms: Some(now_ms), ..Self::new(epoch) }
    }

    /// Whether the announcement was sent at all: it goes before everything else.
    pub(super) fn is_announced(&self) -> bool {
        self.sent_ms.is_some()
    }

    /// When the announcement is to be sent again, if nothing changes; on request not before `free_ms`.
    pub(super) fn due_ms(&self, free_ms: u64) -> Option<u64> {
        let sent_ms = self.sent_ms?;
        let doubled = 1_u64 << self.repeats.min(16);
        let frames = u64::from(REPEAT_FRAMES.0).saturating_mul(doubled).min(REPEAT_FRAMES.1.into());
        let wait_ms = (REPEAT_MS.0 * doubled).min(REPEAT_MS.1);
        let since = u64::from(self.frames_since);
        let quiet_ms = if since < 2 * frames { self.frame_ms + REPEAT_QUIET_MS } else { 0 };
        let repeat_ms = (since >= frames).then(|| quiet_ms.max(sent_ms + wait_ms));
        repeat_ms.into_iter().chain(self.answer_ms.map(|answer_ms| answer_ms.max(free_ms))).min()
    }

    pub(super) fn sent_announcement(&mut self, now_ms: u64) {
        if self.is_announced() && self.answer_ms.is_none() {
            self.repeats += 1;
        }
        (self.sent_ms, self.frames_since, self.answer_ms) = (Some(now_ms), 0, None);
    }

    pub(super) fn sent_frame(&mut self, now_ms: u64) {
        self.frame_ms = now_ms;
        self.frames_since = self.frames_since.saturating_add(1);
    }

    /// A peer asks for our announcement.
    pub(super) fn asked(&mut self, now_ms: u64) {
        let earliest = self.sent_ms.map_or(now_ms, |sent| now_ms.max(sent + ANSWER_EVERY_MS));
        self.answer_ms.get_or_insert(earliest);
    }

    /// Whether a peer waits for our announcement.
    pub(super) fn is_asked(&self) -> bool {
        self.answer_ms.is_some()
    }

    /// A peer is there that has not understood it; before the first one there is nothing to repeat.
    pub(super) fn announce(&mut self, now_ms: u64) {
        if self.is_announced() {
            self.answer_ms = Some(now_ms);
        }
    }

    /// From when on a further epoch may be begun.
    pub(super) fn renewable_ms(&self) -> u64 {
        self.renewed_ms.map_or(0, |renewed| renewed + RENEW_EVERY_MS)
    }
}

/// A sender that cannot be understood.
#[derive(Debug)]
struct WantedAnnouncement {
    /// Of its frame, as it stands in the question.
    epoch_low: u8,
    /// When to ask; `None` after the last try, until it is heard again.
    due_ms: Option<u64>,
    tries: u8,
    not_before_ms: u64,
    wait_ms: u64,
}

/// The newest announcement of each peer.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    heard: BTreeMap<PeerId, EpochAnnouncement>,
    failures: BTreeMap<PeerId, u8>,
    wanted: BTreeMap<(Alias, Hint), WantedAnnouncement>,
    /// Who announced an epoch that is not its newest: when to answer, and when that was done.
    corrections: BTreeMap<PeerId, (Option<u64>, u64)>,
}

/// What an announcement was, compared with what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpochNews {
    /// The announced epoch is newer than the known one.
    Newer,
    /// The one that is known, perhaps with a later counter.
    Same,
    /// The sender has announced a newer epoch before.
    Older,
}

impl Epochs {
    pub(super) fn new(heard: BTreeMap<PeerId, EpochAnnouncement>) -> Self {
        Epochs { heard, ..Self::default() }
    }

    pub(super) fn newest(&self, peer: &PeerId) -> Option<&EpochAnnouncement> {
        self.heard.get(peer)
    }

    /// Whether these very bytes were verified before.
    pub(super) fn is_known(&self, announcement: &EpochAnnouncement) -> Option<PeerId> {
        self.heard.iter().find(|(_, known)| *known == announcement).map(|(peer, _)| *peer)
    }

    /// Takes an announcement that `peer` signed.
    pub(super) fn take(
        &mut self,
        now_ms: u64,
        peer: PeerId,
        announcement: EpochAnnouncement,
        wait_ms: u64,
    ) -> EpochNews {
        let news = match self.heard.get(&peer) {
            None => EpochNews::Newer,
            Some(known) if announcement.epoch.number > known.epoch.number => EpochNews::Newer,
            Some(known) if announcement.epoch == known.epoch => EpochNews::Same,
            Some(_) => EpochNews::Older,
        };
        match news {
            EpochNews::Older => self.correct(now_ms, peer, wait_ms),
            EpochNews::Newer => {
                self.heard.insert(peer, announcement);
            }
            EpochNews::Same => {
                let known = self.heard.entry(peer).or_insert(announcement);
                if announcement.counter > known.counter {
                    *known = announcement;
                }
            }
        }
        if news != EpochNews::Older {
            self.failures.remove(&peer);
            if let Some((due, _)) = self.corrections.get_mut(&peer) {
                *due = None;
            }
        }
        news
    }

    fn correct(&mut self, now_ms: u64, peer: PeerId, wait_ms: u64) {
        let (due, not_before) = self.corrections.entry(peer).or_insert((None, 0));
        due.get_or_insert((now_ms + wait_ms).max(*not_before));
    }

    /// A frame of `peer` did not open. Whether that makes it time to ask.
    pub(super) fn failed(&mut self, peer: PeerId) -> bool {
        let failures = self.failures.entry(peer).or_default();
        *failures = failures.saturating_add(1);
        *failures >= FAILURES_MAX
    }

    pub(super) fn succeeded(&mut self, peer: &PeerId) {
        self.failures.remove(peer);
    }

    /// A sender cannot be understood: it is asked for, unless it was of late.
    pub(super) fn want(&mut self, now_ms: u64, address: SenderAddress, wait_ms: u64) {
        let name = (address.alias, address.hint);
        if self.wanted.len() >= WANTED_MAX && !self.wanted.contains_key(&name) {
            let rested = self.wanted.iter().filter(|(_, wanted)| wanted.due_ms.is_none());
            let oldest = rested.min_by_key(|(_, wanted)| wanted.not_before_ms).map(|(name, _)| *name);
            let Some(oldest) = oldest else { return };
            self.wanted.remove(&oldest);
        }
        let wanted = self.wanted.entry(name).or_insert(WantedAnnouncement {
            epoch_low: address.epoch_low,
            due_ms: None,
            tries: 0,
            not_before_ms: 0,
            wait_ms: ASK_EVERY_MS,
        });
        (wanted.epoch_low, wanted.tries) = (address.epoch_low, 0);
        wanted.due_ms.get_or_insert((now_ms + wait_ms).max(wanted.not_before_ms));
    }

    /// We asked, or heard a peer ask. `jitter_ms`, so that not all who want it try again together.
    pub(super) fn asked(&mut self, now_ms: u64, address: &SenderAddress, jitter_ms: u64) {
        if let Some(wanted) = self.wanted.get_mut(&(address.alias, address.hint)) {
            wanted.not_before_ms = now_ms + wanted.wait_ms + jitter_ms;
            wanted.wait_ms = (wanted.wait_ms * 3 / 2).min(ASK_EVERY_MAX_MS);
            wanted.tries = wanted.tries.saturating_add(1);
            wanted.due_ms = (wanted.tries < ASK_TRIES_MAX).then_some(wanted.not_before_ms);
        }
    }

    /// The sender behind these headers was heard.
    pub(super) fn found(&mut self, is_it: impl Fn(Alias, Hint) -> bool) {
        self.wanted.retain(|(alias, hint), _| !is_it(*alias, *hint));
    }

    /// The question that is due.
    pub(super) fn question(&self, now_ms: u64) -> Option<SenderAddress> {
        let due = |wanted: &WantedAnnouncement| wanted.due_ms.is_some_and(|due| due <= now_ms);
        let (&(alias, hint), wanted) = self.wanted.iter().find(|(_, wanted)| due(wanted))?;
        Some(SenderAddress { epoch_low: wanted.epoch_low, alias, hint })
    }

    /// The correction that is due: whose, and what is known.
    pub(super) fn correction(&self, now_ms: u64) -> Option<(PeerId, EpochAnnouncement)> {
        let due = |(due, _): &(Option<u64>, u64)| due.is_some_and(|due| due <= now_ms);
        let peer = self.corrections.iter().find(|(_, when)| due(when)).map(|(peer, _)| *peer)?;
        Some((peer, *self.heard.get(&peer)?))
    }

    pub(super) fn corrected(&mut self, now_ms: u64, peer: &PeerId) {
        self.corrections.insert(*peer, (None, now_ms + CORRECT_EVERY_MS));
    }

    /// When the next question or correction is due.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let questions = self.wanted.values().filter_map(|wanted| wanted.due_ms);
        questions.chain(self.corrections.values().filter_map(|(due, _)| *due)).min()
    }

    /// Forgets who is in no audience any more.
    pub(super) fn keep(&mut self, is_member: impl Fn(&PeerId) -> bool) {
        self.failures.retain(|peer, _| is_member(peer));
        self.corrections.retain(|peer, _| is_member(peer));
        if self.heard.len() > HEARD_MAX {
            self.heard.retain(|peer, _| is_member(peer));
        }
    }
}
