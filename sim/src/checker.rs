//! What must hold when the faults are over: the same bytes wherever a document may be read, nothing
//! acknowledged lost, nothing where it may not be.
//!
//! Last writer wins promises no more than that a write survives until somebody overwrites it. So survival is
//! checked on keys that one machine alone writes.

use std::collections::BTreeMap;

use tombolo::layer::KeyPath;
use tombolo::node::{Command, CommandError, Reply};
use tombolo_delta::Value;

use crate::{Seat, Simulation};

/// A document of a simulation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Whose it is.
    pub owner: Seat,
    /// What it is called.
    pub name: String,
}

impl Place {
    /// How a command names it, unmistakably.
    pub fn text(&self, simulation: &Simulation) -> String {
        format!("{}/{}", simulation.did(self.owner), self.name)
    }
}

/// What may stand at a key that one machine alone writes: what was acknowledged last, or what it tried
/// since without hearing an answer. `None` is a deletion.
#[derive(Clone, Debug, Default)]
struct Claim {
    allowed: Vec<Option<Value>>,
    /// All that was acknowledged, and when.
    history: Vec<(u64, Option<Value>)>,
}

/// Remembers what was acknowledged, and looks.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    claims: BTreeMap<(Place, KeyPath), Claim>,
}

impl Checker {
    /// A write to a key of its author alone was acknowledged at that time.
    pub fn acknowledged(&mut self, place: &Place, key: &KeyPath, value: Option<Value>, at_ms: u64) {
        let claim = self.claims.entry((place.clone(), key.clone())).or_default();
        claim.allowed = vec![value.clone()];
        claim.history.push((at_ms, value));
    }

    /// A write to such a key was begun, and its machine crashed before it answered.
    pub fn attempted(&mut self, place: &Place, key: &KeyPath, value: Option<Value>) {
        let claim = self.claims.entry((place.clone(), key.clone())).or_default();
        if claim.allowed.is_empty() {
            claim.allowed.push(None);
        }
        claim.allowed.push(value);
    }

    /// The disk that has these keys is as it was then: what was written since may be gone, unless somebody else
    /// has kept it.
    pub fn set_back(&mut self, to_ms: u64, is_there: impl Fn(&Place, &KeyPath) -> bool) {
        for (_, claim) in self.claims.iter_mut().filter(|((place, key), _)| is_there(place, key)) {
            let older = claim.history.iter().rposition(|(at_ms, _)| *at_ms <= to_ms);
            claim
                .allowed
                .extend(claim.history.iter().skip(older.unwrap_or(0)).map(|(_, value)| value.clone()));
            if older.is_none() {
                claim.allowed.push(None);
            }
        }
    }

    /// Whoever wrote these keys has no right to them any more: nothing is promised of them.
    pub fn forget(&mut self, gone: impl Fn(&Place, &KeyPath) -> bool) {
        self.claims.retain(|(place, key), _| !gone(place, key));
    }

    /// How many keys are watched.
    pub fn watched(&self) -> usize {
        self.claims.len()
    }

    /// The first key, if any, at which `seat` does not read what was acknowledged, of those that count.
    pub fn lost(
        &self,
        simulation: &mut Simulation,
        place: &Place,
        seat: Seat,
        counts: impl Fn(&KeyPath) -> bool,
    ) -> Result<(), String> {
        let doc = place.text(simulation);
        let claims = self.claims.iter().filter(|((of, key), _)| of == place && counts(key));
        for ((_, key), Claim { allowed, .. }) in claims {
            let found = match simulation.ask(seat, Command::Get { doc: doc.clone(), key: Some(key.clone()) })
            {
                Ok(Reply::Value(value)) => Some(value),
                Err(CommandError::UnknownKey { .. }) => None,
                other => return Err(format!("{seat:?} cannot read {key} of {place:?}: {other:?}")),
            };
            if !allowed.contains(&found) {
                return Err(format!(
                    "{seat:?} reads {found:?} at {key} of {place:?}, acknowledged was {allowed:?}"
                ));
            }
        }
        Ok(())
    }
}

/// Documents by owner's DID and name, each with the hash of its merged view.
pub type Hashes = BTreeMap<(String, String), String>;

/// What a machine lists.
pub fn hashes(simulation: &mut Simulation, seat: Seat) -> Hashes {
    match simulation.ask(seat, Command::List) {
        Ok(Reply::Documents(list)) => list.into_iter().map(|d| ((d.owner, d.name), d.hash)).collect(),
        other => unreachable!("List is answered with the documents, not {other:?}"),
    }
}

/// Whether every document reads the same at its owner and at each of its readers, and is nowhere else.
/// `reads(owner, reader)` says who may.
pub fn in_step(
    simulation: &mut Simulation,
    places: &[Place],
    reads: impl Fn(Seat, Seat) -> bool,
) -> Result<(), String> {
    let lists: Vec<(Seat, Hashes)> =
        simulation.seats().into_iter().map(|seat| (seat, hashes(simulation, seat))).collect();
    for place in places {
        let key = (simulation.did(place.owner), place.name.clone());
        let of = |seat: Seat| lists.iter().find(|(s, _)| *s == seat).and_then(|(_, list)| list.get(&key));
        let Some(truth) = of(place.owner) else {
            return Err(format!("the owner of {place:?} does not list it"));
        };
        for (seat, _) in lists.iter().filter(|(seat, _)| *seat != place.owner) {
            match of(*seat) {
                Some(_) if !reads(place.owner, *seat) => {
                    return Err(format!("{seat:?} lists {place:?}, which it may not read"));
                }
                None if reads(place.owner, *seat) => return Err(format!("{seat:?} lacks {place:?}")),
                Some(hash) if hash != truth => return Err(format!("{seat:?} reads {place:?} otherwise")),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether each machine holds the newest node state of each peer that lets it.
pub fn states_in_step(simulation: &mut Simulation, reads: impl Fn(Seat, Seat) -> bool) -> Result<(), String> {
    for owner in simulation.seats() {
        let Ok(truth) = simulation.ask(owner, Command::State { peer: None }) else { continue };
        let did = simulation.did(owner);
        for reader in simulation.seats() {
            if reader == owner || !reads(owner, reader) {
                continue;
            }
            match simulation.ask(reader, Command::State { peer: Some(did.clone()) }) {
                Ok(held) if held == truth => {}
                other => {
                    return Err(format!("{reader:?} has {other:?} as the state of {owner:?}, not {truth:?}"));
                }
            }
        }
    }
    Ok(())
}

/// The whole content of a document, byte for byte the same at all of these machines: their canonical CBOR.
pub fn same_content(simulation: &mut Simulation, place: &Place, seats: &[Seat]) -> Result<Value, String> {
    let doc = place.text(simulation);
    let mut content = None;
    for seat in seats {
        let value = match simulation.ask(*seat, Command::Get { doc: doc.clone(), key: None }) {
            Ok(Reply::Value(value)) => value,
            other => return Err(format!("{seat:?} cannot read {place:?}: {other:?}")),
        };
        match &content {
            None => content = Some(value),
            Some(first) if *first == value => {}
            Some(first) => return Err(format!("{place:?} is {value:?} at {seat:?}, elsewhere {first:?}")),
        }
    }
    content.ok_or_else(|| format!("nobody was asked for {place:?}"))
}
