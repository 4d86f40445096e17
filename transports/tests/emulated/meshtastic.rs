//! A Meshtastic radio of stock firmware, several on one air: handshake, queue, acknowledgements, the limits of size and
//! duty cycle.
//!
//! Written from the protocol's description, not from our codec: the official client is its judge.

use super::air::{Air, serve};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

const PLACES: usize = 16;
/// What the firmware sends at most, although its constant is 233.
const PAYLOAD_MAX: usize = 231;
const BROADCAST: u32 = 0xFFFF_FFFF;
const ROUTING: u64 = 5;
const TOO_LARGE: u64 = 7;
const DUTY_CYCLE_LIMIT: u64 = 9;
const QUEUE_FULL: u64 = 32;

/// A packet on the air.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: u32,
    pub(crate) to: u32,
    channel: u64,
    id: u32,
    hops: u64,
    want_ack: bool,
    port: u64,
    pub(crate) payload: Vec<u8>,
    request_id: u32,
}

/// What a test may change while the radio runs.
#[derive(Debug)]
pub(crate) struct Moods {
    /// Its duty cycle is used up, for so many minutes.
    pub(crate) duty_cycle_minutes: Option<u32>,
    /// Its queue is full.
    pub(crate) full: bool,
    /// It reads, and answers nothing.
    pub(crate) mute: bool,
    /// What it takes for its largest payload.
    pub(crate) payload_max: usize,
    /// The region it is set to.
    pub(crate) region: u64,
    /// Time that each packet takes on the air.
    pub(crate) on_air: Duration,
    /// The hop limits of the packets it was handed.
    pub(crate) hops: Vec<u64>,
}

/// One radio. It runs until the test ends.
pub(crate) struct EmulatedMeshtastic {
    pub(crate) at: SocketAddr,
    pub(crate) moods: Arc<Mutex<Moods>>,
}

impl EmulatedMeshtastic {
    pub(crate) fn start(name: &'static str, air: &Arc<Air<Packet>>) -> Self {
        let moods = Moods {
            duty_cycle_minutes: None,
            full: false,
            mute: false,
            payload_max: PAYLOAD_MAX,
            region: 3,
            on_air: Duration::from_millis(20),
            hops: vec![],
        };
        let moods = Arc::new(Mutex::new(moods));
        let (air, told) = (air.clone(), moods.clone());
        let (place, heard) = air.tune_in();
        let at = serve(move |listener| async move {
            let number = 0x7000_0001 + place as u32;
            let radio = Radio { name, number, place, air, moods: told, queue: VecDeque::new(), told: 0 };
            radio.run(listener, heard).await;
        });
        Self { at, moods }
    }
}

struct Radio {
    name: &'static str,
    number: u32,
    place: usize,
    air: Arc<Air<Packet>>,
    moods: Arc<Mutex<Moods>>,
    /// What waits for the air, and when the first is through.
    queue: VecDeque<(Packet, Instant)>,
    told: u64,
}

impl Radio {
    async fn run(mut self, listener: TcpListener, mut heard: UnboundedReceiver<Packet>) {
        let mut host: Option<TcpStream> = None;
        let (mut bytes, mut read) = (vec![], vec![0; 4096]);
        loop {
            let due = self.queue.front().map(|(_, at)| *at);
            let told = tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    // A second client closes the first.
                    (bytes, host) = (vec![], Some(stream));
                    vec![]
                }
                Some(packet) = heard.recv() => self.hear(packet),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((packet, _)) = self.queue.pop_front() {
                        self.air.send(self.place, &packet);
                    }
                    vec![]
                }
                got = read_from(&mut host, &mut read) => {
                    if got == 0 {
                        host = None;
                    }
                    bytes.extend_from_slice(&read[..got]);
                    let mut told = vec![];
                    while let Some(message) = cut(&mut bytes) {
                        told.extend(self.command(&message));
                    }
                    told
                }
            };
            if self.moods.lock().unwrap().mute {
                continue;
            }
            for message in told {
                self.told += 1;
                let body = [number(1, self.told), message].concat();
                let frame = [&[0x94, 0xC3], (body.len() as u16).to_be_bytes().as_slice(), &body].concat();
                if let Some(stream) = &mut host {
                    let _ = stream.write_all(&frame).await;
                }
            }
        }
    }

    fn hear(&mut self, packet: Packet) -> Vec<Vec<u8>> {
        if packet.want_ack && packet.to == self.number {
            let ack = Packet {
                from: self.number,
                to: packet.from,
                payload: number_always(3, 0),
                port: ROUTING,
                request_id: packet.id,
                want_ack: false,
                ..packet.clone()
            };
            self.send(ack);
        }
        if packet.to == BROADCAST || packet.to == self.number { vec![for_host(&packet)] } else { vec![] }
    }

    fn send(&mut self, packet: Packet) {
        let on_air = self.moods.lock().unwrap().on_air;
        let after = self.queue.back().map_or_else(Instant::now, |(_, at)| *at);
        self.queue.push_back((packet, after + on_air));
    }

    fn command(&mut self, message: &[u8]) -> Vec<Vec<u8>> {
        let mut told = vec![];
        for (field, value, bytes) in fields(message) {
            match field {
                1 => told.extend(self.packet(bytes)),
                3 => told.extend(self.config(value)),
                7 => told.push(self.status(0, 0)),
                _ => {}
            }
        }
        told
    }

    /// A packet from the host.
    fn packet(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut packet = Packet {
            from: self.number,
            to: 0,
            channel: 0,
            id: 0,
            hops: 0,
            want_ack: false,
            port: 0,
            payload: vec![],
            request_id: 0,
        };
        for (field, value, bytes) in fields(bytes) {
            match field {
                2 => packet.to = value as u32,
                3 => packet.channel = value,
                4 => {
                    for (field, value, bytes) in fields(bytes) {
                        match field {
                            1 => packet.port = value,
                            2 => packet.payload = bytes.to_vec(),
                            _ => {}
                        }
                    }
                }
                6 => packet.id = value as u32,
                9 => packet.hops = value,
                10 => packet.want_ack = value != 0,
                _ => {}
            }
        }
        let (full, duty, payload_max) = {
            let mut moods = self.moods.lock().unwrap();
            moods.hops.push(packet.hops);
            (moods.full || self.queue.len() >= PLACES, moods.duty_cycle_minutes, moods.payload_max)
        };
        let id = packet.id;
        if packet.payload.len() > payload_max {
            return vec![self.status(TOO_LARGE, id), self.refusal(TOO_LARGE, id)];
        }
        if let Some(minutes) = duty {
            let text = format!("Duty cycle limit exceeded. You can send again in {minutes} mins");
            let notification = [number(1, id.into()), number(3, 30), bytes_in(4, text.as_bytes())].concat();
            return vec![
                bytes_in(16, &notification),
                self.refusal(DUTY_CYCLE_LIMIT, id),
                self.status(DUTY_CYCLE_LIMIT, id),
            ];
        }
        if full {
            return vec![self.status(QUEUE_FULL, id)];
        }
        self.send(packet);
        vec![self.status(0, id)]
    }

    fn status(&self, result: u64, id: u32) -> Vec<u8> {
        let free = PLACES.saturating_sub(self.queue.len()) as u64;
        bytes_in(
            11,
            &[number(1, result), number(2, free), number(3, PLACES as u64), number(4, id.into())].concat(),
        )
    }

    /// A routing message of the node itself.
    fn refusal(&self, error: u64, id: u32) -> Vec<u8> {
        for_host(&Packet {
            from: self.number,
            to: self.number,
            channel: 0,
            id: 99,
            hops: 0,
            want_ack: false,
            port: ROUTING,
            payload: number(3, error),
            request_id: id,
        })
    }

    /// Everything it is set to, in the firmware's order.
    fn config(&self, nonce: u64) -> Vec<Vec<u8>> {
        const ONLY_CONFIG: u64 = 69_420;
        const ONLY_NODES: u64 = 69_421;
        let mut told = vec![bytes_in(3, &[number(1, self.number.into()), number(11, 30_200)].concat())];
        if nonce != ONLY_NODES {
            told.push(bytes_in(17, &number(1, 1)));
            told.push(self.node_info(self.number, self.name));
            told.push(bytes_in(13, &[bytes_in(1, b"2.7.11.emulated"), number(2, 24)].concat()));
            // Of newer firmware: region presets.
            told.push(bytes_in(19, &number(1, 1)));
            for index in 0..8 {
                let (name, role) = if index == 0 { ("", 1) } else { ("side", u64::from(index == 2) * 2) };
                let settings = [bytes_in(2, &[1]), bytes_in(3, name.as_bytes())].concat();
                told.push(bytes_in(
                    10,
                    &[number(1, index), bytes_in(2, &settings), number(3, role)].concat(),
                ));
            }
            let region = self.moods.lock().unwrap().region;
            let lora = [number(1, 1), number(2, 6), number(7, region), number(8, 3), number(9, 1)].concat();
            for kind in [1_u64, 2, 3, 4, 5, 6, 7, 8] {
                told.push(bytes_in(5, &bytes_always(kind, if kind == 6 { &lora } else { &[] })));
            }
            (1..=13).for_each(|kind| told.push(bytes_in(9, &bytes_always(kind, &[]))));
        }
        if nonce != ONLY_CONFIG {
            told.push(self.node_info(self.number, self.name));
            told.push(self.node_info(0x1234_5678, "far away"));
            told.push(bytes_in(15, &[bytes_in(1, b"/prefs/config.proto"), number(2, 80)].concat()));
        }
        told.push(number(7, nonce));
        told
    }

    fn node_info(&self, node: u32, name: &str) -> Vec<u8> {
        let id = format!("!{node:08x}");
        let short: Vec<u8> = name.bytes().take(4).collect();
        let user =
            [bytes_in(1, id.as_bytes()), bytes_in(2, name.as_bytes()), bytes_in(3, &short), number(5, 43)];
        bytes_in(4, &[number(1, node.into()), bytes_in(2, &user.concat())].concat())
    }
}

/// A packet as the host gets it.
fn for_host(packet: &Packet) -> Vec<u8> {
    let data = [number(1, packet.port), bytes_in(2, &packet.payload), fixed(6, packet.request_id)].concat();
    let packet = [
        fixed(1, packet.from),
        fixed(2, packet.to),
        number(3, packet.channel),
        bytes_in(4, &data),
        fixed(6, packet.id),
        fixed(7, 1_800_000_000),
        fixed(8, 6.25_f32.to_bits()),
        number(9, packet.hops),
        number(12, -90_i64 as u64),
        number(15, packet.hops),
    ];
    bytes_in(2, &packet.concat())
}

async fn read_from(host: &mut Option<TcpStream>, read: &mut [u8]) -> usize {
    match host {
        Some(stream) => stream.read(read).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// The next whole message to the radio.
fn cut(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let start = bytes.windows(2).position(|pair| pair == [0x94, 0xC3])?;
    bytes.drain(..start);
    let length = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    (bytes.len() >= 4 + length).then(|| bytes.drain(..4 + length).skip(4).collect())
}

// ---- protocol buffers, by hand ----------------------------------------------------------------------

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number_always(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    if value == 0 { vec![] } else { number_always(field, value) }
}

fn fixed(field: u64, value: u32) -> Vec<u8> {
    if value == 0 { vec![] } else { [varint(field << 3 | 5), value.to_le_bytes().to_vec()].concat() }
}

fn bytes_always(field: u64, value: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(value.len() as u64), value].concat()
}

fn bytes_in(field: u64, value: &[u8]) -> Vec<u8> {
    if value.is_empty() { vec![] } else { bytes_always(field, value) }
}

/// Number, value if it is one, and bytes if they are some, of each field.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first().expect("the client writes whole numbers");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = vec![];
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let (value, length) = match key & 7 {
            0 => (varint(&mut bytes), 0),
            5 => (u64::from(u32::from_le_bytes(*bytes.first_chunk().unwrap())), 4),
            2 => (0, varint(&mut bytes) as usize),
            other => panic!("no field of type {other} is ever sent"),
        };
        let (value_bytes, rest) = bytes.split_at(length);
        found.push((key >> 3, value, value_bytes));
        bytes = rest;
    }
    found
}
