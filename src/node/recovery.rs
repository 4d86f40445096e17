//! Our own layer, newer than we hold it: this disk is a restored backup, or a copy of another machine's
//! (DESIGN section 3, *Restore*). The federation is the backup.

use std::collections::BTreeMap;

use crate::layer::{Content, DocumentName, Entry, KeyPath, Kind, Layer};
use crate::node::Node;
use crate::node::holdings::Before;
use crate::node::io::Event;

impl Node {
    /// Takes our own newer layer, and signs one above it: for a snapshot what is true now, for a map the
    /// recovered layer with what was written since this start.
    pub(super) fn recover(&mut self, layer: Layer) {
        let signed_ms = layer.head().time_ms;
        if self.started_ms.is_some_and(|started| signed_ms > started) {
            return self.stop_authoring();
        }
        let id = layer.head().layer.clone();
        let held = self.holdings.layer(&id);
        let ours = held.map(|held| held.content.clone());
        let before = held.map(Before::of);
        tracing::warn!(document = id.document.name.as_str(), "recovered our own newer state from a peer");
        let kind = layer.head().kind;
        let recovered = layer.content.clone();
        self.keep(layer, before, None, None);
        match kind {
            Kind::Map => {
                let since = self.written_since_start(&id.document, ours.as_ref(), &recovered);
                self.stage_map_below(&id.document, since);
            }
            Kind::Snapshot => {
                // The audience follows from our peers and is renewed with the rights; a state that was
                // published since the start is true now; anything else stands as recovered.
                let published = self.written.contains_key(&id.document);
                let name = id.document.name.as_str();
                let content = if published || name == DocumentName::AUDIENCE { ours } else { None };
                let Content::Snapshot(value) = content.unwrap_or(recovered) else { return };
                self.stage_snapshot_below(&id.document, value);
            }
        }
        self.rights_changed = true;
    }

    fn written_since_start(
        &mut self,
        document: &crate::layer::DocumentId,
        ours: Option<&Content>,
        recovered: &Content,
    ) -> BTreeMap<KeyPath, Option<Entry>> {
        let (Some(Content::Map(ours)), Content::Map(recovered)) = (ours, recovered) else {
            return BTreeMap::new();
        };
        let keys = self.written.get(document).cloned().unwrap_or_default();
        let reference = self.reference_ms();
        let mut since = BTreeMap::new();
        for key in keys {
            let Some(entry) = ours.get(&key) else { continue };
            if recovered.get(&key) == Some(entry) {
                continue;
            }
            // Written now, by a clock that may have been behind: it goes above what was recovered.
            let stamp = self.clock.tick(reference);
            since.insert(key, Some(Entry { stamp, ..entry.clone() }));
        }
        since
    }

    fn stop_authoring(&mut self) {
        let why = "another machine signs with this node's key at this moment. Two nodes must not share one \
                   identity: stop one of them, and `init` it anew in an empty folder";
        if self.stopped.is_none() {
            self.stopped = Some(why.to_owned());
            self.event(Event::Alarm { message: why.to_owned() });
        }
    }
}
