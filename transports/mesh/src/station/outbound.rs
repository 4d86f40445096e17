//! What goes out next: chosen by urgency and law, sealed at the last moment, charged as it is taken.

use super::inbound::WAIT_FRAMES;
use super::{CallSign, Outgoing, STATION_ACCOUNT, SendRefusal, Sent, Station};
use crate::airtime::ledger::{Account, HOUR_MS, Moment, Priority, Verdict};
use crate::bulk::fragment::MessageId;
use crate::frame::keys::{Alias, Hint, Mode};
use crate::frame::opening::{Address, OPENING_BYTES, Opening, REQUEST_BYTES};
use crate::frame::{Header, Kind, seal, write_clear_padded};
use crate::peer::PeerId;
use std::collections::{BTreeMap, VecDeque};

/// Frames that wait to be sent; beyond, `send` is refused. Fragments wait in their messages.
pub const QUEUE_FRAMES_MAX: usize = 32;
/// Long messages whose priority and account are remembered, for repairs asked for later; beyond, the oldest counts as bulk.
pub const METAS_MAX: usize = 64;
/// An opening says where our counters stand; it is signed anew when they are so much further: well within what a receiver infers.
pub const SIGN_AGAIN_FRAMES: u32 = 4_096;
/// As [`SIGN_AGAIN_FRAMES`], where somebody asks: a forger may have led him away, and nothing but a newer word brings him back.
pub const SIGN_AGAIN_ASKED_FRAMES: u32 = 16;
/// NACKs take one part in so many of an hour's airtime, and as much once at the beginning: what is Control's alone.
const NACK_SHARE: u64 = 10;
/// As [`NACK_SHARE`], for openings that are asked for and questions for them, which anybody can provoke: a third of upkeep's.
const PROVOKED_SHARE: u64 = 15;
/// A call sign goes this much before it must, at most a tenth of the interval: the frame before it takes its time.
const CALL_SIGN_EARLY_MS: u64 = 30_000;

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Outbox {
    queues: BTreeMap<Priority, VecDeque<Item>>,
    /// The rest of an opening that takes several frames.
    opening: VecDeque<Vec<u8>>,
    pub(super) metas: VecDeque<(MessageId, Meta)>,
    call: Call,
    /// Whoever opens messages and never ends them, or asks for what never was, provokes them.
    nacks: Pace,
    /// So does whoever asks for openings, or uses a member's header.
    provoked: Pace,
    /// Of the frame that last left.
    pub(super) charged: Option<(Account, u64)>,
}

/// One frame to be.
#[derive(Debug)]
enum Item {
    /// Sealed when its turn comes.
    Sealed { channel: PeerId, kind: Kind, payload: Vec<u8>, meta: Meta },
    /// As it is: a part of a handshake.
    Raw { frame: Vec<u8>, account: Account },
}

/// How a message is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    channel: PeerId,
    priority: Priority,
    account: Account,
    under: Under,
}

impl Meta {
    pub(super) fn account(&self) -> Account {
        self.account
    }

    pub(super) fn priority(&self) -> Priority {
        self.priority
    }
}

/// Which key of its audience a message goes under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    /// The one that is present when its first frame is sealed.
    Present,
    /// The one of this epoch, while the audience has it: its listeners may have no other.
    Epoch(u32),
}

impl Under {
    fn epoch(self) -> Option<u32> {
        match self {
            Under::Present => None,
            Under::Epoch(epoch) => Some(epoch),
        }
    }
}

/// When the call sign was heard last.
#[derive(Debug, Default)]
struct Call {
    sent_ms: Option<u64>,
    traffic_since: bool,
}

impl Call {
    fn due_ms(&self, call_sign: &CallSign) -> Option<u64> {
        let every_ms = call_sign.every_ms - CALL_SIGN_EARLY_MS.min(call_sign.every_ms / 10);
        self.sent_ms.map(|sent| sent.saturating_add(every_ms))
    }
}

/// Airtime of what others may provoke: an hour's share at once, and then as it grows back.
#[derive(Debug)]
struct Pace {
    /// Of an hour, milliseconds.
    share_ms: u64,
    /// Until when the share, as it grows, pays for what was sent.
    paid_until_ms: u64,
}

impl Pace {
    /// From when on the next may be sent.
    fn free_ms(&self) -> u64 {
        self.paid_until_ms.saturating_sub(HOUR_MS)
    }

    fn spent(&mut self, now_ms: u64, airtime_ms: u64) {
        let earned_in_ms = airtime_ms.saturating_mul(HOUR_MS) / self.share_ms;
        self.paid_until_ms = self.paid_until_ms.max(now_ms).saturating_add(earned_in_ms);
    }
}

impl Outbox {
    /// With a ledger of so many milliseconds an hour.
    pub(super) fn new(budget_ms: u64) -> Self {
        Outbox {
            queues: BTreeMap::new(),
            opening: VecDeque::new(),
            metas: VecDeque::new(),
            call: Call::default(),
            nacks: Pace { share_ms: (budget_ms / NACK_SHARE).max(1), paid_until_ms: 0 },
            provoked: Pace { share_ms: (budget_ms / PROVOKED_SHARE).max(1), paid_until_ms: 0 },
            charged: None,
        }
    }

    fn frames(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    fn has_nack(&self) -> bool {
        let control = self.queues.get(&Priority::Control).into_iter().flatten();
        control.into_iter().any(|item| matches!(item, Item::Sealed { kind: Kind::NACK, .. }))
    }

    fn push(&mut self, priority: Priority, item: Item) {
        self.queues.entry(priority).or_default().push_back(item);
    }

    pub(super) fn meta(&self, message: MessageId) -> Option<&Meta> {
        self.metas.iter().find(|(id, _)| *id == message).map(|(_, meta)| meta)
    }

    /// One that is under way already and is offered once more goes on under the older of both keys, which all its listeners have.
    fn remember(&mut self, message: MessageId, mut meta: Meta) {
        if let Some(known) = self.meta(message) {
            let older = known.under.epoch().into_iter().chain(meta.under.epoch()).min();
            meta.under = older.map_or(Under::Present, Under::Epoch);
        }
        self.metas.retain(|(id, _)| *id != message);
        if self.metas.len() >= METAS_MAX {
            self.metas.pop_front();
        }
        self.metas.push_back((message, meta));
    }

    pub(super) fn drop_channel(&mut self, owner: &PeerId) {
        for queue in self.queues.values_mut() {
            queue.retain(|item| !matches!(item, Item::Sealed { channel, .. } if channel == owner));
        }
        self.metas.retain(|(_, meta)| meta.channel != *owner);
    }

    /// An opening of an epoch that is no more is not finished.
    pub(super) fn drop_opening(&mut self) {
        self.opening.clear();
    }
}

/// Something that could be sent now.
#[derive(Clone, Copy, Debug)]
enum Work {
    CallSign,
    OpeningRest,
    Opening,
    Question(Address),
    Correction(PeerId, Opening),
    Queue(Priority),
    Fragment(MessageId),
}

/// With the length of its frame and the priorities that it may be charged to.
#[derive(Clone, Copy, Debug)]
struct Chance {
    work: Work,
    frame_bytes: usize,
    priorities: [Priority; 2],
}

/// What cannot be put off goes into the reserved slice where upkeep's is used up.
const UNAVOIDABLE: [Priority; 2] = [Priority::Upkeep, Priority::Control];

impl Chance {
    fn new(work: Work, frame_bytes: usize, priority: Priority) -> Self {
        Chance { work, frame_bytes, priorities: [priority; 2] }
    }
}

impl Station {
    /// Takes a message: one frame is queued, a longer one cut into fragments.
    ///
    /// # Errors
    /// [`SendRefusal`]; nothing is then kept.
    pub fn send(&mut self, now_ms: u64, outgoing: Outgoing) -> Result<Sent, SendRefusal> {
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
        self.fit_frames(now_ms, &channel, kind, &bytes);
        if bytes.len() <= self.payload_bytes_max() {
            if self.outbox.frames() >= QUEUE_FRAMES_MAX {
                return Err(SendRefusal::Full);
            }
            self.outbox.push(priority, Item::Sealed { channel, kind, payload: bytes, meta });
            return Ok(Sent::Frame);
        }
        let (payload_max, loss) = (self.payload_bytes_max(), self.loss_permille());
        // What gave way is remembered no more: another may get its id.
        self.outbox.metas.retain(|(id, _)| self.sender.holds(*id));
        let message = self.sender.offer(now_ms, channel, kind.number(), &bytes, payload_max, loss)?;
        self.outbox.remember(message, meta);
        Ok(Sent::Fragments(message))
    }

    /// Makes frames shorter where what is long is handed over again and again. What was begun in longer ones ends.
    fn fit_frames(&mut self, now_ms: u64, channel: &PeerId, kind: Kind, bytes: &[u8]) {
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
        if self.fit.sends(now_ms, *print, frame_bytes, listeners, loss) {
            self.sender.forget_same(channel, kind.number(), bytes);
        }
    }

    /// Takes the frames of a handshake, all or none, charged as `priority`. In clear mode nobody joins: what the handshake carries
    /// would be obscured.
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

    /// Sends one fragment of a long message once more, for listeners who hold a part of it. Whether it did: not if nobody asked
    /// since it did last, or the message is not held any more.
    pub fn remind(&mut self, now_ms: u64, message: MessageId) -> bool {
        self.sender.remind(now_ms, message)
    }

    /// Whether nobody else is sending a long message in this audience.
    pub fn is_quiet(&self, now_ms: u64, channel: &PeerId) -> bool {
        self.listener.is_quiet(now_ms, channel)
    }

    /// Whether a long message is still held.
    pub fn holds(&self, message: MessageId) -> bool {
        self.sender.holds(message)
    }

    /// Whether a long message is being sent, or was until so short a while ago that listeners may still ask.
    pub fn is_under_way(&self, now_ms: u64, message: MessageId) -> bool {
        self.sender.is_under_way(now_ms, message)
    }

    /// Frames of handshakes that wait: whoever repeats one waits for them.
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
        self.outbox.frames() + self.outbox.opening.len() + fragments
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

    /// The next frame for the driver, charged to the ledger. `None`: nothing is due or legal, or a record must be durable first
    /// ([`poll_record`](Self::poll_record)).
    pub fn poll_frame(&mut self, moment: Moment) -> Option<Vec<u8>> {
        let now_ms = moment.monotonic_ms;
        if let Some(past) = self.beyond.filter(|_| now_ms >= self.own.renewable_ms()) {
            self.renew(now_ms, past);
        }
        self.sender.expire(now_ms);
        self.fit.pass(now_ms);
        if !self.own.durable {
            return None;
        }
        self.collect_nacks(now_ms);
        // Whatever turns out to be unsendable (its audience was left, its key is gone) is dropped, and the next one looked at.
        for _ in 0..=QUEUE_FRAMES_MAX {
            let (chance, priority) = self.choose(now_ms)?;
            let airtime_us = self.line.frame_us(chance.frame_bytes);
            if let Some(record) = self.ledger.record_needed(moment, airtime_us) {
                self.records.ledger = Some(record);
                return None;
            }
            if let Some((frame, account)) = self.take(now_ms, &chance) {
                let airtime_us = self.line.frame_us(frame.len());
                self.ledger.charge(now_ms, airtime_us, account, priority);
                self.outbox.charged = Some((account, airtime_us));
                self.outbox.call.traffic_since |= !matches!(chance.work, Work::CallSign);
                return Some(frame);
            }
            if !self.own.durable {
                return None;
            }
        }
        None
    }

    /// When [`poll_frame`](Self::poll_frame) is worth calling again, if nothing else happens; `None` for never.
    pub fn poll_timeout(&mut self, now_ms: u64) -> Option<u64> {
        if !self.records.is_empty() {
            return Some(now_ms);
        }
        if !self.own.durable {
            return None;
        }
        let chances = self.chances(now_ms);
        let mut times: Vec<u64> = Vec::new();
        for chance in &chances {
            let airtime_us = self.line.frame_us(chance.frame_bytes);
            let leaves =
                chance.priorities.map(|priority| self.ledger.leaves_in_ms(now_ms, airtime_us, priority));
            times.extend(leaves.into_iter().flatten().min().map(|ms| now_ms + ms));
        }
        let free_ms = self.outbox.provoked.free_ms();
        let provoked = self.epochs.due_ms().map(|due_ms| due_ms.max(free_ms));
        let mut later: Vec<u64> = self.own.due_ms(free_ms).into_iter().chain(provoked).collect();
        later.extend(self.call_sign_due_ms().filter(|_| self.outbox.call.traffic_since));
        later.extend(self.beyond.map(|_| self.own.renewable_ms()));
        match self.nack_due_ms(now_ms) {
            Some(due_ms) if due_ms <= now_ms => {
                let airtime_us = self.line.frame_us(self.frame_bytes_max);
                let leaves_in_ms = self.ledger.leaves_in_ms(now_ms, airtime_us, Priority::Control);
                // Never before the next millisecond: one NACK at a time is taken up.
                times.extend(leaves_in_ms.map(|ms| now_ms + ms.max(1)));
            }
            due_ms => later.extend(due_ms),
        }
        times.extend(later.into_iter().filter(|due_ms| *due_ms > now_ms));
        times.into_iter().min()
    }

    /// When there is something to ask or to say about long messages, and airtime set apart for it.
    fn nack_due_ms(&mut self, now_ms: u64) -> Option<u64> {
        let due_ms = self.sender.nack_due_ms(now_ms).into_iter().chain(self.listener.poll_timeout()).min()?;
        Some(due_ms.max(self.outbox.nacks.free_ms()))
    }

    /// Questions about what is missing, and word on what is there no more; one waits at a time.
    fn collect_nacks(&mut self, now_ms: u64) {
        let airtime_us = self.line.frame_us(self.frame_bytes_max);
        if self.outbox.has_nack()
            || self.outbox.nacks.free_ms() > now_ms
            || self.ledger.verdict(now_ms, airtime_us, Priority::Control) != Verdict::Now
        {
            return;
        }
        let payload_max = self.payload_bytes_max();
        let nack = self.listener.poll_nack(now_ms, payload_max).or_else(|| self.sender.poll_nack(now_ms));
        if let Some(nack) = nack {
            let nack_us = self.line.frame_us(self.padded_bytes(nack.payload.len()));
            self.outbox.nacks.spent(now_ms, nack_us.div_ceil(1_000));
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

    /// The most urgent that is legal, and what it is charged to.
    fn choose(&mut self, now_ms: u64) -> Option<(Chance, Priority)> {
        let chances = self.chances(now_ms);
        chances.into_iter().find_map(|chance| {
            let airtime_us = self.line.frame_us(chance.frame_bytes);
            let legal =
                |priority: &Priority| self.ledger.verdict(now_ms, airtime_us, *priority) == Verdict::Now;
            chance.priorities.into_iter().find(legal).map(|priority| (chance, priority))
        })
    }

    /// What could be sent now, the most urgent first. Where the call sign or our opening must go first, that alone.
    fn chances(&self, now_ms: u64) -> Vec<Chance> {
        let first = |work, frame_bytes| vec![Chance { work, frame_bytes, priorities: UNAVOIDABLE }];
        let work = self.work(now_ms);
        let call_due = match self.call_sign_due_ms() {
            Some(due_ms) => now_ms >= due_ms && (self.outbox.call.traffic_since || !work.is_empty()),
            None => self.call_sign.is_some() && !work.is_empty(),
        };
        if let Some(call_sign) = self.call_sign.as_ref().filter(|_| call_due) {
            return first(Work::CallSign, call_sign_frame(call_sign, self.frame_bytes_min).len());
        }
        if let Some(rest) = self.outbox.opening.front() {
            return first(Work::OpeningRest, rest.len());
        }
        let announced = self.mode == Mode::SignedClear || self.own.is_announced();
        if announced || !work.iter().any(|chance| self.is_sealed(&chance.work)) {
            return work;
        }
        // What is sealed cannot be understood before our opening, which therefore takes its place.
        let clear = work.into_iter().filter(|chance| !self.is_sealed(&chance.work));
        first(Work::Opening, OPENING_BYTES.min(self.fit.frame_bytes())).into_iter().chain(clear).collect()
    }

    fn is_sealed(&self, work: &Work) -> bool {
        match work {
            Work::Queue(priority) => {
                let front = self.outbox.queues.get(priority).and_then(VecDeque::front);
                matches!(front, Some(Item::Sealed { .. }))
            }
            Work::Fragment(_) => true,
            _ => false,
        }
    }

    fn call_sign_due_ms(&self) -> Option<u64> {
        self.outbox.call.due_ms(self.call_sign.as_ref()?)
    }

    fn work(&self, now_ms: u64) -> Vec<Chance> {
        let mut work = Vec::new();
        for priority in Priority::ALL {
            if let Some(item) = self.outbox.queues.get(&priority).and_then(VecDeque::front) {
                work.push(Chance::new(Work::Queue(priority), self.frame_bytes(item), priority));
            }
            if priority == Priority::Upkeep {
                work.extend(self.upkeep(now_ms));
            }
            let of_priority = self.sender.waiting().filter(|waiting| {
                self.outbox.meta(waiting.message).map_or(Priority::Bulk, |meta| meta.priority) == priority
            });
            // The one with the fewest to go: a short one does not wait behind a long one.
            if let Some(waiting) = of_priority.min_by_key(|waiting| waiting.fragments) {
                let frame_bytes = self.padded_bytes(waiting.payload_bytes);
                // Who asks is not known for certain: repairs leave to what is new what bulk leaves.
                let charged_as = if waiting.repair { Priority::Bulk } else { priority };
                work.push(Chance::new(Work::Fragment(waiting.message), frame_bytes, charged_as));
            }
        }
        work
    }

    fn upkeep(&self, now_ms: u64) -> impl Iterator<Item = Chance> {
        let sealed = self.mode == Mode::Encrypted;
        let opening_bytes = OPENING_BYTES.min(self.fit.frame_bytes());
        let free_ms = self.outbox.provoked.free_ms();
        let is_free = free_ms <= now_ms;
        let own = self.own.due_ms(free_ms).is_some_and(|due_ms| due_ms <= now_ms);
        let own = own.then(|| Chance::new(Work::Opening, opening_bytes, Priority::Upkeep));
        let question = self.epochs.question(now_ms).filter(|_| is_free).map(Work::Question);
        let question_bytes = REQUEST_BYTES.max(self.frame_bytes_min);
        let question = question.map(|work| Chance::new(work, question_bytes, Priority::Upkeep));
        let correction = self
            .epochs
            .correction(now_ms)
            .filter(|_| is_free)
            .map(|(peer, opening)| Work::Correction(peer, opening));
        let correction = correction.map(|work| Chance::new(work, opening_bytes, Priority::Upkeep));
        question.into_iter().chain(own).chain(correction).filter(move |_| sealed)
    }

    fn frame_bytes(&self, item: &Item) -> usize {
        match item {
            Item::Sealed { payload, .. } => self.padded_bytes(payload.len()),
            Item::Raw { frame, .. } => frame.len(),
        }
    }

    /// Makes the frame; `None` if it cannot be made any more, and is gone.
    fn take(&mut self, now_ms: u64, chance: &Chance) -> Option<(Vec<u8>, Account)> {
        let is_provoked = match chance.work {
            Work::Question(_) | Work::Correction(..) => true,
            Work::Opening => self.own.is_asked(),
            _ => false,
        };
        if is_provoked {
            let airtime_us = self.line.frame_us(chance.frame_bytes);
            self.outbox.provoked.spent(now_ms, airtime_us.div_ceil(1_000));
        }
        let frame = match chance.work {
            Work::CallSign => {
                self.outbox.call = Call { sent_ms: Some(now_ms), traffic_since: false };
                call_sign_frame(self.call_sign.as_ref()?, self.frame_bytes_min)
            }
            Work::OpeningRest => self.outbox.opening.pop_front()?,
            Work::Opening => self.take_opening(now_ms)?,
            Work::Question(address) => {
                let jitter_ms = self.wait_ms(WAIT_FRAMES);
                self.epochs.asked(now_ms, &address, jitter_ms);
                address.encode_padded(self.frame_bytes_min)
            }
            Work::Correction(peer, opening) => {
                self.epochs.corrected(now_ms, &peer);
                self.begin_opening(&peer, &opening)?
            }
            Work::Queue(priority) => {
                return match self.outbox.queues.get_mut(&priority)?.pop_front()? {
                    Item::Raw { frame, account } => Some((frame, account)),
                    Item::Sealed { kind, payload, meta, .. } => {
                        Some((self.seal(now_ms, kind, &payload, &meta)?, meta.account))
                    }
                };
            }
            Work::Fragment(message) => {
                let fragment = self.sender.take(now_ms, message)?;
                let meta = self.outbox.meta(message).copied().unwrap_or(Meta {
                    channel: fragment.channel,
                    priority: Priority::Bulk,
                    account: Account::OTHERS,
                    under: Under::Present,
                });
                let meta = self.pin_key(message, meta);
                let frame = self.seal(now_ms, Kind::FRAGMENT, &fragment.payload, &meta);
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

    /// Our opening. It is signed anew only when our counters have moved on far: the parts of one that was heard in part fit those
    /// of the next.
    fn take_opening(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        let next = self.channels.highest_counter();
        let again = if self.own.is_asked() { SIGN_AGAIN_ASKED_FRAMES } else { SIGN_AGAIN_FRAMES };
        let known = self.own.opening.filter(|known| next.saturating_sub(known.counter) < again);
        let opening = known.unwrap_or_else(|| {
            let counter = self.channels.align_counters();
            Opening::sign(&self.us, self.own.epoch, counter)
        });
        self.own.opening = Some(opening);
        self.own.sent_opening(now_ms);
        let me = self.me;
        self.begin_opening(&me, &opening)
    }

    /// The first frame of an opening; the rest waits.
    fn begin_opening(&mut self, peer: &PeerId, opening: &Opening) -> Option<Vec<u8>> {
        let (alias, hint) = self.channels.address(peer)?;
        let mut frames: VecDeque<_> = opening.encode(alias, hint, self.fit.frame_bytes()).into();
        let first = frames.pop_front()?;
        self.outbox.opening = frames;
        Some(first)
    }

    fn seal(&mut self, now_ms: u64, kind: Kind, payload: &[u8], meta: &Meta) -> Option<Vec<u8>> {
        let Meta { channel, under, .. } = meta;
        let Some(counter) = self.channels.take_counter(channel) else {
            // 2^32 frames in one epoch, or somebody pushed us there: the next one.
            if self.channels.get(channel).is_some() {
                self.renew(now_ms, self.own.epoch.number);
            }
            return None;
        };
        let sealed = match self.mode {
            Mode::SignedClear => {
                let (alias, hint) = (Alias::clear(channel), Hint::clear(channel, &self.me));
                let header = Header { kind, epoch_low: 0, alias, hint, counter_low: counter.low() };
                write_clear_padded(header, payload, self.frame_bytes_min)
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
        self.own.sent_frame(now_ms);
        Some(sealed)
    }
}

/// `DE` and the call sign, in clear text; spaces fill it up.
fn call_sign_frame(call_sign: &CallSign, bytes_min: usize) -> Vec<u8> {
    let mut frame = [&[Kind::CALL_SIGN.first_byte(0)], b"DE ".as_slice(), call_sign.text.as_bytes()].concat();
    frame.resize(frame.len().max(bytes_min), b' ');
    frame
}
