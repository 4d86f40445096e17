//! Taking over a federation that another program kept, from the records of its `nodes.json` and `invites.json`. The field names
//! are those that programs of this kind share.
//!
//! [`plan`] judges each record by itself and changes nothing: it returns what to store, and a report of what was taken, what is
//! here already and what cannot be used, each with the reason. `Membership::adopt` stores the plan in one commit.
//!
//! A record that is here already stays as it is, so a second run changes nothing. A state that is taken over is not signed: it
//! is shown until a signed one arrives, and decides nothing.

use crate::time::Wall;
use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::Value as Json;
use tombolo_transports::PeerId;
use tombolo_transports::address::{OnionError, OnionHost};

use crate::federation::invite::{IncomingInvite, Invite, InviteError, OutgoingInvite, TokenHash, token_hash};
use crate::federation::name::usable_name;
use crate::federation::peer::Joined;
use crate::federation::{Federation, LastKnown, LastKnownState, Peer, TrustLevel};
use crate::identity::{DidError, did, parse_did};
use crate::io::view::{AdoptedListView, AdoptedRecordView, AdoptedView, RefusedRecordView};
use crate::io::{FederationRecords, NodeState};
use crate::limits::{ADOPT_STATE_BYTES_MAX, FUTURE_BOUND, INVITE_EXPIRES_MAX};
use crate::membership::fresh_peer;

/// Characters of a foreign text that a report repeats.
const SHOWN_CHARS_MAX: usize = 80;
const ONION_SUFFIX: &str = ".onion";

/// What this node has already.
pub(super) struct HeldRecords<'a> {
    pub(super) me: PeerId,
    pub(super) onion: String,
    pub(super) now: Wall,
    pub(super) federation: &'a Federation,
    pub(super) outgoing: &'a BTreeMap<TokenHash, OutgoingInvite>,
    pub(super) incoming: &'a BTreeMap<PeerId, IncomingInvite>,
}

/// What is to be stored, and the report.
#[derive(Debug, Default)]
pub(super) struct AdoptionPlan {
    pub(super) peers: Vec<Peer>,
    pub(super) outgoing: Vec<OutgoingInvite>,
    pub(super) incoming: Vec<IncomingInvite>,
    /// The levels of invites whose inviter has to be called.
    pub(super) joining: BTreeMap<PeerId, TrustLevel>,
    pub(super) view: AdoptedView,
}

/// Why a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum AdoptRefusal {
    #[error("it is no object")]
    NotAnObject,
    #[error("it has no `{0}` that is a text")]
    Missing(&'static str),
    #[error("{0}")]
    Did(DidError),
    #[error("it is this node itself")]
    OwnDid,
    #[error("an earlier record of the list is the same")]
    Duplicate,
    #[error("its pubkey is not the key of its DID")]
    Key,
    #[error("{0}")]
    Onion(OnionError),
    #[error("`{0}` is no trust level: trusted, observer or untrusted")]
    Level(String),
    #[error("its code is not an invite code: {0}")]
    Code(InviteError),
    #[error("its code is from another identity than its DID")]
    OtherInviter,
    #[error("its code is from another identity than this node: nothing would answer it here")]
    NotOurs,
    #[error("it was used already: its token works only once")]
    Used,
    #[error("it has expired")]
    Expired,
    #[error("its inviter is not among the nodes")]
    NotANode,
    #[error("its inviter is a peer already: there is nothing to redeem")]
    IsPeer,
    #[error("its inviter is untrusted")]
    Untrusted,
}

impl AdoptRefusal {
    /// A stable label for programs.
    fn code(&self) -> &'static str {
        match self {
            AdoptRefusal::NotAnObject | AdoptRefusal::Missing(_) => "bad_record",
            AdoptRefusal::Did(_) => "bad_did",
            AdoptRefusal::OwnDid => "own_did",
            AdoptRefusal::Duplicate => "duplicate",
            AdoptRefusal::Key => "key_mismatch",
            AdoptRefusal::Onion(_) => "bad_onion",
            AdoptRefusal::Level(_) => "bad_trust_level",
            AdoptRefusal::Code(_) => "bad_code",
            AdoptRefusal::OtherInviter => "other_inviter",
            AdoptRefusal::NotOurs => "not_ours",
            AdoptRefusal::Used => "used",
            AdoptRefusal::Expired => "expired",
            AdoptRefusal::NotANode => "not_a_node",
            AdoptRefusal::IsPeer => "already_peer",
            AdoptRefusal::Untrusted => "untrusted",
        }
    }
}

/// What becomes of one record.
enum Fate {
    Taken(AdoptedRecordView),
    Known(AdoptedRecordView),
}

/// Judges all records. Reads nothing else and changes nothing.
pub(super) fn plan(records: &FederationRecords, present: &HeldRecords<'_>) -> AdoptionPlan {
    let mut plan = AdoptionPlan::default();
    let mut seen = BTreeSet::new();
    let nodes = judge(&records.nodes, |record| plan.node(record, present, &mut seen));
    let mut seen = BTreeSet::new();
    let outgoing = judge(&records.outgoing, |record| plan.outgoing(record, present, &mut seen));
    let mut seen = BTreeSet::new();
    let incoming = judge(&records.incoming, |record| plan.incoming(record, present, &mut seen));
    plan.view = AdoptedView { nodes, outgoing, incoming };
    plan
}

fn judge(records: &[Json], mut decide: impl FnMut(&Json) -> Result<Fate, AdoptRefusal>) -> AdoptedListView {
    let mut list = AdoptedListView::default();
    for (index, record) in records.iter().enumerate() {
        let place = index + 1;
        match decide(record) {
            Ok(Fate::Taken(view)) => list.taken.push(AdoptedRecordView { record: place, ..view }),
            Ok(Fate::Known(view)) => list.known.push(AdoptedRecordView { record: place, ..view }),
            Err(error) => list.refused.push(RefusedRecordView {
                record: place,
                did: text(record, "did").map(shown).unwrap_or_default(),
                code: error.code(),
                why: error.to_string(),
            }),
        }
    }
    list
}

impl AdoptionPlan {
    fn node(
        &mut self,
        record: &Json,
        present: &HeldRecords<'_>,
        seen: &mut BTreeSet<PeerId>,
    ) -> Result<Fate, AdoptRefusal> {
        let id = identity_of(record)?;
        if id == present.me {
            return Err(AdoptRefusal::OwnDid);
        }
        let peer = read_node(record, id, present.now)?;
        // Only a record that could be used stands in the way of a later one.
        if !seen.insert(id) {
            return Err(AdoptRefusal::Duplicate);
        }
        if let Some(known) = present.federation.peer(&id) {
            return Ok(Fate::Known(view_of(known, Vec::new())));
        }
        let (peer, left_out) = peer;
        let view = view_of(&peer, left_out);
        self.peers.push(peer);
        Ok(Fate::Taken(view))
    }

    fn outgoing(
        &mut self,
        record: &Json,
        present: &HeldRecords<'_>,
        seen: &mut BTreeSet<TokenHash>,
    ) -> Result<Fate, AdoptRefusal> {
        let invite = code_of(record)?;
        if invite.inviter != present.me {
            return Err(AdoptRefusal::NotOurs);
        }
        let token_hash = token_hash(&invite.token);
        if !seen.insert(token_hash) {
            return Err(AdoptRefusal::Duplicate);
        }
        let mut view = invite_view(&invite);
        if present.outgoing.contains_key(&token_hash) {
            return Ok(Fate::Known(view));
        }
        if is_accepted(record) {
            return Err(AdoptRefusal::Used);
        }
        let created = time_of(record, "created_at", present.now);
        let longest = created.unwrap_or(present.now) + INVITE_EXPIRES_MAX;
        let expires = match (invite.expires, created) {
            (Some(expires), _) => expires.min(longest),
            (None, Some(_)) => longest,
            // Without both it might be of any age.
            (None, None) => return Err(AdoptRefusal::Missing("created_at")),
        };
        if expires <= present.now {
            return Err(AdoptRefusal::Expired);
        }
        if onion_in(&invite.onion) != Ok(Some(present.onion.clone())) {
            let other = "its code names another onion address than this node's: give its joiner an address";
            view.left_out.push(other.to_owned());
        }
        let level = invite.level.unwrap_or(TrustLevel::Trusted);
        let created_at = created.unwrap_or(present.now);
        self.outgoing.push(OutgoingInvite { token_hash, level, created_at, expires, accepted: None });
        Ok(Fate::Taken(view))
    }

    fn incoming(
        &mut self,
        record: &Json,
        present: &HeldRecords<'_>,
        seen: &mut BTreeSet<PeerId>,
    ) -> Result<Fate, AdoptRefusal> {
        let invite = code_of(record)?;
        let inviter = invite.inviter;
        if inviter == present.me {
            return Err(AdoptRefusal::OwnDid);
        }
        if text(record, "did").is_some_and(|text| parse_did(text) != Ok(inviter)) {
            return Err(AdoptRefusal::OtherInviter);
        }
        if !seen.insert(inviter) {
            return Err(AdoptRefusal::Duplicate);
        }
        let view = invite_view(&invite);
        if present.incoming.contains_key(&inviter) {
            return Ok(Fate::Known(view));
        }
        let accepted = is_accepted(record);
        let created_at = time_of(record, "created_at", present.now).unwrap_or(present.now);
        let is_peer = present.federation.peer(&inviter).is_some();
        let is_planned = self.peers.iter().any(|peer| peer.id == inviter);
        match (accepted, is_peer, is_planned) {
            (true, true, _) | (true, _, true) => {}
            (false, true, _) => return Err(AdoptRefusal::IsPeer),
            (_, false, false) => return Err(AdoptRefusal::NotANode),
            (false, false, true) => self.go_on_joining(&invite, present.now)?,
        }
        let accepted = accepted.then_some(created_at);
        let plain = invite.is_plain();
        self.incoming.push(IncomingInvite { inviter: inviter.0, created_at, accepted, plain });
        Ok(Fate::Taken(view))
    }

    /// The inviter has not answered yet: it is called again.
    fn go_on_joining(&mut self, invite: &Invite, now: Wall) -> Result<(), AdoptRefusal> {
        let peer = self.peers.iter_mut().find(|peer| peer.id == invite.inviter);
        let peer = peer.expect("the caller has found it among the planned peers");
        // A node that was seen has answered, whatever the record has.
        if peer.last_known.is_some() {
            return Err(AdoptRefusal::IsPeer);
        }
        if !peer.is_member() {
            return Err(AdoptRefusal::Untrusted);
        }
        if invite.expires.is_some_and(|expires| expires <= now) {
            return Err(AdoptRefusal::Expired);
        }
        peer.joined = Joined::Waiting { token: invite.token };
        peer.addresses.clone_from(&invite.addresses);
        self.joining.insert(invite.inviter, invite.level.unwrap_or(TrustLevel::Trusted));
        Ok(())
    }
}

fn view_of(peer: &Peer, left_out: Vec<String>) -> AdoptedRecordView {
    AdoptedRecordView {
        record: 0,
        did: did(&peer.id),
        name: peer.name().map(str::to_owned),
        trust_level: Some(peer.trust_level),
        left_out,
    }
}

fn invite_view(invite: &Invite) -> AdoptedRecordView {
    AdoptedRecordView { did: did(&invite.inviter), ..AdoptedRecordView::default() }
}

/// A peer from a node record, and what of the record is left out.
fn read_node(record: &Json, id: PeerId, now: Wall) -> Result<(Peer, Vec<String>), AdoptRefusal> {
    if let Some(pubkey) = text(record, "pubkey") {
        let key = HEXLOWER_PERMISSIVE.decode(pubkey.as_bytes());
        if key.is_ok_and(|key| key != id.0) || pubkey.len() != 2 * id.0.len() {
            return Err(AdoptRefusal::Key);
        }
    }
    let onion = onion_in(text(record, "onion").unwrap_or_default()).map_err(AdoptRefusal::Onion)?;
    let level = text(record, "trust_level").ok_or(AdoptRefusal::Missing("trust_level"))?;
    let level = level.parse().map_err(|_| AdoptRefusal::Level(shown(level)))?;
    let mut left_out = Vec::new();
    let mut leave_out = |field: &str, why: &str| left_out.push(format!("{field}: {why}"));
    let added = time_of(record, "added_at", now);
    if added.is_none() && is_there(record, "added_at") {
        leave_out("added_at", NO_TIME);
    }
    let own_name = text(record, "name").filter(|name| !name.is_empty()).and_then(usable_name);
    if own_name.is_none() && is_there(record, "name") && text(record, "name") != Some("") {
        leave_out("name", "a name is a text of at most 64 bytes, no DID, and without control characters");
    }
    let seen = time_of(record, "last_seen", now);
    if seen.is_none() && is_there(record, "last_seen") {
        leave_out("last_seen", NO_TIME);
    }
    let state = match read_state(record.get("last_state"), seen, now) {
        Ok(state) => state,
        Err(why) => {
            leave_out("last_state", &why);
            None
        }
    };
    let seen = seen.or(state.as_ref().map(|state| state.time));
    let last_known = seen.is_some().then_some(LastKnown { seen, state });
    let fresh = fresh_peer(id, level, added.unwrap_or(now));
    Ok((Peer { onion: onion.unwrap_or_default(), own_name, last_known, ..fresh }, left_out))
}

const NO_TIME: &str = "it is no RFC 3339 time, or one in the future";

/// The last state of a node record; its time is its own or else the record's `last_seen`.
fn read_state(state: Option<&Json>, seen: Option<Wall>, now: Wall) -> Result<Option<LastKnownState>, String> {
    let Some(state) = state.filter(|state| !state.is_null()) else { return Ok(None) };
    let time = match state.get("timestamp") {
        Some(_) => time_of(state, "timestamp", now).ok_or_else(|| format!("its timestamp: {NO_TIME}"))?,
        None => seen.ok_or("it has no timestamp")?,
    };
    let state: NodeState = serde::Deserialize::deserialize(state).map_err(|e| shown(&e.to_string()))?;
    let state = tombolo_delta::to_value(&state).map_err(|e| e.to_string())?;
    match tombolo_delta::to_cbor(&state).len() {
        0..=ADOPT_STATE_BYTES_MAX => Ok(Some(LastKnownState { time, state })),
        bytes => Err(format!("it takes {bytes} bytes, and at most {ADOPT_STATE_BYTES_MAX} are taken over")),
    }
}

fn identity_of(record: &Json) -> Result<PeerId, AdoptRefusal> {
    if !record.is_object() {
        return Err(AdoptRefusal::NotAnObject);
    }
    parse_did(text(record, "did").ok_or(AdoptRefusal::Missing("did"))?).map_err(AdoptRefusal::Did)
}

fn code_of(record: &Json) -> Result<Invite, AdoptRefusal> {
    if !record.is_object() {
        return Err(AdoptRefusal::NotAnObject);
    }
    let code = text(record, "code").ok_or(AdoptRefusal::Missing("code"))?;
    Invite::parse(code).map_err(AdoptRefusal::Code)
}

/// An onion address in its usual form; other programs also write it without `.onion`. An empty text is no address.
fn onion_in(text: &str) -> Result<Option<String>, OnionError> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut host = text.to_ascii_lowercase();
    if !host.ends_with(ONION_SUFFIX) {
        host.push_str(ONION_SUFFIX);
    }
    host.parse::<OnionHost>().map(|host| Some(host.to_string()))
}

/// Whether an invite was used: `true`, or the time at which it was.
fn is_accepted(record: &Json) -> bool {
    match record.get("accepted") {
        None | Some(Json::Null | Json::Bool(false)) => false,
        Some(_) => true,
    }
}

/// A time that is not in the future.
fn time_of(record: &Json, field: &str, now: Wall) -> Option<Wall> {
    let time = chrono::DateTime::parse_from_rfc3339(text(record, field)?).ok()?;
    let time = Wall::from_ms(u64::try_from(time.timestamp_millis()).ok()?);
    (time <= now + FUTURE_BOUND).then_some(time)
}

fn is_there(record: &Json, field: &str) -> bool {
    record.get(field).is_some_and(|value| !value.is_null())
}

fn text<'a>(record: &'a Json, field: &str) -> Option<&'a str> {
    record.get(field).and_then(Json::as_str)
}

/// The start of a foreign text.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
