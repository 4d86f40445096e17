#![no_main]

#[path = "../tor_checks.rs"]
#[allow(dead_code, reason = "each target takes one check")]
mod tor_checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| tor_checks::control_reply(input));
