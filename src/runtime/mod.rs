//! Drives a `Node`: a thread of its own takes tasks from an inbox, lets the node handle them, and hands on the effects that
//! come back. Sockets, processes and clocks are used here and in the rooms above, and nowhere below.
//!
//! | room | what it does |
//! |---|---|
//! | `clock_watch` | informs the node whether the kernel counts the clock as synchronised |
//! | `driver` | turns of the node: on its thread, and of a small task where it comes in |
//! | [`journal`] | the newest events, for watchers |
//! | [`links`] | carries messages between the LAN and the node |
//! | `tor` | how Tor stands, for `status` and `links` |
//! | [`radios`] | carries frames between the radios and the node |
//! | [`rpc`] | makes the node's JSON calls |
//! | `notify` | hands messages to the operator: by the operator's program, to an HTTP address |
//! | `install` | runs the operator's command for deploys, and reads the catalogue again when its file changes |
//!
//! **Group commit.** The tasks that wait in the inbox are handled together, and the first `poll_output` makes them
//! durable in one commit: one write when idle, hundreds under load, and no timer. One that comes alone does not wait for the
//! thread.

pub(crate) mod clock_watch;
mod drafts;
mod driver;
pub(crate) mod install;
pub mod journal;
pub mod links;
#[cfg(feature = "cli")]
pub(crate) mod notify;
pub(crate) mod process_group;
pub mod radios;
pub mod rpc;

mod template;
mod tor;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tombolo_transports::{Address, JoinDial, JoinSecret, LinkId, PeerId, TorStatus, Transports};

use driver::{Exits, NodeSeat};
use journal::{EventId, EventJournal, EventReader, EventTap};

use crate::authoring::{Draft, DraftInput};
use crate::commands::INSTALLS_RUNNING_MAX;
use crate::io::view::{AlarmView, PingLinkView, PingView, StatusView};
use crate::io::{AlarmMessage, CallId, CallReply, IncomingCall, OutgoingCall, Sensor, Sensors};
use crate::node::{Admin, Alarm, Command, CommandError, Input, Node, Reply};
use crate::watches::{AlarmMessageKey, MESSAGES_WAITING_MAX};

/// Tasks that wait for the node. When full, links and local clients wait in turn.
pub const INBOX_MAX: usize = 1_024;
/// Bytes of peers' messages among them. When reached, links wait, and their peers with them.
pub const INBOX_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Tasks handled between two commits; the rest waits for the next.
pub const BATCH_MAX: usize = 256;
/// Effects that wait for the links. They never wait for the node, so the node may wait for them.
pub const EFFECTS_MAX: usize = 4_096;
/// Replies and answers that are awaited. When reached, those that no client waits for any more are dropped.
pub const AWAITED_MAX: usize = 1_024;

/// A task that waits for the node.
pub(crate) enum Task {
    /// An input that takes no room in the inbox.
    Input(Input),
    /// A peer's message, with the room it takes until it is handled.
    Message { link: LinkId, bytes: Vec<u8>, room: Option<OwnedSemaphorePermit> },
    /// A radio's frame, with the place it takes until it is handled.
    Frame { link: LinkId, bytes: Vec<u8>, room: OwnedSemaphorePermit },
    /// A command of a local client.
    Command(Command, oneshot::Sender<AskAnswer>),
    /// A write that may be large, or one that was worked out.
    Draft(DraftInput, oneshot::Sender<AskAnswer>),
    /// A request to join, from a node that is no peer yet.
    Join { peer: PeerId, address: Option<Address>, bytes: Vec<u8>, answer: oneshot::Sender<Vec<u8>> },
    /// A JSON call that arrived.
    Call { call: IncomingCall, answer: oneshot::Sender<CallReply> },
    /// Ends the thread; the node takes no more tasks.
    Stop,
}

/// The reply to a command, and up to which event it shows what happened.
#[allow(clippy::large_enum_variant, reason = "nearly all are replies, and stay without an allocation")]
pub(crate) enum AskAnswer {
    /// It is answered.
    Reply { result: Result<Reply, CommandError>, up_to: EventId },
    /// It is to be worked out.
    Draft(Box<Draft>),
}

/// A message that is to be handed to the operator.
pub(crate) type Handed = (AlarmMessageKey, Box<AlarmMessage>);

/// An effect for the links to run.
pub(crate) enum Effect {
    /// Send a message on a link.
    Send(LinkId, Vec<u8>),
    /// Hand a frame to a radio.
    Frame(LinkId, Vec<u8>),
    /// Close a link to a peer.
    Close(LinkId),
    /// Dial an inviter and send a request to join.
    DialJoin(JoinDial),
    /// Call a peer's onion service.
    DialCall { id: CallId, peer: PeerId, call: Box<OutgoingCall> },
    /// The whole list of peers that may connect, with their known addresses.
    Peers(Vec<(PeerId, Vec<Address>)>),
    /// The holders of which secrets may join from now on.
    Joining(Vec<JoinSecret>),
    /// Answer a request to join.
    JoinAnswer(oneshot::Sender<Vec<u8>>, Vec<u8>),
}

/// The node has ended, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct NodeGone;

/// Why a command got no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The node refused the command.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The node has ended.
    #[error(transparent)]
    Gone(#[from] NodeGone),
}

/// The status of the host, which the node does not know: shown in `status`, put into invites.
#[derive(Default)]
pub(crate) struct HostStatus {
    transports: Mutex<Option<Arc<Transports>>>,
    tor: Mutex<Option<TorStatus>>,
    radios: Mutex<radios::RadioSet>,
    /// Messages that were dropped before the node received them, by reason.
    dropped: Mutex<BTreeMap<&'static str, u64>>,
    /// What each probe could not do.
    problems: Mutex<BTreeMap<&'static str, String>>,
    /// What the program that the node is part of has set of its own fields of the state.
    sensors: Mutex<Sensors>,
}

/// Sends commands to a node and receives its events; cheap to clone.
#[derive(Clone)]
pub struct NodeClient {
    inbox: mpsc::Sender<Task>,
    seat: Arc<NodeSeat>,
    events: EventTap,
    room: Arc<Semaphore>,
    frames: Arc<Semaphore>,
    /// One large write is worked out at a time: of two of one document, the other would be out of date.
    drafts: Arc<Semaphore>,
    host: Arc<HostStatus>,
}

/// A node on its thread.
pub(crate) struct Driven {
    pub(crate) client: NodeClient,
    pub(crate) effects: mpsc::Receiver<Effect>,
    /// The installs that the installer is to run.
    pub(crate) installs: mpsc::Receiver<install::Install>,
    /// The messages that the notifier is to hand over.
    pub(crate) messages: mpsc::Receiver<Handed>,
    /// Resolves when the thread has ended and the store is closed.
    pub(crate) ended: oneshot::Receiver<()>,
}

/// The place that a radio's frame takes in the inbox.
pub(crate) struct FramePlace<'a> {
    room: OwnedSemaphorePermit,
    inbox: mpsc::Permit<'a, Task>,
    seat: &'a NodeSeat,
}

impl FramePlace<'_> {
    pub(crate) fn send(self, link: LinkId, bytes: Vec<u8>) {
        self.seat.note_sent();
        self.inbox.send(Task::Frame { link, bytes, room: self.room });
    }
}

/// Puts a node on a thread of its own.
pub(crate) fn drive(node: Node) -> io::Result<Driven> {
    let (inbox, tasks) = mpsc::channel(INBOX_MAX);
    let (effects_in, effects) = mpsc::channel(EFFECTS_MAX);
    let (installs_in, installs) = mpsc::channel(INSTALLS_RUNNING_MAX);
    let (messages_in, messages) = mpsc::channel(MESSAGES_WAITING_MAX);
    let mut start = [0; 4];
    getrandom::fill(&mut start).map_err(|error| io::Error::other(error.to_string()))?;
    let events = EventJournal::new(u32::from_be_bytes(start));
    let room = Arc::new(Semaphore::new(INBOX_BYTES_MAX));
    let frames = Arc::new(Semaphore::new(radios::FRAMES_IN_INBOX_MAX));
    let tap = events.tap();
    let exits = Exits { effects: effects_in, installs: installs_in, messages: messages_in };
    let seat = Arc::new(NodeSeat::new(node, exits, events));
    let (drafts, host) = (Arc::new(Semaphore::new(1)), Arc::default());
    let client = NodeClient { inbox, seat: seat.clone(), events: tap, room, frames, drafts, host };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (over, ended) = oneshot::channel();
    std::thread::Builder::new().name("node".into()).spawn(move || {
        let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(seat.run(tasks))));
        // The store is closed before the end is known, after a panic as well; the receiver resolves either way.
        seat.clear();
        if matches!(ran, Ok(true)) {
            let _ = over.send(());
        }
    })?;
    Ok(Driven { client, effects, installs, messages, ended })
}

impl NodeClient {
    /// Waits until the inbox has room for a message of so many bytes.
    pub(crate) async fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.clamp(1, INBOX_BYTES_MAX)).ok()?;
        self.room.clone().acquire_many_owned(bytes).await.ok()
    }

    /// Waits until the inbox has room for a radio's frame, and reserves it; `None` when the node is gone.
    pub(crate) async fn place_for_frame(&self) -> Option<FramePlace<'_>> {
        let room = self.frames.clone().acquire_owned().await.ok()?;
        Some(FramePlace { room, inbox: self.inbox.reserve().await.ok()?, seat: &self.seat })
    }

    /// Sends a command and waits for the reply; for a `Join` until both sides have agreed.
    ///
    /// # Errors
    ///
    /// [`AskError::Refused`] with the node's reason; [`AskError::Gone`] if the node has ended.
    pub async fn command(&self, command: impl Into<Command>) -> Result<Reply, AskError> {
        self.command_at(command).await.map(|(reply, _)| reply)
    }

    /// The same with the newest event that the reply reflects: all behind it are not in the reply, and all before it are.
    pub(crate) async fn command_at(&self, command: impl Into<Command>) -> Result<(Reply, EventId), AskError> {
        let command = self.with_addresses(command.into());
        // What few commands need stands apart: a future is as large as all that it may await.
        let (reply, up_to) = match drafts::is_drafted(&command) {
            true => Box::pin(self.ask_in_draft(command)).await?,
            false => self.ask(command).await?,
        };
        let mut reply = match reply {
            // It is put together where nothing else waits for that.
            Reply::Partial(_) => {
                tokio::task::spawn_blocking(move || reply.complete()).await.map_err(|_| NodeGone)?
            }
            reply => reply,
        };
        match &mut reply {
            Reply::Status(status) => self.add_host_status(status),
            Reply::Links(rows) => {
                lock(&self.host.radios).add_links(rows);
                if let Some(tor) = lock(&self.host.tor).as_ref() {
                    tor::add_links(tor, rows);
                }
            }
            Reply::Airtime(rows) => lock(&self.host.radios).add_airtime(rows),
            Reply::Ping(view) => Box::pin(self.add_answers(view)).await,
            _ => {}
        }
        Ok((reply, up_to))
    }

    async fn ask(&self, command: Command) -> Result<(Reply, EventId), AskError> {
        match self.answer(|sender| Task::Command(command, sender)).await? {
            AskAnswer::Reply { result, up_to } => Ok((result?, up_to)),
            AskAnswer::Draft(_) => unreachable!("a command is not answered with a draft"),
        }
    }

    /// Hands the node a task and waits for the answer.
    async fn answer(
        &self,
        task: impl FnOnce(oneshot::Sender<AskAnswer>) -> Task,
    ) -> Result<AskAnswer, AskError> {
        let (sender, reply) = oneshot::channel();
        let task = task(sender);
        let asking = driver::is_small(&task).then(|| self.seat.note_asking());
        let is_alone = asking.as_ref().is_some_and(|(_, is_alone)| *is_alone);
        match if is_alone { self.seat.try_here(task) } else { Some(task) } {
            Some(task) => self.send(task).await?,
            // Others that are ready to write do so now, and share the next commit.
            None => tokio::task::yield_now().await,
        }
        Ok(reply.await.map_err(|_| NodeGone)?)
    }

    /// Hands the node a JSON call that arrived, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`NodeGone`] if the node has ended.
    pub async fn call(&self, call: IncomingCall) -> Result<CallReply, NodeGone> {
        let (answer, reply) = oneshot::channel();
        self.send(Task::Call { call, answer }).await?;
        reply.await.map_err(|_| NodeGone)
    }

    /// The events from now on.
    pub fn events(&self) -> EventReader {
        self.events.begin_now()
    }

    /// The events behind one; `None` where that is not of this start of the node.
    pub fn events_behind(&self, id: EventId) -> Option<EventReader> {
        self.events.behind(id)
    }

    /// Where this node may be dialled.
    pub fn addresses(&self) -> Vec<Address> {
        lock(&self.host.transports).as_ref().map(|links| links.local_addresses()).unwrap_or_default()
    }

    /// Sends a task to the node's thread.
    pub(crate) async fn send(&self, task: Task) -> Result<(), NodeGone> {
        let place = self.inbox.reserve().await.map_err(|_| NodeGone)?;
        self.seat.note_sent();
        place.send(task);
        Ok(())
    }

    /// The same for a task that nothing else follows yet: a small one is handled here, if nothing is before it.
    pub(crate) async fn bring(&self, task: Task) -> Result<(), NodeGone> {
        match self.seat.try_here(task) {
            Some(task) => self.send(task).await,
            None => Ok(()),
        }
    }

    /// Ends the node without waiting for it. A node whose inbox is full is sent it as soon as there is room.
    pub(crate) fn stop(&self) {
        self.seat.note_sent();
        if let Err(mpsc::error::TrySendError::Full(task)) = self.inbox.try_send(Task::Stop)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let inbox = self.inbox.clone();
            runtime.spawn(async move { drop(inbox.send(task).await) });
        }
    }

    pub(crate) fn set_transports(&self, transports: Option<Arc<Transports>>) {
        *lock(&self.host.transports) = transports;
    }

    pub(crate) fn set_tor(&self, tor: Option<TorStatus>) {
        *lock(&self.host.tor) = tor;
    }

    /// Whether Tor serves this node now; `None` where it is not asked for.
    #[cfg(feature = "cli")]
    pub(crate) fn tor_active(&self) -> Option<bool> {
        lock(&self.host.tor).as_ref().and_then(tor::is_active)
    }

    pub(crate) fn set_radios(&self, radios: radios::RadioSet) {
        *lock(&self.host.radios) = radios;
    }

    /// Counts a message that was dropped before the node received it; shown in `status`.
    pub(crate) fn count(&self, reason: &'static str) {
        *lock(&self.host.dropped).entry(reason).or_default() += 1;
    }

    /// The own fields of the state that the program has set.
    pub(crate) fn sensors(&self) -> Sensors {
        lock(&self.host.sensors).clone()
    }

    /// Sets or removes one of them, and returns all.
    pub(crate) fn set_sensor(&self, name: &str, sensor: Option<Sensor>) -> Sensors {
        let mut sensors = lock(&self.host.sensors);
        match sensor {
            Some(sensor) => drop(sensors.insert(name.to_owned(), sensor)),
            None => drop(sensors.remove(name)),
        }
        sensors.clone()
    }

    /// Notes what a probe could not do, or that it works again. A new problem is logged once.
    #[cfg(feature = "cli")]
    pub(crate) fn problem(&self, probe: &'static str, problem: Option<String>) {
        let mut problems = lock(&self.host.problems);
        if let Some(text) = &problem
            && problems.get(probe) != Some(text)
        {
            tracing::warn!(probe, "{text}");
        }
        match problem {
            Some(text) => problems.insert(probe, text),
            None => problems.remove(probe),
        };
    }

    fn with_addresses(&self, mut command: Command) -> Command {
        if let Command::Admin(Admin::Invite { addresses, .. }) = &mut command
            && addresses.is_empty()
        {
            *addresses = self.addresses();
        }
        command
    }

    /// Asks the peer over each link, and puts its answers in the rows.
    async fn add_answers(&self, view: &mut PingView) {
        let transports = lock(&self.host.transports).clone();
        let (Some(transports), Ok(peer)) = (transports, crate::identity::parse_did(&view.did)) else {
            return;
        };
        for (medium, answer) in transports.ping(&peer).await {
            let name = medium.to_string();
            let round_trip_us = answer.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            match view.links.iter_mut().find(|row| row.link == name) {
                Some(row) => (row.asked, row.round_trip_us) = (true, round_trip_us),
                None => {
                    view.links.push(PingLinkView { link: name, asked: true, round_trip_us, last_heard: None })
                }
            }
        }
    }

    fn add_host_status(&self, status: &mut StatusView) {
        status.addresses = self.addresses();
        status.tor = lock(&self.host.tor).as_ref().and_then(tor::view);
        let problems = lock(&self.host.problems).clone().into_iter();
        let mut alarms: Vec<_> = problems.map(|(probe, why)| Alarm::ProbeFailed { probe, why }).collect();
        alarms.extend(lock(&self.host.radios).alarms());
        status.alarms.extend(alarms.iter().map(AlarmView::from));
        for (reason, count) in lock(&self.host.dropped).iter() {
            *status.rejections.entry((*reason).to_owned()).or_default() += count;
        }
        let rejections = lock(&self.host.transports).as_ref().map(|links| links.rejections());
        for ((medium, reason), count) in rejections.unwrap_or_default() {
            let reason = format!("{medium}_{}", reason.to_string().replace([' ', '-'], "_"));
            *status.rejections.entry(reason).or_default() += count;
        }
    }
}

/// Locks a table; a panic of another thread leaves these small tables whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A client, and the receiver of its tasks in place of a node.
    pub(crate) fn client_and_tasks() -> (NodeClient, mpsc::Receiver<Task>) {
        let events = EventJournal::new(0);
        let (inbox, tasks) = mpsc::channel(INBOX_MAX);
        let room = Arc::new(Semaphore::new(INBOX_BYTES_MAX));
        let frames = Arc::new(Semaphore::new(radios::FRAMES_IN_INBOX_MAX));
        let (seat, host) = (Arc::default(), Arc::default());
        let drafts = Arc::new(Semaphore::new(1));
        (NodeClient { inbox, seat, events: events.tap(), room, frames, drafts, host }, tasks)
    }

    /// A client whose node is gone: for parts that only note problems.
    pub(crate) fn client_of_no_node() -> NodeClient {
        client_and_tasks().0
    }

    #[tokio::test]
    async fn a_command_to_a_node_that_is_gone_fails() {
        use crate::node::Query;

        assert_eq!(client_of_no_node().command(Query::Id).await, Err(AskError::Gone(NodeGone)));
    }
}
