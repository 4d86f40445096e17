//! Radios of a simulation: channels that machines share, radios that come and go, and an outsider that records what is
//! on air and replays it. The [`Monitor`] checks what goes out.

use std::collections::BTreeMap;
use tombolo::time::Millis;

use tombolo::io::RadioSpec;
use tombolo::node::Input;
use tombolo_mesh::airtime::PhyRate;
use tombolo_mesh::emulated::{Access, Air, EmulatedRadioId};
use tombolo_transports::LinkId;
use tombolo_transports::radio::RadioDownReason;

use crate::faults::{Fault, damage};
use crate::monitor::Monitor;
use crate::{Happening, QueueKey, Seat, Simulation};

/// Links from here on are radios: below are sessions of cables.
const FIRST_RADIO: u64 = 1 << 40;
/// Frames that an outsider sends one after the other, at most.
const REPLAYED_MAX: usize = 40;

/// Names a channel of a simulation: radios on it may hear each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelId(pub(super) usize);

struct AirChannel {
    air: Air,
    outsider: EmulatedRadioId,
    /// The event at which it is polled next.
    due: Option<QueueKey>,
    /// Up to when frames were checked, microseconds.
    checked_us: u64,
}

/// A radio of a machine.
struct Aerial {
    seat: Seat,
    channel: ChannelId,
    radio: EmulatedRadioId,
    spec: RadioSpec,
    plugged: bool,
    /// Whether its node waits until it takes a frame.
    sending: bool,
}

/// All channels and radios.
#[derive(Default)]
pub(super) struct Ether {
    channels: Vec<AirChannel>,
    aerials: BTreeMap<LinkId, Aerial>,
    pub(super) monitor: Monitor,
}

impl Ether {
    fn on(&self, channel: ChannelId) -> impl Iterator<Item = (LinkId, &Aerial)> {
        let here = self.aerials.iter().filter(move |(_, aerial)| aerial.channel == channel);
        here.map(|(link, aerial)| (*link, aerial))
    }
}

impl Simulation {
    /// Adds a channel without radios, on which nothing is lost.
    pub fn add_channel(&mut self, line: PhyRate) -> ChannelId {
        let mut air = Air::new(self.rng.bits(), line);
        let outsider = air.add_radio();
        self.ether.channels.push(AirChannel { air, outsider, due: None, checked_us: 0 });
        ChannelId(self.ether.channels.len() - 1)
    }

    /// Gives a machine a radio, plugged in.
    pub fn add_radio(&mut self, seat: Seat, channel: ChannelId, spec: RadioSpec) -> LinkId {
        let link = LinkId(FIRST_RADIO + self.ether.aerials.len() as u64);
        let air = self.air(channel);
        let radio = air.add_radio();
        // Radios of stock firmware listen before they talk.
        air.set_access(radio, Access::Listen { persistence: 127, slot_ms: 20, detect_ms: 5 });
        let budget_us = spec.ledger.rules.and_then(|rules| rules.duty_permille);
        let budget_us = budget_us.map(|permille| u64::from(permille) * 3_600_000);
        self.ether.monitor.watch(link, spec.mode, budget_us);
        self.ether
            .aerials
            .insert(link, Aerial { seat, channel, radio, spec, plugged: false, sending: false });
        self.plug_radio(link);
        link
    }

    /// The channel itself: losses, faults and reachability are set on it.
    pub fn air(&mut self, channel: ChannelId) -> &mut Air {
        &mut self.ether.channels.get_mut(channel.0).expect("channels are named by `add_channel`").air
    }

    /// The channels, in the order in which they were added.
    pub fn channels(&self) -> Vec<ChannelId> {
        (0..self.ether.channels.len()).map(ChannelId).collect()
    }

    /// A machine's radios: link, channel, and the name on that channel.
    pub fn radios(&self, seat: Seat) -> Vec<(LinkId, ChannelId, EmulatedRadioId)> {
        let own = self.ether.aerials.iter().filter(|(_, aerial)| aerial.seat == seat);
        own.map(|(link, aerial)| (*link, aerial.channel, aerial.radio)).collect()
    }

    /// What was on air, and what was wrong with it.
    pub fn monitor(&mut self) -> &mut Monitor {
        &mut self.ether.monitor
    }

    /// The radio is there again.
    pub fn plug_radio(&mut self, link: LinkId) {
        let Some(aerial) = self.ether.aerials.get_mut(&link) else { return };
        let (seat, channel, radio) = (aerial.seat, aerial.channel, aerial.radio);
        if !std::mem::replace(&mut aerial.plugged, true) {
            self.air(channel).set_on(radio, true);
            self.switch_on(seat, link);
        }
    }

    /// The radio is gone, with what waited in it.
    pub fn unplug_radio(&mut self, link: LinkId) {
        let Some(aerial) = self.ether.aerials.get_mut(&link) else { return };
        let (seat, channel, radio) = (aerial.seat, aerial.channel, aerial.radio);
        if std::mem::replace(&mut aerial.plugged, false) {
            aerial.sending = false;
            self.air(channel).set_on(radio, false);
            if self.is_running(seat) {
                self.input(seat, Input::RadioDown { link, why: RadioDownReason::Closed });
            }
        }
    }

    /// A node that starts finds the radios that are plugged in.
    pub(super) fn switch_on_all(&mut self, seat: Seat) {
        for (link, ..) in self.radios(seat) {
            if self.ether.aerials.get(&link).is_some_and(|aerial| aerial.plugged) {
                self.switch_on(seat, link);
            }
        }
    }

    fn switch_on(&mut self, seat: Seat, link: LinkId) {
        let Some(aerial) = self.ether.aerials.get_mut(&link) else { return };
        aerial.sending = false;
        let spec = Box::new(aerial.spec.clone());
        if self.is_running(seat) {
            self.input(seat, Input::RadioUp { link, spec });
        }
    }

    /// A node gives its radio a frame. One that it does not take is lost, as with any radio.
    pub(super) fn put_on_air(&mut self, seat: Seat, link: LinkId, bytes: Vec<u8>) {
        let epoch =
            self.machine(seat).node.as_ref().and_then(|node| node.report().broadcast.boot_epoch(link));
        let Some(aerial) = self.ether.aerials.get_mut(&link).filter(|a| a.seat == seat && a.plugged) else {
            // Pulled out while the frame was on its way, or none of this machine's.
            if !self.radios(seat).iter().any(|(own, ..)| *own == link) {
                self.wrong(format!("{seat:?} sends a frame on {link}, where it has no radio"));
            }
            return;
        };
        aerial.sending = true;
        let (channel, radio) = (aerial.channel, aerial.radio);
        let time = self.time;
        self.ether.monitor.sent(time, link, epoch, &bytes);
        let _ = self.air(channel).transmit(time, radio, bytes);
        self.look_later(channel);
    }

    /// Something may have happened on a channel.
    pub(super) fn look_at_air(&mut self, channel: ChannelId) {
        let time = self.time;
        if let Some(channel) = self.ether.channels.get_mut(channel.0) {
            channel.due = None;
        }
        while let Some((radio, bytes)) = self.air(channel).poll(time) {
            let to = self.ether.on(channel).find(|(_, aerial)| aerial.radio == radio && aerial.plugged);
            let Some((link, seat)) = to.map(|(link, aerial)| (link, aerial.seat)) else { continue };
            if self.is_running(seat) {
                self.input(seat, Input::Frame { link, bytes });
            }
        }
        self.watch_air(channel);
        self.report_ready_radios(channel);
        self.look_later(channel);
    }

    fn watch_air(&mut self, channel: ChannelId) {
        let Ether { channels, aerials, monitor } = &mut self.ether;
        let Some(here) = channels.get_mut(channel.0) else { return };
        let since_us = here.checked_us;
        for on_air in here.air.log().rev().take_while(|on_air| on_air.end_us > since_us) {
            here.checked_us = here.checked_us.max(on_air.end_us);
            let of = |aerial: &Aerial| aerial.channel == channel && aerial.radio == on_air.radio;
            if let Some((link, _)) = aerials.iter().find(|(_, aerial)| of(aerial)) {
                monitor.was_on_air(*link, on_air.start_us, on_air.end_us);
            }
        }
    }

    fn report_ready_radios(&mut self, channel: ChannelId) {
        let waiting: Vec<(LinkId, Seat, EmulatedRadioId)> = self
            .ether
            .on(channel)
            .filter(|(_, aerial)| aerial.sending)
            .map(|(link, aerial)| (link, aerial.seat, aerial.radio))
            .collect();
        for (link, seat, radio) in waiting {
            if !self.air(channel).is_idle(radio) {
                continue;
            }
            if let Some(aerial) = self.ether.aerials.get_mut(&link) {
                aerial.sending = false;
            }
            if self.is_running(seat) {
                self.input(seat, Input::RadioReady { link });
            }
        }
    }

    fn look_later(&mut self, id: ChannelId) {
        let time = self.time;
        let Some(channel) = self.ether.channels.get_mut(id.0) else { return };
        let before = channel.due.take();
        // A radio that is ready again reports it, even where nothing else happens.
        let at = channel.air.poll_timeout().map(|at| at.max(time));
        if let Some(key) = before {
            self.queue.remove(&key);
        }
        let waits = self.ether.on(id).any(|(_, aerial)| aerial.sending);
        if let Some(at) = at.or(waits.then_some(time)) {
            let key = self.at(at, Happening::Air(id));
            if let Some(channel) = self.ether.channels.get_mut(id.0) {
                channel.due = Some(key);
            }
        }
    }

    /// An outsider that has recorded everything on a channel replays some of it, intact or damaged.
    pub fn replay_on_air(&mut self, channel: ChannelId) {
        let recorded: Vec<Vec<u8>> = self.air(channel).log().map(|on_air| on_air.frame.clone()).collect();
        let Some(outsider) = self.ether.channels.get(channel.0).map(|channel| channel.outsider) else {
            return;
        };
        self.air(channel).set_access(outsider, Access::AtOnce);
        for _ in 0..self.rng.between(1, REPLAYED_MAX as u64) {
            let Some(frame) = self.rng.pick(&recorded).cloned() else { return };
            let other = self.rng.pick(&recorded).cloned().unwrap_or_default();
            let mut frame = if self.rng.chance(400) { damage(&mut self.rng, &frame, &other) } else { frame };
            frame.truncate(255);
            self.faults.count(Fault::ReplayOnAir);
            let time = self.time;
            let _ = self.air(channel).transmit(time, outsider, frame);
            self.look_later(channel);
            let pause = self.rng.length(Millis::from_ms(10), Millis::from_ms(3_000));
            self.run_for(pause);
        }
    }
}
