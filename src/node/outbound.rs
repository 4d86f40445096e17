//! The walk out: local write -> layer and root -> sign -> store -> schedule -> route -> delta for that
//! peer -> link.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::{Context, Value};
use tombolo_transports::PeerId;

use crate::clock::{Now, Timestamp};
use crate::envelope::{BaseRef, Change, CompactEnvelope, Envelope, address_byte};
use crate::federation::Audience;
use crate::layer::{
    Content, DocumentId, DocumentName, Entry, Head, KeyPath, Kind, Layer, LayerHash, LayerId, MapContent,
    Sequence,
};
use crate::limits::{FUTURE_BOUND_MS, WHOLE_LAYER_BYTES_MAX};
use crate::merge::map_of;
use crate::node::holdings::{Before, KnownBase};
use crate::node::io::{CommandError, Event, Output, Reply, RequestId};
use crate::node::{Node, view};
use crate::router::{Candidate, Class, Request};
use crate::store::Write;
use crate::sync::frontier::State;
use crate::sync::message::{Message, PeerClock};
use crate::sync::{self};

/// Bytes of layers supplied between two polls; what is beyond is asked for again.
const SUPPLY_BYTES_PER_TURN_MAX: usize = 4 * 1024 * 1024;

/// Local writes that are not signed yet: what gathers between two polls goes under one signature per
/// document.
#[derive(Debug, Default)]
pub(super) struct Staged {
    maps: BTreeMap<DocumentId, BTreeMap<KeyPath, Option<Entry>>>,
    snapshots: BTreeMap<DocumentId, Value>,
    /// Documents that are not to be split for a radio.
    whole: BTreeSet<DocumentId>,
    replies: Vec<StagedReply>,
}

#[derive(Debug)]
struct StagedReply {
    request: RequestId,
    document: DocumentId,
    changed: usize,
    published: bool,
}

impl Staged {
    /// Whether something is staged at a key or below it.
    pub(super) fn stands_at_or_below(&self, document: &DocumentId, key: &KeyPath) -> bool {
        let staged = self.maps.get(document);
        staged.is_some_and(|changes| changes.range(key..).next().is_some_and(|(k, _)| key.is_prefix_of(k)))
    }

    /// Whether a document may be staged that is not there yet: its first state has no keys.
    pub(super) fn creates(&self) -> bool {
        self.maps.values().any(BTreeMap::is_empty) || !self.snapshots.is_empty()
    }
}

impl Node {
    /// Stages entries of our layer in a map document: `Some` puts, `None` drops.
    pub(super) fn stage_map(
        &mut self,
        document: &DocumentId,
        changes: impl IntoIterator<Item = (KeyPath, Option<Entry>)>,
    ) {
        self.staged.maps.entry(document.clone()).or_default().extend(changes);
    }

    /// Stages entries where nothing is staged yet: what somebody has just written goes before.
    pub(super) fn stage_map_below(
        &mut self,
        document: &DocumentId,
        changes: impl IntoIterator<Item = (KeyPath, Option<Entry>)>,
    ) {
        let staged = self.staged.maps.entry(document.clone()).or_default();
        for (key, entry) in changes {
            staged.entry(key).or_insert(entry);
        }
    }

    /// Stages the content of a snapshot document of ours, unless somebody has just written another.
    pub(super) fn stage_snapshot_below(&mut self, document: &DocumentId, value: Value) {
        self.staged.snapshots.entry(document.clone()).or_insert(value);
    }

    /// Stages the content of a snapshot document of ours.
    pub(super) fn stage_snapshot(&mut self, document: &DocumentId, value: Value) {
        self.staged.snapshots.insert(document.clone(), value);
    }

    /// What is staged of a document goes into one commit, whether it fits a radio's frame or not.
    pub(super) fn stage_whole(&mut self, document: &DocumentId) {
        self.staged.whole.insert(document.clone());
    }

    /// Replies to a write once it is signed and on disk.
    pub(super) fn stage_reply(&mut self, request: RequestId, document: &DocumentId, changed: usize) {
        let document = document.clone();
        self.staged.replies.push(StagedReply { request, document, changed, published: false });
    }

    /// Replies to a published node state once it is on disk.
    pub(super) fn stage_published(&mut self, request: RequestId, document: &DocumentId) {
        let document = document.clone();
        self.staged.replies.push(StagedReply { request, document, changed: 1, published: true });
    }

    /// Signs whatever is staged, and takes up what follows from changed rights.
    pub(super) fn settle(&mut self) {
        if self.rights_changed {
            self.rights_changed = false;
            self.renew_rights();
        }
        let staged = std::mem::take(&mut self.staged);
        let mut failed = BTreeMap::new();
        for (document, value) in staged.snapshots {
            let parts = match staged.whole.contains(&document) {
                true => vec![value],
                false => self.split_snapshot(&document, value),
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
                false => self.split_map(&document, changes),
            };
            let commit = |node: &mut Node, part| node.commit_map(&document, part);
            if let Err(error) = self.commit_parts(&document, parts, commit) {
                failed.insert(document, error);
            }
        }
        let unanswered = |document: &DocumentId| !staged.replies.iter().any(|r| r.document == *document);
        for (document, error) in failed.iter().filter(|(document, _)| unanswered(document)) {
            tracing::error!(document = document.name.as_str(), %error, "a change of our own was not signed");
        }
        for reply in staged.replies {
            let result = match failed.get(&reply.document) {
                Some(error) => Err(error.clone()),
                None => self.written(&reply),
            };
            self.output(Output::Reply { request: reply.request, result });
        }
    }

    /// Commits one after the other what a radio could not take in one frame.
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
                self.note_step(document);
            }
        }
        Ok(())
    }

    fn written(&self, reply: &StagedReply) -> Result<Reply, CommandError> {
        let layer = LayerId { document: reply.document.clone(), author: self.me };
        let head = self.holdings.layer(&layer).map(Layer::head);
        let sequence = head.map_or(0, |head| head.sequence.get());
        if reply.published {
            let timestamp = crate::clock::rfc3339(head.map_or(0, |head| head.time_ms));
            return Ok(Reply::Published(view::PublishedView { sequence, timestamp }));
        }
        Ok(Reply::Written(view::WrittenView {
            owner: crate::identity::did(&reply.document.owner),
            name: reply.document.name.as_str().to_owned(),
            sequence,
            changed: reply.changed,
        }))
    }

    /// A new state of a snapshot of ours: signed, to be stored, and told.
    pub(super) fn commit_snapshot(
        &mut self,
        document: &DocumentId,
        value: Value,
    ) -> Result<(), CommandError> {
        let content = Content::snapshot(value).map_err(|error| CommandError::BadValue(error.to_string()))?;
        let id = LayerId { document: document.clone(), author: self.me };
        let before = self.holdings.layer(&id).map(Before::of);
        let signed = self.sign(&id, &content, before.as_ref().map(|b| b.signed.head.sequence))?;
        self.keep(Layer { signed, content }, before, None, None);
        Ok(())
    }

    /// A new state of our layer in a map.
    pub(super) fn commit_map(
        &mut self,
        document: &DocumentId,
        changes: BTreeMap<KeyPath, Option<Entry>>,
    ) -> Result<(), CommandError> {
        let id = LayerId { document: document.clone(), author: self.me };
        let mut changes = changes;
        self.begin_anew(&id, &mut changes);
        self.restamp(&id, &mut changes);
        let keys: Vec<KeyPath> = changes.keys().cloned().collect();
        let (before, mut content) = match self.holdings.take_layer(&id) {
            Some(Layer { signed, content }) => (Some(signed), content),
            None => (None, Content::empty(Kind::Map)),
        };
        let Content::Map(map) = &mut content else {
            return Err(CommandError::UnknownDocument(id_text(document)));
        };
        let outcome = map
            .change(changes)
            .map_err(|error| CommandError::BadValue(error.to_string()))
            .and_then(|()| self.sign(&id, &content, before.as_ref().map(|b| b.head.sequence)));
        match (outcome, before) {
            (Ok(signed), before) => {
                self.written.entry(document.clone()).or_default().extend(keys.iter().cloned());
                let before = before.map(|signed| Before { signed, content: None });
                self.keep(Layer { signed, content }, before, Some(keys), None);
                Ok(())
            }
            (Err(error), Some(signed)) => {
                self.holdings.put_back(Layer { signed, content });
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Whoever is listed again begins with an empty layer: what he wrote before his removal the owner has taken
    /// over, and what has been deleted since must not come back.
    fn begin_anew(&self, id: &LayerId, changes: &mut BTreeMap<KeyPath, Option<Entry>>) {
        let from = self.federation.counts_from(&id.document.owner, &self.me);
        let Some(old) = self.holdings.layer(id).filter(|old| Some(old.head().audience_sequence) < from)
        else {
            return;
        };
        let entries = map_of(old).map_or(0, MapContent::len);
        let document = id.document.name.as_str();
        tracing::warn!(document, entries, "listed again as a writer: our old layer is left behind");
        for (key, _) in map_of(old).into_iter().flat_map(MapContent::iter) {
            changes.entry(key.clone()).or_insert(None);
        }
    }

    /// Own entries from the future, left by a clock that has been put right, are stamped anew with the next
    /// commit, so that nobody stays locked out.
    fn restamp(&mut self, id: &LayerId, changes: &mut BTreeMap<KeyPath, Option<Entry>>) {
        // The very input that told us the time may have brought us here.
        self.put_clock_right();
        let reference = self.reference_ms();
        let layer = self.holdings.layer(id);
        // Entries from the future are there only if our last commit was later than now, or if some wait.
        let waits = self.holdings.document(&id.document).is_some_and(|d| d.quarantined() > 0);
        if !waits && layer.is_none_or(|layer| layer.head().time_ms <= reference) {
            return;
        }
        let own = layer.and_then(map_of);
        let ahead = |entry: &Entry| entry.stamp.ms() > reference.saturating_add(FUTURE_BOUND_MS);
        let late: Vec<_> = own
            .into_iter()
            .flat_map(|map| map.iter())
            .filter(|(key, entry)| ahead(entry) && !changes.contains_key(*key))
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        for (key, entry) in late {
            let stamp = self.clock.tick(self.signing_ms());
            changes.insert(key, Some(Entry { stamp, ..entry }));
        }
    }

    fn sign(
        &self,
        id: &LayerId,
        content: &Content,
        last: Option<Sequence>,
    ) -> Result<crate::layer::SignedHead, CommandError> {
        if let Some(why) = &self.stopped {
            return Err(CommandError::Stopped(why.clone()));
        }
        let sequence = last.unwrap_or(Sequence::NONE).next();
        let sequence = sequence.ok_or_else(|| CommandError::Stopped("the sequence is used up".to_owned()))?;
        let head = Head {
            kind: content.kind(),
            layer: id.clone(),
            sequence,
            time_ms: self.signing_ms(),
            audience_sequence: self.federation.audience_sequence(&id.document.owner),
            root: content.root(),
        };
        Ok(head.sign(&self.keypair))
    }

    /// Takes a layer's new state into memory, hands it to the store and to the engine, and tells watchers.
    /// `from` is who brought it; none: we wrote it.
    pub(super) fn keep(
        &mut self,
        layer: Layer,
        before: Option<Before>,
        changed: Option<Vec<KeyPath>>,
        from: Option<PeerId>,
    ) {
        let reference = self.reference_ms();
        let head = layer.head().clone();
        let id = head.layer.clone();
        let state = State::of(&layer.signed);
        let is_new_document = self.holdings.document(&id.document).is_none();
        self.observe_stamps(&layer, changed.as_deref(), reference);
        if before.is_none() && !is_new_document {
            // A writer we may know from nowhere else.
            self.set_writers_of(&id.document, Some(id.author));
        }
        let (mut write, reads_differently) = self.holdings.put_layer(layer, before, changed, reference);
        write.is_own_map = id.author == self.me && head.kind == Kind::Map;
        self.writes.push(Write::PutLayer(Box::new(write)));
        if is_new_document {
            self.set_writers_of(&id.document, None);
            self.rights_changed = true;
        }
        if id.document.name.as_str() == DocumentName::AUDIENCE {
            self.learn_audience(&id.document.owner);
            self.rights_changed = true;
        }
        if id.document.name.as_str() == DocumentName::STATE && id.author != self.me {
            self.learn_state(&id.author);
        }
        let readers = self.readers(&id);
        let stored = sync::Input::Stored { layer: id.hash(), state, readers, from };
        self.engine.handle_input(self.now.mono_ms, stored);
        self.provisional.remove(&id);
        self.stored_on_air(&id);
        if reads_differently {
            self.event(Event::Changed(view::ChangedView {
                owner: crate::identity::did(&id.document.owner),
                name: id.document.name.as_str().to_owned(),
                author: crate::identity::did(&id.author),
                sequence: state.sequence.get(),
            }));
        }
    }

    fn observe_stamps(&mut self, layer: &Layer, changed: Option<&[KeyPath]>, reference: u64) {
        let Some(map) = map_of(layer) else { return };
        let newest = match changed {
            Some(keys) => keys.iter().filter_map(|key| map.get(key)).map(|e| e.stamp).max(),
            None => map.iter().map(|(_, e)| e.stamp).max(),
        };
        self.clock.observe(newest.unwrap_or(Timestamp::default()), reference);
    }

    /// What follows when rights changed: our audience document, who counts where, empty layers where we
    /// have become a writer, and what each connected peer may see.
    fn renew_rights(&mut self) {
        self.renew_audience();
        self.engine.handle_input(self.now.mono_ms, sync::Input::RightsChanged);
        let reference = self.reference_ms();
        let writers = self.all_writers();
        let mut turned = Vec::new();
        for (id, document) in self.holdings.documents_mut() {
            if document.set_writers(writers.get(&id.owner).cloned().unwrap_or_default(), reference) {
                turned.push(id.clone());
            }
        }
        for id in turned {
            self.changed_by_time(&id);
        }
        self.sign_in_where_we_write();
        self.radios.rights_changed();
        for peer in self.connected_peers() {
            let ours = self.frontier_for(&peer);
            self.engine.handle_input(self.now.mono_ms, sync::Input::Rights { peer, ours });
        }
    }

    /// Our audience document says what our list of peers says.
    fn renew_audience(&mut self) {
        let salt = self.random.bytes();
        let members = self.federation.peers().map(|peer| (peer.id, peer.trust_level));
        let before = self.federation.audience(&self.me).cloned();
        let sequence = self.federation.audience_sequence(&self.me);
        let audience = match &before {
            Some(before) => before.followed_by(members, sequence.next().unwrap_or(sequence)),
            None => Audience::new(salt, members),
        };
        if before.as_ref() == Some(&audience) {
            if self.audience_key(&self.me).is_none() {
                self.renew_audience_key(None);
            }
            return;
        }
        let document = self.own_document(DocumentName::AUDIENCE);
        if document.as_ref().is_some_and(|document| self.awaits_own(document)) {
            return self.rights_wait_for_own();
        }
        if let Some(document) = document
            && let Err(error) = self.commit_snapshot(&document, audience.to_value())
        {
            tracing::warn!(%error, "our audience was not renewed");
        }
        self.renew_audience_key(before.as_ref());
        // `keep` has marked rights as changed: they are being renewed right now.
        self.rights_changed = false;
    }

    /// A writer signs an empty layer when it joins, so that tombstones need not wait for it for ever; one who
    /// is listed again does so anew.
    fn sign_in_where_we_write(&mut self) {
        let missing: Vec<DocumentId> = self
            .holdings
            .documents()
            .filter(|(id, document)| {
                document.kind() == Kind::Map
                    && id.owner != self.me
                    && self.federation.participates(id)
                    && self.federation.may_write(&id.owner)
                    && document.layer(&id.owner).is_some()
                    && (document.layer(&self.me).is_none() || !document.counts(&self.me))
            })
            .map(|(id, _)| id.clone())
            .collect();
        for document in missing {
            if self.awaits_own(&document) {
                self.rights_wait_for_own();
                continue;
            }
            if let Err(error) = self.commit_map(&document, BTreeMap::new()) {
                tracing::debug!(%error, "no empty layer was signed");
            }
        }
    }

    /// Says who counts in a document, `newcomer` included where the owner lists it.
    fn set_writers_of(&mut self, id: &DocumentId, newcomer: Option<PeerId>) {
        let reference = self.reference_ms();
        let mut writers = self.writers_of(&id.owner);
        writers.extend(newcomer.and_then(|a| Some((a, self.federation.counts_from(&id.owner, &a)?))));
        if let Some(document) = self.holdings.document_mut(id) {
            document.set_writers(writers, reference);
        }
    }

    /// Every author of a layer that we hold in an owner's documents and that the owner lets write, with the
    /// audience sequence from which on his layers count.
    fn writers_of(&self, owner: &PeerId) -> BTreeMap<PeerId, Sequence> {
        let authors = self.holdings.layers().map(|layer| &layer.head().layer);
        let authors = authors.filter(|id| id.document.owner == *owner).map(|id| id.author);
        let peers = self.federation.peers().map(|peer| peer.id);
        let known = authors.chain(peers).chain([self.me]);
        known.filter_map(|author| Some((author, self.federation.counts_from(owner, &author)?))).collect()
    }

    /// `writers_of` for every owner.
    pub(super) fn all_writers(&self) -> BTreeMap<PeerId, BTreeMap<PeerId, Sequence>> {
        let owners: BTreeSet<PeerId> = self.holdings.documents().map(|(id, _)| id.owner).collect();
        owners.into_iter().map(|owner| (owner, self.writers_of(&owner))).collect()
    }

    /// Takes note of the audience document that we hold of an owner.
    pub(super) fn learn_audience(&mut self, owner: &PeerId) {
        let Ok(name) = DocumentName::new(DocumentName::AUDIENCE) else { return };
        let id = LayerId { document: DocumentId { owner: *owner, name }, author: *owner };
        let Some(layer) = self.holdings.layer(&id) else { return };
        let Content::Snapshot(value) = &layer.content else { return };
        match Audience::from_value(value) {
            Ok(audience) => self.federation.put_audience(*owner, audience, layer.head().sequence),
            Err(error) => {
                // The content alone decides, so that nodes with the same layers agree: nobody is listed.
                tracing::warn!(%owner, %error, "an audience document is none");
                let nobody = Audience::new([0; 16], []);
                self.federation.put_audience(*owner, nobody, layer.head().sequence);
            }
        }
    }

    /// Carries out what the engine wants: first what engines say to each other, then layers, those that
    /// decide about rights first.
    pub(super) fn drain_engine(&mut self) {
        let mut supplies = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                sync::Output::Send { peer, message } => {
                    self.send(peer, Class::Upkeep, &message);
                }
                sync::Output::Heartbeat { peer, fingerprint, next_by_s } => {
                    let Now { wall_ms, mono_ms: uptime_ms } = self.now;
                    let is_set = self.reference.own_is_set(self.now);
                    let clock = is_set.then_some(PeerClock { wall_ms, uptime_ms, boot: self.boot });
                    self.send(peer, Class::Upkeep, &Message::Heartbeat { fingerprint, next_by_s, clock });
                }
                sync::Output::Supply { peer, layer, held } => {
                    supplies.extend(self.classed(peer, layer, held))
                }
            }
        }
        supplies.sort_by_key(|(class, ..)| *class);
        for (class, peer, id, held) in supplies {
            if self.supplied_bytes <= SUPPLY_BYTES_PER_TURN_MAX {
                self.supplied_bytes += self.supply(peer, class, &id, held);
            } else {
                // It will ask again; nobody makes us hold more than a turn's worth of messages.
                let layer = id.hash();
                self.engine.handle_input(self.now.mono_ms, sync::Input::NotSupplied { peer, layer, held });
            }
        }
        for (peer, message) in self.transfers.asks(self.now.mono_ms) {
            self.send(peer, Class::Bulk, &message);
        }
    }

    fn classed(
        &self,
        peer: PeerId,
        layer: LayerHash,
        held: Option<State>,
    ) -> Option<(Class, PeerId, LayerId, Option<State>)> {
        let id = self.layer_of(&layer)?;
        let class = match id.document.name.as_str() {
            DocumentName::AUDIENCE => Class::Audience,
            DocumentName::STATE => Class::State,
            _ => Class::Document,
        };
        Some((class, peer, id, held))
    }

    /// Sends a layer's newest state to one peer: as a delta where it holds a base that we hold as well,
    /// else whole. Returns the message's length.
    pub(super) fn supply(&mut self, peer: PeerId, class: Class, id: &LayerId, held: Option<State>) -> usize {
        if id.author == self.me && self.reclaims_first(peer, id, held) {
            let layer = id.hash();
            self.engine.handle_input(self.now.mono_ms, sync::Input::NotSupplied { peer, layer, held });
            return 0;
        }
        let delta = held.and_then(|base| self.delta_for(id, base));
        let Some(layer) = self.holdings.layer(id) else { return 0 };
        if !self.federation.may_receive(&peer, id, layer.head().audience_sequence) {
            return 0;
        }
        let whole = || Message::Whole(Box::new(Envelope::seal(layer)));
        let whole_max = layer.content.bytes().min(WHOLE_LAYER_BYTES_MAX);
        let message = match delta.map(|envelope| Message::Compact(Box::new(envelope.packed()))) {
            // Much may have changed since the base: then the whole may be the shorter message.
            Some(Message::Compact(compact)) if compact.delta.len() > whole_max => whole(),
            Some(compact) => compact,
            None => whole(),
        };
        self.send(peer, class, &message)
    }

    /// What leads from a base to what we hold of a layer; none if we do not have the base.
    pub(super) fn delta_for(&self, id: &LayerId, base: State) -> Option<CompactEnvelope<Change<'_>>> {
        let layer = self.holdings.layer(id)?;
        let head = layer.head();
        let (base_time_ms, base_audience, delta) = match self.holdings.known_base(id, base)? {
            KnownBase::Snapshot(kept, value) => {
                let Content::Snapshot(target) = &layer.content else { return None };
                let context = Context {
                    base_sequence: kept.sequence.get(),
                    sequence: head.sequence.get(),
                    base_time_ms: kept.time_ms,
                    time_ms: head.time_ms,
                };
                let change = Change::Snapshot { base: value, target, context };
                (kept.time_ms, kept.audience_sequence, change)
            }
            KnownBase::Map { changes, time_ms, audience_sequence } => {
                (time_ms, audience_sequence, Change::Map { changes, time_ms: head.time_ms })
            }
        };
        Some(CompactEnvelope {
            base: BaseRef {
                distance: head.sequence.get().checked_sub(base.sequence.get()).filter(|d| *d > 0)?,
                root_prefix: [base.root_prefix[0], base.root_prefix[1]],
                is_short: false,
            },
            address: Some(address_byte(id)),
            time_step_ms: i64::try_from(head.time_ms).ok()? - i64::try_from(base_time_ms).ok()?,
            audience_step: i64::try_from(head.audience_sequence.get()).ok()?
                - i64::try_from(base_audience.get()).ok()?,
            signature: layer.signed.signature,
            delta,
        })
    }

    /// Routes one message to a peer and hands it to the chosen link.
    pub(super) fn send(&mut self, peer: PeerId, class: Class, message: &Message) -> usize {
        let bytes = message.encode();
        let length = bytes.len();
        let links = self.links.iter().filter(|(_, link)| link.peer == peer);
        let candidates: Vec<Candidate> =
            links.map(|(id, link)| Candidate { link: *id, caps: link.caps.clone() }).collect();
        let request = Request { bytes: bytes.len(), class, confidential: true, deadline_ms: None };
        match self.router.route(request, &candidates).chosen {
            Some(link) => {
                self.count_sent(link, bytes.len());
                self.output(Output::Send { link, bytes });
            }
            None => self.counters.reject("no_link_may_carry"),
        }
        length
    }
}

fn id_text(document: &DocumentId) -> String {
    document.name.as_str().to_owned()
}
