//! What goes into a `Node` and what comes out: the whole surface between the sans-io core and its driver (the runtime, the
//! command line without a running node, the simulation). Views are the JSON of replies; nothing here is ever sent to a peer.
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
use tombolo_transports::{Address, JoinSecret, LinkCaps, LinkId, PeerId};

use crate::commands::{BadDeploy, CatalogueState, CommandKey, Deploy, RunResult};

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
        /// The link that came up.
        link: LinkId,
        /// The identity that TLS (or the frame layer) proved at its far end.
        peer: PeerId,
        /// What the link can do.
        caps: LinkCaps,
    },
    /// A link is gone.
    LinkDown {
        /// The link that is gone.
        link: LinkId,
    },
    /// A whole message came over a link.
    Received {
        /// The link that the message came over.
        link: LinkId,
        /// The message as the peer sent it; hostile.
        bytes: Vec<u8>,
    },
    /// A stranger, whose key TLS proved, asks to redeem an invite.
    JoinRequest {
        /// Pairs this request with its answer.
        request: RequestId,
        /// The joiner's proven key.
        peer: PeerId,
        /// Where it called from: kept as an address to dial later.
        address: Option<Address>,
        /// The request as the joiner sent it; hostile.
        bytes: Vec<u8>,
    },
    /// The answer to this node's own `Output::DialJoin`, or why there is none, in words for a person.
    JoinAnswered {
        /// The inviter that was called.
        inviter: PeerId,
        /// Its answer as it sent it; hostile.
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
        /// The radio whose device is gone.
        link: LinkId,
        /// Why, in words for a person.
        why: String,
    },
    /// A radio takes the next frame.
    RadioReady {
        /// The radio that takes a frame.
        link: LinkId,
    },
    /// A radio received a frame.
    Frame {
        /// The radio that received it.
        link: LinkId,
        /// The frame, from any sender; hostile.
        bytes: Vec<u8>,
    },
    /// A local request: a write, an administrative change or a query.
    Command {
        /// Pairs the request with its reply.
        request: RequestId,
        /// The command that is requested.
        command: Command,
    },
    /// An install that `Output::Install` began has ended.
    Installed {
        /// The command that it was for.
        key: CommandKey,
        /// How it ended.
        result: RunResult,
    },
    /// The operator's catalogue was read again.
    Catalogue(CatalogueState),
}

/// Something the node wants done.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few wait at a time, and each is moved once")]
pub enum Output {
    /// Send a message on a link.
    Send {
        /// The link to send on.
        link: LinkId,
        /// The message, encoded.
        bytes: Vec<u8>,
    },
    /// Give a radio one frame. The driver reports `RadioReady` when it takes another.
    Frame {
        /// The radio to give it to.
        link: LinkId,
        /// The frame, sealed and with its header.
        bytes: Vec<u8>,
    },
    /// Close a link: its peer was removed or is no longer trusted.
    Close {
        /// The link to close.
        link: LinkId,
    },
    /// The answer to a `JoinRequest`; the join connection can be closed after it.
    JoinAnswer {
        /// The `JoinRequest` that it answers.
        request: RequestId,
        /// The bytes to send to the joiner.
        bytes: Vec<u8>,
    },
    /// Call an inviter on `tombolo-join/1`, send it these bytes, return its answer as `JoinAnswered`.
    DialJoin {
        /// The inviter to call; the far end must prove this key.
        inviter: PeerId,
        /// Where it may be.
        addresses: Vec<Address>,
        /// What the code makes both ends know, for carriers that hide the inviter.
        secret: JoinSecret,
        /// The signed request to send.
        bytes: Vec<u8>,
    },
    /// The reply to a `Command`.
    Reply {
        /// The request that it answers.
        request: RequestId,
        /// The reply, or why the command was not carried out.
        result: Result<Reply, CommandError>,
    },
    /// A change that watchers are informed of.
    Event(Event),
    /// Run the operator's command for a deploy; its end comes back as `Installed`. The record that it was taken is on disk.
    Install {
        /// The command that it is for.
        key: CommandKey,
        /// The words that fill the operator's template.
        deploy: Deploy,
    },
}

/// The answer to a command. Serialises to the JSON that `--json` prints and `/v1` answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// The reply to `Query::Id`.
    Id(view::IdView),
    /// The reply to `Admin::Invite`.
    Invite(view::InviteView),
    /// The reply to `Admin::Join`: the inviter, as a peer.
    Joined(view::PeerView),
    /// The reply to `Admin::Trust` and `Admin::Rename`: the peer as it now is.
    Peer(view::PeerView),
    /// The reply to `Query::Peers`.
    Peers(Vec<view::PeerView>),
    /// The reply to `Admin::Remove`.
    Removed(view::RemovedView),
    /// The reply to `Create`, `Set`, `Del`, `Put`: the document after the write.
    Written(view::WrittenView),
    /// The reply to `Query::Get`: the value itself.
    Value(Value),
    /// The reply to `Query::List`.
    Documents(Vec<view::DocumentView>),
    /// The reply to `Query::State`.
    State(view::StateView),
    /// The reply to `Write::PublishState`.
    Published(view::PublishedView),
    /// The reply to `Query::Status`.
    Status(Box<view::StatusView>),
    /// The reply to `Admin::Policy`.
    Policy(view::PolicyView),
    /// The reply to `Query::Links`.
    Links(Vec<view::LinkView>),
    /// The reply to `Query::Airtime`.
    Airtime(Vec<view::AirtimeView>),
    /// The reply to `Query::Conflicts`.
    Conflicts(Vec<view::ConflictView>),
    /// The reply to `Admin::Deploy`, and to `Query::Deploys` about one.
    Deploy(Box<view::DeployView>),
    /// The reply to `Query::Deploys` about all.
    Deploys(Vec<view::DeployView>),
    /// The reply to `Admin::Revoke`, `Admin::RevokeOwn` and `Query::Revocations`.
    Revocations(Vec<view::RevocationView>),
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
    /// The open invites changed; the driver answers `tombolo-join/1` for those of `Node::join_secrets`.
    JoiningChanged {
        /// Whether one is open.
        open: bool,
    },
    /// A link to a peer came up or went down.
    Link(view::LinkEventView),
    /// A condition that a person should look at.
    Alarm {
        /// The sentence to show.
        message: String,
    },
    /// A deploy, sent or received, has come further.
    Deploy(view::DeployEventView),
}

/// Why a command was not carried out. Facts stand in the fields; the command line adds its own advice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No peer has this name, DID or prefix.
    #[error("no peer is called `{0}`")]
    UnknownPeer(String),
    /// Several peers fit a name or prefix.
    #[error("`{text}` fits {count} peers: use more of the DID, or rename one")]
    AmbiguousPeer {
        /// The text that was looked up.
        text: String,
        /// The number of peers that fit.
        count: usize,
    },
    /// No document has this name.
    #[error("no document is called `{0}`")]
    UnknownDocument(String),
    /// Several documents have this name.
    #[error("`{name}` is the name of {} documents, name one of them: {}", choices.len(), choices.join(", "))]
    AmbiguousDocument {
        /// The name that was looked up.
        name: String,
        /// The unambiguous name, `peer/name`, of each.
        choices: Vec<String>,
    },
    /// A document of this name exists already.
    #[error("a document `{0}` of yours exists already")]
    DocumentExists(String),
    /// Not a usable document name.
    #[error("`{name}` cannot be a document name: {why}")]
    BadName {
        /// The name that is refused.
        name: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// The key is not there.
    #[error("`{doc}` has no key `{key}`")]
    UnknownKey {
        /// The document that was read or written.
        doc: String,
        /// The key that it does not have.
        key: String,
    },
    /// The value cannot stand in a document.
    #[error("this value cannot be kept: {0}")]
    BadValue(String),
    /// This node may read the document but not write it.
    #[error("you may read `{0}` but not write it: its owner lists you as an observer")]
    ReadOnly(String),
    /// Another node owns the document, so its policy is set there.
    #[error("`{0}` is not yours: its owner sets its policy")]
    NotYours(String),
    /// A limit of the format or a quota of this node.
    #[error("{what} would pass the limit of {limit}: {remedy}")]
    Limit {
        /// The quantity that is limited.
        what: &'static str,
        /// The largest value that is allowed.
        limit: usize,
        /// A way to stay below it.
        remedy: &'static str,
    },
    /// The text is no invite code.
    #[error("this is not an invite code: {0}")]
    BadInvite(String),
    /// An invite cannot live so long, or not at all.
    #[error("an invite lives at most 30 days, and longer than no time")]
    BadExpiry,
    /// The invite has expired.
    #[error("this invite expired on {0}: ask for a new one")]
    InviteExpired(String),
    /// The invite was made by this node.
    #[error("this is an invite of your own node: give it to the other one")]
    OwnInvite,
    /// The inviter is a peer of this node already.
    #[error("you are peers with {0} already")]
    AlreadyPeer(String),
    /// The inviter refused the request to join.
    #[error("{inviter} refused: {why}")]
    JoinRefused {
        /// The inviter's name or DID.
        inviter: String,
        /// The reason that it sent.
        why: String,
    },
    /// No state of that peer has arrived yet.
    #[error("no state of {0} has come yet: it comes when the two nodes meet")]
    NoState(String),
    /// Another machine writes with this node's key.
    #[error("this node has stopped writing: {0}")]
    Stopped(String),
    /// The disk refused the commit.
    #[error("not saved: {0}. Nothing was lost of what was saved before")]
    Store(String),
    /// Only trusted peers are asked to install something.
    #[error("{0} is not trusted here: deploys go to trusted peers only")]
    NotTrusted(String),
    /// A word of a deploy does not have its form.
    #[error("{0}")]
    BadDeploy(#[from] BadDeploy),
    /// This node keeps a catalogue, and the app is not in it.
    #[error("your own catalogue does not have {app} {version} from this marketplace: {why}")]
    NotInOwnCatalogue {
        /// The id of the app.
        app: String,
        /// The version.
        version: String,
        /// What the catalogue lacks.
        why: &'static str,
    },
    /// A command cannot live so long, or not at all.
    #[error("a deploy lives at most 7 days, and longer than no time")]
    BadDeployExpiry,
    /// No deploy has this id.
    #[error("no deploy has the id `{0}`, or several begin so")]
    UnknownDeploy(String),
    /// The identity has ended itself.
    #[error("{0} has ended its identity: it cannot be trusted again")]
    Revoked(String),
    /// The text is no revocation of an identity by itself.
    #[error("this is no revocation as `init` writes it: one line that begins with tombolo-revoke1:")]
    BadNotice,
}

impl CommandError {
    /// A stable label for programs: the `error.code` of `/v1` and `--json`.
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
            CommandError::NotTrusted(_) => "not_trusted",
            CommandError::BadDeploy(_) => "bad_app",
            CommandError::NotInOwnCatalogue { .. } => "not_in_catalogue",
            CommandError::BadDeployExpiry => "bad_expiry",
            CommandError::UnknownDeploy(_) => "unknown_deploy",
            CommandError::Revoked(_) => "revoked",
            CommandError::BadNotice => "bad_revocation",
        }
    }
}
