//! The pure crates stay pure: nothing that opens a socket or a port, or that runs tasks, is built into them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

/// Crates that mean a runtime, a socket or a port, by the beginnings of their names.
const IMPURE: [&str; 11] = [
    "async-io", "hyper", "if-addrs", "mdns-sd", "mio", "quinn", "rustls", "serial", "smol", "socket2",
    "tokio",
];

/// The names of all crates that `package` is built from, with all of its features.
fn built_from(package: &str) -> Vec<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--all-features", "--prefix", "none"])
        .args(["--locked", "--offline", "--color", "never"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_pure_crates_are_built_without_runtime_and_socket() {
    for (package, known) in [("tombolo-mesh", "blake3"), ("tombolo-delta", "thiserror")] {
        let crates = built_from(package);
        assert!(
            crates.iter().any(|name| name == known),
            "{package} uses {known}: the list is read rightly: {crates:?}"
        );
        let impure: Vec<_> =
            crates.iter().filter(|name| IMPURE.iter().any(|start| name.starts_with(start))).collect();
        assert!(impure.is_empty(), "{package} is built with {impure:?}");
    }
}
