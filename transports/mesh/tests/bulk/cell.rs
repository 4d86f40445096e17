//! A cell on virtual time: one node sends, the others listen, one frame is on the air at a time.

use std::collections::VecDeque;
use tombolo_mesh::bulk::fragment::{
    MemoryLimits, Message, MessageId, OutMessage, Progress, Sender, SenderLimits,
};
use tombolo_mesh::bulk::repair::{Listener, OutNack};
use tombolo_mesh::time::{Millis, Mono};
use tombolo_mesh::{PeerId, SplitMix64};

pub(crate) const HOUR_MS: u64 = 3_600_000;
/// A full frame of 231 bytes on Meshtastic's MediumFast takes about this.
pub(crate) const FRAME_AIRTIME_MS: u64 = 600;
/// A NACK is short.
pub(crate) const NACK_AIRTIME_MS: u64 = 150;
/// What a frame carries for a NACK: the smallest there is.
const NACK_BYTES_MAX: usize = 36;

pub(crate) fn peer(number: u8) -> PeerId {
    PeerId([number; 32])
}

/// Bytes that no two seeds share.
pub(crate) fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut rng = SplitMix64::new(seed ^ 0x5eed);
    (0..length).map(|_| rng.bits() as u8).collect()
}

/// What the air does to a frame, for each that hears it by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) loss_permille: u16,
    /// Mean length of a run of losses; 1 for losses that know nothing of each other.
    pub(crate) burst_frames: u16,
    pub(crate) duplicated_permille: u16,
    pub(crate) reordered_permille: u16,
    pub(crate) corrupted_permille: u16,
}

impl Faults {
    pub(crate) fn loss(loss_permille: u16) -> Self {
        Self {
            loss_permille,
            burst_frames: 1,
            duplicated_permille: 0,
            reordered_permille: 0,
            corrupted_permille: 0,
        }
    }
}

/// True so many times in a thousand; draws in any case.
pub(crate) fn chance(rng: &mut SplitMix64, permille: u16) -> bool {
    rng.below(1_000) < u64::from(permille)
}

/// A run of losses is over after so long: it is a matter of time, not of frames.
const RUN_FORGOTTEN_MS: u64 = 30_000;

/// One way through the air: two states, so that losses come in runs.
#[derive(Debug, Default)]
pub(crate) struct Path {
    losing: bool,
    last_ms: u64,
}

impl Path {
    fn loses(&mut self, now_ms: u64, faults: &Faults, rng: &mut SplitMix64) -> bool {
        if faults.burst_frames <= 1 {
            return chance(rng, faults.loss_permille);
        }
        if now_ms - std::mem::replace(&mut self.last_ms, now_ms) > RUN_FORGOTTEN_MS {
            self.losing = chance(rng, faults.loss_permille);
            return self.losing;
        }
        // Leaves a run with 1/burst; enters one so often that the mean loss is what is asked for.
        let leave = 1000 / u64::from(faults.burst_frames);
        let loss = u64::from(faults.loss_permille);
        let enter = leave * loss / (1000 - loss).max(1);
        let change = rng.bits() % 1000 < if self.losing { leave } else { enter };
        self.losing ^= change;
        self.losing
    }
}

#[derive(Debug)]
pub(crate) struct Hearer {
    pub(crate) id: PeerId,
    pub(crate) ear: Listener,
    pub(crate) delivered: Vec<Message>,
    /// Fragments taken for parts.
    pub(crate) heard: usize,
    path: Path,
    back: Path,
    held_back: VecDeque<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) me: PeerId,
    pub(crate) channel: PeerId,
    pub(crate) sender: Sender,
    pub(crate) listeners: Vec<Hearer>,
    pub(crate) now_ms: u64,
    /// Frames on the air.
    pub(crate) fragments: usize,
    pub(crate) nacks: usize,
    pub(crate) airtime_ms: u64,
    /// The last fragments sent.
    pub(crate) sent: Vec<Vec<u8>>,
    /// No node hears another.
    pub(crate) cut: bool,
    /// Listeners that hear nothing now.
    pub(crate) deaf: Vec<usize>,
    pub(crate) faults: Faults,
    rng: SplitMix64,
}

impl Cell {
    pub(crate) fn new(listeners: usize, faults: Faults, seed: u64) -> Self {
        println!("cell of {listeners} listeners, seed {seed}, {faults:?}");
        let (me, channel) = (peer(200), peer(201));
        let hearer = |number: usize| Hearer {
            id: peer(number as u8 + 1),
            ear: Listener::new(
                MemoryLimits::default(),
                Millis::from_ms(FRAME_AIRTIME_MS),
                seed.wrapping_add(number as u64),
            ),
            delivered: Vec::new(),
            heard: 0,
            path: Path::default(),
            back: Path::default(),
            held_back: VecDeque::new(),
        };
        Self {
            me,
            channel,
            sender: Sender::new(me, SenderLimits::default(), Millis::from_ms(FRAME_AIRTIME_MS)),
            listeners: (0..listeners).map(hearer).collect(),
            now_ms: 1_000,
            fragments: 0,
            nacks: 0,
            airtime_ms: 0,
            sent: Vec::new(),
            cut: false,
            deaf: Vec::new(),
            faults,
            rng: SplitMix64::new(seed),
        }
    }

    pub(crate) fn offer(&mut self, kind: u8, bytes: &[u8], payload_max: usize) -> MessageId {
        let (channel, loss_permille) = (self.channel, self.faults.loss_permille);
        let message = OutMessage { channel, kind, bytes, fragment_payload_max: payload_max, loss_permille };
        self.sender.offer(Mono::from_ms(self.now_ms), message).unwrap()
    }

    pub(crate) fn restart_sender(&mut self) {
        self.sender = Sender::new(self.me, SenderLimits::default(), Millis::from_ms(FRAME_AIRTIME_MS));
    }

    pub(crate) fn fragments_to_go(&self) -> usize {
        self.sender.waiting().map(|waiting| waiting.fragments).sum()
    }

    /// Any frame of the sender that is no fragment.
    pub(crate) fn heartbeat(&mut self) {
        for listener in &mut self.listeners {
            listener.ear.heard(Mono::from_ms(self.now_ms), self.channel, self.me);
        }
    }

    /// Lets so many fragments go out, and no question.
    pub(crate) fn run_frames(&mut self, frames: usize) {
        (0..frames).for_each(|_| assert!(self.send_fragment()));
    }

    /// Goes on until this time or until no node has anything to send.
    pub(crate) fn run_until(&mut self, end_ms: u64) {
        while self.now_ms < end_ms {
            if self.send_nacks() || self.send_fragment() || self.say_gone() {
                continue;
            }
            let due = self.listeners.iter().filter_map(|listener| listener.ear.poll_timeout()).min();
            match due {
                Some(due) => {
                    self.now_ms = (due.max(Mono::from_ms(self.now_ms + 1)).min(Mono::from_ms(end_ms))).ms()
                }
                None => return,
            }
        }
    }

    fn send_fragment(&mut self) -> bool {
        let Some(fragment) = self.sender.next_fragment(Mono::from_ms(self.now_ms)) else { return false };
        assert_eq!(fragment.channel, self.channel);
        self.pass(FRAME_AIRTIME_MS);
        self.fragments += 1;
        self.sent.push(fragment.payload.clone());
        for number in 0..self.listeners.len() {
            self.reach(number, &fragment.payload);
        }
        true
    }

    fn reach(&mut self, number: usize, payload: &[u8]) {
        let (faults, rng) = (self.faults, &mut self.rng);
        let listener = &mut self.listeners[number];
        let lost = listener.path.loses(self.now_ms, &faults, rng) || self.cut || self.deaf.contains(&number);
        let mut arriving = Vec::new();
        if !lost {
            let mut payload = payload.to_vec();
            if chance(rng, faults.corrupted_permille) {
                let at = rng.bits() as usize % payload.len();
                payload[at] ^= 1 << (rng.bits() % 8);
            }
            if chance(rng, faults.reordered_permille) {
                listener.held_back.push_back(payload);
            } else {
                if chance(rng, faults.duplicated_permille) {
                    arriving.push(payload.clone());
                }
                arriving.push(payload);
            }
        }
        if chance(rng, 300) {
            arriving.extend(listener.held_back.pop_front());
        }
        for payload in arriving {
            match listener.ear.fragment(Mono::from_ms(self.now_ms), self.channel, self.me, &payload) {
                Ok(Progress::Whole(message)) => {
                    listener.heard += 1;
                    listener.delivered.push(message);
                }
                Ok(Progress::Part) => listener.heard += 1,
                Ok(Progress::Duplicate) => {}
                Err(error) => assert!(faults.corrupted_permille > 0, "{error}"),
            }
        }
    }

    fn send_nacks(&mut self) -> bool {
        let polled = (0..self.listeners.len()).find_map(|number| {
            let nack = self.listeners[number].ear.poll_nack(Mono::from_ms(self.now_ms), NACK_BYTES_MAX)?;
            Some((number, nack))
        });
        let Some((number, nack)) = polled else { return false };
        assert!(nack.payload.len() <= NACK_BYTES_MAX && nack.channel == self.channel);
        self.pass(NACK_AIRTIME_MS);
        self.nacks += 1;
        let (faults, from) = (self.faults, self.listeners[number].id);
        let lost = self.listeners[number].back.loses(self.now_ms, &faults, &mut self.rng);
        if !lost && !self.cut {
            let heard = self.sender.nack(Mono::from_ms(self.now_ms), self.channel, from, &nack.payload);
            assert!(heard.is_ok() || faults.corrupted_permille > 0, "{heard:?}");
        }
        self.overhear(Some(number), from, &nack);
        true
    }

    fn say_gone(&mut self) -> bool {
        let Some(nack) = self.sender.poll_nack(Mono::from_ms(self.now_ms)) else { return false };
        self.pass(NACK_AIRTIME_MS);
        self.overhear(None, self.me, &nack);
        true
    }

    fn overhear(&mut self, except: Option<usize>, from: PeerId, nack: &OutNack) {
        for (number, listener) in self.listeners.iter_mut().enumerate() {
            let lost = listener.path.loses(self.now_ms, &self.faults, &mut self.rng) || self.cut;
            if Some(number) != except && !lost {
                let heard = listener.ear.nack(Mono::from_ms(self.now_ms), self.channel, from, &nack.payload);
                assert!(heard.is_ok() || self.faults.corrupted_permille > 0, "{heard:?}");
            }
        }
    }

    fn pass(&mut self, airtime_ms: u64) {
        self.now_ms += airtime_ms;
        self.airtime_ms += airtime_ms;
    }
}
