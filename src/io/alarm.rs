//! Conditions that a person should look at, as facts. `report` makes their sentences, the command line adds which command
//! helps.

use tombolo_mesh::station::StationError;
use tombolo_transports::{JoinError, PeerId};

use crate::federation::join::{JoinMessageError, JoinRefusal};
use crate::layer::DocumentName;
use crate::store::StoreError;
use crate::time::Wall;
use crate::watches::AlarmReport;

/// A condition that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alarm {
    /// Another machine signs with this node's key now; this node has stopped writing.
    KeyUsedElsewhere,
    /// A radio received frames under this node's own key from elsewhere.
    OwnKeyHeard,
    /// Two machines run with the key of one peer.
    TwoMachines {
        /// The name of the peer.
        peer: String,
    },
    /// A peer does not take this node any more.
    RemovedBy {
        /// The name of the peer.
        peer: String,
        /// When it first refused, by this node's reference time.
        since: Wall,
    },
    /// An author signed two states with one sequence.
    Fork {
        /// The identity that signed both.
        author: PeerId,
        /// The document of both states.
        document: DocumentName,
    },
    /// The disk refused the last commit.
    NotSaved {
        /// The error of the store.
        why: StoreError,
    },
    /// The disk takes no writes, so the node can be read only.
    ReadOnly {
        /// The reason of the disk.
        why: StoreError,
    },
    /// The store lost commits that were acknowledged.
    SteppedBack {
        /// How many commits the disk had confirmed and lost.
        commits: u64,
    },
    /// The store is newer than the key, and no peer has answered yet what this node wrote before.
    Unconfirmed,
    /// A join is under way, and the last call brought no answer that ends it.
    InviterSilent {
        /// The name of the inviter.
        inviter: String,
        /// What came of the last call.
        why: JoinFailure,
    },
    /// The clock of this machine is far from that of its peers.
    ClockDiffers,
    /// The clocks of peers are far from that of this machine, for which the kernel or the operator vouches.
    PeersClocksDiffer {
        /// The kernel counts it as synchronised; else only the settings vouch for it.
        synchronised: bool,
    },
    /// The clock of this machine is not set.
    ClockNotSet,
    /// A radio's settings make no station.
    RadioUnusable {
        /// The name of the radio.
        radio: String,
        /// The setting that does not fit.
        why: StationError,
    },
    /// A radio sends nothing.
    RadioSilent {
        /// The name of the radio.
        radio: String,
        /// The driver's reason, or the rules that forbid it.
        why: String,
    },
    /// The catalogue of apps that peers may have installed here cannot be read.
    CatalogueDamaged {
        /// What is wrong with the file, by the shell that read it.
        why: String,
    },
    /// This node's identity was ended by its own revocation.
    OwnIdentityEnded,
    /// A member reports the key of this node as stolen.
    OwnKeyStolen {
        /// The name of the member.
        author: String,
    },
    /// A peer has ended its identity.
    IdentityEnded {
        /// The name of the peer.
        peer: String,
    },
    /// A member reports the key of a peer as stolen, and the operator has not decided yet.
    KeyStolen {
        /// The name of the member.
        author: String,
        /// The name of the peer.
        peer: String,
    },
    /// A watch has raised an alarm, here or at a node that is trusted.
    Watched {
        /// The name of the node that it is about.
        subject: String,
        /// The names of the nodes that report it.
        by: Vec<String>,
        /// The report as its node has signed it.
        report: Box<AlarmReport>,
    },
    /// A figure of this machine cannot be read.
    ProbeFailed {
        /// The name of the probe.
        probe: &'static str,
        /// The error of the probe.
        why: String,
    },
}

/// What came of a call to an inviter, where it was no answer that ends the join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFailure {
    /// The inviter refuses for now.
    #[error(transparent)]
    Refused(#[from] JoinRefusal),
    /// The call brought no answer.
    #[error(transparent)]
    Call(#[from] JoinError),
    /// The answer is none.
    #[error(transparent)]
    Answer(#[from] JoinMessageError),
    /// A JSON call brought no answer, or a refusal that may pass: the driver's or the inviter's words.
    #[error("{0}")]
    JsonCall(String),
}
