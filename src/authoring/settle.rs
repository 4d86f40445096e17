//! Settles a conflict: writes one of the values that stand against each other once more, as an entry that has seen the others.

use std::collections::BTreeMap;

use super::writes::{stands_alone, writable};
use crate::authoring::{Authoring, WriteKind};
use crate::core::Core;
use crate::io::{CommandError, RequestId, ValueError};
use crate::layer::{CompactValue, Entry, KeyPath, Kind};
use crate::merge::{Document, Loser};
use crate::replica::Replica;

/// A conflict as an operator settles it.
pub(super) struct Settlement<'a> {
    pub(super) doc: &'a str,
    pub(super) key: &'a KeyPath,
    /// The author whose lost value is to show; none keeps what shows.
    pub(super) take: Option<&'a str>,
}

impl Authoring {
    /// Stages what ends a conflict: the value that stays, above the others and with the hash of what it does not repeat, so that no
    /// node shows that as lost any more. Of two that stand above or below one another, the other is deleted.
    pub(super) fn settle_conflict(
        &mut self,
        core: &mut Core,
        replica: &Replica,
        request: RequestId,
        settlement: &Settlement<'_>,
    ) -> Result<(), CommandError> {
        let Settlement { doc, key, take } = *settlement;
        let reference = core.reference();
        let unknown = || CommandError::UnknownKey { doc: doc.to_owned(), key: key.to_string() };
        let (id, kind) = writable(core, replica, doc)?;
        let document = replica.document(&id).filter(|_| kind == Kind::Map).ok_or_else(unknown)?;
        let winner = document.winner(key).ok_or_else(unknown)?;
        let losers = document.conflicts_at(key, reference);
        let value = match take {
            None if losers.iter().any(|loser| loser.hidden_by.is_some()) => None,
            None => winner.entry.value.clone(),
            Some(author) => taken(core, replica, &losers, author)?.ok_or_else(unknown)?.entry.value.clone(),
        };
        // Where nothing stands against what shows, it has been settled already.
        let wanted = match losers.is_empty() {
            true => BTreeMap::new(),
            false => settled(document, key, value),
        };
        for winner in wanted.keys().filter_map(|key| document.winner(key)) {
            core.clock.observe(winner.entry.stamp);
        }
        let mut changes = Vec::new();
        for (key, value) in wanted {
            let saw = document.seen_together(&key, &core.me, value.as_ref(), reference);
            let entry = Entry { stamp: core.clock.tick(), value, saw };
            entry.check(&key).map_err(|why| ValueError::Entry { key: key.clone(), why })?;
            changes.push((key, Some(entry)));
        }
        let deleted =
            changes.iter().flat_map(|(_, entry)| entry).filter(|entry| entry.is_tombstone()).count();
        let kind = WriteKind::Document { set: changes.len() - deleted, deleted };
        if !changes.is_empty() {
            self.staged.put_map(&id, changes);
        }
        self.staged.reply(request, &id, kind);
        Ok(())
    }
}

/// The loser of an author, by name, DID or prefix.
fn taken<'a>(
    core: &Core,
    replica: &Replica,
    losers: &'a [Loser],
    author: &str,
) -> Result<Option<&'a Loser>, CommandError> {
    let of = |loser: &&Loser| crate::identity::did(&loser.author) == author;
    if let Some(loser) = losers.iter().find(of) {
        return Ok(Some(loser));
    }
    let author = match author == core.settings.name {
        true => core.me,
        false => replica.resolve_peer(author)?,
    };
    Ok(losers.iter().find(|loser| loser.author == author))
}

/// The keys to write so that a value shows under a key, and what is written.
fn settled(
    document: &Document,
    key: &KeyPath,
    value: Option<CompactValue>,
) -> BTreeMap<KeyPath, Option<CompactValue>> {
    let mut wanted = BTreeMap::new();
    if value.is_some() {
        let above = key.parents().filter(|above| stands_alone(document, above));
        let below = document.look_below(key).filter(|(below, at)| *below != key && at.shown().is_some());
        wanted.extend(above.chain(below.map(|(below, _)| below.clone())).map(|other| (other, None)));
    }
    wanted.insert(key.clone(), value);
    wanted
}
