//! From a frame to what it means: window, tag, window again; announcements; what waits for them.

use super::epochs::EpochNews;
use super::{CALL_SIGN_BYTES_MAX, FrameRejection, Received, Reception, Station};
use crate::airtime::FRAME_BYTES_MAX;
use crate::bulk::fragment::Progress;
use crate::bulk::repair::Budget;
use crate::frame::announcement::{EpochAnnouncement, OpenFrame, SenderAddress};
use crate::frame::keys::{Mode, SenderCheck};
use crate::frame::window::Seen;
use crate::frame::{ClearFrame, Header, Kind, OVERHEAD_BYTES, PADDED_BYTES_MAX, Window, open};
use crate::peer::PeerId;
use crate::station::channels::SenderCandidate;
use crate::time::{Millis, Mono};
use std::collections::{BTreeSet, VecDeque};

/// Frames kept until their sender's boot epoch is known.
pub const HELD_FRAMES_MAX: usize = 16;
/// For so long: their content is then out of date.
pub const HELD_FOR: Millis = Millis::from_ms(3_600_000);
/// Signatures tried at once for announcements whose header does not name their signer; beyond, only the peers that the header names.
pub const SIGNATURES_AT_ONCE: u64 = 512;
/// As [`SIGNATURES_AT_ONCE`], how many grow back in an hour.
pub const SIGNATURES_AN_HOUR: u64 = 18_000;
/// Frames of clear mode whose repetition is noticed.
const RECENT_FRAMES_MAX: usize = 128;
/// How long a received frame is remembered.
const RECENT: Millis = Millis::from_ms(600_000);
/// Who may be behind a question or an announcement waits up to so many full frames before speaking.
pub(super) const WAIT_FRAMES: u64 = 4;

/// What a station remembers of what it heard.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) held: VecDeque<(Vec<u8>, Mono)>,
    later: VecDeque<Reception>,
    recent: VecDeque<([u8; 16], Mono)>,
    signatures: Budget,
    pub(super) loss: LossEstimate,
}

impl Default for Inbound {
    fn default() -> Self {
        Inbound {
            held: VecDeque::new(),
            later: VecDeque::new(),
            recent: VecDeque::new(),
            signatures: Budget::new(SIGNATURES_AT_ONCE, SIGNATURES_AN_HOUR, Mono::ZERO),
            loss: LossEstimate::default(),
        }
    }
}

/// A sealed frame that fits no candidate.
struct Unopened {
    address: SenderAddress,
    why: FrameRejection,
    candidates: Vec<SenderCandidate>,
}

impl Unopened {
    /// Whether a later announcement may open it.
    fn may_open_later(&self) -> bool {
        matches!(self.why, FrameRejection::UnknownEpoch | FrameRejection::FarCounter)
    }

    /// Whether a member other than these may have sent it.
    fn may_be_of_another(&self, known: &[PeerId]) -> bool {
        self.candidates.iter().any(|candidate| !known.contains(&candidate.sender))
    }
}

/// The share of frames that are missed, from gaps in the counters.
#[derive(Debug, Default)]
pub(super) struct LossEstimate {
    /// In 1/1024 of a thousandth.
    scaled: u64,
}

impl LossEstimate {
    const SCALE: u64 = 1_024;
    /// Each frame counts for one part in so many.
    const MEMORY: u64 = 32;
    /// A longer gap is a sender that was out of reach or skipped ahead, not a lossy link.
    const GAP_MAX: u32 = 8;

    /// A frame came whose counter is so far above the highest before.
    fn heard(&mut self, ahead: u32) {
        if !(1..=Self::GAP_MAX).contains(&ahead) {
            return;
        }
        for _ in 1..ahead {
            self.scaled += (1_000 * Self::SCALE - self.scaled) / Self::MEMORY;
        }
        self.scaled -= self.scaled / Self::MEMORY;
    }

    pub(super) fn permille(&self) -> u16 {
        (self.scaled / Self::SCALE) as u16
    }
}

impl Station {
    /// Takes a frame from the driver, whatever it is. A refusal is counted.
    ///
    /// Call [`poll_received`](Self::poll_received) afterwards: the frame may have opened others that were held.
    pub fn receive(&mut self, now: Mono, frame: &[u8]) -> Reception {
        let reception = self.hear(now, frame);
        if let Err(rejection) = reception.outcome {
            self.reject(rejection);
        }
        reception
    }

    /// A frame that was held until its sender's boot epoch was known, and now is read.
    pub fn poll_received(&mut self) -> Option<Reception> {
        self.inbound.later.pop_front()
    }

    fn hear(&mut self, now: Mono, frame: &[u8]) -> Reception {
        if frame.len() > FRAME_BYTES_MAX {
            return Reception::unproved(Err(FrameRejection::TooLong));
        }
        let Some(first) = frame.first() else { return Reception::unproved(Err(FrameRejection::TooShort)) };
        let outcome = match (Kind::of(*first), self.mode) {
            (Kind::CALL_SIGN, _) => call_sign(frame).map(Received::CallSign).ok_or(FrameRejection::CallSign),
            (Kind::JOIN | Kind::OPEN, Mode::SignedClear) => Err(FrameRejection::Kind),
            (Kind::JOIN, Mode::Encrypted) => Ok(Received::Join(frame.to_vec())),
            (Kind::OPEN, Mode::Encrypted) => self.hear_open(now, frame),
            (_, Mode::SignedClear) => return self.hear_clear(now, frame),
            (_, Mode::Encrypted) => return self.hear_sealed(now, frame),
        };
        Reception::unproved(outcome)
    }

    fn hear_sealed(&mut self, now: Mono, frame: &[u8]) -> Reception {
        match self.open_sealed(now, frame) {
            Ok(reception) => reception,
            Err(unopened) => Reception::unproved(self.not_opened(now, frame, &unopened)),
        }
    }

    /// Reads a sealed frame.
    ///
    /// # Errors
    /// [`Unopened`]: it fits no candidate.
    fn open_sealed(&mut self, now: Mono, frame: &[u8]) -> Result<Reception, Unopened> {
        let header = Header::decode(frame).filter(|_| frame.len() >= OVERHEAD_BYTES);
        let Some((header, _)) = header else {
            return Ok(Reception::unproved(Err(FrameRejection::TooShort)));
        };
        let candidates = self.channels.candidates(header.alias, header.hint).to_vec();
        if candidates.is_empty() {
            return Ok(Reception::unproved(self.strange(&header)));
        }
        let mut tried = Vec::new();
        for candidate in &candidates {
            match self.try_candidate(now, candidate, &header, frame) {
                Ok(reception) => return Ok(reception),
                Err(why) => tried.push(why),
            }
        }
        let address = SenderAddress { epoch_low: header.epoch_low, alias: header.alias, hint: header.hint };
        // A reason that a later frame may lift comes first, then that it is a repetition; a false tag explains the least.
        const ORDER: [FrameRejection; 5] = [
            FrameRejection::UnknownEpoch,
            FrameRejection::FarCounter,
            FrameRejection::Replayed,
            FrameRejection::TooOld,
            FrameRejection::BadTag,
        ];
        let why = ORDER.into_iter().find(|why| tried.contains(why)).unwrap_or(FrameRejection::InOurName);
        Err(Unopened { address, why, candidates })
    }

    /// A header that names no member: of an audience of ours, or of another.
    fn strange(&self, header: &Header) -> Result<Received, FrameRejection> {
        if self.channels.knows(header.alias) {
            Err(FrameRejection::UnknownSender)
        } else {
            Ok(Received::Foreign)
        }
    }

    /// Reads the frame as one of this member.
    ///
    /// # Errors
    /// Why it is not: another candidate may be the sender.
    fn try_candidate(
        &mut self,
        now: Mono,
        candidate: &SenderCandidate,
        header: &Header,
        frame: &[u8],
    ) -> Result<Reception, FrameRejection> {
        let SenderCandidate { channel, sender, previous } = candidate;
        if *sender == self.me {
            return self.try_own(candidate, header, frame);
        }
        let known = self.epochs.newest(sender).map(|announcement| (announcement.epoch, announcement.counter));
        let known = known.filter(|(epoch, _)| epoch.low() == header.epoch_low);
        let (epoch, signed) = known.ok_or(FrameRejection::UnknownEpoch)?;
        let key = self.channels.key(channel, *previous).map(|key| key.frame_key(self.mode, sender, &epoch));
        let key = key.ok_or(FrameRejection::UnknownSender)?;
        let track = self.channels.track(channel, sender, epoch, signed);
        let track = track.ok_or(FrameRejection::UnknownSender)?;
        let mut why = FrameRejection::FarCounter;
        let mut opened = None;
        for (counter, check) in track.candidates(header.counter_low) {
            match check.map(|()| open(&key, frame, counter)) {
                Ok(Some(payload)) => {
                    opened = Some((counter, payload));
                    break;
                }
                // A tag that does not hold explains least, where another counter was seen.
                Ok(None) if why == FrameRejection::FarCounter => why = FrameRejection::BadTag,
                Ok(None) => {}
                Err(seen) => why = seen.into(),
            }
        }
        let (counter, payload) = opened.ok_or(why)?;
        let taken = track.take(counter);
        self.inbound.loss.heard(taken.ahead);
        if taken.leapt {
            self.reject(FrameRejection::LedAway);
        }
        self.channels.took(channel, sender, *previous);
        if let Some(record) = self.channels.record(channel, sender) {
            self.records.windows.insert((*channel, *sender), record);
        }
        self.epochs.succeeded(sender);
        self.listener.heard(now, *channel, *sender);
        let outcome = self.understand(now, candidate, header.kind, payload);
        Ok(Reception { from: Some(*sender), outcome })
    }

    /// A frame in our own name: come back to us, or not by us.
    fn try_own(
        &mut self,
        candidate: &SenderCandidate,
        header: &Header,
        frame: &[u8],
    ) -> Result<Reception, FrameRejection> {
        let epoch = self.own.epoch;
        if epoch.low() != header.epoch_low {
            // Of another start of ours, or of a copy: its announcement will show it.
            return Err(FrameRejection::InOurName);
        }
        let key = self.channels.key(&candidate.channel, candidate.previous);
        let key = key.map(|key| key.frame_key(self.mode, &self.me, &epoch));
        let next = self.channels.next_counter(&candidate.channel);
        let mut window = Window::default();
        window.heard_signed(next);
        let counter = window.infer(header.counter_low).ok_or(FrameRejection::FarCounter)?;
        key.and_then(|key| open(&key, frame, counter)).ok_or(FrameRejection::BadTag)?;
        if counter < next {
            return Ok(Reception::unproved(Ok(Received::Echo)));
        }
        // Listeners have taken it, and take it from us no more.
        self.channels.leave_out(&candidate.channel, counter);
        Ok(Reception::unproved(Err(FrameRejection::InOurName)))
    }

    /// No candidate fits. Where the reason may be that we know too little, the frame is kept and its sender asked for.
    fn not_opened(
        &mut self,
        now: Mono,
        frame: &[u8],
        unopened: &Unopened,
    ) -> Result<Received, FrameRejection> {
        let Unopened { address, why, candidates } = unopened;
        let why = *why;
        match why {
            FrameRejection::Replayed => {
                self.reject(FrameRejection::Replayed);
                return Ok(Received::Duplicate);
            }
            _ if unopened.may_open_later() => self.hold(now, frame),
            FrameRejection::BadTag | FrameRejection::TooOld => {
                let others = candidates.iter().filter(|candidate| candidate.sender != self.me);
                let failed = others.filter(|candidate| self.epochs.failed(candidate.sender)).count();
                if failed == 0 {
                    return Err(why);
                }
            }
            _ => return Err(why),
        }
        let wait = self.random_wait(WAIT_FRAMES);
        self.epochs.want(now, *address, wait);
        if matches!(why, FrameRejection::BadTag | FrameRejection::TooOld) {
            return Err(why);
        }
        self.reject(why);
        Ok(Received::Held)
    }

    fn hold(&mut self, now: Mono, frame: &[u8]) {
        let held = &mut self.inbound.held;
        if held.iter().any(|(known, _)| known == frame) {
            return;
        }
        if held.len() >= HELD_FRAMES_MAX {
            // The oldest of the sender with the most: who talks much does not push out who talks little.
            let sender = |frame: &[u8]| frame.get(1..4).map(<[u8]>::to_vec);
            let many = |at: &usize| {
                let (frame, _) = held.get(*at)?;
                Some(held.iter().filter(|(other, _)| sender(other) == sender(frame)).count())
            };
            if let Some(at) = (0..held.len()).rev().max_by_key(many) {
                held.remove(at);
            }
        }
        held.push_back((frame.to_vec(), now));
    }

    /// `signer` was heard: what waited is tried again. What still does not open stays as long as it would have, and its sender is asked
    /// for further only if that may be another: the word of `signer` is known now, and a frame that does not fit it is of an earlier
    /// start, replayed, or damaged.
    fn signer_heard(&mut self, now: Mono, signer: PeerId) {
        let held = std::mem::take(&mut self.inbound.held);
        let mut sought = BTreeSet::new();
        for (frame, at) in held.into_iter().filter(|(_, at)| now.since(*at) < HELD_FOR) {
            let reception = match self.open_sealed(now, &frame) {
                Ok(reception) => reception,
                Err(unopened) if unopened.may_open_later() => {
                    if unopened.may_be_of_another(&[signer, self.me]) {
                        sought.insert((unopened.address.alias, unopened.address.hint));
                    }
                    self.inbound.held.push_back((frame, at));
                    continue;
                }
                Err(unopened) => Reception::unproved(self.not_opened(now, &frame, &unopened)),
            };
            match reception.outcome {
                Ok(_) => self.inbound.later.push_back(reception),
                Err(rejection) => self.reject(rejection),
            }
        }
        while self.inbound.later.len() > HELD_FRAMES_MAX {
            self.inbound.later.pop_front();
        }
        let channels = &self.channels;
        let is_it = |alias, hint| {
            let mut candidates = channels.candidates(alias, hint).iter();
            candidates.any(|candidate| candidate.sender == signer)
        };
        self.epochs.found(|alias, hint| is_it(alias, hint) && !sought.contains(&(alias, hint)));
    }

    fn hear_clear(&mut self, now: Mono, frame: &[u8]) -> Reception {
        let Some((header, _)) = Header::decode(frame) else {
            return Reception::unproved(Err(FrameRejection::TooShort));
        };
        let candidates = self.channels.candidates(header.alias, header.hint);
        if candidates.is_empty() {
            return Reception::unproved(self.strange(&header));
        }
        let Some(clear) = ClearFrame::decode(frame) else {
            return Reception::unproved(Err(FrameRejection::Padding));
        };
        // Of one hint there may be several members, this node among them, and no tag distinguishes them.
        let is_it = |candidate: &&SenderCandidate| {
            SenderCheck::of(&candidate.channel, &candidate.sender) == clear.check
        };
        let Some(candidate) = candidates.iter().find(is_it).copied() else {
            return Reception::unproved(self.strange(&header));
        };
        if candidate.sender == self.me {
            return Reception::unproved(Ok(Received::Echo));
        }
        // A repetition may be filled up otherwise.
        if self.is_repeated(now, &clear.encode()) {
            self.reject(FrameRejection::Replayed);
            return Reception::unproved(Ok(Received::Duplicate));
        }
        self.listener.heard(now, candidate.channel, candidate.sender);
        let outcome = self.understand(now, &candidate, header.kind, clear.payload.to_vec());
        Reception { from: Some(candidate.sender), outcome }
    }

    fn is_repeated(&mut self, now: Mono, frame: &[u8]) -> bool {
        let Some(first) = blake3::hash(frame).as_bytes().first_chunk::<16>().copied() else { return false };
        let recent = &mut self.inbound.recent;
        recent.retain(|(_, at)| now.since(*at) < RECENT);
        if recent.iter().any(|(known, _)| *known == first) {
            return true;
        }
        if recent.len() >= RECENT_FRAMES_MAX {
            recent.pop_front();
        }
        recent.push_back((first, now));
        false
    }

    fn understand(
        &mut self,
        now: Mono,
        candidate: &SenderCandidate,
        kind: Kind,
        payload: Vec<u8>,
    ) -> Result<Received, FrameRejection> {
        let SenderCandidate { channel, sender: from, previous: under_previous_key } = *candidate;
        let message = |kind, bytes| Received::Message { channel, from, kind, bytes, under_previous_key };
        if kind.is_message() {
            return Ok(message(kind, payload));
        }
        match kind {
            Kind::FRAGMENT => match self.listener.fragment(now, channel, from, &payload) {
                Ok(Progress::Part) => Ok(Received::Part),
                Ok(Progress::Duplicate) => Ok(Received::Duplicate),
                Ok(Progress::Whole(whole)) => Kind::message(whole.kind)
                    .map(|kind| message(kind, whole.bytes))
                    .ok_or(FrameRejection::Fragment),
                Err(_) => Err(FrameRejection::Fragment),
            },
            Kind::NACK => {
                let heard = self.listener.nack(now, channel, from, &payload);
                let queued = self.sender.nack(now, channel, from, &payload);
                self.fit_fragments(now);
                heard.and(queued).map(|_| Received::Nack).map_err(|_| FrameRejection::Nack)
            }
            _ => Err(FrameRejection::Kind),
        }
    }

    /// Ends a message of which next to nothing arrives: it is sent once more in shorter fragments when its listeners show what they
    /// lack.
    fn fit_fragments(&mut self, now: Mono) {
        let Some(arrivals) = self.sender.poll_arrivals() else { return };
        let frame_bytes = arrivals.payload_bytes + self.overhead_bytes();
        if self.fit.arrived(now, frame_bytes, arrivals.arrived, arrivals.sent) {
            self.sender.forget(arrivals.message);
        }
    }

    fn hear_open(&mut self, now: Mono, frame: &[u8]) -> Result<Received, FrameRejection> {
        match self.announcements.decode(frame).ok_or(FrameRejection::Announcement)? {
            OpenFrame::Part => Ok(Received::Part),
            OpenFrame::Request(address) => {
                let jitter = self.random_wait(WAIT_FRAMES);
                self.epochs.asked(now, &address, jitter);
                let candidates = self.channels.candidates(address.alias, address.hint);
                if candidates.iter().any(|candidate| candidate.sender == self.me) {
                    self.own.asked(now);
                }
                Ok(if candidates.is_empty() { Received::Foreign } else { Received::Question })
            }
            OpenFrame::Announcement(address, announcement) => {
                self.hear_announcement(now, address, announcement)
            }
        }
    }

    fn hear_announcement(
        &mut self,
        now: Mono,
        address: SenderAddress,
        announcement: EpochAnnouncement,
    ) -> Result<Received, FrameRejection> {
        let candidates = self.channels.candidates(address.alias, address.hint);
        let named: BTreeSet<PeerId> = candidates.iter().map(|candidate| candidate.sender).collect();
        let signer = self.epochs.is_known(&announcement);
        let signer = signer.or_else(|| named.iter().find(|peer| announcement.is_by(peer)).copied());
        // Its header may be of an audience that we are not in.
        let signer = signer.or_else(|| {
            let mut others: Vec<PeerId> = self.channels.everybody().difference(&named).copied().collect();
            let tries = self.inbound.signatures.draw(now, others.len() as u64);
            others.truncate(usize::try_from(tries).unwrap_or(usize::MAX));
            others.into_iter().find(|peer| announcement.is_by(peer))
        });
        let Some(signer) = signer else {
            return if named.is_empty() { Ok(Received::Foreign) } else { Err(FrameRejection::BadSignature) };
        };
        if signer == self.me {
            return Ok(self.hear_own_announcement(now, &announcement));
        }
        let wait = self.random_wait(WAIT_FRAMES);
        let known = self.epochs.newest(&signer).copied();
        let news = self.epochs.take(now, signer, announcement, wait);
        if news == EpochNews::Older {
            return Err(FrameRejection::OldEpoch);
        }
        self.signer_heard(now, signer);
        if news == EpochNews::Same {
            // Where its counter stood by its own word is what a restart goes by.
            if known.is_some_and(|known| announcement.counter > known.counter) {
                self.records.heard.insert(signer, announcement);
            }
            return Ok(Received::Duplicate);
        }
        self.records.heard.insert(signer, announcement);
        Ok(Received::Epoch { peer: signer, epoch: announcement.epoch })
    }

    /// An epoch of ours: this one come back, an older one that a peer keeps, or one that we know nothing of.
    fn hear_own_announcement(&mut self, now: Mono, announcement: &EpochAnnouncement) -> Received {
        let (theirs, ours) = (announcement.epoch, self.own.epoch);
        if theirs == ours {
            return Received::Echo;
        }
        if theirs.number < ours.number {
            return Received::Duplicate;
        }
        if now >= self.own.renewable_at() {
            self.renew(now, theirs.number);
        } else {
            self.beyond = self.beyond.max(Some(theirs.number));
        }
        Received::OwnEpoch { theirs }
    }
}

impl From<Seen> for FrameRejection {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::Before => FrameRejection::Replayed,
            Seen::TooOld => FrameRejection::TooOld,
        }
    }
}

/// `DE` and the call sign, which spaces may fill up.
fn call_sign(frame: &[u8]) -> Option<String> {
    let (_, text) = frame.split_first()?;
    let text = std::str::from_utf8(text).ok()?.strip_prefix("DE ")?;
    let text = if frame.len() <= PADDED_BYTES_MAX { text.trim_end_matches(' ') } else { text };
    let fits = (1..=CALL_SIGN_BYTES_MAX).contains(&text.len());
    (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
}
