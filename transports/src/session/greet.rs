//! From a connection to a link: check the key, greet, agree on one connection, carry messages.
//!
//! Both ends may dial at once. The end with the lower key chooses, as drawn in `FORMAT.md`; a link
//! that works is never given up for another, so nothing sent after `Up` is lost to the choice.

use super::Sessions;
use super::carrier::{Carrier, CarrierEnd, ReadHalf, SessionError, WriteHalf};
use super::frames::{Frames, send, write};
use super::link::Link;
use super::outbox::LinkOutbox;
use crate::link::{DownReason, LinkEvent, RejectReason};
use crate::stream::{Frame, Hello, MESSAGE_BYTES_MAX, Turns, VERSION};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Room kept for what is written at a time; more is given back.
const BATCH_KEPT_BYTES: usize = 64 << 10;

/// Which end opened the connection: it greets first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionSide {
    Dialled,
    Accepted,
}

impl Sessions {
    /// Makes a link of a connection and lets it run; returns when it is up. The streams are waited for
    /// only once the key is found on the list.
    pub(super) async fn start(
        self: &Arc<Self>,
        carrier: Arc<dyn Carrier>,
        streams: impl Future<Output = Result<(ReadHalf, WriteHalf), CarrierEnd>>,
        side: SessionSide,
        time_max: Duration,
    ) -> Result<(), SessionError> {
        let greeting = timeout(time_max, self.greet(&carrier, streams, side)).await;
        let result = greeting.unwrap_or(Err(SessionError::Slow));
        // A stream that ends with its connection ends for the reason of the connection.
        let result = result.map_err(|error| match (error, carrier.ended()) {
            (SessionError::Stream, Some(ended)) => SessionError::Ended(ended),
            (error, _) => error,
        });
        if let Err(error) = &result {
            carrier.close(error.close());
        }
        result
    }

    async fn greet(
        self: &Arc<Self>,
        carrier: &Arc<dyn Carrier>,
        streams: impl Future<Output = Result<(ReadHalf, WriteHalf), CarrierEnd>>,
        side: SessionSide,
    ) -> Result<(), SessionError> {
        let peer = carrier.peer();
        if peer == self.id || !self.allow.contains(&peer) {
            return Err(SessionError::Rejected(RejectReason::UnknownKey));
        }
        let (read, mut out) = streams.await?;
        let chooses = self.id < peer;
        let mut frames = Frames::new(read, Some(Turns::of(!chooses)));
        let own = Frame::Hello(Hello {
            version: VERSION,
            boot: self.boot,
            message_bytes_max: MESSAGE_BYTES_MAX as u32,
        });
        if side == SessionSide::Dialled {
            write(&mut out, &own).await?;
        }
        let Frame::Hello(hello) = frames.next().await? else {
            return Err(SessionError::Rejected(RejectReason::BadHello));
        };
        if side == SessionSide::Accepted {
            write(&mut out, &own).await?;
        }
        let message_bytes_max = MESSAGE_BYTES_MAX.min(hello.message_bytes_max as usize);
        let (id, outbox) = (self.events.next_id(), LinkOutbox::new(self.queue_bytes_max));
        let link = Arc::new(Link::new(id, carrier.clone(), hello.boot, message_bytes_max, outbox));
        if !chooses && frames.next().await? != Frame::Chosen {
            return Err(SessionError::Rejected(RejectReason::BadFrame));
        }
        self.take_place(&link, chooses).await?;
        carrier.trust();
        tokio::spawn(run(self.clone(), link, out, frames, chooses));
        Ok(())
    }

    /// Takes the peer's one place, from a dead or older link if need be.
    async fn take_place(&self, link: &Arc<Link>, chooses: bool) -> Result<(), SessionError> {
        loop {
            if let Some(ended) = link.carrier.ended() {
                return Err(ended.into());
            }
            let Some(old) = self.claim(link)? else { return Ok(()) };
            let same_boot = old.boot == link.boot;
            if chooses && same_boot && !old.is_ending() && !old.is_suspect() && old.is_alive().await {
                return Err(SessionError::Duplicate);
            }
            old.end(if same_boot { DownReason::Replaced } else { DownReason::Restarted });
            old.ended().await;
        }
    }
}

/// The life of a link, from `Up` to `Down`.
async fn run(sessions: Arc<Sessions>, link: Arc<Link>, out: WriteHalf, frames: Frames, chooses: bool) {
    let (id, peer, address) = (link.id, link.peer, link.carrier.address());
    tracing::info!(link = id.0, %peer, %address, "link up");
    let up = LinkEvent::Up { link: id, peer, caps: link.caps(), address };
    let reason = if sessions.events.send(up).await {
        tokio::select! {
            reason = link.told_to_end() => reason,
            reason = receive(&sessions, &link, frames) => reason,
            reason = transmit(&sessions, &link, out, chooses) => reason,
        }
    } else {
        DownReason::Shutdown
    };
    link.end(reason);
    let reason = link.ending().unwrap_or(reason);
    if let DownReason::Misbehaved(reason) = reason {
        sessions.reject(reason, address);
    }
    tracing::info!(link = id.0, %peer, %reason, "link down");
    sessions.events.send(LinkEvent::Down { link: id, reason }).await;
    sessions.release(&link);
    link.has_ended();
}

async fn receive(sessions: &Sessions, link: &Link, mut frames: Frames) -> DownReason {
    loop {
        let frame = match frames.waiting() {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => match frames.receive().await {
                Ok(bytes) => {
                    link.received(bytes);
                    continue;
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match frame {
            Ok(Frame::Message(bytes)) => {
                if !sessions.events.send(LinkEvent::Received { link: link.id, bytes }).await {
                    return DownReason::Shutdown;
                }
            }
            Ok(Frame::Ping) => link.outbox.pong(),
            Ok(Frame::Pong) => link.ponged(),
            Ok(Frame::Hello(_) | Frame::Chosen) => return DownReason::Misbehaved(RejectReason::BadFrame),
            Err(SessionError::Rejected(reason)) => return DownReason::Misbehaved(reason),
            Err(_) => return stream_ended(link),
        }
    }
}

async fn transmit(sessions: &Sessions, link: &Link, mut out: WriteHalf, chooses: bool) -> DownReason {
    let mut batch = Vec::new();
    if chooses {
        Frame::Chosen.encode(&mut batch);
    }
    loop {
        if send(&mut out, &batch).await.is_err() {
            return stream_ended(link);
        }
        batch.clear();
        batch.shrink_to(BATCH_KEPT_BYTES);
        let drained = link.outbox.fill(&mut batch).await;
        if drained && !sessions.events.send(LinkEvent::Drained { link: link.id }).await {
            return DownReason::Shutdown;
        }
    }
}

/// What the end of a stream means: the connection may know more.
fn stream_ended(link: &Link) -> DownReason {
    link.carrier.ended().map_or(DownReason::PeerClosed, CarrierEnd::down_reason)
}
