//! A member who forges in every member's name, on the emulated channel at a duty cycle of 1 %: honest traffic goes on, no hour has
//! more than is legal, memory stays bounded.

use super::{identity, peer};
use tombolo_mesh::airtime::ledger::{Account, BootId, HOUR, Ledger, LedgerConfig, Moment, Priority};
use tombolo_mesh::airtime::region::{Region, Usage};
use tombolo_mesh::airtime::{Modulation, PhyRate};
use tombolo_mesh::emulated::{Access, Air, EmulatedRadioId, Loss};
use tombolo_mesh::frame::keys::{AudienceKey, BootEpoch, Mode};
use tombolo_mesh::frame::{Counters, Header, Kind, seal};
use tombolo_mesh::station::{
    Outgoing, QUEUE_FRAMES_MAX, Received, Station, StationConfig, StationRecords, Transmit,
};
use tombolo_mesh::time::Mono;
use tombolo_mesh::{PeerId, SplitMix64};

const LINE: PhyRate = PhyRate::lora(Modulation::SF7_125);
/// Who is honest: A speaks and B listens. The third is the forger.
const HONEST: usize = 2;
const FORGER: usize = 2;
/// The others have spoken once, and are silent.
const MEMBERS: usize = 8;
const HOURS: u64 = 2;
/// A sends its newest state so often; an hour's legal airtime has room for four times as much.
const STATE_MS: u64 = 60_000;
const FORGED_MS: u64 = 3_000;
const TICK_MS: u64 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    Nothing,
    /// For messages that never were.
    NacksForNothing,
    /// For the message that A is sending: all of it, again and again.
    NacksForAll,
    /// Of messages that never end.
    Fragments,
    /// Messages of the layers above.
    Heartbeats,
}

struct Field {
    air: Air,
    radios: Vec<EmulatedRadioId>,
    stations: Vec<Station>,
    rng: SplitMix64,
    /// Of what is forged in the name of each.
    series: Vec<Counters>,
    long: Vec<u8>,
    asked_for: Option<[u8; 3]>,
}

fn audience() -> AudienceKey {
    AudienceKey { epoch: 1, key: [7; 16] }
}

fn station(node: usize) -> Station {
    let config = StationConfig {
        us: identity(node),
        mode: Mode::Encrypted,
        frame_bytes_max: 200,
        frame_bytes_min: 0,
        call_sign: None,
        line: LINE,
        seed: [node as u8; 32],
    };
    let ledger = Ledger::new(LedgerConfig::new(Region::Eu868.rules(Usage::default()).ok()), Mono::ZERO);
    let mut station = Station::new(config, StationRecords::default(), ledger).unwrap();
    station.set_channel(peer(0), audience(), None, (0..MEMBERS).map(peer).collect()).unwrap();
    station
}

impl Field {
    fn new() -> Self {
        let mut air = Air::new(4, LINE);
        let radios: Vec<EmulatedRadioId> = (0..MEMBERS).map(|_| air.add_radio()).collect();
        radios.iter().for_each(|radio| air.set_access(*radio, Access::TNC));
        air.set_loss(Loss::single(150));
        Field {
            air,
            radios,
            stations: (0..MEMBERS).map(station).collect(),
            rng: SplitMix64::new(5),
            series: (0..MEMBERS).map(|_| Counters::starting_at(500)).collect(),
            long: (0..1_500_u32).map(|at| (at * 7 + at / 251) as u8).collect(),
            asked_for: None,
        }
    }

    fn say(&mut self, now_ms: u64, node: usize, priority: Priority, bytes: Vec<u8>) {
        let (kind, channel, account) = (Kind::message(7).unwrap(), peer(0), Account(1));
        let outgoing = Outgoing { channel, kind, bytes, priority, account, previous_key: false };
        // A full queue: the newest state waits for the next turn, as it does in the node.
        let _ = self.stations[node].send(Mono::from_ms(now_ms), outgoing);
    }

    /// A frame under the audience's key in the name of a member.
    fn forge(&mut self, in_name_of: usize, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let key = audience();
        let who: PeerId = peer(in_name_of);
        let epoch: BootEpoch = self.stations[in_name_of].epoch();
        let header =
            Header { kind, epoch_low: epoch.low(), alias: key.alias(), hint: key.hint(&who), counter_low: 0 };
        let frame_key = key.frame_key(Mode::Encrypted, &who, &epoch);
        seal(&frame_key, header, self.series[in_name_of].take().unwrap(), payload)
    }

    fn attack(&mut self, attack: Attack) -> Option<Vec<u8>> {
        let random = self.rng.below(u64::MAX).to_be_bytes();
        let whose = peer(0).as_bytes()[0];
        // In the name of any member but A.
        let name = 1 + self.rng.below(MEMBERS as u64 - 1) as usize;
        let (kind, payload) = match attack {
            Attack::Nothing => return None,
            Attack::NacksForNothing => (Kind::NACK, vec![whose, random[0], random[1], 0, 1]),
            Attack::NacksForAll => {
                let [_, id_0, id_1] = self.asked_for?;
                (Kind::NACK, vec![whose, id_0, id_1, 0, 8])
            }
            Attack::Fragments => {
                let mut payload = vec![random[0], random[1], 0x80, 0xff, random[2] % 4, random[3] % 64];
                payload.resize(6 + 64, random[4]);
                (Kind::FRAGMENT, payload)
            }
            Attack::Heartbeats => (Kind::message(5).unwrap(), random.to_vec()),
        };
        Some(self.forge(name, kind, &payload))
    }

    fn drive(&mut self, now_ms: u64) {
        let moment = Moment { boot: BootId([0; 16]), monotonic: Mono::from_ms(now_ms), trusted_wall: None };
        for node in 0..HONEST {
            if !self.air.is_idle(self.radios[node]) {
                continue;
            }
            let station = &mut self.stations[node];
            let mut frame = None;
            for _ in 0..2 {
                while let Some(record) = station.poll_record() {
                    station.recorded(&record);
                }
                if frame.is_none()
                    && let Transmit::Frame { frame: next, .. } = station.transmit(moment)
                {
                    frame = Some(next);
                }
            }
            if let Some(frame) = frame {
                self.air.transmit(Mono::from_ms(now_ms), self.radios[node], frame).unwrap();
            }
            assert!(self.stations[node].assembler().held_bytes() <= 1 << 20);
            assert!(self.stations[node].assembler().open_messages() <= 64);
            assert!(self.stations[node].frames_waiting() <= 1_000 + QUEUE_FRAMES_MAX);
        }
    }

    fn speak_once(&mut self, node: usize) {
        let moment = Moment { boot: BootId([0; 16]), monotonic: Mono::ZERO, trusted_wall: None };
        for _ in 0..3 {
            let station = &mut self.stations[node];
            while let Some(record) = station.poll_record() {
                station.recorded(&record);
            }
            let Transmit::Frame { frame, .. } = station.transmit(moment) else { continue };
            for listener in &mut self.stations[..HONEST] {
                let _ = listener.receive(Mono::ZERO, &frame);
            }
        }
    }

    /// States of A that B heard, and whether the long message came through.
    fn run(&mut self, attack: Attack) -> (usize, bool) {
        let (mut states, mut long) = (0, false);
        // Who is silent has spoken once, so that it is known.
        (0..MEMBERS).for_each(|node| self.say(0, node, Priority::State, vec![0; 30]));
        (FORGER..MEMBERS).for_each(|node| self.speak_once(node));
        let text = self.long.clone();
        self.say(0, 0, Priority::Document, text);
        for now_ms in (TICK_MS..(HOURS * HOUR).ms()).step_by(TICK_MS as usize) {
            if now_ms % STATE_MS == 0 {
                self.say(now_ms, 0, Priority::State, vec![1; 40]);
            }
            if now_ms % FORGED_MS == 0
                && self.air.is_idle(self.radios[FORGER])
                && let Some(frame) = self.attack(attack)
            {
                self.air.transmit(Mono::from_ms(now_ms), self.radios[FORGER], frame).unwrap();
            }
            self.drive(now_ms);
            while let Some((radio, frame)) = self.air.poll(Mono::from_ms(now_ms)) {
                let Some(node) = self.radios.iter().position(|other| *other == radio) else { continue };
                if node > FORGER {
                    continue;
                }
                if node == FORGER {
                    self.listen(&frame);
                    continue;
                }
                let station = &mut self.stations[node];
                let first = station.receive(Mono::from_ms(now_ms), &frame);
                for reception in std::iter::once(first).chain(std::iter::from_fn(|| station.poll_received()))
                {
                    let Ok(Received::Message { from, bytes, kind, .. }) = reception.outcome else { continue };
                    if node == 1 && from == peer(0) && kind.number() == 7 {
                        states += usize::from(bytes.len() == 40);
                        long |= bytes == self.long;
                    }
                }
            }
        }
        (states, long)
    }

    /// The forger reads along: which message A sends. As a member it can.
    fn listen(&mut self, frame: &[u8]) {
        let epoch = self.stations[0].epoch();
        let frame_key = audience().frame_key(Mode::Encrypted, &peer(0), &epoch);
        let Some((header, _)) = Header::decode(frame) else { return };
        let counter = u32::from(u16::from_be_bytes([frame[4], frame[5]]));
        if header.kind == Kind::FRAGMENT
            && let Some(payload) = tombolo_mesh::frame::open(&frame_key, frame, counter)
        {
            self.asked_for = Some([0, payload[0], payload[1]]);
        }
    }

    /// The longest time on air of a radio in any hour, microseconds.
    fn busiest_hour_us(&self, node: usize) -> u64 {
        let sent: Vec<(u64, u64)> = self
            .air
            .log()
            .filter(|on_air| on_air.radio == self.radios[node])
            .map(|on_air| (on_air.start_us, on_air.end_us - on_air.start_us))
            .collect();
        let from = |start: u64| {
            sent.iter()
                .filter(move |(at, _)| (start..start + HOUR.ms() * 1_000).contains(at))
                .map(|(_, us)| us)
                .sum()
        };
        sent.iter().map(|(start, _)| from(*start)).max().unwrap_or(0)
    }
}

#[test]
fn a_forging_member_does_not_stop_honest_traffic_nor_take_more_than_is_legal() {
    for attack in
        [Attack::Nothing, Attack::NacksForNothing, Attack::NacksForAll, Attack::Fragments, Attack::Heartbeats]
    {
        let mut field = Field::new();
        let (states, long) = field.run(attack);
        let busiest = [0, 1].map(|node| field.busiest_hour_us(node));
        println!(
            "{attack:?}: {states} of 119 states heard, long message {long}, busiest hours {busiest:?} us"
        );
        // The legal hour. Apart from repairs, the forger makes no node spend more than the share of NACKs beyond what it sends anyway.
        let bound_us = if attack == Attack::NacksForAll { 36_000_000 } else { 20_000_000 };
        assert!(busiest.iter().all(|us| *us <= bound_us), "{attack:?}: {busiest:?} us in an hour");
        // Of 119, 15 % are lost on air, more where the forger speaks at the same time; repairs that it asks for take up to three
        // quarters of what others may send.
        assert!(states >= 60, "{attack:?}: {states} of 119 states heard");
        assert!(long, "{attack:?}: the long message did not come through");
    }
}
