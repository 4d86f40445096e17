//! What the people of a federation do: writes, policies, changes of rights.

use tombolo::federation::{RadioUse, TrustLevel};
use tombolo::layer::{KeyPath, Kind};
use tombolo::node::{Admin, CommandError, Write};
use tombolo_delta::Value;
use tombolo_mesh::frame::keys::Mode;

use crate::Seat;
use crate::chaos::{Canary, Chaos, DrawnDocument};
use crate::checker::DocumentRef;
use crate::day::{WriteOdds, draw_value, key_of, name_of};
use crate::faults::Fault;

const ODDS: WriteOdds = WriteOdds { own_permille: 600, own_keys: 5, shared_keys: 6, crash_permille: 50 };

impl Chaos {
    pub(super) fn operate(&mut self) {
        match self.day.rng.below(100) {
            0..=69 => self.write(),
            70..=79 => self.publish_snapshot(),
            80..=91 => self.day.publish_state(),
            92..=94 => self.change_policy(),
            95..=97 => self.change_level(),
            _ => self.remove_peer(),
        }
    }

    fn write(&mut self) {
        let maps: Vec<DocumentRef> =
            self.documents.iter().filter(|p| p.kind == Kind::Map).map(|p| p.document.clone()).collect();
        let (Some(writer), Some(document)) = (self.day.pick_running(), self.day.rng.pick(&maps).cloned())
        else {
            return;
        };
        if !self.is_settled(document.owner, writer) {
            return self.write_without_a_right(writer, &document);
        }
        if !self.day.trust.writes(document.owner, writer) {
            return self.day.intrude(writer, &document, is_refusal);
        }
        if self.day.write(writer, &document, &ODDS) {
            self.crash_for_a_while(writer);
        }
    }

    /// A write of a machine whose right to write has changed: nothing is promised of it.
    fn write_without_a_right(&mut self, writer: Seat, document: &DocumentRef) {
        let key = key_of(["unsettled".to_owned(), name_of(writer)]);
        let value = draw_value(&mut self.day.rng, false);
        let doc = document.text(&self.day.simulation);
        let _ = self.day.simulation.ask(writer, Write::Set { doc, key, value });
    }

    fn publish_snapshot(&mut self) {
        let snapshots: Vec<DocumentRef> = self
            .documents
            .iter()
            .filter(|drawn| {
                drawn.kind == Kind::Snapshot && self.day.simulation.is_running(drawn.document.owner)
            })
            .map(|drawn| drawn.document.clone())
            .collect();
        let Some(document) = self.day.rng.pick(&snapshots).cloned() else { return };
        if let Err(wrong) = self.put_snapshot(document.owner, &document) {
            self.day.wrong(wrong);
        }
    }

    // ---- rights ------------------------------------------------------------------------------------------

    /// A document that radios must not carry may go on air from now on. What is confidential stays so: older states of
    /// it may be anywhere.
    fn change_policy(&mut self) {
        let here: Vec<DrawnDocument> = self
            .documents
            .iter()
            .filter(|drawn| {
                drawn.radio == RadioUse::Never && self.day.simulation.is_running(drawn.document.owner)
            })
            .cloned()
            .collect();
        let Some(drawn) = self.day.rng.pick(&here).cloned() else { return };
        let doc = drawn.document.text(&self.day.simulation);
        let policy = Admin::Policy { doc, radio: Some(RadioUse::Full), confidential: None };
        let owner = drawn.document.owner;
        match self.day.simulation.ask(owner, policy) {
            Ok(_) => {
                for other in self.documents.iter_mut().filter(|other| other.document == drawn.document) {
                    other.radio = RadioUse::Full;
                }
                self.forget_backups(owner);
            }
            Err(error) => self.day.wrong(format!("{owner:?} cannot set a policy: {error}")),
        }
    }

    /// A pair whose rights have not changed yet, of which the first runs and lets the second read.
    fn some_pair(&mut self) -> Option<(Seat, Seat)> {
        let running = self.day.running();
        let pairs: Vec<(Seat, Seat)> = self
            .day
            .trust
            .pairs()
            .filter(|((who, whom), level)| {
                running.contains(who) && *level >= TrustLevel::Observer && self.is_settled(*who, *whom)
            })
            .map(|(pair, _)| pair)
            .collect();
        self.day.rng.pick(&pairs).copied()
    }

    fn change_level(&mut self) {
        let Some((who, whom)) = self.some_pair() else { return };
        let level = match self.day.trust.level(who, whom) {
            TrustLevel::Trusted => TrustLevel::Observer,
            _ => TrustLevel::Trusted,
        };
        let peer = self.day.simulation.did(whom);
        self.day.simulation.faults.count(Fault::LevelChanged);
        match self.day.simulation.ask(who, Admin::Trust { peer, level }) {
            Ok(_) => self.rights_changed(who, whom, level),
            Err(error) => self.day.wrong(format!("{who:?} cannot change the level of {whom:?}: {error}")),
        }
    }

    /// A peer is removed; what is written next it must not read.
    fn remove_peer(&mut self) {
        let Some((who, whom)) = self.some_pair() else { return };
        let peer = self.day.simulation.did(whom);
        self.day.simulation.faults.count(Fault::PeerRemoved);
        if let Err(error) = self.day.simulation.ask(who, Admin::Remove { peer }) {
            return self.day.wrong(format!("{who:?} cannot remove {whom:?}: {error}"));
        }
        self.rights_changed(who, whom, TrustLevel::Untrusted);
        // What every radio may send in clear the removed peer reads as well.
        let shown = |drawn: &DrawnDocument| self.mode == Mode::SignedClear && !drawn.confidential;
        let maps =
            self.documents.iter().filter(|p| p.kind == Kind::Map && p.document.owner == who && !shown(p));
        for document in maps.map(|drawn| drawn.document.clone()).collect::<Vec<_>>() {
            let key = format!("canary{}", self.canaries.len());
            let value = Value::from(format!("not for {whom:?}"));
            match self.day.set_own(who, &document, &key, value) {
                Ok(()) => self.canaries.push(Canary { document, key, removed: whom }),
                Err(error) => self.day.wrong(format!("{who:?} cannot write {document:?}: {error}")),
            }
        }
    }

    fn rights_changed(&mut self, who: Seat, whom: Seat, level: TrustLevel) {
        self.day.trust.set(who, whom, level);
        self.unsettled.insert((who, whom));
        let (own, other) = (name_of(whom), name_of(who));
        let is_of = |key: &KeyPath, whose: &String| key.segments().nth(1).is_some_and(|name| name == whose);
        // What the one writes in the other's documents: either may have lost the right to it.
        self.day.checker.forget(|document, key| {
            document.owner == who && is_of(key, &own) || document.owner == whom && is_of(key, &other)
        });
        self.forget_backups(who);
    }

    /// A backup from before a change of rights would undo it.
    fn forget_backups(&mut self, seat: Seat) {
        self.backups.remove(&seat);
    }
}

/// What a machine without the right to write may get for an answer; one that was removed may know no such peer.
fn is_refusal(error: &CommandError) -> bool {
    matches!(
        error,
        CommandError::ReadOnly { .. } | CommandError::UnknownDocument(_) | CommandError::UnknownPeer(_)
    )
}
