//! What goes wrong, how often, and how often it did: rates drawn per seed, clocks that err, and a count of
//! every fault that was injected.

use std::collections::BTreeMap;
use std::fmt;

use crate::dice::Dice;

/// How often each message meets which fate. Drawn anew for each seed, so that some runs are nearly clean
/// and some are nearly hopeless ("swarm testing").
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
    /// One-way latency in milliseconds: shortest, and how much longer it may get.
    pub latency_ms: (u64, u64),
    /// How far an overtaken or repeated message falls behind, at most, in milliseconds.
    pub lag_ms: u64,
}

impl Rates {
    /// A network that does what it should.
    pub const CLEAN: Rates =
        Rates { loss: 0, duplication: 0, reordering: 0, corruption: 0, latency_ms: (1, 4), lag_ms: 0 };

    /// Every fault on, each at a rate of its own.
    pub fn draw(dice: &mut Dice) -> Self {
        Rates {
            loss: dice.between(1, 300) as u32,
            duplication: dice.between(1, 300) as u32,
            reordering: dice.between(1, 300) as u32,
            corruption: dice.between(1, 100) as u32,
            latency_ms: (dice.between(1, 200), dice.between(1, 800)),
            lag_ms: dice.between(10, 60_000),
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
    /// What it is called in a report.
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

/// How often which fault was injected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeMap<Fault, u64>);

impl Faults {
    /// One more.
    pub fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// How often.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Faults) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }
}

impl fmt::Display for Faults {
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
    /// Ahead of the true time by so many milliseconds.
    pub offset_ms: i64,
    /// Gains so many microseconds per second since the simulation began.
    pub drift_ppm: i64,
    /// There is no battery: it starts in 1970 with each boot.
    pub unset: bool,
}

impl WallClock {
    /// An error that people meet: seconds, hours, two days, or no clock at all.
    pub fn draw(dice: &mut Dice) -> Self {
        let span = [1_000, 60_000, 3_600_000, 48 * 3_600_000];
        let span = dice.pick(&span).copied().unwrap_or(1_000);
        WallClock {
            offset_ms: dice.below(2 * span + 1) as i64 - span as i64,
            drift_ppm: dice.below(301) as i64 - 150,
            unset: dice.chance(200),
        }
    }

    /// What it shows.
    pub fn shows(&self, true_ms: u64, since_start_ms: u64, since_boot_ms: u64) -> u64 {
        if self.unset {
            return since_boot_ms;
        }
        let drift = (since_start_ms as i64).saturating_mul(self.drift_ppm) / 1_000_000;
        true_ms.saturating_add_signed(self.offset_ms.saturating_add(drift))
    }
}

/// A message as it may arrive: bits flipped, bytes overwritten, cut short, junk after it, or another
/// message's tail.
pub fn damage(dice: &mut Dice, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    let len = damaged.len();
    match dice.below(5) {
        0 => {
            for _ in 0..dice.between(1, 3) {
                let (at, bit) = (dice.index(len), dice.below(8));
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
        }
        1 => {
            let from = dice.index(len);
            for byte in damaged.iter_mut().skip(from).take(dice.between(1, 16) as usize) {
                *byte = dice.bits() as u8;
            }
        }
        2 => damaged.truncate(dice.index(len)),
        3 => damaged.extend((0..dice.between(1, 64)).map(|_| dice.bits() as u8)),
        _ => {
            damaged.truncate(dice.index(len));
            damaged.extend(other.iter().skip(dice.index(other.len())));
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
        assert_eq!(unset.shows(1_800_000_000_000, 500, 20), 20);
        let fast = WallClock { offset_ms: -1_000, drift_ppm: 100, unset: false };
        assert_eq!(fast.shows(1_800_000_000_000, 10_000_000, 0), 1_800_000_000_000);
    }

    #[test]
    fn damage_never_panics_on_short_messages() {
        let mut dice = Dice::new(3);
        for len in [0, 1, 2, 40] {
            for _ in 0..200 {
                damage(&mut dice, &vec![7; len], &[]);
                damage(&mut dice, &vec![7; len], &[1, 2, 3]);
            }
        }
    }
}
