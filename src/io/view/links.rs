//! Links, and the long messages on their way.

use serde::Serialize;

use super::StepView;

/// What stands in place of a peer where a radio itself is meant.
pub const ALL_WHO_LISTEN: &str = "(all who listen)";
/// Stands in place of a peer where a row is about the onion service of this node.
pub const ONION_SERVICE: &str = "(onion service)";

/// Stands in place of a link where none leads to a peer.
pub const NO_LINK: &str = "none";

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
    /// Bits per second: as measured, else as its carrier is assumed to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    /// The round trip in milliseconds, once it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u64>,
    /// Of a thousand packets or frames, so many are lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_permille: Option<u16>,
    /// Bytes that wait for the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_bytes: Option<u64>,
    /// The last failures, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<LinkFailureView>,
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
    /// Whether what is written now would go over it.
    pub used: bool,
    /// Why it is used, or is not.
    pub why: String,
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

/// The links to a peer, and what came of asking it over each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PingView {
    /// The name of the peer.
    pub peer: String,
    /// The DID of the peer.
    pub did: String,
    /// A row for each link and each radio on which it was heard.
    pub links: Vec<PingLinkView>,
}

/// What came of asking a peer over one link.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PingLinkView {
    /// `lan`, `tor`, or the radio.
    pub link: String,
    /// Whether the peer was asked: over a radio that takes airtime, so it is not.
    pub asked: bool,
    /// How long its answer took, in microseconds; absent where none came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// When the peer last sent anything there, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<String>,
}

/// A failure of a link.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkFailureView {
    /// When it failed, RFC 3339.
    pub at: String,
    /// Why the link has failed, in words.
    pub why: String,
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
