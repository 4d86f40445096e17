//! What goes wrong, how often, and how often it did: rates drawn per seed, wrong clocks, and a count of
//! every fault that was injected.

use std::collections::BTreeMap;
use std::fmt;

use crate::rng::Rng;
use crate::{MINUTE, MS};
use tombolo::time::{Millis, Wall};

/// How often each fault happens to a message. Drawn for each seed, so that some runs are nearly clean and some are
/// nearly hopeless ("swarm testing").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Messages lost, per thousand.
    pub loss: u32,
    /// Messages that arrive twice, per thousand.
    pub duplication: u32,
    /// Messages that are overtaken, per thousand.
    pub reordering: u32,
    /// Messages that arrive damaged, per thousand.
    pub corruption: u32,
    /// One-way latency: shortest, and how much longer it may get.
    pub latency: (Millis, Millis),
    /// How far an overtaken or repeated message falls behind, at most.
    pub lag: Millis,
}

impl Rates {
    /// A network without faults.
    pub const CLEAN: Rates = Rates {
        loss: 0,
        duplication: 0,
        reordering: 0,
        corruption: 0,
        latency: (Millis::from_ms(1), Millis::from_ms(4)),
        lag: Millis::ZERO,
    };

    /// Draws a rate for each fault.
    pub fn draw(rng: &mut Rng) -> Self {
        Rates {
            loss: rng.between(1, 300) as u32,
            duplication: rng.between(1, 300) as u32,
            reordering: rng.between(1, 300) as u32,
            corruption: rng.between(1, 100) as u32,
            latency: (rng.length(MS, 200 * MS), rng.length(MS, 800 * MS)),
            lag: rng.length(10 * MS, MINUTE),
        }
    }
}

/// A fault that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it; `word` spells them out")]
pub enum Fault {
    Loss,
    Duplication,
    Reordering,
    Corruption,
    Silence,
    Partition,
    OneWay,
    Isolation,
    Swizzle,
    Crash,
    CrashAmidWrite,
    ClockJump,
    ClockUnset,
    ClockDrift,
    JoinLost,
    Replay,
    ReplayOnAir,
    BadAir,
    HiddenStations,
    RadioPulled,
    CablePulled,
    DiskRestored,
    PeerRemoved,
    LevelChanged,
}

impl Fault {
    /// Its name in a report.
    pub fn word(self) -> &'static str {
        match self {
            Fault::Loss => "messages lost",
            Fault::Duplication => "duplicated",
            Fault::Reordering => "reordered",
            Fault::Corruption => "corrupted",
            Fault::Silence => "swallowed by a silent line",
            Fault::Partition => "partitions",
            Fault::OneWay => "one-way partitions",
            Fault::Isolation => "isolations",
            Fault::Swizzle => "swizzles",
            Fault::Crash => "crashes",
            Fault::CrashAmidWrite => "crashes amid a write",
            Fault::ClockJump => "clock jumps",
            Fault::ClockUnset => "clocks at 1970",
            Fault::ClockDrift => "drifting clocks",
            Fault::JoinLost => "join messages lost",
            Fault::Replay => "old messages replayed",
            Fault::ReplayOnAir => "frames replayed by an outsider",
            Fault::BadAir => "changes of the weather on air",
            Fault::HiddenStations => "stations hidden",
            Fault::RadioPulled => "radios pulled out",
            Fault::CablePulled => "machines taken off their cables",
            Fault::DiskRestored => "disks restored",
            Fault::PeerRemoved => "peers removed",
            Fault::LevelChanged => "levels changed",
        }
    }
}

/// How often each fault was injected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts(BTreeMap<Fault, u64>);

impl FaultCounts {
    /// Counts one more fault of a kind.
    pub fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// How often a fault was injected.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// The sum over all faults.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &FaultCounts) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (fault, count)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {}", fault.word())?;
        }
        Ok(())
    }
}

/// A machine's wall clock: right, wrong by some time, running at a wrong rate, or never set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Milliseconds by which it is ahead of the true time.
    pub offset_ms: i64,
    /// Gains so many microseconds per second since the simulation began.
    pub drift_ppm: i64,
    /// There is no battery: it starts in 1970 with each boot.
    pub unset: bool,
    /// The machine's kernel counts it as synchronised.
    pub synchronised: bool,
}

impl WallClock {
    /// Draws an error as real clocks have it: seconds, hours, two days, or no clock at all.
    pub fn draw(rng: &mut Rng) -> Self {
        let span = [1_000, 60_000, 3_600_000, 48 * 3_600_000];
        let span = rng.pick(&span).copied().unwrap_or(1_000);
        WallClock {
            offset_ms: rng.below(2 * span + 1) as i64 - span as i64,
            drift_ppm: rng.below(301) as i64 - 150,
            unset: rng.chance(200),
            synchronised: false,
        }
    }

    /// The time that it shows.
    pub fn shows(&self, true_time: Wall, since_start: Millis, since_boot: Millis) -> Wall {
        if self.unset {
            return Wall::default() + since_boot;
        }
        let drift = (since_start.ms() as i64).saturating_mul(self.drift_ppm) / 1_000_000;
        Wall::from_ms(true_time.ms().saturating_add_signed(self.offset_ms.saturating_add(drift)))
    }
}

/// A message as it may arrive: bits flipped, bytes overwritten, cut short, junk after it, or another
/// message's tail.
pub fn damage(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    let len = damaged.len();
    match rng.below(5) {
        0 => {
            for _ in 0..rng.between(1, 3) {
                let (at, bit) = (rng.index(len), rng.below(8));
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
        }
        1 => {
            let from = rng.index(len);
            for byte in damaged.iter_mut().skip(from).take(rng.between(1, 16) as usize) {
                *byte = rng.bits() as u8;
            }
        }
        2 => damaged.truncate(rng.index(len)),
        3 => damaged.extend((0..rng.between(1, 64)).map(|_| rng.bits() as u8)),
        _ => {
            damaged.truncate(rng.index(len));
            damaged.extend(other.iter().skip(rng.index(other.len())));
        }
    }
    damaged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unset_clock_starts_in_1970_and_a_drifting_one_gains() {
        let unset = WallClock { unset: true, ..WallClock::default() };
        let (now, ms) = (Wall::from_ms(1_800_000_000_000), Millis::from_ms);
        assert_eq!(unset.shows(now, ms(500), ms(20)), Wall::from_ms(20));
        let fast = WallClock { offset_ms: -1_000, drift_ppm: 100, ..WallClock::default() };
        assert_eq!(fast.shows(now, ms(10_000_000), Millis::ZERO), now);
    }

    #[test]
    fn damage_never_panics_on_short_messages() {
        let mut rng = Rng::new(3);
        for len in [0, 1, 2, 40] {
            for _ in 0..200 {
                damage(&mut rng, &vec![7; len], &[]);
                damage(&mut rng, &vec![7; len], &[1, 2, 3]);
            }
        }
    }
}
