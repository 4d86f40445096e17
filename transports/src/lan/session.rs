//! From a connection to a link: check the key, greet, agree on one stream, carry messages.
//!
//! Both ends may dial at once. The end with the lower key chooses, as drawn in `FORMAT.md`; a link
//! that works is never given up for another, so nothing sent after `Up` is lost to the choice.
#![allow(clippy::disallowed_methods, reason = "a driver reads the clock")]

use super::outbox::Outbox;
use super::quic::{self, Close};
use super::shared::Shared;
use crate::address::{LinkAddr, PeerId};
use crate::link::{DownReason, LinkCaps, LinkEvent, LinkId, Medium, RejectReason};
use crate::stream::{Frame, FrameDecoder, FrameError, Hello, MESSAGE_BYTES_MAX, VERSION};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A link asked for a sign of life has this long to give one; else another may replace it.
const LIFE_SIGN: Duration = Duration::from_secs(1);
/// How often a link asked for a sign of life is looked at.
const LIFE_LOOK: Duration = Duration::from_millis(20);
/// Bytes read from the stream at a time.
const READ_BYTES: usize = 64 << 10;
/// How long a link on which nothing was heard counts as well, without being asked: the dialling end
/// speaks every five seconds.
const QUIET: Duration = Duration::from_secs(7);

/// One live link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) peer: PeerId,
    pub(super) since: Instant,
    pub(super) message_bytes_max: usize,
    pub(super) outbox: Outbox,
    pub(super) connection: Connection,
    boot: [u8; 8],
    ending: watch::Sender<Option<DownReason>>,
    ended: watch::Sender<bool>,
    /// Datagrams heard, and one, when the link last fell silent: any more, and it is no longer suspect.
    silent_at: AtomicU64,
    heard: Mutex<(u64, Instant)>,
    doubted: AtomicBool,
}

impl Link {
    /// Ends the link, whatever its task is waiting for: the connection is closed on return. The first
    /// reason counts.
    pub(super) fn end(&self, reason: DownReason) {
        self.ending.send_if_modified(|ending| ending.is_none() && ending.replace(reason).is_none());
        match reason {
            DownReason::Revoked => Close::UnknownKey,
            DownReason::Misbehaved(_) => Close::BadFrame,
            DownReason::Replaced => Close::Duplicate,
            _ => Close::Done,
        }
        .send(&self.connection);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.borrow().is_some()
    }

    /// What the link can carry, by the round trip as measured now.
    pub(super) fn caps(&self) -> LinkCaps {
        LinkCaps {
            medium: Medium::Lan,
            message_bytes_max: self.message_bytes_max,
            rate_bps: None,
            latency_ms: u32::try_from(self.connection.rtt().as_millis() / 2).unwrap_or(u32::MAX),
            loss_permille: 0,
            broadcast: false,
            metered: false,
            confidential: true,
            airtime_us_per_byte: 0,
            airtime_left_ms: None,
        }
    }

    /// Returns when the link's `Down` is out.
    pub(super) async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Whether the link may be dead, so that its peer is worth dialling in parallel.
    pub(super) fn is_suspect(&self) -> bool {
        self.silent_at.load(Ordering::Relaxed) == self.datagrams() + 1
    }

    /// Asks for a sign of life. Any datagram of the connection is one: the peer's QUIC answers
    /// even while its node is too busy to read.
    pub(super) async fn is_alive(&self) -> bool {
        let before = self.datagrams();
        self.outbox.ping();
        let asked = Instant::now();
        while asked.elapsed() < LIFE_SIGN {
            tokio::time::sleep(LIFE_LOOK).await;
            // What is heard may be the news that the connection is gone.
            if self.connection.close_reason().is_some() {
                return false;
            }
            if self.datagrams() != before {
                return true;
            }
        }
        self.silent_at.store(before + 1, Ordering::Relaxed);
        false
    }

    /// The same for rumours, of which there may be many: `None` while one is being looked into.
    pub(super) async fn is_alive_after_all(&self) -> Option<bool> {
        if self.doubted.swap(true, Ordering::Relaxed) {
            return None;
        }
        let alive = self.is_alive().await;
        self.doubted.store(false, Ordering::Relaxed);
        Some(alive)
    }

    /// Looks whether anything was heard since the last look. To be called about every second.
    pub(super) fn look(&self, now: Instant) {
        let datagrams = self.datagrams();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.0 != datagrams {
            *heard = (datagrams, now);
        } else if now.duration_since(heard.1) >= QUIET {
            self.silent_at.store(datagrams + 1, Ordering::Relaxed);
        }
    }

    fn datagrams(&self) -> u64 {
        self.connection.stats().udp_rx.datagrams
    }
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("{0}")]
    Rejected(RejectReason),
    #[error("another connection is the link")]
    Duplicate,
    #[error("the connection ended: {0}")]
    Connection(#[from] ConnectionError),
    #[error("the stream ended early")]
    Stream,
    #[error("no answer in time")]
    Slow,
    #[error("shutting down")]
    Shutdown,
}

impl SessionError {
    /// How the peer is told.
    fn close(&self) -> Close {
        match self {
            Self::Rejected(RejectReason::UnknownKey) => Close::UnknownKey,
            Self::Rejected(_) => Close::BadFrame,
            Self::Duplicate => Close::Duplicate,
            Self::Slow => Close::TooSlow,
            Self::Connection(_) | Self::Stream | Self::Shutdown => Close::Done,
        }
    }
}

impl From<FrameError> for SessionError {
    fn from(error: FrameError) -> Self {
        Self::Rejected(reject_reason(error))
    }
}

fn reject_reason(error: FrameError) -> RejectReason {
    match error {
        FrameError::Oversized(_) => RejectReason::Oversized,
        FrameError::Version(_) => RejectReason::BadHello,
        FrameError::Kind(_) | FrameError::Length(..) => RejectReason::BadFrame,
    }
}

/// Makes a link of a connection, and lets it run; returns when it is up. The caller limits the time.
pub(super) async fn start(
    shared: &Arc<Shared>,
    connection: Connection,
    dialled: bool,
) -> Result<Arc<Link>, SessionError> {
    let result = negotiate(shared, &connection, dialled).await;
    if let Err(error) = &result {
        error.close().send(&connection);
    }
    result
}

async fn negotiate(
    shared: &Arc<Shared>,
    connection: &Connection,
    dialled: bool,
) -> Result<Arc<Link>, SessionError> {
    let peer = quic::peer(connection).ok_or(SessionError::Rejected(RejectReason::HandshakeFailed))?;
    if peer == shared.id || !shared.allow.contains(&peer) {
        return Err(SessionError::Rejected(RejectReason::UnknownKey));
    }
    let (mut send, recv) = if dialled { connection.open_bi().await? } else { connection.accept_bi().await? };
    let mut frames = Frames { recv, decoder: FrameDecoder::default() };
    let own = Frame::Hello(Hello {
        version: VERSION,
        boot: shared.boot,
        message_bytes_max: MESSAGE_BYTES_MAX as u32,
    });
    if dialled {
        write(&mut send, &own).await?;
    }
    let Frame::Hello(hello) = frames.next().await? else {
        return Err(SessionError::Rejected(RejectReason::BadHello));
    };
    if !dialled {
        write(&mut send, &own).await?;
    }
    let link = Arc::new(Link {
        id: shared.ids.next_id(),
        peer,
        since: Instant::now(),
        message_bytes_max: MESSAGE_BYTES_MAX.min(hello.message_bytes_max as usize),
        outbox: Outbox::new(shared.queue_bytes_max),
        connection: connection.clone(),
        boot: hello.boot,
        ending: watch::Sender::new(None),
        ended: watch::Sender::new(false),
        silent_at: AtomicU64::new(0),
        heard: Mutex::new((0, Instant::now())),
        doubted: AtomicBool::new(false),
    });
    let chooses = shared.id < peer;
    if !chooses && frames.next().await? != Frame::Chosen {
        return Err(SessionError::Rejected(RejectReason::BadFrame));
    }
    claim(shared, &link, chooses).await?;
    quic::trust(connection);
    tokio::spawn(run(shared.clone(), link.clone(), send, frames, chooses));
    Ok(link)
}

/// Takes the peer's one place, from a dead or older link if need be.
async fn claim(shared: &Arc<Shared>, link: &Arc<Link>, chooses: bool) -> Result<(), SessionError> {
    loop {
        if let Some(error) = link.connection.close_reason() {
            return Err(error.into());
        }
        let Some(old) = shared.claim(link)? else { return Ok(()) };
        let same_boot = old.boot == link.boot;
        if chooses && same_boot && !old.is_ending() && !old.is_suspect() && old.is_alive().await {
            return Err(SessionError::Duplicate);
        }
        old.end(if same_boot { DownReason::Replaced } else { DownReason::Restarted });
        old.ended().await;
    }
}

/// The life of a link, from `Up` to `Down`.
async fn run(shared: Arc<Shared>, link: Arc<Link>, send: SendStream, frames: Frames, chooses: bool) {
    let (peer, address) = (link.peer, link.connection.remote_address());
    tracing::info!(link = link.id.0, %peer, %address, "link up");
    let up = LinkEvent::Up { link: link.id, peer, caps: link.caps(), address: LinkAddr::Socket(address) };
    let mut ending = link.ending.subscribe();
    let reason = if shared.tell(up).await {
        tokio::select! {
            ended = ending.wait_for(Option::is_some) => ended.ok().and_then(|reason| *reason).unwrap_or(DownReason::Closed),
            reason = read(&shared, &link, frames) => reason,
            reason = write_all(&shared, &link, send, chooses) => reason,
        }
    } else {
        DownReason::Shutdown
    };
    link.end(reason);
    let reason = link.ending.borrow().unwrap_or(reason);
    if let DownReason::Misbehaved(reason) = reason {
        shared.reject(reason, link.connection.remote_address());
    }
    tracing::info!(link = link.id.0, %peer, %reason, "link down");
    shared.tell(LinkEvent::Down { link: link.id, reason }).await;
    shared.release(&link);
    link.ended.send_replace(true);
}

async fn read(shared: &Shared, link: &Link, mut frames: Frames) -> DownReason {
    loop {
        match frames.next().await {
            Ok(Frame::Message(bytes)) => {
                if !shared.tell(LinkEvent::Received { link: link.id, bytes }).await {
                    return DownReason::Shutdown;
                }
            }
            Ok(Frame::Ping) => link.outbox.pong(),
            Ok(Frame::Pong) => {}
            Ok(Frame::Hello(_) | Frame::Chosen) => return DownReason::Misbehaved(RejectReason::BadFrame),
            Err(SessionError::Rejected(reason)) => return DownReason::Misbehaved(reason),
            Err(SessionError::Connection(error)) => return quic::down_reason(&error),
            Err(_) => return DownReason::PeerClosed,
        }
    }
}

async fn write_all(shared: &Shared, link: &Link, mut send: SendStream, chooses: bool) -> DownReason {
    let mut batch = Vec::new();
    if chooses {
        Frame::Chosen.encode(&mut batch);
    }
    loop {
        match send.write_all(&batch).await {
            Ok(()) => {}
            Err(quinn::WriteError::ConnectionLost(error)) => return quic::down_reason(&error),
            Err(_) => return DownReason::PeerClosed,
        }
        batch.clear();
        batch.shrink_to(READ_BYTES);
        if link.outbox.fill(&mut batch).await && !shared.tell(LinkEvent::Drained { link: link.id }).await {
            return DownReason::Shutdown;
        }
    }
}

async fn write(send: &mut SendStream, frame: &Frame) -> Result<(), SessionError> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    send.write_all(&bytes).await.map_err(|error| match error {
        quinn::WriteError::ConnectionLost(error) => SessionError::Connection(error),
        _ => SessionError::Stream,
    })
}

/// The frames that arrive on a stream.
struct Frames {
    recv: RecvStream,
    decoder: FrameDecoder,
}

impl Frames {
    async fn next(&mut self) -> Result<Frame, SessionError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            match self.recv.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                Ok(None) => return Err(SessionError::Stream),
                Err(quinn::ReadError::ConnectionLost(error)) => return Err(SessionError::Connection(error)),
                Err(_) => return Err(SessionError::Stream),
            }
        }
    }
}
