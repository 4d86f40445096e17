//! An emulated radio channel that many radios share, on virtual time: for tests, the simulator and the demo.
//!
//! It has what makes radio hard: time on air, half duplex, collisions at the receiver, stations that do not hear
//! each other, losses in bursts, carrier sense as TNCs do it; and on request frames that come damaged or twice.
//! Equal seeds and equal calls give equal frames, byte for byte.
//!
//! Left out: several spreading factors at once (one [`PhyRate`] for all; radios on different frequencies do not meet),
//! propagation time, and the sum of several weak interferers (the loudest counts).
//!
//! The owner calls [`Air::transmit`] with the frames of a radio, [`Air::poll`] until it is empty, and comes
//! again at [`Air::poll_timeout`]. Time is whatever clock the owner passes, so real ones will do; it does
//! not run backwards. Inside it runs in microseconds.

mod medium;
mod tally;

use crate::time::Mono;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::airtime::PhyRate;
use crate::split_mix::SplitMix64;
use medium::Propagation;
use tally::Log;

pub use medium::{Loss, Position};
pub use tally::{LOG_FRAMES_MAX, OnAir, RadioStats};

/// Radios on one channel.
pub const RADIOS_MAX: usize = 1_024;
/// Frames waiting in one radio that listens before it talks; a further one is refused.
pub const QUEUE_FRAMES_MAX: usize = 16;
/// The longest frame that a radio takes, in bytes.
pub const FRAME_BYTES_MAX: usize = 2_048;
/// Frames received and not yet polled, over all radios; beyond it the oldest is dropped, as lost.
pub const UNREAD_FRAMES_MAX: usize = 16_384;
/// A second copy comes so much later at most.
const DUPLICATE_LAG_MS: u64 = 2_000;

/// Names one radio of an [`Air`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmulatedRadioId(pub u16);

/// When a radio begins to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// At once, even while others are on air; a frame is refused while one is going out.
    AtOnce,
    /// When it hears no carrier, by p-persistence: with probability (`persistence` + 1)/256, else again after a slot.
    /// Frames wait in its queue.
    Listen {
        /// KISS parameter P: a slot is used with probability (P + 1) / 256.
        persistence: u8,
        /// Length of a slot in milliseconds.
        slot_ms: u32,
        /// A carrier younger than this is not noticed, milliseconds.
        detect_ms: u32,
    },
}

impl Access {
    /// Dire Wolf as it comes: P 63, slots of 100 ms; a carrier is noticed after about 100 ms.
    pub const TNC: Access = Access::Listen { persistence: 63, slot_ms: 100, detect_ms: 100 };
}

/// Faults beyond loss, per thousand frames received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Frames with one to three bits flipped.
    pub corrupt_permille: u32,
    /// Frames that come a second time within two seconds.
    pub duplicate_permille: u32,
}

/// Why a radio did not take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The radio is sending another frame.
    #[error("the radio is sending until {} ms", until.ms())]
    Sending {
        /// When that frame ends.
        until: Mono,
    },
    /// Its queue is full.
    #[error("the radio's queue is full")]
    QueueFull,
    /// The frame is longer than the line takes.
    #[error("{bytes} bytes are too long for a frame")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Switched off, or no radio of this channel.
    #[error("the radio is off")]
    Off,
}

#[derive(Clone, Debug)]
struct EmulatedRadio {
    on: bool,
    frequency_hz: u32,
    access: Access,
    queue: VecDeque<Vec<u8>>,
    /// An attempt to send is among the events.
    attempting: bool,
    sending: bool,
    stats: RadioStats,
}

/// A frame on air now.
#[derive(Clone, Debug)]
struct FrameOnAir {
    on_air: OnAir,
    /// Who else sent while it was on air, on the same frequency or not: none of them could listen.
    others: BTreeSet<EmulatedRadioId>,
    /// Those of them on the same frequency.
    interferers: BTreeSet<EmulatedRadioId>,
}

#[derive(Clone, Debug)]
enum Event {
    End { radio: EmulatedRadioId },
    Attempt { radio: EmulatedRadioId },
    SecondCopy { to: EmulatedRadioId, frame: Vec<u8> },
}

/// A radio channel on virtual time that many radios share.
#[derive(Clone, Debug)]
pub struct Air {
    line: PhyRate,
    rng: SplitMix64,
    medium: Propagation,
    faults: Faults,
    capture_db: Option<u16>,
    now_us: u64,
    radios: Vec<EmulatedRadio>,
    sending: BTreeMap<EmulatedRadioId, FrameOnAir>,
    events: BTreeMap<(u64, u64), Event>,
    event_count: u64,
    unread: VecDeque<(EmulatedRadioId, Vec<u8>)>,
    log: Log,
}

impl Air {
    /// A channel without radios: everybody will hear everybody, nothing is lost but by collision.
    pub fn new(seed: u64, line: PhyRate) -> Self {
        Air {
            line,
            rng: SplitMix64::new(seed),
            medium: Propagation::default(),
            faults: Faults::default(),
            capture_db: None,
            now_us: 0,
            radios: Vec::new(),
            sending: BTreeMap::new(),
            events: BTreeMap::new(),
            event_count: 0,
            unread: VecDeque::new(),
            log: Log::default(),
        }
    }

    /// One more radio, which sends at once. Beyond [`RADIOS_MAX`] it is one that is never on.
    pub fn add_radio(&mut self) -> EmulatedRadioId {
        let id = EmulatedRadioId(self.radios.len().min(RADIOS_MAX) as u16);
        if self.radios.len() < RADIOS_MAX {
            self.radios.push(EmulatedRadio {
                on: true,
                frequency_hz: 0,
                access: Access::AtOnce,
                queue: VecDeque::new(),
                attempting: false,
                sending: false,
                stats: RadioStats::default(),
            });
        }
        id
    }

    /// Sets how a radio comes to send; what waits in it stays.
    pub fn set_access(&mut self, radio: EmulatedRadioId, access: Access) {
        if let Some(radio) = self.radio_mut(radio) {
            radio.access = access;
        }
    }

    /// Tunes a radio; a frame then on its way to it is not heard.
    pub fn set_frequency_hz(&mut self, radio: EmulatedRadioId, frequency_hz: u32) {
        if let Some(radio) = self.radio_mut(radio) {
            radio.frequency_hz = frequency_hz;
        }
    }

    /// Switches a radio off (its queue is gone, what it hears is lost; a frame on air goes out) or on.
    pub fn set_on(&mut self, radio: EmulatedRadioId, on: bool) {
        if let Some(radio) = self.radio_mut(radio) {
            radio.on = on;
            radio.queue.clear();
        }
    }

    /// Puts a radio somewhere; at first all stand at one place.
    pub fn place(&mut self, radio: EmulatedRadioId, position: Position) {
        self.medium.place(radio, position);
    }

    /// How far radios hear each other, metres; `None`: everywhere.
    pub fn set_range_m(&mut self, range_m: Option<u32>) {
        self.medium.set_range_m(range_m);
    }

    /// Sets whether one hears the other, wherever they are.
    pub fn set_hears(&mut self, from: EmulatedRadioId, to: EmulatedRadioId, hears: bool) {
        self.medium.set_level_db(from, to, hears.then_some(0));
    }

    /// Sets whether two radios hear each other: [`Air::set_hears`] in both directions.
    pub fn set_hear_each_other(&mut self, a: EmulatedRadioId, b: EmulatedRadioId, hear: bool) {
        self.set_hears(a, b, hear);
        self.set_hears(b, a, hear);
    }

    /// Sets how loud one is at the other, in dB against any zero, for the capture effect.
    pub fn set_level_db(&mut self, from: EmulatedRadioId, to: EmulatedRadioId, level_db: i32) {
        self.medium.set_level_db(from, to, Some(level_db));
    }

    /// With the capture effect a frame survives interferers that are so many dB weaker; LoRa has about 6.
    /// `None`: any overlap spoils both.
    pub fn set_capture_db(&mut self, capture_db: Option<u16>) {
        self.capture_db = capture_db;
    }

    /// What is lost between all radios.
    pub fn set_loss(&mut self, loss: Loss) {
        self.medium.set_loss(loss);
    }

    /// What is lost from one radio to another, instead.
    pub fn set_pair_loss(&mut self, from: EmulatedRadioId, to: EmulatedRadioId, loss: Loss) {
        self.medium.set_pair_loss(from, to, loss);
    }

    /// Turns other faults on or off.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// The line that times on air go by.
    pub fn line(&self) -> PhyRate {
        self.line
    }

    /// Gives a radio a frame. Returns when it will have left at the earliest: a radio that listens may be later,
    /// and is done when [`Air::is_idle`].
    ///
    /// # Errors
    /// [`Busy`]: the frame is not sent.
    pub fn transmit(&mut self, now: Mono, radio: EmulatedRadioId, frame: Vec<u8>) -> Result<Mono, Busy> {
        self.advance(now);
        let taken = self.take(radio, frame);
        if taken.is_err()
            && let Some(radio) = self.radio_mut(radio)
        {
            radio.stats.refused += 1;
        }
        taken
    }

    fn take(&mut self, id: EmulatedRadioId, frame: Vec<u8>) -> Result<Mono, Busy> {
        let bytes = frame.len();
        let bytes_max = match self.line {
            PhyRate::LoRa { .. } => crate::airtime::FRAME_BYTES_MAX,
            PhyRate::BitRate { .. } => FRAME_BYTES_MAX,
        };
        if bytes > bytes_max {
            return Err(Busy::TooLong { bytes });
        }
        let until_us = self.sending.get(&id).map_or(self.now_us, |sending| sending.on_air.end_us);
        let line = self.line;
        let radio = self.radio_mut(id).filter(|radio| radio.on).ok_or(Busy::Off)?;
        match radio.access {
            Access::AtOnce if radio.sending => Err(Busy::Sending { until: mono_after(until_us) }),
            Access::AtOnce => Ok(mono_after(self.start(id, frame))),
            Access::Listen { .. } if radio.queue.len() >= QUEUE_FRAMES_MAX => Err(Busy::QueueFull),
            Access::Listen { .. } => {
                radio.queue.push_back(frame);
                let waiting_us: u64 = radio.queue.iter().map(|frame| line.frame_us(frame.len())).sum();
                self.attempt_at(self.now_us, id);
                self.run_until(self.now_us);
                Ok(mono_after(until_us.saturating_add(waiting_us)))
            }
        }
    }

    /// Whether a radio has nothing on air and nothing waiting, as of the last call with a time.
    pub fn is_idle(&self, radio: EmulatedRadioId) -> bool {
        self.radio(radio).is_none_or(|radio| !radio.sending && radio.queue.is_empty())
    }

    /// Whether a radio hears a carrier, as of the last call with a time: what a modem reports as busy.
    pub fn senses_carrier(&self, radio: EmulatedRadioId) -> bool {
        self.carrier_until_us(radio, 0).is_some()
    }

    /// The next frame that a radio has received by now, in order of time.
    pub fn poll(&mut self, now: Mono) -> Option<(EmulatedRadioId, Vec<u8>)> {
        self.advance(now);
        self.unread.pop_front()
    }

    /// When to poll again; `None`: nothing is on air or waiting.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if !self.unread.is_empty() {
            return Some(Mono::from_ms(self.now_us / 1_000));
        }
        self.events.keys().next().map(|(at_us, _)| mono_after(*at_us))
    }

    /// What a radio did and met; nothing of an unknown one.
    pub fn stats(&self, radio: EmulatedRadioId) -> RadioStats {
        self.radio(radio).map(|radio| radio.stats).unwrap_or_default()
    }

    /// Every radio with its stats.
    pub fn all_stats(&self) -> impl Iterator<Item = (EmulatedRadioId, RadioStats)> {
        self.radios.iter().enumerate().map(|(n, radio)| (EmulatedRadioId(n as u16), radio.stats))
    }

    /// The last [`LOG_FRAMES_MAX`] frames that have left the air, oldest first, as sent.
    pub fn log(&self) -> impl DoubleEndedIterator<Item = &OnAir> {
        self.log.iter()
    }

    fn radio(&self, id: EmulatedRadioId) -> Option<&EmulatedRadio> {
        self.radios.get(usize::from(id.0))
    }

    fn radio_mut(&mut self, id: EmulatedRadioId) -> Option<&mut EmulatedRadio> {
        self.radios.get_mut(usize::from(id.0))
    }

    fn advance(&mut self, now: Mono) {
        self.run_until(now.ms().saturating_mul(1_000).max(self.now_us));
    }

    fn run_until(&mut self, until_us: u64) {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= until_us) {
            self.now_us = entry.key().0.max(self.now_us);
            match entry.remove() {
                Event::End { radio } => self.end(radio),
                Event::Attempt { radio } => self.attempt(radio),
                Event::SecondCopy { to, frame } => self.hand_over(to, frame),
            }
        }
        self.now_us = until_us;
    }

    fn schedule(&mut self, at_us: u64, event: Event) {
        self.event_count += 1;
        self.events.insert((at_us, self.event_count), event);
    }

    fn attempt_at(&mut self, at_us: u64, id: EmulatedRadioId) {
        let Some(radio) = self.radio_mut(id) else { return };
        if !radio.attempting && !radio.sending && !radio.queue.is_empty() {
            radio.attempting = true;
            self.schedule(at_us, Event::Attempt { radio: id });
        }
    }

    /// p-persistence: wait for a free channel, then begin or leave a slot to the others.
    fn attempt(&mut self, id: EmulatedRadioId) {
        let Some(radio) = self.radio_mut(id) else { return };
        radio.attempting = false;
        let (persistence, slot_ms, detect_ms) = match radio.access {
            Access::Listen { persistence, slot_ms, detect_ms } => (persistence, slot_ms, detect_ms),
            Access::AtOnce => (u8::MAX, 1, u32::MAX),
        };
        if let Some(until_us) = self.carrier_until_us(id, u64::from(detect_ms) * 1_000) {
            return self.attempt_at(until_us, id);
        }
        if self.rng.below(256) > u64::from(persistence) {
            return self.attempt_at(self.now_us + u64::from(slot_ms.max(1)) * 1_000, id);
        }
        if let Some(frame) = self.radio_mut(id).and_then(|radio| radio.queue.pop_front()) {
            self.start(id, frame);
        }
    }

    /// Until when a radio hears another that has been on air for at least so long.
    fn carrier_until_us(&self, id: EmulatedRadioId, detect_us: u64) -> Option<u64> {
        let frequency_hz = self.radio(id)?.frequency_hz;
        let heard = self.sending.values().filter(|sending| {
            sending.on_air.frequency_hz == frequency_hz
                // Who begins at the same moment is not heard.
                && sending.on_air.start_us.saturating_add(detect_us) < self.now_us
                && self.medium.level_db(sending.on_air.radio, id).is_some()
        });
        heard.map(|sending| sending.on_air.end_us).max()
    }

    /// Puts a frame on air; returns when it ends, microseconds.
    fn start(&mut self, id: EmulatedRadioId, frame: Vec<u8>) -> u64 {
        let airtime_us = self.line.frame_us(frame.len());
        let (start_us, end_us) = (self.now_us, self.now_us.saturating_add(airtime_us));
        let Some(radio) = self.radio_mut(id) else { return start_us };
        radio.sending = true;
        radio.stats.sent_frames += 1;
        radio.stats.sent_bytes += frame.len() as u64;
        radio.stats.airtime_us += airtime_us;
        let frequency_hz = radio.frequency_hz;
        let mut own = FrameOnAir {
            on_air: OnAir { radio: id, frequency_hz, start_us, end_us, frame },
            others: BTreeSet::new(),
            interferers: BTreeSet::new(),
        };
        for (other, sending) in &mut self.sending {
            own.others.insert(*other);
            sending.others.insert(id);
            if sending.on_air.frequency_hz == frequency_hz {
                own.interferers.insert(*other);
                sending.interferers.insert(id);
            }
        }
        self.sending.insert(id, own);
        self.schedule(end_us, Event::End { radio: id });
        end_us
    }

    /// A frame has left the air: each radio has it or has not.
    fn end(&mut self, id: EmulatedRadioId) {
        let Some(transmission) = self.sending.remove(&id) else { return };
        if let Some(radio) = self.radio_mut(id) {
            radio.sending = false;
        }
        for to in (0..self.radios.len()).map(|n| EmulatedRadioId(n as u16)) {
            self.receive(&transmission, to);
        }
        self.log.push(transmission.on_air);
        self.attempt_at(self.now_us, id);
    }

    fn receive(&mut self, transmission: &FrameOnAir, to: EmulatedRadioId) {
        let on_air = &transmission.on_air;
        let Some(level_db) = self.medium.level_db(on_air.radio, to) else { return };
        let tuned = |radio: &EmulatedRadio| radio.on && radio.frequency_hz == on_air.frequency_hz;
        if !self.radio(to).is_some_and(tuned) {
            return;
        }
        // The way has its own mind, whatever else happens to the frame.
        let lost = self.medium.loses(on_air.radio, to, on_air.frame.len(), &mut self.rng);
        let fault = if transmission.others.contains(&to) {
            |stats: &mut RadioStats| stats.missed_sending += 1
        } else if self.is_spoilt(transmission, to, level_db) {
            |stats: &mut RadioStats| stats.collisions += 1
        } else if lost {
            |stats: &mut RadioStats| stats.lost += 1
        } else {
            return self.deliver(to, on_air.frame.clone());
        };
        if let Some(radio) = self.radio_mut(to) {
            fault(&mut radio.stats);
        }
    }

    fn is_spoilt(&self, transmission: &FrameOnAir, to: EmulatedRadioId, level_db: i32) -> bool {
        let interferers = transmission.interferers.iter();
        let loudest_db = interferers.filter_map(|from| self.medium.level_db(*from, to)).max();
        match (loudest_db, self.capture_db) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(loudest_db), Some(capture_db)) => {
                level_db.saturating_sub(loudest_db) < i32::from(capture_db)
            }
        }
    }

    fn deliver(&mut self, to: EmulatedRadioId, mut frame: Vec<u8>) {
        if self.rng.chance(self.faults.duplicate_permille * 1_000) {
            let at_us = self.now_us + 1_000 * (1 + self.rng.below(DUPLICATE_LAG_MS));
            self.schedule(at_us, Event::SecondCopy { to, frame: frame.clone() });
            if let Some(radio) = self.radio_mut(to) {
                radio.stats.duplicated += 1;
            }
        }
        if self.rng.chance(self.faults.corrupt_permille * 1_000) && !frame.is_empty() {
            self.flip(&mut frame);
            if let Some(radio) = self.radio_mut(to) {
                radio.stats.corrupted += 1;
            }
        }
        self.hand_over(to, frame);
    }

    /// Flips one to three different bits.
    fn flip(&mut self, frame: &mut [u8]) {
        let bits = frame.len() as u64 * 8;
        let count = (1 + self.rng.below(3)).min(bits);
        let mut flipped = BTreeSet::new();
        while (flipped.len() as u64) < count {
            flipped.insert(self.rng.below(bits));
        }
        for bit in flipped {
            if let Some(byte) = frame.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    fn hand_over(&mut self, to: EmulatedRadioId, frame: Vec<u8>) {
        let Some(radio) = self.radio_mut(to).filter(|radio| radio.on) else { return };
        radio.stats.heard_frames += 1;
        radio.stats.heard_bytes += frame.len() as u64;
        self.unread.push_back((to, frame));
        if self.unread.len() > UNREAD_FRAMES_MAX
            && let Some((to, frame)) = self.unread.pop_front()
            && let Some(radio) = self.radio_mut(to)
        {
            radio.stats.heard_frames -= 1;
            radio.stats.heard_bytes -= frame.len() as u64;
            radio.stats.lost += 1;
        }
    }
}

/// The first whole millisecond that is not before `at_us`.
fn mono_after(at_us: u64) -> Mono {
    Mono::from_ms(at_us.div_ceil(1_000))
}
