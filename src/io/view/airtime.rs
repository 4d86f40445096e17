//! The airtime of each radio.

use serde::Serialize;

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
    /// When such a frame with a node state leaves that brings nothing but figures, seconds from now; none: never.
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

/// Airtime of one priority.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PriorityAirtimeRow {
    /// `alarm`, `control`, `rights`, `command`, `upkeep`, `state`, `document`, `bulk`.
    pub what: String,
    /// Seconds on air today.
    pub today_s: f64,
    /// Seconds in the sliding hour.
    pub hour_s: f64,
    /// Seconds that it may have in any hour; none where nothing may be sent.
    pub budget_hour_s: Option<f64>,
    /// Seconds of any hour that are its own: no other class can spend them. None where nothing may be sent.
    pub share_s: Option<f64>,
    /// Of those, seconds that it has not spent in the sliding hour.
    pub share_left_s: f64,
    /// Seconds that it could use now, of its share and of what is common to all.
    pub left_s: f64,
    /// When a frame with 100 bytes leaves, by law and by the pace of its class, seconds from now; null: never.
    pub leaves_in_s: Option<f64>,
    /// Seconds between two such frames if there is always one to send; null: the class has no pace.
    pub every_s: Option<f64>,
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
