//! What goes into a `Node` and what comes out: the whole surface between the sans-io core and its
//! drivers (the daemon, the command line without a daemon, the simulation).
//!
//! The order is always: `handle_input` one or more times, then `poll_output` until it is empty, then
//! `poll_timeout`. The first `poll_output` after an input makes everything durable that the inputs
//! changed, in one commit, before it yields anything: so nothing is acknowledged or sent before it is on
//! disk, and inputs handled together share one commit.

mod command;
mod radio;
mod state;
pub mod view;

use serde::Serialize;
use tombolo_delta::Value;
use tombolo_transports::{Address, LinkCaps, LinkId, PeerId};

pub use command::{Admin, Command, Query, Write};
pub use radio::RadioSpec;
pub use state::{App, AppStatus, NodeState};

/// Names a local request, so that its reply finds the way back. Chosen by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something that happened to the node.
#[derive(Debug)]
pub enum Input {
    /// Time has passed: `poll_timeout` is due. Any other input does as well.
    Timeout,
    /// An authenticated link to a peer is up.
    LinkUp {
        /// The link.
        link: LinkId,
        /// The peer that TLS (or the frame layer) proved at its far end.
        peer: PeerId,
        /// What the link can do.
        caps: LinkCaps,
    },
    /// A link is gone.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// A whole message came over a link.
    Received {
        /// The link.
        link: LinkId,
        /// The message as the peer sent it; hostile.
        bytes: Vec<u8>,
    },
    /// A stranger, whose key TLS proved, asks to redeem an invite.
    JoinRequest {
        /// Pairs this request with its answer.
        request: RequestId,
        /// The asker's proven key.
        peer: PeerId,
        /// Where it called from: kept as an address to dial later.
        address: Option<Address>,
        /// The request; hostile.
        bytes: Vec<u8>,
    },
    /// The answer to our own `Output::DialJoin`, or why there is none, in words for a person.
    JoinAnswered {
        /// The inviter that was asked.
        inviter: PeerId,
        /// Its answer; hostile.
        result: Result<Vec<u8>, String>,
    },
    /// A radio's device is there; at first, the radio is new.
    RadioUp {
        /// Names the radio, as long as the node runs.
        link: LinkId,
        /// What it is and may do.
        spec: Box<RadioSpec>,
    },
    /// A radio's device is gone; it may come back.
    RadioDown {
        /// Which.
        link: LinkId,
        /// Why, in words for a person.
        why: String,
    },
    /// A radio takes the next frame.
    RadioReady {
        /// Which.
        link: LinkId,
    },
    /// A radio heard a frame.
    Frame {
        /// Which radio.
        link: LinkId,
        /// The frame, from any sender; hostile.
        bytes: Vec<u8>,
    },
    /// A local request.
    Command {
        /// Pairs the request with its reply.
        request: RequestId,
        /// What is asked.
        command: Command,
    },
}

/// Something the node wants done.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few wait at a time, and each is moved once")]
pub enum Output {
    /// Send a message on a link.
    Send {
        /// The link.
        link: LinkId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Give a radio one frame. `RadioReady` reports when it takes another.
    Frame {
        /// Which radio.
        link: LinkId,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// Close a link: its peer was removed or is no longer trusted.
    Close {
        /// The link.
        link: LinkId,
    },
    /// The answer to a `JoinRequest`; the join connection can be closed after it.
    JoinAnswer {
        /// Of which request.
        request: RequestId,
        /// What to send.
        bytes: Vec<u8>,
    },
    /// Call an inviter on `tombolo-join/1`, send it these bytes, bring its answer as `JoinAnswered`.
    DialJoin {
        /// The peer to dial; the far end must prove this key.
        inviter: PeerId,
        /// Where it may be.
        addresses: Vec<Address>,
        /// The request.
        bytes: Vec<u8>,
    },
    /// The reply to a `Command`.
    Reply {
        /// Of which request.
        request: RequestId,
        /// What came of it.
        result: Result<Reply, CommandError>,
    },
    /// Something that watchers want to hear.
    Event(Event),
}

/// The answer to a command. Serialises to the JSON that `--json` prints and `/v1` answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `Id`.
    Id(view::IdView),
    /// To `Invite`.
    Invite(view::InviteView),
    /// To `Join`: the inviter, as a peer.
    Joined(view::PeerView),
    /// To `Trust`, `Rename`: the peer as it now is.
    Peer(view::PeerView),
    /// To `Peers`.
    Peers(Vec<view::PeerView>),
    /// To `Remove`.
    Removed(view::RemovedView),
    /// To `Create`, `Set`, `Del`, `Put`: the document after the write.
    Written(view::WrittenView),
    /// To `Get`: the value itself.
    Value(Value),
    /// To `List`.
    Documents(Vec<view::DocumentView>),
    /// To `State`.
    State(view::StateView),
    /// To `PublishState`.
    Published(view::PublishedView),
    /// To `Status`.
    Status(Box<view::StatusView>),
    /// To `Policy`.
    Policy(view::PolicyView),
    /// To `Links`.
    Links(Vec<view::LinkView>),
    /// To `Airtime`.
    Airtime(Vec<view::AirtimeView>),
    /// To `Conflicts`.
    Conflicts(Vec<view::ConflictView>),
}

/// Something that changed, for `watch` and for drivers that keep lists.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A document reads differently now.
    Changed(view::ChangedView),
    /// The list of peers, a level or an address changed. The driver renews its allow-list from
    /// `Node::dialable_peers`.
    PeersChanged,
    /// Whether an invite is open changed; the driver answers `tombolo-join/1` accordingly.
    JoiningChanged {
        /// Whether one is open.
        open: bool,
    },
    /// A link to a peer came up or went down.
    Link(view::LinkEventView),
    /// Something a person should look at.
    Alarm {
        /// What.
        message: String,
    },
}

/// Why a command was not done. The command line adds which of its commands helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such peer.
    #[error("no peer is called `{0}`")]
    UnknownPeer(String),
    /// Several peers fit.
    #[error("`{text}` fits {count} peers: use more of the DID, or rename one")]
    AmbiguousPeer {
        /// What was asked.
        text: String,
        /// How many fit.
        count: usize,
    },
    /// No such document.
    #[error("no document is called `{0}`")]
    UnknownDocument(String),
    /// Several documents fit.
    #[error("`{name}` is the name of {} documents, name one of them: {}", choices.len(), choices.join(", "))]
    AmbiguousDocument {
        /// The name.
        name: String,
        /// `peer/name` of each.
        choices: Vec<String>,
    },
    /// The document is there already.
    #[error("a document `{0}` of yours exists already")]
    DocumentExists(String),
    /// Not a usable document name.
    #[error("`{name}` cannot be a document name: {why}")]
    BadName {
        /// The name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// The key is not there.
    #[error("`{doc}` has no key `{key}`")]
    UnknownKey {
        /// The document.
        doc: String,
        /// The key.
        key: String,
    },
    /// The value cannot stand in a document.
    #[error("this value cannot be kept: {0}")]
    BadValue(String),
    /// We may read but not write.
    #[error("you may read `{0}` but not write it: its owner lists you as an observer")]
    ReadOnly(String),
    /// Only its owner sets a document's policy.
    #[error("`{0}` is not yours: its owner sets its policy")]
    NotYours(String),
    /// A limit of the format or a quota of this node.
    #[error("{what} would pass the limit of {limit}: {remedy}")]
    Limit {
        /// What would.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// The invite code is no code.
    #[error("this is not an invite code: {0}")]
    BadInvite(String),
    /// An invite cannot live so long, or not at all.
    #[error("an invite lives at most 30 days, and longer than no time")]
    BadExpiry,
    /// The code has run out.
    #[error("this invite expired on {0}: ask for a new one")]
    InviteExpired(String),
    /// It is our own code.
    #[error("this is an invite of your own node: give it to the other one")]
    OwnInvite,
    /// We know the inviter already.
    #[error("you are peers with {0} already")]
    AlreadyPeer(String),
    /// The inviter refused.
    #[error("{inviter} refused: {why}")]
    JoinRefused {
        /// The inviter that was asked.
        inviter: String,
        /// Its reason.
        why: String,
    },
    /// No state of that peer has come yet.
    #[error("no state of {0} has come yet: it comes when the two nodes meet")]
    NoState(String),
    /// Another machine writes with our key.
    #[error("this node has stopped writing: {0}")]
    Stopped(String),
    /// The disk did not take it.
    #[error("not saved: {0}. Nothing was lost of what was saved before")]
    Store(String),
}

impl CommandError {
    /// A stable word for programs: the `error.code` of `/v1` and `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            CommandError::UnknownPeer(_) => "unknown_peer",
            CommandError::AmbiguousPeer { .. } => "ambiguous_peer",
            CommandError::UnknownDocument(_) => "unknown_document",
            CommandError::AmbiguousDocument { .. } => "ambiguous_document",
            CommandError::DocumentExists(_) => "document_exists",
            CommandError::BadName { .. } => "bad_name",
            CommandError::UnknownKey { .. } => "unknown_key",
            CommandError::BadValue(_) => "bad_value",
            CommandError::ReadOnly(_) => "read_only",
            CommandError::NotYours(_) => "not_yours",
            CommandError::Limit { .. } => "limit",
            CommandError::BadInvite(_) => "bad_invite",
            CommandError::BadExpiry => "bad_expiry",
            CommandError::InviteExpired(_) => "invite_expired",
            CommandError::OwnInvite => "own_invite",
            CommandError::AlreadyPeer(_) => "already_peer",
            CommandError::JoinRefused { .. } => "join_refused",
            CommandError::NoState(_) => "no_state",
            CommandError::Stopped(_) => "stopped",
            CommandError::Store(_) => "store",
        }
    }
}
