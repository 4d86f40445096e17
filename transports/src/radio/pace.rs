//! What a radio still has to send, computed, where it does not report it.

/// How long before the end of the last frame the next one is asked for, milliseconds.
const LEAD_MS: u64 = 400;
/// A burst ends after this much time on the air, milliseconds.
const BURST_MS_MAX: u64 = 5_000;
/// Between the end of a burst that was cut off and the next frame, milliseconds.
const PAUSE_MS: u64 = 1_500;
/// What is reckoned to be in the radio's queue is never more than this, whatever is heard meanwhile, milliseconds.
pub(super) const RECKONED_MS_MAX: u64 = 30_000;

/// The queue of a radio that reports nothing of what it sends: waiting for the channel once for a burst, each frame by its
/// time on the air, and what is heard meanwhile puts it off. The next frame is asked for shortly before the last one ends, so that a
/// burst stays one burst, and after [`BURST_MS_MAX`] others get the air for a while.
#[derive(Debug)]
pub(super) struct Pace {
    /// From handing over to the first bit on the air, when the radio was idle.
    lead_in_ms: u64,
    /// When all that was handed over is through.
    clear_ms: u64,
    /// Time on the air handed over since the radio was last idle.
    burst_ms: u64,
    /// When the last frame was handed over, and by how much what was heard since has put the next one off.
    handed_over_ms: u64,
    put_off_ms: u64,
    /// When to ask for the next frame; `None` while one is asked for.
    ready_ms: Option<u64>,
}

impl Pace {
    pub(super) fn new(lead_in_ms: u64) -> Self {
        Self { lead_in_ms, clear_ms: 0, burst_ms: 0, handed_over_ms: 0, put_off_ms: 0, ready_ms: None }
    }

    /// A frame of this time on the air was handed over.
    pub(super) fn handed_over(&mut self, now_ms: u64, frame_ms: u64) {
        if self.clear_ms <= now_ms {
            self.clear_ms = now_ms + self.lead_in_ms;
            self.burst_ms = 0;
        }
        (self.handed_over_ms, self.put_off_ms) = (now_ms, 0);
        self.clear_ms += frame_ms;
        self.burst_ms += frame_ms;
        self.ready_ms = Some(if self.burst_ms < BURST_MS_MAX {
            self.clear_ms.saturating_sub(LEAD_MS).max(now_ms)
        } else {
            self.clear_ms + PAUSE_MS
        });
    }

    /// Another station was heard: meanwhile the radio waited. It did so no longer than since it was handed the frame, and not
    /// more than [`RECKONED_MS_MAX`] in all is believed: a port that claims to hear more than air can carry does not
    /// silence us.
    pub(super) fn heard(&mut self, now_ms: u64, frame_ms: u64) {
        if self.clear_ms > now_ms {
            let room_ms = (now_ms + RECKONED_MS_MAX).saturating_sub(self.clear_ms);
            let waited_ms = now_ms.saturating_sub(self.handed_over_ms).min(RECKONED_MS_MAX);
            let later_ms = frame_ms.min(room_ms).min(waited_ms.saturating_sub(self.put_off_ms));
            self.put_off_ms += later_ms;
            self.clear_ms += later_ms;
            self.ready_ms = self.ready_ms.map(|at| at + later_ms);
        }
    }

    /// No frame before this much time has passed.
    pub(super) fn pause(&mut self, now_ms: u64, for_ms: u64) {
        self.ready_ms = Some(self.ready_ms.unwrap_or(now_ms).max(now_ms + for_ms));
    }

    /// The radio itself sends nothing for so long, whatever was reckoned.
    pub(super) fn stop(&mut self, now_ms: u64, for_ms: u64) {
        self.clear_ms = now_ms;
        self.ready_ms = Some(now_ms + for_ms);
    }

    /// When to ask for the next frame.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.ready_ms
    }

    /// Whether the next frame is to be asked for; reported once.
    pub(super) fn take_ready(&mut self, now_ms: u64) -> bool {
        self.ready_ms.take_if(|at| *at <= now_ms).is_some()
    }
}
