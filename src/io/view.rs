//! What a node shows of itself: the shapes behind `--json` and `/v1`. Field names are a promise.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use tombolo_transports::Address;

use crate::federation::TrustLevel;
use crate::io::NodeState;
use crate::layer::Kind;

/// The identity of this node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdView {
    /// The DID of its key, `did:key:z6Mk…`.
    pub did: String,
    /// The same key in hex.
    pub pubkey: String,
    /// The onion address of this node.
    pub onion: String,
    /// The name that it gives itself.
    pub name: String,
}

/// An invite that was just made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InviteView {
    /// The code as one line, `fed1:…`.
    pub code: String,
    /// The same content in the letters that a QR code holds best.
    pub compact: String,
    /// At which level the joiner will be added.
    pub level: TrustLevel,
    /// When it ends, RFC 3339.
    pub expires: String,
}

/// The record of one peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerView {
    /// The DID of its key, `did:key:…`.
    pub did: String,
    /// The same key in hex.
    pub pubkey: String,
    /// The onion address of the peer.
    pub onion: String,
    /// Its name: the one given here, else the one that it gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its trust level at this node.
    pub trust_level: TrustLevel,
    /// When it was added here, RFC 3339.
    pub added_at: String,
    /// The time in its newest state, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// The newest state that is held of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_state: Option<StateView>,
    /// When it last sent anything, by this node's clock, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<String>,
    /// Whether a link is up.
    pub connected: bool,
    /// `agreed`, or `waiting` while the inviter has not answered yet.
    pub joined: &'static str,
    /// The media of its links.
    pub links: Vec<String>,
    /// How far it and this node lag behind each other.
    pub step: StepView,
}

/// What `adopt` took over, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AdoptedView {
    /// Of the node records.
    pub nodes: AdoptedListView,
    /// Of the invites that the node gave out.
    pub outgoing: AdoptedListView,
    /// Of the invites that the node redeemed.
    pub incoming: AdoptedListView,
}

/// The fate of each record of one list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AdoptedListView {
    /// The records that were taken over.
    pub taken: Vec<AdoptedRecordView>,
    /// The records of which this node has its own already; that one stays as it is.
    pub known: Vec<AdoptedRecordView>,
    /// The records that cannot be used.
    pub refused: Vec<RefusedRecordView>,
}

/// A record that was taken over, or that is known already.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AdoptedRecordView {
    /// Its place in its list, from 1.
    pub record: usize,
    /// The DID of the node; of an invite the inviter's.
    pub did: String,
    /// The name of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The trust level of a node, as it is here now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_level: Option<TrustLevel>,
    /// What of the record was not taken, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// A record that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefusedRecordView {
    /// Its place in its list, from 1.
    pub record: usize,
    /// The start of the text that stands as its DID; empty if there is none.
    pub did: String,
    /// A stable label of the reason.
    pub code: &'static str,
    /// The reason, in words for a person.
    pub why: String,
}

/// The peer that was removed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemovedView {
    /// Its name or DID.
    pub removed: String,
    /// Entries of this node's documents that the peer had written and that this node has taken over.
    pub entries_kept: usize,
}

/// A document after a write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenView {
    /// The DID of the owner.
    pub owner: String,
    /// The name of the document.
    pub name: String,
    /// The sequence of this node's layer, now durable.
    pub sequence: u64,
    /// Keys written or deleted; 0 means that it read so already.
    pub changed: usize,
}

/// One row of the list of documents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentView {
    /// The DID of the owner.
    pub owner: String,
    /// The name of the document.
    pub name: String,
    /// The kind: `map` or `snapshot`.
    pub kind: Kind,
    /// Bytes of the merged view as canonical CBOR.
    pub bytes: usize,
    /// BLAKE3 of the merged view's canonical CBOR, hex; equal on nodes in step.
    pub hash: String,
}

/// A node state with the time it was signed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateView {
    /// The layer's signed time, RFC 3339.
    pub timestamp: String,
    /// Whether it is not signed yet: received by radio between two signed states.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// The state as the node published it.
    #[serde(flatten)]
    pub state: NodeState,
}

/// A state of this node that went out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublishedView {
    /// The sequence of its layer.
    pub sequence: u64,
    /// Its signed time, RFC 3339.
    pub timestamp: String,
}

/// A value that lost against a concurrent write it had not seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConflictView {
    /// The document as `owner-did/name`.
    pub document: String,
    /// The key as `a/b/c`.
    pub key: String,
    /// Who wrote the value shown.
    pub winner: String,
    /// Who wrote the value that lost.
    pub loser: String,
    /// The value that lost; `null` with `deleted` where it was a deletion.
    pub value: tombolo_delta::Value,
    /// Whether the loser had deleted the key.
    pub deleted: bool,
    /// When the loser wrote it, RFC 3339.
    pub written_at: String,
}

/// A change of a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedView {
    /// The DID of the owner.
    pub owner: String,
    /// The name of the document.
    pub name: String,
    /// Who wrote: the author's DID.
    pub author: String,
    /// The sequence of the author's layer.
    pub sequence: u64,
}

/// A link that came or went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkEventView {
    /// The DID of the peer.
    pub peer: String,
    /// `mesh`, `lan`, `tor` or `memory`.
    pub medium: String,
    /// Whether it came up; otherwise it went down.
    pub up: bool,
}

/// The policy of a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyView {
    /// The name of the document.
    pub document: String,
    /// The policy as it is now in force.
    #[serde(flatten)]
    pub class: crate::federation::DocumentPolicy,
}

/// One link, or one listener on a radio.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LinkView {
    /// The peer's name; `(all who listen)` for a radio itself.
    pub peer: String,
    /// Its DID; empty for a radio itself.
    pub did: String,
    /// `lan`, `tor`, or the radio; `none` for a peer that none leads to.
    pub link: String,
    /// `up`, `down`; of a listener `heard`, `silent`; of a peer without any link `away`.
    pub state: &'static str,
    /// When the peer last sent anything there, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<String>,
    /// Bytes sent today: of a radio in frames, for all who listen; of a link in messages, since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Bytes received today, likewise; of a listener those of its frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_heard: Option<u64>,
    /// Seconds on air today, of a radio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub airtime_today_s: Option<f64>,
    /// Of that, a listener's share: of what was sent for several each has an equal one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub airtime_share_today_s: Option<f64>,
    /// Long messages on their way, of a radio.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transfers: Vec<TransferView>,
    /// How far the peer and this node lag behind each other, as this link knows; absent of a radio itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepView>,
    /// Why it is used, or is not.
    pub why: String,
}

/// A long message on its way on a radio.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransferView {
    /// The direction: `out` or `in`.
    pub way: &'static str,
    /// Who sends it, where it comes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The document and author, where it goes out. Of what comes in they are known once it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// Frames that are out, or in.
    pub frames_done: usize,
    /// Frames of all: out with the parity that goes along, in those that are enough.
    pub frames: usize,
    /// Whether what goes out was asked for once more.
    pub repair: bool,
    /// About how many seconds are to go, if nothing else is sent and nothing lost; none: it may never leave.
    pub about_s: Option<f64>,
}

/// The airtime of one radio.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AirtimeView {
    /// The name of the radio.
    pub radio: String,
    /// What it may do, in words.
    pub rules: String,
    /// The regulation; none where nothing may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regulation: Option<String>,
    /// The share of any hour that it allows, per thousand; none without such a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duty_permille: Option<u16>,
    /// Seconds on air in the sliding hour.
    pub used_last_hour_s: f64,
    /// Seconds it may have in any hour; none without such a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_hour_s: Option<f64>,
    /// Time on air of a frame with 100 bytes of payload, seconds.
    pub frame_of_100_bytes_s: f64,
    /// When such a frame with a node state may leave, seconds from now; none: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_leaves_in_s: Option<f64>,
    /// The message that is never sent, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never: Option<String>,
    /// Frames sent since the start.
    pub frames_sent: u64,
    /// Frames received since the start.
    pub frames_heard: u64,
    /// The airtime of each priority.
    pub by_priority: Vec<PriorityAirtimeRow>,
    /// The airtime of each layer and of upkeep.
    pub by_account: Vec<AirtimeRow>,
    /// The airtime of each peer: equal shares of what was sent for several.
    pub by_peer: Vec<PeerAirtimeRow>,
}

/// Airtime of one priority.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PriorityAirtimeRow {
    /// `control`, `upkeep`, `state`, `document`, `bulk`.
    pub what: String,
    /// Seconds on air today.
    pub today_s: f64,
    /// Seconds in the sliding hour.
    pub hour_s: f64,
    /// Seconds that it may have in any hour; none where nothing may be sent.
    pub budget_hour_s: Option<f64>,
    /// Of those, seconds that it could use now.
    pub left_s: f64,
    /// When a frame with 100 bytes may leave, seconds from now; null: never.
    pub leaves_in_s: Option<f64>,
}

/// Airtime that was for one peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerAirtimeRow {
    /// The name of the peer.
    pub what: String,
    /// The DID of the peer.
    pub did: String,
    /// Seconds on air today.
    pub today_s: f64,
}

/// Airtime of one priority or account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AirtimeRow {
    /// The priority, or the layer that it was for.
    pub what: String,
    /// Seconds on air today.
    pub today_s: f64,
    /// Seconds in the sliding hour.
    pub hour_s: f64,
}

/// The state of the node and its peers at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusView {
    /// The identity of this node.
    pub id: IdView,
    /// Reference time, RFC 3339, and where it comes from.
    pub time: String,
    /// `own`, `median`, `peer` or `logical`.
    pub time_source: &'static str,
    /// Documents that this node participates in.
    pub documents: usize,
    /// The peers, each with its lag.
    pub peers: Vec<PeerStatusView>,
    /// What was refused since the start, by reason.
    pub rejections: BTreeMap<String, u64>,
    /// Messages and bytes since the start.
    pub traffic: TrafficView,
    /// Decisions of the router, `link: taken/refused by reason`.
    pub router: BTreeMap<String, u64>,
    /// Addresses at which this node can be dialled; the runtime fills them in.
    pub addresses: Vec<Address>,
    /// How Tor stands, where it is not switched off; the runtime fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tor: Option<TorView>,
    /// What a person should look at; in JSON the sentences are `alarms` and the codes `alarm_codes`, in the same order.
    #[serde(flatten, serialize_with = "alarm_columns")]
    pub alarms: Vec<AlarmView>,
    /// Authors who signed two states with one sequence, with the number of such pairs.
    pub forks: BTreeMap<String, usize>,
    /// Entries in quarantine because their stamp lies in the future.
    pub quarantined: usize,
    /// Long messages on their way by radio.
    pub transfers: Vec<TransferView>,
    /// The clocks of peers that were received in the last day.
    pub clocks: Vec<PeerClockView>,
    /// Documents in which deletions of this node wait for the other writers.
    pub tombstones_wait: Vec<TombstoneWaitView>,
}

/// The clock of a peer beside that of this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerClockView {
    /// The name of the peer, or the start of its DID.
    pub name: String,
    /// The DID of the peer.
    pub did: String,
    /// By how many seconds its clock is ahead of this machine's; negative: behind.
    pub ahead_s: i64,
}

/// Deletions that are remembered until every writer has signed since.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TombstoneWaitView {
    /// The document as `owner-did/name`.
    pub document: String,
    /// The number of deleted keys.
    pub tombstones: usize,
    /// When the oldest was deleted, RFC 3339.
    pub since: String,
    /// The names of the writers that have not signed since.
    pub writers: Vec<String>,
    /// Further writers, which this node does not know.
    pub unknown_writers: usize,
}

/// Tor, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TorView {
    /// The onion address of this node.
    pub onion: String,
    /// Where tor's SOCKS port is.
    pub socks: String,
    /// How the node's onion service stands.
    pub service: String,
    /// Why no peer can be reached through Tor, if a fault of this machine is the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A condition that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmView {
    /// The kind of alarm, a stable label for programs.
    pub code: &'static str,
    /// The sentence for people.
    pub message: String,
}

fn alarm_columns<S: Serializer>(rows: &[AlarmView], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct AlarmColumns<'a> {
        alarms: Vec<&'a str>,
        alarm_codes: Vec<&'static str>,
    }
    let alarms = rows.iter().map(|alarm| alarm.message.as_str()).collect();
    let alarm_codes = rows.iter().map(|alarm| alarm.code).collect();
    AlarmColumns { alarms, alarm_codes }.serialize(serializer)
}

/// One peer in `status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerStatusView {
    /// Its name, or the start of its DID.
    pub name: String,
    /// The DID of the peer.
    pub did: String,
    /// Its trust level at this node.
    pub trust_level: TrustLevel,
    /// The media of its links.
    pub links: Vec<String>,
    /// How far it and this node lag behind each other.
    #[serde(flatten)]
    pub step: StepView,
    /// When it last sent anything, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<String>,
}

/// How far a peer and this node lag behind each other, as far as that is known. What was not counted is `null`, never 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// `in step`, `catching up`, `unknown`, `not connected`, `waiting for the inviter`.
    pub state: &'static str,
    /// Layers that the peer has and this node lacks.
    pub we_lack: Option<usize>,
    /// Layers that this node has and the peer lacks, and that were not sent to it yet.
    pub they_lack: Option<usize>,
    /// By radio: layers that were sent and that the peer has not acknowledged yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<usize>,
    /// Where it is not known: until when it was, RFC 3339; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<String>,
    /// By radio: layers of both that do not go by radio, so this row does not count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_by_radio: Option<usize>,
}

/// Message bytes, as handed to and taken from links (before framing and encryption).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrafficView {
    /// Messages sent since the start.
    pub messages_sent: u64,
    /// Bytes of the messages sent.
    pub bytes_sent: u64,
    /// Messages received since the start.
    pub messages_received: u64,
    /// Bytes of the messages received.
    pub bytes_received: u64,
}

impl LinkView {
    /// A radio that has not been there since the start.
    pub fn radio_absent(radio: String, why: String) -> Self {
        LinkView {
            peer: ALL_WHO_LISTEN.to_owned(),
            link: radio,
            state: "down",
            bytes_sent: Some(0),
            bytes_heard: Some(0),
            airtime_today_s: Some(0.0),
            why,
            ..LinkView::default()
        }
    }
}

impl AirtimeView {
    /// The row of an absent radio in `airtime`, with its rules and the reason.
    pub fn absent(radio: String, rules: String, why: Option<String>) -> Self {
        AirtimeView {
            radio,
            rules,
            regulation: None,
            duty_permille: None,
            used_last_hour_s: 0.0,
            budget_hour_s: None,
            frame_of_100_bytes_s: 0.0,
            state_leaves_in_s: None,
            never: why,
            frames_sent: 0,
            frames_heard: 0,
            by_priority: Vec::new(),
            by_account: Vec::new(),
            by_peer: Vec::new(),
        }
    }
}

/// What stands in place of a peer where a radio itself is meant.
pub const ALL_WHO_LISTEN: &str = "(all who listen)";
/// Stands in place of a peer where a row is about the onion service of this node.
pub const ONION_SERVICE: &str = "(onion service)";
