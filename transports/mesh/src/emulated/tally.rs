//! What happened on the channel: counts per radio, and the last frames that were on air.

use std::collections::VecDeque;

use super::EmulatedRadioId;

/// Frames kept for captures; the oldest go first.
pub const LOG_FRAMES_MAX: usize = 4_096;

/// What one radio did and met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RadioStats {
    /// Frames that it sent.
    pub sent_frames: u64,
    /// Bytes in them, without what the radio adds.
    pub sent_bytes: u64,
    /// Time on air, microseconds.
    pub airtime_us: u64,
    /// Frames handed to the owner.
    pub heard_frames: u64,
    /// Bytes in the frames that it heard.
    pub heard_bytes: u64,
    /// Frames that another one spoilt here.
    pub collisions: u64,
    /// Frames missed while sending.
    pub missed_sending: u64,
    /// Frames lost on the way for no other reason.
    pub lost: u64,
    /// Frames handed over with bits flipped.
    pub corrupted: u64,
    /// Frames handed over twice.
    pub duplicated: u64,
    /// Frames not taken: busy, queue full, too long.
    pub refused: u64,
}

/// A frame that was on air.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnAir {
    /// The radio that sent it.
    pub radio: EmulatedRadioId,
    /// On which frequency, Hz.
    pub frequency_hz: u32,
    /// When the frame began, microseconds.
    pub start_us: u64,
    /// When the frame ended, microseconds.
    pub end_us: u64,
    /// What it was, as sent.
    pub frame: Vec<u8>,
}

/// The last frames on air, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(VecDeque<OnAir>);

impl Log {
    pub(super) fn push(&mut self, on_air: OnAir) {
        if self.0.len() >= LOG_FRAMES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(on_air);
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &OnAir> {
        self.0.iter()
    }
}
