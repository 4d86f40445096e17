//! One radio: its station, its broadcast engine and its queues.

use std::collections::BTreeMap;

use tombolo_mesh::airtime::ledger::Ledger;
use tombolo_mesh::station::{BulkTransfer, Rejections, Station, StationConfig, StationError};
use tombolo_transports::radio::RadioDownReason;
use tombolo_transports::{LinkId, PeerId};

use crate::broadcast::audience::{goes_on_air, rank};
use crate::broadcast::{counts, join, long, pacing, pair, provisional, records};
use crate::core::Core;
use crate::io::RadioSpec;
use crate::layer::LayerId;
use crate::limits::{RADIO_HEARTBEAT, RADIO_HEARTBEAT_SHARE};
use crate::random::Random;
use crate::replica::Replica;
use crate::sync::broadcast::{BroadcastEngine, Input, LayerLag, Presence, SyncStatus, Timing};
use crate::sync::frontier::State;
use crate::time::{Millis, Mono};
use crate::unicast::Unicast;
use tombolo_mesh::frame::keys::Mode;

/// After a frame the next one waits at random up to this part of a frame time.
const BACK_OFF_PART: u64 = 2;

/// A radio of this node.
#[derive(Debug)]
pub struct RadioLink {
    /// The name of the radio among links.
    pub(super) link: LinkId,
    pub(super) spec: RadioSpec,
    pub(super) station: Station,
    pub(super) engine: BroadcastEngine,
    pub(super) pacing: pacing::LayerPacing,
    pub(super) device: Device,
    pub(super) due: WakeTimes,
    /// The disk refused: what it should hold is written once more.
    pub(super) write_again: bool,
    pub(super) unsigned: provisional::Unsigned,
    pub(super) joins: join::Joins,
    pub(super) exchange: pair::PairExchange,
    pub(super) long: long::LongTransfers,
    pub(super) counts: counts::RadioCounts,
}

/// What a radio starts with, beside its records on disk.
#[derive(Debug)]
pub(super) struct RadioStart {
    pub(super) link: LinkId,
    pub(super) spec: RadioSpec,
    pub(super) ledger: Ledger,
    /// Days since 1970 by reference time.
    pub(super) day: u32,
}

/// The device behind a radio.
#[derive(Debug)]
pub(super) struct Device {
    /// Whether the driver has it.
    pub(super) up: bool,
    /// Whether it takes a frame now.
    pub(super) ready: bool,
    /// After any frame on air each node waits a random time, or all that have something to send would begin at once.
    pub(super) quiet_until: Mono,
    /// The driver's reason while the device is down.
    pub(super) fault: Option<RadioDownReason>,
}

/// When a radio is to be looked at again.
#[derive(Debug, Default)]
pub(super) struct WakeTimes {
    /// When what waits for airtime may leave.
    pub(super) retry_at: Option<Mono>,
    /// When all that was due had been looked at. What has become due since does not wait for `retry_at`.
    pub(super) looked_at: Mono,
    /// When the station is due.
    pub(super) station_at: Option<Mono>,
}

impl RadioLink {
    /// A radio with what is on disk of it.
    ///
    /// # Errors
    /// Why the station cannot use such a radio.
    pub(super) fn new(
        core: &mut Core,
        start: RadioStart,
        kept: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, StationError> {
        let RadioStart { link, spec, ledger, day } = start;
        let config = StationConfig {
            us: core.radio_identity(),
            mode: spec.mode,
            frame_bytes_max: spec.frame_bytes_max,
            frame_bytes_min: spec.frame_bytes_min,
            call_sign: spec.call_sign.clone(),
            line: spec.line,
            seed: core.random.bytes(),
        };
        let today = kept.get(counts::RECORD).map(|bytes| counts::Today::decode(bytes, day));
        let station = Station::new(config, records::station(kept), ledger)?;
        let timing = timing_of(&station);
        let engine = BroadcastEngine::new(core.me, timing, core.now(), Random::new(&core.random.bytes()));
        Ok(RadioLink {
            link,
            spec,
            station,
            engine,
            pacing: pacing::LayerPacing::new(core.now()),
            device: Device { up: true, ready: true, quiet_until: Mono::ZERO, fault: None },
            due: WakeTimes::default(),
            write_again: false,
            unsigned: provisional::Unsigned::default(),
            joins: join::Joins::default(),
            exchange: pair::PairExchange::default(),
            long: long::LongTransfers::default(),
            counts: counts::RadioCounts::going_on(today.unwrap_or_default()),
        })
    }

    /// When the radio is to be looked at again.
    pub(super) fn next_timer(&self, now: Mono) -> Option<Mono> {
        if !self.device.up || !self.device.ready {
            // Nothing can go out before the driver reports the device ready.
            return None;
        }
        // While something waits for airtime, what becomes due later may be allowed sooner.
        let due = match self.due.retry_at {
            Some(at) => self.engine.next_after(now).into_iter().chain([at]).min(),
            None => self.engine.poll_timeout(now),
        };
        let quiet = Some(self.device.quiet_until).filter(|until| *until > now);
        [self.due.station_at, due, quiet, self.joins.next_timer(), self.exchange.next_timer()]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(now + Millis::from_ms(1)).max(self.device.quiet_until))
    }

    /// The router knows this radio as it is now.
    pub(super) fn report_to(&mut self, unicast: &mut Unicast, now: Mono) {
        let table = &mut unicast.router_mut().table;
        match self.device.up && self.spec.ledger.rules.is_some() {
            true => {
                let (caps, free_in) = (self.caps(now), self.airtime_free_in(now));
                table.radio(self.link, &self.spec.name, caps, free_in);
            }
            false => table.radio_down(self.link),
        }
    }

    /// A frame has left the air.
    pub(super) fn back_off(&mut self, now: Mono, random: &mut Random) {
        self.device.quiet_until =
            now + Millis::from_ms(random.below(self.engine.timing().frame.ms() / BACK_OFF_PART + 1));
    }

    /// Gives the engine an input; what waits for airtime is looked at again.
    pub(super) fn input(&mut self, core: &Core, input: Input) {
        self.due.retry_at = None;
        self.engine.handle_input(core.now(), input);
        self.end_delivered(core.now());
    }

    /// A layer has a new state, sent by `from` on this radio, or come otherwise.
    pub(super) fn stored(
        &mut self,
        core: &Core,
        replica: &mut Replica,
        unicast: &Unicast,
        id: &LayerId,
        from: Option<PeerId>,
    ) {
        let Some(signed) = replica.layer(id).map(|layer| layer.signed.clone()) else { return };
        let sealed = self.spec.mode != Mode::SignedClear;
        if !goes_on_air(replica.federation(), &signed, sealed)
            || self.defers_signature(core, replica, unicast, id)
        {
            return;
        }
        let state = State::of(&signed);
        let mut bases = replica.layers().bases(id);
        bases.retain(|base| *base < state);
        let input = Input::Stored {
            owner: id.document.owner,
            layer: id.hash(),
            state,
            bases,
            rank: rank(&id.document.name),
            from,
            ours: id.author == core.me,
            is_routine: self.is_spared(replica, id),
        };
        self.input(core, input);
        if from.is_some() {
            // All who listen may report it as their base, to this node as well.
            self.note_heard(core, replica, id);
            replica.pin_base(id, state.sequence);
        }
    }
}

/// The face towards reports: it only reads.
impl RadioLink {
    /// What the radio is and may do.
    pub fn spec(&self) -> &RadioSpec {
        &self.spec
    }

    /// Whether the driver has the device.
    pub fn is_up(&self) -> bool {
        self.device.up
    }

    /// The driver's last reason for which the device was down.
    pub fn fault(&self) -> Option<RadioDownReason> {
        self.device.fault
    }

    /// A copy of the airtime ledger, to read from.
    pub fn ledger(&self) -> Ledger {
        self.station.ledger_view()
    }

    /// Time on air of a frame with so many bytes of payload, microseconds.
    pub fn airtime_us(&self, payload_bytes: usize) -> u64 {
        self.station.airtime_us(payload_bytes)
    }

    /// Long messages on their way.
    pub fn transfers(&self) -> Vec<BulkTransfer> {
        self.station.transfers()
    }

    /// Frames rejected since the start, by reason.
    pub fn rejections(&self) -> Rejections {
        self.station.rejections().clone()
    }

    /// The counters of this radio.
    pub(crate) fn counts(&self) -> &counts::RadioCounts {
        &self.counts
    }

    /// When a listener last sent a frame, and until when it counts as present.
    pub fn presence(&self, peer: &PeerId) -> Option<Presence> {
        self.engine.presence(peer)
    }

    /// Whether a listener is present.
    pub fn is_present(&self, peer: &PeerId, now: Mono) -> bool {
        self.device.up && self.presence(peer).is_some_and(|heard| heard.until > now)
    }

    /// How far a listener and this node lag, as this radio knows.
    pub fn lag(&self, now: Mono, peer: &PeerId) -> SyncStatus {
        self.engine.sync_status(now, peer, self.state_pace(now))
    }

    /// The layers in which a listener and this node differ, as this radio knows.
    pub fn layer_lags(&self, now: Mono, peer: &PeerId) -> Vec<LayerLag> {
        self.engine.layer_lags(now, peer, self.state_pace(now))
    }
}

/// How long heartbeats and waits are, given how long a frame takes.
fn timing_of(station: &Station) -> Timing {
    let short = station.airtime_us(34) / 1000;
    // Half duplex and a channel shared with others: a gap as long as the frame.
    let frame = Millis::from_ms((2 * short).max(50));
    let heartbeat = Millis::from_ms(station.airtime_us(18) / 1000) * RADIO_HEARTBEAT_SHARE;
    Timing { frame, heartbeat: heartbeat.max(RADIO_HEARTBEAT) }
}
