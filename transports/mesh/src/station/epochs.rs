//! Boot epochs: our own, the newest of each peer, which to ask for and which to answer.

use crate::frame::announcement::{EpochAnnouncement, SenderAddress};
use crate::frame::keys::{Alias, BootEpoch, Hint};
use crate::peer::PeerId;
use crate::time::{Millis, Mono};
use std::collections::BTreeMap;

/// Peers whose newest epoch is kept; beyond, those in no audience of ours are forgotten.
pub const HEARD_MAX: usize = 1_024;
/// Senders whose announcement is asked for at once; a further one waits until one is heard or given up.
pub const WANTED_MAX: usize = 32;
/// After asking, the same sender is not asked for again so soon; half as long again each time, up to [`ASK_EVERY_MAX`]. (An announcement
/// is among the longest frames that go out in one piece: where bits go wrong it takes several tries.)
pub const ASK_EVERY: Millis = Millis::from_ms(15_000);
/// How often a sender is asked for that is not heard again: question and answer may be lost.
pub const ASK_TRIES_MAX: u8 = 8;
/// The longest time between two questions.
pub const ASK_EVERY_MAX: Millis = Millis::from_ms(3_600_000);
/// Our announcement is sent on request no more often than this.
pub const ANSWER_EVERY: Millis = Millis::from_ms(10_000);
/// A peer's newest announcement is sent against an older one no more often than this.
pub const CORRECT_EVERY: Millis = Millis::from_ms(300_000);
/// Our announcement is repeated after so many frames and so long, both doubled each time up to these. A peer that missed it asks for it: this
/// is for who hears us and is not heard.
pub const REPEAT_FRAMES: (u32, u32) = (32, 256);
/// As [`REPEAT_FRAMES`], in time.
pub const REPEAT_AFTER: (Millis, Millis) = (Millis::from_secs(60), Millis::from_secs(3_600));
/// A repeated announcement waits until we have sent nothing for so long: what we sent may be answered, and the answer goes first. A station
/// that always has something to send repeats it after twice as many frames.
pub const REPEAT_QUIET: Millis = Millis::from_ms(60_000);
/// On hearing a newer epoch of ours, a new one is begun no more often than this: two copies of one disk that are both
/// running push each other on for ever.
pub const RENEW_EVERY: Millis = Millis::from_ms(600_000);
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
    sent_at: Option<Mono>,
    frames_since: u32,
    /// When our last frame went out.
    frame_at: Mono,
    repeats: u32,
    /// A peer asked: when to answer.
    answer_at: Option<Mono>,
    /// When it was begun, if another of ours was heard in this run.
    renewed_at: Option<Mono>,
}

impl OwnEpoch {
    pub(super) fn new(epoch: BootEpoch) -> Self {
        OwnEpoch {
            epoch,
            durable: false,
            announcement: None,
            sent_at: None,
            frames_since: 0,
            frame_at: Mono::ZERO,
            repeats: 0,
            answer_at: None,
            renewed_at: None,
        }
    }

    /// The one after, in the same run.
    pub(super) fn renewed(epoch: BootEpoch, now: Mono) -> Self {
        OwnEpoch { renewed_at: Some(now), ..Self::new(epoch) }
    }

    /// Whether the announcement was sent at all: it goes before everything else.
    pub(super) fn is_announced(&self) -> bool {
        self.sent_at.is_some()
    }

    /// When the announcement is to be sent again, if nothing changes; on request not before `free_at`.
    pub(super) fn due(&self, free_at: Mono) -> Option<Mono> {
        let sent_at = self.sent_at?;
        let doubled = 1_u64 << self.repeats.min(16);
        let frames = u64::from(REPEAT_FRAMES.0).saturating_mul(doubled).min(REPEAT_FRAMES.1.into());
        let wait = (REPEAT_AFTER.0 * doubled).min(REPEAT_AFTER.1);
        let since = u64::from(self.frames_since);
        let quiet = if since < 2 * frames { self.frame_at + REPEAT_QUIET } else { Mono::ZERO };
        let repeat = (since >= frames).then(|| quiet.max(sent_at + wait));
        repeat.into_iter().chain(self.answer_at.map(|answer_at| answer_at.max(free_at))).min()
    }

    pub(super) fn sent_announcement(&mut self, now: Mono) {
        if self.is_announced() && self.answer_at.is_none() {
            self.repeats += 1;
        }
        (self.sent_at, self.frames_since, self.answer_at) = (Some(now), 0, None);
    }

    pub(super) fn sent_frame(&mut self, now: Mono) {
        self.frame_at = now;
        self.frames_since = self.frames_since.saturating_add(1);
    }

    /// A peer asks for our announcement.
    pub(super) fn asked(&mut self, now: Mono) {
        let earliest = self.sent_at.map_or(now, |sent| now.max(sent + ANSWER_EVERY));
        self.answer_at.get_or_insert(earliest);
    }

    /// Whether a peer waits for our announcement.
    pub(super) fn is_asked(&self) -> bool {
        self.answer_at.is_some()
    }

    /// A peer is there that has not understood it; before the first one there is nothing to repeat.
    pub(super) fn announce(&mut self, now: Mono) {
        if self.is_announced() {
            self.answer_at = Some(now);
        }
    }

    /// From when on a further epoch may be begun.
    pub(super) fn renewable_at(&self) -> Mono {
        self.renewed_at.map_or(Mono::ZERO, |renewed| renewed + RENEW_EVERY)
    }
}

/// A sender that cannot be understood.
#[derive(Debug)]
struct WantedAnnouncement {
    /// Of its frame, as it stands in the question.
    epoch_low: u8,
    /// When to ask; `None` after the last try, until it is heard again.
    due: Option<Mono>,
    tries: u8,
    not_before: Mono,
    wait: Millis,
}

/// The newest announcement of each peer.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    heard: BTreeMap<PeerId, EpochAnnouncement>,
    failures: BTreeMap<PeerId, u8>,
    wanted: BTreeMap<(Alias, Hint), WantedAnnouncement>,
    /// Who announced an epoch that is not its newest: when to answer, and when that was done.
    corrections: BTreeMap<PeerId, (Option<Mono>, Mono)>,
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
        now: Mono,
        peer: PeerId,
        announcement: EpochAnnouncement,
        wait: Millis,
    ) -> EpochNews {
        let news = match self.heard.get(&peer) {
            None => EpochNews::Newer,
            Some(known) if announcement.epoch.number > known.epoch.number => EpochNews::Newer,
            Some(known) if announcement.epoch == known.epoch => EpochNews::Same,
            Some(_) => EpochNews::Older,
        };
        match news {
            EpochNews::Older => self.correct(now, peer, wait),
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

    fn correct(&mut self, now: Mono, peer: PeerId, wait: Millis) {
        let (due, not_before) = self.corrections.entry(peer).or_insert((None, Mono::ZERO));
        due.get_or_insert((now + wait).max(*not_before));
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
    pub(super) fn want(&mut self, now: Mono, address: SenderAddress, wait: Millis) {
        let name = (address.alias, address.hint);
        if self.wanted.len() >= WANTED_MAX && !self.wanted.contains_key(&name) {
            let rested = self.wanted.iter().filter(|(_, wanted)| wanted.due.is_none());
            let oldest = rested.min_by_key(|(_, wanted)| wanted.not_before).map(|(name, _)| *name);
            let Some(oldest) = oldest else { return };
            self.wanted.remove(&oldest);
        }
        let wanted = self.wanted.entry(name).or_insert(WantedAnnouncement {
            epoch_low: address.epoch_low,
            due: None,
            tries: 0,
            not_before: Mono::ZERO,
            wait: ASK_EVERY,
        });
        (wanted.epoch_low, wanted.tries) = (address.epoch_low, 0);
        wanted.due.get_or_insert((now + wait).max(wanted.not_before));
    }

    /// We asked, or heard a peer ask. `jitter`, so that not all who want it try again together.
    pub(super) fn asked(&mut self, now: Mono, address: &SenderAddress, jitter: Millis) {
        if let Some(wanted) = self.wanted.get_mut(&(address.alias, address.hint)) {
            wanted.not_before = now + wanted.wait + jitter;
            wanted.wait = (wanted.wait * 3 / 2).min(ASK_EVERY_MAX);
            wanted.tries = wanted.tries.saturating_add(1);
            wanted.due = (wanted.tries < ASK_TRIES_MAX).then_some(wanted.not_before);
        }
    }

    /// The sender behind these headers was heard.
    pub(super) fn found(&mut self, is_it: impl Fn(Alias, Hint) -> bool) {
        self.wanted.retain(|(alias, hint), _| !is_it(*alias, *hint));
    }

    /// The question that is due.
    pub(super) fn question(&self, now: Mono) -> Option<SenderAddress> {
        let due = |wanted: &WantedAnnouncement| wanted.due.is_some_and(|due| due <= now);
        let (&(alias, hint), wanted) = self.wanted.iter().find(|(_, wanted)| due(wanted))?;
        Some(SenderAddress { epoch_low: wanted.epoch_low, alias, hint })
    }

    /// The correction that is due: whose, and what is known.
    pub(super) fn correction(&self, now: Mono) -> Option<(PeerId, EpochAnnouncement)> {
        let due = |(due, _): &(Option<Mono>, Mono)| due.is_some_and(|due| due <= now);
        let peer = self.corrections.iter().find(|(_, when)| due(when)).map(|(peer, _)| *peer)?;
        Some((peer, *self.heard.get(&peer)?))
    }

    pub(super) fn corrected(&mut self, now: Mono, peer: &PeerId) {
        self.corrections.insert(*peer, (None, now + CORRECT_EVERY));
    }

    /// When the next question or correction is due.
    pub(super) fn due(&self) -> Option<Mono> {
        let questions = self.wanted.values().filter_map(|wanted| wanted.due);
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
