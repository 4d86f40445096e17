//! The gate to the outside: **nothing leaves before it is on disk**.
//!
//! What a peer has signed and sends again when it is asked, its node state, may wait for the disk ([`Gate::write_later`]): a power cut then costs the
//! newest of it, which the peer shows again. Nothing is promised with it, so outputs do not wait for it.
//!
//! Parts push store writes and outputs while an input is handled. One commit makes the writes durable and only then
//! releases the outputs behind them, in order. If the disk refuses, the outputs are undone: local requests get an
//! error, and the memory is loaded from disk again before anything else is answered.

use std::collections::VecDeque;

use tombolo_transports::LinkId;

use crate::io::{CallReply, CommandError, Event, Output, Reply, RequestId};
use crate::layer::{LayerId, Sequence};
use crate::rpc::CallRefusal;
use crate::store::{LayerWrite, Loaded, Store, StoreError, StoreWrite};
use crate::time::{Millis, Mono};

/// Pause before the disk is tried again after it refused; until then no peer's layer is accepted.
pub const STORAGE_RETRY: Millis = Millis::from_secs(5);

/// Deferred writes that wait at most; with one more all are written.
const DEFERRED_WRITES_MAX: usize = 512;

/// The disk refused a commit.
#[derive(Debug)]
pub struct StorageFault {
    /// The error of the store.
    pub why: StoreError,
    /// Until when peers' layers are refused.
    pub until: Mono,
    /// The memory still has changes that the disk refused, because the file could not be opened again yet.
    pub memory_is_ahead: bool,
}

/// What a refused commit leaves to do for the node.
#[derive(Debug)]
pub struct Undone {
    /// The error of the store.
    pub why: StoreError,
    /// Radios whose frame was not handed over: they can take another one.
    pub idle_radios: Vec<LinkId>,
}

/// Pending writes and the outputs behind them.
#[derive(Debug)]
pub struct Gate {
    store: Store,
    writes: Vec<StoreWrite>,
    deferred: DeferredWrites,
    /// Outputs that wait for the commit of `writes`.
    waiting: VecDeque<Output>,
    ready: VecDeque<Output>,
    fault: Option<StorageFault>,
}

/// States of layers that wait for the disk, oldest first.
#[derive(Debug, Default)]
struct DeferredWrites {
    /// How long they may wait; none at all: they are written at once.
    pause: Millis,
    writes: Vec<StoreWrite>,
    due: Option<Mono>,
}

impl DeferredWrites {
    /// Whether they go with a commit of these writes: their time has come, or one of those is of the same layer and must come after.
    fn go_with(&self, writes: &[StoreWrite], now: Mono) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now) || self.writes.len() > DEFERRED_WRITES_MAX;
        let waits = |layer: &LayerId| self.writes.iter().any(|write| layer_of(write) == Some(layer));
        is_due || (!self.writes.is_empty() && writes.iter().filter_map(layer_of).any(waits))
    }

    fn take(&mut self) -> Vec<StoreWrite> {
        self.due = None;
        std::mem::take(&mut self.writes)
    }
}

/// The layer whose record a write changes.
fn layer_of(write: &StoreWrite) -> Option<&LayerId> {
    match write {
        StoreWrite::PutLayer(write) => Some(write.layer()),
        StoreWrite::RemoveLayer(layer) => Some(layer),
        StoreWrite::PutPeer(_)
        | StoreWrite::RemovePeer(_)
        | StoreWrite::PutOutgoing(_)
        | StoreWrite::RemoveOutgoing(_)
        | StoreWrite::PutIncoming(_)
        | StoreWrite::RemoveIncoming(_)
        | StoreWrite::PutMeta(..)
        | StoreWrite::PutFork(_)
        | StoreWrite::PutCalls(_)
        | StoreWrite::RemoveCalls(_)
        | StoreWrite::PutCalledState(_)
        | StoreWrite::RemoveCalledState(_)
        | StoreWrite::Command(_) => None,
    }
}

impl Gate {
    /// A gate in front of a store. `deferred_pause` is how long what may wait for the disk waits; none at all: it does not.
    pub fn new(store: Store, deferred_pause: Millis) -> Self {
        let deferred = DeferredWrites { pause: deferred_pause, ..DeferredWrites::default() };
        let (waiting, ready) = (VecDeque::new(), VecDeque::new());
        Gate { store, writes: Vec::new(), deferred, waiting, ready, fault: None }
    }

    /// Adds a layer's state that its author sends again: it is written within the pause, with the states that gather meanwhile.
    pub fn write_later(&mut self, now: Mono, write: Box<LayerWrite>) {
        let write = StoreWrite::PutLayer(write);
        let follows = self.writes.iter().any(|other| layer_of(other) == layer_of(&write));
        if follows || self.deferred.pause == Millis::ZERO {
            return self.write(write);
        }
        self.deferred.due.get_or_insert(now + self.deferred.pause);
        self.deferred.writes.push(write);
    }

    /// The next commit writes what waits: the node ends in order.
    pub fn write_deferred(&mut self) {
        if !self.deferred.writes.is_empty() {
            self.deferred.due = Some(Mono::ZERO);
        }
    }

    /// When what waits is to be written.
    pub fn deferred_due(&self) -> Option<Mono> {
        self.deferred.due
    }

    /// Adds a change to the next commit.
    pub fn write(&mut self, write: StoreWrite) {
        self.writes.push(write);
    }

    /// Queues an output behind the next commit.
    pub fn output(&mut self, output: Output) {
        self.waiting.push_back(output);
    }

    /// Queues an event behind the next commit.
    pub fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    /// Queues the reply to a local request behind the next commit.
    pub fn reply(&mut self, request: RequestId, result: Result<Reply, CommandError>) {
        self.output(Output::Reply { request, result });
    }

    /// Replies at once that the disk refused. Nothing of this request was kept, so nothing has to be durable first.
    pub fn reply_refused(&mut self, request: RequestId) {
        let fault = self.fault.as_ref().expect("only a fault of the disk refuses requests");
        let why = fault.why.clone();
        self.ready.push_back(Output::Reply { request, result: Err(CommandError::Store(why)) });
    }

    /// Whether nothing waits for the next commit: what is in memory is on disk.
    pub fn has_no_writes(&self) -> bool {
        self.writes.is_empty()
    }

    /// Releases an output that needs no commit: it states only that the node holds uncommitted changes, or what is on disk.
    pub fn output_uncommitted(&mut self, output: Output) {
        self.ready.push_back(output);
    }

    /// The next released output.
    pub fn pop(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }

    /// Whether all released outputs were taken, so that the next commit is due.
    pub fn is_drained(&self) -> bool {
        self.ready.is_empty()
    }

    /// The fault of the disk, from a refused commit to the next one that succeeds.
    pub fn fault(&self) -> Option<&StorageFault> {
        self.fault.as_ref()
    }

    /// Why nothing can be written, while the store is open for reading only.
    pub fn read_only(&self) -> Option<&StoreError> {
        self.store.read_only()
    }

    /// Whether the memory has changes that the disk refused: nothing is answered from it.
    pub fn memory_is_ahead(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.memory_is_ahead)
    }

    /// Whether peers' layers are refused for now, because the disk refused a commit.
    pub fn refuses_layers(&self, now: Mono) -> bool {
        self.fault.as_ref().is_some_and(|fault| now < fault.until)
    }

    /// When the file is to be opened again.
    pub fn retry_due(&self, now: Mono) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.memory_is_ahead && fault.until <= now)
    }

    /// Makes the pending writes durable and releases the outputs behind them.
    ///
    /// # Errors
    /// `Undone` if the disk refuses: the writes are dropped, local requests get the reason as their reply, links that
    /// had to close still close, and the memory counts as ahead of the disk until [`loaded`](Self::loaded).
    pub fn commit(&mut self, now: Mono) -> Result<(), Undone> {
        let mut writes = std::mem::take(&mut self.writes);
        if self.deferred.go_with(&writes, now) {
            writes.splice(0..0, self.deferred.take());
        }
        if !writes.is_empty() {
            if let Err(error) = self.store.commit(writes) {
                return Err(self.undo(error, now));
            }
            self.fault = None;
        }
        self.ready.append(&mut self.waiting);
        Ok(())
    }

    fn undo(&mut self, why: StoreError, now: Mono) -> Undone {
        tracing::error!(%why, "the store did not commit; the memory is loaded from disk again");
        let until = now + STORAGE_RETRY;
        self.deferred.take();
        self.fault = Some(StorageFault { why: why.clone(), until, memory_is_ahead: true });
        let mut idle_radios = Vec::new();
        for output in std::mem::take(&mut self.waiting) {
            match output {
                Output::Reply { request, .. } => self.reply_refused(request),
                Output::Frame { link, .. } => idle_radios.push(link),
                Output::Close { link } => self.ready.push_back(Output::Close { link }),
                Output::CallAnswer { request, .. } => {
                    let reply = CallReply::refused(&CallRefusal::Busy);
                    self.ready.push_back(Output::CallAnswer { request, reply });
                }
                // A peer offers its layers again, a joiner and an inviter repeat their call, the request behind a
                // JSON call is answered by the node, and an event of something that did not happen has no reader.
                Output::Send { .. }
                | Output::JoinAnswer { .. }
                | Output::DialJoin { .. }
                | Output::DialCall { .. }
                | Output::Event(_)
                // Not taken after all: its sender offers it again.
                | Output::Install { .. }
                // It waits still, and goes when the disk takes its record.
                | Output::Notify { .. } => {}
            }
        }
        Undone { why, idle_radios }
    }

    /// Opens the store's file again after a fault, and reads all of it.
    ///
    /// # Errors
    /// The store's error; [`retry_later`](Self::retry_later) then sets the next try.
    pub fn load_again(&mut self) -> Result<Loaded, StoreError> {
        self.store.heal()?;
        if let Some(StorageFault { why: why @ StoreError::NoRoom(_), .. }) = &self.fault {
            self.store.wait_for_room(why.clone());
        }
        self.load()
    }

    /// Reads everything on disk; pending writes are dropped.
    ///
    /// # Errors
    /// The store's error, if the file cannot be read or is damaged.
    pub fn load(&mut self) -> Result<Loaded, StoreError> {
        self.writes.clear();
        self.deferred.take();
        self.store.load()
    }

    /// The memory equals the disk again.
    pub fn loaded(&mut self) {
        if let Some(fault) = &mut self.fault {
            fault.memory_is_ahead = false;
        }
    }

    /// The file did not open: the next try follows after a pause.
    pub fn retry_later(&mut self, now: Mono) {
        if let Some(fault) = &mut self.fault {
            fault.until = now + STORAGE_RETRY;
        }
    }

    /// The first bytes of the root that one of the node's own maps had at a sequence on this disk.
    ///
    /// # Errors
    /// The store's error, if the disk does not read.
    pub fn past_state(&self, layer: &LayerId, sequence: Sequence) -> Result<Option<[u8; 4]>, StoreError> {
        self.store.past_state(layer, sequence)
    }

    /// The store, for tests that copy or reopen it.
    #[cfg(test)]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

#[cfg(test)]
mod tests {
    use tombolo_delta::Value;

    use super::*;
    use crate::core::reserved_document;
    use crate::identity::Keypair;
    use crate::layer::{Content, DocumentName, Head, Kind};
    use crate::time::Wall;

    fn gate() -> Gate {
        Gate::new(Store::in_memory().unwrap(), Millis::ZERO)
    }

    /// A peer's node state, with so many commits before it.
    fn state(peer: u8, sequence: u64) -> Box<LayerWrite> {
        let me = Keypair::from_seeds(&[peer; 32], &[peer; 32]);
        let document = reserved_document(me.peer_id(), DocumentName::STATE);
        let content = Content::Snapshot(Value::from(sequence).into());
        let head = Head {
            kind: Kind::Snapshot,
            layer: LayerId { document, author: me.peer_id() },
            sequence: Sequence::new(sequence).unwrap(),
            time: Wall::from_ms(sequence),
            audience_sequence: Sequence::NONE,
            root: content.root(),
        };
        Box::new(LayerWrite {
            signed: head.sign(&me),
            snapshot: Some(content.to_cbor()),
            entries: Vec::new(),
            kept: None,
            forgotten: Vec::new(),
            forgotten_keys: Vec::new(),
            bases_from: None,
            is_own_map: false,
            all: None,
        })
    }

    /// The sequences of the layers on disk.
    fn on_disk(gate: &Gate) -> Vec<u64> {
        let layers = gate.store().load().unwrap().layers;
        layers.iter().map(|layer| layer.signed.head.sequence.get()).collect()
    }

    /// What may wait is not written with other commits, which are made as ever; after the pause all of it is, in one.
    #[test]
    fn states_of_peers_wait_and_nothing_waits_for_them() {
        let pause = Millis::from_secs(60);
        let mut gate = Gate::new(Store::in_memory().unwrap(), pause);
        let begun = Mono::from_ms(1_000);
        for sequence in 1..4 {
            gate.write_later(begun, state(1, sequence));
            gate.write(record());
            gate.output(Output::Close { link: LinkId(sequence) });
            gate.commit(begun).unwrap();
            assert!(matches!(gate.pop(), Some(Output::Close { .. })), "outputs leave");
        }
        assert_eq!(on_disk(&gate), Vec::<u64>::new());
        assert_eq!(gate.store().load().unwrap().meta.get("test"), Some(&vec![1]));
        assert_eq!(gate.deferred_due(), Some(begun + pause));
        gate.commit(begun + pause).unwrap();
        assert_eq!((on_disk(&gate), gate.deferred_due()), (vec![3], None));
    }

    #[test]
    fn an_orderly_end_and_a_change_of_the_same_layer_write_what_waits() {
        let mut gate = Gate::new(Store::in_memory().unwrap(), Millis::from_secs(60));
        let now = Mono::from_ms(1_000);
        gate.write_later(now, state(1, 1));
        gate.write_deferred();
        gate.commit(now).unwrap();
        assert_eq!(on_disk(&gate), [1]);
        // A layer that is removed does not come back with what waited.
        gate.write_later(now, state(1, 2));
        gate.write(StoreWrite::RemoveLayer(state(1, 1).layer().clone()));
        gate.commit(now).unwrap();
        assert_eq!((on_disk(&gate), gate.deferred_due()), (Vec::<u64>::new(), None));
        // And one that comes again after its removal stays.
        gate.write(StoreWrite::RemoveLayer(state(1, 1).layer().clone()));
        gate.write_later(now, state(1, 3));
        gate.commit(now).unwrap();
        assert_eq!(on_disk(&gate), [3]);
    }

    #[test]
    fn as_many_states_wait_as_may() {
        let mut gate = Gate::new(Store::in_memory().unwrap(), Millis::from_secs(60));
        let now = Mono::from_ms(1_000);
        let states = DEFERRED_WRITES_MAX as u64 + 1;
        for sequence in 1..=states {
            gate.write_later(now, state(1, sequence));
        }
        gate.commit(now).unwrap();
        assert_eq!(on_disk(&gate), [states]);
    }

    fn record() -> StoreWrite {
        StoreWrite::PutMeta("test".into(), vec![1])
    }

    /// An output queued before or after a write leaves only once the write can be read back.
    #[test]
    fn outputs_leave_behind_the_commit_and_in_order() {
        let mut gate = gate();
        gate.output(Output::Send { link: LinkId(1), bytes: vec![1] });
        gate.write(record());
        gate.output(Output::Close { link: LinkId(2) });
        assert!(gate.pop().is_none(), "nothing leaves before the commit");
        gate.commit(Mono::default()).unwrap();
        assert_eq!(gate.load().unwrap().meta.get("test"), Some(&vec![1]));
        assert!(matches!(gate.pop(), Some(Output::Send { .. })));
        assert!(matches!(gate.pop(), Some(Output::Close { .. })));
        assert!(gate.pop().is_none());
    }

    /// After a refused commit: requests get the reason, closes stay, messages and events are gone, radios are idle.
    #[test]
    fn a_refused_commit_undoes_what_waited_behind_it() {
        let mut gate = gate();
        gate.write(record());
        gate.reply(RequestId(5), Ok(Reply::Peers(Vec::new())));
        gate.output(Output::Send { link: LinkId(1), bytes: vec![1] });
        gate.output(Output::Frame { link: LinkId(3), bytes: vec![1] });
        gate.output(Output::Close { link: LinkId(2) });
        gate.event(Event::PeersChanged);
        let (now, full) = (Mono::from_ms(100), StoreError::Disk("full".to_owned()));
        let undone = gate.undo(full.clone(), now);
        assert_eq!((undone.why, undone.idle_radios), (full.clone(), vec![LinkId(3)]));
        let expected = Err(CommandError::Store(full));
        assert!(
            matches!(gate.pop(), Some(Output::Reply { request: RequestId(5), result }) if result == expected)
        );
        assert!(matches!(gate.pop(), Some(Output::Close { link: LinkId(2) })));
        assert!(gate.pop().is_none());
        assert!(gate.memory_is_ahead() && gate.refuses_layers(now) && !gate.retry_due(now));
        assert!(gate.retry_due(now + STORAGE_RETRY));
        gate.loaded();
        assert!(!gate.memory_is_ahead() && gate.fault().is_some());
    }
}
