//! In what a large layer on its way differs from the one that is held here: noted as its parts come, so that little is left to do
//! when the last of them is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::layer::{Entry, EntryChange, KeyPath, MapContent, NodePath, Root};

/// The keys under which the two differ as far as the parts have come, in their order, with the entries of the layer on its way.
#[derive(Debug)]
pub(super) struct Difference {
    /// The root of what is held here.
    own: Option<Root>,
    changes: BTreeMap<KeyPath, Option<Arc<Entry>>>,
}

impl Difference {
    /// Nothing has come yet.
    pub(super) fn to(own: Option<&MapContent>) -> Self {
        Difference { own: own.map(MapContent::root), changes: BTreeMap::new() }
    }

    /// A part has come: what the layer has below a node, in the place of what `base` has, where parts of an older state are.
    pub(super) fn note(
        &mut self,
        path: NodePath,
        part: &MapContent,
        base: Option<&MapContent>,
        own: Option<&MapContent>,
    ) {
        let none = MapContent::default();
        let own = own.unwrap_or(&none);
        if let Some(base) = base {
            for (key, _) in base.below(path).chain(own.below(path)) {
                self.changes.remove(key);
            }
        }
        self.changes.extend(part.changes_below(path, own));
    }

    /// All of it, in the order of the keys; none where what is held here is not what it was.
    pub(super) fn finish(self, own: Option<&MapContent>) -> Option<Vec<EntryChange>> {
        (self.own == own.map(MapContent::root)).then(|| self.changes.into_iter().collect())
    }
}
