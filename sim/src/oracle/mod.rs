//! A naive model beside the nodes, written from sections 3 and 4 of the design and the format pages, with none of the code
//! that it checks: every state that was ever signed is kept, and a document is merged from scratch out of the states that a
//! node holds.
//!
//! | file | what the model knows |
//! |---|---|
//! | `rights` | who writes in an owner's documents, from the owner's audience |
//! | `signed` | every state of every author |
//! | `merged` | what wins and what shows under each key |
//! | `drops` | which entries an author may drop |
//!
//! After each input the heads of a node's layers are compared with those it had before. A document with another head, or that
//! the node reports as changed, is merged and compared; so is each after a start and at the end. Checked is:
//! - per key, the entry that wins and the value that shows;
//! - which authors count;
//! - that a sequence is signed once;
//! - that an author drops no entry that it may not drop, and that what it had deleted is not back after its tombstone has ended.
//!
//! Left out are keys whose outcome cannot be known: an entry near the bound of reference time may wait at one node and count
//! at another. What a clock stamped that had been put back may be older than a tombstone that it follows. A machine whose disk
//! was set back signs sequences again, and joins states of its own that had parted.

mod drops;
mod merged;
mod rights;
mod signed;

use std::collections::{BTreeMap, BTreeSet};

use tombolo::layer::{Content, DocumentId, DocumentName, KeyPath, Kind, Layer, LayerId};
use tombolo::merge::{Document, map_of};
use tombolo::node::Node;
use tombolo::replica::Replica;
use tombolo::time::Wall;
use tombolo_transports::PeerId;

use crate::{Seat, Simulation};
use drops::AuthorsView;
use merged::{HeldState, Merged, VisibleValue, is_greater};
use rights::WriterList;
use signed::{EndedTombstone, SignedLayer, StateName};

/// The states that a machine holds of a document, by author.
type Heads = BTreeMap<PeerId, StateName>;

/// The model of all map documents of a simulation.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// The identities of all machines, by DID.
    identities: BTreeMap<String, PeerId>,
    signed: BTreeMap<DocumentId, BTreeMap<PeerId, SignedLayer>>,
    seats: BTreeMap<Seat, LastLook>,
    /// Authors whose disk was set back.
    restored: BTreeSet<PeerId>,
    /// A document is reported once.
    reported: BTreeSet<(Seat, DocumentId)>,
    comparisons: u64,
}

/// What a machine held when it was last looked at.
#[derive(Debug, Default)]
struct LastLook {
    heads: BTreeMap<DocumentId, Heads>,
    audiences: BTreeMap<PeerId, StateName>,
    /// Documents that read differently by the node's own account.
    reported: BTreeSet<DocumentId>,
    /// Each document is to be looked at.
    is_fresh: bool,
}

/// A document at a machine that is to be compared.
struct Changed {
    id: DocumentId,
    before: Heads,
    now: Heads,
}

impl LastLook {
    /// The map documents that are to be compared, from now on held in these states.
    fn take_changed(&mut self, replica: &Replica) -> Vec<Changed> {
        let is_fresh = std::mem::take(&mut self.is_fresh);
        let reported = std::mem::take(&mut self.reported);
        let turned = self.take_turned(replica);
        let mut changed = Vec::new();
        for (id, document) in
            replica.layers().documents().filter(|(_, document)| document.kind() == Kind::Map)
        {
            let known = self.heads.get(id);
            let is_same = known.is_some_and(|known| {
                let mut known = known.iter();
                document.layers().all(|(author, layer)| known.next() == Some((author, &state_name(layer))))
                    && known.next().is_none()
            });
            if is_same && !is_fresh && !reported.contains(id) && !turned.contains(&id.owner) {
                continue;
            }
            let now: Heads = document.layers().map(|(author, layer)| (*author, state_name(layer))).collect();
            let before = self.heads.insert(id.clone(), now.clone()).unwrap_or_default();
            changed.push(Changed { id: id.clone(), before, now });
        }
        changed
    }

    /// The owners whose audience has another state than before.
    fn take_turned(&mut self, replica: &Replica) -> BTreeSet<PeerId> {
        let mut turned = BTreeSet::new();
        for id in replica.layers().called(DocumentName::AUDIENCE) {
            let layer = replica.layer(&LayerId { document: id.clone(), author: id.owner });
            let Some(name) = layer.map(state_name) else { continue };
            if self.audiences.get(&id.owner) != Some(&name) {
                self.audiences.insert(id.owner, name);
                turned.insert(id.owner);
            }
        }
        turned
    }
}

fn state_name(layer: &Layer) -> StateName {
    (layer.head().sequence, layer.head().root)
}

/// The rights that an owner gives, as a node holds them.
fn rights_of(replica: &Replica, owner: PeerId) -> WriterList {
    let mut audiences = replica.layers().called(DocumentName::AUDIENCE).filter(|id| id.owner == owner);
    let audience =
        audiences.next().and_then(|id| replica.layer(&LayerId { document: id.clone(), author: owner }));
    let content = audience.and_then(|layer| match &layer.content {
        Content::Snapshot(value) => Some(value.get()),
        Content::Map(_) => None,
    });
    WriterList::of(owner, content.as_deref())
}

impl Oracle {
    /// Compares what has changed at a machine with the model. Returns what is wrong.
    fn look(&mut self, seat: Seat, node: &Node) -> Vec<String> {
        let (report, me) = (node.report(), node.peer_id());
        let mut wrongs = Vec::new();
        for changed in self.seats.entry(seat).or_default().take_changed(report.replica) {
            let Some(document) = report.replica.document(&changed.id) else { continue };
            let rights = rights_of(report.replica, changed.id.owner);
            let mut differs = self.keep_states(document, &changed);
            differs.extend(self.judge_drops(me, &rights, &changed));
            differs.extend(self.compare(document, &rights, &changed, report.core.reference()));
            if !differs.is_empty() && self.reported.insert((seat, changed.id.clone())) {
                let name = changed.id.name.as_str();
                wrongs.extend(
                    differs.into_iter().map(|differs| format!("{seat:?}, {name}, by the model: {differs}")),
                );
            }
        }
        wrongs
    }

    /// Keeps the states that are held. Returns what no author may sign.
    fn keep_states(&mut self, document: &Document, changed: &Changed) -> Vec<String> {
        let mut wrongs = Vec::new();
        let layers = self.signed.entry(changed.id.clone()).or_default();
        for (author, layer) in document.layers() {
            let Some(map) = map_of(layer).filter(|_| changed.before.get(author) != changed.now.get(author))
            else {
                continue;
            };
            let signed = layers.entry(*author).or_default();
            let is_new = signed.keep(layer.head(), map);
            let sequence = layer.head().sequence;
            if is_new && signed.is_forked(sequence) && !self.restored.contains(author) {
                wrongs.push(format!("{author:?} has signed {sequence:?} twice"));
            }
        }
        wrongs
    }

    /// The states that are held, with which of them count.
    fn held(&self, rights: &WriterList, id: &DocumentId, heads: &Heads) -> Vec<HeldState<'_>> {
        let Some(layers) = self.signed.get(id) else { return Vec::new() };
        let held = heads.iter().filter_map(|(author, name)| {
            let state = layers.get(author)?.state(name)?;
            let from = rights.counts_from(author, &id.name);
            let counts = from.is_some_and(|from| state.audience_sequence.get() >= from);
            Some(HeldState { author: *author, sequence: name.0, state, counts })
        });
        held.collect()
    }

    /// What an author has dropped from its own layer and may not drop.
    fn judge_drops(&mut self, me: PeerId, rights: &WriterList, changed: &Changed) -> Vec<String> {
        let Changed { id, before, now } = changed;
        let (Some(old), Some(new)) = (before.get(&me), now.get(&me)) else { return Vec::new() };
        if old == new || self.restored.contains(&me) {
            return Vec::new();
        }
        let Some(own) = self.signed.get(id).and_then(|layers| layers.get(&me)) else { return Vec::new() };
        let (Some(old), Some(state)) = (own.state(old), own.state(new)) else { return Vec::new() };
        let from = rights.counts_from(&me, &id.name);
        if from.is_none_or(|from| old.audience_sequence.get() < from) {
            // Listed again: it begins with an empty layer.
            return Vec::new();
        }
        let identities: Vec<PeerId> = self.identities.values().copied().collect();
        let view = |heads: &Heads| AuthorsView {
            author: me,
            held: self.held(rights, id, heads),
            writers: rights.writers_among(&identities),
        };
        // It dropped them before or after it took what came with the same input.
        let views = [view(before), view(now)];
        let dropped = old.entries.iter().filter(|(key, _)| !state.entries.contains_key(key));
        let (mut wrongs, mut ended) = (Vec::new(), Vec::new());
        for (key, entry) in dropped {
            if !views.iter().any(|view| view.may_drop(key, entry)) {
                wrongs.push(format!(
                    "{me:?} has dropped {key}, {entry:?}, which it may not yet, from {:?} to {:?}",
                    before.get(&me),
                    new.0
                ));
            }
            if entry.is_tombstone() {
                let seen = now.iter().filter(|(author, _)| **author != me);
                let seen = seen.map(|(author, (sequence, _))| (*author, *sequence)).collect();
                let tombstone = EndedTombstone { entry: entry.clone(), dropped_at: new.0, seen };
                ended.push((key.clone(), tombstone));
            }
        }
        let own = self.signed.entry(id.clone()).or_default().entry(me).or_default();
        ended.into_iter().for_each(|(key, ended)| own.end_tombstone(key, ended));
        wrongs
    }

    /// Where a node reads a document differently.
    fn compare(
        &mut self,
        document: &Document,
        rights: &WriterList,
        Changed { id, now, .. }: &Changed,
        reference: Wall,
    ) -> Option<String> {
        let held = self.held(rights, id, now);
        if let Some(author) = held.iter().find(|held| held.counts != document.counts(&held.author)) {
            return Some(format!("{:?} counts: {}", author.author, author.counts));
        }
        let merged = Merged::of(&held, reference);
        let mut compared = 0;
        let nodes = document.winners().map(|(key, _)| key).filter(|key| merged.winner(key).is_none());
        let differs = merged.keys().chain(nodes).find_map(|key| {
            compared += 1;
            differs_at(document, &merged, key).or_else(|| self.is_back(id, &held, &merged, key))
        });
        self.comparisons += compared;
        differs
    }

    /// Whether a key has an entry again that an ended tombstone had beaten.
    fn is_back(
        &self,
        id: &DocumentId,
        held: &[HeldState<'_>],
        merged: &Merged<'_>,
        key: &KeyPath,
    ) -> Option<String> {
        let layers = self.signed.get(id)?;
        let (author, entry) = merged.winner(key).filter(|_| !merged.is_open(key))?;
        let of_winner = held.iter().find(|held| held.author == author)?;
        if self.restored.contains(&author) || layers.get(&author)?.was_set_back(key) {
            return None;
        }
        let ends = held.iter().filter(|held| held.counts && held.author != author).flat_map(|held| {
            let ended =
                layers.get(&held.author).into_iter().flat_map(|layer| layer.ended_before(key, held.sequence));
            ended.map(|ended| (held.author, ended))
        });
        let mut ends = ends.filter(|(by, ended)| {
            // A state that was newer when the tombstone ended had no older entry.
            let is_since = ended.seen.get(&author).is_some_and(|seen| of_winner.sequence >= *seen);
            is_since && is_greater((*by, &ended.entry), (author, entry))
        });
        let (by, ended) = ends.next()?;
        Some(format!("{entry:?} of {author:?} is back at {key}, which {by:?} deleted by {:?}", ended.entry))
    }
}

/// Where a node reads a key differently from the model.
fn differs_at(document: &Document, merged: &Merged<'_>, key: &KeyPath) -> Option<String> {
    if merged.is_open(key) {
        return None;
    }
    let read = document.winner(key).map(|winner| (winner.author, &**winner.entry));
    let wins = merged.winner(key);
    if read != wins {
        return Some(format!("reads {read:?} at {key}, not {wins:?}"));
    }
    match merged.shown(key) {
        VisibleValue::Known(shown) if shown != document.shown(key) => {
            Some(format!("shows {:?} at {key}, not {shown:?}", document.shown(key)))
        }
        VisibleValue::Known(_) | VisibleValue::Open => None,
    }
}

impl Simulation {
    /// From now on every document that changes somewhere is compared with a naive model.
    pub fn watch_by_oracle(&mut self) {
        let mut oracle = Oracle::default();
        for seat in self.seats() {
            oracle.identities.insert(self.did(seat), self.peer_id(seat));
            oracle.seats.entry(seat).or_default().is_fresh = true;
        }
        self.oracle = Some(oracle);
    }

    /// How many keys were compared with the model so far.
    pub fn oracle_comparisons(&self) -> u64 {
        self.oracle.as_ref().map_or(0, |oracle| oracle.comparisons)
    }

    /// Notes that a document reads differently at a machine, by the node's own account.
    pub(super) fn reads_differently(&mut self, seat: Seat, owner: &str, name: &str) {
        let Some(oracle) = &mut self.oracle else { return };
        let (owner, name) = (oracle.identities.get(owner).copied(), DocumentName::new(name).ok());
        if let (Some(owner), Some(name)) = (owner, name) {
            oracle.seats.entry(seat).or_default().reported.insert(DocumentId { owner, name });
        }
    }

    /// A machine starts: all that its disk held is compared.
    pub(super) fn started_by_oracle(&mut self, seat: Seat) {
        let (did, peer) = (self.did(seat), self.peer_id(seat));
        if let Some(oracle) = &mut self.oracle {
            oracle.identities.insert(did, peer);
            oracle.seats.entry(seat).or_default().is_fresh = true;
        }
        self.consult_oracle(seat);
    }

    /// A machine's disk was set back.
    pub(super) fn set_back_by_oracle(&mut self, seat: Seat) {
        let peer = self.peer_id(seat);
        if let Some(oracle) = &mut self.oracle {
            oracle.restored.insert(peer);
            oracle.seats.remove(&seat);
        }
    }

    /// Compares what has changed at a machine with the model.
    pub(super) fn consult_oracle(&mut self, seat: Seat) {
        let Some(mut oracle) = self.oracle.take() else { return };
        let wrongs = self.node(seat).map_or_else(Vec::new, |node| oracle.look(seat, node));
        wrongs.into_iter().for_each(|wrong| self.wrong(wrong));
        self.oracle = Some(oracle);
    }

    /// Compares all that is held anywhere with the model.
    pub(crate) fn consult_oracle_about_all(&mut self) {
        for seat in self.seats() {
            if let Some(oracle) = &mut self.oracle {
                oracle.seats.entry(seat).or_default().is_fresh = true;
            }
            self.consult_oracle(seat);
        }
    }
}
