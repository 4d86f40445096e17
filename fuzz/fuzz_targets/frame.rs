#![no_main]

#[path = "../frame_checks.rs"]
mod frame_checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| frame_checks::frame(input));
