//! Frames on the two halves of a byte stream.

use super::carrier::{ReadHalf, SessionError, WriteHalf};
use crate::link::RejectReason;
use crate::stream::{Frame, FrameDecoder, FrameError, Turns};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// Bytes read from the stream at a time.
const READ_BYTES: usize = 16 << 10;

/// The frames that arrive on a stream.
pub(super) struct Frames<R = ReadHalf> {
    read: R,
    decoder: FrameDecoder,
    /// Not of a request to join and its answer, which are a frame each.
    turns: Option<Turns>,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(read: R, turns: Option<Turns>) -> Self {
        Self { read, decoder: FrameDecoder::default(), turns, buffer: Vec::new() }
    }

    /// The next whole frame, if the bytes received so far hold one.
    pub(super) fn waiting(&mut self) -> Result<Option<Frame>, SessionError> {
        let frame = self.decoder.next_frame()?;
        if let Some((frame, turns)) = frame.as_ref().zip(self.turns.as_mut()) {
            turns.take(frame)?;
        }
        Ok(frame)
    }

    /// Waits for bytes. Returns how many came.
    pub(super) async fn receive(&mut self) -> Result<usize, SessionError> {
        self.buffer.clear();
        self.buffer.reserve(READ_BYTES);
        let mut limited = (&mut self.read).take(READ_BYTES as u64);
        match limited.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(SessionError::Stream),
            Ok(bytes) => {
                self.decoder.push(&self.buffer);
                Ok(bytes)
            }
        }
    }

    pub(super) async fn next(&mut self) -> Result<Frame, SessionError> {
        loop {
            if let Some(frame) = self.waiting()? {
                return Ok(frame);
            }
            self.receive().await?;
        }
    }
}

pub(super) async fn write(write: &mut WriteHalf, frame: &Frame) -> Result<(), SessionError> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    send(write, &bytes).await
}

/// Writes bytes and sees that no buffer below keeps them.
pub(super) async fn send(write: &mut WriteHalf, bytes: &[u8]) -> Result<(), SessionError> {
    write.write_all(bytes).await.map_err(|_| SessionError::Stream)?;
    write.flush().await.map_err(|_| SessionError::Stream)
}

impl From<FrameError> for SessionError {
    fn from(error: FrameError) -> Self {
        Self::Rejected(match error {
            FrameError::Oversized(_) => RejectReason::Oversized,
            FrameError::Version(_) | FrameError::NoHello => RejectReason::BadHello,
            FrameError::Kind(_) | FrameError::Length(..) | FrameError::Turn(_) => RejectReason::BadFrame,
        })
    }
}
