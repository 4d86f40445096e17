//! Commands: what one node asks another to do, at most once.
//!
//! A command is signed by its sender for one addressee, expires, and carries an id by which a repetition is recognised. It
//! travels in a session or a pairwise channel of the two nodes, so only its addressee reads it, and the answer is
//! authenticated by the same channel. This room decides and remembers; it sends nothing and runs nothing. What is to be
//! made durable comes back as [`RecordChange`]s, which the desk writes before any effect (`desk/deploys.rs`).
//!
//! | file | what |
//! |---|---|
//! | `wire` | bytes of commands and answers (`FORMAT.md`) |
//! | `deploy` | the one kind there is: install an app |
//! | `catalogue` | the apps that an operator allows |
//! | `outcome` | what became of a command, and why one is refused |
//! | `outbox` | the sender: offers a command until it is answered or has expired |
//! | `inbox` | the receiver: takes a command once, remembers its outcome |
//! | `recall` | since when it remembers them: a store that was set back does not know what it took |
//! | `early` | commands whose sender has not shown yet what it holds of this node |
//! | `record` | what of both is on disk |
//! | `document` | the last outcomes as the document `deploys` |
//! | `pace` | how soon that document is signed again |
//! | `revocation` | notices that a key is in the wrong hands, handed to every member |
//!
//! Invariants:
//! - a command is *taken* on disk before its effect begins; after a crash in between its outcome is unknown, and it is
//!   never run again;
//! - what may have been taken by a store that has gone back since is unknown as well, and not run;
//! - an id that is no longer remembered is refused: forgetting raises a floor under the expiry of what is still taken;
//! - nothing is decided about a command before its signature holds (`verify_strict`).

mod catalogue;
mod deploy;
mod document;
mod early;
mod inbox;
mod outbox;
mod outcome;
mod pace;
mod recall;
mod record;
mod revocation;
mod wire;

pub use catalogue::{CATALOGUE_BYTES_MAX, Catalogue, CatalogueApp, CatalogueError, CatalogueState};
pub use deploy::{BadDeploy, Deploy, MARKETPLACE_BYTES_MAX};
pub use document::outcomes_document;
pub use early::{EARLY_KEPT_MAX, EARLY_WAIT, EARLY_WAIT_ON_AIR, EarlyCommands};
pub use inbox::{CommandInbox, Taking, TakingRules};
pub use outbox::{CommandOutbox, OfferPace, OutboxFull};
pub use outcome::{CommandRefusal, OUTPUT_BYTES_MAX, Outcome, RunEnd, RunResult, tail_of};
pub use recall::Recall;
pub use record::{
    CalledEnd, CommandKey, ExpiryFloor, InstallProgress, LoadedCommands, ReceivedCommand, RecordChange,
    SentCommand, SentState,
};
pub use revocation::{
    HeldNotice, NOTICE_BYTES_MAX, NOTICES_MAX, NoticeHash, NoticeVerdict, Notices, REVOCATION_DOMAIN,
    RevocationNotice, unaware,
};
pub use wire::{
    ANSWER_BYTES_MAX, COMMAND_BYTES_MAX, COMMAND_DOMAIN, CommandAnswer, CommandId, CommandKind,
    CommandParties, CommandTimes, SignedCommand, WireError,
};

use std::collections::BTreeSet;

use tombolo_transports::PeerId;

use crate::time::{Millis, Wall};

/// Longest life of a command: 7 days.
pub const COMMAND_LIFE_MAX: Millis = Millis::from_secs(7 * 24 * 60 * 60);
/// Life of a command for which no expiry is given: a day.
pub const COMMAND_LIFE_DEFAULT: Millis = Millis::from_secs(24 * 60 * 60);
/// By how much the clocks of sender and receiver may differ before a life counts as too long.
pub const COMMAND_CLOCK_SLACK: Millis = Millis::from_secs(10 * 60);
/// Commands of one sender that are remembered. Beyond, the one that expires first is forgotten, and the floor raised.
pub const COMMANDS_KEPT_PER_SENDER_MAX: usize = 256;
/// Commands that this node has sent and remembers. When all are unanswered, a further one is refused.
pub const COMMANDS_SENT_KEPT_MAX: usize = 256;
/// Outcomes in the document `deploys`; the output of older ones is dropped.
pub const OUTCOMES_SHOWN_MAX: usize = 32;
/// Installs that run at once. One more is answered with `busy`, and offered again by its sender.
pub const INSTALLS_RUNNING_MAX: usize = 4;
/// Waits between two offers of a command over a link: first and longest. A link loses nothing while it is up.
pub const OFFER_PACE: (Millis, Millis) = (Millis::from_secs(10), Millis::from_secs(10 * 60));
/// The same by radio, where frames are lost and air is scarce.
pub const OFFER_PACE_ON_AIR: (Millis, Millis) = (Millis::from_secs(2 * 60), Millis::from_secs(60 * 60));
/// Bytes of output in an answer by radio: the answer stays within one frame or two.
pub const OUTPUT_BYTES_ON_AIR_MAX: usize = 64;

/// What a node keeps of commands: those it has sent, those it has taken, and what it allows.
#[derive(Debug)]
pub struct Commands {
    /// Commands of this node to others.
    pub outbox: CommandOutbox,
    /// Commands of others to this node.
    pub inbox: CommandInbox,
    /// Since when those are remembered.
    pub recall: Recall,
    /// Commands that wait for their sender to show what it holds.
    pub early: EarlyCommands,
    /// Whether an operator's command is set: without one nothing is ever installed.
    pub is_on: bool,
    /// The apps that the operator allows.
    pub catalogue: CatalogueState,
    /// Notices that an identity is revoked.
    pub notices: Notices,
    /// Installs that a call of another protocol began and waits for.
    pub calls: BTreeSet<CommandKey>,
}

impl Commands {
    /// The commands of a node that has sent and taken none yet.
    pub fn new(is_on: bool, catalogue: CatalogueState) -> Self {
        Commands {
            outbox: CommandOutbox::default(),
            inbox: CommandInbox::default(),
            recall: Recall::default(),
            early: EarlyCommands::default(),
            is_on,
            catalogue,
            notices: Notices::default(),
            calls: BTreeSet::new(),
        }
    }

    /// A peer can be reached again: what waits for it is offered at once.
    pub fn reachable(&mut self, peer: &PeerId) {
        self.outbox.reachable(peer);
        self.notices.reachable(peer);
    }

    /// Takes from disk since when commands are remembered. What this process knows of a step back still counts.
    pub fn load_recall(&mut self, record: Option<&Vec<u8>>) {
        self.recall = self.recall.joined(Recall::of_record(record));
    }

    /// Takes what is on disk, in place of what memory holds. Installs that this process runs go on; of those that an
    /// earlier process began, the outcome is unknown from now on.
    pub fn load(&mut self, loaded: LoadedCommands, reference: Wall) -> Vec<RecordChange> {
        self.outbox.load(loaded.sent);
        self.notices.load(loaded.notices);
        self.inbox.load(loaded.received, loaded.floors, reference)
    }
}

#[cfg(test)]
mod tests;
