//! Three types that stand for time: an instant on the monotonic clock ([`Mono`]), an instant of wall time ([`Wall`]), and
//! the length of time between two instants of one clock ([`Millis`]). The two kinds of instant cannot be compared. What
//! clocks show, and which of them to believe, is decided above this crate.
//!
//! Files, frames and settings carry plain numbers of milliseconds: they become these types where they are decoded.

/// A length of time, in milliseconds. Arithmetic stops at nothing and at the longest one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(u64);

impl Millis {
    /// No time at all.
    pub const ZERO: Millis = Millis(0);

    /// A length of `ms` milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Millis(ms)
    }

    /// A length of `s` seconds.
    pub const fn from_secs(s: u64) -> Self {
        Millis(s.saturating_mul(1000))
    }

    /// A length in microseconds, rounded up to a whole millisecond.
    pub const fn from_us_rounded_up(us: u64) -> Self {
        Millis(us.div_ceil(1_000))
    }

    /// The length in milliseconds.
    pub const fn ms(self) -> u64 {
        self.0
    }
}

impl std::ops::Add for Millis {
    type Output = Millis;

    fn add(self, other: Millis) -> Millis {
        Millis(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for Millis {
    type Output = Millis;

    fn sub(self, other: Millis) -> Millis {
        Millis(self.0.saturating_sub(other.0))
    }
}

impl std::ops::Mul<u64> for Millis {
    type Output = Millis;

    fn mul(self, times: u64) -> Millis {
        Millis(self.0.saturating_mul(times))
    }
}

impl std::ops::Mul<Millis> for u64 {
    type Output = Millis;

    fn mul(self, length: Millis) -> Millis {
        length * self
    }
}

impl std::ops::Div<u64> for Millis {
    type Output = Millis;

    fn div(self, parts: u64) -> Millis {
        Millis(self.0 / parts)
    }
}

/// How many whole lengths fit into another.
impl std::ops::Div<Millis> for Millis {
    type Output = u64;

    fn div(self, part: Millis) -> u64 {
        self.0 / part.0
    }
}

impl std::ops::AddAssign for Millis {
    fn add_assign(&mut self, other: Millis) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Millis {
    fn sum<I: Iterator<Item = Millis>>(lengths: I) -> Millis {
        lengths.fold(Millis::ZERO, |sum, length| sum + length)
    }
}

/// An instant on this boot's monotonic clock. Its zero means nothing, and no other node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The instant at which the clock began.
    pub const ZERO: Mono = Mono(0);

    /// Later than any instant: what waits until then does not end by itself.
    pub const NEVER: Mono = Mono(u64::MAX);

    /// The instant `ms` milliseconds after the clock's zero.
    pub const fn from_ms(ms: u64) -> Self {
        Mono(ms)
    }

    /// Milliseconds since the clock's zero.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// The time since an earlier instant; none passed where it is later.
    pub const fn since(self, earlier: Mono) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::AddAssign<Millis> for Mono {
    fn add_assign(&mut self, length: Millis) {
        *self = *self + length;
    }
}

impl std::ops::Add<Millis> for Mono {
    type Output = Mono;

    fn add(self, length: Millis) -> Mono {
        Mono(self.0.saturating_add(length.0))
    }
}

/// Stops at the clock's zero.
impl std::ops::Sub<Millis> for Mono {
    type Output = Mono;

    fn sub(self, length: Millis) -> Mono {
        Mono(self.0.saturating_sub(length.0))
    }
}

/// An instant of wall time, by a clock that may be wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(u64);

impl Wall {
    /// The instant `ms` milliseconds after the Unix epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Wall(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// The time since an earlier instant; none passed where it is later.
    pub const fn since(self, earlier: Wall) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// The time between two instants, whichever is earlier.
    pub fn distance(self, other: Wall) -> Millis {
        Millis(self.0.abs_diff(other.0))
    }
}

impl std::ops::Add<Millis> for Wall {
    type Output = Wall;

    fn add(self, length: Millis) -> Wall {
        Wall(self.0.saturating_add(length.0))
    }
}

/// Stops at the Unix epoch.
impl std::ops::Sub<Millis> for Wall {
    type Output = Wall;

    fn sub(self, length: Millis) -> Wall {
        Wall(self.0.saturating_sub(length.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deadlines are compared, never wrapped: what would lie beyond an end of the clock lies at that end.
    #[test]
    fn arithmetic_stops_at_both_ends() {
        let (start, minute) = (Mono::from_ms(5), Millis::from_secs(60));
        assert_eq!(start - minute, Mono::from_ms(0));
        assert_eq!(Mono::NEVER + minute, Mono::NEVER);
        assert_eq!(start.since(start + minute), Millis::ZERO);
        assert_eq!(minute - minute * 2, Millis::ZERO);
        assert_eq!(Millis::from_ms(u64::MAX) + minute, Millis::from_ms(u64::MAX));
        assert_eq!((minute * u64::MAX).ms(), u64::MAX);
        assert_eq!(Millis::from_secs(u64::MAX), Millis::from_ms(u64::MAX));
    }

    #[test]
    fn lengths_lie_between_instants_of_one_clock() {
        let (start, second) = (Mono::from_ms(7), Millis::from_secs(1));
        assert_eq!((start + second).since(start), second);
        assert_eq!((start + second).ms(), 1_007);
        let wall = Wall::from_ms(2_000);
        assert_eq!(wall.distance(wall + second), (wall + second).distance(wall));
        assert_eq!(((wall + second).since(wall), wall.since(wall + second)), (second, Millis::ZERO));
        assert_eq!(wall - 3 * second, Wall::default());
    }

    #[test]
    fn a_part_of_a_millisecond_counts_as_a_whole_one() {
        assert_eq!([0, 1, 1_000, 1_001].map(Millis::from_us_rounded_up), [0, 1, 1, 2].map(Millis::from_ms));
        assert_eq!(Millis::from_ms(59) / Millis::from_ms(20), 2);
    }
}
