//! Who there is: machines, trust, documents; then cables and radios.

use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::Value;
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::Rules;
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::station::CallSign;

use crate::federation::{RadioUse, TrustLevel};
use crate::layer::Kind;
use crate::node::radio::RadioSpec;
use crate::node::radio::brief::BriefField;
use crate::node::{Command, NodeSettings};
use crate::sim::checker::Place;
use crate::sim::ether::ChannelId;
use crate::sim::field::UNLIMITED;
use crate::sim::isles::{Day, HOUR_MS, MINUTE_MS, Paper};
use crate::sim::{Seat, Simulation};

/// Snapshots have this name, so that a brief can be set for it at the start.
pub(super) const SNAPSHOT: &str = "tide-table";

impl Day {
    pub(super) fn found(&mut self) -> Result<(), String> {
        let (least, most) = self.plan.machines;
        let mut drawn = || self.dice.between(least as u64, most as u64);
        let brief = BTreeMap::from([("level".to_owned(), BriefField { round: Some(10.0), threshold: 15.0 })]);
        for i in 0..drawn().min(drawn()) {
            let briefs = BTreeMap::from([(SNAPSHOT.to_owned(), brief.clone())]);
            let (name, heartbeat_ms) = (format!("node{i}"), self.plan.heartbeat_ms);
            self.simulation.add(NodeSettings { name, heartbeat_ms, briefs, ..NodeSettings::default() });
        }
        self.federate_all()?;
        for owner in self.simulation.seats() {
            self.write_papers(owner)?;
        }
        self.simulation.run_for(5 * MINUTE_MS);
        Ok(())
    }

    /// A ring, so that nobody stands alone, and most of the chords.
    fn federate_all(&mut self) -> Result<(), String> {
        let seats = self.simulation.seats();
        for (i, a) in seats.iter().enumerate() {
            for (j, b) in seats.iter().enumerate().skip(i + 1) {
                let in_ring = j == i + 1 || (i == 0 && j + 1 == seats.len());
                if !in_ring && !self.dice.chance(850) {
                    continue;
                }
                let (inviter, joiner) = if self.dice.chance(500) { (*a, *b) } else { (*b, *a) };
                let level = if self.dice.chance(100) { TrustLevel::Observer } else { TrustLevel::Trusted };
                self.simulation.federate(inviter, joiner, level, HOUR_MS)?;
                self.levels.insert((inviter, joiner), level);
                self.levels.insert((joiner, inviter), TrustLevel::Trusted);
            }
        }
        Ok(())
    }

    fn write_papers(&mut self, owner: Seat) -> Result<(), String> {
        let mut names = vec![("log".to_owned(), Kind::Map)];
        if self.dice.chance(400) {
            names.push(("roster".to_owned(), Kind::Map));
        }
        if self.dice.chance(500) {
            names.push((SNAPSHOT.to_owned(), Kind::Snapshot));
        }
        for (name, kind) in names {
            let place = Place { owner, name: name.clone() };
            let create = Command::Create { name, kind };
            self.simulation.ask(owner, create).map_err(|e| format!("{owner:?} cannot create: {e}"))?;
            let mut paper = Paper { place: place.clone(), kind, radio: RadioUse::Full, confidential: true };
            let brief = kind == Kind::Snapshot;
            match self.dice.below(10) {
                0 | 1 => paper.radio = RadioUse::Never,
                2 | 3 if brief => paper.radio = RadioUse::Brief,
                _ => {}
            }
            paper.confidential = self.mode == Mode::Encrypted || self.dice.chance(400);
            let policy = Command::Policy {
                doc: place.text(&self.simulation),
                radio: Some(paper.radio),
                confidential: Some(paper.confidential),
            };
            self.simulation.ask(owner, policy).map_err(|e| format!("{owner:?} cannot set a policy: {e}"))?;
            if kind == Kind::Snapshot {
                self.put_snapshot(owner, &place)?;
            }
            self.papers.push(paper);
        }
        Ok(())
    }

    pub(super) fn put_snapshot(&mut self, owner: Seat, place: &Place) -> Result<(), String> {
        let value = Value::map([
            ("level", Value::from(self.dice.below(1_000) as f64 / 10.0)),
            ("serial", Value::from(self.simulation.time_ms())),
            ("remark", Value::from("slack water ".repeat(self.dice.below(6) as usize).as_str())),
        ]);
        let whole = self.dice.chance(500);
        let put = Command::Put { doc: place.text(&self.simulation), value: value.clone(), whole };
        match self.simulation.ask(owner, put) {
            Ok(_) => {
                self.report.writes += 1;
                self.snapshots.insert(place.clone(), vec![value]);
                Ok(())
            }
            Err(error) => Err(format!("{owner:?} cannot put {place:?}: {error}")),
        }
    }

    // ---- radios and cables -------------------------------------------------------------------------------

    /// Everybody goes where he lives: some without a cable, most with a radio, nobody with neither.
    pub(super) fn leave(&mut self) {
        let seats = self.simulation.seats();
        let mut channels = vec![self.channel()];
        if self.dice.chance(300) {
            channels.push(self.channel());
        }
        let cabled = self.dice.between(100, 900) as u32;
        for (n, seat) in seats.iter().enumerate() {
            let mut his = BTreeSet::new();
            if self.dice.chance(cabled) {
                self.cabled.insert(*seat);
            }
            if !self.cabled.contains(seat) || self.dice.chance(700) {
                his.insert(n % channels.len());
                // Every channel has somebody who hears the others as well.
                if n == 0 || self.dice.chance(300) {
                    his.extend(0..channels.len());
                }
            }
            for n in his {
                if let Some((channel, spec)) = channels.get(n) {
                    let name = format!("radio{n}");
                    self.simulation.add_radio(*seat, *channel, RadioSpec { name, ..spec.clone() });
                }
            }
        }
        for seat in seats.iter().filter(|seat| !self.cabled.contains(seat)) {
            for other in seats.iter().filter(|other| *other != seat) {
                self.simulation.cut(*seat, *other);
            }
        }
        // The last messages are in, and the last link is known to be down.
        self.simulation.run_for(MINUTE_MS);
        self.note_what_left();
    }

    fn channel(&mut self) -> (ChannelId, RadioSpec) {
        let modulation = if self.dice.chance(500) { Modulation::SF7_125 } else { Modulation::LONG_FAST };
        let line = PhyRate::lora(modulation);
        let duty_permille = *self.dice.pick(&[None, None, Some(100), Some(10)]).unwrap_or(&None);
        let clear = self.mode == Mode::SignedClear;
        let call_sign = clear.then(|| CallSign { text: "DL0TIDE".to_owned(), every_ms: 10 * MINUTE_MS });
        let spec = RadioSpec {
            name: String::new(),
            mode: self.mode,
            frame_bytes_max: *self.dice.pick(&[50, 120, 163, 231, 255]).unwrap_or(&231),
            frame_bytes_min: 0,
            call_sign,
            line,
            ledger: LedgerConfig::new(Some(Rules { duty_permille, clear_only: clear, ..UNLIMITED })),
            sign_every: if self.dice.chance(250) { 8 } else { 1 },
            rules_text: "isles of a simulation".to_owned(),
        };
        (self.simulation.add_channel(line), spec)
    }

    /// What machines without a cable hold of what no radio may bring them.
    fn note_what_left(&mut self) {
        let barred = self.barred_papers();
        for seat in self.simulation.seats().into_iter().filter(|seat| !self.cabled.contains(seat)) {
            for (id, sequence) in self.layers_of(seat, &barred) {
                self.left_with.insert((seat, id), sequence);
            }
        }
    }

    pub(super) fn barred_papers(&self) -> Vec<Place> {
        let barred = self.papers.iter().filter(|paper| !paper.goes_on_air(self.mode));
        barred.map(|paper| paper.place.clone()).collect()
    }

    /// The layers that a machine holds of these documents.
    pub(super) fn layers_of(
        &self,
        seat: Seat,
        places: &[Place],
    ) -> Vec<(crate::layer::LayerId, crate::layer::Sequence)> {
        let simulation: &Simulation = &self.simulation;
        let Some(node) = simulation.node(seat) else { return Vec::new() };
        let wanted: BTreeSet<_> =
            places.iter().map(|place| (simulation.peer_id(place.owner), place.name.as_str())).collect();
        let heads = node.layers_held().map(|signed| &signed.head);
        let of = heads.filter(|head| {
            let document = &head.layer.document;
            wanted.contains(&(document.owner, document.name.as_str()))
        });
        of.map(|head| (head.layer.clone(), head.sequence)).collect()
    }
}
