//! Drives a `Node`: a thread of its own takes what happened from an inbox, lets the node handle all of it,
//! and carries out what comes back. This is the line of the house: here, in the rooms below and in `cli`
//! and `handle`, and nowhere else, are sockets, processes and clocks.
//!
//! | room | what it does |
//! |---|---|
//! | [`open`] | a node from a folder; one command on it without a daemon |
//! | [`links`] | carries messages between the LAN and the node |
//! | [`radios`] | carries frames between the radios and the node |
//! | [`local`], [`routes`], [`unix`] | HTTP on `control.sock`: the server, the paths, the client |
//! | [`probe`] | what the node says of itself, and when |
//!
//! **Group commit.** Whatever waits in the inbox is handled together, and the first `poll_output` makes it
//! durable in one commit: one write when idle, hundreds under load, and no timer.

pub(crate) mod json;
pub mod links;
pub mod local;
pub mod open;
pub mod probe;
pub mod radios;
pub mod routes;
pub mod unix;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tombolo_transports::{Address, Lan, LinkId, PeerId};

use crate::clock::Now;
use crate::node::{Command, CommandError, Event, Input, Node, Output, Reply, RequestId};

/// Tasks that wait for the node. When full, links and local clients wait in turn.
pub const INBOX_MAX: usize = 1_024;
/// Bytes of peers' messages among them. When reached, links wait, and their peers with them.
pub const INBOX_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Tasks handled between two commits; the rest waits for the next.
pub const BATCH_MAX: usize = 256;
/// Effects that wait for the links. They never wait for the node, so the node may wait for them.
pub const EFFECTS_MAX: usize = 4_096;
/// Events a slow watcher may lag behind. Beyond, it is told how many it missed.
pub const EVENTS_MAX: usize = 4_096;
/// Replies and answers awaited; when reached, those whose asker has gone are forgotten.
pub const AWAITED_MAX: usize = 1_024;

/// The one place that reads the clocks. Where [`machine_boot`] is known, monotonic time goes on from one run to the next,
/// whatever was done to the wall clock in between.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Now {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let milliseconds = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let (start, up_ms) = *START.get_or_init(|| (Instant::now(), up_ms()));
    Now {
        mono_ms: milliseconds(Instant::now().saturating_duration_since(start)).saturating_add(up_ms),
        wall_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, milliseconds),
    }
}

/// Time on the kernel's monotonic clock, the one behind [`Instant`], which says nothing of where it stands; 0 where
/// no boot goes with it.
fn up_ms() -> u64 {
    let up = machine_boot().map(|_| rustix::time::clock_gettime(rustix::time::ClockId::Monotonic));
    let ms =
        |up: rustix::time::Timespec| up.tv_sec.saturating_mul(1_000).saturating_add(up.tv_nsec / 1_000_000);
    up.and_then(|up| u64::try_from(ms(up)).ok()).unwrap_or(0)
}

/// Which boot of this machine it is, as Linux says.
pub(crate) fn machine_boot() -> Option<[u8; 16]> {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    static BOOT: OnceLock<Option<[u8; 16]>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let digits = std::fs::read_to_string(BOOT_ID).ok()?.trim().replace('-', "");
        data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()
    })
}

/// What waits for the node.
pub(crate) enum Task {
    /// Something happened.
    Input(Input),
    /// A peer's message, with the room it takes until it is handled.
    Message { link: LinkId, bytes: Vec<u8>, room: Option<OwnedSemaphorePermit> },
    /// A radio's frame, with the place it takes until it is handled.
    Frame { link: LinkId, bytes: Vec<u8>, room: OwnedSemaphorePermit },
    /// Somebody here asks.
    Command(Command, oneshot::Sender<Result<Reply, CommandError>>),
    /// A stranger asks to join.
    Join { peer: PeerId, address: Address, bytes: Vec<u8>, answer: oneshot::Sender<Vec<u8>> },
    /// The end.
    Stop,
}

/// What the node wants of the links.
pub(crate) enum Effect {
    /// Send a message.
    Send(LinkId, Vec<u8>),
    /// Give a radio a frame.
    Frame(LinkId, Vec<u8>),
    /// Close a link.
    Close(LinkId),
    /// Call an inviter.
    DialJoin { inviter: PeerId, addresses: Vec<Address>, bytes: Vec<u8> },
    /// The whole list of those who may connect, with the addresses known.
    Peers(Vec<(PeerId, Vec<Address>)>),
    /// Whether requests to join are answered.
    Joining(bool),
}

/// The node has ended, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct NodeGone;

/// Why a command brought no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// There is no node any more.
    #[error(transparent)]
    Gone(#[from] NodeGone),
}

/// What the daemon knows and the node does not: shown in `status`, put into invites.
#[derive(Default)]
pub(crate) struct Surroundings {
    lan: Mutex<Option<Arc<Lan>>>,
    radios: Mutex<radios::Radios>,
    /// What the daemon itself dropped, by reason.
    dropped: Mutex<BTreeMap<&'static str, u64>>,
    /// What a probe could not do, by probe.
    problems: Mutex<BTreeMap<&'static str, String>>,
}

/// Asks a node; cheap to clone.
#[derive(Clone)]
pub struct NodeClient {
    inbox: mpsc::Sender<Task>,
    events: broadcast::Sender<Event>,
    room: Arc<Semaphore>,
    frames: Arc<Semaphore>,
    surroundings: Arc<Surroundings>,
}

/// A node on its thread.
pub(crate) struct Driven {
    pub(crate) client: NodeClient,
    pub(crate) effects: mpsc::Receiver<Effect>,
    /// Resolves when the thread has ended and the store is closed.
    pub(crate) ended: oneshot::Receiver<()>,
}

/// Puts a node on a thread of its own.
pub(crate) fn drive(node: Node) -> io::Result<Driven> {
    let (inbox, tasks) = mpsc::channel(INBOX_MAX);
    let (effects_in, effects) = mpsc::channel(EFFECTS_MAX);
    let (events, _) = broadcast::channel(EVENTS_MAX);
    let room = Arc::new(Semaphore::new(INBOX_BYTES_MAX));
    let frames = Arc::new(Semaphore::new(radios::FRAMES_IN_INBOX_MAX));
    let client = NodeClient { inbox, events: events.clone(), room, frames, surroundings: Arc::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let driver = Driver {
        node,
        tasks,
        effects: effects_in,
        events,
        replies: BTreeMap::new(),
        answers: BTreeMap::new(),
        last_request: 0,
    };
    let (over, ended) = oneshot::channel();
    std::thread::Builder::new().name("node".into()).spawn(move || {
        runtime.block_on(driver.run());
        // After a panic the sender is dropped unused, which says the same.
        let _ = over.send(());
    })?;
    Ok(Driven { client, effects, ended })
}

struct Driver {
    node: Node,
    tasks: mpsc::Receiver<Task>,
    effects: mpsc::Sender<Effect>,
    events: broadcast::Sender<Event>,
    replies: BTreeMap<RequestId, oneshot::Sender<Result<Reply, CommandError>>>,
    answers: BTreeMap<RequestId, oneshot::Sender<Vec<u8>>>,
    last_request: u64,
}

impl Driver {
    async fn run(mut self) {
        self.renew_peers().await;
        self.effect(Effect::Joining(self.node.joining_open())).await;
        self.carry_out().await;
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut open = true;
        while open {
            let taken = self.wait(&mut batch).await;
            if taken == Some(0) {
                break;
            }
            open = self.feed(&mut batch);
            self.carry_out().await;
        }
    }

    /// Waits for tasks, or until the node is due; `Some(0)` when nobody can ask any more.
    async fn wait(&mut self, batch: &mut Vec<Task>) -> Option<usize> {
        let tasks = self.tasks.recv_many(batch, BATCH_MAX);
        let Some(due) = self.node.poll_timeout() else { return Some(tasks.await) };
        let left = Duration::from_millis(due.saturating_sub(now().mono_ms));
        tokio::time::timeout(left, tasks).await.ok()
    }

    /// Hands the node all that waits; false at the end.
    fn feed(&mut self, batch: &mut Vec<Task>) -> bool {
        let mut open = true;
        let now = now();
        if batch.is_empty() {
            self.node.handle_input(now, Input::Timeout);
        }
        for task in batch.drain(..) {
            match task {
                Task::Input(input) => self.node.handle_input(now, input),
                Task::Message { link, bytes, room } => {
                    self.node.handle_input(now, Input::Received { link, bytes });
                    drop(room);
                }
                Task::Frame { link, bytes, room } => {
                    self.node.handle_input(now, Input::Frame { link, bytes });
                    drop(room);
                }
                Task::Command(command, reply) => {
                    let request = self.next_request();
                    prune(&mut self.replies, oneshot::Sender::is_closed);
                    self.replies.insert(request, reply);
                    self.node.handle_input(now, Input::Command { request, command });
                }
                Task::Join { peer, address, bytes, answer } => {
                    let request = self.next_request();
                    prune(&mut self.answers, oneshot::Sender::is_closed);
                    self.answers.insert(request, answer);
                    let address = Some(address);
                    self.node.handle_input(now, Input::JoinRequest { request, peer, address, bytes });
                }
                Task::Stop => open = false,
            }
        }
        open
    }

    async fn carry_out(&mut self) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Send { link, bytes } => self.effect(Effect::Send(link, bytes)).await,
                Output::Frame { link, bytes } => self.effect(Effect::Frame(link, bytes)).await,
                Output::Close { link } => self.effect(Effect::Close(link)).await,
                Output::DialJoin { inviter, addresses, bytes } => {
                    self.effect(Effect::DialJoin { inviter, addresses, bytes }).await;
                }
                Output::JoinAnswer { request, bytes } => {
                    if let Some(answer) = self.answers.remove(&request) {
                        let _ = answer.send(bytes);
                    }
                }
                Output::Reply { request, result } => {
                    if let Some(reply) = self.replies.remove(&request) {
                        let _ = reply.send(result);
                    }
                }
                Output::Event(event) => self.tell(event).await,
            }
        }
    }

    async fn tell(&mut self, event: Event) {
        match &event {
            Event::PeersChanged => self.renew_peers().await,
            Event::JoiningChanged { open } => self.effect(Effect::Joining(*open)).await,
            Event::Alarm { message } => tracing::warn!("{message}"),
            Event::Changed(_) | Event::Link(_) => {}
        }
        // Nobody watching is no error.
        let _ = self.events.send(event);
    }

    async fn renew_peers(&mut self) {
        let peers = self.node.dialable_peers();
        self.effect(Effect::Peers(peers)).await;
    }

    /// Without links, effects have nowhere to go.
    async fn effect(&mut self, effect: Effect) {
        let _ = self.effects.send(effect).await;
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }
}

fn prune<T>(awaited: &mut BTreeMap<RequestId, T>, gone: impl Fn(&T) -> bool) {
    if awaited.len() >= AWAITED_MAX {
        awaited.retain(|_, sender| !gone(sender));
    }
}

impl NodeClient {
    /// Waits until a message of so many bytes may wait for the node.
    pub(crate) async fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.clamp(1, INBOX_BYTES_MAX)).ok()?;
        self.room.clone().acquire_many_owned(bytes).await.ok()
    }

    /// Waits until a radio's frame may wait for the node, and has its place; `None` when the node is gone.
    pub(crate) async fn place_for_frame(&self) -> Option<(OwnedSemaphorePermit, mpsc::Permit<'_, Task>)> {
        let room = self.frames.clone().acquire_owned().await.ok()?;
        Some((room, self.inbox.reserve().await.ok()?))
    }

    /// Asks the node and waits for its reply; for a `Join` until both sides agreed.
    pub async fn command(&self, command: Command) -> Result<Reply, AskError> {
        let (sender, reply) = oneshot::channel();
        let command = self.with_addresses(command);
        self.tell(Task::Command(command, sender)).await?;
        let mut reply = reply.await.map_err(|_| NodeGone)??;
        match &mut reply {
            Reply::Status(status) => self.add_surroundings(status),
            Reply::Links(rows) => lock(&self.surroundings.radios).add_links(rows),
            Reply::Airtime(rows) => lock(&self.surroundings.radios).add_airtime(rows),
            _ => {}
        }
        Ok(reply)
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Where this node may be dialled.
    pub fn addresses(&self) -> Vec<Address> {
        lock(&self.surroundings.lan)
            .as_ref()
            .map(|lan| lan.local_addresses().into_iter().map(Address::from).collect())
            .unwrap_or_default()
    }

    pub(crate) async fn tell(&self, task: Task) -> Result<(), NodeGone> {
        self.inbox.send(task).await.map_err(|_| NodeGone)
    }

    pub(crate) fn set_lan(&self, lan: Option<Arc<Lan>>) {
        *lock(&self.surroundings.lan) = lan;
    }

    pub(crate) fn set_radios(&self, radios: radios::Radios) {
        *lock(&self.surroundings.radios) = radios;
    }

    /// Counts something that was dropped before the node saw it; shown in `status`.
    pub(crate) fn count(&self, reason: &'static str) {
        *lock(&self.surroundings.dropped).entry(reason).or_default() += 1;
    }

    /// Notes what a probe could not do, once, or that it can again.
    pub(crate) fn problem(&self, probe: &'static str, problem: Option<String>) {
        let mut problems = lock(&self.surroundings.problems);
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
        if let Command::Invite { addresses, .. } = &mut command
            && addresses.is_empty()
        {
            *addresses = self.addresses();
        }
        command
    }

    fn add_surroundings(&self, status: &mut crate::node::view::StatusView) {
        status.addresses = self.addresses();
        status
            .alarms
            .extend(lock(&self.surroundings.problems).iter().map(|(probe, text)| format!("{probe}: {text}")));
        status.alarms.extend(lock(&self.surroundings.radios).alarms());
        for (reason, count) in lock(&self.surroundings.dropped).iter() {
            *status.rejections.entry((*reason).to_owned()).or_default() += count;
        }
        let rejections =
            lock(&self.surroundings.lan).as_ref().map(|lan| lan.rejections()).unwrap_or_default();
        for (reason, count) in rejections {
            let reason = format!("lan_{}", reason.to_string().replace([' ', '-'], "_"));
            *status.rejections.entry(reason).or_default() += count;
        }
    }
}

/// A panic elsewhere leaves these small tables whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client, and what would be the node's.
    pub(crate) fn client_and_tasks() -> (NodeClient, mpsc::Receiver<Task>) {
        let (events, _) = broadcast::channel(1);
        let (inbox, tasks) = mpsc::channel(INBOX_MAX);
        let room = Arc::new(Semaphore::new(INBOX_BYTES_MAX));
        let frames = Arc::new(Semaphore::new(radios::FRAMES_IN_INBOX_MAX));
        (NodeClient { inbox, events, room, frames, surroundings: Arc::default() }, tasks)
    }

    /// A client whose node is gone: for parts that only note problems.
    pub(crate) fn client_of_no_node() -> NodeClient {
        client_and_tasks().0
    }

    #[tokio::test]
    async fn a_node_that_is_gone_is_said_to_be() {
        assert_eq!(client_of_no_node().command(Command::Id).await, Err(AskError::Gone(NodeGone)));
    }
}
