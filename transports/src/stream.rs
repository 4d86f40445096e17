//! Messages on a byte stream: the framing and the greeting, drawn in `FORMAT.md`.
//!
//! Pure: bytes go in, [`Frame`]s come out. Who is at the other end, and how long to wait, is
//! the driver's business ([`lan`](crate::lan)); what a message means is the node's.

/// The version of the stream protocol spoken here, and the lowest still understood.
pub const VERSION: u8 = 1;
/// The longest message in bytes; a frame that claims more is [`FrameError::Oversized`].
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes before each frame's content.
pub const HEADER_BYTES: usize = 4;
/// The longest greeting in bytes: room for later fields. A longer one is [`FrameError::Oversized`].
pub const HELLO_BYTES_MAX: usize = 64;
/// Bytes of the greeting as this version writes it.
pub const HELLO_BYTES: usize = 13;

const MESSAGE: u8 = 0;
const HELLO: u8 = 1;
const CHOSEN: u8 = 2;
const PING: u8 = 3;
const PONG: u8 = 4;

/// One unit of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message of the node, any bytes.
    Message(Vec<u8>),
    /// The first frame in each direction, and only the first.
    Hello(Hello),
    /// From the peer with the lower key: this stream, of those both ends may have opened, is the link.
    Chosen,
    /// Asks for a `Pong`: is the other end still there?
    Ping,
    /// The answer to a `Ping`.
    Pong,
}

/// What each end sends first, about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The highest version spoken; the lower of the two ends' is used.
    pub version: u8,
    /// Drawn at random at each start of the node: another value from the same key is another run.
    pub boot: [u8; 8],
    /// The longest message this end takes, in bytes.
    pub message_bytes_max: u32,
}

/// What is wrong with bytes that are no frame; the stream cannot go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind this version does not know.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// A length beyond what its kind allows.
    #[error("frame of {0} bytes")]
    Oversized(usize),
    /// A length its kind never has.
    #[error("frame of {1} bytes of kind {0}")]
    Length(u8, usize),
    /// A greeting without a version that both ends speak.
    #[error("greeting with version {0}")]
    Version(u8),
    /// Another frame stands where the greeting has to.
    #[error("no greeting")]
    NoHello,
    /// A frame that the end which sent it may not send now.
    #[error("frame of kind {0} out of turn")]
    Turn(u8),
}

impl Hello {
    fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut out = [0; HELLO_BYTES];
        let (version, rest) = out.split_at_mut(1);
        let (boot, bytes_max) = rest.split_at_mut(8);
        version.copy_from_slice(&[self.version]);
        boot.copy_from_slice(&self.boot);
        bytes_max.copy_from_slice(&self.message_bytes_max.to_be_bytes());
        out
    }

    fn decode(content: &[u8]) -> Result<Self, FrameError> {
        let short = FrameError::Length(HELLO, content.len());
        let (version, rest) = content.split_first().ok_or(short)?;
        let (boot, rest) = rest.split_first_chunk().ok_or(short)?;
        let (bytes_max, _later) = rest.split_first_chunk().ok_or(short)?;
        if *version < VERSION {
            return Err(FrameError::Version(*version));
        }
        Ok(Self { version: *version, boot: *boot, message_bytes_max: u32::from_be_bytes(*bytes_max) })
    }
}

impl Frame {
    /// Appends the frame's bytes to `out`.
    ///
    /// # Panics
    ///
    /// If a message is longer than [`MESSAGE_BYTES_MAX`]: a link refuses those before.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Message(bytes) => put(MESSAGE, bytes, out),
            Self::Hello(hello) => put(HELLO, &hello.encode(), out),
            Self::Chosen => put(CHOSEN, &[], out),
            Self::Ping => put(PING, &[], out),
            Self::Pong => put(PONG, &[], out),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Message(_) => MESSAGE,
            Self::Hello(_) => HELLO,
            Self::Chosen => CHOSEN,
            Self::Ping => PING,
            Self::Pong => PONG,
        }
    }

    fn decode(kind: u8, content: Vec<u8>) -> Result<Self, FrameError> {
        match kind {
            MESSAGE => Ok(Self::Message(content)),
            HELLO => Hello::decode(&content).map(Self::Hello),
            CHOSEN => Ok(Self::Chosen),
            PING => Ok(Self::Ping),
            PONG => Ok(Self::Pong),
            _ => Err(FrameError::Kind(kind)),
        }
    }
}

/// Appends the bytes of a message frame, without taking the message.
///
/// # Panics
///
/// If the message is longer than [`MESSAGE_BYTES_MAX`].
pub fn encode_message(bytes: &[u8], out: &mut Vec<u8>) {
    put(MESSAGE, bytes, out);
}

fn put(kind: u8, content: &[u8], out: &mut Vec<u8>) {
    assert!(content.len() <= MESSAGE_BYTES_MAX, "a link refuses longer messages before they are framed");
    out.extend_from_slice(&((u32::from(kind) << 24) | content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
}

/// The order of the frames that one end sends: its greeting, then `Chosen` if it is the one that chooses, then all others.
#[derive(Debug)]
pub struct Turns {
    chooses: bool,
    greeted: bool,
    chosen: bool,
}

impl Turns {
    /// Of the frames by the end that has the lower key, and so chooses; or by the other.
    pub fn of(chooses: bool) -> Self {
        Self { chooses, greeted: false, chosen: false }
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// [`FrameError`] where it is not its turn; the stream cannot go on after it.
    pub fn take(&mut self, frame: &Frame) -> Result<(), FrameError> {
        if !self.greeted && !matches!(frame, Frame::Hello(_)) {
            return Err(FrameError::NoHello);
        }
        let in_turn = match frame {
            Frame::Hello(_) => !std::mem::replace(&mut self.greeted, true),
            Frame::Chosen => self.chooses && !std::mem::replace(&mut self.chosen, true),
            Frame::Message(_) | Frame::Ping | Frame::Pong => self.chosen || !self.chooses,
        };
        if in_turn { Ok(()) } else { Err(FrameError::Turn(frame.kind())) }
    }
}

/// Cuts a byte stream into frames.
///
/// Give it what arrived with [`push`](Self::push), then call [`next_frame`](Self::next_frame) until
/// it answers `Ok(None)`. It holds what was pushed and not yet cut, never room for what a header
/// merely claims; after an error the stream is of no more use.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already cut; dropped at the next push.
    cut: usize,
}

impl FrameDecoder {
    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.cut);
        self.cut = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`] for a kind or a length that no frame has; the stream cannot go on after it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((header, rest)) = self.buffer.get(self.cut..).and_then(|left| left.split_first_chunk())
        else {
            return Ok(None);
        };
        let (kind, bytes) = checked(*header)?;
        let Some(content) = rest.get(..bytes) else {
            return Ok(None);
        };
        let content = content.to_vec();
        self.cut += HEADER_BYTES + bytes;
        if self.cut == self.buffer.len() {
            self.release();
        }
        Frame::decode(kind, content).map(Some)
    }

    /// Bytes held for a frame that is not whole yet.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len() - self.cut
    }

    /// Forgets what was cut, and gives back the room of a large message.
    fn release(&mut self) {
        const KEPT_BYTES: usize = 64 << 10;
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES);
        self.cut = 0;
    }
}

/// The kind and length a header names, if that kind may be that long.
fn checked(header: [u8; HEADER_BYTES]) -> Result<(u8, usize), FrameError> {
    let word = u32::from_be_bytes(header);
    let (kind, bytes) = ((word >> 24) as u8, (word & 0xff_ffff) as usize);
    let bytes_max = match kind {
        MESSAGE => MESSAGE_BYTES_MAX,
        HELLO => HELLO_BYTES_MAX,
        CHOSEN | PING | PONG if bytes > 0 => return Err(FrameError::Length(kind, bytes)),
        CHOSEN | PING | PONG => 0,
        _ => return Err(FrameError::Kind(kind)),
    };
    if bytes > bytes_max { Err(FrameError::Oversized(bytes)) } else { Ok((kind, bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..2000).prop_map(Frame::Message),
            (VERSION.., any::<[u8; 8]>(), any::<u32>()).prop_map(|(version, boot, message_bytes_max)| {
                Frame::Hello(Hello { version, boot, message_bytes_max })
            }),
            Just(Frame::Chosen),
            Just(Frame::Ping),
            Just(Frame::Pong),
        ]
    }

    fn all(decoder: &mut FrameDecoder) -> Result<Vec<Frame>, FrameError> {
        std::iter::from_fn(|| decoder.next_frame().transpose()).collect()
    }

    proptest! {
        /// However the stream is cut on its way, the same frames come out.
        #[test]
        fn frames_survive_any_cut(frames in prop::collection::vec(any_frame(), 0..20), step in 1_usize..3000) {
            let mut bytes = Vec::new();
            frames.iter().for_each(|frame| frame.encode(&mut bytes));
            let (mut decoder, mut got) = (FrameDecoder::default(), Vec::new());
            for part in bytes.chunks(step) {
                decoder.push(part);
                got.extend(all(&mut decoder)?);
            }
            prop_assert_eq!(got, frames);
            prop_assert_eq!(decoder.held_bytes(), 0);
        }

        /// Any bytes give frames or one error, never more memory than was pushed.
        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut decoder = FrameDecoder::default();
            decoder.push(&bytes);
            let _ = all(&mut decoder);
            prop_assert!(decoder.held_bytes() <= bytes.len());
        }
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&(MESSAGE_BYTES_MAX as u32).to_be_bytes());
        assert_eq!(decoder.next_frame(), Ok(None));
        assert!(decoder.buffer.capacity() < 64);
    }

    #[test]
    fn one_byte_beyond_the_maximum_is_refused_by_its_header() {
        let mut decoder = FrameDecoder::default();
        decoder.push(&(MESSAGE_BYTES_MAX as u32 + 1).to_be_bytes());
        assert_eq!(decoder.next_frame(), Err(FrameError::Oversized(MESSAGE_BYTES_MAX + 1)));
    }

    #[test]
    fn a_later_greeting_with_more_fields_is_understood() {
        let mut decoder = FrameDecoder::default();
        let mut content = Hello { version: 9, boot: [7; 8], message_bytes_max: 5 }.encode().to_vec();
        content.extend_from_slice(b"later");
        let mut bytes = Vec::new();
        put(HELLO, &content, &mut bytes);
        decoder.push(&bytes);
        let hello = Hello { version: 9, boot: [7; 8], message_bytes_max: 5 };
        assert_eq!(decoder.next_frame(), Ok(Some(Frame::Hello(hello))));
    }

    /// The vector of `FORMAT.md`.
    #[test]
    fn the_drawn_bytes_are_the_bytes() {
        let frames = [
            Frame::Hello(Hello {
                version: 1,
                boot: *b"\0\x01\x02\x03\x04\x05\x06\x07",
                message_bytes_max: 1 << 20,
            }),
            Frame::Chosen,
            Frame::Message(b"tide".to_vec()),
            Frame::Ping,
            Frame::Pong,
        ];
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        let drawn = "0100000d01000102030405060700100000020000000000000474696465\
                     0300000004000000";
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes), drawn);
        let format = include_str!("../FORMAT.md");
        assert!(format.contains("01 00 00 0d 01 00 01 02 03 04 05 06 07 00 10 00 00"));
    }
}
