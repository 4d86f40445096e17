//! Radios on TCP and serial ports: opens, reconnects, paces, reports.
//!
//! [`Radio::open`] starts a task that owns one radio's port for as long as the [`Radio`] is held. The sessions it runs
//! (`tnc`, `companion`, `meshtastic`) are sans-io; this file and `port` touch the world. What is inside a
//! frame is none of their business, and neither is what the law allows: the ledger above decides before a frame is
//! handed over.
//!
//! The contract, for the owner of a [`Radio`]:
//!
//! ```text
//! Opened                                     the port is open; what is behind it is not known yet
//! Up, Ready                                  the radio can be spoken to, and takes one frame
//!     send(frame)                            takes the Ready back
//!     Busy*, then one of Sent | TooLarge | DutyCycle | Refused, or nothing (a plain TNC reports nothing)
//!     Ready                                  the next frame: choose it now, not before
//! Received*                                  at any time while up
//! Down                                       a frame in hand may or may not have gone out; Up comes again by itself
//! ```

mod companion;
mod meshtastic;
mod modem;
mod pace;
mod port;
mod tnc;
mod url;

pub use url::{
    KISS_MTU, KissOptions, MTU_MIN, MeshcoreOptions, MeshtasticOptions, RadioPort, RadioProtocol, RadioUrl,
    RadioUrlError,
};

use modem::{Modem, Output};
use port::OpenPort;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tombolo_mesh::airtime::Modulation;
use tombolo_mesh::time::{Millis, Mono};

/// Before the second attempt to open a port; doubles with each failure.
const BACK_OFF_MIN: Duration = Duration::from_millis(500);
/// Between attempts at most.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// A link that held this long restarts the back-off.
const STEADY: Duration = Duration::from_secs(20);
/// A radio that takes nothing for so long is gone.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Bytes read at a time.
const READ_BYTES: usize = 2048;

/// Names one radio of a node, for as long as the process runs; the opener chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RadioId(pub u16);

/// What a radio reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RadioEvent {
    /// Its port is open, and the radio has not answered yet.
    Opened,
    /// It can be spoken to.
    Up {
        /// The longest frame it takes, bytes.
        frame_bytes_max: usize,
        /// What it reported of itself.
        info: RadioInfo,
    },
    /// It heard a frame; not an echo of our own. At most 2000 bytes, usually at most 255.
    Received(Vec<u8>),
    /// It takes the next frame.
    Ready,
    /// It did not take the frame yet; the driver keeps it and tries again by itself.
    Busy {
        /// When it tries again.
        retry: Millis,
        /// What the radio reported.
        why: BusyReason,
    },
    /// The frame is dropped: longer than the radio takes after all. `Ready` follows.
    TooLarge {
        /// The longest frame it takes from now on, bytes.
        frame_bytes_max: usize,
    },
    /// The frame, or the one before, is dropped: the radio's own duty-cycle limit is reached. `Ready` follows after
    /// `wait`; reported again where the radio names another time.
    DutyCycle {
        /// When it takes frames again; as the radio reports it, else ten minutes.
        wait: Millis,
    },
    /// The frame is dropped for another reason. `Ready` follows.
    Refused {
        /// What the radio reported.
        why: RefusedReason,
    },
    /// The radio reports the frame as sent, or as taken for sending where it reports no more.
    Sent,
    /// It is gone; the driver tries again for ever, ever more rarely.
    Down {
        /// The reason why it is down.
        why: RadioDownReason,
    },
}

/// What a radio reports of itself; the rest is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RadioInfo {
    /// The name of node or board.
    pub name: Option<String>,
    /// The version that the firmware reports.
    pub firmware: Option<String>,
    /// The LoRa settings that the radio reports.
    pub modulation: Option<Modulation>,
    /// Its frequency in Hz.
    pub frequency_hz: Option<u32>,
    /// The region it is set to, as its community writes it.
    pub region: Option<String>,
}

/// Why a radio does not take a frame yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusyReason {
    /// It still sends another.
    #[error("a transmission is pending")]
    Sending,
    /// Its queue is full.
    #[error("the radio's queue is full")]
    QueueFull,
    /// It asks for patience between frames.
    #[error("the radio limits the rate")]
    RateLimit,
}

/// Why a radio did not send a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedReason {
    /// It was busy for too long.
    #[error("the radio stayed busy")]
    Busy,
    /// It tried, and reports that it failed.
    #[error("the transmission failed")]
    Failed,
    /// It never reported what became of the frame.
    #[error("the radio did not report the transmission")]
    NoReport,
    /// It refuses, with this number of its protocol.
    #[error("the radio answers with code {0}")]
    Code(u32),
}

/// Why a radio is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RadioDownReason {
    /// The port could not be opened.
    #[error("cannot open: {}", in_words(*.0))]
    Open(io::ErrorKind),
    /// The host's name leads to no address.
    #[error(
        "cannot open: no address is known for that host name; is it spelt right, and is there a name server?"
    )]
    NoHost,
    /// What is there is no serial port.
    #[error("cannot open: that is no serial port; radios are at names like /dev/ttyUSB0 or /dev/ttyACM0")]
    NoSerialPort,
    /// Reading from the port or writing to it failed.
    #[error("{0}")]
    Failed(io::ErrorKind),
    /// The other end closed it: a restart, or another program took the radio.
    #[error("closed by the other end")]
    Closed,
    /// It takes no bytes.
    #[error("takes no bytes")]
    Stuck,
    /// It is silent where it must answer.
    #[error(
        "does not answer as a radio of this kind does: is it of the kind that its address names (kiss, meshcore, meshtastic)?"
    )]
    Silent,
    /// What answers there speaks another language.
    #[error("what answers there is no radio of the kind that its address names (kiss, meshcore, meshtastic)")]
    OtherRadio,
    /// Its firmware is older than what we need of it.
    #[error("the radio's firmware (version {0}) is too old")]
    OldFirmware(u32),
    /// The channel asked for is not set up in the radio, and it does not let us.
    #[error("the radio has no such channel; set one up in its app, or name another with channel=")]
    NoChannel,
    /// The radio's region is not set: it does not transmit.
    #[error("the radio's region is not set, so it does not transmit; set it in the radio's app")]
    NoRegion,
    /// The radio's transmitter is switched off.
    #[error("the radio's transmitter is switched off; switch it on in the radio's app")]
    TransmitterOff,
    /// The radio restarted by itself.
    #[error("the radio restarted")]
    Restarted,
}

impl RadioDownReason {
    /// Whether the port itself did not open; the other reasons are found behind an open one.
    pub fn is_of_port(&self) -> bool {
        matches!(self, RadioDownReason::Open(_) | RadioDownReason::NoHost | RadioDownReason::NoSerialPort)
    }
}

/// What a person can do about a port that does not open; other kinds in the system's words.
fn in_words(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "there is no such device; is the radio plugged in?".into(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; a serial port's group, often dialout, may open it".into()
        }
        io::ErrorKind::ConnectionRefused => {
            "connection refused; nothing listens at that port, is the radio or its program running?".into()
        }
        io::ErrorKind::ResourceBusy => "another program has it open".into(),
        io::ErrorKind::TimedOut => "no answer from that host; is it switched on and in this network?".into(),
        other => other.to_string(),
    }
}

/// Why a frame was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RadioSendError {
    /// Not after a `Ready`: another frame is in hand, or the radio is down.
    #[error("the radio takes no frame now")]
    NotReady,
    /// Longer than the radio takes.
    #[error("a frame of {bytes} bytes; the radio takes {bytes_max}")]
    TooLong {
        /// Length of the frame.
        bytes: usize,
        /// The `frame_bytes_max` of the radio.
        bytes_max: usize,
    },
    /// Shorter than the radio sends: a TNC drops what cannot be AX.25.
    #[error("a frame of {bytes} bytes; the radio sends none below {bytes_min}")]
    TooShort {
        /// Length of the frame.
        bytes: usize,
        /// The shortest frame that the radio takes.
        bytes_min: usize,
    },
}

/// One radio, opened for as long as this is held.
#[derive(Debug)]
pub struct Radio {
    id: RadioId,
    url: RadioUrl,
    frames: mpsc::Sender<Vec<u8>>,
    shared: Arc<RadioState>,
    task: JoinHandle<()>,
}

/// What the task sends to the handle.
#[derive(Debug)]
struct RadioState {
    /// Odd: the task awaits a frame.
    readiness: AtomicU32,
    frame_bytes_max: AtomicUsize,
}

impl Radio {
    /// Opens a radio in a task of its own, which tries for ever, and reports to `events`. When the reader of events is
    /// behind, the radio waits: nothing is dropped here.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time and I/O.
    pub fn open(id: RadioId, url: RadioUrl, events: mpsc::Sender<(RadioId, RadioEvent)>) -> Self {
        let (frames, handed_over) = mpsc::channel(1);
        let shared = Arc::new(RadioState {
            readiness: AtomicU32::new(0),
            frame_bytes_max: AtomicUsize::new(url.frame_bytes_max()),
        });
        let driver = RadioDriver {
            id,
            url: url.clone(),
            events,
            frames: handed_over,
            shared: shared.clone(),
            begun: Instant::now(),
        };
        Self { id, url, frames, shared, task: tokio::spawn(driver.run()) }
    }

    /// The number it was opened with.
    pub fn id(&self) -> RadioId {
        self.id
    }

    /// What it was opened as.
    pub fn url(&self) -> &RadioUrl {
        &self.url
    }

    /// The longest frame it takes now, bytes.
    pub fn frame_bytes_max(&self) -> usize {
        self.shared.frame_bytes_max.load(Ordering::Relaxed)
    }

    /// Hands over one frame; only after a `Ready`, and one per `Ready`. An error leaves nothing handed over, and the `Ready`
    /// stands.
    ///
    /// # Errors
    /// [`RadioSendError`]: the frame is dropped.
    pub fn send(&self, frame: Vec<u8>) -> Result<(), RadioSendError> {
        let (bytes, bytes_max) = (frame.len(), self.frame_bytes_max());
        if bytes > bytes_max {
            return Err(RadioSendError::TooLong { bytes, bytes_max });
        }
        let bytes_min = self.url.frame_bytes_min();
        if bytes < bytes_min {
            return Err(RadioSendError::TooShort { bytes, bytes_min });
        }
        let ready = &self.shared.readiness;
        let now = ready.load(Ordering::Acquire);
        let taken =
            now % 2 == 1 && ready.compare_exchange(now, now + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if !taken {
            return Err(RadioSendError::NotReady);
        }
        self.frames.try_send(frame).map_err(|_| RadioSendError::NotReady)
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task behind a [`Radio`].
struct RadioDriver {
    id: RadioId,
    url: RadioUrl,
    events: mpsc::Sender<(RadioId, RadioEvent)>,
    frames: mpsc::Receiver<Vec<u8>>,
    shared: Arc<RadioState>,
    begun: Instant,
}

/// Why one connection ended.
enum End {
    Down(RadioDownReason),
    /// The radio and its events have no owner any more.
    Unwanted,
}

impl From<RadioDownReason> for End {
    fn from(why: RadioDownReason) -> Self {
        Self::Down(why)
    }
}

impl RadioDriver {
    async fn run(mut self) {
        let mut back_off = BACK_OFF_MIN;
        loop {
            let begun = Instant::now();
            let Err(End::Down(why)) = self.session().await else { return };
            self.unready();
            tracing::info!(radio = %self.url, %why, "radio down");
            if self.tell(RadioEvent::Down { why }).await.is_err() {
                return;
            }
            if begun.elapsed() > STEADY {
                back_off = BACK_OFF_MIN;
            }
            tokio::time::sleep(jitter(back_off)).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// One connection, from opening the port to its end.
    async fn session(&mut self) -> Result<std::convert::Infallible, End> {
        let mut port = OpenPort::open(&self.url.port).await?;
        self.tell(RadioEvent::Opened).await?;
        let mut modem = session_of(&self.url, random_id());
        let mut read = vec![0; READ_BYTES];
        modem.connected(self.now());
        loop {
            self.drain(modem.as_mut(), &mut port).await?;
            let due = modem.timeout().map(|at| self.begun + Duration::from_millis(at.ms()));
            tokio::select! {
                got = port.read(&mut read) => match got {
                    Ok(0) => return Err(RadioDownReason::Closed.into()),
                    Ok(bytes) => modem.received(self.now(), read.get(..bytes).unwrap_or_default()),
                    Err(error) => return Err(RadioDownReason::Failed(error.kind()).into()),
                },
                frame = self.frames.recv() => match frame {
                    Some(frame) => modem.send(self.now(), frame),
                    None => return Err(End::Unwanted),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => modem.tick(self.now()),
            }
        }
    }

    /// Does what the session wants done.
    async fn drain(&mut self, modem: &mut dyn Modem, port: &mut OpenPort) -> Result<(), End> {
        while let Some(output) = modem.take() {
            match output {
                Output::Write(bytes) => match timeout(WRITE_MAX, write(port, &bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(RadioDownReason::Failed(error.kind()).into()),
                    Err(_) => return Err(RadioDownReason::Stuck.into()),
                },
                Output::Tell(event) => self.tell(event).await?,
                Output::Fail(why) => return Err(why.into()),
            }
        }
        Ok(())
    }

    async fn tell(&mut self, event: RadioEvent) -> Result<(), End> {
        match &event {
            RadioEvent::Up { frame_bytes_max, info } => {
                tracing::info!(radio = %self.url, frame_bytes_max, ?info, "radio up");
                self.shared.frame_bytes_max.store(*frame_bytes_max, Ordering::Relaxed);
            }
            RadioEvent::TooLarge { frame_bytes_max } => {
                self.shared.frame_bytes_max.store(*frame_bytes_max, Ordering::Relaxed);
            }
            RadioEvent::Ready => {
                self.shared.readiness.fetch_or(1, Ordering::AcqRel);
            }
            _ => {}
        }
        self.events.send((self.id, event)).await.map_err(|_| End::Unwanted)
    }

    /// Takes back a `Ready` that was not used, and a frame that came too late.
    fn unready(&mut self) {
        let ready = &self.shared.readiness;
        let _ =
            ready.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| (now % 2 == 1).then(|| now + 1));
        while self.frames.try_recv().is_ok() {}
    }

    fn now(&self) -> Mono {
        Mono::from_ms(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

async fn write(port: &mut OpenPort, bytes: &[u8]) -> io::Result<()> {
    port.write_all(bytes).await?;
    port.flush().await
}

/// Three quarters of it to all of it, so that the radios of a machine do not knock in step.
fn jitter(back_off: Duration) -> Duration {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    let [byte] = byte;
    back_off * 3 / 4 + back_off / 4 * u32::from(byte) / 255
}

/// Where the numbers of packets begin: not where they began after the last start.
fn random_id() -> u32 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    u32::from_be_bytes(bytes)
}

fn session_of(url: &RadioUrl, packet_id: u32) -> Box<dyn Modem> {
    match &url.protocol {
        RadioProtocol::Kiss(options) => Box::new(tnc::Tnc::new(*options, tnc::AssumedRate::of(url))),
        RadioProtocol::Meshcore(options) => Box::new(companion::Companion::new(*options)),
        RadioProtocol::Meshtastic(options) => Box::new(meshtastic::MeshtasticRadio::new(*options, packet_id)),
    }
}
