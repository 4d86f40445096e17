//! Revocation: a signed notice that the key of an identity is in the wrong hands.
//!
//! A notice by another identity (*stolen*) suspends the revoked one at nodes that trust its author, until their operators
//! decide. A notice by the revoked identity itself ends it everywhere; it is signed at `init`, kept by the operator, and
//! published when the machine is lost. Each node hands a notice that it accepts to all its members, and remembers which of
//! them have confirmed it.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use tombolo_delta::{Limits, Value};
use tombolo_transports::PeerId;

use super::outbox::{OfferPace, wait_before};
use super::record::{RecordChange, wall_of_s};
use super::wire::WireError;
use crate::federation::peer::peer_bytes;
use crate::identity::{Keypair, SignatureBytes, verify};
use crate::time::{Millis, Mono, Wall};

/// First item of the signed array.
pub const REVOCATION_DOMAIN: &str = "tombolo-revoke-1";
/// A notice, bytes: it fits one frame of every radio.
pub const NOTICE_BYTES_MAX: usize = 192;
/// Notices that a node keeps. One more is refused, visibly; each is about a peer, and of one author.
pub const NOTICES_MAX: usize = 256;
/// What a notice as text begins with.
const TEXT_PREFIX: &str = "tombolo-revoke1:";

/// A notice that an identity is not to be trusted any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationNotice {
    /// The identity that signs. The revoked one itself ends itself.
    #[serde(with = "peer_bytes")]
    pub author: PeerId,
    /// The identity that is revoked.
    #[serde(with = "peer_bytes")]
    pub revoked: PeerId,
    /// When it was signed, seconds since the Unix epoch.
    pub time_s: u64,
    /// The signature of the author over the other fields.
    #[serde(with = "serde_signature")]
    pub signature: SignatureBytes,
}

/// Names a notice: the first 8 bytes of the BLAKE3 hash of what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NoticeHash(pub [u8; 8]);

impl RevocationNotice {
    /// Signs a notice with the key of its author.
    pub fn sign(keypair: &Keypair, revoked: PeerId, time_s: u64) -> Self {
        let mut notice = RevocationNotice { author: keypair.peer_id(), revoked, time_s, signature: [0; 64] };
        notice.signature = keypair.sign(&notice.signing_bytes());
        notice
    }

    /// When it was signed, by the author's clock.
    pub fn time(&self) -> Wall {
        wall_of_s(self.time_s)
    }

    /// Whether its author signed it.
    pub fn verify(&self) -> bool {
        verify(&self.author, &self.signing_bytes(), &self.signature)
    }

    /// Whether the revoked identity itself signed it: it then ends everywhere.
    pub fn is_own(&self) -> bool {
        self.author == self.revoked
    }

    /// The hash by which a notice is named.
    pub fn hash(&self) -> NoticeHash {
        let hash = blake3::hash(&self.signing_bytes());
        NoticeHash(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    /// The bytes that the author signs.
    pub fn signing_bytes(&self) -> Vec<u8> {
        let mut fields = vec![Value::from(REVOCATION_DOMAIN)];
        fields.extend(self.fields());
        tombolo_delta::to_cbor(&Value::Array(fields))
    }

    fn fields(&self) -> [Value; 3] {
        [
            Value::Bytes(self.author.0.to_vec()),
            Value::Bytes(self.revoked.0.to_vec()),
            Value::from(self.time_s),
        ]
    }

    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = self.fields().to_vec();
        fields.push(Value::Bytes(self.signature.to_vec()));
        tombolo_delta::to_cbor(&Value::Array(fields))
    }

    /// Reads bytes from outside.
    ///
    /// # Errors
    /// The bytes are no notice.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let limits = Limits { bytes_max: NOTICE_BYTES_MAX, depth_max: 2, items_max: 8 };
        let value = tombolo_delta::from_cbor(bytes, &limits).map_err(|_| WireError)?;
        let read = || match value.as_array()? {
            [author, revoked, time, signature] => Some(RevocationNotice {
                author: PeerId(author.as_bytes()?.try_into().ok()?),
                revoked: PeerId(revoked.as_bytes()?.try_into().ok()?),
                time_s: time.as_u64()?,
                signature: signature.as_bytes()?.try_into().ok()?,
            }),
            _ => None,
        };
        read().ok_or(WireError)
    }

    /// The notice as one line of text, as `init` writes it.
    pub fn to_text(&self) -> String {
        format!("{TEXT_PREFIX}{}", BASE64URL_NOPAD.encode(&self.encode()))
    }

    /// Reads the text of a notice; lines that begin with `#` are comments.
    ///
    /// # Errors
    /// The text is no notice.
    pub fn from_text(text: &str) -> Result<Self, WireError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().and_then(|line| line.strip_prefix(TEXT_PREFIX)).ok_or(WireError)?;
        if lines.next().is_some() || line.len() > 2 * NOTICE_BYTES_MAX {
            return Err(WireError);
        }
        Self::decode(&BASE64URL_NOPAD.decode(line.as_bytes()).map_err(|_| WireError)?)
    }
}

/// A signature as bytes in stored records.
mod serde_signature {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 64], serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 64], D::Error> {
        use serde::de::Error;
        Vec::<u8>::deserialize(deserializer)?
            .try_into()
            .map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}

/// A notice that this node has accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldNotice {
    /// The notice as it was received.
    pub notice: RevocationNotice,
    /// Members that have confirmed it, as 32 bytes each.
    pub heard: BTreeSet<[u8; 32]>,
    /// Whether the operator of this node has decided about the revoked identity since.
    pub is_decided: bool,
}

/// The notices of a node.
#[derive(Debug, Default)]
pub struct Notices {
    held: BTreeMap<NoticeHash, HeldNotice>,
    offers: BTreeMap<(NoticeHash, PeerId), (Mono, u32)>,
}

/// What becomes of a notice that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeVerdict {
    /// It counts here from now on.
    Accepted,
    /// It is held already, or is about no peer of this node: there is nothing to do.
    Known,
    /// Its author is not trusted here.
    AuthorNotTrusted,
    /// The signature does not hold.
    Forged,
    /// There are as many as are kept.
    Full,
}

impl Notices {
    pub(super) fn load(&mut self, held: Vec<HeldNotice>) {
        self.offers.clear();
        self.held = held.into_iter().map(|held| (held.notice.hash(), held)).collect();
    }

    /// All notices that the node holds.
    pub fn held(&self) -> impl Iterator<Item = &HeldNotice> {
        self.held.values()
    }

    /// The identities that are suspended: revoked by themselves, or by another and not decided about yet.
    pub fn suspended(&self) -> BTreeSet<PeerId> {
        let counts = self.held().filter(|held| held.notice.is_own() || !held.is_decided);
        counts.map(|held| held.notice.revoked).collect()
    }

    /// Whether an identity has ended itself.
    pub fn has_ended_itself(&self, id: &PeerId) -> bool {
        self.held().any(|held| held.notice.is_own() && held.notice.revoked == *id)
    }

    /// Judges a notice. `may_suspend` is whether this node lets its author suspend others, `is_peer` whether the revoked identity is a
    /// peer here, or this node itself.
    pub fn take(
        &mut self,
        notice: RevocationNotice,
        may_suspend: bool,
        is_peer: bool,
    ) -> (NoticeVerdict, Option<RecordChange>) {
        let hash = notice.hash();
        if self.held.contains_key(&hash) || !is_peer {
            return (NoticeVerdict::Known, None);
        }
        if !notice.is_own() && !may_suspend {
            return (NoticeVerdict::AuthorNotTrusted, None);
        }
        if !notice.verify() {
            return (NoticeVerdict::Forged, None);
        }
        let same =
            |held: &HeldNotice| held.notice.author == notice.author && held.notice.revoked == notice.revoked;
        if self.held().any(same) {
            // One of each author is enough: an author cannot fill the disk, nor undo a decision by repeating itself.
            return (NoticeVerdict::Known, None);
        }
        if self.held.len() >= NOTICES_MAX {
            return (NoticeVerdict::Full, None);
        }
        let held = HeldNotice { notice, heard: BTreeSet::new(), is_decided: false };
        self.held.insert(hash, held.clone());
        (NoticeVerdict::Accepted, Some(RecordChange::PutNotice(Box::new(held))))
    }

    /// The operator has decided about an identity: what others reported of it no longer suspends it.
    pub fn decide(&mut self, revoked: &PeerId) -> Vec<RecordChange> {
        let open = self.held.values_mut().filter(|held| held.notice.revoked == *revoked && !held.is_decided);
        open.map(|held| {
            held.is_decided = true;
            RecordChange::PutNotice(Box::new(held.clone()))
        })
        .collect()
    }

    /// A member has confirmed a notice.
    pub fn heard(&mut self, hash: NoticeHash, by: &PeerId) -> Option<RecordChange> {
        let held = self.held.get_mut(&hash)?;
        self.offers.remove(&(hash, *by));
        held.heard.insert(by.0).then(|| RecordChange::PutNotice(Box::new(held.clone())))
    }

    /// The notices to offer now, with the members that have not confirmed them.
    pub fn due(&self, now: Mono, members: &[PeerId]) -> Vec<(NoticeHash, PeerId)> {
        let mut due = Vec::new();
        for (hash, held) in &self.held {
            for member in unaware(held, members) {
                if self.offers.get(&(*hash, member)).is_none_or(|(at, _)| *at <= now) {
                    due.push((*hash, member));
                }
            }
        }
        due
    }

    /// A notice, to send it.
    pub fn notice(&self, hash: &NoticeHash) -> Option<&RevocationNotice> {
        self.held.get(hash).map(|held| &held.notice)
    }

    /// A notice was offered: the next offer waits longer.
    pub fn offered(&mut self, hash: NoticeHash, to: PeerId, now: Mono, pace: OfferPace, jitter: u64) {
        let (due, tries) = self.offers.entry((hash, to)).or_default();
        let wait = wait_before(pace, *tries);
        *tries += 1;
        *due = now + wait + Millis::from_ms(jitter % (wait.ms() / 4 + 1));
    }

    /// A peer can be reached again: what it has not confirmed is offered at once.
    pub fn reachable(&mut self, peer: &PeerId) {
        self.offers.retain(|(_, to), _| to != peer);
    }

    /// When the next offer may be due that is not due yet.
    pub fn next_timer(&self, now: Mono) -> Option<Mono> {
        self.offers.values().map(|(due, _)| *due).filter(|due| *due > now).min()
    }
}

/// The members that have not confirmed a notice; its author and the revoked identity are not asked.
pub fn unaware<'a>(held: &'a HeldNotice, members: &'a [PeerId]) -> impl Iterator<Item = PeerId> + 'a {
    let notice = &held.notice;
    let concerns = move |member: &&PeerId| **member != notice.author && **member != notice.revoked;
    members.iter().filter(concerns).filter(|member| !held.heard.contains(&member.0)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> Keypair {
        Keypair::from_seeds(&[n; 32], &[n + 100; 32])
    }

    #[test]
    fn a_notice_reads_back_as_bytes_and_text_and_fits_a_frame() {
        let notice = RevocationNotice::sign(&key(1), key(2).peer_id(), 1_800_000_000);
        let bytes = notice.encode();
        assert!(bytes.len() <= 142, "{}", bytes.len());
        assert_eq!(RevocationNotice::decode(&bytes), Ok(notice.clone()));
        let text = format!("# a comment\n\n{}\n", notice.to_text());
        assert_eq!(RevocationNotice::from_text(&text), Ok(notice.clone()));
        assert!(notice.verify() && !notice.is_own());
        assert!(!RevocationNotice { revoked: key(3).peer_id(), ..notice.clone() }.verify());
        assert!(!RevocationNotice { time_s: 1, ..notice }.verify());
        for bad in
            ["", "tombolo-revoke1:", "tombolo-revoke1:AA", "x", "tombolo-revoke1:AA\ntombolo-revoke1:AA"]
        {
            assert_eq!(RevocationNotice::from_text(bad), Err(WireError), "{bad}");
        }
    }

    #[test]
    fn only_trusted_authors_and_the_identity_itself_are_believed() {
        let mut notices = Notices::default();
        let stolen = RevocationNotice::sign(&key(1), key(2).peer_id(), 5);
        let take = |notices: &mut Notices, notice: &RevocationNotice, may_suspend, is_peer| {
            notices.take(notice.clone(), may_suspend, is_peer).0
        };
        let untrusted = take(&mut notices, &stolen, false, true);
        assert_eq!(untrusted, NoticeVerdict::AuthorNotTrusted);
        assert_eq!(take(&mut notices, &stolen, true, false), NoticeVerdict::Known);
        let forged = RevocationNotice { time_s: 6, ..stolen.clone() };
        assert_eq!(take(&mut notices, &forged, true, true), NoticeVerdict::Forged);
        assert!(notices.suspended().is_empty());
        assert_eq!(take(&mut notices, &stolen, true, true), NoticeVerdict::Accepted);
        assert_eq!(notices.suspended(), BTreeSet::from([key(2).peer_id()]));
        // A decision lifts it, and a repetition of the same author does not bring it back.
        assert_eq!(notices.decide(&key(2).peer_id()).len(), 1);
        assert!(notices.suspended().is_empty());
        let again = RevocationNotice::sign(&key(1), key(2).peer_id(), 9);
        assert_eq!(take(&mut notices, &again, true, true), NoticeVerdict::Known);
        let own = RevocationNotice::sign(&key(2), key(2).peer_id(), 1);
        assert_eq!(take(&mut notices, &own, false, true), NoticeVerdict::Accepted);
        notices.decide(&key(2).peer_id());
        assert_eq!(notices.suspended(), BTreeSet::from([key(2).peer_id()]), "that is final");
    }

    #[test]
    fn a_notice_is_offered_until_each_member_has_confirmed_it() {
        let mut notices = Notices::default();
        let notice = RevocationNotice::sign(&key(1), key(2).peer_id(), 5);
        notices.take(notice.clone(), true, true);
        let members = [key(1).peer_id(), key(2).peer_id(), key(3).peer_id(), key(4).peer_id()];
        let now = Mono::from_ms(0);
        assert_eq!(notices.due(now, &members).len(), 2, "not its author, not the revoked");
        notices.offered(notice.hash(), members[2], now, super::super::OFFER_PACE, 0);
        assert_eq!(notices.due(now, &members), [(notice.hash(), members[3])]);
        assert!(notices.heard(notice.hash(), &members[2]).is_some());
        assert!(notices.heard(notice.hash(), &members[2]).is_none());
        notices.reachable(&members[2]);
        assert_eq!(notices.due(Mono::NEVER, &members), [(notice.hash(), members[3])]);
    }

    proptest! {
        #[test]
        fn nothing_panics_on_hostile_bytes(bytes: Vec<u8>, text: String) {
            let _ = RevocationNotice::decode(&bytes);
            let _ = RevocationNotice::from_text(&text);
        }
    }
}
