//! Why a command was not carried out. The facts stand in typed fields; their sentences are the `Display` of the types, and the
//! advice about commands is added by the command line.

use tombolo_delta::SerdeError;
use tombolo_transports::Address;

use crate::bundle::BundleError;
use crate::commands::{BadDeploy, COMMANDS_SENT_KEPT_MAX, NOTICES_MAX};
use crate::federation::audience::CLASSES_MAX;
use crate::federation::ends::ENDS_MAX;
use crate::federation::invite::InviteError;
use crate::federation::join::JoinRefusal;
use crate::federation::name::{NewDocumentNameError, NodeNameError};
use crate::layer::{ContentError, EntryError, KeyPath, key_excerpt};
use crate::limits::{
    ADOPT_RECORDS_MAX, CALLS_PENDING_MAX, DOCUMENTS_PER_OWNER_MAX, FORGOTTEN_MAX, INVITES_OPEN_MAX,
    LONG_WRITES_MAX, PEERS_MAX, WAITING_WRITES_MAX,
};
use crate::merge::TreeError;
use crate::router::{DECISIONS_KEPT_MAX, OpenHoursError, ROUTES_MAX};
use crate::store::StoreError;
use crate::watches::{BadWatch, RULES_MAX};

/// Why a command was not carried out. Facts stand in the fields; the command line adds its own advice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No peer has this name, DID or prefix.
    #[error("no peer is called `{0}`")]
    UnknownPeer(String),
    /// Several peers fit a name or prefix.
    #[error("`{text}` fits {count} peers: use one of {}, or more of the DID, or rename one", .choices.join(", "))]
    AmbiguousPeer {
        /// The text that was looked up.
        text: String,
        /// The number of peers that fit.
        count: usize,
        /// A text for each, by which it is found; the first eight.
        choices: Vec<String>,
    },
    /// A file is no bundle for this node, or none can be written.
    #[error("{0}")]
    BadBundle(BundleError),
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
    /// Not a usable name of a document or a peer.
    #[error("`{name}` cannot be the name of a {}: {why}", why.named())]
    BadName {
        /// The name that is refused.
        name: String,
        /// The rule that it breaks.
        why: BadNameReason,
    },
    /// The key is not there.
    #[error("`{doc}` has no key `{}`", key_excerpt(.key))]
    UnknownKey {
        /// The document that was read or written.
        doc: String,
        /// The key that it does not have.
        key: String,
    },
    /// The document has changed since it was read.
    #[error("`{doc}` has changed since you read it: nothing was written. Its version is now {version}")]
    Stale {
        /// The document that was to be written.
        doc: String,
        /// The version that it has.
        version: String,
    },
    /// Others change the document again and again while a large write of one commit is worked out.
    #[error(
        "`{0}` changes faster than so large a write of one commit is worked out: nothing was written. Write it without --whole, or when less is written to it"
    )]
    Changing(String),
    /// The write is none that a version of a document can be asked of.
    #[error(
        "a version can be asked for where a document is written or deleted, and for nothing else: leave it out"
    )]
    NoBase,
    /// The value cannot stand in a document.
    #[error("this value cannot be kept: {0}")]
    BadValue(#[from] ValueError),
    /// This node may read the document but not write it.
    #[error("you may read `{doc}` but not write it: {why}")]
    ReadOnly {
        /// The document that is not written.
        doc: String,
        /// Whose right it is.
        why: ReadOnlyReason,
    },
    /// A bare name that only a peer's document has: it reads that document and changes none.
    #[error("`{name}` is no document of yours: the one that you read is `{full}`")]
    PeersDocument {
        /// The bare name that the command gave.
        name: String,
        /// The name that means the peer's document.
        full: String,
    },
    /// Another node owns the document, so its policy is set there.
    #[error("`{0}` is not yours: its owner sets its policy")]
    NotYours(String),
    /// A limit of the format or a quota of this node.
    #[error("{} would pass the limit of {}: {}", .0.quantity(), .0.limit(), .0.remedy())]
    Limit(Quota),
    /// The text is no invite code.
    #[error("this is not an invite code: {0}")]
    BadInvite(InviteError),
    /// An invite cannot live so long, or not at all.
    #[error("an invite lives at most 30 days, and longer than no time")]
    BadExpiry,
    /// An invite would make its joiner no peer.
    #[error("who joins is trusted or an observer: an untrusted node is no peer")]
    BadLevel,
    /// No one machine listens at the address.
    #[error(
        "no node can be reached at {0}: write the address of one machine and the port on which it listens, like 192.168.1.20:8662"
    )]
    BadAddress(Address),
    /// The invite was made by this node.
    #[error("this is an invite of your own node: give it to the other one")]
    OwnInvite,
    /// The inviter is a peer of this node already.
    #[error(
        "you are peers with {0} already: it is dialled at the addresses of the code too, and if it has removed this node it says so then: `join` once more after that"
    )]
    AlreadyPeer(String),
    /// The inviter refused the request to join.
    #[error("{inviter} refused: {why}")]
    JoinRefused {
        /// The inviter's name or DID.
        inviter: String,
        /// The reason that it sent.
        why: JoinRefusal,
    },
    /// No decision that is still kept is about this.
    #[error(
        "`{0}` is no peer, and no decision about it is kept: of the router's decisions the last {DECISIONS_KEPT_MAX} are"
    )]
    UnknownDecision(String),
    /// A change of the router's settings that does not fit together.
    #[error("{0}")]
    BadRoute(#[from] BadRoute),
    /// No state of that peer has arrived yet.
    #[error("no state of {0} has come yet: it comes when the two nodes meet")]
    NoState(String),
    /// The peer is untrusted here, so its state is not accepted.
    #[error("{0} is untrusted here: its state is not accepted")]
    Untrusted(String),
    /// The peer's record has no usable onion address, so it cannot be called.
    #[error("no onion address of {0} is known")]
    NoOnion(String),
    /// A JSON call got no answer.
    #[error("{peer} was not reached: {why}")]
    CallFailed {
        /// The peer's name or DID.
        peer: String,
        /// What failed on the way, as the driver of the call reports it.
        why: String,
    },
    /// The peer refused a JSON call.
    #[error("{peer} refused the call: {why}")]
    CallRefused {
        /// The peer's name or DID.
        peer: String,
        /// The reason that it sent.
        why: String,
    },
    /// What a peer answered to a JSON call cannot be used.
    #[error("the answer of {peer} cannot be used: {why}")]
    BadCallAnswer {
        /// The peer's name or DID.
        peer: String,
        /// What is wrong with it.
        why: String,
    },
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
        /// The version of the app.
        version: String,
        /// What the catalogue lacks.
        why: &'static str,
    },
    /// A command cannot live so long, or not at all.
    #[error("a deploy lives at most 7 days, and longer than no time")]
    BadDeployExpiry,
    /// No open invite has this id.
    #[error("no open invite has the id `{0}`, or several begin so")]
    UnknownInvite(String),
    /// No deploy has this id.
    #[error("no deploy has the id `{0}`, or several begin so")]
    UnknownDeploy(String),
    /// No alarm has this id.
    #[error("no alarm has the id `{0}`, or several begin so")]
    UnknownAlarm(String),
    /// No watch that a command has added has this id.
    #[error("no watch has the id `{0}`")]
    UnknownWatch(String),
    /// The watch stands in the settings.
    #[error("the watch `{0}` stands in tombolo.toml: delete it there")]
    WatchInSettings(String),
    /// The watch cannot be used.
    #[error("this cannot be watched: {0}")]
    BadWatch(#[from] BadWatch),
    /// The identity has ended itself.
    #[error("{0} has ended its identity: it cannot be trusted again")]
    Revoked(String),
    /// The text is no revocation of an identity by itself.
    #[error("this is no revocation as `init` writes it: one line that begins with tombolo-revoke1:")]
    BadNotice,
    /// This node signs nothing more, or nothing more in one document.
    #[error("this node has stopped writing: {0}")]
    Stopped(StopReason),
    /// The store is newer than the key: what this node wrote before has to come back first.
    #[error(
        "this node does not write yet: its store is newer than its key, and no peer has answered what it wrote before"
    )]
    Unconfirmed,
    /// The disk refused the commit.
    #[error("not saved: {0}. Nothing was lost of what was saved before")]
    Store(StoreError),
}

/// Why a document that is read here is not written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadOnlyReason {
    /// The owner's audience lists this node as a reader.
    #[error("its owner lists you as an observer")]
    Observer,
    /// The owner's audience, as held here, does not list this node.
    #[error("its owner does not list you as a writer, or that list has not come yet")]
    NotListed,
    /// A snapshot of another node.
    #[error("it is a snapshot, which only its owner writes")]
    OwnersAlone,
    /// A document that the engine of this node writes.
    #[error("the engine writes it itself")]
    Engine,
}

/// The rule that a name breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadNameReason {
    /// No document can have it.
    #[error(transparent)]
    Document(#[from] NewDocumentNameError),
    /// A document that the engine keeps has it.
    #[error("the engine keeps a document of that name itself")]
    Reserved,
    /// A brief would have it.
    #[error("names that end in .brief are kept for the briefs of documents")]
    Brief,
    /// The policy of a document that the engine keeps cannot be set.
    #[error("the engine itself decides where it goes")]
    FixedPolicy,
    /// No node can have it.
    #[error(transparent)]
    Peer(#[from] NodeNameError),
    /// Another peer, or this node, has it.
    #[error("another node is called so already")]
    Taken,
}

impl BadNameReason {
    /// What the name was to be of.
    fn named(&self) -> &'static str {
        match self {
            BadNameReason::Document(_)
            | BadNameReason::Reserved
            | BadNameReason::Brief
            | BadNameReason::FixedPolicy => "document",
            BadNameReason::Peer(_) | BadNameReason::Taken => "peer",
        }
    }
}

/// Why a value cannot stand in a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A map cannot be made of it.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The whole content passes a limit of the format.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// One entry passes a limit of the format.
    #[error("the key `{}`: {why}", key_excerpt(&.key.to_string()))]
    Entry {
        /// The key of the entry.
        key: KeyPath,
        /// The limit that it passes.
        #[source]
        why: EntryError,
    },
    /// The published state has no place in a value.
    #[error(transparent)]
    Conversion(#[from] SerdeError),
    /// A policy asks for a brief of a document that has none.
    #[error("only the state, and snapshots whose brief `tombolo.toml` describes, have a brief")]
    NoBrief,
}

/// A number that this node limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quota {
    /// Documents of this node.
    Documents,
    /// Documents that this node has ended.
    Ends,
    /// Documents of peers that are forgotten here.
    Forgotten,
    /// Invites that are open.
    Invites,
    /// Peers of this node.
    Peers,
    /// Documents with a policy of their own.
    Policies,
    /// Writes that wait until a newer state of this node has come back.
    WaitingWrites,
    /// Writes of many keys that are under way.
    LongWrites,
    /// JSON calls of this node that wait for their answer.
    Calls,
    /// Commands of this node that wait for their answer.
    Commands,
    /// Settings of the router for single peers and documents.
    Routes,
    /// Revocations that this node holds.
    Revocations,
    /// Watches that commands have added.
    Watches,
    /// Records of one kind that are taken over from another program at once.
    AdoptedRecords,
}

impl Quota {
    /// The largest number that is allowed.
    pub fn limit(self) -> usize {
        match self {
            Quota::Documents => DOCUMENTS_PER_OWNER_MAX,
            Quota::Ends => ENDS_MAX,
            Quota::Forgotten => FORGOTTEN_MAX,
            Quota::Invites => INVITES_OPEN_MAX,
            Quota::Peers => PEERS_MAX,
            Quota::Policies => CLASSES_MAX,
            Quota::WaitingWrites => WAITING_WRITES_MAX,
            Quota::LongWrites => LONG_WRITES_MAX,
            Quota::Calls => CALLS_PENDING_MAX,
            Quota::Commands => COMMANDS_SENT_KEPT_MAX,
            Quota::Routes => ROUTES_MAX,
            Quota::Revocations => NOTICES_MAX,
            Quota::Watches => RULES_MAX,
            Quota::AdoptedRecords => ADOPT_RECORDS_MAX,
        }
    }

    fn quantity(self) -> &'static str {
        match self {
            Quota::Documents => "the number of your documents",
            Quota::Ends => "the number of documents that you have deleted",
            Quota::Forgotten => "the number of peers' documents that you have deleted here",
            Quota::Invites => "the number of open invites",
            Quota::Peers => "the number of peers",
            Quota::Policies => "the number of policies",
            Quota::Commands => "the number of commands that wait for an answer",
            Quota::Routes => "the number of routes of peers and documents",
            Quota::Revocations => "the number of revocations",
            Quota::Watches => "the number of watches",
            Quota::Calls => "the number of calls on their way",
            Quota::AdoptedRecords => "the number of records in one list",
            Quota::WaitingWrites => "the number of writes that wait for this node's own newer state",
            Quota::LongWrites => "the number of writes of many keys under way",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Quota::Documents => "put several things into one document",
            Quota::Ends => "make this one empty instead",
            Quota::Forgotten => "take some of them again",
            Quota::Invites => "wait until some are used or have expired",
            Quota::Peers => "remove one that is no longer needed",
            Quota::Policies => "give some documents the default again",
            Quota::Commands => "wait until some are answered or have expired",
            Quota::Routes => "give some the default again",
            Quota::Revocations => "remove the peers concerned",
            Quota::Watches => "remove one that is no longer needed",
            Quota::Calls => "wait until some are answered",
            Quota::AdoptedRecords => "take them over in parts",
            Quota::WaitingWrites | Quota::LongWrites => "try again in a few seconds",
        }
    }
}

/// Why a change of the router's settings does not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRoute {
    /// It names more than one of peer, document, kind of link and radio.
    #[error("name one peer, one document, one kind of link or one radio, and change the others after it")]
    SeveralTargets,
    /// The request names no setting to change.
    #[error("nothing is to be changed: give a preference, terms, or the way back to the file's settings")]
    Nothing,
    /// Terms belong to a kind of link.
    #[error("price, hours and the like belong to a kind of link (lan, tor or mesh) or to a radio")]
    TermsOfNoLink,
    /// A kind of link has no preference.
    #[error("a link has terms; a preference belongs to the node, a peer or a document")]
    PreferenceOfLink,
    /// Memory links are for tests.
    #[error("a kind of link is lan, tor or mesh")]
    NoSuchLink,
    /// No radio has this name.
    #[error("no radio of this name is up, and none has terms in the settings")]
    NoSuchRadio,
    /// The hours do not read.
    #[error("{0}, or `always`")]
    Hours(#[from] OpenHoursError),
}

/// Why this node signs nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// A state that was not signed here is of this very time: a second machine has the key.
    #[error(
        "another machine signs with this node's key at this moment. Two nodes must not share one identity: stop one of them"
    )]
    KeyUsedElsewhere,
    /// The layer has its last sequence.
    #[error("the sequence is used up")]
    SequenceUsedUp,
}

impl From<BundleError> for CommandError {
    fn from(error: BundleError) -> Self {
        CommandError::BadBundle(error)
    }
}

impl CommandError {
    /// A stable label for programs: the `error.code` of `/v1` and `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            CommandError::UnknownPeer(_) => "unknown_peer",
            CommandError::AmbiguousPeer { .. } => "ambiguous_peer",
            CommandError::BadBundle(_) => "bad_bundle",
            CommandError::UnknownDocument(_) => "unknown_document",
            CommandError::AmbiguousDocument { .. } => "ambiguous_document",
            CommandError::DocumentExists(_) => "document_exists",
            CommandError::BadName { .. } => "bad_name",
            CommandError::UnknownKey { .. } => "unknown_key",
            CommandError::Stale { .. } => "stale",
            CommandError::Changing(_) => "changing",
            CommandError::NoBase => "no_base",
            CommandError::BadValue(_) => "bad_value",
            CommandError::ReadOnly { .. } => "read_only",
            CommandError::PeersDocument { .. } => "peers_document",
            CommandError::NotYours(_) => "not_yours",
            CommandError::Limit(_) => "limit",
            CommandError::BadInvite(_) => "bad_invite",
            CommandError::BadExpiry => "bad_expiry",
            CommandError::BadLevel => "bad_level",
            CommandError::BadAddress(_) => "bad_address",
            CommandError::OwnInvite => "own_invite",
            CommandError::AlreadyPeer(_) => "already_peer",
            CommandError::JoinRefused { .. } => "join_refused",
            CommandError::UnknownDecision(_) => "unknown_decision",
            CommandError::BadRoute(_) => "bad_route",
            CommandError::NoState(_) => "no_state",
            CommandError::NotTrusted(_) => "not_trusted",
            CommandError::BadDeploy(_) => "bad_app",
            CommandError::NotInOwnCatalogue { .. } => "not_in_catalogue",
            CommandError::BadDeployExpiry => "bad_expiry",
            CommandError::UnknownInvite(_) => "unknown_invite",
            CommandError::UnknownDeploy(_) => "unknown_deploy",
            CommandError::UnknownAlarm(_) => "unknown_alarm",
            CommandError::UnknownWatch(_) => "unknown_watch",
            CommandError::WatchInSettings(_) => "watch_in_settings",
            CommandError::BadWatch(_) => "bad_watch",
            CommandError::Revoked(_) => "revoked",
            CommandError::BadNotice => "bad_revocation",
            CommandError::Untrusted(_) => "untrusted",
            CommandError::NoOnion(_) => "no_onion",
            CommandError::CallFailed { .. } => "call_failed",
            CommandError::CallRefused { .. } => "call_refused",
            CommandError::BadCallAnswer { .. } => "bad_call_answer",
            CommandError::Stopped(StopReason::KeyUsedElsewhere) => "stopped",
            CommandError::Stopped(StopReason::SequenceUsedUp) => "sequence_used_up",
            CommandError::Unconfirmed => "unconfirmed",
            CommandError::Store(why) => why.code(),
        }
    }
}
