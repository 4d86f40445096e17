//! The audience: an owner's signed list of who reads and who writes its documents. It is a snapshot
//! document of its own, `audience`.
//!
//! ```text
//! {"salt": 16 bytes, "members": [[print, level], …]}
//! ```
//! A print is 16 bytes of a hash over salt and identity: whoever reads the list recognises the identities he
//! knows, and no others. Members stand in the order of their prints.

use std::collections::BTreeMap;

use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::federation::TrustLevel;
use crate::limits::PEERS_MAX;

/// How an identity is named in an audience.
pub type Print = [u8; 16];

/// Who reads (`observer`) and who also writes (`trusted`) an owner's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    salt: [u8; 16],
    members: BTreeMap<Print, TrustLevel>,
}

/// Why a value is no audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audience is {{salt, members}} with members as [print, level]")]
pub struct AudienceError;

impl Audience {
    /// An audience of these members; those at `untrusted` are left out.
    pub fn new(salt: [u8; 16], members: impl IntoIterator<Item = (PeerId, TrustLevel)>) -> Self {
        let members = members
            .into_iter()
            .filter(|(_, level)| *level > TrustLevel::Untrusted)
            .map(|(peer, level)| (print(&salt, &peer), level))
            .collect();
        Audience { salt, members }
    }

    /// The salt of the prints; drawn once by the owner.
    pub fn salt(&self) -> [u8; 16] {
        self.salt
    }

    /// What an identity may do: `untrusted` where it is not listed.
    pub fn level(&self, peer: &PeerId) -> TrustLevel {
        self.members.get(&print(&self.salt, peer)).copied().unwrap_or(TrustLevel::Untrusted)
    }

    /// Whether somebody whom `before` listed is no longer listed.
    pub fn lacks_of(&self, before: &Audience) -> bool {
        self.salt != before.salt || before.members.keys().any(|print| !self.members.contains_key(print))
    }

    /// How many may write, the owner not counted.
    pub fn writers(&self) -> usize {
        self.members.values().filter(|level| **level == TrustLevel::Trusted).count()
    }

    /// How many are listed.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is listed.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// As the content of the audience document.
    pub fn to_value(&self) -> Value {
        let members = self
            .members
            .iter()
            .map(|(print, level)| {
                Value::Array(vec![Value::Bytes(print.to_vec()), Value::from(u64::from(level.code()))])
            })
            .collect();
        Value::map([("salt", Value::Bytes(self.salt.to_vec())), ("members", Value::Array(members))])
    }

    /// From the content of an audience document. Fields of later versions are left unread.
    pub fn from_value(value: &Value) -> Result<Self, AudienceError> {
        let salt = value.get("salt").and_then(fixed).ok_or(AudienceError)?;
        let listed = value.get("members").and_then(Value::as_array).ok_or(AudienceError)?;
        if listed.len() > PEERS_MAX {
            return Err(AudienceError);
        }
        let members = listed.iter().map(member).collect::<Option<_>>().ok_or(AudienceError)?;
        Ok(Audience { salt, members })
    }
}

fn member(value: &Value) -> Option<(Print, TrustLevel)> {
    match value.as_array()? {
        [print, level, ..] => Some((fixed(print)?, TrustLevel::from_code(level.as_u64()?)?)),
        _ => None,
    }
}

fn fixed(value: &Value) -> Option<[u8; 16]> {
    value.as_bytes()?.try_into().ok()
}

/// BLAKE3, derive-key context `tombolo 1 audience print`, over salt and identity; 16 bytes.
fn print(salt: &[u8; 16], peer: &PeerId) -> Print {
    let mut hasher = blake3::Hasher::new_derive_key("tombolo 1 audience print");
    hasher.update(salt);
    hasher.update(&peer.0);
    let mut print = [0; 16];
    hasher.finalize_xof().fill(&mut print);
    print
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
