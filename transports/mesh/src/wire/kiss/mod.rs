//! KISS: frames on a byte stream between a host and a TNC.
//!
//! After M. Chepponis and P. Karn, *The KISS TNC: A simple Host-to-TNC communications protocol* (1987): frames stand
//! between `FEND`s, the first byte is port and command, four bytes are spoken for:
//!
//! ```text
//! C0 | port 4, command 4 | data, with C0 as DB DC and DB as DB DD | C0
//! ```
//!
//! A TNC reports nothing of what it sends. The MeshCore modem firmware does, by [`modem`]'s SetHardware frames. Sans-io;
//! what is inside a frame is for [`ax25`](crate::wire::ax25), or for the caller; pacing is the driver's.

pub mod modem;

use super::framed::{self, Framing, Step};
use std::collections::VecDeque;

const FEND: u8 = 0xC0;
const FESC: u8 = 0xDB;
const TFEND: u8 = 0xDC;
const TFESC: u8 = 0xDD;

/// The longest frame taken from or given to a TNC, bytes, without command byte and escapes. Dire Wolf cuts
/// what is longer than 2048 and sends the rest as if it were whole.
pub const FRAME_BYTES_MAX: usize = 2000;
/// The shortest frame that a TNC built for AX.25 sends: Dire Wolf drops a shorter one without a word.
pub const FRAME_BYTES_MIN: usize = 15;

/// What a host sends to its TNC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KissCommand<'a> {
    /// Sends these bytes, at most [`FRAME_BYTES_MAX`].
    Data(&'a [u8]),
    /// Carrier before the first bit, in units of 10 ms.
    TxDelay(u8),
    /// The chance to send in a free slot, (p + 1) / 256.
    Persistence(u8),
    /// Length of a slot in units of 10 ms.
    SlotTime(u8),
    /// Carrier after the last bit, in units of 10 ms.
    TxTail(u8),
    /// Whether to send while something is heard.
    FullDuplex(bool),
    /// Something that only this make of TNC understands.
    SetHardware(&'a [u8]),
}

impl KissCommand<'_> {
    /// The bytes to write; `port` counts from 0 to 15.
    pub fn encode(&self, port: u8) -> Vec<u8> {
        let (command, one);
        let data = match self {
            Self::Data(bytes) | Self::SetHardware(bytes) => *bytes,
            Self::TxDelay(n) | Self::Persistence(n) | Self::SlotTime(n) | Self::TxTail(n) => {
                one = [*n];
                &one
            }
            Self::FullDuplex(on) => {
                one = [u8::from(*on)];
                &one
            }
        };
        command = match self {
            Self::Data(_) => 0,
            Self::TxDelay(_) => 1,
            Self::Persistence(_) => 2,
            Self::SlotTime(_) => 3,
            Self::TxTail(_) => 4,
            Self::FullDuplex(_) => 5,
            Self::SetHardware(_) => 6,
        };
        let mut out = Vec::with_capacity(data.len() + 8);
        out.push(FEND);
        escape((port << 4) | command, &mut out);
        data.iter().for_each(|byte| escape(*byte, &mut out));
        out.push(FEND);
        out
    }
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        FEND => out.extend_from_slice(&[FESC, TFEND]),
        FESC => out.extend_from_slice(&[FESC, TFESC]),
        _ => out.push(byte),
    }
}

/// What a TNC sends to its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame was heard.
    Data {
        /// The TNC's port, 0 to 15.
        port: u8,
        /// The frame, at most [`FRAME_BYTES_MAX`] bytes.
        bytes: Vec<u8>,
    },
    /// A SetHardware answer; of a MeshCore modem, [`modem::ModemReport::parse`] reads it.
    Hardware {
        /// Without the command byte.
        bytes: Vec<u8>,
    },
}

/// Cuts what a TNC sends into [`Event`]s. Whatever arrives, it is in step again at the next `FEND`. Commands that are for a
/// TNC are skipped.
pub type KissDecoder = framed::Decoder<KissFraming>;

/// Where in a KISS frame the stream is.
#[derive(Debug, Default)]
pub struct KissFraming {
    frame: Vec<u8>,
    state: KissState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum KissState {
    /// Before the first `FEND`, or in a frame that is too long or broken.
    #[default]
    Skipping,
    Inside,
    Escaped,
}

impl Framing for KissFraming {
    type Event = Event;

    fn step(&mut self, held: &mut VecDeque<u8>) -> Step<Event> {
        while let Some(byte) = held.pop_front() {
            if byte == FEND {
                let before = std::mem::replace(&mut self.state, KissState::Inside);
                let frame = std::mem::take(&mut self.frame);
                match before {
                    KissState::Skipping => {}
                    KissState::Escaped => return Step::Spoilt,
                    KissState::Inside => {
                        if let Some(event) = event(frame) {
                            return Step::Event(event);
                        }
                    }
                }
            } else if !self.take(byte) {
                self.frame.clear();
                self.state = KissState::Skipping;
                return Step::Spoilt;
            }
        }
        Step::Incomplete
    }
}

impl KissFraming {
    /// Takes a byte between two `FEND`s; false where it breaks the frame or makes it too long.
    fn take(&mut self, byte: u8) -> bool {
        let byte = match (self.state, byte) {
            (KissState::Skipping, _) => return true,
            (KissState::Inside, FESC) => {
                self.state = KissState::Escaped;
                return true;
            }
            (KissState::Inside, byte) => byte,
            (KissState::Escaped, TFEND) => FEND,
            (KissState::Escaped, TFESC) => FESC,
            (KissState::Escaped, _) => return false,
        };
        self.state = KissState::Inside;
        self.frame.push(byte);
        // One more for the command byte.
        self.frame.len() <= FRAME_BYTES_MAX + 1
    }
}

fn event(mut frame: Vec<u8>) -> Option<Event> {
    let head = *frame.first()?;
    frame.remove(0);
    match head & 0x0f {
        0 if !frame.is_empty() => Some(Event::Data { port: head >> 4, bytes: frame }),
        6 => Some(Event::Hardware { bytes: frame }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::framed::HELD_BYTES_MAX;
    use proptest::prelude::*;

    fn decode(parts: &[&[u8]]) -> Vec<Event> {
        let mut decoder = KissDecoder::default();
        let mut events = Vec::new();
        for part in parts {
            decoder.push(part);
            events.extend(std::iter::from_fn(|| decoder.next_event()));
        }
        events
    }

    /// The example of the KISS paper, and one with both escapes.
    #[test]
    fn known_frames_have_their_known_bytes() {
        assert_eq!(KissCommand::Data(b"TEST").encode(0), b"\xC0\x00TEST\xC0");
        assert_eq!(KissCommand::Data(b"Hello").encode(5), b"\xC0\x50Hello\xC0");
        assert_eq!(KissCommand::Data(&[0xC0, 0xDB]).encode(0), [0xC0, 0, 0xDB, 0xDC, 0xDB, 0xDD, 0xC0]);
        assert_eq!(KissCommand::TxDelay(30).encode(0), [0xC0, 1, 30, 0xC0]);
    }

    /// Port 12 with data makes a command byte that is itself a `FEND`.
    #[test]
    fn a_command_byte_is_escaped_as_well() {
        let bytes = KissCommand::Data(b"x").encode(12);
        assert_eq!(bytes, [0xC0, 0xDB, 0xDC, b'x', 0xC0]);
        assert_eq!(decode(&[&bytes]), [Event::Data { port: 12, bytes: b"x".to_vec() }]);
    }

    #[test]
    fn a_broken_escape_costs_one_frame() {
        let good = KissCommand::Data(b"good").encode(0);
        let events = decode(&[b"\xC0\x00ba\xDBd\xC0", &good]);
        assert_eq!(events, [Event::Data { port: 0, bytes: b"good".to_vec() }]);
    }

    #[test]
    fn a_frame_that_never_ends_is_let_go_of() {
        let mut decoder = KissDecoder::default();
        decoder.push(&[0xC0]);
        for _ in 0..1000 {
            decoder.push(&[0; 1000]);
            assert_eq!(decoder.next_event(), None);
            assert!(decoder.framing.frame.len() <= FRAME_BYTES_MAX + 1);
        }
        assert_eq!(decoder.spoilt(), 1);
    }

    #[test]
    fn a_flood_that_nobody_reads_is_bounded() {
        let mut decoder = KissDecoder::default();
        (0..100).for_each(|_| decoder.push(&[0xC0; 5000]));
        assert!(decoder.held.len() <= HELD_BYTES_MAX);
        assert!(decoder.spoilt() > 0);
    }

    proptest! {
        /// Any frames, cut anywhere and with noise before the first, come out as they went in.
        #[test]
        fn frames_survive_any_cut(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..10),
            noise in prop::collection::vec(0_u8..0xC0, 0..50),
            step in 1_usize..400,
        ) {
            let mut bytes = noise;
            frames.iter().for_each(|frame| bytes.extend(KissCommand::Data(frame).encode(0)));
            let got = decode(&bytes.chunks(step).collect::<Vec<_>>());
            let want: Vec<_> = frames.into_iter().map(|bytes| Event::Data { port: 0, bytes }).collect();
            prop_assert_eq!(got, want);
        }

        /// After any bytes whatever, a frame that follows is heard.
        #[test]
        fn any_bytes_leave_it_in_step(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let good = KissCommand::Data(b"the tide is out").encode(3);
            let events = decode(&[&bytes, &good]);
            prop_assert_eq!(events.last(), Some(&Event::Data { port: 3, bytes: b"the tide is out".to_vec() }));
        }
    }
}
