//! The listening side: fragments go to the assembler, and what is missing is asked for in its time.

use super::{
    BACKOFF_MAX, Budget, NACK_BYTES_MIN, NackError, NackHead, SPREAD_FRAMES, WAIT_FRAMES, Wanted, whose,
};
use crate::bulk::fragment::{
    Assembler, FragmentError, FragmentPlace, MemoryLimits, MessageId, Progress, Source,
};
use crate::peer::PeerId;
use crate::split_mix::SplitMix64;
use crate::time::{Millis, Mono};
use std::collections::BTreeMap;

/// The first wait for an answer beyond the time that the answer takes, in full frames; then it doubles.
const BACKOFF_FIRST_FRAMES: u64 = 4;
/// Questions to a source at once and each hour, while nothing new comes from it.
const QUESTIONS_AT_ONCE: u64 = 20;
const QUESTIONS_AN_HOUR: u64 = 20;
/// What a new fragment adds to that, in thousandths of a question.
const EARNED_PERMILLE: u64 = 250;
/// After so much silence, and at least [`SILENCE_FRAMES`], a frame from a source is news.
const SILENCE: Millis = Millis::from_ms(60_000);
const SILENCE_FRAMES: u64 = 20;
/// A sender's fragments are not expected slower than this; then one is lost, or the sender waits for its turn.
const PACE_MAX: Millis = Millis::from_ms(60_000);
/// A message that got a fragment so short a while ago is still on its way.
pub const GOES_ON_WITHIN: Millis = Millis::from_ms(600_000);
/// Sources with a budget; beyond, the one unheard for longest starts again.
const EARS_MAX: usize = 256;

/// A NACK to be sent now as the payload of a frame of kind Nack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutNack {
    /// Under whose audience key it goes.
    pub channel: PeerId,
    /// Its addressee: the sender of the message that it speaks of, or the peer that asked for that.
    pub to: PeerId,
    /// The payload of the frame that carries it.
    pub payload: Vec<u8>,
}

/// All that one node hears in fragments. Drive it: hand each payload of a Fragment frame to
/// [`fragment`](Self::fragment), of a Nack frame also to [`nack`](Self::nack), and at
/// [`poll_timeout`](Self::poll_timeout) send what [`poll_nack`](Self::poll_nack) gives.
#[derive(Debug)]
pub struct Listener {
    assembler: Assembler,
    frame_airtime: Millis,
    /// Spreads the answers of several listeners; nothing secret comes of it.
    jitter: SplitMix64,
    asks: BTreeMap<(Source, MessageId), NackTimer>,
    ears: BTreeMap<Source, Ear>,
    /// When a fragment was heard last on a channel.
    fragments: BTreeMap<PeerId, Mono>,
}

/// When a message is asked for next.
#[derive(Debug)]
struct NackTimer {
    due: Mono,
    /// Questions since the last new fragment.
    attempts: u32,
    /// Whether the first burst is over, so that the place of a fragment reveals nothing about what is to come.
    asked: bool,
    /// The sender reported that it has it no more.
    gone: bool,
    /// The place in the burst of the fragment heard last, and when.
    last: (u64, Mono),
    /// Time from fragment to fragment, as heard.
    pace: Millis,
}

#[derive(Debug)]
struct Ear {
    heard_at: Mono,
    questions: Budget,
}

impl Listener {
    /// On a line where a full frame takes `frame_airtime`. `seed` is random, another one at each node: who asks
    /// first must differ.
    pub fn new(limits: MemoryLimits, frame_airtime: Millis, seed: u64) -> Self {
        Self {
            assembler: Assembler::new(limits),
            frame_airtime: frame_airtime.max(Millis::from_ms(1)),
            jitter: SplitMix64::new(seed),
            asks: BTreeMap::new(),
            ears: BTreeMap::new(),
            fragments: BTreeMap::new(),
        }
    }

    /// Sets the airtime of a full frame, after the radio changed its rate.
    pub fn set_frame_airtime(&mut self, frame_airtime: Millis) {
        self.frame_airtime = frame_airtime.max(Millis::from_ms(1));
    }

    /// What is held, and the counters.
    pub fn assembler(&self) -> &Assembler {
        &self.assembler
    }

    /// What a source has sent so far is held here, by its own report: a message of it that is not whole yet brings nothing new, and is
    /// not asked for any more. One that got a fragment within [`GOES_ON_WITHIN`] goes on: the report may be older than it.
    pub fn holds_all_of(&mut self, now: Mono, channel: PeerId, sender: PeerId) {
        self.assembler.drop_begun(now, &Source { channel, sender }, GOES_ON_WITHIN);
        self.forget_closed();
    }

    /// Drops all of a channel.
    pub fn drop_channel(&mut self, channel: &PeerId) {
        self.assembler.drop_channel(channel);
        self.ears.retain(|source, _| source.channel != *channel);
        self.fragments.remove(channel);
        self.forget_closed();
    }

    /// Takes the payload of a frame of kind Fragment that `sender` sent on a channel.
    ///
    /// # Errors
    /// [`FragmentError`], counted; whatever else is held goes on.
    pub fn fragment(
        &mut self,
        now: Mono,
        channel: PeerId,
        sender: PeerId,
        payload: &[u8],
    ) -> Result<Progress, FragmentError> {
        let source = Source { channel, sender };
        self.fragments.insert(channel, now);
        let result = self.assembler.receive(now, source, payload);
        self.forget_closed();
        self.heard(now, channel, sender);
        let Ok((place, _)) = FragmentPlace::open(payload) else { return result };
        let fresh = matches!(result, Ok(Progress::Part | Progress::Whole(_)));
        if self.assembler.layout(&(source, place.id)).is_some() {
            self.expect_more(now, source, place, fresh);
        }
        if fresh {
            self.ear(now, source).questions.earn(EARNED_PERMILLE);
        }
        result
    }

    /// Whether no peer is sending a long message on a channel, or was until a short while ago.
    pub fn is_quiet(&self, now: Mono, channel: &PeerId) -> bool {
        let settle = (WAIT_FRAMES + SPREAD_FRAMES) * self.frame_airtime;
        self.fragments.get(channel).is_none_or(|heard_at| *heard_at + settle <= now)
    }

    /// Any frame of a sender was heard on a channel: was it silent, then what it owes is asked for soon.
    pub fn heard(&mut self, now: Mono, channel: PeerId, sender: PeerId) {
        let source = Source { channel, sender };
        let silence = SILENCE.max(SILENCE_FRAMES * self.frame_airtime);
        let Some(ear) = self.ears.get_mut(&source) else { return };
        let silent = now.since(ear.heard_at) >= silence;
        ear.heard_at = now;
        if !silent {
            return;
        }
        let soon = now + self.frame_airtime * WAIT_FRAMES + self.spread();
        let waiting = self.asks.iter_mut().filter(|((other, _), ask)| *other == source && !ask.gone);
        waiting.for_each(|(_, ask)| ask.due = ask.due.min(soon));
    }

    /// Hears a NACK that `from` sent on a channel: where it asks for all that we lack it is as good as ours.
    ///
    /// # Errors
    /// [`NackError`]; it is then without effect.
    pub fn nack(
        &mut self,
        now: Mono,
        channel: PeerId,
        from: PeerId,
        payload: &[u8],
    ) -> Result<(), NackError> {
        let (head, entries) = NackHead::open(payload)?;
        let speaks_of = |(source, id): &&(Source, MessageId)| {
            source.channel == channel && *id == head.id && whose(&source.sender) == head.whose
        };
        let keys: Vec<_> = self.assembler.open_keys().filter(speaks_of).copied().collect();
        for key in keys {
            if entries.is_empty() {
                self.gone(now, &key, from);
                continue;
            }
            let Some(layout) = self.assembler.layout(&key) else { continue };
            let asked = head.entries(layout, entries)?;
            let lacking = self.assembler.lacks(&key);
            if lacking.iter().all(|own| covers(&asked, own)) {
                self.wait_for_answer(now, &key, &lacking);
            }
        }
        Ok(())
    }

    /// The question that is due, in at most `payload_max` bytes; it counts as asked. Call until `None`.
    pub fn poll_nack(&mut self, now: Mono, payload_max: usize) -> Option<OutNack> {
        if payload_max < NACK_BYTES_MIN {
            return None;
        }
        self.assembler.expire(now);
        self.forget_closed();
        loop {
            let due = self.asks.iter().filter(|(_, ask)| ask.due <= now);
            let key = due.min_by_key(|(_, ask)| ask.due).map(|(key, _)| *key)?;
            let questions = &mut self.ear(now, key.0).questions;
            if questions.draw(now, 1) == 0 {
                let filled_at = questions.filled_at().max(now + Millis::from_ms(1));
                self.asks.get_mut(&key)?.due = filled_at;
                continue;
            }
            let (layout, lacking) = (self.assembler.layout(&key)?, self.assembler.lacks(&key));
            let (source, id) = key;
            let payload = NackHead { whose: whose(&source.sender), id }.seal(layout, &lacking, payload_max);
            if let Some(ask) = self.asks.get_mut(&key) {
                ask.attempts = ask.attempts.saturating_add(1);
            }
            self.wait_for_answer(now, &key, &lacking);
            return Some(OutNack { channel: source.channel, to: source.sender, payload });
        }
    }

    /// When the next question is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.asks.values().map(|ask| ask.due).min()
    }

    /// After a fragment of an open message: more are to come, or it is time to ask.
    fn expect_more(&mut self, now: Mono, source: Source, place: FragmentPlace, fresh: bool) {
        let spread = self.spread();
        let airtime = self.frame_airtime;
        self.ear(now, source);
        let blocks = place.layout.blocks() as u64;
        let at = u64::from(place.index) * blocks + u64::from(place.block);
        let ask = self.asks.entry((source, place.id)).or_insert(NackTimer {
            due: now,
            attempts: 0,
            asked: false,
            gone: false,
            last: (at, now),
            pace: airtime,
        });
        ask.gone = false;
        if fresh {
            ask.attempts = 0;
        }
        let mut to_come = 0;
        if !ask.asked {
            ask.measure(now, at, airtime);
            to_come = u64::from(place.layout.count).saturating_sub(at + 1);
        }
        ask.due = now + (to_come + WAIT_FRAMES) * ask.pace + spread;
    }

    /// After a question, ours or one as good: the time the answer takes, and a wait that doubles.
    fn wait_for_answer(&mut self, now: Mono, key: &(Source, MessageId), lacking: &[Wanted]) {
        let spread = self.spread();
        let jitter = self.jitter.below(512);
        let first = self.frame_airtime * BACKOFF_FIRST_FRAMES;
        let Some(ask) = self.asks.get_mut(key) else { return };
        ask.asked = true;
        let deficit: u64 = lacking.iter().map(|wanted| wanted.deficit as u64).sum();
        let answer = (deficit + deficit / 4 + WAIT_FRAMES) * ask.pace;
        let doubled = first * (1 << ask.attempts.saturating_sub(1).min(20));
        // Between three and five quarters, so that listeners do not ask in step.
        let backoff = doubled.min(BACKOFF_MAX) * (768 + jitter) / 1024;
        ask.due = now + answer.min(BACKOFF_MAX) + backoff + spread;
    }

    /// The sender itself reports that it has the message no more; should that be false, it is asked again in an hour.
    fn gone(&mut self, now: Mono, key: &(Source, MessageId), from: PeerId) {
        let spread = self.spread();
        if let Some(ask) = self.asks.get_mut(key).filter(|_| key.0.sender == from) {
            ask.gone = true;
            ask.due = now + BACKOFF_MAX + spread;
        }
    }

    fn forget_closed(&mut self) {
        let assembler = &self.assembler;
        self.asks.retain(|key, _| assembler.layout(key).is_some());
    }

    fn ear(&mut self, now: Mono, source: Source) -> &mut Ear {
        if self.ears.len() >= EARS_MAX && !self.ears.contains_key(&source) {
            let oldest = self.ears.iter().min_by_key(|(_, ear)| ear.heard_at).map(|(source, _)| *source);
            oldest.map(|source| self.ears.remove(&source));
        }
        let questions = || Budget::new(QUESTIONS_AT_ONCE, QUESTIONS_AN_HOUR, now);
        self.ears.entry(source).or_insert_with(|| Ear { heard_at: now, questions: questions() })
    }

    fn spread(&mut self) -> Millis {
        Millis::from_ms(self.jitter.below((SPREAD_FRAMES * self.frame_airtime).ms()))
    }
}

impl NackTimer {
    /// How fast the burst goes, as far as it is heard.
    fn measure(&mut self, now: Mono, at: u64, airtime: Millis) {
        let (last, last_at) = self.last;
        if at > last {
            let sample = now.since(last_at) / (at - last);
            self.pace = (3 * self.pace + sample.clamp(airtime, PACE_MAX.max(airtime))) / 4;
            self.last = (at, now);
        }
    }
}

/// Whether what another asked for brings us what we lack of a block.
fn covers(asked: &[Wanted], own: &Wanted) -> bool {
    asked.iter().any(|other| other.block == own.block && other.deficit >= own.deficit)
}
