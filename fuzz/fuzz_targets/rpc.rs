#![no_main]

#[path = "../rpc_checks.rs"]
mod rpc_checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| rpc_checks::call(input));
