//! What a person or a program on this machine may ask of the node.
//!
//! `peer` texts are a name, a DID or a unique prefix of a DID's part after `did:key:`; `doc` texts are a document name, or
//! `peer/name` where two documents share it.

use serde::{Deserialize, Serialize};
use tombolo_delta::Value;
use tombolo_transports::Address;

use crate::federation::{RadioUse, TrustLevel};
use crate::io::NodeState;
use crate::io::view::RouteOrder;
use crate::layer::{KeyPath, Kind};
use crate::time::Millis;
use crate::watches::WatchRule;

/// A request of a person or program on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// A write to a document.
    Write(Write),
    /// Changes peers, invites or policies.
    Admin(Admin),
    /// Reads, and changes nothing.
    Query(Query),
}

impl Write {
    /// The document of a write that a version of it can be asked of: one that changes or ends it.
    pub fn versioned_document(&self) -> Option<&str> {
        match self {
            Write::Set { doc, .. }
            | Write::Del { doc, .. }
            | Write::Put { doc, .. }
            | Write::Delete { doc, undo: false } => Some(doc),
            // Each version counts.
            Write::OnBase { write, .. } => write.versioned_document(),
            Write::Create { .. }
            | Write::Delete { undo: true, .. }
            | Write::Settle { .. }
            | Write::PublishState { .. } => None,
        }
    }

    /// Publishes this node's state.
    pub fn publish(state: NodeState) -> Self {
        Write::PublishState { state: Box::new(state) }
    }
}

impl From<Write> for Command {
    fn from(write: Write) -> Self {
        Command::Write(write)
    }
}

impl From<Admin> for Command {
    fn from(admin: Admin) -> Self {
        Command::Admin(admin)
    }
}

impl From<Query> for Command {
    fn from(query: Query) -> Self {
        Command::Query(query)
    }
}

/// A change of a document. It is answered when it is signed and on disk.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Write {
    /// Makes a document of this node.
    Create {
        /// The name of the new document.
        name: String,
        /// A map (many write, per key) or a snapshot (only this node writes).
        kind: Kind,
    },
    /// Sets one key of a document.
    Set {
        /// The name of the document.
        doc: String,
        /// The key in the document.
        key: KeyPath,
        /// The new value; an object is spread over keys.
        value: Value,
    },
    /// Deletes a key and all keys below it.
    Del {
        /// The name of the document.
        doc: String,
        /// The key in the document.
        key: KeyPath,
    },
    /// Deletes a document: one of this node for all, so that no older state of it comes back, or a peer's here alone.
    Delete {
        /// The name of the document.
        doc: String,
        /// Takes a peer's document again that was deleted here.
        undo: bool,
    },
    /// Does a write only if the document still reads as its writer had read it.
    OnBase {
        /// The version that was read, or the first 16 digits of it; several, of which any will do, with commas between.
        base: String,
        /// The write: `Set`, `Del`, `Put` or `Delete`.
        write: Box<Write>,
    },
    /// Settles a conflict under a key: one of the values that lost takes the place of the one that shows, or that one stays. Either
    /// way no conflict about it is left.
    Settle {
        /// The name of the document.
        doc: String,
        /// The key in the document.
        key: KeyPath,
        /// The DID of the author whose lost value is to show; `None` keeps what shows now.
        take: Option<String>,
    },
    /// Makes the whole document equal to `value`: keys that are not in it are deleted.
    Put {
        /// The name of the document.
        doc: String,
        /// The new content, an object for a map.
        value: Value,
        /// Signs one state, even where a radio has to cut it into fragments.
        whole: bool,
    },
    /// Publishes this node's state; as a snapshot, replaced whole.
    PublishState {
        /// The state, without its time: that is the layer's signed time.
        state: Box<NodeState>,
    },
}

/// A change of peers, invites, policies, or of what is known of a peer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Admin {
    /// Makes an invite for one joiner.
    Invite {
        /// The level at which the joiner is added here.
        level: TrustLevel,
        /// The lifetime of the invite.
        expires_in: Millis,
        /// The addresses at which this node can be dialled.
        addresses: Vec<Address>,
    },
    /// Takes back an invite that was not used yet: its code works no more.
    WithdrawInvite {
        /// Its id, or the start of it.
        id: String,
    },
    /// Redeems an invite. The reply comes when both sides agreed, or when the inviter refused.
    Join {
        /// The code, `fed1:…` or the compact form of a QR code.
        code: String,
        /// Addresses of the inviter, beside those in the code.
        addresses: Vec<Address>,
    },
    /// Asks a peer for its state by a JSON call, and keeps what it answers. The reply comes when it has answered.
    FetchState {
        /// The name, DID or prefix of the peer.
        peer: String,
    },
    /// Changes a peer's trust level.
    Trust {
        /// The name, DID or prefix of the peer.
        peer: String,
        /// The level that it gets.
        level: TrustLevel,
    },
    /// Gives a peer another name.
    Rename {
        /// The name, DID or prefix of the peer.
        peer: String,
        /// The name that it gets.
        name: String,
    },
    /// Gives a peer further addresses, and dials it.
    Dial {
        /// The name, DID or prefix of the peer.
        peer: String,
        /// Where it can be reached, the likeliest first.
        addresses: Vec<Address>,
    },
    /// Removes a peer; what it wrote into this node's documents stays.
    Remove {
        /// The name, DID or prefix of the peer.
        peer: String,
    },
    /// Sets a document's policy; a part that is `None` stays as it is.
    Policy {
        /// A document of this node.
        doc: String,
        /// Whether it goes out by radio.
        radio: Option<RadioUse>,
        /// Whether only its readers may see it.
        confidential: Option<bool>,
    },
    /// Writes a file with what these peers lack, sealed to each, to be carried by hand.
    WriteBundle {
        /// The name, DID or prefix of each.
        peers: Vec<String>,
    },
    /// Reads such a file, and makes the answer that can be carried back.
    ReadBundle {
        /// The file in base64.
        bundle: String,
    },
    /// Changes which links carry what.
    Route(RouteOrder),
    /// Takes over the peers and invites of a federation that another program kept.
    Adopt(FederationRecords),
    /// Reports the key of a peer as stolen, to all members.
    Revoke {
        /// The name, DID or prefix of the peer.
        peer: String,
    },
    /// Publishes the notice by which an identity ends itself.
    RevokeOwn {
        /// The notice, as `init` wrote it.
        notice: String,
    },
    /// Watches a node: an alarm is raised when what must not happen happens.
    WatchFor(WatchRule),
    /// Removes a watch that a command has added.
    Unwatch {
        /// The id of the watch.
        id: String,
    },
    /// Notes that the operator has seen an alarm.
    AcknowledgeAlarm {
        /// The id of the alarm, or the start of it.
        id: String,
    },
    /// Asks a peer to install an app. The reply comes when the command is on disk; the peer's answer comes later.
    Deploy {
        /// The name, DID or prefix of the peer.
        peer: String,
        /// The id of the app.
        app: String,
        /// The version of the app.
        version: String,
        /// Where it comes from; `None` takes what the own catalogue names.
        marketplace_url: Option<String>,
        /// The lifetime of the command.
        expires_in: Millis,
    },
    /// The same by a JSON call to the peer's onion address, made once and now. The reply comes when the command is on disk;
    /// the answer to the call comes later.
    DeployByCall {
        /// The name, DID or prefix of the peer.
        peer: String,
        /// The id of the app.
        app: String,
        /// The version of the app.
        version: String,
        /// Where it comes from; `None` takes what the own catalogue names.
        marketplace_url: Option<String>,
    },
}

/// The records of a federation as another program wrote them: those of `nodes.json` and of `invites.json`. Nothing in them has
/// been checked.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationRecords {
    /// The records of nodes.
    #[serde(default)]
    pub nodes: Vec<serde_json::Value>,
    /// Invites that the node gave out.
    #[serde(default)]
    pub outgoing: Vec<serde_json::Value>,
    /// Invites that the node redeemed.
    #[serde(default)]
    pub incoming: Vec<serde_json::Value>,
}

/// Counts only: the codes of invites are secrets.
impl std::fmt::Debug for FederationRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FederationRecords { nodes, outgoing, incoming } = self;
        let counts = (nodes.len(), outgoing.len(), incoming.len());
        write!(f, "FederationRecords({} nodes, {} outgoing, {} incoming)", counts.0, counts.1, counts.2)
    }
}

/// A question that changes nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Query {
    /// Who this node is.
    Id,
    /// The invites that this node gave out and that have not expired.
    Invites,
    /// All peers, with their newest states.
    Peers,
    /// All documents that this node participates in.
    List,
    /// A document, with its version.
    Document {
        /// The name of the document.
        doc: String,
    },
    /// A document or a part of it.
    Get {
        /// The name of the document.
        doc: String,
        /// A key or a prefix of keys; `None` reads all.
        key: Option<KeyPath>,
    },
    /// The node state of a peer, or of this node.
    State {
        /// The peer; `None` for this node.
        peer: Option<String>,
    },
    /// How things stand: links, peers, lags, rejections.
    Status,
    /// The links to a peer. A running node also asks the peer for an answer over each.
    Ping {
        /// The name, DID or prefix of the peer.
        peer: String,
    },
    /// Every link, when its peer last sent anything, and why it is or is not used.
    Links,
    /// What the radios have sent and may send.
    Airtime,
    /// Which node hears which.
    Hearing,
    /// The layers that are held, with what their authors signed.
    Layers,
    /// Why the router chose a link.
    Why {
        /// A peer, the id of a decision, a state like `plan@7` or the start of a command's id; `None` for the newest ones.
        about: Option<String>,
    },
    /// What the operator has set for the router.
    Routes,
    /// The values that lost against a concurrent write.
    Conflicts {
        /// A document; `None` for all.
        doc: Option<String>,
    },
    /// What was refused and what happened since the start.
    Log,
    /// The alarms that this node and those that it trusts show.
    Alarms,
    /// What is watched here.
    Watches,
    /// Identities that are revoked, and the members that do not know yet.
    Revocations,
    /// Deploys that this node has sent or received, and what became of them.
    Deploys {
        /// An id, or the start of one; `None` for all.
        id: Option<String>,
    },
}
