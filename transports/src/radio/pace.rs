//! What a radio still has to send, computed, where it does not report it.

use tombolo_mesh::time::{Millis, Mono};

/// How long before the end of the last frame the next one is asked for.
const LEAD: Millis = Millis::from_ms(400);
/// A burst ends after this much time on the air.
const BURST_MAX: Millis = Millis::from_ms(5_000);
/// Between the end of a burst that was cut off and the next frame.
const PAUSE: Millis = Millis::from_ms(1_500);
/// What is reckoned to be in the radio's queue is never more than this, whatever is heard meanwhile.
pub(super) const RECKONED_MAX: Millis = Millis::from_ms(30_000);

/// The queue of a radio that reports nothing of what it sends: waiting for the channel once for a burst, each frame by its
/// time on the air, and what is heard meanwhile puts it off. The next frame is asked for shortly before the last one ends, so that a
/// burst stays one burst, and after [`BURST_MAX`] others get the air for a while.
#[derive(Debug)]
pub(super) struct Pace {
    /// From handing over to the first bit on the air, when the radio was idle.
    lead_in: Millis,
    /// When all that was handed over is through.
    clear_at: Mono,
    /// Time on the air handed over since the radio was last idle.
    burst: Millis,
    /// When the last frame was handed over, and by how much what was heard since has put the next one off.
    handed_over_at: Mono,
    put_off: Millis,
    /// When to ask for the next frame; `None` while one is asked for.
    ready_at: Option<Mono>,
}

impl Pace {
    pub(super) fn new(lead_in: Millis) -> Self {
        Self {
            lead_in,
            clear_at: Mono::ZERO,
            burst: Millis::ZERO,
            handed_over_at: Mono::ZERO,
            put_off: Millis::ZERO,
            ready_at: None,
        }
    }

    /// A frame of this time on the air was handed over.
    pub(super) fn handed_over(&mut self, now: Mono, frame_airtime: Millis) {
        if self.clear_at <= now {
            self.clear_at = now + self.lead_in;
            self.burst = Millis::ZERO;
        }
        (self.handed_over_at, self.put_off) = (now, Millis::ZERO);
        self.clear_at += frame_airtime;
        self.burst += frame_airtime;
        self.ready_at = Some(if self.burst < BURST_MAX {
            (self.clear_at - LEAD).max(now)
        } else {
            self.clear_at + PAUSE
        });
    }

    /// Another station was heard: meanwhile the radio waited. It did so no longer than since it was handed the frame, and not
    /// more than [`RECKONED_MAX`] in all is believed: a port that claims to hear more than air can carry does not
    /// silence us.
    pub(super) fn heard(&mut self, now: Mono, frame_airtime: Millis) {
        if self.clear_at > now {
            let room = (now + RECKONED_MAX).since(self.clear_at);
            let waited = now.since(self.handed_over_at).min(RECKONED_MAX);
            let later = frame_airtime.min(room).min(waited - self.put_off);
            self.put_off += later;
            self.clear_at += later;
            self.ready_at = self.ready_at.map(|at| at + later);
        }
    }

    /// No frame before this much time has passed.
    pub(super) fn pause(&mut self, now: Mono, length: Millis) {
        self.ready_at = Some(self.ready_at.unwrap_or(now).max(now + length));
    }

    /// The radio itself sends nothing for so long, whatever was reckoned.
    pub(super) fn stop(&mut self, now: Mono, length: Millis) {
        self.clear_at = now;
        self.ready_at = Some(now + length);
    }

    /// When to ask for the next frame.
    pub(super) fn due(&self) -> Option<Mono> {
        self.ready_at
    }

    /// Whether the next frame is to be asked for; reported once.
    pub(super) fn take_ready(&mut self, now: Mono) -> bool {
        self.ready_at.take_if(|at| *at <= now).is_some()
    }
}
