//! What must hold when the faults are over: each reader of a document holds the same bytes, no acknowledged write is
//! lost, and no other machine holds the document.
//!
//! Under last writer wins a write survives only until another write replaces it. So survival is checked on keys that
//! one machine alone writes.

use std::collections::BTreeMap;

use tombolo::layer::KeyPath;
use tombolo::node::{CommandError, Query, Reply};
use tombolo::time::Mono;
use tombolo_delta::Value;

use crate::{Seat, Simulation};

/// A document of a simulation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentRef {
    /// The machine whose node owns it.
    pub owner: Seat,
    /// Its name, unique for its owner.
    pub name: String,
}

impl DocumentRef {
    /// The form in which a command names it: the DID of its owner and its name.
    pub fn text(&self, simulation: &Simulation) -> String {
        format!("{}/{}", simulation.did(self.owner), self.name)
    }
}

/// The values that a key may have which one machine alone writes: the one acknowledged last, or one that it attempted
/// since without a reply. `None` is a deletion.
#[derive(Clone, Debug, Default)]
struct ExpectedValue {
    allowed: Vec<Option<Value>>,
    /// All that was acknowledged, and when.
    history: Vec<(Mono, Option<Value>)>,
}

/// Remembers which writes were acknowledged, and checks that they are not lost.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    claims: BTreeMap<(DocumentRef, KeyPath), ExpectedValue>,
}

impl Checker {
    /// Notes that a write to a key of its author alone was acknowledged at that time.
    pub fn acknowledged(&mut self, document: &DocumentRef, key: &KeyPath, value: Option<Value>, at: Mono) {
        let claim = self.claims.entry((document.clone(), key.clone())).or_default();
        claim.allowed = vec![value.clone()];
        claim.history.push((at, value));
    }

    /// Notes a write to such a key whose machine crashed before it replied.
    pub fn attempted(&mut self, document: &DocumentRef, key: &KeyPath, value: Option<Value>) {
        let claim = self.claims.entry((document.clone(), key.clone())).or_default();
        if claim.allowed.is_empty() {
            claim.allowed.push(None);
        }
        claim.allowed.push(value);
    }

    /// A disk that holds these keys was set back to an older time: writes since then may be lost, unless another
    /// machine holds them.
    pub fn set_back(&mut self, to: Mono, is_there: impl Fn(&DocumentRef, &KeyPath) -> bool) {
        for (_, claim) in self.claims.iter_mut().filter(|((document, key), _)| is_there(document, key)) {
            let older = claim.history.iter().rposition(|(at, _)| *at < to);
            claim
                .allowed
                .extend(claim.history.iter().skip(older.unwrap_or(0)).map(|(_, value)| value.clone()));
            if older.is_none() {
                claim.allowed.push(None);
            }
        }
    }

    /// Stops checking keys whose writer has lost the right to write them.
    pub fn forget(&mut self, gone: impl Fn(&DocumentRef, &KeyPath) -> bool) {
        self.claims.retain(|(document, key), _| !gone(document, key));
    }

    /// How many keys are watched.
    pub fn watched(&self) -> usize {
        self.claims.len()
    }

    /// Checks that `seat` reads an acknowledged value at each key that counts.
    ///
    /// # Errors
    ///
    /// Describes the first key where it does not.
    pub fn lost(
        &self,
        simulation: &mut Simulation,
        document: &DocumentRef,
        seat: Seat,
        counts: impl Fn(&KeyPath) -> bool,
    ) -> Result<(), String> {
        let doc = document.text(simulation);
        let claims = self.claims.iter().filter(|((of, key), _)| of == document && counts(key));
        for ((_, key), ExpectedValue { allowed, .. }) in claims {
            let found = match simulation.ask(seat, Query::Get { doc: doc.clone(), key: Some(key.clone()) }) {
                Ok(Reply::Value(value)) => Some(value),
                Err(CommandError::UnknownKey { .. }) => None,
                other => return Err(format!("{seat:?} cannot read {key} of {document:?}: {other:?}")),
            };
            if !allowed.contains(&found) {
                return Err(format!(
                    "{seat:?} reads {found:?} at {key} of {document:?}, acknowledged was {allowed:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Documents by owner's DID and name, each with the hash of its merged view.
pub type Hashes = BTreeMap<(String, String), String>;

/// The documents that a machine lists.
pub fn hashes(simulation: &mut Simulation, seat: Seat) -> Hashes {
    match simulation.ask(seat, Query::List) {
        Ok(Reply::Documents(list)) => list.into_iter().map(|d| ((d.owner, d.name), d.hash)).collect(),
        other => unreachable!("List is answered with the documents, not {other:?}"),
    }
}

/// Checks that every document reads the same at its owner and at each of its readers, and that no other machine lists
/// it. `reads(owner, reader)` returns whether a machine may read.
///
/// # Errors
///
/// Describes the first document and machine where that does not hold.
pub fn in_step(
    simulation: &mut Simulation,
    documents: &[DocumentRef],
    reads: impl Fn(Seat, Seat) -> bool,
) -> Result<(), String> {
    let lists: Vec<(Seat, Hashes)> =
        simulation.seats().into_iter().map(|seat| (seat, hashes(simulation, seat))).collect();
    for document in documents {
        let key = (simulation.did(document.owner), document.name.clone());
        let of = |seat: Seat| lists.iter().find(|(s, _)| *s == seat).and_then(|(_, list)| list.get(&key));
        let Some(truth) = of(document.owner) else {
            return Err(format!("the owner of {document:?} does not list it"));
        };
        for (seat, _) in lists.iter().filter(|(seat, _)| *seat != document.owner) {
            match of(*seat) {
                Some(_) if !reads(document.owner, *seat) => {
                    return Err(format!("{seat:?} lists {document:?}, which it may not read"));
                }
                None if reads(document.owner, *seat) => return Err(format!("{seat:?} lacks {document:?}")),
                Some(hash) if hash != truth => return Err(format!("{seat:?} reads {document:?} otherwise")),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Checks that each machine holds the newest node state of each peer that lets it.
///
/// # Errors
///
/// Describes the first pair of machines where that does not hold.
pub fn states_in_step(simulation: &mut Simulation, reads: impl Fn(Seat, Seat) -> bool) -> Result<(), String> {
    for owner in simulation.seats() {
        let Ok(truth) = simulation.ask(owner, Query::State { peer: None }) else { continue };
        let did = simulation.did(owner);
        for reader in simulation.seats() {
            if reader == owner || !reads(owner, reader) {
                continue;
            }
            match simulation.ask(reader, Query::State { peer: Some(did.clone()) }) {
                Ok(held) if held == truth => {}
                other => {
                    return Err(format!("{reader:?} has {other:?} as the state of {owner:?}, not {truth:?}"));
                }
            }
        }
    }
    Ok(())
}

/// Returns the content of a document, which is the same at all of these machines.
///
/// # Errors
///
/// Describes the first machine that cannot read it or reads another content.
pub fn same_content(
    simulation: &mut Simulation,
    document: &DocumentRef,
    seats: &[Seat],
) -> Result<Value, String> {
    let doc = document.text(simulation);
    let mut content = None;
    for seat in seats {
        let value = match simulation.ask(*seat, Query::Get { doc: doc.clone(), key: None }) {
            Ok(Reply::Value(value)) => value,
            other => return Err(format!("{seat:?} cannot read {document:?}: {other:?}")),
        };
        match &content {
            None => content = Some(value),
            Some(first) if *first == value => {}
            Some(first) => return Err(format!("{document:?} is {value:?} at {seat:?}, elsewhere {first:?}")),
        }
    }
    content.ok_or_else(|| format!("no machine was asked for {document:?}"))
}
