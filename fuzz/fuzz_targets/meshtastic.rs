#![no_main]

#[path = "../radio_checks.rs"]
#[allow(dead_code, reason = "each target takes one check")]
mod radio_checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| radio_checks::meshtastic(input));
