//! Asks a tor on this machine who it is: the greeting of its SOCKS port, and one line at its control port.
//!
//! No peer is dialled: the one address that the SOCKS port gets has a wrong checksum, which tor refuses by itself. Its answer
//! shows whether the port gives extended errors. No secret is sent: without a password or cookie, tor may still answer how far
//! its start has come.

use crate::time::Millis;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tombolo_transports::tor::Endpoint;

use crate::system_clock::now;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of an answer of the control port.
const ANSWER_BYTES_MAX: usize = 4_096;
/// An onion address of version 3 with a wrong checksum.
const MISTYPED_ONION: &[u8] = b"35njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkenl5sid.onion";
/// The extended reply for an address that is none (`SocksPort … ExtendedErrors`).
const REPLY_BAD_ADDRESS: u8 = 0xf6;

/// What a SOCKS port answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocksAnswer {
    /// It takes requests; whether it gives extended errors, where that is known.
    Socks { extended: Option<bool> },
    /// Something else listens there.
    NotSocks,
    /// Nothing answers, and why.
    Silent(io::ErrorKind),
}

/// What a control port answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ControlAnswer {
    Control(ControlGreeting),
    NotControl,
    Silent(io::ErrorKind),
}

/// The reply to `PROTOCOLINFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ControlGreeting {
    pub(super) version: Option<String>,
    /// `NULL`, `COOKIE`, `SAFECOOKIE`, `HASHEDPASSWORD`.
    pub(super) methods: Vec<String>,
    pub(super) cookie_file: Option<PathBuf>,
    /// How far tor's start has come, where it could be asked.
    pub(super) bootstrap: Option<Bootstrap>,
}

/// How far tor's start has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bootstrap {
    pub(super) percent: u8,
    pub(super) summary: String,
}

pub(super) fn ask_socks(place: &Endpoint) -> SocksAnswer {
    let mut stream = match connect(place) {
        Ok(stream) => stream,
        Err(error) => return SocksAnswer::Silent(error.kind()),
    };
    let mut method = [0; 2];
    let greeted = stream.write_all(&[5, 1, 0]).and_then(|()| stream.read_exact(&mut method));
    if greeted.is_err() || method != [5, 0] {
        return SocksAnswer::NotSocks;
    }
    SocksAnswer::Socks { extended: ask_mistyped(&mut *stream).ok() }
}

/// Whether the reply to an address that is none is the extended one.
fn ask_mistyped(stream: &mut dyn ByteStream) -> io::Result<bool> {
    let length = u8::try_from(MISTYPED_ONION.len()).expect("62 bytes");
    stream.write_all(&[&[5, 1, 0, 3, length][..], MISTYPED_ONION, &[0, 1]].concat())?;
    let mut reply = [0; 2];
    stream.read_exact(&mut reply)?;
    Ok(reply == [5, REPLY_BAD_ADDRESS])
}

pub(super) fn ask_control(place: &Endpoint) -> ControlAnswer {
    let mut stream = match connect(place) {
        Ok(stream) => stream,
        Err(error) => return ControlAnswer::Silent(error.kind()),
    };
    let answer = exchange(&mut *stream, "PROTOCOLINFO 1\r\n").unwrap_or_default();
    let Some(mut info) = read_protocol_info(&answer) else { return ControlAnswer::NotControl };
    if info.methods.iter().any(|method| method == "NULL")
        && exchange(&mut *stream, "AUTHENTICATE\r\n").is_ok_and(|answer| answer.starts_with("250"))
    {
        let phase = exchange(&mut *stream, "GETINFO status/bootstrap-phase\r\n").unwrap_or_default();
        info.bootstrap = read_bootstrap(&phase);
    }
    ControlAnswer::Control(info)
}

/// The fields of a reply to `PROTOCOLINFO` (control-spec, section 3.21); `None` if it is none.
fn read_protocol_info(answer: &str) -> Option<ControlGreeting> {
    let mut lines = answer.lines();
    lines.next().filter(|line| line.starts_with("250-PROTOCOLINFO 1"))?;
    let mut info = ControlGreeting::default();
    for line in lines {
        if let Some(auth) = line.strip_prefix("250-AUTH METHODS=") {
            let methods = auth.split(' ').next().unwrap_or_default();
            info.methods = methods.split(',').map(str::to_owned).collect();
            let cookie = auth.split_once("COOKIEFILE=").and_then(|(_, text)| quoted(text));
            info.cookie_file = cookie.map(PathBuf::from);
        } else if let Some(version) = line.strip_prefix("250-VERSION Tor=") {
            info.version = quoted(version);
        }
    }
    Some(info)
}

/// The phase in a reply to `GETINFO status/bootstrap-phase`.
fn read_bootstrap(answer: &str) -> Option<Bootstrap> {
    let line = answer.lines().find(|line| line.contains("status/bootstrap-phase="))?;
    let (_, progress) = line.split_once("PROGRESS=")?;
    let percent = progress.split(' ').next()?.parse().ok().filter(|percent| *percent <= 100)?;
    let summary = line.split_once("SUMMARY=").and_then(|(_, text)| quoted(text)).unwrap_or_default();
    Some(Bootstrap { percent, summary })
}

/// A quoted text at the start, with its escapes resolved.
fn quoted(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut characters = text.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some(out),
            '\\' => out.push(characters.next()?),
            other => out.push(other),
        }
    }
}

trait ByteStream: Read + Write {}
impl<S: Read + Write> ByteStream for S {}

fn connect(place: &Endpoint) -> io::Result<Box<dyn ByteStream>> {
    match place {
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, ANSWER_TIMEOUT)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(Box::new(stream))
        }
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            Ok(Box::new(stream))
        }
    }
}

/// Sends one line and reads the reply: lines up to the one whose code is followed by a space.
fn exchange(stream: &mut dyn ByteStream, line: &str) -> io::Result<String> {
    stream.write_all(line.as_bytes())?;
    let until =
        now().mono + Millis::from_ms(u64::try_from(ANSWER_TIMEOUT.as_millis()).expect("a few seconds"));
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    while !is_whole(&answer) && answer.len() < ANSWER_BYTES_MAX && now().mono < until {
        match stream.read(&mut buffer)? {
            0 => break,
            read => answer.extend(buffer.iter().take(read)),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(lines) = answer.strip_suffix(b"\r\n") else { return false };
    let last = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    last.get(3) == Some(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_to_protocolinfo_is_read() {
        let answer = "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE=\"/a \\\"b\\\"/c\"\r\n\
            250-VERSION Tor=\"0.4.9.11\"\r\n250 OK\r\n";
        assert!(is_whole(answer.as_bytes()));
        let info = read_protocol_info(answer).unwrap();
        assert_eq!(info.methods, ["COOKIE", "SAFECOOKIE"]);
        assert_eq!(info.cookie_file, Some(PathBuf::from("/a \"b\"/c")));
        assert_eq!(info.version.as_deref(), Some("0.4.9.11"));
        let null = read_protocol_info("250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK\r\n").unwrap();
        assert_eq!((null.methods, null.cookie_file), (vec!["NULL".to_owned()], None));
        for other in
            ["", "514 Authentication required\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "250-PROTOCOLINFO 2"]
        {
            assert_eq!(read_protocol_info(other), None, "{other}");
        }
        // Cut off in a quoted text: what is there is taken.
        let cut =
            read_protocol_info("250-PROTOCOLINFO 1\r\n250-AUTH METHODS=COOKIE COOKIEFILE=\"/a\\").unwrap();
        assert_eq!((cut.methods.len(), cut.cookie_file), (1, None));
    }

    #[test]
    fn a_reply_about_the_start_is_read() {
        let answer = "250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=85 TAG=ap_conn SUMMARY=\"Connecting\"\r\n250 OK\r\n";
        let bootstrap = Bootstrap { percent: 85, summary: "Connecting".to_owned() };
        assert_eq!(read_bootstrap(answer), Some(bootstrap));
        for other in
            ["", "552 Unrecognized key", "250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=900 TAG=x"]
        {
            assert_eq!(read_bootstrap(other), None, "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(text in ".{0,200}") {
            let _ = read_protocol_info(&format!("250-PROTOCOLINFO 1\r\n250-AUTH METHODS={text}"));
            let _ = read_bootstrap(&format!("250-status/bootstrap-phase={text}"));
            let _ = (is_whole(text.as_bytes()), quoted(&text));
        }
    }
}
