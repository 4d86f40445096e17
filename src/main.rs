//! The `tombolo` command: everything is in the library.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tombolo::cli::run()
}
