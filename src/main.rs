//! The `tombolo` command: everything is in the library.
#![forbid(unsafe_code)]

/// A node makes and drops many small values (keys, entries, messages), which this allocator does faster than that of the C library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tombolo::cli::run()
}
