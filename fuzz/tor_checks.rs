//! What must hold for any bytes from tor's control port and any text in place of an onion address.

use tombolo_transports::tor::control::ReplyDecoder;
use tombolo_transports::{Address, OnionHost};

/// The same replies however the bytes are cut, and none longer than what came.
pub(crate) fn control_reply(input: &[u8]) {
    let (cut, bytes) =
        input.split_first().map_or((1, input), |(cut, bytes)| (usize::from(*cut).max(1), bytes));
    let mut whole = ReplyDecoder::default();
    whole.feed(bytes);
    let mut expected = Vec::new();
    let end = loop {
        match whole.poll_reply() {
            Ok(Some(reply)) => expected.push(reply),
            other => break other,
        }
    };
    let mut pieces = ReplyDecoder::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(cut) {
        pieces.feed(piece);
        while let Ok(Some(reply)) = pieces.poll_reply() {
            found.push(reply);
        }
    }
    // What is no reply ends the connection: nothing after it counts.
    if end.is_ok() {
        assert_eq!(found, expected);
    }
    let text: usize = expected.iter().flat_map(|reply| &reply.lines).map(String::len).sum();
    // A byte that is no UTF-8 becomes a character of three.
    assert!(text <= 3 * bytes.len());
}

/// A text that is taken for an onion address reads back from what it is written as.
pub(crate) fn onion_address(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(host) = text.parse::<OnionHost>() {
        assert_eq!(host.to_string().parse(), Ok(host));
        assert_eq!(text.to_ascii_lowercase(), host.to_string());
    }
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
}
