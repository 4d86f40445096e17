//! When we say what we hold of one owner's documents, layer by layer. Many may have the same to say, and one answer
//! serves all: whoever hears another ask waits for that answer first, and need not ask once it came.

/// A frontier is put off for others' questions and answers so often at most.
const PUT_OFF_MAX: u8 = 4;
/// The same frontier is not told again within so many frame times.
const TOLD_PAUSE_FRAMES: u64 = 12;

#[derive(Debug, Default)]
pub(super) struct FrontierSchedule {
    at: Option<u64>,
    put_off: u8,
    /// Only saying it helps: somebody believes that we hold what we do not.
    must: bool,
    /// When it was said last, and the fingerprint of what.
    told: Option<(u64, u64)>,
}

impl FrontierSchedule {
    /// When it is due.
    pub(super) fn at(&self) -> Option<u64> {
        self.at
    }

    /// When it was said last.
    pub(super) fn told_at(&self) -> Option<u64> {
        self.told.map(|(at, _)| at)
    }

    /// Whether nothing that others send settles it.
    pub(super) fn must(&self) -> bool {
        self.must
    }

    /// By then at the latest.
    pub(super) fn by(&mut self, at: u64) {
        self.at = Some(self.at.map_or(at, |before| before.min(at)));
    }

    /// As [`by`](Self::by), unless the same was said lately.
    pub(super) fn again_by(&mut self, now: u64, at: u64, fingerprint: u64, frame_ms: u64) {
        let pause = frame_ms * TOLD_PAUSE_FRAMES;
        if !self.told.is_some_and(|(said, sent)| sent == fingerprint && now < said + pause) {
            self.by(at);
        }
    }

    /// As [`again_by`](Self::again_by), whatever others send.
    pub(super) fn must_by(&mut self, now: u64, at: u64, fingerprint: u64, frame_ms: u64) {
        self.again_by(now, at, fingerprint, frame_ms);
        self.must |= self.at.is_some();
    }

    /// Somebody else asked, or is answered: not before then.
    pub(super) fn put_off(&mut self, until: u64) {
        if let Some(at) = self.at.filter(|at| *at < until && self.put_off < PUT_OFF_MAX) {
            self.at = Some(at.max(until));
            self.put_off += 1;
        }
    }

    /// There is nothing to say any more.
    pub(super) fn drop(&mut self) {
        (self.at, self.put_off, self.must) = (None, 0, false);
    }

    /// It was said.
    pub(super) fn done(&mut self, now: u64, fingerprint: u64) {
        self.drop();
        self.told = Some((now, fingerprint));
    }
}
