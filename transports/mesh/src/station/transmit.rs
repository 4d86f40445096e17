//! Messages in, frames out: a frame is made and sealed when it is taken, and charged as it is.

use super::outbox::{Item, LastCallSign, Meta, QUEUE_FRAMES_MAX, Under};
use super::receive::WAIT_FRAMES;
use super::schedule::{Work, WorkCandidate};
use super::{
    CallSign, FrameCharge, Outgoing, STATION_ACCOUNT, SendRefusal, Sent, Station, TakenWork, Transmit,
};
use crate::airtime::ledger::{Account, Moment, Priority};
use crate::bulk::fragment::{MessageId, OutMessage};
use crate::frame::announcement::EpochAnnouncement;
use crate::frame::keys::{Alias, Hint, Mode, SenderCheck};
use crate::frame::{ClearFrame, Header, Kind, seal};
use crate::peer::PeerId;
use crate::time::{Millis, Mono};
use std::collections::VecDeque;

/// An announcement carries our frame counters. It is signed again after so many frames: well within what a receiver infers.
pub const SIGN_AGAIN_FRAMES: u32 = 4_096;
/// As [`SIGN_AGAIN_FRAMES`], where a peer asks: a forger may have led it away, and nothing but a newer announcement brings it back.
pub const SIGN_AGAIN_ASKED_FRAMES: u32 = 16;

impl Station {
    /// Takes a message: one frame is queued, a longer one cut into fragments.
    ///
    /// # Errors
    /// [`SendRefusal`]; nothing is then kept.
    pub fn send(&mut self, now: Mono, outgoing: Outgoing) -> Result<Sent, SendRefusal> {
        let Outgoing { channel, kind, bytes, priority, account, previous_key } = outgoing;
        let audience = self.channels.get(&channel).filter(|audience| audience.members.contains(&self.me));
        let audience = audience.ok_or(SendRefusal::NoChannel)?;
        if self.mode == Mode::Encrypted && audience.keys.is_none() {
            return Err(SendRefusal::NoChannel);
        }
        let under = match (previous_key, self.channels.key(&channel, true)) {
            (false, _) => Under::Present,
            (true, Some(key)) => Under::Epoch(key.epoch),
            (true, None) => return Err(SendRefusal::NoPreviousKey),
        };
        if !kind.is_message() {
            return Err(SendRefusal::Kind(kind.number()));
        }
        let meta = Meta { channel, priority, account, under };
        if bytes.len() + self.overhead_bytes() < self.frame_bytes_min && self.mode == Mode::Encrypted {
            let (bytes, bytes_min) = (bytes.len() + self.overhead_bytes(), self.frame_bytes_min);
            return Err(SendRefusal::TooShort { bytes, bytes_min });
        }
        self.fit_frames(now, &channel, kind, &bytes);
        if bytes.len() <= self.payload_bytes_max() {
            if self.outbox.frames() >= QUEUE_FRAMES_MAX {
                return Err(SendRefusal::Full);
            }
            self.outbox.push(priority, Item::Sealed { channel, kind, payload: bytes, meta });
            return Ok(Sent::Frame);
        }
        let out = OutMessage {
            channel,
            kind: kind.number(),
            bytes: &bytes,
            fragment_payload_max: self.payload_bytes_max(),
            loss_permille: self.loss_permille(),
        };
        // What gave way is remembered no more: another may get its id.
        self.outbox.metas.retain(|(id, _)| self.sender.holds(*id));
        let message = self.sender.offer(now, out)?;
        self.outbox.remember(message, meta);
        Ok(Sent::Fragments(message))
    }

    /// Makes frames shorter where what is long is handed over again and again. What was begun in longer ones ends.
    fn fit_frames(&mut self, now: Mono, channel: &PeerId, kind: Kind, bytes: &[u8]) {
        let hash = blake3::Hasher::new()
            .update(channel.as_bytes())
            .update(&[kind.number()])
            .update(bytes)
            .finalize();
        let Some(print) = hash.as_bytes().first_chunk::<8>() else { return };
        let frame_bytes = self.padded_bytes(bytes.len()).min(self.fit.frame_bytes());
        let listeners =
            self.channels.get(channel).map_or(0, |audience| audience.members.len().saturating_sub(1));
        let loss = self.loss_permille();
        if self.fit.sends(now, *print, frame_bytes, listeners, loss) {
            self.sender.forget_same(channel, kind.number(), bytes);
        }
    }

    /// Takes the frames of a handshake, all or none, charged as `priority`. In clear mode no peer joins: what the handshake carries
    /// would be obscured.
    ///
    /// # Errors
    /// [`SendRefusal`]; none of the frames is then kept.
    pub fn send_join(
        &mut self,
        frames: Vec<Vec<u8>>,
        priority: Priority,
        account: Account,
    ) -> Result<(), SendRefusal> {
        if self.mode == Mode::SignedClear {
            return Err(SendRefusal::ClearMode);
        }
        if self.outbox.frames() + frames.len() > QUEUE_FRAMES_MAX {
            return Err(SendRefusal::Full);
        }
        let bytes_max = self.frame_bytes_max;
        for frame in &frames {
            match frame.first() {
                Some(first) if Kind::of(*first) == Kind::JOIN => {}
                other => return Err(SendRefusal::Kind(other.map_or(0, |first| first >> 4))),
            }
            if frame.len() > bytes_max {
                return Err(SendRefusal::TooLong { bytes: frame.len(), bytes_max });
            }
            if frame.len() < self.frame_bytes_min {
                return Err(SendRefusal::TooShort { bytes: frame.len(), bytes_min: self.frame_bytes_min });
            }
        }
        frames.into_iter().for_each(|frame| self.outbox.push(priority, Item::Raw { frame, account }));
        Ok(())
    }

    /// Sends one fragment of a long message once more, for listeners who hold a part of it. Whether it did: not if no listener asked
    /// since it did last, or the message is not held any more.
    pub fn remind(&mut self, now: Mono, message: MessageId) -> bool {
        self.sender.remind(now, message)
    }

    /// Whether no other member is sending a long message in this audience.
    pub fn is_quiet(&self, now: Mono, channel: &PeerId) -> bool {
        self.listener.is_quiet(now, channel)
    }

    /// This node holds all that a member reports in this audience: what is missing of that member's long messages is not asked for any
    /// more, unless one is still on its way.
    pub fn holds_all_of(&mut self, now: Mono, channel: PeerId, sender: PeerId) {
        self.listener.holds_all_of(now, channel, sender);
    }

    /// Whether a long message is still held.
    pub fn holds(&self, message: MessageId) -> bool {
        self.sender.holds(message)
    }

    /// Whether a long message is being sent, or was until so short a while ago that listeners may still ask.
    pub fn is_under_way(&self, now: Mono, message: MessageId) -> bool {
        self.sender.is_under_way(now, message)
    }

    /// Frames of handshakes that wait: a caller that repeats one waits for them.
    pub fn join_frames_waiting(&self) -> usize {
        let items = self.outbox.queues.values().flatten();
        items.filter(|item| matches!(item, Item::Raw { .. })).count()
    }

    /// Ends a long message: it is out of date.
    pub fn forget(&mut self, message: MessageId) -> bool {
        self.sender.forget(message)
    }

    /// Frames that wait, fragments included.
    pub fn frames_waiting(&self) -> usize {
        let fragments: usize = self.sender.waiting().map(|waiting| waiting.fragments).sum();
        self.outbox.frames() + self.outbox.announcement.len() + fragments
    }

    /// Leaves an audience: its long messages too.
    pub(super) fn drop_messages(&mut self, owner: &PeerId) {
        self.outbox.drop_channel(owner);
        self.sender.drop_channel(owner);
    }

    /// Forgets the long messages of an audience whose key it has no more.
    pub(super) fn forget_keyless(&mut self, owner: &PeerId) {
        let channels = &self.channels;
        let is_keyless = |meta: &Meta| {
            let epoch = meta.under.epoch().filter(|_| meta.channel == *owner);
            epoch.is_some_and(|epoch| channels.key_of_epoch(owner, epoch).is_none())
        };
        let (keyless, metas) = self.outbox.metas.drain(..).partition(|(_, meta)| is_keyless(meta));
        self.outbox.metas = metas;
        let keyless: VecDeque<(MessageId, Meta)> = keyless;
        for (message, _) in keyless {
            self.sender.forget(message);
        }
    }

    /// What time brings about: a renewed boot epoch, long messages that expire, longer frames tried again. Before
    /// [`candidates`](Self::candidates); it may leave a record.
    pub fn pass_time(&mut self, now: Mono) {
        if let Some(past) = self.beyond.filter(|_| now >= self.own.renewable_at()) {
            self.renew(now, past);
        }
        self.sender.expire(now);
        self.fit.pass(now);
    }

    /// Makes the frame of a candidate, if the ledger allows it now, and charges it.
    pub fn take(&mut self, moment: Moment, candidate: &WorkCandidate) -> TakenWork {
        if !self.own.durable {
            return TakenWork::NeedsRecord;
        }
        let now = moment.monotonic;
        let Some(priority) = self.legal_as(now, candidate) else { return TakenWork::Barred };
        let airtime_us = self.line.frame_us(candidate.frame_bytes);
        if let Some(record) = self.ledger.record_needed(moment, airtime_us) {
            self.records.ledger = Some(record);
            return TakenWork::NeedsRecord;
        }
        let Some((frame, account)) = self.make(now, candidate) else { return TakenWork::Gone };
        let airtime_us = self.line.frame_us(frame.len());
        self.ledger.charge(now, airtime_us, account, priority);
        self.outbox.call.traffic_since |= !matches!(candidate.work, Work::CallSign);
        TakenWork::Frame { frame, charge: FrameCharge { account, airtime_us } }
    }

    /// The next frame of a station that has no layer above which offers more: the first candidate that may leave.
    pub fn transmit(&mut self, moment: Moment) -> Transmit {
        // A candidate that is gone leaves a place to the next of its kind.
        for _ in 0..=QUEUE_FRAMES_MAX {
            self.pass_time(moment.monotonic);
            if !self.own.durable {
                return Transmit::NeedsRecord;
            }
            let candidates = self.candidates(moment.monotonic);
            let mut taken = candidates.iter().map(|candidate| self.take(moment, candidate));
            match taken.find(|taken| *taken != TakenWork::Barred) {
                Some(TakenWork::Frame { frame, charge }) => return Transmit::Frame { frame, charge },
                Some(TakenWork::NeedsRecord) => return Transmit::NeedsRecord,
                Some(TakenWork::Gone) => {}
                Some(TakenWork::Barred) | None => return Transmit::Idle,
            }
        }
        Transmit::Idle
    }

    /// `None` if the frame cannot be made any more; what it was made of is gone then.
    fn make(&mut self, now: Mono, candidate: &WorkCandidate) -> Option<(Vec<u8>, Account)> {
        let is_provoked = match candidate.work {
            Work::Question(_) | Work::Correction(..) => true,
            Work::Announcement => self.own.is_asked(),
            Work::CallSign | Work::AnnouncementRest | Work::Queue(_) | Work::Fragment(_) => false,
        };
        if is_provoked {
            let airtime_us = self.line.frame_us(candidate.frame_bytes);
            self.outbox.provoked.spent(now, Millis::from_us_rounded_up(airtime_us));
        }
        let frame = match candidate.work {
            Work::CallSign => {
                self.outbox.call = LastCallSign { sent_at: Some(now), traffic_since: false };
                call_sign_frame(self.call_sign.as_ref()?, self.frame_bytes_min)
            }
            Work::AnnouncementRest => self.outbox.announcement.pop_front()?,
            Work::Announcement => self.take_announcement(now)?,
            Work::Question(address) => {
                let jitter = self.random_wait(WAIT_FRAMES);
                self.epochs.asked(now, &address, jitter);
                address.encode_padded(self.frame_bytes_min)
            }
            Work::Correction(peer, announcement) => {
                self.epochs.corrected(now, &peer);
                self.begin_announcement(&peer, &announcement)?
            }
            Work::Queue(priority) => {
                return match self.outbox.queues.get_mut(&priority)?.pop_front()? {
                    Item::Raw { frame, account } => Some((frame, account)),
                    Item::Sealed { kind, payload, meta, .. } => {
                        Some((self.seal(now, kind, &payload, &meta)?, meta.account))
                    }
                };
            }
            Work::Fragment(message) => {
                let fragment = self.sender.take(now, message)?;
                let meta = self.outbox.meta(message).copied().unwrap_or(Meta {
                    channel: fragment.channel,
                    priority: Priority::Bulk,
                    account: Account::OTHERS,
                    under: Under::Present,
                });
                let meta = self.pin_key(message, meta);
                let frame = self.seal(now, Kind::FRAGMENT, &fragment.payload, &meta);
                if frame.is_none() {
                    self.sender.forget(message);
                }
                return Some((frame?, meta.account));
            }
        };
        Some((frame, STATION_ACCOUNT))
    }

    /// From its first frame on a long message goes under one key.
    fn pin_key(&mut self, message: MessageId, meta: Meta) -> Meta {
        let Some(key) = self.channels.key(&meta.channel, false).filter(|_| meta.under == Under::Present)
        else {
            return meta;
        };
        let meta = Meta { under: Under::Epoch(key.epoch), ..meta };
        self.outbox.remember(message, meta);
        meta
    }

    /// Our announcement. It is signed again only when our counters have moved on far: the parts of one that was heard in part fit those
    /// of the next.
    fn take_announcement(&mut self, now: Mono) -> Option<Vec<u8>> {
        let next = self.channels.highest_counter();
        let again = if self.own.is_asked() { SIGN_AGAIN_ASKED_FRAMES } else { SIGN_AGAIN_FRAMES };
        let known = self.own.announcement.filter(|known| next.saturating_sub(known.counter) < again);
        let announcement = known.unwrap_or_else(|| {
            let counter = self.channels.align_counters();
            EpochAnnouncement::sign(&self.us, self.own.epoch, counter)
        });
        self.own.announcement = Some(announcement);
        self.own.sent_announcement(now);
        let me = self.me;
        self.begin_announcement(&me, &announcement)
    }

    /// The first frame of an announcement; the rest waits.
    fn begin_announcement(&mut self, peer: &PeerId, announcement: &EpochAnnouncement) -> Option<Vec<u8>> {
        let (alias, hint) = self.channels.address(peer)?;
        let mut frames: VecDeque<_> = announcement.encode(alias, hint, self.fit.frame_bytes()).into();
        let first = frames.pop_front()?;
        self.outbox.announcement = frames;
        Some(first)
    }

    fn seal(&mut self, now: Mono, kind: Kind, payload: &[u8], meta: &Meta) -> Option<Vec<u8>> {
        let Meta { channel, under, .. } = meta;
        let Some(counter) = self.channels.take_counter(channel) else {
            // 2^32 frames in one epoch, or a forger pushed us there: the next one.
            if self.channels.get(channel).is_some() {
                self.renew(now, self.own.epoch.number);
            }
            return None;
        };
        let sealed = match self.mode {
            Mode::SignedClear => {
                let (alias, hint) = (Alias::clear(channel), Hint::clear(channel, &self.me));
                let header = Header { kind, epoch_low: 0, alias, hint, counter_low: counter.low() };
                let check = SenderCheck::of(channel, &self.me);
                ClearFrame { header, check, payload }.encode_padded(self.frame_bytes_min)
            }
            Mode::Encrypted => {
                let key = match under {
                    Under::Present => self.channels.key(channel, false),
                    Under::Epoch(epoch) => self.channels.key_of_epoch(channel, *epoch),
                }?;
                let (alias, hint) = (key.alias(), key.hint(&self.me));
                let frame_key = key.frame_key(self.mode, &self.me, &self.own.epoch);
                let header = Header { kind, epoch_low: self.own.epoch.low(), alias, hint, counter_low: 0 };
                seal(&frame_key, header, counter, payload)
            }
        };
        self.own.sent_frame(now);
        Some(sealed)
    }
}

/// `DE` and the call sign, in clear text; spaces fill it up.
pub(super) fn call_sign_frame(call_sign: &CallSign, bytes_min: usize) -> Vec<u8> {
    let mut frame = [&[Kind::CALL_SIGN.first_byte(0)], b"DE ".as_slice(), call_sign.text.as_bytes()].concat();
    frame.resize(frame.len().max(bytes_min), b' ');
    frame
}
