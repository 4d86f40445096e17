//! Joining with nothing but radios and an invite code: Noise IKpsk1.
//!
//! `Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s` (the Noise Protocol Framework, revision 34): the static keys are those of the
//! ed25519 identities, the pre-shared key is of the invite's token, the prologue binds the purpose and the inviter. Message 1 is
//! 96 bytes and the joiner's payload, message 2 is 48 bytes and the inviter's: **the token never travels**, only the first
//! 4 bytes of its hash, which name the invite to the inviter. Messages are cut into frames of kind `Join`:
//!
//! ```text
//! 0           1        5                6       8
//! +-----------+--------+----------------+-------+-- … --+
//! | 3 | back  | prefix | number | parts | check | slice |
//! | 4 | 4 bit |   4    |  4 bit | 4 bit |   2   |       |
//! +-----------+--------+----------------+-------+-- … --+
//! ```
//! *back* is 0 towards the inviter and 1 from it; *check* is the first two bytes of the message's BLAKE3 hash.
//!
//! Frames in, frames out; the caller's timer repeats [`Initiator::frames`], after some tries in shorter frames
//! ([`frame_bytes`]): where bits go wrong, long ones never arrive. Parts of one message gather over all its repetitions, those of
//! one cut by themselves. **Any** part of a message 1 that was answered calls for the same message 2 again, in frames no longer
//! than it came in; when that may go out is the caller's decision, and no sooner than the rest of the burst is over
//! ([`parts_to_come`]). What the payloads mean, whether the token is spent and what to answer is decided by the crate above: it checks
//! that the identity named in the payload is the one that spoke ([`HandshakeRequest::is_from`]), **burns the token durably, then answers**.

use crate::frame::Kind;
use crate::frame::keys::{Identity, agreement_key};
use crate::frame::parts::{Parts, check};
use crate::peer::PeerId;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::Dh;
use snow::{Builder, HandshakeState};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// Longest payload of either message.
pub const PAYLOAD_BYTES_MAX: usize = 512;
/// What message 1 has over its payload: ephemeral key, static key and tag, tag.
pub const FIRST_BYTES: usize = 32 + 48 + 16;
/// What message 2 has over its payload: ephemeral key, tag.
pub const SECOND_BYTES: usize = 32 + 16;
/// Most frames of one message; it is reached at 50 bytes a frame.
pub const PARTS_MAX: usize = 15;
/// Messages of which some parts are there; when another starts, the one goes of which the smallest share is there.
pub const HALF_MESSAGES_MAX: usize = 8;
/// Requests kept for their answer, or with it; the oldest goes when another comes. It is then a new request.
pub const REQUESTS_MAX: usize = 16;

/// Frames that a message falls back to where longer ones do not arrive.
pub const SHORT_FRAME_BYTES: [usize; 2] = [120, 64];
/// Tries before each fall.
pub const TRIES_BEFORE_SHORTER: u32 = 2;

const HEADER_BYTES: usize = 8;
const MESSAGE_BYTES_MAX: usize = FIRST_BYTES + PAYLOAD_BYTES_MAX;
const PATTERN: &str = "Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"tombolo-join-1";
const PSK_CONTEXT: &str = "tombolo 2026 radio join psk 1";

/// The hash of an invite's token, as the inviter keeps it.
pub type InviteHash = [u8; 32];

/// Why a frame or a message of a handshake is refused, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not a frame of kind `Join`, or one that no message of ours would be cut into.
    #[error("not a frame of a handshake")]
    Frame,
    /// All parts are there, and they are not of one message, or not by a peer that knows the token and the keys.
    #[error("the message proves nothing")]
    Proof,
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`].
    #[error("a payload of {bytes} bytes; at most {PAYLOAD_BYTES_MAX}")]
    TooLong {
        /// Length of the payload.
        bytes: usize,
    },
    /// The other identity is no usable ed25519 key.
    #[error("{0} is no usable key")]
    Key(PeerId),
    /// No such request, or no longer.
    #[error("no such request")]
    Unknown,
    /// Frames so short that a message does not fit [`PARTS_MAX`] of them.
    #[error("frames of {frame_bytes_max} bytes are too short")]
    FrameSize {
        /// The longest that the radio takes.
        frame_bytes_max: usize,
    },
}

/// The joiner's side: one message out, one back.
pub struct Initiator {
    state: HandshakeState,
    message: Vec<u8>,
    prefix: [u8; 4],
    half: PartialMessages,
}

impl Initiator {
    /// Makes message 1, to `inviter`, for the invite whose token has this hash. `ephemeral` is 32 random bytes, used for this
    /// handshake only.
    ///
    /// # Errors
    /// [`HandshakeError::Key`] where `inviter` is no usable key, [`HandshakeError::TooLong`] for a payload that is too long.
    pub fn new(
        us: &Identity,
        inviter: &PeerId,
        token: &InviteHash,
        payload: &[u8],
        ephemeral: [u8; 32],
    ) -> Result<Self, HandshakeError> {
        let inviter_key = agreement_key(inviter).ok_or(HandshakeError::Key(*inviter))?;
        let mut state = handshake(us, inviter, Some(&inviter_key), token, Some(ephemeral));
        let message = write(&mut state, payload)?;
        Ok(Initiator { state, message, prefix: prefix(token), half: PartialMessages::default() })
    }

    /// The frames of message 1, the same each time.
    ///
    /// # Errors
    /// [`HandshakeError`] where the message takes more parts than there are numbers.
    pub fn frames(&self, frame_bytes_max: usize) -> Result<Vec<Vec<u8>>, HandshakeError> {
        cut(Direction::Request, &self.prefix, &self.message, frame_bytes_max)
    }

    /// Takes a frame; the inviter's payload, once all of it is there. A frame for another peer is `Ok(None)`.
    ///
    /// # Errors
    /// [`HandshakeError`] where the frame is no part of a handshake, or the answer is not the inviter's.
    pub fn receive(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>, HandshakeError> {
        let part = Part::decode(frame)?;
        if part.direction != Direction::Answer || part.prefix != self.prefix {
            return Ok(None);
        }
        let Some(message) = self.half.put(&part)? else { return Ok(None) };
        read(&mut self.state, &message).map(Some)
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Names a request, for its answer: the hash of message 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandshakeId([u8; 32]);

/// A peer that knows a token asks to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeRequest {
    /// Names the request for [`Responder::answer`].
    pub id: HandshakeId,
    /// The invite that it was made with.
    pub token: InviteHash,
    /// What the joiner sends, authenticated but not judged yet.
    pub payload: Vec<u8>,
    speaker: [u8; 32],
}

impl HandshakeRequest {
    /// Whether `identity` is the one that spoke. (An X25519 key has two ed25519 keys, of opposite sign: a signature in the payload
    /// names it.)
    pub fn is_from(&self, identity: &PeerId) -> bool {
        agreement_key(identity) == Some(self.speaker)
    }
}

/// What a frame was to a [`Responder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeEvent {
    /// Not towards us: no invite of ours, or an answer of another inviter.
    Foreign,
    /// A part; more are missing.
    Part,
    /// A whole request, new to us: decide, and [`answer`](Responder::answer).
    Request(HandshakeRequest),
    /// A part of a request that was reported and is not answered yet.
    Undecided(HandshakeId),
    /// A part of a request that was answered: send [`frames`](Responder::frames) again.
    Repeated(HandshakeId),
}

/// A request and what became of it.
struct PendingRequest {
    id: HandshakeId,
    token: InviteHash,
    message: Vec<u8>,
    answer: Option<Vec<u8>>,
}

impl PendingRequest {
    /// Whether this is a part of it, however it was cut.
    fn has(&self, part: &Part<'_>) -> bool {
        prefix(&self.token) == part.prefix
            && check(&self.message) == part.check
            && slices(&self.message, part.count).nth(part.number) == Some(part.slice)
    }
}

/// The inviter's side: answers a joiner that knows the token of an open invite.
pub struct Responder {
    us: Identity,
    invites: BTreeSet<InviteHash>,
    half: PartialMessages,
    requests: VecDeque<PendingRequest>,
}

impl Responder {
    /// With no invite open.
    pub fn new(us: Identity) -> Self {
        let (half, requests) = (PartialMessages::default(), VecDeque::new());
        Responder { us, invites: BTreeSet::new(), half, requests }
    }

    /// Which invites are heard: the open ones, and the spent ones whose joiner may have missed the answer.
    pub fn set_invites(&mut self, invites: BTreeSet<InviteHash>) {
        self.invites = invites;
    }

    /// Takes a frame of kind `Join`.
    ///
    /// # Errors
    /// [`HandshakeError`] where the frame is no part of a handshake, or its sender does not know the token and the keys.
    pub fn receive(&mut self, frame: &[u8]) -> Result<HandshakeEvent, HandshakeError> {
        let part = Part::decode(frame)?;
        let meant = |token: &&InviteHash| prefix(token) == part.prefix;
        if part.direction != Direction::Request || !self.invites.iter().any(|token| meant(&token)) {
            return Ok(HandshakeEvent::Foreign);
        }
        // Byte for byte: a peer that has not heard a part cannot make it up.
        if let Some(known) = self.requests.iter().find(|pending| pending.has(&part)) {
            let PendingRequest { id, answer, .. } = known;
            return Ok(if answer.is_some() {
                HandshakeEvent::Repeated(*id)
            } else {
                HandshakeEvent::Undecided(*id)
            });
        }
        let Some(message) = self.half.put(&part)? else { return Ok(HandshakeEvent::Part) };
        let id = HandshakeId(*blake3::hash(&message).as_bytes());
        let mut invites = self.invites.iter().filter(meant);
        let request =
            invites.find_map(|token| self.open(id, token, &message)).ok_or(HandshakeError::Proof)?;
        if self.requests.len() >= REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(PendingRequest { id, token: request.token, message, answer: None });
        Ok(HandshakeEvent::Request(request))
    }

    /// Answers a request, with 32 random bytes used for this answer only. A second answer to one request changes nothing.
    ///
    /// # Errors
    /// [`HandshakeError::Unknown`] where the request is not kept, [`HandshakeError::TooLong`] for a payload that is too long.
    pub fn answer(
        &mut self,
        id: HandshakeId,
        payload: &[u8],
        ephemeral: [u8; 32],
    ) -> Result<(), HandshakeError> {
        let us = &self.us;
        let pending =
            self.requests.iter_mut().find(|pending| pending.id == id).ok_or(HandshakeError::Unknown)?;
        if pending.answer.is_none() {
            let mut state = handshake(us, &us.peer_id(), None, &pending.token, Some(ephemeral));
            read(&mut state, &pending.message)?;
            pending.answer = Some(write(&mut state, payload)?);
        }
        Ok(())
    }

    /// The frames of the answer to a request, the same each time.
    ///
    /// # Errors
    /// [`HandshakeError`] where no answer is kept for the request, or it takes more parts than there are numbers.
    pub fn frames(&self, id: HandshakeId, frame_bytes_max: usize) -> Result<Vec<Vec<u8>>, HandshakeError> {
        let pending = self.requests.iter().find(|pending| pending.id == id);
        let answered = pending.and_then(|pending| Some((pending, pending.answer.as_ref()?)));
        let (pending, answer) = answered.ok_or(HandshakeError::Unknown)?;
        cut(Direction::Answer, &prefix(&pending.token), answer, frame_bytes_max)
    }

    /// Drops a request without an answer; the same one is then reported again.
    pub fn forget(&mut self, id: HandshakeId) {
        self.requests.retain(|pending| pending.id != id);
    }

    fn open(&self, id: HandshakeId, token: &InviteHash, message: &[u8]) -> Option<HandshakeRequest> {
        let mut state = handshake(&self.us, &self.us.peer_id(), None, token, None);
        let payload = read(&mut state, message).ok()?;
        let speaker = state.get_remote_static()?.try_into().ok()?;
        Some(HandshakeRequest { id, token: *token, payload, speaker })
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (invites, requests) = (self.invites.len(), self.requests.len());
        f.debug_struct("Responder")
            .field("invites", &invites)
            .field("requests", &requests)
            .finish_non_exhaustive()
    }
}

/// How long the frames of a message should be at its `tries`th repetition, 0 being the first time: as long as the radio takes, then
/// ever shorter ones. Where a frame is lost for what it is long, they are all that arrives; elsewhere they cost little more.
pub fn frame_bytes(tries: u32, frame_bytes_max: usize) -> usize {
    let falls = (tries / TRIES_BEFORE_SHORTER) as usize;
    let short = SHORT_FRAME_BYTES.iter().take(falls).next_back();
    short.map_or(frame_bytes_max, |short| frame_bytes_max.min(*short))
}

/// How many parts come after this one, if all of them are sent in a row.
pub fn parts_to_come(frame: &[u8]) -> usize {
    Part::decode(frame).map_or(0, |part| part.count - 1 - part.number)
}

/// Our end of the handshake with `inviter`; `inviter_key` is given where we are not it.
fn handshake(
    us: &Identity,
    inviter: &PeerId,
    inviter_key: Option<&[u8; 32]>,
    token: &InviteHash,
    ephemeral: Option<[u8; 32]>,
) -> HandshakeState {
    let secret = us.agreement_secret();
    let psk = Zeroizing::new(blake3::derive_key(PSK_CONTEXT, token));
    let prologue = [PROLOGUE, inviter.as_bytes()].concat();
    let built = PATTERN.parse().and_then(|pattern| {
        let builder = Builder::with_resolver(pattern, Box::new(Given { ephemeral }))
            .local_private_key(&*secret)?
            .prologue(&prologue)?
            .psk(1, &psk)?;
        match inviter_key {
            Some(key) => builder.remote_public_key(key)?.build_initiator(),
            None => builder.build_responder(),
        }
    });
    built.expect("a pattern that the crate knows, with all the keys that it asks for, each of 32 bytes")
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(HandshakeError::TooLong { bytes: payload.len() });
    }
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    let length = state.write_message(payload, &mut message).map_err(|_| HandshakeError::Proof)?;
    message.truncate(length);
    Ok(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let mut payload = vec![0; message.len()];
    let length = state.read_message(message, &mut payload).map_err(|_| HandshakeError::Proof)?;
    payload.truncate(length);
    Ok(payload)
}

fn prefix(token: &InviteHash) -> [u8; 4] {
    let [a, b, c, d, ..] = *token;
    [a, b, c, d]
}

/// The primitives of the crate, with the one ephemeral key that was handed in as all the randomness there is.
struct Given {
    ephemeral: Option<[u8; 32]>,
}

impl CryptoResolver for Given {
    fn resolve_rng(&self) -> Option<Box<dyn snow::types::Random>> {
        Some(Box::new(Given { ephemeral: self.ephemeral }))
    }

    fn resolve_dh(&self, choice: &snow::params::DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice).map(|dh| Box::new(Contributory(dh)) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &snow::params::HashChoice) -> Option<Box<dyn snow::types::Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &snow::params::CipherChoice) -> Option<Box<dyn snow::types::Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// X25519 that refuses a shared secret of zeros: the other key was of small order (RFC 7748, section 6.1), so the secret would
/// prove nothing.
struct Contributory(Box<dyn Dh>);

impl Dh for Contributory {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, privkey: &[u8]) {
        self.0.set(privkey);
    }

    fn generate(&mut self, rng: &mut dyn snow::types::Random) -> Result<(), snow::Error> {
        self.0.generate(rng)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.dh(pubkey, out)?;
        match out.iter().take(self.0.dh_len()).all(|byte| *byte == 0) {
            true => Err(snow::Error::Dh),
            false => Ok(()),
        }
    }
}

impl snow::types::Random for Given {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), snow::Error> {
        let given = Zeroizing::new(self.ephemeral.take().ok_or(snow::Error::Rng)?);
        if bytes.len() != given.len() {
            return Err(snow::Error::Rng);
        }
        bytes.copy_from_slice(&*given);
        Ok(())
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.ephemeral.zeroize();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Request,
    Answer,
}

/// One frame of kind `Join`, taken apart.
struct Part<'a> {
    direction: Direction,
    prefix: [u8; 4],
    number: usize,
    count: usize,
    check: [u8; 2],
    slice: &'a [u8],
}

impl<'a> Part<'a> {
    fn decode(frame: &'a [u8]) -> Result<Self, HandshakeError> {
        let (&[first, a, b, c, d, numbers, check_0, check_1], slice) =
            frame.split_first_chunk::<HEADER_BYTES>().ok_or(HandshakeError::Frame)?;
        let direction = match first & 0x0f {
            0 => Direction::Request,
            1 => Direction::Answer,
            _ => return Err(HandshakeError::Frame),
        };
        let (number, count) = (usize::from(numbers >> 4), usize::from(numbers & 0x0f));
        if Kind::of(first) != Kind::JOIN || number >= count || slice.is_empty() {
            return Err(HandshakeError::Frame);
        }
        Ok(Part { direction, prefix: [a, b, c, d], number, count, check: [check_0, check_1], slice })
    }
}

/// The frames of a message, as few as hold it.
fn cut(
    direction: Direction,
    prefix: &[u8; 4],
    message: &[u8],
    frame_bytes_max: usize,
) -> Result<Vec<Vec<u8>>, HandshakeError> {
    let slice_bytes = frame_bytes_max.saturating_sub(HEADER_BYTES);
    let count = message.len().div_ceil(slice_bytes.max(1));
    if slice_bytes == 0 || count > PARTS_MAX {
        return Err(HandshakeError::FrameSize { frame_bytes_max });
    }
    let first = Kind::JOIN.first_byte(u8::from(direction == Direction::Answer));
    let slices = slices(message, count);
    let count = slices.len();
    let frame = |(slice, number): (&[u8], u8)| {
        [&[first], &prefix[..], &[number << 4 | count as u8], &check(message), slice].concat()
    };
    Ok(slices.zip(0_u8..).map(frame).collect())
}

/// A message in `count` slices or, where that makes no difference to their length, fewer. All of about one length: none is
/// shorter than a radio takes.
fn slices(message: &[u8], count: usize) -> std::slice::Chunks<'_, u8> {
    message.chunks(message.len().div_ceil(count.max(1)).max(1))
}

/// Messages on their way in: bounded, whatever comes.
#[derive(Debug, Default)]
struct PartialMessages(VecDeque<PartialMessage>);

#[derive(Debug)]
struct PartialMessage {
    name: (Direction, [u8; 4], [u8; 2]),
    parts: Parts,
}

impl PartialMessage {
    fn share_permille(&self) -> usize {
        self.parts.held() * 1_000 / self.parts.count().max(1)
    }
}

impl PartialMessages {
    /// Takes a part; the message once all are there.
    fn put(&mut self, part: &Part<'_>) -> Result<Option<Vec<u8>>, HandshakeError> {
        let name = (part.direction, part.prefix, part.check);
        let same = |half: &PartialMessage| half.name == name && half.parts.count() == part.count;
        let at = self.0.iter().position(same).unwrap_or_else(|| {
            if self.0.len() >= HALF_MESSAGES_MAX {
                let least =
                    (0..self.0.len()).min_by_key(|at| self.0.get(*at).map(PartialMessage::share_permille));
                least.and_then(|at| self.0.remove(at));
            }
            self.0.push_back(PartialMessage { name, parts: Parts::new(part.count) });
            self.0.len() - 1
        });
        let whole = self.0.get_mut(at).and_then(|half| half.parts.put(part.number, part.slice));
        let Some(message) = whole else { return Ok(None) };
        self.0.remove(at);
        if message.len() > MESSAGE_BYTES_MAX || check(&message) != part.check {
            return Err(HandshakeError::Proof);
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests;
