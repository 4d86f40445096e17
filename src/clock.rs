//! Clocks as the rest of the system sees them: `Now` comes in as an argument, `Timestamp` is a hybrid logical clock, and
//! `ReferenceClock` decides which wall time to believe. Nothing here reads a clock.

use std::collections::BTreeMap;

use tombolo_transports::PeerId;

use crate::limits::{CLOCK_HEARD, FUTURE_BOUND, STAMP_MAX};
use crate::time::{Mono, Wall};

/// 2026-11-01T00:00:00Z: a wall clock before the build is not set.
pub const BUILD_DATE: Wall = Wall::from_ms(1_793_491_200_000);

/// The instant at which an input is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The instant on the monotonic clock.
    pub mono: Mono,
    /// The instant on the system clock, right or wrong.
    pub wall: Wall,
}

/// A hybrid logical clock stamp: 48 bits of milliseconds since the Unix epoch, 16 bits of counter
/// (Kulkarni et al., *Logical Physical Clocks*, 2014). Ordered as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The stamp at `time` with `counter`; a time beyond 48 bits is held at the largest.
    pub fn new(time: Wall, counter: u16) -> Self {
        Timestamp(time.min(STAMP_MAX).ms() << 16 | u64::from(counter))
    }

    /// The stamp as the 64-bit number that travels.
    pub fn from_bits(bits: u64) -> Self {
        Timestamp(bits)
    }

    /// The 64-bit number that travels.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The instant in it, without the counter.
    pub fn time(self) -> Wall {
        Wall::from_ms(self.0 >> 16)
    }

    /// The stamp at another time, with the counter of this one.
    pub fn at(time: Wall, counter_of: Timestamp) -> Self {
        Timestamp::new(time, u16::try_from(counter_of.0 & 0xffff).unwrap_or(u16::MAX))
    }

    /// The least stamp that is greater.
    pub fn successor(self) -> Self {
        self.next()
    }

    /// The next stamp: the counter goes on into the milliseconds, and stops at the largest.
    fn next(self) -> Self {
        Timestamp(self.0.saturating_add(1))
    }
}

/// Gives stamps that only grow, and stay near reference time.
#[derive(Clone, Copy, Debug, Default)]
pub struct HybridClock {
    last: Timestamp,
}

impl HybridClock {
    /// A clock that goes on from the newest stamp already used.
    pub fn starting_after(last: Timestamp) -> Self {
        HybridClock { last }
    }

    /// A stamp greater than all given or observed before.
    pub fn tick(&mut self, reference: Wall) -> Timestamp {
        self.last = self.last.next().max(Timestamp::new(reference, 0));
        self.last
    }

    /// Takes note of a merged stamp. One beyond the bound is not followed: a peer must not drag this clock.
    pub fn observe(&mut self, stamp: Timestamp, reference: Wall) {
        if stamp.time() <= reference + FUTURE_BOUND {
            self.last = self.last.max(stamp);
        }
    }

    /// Steps back to `reference` when the clock had run ahead of it by more than the bound: the clock behind it was fast. What
    /// is stamped next takes part at once.
    pub fn pull_back(&mut self, reference: Wall) {
        if self.last.time() > reference + FUTURE_BOUND {
            self.last = Timestamp::new(reference, 0);
        }
    }
}

/// Where reference time comes from at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The system clock of this node.
    Own,
    /// The median of three or more peers' clocks.
    Median,
    /// The clock of the one or two known peers, while the own clock is not set.
    Peer,
    /// No clock at all: time goes on from the last that was believed since the start, or from the newest own stamp on disk.
    Logical,
}

/// What a clock showed, and when.
#[derive(Clone, Copy, Debug)]
struct ClockReading {
    wall: Wall,
    at: Mono,
}

impl ClockReading {
    /// What that clock shows now, if it runs as fast as this node's monotonic one.
    fn on(&self, now: Mono) -> Wall {
        let offset = i128::from(self.wall.ms()) - i128::from(self.at.ms());
        clamp(offset + i128::from(now.ms()))
    }
}

/// Whether the kernel counts the clock of this machine as synchronised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelClock {
    /// A time service keeps it right.
    Synchronised,
    /// None does, or it has not found a source for hours.
    NotSynchronised,
    /// The kernel has no such count, or does not show it to this process.
    Unknown,
}

/// Who vouches for the clock of this machine, besides the time that it shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockVouchers {
    /// The operator does, in the settings: whatever it shows.
    pub operator: bool,
    /// The kernel counts it as synchronised.
    pub kernel: bool,
}

/// Decides which wall time to believe.
#[derive(Clone, Debug)]
pub struct ReferenceClock {
    /// Newest own stamp known to be durable: a wall clock behind it is wrong, if neither operator nor kernel vouches for it.
    newest_own: Wall,
    vouchers: ClockVouchers,
    readings: BTreeMap<PeerId, ClockReading>,
    /// The newest own stamp on disk, when that was read.
    loaded: ClockReading,
    /// Reference time when a clock was last believed: what was seen and stamped under it must not turn into the future only
    /// because that clock is not there any more.
    believed: Option<ClockReading>,
}

impl Default for ReferenceClock {
    fn default() -> Self {
        ReferenceClock::new(Timestamp::default(), ClockVouchers::default(), Mono::ZERO)
    }
}

impl ReferenceClock {
    /// A clock that knows the newest stamp this node ever made durable, which was read at `at`.
    pub fn new(newest_own: Timestamp, vouchers: ClockVouchers, at: Mono) -> Self {
        let newest_own = newest_own.time();
        let loaded = ClockReading { wall: newest_own.max(BUILD_DATE), at };
        ReferenceClock { newest_own, vouchers, readings: BTreeMap::new(), loaded, believed: None }
    }

    /// Who vouches for the clock of this machine.
    pub fn vouchers(&self) -> ClockVouchers {
        self.vouchers
    }

    /// From now on the kernel counts the clock of this machine as synchronised, or does so no more.
    pub fn set_kernel_synchronised(&mut self, synchronised: bool) {
        self.vouchers.kernel = synchronised;
    }

    /// Reference time is a clock's at this moment: once there is none, time goes on from here.
    pub fn believe(&mut self, reference: Wall, at: Mono) {
        self.believed = Some(ClockReading { wall: reference, at });
    }

    /// An authenticated peer sent its wall time.
    pub fn hear(&mut self, peer: PeerId, wall: Wall, now: Now) {
        self.readings.insert(peer, ClockReading { wall, at: now.mono });
    }

    /// Forgets a removed peer's clock, and what was believed because of it.
    pub fn forget(&mut self, peer: &PeerId) {
        if self.readings.remove(peer).is_some() {
            self.believed = None;
        }
    }

    /// Whether this node's wall clock may be sent to peers. One before the build date is wrong even if the kernel counts it as
    /// synchronised: an old GPS receiver whose count of weeks has overflowed shows a date some 20 years back.
    pub fn own_is_set(&self, now: Now) -> bool {
        let ClockVouchers { operator, kernel } = self.vouchers;
        operator || (now.wall >= BUILD_DATE && (kernel || now.wall + FUTURE_BOUND >= self.newest_own))
    }

    /// Whether three or more peers' clocks have a median that is far from this machine's clock, whichever of both is believed.
    pub fn peers_differ(&self, now: Now) -> bool {
        self.median(now).is_some_and(|median| median.is_quorum && median.is_far_from(now.wall.min(STAMP_MAX)))
    }

    fn median(&self, now: Now) -> Option<Median> {
        let mut peers: Vec<Wall> = self.peer_clocks(now).map(|(_, wall)| wall).collect();
        peers.sort_unstable();
        let wall = peers.get(peers.len().saturating_sub(1) / 2).copied()?;
        Some(Median { wall, is_quorum: peers.len() >= QUORUM })
    }

    /// The clocks of peers that were received in the last day, as they show the time now.
    pub fn peer_clocks(&self, now: Now) -> impl Iterator<Item = (PeerId, Wall)> {
        self.fresh(now).map(move |(peer, reading)| (*peer, reading.on(now.mono)))
    }

    fn fresh(&self, now: Now) -> impl Iterator<Item = (&PeerId, &ClockReading)> {
        let is_fresh = move |reading: &ClockReading| now.mono.since(reading.at) <= CLOCK_HEARD;
        self.readings.iter().filter(move |(_, reading)| is_fresh(reading))
    }

    /// Reference time, and where it comes from.
    pub fn reference(&self, now: Now) -> (Wall, TimeSource) {
        let own = now.wall.min(STAMP_MAX);
        let is_vouched_for = self.vouchers != ClockVouchers::default();
        match (self.own_is_set(now), self.median(now)) {
            (true, Some(m)) if m.is_quorum && !is_vouched_for && m.is_far_from(own) => {
                (m.wall, TimeSource::Median)
            }
            (true, _) => (own, TimeSource::Own),
            (false, Some(m)) if m.is_quorum => (m.wall, TimeSource::Median),
            (false, Some(m)) => (m.wall, TimeSource::Peer),
            (false, None) => (self.believed.unwrap_or(self.loaded).on(now.mono), TimeSource::Logical),
        }
    }
}

/// So many peers' clocks outvote a clock for which neither operator nor kernel vouches.
const QUORUM: usize = 3;

/// The median of the peers' clocks.
#[derive(Clone, Copy, Debug)]
struct Median {
    wall: Wall,
    /// There are enough of them to outvote the own clock.
    is_quorum: bool,
}

impl Median {
    fn is_far_from(self, own: Wall) -> bool {
        own.distance(self.wall) > FUTURE_BOUND
    }
}

fn clamp(ms: i128) -> Wall {
    let ms = ms.clamp(0, i128::from(STAMP_MAX.ms()));
    Wall::from_ms(u64::try_from(ms).expect("clamped to 48 bits"))
}

/// An instant of wall time as RFC 3339 in UTC: whole seconds where they are whole.
pub fn rfc3339(time: Wall) -> String {
    let ms = time.ms();
    let Some(t) = i64::try_from(ms).ok().and_then(chrono::DateTime::from_timestamp_millis) else {
        return format!("{ms} ms");
    };
    let format =
        if ms.is_multiple_of(1000) { chrono::SecondsFormat::Secs } else { chrono::SecondsFormat::Millis };
    t.to_rfc3339_opts(format, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Millis;

    const T: Wall = Wall::from_ms(BUILD_DATE.ms() + 1_000_000_000);
    const YEAR: Millis = Millis::from_secs(365 * 24 * 3600);

    fn now(mono_ms: u64, wall: Wall) -> Now {
        Now { mono: Mono::from_ms(mono_ms), wall }
    }

    #[test]
    fn stamps_only_grow_even_when_the_wall_clock_steps_back() {
        let mut clock = HybridClock::default();
        let a = clock.tick(T);
        let b = clock.tick(T - Millis::from_secs(5));
        assert!(b > a);
        assert_eq!(b.time(), T);
    }

    #[test]
    fn a_far_future_stamp_does_not_drag_the_clock() {
        let mut clock = HybridClock::default();
        clock.observe(Timestamp::new(T + FUTURE_BOUND + Millis::from_ms(1), 0), T);
        assert_eq!(clock.tick(T).time(), T);
        clock.observe(Timestamp::new(T + FUTURE_BOUND, 0), T);
        assert_eq!(clock.tick(T).time(), T + FUTURE_BOUND);
    }

    #[test]
    fn the_median_of_three_overrules_a_wrong_own_clock() {
        let mut clock = ReferenceClock::default();
        for (i, offset) in [(1u8, 0), (2, 1_000), (3, 2_000)].map(|(i, ms)| (i, Millis::from_ms(ms))) {
            clock.hear(PeerId([i; 32]), T + offset, now(50, Wall::default()));
        }
        assert_eq!(clock.reference(now(50, T + YEAR)), (T + Millis::from_secs(1), TimeSource::Median));
        assert_eq!(
            clock.reference(now(50, T + Millis::from_secs(30))),
            (T + Millis::from_secs(30), TimeSource::Own)
        );
        assert_eq!(
            clock.reference(now(150, Wall::default())),
            (T + Millis::from_ms(1_100), TimeSource::Median)
        );
    }

    fn three_a_year_ahead(clock: &mut ReferenceClock) {
        for peer in 1..=3 {
            clock.hear(PeerId([peer; 32]), T + YEAR, now(50, Wall::default()));
        }
    }

    /// Three peers, by mistake or on purpose, do not move a clock for which the operator or the kernel vouches; that they differ is known.
    #[test]
    fn a_clock_that_somebody_vouches_for_is_not_outvoted() {
        for vouchers in
            [ClockVouchers { operator: true, kernel: false }, ClockVouchers { operator: false, kernel: true }]
        {
            let mut clock = ReferenceClock::new(Timestamp::default(), vouchers, Mono::ZERO);
            three_a_year_ahead(&mut clock);
            assert_eq!(clock.reference(now(50, T)), (T, TimeSource::Own));
            assert!(clock.peers_differ(now(50, T)) && !clock.peers_differ(now(50, T + YEAR)));
            // Neither is it for its being behind what was stamped under a fast clock.
            let mut clock = ReferenceClock::new(Timestamp::new(T + YEAR, 0), vouchers, Mono::ZERO);
            three_a_year_ahead(&mut clock);
            assert_eq!(clock.reference(now(50, T)), (T, TimeSource::Own));
            // A GPS receiver whose weeks have overflowed shows a date before this was built.
            let early = clock.reference(now(50, Wall::from_ms(1_000))).1;
            assert_eq!(early, if vouchers.operator { TimeSource::Own } else { TimeSource::Median });
        }
    }

    #[test]
    fn the_kernel_vouches_only_for_as_long_as_it_counts_the_clock_as_synchronised() {
        let mut clock = ReferenceClock::default();
        three_a_year_ahead(&mut clock);
        for (synchronised, source) in
            [(false, TimeSource::Median), (true, TimeSource::Own), (false, TimeSource::Median)]
        {
            clock.set_kernel_synchronised(synchronised);
            assert_eq!(clock.reference(now(50, T)).1, source);
        }
        // One that is gone does not count any more.
        clock.forget(&PeerId([1; 32]));
        assert_eq!(clock.reference(now(50, T)), (T, TimeSource::Own));
        assert!(!clock.peers_differ(now(50, T)));
    }

    #[test]
    fn an_unset_clock_takes_the_peers_and_else_goes_on_logically() {
        let mut clock = ReferenceClock::new(Timestamp::new(T, 3), ClockVouchers::default(), Mono::ZERO);
        assert_eq!(clock.reference(now(0, Wall::default())), (T, TimeSource::Logical));
        clock.hear(PeerId([1; 32]), T + Millis::from_ms(9), now(10, Wall::default()));
        assert_eq!(clock.reference(now(11, Wall::default())), (T + Millis::from_ms(10), TimeSource::Peer));
        let later = 11 + CLOCK_HEARD.ms();
        assert_eq!(
            clock.reference(now(later, Wall::default())),
            (T + Millis::from_ms(later), TimeSource::Logical)
        );
    }

    /// The peer whose clock was believed was met once: a day later time does not fall back to what the disk held at the start.
    #[test]
    fn time_goes_on_from_what_was_believed_and_not_from_a_removed_peer() {
        let mut clock = ReferenceClock::new(Timestamp::new(T, 3), ClockVouchers::default(), Mono::ZERO);
        let (peer, hour) = (PeerId([1; 32]), Millis::from_secs(3600));
        clock.hear(peer, T + hour, now(10, Wall::default()));
        clock.believe(T + hour, Mono::from_ms(10));
        let later = now(10 + 2 * CLOCK_HEARD.ms(), Wall::default());
        assert_eq!(clock.reference(later), (T + hour + 2 * CLOCK_HEARD, TimeSource::Logical));
        clock.forget(&peer);
        assert_eq!(clock.reference(later), (T + later.mono.since(Mono::ZERO), TimeSource::Logical));
    }
}
