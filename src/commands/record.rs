//! What of commands is on disk. The node commits each [`RecordChange`] before what follows from it.

use serde::{Deserialize, Serialize};
use tombolo_transports::PeerId;

use super::deploy::Deploy;
use super::outcome::Outcome;
use super::revocation::HeldNotice;
use super::wire::CommandId;
use crate::federation::peer::{peer_bytes, wall_ms};
use crate::time::{Millis, Wall};

/// Names a received command: an id is its sender's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandKey {
    /// The node that signed it.
    #[serde(with = "peer_bytes")]
    pub sender: PeerId,
    /// The id that it gave.
    pub id: CommandId,
}

/// A command that this node has taken or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedCommand {
    /// The sender and the id of the command.
    pub key: CommandKey,
    /// When it expires, seconds since the Unix epoch.
    pub expires_s: u64,
    /// What was asked for.
    pub deploy: Deploy,
    /// When it was taken, by reference time.
    #[serde(rename = "taken_at_ms", with = "wall_ms")]
    pub taken_at: Wall,
    /// How far it is.
    pub progress: InstallProgress,
}

/// How far a received command is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstallProgress {
    /// Its effect has begun, or is about to.
    Taken,
    /// It has come to an outcome.
    Ended {
        /// What became of it.
        outcome: Outcome,
        /// When, by reference time.
        #[serde(rename = "at_ms", with = "wall_ms")]
        at: Wall,
    },
}

/// A command that this node has sent, or will send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentCommand {
    /// By which the receiver recognises a repetition.
    pub id: CommandId,
    /// The node that is asked.
    #[serde(with = "peer_bytes")]
    pub to: PeerId,
    /// What is asked for.
    pub deploy: Deploy,
    /// When it was made, by reference time.
    #[serde(rename = "created_at_ms", with = "wall_ms")]
    pub created_at: Wall,
    /// When it expires, seconds since the Unix epoch.
    pub expires_s: u64,
    /// How far it is.
    pub state: SentState,
}

/// How far a sent command is, as its sender knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SentState {
    /// It has not been answered.
    Waiting,
    /// The receiver runs it.
    Taken,
    /// The receiver has answered what became of it.
    Answered {
        /// What became of it.
        outcome: Outcome,
        /// When the answer came, by reference time.
        #[serde(rename = "at_ms", with = "wall_ms")]
        at: Wall,
    },
    /// It expired without an answer. A late answer still counts.
    Expired,
    /// A JSON call asks for it, once, and has not ended.
    Calling,
    /// The JSON call that asked for it has ended.
    Called {
        /// What came of the call.
        end: CalledEnd,
        /// When it ended, by reference time.
        #[serde(rename = "at_ms", with = "wall_ms")]
        at: Wall,
    },
}

/// How a JSON call that asked for an install ended. The words are those of the peer, which may be another program, or of
/// the driver of the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CalledEnd {
    /// The peer has installed the app, by its own word.
    Installed {
        /// The last of what its command wrote; may be empty.
        output: String,
    },
    /// The peer ran its command, which failed.
    Failed {
        /// The sentence that it answered with.
        message: String,
    },
    /// The peer does not install the app.
    Refused {
        /// The code of its refusal, where it gave one.
        code: Option<String>,
        /// The sentence that it answered with.
        message: String,
    },
    /// The call may have arrived, and no answer shows what came of it. It is not made again.
    Lost {
        /// What happened to the answer.
        why: String,
    },
    /// The peer was not reached: it has received nothing.
    Unreached {
        /// What failed on the way.
        why: String,
    },
}

impl ReceivedCommand {
    /// When it expires, by the clock of its sender.
    pub fn expires(&self) -> Wall {
        wall_of_s(self.expires_s)
    }
}

impl SentCommand {
    /// When it expires, by the clock of its sender.
    pub fn expires(&self) -> Wall {
        wall_of_s(self.expires_s)
    }

    /// Whether it is offered no more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, SentState::Answered { .. } | SentState::Expired | SentState::Called { .. })
    }

    /// Whether it is offered over links and radios. A command that goes by JSON call never is.
    pub fn is_offered(&self) -> bool {
        matches!(self.state, SentState::Waiting | SentState::Taken)
    }

    /// Whether it goes, or went, by JSON call.
    pub fn is_called(&self) -> bool {
        matches!(self.state, SentState::Calling | SentState::Called { .. })
    }
}

/// The instant that a signed number of seconds means. The number stays beside what was signed: past the end of the clock
/// the instant does not give it back.
pub(super) fn wall_of_s(seconds: u64) -> Wall {
    Wall::default() + Millis::from_secs(seconds)
}

/// Below this expiry no command of a sender is taken any more, unless it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiryFloor {
    /// The sender whose commands the floor is for.
    #[serde(with = "peer_bytes")]
    pub sender: PeerId,
    /// The expiry, seconds since the Unix epoch.
    pub expires_s: u64,
}

/// What has to be on disk before anything follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// A command that this node sends, as it now is.
    PutSent(Box<SentCommand>),
    /// A sent command that is no longer remembered.
    DropSent(CommandId),
    /// A command that this node has taken, as it now is.
    PutReceived(Box<ReceivedCommand>),
    /// A received command that is no longer remembered.
    DropReceived(CommandKey),
    /// The floor of a sender was raised.
    PutFloor(ExpiryFloor),
    /// A notice that this node has accepted, as it now is.
    PutNotice(Box<HeldNotice>),
}

/// What a node finds on disk.
#[derive(Debug, Default)]
pub struct LoadedCommands {
    /// Commands that it has sent.
    pub sent: Vec<SentCommand>,
    /// Commands that it has taken.
    pub received: Vec<ReceivedCommand>,
    /// The floor of each sender that has one.
    pub floors: Vec<ExpiryFloor>,
    /// Notices that it has accepted.
    pub notices: Vec<HeldNotice>,
}
