//! What a test asks of a control port and of a SOCKS port, scripted or of a real tor.

use super::door::{Place, Stream};
use super::onion;
use data_encoding::HEXUPPER;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// A controller that asks one line at a time.
pub(crate) struct Controller {
    pub(crate) stream: Stream,
    pub(crate) lines: BufReader<Box<dyn Read>>,
}

impl Controller {
    pub(crate) fn to(at: &Place) -> Self {
        let stream = at.connect().unwrap();
        let reader: Box<dyn Read> = match stream.again() {
            Stream::Tcp(stream) => Box::new(stream),
            Stream::Unix(stream) => Box::new(stream),
        };
        Self { stream, lines: BufReader::new(reader) }
    }

    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).ok().filter(|count| *count > 0)?;
        Some(line.trim_end().to_owned())
    }

    /// The lines of the answer; the last is `EOF` where the connection ended.
    pub(crate) fn ask(&mut self, command: &str) -> Vec<String> {
        let mut out = &self.stream;
        let _ = out.write_all(format!("{command}\r\n").as_bytes());
        let mut lines = vec![];
        loop {
            let Some(line) = self.line() else {
                lines.push("EOF".to_owned());
                return lines;
            };
            let last = line.as_bytes().get(3) == Some(&b' ');
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// The lines of an answer that may be a block, without codes and without the key of `GETINFO`.
    pub(crate) fn block(&mut self, command: &str) -> Vec<String> {
        let mut out = &self.stream;
        out.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let key = format!("{}=", command.trim_start_matches("GETINFO "));
        let (mut lines, mut in_block) = (vec![], false);
        loop {
            let line = self.line().unwrap_or_else(|| panic!("{command}: no end of the answer"));
            if in_block {
                in_block = line != ".";
                lines.extend(in_block.then_some(line));
                continue;
            }
            if line == "250 OK" {
                return lines;
            }
            in_block = line.starts_with("250+");
            let rest = line.strip_prefix("250-").or(line.strip_prefix("250+"));
            let rest = rest.unwrap_or_else(|| panic!("{command}: {line}"));
            let rest = rest.strip_prefix(&key).unwrap_or(rest);
            lines.extend((!rest.is_empty()).then(|| rest.to_owned()));
        }
    }

    pub(crate) fn logged_in(at: &Place, cookie: &Path) -> Self {
        let mut controller = Self::to(at);
        let cookie = HEXUPPER.encode(&std::fs::read(cookie).unwrap());
        assert_eq!(controller.ask(&format!("AUTHENTICATE {cookie}")), ["250 OK"]);
        controller
    }

    /// Logs in without sending the cookie; checks the server's proof on the way.
    pub(crate) fn prove(&mut self, cookie: &Path) -> bool {
        let cookie = std::fs::read(cookie).unwrap();
        let nonce = [9; 32];
        let answer = self.ask(&format!("AUTHCHALLENGE SAFECOOKIE {}", HEXUPPER.encode(&nonce))).remove(0);
        let field =
            |name: &str| answer.split(' ').find_map(|word| word.strip_prefix(name)).unwrap().to_owned();
        let theirs = HEXUPPER.decode(field("SERVERNONCE=").as_bytes()).unwrap();
        assert_eq!(field("SERVERHASH="), onion::server_hash(&cookie, &nonce, &theirs));
        self.ask(&format!("AUTHENTICATE {}", onion::client_hash(&cookie, &nonce, &theirs))) == ["250 OK"]
    }
}

/// A service that sends back what it receives.
pub(crate) fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    at
}

/// Whether five bytes come back.
pub(crate) fn echoes(stream: &Stream) -> bool {
    let mut io = stream;
    let mut back = [0; 5];
    io.write_all(b"hello").is_ok() && io.read_exact(&mut back).is_ok() && &back == b"hello"
}

/// A stream by way of SOCKS, or the reply byte that refused it.
pub(crate) fn dial(socks: &Place, user: &str, name: &str, port: u16) -> Result<Stream, u8> {
    let stream = socks.connect().unwrap();
    let mut io = &stream;
    io.write_all(&[5, 1, 2]).unwrap();
    let mut two = [0; 2];
    io.read_exact(&mut two).map_err(|_| 0xFE)?;
    assert_eq!(two, [5, 2]);
    io.write_all(&[&[1, user.len() as u8], user.as_bytes(), &[1, b'x']].concat()).unwrap();
    io.read_exact(&mut two).map_err(|_| 0xFE)?;
    if two != [1, 0] {
        return Err(0xFD);
    }
    let host = format!("{name}.onion");
    io.write_all(&[&[5, 1, 0, 3, host.len() as u8], host.as_bytes(), &port.to_be_bytes()].concat()).unwrap();
    let mut reply = [0; 10];
    io.read_exact(&mut reply).map_err(|_| 0xFF)?;
    if reply[1] == 0 { Ok(stream) } else { Err(reply[1]) }
}
