//! The machines, their trust and their documents; then their cables and radios.

use std::collections::{BTreeMap, BTreeSet};

use tombolo::core::BriefField;
use tombolo::federation::RadioUse;
use tombolo::io::RadioSpec;
use tombolo::layer::{Kind, LayerId, Sequence};
use tombolo::node::{Admin, NodeSettings, Write};
use tombolo_delta::Value;
use tombolo_mesh::airtime::ledger::LedgerConfig;
use tombolo_mesh::airtime::region::Rules;
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::frame::keys::Mode;
use tombolo_mesh::station::CallSign;

use crate::chaos::{Chaos, DrawnDocument};
use crate::checker::DocumentRef;
use crate::ether::ChannelId;
use crate::field::UNLIMITED;
use crate::{MINUTE, Seat};

/// Snapshots have this name, so that a brief can be set for it at the start.
pub(super) const SNAPSHOT: &str = "tide-table";
/// Pairs beside the ring that know each other, per thousand.
const CHORDS_PERMILLE: u32 = 850;
/// Members that may only read, per thousand.
const OBSERVERS_PERMILLE: u32 = 100;

impl Chaos {
    pub(super) fn set_up(&mut self) -> Result<(), String> {
        let brief = BTreeMap::from([("level".to_owned(), BriefField { round: Some(10.0), threshold: 15.0 })]);
        for i in 0..self.day.draw_machines(self.plan.machines) {
            let briefs = BTreeMap::from([(SNAPSHOT.to_owned(), brief.clone())]);
            let (name, heartbeat) = (format!("node{i}"), self.plan.heartbeat);
            self.day.simulation.add(NodeSettings { name, heartbeat, briefs, ..NodeSettings::default() });
        }
        self.day.federate_all(CHORDS_PERMILLE, OBSERVERS_PERMILLE)?;
        for owner in self.day.simulation.seats() {
            self.create_documents(owner)?;
        }
        self.day.simulation.run_for(5 * MINUTE);
        Ok(())
    }

    fn create_documents(&mut self, owner: Seat) -> Result<(), String> {
        let mut names = vec![("log".to_owned(), Kind::Map)];
        if self.day.rng.chance(400) {
            names.push(("roster".to_owned(), Kind::Map));
        }
        if self.day.rng.chance(500) {
            names.push((SNAPSHOT.to_owned(), Kind::Snapshot));
        }
        for (name, kind) in names {
            let document = DocumentRef { owner, name: name.clone() };
            let create = Write::Create { name, kind };
            self.day.simulation.ask(owner, create).map_err(|e| format!("{owner:?} cannot create: {e}"))?;
            let mut drawn =
                DrawnDocument { document: document.clone(), kind, radio: RadioUse::Full, confidential: true };
            let brief = kind == Kind::Snapshot;
            match self.day.rng.below(10) {
                0 | 1 => drawn.radio = RadioUse::Never,
                2 | 3 if brief => drawn.radio = RadioUse::Brief,
                _ => {}
            }
            drawn.confidential = self.mode == Mode::Encrypted || self.day.rng.chance(400);
            let policy = Admin::Policy {
                doc: document.text(&self.day.simulation),
                radio: Some(drawn.radio),
                confidential: Some(drawn.confidential),
            };
            self.day
                .simulation
                .ask(owner, policy)
                .map_err(|e| format!("{owner:?} cannot set a policy: {e}"))?;
            if kind == Kind::Snapshot {
                self.put_snapshot(owner, &document)?;
            }
            self.documents.push(drawn);
        }
        Ok(())
    }

    pub(super) fn put_snapshot(&mut self, owner: Seat, document: &DocumentRef) -> Result<(), String> {
        let value = Value::map([
            ("level", Value::from(self.day.rng.below(1_000) as f64 / 10.0)),
            ("serial", Value::from(self.day.simulation.time().ms())),
            ("remark", Value::from("slack water ".repeat(self.day.rng.below(6) as usize).as_str())),
        ]);
        let whole = self.day.rng.chance(500);
        let put = Write::Put { doc: document.text(&self.day.simulation), value: value.clone(), whole };
        match self.day.simulation.ask(owner, put) {
            Ok(_) => {
                self.day.report.writes += 1;
                self.snapshots.insert(document.clone(), vec![value]);
                Ok(())
            }
            Err(error) => Err(format!("{owner:?} cannot put {document:?}: {error}")),
        }
    }

    // ---- radios and cables -------------------------------------------------------------------------------

    /// Each machine gets its links: some have no cable, most have a radio, each has one of the two.
    pub(super) fn disperse(&mut self) {
        let seats = self.day.simulation.seats();
        let mut channels = vec![self.channel()];
        if self.day.rng.chance(300) {
            channels.push(self.channel());
        }
        let cabled = self.day.rng.between(100, 900) as u32;
        for (n, seat) in seats.iter().enumerate() {
            let mut its_channels = BTreeSet::new();
            if self.day.rng.chance(cabled) {
                self.cabled.insert(*seat);
            }
            if !self.cabled.contains(seat) || self.day.rng.chance(700) {
                its_channels.insert(n % channels.len());
                // Every channel has a machine that hears the others as well.
                if n == 0 || self.day.rng.chance(300) {
                    its_channels.extend(0..channels.len());
                }
            }
            for n in its_channels {
                if let Some((channel, spec)) = channels.get(n) {
                    let name = format!("radio{n}");
                    self.day.simulation.add_radio(*seat, *channel, RadioSpec { name, ..spec.clone() });
                }
            }
        }
        for seat in seats.iter().filter(|seat| !self.cabled.contains(seat)) {
            for other in seats.iter().filter(|other| *other != seat) {
                self.day.simulation.cut(*seat, *other);
            }
        }
        // The last messages are in, and the last link is known to be down.
        self.day.simulation.run_for(MINUTE);
        self.note_barred_layers();
    }

    fn channel(&mut self) -> (ChannelId, RadioSpec) {
        let modulation = if self.day.rng.chance(500) { Modulation::SF7_125 } else { Modulation::LONG_FAST };
        let line = PhyRate::lora(modulation);
        let duty_permille = *self.day.rng.pick(&[None, None, Some(100), Some(10)]).unwrap_or(&None);
        let clear = self.mode == Mode::SignedClear;
        let call_sign = clear.then(|| CallSign { text: "DL0TIDE".to_owned(), every: 10 * MINUTE });
        let spec = RadioSpec {
            name: String::new(),
            mode: self.mode,
            frame_bytes_max: *self.day.rng.pick(&[50, 120, 163, 231, 255]).unwrap_or(&231),
            frame_bytes_min: 0,
            call_sign,
            line,
            ledger: LedgerConfig::new(Some(Rules { duty_permille, clear_only: clear, ..UNLIMITED })),
            sign_every: if self.day.rng.chance(250) { 8 } else { 1 },
            rules_text: "isles of a simulation".to_owned(),
        };
        (self.day.simulation.add_channel(line), spec)
    }

    /// Notes what machines without a cable hold of what no radio may carry.
    fn note_barred_layers(&mut self) {
        let barred = self.barred_documents();
        for seat in self.day.simulation.seats().into_iter().filter(|seat| !self.cabled.contains(seat)) {
            for (id, sequence) in self.layers_of(seat, &barred) {
                self.left_with.insert((seat, id), sequence);
            }
        }
    }

    pub(super) fn barred_documents(&self) -> Vec<DocumentRef> {
        let barred = self.documents.iter().filter(|drawn| !drawn.goes_on_air(self.mode));
        barred.map(|drawn| drawn.document.clone()).collect()
    }

    /// The layers that a machine holds of these documents.
    pub(super) fn layers_of(&self, seat: Seat, documents: &[DocumentRef]) -> Vec<(LayerId, Sequence)> {
        let simulation = &self.day.simulation;
        let Some(node) = simulation.node(seat) else { return Vec::new() };
        let wanted: BTreeSet<_> = documents
            .iter()
            .map(|document| (simulation.peer_id(document.owner), document.name.as_str()))
            .collect();
        let heads = node.report().replica.layers().layers().map(|layer| layer.head());
        let of = heads.filter(|head| {
            let document = &head.layer.document;
            wanted.contains(&(document.owner, document.name.as_str()))
        });
        of.map(|head| (head.layer.clone(), head.sequence)).collect()
    }
}
