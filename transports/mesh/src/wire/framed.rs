//! One decoder for every protocol that carries frames on a byte stream.
//!
//! [`Decoder`] holds what arrived and counts what was lost; a [`Framing`] finds the frames in it. Two kinds are spoken:
//! [`kiss`](super::kiss) puts a delimiter between frames, and [`LengthPrefixed`] protocols announce the length of each.
//! Left out: which bytes to write, and when.

use std::collections::VecDeque;
use std::marker::PhantomData;

/// Bytes held until they are read. When a push would exceed it, all of them are dropped and counted as one spoilt frame.
pub const HELD_BYTES_MAX: usize = 64 << 10;

/// How a protocol finds its frames in a byte stream. The value is the state between two bytes.
pub trait Framing: Default {
    /// What a frame means.
    type Event;

    /// Takes bytes from the front of `held` until a frame ends, a frame turns out to be spoilt, or more bytes are needed.
    fn step(&mut self, held: &mut VecDeque<u8>) -> Step<Self::Event>;
}

/// What a [`Framing`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<Event> {
    /// A whole frame was found.
    Event(Event),
    /// A frame that was broken, or none after all.
    Spoilt,
    /// Nothing yet: more bytes are needed.
    Incomplete,
}

/// Cuts a byte stream into the events of a protocol.
///
/// Call [`push`](Self::push) with what arrived, then [`next_event`](Self::next_event) until it returns `None`.
#[derive(Debug, Default)]
pub struct Decoder<F> {
    pub(super) held: VecDeque<u8>,
    pub(super) framing: F,
    spoilt: u64,
}

impl<F: Framing> Decoder<F> {
    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.held.len() + bytes.len() > HELD_BYTES_MAX {
            self.held.clear();
            self.framing = F::default();
            self.spoilt += 1;
        }
        self.held.extend(bytes.iter().take(HELD_BYTES_MAX));
    }

    /// The next event, or `None` when more bytes are needed.
    pub fn next_event(&mut self) -> Option<F::Event> {
        loop {
            match self.framing.step(&mut self.held) {
                Step::Event(event) => return Some(event),
                Step::Spoilt => self.spoilt += 1,
                Step::Incomplete => return None,
            }
        }
    }

    /// Frames that were broken, too long or too short for what they claimed, and overflows, since the start.
    pub fn spoilt(&self) -> u64 {
        self.spoilt
    }
}

/// A protocol whose frames are a start mark, two bytes of length, and a body.
///
/// ```text
/// START | length 2 | body
/// ```
pub trait Prefixed {
    /// What a body means.
    type Event;
    /// The bytes that every frame starts with.
    const START: &'static [u8];
    /// The shortest body; a header that announces less starts no frame.
    const BODY_BYTES_MIN: usize;
    /// The longest body; a header that announces more starts no frame.
    const BODY_BYTES_MAX: usize;

    /// The length that a header announces.
    fn length(bytes: [u8; 2]) -> u16;

    /// Reads a body; `None` where it is too short for what it claims to be.
    fn read(body: &[u8]) -> Option<Self::Event>;
}

/// The framing of a [`Prefixed`] protocol. Bytes between frames are skipped: a serial port may carry a console's text.
#[derive(Clone, Copy, Debug)]
pub struct LengthPrefixed<P>(PhantomData<P>);

impl<P> Default for LengthPrefixed<P> {
    fn default() -> Self {
        LengthPrefixed(PhantomData)
    }
}

impl<P: Prefixed> Framing for LengthPrefixed<P> {
    type Event = P::Event;

    fn step(&mut self, held: &mut VecDeque<u8>) -> Step<P::Event> {
        while !held.iter().zip(P::START).all(|(byte, start)| byte == start) {
            held.pop_front();
        }
        let header = P::START.len();
        let (Some(first), Some(second)) = (held.get(header), held.get(header + 1)) else {
            return Step::Incomplete;
        };
        let body_bytes = usize::from(P::length([*first, *second]));
        if !(P::BODY_BYTES_MIN..=P::BODY_BYTES_MAX).contains(&body_bytes) {
            held.pop_front();
            return Step::Spoilt;
        }
        let frame_bytes = header + 2 + body_bytes;
        if held.len() < frame_bytes {
            return Step::Incomplete;
        }
        let body: Vec<u8> = held.drain(..frame_bytes).skip(header + 2).collect();
        P::read(&body).map_or(Step::Spoilt, Step::Event)
    }
}

impl<P: Prefixed> Decoder<LengthPrefixed<P>> {
    /// Gives up the frame that has begun: its start is looked for behind the first byte. Then ask for events again.
    ///
    /// A console's text may look like the start of a frame that never ends. Call this when a frame has begun and nothing
    /// arrived for a second.
    pub fn resync(&mut self) {
        if self.held.pop_front().is_some() {
            self.spoilt += 1;
        }
    }

    /// Bytes held for a frame that is not whole yet.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }
}
