//! The node at work: a **turn** hands it tasks and hands on what it puts out. Two may make a turn, one at a time: the node's own
//! thread, and for a small task the caller that brings it ([`NodeSeat::try_here`]), who then wakes no other thread.
//!
//! A caller makes a turn only where nothing else waits for the node, and the turns before were short; whatever waits is for
//! the thread, which handles all of it in one commit. So tasks of one sender are handled in the order in which they were sent.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tombolo_transports::JoinDial;

use super::journal::EventJournal;
use super::{AWAITED_MAX, AskAnswer, BATCH_MAX, Effect, Handed, Task, install};
use crate::authoring::DraftInput;
use crate::io::{CallReply, Command, Query, Write};
use crate::layer::tree_bytes;
use crate::node::{Event, Input, Node, Output, RequestId};
use crate::system_clock::now;
use crate::time::{Millis, Mono};

/// A task of more bytes is for the thread: it may take long.
const SMALL_BYTES: usize = 4 * 1024;
/// A caller's turn that takes longer, because of a slow disk or large work, keeps others from its place in the runtime.
const TURN_SHORT: Millis = Millis::from_ms(2);
/// What such a turn adds to the count of long ones; a short one takes one away, so that a turn which the system interrupted is no
/// slow disk.
const TURN_LONG: u32 = 4;
/// Where there are more, the thread alone makes turns for a while.
const LONG_TURNS_MAX: u32 = 8;
/// For so many times as long as the last turn took.
const THREAD_ONLY: u64 = 10;

/// The node, between two turns.
#[derive(Default)]
pub(super) struct NodeSeat {
    /// None once the node has ended.
    driver: Mutex<Option<NodeDriver>>,
    /// Tasks that are sent and not handled yet, and one more while the thread makes a turn.
    ahead: AtomicUsize,
    /// Commands whose senders are awaiting the reply.
    asking: AtomicUsize,
    /// Wakes the thread where no task does.
    thread: Notify,
}

/// One more in a count for as long as it is held.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> (Self, usize) {
        let before = count.fetch_add(1, Ordering::AcqRel);
        (Counted(count), before)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What goes to the parts around the node, in order.
enum Leaving {
    Effect(Effect),
    Install(install::Install),
    Message(Handed),
}

/// Where it goes.
#[derive(Clone)]
pub(super) struct Exits {
    pub(super) effects: mpsc::Sender<Effect>,
    pub(super) installs: mpsc::Sender<install::Install>,
    pub(super) messages: mpsc::Sender<Handed>,
}

impl Exits {
    /// Hands it over if there is room. Without links an effect is dropped; without an installer a deploy stays taken, and counts as
    /// unknown at the next start; without a notifier no message is taken.
    fn try_send(&self, outgoing: Leaving) -> Option<Leaving> {
        use mpsc::error::TrySendError::Full;
        match outgoing {
            Leaving::Effect(effect) => match self.effects.try_send(effect) {
                Err(Full(effect)) => Some(Leaving::Effect(effect)),
                Ok(()) | Err(_) => None,
            },
            Leaving::Install(install) => match self.installs.try_send(install) {
                Err(Full(install)) => Some(Leaving::Install(install)),
                Ok(()) | Err(_) => None,
            },
            Leaving::Message(message) => match self.messages.try_send(message) {
                Err(Full(message)) => Some(Leaving::Message(message)),
                Ok(()) | Err(_) => None,
            },
        }
    }

    /// The same once there is room.
    async fn send(&self, outgoing: Leaving) {
        match outgoing {
            Leaving::Effect(effect) => drop(self.effects.send(effect).await),
            Leaving::Install(install) => drop(self.installs.send(install).await),
            Leaving::Message(message) => drop(self.messages.send(message).await),
        }
    }
}

impl NodeSeat {
    /// A seat with a node in it.
    pub(super) fn new(node: Node, exits: Exits, events: EventJournal) -> Self {
        let driver = NodeDriver {
            node,
            exits,
            outgoing: VecDeque::new(),
            peers_changed: true,
            events,
            replies: BTreeMap::new(),
            leaving_replies: Vec::new(),
            answers: BTreeMap::new(),
            call_answers: BTreeMap::new(),
            last_request: 0,
            thread_wakes: None,
            thread_only_until: Mono::ZERO,
            long_turns: 0,
        };
        NodeSeat { driver: Mutex::new(Some(driver)), ..NodeSeat::default() }
    }

    /// Notes that a task is being sent to the thread: until it is handled, no caller makes a turn.
    pub(super) fn note_sent(&self) {
        self.ahead.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that a command's sender awaits the reply, while the first value is held. The second is whether no other one does.
    pub(super) fn note_asking(&self) -> (Counted<'_>, bool) {
        let (asking, others) = Counted::new(&self.asking);
        (asking, others == 0)
    }

    /// Handles a small task at once, on the present thread, if nothing is before it. Returns a task that is for the thread.
    pub(super) fn try_here(&self, task: Task) -> Option<Task> {
        if !is_small(&task) {
            return Some(task);
        }
        let mut seat = match self.driver.try_lock() {
            Ok(seat) => seat,
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return Some(task),
        };
        // Under the lock: the thread may be waiting, outside of it, for room for what it is to hand on first.
        if self.ahead.load(Ordering::Acquire) > 0 {
            return Some(task);
        }
        let begun = now().mono;
        let Some(driver) = seat.as_mut().filter(|driver| driver.takes_here(begun)) else { return Some(task) };
        // As on the thread, a panic ends the node, and not who brought the task.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            driver.feed(&mut vec![task]);
            driver.take_outputs();
            let now = now().mono;
            driver.note_length(now, now.since(begun));
            driver.needs_thread()
        }));
        match ran {
            Ok(false) => {}
            Ok(true) => self.thread.notify_one(),
            Err(_) => {
                *seat = None;
                self.thread.notify_one();
            }
        }
        None
    }

    /// The node's thread, until the node is to stop or no client is left. Returns whether it ended in order.
    pub(super) async fn run(&self, mut tasks: mpsc::Receiver<Task>) -> bool {
        let Some(exits) = self.with(|driver| driver.exits.clone()) else { return false };
        let mut batch = Vec::with_capacity(BATCH_MAX);
        self.with(NodeDriver::begin);
        loop {
            let Some(due) = self.settle(&exits).await else { return false };
            let is_over = self.wait(&mut tasks, &mut batch, due).await == Some(0);
            let (at_work, _) = Counted::new(&self.ahead);
            let handled = batch.len();
            let Some(open) = self.with(|driver| driver.turn(&mut batch, is_over)) else { return false };
            if !open {
                self.flush(&exits).await;
                return true;
            }
            self.flush(&exits).await;
            self.ahead.fetch_sub(handled, Ordering::AcqRel);
            drop(at_work);
        }
    }

    /// Hands on what the turns before left. Returns when the node is due; `None` once it is gone.
    async fn settle(&self, exits: &Exits) -> Option<Option<Mono>> {
        let (at_work, _) = Counted::new(&self.ahead);
        self.flush(exits).await;
        drop(at_work);
        self.with(NodeDriver::arm)
    }

    /// Hands on all that the node puts out, and waits for room outside the lock.
    async fn flush(&self, exits: &Exits) {
        while let Some(blocked) = self.with(NodeDriver::blocked).flatten() {
            exits.send(blocked).await;
            self.with(NodeDriver::take_outputs);
        }
    }

    /// Waits for tasks, until the node is due, or until a caller's turn needs the thread; `Some(0)` when no client is left.
    async fn wait(
        &self,
        tasks: &mut mpsc::Receiver<Task>,
        batch: &mut Vec<Task>,
        due: Option<Mono>,
    ) -> Option<usize> {
        let waiting = async {
            tokio::select! {
                biased;
                count = tasks.recv_many(batch, BATCH_MAX) => Some(count),
                () = self.thread.notified() => None,
            }
        };
        let Some(due) = due else { return waiting.await };
        let left = Duration::from_millis(due.since(now().mono).ms());
        tokio::time::timeout(left, waiting).await.ok().flatten()
    }

    /// The node and its store are dropped.
    pub(super) fn clear(&self) {
        *self.driver.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// `None` once the node has ended, or a panic has ended it.
    fn with<T>(&self, work: impl FnOnce(&mut NodeDriver) -> T) -> Option<T> {
        self.driver.lock().ok()?.as_mut().map(work)
    }
}

/// Whether a task is handled in about the time that it takes to wake a thread.
pub(super) fn is_small(task: &Task) -> bool {
    match task {
        Task::Message { bytes, .. } => bytes.len() <= SMALL_BYTES,
        Task::Command(Command::Write(write), _) => match write {
            Write::Set { value, .. } => tree_bytes(value) <= SMALL_BYTES,
            Write::Del { .. } => true,
            Write::Create { .. }
            | Write::Delete { .. }
            | Write::OnBase { .. }
            | Write::Settle { .. }
            | Write::Put { .. }
            | Write::PublishState { .. } => false,
        },
        Task::Draft(DraftInput::Order(order), _) => matches!(order.write(), Write::Del { .. }),
        Task::Command(Command::Query(Query::Get { key, .. }), _) => key.is_some(),
        Task::Command(Command::Query(_) | Command::Admin(_), _)
        | Task::Draft(DraftInput::Drafted(_), _)
        | Task::Input(_)
        | Task::Frame { .. }
        | Task::Join { .. }
        | Task::Call { .. }
        | Task::Stop => false,
    }
}

/// The node, and who waits for what it puts out.
struct NodeDriver {
    node: Node,
    exits: Exits,
    /// What found no room yet: the thread waits for it.
    outgoing: VecDeque<Leaving>,
    /// The list of peers is to be handed to the links before whatever a peer or a program may act upon.
    peers_changed: bool,
    events: EventJournal,
    replies: BTreeMap<RequestId, oneshot::Sender<AskAnswer>>,
    /// Replies that leave at the end of the turn, one right after the other: who awaits them wakes few times, not once for each.
    leaving_replies: Vec<(oneshot::Sender<AskAnswer>, AskAnswer)>,
    answers: BTreeMap<RequestId, oneshot::Sender<Vec<u8>>>,
    call_answers: BTreeMap<RequestId, oneshot::Sender<CallReply>>,
    last_request: u64,
    /// When the thread wakes by itself.
    thread_wakes: Option<Mono>,
    /// No caller makes a turn before.
    thread_only_until: Mono,
    long_turns: u32,
}

impl NodeDriver {
    /// The links learn who may connect and who may join.
    fn begin(&mut self) {
        let secrets = self.node.report().join_secrets();
        self.renew_peers();
        self.effect(Effect::Joining(secrets));
        self.take_outputs();
    }

    fn takes_here(&self, now: Mono) -> bool {
        self.outgoing.is_empty() && self.thread_only_until <= now
    }

    /// A turn of a caller has ended that took so long.
    fn note_length(&mut self, now: Mono, took: Millis) {
        if took <= TURN_SHORT {
            self.long_turns = self.long_turns.saturating_sub(1);
            return;
        }
        self.long_turns = (self.long_turns + TURN_LONG).min(LONG_TURNS_MAX + TURN_LONG);
        if self.long_turns > LONG_TURNS_MAX {
            self.thread_only_until = now + Millis::from_ms(took.ms().saturating_mul(THREAD_ONLY));
        }
    }

    /// Whether a caller's turn leaves something to the thread: what found no room, or a time before the one it waits for.
    fn needs_thread(&self) -> bool {
        let due = self.node.poll_timeout();
        !self.outgoing.is_empty() || due.is_some_and(|due| self.thread_wakes.is_none_or(|wakes| due < wakes))
    }

    /// Notes when the thread is to wake.
    fn arm(&mut self) -> Option<Mono> {
        self.thread_wakes = self.node.poll_timeout();
        self.thread_wakes
    }

    /// The thread's turn, with the tasks that waited or because the node is due. Returns false once it must stop.
    fn turn(&mut self, batch: &mut Vec<Task>, is_over: bool) -> bool {
        let now = now();
        let is_due = self.node.poll_timeout().is_some_and(|due| due <= now.mono);
        // The turns of callers may have moved what the thread waited for.
        if batch.is_empty() && !is_due && !is_over {
            return true;
        }
        if batch.is_empty() {
            self.node.handle_input(now, Input::Timeout);
        }
        let open = !is_over && self.feed(batch);
        if !open {
            self.node.handle_input(now, Input::Ending);
        }
        self.take_outputs();
        open
    }

    /// Hands the node tasks; returns false once it must stop.
    fn feed(&mut self, batch: &mut Vec<Task>) -> bool {
        let mut open = true;
        let now = now();
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
                Task::Draft(input, reply) => {
                    let request = self.next_request();
                    prune(&mut self.replies, oneshot::Sender::is_closed);
                    self.replies.insert(request, reply);
                    self.node.handle_draft(now, request, input);
                }
                Task::Join { peer, address, bytes, answer } => {
                    let request = self.next_request();
                    prune(&mut self.answers, oneshot::Sender::is_closed);
                    self.answers.insert(request, answer);
                    self.node.handle_input(now, Input::JoinRequest { request, peer, address, bytes });
                }
                Task::Call { call, answer } => {
                    let request = self.next_request();
                    prune(&mut self.call_answers, oneshot::Sender::is_closed);
                    self.call_answers.insert(request, answer);
                    self.node.handle_input(now, Input::Call { request, call });
                }
                Task::Stop => open = false,
            }
        }
        open
    }

    /// Hands on what the node puts out, until there is no more of it, or no room for it.
    fn take_outputs(&mut self) {
        while self.hand_on() {
            match self.node.poll_output() {
                Some(output) => self.take(output),
                None if self.peers_changed => self.renew_peers(),
                None => break,
            }
        }
        for (request, draft) in self.node.take_drafts() {
            if let Some(reply) = self.replies.remove(&request) {
                self.leaving_replies.push((reply, AskAnswer::Draft(Box::new(draft))));
            }
        }
        self.leaving_replies.drain(..).for_each(|(reply, answer)| drop(reply.send(answer)));
    }

    /// Hands on what was taken; returns false where there is no room for it.
    fn hand_on(&mut self) -> bool {
        while let Some(outgoing) = self.outgoing.pop_front() {
            if let Some(blocked) = self.exits.try_send(outgoing) {
                self.outgoing.push_front(blocked);
                return false;
            }
        }
        true
    }

    /// The next that found no room.
    fn blocked(&mut self) -> Option<Leaving> {
        self.outgoing.pop_front()
    }

    /// The list of peers follows calls to inviters, which are put on it: they are not dialled as peers while they are asked. It goes
    /// before whatever a peer or a program may act upon.
    fn take(&mut self, output: Output) {
        let may_go_before = matches!(
            output,
            Output::Event(_) | Output::DialJoin { .. } | Output::Send { .. } | Output::Frame { .. }
        );
        if !may_go_before && self.peers_changed {
            self.renew_peers();
        }
        match output {
            Output::Send { link, bytes } => self.effect(Effect::Send(link, bytes)),
            Output::Frame { link, bytes } => self.effect(Effect::Frame(link, bytes)),
            Output::Close { link } => self.effect(Effect::Close(link)),
            Output::DialJoin { inviter, addresses, secret, bytes } => {
                let call = JoinDial { inviter, addresses, secret, request: bytes };
                self.effect(Effect::DialJoin(call));
            }
            Output::JoinAnswer { request, bytes } => {
                // Behind the list of peers, by which the links take the joiner.
                if let Some(answer) = self.answers.remove(&request) {
                    self.effect(Effect::JoinAnswer(answer, bytes));
                }
            }
            Output::Reply { request, result } => {
                if let Some(reply) = self.replies.remove(&request) {
                    self.leaving_replies
                        .push((reply, AskAnswer::Reply { result, up_to: self.events.newest() }));
                }
            }
            Output::Event(event) => {
                self.peers_changed |= matches!(event, Event::PeersChanged);
                self.publish(event);
            }
            Output::CallAnswer { request, reply } => {
                drop(self.call_answers.remove(&request).map(|answer| answer.send(reply)));
            }
            Output::DialCall { id, peer, call } => self.effect(Effect::DialCall { id, peer, call }),
            Output::Install { key, deploy } => self.outgoing.push_back(Leaving::Install((key, deploy))),
            Output::Notify { key, message } => self.outgoing.push_back(Leaving::Message((key, message))),
        }
    }

    fn publish(&mut self, event: Event) {
        match &event {
            Event::JoiningChanged { .. } => self.effect(Effect::Joining(self.node.report().join_secrets())),
            Event::Alarm(alarm) => tracing::warn!("{alarm}"),
            Event::PeersChanged
            | Event::Changed(_)
            | Event::Ended(_)
            | Event::Link(_)
            | Event::Deploy(_)
            | Event::Presence(_) => {}
        }
        self.events.add(now().wall, event);
    }

    fn renew_peers(&mut self) {
        self.peers_changed = false;
        self.effect(Effect::Peers(self.node.report().dialable_peers()));
    }

    fn effect(&mut self, effect: Effect) {
        self.outgoing.push_back(Leaving::Effect(effect));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Keypair;
    use crate::layer::{KeyPath, Kind};
    use crate::node::NodeSettings;
    use crate::runtime::{Driven, NodeClient, drive};
    use crate::store::Store;
    use tombolo_delta::Value;

    /// A node with a map `list`, and the parts around it that take what it puts out.
    async fn node() -> (NodeClient, Driven) {
        let (store, keypair) = (Store::in_memory().unwrap(), Keypair::from_seeds(&[1; 32], &[2; 32]));
        let node = Node::open(store, keypair, NodeSettings::default(), now(), [3; 32]).unwrap();
        let driven = drive(node).unwrap();
        let client = driven.client.clone();
        client.command(Write::Create { name: "list".to_owned(), kind: Kind::Map }).await.unwrap();
        (client, driven)
    }

    /// A write of so many bytes under one key.
    fn set(n: u64, bytes: usize) -> (Task, oneshot::Receiver<AskAnswer>) {
        let value = Value::array([Value::from(n), Value::Bytes(vec![7; bytes])]);
        let write = Write::Set { doc: "list".to_owned(), key: KeyPath::parse("a").unwrap(), value };
        let (sender, reply) = oneshot::channel();
        (Task::Command(write.into(), sender), reply)
    }

    async fn at_rest(seat: &NodeSeat) {
        while seat.ahead.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_small_task_that_comes_alone_is_handled_where_it_comes_in() {
        let (client, _driven) = node().await;
        at_rest(&client.seat).await;
        let (small, mut reply) = set(1, 10);
        assert!(client.seat.try_here(small).is_none());
        let answer = reply.try_recv().unwrap();
        assert!(
            matches!(answer, AskAnswer::Reply { result: Ok(_), .. }),
            "it was handled when the call returned"
        );
        // One that may take long, and one behind a task that waits, are for the thread.
        assert!(client.seat.try_here(set(2, SMALL_BYTES + 1).0).is_some());
        client.seat.note_sent();
        assert!(client.seat.try_here(set(3, 10).0).is_some());
    }

    /// Writes of one sender to one key, of which some are for the thread and some are handled at once: none overtakes another.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tasks_of_one_sender_stay_in_their_order() {
        let (client, _driven) = node().await;
        let mut replies = Vec::new();
        for n in 1..=300u64 {
            let (task, reply) = set(n, if n % 7 == 0 { SMALL_BYTES + 1 } else { 10 });
            client.bring(task).await.unwrap();
            replies.push(reply);
            if n % 20 == 0 {
                at_rest(&client.seat).await;
            }
        }
        let mut last = 0;
        for reply in replies {
            let AskAnswer::Reply { result: Ok(crate::node::Reply::Written(written)), .. } =
                reply.await.unwrap()
            else {
                panic!()
            };
            assert!(written.sequence >= last, "{} after {last}", written.sequence);
            last = written.sequence;
        }
        let key = Some(KeyPath::parse("a").unwrap());
        let get = Query::Get { doc: "list".to_owned(), key };
        let crate::node::Reply::Value(Value::Array(items)) = client.command(get).await.unwrap() else {
            panic!()
        };
        assert_eq!(items[0], Value::from(300u64));
    }

    #[tokio::test]
    async fn a_slow_disk_leaves_turns_to_the_thread_and_one_pause_does_not() {
        let (client, _driven) = node().await;
        let now = now().mono;
        let seat = &client.seat;
        let after = |turns: &[u64]| {
            for took in turns {
                seat.with(|driver| driver.note_length(now, Millis::from_ms(*took))).unwrap();
            }
            seat.with(|driver| driver.takes_here(now)).unwrap()
        };
        assert!(after(&[30, 0, 0, 0, 0, 1, 2]));
        assert!(!after(&[30, 0, 30, 0, 30]));
        let later = now + Millis::from_ms(300);
        assert!(seat.with(|driver| driver.takes_here(later)).unwrap(), "it is tried again");
    }

    /// What finds no room waits for it on the thread, and callers wait their turn.
    #[tokio::test]
    async fn what_finds_no_room_is_handed_on_by_the_thread() {
        let (client, mut driven) = node().await;
        at_rest(&client.seat).await;
        let full = crate::runtime::EFFECTS_MAX + 1;
        client.seat.with(|driver| (0..full).for_each(|_| driver.effect(Effect::Joining(Vec::new()))));
        client.seat.with(NodeDriver::take_outputs);
        assert!(client.seat.try_here(set(1, 10).0).is_some());
        client.send(set(2, 10).0).await.unwrap();
        for _ in 0..full {
            driven.effects.recv().await.unwrap();
        }
        at_rest(&client.seat).await;
        assert!(client.seat.try_here(set(3, 10).0).is_none());
    }
}
