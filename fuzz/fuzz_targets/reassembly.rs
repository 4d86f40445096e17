#![no_main]

#[path = "../reassembly_checks.rs"]
mod reassembly_checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| reassembly_checks::reassembly(input));
