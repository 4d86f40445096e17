//! Joining: one request and one answer on a connection of their own, at both ends.
//!
//! The asking end knows the inviter's key from the invite and accepts no other; the answering end
//! takes any key while invites are open, and leaves the judgement to the node.

use super::JOIN_BYTES_MAX;
use super::accept::Place;
use super::quic::{self, Close};
use super::shared::Shared;
use crate::address::PeerId;
use crate::error::JoinError;
use crate::link::{LinkEvent, RejectReason};
use crate::tls;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, ReadError, ReadToEndError, WriteError};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Time for one connection to come up.
const CONNECT_MAX: Duration = Duration::from_secs(4);
/// How long the inviter is looked for by mDNS while no address answers.
const SEARCH_MAX: Duration = Duration::from_secs(8);
/// The same once somebody else, or an inviter without an invite, has answered.
const SEARCH_ON_MAX: Duration = Duration::from_secs(2);
/// How often what mDNS shows is looked at meanwhile.
const SEARCH_LOOK: Duration = Duration::from_millis(100);
/// Time the inviter's node has to answer; it commits to its disk before.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Between the starts of attempts at several addresses, which mostly lead to one node.
const STAGGER: Duration = Duration::from_millis(100);
/// Addresses tried for one request to join; further ones are ignored.
const ADDRESSES_MAX: usize = 32;
/// Times an inviter is asked that works on as many requests as it may.
const BUSY_TRIES: usize = 5;
/// The wait between.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// Time for the asker to take the answer, before the connection is closed all the same.
const LINGER: Duration = Duration::from_secs(3);

/// Takes a request and hands the node's answer back.
pub(super) async fn answer(
    shared: &Shared,
    connection: &Connection,
    time_max: Duration,
    place: Place,
    joins: &Semaphore,
) -> Result<(), RejectReason> {
    let Some(peer) = quic::peer(connection) else { return Err(RejectReason::HandshakeFailed) };
    if !shared.joining.load(Ordering::Relaxed) {
        Close::NoInvite.send(connection);
        return Err(RejectReason::NoInvite);
    }
    let request = async {
        let (send, mut recv) = connection.accept_bi().await.map_err(|_| RejectReason::BadJoin)?;
        let bytes = recv.read_to_end(JOIN_BYTES_MAX).await.map_err(|_| RejectReason::BadJoin)?;
        Ok((send, bytes))
    };
    let (mut send, bytes) = match timeout(time_max, request).await {
        Ok(Ok(request)) => request,
        Ok(Err(reason)) => {
            Close::BadFrame.send(connection);
            return Err(reason);
        }
        Err(_) => {
            Close::TooSlow.send(connection);
            return Err(RejectReason::HandshakeTimeout);
        }
    };
    // Only now: who sends its request slowly takes the place of nobody who sent one.
    let Ok(_permit) = joins.try_acquire() else {
        Close::TooMany.send(connection);
        return Err(RejectReason::TooManyJoins);
    };
    drop(place);
    let (answer, answered) = oneshot::channel();
    let event = LinkEvent::JoinRequest { peer, address: connection.remote_address(), bytes, answer };
    let answered = async { if shared.tell(event).await { answered.await.ok() } else { None } };
    let answer =
        timeout(ANSWER_MAX, answered).await.ok().flatten().filter(|answer| answer.len() <= JOIN_BYTES_MAX);
    let Some(answer) = answer else {
        Close::Refused.send(connection);
        return Ok(());
    };
    if send.write_all(&answer).await.is_ok() && send.finish().is_ok() {
        let _ = timeout(LINGER, send.stopped()).await;
    }
    Close::Done.send(connection);
    Ok(())
}

/// One request to join, to be sent to whichever address leads to the inviter.
pub(super) struct Ask {
    pub(super) shared: Arc<Shared>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) config: ClientConfig,
    pub(super) inviter: PeerId,
    pub(super) request: Vec<u8>,
    /// Whether mDNS may yet show the inviter.
    pub(super) search: bool,
}

impl Ask {
    /// Tries all addresses, given and found; the first answer counts.
    pub(super) async fn run(self, addresses: Vec<SocketAddr>) -> Result<Vec<u8>, JoinError> {
        if self.request.len() > JOIN_BYTES_MAX {
            return Err(JoinError::TooLong { bytes: self.request.len() });
        }
        let (ask, mut search_until) = (Arc::new(self), Instant::now() + SEARCH_MAX);
        let (mut attempts, mut tried) = (JoinSet::new(), BTreeSet::new());
        // The request goes out on one connection at a time: several may lead to the same node.
        let turn = Arc::new(Semaphore::new(1));
        let (mut stop, mut told) = (ask.shared.stop.subscribe(), None);
        let mut fresh = addresses;
        loop {
            fresh.extend(ask.shared.addresses_by_hint(&ask.inviter));
            let mut delay = Duration::ZERO;
            for address in fresh.drain(..) {
                if tried.len() < ADDRESSES_MAX && tried.insert(address) {
                    attempts.spawn(ask.clone().attempt(address, delay, turn.clone()));
                    delay += STAGGER;
                }
            }
            let searching = ask.search && Instant::now() < search_until;
            if attempts.is_empty() && !searching {
                break;
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Err(JoinError::Shutdown),
                Some(result) = attempts.join_next() => match result {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error @ JoinError::Refused { .. })) => return Err(error),
                    // Neither proves that it was the inviter: an address may have a new owner.
                    Ok(Err(error @ (JoinError::NoInvite { .. } | JoinError::OtherKey { .. }))) => {
                        search_until = search_until.min(Instant::now() + SEARCH_ON_MAX);
                        if !matches!(told, Some(JoinError::NoInvite { .. })) {
                            told = Some(error);
                        }
                    }
                    Ok(Err(_)) | Err(_) => {}
                },
                () = tokio::time::sleep(SEARCH_LOOK) => {}
            }
        }
        Err(match told {
            Some(error) => error,
            None if tried.is_empty() => JoinError::NotFound,
            None => JoinError::NobodyAnswered { tried: tried.into_iter().collect() },
        })
    }

    async fn attempt(
        self: Arc<Self>,
        address: SocketAddr,
        delay: Duration,
        turn: Arc<Semaphore>,
    ) -> Result<Vec<u8>, JoinError> {
        tokio::time::sleep(delay).await;
        for _ in 1..BUSY_TRIES {
            match self.ask_once(address, &turn).await {
                Err(Attempt::Busy) => tokio::time::sleep(BUSY_WAIT).await,
                Err(Attempt::Failed(error)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
        }
        self.ask_once(address, &turn).await.map_err(|error| match error {
            Attempt::Busy => JoinError::Refused { address },
            Attempt::Failed(error) => error,
        })
    }

    async fn ask_once(&self, address: SocketAddr, turn: &Semaphore) -> Result<Vec<u8>, Attempt> {
        let nobody = || JoinError::NobodyAnswered { tried: vec![address] };
        let endpoint = super::endpoint_for(&self.endpoints, address).ok_or_else(nobody)?;
        let name = tls::server_name(&self.inviter);
        let connecting = endpoint.connect_with(self.config.clone(), address, &name).map_err(|_| nobody())?;
        let connection = timeout(CONNECT_MAX, connecting).await.map_err(|_| nobody())?;
        let connection = connection.map_err(|error| explain(&error, address))?;
        let _turn = turn.acquire().await.map_err(|_| nobody())?;
        let answer = timeout(ANSWER_MAX, self.exchange(&connection)).await;
        Close::Done.send(&connection);
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if Close::TooMany.came(&error) => Err(Attempt::Busy),
            Ok(Err(error)) => Err(explain(&error, address).into()),
            Err(_) => Err(JoinError::Refused { address }.into()),
        }
    }

    async fn exchange(&self, connection: &Connection) -> Result<Vec<u8>, ConnectionError> {
        let (mut send, mut recv) = connection.open_bi().await?;
        match send.write_all(&self.request).await {
            Err(WriteError::ConnectionLost(error)) => return Err(error),
            Err(_) => return Err(connection.closed().await),
            Ok(()) => {}
        }
        let _ = send.finish();
        match recv.read_to_end(JOIN_BYTES_MAX).await {
            Ok(answer) => Ok(answer),
            Err(ReadToEndError::Read(ReadError::ConnectionLost(error))) => Err(error),
            Err(_) => {
                Close::BadFrame.send(connection);
                Err(ConnectionError::LocallyClosed)
            }
        }
    }
}

/// Why one attempt at one address gave no answer.
enum Attempt {
    Busy,
    Failed(JoinError),
}

impl From<JoinError> for Attempt {
    fn from(error: JoinError) -> Self {
        Self::Failed(error)
    }
}

fn explain(error: &ConnectionError, address: SocketAddr) -> JoinError {
    let no_invite =
        quic::protocol_was_refused(error) || quic::key_was_refused(error) || Close::NoInvite.came(error);
    match error {
        _ if quic::refused_key(error) => JoinError::OtherKey { address },
        _ if no_invite => JoinError::NoInvite { address },
        ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed => {
            JoinError::Refused { address }
        }
        _ => JoinError::NobodyAnswered { tried: vec![address] },
    }
}
