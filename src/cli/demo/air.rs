//! A radio channel on this machine: the emulated air on real time, with a KISS TNC on loopback TCP for each
//! radio. A node reaches its radio through the real driver, as it would reach a physical one.

use crate::time::Mono;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tombolo_mesh::airtime::PhyRate;
use tombolo_mesh::emulated::{Access, Air, EmulatedRadioId, RadioStats};
use tombolo_mesh::wire::kiss::{Event, KissCommand, KissDecoder};

/// LoRa's carrier sense: a few symbols.
const ACCESS: Access = Access::Listen { persistence: 127, slot_ms: 40, detect_ms: 10 };
/// Frames on their way from one TNC to its node; more are lost, as in any full buffer.
const HEARD_FRAMES_MAX: usize = 64;
/// Bytes read at a time.
const READ_BYTES: usize = 1_024;
/// While nothing is on air, the channel is polled this often.
const IDLE: Duration = Duration::from_secs(1);

/// The channel; silent when dropped.
pub(super) struct EmulatedChannel {
    shared: Arc<ChannelState>,
    ports: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

struct ChannelState {
    air: Mutex<Air>,
    start: Instant,
    changed: Notify,
}

impl EmulatedChannel {
    /// So many radios that all hear each other, each behind a TNC of its own.
    pub(super) async fn open(seed: u64, line: PhyRate, radios: usize) -> io::Result<Self> {
        let air = Mutex::new(Air::new(seed, line));
        let shared = Arc::new(ChannelState { air, start: start(), changed: Notify::new() });
        let (mut ports, mut to_nodes, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
        for _ in 0..radios {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            ports.push(listener.local_addr()?);
            let radio = shared.on_air(|air, _| {
                let radio = air.add_radio();
                air.set_access(radio, ACCESS);
                radio
            });
            let (to_node, heard) = mpsc::channel(HEARD_FRAMES_MAX);
            to_nodes.push((radio, to_node));
            tasks.spawn(tnc(listener, shared.clone(), radio, heard));
        }
        tasks.spawn(keep_time(shared.clone(), to_nodes));
        Ok(EmulatedChannel { shared, ports, _tasks: tasks })
    }

    /// The port on which the TNC of a radio listens.
    pub(super) fn port(&self, radio: usize) -> Option<SocketAddr> {
        self.ports.get(radio).copied()
    }

    /// The frames that a radio sent and received.
    pub(super) fn stats(&self, radio: usize) -> RadioStats {
        let id = u16::try_from(radio).unwrap_or(u16::MAX);
        self.shared.on_air(|air, _| air.stats(EmulatedRadioId(id)))
    }
}

#[allow(clippy::disallowed_methods, reason = "the air of the demo runs on real time")]
fn start() -> Instant {
    Instant::now()
}

impl ChannelState {
    fn on_air<T>(&self, act: impl FnOnce(&mut Air, Mono) -> T) -> T {
        let now = Mono::from_ms(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut air = self.air.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut air, now)
    }
}

/// Lets frames end when their time is over, and hands them to the TNCs that heard them.
async fn keep_time(shared: Arc<ChannelState>, to_nodes: Vec<(EmulatedRadioId, mpsc::Sender<Vec<u8>>)>) {
    loop {
        let (heard, wait) = shared.on_air(|air, now| {
            let heard: Vec<_> = std::iter::from_fn(|| air.poll(now)).collect();
            let wait = air.poll_timeout().map(|at| Duration::from_millis(at.since(now).ms().max(1)));
            (heard, wait.unwrap_or(IDLE))
        });
        for (radio, frame) in heard {
            if let Some((_, to_node)) = to_nodes.iter().find(|(id, _)| *id == radio) {
                let _ = to_node.try_send(frame);
            }
        }
        let _ = tokio::time::timeout(wait, shared.changed.notified()).await;
    }
}

/// One TNC: it serves one host at a time, as a physical one does.
async fn tnc(
    listener: TcpListener,
    shared: Arc<ChannelState>,
    radio: EmulatedRadioId,
    mut heard: mpsc::Receiver<Vec<u8>>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = serve(stream, &shared, radio, &mut heard).await;
    }
}

async fn serve(
    stream: TcpStream,
    shared: &ChannelState,
    radio: EmulatedRadioId,
    heard: &mut mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (from_host, mut to_host) = stream.into_split();
    let hear = async {
        while let Some(frame) = heard.recv().await {
            to_host.write_all(&KissCommand::Data(&frame).encode(0)).await?;
        }
        Ok(())
    };
    tokio::select! {
        spoken = speak(from_host, shared, radio) => spoken,
        heard = hear => heard,
    }
}

async fn speak(
    mut from_host: OwnedReadHalf,
    shared: &ChannelState,
    radio: EmulatedRadioId,
) -> io::Result<()> {
    let mut decoder = KissDecoder::default();
    let mut bytes = [0; READ_BYTES];
    loop {
        let read = from_host.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        decoder.push(bytes.get(..read).unwrap_or_default());
        while let Some(event) = decoder.next_event() {
            if let Event::Data { bytes: frame, .. } = event {
                // A full queue loses a frame, as in a TNC.
                let _ = shared.on_air(|air, now| air.transmit(now, radio, frame));
                shared.changed.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tombolo_mesh::airtime::Modulation;

    #[tokio::test]
    async fn what_one_tnc_sends_the_other_receives_a_time_on_air_later() {
        let line = PhyRate::lora(Modulation::SF7_125);
        let channel = EmulatedChannel::open(1, line, 2).await.unwrap();
        let mut one = TcpStream::connect(channel.port(0).unwrap()).await.unwrap();
        let mut other = TcpStream::connect(channel.port(1).unwrap()).await.unwrap();
        let begun = start();
        one.write_all(&KissCommand::Data(b"all stations, this is a test").encode(0)).await.unwrap();
        let (mut decoder, mut bytes) = (KissDecoder::default(), [0; 64]);
        let event = loop {
            let read = other.read(&mut bytes).await.unwrap();
            decoder.push(&bytes[..read]);
            if let Some(event) = decoder.next_event() {
                break event;
            }
        };
        let frame = b"all stations, this is a test".to_vec();
        let airtime_us = line.frame_us(frame.len());
        assert_eq!(event, Event::Data { port: 0, bytes: frame });
        assert!(begun.elapsed() >= Duration::from_micros(airtime_us));
        assert_eq!((channel.stats(0).sent_frames, channel.stats(0).airtime_us), (1, airtime_us));
        assert_eq!((channel.stats(1).sent_frames, channel.stats(1).heard_frames), (0, 1));
    }
}
