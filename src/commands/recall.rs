//! From when on this node remembers which commands it has taken.
//!
//! A store that was restored from a backup, or set back with its disk, does not know what was taken after it was copied. A sender
//! whose answer was lost offers such a command again. So what was made before the node knew where it stands, and is not remembered,
//! is not run: it may have run, and its outcome is unknown.

use crate::commands::COMMAND_CLOCK_SLACK;
use crate::time::Wall;

/// What of the commands that were sent here is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recall {
    /// All that was ever taken, but for what the floors shut out.
    #[default]
    Whole,
    /// All that was made after this instant.
    After(Wall),
    /// The store has gone back, and by how much is not known yet: what is not remembered may have been taken.
    Lost,
}

impl Recall {
    /// What a record shows; a store without one has never gone back.
    pub fn of_record(record: Option<&Vec<u8>>) -> Self {
        match record.and_then(|bytes| bytes.as_slice().try_into().ok()).map(u64::from_be_bytes) {
            None => Recall::Whole,
            Some(u64::MAX) => Recall::Lost,
            Some(ms) => Recall::After(Wall::from_ms(ms)),
        }
    }

    /// The record: milliseconds since the Unix epoch as u64, big endian; all ones while nothing is known.
    pub fn to_record(self) -> Vec<u8> {
        match self {
            Recall::Whole => Vec::new(),
            Recall::After(after) => after.ms().to_be_bytes().to_vec(),
            Recall::Lost => u64::MAX.to_be_bytes().to_vec(),
        }
    }

    /// What two sources show together: the one that remembers less.
    pub fn joined(self, other: Recall) -> Recall {
        self.max(other)
    }

    /// The same once the node is in step again at `reference`. No command that was taken before was made later than that, by more
    /// than the clocks may differ: what is made further ahead is put off ([`CommandRefusal::MadeAhead`]).
    ///
    /// [`CommandRefusal::MadeAhead`]: crate::commands::CommandRefusal::MadeAhead
    pub fn settled(self, reference: Wall) -> Recall {
        match self {
            Recall::Lost => Recall::After(reference + COMMAND_CLOCK_SLACK),
            Recall::Whole | Recall::After(_) => self,
        }
    }

    /// Whether a command of this time would be remembered if it had been taken.
    pub fn covers(self, made: Wall) -> bool {
        match self {
            Recall::Whole => true,
            Recall::After(after) => made > after,
            Recall::Lost => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_the_less_of_two_counts() {
        let at = |ms| Recall::After(Wall::from_ms(ms));
        for recall in [Recall::Whole, at(1), at(1_800_000_000_000), Recall::Lost] {
            assert_eq!(Recall::of_record(Some(&recall.to_record())), recall);
        }
        assert_eq!(Recall::of_record(None), Recall::Whole);
        assert_eq!(Recall::Whole.joined(at(1)).joined(at(5)), at(5));
        assert_eq!(at(5).joined(Recall::Lost).joined(Recall::Whole), Recall::Lost);
    }
}
