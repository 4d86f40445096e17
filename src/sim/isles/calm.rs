//! The weather clears: what must hold over the radios and cables that there are. Then everybody is on one cable:
//! what must hold for all.

use std::collections::BTreeSet;

use tombolo_delta::Value;
use tombolo_mesh::bulk::fragment::MemoryLimits;
use tombolo_mesh::emulated::{Faults as AirFaults, Loss};
use tombolo_mesh::frame::keys::Mode;

use crate::federation::TrustLevel;
use crate::layer::{DocumentName, Kind};
use crate::node::{Command, CommandError, Reply};
use crate::sim::Seat;
use crate::sim::checker::{Hashes, hashes, same_content, states_in_step};
use crate::sim::faults::Rates;
use crate::sim::isles::deeds::own_key;
use crate::sim::isles::{Day, HOUR_MS, MINUTE_MS, Paper};

/// How often it is looked whether all are in step.
const LOOK_MS: u64 = 10 * MINUTE_MS;

impl Day {
    /// The network and the clocks do what they should from now on. Who had a wrong clock writes once more in each
    /// document it wrote, so that its stamps are put right.
    pub(super) fn clear_up(&mut self) {
        self.simulation.rates = Rates::CLEAN;
        for channel in self.simulation.channels() {
            let air = self.simulation.air(channel);
            air.set_loss(Loss::NONE);
            air.set_faults(AirFaults::default());
        }
        let seats = self.simulation.seats();
        for seat in &seats {
            let clock = self.right_clock();
            self.simulation.set_clock(*seat, clock);
            self.simulation.restart(*seat);
            self.plug_cable(*seat, self.cabled.contains(seat));
            for (link, channel, radio) in self.simulation.radios(*seat) {
                self.simulation.plug_radio(link);
                let others =
                    seats.iter().flat_map(|other| self.simulation.radios(*other)).collect::<Vec<_>>();
                let air = self.simulation.air(channel);
                for (_, _, other) in others.into_iter().filter(|(_, of, _)| *of == channel) {
                    air.set_hear_each_other(radio, other, true);
                }
            }
        }
        self.simulation.run_for(MINUTE_MS);
        for seat in self.erring.clone() {
            for paper in self.papers.clone().iter().filter(|paper| paper.kind == Kind::Map) {
                self.restamp(seat, paper);
            }
        }
        self.note_secrets();
    }

    fn restamp(&mut self, seat: Seat, paper: &Paper) {
        let owner = paper.place.owner;
        let settled = !self.unsettled.contains(&(owner, seat)) && !self.unsettled.contains(&(seat, owner));
        let Ok(key) = own_key(seat, "restamp") else { return };
        if !settled || !self.writes(owner, seat) {
            return;
        }
        let (doc, value) = (paper.place.text(&self.simulation), Value::from(self.dice.bits()));
        match self.simulation.ask(seat, Command::Set { doc, key: key.clone(), value: value.clone() }) {
            Ok(_) => {
                let time_ms = self.simulation.time_ms();
                self.checker.acknowledged(&paper.place, &key, Some(value), time_ms);
            }
            Err(error) => {
                self.report.wrongs.push(format!("{seat:?} cannot write {paper:?} after all: {error}"))
            }
        }
    }

    // ---- over what there is ------------------------------------------------------------------------------

    pub(super) fn calm_down(&mut self) -> Result<(), String> {
        let began_ms = self.simulation.time_ms();
        loop {
            let so_far_ms = self.simulation.time_ms() - began_ms;
            match self.in_step(|day, paper, a, b| day.are_linked(paper, a, b)) {
                Ok(()) => {
                    self.report.converged_ms = so_far_ms;
                    break;
                }
                Err(why) if so_far_ms >= self.plan.calm_ms => {
                    let who = self.whereabouts();
                    return Err(format!("not in step {so_far_ms} ms after the faults: {why}; {who}"));
                }
                Err(_) => self.simulation.run_for((so_far_ms / 8).clamp(MINUTE_MS, LOOK_MS)),
            }
        }
        self.check_contents(|day, paper, a, b| day.are_linked(paper, a, b))?;
        self.check_barred()?;
        self.check_canaries()
    }

    /// Who has what, trusts whom, and holds which sequences, for the person who looks for a fault.
    fn whereabouts(&self) -> String {
        let mut text = format!("levels {:?}, on cables {:?}", self.levels, self.cabled);
        for seat in self.simulation.seats() {
            let channels: Vec<_> =
                self.simulation.radios(seat).iter().map(|(_, channel, _)| *channel).collect();
            text += &format!("\n{seat:?} on {channels:?} holds");
            for paper in &self.papers {
                for author in self.simulation.seats() {
                    let sequence = self.simulation.sequence_held(seat, &paper.place, author);
                    let (owner, name) = (paper.place.owner.0, &paper.place.name);
                    text += &format!(" {owner}/{name} by {}: {sequence};", author.0);
                }
            }
        }
        text
    }

    /// Whether two that may read a document pass it on to each other, by cable or on air.
    fn are_linked(&self, paper: &Paper, a: Seat, b: Seat) -> bool {
        let channels = |seat| {
            self.simulation.radios(seat).into_iter().map(|(_, channel, _)| channel).collect::<BTreeSet<_>>()
        };
        let cable = self.cabled.contains(&a) && self.cabled.contains(&b);
        let air = paper.goes_on_air(self.mode) && !channels(a).is_disjoint(&channels(b));
        self.know_each_other(a, b) && (cable || air)
    }

    fn know_each_other(&self, a: Seat, b: Seat) -> bool {
        self.level(a, b) >= TrustLevel::Observer && self.level(b, a) >= TrustLevel::Observer
    }

    /// The owner, and who may read a document and is reached from there over others who may.
    fn reached(&self, paper: &Paper, linked: impl Fn(&Day, &Paper, Seat, Seat) -> bool) -> Vec<Seat> {
        let owner = paper.place.owner;
        let mut outside = self.simulation.seats();
        outside.retain(|seat| *seat != owner && self.reads(owner, *seat));
        let mut reached = vec![owner];
        let mut next = 0;
        while let Some(from) = reached.get(next).copied() {
            next += 1;
            let (near, far): (Vec<Seat>, Vec<Seat>) =
                outside.into_iter().partition(|to| linked(self, paper, from, *to));
            reached.extend(near);
            outside = far;
        }
        reached
    }

    fn in_step(&mut self, linked: impl Fn(&Day, &Paper, Seat, Seat) -> bool + Copy) -> Result<(), String> {
        let seats = self.simulation.seats();
        let lists: Vec<(Seat, Hashes)> =
            seats.iter().map(|seat| (*seat, hashes(&mut self.simulation, *seat))).collect();
        for paper in &self.papers {
            let place = &paper.place;
            let key = (self.simulation.did(place.owner), place.name.clone());
            let of = |seat: Seat| lists.iter().find(|(s, _)| *s == seat).and_then(|(_, list)| list.get(&key));
            let Some(truth) = of(place.owner) else { return Err(format!("{place:?} is gone")) };
            for seat in self.reached(paper, linked) {
                match of(seat) {
                    Some(hash) if hash == truth => {}
                    Some(_) => return Err(format!("{seat:?} reads {paper:?} otherwise")),
                    None => return Err(format!("{seat:?} lacks {paper:?}")),
                }
            }
            for seat in seats.iter().filter(|seat| **seat != place.owner && of(**seat).is_some()) {
                let settled = !self.unsettled.contains(&(place.owner, *seat))
                    && !self.unsettled.contains(&(*seat, place.owner));
                if settled && !self.reads(place.owner, *seat) {
                    return Err(format!("{seat:?} lists {place:?}, which it may not read"));
                }
            }
        }
        Ok(())
    }

    fn check_contents(
        &mut self,
        linked: impl Fn(&Day, &Paper, Seat, Seat) -> bool + Copy,
    ) -> Result<(), String> {
        for paper in self.papers.clone() {
            let place = &paper.place;
            let seats = self.reached(&paper, linked);
            let content = same_content(&mut self.simulation, place, &seats)?;
            if content.get("intruder").is_some() {
                return Err(format!("{place:?} holds what somebody wrote who may only read"));
            }
            if let Some(allowed) = self.snapshots.get(place)
                && !allowed.contains(&content)
            {
                return Err(format!("{place:?} reads {content:?}, acknowledged was {allowed:?}"));
            }
            // What a writer wrote who is not reached from here is not here yet.
            let everybody: Vec<String> = seats.iter().map(|seat| format!("node{}", seat.0)).collect();
            let is_here = |key: &crate::layer::KeyPath| {
                key.segments().get(1).is_some_and(|whose| everybody.contains(whose))
            };
            self.checker.lost(&mut self.simulation, place, place.owner, is_here)?;
        }
        Ok(())
    }

    /// What no radio may carry did not come to those who have nothing but radios.
    fn check_barred(&mut self) -> Result<(), String> {
        let barred = self.barred_papers();
        for seat in self.simulation.seats().into_iter().filter(|seat| !self.cabled.contains(seat)) {
            let me = self.simulation.peer_id(seat);
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

    /// Whoever was removed reads nothing that was written since.
    pub(super) fn check_canaries(&mut self) -> Result<(), String> {
        for (place, key, whom) in self.canaries.clone() {
            if !self.simulation.is_running(whom) {
                continue;
            }
            let Ok(path) = own_key(place.owner, &key) else { continue };
            let get = Command::Get { doc: place.text(&self.simulation), key: Some(path) };
            match self.simulation.ask(whom, get) {
                Err(CommandError::UnknownKey { .. } | CommandError::UnknownDocument(_)) => {}
                other => {
                    let owner = place.owner;
                    return Err(format!("{whom:?} was removed by {owner:?} and reads {key}: {other:?}"));
                }
            }
        }
        Ok(())
    }

    /// What nobody but its readers may see, and was signed by now, must not be heard in clear.
    pub(super) fn note_secrets(&mut self) {
        if self.mode == Mode::Encrypted {
            return;
        }
        let mut secrets = Vec::new();
        for seat in self.running() {
            let Some(node) = self.simulation.node(seat) else { continue };
            for signed in node.layers_held() {
                let document = &signed.head.layer.document;
                let is_shown = self.papers.iter().any(|paper| {
                    !paper.confidential
                        && document.name.as_str().starts_with(&paper.place.name)
                        && self.simulation.peer_id(paper.place.owner) == document.owner
                });
                if !is_shown && document.name.as_str() != DocumentName::AUDIENCE {
                    secrets.push(signed.signature);
                }
            }
        }
        for secret in secrets {
            self.simulation.monitor().keep_secret(&secret);
        }
    }

    // ---- on one cable ------------------------------------------------------------------------------------

    /// Everybody comes ashore: all read the same.
    pub(super) fn come_ashore(&mut self) -> Result<(), String> {
        let seats = self.simulation.seats();
        self.cabled.extend(seats.iter().copied());
        for seat in &seats {
            self.plug_cable(*seat, true);
        }
        let began_ms = self.simulation.time_ms();
        loop {
            let so_far_ms = self.simulation.time_ms() - began_ms;
            match self.in_step_ashore() {
                Ok(()) => break,
                Err(why) if so_far_ms >= self.plan.ashore_ms => {
                    return Err(format!("not in step {so_far_ms} ms after all were on one cable: {why}"));
                }
                Err(_) => self.simulation.run_for((so_far_ms / 4).clamp(500, MINUTE_MS)),
            }
        }
        self.check_contents(|day, _, a, b| day.know_each_other(a, b))?;
        self.check_canaries()
    }

    fn in_step_ashore(&mut self) -> Result<(), String> {
        self.in_step(|day, _, a, b| day.know_each_other(a, b))?;
        let levels = self.levels.clone();
        let level =
            |who: Seat, whom: Seat| levels.get(&(who, whom)).copied().unwrap_or(TrustLevel::Untrusted);
        states_in_step(&mut self.simulation, |owner, reader| {
            level(owner, reader) >= TrustLevel::Observer && level(reader, owner) >= TrustLevel::Observer
        })
    }

    /// With everybody on one cable nothing with content goes on air, whatever is written. Whoever was removed does not
    /// know it, and goes on to send what he writes to the one who no longer listens: there is no cable between them.
    pub(super) fn check_silence(&mut self) -> Result<(), String> {
        if self.unsettled.iter().any(|(who, whom)| !self.know_each_other(*who, *whom)) {
            return Ok(());
        }
        // What the radios had begun is out by then.
        self.simulation.run_for(2 * HOUR_MS);
        let began_ms = self.simulation.time_ms();
        for _ in 0..6 {
            self.publish_state();
            let owned: Vec<_> = self.papers.iter().filter(|p| p.kind == Kind::Map).cloned().collect();
            if let Some(Paper { place, .. }) = self.dice.pick(&owned).cloned()
                && let Ok(key) = own_key(place.owner, "ashore")
            {
                let (doc, value) = (place.text(&self.simulation), Value::from(self.dice.bits()));
                let done = self.simulation.ask(place.owner, Command::Set { doc, key, value });
                done.map_err(|error| format!("{:?} cannot write its own {place:?}: {error}", place.owner))?;
            }
            let pause_ms = self.dice.between(100, 5 * MINUTE_MS);
            self.simulation.run_for(pause_ms);
        }
        self.simulation.run_for(HOUR_MS);
        match self.simulation.monitor().content_since(began_ms) {
            0 => Ok(()),
            frames => Err(format!("{frames} frames with content went on air though all are on one cable")),
        }
    }

    // ---- accounts ----------------------------------------------------------------------------------------

    /// What the nodes refused since each of them last started.
    pub(super) fn note_rejections(&mut self) {
        for seat in self.running() {
            if let Ok(Reply::Status(status)) = self.simulation.ask(seat, Command::Status) {
                for (reason, count) in status.rejections {
                    *self.report.rejections.entry(reason).or_default() += count;
                }
            }
        }
    }

    pub(super) fn check_memory(&mut self) -> Result<(), String> {
        for seat in self.running() {
            let radios = self.simulation.radios(seat).len();
            let held = self.simulation.node(seat).map_or(0, |node| node.radio_bytes_held());
            if held > radios * MemoryLimits::default().bytes_max {
                return Err(format!("{seat:?} holds {held} bytes of messages not whole yet"));
            }
        }
        Ok(())
    }
}
