//! A MeshCore companion radio: what the official client asks of one, and what our driver does.
//!
//! Written from the protocol's description, not from our codec: the official client is its judge.

use super::air::{Air, serve};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;

const CHANNELS: u8 = 8;
/// What is kept for a host that is not there; then the oldest goes.
const OFFLINE_MAX: usize = 16;
const PAYLOAD_MAX: usize = 163;

/// A datagram on the air: which key it is for, its type, its payload.
pub(crate) type Datagram = ([u8; 16], u16, Vec<u8>);

/// What a test may change while the radio runs.
#[derive(Debug, Default)]
pub(crate) struct Moods {
    /// Its queue is full: nothing is taken for sending.
    pub(crate) full: bool,
    /// It reads, and answers nothing.
    pub(crate) mute: bool,
    /// Commands as they came, without frame.
    pub(crate) asked: Vec<Vec<u8>>,
}

/// One radio. It runs until the test ends.
pub(crate) struct EmulatedMeshcore {
    pub(crate) at: SocketAddr,
    pub(crate) moods: Arc<Mutex<Moods>>,
}

impl EmulatedMeshcore {
    pub(crate) fn start(name: &'static str, air: &Arc<Air<Datagram>>) -> Self {
        let moods = Arc::new(Mutex::new(Moods::default()));
        let (air, told) = (air.clone(), moods.clone());
        let (place, heard) = air.tune_in();
        let at = serve(move |listener| async move {
            let radio =
                Radio { name, place, air, moods: told, channels: BTreeMap::new(), inbox: VecDeque::new() };
            radio.run(listener, heard).await;
        });
        Self { at, moods }
    }
}

struct Radio {
    name: &'static str,
    place: usize,
    air: Arc<Air<Datagram>>,
    moods: Arc<Mutex<Moods>>,
    channels: BTreeMap<u8, Vec<u8>>,
    inbox: VecDeque<Vec<u8>>,
}

impl Radio {
    async fn run(mut self, listener: TcpListener, mut heard: UnboundedReceiver<Datagram>) {
        let mut host: Option<TcpStream> = None;
        let (mut bytes, mut read) = (vec![], vec![0; 4096]);
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    bytes.clear();
                    host = Some(stream);
                }
                Some(datagram) = heard.recv() => {
                    if self.keep(datagram) {
                        answer(&mut host, &[0x83]).await;
                    }
                }
                got = read_from(&mut host, &mut read) => match got {
                    0 => host = None,
                    got => {
                        bytes.extend_from_slice(&read[..got]);
                        while let Some(command) = cut(&mut bytes) {
                            for body in self.command(&command) {
                                answer(&mut host, &body).await;
                            }
                        }
                    }
                },
            }
        }
    }

    /// Keeps a datagram of a channel that is set up; returns whether it is one.
    fn keep(&mut self, (secret, kind, payload): Datagram) -> bool {
        let Some((index, _)) = self.channels.iter().find(|(_, channel)| channel[32..] == secret) else {
            return false;
        };
        if self.inbox.len() >= OFFLINE_MAX {
            self.inbox.pop_front();
        }
        let mut body = vec![27, 40, 0, 0, *index, 0];
        body.extend(kind.to_le_bytes());
        body.push(payload.len() as u8);
        body.extend(payload);
        self.inbox.push_back(body);
        true
    }

    fn command(&mut self, command: &[u8]) -> Vec<Vec<u8>> {
        let mut moods = self.moods.lock().unwrap();
        moods.asked.push(command.to_vec());
        if moods.mute {
            return vec![];
        }
        let (code, rest) = (command[0], &command[1..]);
        let answer = match code {
            1 if rest.len() >= 7 => self.self_info(),
            // Contacts: none.
            4 => return vec![vec![2, 0, 0, 0, 0], vec![4, 0, 0, 0, 0]],
            5 => [&[9][..], &1_800_000_000_u32.to_le_bytes()].concat(),
            6 => vec![0],
            10 => self.inbox.pop_front().unwrap_or_else(|| vec![10]),
            20 => vec![12, 0x10, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0],
            22 => device_info(),
            31 if rest[0] < CHANNELS => {
                let channel = self.channels.get(&rest[0]).cloned().unwrap_or_else(|| vec![0; 48]);
                [&[18, rest[0]], channel.as_slice()].concat()
            }
            32 if rest.len() == 49 && rest[0] < CHANNELS => {
                self.channels.insert(rest[0], rest[1..].to_vec());
                vec![0]
            }
            31 | 32 => vec![1, 2],
            62 if rest.len() < 4 || rest.len() - 4 > PAYLOAD_MAX || rest[1] != 0xFF => vec![1, 6],
            62 if moods.full => vec![1, 3],
            62 => match self.channels.get(&rest[0]) {
                Some(channel) => {
                    let secret = channel[32..].try_into().unwrap();
                    let kind = u16::from_le_bytes([rest[2], rest[3]]);
                    self.air.send(self.place, &(secret, kind, rest[4..].to_vec()));
                    vec![0]
                }
                None => vec![1, 2],
            },
            _ => vec![1, 1],
        };
        vec![answer]
    }

    fn self_info(&self) -> Vec<u8> {
        let mut body = vec![5, 1, 22, 22];
        body.extend([self.place as u8; 32]);
        body.extend([0; 12]);
        body.extend(869_525_u32.to_le_bytes());
        body.extend(250_000_u32.to_le_bytes());
        body.extend([10, 5]);
        body.extend(self.name.bytes());
        body
    }
}

fn device_info() -> Vec<u8> {
    let text = |text: &str, bytes: usize| -> Vec<u8> { text.bytes().chain([0; 40]).take(bytes).collect() };
    let head = [13, 11, 50, CHANNELS, 0, 0, 0, 0];
    [&head[..], &text("1 Jan 2027", 12), &text("Emulated", 40), &text("v1.15.0", 20), &[0, 0]].concat()
}

async fn read_from(host: &mut Option<TcpStream>, read: &mut [u8]) -> usize {
    match host {
        Some(stream) => stream.read(read).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

async fn answer(host: &mut Option<TcpStream>, body: &[u8]) {
    if let Some(stream) = host {
        let frame = [&[0x3E], (body.len() as u16).to_le_bytes().as_slice(), body].concat();
        let _ = stream.write_all(&frame).await;
    }
}

/// The next whole command.
fn cut(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let start = bytes.iter().position(|byte| *byte == 0x3C)?;
    bytes.drain(..start);
    let length = usize::from(u16::from_le_bytes([*bytes.get(1)?, *bytes.get(2)?]));
    (bytes.len() >= 3 + length && length > 0).then(|| bytes.drain(..3 + length).skip(3).collect())
}
