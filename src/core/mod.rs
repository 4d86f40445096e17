//! What every part of a node works with: identity, settings, clocks, randomness, the gate to disk and to the
//! outside, counters.
//!
//! The parts (`replica`, `membership`, `authoring`, `unicast`, `broadcast`) own their state and receive a
//! `&mut Core` with each call that needs the time, draws randomness or has an effect. `Core` decides nothing about
//! documents, peers or links.

mod clockwork;
mod gate;
mod log;
mod metrics;
mod proofs;
mod settings;
#[cfg(test)]
pub(crate) mod side;

use tombolo_mesh::frame::keys::Identity;
use tombolo_transports::PeerId;

pub use clockwork::Clockwork;
pub use gate::{Gate, STORAGE_RETRY, StorageFault};
pub use log::{EventLog, LOG_ENTRIES_MAX, LogEntry, Logged};
pub use metrics::{InputRejection, Metrics};
pub use proofs::{ProofBudgets, ProofStanding};
pub use settings::{BriefField, BriefFields, NodeSettings};

use crate::clock::{Now, TimeSource};
use crate::identity::Keypair;
use crate::io::Event;
use crate::layer::{DocumentId, DocumentName, LayerId};
use crate::presence::{PresenceBook, PresenceChange, SilenceCause};
use crate::random::Random;
use crate::store::Store;
use crate::time::{Mono, Wall};

/// What the parts of one node share.
#[derive(Debug)]
pub struct Core {
    /// The node's secret key.
    pub keypair: Keypair,
    /// The node's identity: the public half of `keypair`.
    pub me: PeerId,
    /// The same as text: most replies show it.
    did: String,
    /// That of another node, which was shown last: a peer that writes is shown with each state.
    shown_did: (PeerId, String),
    /// What the operator set.
    pub settings: NodeSettings,
    /// Every clock of the node.
    pub clock: Clockwork,
    /// Tokens, jitter and ephemeral keys come from here; a simulation replays from its seed.
    pub random: Random,
    /// Pending writes, and the outputs that wait behind them.
    pub gate: Gate,
    /// Counters of rejections and traffic, with typed labels.
    pub metrics: Metrics,
    /// When each peer was heard, over which link, and when it is to be heard again.
    pub presence: PresenceBook,
    /// What was refused and what happened, to be read.
    pub log: EventLog,
    /// What each peer has cost with input that nothing proved.
    pub proofs: ProofBudgets,
}

impl Core {
    /// The shared state of a node that has just started. `seed` is fresh randomness.
    pub fn new(store: Store, keypair: Keypair, settings: NodeSettings, now: Now, seed: &[u8; 32]) -> Self {
        let mut random = Random::new(seed);
        let boot = u32::from_be_bytes(random.bytes());
        let gate = Gate::new(store, settings.peer_states_wait);
        let vouchers = settings.clock_vouchers;
        Core {
            me: keypair.peer_id(),
            did: crate::identity::did(&keypair.peer_id()),
            shown_did: (keypair.peer_id(), crate::identity::did(&keypair.peer_id())),
            keypair,
            settings,
            clock: Clockwork::new(now, boot, vouchers),
            random,
            gate,
            metrics: Metrics::default(),
            presence: PresenceBook::default(),
            log: EventLog::default(),
            proofs: ProofBudgets::default(),
        }
    }

    /// The DID of an identity, which most often is this node's.
    pub fn did(&self, id: &PeerId) -> String {
        if *id == self.me { self.did.clone() } else { crate::identity::did(id) }
    }

    /// The same of an identity that will be shown again soon.
    pub fn did_again(&mut self, id: &PeerId) -> String {
        if *id != self.me && *id != self.shown_did.0 {
            self.shown_did = (*id, crate::identity::did(id));
        }
        if *id == self.me { self.did.clone() } else { self.shown_did.1.clone() }
    }

    /// This node's onion address, `….onion`: the operator's own service, or that of the node's key.
    pub fn onion(&self) -> String {
        self.settings.onion.map_or_else(|| self.keypair.onion(), |host| host.to_string())
    }

    /// The monotonic instant of the input that is being handled.
    pub fn now(&self) -> Mono {
        self.clock.now().mono
    }

    /// The reference time of this node now.
    pub fn reference(&self) -> Wall {
        self.clock.reference()
    }

    /// Whether reference time is a clock's: else it is only known to be at least so late.
    pub fn has_clock(&self) -> bool {
        self.clock.source() != TimeSource::Logical
    }

    /// The node's X25519 identity for radio channels and sealed keys.
    pub fn radio_identity(&self) -> Identity {
        Identity::from_seed(&self.keypair.identity_seed())
    }

    /// One of the node's own reserved documents: `state`, `audience`, `keys`.
    pub fn own_document(&self, name: &'static str) -> DocumentId {
        reserved_document(self.me, name)
    }

    /// The node's own layer in a document.
    pub fn own_layer(&self, document: &DocumentId) -> LayerId {
        LayerId { document: document.clone(), author: self.me }
    }

    /// Queues an event for watchers, behind the commit, and keeps it in the log.
    pub fn event(&mut self, event: Event) {
        match &event {
            Event::Link(_) | Event::Alarm(_) | Event::Deploy(_) => {
                self.log.add(self.reference(), Logged::Event(event.clone()));
            }
            // What is read can be asked for; a log of every change would show little else.
            Event::Changed(_)
            | Event::Ended(_)
            | Event::PeersChanged
            | Event::JoiningChanged { .. }
            | Event::Presence(_) => {}
        }
        self.gate.event(event);
    }

    /// Counts a refused input, and keeps it in the log.
    pub fn reject(&mut self, why: InputRejection) {
        self.reject_from(None, why);
    }

    /// Counts a refused input of a peer, and keeps it in the log.
    pub fn reject_from(&mut self, from: Option<PeerId>, why: InputRejection) {
        self.metrics.reject(why);
        self.log.add(self.reference(), Logged::Rejection { why, from });
    }

    /// A peer sent something over a session that was worked on and proved nothing: so many bytes.
    pub fn failed_proof(&mut self, peer: PeerId, bytes: usize) {
        let standing = self.proofs.failed(peer, bytes, self.now());
        self.note_standing(peer, standing);
    }

    /// Whether a message of a peer is looked at, which depends on what it sent before.
    pub fn admits_message(&mut self, peer: PeerId, bytes: usize) -> bool {
        let admitted = self.proofs.admits(peer, bytes, self.now());
        if let Err(standing) = admitted {
            self.note_standing(peer, standing.or(Some(ProofStanding::Slowed)));
        }
        admitted.is_ok()
    }

    /// Whether a peer may have no session for now.
    pub fn is_cut(&self, peer: &PeerId) -> bool {
        self.proofs.standing(peer, self.now()) == ProofStanding::Cut
    }

    fn note_standing(&mut self, peer: PeerId, standing: Option<ProofStanding>) {
        match standing {
            Some(ProofStanding::Slowed) => self.reject_from(Some(peer), InputRejection::SenderSlowed),
            Some(ProofStanding::Cut) => self.reject_from(Some(peer), InputRejection::SenderCut),
            Some(ProofStanding::Open) | None => {}
        }
    }

    /// The peers that are heard better or worse than before, to be handed to watchers; the log keeps them. What the disk knew
    /// from before the start is no news.
    pub fn presence_changes(&mut self) -> Vec<PresenceChange> {
        let mut changes = self.presence.take_changes(self.now());
        changes.retain(|it| it.before.is_some() || it.now.cause != Some(SilenceCause::NotSinceStart));
        let reference = self.reference();
        changes.iter().for_each(|change| self.log.add(reference, Logged::Presence(*change)));
        changes
    }
}

/// A reserved document of some owner.
pub fn reserved_document(owner: PeerId, name: &'static str) -> DocumentId {
    DocumentId { owner, name: DocumentName::reserved(name) }
}
