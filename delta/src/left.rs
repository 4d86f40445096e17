//! What left a list and can still come in again: any of it is found and taken by its rank in logarithmic time.

use crate::steps;

/// Removed places, rising, of which each is taken once at most (a tree of sums, Fenwick 1994).
pub(crate) struct Leftovers<'r> {
    removed: &'r [usize],
    /// How many are left within the stretch that ends at each place; made when the first is asked for.
    sums: Vec<u32>,
    left: usize,
}

impl<'r> Leftovers<'r> {
    pub(crate) fn of(removed: &'r [usize]) -> Leftovers<'r> {
        Leftovers { removed, sums: Vec::new(), left: removed.len() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.left
    }

    /// The rank of a place among those left; none if it was not removed.
    pub(crate) fn rank(&self, place: usize) -> Option<usize> {
        steps::took(1);
        let at = self.removed.binary_search(&place).ok()?;
        if self.sums.is_empty() {
            return Some(at);
        }
        // How many are left before it.
        let (mut end, mut rank) = (at, 0);
        while end > 0 {
            rank += self.sums.get(end - 1).map_or(0, |sum| *sum as usize);
            end &= end - 1;
        }
        Some(rank)
    }

    /// Takes the one of a rank, which is below [`Leftovers::len`].
    pub(crate) fn take(&mut self, rank: usize) -> Option<usize> {
        steps::took(1);
        if self.sums.is_empty() {
            steps::bytes(self.removed.len() * 4);
            // A stretch has as many places as the lowest bit of its end.
            self.sums = (1..=self.removed.len()).map(|end| (end & end.wrapping_neg()) as u32).collect();
        }
        let (mut at, mut before) = (0, rank);
        let mut step = self.removed.len().checked_ilog2().map_or(0, |bits| 1usize << bits);
        while step > 0 {
            if let Some(sum) = self.sums.get(at + step - 1).filter(|sum| **sum as usize <= before) {
                before -= *sum as usize;
                at += step;
            }
            step >>= 1;
        }
        let place = *self.removed.get(at)?;
        let mut end = at + 1;
        while let Some(sum) = self.sums.get_mut(end - 1) {
            *sum -= 1;
            end += end & end.wrapping_neg();
        }
        self.left -= 1;
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// It is what a plain list would be.
        #[test]
        fn it_is_a_list_that_shrinks(gaps in prop::collection::vec(1usize..5, 0..80), picks: Vec<u16>) {
            let removed: Vec<usize> =
                gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let (mut plain, mut left) = (removed.clone(), Leftovers::of(&removed));
            for pick in picks {
                prop_assert_eq!(left.len(), plain.len());
                if plain.is_empty() {
                    prop_assert!(left.is_empty());
                    break;
                }
                let rank = usize::from(pick) % plain.len();
                prop_assert_eq!(plain.get(rank).and_then(|place| left.rank(*place)), Some(rank));
                prop_assert_eq!(left.take(rank), Some(plain.remove(rank)));
            }
        }
    }
}
