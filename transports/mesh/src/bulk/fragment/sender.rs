//! The sending side: messages held for hours, their first burst, and what listeners ask for again.

use super::{FRAGMENT_BYTES_MAX, FragmentPlace, KINDS, Layout, MESSAGE_BYTES_MAX, MessageId, PRINT_BYTES};
use super::{STREAM_HEAD_BYTES, hash, hash_of_id, write_stream};
use crate::bulk::parity::{self, PARITY_MAX, Plan};
use crate::bulk::repair::{
    Budget, NackError, NackHead, OutNack, SPREAD_FRAMES, WAIT_FRAMES, Wanted, all, whose,
};
use crate::peer::PeerId;
use crate::time::{Millis, Mono};
use std::collections::{BTreeMap, VecDeque};

/// How long a message is held for listeners, and a part of one for its rest, after the last sign of life.
pub const AGE_MAX: Millis = Millis::from_ms(12 * 3_600_000);
/// Ids that are not given to another message so soon: twice what a listener remembers.
const RECENT_IDS_MAX: usize = 64;
/// Peers with a budget of their own for each message; those beyond have only the common one.
const ASKERS_MAX: usize = 64;
/// Questions for messages that are not there, waiting to be answered so; beyond, the oldest goes unanswered.
const GONE_MAX: usize = 8;
/// So many answers of that kind at once, and so many each hour: ids that never were cost nothing to ask for.
const NOTICES_AT_ONCE: u64 = 8;
const NOTICES_AN_HOUR: u64 = 16;
/// A message that is not there is answered for once in this time.
const GONE_EVERY: Millis = Millis::from_ms(600_000);
/// A question heard within so many full frames after the last repair was asked before it.
const ROUND_FRAMES: u64 = 2;

/// What a sender holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderLimits {
    /// Messages; finished ones give way, the one longest unasked for first, then an offer is refused.
    pub messages_max: usize,
    /// Bytes of them all; as above.
    pub bytes_max: usize,
}

impl Default for SenderLimits {
    /// Sixteen messages (half of what a listener remembers as delivered), four of which may be of 64 KiB.
    fn default() -> Self {
        Self { messages_max: 16, bytes_max: 4 * (MESSAGE_BYTES_MAX + 1024) }
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// The message is longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {bytes} bytes; a radio takes {bytes_max}")]
    TooLong {
        /// Length of the message in bytes.
        bytes: usize,
        /// The most there can be.
        bytes_max: usize,
    },
    /// The frames are so small that the message would have more than 4096 fragments, or fragments no room at all.
    #[error("a message of {bytes} bytes cannot be cut into fragments of {payload_max}")]
    TooSmallFrames {
        /// Length of the message in bytes.
        bytes: usize,
        /// What one frame carries.
        payload_max: usize,
    },
    /// Not one of [`KINDS`].
    #[error("{kind} is no kind of message")]
    Kind {
        /// The kind that was given.
        kind: u8,
    },
    /// Everything held is still being sent.
    #[error("{messages} messages are being sent already")]
    Full {
        /// How many messages are held.
        messages: usize,
    },
}

/// A message to be cut into fragments.
#[derive(Clone, Copy, Debug)]
pub struct OutMessage<'a> {
    /// Owner of the audience that it is for.
    pub channel: PeerId,
    /// The kind of message, 5 to 15.
    pub kind: u8,
    /// At most [`MESSAGE_BYTES_MAX`] bytes.
    pub bytes: &'a [u8],
    /// The longest payload of one fragment, in bytes.
    pub fragment_payload_max: usize,
    /// The loss in thousandths that the parity of the first burst is planned for.
    pub loss_permille: u16,
}

/// A fragment to be sent now as the payload of a frame of kind Fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutFragment {
    /// Which message it is of.
    pub message: MessageId,
    /// Under whose audience key it goes.
    pub channel: PeerId,
    /// The payload of the frame that carries it.
    pub payload: Vec<u8>,
    /// Whether a listener asked for it.
    pub repair: bool,
}

/// A message that has fragments to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The message that the fragments belong to.
    pub message: MessageId,
    /// Under whose audience key it goes.
    pub channel: PeerId,
    /// Length of each of its fragments' payloads.
    pub payload_bytes: usize,
    /// Fragments to go, parity and repairs included.
    pub fragments: usize,
    /// Fragments that it is sent in before any listener asks, parity included.
    pub fragments_first: usize,
    /// Whether the next one is a repair.
    pub repair: bool,
}

/// What a listener's questions reveal about the length of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalReport {
    /// The message that the report is about.
    pub message: MessageId,
    /// Length of each of its fragments' payloads.
    pub payload_bytes: usize,
    /// Fragments sent since its last question; 0 at the first.
    pub sent: usize,
    /// Of them, how many it got.
    pub arrived: usize,
}

/// All messages that one node sends in fragments, on all channels. Drive it: [`offer`](Self::offer), then
/// [`next_fragment`](Self::next_fragment) (or [`take`](Self::take) of the one that matters most) whenever a frame
/// may go out; hand each NACK heard to [`nack`](Self::nack); send what [`poll_nack`](Self::poll_nack) gives.
#[derive(Debug)]
pub struct Sender {
    me: PeerId,
    frame_airtime: Millis,
    limits: SenderLimits,
    held: BTreeMap<MessageId, Held>,
    recent: VecDeque<MessageId>,
    gone: VecDeque<Gone>,
    notices: Budget,
    offers: u64,
    arrivals: Option<ArrivalReport>,
}

#[derive(Debug)]
struct Gone {
    channel: PeerId,
    id: MessageId,
    to: PeerId,
    said_at: Option<Mono>,
}

#[derive(Debug)]
struct Held {
    channel: PeerId,
    hash: [u8; 32],
    layout: Layout,
    stream: Vec<u8>,
    plan: Plan,
    /// Which offer it came with: of two with as much to go the older goes first.
    offer: u64,
    active_at: Mono,
    /// Fragments of the first burst: row by row over the blocks, so that a burst of loss meets each block alike.
    burst: Burst,
    blocks: Vec<BlockRepair>,
    /// Repairs of all listeners together, and of each.
    repairs: Budget,
    askers: BTreeMap<PeerId, Asker>,
    last_repair_at: Mono,
    /// Listeners were reminded of it, and none has asked for anything since.
    reminded: bool,
    /// Fragments sent so far.
    sent: usize,
}

/// A listener that asks.
#[derive(Debug)]
struct Asker {
    budget: Budget,
    /// At its last question: fragments sent by then, and how many it lacked.
    last: (usize, usize),
}

#[derive(Debug)]
struct Burst {
    row: usize,
    block: u8,
    to_go: usize,
    parity: usize,
}

/// What is still to be sent of a block, and what this round has come to.
#[derive(Clone, Copy, Debug, Default)]
struct BlockRepair {
    parity_sent: usize,
    pending: usize,
    /// The most that a listener lacked in this round.
    deficit: usize,
    /// Missing data, for when all parity has been sent.
    union: u64,
}

impl Sender {
    /// For the node `me`, on a line where a full frame takes `frame_airtime`.
    pub fn new(me: PeerId, limits: SenderLimits, frame_airtime: Millis) -> Self {
        let (held, recent, gone) = (BTreeMap::new(), VecDeque::new(), VecDeque::new());
        let notices = Budget::new(NOTICES_AT_ONCE, NOTICES_AN_HOUR, Mono::ZERO);
        let (frame_airtime, arrivals) = (frame_airtime.max(Millis::from_ms(1)), None);
        Self { me, frame_airtime, limits, held, recent, gone, notices, offers: 0, arrivals }
    }

    /// Sets the airtime of a full frame, after the radio changed its rate.
    pub fn set_frame_airtime(&mut self, frame_airtime: Millis) {
        self.frame_airtime = frame_airtime.max(Millis::from_ms(1));
    }

    /// Takes a message to send in fragments, with the parity that its loss calls for. A message that is being sent already is
    /// not begun again; one that was sent starts again, under another id, since listeners may take it for delivered. To go on
    /// with one, [`remind`](Self::remind).
    ///
    /// # Errors
    /// [`OfferError`]; nothing is then kept.
    pub fn offer(&mut self, now: Mono, message: OutMessage<'_>) -> Result<MessageId, OfferError> {
        let OutMessage { channel, kind, bytes, fragment_payload_max, .. } = message;
        let length = bytes.len();
        if length > MESSAGE_BYTES_MAX {
            return Err(OfferError::TooLong { bytes: length, bytes_max: MESSAGE_BYTES_MAX });
        }
        if !KINDS.contains(&kind) {
            return Err(OfferError::Kind { kind });
        }
        let layout = Layout::of(STREAM_HEAD_BYTES + length + PRINT_BYTES, fragment_payload_max)
            .ok_or(OfferError::TooSmallFrames { bytes: length, payload_max: fragment_payload_max })?;
        let hash = hash(kind, bytes);
        let same = |held: &Held| held.channel == channel && held.hash == hash && held.to_go() > 0;
        if let Some((id, _)) = self.held.iter().find(|(_, held)| same(held)) {
            return Ok(*id);
        }
        self.make_room(now, layout.stream_bytes())?;
        let id = self.choose_id(&hash);
        self.offers += 1;
        self.held.insert(id, Held::new(now, message, hash, layout, self.offers));
        Ok(id)
    }

    /// Sends one more fragment of a message whose burst is over, so that a listener that lacks more asks for it. Whether it does: not
    /// if no listener has asked since the last such reminder, and not if the message is not held.
    pub fn remind(&mut self, now: Mono, message: MessageId) -> bool {
        let Some(held) = self.held.get_mut(&message).filter(|held| held.to_go() > 0 || !held.reminded) else {
            return false;
        };
        if held.to_go() == 0
            && let Some(block) = held.blocks.first_mut()
        {
            (block.pending, held.reminded, held.active_at) = (1, true, now);
        }
        true
    }

    /// Whether fragments of a message are to go, or went so short a while ago that listeners may still ask.
    pub fn is_under_way(&self, now: Mono, message: MessageId) -> bool {
        let settle = (WAIT_FRAMES + SPREAD_FRAMES + ROUND_FRAMES) * self.frame_airtime;
        self.held.get(&message).is_some_and(|held| held.to_go() > 0 || now < held.active_at + settle)
    }

    /// Ends a message: it is out of date. Its listeners learn that when they ask.
    pub fn forget(&mut self, message: MessageId) -> bool {
        self.held.remove(&message).is_some()
    }

    /// Ends all of a channel: it is no longer ours to speak on.
    pub fn drop_channel(&mut self, channel: &PeerId) {
        self.held.retain(|_, held| held.channel != *channel);
        self.gone.retain(|gone| gone.channel != *channel);
    }

    /// Whether this message is held.
    pub fn holds(&self, message: MessageId) -> bool {
        self.held.contains_key(&message)
    }

    /// When [`poll_nack`](Self::poll_nack) returns something.
    pub fn nack_due(&mut self, now: Mono) -> Option<Mono> {
        let waits = self.gone.iter().any(|gone| gone.said_at.is_none());
        let empty = waits && self.notices.is_empty(now);
        waits.then(|| if empty { self.notices.filled_at().max(now + Millis::from_ms(1)) } else { now })
    }

    /// The messages that have fragments to send now.
    pub fn waiting(&self) -> impl Iterator<Item = Waiting> {
        self.held.iter().filter(|(_, held)| held.to_go() > 0).map(|(id, held)| Waiting {
            message: *id,
            channel: held.channel,
            payload_bytes: held.layout.header_bytes() + held.layout.shard_bytes,
            fragments: held.to_go(),
            fragments_first: usize::from(held.layout.count) + held.burst.parity * held.layout.blocks(),
            repair: held.burst.to_go == 0,
        })
    }

    /// The next fragment of the message with the fewest to go, so that a short one does not wait behind 64 KiB.
    pub fn next_fragment(&mut self, now: Mono) -> Option<OutFragment> {
        let waiting = self.held.iter().filter(|(_, held)| held.to_go() > 0);
        let next = waiting.min_by_key(|(_, held)| (held.to_go(), held.offer)).map(|(id, _)| *id)?;
        self.take(now, next)
    }

    /// The next fragment of this message; it counts as sent.
    pub fn take(&mut self, now: Mono, message: MessageId) -> Option<OutFragment> {
        // What is too old may start again where it was delivered and forgotten.
        self.expire(now);
        let held = self.held.get_mut(&message)?;
        held.active_at = now;
        let repair = held.burst.to_go == 0;
        let (block, index) = if repair { held.next_repair(now)? } else { held.next_of_burst()? };
        let payload = held.fragment(message, block, index)?;
        held.sent = held.sent.saturating_add(1);
        Some(OutFragment { message, channel: held.channel, payload, repair })
    }

    /// Hears a NACK that `from` sent on a channel. Gives the fragments queued because of it.
    ///
    /// # Errors
    /// [`NackError`]; it is then without effect.
    pub fn nack(
        &mut self,
        now: Mono,
        channel: PeerId,
        from: PeerId,
        payload: &[u8],
    ) -> Result<usize, NackError> {
        let (head, entries) = NackHead::open(payload)?;
        if head.whose != whose(&self.me) || entries.is_empty() {
            return Ok(0);
        }
        let Some(held) = self.held.get_mut(&head.id).filter(|held| held.channel == channel) else {
            self.note_gone(now, channel, head.id, from);
            return Ok(0);
        };
        let wanted = head.entries(held.layout, entries)?;
        let queued = held.asked(now, from, &wanted, ROUND_FRAMES * self.frame_airtime);
        let lacking: usize = wanted.iter().map(|wanted| wanted.deficit).sum();
        self.arrivals = held.askers.get_mut(&from).map(|asker| {
            let (sent, lacked) = std::mem::replace(&mut asker.last, (held.sent, lacking));
            ArrivalReport {
                message: head.id,
                payload_bytes: held.layout.header_bytes() + held.layout.shard_bytes,
                sent: held.sent.saturating_sub(sent),
                arrived: lacked.saturating_sub(lacking),
            }
        });
        Ok(queued)
    }

    /// What the last NACK revealed, once.
    pub fn poll_arrivals(&mut self) -> Option<ArrivalReport> {
        self.arrivals.take()
    }

    /// Ends a message that is to be sent once more in another way, if it is held.
    pub fn forget_same(&mut self, channel: &PeerId, kind: u8, bytes: &[u8]) {
        let hash = hash(kind, bytes);
        self.held.retain(|_, held| held.channel != *channel || held.hash != hash);
    }

    /// The answer on a channel about messages that listeners ask for and that are not there (any more).
    pub fn poll_nack(&mut self, now: Mono) -> Option<OutNack> {
        let gone = self.gone.iter_mut().find(|gone| gone.said_at.is_none())?;
        if self.notices.draw(now, 1) == 0 {
            return None;
        }
        gone.said_at = Some(now);
        let head = NackHead { whose: whose(&self.me), id: gone.id };
        let payload = head.seal(Layout { count: 1, shard_bytes: 0 }, &[], usize::MAX);
        Some(OutNack { channel: gone.channel, to: gone.to, payload })
    }

    /// Drops what no listener has asked for in [`AGE_MAX`].
    pub fn expire(&mut self, now: Mono) {
        self.held.retain(|_, held| now.since(held.active_at) < AGE_MAX);
        let due = |gone: &Gone| gone.said_at.is_none_or(|said| now.since(said) < GONE_EVERY);
        self.gone.retain(due);
    }

    /// Bytes of messages held.
    pub fn held_bytes(&self) -> usize {
        self.held.values().map(|held| held.stream.len()).sum()
    }

    fn note_gone(&mut self, now: Mono, channel: PeerId, id: MessageId, to: PeerId) {
        self.expire(now);
        if self.gone.iter().any(|gone| gone.id == id && gone.channel == channel) {
            return;
        }
        if self.gone.len() >= GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(Gone { channel, id, to, said_at: None });
    }

    fn make_room(&mut self, now: Mono, bytes: usize) -> Result<(), OfferError> {
        self.expire(now);
        while self.held.len() >= self.limits.messages_max || self.held_bytes() + bytes > self.limits.bytes_max
        {
            let done = self.held.iter().filter(|(_, held)| held.to_go() == 0);
            let Some((id, _)) = done.min_by_key(|(_, held)| held.active_at) else {
                return Err(OfferError::Full { messages: self.held.len() });
            };
            let id = *id;
            self.held.remove(&id);
        }
        Ok(())
    }

    /// From the hash, so that the same message after a restart has the same id; but none that was used of late,
    /// since listeners would take its fragments for repairs of the other. And from the own identity: a NACK names the sender by
    /// one byte, and relays that have it in common send the same messages.
    fn choose_id(&mut self, hash: &[u8; 32]) -> MessageId {
        let hash_of_both = hash_of_id(hash, &self.me);
        let from_hash = hash_of_both.chunks_exact(2).filter_map(|pair| pair.first_chunk::<2>());
        let mut last = 0_u16;
        let mut candidates = from_hash.map(|pair| u16::from_be_bytes(*pair)).inspect(|id| last = *id);
        let free =
            |id: &u16| !self.recent.contains(&MessageId(*id)) && !self.held.contains_key(&MessageId(*id));
        let id = match candidates.find(free) {
            Some(id) => id,
            None => (0..=u16::MAX).map(|step| last.wrapping_add(step)).find(free).unwrap_or(last),
        };
        if self.recent.len() >= RECENT_IDS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(MessageId(id));
        MessageId(id)
    }
}

impl Held {
    fn new(now: Mono, message: OutMessage<'_>, hash: [u8; 32], layout: Layout, offer: u64) -> Self {
        let OutMessage { channel, kind, bytes, loss_permille, .. } = message;
        let stream = write_stream(kind, bytes, &hash, layout);
        let largest = layout.fragments_of(0);
        let plan = Plan::new(largest, layout.blocks(), loss_permille);
        let parity = plan.parity().min(PARITY_MAX);
        let to_go = usize::from(layout.count) + parity * layout.blocks();
        let count = u64::from(layout.count);
        Self {
            channel,
            hash,
            layout,
            stream,
            plan,
            offer,
            active_at: now,
            burst: Burst { row: 0, block: 0, to_go, parity },
            blocks: vec![BlockRepair { parity_sent: parity, ..BlockRepair::default() }; layout.blocks()],
            repairs: Budget::new(8 * count + 64, 2 * count + 16, now),
            askers: BTreeMap::new(),
            last_repair_at: Mono::ZERO,
            reminded: false,
            sent: 0,
        }
    }

    fn to_go(&self) -> usize {
        self.burst.to_go + self.blocks.iter().map(|block| block.pending).sum::<usize>()
    }

    /// Block and index of the next fragment of the first burst.
    fn next_of_burst(&mut self) -> Option<(u8, u8)> {
        let rows_max = self.layout.fragments_of(0) + self.burst.parity;
        while self.burst.row < rows_max {
            let (row, block) = (self.burst.row, self.burst.block);
            self.burst.block += 1;
            if usize::from(self.burst.block) >= self.layout.blocks() {
                (self.burst.block, self.burst.row) = (0, row + 1);
            }
            if row < self.layout.fragments_of(block) + self.burst.parity {
                self.burst.to_go = self.burst.to_go.saturating_sub(1);
                return Some((block, u8::try_from(row).ok()?));
            }
        }
        self.burst.to_go = 0;
        None
    }

    /// Block and index of the next repair: of the block that lacks most.
    fn next_repair(&mut self, now: Mono) -> Option<(u8, u8)> {
        let (at, block) = self.blocks.iter_mut().enumerate().max_by_key(|(_, block)| block.pending)?;
        block.pending = block.pending.checked_sub(1)?;
        self.last_repair_at = now;
        let number = u8::try_from(at).ok()?;
        let fragments = self.layout.fragments_of(number);
        let index = if block.parity_sent < PARITY_MAX {
            block.parity_sent += 1;
            fragments + block.parity_sent - 1
        } else {
            if block.union == 0 {
                block.union = all(fragments);
            }
            let index = block.union.trailing_zeros() as usize % fragments;
            block.union &= block.union.wrapping_sub(1);
            index
        };
        Some((number, u8::try_from(index).ok()?))
    }

    fn fragment(&self, id: MessageId, block: u8, index: u8) -> Option<Vec<u8>> {
        let (layout, shard_bytes) = (self.layout, self.layout.shard_bytes);
        let fragments = layout.fragments_of(block);
        let start = layout.fragments_before(block) * shard_bytes;
        let data = self.stream.get(start..start + fragments * shard_bytes)?;
        let place = FragmentPlace { id, layout, block, index };
        debug_assert!(layout.header_bytes() + shard_bytes <= FRAGMENT_BYTES_MAX);
        match usize::from(index).checked_sub(fragments) {
            None => data.chunks(shard_bytes).nth(usize::from(index)).map(|shard| place.seal(shard)),
            Some(number) => parity::parity(data, shard_bytes, number).ok().map(|shard| place.seal(&shard)),
        }
    }

    /// Queues what a NACK asks for, within the budgets; gives the number of fragments queued.
    fn asked(&mut self, now: Mono, from: PeerId, wanted: &[Wanted], round: Millis) -> usize {
        if self.burst.to_go > 0 {
            // What it lacks may be on its way yet; it asks again after the burst.
            return 0;
        }
        let pending = self.blocks.iter().any(|block| block.pending > 0);
        let recent = self.last_repair_at > Mono::ZERO && now <= self.last_repair_at + round;
        if !pending && !recent {
            self.blocks.iter_mut().for_each(|block| (block.deficit, block.union) = (0, 0));
        }
        self.note_asker(now, from, wanted);
        let queued = wanted.iter().map(|wanted| self.queue(now, from, wanted)).sum();
        // A listener that asks beyond its budget does not keep a message from giving way.
        if queued > 0 {
            (self.active_at, self.reminded) = (now, false);
        }
        queued
    }

    fn note_asker(&mut self, now: Mono, from: PeerId, wanted: &[Wanted]) {
        let (count, sent) = (u64::from(self.layout.count), self.sent);
        if self.askers.len() < ASKERS_MAX || self.askers.contains_key(&from) {
            self.askers.entry(from).or_insert_with(|| Asker {
                budget: Budget::new(3 * count + 16, count + 8, now),
                last: (sent, wanted.iter().map(|wanted| wanted.deficit).sum()),
            });
        }
    }

    /// In a round the listener that lacks most of a block counts: the fragments serve all.
    fn queue(&mut self, now: Mono, from: PeerId, wanted: &Wanted) -> usize {
        let Some(block) = self.blocks.get(usize::from(wanted.block)) else { return 0 };
        let (before, after) = (self.plan.repairs(block.deficit), self.plan.repairs(wanted.deficit));
        let own = self.askers.get_mut(&from).map(|asker| &mut asker.budget);
        let more = draw(now, after.saturating_sub(before), &mut self.repairs, own);
        if let Some(block) = self.blocks.get_mut(usize::from(wanted.block)) {
            block.union |= wanted.bitmap;
            block.pending += more;
            block.deficit = block.deficit.max(wanted.deficit);
        }
        more
    }
}

/// As many as both the common budget and the asker's own allow.
fn draw(now: Mono, wanted: usize, common: &mut Budget, own: Option<&mut Budget>) -> usize {
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let allowed = own.map_or(wanted, |own| own.draw(now, wanted));
    usize::try_from(common.draw(now, allowed)).unwrap_or(0)
}
