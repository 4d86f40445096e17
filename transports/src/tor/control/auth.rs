//! How a controller proves itself to tor (Tor control-spec, sections 3.5, 3.21 and 3.24): what tor offers, and the two
//! hashes of SAFECOOKIE, by which both ends prove that they can read the cookie file without sending it.

use super::reply::ControlReply;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Bytes of the cookie file.
pub const COOKIE_BYTES: usize = 32;
/// Bytes of each nonce.
pub const NONCE_BYTES: usize = 32;

const SERVER_KEY: &[u8] = b"Tor safe cookie authentication server-to-controller hash";
const CLIENT_KEY: &[u8] = b"Tor safe cookie authentication controller-to-server hash";

/// What a control port offers, as `PROTOCOLINFO` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolInfo {
    /// No proof is asked for.
    pub null: bool,
    /// The content of the cookie file is asked for.
    pub cookie: bool,
    /// A hash over the cookie and two nonces is asked for.
    pub safe_cookie: bool,
    /// A password is asked for.
    pub password: bool,
    /// Where the cookie file is.
    pub cookie_file: Option<PathBuf>,
    /// The version of tor.
    pub version: String,
}

impl ProtocolInfo {
    /// Reads the reply to `PROTOCOLINFO 1`; unknown lines and methods are ignored, as the specification asks.
    pub fn from_reply(reply: &ControlReply) -> Self {
        let mut info = Self::default();
        for line in &reply.lines {
            if let Some(auth) = line.strip_prefix("AUTH METHODS=") {
                let (methods, rest) = auth.split_once(' ').unwrap_or((auth, ""));
                for method in methods.split(',') {
                    match method {
                        "NULL" => info.null = true,
                        "COOKIE" => info.cookie = true,
                        "SAFECOOKIE" => info.safe_cookie = true,
                        "HASHEDPASSWORD" => info.password = true,
                        _ => {}
                    }
                }
                info.cookie_file = rest.strip_prefix("COOKIEFILE=").and_then(unquoted).map(PathBuf::from);
            } else if let Some(version) = line.strip_prefix("VERSION Tor=") {
                info.version = unquoted(version).unwrap_or_default();
            }
        }
        info
    }
}

/// The text of a quoted string at the beginning, with its escapes undone; `None` without a closing quote.
pub(super) fn unquoted(text: &str) -> Option<String> {
    let mut chars = text.strip_prefix('"')?.chars();
    let mut plain = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(plain),
            '\\' => plain.push(chars.next()?),
            other => plain.push(other),
        }
    }
}

/// A text in quotes, as a command takes it.
pub(super) fn quoted(text: &str) -> Zeroizing<String> {
    let mut quoted = Zeroizing::new(String::with_capacity(2 * text.len() + 2));
    quoted.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

/// The hash by which tor proves that it has the cookie.
pub fn server_hash(
    cookie: &[u8; COOKIE_BYTES],
    client: &[u8; NONCE_BYTES],
    server: &[u8; NONCE_BYTES],
) -> [u8; 32] {
    hash(SERVER_KEY, cookie, client, server)
}

/// The hash by which a controller proves that it has the cookie.
pub fn client_hash(
    cookie: &[u8; COOKIE_BYTES],
    client: &[u8; NONCE_BYTES],
    server: &[u8; NONCE_BYTES],
) -> [u8; 32] {
    hash(CLIENT_KEY, cookie, client, server)
}

fn hash(key: &[u8], cookie: &[u8], client: &[u8], server: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    [cookie, client, server].into_iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(lines: &[&str]) -> ProtocolInfo {
        ProtocolInfo::from_reply(&ControlReply {
            code: 250,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        })
    }

    #[test]
    fn what_tor_offers_is_read_whatever_else_it_lists() {
        let offered = info(&[
            "PROTOCOLINFO 1",
            r#"AUTH METHODS=COOKIE,SAFECOOKIE,NEWTHING COOKIEFILE="/run/a \"b\"\\c" MORE"#,
            r#"VERSION Tor="0.4.9.11" Other"#,
            "OK",
        ]);
        assert!(offered.cookie && offered.safe_cookie && !offered.null && !offered.password);
        assert_eq!(offered.cookie_file, Some(PathBuf::from(r#"/run/a "b"\c"#)));
        assert_eq!(offered.version, "0.4.9.11");
        assert!(info(&["AUTH METHODS=NULL"]).null);
        assert!(info(&["AUTH METHODS=HASHEDPASSWORD"]).password);
        assert_eq!(info(&["AUTH METHODS=COOKIE COOKIEFILE=\"/cut"]).cookie_file, None);
    }

    #[test]
    fn a_password_cannot_end_its_quotes() {
        assert_eq!(quoted(r#"a"b\"#).as_str(), r#""a\"b\\""#);
    }

    /// HMAC-SHA256 by another implementation (Python's `hmac`), over a cookie of 0x01, nonces of 0x02 and 0x03.
    #[test]
    fn the_two_hashes_are_those_of_the_specification() {
        let (cookie, client, server) = ([1; 32], [2; 32], [3; 32]);
        let hex = |bytes: [u8; 32]| data_encoding::HEXLOWER.encode(&bytes);
        assert_eq!(hex(server_hash(&cookie, &client, &server)), SERVER_HASH);
        assert_eq!(hex(client_hash(&cookie, &client, &server)), CLIENT_HASH);
    }

    const SERVER_HASH: &str = "1830d2de6e061e60adfa2c0c2a9257b7126e51b074f39bd4519d89229df08827";
    const CLIENT_HASH: &str = "8d81b806c8314911da68057896783b1f28f640a588c9a2cfe902d371806bbf1a";
}
