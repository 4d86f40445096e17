//! Joining with nothing but radios and an invite code: the mesh crate makes the handshake, this file its payloads.
//!
//! ```text
//! joiner   [joiner 32, onion key 32, name, level, time, signature 64, key epoch, key 16]
//! inviter  [true, name, key epoch, key 16]   or   [false, reason]
//! ```
//! The joiner signs what it signs on any link. The keys are those of the two audiences: from then on each can
//! read what the other sends, and all else follows as on any radio.
//!
//! The joiner repeats its request in its pace: often at first, as far as the airtime goes, in ever shorter frames; then ever more
//! rarely. Any part of a request that was answered brings the answer again, when the burst that it came in should be over.

use crate::time::{Millis, Mono, Wall};
use std::collections::{BTreeMap, BTreeSet};

use tombolo_delta::{Limits, Value};
use tombolo_mesh::airtime::ledger::{Account, Priority};
use tombolo_mesh::bulk::repair::Budget;
use tombolo_mesh::frame::handshake::{
    HandshakeEvent, HandshakeId, Initiator, Responder, SHORT_FRAME_BYTES, frame_bytes, parts_to_come,
};
use tombolo_mesh::frame::keys::{AudienceKey, Mode};
use tombolo_mesh::station::Station;
use tombolo_transports::{LinkId, PeerId};

use crate::broadcast::{Broadcast, RadioContext, RadioLink};
use crate::core::{Core, InputRejection};
use crate::federation::TrustLevel;
use crate::federation::invite::{TokenHash, token_hash};
use crate::federation::join::{JoinAnswer, JoinRefusal, JoinRequest};
use crate::federation::name::usable_name;
use crate::federation::peer::Joined;
use crate::identity::{onion_address, parse_onion};
use crate::membership::JoinCall;
use crate::replica::Replica;
use crate::sync::broadcast::Input;

/// The wait between quick tries: so many times what a request takes on air, and at least so long.
const QUICK: (u64, Millis) = (6, Millis::from_secs(4));
/// Quick tries, at least and at most; between them as many as take this part of an hour's airtime.
const QUICK_TRIES: (u32, u32) = (3, 12);
const QUICK_SHARE: u64 = 4;
/// After them waits double, up to this.
const RETRY_MAX: Millis = Millis::from_ms(600_000);
/// Answers that one radio gives to requests, at once and each hour, at least and at most: as many as take this part of an hour's
/// airtime. Any node can repeat a request that it has received.
const ANSWERS: (u64, u64) = (6, 24);
const ANSWERS_SHARE: u64 = 10;
/// About what an answer carries, bytes.
const ANSWER_BYTES: usize = 80;
/// The account that join frames are charged to.
const JOINS: Account = Account(3);
/// Inviters that one radio calls at a time.
const INITIATORS_MAX: usize = 4;
/// Answers that wait for their moment; a further one is not given, and asked for again.
const ANSWERS_DUE_MAX: usize = 4;

/// Joining on one radio.
#[derive(Debug, Default)]
pub(super) struct Joins {
    calls: BTreeMap<PeerId, InviterCall>,
    responder: Option<Responder>,
    due: BTreeMap<HandshakeId, DueAnswer>,
    answers: Option<Budget>,
}

#[derive(Debug)]
struct InviterCall {
    initiator: Initiator,
    at: Mono,
    tries: u32,
}

/// An answer that goes out when the joiner listens again.
#[derive(Debug)]
struct DueAnswer {
    at: Mono,
    /// No longer than those that the request came in.
    frame_bytes: usize,
    /// Asked again later, it is decided again.
    passing: bool,
    /// This node agreed. The joiner could not read its epoch announcement when it was sent: it follows the answer, or the
    /// joiner would ask for it after the first frame that it cannot read.
    agreed: bool,
}

impl Joins {
    pub(super) fn next_timer(&self) -> Option<Mono> {
        let calls = self.calls.values().map(|call| call.at);
        calls.chain(self.due.values().map(|due| due.at)).min()
    }
}

impl InviterCall {
    /// The frames of this try, and when the next is due but for a random part.
    fn frames(&mut self, station: &mut Station, frame_bytes_max: usize) -> (Vec<Vec<u8>>, Millis) {
        let bytes = frame_bytes(self.tries, frame_bytes_max);
        let frames = self.initiator.frames(bytes).or_else(|_| self.initiator.frames(frame_bytes_max));
        let frames = frames.unwrap_or_default();
        let airtime_us: u64 = frames.iter().map(|frame| station.line().frame_us(frame.len())).sum();
        let airtime = Millis::from_ms(airtime_us / 1_000).max(Millis::from_ms(1));
        let (tries_min, tries_max) = QUICK_TRIES;
        let affordable = station.ledger().budget().map(|budget| budget / QUICK_SHARE / airtime);
        let quick_tries =
            affordable.map_or(tries_max, |tries| tries.clamp(tries_min.into(), tries_max.into()) as u32);
        let doublings = (self.tries + 1).saturating_sub(quick_tries).min(16);
        self.tries = self.tries.saturating_add(1);
        let quick = (QUICK.0 * airtime).max(QUICK.1);
        (frames, (quick * (1 << doublings)).min(RETRY_MAX))
    }
}

/// The payload of a request to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asks {
    /// The node that asks to join.
    pub joiner: PeerId,
    /// The request that it signed.
    pub request: JoinRequest,
    /// The key of its audience.
    pub key: AudienceKey,
}

/// The payload of an inviter's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answers {
    Agreed { name: String, key: AudienceKey },
    Refused(JoinRefusal),
}

/// What a frame of the join handshake leads to.
#[derive(Debug)]
pub enum JoinReceived {
    /// The handshake goes on.
    Nothing,
    /// An inviter has answered a call.
    Answered {
        /// The inviter, proven by the handshake.
        inviter: PeerId,
        /// Its answer, and the key of its audience if it agreed.
        answer: JoinAnswer,
        /// The key of its audience.
        key: Option<AudienceKey>,
    },
    /// A joiner asks; [`Broadcast::answer_join`] takes the answer.
    Asked(Box<JoinQuestion>),
}

/// A request to join that arrived by radio.
#[derive(Debug)]
pub struct JoinQuestion {
    id: HandshakeId,
    /// Bytes of the frame that it was completed by.
    frame: Vec<u8>,
    /// Hash of the invite's token.
    pub token: TokenHash,
    /// The joiner, what it signed, and the key of its audience; `None` if that does not decode or is not its own.
    pub asks: Option<Asks>,
}

impl Broadcast {
    /// Begins to call an inviter on every radio that keeps secrets.
    pub fn call(&mut self, core: &mut Core, replica: &Replica, call: &JoinCall) {
        let Some(key) = self.shared.keys.key_of(core, replica, &core.me) else { return };
        let asks = Asks { joiner: core.me, request: call.request.clone(), key };
        let (payload, us, inviter) = (asks.encode(), core.radio_identity(), call.inviter);
        for radio in self.radios.values_mut() {
            let calls = &mut radio.joins.calls;
            if radio.spec.mode != Mode::Encrypted
                || calls.contains_key(&inviter)
                || calls.len() >= INITIATORS_MAX
            {
                continue;
            }
            let ephemeral = core.random.bytes();
            match Initiator::new(&us, &inviter, &token_hash(&call.token), &payload, ephemeral) {
                Ok(initiator) => {
                    calls.insert(inviter, InviterCall { initiator, at: core.now(), tries: 0 });
                }
                Err(error) => tracing::debug!(%error, "no call on air"),
            }
        }
    }

    /// Takes a frame of the join handshake. `invites` are the hashes of invites given out.
    pub fn join_frame_received(
        &mut self,
        core: &mut Core,
        link: LinkId,
        frame: &[u8],
        invites: BTreeSet<TokenHash>,
    ) -> JoinReceived {
        let Some(radio) = self.radios.get_mut(&link) else { return JoinReceived::Nothing };
        let calls = radio.joins.calls.iter_mut();
        let answered = calls
            .filter_map(|(inviter, call)| Some((*inviter, call.initiator.receive(frame).ok().flatten()?)));
        if let Some((inviter, payload)) = answered.last() {
            return match Answers::decode(&payload) {
                Some(Answers::Agreed { name, key }) => {
                    JoinReceived::Answered { inviter, answer: JoinAnswer::Agreed { name }, key: Some(key) }
                }
                Some(Answers::Refused(why)) => {
                    JoinReceived::Answered { inviter, answer: JoinAnswer::Refused(why), key: None }
                }
                None => {
                    core.reject(InputRejection::BadJoinFrame);
                    JoinReceived::Nothing
                }
            };
        }
        let responder = radio.joins.responder.get_or_insert_with(|| Responder::new(core.radio_identity()));
        responder.set_invites(invites);
        match responder.receive(frame) {
            Ok(HandshakeEvent::Request(request)) => {
                let asks = Asks::decode(&request.payload).filter(|asks| request.is_from(&asks.joiner));
                let (id, token, frame) = (request.id, request.token, frame.to_vec());
                return JoinReceived::Asked(Box::new(JoinQuestion { id, frame, token, asks }));
            }
            Ok(HandshakeEvent::Repeated(id)) => radio.answer_soon(core, id, frame, false),
            Ok(HandshakeEvent::Undecided(_) | HandshakeEvent::Part | HandshakeEvent::Foreign) => {}
            Err(_) => core.reject(InputRejection::BadJoinFrame),
        }
        JoinReceived::Nothing
    }

    /// Stores the key of a peer's audience, received in a join handshake.
    pub fn learn_key(&mut self, core: &mut Core, owner: PeerId, key: &AudienceKey) {
        self.shared.keys.learn(core, owner, key);
        self.is_stale = true;
    }

    /// Answers a request to join; agreed if `result` is.
    pub fn answer_join(
        &mut self,
        core: &mut Core,
        replica: &Replica,
        link: LinkId,
        question: &JoinQuestion,
        result: Result<(), JoinRefusal>,
    ) {
        let answer = match result {
            Ok(()) => match self.shared.keys.key_of(core, replica, &core.me) {
                Some(key) => Answers::Agreed { name: core.settings.name.clone(), key },
                None => Answers::Refused(JoinRefusal::Busy),
            },
            Err(why) => Answers::Refused(why),
        };
        let ephemeral = core.random.bytes();
        let is_agreed = matches!(answer, Answers::Agreed { .. });
        let passing = matches!(&answer, Answers::Refused(why) if why.is_passing());
        let Some(radio) = self.radios.get_mut(&link) else { return };
        let Some(responder) = &mut radio.joins.responder else { return };
        if let Err(error) = responder.answer(question.id, &answer.encode(), ephemeral) {
            return tracing::debug!(%error, "no answer on air");
        }
        radio.answer_soon(core, question.id, &question.frame, passing);
        if let Some(asks) = question.asks.as_ref().filter(|_| is_agreed) {
            if let Some(due) = radio.joins.due.get_mut(&question.id) {
                due.agreed = true;
            }
            self.joined(core, replica, link, asks.joiner, false);
        }
    }

    /// Joiner and inviter have received each other's keys: channels are set before any other frame is opened.
    pub fn joined(&mut self, core: &Core, replica: &Replica, link: LinkId, peer: PeerId, asked: bool) {
        self.set_channels_if_stale(core, replica);
        self.input(core, link, Input::Joined { peer, asked });
    }
}

impl RadioLink {
    /// Sends the calls that are due.
    pub(super) fn repeat_calls(&mut self, cx: &mut RadioContext<'_>) {
        let now = cx.core.now();
        let federation = cx.replica.federation();
        let waiting =
            |peer: &PeerId| federation.peer(peer).is_some_and(|p| matches!(p.joined, Joined::Waiting { .. }));
        self.joins.calls.retain(|inviter, _| waiting(inviter));
        let mut frames = Vec::new();
        // Those of the last try may still wait for airtime.
        let is_free = self.device.up && self.station.join_frames_waiting() == 0;
        for call in self.joins.calls.values_mut().filter(|call| call.at <= now) {
            let (request, wait) = match is_free {
                true => call.frames(&mut self.station, self.spec.frame_bytes_max),
                false => (Vec::new(), QUICK.1),
            };
            call.at = now + wait + Millis::from_ms(cx.core.random.below(wait.ms() / 4 + 1));
            frames.extend(request);
        }
        self.send_join_frames(frames);
    }

    /// Answers when the burst that this frame came in should be over: a joiner does not listen before.
    fn answer_soon(&mut self, core: &mut Core, id: HandshakeId, frame: &[u8], passing: bool) {
        let now = core.now();
        let (least, most) = ANSWERS;
        let answer_airtime =
            Millis::from_ms(self.station.line().frame_us(ANSWER_BYTES) / 1_000).max(Millis::from_ms(1));
        let affordable = self.station.ledger().budget().map(|budget| budget / ANSWERS_SHARE / answer_airtime);
        let an_hour = affordable.map_or(most, |answers| answers.clamp(least, most));
        let Joins { due, answers, .. } = &mut self.joins;
        let answers = answers.get_or_insert_with(|| Budget::new(an_hour, an_hour, now));
        let frame_airtime = Millis::from_us_rounded_up(self.station.line().frame_us(frame.len()));
        let frame_bytes = frame.len().max(SHORT_FRAME_BYTES.into_iter().min().unwrap_or(0));
        let at = now + parts_to_come(frame) as u64 * (frame_airtime + frame_airtime / 4);
        if let Some(known) = due.get_mut(&id) {
            (known.at, known.frame_bytes) = (at, frame_bytes);
        } else if due.len() >= ANSWERS_DUE_MAX || answers.draw(now, 1) == 0 {
            core.reject(InputRejection::JoinAnswerDelayed);
        } else {
            due.insert(id, DueAnswer { at, frame_bytes, passing, agreed: false });
        }
    }

    /// Sends the answers that are due.
    pub(super) fn send_answers(&mut self, now: Mono) {
        let Some(responder) = &mut self.joins.responder else { return };
        let mut frames = Vec::new();
        let (station, frame_bytes_max) = (&mut self.station, self.spec.frame_bytes_max);
        self.joins.due.retain(|id, due| {
            if due.at > now {
                return true;
            }
            let frame_bytes = due.frame_bytes.min(frame_bytes_max);
            frames.extend(responder.frames(*id, frame_bytes).unwrap_or_default());
            if due.passing {
                responder.forget(*id);
            }
            if due.agreed {
                station.announce(now);
            }
            false
        });
        self.send_join_frames(frames);
    }

    fn send_join_frames(&mut self, frames: Vec<Vec<u8>>) {
        if frames.is_empty() {
            return;
        }
        self.due.retry_at = None;
        if let Err(error) = self.station.send_join(frames, Priority::Command, JOINS) {
            tracing::debug!(%error, "a join frame was not sent");
        }
    }
}

impl Asks {
    fn encode(&self) -> Vec<u8> {
        let JoinRequest { onion, name, level, time, signature, .. } = &self.request;
        let onion = parse_onion(onion).map_or(Vec::new(), |key| key.to_vec());
        tombolo_delta::to_cbor(&Value::Array(vec![
            Value::Bytes(self.joiner.0.to_vec()),
            Value::Bytes(onion),
            Value::from(name.as_str()),
            Value::from(u64::from(level.code())),
            Value::from(time.ms()),
            Value::Bytes(signature.to_vec()),
            Value::from(u64::from(self.key.epoch)),
            Value::Bytes(self.key.key.to_vec()),
        ]))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let items = read(bytes)?;
        let [joiner, onion, name, level, time, signature, epoch, key] = items.as_slice() else { return None };
        let request = JoinRequest {
            token: [0; 16],
            onion: onion_address(&onion.as_bytes()?.try_into().ok()?),
            name: usable_name(name.as_text()?).unwrap_or_default(),
            level: TrustLevel::from_code(level.as_u64()?)?,
            time: Wall::from_ms(time.as_u64()?),
            signature: signature.as_bytes()?.try_into().ok()?,
        };
        let joiner = PeerId(joiner.as_bytes()?.try_into().ok()?);
        Some(Asks { joiner, request, key: read_key(epoch, key)? })
    }
}

impl Answers {
    fn encode(&self) -> Vec<u8> {
        let items = match self {
            Answers::Agreed { name, key } => vec![
                Value::Bool(true),
                Value::from(name.as_str()),
                Value::from(u64::from(key.epoch)),
                Value::Bytes(key.key.to_vec()),
            ],
            Answers::Refused(why) => vec![Value::Bool(false), Value::from(why.label())],
        };
        tombolo_delta::to_cbor(&Value::Array(items))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match read(bytes)?.as_slice() {
            [Value::Bool(true), name, epoch, key] => Some(Answers::Agreed {
                name: usable_name(name.as_text()?).unwrap_or_default(),
                key: read_key(epoch, key)?,
            }),
            [Value::Bool(false), word] => JoinRefusal::from_label(word.as_text()?).map(Answers::Refused),
            _ => None,
        }
    }
}

fn read(bytes: &[u8]) -> Option<Vec<Value>> {
    let limits = Limits { bytes_max: 1024, depth_max: 2, items_max: 16 };
    match tombolo_delta::from_cbor(bytes, &limits) {
        Ok(Value::Array(items)) => Some(items),
        _ => None,
    }
}

fn read_key(epoch: &Value, key: &Value) -> Option<AudienceKey> {
    Some(AudienceKey { epoch: u32::try_from(epoch.as_u64()?).ok()?, key: key.as_bytes()?.try_into().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Keypair;

    #[test]
    fn payloads_read_back_and_fit_three_frames() {
        let (a, b) = (Keypair::from_seeds(&[1; 32], &[2; 32]), Keypair::from_seeds(&[3; 32], &[4; 32]));
        let name = "n".repeat(64);
        let request = JoinRequest::sign(
            &b,
            &b.onion(),
            &a.peer_id(),
            [9; 16],
            &name,
            TrustLevel::Trusted,
            Wall::from_ms(1_800_000_000_000),
        );
        let key = AudienceKey { epoch: 1, key: [7; 16] };
        let asks = Asks { joiner: b.peer_id(), request, key: key.clone() };
        let read = Asks::decode(&asks.encode()).unwrap();
        assert!(read.request.verify_hash(&a.peer_id(), &b.peer_id(), &token_hash(&[9; 16])));
        assert_eq!((read.joiner, &read.key), (asks.joiner, &asks.key));
        assert!(asks.encode().len() <= 300, "{} bytes", asks.encode().len());
        for answer in [Answers::Agreed { name, key }, Answers::Refused(JoinRefusal::Token)] {
            assert_eq!(Answers::decode(&answer.encode()), Some(answer));
        }
        assert_eq!(Answers::decode(&[0x80]), None);
    }

    /// What is sent is what the page draws: the vectors are written from it, without the code above.
    #[test]
    fn payloads_are_those_of_the_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/federation.json");
        let vectors: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let bytes =
            |name: &str| data_encoding::HEXLOWER.decode(vectors[name].as_str().unwrap().as_bytes()).unwrap();
        let (inviter, joiner) =
            (Keypair::from_seeds(&[1; 32], &[2; 32]), Keypair::from_seeds(&[3; 32], &[4; 32]));
        let asks = Asks::decode(&bytes("air_request")).unwrap();
        assert!(asks.request.verify_hash(&inviter.peer_id(), &joiner.peer_id(), &token_hash(&[5; 16])));
        assert_eq!((asks.joiner, asks.encode()), (joiner.peer_id(), bytes("air_request")));
        for name in ["air_answer_agreed", "air_answer_refused"] {
            assert_eq!(Answers::decode(&bytes(name)).unwrap().encode(), bytes(name), "{name}");
        }
    }
}
