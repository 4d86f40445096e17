//! Carries messages between the links and the node, and the node's frames to its radios.
//!
//! Two tasks: one forwards the events of the links to the node and may wait for it; the other runs the effects of the
//! node and never waits for the node, so the two cannot wait for each other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tombolo_transports::session::Asking;
use tombolo_transports::{
    JoinDial, Lan, LanConfig, LanError, LinkEvent, LinkId, Medium, SendError, Tor, TorConfig, TorError,
    Transports,
};

use super::radios::{self, RadioSet};
use super::rpc::{self, CallRoutes};
use super::{Effect, NodeClient, Task, lock};
use crate::config::radio::RadioSettings;
use crate::node::Input;

/// Bytes held for a link whose own queue is full. Beyond, the link is closed: it comes back, and the two
/// nodes compare what they hold instead of working off a backlog.
pub const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Calls to inviters at once; a further one waits for the node's next try.
pub const DIALS_MAX: usize = 16;
/// How long the carriers may take to close their links.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Tor for a running node.
pub(crate) struct TorLinks {
    pub(crate) config: TorConfig,
    /// The operator asked for it: without it the node does not start.
    pub(crate) required: bool,
}

/// Why the links of a node did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinksError {
    #[error(transparent)]
    Lan(#[from] LanError),
    #[error(transparent)]
    Tor(#[from] TorError),
}

/// The links of a running node. Dropped, they end without notice to the peers.
pub(crate) struct Links {
    transports: Arc<Transports>,
    client: NodeClient,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Backlog {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
}

type Backlogs = Arc<Mutex<BTreeMap<LinkId, Backlog>>>;

impl Links {
    /// Starts the carriers and the radios and connects them to the node.
    pub(crate) async fn start(
        lan: LanConfig,
        tor: Option<TorLinks>,
        radios: &[RadioSettings],
        routes: CallRoutes,
        client: NodeClient,
        effects: mpsc::Receiver<Effect>,
    ) -> Result<Self, LinksError> {
        let (mut transports, events) = Transports::new();
        transports.add(Lan::open(lan, transports.events(Medium::Lan))?);
        if let Some(TorLinks { config, required }) = tor {
            match Tor::start(config, transports.events(Medium::Tor)).await {
                Ok(tor) => {
                    client.set_tor(Some(tor.status().clone()));
                    transports.add(tor);
                }
                Err(error) if required => return Err(error.into()),
                Err(error) => tracing::info!("without Tor: {error}"),
            }
        }
        let (radios, reports) = RadioSet::open(radios, transports.ids());
        client.set_radios(radios.clone());
        let transports = Arc::new(transports);
        client.set_transports(Some(transports.clone()));
        let held = Backlogs::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(transports.clone(), held.clone(), events, client.clone()));
        if !radios.is_empty() {
            tasks.spawn(radios::forward(radios.clone(), reports, client.clone()));
        }
        tasks.spawn(run_effects(transports.clone(), radios, Arc::new(routes), held, effects, client.clone()));
        Ok(Links { transports, client, tasks })
    }

    /// Waits until one of the tasks has ended, by a panic or because the other side is gone.
    pub(crate) async fn ended(&mut self) {
        if let Some(Err(error)) = self.tasks.join_next().await {
            tracing::error!("what serves the links has failed: {error}");
        }
    }

    /// Ends them, as a panic would.
    #[cfg(test)]
    pub(crate) fn fail(&mut self) {
        self.tasks.abort_all();
    }

    /// Closes every link, with notice to the peers.
    pub(crate) async fn shutdown(mut self) {
        self.client.set_transports(None);
        self.client.set_tor(None);
        self.client.set_radios(RadioSet::default());
        self.tasks.shutdown().await;
        if let Some(transports) = Arc::into_inner(self.transports) {
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, transports.shutdown()).await;
        }
    }
}

/// Forwards the events of the links to the node.
async fn forward(
    transports: Arc<Transports>,
    held: Backlogs,
    mut events: mpsc::Receiver<LinkEvent>,
    client: NodeClient,
) {
    while let Some(event) = events.recv().await {
        let task = match event {
            LinkEvent::Up { link, peer, caps, address } => {
                tracing::info!(%peer, %address, "{link} up");
                Task::Input(Input::LinkUp { link, peer, caps })
            }
            LinkEvent::Received { link, bytes } => {
                let room = client.room_for(bytes.len()).await;
                Task::Message { link, bytes, room }
            }
            LinkEvent::Down { link, reason } => {
                tracing::info!("{link} down: {reason}");
                lock(&held).remove(&link);
                Task::Input(Input::LinkDown { link, why: reason })
            }
            LinkEvent::Measured { link, report } => Task::Input(Input::LinkMeasured { link, report }),
            LinkEvent::Denied { peer } => Task::Input(Input::Denied { peer }),
            LinkEvent::JoinRequest { peer, address, bytes, answer } => {
                Task::Join { peer, address, bytes, answer }
            }
            LinkEvent::Drained { link } => {
                send_held(&transports, &held, link);
                continue;
            }
            other => {
                tracing::debug!("{other:?}");
                continue;
            }
        };
        // What follows it shares its commit.
        let sent = if events.is_empty() { client.bring(task).await } else { client.send(task).await };
        if sent.is_err() {
            break;
        }
    }
}

/// Runs the effects of the node on the links and the radios.
async fn run_effects(
    transports: Arc<Transports>,
    radios: RadioSet,
    routes: Arc<CallRoutes>,
    held: Backlogs,
    mut effects: mpsc::Receiver<Effect>,
    client: NodeClient,
) {
    let (mut dials, mut calls) = (JoinSet::new(), JoinSet::new());
    while let Some(effect) = effects.recv().await {
        match effect {
            Effect::Send(link, bytes) => send(&transports, &held, link, bytes),
            Effect::Frame(link, frame) => {
                if !radios.send(link, frame, &client) {
                    tracing::warn!("{link} is no radio");
                }
            }
            Effect::Close(link) => transports.close(link),
            Effect::Joining(secrets) => transports.set_joining(&secrets),
            Effect::JoinAnswer(answer, bytes) => drop(answer.send(bytes)),
            Effect::Peers(peers) => {
                transports.set_peers(&peers.iter().map(|(peer, _)| *peer).collect::<Vec<_>>());
                for (peer, addresses) in peers {
                    transports.know_addresses(peer, &addresses);
                }
            }
            // The node limits how many are on their way.
            Effect::DialCall { id, peer, call } => {
                while calls.try_join_next().is_some() {}
                calls.spawn(rpc::answer(routes.clone(), client.clone(), id, peer, *call));
            }
            Effect::DialJoin(call) => {
                while dials.try_join_next().is_some() {}
                if dials.len() < DIALS_MAX {
                    // From now on, not from when the task begins: the inviter is put on the list of peers next.
                    let asking = transports.asking(call.inviter);
                    dials.spawn(dial_join(transports.clone(), client.clone(), call, asking));
                }
            }
        }
    }
}

async fn dial_join(transports: Arc<Transports>, client: NodeClient, call: JoinDial, asking: Vec<Asking>) {
    let inviter = call.inviter;
    let result = transports.join(&call).await;
    drop((asking, transports));
    let _ = client.send(Task::Input(Input::JoinAnswered { inviter, result })).await;
}

/// Sends a message after those already held for its link.
fn send(transports: &Transports, held: &Backlogs, link: LinkId, bytes: Vec<u8>) {
    let mut held = lock(held);
    if !held.contains_key(&link) {
        match transports.send(link, bytes.clone()) {
            Err(SendError::Full) => {}
            Ok(()) | Err(SendError::Unknown) => return,
            Err(error) => return tracing::warn!("{link}: {error}"),
        }
    }
    let waiting = held.entry(link).or_default();
    waiting.bytes += bytes.len();
    waiting.messages.push_back(bytes);
    if waiting.bytes > HELD_BYTES_MAX {
        tracing::warn!("{link} does not take what is sent: closed, it comes back in step");
        held.remove(&link);
        transports.close(link);
    }
}

/// Sends the held messages of a link that takes messages again.
fn send_held(transports: &Transports, held: &Backlogs, link: LinkId) {
    let mut held = lock(held);
    let Some(waiting) = held.get_mut(&link) else { return };
    while let Some(bytes) = waiting.messages.pop_front() {
        if transports.send(link, bytes.clone()) == Err(SendError::Full) {
            waiting.messages.push_front(bytes);
            return;
        }
        waiting.bytes = waiting.bytes.saturating_sub(bytes.len());
    }
    held.remove(&link);
}
