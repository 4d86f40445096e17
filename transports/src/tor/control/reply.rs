//! Replies of tor's control port, from bytes to lines (Tor control-spec, section 2.3). No socket.
//!
//! ```text
//! reply = *(mid | data) end         mid = code "-" text CRLF      data = code "+" text CRLF *line "." CRLF
//!                                   end = code " " text CRLF      code = 3 digits; 650 is an event
//! ```

/// The longest line, in bytes; a longer one ends the connection.
pub const LINE_BYTES_MAX: usize = 100_000;
/// The longest reply, in bytes of its lines; a longer one ends the connection.
pub const REPLY_BYTES_MAX: usize = 1 << 20;
/// The code of an event, which may come between command and reply.
pub(super) const EVENT: u16 = 650;
/// The code of success.
pub(super) const OK: u16 = 250;

/// One whole reply of the control port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlReply {
    /// The three digits of its last line.
    pub code: u16,
    /// The text of each line; data lines stand behind their first line, each after a line feed.
    pub lines: Vec<String>,
}

impl ControlReply {
    /// Whether the command succeeded.
    pub fn is_ok(&self) -> bool {
        self.code / 100 == OK / 100
    }

    /// The rest of the first line that begins with `key=`, without quotes around it.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(value))
    }
}

/// Why bytes are no reply of a control port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line does not begin with three digits and `-`, `+` or a space.
    #[error("a line that no control port sends")]
    Malformed,
    /// A line is longer than [`LINE_BYTES_MAX`].
    #[error("a line of more than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// A reply is longer than [`REPLY_BYTES_MAX`].
    #[error("a reply of more than {REPLY_BYTES_MAX} bytes")]
    ReplyTooLong,
}

/// Makes replies of the bytes that a control port sends, in whatever pieces they come.
#[derive(Debug, Default)]
pub struct ReplyDecoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold no line feed.
    searched: usize,
    lines: Vec<String>,
    bytes: usize,
    in_data: bool,
}

impl ReplyDecoder {
    /// Adds bytes that were received.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole reply; `None` until more bytes have come.
    ///
    /// # Errors
    ///
    /// [`ReplyError`]: the other end is no control port, and nothing after this can be read.
    pub fn poll_reply(&mut self) -> Result<Option<ControlReply>, ReplyError> {
        while let Some(line) = self.poll_line()? {
            self.bytes += line.len() + 1;
            if self.bytes > REPLY_BYTES_MAX {
                return Err(ReplyError::ReplyTooLong);
            }
            if self.in_data {
                self.data_line(&line);
            } else if let Some(code) = self.reply_line(&line)? {
                self.bytes = 0;
                return Ok(Some(ControlReply { code, lines: std::mem::take(&mut self.lines) }));
            }
        }
        Ok(None)
    }

    /// The next line, without its end.
    fn poll_line(&mut self) -> Result<Option<Vec<u8>>, ReplyError> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return if self.searched > LINE_BYTES_MAX { Err(ReplyError::LineTooLong) } else { Ok(None) };
        };
        let mut line: Vec<u8> = self.buffer.drain(..=self.searched + at).collect();
        self.searched = 0;
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.len() > LINE_BYTES_MAX { Err(ReplyError::LineTooLong) } else { Ok(Some(line)) }
    }

    fn data_line(&mut self, line: &[u8]) {
        if line == b"." {
            self.in_data = false;
            return;
        }
        let line = if line.starts_with(b"..") { line.get(1..).unwrap_or_default() } else { line };
        let last = self.lines.last_mut().expect("data follow the line that announces them");
        last.push('\n');
        last.push_str(&String::from_utf8_lossy(line));
    }

    /// Returns the code if the line ends a reply.
    fn reply_line(&mut self, line: &[u8]) -> Result<Option<u16>, ReplyError> {
        let (code, rest) = line.split_first_chunk::<3>().ok_or(ReplyError::Malformed)?;
        let (kind, text) = rest.split_first().ok_or(ReplyError::Malformed)?;
        if !code.iter().all(u8::is_ascii_digit) {
            return Err(ReplyError::Malformed);
        }
        let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        match kind {
            b' ' => Ok(Some(code)),
            b'-' => Ok(None),
            b'+' => {
                self.in_data = true;
                Ok(None)
            }
            _ => Err(ReplyError::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As tor 0.4.9 sends it.
    const PROTOCOLINFO: &[u8] = b"250-PROTOCOLINFO 1\r\n\
        250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE=\"/run/tor/control.authcookie\"\r\n\
        250-VERSION Tor=\"0.4.9.11\"\r\n250 OK\r\n";

    fn all(decoder: &mut ReplyDecoder) -> Result<Vec<ControlReply>, ReplyError> {
        std::iter::from_fn(|| decoder.poll_reply().transpose()).collect()
    }

    proptest! {
        /// However TCP cuts them, the replies are the same.
        #[test]
        fn replies_do_not_depend_on_how_bytes_arrive(cuts in prop::collection::vec(1_usize..20, 0..60)) {
            let stream = [PROTOCOLINFO, b"650 BW 1 2\r\n250+info=\r\nx\r\n..y\r\n.\r\n250 OK\r\n515 no\r\n"].concat();
            let mut whole = ReplyDecoder::default();
            whole.feed(&stream);
            let expected = all(&mut whole).unwrap();
            prop_assert_eq!(expected.len(), 4);
            prop_assert_eq!(&expected[2].lines[0], "info=\nx\n.y");
            let (mut decoder, mut rest, mut found) = (ReplyDecoder::default(), &stream[..], Vec::new());
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                decoder.feed(now);
                found.extend(all(&mut decoder).unwrap());
                rest = later;
            }
            decoder.feed(rest);
            found.extend(all(&mut decoder).unwrap());
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut decoder = ReplyDecoder::default();
            decoder.feed(&bytes);
            let _ = all(&mut decoder);
        }
    }

    #[test]
    fn what_no_control_port_sends_is_an_error() {
        for (bytes, error) in [
            (b"HTTP/1.1 400\r\n".to_vec(), ReplyError::Malformed),
            (b"25\r\n".to_vec(), ReplyError::Malformed),
            (b"250_x\r\n".to_vec(), ReplyError::Malformed),
            (vec![b'2'; LINE_BYTES_MAX + 1], ReplyError::LineTooLong),
            (
                b"250-".iter().chain(&[b'x'; 90_000]).chain(b"\r\n").copied().collect::<Vec<u8>>().repeat(12),
                ReplyError::ReplyTooLong,
            ),
        ] {
            let mut decoder = ReplyDecoder::default();
            decoder.feed(&bytes);
            assert_eq!(all(&mut decoder), Err(error));
        }
    }

    #[test]
    fn a_value_stands_behind_its_key() {
        let mut decoder = ReplyDecoder::default();
        decoder.feed(b"250-ServiceID=abc\r\n250-PrivateKey=ED25519-V3:x\r\n250 OK\r\n");
        let reply = decoder.poll_reply().unwrap().unwrap();
        assert!(reply.is_ok());
        assert_eq!((reply.value("ServiceID"), reply.value("Service")), (Some("abc"), None));
    }

    /// A quote that ends only the last word of a value belongs to that word.
    #[test]
    fn quotes_around_a_whole_value_are_removed_and_others_kept() {
        let reply = |line: &str| ControlReply { code: 250, lines: vec![line.to_owned()] };
        assert_eq!(reply("version=\"0.4.9.11\"").value("version"), Some("0.4.9.11"));
        let phase = "NOTICE BOOTSTRAP PROGRESS=45 TAG=x SUMMARY=\"Asking for relays\"";
        assert_eq!(reply(&format!("phase={phase}")).value("phase"), Some(phase));
    }
}
