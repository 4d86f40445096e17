//! The audience: an owner's signed list of who reads and who writes its documents. It is a snapshot
//! document of its own, `audience`.
//!
//! ```text
//! {"salt": 16 bytes, "members": [[hash, level] | [hash, level, since], …], "classes"?: {name: [confidential, radio]}, "ends"?: …}
//! ```
//! A hash is 16 bytes over salt and identity: a reader of the list recognises the identities that it
//! knows, and no others. Members stand in the order of their hashes.
//!
//! `since` is the sequence of the audience that made a member a writer, where that was not the owner's first.
//! Only layers that the member signed under that audience or a later one count: a writer that was removed and is
//! listed again does not bring back, with its old layer, what was deleted meanwhile. `ends` has the documents that the owner has
//! ended (`ends.rs`).

use std::collections::BTreeMap;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::federation::TrustLevel;
use crate::federation::ends::{DocumentEnd, Ends};
use crate::layer::{DocumentName, Sequence};
use crate::limits::PEERS_MAX;

/// How an identity is named in an audience.
pub type MemberHash = [u8; 16];

/// Who reads (`observer`) and who also writes (`trusted`) an owner's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    salt: [u8; 16],
    members: BTreeMap<MemberHash, Member>,
    policies: BTreeMap<String, DocumentPolicy>,
    ends: Ends,
}

/// Whether a document goes out by radio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RadioUse {
    /// The document is not sent by radio.
    Never,
    /// Its brief in its place: a document of its own, `NAME.brief`.
    Brief,
    /// The document is sent as it is.
    #[default]
    Full,
}

/// How the owner's documents are to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DocumentPolicy {
    /// Only its readers may see it: it never goes out on a link in clear.
    pub confidential: bool,
    /// Whether it goes out by radio.
    pub radio: RadioUse,
}

impl Default for DocumentPolicy {
    fn default() -> Self {
        DocumentPolicy { confidential: true, radio: RadioUse::Full }
    }
}

/// Classes in one audience that are not the default. One more is refused.
pub const CLASSES_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    level: TrustLevel,
    since: Sequence,
}

/// Why a value is no audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audience is {{salt, members}} with members as [hash, level]")]
pub struct AudienceError;

impl Audience {
    /// An audience of these members; those at `untrusted` are left out.
    pub fn new(salt: [u8; 16], members: impl IntoIterator<Item = (PeerId, TrustLevel)>) -> Self {
        let members = members
            .into_iter()
            .filter(|(_, level)| level.is_member())
            .map(|(peer, level)| (member_hash(&salt, &peer), Member { level, since: Sequence::NONE }))
            .collect();
        Audience { salt, members, policies: BTreeMap::new(), ends: Ends::default() }
    }

    /// The owner's policy for a document.
    pub fn policy(&self, name: &str) -> DocumentPolicy {
        self.policies.get(name).copied().unwrap_or_default()
    }

    /// Whether any document of the owner is readable by everyone.
    pub fn shows_anything(&self) -> bool {
        self.policies.values().any(|policy| !policy.confidential)
    }

    /// The same audience with another policy for a document.
    pub fn with_policy(mut self, name: &str, policy: DocumentPolicy) -> Self {
        match policy == DocumentPolicy::default() {
            true => self.policies.remove(name),
            false => self.policies.insert(name.to_owned(), policy),
        };
        self
    }

    /// When the owner ended a document of this name, if it did.
    pub fn end_of(&self, name: &DocumentName) -> Option<DocumentEnd> {
        self.ends.get(&self.salt, name)
    }

    /// Whether one more end would pass the limit.
    pub fn ends_are_full(&self) -> bool {
        self.ends.is_full()
    }

    /// The same audience with a document ended, and without the policy that it had.
    pub fn with_end(mut self, name: &DocumentName, end: DocumentEnd) -> Self {
        self.policies.remove(name.as_str());
        self.ends.put(&self.salt, name, end);
        self
    }

    /// How many documents have a policy other than the default.
    pub fn policies(&self) -> usize {
        self.policies.len()
    }

    /// The audience of these members that follows this one, to be signed as `sequence`: a member that
    /// was a writer already counts as before, a new writer counts from now on.
    pub fn followed_by(
        &self,
        members: impl IntoIterator<Item = (PeerId, TrustLevel)>,
        sequence: Sequence,
    ) -> Self {
        let mut next = Audience::new(self.salt, members);
        next.policies.clone_from(&self.policies);
        next.ends.clone_from(&self.ends);
        for (hash, member) in &mut next.members {
            let before = self.members.get(hash).filter(|before| before.level.may_write());
            if member.level.may_write() {
                member.since = before.map_or(sequence, |before| before.since);
            }
        }
        next
    }

    /// The salt of the hashes; drawn once by the owner.
    pub fn salt(&self) -> [u8; 16] {
        self.salt
    }

    /// Whether the audience lists an identity as a reader or writer.
    pub fn lists(&self, peer: &PeerId) -> bool {
        self.level(peer).is_member()
    }

    /// What an identity may do: `untrusted` where it is not listed.
    pub fn level(&self, peer: &PeerId) -> TrustLevel {
        self.members.get(&member_hash(&self.salt, peer)).map_or(TrustLevel::Untrusted, |member| member.level)
    }

    /// From which audience sequence on an identity's layers count; none where it is not listed as a writer.
    pub fn writes_since(&self, peer: &PeerId) -> Option<Sequence> {
        let member = self.members.get(&member_hash(&self.salt, peer))?;
        member.level.may_write().then_some(member.since)
    }

    /// Whether an identity that `before` listed is no longer listed.
    pub fn lacks_of(&self, before: &Audience) -> bool {
        self.salt != before.salt || before.members.keys().any(|hash| !self.members.contains_key(hash))
    }

    /// How many may write, the owner not counted.
    pub fn writers(&self) -> usize {
        self.members.values().filter(|member| member.level.may_write()).count()
    }

    /// How many are listed.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether no identity is listed.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// As the content of the audience document.
    pub fn to_value(&self) -> Value {
        let members = self
            .members
            .iter()
            .map(|(hash, Member { level, since })| {
                let mut member = vec![Value::Bytes(hash.to_vec()), Value::from(u64::from(level.code()))];
                member.extend((*since > Sequence::NONE).then(|| Value::from(since.get())));
                Value::Array(member)
            })
            .collect();
        let mut fields = vec![("salt", Value::Bytes(self.salt.to_vec())), ("members", Value::Array(members))];
        if !self.policies.is_empty() {
            let pair = |policy: &DocumentPolicy| {
                Value::Array(vec![Value::Bool(policy.confidential), Value::from(policy.radio as u64)])
            };
            let policies = self.policies.iter().map(|(name, policy)| (name.as_str(), pair(policy)));
            fields.push(("classes", Value::map(policies)));
        }
        fields.extend(self.ends.to_value().map(|ends| ("ends", ends)));
        Value::map(fields)
    }

    /// From the content of an audience document. Fields of later versions are left unread.
    ///
    /// # Errors
    ///
    /// An error where the value is no audience, or lists too many members.
    pub fn from_value(value: &Value) -> Result<Self, AudienceError> {
        let salt = value.get("salt").and_then(fixed).ok_or(AudienceError)?;
        let listed = value.get("members").and_then(Value::as_array).ok_or(AudienceError)?;
        if listed.len() > PEERS_MAX {
            return Err(AudienceError);
        }
        let members = listed.iter().map(member).collect::<Option<_>>().ok_or(AudienceError)?;
        let policies = match value.get("classes") {
            Some(Value::Map(policies)) => policies
                .iter()
                .take(CLASSES_MAX)
                .filter_map(|(name, of)| match name {
                    tombolo_delta::Key::Text(name) => Some((name.clone(), read_policy(of))),
                    tombolo_delta::Key::Int(_) => None,
                })
                .collect(),
            _ => BTreeMap::new(),
        };
        let ends = value.get("ends").map(Ends::from_value).unwrap_or_default();
        Ok(Audience { salt, members, policies, ends })
    }
}

/// A policy. What is not understood reads as the strictest: confidential, and never by radio.
fn read_policy(value: &Value) -> DocumentPolicy {
    let items = value.as_array().unwrap_or_default();
    let radio = match items.get(1).and_then(Value::as_u64) {
        Some(1) => RadioUse::Brief,
        Some(2) => RadioUse::Full,
        Some(_) | None => RadioUse::Never,
    };
    DocumentPolicy { confidential: items.first() != Some(&Value::Bool(false)), radio }
}

fn member(value: &Value) -> Option<(MemberHash, Member)> {
    let [hash, level, rest @ ..] = value.as_array()? else { return None };
    let since = match rest {
        [since, ..] => Sequence::new(since.as_u64()?)?,
        [] => Sequence::NONE,
    };
    Some((fixed(hash)?, Member { level: TrustLevel::from_code(level.as_u64()?)?, since }))
}

fn fixed(value: &Value) -> Option<[u8; 16]> {
    value.as_bytes()?.try_into().ok()
}

/// BLAKE3, derive-key context `tombolo 1 audience print`, over salt and identity; 16 bytes.
fn member_hash(salt: &[u8; 16], peer: &PeerId) -> MemberHash {
    let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 audience print");
    hasher.update(salt);
    hasher.update(&peer.0);
    let mut hash = [0; 16];
    hasher.finalize_xof().fill(&mut hash);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_recognised_and_strangers_are_not() {
        let (a, b, c) = (PeerId([1; 32]), PeerId([2; 32]), PeerId([3; 32]));
        let audience = Audience::new(
            [7; 16],
            [(a, TrustLevel::Trusted), (b, TrustLevel::Observer), (c, TrustLevel::Untrusted)],
        );
        let again = Audience::from_value(&audience.to_value()).unwrap();
        assert_eq!(again, audience);
        assert_eq!(again.level(&a), TrustLevel::Trusted);
        assert_eq!(again.level(&b), TrustLevel::Observer);
        assert_eq!(again.level(&c), TrustLevel::Untrusted);
        assert_eq!(again.len(), 2);
    }

    #[test]
    fn who_becomes_a_writer_again_counts_from_then_on() {
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        let at = |n| Sequence::new(n).unwrap();
        let first = Audience::new([7; 16], [(a, TrustLevel::Trusted), (b, TrustLevel::Trusted)]);
        assert_eq!(first.writes_since(&a), Some(Sequence::NONE));
        let without = first.followed_by([(a, TrustLevel::Trusted), (b, TrustLevel::Observer)], at(5));
        assert_eq!((without.writes_since(&a), without.writes_since(&b)), (Some(Sequence::NONE), None));
        let again = without.followed_by([(a, TrustLevel::Trusted), (b, TrustLevel::Trusted)], at(9));
        let later = again.followed_by([(b, TrustLevel::Trusted), (a, TrustLevel::Trusted)], at(12));
        assert_eq!(again, later, "a member that stays listed counts as before");
        let read = Audience::from_value(&later.to_value()).unwrap();
        assert_eq!((read.writes_since(&a), read.writes_since(&b)), (Some(Sequence::NONE), Some(at(9))));
    }

    #[test]
    fn an_audience_of_the_first_version_reads_as_before_and_later_fields_are_left_unread() {
        let salt = [7; 16];
        let peer = PeerId([1; 32]);
        let member = |rest: Vec<Value>| {
            let mut member = vec![Value::Bytes(member_hash(&salt, &peer).to_vec()), Value::from(2u64)];
            member.extend(rest);
            let members = Value::Array(vec![Value::Array(member)]);
            Value::map([("salt", Value::Bytes(salt.to_vec())), ("members", members)])
        };
        let since = |rest| Audience::from_value(&member(rest)).map(|a| a.writes_since(&peer));
        assert_eq!(since(vec![]), Ok(Some(Sequence::NONE)));
        assert_eq!(since(vec![Value::from(9u64), Value::from("later")]), Ok(Sequence::new(9)));
        assert_eq!(since(vec![Value::from("9")]), Err(AudienceError));
    }

    /// Found by a reader of the pages: a class of another form was left unread, so its document went out by radio in full.
    #[test]
    fn a_class_that_is_not_understood_is_the_strictest() {
        let list = |items: Vec<Value>| Value::Array(items);
        let (yes, no) = (Value::Bool(true), Value::Bool(false));
        let read = |class: Value| {
            let value = Value::map([
                ("salt", Value::Bytes(vec![7; 16])),
                ("members", list(vec![])),
                ("classes", Value::map([("plan", class)])),
            ]);
            let policy = Audience::from_value(&value).unwrap().policy("plan");
            (policy.confidential, policy.radio)
        };
        let one = || Value::from(1_u64);
        assert_eq!(read(list(vec![no.clone(), one(), yes.clone()])), (false, RadioUse::Brief));
        assert_eq!(read(list(vec![no.clone(), Value::from(3_u64)])), (false, RadioUse::Never));
        assert_eq!(read(list(vec![no.clone(), Value::from("x")])), (false, RadioUse::Never));
        assert_eq!(read(list(vec![no])), (false, RadioUse::Never));
        assert_eq!(read(list(vec![one(), Value::from(2_u64)])), (true, RadioUse::Full));
        for class in [list(vec![yes.clone()]), list(vec![]), Value::Null, yes] {
            assert_eq!(read(class), (true, RadioUse::Never));
        }
    }

    #[test]
    fn an_end_stays_in_all_later_audiences_and_takes_the_policy_away() {
        let name = |text| DocumentName::new(text).unwrap();
        let at = |n| Sequence::new(n).unwrap();
        let policy = DocumentPolicy { confidential: false, radio: RadioUse::Never };
        let end = DocumentEnd { since: at(4), last: at(57) };
        let audience = Audience::new([7; 16], []).with_policy("plan", policy).with_end(&name("plan"), end);
        let later = audience.followed_by([(PeerId([1; 32]), TrustLevel::Observer)], at(9));
        let read = Audience::from_value(&later.to_value()).unwrap();
        assert_eq!(read, later);
        assert_eq!((read.end_of(&name("plan")), read.end_of(&name("other"))), (Some(end), None));
        assert_eq!(read.policy("plan"), DocumentPolicy::default());
    }

    #[test]
    fn a_value_that_is_none_is_refused() {
        for bad in [
            Value::Null,
            Value::map([("salt", Value::Bytes(vec![0; 15])), ("members", Value::Array(vec![]))]),
            Value::map([("salt", Value::Bytes(vec![0; 16])), ("members", Value::Array(vec![Value::Null]))]),
        ] {
            assert_eq!(Audience::from_value(&bad), Err(AudienceError));
        }
    }
}
