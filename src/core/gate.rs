//! The gate to the outside: **nothing leaves before it is on disk**.
//!
//! Parts push store writes and outputs while an input is handled. One commit makes the writes durable and only then
//! releases the outputs behind them, in order. If the disk refuses, the outputs are undone: local requests get an
//! error, and the memory is loaded from disk again before anything else is answered.

use std::collections::VecDeque;

use tombolo_transports::LinkId;

use crate::io::{CallReply, CommandError, Event, Output, Reply, RequestId};
use crate::layer::{LayerId, Sequence};
use crate::rpc::CallRefusal;
use crate::store::{Loaded, Store, StoreError, StoreWrite};
use crate::time::{Millis, Mono};

/// Pause before the disk is tried again after it refused; until then no peer's layer is accepted.
pub const STORAGE_RETRY: Millis = Millis::from_secs(5);

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
    /// Outputs that wait for the commit of `writes`.
    waiting: VecDeque<Output>,
    ready: VecDeque<Output>,
    fault: Option<StorageFault>,
}

impl Gate {
    /// A gate in front of a store.
    pub fn new(store: Store) -> Self {
        Gate { store, writes: Vec::new(), waiting: VecDeque::new(), ready: VecDeque::new(), fault: None }
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

    /// Releases an output that needs no commit: the node holds uncommitted changes and answers only that it does.
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
        if !self.writes.is_empty() {
            let writes = std::mem::take(&mut self.writes);
            if let Err(error) = self.store.commit(&writes) {
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
        self.load()
    }

    /// Reads everything on disk; pending writes are dropped.
    ///
    /// # Errors
    /// The store's error, if the file cannot be read or is damaged.
    pub fn load(&mut self) -> Result<Loaded, StoreError> {
        self.writes.clear();
        self.store.load()
    }

    /// The memory equals the disk again.
    pub fn loaded(&mut self) {
        self.writes.clear();
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
    use super::*;

    fn gate() -> Gate {
        Gate::new(Store::in_memory().unwrap())
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
