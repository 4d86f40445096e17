//! What goes wrong: losses, bursts, hidden stations, corruption, duplicates, replays; radios and cables pulled; power
//! lost, disks restored, clocks wrong.

use tombolo::time::Millis;
use tombolo_mesh::emulated::{Faults as AirFaults, Loss};

use crate::chaos::{Backup, Chaos};
use crate::day::name_of;
use crate::ether::ChannelId;
use crate::faults::{Fault, Rates};
use crate::{HOUR, MINUTE, Seat};

/// Backups kept per machine.
const BACKUPS_MAX: usize = 3;

/// What the plan does to the federation.
#[derive(Debug)]
pub(super) enum ChaosAction {
    Operate,
    ChangeAir,
    Replay,
    Radio { seat: Seat, plugged: bool },
    PullRadio,
    Cable { seat: Seat, plugged: bool },
    PullCable,
    Crash,
    Restart(Seat),
    BackUp,
    Restore,
    Clock,
}

impl Chaos {
    fn soon(&mut self, longest: Millis, action: ChaosAction) {
        let at = self.day.simulation.time() + self.day.rng.length(MINUTE / 6, longest);
        self.day.schedule.at(at, action);
    }

    pub(super) fn plan_day(&mut self) {
        let (shortest, longest) = self.plan.faulty;
        let faulty = self.day.rng.length(shortest, longest);
        self.day.report.faulty = faulty;
        let operations = self.day.rng.between(self.plan.operations / 2, self.plan.operations);
        type Often = (u64, u64, fn() -> ChaosAction);
        let often: [Often; 9] = [
            (operations, operations, || ChaosAction::Operate),
            (1, 4, || ChaosAction::ChangeAir),
            (0, 3, || ChaosAction::Replay),
            (0, 3, || ChaosAction::PullRadio),
            (0, 3, || ChaosAction::PullCable),
            (0, 5, || ChaosAction::Crash),
            (1, 4, || ChaosAction::BackUp),
            (0, 2, || ChaosAction::Restore),
            (0, 3, || ChaosAction::Clock),
        ];
        for (least, most, action) in often {
            for _ in 0..self.day.rng.between(least, most) {
                let at = self.day.simulation.time() + self.day.rng.length_below(faulty);
                self.day.schedule.at(at, action());
            }
        }
        let mut seats = self.day.simulation.seats();
        self.day.rng.shuffle(&mut seats);
        self.day.erring = seats.iter().copied().take(usize::from(self.day.rng.chance(400))).collect();
        for seat in seats {
            let clock = self.day.draw_right_clock();
            self.day.simulation.set_clock(seat, clock);
        }
        for seat in self.day.erring.clone() {
            for (link, ..) in self.day.simulation.radios(seat) {
                self.day.simulation.monitor().excuse(link);
            }
        }
        self.day.simulation.rates = Rates::draw(&mut self.day.rng);
        self.change_air();
    }

    pub(super) fn pass_day(&mut self) {
        let end = self.day.simulation.time() + self.day.report.faulty;
        while let Some((at, action)) = self.day.schedule.pop() {
            if at > end {
                break;
            }
            if at > self.day.simulation.time() {
                self.day.simulation.run_until(at);
            }
            self.carry_out(action);
            self.note_secrets();
            if let Err(wrong) = self.check_canaries() {
                return self
                    .day
                    .report
                    .wrongs
                    .push(format!("at {} ms: {wrong}", self.day.simulation.time().ms()));
            }
        }
        let last_disk = self.restored.values().copied().max().unwrap_or_default();
        self.day.simulation.run_until(end.max(last_disk).max(self.day.simulation.time()));
    }

    /// Whether a machine waits for its new disk.
    fn is_being_restored(&self, seat: Seat) -> bool {
        self.restored.get(&seat).is_some_and(|until| self.day.simulation.time() < *until)
    }

    fn carry_out(&mut self, action: ChaosAction) {
        match action {
            ChaosAction::Operate => self.operate(),
            ChaosAction::ChangeAir => self.change_air(),
            ChaosAction::Replay => {
                if let Some(channel) = self.day.rng.pick(&self.day.simulation.channels()).copied() {
                    self.day.simulation.replay_on_air(channel);
                }
            }
            ChaosAction::Radio { seat, plugged } => self.plug_radios(seat, plugged),
            ChaosAction::PullRadio => {
                if let Some(seat) = self.day.rng.pick(&self.day.simulation.seats()).copied() {
                    self.day.simulation.faults.count(Fault::RadioPulled);
                    self.plug_radios(seat, false);
                    self.soon(HOUR, ChaosAction::Radio { seat, plugged: true });
                }
            }
            ChaosAction::Cable { seat, plugged } => self.plug_cable(seat, plugged),
            ChaosAction::PullCable => {
                let cabled: Vec<Seat> = self.cabled.iter().copied().collect();
                if let Some(seat) = self.day.rng.pick(&cabled).copied() {
                    self.day.simulation.faults.count(Fault::CablePulled);
                    self.plug_cable(seat, false);
                    self.soon(2 * HOUR, ChaosAction::Cable { seat, plugged: true });
                }
            }
            ChaosAction::Crash => {
                if let Some(seat) = self.day.pick_running() {
                    self.day.simulation.faults.count(Fault::Crash);
                    self.crash_for_a_while(seat);
                }
            }
            ChaosAction::Restart(seat) if self.is_being_restored(seat) => {}
            ChaosAction::Restart(seat) => self.day.simulation.restart(seat),
            ChaosAction::BackUp => self.back_up(),
            ChaosAction::Restore => self.restore(),
            ChaosAction::Clock => {
                if let Some(seat) = self.day.rng.pick(&self.day.erring).copied() {
                    self.day.err_clock(seat);
                }
            }
        }
    }

    pub(super) fn crash_for_a_while(&mut self, seat: Seat) {
        self.day.simulation.crash(seat);
        let longest = *self.day.rng.pick(&[MINUTE, 20 * MINUTE, 2 * HOUR]).unwrap_or(&MINUTE);
        self.soon(longest, ChaosAction::Restart(seat));
    }

    // ---- radios and cables -------------------------------------------------------------------------------

    fn change_air(&mut self) {
        self.day.simulation.faults.count(Fault::BadAir);
        for channel in self.day.simulation.channels() {
            let permille = self.day.rng.below(500) as u32;
            let loss = match self.day.rng.chance(500) {
                true => Loss::single(permille),
                false => Loss::bursts(permille, 2 + self.day.rng.below(8) as u32),
            };
            let faults = AirFaults {
                corrupt_permille: self.day.rng.below(80) as u32,
                duplicate_permille: self.day.rng.below(80) as u32,
            };
            let air = self.day.simulation.air(channel);
            air.set_loss(loss);
            air.set_faults(faults);
            self.hide_stations(channel);
        }
    }

    /// Two radios of a channel may not hear each other, or one may not hear the other.
    fn hide_stations(&mut self, channel: ChannelId) {
        let mut radios: Vec<_> = self.day.simulation.seats().into_iter().collect();
        self.day.rng.shuffle(&mut radios);
        let on_it: Vec<_> = radios
            .into_iter()
            .flat_map(|seat| self.day.simulation.radios(seat))
            .filter(|(_, of, _)| *of == channel)
            .map(|(.., radio)| radio)
            .collect();
        let (hidden, one_way) = (self.day.rng.chance(300), self.day.rng.chance(300));
        let air = self.day.simulation.air(channel);
        for a in &on_it {
            on_it.iter().for_each(|b| air.set_hears(*a, *b, true));
        }
        if let (true, [a, b, ..]) = (hidden, on_it.as_slice()) {
            air.set_hears(*a, *b, false);
            air.set_hears(*b, *a, one_way);
            self.day.simulation.faults.count(Fault::HiddenStations);
        }
    }

    fn plug_radios(&mut self, seat: Seat, plugged: bool) {
        for (link, ..) in self.day.simulation.radios(seat) {
            match plugged {
                true => self.day.simulation.plug_radio(link),
                false => self.day.simulation.unplug_radio(link),
            }
        }
    }

    pub(super) fn plug_cable(&mut self, seat: Seat, plugged: bool) {
        let others: Vec<Seat> = self.cabled.iter().copied().filter(|other| *other != seat).collect();
        for other in others {
            match plugged {
                true => self.day.simulation.mend(seat, other),
                false => self.day.simulation.cut(seat, other),
            }
        }
    }

    // ---- disks -------------------------------------------------------------------------------------------

    fn back_up(&mut self) {
        let Some(seat) = self.day.rng.pick(&self.day.simulation.seats()).copied() else { return };
        let backup = Backup { store: self.day.simulation.back_up(seat), at: self.day.simulation.time() };
        let kept = self.backups.entry(seat).or_default();
        kept.push(backup);
        if kept.len() > BACKUPS_MAX {
            kept.remove(0);
        }
    }

    /// A disk dies, and a backup takes its place. That takes more than an hour, as the old disk held the record of the
    /// last hour's airtime.
    fn restore(&mut self) {
        let clocks = self.day.erring.clone();
        let seats: Vec<Seat> = self.backups.keys().copied().filter(|seat| !clocks.contains(seat)).collect();
        let Some(seat) = self.day.rng.pick(&seats).copied() else { return };
        let Some(backups) = self.backups.get_mut(&seat) else { return };
        let which = self.day.rng.index(backups.len());
        let Some(backup) = backups.get(which) else { return };
        self.day.simulation.faults.count(Fault::DiskRestored);
        let at = backup.at;
        self.day.simulation.replace_disk(seat, &backup.store);
        let until = self.day.simulation.time() + HOUR + MINUTE;
        self.restored.insert(seat, until);
        self.day.schedule.at(until, ChaosAction::Restart(seat));
        backups.retain(|backup| backup.at <= at);
        let own = name_of(seat);
        self.day.checker.set_back(at, |_, key| key.segments().nth(1).is_some_and(|whose| whose == own));
        // The content of a snapshot is what its owner has after the restore.
        self.snapshots.retain(|document, _| document.owner != seat);
    }
}
