//! What people do.

use tombolo_delta::Value;
use tombolo_mesh::frame::keys::Mode;

use crate::federation::{RadioUse, TrustLevel};
use crate::layer::{KeyPath, Kind};
use crate::node::{Command, CommandError};
use crate::sim::Seat;
use crate::sim::checker::Place;
use crate::sim::faults::Fault;
use crate::sim::isles::{Day, Paper};
use crate::sim::scenario::{drawn_state, drawn_value};

impl Day {
    pub(super) fn deed(&mut self) {
        match self.dice.below(100) {
            0..=69 => self.write(),
            70..=79 => self.publish_snapshot(),
            80..=91 => self.publish_state(),
            92..=94 => self.change_policy(),
            95..=97 => self.change_level(),
            _ => self.remove_somebody(),
        }
    }

    fn wrong(&mut self, what: String) {
        self.report.wrongs.push(what);
    }

    fn write(&mut self) {
        let maps: Vec<Place> =
            self.papers.iter().filter(|p| p.kind == Kind::Map).map(|p| p.place.clone()).collect();
        let (Some(writer), Some(place)) =
            (self.dice.pick(&self.running()).copied(), self.dice.pick(&maps).cloned())
        else {
            return;
        };
        if self.unsettled.contains(&(place.owner, writer)) || self.unsettled.contains(&(writer, place.owner))
        {
            return self.write_without_a_right(writer, &place);
        }
        if !self.writes(place.owner, writer) {
            return self.intrude(writer, &place);
        }
        let own = self.dice.chance(600);
        let key = match own {
            true => own_key(writer, &format!("k{}", self.dice.below(5))),
            false => KeyPath::new(vec!["shared".to_owned(), format!("k{}", self.dice.below(6))]),
        };
        let Ok(key) = key else { return };
        let doc = place.text(&self.simulation);
        let deletes = self.dice.chance(120);
        let value = (!deletes).then(|| drawn_value(&mut self.dice, !own));
        let command = match &value {
            None => Command::Del { doc, key: key.clone() },
            Some(value) => Command::Set { doc, key: key.clone(), value: value.clone() },
        };
        let result = if self.dice.chance(50) {
            self.simulation.faults.count(Fault::CrashAmidWrite);
            let outputs = self.dice.below(6) as usize;
            let result = self.simulation.ask_and_crash(writer, command, outputs);
            self.crash_for_a_while(writer);
            result
        } else {
            Some(self.simulation.ask(writer, command))
        };
        match result {
            Some(Ok(_)) => {
                self.report.writes += 1;
                if own {
                    self.checker.acknowledged(&place, &key, value, self.simulation.time_ms());
                }
            }
            Some(Err(CommandError::UnknownKey { .. })) if deletes => {}
            Some(Err(CommandError::ReadOnly(_) | CommandError::UnknownDocument(_))) => {
                self.report.refused += 1
            }
            Some(Err(error)) => self.wrong(format!("{writer:?} cannot write {place:?}: {error}")),
            None if own => self.checker.attempted(&place, &key, value),
            None => {}
        }
    }

    /// Somebody whose right to write has changed: nothing is promised of what he writes.
    fn write_without_a_right(&mut self, writer: Seat, place: &Place) {
        let Ok(key) = KeyPath::new(vec!["unsettled".to_owned(), format!("node{}", writer.0)]) else { return };
        let value = drawn_value(&mut self.dice, false);
        let doc = place.text(&self.simulation);
        let _ = self.simulation.ask(writer, Command::Set { doc, key, value });
    }

    /// Somebody who may only read tries to write: it hears so, and nothing comes of it.
    fn intrude(&mut self, writer: Seat, place: &Place) {
        let Ok(key) = KeyPath::new(vec!["intruder".to_owned(), format!("node{}", writer.0)]) else { return };
        let doc = place.text(&self.simulation);
        match self.simulation.ask(writer, Command::Set { doc, key, value: Value::from(1u64) }) {
            Err(
                CommandError::ReadOnly(_) | CommandError::UnknownDocument(_) | CommandError::UnknownPeer(_),
            ) => {
                self.report.refused += 1;
            }
            other => self.wrong(format!("{writer:?} may only read {place:?}, and writing gave {other:?}")),
        }
    }

    fn publish_snapshot(&mut self) {
        let papers: Vec<Place> = self
            .papers
            .iter()
            .filter(|paper| paper.kind == Kind::Snapshot && self.simulation.is_running(paper.place.owner))
            .map(|paper| paper.place.clone())
            .collect();
        let Some(place) = self.dice.pick(&papers).cloned() else { return };
        if let Err(wrong) = self.put_snapshot(place.owner, &place) {
            self.wrong(wrong);
        }
    }

    pub(super) fn publish_state(&mut self) {
        let Some(seat) = self.dice.pick(&self.running()).copied() else { return };
        let state = drawn_state(&mut self.dice, seat, self.simulation.time_ms());
        if let Err(error) = self.simulation.ask(seat, Command::PublishState { state }) {
            self.wrong(format!("{seat:?} cannot publish its state: {error}"));
        }
    }

    // ---- rights ------------------------------------------------------------------------------------------

    /// A document is barred from the air, or let out. What is confidential stays so: older states of it may be
    /// anywhere.
    fn change_policy(&mut self) {
        let here: Vec<Paper> = self
            .papers
            .iter()
            .filter(|paper| paper.radio == RadioUse::Never && self.simulation.is_running(paper.place.owner))
            .cloned()
            .collect();
        let Some(paper) = self.dice.pick(&here).cloned() else { return };
        let doc = paper.place.text(&self.simulation);
        let policy = Command::Policy { doc, radio: Some(RadioUse::Full), confidential: None };
        let owner = paper.place.owner;
        match self.simulation.ask(owner, policy) {
            Ok(_) => {
                for other in self.papers.iter_mut().filter(|other| other.place == paper.place) {
                    other.radio = RadioUse::Full;
                }
                self.forget_backups(owner);
            }
            Err(error) => self.wrong(format!("{owner:?} cannot set a policy: {error}")),
        }
    }

    /// A pair that trusts each other and whose rights nobody has touched.
    fn some_pair(&mut self) -> Option<(Seat, Seat)> {
        let running = self.running();
        let pairs: Vec<(Seat, Seat)> = self
            .levels
            .iter()
            .filter(|((who, whom), level)| {
                running.contains(who)
                    && **level >= TrustLevel::Observer
                    && !self.unsettled.contains(&(*who, *whom))
                    && !self.unsettled.contains(&(*whom, *who))
            })
            .map(|(pair, _)| *pair)
            .collect();
        self.dice.pick(&pairs).copied()
    }

    fn change_level(&mut self) {
        let Some((who, whom)) = self.some_pair() else { return };
        let level = match self.level(who, whom) {
            TrustLevel::Trusted => TrustLevel::Observer,
            _ => TrustLevel::Trusted,
        };
        let peer = self.simulation.did(whom);
        self.simulation.faults.count(Fault::LevelChanged);
        match self.simulation.ask(who, Command::Trust { peer, level }) {
            Ok(_) => self.rights_changed(who, whom, level),
            Err(error) => self.wrong(format!("{who:?} cannot change the level of {whom:?}: {error}")),
        }
    }

    /// Somebody is removed; what is written next he must not read.
    fn remove_somebody(&mut self) {
        let Some((who, whom)) = self.some_pair() else { return };
        let peer = self.simulation.did(whom);
        self.simulation.faults.count(Fault::PeerRemoved);
        if let Err(error) = self.simulation.ask(who, Command::Remove { peer }) {
            return self.wrong(format!("{who:?} cannot remove {whom:?}: {error}"));
        }
        self.rights_changed(who, whom, TrustLevel::Untrusted);
        // What is shown to everybody in clear is shown to him as well.
        let shown = |paper: &Paper| self.mode == Mode::SignedClear && !paper.confidential;
        let maps = self.papers.iter().filter(|p| p.kind == Kind::Map && p.place.owner == who && !shown(p));
        for place in maps.map(|paper| paper.place.clone()).collect::<Vec<_>>() {
            let key = format!("canary{}", self.canaries.len());
            let (Ok(path), doc) = (own_key(who, &key), place.text(&self.simulation)) else { continue };
            let value = Value::from(format!("not for {whom:?}"));
            match self.simulation.ask(who, Command::Set { doc, key: path.clone(), value: value.clone() }) {
                Ok(_) => {
                    let time_ms = self.simulation.time_ms();
                    self.checker.acknowledged(&place, &path, Some(value), time_ms);
                    self.canaries.push((place, key, whom));
                }
                Err(error) => self.wrong(format!("{who:?} cannot write {place:?}: {error}")),
            }
        }
    }

    fn rights_changed(&mut self, who: Seat, whom: Seat, level: TrustLevel) {
        self.levels.insert((who, whom), level);
        self.unsettled.insert((who, whom));
        let (own, other) = (format!("node{}", whom.0), format!("node{}", who.0));
        let is_of = |key: &KeyPath, whose: &String| key.segments().get(1).is_some_and(|name| name == whose);
        // What the one writes in the other's documents: either may have lost the right to it.
        self.checker.forget(|place, key| {
            place.owner == who && is_of(key, &own) || place.owner == whom && is_of(key, &other)
        });
        self.forget_backups(who);
    }

    /// A backup from before a change of rights would undo it.
    fn forget_backups(&mut self, seat: Seat) {
        self.backups.remove(&seat);
    }
}

/// A key that one machine alone writes.
pub(super) fn own_key(writer: Seat, key: &str) -> Result<KeyPath, crate::layer::KeyError> {
    KeyPath::new(vec!["own".to_owned(), format!("node{}", writer.0), key.to_owned()])
}
