//! `status`: the node and its peers at one moment.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use tombolo_transports::Address;

use super::{IdView, PresenceView, StepView, TransferView};
use crate::federation::TrustLevel;
use crate::io::App;

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
    /// Of them, those that people made: without states, audiences, and what else nodes write by themselves.
    pub documents_made: usize,
    /// The apps of this node; absent before the first state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apps: Option<AppsView>,
    /// The peers, each with its lag.
    pub peers: Vec<PeerStatusView>,
    /// What was refused since the start, by reason.
    pub rejections: BTreeMap<String, u64>,
    /// Each of those reasons as a sentence.
    pub rejection_words: BTreeMap<String, String>,
    /// Messages and bytes since the start.
    pub traffic: TrafficView,
    /// Decisions of the router, `link: taken/refused by reason`.
    pub router: BTreeMap<String, u64>,
    /// Addresses at which this node can be dialled; the runtime fills them in.
    pub addresses: Vec<Address>,
    /// How Tor stands, where it is not switched off; the runtime fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tor: Option<TorView>,
    /// What a person should look at; in JSON the sentences are `alarms`, the codes `alarm_codes` and the peers `alarm_peers`, in the same order.
    #[serde(flatten, serialize_with = "alarm_columns")]
    pub alarms: Vec<AlarmView>,
    /// Authors who signed two states with one sequence, with the number of such pairs.
    pub forks: BTreeMap<String, usize>,
    /// Entries in quarantine because their stamp lies in the future.
    pub quarantined: usize,
    /// The airtime of each radio.
    pub radios: Vec<RadioStatusView>,
    /// Long messages on their way by radio.
    pub transfers: Vec<TransferView>,
    /// Large layers that come over links in parts, or wait for a place.
    pub large_layers: Vec<LargeLayerView>,
    /// The clocks of peers that were received in the last day.
    pub clocks: Vec<PeerClockView>,
    /// Documents in which deletions of this node wait for the other writers.
    pub tombstones_wait: Vec<TombstoneWaitView>,
    /// How long differences with peers lasted that have ended since the start, over sessions.
    pub convergence: ConvergenceView,
}

/// The apps of a node in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppsView {
    /// How many there are.
    pub count: usize,
    /// How many of them run.
    pub running: usize,
    /// Those that are unhealthy, flapping or stale.
    pub amiss: Vec<App>,
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
    /// How it stands, why, and whether it hears this node; absent where it was never heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<PresenceView>,
    /// The link over which a short document would go to it now, and why.
    pub route: PeerRouteView,
    /// The documents of both in which the two differ, and what each waits for.
    pub behind: Vec<DocumentLagView>,
}

/// The link to a peer in short; `links` has every link, `why` the costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerRouteView {
    /// `lan`, `tor`, or the radio; of one that is not used, the first; absent where none leads there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whether it is used.
    pub used: bool,
    /// Why it is used, or is not.
    pub why: String,
}

/// The airtime of a radio in short; `airtime` has each class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RadioStatusView {
    /// The name of the radio.
    pub radio: String,
    /// Whether its device answers.
    pub up: bool,
    /// Seconds on air in the sliding hour.
    pub used_last_hour_s: f64,
    /// Seconds it may have in any hour; absent without such a limit, and where nothing may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_hour_s: Option<f64>,
    /// When the next state may leave, seconds from now; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_leaves_in_s: Option<f64>,
    /// When the next document may leave, seconds from now; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_leaves_in_s: Option<f64>,
    /// What it may do, and what keeps it from doing so now.
    pub why: String,
}

/// A document in which a peer and this node differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentLagView {
    /// The document as `owner/name`, by name; absent where the peer has one that this node has never seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The name of the author whose part of it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What is behind: `they_lack`, `unacknowledged` or `we_lack`.
    pub kind: &'static str,
    /// Since when, RFC 3339, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What it waits for: `acknowledgement`, `airtime`, `turn`, `peer`, `room`, `link`.
    pub waits_for: &'static str,
    /// By how many sequences, where both states are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequences: Option<u64>,
    /// Of what waits for airtime: in how many seconds it may leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves_in_s: Option<u64>,
    /// All of it as a sentence.
    pub words: String,
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

/// How long differences lasted, from the new state of a layer to the peer's heartbeat that shows both alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ConvergenceView {
    /// How many have ended.
    pub count: u64,
    /// How long they lasted together, seconds.
    pub sum_s: f64,
    /// How many lasted at most so many seconds, and longer than the one before; the last row has no bound.
    pub classes: Vec<(Option<u64>, u64)>,
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

/// A large layer that comes in parts, or waits for a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LargeLayerView {
    /// The document as `owner-did/name`.
    pub document: String,
    /// Whose layer of it, by name.
    pub author: String,
    /// The names of the peers that it is asked of, or that offer it.
    pub from: Vec<String>,
    /// `coming`, or `waits` where all places are taken.
    pub state: &'static str,
    /// Parts that are here.
    pub parts_here: usize,
    /// Parts that are known to lack; more may be found.
    pub parts_due: usize,
    /// Whole seconds since something of it came, or since it waits.
    pub quiet_s: u64,
    /// The same as a sentence; of one that waits with the peer that holds most places.
    pub words: String,
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
    /// The peer about which the operator has to decide, by name; absent where the alarm asks for no decision about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

fn alarm_columns<S: Serializer>(rows: &[AlarmView], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct AlarmColumns<'a> {
        alarms: Vec<&'a str>,
        alarm_codes: Vec<&'static str>,
        alarm_peers: Vec<Option<&'a str>>,
    }
    let alarms = rows.iter().map(|alarm| alarm.message.as_str()).collect();
    let alarm_codes = rows.iter().map(|alarm| alarm.code).collect();
    let alarm_peers = rows.iter().map(|alarm| alarm.peer.as_deref()).collect();
    AlarmColumns { alarms, alarm_codes, alarm_peers }.serialize(serializer)
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
