//! In what a large layer on its way differs from the one that is held here: noted as its parts come, so that little is left to do
//! when the last of them is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::layer::{
    AllEntries, BUCKETS_PER_BLOCK, BucketIndex, Entry, EntryChange, KeyPath, KnownEntry, MapContent,
    MapDifference, NodePath, Root, Sequence, is_written_whole,
};

/// The keys under which the two differ as far as the parts have come, in their order, with the entries of the layer on its way.
#[derive(Debug)]
pub(super) struct Difference {
    /// The root of what is held here.
    own: Option<Root>,
    changes: BTreeMap<KeyPath, Option<Arc<Entry>>>,
    /// Where nothing is held here: what has come, as the disk gets it.
    written: Option<PartsWritten>,
}

/// Parts of a map, written as blocks.
#[derive(Debug)]
struct PartsWritten {
    /// That of the layer on its way.
    sequence: Sequence,
    /// By their first bucket.
    parts: BTreeMap<u16, AllEntries>,
    /// Blocks of which single buckets came: they are written when all are there.
    open: BTreeSet<u16>,
}

impl Difference {
    /// Nothing has come yet of a layer with this sequence.
    pub(super) fn to(own: Option<&MapContent>, sequence: Sequence) -> Self {
        let is_new = own.is_none_or(MapContent::is_empty);
        let written = PartsWritten { sequence, parts: BTreeMap::new(), open: BTreeSet::new() };
        Difference {
            own: own.map(MapContent::root),
            changes: BTreeMap::new(),
            written: is_new.then_some(written),
        }
    }

    /// The same for a newer state with this sequence. What has come of the older one is in `base`, if anything is.
    pub(super) fn overtaken(self, base: Option<&MapContent>, sequence: Sequence) -> Self {
        let written = self.written.filter(|_| base.is_none()).map(|old| PartsWritten { sequence, ..old });
        Difference { written, ..self }
    }

    /// A part has come: what the layer has below a node, in the place of what `base` has, where parts of an older state are. Returns the bytes
    /// that are kept for the disk.
    pub(super) fn note(
        &mut self,
        path: NodePath,
        part: &MapContent,
        base: Option<&MapContent>,
        own: Option<&MapContent>,
    ) -> usize {
        let none = MapContent::default();
        let own = own.unwrap_or(&none);
        if let Some(base) = base {
            self.written = None;
            for (key, _) in base.below(path).chain(own.below(path)) {
                self.changes.remove(key);
            }
        }
        self.changes.extend(part.changes_below(path, own));
        self.written.as_mut().map_or(0, |written| written.add(path, part))
    }

    /// All of it, in the order of the keys; none where what is held here is not what it was. `content` is what has come.
    pub(super) fn finish(self, own: Option<&MapContent>, content: &MapContent) -> Option<MapDifference> {
        if self.own != own.map(MapContent::root) {
            return None;
        }
        let entries: Vec<EntryChange> = self.changes.into_iter().collect();
        let all = self.written.filter(|_| is_written_whole(entries.len(), content.len()));
        let all = all.and_then(|written| written.finish(content)).map(Arc::new);
        Some(MapDifference { all, ..MapDifference::from(entries) })
    }
}

impl PartsWritten {
    fn add(&mut self, path: NodePath, part: &MapContent) -> usize {
        if let Some(bucket) = path.bucket() {
            self.open.insert(bucket.get() / BUCKETS_PER_BLOCK);
            return 0;
        }
        let entries = known_below(part, path, self.sequence);
        let Some(first) = entries.first().map(|(key, ..)| BucketIndex::of(key).get()) else { return 0 };
        self.parts.insert(first, AllEntries::of(entries));
        part.size_bytes() + part.len() * size_of::<KnownEntry>()
    }

    /// All of a content, if all of it came in parts.
    fn finish(mut self, content: &MapContent) -> Option<AllEntries> {
        for block in std::mem::take(&mut self.open) {
            let path = NodePath::of_block(block)?;
            let entries = known_below(content, path, self.sequence);
            self.parts.insert(block * BUCKETS_PER_BLOCK, AllEntries::of(entries));
        }
        let all = AllEntries::join(self.parts.into_values());
        (all.entries().len() == content.len()).then_some(all)
    }
}

fn known_below(map: &MapContent, path: NodePath, at: Sequence) -> Vec<KnownEntry> {
    map.below(path).map(|(key, entry)| (key.clone(), entry.clone(), at)).collect()
}
