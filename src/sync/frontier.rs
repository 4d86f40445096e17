//! What a node has, per layer: the sequence and the root held. Its fingerprint, 8 bytes that are updated entry by
//! entry, shows whether two frontiers differ.

use std::collections::{BTreeMap, BTreeSet};

use crate::layer::{LayerHash, Sequence, SignedHead};

/// A frontier of so many layers is compared by its fine buckets.
const FINE_FROM: usize = 256;

/// By which buckets two frontiers are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BucketSize {
    /// 16 buckets, by the first 4 bits of a layer's hash.
    #[default]
    Coarse,
    /// 256 buckets, by its first byte.
    Fine,
}

impl BucketSize {
    /// How many buckets there are.
    pub fn count(self) -> usize {
        match self {
            BucketSize::Coarse => 16,
            BucketSize::Fine => 256,
        }
    }

    /// The size of so many buckets, if there are such.
    pub fn of_count(count: usize) -> Option<Self> {
        [BucketSize::Coarse, BucketSize::Fine].into_iter().find(|size| size.count() == count)
    }

    /// The bucket of a layer, by the first byte of its hash.
    fn bucket(self, first: u8) -> u8 {
        match self {
            BucketSize::Coarse => first >> 4,
            BucketSize::Fine => first,
        }
    }
}

/// The buckets of which all states are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedBuckets {
    /// Which buckets the numbers mean.
    pub size: BucketSize,
    /// Their numbers, below the count of buckets of that size.
    pub numbers: BTreeSet<u8>,
}

impl NamedBuckets {
    /// None of them: there may be more states in each.
    pub fn none() -> Self {
        NamedBuckets::default()
    }

    /// Whether no bucket is named in full.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

/// A state of a layer, as frontiers name it. Ordered: a later sequence is newer, and of two with one
/// sequence (a fork) the higher root prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The sequence; `NONE` where nothing is held.
    pub sequence: Sequence,
    /// The first 4 bytes of the root.
    pub root_prefix: [u8; 4],
}

impl State {
    /// By how many sequences this state is ahead of another of its layer, or of none.
    pub fn ahead_of(self, other: Option<State>) -> u64 {
        self.sequence.get().saturating_sub(other.map_or(0, |other| other.sequence.get()))
    }

    /// The state that a head names.
    pub fn of(signed: &SignedHead) -> Self {
        State { sequence: signed.head.sequence, root_prefix: signed.head.root.prefix4() }
    }
}

/// The states of some layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    states: BTreeMap<LayerHash, State>,
    /// Of each fine bucket that holds something.
    sums: BTreeMap<u8, u64>,
}

impl Frontier {
    /// The state of a layer.
    pub fn get(&self, layer: &LayerHash) -> Option<State> {
        self.states.get(layer).copied()
    }

    /// Whether a state of a layer is newer than the one here, or none is here.
    pub fn is_behind(&self, layer: &LayerHash, state: State) -> bool {
        self.get(layer).is_none_or(|held| held < state)
    }

    /// Puts a layer's state, or takes it out.
    pub fn set(&mut self, layer: LayerHash, state: Option<State>) {
        let old = match state {
            Some(state) => self.states.insert(layer, state),
            None => self.states.remove(&layer),
        };
        let [bucket, ..] = layer.0;
        let sum = self.sums.entry(bucket).or_default();
        *sum = sum.wrapping_sub(old.map_or(0, |s| mix(&layer, s)));
        *sum = sum.wrapping_add(state.map_or(0, |s| mix(&layer, s)));
        if *sum == 0 {
            self.sums.remove(&bucket);
        }
    }

    /// All states, by layer.
    pub fn iter(&self) -> impl Iterator<Item = (&LayerHash, &State)> {
        self.states.iter()
    }

    /// The states in one bucket.
    pub fn bucket(&self, size: BucketSize, number: u8) -> impl Iterator<Item = (&LayerHash, &State)> {
        let (first, last) = match size {
            BucketSize::Coarse => (number << 4, number << 4 | 0x0f),
            BucketSize::Fine => (number, number),
        };
        let [mut from, mut to] = [[0; 8], [0xff; 8]];
        (from[0], to[0]) = (first, last);
        self.states.range(LayerHash(from)..=LayerHash(to))
    }

    /// Takes out all states of the coarse bucket that a layer falls into.
    pub fn clear_bucket_of(&mut self, layer: &LayerHash) {
        let [first, ..] = layer.0;
        let bucket = self.bucket(BucketSize::Coarse, BucketSize::Coarse.bucket(first));
        let gone: Vec<LayerHash> = bucket.map(|(layer, _)| *layer).collect();
        gone.into_iter().for_each(|layer| self.set(layer, None));
    }

    /// How many layers it names.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The buckets by which it is compared: finer ones cost more to ask about, and less to answer where many layers are held.
    pub fn bucket_size(&self) -> BucketSize {
        match self.len() >= FINE_FROM {
            true => BucketSize::Fine,
            false => BucketSize::Coarse,
        }
    }

    /// Four bytes per bucket: equal where the buckets are.
    pub fn bucket_hashes(&self, size: BucketSize) -> Vec<u32> {
        self.sums(size).into_iter().map(|sum| (sum >> 32) as u32 ^ sum as u32).collect()
    }

    fn sums(&self, size: BucketSize) -> Vec<u64> {
        let mut sums = vec![0u64; size.count()];
        for (fine, sum) in &self.sums {
            let bucket = sums.get_mut(usize::from(size.bucket(*fine))).expect("a bucket of this size");
            *bucket = bucket.wrapping_add(*sum);
        }
        sums
    }

    /// Eight bytes over everything: equal where the frontiers are. A hint, not a proof: the signature of
    /// each layer decides.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 frontier fingerprint");
        for sum in self.sums(BucketSize::Coarse) {
            hasher.update(&sum.to_be_bytes());
        }
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

fn mix(layer: &LayerHash, state: State) -> u64 {
    let mut named = [0; 20];
    let (of_layer, of_state) = named.split_at_mut(8);
    let (of_sequence, of_root) = of_state.split_at_mut(8);
    of_layer.copy_from_slice(&layer.0);
    of_sequence.copy_from_slice(&state.sequence.get().to_be_bytes());
    of_root.copy_from_slice(&state.root_prefix);
    let hash = blake3::hash(&named);
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fingerprint_depends_on_what_is_held_only(
            changes in proptest::collection::vec((any::<[u8; 2]>(), proptest::option::of(1u64..9)), 0..60)
        ) {
            let mut walked = Frontier::default();
            for (layer, sequence) in &changes {
                let layer = LayerHash([layer[0], layer[1], 0, 0, 0, 0, 0, 0]);
                walked.set(layer, sequence.map(|s| State { sequence: Sequence::new(s).unwrap(), root_prefix: [s as u8; 4] }));
            }
            let mut direct = Frontier::default();
            for (layer, state) in walked.iter() {
                direct.set(*layer, Some(*state));
            }
            prop_assert_eq!(walked.fingerprint(), direct.fingerprint());
            prop_assert_eq!(walked, direct);
        }
    }
}
