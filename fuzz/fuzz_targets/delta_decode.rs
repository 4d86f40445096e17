#![no_main]

#[path = "../delta_checks.rs"]
#[allow(dead_code, reason = "each target takes one check")]
mod delta_checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| delta_checks::delta_decode(input));
