//! What a person or a program on this machine asks for.

use std::collections::BTreeMap;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::federation::audience::CLASSES_MAX;
use crate::federation::{Audience, DocumentPolicy, RadioUse};
use crate::identity::did;
use crate::layer::{Content, DocumentId, DocumentName, Entry, KeyPath, Kind, LayerId};
use crate::limits::DOCUMENTS_PER_OWNER_MAX;
use crate::merge::{Document, flatten};
use crate::node::io::{Command, CommandError, Output, Reply, RequestId};
use crate::node::{Node, NodeState, view};

impl Node {
    pub(super) fn command(&mut self, request: RequestId, command: Command) {
        if let Some(document) = self.writes_to(&command)
            && self.awaits_own(&document)
        {
            return self.wait_for_own(request, command);
        }
        let result = match command {
            // Writes are answered when they are signed and on disk.
            Command::Set { doc, key, value } => match self.set(request, &doc, &key, &value) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            Command::Del { doc, key } => match self.del(request, &doc, &key) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            Command::Put { doc, value, whole } => match self.put(request, &doc, value, whole) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            Command::Create { name, kind } => match self.create(request, &name, kind) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            Command::PublishState { state } => match self.publish(request, state) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            // Joining is answered when the inviter has.
            Command::Join { code, addresses } => match self.join(request, &code, addresses) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            other => {
                self.settle();
                self.ask(other)
            }
        };
        self.output(Output::Reply { request, result });
    }

    /// The document whose layer of ours a command would write, if it is known by that name.
    fn writes_to(&self, command: &Command) -> Option<DocumentId> {
        match command {
            Command::Set { doc, .. } | Command::Del { doc, .. } | Command::Put { doc, .. } => {
                self.resolve_document(doc).ok()
            }
            Command::Create { name, .. } => {
                Some(DocumentId { owner: self.me, name: DocumentName::new(name).ok()? })
            }
            Command::PublishState { .. } => self.own_document(DocumentName::STATE),
            _ => None,
        }
    }

    fn ask(&mut self, command: Command) -> Result<Reply, CommandError> {
        match command {
            Command::Id => Ok(Reply::Id(self.id_view())),
            Command::Invite { level, expires_ms, addresses } => self.invite(level, expires_ms, addresses),
            Command::Peers => {
                Ok(Reply::Peers(self.federation.peers().map(|peer| self.peer_view(peer)).collect()))
            }
            Command::Trust { peer, level } => self.trust(&peer, level),
            Command::Rename { peer, name } => self.rename(&peer, &name),
            Command::Remove { peer } => self.remove(&peer),
            Command::Get { doc, key } => self.get(&doc, key.as_ref()),
            Command::List => Ok(Reply::Documents(self.document_views())),
            Command::State { peer } => self.state(peer.as_deref()),
            Command::Policy { doc, radio, confidential } => self.policy(&doc, radio, confidential),
            Command::Links => Ok(Reply::Links(self.links_view())),
            Command::Airtime => Ok(Reply::Airtime(self.airtime_view())),
            Command::Status => Ok(Reply::Status(Box::new(self.status()))),
            Command::Conflicts { doc } => self.conflicts(doc.as_deref()),
            // `command` has answered these.
            Command::Set { .. }
            | Command::Del { .. }
            | Command::Put { .. }
            | Command::Create { .. }
            | Command::PublishState { .. }
            | Command::Join { .. } => Err(CommandError::BadValue("answered elsewhere".to_owned())),
        }
    }

    // ---- writes ------------------------------------------------------------------------------------------

    fn create(&mut self, request: RequestId, name: &str, kind: Kind) -> Result<(), CommandError> {
        let bad = |why| CommandError::BadName { name: name.to_owned(), why };
        let document_name = DocumentName::new(name).map_err(bad)?;
        if document_name.is_reserved() {
            return Err(bad("the engine keeps a document of that name itself"));
        }
        if name.ends_with(DocumentName::BRIEF) {
            return Err(bad("names that end in .brief are kept for the briefs of documents"));
        }
        let document = DocumentId { owner: self.me, name: document_name };
        self.settle();
        if self.holdings.document(&document).is_some() {
            return Err(CommandError::DocumentExists(name.to_owned()));
        }
        let own = self.holdings.documents().filter(|(id, _)| id.owner == self.me).count();
        if own >= DOCUMENTS_PER_OWNER_MAX {
            let what = "the number of your documents";
            let remedy = "put several things into one document";
            return Err(CommandError::Limit { what, limit: DOCUMENTS_PER_OWNER_MAX, remedy });
        }
        match kind {
            Kind::Map => self.stage_map(&document, []),
            Kind::Snapshot => self.stage_snapshot(&document, Value::Map(tombolo_delta::Map::new())),
        }
        self.stage_reply(request, &document, 0);
        Ok(())
    }

    fn set(
        &mut self,
        request: RequestId,
        doc: &str,
        key: &KeyPath,
        value: &Value,
    ) -> Result<(), CommandError> {
        let (id, kind) = self.writable(doc)?;
        if kind == Kind::Snapshot {
            return self.edit_snapshot(request, &id, |tree| put_at(tree, key.segments(), value.clone()));
        }
        let leaves = flatten(Some(key), value).map_err(|error| CommandError::BadValue(error.to_string()))?;
        self.write_leaves(request, &id, leaves, Some(key))
    }

    fn put(&mut self, request: RequestId, doc: &str, value: Value, whole: bool) -> Result<(), CommandError> {
        let (id, kind) = self.writable(doc)?;
        if kind == Kind::Snapshot {
            self.edit_snapshot(request, &id, |tree| {
                *tree = value;
                true
            })?;
        } else {
            let leaves = flatten(None, &value).map_err(|error| CommandError::BadValue(error.to_string()))?;
            self.write_leaves(request, &id, leaves, None)?;
        }
        if whole {
            self.stage_whole(&id);
        }
        Ok(())
    }

    fn del(&mut self, request: RequestId, doc: &str, key: &KeyPath) -> Result<(), CommandError> {
        let (id, kind) = self.writable(doc)?;
        let unknown = || CommandError::UnknownKey { doc: doc.to_owned(), key: key.to_string() };
        if kind == Kind::Snapshot {
            self.settle();
            let there = self.holdings.document(&id).and_then(Document::view);
            there.as_ref().and_then(|tree| at(tree, key.segments())).ok_or_else(unknown)?;
            return self.edit_snapshot(request, &id, |tree| take_at(tree, key.segments()));
        }
        self.settle();
        let document = self.holdings.document(&id);
        let stands = |(other, winner): &(&KeyPath, &crate::merge::Winner)| {
            key.is_prefix_of(other) && !winner.entry.is_tombstone()
        };
        if !document.is_some_and(|d| d.winners().any(|w| stands(&w))) {
            return Err(unknown());
        }
        self.write_leaves(request, &id, BTreeMap::new(), Some(key))
    }

    /// Makes everything below `prefix` (or everything) equal to `leaves`: what differs is put, what is not
    /// among them is deleted.
    fn write_leaves(
        &mut self,
        request: RequestId,
        id: &DocumentId,
        leaves: BTreeMap<KeyPath, Value>,
        prefix: Option<&KeyPath>,
    ) -> Result<(), CommandError> {
        if self.staged_touches(id, prefix, &leaves) {
            // What is staged becomes visible first, so that this write is compared with it.
            self.settle();
        }
        let reference = self.reference_ms();
        let signing_ms = self.signing_ms();
        let Some(document) = self.holdings.document(id) else {
            return Err(CommandError::UnknownDocument(id.name.as_str().to_owned()));
        };
        let below = document.winners().filter(|(key, winner)| {
            prefix.is_none_or(|prefix| prefix.is_prefix_of(key)) && !winner.entry.is_tombstone()
        });
        let gone: Vec<KeyPath> =
            below.map(|(key, _)| key.clone()).filter(|key| !leaves.contains_key(key)).collect();
        let new =
            leaves.into_iter().filter(|(key, value)| document.shown(key).is_none_or(|shown| shown != value));
        let wanted: Vec<(KeyPath, Option<Value>)> = gone
            .into_iter()
            .map(|key| (key, None))
            .chain(new.map(|(key, value)| (key, Some(value))))
            .collect();
        // This write goes above whatever it replaces, hides or uncovers, as far as that may count at all.
        let touched = wanted.iter().flat_map(|(key, _)| key.parents().chain([key.clone()]));
        for winner in touched.filter_map(|key| document.winner(&key)) {
            self.clock.observe(winner.entry.stamp, reference);
        }
        let mut changes = Vec::new();
        for (key, value) in wanted {
            let saw = document
                .winner(&key)
                .filter(|winner| winner.author != self.me)
                .map(|winner| winner.entry.hash4(&key));
            let entry = Entry { stamp: self.clock.tick(signing_ms), value, saw };
            entry.check(&key).map_err(|error| CommandError::BadValue(error.to_string()))?;
            changes.push((key, Some(entry)));
        }
        let changed = changes.len();
        if changed > 0 {
            self.stage_map(id, changes);
        }
        self.stage_reply(request, id, changed);
        Ok(())
    }

    /// Whether something staged stands where this write goes.
    fn staged_touches(
        &self,
        id: &DocumentId,
        prefix: Option<&KeyPath>,
        leaves: &BTreeMap<KeyPath, Value>,
    ) -> bool {
        match prefix {
            // One plain key, nothing staged on it: the usual burst of `set`s shares one signature.
            Some(prefix) if leaves.len() == 1 && leaves.contains_key(prefix) => {
                self.staged.stands_at_or_below(id, prefix)
            }
            _ => true,
        }
    }

    fn edit_snapshot(
        &mut self,
        request: RequestId,
        id: &DocumentId,
        edit: impl FnOnce(&mut Value) -> bool,
    ) -> Result<(), CommandError> {
        self.settle();
        let mut tree = self.holdings.document(id).and_then(Document::view).unwrap_or_default();
        let changed = edit(&mut tree);
        let content = Content::snapshot(tree).map_err(|error| CommandError::BadValue(error.to_string()))?;
        if let (true, Content::Snapshot(value)) = (changed, content) {
            self.written.entry(id.clone()).or_default();
            self.stage_snapshot(id, value);
        }
        self.stage_reply(request, id, usize::from(changed));
        Ok(())
    }

    fn publish(&mut self, request: RequestId, state: NodeState) -> Result<(), CommandError> {
        let mut state = state;
        state.apps.sort_by(|a, b| a.id.cmp(&b.id));
        let value =
            tombolo_delta::to_value(&state).map_err(|error| CommandError::BadValue(error.to_string()))?;
        let Some(document) = self.own_document(DocumentName::STATE) else { return Ok(()) };
        self.written.entry(document.clone()).or_default();
        self.stage_snapshot(&document, value);
        self.stage_published(request, &document);
        Ok(())
    }

    /// The class of a document of ours stands in our audience.
    fn policy(
        &mut self,
        doc: &str,
        radio: Option<RadioUse>,
        confidential: Option<bool>,
    ) -> Result<Reply, CommandError> {
        let id = self.resolve_document(doc)?;
        if id.owner != self.me {
            return Err(CommandError::NotYours(doc.to_owned()));
        }
        let name = id.name.as_str();
        if matches!(name, DocumentName::AUDIENCE | DocumentName::KEYS) {
            let why = "the engine itself decides where it goes";
            return Err(CommandError::BadName { name: name.to_owned(), why });
        }
        if radio == Some(RadioUse::Brief) && self.brief_fields(&id).is_none() {
            let why = "only the state, and snapshots whose brief `tombolo.toml` describes, have a brief";
            return Err(CommandError::BadValue(why.to_owned()));
        }
        let before = self.federation.policy(&id);
        let class = DocumentPolicy {
            radio: radio.unwrap_or(before.radio),
            confidential: confidential.unwrap_or(before.confidential),
        };
        if class != before {
            let audience = self.federation.audience(&self.me).cloned();
            let audience = audience.unwrap_or_else(|| Audience::new(self.random.bytes(), []));
            if audience.policies() >= CLASSES_MAX {
                let remedy = "give some documents the default again";
                return Err(CommandError::Limit {
                    what: "the number of policies",
                    limit: CLASSES_MAX,
                    remedy,
                });
            }
            let value = audience.with_policy(name, class).to_value();
            if let Some(document) = self.own_document(DocumentName::AUDIENCE) {
                self.commit_snapshot(&document, value)?;
            }
            self.renew_brief(&id);
        }
        Ok(Reply::Policy(view::PolicyView { document: name.to_owned(), class }))
    }

    // ---- reads -------------------------------------------------------------------------------------------

    fn get(&self, doc: &str, key: Option<&KeyPath>) -> Result<Reply, CommandError> {
        let id = self.resolve_document(doc)?;
        let unknown = || CommandError::UnknownDocument(doc.to_owned());
        let tree = self.holdings.document(&id).and_then(Document::view).ok_or_else(unknown)?;
        let Some(key) = key else { return Ok(Reply::Value(tree)) };
        let found = at(&tree, key.segments()).cloned();
        let unknown = || CommandError::UnknownKey { doc: doc.to_owned(), key: key.to_string() };
        found.map(Reply::Value).ok_or_else(unknown)
    }

    fn state(&self, peer: Option<&str>) -> Result<Reply, CommandError> {
        let id = match peer {
            None => self.me,
            Some(text) if text == self.settings.name || text == did(&self.me) => self.me,
            Some(text) => self.resolve_peer(text)?,
        };
        let state = self.newest_state(&id).map(Reply::State);
        state.ok_or_else(|| CommandError::NoState(self.name_of(&id)))
    }

    /// The node state to show: one that is not signed yet, if a radio has brought it, else the signed one.
    pub(super) fn newest_state(&self, id: &PeerId) -> Option<view::StateView> {
        let document = DocumentId { owner: *id, name: DocumentName::new(DocumentName::STATE).ok()? };
        let provisional = self.provisional.get(&LayerId { document, author: *id });
        let shown = provisional.filter(|provisional| self.now.mono_ms < provisional.until).and_then(|p| {
            let timestamp = crate::clock::rfc3339(p.time_ms);
            Some(view::StateView {
                timestamp,
                provisional: true,
                state: tombolo_delta::from_value(&p.value).ok()?,
            })
        });
        shown.or_else(|| self.with_brief(id, self.state_of(id)))
    }

    /// The node state that we hold of an identity, with its signed time.
    pub(super) fn state_of(&self, id: &PeerId) -> Option<view::StateView> {
        let document = DocumentId { owner: *id, name: DocumentName::new(DocumentName::STATE).ok()? };
        if !self.federation.participates(&document) {
            return None;
        }
        let layer = self.holdings.layer(&LayerId { document, author: *id })?;
        let Content::Snapshot(value) = &layer.content else { return None };
        let state = tombolo_delta::from_value(value).ok()?;
        let timestamp = crate::clock::rfc3339(layer.head().time_ms);
        Some(view::StateView { timestamp, provisional: false, state })
    }

    fn conflicts(&self, doc: Option<&str>) -> Result<Reply, CommandError> {
        let only = doc.map(|doc| self.resolve_document(doc)).transpose()?;
        let reference = self.reference_ms();
        let documents = self.holdings.documents().filter(|(id, _)| {
            self.federation.participates(id) && only.as_ref().is_none_or(|only| only == *id)
        });
        let view = |(id, key, loser): (&DocumentId, KeyPath, crate::merge::Loser)| view::ConflictView {
            document: format!("{}/{}", did(&id.owner), id.name.as_str()),
            key: key.to_string(),
            winner: did(&loser.winner),
            loser: did(&loser.author),
            deleted: loser.entry.is_tombstone(),
            written_at: crate::clock::rfc3339(loser.entry.stamp.ms()),
            value: loser.entry.value.unwrap_or_default(),
        };
        let found = documents.flat_map(|(id, document)| {
            document.conflicts(reference).into_iter().map(move |(key, loser)| (id, key, loser))
        });
        Ok(Reply::Conflicts(found.map(view).collect()))
    }

    // ---- names -------------------------------------------------------------------------------------------

    /// The document that a text means: `name`, or `peer/name` where several are called so.
    fn resolve_document(&self, text: &str) -> Result<DocumentId, CommandError> {
        let unknown = || CommandError::UnknownDocument(text.to_owned());
        let visible =
            || self.holdings.documents().map(|(id, _)| id).filter(|id| self.federation.participates(id));
        if let Some((owner, name)) = text.rsplit_once('/') {
            let is_me = owner == self.settings.name || owner == did(&self.me);
            let owner = if is_me { self.me } else { self.resolve_peer(owner)? };
            let found = visible().find(|id| id.owner == owner && id.name.as_str() == name);
            return found.cloned().ok_or_else(unknown);
        }
        let found: Vec<&DocumentId> = visible().filter(|id| id.name.as_str() == text).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(unknown()),
            several => {
                let choices =
                    several.iter().map(|id| format!("{}/{text}", self.name_of(&id.owner))).collect();
                Err(CommandError::AmbiguousDocument { name: text.to_owned(), choices })
            }
        }
    }

    fn writable(&mut self, doc: &str) -> Result<(DocumentId, Kind), CommandError> {
        if self.staged.creates() {
            // A document created a moment ago is not signed yet.
            self.settle();
        }
        let id = self.resolve_document(doc)?;
        let Some(document) = self.holdings.document(&id) else {
            return Err(CommandError::UnknownDocument(doc.to_owned()));
        };
        let kind = document.kind();
        let may = match kind {
            Kind::Map => self.federation.may_write(&id.owner),
            Kind::Snapshot => id.owner == self.me && !id.name.is_reserved(),
        };
        if may { Ok((id, kind)) } else { Err(CommandError::ReadOnly(doc.to_owned())) }
    }

    /// All documents as `ls` shows them.
    fn document_views(&self) -> Vec<view::DocumentView> {
        let documents = self.holdings.documents().filter(|(id, _)| self.federation.participates(id));
        documents
            .filter_map(|(id, document)| {
                let cbor = tombolo_delta::to_cbor(&document.view()?);
                Some(view::DocumentView {
                    owner: did(&id.owner),
                    name: id.name.as_str().to_owned(),
                    kind: document.kind(),
                    bytes: cbor.len(),
                    hash: blake3::hash(&cbor).to_hex().to_string(),
                })
            })
            .collect()
    }
}

/// What stands at a path of a tree.
fn at<'a>(tree: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |value, segment| value.get(segment))
}

/// Puts a value at a path; what stands in the way and is no object gives way. Whether anything changed.
fn put_at(tree: &mut Value, path: &[String], value: Value) -> bool {
    let Some((first, rest)) = path.split_first() else {
        let changed = *tree != value;
        *tree = value;
        return changed;
    };
    let mut members = match std::mem::take(tree) {
        Value::Map(members) => members,
        _ => tombolo_delta::Map::new(),
    };
    let mut child = members.remove(first).unwrap_or_default();
    let changed = put_at(&mut child, rest, value);
    members.insert(first.as_str(), child);
    *tree = Value::Map(members);
    changed
}

/// Takes out what stands at a path. Whether there was anything.
fn take_at(tree: &mut Value, path: &[String]) -> bool {
    let (Some((first, rest)), Value::Map(members)) = (path.split_first(), &mut *tree) else { return false };
    if rest.is_empty() {
        return members.remove(first).is_some();
    }
    let Some(mut child) = members.remove(first) else { return false };
    let taken = take_at(&mut child, rest);
    members.insert(first.as_str(), child);
    taken
}
