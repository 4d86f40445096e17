//! The faults end: what must hold over the radios and cables that there are. Then all machines are on one cable: what
//! must hold for all of them.

use std::collections::BTreeSet;

use tombolo::layer::{DocumentName, KeyPath, Kind};
use tombolo::node::{CommandError, Query, Reply, Write};
use tombolo::time::Millis;
use tombolo_delta::Value;
use tombolo_mesh::bulk::fragment::MemoryLimits;
use tombolo_mesh::emulated::{Faults as AirFaults, Loss};
use tombolo_mesh::frame::keys::Mode;

use crate::chaos::{Canary, Chaos, DrawnDocument};
use crate::checker::{Hashes, hashes, same_content, states_in_step};
use crate::day::{Day, Patience, name_of, own_key, wait_in_step};
use crate::faults::Rates;
use crate::{HOUR, MINUTE, MS, Seat};

/// The longest time between two looks whether all are in step.
const LOOK: Millis = Millis::from_secs(600);

impl Chaos {
    /// The network and the clocks work from now on. A machine whose clock was wrong is vouched for where its node asks for that, and
    /// writes once more in each document that it may write, so that its stamps are put right.
    pub(super) fn end_faults(&mut self) {
        self.day.simulation.rates = Rates::CLEAN;
        for channel in self.day.simulation.channels() {
            let air = self.day.simulation.air(channel);
            air.set_loss(Loss::NONE);
            air.set_faults(AirFaults::default());
        }
        let seats = self.day.simulation.seats();
        for seat in &seats {
            let clock = self.day.draw_right_clock();
            self.day.simulation.set_clock(*seat, clock);
            self.day.simulation.restart(*seat);
            self.plug_cable(*seat, self.cabled.contains(seat));
            for (link, channel, radio) in self.day.simulation.radios(*seat) {
                self.day.simulation.plug_radio(link);
                let others =
                    seats.iter().flat_map(|other| self.day.simulation.radios(*other)).collect::<Vec<_>>();
                let air = self.day.simulation.air(channel);
                for (_, _, other) in others.into_iter().filter(|(_, of, _)| *of == channel) {
                    air.set_hear_each_other(radio, other, true);
                }
            }
        }
        self.day.simulation.run_for(MINUTE);
        self.day.vouch_for_clocks();
        self.day.simulation.run_for(MINUTE);
        for seat in self.day.erring.clone() {
            for drawn in self.documents.clone().iter().filter(|drawn| drawn.kind == Kind::Map) {
                let owner = drawn.document.owner;
                if self.is_settled(owner, seat) && self.day.trust.writes(owner, seat) {
                    self.day.restamp(seat, &drawn.document);
                }
            }
        }
        self.note_secrets();
    }

    // ---- over the links that there are ------------------------------------------------------------------------------

    pub(super) fn await_quiescence(&mut self) -> Result<(), String> {
        let patience = Patience {
            began: self.day.simulation.time(),
            within: self.plan.quiescence,
            pause: (MINUTE, LOOK),
            pause_part: 8,
        };
        let look = |run: &mut Chaos| run.in_step(|run, drawn, a, b| run.are_linked(drawn, a, b));
        match wait_in_step(self, &patience, look) {
            Ok(converged) => self.day.report.converged = converged,
            Err((waited, why)) => {
                let holdings = self.describe_holdings();
                return Err(format!("not in step {} ms after the faults: {why}; {holdings}", waited.ms()));
            }
        }
        self.check_contents(|run, drawn, a, b| run.are_linked(drawn, a, b))?;
        self.check_barred()?;
        self.check_canaries()
    }

    /// The links, levels and sequences of each machine, for the person who looks for a fault.
    fn describe_holdings(&self) -> String {
        let mut text = format!("levels {:?}, on cables {:?}", self.day.trust, self.cabled);
        for seat in self.day.simulation.seats() {
            let channels: Vec<_> =
                self.day.simulation.radios(seat).iter().map(|(_, channel, _)| *channel).collect();
            text += &format!("\n{seat:?} on {channels:?} holds");
            for drawn in &self.documents {
                for author in self.day.simulation.seats() {
                    let sequence = self.day.simulation.sequence_held(seat, &drawn.document, author);
                    let (owner, name) = (drawn.document.owner.0, &drawn.document.name);
                    text += &format!(" {owner}/{name} by {}: {sequence};", author.0);
                }
            }
        }
        text
    }

    /// Whether two readers of a document pass it on to each other, by cable or on air.
    fn are_linked(&self, drawn: &DrawnDocument, a: Seat, b: Seat) -> bool {
        let channels = |seat| {
            self.day
                .simulation
                .radios(seat)
                .into_iter()
                .map(|(_, channel, _)| channel)
                .collect::<BTreeSet<_>>()
        };
        let cable = self.cabled.contains(&a) && self.cabled.contains(&b);
        let air = drawn.goes_on_air(self.mode) && !channels(a).is_disjoint(&channels(b));
        self.day.trust.are_peers(a, b) && (cable || air)
    }

    /// The owner, and the readers of a document that are reached from it over other readers.
    fn reached(
        &self,
        drawn: &DrawnDocument,
        linked: impl Fn(&Chaos, &DrawnDocument, Seat, Seat) -> bool,
    ) -> Vec<Seat> {
        let owner = drawn.document.owner;
        let mut outside = self.day.simulation.seats();
        outside.retain(|seat| *seat != owner && self.day.trust.reads(owner, *seat));
        let mut reached = vec![owner];
        let mut next = 0;
        while let Some(from) = reached.get(next).copied() {
            next += 1;
            let (near, far): (Vec<Seat>, Vec<Seat>) =
                outside.into_iter().partition(|to| linked(self, drawn, from, *to));
            reached.extend(near);
            outside = far;
        }
        reached
    }

    fn in_step(
        &mut self,
        linked: impl Fn(&Chaos, &DrawnDocument, Seat, Seat) -> bool + Copy,
    ) -> Result<(), String> {
        let seats = self.day.simulation.seats();
        let lists: Vec<(Seat, Hashes)> =
            seats.iter().map(|seat| (*seat, hashes(&mut self.day.simulation, *seat))).collect();
        for drawn in &self.documents {
            let document = &drawn.document;
            let key = (self.day.simulation.did(document.owner), document.name.clone());
            let of = |seat: Seat| lists.iter().find(|(s, _)| *s == seat).and_then(|(_, list)| list.get(&key));
            let Some(truth) = of(document.owner) else { return Err(format!("{document:?} is gone")) };
            for seat in self.reached(drawn, linked) {
                match of(seat) {
                    Some(hash) if hash == truth => {}
                    Some(_) => return Err(format!("{seat:?} reads {drawn:?} otherwise")),
                    None => return Err(format!("{seat:?} lacks {drawn:?}")),
                }
            }
            for seat in seats.iter().filter(|seat| **seat != document.owner && of(**seat).is_some()) {
                if self.is_settled(document.owner, *seat) && !self.day.trust.reads(document.owner, *seat) {
                    return Err(format!("{seat:?} lists {document:?}, which it may not read"));
                }
            }
        }
        Ok(())
    }

    fn check_contents(
        &mut self,
        linked: impl Fn(&Chaos, &DrawnDocument, Seat, Seat) -> bool + Copy,
    ) -> Result<(), String> {
        for drawn in self.documents.clone() {
            let document = &drawn.document;
            let seats = self.reached(&drawn, linked);
            let content = same_content(&mut self.day.simulation, document, &seats)?;
            if content.get("intruder").is_some() {
                return Err(format!("{document:?} holds what a reader without the right to write wrote"));
            }
            if let Some(allowed) = self.snapshots.get(document)
                && !allowed.contains(&content)
            {
                return Err(format!("{document:?} reads {content:?}, acknowledged was {allowed:?}"));
            }
            // What a writer wrote that is not reached from here is not here yet.
            let reached: Vec<String> = seats.iter().map(|seat| name_of(*seat)).collect();
            let is_here = |key: &KeyPath| {
                key.segments().nth(1).is_some_and(|whose| reached.iter().any(|name| name == whose))
            };
            self.day.checker.lost(&mut self.day.simulation, document, document.owner, is_here)?;
        }
        Ok(())
    }

    /// What no radio may carry did not reach the machines that have only radios.
    fn check_barred(&mut self) -> Result<(), String> {
        let barred = self.barred_documents();
        for seat in self.day.simulation.seats().into_iter().filter(|seat| !self.cabled.contains(seat)) {
            let me = self.day.simulation.peer_id(seat);
            for (id, sequence) in self.layers_of(seat, &barred).into_iter().filter(|(id, _)| id.author != me)
            {
                let left_with = self.left_with.get(&(seat, id.clone()));
                if left_with.is_none_or(|left_with| sequence > *left_with) {
                    let name = id.document.name.as_str();
                    return Err(format!(
                        "{seat:?} got {name} at {sequence:?} by radio, which must not carry it ({left_with:?})"
                    ));
                }
            }
        }
        Ok(())
    }

    /// A removed machine reads nothing that was written since.
    pub(super) fn check_canaries(&mut self) -> Result<(), String> {
        for Canary { document, key, removed } in self.canaries.clone() {
            if !self.day.simulation.is_running(removed) {
                continue;
            }
            let path = own_key(document.owner, &key);
            let get = Query::Get { doc: document.text(&self.day.simulation), key: Some(path) };
            match self.day.simulation.ask(removed, get) {
                Err(CommandError::UnknownKey { .. } | CommandError::UnknownDocument(_)) => {}
                other => {
                    let owner = document.owner;
                    return Err(format!("{removed:?} was removed by {owner:?} and reads {key}: {other:?}"));
                }
            }
        }
        Ok(())
    }

    /// Confidential layers that are signed by now must not be sent in clear.
    pub(super) fn note_secrets(&mut self) {
        if self.mode == Mode::Encrypted {
            return;
        }
        let mut secrets = Vec::new();
        for seat in self.day.running() {
            let Some(node) = self.day.simulation.node(seat) else { continue };
            for signed in node.report().replica.layers().layers().map(|layer| &layer.signed) {
                let document = &signed.head.layer.document;
                let is_shown = self.documents.iter().any(|drawn| {
                    !drawn.confidential
                        && document.name.as_str().starts_with(&drawn.document.name)
                        && self.day.simulation.peer_id(drawn.document.owner) == document.owner
                });
                if !is_shown && document.name.as_str() != DocumentName::AUDIENCE {
                    secrets.push(signed.signature);
                }
            }
        }
        for secret in secrets {
            self.day.simulation.monitor().keep_secret(&secret);
        }
    }

    // ---- on one cable ------------------------------------------------------------------------------------

    /// All machines are put on one cable, and read the same.
    pub(super) fn join_one_cable(&mut self) -> Result<(), String> {
        let seats = self.day.simulation.seats();
        self.cabled.extend(seats.iter().copied());
        for seat in &seats {
            self.plug_cable(*seat, true);
        }
        let patience = Patience {
            began: self.day.simulation.time(),
            within: self.plan.one_cable,
            pause: (500 * MS, MINUTE),
            pause_part: 4,
        };
        let failed = |(waited, why): (Millis, String)| {
            format!("not in step {} ms after all were on one cable: {why}", waited.ms())
        };
        wait_in_step(self, &patience, Chaos::in_step_on_one_cable).map_err(failed)?;
        self.check_contents(|run, _, a, b| run.day.trust.are_peers(a, b))?;
        self.check_canaries()
    }

    fn in_step_on_one_cable(&mut self) -> Result<(), String> {
        self.in_step(|run, _, a, b| run.day.trust.are_peers(a, b))?;
        let Day { simulation, trust, .. } = &mut self.day;
        states_in_step(simulation, |owner, reader| trust.are_peers(owner, reader))
    }

    /// With all machines on one cable no frame with content goes on air, whatever is written. A machine that was removed
    /// does not know it and goes on to send what it writes; no cable joins it to the one that removed it.
    pub(super) fn check_silence(&mut self) -> Result<(), String> {
        if self.unsettled.iter().any(|(who, whom)| !self.day.trust.are_peers(*who, *whom)) {
            return Ok(());
        }
        // What the radios had begun is out by then, and in no ledger's hour any more.
        self.day.simulation.run_for(3 * HOUR);
        let began = self.day.simulation.time();
        for _ in 0..6 {
            self.day.publish_state();
            let owned: Vec<_> = self.documents.iter().filter(|p| p.kind == Kind::Map).cloned().collect();
            if let Some(DrawnDocument { document, .. }) = self.day.rng.pick(&owned).cloned() {
                let key = own_key(document.owner, "ashore");
                let (doc, value) = (document.text(&self.day.simulation), Value::from(self.day.rng.bits()));
                let done = self.day.simulation.ask(document.owner, Write::Set { doc, key, value });
                done.map_err(|error| {
                    format!("{:?} cannot write its own {document:?}: {error}", document.owner)
                })?;
            }
            let pause = self.day.rng.length(100 * MS, 5 * MINUTE);
            self.day.simulation.run_for(pause);
        }
        let mut ledgers = self.content_in_ledgers();
        self.day.simulation.run_for(HOUR);
        ledgers.extend(self.content_in_ledgers());
        let frames = self.day.simulation.monitor().content_since(began);
        match frames.is_empty() && ledgers.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "content went on air though all are on one cable: {frames:?}, {ledgers:?}; {}",
                self.describe_holdings()
            )),
        }
    }

    /// The airtime of the last hour that was for content, by machine: all but heartbeats and frontiers, in fragments or whole.
    fn content_in_ledgers(&mut self) -> Vec<(Seat, String, f64)> {
        let mut spent = Vec::new();
        for seat in self.day.running() {
            let Ok(Reply::Airtime(radios)) = self.day.simulation.ask(seat, Query::Airtime) else { continue };
            let rows = radios.into_iter().flat_map(|radio| radio.by_account);
            // `OWNER/NAME by AUTHOR`; the other accounts are what a radio needs for itself, also where it repeats a fragment.
            let content = rows.filter(|row| row.hour_s > 0.0 && row.what.contains(" by "));
            spent.extend(content.map(|row| (seat, row.what, row.hour_s)));
        }
        spent
    }

    // ---- accounts ----------------------------------------------------------------------------------------

    pub(super) fn check_memory(&mut self) -> Result<(), String> {
        for seat in self.day.running() {
            let radios = self.day.simulation.radios(seat).len();
            let held = self.day.simulation.node(seat).map_or(0, |node| node.report().broadcast.bytes_held());
            if held > radios * MemoryLimits::default().bytes_max {
                return Err(format!("{seat:?} holds {held} bytes of messages not whole yet"));
            }
        }
        Ok(())
    }
}
