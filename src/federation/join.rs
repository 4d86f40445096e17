//! The messages of a joiner and an inviter, sent once, on a link whose keys TLS has proved.
//!
//! ```text
//! request  ["tombolo-join-1", token, onion, name, level, time, signature]
//! answer   ["tombolo-join-1", true, name]   or   ["tombolo-join-1", false, reason]
//! ```
//! The joiner signs `["tombolo-join-1", inviter, joiner, onion, token hash, level, time]`. The inviter burns
//! the token durably, then answers; the same joiner repeating gets the same answer.

use tombolo_delta::{Limits, Value};
use tombolo_transports::PeerId;

use crate::federation::TrustLevel;
use crate::federation::invite::{Token, TokenHash, token_hash};
use crate::federation::name::usable_name;
use crate::identity::{Keypair, SignatureBytes, verify};
use crate::limits::JOIN_BYTES_MAX;
use crate::time::Wall;

/// First item of the signed array and of both messages.
pub const JOIN_DOMAIN: &str = "tombolo-join-1";

/// A joiner's request to an inviter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The secret of the invite.
    pub token: Token,
    /// The joiner's onion address.
    pub onion: String,
    /// What the joiner calls itself.
    pub name: String,
    /// The level that the invite grants.
    pub level: TrustLevel,
    /// When the joiner signed.
    pub time: Wall,
    /// The signature over `signing_bytes`.
    pub signature: SignatureBytes,
}

/// An inviter's answer to a joiner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinAnswer {
    /// Agreed; the inviter calls itself so.
    Agreed {
        /// The name of the inviter.
        name: String,
    },
    /// The inviter refuses, for this reason.
    Refused(JoinRefusal),
}

/// Why an inviter refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum JoinRefusal {
    /// The token is unknown, or another node used it.
    #[error("this invite was used already or withdrawn: ask for a new one")]
    Token,
    /// The invite has expired.
    #[error("this invite has expired: ask for a new one")]
    Expired,
    /// The signature or a field does not hold.
    #[error("the request was damaged on its way: try again")]
    Signature,
    /// Too many wrong tokens in a minute.
    #[error("the inviter is being tried with wrong codes and has paused: try again in a minute")]
    Busy,
    /// The inviter has as many peers as it can.
    #[error("the inviter can take no more peers")]
    Full,
}

impl JoinRefusal {
    const ALL: [JoinRefusal; 5] = [
        JoinRefusal::Token,
        JoinRefusal::Expired,
        JoinRefusal::Signature,
        JoinRefusal::Busy,
        JoinRefusal::Full,
    ];

    /// The label in messages and counters.
    pub fn label(self) -> &'static str {
        match self {
            JoinRefusal::Token => "token",
            JoinRefusal::Expired => "expired",
            JoinRefusal::Signature => "signature",
            JoinRefusal::Busy => "busy",
            JoinRefusal::Full => "full",
        }
    }

    /// The refusal with a label from outside.
    pub fn from_label(label: &str) -> Option<Self> {
        JoinRefusal::ALL.into_iter().find(|why| why.label() == label)
    }

    /// Whether trying again later may help.
    pub fn is_passing(self) -> bool {
        matches!(self, JoinRefusal::Busy)
    }
}

/// Bytes that are no join message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a join message")]
pub struct JoinMessageError;

impl JoinRequest {
    /// Signs a request to `inviter`; `onion` is the joiner's own onion address.
    pub fn sign(
        keypair: &Keypair,
        onion: &str,
        inviter: &PeerId,
        token: Token,
        name: &str,
        level: TrustLevel,
        time: Wall,
    ) -> Self {
        let bytes = signing_bytes(inviter, &keypair.peer_id(), onion, &token_hash(&token), level, time);
        JoinRequest {
            token,
            onion: onion.to_owned(),
            name: name.to_owned(),
            level,
            time,
            signature: keypair.sign(&bytes),
        }
    }

    /// Whether `joiner` signed this request for `inviter`.
    pub fn verify(&self, inviter: &PeerId, joiner: &PeerId) -> bool {
        self.verify_hash(inviter, joiner, &token_hash(&self.token))
    }

    /// The same where the token itself did not travel.
    pub fn verify_hash(&self, inviter: &PeerId, joiner: &PeerId, token: &TokenHash) -> bool {
        let bytes = signing_bytes(inviter, joiner, &self.onion, token, self.level, self.time);
        verify(joiner, &bytes, &self.signature)
    }

    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        tombolo_delta::to_cbor(&Value::Array(vec![
            Value::from(JOIN_DOMAIN),
            Value::Bytes(self.token.to_vec()),
            Value::from(self.onion.as_str()),
            Value::from(self.name.as_str()),
            Value::from(u64::from(self.level.code())),
            Value::from(self.time.ms()),
            Value::Bytes(self.signature.to_vec()),
        ]))
    }

    /// Reads a stranger's bytes.
    ///
    /// # Errors
    ///
    /// An error where the bytes are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, JoinMessageError> {
        let items = read(bytes)?;
        let [_, token, onion, name, level, time, signature] = items.as_slice() else {
            return Err(JoinMessageError);
        };
        let fields = || {
            Some(JoinRequest {
                token: token.as_bytes()?.try_into().ok()?,
                onion: onion.as_text().filter(|o| o.len() <= 62)?.to_owned(),
                name: usable_name(name.as_text()?).unwrap_or_default(),
                level: TrustLevel::from_code(level.as_u64()?)?,
                time: Wall::from_ms(time.as_u64()?),
                signature: signature.as_bytes()?.try_into().ok()?,
            })
        };
        fields().ok_or(JoinMessageError)
    }
}

impl JoinAnswer {
    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        let (agreed, text) = match self {
            JoinAnswer::Agreed { name } => (true, name.as_str()),
            JoinAnswer::Refused(why) => (false, why.label()),
        };
        tombolo_delta::to_cbor(&Value::Array(vec![
            Value::from(JOIN_DOMAIN),
            Value::Bool(agreed),
            Value::from(text),
        ]))
    }

    /// Reads an inviter's bytes.
    ///
    /// # Errors
    ///
    /// An error where the bytes are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, JoinMessageError> {
        let items = read(bytes)?;
        match items.as_slice() {
            [_, Value::Bool(true), name] => {
                let name = name.as_text().ok_or(JoinMessageError)?;
                Ok(JoinAnswer::Agreed { name: usable_name(name).unwrap_or_default() })
            }
            [_, Value::Bool(false), word] => {
                let word = word.as_text().ok_or(JoinMessageError)?;
                Ok(JoinAnswer::Refused(JoinRefusal::from_label(word).ok_or(JoinMessageError)?))
            }
            _ => Err(JoinMessageError),
        }
    }
}

fn signing_bytes(
    inviter: &PeerId,
    joiner: &PeerId,
    onion: &str,
    token_hash: &TokenHash,
    level: TrustLevel,
    time: Wall,
) -> Vec<u8> {
    tombolo_delta::to_cbor(&Value::Array(vec![
        Value::from(JOIN_DOMAIN),
        Value::Bytes(inviter.0.to_vec()),
        Value::Bytes(joiner.0.to_vec()),
        Value::from(onion),
        Value::Bytes(token_hash.to_vec()),
        Value::from(u64::from(level.code())),
        Value::from(time.ms()),
    ]))
}

fn read(bytes: &[u8]) -> Result<Vec<Value>, JoinMessageError> {
    let limits = Limits { bytes_max: JOIN_BYTES_MAX, depth_max: 2, items_max: 16 };
    match tombolo_delta::from_cbor(bytes, &limits) {
        Ok(Value::Array(items)) if items.first().and_then(Value::as_text) == Some(JOIN_DOMAIN) => Ok(items),
        _ => Err(JoinMessageError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_for_its_inviter_and_joiner_only() {
        let (a, b) = (Keypair::from_seeds(&[1; 32], &[2; 32]), Keypair::from_seeds(&[3; 32], &[4; 32]));
        let request = JoinRequest::sign(
            &b,
            &b.onion(),
            &a.peer_id(),
            [9; 16],
            "bo",
            TrustLevel::Trusted,
            Wall::from_ms(5),
        );
        let read = JoinRequest::decode(&request.encode()).unwrap();
        assert_eq!(read, request);
        assert!(read.verify(&a.peer_id(), &b.peer_id()));
        assert!(!read.verify(&b.peer_id(), &b.peer_id()));
        assert!(!read.verify(&a.peer_id(), &a.peer_id()));
        let raised = JoinRequest { level: TrustLevel::Observer, ..read };
        assert!(!raised.verify(&a.peer_id(), &b.peer_id()));
    }

    #[test]
    fn answers_read_back_and_garbage_does_not() {
        for answer in [
            JoinAnswer::Agreed { name: "an".into() },
            JoinAnswer::Refused(JoinRefusal::Token),
            JoinAnswer::Refused(JoinRefusal::Full),
        ] {
            assert_eq!(JoinAnswer::decode(&answer.encode()), Ok(answer));
        }
        assert_eq!(JoinAnswer::decode(b"\x80"), Err(JoinMessageError));
        assert_eq!(JoinRequest::decode(&[0xff; 100]), Err(JoinMessageError));
    }
}
