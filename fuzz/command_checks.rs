//! What must hold of any bytes that arrive as a command, as an answer to one, or stand in a catalogue.

use tombolo::commands::{Catalogue, CommandAnswer, OUTPUT_BYTES_MAX, SignedCommand};

/// What reads is written again as the same bytes.
pub(crate) fn command(input: &[u8]) {
    if let Ok(command) = SignedCommand::decode(input) {
        assert_eq!(command.encode(), input);
    }
    if let Ok(answer) = CommandAnswer::decode(input) {
        assert_eq!(CommandAnswer::decode(&answer.encode(OUTPUT_BYTES_MAX)), Ok(answer));
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = Catalogue::parse(text);
    }
}
