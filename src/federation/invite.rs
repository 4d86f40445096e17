//! Invite codes: who invites, where to find it, and a token that works once.
//!
//! The long form is `fed1:` and base64url without padding of JSON `{did, onion, pubkey, token, level,
//! expires, addrs}`; a code of another program that has only the first four fields is read as well. The
//! compact form, for QR codes, is `FED1C:` and base32 without padding of the same content in bytes:
//!
//! ```text
//! version 1 | pubkey 32 | onion key 32 | token 16 | level 1 | expires u32, seconds / 60 | addresses …
//! address: 4, IPv4 4, port 2   or   6, IPv6 16, port 2
//! ```
//!
//! The compact form has no room for addresses of another kind; the onion key is in it already.

use crate::time::Wall;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use tombolo_transports::address::OnionError;
use tombolo_transports::{Address, JoinSecret, PeerId};

use crate::clock::rfc3339;
use crate::federation::TrustLevel;
use crate::federation::peer::wall_ms;
use crate::identity::{did, onion_address, parse_did, parse_onion, parse_onion_text, usable_key};
use crate::limits::{INVITE_ADDRESSES_MAX, INVITE_TEXT_MAX};

/// The secret of an invite.
pub type Token = [u8; 16];
/// What the inviter keeps of it.
pub type TokenHash = [u8; 32];

const LONG_PREFIX: &str = "fed1:";
const COMPACT_PREFIX: &str = "FED1C:";
const COMPACT_VERSION: u8 = 1;
/// What a QR code of version 6, level L, holds in base32 behind the prefix: 45 rows of half blocks with the
/// quiet zone, which fit 24 lines.
const COMPACT_BYTES_MAX: usize = 118;

/// BLAKE3 of a token, derive-key context `tombolo 1 invite token`.
pub fn token_hash(token: &Token) -> TokenHash {
    *blake3::Hasher::new_derive_key("tombolo 1 invite token").update(token).finalize().as_bytes()
}

/// What inviter and joiner share before they know each other, for carriers that hide the inviter: BLAKE3 of the token's hash,
/// derive-key context `tombolo 2026 join secret 1`.
pub fn join_secret(hash: &TokenHash) -> JoinSecret {
    JoinSecret(blake3::derive_key("tombolo 2026 join secret 1", hash))
}

/// The content of an invite code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The node that invites.
    pub inviter: PeerId,
    /// The onion address of the inviter.
    pub onion: String,
    /// The secret; works once.
    pub token: Token,
    /// At which level the joiner will be added; absent in codes of other programs.
    pub level: Option<TrustLevel>,
    /// When it ends; absent in codes of other programs.
    pub expires: Option<Wall>,
    /// Where the inviter may be dialled.
    pub addresses: Vec<Address>,
}

/// Why a text is no invite code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The code has neither prefix.
    #[error("it starts with `fed1:` (or `FED1C:` from a QR code)")]
    Prefix,
    /// The code is too long.
    #[error("it is longer than any code")]
    TooLong,
    /// Letters that the encoding does not have.
    #[error("it was cut short or mistyped: copy it whole")]
    Encoding,
    /// The JSON inside is none, or lacks a field.
    #[error("its content is not that of an invite")]
    Content,
    /// The onion address is none.
    #[error("{0}")]
    Onion(OnionError),
    /// `did` and `pubkey` name two identities, or the key is unusable.
    #[error("its identity is inconsistent: it was changed on the way")]
    Identity,
}

#[derive(Serialize, Deserialize)]
struct Json {
    did: String,
    onion: String,
    pubkey: String,
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<TrustLevel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    addrs: Vec<Address>,
}

impl Invite {
    /// Whether the code has no more than the four fields that other programs know.
    pub fn is_plain(&self) -> bool {
        self.level.is_none() && self.expires.is_none() && self.addresses.is_empty()
    }

    /// The code on one line.
    pub fn to_code(&self) -> String {
        let json = Json {
            did: did(&self.inviter),
            onion: self.onion.clone(),
            pubkey: HEXLOWER.encode(&self.inviter.0),
            token: HEXLOWER.encode(&self.token),
            level: self.level,
            expires: self.expires.map(rfc3339),
            addrs: self.addresses.clone(),
        };
        let text = serde_json::to_vec(&json).expect("texts and numbers have a JSON form");
        format!("{LONG_PREFIX}{}", BASE64URL_NOPAD.encode(&text))
    }

    /// The code in the letters that a QR code holds best. Addresses that would make the QR code larger than
    /// a terminal are left out.
    pub fn to_compact(&self) -> String {
        let mut bytes = vec![COMPACT_VERSION];
        bytes.extend(self.inviter.0);
        bytes.extend(parse_onion(&self.onion).unwrap_or_default());
        bytes.extend(self.token);
        bytes.push(self.level.map_or(u8::MAX, TrustLevel::code));
        // Whole minutes, the next one: the joiner is only shown it.
        let minutes = self.expires.map(|at| at.ms().div_ceil(60_000));
        let minutes = minutes.map_or(u32::MAX, |minutes| u32::try_from(minutes).unwrap_or(u32::MAX));
        bytes.extend(minutes.to_be_bytes());
        for address in self.addresses.iter().filter_map(Address::as_socket) {
            let more = if address.is_ipv4() { 7 } else { 19 };
            if bytes.len() + more > COMPACT_BYTES_MAX {
                break;
            }
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend(ip.octets());
                }
            }
            bytes.extend(address.port().to_be_bytes());
        }
        format!("{COMPACT_PREFIX}{}", BASE32_NOPAD.encode(&bytes))
    }

    /// Reads a code of either form. Spaces and line breaks around and within it are forgiven.
    ///
    /// # Errors
    ///
    /// What is wrong with the code.
    pub fn parse(text: &str) -> Result<Self, InviteError> {
        if text.len() > INVITE_TEXT_MAX {
            return Err(InviteError::TooLong);
        }
        let pasted = Pasted::find(text).ok_or(InviteError::Prefix)?;
        // The longest first: words that stand behind a code may look like a part of it, and an address may be cut off.
        let mut readings = pasted.bodies().map(|body| match pasted.form {
            CodeForm::Long => Self::parse_long(&body),
            CodeForm::Compact => {
                let bytes = BASE32_NOPAD.decode(body.to_ascii_uppercase().as_bytes());
                Self::parse_compact(&bytes.map_err(|_| InviteError::Encoding)?)
            }
        });
        let whole = readings.next().unwrap_or(Err(InviteError::Encoding));
        whole.or_else(|error| readings.find_map(Result::ok).ok_or(error))
    }

    fn parse_long(body: &str) -> Result<Self, InviteError> {
        let bytes = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| InviteError::Encoding)?;
        let json: Json = serde_json::from_slice(&bytes).map_err(|error| match error.is_data() {
            true => InviteError::Content,
            false => InviteError::Encoding,
        })?;
        let inviter = parse_did(&json.did).map_err(|_| InviteError::Identity)?;
        let pubkey = HEXLOWER_PERMISSIVE.decode(json.pubkey.as_bytes()).map_err(|_| InviteError::Content)?;
        if pubkey != inviter.0 {
            return Err(InviteError::Identity);
        }
        let token = HEXLOWER_PERMISSIVE.decode(json.token.as_bytes()).map_err(|_| InviteError::Content)?;
        let expires = json.expires.as_deref().map(chrono::DateTime::parse_from_rfc3339).transpose();
        let expires = expires.map_err(|_| InviteError::Content)?;
        let mut addresses = json.addrs;
        addresses.truncate(INVITE_ADDRESSES_MAX);
        Ok(Invite {
            inviter,
            // Other programs write it without `.onion` too.
            onion: parse_onion_text(&json.onion).map_err(InviteError::Onion)?.to_string(),
            token: token.try_into().map_err(|_| InviteError::Content)?,
            level: json.level,
            expires: expires.map(|t| Wall::from_ms(u64::try_from(t.timestamp_millis()).unwrap_or(0))),
            addresses,
        })
    }

    fn parse_compact(bytes: &[u8]) -> Result<Self, InviteError> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != COMPACT_VERSION {
            return Err(InviteError::Content);
        }
        let inviter: [u8; 32] = take(&mut rest)?;
        if !usable_key(&inviter) {
            return Err(InviteError::Identity);
        }
        let onion = onion_address(&take(&mut rest)?);
        let token = take(&mut rest)?;
        let [level] = take(&mut rest)?;
        let minutes = u32::from_be_bytes(take(&mut rest)?);
        let mut addresses = Vec::new();
        while !rest.is_empty() && addresses.len() < INVITE_ADDRESSES_MAX {
            let ip = match take(&mut rest)? {
                [4] => IpAddr::from(Ipv4Addr::from(take::<4>(&mut rest)?)),
                [6] => IpAddr::from(Ipv6Addr::from(take::<16>(&mut rest)?)),
                _ => return Err(InviteError::Content),
            };
            addresses.push(SocketAddr::new(ip, u16::from_be_bytes(take(&mut rest)?)).into());
        }
        Ok(Invite {
            inviter: PeerId(inviter),
            onion,
            token,
            level: TrustLevel::from_code(u64::from(level)),
            expires: (minutes != u32::MAX).then_some(Wall::from_ms(u64::from(minutes) * 60_000)),
            addresses,
        })
    }
}

/// The two forms of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CodeForm {
    Long,
    Compact,
}

/// A code as it was pasted: somewhere in a text, and broken by what mail programs, chats and shells put into it.
struct Pasted {
    form: CodeForm,
    /// What stands behind the prefix, up to the first character that no code has, cut at white space.
    words: Vec<String>,
}

impl Pasted {
    fn find(text: &str) -> Option<Self> {
        let text: String = text.chars().filter(|c| !is_put_into_a_code(*c)).collect();
        let lower = text.to_ascii_lowercase();
        let at = |prefix: &str| lower.find(&prefix.to_ascii_lowercase()).map(|at| at + prefix.len());
        let (form, behind) = match (at(LONG_PREFIX), at(COMPACT_PREFIX)) {
            (Some(long), compact) if compact.is_none_or(|compact| long < compact) => (CodeForm::Long, long),
            (_, Some(compact)) => (CodeForm::Compact, compact),
            (_, None) => return None,
        };
        let (_, behind) = text.split_at_checked(behind)?;
        let of_a_code = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || is_gap(c);
        let code = behind.split(|c| !of_a_code(c)).next().unwrap_or_default();
        let words = code.split(is_gap).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Some(Pasted { form, words })
    }

    /// All words as one, then without the last, and so on. No code ends in `_`, which marks text as slanted in chats.
    fn bodies(&self) -> impl Iterator<Item = String> {
        let parts = (1..=self.words.len()).rev().filter_map(|count| self.words.get(..count));
        parts.map(|words| words.concat().trim_end_matches('_').to_owned())
    }
}

fn is_gap(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// Marks of quoted lines and of slanted text, quotation marks, the `=` of padding and of folded mail, and letters that are not
/// seen.
fn is_put_into_a_code(c: char) -> bool {
    const MARKS: &str =
        "\"'`<>|*=\u{ab}\u{bb}\u{2018}\u{2019}\u{201a}\u{201c}\u{201d}\u{201e}\u{2039}\u{203a}";
    const UNSEEN: &str = "\u{ad}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2060}\u{feff}";
    MARKS.contains(c) || UNSEEN.contains(c)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], InviteError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(InviteError::Encoding)?;
    *rest = tail;
    Ok(*head)
}

/// An invite that this node gave out. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingInvite {
    /// Hash of the token.
    pub token_hash: TokenHash,
    /// At which level its joiner is added.
    pub level: TrustLevel,
    /// When it was made.
    #[serde(rename = "created_at_ms", with = "wall_ms")]
    pub created_at: Wall,
    /// When the invite expires, by the inviter's clock.
    #[serde(rename = "expires_ms", with = "wall_ms")]
    pub expires: Wall,
    /// Who used it, and when, milliseconds since the Unix epoch. Set durably before the answer leaves.
    pub accepted: Option<([u8; 32], u64)>,
}

impl OutgoingInvite {
    /// The short name of an invite: the first 8 bytes of its token's hash, from which the token does not follow.
    pub fn id(&self) -> String {
        let (start, _) = self.token_hash.split_at(8);
        data_encoding::HEXLOWER.encode(start)
    }

    /// Whether a node may still join with it.
    pub fn is_open(&self, reference: Wall) -> bool {
        self.accepted.is_none() && self.expires > reference
    }
}

/// An invite that this node redeemed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncomingInvite {
    /// The node that invited.
    pub inviter: [u8; 32],
    /// When it was redeemed.
    #[serde(rename = "created_at_ms", with = "wall_ms")]
    pub created_at: Wall,
    /// When the inviter agreed.
    #[serde(with = "wall_ms::option", default)]
    pub accepted: Option<Wall>,
    /// The code had only what the JSON calls need, so its maker may know nothing else.
    #[serde(default)]
    pub plain: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Keypair;
    use proptest::prelude::*;

    fn invite(addresses: Vec<Address>) -> Invite {
        let me = Keypair::from_seeds(&[1; 32], &[2; 32]);
        Invite {
            inviter: me.peer_id(),
            onion: me.onion(),
            token: [5; 16],
            level: Some(TrustLevel::Observer),
            expires: Some(Wall::from_ms(1_793_491_200_000)),
            addresses,
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let invite = invite(vec!["10.77.0.1:8662".parse().unwrap(), "[fd77::1]:8662".parse().unwrap()]);
        assert_eq!(Invite::parse(&invite.to_code()), Ok(invite.clone()));
        assert_eq!(Invite::parse(&invite.to_compact()), Ok(invite.clone()));
        assert_eq!(Invite::parse(&invite.to_compact().to_lowercase()), Ok(invite.clone()));
        let folded = invite.to_code().replace('J', "J\n ");
        assert_eq!(Invite::parse(&folded), Ok(invite));
    }

    /// As mail programs, chats and shells hand it over.
    #[test]
    fn a_code_is_read_from_what_stands_around_it() {
        let invite = invite(vec!["10.77.0.1:8662".parse().unwrap()]);
        let (long, compact) = (invite.to_code(), invite.to_compact());
        let upper = long.replacen("fed1:", "FED1:", 1);
        let (head, tail) = long.split_at(40);
        let pasted = [
            format!("\"{long}\""),
            format!("'{compact}'"),
            format!("<{long}>"),
            format!("\u{201c}{long}\u{201d}."),
            format!("> {head}\n> {tail}\n"),
            format!("{head}\u{200b}{tail}"),
            format!("\u{feff}{head}\u{ad}{tail}"),
            format!("{long}=="),
            format!("`{upper}`"),
            compact.to_lowercase(),
            format!("({long})"),
            format!("[{compact}]."),
            format!("_{long}_"),
            format!("&lt;{long}&gt;"),
            format!("{head}=\n{tail}"),
            format!("tombolo join {long}"),
            format!("Here it is: {head}\n{tail}\nworks until tonight. Ada"),
            format!("Code: {compact} see you"),
            format!("https://example.org/{upper}"),
        ];
        for text in pasted {
            assert_eq!(Invite::parse(&text).as_ref(), Ok(&invite), "{text:?}");
        }
        assert_eq!(Invite::parse("\u{ad}"), Err(InviteError::Prefix));
        for cut in ["fed1:?", "fed1:", head, "FED1C:A"] {
            assert_eq!(Invite::parse(cut), Err(InviteError::Encoding), "{cut:?}");
        }
    }

    #[test]
    fn a_code_with_only_the_four_first_fields_is_read() {
        let bare = Invite { level: None, expires: None, addresses: vec![], ..invite(vec![]) };
        let code = bare.to_code();
        let json = BASE64URL_NOPAD.decode(code.strip_prefix("fed1:").unwrap().as_bytes()).unwrap();
        let keys: std::collections::BTreeMap<String, String> = serde_json::from_slice(&json).unwrap();
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["did", "onion", "pubkey", "token"]);
        assert_eq!(Invite::parse(&code), Ok(bare));
    }

    #[test]
    fn a_code_whose_key_and_did_differ_is_refused() {
        let json = serde_json::json!({
            "did": did(&invite(vec![]).inviter), "onion": "x.onion", "pubkey": "00".repeat(32), "token": "00".repeat(16)
        });
        let code = format!("fed1:{}", BASE64URL_NOPAD.encode(json.to_string().as_bytes()));
        assert_eq!(Invite::parse(&code), Err(InviteError::Identity));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = Invite::parse(&text);
            let _ = Invite::parse(&format!("fed1:{text}"));
            let _ = Invite::parse(&format!("FED1C:{text}"));
        }

        #[test]
        fn a_cut_or_changed_code_is_never_read_as_another_inviter(at in 0usize..300, to in any::<u8>()) {
            let original = invite(vec![]);
            let mut code = original.to_code().into_bytes();
            let at = at % code.len();
            code[at] = to;
            if let Ok(read) = Invite::parse(&String::from_utf8_lossy(&code)) {
                prop_assert_eq!(read.inviter, original.inviter);
            }
        }
    }
}
