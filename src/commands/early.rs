//! Commands that came before their sender has shown what it holds of this node.
//!
//! A node whose disk was set back as a whole finds that out from its peers alone, and a sender offers its commands as soon as a link
//! is up. So the first command of a sender after a start waits until the two are in step, or for [`EARLY_WAIT`].

use std::collections::{BTreeSet, VecDeque};

use tombolo_transports::PeerId;

use crate::time::{Millis, Mono};

/// How long a command waits for its sender to show what it holds. A peer that claims what it does not have delays its own commands
/// by so much, once.
pub const EARLY_WAIT: Millis = Millis::from_secs(30);
/// The same by radio, where a report takes a while.
pub const EARLY_WAIT_ON_AIR: Millis = Millis::from_secs(120);
/// Commands that wait so. One more is not taken: its sender offers it again.
pub const EARLY_KEPT_MAX: usize = 64;

/// The commands that wait, oldest first, and the peers whose commands need not.
#[derive(Debug, Default)]
pub struct EarlyCommands {
    waiting: VecDeque<EarlyCommand>,
    /// In step with this node at least once since the start: a later step back is not possible without another start.
    shown: BTreeSet<PeerId>,
}

#[derive(Debug)]
struct EarlyCommand {
    from: PeerId,
    bytes: Vec<u8>,
    until: Mono,
}

impl EarlyCommands {
    /// Whether commands of a peer need not wait.
    pub fn has_shown(&self, peer: &PeerId) -> bool {
        self.shown.contains(peer)
    }

    /// A peer is in step with this node.
    pub fn shown(&mut self, peer: PeerId) {
        self.shown.insert(peer);
    }

    /// Lets a command wait until then at most, unless it does already.
    pub fn wait(&mut self, from: PeerId, bytes: &[u8], until: Mono) {
        let is_same = |early: &EarlyCommand| early.from == from && early.bytes == bytes;
        if self.waiting.len() < EARLY_KEPT_MAX && !self.waiting.iter().any(is_same) {
            self.waiting.push_back(EarlyCommand { from, bytes: bytes.to_vec(), until });
        }
    }

    /// The senders that are waited for.
    pub fn senders(&self) -> BTreeSet<PeerId> {
        self.waiting.iter().map(|early| early.from).collect()
    }

    /// Takes out the commands that wait no longer, in the order in which they came. A sender that has shown nothing in time is
    /// waited for no more.
    pub fn take_due(&mut self, now: Mono) -> Vec<(PeerId, Vec<u8>)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let overdue = self.waiting.iter().filter(|early| early.until <= now).map(|early| early.from);
        self.shown.extend(overdue);
        let (due, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|early| self.shown.contains(&early.from));
        self.waiting = waiting;
        due.into_iter().map(|early| (early.from, early.bytes)).collect()
    }

    /// When the next of them waits no longer.
    pub fn next_timer(&self) -> Option<Mono> {
        self.waiting.iter().map(|early| early.until).min()
    }
}
