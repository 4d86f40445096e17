//! AX.25 UI frames around a payload, with call signs.
//!
//! After *AX.25 Link Access Protocol*, version 2.2, sections 3.12 and 4.3.3.6: seven bytes of destination, seven of
//! source, up to eight repeaters, control 03 (UI), protocol F0 (none), payload. The TNC adds flags and check sequence.

use std::fmt;
use std::str::FromStr;

/// Bytes in front of the payload of a frame that no repeater is named in.
pub const HEADER_BYTES: usize = 16;
/// Where our frames are addressed to: no station, but the name of what speaks.
pub const DESTINATION: Ax25CallSign = Ax25CallSign { letters: *b"TOMBOL", ssid: 0 };

const ADDRESS_BYTES: usize = 7;
const REPEATERS_MAX: usize = 8;
const UI: u8 = 0x03;
const POLL: u8 = 0x10;
const NO_PROTOCOL: u8 = 0xF0;

/// A station: a call sign and a number from 0 to 15 behind it, written `N0CALL-1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ax25CallSign {
    /// Capital letters and digits, filled up with spaces.
    letters: [u8; 6],
    ssid: u8,
}

/// Why a text is no call sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallSignError {
    /// Not 1 to 6 characters.
    #[error("a call sign has 1 to 6 characters, not {0}")]
    Length(usize),
    /// Neither letter nor digit.
    #[error("a call sign has letters and digits, not {0:?}")]
    Character(char),
    /// Not a number from 0 to 15 behind the dash.
    #[error("after the dash of a call sign stands a number from 0 to 15, not {0:?}")]
    Ssid(String),
}

impl FromStr for Ax25CallSign {
    type Err = CallSignError;

    /// Small letters are taken as capitals; `-0` is the same as none.
    fn from_str(text: &str) -> Result<Self, CallSignError> {
        let (call, ssid) = text.split_once('-').unwrap_or((text, "0"));
        if let Some(other) = call.chars().find(|c| !c.is_ascii_alphanumeric()) {
            return Err(CallSignError::Character(other));
        }
        if call.is_empty() || call.len() > 6 {
            return Err(CallSignError::Length(call.len()));
        }
        let number = ssid.parse().ok().filter(|n| *n < 16 && ssid.bytes().all(|b| b.is_ascii_digit()));
        let ssid = number.ok_or_else(|| CallSignError::Ssid(ssid.into()))?;
        let mut letters = *b"      ";
        letters.iter_mut().zip(call.bytes()).for_each(|(to, from)| *to = from.to_ascii_uppercase());
        Ok(Self { letters, ssid })
    }
}

impl fmt::Display for Ax25CallSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.letters.iter().take_while(|b| **b != b' ').map(|b| char::from(*b));
        letters.clone().try_for_each(|c| fmt::Write::write_char(f, c))?;
        if self.ssid > 0 { write!(f, "-{}", self.ssid) } else { Ok(()) }
    }
}

impl fmt::Debug for Ax25CallSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ax25CallSign {
    /// The seven bytes of an address field: characters shifted left, then `c11ssid` and whether it is the last.
    fn encode(&self, command: bool, last: bool) -> [u8; ADDRESS_BYTES] {
        let mut out = [0; ADDRESS_BYTES];
        out.iter_mut().zip(self.letters).for_each(|(to, from)| *to = from << 1);
        if let Some(end) = out.last_mut() {
            *end = (u8::from(command) << 7) | 0x60 | (self.ssid << 1) | u8::from(last);
        }
        out
    }

    /// The address and whether it is the last one; `None` for characters that no call sign has.
    fn decode(bytes: &[u8; ADDRESS_BYTES]) -> Option<(Self, bool)> {
        let [letters @ .., end] = bytes;
        let last = end & 1 == 1;
        let letters = letters.map(|byte| byte >> 1);
        let used = letters.iter().take_while(|b| **b != b' ').count();
        let padded = letters.iter().skip(used).all(|b| *b == b' ');
        let clean = letters.iter().take(used).all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let shifted = bytes.iter().take(ADDRESS_BYTES - 1).all(|b| b & 1 == 0);
        (used > 0 && padded && clean && shifted).then_some((Self { letters, ssid: (end >> 1) & 0x0f }, last))
    }
}

/// A UI frame without layer 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UiFrame {
    /// The station that it is addressed to.
    pub destination: Ax25CallSign,
    /// The call sign of the sender.
    pub source: Ax25CallSign,
    /// The bytes between the header and the frame check.
    pub payload: Vec<u8>,
}

impl UiFrame {
    /// The frame as a TNC takes it: a command (version 2), no repeaters.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        out.extend_from_slice(&self.destination.encode(true, false));
        out.extend_from_slice(&self.source.encode(false, true));
        out.extend_from_slice(&[UI, NO_PROTOCOL]);
        out.extend_from_slice(&self.payload);
        out
    }

    /// Reads a frame as heard, repeaters passed over; `None` if it is no UI frame without layer 3.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (destination, rest) = bytes.split_first_chunk()?;
        let (source, mut rest) = rest.split_first_chunk()?;
        let (destination, only) = Ax25CallSign::decode(destination)?;
        let (source, mut last) = Ax25CallSign::decode(source)?;
        if only {
            return None;
        }
        for _ in 0..REPEATERS_MAX {
            if last {
                break;
            }
            let (repeater, after) = rest.split_first_chunk()?;
            last = Ax25CallSign::decode(repeater)?.1;
            rest = after;
        }
        let ([control, protocol], payload) = rest.split_first_chunk()?;
        let ui = last && control & !POLL == UI && *protocol == NO_PROTOCOL;
        ui.then(|| Self { destination, source, payload: payload.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(text: &str) -> Ax25CallSign {
        text.parse().unwrap()
    }

    /// The addresses of section 3.12.2's example: NJ7P to N7LEM.
    #[test]
    fn a_known_frame_has_its_known_bytes() {
        let frame = UiFrame { destination: call("NJ7P"), source: call("N7LEM"), payload: b"hi".to_vec() };
        let bytes = frame.encode();
        assert_eq!(bytes[..7], [0x9C, 0x94, 0x6E, 0xA0, 0x40, 0x40, 0xE0]);
        assert_eq!(bytes[7..14], [0x9C, 0x6E, 0x98, 0x8A, 0x9A, 0x40, 0x61]);
        assert_eq!(bytes[14..], [0x03, 0xF0, b'h', b'i']);
        assert_eq!(UiFrame::decode(&bytes), Some(frame));
    }

    #[test]
    fn call_signs_read_as_they_are_written() {
        assert_eq!(call("n0call-1").to_string(), "N0CALL-1");
        assert_eq!(call("OE1XYZ-0"), call("OE1XYZ"));
        assert_eq!("".parse::<Ax25CallSign>(), Err(CallSignError::Length(0)));
        assert_eq!("TOOLONG".parse::<Ax25CallSign>(), Err(CallSignError::Length(7)));
        assert_eq!("DÖ1X".parse::<Ax25CallSign>(), Err(CallSignError::Character('Ö')));
        assert_eq!("N0CALL-16".parse::<Ax25CallSign>(), Err(CallSignError::Ssid("16".into())));
        assert_eq!("N0CALL-+1".parse::<Ax25CallSign>(), Err(CallSignError::Ssid("+1".into())));
        assert_eq!("N0CALL-".parse::<Ax25CallSign>(), Err(CallSignError::Ssid("".into())));
    }

    #[test]
    fn repeaters_are_passed_over() {
        let mut bytes = call("N7LEM").encode(true, false).to_vec();
        bytes.extend(call("NJ7P-3").encode(false, false));
        bytes.extend(call("RELAY").encode(true, false));
        bytes.extend(call("WIDE-2").encode(false, true));
        bytes.extend([UI | POLL, NO_PROTOCOL, 7]);
        let frame = UiFrame::decode(&bytes).unwrap();
        assert_eq!((frame.source, frame.payload), (call("NJ7P-3"), vec![7]));
    }

    proptest! {
        #[test]
        fn any_frame_comes_back(
            a in "[A-Z0-9]{1,6}(-([1-9]|1[0-5]))?",
            b in "[A-Z0-9]{1,6}(-([1-9]|1[0-5]))?",
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            prop_assert_eq!(&call(&a).to_string(), &a);
            let frame = UiFrame { destination: call(&a), source: call(&b), payload };
            prop_assert_eq!(UiFrame::decode(&frame.encode()), Some(frame));
        }

        /// Any bytes are a frame or none; a frame is never longer than what it came from.
        #[test]
        fn any_bytes_are_a_frame_or_none(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(frame) = UiFrame::decode(&bytes) {
                prop_assert!(frame.payload.len() + HEADER_BYTES <= bytes.len());
            }
        }

        /// A true frame with one byte changed neither panics nor gains payload.
        #[test]
        fn a_flipped_byte_is_harmless(at in 0_usize..20, to in any::<u8>()) {
            let frame = UiFrame { destination: DESTINATION, source: call("N0CALL-1"), payload: vec![1; 9] };
            let mut bytes = frame.encode();
            bytes[at] = to;
            if let Some(frame) = UiFrame::decode(&bytes) {
                prop_assert!(frame.payload.len() <= 9);
            }
        }
    }
}
