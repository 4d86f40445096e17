//! The headers that prove a caller, read and checked, and written.
//!
//! | header | content |
//! |---|---|
//! | `X-Federation-DID` | the sender's `did:key` |
//! | `X-Federation-Timestamp` | RFC 3339, with or without fractions |
//! | `X-Federation-Sig` | ed25519 over the text of the timestamp |
//! | `X-Federation-Sig2` | ed25519 over the deterministic CBOR array `["tombolo-rpc-1", receiver DID, timestamp, method, BLAKE3(body)]`, texts but for the 32 bytes of the hash |
//!
//! Signatures are read in hex or base64 and written in hex. `Sig` alone proves that the sender signed a time: a node that
//! receives it can show it to another one within the window. `Sig2` binds receiver, method and body as well.

use crate::time::Wall;
use std::str::from_utf8;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use tombolo_delta::Value;
use tombolo_transports::PeerId;

use crate::commands::CommandId;
use crate::identity::{Keypair, SignatureBytes, did, parse_did, verify};
use crate::rpc::{CallRefusal, Method};

/// The header with the identity of the sender.
pub const HEADER_DID: &str = "X-Federation-DID";
/// When the sender signed.
pub const HEADER_TIMESTAMP: &str = "X-Federation-Timestamp";
/// The signature over the timestamp.
pub const HEADER_SIG: &str = "X-Federation-Sig";
/// The signature over the whole call.
pub const HEADER_SIG2: &str = "X-Federation-Sig2";
/// What the names of all these headers begin with, in lower case.
pub const HEADER_PREFIX: &str = "x-federation-";

/// First item of the array that `Sig2` signs.
const SECOND_DOMAIN: &str = "tombolo-rpc-1";
/// Bytes of a timestamp's text. The longest with nine digits of fractions and an offset has 35.
const TIMESTAMP_BYTES_MAX: usize = 64;

/// The instant that a sender signed, nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallTime(pub i64);

impl CallTime {
    /// Reads a time of RFC 3339; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > TIMESTAMP_BYTES_MAX {
            return None;
        }
        let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
        time.timestamp_nanos_opt().map(CallTime)
    }

    /// The millisecond in which it lies; that of the Unix epoch for an earlier one.
    pub fn wall(self) -> Wall {
        Wall::from_ms(u64::try_from(self.0 / 1_000_000).unwrap_or(0))
    }
}

/// An instant past the last one that 64 bits of nanoseconds hold becomes that one.
impl From<Wall> for CallTime {
    fn from(time: Wall) -> Self {
        CallTime(i64::try_from(time.ms()).unwrap_or(i64::MAX).saturating_mul(1_000_000))
    }
}

/// A sender that has proved its identity at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The identity that signed.
    pub sender: PeerId,
    /// When the sender signed the call.
    pub time: CallTime,
    timestamp: String,
    second: Option<SignatureBytes>,
}

impl Proof {
    /// The id under which what this call asks for is done at most once: a sender's timestamp counts once.
    pub fn command_id(&self) -> CommandId {
        command_id_at(&self.timestamp)
    }

    /// Reads the headers, and checks the signature over the timestamp. It looks at no body, and not at the time.
    ///
    /// # Errors
    ///
    /// [`CallRefusal`] if a header is missing, stands there twice or does not read, or if the signature is not the sender's.
    pub fn read(headers: &[(String, Vec<u8>)]) -> Result<Self, CallRefusal> {
        let required = |name| header(headers, name)?.ok_or(CallRefusal::MissingHeader(name));
        let sender = parse_did(text(required(HEADER_DID)?)).map_err(CallRefusal::BadDid)?;
        let timestamp = text(required(HEADER_TIMESTAMP)?);
        let time = CallTime::parse(timestamp).ok_or(CallRefusal::BadTimestamp)?;
        let first = signature(required(HEADER_SIG)?, HEADER_SIG)?;
        let second = header(headers, HEADER_SIG2)?.map(|bytes| signature(bytes, HEADER_SIG2)).transpose()?;
        if !verify(&sender, timestamp.as_bytes(), &first) {
            return Err(CallRefusal::WrongSignature);
        }
        Ok(Proof { sender, time, timestamp: timestamp.to_owned(), second })
    }

    /// Checks the signature over the whole call. Returns whether there is one.
    ///
    /// # Errors
    ///
    /// [`CallRefusal::WrongSecond`] if there is one that does not hold.
    pub fn check_second(&self, receiver: &PeerId, method: Method, body: &[u8]) -> Result<bool, CallRefusal> {
        let Some(second) = &self.second else { return Ok(false) };
        match verify(&self.sender, &second_bytes(receiver, &self.timestamp, method, body), second) {
            true => Ok(true),
            false => Err(CallRefusal::WrongSecond),
        }
    }
}

/// The id of what a call with this text as its timestamp asks for: caller and receiver derive the same one.
pub fn command_id_at(timestamp: &str) -> CommandId {
    let hash = blake3::derive_key("tombolo 2026 install call 1", timestamp.as_bytes());
    CommandId(*hash.first_chunk().expect("a hash of 32 bytes has 16"))
}

/// The headers of a call, signed at a time.
pub fn signed_headers(
    keypair: &Keypair,
    receiver: &PeerId,
    time: Wall,
    method: Method,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let timestamp = crate::clock::rfc3339(time);
    let first = keypair.sign(timestamp.as_bytes());
    let second = keypair.sign(&second_bytes(receiver, &timestamp, method, body));
    vec![
        (HEADER_DID, did(&keypair.peer_id())),
        (HEADER_TIMESTAMP, timestamp),
        (HEADER_SIG, HEXLOWER.encode(&first)),
        (HEADER_SIG2, HEXLOWER.encode(&second)),
    ]
}

/// A signature's 64 bytes from hex or base64, of either alphabet, with or without padding.
pub fn parse_signature(text: &str) -> Option<SignatureBytes> {
    let text = text.as_bytes();
    let bytes = match text.len() {
        128 => HEXLOWER_PERMISSIVE.decode(text).ok(),
        88 => BASE64.decode(text).or_else(|_| BASE64URL.decode(text)).ok(),
        86 => BASE64_NOPAD.decode(text).or_else(|_| BASE64URL_NOPAD.decode(text)).ok(),
        _ => None,
    };
    bytes?.try_into().ok()
}

/// The bytes that `Sig2` signs.
fn second_bytes(receiver: &PeerId, timestamp: &str, method: Method, body: &[u8]) -> Vec<u8> {
    tombolo_delta::to_cbor(&Value::Array(vec![
        Value::from(SECOND_DOMAIN),
        Value::from(did(receiver).as_str()),
        Value::from(timestamp),
        Value::from(method.name()),
        Value::Bytes(blake3::hash(body).as_bytes().to_vec()),
    ]))
}

/// The one value of a header; none where it is missing.
fn header<'a>(headers: &'a [(String, Vec<u8>)], name: &'static str) -> Result<Option<&'a [u8]>, CallRefusal> {
    let mut values = headers.iter().filter(|(called, _)| called.eq_ignore_ascii_case(name));
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(CallRefusal::RepeatedHeader(name)),
        (found, _) => Ok(found.map(|(_, value)| value.as_slice())),
    }
}

/// A header's value as text. Other bytes than UTF-8 read as an empty text, which no header takes.
fn text(bytes: &[u8]) -> &str {
    from_utf8(bytes).map(str::trim).unwrap_or_default()
}

fn signature(bytes: &[u8], name: &'static str) -> Result<SignatureBytes, CallRefusal> {
    parse_signature(text(bytes)).ok_or(CallRefusal::BadSignatureText(name))
}
