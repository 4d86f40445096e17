//! What a node shows of itself: the shapes behind `--json` and `/v1`. Field names are a promise.

use std::collections::BTreeMap;

use serde::Serialize;
use tombolo_transports::Address;

use crate::federation::TrustLevel;
use crate::io::NodeState;
use crate::layer::Kind;

/// Who we are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IdView {
    /// `did:key:z6Mk…`.
    pub did: String,
    /// The same key in hex.
    pub pubkey: String,
    /// Our onion address.
    pub onion: String,
    /// Our name.
    pub name: String,
}

/// A new invite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InviteView {
    /// `fed1:…`, one line.
    pub code: String,
    /// The same content in the letters that a QR code holds best.
    pub compact: String,
    /// At which level the joiner will be added.
    pub level: TrustLevel,
    /// When it ends, RFC 3339.
    pub expires: String,
}

/// One node record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerView {
    /// `did:key:…`.
    pub did: String,
    /// The same key in hex.
    pub pubkey: String,
    /// Its onion address.
    pub onion: String,
    /// Its name: the one given here, else the one that its state has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What we let it do.
    pub trust_level: TrustLevel,
    /// When we added it, RFC 3339.
    pub added_at: String,
    /// The time in its newest state, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Its newest state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_state: Option<StateView>,
    /// When we last heard it, by our own clock, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<String>,
    /// Whether a link is up.
    pub connected: bool,
    /// `agreed`, or `waiting` while the inviter has not answered yet.
    pub joined: &'static str,
    /// Its links: medium.
    pub links: Vec<String>,
    /// How far it and we are apart.
    pub step: StepView,
}

/// A removed peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RemovedView {
    /// The peer that was removed.
    pub removed: String,
    /// Entries of our documents that it had written and that we keep as ours.
    pub entries_kept: usize,
}

/// A document after a write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenView {
    /// The owner's DID.
    pub owner: String,
    /// The document's name.
    pub name: String,
    /// Our layer's sequence, now durable.
    pub sequence: u64,
    /// Keys written or deleted; 0 means that it read so already.
    pub changed: usize,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentView {
    /// The owner's DID.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// `map` or `snapshot`.
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
    /// Not signed yet: heard by radio between two signed states.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// The state.
    #[serde(flatten)]
    pub state: NodeState,
}

/// A state of ours that went out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublishedView {
    /// Its sequence.
    pub sequence: u64,
    /// Its signed time, RFC 3339.
    pub timestamp: String,
}

/// A value that lost against a concurrent write it had not seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConflictView {
    /// The document, `owner-did/name`.
    pub document: String,
    /// The key, `a/b/c`.
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
    /// The owner's DID.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// Who wrote: the author's DID.
    pub author: String,
    /// The author's sequence.
    pub sequence: u64,
}

/// A link that came or went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkEventView {
    /// The peer's DID.
    pub peer: String,
    /// `mesh`, `lan`, `tor` or `memory`.
    pub medium: String,
    /// Up or down.
    pub up: bool,
}

/// How a document is treated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyView {
    /// Its name.
    pub document: String,
    /// The policy.
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
    /// `up`, `down`; of a listener `heard`, `silent`; of who has no link `away`.
    pub state: &'static str,
    /// When the peer was last heard there, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<String>,
    /// Bytes sent today: of a radio in frames, for all who listen; of a link in messages, since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Bytes heard today, likewise; of a listener those of its frames.
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
    /// How far the peer and we are apart, as this link knows; none of a radio itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepView>,
    /// Why it is used, or is not.
    pub why: String,
}

/// A long message on its way on a radio.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransferView {
    /// `out` or `in`.
    pub way: &'static str,
    /// Who sends it, where it comes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The document and its author, of an outgoing message. An incoming one shows them when it is whole.
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
    /// The radio.
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
    /// What is never sent, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub never: Option<String>,
    /// Frames sent since the start.
    pub frames_sent: u64,
    /// Frames heard since the start.
    pub frames_heard: u64,
    /// By priority.
    pub by_priority: Vec<PriorityAirtimeRow>,
    /// By what it was for.
    pub by_account: Vec<AirtimeRow>,
    /// By the peers that it was sent for; what was sent for several is shared.
    pub by_peer: Vec<PeerAirtimeRow>,
}

/// Airtime of one priority.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PriorityAirtimeRow {
    /// `control`, `upkeep`, `state`, `document`, `bulk`.
    pub what: String,
    /// Seconds today.
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
    /// Its name.
    pub what: String,
    /// Its DID.
    pub did: String,
    /// Seconds today.
    pub today_s: f64,
}

/// Airtime of one priority or account.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AirtimeRow {
    /// For what.
    pub what: String,
    /// Seconds today.
    pub today_s: f64,
    /// Seconds in the sliding hour.
    pub hour_s: f64,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusView {
    /// Who we are.
    pub id: IdView,
    /// Reference time, RFC 3339, and where it comes from.
    pub time: String,
    /// `own`, `median`, `peer` or `logical`.
    pub time_source: &'static str,
    /// Documents that we take part in.
    pub documents: usize,
    /// Per peer.
    pub peers: Vec<PeerStatusView>,
    /// What was refused since the start, by reason.
    pub rejections: BTreeMap<String, u64>,
    /// Messages and bytes since the start.
    pub traffic: TrafficView,
    /// Decisions of the router, `link: taken/refused by reason`.
    pub router: BTreeMap<String, u64>,
    /// Where we may be dialled (filled in by the daemon).
    pub addresses: Vec<Address>,
    /// What a person should look at.
    pub alarms: Vec<String>,
    /// Authors who signed two states with one sequence, with the number of such pairs.
    pub forks: BTreeMap<String, usize>,
    /// Entries held back because their stamp lies in the future.
    pub quarantined: usize,
    /// Long messages on their way by radio.
    pub transfers: Vec<TransferView>,
}

/// One peer in `status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerStatusView {
    /// Its name, or the start of its DID.
    pub name: String,
    /// Its DID.
    pub did: String,
    /// What we let it do.
    pub trust_level: TrustLevel,
    /// Its links: medium.
    pub links: Vec<String>,
    /// How far it and we are apart.
    #[serde(flatten)]
    pub step: StepView,
    /// When we last heard it, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<String>,
}

/// The sync status with a peer, as far as it is known. What is not counted is `null`, never 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// `in step`, `catching up`, `unknown`, `not connected`, `waiting for the inviter`.
    pub state: &'static str,
    /// Layers it has and we lack.
    pub we_lack: Option<usize>,
    /// Layers we have, and it lacks and was not sent yet.
    pub they_lack: Option<usize>,
    /// By radio: layers that were sent, and that it has not acknowledged yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<usize>,
    /// Where it is not known: until when it was, RFC 3339; absent if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_since: Option<String>,
    /// By radio: layers of both that do not go by it, and that are not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_by_radio: Option<usize>,
}

/// Message bytes, as handed to and taken from links (before framing and encryption).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrafficView {
    /// Messages sent.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Their bytes.
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
    /// The same.
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
