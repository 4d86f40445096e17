//! The walk out: local write -> authoring (layer, root, signature) -> replica -> engines -> router -> delta for that peer -> link.
//!
//! `stored` is the shared end of both walks: a layer has a new state, and the engines of links and radios and the watchers are
//! informed of it.

use std::collections::BTreeMap;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::authoring::{Authoring, MapEdits, SliceRefusal};
use crate::federation::Audience;
use crate::io::CommandError;
use crate::layer::{DocumentId, DocumentName, LayerId};
use crate::node::Node;
use crate::replica::{Origin, Stored};

impl Node {
    /// Signs what is staged, and does what follows from changed rights.
    pub(super) fn settle(&mut self) {
        if self.replica.take_rights_changed() {
            self.renew_rights();
        }
        if self.replica.recovery().is_unconfirmed() {
            // What is staged, of recovered states, waits with everything else that is to be signed.
            return;
        }
        let staged = self.authoring.take_staged();
        let mut failed = BTreeMap::new();
        for (document, value) in staged.snapshots {
            let parts = match staged.whole.contains(&document) {
                true => vec![value],
                false => self.broadcast.split_snapshot(&self.core, &self.replica, &document, value),
            };
            let commit = |node: &mut Node, part| node.commit_snapshot(&document, part);
            match self.commit_parts(&document, parts, commit) {
                Ok(()) => self.renew_brief(&document),
                Err(error) => drop(failed.insert(document, error)),
            }
        }
        for (document, changes) in staged.maps {
            let parts = match staged.whole.contains(&document) {
                true => vec![changes],
                false => self.broadcast.split_map(&self.core, &self.replica, &document, changes),
            };
            let commit = |node: &mut Node, part| node.commit_map(&document, part);
            if let Err(error) = self.commit_parts(&document, parts, commit) {
                failed.insert(document, error);
            }
        }
        for (document, content) in staged.contents {
            let Node { authoring, core, replica, .. } = self;
            match authoring.commit_drafted(core, replica, &document, *content) {
                Ok(stored) => self.stored(&stored, None, None),
                Err(error) => drop(failed.insert(document, error)),
            }
        }
        for (document, error) in &failed {
            match self.authoring.refuse_slice(document, error) {
                SliceRefusal::NoSlice if !staged.replies.iter().any(|reply| reply.document == *document) => {
                    tracing::error!(document = document.name.as_str(), %error, "a change of our own was not signed");
                }
                SliceRefusal::NoSlice | SliceRefusal::Again => {}
                SliceRefusal::Over(request) => self.core.gate.reply(request, Err(error.clone())),
            }
        }
        self.authoring.slice_signed();
        if self.replica.take_rights_changed() {
            // What was signed has changed them: a document that ended leaves what peers may see at once.
            self.renew_rights();
        }
        for reply in staged.replies {
            let result = match failed.get(&reply.document) {
                Some(error) => Err(error.clone()),
                None => Ok(Authoring::reply_to(&self.core, &self.replica, &reply)),
            };
            self.core.gate.reply(reply.request, result);
        }
    }

    /// Commits each part of a write that does not fit one frame of a radio; what leads from part to part is kept for it.
    fn commit_parts<T>(
        &mut self,
        document: &DocumentId,
        parts: Vec<T>,
        commit: impl Fn(&mut Node, T) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let is_split = parts.len() > 1;
        for part in parts {
            commit(self, part)?;
            if is_split {
                self.broadcast.note_part(&self.core, &mut self.replica, document);
            }
        }
        Ok(())
    }

    /// Signs and stores a new state of an own snapshot, and informs the engines.
    pub(super) fn commit_snapshot(
        &mut self,
        document: &DocumentId,
        value: Value,
    ) -> Result<(), CommandError> {
        let stored = self.authoring.commit_snapshot(&mut self.core, &mut self.replica, document, value)?;
        self.stored(&stored, None, None);
        Ok(())
    }

    /// Signs and stores a new state of the own layer in a map, and informs the engines.
    pub(super) fn commit_map(
        &mut self,
        document: &DocumentId,
        changes: MapEdits,
    ) -> Result<(), CommandError> {
        let stored = self.authoring.commit_map(&mut self.core, &mut self.replica, document, changes)?;
        self.stored(&stored, None, None);
        Ok(())
    }

    /// The brief of an own document follows its new content.
    pub(super) fn renew_brief(&mut self, document: &DocumentId) {
        if let Some((brief, value)) = Authoring::brief_due(&self.core, &self.replica, document)
            && let Err(error) = self.commit_snapshot(&brief, value)
        {
            tracing::warn!(%error, "a brief was not renewed");
        }
    }

    /// Signs the entries that a leaving writer wins with as this node's own, under the audience that still lists the writer.
    pub(super) fn take_over_entries(&mut self, leaving: &PeerId) -> Result<usize, CommandError> {
        let mut kept = 0;
        for (document, entries) in self.replica.entries_to_take_over(leaving) {
            kept += entries.len();
            if !entries.is_empty() {
                self.commit_map(&document, entries)?;
            }
        }
        Ok(kept)
    }

    // ---- the shared end of both walks --------------------------------------------------------------------

    /// A layer has a new state. `origin` is where the message came from that led to it, `sender` the peer that has this state.
    pub(super) fn stored(&mut self, stored: &Stored, origin: Option<&Origin>, sender: Option<PeerId>) {
        self.unicast.stored(&self.core, &self.replica, stored, sender);
        self.broadcast.drop_provisional(&stored.id);
        self.stored_on_air(&stored.id, origin);
        if let Some(proved) = self.report().hears_us_by_state(&stored.id) {
            self.core.presence.hears(stored.id.author, proved);
        }
        match stored.id.document.name.as_str() {
            DocumentName::ALARMS => self.watches.note_news(),
            DocumentName::STATE => self.watches.note_state(),
            _ => {}
        }
        if stored.reads_differently {
            let by = Some((stored.id.author, stored.state.sequence));
            self.replica.announce(&mut self.core, &stored.id.document, by);
        }
    }

    /// Radios may send a layer's state.
    pub(super) fn stored_on_air(&mut self, id: &LayerId, origin: Option<&Origin>) {
        let from = match origin {
            Some(Origin::Radio { link, peer, .. }) => Some((*link, *peer)),
            Some(Origin::Link { .. }) | None => None,
        };
        self.broadcast.stored(&self.core, &mut self.replica, &self.unicast, id, from);
    }

    // ---- rights ------------------------------------------------------------------------------------------

    /// What follows when rights changed: the own audience document and its key, who counts where, empty layers where this node
    /// has become a writer, and what each connected peer may see.
    fn renew_rights(&mut self) {
        self.renew_audience();
        self.unicast.rights_changed(&self.core);
        let changed = self.replica.renew_writers(self.core.reference());
        self.replica.announce_by_time(&mut self.core, &changed);
        for document in self.replica.unsigned_where_writer() {
            if self.awaits_own(&document) {
                self.replica.recovery_mut().rights_wait();
            } else if let Err(error) = self.commit_map(&document, BTreeMap::new()) {
                tracing::debug!(%error, "no empty layer was signed");
            }
        }
        self.broadcast.rights_changed();
        self.unicast.renew_frontiers(&self.core, &self.replica);
    }

    /// The own audience document follows the list of peers, and the audience key follows the audience.
    fn renew_audience(&mut self) {
        if self.replica.recovery().is_unconfirmed() {
            return self.replica.recovery_mut().rights_wait();
        }
        let me = self.core.me;
        let salt = self.core.random.bytes();
        let before = self.replica.federation().audience(&me).cloned();
        let Some(audience) = self.replica.audience_due(salt) else {
            // A policy changes the audience and none of its readers: relays send what is signed under it once the keys are, too.
            if self.broadcast.own_keys_are_behind(&self.replica) {
                self.renew_audience_key(None);
            }
            return;
        };
        let document = self.core.own_document(DocumentName::AUDIENCE);
        if self.awaits_own(&document) {
            return self.replica.recovery_mut().rights_wait();
        }
        if let Err(error) = self.commit_snapshot(&document, audience.to_value()) {
            tracing::warn!(%error, "our audience was not renewed");
        }
        self.renew_audience_key(before.as_ref());
        // Storing the audience has marked rights as changed: they are being renewed now.
        self.replica.take_rights_changed();
    }

    fn renew_audience_key(&mut self, before: Option<&Audience>) {
        let value = self.broadcast.key_renewal(&mut self.core, &self.replica, before);
        let document = self.core.own_document(DocumentName::KEYS);
        if let Some(value) = value
            && let Err(error) = self.commit_snapshot(&document, value)
        {
            tracing::warn!(%error, "the audience key was not renewed");
        }
    }
}
