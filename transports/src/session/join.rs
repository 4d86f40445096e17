//! Joining: one request and one answer on a connection of their own, at both ends.
//!
//! The asking end knows the inviter's key from the invite and accepts no other; the answering end
//! takes any key while invites are open, and leaves the judgement to the node.
//!
//! Where a stream can be ended in one direction, request and answer are the whole stream; elsewhere each is
//! one message frame.

use super::Sessions;
use super::accept::HalfOpenPlace;
use super::carrier::{Carrier, CarrierEnd, Close, Connection, Protocol, ReadHalf, WriteHalf};
use super::dial::{Dial, STAGGER};
use super::frames::{Frames, send, write};
use crate::address::{Address, PeerId};
use crate::error::JoinError;
use crate::link::{LinkEvent, RejectReason};
use crate::stream::Frame;
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// The longest request to join and the longest answer, in bytes; a longer one is refused.
pub const JOIN_BYTES_MAX: usize = 4096;
/// How long the inviter is looked for while no address answers, where it may yet show itself.
const SEARCH_MAX: Duration = Duration::from_secs(8);
/// The same once another node, or an inviter without an invite, has answered.
const SEARCH_ON_MAX: Duration = Duration::from_secs(2);
/// How often newly shown addresses are looked for meanwhile.
const SEARCH_LOOK: Duration = Duration::from_millis(100);
/// Time the inviter's node has to answer; it commits to its disk before.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Addresses tried for one request to join; further ones are ignored.
const ADDRESSES_MAX: usize = 32;
/// Times an inviter is asked that works on as many requests as it may.
const BUSY_TRIES: usize = 5;
/// How long to wait before the next attempt at a busy inviter.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// Time for the asker to take the answer, before the connection is closed all the same.
const LINGER: Duration = Duration::from_secs(3);

/// A secret that an inviter shares with the holder of a code. Carriers that hide the inviter from strangers derive from it
/// the key by which a joiner reaches it; it proves nothing to the node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JoinSecret(pub [u8; 32]);

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(..)")
    }
}

impl Sessions {
    /// Takes a request to join and returns the node's answer to it.
    pub(super) async fn answer(
        &self,
        carrier: &dyn Carrier,
        streams: impl Future<Output = Result<(ReadHalf, WriteHalf), CarrierEnd>>,
        time_max: Duration,
        place: HalfOpenPlace,
    ) -> Result<(), RejectReason> {
        if !self.is_joining() {
            carrier.close(Close::NoInvite);
            return Err(RejectReason::NoInvite);
        }
        let request = async {
            let (mut read, write) = streams.await.ok()?;
            let bytes = read_message(carrier, &mut read).await?;
            Some((write, bytes))
        };
        let (mut write, bytes) = match timeout(time_max, request).await {
            Ok(Some(request)) => request,
            Ok(None) => {
                carrier.close(Close::BadFrame);
                return Err(RejectReason::BadJoin);
            }
            Err(_) => {
                carrier.close(Close::TooSlow);
                return Err(RejectReason::HandshakeTimeout);
            }
        };
        // Only now: a request that arrives slowly takes no place from one that is there.
        let Ok(_permit) = self.joins.try_acquire() else {
            carrier.close(Close::TooMany);
            return Err(RejectReason::TooManyJoins);
        };
        drop(place);
        let (answer, answered) = oneshot::channel();
        let event =
            LinkEvent::JoinRequest { peer: carrier.peer(), address: carrier.dial_address(), bytes, answer };
        let answered = async { if self.events.send(event).await { answered.await.ok() } else { None } };
        let answer = timeout(ANSWER_MAX, answered).await.ok().flatten();
        let Some(answer) = answer.filter(|answer| answer.len() <= JOIN_BYTES_MAX) else {
            carrier.close(Close::Refused);
            return Ok(());
        };
        if write_message(carrier, &mut write, answer).await.is_some() {
            let _ = timeout(LINGER, carrier.flushed()).await;
        }
        carrier.close(Close::Done);
        Ok(())
    }

    /// Keeps an inviter from being dialled as a peer, for as long as the result is held: from before it is on the list of peers.
    pub fn asking(self: &Arc<Self>, inviter: PeerId) -> Asking {
        *self.table().asked.entry(inviter).or_default() += 1;
        Asking { sessions: self.clone(), inviter }
    }

    /// Asks an inviter to let this node join: one request, one answer, each at most [`JOIN_BYTES_MAX`].
    /// Tries the given addresses and those that `found` returns meanwhile, side by side; the first answer
    /// counts. Nothing is sent to a node that does not prove the inviter's key. `found` is `None` where the
    /// inviter cannot show itself.
    ///
    /// # Errors
    ///
    /// The most specific reason of all attempts.
    pub async fn join(
        self: &Arc<Self>,
        dial: Arc<dyn Dial>,
        inviter: PeerId,
        addresses: Vec<Address>,
        request: Vec<u8>,
        found: Option<&(dyn Fn() -> Vec<Address> + Send + Sync)>,
    ) -> Result<Vec<u8>, JoinError> {
        if request.len() > JOIN_BYTES_MAX {
            return Err(JoinError::TooLong { bytes: request.len() });
        }
        let _asking = self.asking(inviter);
        let ask = Arc::new(Ask { dial, inviter, request, turn: Semaphore::new(1) });
        let mut search_until = Instant::now() + SEARCH_MAX;
        let (mut attempts, mut tried) = (JoinSet::new(), BTreeSet::new());
        let mut reason = None;
        let mut fresh = addresses;
        let stopped = self.stopped();
        tokio::pin!(stopped);
        loop {
            fresh.extend(found.map(|found| found()).unwrap_or_default());
            let mut delay = Duration::ZERO;
            for address in fresh.drain(..).filter(|address| ask.dial.dials(address)) {
                if tried.len() < ADDRESSES_MAX && tried.insert(address) {
                    attempts.spawn(ask.clone().attempt(address, delay));
                    delay += STAGGER;
                }
            }
            let searching = found.is_some() && Instant::now() < search_until;
            if attempts.is_empty() && !searching {
                break;
            }
            tokio::select! {
                () = &mut stopped => return Err(JoinError::Shutdown),
                Some(result) = attempts.join_next() => match result {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error @ JoinError::Refused { .. })) => return Err(error),
                    // Neither proves that it was the inviter: an address may have a new owner.
                    Ok(Err(error @ (JoinError::NoInvite { .. } | JoinError::OtherKey { .. }))) => {
                        search_until = search_until.min(Instant::now() + SEARCH_ON_MAX);
                        if !matches!(reason, Some(JoinError::NoInvite { .. })) {
                            reason = Some(error);
                        }
                    }
                    Ok(Err(_)) | Err(_) => {}
                },
                () = tokio::time::sleep(SEARCH_LOOK) => {}
            }
        }
        Err(match reason {
            Some(error) => error,
            None if tried.is_empty() => JoinError::NotFound,
            None => JoinError::NobodyAnswered { tried: tried.into_iter().collect() },
        })
    }
}

/// An inviter is asked, as long as this is held: a dial as a peer would only be refused, and counted there.
#[derive(Debug)]
pub struct Asking {
    sessions: Arc<Sessions>,
    inviter: PeerId,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut table = self.sessions.table();
        if let Some(requests) = table.asked.get_mut(&self.inviter) {
            *requests -= 1;
            if *requests == 0 {
                table.asked.remove(&self.inviter);
            }
        }
        drop(table);
        self.sessions.wake.notify_one();
    }
}

/// One request to join, to be sent to the address that leads to the inviter.
struct Ask {
    dial: Arc<dyn Dial>,
    inviter: PeerId,
    request: Vec<u8>,
    /// The request goes out on one connection at a time: several may lead to the same node.
    turn: Semaphore,
}

/// Why one attempt at one address gave no answer.
enum NoAnswer {
    Busy,
    Failed(JoinError),
}

impl Ask {
    async fn attempt(self: Arc<Self>, address: Address, delay: Duration) -> Result<Vec<u8>, JoinError> {
        tokio::time::sleep(delay).await;
        for _ in 1..BUSY_TRIES {
            match self.ask_once(address).await {
                Err(NoAnswer::Busy) => tokio::time::sleep(BUSY_WAIT).await,
                Err(NoAnswer::Failed(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        self.ask_once(address).await.map_err(|error| match error {
            NoAnswer::Busy => JoinError::Refused { address },
            NoAnswer::Failed(error) => error,
        })
    }

    async fn ask_once(&self, address: Address) -> Result<Vec<u8>, NoAnswer> {
        let connecting = self.dial.connect(self.inviter, address, Protocol::Join).await;
        let connection = connecting.map_err(|ended| NoAnswer::Failed(ended.join_error(address)))?;
        let _turn = self.turn.acquire().await.expect("nothing closes the semaphore");
        let carrier = connection.carrier.clone();
        let answer = timeout(ANSWER_MAX, exchange(connection, &self.request)).await;
        let ended = carrier.ended();
        let broken = matches!((&answer, &ended), (Ok(None), None));
        carrier.close(if broken { Close::BadFrame } else { Close::Done });
        match (answer, ended) {
            (Ok(Some(answer)), _) => Ok(answer),
            (Ok(None), Some(CarrierEnd::Peer(Some(Close::TooMany)))) => Err(NoAnswer::Busy),
            (Ok(None), Some(ended)) => Err(NoAnswer::Failed(ended.join_error(address))),
            (Ok(None), None) | (Err(_), _) => Err(NoAnswer::Failed(JoinError::Refused { address })),
        }
    }
}

/// Sends a request and reads the answer; `None` if the connection ends before.
async fn exchange(mut connection: Connection, request: &[u8]) -> Option<Vec<u8>> {
    let carrier = &*connection.carrier;
    // Where sending fails, the peer may have closed with a reason: it shows when reading.
    let _ = write_message(carrier, &mut connection.write, request.to_vec()).await;
    read_message(carrier, &mut connection.read).await
}

async fn write_message(carrier: &dyn Carrier, out: &mut WriteHalf, bytes: Vec<u8>) -> Option<()> {
    if carrier.ends_streams() {
        send(out, &bytes).await.ok()?;
        out.shutdown().await.ok()
    } else {
        write(out, &Frame::Message(bytes)).await.ok()
    }
}

/// One message of at most [`JOIN_BYTES_MAX`]; `None` if it is longer or does not arrive whole.
async fn read_message(carrier: &dyn Carrier, read: &mut ReadHalf) -> Option<Vec<u8>> {
    let bytes = if carrier.ends_streams() {
        let mut bytes = Vec::new();
        read.take(JOIN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await.ok()?;
        bytes
    } else {
        match Frames::new(read, None).next().await.ok()? {
            Frame::Message(bytes) => bytes,
            Frame::Hello(_) | Frame::Chosen | Frame::Ping | Frame::Pong => return None,
        }
    };
    (bytes.len() <= JOIN_BYTES_MAX).then_some(bytes)
}
