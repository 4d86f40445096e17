//! The clocks of a node: monotonic and wall time of the present input, reference time, the hybrid clock that stamps
//! entries, and the uptimes that distinguish an old heartbeat from a new one.
//!
//! Invariants: stamps only grow, except when a fast clock is put right (`put_right`); a clock value counts once per
//! boot of its sender and only if it is newer than the one before.

use std::collections::{BTreeMap, VecDeque};

use tombolo_transports::PeerId;

use crate::clock::{
    BUILD_DATE, ClockVouchers, HybridClock, Now, ReferenceClock, TimeSource, Timestamp, rfc3339,
};
use crate::limits::FUTURE_BOUND;
use crate::sync::message::PeerClock;
use crate::time::{Millis, Mono, Wall};

const DAY: Millis = Millis::from_secs(24 * 60 * 60);

/// Every clock of a node.
#[derive(Clone, Debug)]
pub struct Clockwork {
    now: Now,
    hybrid: HybridClock,
    reference: ReferenceClock,
    /// Random per start; goes out with the node's clock.
    boot: u32,
    /// Per peer: from which of its boots its clock came, and how old that boot was then.
    boots: BTreeMap<PeerId, PeerBoots>,
    /// Reference time at the start, where the node's own clock was set.
    started: Option<Wall>,
    /// Reference time when it was last compared, to notice a step back, and when that was.
    compared: Option<(Wall, Mono)>,
    /// By how much reference time last stepped back.
    step: Option<Millis>,
    /// It has done so, and that was not asked about yet.
    is_step_open: bool,
    /// A radio carries signed times in whole seconds.
    whole_seconds: bool,
    /// Reference time and its source at the input that is being handled: each stamp asks for it.
    judged: (Wall, TimeSource),
}

impl Clockwork {
    /// Clocks of a node that starts now; `boot` is random.
    pub fn new(now: Now, boot: u32, vouchers: ClockVouchers) -> Self {
        let reference = ReferenceClock::new(Timestamp::default(), vouchers, now.mono);
        Clockwork {
            now,
            judged: reference.reference(now),
            hybrid: HybridClock::default(),
            reference,
            boot,
            boots: BTreeMap::new(),
            started: None,
            compared: None,
            step: None,
            is_step_open: false,
            whole_seconds: false,
        }
    }

    /// Starts again from the newest stamp on disk. Peers' clocks received before are forgotten.
    pub fn load(&mut self, newest_own: Timestamp) {
        self.hybrid = HybridClock::starting_after(newest_own);
        self.reference = ReferenceClock::new(newest_own, self.reference.vouchers(), self.now.mono);
        self.judge();
        // Where a clock that is believed is behind what was stamped, that was done under a fast one, which was put right while the node was
        // down: by so much at least. One from before the build is no clock that anything is moved back to.
        if self.now.wall >= BUILD_DATE {
            self.compared = Some((newest_own.time().max(self.reference()), self.now.mono));
        }
    }

    /// From now on the kernel counts the clock of this machine as synchronised, or does so no more.
    pub fn set_kernel_synchronised(&mut self, synchronised: bool) {
        self.reference.set_kernel_synchronised(synchronised);
        self.judge();
        self.put_right();
    }

    /// Who vouches for the clock of this machine.
    pub fn vouchers(&self) -> ClockVouchers {
        self.reference.vouchers()
    }

    /// Whether three or more peers' clocks have a median that is far from this machine's clock.
    pub fn peers_differ(&self) -> bool {
        self.reference.peers_differ(self.now)
    }

    fn judge(&mut self) {
        self.judged = self.reference.reference(self.now);
        if self.judged.1 != TimeSource::Logical {
            self.reference.believe(self.judged.0, self.now.mono);
        }
    }

    /// The node starts: an own state signed later than now, and not here, means a second machine with its key.
    pub fn start(&mut self) {
        self.started = self.own_is_set().then(|| self.reference());
    }

    /// Reference time at the start, where the node's own clock was set.
    pub fn started(&self) -> Option<Wall> {
        self.started
    }

    /// Sets the time of the input that is handled next.
    pub fn set_now(&mut self, now: Now) {
        if self.now != now {
            self.now = now;
            self.judge();
        }
    }

    /// The time of the input that is being handled.
    pub fn now(&self) -> Now {
        self.now
    }

    /// The reference time of this node now.
    pub fn reference(&self) -> Wall {
        self.judged.0
    }

    /// Where reference time comes from.
    pub fn source(&self) -> TimeSource {
        self.judged.1
    }

    /// By how many milliseconds the clocks of peers that were received in the last day are ahead of this machine's.
    pub fn peers_ahead_ms(&self) -> impl Iterator<Item = (PeerId, i64)> {
        let own = self.now.wall;
        let ahead = move |wall: Wall| {
            let by = i64::try_from(wall.distance(own).ms()).unwrap_or(i64::MAX);
            if wall < own { -by } else { by }
        };
        self.reference.peer_clocks(self.now).map(move |(peer, wall)| (peer, ahead(wall)))
    }

    /// The time to sign and stamp with: whole seconds where a radio has to carry it.
    pub fn signing_time(&self) -> Wall {
        let reference = self.reference();
        if self.whole_seconds { Wall::from_ms(reference.ms() / 1000 * 1000) } else { reference }
    }

    /// Whether signed times are whole seconds, because a radio carries them.
    pub fn set_whole_seconds(&mut self, whole_seconds: bool) {
        self.whole_seconds = whole_seconds;
    }

    /// The day by reference time, in days since 1970.
    pub fn day(&self) -> u32 {
        u32::try_from(self.reference().since(Wall::default()) / DAY).unwrap_or(u32::MAX)
    }

    /// Whether the node's own wall clock may be sent to peers.
    pub fn own_is_set(&self) -> bool {
        self.reference.own_is_set(self.now)
    }

    /// The node's wall clock as heartbeats carry it; `None` while it is not set.
    pub fn own_clock(&self) -> Option<PeerClock> {
        let Now { wall, mono } = self.now;
        let uptime = mono.since(Mono::ZERO);
        self.own_is_set().then_some(PeerClock { wall, uptime, boot: self.boot })
    }

    /// A stamp greater than every stamp given or observed before.
    pub fn tick(&mut self) -> Timestamp {
        self.compare();
        let signing_time = self.signing_time();
        self.hybrid.tick(signing_time)
    }

    /// As [`tick`](Self::tick), at the exact reference time.
    pub fn tick_exact(&mut self) -> Timestamp {
        self.compare();
        let reference = self.reference();
        self.hybrid.tick(reference)
    }

    /// Later stamps of this node go above this one, unless it is too far ahead of reference time.
    pub fn observe(&mut self, stamp: Timestamp) {
        let reference = self.reference();
        self.hybrid.observe(stamp, reference);
    }

    /// Follows reference time back after a fast clock has been put right, or was that of a peer that is removed: this node must
    /// not stamp what it would then hold back itself.
    pub fn put_right(&mut self) {
        self.compare();
        let reference = self.reference();
        self.hybrid.pull_back(reference);
    }

    /// Whether reference time has stepped back, by more than the bound, since this was last asked.
    pub fn stepped_back(&mut self) -> bool {
        self.compare();
        std::mem::take(&mut self.is_step_open)
    }

    /// The stamp that an own entry gets whose stamp lies ahead, since the clock was fast when it was given: it is moved by as much
    /// as the clock was, so that its order with what others wrote meanwhile stays the true one. It goes above `replaced`.
    pub fn moved_back(&mut self, stamp: Timestamp, replaced: Option<Timestamp>) -> Timestamp {
        let reference = self.reference();
        let moved = self.step.map(|step| Timestamp::at(stamp.time() - step, stamp));
        let moved = moved.map(|moved| replaced.map_or(moved, |replaced| moved.max(replaced.successor())));
        moved.filter(|moved| moved.time() <= reference).unwrap_or_else(|| self.tick())
    }

    /// Compares reference time with what it was.
    fn compare(&mut self) {
        let (reference, now) = (self.reference(), self.now.mono);
        let Some((before, at)) = self.compared.replace((reference, now)) else { return };
        let expected = before + now.since(at);
        if reference + FUTURE_BOUND < expected {
            self.step = Some(expected.since(reference));
            self.is_step_open = true;
        }
    }

    /// Takes a connected peer's clock into account. A repeated old heartbeat has the wrong time, so only a newer uptime of the same boot
    /// counts; or another boot, if it is not one before, as the first clock since the peer connected.
    pub fn clock_received(&mut self, peer: PeerId, clock: PeerClock) {
        let PeerClock { wall, uptime, boot } = clock;
        let is_news = match self.boots.get_mut(&peer) {
            Some(boots) => boots.is_news(boot, uptime),
            None => self.boots.insert(peer, PeerBoots::first(boot, uptime)).is_none(),
        };
        if is_news {
            self.reference.hear(peer, wall, self.now);
            self.judge();
        }
    }

    /// A peer has no link any more: its next clock counts, if it is no older one.
    pub fn disconnected(&mut self, peer: &PeerId) {
        if let Some(boots) = self.boots.get_mut(peer) {
            boots.may_change = true;
        }
    }

    /// A peer was removed: its clock no longer counts.
    pub fn forget(&mut self, peer: &PeerId) {
        self.boots.remove(peer);
        self.reference.forget(peer);
        self.judge();
    }

    /// The wall time of a moment of the monotonic clock, RFC 3339.
    pub fn wall_of(&self, at: Mono) -> String {
        rfc3339(self.reference() + at.since(self.now.mono) - self.now.mono.since(at))
    }
}

/// Boots of a peer before its present one that are remembered.
const PAST_BOOTS_MAX: usize = 8;

/// The boots of a peer from which its clock came.
#[derive(Clone, Debug)]
struct PeerBoots {
    boot: u32,
    /// The newest uptime that came with its clock.
    uptime: Millis,
    /// Its clock has not come since it connected: it may have started again.
    may_change: bool,
    past: VecDeque<u32>,
}

impl PeerBoots {
    fn first(boot: u32, uptime: Millis) -> Self {
        PeerBoots { boot, uptime, may_change: false, past: VecDeque::new() }
    }

    /// Whether a clock with this boot and uptime is newer than all before, which is then noted.
    fn is_news(&mut self, boot: u32, uptime: Millis) -> bool {
        if boot != self.boot {
            if !self.may_change || self.past.contains(&boot) {
                return false;
            }
            self.past.push_back(std::mem::replace(&mut self.boot, boot));
            if self.past.len() > PAST_BOOTS_MAX {
                self.past.pop_front();
            }
        } else if uptime <= self.uptime {
            return false;
        }
        (self.uptime, self.may_change) = (uptime, false);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BUILD_DATE;

    const T: Wall = Wall::from_ms(BUILD_DATE.ms() + 1_000_000_000);

    fn clock(mono_ms: u64, wall: Wall) -> Clockwork {
        let mut clock =
            Clockwork::new(Now { mono: Mono::from_ms(mono_ms), wall }, 7, ClockVouchers::default());
        clock.load(Timestamp::default());
        clock
    }

    /// A heartbeat that is delivered again must not move the clock; one of a later uptime must.
    #[test]
    fn an_old_heartbeat_delivered_again_has_no_effect() {
        let (mut clock, peer) = (clock(1_000, Wall::default()), PeerId([1; 32]));
        clock.clock_received(peer, PeerClock { wall: T, uptime: Millis::from_ms(50), boot: 1 });
        clock.clock_received(
            peer,
            PeerClock { wall: T - Millis::from_secs(9), uptime: Millis::from_ms(40), boot: 1 },
        );
        clock.clock_received(
            peer,
            PeerClock { wall: T - Millis::from_secs(9), uptime: Millis::from_ms(60), boot: 2 },
        );
        assert_eq!((clock.reference(), clock.source()), (T, TimeSource::Peer));
        clock.clock_received(
            peer,
            PeerClock { wall: T + Millis::from_ms(5), uptime: Millis::from_ms(51), boot: 1 },
        );
        assert_eq!(clock.reference(), T + Millis::from_ms(5));
    }

    #[test]
    fn the_clocks_of_peers_are_compared_with_the_own_one_for_a_day() {
        let (mut clock, fast, slow) = (clock(1_000, T), PeerId([1; 32]), PeerId([2; 32]));
        clock.clock_received(
            fast,
            PeerClock { wall: T + Millis::from_secs(5), uptime: Millis::from_ms(50), boot: 1 },
        );
        clock.clock_received(
            slow,
            PeerClock { wall: T - Millis::from_secs(7), uptime: Millis::from_ms(50), boot: 1 },
        );
        clock.set_now(Now { mono: Mono::from_ms(2_000), wall: T + Millis::from_secs(1) });
        assert_eq!(clock.peers_ahead_ms().collect::<Vec<_>>(), [(fast, 5_000), (slow, -7_000)]);
        clock.set_now(Now { mono: Mono::from_ms(2_000) + crate::limits::CLOCK_HEARD, wall: T });
        assert_eq!(clock.peers_ahead_ms().count(), 0);
    }

    #[test]
    fn after_a_reconnect_another_boot_counts() {
        let (mut clock, peer) = (clock(1_000, Wall::default()), PeerId([1; 32]));
        clock.clock_received(peer, PeerClock { wall: T, uptime: Millis::from_ms(50), boot: 1 });
        clock.disconnected(&peer);
        clock.clock_received(
            peer,
            PeerClock { wall: T + Millis::from_ms(9), uptime: Millis::from_ms(3), boot: 2 },
        );
        assert_eq!(clock.reference(), T + Millis::from_ms(9));
    }

    /// What was sent before the link was lost arrives again after it: neither that nor what came of an earlier start is the peer's clock.
    #[test]
    fn after_a_reconnect_an_old_heartbeat_has_no_effect() {
        let (mut clock, peer) = (clock(1_000, Wall::default()), PeerId([1; 32]));
        let (second, hour) = (Millis::from_secs(1), Millis::from_secs(3600));
        let hear = |clock: &mut Clockwork, wall, uptime, boot| {
            clock.clock_received(peer, PeerClock { wall, uptime, boot });
            clock.reference()
        };
        hear(&mut clock, T, hour, 1);
        clock.disconnected(&peer);
        assert_eq!(hear(&mut clock, T - hour, second, 1), T, "of this start, before");
        assert_eq!(hear(&mut clock, T + second, second, 2), T + second, "started anew");
        clock.disconnected(&peer);
        assert_eq!(hear(&mut clock, T - hour, 2 * hour, 1), T + second, "of an earlier start");
        assert_eq!(hear(&mut clock, T + hour, hour, 2), T + hour);
    }

    #[test]
    fn stamps_follow_a_clock_that_is_put_right_and_say_so_once() {
        let mut clock = clock(0, T + 2 * FUTURE_BOUND);
        let fast = clock.tick();
        assert!(!clock.stepped_back());
        clock.set_now(Now { mono: Mono::from_ms(1), wall: T });
        clock.put_right();
        assert!(clock.tick() < fast);
        assert!(clock.stepped_back());
        assert!(!clock.stepped_back());
    }

    /// The clock was fast by two days and is put right a minute later: what was stamped under it moves by two days.
    #[test]
    fn a_stamp_of_a_fast_clock_moves_by_the_size_of_the_step() {
        for ahead in [Millis::from_secs(2 * 24 * 3600), 2 * FUTURE_BOUND] {
            let mut clock = clock(0, T);
            assert!(!clock.stepped_back());
            let second = Millis::from_secs(1);
            clock.set_now(Now { mono: Mono::ZERO + second, wall: T + second + ahead });
            let fast = clock.tick();
            let minute = Millis::from_secs(60);
            clock.set_now(Now { mono: Mono::ZERO + minute, wall: T + minute });
            clock.put_right();
            assert_eq!(clock.moved_back(fast, None).time(), T + second);
            let replaced = Timestamp::new(T + 2 * second, 7);
            assert_eq!(clock.moved_back(fast, Some(replaced)), Timestamp::new(T + 2 * second, 8));
            assert!(clock.stepped_back(), "still to be acted on");
        }
        // Where no step was seen, it is stamped now.
        let mut fresh = clock(0, T);
        assert_eq!(fresh.moved_back(Timestamp::new(T + 9 * FUTURE_BOUND, 3), None).time(), T);
    }

    /// Neither once the clock is behind what the disk holds, nor once the peer is removed that had the wrong time: what a node writes
    /// must not wait for its time on that node.
    #[test]
    fn what_is_stamped_is_never_held_back_here() {
        let is_shown = |clock: &mut Clockwork| {
            clock.put_right();
            let stamp = clock.tick();
            assert!(stamp.time() <= clock.reference() + FUTURE_BOUND, "{stamp:?} is ahead");
        };
        let half_a_day = Millis::from_secs(12 * 3600);
        let mut put_right = clock(0, T + half_a_day);
        put_right.load(Timestamp::new(T + half_a_day, 0));
        let hour = Millis::from_secs(3600);
        put_right.set_now(Now { mono: Mono::ZERO + hour, wall: T + half_a_day + hour });
        is_shown(&mut put_right);
        put_right.set_now(Now { mono: Mono::ZERO + hour, wall: T + hour });
        assert_eq!(put_right.source(), TimeSource::Logical);
        is_shown(&mut put_right);
        assert!(!put_right.stepped_back(), "no clock says that it was fast");

        let (mut misled, liar) = (clock(0, Wall::default()), PeerId([1; 32]));
        misled.clock_received(liar, PeerClock { wall: T + DAY * 365, uptime: hour, boot: 1 });
        is_shown(&mut misled);
        misled.forget(&liar);
        assert!(misled.reference() < T);
        is_shown(&mut misled);
        assert!(misled.stepped_back());
    }

    /// A fast clock that was put right while the node was down: what was stamped under it moves to the start at the latest, so
    /// that what others write from then on is later.
    #[test]
    fn a_step_while_the_node_was_down_is_seen_at_the_start() {
        let two_days = 2 * DAY;
        let fast = Timestamp::new(T + two_days, 3);
        let earlier = Timestamp::new(T + two_days - Millis::from_secs(60), 0);
        for is_kernel in [false, true] {
            let vouchers = ClockVouchers { operator: !is_kernel, kernel: false };
            let mut clock = Clockwork::new(Now { mono: Mono::ZERO, wall: T }, 7, vouchers);
            clock.load(fast);
            if is_kernel {
                assert!(!clock.stepped_back(), "its clock is behind its stamps and not believed");
                clock.set_kernel_synchronised(true);
            }
            assert!(clock.stepped_back());
            assert_eq!(clock.moved_back(fast, None).time(), T);
            assert_eq!(clock.moved_back(earlier, None).time(), T - Millis::from_secs(60));
        }
    }

    #[test]
    fn a_radio_makes_signed_times_whole_seconds() {
        let mut clock = clock(0, T + Millis::from_ms(999));
        assert_eq!(clock.signing_time(), T + Millis::from_ms(999));
        clock.set_whole_seconds(true);
        assert_eq!(clock.signing_time(), Wall::from_ms(T.ms() / 1000 * 1000));
    }
}
