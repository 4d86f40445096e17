#![no_main]
//! Commands, answers and catalogues: what reads is written again as the same bytes.

use tombolo::commands::{CommandAnswer, Catalogue, OUTPUT_BYTES_MAX, SignedCommand};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(command) = SignedCommand::decode(input) {
        assert_eq!(command.encode(), input);
    }
    if let Ok(answer) = CommandAnswer::decode(input) {
        assert_eq!(CommandAnswer::decode(&answer.encode(OUTPUT_BYTES_MAX)), Ok(answer));
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = Catalogue::parse(text);
    }
});
